# SPDX-License-Identifier: Apache-2.0
"""An i2c-tiny-usb adapter, emulated for the guest's own driver as a device of its USB/IP host.

The kernel is given one end of a socket pair; the device is behind the other. It offers what the
Raspberry Pi's adapter offers: raw transfers, and SMBus by them, but no block reads by their count.

Source: the firmware's protocol (harbaum.org/till/i2c_tiny_usb); Linux Documentation/usb/
usbip_protocol.rst; USB 2.0, chapter 9.
"""

import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

from smartbattery.bus import Bus
from smartbattery.errors import BusTimeoutError, NackError

VHCI = Path("/sys/devices/platform/vhci_hcd.0")
PORT, DEVICE_ID, FULL_SPEED = 0, 1 << 16 | 1, 2

# USB/IP, big-endian: a header of 48 bytes in every message.
HEADER = struct.Struct(">5I")
SUBMITTED = struct.Struct(">Ii12x8s")
RETURNED = struct.Struct(">5I2i20x")
UNLINKED = struct.Struct(">5Ii24x")
HEADER_BYTES = 48
SUBMIT, UNLINK, RETURN_SUBMIT, RETURN_UNLINK = 1, 2, 3, 4
STALLED = -32  # EPIPE
SETUP = struct.Struct("<BBHHH")

# Standard requests, and those of the adapter.
GET_DESCRIPTOR = 6
DEVICE = struct.pack(
    "<BBHBBBBHHHBBBB", 18, 1, 0x0110, 0, 0, 0, 8, 0x0403, 0xC631, 0x0205, 0, 0, 0, 1
)
INTERFACE = struct.pack("<9B", 9, 4, 0, 0, 0, 0xFF, 0, 0, 0)
CONFIGURATION = struct.pack("<BBHBBBBB", 9, 2, 9 + len(INTERFACE), 1, 1, 0, 0x80, 50) + INTERFACE
DESCRIPTORS = {1: DEVICE, 2: CONFIGURATION}
VENDOR_REQUEST = 0x40
FUNCTIONS, LAST_STATUS, TRANSFER = 1, 3, 4
BEGIN, END = 1, 2  # bits of a transfer
READING = 1  # bit of its flags
ACKNOWLEDGED, REFUSED = 1, 2
BCM2835_FUNCTIONS = 0x0EFF0009  # I2C and the SMBus calls that it can emulate


class TinyUsb:
    """The adapter with a bus at its far end; each plugging is a new device to the kernel."""

    kernel_name = "i2c-tiny-usb"

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._written = b""
        self._status = ACKNOWLEDGED
        self._device: socket.socket | None = None

    def plug(self) -> None:
        """Plug in."""
        kernels, self._device = socket.socketpair()
        threading.Thread(target=self._serve, args=(self._device,), daemon=True).start()
        (VHCI / "attach").write_text(f"{PORT} {kernels.fileno()} {DEVICE_ID} {FULL_SPEED}")
        kernels.close()  # the kernel holds its own

    def unplug(self) -> None:
        """Unplug."""
        (VHCI / "detach").write_text(str(PORT))

    def _serve(self, device: socket.socket) -> None:
        with suppress(OSError, EOFError), device:
            while True:
                header = _exactly(device, HEADER_BYTES)
                command, number, _, incoming, _ = HEADER.unpack_from(header)
                if command == UNLINK:  # too late: it has been answered
                    device.sendall(UNLINKED.pack(RETURN_UNLINK, number, 0, 0, 0, 0))
                    continue
                _, length, setup = SUBMITTED.unpack_from(header, HEADER.size)
                sent = b"" if incoming else _exactly(device, length)
                reply = self._control(setup, sent)
                status, data = (STALLED, b"") if reply is None else (0, reply)
                size = len(data) if incoming else len(sent)
                head = RETURNED.pack(RETURN_SUBMIT, number, 0, 0, 0, status, size)
                device.sendall(head + (data if incoming else b""))

    def _control(self, setup: bytes, sent: bytes) -> bytes | None:
        """The reply to a request; `None` to an unknown one."""
        kind, request, value, index, length = SETUP.unpack(setup)
        if not kind & VENDOR_REQUEST:
            if request == GET_DESCRIPTOR:
                descriptor = DESCRIPTORS.get(value >> 8)
                return None if descriptor is None else descriptor[:length]
            return bytes(length)
        if request == FUNCTIONS:
            return BCM2835_FUNCTIONS.to_bytes(4, "little")
        if request == LAST_STATUS:
            return bytes((self._status,))
        if request & TRANSFER:
            return self._transfer(request, index, sent, length if value & READING else 0)
        return b""

    def _transfer(self, request: int, address: int, sent: bytes, length: int) -> bytes | None:
        """Execute one message; a write before a read waits for it."""
        if not request & END:
            self._written, self._status = sent, ACKNOWLEDGED
            return b""
        written, self._written = (sent, b"") if request & BEGIN else (self._written, b"")
        try:
            reply = self._bus.transfer(address, written, length)
        except NackError:
            self._status = REFUSED
            return b"\xff" * length
        except BusTimeoutError:
            return None  # the firmware waits for the clock for a while, then gives the request up
        self._status = ACKNOWLEDGED
        return reply


def _exactly(device: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = device.recv(length - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data

# SPDX-License-Identifier: Apache-2.0
"""A CP2112, the USB bridge to SMBus, emulated for the guest's hid-cp2112 driver through /dev/uhid.

A HID device of reports: a request starts a transfer, status requests ask how it went, a forced send
fetches what was read. A slave that holds the clock leaves the chip busy until the driver cancels.
Its driver makes one errno, ETIMEDOUT, of a refused address and of a held bus.

Source: Silicon Labs AN495 (reports and status codes); Linux include/uapi/linux/uhid.h.
"""

import os
import struct
import threading
from contextlib import suppress

from smartbattery.bus import Bus
from smartbattery.errors import BusTimeoutError, NackError

# Events of uhid, and how they are laid out after the type.
DESTROY, OUTPUT, GET_REPORT, GET_REPORT_REPLY = 1, 6, 9, 10
CREATE2, INPUT2, SET_REPORT, SET_REPORT_REPLY = 11, 12, 13, 14
EVENT = struct.Struct("<I")
CREATE = struct.Struct("<I128s64s64sHHIIII4096s")
OUTPUT_SIZE = struct.Struct("<H")
OUTPUT_MAX = 4096
REQUEST = struct.Struct("<IB")
EVENT_MAX = CREATE.size
USB_BUS, VENDOR, PRODUCT, VERSION = 3, 0x10C4, 0xEA90, 0x0100

# Reports of the chip.
GET_VERSION, SMBUS_CONFIG, LOCK_BYTE = 0x05, 0x06, 0x20
READ, WRITE_READ, FORCE_READ, READ_RESPONSE, WRITE = 0x10, 0x11, 0x12, 0x13, 0x14
STATUS, STATUS_RESPONSE, CANCEL = 0x15, 0x16, 0x17
REPORT_BYTES = 64
CHUNK_BYTES = 61  # of data in one response
BUSY_FOR = 3  # status requests, while the bytes are on the wire; the driver gives up after 10
IDLE, BUSY, COMPLETE, FAILED = 0, 1, 2, 3
ADDRESS_NACKED, READ_UNDER_WAY, SUCCEEDED = 0, 2, 5

FEATURES = {
    GET_VERSION: bytes((GET_VERSION, 0x0C, 0x02)),  # part, revision: 2 has the repeated start
    # 100 kHz, own address, auto send, write and read timeout, SCL low timeout, retries.
    SMBUS_CONFIG: struct.pack(">BIBBHHBH", SMBUS_CONFIG, 100_000, 2, 0, 0, 0, 0, 0),
    LOCK_BYTE: bytes((LOCK_BYTE, 0x7F)),
}


def report_descriptor() -> bytes:
    """The report descriptor: reports of plain bytes on a vendor page."""
    feature, output, incoming = 0xB1, 0x91, 0x81
    sizes = {0x02: 4, 0x03: 1, 0x04: 2, GET_VERSION: 2, SMBUS_CONFIG: 13, LOCK_BYTE: 1, 0x21: 9}
    reports = [(number, feature, size) for number, size in sizes.items()]
    reports += [(number, feature, 62) for number in (0x22, 0x23, 0x24)]
    outputs = (READ, WRITE_READ, FORCE_READ, WRITE, STATUS, CANCEL)
    reports += [(number, output, REPORT_BYTES - 1) for number in outputs]
    reports += [(number, incoming, REPORT_BYTES - 1) for number in (READ_RESPONSE, STATUS_RESPONSE)]
    described = bytearray(b"\x06\x00\xff\x09\x01\xa1\x01")  # usage page, usage, collection
    for number, kind, size in reports:
        described += b"\x15\x00\x26\xff\x00\x75\x08"  # bytes of 0 to 255
        described += bytes((0x85, number, 0x95, size, 0x09, 1, kind, 2))
    return bytes(described) + b"\xc0"


class Cp2112:
    """The chip with a bus at its far end; each plugging is a new device to the kernel."""

    kernel_name = "CP2112"

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._held = b""
        self._status = (IDLE, 0, 0)
        self._busy_left = 0
        self._uhid = -1

    def plug(self) -> None:
        """Plug in."""
        uhid = self._uhid = os.open("/dev/uhid", os.O_RDWR)
        described = report_descriptor()
        device = (len(described), USB_BUS, VENDOR, PRODUCT, VERSION, 0, described)
        os.write(uhid, CREATE.pack(CREATE2, b"CP2112", b"", b"", *device))
        threading.Thread(target=self._serve, args=(uhid,), daemon=True).start()

    def unplug(self) -> None:
        """Unplug; the kernel completes this asynchronously, so a thread waits for it."""
        gone, self._uhid = self._uhid, -1
        threading.Thread(target=os.write, args=(gone, EVENT.pack(DESTROY)), daemon=True).start()

    def _serve(self, uhid: int) -> None:
        with suppress(OSError):
            while True:
                event = os.read(uhid, EVENT_MAX)
                if uhid == self._uhid:  # an unplugged device does not answer
                    self._handle(uhid, EVENT.unpack_from(event)[0], event[EVENT.size :])

    def _handle(self, uhid: int, kind: int, event: bytes) -> None:
        if kind == OUTPUT:
            size = OUTPUT_SIZE.unpack_from(event, OUTPUT_MAX)[0]
            answer = self._output(event[:size])
            if answer:
                data = answer.ljust(REPORT_BYTES, b"\0")
                os.write(uhid, struct.pack("<IH", INPUT2, len(data)) + data)
        elif kind == GET_REPORT:
            number, report = REQUEST.unpack_from(event)
            data = FEATURES.get(report, bytes((report,)).ljust(REPORT_BYTES, b"\0"))
            os.write(uhid, struct.pack("<IIHH", GET_REPORT_REPLY, number, 0, len(data)) + data)
        elif kind == SET_REPORT:
            number, _ = REQUEST.unpack_from(event)
            os.write(uhid, struct.pack("<IIH", SET_REPORT_REPLY, number, 0))

    def _output(self, report: bytes) -> bytes | None:
        """Execute a report; its response."""
        kind = report[0]
        if kind == READ:
            self._transfer(report[1] >> 1, b"", int.from_bytes(report[2:4], "big"))
        elif kind == WRITE_READ:
            written = report[5 : 5 + report[4]]
            self._transfer(report[1] >> 1, written, int.from_bytes(report[2:4], "big"))
        elif kind == WRITE:
            self._transfer(report[1] >> 1, report[3 : 3 + report[2]], 0)
        elif kind == CANCEL:
            self._status, self._busy_left = (IDLE, 0, 0), 0
        elif kind == STATUS:
            return self._status_response()
        elif kind == FORCE_READ:
            length = min(int.from_bytes(report[1:3], "big"), CHUNK_BYTES)
            sent, self._held = self._held[:length], self._held[length:]
            return bytes((READ_RESPONSE, COMPLETE, len(sent))) + sent
        return None

    def _transfer(self, address: int, written: bytes, length: int) -> None:
        self._held, self._busy_left = b"", BUSY_FOR
        try:
            self._held = self._bus.transfer(address, written, length)
        except NackError:
            self._status = (FAILED, ADDRESS_NACKED, 0)
        except BusTimeoutError:
            self._status = (BUSY, READ_UNDER_WAY, 0)
        else:
            self._status = (COMPLETE, SUCCEEDED, len(self._held))

    def _status_response(self) -> bytes:
        status = self._status
        if self._busy_left:
            self._busy_left -= 1
            status = (BUSY, READ_UNDER_WAY, 0)
        return struct.pack(">BBBHH", STATUS_RESPONSE, status[0], status[1], 0, status[2])

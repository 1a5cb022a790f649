# SPDX-License-Identifier: Apache-2.0
"""Non-blocking transports of a CAN bus: SocketCAN, SLCAN, UDP multicast, a port to MAVLink.

A transport exists from its opening to the loss of the bus; `can_bus.py` opens the next one.
Methods raise OSError when the bus is lost. Classic extended data frames alone are carried.
Source: Linux networking/can.rst; the SLCAN commands of lawicel.com; dronecan's mcast.py for the
multicast format, which ArduPilot's simulation uses.
"""

import binascii
import errno
import fcntl
import os
import select
import socket
import struct
import termios
import tty
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from dronebms.dronecan.can_url import CanUrl, multicast_group
from dronebms.dronecan.frames import ALLOCATION, CanFrame, FrameFilter

_READS_MAX = 512  # frames of a call; a flood must not keep the caller
_EXTENDED, _REMOTE, _ERROR, _ID = 0x80000000, 0x40000000, 0x20000000, 0x1FFFFFFF
_DATA_MAX = 8
_LOST = errno.ENODEV
_GET_NODE_INFO, _NODE_STATUS = 1, 341  # data type ids


class Transport(Protocol):
    """An open bus. Every method but `close` may raise OSError."""

    def fileno(self) -> int:
        """Descriptor that becomes readable with a frame."""

    def accept(self, frames: FrameFilter) -> None:
        """Set the frames that `receive` returns."""

    def receive(self) -> list[CanFrame]:
        """Accepted frames since the last call, a bounded number."""

    def send(self, frame: CanFrame) -> bool:
        """Send a frame; return False if there is no room for it."""

    def close(self) -> None:
        """Close the bus."""


def open_transport(url: CanUrl) -> Transport:
    """Open a bus.

    Raises:
        OSError: it cannot be opened now.
    """
    if url.kind == "socketcan":
        return SocketCanTransport(url.place)
    if url.kind == "slcan":
        return SlcanTransport(url.place)
    return MulticastTransport(multicast_group(url))


# ---------------------------------------------------------------------- MAVLink


class FramePort(Protocol):
    """Frames of a CAN bus that another thread carries, each an id and its data.

    Attributes:
        received: from the bus.
        readable: eventfd(2) that becomes readable with a frame; does not block.
        outbox: to the bus.
        filter: data type ids of the frames that are needed; 0: anonymous ones.
        trouble: why no frame is carried, `None` without a reason.
    """

    received: deque[tuple[int, bytes]]
    readable: int
    outbox: deque[tuple[int, bytes]]
    filter: Sequence[int]
    trouble: str | None


class PortTransport:
    """A bus behind a port.

    Raises:
        OSError: the port carries nothing now.
    """

    def __init__(self, port: FramePort) -> None:
        self._port = port
        self._filter = FrameFilter()
        self._raise_if_lost()

    def fileno(self) -> int:
        """Descriptor of the port."""
        return self._port.readable

    def accept(self, frames: FrameFilter) -> None:
        """Set the frames that are carried; services have data type ids of their own."""
        self._filter = frames
        anonymous = {0} if ALLOCATION in frames.data_types else set()
        services = {_GET_NODE_INFO} if frames.node_ids else set()
        self._port.filter = sorted({*frames.data_types, *anonymous, *services, _NODE_STATUS})

    def receive(self) -> list[CanFrame]:
        """Frames of other senders."""
        self._raise_if_lost()
        try:
            os.eventfd_read(self._port.readable)
        except BlockingIOError:
            pass  # nothing new; what waited for the bus to open is read all the same
        waiting = [self._port.received.popleft() for _ in range(len(self._port.received))]
        return [CanFrame(*frame) for frame in waiting if self._filter.accepts(frame[0])]

    def send(self, frame: CanFrame) -> bool:
        """Queue a frame."""
        self._raise_if_lost()
        self._port.outbox.append((frame.can_id, frame.data))
        return True

    def close(self) -> None:
        """Do nothing: the port stays."""

    def _raise_if_lost(self) -> None:
        if self._port.trouble is not None:
            raise OSError(_LOST, self._port.trouble)


# ---------------------------------------------------------------------- SocketCAN

_CAN_FRAME = struct.Struct("=IB3x8s")
_CAN_FILTER = struct.Struct("=II")
_FULL = (errno.EAGAIN, errno.ENOBUFS)


class SocketCanTransport:
    """An interface of the kernel, which filters the frames.

    Args:
        interface: such as `can0`.
    """

    def __init__(self, interface: str) -> None:
        self._filter = FrameFilter()
        self._socket = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        try:
            self._socket.settimeout(0)
            self.accept(self._filter)
            self._socket.bind((interface,))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Descriptor of the socket."""
        return self._socket.fileno()

    def accept(self, frames: FrameFilter) -> None:
        """Let the kernel pass these frames alone."""
        self._filter = frames
        flags = _EXTENDED | _REMOTE
        rows = [_CAN_FILTER.pack(want | _EXTENDED, mask | flags) for want, mask in frames.masks()]
        self._socket.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, b"".join(rows))

    def receive(self) -> list[CanFrame]:
        """Frames of other senders."""
        frames = []
        for _ in range(_READS_MAX):
            try:
                raw = self._socket.recv(_CAN_FRAME.size)
            except BlockingIOError:
                break
            can_id, length, data = _CAN_FRAME.unpack(raw)
            if not can_id & _ERROR and self._filter.accepts(can_id & _ID):
                frames.append(CanFrame(can_id & _ID, data[: min(length, _DATA_MAX)]))
        return frames

    def send(self, frame: CanFrame) -> bool:
        """Send a frame; without another node on the bus the queue of the interface fills."""
        raw = _CAN_FRAME.pack(frame.can_id | _EXTENDED, len(frame.data), frame.data)
        try:
            return self._socket.send(raw) == _CAN_FRAME.size
        except OSError as error:
            if error.errno in _FULL:
                return False
            raise

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


# ---------------------------------------------------------------------- UDP multicast

_PORT = 57732
_MAGIC = 0x2934
_HEADER = struct.Struct("<HHHI")  # magic, checksum of the rest, flags, id
_BODY = struct.Struct("<HI")
_CRC_START = 0xFFFF
_CHECKED = 4  # bytes before the checked ones
_FD = 0x0001
_DATAGRAM_BYTES = 128
_BUFFER_BYTES = 1 << 20
_ANY_INTERFACE = bytes(4)  # the one that the route of the group has


class MulticastTransport:
    """A bus of UDP datagrams in this machine or network.

    Args:
        group: its address.
    """

    def __init__(self, group: str) -> None:
        self._filter = FrameFilter()
        self._in = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._in.settimeout(0)
            self._in.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._in.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            self._in.bind((group, _PORT))
            member = socket.inet_aton(group) + _ANY_INTERFACE
            self._in.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            self._out.settimeout(0)
            self._out.connect((group, _PORT))
            self._own = self._out.getsockname()
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        """Descriptor of the receiving socket."""
        return self._in.fileno()

    def accept(self, frames: FrameFilter) -> None:
        """Set the frames that are not dropped."""
        self._filter = frames

    def receive(self) -> list[CanFrame]:
        """Frames of other senders."""
        frames: list[CanFrame] = []
        receive, accepts = self._in.recvfrom, self._filter.accepts
        for _ in range(_READS_MAX):
            try:
                raw, sender = receive(_DATAGRAM_BYTES)
            except BlockingIOError:
                break
            if len(raw) < _HEADER.size:
                continue
            magic, checksum, flags, can_id = _HEADER.unpack_from(raw)
            if magic != _MAGIC or not can_id & _EXTENDED or not accepts(can_id & _ID):
                continue
            data = raw[_HEADER.size :]
            if flags & _FD or len(data) > _DATA_MAX or sender == self._own:
                continue
            if binascii.crc_hqx(raw[_CHECKED:], _CRC_START) == checksum:
                frames.append(CanFrame(can_id & _ID, data))
        return frames

    def send(self, frame: CanFrame) -> bool:
        """Send a datagram."""
        body = _BODY.pack(0, frame.can_id | _EXTENDED) + frame.data
        head = struct.pack("<HH", _MAGIC, binascii.crc_hqx(body, _CRC_START))
        try:
            self._out.send(head + body)
        except (BlockingIOError, ConnectionRefusedError):
            return False
        return True

    def close(self) -> None:
        """Close both sockets."""
        self._in.close()
        self._out.close()


# ---------------------------------------------------------------------- SLCAN

_OPEN = b"\rC\rS8\rO\r"  # close, 1 Mbit/s, open
_CLOSE = b"C\r"
_LINE_MAX = 64  # longer ones are no frames
_CHUNK_BYTES = 8192
_UNSENT_MAX = 2048
_ID_CHARS, _HEAD_CHARS = 8, 10  # "T", 8 digits, length


class SlcanTransport:
    """A USB or serial adapter that speaks SLCAN, at 1 Mbit/s on the bus.

    Args:
        path: of the port.
    """

    def __init__(self, path: str) -> None:
        self._filter = FrameFilter()
        self._received = b""
        self._unsent = _OPEN
        self._port = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            tty.setraw(self._port)
            modes = termios.tcgetattr(self._port)
            modes[4] = modes[5] = termios.B3000000  # USB adapters ignore it
            termios.tcsetattr(self._port, termios.TCSANOW, modes)
            fcntl.ioctl(self._port, termios.TIOCEXCL)
            self._flush()
        except termios.error as error:
            os.close(self._port)
            raise OSError(errno.ENOTTY, "not a serial port") from error
        except OSError:
            os.close(self._port)
            raise

    def fileno(self) -> int:
        """Descriptor of the port."""
        return self._port

    def accept(self, frames: FrameFilter) -> None:
        """Set the frames that are not dropped."""
        self._filter = frames

    def receive(self) -> list[CanFrame]:
        """Frames of other senders."""
        self._flush()
        try:
            data = os.read(self._port, _CHUNK_BYTES)
        except BlockingIOError:
            return []
        if not data:
            self._raise_if_lost()
        *lines, rest = (self._received + data).split(b"\r")
        self._received = rest[-_LINE_MAX:]
        frames = (self._parsed(line) for line in lines)
        return [frame for frame in frames if frame is not None]

    def send(self, frame: CanFrame) -> bool:
        """Send a line; lines wait while the port is full."""
        self._flush()
        if len(self._unsent) > _UNSENT_MAX:
            return False
        self._unsent += b"T%08X%X%s\r" % (
            frame.can_id,
            len(frame.data),
            frame.data.hex().upper().encode(),
        )
        self._flush()
        return True

    def close(self) -> None:
        """Close the bus and the port; discards what waits."""
        try:
            termios.tcflush(self._port, termios.TCOFLUSH)
            os.write(self._port, _CLOSE)
        except (OSError, termios.error):
            pass  # the adapter is gone
        os.close(self._port)

    def _flush(self) -> None:
        if self._unsent:
            try:
                self._unsent = self._unsent[os.write(self._port, self._unsent) :]
            except BlockingIOError:
                pass

    def _raise_if_lost(self) -> None:
        poll = select.poll()
        poll.register(self._port, 0)  # hang-up and error are always reported
        if poll.poll(0):
            raise OSError(_LOST, "the adapter was disconnected")

    def _parsed(self, line: bytes) -> CanFrame | None:
        """The frame of a line, `None` of any other line; a bell stands for an error."""
        line = line.lstrip(b"\x07\n")
        if line[:1] != b"T" or len(line) < _HEAD_CHARS:
            return None
        try:
            can_id = int(line[1 : 1 + _ID_CHARS], 16)
            length = int(line[1 + _ID_CHARS : _HEAD_CHARS], 16)
            data = bytes.fromhex(line[_HEAD_CHARS : _HEAD_CHARS + 2 * length].decode())
        except ValueError:
            return None
        whole = length <= _DATA_MAX and len(data) == length
        return CanFrame(can_id, data) if whole and self._filter.accepts(can_id) else None

# SPDX-License-Identifier: Apache-2.0
"""A CAN bus of UDP datagrams, as of ArduPilot's simulation.

Source: dronecan's mcast.py, for the format.
"""

import binascii
import socket
import struct

from dronebms.dronecan.frames import CanFrame, FrameFilter
from dronebms.dronecan.transports.transport import EXTENDED, ID, MAX_DATA, MAX_READS

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
        receive = self._in.recvfrom
        accepts = self._filter.accepts
        for _ in range(MAX_READS):
            try:
                raw, sender = receive(_DATAGRAM_BYTES)
            except BlockingIOError:
                break
            if len(raw) < _HEADER.size:
                continue
            magic, checksum, flags, can_id = _HEADER.unpack_from(raw)
            if magic != _MAGIC or not can_id & EXTENDED or not accepts(can_id & ID):
                continue
            data = raw[_HEADER.size :]
            if flags & _FD or len(data) > MAX_DATA or sender == self._own:
                continue
            if binascii.crc_hqx(raw[_CHECKED:], _CRC_START) == checksum:
                frames.append(CanFrame(can_id & ID, data))
        return frames

    def send(self, frame: CanFrame) -> bool:
        """Send a datagram."""
        body = _BODY.pack(0, frame.can_id | EXTENDED) + frame.data
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

# SPDX-License-Identifier: Apache-2.0
"""A CAN interface of the kernel, which filters the frames. Source: Linux networking/can.rst."""

import errno
import socket
import struct

from dronebms.dronecan.frames import CanFrame, FrameFilter
from dronebms.dronecan.transports.transport import (
    ERROR,
    EXTENDED,
    ID,
    MAX_DATA,
    MAX_READS,
    REMOTE,
)

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
        flags = EXTENDED | REMOTE
        rows = [_CAN_FILTER.pack(want | EXTENDED, mask | flags) for want, mask in frames.masks()]
        self._socket.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, b"".join(rows))

    def receive(self) -> list[CanFrame]:
        """Frames of other senders."""
        frames = []
        for _ in range(MAX_READS):
            try:
                raw = self._socket.recv(_CAN_FRAME.size)
            except BlockingIOError:
                break
            can_id, length, data = _CAN_FRAME.unpack(raw)
            if not can_id & ERROR and self._filter.accepts(can_id & ID):
                frames.append(CanFrame(can_id & ID, data[: min(length, MAX_DATA)]))
        return frames

    def send(self, frame: CanFrame) -> bool:
        """Send a frame; without another node on the bus the queue of the interface fills."""
        raw = _CAN_FRAME.pack(frame.can_id | EXTENDED, len(frame.data), frame.data)
        try:
            return self._socket.send(raw) == _CAN_FRAME.size
        except OSError as error:
            if error.errno in _FULL:
                return False
            raise

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

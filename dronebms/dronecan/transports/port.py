# SPDX-License-Identifier: Apache-2.0
"""A CAN bus behind a port, whose frames another thread carries: that of MAVLink's CAN_FORWARD."""

import os
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from dronebms.dronecan.frames import ALLOCATION, CanFrame, FrameFilter
from dronebms.dronecan.transports.transport import LOST

# data type ids
_GET_NODE_INFO = 1
_NODE_STATUS = 341


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
            raise OSError(LOST, self._port.trouble)

# SPDX-License-Identifier: Apache-2.0
"""A CAN bus in memory, with nodes of this service and of the package `dronecan` on it."""

from collections import deque

import dronecan
from dronecan.driver.common import AbstractDriver, CANFrame

from dronebms.core.clock import VirtualClock
from dronebms.dronecan.can_bus import CanBus
from dronebms.dronecan.can_url import CanUrl
from dronebms.dronecan.frames import CanFrame, FrameFilter


class Port:
    """A transport: a place on a wire."""

    def __init__(self, wire: "Wire") -> None:
        self._wire = wire
        self._received: deque[CanFrame] = deque()
        self.filter = FrameFilter()
        self.is_full = False

    def put(self, frame: CanFrame) -> None:
        """Receive a frame that passes the filter."""
        if self.filter.accepts(frame.can_id):
            self._received.append(frame)

    def fileno(self) -> int:
        """Not needed without a thread."""
        raise AssertionError("no thread reads a virtual bus")

    def accept(self, frames: FrameFilter) -> None:
        """Set the filter."""
        self.filter = frames

    def receive(self) -> list[CanFrame]:
        """Frames since the last call."""
        self._wire.raise_if_lost()
        frames = list(self._received)
        self._received.clear()
        return frames

    def send(self, frame: CanFrame) -> bool:
        """Send to every other place."""
        self._wire.raise_if_lost()
        if not self.is_full:
            self._wire.send(frame, self)
        return not self.is_full

    def close(self) -> None:
        """Leave the wire."""
        self._wire.ports.remove(self)


class Wire:
    """The bus; `lost` is the error that opening and using it raises."""

    def __init__(self) -> None:
        self.ports: list[Port] = []
        self.frames: list[CanFrame] = []  # every one that was sent
        self.lost: OSError | None = None
        self.opened = 0
        self._drivers: list[LibraryDriver] = []

    def raise_if_lost(self) -> None:
        """Raise the error of a lost bus."""
        if self.lost is not None:
            raise self.lost

    def open(self, _url: CanUrl | None = None) -> Port:
        """A new place, as `open_transport` makes it."""
        self.opened += 1
        self.raise_if_lost()
        self.ports.append(Port(self))
        return self.ports[-1]

    def driver(self) -> "LibraryDriver":
        """A place for a node of the library."""
        self._drivers.append(LibraryDriver(self))
        return self._drivers[-1]

    def send(self, frame: CanFrame, sender: object = None) -> None:
        """Deliver a frame to all but its sender."""
        self.frames.append(frame)
        for port in self.ports:
            if port is not sender:
                port.put(frame)
        for driver in self._drivers:
            if driver is not sender:
                driver.received.append(frame)


class LibraryDriver(AbstractDriver):  # type: ignore[misc]  # an untyped package
    """A driver of the package `dronecan` on a wire."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.received: deque[CanFrame] = deque()
        self._wire = wire

    def receive(self, timeout: float | None = None) -> CANFrame | None:
        """The next frame."""
        del timeout
        if not self.received:
            return None
        frame = self.received.popleft()
        return CANFrame(frame.can_id, frame.data, True)  # noqa: FBT003 - a foreign signature

    def send_frame(self, frame: CANFrame) -> None:
        """Send to every other place."""
        self._wire.send(CanFrame(frame.id, bytes(frame.data)), self)

    def close(self) -> None:
        """Stay on the wire."""


def library_node(wire: Wire, node_id: int) -> "dronecan.node.Node":
    """A node of the package."""
    return dronecan.node.Node(
        wire.driver(), node_id=node_id, mode=0, catch_handler_exceptions=False
    )


def can_bus(wire: Wire) -> CanBus:
    """A bus of this service on a wire; `run` steps it."""
    return CanBus(CanUrl("mcast", "0"), VirtualClock(), wire.open)


def run(bus: CanBus, seconds: float, start_s: float = 0.0, *others: "dronecan.node.Node") -> float:
    """Step a bus and the nodes of the library; return the time of the end."""
    now_s = start_s
    while now_s < start_s + seconds:
        bus.step(now_s)
        for other in others:
            other.spin(0)
        now_s += 0.05
    return now_s

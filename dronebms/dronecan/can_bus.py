# SPDX-License-Identifier: Apache-2.0
"""One CAN bus of this service: its thread, its nodes, what is received there.

The bus is opened by its thread, and again after a loss: after 0.5 s, then after twice the last
delay, up to 10 s; the log has each change of the reason once. The bus is read every 10 ms at most,
so that a flood of frames is read in batches; frames that nothing here needs are dropped by their
identifier, by the kernel where it can.
"""

import logging
import select
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

from dronebms.core.clock import Clock
from dronebms.core.service_defaults import STUCK_S
from dronebms.dronecan import dsdl
from dronebms.dronecan.battery_messages import (
    DATA_TYPES,
    BatteryMessage,
    MessageError,
    message_of,
)
from dronebms.dronecan.can_url import CanUrl
from dronebms.dronecan.frames import ALLOCATION, CanFrame, FrameFilter
from dronebms.dronecan.node import Node, NodeIdentity
from dronebms.dronecan.reassembly import Reassembly
from dronebms.dronecan.transports import Transport, open_transport

_BATCH_S = 0.01
_WAIT_S = 0.05  # for a frame; a queued message waits for at most this
_FIRST_S = 0.5
_LAST_S = 10.0
_STOP_S = 3.0
_QUEUED = 256
_log = logging.getLogger(__name__)

Open = Callable[[CanUrl], Transport]
Handler = Callable[[BatteryMessage, float], None]  # message, time at which it was received


class CanBus:
    """A bus, shared by everything that sends or receives there. Close it.

    Args:
        url: of the bus.
        clock: of the loop.
        open_bus: opens the transport; may raise OSError.

    Attributes:
        counts: frames `sent`, `received` (needed ones) and `unsent` (no room, or no bus), messages
            `damaged` and `dropped` (more than the budget).
    """

    def __init__(self, url: CanUrl, clock: Clock, open_bus: Open = open_transport) -> None:
        self.counts: Counter[str] = Counter()
        self._url = url
        self._clock = clock
        self._open = open_bus
        self._nodes: list[Node] = []
        self._handlers: list[Handler] = []
        self._outbox: deque[tuple[Node, str, Mapping[str, object], int]] = deque(maxlen=_QUEUED)
        self._reassembly = Reassembly()
        self._transport: Transport | None = None
        self._filter: FrameFilter | None = None  # of the transport
        self._bus_trouble: str | None = "not open yet"
        self._logged: str | None = ""  # trouble; None: the bus works
        self._retry_s: float | None = None
        self._delay_s = _FIRST_S
        self._stepped_s = clock.now_s()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def trouble(self) -> str | None:
        """Description of a fault of the bus or of a node, `None` without one."""
        reasons = (self.bus_trouble, *(self._named(node.trouble) for node in self._nodes))
        return next((one for one in reasons if one), None)

    @property
    def bus_trouble(self) -> str | None:
        """Description of a fault of the bus, because of which nothing is received or sent."""
        if self._thread is not None and not self._thread.is_alive():  # by a mistake of our own
            return self._named("its thread has ended; restart the service")
        return self._named(self._bus_trouble)

    def is_stuck(self, now_s: float) -> bool:
        """Whether the thread has stopped."""
        return self._thread is not None and now_s - self._stepped_s > STUCK_S

    def _named(self, reason: str | None) -> str | None:
        return f"{self._url}: {reason}" if reason else None

    def add_node(self, identity: NodeIdentity) -> Node:
        """Add a node; before `start`."""
        node = Node(identity)
        self._nodes.append(node)
        return node

    def subscribe(self, handler: Handler) -> None:
        """Pass every battery message of other nodes to `handler`, in the thread of the bus.

        Before `start`. The handler neither blocks nor raises.
        """
        self._handlers.append(handler)

    def publish(self, node: Node, name: str, fields: Mapping[str, object], priority: int) -> None:
        """Send a message of a node; never blocks. The oldest one is dropped where many wait."""
        self._outbox.append((node, name, fields, priority))

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=f"CAN {self._url}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and close the bus."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)

    # In a thread of its own.

    def _run(self) -> None:
        while not self._stopping.is_set():
            round_s = self._clock.now_s()
            self.step(round_s)
            self._clock.sleep_until(round_s + _BATCH_S)
            self._wait()
        self._close()

    def step(self, now_s: float) -> None:
        """Receive and send what there is; for the thread, and for tests instead of it."""
        self._stepped_s = now_s
        try:
            transport = self._opened(now_s)
            if transport is not None:
                self._set_filter(transport)
                self._receive(transport, now_s)
                self._set_filter(transport)  # an id may have been allocated
                self._send(transport, now_s)
        except OSError as error:
            self._lose(error, now_s)
        self._log_trouble()

    def _wait(self) -> None:
        """Wait for a frame, or until a node may have something to send."""
        if self._transport is None:
            self._stopping.wait(_WAIT_S)
        elif not self._outbox:
            poll = select.poll()
            poll.register(self._transport, select.POLLIN)
            poll.poll(1000.0 * _WAIT_S)

    def _opened(self, now_s: float) -> Transport | None:
        """The open transport; `None` until it is opened again."""
        if self._transport is None and (self._retry_s is None or now_s >= self._retry_s):
            self._transport = self._open(self._url)
            self._bus_trouble = None
            self._filter = None
            self._delay_s = _FIRST_S
        return self._transport

    def _lose(self, error: OSError, now_s: float) -> None:
        self._close()
        reason = error.strerror or str(error)
        self._bus_trouble = f"{reason[:1].lower()}{reason[1:]}; retrying"
        self._retry_s = now_s + self._delay_s
        self._delay_s = min(2 * self._delay_s, _LAST_S)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self._transport = None

    def _log_trouble(self) -> None:
        trouble = self.trouble
        is_starting = trouble is None and any(node.node_id is None for node in self._nodes)
        if trouble == self._logged or is_starting:
            return
        self._logged = trouble
        if trouble is None:
            ids = ", ".join(str(node.node_id) for node in self._nodes)
            _log.info("CAN bus %s is open%s", self._url, f", node id {ids}" if ids else "")
        else:
            _log.warning("CAN bus %s", trouble)

    def _set_filter(self, transport: Transport) -> None:
        """Let the transport pass what is needed at present."""
        data_types = set(DATA_TYPES) if self._handlers else set()
        if any(node.needs_allocation for node in self._nodes):
            data_types.add(ALLOCATION)
        wanted = {node.wanted for node in self._nodes}
        node_ids = frozenset(one for one in wanted if one is not None)
        needed = FrameFilter(frozenset(data_types), node_ids)
        if needed != self._filter:
            transport.accept(needed)
            self._filter = needed

    def _receive(self, transport: Transport, now_s: float) -> None:
        for frame in transport.receive():
            self.counts["received"] += 1
            foreign = [node.is_conflict(frame, now_s) for node in self._nodes]
            if any(foreign):
                continue
            frames = self._reassembly.receive(frame, now_s)
            if frames is None:
                continue
            try:
                self._dispatch(frames, now_s)
            except (dsdl.DecodeError, MessageError):
                self.counts["damaged"] += 1
        self.counts["dropped"] = self._reassembly.counts["dropped"]

    def _dispatch(self, frames: Sequence[CanFrame], now_s: float) -> None:
        """Decode a transfer and pass it to those who need it."""
        last = frames[-1]
        battery = None if last.is_service else DATA_TYPES.get(last.data_type)
        if battery is None:
            value = dsdl.decode(frames)
            for node in self._nodes:
                if not last.is_service or last.destination == node.node_id:
                    node.handle(last, value, now_s)
        elif self._handlers:
            message = message_of(battery, last.source, [frame.data for frame in frames])
            for handler in self._handlers:
                handler(message, now_s)

    def _send(self, transport: Transport, now_s: float) -> None:
        for _ in range(len(self._outbox)):
            node, name, fields, priority = self._outbox.popleft()
            node.publish(name, fields, priority)
        for node in self._nodes:
            for frame in node.step(now_s):
                self.counts["sent" if transport.send(frame) else "unsent"] += 1
            if node.needs_allocation:
                return  # one after the other: an allocator serves one request at a time

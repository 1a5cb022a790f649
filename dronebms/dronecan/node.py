# SPDX-License-Identifier: Apache-2.0
"""A DroneCAN node: status, GetNodeInfo, node id. Pure: frames in, frames out, time handed in.

A fixed node id is used once nothing was received from it for longer than the period of a node's
status. Without one the node asks for an id, as an anonymous node; the autopilot, which usually
allocates them, gives a unique id the same node id each time.

A node id that has been used is not given up: ArduPilot binds a battery to the node id that it came
from, and would take a battery under another one for missing.
Source: the DroneCAN specification, "Application layer functions"; Allocation.uavcan for the delays;
ArduPilot, AP_DroneCAN_DNA_Server.cpp and AP_BattMonitor_DroneCAN.cpp.
"""

import binascii
import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dronebms.dronecan import dsdl
from dronebms.dronecan.frames import ALLOCATION, NODE_IDS, CanFrame

NODE_STATUS = "uavcan.protocol.NodeStatus"
NODE_INFO = "uavcan.protocol.GetNodeInfo"
_ALLOCATION = "uavcan.protocol.dynamic_node_id.Allocation"
_HEALTH_OK = 0  # health of NodeStatus
_OPERATIONAL = 0  # mode of NodeStatus
_STATUS_S = 1.0  # longest period of NodeStatus
_LISTEN_S = 1.5
_CONFLICT_S = 5.0  # a foreign sender is taken for gone after a silence of this length
_REQUEST_S = 0.6, 1.0  # delay of an allocation request
_FOLLOWUP_S = 0.0, 0.1  # the specification permits 0.4 s, of an allocator that waits for 0.5 s
_FOLLOWUP_TIMEOUT_S = 0.5
_PART_BYTES = 6  # of the unique id in a request
_UNIQUE_BYTES = 16
_PRIORITY = 20  # of status and answers
_QUEUED = 64  # messages while the node has no id
_TRANSFER_IDS = 32
_INFO_ID = 1


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Identity of a node on the bus."""

    unique_id: bytes  # 16 bytes, of this machine and node
    name: str
    version: tuple[int, int]  # major, minor
    node_id: int | None = None  # None: dynamic allocation


class Node:
    """A node of one bus.

    Attributes:
        node_id: in use; `None` while there is none.
        trouble: reason why it has none, or that another node uses it; `None` without one.
        counts: `unsent` messages for want of a node id, foreign frames with this node's id
            (`conflicts`).
    """

    def __init__(self, identity: NodeIdentity) -> None:
        self.node_id: int | None = None
        self.trouble: str | None = None
        self.counts: Counter[str] = Counter()
        self._identity = identity
        self._random = random.Random(identity.unique_id)  # noqa: S311 - delays against collisions
        self._transfer_ids: Counter[tuple[int, int]] = Counter()
        self._queue: deque[tuple[str, Mapping[str, object], int]] = deque(maxlen=_QUEUED)
        self._answers: deque[CanFrame] = deque()
        self._start_s: float | None = None
        self._status_s = 0.0  # due
        self._conflict_s: float | None = None  # last foreign frame with the wanted id
        self._request_s: float | None = None  # next part of an allocation request is due
        self._sent = 0  # bytes of the unique id that the allocator has confirmed

    @property
    def wanted(self) -> int | None:
        """Node id whose frames the node needs: its own, or the one that is configured."""
        return self.node_id or self._identity.node_id

    @property
    def needs_allocation(self) -> bool:
        """Whether it waits for an allocator."""
        return self.node_id is None and self._identity.node_id is None

    def publish(self, name: str, fields: Mapping[str, object], priority: int) -> None:
        """Queue a message; see `dsdl.message`."""
        if self.node_id is None:
            self.counts["unsent"] += 1
            return
        self._queue.append((name, fields, priority))

    def is_conflict(self, frame: CanFrame, now_s: float) -> bool:
        """Whether another sender uses the node id, which is noted."""
        if not frame.source or frame.source != self.wanted:
            return False
        self.counts["conflicts"] += 1
        self._conflict_s = now_s
        return True

    def handle(self, frame: CanFrame, value: Any, now_s: float) -> None:  # noqa: ANN401
        """Handle a transfer; `frame` is its last one."""
        if frame.is_service:
            if frame.is_request and frame.data_type == _INFO_ID and self.node_id is not None:
                self._answer_info(frame, now_s)
        elif frame.data_type == ALLOCATION and self.needs_allocation:
            self._handle_allocation(frame, value, now_s)

    def step(self, now_s: float) -> list[CanFrame]:
        """The frames that are to be sent now."""
        if self._start_s is None:
            self._start_s = now_s
            self._request_s = now_s + self._random.uniform(*_REQUEST_S)
        frames = [] if self.node_id is not None else self._find_id(now_s)
        self._judge(now_s)
        if self.node_id is None:
            return frames
        frames.extend(self._answers)
        self._answers.clear()
        if now_s >= self._status_s:
            self._status_s = max(self._status_s + _STATUS_S, now_s)
            frames.extend(self._broadcast(NODE_STATUS, self._status(now_s), _PRIORITY))
        while self._queue:
            frames.extend(self._broadcast(*self._queue.popleft()))
        return frames

    # ------------------------------------------------------------------ status and info

    def _status(self, now_s: float) -> dict[str, object]:
        start_s = now_s if self._start_s is None else self._start_s
        return {"uptime_sec": int(now_s - start_s), "health": _HEALTH_OK, "mode": _OPERATIONAL}

    def _answer_info(self, frame: CanFrame, now_s: float) -> None:
        major, minor = self._identity.version
        fields = {
            "status": self._status(now_s),
            "software_version": {"major": major, "minor": minor},
            "hardware_version": {"unique_id": self._identity.unique_id},
            "name": self._identity.name.encode(),
        }
        self._answers.extend(
            dsdl.encode(
                dsdl.message(NODE_INFO, fields, "response"),
                transfer_id=frame.data[-1] % _TRANSFER_IDS,
                priority=frame.priority,
                source=self.node_id or 0,
                destination=frame.source,
            )
        )

    def _broadcast(
        self, name: str, fields: Mapping[str, object], priority: int
    ) -> Sequence[CanFrame]:
        key = (dsdl.data_type_id(name), 0)
        number = self._transfer_ids[key]
        self._transfer_ids[key] = (number + 1) % _TRANSFER_IDS
        return dsdl.encode(
            dsdl.message(name, fields),
            transfer_id=number,
            priority=priority,
            source=self.node_id or 0,
        )

    # ------------------------------------------------------------------ node id

    def _find_id(self, now_s: float) -> list[CanFrame]:
        """Take the fixed id if it is free; the next part of a request for a dynamic one."""
        if self._identity.node_id is not None:
            start_s = now_s if self._start_s is None else self._start_s
            free = self._conflict_s is None or now_s - self._conflict_s > _CONFLICT_S
            if free and now_s - start_s >= _LISTEN_S:
                self._use(self._identity.node_id, now_s)
            return []
        if self._request_s is None or now_s < self._request_s:
            return []
        part = self._identity.unique_id[self._sent : self._sent + _PART_BYTES]
        fields = {
            "node_id": 0,
            "first_part_of_unique_id": self._sent == 0,
            "unique_id": part,
        }
        late_s = _FOLLOWUP_TIMEOUT_S if self._sent else 0.0
        self._request_s = now_s + late_s + self._random.uniform(*_REQUEST_S)
        self._sent = 0  # unless the allocator answers
        return dsdl.encode(
            dsdl.message(_ALLOCATION, fields),
            transfer_id=self._random.randrange(_TRANSFER_IDS),
            priority=_PRIORITY,
            source=0,
            discriminator=binascii.crc_hqx(part, self._random.randrange(0x10000)) & 0x3FFF,
        )

    def _handle_allocation(self, frame: CanFrame, value: Any, now_s: float) -> None:  # noqa: ANN401
        part = bytes(value.unique_id)
        if not frame.source or not part or not self._identity.unique_id.startswith(part):
            self._sent = 0
            self._request_s = now_s + self._random.uniform(*_REQUEST_S)
        elif len(part) < _UNIQUE_BYTES:
            self._sent = len(part)
            self._request_s = now_s + self._random.uniform(*_FOLLOWUP_S)
        elif value.node_id in NODE_IDS:
            self._use(value.node_id, now_s)

    def _use(self, node_id: int, now_s: float) -> None:
        self.node_id = node_id
        self._start_s = self._status_s = now_s
        self._conflict_s = None

    def _judge(self, now_s: float) -> None:
        """Set `trouble`."""
        met = self._conflict_s is not None and now_s - self._conflict_s <= _CONFLICT_S
        if met and self.node_id is not None:
            self.trouble = f"node id {self.node_id} is used by another node too"
        elif met:
            self.trouble = f"node id {self.wanted} is used by another node"
        elif self.needs_allocation:
            self.trouble = "no node id allocated yet"
        else:
            self.trouble = None

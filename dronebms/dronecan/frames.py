# SPDX-License-Identifier: Apache-2.0
"""CAN frames of DroneCAN and the parts of their 29-bit identifier.

Source: the DroneCAN specification, section "CAN bus transport layer".
"""

from dataclasses import dataclass

ALLOCATION = 1  # data type id of the only anonymous message
NODE_IDS = range(1, 128)
_SERVICE = 0x80
_REQUEST = 0x8000  # of a service
_NODE = 0x7F
_BROADCAST_TYPE = 0xFFFF << 8
_ANONYMOUS_TYPE = 0x3 << 8  # an anonymous frame has the two lowest bits alone
_DESTINATION = _NODE << 8


@dataclass(frozen=True, slots=True)
class CanFrame:
    """An extended data frame."""

    can_id: int  # 29 bits
    data: bytes  # at most 8

    @property
    def source(self) -> int:
        """Node id of the sender; 0: anonymous."""
        return self.can_id & _NODE

    @property
    def destination(self) -> int:
        """Node id of the receiver of a service; of a message a part of its data type."""
        return self.can_id >> 8 & _NODE

    @property
    def priority(self) -> int:
        """Priority of the transfer, from 0, the highest, to 31."""
        return self.can_id >> 24 & 0x1F

    @property
    def is_request(self) -> bool:
        """Whether a service is a request, not a response."""
        return bool(self.can_id & _REQUEST)

    @property
    def is_service(self) -> bool:
        """Whether it is part of a request or a response."""
        return bool(self.can_id & _SERVICE)

    @property
    def data_type(self) -> int:
        """Data type id."""
        if self.is_service:
            return self.can_id >> 16 & 0xFF
        return self.can_id >> 8 & (0xFFFF if self.source else 0x3)


@dataclass(frozen=True, slots=True)
class FrameFilter:
    """Frames that the nodes of a bus need; every other one is dropped before it is decoded.

    Messages of the data types, services that are addressed to one of the nodes, and whatever
    another sender sends under the id of one of them.
    """

    data_types: frozenset[int] = frozenset()
    node_ids: frozenset[int] = frozenset()

    def accepts(self, can_id: int) -> bool:
        """Whether a frame is needed."""
        source = can_id & _NODE
        if source in self.node_ids:
            return True
        if can_id & _SERVICE:
            return can_id >> 8 & _NODE in self.node_ids
        if not source:
            return can_id & _ANONYMOUS_TYPE == ALLOCATION << 8 and ALLOCATION in self.data_types
        return can_id >> 8 & 0xFFFF in self.data_types

    def masks(self) -> list[tuple[int, int]]:
        """The filter as (id, mask): a frame passes if `can_id & mask == id` of any pair."""
        pairs = [
            (data_type << 8, _BROADCAST_TYPE | _SERVICE) for data_type in sorted(self.data_types)
        ]
        if ALLOCATION in self.data_types:
            pairs.append((ALLOCATION << 8, _ANONYMOUS_TYPE | _SERVICE | _NODE))
        for node_id in sorted(self.node_ids):
            pairs.append((node_id, _NODE))
            pairs.append((node_id << 8 | _SERVICE, _DESTINATION | _SERVICE))
        return pairs

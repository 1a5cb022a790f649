# SPDX-License-Identifier: Apache-2.0
"""Client of the MAVLink mission protocol: reads the mission and the rally points of the vehicle.

It reads alone: MISSION_REQUEST_LIST, MISSION_REQUEST_INT, and the MISSION_ACK that ends a download.
It sends nothing itself: `due` returns the messages to send.

One request is in flight, ten a second at most, repeated after growing pauses. PX4 answers item
requests in order alone, and has one transfer at a time on each of its links: until the MISSION_ACK
of a download, or 5 s after its last request, it refuses an upload there, with a text to the pilot.
Therefore each download ends with a MISSION_ACK, one that is given up with CANCELLED. It is sent
twice, because PX4 does not answer it; without a transfer it ignores it. While the transfer of
another component is seen on this link, and while a radio reports that its buffer fills, nothing is
requested.

A list is published when all its items have been received and the vehicle still has the same count
and id. It is withdrawn when the vehicle is known to have another one: another id or count, an
upload, an item that differs, a restart. PX4 sends an id of the content (`opaque_id`) in
MISSION_COUNT and MISSION_CURRENT since 1.15, so that a check every 30 s is one request. ArduPilot
has none and acknowledges an upload on the link of its sender alone: its items are read again one
after the other, four a second.
Source: mavlink.io, the mission protocol; PX4 mavlink_mission.cpp, `handle_mission_request_list`,
`handle_mission_request_both`, `handle_mission_ack` and `handle_mission_count`; ArduPilot
MissionItemProtocol.cpp, which answers DENIED while it receives an upload.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.flight_plan import MissionItem, Place
from mavlink_bridge.protocol.autopilot import AUTOPILOT_COMPONENT, Autopilot
from mavlink_bridge.protocol.mission_items import (
    UNKNOWN_CIRCLES,
    Circles,
    ReceivedItem,
    Vehicle,
    mission_of,
    rally_of,
    received_item,
    received_rally_point,
)

ITEMS_MAX = 3000  # more than autopilots store without a card
_PACE_S = 0.095  # between requests: ten a second in steps of 0.1 s
_CHECK_PACE_S = 0.245  # of items that are read again
_PAUSES_S = (1.0, 1.5, 2.0, 3.0)  # for the answer to each try
_CHECK_S = 30.0
_READ_AGAIN_S = 300.0  # all items of an autopilot that has neither an id nor stateless answers
_ENDS = 2  # of each MISSION_ACK
_GIVE_WAY_S = 5.0
_CONGESTED_S = 2.0  # radios report once a second
_FREE_LEAST_PCT = 50  # of a radio's buffer
_FAILED_S = (5.0, 15.0, 60.0, 300.0)  # pause after each failure in a row
_FAILURES_KEPT = 2  # after more failed checks the published list may be another one's
_NO_TOTAL = (0, 0xFFFF)  # of MISSION_CURRENT: not sent, no mission
_PAYLOAD = 10  # offset in a MAVLink 2 frame
_MAVLINK_2 = 0xFD
# Offsets of the ids in the payloads: they are behind what the dialect's messages decode.
_COUNT_ID = 5  # MISSION_COUNT.opaque_id
_CURRENT_IDS: Mapping[int, int] = MappingProxyType(  # MISSION_CURRENT.mission_id, rally_points_id
    {mavlink.MAV_MISSION_TYPE_MISSION: 6, mavlink.MAV_MISSION_TYPE_RALLY: 14}
)
_ID_BYTES = 4
_TRANSFERS = frozenset((
    *("MISSION_REQUEST_LIST", "MISSION_COUNT", "MISSION_CLEAR_ALL", "MISSION_ACK"),
    *("MISSION_REQUEST", "MISSION_REQUEST_INT", "MISSION_ITEM", "MISSION_ITEM_INT"),
    *("MISSION_REQUEST_PARTIAL_LIST", "MISSION_WRITE_PARTIAL_LIST"),
))  # fmt: skip
_UPLOADS = ("MISSION_REQUEST", "MISSION_REQUEST_INT")  # if the autopilot sends them


class _Phase(Enum):
    COUNT = "count"
    ITEMS = "items"
    CONFIRM = "confirm"  # count and id after the last item
    DONE = "done"


@dataclass(slots=True)
class _List:
    """One list of the vehicle, as published."""

    mission_type: int
    received: list[ReceivedItem] | None = None
    count: int = 0
    list_id: int = 0
    due_s: float = -math.inf  # of the next download or check
    read_s: float = -math.inf  # of the last time that all items were read
    failures: int = 0


@dataclass(slots=True)
class _Transfer:
    """The download or check that is under way."""

    of: _List
    is_check: bool
    phase: _Phase = _Phase.COUNT
    count: int = 0
    list_id: int = 0
    received: list[ReceivedItem] = field(default_factory=list)
    tries: int = 0  # of the present request
    sent_s: float = -math.inf

    def go_on(self, phase: _Phase) -> None:
        """Go on with the next request."""
        self.phase = phase
        self.tries = 0


class MissionDownload:
    """Mission and rally points of the followed vehicle. For one thread.

    Attributes:
        items: of the mission, `None` until all have been received; () without a mission.
        rally: the rally points; `None` likewise, and if the autopilot has no such list.
    """

    def __init__(self, component: int) -> None:
        """Read as a component of the vehicle's system."""
        self.items: tuple[MissionItem, ...] | None = None
        self.rally: tuple[Place, ...] | None = None
        self._component = component
        self._lists = tuple(_List(one) for one in _CURRENT_IDS)
        self._transfer: _Transfer | None = None
        self._quiet_until_s = -math.inf
        self._given_up: list[int] = []  # types of downloads that are to be ended
        self._vehicle = Vehicle(None, None)
        self._runs = 0
        self._online_since_s: float | None = None
        self._known: tuple[Place | None, Circles] = None, UNKNOWN_CIRCLES  # of the vehicle

    def receive(self, message: mavlink.MAVLink_message, autopilot: Autopilot, now_s: float) -> None:
        """Read any message of the link."""
        kind = message.get_type()
        if kind == "RADIO_STATUS" and message.txbuf < _FREE_LEAST_PCT:
            self._quiet_until_s = max(self._quiet_until_s, now_s + _CONGESTED_S)
        source = message.get_srcSystem(), message.get_srcComponent()
        by_autopilot = source == (autopilot.followed, AUTOPILOT_COMPONENT)
        if kind == "MISSION_CURRENT" and by_autopilot:
            self._read_current(message, now_s)
        if kind not in _TRANSFERS:
            return
        target = message.target_system, message.target_component
        if by_autopilot and target == (autopilot.followed, self._component):
            self._read(message, now_s)
        elif by_autopilot or message.target_system in (0, autopilot.followed):
            self._give_way(message, now_s, by_autopilot=by_autopilot)

    def due(
        self,
        autopilot: Autopilot,
        home: Place | None,
        now_s: float,
        *,
        circles: Circles = UNKNOWN_CIRCLES,
    ) -> list[mavlink.MAVLink_message]:
        """Messages to send now; none while the autopilot sends no heartbeat.

        Args:
            autopilot: that is followed.
            home: of the vehicle, `None` if not known.
            now_s: time of the caller.
            circles: of the vehicle, for the turns of an item.
        """
        since_s = autopilot.online_since_s(now_s)
        if since_s is None:
            return []
        self._look_at(autopilot, since_s, now_s)
        if (home, circles) != self._known:
            self._known = home, circles
            self._publish_mission()
        system = autopilot.system_id
        ends = [_end(system, one, completed=False) for one in self._given_up]
        self._given_up = []
        transfer = self._transfer
        if transfer is not None and transfer.phase is _Phase.DONE:
            self._complete(transfer, now_s)
            ends.append(_end(system, transfer.of.mission_type, completed=True))
        ends = [one for one in ends for _ in range(_ENDS)]
        if now_s < self._quiet_until_s:
            return ends
        if self._transfer is None:
            self._begin(now_s)
        return [*ends, *self._requests(system, now_s)]

    def _look_at(self, autopilot: Autopilot, since_s: float, now_s: float) -> None:
        """Begin again with another vehicle and after a restart, check after a pause."""
        vehicle = Vehicle(autopilot.kind, autopilot.vehicle_type)
        if vehicle != self._vehicle or autopilot.runs != self._runs:
            self._vehicle = vehicle
            self._runs = autopilot.runs
            self._transfer = None  # of an autopilot that has forgotten it
            for one in self._lists:
                one.failures = 0
                self._change(one, now_s)
        elif since_s != self._online_since_s:
            for one in self._lists:
                one.due_s = min(one.due_s, now_s)
        self._online_since_s = since_s

    def _begin(self, now_s: float) -> None:
        one = min(self._lists, key=lambda one: one.due_s)
        if one.due_s <= now_s:
            self._transfer = _Transfer(one, is_check=one.received is not None)

    def _requests(self, system: int, now_s: float) -> list[mavlink.MAVLink_message]:
        """The present request if it is due; gives up after the last try."""
        transfer = self._transfer
        if transfer is None:
            return []
        reads_again = transfer.is_check and transfer.phase is _Phase.ITEMS
        slow = reads_again and self._vehicle.is_ardupilot
        pace_s = _CHECK_PACE_S if slow else _PACE_S
        pause_s = _PAUSES_S[transfer.tries - 1] if transfer.tries else pace_s
        if now_s - transfer.sent_s < pause_s:
            return []
        if transfer.tries == len(_PAUSES_S):
            self._fail(transfer, now_s)
            return []
        transfer.tries += 1
        transfer.sent_s = now_s
        target = (system, AUTOPILOT_COMPONENT)
        of = transfer.of.mission_type
        if transfer.phase is not _Phase.ITEMS:
            return [mavlink.MAVLink_mission_request_list_message(*target, of)]
        number = len(transfer.received)
        return [mavlink.MAVLink_mission_request_int_message(*target, number, of)]

    def _read(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        """Read an answer to the present request; a duplicate of an earlier one is ignored."""
        transfer = self._transfer
        kind = message.get_type()
        if transfer is None or not transfer.tries:
            return
        if message.mission_type != transfer.of.mission_type:
            return
        if kind == "MISSION_COUNT":
            self._read_count(transfer, message, now_s)
        elif kind == "MISSION_ITEM_INT":
            self._read_item(transfer, message, now_s)
        elif kind == "MISSION_ACK" and message.type != mavlink.MAV_MISSION_ACCEPTED:
            self._read_refusal(transfer, message.type, now_s)

    def _read_count(
        self, transfer: _Transfer, message: mavlink.MAVLink_mission_count_message, now_s: float
    ) -> None:
        count = message.count
        list_id = _number_at(message, _COUNT_ID)
        of = transfer.of
        if of.mission_type == mavlink.MAV_MISSION_TYPE_MISSION and self._vehicle.is_ardupilot:
            count = 0 if count == 1 else count  # home alone
        if transfer.phase is _Phase.COUNT:
            if transfer.is_check and (count, list_id) != (of.count, of.list_id):
                self._withdraw(of)
                transfer.is_check = False
            transfer.count = count
            transfer.list_id = list_id
            same = transfer.is_check and not self._reads_again(of, now_s)
            transfer.go_on(_Phase.DONE if same or not count else _Phase.ITEMS)
            if count > ITEMS_MAX:
                self._fail(transfer, now_s)
        elif (count, list_id) != (transfer.count, transfer.list_id):
            self._change(of, now_s)
        elif transfer.phase is _Phase.CONFIRM:
            transfer.go_on(_Phase.DONE)

    def _reads_again(self, of: _List, now_s: float) -> bool:
        """Whether count and id alone do not show that a list is unchanged."""
        if of.list_id:
            return False
        return self._vehicle.is_ardupilot or now_s - of.read_s >= _READ_AGAIN_S

    def _read_item(
        self, transfer: _Transfer, message: mavlink.MAVLink_mission_item_int_message, now_s: float
    ) -> None:
        number = len(transfer.received)
        if transfer.phase is not _Phase.ITEMS or message.seq != number:
            return
        is_mission = transfer.of.mission_type == mavlink.MAV_MISSION_TYPE_MISSION
        item = (
            received_item(message, self._vehicle) if is_mission else received_rally_point(message)
        )
        published = transfer.of.received
        # ArduPilot's home, which is item 0, is another one after each arming.
        is_home = is_mission and number == 0 and self._vehicle.is_ardupilot
        if published is not None and not is_home and item != published[number]:
            self._change(transfer.of, now_s)
            return
        transfer.received.append(item)
        whole = number + 1 == transfer.count
        last = _Phase.DONE if transfer.is_check else _Phase.CONFIRM
        transfer.go_on(last if whole else _Phase.ITEMS)

    def _read_refusal(self, transfer: _Transfer, result: int, now_s: float) -> None:
        if result == mavlink.MAV_MISSION_UNSUPPORTED:
            self._fail(transfer, now_s)
            transfer.of.due_s = math.inf  # until heartbeats begin again
        elif result == mavlink.MAV_MISSION_DENIED:  # an upload is under way
            self._change(transfer.of, now_s)
            self._quiet_until_s = now_s + _GIVE_WAY_S
        else:
            self._fail(transfer, now_s)

    def _read_current(self, message: mavlink.MAVLink_mission_current_message, now_s: float) -> None:
        """Notice that the vehicle has another mission or other rally points."""
        total = None if message.total in _NO_TOTAL else message.total
        if message.mission_state == mavlink.MISSION_STATE_NO_MISSION:
            total = 0
        elif total is not None and self._vehicle.is_ardupilot:
            total += 1  # home is not counted
        for one in self._lists:
            if one.received is None:
                continue
            list_id = _number_at(message, _CURRENT_IDS[one.mission_type])
            other_id = list_id not in (0, one.list_id) and (one.list_id or not one.count)
            is_mission = one.mission_type == mavlink.MAV_MISSION_TYPE_MISSION
            if other_id or (is_mission and total not in (None, one.count)):
                self._change(one, now_s)

    def _give_way(
        self, message: mavlink.MAVLink_message, now_s: float, *, by_autopilot: bool
    ) -> None:
        """Leave the vehicle to another component's transfer; an upload changes a list."""
        self._quiet_until_s = max(self._quiet_until_s, now_s + _GIVE_WAY_S)
        self._end_transfer()
        kind = message.get_type()
        accepted = kind == "MISSION_ACK" and message.type == mavlink.MAV_MISSION_ACCEPTED
        if by_autopilot and (accepted or kind in _UPLOADS):
            for one in self._lists:
                if message.mission_type in (one.mission_type, mavlink.MAV_MISSION_TYPE_ALL):
                    self._change(one, now_s)

    def _change(self, of: _List, now_s: float) -> None:
        """Withdraw a list that is another one now, and read it as soon as possible."""
        if self._transfer is not None and self._transfer.of is of:
            self._end_transfer()
        self._withdraw(of)
        of.due_s = now_s

    def _withdraw(self, of: _List) -> None:
        of.received = None
        if of.mission_type == mavlink.MAV_MISSION_TYPE_MISSION:
            self.items = None
        else:
            self.rally = None

    def _fail(self, transfer: _Transfer, now_s: float) -> None:
        """Try again later; a list is not known to be the vehicle's after several failures."""
        of = transfer.of
        self._end_transfer()
        of.due_s = now_s + _FAILED_S[min(of.failures, len(_FAILED_S) - 1)]
        of.failures += 1
        if of.failures > _FAILURES_KEPT:
            self._withdraw(of)

    def _end_transfer(self) -> None:
        """Give up; PX4 begins a transfer when it answers the first request."""
        if self._transfer is not None and self._transfer.phase is not _Phase.COUNT:
            self._given_up.append(self._transfer.of.mission_type)
        self._transfer = None

    def _complete(self, transfer: _Transfer, now_s: float) -> None:
        """Publish a list that is whole and that the vehicle still has."""
        of = transfer.of
        self._transfer = None
        of.due_s = now_s + _CHECK_S
        of.failures = 0
        if transfer.is_check and not transfer.received:
            return
        of.received = transfer.received
        of.read_s = now_s
        of.count = transfer.count
        of.list_id = transfer.list_id
        if of.mission_type == mavlink.MAV_MISSION_TYPE_MISSION:
            self._publish_mission()
        else:
            self.rally = rally_of(transfer.received)

    def _publish_mission(self) -> None:
        """Publish the mission with the places and turns that depend on the vehicle."""
        received = self._lists[0].received
        items = None if received is None else mission_of(received, *self._known)
        self.items = self.items if items == self.items else items


def _end(system: int, of: int, *, completed: bool) -> mavlink.MAVLink_mission_ack_message:
    result = mavlink.MAV_MISSION_ACCEPTED if completed else mavlink.MAV_MISSION_OPERATION_CANCELLED
    return mavlink.MAVLink_mission_ack_message(system, AUTOPILOT_COMPONENT, result, of)


def _number_at(message: mavlink.MAVLink_message, offset: int) -> int:
    """Number of 32 bit in a frame's payload; 0 where the payload ends, and in MAVLink 1."""
    frame = bytes(message.get_msgbuf())
    if frame[0] != _MAVLINK_2:
        return 0
    payload = frame[_PAYLOAD : _PAYLOAD + frame[1]].ljust(offset + _ID_BYTES, b"\0")
    return int.from_bytes(payload[offset : offset + _ID_BYTES], "little")

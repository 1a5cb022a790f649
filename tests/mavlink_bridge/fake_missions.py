# SPDX-License-Identifier: Apache-2.0
"""A test double of a vehicle with missions: the mission managers of ArduPilot and of PX4.

PX4's is its state machine on one link: one transfer at a time, items in order alone, texts to the
pilot. Its messages have ids behind what pymavlink's dialect knows.
"""

import struct
from collections.abc import Sequence
from typing import Any
from zlib import crc32

from pymavlink.dialects.v20 import common as mavlink

from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, PX4, FakeVehicle

MISSION, FENCE, RALLY = 0, 1, 2  # MAV_MISSION_TYPE
ACCEPTED, ERROR, UNSUPPORTED, INVALID_SEQUENCE, DENIED, CANCELLED = 0, 1, 3, 13, 14, 15
GCS = (255, 190)
OURS = (1, 191)
Item = tuple[int, int, float, float, float, float, int, int, float]
_TIMEOUT_S = 5.0


def item(
    command: int, *values: float, at: tuple[float, float, float] = (0, 0, 0), frame: int = 6
) -> Item:
    """Frame, command, four parameters, latitude, longitude and altitude."""
    p1, p2, p3, p4 = (*values, *(0.0,) * (4 - len(values)))
    lat, lon, alt_m = at
    return (frame, command, p1, p2, p3, p4, round(lat * 1e7), round(lon * 1e7), alt_m)


def survey(count: int) -> list[Item]:
    """A take-off and waypoints, the first of them home for ArduPilot."""
    places = [(47.0 + k * 1e-4, 8.0 + k * 2e-4, 20.0 + k % 7) for k in range(count)]
    return [item(16, k % 3, at=place) for k, place in enumerate(places)]


class MissionVehicle(FakeVehicle):
    """The vehicle, which is also the link, and its mission manager."""

    def __init__(self, autopilot: int = ARDUPILOT, /, **parameters: float) -> None:
        super().__init__(autopilot, **parameters)
        self.lists: dict[int, list[Item]] = {MISSION: [], RALLY: []}
        self.sends_ids = autopilot == PX4
        self.sends_current = True
        self.supported = [MISSION, RALLY]
        self.seq = 0
        self.now_s = 0.0
        self.texts_sent: list[str] = []
        self.uploader: tuple[int, int] | None = None  # ArduPilot: of the upload under way
        self.requests: list[Any] = []  # of the bridge, of missions
        self._state: tuple[int, tuple[int, int]] | None = None  # PX4: type, partner
        self._next = 0
        self._received_s = 0.0

    def beat(self) -> None:
        """Send the messages of each second."""
        super().beat()
        if self._state is not None and self.now_s - self._received_s > _TIMEOUT_S:
            self.texts_sent.append("Mission sync timeout")
            self._state = None
        if self.sends_heartbeats and self.sends_current:
            self.current()

    def current(self) -> None:
        """Send MISSION_CURRENT."""
        count = len(self.lists[MISSION])
        if self.autopilot == ARDUPILOT:
            total, state = max(count - 1, 0), 3 if count > 1 else 1
        else:
            total, state = count or 0xFFFF, 3 if count else 1
        ids = [self.list_id(one) for one in (MISSION, FENCE, RALLY)]
        message = mavlink.MAVLink_mission_current_message(self.seq, total, state, 1)
        self._emit_with(message, struct.pack("<HHBB3I", self.seq, total, state, 1, *ids))

    def list_id(self, of: int) -> int:
        """PX4's id of the content of a list."""
        items = self.lists.get(of)
        return crc32(repr(items).encode()) if items and self.sends_ids else 0

    def handle(self, message: Any, sender: tuple[int, int] = GCS) -> None:  # noqa: ANN401 - a message
        """Take a message of a mission from a component."""
        self._received_s = self.now_s
        if self.autopilot == PX4:
            self._handle_as_px4(message, sender)
        else:
            self._handle_as_ardupilot(message, sender)

    def _take(self, message: Any) -> None:  # noqa: ANN401 - a message
        if message.get_type().startswith("MISSION"):
            self.requests.append((round(self.now_s, 3), message))
            self.handle(message, (message.get_srcSystem(), message.get_srcComponent()))
        else:
            super()._take(message)

    def _handle_as_ardupilot(self, message: Any, sender: tuple[int, int]) -> None:  # noqa: ANN401 - a message
        kind, of = message.get_type(), message.mission_type
        if kind == "MISSION_ACK":
            return
        if of not in self.supported:
            self.acknowledge(sender, UNSUPPORTED, of)
        elif self.uploader not in (None, sender):
            self.acknowledge(sender, DENIED, of)
        elif kind == "MISSION_REQUEST_LIST":
            self._count(sender, of)
        elif message.seq < len(self.lists[of]):
            self._item(sender, of, message.seq)
        else:
            self._count(sender, of)
            self.acknowledge(sender, INVALID_SEQUENCE, of)

    def _handle_as_px4(self, message: Any, sender: tuple[int, int]) -> None:  # noqa: ANN401 - a message
        kind, of = message.get_type(), message.mission_type
        if kind == "MISSION_REQUEST_LIST":
            count = len(self.lists[of])
            if self._state is not None and self._next == len(self.lists[self._state[0]]):
                self._state = None
            if self._state not in (None, (of, sender)):
                self.texts_sent.append("Mission download request ignored, already active")
                return
            self._state, self._next = (of, sender), 0
            assert count is not None
            self._count(sender, of)
        elif self._state is None:
            return
        elif sender != self._state[1]:
            self.texts_sent.append("partner id mismatch")
        elif of != self._state[0]:
            return
        elif kind == "MISSION_ACK":
            self._state = None
        elif message.seq in (self._next, self._next - 1) and message.seq < len(self.lists[of]):
            self._next = message.seq + 1
            self._item(sender, of, message.seq)
        else:
            self._state = None
            self.acknowledge(sender, ERROR, of)
            self.texts_sent.append("Req. WP was unexpected")

    @property
    def busy(self) -> bool:
        """Whether PX4 refuses an upload on this link."""
        return self._state is not None

    def acknowledge(self, target: tuple[int, int], result: int, of: int = MISSION) -> None:
        """Send MISSION_ACK."""
        self.emit(mavlink.MAVLink_mission_ack_message(*target, result, of))

    def _count(self, target: tuple[int, int], of: int) -> None:
        values = (len(self.lists[of]), *target, of)
        message = mavlink.MAVLink_mission_count_message(*target, len(self.lists[of]), of)
        self._emit_with(message, struct.pack("<HBBBI", *values, self.list_id(of)))

    def _item(self, target: tuple[int, int], of: int, number: int) -> None:
        frame, command, *values = self.lists[of][number]
        self.emit(
            mavlink.MAVLink_mission_item_int_message(
                *target, number, frame, command, number == self.seq, 1, *values, of
            )
        )

    def _emit_with(self, message: Any, payload: bytes) -> None:  # noqa: ANN401 - a message
        """Send a message with a longer payload."""
        self._out.append(bytes(message._pack(self._codec, message.crc_extra, payload)))

    def from_gcs(self, message: Any) -> None:  # noqa: ANN401 - a message
        """Let a message of the ground station pass on the bridge's link, and answer it there."""
        self._out.append(bytes(message.pack(mavlink.MAVLink(None, *GCS))))

    def kinds(self) -> Sequence[str]:
        """Types of the mission messages that the bridge has sent."""
        return [message.get_type() for _, message in self.requests]

# SPDX-License-Identifier: Apache-2.0
"""Times of the requests of a download, and what ends or begins one; step by step, no bridge."""

import struct
from itertools import pairwise
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.mission_download import MissionDownload
from tests.mavlink_bridge.fake_missions import (
    ACCEPTED,
    CANCELLED,
    DENIED,
    ERROR,
    GCS,
    MISSION,
    OURS,
    RALLY,
    UNSUPPORTED,
    Item,
    item,
    survey,
)
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, PX4

STACKS = pytest.mark.parametrize("autopilot", [ARDUPILOT, PX4])


def by_wire(message: Any, sender: tuple[int, int] = (1, 1), payload: bytes | None = None) -> Any:  # noqa: ANN401 - messages
    """A message as it comes from a link, with a longer payload if one is given."""
    codec = mavlink.MAVLink(None, *sender)
    frame = (
        message.pack(codec) if payload is None else message._pack(codec, message.crc_extra, payload)
    )
    return mavlink.MAVLink(None).decode(bytearray(frame))


class Bench:
    """A download and its autopilot; the test answers."""

    def __init__(self, autopilot: int = PX4) -> None:
        self.download, self.autopilot, self.kind = MissionDownload(OURS[1]), Autopilot(), autopilot
        self.lists: dict[int, list[Item]] = {MISSION: survey(3), RALLY: []}
        self.ids = {MISSION: 77 if autopilot == PX4 else 0, RALLY: 0}
        self.answers = True
        self.sent: list[
            tuple[float, str, int, int]
        ] = []  # time, message, its list, number or result

    def receive(self, message: Any, now_s: float) -> None:  # noqa: ANN401 - a message
        """A message of the link."""
        self.autopilot.receive(message, now_s)
        self.download.receive(message, self.autopilot, now_s)

    def beat(self, now_s: float) -> None:
        """A heartbeat."""
        self.receive(by_wire(mavlink.MAVLink_heartbeat_message(2, self.kind, 1, 0, 4, 3)), now_s)

    def count(self, of: int, now_s: float, count: int | None = None) -> None:
        """Answer with the count and the id."""
        number = len(self.lists[of]) if count is None else count
        message = mavlink.MAVLink_mission_count_message(*OURS, number, of)
        payload = struct.pack("<HBBBI", number, *OURS, of, self.ids[of])
        self.receive(by_wire(message, payload=payload), now_s)

    def item(self, of: int, number: int, now_s: float) -> None:
        """Answer with an item."""
        frame, command, *values = self.lists[of][number]
        message = mavlink.MAVLink_mission_item_int_message(
            *OURS, number, frame, command, 0, 1, *values, of
        )
        self.receive(by_wire(message), now_s)

    def acknowledge(
        self, result: int, of: int, now_s: float, target: tuple[int, int] = OURS
    ) -> None:
        """Send MISSION_ACK."""
        self.receive(by_wire(mavlink.MAVLink_mission_ack_message(*target, result, of)), now_s)

    def step(self, now_s: float) -> list[tuple[str, int, int]]:
        """What is sent in a step; it is answered before the next one."""
        found = []
        for message in self.download.due(self.autopilot, None, now_s):
            assert (message.target_system, message.target_component) == (1, 1)
            kind = message.get_type().removeprefix("MISSION_")
            number = getattr(message, "seq", getattr(message, "type", 0))
            found.append((kind, message.mission_type, number))
            self.sent.append((now_s, *found[-1]))
        if self.answers:
            for kind, of, number in found:
                if kind == "REQUEST_LIST":
                    self.count(of, now_s)
                elif kind == "REQUEST_INT":
                    self.item(of, number, now_s)
        return found

    def run(self, start_s: float, end_s: float) -> "Bench":
        """Eight steps a second, with heartbeats."""
        for eighth in range(round(start_s * 8), round(end_s * 8)):
            if eighth % 8 == 0:
                self.beat(eighth / 8)
            self.step(eighth / 8)
        return self

    def requests(self, of: int, kind: str = "REQUEST_LIST") -> list[float]:
        """Times of the requests of a list."""
        return [now_s for now_s, what, which, _ in self.sent if (what, which) == (kind, of)]


LIST, INT, ACK = "REQUEST_LIST", "REQUEST_INT", "ACK"


@STACKS
def test_a_download_is_a_count_the_items_the_count_again_and_an_end(autopilot: int) -> None:
    bench = Bench(autopilot).run(0.0, 2.0)
    mission = [(kind, number) for _, kind, of, number in bench.sent if of == MISSION]
    assert mission == [
        *((LIST, 0), (INT, 0), (INT, 1), (INT, 2), (LIST, 0), (ACK, ACCEPTED), (ACK, ACCEPTED))
    ]
    rally = [(kind, number) for _, kind, of, number in bench.sent if of == RALLY]
    assert rally == [(LIST, 0), (ACK, ACCEPTED), (ACK, ACCEPTED)]
    assert bench.download.items is not None
    assert len(bench.download.items) == 3
    assert bench.download.rally == ()


def test_the_pauses_between_tries_grow_and_after_failures_between_downloads() -> None:
    bench = Bench()
    bench.lists[RALLY] = survey(2)
    bench.answers = False
    bench.run(0.0, 130.0)
    mission, rally = bench.requests(MISSION), bench.requests(RALLY)
    for times_s in (mission, rally):
        for first in range(0, len(times_s), 4):
            assert [b - a for a, b in pairwise(times_s[first : first + 4])] == [1.0, 1.5, 2.0]
    # It fails 3 s after the last try; 5, 15 and 60 s later it is due again, and waits for the
    # other list, which is tried meanwhile.
    assert mission[::4] == [0.0, 15.25, 37.75, 105.25]
    assert rally[::4] == [7.625, 22.875, 45.375, 112.875]


def test_ten_requests_a_second_and_four_of_those_that_are_read_again() -> None:
    bench = Bench(ARDUPILOT)
    bench.lists[MISSION] = survey(20)
    now_s, first, again = 0.0, list[float](), list[float]()
    for step in range(10_000):
        now_s = step / 50
        if step % 50 == 0:
            bench.beat(now_s)
        for kind, of, _ in bench.step(now_s):
            if (kind, of) == (INT, MISSION):
                (first if len(first) < 20 else again).append(now_s)
        if len(again) >= 20:
            break
    assert {round(b - a, 3) for a, b in pairwise(first)} == {0.1}
    assert {round(b - a, 3) for a, b in pairwise(again)} <= {0.24, 0.26}
    assert again[0] - first[-1] == pytest.approx(30.0, abs=1.5)


def test_a_list_with_an_id_is_checked_by_its_count_each_thirty_seconds() -> None:
    bench = Bench().run(0.0, 2.0)
    bench.sent.clear()
    bench.run(2.0, 95.0)
    assert [round(t_s / 30) for t_s in bench.requests(MISSION)] == [1, 2, 3]
    assert bench.requests(MISSION, INT) == []
    assert bench.download.items is not None


def test_a_list_of_px4_without_an_id_is_read_again_after_five_minutes() -> None:
    bench = Bench()
    bench.ids = {MISSION: 0, RALLY: 0}
    bench.run(0.0, 400.0)
    times_s = [t_s for t_s in bench.requests(MISSION, INT) if t_s > 5.0]
    assert len(times_s) == 3
    assert 300.0 <= times_s[0] <= 332.0


@pytest.mark.parametrize("what", ["id", "count", "item"])
def test_a_list_that_is_another_one_at_a_check_is_withdrawn_and_read(what: str) -> None:
    bench = Bench(PX4 if what == "id" else ARDUPILOT)
    bench.run(0.0, 2.0)
    assert bench.download.items is not None
    if what == "id":
        bench.ids[MISSION] = 78
    elif what == "count":
        bench.lists[MISSION] = survey(4)
    else:
        bench.lists[MISSION][2] = item(16, 9.0, at=(47.5, 8.5, 30.0))
    seen = []
    for second in range(2, 45):
        bench.run(float(second), second + 1.0)
        seen.append(bench.download.items)
    assert None in seen
    assert seen[-1] is not None
    assert len(seen[-1]) == len(bench.lists[MISSION])


def test_a_list_is_withdrawn_after_three_checks_without_an_answer() -> None:
    bench = Bench().run(0.0, 2.0)
    bench.answers = False
    found = {}
    for second in range(2, 120):
        bench.run(float(second), second + 1.0)
        found[second] = bench.download.items is not None
    ended = [second for second, known in found.items() if not known]
    # Checks at 30 s, then 5 and 15 s after a failure: the third one fails about a minute later.
    assert ended
    assert 70 <= ended[0] <= 95
    assert not found[119]


@pytest.mark.parametrize(
    ("result", "again_s"), [(UNSUPPORTED, None), (DENIED, 5.0), (ERROR, 5.0), (CANCELLED, 5.0)]
)
def test_a_refusal_is_followed_by_a_pause(result: int, again_s: float | None) -> None:
    bench = Bench()
    bench.answers = False
    bench.beat(0.0)
    assert bench.step(0.0) == [(LIST, MISSION, 0)]
    bench.acknowledge(result, MISSION, 0.0)
    bench.answers = True
    bench.sent.clear()
    bench.run(0.125, 20.0)
    times_s = bench.requests(MISSION)
    assert (times_s[0] if times_s else None) == again_s
    # The other list is not refused; while an upload is under way nothing is requested at all.
    assert bench.requests(RALLY)[0] == (5.0 if result == DENIED else 0.125) or result == DENIED


def test_an_acknowledgement_of_acceptance_or_of_another_list_is_no_refusal() -> None:
    bench = Bench()
    bench.answers = False
    bench.beat(0.0)
    bench.step(0.0)
    bench.acknowledge(ACCEPTED, MISSION, 0.0)
    bench.acknowledge(ERROR, RALLY, 0.0)
    bench.run(0.125, 2.0)
    assert bench.requests(MISSION) == [0.0, 1.0]  # goes on


@STACKS
def test_a_download_that_is_given_up_after_its_count_is_ended_twice(autopilot: int) -> None:
    bench = Bench(autopilot)
    bench.beat(0.0)
    bench.step(0.0)
    bench.answers = False
    bench.step(0.125)
    request = by_wire(mavlink.MAVLink_mission_request_list_message(1, 1, MISSION), GCS)
    bench.receive(request, 0.25)
    assert bench.step(0.25) == [(ACK, MISSION, CANCELLED)] * 2
    found = []
    for eighth in range(3, 60):
        if eighth % 8 == 0:
            bench.beat(eighth / 8)
        found += [eighth / 8 for _ in bench.step(eighth / 8)]
    assert found[0] == 5.25  # five seconds after the last message of the other transfer


@pytest.mark.parametrize(
    ("sender", "target", "waits"),
    [
        (GCS, (1, 1), True),
        (GCS, (0, 0), True),
        (GCS, (2, 1), False),  # another vehicle's
        ((2, 1), (255, 190), False),
        ((1, 1), (255, 190), True),
    ],
)
def test_the_transfer_of_another_component_with_this_vehicle_is_waited_for(
    sender: tuple[int, int], target: tuple[int, int], *, waits: bool
) -> None:
    bench = Bench()
    bench.beat(0.0)
    bench.receive(by_wire(mavlink.MAVLink_mission_count_message(*target, 3, MISSION), sender), 0.0)
    assert (bench.step(0.0) == []) == waits


@pytest.mark.parametrize(
    ("kind", "result", "changes"),
    [
        ("ACK", ACCEPTED, True),
        ("ACK", ERROR, False),
        ("REQUEST", 0, True),
        ("REQUEST_INT", 0, True),
        ("COUNT", 0, False),
    ],
)
@pytest.mark.parametrize("of", [MISSION, RALLY, 255])
def test_an_upload_of_another_component_withdraws_its_list(
    kind: str, result: int, of: int, *, changes: bool
) -> None:
    bench = Bench().run(0.0, 2.0)
    messages: dict[str, Any] = {
        "ACK": mavlink.MAVLink_mission_ack_message(*GCS, result, of),
        "REQUEST": mavlink.MAVLink_mission_request_message(*GCS, 0, of),
        "REQUEST_INT": mavlink.MAVLink_mission_request_int_message(*GCS, 0, of),
        "COUNT": mavlink.MAVLink_mission_count_message(*GCS, 3, of),
    }
    bench.receive(by_wire(messages[kind]), 2.0)
    found = bench.download.items is None, bench.download.rally is None
    assert found == (changes and of in (MISSION, 255), changes and of in (RALLY, 255))
    bench.run(2.0, 12.0)
    assert bench.download.items is not None
    assert bench.download.rally is not None


@pytest.mark.parametrize(
    ("buffer_pct", "pauses"), [(49, True), (50, False), (100, False), (0, True)]
)
def test_a_radio_whose_buffer_fills_pauses_requests_for_two_seconds(
    buffer_pct: int, *, pauses: bool
) -> None:
    bench = Bench()
    bench.beat(0.0)
    radio = mavlink.MAVLink_radio_status_message(100, 100, buffer_pct, 0, 0, 0, 0)
    bench.receive(by_wire(radio, (51, 68)), 0.0)
    found = [now_s for now_s in (0.0, 1.875, 2.0) if bench.step(now_s)]
    assert found[0] == (2.0 if pauses else 0.0)


def current(seq: int, total: int, state: int, *ids: int) -> Any:  # noqa: ANN401 - a message
    message = mavlink.MAVLink_mission_current_message(seq, total, state, 1)
    payload = struct.pack("<HHBB3I", seq, total, state, 1, *ids)
    return by_wire(message, payload=payload)


@pytest.mark.parametrize(
    ("autopilot", "total", "state", "ids", "withdrawn"),
    [
        (PX4, 3, 3, (77, 0, 0), (False, False)),
        (PX4, 3, 3, (0, 0, 0), (False, False)),  # no ids
        (PX4, 3, 3, (78, 0, 0), (True, False)),
        (PX4, 3, 3, (77, 5, 0), (False, False)),  # of the fence
        (PX4, 3, 3, (77, 0, 9), (False, True)),  # rally points that it had not before
        (PX4, 4, 3, (77, 0, 0), (True, False)),
        (PX4, 0, 3, (77, 0, 0), (False, False)),  # not sent
        (PX4, 0xFFFF, 3, (77, 0, 0), (False, False)),
        (PX4, 0xFFFF, 1, (77, 0, 0), (True, False)),  # no mission
        (ARDUPILOT, 2, 3, (0, 0, 0), (False, False)),  # home is not counted
        (ARDUPILOT, 3, 3, (0, 0, 0), (True, False)),
        (ARDUPILOT, 0, 1, (0, 0, 0), (True, False)),
    ],
)
def test_the_current_item_shows_whether_the_lists_are_others(
    autopilot: int, total: int, state: int, ids: tuple[int, ...], withdrawn: tuple[bool, bool]
) -> None:
    bench = Bench(autopilot)
    bench.run(0.0, 2.0)
    bench.receive(current(0, total, state, *ids), 2.0)
    assert (bench.download.items is None, bench.download.rally is None) == withdrawn


@pytest.mark.parametrize("sender", [(1, 2), (2, 1), GCS])
def test_the_current_item_of_another_component_shows_nothing(sender: tuple[int, int]) -> None:
    bench = Bench().run(0.0, 2.0)
    message = mavlink.MAVLink_mission_current_message(0, 9, 3, 1)
    bench.receive(by_wire(message, sender), 2.0)
    assert bench.download.items is not None


def test_a_mission_of_ardupilot_that_is_home_alone_is_none() -> None:
    for autopilot, items in ((ARDUPILOT, 0), (PX4, 1)):
        bench = Bench(autopilot)
        bench.lists[MISSION] = survey(1)
        bench.run(0.0, 2.0)
        assert bench.download.items is not None
        assert len(bench.download.items) == items


@pytest.mark.parametrize(("count", "reads"), [(3000, True), (3001, False)])
def test_more_items_than_a_vehicle_stores_are_not_read(count: int, *, reads: bool) -> None:
    bench = Bench()
    bench.answers = False
    bench.beat(0.0)
    bench.step(0.0)
    bench.count(MISSION, 0.0, count)
    assert ((INT, MISSION, 0) in bench.step(0.125)) == reads


def test_an_item_that_is_not_the_requested_one_is_ignored() -> None:
    bench = Bench()
    bench.beat(0.0)
    bench.step(0.0)
    bench.answers = False
    bench.step(0.125)
    bench.item(MISSION, 1, 0.125)
    bench.item(MISSION, 2, 0.125)
    assert bench.step(0.25) == []
    bench.item(MISSION, 0, 0.25)
    assert bench.step(0.375) == [(INT, MISSION, 1)]
    bench.item(MISSION, 0, 0.375)  # a duplicate
    assert bench.step(0.5) == []


def test_a_change_while_it_is_read_begins_again() -> None:
    bench = Bench()
    bench.beat(0.0)
    for eighth in range(4):
        bench.step(eighth / 8)
    bench.ids[MISSION] = 99  # the confirmation has another one
    bench.run(0.5, 1.0)
    assert bench.download.items is None
    assert (ACK, MISSION, CANCELLED) in [one[1:] for one in bench.sent]
    bench.run(1.0, 4.0)
    assert bench.download.items is not None


@STACKS
def test_nothing_is_sent_without_a_heartbeat_and_all_is_checked_after_a_pause(
    autopilot: int,
) -> None:
    bench = Bench(autopilot)
    assert bench.step(0.0) == []
    bench.run(0.0, 2.0)
    bench.sent.clear()
    for eighth in range(40, 60):
        assert bench.step(eighth / 8) == []
    assert bench.download.items is not None  # silence changes nothing
    bench.run(10.0, 12.0)
    assert bench.requests(MISSION)[0] == pytest.approx(10.0, abs=0.5)
    assert bench.requests(RALLY)


def test_a_count_of_mavlink_1_has_no_id() -> None:
    bench = Bench()
    bench.answers = False
    bench.beat(0.0)
    bench.step(0.0)
    codec = mavlink.MAVLink(None, 1, 1)
    message = mavlink.MAVLink_mission_count_message(*OURS, 0, MISSION)
    frame = message.pack(codec, force_mavlink1=True)
    bench.receive(mavlink.MAVLink(None).decode(bytearray(frame)), 0.0)
    bench.step(0.125)
    assert bench.download.items == ()

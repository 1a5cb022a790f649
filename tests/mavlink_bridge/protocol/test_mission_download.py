# SPDX-License-Identifier: Apache-2.0
"""Mission and rally points are read whole or not at all, and no other transfer is disturbed."""

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.flight_plan import FlightPlan, ItemKind, MissionItem, Place
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.protocol.mission_download import ITEMS_MAX
from mavlink_bridge.protocol.mission_items import Vehicle, mission_of, received_item
from tests.mavlink_bridge.fake_missions import (
    ACCEPTED,
    CANCELLED,
    ERROR,
    GCS,
    MISSION,
    OURS,
    RALLY,
    Item,
    MissionVehicle,
    item,
    survey,
)
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, PX4

if TYPE_CHECKING:
    from collections.abc import Callable

STACKS = pytest.mark.parametrize("autopilot", [ARDUPILOT, PX4])
ALLOWED = {"MISSION_REQUEST_LIST", "MISSION_REQUEST_INT", "MISSION_ACK"}
POINTS = [item(5100, at=(47.1, 8.1, 40.0)), item(5100, at=(47.2, 8.2, 50.0), frame=0)]


class Link:
    """A bridge, the vehicle, and a link that loses, doubles and delays frames."""

    def __init__(self, vehicle: MissionVehicle, seed: int = 0, **shares: float) -> None:
        self.vehicle = vehicle
        self.bridge = Bridge(self)
        self.now_s = 0.0
        self.plan: FlightPlan | None = None
        self.plans: list[FlightPlan | None] = []  # each one that was seen
        self.on_step: Callable[[], None] = lambda: None
        self.is_open, self.trouble = True, None
        self._random, self._shares = Random(seed), shares  # noqa: S311 - losses
        self._late: list[bytes] = []

    def send(self, data: bytes, now_s: float) -> bool:
        """Carry a frame to the vehicle."""
        return self._is("lost") or self.vehicle.send(data, now_s)

    def receive(self, now_s: float) -> list[bytes]:
        """Carry frames from the vehicle."""
        frames, self._late = self._late, []
        for frame in self.vehicle.receive(now_s):
            if self._is("lost"):
                continue
            (self._late if self._is("late") else frames).append(frame)
            if self._is("double"):
                self._late.append(frame)
        return frames

    def _is(self, what: str) -> bool:
        return self._random.random() < self._shares.get(what, 0.0)

    def fly(self, seconds: float) -> FlightPlan:
        """Run for a time; the plan at its end."""
        for _ in range(round(seconds * 10)):
            self.vehicle.now_s = self.now_s
            if round(self.now_s * 10) % 10 == 0:
                self.vehicle.beat()
            self.on_step()
            self.plan = self.bridge.pump(self.now_s).plan
            if not self.plans or self.plan is not self.plans[-1]:
                self.plans.append(self.plan)
            self.now_s = round(self.now_s + 0.1, 6)
        return self.plan or FlightPlan()


def vehicle_with(
    autopilot: int, mission: list[Item], rally: list[Item] | None = None
) -> MissionVehicle:
    made = MissionVehicle(autopilot)
    made.lists = {MISSION: mission, RALLY: POINTS if rally is None else rally}
    return made


def expected(vehicle: MissionVehicle) -> tuple[MissionItem, ...]:
    """The mission that the vehicle has now."""
    messages = [
        mavlink.MAVLink_mission_item_int_message(1, 1, k, one[0], one[1], 0, 1, *one[2:], 0)
        for k, one in enumerate(vehicle.lists[MISSION])
    ]
    return mission_of([received_item(one, Vehicle(vehicle.autopilot, 2)) for one in messages])


def lists(plan: FlightPlan) -> tuple[Any, Any]:
    return plan.items, plan.rally


@STACKS
def test_mission_and_rally_points_are_read(autopilot: int) -> None:
    link = Link(vehicle_with(autopilot, survey(12)))
    plan = link.fly(10.0)
    assert plan.items == expected(link.vehicle)
    assert plan.rally == (Place(47.1, 8.1, 40.0), Place(47.2, 8.2, 50.0, above_home=False))
    assert set(link.vehicle.kinds()) == ALLOWED
    targets = {(m.target_system, m.target_component) for _, m in link.vehicle.requests}
    assert targets == {(1, 1)}
    sources = {(m.get_srcSystem(), m.get_srcComponent()) for _, m in link.vehicle.requests}
    assert sources == {OURS}
    assert not link.vehicle.texts_sent
    assert not link.vehicle.busy


@STACKS
@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_mission_is_no_unknown_one(autopilot: int, count: int) -> None:
    link = Link(vehicle_with(autopilot, survey(count), []))
    plan = link.fly(10.0)
    assert plan.items == (() if autopilot == ARDUPILOT else expected(link.vehicle))
    assert plan.rally == ()


@STACKS
def test_ten_requests_a_second_are_sent_at_most(autopilot: int) -> None:
    link = Link(vehicle_with(autopilot, survey(200)))
    assert link.fly(60.0).items == expected(link.vehicle)
    per_s = Counter(int(t_s) for t_s, m in link.vehicle.requests if m.get_type() != "MISSION_ACK")
    assert max(per_s.values()) <= 11


@STACKS
@pytest.mark.parametrize("seed", range(6))
def test_a_plan_is_whole_on_a_link_that_loses_doubles_and_delays(autopilot: int, seed: int) -> None:
    link = Link(vehicle_with(autopilot, survey(25)), seed, lost=0.15, double=0.2, late=0.2)
    plan = link.fly(300.0)
    assert plan.items == expected(link.vehicle)
    assert {one.items for one in link.plans if one} <= {None, expected(link.vehicle)}
    assert plan.rally is not None


def test_a_lost_acknowledgement_leaves_no_transfer_open() -> None:
    vehicle = vehicle_with(PX4, survey(5))
    link, handle, ends = Link(vehicle), vehicle.handle, []

    def lose_every_second_end(message: Any, sender: tuple[int, int] = OURS) -> None:  # noqa: ANN401 - a message
        if message.get_type() == "MISSION_ACK":
            ends.append(message)
            if len(ends) % 2:
                return
        handle(message, sender)

    vehicle.handle = lose_every_second_end  # type: ignore[method-assign]  # a link that loses
    assert link.fly(100.0).items == expected(vehicle)
    assert len(ends) >= 4
    assert not vehicle.texts_sent
    assert not vehicle.busy


@STACKS
def test_a_silent_vehicle_is_asked_ever_more_rarely(autopilot: int) -> None:
    vehicle = vehicle_with(autopilot, survey(5))
    link = Link(vehicle)
    vehicle.handle = lambda *_: None  # type: ignore[method-assign]  # answers nothing
    assert lists(link.fly(1200.0)) == (None, None)
    times_s = [t_s for t_s, _ in vehicle.requests]
    assert len(times_s) < 80
    assert sum(t_s > 600.0 for t_s in times_s) < 30
    assert vehicle.kinds().count("MISSION_ACK") == 0


def test_rally_points_of_an_autopilot_without_them_stay_unknown() -> None:
    vehicle = vehicle_with(ARDUPILOT, survey(5))
    vehicle.supported = [MISSION]
    link = Link(vehicle)
    plan = link.fly(200.0)
    assert (plan.items, plan.rally) == (expected(vehicle), None)
    assert [m.mission_type for _, m in vehicle.requests].count(RALLY) == 1


@STACKS
def test_another_mission_of_the_same_length_is_noticed(autopilot: int) -> None:
    link = Link(vehicle_with(autopilot, survey(20)))
    first = link.fly(40.0).items
    changed = item(16, 9.0, at=(47.3, 8.3, 99.0))
    link.vehicle.lists = {**link.vehicle.lists, MISSION: [*survey(19), changed]}
    plan = link.fly(60.0)
    assert plan.items == expected(link.vehicle) != first
    assert len(link.plans) <= 6


@STACKS
@pytest.mark.parametrize("count", [0, 10, 30])
def test_another_number_of_items_is_noticed_within_seconds(autopilot: int, count: int) -> None:
    link = Link(vehicle_with(autopilot, survey(20)))
    link.fly(8.0)
    before = len(link.plans)
    link.vehicle.lists = {**link.vehicle.lists, MISSION: survey(count)}
    assert link.fly(8.0).items == expected(link.vehicle)
    assert (link.plans[before] or FlightPlan()).items is None


@STACKS
def test_other_rally_points_are_noticed(autopilot: int) -> None:
    link = Link(vehicle_with(autopilot, survey(5)))
    link.fly(8.0)
    link.vehicle.lists = {**link.vehicle.lists, RALLY: POINTS[:1]}
    assert link.fly(60.0).rally == (Place(47.1, 8.1, 40.0),)
    link.vehicle.lists = {**link.vehicle.lists, RALLY: []}
    assert link.fly(60.0).rally == ()
    link.vehicle.lists = {**link.vehicle.lists, RALLY: POINTS}
    assert link.fly(60.0).rally is not None


def test_a_mission_without_id_on_px4_is_read_again_after_minutes() -> None:
    vehicle = vehicle_with(PX4, survey(5))
    vehicle.sends_ids = False
    link = Link(vehicle)
    link.fly(100.0)
    items = [t_s for t_s, m in vehicle.requests if m.get_type() == "MISSION_REQUEST_INT"]
    assert items[-1] < 5.0
    vehicle.lists = {**vehicle.lists, MISSION: [*survey(4), item(20)]}
    assert link.fly(300.0).items == expected(vehicle)
    assert not vehicle.texts_sent


def test_the_home_of_ardupilot_may_move_without_another_download() -> None:
    link = Link(vehicle_with(ARDUPILOT, survey(4)))
    link.fly(8.0)
    before = len(link.plans)
    link.vehicle.lists = {
        **link.vehicle.lists,
        MISSION: [item(16, at=(46.0, 7.0, 400.0), frame=0), *survey(4)[1:]],
    }
    plan = link.fly(60.0)
    assert plan.items is not None
    assert plan.items[0].place == Place(46.0, 7.0, 400.0, above_home=False)
    assert None not in [one.items for one in link.plans[before:] if one]


@STACKS
def test_a_take_off_has_a_place_as_soon_as_home_is_known(autopilot: int) -> None:
    takeoff = item(22, at=(0, 0, 20.0))
    vehicle = vehicle_with(autopilot, [item(20), takeoff])
    link = Link(vehicle)
    before = link.fly(8.0).items
    home = mavlink.MAVLink_home_position_message(
        460000000, 70000000, 400000, 0, 0, 0, [0.0] * 4, 0, 0, 0
    )
    vehicle.emit(home)
    after = link.fly(0.2).items
    assert before is not None
    assert after is not None
    assert (before[1].place, after[1].place) == (None, Place(46.0, 7.0, 20.0))


@STACKS
def test_a_mission_that_changes_while_it_is_read_is_read_again(autopilot: int) -> None:
    link = Link(vehicle_with(autopilot, survey(20)))
    link.fly(1.0)
    link.vehicle.lists = {**link.vehicle.lists, MISSION: [*survey(18), *POINTS[:1]]}
    plan = link.fly(60.0)
    assert plan.items == expected(link.vehicle)
    assert {one.items for one in link.plans if one} == {None, expected(link.vehicle)}


@STACKS
def test_a_restart_of_the_autopilot_discards_the_plan(autopilot: int) -> None:
    link = Link(vehicle_with(autopilot, survey(5)))
    link.vehicle.boot_ms = 100_000
    link.fly(10.0)
    link.vehicle.lists = {MISSION: survey(8), RALLY: []}
    link.vehicle.sends_ids = link.vehicle.sends_current = False
    link.vehicle.reboot(0)
    plan = link.fly(15.0)
    assert plan.items == expected(link.vehicle)
    assert plan.rally == ()


@STACKS
def test_after_a_pause_of_the_link_the_lists_are_checked(autopilot: int) -> None:
    link = Link(vehicle_with(autopilot, survey(5), []))
    link.fly(10.0)
    link.vehicle.sends_heartbeats = False
    link.fly(10.0)
    before = len(link.vehicle.requests)
    link.fly(10.0)
    assert len(link.vehicle.requests) == before
    link.vehicle.sends_heartbeats = True
    link.fly(3.0)
    assert len(link.vehicle.requests) > before
    assert link.plan is not None
    assert link.plan.items is not None


# Another component's transfers.


def request_list(of: int = MISSION, target: int = 1) -> Any:  # noqa: ANN401 - a message
    return mavlink.MAVLink_mission_request_list_message(target, 1, of)


@STACKS
@pytest.mark.parametrize("at_s", [0.3, 1.0, 2.3])
def test_a_download_of_the_ground_station_is_given_way_to(autopilot: int, at_s: float) -> None:
    link = Link(vehicle_with(autopilot, survey(20)))
    link.fly(at_s)
    start_s, before = link.now_s, len(link.vehicle.requests)
    link.vehicle.from_gcs(request_list())
    link.fly(4.9)
    assert {m.get_type() for _, m in link.vehicle.requests[before:]} <= {"MISSION_ACK"}
    assert all(m.type == CANCELLED for _, m in link.vehicle.requests[before:])
    assert not link.vehicle.busy
    assert link.fly(10.0).items == expected(link.vehicle)
    later_s = [t_s for t_s, _ in link.vehicle.requests[before:] if t_s > start_s + 1.0]
    assert later_s[0] >= start_s + 5.0
    assert not link.vehicle.texts_sent


@STACKS
def test_another_vehicles_transfer_is_no_reason_to_wait(autopilot: int) -> None:
    link = Link(vehicle_with(autopilot, survey(3)))
    link.on_step = lambda: link.vehicle.from_gcs(request_list(target=7))
    assert link.fly(5.0).items == expected(link.vehicle)


@STACKS
@pytest.mark.parametrize("shown", ["MISSION_REQUEST", "MISSION_REQUEST_INT", "MISSION_ACK"])
def test_an_upload_of_the_ground_station_changes_the_plan(autopilot: int, shown: str) -> None:
    vehicle = vehicle_with(autopilot, survey(20))
    vehicle.sends_ids = vehicle.sends_current = False
    link = Link(vehicle)
    link.fly(10.0)
    vehicle.lists = {**vehicle.lists, MISSION: [*survey(19), item(20)]}
    kinds = {
        "MISSION_REQUEST": mavlink.MAVLink_mission_request_message(*GCS, 3, MISSION),
        "MISSION_REQUEST_INT": mavlink.MAVLink_mission_request_int_message(*GCS, 3, MISSION),
        "MISSION_ACK": mavlink.MAVLink_mission_ack_message(*GCS, ACCEPTED, MISSION),
    }
    vehicle.emit(kinds[shown])
    before = len(vehicle.requests)
    plan = link.fly(4.0)
    assert plan.items is None
    assert plan.rally is not None
    assert all(m.get_type() == "MISSION_ACK" for _, m in vehicle.requests[before:])
    assert link.fly(10.0).items == expected(vehicle)


@STACKS
def test_all_lists_may_be_cleared_at_once(autopilot: int) -> None:
    link = Link(vehicle_with(autopilot, survey(20)))
    link.fly(10.0)
    link.vehicle.lists = {MISSION: [], RALLY: []}
    link.vehicle.acknowledge(GCS, ACCEPTED, 255)
    link.fly(1.0)
    assert lists(link.fly(0.1)) == (None, None)
    plan = link.fly(10.0)
    assert (plan.items, plan.rally) == ((), ())


@STACKS
def test_the_end_of_the_ground_stations_download_changes_nothing(autopilot: int) -> None:
    link = Link(vehicle_with(autopilot, survey(5)))
    plan = link.fly(10.0)
    link.vehicle.from_gcs(mavlink.MAVLink_mission_ack_message(1, 1, ACCEPTED, MISSION))
    link.vehicle.acknowledge(GCS, ERROR)
    assert lists(link.fly(3.0)) == lists(plan)


def test_ardupilot_that_receives_an_upload_denies_and_is_left_alone() -> None:
    vehicle = vehicle_with(ARDUPILOT, survey(20))
    link = Link(vehicle)
    link.fly(10.0)
    vehicle.uploader = GCS
    link.fly(40.0)
    assert lists(link.fly(0.1)) == (None, None)
    times_s = [t_s for t_s, _ in vehicle.requests if t_s > 45.0]
    assert len(times_s) <= 2
    vehicle.uploader, vehicle.lists = None, {MISSION: survey(30), RALLY: []}
    assert link.fly(20.0).items == expected(vehicle)


def test_a_refused_item_ends_the_download_and_it_is_tried_again() -> None:
    vehicle = vehicle_with(ARDUPILOT, survey(20))
    link, handle = Link(vehicle), vehicle.handle

    def fail_once(message: Any, sender: tuple[int, int] = OURS) -> None:  # noqa: ANN401 - a message
        handle(message, sender)
        if getattr(message, "seq", 0) == 7:
            vehicle.handle = handle  # type: ignore[method-assign]  # as before
            vehicle._out.clear()
            vehicle.acknowledge(OURS, ERROR)

    vehicle.handle = fail_once  # type: ignore[method-assign]  # its storage fails
    assert link.fly(5.0).items is None
    assert vehicle.handle == handle
    assert link.fly(20.0).items == expected(vehicle)


def test_a_radio_whose_buffer_is_full_pauses_the_download() -> None:
    vehicle = vehicle_with(PX4, survey(50))
    link = Link(vehicle)
    link.fly(1.0)
    before = len(vehicle.requests)

    def jam() -> None:
        vehicle.emit(mavlink.MAVLink_radio_status_message(200, 200, 40, 0, 0, 0, 0))

    link.on_step = jam
    link.fly(3.0)
    assert len(vehicle.requests) <= before + 1
    link.on_step = lambda: vehicle.emit(
        mavlink.MAVLink_radio_status_message(200, 200, 90, 0, 0, 0, 0)
    )
    assert link.fly(20.0).items == expected(vehicle)


def test_a_list_is_withdrawn_when_it_can_no_longer_be_checked() -> None:
    vehicle = vehicle_with(ARDUPILOT, survey(5))
    vehicle.sends_current = False
    link = Link(vehicle)
    plan = link.fly(20.0)
    vehicle.handle = lambda *_: None  # type: ignore[method-assign]  # answers nothing
    assert lists(link.fly(30.0)) == lists(plan)
    link.fly(200.0)
    assert lists(link.fly(0.1)) == (None, None)


def test_more_items_than_a_vehicle_stores_are_not_read() -> None:
    vehicle = vehicle_with(ARDUPILOT, [item(16)] * (ITEMS_MAX + 1), [])
    link = Link(vehicle)
    plan = link.fly(10.0)
    assert (plan.items, plan.rally) == (None, ())
    assert "MISSION_REQUEST_INT" not in vehicle.kinds()


def test_answers_that_were_not_requested_are_ignored() -> None:
    vehicle = vehicle_with(ARDUPILOT, survey(5))
    link = Link(vehicle)
    plan = link.fly(10.0)
    vehicle._count(OURS, RALLY)
    vehicle._item(OURS, MISSION, 2)
    vehicle.lists = {**vehicle.lists, MISSION: survey(9)}
    vehicle.sends_current = False
    vehicle._count(OURS, MISSION)
    vehicle.acknowledge(OURS, ACCEPTED)
    assert lists(link.fly(2.0)) == lists(plan)


def test_an_acceptance_of_nothing_does_not_end_a_download() -> None:
    vehicle = vehicle_with(ARDUPILOT, survey(5))
    link = Link(vehicle)
    accepted = mavlink.MAVLink_mission_ack_message(*OURS, ACCEPTED, MISSION)
    link.on_step = lambda: vehicle._out.appendleft(bytes(accepted.pack(vehicle._codec)))
    assert link.fly(5.0).items == expected(vehicle)


def test_a_count_of_a_mavlink_1_frame_has_no_id() -> None:
    vehicle = vehicle_with(PX4, survey(3), [])
    vehicle.sends_current = False
    link = Link(vehicle)

    def old_frame(target: tuple[int, int], of: int) -> None:
        message = mavlink.MAVLink_mission_count_message(*target, len(vehicle.lists[of]), of)
        vehicle._out.append(bytes(message.pack(vehicle._codec, force_mavlink1=True)))

    vehicle._count = old_frame  # type: ignore[method-assign]  # an old autopilot
    assert link.fly(10.0).items == expected(vehicle)


@pytest.mark.parametrize("seed", range(8))
def test_random_mission_messages_publish_nothing_that_is_not_whole(seed: int) -> None:
    dice = Random(seed)  # noqa: S311 - junk
    vehicle = vehicle_with(dice.choice([ARDUPILOT, PX4]), survey(9))
    link = Link(vehicle, seed, lost=0.1, late=0.1)
    numbers = (38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 51, 73)
    codecs = [mavlink.MAVLink(None, *one) for one in (GCS, (1, 1), (1, 100), (7, 1))]

    def attack() -> None:
        for _ in range(dice.randrange(4)):
            kind = mavlink.mavlink_map[dice.choice(numbers)]
            payload = dice.randbytes(kind.unpacker.size)
            found = kind.unpacker.unpack(payload)
            values: dict[str, Any] = dict(zip(kind.ordered_fieldnames, found, strict=True))
            if dice.random() < 0.7 and "target_system" in values:
                values |= {"target_system": 1, "target_component": dice.choice([1, 191, 190])}
            if dice.random() < 0.7 and "mission_type" in values:
                values |= {"mission_type": dice.choice([MISSION, RALLY])}
            vehicle._out.append(bytes(kind(**values).pack(dice.choice(codecs))))

    link.on_step = attack
    link.fly(60.0)
    link.on_step = lambda: None
    assert link.fly(400.0).items == expected(vehicle)
    assert set(vehicle.kinds()) <= ALLOWED


def test_a_number_that_no_flight_has_is_unknown() -> None:
    wild = [
        item(16, at=(47.0, 8.0, 1e9)),
        item(19, 1e12, at=(47.0, 8.0, 10.0)),
        item(18, 1e9, 0, 1e9, at=(47.0, 8.0, 10.0)),
        item(178, 1, 1e9),
        item(178, float("nan"), 5),
        item(177, 1e9, 3),
        item(177, 2, float("inf")),
        item(93, 1e12),
    ]
    link = Link(vehicle_with(PX4, wild, []))
    items = link.fly(10.0).items
    assert items is not None
    assert items[0].place == Place(47.0, 8.0, None)
    assert (items[1].hold_s, items[2].turns, items[2].radius_m) == (0.0, 0.0, 0.0)
    assert [one.kind for one in items[3:7]] == [ItemKind.OTHER] * 4
    assert items[7] == MissionItem(ItemKind.DELAY, hold_s=None)

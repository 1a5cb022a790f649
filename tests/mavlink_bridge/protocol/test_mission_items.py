# SPDX-License-Identifier: Apache-2.0
"""Mission items of both stacks become those of the flight plan; vectors are wire values."""

import math

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.flight_plan import ItemKind, MissionItem, Place, SpeedKind
from mavlink_bridge.protocol.mission_items import (
    Circles,
    Vehicle,
    mission_of,
    rally_of,
    received_item,
    received_rally_point,
)
from tests.mavlink_bridge.fake_missions import Item, item

COPTER, PLANE = Vehicle(3, 2), Vehicle(3, 1)
PX4_COPTER, PX4_VTOL = Vehicle(12, 2), Vehicle(12, 22)
HERE = (47.4, 8.5, 30.0)
PLACE = Place(*HERE)
HOME = item(16, at=(47.0, 8.0, 400.0), frame=0)
HOME_PLACE = Place(47.0, 8.0, 400.0, above_home=False)


def mission(*items: Item, of: Vehicle, home: Place | None = None) -> tuple[MissionItem, ...]:
    messages = (
        mavlink.MAVLink_mission_item_int_message(1, 191, k, one[0], one[1], 0, 1, *one[2:], 0)
        for k, one in enumerate(items)
    )
    return mission_of([received_item(one, of) for one in messages], home)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (item(16, 5.0, at=HERE), MissionItem(ItemKind.WAYPOINT, PLACE, hold_s=5.0)),
        (item(16, math.nan, at=HERE), MissionItem(ItemKind.WAYPOINT, PLACE)),
        (item(82, 3.0, at=HERE), MissionItem(ItemKind.WAYPOINT, PLACE, hold_s=3.0)),
        (item(17, at=HERE), MissionItem(ItemKind.LOITER, PLACE, hold_s=None)),
        (
            item(18, 2.5, 0, -60, at=HERE),
            MissionItem(ItemKind.LOITER, PLACE, turns=2.5, radius_m=60.0),
        ),
        (item(19, 90.0, 0, 1, at=HERE), MissionItem(ItemKind.LOITER, PLACE, hold_s=90.0)),
        (item(31, 0, 40, at=HERE), MissionItem(ItemKind.LOITER, PLACE)),
        (item(22, at=HERE), MissionItem(ItemKind.TAKEOFF, PLACE)),
        (item(84, at=HERE), MissionItem(ItemKind.TAKEOFF, PLACE, vtol=True)),
        (item(21, at=HERE), MissionItem(ItemKind.LAND, PLACE)),
        (item(85, at=HERE), MissionItem(ItemKind.LAND, PLACE, vtol=True)),
        (item(94, 15, at=HERE), MissionItem(ItemKind.WAYPOINT, Place(47.4, 8.5, 0.0))),
        (item(20), MissionItem(ItemKind.RETURN)),
        (item(93, 12.0, frame=2), MissionItem(ItemKind.DELAY, hold_s=12.0)),
        (item(93, -1.0, 14, 30, frame=2), MissionItem(ItemKind.DELAY, hold_s=None)),
        (item(92, 1.0, frame=2), MissionItem(ItemKind.DELAY, hold_s=None)),
        (
            item(178, 0, 14.0, frame=2),
            MissionItem(ItemKind.SPEED, speed_m_s=14.0, speed_kind=SpeedKind.AIR),
        ),
        (item(178, 1, 8.0, frame=2), MissionItem(ItemKind.SPEED, speed_m_s=8.0)),
        (
            item(178, 2, 3.0, frame=2),
            MissionItem(ItemKind.SPEED, speed_m_s=3.0, speed_kind=SpeedKind.CLIMB),
        ),
        (
            item(178, 3, 1.5, frame=2),
            MissionItem(ItemKind.SPEED, speed_m_s=1.5, speed_kind=SpeedKind.DESCENT),
        ),
        (item(178, 9, 3.0, frame=2), MissionItem(ItemKind.OTHER)),
        (item(177, 3, 2, frame=2), MissionItem(ItemKind.JUMP, jump_to=3, jump_times=2)),
        (item(177, 3, -1, frame=2), MissionItem(ItemKind.JUMP, jump_to=3, jump_times=-1)),
        (item(177, 3, -9, frame=2), MissionItem(ItemKind.JUMP, jump_to=3, jump_times=-1)),
        (item(177, -2, 1, frame=2), MissionItem(ItemKind.OTHER)),
        (item(189, at=HERE), MissionItem(ItemKind.LANDING_START, PLACE)),
        (item(188), MissionItem(ItemKind.LANDING_START)),
        (item(201, at=HERE), MissionItem(ItemKind.OTHER)),
        (item(183, 5, 1500), MissionItem(ItemKind.OTHER)),
        (item(65000, at=HERE), MissionItem(ItemKind.OTHER)),
    ],
)
def test_each_command_is_what_takes_time_and_energy(sent: Item, expected: MissionItem) -> None:
    assert mission(HOME, sent, of=PLANE)[1] == expected


@pytest.mark.parametrize(
    ("frame", "height"),
    [
        *((frame, (30.0, False)) for frame in (0, 5)),
        *((frame, (30.0, True)) for frame in (3, 6)),
        *((frame, (None, True)) for frame in (10, 11)),
    ],
)
def test_an_altitude_is_relative_to_what_its_frame_names(
    frame: int, height: tuple[float | None, bool]
) -> None:
    (found,) = mission(item(16, at=HERE, frame=frame), of=PX4_COPTER)
    assert found.place == Place(47.4, 8.5, *height)


def test_item_0_of_ardupilot_is_home_and_flown_to_by_px4() -> None:
    first = item(16, at=HERE)
    assert mission(first, of=COPTER) == (MissionItem(ItemKind.OTHER, PLACE),)
    assert mission(first, of=PX4_VTOL) == (MissionItem(ItemKind.WAYPOINT, PLACE),)
    assert mission(first, of=PX4_COPTER) == (MissionItem(ItemKind.WAYPOINT, PLACE, vtol=True),)


def test_an_item_without_a_place_is_where_the_vehicle_is() -> None:
    takeoff, again = item(22, at=(0, 0, 20.0)), item(16, at=(0, 0, 50.0))
    found = mission(HOME, takeoff, item(16, at=HERE), again, item(201), item(21), of=COPTER)
    assert [one.place for one in found] == [
        *(HOME_PLACE, Place(47.0, 8.0, 20.0), PLACE, Place(47.4, 8.5, 50.0), None),
        Place(47.4, 8.5, 0.0),
    ]


def test_a_first_item_without_a_place_is_at_home() -> None:
    nowhere = (3, 22, 0, 0, 0, 0, -(1 << 31), -(1 << 31), 15.0)  # PX4, of one that was not given
    assert mission(nowhere, of=PX4_COPTER)[0].place is None
    assert mission(nowhere, of=PX4_COPTER, home=HOME_PLACE)[0].place == Place(47.0, 8.0, 15.0)


def test_home_is_that_of_the_vehicle_before_that_of_a_stored_mission() -> None:
    takeoff, elsewhere = item(22, at=(0, 0, 20.0)), Place(46.0, 7.0, 0.0)
    assert mission(HOME, takeoff, of=COPTER, home=elsewhere)[1].place == Place(46.0, 7.0, 20.0)
    assert mission(item(16), takeoff, of=COPTER)[1].place is None


def test_arducopter_takes_off_where_it_stands() -> None:
    takeoff = item(22, at=(47.9, 8.9, 20.0))
    assert mission(HOME, takeoff, of=COPTER)[1].place == Place(47.0, 8.0, 20.0)
    assert mission(HOME, takeoff, of=PLANE)[1].place == Place(47.9, 8.9, 20.0)


@pytest.mark.parametrize(
    ("of", "alt_m", "without_place_alt_m"), [(COPTER, 30, 30), (PLANE, 0, 30), (PX4_VTOL, 0, 0)]
)
def test_altitude_0_is_that_of_the_item_before_by_ardupilot(
    of: Vehicle, alt_m: float, without_place_alt_m: float
) -> None:
    low, nowhere = item(16, at=(47.5, 8.6, 0.0)), item(19, 5.0)
    first = mission(HOME, item(16, at=HERE), low, of=of)[2]
    assert first.place == Place(47.5, 8.6, alt_m)
    second = mission(HOME, item(16, at=HERE), nowhere, of=of)[2]
    assert second.place == Place(47.4, 8.5, without_place_alt_m)


def test_jumps_to_a_tag_have_its_number() -> None:
    found = mission(
        HOME, item(600, 7), item(16, at=HERE), item(601, 7, 3), item(601, 8, 1), item(600, 7),
        item(601, math.inf, 1), of=COPTER,
    )  # fmt: skip
    assert found[3] == MissionItem(ItemKind.JUMP, jump_to=1, jump_times=3)
    assert {found[k].kind for k in (1, 4, 5, 6)} == {ItemKind.OTHER}


def test_a_payload_is_placed_on_the_ground_of_the_item_before_without_a_place() -> None:
    found = mission(HOME, item(16, at=HERE), item(94), of=COPTER)
    assert found[2].place == Place(47.4, 8.5, 0.0)


def test_turns_are_flown_as_the_vehicle_flies_them() -> None:
    rows = (HOME, item(18, 3, 0, 40, at=HERE), item(18, 2, at=HERE))

    def turns(circles: Circles) -> list[tuple[float | None, float, float]]:
        messages = (
            mavlink.MAVLink_mission_item_int_message(1, 1, k, *one[:2], 0, 1, *one[2:], 0)
            for k, one in enumerate(rows)
        )
        found = mission_of([received_item(one, COPTER) for one in messages], None, circles)[1:]
        return [(one.hold_s, one.turns, one.radius_m) for one in found]

    assert turns(Circles()) == [(0.0, 3.0, 40.0), (0.0, 2.0, 0.0)]
    assert turns(Circles(60.0)) == [(0.0, 3.0, 40.0), (0.0, 2.0, 60.0)]
    assert turns(Circles(60.0, 18.0)) == [(54.0, 0.0, 0.0), (36.0, 0.0, 0.0)]


def test_speeds_are_those_of_the_vehicle() -> None:
    air, reset = item(178, 0, 5.0), item(178, 1, -1.0)
    assert mission(air, of=PX4_COPTER)[0].speed_kind is SpeedKind.GROUND
    assert mission(reset, of=PX4_COPTER) == (MissionItem(ItemKind.SPEED),)
    assert mission(HOME, reset, of=COPTER)[1] == MissionItem(ItemKind.OTHER)


def test_px4_alone_changes_its_height_at_the_place_of_a_loiter_to_altitude() -> None:
    to_altitude = item(31, 0, 40, at=HERE)
    for vehicle in (PX4_COPTER, PX4_VTOL):
        [found] = mission(to_altitude, of=vehicle)
        assert found.level_first
        [found] = mission(item(19, 90.0, at=HERE), of=vehicle)
        assert not found.level_first
    for vehicle in (COPTER, PLANE):
        assert not mission(HOME, to_altitude, of=vehicle)[1].level_first


def test_a_condition_delays_px4_alone() -> None:
    delay = item(112, 9.0, frame=2)
    assert mission(delay, of=PX4_COPTER) == (MissionItem(ItemKind.DELAY, hold_s=9.0),)
    assert mission(HOME, delay, of=COPTER)[1] == MissionItem(ItemKind.OTHER)


def test_approaches_between_rally_points_are_none_of_them() -> None:
    rows = (item(5100, at=HERE), item(31, at=(47.9, 8.9, 60.0)), item(5100, at=(47.6, 8.7, 1.0)))
    received = [
        received_rally_point(
            mavlink.MAVLink_mission_item_int_message(1, 191, k, one[0], one[1], 0, 1, *one[2:], 2)
        )
        for k, one in enumerate(rows)
    ]
    assert rally_of(received) == (PLACE, Place(47.6, 8.7, 1.0))


JUMP, SPEED, DELAY = ItemKind.JUMP, ItemKind.SPEED, ItemKind.DELAY
OTHER = MissionItem(ItemKind.OTHER)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (item(177, 65_535, 1), MissionItem(JUMP, jump_to=65_535, jump_times=1)),
        (item(177, 65_536, 1), OTHER),
        (item(177, 1, 65_535), MissionItem(JUMP, jump_to=1, jump_times=65_535)),
        (item(177, 1, 65_536), OTHER),
        (item(178, 1, 1000.0), MissionItem(SPEED, speed_m_s=1000.0)),
        (item(178, 1, 1000.5), OTHER),
        (item(93, 1e7), MissionItem(DELAY, hold_s=1e7)),
        (item(93, 1.1e7), MissionItem(DELAY, hold_s=None)),
    ],
)
def test_the_greatest_number_that_a_flight_has(sent: Item, expected: MissionItem) -> None:
    assert mission(HOME, sent, of=PX4_COPTER)[1] == expected


@pytest.mark.parametrize(("height_m", "known_m"), [(1e5, 1e5), (-1e5, -1e5), (1.1e5, None)])
def test_the_greatest_height_that_a_flight_has(height_m: float, known_m: float | None) -> None:
    (flown,) = mission(item(16, at=(47.4, 8.5, height_m)), of=PX4_COPTER)
    assert flown.place == Place(47.4, 8.5, known_m)

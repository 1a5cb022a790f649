# SPDX-License-Identifier: Apache-2.0
"""Legs of a return and of a mission against spans and a wind triangle worked out by hand."""

import math
from dataclasses import replace

import pytest

from dronebms.core.flight_plan import (
    FlightPlan,
    ItemKind,
    MissionItem,
    Place,
    ReturnPlan,
    SpeedKind,
    Speeds,
)
from dronebms.estimation.ahead.mission_legs import EndlessError, Flown, mission_legs
from dronebms.estimation.ahead.return_legs import return_legs
from dronebms.estimation.motion.flight_legs import Conditions, Leg, NoWayError, ground_m_s, line
from dronebms.estimation.motion.positions import HOME, Position, offset, position_of
from dronebms.estimation.motion.speed_changes import Limits
from tests.estimation.ahead.flights_ahead import AWAY, KILOMETRE_DEG, RETURNS, place, waypoint

STILL = Conditions(most_air_m_s=15.0, level=Limits(2.5))
NORTH = Position(2000.0, 0.0, 40.0)


def span_s(legs: tuple[Leg, ...] | list[Leg]) -> float:
    return sum(leg.span_s for leg in legs)


def test_a_return_is_a_way_a_stop_a_descent_and_a_slow_landing() -> None:
    legs = return_legs(NORTH, HOME, RETURNS, STILL)
    # 2000 m at 10 m/s, 4 s to start and stop at 2.5 m/s2, 30 m at 2 m/s, 10 m at 0.5 m/s.
    assert [leg.span_s for leg in legs] == pytest.approx([200.0, 4.0, 15.0, 20.0])
    assert [leg.climb_m_s for leg in legs] == [0.0, 0.0, -2.0, -0.5]
    assert [leg.air_m_s for leg in legs] == pytest.approx([10.0, 0.0, 0.0, 0.0])


def test_a_vehicle_below_the_height_of_the_return_climbs_first() -> None:
    low = replace(NORTH, up_m=10.0)
    assert return_legs(low, HOME, RETURNS, STILL)[0] == Leg(15.0, 0.0, 2.0)
    at_least = replace(RETURNS, climb_at_least_m=50.0)
    assert return_legs(low, HOME, at_least, STILL)[0].span_s == pytest.approx(25.0)


def test_a_plane_climbs_on_its_way_home() -> None:
    plan = replace(RETURNS, climbs_on_way=True, lands=False, height_m=100.0)
    at = Conditions(on_wing=True)
    assert return_legs(NORTH, HOME, plan, at) == (Leg(200.0, 10.0, 0.3, on_wing=True),)
    first = replace(plan, climbs_on_way=False)
    assert span_s(return_legs(NORTH, HOME, first, at)) == pytest.approx(200.0 + 60.0 / 2.0)


def test_a_vehicle_above_the_height_of_the_return_stays_there() -> None:
    legs = return_legs(replace(NORTH, up_m=100.0), HOME, RETURNS, STILL)
    assert legs[0].climb_m_s == 0.0
    assert span_s(legs) == pytest.approx(200.0 + 4.0 + 45.0 + 20.0)


CIRCLES = replace(
    RETURNS, height_m=70.0, wait_height_m=40.0, landing_m_s=None, circles_down_m_s=3.0,
    circle_m=80.0, glide_m_s=0.8, approach_m_s=8.0, within_up_m=10.0,
)  # fmt: skip
WING = Conditions(on_wing=True, level=Limits(2.5))


def test_a_plane_of_px4_circles_down_and_lands_in_circles() -> None:
    legs = return_legs(NORTH, HOME, CIRCLES, WING)
    # 20 m up at 2 m/s, 1920 m at 10 m/s, 20 m down at 3 m/s, 80 m, 40 m down at 0.8 m/s.
    assert [leg.span_s for leg in legs] == pytest.approx([10.0, 192.0, 20.0 / 3.0, 8.0, 50.0])
    assert [leg.climb_m_s for leg in legs] == pytest.approx([2.0, 10.0 / 192.0, -3.0, 0.0, -0.8])
    assert legs[-1] == Leg(50.0, 8.0, -0.8, on_wing=True)
    unknown = replace(CIRCLES, glide_m_s=None, approach_m_s=None)
    assert return_legs(NORTH, HOME, unknown, WING)[-1] == Leg(40.0 / 3.0, 10.0, -3.0, on_wing=True)


def test_a_plane_of_px4_that_does_not_land_ends_its_return_on_the_circle() -> None:
    stays = replace(CIRCLES, lands=False, wait_s=5.0)
    spans_s = [leg.span_s for leg in return_legs(NORTH, HOME, stays, WING)]
    assert spans_s == pytest.approx([10.0, 192.0, 20.0 / 3.0, 5.0])
    low = replace(stays, height_m=45.0, wait_s=0.0)  # within 10 m of the circle's height
    spans_s = [leg.span_s for leg in return_legs(replace(NORTH, north_m=50.0), HOME, low, WING)]
    assert spans_s == [2.5]  # 5 m up
    above = return_legs(replace(HOME, up_m=70.0), HOME, stays, WING)
    assert [leg.span_s for leg in above] == pytest.approx([20.0 / 3.0, 5.0])


def test_a_vtol_of_px4_circles_down_on_its_wing_and_lands_on_its_rotors() -> None:
    plan = replace(CIRCLES, landing_m_s=0.5, glide_m_s=None)
    legs = return_legs(NORTH, HOME, plan, WING)
    # From the circle to the place, 2 s to slow down, 30 m at 2 m/s and 10 m at 0.5 m/s.
    spans_s = [10.0, 192.0, 20.0 / 3.0, 8.0, 2.0, 15.0, 20.0]
    assert [leg.span_s for leg in legs] == pytest.approx(spans_s)
    assert [leg.on_wing for leg in legs] == [True, True, True, True, False, False, False]


@pytest.mark.parametrize(
    "plan", [replace(CIRCLES, circles_down_m_s=None), replace(CIRCLES, wait_height_m=None)]
)
def test_without_circles_a_plane_lands_along_a_slope_at_its_approach_speed(
    plan: ReturnPlan,
) -> None:
    legs = return_legs(NORTH, HOME, plan, WING)
    assert [leg.span_s for leg in legs] == pytest.approx([10.0, 250.0])


def test_a_height_that_is_not_known_takes_no_circles() -> None:
    legs = return_legs(replace(NORTH, up_m=None), HOME, CIRCLES, WING)
    assert span_s(legs) == pytest.approx(250.0)


def test_a_vtol_that_hovers_flies_home_on_its_rotors() -> None:
    plan = replace(RETURNS, on_rotors=True)
    windy = replace(STILL, wind_m_s=4.0)
    found = return_legs(NORTH, HOME, plan, replace(windy, on_wing=True))
    assert found == return_legs(NORTH, HOME, RETURNS, windy)


def test_a_cone_and_a_distance_spare_the_climb_close_to_home() -> None:
    near = Position(30.0, 0.0, 10.0)
    cone = replace(RETURNS, cone_slope=1.0)
    assert return_legs(near, HOME, cone, STILL)[0].span_s == pytest.approx(10.0)  # 20 m
    level = replace(RETURNS, level_within_m=50.0)
    assert return_legs(near, HOME, level, STILL)[0].climb_m_s == 0.0


def test_a_return_waits_and_may_stay_in_the_air() -> None:
    waits = replace(RETURNS, wait_s=5.0)
    assert span_s(return_legs(NORTH, HOME, waits, STILL)) == pytest.approx(244.0)
    stays = replace(RETURNS, lands=False, wait_height_m=15.0)
    assert span_s(return_legs(NORTH, HOME, stays, STILL)) == pytest.approx(204.0 + 12.5)
    assert span_s(return_legs(NORTH, HOME, replace(stays, wait_height_m=None), STILL)) == 204.0
    assert span_s(return_legs(NORTH, HOME, replace(stays, wait_height_m=90.0), STILL)) == 204.0


def test_a_return_on_rotors_waits_at_the_height_of_its_wait() -> None:
    legs = return_legs(NORTH, HOME, replace(RETURNS, wait_s=5.0, wait_height_m=20.0), STILL)
    assert [leg.span_s for leg in legs] == pytest.approx([200.0, 4.0, 10.0, 5.0, 5.0, 20.0])


def test_without_a_height_the_slow_part_of_the_landing_is_left() -> None:
    legs = return_legs(replace(NORTH, up_m=None), HOME, RETURNS, STILL)
    assert span_s(legs) == pytest.approx(200.0 + 4.0 + 20.0)
    assert (
        span_s(return_legs(replace(HOME, up_m=0.0), HOME, replace(RETURNS, height_m=None), STILL))
        == 0.0
    )


@pytest.mark.parametrize("vehicle_class", ["ArduRover", "PX4 rover"])
def test_a_rover_drives_home_whatever_the_height_of_its_home(vehicle_class: str) -> None:
    # ArduPilot's Rover may have a home at 0 m on a field of 584 m.
    here = offset(replace(AWAY, vehicle_class=vehicle_class, alt_m=584.0, home_alt_m=0.2))
    assert here is not None
    plan = ReturnPlan(cruise_m_s=5.0, lands=False)
    way_s = math.hypot(here.north_m, here.east_m) / 5.0
    found = return_legs(here, HOME, plan, STILL)
    assert span_s(found) == pytest.approx(way_s + 2.0)
    assert {leg.climb_m_s for leg in found} == {0.0}


def test_without_speeds_of_climb_and_descent_those_of_usual_autopilots_are_taken() -> None:
    legs = return_legs(replace(NORTH, up_m=30.0), HOME, ReturnPlan(10.0, height_m=40.0), STILL)
    # 10 m at 2.5 m/s up; 30 m at 1.5 m/s and 10 m at 0.7 m/s down.
    assert span_s(legs) == pytest.approx(4.0 + 204.0 + 20.0 + 10.0 / 0.7)


@pytest.mark.parametrize(
    ("from_deg", "speed_m_s", "air_m_s"),
    [
        (180.0, 9.0, 15.0),  # against: 15 through the air less 6
        (0.0, 10.0, 4.0),  # from behind: no gain over ground
        (270.0, 10.0, math.hypot(10.0, 6.0)),  # across
    ],
)
def test_a_vehicle_on_rotors_holds_its_ground_speed_as_far_as_the_wind_allows(
    from_deg: float, speed_m_s: float, air_m_s: float
) -> None:
    at = Conditions(6.0, from_deg, 15.0)
    assert ground_m_s(math.pi, 10.0, at) == pytest.approx((speed_m_s, air_m_s))


def test_a_plane_holds_its_airspeed() -> None:
    against = Conditions(6.0, 180.0, on_wing=True)
    assert ground_m_s(math.pi, 20.0, against) == pytest.approx((14.0, 20.0))
    assert ground_m_s(0.0, 20.0, against) == pytest.approx((26.0, 20.0))


def test_without_a_limit_of_the_airspeed_the_wind_slows_nothing() -> None:
    assert ground_m_s(0.0, 10.0, Conditions(6.0, 0.0))[0] == 10.0


@pytest.mark.parametrize("from_deg", [180.0, 90.0])
def test_against_a_storm_there_is_no_way(from_deg: float) -> None:
    with pytest.raises(NoWayError):
        ground_m_s(math.pi, 10.0, Conditions(20.0, from_deg, 15.0))


def test_a_steep_leg_takes_the_time_of_its_climb() -> None:
    speeds = Speeds(10.0, 2.0, 1.0)
    up = line(HOME, Position(100.0, 0.0, 60.0), speeds, STILL, stops=False)
    assert [(leg.span_s, leg.climb_m_s) for leg in up] == [(30.0, 2.0)]
    assert up[0].air_m_s == pytest.approx(10.0 / 3.0)
    down = line(Position(0.0, 0.0, 60.0), HOME, speeds, STILL, stops=False)
    assert down == [Leg(60.0, 0.0, -1.0)]


def test_a_short_leg_never_reaches_its_speed() -> None:
    legs = line(HOME, Position(10.0, 0.0, 0.0), Speeds(10.0), STILL)
    assert span_s(legs) == pytest.approx(2.0 * math.sqrt(10.0 / 2.5), rel=1e-3)


def test_positions_are_metres_from_home() -> None:
    there = offset(AWAY)
    assert there is not None
    assert (there.north_m, there.east_m, there.up_m) == pytest.approx((2000.0, 0.0, 40.0), rel=1e-3)
    assert offset(replace(AWAY, lat_deg=None)) is None
    assert offset(replace(AWAY, home_lon_deg=None)) is None
    level = offset(replace(AWAY, home_alt_m=None))
    assert level is not None
    assert level.up_m is None


def test_a_place_above_sea_level_needs_the_altitude_of_home() -> None:
    above_sea = Place(47.0, 8.0, 540.0, above_home=False)
    found = position_of(above_sea, AWAY)
    assert found is not None
    assert found.up_m == 40.0
    unknown = position_of(above_sea, replace(AWAY, home_alt_m=None))
    assert unknown is not None
    assert unknown.up_m is None
    assert position_of(above_sea, replace(AWAY, home_lat_deg=None)) is None


def test_a_way_across_the_date_line_is_short() -> None:
    east = replace(AWAY, lat_deg=0.0, home_lat_deg=0.0, lon_deg=179.995, home_lon_deg=-179.995)
    there = offset(east)
    assert there is not None
    assert abs(there.east_m) == pytest.approx(math.radians(0.01) * 6_371_000.0)
    assert there.north_m == 0.0


# --------------------------------------------------------------------------- missions


def flown(*items: MissionItem, first: int = 0, jumps: dict[int, int] | None = None) -> list[Flown]:
    plan = FlightPlan(RETURNS, items, (), Speeds(10.0, 2.0, 1.0))
    return list(mission_legs(plan, first, HOME, AWAY, STILL, jumps or {}))


def numbers(found: list[Flown]) -> list[int]:
    return [one.number for one in found]


TAKEOFF = MissionItem(ItemKind.TAKEOFF, place(0.0, 40.0))
LAND = MissionItem(ItemKind.LAND, place(0.0, 0.0))
ENDLESS = MissionItem(ItemKind.JUMP, jump_to=1, jump_times=-1)
ONCE = replace(ENDLESS, jump_times=1)
KILOMETRE_M = 1000.0


def test_a_mission_takes_off_flies_holds_and_lands() -> None:
    found = flown(TAKEOFF, waypoint(1.0), waypoint(2.0, hold_s=30.0), LAND)
    spans_s = [span_s(one.legs) for one in found]
    # 40 m at 2 m/s; 1 km at 10 m/s and a start of 2 s; the same, a stop and the hold; 2 km, a start
    # and a stop, the landing.
    assert spans_s == pytest.approx([20.0, 102.0, 132.0, 204.0 + 15.0 + 20.0], rel=1e-3)
    assert [one.lands for one in found] == [False, False, False, True]


def at_deg(distance_m: float, bearing_deg: float) -> MissionItem:
    north_m = distance_m * math.cos(math.radians(bearing_deg))
    east_m = distance_m * math.sin(math.radians(bearing_deg)) / math.cos(math.radians(47.0))
    lat_deg, lon_deg = (metres / 1000.0 * KILOMETRE_DEG for metres in (north_m, east_m))
    return MissionItem(ItemKind.WAYPOINT, Place(47.0 + lat_deg, 8.0 + lon_deg, 0.0))


@pytest.mark.parametrize(
    ("turn_deg", "lost_s"),
    [(0.0, 0.0), (60.0, 1.0), (90.0, 4.0), (180.0, 4.0)],
)
def test_a_corner_costs_the_slowing_down_and_the_speeding_up(
    turn_deg: float, lost_s: float
) -> None:
    # The second line has an angle to the first one, which is due north, and is as long.
    second = (
        at_deg(1000.0, 0.0),
        at_deg(2000.0 * math.cos(math.radians(turn_deg / 2)), turn_deg / 2),
    )
    legs = flown(MissionItem(ItemKind.WAYPOINT, place(0.0, 0.0)), *second)[-1].legs
    assert span_s(legs) == pytest.approx(100.0 + lost_s, rel=1e-3)


def test_the_speed_of_a_mission_follows_its_items() -> None:
    def slow(kind: SpeedKind, speed_m_s: float | None) -> MissionItem:
        return MissionItem(ItemKind.SPEED, speed_m_s=speed_m_s, speed_kind=kind)

    items = (TAKEOFF, slow(SpeedKind.GROUND, 5.0), slow(SpeedKind.CLIMB, 1.0), waypoint(1.0, 340.0))
    assert span_s(flown(*items)[-1].legs) == pytest.approx(300.0, rel=1e-3)  # the climb decides
    assert span_s(flown(*items, first=3)[-1].legs) == pytest.approx(340.0, rel=1e-3)
    down = (slow(SpeedKind.DESCENT, 0.5), slow(SpeedKind.AIR, 20.0), slow(SpeedKind.GROUND, None))
    found = flown(waypoint(1.0), *down, waypoint(1.0, 0.0))
    assert span_s(found[-1].legs) == pytest.approx(80.0, rel=1e-3)


def test_turns_take_the_length_of_their_circles() -> None:
    turns = MissionItem(ItemKind.LOITER, place(0.0, 0.0), turns=-2.0, radius_m=50.0)
    legs = flown(turns)[0].legs
    assert [leg.span_s for leg in legs] == pytest.approx([2.0 * 2.0 * math.pi * 50.0 / 10.0])
    assert legs[0].air_m_s == 10.0


def test_a_jump_is_done_as_often_as_it_was_not_done_yet() -> None:
    jump = MissionItem(ItemKind.JUMP, jump_to=0, jump_times=2)
    items = (waypoint(0.1), waypoint(0.2), jump, LAND)
    assert numbers(flown(*items)) == [0, 1, 0, 1, 0, 1, 3]
    assert numbers(flown(*items, jumps={2: 1})) == [0, 1, 0, 1, 3]
    assert numbers(flown(*items, first=1, jumps={2: 2})) == [1, 3]
    beyond = replace(jump, jump_to=9)
    assert numbers(flown(waypoint(0.1), beyond, LAND)) == [0, 2]


def test_a_mission_without_an_end_is_named() -> None:
    with pytest.raises(EndlessError, match="item 1 jumps for ever"):
        flown(waypoint(0.1), MissionItem(ItemKind.JUMP, jump_to=0, jump_times=-1))
    with pytest.raises(EndlessError, match="item 1 loiters without end"):
        flown(waypoint(0.1), MissionItem(ItemKind.LOITER, place(0.1), hold_s=None))
    with pytest.raises(EndlessError, match="too many jumps"):
        flown(waypoint(0.1), MissionItem(ItemKind.JUMP, jump_to=0, jump_times=32767))


@pytest.mark.parametrize(
    ("items", "first", "numbers", "repeated"),
    [
        ((TAKEOFF, waypoint(0.1), waypoint(0.2), ENDLESS), 0, [0, 1, 2, 1, 2], 2),
        ((TAKEOFF, waypoint(0.1), waypoint(0.2), ENDLESS), 2, [2, 1, 2], 2),
        ((TAKEOFF, waypoint(0.1), ONCE, waypoint(0.2), ENDLESS), 0, [0, 1, 1, 3, 1, 3], 2),
        ((TAKEOFF, replace(ENDLESS, jump_to=1)), 0, [0], 0),  # it stays where it is
        ((TAKEOFF, replace(ENDLESS, jump_to=9), LAND), 0, [0, 2], None),
        ((TAKEOFF, MissionItem(ItemKind.LOITER, hold_s=None)), 0, [0, 1, 1], 1),
    ],
)
def test_a_mission_without_an_end_is_flown_until_it_repeats_itself(
    items: tuple[MissionItem, ...], first: int, numbers: list[int], repeated: int | None
) -> None:
    plan = FlightPlan(RETURNS, items, (), Speeds(10.0, 2.0, 1.0))
    ahead, found = mission_legs(plan, first, HOME, AWAY, STILL, {}), []
    error = None
    try:
        for each in ahead:
            found.append(each.number)  # noqa: PERF401 - those before the error count
    except EndlessError as endless:
        error = endless
    assert (None if error is None else error.repeated) == repeated
    assert found == numbers


def test_items_that_fly_nowhere_take_no_time_and_a_return_ends_the_mission() -> None:
    other = MissionItem(ItemKind.OTHER, place(9.0))
    found = flown(other, MissionItem(ItemKind.RETURN), waypoint(1.0))
    assert numbers(found) == [0, 1]
    assert [one.legs for one in found] == [(), ()]
    assert found[-1].lands is False


def test_a_delay_is_a_hover_where_the_vehicle_is() -> None:
    found = flown(TAKEOFF, MissionItem(ItemKind.DELAY, hold_s=30.0))
    assert found[-1].legs == (Leg(30.0),)
    assert found[-1].end == found[0].end


def test_a_waypoint_over_terrain_is_flown_at_the_height_of_the_one_that_precedes_it() -> None:
    terrain = MissionItem(ItemKind.WAYPOINT, Place(47.0 + KILOMETRE_DEG, 8.0, None))
    assert flown(TAKEOFF, terrain)[-1].end.up_m == 40.0


def test_a_plane_lands_on_its_wing_and_a_vtol_on_its_rotors() -> None:
    plan = FlightPlan(replace(RETURNS, landing_m_s=None), (LAND,), (), Speeds(20.0, 2.0, 2.0))
    at = Conditions(on_wing=True)
    high = Position(1000.0, 0.0, 40.0)
    (plane,) = mission_legs(plan, 0, high, AWAY, at, {})
    assert plane.legs == (Leg(50.0, 20.0, -0.8, on_wing=True),)  # along the slope
    steep = replace(high, north_m=20.0)
    (slow,) = mission_legs(plan, 0, steep, AWAY, at, {})
    assert [(leg.span_s, leg.climb_m_s) for leg in slow.legs] == [(20.0, -2.0)]
    vtol = replace(plan, items=(replace(LAND, vtol=True),))
    (rotors,) = mission_legs(vtol, 0, high, AWAY, at, {})
    assert [leg.on_wing for leg in rotors.legs] == [True, False, False]
    legs = return_legs(high, HOME, replace(RETURNS, wait_s=10.0, height_m=60.0), at)
    assert [leg.on_wing for leg in legs] == [True, True, False, False, False]


def test_a_mission_lands_on_a_wing_at_its_approach_speed() -> None:
    items = (waypoint(1.0), MissionItem(ItemKind.LAND, place(3.0, 0.0)))
    plan = FlightPlan(
        returns=replace(RETURNS, landing_m_s=None, approach_m_s=8.0),
        items=items,
        speeds=Speeds(10.0, 2.0, 2.0),
    )
    start = Position(0.0, 0.0, 40.0)
    found = list(mission_legs(plan, 0, start, AWAY, Conditions(on_wing=True), {}))
    assert span_s(found[-1].legs) == pytest.approx(250.0, rel=1e-3)


def test_a_return_that_lands_on_a_wing_sinks_along_its_way() -> None:
    at, plan = Conditions(on_wing=True), replace(RETURNS, landing_m_s=None)
    legs = return_legs(Position(1000.0, 0.0, 40.0), HOME, plan, at)
    assert legs == (Leg(100.0, 10.0, -0.4, on_wing=True),)
    steep = return_legs(Position(50.0, 0.0, 40.0), HOME, plan, at)
    assert [(leg.span_s, leg.climb_m_s) for leg in steep] == [(20.0, -2.0)]


def test_a_vtol_slows_down_before_it_lands_on_its_rotors() -> None:
    at = Conditions(on_wing=True, level=Limits(2.0, 1.0))
    plan = FlightPlan(RETURNS, (replace(LAND, vtol=True),), (), Speeds(20.0, 2.0, 2.0))
    slow = Leg(6.0)  # half of 20 / 2.0 + 2.0 / 1.0 s
    (landed,) = mission_legs(plan, 0, Position(1000.0, 0.0, 40.0), AWAY, at, {})
    assert landed.legs[1] == slow
    (near,) = mission_legs(plan, 0, Position(20.0, 0.0, 40.0), AWAY, at, {})
    assert near.legs[1] == Leg(1.0)
    home = replace(RETURNS, cruise_m_s=20.0)
    assert return_legs(Position(1000.0, 0.0, 40.0), HOME, home, at)[1] == slow
    on_wing = replace(home, landing_m_s=None)
    assert slow not in return_legs(Position(1000.0, 0.0, 40.0), HOME, on_wing, at)


def test_without_home_places_are_where_the_vehicle_is() -> None:
    plan = FlightPlan(RETURNS, (waypoint(1.0),), (), Speeds(10.0))
    homeless = replace(AWAY, home_lat_deg=None)
    (found,) = mission_legs(plan, 0, NORTH, homeless, STILL, {})
    assert found.end == NORTH

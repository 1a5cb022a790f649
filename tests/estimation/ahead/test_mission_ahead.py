# SPDX-License-Identifier: Apache-2.0
"""Rest of a mission against spans and energies worked out by hand: every motion takes 400 W."""

import math
from dataclasses import replace

import numpy as np
import pytest

from dronebms.core.flight_plan import FlightPlan, ItemKind, MissionItem, ReturnTo, Speeds
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.ahead.mission_ahead import MissionAhead, MissionAnswer, MissionState
from dronebms.estimation.ahead.mission_forecast import MissionForecast
from dronebms.estimation.ahead.return_home import ReturnHome
from dronebms.estimation.motion.motion_power import MotionPower
from tests.estimation.ahead.flights_ahead import (
    AWAY,
    KILOMETRE_DEG,
    PLAN,
    RETURNS,
    flying,
    hovered,
    lasting,
    load,
    place,
    sample,
    waypoint,
)

POWER_W = 400.0
TAKEOFF = MissionItem(ItemKind.TAKEOFF, place(0.0, 40.0))
LAND = MissionItem(ItemKind.LAND, place(0.0, 0.0))
MISSION = (TAKEOFF, waypoint(1.0), waypoint(2.0), waypoint(3.0), LAND)
FREE = MotionPower()  # nothing is known: each motion takes the present power


def answer(vehicle: VehicleState, stage: MissionAhead | None = None) -> MissionAnswer:
    return (stage or MissionAhead()).update(100.0, vehicle, FREE, POWER_W)


def forecast(vehicle: VehicleState) -> MissionForecast:
    found = answer(vehicle).forecast
    assert found is not None
    return found


def test_the_rest_of_a_mission_is_flown_from_where_the_vehicle_is() -> None:
    found = forecast(flying(AWAY, *MISSION, item=3))
    # 1 km at 8 m/s, 3 km home with a turn and a stop, 30 m at 2 m/s and 10 m at 0.5 m/s down.
    span_s = 125.0 + 375.0 + 3.2 + 1.6 + 15.0 + 20.0
    assert found.span_s == pytest.approx(span_s, rel=1e-3)
    assert found.total_j == pytest.approx(POWER_W * span_s, rel=1e-3)
    assert found.sd == pytest.approx(0.2)


def test_on_the_ground_the_whole_mission_is_ahead() -> None:
    ground = replace(flying(AWAY, *MISSION), armed=False, lat_deg=47.0, alt_m=500.0)
    # 40 m at 2 m/s, 6 km at 8 m/s, a start, a turn, a stop, the landing.
    assert forecast(ground).span_s == pytest.approx(20.0 + 750.0 + 6.4 + 35.0, rel=1e-3)


def test_a_mission_that_does_not_land_is_followed_by_the_return() -> None:
    found = forecast(flying(AWAY, waypoint(3.0)))
    assert found.span_s == pytest.approx(125.0 + 300.0 + 4.0 + 35.0, rel=1e-3)
    by_item = forecast(flying(AWAY, waypoint(3.0), MissionItem(ItemKind.RETURN), waypoint(9.0)))
    assert by_item.span_s == pytest.approx(found.span_s)


def test_the_last_item_with_a_way_home_is_known() -> None:
    found = forecast(flying(AWAY, *MISSION, item=3))
    # Item 3 and home from there: 125 s + 300 s + 39 s; the landing item is no place to return from.
    assert [number for number, _ in found.reach_j] == [3]
    assert found.reach_j[0][1] == pytest.approx(POWER_W * 464.0, rel=1e-3)
    assert found.last_home_item(POWER_W * 500.0) == 3
    assert found.last_home_item(POWER_W * 400.0) is None
    whole = forecast(replace(flying(AWAY, *MISSION), armed=False, lat_deg=47.0))
    assert [number for number, _ in whole.reach_j] == [0, 1, 2, 3]
    assert whole.last_home_item(POWER_W * 520.0) == 2


def test_home_is_out_of_reach_from_an_item_beyond_which_the_wind_is_too_strong() -> None:
    plan = replace(PLAN, returns=replace(RETURNS, cruise_m_s=4.0), speeds=Speeds(4.0))
    windy = replace(AWAY, plan=plan, wind_m_s=14.5, wind_from_deg=180.0)
    found = forecast(flying(windy, waypoint(3.0), MissionItem(ItemKind.LAND, place(5.0))))
    assert found.reach_j == ((0, math.inf),)
    assert found.last_home_item(1e12) is None


def test_the_power_over_a_horizon_is_that_of_the_legs_in_it() -> None:
    found = MissionForecast(np.array([10.0, 20.0]), np.array([1000.0, 8000.0]), 0.1, ())
    assert found.power_w(0.0) == found.power_w(10.0) == pytest.approx(100.0)
    assert found.power_w(20.0) == pytest.approx((1000.0 + 4000.0) / 20.0)
    assert found.power_w(1e9) == pytest.approx(300.0)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"lat_deg": None}, "position of the vehicle"),
        ({"home_lat_deg": None}, "home position"),
        ({"home_lon_deg": None}, "home position"),
        ({"mission_item": None}, "present mission item"),
        ({"wind_m_s": 40.0, "wind_from_deg": 0.0}, "a ground speed against this wind"),
        ({"plan": FlightPlan(RETURNS, MISSION, ())}, "speed of missions"),
    ],
)
def test_the_one_thing_that_is_missing_is_named(changes: dict[str, object], missing: str) -> None:
    found = answer(replace(flying(AWAY, *MISSION, item=3), **changes))  # type: ignore[arg-type]
    assert found == MissionAnswer(missing=missing)


def test_an_endless_loiter_has_a_power_and_no_end() -> None:
    """A climb of 20 s at 30 % more than a hover, then hours of hovering."""
    found = MissionAhead().update(
        0.0,
        flying(AWAY, waypoint(2.0, 80.0), MissionItem(ItemKind.LOITER, hold_s=None)),
        hovered(power_w=POWER_W),
        POWER_W,
    )
    assert found.missing is None
    assert found.forecast is not None
    assert found.forecast.endless == "item 1 loiters without end"
    assert found.forecast.reach_j == ()
    assert found.forecast.power_w(20.0) > 1.05 * POWER_W
    assert found.forecast.power_w(7200.0) == pytest.approx(POWER_W, rel=0.01)


def test_the_power_of_an_endless_jump_is_that_of_its_round() -> None:
    """100 s at 100 W, then rounds of 10 s at 500 W and 30 s at 300 W."""
    spans_s, legs_j = np.array([100.0, 10.0, 30.0]), np.array([10_000.0, 5000.0, 9000.0])
    found = MissionForecast(spans_s, legs_j, 0.1, (), repeated=2, endless="item 4 jumps for ever")
    assert found.power_w(100.0) == pytest.approx(100.0)
    assert found.power_w(140.0) == pytest.approx(24_000.0 / 140.0)
    assert found.power_w(150.0) == pytest.approx(29_000.0 / 150.0)
    assert found.power_w(165.0) == pytest.approx((38_000.0 - 15.0 * 300.0) / 165.0)
    assert found.power_w(180.0) == pytest.approx(38_000.0 / 180.0)
    assert found.power_w(1e6) == pytest.approx(14_000.0 / 40.0, rel=1e-3)


def test_a_jump_to_where_the_vehicle_stays_is_a_hover() -> None:
    stays = MissionItem(ItemKind.JUMP, jump_to=1, jump_times=-1)
    found = forecast(flying(AWAY, waypoint(3.0), stays))
    assert found.endless == "item 1 jumps for ever"
    assert found.power_w(7200.0) == pytest.approx(POWER_W)
    alone = answer(flying(AWAY, TAKEOFF, stays, item=1)).forecast
    assert alone is not None
    assert alone.power_w(7200.0) == pytest.approx(POWER_W)


def test_on_the_ground_the_power_of_the_vehicle_may_be_missing() -> None:
    ground = replace(flying(AWAY, *MISSION), armed=False)
    found = MissionAhead().update(0.0, ground, FREE, None)
    assert found == MissionAnswer(missing="power of the vehicle")
    assert MissionAhead().update(0.0, ground, hovered(), None).forecast is not None


@pytest.mark.parametrize(
    "vehicle",
    [
        AWAY,
        replace(AWAY, plan=None),
        replace(AWAY, plan=replace(PLAN, items=None)),
        replace(flying(AWAY, *MISSION), mode="LOITER"),
        replace(flying(AWAY, *MISSION), armed=None),
        flying(AWAY, MissionItem(ItemKind.OTHER)),
        flying(AWAY, waypoint(1.0), MissionItem(ItemKind.OTHER), item=7),
    ],
)
def test_without_a_mission_that_is_flown_there_is_no_forecast(vehicle: VehicleState) -> None:
    if vehicle.mission_item == 7:
        assert answer(vehicle).forecast is not None  # the last item: the return is left
    else:
        assert answer(vehicle) == MissionAnswer()


def spans_s(stage: MissionAhead, vehicle: VehicleState, *times_s: float) -> list[float]:
    found = [stage.update(t_s, vehicle, FREE, POWER_W).forecast for t_s in times_s]
    return [0.0 if one is None else one.span_s for one in found]


def test_a_hold_runs_out_while_the_vehicle_is_at_the_item() -> None:
    hold = replace(waypoint(2.0), hold_s=60.0)
    there = flying(AWAY, hold, LAND)
    stage = MissionAhead()
    first, later, over = spans_s(stage, there, 100.0, 130.0, 200.0)
    assert first - later == pytest.approx(30.0)
    assert first - over == pytest.approx(60.0)
    away = replace(there, lat_deg=47.0 + 1.9 * KILOMETRE_DEG)
    coming = spans_s(MissionAhead(), away, 100.0, 130.0)
    assert coming[0] == pytest.approx(coming[1])
    delay = flying(AWAY, MissionItem(ItemKind.DELAY, hold_s=60.0), LAND)
    first, later = spans_s(MissionAhead(), delay, 100.0, 130.0)
    assert first - later == pytest.approx(30.0)


JUMP = (waypoint(0.1), waypoint(0.2), MissionItem(ItemKind.JUMP, jump_to=0, jump_times=1), LAND)


def test_jumps_that_were_done_are_not_ahead_any_more() -> None:
    stage = MissionAhead()
    for item in (0, 1):
        stage.update(0.0, flying(AWAY, *JUMP, item=item), FREE, POWER_W)
    assert stage.state().jumps == ()
    stage.update(0.0, flying(AWAY, *JUMP, item=0), FREE, POWER_W)
    assert stage.state().jumps == ((2, 1),)
    again = MissionAhead().with_state(stage.state())
    assert again.state() == stage.state()
    numbers = forecast(flying(AWAY, *JUMP)).reach_j
    found = again.update(0.0, flying(AWAY, *JUMP), FREE, POWER_W).forecast
    assert found is not None
    assert len(numbers) == 4
    assert len(found.reach_j) == 2
    stage.update(0.0, flying(AWAY, *JUMP, item=3), FREE, POWER_W)
    stage.update(0.0, flying(AWAY, *JUMP, item=1), FREE, POWER_W)  # set by a pilot: no jump
    assert stage.state().jumps == ((2, 1),)


def test_a_mission_that_starts_again_has_all_its_jumps() -> None:
    stage = MissionAhead(MissionState(1, 0.0, arrived=False, jumps=((2, 1),)))
    stage.update(0.0, replace(flying(AWAY, *JUMP), armed=False), FREE, POWER_W)
    assert stage.state().jumps == ()


def test_the_legs_ahead_follow_a_change_of_the_plan() -> None:
    stage = MissionAhead()
    long, short = flying(AWAY, *MISSION, item=3), flying(AWAY, waypoint(1.0), LAND)
    first = spans_s(stage, long, 0.0)
    assert spans_s(stage, short, 1.0) == spans_s(MissionAhead(), short, 1.0)
    assert spans_s(stage, long, 2.0) == pytest.approx(first)


def test_a_vehicle_that_has_landed_at_the_end_of_its_mission_has_none_left() -> None:
    flat = replace(PLAN, returns=replace(RETURNS, height_m=0.0))
    home = replace(AWAY, lat_deg=47.0, alt_m=500.0, plan=flat)
    assert answer(flying(home, LAND)) == MissionAnswer()


def test_after_a_landing_the_next_flight_is_judged_a_minute_later() -> None:
    stage = MissionAhead()
    there, home = flying(AWAY, *MISSION, item=4), replace(flying(AWAY, *MISSION), armed=False)
    assert stage.update(100.0, there, hovered(), POWER_W).forecast is not None
    stage.update(110.0, replace(there, mode="RTL"), hovered(), POWER_W)
    again = MissionAhead().with_state(stage.state())
    for landed in (stage, again):
        found = landed.update(169.0, home, hovered(), None)
        assert found == MissionAnswer(missing="60 s on the ground")
        assert landed.update(170.0, home, hovered(), None).forecast is not None
    other = replace(flying(AWAY, *MISSION[:3]), armed=False)
    soon = MissionAhead(stage.state())
    assert soon.update(120.0, home, hovered(), None).forecast is None
    assert soon.update(121.0, other, hovered(), None).forecast is not None  # uploaded since


def test_a_vehicle_that_is_armed_and_disarmed_without_a_load_has_not_flown() -> None:
    stage = MissionAhead()
    armed = replace(flying(AWAY, *MISSION), mode="LOITER")
    stage.update(100.0, armed, hovered(), None)
    assert stage.update(101.0, replace(armed, armed=False), hovered(), None).forecast is not None


def test_the_return_that_ends_a_mission_becomes_shorter_while_it_is_flown() -> None:
    items = (TAKEOFF, waypoint(2.0), MissionItem(ItemKind.RETURN))
    stage, away = MissionAhead(), flying(AWAY, *items, item=2)
    near = replace(away, lat_deg=47.0 + KILOMETRE_DEG)
    low = replace(away, lat_deg=47.0, alt_m=505.0, landing=True)
    far_s, near_s, low_s = (spans_s(stage, each, 0.0)[0] for each in (away, near, low))
    assert far_s - near_s == pytest.approx(100.0, rel=0.01)  # 1 km at 10 m/s
    assert low_s == pytest.approx(10.0)  # 5 m at 0.5 m/s


def along(to: ReturnTo, *items: MissionItem) -> VehicleState:
    plan = replace(PLAN, returns=replace(RETURNS, to=to))
    return flying(replace(AWAY, plan=plan), *items)


DOWN_S = 4.0 + 35.0  # a stop, 30 m at 2 m/s and 10 m at 0.5 m/s
PAUSE = MissionItem(ItemKind.DELAY, hold_s=5.0)
FAR_LAND = MissionItem(ItemKind.LAND, place(4.0, 0.0))
HOLDS = waypoint(2.0, hold_s=30.0)
ON = along(ReturnTo.MISSION, TAKEOFF, waypoint(1.0), HOLDS, waypoint(3.0), FAR_LAND)
BACK = along(ReturnTo.MISSION, waypoint(1.0), waypoint(3.0), waypoint(2.0), PAUSE)
NEARER = along(ReturnTo.MISSION_NEARER, waypoint(1.0), waypoint(2.0), waypoint(3.0), FAR_LAND)


@pytest.mark.parametrize(
    ("vehicle", "reached"),
    [
        # (Until there at 8 m/s; from there at 10 m/s, without the hold on to 4 km.)
        (ON, {0: (20.0, 400.0), 1: (146.6, 300.0), 2: (303.2, 200.0), 3: (429.8, 100.0)}),
        # Back over the places that were flown to, with a turn in the third of them.
        (BACK, {0: (125.0, 100.0), 1: (375.0, 300.0), 2: (503.2, 400.0)}),
        # To the end that is fewer items away: one back, or one on.
        (NEARER, {0: (125.0, 100.0), 1: (250.0, 200.0), 2: (375.0, 100.0)}),
    ],
    ids=["on", "back", "nearer"],
)
def test_a_return_along_the_mission_is_known_from_each_item(
    vehicle: VehicleState, reached: dict[int, tuple[float, float]]
) -> None:
    found = forecast(replace(vehicle, armed=False, lat_deg=47.0))
    assert dict(found.reach_j) == pytest.approx(
        {number: (sum(parts_s) + DOWN_S) * POWER_W for number, parts_s in reached.items()},
        rel=1e-3,
    )
    assert found.last_home_item(1e9) == max(reached)
    items = () if vehicle.plan is None else vehicle.plan.items or ()
    for number, (_, way_s) in reached.items():  # it is the return of a vehicle that is there
        at = items[number].place
        assert at is not None
        there = replace(vehicle, lat_deg=at.lat_deg, mission_item=number + 1)
        home = (
            ReturnHome().update(sample(100.0), there, FREE, load(POWER_W), lasting(9e3, 9e3)).home_s
        )
        assert home == pytest.approx(way_s + DOWN_S, rel=1e-3)


@pytest.mark.parametrize(
    ("to", "more_s"),
    [
        # On over the item at 2 km, from there on, or after it.
        (ReturnTo.MISSION, {0: 30.0, 1: 30.0, 2: 30.0}),
        # Back, once more over it.
        (ReturnTo.MISSION_NEARER, {0: 0.0, 1: 30.0, 2: 60.0}),
    ],
)
def test_a_height_that_is_changed_at_its_place_takes_its_time(
    to: ReturnTo, more_s: dict[int, float]
) -> None:
    high = MissionItem(ItemKind.LOITER, place(2.0, 100.0))
    spans_s, found_s = [], []
    for item in (high, replace(high, level_first=True)):  # 60 m at 2 m/s
        items = (waypoint(1.0), item, waypoint(3.0), *(waypoint(3.0 + k) for k in range(3)))
        vehicle = along(to, *items, FAR_LAND)
        found = forecast(replace(vehicle, armed=False, lat_deg=47.0, alt_m=540.0))
        spans_s.append(found.span_s)
        found_s.append({number: j / POWER_W for number, j in found.reach_j})
    assert spans_s[1] - spans_s[0] == pytest.approx(30.0)
    for number, span_s in more_s.items():
        assert found_s[1][number] - found_s[0][number] == pytest.approx(span_s)


def test_a_return_along_the_mission_against_too_strong_a_wind_is_out_of_reach() -> None:
    returns = replace(RETURNS, cruise_m_s=4.0, to=ReturnTo.MISSION_NEARER)
    plan = replace(PLAN, returns=returns, speeds=Speeds(4.0))
    windy = replace(AWAY, lat_deg=47.0, plan=plan, wind_m_s=14.5, wind_from_deg=180.0)
    found = forecast(flying(windy, *(NEARER.plan or PLAN).items or ()))
    # Back from the first item, on with the wind from the others.
    assert [j < math.inf for _, j in found.reach_j] == [False, True, True]
    assert found.last_home_item(1e12) is None

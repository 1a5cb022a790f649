# SPDX-License-Identifier: Apache-2.0
"""Flights of waypoints: the way, its times, the return and landing, what the autopilot reports."""

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest

from dronebms.core.flight_plan import ItemKind, Place, PlaceHeight, ReturnPlan, ReturnTo, SpeedKind
from dronebms.core.vehicle_state import VehicleState
from sim.emulator.world import World
from sim.plant.atmosphere import Atmosphere, standard_air_kg_m3
from sim.plant.multirotor import Multirotor
from sim.plant.scenario import Scenario, VehicleSpec, load_scenario
from sim.plant.waypoints import WaypointFlight

STEP_S = 0.1
PACK: dict[str, Any] = {"chemistry": "lipo", "cells": 6, "cell_mah": 16000.0}
VEHICLE = {"mass_kg": 5.0, "rotors": 6, "rotor_diameter_m": 0.38, "avionics_w": 12.0}
UP = {"do": "takeoff", "height_m": 40.0}
HOME = {"do": "return"}
M_DEG = math.radians(1.0) * 6_371_000.0
Item = dict[str, Any]


def at(north_m: float, east_m: float = 0.0, height_m: float = 40.0, **other: object) -> Item:
    return {"north_m": north_m, "east_m": east_m, "height_m": height_m, **other}


def plan(*items: Item, **tables: Any) -> Scenario:  # noqa: ANN401 - tables of a file
    tables = {"vehicle": VEHICLE, **tables}
    return Scenario.model_validate({"name": "mine", "pack": PACK, "waypoint": items} | tables)


def flight(*items: Item, seed: int = 1, **tables: Any) -> WaypointFlight:  # noqa: ANN401 - the same
    return WaypointFlight(plan(*items, **tables), np.random.default_rng(seed), STEP_S)


def states(way: WaypointFlight) -> list[VehicleState]:
    return [way.vehicle(step * STEP_S) for step in range(round(way.duration_s / STEP_S) + 1)]


def here(state: VehicleState) -> tuple[float, float, float]:
    """Metres north and east of home and above it."""
    assert state.lat_deg is not None
    assert state.lon_deg is not None
    assert state.alt_m is not None
    assert state.home_lat_deg is not None
    assert state.home_lon_deg is not None
    assert state.home_alt_m is not None
    east_m = (state.lon_deg - state.home_lon_deg) * math.cos(math.radians(state.home_lat_deg))
    return (state.lat_deg - state.home_lat_deg) * M_DEG, east_m * M_DEG, state.alt_m - 488.0


def reached_s(way: WaypointFlight, item: int) -> float:
    """Time at which the vehicle begins to fly to an item."""
    return next(k * STEP_S for k, state in enumerate(states(way)) if state.mission_item == item)


def lasted_s(way: WaypointFlight, item: int) -> float:
    return sum(state.mission_item == item and bool(state.armed) for state in states(way)) * STEP_S


def test_a_flight_of_waypoints_needs_a_vehicle() -> None:
    scenario = plan(UP).model_copy(update={"vehicle": None})
    with pytest.raises(ValueError, match="needs a vehicle"):
        WaypointFlight(scenario, np.random.default_rng(1), STEP_S)


# ---------------------------------------------------------------------- items


def test_a_take_off_climbs_over_home_at_the_climb_speed() -> None:
    way = flight(UP, HOME, speeds={"climb_m_s": 2.0})
    assert not way.vehicle(19.9).armed
    assert way.vehicle(30.0).armed
    assert way.vehicle(30.0).climb_m_s == pytest.approx(2.0)
    assert lasted_s(way, 1) == pytest.approx(40.0 / 2.0, abs=2.5)
    assert max(here(state)[2] for state in states(way)) == pytest.approx(40.0, abs=0.5)


def test_a_leg_takes_its_length_over_the_speed() -> None:
    way = flight(UP, at(600.0, 800.0), HOME, speeds={"cruise_m_s": 8.0})
    # It accelerates and brakes at 2 m/s2.
    assert lasted_s(way, 2) == pytest.approx(1000.0 / 8.0 + 8.0 / 2.0, abs=2.0)
    assert here(way.vehicle(reached_s(way, 3))) == pytest.approx((600.0, 800.0, 40.0), abs=2.0)


def test_a_steep_leg_takes_as_long_as_its_climb() -> None:
    way = flight(UP, at(100.0, height_m=240.0), HOME, speeds={"climb_m_s": 2.5})
    assert lasted_s(way, 2) == pytest.approx(200.0 / 2.5, abs=4.0)
    middle = here(way.vehicle(reached_s(way, 2) + 40.0))
    assert middle[0] / 100.0 == pytest.approx((middle[2] - 40.0) / 200.0, abs=0.05)


def test_a_hold_and_a_delay_stand_still_for_their_time() -> None:
    way = flight(UP, at(100.0, hold_s=30.0), {"do": "delay", "hold_s": 20.0}, HOME)
    held = [s for s in states(way) if s.mission_item == 2 and (s.ground_speed_m_s or 0.0) < 0.5]
    assert len(held) * STEP_S == pytest.approx(30.0, abs=2.0)
    assert lasted_s(way, 3) == pytest.approx(20.0)


def test_turns_are_flown_around_their_place() -> None:
    loiter = {"do": "loiter", "turns": 2.0, "radius_m": 50.0, **at(300.0, 100.0)}
    way = flight(UP, loiter, HOME)
    began_s = reached_s(way, 2)
    circling = [here(way.vehicle(began_s + 60.0 + t_s)) for t_s in range(60)]
    away_m = [math.hypot(north_m - 300.0, east_m - 100.0) for north_m, east_m, _ in circling]
    assert all(45.0 < metres < 65.0 for metres in away_m)
    assert min(north_m for north_m, _, _ in circling) < 255.0
    assert max(north_m for north_m, _, _ in circling) > 345.0
    circle_s = 2.0 * math.tau * 50.0 / math.sqrt(0.5 * 2.0 * 50.0)  # half of the acceleration
    assert lasted_s(way, 2) == pytest.approx((316.0 - 50.0) / 10.0 + circle_s, abs=10.0)


def test_a_loiter_without_a_place_stays_where_it_is() -> None:
    way = flight(UP, at(200.0), {"do": "loiter", "hold_s": 25.0}, HOME)
    assert lasted_s(way, 3) == pytest.approx(25.0)
    assert here(way.vehicle(reached_s(way, 4)))[0] == pytest.approx(200.0, abs=2.5)


def test_a_speed_holds_from_its_item_on() -> None:
    slow: list[Item] = [
        {"do": "speed", "speed_m_s": 4.0},
        {"do": "speed", "speed_m_s": 1.0, "speed": "climb"},
        {"do": "speed", "speed_m_s": 0.5, "speed": "descent"},
    ]
    way = flight(UP, at(200.0), *slow, at(0.0), at(0.0, height_m=60.0), at(0.0, height_m=50.0))
    assert lasted_s(way, 2) == pytest.approx(200.0 / 10.0 + 5.0, abs=2.0)
    assert lasted_s(way, 6) == pytest.approx(200.0 / 4.0 + 2.0, abs=2.0)
    assert lasted_s(way, 7) == pytest.approx(20.0 / 1.0, abs=2.0)
    assert max(states(way), key=lambda s: -(s.climb_m_s or 0.0)).climb_m_s == pytest.approx(-0.5)


def test_a_jump_repeats_items_as_often_as_it_states() -> None:
    way = flight(UP, at(50.0), at(90.0), {"do": "jump", "to": 2, "times": 2}, at(20.0), HOME)
    order = [item for item, _ in itertools.groupby(s.mission_item for s in states(way))]
    assert order == [0, 1, 2, 3, 2, 3, 2, 3, 5, 6]


def test_an_endless_jump_flies_for_two_hours() -> None:
    way = flight(UP, at(900.0), at(0.0), {"do": "jump", "to": 2, "times": -1}, HOME)
    assert way.duration_s == pytest.approx(7200.0, abs=0.2)
    assert way.vehicle(7200.0).armed


def test_an_endless_jump_to_the_place_where_the_vehicle_is_hovers_there() -> None:
    way = flight(UP, at(0.5), {"do": "jump", "to": 2, "times": -1})
    assert way.duration_s == pytest.approx(7200.0, abs=1.0)
    assert here(way.vehicle(3600.0)) == pytest.approx((0.5, 0.0, 40.0), abs=2.0)


def test_jumps_that_fly_nothing_end_the_mission() -> None:
    way = flight(UP, {"do": "jump", "to": 3, "times": -1}, {"do": "jump", "to": 2, "times": -1})
    assert way.vehicle(way.duration_s).armed
    assert here(way.vehicle(way.duration_s)) == pytest.approx((0.0, 0.0, 40.0), abs=0.5)


def test_a_mission_without_an_end_hovers_at_its_last_item() -> None:
    way = flight(UP, at(100.0))
    last = way.vehicle(way.duration_s)
    assert way.duration_s == pytest.approx(7200.0, abs=0.2)
    assert (last.armed, last.mode, last.mission_item) == (True, "AUTO", 2)


def test_a_landing_item_lands_at_its_place() -> None:
    way = flight(UP, at(300.0), {"do": "land", "north_m": 350.0, "east_m": 20.0})
    last = way.vehicle(way.duration_s)
    assert here(last) == pytest.approx((350.0, 20.0, 0.0), abs=2.0)
    assert (last.armed, last.mode, last.landing) == (False, "AUTO", False)
    landing = [state for state in states(way) if state.landing]
    assert here(landing[0])[2] == pytest.approx(40.0, abs=0.5)
    assert {state.armed for state in landing} == {True}


def test_nothing_is_flown_after_a_landing() -> None:
    way = flight(UP, {"do": "land"}, at(500.0))
    assert here(way.vehicle(way.duration_s)) == pytest.approx((0.0, 0.0, 0.0), abs=0.1)


@pytest.mark.parametrize("name", ["mission", "mission_headwind"])
def test_the_vehicle_neither_jumps_nor_exceeds_what_it_can(name: str) -> None:
    scenario = load_scenario(name)
    way = WaypointFlight(scenario, np.random.default_rng(1), STEP_S)
    air = Atmosphere(scenario, np.random.default_rng(1), STEP_S)
    moments = way.moments
    for step, (before, after) in enumerate(itertools.pairwise(moments), 1):
        if not after.armed:
            continue
        change_m_s = math.hypot(
            after.north_m_s - before.north_m_s, after.east_m_s - before.east_m_s
        )
        assert change_m_s <= 2.0 * STEP_S + 1e-9
        moved_m = math.hypot(after.north_m - before.north_m, after.east_m - before.east_m)
        assert moved_m == pytest.approx(math.hypot(after.north_m_s, after.east_m_s) * STEP_S)
        # The acceleration is limited too, in wind that changes.
        assert air.airspeed_m_s(step * STEP_S, after.north_m_s, after.east_m_s) < 15.1


# ---------------------------------------------------------------------- wind


def test_against_a_strong_wind_the_vehicle_is_slower_over_ground() -> None:
    vehicle = VEHICLE | {"max_airspeed_m_s": 12.0}
    air = {"wind_m_s": 9.0, "wind_from_deg": 0.0}
    way = flight(UP, at(200.0), at(0.0), HOME, vehicle=vehicle, air=air)
    out, back = (way.vehicle(reached_s(way, item) + 15.0) for item in (2, 3))
    assert out.ground_speed_m_s == pytest.approx(3.0)
    assert back.ground_speed_m_s == pytest.approx(10.0)


def test_a_wind_across_costs_speed_as_well() -> None:
    vehicle = VEHICLE | {"max_airspeed_m_s": 13.0}
    air = {"wind_m_s": 12.0, "wind_from_deg": 90.0}
    way = flight(UP, at(400.0), HOME, vehicle=vehicle, air=air)
    assert way.vehicle(reached_s(way, 2) + 15.0).ground_speed_m_s == pytest.approx(5.0)


def test_a_wind_above_the_airspeed_carries_the_vehicle_away() -> None:
    vehicle = VEHICLE | {"max_airspeed_m_s": 10.0}
    change = {"at_s": 60.0, "within_s": 20.0, "wind_m_s": 14.0, "wind_from_deg": 90.0}
    way = flight(UP, at(400.0), HOME, vehicle=vehicle, air={"change": [change]})
    one, two = (here(way.vehicle(t_s)) for t_s in (200.0, 300.0))
    assert two[1] - one[1] == pytest.approx(-4.0 * 100.0, abs=1.0)


def test_the_wind_changes_linearly_and_is_reported_in_the_air() -> None:
    changes = [
        {"at_s": 100.0, "within_s": 50.0, "wind_m_s": 10.0, "wind_from_deg": 270.0},
        {"at_s": 200.0, "within_s": 10.0, "wind_m_s": 0.0, "wind_from_deg": 0.0},
    ]
    air = {"wind_m_s": 4.0, "wind_from_deg": 270.0, "change": changes}
    way = flight(UP, at(3000.0), HOME, air=air)
    seen_m_s = [way.vehicle(t_s).wind_m_s for t_s in (10.0, 60.0, 125.0, 180.0, 220.0)]
    assert seen_m_s == [None, *(pytest.approx(x, abs=1e-9) for x in (4.0, 7.0, 10.0, 0.0))]
    assert way.vehicle(125.0).wind_from_deg == pytest.approx(270.0)
    assert flight(UP, HOME).vehicle(30.0).wind_m_s is None


def test_power_is_that_of_the_motion_through_the_air() -> None:
    air = {"wind_m_s": 6.0, "wind_from_deg": 90.0}
    way = flight(UP, at(2000.0), HOME, air=air)
    t_s = reached_s(way, 2) + 20.0
    kg_m3 = standard_air_kg_m3(488.0 + 40.0, 488.0, 20.0)
    rotors = Multirotor(VehicleSpec.model_validate(VEHICLE))
    cruise_w = rotors.power_w(5.0, kg_m3, math.hypot(10.0, 6.0), 0.0)
    assert way.mean_power_w(t_s) == pytest.approx(cruise_w, rel=1e-3)
    assert way.power_w(t_s) == pytest.approx(cruise_w, rel=1e-3)  # no gusts
    assert way.mean_power_w(5.0) is None
    assert way.power_w(5.0) == 12.0
    assert way.airflow_m_s(5.0) == pytest.approx(6.0)
    assert way.airflow_m_s(t_s) > math.hypot(10.0, 6.0)


def test_gusts_change_the_power_and_not_the_way() -> None:
    ways = [flight(UP, at(500.0), HOME, air={"gust_m_s": g}, seed=s) for g, s in ((2, 1), (2, 2))]
    powers_w = [[way.power_w(t_s * STEP_S) for t_s in range(400, 600)] for way in ways]
    assert powers_w[0] != powers_w[1]
    assert ways[0].moments == ways[1].moments


# ---------------------------------------------------------------------- return

RETURN: dict[str, Any] = {
    "cruise_m_s": 6.0, "climb_m_s": 2.0, "descent_m_s": 1.0, "landing_m_s": 0.4,
    "landing_height_m": 8.0, "height_m": 70.0, "wait_s": 12.0,
}  # fmt: skip


def returning(changes: Item | None = None) -> dict[str, Any]:
    """Return the table of a return that differs."""
    return {"return": RETURN | (changes or {})}


def test_a_commanded_return_climbs_flies_home_waits_and_lands() -> None:
    way = flight(UP, at(600.0), at(0.0, 900.0), HOME, **returning())
    way.command_return(100.0)
    seen = [state for state in states(way)[1001:] if state.armed]
    assert {state.mode for state in seen} == {"RTL"}
    assert max(here(state)[2] for state in seen) == pytest.approx(70.0, abs=0.5)
    assert max(state.ground_speed_m_s or 0.0 for state in seen[100:]) == pytest.approx(6.0)
    away_m = math.hypot(*here(way.vehicle(100.0))[:2])
    down_s = (70.0 - 8.0) / 1.0 + 8.0 / 0.4
    home_s = 30.0 / 2.0 + away_m / 6.0 + 12.0 + down_s
    assert len(seen) * STEP_S == pytest.approx(home_s, abs=15.0)
    last = way.vehicle(way.duration_s)
    assert (last.armed, last.mode) == (False, "RTL")
    assert here(last) == pytest.approx((0.0, 0.0, 0.0), abs=2.0)


def test_a_return_may_be_commanded_at_a_time_of_the_file() -> None:
    way = flight(UP, at(600.0), HOME, flight={"return_at_s": 60.0, "ground_s": 5.0})
    assert [way.vehicle(t_s).mode for t_s in (59.9, 60.2)] == ["AUTO", "RTL"]
    assert way.vehicle(5.5).armed


@pytest.mark.parametrize("return_at_s", [3.0, 1000.0])
def test_a_return_at_a_time_on_the_ground_changes_nothing(return_at_s: float) -> None:
    plain = flight(UP, at(600.0), HOME)
    assert flight(UP, at(600.0), HOME, flight={"return_at_s": return_at_s}).moments == plain.moments


def test_a_return_is_commanded_once_and_in_the_air() -> None:
    way = flight(UP, at(600.0), HOME)
    before = way.moments
    way.command_return(3.0)
    way.command_return(way.duration_s)
    assert way.moments == before
    way.command_return(50.0)
    once = way.moments
    way.command_return(60.0)
    way.command_return(way.duration_s - 40.0)
    assert way.moments == once


def return_height_m(north_m: float, **changes: object) -> float:
    way = flight(UP, at(north_m), at(north_m, hold_s=500.0), **returning(changes))
    began_s = reached_s(way, 3) + 20.0
    way.command_return(began_s)
    return max(here(state)[2] for state in states(way) if state.mode == "RTL")


@pytest.mark.parametrize(
    ("changes", "height_m"),
    [
        ({}, 70.0),
        ({"height_m": 20.0}, 40.0),
        ({"height_m": 20.0, "climb_at_least_m": 5.0}, 45.0),
        ({"cone_slope": 0.5}, 50.0),
        ({"cone_slope": 0.2}, 40.0),
        ({"level_within_m": 101.5}, 40.0),
        ({"level_within_m": 90.0}, 70.0),
    ],
)
def test_the_height_of_a_return_follows_its_plan(changes: Item, height_m: float) -> None:
    assert return_height_m(100.0, **changes) == pytest.approx(height_m, abs=1.5)


def test_the_vehicle_may_wait_lower_and_stay_in_the_air() -> None:
    high = returning({"wait_height_m": 25.0, "lands": False})
    way = flight(UP, at(100.0), HOME, **high)
    last = way.vehicle(way.duration_s)
    assert last.armed
    assert here(last) == pytest.approx((0.0, 0.0, 25.0), abs=2.0)


def test_a_return_leads_to_the_nearest_rally_point_or_to_the_landing_of_the_mission() -> None:
    rally = [{"north_m": 500.0, "east_m": 50.0, "height_m": 90.0}, {"north_m": 0.0, "east_m": -9e3}]
    land = {"do": "land", "north_m": 700.0, "east_m": 0.0}

    def landed(to: str, *items: Item, **changes: float) -> tuple[float, float, float]:
        table = returning({"to": to} | changes)
        way = flight(UP, at(600.0), *items, rally=rally, flight={"return_at_s": 70.0}, **table)
        return here(way.vehicle(way.duration_s))

    assert landed("home", land) == pytest.approx((0.0, 0.0, 0.0), abs=2.0)
    assert landed("home or rally point", land) == pytest.approx((500.0, 50.0, 0.0), abs=2.0)
    assert landed("rally point", land) == pytest.approx((500.0, 50.0, 0.0), abs=2.0)
    assert landed("rally point") == pytest.approx((500.0, 50.0, 0.0), abs=2.0)
    for to in ("home or rally point", "rally point"):
        assert landed(to, rally_within_m=50.0) == pytest.approx((0.0, 0.0, 0.0), abs=2.0)
    assert landed("mission landing", land) == pytest.approx((700.0, 0.0, 0.0), abs=2.0)
    assert landed("mission landing", {"do": "land"}) == pytest.approx((0.0, 0.0, 0.0), abs=2.0)


# ---------------------------------------------------------------------- what is reported


def test_the_autopilot_reports_the_plan_that_it_flies() -> None:
    items: list[Item] = [
        UP,
        at(100.0, 50.0, 30.0, hold_s=7.0),
        {"do": "loiter", "turns": 2.0, "radius_m": 15.0, **at(10.0)},
        {"do": "delay", "hold_s": 9.0},
        {"do": "speed", "speed_m_s": 3.0, "speed": "climb"},
        {"do": "jump", "to": 2, "times": -1},
        {"do": "land", "north_m": 5.0, "east_m": 0.0},
        HOME,
    ]
    tables = returning({"to": "home or rally point"}) | {"speeds": {"cruise_m_s": 9.0}}
    state = flight(*items, rally=[{"north_m": 0.0, "east_m": 0.0}], **tables).vehicle(0.0)
    assert (state.on_wing, state.mission_item, state.heartbeat_age_s) == (False, 0, 0.0)
    found = state.plan
    assert found is not None
    reported = RETURN | {"to": ReturnTo.HOME_OR_RALLY, "place_height": PlaceHeight.WAY}
    assert found.returns == ReturnPlan(**reported)
    assert (found.speeds.cruise_m_s, found.speeds.descent_m_s) == (9.0, 1.5)
    assert found.rally == (Place(47.3977, 8.5456, None),)
    assert found.items is not None
    kinds = [ItemKind.OTHER, *(ItemKind(item.get("do", "waypoint")) for item in items)]
    assert [item.kind for item in found.items] == kinds
    up, hold, turns, delay, speed, jump, land = found.items[1:8]
    assert up.place == Place(47.3977, 8.5456, 40.0)
    assert hold.place is not None
    assert (hold.place.lat_deg - 47.3977) * M_DEG == pytest.approx(100.0)
    assert (hold.place.alt_m, hold.hold_s) == (30.0, 7.0)
    assert (turns.turns, turns.radius_m) == (2.0, 15.0)
    assert (delay.place, delay.hold_s) == (None, 9.0)
    assert (speed.speed_m_s, speed.speed_kind) == (3.0, SpeedKind.CLIMB)
    assert (jump.jump_to, jump.jump_times) == (2, -1)
    assert land.place is not None
    assert land.place.alt_m == 0.0


def test_waypoints_of_a_pilot_are_not_on_the_autopilot() -> None:
    way = flight(UP, at(300.0), HOME, flight={"by_pilot": True})
    states_seen = states(way)
    assert {state.mode for state in states_seen} == {"LOITER"}
    assert {state.mission_item for state in states_seen} == {None}
    assert states_seen[0].plan is not None
    assert states_seen[0].plan.items == ()


def test_a_world_flies_waypoints_and_returns_when_it_is_commanded() -> None:
    scenario = load_scenario("mission")
    world, other = World(scenario, 3), World(scenario, 3)
    planned_s = world.duration_s
    world.advance(300.0)
    world.command_return(300.5)
    assert world.t_s == 300.5
    assert world.vehicle(301.0).mode == "RTL"
    assert world.duration_s < planned_s - 300.0
    world.advance(world.duration_s)
    other.advance(300.5)
    other.command_return(300.5)
    other.advance(other.duration_s)
    assert world.truth() == other.truth()
    assert not world.vehicle(world.t_s).armed


def test_phases_are_flown_to_their_end() -> None:
    world = World(load_scenario("hover"))
    planned_s = world.duration_s
    world.command_return(100.0)
    assert world.duration_s == planned_s
    assert world.vehicle(101.0).mode == "AUTO"


def test_a_copy_of_a_flight_has_gusts_of_its_own() -> None:
    """A copied world that is commanded to return does not change the flight it was copied from."""
    scenario = load_scenario("mission")
    world, alone = World(scenario, 3), World(scenario, 3)
    world.advance(60.0)
    copied = copy.deepcopy(world)
    copied.command_return(60.0)
    copied.advance(90.0)
    for each in (world, alone):
        each.advance(90.0)
    assert world.truth() == alone.truth()
    assert copied.truth() != alone.truth()
    assert (copied.vehicle(90.0).mode, world.vehicle(90.0).mode) == ("RTL", "AUTO")

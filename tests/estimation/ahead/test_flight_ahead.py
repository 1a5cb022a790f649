# SPDX-License-Identifier: Apache-2.0
"""The flight ahead with the pack as it is: charge at the landing, verdicts, what is remembered."""

import json
import math
from dataclasses import replace

import pytest

from dronebms.core.flight_plan import FlightPlan, ItemKind, MissionItem
from dronebms.core.report import Estimate, Verdict
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.ahead.reach import Available, available
from dronebms.estimation.estimator import Estimator
from dronebms.estimation.learning.learned_json import vehicle_from_json, vehicle_to_json
from dronebms.estimation.learning.learned_pack import Keys, Known, Learned
from dronebms.estimation.learning.pack_memory import PackMemoryInRam
from dronebms.estimation.learning.usual_power import FlightPower, newest_motion
from tests.estimation.ahead.flights_ahead import (
    AWAY,
    KILOMETRE_DEG,
    PLAN,
    flying,
    lasting,
    load,
    place,
    waypoint,
)
from tests.snapshots import FACTS, look

LAND = MissionItem(ItemKind.LAND, place(0.0, 0.0))
TAKEOFF = MissionItem(ItemKind.TAKEOFF, place(0.0, 40.0))
AT_HOME = replace(AWAY, lat_deg=47.0, alt_m=500.0, armed=False, mode="STABILIZE")
NAMED = replace(FACTS, vehicle="lifter")


def ground(*items: MissionItem) -> VehicleState:
    return replace(flying(AT_HOME, *items), armed=False)


def flown(
    estimator: Estimator, vehicle: VehicleState, seconds: int, current_a: float = 10.0
) -> Estimate:
    """The last estimate of a flight at a current; 1 A for 3 s is 0.83 mAh of the 5000."""
    estimate = Estimate(0.0)
    for t in range(seconds):
        used = current_a * t / 3600.0 / 5.0
        cell_v = 4.15 - 0.75 * used - 0.003 * current_a
        estimate = estimator.update(look(float(t), cell_v, current_a + 0.5 * (t % 2)), vehicle)
    return estimate


def test_the_charge_at_the_landing_is_the_present_less_that_of_the_mission() -> None:
    estimate = flown(Estimator(FACTS), flying(AWAY, waypoint(3.0), LAND), 300)
    # 125 s out, 378 s back, 35 s down at 10.25 A: 30.6 % of 5 Ah.
    assert estimate.mission_s == pytest.approx(538.0, rel=0.01)
    assert estimate.soc_pct is not None
    assert estimate.mission_end_pct is not None
    assert estimate.mission_end_low_pct is not None
    assert estimate.mission_needs_mah == pytest.approx(1530.0, rel=0.1)
    used_pct = estimate.soc_pct - estimate.mission_end_pct
    assert used_pct == pytest.approx(30.6, rel=0.15)
    assert 0.0 < estimate.mission_end_low_pct < estimate.mission_end_pct - 3.0
    assert estimate.mission_verdict is Verdict.YES
    assert estimate.last_home_item == 0


@pytest.mark.parametrize(
    ("north_km", "answer"), [(1.0, Verdict.YES), (10.0, Verdict.NO), (40.0, Verdict.NO)]
)
def test_a_mission_that_is_too_long_is_a_no(north_km: float, answer: Verdict) -> None:
    estimate = flown(Estimator(FACTS), flying(AWAY, waypoint(north_km), LAND), 300)
    assert estimate.mission_verdict is answer
    assert estimate.home_verdict is Verdict.YES
    assert estimate.mission_needs_mah is not None
    assert estimate.usable_low_mah is not None
    assert estimate.usable_mah is not None
    assert estimate.usable_low_mah < estimate.usable_mah < 5000.0
    assert (estimate.mission_needs_mah > estimate.usable_mah) == (answer is Verdict.NO)
    assert (estimate.mission_end_pct == 0.0) == (answer is Verdict.NO)


def test_the_time_left_follows_the_power_of_the_mission() -> None:
    free = flown(Estimator(FACTS), AWAY, 300)
    mission = flown(Estimator(FACTS), flying(AWAY, waypoint(9.0), LAND), 300)
    assert free.remaining_s is not None
    assert mission.remaining_s == pytest.approx(free.remaining_s, rel=0.1)
    low_s, high_s = mission.remaining_low_s, mission.remaining_high_s
    assert low_s is not None
    assert high_s is not None
    assert free.remaining_low_s is not None
    assert free.remaining_high_s is not None
    assert high_s - low_s < free.remaining_high_s - free.remaining_low_s


def test_the_first_second_of_a_load_is_not_the_power_of_the_whole_mission() -> None:
    """Until the motions of a vehicle are known, a mission takes the power of the flight so far."""
    plan = flying(AWAY, waypoint(9.0), LAND)
    missions, free = Estimator(FACTS), Estimator(FACTS)
    for t in range(18):
        current_a = 10.0 if t > 1 else 1.5  # the motors start within the first second of the load
        read = look(float(t), 4.15 - 0.003 * current_a, current_a)
        mission = missions.update(read, plan)
        alone = free.update(read, AWAY)
        if t > 5:
            assert mission.remaining_s == pytest.approx(alone.remaining_s, rel=0.1)
            assert mission.mission_needs_mah is not None


def test_a_mission_without_an_end_has_a_time_left_and_no_verdict() -> None:
    estimator = Estimator(FACTS)
    loiters = flying(AWAY, MissionItem(ItemKind.LOITER, hold_s=None))
    estimate = flown(estimator, loiters, 300)
    assert estimate.remaining_s is not None
    assert (estimate.mission_verdict, estimate.mission_s) == (Verdict.UNKNOWN, None)
    assert estimate.mission_end_pct is None
    assert estimate.verdict_missing == "end of the mission: item 0 loiters without end"
    assert estimate.home_verdict is Verdict.YES
    free = flown(Estimator(FACTS), AWAY, 300)
    assert free.remaining_low_s is not None
    assert estimate.remaining_low_s is not None
    assert estimate.remaining_low_s > free.remaining_low_s


def test_on_the_ground_a_mission_is_judged_with_the_power_of_earlier_flights() -> None:
    memory = PackMemoryInRam()
    first = Estimator(NAMED)
    flown(first, AWAY, 400)
    keys = Keys(vehicle="lifter")
    memory.store(keys, first.learn())
    second = Estimator(NAMED, lambda keys: Known(vehicle=memory.vehicle(keys.vehicle or "")))
    short = flown(second, ground(TAKEOFF, waypoint(1.0), LAND), 20, 0.1)
    assert (short.mission_verdict, short.remaining_s) == (Verdict.YES, None)
    assert short.verdict_missing == "load"  # of the way home
    assert short.mission_needs_mah == pytest.approx(308.0 * 10.25 / 3.6, rel=0.15)
    long = flown(second, ground(TAKEOFF, waypoint(7.0), LAND), 40, 0.1)
    assert long.mission_verdict is Verdict.NO
    unknown = flown(Estimator(FACTS), ground(TAKEOFF, waypoint(1.0), LAND), 20, 0.1)
    assert unknown.mission_verdict is Verdict.UNKNOWN
    assert unknown.verdict_missing == "power of the vehicle"
    configured = replace(FACTS, hover_a=10.0)
    known = flown(Estimator(configured), ground(TAKEOFF, waypoint(1.0), LAND), 20, 0.1)
    assert known.mission_verdict is Verdict.YES
    limp = replace(FACTS, limp_home_a=11.0)
    short = flown(Estimator(limp), ground(TAKEOFF, LAND), 20, 0.1)
    assert short.mission_verdict is Verdict.YES


def test_a_vehicle_that_becomes_known_on_the_ground_brings_its_power() -> None:
    first = Estimator(NAMED)
    flown(first, AWAY, 400)
    power = first.learn().power
    assert power is not None
    estimator = Estimator(
        FACTS, lambda keys: Known(vehicle=(power,) if keys.vehicle == "0a" else ())
    )
    mission = ground(TAKEOFF, waypoint(1.0), LAND)
    assert flown(estimator, mission, 20, 0.1).mission_verdict is Verdict.UNKNOWN
    known = flown(estimator, replace(mission, uid="0a"), 40, 0.1)
    assert known.mission_verdict is Verdict.YES


def test_the_return_is_computed_once_a_second_and_again_when_the_pack_is_silent() -> None:
    estimator = Estimator(FACTS)
    flown(estimator, AWAY, 60)
    closer = replace(AWAY, lat_deg=47.0 + KILOMETRE_DEG)
    homes_s = []
    for t_s in (60.0, 60.3, 61.5, 62.6):
        silent = replace(look(t_s), read_at_s={}, voltage_v=None, cells_v=(), current_a=None)
        snapshot = look(t_s, 3.9, 10.0) if t_s == 60.0 else silent
        homes_s.append(estimator.update(snapshot, AWAY if t_s == 60.0 else closer).home_s)
    assert homes_s[0] == homes_s[1] == pytest.approx(239.0, rel=0.01)
    assert homes_s[2] == homes_s[3] == pytest.approx(139.0, rel=0.01)


def test_without_a_remaining_time_the_mission_has_no_verdict() -> None:
    estimator = Estimator(FACTS)
    mission = flying(AWAY, waypoint(3.0), LAND)
    flown(estimator, mission, 60)
    silent = Estimate(0.0)
    for t in range(60, 130):  # the current is unknown, and is known no more after a minute
        silent = estimator.update(look(float(t), 3.9, None), mission)
    assert (silent.remaining_s, silent.mission_verdict) == (None, Verdict.UNKNOWN)
    assert silent.mission_s is not None
    assert silent.verdict_missing == "time left"


def test_of_a_silent_pack_the_flight_ahead_is_not_known_either() -> None:
    estimator = Estimator(FACTS)
    flown(estimator, AWAY, 60)
    late = estimator.update(replace(look(200.0), read_at_s={}, voltage_v=None, cells_v=()), AWAY)
    assert (late.home_s, late.home_verdict) == (None, Verdict.UNKNOWN)


def test_an_estimator_continues_exactly_from_its_state() -> None:
    estimator, mission = Estimator(FACTS), flying(AWAY, waypoint(3.0, hold_s=60.0), LAND)
    flown(estimator, mission, 120)
    again = Estimator(FACTS).with_state(estimator.state())
    for t in range(120, 160):
        there = replace(mission, lat_deg=47.0 + (2.0 + t / 120.0) * KILOMETRE_DEG)
        snapshot = look(t + 0.5 * (t % 2), 3.9, 10.0)
        assert again.update(snapshot, there) == estimator.update(snapshot, there)
    assert again.state() == estimator.state()


# --------------------------------------------------------------------------- energy


def test_the_doubt_of_the_energy_is_that_of_the_time_without_that_of_the_load() -> None:
    doubtful = replace(load(), power_sd=0.2)
    sd = 0.25
    time = lasting(600.0 * math.exp(-1.6449 * sd), 600.0)
    found = available(time, doubtful)
    assert found is not None
    assert found.median_j == pytest.approx(240_000.0)
    assert found.low_sd == pytest.approx(0.15, rel=1e-3)
    low_j, high_j = found.bounds_j(0.2)
    assert low_j == pytest.approx(240_000.0 * math.exp(-1.6449 * 0.25), rel=1e-3)
    assert high_j == pytest.approx(240_000.0 * math.exp(1.6449 * 0.25), rel=1e-3)


def test_energy_without_a_bound_or_at_the_end() -> None:
    unbounded = available(lasting(0.0, 600.0), load())
    assert unbounded is not None
    assert unbounded.bounds_j(0.0)[0] == pytest.approx(0.0, abs=1e-3)
    ended = available(lasting(0.0, 0.0), load())
    assert ended == Available(0.0, 0.02, 0.02)
    assert available(lasting(0.0, 0.0, 0.0), load()) is None


# --------------------------------------------------------------------------- memory


def test_power_by_motion_is_stored_with_the_flights_of_a_vehicle() -> None:
    estimator = Estimator(NAMED)
    flown(estimator, AWAY, 400)
    power = estimator.learn().power
    assert power is not None
    assert power.motion is not None
    old = FlightPower("a", 200.0, 300.0)
    flights = (old, power, replace(old, flight_id="b"))
    stored = json.loads(json.dumps(vehicle_to_json(flights)))
    assert vehicle_from_json(stored) == flights
    assert newest_motion(flights) == power.motion
    assert newest_motion((old,)) is None


@pytest.mark.parametrize(
    "rotor",
    [
        [[400.0] * 4, [0.0] * 5],
        [[400.0] * 5, [0.0] * 4],
        [[0.0] * 5, [0.0] * 5],
        [[400.0] * 5, [-1.0] * 5],
        [[400.0] * 5],
        [[400.0, "x", 0.0, 0.0, 0.0], [0.0] * 5],
    ],
)
def test_a_malformed_power_by_motion_is_refused(rotor: object) -> None:
    rows = [["a", 200.0, 300.0, {"rotor": rotor, "wing": None}]]
    with pytest.raises((ValueError, TypeError, KeyError)):
        vehicle_from_json({"format": 1, "power": rows})


def test_a_flight_without_a_vehicle_state_teaches_no_power_by_motion() -> None:
    estimator = Estimator(NAMED)
    flown(estimator, VehicleState(), 400)
    learned = estimator.learn()
    assert isinstance(learned, Learned)
    assert learned.power is not None
    assert learned.power.motion is None


def test_a_plan_without_items_has_no_mission() -> None:
    estimate = flown(Estimator(FACTS), replace(AWAY, plan=FlightPlan(PLAN.returns)), 60)
    assert (estimate.mission_verdict, estimate.mission_s) == (Verdict.UNKNOWN, None)
    assert estimate.verdict_missing is None

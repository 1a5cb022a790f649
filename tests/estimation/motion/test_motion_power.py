# SPDX-License-Identifier: Apache-2.0
"""Power by motion against the momentum theory of a virtual multirotor, which it does not know."""

import math
from dataclasses import replace

import numpy as np
import pytest

from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.motion.flight_legs import Leg
from dronebms.estimation.motion.motion_power import LegTable, MotionPower
from sim.plant.multirotor import Multirotor
from sim.plant.scenario import VehicleSpec
from tests.estimation.ahead.flights_ahead import AWAY, hovered

COPTER = Multirotor(VehicleSpec(mass_kg=5.0, rotors=6, rotor_diameter_m=0.38, drag_area_m2=0.08))
AIR_KG_M3 = 1.2
EAST = 1.0 / (111_195.0 * math.cos(math.radians(47.0)))  # degrees of longitude in a metre


def true_w(air_m_s: float, climb_m_s: float) -> float:
    return COPTER.power_w(5.0, AIR_KG_M3, air_m_s, climb_m_s)


def fly(motion: MotionPower, *parts: tuple[int, float, float], wind_m_s: float = 0.0) -> None:
    """Fly east and back in parts of (seconds, ground speed, climb); the wind is from the east."""
    random, east_m, t_s = np.random.default_rng(1), 0.0, 0.0
    for span_s, speed_m_s, climb_m_s in parts:
        for _ in range(span_s):
            t_s += 1.0
            east_m += speed_m_s
            vehicle = replace(
                AWAY,
                lon_deg=8.0 + east_m * EAST,
                ground_speed_m_s=abs(speed_m_s),
                climb_m_s=climb_m_s,
                wind_m_s=wind_m_s or None,
                wind_from_deg=90.0 if wind_m_s else None,
            )
            gust = 1.0 + 0.08 * random.standard_normal()
            power_w = true_w(abs(speed_m_s + wind_m_s), climb_m_s) * gust
            motion.update(t_s, 1.0, power_w, vehicle)


def power_w(motion: MotionPower, leg: Leg) -> float:
    need = motion.need(LegTable([leg]), None)
    assert need is not None
    return need.total_j / leg.span_s


TOUR = ((20, 0.0, 2.5), (120, 8.0, 0.0), (60, 0.0, 0.0), (120, -8.0, 0.0), (20, 0.0, -1.5))


@pytest.mark.parametrize("wind_m_s", [0.0, 5.0])
@pytest.mark.parametrize(
    ("air_m_s", "climb_m_s"), [(0.0, 0.0), (8.0, 0.0), (3.0, 0.0), (0.0, 2.5), (0.0, -1.5)]
)
def test_a_flight_teaches_the_power_of_its_motions(
    air_m_s: float, climb_m_s: float, wind_m_s: float
) -> None:
    motion = MotionPower()
    fly(motion, *TOUR, wind_m_s=wind_m_s)
    expected_w = true_w(air_m_s, climb_m_s)
    assert power_w(motion, Leg(10.0, air_m_s, climb_m_s)) == pytest.approx(expected_w, rel=0.06)


def test_motions_that_were_not_flown_are_known_by_the_theory_with_more_doubt() -> None:
    motion = MotionPower()
    fly(motion, (120, 0.0, 0.0))
    for air_m_s, climb_m_s in ((12.0, 0.0), (0.0, 3.0), (0.0, -2.0)):
        need = motion.need(LegTable([Leg(1.0, air_m_s, climb_m_s)]), None)
        hover = motion.need(LegTable([Leg(1.0)]), None)
        assert need is not None
        assert hover is not None
        assert need.total_j == pytest.approx(true_w(air_m_s, climb_m_s), rel=0.25)
        assert need.sd > 1.3 * hover.sd
        assert abs(need.total_j / true_w(air_m_s, climb_m_s) - 1.0) < 2.0 * need.sd


def test_a_payload_that_is_dropped_is_noticed_within_two_minutes() -> None:
    motion = hovered(power_w=600.0, span_s=300)
    for t in range(300, 420):
        motion.update(float(t), 1.0, 400.0, AWAY)
    assert power_w(motion, Leg(1.0)) == pytest.approx(400.0, rel=0.15)


def test_before_twenty_seconds_of_load_the_power_of_a_motion_is_not_known() -> None:
    assert hovered(span_s=19).need(LegTable([Leg(1.0)]), None) is None
    need = hovered(span_s=19).need(LegTable([Leg(10.0)]), 500.0)
    assert need is not None
    assert (need.total_j, need.sd) == pytest.approx((5000.0, 0.2))
    assert hovered(span_s=20).need(LegTable([Leg(1.0)]), None) is not None


def test_what_a_flight_taught_is_known_at_the_start_of_the_next_one() -> None:
    first = MotionPower()
    fly(first, *TOUR)
    learned = first.learned()
    assert learned is not None
    second = MotionPower(learned)
    for leg in (Leg(1.0), Leg(1.0, 8.0), Leg(1.0, 0.0, 2.5)):
        assert power_w(second, leg) == pytest.approx(power_w(first, leg))
    before, after = (one.need(LegTable([Leg(1.0)]), None) for one in (first, second))
    assert before is not None
    assert after is not None
    assert after.sd > before.sd
    assert second.learned() is None  # nothing was flown


def test_another_payload_on_the_next_flight_is_learned_within_a_minute() -> None:
    first = MotionPower()
    fly(first, *TOUR)
    second = MotionPower(first.learned())
    heavier_w = 1.2 * true_w(0.0, 0.0)
    for t in range(60):
        second.update(float(t), 1.0, heavier_w, AWAY)
    assert power_w(second, Leg(1.0)) == pytest.approx(heavier_w, rel=0.08)


def test_a_vehicle_that_becomes_known_late_changes_nothing_once_it_flies() -> None:
    learned = hovered(power_w=900.0).learned()
    early, late = MotionPower(), hovered(power_w=400.0)
    early.use(learned)
    late.use(learned)
    early.use(None)
    assert power_w(early, Leg(1.0)) == pytest.approx(900.0, rel=0.02)
    assert power_w(late, Leg(1.0)) == pytest.approx(400.0, rel=0.02)


def test_a_configured_hover_is_known_before_the_first_flight() -> None:
    configured = MotionPower(hover_w=500.0)
    assert power_w(configured, Leg(1.0)) == pytest.approx(500.0)
    assert MotionPower().need(LegTable([Leg(1.0)]), None) is None


def on_wing(motion: MotionPower, span_s: int, watts: float, climb_m_s: float = 0.0) -> None:
    flying = replace(AWAY, on_wing=True, ground_speed_m_s=18.0, climb_m_s=climb_m_s)
    for t in range(span_s):
        motion.update(float(t), 1.0, watts, flying)


def test_a_vtol_has_one_power_on_its_wing_and_another_on_its_rotors() -> None:
    motion = hovered(power_w=1200.0)
    on_wing(motion, 120, 300.0)
    on_wing(motion, 30, 600.0, climb_m_s=3.0)
    cruise = Leg(10.0, 18.0, 0.0, on_wing=True)
    assert power_w(motion, Leg(10.0)) == pytest.approx(1200.0, rel=0.05)
    assert power_w(motion, cruise) == pytest.approx(300.0, rel=0.08)
    assert power_w(motion, Leg(10.0, 18.0, 3.0, on_wing=True)) == pytest.approx(600.0, rel=0.12)
    both = motion.need(LegTable([cruise, Leg(10.0)]), None)
    assert both is not None
    assert both.total_j == pytest.approx(15_000.0, rel=0.05)
    recalled = MotionPower(motion.learned())
    assert power_w(recalled, cruise) == pytest.approx(power_w(motion, cruise))
    rotors = hovered(power_w=1200.0).learned()
    assert MotionPower(rotors).need(LegTable([cruise]), None) is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("hover_w", [None, 1000.0])
@pytest.mark.parametrize("unknown_w", [None, 500.0])
def test_an_endless_leg_takes_infinite_energy_whatever_is_known_of_its_motion(
    hover_w: float | None, unknown_w: float | None
) -> None:
    motion = MotionPower(hover_w=hover_w)
    ends = Leg(30.0, 5.0, 1.0)
    endless = [Leg(math.inf), Leg(math.inf, 5.0, 1.0), Leg(math.inf, 12.0, on_wing=True)]
    for leg in endless:
        need = motion.need(LegTable([leg]), unknown_w)
        assert need is not None
        assert (list(need.legs_j), need.total_j, need.sd) == ([math.inf], math.inf, 0.0)
    alone = motion.need(LegTable([ends]), unknown_w)
    among = motion.need(LegTable([*endless, ends]), unknown_w)
    assert (alone is None) == (among is None) == (hover_w is None and unknown_w is None)
    if alone is not None and among is not None:
        assert list(among.legs_j) == [math.inf] * 3 + list(alone.legs_j)
        assert (among.total_j, among.sd) == (math.inf, 0.0)


def test_what_was_learned_of_the_other_motion_is_kept() -> None:
    vtol = hovered(power_w=1200.0)
    on_wing(vtol, 60, 300.0)
    plane = MotionPower(vtol.learned())
    on_wing(plane, 60, 330.0)
    learned = plane.learned()
    assert learned is not None
    assert learned.rotor == (vtol.learned() or learned).rotor


@pytest.mark.parametrize(
    "vehicle",
    [replace(AWAY, ground_speed_m_s=None), replace(AWAY, armed=False)],
)
def test_what_is_not_known_of_the_motion_teaches_nothing(vehicle: VehicleState) -> None:
    assert hovered(vehicle).learned() is None
    assert hovered(power_w=0.0).learned() is None


def test_the_greatest_speeds_are_those_that_lasted() -> None:
    motion = MotionPower()
    fly(motion, (60, 8.0, 0.0), (1, 30.0, 0.0), (60, 0.0, 0.0), wind_m_s=4.0)
    assert motion.fastest_m_s == pytest.approx(8.0, abs=2.5)
    assert motion.fastest_air_m_s == pytest.approx(12.0, abs=3.0)


def test_without_a_course_the_wind_counts_only_in_a_hover() -> None:
    windy = replace(AWAY, wind_m_s=6.0, wind_from_deg=90.0, lat_deg=None)
    hover, cruise = hovered(windy), hovered(replace(windy, ground_speed_m_s=6.0))
    for motion in (hover, cruise):
        assert power_w(motion, Leg(1.0, 6.0)) == pytest.approx(400.0, rel=0.03)


def test_a_state_continues_exactly() -> None:
    motion = MotionPower()
    fly(motion, *TOUR)
    again = MotionPower().with_state(motion.state())
    for one in (motion, again):
        one.update(1000.0, 1.0, 450.0, AWAY)
    assert again.state() == motion.state()

# SPDX-License-Identifier: Apache-2.0
"""The power model against momentum theory's closed forms, tables of air and published flights."""

import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research import rotor as published
from sim.plant.atmosphere import standard_air_kg_m3
from sim.plant.multirotor import GRAVITY_M_S2, Multirotor, induced_m_s
from sim.plant.scenario import VehicleSpec

MASS_KG, DENSITY = 4.0, 1.2
REAL = VehicleSpec(mass_kg=MASS_KG, rotors=4, rotor_diameter_m=0.4, drag_area_m2=0.05)
LOSSLESS = {"figure_of_merit": 1.0, "induced_factor": 1.0, "drive_efficiency": 1.0}
IDEAL = REAL.model_copy(
    update={**LOSSLESS, "avionics_w": 0.0, "drag_area_m2": 0.0, "wake_overlap": 0.0}
)
WEIGHT_N = MASS_KG * GRAVITY_M_S2
DISC_M2 = 4 * math.pi * 0.2**2
HOVER_M_S = math.sqrt(WEIGHT_N / (2 * DENSITY * DISC_M2))


def ideal_w(speed_m_s: float = 0.0, climb_m_s: float = 0.0) -> float:
    return Multirotor(IDEAL).power_w(MASS_KG, DENSITY, speed_m_s, climb_m_s)


def real_w(speed_m_s: float = 0.0, climb_m_s: float = 0.0, mass_kg: float = MASS_KG) -> float:
    return Multirotor(REAL).power_w(mass_kg, DENSITY, speed_m_s, climb_m_s)


# ---------------------------------------------------------------------- hover


def test_an_ideal_rotor_hovers_with_the_power_of_momentum_theory() -> None:
    assert ideal_w() == pytest.approx(WEIGHT_N**1.5 / math.sqrt(2 * DENSITY * DISC_M2))


def test_a_real_one_needs_more_by_merit_and_efficiency_and_its_avionics() -> None:
    assert real_w() == pytest.approx(10.0 + ideal_w() / 0.6 / 0.75)


def test_hover_power_goes_with_mass_to_the_power_of_one_and_a_half() -> None:
    ratio = (real_w(mass_kg=1.5 * MASS_KG) - 10.0) / (real_w() - 10.0)
    assert ratio == pytest.approx(1.5**1.5)


def test_thin_air_costs_by_the_root_of_its_density() -> None:
    thin_w = Multirotor(REAL).power_w(MASS_KG, DENSITY / 2, 0.0, 0.0)
    assert (thin_w - 10.0) / (real_w() - 10.0) == pytest.approx(math.sqrt(2.0))


# ---------------------------------------------------------------------- up and down


def test_a_slow_climb_costs_half_of_its_weight_times_speed() -> None:
    assert ideal_w(climb_m_s=0.01) - ideal_w() == pytest.approx(WEIGHT_N * 0.01 / 2, rel=0.01)


@pytest.mark.parametrize("climb_m_s", [1.0, 5.0, 20.0])
def test_a_climb_follows_the_closed_form_of_axial_flight(climb_m_s: float) -> None:
    half = climb_m_s / 2
    assert ideal_w(climb_m_s=climb_m_s) == pytest.approx(
        WEIGHT_N * (half + math.sqrt(half**2 + HOVER_M_S**2))
    )


def test_sinking_slowly_saves_next_to_nothing() -> None:
    """The wake comes back up: down to a third of the hover velocity power hardly falls."""
    for part in (0.05, 0.1, 0.2, 0.3):
        assert ideal_w(climb_m_s=-part * HOVER_M_S) == pytest.approx(ideal_w(), rel=0.05)


def test_an_ideal_rotor_turns_by_itself_at_some_1_75_hover_velocities_downwards() -> None:
    assert ideal_w(climb_m_s=-1.70 * HOVER_M_S) > 0.0
    assert ideal_w(climb_m_s=-1.85 * HOVER_M_S) == 0.0


def test_a_fall_recuperates_nothing() -> None:
    assert real_w(climb_m_s=-25.0) > 10.0


def test_climb_and_descent_meet_in_hover() -> None:
    for speed_m_s in (0.0, 3.0, 9.0):
        above, below = real_w(speed_m_s, 1e-6), real_w(speed_m_s, -1e-6)
        assert above == pytest.approx(below, rel=1e-5)


def test_flying_on_leaves_the_vortex_ring() -> None:
    """At speed the induced velocity does not care, and power falls by weight times sinking."""
    fast_m_s = 4 * HOVER_M_S
    assert ideal_w(fast_m_s) - ideal_w(fast_m_s, -1.0) == pytest.approx(WEIGHT_N, rel=0.01)


# ---------------------------------------------------------------------- forward


def test_at_speed_the_induced_velocity_is_that_of_glauert() -> None:
    assert induced_m_s(6.0, 60.0, 0.0) == pytest.approx(6.0**2 / 60.0, rel=1e-3)


def test_level_flight_follows_its_closed_form() -> None:
    for part in (0.5, 1.0, 2.0):
        square = math.sqrt(part**4 / 4 + 1) - part**2 / 2
        assert induced_m_s(6.0, part * 6.0, 0.0) == pytest.approx(6.0 * math.sqrt(square))


@given(st.floats(0.5, 20.0), st.floats(0.0, 60.0), st.floats(0.0, 30.0))
def test_the_induced_velocity_solves_its_equation(hover: float, along: float, up: float) -> None:
    added = induced_m_s(hover, along, up)
    assert added * math.hypot(along, up + added) == pytest.approx(hover**2, rel=1e-6)


def test_an_ideal_rotor_has_no_drag_but_its_lift() -> None:
    assert ideal_w(30.0) == pytest.approx(WEIGHT_N * induced_m_s(HOVER_M_S, 30.0, 0.0))


def test_at_speed_power_is_drag_times_speed_and_goes_with_its_cube() -> None:
    light = Multirotor(IDEAL.model_copy(update={"drag_area_m2": 0.02}))
    slow_w, fast_w = (light.power_w(0.2, DENSITY, speed, 0.0) for speed in (20.0, 40.0))
    assert fast_w == pytest.approx(0.5 * DENSITY * 0.02 * 40.0**3, rel=0.02)
    assert fast_w / slow_w == pytest.approx(8.0, rel=0.05)


def test_power_has_its_minimum_between_hover_and_top_speed() -> None:
    powers_w = [real_w(speed) for speed in range(26)]
    least = powers_w.index(min(powers_w))
    assert 5 <= least <= 20
    assert powers_w[-1] > powers_w[0] > powers_w[least]


@settings(max_examples=300)
@given(
    st.floats(0.05, 500.0),
    st.floats(0.05, 3.0),
    st.floats(0.3, 1.6),
    st.floats(0.0, 100.0),
    st.floats(-60.0, 60.0),
)
def test_any_flight_has_a_power_that_is_a_number(
    mass_kg: float, diameter_m: float, density: float, speed_m_s: float, climb_m_s: float
) -> None:
    vehicle = REAL.model_copy(update={"mass_kg": mass_kg, "rotor_diameter_m": diameter_m})
    power_w = Multirotor(vehicle).power_w(mass_kg, density, speed_m_s, climb_m_s)
    assert 10.0 < power_w < math.inf


# ---------------------------------------------------------------------- air


@pytest.mark.parametrize(
    ("alt_m", "degc", "published"),  # ISO 2533
    [
        (0.0, 15.0, 1.2250),
        (1000.0, 8.5, 1.1117),
        (5000.0, -17.5, 0.73612),
        (11000.0, -56.5, 0.36392),
    ],
)
def test_the_density_is_that_of_the_standard_atmosphere(
    alt_m: float, degc: float, published: float
) -> None:
    assert standard_air_kg_m3(alt_m, alt_m, degc) == pytest.approx(published, rel=0.001)
    assert standard_air_kg_m3(alt_m, 0.0, 15.0) == pytest.approx(published, rel=0.001)


def test_a_hot_day_is_thinner_by_the_ratio_of_temperatures() -> None:
    ratio = standard_air_kg_m3(500.0, 500.0, 35.0) / standard_air_kg_m3(500.0, 500.0, 5.0)
    assert ratio == pytest.approx(278.15 / 308.15)


# ---------------------------------------------------------------------- published flights


def test_published_hovers_are_met_within_a_fifth_and_their_median_within_a_twentieth() -> None:
    parts = [row.model_w() / row.published_w for row in (*published.MAKER, *published.MEASURED)]
    assert len(parts) == 20
    assert 0.8 < min(parts) < max(parts) < 1.2
    assert statistics.median(parts) == pytest.approx(1.0, abs=0.05)


def test_the_cost_of_a_payload_is_met_within_a_tenth() -> None:
    rows = {row.name: row for row in published.MAKER}
    for empty, loaded in (("TB47D", "TB47D, 1 kg"), ("TB48D", "TB48D, 1 kg")):
        light, heavy = rows[f"Matrice 100, {empty}"], rows[f"Matrice 100, {loaded}"]
        measured = heavy.published_w / light.published_w
        assert heavy.model_w() / light.model_w() == pytest.approx(measured, rel=0.1)


def test_rotors_behind_rotors_explain_a_flight_that_was_not_fitted() -> None:
    overlap, drag_m2 = published.fit((VehicleSpec.model_fields["wake_overlap"].default,))
    alone, alone_drag_m2 = published.fit((0.0,))
    judged = published.rms(published.JUDGED, overlap, drag_m2)
    assert judged < 0.5 * published.rms(published.JUDGED, alone, alone_drag_m2)
    assert published.rms(published.FITTED, overlap, drag_m2) < 0.03

# SPDX-License-Identifier: Apache-2.0
"""Flights as functions of time: the power that motion, wind, payload and height take; gusts."""

import itertools
import math
import statistics
from typing import Any

import numpy as np
import pytest

from sim.emulator.world import World
from sim.plant.atmosphere import Gust, standard_air_kg_m3
from sim.plant.multirotor import Multirotor
from sim.plant.phases import PhaseFlight
from sim.plant.scenario import Scenario, VehicleSpec

STEP_S = 0.1
PACK: dict[str, Any] = {
    "chemistry": "lipo", "cells": 6, "cell_mah": 16000.0, "resistance_mohm_ah": 40.0,
}  # fmt: skip
VEHICLE = {"mass_kg": 5.0, "rotors": 6, "rotor_diameter_m": 0.38, "avionics_w": 12.0}
KG_M3 = standard_air_kg_m3(488.0, 488.0, 20.0)  # at the default place and temperature


def plan(*phases: dict[str, Any], **tables: Any) -> Scenario:  # noqa: ANN401 - tables of a file
    tables = {"vehicle": VEHICLE, **tables}
    named = tuple({"name": "part", "duration_s": 100.0} | phase for phase in phases)
    return Scenario.model_validate({"name": "mine", "pack": PACK, "phase": named} | tables)


def flight(*phases: dict[str, Any], seed: int = 1, **tables: Any) -> PhaseFlight:  # noqa: ANN401 - the same
    return PhaseFlight(plan(*phases, **tables), np.random.default_rng(seed), STEP_S)


def flown_w(mission: PhaseFlight, until_s: float) -> list[float]:
    return [mission.power_w(step * STEP_S) for step in range(round(until_s / STEP_S))]


def still_w(speed_m_s: float, climb_m_s: float = 0.0, mass_kg: float = 5.0) -> float:
    vehicle = VehicleSpec.model_validate(VEHICLE)
    return Multirotor(vehicle).power_w(mass_kg, KG_M3, speed_m_s, climb_m_s)


# ---------------------------------------------------------------------- motion


def test_power_is_that_of_the_speed_through_the_air() -> None:
    for from_deg, ground_m_s, air_m_s in ((60, 9, 14), (240, 9, 4), (150, 12, 13), (60, -9, 4)):
        air = {"wind_m_s": 5.0, "wind_from_deg": float(from_deg)}  # the bearing is 60
        mission = flight({"outward_m_s": float(ground_m_s)}, air=air)
        assert mission.mean_power_w(50.0) == pytest.approx(still_w(air_m_s))
        assert mission.power_w(50.0) == pytest.approx(still_w(air_m_s))  # no gusts


def test_hovering_in_wind_is_flying() -> None:
    mission = flight({}, air={"wind_m_s": 8.0, "wind_from_deg": 300.0})
    assert mission.mean_power_w(50.0) == pytest.approx(still_w(8.0))


def test_on_the_ground_the_avionics_draw_alone() -> None:
    mission = flight({"armed": False}, air={"gust_m_s": 3.0})
    assert set(flown_w(mission, 50.0)) == {12.0}
    assert mission.mean_power_w(50.0) is None


def test_height_and_heat_cost_by_the_root_of_the_density() -> None:
    low = flight({}).mean_power_w(50.0)
    high = flight({}, place={"home_alt_m": 3000.0}).mean_power_w(50.0)
    hot = flight({}, air={"temperature_degc": 45.0}).mean_power_w(50.0)
    assert low is not None
    assert high is not None
    assert hot is not None
    thin = standard_air_kg_m3(3000.0, 3000.0, 20.0) / KG_M3
    assert (high - 12.0) / (low - 12.0) == pytest.approx(thin**-0.5)
    assert (hot - 12.0) / (low - 12.0) == pytest.approx(math.sqrt(318.15 / 293.15))


def test_a_long_climb_comes_into_thinner_and_colder_air() -> None:
    mission = flight({"duration_s": 1000.0, "climb_m_s": 2.0})
    first_w, last_w = mission.mean_power_w(0.0), mission.mean_power_w(1000.0 - STEP_S)
    assert first_w == pytest.approx(still_w(0.0, 2.0))
    thin = standard_air_kg_m3(2488.0, 488.0, 20.0)
    vehicle = VehicleSpec.model_validate(VEHICLE)
    assert last_w == pytest.approx(Multirotor(vehicle).power_w(5.0, thin, 0.0, 2.0), rel=1e-4)


def test_a_payload_is_carried_until_another_is_stated() -> None:
    vehicle = VEHICLE | {"payload_kg": 2.0}
    mission = flight({}, {}, {"payload_kg": 0.5}, {}, vehicle=vehicle)
    mean_power_w = [mission.mean_power_w(t_s) for t_s in (50.0, 150.0, 250.0, 350.0)]
    assert mean_power_w == pytest.approx(
        [still_w(0, 0, mass_kg) for mass_kg in (7.0, 7.0, 5.5, 5.5)]
    )


def test_a_phase_with_a_stated_power_ignores_motion() -> None:
    mission = flight({"power_w": 500.0, "outward_m_s": 20.0}, {"outward_m_s": 20.0})
    assert mission.mean_power_w(50.0) == mission.power_w(50.0) == 500.0
    assert mission.mean_power_w(150.0) == pytest.approx(still_w(20.0))


def test_the_position_follows_from_the_speeds() -> None:
    mission = flight(
        {"outward_m_s": 8.0, "climb_m_s": 1.0}, {}, {"outward_m_s": -3.0, "climb_m_s": -0.5}
    )
    states = [mission.vehicle(t_s) for t_s in range(301)]
    for before, after in itertools.pairwise(states):
        assert before.lat_deg is not None
        assert after.lat_deg is not None
        assert before.alt_m is not None
        assert after.alt_m is not None
        north_m = (after.lat_deg - before.lat_deg) * 111_195
        assert abs(north_m) / 0.5 == pytest.approx(before.ground_speed_m_s, abs=0.01)  # bearing 60
        assert after.alt_m - before.alt_m == pytest.approx(before.climb_m_s)
    assert mission.vehicle(400.0).alt_m == mission.vehicle(300.0).alt_m == 488.0 + 50.0


def test_the_autopilot_knows_its_wind_in_the_air_if_there_is_one() -> None:
    air = {"wind_m_s": 4.0, "wind_from_deg": 200.0}
    mission = flight({"armed": False}, {}, air=air)
    assert (mission.vehicle(50.0).wind_m_s, mission.vehicle(50.0).wind_from_deg) == (None, None)
    assert (mission.vehicle(150.0).wind_m_s, mission.vehicle(150.0).wind_from_deg) == (4.0, 200.0)
    silent = flight({}).vehicle(50.0)
    assert (silent.wind_m_s, silent.wind_from_deg) == (None, None)


def test_a_phase_in_land_mode_is_a_landing_in_the_air() -> None:
    mission = flight({}, {"mode": "LAND"}, {"mode": "LAND", "armed": False})
    assert [mission.vehicle(t_s).landing for t_s in (50.0, 150.0, 250.0)] == [False, True, False]


def test_the_air_around_the_pack_is_that_of_flight_and_wash() -> None:
    mission = flight({"armed": False}, {}, {"outward_m_s": 15.0})
    wash_m_s = math.sqrt(5.0 * 9.80665 / (2 * KG_M3 * 6 * math.pi * 0.19**2))
    assert mission.airflow_m_s(50.0) == 0.0
    assert mission.airflow_m_s(150.0) == pytest.approx(wash_m_s)
    assert mission.airflow_m_s(250.0) == pytest.approx(math.hypot(15.0, wash_m_s))
    assert flight({"power_w": 300.0}, vehicle=None).airflow_m_s(50.0) is None


# ---------------------------------------------------------------------- gusts


def test_a_gust_has_unit_variance_and_its_correlation_time() -> None:
    gust = Gust(np.random.default_rng(3), STEP_S)
    values = np.array([gust.after_step(2.0) for _ in range(200_000)])  # 10,000 times its memory
    assert values.var() == pytest.approx(1.0, abs=0.05)
    for lag in (5, 20, 60):
        correlation = np.mean(values[lag:] * values[:-lag])
        assert correlation == pytest.approx(math.exp(-lag * STEP_S / 2.0), abs=0.05)


def test_one_seed_blows_the_same_gusts_and_another_others() -> None:
    phases, air = ({"duration_s": 60.0},), {"wind_m_s": 5.0, "gust_m_s": 1.5}
    once = flown_w(flight(*phases, air=air), 60.0)
    assert flown_w(flight(*phases, air=air), 60.0) == once
    assert flown_w(flight(*phases, air=air, seed=2), 60.0) != once


def test_stronger_gusts_move_the_power_more_and_its_mean_hardly() -> None:
    phase, spreads = {"duration_s": 3600.0}, []
    for gust_m_s in (0.0, 0.7, 1.4):
        mission = flight(phase, air={"wind_m_s": 5.0, "gust_m_s": gust_m_s})
        mean_power_w, powers_w = mission.mean_power_w(0.0), flown_w(mission, 3600.0)
        assert statistics.fmean(powers_w) == pytest.approx(mean_power_w, rel=0.02)
        spreads.append(statistics.pstdev(powers_w) / statistics.fmean(powers_w))
    assert spreads[0] == pytest.approx(0.0, abs=1e-9)
    assert 0.01 < spreads[1] < 0.05
    assert spreads[2] == pytest.approx(2 * spreads[1], rel=0.25)


def test_a_hover_scatters_on_the_vertical_scale_of_gusts() -> None:
    """In a hover it is the vertical gust that moves the power, and it is 50 m long."""
    mission = flight({"duration_s": 6000.0}, air={"wind_m_s": 5.0, "gust_m_s": 0.3})
    powers_w = np.array(flown_w(mission, 6000.0))
    moved = powers_w - powers_w.mean()
    correlation = float(np.mean(moved[100:] * moved[:-100]) / np.mean(moved**2))
    assert correlation == pytest.approx(math.exp(-1.0), abs=0.1)  # 50 m at 5 m/s are 10 s


def test_a_stated_power_scatters_as_stated() -> None:
    mission = flight({"duration_s": 3600.0, "power_w": 400.0, "gust_frac": 0.1}, vehicle=None)
    powers_w = flown_w(mission, 3600.0)
    assert statistics.fmean(powers_w) == pytest.approx(400.0, rel=0.02)
    assert statistics.pstdev(powers_w) / 400.0 == pytest.approx(0.1, rel=0.1)
    assert min(powers_w) > 0.3 * 400.0


def test_moving_air_cools_the_pack_of_a_vehicle() -> None:
    load = {"duration_s": 600.0, "power_w": 800.0}
    degc = []
    for vehicle in (None, VEHICLE):
        world = World(plan(load, vehicle=vehicle))
        world.advance(600.0)
        degc.append(world.truth().temperature_degc)
    still, moving = degc
    assert 20.0 < moving < still - 1.0

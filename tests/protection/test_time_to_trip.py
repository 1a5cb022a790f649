# SPDX-License-Identifier: Apache-2.0
"""The limit that trips next: no trend contradicts the estimate."""

from contextlib import ExitStack
from dataclasses import replace

import pytest

from dronebms.core.report import Estimate, Status
from dronebms.core.vehicle_state import VehicleState
from dronebms.protection.alarms import Alarms
from dronebms.protection.limits import default_limits
from dronebms.simulation.simulated_flight import SimOptions, Simulation
from tests.snapshots import FACTS, look

FLOWN = VehicleState(armed=True, mode="AUTO")
SOUND = Estimate(0.0, soc_pct=60.0, remaining_s=900.0, remaining_low_s=700.0)


def ramp(estimate: Estimate, for_s: float = 90.0, volts_per_s: float = 0.002) -> Status:
    """Status while the cells fall steadily from 4.1 V."""
    alarms = Alarms(default_limits(FACTS), FACTS)
    status = Status(0.0)
    for k in range(round(for_s)):
        snapshot = look(float(k), 4.1 - volts_per_s * k)
        status = alarms.update(snapshot, replace(estimate, t_s=float(k)), FLOWN)
    return status


def test_a_trend_of_the_voltage_comes_no_sooner_than_the_estimate_has_the_cut_off() -> None:
    alone = ramp(Estimate(0.0)).trips_in_s
    assert alone["cell_critical"] < alone["pack_low"] + 1.0 < 400.0
    bounded = ramp(replace(SOUND, remaining_low_s=1000.0)).trips_in_s
    for limit_id in ("cell_critical", "cell_emergency", "pack_low"):
        assert bounded[limit_id] == 1000.0
    now_v = 4.1 - 0.002 * 89
    share = (now_v - 3.5) / (now_v - 3.3)
    assert bounded["cell_sag"] == pytest.approx(1000.0 * share)
    assert bounded["cell_sag"] > 2.5 * alone["cell_sag"]
    near = ramp(replace(SOUND, remaining_low_s=100.0)).trips_in_s
    assert near["cell_critical"] == alone["cell_critical"]  # later than the bound already


def test_a_limit_that_a_trend_leads_away_from_is_not_on_its_way() -> None:
    rising = ramp(Estimate(0.0), volts_per_s=-0.0005).trips_in_s
    assert {"cell_critical", "cell_emergency", "cell_sag", "pack_low"}.isdisjoint(rising)
    assert all(in_s >= 0.0 for in_s in rising.values())


def test_the_trend_is_bounded_from_the_first_seconds_of_load_on() -> None:
    trips_in_s = ramp(
        replace(SOUND, remaining_low_s=1000.0), for_s=20.0, volts_per_s=0.01
    ).trips_in_s
    assert trips_in_s["cell_critical"] == 1000.0


def test_the_way_home_becomes_marginal_when_the_estimate_has_it() -> None:
    home = replace(SOUND, home_reserve_s=200.0, home_margin_s=400.0, home_best_s=500.0)
    assert "home_turn" not in ramp(home).trips_in_s  # it returns
    away = ramp(replace(home, turn_back_in_s=77.0)).trips_in_s
    assert away["home_turn"] == 82.0  # and the hold time
    assert "home_now" not in away  # no trend leads there
    alarms, status = Alarms(default_limits(FACTS), FACTS), Status(0.0)
    for k in range(90):
        estimate = replace(home, turn_back_in_s=100.0 - k, home_margin_s=120.0 - k)
        status = alarms.update(look(float(k)), estimate, FLOWN)
    assert status.trips_in_s["home_now"] >= status.trips_in_s["home_turn"] >= 11.0


def test_the_demo_names_no_cell_that_sags_long_before_the_time_left_ends() -> None:
    options = SimOptions(flight="survey", speed=None, duration_s=120.0)
    looks = 0
    with ExitStack() as stack:
        for report in Simulation(options, stack).reports():
            low_s, status = report.estimate.remaining_low_s, report.status
            if low_s is None or status.limited_in_s is None or status.active:
                continue
            looks += 1
            if status.limited_by in ("cell_critical", "cell_emergency", "pack_low"):
                assert status.limited_in_s >= low_s - 1.0
            if status.limited_by in ("cell_sag", "cell_low", "charge_low", "charge_critical"):
                assert status.limited_in_s >= 0.6 * low_s
            if report.t_s == pytest.approx(36.0):
                assert status.limited_in_s > 550.0  # of 588; the 5 % bound of the time left is 795
    assert looks > 500

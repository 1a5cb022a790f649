# SPDX-License-Identifier: Apache-2.0
"""Trends over flights: known lines, noise alone, and weak cells."""

from dataclasses import asdict, replace
from math import exp

import numpy as np
import pytest

from dronebms.health.ageing_trend import LEAST_FLIGHTS, forecast_ageing, theil_sen, weak_cell
from dronebms.health.findings import findings
from dronebms.health.flight_record import LANDED, FlightRecord

SEEDS = range(40)
DAY_S = 86_400.0


def life(
    count: int, *, seed: int, loss: float = 0.0, gain: float = 0.0, degc: float | None = None
) -> list[FlightRecord]:
    """Flights with a loss and a gain each, measured with the scatter of real flights: 1 and 3 %.

    Args:
        count: flights.
        seed: of the scatter and, without `degc`, of the temperatures.
        loss: of capacity per flight.
        gain: of resistance per flight.
        degc: of every flight.
    """
    random = np.random.default_rng(seed)
    rows = []
    for n in range(count):
        warm = float(random.uniform(5.0, 45.0)) if degc is None else degc
        kilokelvin = 1e3 / (warm + 273.15) - 1e3 / 298.15
        ohm = 2.5 * (1 + gain * n) * exp(2.2 * kilokelvin) * (1 + 0.03 * random.standard_normal())
        flight = FlightRecord(
            f"{n}", LANDED, "pack", n, started_unix_s=1.8e9 + n * DAY_S / 2, mean_degc=warm,
            relative_capacity=0.94 * (1 - loss * n) * (1 + 0.01 * random.standard_normal()),
            resistance_mohm=ohm, resistance_degc=warm,
            cells_resistance=tuple(0.01 * random.standard_normal(6)),
            cells_capacity=tuple(0.003 * random.standard_normal(6)),
        )  # fmt: skip
        rows.append(flight)
    return rows


def test_theil_sen_finds_a_line_among_outliers_and_its_interval_is_sens() -> None:
    x = np.arange(20.0)
    y = 3.0 - 0.5 * x
    y[[3, 11]] += 40.0
    slope, low, high = theil_sen(x, y)
    assert slope == pytest.approx(-0.5)
    assert low <= -0.5 <= high
    # Hollander and Wolfe, Nonparametric Statistical Methods, chapter 9: cloud seeding, 5 years.
    years, ratio = np.arange(1.0, 6.0), np.array([1.26, 1.27, 1.12, 1.16, 1.03])
    assert theil_sen(years, ratio)[0] == pytest.approx(-0.056, abs=0.0005)


def test_the_interval_of_a_slope_holds_the_truth_in_9_of_10_cases() -> None:
    held = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        _, low, high = theil_sen(np.arange(25.0), random.standard_normal(25) + 0.1 * np.arange(25))
        held += low <= 0.1 <= high
    assert 0.86 <= held / 400 <= 0.94


def test_fewer_than_six_measurements_give_no_trend() -> None:
    for count in range(LEAST_FLIGHTS):
        seen = forecast_ageing(life(count, seed=1, loss=0.01))
        assert (seen.capacity, seen.resistance, seen.left, seen.weak) == (None, None, (), None)
    unmeasured = [replace(flight, relative_capacity=None) for flight in life(30, seed=1)]
    assert forecast_ageing(unmeasured).left == ()


def test_resistance_is_converted_to_25_degc_by_the_packs_own_dependence() -> None:
    errors = [forecast_ageing(life(40, seed=s, gain=0.005)).resistance for s in SEEDS]
    assert all(trend is not None for trend in errors)
    now = [trend.now for trend in errors if trend is not None]
    # 19.5 % more than at flight 1 and 18.3 % more than at the middle of the first five.
    assert np.mean(now) == pytest.approx(1.195 / 1.01, abs=0.02)
    assert np.std(now) < 0.04


def test_a_steady_loss_is_forecast_with_an_interval_that_holds_its_end() -> None:
    true_left = (0.2 / 0.002) * 0.996 + 2 - 59  # 80 % of the middle of the first five flights
    held, medians = 0, []
    for seed in SEEDS:
        low, middle, high = forecast_ageing(life(60, seed=seed, loss=0.002)).left
        assert low is not None
        assert middle is not None
        held += low <= true_left <= (high or 1e9)
        medians.append(middle)
    assert held >= 0.9 * len(SEEDS)
    assert np.median(medians) == pytest.approx(true_left, rel=0.5)


def test_a_pack_that_does_not_age_has_no_early_end() -> None:
    for seed in SEEDS:
        low, _, high = forecast_ageing(life(60, seed=seed)).left
        assert low is None or low > 30
        assert high is None or high > 300


def test_the_days_between_flights_are_known_when_the_clock_is() -> None:
    flights = life(20, seed=1)
    assert forecast_ageing(flights).days_per_flight == pytest.approx(0.5)
    unset = [replace(flight, started_unix_s=None) for flight in flights]
    assert forecast_ageing(unset).days_per_flight is None


def test_a_knee_is_dated_and_noise_or_a_steady_loss_has_none() -> None:
    def changes(lives: list[list[FlightRecord]]) -> list[int | None]:
        return [
            t.changed for flights in lives if (t := forecast_ageing(flights).capacity) is not None
        ]

    steady = changes([life(60, seed=s, loss=0.002 * (s % 2)) for s in SEEDS])
    assert sum(change is not None for change in steady) <= 0.05 * len(SEEDS)
    knees = []
    for seed in SEEDS:
        flights = life(60, seed=seed, loss=0.0005, degc=25.0)
        after = [
            replace(
                f, relative_capacity=(f.relative_capacity or 0.0) * (1 - 0.006 * max(n - 40, 0))
            )
            for n, f in enumerate(flights)
        ]
        knees.append(after)
    found = changes(knees)
    assert sum(change is not None and 34 <= change <= 48 for change in found) >= 0.9 * len(SEEDS)


def test_the_reference_is_that_of_the_first_flights_however_many_follow() -> None:
    trend = forecast_ageing(life(300, seed=1, loss=0.0005, degc=25.0)).capacity
    assert trend is not None
    assert trend.now == pytest.approx(1 - 0.0005 * 297, abs=0.01)


@pytest.mark.parametrize(("what", "step"), [("resistance", 0.01), ("capacity", -0.002)])
def test_a_weak_cell_is_detected_and_healthy_ones_are_not(what: str, step: float) -> None:
    late = []
    for seed in SEEDS:
        flights = life(80, seed=seed)
        assert weak_cell(flights) is None
        name = f"cells_{what}"
        ageing = []
        for n, flight in enumerate(flights):
            values = list(getattr(flight, name))
            values[4] += step * max(n - 40, 0)
            ageing.append(FlightRecord(**asdict(flight) | {name: tuple(values)}))
        weak = weak_cell(ageing)
        assert weak is not None
        assert (weak.cell, weak.what) == (5, what)
        late.append(weak.since - 41)
    assert max(late) <= 20


def test_a_cell_that_is_weak_from_the_start_is_detected_by_the_third_flight() -> None:
    flights = [
        replace(flight, cells_capacity=(0.0, -0.08, 0.0, 0.0, 0.0, 0.0))
        for flight in life(3, seed=1)
    ]
    weak = weak_cell(flights)
    assert weak is not None
    assert (weak.cell, weak.what, weak.since) == (2, "capacity", 3)
    assert weak.by == pytest.approx(0.08)
    assert weak_cell(flights[:2]) is None


def test_flights_without_a_date_count_between_those_that_have_one() -> None:
    flights = life(41, seed=1, loss=0.002)
    some = [
        f if n in {0, 20, 40} else replace(f, started_unix_s=None) for n, f in enumerate(flights)
    ]
    assert forecast_ageing(some).days_per_flight == pytest.approx(0.5)
    one = [replace(f, started_unix_s=None) for f in flights[:-1]] + flights[-1:]
    assert forecast_ageing(one).days_per_flight is None
    back = [replace(flights[0], started_unix_s=2e9), *flights[1:]]
    assert forecast_ageing(back).days_per_flight is None


def test_flights_in_an_unknown_order_have_no_forecast() -> None:
    flights = [replace(f, started_unix_s=None) for f in life(41, seed=1, loss=0.002)]
    found = forecast_ageing(flights, is_ordered=False)
    assert (found.capacity, found.resistance, found.weak, found.left) == (None, None, None, ())
    assert findings(flights, found) == [
        "no forecast: order of the flights unknown, 41 of 41 have no date"
    ]
    assert forecast_ageing(flights).left

# SPDX-License-Identifier: Apache-2.0
"""Forecast of the load from the load so far."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dronebms.estimation.learning.usual_power import UsualPower
from dronebms.estimation.load_forecast import LoadForecast
from dronebms.estimation.model_parameters import FITTED


def after(*stretches: tuple[int, float]) -> LoadForecast:
    """Forecast after stretches of (seconds, watts)."""
    load = LoadForecast(15.0)
    for seconds, power_w in stretches:
        for _ in range(seconds):
            load.add(1.0, power_w)
    return load


def test_power_on_the_ground_is_no_load() -> None:
    assert not after((600, 10.0)).present
    assert after((600, 10.0), (2, 800.0)).present


def test_after_a_landing_the_load_ends() -> None:
    assert after((300, 800.0), (60, 10.0)).present
    assert not after((300, 800.0), (200, 10.0)).present


def test_a_steady_load_continues_a_little_below_its_mean() -> None:
    power_w, sd = after((300, 800.0)).mean_power(600.0)
    assert power_w == pytest.approx(800.0 * FITTED.ahead_frac)
    assert 0.95 < FITTED.ahead_frac <= 1.0
    assert 0.05 < sd < 0.2


def test_a_short_horizon_has_the_present_level_and_a_long_one_the_mean() -> None:
    load = after((600, 600.0), (60, 1200.0))
    near_w, _ = load.mean_power(30.0)
    far_w, _ = load.mean_power(3600.0)
    assert near_w > 1000.0
    assert 600.0 < far_w < 800.0


def test_the_forecast_of_a_young_flight_is_less_certain() -> None:
    assert after((25, 800.0)).mean_power(900.0)[1] > after((600, 800.0)).mean_power(900.0)[1]


@pytest.mark.parametrize(("hover_w", "lands_w"), [(800.0, None), (1600.0, 1600.0)])
def test_a_hover_far_above_the_cruise_is_expected_again_for_the_landing(
    hover_w: float, lands_w: float | None
) -> None:
    load = after((80, hover_w), (400, 400.0))
    assert load.landing_w(400.0) == (lands_w and pytest.approx(lands_w))
    assert load.landing_w(hover_w) is None  # the landing itself


def test_a_young_flight_of_a_known_vehicle_uses_its_earlier_ones() -> None:
    known, unknown = LoadForecast(15.0, UsualPower(600.0, 0.04)), LoadForecast(15.0)
    for load in (known, unknown):
        for _ in range(60):
            load.add(1.0, 900.0)
    assert unknown.mean_power(1200.0)[0] > 850.0
    assert known.mean_power(1200.0)[0] < 700.0
    assert known.mean_power(1200.0)[1] < unknown.mean_power(1200.0)[1]
    assert known.flown == (900.0, 30.0)  # of this flight alone


def test_the_more_the_earlier_flights_differ_the_less_they_count() -> None:
    found_w = []
    for sd in (0.0, 0.02, 0.1, 0.3):
        load = LoadForecast(15.0, UsualPower(600.0, sd))
        for _ in range(60):
            load.add(1.0, 900.0)
        found_w.append(load.mean_power(1200.0)[0])
    assert found_w[0] == found_w[1]  # no more than the cap
    assert found_w[1] < found_w[2] < found_w[3]


def test_another_usual_power_is_taken_in_before_two_minutes_of_load() -> None:
    early, late = after((60, 900.0)), after((400, 900.0))
    before_w = late.mean_power(1200.0)
    assert early.use(UsualPower(600.0, 0.04))
    assert early.mean_power(1200.0)[0] < 700.0
    assert not late.use(UsualPower(600.0, 0.04))
    assert late.mean_power(1200.0) == before_w


def test_gusts_raise_the_ripple() -> None:
    gusty = after(*((5, 800.0 + 200.0 * (-1) ** k) for k in range(60)))
    assert gusty.ripple_frac > 5 * after((300, 800.0)).ripple_frac
    assert gusty.ripple_frac < 0.25


def test_seconds_on_the_ground_are_not_part_of_the_flight() -> None:
    # Twenty seconds in the air, then a block of thirty without any power.
    assert after((20, 800.0), (40, 0.0)).mean_power(600.0)[0] > 0.0


@given(
    st.lists(st.tuples(st.floats(0.1, 3600.0), st.just(0.0) | st.floats(0.0, 1e5)), max_size=80),
    st.floats(0.0, 1e5),
)
def test_for_any_load_the_forecast_is_finite(
    pieces: list[tuple[float, float]], horizon_s: float
) -> None:
    load = LoadForecast(15.0)
    for dt_s, power_w in pieces:
        load.add(dt_s, power_w)
        if load.present:
            ahead_w, sd = load.mean_power(horizon_s)
            assert 0.0 < ahead_w <= max(w for _, w in pieces) * 1.001
            assert 0.0 < sd < 10.0
        assert 0.0 <= load.ripple_frac < 100.0

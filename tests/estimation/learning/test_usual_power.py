# SPDX-License-Identifier: Apache-2.0
"""The usual power of a vehicle, and how far its flights differ."""

import math
from dataclasses import replace

import pytest

from dronebms.estimation.learning.usual_power import (
    MAX_FLIGHTS,
    FlightPower,
    usual_power,
    with_flight,
)
from dronebms.estimation.model_parameters import FITTED


def flights(*means_w: float) -> tuple[FlightPower, ...]:
    return tuple([FlightPower(f"{k}", mean_w, 600.0) for k, mean_w in enumerate(means_w)])


def test_without_a_flight_there_is_no_usual_power() -> None:
    assert usual_power((), FITTED) is None
    assert usual_power((FlightPower("a", 0.0, 600.0),), FITTED) is None
    assert usual_power((FlightPower("a", 600.0, 0.0),), FITTED) is None


def test_of_one_flight_the_spread_is_the_prior_one() -> None:
    usual = usual_power(flights(600.0), FITTED)
    assert usual is not None
    assert usual.mean_w == 600.0
    assert usual.sd == pytest.approx(math.sqrt(2.0) * FITTED.sd_between)  # of it and of the next


def test_flights_that_are_alike_are_a_surer_forecast_than_flights_that_differ() -> None:
    alike, differing = (
        usual_power(flights(*[600.0 + sign * off_w for sign in (-1, 1) * 5]), FITTED)
        for off_w in (6.0, 180.0)
    )
    assert alike is not None
    assert differing is not None
    assert alike.mean_w == differing.mean_w == 600.0
    assert alike.sd < FITTED.sd_between < 0.3 * 0.9 < differing.sd < 0.3 * 1.1


def test_a_long_flight_counts_more_than_a_hop() -> None:
    usual = usual_power((FlightPower("a", 600.0, 900.0), FlightPower("b", 900.0, 30.0)), FITTED)
    assert usual is not None
    assert usual.mean_w == pytest.approx(609.7, abs=0.1)


def test_the_newest_flights_are_kept_each_once() -> None:
    kept: tuple[FlightPower, ...] = ()
    for flight in flights(*[500.0 + k for k in range(30)]):
        kept = with_flight(kept, flight)
    assert [flight.mean_w for flight in kept] == [500.0 + k for k in range(30 - MAX_FLIGHTS, 30)]
    again = replace(kept[3], mean_w=700.0)
    assert with_flight(kept, again) == (*kept[:3], again, *kept[4:])

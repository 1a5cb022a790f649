# SPDX-License-Identifier: Apache-2.0
"""Adaptation of the interval by landings: what counts, in the long run, and across restarts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from benchmarks.estimate import Ours
from benchmarks.scoring import read_judged
from dronebms.estimation.estimator import Estimator, EstimatorState
from dronebms.estimation.learning.interval_adaptation import (
    Adaptation,
    ForecastRecord,
    mean_adaptation,
)
from dronebms.estimation.learning.learned_json import learned_from_json, learned_to_json
from dronebms.estimation.learning.learned_pack import Known
from dronebms.estimation.learning.pack_memory import PackMemoryInRam

FLIGHT = Path(__file__).parents[2] / "data" / "flights" / "F01_OKane2022_P00_1.csv.gz"


def flown(end_s: float, low: float, high: float, until_s: float) -> ForecastRecord:
    """A flight whose bounds are these shares of the true time left."""
    record = ForecastRecord()
    for t_s in range(0, int(until_s), 2):
        left_s = end_s - t_s
        record = record.with_forecast(float(t_s), low * left_s, high * left_s)
    return record


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.8, 1.2, (0.0, 0.0)), (1.1, 1.3, (1.0, 0.0)), (0.5, 0.9, (0.0, 1.0))],
)
def test_bounds_that_the_end_broke_are_counted(
    low: float, high: float, expected: tuple[float, float]
) -> None:
    assert flown(600.0, low, high, 600.0).with_end(600.0).misses() == expected


def test_a_flight_that_lands_early_or_is_short_teaches_nothing() -> None:
    assert flown(900.0, 0.8, 1.2, 600.0).misses() is None  # the end may be anywhere
    assert flown(80.0, 0.8, 1.2, 78.0).with_end(80.0).misses() is None
    assert ForecastRecord().misses() is None


def test_of_a_landing_just_before_the_end_only_what_is_certain_counts() -> None:
    # Bounds of 0.9 and 1.1 until the last: the end is within 6 s of 600 s.
    assert flown(600.0, 0.9, 1.1, 540.0).misses() == (0.0, 0.0)
    late = replace(flown(600.0, 1.2, 1.4, 480.0), newest=flown(600.0, 0.9, 1.1, 540.0).newest)
    below, above = late.misses() or (0.0, 0.0)
    assert below == 1.0
    assert above == 0.0


def test_a_long_flight_keeps_a_bounded_record_of_all_of_it() -> None:
    record = flown(36_000.0, 0.8, 1.2, 36_000.0)
    assert 32 <= len(record.forecasts) <= 64
    assert record.forecasts[0].at_s < 600.0
    assert record.forecasts[-1].at_s > 35_000.0


@pytest.mark.parametrize("spread", [0.1, 0.3])
@pytest.mark.parametrize("bias", [-0.15, 0.0, 0.15])
def test_in_the_long_run_each_bound_is_broken_by_its_share(bias: float, spread: float) -> None:
    # Whatever the model's errors: its own interval of 20 % to either side is too narrow, too wide
    # or one-sided for these.
    rng, adaptation, broken = np.random.default_rng(7), Adaptation(), np.zeros(2)
    for flight in range(600):
        factors = adaptation.factors()
        off = bias + spread * rng.normal() + 0.05 * rng.normal(size=50)
        shares = (off > 0.2 * factors[0]).mean(), (off < -0.2 * factors[1]).mean()
        adaptation = adaptation.after(*shares)
        if flight >= 100:
            broken += np.array(shares) / 500
    for share, moved in zip(broken, adaptation, strict=True):
        at_narrowest = moved < -0.5
        assert share == pytest.approx(0.05, abs=0.03) or (share < 0.05 and at_narrowest)


def test_a_flight_that_broke_a_bound_moves_that_bound_of_the_next_and_of_a_sister_pack() -> None:
    wide = Adaptation().after(1.0, 0.0)
    assert wide.below > 0.5
    assert -0.1 < wide.above < 0.0
    assert mean_adaptation([wide, Adaptation()]) == Adaptation(wide.below / 2, wide.above / 2)
    assert mean_adaptation([]) == Adaptation()
    for _ in range(50):
        wide = wide.after(1.0, 1.0)
    assert wide.factors()[0] < 5.0  # bounded, whatever happens


def test_what_a_landing_taught_reaches_the_next_flight_and_survives_files_and_restarts() -> None:
    judged = read_judged(FLIGHT)
    assert judged is not None
    memory = PackMemoryInRam()
    ours = Ours(judged, memory)
    for look in judged.looks:
        ours.update(look)
    state = ours.estimator.state()
    record = state.stages.time_to_empty.record if state.stages else ForecastRecord()
    misses = record.misses()
    assert misses is not None
    ours.land()
    (learned,) = memory.packs.values()
    assert learned.adaptation == Adaptation().after(*misses) != Adaptation()
    assert learned_from_json(learned_to_json(learned)) == learned
    adapter = TypeAdapter(EstimatorState)
    assert adapter.validate_json(adapter.dump_json(state)) == state

    def low_s(adaptation: Adaptation) -> float:
        known = Known(replace(learned, adaptation=adaptation))
        estimator = Estimator(replace(judged.flight.pack_data, pack_id="x"), lambda _: known)
        estimate = None
        for look in judged.looks[:400]:
            estimate = estimator.update(look)
        assert estimate is not None
        assert estimate.remaining_low_s is not None
        return estimate.remaining_low_s

    assert low_s(Adaptation(0.3, 0.0)) < low_s(Adaptation()) < low_s(Adaptation(-0.3, 0.0))

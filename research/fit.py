# SPDX-License-Identifier: Apache-2.0
"""Fits the estimator's model parameters: `python research/fit.py MINUTES FLIGHT...` (files or folders).

The flights come from `make_virtual.py` and `make_flights.py`; flights that validate the result must not be
among them. Coordinate search: one parameter at a time, with steps that shrink when neither direction helps.
The loss of a flight is the mean, over its last 80 %, of the pinball losses of the 5 %, 50 % and 95 % quantiles
plus 0.4 times the absolute error of the median, relative to the true time to empty. The total is the mean over
flights, of unknown packs and of packs with parameters learned from their earlier flights. Prints each parameter
that it changes, then the coverage of the interval scaled by several factors. Copy the result into
`dronebms/estimation/model_parameters.py` by hand, after a check on flights that the search did not use.
Deterministic but for the minutes; with 0 minutes it prints the coverage alone.
"""

import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.estimate import Ours, without_gauge
from benchmarks.scoring import JUDGED_FRAC, Array, Judged, read_folder, run
from dronebms.estimation.learning.pack_memory import PackMemoryInRam
from dronebms.estimation.model_parameters import FITTED, ModelParameters

QUANTILES = np.array([0.05, 0.5, 0.95])
OFFSET_S = 40.0  # bounds the weight of the last seconds
ERROR_WEIGHT = 0.4
MOST = 1.5  # upper bound of the loss of one sample
WIDER = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.8)
SEARCHED = (
    "slow_tau_s", "share_slow", "resistance_frac", "depth_h", "activation_kk", "empty_growth", "empty_charge", "mean_capacity", "sd_capacity",
    "sd_fast", "sd_slow", "sd_depth", "sd_activation_kk", "sd_knots_v", "family_lipo", "family_li_ion", "knots_length",
    "sd_offset_v", "offset_tau_s", "sd_noise_v", "sd_sag_frac", "sd_gauge", "sd_full", "sd_ageing", "sd_ageing_v", "compensated_frac",
    "sd_count_full_frac", "evidence", "sd_cutoff_v", "dip_factor", "rise_tau_s", "drift_tau_s", "recent_s", "recent_blocks",
)  # fmt: skip


def late_rows(judged: Judged, predictor: Ours) -> Array:
    """Return (time, true, 5 %, median, 95 %) in seconds over the judged part of a flight."""
    rows, _ = run(judged, predictor, lambda: 0.0)
    late = rows[:, 0] >= judged.end_s - JUDGED_FRAC * (judged.end_s - judged.takeoff_s)
    return np.nan_to_num(rows[late])


def loss(rows: Array) -> float:
    """Return the loss of a flight."""
    off_s = rows[:, 1:2] - rows[:, 2:]
    pinball = np.where(off_s >= 0, QUANTILES * off_s, (QUANTILES - 1) * off_s).sum(axis=1)
    losses = (pinball + ERROR_WEIGHT * np.abs(off_s[:, 1])) / (rows[:, 1] + OFFSET_S)
    return float(np.minimum(losses, MOST).mean()) if len(rows) else MOST


def flown(
    flights: Sequence[Judged], parameters: ModelParameters
) -> tuple[list[Array], list[Array]]:
    """Return the rows of all flights with nothing learned, and those of packs flown before."""
    memory = PackMemoryInRam()
    new, known = [], []
    for judged in flights:
        learner = Ours(judged, None, parameters)
        new.append(late_rows(judged, learner))
        if judged.pack in memory.packs:
            learner = Ours(judged, memory, parameters)
            known.append(late_rows(judged, learner))
        memory.store(learner.estimator.keys, learner.estimator.learn())
    return new, known


def total(flights: Sequence[Judged], parameters: ModelParameters) -> float:
    """Return the mean loss over flights of new packs and of known packs."""
    new, known = flown(flights, parameters)
    return float(np.mean([*map(loss, new)]) + np.mean([*map(loss, known or new)])) / 2


def moved(parameters: ModelParameters, name: str, by: float) -> ModelParameters:
    """Return the parameters with one of them, or a whole row, multiplied by e^by."""
    value: Any = getattr(parameters, name)
    factor = float(np.exp(by))
    if isinstance(value, Mapping):
        new: Any = {key: factor * each for key, each in value.items()}
    else:
        new = tuple(factor * each for each in value) if isinstance(value, tuple) else factor * value
    changed: dict[str, Any] = {name: new}
    return replace(parameters, **changed)


def search(flights: Sequence[Judged], best: ModelParameters, until_s: float) -> ModelParameters:
    """Return the parameters with the least loss found before the deadline."""
    least = total(flights, best)
    print(f"{len(flights)} flights, loss {least:.4f}", flush=True)
    steps = dict.fromkeys(SEARCHED, 0.5)
    order = random.Random(1)  # noqa: S311 - no secret
    while time.monotonic() < until_s:
        name = order.choice(SEARCHED)
        tried = moved(best, name, steps[name])
        found = total(flights, tried)
        if found < least:
            best, least = tried, found
            print(f"{name} = {getattr(best, name)}: {least:.4f}", flush=True)
        else:
            steps[name] *= -0.7
    return best


def held(rows: Sequence[Array], factor: float) -> tuple[float, float, float]:
    """Return the share of the time below, inside and above an interval `factor` as wide."""
    shares = []
    for _, true_s, low_s, middle_s, high_s in (each.T for each in rows if len(each)):
        below = true_s < middle_s - factor * (middle_s - low_s)
        above = true_s > middle_s + factor * (high_s - middle_s)
        shares.append((below.mean(), 1 - below.mean() - above.mean(), above.mean()))
    below, inside, above = np.mean(shares, axis=0)
    return float(below), float(inside), float(above)


def main() -> None:
    """Search for some minutes."""
    until_s = time.monotonic() + 60.0 * float(sys.argv[1])
    flights = read_folder([Path(text) for text in sys.argv[2:]])
    best = search(flights, FITTED, until_s) if float(sys.argv[1]) > 0 else FITTED
    gaugeless = [
        replace(judged, looks=tuple(map(without_gauge, judged.looks))) for judged in flights
    ]
    for inputs, judged in (("", flights), (", no gauge", gaugeless)):
        for name, rows in zip(("new", "known"), flown(judged, best), strict=True):
            for factor in WIDER:
                below, inside, above = held(rows, factor)
                print(
                    f"{name} packs{inputs}, {factor} x: {inside:.3f} inside, {below:.3f} below, {above:.3f} above"
                )


if __name__ == "__main__":
    main()

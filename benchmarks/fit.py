"""Fits the estimator's constants: `python benchmarks/fit.py MINUTES FLIGHT...` (files or folders).

A search along one constant at a time, in steps that shrink where they do not help. The loss of a
flight is the mean over its last 80 % of the pinball losses of the three answers and 0.4 of the
middle's error, relative to the true time left; means over flights, with nothing learned and with
what the pack's earlier flights taught. Prints each constant that it changes; what is to be shipped is
copied into `dronebms/calibration.py` by hand. Deterministic but for the minutes.
"""

import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.estimate import Ours
from benchmarks.judging import JUDGED_FRAC, Judged, read_folder, run
from dronebms.calibration import FITTED, Constants

if TYPE_CHECKING:
    from dronebms.learning import Learned

QUANTILES = np.array([0.05, 0.5, 0.95])
OFFSET_S = 40.0  # keeps the last seconds from being everything
ERROR_WEIGHT = 0.4
MOST = 1.5  # a flight that goes wrong altogether is not all that counts
SEARCHED = (
    "slow_tau_s", "share_slow", "warmth", "empty_growth", "empty_charge", "mean_capacity", "sd_capacity",
    "sd_fast", "sd_slow", "sd_depth", "sd_warmth", "sd_knots_v", "family_lipo", "family_li_ion", "knots_length",
    "sd_offset_v", "offset_tau_s", "sd_sag_frac", "sd_gauge", "sd_full", "forget", "forget_v", "compensated_frac",
    "sd_count_full_frac", "evidence", "sd_cutoff_v", "dips", "warming_tau_s",
)  # fmt: skip


def loss(judged: Judged, predictor: Ours) -> float:
    """Return the loss of a flight."""
    rows, _ = run(judged, predictor, lambda: 0.0)
    t_s, true_s, told_s = rows[:, 0], rows[:, 1], np.nan_to_num(rows[:, 2:])
    late = t_s >= judged.end_s - JUDGED_FRAC * (judged.end_s - judged.takeoff_s)
    off_s = true_s[late, None] - told_s[late]
    pinball = np.where(off_s >= 0, QUANTILES * off_s, (QUANTILES - 1) * off_s).sum(axis=1)
    losses = (pinball + ERROR_WEIGHT * np.abs(off_s[:, 1])) / (true_s[late] + OFFSET_S)
    return float(np.minimum(losses, MOST).mean()) if late.any() else MOST


def total(flights: Sequence[Judged], constants: Constants) -> float:
    """Return the mean loss of flights, new and known."""
    memory: dict[str, Learned] = {}
    new, known = [], []
    for judged in flights:
        learner = Ours(judged, {}, constants)
        new.append(loss(judged, learner))
        if judged.pack in memory:
            learner = Ours(judged, memory, constants)
            known.append(loss(judged, learner))
        learned = learner.estimator.learn()
        if learned is not None:
            memory[judged.pack] = learned
    return float(np.mean(new) + np.mean(known or new)) / 2


def moved(constants: Constants, name: str, by: float) -> Constants:
    """Return the constants with one of them, or a whole row, larger by a factor e^by."""
    value: Any = getattr(constants, name)
    factor = float(np.exp(by))
    new = tuple(factor * each for each in value) if isinstance(value, tuple) else factor * value
    changed: dict[str, Any] = {name: new}
    return replace(constants, **changed)


def main() -> None:
    """Search for some minutes."""
    until_s = time.monotonic() + 60.0 * float(sys.argv[1])
    flights = read_folder([Path(text) for text in sys.argv[2:]])
    best = replace(FITTED, middle=(0.5, 0.5), widen=((1.0, 1.0), (1.0, 1.0)))
    least = total(flights, best)
    print(f"{len(flights)} flights, loss {least:.4f}")
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


if __name__ == "__main__":
    main()

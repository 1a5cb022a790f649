# SPDX-License-Identifier: Apache-2.0
"""Flights with a known truth, and the scores of a predictor on them.

Predictions once a second from 60 s after take-off until the end. The error of the median, the coverage and
the width of the interval are taken over the last 80 % of the flight; error and width relative to the true time
to empty, while that is at least 30 s; "dangerous" and the calls over all predictions. A second without a
prediction counts as 100 % wrong and outside. From 10 s after take-off on, a median that is off by more than
a factor of 3 is absurd, while at least 30 s are left. Seconds; discharge is positive. Columns and sidecar keys
named truth are read in this module alone.
"""

import csv
import gzip
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dronebms.flightlogs import FlightLog, FlightSource, read_csv_log
from dronebms.flightlogs.csv_log import stem_of
from dronebms.monitoring.consistency import ConsistencyCheck
from dronebms.monitoring.plausibility import PlausibilityCheck
from smartbattery.snapshot import Snapshot

Array = npt.NDArray[np.float64]
Answer = tuple[float | None, float | None, float | None]  # 5 %, median, 95 %; seconds
SETTLE_S = 60.0
FIRST_S = 10.0
ABSURD_TIMES = 3.0
JUDGED_FRAC = 0.8
LEAST_S = 30.0
SHORTEST_S = 150.0  # of a flight; shorter ones are not judged
HARD_CHARGE = 0.25
POOR_COVER = 0.6
DANGER_FRAC, DANGER_LEAST_S, DANGER_S = 0.2, 10.0, 60.0
CALL_S = 120.0
LATE_S = 60.0
_MEASURED = re.compile(r"measured capacity ([\d.]+) Ah")
_TINY_S = 1e-3
_MISSES = 20.0  # 2 / 10 %: weight of a miss in the interval (Winkler) score


class Predictor(Protocol):
    """Predicts the time to empty from past samples alone."""

    def update(self, look: Snapshot) -> Answer:
        """Process a snapshot; return the prediction at its time."""
        ...


class Familiarity(IntEnum):
    """What earlier flights have taught of a pack."""

    UNKNOWN = 0
    MODEL = 1  # sister packs are known
    PACK = 2


@dataclass(frozen=True, slots=True)
class Judged:
    """One whole discharge: the samples for a predictor, and the truth."""

    flight: FlightLog
    looks: tuple[Snapshot, ...]
    true_s: dict[float, float]
    power_w: dict[float, float]
    takeoff_s: float
    end_s: float
    hard: bool

    @property
    def pack(self) -> str:
        """Identifier of the pack; a flight without one counts as a separate pack."""
        return self.flight.pack_data.pack_id or self.flight.name


@dataclass(frozen=True, slots=True)
class Score:
    """One flight of one predictor; shares 0..1, seconds; nan is unknown."""

    name: str
    pack: str
    familiarity: Familiarity  # what earlier flights have taught of the pack
    hard: bool
    error: float
    off_s: float
    cover: float
    width: float
    winkler_s: float
    danger: float
    median_call_s: float  # true time to empty when the median first reaches two minutes
    low_call_s: float  # the same of the 5 % bound
    answered: float
    cost_us: float
    early: float = math.nan  # the end is before the 5 % bound
    absurd_first: float = math.nan  # share of the seconds of the first minute, from `FIRST_S` on
    absurd: float = math.nan  # and of all seconds from there on


def read_judged(path: Path) -> Judged | None:
    """Return a flight; `None` when it has no truth or is too short to be judged."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or "truth_remaining_s" not in rows[0]:
        return None
    side = json.loads((path.parent / f"{stem_of(path)}.json").read_text(encoding="utf-8"))

    def column(name: str) -> dict[float, float]:
        return {float(row["t_s"]): float(row[name]) for row in rows if row.get(name)}

    true_s = column("truth_remaining_s")
    truth: dict[str, Any] = side.get("truth", {})
    end_s = float(truth.get("t_end_s", max(t_s + left_s for t_s, left_s in true_s.items())))
    takeoff_s = float(side.get("takeoff_s", 0.0))
    if end_s - takeoff_s < SHORTEST_S:
        return None
    flight = read_csv_log(path)
    source, plausible, physics = FlightSource(flight), PlausibilityCheck(), ConsistencyCheck()
    looks = tuple(
        physics.check(plausible.check(source.poll(t_s), flight.pack_data), flight.pack_data)
        for t_s in source.ticks()
        if t_s <= end_s
    )
    power_w = column("truth_power_w") or {
        float(row["t_s"]): float(row["voltage_v"]) * float(row["current_a"])
        for row in rows
        if row["voltage_v"] and row["current_a"]
    }
    hard = truth.get("soc_end", 0.0) > HARD_CHARGE
    return Judged(flight, looks, true_s, power_w, takeoff_s, end_s, hard)


def is_laboratory(path: Path) -> bool:
    """Return whether a flight is the discharge of a cell that a laboratory measured."""
    side = json.loads((path.parent / f"{stem_of(path)}.json").read_text(encoding="utf-8"))
    return _MEASURED.search(side.get("notes", "")) is not None


def true_capacity_mah(path: Path) -> float | None:
    """Return the capacity of a flight's mean cell; `None` without one.

    Computed flights: that of their cells, or the charge drawn over the true one that it took. Cells
    of a laboratory: what it measured, at room temperature.
    """
    side = json.loads((path.parent / f"{stem_of(path)}.json").read_text(encoding="utf-8"))
    cells_mah = side.get("truth", {}).get("cell_capacity_mah")
    if cells_mah:
        return float(np.mean(cells_mah))
    measured = _MEASURED.search(side.get("notes", ""))
    if measured is not None:
        return 1000.0 * float(measured[1])
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    known = [row for row in csv.DictReader(text.splitlines()) if row.get("truth_soc_frac")]
    if not known:
        return None
    t_s, amps, charge = (
        np.array([float(row[name] or "nan") for row in known])
        for name in ("t_s", "current_a", "truth_soc_frac")
    )
    drawn_mah = float(np.nansum(amps[1:] * np.diff(t_s))) / 3.6
    return drawn_mah / float(charge[0] - charge[-1])


def read_folder(paths: Iterable[Path]) -> list[Judged]:
    """Return the flights of files and folders that can be judged, packs in order of flight."""
    files = [
        p for path in paths for p in (sorted(path.glob("*.csv*")) if path.is_dir() else [path])
    ]
    return [judged for path in files if (judged := read_judged(path)) is not None]


def run(
    judged: Judged, predictor: Predictor, clock_s: Callable[[], float], from_s: float = SETTLE_S
) -> tuple[Array, float]:
    """Return rows of (time, true seconds left, 5 %, median, 95 %), NaN if absent, and the cost.

    The rows begin `from_s` after take-off. The cost is the processor time in microseconds of one
    second of flight.
    """
    rows, due_s = [], judged.takeoff_s + from_s
    spent_s = -clock_s()
    answers = [predictor.update(look) for look in judged.looks]
    spent_s += clock_s()
    for look, answer in zip(judged.looks, answers, strict=True):
        true_s = judged.true_s.get(look.t_s)
        if look.t_s >= due_s and true_s is not None:
            rows.append((look.t_s, true_s, *(math.nan if x is None else x for x in answer)))
            due_s += 1.0
    lasts_s = judged.looks[-1].t_s - judged.looks[0].t_s
    return np.array(rows, dtype=float).reshape(-1, 5), 1e6 * spent_s / max(lasts_s, 1.0)


def score(
    judged: Judged, rows: Array, cost_us: float, familiarity: Familiarity = Familiarity.UNKNOWN
) -> Score:
    """Return the score of a predictor on a flight.

    Rows before `SETTLE_S` are judged for absurdity alone.
    """
    off = np.abs(np.log(np.maximum(rows[:, 3], _TINY_S) / np.maximum(rows[:, 1], _TINY_S)))
    is_absurd = (rows[:, 1] >= LEAST_S) & (off > math.log(ABSURD_TIMES))  # not with a NaN
    is_first = rows[:, 0] < judged.takeoff_s + SETTLE_S
    first_absurd, all_absurd = is_absurd[is_first], is_absurd
    rows = rows[~is_first]
    t_s, true_s, low_s, median_s, high_s = rows.T.copy()
    silent = ~np.isfinite(median_s)
    median_s[silent] = low_s[silent] = high_s[silent] = 0.0
    error_s = median_s - true_s
    late = t_s >= judged.end_s - JUDGED_FRAC * (judged.end_s - judged.takeoff_s)
    enough = late & (true_s >= LEAST_S)
    bounded = late & np.isfinite(low_s) & np.isfinite(high_s)
    wide_s = high_s - low_s
    missed_s = np.maximum(low_s - true_s, 0) + np.maximum(true_s - high_s, 0)
    much = (error_s > DANGER_FRAC * true_s) & (error_s > DANGER_LEAST_S)
    dangerous = much | (error_s > DANGER_S)
    caller_s = np.where(np.isfinite(low_s), low_s, median_s)

    def mean(values: Array, where: npt.NDArray[np.bool_]) -> float:
        return float(values[where].mean()) if where.any() else math.nan

    def called_s(answer_s: Array) -> float:
        calls = np.flatnonzero(answer_s <= CALL_S)
        return float(true_s[calls[0]]) if len(calls) else 0.0

    inside = ((low_s <= true_s) & (true_s <= high_s)).astype(float)
    relative = (wide_s / np.maximum(true_s, 1.0))[bounded & enough]
    return Score(
        name=judged.flight.name,
        pack=judged.pack,
        familiarity=familiarity,
        hard=judged.hard,
        error=mean(np.abs(error_s) / np.maximum(true_s, 1.0), enough),
        off_s=float(np.median(np.abs(error_s[late]))) if late.any() else math.nan,
        cover=mean(inside, bounded),
        width=float(np.median(relative)) if len(relative) else math.nan,
        winkler_s=mean(wide_s + _MISSES * missed_s, bounded),
        danger=float(dangerous.mean()) if len(rows) else math.nan,
        median_call_s=called_s(median_s),
        low_call_s=called_s(caller_s),
        answered=float(1 - silent.mean()) if len(rows) else 0.0,
        cost_us=cost_us,
        early=mean((true_s < low_s).astype(float), bounded),
        absurd_first=float(first_absurd.mean()) if len(first_absurd) else math.nan,
        absurd=float(all_absurd.mean()) if len(all_absurd) else math.nan,
    )


def mean_of(scores: Sequence[Score], field: str) -> float:
    """Return the mean of the known values of a field; NaN without any."""
    known = [value for each in scores if not math.isnan(value := float(getattr(each, field)))]
    return sum(known) / len(known) if known else math.nan


def share_of(scores: Sequence[Score], holds: Callable[[Score], bool]) -> float:
    """Return the share of the flights that meet a condition."""
    return sum(map(holds, scores)) / len(scores) if scores else math.nan

# SPDX-License-Identifier: Apache-2.0
"""Outcomes of simulated flights, and their statistics with intervals of 95 %.

All by the simulation's ground truth. Units are in the names; times are seconds of the flight's
clock. `None`: not reached in this flight.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import PlainSerializer, TypeAdapter

ENOUGH_S = 60.0  # before the pack's end: a first warning after it is a missed one
_Z = statistics.NormalDist().inv_cdf(0.975)
_DECIMALS = 3

Real = Annotated[float, PlainSerializer(lambda value: round(value, _DECIMALS) + 0.0)]


@dataclass(slots=True)
class FlightOutcome:
    """One flight until it has landed or the pack is empty; updated during the flight."""

    seed: int
    outcome: str = "flying"  # interrupted; else "landed" or "ended" (pack empty in the air)
    flown_s: Real = 0.0
    takeoff_s: Real | None = None
    pack_end_s: Real | None = None
    lowest_cell_v: Real = math.inf
    hottest_cell_degc: Real = -math.inf
    charge_left_pct: Real = 0.0  # of the emptiest cell
    alarms: dict[str, Real] = field(default_factory=dict)  # first trip by limit, from warning on
    false_alarms: list[str] = field(default_factory=list)
    warning_before_end_s: Real | None = None  # the first of low voltage, charge or time
    critical_before_end_s: Real | None = None
    time_left_error_s: Real | None = None  # median of |estimated median - truth|
    time_left_inside_pct: Real | None = None  # time in which the interval held the truth
    wall_s: Real = 0.0


OUTCOME_JSON = TypeAdapter(FlightOutcome)
MEASURES = (
    "pack_end_s", "lowest_cell_v", "hottest_cell_degc", "charge_left_pct", "warning_before_end_s",
    "critical_before_end_s", "time_left_error_s", "time_left_inside_pct",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Statistic:
    """One statistic: a proportion in per cent, or a median with the extremes."""

    name: str
    runs: int  # in which it is known
    value: float | None = None
    low: float | None = None
    high: float | None = None
    least: float | None = None
    most: float | None = None


def summary(rows: Sequence[FlightOutcome]) -> list[Statistic]:
    """Statistics of some flights; their order does not matter."""
    ended = [row for row in rows if row.outcome == "ended"]
    alarms = sorted({alarm for row in rows for alarm in row.alarms})
    outcomes = ("ended", "landed", "flying")
    return [
        *(proportion(name, [row.outcome == name for row in rows]) for name in outcomes),
        proportion("missed_alarm", [(row.warning_before_end_s or 0.0) < ENOUGH_S for row in ended]),
        proportion("false_alarm", [bool(row.false_alarms) for row in rows]),
        *(proportion(f"alarm_{alarm}", [alarm in row.alarms for row in rows]) for alarm in alarms),
        *(median_of(name, [getattr(row, name) for row in rows]) for name in MEASURES),
    ]


def proportion(name: str, held: Sequence[bool]) -> Statistic:
    """Proportion of true values, with Wilson's interval (1927)."""
    count = len(held)
    if not count:
        return Statistic(name, 0)
    frac = sum(held) / count
    spread = _Z * _Z / count
    half = math.sqrt(spread * (frac * (1.0 - frac) + spread / 4))
    low, high = ((frac + spread / 2 + side) / (1.0 + spread) for side in (-half, half))
    return Statistic(name, count, 100.0 * frac, 100.0 * max(low, 0.0), 100.0 * min(high, 1.0))


def median_of(name: str, values: Sequence[float | None]) -> Statistic:
    """Median of the known values, with an interval between two of them for any distribution.

    Each value is below the true median with probability 1/2: the binomial distribution gives the
    ranks between which the median lies with at least 95 %.
    """
    known = sorted(value for value in values if value is not None)
    if not known:
        return Statistic(name, 0)
    bound = math.floor((len(known) + 1 - _Z * math.sqrt(len(known))) / 2)  # counted from each side
    low, high = (known[bound - 1], known[-bound]) if bound > 0 else (None, None)
    return Statistic(name, len(known), statistics.median(known), low, high, known[0], known[-1])

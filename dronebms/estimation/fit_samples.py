"""Rows of readings as the fit of a cell takes them: means over some seconds, without strays.

Volts and amperes of one cell, ampere-seconds, discharge positive.
"""

from statistics import median
from typing import NamedTuple

import numpy as np

_STRAY_V = 0.05  # further from the others' resting voltage, a second is a reading and not the cell


class FitSample(NamedTuple):
    """Means over some seconds, as the fit takes them."""

    span_s: float
    used_as: float  # since the fit's begin
    cell_v: float
    amps: float
    fast_a: float
    slow_a: float
    kelvin: float


def merged(rows: list[FitSample]) -> FitSample:
    """Return the mean of rows, each weighing as long as it lasted."""
    if len(rows) == 1:
        return rows[0]
    table = np.array(rows)
    span_s = table[:, 0]
    return FitSample(float(span_s.sum()), *(span_s @ table[:, 1:] / span_s.sum()).tolist())


def without_outliers(rows: list[FitSample], ohm: float) -> list[FitSample]:
    """Return the rows without those that stray from the others by more than their current explains.

    Up to three times the resistance that is believed: what it is may not be known yet.
    """
    middle_v = median(row.cell_v + ohm * row.amps for row in rows)
    middle_a = median(row.amps for row in rows)

    def stray(row: FitSample) -> bool:
        most_v = _STRAY_V + 2 * ohm * abs(row.amps - middle_a)
        return abs(row.cell_v + ohm * row.amps - middle_v) > most_v

    return [row for row in rows if not stray(row)] or rows

# SPDX-License-Identifier: Apache-2.0
"""The readings of a flight as the rows of the fit: means over ten seconds of load, and no outliers.

At rest the first voltage has set the charge already, so that only seconds after the first load
count. A long flight has no more rows than a short one: they become twice as long.
"""

from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np

from smartbattery.values import changed

_SPAN_S = 10.0 - 1e-6
_MAX_ROWS = 160
_STRAY_V = 0.05  # a second further from the median resting voltage is an outlier


class FitSample(NamedTuple):
    """Means over some seconds: one row of the fit."""

    span_s: float
    used_as: float  # since the start of the fit
    cell_v: float
    amps: float
    fast_a: float
    slow_a: float
    inverse_kk: float  # as `inverse_temperature` gives it
    above_v: float = 0.0  # by how much the median cell is above
    compared: float = 0.0  # share of the span in which that is known


def _merged(rows: tuple[FitSample, ...]) -> FitSample:
    """Mean of rows, weighted by their spans."""
    if len(rows) == 1:
        return rows[0]
    table = np.array(rows)
    span_s = table[:, 0]
    return FitSample(float(span_s.sum()), *(span_s @ table[:, 1:] / span_s.sum()).tolist())


def _without_outliers(rows: tuple[FitSample, ...], ohm: float) -> tuple[FitSample, ...]:
    """Rows without those that differ from the median by more than their current explains.

    Up to three times the estimated resistance `ohm` is accepted: it may still be wrong.
    """
    middle_v = median(row.cell_v + ohm * row.amps for row in rows)
    middle_a = median(row.amps for row in rows)

    def is_outlier(row: FitSample) -> bool:
        limit_v = _STRAY_V + 2 * ohm * abs(row.amps - middle_a)
        return abs(row.cell_v + ohm * row.amps - middle_v) > limit_v

    return tuple([row for row in rows if not is_outlier(row)]) or rows


@dataclass(frozen=True, slots=True)
class FitRows:
    """Rows since the prior, and the seconds of the one to come."""

    whole: tuple[FitSample, ...] = ()
    pending: tuple[FitSample, ...] = ()
    span_s: float = 0.0  # of the seconds since the newest row, rejected ones included

    def with_second(self, second: FitSample, *, accepted: bool) -> "FitRows":
        """With a second under load, whose voltage was accepted or rejected."""
        pending = (*self.pending, second) if accepted else self.pending
        return changed(self, pending=pending, span_s=self.span_s + second.span_s)

    @property
    def is_due(self) -> bool:
        """Whether the pending seconds make a row."""
        return self.span_s >= _SPAN_S and bool(self.pending)

    def with_row(self, ohm: float) -> "FitRows":
        """With the row of the pending seconds; `ohm` is the estimated immediate resistance."""
        whole = (*self.whole, _merged(_without_outliers(self.pending, ohm)))
        if len(whole) > _MAX_ROWS:
            whole = tuple([_merged(whole[k : k + 2]) for k in range(0, len(whole), 2)])
        return FitRows(whole)

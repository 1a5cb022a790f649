# SPDX-License-Identifier: Apache-2.0
"""Resistance by steps of the load, whatever the delay between a gauge's voltage and its current.

Gauges read both up to a second apart. By how much the voltage falls from one second to the next is
therefore a weighted sum of the changes of the current in that second and in its two neighbours (a
distributed lag). The weights depend on the gauge, their sum is the resistance. Within the same
second alone, a part of each step would be missed, and the resistance come out too small.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

_LAGS = 3
_SD_V = 0.004  # of a change of the voltage
_SMALL = 0.25  # of a step; less is no step
_STRAY_V = 0.05  # a change that is not of this cell; also where the resistance is still unknown
_LEAST = 0.05  # of the usual resistance
_NUGGET = 1e-9


class Level(NamedTuple):
    """Of one second."""

    cell_v: float
    usual_v: float  # lost in the usual resistance by the current


@dataclass(frozen=True, slots=True)
class StepResistance:
    """Normal equations of the steps so far, and the levels of the last seconds."""

    normal: tuple[float, ...] = (0.0,) * (_LAGS * _LAGS)
    moment: tuple[float, ...] = (0.0,) * _LAGS
    recent: tuple[Level, ...] = ()

    def __post_init__(self) -> None:
        sizes = len(self.normal), len(self.moment)
        if sizes != (_LAGS * _LAGS, _LAGS) or min(self.normal[:: _LAGS + 1]) < 0.0:
            raise ValueError("sums of steps of another size or range")

    def interrupted(self) -> "StepResistance":
        """After seconds that are unknown: the next level has no neighbours."""
        return StepResistance(self.normal, self.moment)

    def updated(self, level: Level, step_v: float, most: float) -> "StepResistance":
        """Take in the level of a second.

        Args:
            level: one second after the last.
            step_v: usual change by a step that counts in full. Smaller ones count less: the noise
                of their current would lower the resistance.
            most: ratio to the usual resistance from which a change is not one of this cell.
        """
        recent = (*self.recent, level)[-_LAGS - 1 :]
        if len(recent) <= _LAGS:
            return StepResistance(self.normal, self.moment, recent)
        usual = [one.usual_v for one in recent]
        changes_v = [after - before for before, after in pairwise(usual)]
        largest_v = max(map(abs, changes_v))
        before, after = recent[1:3]
        fell_v = before.cell_v - after.cell_v
        if largest_v < _SMALL * step_v or abs(fell_v) > _STRAY_V + most * largest_v:
            return StepResistance(self.normal, self.moment, recent)
        by = np.array(changes_v)
        weight = min(largest_v / step_v, 1.0) ** 2
        normal = weight * np.outer(by, by).ravel() + self.normal
        moment = weight * fell_v * by + self.moment
        return StepResistance(tuple(normal.tolist()), tuple(moment.tolist()), recent)

    def ratio(self) -> tuple[float, float] | None:
        """(Ratio to the usual resistance, its variance); None without a step."""
        normal = np.array(self.normal).reshape(_LAGS, _LAGS)
        largest = float(normal.max())
        if largest <= 0.0:
            return None
        inverse = np.linalg.inv(normal + _NUGGET * largest * np.eye(_LAGS))
        ratio = float((inverse @ self.moment).sum())
        return (ratio, _SD_V**2 * float(inverse.sum())) if ratio > _LEAST else None

# SPDX-License-Identifier: Apache-2.0
"""Parallel cells that are lost in flight: the voltage falls, the current does not change.

A group that loses some of its parallel cells has less capacity and more resistance by one factor,
at the same charge. The ohmic part of the resistance shows at once, within a second; a curve, a
temperature or diffusion do not change as fast. The fall must be sudden, must last, and must be more
than a wrong resistance explains by the change of current.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dronebms.estimation.cell.cell_model import CAPACITY, FAST, SIZE, SLOW, Array, CellModel
from dronebms.estimation.cell.fit_rows import FitSample

# readings, one a second
_BEFORE = 8
_BETWEEN = 2
_AFTER = 6
SPAN = _BEFORE + _BETWEEN + _AFTER
_LEAST_V = 0.02
# growth of the immediate resistance, as far as that is known
_LEAST = 0.2
_MOST = 4.0
_HALF = 1.0  # growth by the loss of one of two cells; a loss of more at once is unlikely
# of the fall, at most, within each of the two windows
_SCATTER = 0.25
_TREND = 0.2
_WRONG_OHM = 0.5  # share by which the resistance may be wrong
_EXPLAINED = 0.3  # of the fall, at most, by that share of the change of current
# standard deviations of the loss
_SD_WHOLE = 0.25  # of all three parameters together
_SD_EACH = 0.2  # of each
_ALONE = 0.5  # of the fall, in the gap to the median cell: a single group


class Residual(NamedTuple):
    """A second's reading against the model."""

    off_v: float  # reading minus model
    ohmic_v: float  # voltage that the immediate resistance costs
    above_v: float  # by how much the median cell is above; 0 where that is unknown


class Loss(NamedTuple):
    """Lost parallel cells."""

    growth: float  # of the resistance: 1 if it doubled
    before_v: float  # mean residual before
    alone: bool  # in the weakest group alone


@dataclass(frozen=True, slots=True)
class LossWindow:
    """The last seconds, in which a loss is looked for."""

    seconds: tuple[FitSample, ...] = ()
    residuals: tuple[Residual, ...] = ()  # of the newest of them, since the last loss

    def with_second(self, second: FitSample, residual: Residual) -> "LossWindow":
        """With the second that follows."""
        return LossWindow(
            (*self.seconds, second)[-SPAN:],
            (*self.residuals, residual)[-SPAN:],
        )

    def refitted(self, model: CellModel, x: Array, ohm: float) -> "LossWindow":
        """With the residuals that a fit leaves.

        Args:
            model: of the cell.
            x: state vector of the fit.
            ohm: its immediate resistance.
        """
        compared = self.seconds[len(self.seconds) - len(self.residuals) :]
        if not compared:
            return self
        rows = np.array(compared)
        off_v = rows[:, 2] - model.volts(x, rows)
        table = np.column_stack([off_v, ohm * rows[:, 3], rows[:, -2]])
        return LossWindow(self.seconds, tuple([Residual(*row) for row in table.tolist()]))

    def without_residuals(self) -> "LossWindow":
        """After a loss: the seconds before it are of another cell."""
        return LossWindow(self.seconds)


def lost_cells(recent: Sequence[Residual]) -> Loss | None:
    """The loss some seconds before the newest of `SPAN` residuals, None if there is none."""
    if len(recent) < SPAN or recent[-1].off_v > recent[0].off_v - _LEAST_V:
        return None
    table = np.array(recent[-SPAN:])
    before = table[:_BEFORE]
    after = table[-_AFTER:]
    (before_v, before_ohmic_v, before_above_v) = before.mean(axis=0).tolist()
    (after_v, after_ohmic_v, after_above_v) = after.mean(axis=0).tolist()
    fall_v = before_v - after_v
    half = _AFTER // 2
    trends_v = (w[-half:, 0].mean() - w[:half, 0].mean() for w in (before, after))
    explained_v = _WRONG_OHM * abs(after_ohmic_v - before_ohmic_v)
    growth = fall_v / max(after_ohmic_v, _LEAST_V)
    if (
        fall_v < _LEAST_V
        or not _LEAST <= growth <= _MOST
        or max(np.ptp(before[:, 0]), np.ptp(after[:, 0])) > 2 * _SCATTER * fall_v
        or any(abs(trend_v) > _TREND * fall_v for trend_v in trends_v)
        or explained_v > _EXPLAINED * fall_v
    ):
        return None
    alone = after_above_v - before_above_v > _ALONE * fall_v
    return Loss(min(growth, _HALF), before_v, alone)


def after_loss(x: Array, covariance: Array, lost: Loss) -> tuple[Array, Array]:
    """(State vector, covariance) of the group after a loss: less area, at the same charge."""
    less = math.log(1.0 + lost.growth)
    along = np.zeros(SIZE)
    apart = np.zeros(SIZE)
    along[[FAST, SLOW, CAPACITY]] = less, less, -less
    apart[[FAST, SLOW, CAPACITY]] = less
    widened = covariance + _SD_WHOLE**2 * np.outer(along, along)
    return x + along, widened + _SD_EACH**2 * np.diag(apart**2)

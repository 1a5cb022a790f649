# SPDX-License-Identifier: Apache-2.0
"""The fit of a flight: the solution of its least squares, as of the start of its readings.

While the weakest cell stands out of the others, its gap to the median cell is solved with it.
Charge is a fraction; volts and ampere-seconds of one cell.
"""

import math
from dataclasses import dataclass

import numpy as np

from dronebms.estimation.cell.cell_gap import LOSS, MedianCell, median_variances
from dronebms.estimation.cell.cell_model import CAPACITY, CHARGE, SIZE, Array, CellModel
from dronebms.estimation.cell.cell_parameters import Vector
from dronebms.estimation.cell.least_squares import LeastSquares, Prior
from smartbattery.values import changed

_SPREADS = 1.5  # standard deviations of the charge over which the curve's slope is taken
_STRAYED = 6.0  # standard deviations of the prior's capacity
_MORE_ITERATIONS = 8
_DRIFT_S = 60.0 - 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """State vector at the start of the readings, and the gap to the median cell."""

    x: Array  # (SIZE,)
    covariance: Array  # of x, (SIZE, SIZE)
    gap: Array  # c, l and g of `cell_gap`, (3,)
    median_variances: Vector = ()  # of `MedianCell`; empty: no gap was solved

    @property
    def charge_sd(self) -> float:
        """Standard deviation of the state of charge."""
        return math.sqrt(max(float(self.covariance[CHARGE, CHARGE]), 0.0))

    @property
    def spread(self) -> float:
        """Charge over which the curve's slope is taken."""
        return _SPREADS * self.charge_sd

    def used_frac(self, used_as: float, rated_as: float) -> float:
        """Charge that was used, of the capacity that was solved."""
        return used_as / (rated_as * math.exp(float(self.x[CAPACITY])))

    def more_frac(self, used_frac: float) -> float:
        """Charge of the median cell above that of the weakest, each of its own capacity."""
        more, loss, _ = self.gap.tolist()
        return float(more + used_frac * (1.0 - math.exp(-loss)))

    def gap_after(self, used_frac: float) -> Array:
        """The gap after a use, from which another prior begins."""
        gap = self.gap.copy()
        gap[0] = self.more_frac(used_frac)
        return gap

    def median(self, used_frac: float) -> MedianCell | None:
        """The median cell after a use; None where its gap was not solved."""
        if not self.median_variances:
            return None
        _, loss, growth = self.gap.tolist()
        return MedianCell(self.more_frac(used_frac), loss, growth, self.median_variances)

    def after(self, used_frac: float) -> tuple[Array, Array]:
        """(State vector, covariance) after a use: a smaller capacity leaves less charge."""
        carry = np.eye(SIZE)
        carry[CHARGE, CAPACITY] = used_frac
        x = self.x.copy()
        x[CHARGE] -= used_frac
        return x, carry @ self.covariance @ carry.T


def solved(
    model: CellModel, rows: Array, prior: Prior, before: Solution, used_as: float, iterations: int
) -> Solution:
    """The solution for the rows of a flight.

    Args:
        model: of the cell.
        rows: fields of `FitSample`, (n, 9).
        prior: what else is known.
        before: the last solution, from which it begins.
        used_as: charge since the start of the readings.
        iterations: of it; more from a start of its own.
    """
    problem = LeastSquares(model, rows, prior, before.spread)
    x = before.x.copy()
    likely, information = _likely_capacity(prior)
    if (x[CAPACITY] - likely) ** 2 * information > _STRAYED**2:
        # A minimum of its own: start again from what is likely.
        x = prior.x.copy()
        x[CAPACITY] = likely
        iterations = _MORE_ITERATIONS
    if before.median_variances or problem.stands_out(x):
        x = np.concatenate([x, before.gap])
    both, covariance = problem.solve(x, iterations)
    found = Solution(both[:SIZE], covariance[:SIZE, :SIZE], before.gap, before.median_variances)
    if len(both) > SIZE:
        used_frac = found.used_frac(used_as, model.capacity_as) * math.exp(-float(both[LOSS]))
        variances = median_variances(covariance, used_frac)
        return changed(found, gap=both[SIZE:], median_variances=variances)
    if not prior.weakest_is_known:
        found.covariance[CAPACITY, CAPACITY] += problem.loss_variance(found.x, found.spread)
    return found


def drift_v_s(newest: Array, off_v: Array) -> float | None:
    """Rate of the model's error in volts a second; None where the rows show none.

    Over less than a minute it is the start of the load; one row, after a gap, shows no drift.

    Args:
        newest: the last rows of a flight, fields of `FitSample`, (n, 9).
        off_v: their readings minus the model, (n,).
    """
    half = len(newest) // 2
    span_s = newest[:, 0].sum()
    if half == 0 or span_s < _DRIFT_S:
        return None
    return float((off_v[half:].mean() - off_v[:half].mean()) / (span_s / 2))


def _likely_capacity(prior: Prior) -> tuple[float, float]:
    """(Capacity before the readings, as ln, information on it) with the gauge's full charge."""
    full_gradient, full_information = prior.full
    own = prior.information[CAPACITY, CAPACITY]
    information = own + full_information
    return (own * prior.x[CAPACITY] + full_gradient) / information, information

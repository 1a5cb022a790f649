# SPDX-License-Identifier: Apache-2.0
"""The weakest cell against the median cell: what it lost of its capacity, by the gap between them.

Both have the same curve, so that its error cancels in the gap v_median - v_weakest. A gap that
grows with the charge that flowed is capacity, one that follows the current is resistance, one from
the start is charge:

    s_m = s + c    ln Q_m = ln Q + l    ln R_m = ln R - l - g

c, l (loss) and g (growth) are fitted together with the weakest cell's state vector: electrodes that
lost area have lost capacity and conductance alike, g is what the resistance grew beyond that. The
prior of capacity and resistance is of the median cell. A cell that fails is many usual deviations
away: the deviations of c, l and g are the usual ones times the size of the gap, relative to what
they explain (empirical Bayes; Efron and Morris, J. Am. Stat. Assoc. 68 (1973) 117).
Charge is a fraction; volts of one cell; ln of a ratio.
"""

import math
from statistics import median
from typing import NamedTuple

import numpy as np

from dronebms.estimation.cell.cell_model import (
    CAPACITY,
    CHARGE,
    FAST,
    HIGHEST,
    LOWEST,
    SIZE,
    SLOW,
    Array,
)

MORE, LOSS, GROWTH = range(SIZE, SIZE + 3)  # after the elements of the weakest cell
BOTH = SIZE + 3
LOWEST_BOTH = np.concatenate([LOWEST, [-0.3, -0.3, -1.5]])
HIGHEST_BOTH = np.concatenate([HIGHEST, [0.3, 2.0, 2.0]])
_LEAST_CELLS = 3  # of two, none is the usual one
_SDS = np.array([0.01, 0.1, 0.08])  # of c, l and g of usual cells
# error of the circuit in the gap
_SD_GAP_V = 0.007
_SD_GAP_FRAC = 0.15
_SD_REST_V = 0.004  # of the gap at rest
_SD_SAG_FRAC = 0.3  # of it, as a share of what sag there is

# The states that the prior is of, and that of the median cell, from those of both.
_PRIOR_OF = np.eye(SIZE, BOTH)
_PRIOR_OF[CAPACITY, LOSS] = 1.0
_PRIOR_OF[np.ix_([FAST, SLOW], [LOSS, GROWTH])] = -1.0
_MEDIAN_OF = _PRIOR_OF.copy()
_MEDIAN_OF[CHARGE, MORE] = 1.0


class MedianCell(NamedTuple):
    """The median cell relative to the weakest one."""

    more_frac: float  # charge above the weakest cell's, each of its own capacity
    loss: float  # ln of its capacity over the weakest one's
    growth: float  # ln of the weakest one's resistance over its own, beyond the loss
    variances: tuple[float, ...]  # of its charge, ln of capacity, fast and slow resistance


def median_above_v(cells_v: tuple[float | None, ...]) -> float | None:
    """By how much the median cell is above the lowest, None with few cells."""
    known_v = [v for v in cells_v if v is not None]
    return median(known_v) - min(known_v) if len(known_v) >= _LEAST_CELLS else None


def prior_state(both: Array) -> Array:
    """The state that the prior is of: the weakest cell's without its loss and growth."""
    return np.asarray(_PRIOR_OF @ both)


def median_state(both: Array) -> Array:
    """State vector of the median cell."""
    return np.asarray(_MEDIAN_OF @ both)


def gap_jacobian_at(median_jacobian: Array, weakest_jacobian: Array) -> Array:
    """Derivative of the gap by the state of both, (n, BOTH), from those of the volts of each."""
    jacobian = median_jacobian @ _MEDIAN_OF
    jacobian[:, :SIZE] -= weakest_jacobian
    return jacobian


def gap_sd_v(gap_v: Array) -> Array:
    """Standard deviation of the model's gaps."""
    return np.hypot(_SD_GAP_V, _SD_GAP_FRAC * gap_v)


def rest_gap(gap_v: float, slope_v: float, sag_v: float) -> tuple[float, float]:
    """(c, information on it) by the first voltages, of which the load costs the weakest a sag."""
    sd_v = math.hypot(_SD_REST_V, _SD_SAG_FRAC * sag_v)
    return gap_v / slope_v, (slope_v / sd_v) ** 2


def gap_size(gap_v: Array, slope_v: Array, used_frac: Array, sag_v: Array) -> float:
    """Gaps relative to those of usual cells, at least 1.

    Args:
        gap_v: of each row.
        slope_v: of the curve, volts per unit of charge.
        used_frac: charge that flowed.
        sag_v: voltage lost in the weakest cell's resistance.
    """
    more, loss, growth = _SDS.tolist()
    usual_v2 = _SD_GAP_V**2 + (slope_v * more) ** 2 + (slope_v * used_frac * loss) ** 2
    usual_v2 += (growth * sag_v) ** 2
    return float(max(np.sqrt(np.mean(gap_v**2 / usual_v2)), 1.0))


def usual_gap_jacobian(slope_v: Array, used_frac: Array, sag_v: Array) -> Array:
    """Derivative of a usual cell's gap by c, l and g, (n, 3); arguments as in `gap_size`."""
    return np.column_stack([slope_v, slope_v * used_frac, sag_v])


def usual_loss_variance(information: Array) -> float:
    """Variance of a usual cell's l, by the information of its gaps on c, l and g.

    On the flat of a curve a gap shows no loss of capacity: a cell that looks usual may have lost as
    much as usual cells differ by, and is known to have none only where its curve falls.
    """
    return float(np.linalg.inv(np.diag(_SDS**-2) + information)[1, 1])


def with_prior(
    information: Array, gradient: Array, residual: Array, size: float
) -> tuple[Array, Array]:
    """Information and gradient of a prior, by both cells.

    Args:
        information: of the prior on the usual cell's state vector, (SIZE, SIZE).
        gradient: of the same, (SIZE,).
        residual: c, l and g beyond their prior, (3,).
        size: of the gap.
    """
    both_information = _PRIOR_OF.T @ information @ _PRIOR_OF
    both_gradient = _PRIOR_OF.T @ gradient
    precision = 1.0 / (size * _SDS) ** 2
    places = np.arange(MORE, BOTH)
    both_information[places, places] += precision
    both_gradient[MORE:] -= precision * residual
    return both_information, both_gradient


def median_variances(covariance: Array, used_frac: float) -> tuple[float, ...]:
    """Variances of `MedianCell`, by the covariance of both at the start of the fit."""
    now_of = _MEDIAN_OF[[CHARGE, CAPACITY, FAST, SLOW]].copy()
    now_of[0, [CAPACITY, LOSS]] += used_frac  # of the median cell's own capacity
    return tuple(np.einsum("ij,jk,ik->i", now_of, covariance, now_of).tolist())

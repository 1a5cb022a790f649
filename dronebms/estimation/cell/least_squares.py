# SPDX-License-Identifier: Apache-2.0
"""Least squares of a flight: the state vector that explains its readings, within its prior.

Regularised Gauss-Newton (Tarantola, "Inverse Problem Theory", 2005, chapter 3) on the circuit of
`cell_model`. While the weakest cell stands out of the others, the elements of `cell_gap` are
fitted with it. Volts, amperes and ampere-seconds of one cell; charge is a fraction.
"""

import math
from typing import NamedTuple

import numpy as np

from dronebms.estimation.cell.cell_gap import (
    HIGHEST_BOTH,
    LOWEST_BOTH,
    MORE,
    gap_jacobian_at,
    gap_sd_v,
    gap_size,
    median_state,
    prior_state,
    usual_gap_jacobian,
    usual_loss_variance,
    with_prior,
)
from dronebms.estimation.cell.cell_model import (
    CAPACITY,
    CHARGE,
    FAST,
    OFFSET,
    SIZE,
    Array,
    CellModel,
)

_LARGEST_STEP = 1.5  # ln, in one iteration
_STEP_SHARE = 0.6  # of a step that is taken: full steps oscillate between bends of the curve
_LEAST_STEP = 1e-9
_OUTLIER = 4.0  # standard deviations from which a reading is weighted down
_STANDS_OUT = 2.5  # gaps relative to those of usual cells, from which the weakest is compared
_NEWEST_ROWS = 6
_COMPARED = 0.99  # of a row's span; less is no mean of the gap


class Prior(NamedTuple):
    """What is known apart from the readings under load."""

    x: Array  # state vector before them, (SIZE,)
    information: Array  # on it, (SIZE, SIZE)
    gap: Array  # c, l and g of `cell_gap`, (3,)
    weakest_is_known: bool = False  # an earlier flight has shown which cell it is
    rest_gap: tuple[float, float] = (0.0, 0.0)  # c by the voltages at rest, information on it
    full: tuple[float, float] = (0.0, 0.0)  # by the gauge's full charge, see `full_charge`
    steps: tuple[float, float] | None = None  # ratio of the immediate resistance, its variance


class LeastSquares:
    """The problem of one flight; `both` is a state vector, or that and the gap's elements.

    Args:
        model: of the cell.
        rows: readings, fields of `FitSample`, (n, 9).
        prior: what else is known.
        spread: half-width, in charge, of the interval over which the curve's slope is averaged.
    """

    def __init__(self, model: CellModel, rows: Array, prior: Prior, spread: float) -> None:
        self._model = model
        self._rows = rows
        self._prior = prior
        self._spread = spread
        _, used_as, self._cell_v, *_, self._gap_v, compared = rows.T
        self._compared = compared > _COMPARED
        self._used_frac = used_as / model.capacity_as
        self._whitening = _whitening(model, rows)

    def solve(self, both: Array, iterations: int) -> tuple[Array, Array]:
        """(Solution, its covariance) by damped steps from a state."""
        lowest = LOWEST_BOTH[: len(both)]
        highest = HIGHEST_BOTH[: len(both)]
        information = np.eye(len(both))
        for _ in range(iterations):
            information, gradient = self._normal(both)
            step = np.linalg.solve(information, gradient)
            largest = float(np.abs(step[FAST:OFFSET]).max())
            step *= min(_STEP_SHARE, _LARGEST_STEP / max(largest, _LEAST_STEP))
            both = np.minimum(np.maximum(both + step, lowest), highest)
        covariance = np.linalg.inv(information)
        return both, (covariance + covariance.T) / 2

    def stands_out(self, x: Array) -> bool:
        """Whether the weakest cell is, or was, further from the median cell than usual.

        Over the flight, or in the last minute: on a flat curve a weak cell is a usual one until it
        nears the end of it.
        """
        if not self._compared.any():
            return False
        _, jacobian, sag_v = self._model.derivatives(x, self._rows[self._compared])
        gaps = (
            self._gap_v[self._compared],
            jacobian[:, CHARGE],
            self._used_frac[self._compared],
            sag_v,
        )
        newest = [values[-_NEWEST_ROWS:] for values in gaps]
        return max(gap_size(*gaps), gap_size(*newest)) >= _STANDS_OUT

    def loss_variance(self, x: Array, spread: float) -> float:
        """Variance of what the weakest cell lost, as far as its gap does not show it; ln."""
        if not self._compared.any():
            return 0.0
        rows = self._rows[self._compared]
        _, jacobian, sag_v = self._model.derivatives(x, rows, spread)
        gap_jacobian = usual_gap_jacobian(
            jacobian[:, CHARGE], self._used_frac[self._compared], sag_v
        )
        gap_jacobian = gap_jacobian / gap_sd_v(self._gap_v[self._compared])[:, None]
        data_information, _ = _normal_equations(
            np.zeros(len(rows)), gap_jacobian, *_whitening(self._model, rows)
        )
        return usual_loss_variance(data_information)

    def _normal(self, both: Array) -> tuple[Array, Array]:
        """Information matrix and gradient at a state."""
        c = self._model.parameters
        prior = self._prior
        x = both[:SIZE]
        has_gap = len(both) > SIZE
        model_v, jacobian, sag_v = self._model.derivatives(x, self._rows, self._spread)
        sd_v = np.hypot(c.sd_offset_v, c.sd_sag_frac * sag_v)
        residual = (self._cell_v - model_v) / sd_v
        data_information, gradient = _normal_equations(
            residual, jacobian / sd_v[:, None], *self._whitening
        )
        usual = x
        start = prior.x
        if has_gap:
            usual = prior_state(both)
            start = prior_state(np.concatenate([start, prior.gap]))
        information = prior.information.copy()
        full_gradient, full_information = prior.full
        prior_gradient = -(information @ (usual - start))
        information[CAPACITY, CAPACITY] += full_information
        prior_gradient[CAPACITY] += full_gradient - full_information * usual[CAPACITY]
        if has_gap:
            gaps = self._gap_v, jacobian[:, CHARGE], self._used_frac, sag_v
            size = gap_size(*(values[self._compared] for values in gaps))
            information, prior_gradient = with_prior(
                information, prior_gradient, both[SIZE:] - prior.gap, size
            )
            more, rest_information = prior.rest_gap
            information[MORE, MORE] += rest_information
            prior_gradient[MORE] += rest_information * (more - both[MORE])
            information[:SIZE, :SIZE] += data_information
            prior_gradient[:SIZE] += gradient
            median_v, median_jacobian, _ = self._model.derivatives(
                median_state(both), self._rows, self._spread
            )
            scale = self._compared / gap_sd_v(self._gap_v)
            residual = (self._gap_v - (median_v - model_v)) * scale
            gap_jacobian = gap_jacobian_at(median_jacobian, jacobian) * scale[:, None]
            data_information, gradient = _normal_equations(residual, gap_jacobian, *self._whitening)
        information += data_information
        gradient = prior_gradient + gradient
        if prior.steps is not None:
            ratio, variance = prior.steps
            precision = 1 / (self._model.sd_step**2 + variance / ratio**2)
            information[FAST, FAST] += precision
            gradient[FAST] += (math.log(ratio) - x[FAST]) * precision
        return information, gradient


def _whitening(model: CellModel, rows: Array) -> tuple[Array, Array]:
    """(Correlation of an error with that of the next row, size of the innovation) of a unit error.

    The model's error is correlated in time: residuals are whitened as a first-order process,
    otherwise an hour of readings would make the fit certain of a wrong circuit.
    """
    c = model.parameters
    spans_s = rows[:, 0]
    correlation = np.exp(-(spans_s[1:] + spans_s[:-1]) / 2 / c.offset_tau_s)
    return correlation, np.sqrt(1 - correlation**2 + (c.sd_noise_v / c.sd_offset_v) ** 2)


def _normal_equations(
    residual: Array, jacobian: Array, correlation: Array, innovation: Array
) -> tuple[Array, Array]:
    """(Information, gradient) of residuals, whitened; outliers weigh less."""
    residual[1:] = (residual[1:] - correlation * residual[:-1]) / innovation
    jacobian[1:] = (jacobian[1:] - correlation[:, None] * jacobian[:-1]) / innovation[:, None]
    trust = 1 / (1 + (residual / _OUTLIER) ** 2)
    return (jacobian * trust[:, None]).T @ jacobian, jacobian.T @ (trust * residual)

"""The state of the weakest cell and of every other one, each number with one standard deviation.

The weakest is `cellfit`'s. Another cell is followed by its differences from it:

    v_k - v_weakest = slope (c + k u) - r S + e

slope is of the curve between the two charges, u the charge used as a share of the weakest's
capacity Q, S what load and diffusion cost it; c is how much fuller the cell began, k = 1 - Q / Q_k,
r how much more it resists, e what that misses, correlated in time. A Kalman filter a cell, constant
in memory: what a flat or hardly known curve cannot tell stays in doubt. None is unknown. Constants
were chosen on virtual packs; a cell that lost a third of its capacity is told too sure of itself
(docs/estimation.md). Volts, ohms; shares of one until they are told.
"""

import math
from dataclasses import replace

import numpy as np

from dronebms.core.report import UNKNOWN_STATE, CellState, PackState
from dronebms.estimation import cell_model as of
from dronebms.estimation.cell_fit import CellFit
from dronebms.estimation.cell_model import Array, CircuitState

_EACH_S = 10.0 - 1e-6
_SDS = np.array([0.02, 0.05, 0.3, 0.003])  # of c, k, r and e (volts) before a cell has shown any
_LEAST, _MOST = np.array([-0.5, -0.6, -0.9, -0.5]), np.array([0.5, 0.6, 3.0, 0.5])
_DRIFT = 0.001  # of r, in a second: cells do not warm alike
# For how long e is the same, and what it is of what r, and of what c and k make.
_MISSED_S, _MISSED_OHM, _MISSED_CHARGE = 100.0, 0.1, 0.15
_STEP_V, _ODD_FRAC = 0.001, 0.3  # of readings; a share of the difference, as cells are read in turn
# Of charge and its deviations, over which the slope is taken; and its least.
_NEAR, _FAR, _SPREADS, _LEAST_SLOPE_V = 0.03, 0.3, 1.5, 0.02
_SEEN = 25.0  # readings over which their scatter is seen
# Of charge, capacity, fast and slow resistance: what a circuit of few parts takes for another.
_CIRCUIT_SD = np.array([0.0, 0.0, 0.35, 0.35])
_GAUGE_SD = 0.09  # of a charge that began with a gauge's: some are off by 15 %, the fit trusts them
# Wider than the fit itself says; of r, as cells that differ in one resistance differ in another.
_WIDER, _ALIKE = 1.2, 0.2
_LEAST_USED = 0.15  # less tells nothing of a cell's own capacity
# Beyond it unknown: the charge, and shares of the capacity, the fast and the slow resistance.
_MOST_SD = np.array([[0.25], [0.3], [0.6], [0.7]])
_REFUTED_PCT = 5.0  # by which a charge may be above what the lowest voltage bears
_GAS_KJ = 8.314  # for a mole and kilokelvin


class CellStates:
    """Follows the cells of one pack; `told` says what is known now."""

    def __init__(self) -> None:
        self._state, self._at_s = UNKNOWN_STATE, -math.inf
        self.gauged = False  # whether the charge began with a gauge's word
        self._x = self._covariance = self._misfit = np.zeros(0)  # the last squared, in variances

    def update(
        self,
        t_s: float,
        cells_v: tuple[float | None, ...],
        used_as: float,
        cell: CellFit,
        now: CircuitState,
    ) -> None:
        """Take in the cells' voltages, the charge used so far, and the fit with its circuit now."""
        if t_s - self._at_s < _EACH_S:
            return
        volts = np.array((*cells_v, None), dtype=np.float64)  # None is NaN; the last is the weakest
        if len(volts) != len(self._x):
            self._at_s, self._misfit = -math.inf, np.ones(len(volts))
            self._x = np.zeros((len(volts), len(_SDS)))
            self._covariance = np.tile(np.diag(_SDS**2), (len(volts), 1, 1))
            self._covariance[-1] = 0.0  # it is no other than itself
        used = used_as / now.capacity_as
        self._learn(t_s - self._at_s, volts - np.fmin.reduce(volts), used, cell, now)
        self._at_s, self._state = t_s, self._made(volts, used, cell, now)

    def told(self, cells_v: tuple[float | None, ...], soc_pct: float | None) -> PackState:
        """Return the newest state of the cells heard now; without charges that `soc_pct` refutes.

        Near the end a voltage may bear far less charge than the fit, and each cell's rests on that.
        """
        weakest, cells = self._state.weakest, self._state.cells
        heard = zip(cells, cells_v, strict=True) if len(cells) == len(cells_v) else ()
        cells = tuple(CellState() if v is None else cell for cell, v in heard)
        if soc_pct is not None and (weakest.soc_pct or 0.0) - soc_pct > _REFUTED_PCT:
            every = (weakest, *cells)
            weakest, *others = (replace(cell, soc_pct=None, soc_sd_pct=None) for cell in every)
            cells = tuple(others)
        return replace(self._state, weakest=weakest, cells=cells)

    def _learn(
        self, dt_s: float, apart_v: Array, used: float, cell: CellFit, now: CircuitState
    ) -> None:
        x, covariance, unheard = self._x, self._covariance, np.isnan(apart_v)
        apart_v[unheard] = 0.0
        slope_v, bend, lost_v = _slopes(cell, now, x[:, 0] + used * x[:, 1])
        resists_v = x[:, 2] * lost_v
        missed = _SDS[3] ** 2 + (_MISSED_OHM * resists_v) ** 2
        missed += (_MISSED_CHARGE**2 + bend**2) * (apart_v + resists_v) ** 2
        keep = math.exp(-dt_s / _MISSED_S)
        x[:, 3] *= keep
        covariance[:, 3, :] *= keep
        covariance[:, :, 3] *= keep
        covariance[:, 3, 3] += missed * (1 - keep * keep)
        covariance[:-1, 2, 2] += _DRIFT**2 * min(dt_s, _MISSED_S)
        ones = np.ones_like(slope_v)
        by = np.stack((slope_v, slope_v * used, -lost_v * ones, ones), 1)
        shared = np.einsum("kij,kj->ki", covariance, by)
        variance = np.einsum("ki,ki->k", by, shared) + _STEP_V**2 + (_ODD_FRAC * apart_v) ** 2
        off_v = apart_v - np.einsum("ki,ki->k", by, x)
        off_v[unheard], variance[unheard] = 0.0, np.inf
        seen = np.where(unheard, self._misfit, off_v**2 / variance)
        self._misfit += (seen - self._misfit) / _SEEN
        gain = shared / variance[:, None]
        np.clip(x + gain * off_v[:, None], _LEAST, _MOST, out=x)
        covariance -= gain[:, :, None] * shared[:, None, :]

    def _made(self, volts: Array, used: float, cell: CellFit, now: CircuitState) -> PackState:
        x, fit = self._x, np.maximum(cell.P.diagonal(), 0.0) * _WIDER**2  # rounding
        doubt = self._covariance * np.maximum(self._misfit, 1.0)[:, None, None]
        charge = float(cell.x[of.CHARGE]) + x[:, 0] + used * x[:, 1]
        own, ohms = 1 / (1 - x[:, 1]), 1 + x[:, 2]
        values = np.stack((np.clip(charge, 0.0, 1.0), own, ohms, ohms))
        scales = np.stack((np.ones_like(own), own, ohms, ohms))
        more = doubt[:, 0, 0] + 2 * used * doubt[:, 0, 1] + used * used * doubt[:, 1, 1]
        resists = doubt[:, 2, 2] + (_ALIKE * x[:, 2]) ** 2
        fitted = fit[[of.CHARGE, of.CAPACITY, of.FAST, of.SLOW]] + _CIRCUIT_SD**2
        fitted[0] += _GAUGE_SD**2 * self.gauged
        apart = np.stack((more, doubt[:, 1, 1] * own**4, resists, resists))
        sds = np.sqrt(fitted[:, None] * scales**2 + apart)
        unknown = sds > _MOST_SD * scales
        unknown[:, :-1] |= np.isnan(volts[:-1])
        unknown[1, :-1] |= used < _LEAST_USED
        units = np.array((100.0, now.capacity_as / 3.6, now.ohms[0] + now.ohms[1], now.ohms[2]))
        told = (np.stack((values, sds)) * units[:, None]).astype(object)
        told[:, unknown] = None
        rows = told.transpose(2, 1, 0).reshape(len(x), -1).tolist()
        *cells, weakest = (CellState(*row) for row in rows)
        activation = _GAS_KJ * (cell.model.parameters.warmth + float(cell.x[of.WARMTH]))
        return PackState(weakest, activation, _GAS_KJ * math.sqrt(fit[of.WARMTH]), tuple(cells))


def _slopes(cell: CellFit, now: CircuitState, more: Array) -> tuple[Array, Array, float]:
    """Return the curve's slope for cells so much fuller, how far it bends there, and the loss.

    Taken over all that the charge may be: on a curve that is flat or steep there, it bends.
    """
    short = now.depth_s / now.capacity_as * cell.slow_a
    least = max(_SPREADS * math.sqrt(max(cell.P[of.CHARGE, of.CHARGE], 0.0)), _NEAR)
    near = np.minimum(np.maximum(abs(more) / 2, least), _FAR)
    middle = np.minimum(float(cell.x[of.CHARGE]) - short + more / 2, 1.0 - near)
    places = (np.stack((middle - near, middle, middle + near)) - of.CURVE_FROM) * of.CURVE_STEPS
    table_v = cell.model.curves(cell.x[of.KNOTS :])
    low_v, middle_v, high_v = np.interp(places, np.arange(len(table_v)), table_v)
    slope_v = np.maximum((high_v - low_v) / (2 * near), _LEAST_SLOPE_V)
    bend = abs(high_v - 2 * middle_v + low_v) / (2 * near) / slope_v
    return slope_v, bend, now.sag_v + float(slope_v.mean()) * short

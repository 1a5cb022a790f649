# SPDX-License-Identifier: Apache-2.0
"""Stage: the state of every cell, each value with its standard deviation.

The weakest cell is that of `cell_fit`. Any other cell k is followed by its differences from it:

    v_k - v_weakest = slope (c + k u) - r S + e

where c, k and r are those of the median cell (`cell_gap`) plus the cell's own;
slope is dU/ds between the two charges, u the charge used as a fraction of the weakest cell's
capacity Q, S the voltage that resistance and diffusion cost it; c is by how much the cell was
fuller at the start, k = 1 - Q / Q_k, r its relative extra resistance, e the model's error,
correlated in time. One Kalman filter of four states per cell, constant in memory: what a flat or
uncertain curve cannot show stays uncertain. A cell as weak as the weakest is followed by its
differences from that one. The constants were chosen on virtual packs.
Volts, ohms; fractions of one inside, per cent in the result.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from dronebms.core.report import UNKNOWN_STATE, CellState, PackState
from dronebms.estimation.cell import cell_model as of
from dronebms.estimation.cell.cell_estimate import CellEstimate
from dronebms.estimation.cell.cell_model import Array, CircuitState
from dronebms.estimation.sampling import Sample

_EACH_S = 10.0 - 1e-6
_SDS = np.array([0.02, 0.05, 0.3, 0.003])  # prior of c, k, r and e (volts)
_LOWEST = np.array([-0.5, -0.6, -0.9, -0.5])
_HIGHEST = np.array([0.5, 0.6, 3.0, 0.5])
_DRIFT = 0.001  # of r, in a second: cells do not warm alike
_MISSED_S = 100.0  # correlation time of e
_MISSED_OHM = 0.1  # e as a share of the effect of r
_MISSED_CHARGE = 0.15  # e as a share of the effect of c and k
_STEP_V = 0.001  # noise of readings
_ODD_FRAC = 0.3  # share of a difference: cells are read in turn
# Width of charge over which the slope is taken, in charge and in deviations; the smallest slope.
_NEAR = 0.03
_FAR = 0.3
_SPREADS = 1.5
_MIN_SLOPE_V = 0.02
_SEEN = 25.0  # readings over which their scatter is averaged
# Added to charge, capacity, fast and slow resistance: errors of a circuit with few parts.
_CIRCUIT_SD = np.array([0.0, 0.0, 0.35, 0.35])
SD_GAUGE = 0.09  # of a charge that began with a gauge's: some are off by 15 %, the fit trusts them
WIDER = 1.2  # factor on the fit's own deviation
_ALIKE = 0.2  # share of r, as cells differ in each resistance on its own
_MIN_USED = 0.15  # charge fraction before a cell's own capacity is known
# Beyond it unknown: the charge, and shares of the capacity, the fast and the slow resistance.
_MAX_SD = np.array([[0.25], [0.3], [0.6], [0.7]])
_USUAL = 0.5  # of the median gap to the weakest cell; nearer to it a cell is as weak
# ln of capacity, and charge at the start: less is within what the filter's prior expects.
_LEAST_LOSS = 0.2
_LEAST_MORE = 0.02
_GAS_KJ = 8.314  # gas constant for a mole and kilokelvin


@dataclass(frozen=True, slots=True)
class CellStatesState:
    """Restart state of `CellStates`; matrices by row."""

    pack: PackState = UNKNOWN_STATE
    at_s: float | None = None
    x: tuple[tuple[float, ...], ...] = ()  # c, k, r, e of each cell; the last is the weakest
    covariance: tuple[tuple[tuple[float, ...], ...], ...] = ()
    misfit: tuple[float, ...] = ()  # mean squared innovation in variances


class CellStates:
    """Stage: follows the cells of one pack.

    Args:
        has_gauge_charge: whether the charge of the fit began with a gauge's.
    """

    def __init__(
        self, *, has_gauge_charge: bool, state: CellStatesState = CellStatesState()
    ) -> None:
        self._has_gauge_charge = has_gauge_charge
        self._pack = state.pack
        self._at_s = state.at_s
        self._x: Array = np.array(state.x)
        self._covariance: Array = np.array(state.covariance)
        self._misfit: Array = np.array(state.misfit)
        cells = len(state.x)
        size = len(_SDS)
        shapes = self._x.shape, self._covariance.shape, self._misfit.shape
        if cells and shapes != ((cells, size), (cells, size, size), (cells,)):
            raise ValueError("a vector or matrix has another size")

    def state(self) -> CellStatesState:
        """Restart state."""
        return CellStatesState(
            pack=self._pack,
            at_s=self._at_s,
            x=tuple(map(tuple, self._x.tolist())),
            covariance=tuple(tuple(map(tuple, each)) for each in self._covariance.tolist()),
            misfit=tuple(self._misfit.tolist()),
        )

    def with_state(self, state: CellStatesState) -> Self:
        """Return a stage that continues from a state."""
        return type(self)(has_gauge_charge=self._has_gauge_charge, state=state)

    def update(self, sample: Sample, cell: CellEstimate) -> PackState:
        """Take in a sample and the weakest cell; the result changes every ten seconds."""
        second = sample.second
        if second is None or self._since_s(second.mean.t_s) < _EACH_S:
            return self._pack
        t_s = second.mean.t_s
        now = cell.circuit(second.mean.current_a)
        # None becomes NaN; the last one is the weakest.
        volts = np.array((*sample.cells_v, None), dtype=np.float64)
        if len(volts) != len(self._x):
            self._at_s = None
            self._misfit = np.ones(len(volts))
            self._x = np.zeros((len(volts), len(_SDS)))
            self._covariance = np.tile(np.diag(_SDS**2), (len(volts), 1, 1))
            self._covariance[-1] = 0.0  # it does not differ from itself
        used = sample.used_as / now.capacity_as
        apart_v = volts - np.fmin.reduce(volts)
        usual = _usual(apart_v, used, cell)
        self._learn(self._since_s(t_s), apart_v, used, cell, now, usual)
        self._at_s = t_s
        self._pack = self._estimate(volts, used, cell, now, usual)
        return self._pack

    def _since_s(self, t_s: float) -> float:
        return math.inf if self._at_s is None else t_s - self._at_s

    def _learn(
        self,
        dt_s: float,
        apart_v: Array,
        used: float,
        cell: CellEstimate,
        now: CircuitState,
        usual: Array,
    ) -> None:
        x = self._x
        covariance = self._covariance
        missing = np.isnan(apart_v)
        apart_v[missing] = 0.0
        whole = x + usual
        slope_v, bend, lost_v = _slopes(cell, now, whole[:, 0] + used * whole[:, 1])
        resists_v = whole[:, 2] * lost_v
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
        off_v = apart_v - np.einsum("ki,ki->k", by, whole)
        off_v[missing] = 0.0
        variance[missing] = np.inf
        seen = np.where(missing, self._misfit, off_v**2 / variance)
        self._misfit += (seen - self._misfit) / _SEEN
        gain = shared / variance[:, None]
        np.clip(x + gain * off_v[:, None], _LOWEST, _HIGHEST, out=x)
        covariance -= gain[:, :, None] * shared[:, None, :]

    def _estimate(
        self, volts: Array, used: float, cell: CellEstimate, now: CircuitState, usual: Array
    ) -> PackState:
        x = self._x + usual
        fit = np.maximum(cell.variance, 0.0) * WIDER**2  # below 0 by rounding
        variance = self._covariance * np.maximum(self._misfit, 1.0)[:, None, None]
        charge = float(cell.x[of.CHARGE]) + x[:, 0] + used * x[:, 1]
        own = 1 / (1 - x[:, 1])
        ohms = 1 + x[:, 2]
        values = np.stack((np.clip(charge, 0.0, 1.0), own, ohms, ohms))
        scales = np.stack((np.ones_like(own), own, ohms, ohms))
        more = variance[:, 0, 0] + 2 * used * variance[:, 0, 1] + used * used * variance[:, 1, 1]
        resists = variance[:, 2, 2] + (_ALIKE * self._x[:, 2]) ** 2
        fitted = np.tile(fit[[of.CHARGE, of.CAPACITY, of.FAST, of.SLOW]], (len(x), 1)).T
        if cell.median is not None:
            is_usual = usual[:, 1] != 0.0
            fitted[:, is_usual] = np.array(cell.median.variances)[:, None] * WIDER**2
        fitted += _CIRCUIT_SD[:, None] ** 2
        fitted[0] += SD_GAUGE**2 * self._has_gauge_charge
        apart = np.stack((more, variance[:, 1, 1] * own**4, resists, resists))
        sds = np.sqrt(np.maximum(fitted, 0.0) * scales**2 + apart)
        unknown = sds > _MAX_SD * scales
        unknown[:, :-1] |= np.isnan(volts[:-1])
        unknown[1, :-1] |= used < _MIN_USED
        units = np.array((100.0, now.capacity_as / 3.6, now.ohms[0] + now.ohms[1], now.ohms[2]))
        table = (np.stack((values, sds)) * units[:, None]).astype(object)
        table[:, unknown] = None
        rows = table.transpose(2, 1, 0).reshape(len(x), -1).tolist()
        *cells, weakest = (CellState(*row) for row in rows)
        activation = _GAS_KJ * (cell.model.parameters.activation_kk + float(cell.x[of.ACTIVATION]))
        return PackState(weakest, activation, _GAS_KJ * math.sqrt(fit[of.ACTIVATION]), tuple(cells))


def _usual(apart_v: Array, used: float, cell: CellEstimate) -> Array:
    """c, k, r and 0 of the median cell for each cell that is not as weak as the weakest.

    All 0 unless that one lost much of its capacity, or had much less charge at the start.
    """
    usual = np.zeros((len(apart_v), len(_SDS)))
    if cell.median is None:
        return usual
    known_v = apart_v[~np.isnan(apart_v)]
    is_usual = apart_v > _USUAL * np.median(known_v)
    more, loss, growth, _ = cell.median
    capacity = 1.0 - math.exp(-loss)
    at_start = more - used * capacity
    far = max(loss / _LEAST_LOSS, abs(at_start) / _LEAST_MORE, 1.0)
    resistance = math.exp(-loss - growth) - 1.0
    usual[is_usual] = at_start, capacity, resistance, 0.0
    return usual * (1.0 - far**-4)


def _slopes(cell: CellEstimate, now: CircuitState, more: Array) -> tuple[Array, Array, float]:
    """(Slope of the curve for cells that much fuller, its relative bend there, voltage lost).

    Taken over the whole uncertainty of the charge.
    """
    short = now.depth_s / now.capacity_as * cell.slow_a
    least = max(_SPREADS * math.sqrt(max(cell.variance[of.CHARGE], 0.0)), _NEAR)
    near = np.minimum(np.maximum(abs(more) / 2, least), _FAR)
    middle = np.minimum(float(cell.x[of.CHARGE]) - short + more / 2, 1.0 - near)
    places = (np.stack((middle - near, middle, middle + near)) - of.CURVE_FROM) * of.CURVE_STEPS
    table_v = cell.table_v
    low_v, middle_v, high_v = np.interp(places, np.arange(len(table_v)), table_v)
    slope_v = np.maximum((high_v - low_v) / (2 * near), _MIN_SLOPE_V)
    bend = abs(high_v - 2 * middle_v + low_v) / (2 * near) / slope_v
    return slope_v, bend, now.sag_v + float(slope_v.mean()) * short

# SPDX-License-Identifier: Apache-2.0
"""Capacity of a pack in ampere-hours: measured from one flight, combined over its flights.

One flight: the circuit of `estimation.cell_model` is fitted to the mean cell (Levenberg-Marquardt
over all of the flight), from the open-circuit voltage at rest before the load until the last
voltage under it. Its prior is the chemistry's, with a capacity far wider than that of packs, so
that the flights of a trend stay independent. No gauge's charge is used.
All flights: their mean by weights, an error that all flights of a pack have in common, and what the
rated capacity allows. `None`: unknown, rather than wrong.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dronebms.core.chemistry import LIFEPO4, Chemistry
from dronebms.estimation.cell.cell_fit import CellFit
from dronebms.estimation.cell.cell_model import (
    CAPACITY,
    CHARGE,
    HIGHEST,
    LOWEST,
    OFFSET,
    CellModel,
    FilteredCurrent,
    inverse_temperature,
)
from dronebms.estimation.cell.fit_rows import FitSample
from dronebms.health.flight_record import FlightRecord
from dronebms.health.samples import AMPS, DEGC, T_S, USED_AH, Array, block_means

# a cell that rests so near its full voltage has been charged
_FULL_V = 0.05
_SD_FULL = 0.03
_REST_C = 0.1  # of the capacity in an hour: less is a rest, more a load
_MAX_UNCOUNTED_FRAC = 0.02  # of the time: more without a current leaves the used charge unknown
_GAP_S = 3.0
_LEAST_ROWS = 6
_MOST_ROWS = 160
_LEAST_USED_FRAC = 0.35  # of the capacity; of less the curve's error is too large a share
_MAX_SD = 0.16  # ln
# capacity over the rated one, for the fit
_MEAN_LN = -0.08
_SD_LN = 0.25
_SD_OFFSET_V = 1e-3
_OUTLIER = 4.0  # standard deviations
_MOST_MISFIT = 18.0  # half the weighted squares; a flight that the circuit does not describe
_SPREAD = 0.03  # of charge, over which the curve's slope is taken while the fit is far off
_GROWTH = 1.35
_STEPS = 3
_LAST_STEPS = 40
_DAMPING = 1e-2
_MAX_DAMPING = 1e4
_LEAST_DAMPING = 1e-6
_DAMPING_STEP = 5.0
_MAX_CHARGE = 1.02
# Error that all flights of a pack share (its curve, the gain of its current sensor), ln; change of
# a capacity from flight to flight, ln.
_SD_COMMON = 0.08
_SD_FLIGHT = 0.02
# Packs hold up to a few per cent more than their rated capacity, and usually 5 to 15 % less; used
# ones less. Mode and standard deviations to both sides, ln.
_MODE_LN = -0.08
_SD_MORE = 0.05
_SD_LESS = 0.2
_MOST_LN = math.log(1.1)  # a measurement that is further above it by its interval is none
_LATEST = 20  # flights
_GRID_LN = np.linspace(-1.6, 0.4, 2001)
_QUANTILES = 0.05, 0.5, 0.95
_Z_90 = 1.645


@dataclass(frozen=True, slots=True)
class CapacityMeasurement:
    """Capacity of the mean cell by one flight."""

    capacity_ah: float
    sd_frac: float  # of this flight, without what all flights of the pack share


@dataclass(frozen=True, slots=True)
class PackCapacity:
    """Capacity of a pack by its flights, with a 90 % interval."""

    mah: float
    low_mah: float
    high_mah: float
    rated_frac: float
    flights: int  # with a measurement


def measure_capacity(
    samples: Array, chemistry: Chemistry, rated_ah: float, cells: int
) -> CapacityMeasurement | None:
    """Measure the capacity of the mean cell.

    Args:
        samples: as of `soh_measurement.measure_soh`, from the rest before the load on.
        chemistry: of the cells.
        rated_ah: capacity of the pack.
        cells: in series.

    Returns:
        `None` with too little charge used, a start under load, gaps in the current, a flight that
        the circuit does not describe, a capacity that no pack of that rating has, or LiFePO4,
        whose curve is flat.
    """
    if chemistry is LIFEPO4 or not _is_counted(samples):
        return None
    blocks, mean_v = block_means(samples, chemistry.cutoff_cell_v * cells, cells)
    is_load = np.abs(blocks[:, AMPS]) > _REST_C * rated_ah
    first = int(is_load.argmax()) if is_load.any() else 0
    if first == 0 or len(blocks) - first < _LEAST_ROWS:
        return None
    model = CellModel(chemistry, rated_ah, rated=True)
    start = CellFit(model)
    rows = _rows(blocks, mean_v, model)
    start.heat(_known_degc(blocks[first - 1, DEGC]))
    rest_v = float(mean_v[first - 1])
    start.start(rest_v, float(blocks[first - 1, AMPS]), None)
    if rest_v > chemistry.full_cell_v - _FULL_V:
        start.x[CHARGE] = 1.0
        start.P[CHARGE, CHARGE] = _SD_FULL**2
    fit = _Fit(model, start.x, start.P, _merged(rows[first:]))
    x = fit.x
    sd = fit.sd
    used_frac = (blocks[-1, USED_AH] - blocks[0, USED_AH]) / (math.exp(x[CAPACITY]) * rated_ah)
    if (
        fit.misfit > _MOST_MISFIT
        or used_frac < _LEAST_USED_FRAC
        or sd > _MAX_SD
        or x[CAPACITY] - _Z_90 * math.hypot(sd, _SD_COMMON) > _MOST_LN
    ):
        return None
    return CapacityMeasurement(math.exp(x[CAPACITY]) * rated_ah, sd)


def pack_capacity(flights: Sequence[FlightRecord]) -> PackCapacity | None:
    """Capacity of a pack by its flights in their order; `None` without a measurement."""
    known = [
        (n, math.log(f.capacity_mah / f.rated_mah), f.capacity_sd_frac)
        for n, f in enumerate(reversed(flights))
        if f.capacity_mah and f.rated_mah and f.capacity_sd_frac
    ][:_LATEST]
    if not known:
        return None
    ages, logs, sds = np.array(known).T
    weights = 1.0 / (sds**2 + _SD_FLIGHT**2 * (1.0 + ages))
    middle = float(weights @ logs / weights.sum())
    variance = 1.0 / float(weights.sum()) + _SD_COMMON**2
    above = np.where(_GRID_LN > _MODE_LN, _SD_MORE, _SD_LESS)
    likely = (_GRID_LN - middle) ** 2 / variance + ((_GRID_LN - _MODE_LN) / above) ** 2
    share = np.exp((likely.min() - likely) / 2.0)
    summed = np.cumsum(share) - share / 2.0
    low, median, high = np.exp(np.interp(_QUANTILES, summed / share.sum(), _GRID_LN)).tolist()
    rated_mah = next(f.rated_mah for f in reversed(flights) if f.rated_mah)
    return PackCapacity(median * rated_mah, low * rated_mah, high * rated_mah, median, len(known))


def _is_counted(samples: Array) -> bool:
    """Whether the current was read nearly all of the time, so that the used charge is known."""
    if len(samples) <= 1:
        return False
    apart_s = np.diff(samples[:, T_S])
    lost_s = apart_s[(apart_s > _GAP_S) | np.isnan(samples[1:, AMPS])].sum()
    return bool(lost_s <= _MAX_UNCOUNTED_FRAC * (samples[-1, T_S] - samples[0, T_S]))


def _known_degc(degc: float) -> float | None:
    return None if math.isnan(degc) else float(degc)


def _rows(blocks: Array, mean_v: Array, model: CellModel) -> Array:
    """Rows of `FitSample`; the charge is counted from the first block on."""
    c = model.parameters
    spans_s = np.diff(blocks[:, T_S], append=blocks[-1, T_S] + 1.0)
    rows = np.empty((len(blocks), len(FitSample._fields)))
    held = FilteredCurrent()
    kelvin = 0.0
    for k, (block, span_s) in enumerate(zip(blocks, spans_s, strict=True)):
        amps = block[AMPS]
        means = []
        for held_a, tau_s in ((held.fast_a, c.fast_tau_s), (held.slow_a, c.slow_tau_s)):
            passed = 1.0 - math.exp(-span_s / tau_s)
            means.append(amps + (held_a - amps) * passed * tau_s / span_s)
        held = held.after(span_s, amps, c)
        if not math.isnan(block[DEGC]):
            kelvin = inverse_temperature(float(block[DEGC]))
        used_as = (block[USED_AH] - blocks[0, USED_AH]) * 3600.0
        rows[k] = FitSample(span_s, used_as, mean_v[k], amps, means[0], means[1], kelvin)
    return rows


def _merged(rows: Array) -> Array:
    """The rows, or means of neighbours: a long flight costs no more than a short one."""
    while len(rows) > _MOST_ROWS:
        even = rows[: len(rows) // 2 * 2]
        spans_s = even[:, 0].reshape(-1, 2)
        pairs = even.reshape(-1, 2, rows.shape[1])
        rows = np.einsum("ij,ijk->ik", spans_s / spans_s.sum(axis=1, keepdims=True), pairs)
        rows[:, 0] = spans_s.sum(axis=1)
    return rows


class _Fit:
    """The state vector of the cell by all rows.

    Attributes:
        x: state vector.
        sd: standard deviation of the ln capacity.
        misfit: half the weighted squares of the residuals and of the distance from the prior.
    """

    def __init__(self, model: CellModel, x: Array, covariance: Array, rows: Array) -> None:
        self._model = model
        self._mean = x.copy()
        self._mean[CAPACITY] = _MEAN_LN
        prior = covariance.copy()
        prior[CAPACITY, :] = prior[:, CAPACITY] = 0.0
        prior[CAPACITY, CAPACITY] = _SD_LN**2
        prior[OFFSET, OFFSET] = _SD_OFFSET_V**2
        self._information = np.linalg.inv(prior)
        self.x = self._mean.copy()
        count = _LEAST_ROWS
        # A fit to all rows at once ends in a wrong bend of the curve; it grows with the flight.
        while count < len(rows):
            count = min(int(count * _GROWTH) + 1, len(rows))
            self._improve(rows[:count], _STEPS, _SPREAD)
        information = self._improve(rows, _LAST_STEPS, 0.0)
        self.sd = math.sqrt(float(np.linalg.inv(information)[CAPACITY, CAPACITY]))

    def _improve(self, rows: Array, steps: int, spread: float) -> Array:
        """Take steps that reduce the misfit; return the information matrix."""
        damping = _DAMPING
        self.misfit, information, push = self._normal(self.x, rows, spread)
        for _ in range(steps):
            damped = information + damping * np.diag(information.diagonal())
            x = np.clip(self.x + np.linalg.solve(damped, push), LOWEST, HIGHEST)
            x[CHARGE] = min(x[CHARGE], _MAX_CHARGE)
            new = self._normal(x, rows, spread)
            if new[0] < self.misfit:
                damping = max(damping / _DAMPING_STEP, _LEAST_DAMPING)
                self.x = x
                self.misfit, information, push = new
            elif damping > _MAX_DAMPING:
                break
            else:
                damping *= _DAMPING_STEP
        return information

    def _normal(self, x: Array, rows: Array, spread: float) -> tuple[float, Array, Array]:
        """(Misfit, information matrix, gradient) at a state, with errors correlated in time."""
        c = self._model.parameters
        model_v, by, sag_v = self._model.derivatives(x, rows, spread)
        sd_v = np.hypot(c.sd_offset_v, c.sd_sag_frac * sag_v)
        off = (rows[:, 2] - model_v) / sd_v
        by = by / sd_v[:, None]
        keep = np.exp(-(rows[1:, 0] + rows[:-1, 0]) / 2.0 / c.offset_tau_s)
        new = np.sqrt(1.0 - keep**2 + (c.sd_noise_v / c.sd_offset_v) ** 2)
        off[1:] = (off[1:] - keep * off[:-1]) / new
        by[1:] = (by[1:] - keep[:, None] * by[:-1]) / new[:, None]
        squares = (off / _OUTLIER) ** 2
        trust = 1.0 / (1.0 + squares)
        away = x - self._mean
        misfit = _OUTLIER**2 * np.log1p(squares).sum() / 2.0 + away @ self._information @ away / 2.0
        push = by.T @ (trust * off) - self._information @ away
        return float(misfit), self._information + (by * trust[:, None]).T @ by, push

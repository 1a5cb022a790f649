# SPDX-License-Identifier: Apache-2.0
"""Relative capacity, resistance and differences of the cells, measured from one flight alone.

Other flights are not used: a trend needs measurements that are independent of one another.

Relative capacity: as if the pack had its chemistry's own curve, so that its error is large and
nearly the same in each flight of a pack; `capacity` has the one in ampere-hours. The mean cell is
v = U(s0 - q/Q) - R0 i - R1 w, U the chemistry's open-circuit curve, w the current filtered by the
slow polarisation; s0, Q, R0 and R1 by Gauss-Newton from all of a flight. Charge is counted between
voltages without their sag, so that current and temperature cancel. Resistance: steps of voltage
over steps of current between means of `BLOCK_S`, above `MID_FRAC` of the charge, at the pack's
temperature. Differences of a cell: its voltage less that of the mean cell, against the curve's
slope, the charge drawn and the sag.
Ah, ohm, volts, fractions; current positive while discharging. `None`: cannot be measured.
"""

from dataclasses import dataclass

import numpy as np

from dronebms.core.chemistry import LIFEPO4, Chemistry
from dronebms.health.samples import (
    AMPS,
    BLOCK_S,
    CELLS,
    DEGC,
    T_S,
    USED_AH,
    Array,
    block_means,
)

MID_FRAC = 0.3  # below it the resistance depends on the charge
_LEAST_BLOCKS = 12
_CURVE_SD_V = 0.015  # deviation of a pack's curve from the chemistry's row
_CORRELATED = 12.0  # neighbouring blocks with the same error
_SLOW_S = 20.0  # time constant of the polarisation; chosen on simulated packs that age
_ITERATIONS = 8
_SD_CHARGE = 0.1  # prior of the state of charge
_SD_CAPACITY_FRAC = 0.2  # prior of the capacity, of the rated one
_CAPACITY_FRAC = 0.4, 2.5  # of the rated one: bounds of every pack
_LEAST_USED_FRAC = 0.4  # of the charge; with less, the error of the curve dominates
_UNSURE_FRAC = 0.1  # a result with a larger standard deviation is discarded


@dataclass(frozen=True, slots=True)
class SohMeasurement:
    """Result for one flight; cells in their order, as fractions of the mean cell's."""

    relative_capacity: float | None = None  # of the rated one, to compare flights of one pack
    resistance_ohm: float | None = None  # of the mean cell after some 5 s
    resistance_degc: float | None = None  # mean temperature of its steps
    cells_resistance: tuple[float, ...] = ()  # excess of each cell
    cells_capacity: tuple[float, ...] = ()  # excess of each cell


def measure_soh(
    samples: Array, chemistry: Chemistry, rated_ah: float, cells: int
) -> SohMeasurement:
    """Measure relative capacity, resistance and the differences of the cells.

    Args:
        samples: (n, 5 + cells reported), about one per second, times growing, NaN unknown;
            `USED_AH` since the first.
        chemistry: of the open-circuit curve.
        rated_ah: start of the search for the capacity.
        cells: in series.
    """
    blocks, mean_v = block_means(samples, chemistry.cutoff_cell_v * cells, cells)
    if len(blocks) < _LEAST_BLOCKS:
        return SohMeasurement()
    fit = _Fit(blocks, mean_v, chemistry, rated_ah)
    ohm, degc = _resistance(blocks, mean_v, fit.charge)
    more: tuple[tuple[float, ...], ...] = (), ()
    if ohm is not None and blocks.shape[1] > CELLS + 1:
        more = _cells(blocks, fit, ohm)
    return SohMeasurement(None if chemistry is LIFEPO4 else fit.relative_capacity, ohm, degc, *more)


class _Fit:
    """The mean cell: its charge along the flight, the slope of the curve there, its capacity."""

    def __init__(self, blocks: Array, mean_v: Array, chemistry: Chemistry, rated_ah: float) -> None:
        grid = np.linspace(0, 1, len(chemistry.ocv_v))
        ocv_v = np.array(chemistry.ocv_v)
        slopes_v = np.diff(ocv_v) * (len(grid) - 1)
        used_ah = blocks[:, USED_AH]
        amps = blocks[:, AMPS]
        slow_a = _lagged(blocks)
        ohm = chemistry.new_cell_ohm(rated_ah)
        start = float(np.interp(mean_v[0] + amps[0] * ohm, ocv_v, grid))
        x = mean = np.array([start, 1.0 / rated_ah, ohm / 2, ohm / 2])
        sds = np.array([_SD_CHARGE, _SD_CAPACITY_FRAC / rated_ah, ohm, ohm])
        rows = np.diag(1.0 / sds)
        weight = 1.0 / (_CURVE_SD_V * np.sqrt(_CORRELATED))
        least, most = (1.0 / rated_ah / frac for frac in reversed(_CAPACITY_FRAC))
        for _ in range(_ITERATIONS):
            charge = x[0] - used_ah * x[1]
            self.slope_v = slopes_v[np.clip((charge * len(slopes_v)).astype(int), 0, len(grid) - 2)]
            # Extrapolates the ends of the table.
            beyond_v = self.slope_v * (charge - np.clip(charge, 0, 1))
            left_v = mean_v - np.interp(charge, grid, ocv_v) - beyond_v
            left_v += x[2] * amps + x[3] * slow_a
            by = np.column_stack([self.slope_v, -self.slope_v * used_ah, -amps, -slow_a])
            rows = np.vstack([by * weight, np.diag(1.0 / sds)])
            targets = np.append(left_v * weight, (mean - x) / sds)
            x = x + np.linalg.lstsq(rows, targets, rcond=None)[0]
            x[1] = np.clip(x[1], least, most)
        self.used_frac = used_ah * x[1]
        self.charge = x[0] - self.used_frac
        sd_frac = float(np.sqrt(np.linalg.inv(rows.T @ rows)[1, 1]) / x[1])
        enough = self.used_frac.max() >= _LEAST_USED_FRAC and sd_frac < _UNSURE_FRAC
        within = least < x[1] < most
        self.relative_capacity = float(1.0 / x[1] / rated_ah) if enough and within else None


def _lagged(blocks: Array) -> Array:
    """The current filtered by a first-order lag."""
    slow_a = np.empty(len(blocks))
    held_a = 0.0
    before_s = blocks[0, T_S]
    for k, (t_s, amps) in enumerate(blocks[:, [T_S, AMPS]]):
        decay = np.exp((before_s - t_s) / _SLOW_S)
        before_s = t_s
        slow_a[k] = held_a = held_a * decay + amps * (1 - decay)
    return slow_a


def _resistance(blocks: Array, mean_v: Array, charge: Array) -> tuple[float | None, float | None]:
    near = (np.diff(blocks[:, T_S]) < 2 * BLOCK_S) & (charge[1:] > MID_FRAC)
    later = blocks[1:][near]
    step_a = np.diff(blocks[:, AMPS])[near]
    step_v = np.diff(mean_v)[near]
    if len(step_a) < _LEAST_BLOCKS or not step_a.any():
        return None, None
    by = np.column_stack([step_a, later[:, AMPS]])  # the second takes the fall of the charge
    ohms = np.linalg.lstsq(by, -step_v, rcond=None)[0]
    sd_ohm = float(np.std(step_v + by @ ohms) / np.sqrt(np.sum(step_a**2)))
    if not sd_ohm < _UNSURE_FRAC * ohms[0]:
        return None, None
    known = ~np.isnan(later[:, DEGC])
    weights = step_a[known] ** 2
    degc = float(np.average(later[known, DEGC], weights=weights)) if weights.any() else None
    return float(ohms[0]), degc


def _cells(blocks: Array, fit: _Fit, ohm: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Excess resistance and capacity of each cell; empty if a cell is unknown."""
    cells_v = blocks[:, CELLS:]
    if np.isnan(cells_v).any():
        return (), ()
    apart_v = cells_v - cells_v.mean(axis=1, keepdims=True)
    by = np.column_stack([fit.slope_v * fit.used_frac, -ohm * blocks[:, AMPS], fit.slope_v])
    holds, resists, _ = np.linalg.lstsq(by, apart_v, rcond=None)[0]
    return tuple(resists.tolist()), tuple(holds.tolist())

"""How long until the weakest cell is at its cut-off, and what current it could give.

A constant-power march down the charge axis for a fixed set of samples of everything that is
doubtful, all at once; the quantiles of the outcome are the answer. Deterministic.
"""

import math
from dataclasses import dataclass

import numpy as np

from dronebms.cellfilter import EMPTY_CHARGE, EMPTY_GROWTH, SLOW_TAU_S, Array, CellFilter

_PAIRS = 15  # antithetic pairs of samples, and the middle one
_GRID = 48
_LAST = -0.04  # charge where every cell has ended: the curve's zero is not a wall
_WIDEN = 2.0  # the doubt of the filter is too small by this: its model errors are not white
_SD_CUTOFF_V = 0.015  # what the last seconds of load dips add
_LOW, _HIGH = 0.05, 0.95
_CURVE_STEPS = 20


@dataclass(frozen=True, slots=True)
class Remaining:
    """Seconds until the end: median, and bounds that are wrong one time in twenty each."""

    median_s: float
    low_s: float
    high_s: float


def _draws() -> Array:
    draws = np.random.default_rng(20260101).standard_normal((_PAIRS, 6))
    both = np.concatenate([draws, -draws])
    return np.concatenate([np.zeros((1, 6)), both / both.std(axis=0)])


_Z = _draws()
_SHARE = (np.arange(len(_Z)) + 0.5) / len(_Z)
_PROFILE = 1 - np.linspace(0.0, 1.0, _GRID) ** 1.3  # fine steps near the end of the march


def remaining(
    cell: CellFilter, cutoff_v: float, power_w: float, power_sd: float, ripple: float
) -> Remaining:
    """Return the time until the cell reaches `cutoff_v` under a load per cell.

    Args:
        cell: the weakest cell's state.
        cutoff_v: volts under load.
        power_w: mean power ahead that this cell gives.
        power_sd: relative standard deviation of that mean.
        ripple: relative standard deviation of the power within seconds.
    """
    values, vectors = np.linalg.eigh(cell.P)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    x = cell.x + _WIDEN * (_Z[:, :4] @ root.T)
    charge0 = np.clip(x[:, 0], 1e-3, 1.02)
    capacity_as = cell.capacity_as * np.exp(x[:, 2])
    watts = power_w * np.exp(power_sd * _Z[:, 4])
    cutoff = cutoff_v + _SD_CUTOFF_V * _Z[:, 5]

    charge = (charge0[:, None] - _LAST) * _PROFILE[None, :] + _LAST
    open_v = _open_circuit(cell.curve_v, charge) + x[:, 3:4]
    growth = 1 + EMPTY_GROWTH * np.exp(-np.maximum(charge, 0.0) / EMPTY_CHARGE)
    scale = np.exp(x[:, 1:2]) * cell.temperature_g * growth
    ohm = scale * (cell.fast_ohm + cell.slow_ohm)
    # v (open_v - v) / ohm = watts: the upper root, or half the voltage where there is none.
    root_v = np.sqrt(np.maximum(open_v * open_v - 4 * watts[:, None] * ohm, 0.0))
    volts = (open_v + root_v) / 2
    amps = watts[:, None] / volts
    dt = capacity_as[:, None] * (charge[:, :-1] - charge[:, 1:]) * 2 / (amps[:, 1:] + amps[:, :-1])
    time_s = np.concatenate([np.zeros((len(x), 1)), np.cumsum(dt, axis=1)], axis=1)
    unsettled_a = (amps - cell.slow_a) * np.exp(-time_s / SLOW_TAU_S)
    dips_v = 1.2 * ripple * amps * scale * cell.fast_ohm
    under_load_v = volts + scale * cell.slow_ohm * unsettled_a - dips_v
    ends_s = np.sort(_first_crossing(under_load_v, time_s, cutoff))
    low_s, median_s, high_s = np.interp((_LOW, 0.5, _HIGH), _SHARE, ends_s)
    return Remaining(float(median_s), float(low_s), float(high_s))


def _open_circuit(curve_v: Array, charge: Array) -> Array:
    place = charge * _CURVE_STEPS
    k = np.clip(place.astype(int), 0, _CURVE_STEPS - 1)
    below = np.where(place < 0, 2 * place, place - k)  # the curve falls faster past its end
    return np.asarray(curve_v[k] + (curve_v[k + 1] - curve_v[k]) * below)


def _first_crossing(volts: Array, time_s: Array, cutoff_v: Array) -> Array:
    """Return when each row first reaches its cut-off, interpolated; the last time at the latest."""
    reached = volts <= cutoff_v[:, None]
    reached[:, -1] = True
    rows = np.arange(len(volts))
    after = reached.argmax(axis=1)
    before = np.maximum(after - 1, 0)
    above, under = volts[rows, before], volts[rows, after]
    share = np.clip((above - cutoff_v) / np.maximum(above - under, 1e-6), 0.0, 1.0)
    between = time_s[rows, before] + share * (time_s[rows, after] - time_s[rows, before])
    return np.where(after == 0, 0.0, between)


def max_current(cell: CellFilter, cutoff_v: float, horizon_s: float) -> float:
    """Return the constant current in amperes that keeps the cell above `cutoff_v` for a horizon.

    With the resistance at the upper end of its doubt (one standard deviation): the answer is
    meant to be kept, not to be tried. Never negative.
    """
    charge = float(cell.x[0])
    open_v, slope_v = cell.curve(charge)
    growth = 1 + EMPTY_GROWTH * math.exp(-max(charge, 0.0) / EMPTY_CHARGE)
    scale = (
        math.exp(float(cell.x[1]) + math.sqrt(float(cell.P[1, 1]))) * cell.temperature_g * growth
    )
    settled = 1 - math.exp(-horizon_s / SLOW_TAU_S)
    left_v = (
        open_v + float(cell.x[3]) - cutoff_v - scale * cell.slow_ohm * cell.slow_a * (1 - settled)
    )
    capacity_as = cell.capacity_as * math.exp(float(cell.x[2]))
    per_amp_v = (
        scale * (cell.fast_ohm + cell.slow_ohm * settled) + slope_v * horizon_s / capacity_as
    )
    return max(left_v / per_amp_v, 0.0)

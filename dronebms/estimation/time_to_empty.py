"""How long until the weakest cell is at its cut-off, and what current it could give.

A constant-power march down the charge axis for a fixed set of samples of everything that is
doubtful, all at once. Deterministic. Seconds, watts and amperes of one cell, ampere-seconds.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dronebms.estimation.cell_fit import CellFit
from dronebms.estimation.cell_model import (
    CAPACITY,
    CHARGE,
    CURVE_FROM,
    CURVE_STEPS,
    DEPTH,
    FAST,
    KNOTS,
    OFFSET,
    SIZE,
    SLOW,
    WARMTH,
    Array,
    CircuitState,
    kelvin_of,
)

_GRID = 30
_LAST = -0.04  # charge where every cell has ended: the curve's zero is not a wall
_ROUNDS = 2  # currents depend on polarisation, and that on when they flow
_LEAST_V = 1.5
_NOMINAL_V = 3.6
_WARMER_K = (-15.0, 25.0)
_DEEPEST_LN = 2.5


@dataclass(frozen=True, slots=True)
class LoadAhead:
    """The load to come, of one cell: mean power, its relative doubt, gusts, and warming."""

    power_w: float
    power_sd: float
    ripple_frac: float
    warming_degc_s: float = 0.0


@dataclass(frozen=True, slots=True)
class EndSamples:
    """Samples of the end: seconds from now, and the charge that flows until then."""

    ends_s: Array
    charge_as: Array


def _draws() -> Array:
    """Return samples whose spread is one in every direction: orthogonal, each with its opposite."""
    # From a file: numpy.random is 3 MB of memory.
    left, _, right = np.linalg.svd(np.loadtxt(Path(__file__).with_name("draws.txt")))
    both = left @ right * math.sqrt(SIZE + 2)
    return np.concatenate([np.zeros((1, SIZE + 2)), both, -both])


_Z = _draws()
_PROFILE = 1 - np.linspace(0.0, 1.0, _GRID) ** 1.3  # fine steps near the end of the march
_ROWS = np.arange(len(_Z))


def end_samples(cell: CellFit, cutoff_v: float, ahead: LoadAhead) -> EndSamples:
    """Return samples of when the cell reaches `cutoff_v` under a load."""
    model, c = cell.model, cell.model.parameters
    x = cell.x + _Z[:, :SIZE] @ cell.root.T
    watts = (ahead.power_w * np.exp(ahead.power_sd * _Z[:, SIZE]))[:, None]
    cutoff = cutoff_v + c.sd_cutoff_v * _Z[:, SIZE + 1]
    column = x[:, :KNOTS, None]
    capacity_as = model.capacity_as * np.exp(
        np.clip(column[:, CAPACITY], -_DEEPEST_LN, _DEEPEST_LN)
    )
    start = np.minimum(np.maximum(column[:, CHARGE], 1e-3), 1.02)
    charge = (start - _LAST) * _PROFILE + _LAST
    growth = model.grown(charge)
    fast = np.exp(column[:, FAST]) * growth
    slow_ohm = np.exp(column[:, SLOW]) * growth * model.ohms[2]
    depth_s = _scale(column[:, DEPTH]) * model.depth_s
    curves_v = model.curves(x[:, KNOTS:])
    time_s = (start - charge) * capacity_as * _NOMINAL_V / watts
    amps = volts = ohm = np.zeros(0)
    for k in range(_ROUNDS):
        if k == 0:
            amps = watts / _NOMINAL_V
        warm = np.exp((c.warmth + column[:, WARMTH]) * _kelvin(cell, ahead, time_s[0]))
        slow_a = amps - (amps - cell.slow_a) * np.exp(-time_s / c.slow_tau_s)
        fast_a = amps - (amps - cell.fast_a) * np.exp(-time_s / c.fast_tau_s)
        surface = charge - depth_s / capacity_as * warm**c.depth_warmth * slow_a
        # What the circuit misses stays, and near the end it grows: going down goes on for a while.
        falls_v = min(cell.drift_v_s, 0.0) * c.drift_tau_s * (1 - np.exp(-time_s / c.drift_tau_s))
        rest_v = _along(curves_v, surface) + column[:, OFFSET] + falls_v
        rest_v -= warm * (fast * model.ohms[1] * fast_a + slow_ohm * slow_a)
        ohm = fast * warm * model.ohms[0]
        # v (rest_v - v) / ohm = watts: the upper root, or half the voltage where there is none.
        volts = (rest_v + np.sqrt(np.maximum(rest_v * rest_v - 4 * watts * ohm, 0.0))) / 2
        volts = np.maximum(volts, _LEAST_V)
        amps = watts / volts
        steps_s = capacity_as * (charge[:, :-1] - charge[:, 1:]) * 2 / (amps[:, 1:] + amps[:, :-1])
        time_s = np.concatenate([np.zeros((len(x), 1)), np.cumsum(steps_s, axis=1)], axis=1)
    under_load_v = volts - c.dips * ahead.ripple_frac * amps * ohm
    ends_s, left = _first_crossing(under_load_v, cutoff, time_s, charge)
    return EndSamples(ends_s, (start[:, 0] - left) * capacity_as[:, 0])


def _scale(logs: Array) -> Array:
    return np.asarray(np.exp(np.minimum(np.maximum(logs, -_DEEPEST_LN), _DEEPEST_LN)))


def _kelvin(cell: CellFit, ahead: LoadAhead, time_s: Array) -> Array:
    """Return the temperature along the march, as `kelvin_of`: what warms goes on for a while."""
    tau_s = cell.model.parameters.warming_tau_s
    warmer = ahead.warming_degc_s * tau_s * (1 - np.exp(-time_s / tau_s))
    steps = np.minimum(np.maximum(warmer, _WARMER_K[0]), _WARMER_K[1])
    # Linear in the temperature over these few kelvins.
    slope = kelvin_of(cell.degc + 1.0) - cell.kelvin
    return np.asarray(cell.kelvin + slope * steps)


def _along(curves_v: Array, charge: Array) -> Array:
    """Return the volts of each sample's own curve at its charges."""
    place = (charge - CURVE_FROM) * CURVE_STEPS
    place = np.minimum(np.maximum(place, 0.0), curves_v.shape[1] - 1.01)  # np.clip costs thrice
    k = place.astype(int)
    low_v = curves_v[_ROWS[:, None], k]
    return np.asarray(low_v + (curves_v[_ROWS[:, None], k + 1] - low_v) * (place - k))


def _first_crossing(volts: Array, cutoff_v: Array, *of: Array) -> list[Array]:
    """Return each of `of` where a row first reaches its cut-off, interpolated; its last at most."""
    reached = volts <= cutoff_v[:, None]
    reached[:, -1] = True
    after = reached.argmax(axis=1)
    before = np.maximum(after - 1, 0)
    above, under = volts[_ROWS, before], volts[_ROWS, after]
    share = (above - cutoff_v) / np.maximum(above - under, 1e-6)
    share = np.minimum(np.maximum(share, 0.0), 1.0)
    return [a[_ROWS, before] + share * (a[_ROWS, after] - a[_ROWS, before]) for a in of]


def max_current(cell: CellFit, now: CircuitState, cutoff_v: float, horizon_s: float) -> float:
    """Return the constant current in amperes that keeps the cell above `cutoff_v` for a horizon.

    With the resistance at the upper end of its doubt (one standard deviation): the answer is
    meant to be kept, not to be tried. Never negative.
    """
    c = cell.model.parameters
    now_ohm, fast_ohm, slow_ohm = now.ohms
    worse = math.exp(math.sqrt(max(cell.P[FAST, FAST], 0.0)))
    fast_share = 1 - math.exp(-horizon_s / c.fast_tau_s)
    slow_share = 1 - math.exp(-horizon_s / c.slow_tau_s)
    left_v = now.open_v + float(cell.x[OFFSET]) + min(max(cell.off_v), 0.0) - cutoff_v
    left_v -= worse * fast_ohm * cell.fast_a * (1 - fast_share)
    left_v -= slow_ohm * cell.slow_a * (1 - slow_share)
    per_amp_v = worse * (now_ohm + fast_ohm * fast_share) + slow_ohm * slow_share
    used_s = horizon_s + now.depth_s * slow_share
    per_amp_v += max(now.slope_v, 0.0) * used_s / now.capacity_as
    return max(float(left_v / per_amp_v), 0.0)

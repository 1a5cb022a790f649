# SPDX-License-Identifier: Apache-2.0
"""Samples of when the weakest cell reaches its cut-off, for `time_to_empty`.

A constant-power discharge is integrated along the charge axis for a fixed set of sigma points of
everything uncertain, all at once. Deterministic. Seconds, watts and amperes of one cell,
ampere-seconds.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from dronebms.estimation.cell.cell_estimate import CellEstimate
from dronebms.estimation.cell.cell_model import (
    ACTIVATION,
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
    Array,
    inverse_temperature,
)
from dronebms.estimation.load_forecast import LoadAhead

_GRID = 30
_LAST = -0.04  # charge at which every cell has ended: a little below the zero of the curve
_ROUNDS = 2  # the current depends on polarisation, and that on the time it flows
_MIN_V = 1.5
# Shares of the slower resistances that a hover of some 45 s adds.
_LANDING_FAST = 0.9
_LANDING_SLOW = 0.27
_NOMINAL_V = 3.6
_RISE_K = (-15.0, 25.0)
_DEEPEST_LN = 2.5
_PROFILE = 1 - np.linspace(0.0, 1.0, _GRID) ** 1.3  # fine steps near the end
_DRAWS = 2 * (SIZE + 2) + 1
_ROWS = np.arange(_DRAWS)


@dataclass(frozen=True, slots=True, eq=False)
class EndSamples:
    """Samples of the end of discharge."""

    ends_s: Array  # from now
    charge_as: Array  # that flows until then


# Read with the program: a package that is replaced while it runs must not fail in flight. They come
# from a file because numpy.random costs 3 MB of memory.
_DIRECTIONS = Path(__file__).with_name("sample_directions.txt").read_text("ascii")


@cache
def _sigma_points() -> Array:
    """Sigma points with unit spread in every direction: orthogonal, each with its opposite."""
    left, _, right = np.linalg.svd(np.loadtxt(_DIRECTIONS.splitlines()))
    both = left @ right * math.sqrt(SIZE + 2)
    return np.concatenate([np.zeros((1, SIZE + 2)), both, -both])


def end_samples(cell: CellEstimate, cutoff_v: float, load: LoadAhead, cells: int = 1) -> EndSamples:
    """Samples of when the cell reaches `cutoff_v` under the load of a pack of `cells` in series."""
    model = cell.model
    c = cell.model.parameters
    draws = _sigma_points()
    x = cell.x + draws[:, :SIZE] @ cell.root.T
    watts = (load.power_w / cells * np.exp(load.power_sd * draws[:, SIZE]))[:, None]
    cutoff = cutoff_v + c.sd_cutoff_v * draws[:, SIZE + 1]
    column = x[:, :KNOTS, None]
    capacity_as = model.capacity_as * _scale(column[:, CAPACITY])
    start = np.minimum(np.maximum(column[:, CHARGE], 1e-3), 1.02)
    charge = (start - _LAST) * _PROFILE + _LAST
    growth = model.empty_growth(charge)
    fast = np.exp(column[:, FAST]) * growth
    slow_ohm = np.exp(column[:, SLOW]) * growth * model.ohms[2]
    depth_s = _scale(column[:, DEPTH]) * model.depth_s
    curves_v = model.curves(x[:, KNOTS:])
    time_s = (start - charge) * capacity_as * _NOMINAL_V / watts
    amps = watts / _NOMINAL_V
    volts = ohm = factor = np.zeros(0)
    for _ in range(_ROUNDS):
        inverse_kk = _inverse_temperatures(cell, load, time_s[0])
        factor = np.exp((c.activation_kk + column[:, ACTIVATION]) * inverse_kk)
        slow_a = amps - (amps - cell.slow_a) * np.exp(-time_s / c.slow_tau_s)
        fast_a = amps - (amps - cell.fast_a) * np.exp(-time_s / c.fast_tau_s)
        surface = charge - depth_s / capacity_as * factor**c.depth_exponent * slow_a
        # The model's error persists and grows near the end: a downward drift continues a while.
        falls_v = min(cell.drift_v_s, 0.0) * c.drift_tau_s * (1 - np.exp(-time_s / c.drift_tau_s))
        rest_v = _along(curves_v, surface) + column[:, OFFSET] + falls_v
        rest_v -= factor * (fast * model.ohms[1] * fast_a + slow_ohm * slow_a)
        ohm = fast * factor * model.ohms[0]
        # v (rest_v - v) / ohm = watts: the upper root, or half the voltage where there is none.
        volts = (rest_v + np.sqrt(np.maximum(rest_v * rest_v - 4 * watts * ohm, 0.0))) / 2
        volts = np.maximum(volts, _MIN_V)
        amps = watts / volts
        steps_s = capacity_as * (charge[:, :-1] - charge[:, 1:]) * 2 / (amps[:, 1:] + amps[:, :-1])
        time_s = np.concatenate([np.zeros((len(x), 1)), np.cumsum(steps_s, axis=1)], axis=1)
    if load.landing_w is not None:
        # The flight ends where the landing is no longer possible.
        step_a = np.maximum(load.landing_w / cells / volts - amps, 0.0)
        fast_ohm = model.ohms[0] + _LANDING_FAST * model.ohms[1]
        volts = volts - factor * (fast * fast_ohm + _LANDING_SLOW * slow_ohm) * step_a
    under_load_v = volts - c.dip_factor * load.ripple_frac * amps * ohm
    ends_s, left = _first_crossing(under_load_v, cutoff, time_s, charge)
    return EndSamples(ends_s, (start[:, 0] - left) * capacity_as[:, 0])


def _scale(logs: Array) -> Array:
    # np.clip takes three times as long.
    return np.asarray(np.exp(np.minimum(np.maximum(logs, -_DEEPEST_LN), _DEEPEST_LN)))


def _inverse_temperatures(cell: CellEstimate, load: LoadAhead, time_s: Array) -> Array:
    """`inverse_temperature` along the discharge: the rise continues for a while."""
    tau_s = cell.model.parameters.rise_tau_s
    rise_k = load.rise_degc_s * tau_s * (1 - np.exp(-time_s / tau_s))
    steps = np.minimum(np.maximum(rise_k, _RISE_K[0]), _RISE_K[1])
    # Linear in the temperature over these few kelvins.
    slope = inverse_temperature(cell.degc + 1.0) - cell.inverse_kk
    return np.asarray(cell.inverse_kk + slope * steps)


def _along(curves_v: Array, charge: Array) -> Array:
    """Volts of each sample's own curve at its charges."""
    place = (charge - CURVE_FROM) * CURVE_STEPS
    place = np.minimum(np.maximum(place, 0.0), curves_v.shape[1] - 1.01)
    k = place.astype(int)
    low_v = curves_v[_ROWS[:, None], k]
    return np.asarray(low_v + (curves_v[_ROWS[:, None], k + 1] - low_v) * (place - k))


def _first_crossing(volts: Array, cutoff_v: Array, *of: Array) -> list[Array]:
    """Each of `of` where a row first reaches its cut-off, interpolated; at most its last."""
    reached = volts <= cutoff_v[:, None]
    reached[:, -1] = True
    after = reached.argmax(axis=1)
    before = np.maximum(after - 1, 0)
    above = volts[_ROWS, before]
    under = volts[_ROWS, after]
    share = (above - cutoff_v) / np.maximum(above - under, 1e-6)
    share = np.minimum(np.maximum(share, 0.0), 1.0)
    return [a[_ROWS, before] + share * (a[_ROWS, after] - a[_ROWS, before]) for a in of]

# SPDX-License-Identifier: Apache-2.0
"""Ageing of a pack over its flights: trends, change points, flights until worn out, weak cells.

Flights of one pack in their order. Capacity and resistance are converted to 25 degC by the pack's
own temperature dependence (fitted from a prior), and are fractions of the median of the first
flights. Slopes: Theil-Sen with Sen's interval (P. K. Sen, J. Am. Stat. Assoc. 63, 1968). Change
point: two lines against one, the largest F of all places (Andrews, Econometrica 61, 1993; critical
value 71, 2003), reduced by the autocorrelation of the residuals, and only for the worse. Cells:
one-sided CUSUM (Page, Biometrika 41, 1954). Worn out: 80 % of the capacity or twice the resistance.
Losses grow with use or with its square root: a forecast spans both, and the error of a measurement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, inf, isinf, log, sqrt
from statistics import median

import numpy as np

from dronebms.health.flight_record import FlightRecord
from dronebms.health.samples import Array

LEAST_FLIGHTS = 6  # with a measurement, for a trend
_FIRST = 5  # flights whose median is the reference
_LAST = 3  # flights whose median is a cell's present state
_LATEST = 120  # flights of a trend: the pairs grow with the square
_Z_90 = 1.645
_F_1PCT = 7.78  # sup-F of two parameters, 15 % trimmed: 15.56 / 2
_SEASONS = 2.0  # margin on F: seasons that the temperature term does not remove look like a change
_TRIMMED = 0.15
_LEAST_SIDE = 5
_ENDS = {"capacity": (-0.2, 0.04), "resistance": (1.0, 0.2)}  # loss when worn out, and its error
# ln per kilokelvin of 1000/T: prior, its sd, scatter of a flight. Resistance after 5 s of our own
# cells: 0.3 (LiPo), 1.05 (Li-ion) and 1.65 (LiFePO4); published NMC and LFP cells: 2.6.
_TEMPERATURE = {"capacity": (0.0, 0.3, 0.03), "resistance": (1.5, 1.0, 0.05)}
_REFERENCE_DEGC = 25.0
_ZERO_K = 273.15
_LEAST_CHANGED = 20  # flights for a change point
_DAY_S = 86_400.0
_POWERS = 1.0, 0.5  # of use, by which losses grow
_CUSUM_SLACK = 1.0  # standard deviations
_CUSUM_END = 8.0
# Cell against the mean of all: least scatter; change that makes a cell weak; difference that makes
# it weak from the first flight on.
_CELL = {"resistance": (0.01, 0.08, 0.40), "capacity": (0.003, 0.015, 0.06)}


@dataclass(frozen=True, slots=True)
class Trend:
    """Trend of one quantity, in fractions of its median over the first flights."""

    now: float
    per_flight: float
    low: float  # of per_flight, 5 % and 95 %
    high: float
    changed: int | None  # number of the flight, from 1, at the change point


@dataclass(frozen=True, slots=True)
class WeakCell:
    """A cell that ages faster than the others."""

    cell: int  # from 1
    what: str  # "resistance" or "capacity"
    by: float  # more resistance, or less capacity, than the mean cell
    since: int  # number of the flight at which it was detected


@dataclass(frozen=True, slots=True)
class AgeingForecast:
    """Trends of a pack, its weak cell, and the flights until it is worn out."""

    capacity: Trend | None
    resistance: Trend | None
    weak: WeakCell | None
    left: tuple[float | None, ...]  # flights until worn out: 5 %, median, 95 %; None: never
    days_per_flight: float | None
    is_ordered: bool = True  # whether the order of the flights is known


def forecast_ageing(flights: Sequence[FlightRecord], *, is_ordered: bool = True) -> AgeingForecast:
    """Forecast from the flights of one pack, in their order; `left` is empty when unknown.

    Every pack loses capacity, so a resistance without a measured capacity gives no forecast. Nor do
    flights whose order is unknown.
    """
    if not is_ordered:
        return AgeingForecast(None, None, None, (), None, is_ordered=False)
    cycles = next((f.gauge_cycles for f in flights if f.gauge_cycles is not None), 0.0)
    capacity = _trend("capacity", [(f.relative_capacity, f.mean_degc) for f in flights], cycles)
    ohms = [(f.resistance_mohm, f.resistance_degc) for f in flights]
    resistance = _trend("resistance", ohms, cycles)
    lefts = [found[1] for found in (capacity, resistance) if found is not None and capacity]
    soonest = (min(ends) for ends in zip(*lefts, strict=True))
    return AgeingForecast(
        capacity and capacity[0],
        resistance and resistance[0],
        weak_cell(flights),
        tuple(None if isinf(end) else end for end in soonest),
        _days_per_flight(flights),
    )


def _days_per_flight(flights: Sequence[FlightRecord]) -> float | None:
    """Mean days from one flight to the next; `None` without two dates in their order."""
    dated = [(n, f.started_unix_s) for n, f in enumerate(flights) if f.started_unix_s is not None]
    if not dated:
        return None
    (first, first_s) = dated[0]
    (last, last_s) = dated[-1]
    return (last_s - first_s) / _DAY_S / (last - first) if last_s > first_s else None


def _trend(
    quantity: str, pairs: Sequence[tuple[float | None, float | None]], cycles: float
) -> tuple[Trend, tuple[float, ...]] | None:
    """Trend and flights left; `None` with too few flights. `pairs` are (value, degC)."""
    known = [(n, log(v), t) for n, (v, t) in enumerate(pairs, 1) if v is not None and v > 0]
    if len(known) < LEAST_FLIGHTS:
        return None
    number = np.array([n for n, _, _ in known], float)
    y = np.array([v for _, v, _ in known])
    y = np.exp(y - _temperature_term(quantity, number, y, [t for _, _, t in known]))
    y = (y / np.median(y[:_FIRST]) - 1.0)[-_LATEST:]
    number = number[-_LATEST:]
    at = _change_point(number, y * np.sign(_ENDS[quantity][0]))
    x = number[at:]
    y = y[at:]
    slope, low, high = theil_sen(x, y)
    now = 1.0 + float(np.median(y - slope * x) + slope * x[-1])
    left = _flights_left(x, y, cycles, _ENDS[quantity])
    return Trend(now, slope, low, high, int(x[0]) if at else None), left


def theil_sen(x: Array, y: Array) -> tuple[float, float, float]:
    """Median slope of all pairs, and its 5 % and 95 % bounds; x grows."""
    i, j = np.triu_indices(len(x), 1)
    slopes = np.sort((y[j] - y[i]) / (x[j] - x[i]))
    n = len(x)
    last = len(slopes) - 1
    half = _Z_90 * sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = int((len(slopes) - half) / 2)
    high = ceil((len(slopes) + half) / 2)
    return float(np.median(slopes)), float(slopes[max(low, 0)]), float(slopes[min(high, last)])


def _temperature_term(
    quantity: str, number: Array, y: Array, degcs: Sequence[float | None]
) -> Array:
    """Part of each ln value that is due to temperature: least squares with a loss and its root."""
    degc = np.array([_REFERENCE_DEGC if t is None else t for t in degcs])
    kilokelvin = 1e3 / (degc + _ZERO_K) - 1e3 / (_REFERENCE_DEGC + _ZERO_K)
    prior, sd, scatter = _TEMPERATURE[quantity]
    by = np.column_stack([kilokelvin, np.ones_like(y), number, np.sqrt(number)]) / scatter
    rows = np.vstack([by, [1 / sd, 0, 0, 0]])
    targets = np.append(y / scatter, prior / sd)
    return np.asarray(np.linalg.lstsq(rows, targets, rcond=None)[0][0] * kilokelvin)


def _change_point(x: Array, loss: Array) -> int:
    """Index from which the loss grows faster; 0 if there is no change."""
    n = len(x)
    side = max(int(_TRIMMED * len(x)), _LEAST_SIDE)
    if n < _LEAST_CHANGED:
        return 0
    places = range(side, n - side + 1)
    lines = [(_residuals(x[:k], loss[:k]), _residuals(x[k:], loss[k:])) for k in places]
    residuals = [np.append(*pair) for pair in lines]
    two, k = min(zip((float(left @ left) for left in residuals), places, strict=True))
    left = residuals[k - side]
    one = _residuals(x, loss)
    correlation = min(max(float(left[1:] @ left[:-1]) / two, 0.0), 0.9)
    f = (float(one @ one) - two) / 2 / two * (n - 4) * (1 - correlation) / (1 + correlation)
    faster = np.polyfit(x[k:], loss[k:], 1)[0] > max(np.polyfit(x[:k], loss[:k], 1)[0], 0.0)
    return k if f > _SEASONS * _F_1PCT and faster else 0


def _residuals(x: Array, y: Array) -> Array:
    """Residuals of the least-squares line."""
    x = x - x.mean()
    y = y - y.mean()
    return np.asarray(y - x * (x @ y) / (x @ x))


def _flights_left(
    x: Array, y: Array, cycles: float, ends: tuple[float, float]
) -> tuple[float, ...]:
    """Flights until the loss reaches its end: 5 %, median, 95 %."""
    end, margin = ends
    found: list[float] = []
    fits: list[tuple[float, float]] = []
    for power in _POWERS:
        use = (x + cycles) ** power
        slope, *bounds = theil_sen(use, y)
        middle = float(np.median(use))
        level = float(np.median(y - slope * (use - middle)))
        for rate, off in ((slope, 0.0), *product(bounds, (-margin, margin))):
            ahead = middle + (end + off - level) / rate if rate * end > 0 else inf
            found.append(float(max(max(ahead, 0.0) ** (1 / power) - cycles - x[-1], 0.0)))
        off_line = np.abs(y - level - slope * (use - middle))
        fits.append((float(off_line.sum()), found[-1 - 2 * len(bounds)]))
    return min(found), min(fits)[1], max(found)  # the median is that of the better fit


def weak_cell(flights: Sequence[FlightRecord]) -> WeakCell | None:
    """The cell that ages most in excess of the others, `None` if there is none."""
    found: list[tuple[float, WeakCell]] = []
    for quantity, sign in (("resistance", 1.0), ("capacity", -1.0)):
        lists = [(n, getattr(f, f"cells_{quantity}")) for n, f in enumerate(flights, 1)]
        width = max((len(values) for _, values in lists), default=0)
        for cell in range(width):
            known = [(n, sign * v[cell]) for n, v in lists if len(v) == width]
            change = _cell_change(quantity, known)
            if change is not None:
                found.append(
                    (change[0] / _CELL[quantity][1], WeakCell(cell + 1, quantity, *change))
                )
    return max(found, default=(0.0, None), key=lambda pair: pair[0])[1]


def _cell_change(quantity: str, known: Sequence[tuple[int, float]]) -> tuple[float, int] | None:
    """Difference of a weak cell from the mean, and the flight of its detection; else `None`."""
    least, grown, weak = _CELL[quantity]
    values = [value for _, value in known]
    first = median(values[:_FIRST])
    scatter = 1.5 * median(abs(value - first) for value in values[: 2 * _FIRST])
    total = 0.0
    by = 0.0
    since = None
    for k, (number, value) in enumerate(known):
        total = max(total + (value - first) / max(scatter, least) - _CUSUM_SLACK, 0.0)
        by = median(values[max(k + 1 - _LAST, 0) : k + 1])
        detected = (total > _CUSUM_END and by - first >= grown) or by >= weak
        since = (since or number) if detected and k + 1 >= _LAST else None
    return None if since is None else (by, since)

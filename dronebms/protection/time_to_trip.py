# SPDX-License-Identifier: Apache-2.0
"""Time to trip of each limit at the present load, and the limit that binds next.

Computed once a second and counted down in between. Windows of the current and the thermal load are
solved exactly, remaining times run down by themselves, other quantities follow a trend of 20 s.
Where the estimator has an answer, no trend contradicts it: the cut-off comes no sooner than the 5 %
bound of the time left, a value on the way to it no sooner than in proportion, and the way home is
marginal when the estimate has it.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Severity
from dronebms.protection.current_history import WINDOWS_S, CurrentHistory
from dronebms.protection.limits import Limit
from dronebms.protection.quantities import HEAT_TAU_S
from dronebms.protection.quantity_values import QuantityName, Values, number

_TREND_TAU_S = 20.0
_FAR_S = 3600.0  # a limit further away than this binds nothing
_PERIOD_S = 1.0 - 1e-6
_POINTS = 20
_RUN_DOWN: tuple[QuantityName, ...] = (
    "remaining_s",
    "remaining_low_s",
    "remaining_high_s",
    "turn_back_in_s",
)
_WITHOUT_TREND: tuple[QuantityName, ...] = (
    "silence_s",
    "blind_s",
    "doubts",
    "mismatches",
    "alternates",
    "mission_risk",
)
_HOME: tuple[QuantityName, ...] = ("home_reserve_s", "home_margin_s", "home_best_s")
_LEAST = 1e-9
Remaining = Mapping[str, float]  # rest of the hold times, by limit
# Under load, the nearest of these is named if no trend leads to a limit.
_OF_LOAD: frozenset[QuantityName] = frozenset((*WINDOWS_S, "heat_a"))
_BY_LOAD = _OF_LOAD.union(("lowest_cell_v", "resting_cell_v", "voltage_v", "soc_pct"))


@dataclass(frozen=True, slots=True)
class TrendState:
    """Smoothed value of a quantity and its rate of change."""

    t_s: float
    value: float
    per_s: float = 0.0

    def after(self, now_s: float, value: float) -> "TrendState":
        """State after a later value."""
        dt_s = now_s - self.t_s
        share = dt_s / (_TREND_TAU_S + dt_s)
        step = share * (value - self.value)
        per_s = self.per_s + share * (step / dt_s - self.per_s)
        return TrendState(now_s, self.value + step, per_s)


@dataclass(frozen=True, slots=True)
class TimeToTripState:
    """Result of the last computation, and the trends behind it."""

    computed_s: float | None = None
    trends: dict[str, TrendState] = field(default_factory=dict)  # by quantity
    binding_in_s: dict[str, float] = field(default_factory=dict)  # by limit, from a warning on
    nearest: str | None = None  # the limit named where no trend leads to one
    trips_in_s: dict[str, float] = field(default_factory=dict)  # by limit


@dataclass(frozen=True, slots=True)
class NextTrip:
    """The limit that trips next, and in how many seconds; `None` is unknown."""

    limit_id: str | None
    in_s: float | None
    trips_in_s: Mapping[str, float]  # every limit on its way


class TimeToTrip:
    """Time to trip of every limit of a table.

    Args:
        limits: the table.
        pack_data: of the pack, for the values that its cut-off gives.
        state: of an earlier run, to continue from.
    """

    def __init__(
        self,
        limits: Iterable[Limit],
        pack_data: PackData,
        state: TimeToTripState = TimeToTripState(),
    ) -> None:
        cut_v = pack_data.cutoff_v
        # What a quantity has at the end of discharge, or less.
        self._ends: dict[QuantityName, float] = {
            "lowest_cell_v": cut_v,
            "resting_cell_v": cut_v,
            "voltage_v": cut_v * (pack_data.cells or 1),
            "soc_pct": 0.0,
        }
        rows = tuple(limits)
        self._names = tuple(dict.fromkeys(row.quantity for row in rows))
        self._rows = tuple([row for row in rows if row.quantity not in _WITHOUT_TREND])
        self._state = state

    def state(self) -> TimeToTripState:
        """State for a restart."""
        return self._state

    def update(
        self,
        values: Values,
        history: CurrentHistory,
        estimate: Estimate,
        now_s: float,
        holding: Remaining,
    ) -> NextTrip:
        """Compute once a second, count down in between.

        Args:
            values: the quantities now.
            history: the currents of the last minute.
            estimate: bounds the trends, from the first seconds of load on.
            now_s: the loop's time.
            holding: limits that are exceeded already, and the rest of their hold times.
        """
        computed_s = self._state.computed_s
        if computed_s is None or now_s - computed_s >= _PERIOD_S:
            self._state = self._computed(values, history, estimate, now_s)
            computed_s = now_s
        state = self._state
        since_s = now_s - computed_s
        rows = {key: max(in_s - since_s, 0.0) for key, in_s in state.binding_in_s.items()}
        rows |= holding
        first = min(rows, key=rows.__getitem__, default=None)
        if first is None or rows[first] > _FAR_S:
            return NextTrip(state.nearest, None, state.trips_in_s)
        return NextTrip(first, rows[first], state.trips_in_s)

    def _computed(
        self, values: Values, history: CurrentHistory, estimate: Estimate, now_s: float
    ) -> TimeToTripState:
        trends = dict(self._state.trends)
        numbers = {name: number(values.get(name)) for name in self._names}
        for name, value in numbers.items():
            if value is not None:
                trend = trends.get(name)
                trends[name] = (
                    TrendState(now_s, value) if trend is None else trend.after(now_s, value)
                )
        trips_in_s: dict[str, float] = {}
        binding_in_s: dict[str, float] = {}
        nearest = None
        least_share = math.inf
        load_a = number(values.get("loaded_a"))
        loaded = load_a is not None and load_a > 0.0
        for row in self._rows:
            value = numbers[row.quantity]
            if value is None or row.beyond(value):
                continue
            if row.quantity in _OF_LOAD:
                in_s = _load_in_s(row, value, load_a, history, now_s)
            else:
                per_s = -1.0 if row.quantity in _RUN_DOWN else trends[row.quantity].per_s
                gap = row.trip - value
                in_s = gap / per_s + row.hold_s if per_s != 0 and gap / per_s > 0 else None
                in_s = self._bounded(in_s, row, value, estimate)
            binds = row.severity >= Severity.WARNING
            if in_s is not None and in_s < _FAR_S:
                trips_in_s[row.limit_id] = in_s
                if binds:
                    binding_in_s[row.limit_id] = in_s
            if binds and loaded and row.quantity in _BY_LOAD:
                share = abs(row.trip - value) / max(abs(row.trip), _LEAST)
                if share < least_share:
                    nearest = row.limit_id
                    least_share = share
        return TimeToTripState(now_s, trends, binding_in_s, nearest, trips_in_s)

    def _bounded(
        self, in_s: float | None, row: Limit, value: float, estimate: Estimate
    ) -> float | None:
        """Time to trip by a trend, no sooner than the estimate has it; `None` if it has none."""
        if row.quantity in _HOME:  # the estimate knows when the 5 % bound ends, the first of them
            home_s = estimate.turn_back_in_s
            if row.quantity == "home_reserve_s":
                return None if home_s is None else home_s + row.hold_s
            return None if home_s is None or in_s is None else max(in_s, home_s + row.hold_s)
        low_s = estimate.remaining_low_s
        end = self._ends.get(row.quantity)
        if in_s is None or low_s is None or end is None or row.rising:
            return in_s
        return max(in_s, low_s * min((value - row.trip) / max(value - end, _LEAST), 1.0))


def _load_in_s(
    row: Limit, value: float, load_a: float | None, history: CurrentHistory, now_s: float
) -> float | None:
    """Time to trip of a window or of the thermal load at a constant load, `None` if never."""
    if load_a is None or load_a <= row.trip:
        return None
    if row.quantity in WINDOWS_S:
        return _window_s(history, now_s, WINDOWS_S[row.quantity], load_a, row.trip)
    ratio = (load_a**2 - value**2) / (load_a**2 - row.trip**2)
    return HEAT_TAU_S * math.log(ratio)


def _window_s(
    history: CurrentHistory, now_s: float, span_s: float, load_a: float, trip_a: float
) -> float:
    """Seconds until the mean of a window reaches `trip_a` at a constant, larger `load_a`."""
    stride_s = span_s / _POINTS
    before_a = history.drawn_as(now_s - span_s) / span_s
    ahead_s = 0.0
    mean_a = before_a
    while mean_a < trip_a:  # at the end of the window the mean is the load
        before_a = mean_a
        ahead_s += stride_s
        mean_a = (history.drawn_as(now_s - span_s + ahead_s) + load_a * ahead_s) / span_s
    return max(ahead_s - stride_s * (mean_a - trip_a) / max(mean_a - before_a, _LEAST), 0.0)

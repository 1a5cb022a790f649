"""Time to trip of each limit at the present load, and the limit that binds next.

Computed once a second and counted down in between. Windows of the current and the thermal load are
solved exactly, remaining times run down by themselves, other quantities follow a trend of 20 s.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dronebms.core.report import Severity
from dronebms.protection.limits import Limit
from dronebms.protection.quantities import (
    HEAT_TAU_S,
    NOT_APPLICABLE,
    WINDOWS_S,
    CurrentHistory,
    Values,
    number,
)

_TREND_TAU_S = 20.0
_FAR_S = 3600.0  # a limit further away than this binds nothing
_PERIOD_S = 1.0 - 1e-6
_POINTS = 20
_RUN_DOWN = ("remaining_s", "remaining_low_s", "remaining_high_s", "turn_back_in_s")
_WITHOUT_TREND = ("silence_s", "blind_s", "doubts", "mismatches")
_LEAST = 1e-9
Remaining = Mapping[str, float]  # rest of the hold times, by limit
# Under load, the nearest of these is named if no trend leads to a limit.
_BY_LOAD = (*WINDOWS_S, "heat_a", "lowest_cell_v", "resting_cell_v", "voltage_v", "soc_pct")


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
        state: of an earlier run, to continue from.
    """

    def __init__(self, limits: Iterable[Limit], state: TimeToTripState = TimeToTripState()) -> None:
        self._rows = tuple(limits)
        self._names = {row.quantity for row in self._rows}
        self._computed_s = state.computed_s
        self._trends = dict(state.trends)
        self._binding_in_s = dict(state.binding_in_s)
        self._nearest = state.nearest
        self._trips_in_s = dict(state.trips_in_s)

    def state(self) -> TimeToTripState:
        """State for a restart."""
        return TimeToTripState(
            self._computed_s,
            dict(self._trends),
            dict(self._binding_in_s),
            self._nearest,
            dict(self._trips_in_s),
        )

    def update(
        self, values: Values, history: CurrentHistory, now_s: float, holding: Remaining
    ) -> NextTrip:
        """Compute once a second, count down in between.

        Args:
            values: the quantities now.
            history: the currents of the last minute.
            now_s: the loop's time.
            holding: limits that are exceeded already, and the rest of their hold times.
        """
        if self._computed_s is None or now_s - self._computed_s >= _PERIOD_S:
            self._compute(values, history, now_s)
            self._computed_s = now_s
        since_s = now_s - self._computed_s
        rows = {key: max(in_s - since_s, 0.0) for key, in_s in self._binding_in_s.items()}
        rows |= holding
        first = min(rows, key=lambda key: rows[key], default=None)
        if first is None or rows[first] > _FAR_S:
            return NextTrip(self._nearest, None, self._trips_in_s)
        return NextTrip(first, rows[first], self._trips_in_s)

    def _compute(self, values: Values, history: CurrentHistory, now_s: float) -> None:
        for name in self._names:
            value = values.get(name)
            if value is not None and value is not NOT_APPLICABLE:
                trend = self._trends.get(name)
                self._trends[name] = (
                    TrendState(now_s, value) if trend is None else trend.after(now_s, value)
                )
        self._trips_in_s = {}
        self._binding_in_s = {}
        self._nearest = None
        nearest = math.inf
        loaded = (number(values.get("loaded_a")) or 0.0) > 0.0
        for row in self._rows:
            value = values.get(row.quantity)
            if value is None or value is NOT_APPLICABLE:
                continue
            if row.quantity in _WITHOUT_TREND or row.beyond(value):
                continue
            in_s = self._in_s(row, value, values, history, now_s)
            if in_s is not None and in_s < _FAR_S:
                self._trips_in_s[row.limit_id] = in_s
            if row.severity < Severity.WARNING:
                continue
            if row.limit_id in self._trips_in_s:
                self._binding_in_s[row.limit_id] = in_s or 0.0
            share = abs(row.trip - value) / max(abs(row.trip), _LEAST)
            if loaded and row.quantity in _BY_LOAD and share < nearest:
                nearest, self._nearest = share, row.limit_id

    def _in_s(
        self, row: Limit, value: float, values: Values, history: CurrentHistory, now_s: float
    ) -> float | None:
        gap = row.trip - value
        load_a = number(values.get("loaded_a"))
        if row.quantity in (*WINDOWS_S, "heat_a"):
            if load_a is None or load_a <= row.trip:
                return None
            if row.quantity in WINDOWS_S:
                return _window_s(history, now_s, WINDOWS_S[row.quantity], load_a, row.trip)
            ratio = (load_a**2 - value**2) / (load_a**2 - row.trip**2)
            return HEAT_TAU_S * math.log(ratio)
        per_s = -1.0 if row.quantity in _RUN_DOWN else self._trends[row.quantity].per_s
        return gap / per_s + row.hold_s if per_s != 0 and gap / per_s > 0 else None


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

"""Seconds until each limit trips at the present load, and which binds next.

Worked out once a second and counted down in between. Currents and their heat are solved exactly,
times that are left run down by themselves, everything else follows its trend of some 20 s.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dronebms.core.report import Severity
from dronebms.protection.limits import Limit
from dronebms.protection.quantities import HEAT_TAU_S, WINDOWS_S, Drawn, Values

_TREND_TAU_S = 20.0
_FAR_S = 3600.0  # a limit further away than this binds nothing
_PERIOD_S = 1.0 - 1e-6
_POINTS = 20
_RUN_DOWN = ("remaining_s", "remaining_low_s", "remaining_high_s", "turn_back_in_s")
_UNSEEN = ("silence_s", "blind_s", "doubts", "mismatches")  # come without a warning
_LEAST = 1e-9
Rests = Mapping[str, float]  # of hold times, by row
# While there is a load, the nearest of these is named where no trend names one.
_BY_LOAD = (*WINDOWS_S, "heat_a", "lowest_cell_v", "resting_cell_v", "voltage_v", "soc_pct")


@dataclass(slots=True)
class _Trend:
    """How fast a quantity moves, smoothed."""

    last: tuple[float, float] | None = None  # when, the smoothed value
    per_s: float = 0.0

    def update(self, now_s: float, value: float) -> None:
        """Take in a value."""
        if self.last is None:
            self.last = now_s, value
            return
        last_s, smooth = self.last
        dt_s = now_s - last_s
        share = dt_s / (_TREND_TAU_S + dt_s)
        step = share * (value - smooth)
        self.per_s += share * (step / dt_s - self.per_s)
        self.last = now_s, smooth + step


@dataclass(frozen=True, slots=True)
class Ahead:
    """What comes next, and when; None: not known when."""

    first: tuple[str | None, float | None] = (None, None)
    trips_in_s: Mapping[str, float] = field(default_factory=dict)


class TimeToTrip:
    """One table's look ahead."""

    def __init__(self, limits: Iterable[Limit]) -> None:
        self._rows = tuple(limits)
        self._names = {row.quantity for row in self._rows}
        self._trends: dict[str, _Trend] = {}
        self._at_s: float | None = None
        self._binding: dict[str, float] = {}
        self._nearest: str | None = None
        self._trips_in_s: dict[str, float] = {}

    def update(self, values: Values, drawn: Drawn, now_s: float, holding: Rests) -> Ahead:
        """Return what comes next.

        Args:
            values: the quantities now.
            drawn: the currents of the last minute.
            now_s: the loop's time.
            holding: rows that are beyond already, and the rest of their hold times.
        """
        if self._at_s is None or now_s - self._at_s >= _PERIOD_S:
            self._look(values, drawn, now_s)
            self._at_s = now_s
        since_s = now_s - self._at_s
        rows = {key: max(in_s - since_s, 0.0) for key, in_s in self._binding.items()}
        rows |= holding
        first = min(rows, key=lambda key: rows[key], default=None)
        if first is None or rows[first] > _FAR_S:
            return Ahead((self._nearest, None), self._trips_in_s)
        return Ahead((first, rows[first]), self._trips_in_s)

    def _look(self, values: Values, drawn: Drawn, now_s: float) -> None:
        for what in self._names:
            value = values.get(what)
            if value is not None and not math.isnan(value):
                self._trends.setdefault(what, _Trend()).update(now_s, value)
        self._trips_in_s, self._binding, self._nearest = {}, {}, None
        nearest, loaded = math.inf, (values.get("loaded_a") or 0.0) > 0.0
        for row in self._rows:
            value = values.get(row.quantity)
            if value is None or math.isnan(value) or row.quantity in _UNSEEN or row.beyond(value):
                continue
            in_s = self._in_s(row, value, values, drawn, now_s)
            if in_s is not None and in_s < _FAR_S:
                self._trips_in_s[row.limit_id] = in_s
            if row.severity < Severity.WARNING:
                continue
            if row.limit_id in self._trips_in_s:
                self._binding[row.limit_id] = in_s or 0.0
            share = abs(row.trip - value) / max(abs(row.trip), _LEAST)
            if loaded and row.quantity in _BY_LOAD and share < nearest:
                nearest, self._nearest = share, row.limit_id

    def _in_s(
        self, row: Limit, value: float, values: Values, drawn: Drawn, now_s: float
    ) -> float | None:
        gap, load_a = row.trip - value, values.get("loaded_a")
        if row.quantity in (*WINDOWS_S, "heat_a"):
            if load_a is None or not load_a > row.trip:
                return None
            if row.quantity in WINDOWS_S:
                return _window_s(drawn, now_s, WINDOWS_S[row.quantity], load_a, row.trip)
            ratio = (load_a**2 - value**2) / (load_a**2 - row.trip**2)
            return HEAT_TAU_S * math.log(ratio)
        per_s = -1.0 if row.quantity in _RUN_DOWN else self._trends[row.quantity].per_s
        return gap / per_s + row.hold_s if per_s != 0 and gap / per_s > 0 else None


def _window_s(drawn: Drawn, now_s: float, span_s: float, load_a: float, trip_a: float) -> float:
    """Return when the mean of a window reaches a limit if one current, beyond it, goes on."""
    stride_s, before_a = span_s / _POINTS, drawn.since(now_s - span_s) / span_s
    ahead_s, mean_a = 0.0, before_a
    while mean_a < trip_a:  # at the end of the window the mean is the load
        before_a, ahead_s = mean_a, ahead_s + stride_s
        mean_a = (drawn.since(now_s - span_s + ahead_s) + load_a * ahead_s) / span_s
    return max(ahead_s - stride_s * (mean_a - trip_a) / max(mean_a - before_a, _LEAST), 0.0)

"""Judges a pack against its limits: what holds now, what has changed, what binds next.

It judges and does not act. Each row has its own hold and clear times; a value that is unknown
neither trips nor clears: silence is a row of its own.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from dronebms.estimator import Estimate
from dronebms.limits import Limit, Severity
from smartbattery.snapshot import Snapshot

__all__ = ["Event", "Judge", "Severity", "Status"]

_WINDOWS_S = {"current_2s_a": 2.0, "current_10s_a": 10.0, "current_60s_a": 60.0}
_TREND_TAU_S = 20.0
_FAR_S = 3600.0  # a limit further away than this binds nothing


@dataclass(frozen=True, slots=True)
class Event:
    """A limit that has just tripped or cleared."""

    t_s: float
    limit_id: str
    severity: Severity
    tripped: bool
    text: str  # one plain sentence with the value, for people


@dataclass(frozen=True, slots=True)
class Status:
    """What protection holds to be true at `t_s`."""

    t_s: float
    severity: Severity = Severity.OK
    active: tuple[str, ...] = ()  # ids of the limits now tripped, worst first
    limited_by: str | None = None  # id of the limit that binds next
    limited_in_s: float | None = None  # at the present load
    asked_max_a: float | None = None
    fault_bits: int = 0  # MAV_BATTERY_FAULT
    events: tuple[Event, ...] = ()  # since the last Status


Inputs = tuple[Snapshot, Estimate]


def _extreme_cell(snapshot: Snapshot, pick: Callable[[list[float]], float]) -> float | None:
    known = [v for v in snapshot.cells_v if v is not None]
    return pick(known) if known else None


QUANTITIES: dict[str, Callable[[Inputs], float | None]] = {
    "lowest_cell_v": lambda of: _extreme_cell(of[0], min),
    "highest_cell_v": lambda of: _extreme_cell(of[0], max),
    "voltage_v": lambda of: of[0].voltage_v,
    "doubts": lambda of: None if of[0].voltage_v is None else float(len(of[0].doubts)),
    "temperature_degc": lambda of: of[0].temperature_degc,
    "soc_pct": lambda of: of[1].soc_pct,
    "remaining_s": lambda of: of[1].remaining_s,
    "remaining_low_s": lambda of: of[1].remaining_low_s,
}


class _Window:
    """Time-weighted mean over the last seconds; unknown until they have been heard."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._pieces: deque[tuple[float, float, float]] = deque()  # from, until, value
        self._sum = 0.0

    def mean(self, now_s: float, value: float | None) -> float | None:
        """Take in the value that held since the last call and return the mean, if it is known."""
        pieces = self._pieces
        if value is None:
            pieces.clear()
            self._sum = 0.0
            return None
        since_s = pieces[-1][1] if pieces else now_s
        pieces.append((since_s, now_s, value))
        self._sum += (now_s - since_s) * value
        while pieces[0][1] <= now_s - self._span_s:
            start_s, end_s, old = pieces.popleft()
            self._sum -= (end_s - start_s) * old
        start_s, _, old = pieces[0]
        early_s = now_s - self._span_s - start_s
        if early_s < -1e-9:  # noqa: PLR2004 - rounding of sums of steps
            return None
        return (self._sum - early_s * old) / self._span_s


class _Trend:
    """How fast a quantity moves, smoothed."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self._smooth: float | None = None
        self.per_s = 0.0

    def update(self, now_s: float, value: float) -> None:
        """Take in a value."""
        if self._last is not None and self._smooth is not None:
            dt_s = now_s - self._last[0]
            share = dt_s / (_TREND_TAU_S + dt_s)
            before = self._smooth
            self._smooth += share * (value - before)
            if dt_s > 0:
                self.per_s += share * ((self._smooth - before) / dt_s - self.per_s)
        else:
            self._smooth = value
        self._last = (now_s, value)


@dataclass(slots=True)
class _Row:
    """A limit and how long it has been beyond or recovered."""

    limit: Limit
    active: bool = False
    since_s: float | None = None  # of the condition that would change `active`


class Judge:
    """One pack's limits, judged at every step.

    Args:
        limits: the table; rows that share a quantity stand in order of severity.
    """

    def __init__(self, limits: Iterable[Limit]) -> None:
        self._rows: list[_Row] = []
        self.use(limits)
        self._windows = {name: _Window(span_s) for name, span_s in _WINDOWS_S.items()}
        self._trends: dict[str, _Trend] = {}
        self._heard_s: float | None = None

    def use(self, limits: Iterable[Limit]) -> None:
        """Judge by another table from now on; what is tripped stays so until it clears."""
        old = {row.limit.limit_id: row for row in self._rows}
        self._rows = []
        for limit in limits:
            before = old.get(limit.limit_id)
            self._rows.append(_Row(limit) if before is None else replace(before, limit=limit))

    def update(self, snapshot: Snapshot, estimate: Estimate) -> Status:
        """Return what holds at the snapshot's time."""
        now_s = snapshot.t_s
        values = self._values(snapshot, estimate)
        events = []
        for row in self._rows:
            value = values.get(row.limit.what)
            if value is not None and self._changes(row, value, now_s):
                row.active = not row.active
                row.since_s = None
                events.append(_event(row, value, snapshot))
        active = sorted((row.limit for row in self._rows if row.active), key=lambda x: -x.severity)
        bits = 0
        for limit in active:
            bits |= limit.fault_bits
        next_id, next_s = self._next(values, now_s)
        if active:
            next_id, next_s = active[0].limit_id, 0.0
        return Status(
            t_s=now_s,
            severity=active[0].severity if active else Severity.OK,
            active=tuple([limit.limit_id for limit in active]),
            limited_by=next_id,
            limited_in_s=next_s,
            fault_bits=bits,
            events=tuple(events),
        )

    def _values(self, snapshot: Snapshot, estimate: Estimate) -> dict[str, float | None]:
        now_s = snapshot.t_s
        if snapshot.voltage_v is not None:
            self._heard_s = snapshot.read_at_s.get("voltage_v", now_s)
        elif self._heard_s is None:
            self._heard_s = now_s  # silence counts from the start
        values = {name: of((snapshot, estimate)) for name, of in QUANTITIES.items()}
        # A log that is sampled every half minute is not silent in between: its values still hold.
        values["silence_s"] = 0.0 if snapshot.voltage_v is not None else now_s - self._heard_s
        for name, window in self._windows.items():
            values[name] = window.mean(now_s, snapshot.current_a)
        for name, value in values.items():
            if value is not None:
                self._trends.setdefault(name, _Trend()).update(now_s, value)
        return values

    @staticmethod
    def _changes(row: _Row, value: float, now_s: float) -> bool:
        limit = row.limit
        met = limit.recovered(value) if row.active else limit.beyond(value)
        if not met:
            row.since_s = None
            return False
        if row.since_s is None:
            row.since_s = now_s
        # Half a microsecond of slack: sums of steps are not exact.
        return now_s - row.since_s >= (limit.clear_s if row.active else limit.hold_s) - 5e-7

    def _next(
        self, values: dict[str, float | None], now_s: float
    ) -> tuple[str | None, float | None]:
        """Return the limit that the present trend reaches first, and in how many seconds."""
        best: tuple[float, str] | None = None
        for row in self._rows:
            limit, value = row.limit, values.get(row.limit.what)
            if row.active or value is None or limit.what == "silence_s":
                continue
            per_s = self._trends[limit.what].per_s
            gap = limit.trip - value
            if row.since_s is not None:  # beyond already, for less than its hold time
                in_s = limit.hold_s - (now_s - row.since_s)
            elif per_s != 0 and gap / per_s > 0:
                in_s = gap / per_s + limit.hold_s
            else:
                continue
            if in_s < _FAR_S and (best is None or in_s < best[0]):
                best = in_s, limit.limit_id
        return (None, None) if best is None else (best[1], best[0])


def _event(row: _Row, value: float, snapshot: Snapshot) -> Event:
    limit = row.limit
    known = [(v, k + 1) for k, v in enumerate(snapshot.cells_v) if v is not None]
    cell = (max(known) if limit.rising else min(known))[1] if known else 0
    text = limit.text.format(value=value, trip=limit.trip, cell=cell)
    return Event(
        t_s=snapshot.t_s,
        limit_id=limit.limit_id,
        severity=limit.severity,
        tripped=row.active,
        text=text if row.active else f"{limit.limit_id} is over: {text}",
    )

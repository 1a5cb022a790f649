# SPDX-License-Identifier: Apache-2.0
"""State of each limit: hold time, fresh readings, trip, latch and clear; seconds of the loop."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from dronebms.core.pack_data import SINGLE_READING_S
from dronebms.protection.limits import Limit
from dronebms.protection.quantity_values import NOT_APPLICABLE, NotApplicable, QuantityName
from smartbattery.snapshot import Snapshot
from smartbattery.values import changed

# The reading whose age decides whether a quantity is fresh; for all others the voltage.
_READING: Mapping[QuantityName, str] = {
    "temperature_degc": "temperature_degc",
    "charging_degc": "temperature_degc",
    "warming_k": "temperature_degc",
    "fet_degc": "fet_degc",
    "stop_alarm": "status_raw",
    "hot_alarm": "status_raw",
    "alerts": "alert_raw",
    "tripped": "safety_raw",
    "charge_tripped": "safety_raw",
    "failed": "failure_raw",
    "charge_a": "current_a",
}
_SLACK_S = 5e-7  # sums of steps are not exact
_Reading = tuple[float, float]  # time, value


@dataclass(frozen=True, slots=True)
class LimitState:
    """State of one limit."""

    active: bool = False
    since_s: float | None = None  # of the condition that would change `active`
    readings: int = 0  # fresh ones since then
    last_reading: _Reading | None = None  # the newest of them
    latched: bool = False  # does not clear in flight

    def after(
        self,
        limit: Limit,
        value: float | NotApplicable,
        now_s: float,
        read_s: float,
        *,
        disarmed: bool,
    ) -> "LimitState":
        """State after a known value of the limit's quantity.

        Args:
            limit: the row of the table.
            value: of its quantity.
            now_s: the loop's time.
            read_s: time of the reading that the value is computed from.
            disarmed: of the vehicle: a latched limit may clear.
        """
        if self.active:
            met = limit.recovered(value) and (disarmed or not self.latched)
        else:
            met = limit.beyond(value)
        if not met:
            return self if self.since_s is None else changed(self, since_s=None)
        begins = self.since_s is None
        since_s = now_s if self.since_s is None else self.since_s
        readings = 0 if begins else self.readings
        last = None if begins else self.last_reading
        if value is not NOT_APPLICABLE and _is_fresh((read_s, value), last):
            readings += 1
            last = (read_s, value)
        hold_s = limit.clear_s if self.active else limit.hold_s
        enough = self.active or readings >= limit.readings
        if enough and now_s - since_s >= hold_s - _SLACK_S:
            return LimitState(
                active=not self.active,
                readings=readings,
                last_reading=last,
                latched=limit.latch and not self.active,
            )
        return changed(self, since_s=since_s, readings=readings, last_reading=last)


def _is_fresh(reading: _Reading, last: _Reading | None) -> bool:
    """A gauge that measures once a second and is polled at 10 Hz gives one reading in it."""
    if last is None:
        return True
    read_s, value = reading
    last_s, last_value = last
    return read_s > last_s and (value != last_value or read_s - last_s >= SINGLE_READING_S)


@dataclass(slots=True)
class LimitRow:
    """A limit and its state."""

    limit: Limit
    state: LimitState = LimitState()

    @property
    def busy(self) -> bool:
        """Whether the limit is tripped or exceeded."""
        return self.state.active or self.state.since_s is not None

    def pause(self, dt_s: float) -> None:
        """A step in which the quantity is unknown: it is evidence of nothing."""
        if self.state.since_s is not None:
            self.state = changed(self.state, since_s=self.state.since_s + dt_s)

    def remaining_s(self, now_s: float) -> float:
        """Rest of the hold time, infinite while the limit is not exceeded."""
        if self.state.since_s is None:
            return inf
        return max(self.limit.hold_s - (now_s - self.state.since_s), 0.0)


class QuantityLimits:
    """The limits of one quantity.

    Between `above` and `below` no row trips: mostly one comparison shows that nothing changes.
    """

    def __init__(self, quantity: QuantityName, rows: list[LimitRow]) -> None:
        self.rows = rows
        self._reading = _READING.get(quantity, "voltage_v")
        limits = [row.limit for row in rows]
        self.above = max((limit.trip for limit in limits if not limit.rising), default=-inf)
        self.below = min((limit.trip for limit in limits if limit.rising), default=inf)
        self.note_busy()

    def pause(self, dt_s: float) -> None:
        """A step in which the quantity is unknown."""
        for row in self.rows:
            row.pause(dt_s)

    def update(
        self, value: float | NotApplicable, snapshot: Snapshot, *, disarmed: bool
    ) -> list[LimitRow]:
        """Evaluate a value; the rows that have tripped or cleared."""
        now_s = snapshot.t_s
        read_s = snapshot.read_at_s.get(self._reading, now_s)
        switched = []
        for row in self.rows:
            before = row.state
            row.state = before.after(row.limit, value, now_s, read_s, disarmed=disarmed)
            if row.state.active is not before.active:
                switched.append(row)
        self.note_busy()
        return switched

    def note_busy(self) -> None:
        """Note whether a row is tripped or exceeded, after a change of its state."""
        self.busy = any(row.busy for row in self.rows)

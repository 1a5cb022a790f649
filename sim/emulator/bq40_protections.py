# SPDX-License-Identifier: Apache-2.0
"""State machine of the protections of a BQ40: alerts, trips, recovery, event counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sim.emulator.bq40_data import ActiveWhile, ProtectionLimit
from sim.emulator.capacity_learning import RESTING_A


@dataclass(slots=True)
class ProtectionStateMachine:
    """State of some limits.

    Attributes:
        alerts: limits that are violated but have not tripped, by the time at which this began.
        tripped: limits that have tripped and not recovered.
        events: number of trips.
    """

    rows: tuple[ProtectionLimit, ...]
    alerts: dict[str, float] = field(default_factory=dict)
    tripped: set[str] = field(default_factory=set)
    events: dict[str, int] = field(default_factory=dict)
    _clear_s: dict[str, float] = field(default_factory=dict)  # of tripped limits: clear since

    def update(self, values: Mapping[str, float], now_s: float) -> None:
        """Evaluate a measurement."""
        other = (
            ActiveWhile.DISCHARGING if values["charging_a"] > RESTING_A else ActiveWhile.CHARGING
        )
        for row in self.rows:
            name = row.name
            value = values[row.quantity]
            if name in self.tripped:
                self._recover(row, value, now_s)
            elif row.when is other or not row.is_beyond(value):
                self.alerts.pop(name, None)
            elif now_s - self.alerts.setdefault(name, now_s) >= row.delay_s:
                del self.alerts[name]
                self.tripped.add(name)
                self.events[name] = self.events.get(name, 0) + 1

    def _recover(self, row: ProtectionLimit, value: float, now_s: float) -> None:
        if not row.is_clear(value):
            self._clear_s.pop(row.name, None)
        elif now_s - self._clear_s.setdefault(row.name, now_s) >= row.clear_s:
            del self._clear_s[row.name]
            self.tripped.remove(row.name)

    def flags(self) -> set[str]:
        """Flags of BatteryStatus that are set."""
        alerts = {row.alert for row in self.rows if row.name in self.alerts}
        return alerts | {row.alarm for row in self.rows if row.name in self.tripped}

    def reset(self) -> None:
        """Clear alerts and trips; the event counts remain."""
        self.alerts.clear()
        self.tripped.clear()
        self._clear_s.clear()

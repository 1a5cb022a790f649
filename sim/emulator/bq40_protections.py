"""The state of a gauge's protections: what alerts, what has tripped, and how often."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sim.emulator.bq40_data import ActiveWhile, ProtectionLimit
from sim.emulator.capacity_learning import RESTING_A


@dataclass(slots=True)
class ProtectionStateMachine:
    """Which of some limits are passed, and which have tripped.

    Attributes:
        alerts: what is beyond its limit, since when.
        tripped: what has been for long enough, and is not good again.
        events: how often each has tripped.
    """

    rows: tuple[ProtectionLimit, ...]
    alerts: dict[str, float] = field(default_factory=dict)
    tripped: set[str] = field(default_factory=set)
    events: dict[str, int] = field(default_factory=dict)
    _good_s: dict[str, float] = field(default_factory=dict)  # what has tripped, since when

    def update(self, values: Mapping[str, float], now_s: float) -> None:
        """Judge a measurement."""
        other = (
            ActiveWhile.DISCHARGING if values["charging_a"] > RESTING_A else ActiveWhile.CHARGING
        )
        for row in self.rows:
            value, name = values[row.watched], row.name
            if name in self.tripped:
                self._recover(row, value, now_s)
            elif row.when is other or not row.beyond(value):
                self.alerts.pop(name, None)
            elif now_s - self.alerts.setdefault(name, now_s) >= row.delay_s:
                del self.alerts[name]
                self.tripped.add(name)
                self.events[name] = self.events.get(name, 0) + 1

    def _recover(self, row: ProtectionLimit, value: float, now_s: float) -> None:
        if not row.back(value):
            self._good_s.pop(row.name, None)
        elif now_s - self._good_s.setdefault(row.name, now_s) >= row.clear_s:
            del self._good_s[row.name]
            self.tripped.remove(row.name)

    def flags(self) -> set[str]:
        """Return the flags of BatteryStatus that this sets."""
        told = {row.alert for row in self.rows if row.name in self.alerts}
        return told | {row.alarm for row in self.rows if row.name in self.tripped}

    def forget(self) -> None:
        """Start again, as after a reset."""
        self.alerts.clear()
        self.tripped.clear()
        self._good_s.clear()

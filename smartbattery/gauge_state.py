"""What is known of a pack: values by the snapshot's field names, and how long each still holds.

With what its reader remembers of the asking itself this is the whole state of a `Gauge`. Seconds.
"""

from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from smartbattery.registers import CELLS
from smartbattery.snapshot import NO_COUNTS, UNIDENTIFIED, BusCounts, Identity, Snapshot

CELL_FIELDS = tuple(row.field for row in CELLS)
BEYOND = "beyond_a"
_NUMBERS = (  # of a snapshot
    "voltage_v", "current_a", BEYOND, "average_a", "max_error_pct", "soc_pct", "remaining_mah",
    "full_mah", "time_to_empty_s", "cycles", "charging_a", "charging_v", "fet_degc",
)  # fmt: skip
_WORDS = ("status_raw", "alert_raw", "safety_raw", "failure_raw", "operation_raw")
_TEMPERATURES = ("temperature_degc", "external_degc")  # the hotter one counts


@dataclass(slots=True)
class GaugeState:
    """Values, each with its time of reading and the age at which it is over; then their gauge."""

    values: dict[str, float] = field(default_factory=dict)
    read_at_s: dict[str, float] = field(default_factory=dict)
    max_age_s: dict[str, float] = field(default_factory=dict)
    identity_values: dict[str, float | None] = field(
        default_factory=dict
    )  # of which the identity was made
    refused: dict[int, float] = field(default_factory=dict)  # commands, how often
    profile: str = "generic"  # it is read by
    cells: int = 0
    has_pec: bool = False
    identity: Identity | None = None
    next_slow: int = 0  # of what is asked now and then
    received_s: float = 0.0
    serial_s: float = -inf  # its serial number was asked
    polled_s: float = -inf  # since it is identified
    snapshot_s: float | None = None  # when the newest snapshot was made
    withheld: int = 0
    trouble: str | None = None
    counts: BusCounts = NO_COUNTS

    def copy(self) -> "GaugeState":
        """Return it as it is now."""
        return replace(
            self,
            values=dict(self.values),
            read_at_s=dict(self.read_at_s),
            max_age_s=dict(self.max_age_s),
            identity_values=dict(self.identity_values),
            refused=dict(self.refused),
        )

    def store(self, name: str, value: float, now_s: float, max_age_s: float) -> None:
        """Take in a good value."""
        self.values[name] = value
        self.read_at_s[name] = now_s
        self.max_age_s[name] = max_age_s

    def drop(self, name: str) -> None:
        """Forget one value."""
        self.values.pop(name, None)
        self.read_at_s.pop(name, None)

    def clear(self) -> None:
        """Forget the pack."""
        self.values.clear()
        self.read_at_s.clear()
        self.refused.clear()
        self.identity, self.polled_s = None, -inf

    def needs_confirmation(self, name: str, value: float, max_step: float) -> bool:
        """Return whether a value must be heard twice: it is the first, or far from the last."""
        last = self.values.get(name)
        return last is None or abs(value - last) > max_step

    def last_value(self, name: str) -> float | None:
        """Return the last good value, however old."""
        return self.values.get(name)

    def valid_value(self, name: str, now_s: float) -> float | None:
        """Return a value that still holds."""
        at_s = self.read_at_s.get(name)
        if at_s is None or now_s - at_s > self.max_age_s[name]:
            return None
        return self.values[name]

    def snapshot(self, now_s: float) -> Snapshot:
        """Return what still holds at `now_s`, and the trouble when that is no voltage."""
        self.snapshot_s = now_s
        known = {
            name: value
            for name, value in self.values.items()
            if now_s - self.read_at_s[name] <= self.max_age_s[name]
        }
        told: dict[str, Any] = {name: known.get(name) for name in _NUMBERS}
        told |= {name: int(known[name]) for name in _WORDS if name in known}
        return Snapshot(
            t_s=now_s,
            **told,
            temperature_degc=max((known[n] for n in _TEMPERATURES if n in known), default=None),
            cells_v=tuple([known.get(name) for name in CELL_FIELDS[: self.cells]]),
            identity=self.identity or UNIDENTIFIED,
            read_at_s=dict(self.read_at_s),
            counts=self.counts,
            trouble=None if "voltage_v" in known else self.trouble,
        )

# SPDX-License-Identifier: Apache-2.0
"""State of a gauge driver: the last valid values with their expiry, identity, refused commands.

Values are stored by the field names of `Snapshot`. This is the whole state of a `Gauge`: another
one continues from it. Seconds.
"""

from dataclasses import dataclass, field
from math import inf
from typing import Any

from smartbattery.registers import MODE, MODE_CAPACITY_IN_10MWH, SPECIFICATION
from smartbattery.snapshot import (
    CELL_FIELDS,
    NO_COUNTS,
    UNIDENTIFIED,
    BusCounts,
    Identity,
    Snapshot,
)
from smartbattery.values import changed

BEYOND = "beyond_a"
# A reading that was plausible and is not for so long: a fault, and no disturbance of a transfer.
IMPLAUSIBLE_S = 5.0
_NUMBERS = (  # of a snapshot
    "voltage_v", "current_a", BEYOND, "average_a", "max_error_pct", "soc_pct", "remaining_mah",
    "full_mah", "time_to_empty_s", "cycles", "charging_a", "charging_v", "fet_degc",
)  # fmt: skip
_WORDS = ("status_raw", "alert_raw", "safety_raw", "failure_raw", "operation_raw")
_TEMPERATURES = ("temperature_degc", "external_degc")  # the hotter one is reported


@dataclass(slots=True)
class GaugeState:
    """State of a gauge driver; recordings store it by field name."""

    values: dict[str, float] = field(default_factory=dict)
    read_at_s: dict[str, float] = field(default_factory=dict)
    max_age_s: dict[str, float] = field(default_factory=dict)
    identity_values: dict[str, float | None] = field(default_factory=dict)  # as identified
    refused: dict[int, float] = field(default_factory=dict)  # refusals by command
    profile: str = "generic"
    cells: int = 0  # cell registers that are read
    has_pec: bool = False
    identity: Identity | None = None
    identified_s: float = -inf  # time of the identification
    scales_confirmed: bool = False  # SpecificationInfo was read again as identified
    next_slow: int = 0  # index of the slow register that is read next
    received_s: float = 0.0  # time of the last reply
    serial_s: float = -inf  # time at which the serial number was read
    polled_s: float = -inf  # time of the last poll since identification
    snapshot_s: float | None = None  # time of the newest snapshot
    withheld: int = 0  # values that were rejected
    trouble: str | None = None
    counts: BusCounts = NO_COUNTS
    implausible_s: dict[str, float] = field(default_factory=dict)  # since when, by field

    def copy(self) -> "GaugeState":
        """An independent copy."""
        return changed(
            self,
            values=dict(self.values),
            read_at_s=dict(self.read_at_s),
            max_age_s=dict(self.max_age_s),
            identity_values=dict(self.identity_values),
            refused=dict(self.refused),
            implausible_s=dict(self.implausible_s),
        )

    def store(self, name: str, value: float, now_s: float, max_age_s: float) -> None:
        """Store a valid value."""
        self.values[name] = value
        self.read_at_s[name] = now_s
        self.implausible_s.pop(name, None)
        self.max_age_s[name] = max_age_s

    def withhold(self, name: str, now_s: float) -> None:
        """Count a value that is not plausible; the last valid one stays until it expires."""
        self.withheld += 1
        self.implausible_s.setdefault(name, now_s)

    def drop(self, name: str) -> None:
        """Discard one value."""
        self.implausible_s.pop(name, None)
        self.values.pop(name, None)
        self.read_at_s.pop(name, None)

    def clear(self) -> None:
        """Discard the values and the identity of the pack."""
        self.values.clear()
        self.read_at_s.clear()
        self.refused.clear()
        self.implausible_s.clear()
        self.identity = None
        self.identified_s = -inf
        self.scales_confirmed = False
        self.polled_s = -inf

    def needs_confirmation(self, name: str, value: float, max_step: float) -> bool:
        """Whether a second reading must confirm a value: the first one, or a large step."""
        last = self.values.get(name)
        return last is None or abs(value - last) > max_step

    def last_value(self, name: str) -> float | None:
        """The last valid value, however old."""
        return self.values.get(name)

    def valid_value(self, name: str, now_s: float) -> float | None:
        """The last valid value unless it has expired."""
        at_s = self.read_at_s.get(name)
        if at_s is None or now_s - at_s > self.max_age_s[name]:
            return None
        return self.values[name]

    def snapshot(self, now_s: float) -> Snapshot:
        """The values that have not expired at `now_s`; `trouble` only when there is no voltage."""
        self.snapshot_s = now_s
        valid = {
            name: value
            for name, value in self.values.items()
            if now_s - self.read_at_s[name] <= self.max_age_s[name]
        }
        read_at_s = dict(self.read_at_s)
        hottest = self._hottest(valid)
        if hottest is not None:
            read_at_s["temperature_degc"] = read_at_s[hottest]
        fields: dict[str, Any] = {name: valid.get(name) for name in _NUMBERS}
        fields |= {name: int(valid[name]) for name in _WORDS if name in valid}
        return Snapshot(
            t_s=now_s,
            **fields,
            temperature_degc=None if hottest is None else valid[hottest],
            cells_v=tuple([valid.get(name) for name in CELL_FIELDS[: self.cells]]),
            identity=self.identity or UNIDENTIFIED,
            read_at_s=read_at_s,
            counts=self.counts,
            trouble=None if "voltage_v" in valid else self.trouble,
            doubts=(*self._scale_doubts(), *self._word_doubts(now_s)),
        )

    @staticmethod
    def _hottest(valid: dict[str, float]) -> str | None:
        """The register whose temperature is reported."""
        known = [name for name in _TEMPERATURES if name in valid]
        return max(known, key=lambda name: valid[name], default=None)

    def _scale_doubts(self) -> tuple[str, ...]:
        """A sentence while SpecificationInfo has other scales than those of the pack."""
        specification_raw = self.values.get(SPECIFICATION.field)
        known = self.identity_values.get(SPECIFICATION.field)
        if specification_raw is None or known is None or specification_raw == known:
            return ()
        return (f"scale 0x{int(specification_raw):04x}, not 0x{int(known):04x}: rejected",)

    def _word_doubts(self, now_s: float) -> tuple[str, ...]:
        """A sentence for the unit of capacity, and for each reading, that a fault has changed.

        Readings that were never plausible are of what a gauge does not have.
        """
        doubts = [
            f"{name.rpartition('_')[0]} not plausible: rejected"
            for name, since_s in sorted(self.implausible_s.items())
            if name in self.values and now_s - since_s >= IMPLAUSIBLE_S
        ]
        mode_raw = self.values.get(MODE.field)
        known = self.identity_values.get(MODE.field)
        changed = 0 if mode_raw is None or known is None else int(mode_raw) ^ int(known)
        if changed & MODE_CAPACITY_IN_10MWH:
            doubts.append("BatteryMode: another unit of capacity: rejected")
        return tuple(doubts)

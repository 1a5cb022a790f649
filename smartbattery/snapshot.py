# SPDX-License-Identifier: Apache-2.0
"""Snapshot: all valid readings of a gauge at one time, the value that leaves this library.

`None` is unknown: never read, not plausible, refuted, or older than the `max_age_s` of its row.
Current is positive while discharging. Cells count from 0 and never move.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from operator import attrgetter
from typing import Any

from smartbattery.values import changed

NO_GAUGE = "none"  # in place of a profile: a source that may not measure cells and temperature
MAX_AGE_S = 1.0  # of a whole snapshot, after which none of its values is valid
MAX_CELLS = 32  # in series, of any source; SBS has registers for 16
CELL_FIELDS = tuple(f"cell{number}_v" for number in range(1, MAX_CELLS + 1))  # in `read_at_s`


@dataclass(frozen=True, slots=True)
class Identity:
    """Data that do not change while the same pack is connected."""

    serial: int | None = None
    manufacturer: str | None = None
    device: str | None = None
    chemistry: str | None = None
    design_mah: float | None = None
    design_v: float | None = None
    date: tuple[int, int, int] | None = None
    cells: int | None = None
    pec: bool = False
    gauge: str = "generic"  # name of the profile, or NO_GAUGE
    connection: int = 0  # counts the packs of equal data that were connected one after another


UNIDENTIFIED = Identity()


@dataclass(frozen=True, slots=True)
class BusCounts:
    """Transfers so far, and how many of them failed; counts only grow."""

    transfers: int = 0
    nacks: int = 0
    timeouts: int = 0
    pec_errors: int = 0
    withheld: int = 0  # values that were received and rejected as not plausible


NO_COUNTS = BusCounts()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Readings of a pack at `t_s` of the clock that was handed in."""

    t_s: float
    voltage_v: float | None = None
    current_a: float | None = None
    temperature_degc: float | None = None
    cells_v: tuple[float | None, ...] = ()
    average_a: float | None = None
    max_error_pct: float | None = None
    soc_pct: float | None = None
    remaining_mah: float | None = None
    full_mah: float | None = None
    time_to_empty_s: float | None = None
    cycles: float | None = None
    charging_a: float | None = None  # requested from a charger
    charging_v: float | None = None
    status_raw: int | None = None
    alert_raw: int | None = None  # SafetyAlert, SafetyStatus, PFStatus, OperationStatus of a BQ40
    safety_raw: int | None = None
    failure_raw: int | None = None
    operation_raw: int | None = None
    alerts: tuple[str, ...] | None = None  # set flags of a source without these words, a text each
    fet_degc: float | None = None
    beyond_a: float | None = None  # lower bound of the current while its register is saturated
    identity: Identity = UNIDENTIFIED
    read_at_s: Mapping[str, float] = field(default_factory=dict)  # of the last valid reading
    counts: BusCounts = NO_COUNTS
    trouble: str | None = None  # why there is no voltage, one sentence
    doubts: tuple[str, ...] = ()  # readings rejected or disputed, a sentence each
    rejected: tuple[str, ...] = ()  # fields whose reading the others refute; no field holds it
    # Readings that contradict each other, none of them refuted, by field; for limits alone. The
    # fields themselves are unknown, except that `voltage_v` is the lowest of its readings.
    disputed: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    other_pack: str | None = None  # by which the pack that answers differs; it is not used

    @property
    def has_answer(self) -> bool:
        """Whether there is a voltage of the gauge, be it one that the other readings refute."""
        return self.voltage_v is not None or "voltage_v" in self.rejected

    def age_s(self, name: str) -> float | None:
        """Age of the last valid reading of a field; `None` when there was none."""
        at_s = self.read_at_s.get(name)
        return None if at_s is None else self.t_s - at_s

    def at(self, now_s: float) -> "Snapshot":
        """The same snapshot at a later time; without values when it is older than `MAX_AGE_S`.

        For a reader in another thread than the poller: a stuck bus must not freeze values.
        """
        old_s = now_s - self.t_s
        if old_s <= MAX_AGE_S:
            return self if now_s == self.t_s else changed(self, t_s=now_s)
        return self.unknown(now_s, self.trouble or f"no reading for {old_s:.0f} s")

    def unknown(self, now_s: float, trouble: str) -> "Snapshot":
        """A snapshot of the same pack without values."""
        return Snapshot(
            t_s=now_s,
            cells_v=(None,) * len(self.cells_v),
            identity=self.identity,
            read_at_s=self.read_at_s,
            counts=self.counts,
            trouble=trouble,
        )

    def finite(self) -> "Snapshot":
        """The snapshot with unknown in place of every value that is no finite number.

        A limit is never beyond a NaN. A source must not return one; this is for what does.
        """
        known = [v for v in (*_numbers(self), *self.cells_v) if v is not None]
        if isfinite(sum(known)):
            return self
        values = zip(_NUMBERS, _numbers(self), strict=True)
        unknown: dict[str, Any] = {
            name: None for name, v in values if v is not None and not isfinite(v)
        }
        cells_v = tuple([v if v is not None and isfinite(v) else None for v in self.cells_v])
        return changed(self, cells_v=cells_v, **unknown)

    def undisputed(self) -> "Snapshot":
        """The snapshot without readings in dispute, for an estimate."""
        return changed(self, voltage_v=None) if "voltage_v" in self.disputed else self

    def known_cells_v(self) -> list[float]:
        """Volts of the known cells, in their order."""
        return [cell_v for cell_v in self.cells_v if cell_v is not None]

    def lowest_cell(self) -> tuple[int, float] | None:
        """Index from 0 and volts of the lowest known cell; `None` when none is known."""
        known = [(v, k) for k, v in enumerate(self.cells_v) if v is not None]
        if not known:
            return None
        v, k = min(known)
        return k, v


_NUMBERS = (
    "voltage_v", "current_a", "temperature_degc", "average_a", "max_error_pct", "soc_pct",
    "remaining_mah", "full_mah", "time_to_empty_s", "cycles", "charging_a", "charging_v",
    "fet_degc", "beyond_a",
)  # fmt: skip
_numbers = attrgetter(*_NUMBERS)

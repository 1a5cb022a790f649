"""The protection table: what is watched, when it trips, when it clears, how bad it is.

Voltages in volts, currents in amperes positive while discharging, temperatures in degC, times in
seconds. Thresholds follow the chemistry's row and what is known of the pack; a configuration may
change them. Hold times outlast one update of a slow gauge (1 s): one bad sample trips nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum

from dronebms.battery import BatteryFacts
from dronebms.chemistry import LIPO
from dronebms.errors import ConfigError


class Severity(IntEnum):
    """How bad; a higher number is worse."""

    OK = 0
    INFO = 1
    WARNING = 2
    CRITICAL = 3
    EMERGENCY = 4

    @property
    def label(self) -> str:
        """Name as it stands in files and on screens."""
        return self.name.lower()


# MAV_BATTERY_FAULT of MAVLink's common message set.
DEEP_DISCHARGE, OVER_CURRENT, OVER_TEMPERATURE, UNDER_TEMPERATURE = 1, 8, 16, 32


@dataclass(frozen=True, slots=True)
class Limit:
    """One row: trips when `what` has been beyond `trip` for `hold_s`."""

    limit_id: str
    what: str  # a quantity of `protection.QUANTITIES`
    trip: float
    clear: float  # on the good side of `trip`
    hold_s: float
    clear_s: float
    severity: Severity
    text: str  # plain words; {value} and {trip} are filled in
    fault_bits: int = 0

    @property
    def rising(self) -> bool:
        """Whether too much is bad, not too little."""
        return self.clear < self.trip

    def beyond(self, value: float) -> bool:
        """Return whether a value is one that trips."""
        return value >= self.trip if self.rising else value <= self.trip

    def recovered(self, value: float) -> bool:
        """Return whether a value is one that clears."""
        return value <= self.clear if self.rising else value >= self.clear


W, C, E = Severity.WARNING, Severity.CRITICAL, Severity.EMERGENCY


def default_limits(facts: BatteryFacts) -> tuple[Limit, ...]:
    """Return the table for a pack; rows whose thresholds would be a guess are left out."""
    chemistry, cut_v = facts.chemistry, facts.cutoff_v
    hot, cold, full_v = chemistry.hot_degc, chemistry.cold_degc, chemistry.full_cell_v
    low_v = cut_v + (chemistry.low_cell_v - chemistry.cutoff_cell_v)
    # fmt: off
    rows = [
        Limit("cell_low",       "lowest_cell_v",    low_v,         low_v + 0.10, 5.0, 10.0, W, "cell {cell} at {value:.2f} V, low is {trip:.2f} V"),
        Limit("cell_critical",  "lowest_cell_v",    cut_v,         cut_v + 0.15, 3.0, 10.0, C, "cell {cell} at {value:.2f} V, its limit is {trip:.2f} V", DEEP_DISCHARGE),
        Limit("cell_emergency", "lowest_cell_v",    cut_v - 0.2,   cut_v,        2.0, 10.0, E, "cell {cell} at {value:.2f} V, far below its limit", DEEP_DISCHARGE),
        Limit("cell_high",      "highest_cell_v",   full_v + 0.05, full_v,       3.0, 10.0, W, "cell {cell} at {value:.2f} V, full is {trip:.2f} V"),
        Limit("hot",            "temperature_degc", hot - 10.0,    hot - 13.0,   5.0, 20.0, W, "pack at {value:.0f} degC, hot is {trip:.0f} degC"),
        Limit("hot_critical",   "temperature_degc", hot,           hot - 3.0,    5.0, 20.0, C, "pack at {value:.0f} degC, its limit is {trip:.0f} degC", OVER_TEMPERATURE),
        Limit("cold",           "temperature_degc", cold,          cold + 3.0,   5.0, 20.0, W, "pack at {value:z.0f} degC, cold is {trip:.0f} degC", UNDER_TEMPERATURE),
        Limit("silent",         "silence_s",        3.0,           1.0,          0.0,  2.0, W, "the gauge has been silent for {value:.0f} s"),
        Limit("lost",           "silence_s",        10.0,          1.0,          0.0,  2.0, C, "the gauge has been silent for {value:.0f} s"),
        Limit("implausible",    "doubts",           1.0,           0.0,          1.0, 10.0, W, "the gauge contradicts itself, on {value:.0f} count(s)"),
        Limit("charge_low",     "soc_pct",          20.0,          25.0,         5.0, 30.0, W, "{value:.0f} % charge left"),
        Limit("charge_critical", "soc_pct",         10.0,          15.0,         5.0, 30.0, C, "{value:.0f} % charge left"),
        Limit("time_low",       "remaining_low_s",  120.0,         180.0,        5.0, 30.0, W, "perhaps only {value:.0f} s left"),
        Limit("time_critical",  "remaining_s",      60.0,          120.0,        3.0, 30.0, C, "about {value:.0f} s left"),
    ]
    if facts.cells is not None:
        pack_v = facts.cells * cut_v
        rows.append(
            Limit("pack_low",   "voltage_v",        pack_v,        pack_v * 1.04, 3.0, 10.0, C, "pack at {value:.1f} V, its limit is {trip:.1f} V", DEEP_DISCHARGE))
    if facts.capacity_mah is not None:
        amp_per_c = facts.capacity_mah / 1000.0
        peak, burst, steady = 1.5 * chemistry.burst_c * amp_per_c, chemistry.burst_c * amp_per_c, chemistry.continuous_c * amp_per_c
        rows += [
            Limit("current_2s",  "current_2s_a",    peak,          0.9 * peak,   0.0,  5.0, C, "{value:.0f} A over 2 s, its limit is {trip:.0f} A", OVER_CURRENT),
            Limit("current_10s", "current_10s_a",   burst,         0.9 * burst,  0.0,  5.0, C, "{value:.0f} A over 10 s, its limit is {trip:.0f} A", OVER_CURRENT),
            Limit("current_60s", "current_60s_a",   steady,        0.9 * steady, 0.0, 10.0, W, "{value:.0f} A over a minute, its limit is {trip:.0f} A"),
        ]
    # fmt: on
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class LimitChange:
    """What a configuration changes of one row; `None` leaves it."""

    limit_id: str
    trip: float | None = None
    clear: float | None = None
    hold_s: float | None = None
    clear_s: float | None = None
    severity: Severity | None = None

    def applied(self, row: Limit) -> Limit:
        """Return the row with the changes; a `trip` alone moves `clear` along."""
        trip = row.trip if self.trip is None else self.trip
        return replace(
            row,
            trip=trip,
            clear=row.clear + (trip - row.trip) if self.clear is None else self.clear,
            hold_s=row.hold_s if self.hold_s is None else self.hold_s,
            clear_s=row.clear_s if self.clear_s is None else self.clear_s,
            severity=row.severity if self.severity is None else self.severity,
        )


def changed_limits(limits: Iterable[Limit], changes: Iterable[LimitChange]) -> tuple[Limit, ...]:
    """Return the table with changed rows.

    Raises:
        ConfigError: a row that could never clear.
    """
    rows = {row.limit_id: row for row in limits}
    for change in changes:
        row = rows.get(change.limit_id)
        if row is None:  # not for this pack: its capacity or its cells are not known yet
            continue
        new = change.applied(row)
        wrong = contradiction(row, new.trip, new.clear)
        if wrong is not None:
            raise ConfigError(f"limit {row.limit_id!r}: {wrong}")
        rows[row.limit_id] = new
    return tuple(rows.values())


def contradiction(row: Limit, trip: float, clear: float) -> str | None:
    """Return why a row could never clear with other thresholds, None when it can."""
    if clear != trip and (clear < trip) == row.rising:
        return None
    return f"clear {clear:g} must be {'below' if row.rising else 'above'} trip {trip:g}"


def every_limit() -> dict[str, Limit]:
    """Return all rows that there can be, by id; their thresholds are those of some pack."""
    whole = BatteryFacts(LIPO, cells=1, capacity_mah=1000.0)
    return {row.limit_id: row for row in default_limits(whole)}

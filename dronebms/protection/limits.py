"""The protection table: what is watched, when it trips, when it clears, how bad it is.

Voltages in volts, currents in amperes positive while discharging, temperatures in degC, times in
seconds. Thresholds follow the chemistry's row, its preset below and what is known of the pack; a
configuration may change them. Hold times outlast one update of a slow gauge (1 s), and a row asks
for two fresh readings: one bad sample trips nothing.

Rows of one quantity are its tiers, as foxBMS has them: recommended (a warning), maximum (critical)
and safety (an emergency). `clear_s` is also the least time that a row stays tripped.

Sources: the chemistry's row for cut-off, full, hot, cold, C and charging; comments
beside rows. What has none is set by hand, with the reason in docs/protection.md where it matters.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dronebms.core.chemistry import LIPO
from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import PackData
from dronebms.core.report import Severity

# MAV_BATTERY_FAULT of MAVLink's common message set.
DEEP_DISCHARGE, CELL_FAIL, OVER_CURRENT, OVER_TEMPERATURE, UNDER_TEMPERATURE = 1, 4, 8, 16, 32
INCOMPATIBLE = 256  # its cells are not those that the vehicle was set up for


# fmt: off
# fmt: on


@dataclass(frozen=True, slots=True)
class Limit:
    """One row: trips when `what` has been beyond `trip` for `hold_s`."""

    limit_id: str
    quantity: str  # name in `quantities.Values`
    trip: float
    clear: float  # on the good side of `trip`
    hold_s: float
    clear_s: float
    severity: Severity
    text: str  # plain words; {value} and {trip} are filled in
    fault_bits: int = 0
    readings: int = 2  # fresh ones beyond it, before it trips; 1 where a time or a mean is judged
    latch: bool = False  # stays tripped until it is released by hand

    @property
    def tier(self) -> str:
        """Name of the tier, as foxBMS calls them."""
        return _TIERS[self.severity]

    @property
    def rising(self) -> bool:
        """Whether too much is bad, not too little."""
        return self.clear < self.trip

    def beyond(self, value: float) -> bool:
        """Return whether a value is one that trips; what is over (NaN) does not."""
        return value >= self.trip if self.rising else value <= self.trip

    def recovered(self, value: float) -> bool:
        """Return whether a value is one that clears; what is over (NaN) is."""
        return not value > self.clear if self.rising else not value < self.clear


_TIERS = ("none", "note", "recommended", "maximum", "safety")
I, W, C, E = Severity.INFO, Severity.WARNING, Severity.CRITICAL, Severity.EMERGENCY  # noqa: E741 - columns
_EVERY_HOUR = 3600.0


def default_limits(pack_data: PackData) -> tuple[Limit, ...]:
    """Return the table for a pack; rows whose thresholds would be a guess are left out."""
    parts = (_cells, _heat, _gauge, _whole, _left, _ground, _currents)
    return tuple(row for part in parts for row in part(pack_data))


# fmt: off
def _cells(pack_data: PackData) -> tuple[Limit, ...]:
    chemistry, cut_v = pack_data.chemistry, pack_data.cutoff_v
    full_v, low_v = chemistry.full_cell_v, cut_v + (chemistry.low_cell_v - chemistry.cutoff_cell_v)
    rows = (
        # A cell under load; the recommended tier is what sag alone may reach. At rest, or with its sag taken out: cell_low.
        Limit("cell_low",        "resting_cell_v",   low_v + 0.10,  low_v + 0.20,   5.0, 10.0, W, "weakest cell at {value:.2f} V without its load, low is {trip:.2f} V"),
        Limit("cell_sag",        "lowest_cell_v",    low_v,         low_v + 0.10,   3.0, 10.0, W, "cell {cell} at {value:.2f} V under this load, near its limit"),
        Limit("cell_critical",   "lowest_cell_v",    cut_v,         cut_v + 0.15,   3.0, 10.0, C, "cell {cell} at {value:.2f} V, its limit is {trip:.2f} V", DEEP_DISCHARGE),
        Limit("cell_emergency",  "lowest_cell_v",    cut_v - 0.2,   cut_v,          2.0, 10.0, E, "cell {cell} at {value:.2f} V, far below its limit", DEEP_DISCHARGE),
        Limit("cell_high",       "highest_cell_v",   full_v + 0.05, full_v,         3.0, 10.0, W, "cell {cell} at {value:.2f} V, full is {trip:.2f} V"),
        Limit("cell_high_critical", "highest_cell_v", full_v + 0.10, full_v + 0.05, 2.0, 10.0, C, "cell {cell} at {value:.2f} V, above full by too much", CELL_FAIL),
        Limit("cell_high_emergency", "highest_cell_v", full_v + 0.20, full_v + 0.10, 1.0, 10.0, E, "cell {cell} at {value:.2f} V, it may burn", CELL_FAIL),
        Limit("spread_rest",     "spread_rest_v",    0.10,          0.05,          10.0, 30.0, W, "cells differ by {value:.2f} V at rest"),
        Limit("spread_load",     "spread_load_v",    0.30,          0.20,          10.0, 10.0, W, "cells differ by {value:.2f} V under load"),
    )
    if pack_data.cells is None:
        return rows
    pack_v = pack_data.cells * cut_v
    return (*rows,
        Limit("pack_low",        "voltage_v",        pack_v,        pack_v * 1.04,  3.0, 10.0, C, "pack at {value:.1f} V, its limit is {trip:.1f} V", DEEP_DISCHARGE),
    )


def _heat(pack_data: PackData) -> tuple[Limit, ...]:
    hot, cold = pack_data.chemistry.hot_degc, pack_data.chemistry.cold_degc
    return (
        Limit("hot",             "temperature_degc", hot - 10.0,    hot - 13.0,     5.0, 20.0, W, "pack at {value:.0f} degC, hot is {trip:.0f} degC"),
        Limit("hot_critical",    "temperature_degc", hot,           hot - 3.0,      5.0, 20.0, C, "pack at {value:.0f} degC, its limit is {trip:.0f} degC", OVER_TEMPERATURE),
        Limit("hot_emergency",   "temperature_degc", hot + 15.0,    hot + 5.0,      3.0, 20.0, E, "pack at {value:.0f} degC, it may burn", OVER_TEMPERATURE),
        Limit("cold",            "temperature_degc", cold,          cold + 3.0,     5.0, 20.0, W, "pack at {value:z.0f} degC, cold is {trip:.0f} degC", UNDER_TEMPERATURE),
        Limit("cold_critical",   "temperature_degc", cold - 10.0,   cold - 7.0,     5.0, 20.0, C, "pack at {value:z.0f} degC, its limit is {trip:.0f} degC", UNDER_TEMPERATURE),
        Limit("cold_emergency",  "temperature_degc", cold - 20.0,   cold - 17.0,    5.0, 20.0, E, "pack at {value:z.0f} degC, it may give nothing at once", UNDER_TEMPERATURE),
        Limit("fet_hot",         "fet_degc",         80.0,          70.0,           3.0, 20.0, W, "the pack's transistors at {value:.0f} degC"),
        Limit("fet_critical",    "fet_degc",         100.0,         80.0,           2.0, 20.0, C, "the pack's transistors at {value:.0f} degC, they may open", OVER_TEMPERATURE),
        Limit("warming",         "warming_k",        8.0,           5.0,            2.0, 20.0, W, "pack {value:.0f} K warmer within a minute"),
        Limit("warming_critical", "warming_k",       15.0,          8.0,            2.0, 20.0, C, "pack {value:.0f} K warmer within a minute", OVER_TEMPERATURE),
    )


def _gauge(_: PackData) -> tuple[Limit, ...]:
    return (
        Limit("silent",          "silence_s",        3.0,           1.0,            0.0,  2.0, W, "the gauge has been silent for {value:.0f} s", readings=1),
        Limit("lost",            "silence_s",        10.0,          1.0,            0.0,  2.0, C, "the gauge has been silent for {value:.0f} s", readings=1),
        Limit("blind",           "blind_s",          10.0,          0.0,            0.0,  5.0, W, "for {value:.0f} s something of the pack has not been heard", readings=1),
        Limit("implausible",     "doubts",           1.0,           0.0,            1.0, 10.0, W, "the gauge contradicts itself: {why}"),
        Limit("mismatch",        "mismatches",       1.0,           0.0,            1.0, 10.0, W, "not the pack that was told: {why}", INCOMPATIBLE),
        Limit("gauge_stop",      "stop_alarm",       1.0,           0.0,            1.0, 10.0, C, "the gauge says: stop discharging now", DEEP_DISCHARGE),
        Limit("gauge_hot",       "hot_alarm",        1.0,           0.0,            1.0, 10.0, C, "the gauge says: the pack is too hot", OVER_TEMPERATURE),
        Limit("current_beyond",  "beyond_a",         1.0,           0.0,            2.0, 10.0, W, "{value:.0f} A at the least: the gauge cannot count further", OVER_CURRENT),
        Limit("alert",           "alerts",           1.0,           0.0,            1.0, 10.0, W, "the pack is about to protect itself: {why}"),
        Limit("tripped",         "tripped",          1.0,           0.0,            1.0, 10.0, E, "the pack protects itself: {why}", CELL_FAIL),
        Limit("charge_tripped",  "charge_tripped",   1.0,           0.0,            1.0, 10.0, W, "the pack stops its charge: {why}"),
        Limit("failed",          "failed",           1.0,           0.0,            1.0, 10.0, E, "the pack has failed for good: {why}", CELL_FAIL, latch=True),
    )


def _whole(_: PackData) -> tuple[Limit, ...]:
    # Of several packs; what they may give together is cut at once, before these trip.
    return (
        Limit("pack_missing",    "packs_missing",    1.0,           0.0,            1.0,  5.0, W, "without battery {why}: the others carry its load", readings=1),
        Limit("module_missing",  "modules_missing",  1.0,           0.0,            1.0,  5.0, C, "battery {why} of the chain is not heard", readings=1),
    )


def _left(_: PackData) -> tuple[Limit, ...]:
    return (
        # The shares are PX4's: BAT_LOW_THR 15 %, BAT_CRIT_THR 7 %. Only the median warns: a lower bound
        # that is honest is often low, and a note is enough for it.
        Limit("charge_low",      "soc_pct",          15.0,          20.0,           5.0, 30.0, W, "{value:.0f} % charge left"),
        Limit("charge_critical", "soc_pct",          7.0,           12.0,           5.0, 30.0, C, "{value:.0f} % charge left"),
        Limit("time_soon",       "remaining_low_s",  120.0,         180.0,          5.0, 30.0, I, "perhaps only {value:.0f} s left"),
        Limit("time_low",        "remaining_s",      120.0,         180.0,          5.0, 30.0, W, "about {value:.0f} s left"),
        Limit("time_critical",   "remaining_s",      60.0,          120.0,          3.0, 30.0, C, "about {value:.0f} s left"),
        Limit("time_over",       "remaining_high_s", 20.0,          60.0,           3.0, 30.0, E, "at most {value:.0f} s left"),
        # By the median too: its own lower bound would send a sound pack home at half of its charge.
        Limit("home_soon",       "turn_back_in_s",   60.0,          120.0,          5.0, 30.0, I, "perhaps turn back within {value:.0f} s"),
        Limit("home_turn",       "home_left_s",      120.0,         180.0,          5.0, 30.0, W, "about {value:.0f} s would be left at home: turn back"),
        Limit("home_now",        "home_left_s",      60.0,          120.0,          5.0, 30.0, C, "about {value:.0f} s would be left at home: turn back now"),
        Limit("home_lost",       "home_left_s",      0.0,           30.0,           5.0, 30.0, E, "about {value:z.0f} s would be left at home, it may be out of reach"),
        Limit("limp_home",       "limp_margin_a",    0.0,           2.0,            0.0, 10.0, C, "the pack cannot give what keeps the aircraft in the air", readings=1),
    )


def _ground(pack_data: PackData) -> tuple[Limit, ...]:
    frost, sun = pack_data.chemistry.charge_cold_degc, pack_data.chemistry.charge_hot_degc
    return (
        Limit("worn",            "soh_pct",          80.0,          82.0,          10.0, 60.0, I, "health at {value:.0f} %"),
        Limit("worn_out",        "soh_pct",          60.0,          62.0,          10.0, 60.0, W, "health at {value:.0f} %, the pack is worn out"),
        Limit("stored_full",     "stored_s",  24 * _EVERY_HOUR,     0.0,            0.0,  2.0, I, "more than 80 % charged for a day: store it at a half", readings=1),
        Limit("charging_cold",   "charging_degc",    frost,         frost + 3.0,    2.0, 10.0, C, "charged at {value:z.0f} degC: lithium plates out", UNDER_TEMPERATURE),
        Limit("charging_warm",   "charging_degc",    sun,           sun - 3.0,      5.0, 20.0, W, "charged at {value:.0f} degC, warm is {trip:.0f} degC"),
        Limit("charging_hot",    "charging_degc",    sun + 5.0,     sun,            5.0, 20.0, C, "charged at {value:.0f} degC, its limit is {trip:.0f} degC", OVER_TEMPERATURE),
        Limit("charging_uneven", "spread_charge_v",  0.10,          0.05,          10.0, 30.0, W, "cells differ by {value:.2f} V while charged"),
        Limit("charging_beyond", "charge_wish_frac", 1.10,          1.02,          10.0, 10.0, W, "charged with {value:.1f} times the current that the gauge asks for"),
        Limit("charging_above",  "charge_above_v",   0.25,          0.125,          5.0, 10.0, W, "charged {value:.2f} V above what the gauge asks for"),
        Limit("charging_long",   "charge_s",  4 * _EVERY_HOUR,      0.0,            0.0,  2.0, W, "charged for {value:.0f} s without an end", readings=1),
    )


def _currents(pack_data: PackData) -> tuple[Limit, ...]:
    if pack_data.capacity_mah is None:
        return ()
    chemistry, amp_per_c = pack_data.chemistry, pack_data.capacity_mah / 1000.0
    steady_c = chemistry.continuous_c if pack_data.continuous_c is None else pack_data.continuous_c
    burst_c = chemistry.burst_c if pack_data.burst_c is None else pack_data.burst_c
    peak, burst, steady = 1.5 * burst_c * amp_per_c, burst_c * amp_per_c, steady_c * amp_per_c
    charge, idle = chemistry.charge_c * amp_per_c, 0.10 * pack_data.capacity_mah
    return (
        Limit("current_2s",  "current_2s_a",     peak,          0.9 * peak,     0.0,  5.0, C, "{value:.0f} A over 2 s, its limit is {trip:.0f} A", OVER_CURRENT, 1),
        Limit("current_10s", "current_10s_a",    burst,         0.9 * burst,    0.0,  5.0, C, "{value:.0f} A over 10 s, its limit is {trip:.0f} A", OVER_CURRENT, 1),
        Limit("current_2s_emergency", "current_2s_a", 1.5 * peak, peak,         0.0,  5.0, E, "{value:.0f} A over 2 s, far above its limit", OVER_CURRENT, 1),
        Limit("current_60s_critical", "current_60s_a", 1.3 * steady, 1.1 * steady, 0.0, 10.0, C, "{value:.0f} A over a minute, its limit is {trip:.0f} A", OVER_CURRENT, 1),
        Limit("current_60s", "current_60s_a",    steady,        0.9 * steady,   0.0, 10.0, W, "{value:.0f} A over a minute, its limit is {trip:.0f} A", readings=1),
        Limit("heat",        "heat_a",           1.05 * steady, 0.95 * steady,  0.0, 10.0, W, "the heat of {value:.0f} A, the pack can bear {trip:.0f} A for long", readings=1),
        Limit("heat_critical", "heat_a",         1.25 * steady, 1.10 * steady,  0.0, 10.0, C, "the heat of {value:.0f} A, the pack can bear {trip:.0f} A for long", OVER_CURRENT, 1),
        Limit("charging_fast", "charge_a",       1.10 * charge, 1.02 * charge,  5.0, 10.0, W, "charged with {value:.1f} A, its limit is {trip:.1f} A"),
        Limit("charging_too_fast", "charge_a",   2.00 * charge, 1.50 * charge,  2.0, 10.0, C, "charged with {value:.1f} A, far above its limit", OVER_CURRENT),
        Limit("idle",        "idle_mah",         idle,          0.0,            0.0,  2.0, I, "{value:.0f} mAh gone while idle: unplug the pack", readings=1),
    )
# fmt: on


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
    changed = set()
    for change in changes:
        row = rows.get(change.limit_id)
        if row is None:  # not for this pack: its capacity or its cells are not known yet
            continue
        new = change.applied(row)
        wrong = contradiction(row, new.trip, new.clear)
        if wrong is not None:
            raise ConfigError(f"limit {row.limit_id!r}: {wrong}")
        rows[row.limit_id] = new
        changed.add(row.limit_id)
    for limit_id in changed:
        for other in rows.values():
            wrong = disorder(rows[limit_id], other) or disorder(other, rows[limit_id])
            if wrong is not None:
                raise ConfigError(wrong)
    return tuple(rows.values())


def contradiction(row: Limit, trip: float, clear: float) -> str | None:
    """Return why a row could never clear with other thresholds, None when it can."""
    if clear != trip and (clear < trip) == row.rising:
        return None
    return f"clear {clear:g} must be {'below' if row.rising else 'above'} trip {trip:g}"


# The mean of a long window can never be above that of a short one within it.
_LONGER = {"current_10s_a": "current_2s_a", "current_60s_a": "current_10s_a"}


def disorder(mild: Limit, grave: Limit) -> str | None:
    """Return why two rows contradict each other, None when they do not.

    The worse of two tiers must trip later, and a short window must allow more than a long one.
    """
    tiers = (mild.quantity, mild.rising) == (grave.quantity, grave.rising)
    if tiers and mild.severity < grave.severity and not mild.beyond(grave.trip):
        return (
            f"limit {grave.limit_id!r} is {grave.severity.label} and trips at {grave.trip:g}, "
            f"before {mild.limit_id!r}, which is {mild.severity.label}, at {mild.trip:g}"
        )
    if _LONGER.get(mild.quantity) == grave.quantity and grave.trip < mild.trip:
        return (
            f"limit {mild.limit_id!r} trips at {mild.trip:g} A, above {grave.limit_id!r} "
            f"with {grave.trip:g} A over a shorter time"
        )
    return None


def every_limit() -> dict[str, Limit]:
    """Return all rows that there can be, by id; their thresholds are those of some pack."""
    whole = PackData(LIPO, cells=1, capacity_mah=1000.0)
    return {row.limit_id: row for row in default_limits(whole)}

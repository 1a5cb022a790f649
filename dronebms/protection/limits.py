# SPDX-License-Identifier: Apache-2.0
"""The table of limits: quantity, thresholds with hysteresis, debounce times, severity and texts.

Voltages in volts, currents in amperes positive while discharging, temperatures in degC, times in
seconds. Thresholds follow the chemistry's row and the rated data of the pack; a configuration may
change them. Hold times outlast one update of a slow gauge (1 s), and most rows need two fresh
readings, so that one bad sample trips nothing.

Rows of one quantity are its tiers, as in foxBMS: recommended (a warning), maximum (critical) and
safety (an emergency). `clear_s` is also the shortest time that a limit stays tripped.

Sources: the chemistry's row for cut-off, full, hot, cold, C and charging; comments next to rows.
The other thresholds are set by hand, with the reason in docs/protection.md where it matters.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

from dronebms.core.chemistry import LIPO
from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import PackData
from dronebms.core.report import Severity
from dronebms.protection.quantity_values import NOT_APPLICABLE, NotApplicable, QuantityName

# MAV_BATTERY_FAULT of MAVLink's common message set.
DEEP_DISCHARGE = 1
CELL_FAIL = 4
OVER_CURRENT = 8
OVER_TEMPERATURE = 16
UNDER_TEMPERATURE = 32
INCOMPATIBLE = 256  # another kind of pack than the vehicle is configured for


@dataclass(frozen=True, slots=True)
class Limit:
    """One row: trips when `quantity` has been beyond `trip` for `hold_s`."""

    limit_id: str
    label: str  # for screens
    quantity: QuantityName
    trip: float
    clear: float  # on the good side of `trip`
    hold_s: float
    clear_s: float
    severity: Severity
    trip_text: str  # quantity, value, limit; the fields are those of `text`
    clear_text: str
    fault_bits: int = 0  # MAV_BATTERY_FAULT
    readings: int = 2  # fresh ones beyond it, before it trips; 1 for a time, a sum or a mean
    latch: bool = False  # does not clear in flight

    @property
    def rising(self) -> bool:
        """Whether the limit trips above `trip`, not below."""
        return self.clear < self.trip

    def beyond(self, value: float | NotApplicable) -> bool:
        """Whether a value trips the limit; one that does not apply does not."""
        if value is NOT_APPLICABLE:
            return False
        return value >= self.trip if self.rising else value <= self.trip

    def recovered(self, value: float | NotApplicable) -> bool:
        """Whether a value clears the limit; one that does not apply does."""
        if value is NOT_APPLICABLE:
            return True
        return value <= self.clear if self.rising else value >= self.clear

    @property
    def state(self) -> str:
        """First word of the pilot text while the limit is tripped."""
        if self.severity >= Severity.CRITICAL or "{trip" not in self.trip_text:
            return self.severity.name
        return "HIGH" if self.rising else "LOW"

    def text(
        self, value: float | NotApplicable, *, tripped: bool, cell: int = 0, reason: str = ""
    ) -> str:
        """Pilot text: state, quantity, value, limit.

        Args:
            value: of the quantity; negative seconds are shown as 0, `{short}` is the amount below 0.
            tripped: whether the limit has tripped, not cleared.
            cell: number of the cell, from 1; 0: of a cell that no reading shows.
            reason: what a count consists of (`Quantities.reason`).
        """
        form = f"{self.state}: {self.trip_text}" if tripped else f"CLEARED: {self.clear_text}"
        if not cell:
            form = form.replace("cell {cell}", "a cell")
        number = 0.0 if value is NOT_APPLICABLE else value
        least = 0.0 if self.quantity.endswith("_s") else -math.inf
        shown = max(least, number)
        return form.format(
            value=shown,
            trip=max(least, self.trip),
            short=max(0.0, -number),
            hours=shown / _HOUR_S,
            trip_hours=self.trip / _HOUR_S,
            cell=cell,
            reason=reason,
        )


I = Severity.INFO  # noqa: E741 - columns of the table
W = Severity.WARNING
C = Severity.CRITICAL
E = Severity.EMERGENCY
_HOUR_S = 3600.0


def default_limits(pack_data: PackData) -> tuple[Limit, ...]:
    """The table for a pack, without the rows whose thresholds would be a guess."""
    parts = (_cells, _temperatures, _gauge, _supply, _remaining, _ground, _currents)
    return tuple(row for part in parts for row in part(pack_data))


# fmt: off
def _cells(pack_data: PackData) -> tuple[Limit, ...]:
    chemistry = pack_data.chemistry
    cut_v = pack_data.cutoff_v
    full_v = chemistry.full_cell_v
    low_v = pack_data.low_v
    rows = (
        # A cell under load; sag alone may reach the recommended tier. cell_low has the sag taken out.
        Limit("cell_low",            "low resting cell voltage",       "resting_cell_v",  low_v + 0.10,  low_v + 0.20,  5.0, 10.0, W, "weakest cell resting {value:.2f} V <= {trip:.2f} V",   "weakest cell resting {value:.2f} V"),
        Limit("cell_sag",            "low cell voltage under load",    "lowest_cell_v",          low_v,  low_v + 0.10,  3.0, 10.0, W, "cell {cell} {value:.2f} V <= {trip:.2f} V under load", "cell {cell} {value:.2f} V"),
        Limit("cell_critical",       "cell voltage at cut-off",        "lowest_cell_v",          cut_v,  cut_v + 0.15,  3.0, 10.0, C, "cell {cell} {value:.2f} V <= {trip:.2f} V",            "cell {cell} {value:.2f} V", DEEP_DISCHARGE),
        Limit("cell_emergency",      "cell voltage far below cut-off", "lowest_cell_v",    cut_v - 0.2,         cut_v,  2.0, 10.0, E, "cell {cell} {value:.2f} V <= {trip:.2f} V",            "cell {cell} {value:.2f} V", DEEP_DISCHARGE),
        Limit("cell_high",           "high cell voltage",              "highest_cell_v", full_v + 0.05,        full_v,  3.0, 10.0, W, "cell {cell} {value:.2f} V >= {trip:.2f} V",            "cell {cell} {value:.2f} V"),
        Limit("cell_high_critical",  "cell over-voltage",              "highest_cell_v", full_v + 0.10, full_v + 0.05,  2.0, 10.0, C, "cell {cell} {value:.2f} V >= {trip:.2f} V",            "cell {cell} {value:.2f} V", CELL_FAIL),
        Limit("cell_high_emergency", "severe cell over-voltage",       "highest_cell_v", full_v + 0.20, full_v + 0.10,  1.0, 10.0, E, "cell {cell} {value:.2f} V >= {trip:.2f} V, fire risk", "cell {cell} {value:.2f} V", CELL_FAIL),
        Limit("spread_rest",         "cell spread at rest",            "spread_rest_v",           0.10,          0.05, 10.0, 30.0, W, "cell spread at rest {value:.2f} V >= {trip:.2f} V",    "cell spread at rest {value:.2f} V"),
        Limit("spread_load",         "cell spread under load",         "spread_load_v",           0.30,          0.20, 10.0, 10.0, W, "cell spread under load {value:.2f} V >= {trip:.2f} V", "cell spread under load {value:.2f} V"),
    )
    if pack_data.cells is None:
        return rows
    pack_v = pack_data.cells * cut_v
    return (*rows,
        Limit("pack_low", "pack voltage at cut-off", "voltage_v", pack_v, pack_v * 1.04, 3.0, 10.0, C, "pack {value:.1f} V <= {trip:.1f} V", "pack {value:.1f} V", DEEP_DISCHARGE),
    )


def _temperatures(pack_data: PackData) -> tuple[Limit, ...]:
    hot = pack_data.chemistry.hot_degc
    cold = pack_data.chemistry.cold_degc
    return (
        Limit("hot",              "pack hot",                      "temperature_degc",  hot - 10.0,  hot - 13.0, 5.0, 20.0, W, "pack {value:z.0f} degC >= {trip:z.0f} degC",            "pack {value:z.0f} degC"),
        Limit("hot_critical",     "pack over-temperature",         "temperature_degc",         hot,   hot - 3.0, 5.0, 20.0, C, "pack {value:z.0f} degC >= {trip:z.0f} degC",            "pack {value:z.0f} degC", OVER_TEMPERATURE),
        Limit("hot_emergency",    "severe pack over-temperature",  "temperature_degc",  hot + 15.0,   hot + 5.0, 3.0, 20.0, E, "pack {value:z.0f} degC >= {trip:z.0f} degC, fire risk", "pack {value:z.0f} degC", OVER_TEMPERATURE),
        Limit("cold",             "pack cold",                     "temperature_degc",        cold,  cold + 3.0, 5.0, 20.0, W, "pack {value:z.0f} degC <= {trip:z.0f} degC",            "pack {value:z.0f} degC", UNDER_TEMPERATURE),
        Limit("cold_critical",    "pack under-temperature",        "temperature_degc", cold - 10.0,  cold - 7.0, 5.0, 20.0, C, "pack {value:z.0f} degC <= {trip:z.0f} degC",            "pack {value:z.0f} degC", UNDER_TEMPERATURE),
        Limit("cold_emergency",   "severe pack under-temperature", "temperature_degc", cold - 20.0, cold - 17.0, 5.0, 20.0, E, "pack {value:z.0f} degC <= {trip:z.0f} degC",            "pack {value:z.0f} degC", UNDER_TEMPERATURE),
        Limit("fet_hot",          "FETs hot",                      "fet_degc",                80.0,        70.0, 3.0, 20.0, W, "FETs {value:z.0f} degC >= {trip:z.0f} degC",            "FETs {value:z.0f} degC"),
        Limit("fet_critical",     "FET over-temperature",          "fet_degc",               100.0,        80.0, 2.0, 20.0, C, "FETs {value:z.0f} degC >= {trip:z.0f} degC",            "FETs {value:z.0f} degC", OVER_TEMPERATURE),
        Limit("warming",          "pack heating fast",             "warming_k",                8.0,         5.0, 2.0, 20.0, W, "pack heating {value:z.0f} K/min >= {trip:.0f} K/min",   "pack heating {value:z.0f} K/min"),
        Limit("warming_critical", "pack heating very fast",        "warming_k",               15.0,         8.0, 2.0, 20.0, C, "pack heating {value:z.0f} K/min >= {trip:.0f} K/min",   "pack heating {value:z.0f} K/min", OVER_TEMPERATURE),
    )


def _gauge(_: PackData) -> tuple[Limit, ...]:
    return (
        Limit("silent",         "gauge silent",                     "silence_s",       3.0, 1.0, 0.0,  2.0, W, "no gauge data for {value:.0f} s",                "gauge data received", readings=1),
        Limit("lost",           "gauge lost",                       "silence_s",      10.0, 1.0, 0.0,  2.0, C, "no gauge data for {value:.0f} s",                "gauge data received", readings=1),
        Limit("blind",          "readings unknown",                 "blind_s",        10.0, 0.0, 0.0,  5.0, W, "{reason} unknown {value:.0f} s",                  "all readings known", readings=1),
        Limit("implausible",    "gauge inconsistent",               "doubts",          1.0, 0.0, 1.0, 10.0, W, "{reason}",                                       "gauge readings consistent"),
        Limit("contradiction",  "readings contradict each other",   "disputes",        1.0, 0.0, 1.0, 10.0, C, "{reason}",                                       "gauge readings consistent"),
        Limit("mismatch",       "pack mismatch",                    "mismatches",      1.0, 0.0, 1.0, 10.0, W, "pack mismatch: {reason}",                        "pack matches the configuration", INCOMPATIBLE),
        Limit("other_pack",     "another pack answers",         "other_pack",      1.0, 0.0, 0.0,  5.0, W, "other pack: {reason}",                           "pack answers again", readings=1),
        Limit("gauge_stop",     "gauge alarm: terminate discharge", "stop_alarm",      1.0, 0.0, 1.0, 10.0, C, "gauge alarm: terminate discharge",               "gauge alarm: terminate discharge", DEEP_DISCHARGE),
        Limit("gauge_hot",      "gauge alarm: over-temperature",    "hot_alarm",       1.0, 0.0, 1.0, 10.0, C, "gauge alarm: over-temperature",                  "gauge alarm: over-temperature", OVER_TEMPERATURE),
        Limit("current_beyond", "current above the gauge's range",  "beyond_a",        1.0, 0.0, 2.0, 10.0, W, "current above {value:.0f} A, out of gauge range", "current within gauge range", OVER_CURRENT),
        Limit("alert",          "gauge protection alert",           "alerts",          1.0, 0.0, 1.0, 10.0, W, "gauge alert: {reason}",                          "gauge alert"),
        Limit("tripped",        "gauge protection tripped",         "tripped",         1.0, 0.0, 1.0, 10.0, E, "gauge protection: {reason}",                     "gauge protection", CELL_FAIL),
        Limit("charge_tripped", "charge protection tripped",        "charge_tripped",  1.0, 0.0, 1.0, 10.0, W, "charge protection: {reason}",                    "charge protection"),
        Limit("failed",         "permanent failure",                "failed",          1.0, 0.0, 1.0, 10.0, E, "permanent failure: {reason}",                    "permanent failure", CELL_FAIL, latch=True),
    )


def _supply(_: PackData) -> tuple[Limit, ...]:
    # Of several packs; their common current limit falls at once, before these trip.
    return (
        Limit("pack_missing",   "battery missing",               "packs_missing",   1.0, 0.0, 1.0, 5.0, W, "battery {reason}",                              "all batteries present", readings=1),
        Limit("module_missing", "battery of the series missing", "modules_missing", 1.0, 0.0, 1.0, 5.0, C, "battery {reason} of the series missing",       "all batteries present", readings=1),
    )


def _remaining(_: PackData) -> tuple[Limit, ...]:
    return (
        # The shares are PX4's: BAT_LOW_THR 15 %, BAT_CRIT_THR 7 %. Only the median warns: the 5 % bound
        # is often low, and a note is enough for it.
        Limit("charge_low",      "low state of charge",             "soc_pct",           15.0,  20.0, 5.0, 30.0, W, "state of charge {value:.0f} % <= {trip:.0f} %",            "state of charge {value:.0f} %"),
        Limit("charge_critical", "very low state of charge",        "soc_pct",            7.0,  12.0, 5.0, 30.0, C, "state of charge {value:.0f} % <= {trip:.0f} %",            "state of charge {value:.0f} %"),
        Limit("time_soon",       "flight time left may be low", "remaining_low_s",  120.0, 180.0, 5.0, 30.0, I, "flight time left (5 %) {value:.0f} s <= {trip:.0f} s", "flight time left (5 %) {value:.0f} s"),
        Limit("time_low",        "low flight time left",        "remaining_s",      120.0, 180.0, 5.0, 30.0, W, "flight time left {value:.0f} s <= {trip:.0f} s",       "flight time left {value:.0f} s"),
        Limit("time_critical",   "very low flight time left",   "remaining_s",       60.0, 120.0, 3.0, 30.0, C, "flight time left {value:.0f} s <= {trip:.0f} s",       "flight time left {value:.0f} s"),
        Limit("time_over",       "no flight time left",         "remaining_high_s",  20.0,  60.0, 3.0, 30.0, E, "flight time left (95 %) {value:.0f} s, land now",      "flight time left (95 %) {value:.0f} s"),
        # The verdicts of the estimate: MARGINAL is a warning, NO is critical.
        Limit("home_soon",        "turn back soon",                "turn_back_in_s",  60.0, 120.0, 5.0, 30.0, I, "turn back within {value:.0f} s",                         "time to turn back {value:.0f} s"),
        Limit("home_turn",        "way home marginal",             "home_reserve_s",   0.0,  30.0, 5.0, 30.0, W, "home marginal, {reason}",                                "home reserve (5 %) {value:.0f} s"),
        Limit("home_now",         "way home too long",             "home_margin_s",    0.0,  30.0, 5.0, 30.0, C, "home NO, {short:.0f} s short, return now",               "home margin {value:.0f} s"),
        Limit("home_lost",        "home out of reach",             "home_best_s",      0.0,  30.0, 5.0, 30.0, E, "home out of reach, {short:.0f} s short (95 %)",          "home in reach (95 %) {value:.0f} s"),
        Limit("alternate",        "alternate landing in reach",    "alternates",       1.0,   0.0, 5.0, 30.0, W, "{reason}",                                               "alternate landing not needed"),
        Limit("mission_marginal", "mission marginal",              "mission_risk",     1.0,   0.0, 5.0, 30.0, W, "mission {reason}",                                       "mission verdict YES"),
        Limit("mission_no",       "mission cannot be finished",    "mission_risk",     2.0,   1.0, 5.0, 30.0, C, "mission {reason}",                                       "mission not NO"),
        Limit("limp_home", "power below limp-home",    "limp_margin_a",    0.0,   2.0, 0.0, 10.0, C, "available current {short:.0f} A below limp-home",       "available current above limp-home", readings=1),
    )


def _ground(pack_data: PackData) -> tuple[Limit, ...]:
    frost = pack_data.chemistry.charge_cold_degc
    sun = pack_data.chemistry.charge_hot_degc
    return (
        Limit("worn",            "pack worn",                    "soh_pct",                  80.0,        82.0, 10.0, 60.0, I, "state of health {value:.0f} % <= {trip:.0f} %",       "state of health {value:.0f} %"),
        Limit("worn_out",        "pack worn out",                "soh_pct",                  60.0,        62.0, 10.0, 60.0, W, "state of health {value:.0f} % <= {trip:.0f} %",       "state of health {value:.0f} %"),
        Limit("stored_full",     "stored full",                  "stored_s",         24 * _HOUR_S,         0.0,  0.0,  2.0, I, "above 80 % SoC for {hours:.0f} h, store at 50 %",         "no longer stored full", readings=1),
        Limit("charging_cold",   "charging too cold",            "charging_degc",           frost, frost + 3.0,  2.0, 10.0, C, "charging at {value:z.0f} degC <= {trip:z.0f} degC",   "charging temperature", UNDER_TEMPERATURE),
        Limit("charging_warm",   "charging warm",                "charging_degc",             sun,   sun - 3.0,  5.0, 20.0, W, "charging at {value:z.0f} degC >= {trip:z.0f} degC",   "charging temperature"),
        Limit("charging_hot",    "charging too hot",             "charging_degc",       sun + 5.0,         sun,  5.0, 20.0, C, "charging at {value:z.0f} degC >= {trip:z.0f} degC",   "charging temperature", OVER_TEMPERATURE),
        Limit("charging_uneven", "cell spread in charge",        "spread_charge_v",          0.10,        0.05, 10.0, 30.0, W, "cell spread in charge {value:.2f} V >= {trip:.2f} V", "cell spread in charge"),
        Limit("charging_beyond", "charge current above request", "charge_request_frac",         1.10,        1.02, 10.0, 10.0, W, "charge current {value:.1f} >= {trip:.1f} x request",  "charge current within request"),
        Limit("charging_above",  "charge voltage above request", "charge_above_v",           0.25,       0.125,  5.0, 10.0, W, "charger {value:.2f} V >= {trip:.2f} V above request", "charge voltage within request"),
        Limit("charging_long",   "charging too long",            "charge_s",          4 * _HOUR_S,         0.0,  0.0,  2.0, W, "charging for {hours:.1f} h >= {trip_hours:.1f} h",    "charging ended", readings=1),
    )


def _currents(pack_data: PackData) -> tuple[Limit, ...]:
    if pack_data.capacity_mah is None:
        return ()
    chemistry = pack_data.chemistry
    amp_per_c = pack_data.capacity_mah / 1000.0
    steady_c = chemistry.continuous_c if pack_data.continuous_c is None else pack_data.continuous_c
    burst_c = chemistry.burst_c if pack_data.burst_c is None else pack_data.burst_c
    peak = 1.5 * burst_c * amp_per_c
    burst = burst_c * amp_per_c
    steady = steady_c * amp_per_c
    charge = chemistry.charge_c * amp_per_c
    idle = 0.10 * pack_data.capacity_mah
    return (
        Limit("current_2s",           "2 s over-current",        "current_2s_a",           peak,    0.9 * peak, 0.0,  5.0, C, "2 s mean {value:z.0f} A >= {trip:.0f} A",               "2 s mean {value:z.0f} A", OVER_CURRENT, 1),
        Limit("current_10s",          "10 s over-current",       "current_10s_a",         burst,   0.9 * burst, 0.0,  5.0, C, "10 s mean {value:z.0f} A >= {trip:.0f} A",              "10 s mean {value:z.0f} A", OVER_CURRENT, 1),
        Limit("current_2s_emergency", "severe 2 s over-current", "current_2s_a",     1.5 * peak,          peak, 0.0,  5.0, E, "2 s mean {value:z.0f} A >= {trip:.0f} A",               "2 s mean {value:z.0f} A", OVER_CURRENT, 1),
        Limit("current_60s_critical", "60 s over-current",       "current_60s_a",  1.3 * steady,  1.1 * steady, 0.0, 10.0, C, "60 s mean {value:z.0f} A >= {trip:.0f} A",              "60 s mean {value:z.0f} A", OVER_CURRENT, 1),
        Limit("current_60s",          "high 60 s current",       "current_60s_a",        steady,  0.9 * steady, 0.0, 10.0, W, "60 s mean {value:z.0f} A >= {trip:.0f} A",              "60 s mean {value:z.0f} A", readings=1),
        Limit("heat",                 "high thermal load",       "heat_a",        1.05 * steady, 0.95 * steady, 0.0, 10.0, W, "thermal load {value:.1f} A >= {trip:.1f} A",           "thermal load {value:.1f} A", readings=1),
        Limit("heat_critical",        "thermal overload",        "heat_a",        1.25 * steady, 1.10 * steady, 0.0, 10.0, C, "thermal load {value:.1f} A >= {trip:.1f} A",           "thermal load {value:.1f} A", OVER_CURRENT, 1),
        Limit("charging_fast",        "high charge current",     "charge_a",      1.10 * charge, 1.02 * charge, 5.0, 10.0, W, "charge current {value:.1f} A >= {trip:.1f} A",         "charge current {value:.1f} A"),
        Limit("charging_too_fast",    "charge over-current",     "charge_a",      2.00 * charge, 1.50 * charge, 2.0, 10.0, C, "charge current {value:.1f} A >= {trip:.1f} A",         "charge current {value:.1f} A", OVER_CURRENT),
        Limit("idle",                 "drained while idle",      "idle_mah",               idle,           0.0, 0.0,  2.0, I, "idle drain {value:.0f} mAh >= {trip:.0f} mAh, unplug", "idle drain ended", readings=1),
    )
# fmt: on


@dataclass(frozen=True, slots=True)
class LimitChange:
    """Configured changes of one row; `None` leaves the value."""

    limit_id: str
    trip: float | None = None
    clear: float | None = None
    hold_s: float | None = None
    clear_s: float | None = None
    severity: Severity | None = None

    def applied(self, row: Limit) -> Limit:
        """The row with the changes; a `trip` alone moves `clear` along."""
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
    """The table with changed rows.

    Raises:
        ConfigError: a row that could never clear.
    """
    rows = {row.limit_id: row for row in limits}
    changed = set()
    for change in changes:
        row = rows.get(change.limit_id)
        if row is None:  # the capacity or the cell count of this pack is unknown yet
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
    """Reason why a row could never clear with other thresholds, `None` if it can."""
    if clear != trip and (clear < trip) == row.rising:
        return None
    return f"clear {clear:g} must be {'below' if row.rising else 'above'} trip {trip:g}"


# The mean of a long window can never be above that of a short one within it.
_LONGER = {"current_10s_a": "current_2s_a", "current_60s_a": "current_10s_a"}


def disorder(mild: Limit, grave: Limit) -> str | None:
    """Reason why two rows contradict each other, `None` if they do not.

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


@cache
def every_limit() -> Mapping[str, Limit]:
    """All rows that exist, by id; their thresholds are those of some pack."""
    whole = PackData(LIPO, cells=1, capacity_mah=1000.0)
    return MappingProxyType({row.limit_id: row for row in default_limits(whole)})


def limit_label(limit_id: str) -> str:
    """Label of a limit, made from its id if this version does not have it."""
    row = every_limit().get(limit_id)
    return limit_id.replace("_", " ") if row is None else row.label

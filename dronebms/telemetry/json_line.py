# SPDX-License-Identifier: Apache-2.0
"""Report -> one line of the predictions contract (docs/reference/json.md).

Unknown is null. Numbers are rounded, so that a line is short and equal on every machine:
0.1 s, 0.01 %, 1 mV, 10 mA, 0.1 mAh, 1 microohm, 0.01 degC; `t_s` to the microsecond.
Current is positive while discharging; `battery` counts from 0, cells are in their order.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from math import isfinite
from typing import Any

from dronebms.core.report import Estimate, Report

# Decimals.
_CLOCK_S = 6
_S = 1
_PCT = 2
_V = 3
_A = 2
_MAH = 1
_OHM = 6
_DEGC = 2
_BY_UNIT = {"pct": _PCT, "mah": _MAH, "ohm": _OHM, "mol": 1}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a line."""

    name: str
    unit: str  # or the values that it can have
    meaning: str
    value: Callable[[Report], object]


# The keys of the contract in its order, then further keys.
# fmt: off
KEYS = (
    Key("t_s", "s", "clock of the flight", lambda r: _rounded(r.t_s, _CLOCK_S)),
    Key("soc_pct", "0-100 %", "state of charge of the weakest cell", lambda r: _rounded(r.estimate.soc_pct, _PCT)),
    Key("soh_pct", "0-100 %", "state of health: full charge capacity over rated capacity, less when the resistance has grown", lambda r: _rounded(r.estimate.soh_pct, _PCT)),
    Key("remaining_s", "s, >= 0", "time to empty: median of the time until the end of discharge if the flight continues as it does. `null` before there is load, 0 after the end", lambda r: _interval_s(r.estimate)[1]),
    Key("remaining_low_s", "s, >= 0", "5 % bound of the time to empty", lambda r: _interval_s(r.estimate)[0]),
    Key("remaining_high_s", "s, >= 0", "95 % bound of the time to empty", lambda r: _interval_s(r.estimate)[2]),
    Key("home_s", "s", "time to fly home and land; `null` without position, home or load", lambda r: _rounded(r.estimate.home_s, _S)),
    Key("home_reserve_s", "s", "time left (5 % bound) after the landing at home; below 0 the verdict is no better than `marginal`", lambda r: _rounded(r.estimate.home_reserve_s, _S)),
    Key("turn_back_in_s", "s, >= 0", "time until that reserve is used up if the vehicle continues to move away as it does", lambda r: _rounded(r.estimate.turn_back_in_s, _S)),
    Key("home_verdict", "`yes marginal no unknown`", "whether the pack lasts for the way home: `marginal` is a no by the 5 % bound alone, `no` one by the median", lambda r: r.estimate.home_verdict.value),
    Key("mission_verdict", "`yes marginal no unknown`", "the same for the rest of the mission", lambda r: r.estimate.mission_verdict.value),
    Key("verdict_missing", "text", "the one thing that is not known while a verdict is `unknown`", lambda r: r.estimate.verdict_missing),
    Key("mission_end_pct", "%", "state of charge at the end of the mission (its landing, or the return after it), median; 0: the pack ends before", lambda r: _rounded(r.estimate.mission_end_pct, _PCT)),
    Key("mission_end_low_pct", "%", "5 % bound of it", lambda r: _rounded(r.estimate.mission_end_low_pct, _PCT)),
    Key("resistance_ohm", "ohm", "resistance of the pack after some 20 s of load", lambda r: _rounded(r.estimate.resistance_ohm, _OHM)),
    Key("max_discharge_a", "A, >= 0", "current that the pack can give for 10 s with the weakest cell above its cut-off", lambda r: _rounded(r.estimate.max_discharge_a, _A)),
    Key("max_discharge_2s_a", "A, >= 0", "the same for 2 s", lambda r: _rounded(r.estimate.max_discharge_2s_a, _A)),
    Key("max_discharge_30s_a", "A, >= 0", "the same for 30 s", lambda r: _rounded(r.estimate.max_discharge_30s_a, _A)),
    Key("asked_max_a", "A", "current that the governor allows the vehicle; `null` while it does not limit; never below the limp-home current", lambda r: _rounded(r.status.asked_max_a, _A)),
    Key("limited_by", "limit id", "limit that binds next", lambda r: r.status.limited_by),
    Key("severity", "`ok info warning critical emergency`", "worst of the tripped limits", lambda r: r.status.severity.label),
    Key("active", "list of limit ids", "tripped limits, worst first", lambda r: list(r.status.active)),
    Key("armed", "boolean or null", "the autopilot's state; null without its heartbeat, and after a flight until every heartbeat of 3 s is disarmed", lambda r: r.vehicle.armed),
    Key("link_trouble", "text", "why the MAVLink link of the service does not work, such as `serial:/dev/ttyAMA0:57600: no such port; retrying`", lambda r: r.vehicle.link_trouble),
    Key("can_trouble", "text", "why a CAN bus or a node of the service there does not work, such as `socketcan:can0: network is down; retrying`", lambda r: r.vehicle.can_trouble),
    Key("second_sender", "text", "`second sender of 1/180 on the link`: a forger or another program sends as this service, for 10 s after each frame; `second autopilot of system 1 on the link`", lambda r: r.vehicle.second_sender),
    Key("telemetry_links", "list of `{\"url\", \"trouble\"}`", "the telemetry links, each with why it does not work, `null` while it does", lambda r: [{"url": link.url, "trouble": link.trouble} for link in r.vehicle.telemetry_links]),
    Key("battery", "0, 1, ...", "index of the battery", lambda r: r.index),
    Key("voltage_v", "V", "pack voltage after the plausibility and consistency checks", lambda r: _rounded(r.snapshot.voltage_v, _V)),
    Key("current_a", "A", "current, positive while discharging, after the same checks", lambda r: _rounded(r.snapshot.current_a, _A)),
    Key("temperature_degc", "degC", "temperature, after the same checks", lambda r: _rounded(r.snapshot.temperature_degc, _DEGC)),
    Key("cells_v", "list, V", "cell voltages; `null` for a cell that is not read or rejected", lambda r: [_rounded(cell_v, _V) for cell_v in r.snapshot.cells_v]),
    Key("age_s", "s", "age of the voltage", lambda r: _rounded(r.snapshot.age_s("voltage_v"), _S)),
    Key("used_mah", "mAh", "charge counted since the first reading", lambda r: _rounded(r.estimate.used_mah, _MAH)),
    Key("home_margin_s", "s", "time left after the landing at home, median less the landing reserve; `home_verdict` is `no` from 0 on", lambda r: _rounded(r.estimate.home_margin_s, _S)),
    Key("home_best_s", "s", "time left after the landing at home, 95 % bound", lambda r: _rounded(r.estimate.home_best_s, _S)),
    Key("mission_s", "s", "rest of the mission with its landing or the return after it", lambda r: _rounded(r.estimate.mission_s, _S)),
    Key("mission_needs_mah", "mAh", "charge for that", lambda r: _rounded(r.estimate.mission_needs_mah, _MAH)),
    Key("usable_mah", "mAh", "charge until the end of discharge, median", lambda r: _rounded(r.estimate.usable_mah, _MAH)),
    Key("usable_low_mah", "mAh", "5 % bound of it", lambda r: _rounded(r.estimate.usable_low_mah, _MAH)),
    Key("last_home_item", "number", "last item of the mission from which home is still reached", lambda r: r.estimate.last_home_item),
    Key("alternate", "text", "what is in reach while home is not, such as `rally point 2`", lambda r: r.estimate.alternate),
    Key("alternate_by_return", "boolean or null", "whether the autopilot's own return goes there", lambda r: r.estimate.alternate_by_return),
    Key("limited_in_s", "s, >= 0", "time until `limited_by` trips at the present load", lambda r: _rounded(r.status.limited_in_s, _S)),
    Key("trouble", "text", "why nothing is read from the pack", lambda r: r.snapshot.trouble),
    Key("doubts", "list of texts", "contradictions between the gauge's readings", lambda r: list(r.snapshot.doubts)),
    Key("go", "text", "preflight verdict on the ground, `GO: ...` or `NO-GO: ...` with the reasons; `null` in flight", lambda r: None if r.flying else r.preflight.text),
    Key("charger", "`none`, `go on`, `reduce`, `stop`", "what a charger should do", lambda r: r.charging.do),
    Key("advice", "text", "why", lambda r: r.charging.why),
    Key("full_in_s", "s", "time until full", lambda r: _rounded(r.charging.full_in_s, _S)),
    Key("storage_in_s", "s", "time until storage charge", lambda r: _rounded(r.charging.storage_in_s, _S)),
    Key("weakest", "object", "state of the weakest cell, as in `cells`", lambda r: _state(r.estimate.state.weakest)),
    Key("activation_kj_mol", "kJ/mol", "Arrhenius activation energy of the resistance", lambda r: _rounded(r.estimate.state.activation_kj_mol, _BY_UNIT["mol"])),
    Key("activation_sd_kj_mol", "kJ/mol", "its standard deviation", lambda r: _rounded(r.estimate.state.activation_sd_kj_mol, _BY_UNIT["mol"])),
    Key("cells", "list of objects", "per cell: `soc_pct`, `capacity_mah`, `resistance_ohm` (after some 20 s of load), `slow_ohm` (added by minutes of load). Each has its standard deviation (`soc_sd_pct`, `capacity_sd_mah`, `resistance_sd_ohm`, `slow_sd_ohm`)", lambda r: _state(r.estimate.state.cells)),
)
# fmt: on


def line(report: Report) -> dict[str, object]:
    """The keys of the contract in its order, then further keys."""
    return {key.name: key.value(report) for key in KEYS}


def text(report: Report) -> str:
    """The line as JSON, without a newline."""
    return json.dumps(line(report), allow_nan=False, separators=(",", ":"))


def _rounded(value: float | None, decimals: int) -> float | None:
    """A number for JSON: `None` for NaN and infinities, 0.0 for -0.0."""
    if value is None or not isfinite(value):
        return None
    return round(value, decimals) + 0.0


def _state(value: Any, unit: str = "") -> Any:  # noqa: ANN401 - a tree of values
    if is_dataclass(value):
        names = [row.name for row in fields(value)]
        return {name: _state(getattr(value, name), name.rpartition("_")[2]) for name in names}
    if isinstance(value, tuple):
        return [_state(cell) for cell in value]
    return _rounded(value, _BY_UNIT[unit])


def _interval_s(estimate: Estimate) -> tuple[float | None, float | None, float | None]:
    """(low, median, high), not decreasing; without a median all are `None`."""
    low_s = _rounded(estimate.remaining_low_s, _S)
    median_s = _rounded(estimate.remaining_s, _S)
    high_s = _rounded(estimate.remaining_high_s, _S)
    if median_s is None:
        return None, None, None
    return (
        None if low_s is None else min(low_s, median_s),
        median_s,
        None if high_s is None else max(high_s, median_s),
    )

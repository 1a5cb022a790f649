"""Report -> one line of the predictions contract (docs/predictions.md).

Unknown is null. Numbers are rounded, so that a line is short and equal on every machine:
0.1 s, 0.01 %, 1 mV, 10 mA, 0.1 mAh, 1 microohm, 0.01 degC; `t_s` to the microsecond.
Current is positive while discharging; `battery` counts from 0, cells are in their order.
"""

import json
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any

from dronebms.core.report import Estimate, Report

# Decimals.
_CLOCK_S, _S, _PCT, _V, _A, _MAH, _OHM, _DEGC = 6, 1, 2, 3, 2, 1, 6, 2
_BY_UNIT = {"pct": _PCT, "mah": _MAH, "ohm": _OHM, "mol": 1}


def line(report: Report) -> dict[str, object]:
    """The keys of the contract in its order, then further keys."""
    estimate, status, snapshot = report.estimate, report.status, report.snapshot
    charging = report.charging
    low_s, median_s, high_s = _interval_s(estimate)
    return {
        "t_s": _rounded(report.t_s, _CLOCK_S),
        "soc_pct": _rounded(estimate.soc_pct, _PCT),
        "soh_pct": _rounded(estimate.soh_pct, _PCT),
        "remaining_s": median_s,
        "remaining_low_s": low_s,
        "remaining_high_s": high_s,
        "home_s": _rounded(estimate.home_s, _S),
        "home_reserve_s": _rounded(estimate.home_reserve_s, _S),
        "turn_back_in_s": _rounded(estimate.turn_back_in_s, _S),
        "home_verdict": estimate.home_verdict.value,
        "mission_verdict": estimate.mission_verdict.value,
        "verdict_missing": estimate.verdict_missing,
        "mission_end_pct": _rounded(estimate.mission_end_pct, _PCT),
        "mission_end_low_pct": _rounded(estimate.mission_end_low_pct, _PCT),
        "resistance_ohm": _rounded(estimate.resistance_ohm, _OHM),
        "max_discharge_a": _rounded(estimate.max_discharge_a, _A),
        "max_discharge_2s_a": _rounded(estimate.max_discharge_2s_a, _A),
        "max_discharge_30s_a": _rounded(estimate.max_discharge_30s_a, _A),
        "asked_max_a": _rounded(status.asked_max_a, _A),
        "limited_by": status.limited_by,
        "severity": status.severity.label,
        "active": list(status.active),
        "armed": report.vehicle.armed,
        "link_trouble": report.vehicle.link_trouble,
        "can_trouble": report.vehicle.can_trouble,
        "second_sender": report.vehicle.second_sender,
        "telemetry_links": [
            {"url": link.url, "trouble": link.trouble} for link in report.vehicle.telemetry_links
        ],
        "battery": report.index,
        "voltage_v": _rounded(snapshot.voltage_v, _V),
        "current_a": _rounded(snapshot.current_a, _A),
        "temperature_degc": _rounded(snapshot.temperature_degc, _DEGC),
        "cells_v": [_rounded(cell_v, _V) for cell_v in snapshot.cells_v],
        "age_s": _rounded(snapshot.age_s("voltage_v"), _S),
        "used_mah": _rounded(estimate.used_mah, _MAH),
        "home_margin_s": _rounded(estimate.home_margin_s, _S),
        "home_best_s": _rounded(estimate.home_best_s, _S),
        "mission_s": _rounded(estimate.mission_s, _S),
        "mission_needs_mah": _rounded(estimate.mission_needs_mah, _MAH),
        "usable_mah": _rounded(estimate.usable_mah, _MAH),
        "usable_low_mah": _rounded(estimate.usable_low_mah, _MAH),
        "last_home_item": estimate.last_home_item,
        "alternate": estimate.alternate,
        "alternate_by_return": estimate.alternate_by_return,
        "limited_in_s": _rounded(status.limited_in_s, _S),
        "trouble": snapshot.trouble,
        "doubts": list(snapshot.doubts),
        "go": None if report.flying else report.preflight.text,
        "charger": charging.do,
        "advice": charging.why,
        "full_in_s": _rounded(charging.full_in_s, _S),
        "storage_in_s": _rounded(charging.storage_in_s, _S),
        **_state(estimate.state),
    }


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

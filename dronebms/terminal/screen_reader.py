# SPDX-License-Identifier: Apache-2.0
"""The display as sentences for a screen reader, each only when it has changed.

Values are rounded coarsely, so that a reading with noise does not repeat a sentence. Minutes are
truncated, never rounded up.
"""

from dronebms.core.report import Report, Verdict
from dronebms.presentation.answers import home_answer, mission_answer
from dronebms.presentation.current_limits import binding_current_limit
from dronebms.presentation.phrases import ARMED_TEXTS, SILENT_S, has_readings, verdict

_MINUTE_S = 60
_MINUTES_FROM_S = 120.0
_STEP_S = 10
_PERCENT = 100.0
_STEP_PCT = 5


def sentences(report: Report, weakest: int | None) -> tuple[str, ...]:
    """Sentences about a battery, the most urgent first; each position has a fixed subject.

    Args:
        report: the newest.
        weakest: the cell to name, from 0; None when none stands out.
    """
    estimate = report.estimate
    status = report.status
    snapshot = report.snapshot
    home = home_answer(report)
    mission = mission_answer(report)
    way = home.word.lower()
    if estimate.home_verdict is Verdict.UNKNOWN:
        way += f", {home.why}" if home.why else ""
    elif estimate.home_margin_s is not None and report.vehicle.armed is not False:
        short = estimate.home_verdict is Verdict.NO
        margin = _minutes(abs(estimate.home_margin_s))
        way += f", short by {margin}" if short else f", {margin} to spare"
    limit = "none predicted" if has_readings(report) else "unknown"
    if status.limited_by is not None:
        when = f" in {_minutes(status.limited_in_s)}" if status.limited_in_s else ""
        limit = f"{status.label(status.limited_by)}{when}"
    limit_a, _ = binding_current_limit(report)
    current = "unknown"
    cell = "cells unknown"
    if snapshot.lowest_cell() is not None:
        cell = "no weak cell" if weakest is None else f"weakest cell {weakest + 1}"
    if snapshot.current_a is not None and limit_a:
        share = round(_PERCENT / _STEP_PCT * snapshot.current_a / limit_a) * _STEP_PCT
        current = f"{share} percent of the limit"
    return (
        f"state {verdict(report)}",
        f"home {way}",
        f"mission {'none' if mission is None else mission.word.lower()}",
        _time_left(report),
        f"next limit {limit}",
        f"state of charge {_whole(estimate.soc_pct, 'percent')}",
        cell,
        f"current {current}",
        f"temperature {_whole(snapshot.temperature_degc, 'degrees')}",
        f"autopilot {_autopilot(report)}",
    )


def _time_left(report: Report) -> str:
    estimate = report.estimate
    low_s = estimate.remaining_low_s
    high_s = estimate.remaining_high_s
    if estimate.remaining_s is None:
        return "flight time left unknown"
    interval = ""
    if low_s is not None and high_s is not None:
        interval = f", between {_minutes(low_s)} and {_minutes(high_s)}"
    return f"{_minutes(estimate.remaining_s)} left{interval}"


def _minutes(seconds: float) -> str:
    if seconds >= _MINUTES_FROM_S:
        return f"{int(seconds) // _MINUTE_S} minutes"
    return f"{max(int(seconds), 0) // _STEP_S * _STEP_S} seconds"


def _whole(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.0f} {unit}"


def _autopilot(report: Report) -> str:
    vehicle = report.vehicle
    if vehicle.heartbeat_age_s is None or vehicle.heartbeat_age_s > SILENT_S:
        return f"no heartbeat, {vehicle.link_trouble}" if vehicle.link_trouble else "no heartbeat"
    return f"{ARMED_TEXTS[vehicle.armed]}, {vehicle.mode or 'mode unknown'}"

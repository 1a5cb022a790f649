# SPDX-License-Identifier: Apache-2.0
"""The answers that every screen begins with: way home, mission, next limit, state, time left, link.

Durations are truncated to seconds, never rounded up. Unknown is a dash. Cells count from 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from dronebms.core.number_format import DASH, age, duration, number
from dronebms.core.report import Estimate, Report, Severity, Verdict
from dronebms.core.verdicts import alternate_text, mission_shortage, worst
from dronebms.presentation.cells import weakest_cell
from dronebms.presentation.phrases import (
    ARMED_TEXTS,
    SILENT_S,
    has_data,
    has_readings,
    tripped_limits,
)

_TURN_BACK_SOON_S = 60.0
_RETURNING = ("RTL", "LAND")  # in the names of the modes
_SEVERITIES = {
    Verdict.YES: Severity.OK,
    Verdict.MARGINAL: Severity.WARNING,
    Verdict.NO: Severity.CRITICAL,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict on a screen; without a severity nothing depends on it now."""

    word: str
    why: str
    severity: Severity | None = None


def home_answer(report: Report) -> Answer:
    """Whether the vehicle can still return home, and by how much."""
    estimate = report.estimate
    verdict = estimate.home_verdict
    if report.vehicle.armed is False:
        return Answer("on the ground", "")
    if verdict is Verdict.UNKNOWN:
        return Answer("UNKNOWN", _missing(estimate))
    margin_s = estimate.home_margin_s
    fly = f"{duration(estimate.home_s)} to fly home"
    spare = f"{duration(margin_s)} to spare"
    returns = any(name in (report.vehicle.mode or "") for name in _RETURNING)
    if verdict is Verdict.NO:
        lost = estimate.home_best_s is not None and estimate.home_best_s <= 0.0
        short = f"short by {duration(None if margin_s is None else -margin_s)}"
        do = fly if returns else "return now"
        do = do if estimate.alternate is None else alternate_text(estimate)
        return Answer("NO", f"{short}, {do}", Severity.EMERGENCY if lost else Severity.CRITICAL)
    if verdict is Verdict.MARGINAL:
        turn = "" if returns else "turn back, "
        return Answer("MARGINAL", f"{turn}{spare}, {fly}", Severity.WARNING)
    turn_s = estimate.turn_back_in_s
    if turn_s is not None and turn_s <= _TURN_BACK_SOON_S and not returns:
        return Answer("YES", f"turn back within {duration(turn_s)}, {fly}", Severity.INFO)
    return Answer("YES", f"{spare}, {fly}", Severity.OK)


def home_answers(reports: Sequence[Report]) -> Answer:
    """The way home of a vehicle with several batteries: the worst of those that supply it."""
    first, *others = reports
    if not others:
        return home_answer(first)
    supply = first.supply
    missing = () if supply is None else supply.missing
    present = [r for r in reports if r.index not in missing] or list(reports)
    verdict = worst(r.estimate.home_verdict for r in present)
    alike = (r for r in present if r.estimate.home_verdict is verdict)
    report = min(alike, key=lambda r: _number(r.estimate.home_margin_s))
    answer = home_answer(report)
    if supply is not None and worst((supply.home_verdict, verdict)) is not verdict:
        lost = ", ".join(str(index + 1) for index in missing)
        why = f"battery {lost} missing: load on the others"
        return Answer(supply.home_verdict.name, why, _SEVERITIES.get(supply.home_verdict))
    return (
        replace(answer, why=f"{answer.why} (battery {report.index + 1})") if answer.why else answer
    )


def _number(value: float | None) -> float:
    return inf if value is None else value


def mission_answer(report: Report) -> Answer | None:
    """Whether the pack lasts for the mission; `None` without a mission that is judged."""
    estimate = report.estimate
    flown = report.vehicle.flies_mission
    verdict = estimate.mission_verdict
    if verdict is Verdict.UNKNOWN:
        if not flown or estimate.home_verdict is Verdict.UNKNOWN or not estimate.verdict_missing:
            return None
        return Answer("UNKNOWN", _missing(estimate))
    if verdict is Verdict.YES:
        low = number(estimate.mission_end_low_pct, "%")
        why = f"ends with {number(estimate.mission_end_pct, '%')} (at least {low})"
    else:
        why = mission_shortage(estimate, "needs {needs} Ah of {usable} usable")
    why += f", {duration(estimate.mission_s)} left"
    if estimate.last_home_item is not None:
        why += f", home up to item {estimate.last_home_item}"
    return Answer(verdict.name, why, _SEVERITIES[verdict] if flown else None)


def _missing(estimate: Estimate) -> str:
    return f"missing: {estimate.verdict_missing or 'time left'}"


def following_limit(report: Report) -> tuple[str, float] | None:
    """Id of the limit that trips after the next one, and in how many seconds."""
    status = report.status
    after = {
        limit: in_s
        for limit, in_s in status.trips_in_s.items()
        if limit != status.limited_by and in_s >= (status.limited_in_s or 0.0)
    }
    return min(after.items(), key=lambda row: row[1], default=None)


def limit_answer(reports: Sequence[Report]) -> Answer:
    """The limit that trips next, and when: of several batteries, of the one that it trips first.

    With the commanded current limit or the limit after it.
    """
    limited = [report for report in reports if report.status.limited_by is not None]
    report = min(limited or reports, key=lambda report: _number(report.status.limited_in_s))
    status = report.status
    if status.limited_by is None:
        return Answer("none predicted" if has_readings(report) else "unknown", "")
    when = ""
    if status.limited_in_s is not None:
        when = " now" if status.limited_in_s <= 0 else f" in {duration(status.limited_in_s)}"
    if status.asked_max_a is not None:
        when += f", commanded limit {status.asked_max_a:.0f} A"
    elif (following := following_limit(report)) is not None:
        when += f", {status.label(following[0])} in {duration(following[1])}"
    elif status.limited_in_s:
        when += " at this load"
    if report is not reports[0]:
        when += f" (battery {report.index + 1})"
    return Answer(status.label(status.limited_by), when)


def state_answer(report: Report, now_s: float) -> Answer:
    """The severity with the tripped limits; without a severity: no data."""
    behind_s = now_s - report.t_s
    if behind_s > SILENT_S:
        return Answer("STALE", f"no report for {age(behind_s)}", Severity.WARNING)
    status = report.status
    if not has_data(report):
        return Answer("unknown", "no data received")
    loud = status.severity >= Severity.WARNING
    label = status.severity.label.upper() if loud else status.severity.label
    return Answer(label, tripped_limits(status) or "no alarms", status.severity)


def time_left(report: Report) -> tuple[str, str, str]:
    """The time left with its interval, the cut-off that ends it, and whether that is a default."""
    estimate = report.estimate
    pack_data = report.pack_data
    first = f"{duration(estimate.remaining_s)} left"
    weakest = weakest_cell(report)
    cell = "weakest cell" if weakest is None else f"cell {weakest + 1}"
    load = "at this load" if mission_answer(report) is None else "on this mission"
    second = f"until {cell} reaches {pack_data.cutoff_v:.2f} V {load}"
    if estimate.remaining_s is None:
        no_current = report.snapshot.current_a is None
        why = "current not received" if no_current else "no load yet"
        first = f"flight time left unknown: {why}"
        second = f"cut-off {pack_data.cutoff_v:.2f} V a cell"
    elif estimate.remaining_low_s is not None and estimate.remaining_high_s is not None:
        low = duration(estimate.remaining_low_s)
        high = duration(estimate.remaining_high_s)
        first += f", 90 %: {low} - {high}"
    return first, second, "" if pack_data.cutoff_cell_v is not None else "(default cut-off)"


def autopilot_answer(report: Report, now_s: float, link: str | None) -> Answer:
    """Heartbeat, arming and mode of the autopilot, then its links.

    A heartbeat that ended is a warning; without a severity none was received.

    Args:
        report: the newest.
        now_s: time of the screen.
        link: URL of the link; None: no link, "": unknown.
    """
    vehicle = report.vehicle
    shown = "no link" if link is None else link
    shown = shown if vehicle.link_trouble is None else vehicle.link_trouble
    shown = shown if vehicle.second_sender is None else vehicle.second_sender
    telemetry = (one.trouble for one in vehicle.telemetry_links)
    can = vehicle.can_trouble and f"CAN bus {vehicle.can_trouble}"
    shown = ", ".join(filter(None, (shown, can, *telemetry)))
    if vehicle.heartbeat_age_s is None:
        return Answer(f"{DASH}  no heartbeat", shown)
    age_s = vehicle.heartbeat_age_s + now_s - report.t_s
    if age_s > SILENT_S:
        return Answer(f"no heartbeat for {age(age_s)}", shown, Severity.WARNING)
    armed = ARMED_TEXTS[vehicle.armed]
    text = f"heartbeat {age(age_s)} ago, {armed}, {vehicle.mode or 'mode unknown'}"
    return Answer(text, shown, Severity.OK)

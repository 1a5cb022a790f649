# SPDX-License-Identifier: Apache-2.0
"""Texts for values that every screen, the plain output and the report page share.

Durations are truncated to seconds, never rounded up. Unknown is a dash. Cells count from 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from dronebms.core.number_format import DASH, age, clock_text, counted, duration, number, printable
from dronebms.core.report import Estimate, Report, Severity, Status, Verdict
from dronebms.core.verdicts import alternate_text, mission_shortage, worst
from smartbattery.registers import CELLS, WORDS
from smartbattery.snapshot import CELL_FIELDS

_MILLI = 1000.0
_APART_V = 0.005 - 1e-9  # a gauge counts in millivolts, and two cells tremble by one each
WIDE_SPREAD_MV = 300.0  # the default limits warn at it under load
_TURN_BACK_SOON_S = 60.0
_RETURNING = ("RTL", "LAND")  # in the names of the modes
# Reasons for a weak cell: field of its state, sign, least share of the difference to the median.
_WEAK_REASONS = (
    ("soc_pct", -1.0, 0.05, "low SoC"),
    ("capacity_mah", -1.0, 0.03, "low capacity"),
    ("resistance_ohm", 1.0, 0.1, "high resistance"),
)
_SEVERITIES = {
    Verdict.YES: Severity.OK,
    Verdict.MARGINAL: Severity.WARNING,
    Verdict.NO: Severity.CRITICAL,
}
MARKS = dict(zip(Severity, "●○▲◆■", strict=True))
SILENT_S = 2.0  # heartbeats and reports older than this are stale


def expired(report: Report, now_s: float) -> Report:
    """A report as it stands at `now_s`: without estimate and status when it is too old."""
    if now_s - report.t_s <= SILENT_S:
        return report
    old = report.snapshot.at(now_s)
    return replace(report, snapshot=old, estimate=Estimate(now_s), status=Status(now_s))


def tripped_limits(status: Status) -> str:
    """Labels of the tripped limits, worst first."""
    return ", ".join(status.label(limit_id) for limit_id in status.active)


def age_s_of(report: Report, field: str | None, now_s: float) -> float | None:
    """Time since a field of the snapshot was received, `None` if it never was."""
    at_s = None if field is None else report.snapshot.read_at_s.get(field)
    return None if at_s is None else now_s - at_s


def not_received(age_s: float | None) -> str:
    """Reason for an unknown value."""
    return "never received" if age_s is None else f"not received for {age(age_s)}"


def is_stale(field: str | None, age_s: float) -> bool:
    """Whether a value has used up half of its maximum age."""
    if field in CELL_FIELDS:
        return age_s > CELLS[0].max_age_s / 2
    return any(row.field == field and age_s > row.max_age_s / 2 for row in WORDS)


def figures(report: Report) -> str:
    """Voltage, current, lowest cell, SoC and time to empty of one battery."""
    snapshot, estimate = report.snapshot, report.estimate
    lowest = snapshot.lowest_cell()
    cell = DASH if lowest is None else f"{lowest[0] + 1}"
    left = f"left {duration(estimate.remaining_s)}"
    if estimate.remaining_low_s is not None and estimate.remaining_high_s is not None:
        low, high = duration(estimate.remaining_low_s), duration(estimate.remaining_high_s)
        left += f" ({low}-{high})"
    pack = f"{number(snapshot.voltage_v, 'V', 2)}  {number(snapshot.current_a, 'A', 1)}"
    lowest_text = f"{number(None if lowest is None else lowest[1], 'V', 2)} cell {cell}"
    return f"{pack}  {lowest_text}  {number(estimate.soc_pct, '%')}  {left}"


def has_data(report: Report) -> bool:
    """Whether the severity rests on data: "ok" of a silent pack means nothing."""
    return has_readings(report) or bool(report.status.active)


def has_readings(report: Report) -> bool:
    """Whether a voltage of the pack or of a cell is known."""
    snapshot = report.snapshot
    return snapshot.voltage_v is not None or snapshot.lowest_cell() is not None


def verdict(report: Report) -> str:
    """Severity of one battery with its tripped limits and the gauge's trouble."""
    status, trouble = report.status, report.snapshot.trouble
    severity = status.severity.label if has_data(report) else "unknown"
    tripped = f": {tripped_limits(status)}" if status.active else ""
    return f"{severity}{tripped}" + ("" if trouble is None else f" ({trouble})")


def weakest_cell(report: Report) -> int | None:
    """Cell that is below all others by more than noise, from 0."""
    known = sorted((v, k) for k, v in enumerate(report.snapshot.cells_v) if v is not None)
    apart = len(known) > 1 and known[1][0] - known[0][0] >= _APART_V
    return known[0][1] if apart else None


def weak_cell_reasons(report: Report, index: int) -> str:
    """Estimated states in which a cell is worse than the median cell; "" if there are none."""
    cells = report.estimate.state.cells
    found = []
    for name, sign, least_frac, reason in _WEAK_REASONS:
        known = sorted(v for cell in cells if (v := getattr(cell, name)) is not None)
        own = getattr(cells[index], name) if index < len(cells) else None
        if own is not None and (median := known[len(known) // 2]) > 0.0:
            found += [reason] if sign * (own / median - 1.0) >= least_frac else []
    return f": {', '.join(found)}" if found else ""


def pack_name(report: Report) -> str:
    """Number, a user's name, chemistry, cells, capacity, device and serial number, if known."""
    pack_data, identity = report.pack_data, report.snapshot.identity
    cells = pack_data.cells or identity.cells or len(report.snapshot.cells_v) or None
    capacity_mah = pack_data.capacity_mah or identity.design_mah
    given = None if report.history is None else report.history.name
    parts = (
        f"battery {report.index + 1}:",
        None if given is None else f"{printable(given)},",
        pack_data.chemistry.name,
        f"{cells}S" if cells is not None else None,
        f"{capacity_mah:.0f} mAh" if capacity_mah is not None else None,
        identity.device and printable(identity.device),
        f"serial {identity.serial}" if identity.serial is not None else None,
    )
    return " ".join(part for part in parts if part is not None)


def pack_history(report: Report) -> str:
    """Flights, capacity, maintenance and the worst finding of a pack; empty without a history."""
    found = report.history
    if found is None:
        return ""
    parts = (
        counted(found.flights, "flight"),
        found.capacity,
        found.maintenance,
        *found.findings[:1],
        f"tags {', '.join(found.tags)}" if found.tags else None,
    )
    return printable("; ".join(part for part in parts if part))


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
    estimate, flown = report.estimate, report.vehicle.flies_mission
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


def discharge_limits(report: Report) -> list[tuple[float, str]]:
    """Estimated discharge limits of the pack in amperes, each with its duration."""
    estimate = report.estimate
    rows = (
        (estimate.max_discharge_2s_a, "for 2 s"),
        (estimate.max_discharge_a, "for 10 s"),
        (estimate.max_discharge_30s_a, "for 30 s"),
    )
    return [(limit_a, name) for limit_a, name in rows if limit_a is not None]


def binding_current_limit(report: Report) -> tuple[float | None, str]:
    """The lowest of the discharge limits and the commanded limit, with its name."""
    asked_a = report.status.asked_max_a
    commanded = [] if asked_a is None else [(asked_a, "commanded")]
    return min([*commanded, *discharge_limits(report)], default=(None, ""))


def following_limit(report: Report) -> tuple[str, float] | None:
    """Id of the limit that trips after the next one, and in how many seconds."""
    status = report.status
    after = {
        limit: in_s
        for limit, in_s in status.trips_in_s.items()
        if limit != status.limited_by and in_s >= (status.limited_in_s or 0.0)
    }
    return min(after.items(), key=lambda row: row[1], default=None)


def spread_mv(report: Report) -> float | None:
    """Difference between the highest and the lowest cell, `None` without any."""
    known_v = [cell_v for cell_v in report.snapshot.cells_v if cell_v is not None]
    return (max(known_v) - min(known_v)) * _MILLI if known_v else None


def cells_heading(report: Report, now_s: float, bar: str = "") -> str:
    """Spread of the cells, age of the oldest, and the range of the bars.

    Args:
        report: the newest.
        now_s: time of the screen.
        bar: the spread as a part of `WIDE_SPREAD_MV`, drawn as text.
    """
    pack_data, cells_v = report.pack_data, report.snapshot.cells_v
    apart_mv = spread_mv(report)
    if apart_mv is None:
        return "cells: none received"
    count = sum(cell_v is not None for cell_v in cells_v)
    known = "" if count == len(cells_v) else f", {count} known"
    bars = f"bars {pack_data.cutoff_v:.2f}-{pack_data.chemistry.full_cell_v:.2f} V"
    ages_s = [age_s_of(report, f"cell{index + 1}_v", now_s) for index in range(len(cells_v))]
    oldest_s = max((age_s for age_s in ages_s if age_s is not None), default=None)
    oldest = "" if oldest_s is None else f", oldest {age(oldest_s)}"
    wide = f"{bar} of {WIDE_SPREAD_MV:.0f}" if bar else f"of {WIDE_SPREAD_MV:.0f} mV"
    return f"cells: spread {apart_mv:.0f} mV {wide}{known}{oldest}, {bars}"


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
    estimate, pack_data = report.estimate, report.pack_data
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
        low, high = duration(estimate.remaining_low_s), duration(estimate.remaining_high_s)
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
    armed = {True: "armed", False: "disarmed", None: "arming unknown"}[vehicle.armed]
    text = f"heartbeat {age(age_s)} ago, {armed}, {vehicle.mode or 'mode unknown'}"
    return Answer(text, shown, Severity.OK)


def headless_line(report: Report) -> str:
    """One battery at one moment, for `--headless`, `--plain` and logs."""
    return f"t={clock_text(report.t_s)}  {figures(report)}  {verdict(report)}"

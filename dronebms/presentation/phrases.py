# SPDX-License-Identifier: Apache-2.0
"""Texts for values that every screen, the plain output and the report page share.

Durations are truncated to seconds, never rounded up. Unknown is a dash.
"""

from dataclasses import replace

from dronebms.core.number_format import DASH, age, clock_text, counted, duration, number, printable
from dronebms.core.report import Estimate, Report, Severity, Status
from smartbattery.registers import CELLS, WORDS
from smartbattery.snapshot import CELL_FIELDS

MARKS = dict(zip(Severity, "●○▲◆■", strict=True))
SILENT_S = 2.0  # heartbeats and reports older than this are stale

ARMED_TEXTS = {True: "armed", False: "disarmed", None: "arming unknown"}


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
    snapshot = report.snapshot
    estimate = report.estimate
    lowest = snapshot.lowest_cell()
    cell = DASH if lowest is None else f"{lowest[0] + 1}"
    left = f"left {duration(estimate.remaining_s)}"
    if estimate.remaining_low_s is not None and estimate.remaining_high_s is not None:
        low = duration(estimate.remaining_low_s)
        high = duration(estimate.remaining_high_s)
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
    status = report.status
    trouble = report.snapshot.trouble
    severity = status.severity.label if has_data(report) else "unknown"
    tripped = f": {tripped_limits(status)}" if status.active else ""
    return f"{severity}{tripped}" + ("" if trouble is None else f" ({trouble})")


def pack_name(report: Report) -> str:
    """Number, a user's name, chemistry, cells, capacity, device and serial number, if known."""
    pack_data = report.pack_data
    identity = report.snapshot.identity
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


def headless_line(report: Report) -> str:
    """One battery at one moment, for `--headless`, `--plain` and logs."""
    return f"t={clock_text(report.t_s)}  {figures(report)}  {verdict(report)}"

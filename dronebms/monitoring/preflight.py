# SPDX-License-Identifier: Apache-2.0
"""Preflight check: go or no-go from what is known on the ground. Volts, ohms, seconds, amperes."""

import math
from collections.abc import Iterator

from dronebms.core.pack_data import PackData
from dronebms.core.report import ChargingAdvice, PreflightVerdict, Report, Severity, Status, Verdict
from dronebms.core.verdicts import alternate_text, mission_shortage
from smartbattery.registers import STATUS_INITIALIZED
from smartbattery.snapshot import NO_GAUGE, Snapshot

RESERVE_PCT = 15.0  # state of charge that remains after the planned flight
_MAX_ERROR_PCT = 10.0
_WORN = 2.0  # times the resistance of a new pack


def check_preflight(report: Report, charging: ChargingAdvice | None = None) -> PreflightVerdict:
    """Whether the pack is fit for a flight, for the planned one and the mission if there are any.

    Args:
        report: of a pack on the ground or in the first seconds of load.
        charging: advice of the same step; None: that of the report.
    """
    lowest = report.snapshot.lowest_cell()
    soc_pct = report.estimate.soc_pct
    cell = "" if lowest is None else f", lowest cell {lowest[1]:.2f} V"
    charge = "state of charge unknown" if soc_pct is None else f"state of charge {soc_pct:.0f} %"
    reasons = (
        *_condition(report, charging or report.charging),
        *_planned_flight(report),
        *_mission(report),
    )
    checking = _checking(report.status)
    if checking is not None:
        reasons = (*reasons, checking)
    return PreflightVerdict(
        reasons, f"{charge}{cell}{_mission_state(report)}", checking is not None
    )


def _checking(status: Status) -> str | None:
    """Why the pack is not judged yet: it has just been connected, or exceeds a limit just now."""
    if not status.pending and status.checking_s <= 0.0:
        return None
    worst = next(iter(status.pending), None)
    left_s = max(status.checking_s, *status.pending.values(), 1.0)
    name = "" if worst is None else f" {status.label(worst)}"
    return f"checking{name}, {math.ceil(left_s)} s"


def _condition(report: Report, charging: ChargingAdvice) -> Iterator[str]:
    snapshot = report.snapshot
    status = report.status
    pack_data = report.pack_data
    if not snapshot.has_answer:
        yield f"no gauge data{'' if snapshot.trouble is None else ': ' + snapshot.trouble}"
        return
    if status.severity >= Severity.WARNING:
        yield ", ".join(status.label(limit_id) for limit_id in status.active)
    if report.unread is not None:
        yield f"earlier faults unknown: {report.unread}"
    yield from _missing(snapshot, pack_data)
    if charging.do != "none":
        yield "charging"
    starts = "status_raw" in snapshot.rejected
    if starts or (snapshot.status_raw is not None and not snapshot.status_raw & STATUS_INITIALIZED):
        yield "gauge not initialized"
    error_pct = snapshot.max_error_pct
    if error_pct is not None and error_pct > _MAX_ERROR_PCT:
        yield f"gauge max error {error_pct:.0f} % > {_MAX_ERROR_PCT:.0f} %"
    ohm = report.estimate.resistance_ohm
    cells = pack_data.cells
    if ohm is not None and cells and pack_data.capacity_mah:
        new_ohm = pack_data.chemistry.resistance_mohm_ah / pack_data.capacity_mah * cells
        degc = snapshot.temperature_degc
        warm = degc is not None and degc > pack_data.chemistry.cold_degc
        if ohm > _WORN * new_ohm and warm:
            yield f"resistance {ohm / new_ohm:.1f} x new > {_WORN:.1f} x"


def _missing(snapshot: Snapshot, pack_data: PackData) -> Iterator[str]:
    """Readings without which a limit does not judge the pack."""
    if None in snapshot.cells_v:
        yield "cell voltage missing"
    if not snapshot.cells_v and pack_data.cells is None:  # no limit judges the voltage
        yield "number of cells unknown"
    current_a = snapshot.beyond_a if snapshot.current_a is None else snapshot.current_a
    if current_a is None and _is_measured(snapshot, "current_a"):
        yield "current missing"
    if snapshot.temperature_degc is None and _is_measured(snapshot, "temperature_degc"):
        yield "temperature missing"


def _is_measured(snapshot: Snapshot, name: str) -> bool:
    """Whether a source measures it: every gauge does, another one if it has given a value."""
    return snapshot.identity.gauge != NO_GAUGE or name in snapshot.read_at_s


def _planned_flight(report: Report) -> Iterator[str]:
    pack_data = report.pack_data
    soc_pct = report.estimate.soc_pct
    hover_a = pack_data.expected_hover_a
    planned_s = pack_data.planned_s
    if planned_s is None or report.snapshot.voltage_v is None:
        return
    rated_mah = pack_data.capacity_mah
    if soc_pct is None or hover_a is None or rated_mah is None:
        needed = {"state of charge": soc_pct, "hover_a": hover_a, "capacity_mah": rated_mah}
        missing = ", ".join(name for name, value in needed.items() if value is None)
        yield f"hover time unknown: {missing} missing"
        return
    known_mah = report.estimate.state.weakest.capacity_mah  # to which `soc_pct` refers
    mah = rated_mah if known_mah is None else min(known_mah, rated_mah)
    lasts_s = (soc_pct - RESERVE_PCT) * mah / hover_a * 0.036
    if lasts_s < planned_s:
        yield f"hover time {max(lasts_s, 0.0):.0f} s < {planned_s:.0f} s planned"


def _mission(report: Report) -> Iterator[str]:
    """Why the mission on the vehicle cannot be finished; the 5 % bound counts before take-off."""
    estimate = report.estimate
    if report.vehicle.armed is True or report.snapshot.voltage_v is None:
        return
    if estimate.mission_verdict in (Verdict.NO, Verdict.MARGINAL):
        reason = mission_shortage(estimate, "needs {needs} Ah of {usable} usable")
        alternate = "" if estimate.alternate is None else f", {alternate_text(estimate)}"
        yield f"mission {reason}{alternate}"


def _mission_state(report: Report) -> str:
    """The end of the mission, or why it is not judged; "" without an autopilot or a mission."""
    estimate = report.estimate
    vehicle = report.vehicle
    if estimate.mission_verdict is Verdict.YES and estimate.mission_end_pct is not None:
        low_pct = estimate.mission_end_low_pct
        low = "" if low_pct is None else f" (at least {low_pct:.0f} %)"
        return f", mission ends with {estimate.mission_end_pct:.0f} %{low}"
    if estimate.mission_verdict is not Verdict.UNKNOWN or vehicle.heartbeat_age_s is None:
        return ""
    if vehicle.plan is None or vehicle.plan.items is None:
        return ", mission not received"
    missing = estimate.verdict_missing
    return f", mission not judged: {missing} missing" if vehicle.plan.items and missing else ""

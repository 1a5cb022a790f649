"""May it take off: one line of reasons, from what is known on the ground; and the log of it.

Volts, ohms, seconds, amperes.
"""

from collections.abc import Iterator

from dronebms.core.report import PreflightVerdict, Report, Severity
from smartbattery.registers import STATUS_INITIALIZED

RESERVE_PCT = 15.0  # of the charge, that a plan leaves
_MAX_ERROR_PCT = 10.0
_HOVER_FRAC = 0.9  # of what keeps it in the air, when nobody says what it draws
_WORN = 2.0  # times the resistance that a new pack has


def check_preflight(report: Report) -> PreflightVerdict:
    """Return whether the pack is fit for a flight: the one that is planned, if one is.

    Args:
        report: the newest, on the ground or in the first seconds of load.
    """
    lowest, pct = report.snapshot.lowest_cell(), report.estimate.soc_pct
    cell = "" if lowest is None else f", lowest cell {lowest[1]:.2f} V"
    charge = "charge not known" if pct is None else f"{pct:.0f} % charged"
    return PreflightVerdict((*_judged(report), *_charge(report)), f"{charge}{cell}")


def _judged(report: Report) -> Iterator[str]:
    snapshot, status, pack_data = report.snapshot, report.status, report.pack_data
    if snapshot.voltage_v is None:
        yield f"the pack is not heard{'' if snapshot.trouble is None else ': ' + snapshot.trouble}"
        return
    if status.severity >= Severity.WARNING:
        yield ", ".join(limit_id.replace("_", " ") for limit_id in status.active)
    if None in snapshot.cells_v:
        yield "not every cell is heard"
    if snapshot.temperature_degc is None:
        yield "its temperature is not heard"
    if report.charging.do != "none":
        yield "it is being charged"
    if snapshot.status_raw is not None and not snapshot.status_raw & STATUS_INITIALIZED:
        yield "the gauge is not ready"
    if snapshot.max_error_pct is not None and snapshot.max_error_pct > _MAX_ERROR_PCT:
        yield f"the gauge has not learned: its charge may be off by {snapshot.max_error_pct:.0f} %"
    ohm, cells = report.estimate.resistance_ohm, pack_data.cells
    if ohm is not None and cells and pack_data.capacity_mah:
        new_ohm = pack_data.chemistry.resistance_mohm_ah / pack_data.capacity_mah * cells
        if (
            ohm > _WORN * new_ohm
            and (snapshot.temperature_degc or 0.0) > pack_data.chemistry.cold_degc
        ):
            yield f"its resistance is {ohm / new_ohm:.1f} times a new pack's"


def _charge(report: Report) -> Iterator[str]:
    pack_data, pct = report.pack_data, report.estimate.soc_pct
    hover_a, planned_s = pack_data.hover_a, pack_data.planned_s
    if hover_a is None and pack_data.limp_home_a is not None:
        hover_a = _HOVER_FRAC * pack_data.limp_home_a
    if planned_s is None or report.snapshot.voltage_v is None:
        return
    if (
        pct is None or not hover_a or pack_data.capacity_mah is None
    ):  # facts of a recording may say 0
        yield "whether the charge is enough is not known"
        return
    known_mah = report.estimate.state.weakest.capacity_mah  # what `pct` is of
    mah = pack_data.capacity_mah if known_mah is None else min(known_mah, pack_data.capacity_mah)
    lasts_s = (pct - RESERVE_PCT) * mah / hover_a * 0.036
    if lasts_s < planned_s:
        yield f"{pct:.0f} % last {max(lasts_s, 0.0):.0f} s of the {planned_s:.0f} s planned"

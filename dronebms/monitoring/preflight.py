"""May it take off: one line of reasons, from what is known on the ground; and the log of it.

Volts, ohms, seconds, amperes.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass

from dronebms.monitoring.charging_advice import advice
from dronebms.monitoring.pipeline import Report
from dronebms.protection.limits import Severity
from smartbattery.registers import STATUS_INITIALIZED

RESERVE_PCT = 15.0  # of the charge, that a plan leaves
NO_GO = "NO-GO: "
_MAX_ERROR_PCT = 10.0
_HOVER_FRAC = 0.9  # of what keeps it in the air, when nobody says what it draws
_SETTLED_S = 3.0  # a verdict that lasts is logged
_log = logging.getLogger(__name__)
_WORN = 2.0  # times the resistance that a new pack has


@dataclass(frozen=True, slots=True)
class Verdict:
    """Go or not, with the reasons."""

    go: bool
    text: str


def go_no_go(report: Report) -> Verdict:
    """Return whether the pack is fit for a flight: the one that is planned, if one is.

    Args:
        report: the newest, on the ground or in the first seconds of load.
    """
    reasons = [*_judged(report), *_charge(report)]
    if reasons:
        return Verdict(go=False, text=f"{NO_GO}{'; '.join(reasons)}")
    lowest, pct = report.snapshot.lowest_cell(), report.estimate.soc_pct
    cell = "" if lowest is None else f", lowest cell {lowest[1]:.2f} V"
    charge = "charge not known" if pct is None else f"{pct:.0f} % charged"
    return Verdict(go=True, text=f"GO: {charge}{cell}")


class GroundLog:
    """A sink that logs what may be done with each pack: when that changes, and at arming."""

    def __init__(self) -> None:
        self._newest: dict[int, tuple[str, float]] = {}  # without its numbers, since when
        self._said: dict[int, str] = {}

    def __call__(self, report: Report) -> None:
        """Log what is new."""
        index, armed = report.index, report.vehicle.armed is True
        if report.flying and not armed:
            return
        verdict, advised = go_no_go(report), advice(report)
        text = verdict.text if advised.storage_in_s is None else f"{verdict.text}; {advised.why}"
        words = "armed" if armed else re.sub(r"[\d.]+", "", text)
        if words != self._newest.get(index, ("", 0.0))[0]:
            self._newest[index] = words, report.t_s
        settled = armed or report.t_s - self._newest[index][1] >= _SETTLED_S
        if settled and self._said.get(index) != words:
            self._said[index] = words
            level = logging.INFO if verdict.go else logging.WARNING
            _log.log(level, "battery %d %s%s", index + 1, "is armed: " if armed else "", text)


def _judged(report: Report) -> Iterator[str]:
    snapshot, status, facts = report.snapshot, report.status, report.facts
    if snapshot.voltage_v is None:
        yield f"the pack is not heard{'' if snapshot.trouble is None else ': ' + snapshot.trouble}"
        return
    if status.severity >= Severity.WARNING:
        yield ", ".join(limit_id.replace("_", " ") for limit_id in status.active)
    if None in snapshot.cells_v:
        yield "not every cell is heard"
    if snapshot.temperature_degc is None:
        yield "its temperature is not heard"
    if advice(report).do != "none":
        yield "it is being charged"
    if snapshot.status_raw is not None and not snapshot.status_raw & STATUS_INITIALIZED:
        yield "the gauge is not ready"
    if snapshot.max_error_pct is not None and snapshot.max_error_pct > _MAX_ERROR_PCT:
        yield f"the gauge has not learned: its charge may be off by {snapshot.max_error_pct:.0f} %"
    ohm, cells = report.estimate.resistance_ohm, facts.cells
    if ohm is not None and cells and facts.capacity_mah:
        new_ohm = facts.chemistry.resistance_mohm_ah / facts.capacity_mah * cells
        if ohm > _WORN * new_ohm and (snapshot.temperature_degc or 0.0) > facts.chemistry.cold_degc:
            yield f"its resistance is {ohm / new_ohm:.1f} times a new pack's"


def _charge(report: Report) -> Iterator[str]:
    facts, pct = report.facts, report.estimate.soc_pct
    hover_a, planned_s = facts.hover_a, facts.planned_s
    if hover_a is None and facts.limp_home_a is not None:
        hover_a = _HOVER_FRAC * facts.limp_home_a
    if planned_s is None or report.snapshot.voltage_v is None:
        return
    if pct is None or not hover_a or facts.capacity_mah is None:  # facts of a recording may say 0
        yield "whether the charge is enough is not known"
        return
    known_mah = report.estimate.state.weakest.capacity_mah  # what `pct` is of
    mah = facts.capacity_mah if known_mah is None else min(known_mah, facts.capacity_mah)
    lasts_s = (pct - RESERVE_PCT) * mah / hover_a * 0.036
    if lasts_s < planned_s:
        yield f"{pct:.0f} % last {max(lasts_s, 0.0):.0f} s of the {planned_s:.0f} s planned"

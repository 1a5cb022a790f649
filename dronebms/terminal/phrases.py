"""Words for values: one plain line for logs and screen readers, and what other texts share.

Durations are seconds and are cut, not rounded: a minute that is not full is not promised.
Unknown is a dash. Cells count from 1 here, as on every screen.
"""

from dronebms.core.format import DASH, age, clock_text, duration, number
from dronebms.core.report import Report, Severity
from dronebms.terminal.labels import LIMIT_LABELS, Glyphs
from smartbattery.registers import CELLS, WORDS

_MILLI = 1000.0
_APART_V = 0.005 - 1e-9  # a gauge counts in millivolts, and two cells tremble by one each
_WIDE_SPREAD_MV = 300.0  # at which the shipped limits warn under load
_SPREAD_BAR_WIDTH = 8
_TURN_BACK_SOON_S = 60.0
# Why a cell may be weak: a field of its state, which way, by which share at least.
_WEAK_BY = (
    ("soc_pct", -1.0, 0.05, "less charge"),
    ("capacity_mah", -1.0, 0.03, "holds less"),
    ("resistance_ohm", 1.0, 0.1, "resists more"),
)
SILENT_S = 2.0  # heartbeats and reports older than this are no longer news


def limit_label(limit_id: str) -> str:
    """Return a limit as it is spoken."""
    return LIMIT_LABELS.get(limit_id, limit_id.replace("_", " "))


def age_s_of(report: Report, field: str | None, now_s: float) -> float | None:
    """Return how long ago a field of the snapshot was last heard, None when it never was."""
    at_s = None if field is None else report.snapshot.read_at_s.get(field)
    return None if at_s is None else now_s - at_s


def unheard(age_s: float | None) -> str:
    """Return why a value is unknown."""
    return "never heard" if age_s is None else f"not heard for {age(age_s)}"


def is_stale(field: str | None, age_s: float) -> bool:
    """Return whether a value has used up half its life: it may be gone at the next look."""
    return any(row.field == field and age_s > row.max_age_s / 2 for row in (*WORDS, *CELLS))


def figures(report: Report) -> str:
    """Return the numbers of one battery that fit on a line."""
    snapshot, estimate = report.snapshot, report.estimate
    weakest = snapshot.lowest_cell()
    cell = DASH if weakest is None else f"{weakest[0] + 1}"
    left = f"left {duration(estimate.remaining_s)}"
    if estimate.remaining_low_s is not None and estimate.remaining_high_s is not None:
        low, high = duration(estimate.remaining_low_s), duration(estimate.remaining_high_s)
        left += f" ({low}-{high})"
    pack = f"{number(snapshot.voltage_v, 'V', 2)}  {number(snapshot.current_a, 'A', 1)}"
    lowest = f"{number(None if weakest is None else weakest[1], 'V', 2)} cell {cell}"
    return f"{pack}  {lowest}  {number(estimate.soc_pct, '%')}  {left}"


def is_judged(report: Report) -> bool:
    """Return whether the verdict rests on something: "ok" of a silent pack means nothing."""
    snapshot, status = report.snapshot, report.status
    heard = snapshot.voltage_v is not None or snapshot.lowest_cell() is not None
    return heard or bool(status.active)


def verdict(report: Report) -> str:
    """Return the severity of one battery with what is tripped and why it is silent."""
    status, trouble = report.status, report.snapshot.trouble
    judged = status.severity.label if is_judged(report) else "unknown"
    tripped = f": {', '.join(map(limit_label, status.active))}" if status.active else ""
    return f"{judged}{tripped}" + ("" if trouble is None else f" ({trouble})")


def weakest(report: Report) -> int | None:
    """Return the cell that is below all others by more than noise, from 0."""
    known = sorted((v, k) for k, v in enumerate(report.snapshot.cells_v) if v is not None)
    apart = len(known) > 1 and known[1][0] - known[0][0] >= _APART_V
    return known[0][1] if apart else None


def weak_by(report: Report, index: int) -> str:
    """Return in what a cell is worse than the middle one, as believed; nothing when it is alike."""
    cells, found = report.estimate.state.cells, []
    for name, sign, least_frac, why in _WEAK_BY:
        known = sorted(v for cell in cells if (v := getattr(cell, name)) is not None)
        own = getattr(cells[index], name) if index < len(cells) else None
        if own is not None and (middle := known[len(known) // 2]) > 0.0:
            found += [why] if sign * (own / middle - 1.0) >= least_frac else []
    return f": {', '.join(found)}" if found else ""


def pack_name(report: Report) -> str:
    """Return which battery this is, with what is known of it."""
    pack_data, identity = report.pack_data, report.snapshot.identity
    cells = pack_data.cells or identity.cells or len(report.snapshot.cells_v) or None
    capacity_mah = pack_data.capacity_mah or identity.design_mah
    said = (
        f"battery {report.index + 1}: {pack_data.chemistry.name}",
        f"{cells}S" if cells is not None else None,
        f"{capacity_mah:.0f} mAh" if capacity_mah is not None else None,
        identity.device,
        f"serial {identity.serial}" if identity.serial is not None else None,
    )
    return " ".join(part for part in said if part is not None)


def why_no_home(report: Report) -> str:
    """Return what is missing to judge the way home."""
    vehicle = report.vehicle
    if vehicle.lat_deg is None or vehicle.lon_deg is None:
        return "no position from the flight controller"
    if vehicle.home_lat_deg is None or vehicle.home_lon_deg is None:
        return "no home position from the flight controller"
    if report.estimate.remaining_s is None:
        return "as the time left is not known"
    return "the way home is not known yet"


def home_answer(report: Report) -> tuple[Severity, str, str]:
    """Return how bad the way home is, the answer in a word, and why."""
    estimate = report.estimate
    reserve_s, turn_back_s = estimate.home_reserve_s, estimate.turn_back_in_s
    if estimate.home_s is None or reserve_s is None:
        return Severity.OK, f"unknown, {why_no_home(report)}", ""
    if reserve_s < 0:
        return Severity.EMERGENCY, "NO", f"the pack ends {duration(reserve_s)} too early"
    rest = f"{duration(reserve_s)} in reserve"
    if turn_back_s is None:
        return Severity.OK, "yes", rest
    if turn_back_s <= 0:
        return Severity.CRITICAL, "TURN BACK NOW", rest
    soon = turn_back_s < _TURN_BACK_SOON_S
    rest = f"turn back within {duration(turn_back_s)}, {rest}"
    return Severity.WARNING if soon else Severity.OK, "yes", rest


def allowances(report: Report) -> list[tuple[float, str]]:
    """Return the amps that the pack can give, each with for how long."""
    estimate = report.estimate
    rows = (
        (estimate.max_discharge_2s_a, "for 2 s"),
        (estimate.max_discharge_a, "for 10 s"),
        (estimate.max_discharge_30s_a, "for 30 s"),
    )
    return [(limit_a, name) for limit_a, name in rows if limit_a is not None]


def binding_allowance(report: Report) -> tuple[float | None, str]:
    """Return the fewest amps that are given or asked for, and which they are."""
    asked_a = report.status.asked_max_a
    asked = [] if asked_a is None else [(asked_a, "asked")]
    return min([*asked, *allowances(report)], default=(None, ""))


def then(report: Report) -> tuple[str, float] | None:
    """Return which limit trips after the one that binds next, and in how many seconds."""
    status = report.status
    after = {
        limit: in_s
        for limit, in_s in status.trips_in_s.items()
        if limit != status.limited_by and in_s >= (status.limited_in_s or 0.0)
    }
    return min(after.items(), key=lambda row: row[1], default=None)


def cells_heading(report: Report, now_s: float, glyphs: Glyphs) -> str:
    """Return the spread of the cells, the age of the oldest, and the ends of their bars."""
    pack_data, cells_v = report.pack_data, report.snapshot.cells_v
    known_v = [cell_v for cell_v in cells_v if cell_v is not None]
    if not known_v:
        return "cells: none is heard"
    spread_mv = (max(known_v) - min(known_v)) * _MILLI
    bar = glyphs.bar(spread_mv / _WIDE_SPREAD_MV, _SPREAD_BAR_WIDTH)
    known = "" if len(known_v) == len(cells_v) else f", {len(known_v)} known"
    bars = f"bars {pack_data.cutoff_v:.2f}-{pack_data.chemistry.full_cell_v:.2f} V"
    ages_s = [age_s_of(report, f"cell{index + 1}_v", now_s) for index in range(len(cells_v))]
    oldest_s = max((age_s for age_s in ages_s if age_s is not None), default=None)
    oldest = "" if oldest_s is None else f", oldest {age(oldest_s)}"
    wide = f"{bar} of {_WIDE_SPREAD_MV:.0f}"
    return f"cells: spread {spread_mv:.0f} mV {wide}{known}{oldest}, {bars}"


def headless_line(report: Report) -> str:
    """Return one battery at one moment, for `--headless`, `--plain` and logs."""
    return f"t={clock_text(report.t_s)}  {figures(report)}  {verdict(report)}"

# SPDX-License-Identifier: Apache-2.0
"""The readings of a battery and of its cells as rows, each with its text, age and part of a bar.

A value that is not known is a dash with the reason.
"""

from dataclasses import dataclass

from dronebms.core.number_format import DASH, age, number
from dronebms.core.report import Report
from dronebms.presentation.cells import weak_cell_reasons, weakest_cell
from dronebms.presentation.current_limits import binding_current_limit, discharge_limits
from dronebms.presentation.phrases import age_s_of, is_stale, not_received

_LEAST_LIMIT_A = 0.01  # avoids a division by zero
_MILLI = 1000.0
_FULL_PCT = 100.0
WEAKEST = "<- weakest"


@dataclass(frozen=True, slots=True)
class Age:
    """How old a value is, as text; a stale one has used up half of its maximum age."""

    text: str
    stale: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """A value of the pack as text."""

    label: str
    value: str
    note: str  # next to the value; the reason if it is unknown
    share: float | None = None  # of a bar
    age: Age | None = None  # None: never received, or an estimate, which is as old as its report


@dataclass(frozen=True, slots=True)
class CellReading:
    """A cell as text."""

    number: str
    value: str
    share: float | None  # of a bar from the cut-off to full; None: unknown
    note: str = ""  # why it is unknown
    age: Age | None = None
    mark: str = ""  # of the weakest, with the estimated reasons


def readings(report: Report, now_s: float, *, degrees: str, ohms: str) -> tuple[Reading, ...]:
    """State of charge, current against its limit, voltage and temperature, each with its age.

    Args:
        report: the newest.
        now_s: time of the screen.
        degrees: unit of temperatures, as the screen can draw it.
        ohms: unit of the resistance.
    """
    snapshot = report.snapshot
    estimate = report.estimate
    current_a = snapshot.current_a
    ohm = estimate.resistance_ohm
    limit_a, limit_name = binding_current_limit(report)
    share = None
    if current_a is not None and limit_a is not None:
        share = current_a / max(limit_a, _LEAST_LIMIT_A)
    form = ">" if share is not None and share > 1 else "of"
    limit = _note(f"{form} {{:.0f}} A {limit_name}", limit_a) or "limit unknown"
    charge = estimate.soc_pct
    soc = Reading("SoC", number(charge, "%"), "not estimated yet")
    if charge is not None:
        health = _note("SoH {:.0f} %", estimate.soh_pct)
        soc = Reading("SoC", number(charge, "%"), health, charge / _FULL_PCT)
    used = _note("{:.0f} mAh used", estimate.used_mah)
    inner = _note(f"resistance {{:.0f}} {ohms}", None if ohm is None else ohm * _MILLI)
    rows = (
        ("current", "current_a", current_a, "A", 1, limit),
        ("voltage", "voltage_v", snapshot.voltage_v, "V", 2, used),
        ("temperature", "temperature_degc", snapshot.temperature_degc, degrees, 1, inner),
    )
    found = [soc]
    for label, field, value, unit, decimals, note in rows:
        age_s = age_s_of(report, field, now_s)
        text = number(value, unit, decimals)
        if value is None:
            found.append(Reading(label, text, not_received(age_s)))
            continue
        bar = share if field == "current_a" else None
        found.append(Reading(label, text, note, bar, age_of(field, age_s)))
    return tuple(found)


def max_current(report: Report) -> Reading:
    """The estimated discharge limits of the pack, each with its duration."""
    limits = discharge_limits(report)
    value_a, first = limits[0] if limits else (None, "not estimated yet")
    rest = ", ".join([first, *(f"{limit_a:.0f} A {name}" for limit_a, name in limits[1:])])
    return Reading("max current", number(value_a, "A"), rest)


def cell_reading(
    report: Report, index: int, now_s: float, *, mean_v: float | None = None
) -> CellReading:
    """A cell, counted from 0; with `mean_v` in millivolts, and with the reasons of a weak one."""
    pack_data = report.pack_data
    cell_v = report.snapshot.cells_v[index]
    field = f"cell{index + 1}_v"
    age_s = age_s_of(report, field, now_s)
    place = str(index + 1)
    if cell_v is None:
        return CellReading(place, f"{DASH:>4} V", None, not_received(age_s))
    value = f"{cell_v:.2f} V"
    if mean_v is not None:
        value = f"{cell_v:.3f} V {(cell_v - mean_v) * _MILLI:+5.0f} mV"
    mark = ""
    if weakest_cell(report) == index:
        mark = WEAKEST + ("" if mean_v is None else weak_cell_reasons(report, index))
    span_v = pack_data.chemistry.full_cell_v - pack_data.cutoff_v
    share = (cell_v - pack_data.cutoff_v) / span_v
    return CellReading(place, value, share, age=age_of(field, age_s), mark=mark)


def age_of(field: str, age_s: float | None) -> Age | None:
    """The age of a field of the snapshot as text, `None` if it was never received."""
    if age_s is None:
        return None
    if is_stale(field, age_s):
        return Age(f"STALE {age(age_s)}", stale=True)
    return Age(f"{age(age_s)} ago", stale=False)


def _note(form: str, value: float | None) -> str:
    return "" if value is None else form.format(value)

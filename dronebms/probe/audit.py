# SPDX-License-Identifier: Apache-2.0
"""Warnings about a pack that was read: one sentence each, with numbers.

Compares a `Readout` with usual ranges and with the user's options; reads nothing itself. Current is
positive while discharging. Unknown values give no warning.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from dronebms.probe.readout import Readout

_FULL_PCT = (80.0, 110.0)  # of the design capacity
_HEALTHY_PCT = 80.0
_MAX_ERROR_PCT = 10.0
_SPREAD_MV = 30
_REST_PER_H = 0.05  # of the full charge: the pack is at rest below this current
_NOMINAL_CELL_V = (3.1, 3.95)  # from LiFePO4 to LiHV
_LEARNED_S = 30 * 86_400.0
_LEARNED_CYCLES = 20.0
_TIME_RATIO = 1.5  # between the gauge's time to empty and charge over current
_DAY_S = 86_400.0
_HOUR_S = 3600.0
_MINUTE_S = 60.0
_MILLI = 1000.0

# Status words whose flags give a warning: all (None), or those named.
_WARN_IF_SET: dict[str, frozenset[str] | None] = {
    "PFStatus": None,
    "SafetyStatus": None,
    "PFAlert": None,
    "SafetyAlert": None,
    "OperationStatus": frozenset({"SS", "PF", "XDSG", "SDV", "SDM", "EMSHUT"}),
    "BatteryStatus": frozenset({"TDA", "OTA", "OCA"}),
    "BatteryMode": frozenset({"CF"}),
    "GaugingStatus": frozenset({"R_DIS", "NSFM"}),
}
_IGNORED = {"PTOS", "CTOS"}  # alerts: a timer is on hold
_WARN_IF_CLEAR = (  # word, flag that should be set, meaning of a clear flag
    ("BatteryStatus", "INIT", "the gauge is not initialized and its values are not valid yet"),
    ("BatteryMode", "AM", "the gauge may broadcast alarms, which disturbs other transfers"),
    ("BatteryMode", "CHGM", "the gauge may broadcast to a charger, which disturbs other transfers"),
    ("GaugingStatus", "QEN", "the gauge does not learn capacity and resistance"),
    ("ManufacturingStatus", "FET_EN", "the gauge does not control the FETs"),
)


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """Pack and vehicle data from the user; `None` is unknown."""

    cells: int | None = None
    hover_a: float | None = None


def warnings_of(readout: Readout, options: AuditOptions) -> tuple[str, ...]:
    """The warnings, the most severe first."""
    return (
        *_flags(readout),
        *_capacity(readout),
        *_cells(readout, options.cells),
        *_learning(readout),
        *_times(readout),
        *_identity(readout),
        *_load(readout, options.hover_a),
        *_access(readout, options.hover_a),
    )


def _flags(readout: Readout) -> Iterator[str]:
    for flag in sorted(
        readout.status, key=lambda flag: [*_WARN_IF_SET, flag.register].index(flag.register)
    ):
        names = _WARN_IF_SET.get(flag.register, frozenset())
        if (names is None or flag.name in names) and flag.name not in _IGNORED:
            yield f"{flag.register} {flag.name}: {flag.text}"
    for register, name, meaning in _WARN_IF_CLEAR:
        if readout.answered(register) and name not in readout.flags(register):
            yield f"{register} {name} is off: {meaning}."


def _capacity(readout: Readout) -> Iterator[str]:
    full = readout.number("FullChargeCapacity")
    design = readout.number("DesignCapacity")
    low_pct, high_pct = _FULL_PCT
    if full is not None and design is not None and not low_pct <= 100 * full / design <= high_pct:
        yield (
            f"FullChargeCapacity is {100 * full / design:.2f} % of DesignCapacity "
            f"({full:g} of {design:g}); {low_pct:g} to {high_pct:g} % is usual."
        )
    healthy = readout.number("StateOfHealth.healthy_full_mah")
    design_mah = readout.snapshot.identity.design_mah
    if healthy is not None and design_mah is not None and 100 * healthy / design_mah < _HEALTHY_PCT:
        health_pct = 100 * healthy / design_mah
        yield f"State of health {health_pct:.0f} % < {_HEALTHY_PCT:g} %."
    error_pct = readout.number("MaxError")
    if error_pct is not None and error_pct > _MAX_ERROR_PCT:
        yield f"MaxError is {error_pct:g} %: the gauge's state of charge may be off by that."
    if "CAPM" in readout.flags("BatteryMode"):
        yield "Capacities are in 10 mWh (BatteryMode CAPM): charge in mAh is unknown."


def _cells(readout: Readout, configured: int | None) -> Iterator[str]:
    snapshot = readout.snapshot
    counted = readout.snapshot.identity.cells
    if counted is None:
        yield "The number of cells is ambiguous: configure it for the service."
    elif configured is not None and counted != configured:
        yield f"The gauge has {counted} cells, --cells is {configured}."
    cells = configured or counted
    design_v = snapshot.identity.design_v
    low_v, high_v = _NOMINAL_CELL_V
    if cells and design_v is not None and not low_v <= design_v / cells <= high_v:
        yield (
            f"DesignVoltage {design_v:.2f} V is {design_v / cells:.2f} V for each of {cells} "
            f"cells; {low_v:g} to {high_v:g} V is usual."
        )
    known_v = snapshot.known_cells_v()
    full_mah = snapshot.full_mah or snapshot.identity.design_mah
    if len(known_v) < 2 or snapshot.current_a is None or full_mah is None:  # noqa: PLR2004 - a pair
        return
    spread_mv = round((max(known_v) - min(known_v)) * _MILLI)
    if abs(snapshot.current_a) <= _REST_PER_H * full_mah / _MILLI and spread_mv > _SPREAD_MV:
        weakest = snapshot.cells_v.index(min(known_v)) + 1
        yield (
            f"Cell spread at rest {spread_mv} mV > {_SPREAD_MV} mV; "
            f"cell {weakest} is the lowest with {min(known_v):.3f} V."
        )


def _learning(readout: Readout) -> Iterator[str]:
    age_s = readout.number("GaugeStatus3.qmax_age_s")
    if age_s is not None and age_s > _LEARNED_S:
        yield f"The Qmax of the gauge is {age_s / _DAY_S:.0f} days old."
    cycles = readout.number("CycleCount")
    learned = readout.number("LifetimeDataBlock5.qmax_last_cycle")
    if cycles is not None and learned is not None and cycles - learned > _LEARNED_CYCLES:
        yield f"The last Qmax update is {cycles - learned:g} cycles old."


def _times(readout: Readout) -> Iterator[str]:
    for name, current in (("AverageTimeToEmpty", "AverageCurrent"), ("RunTimeToEmpty", "Current")):
        reported_s = readout.number(name)
        current_a = readout.number(current)
        remaining_mah = readout.snapshot.remaining_mah
        if reported_s is None or current_a is None or remaining_mah is None:
            continue
        if current_a <= 0.0:
            yield f"{name} is {reported_s / _MINUTE_S:.0f} minutes without discharge."
            continue
        counted_s = remaining_mah / _MILLI / current_a * _HOUR_S
        if abs(reported_s - counted_s) > _MINUTE_S and not (
            counted_s / _TIME_RATIO <= reported_s <= counted_s * _TIME_RATIO
        ):
            yield (
                f"{name} is {reported_s / _MINUTE_S:.0f} minutes, but {remaining_mah:g} mAh at "
                f"{current_a:g} A last {counted_s / _MINUTE_S:.0f} minutes."
            )


def _identity(readout: Readout) -> Iterator[str]:
    identity = readout.snapshot.identity
    if not identity.pec:
        yield "The gauge sends no PEC: bit errors on the bus are not detected."
    if not identity.serial:
        yield "The serial number is 0 or unknown: packs cannot be distinguished."
    if identity.date is None and readout.answered("ManufactureDate"):
        yield "ManufactureDate is not programmed."


def _load(readout: Readout, hover_a: float | None) -> Iterator[str]:
    full_mah = readout.snapshot.full_mah or readout.snapshot.identity.design_mah
    if hover_a is None:
        return
    if full_mah is not None:
        rate_per_h = hover_a / (full_mah / _MILLI)
        yield (
            f"Hover at {hover_a:g} A is {rate_per_h:.1f} C: {full_mah:g} mAh last "
            f"{_HOUR_S / _MINUTE_S / rate_per_h:.1f} minutes from full to empty."
        )
    recorded_a = readout.number("LifetimeDataBlock1.max_discharge_a")
    if recorded_a is not None and hover_a > recorded_a:
        yield f"Hover at {hover_a:g} A exceeds the recorded maximum of {recorded_a:g} A."
    if recorded_a is None:
        yield "The recorded maximum discharge current is not available."


def _access(readout: Readout, hover_a: float | None) -> Iterator[str]:
    if not readout.has_access:
        if hover_a is not None:
            yield "This kind of gauge does not report the thresholds of its protections."
        return
    if all(row.name != "OperationStatus" for row in readout.registers):
        yield "Neither DeviceType nor FirmwareVersion is a BQ40: status words were not read."
        return
    for register in ("SafetyStatus", "PFStatus", "OperationStatus"):
        if not readout.answered(register):
            yield f"{register} did not answer: its flags are unknown."
    if readout.security == "sealed":
        yield "The gauge is sealed: the thresholds of its protections cannot be read."
    elif readout.security is not None:
        yield (
            f"The gauge is not sealed ({readout.security}): any program on the bus can change its "
            "settings. The thresholds of its protections are not read."
        )

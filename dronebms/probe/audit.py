"""What is wrong, or worth knowing, about a pack that was probed: one sentence each, with numbers.

Judges a `Readout` and what the user told; reads nothing. Amps are positive while discharging. What
a gauge does not tell is not judged.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from dronebms.probe.readout import Readout

_FULL_PCT = (80.0, 110.0)  # of the design capacity
_HEALTHY_PCT = 80.0
_MAX_ERROR_PCT = 10.0
_SPREAD_MV = 30
_REST_PER_H = 0.05  # of the full charge: what is drawn from a resting pack at most
_NOMINAL_CELL_V = (3.1, 3.95)  # from LiFePO4 to LiHV
_LEARNED_S = 30 * 86_400.0
_LEARNED_CYCLES = 20.0
_TIME_RATIO = 1.5  # between the time that the gauge tells and charge over current
_DAY_S, _HOUR_S, _MINUTE_S = 86_400.0, 3600.0, 60.0
_MILLI = 1000.0

# Of these words every flag counts, or those that are named.
_SET: dict[str, frozenset[str] | None] = {
    "PFStatus": None,
    "SafetyStatus": None,
    "PFAlert": None,
    "SafetyAlert": None,
    "OperationStatus": frozenset({"SS", "PF", "XDSG", "SDV", "SDM", "EMSHUT"}),
    "BatteryStatus": frozenset({"TDA", "OTA", "OCA"}),
    "BatteryMode": frozenset({"CF"}),
    "GaugingStatus": frozenset({"R_DIS", "NSFM"}),
}
_IDLE = {"PTOS", "CTOS"}  # alerts that only say that a timer waits
_CLEAR = (  # word, flag that should be set, what it means when it is not
    ("BatteryStatus", "INIT", "the gauge is not ready, its values must not be used yet"),
    ("BatteryMode", "AM", "the gauge may send alarms by itself and disturb other transfers"),
    ("BatteryMode", "CHGM", "the gauge may call a charger by itself and disturb other transfers"),
    ("GaugingStatus", "QEN", "the gauge does not learn capacity and resistance"),
    ("ManufacturingStatus", "FET_EN", "the gauge does not control the transistors"),
)


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """What the user knows of the pack and the vehicle."""

    cells: int | None = None
    hover_a: float | None = None


def warnings_of(readout: Readout, told: AuditOptions) -> tuple[str, ...]:
    """Return what deserves attention, the gravest first."""
    return (
        *_flags(readout),
        *_capacity(readout),
        *_cells(readout, told.cells),
        *_learning(readout),
        *_times(readout),
        *_identity(readout),
        *_load(readout, told.hover_a),
        *_access(readout, told.hover_a),
    )


def _flags(readout: Readout) -> Iterator[str]:
    for flag in sorted(
        readout.status, key=lambda flag: [*_SET, flag.register].index(flag.register)
    ):
        names = _SET.get(flag.register, frozenset())
        if (names is None or flag.name in names) and flag.name not in _IDLE:
            yield f"{flag.register} {flag.name}: {flag.text}"
    for register, name, meaning in _CLEAR:
        if readout.answered(register) and name not in readout.flags(register):
            yield f"{register} {name} is off: {meaning}."


def _capacity(readout: Readout) -> Iterator[str]:
    full, design = readout.number("FullChargeCapacity"), readout.number("DesignCapacity")
    low_pct, high_pct = _FULL_PCT
    if full is not None and design is not None and not low_pct <= 100 * full / design <= high_pct:
        yield (
            f"The full charge is {100 * full / design:.2f} % of the design capacity "
            f"({full:g} of {design:g}); {low_pct:g} to {high_pct:g} % is usual."
        )
    healthy = readout.number("StateOfHealth.healthy_full_mah")
    design_mah = readout.look.identity.design_mah
    if healthy is not None and design_mah is not None and 100 * healthy / design_mah < _HEALTHY_PCT:
        health_pct = 100 * healthy / design_mah
        yield f"The state of health is {health_pct:.0f} %, below {_HEALTHY_PCT:g} %."
    error_pct = readout.number("MaxError")
    if error_pct is not None and error_pct > _MAX_ERROR_PCT:
        yield f"The gauge itself expects its charge to be wrong by up to {error_pct:g} %."
    if "CAPM" in readout.flags("BatteryMode"):
        yield "Capacities are in 10 mWh (BatteryMode CAPM): charge and full charge stay unknown."


def _cells(readout: Readout, told: int | None) -> Iterator[str]:
    look, counted = readout.look, readout.look.identity.cells
    if counted is None:
        yield "The cells could not be counted for certain: tell the service how many there are."
    elif told is not None and counted != told:
        yield f"The gauge shows {counted} cells, not the {told} that were told."
    cells, design_v = told or counted, look.identity.design_v
    low_v, high_v = _NOMINAL_CELL_V
    if cells and design_v is not None and not low_v <= design_v / cells <= high_v:
        yield (
            f"The design voltage of {design_v:.2f} V is {design_v / cells:.2f} V for each of "
            f"{cells} cells; {low_v:g} to {high_v:g} V is usual."
        )
    known_v = [cell_v for cell_v in look.cells_v if cell_v is not None]
    full_mah = look.full_mah or look.identity.design_mah
    if len(known_v) < 2 or look.current_a is None or full_mah is None:  # noqa: PLR2004 - a pair
        return
    spread_mv = round((max(known_v) - min(known_v)) * _MILLI)
    if abs(look.current_a) <= _REST_PER_H * full_mah / _MILLI and spread_mv > _SPREAD_MV:
        weakest = look.cells_v.index(min(known_v)) + 1
        yield (
            f"At rest the cells differ by {spread_mv} mV, more than "
            f"{_SPREAD_MV} mV; cell {weakest} is the lowest with {min(known_v):.3f} V."
        )


def _learning(readout: Readout) -> Iterator[str]:
    age_s = readout.number("GaugeStatus3.qmax_age_s")
    if age_s is not None and age_s > _LEARNED_S:
        yield f"What the gauge learns capacity from is {age_s / _DAY_S:.0f} days old."
    cycles, learned = (
        readout.number("CycleCount"),
        readout.number("LifetimeDataBlock5.qmax_last_cycle"),
    )
    if cycles is not None and learned is not None and cycles - learned > _LEARNED_CYCLES:
        yield f"The capacity was last learned {cycles - learned:g} cycles ago."


def _times(readout: Readout) -> Iterator[str]:
    for name, current in (("AverageTimeToEmpty", "AverageCurrent"), ("RunTimeToEmpty", "Current")):
        told_s, current_a = readout.number(name), readout.number(current)
        remaining_mah = readout.look.remaining_mah
        if told_s is None or current_a is None or remaining_mah is None:
            continue
        if current_a <= 0.0:
            yield f"{name} tells {told_s / _MINUTE_S:.0f} minutes though nothing is discharged."
            continue
        counted_s = remaining_mah / _MILLI / current_a * _HOUR_S
        if abs(told_s - counted_s) > _MINUTE_S and not (
            counted_s / _TIME_RATIO <= told_s <= counted_s * _TIME_RATIO
        ):
            yield (
                f"{name} tells {told_s / _MINUTE_S:.0f} minutes, but {remaining_mah:g} mAh at "
                f"{current_a:g} A last {counted_s / _MINUTE_S:.0f}."
            )


def _identity(readout: Readout) -> Iterator[str]:
    identity = readout.look.identity
    if not identity.pec:
        yield "The gauge sends no PEC: a flipped bit on the wire goes unnoticed."
    if not identity.serial:
        yield "The serial number is 0 or unknown: packs cannot be told apart."
    if identity.date is None and readout.answered("ManufactureDate"):
        yield "The date of manufacture was never programmed."


def _load(readout: Readout, hover_a: float | None) -> Iterator[str]:
    full_mah = readout.look.full_mah or readout.look.identity.design_mah
    if hover_a is None:
        return
    if full_mah is not None:
        rate_per_h = hover_a / (full_mah / _MILLI)
        yield (
            f"Hover at {hover_a:g} A is {rate_per_h:.1f} C: {full_mah:g} mAh last "
            f"{_HOUR_S / _MINUTE_S / rate_per_h:.1f} minutes from full to empty."
        )
    given_a = readout.number("LifetimeDataBlock1.max_discharge_a")
    if given_a is not None and hover_a > given_a:
        yield f"Hover at {hover_a:g} A is more than the {given_a:g} A that this pack ever gave."
    if given_a is None:
        yield "The most that this pack ever gave is not known in amperes."


def _access(readout: Readout, hover_a: float | None) -> Iterator[str]:
    if not readout.has_access:
        if hover_a is not None:
            yield "A gauge of this kind does not tell the set-points of its protections."
        return
    if all(row.name != "OperationStatus" for row in readout.registers):
        yield "Neither DeviceType nor FirmwareVersion names a BQ40: status words were not read."
        return
    for register in ("SafetyStatus", "PFStatus", "OperationStatus"):
        if not readout.answered(register):
            yield f"{register} did not answer: what it would tell is unknown."
    if readout.security == "sealed":
        yield "The gauge is sealed: the set-points of its protections cannot be read or checked."
    elif readout.security is not None:
        yield (
            f"The gauge is not sealed ({readout.security}): any program on the bus can change its "
            "settings. The set-points of its protections are not read."
        )

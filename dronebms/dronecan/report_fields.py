# SPDX-License-Identifier: Apache-2.0
"""A report -> the fields of BatteryInfo, BatteryInfoAux and CBAT.

Values are clamped to their fields. A float that is unknown is NaN, a state of charge and of health
127, a count 65535 (as BatteryPeriodic and SBS have it). What the receivers make of them:

- ArduPilot takes the consumed charge from the two capacities and the nominal voltage, at each
  BatteryInfoAux, unless the state of charge is 127 or the nominal voltage 0: then it counts the
  charge itself. NaN capacities with a nominal voltage would make it NaN, and switch its failsafes
  by capacity off. Charge and nominal voltage are therefore known together, or unknown together.
- PX4 has no unknown state of charge: 127 is 127 %. A report without a charge has no CBAT.

Percentage and capacities are those of one estimate, in units of the rated capacity, as they are
sent by MAVLink.
Source: 1092.BatteryInfo, 20004.BatteryInfoAux, 20300.CBAT (github.com/DroneCAN/DSDL); ArduPilot,
AP_BattMonitor_DroneCAN.cpp; PX4, uavcan/sensors/battery.cpp.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from dronebms.core.pack_identity import is_unique
from dronebms.core.report import Report
from dronebms.dronecan.status_flags import status_flags

Fields = Mapping[str, object]

NAN = math.nan
UNKNOWN_PCT = 127
_WORST_SD_PCT = 29  # of a charge that may be any from 0 to 100 %
UNKNOWN_COUNT = 0xFFFF
_LARGEST = 65504.0  # of a float16
_KELVIN = 273.15
_NAME_BYTES = 31
_CELLS_MAX = 255
_CBAT_CELLS_MAX = 14  # of PX4's battery_status
_SERIAL_MAX = 0xFFFF
_FIRST_YEAR = 1980  # of an SBS date

# ---------------------------------------------------------------------- charge


@dataclass(frozen=True, slots=True)
class Charge:
    """What a message has of the charge, all of one estimate."""

    pct: int
    sd_pct: int
    full_mah: float
    remaining_mah: float
    nominal_v: float  # as a float16 has it


def charge_of(report: Report) -> Charge | None:
    """The charge as it is sent; `None` if a part of it is unknown."""
    reported = report.reported
    cells = report.pack_data.cells
    pct = _known(reported.soc_pct)
    consumed_mah = _known(reported.consumed_mah)
    capacities = report.pack_data.capacity_mah, _known(report.snapshot.full_mah)
    full_mah = next((mah for mah in capacities if mah is not None and mah > 0.0), None)
    if pct is None or consumed_mah is None or full_mah is None or not cells:
        return None
    chemistry = report.pack_data.chemistry
    nominal_v = cells * chemistry.open_circuit_v(0.5)
    sd_pct = _known(report.estimate.state.weakest.soc_sd_pct)
    return Charge(
        pct=_whole(pct, 0, 100, 0),
        sd_pct=_WORST_SD_PCT if sd_pct is None else _whole(math.ceil(sd_pct), 0, 100, 0),
        full_mah=full_mah,
        remaining_mah=min(max(full_mah - consumed_mah, 0.0), full_mah),
        nominal_v=_half(nominal_v),
    )


def _watt_hours(charge: Charge) -> tuple[float, float]:
    """Full and remaining capacity; their difference is not less than what a full pack has given."""
    full_wh = _half(charge.full_mah / 1e3 * charge.nominal_v)
    used_wh = (charge.full_mah - charge.remaining_mah) / 1e3 * charge.nominal_v
    return full_wh, _half_below(max(full_wh - used_wh, 0.0))


# ---------------------------------------------------------------------- messages


def battery_info(report: Report, battery_id: int) -> Fields | None:
    """Fields of BatteryInfo; `None` without a voltage: a receiver notices the silence."""
    snapshot = report.snapshot
    estimate = report.estimate
    if snapshot.voltage_v is None:
        return None
    charge = charge_of(report)
    full_wh, remaining_wh = (NAN, NAN) if charge is None else _watt_hours(charge)
    full_in_s = report.charging.full_in_s
    hours = None if full_in_s is None else full_in_s / 3600.0
    return {
        "temperature": _float(snapshot.temperature_degc, _KELVIN),
        "voltage": _float(snapshot.voltage_v),
        "current": _float(snapshot.current_a),
        "average_power_10sec": NAN,
        "remaining_capacity_wh": remaining_wh,
        "full_charge_capacity_wh": full_wh,
        "hours_to_full_charge": _float(hours) if report.status.charging else 0.0,
        "status_flags": status_flags(report),
        "state_of_health_pct": _whole(estimate.soh_pct, 0, 100, UNKNOWN_PCT),
        "state_of_charge_pct": UNKNOWN_PCT if charge is None else charge.pct,
        "state_of_charge_pct_stdev": UNKNOWN_PCT if charge is None else charge.sd_pct,
        "battery_id": battery_id,
        "model_instance_id": _serial(report, 0xFFFFFFFF),
        "model_name": model_name(report),
    }


def battery_info_aux(report: Report, battery_id: int) -> Fields | None:
    """Fields of BatteryInfoAux; `None` without a voltage. An unknown cell is NaN in its place."""
    snapshot = report.snapshot
    if snapshot.voltage_v is None:
        return None
    charge = charge_of(report)
    return {
        "voltage_cell": _cells(report, _CELLS_MAX),
        "cycle_count": _whole(snapshot.cycles, 0, UNKNOWN_COUNT - 1, UNKNOWN_COUNT),
        "over_discharge_count": UNKNOWN_COUNT,
        "max_current": NAN,
        "nominal_voltage": 0.0 if charge is None else charge.nominal_v,
        "is_powering_off": False,
        "battery_id": battery_id,
    }


def cbat(report: Report) -> Fields | None:
    """Fields of CBAT; `None` without a voltage or a charge. Current into the pack is positive."""
    snapshot = report.snapshot
    charge = charge_of(report)
    if snapshot.voltage_v is None or charge is None:
        return None
    cells = _cells(report, _CBAT_CELLS_MAX)
    counts = snapshot.counts
    errors = counts.nacks + counts.timeouts + counts.pec_errors
    rated_mah = report.pack_data.capacity_mah
    return {
        "temperature": _float(snapshot.temperature_degc, _KELVIN),
        "voltage": _float(snapshot.voltage_v),
        "voltage_cell": cells,
        "cell_count": len(cells),
        "current": -_float(snapshot.current_a),
        "average_current": -_float(snapshot.average_a),
        "average_power": NAN,
        "available_energy": NAN,
        "remaining_capacity": charge.remaining_mah,
        "full_charge_capacity": charge.full_mah,
        "design_capacity": NAN if rated_mah is None else rated_mah,
        "average_time_to_empty": _minutes(report.reported.remaining_s),
        "average_time_to_full": _minutes(report.charging.full_in_s),
        "state_of_health": _whole(report.estimate.soh_pct, 0, 100, UNKNOWN_PCT),
        "state_of_charge": charge.pct,
        "max_error": max(charge.sd_pct, 1),
        "serial_number": _serial(report, _SERIAL_MAX),
        "manufacture_date": _date(report),
        "cycle_count": _whole(snapshot.cycles, 0, UNKNOWN_COUNT - 1, UNKNOWN_COUNT),
        "over_discharge_count": UNKNOWN_COUNT,
        "passed_charge": NAN,
        "nominal_voltage": charge.nominal_v,
        "is_powering_off": False,
        "interface_error": min(errors, UNKNOWN_COUNT),
        "status_flags": status_flags(report),
    }


def model_name(report: Report) -> bytes:
    """Maker, device and chemistry, as far as they are known; ASCII, 31 bytes."""
    identity = report.snapshot.identity
    pack_data = report.pack_data
    known = (identity.manufacturer, identity.device) if identity.device else (pack_data.pack_model,)
    text = " ".join(part for part in (*known, pack_data.chemistry.name) if part)
    return text.encode("ascii", "replace")[:_NAME_BYTES]


# ---------------------------------------------------------------------- fields


def _known(value: float | None) -> float | None:
    """The value; `None` of NaN, too."""
    return None if value is None or math.isnan(value) else value


def _float(value: float | None, offset: float = 0.0) -> float:
    """A value within the range of a float16; NaN if it is unknown."""
    if value is None:
        return NAN
    return min(max(value + offset, -_LARGEST), _LARGEST)


def _whole(value: float | None, least: int, most: int, unknown: int) -> int:
    """The whole number below a value, within bounds."""
    if value is None or math.isnan(value):
        return unknown
    return math.floor(min(max(value, least), most))


def _half(value: float) -> float:
    """The nearest float16, finite."""
    found: float = struct.unpack("<e", struct.pack("<e", min(max(value, 0.0), _LARGEST)))[0]
    return found


def _half_below(value: float) -> float:
    """The greatest float16 that is not above a value of at least 0."""
    nearest = _half(value)
    if nearest <= value:
        return nearest
    bits = struct.unpack("<H", struct.pack("<e", nearest))[0]
    below: float = struct.unpack("<e", struct.pack("<H", bits - 1))[0]
    return below


def _cells(report: Report, most: int) -> list[float]:
    """Cell voltages in their places; none if not one is known."""
    cells_v = report.snapshot.cells_v[:most]
    if all(cell_v is None for cell_v in cells_v):
        return []
    return [_float(cell_v) for cell_v in cells_v]


def _minutes(seconds: float | None) -> int:
    return _whole(None if seconds is None else seconds / 60.0, 0, UNKNOWN_COUNT - 1, UNKNOWN_COUNT)


def _serial(report: Report, most: int) -> int:
    """The serial number; 0 without one that distinguishes the pack, or that fits."""
    identity = report.snapshot.identity
    serial = identity.serial
    return serial if serial is not None and is_unique(identity) and serial <= most else 0


def _date(report: Report) -> int:
    """Date of manufacture as SBS has it; 0: unknown."""
    date = report.snapshot.identity.date
    if date is None or not 0 <= date[0] - _FIRST_YEAR < 128:  # noqa: PLR2004 - seven bits
        return 0
    return (date[0] - _FIRST_YEAR) << 9 | date[1] << 5 | date[2]

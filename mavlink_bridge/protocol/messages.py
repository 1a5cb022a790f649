# SPDX-License-Identifier: Apache-2.0
"""Encoding of a Report as BATTERY_STATUS, the two battery infos, HEARTBEAT and STATUSTEXT.

Pure functions that raise nothing: one invalid cell must not suppress the other values. A value
that is unknown, not finite or impossible is marked as unknown in its own field; a value out of
range is clamped to the range. Scales of the wire are in the constants. Discharge current is
positive in the Report and in MAVLink.
Source: MAVLink common.xml; how PX4, QGroundControl, MAVSDK and MAVProxy read the fields.
"""

import math
from collections.abc import Sequence

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.number_format import printable
from dronebms.core.report import Event, Report, Severity, Status
from mavlink_bridge.protocol.battery_info_message import (
    BATTERY_INFO,
    DATE_BYTES,
    NAME_BYTES,
    SERIAL_BYTES,
)
from smartbattery.snapshot import Identity, Snapshot

CELLS_MAX = 14  # 10 in voltages, 4 in the extension voltages_ext
_SLOTS = 10
_EXTENDED_SLOTS = 4
_UNUSED_MV = 0xFFFF  # in voltages; 0 in voltages_ext
_LARGEST_MV = 0xFFFE
_CURRENTS_CA = (-0x8000, 0x7FFF)
_TEMPERATURES_CDEGC = (-0x8000, 0x7FFE)
_COUNTS = (0, 0x7FFFFFFF)
_PERCENTAGES = (0, 100)
_TIMES_S = (1, 0x7FFFFFFF)
_UINT32_MAX = 0xFFFFFFFF
_UNKNOWN = -1
_UNKNOWN_CDEGC = 0x7FFF
_UNKNOWN_S = 0
_MV_PER_V = 1000.0
_CA_PER_A = 100.0
_CDEGC_PER_DEGC = 100.0
_HJ_PER_WH = 36.0  # unit of the field: 100 J
_TEXT_BYTES = 50  # of one STATUSTEXT
_TEXT_MAX_BYTES = 250
_CYCLES = (0, 0xFFFE)
_UNKNOWN_CYCLES = 0xFFFF
_CELL_COUNTS = (1, 0xFF)
# of SMART_BATTERY_INFO
_SERIAL_BYTES = 16
_NAME_BYTES = 50
_NOT_PROVIDED = 0
_UNKNOWN_HEALTH = 0xFF
_MOST = 1e6  # of a voltage, current or capacity in V, A, Ah
_AH_PER_MAH = 0.001

_CHARGE_STATES = {
    Severity.OK: mavlink.MAV_BATTERY_CHARGE_STATE_OK,
    Severity.INFO: mavlink.MAV_BATTERY_CHARGE_STATE_OK,
    Severity.WARNING: mavlink.MAV_BATTERY_CHARGE_STATE_LOW,
    Severity.CRITICAL: mavlink.MAV_BATTERY_CHARGE_STATE_CRITICAL,
    Severity.EMERGENCY: mavlink.MAV_BATTERY_CHARGE_STATE_EMERGENCY,
}
_TEXT_SEVERITIES = {
    Severity.OK: mavlink.MAV_SEVERITY_INFO,
    Severity.INFO: mavlink.MAV_SEVERITY_INFO,
    Severity.WARNING: mavlink.MAV_SEVERITY_WARNING,
    Severity.CRITICAL: mavlink.MAV_SEVERITY_CRITICAL,
    Severity.EMERGENCY: mavlink.MAV_SEVERITY_EMERGENCY,
}


def battery_status(
    report: Report,
    *,
    battery_id: int | None = None,
    cells_max: int = CELLS_MAX,
    low_time: bool = False,
) -> mavlink.MAVLink_battery_status_message:
    """Encode a report as BATTERY_STATUS.

    Args:
        report: of one battery.
        battery_id: BATTERY_STATUS.id; `None` takes the index of the battery.
        cells_max: cells that the receiver adds up (PX4: 10); a pack of more cells is sent as one
            voltage.
        low_time: send the 5 % bound of the time to empty where it is known, not the median.
    """
    snapshot = report.snapshot
    reported = report.reported
    status = report.status
    median_s = reported.remaining_s
    low_s = reported.remaining_low_s
    voltages_mv, extended_mv = _voltages(snapshot, cells_max)
    return mavlink.MAVLink_battery_status_message(
        id=report.index if battery_id is None else battery_id,
        battery_function=mavlink.MAV_BATTERY_FUNCTION_ALL,
        type=report.pack_data.chemistry.mavlink_type,
        temperature=_nearest(
            snapshot.temperature_degc, _CDEGC_PER_DEGC, _TEMPERATURES_CDEGC, _UNKNOWN_CDEGC
        ),
        voltages=voltages_mv,
        current_battery=_current_ca(snapshot.current_a),
        current_consumed=_nearest(reported.consumed_mah, 1.0, _COUNTS, _UNKNOWN),
        energy_consumed=_nearest(reported.consumed_wh, _HJ_PER_WH, _COUNTS, _UNKNOWN),
        battery_remaining=_floor(reported.soc_pct, _PERCENTAGES, _UNKNOWN),
        # 0 means unknown: an empty pack is sent as 1 s.
        time_remaining=_floor(
            low_s if low_time and low_s is not None else median_s, _TIMES_S, _UNKNOWN_S
        ),
        charge_state=_charge_state(status),
        voltages_ext=extended_mv,
        mode=mavlink.MAV_BATTERY_MODE_UNKNOWN,
        fault_bitmask=status.fault_bits & _UINT32_MAX,
    )


def smart_battery_info(
    report: Report, *, battery_id: int
) -> mavlink.MAVLink_smart_battery_info_message:
    """Encode the constant data of a battery as SMART_BATTERY_INFO.

    Current limits are omitted: those of a chemistry are not those of this pack.
    """
    pack_data = report.pack_data
    snapshot = report.snapshot
    identity = report.snapshot.identity
    return mavlink.MAVLink_smart_battery_info_message(
        id=battery_id,
        battery_function=mavlink.MAV_BATTERY_FUNCTION_ALL,
        type=pack_data.chemistry.mavlink_type,
        capacity_full_specification=_nearest(pack_data.capacity_mah, 1.0, _COUNTS, _UNKNOWN),
        capacity_full=_nearest(snapshot.full_mah, 1.0, _COUNTS, _UNKNOWN),
        cycle_count=_nearest(snapshot.cycles, 1.0, _CYCLES, _UNKNOWN_CYCLES),
        serial_number=_serial(identity, _SERIAL_BYTES),
        device_name=_name(identity, _NAME_BYTES),
        weight=_NOT_PROVIDED,
        discharge_minimum_voltage=_nearest(
            pack_data.cutoff_v, _MV_PER_V, (0, _LARGEST_MV), _UNUSED_MV
        ),
        charging_minimum_voltage=_UNUSED_MV,
        resting_minimum_voltage=_UNUSED_MV,
        charging_maximum_voltage=_nearest(
            pack_data.chemistry.full_cell_v, _MV_PER_V, (1, _LARGEST_MV), _NOT_PROVIDED
        ),
        cells_in_series=_nearest(pack_data.cells, 1.0, _CELL_COUNTS, _NOT_PROVIDED),
        manufacture_date=_day(identity, "{2:02d}/{1:02d}/{0:04d}"),
    )


def battery_info(report: Report, *, battery_id: int) -> mavlink.MAVLink_message:
    """Encode the constant data of a battery as BATTERY_INFO.

    Discharge currents are those that the user has configured as the maker's rating; the charging
    current is the one that the gauge requests.
    """
    pack_data = report.pack_data
    snapshot = report.snapshot
    identity = report.snapshot.identity
    rated_ah = _known(pack_data.capacity_mah, _AH_PER_MAH)
    return BATTERY_INFO(
        id=battery_id,
        battery_function=mavlink.MAV_BATTERY_FUNCTION_ALL,
        type=pack_data.chemistry.mavlink_type,
        state_of_health=_nearest(report.estimate.soh_pct, 1.0, _PERCENTAGES, _UNKNOWN_HEALTH),
        cells_in_series=_nearest(pack_data.cells, 1.0, _CELL_COUNTS, _NOT_PROVIDED),
        cycle_count=_nearest(snapshot.cycles, 1.0, _CYCLES, _UNKNOWN_CYCLES),
        weight=_NOT_PROVIDED,
        discharge_minimum_voltage=_known(pack_data.cutoff_v),
        charging_minimum_voltage=_NOT_PROVIDED,
        resting_minimum_voltage=_NOT_PROVIDED,
        charging_maximum_voltage=_known(pack_data.chemistry.full_cell_v),
        charging_maximum_current=_known(snapshot.charging_a),
        nominal_voltage=_known(identity.design_v),
        discharge_maximum_current=_known(pack_data.continuous_c, rated_ah),
        discharge_maximum_burst_current=_known(pack_data.burst_c, rated_ah),
        design_capacity=rated_ah,
        full_charge_capacity=_known(snapshot.full_mah, _AH_PER_MAH, math.nan),
        # Texts end with a 0.
        manufacture_date=_day(identity, "{2:02d}{1:02d}{0:04d}")[: DATE_BYTES - 1],
        serial_number=_serial(identity, SERIAL_BYTES - 1),
        name=_name(identity, NAME_BYTES - 1),
    )


def heartbeat(
    component_type: int = mavlink.MAV_TYPE_BATTERY, state: int = mavlink.MAV_STATE_ACTIVE
) -> mavlink.MAVLink_heartbeat_message:
    """Encode the HEARTBEAT of a component that is no autopilot: its MAV_TYPE and MAV_STATE."""
    return mavlink.MAVLink_heartbeat_message(
        type=component_type,
        autopilot=mavlink.MAV_AUTOPILOT_INVALID,
        base_mode=0,
        custom_mode=0,
        system_status=state,
        mavlink_version=3,
    )


def battery_state(report: Report) -> int:
    """MAV_STATE of a battery component: its severity, CRITICAL without data of the gauge.

    STANDBY only while the vehicle is known to be disarmed: early QGroundControl takes the state
    of every component for the autopilot's, and an armed vehicle in STANDBY for one on the ground.
    PX4 counts STANDBY and ACTIVE of a parachute and a remote id as healthy, no other state, and
    reads none of a battery; neither does ArduPilot. Source: APMFirmwarePlugin.cc
    `_handleIncomingHeartbeat`, mavlink_receiver.cpp `handle_message_heartbeat`.
    """
    if report.status.severity >= Severity.EMERGENCY:
        return int(mavlink.MAV_STATE_EMERGENCY)
    if report.status.severity >= Severity.CRITICAL or report.snapshot.voltage_v is None:
        return int(mavlink.MAV_STATE_CRITICAL)
    disarmed = report.vehicle.armed is False
    return int(mavlink.MAV_STATE_STANDBY if disarmed else mavlink.MAV_STATE_ACTIVE)


def text_severity(event: Event) -> int:
    """MAV_SEVERITY of an event; NOTICE if a limit clears."""
    return int(_TEXT_SEVERITIES[event.severity] if event.tripped else mavlink.MAV_SEVERITY_NOTICE)


def chunks(
    sentence: str, severity: int, text_id: int
) -> tuple[mavlink.MAVLink_statustext_message, ...]:
    """Encode a text as one or more STATUSTEXT.

    Args:
        sentence: the text, at most 250 characters of ASCII.
        severity: MAV_SEVERITY.
        text_id: 1..65535, by which a receiver joins the chunks of one text.
    """
    text = _ascii(sentence, _TEXT_MAX_BYTES)
    if len(text) <= _TEXT_BYTES:
        return (mavlink.MAVLink_statustext_message(severity, text),)
    # A receiver takes a chunk that is not full for the last one: a text that fills its chunks
    # exactly is followed by an empty one.
    return tuple(
        mavlink.MAVLink_statustext_message(
            severity, text[start : start + _TEXT_BYTES], text_id, start // _TEXT_BYTES
        )
        for start in range(0, len(text) + 1, _TEXT_BYTES)
    )


def _serial(identity: Identity, length: int) -> bytes:
    return _ascii("" if identity.serial is None else str(identity.serial), length)


def _name(identity: Identity, length: int) -> bytes:
    parts = (identity.manufacturer, identity.device)
    return _ascii("_".join(part for part in parts if part), length)


def _day(identity: Identity, form: str) -> bytes:
    return b"" if identity.date is None else form.format(*identity.date).encode("ascii")


def _ascii(text: str, length: int) -> bytes:
    return printable(text, ascii_only=True).encode("ascii")[:length]


def _voltages(snapshot: Snapshot, cells_max: int) -> tuple[list[int], list[int]]:
    cells_mv = _cells_mv(snapshot.cells_v, cells_max)
    if cells_mv is None:
        first_mv = _pack_mv(snapshot.voltage_v)
        extended_mv = []
    else:
        first_mv = cells_mv[:_SLOTS]
        extended_mv = [max(cell_mv, 1) for cell_mv in cells_mv[_SLOTS:]]  # 0 means unused
    return (
        first_mv + [_UNUSED_MV] * (_SLOTS - len(first_mv)),
        extended_mv + [0] * (_EXTENDED_SLOTS - len(extended_mv)),
    )


def _cells_mv(cells_v: Sequence[float | None], cells_max: int) -> list[int] | None:
    """Cell voltages in mV; `None` if a cell is unknown or there are too many.

    Every receiver takes the sum of the cells up to the first 65535 for the pack voltage. An
    unknown cell sent as 65535 would hide the cells after it; sent as 0, it would be a dead cell;
    omitted, it would shift the others. A pack with an unknown cell is sent as one voltage.
    """
    cells_mv = [_millivolts(cell_v, _LARGEST_MV) for cell_v in cells_v]
    known_mv = [cell_mv for cell_mv in cells_mv if cell_mv is not None]
    return known_mv if 0 < len(known_mv) == len(cells_mv) <= min(cells_max, CELLS_MAX) else None


def _pack_mv(voltage_v: float | None) -> list[int]:
    """Pack voltage in as few slots as possible, none if it is unknown."""
    pack_mv = _millivolts(voltage_v, _SLOTS * _LARGEST_MV)
    if pack_mv is None:
        return []
    full, rest_mv = divmod(pack_mv, _LARGEST_MV)
    return [_LARGEST_MV] * full + ([rest_mv] if rest_mv or not full else [])


def _millivolts(voltage_v: float | None, largest_mv: int) -> int | None:
    # Clamping an impossible voltage would invent a reading.
    if voltage_v is None or not 0 <= voltage_v * _MV_PER_V <= largest_mv:
        return None
    return round(voltage_v * _MV_PER_V)


def _current_ca(current_a: float | None) -> int:
    current_ca = _nearest(current_a, _CA_PER_A, _CURRENTS_CA, _UNKNOWN)
    if current_ca == _UNKNOWN and current_a is not None and math.isfinite(current_a):
        # A measured -10 mA, which means unknown, becomes its neighbour.
        return 0 if current_a * _CA_PER_A >= _UNKNOWN else _UNKNOWN - 1
    return current_ca


def _charge_state(status: Status) -> int:
    # common.xml: fault bits are valid only with UNHEALTHY and FAILED.
    if status.fault_bits:
        if status.severity >= Severity.EMERGENCY:
            return int(mavlink.MAV_BATTERY_CHARGE_STATE_FAILED)
        return int(mavlink.MAV_BATTERY_CHARGE_STATE_UNHEALTHY)
    # A charge must not hide a warning.
    if status.severity < Severity.WARNING and status.charging:
        return int(mavlink.MAV_BATTERY_CHARGE_STATE_CHARGING)
    return int(_CHARGE_STATES[status.severity])


def _nearest(value: float | None, scale: float, span: tuple[int, int], unknown: int) -> int:
    """Nearest integer of value x scale, clamped to the span."""
    if value is None or not math.isfinite(value):
        return unknown
    return round(min(max(value * scale, span[0]), span[1]))


def _floor(value: float | None, span: tuple[int, int], unknown: int) -> int:
    """Next lower integer, clamped to the span: never more than there is."""
    if value is None or not math.isfinite(value):
        return unknown
    return math.floor(min(max(value, span[0]), span[1]))


def _known(value: float | None, scale: float = 1.0, unknown: float = _NOT_PROVIDED) -> float:
    """A positive quantity of the wire, value x scale, clamped; `unknown` in place of any other."""
    if value is None or not math.isfinite(value) or value <= 0.0:
        return unknown
    return min(value * scale, _MOST)

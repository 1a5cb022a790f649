# SPDX-License-Identifier: Apache-2.0
"""Packs of other makers: messages that the package `dronecan` encodes, as our decoder reads them.

The fields are those that the named firmware fills in; see `provenance` in the comments.
"""

from typing import Any

import dronecan
from dronecan.transport import Transfer

from dronebms.dronecan.battery_messages import (
    DATA_TYPES,
    BatteryMessage,
    DataType,
    message_of,
)

INFO, AUX = "uavcan.equipment.power.BatteryInfo", "ardupilot.equipment.power.BatteryInfoAux"
CONTINUOUS = "ardupilot.equipment.power.BatteryContinuous"
PERIODIC = "ardupilot.equipment.power.BatteryPeriodic"
CELLS, CBAT = "ardupilot.equipment.power.BatteryCells", "cuav.equipment.power.CBAT"
BY_NAME: dict[str, DataType] = {row.name: row for row in DATA_TYPES.values()}
NAN = float("nan")

CELLS_V = (3.75, 3.74, 3.76, 3.73, 3.75, 3.77)
# A fuel gauge: BatteryInfo with energies and a name, as Tattu, Aerotate and Packet Digital send.
GAUGE: dict[str, Any] = {
    "temperature": 298.0, "voltage": 22.5, "current": 20.0, "remaining_capacity_wh": 180.0,
    "full_charge_capacity_wh": 355.0, "status_flags": 1, "state_of_health_pct": 98,
    "state_of_charge_pct": 51, "state_of_charge_pct_stdev": 2, "battery_id": 1,
    "model_instance_id": 4711, "model_name": b"Maker Pack 6S",
}  # fmt: skip
GAUGE_AUX: dict[str, Any] = {
    "voltage_cell": CELLS_V, "cycle_count": 17, "nominal_voltage": 22.2, "battery_id": 1,
}  # fmt: skip
# AP_Periph (Tools/AP_Periph/battery.cpp): no energies, 0 for what it does not know.
POWER_MODULE: dict[str, Any] = {
    "voltage": 22.5, "current": 20.0, "state_of_charge_pct": 99, "state_of_health_pct": 127,
    "battery_id": 1, "model_instance_id": 1, "model_name": b"org.ardupilot.periph -1",
}  # fmt: skip
# CAN messages of CUAV and Tattu packs (PX4 uavcan/sensors/battery.cpp): discharge negative, mAh.
CUAV: dict[str, Any] = {
    "temperature": 300.15, "voltage": 22.5, "voltage_cell": CELLS_V, "cell_count": 6,
    "current": -20.0, "average_current": -19.0, "remaining_capacity": 8000.0,
    "full_charge_capacity": 15800.0, "design_capacity": 16000.0, "average_time_to_empty": 23,
    "state_of_health": 99, "state_of_charge": 51, "max_error": 3, "serial_number": 1234,
    "manufacture_date": 44 << 9 | 5 << 5 | 17, "cycle_count": 12, "nominal_voltage": 22.2,
}  # fmt: skip
MULTI: dict[str, Any] = {  # BatteryContinuous: positive is a discharge, degC
    "temperature_cells": 25.0, "temperature_pcb": 31.0, "temperature_other": NAN, "current": 20.0,
    "voltage": 22.5, "state_of_charge": 51.5, "slot_id": 1, "capacity_consumed": 7.8,
    "status_flags": 1 | 1 << 18,
}  # fmt: skip
MULTI_STATIC: dict[str, Any] = {
    "name": b"Maker_Pack 6S\0", "serial_number": b"20240517\0", "manufacture_date": b"17052024",
    "design_capacity": 16.0, "cells_in_series": 6, "nominal_voltage": 22.2,
    "full_charge_capacity": 15.8, "cycle_count": 12, "state_of_health": 99,
}  # fmt: skip


def library_value(name: str, fields: dict[str, Any]) -> Any:  # noqa: ANN401 - an untyped package
    """A value of the package."""
    value = dronecan.TYPENAMES[name]()
    for field, content in fields.items():
        setattr(value, field, list(content) if isinstance(content, tuple | bytes) else content)
    return value


def frames(value: Any, source: int = 42, transfer_id: int = 0) -> list[tuple[int, bytes]]:  # noqa: ANN401
    """Identifier and data of the frames that the package makes of a value."""
    transfer = Transfer(
        payload=value, transfer_id=transfer_id, transfer_priority=20, source_node_id=source
    )
    return [(frame.message_id, bytes(frame.bytes)) for frame in transfer.to_frames()]


def message(name: str, fields: dict[str, Any], source: int = 42, **more: Any) -> BatteryMessage:  # noqa: ANN401
    """A message of a node, after encoding by the package and decoding by us."""
    data_type = BY_NAME[name]
    data = [one for _, one in frames(library_value(name, fields | more))]
    return message_of(data_type, source, data)

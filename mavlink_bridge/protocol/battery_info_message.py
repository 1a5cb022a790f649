# SPDX-License-Identifier: Apache-2.0
"""BATTERY_INFO, the constant data of a pack; pymavlink's dialects have it not yet.

MAVLink's common.xml has it since 2024 in place of SMART_BATTERY_INFO. ArduPilot's own message set,
from which pymavlink is generated, is without it, so that ArduPilot forwards it to no ground
station. A pymavlink that has the message is used as it is. Source: common.xml of 2026-07-22, from
which CRC_EXTRA was computed.
"""

import struct
from typing import Any

from pymavlink.dialects.v20 import common as mavlink

MESSAGE_ID = 372
# of which the last one is 0
DATE_BYTES = 9
SERIAL_BYTES = 32
NAME_BYTES = 50
_FLOATS = (
    *("discharge_minimum_voltage", "charging_minimum_voltage", "resting_minimum_voltage"),
    *("charging_maximum_voltage", "charging_maximum_current", "nominal_voltage"),
    *("discharge_maximum_current", "discharge_maximum_burst_current"),
    *("design_capacity", "full_charge_capacity"),
)
_BYTES = ("id", "battery_function", "type", "state_of_health", "cells_in_series")
_WORDS = ("cycle_count", "weight")
_TEXTS = ("manufacture_date", "serial_number", "name")
_ON_THE_WIRE = (*_FLOATS, *_WORDS, *_BYTES, *_TEXTS)


class BatteryInfoMessage(mavlink.MAVLink_message):  # type: ignore[misc]  # pymavlink is untyped
    """BATTERY_INFO: volts, amps, ampere-hours, percent and grams; texts are bytes when sent."""

    id = MESSAGE_ID
    msgname = "BATTERY_INFO"
    fieldnames = (*_BYTES, *_WORDS, *_FLOATS, *_TEXTS)
    ordered_fieldnames = _ON_THE_WIRE
    orders = tuple([_ON_THE_WIRE.index(name) for name in fieldnames])
    lengths = (1,) * len(_ON_THE_WIRE)
    array_lengths = (*(0,) * (len(_ON_THE_WIRE) - 3), DATE_BYTES, SERIAL_BYTES, NAME_BYTES)
    crc_extra = 26
    unpacker = struct.Struct(f"<10fHHBBBBB{DATE_BYTES}s{SERIAL_BYTES}s{NAME_BYTES}s")
    instance_field = "id"
    instance_offset = 44

    def __init__(self, *values: Any, **named: Any) -> None:  # noqa: ANN401 - numbers and bytes
        super().__init__(self.id, self.msgname)
        self._fieldnames = self.fieldnames
        self._instance_field = self.instance_field
        self._instance_offset = self.instance_offset
        fields = dict(zip(self.fieldnames, values, strict=False)) | named
        self._wire = [fields[name] for name in _ON_THE_WIRE]
        for name, value in fields.items():
            is_text = isinstance(value, bytes)
            shown = value.split(b"\0", 1)[0].decode("ascii", "replace") if is_text else value
            setattr(self, name, shown)

    def pack(self, mav: mavlink.MAVLink, force_mavlink1: bool = False) -> bytes:  # noqa: FBT001, FBT002 - pymavlink's
        """The frame of the message."""
        payload = self.unpacker.pack(*self._wire)
        return bytes(self._pack(mav, self.crc_extra, payload, force_mavlink1=force_mavlink1))


# Parsers and the encoder look it up there.
BATTERY_INFO = mavlink.mavlink_map.setdefault(MESSAGE_ID, BatteryInfoMessage)

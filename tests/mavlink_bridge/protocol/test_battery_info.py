# SPDX-License-Identifier: Apache-2.0
"""BATTERY_INFO: its layout against the definition of the message, and the values in it."""

import math
import struct
from dataclasses import replace
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.chemistry import LI_ION, LIPO
from dronebms.core.pack_data import PackData
from mavlink_bridge.protocol.battery_info_message import BATTERY_INFO, BatteryInfoMessage
from mavlink_bridge.protocol.messages import battery_info
from smartbattery.snapshot import Identity
from tests.mavlink_bridge.reports import a_report
from tests.mavlink_bridge.wire import x25

# Type, name, length of an array: common.xml of mavlink.io, 2026-07-22, in its order.
DEFINITION = (
    ("uint8_t", "id", 0),
    ("uint8_t", "battery_function", 0),
    ("uint8_t", "type", 0),
    ("uint8_t", "state_of_health", 0),
    ("uint8_t", "cells_in_series", 0),
    ("uint16_t", "cycle_count", 0),
    ("uint16_t", "weight", 0),
    ("float", "discharge_minimum_voltage", 0),
    ("float", "charging_minimum_voltage", 0),
    ("float", "resting_minimum_voltage", 0),
    ("float", "charging_maximum_voltage", 0),
    ("float", "charging_maximum_current", 0),
    ("float", "nominal_voltage", 0),
    ("float", "discharge_maximum_current", 0),
    ("float", "discharge_maximum_burst_current", 0),
    ("float", "design_capacity", 0),
    ("float", "full_charge_capacity", 0),
    ("char", "manufacture_date", 9),
    ("char", "serial_number", 32),
    ("char", "name", 50),
)
SIZES = {"float": 4, "uint16_t": 2, "uint8_t": 1, "char": 1}
WIRE = sorted(DEFINITION, key=lambda row: -SIZES[row[0]])  # stable: by falling size of the type
FULL = {
    "pack_data": PackData(LIPO, 6, 5000.0, 3.4, continuous_c=20.0, burst_c=40.0),
    "identity": Identity(
        serial=4711, manufacturer="Maker", device="Pack", design_v=22.2, date=(2025, 3, 9)
    ),
    "full_mah": 4900.4,
    "cycles": 37.0,
    "charging_a": 5.0,
    "soh_pct": 97.6,
}


def sent(battery_id: int = 3, /, **values: Any) -> Any:  # noqa: ANN401 - see a_report
    """The message of a report, as it is received."""
    pack_data = values.pop("pack_data", None)
    report = a_report(**values)
    report = report if pack_data is None else replace(report, pack_data=pack_data)
    frame = battery_info(report, battery_id=battery_id).pack(mavlink.MAVLink(None, 1, 180))
    (message,) = mavlink.MAVLink(None).parse_buffer(bytearray(frame))
    assert message.get_type() == "BATTERY_INFO"
    return message


def test_the_layout_is_that_of_the_definition() -> None:
    text = b"BATTERY_INFO "
    for kind, name, length in WIRE:
        text += f"{kind} {name} ".encode() + bytes([length] if length else [])
    both = x25(text)
    assert BatteryInfoMessage.crc_extra == (both & 0xFF) ^ (both >> 8)
    assert list(BatteryInfoMessage.fieldnames) == [name for _, name, _ in DEFINITION]
    size = sum(SIZES[kind] * max(length, 1) for kind, _, length in DEFINITION)
    assert BatteryInfoMessage.unpacker.size == size == 140


def test_a_frame_is_that_packed_by_hand() -> None:
    values = {name: 1 + number for number, (_, name, _) in enumerate(DEFINITION)}
    texts = {"manufacture_date": b"09032025", "serial_number": b"4711", "name": b"Maker_Pack"}
    made = BATTERY_INFO(**values | texts)
    forms = {"float": "<f", "uint16_t": "<H", "uint8_t": "<B"}
    payload = b"".join(
        texts[name].ljust(length, b"\0") if length else struct.pack(forms[kind], values[name])
        for kind, name, length in WIRE
    ).rstrip(b"\0")
    body = struct.pack("<5BBHB", len(payload), 0, 0, 0, 1, 180, 372, 0) + payload
    by_hand = b"\xfd" + body + struct.pack("<H", x25(body + bytes([26])))
    frame = made.pack(mavlink.MAVLink(None, 1, 180))
    assert frame == by_hand
    (received,) = mavlink.MAVLink(None).parse_buffer(bytearray(frame))
    for name, value in (values | {name: text.decode() for name, text in texts.items()}).items():
        assert getattr(received, name) == value
    assert received.pack(mavlink.MAVLink(None, 1, 180)) == by_hand


def test_everything_that_is_known_is_sent() -> None:
    info = sent(**FULL)
    assert (info.id, info.battery_function, info.type) == (3, 1, 1)
    assert (info.state_of_health, info.cells_in_series, info.cycle_count) == (98, 6, 37)
    assert (info.manufacture_date, info.serial_number, info.name) == (
        *("09032025", "4711", "Maker_Pack"),
    )
    amounts = {
        "discharge_minimum_voltage": 3.4,
        "charging_maximum_voltage": 4.2,
        "charging_maximum_current": 5.0,
        "nominal_voltage": 22.2,
        "discharge_maximum_current": 100.0,
        "discharge_maximum_burst_current": 200.0,
        "design_capacity": 5.0,
        "full_charge_capacity": 4.9004,
    }
    for name, value in amounts.items():
        assert getattr(info, name) == pytest.approx(value, rel=1e-6), name


def test_what_is_unknown_is_marked_as_the_definition_has_it() -> None:
    info = sent(pack_data=PackData(LI_ION), full_mah=None)
    assert (info.state_of_health, info.cells_in_series, info.cycle_count) == (255, 0, 65535)
    assert (info.manufacture_date, info.serial_number, info.name) == ("", "", "")
    assert math.isnan(info.full_charge_capacity)
    zeros = (
        *("weight", "charging_minimum_voltage", "resting_minimum_voltage"),
        *("charging_maximum_current", "nominal_voltage", "design_capacity"),
        *("discharge_maximum_current", "discharge_maximum_burst_current"),
    )
    assert {getattr(info, name) for name in zeros} == {0}


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_an_impossible_value_is_unknown(value: float) -> None:
    info = sent(full_mah=value, charging_a=value, identity=Identity(design_v=value))
    assert math.isnan(info.full_charge_capacity)
    assert (info.charging_maximum_current, info.nominal_voltage) == (0.0, 0.0)


def test_texts_end_with_a_zero() -> None:
    long = Identity(serial=10**40, manufacturer="M" * 40, device="D" * 40, date=(10_000, 12, 31))
    info = sent(identity=long)
    assert [len(text) for text in (info.serial_number, info.name, info.manufacture_date)] == [
        *(31, 49, 8),
    ]

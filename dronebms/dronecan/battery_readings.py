# SPDX-License-Identifier: Apache-2.0
"""Messages of batteries -> readings: which field is which, its unit, and what stands for unknown.

One row for each field that is used. Current is positive while discharging. NaN and infinity are
unknown everywhere, and what the `unknown` of a row lists.

The DSDL gives no sign for the current of BatteryInfo: ArduPilot reads a positive one as a
discharge, and so does BatteryContinuous by its definition. PX4 reads a positive current of CBAT as
a charge, and its capacities as mAh (uavcan/sensors/battery.cpp). A pack that does otherwise is
configured as `reverse_current`.

A node that states no full charge capacity is a power module: its percentage is counted from a
parameter (AP_Periph begins with 100 % at each start and sends 0 for unknown) and is not used.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dronebms.dronecan.battery_messages import (
    BATTERY_CELLS,
    BATTERY_CONTINUOUS,
    BATTERY_INFO,
    BATTERY_INFO_AUX,
    BATTERY_PERIODIC,
    CBAT,
    BatteryMessage,
    DataType,
)
from smartbattery.registers import (
    AVERAGE,
    CELLS,
    CURRENT,
    CYCLES,
    FULL,
    MAX_ERROR,
    RELATIVE_SOC,
    REMAINING,
    TEMPERATURE,
    TIME_TO_EMPTY,
    VOLTAGE,
    Register,
    date_of,
)

PCB = replace(TEMPERATURE, name="temperature_pcb", field="fet_degc")
_KELVIN = -273.15
_MILLI = 1000.0
_ZERO = (0.0,)
_UINT7 = (127.0,)
_WORD = (65_535.0,)
_LAST_SERIAL = (1 << 32) - 1
_RELATIVE_TO_FULL = 1 << 18
_DATE_CHARS = 8
_NOMINAL = 0.75, 1.7  # of the present voltage, the nominal one of a whole pack
# Data types that give the same values, the better first: floats of 32 bits before those of 16.
RANKS = {
    row.type_id: rank
    for rank, row in enumerate(
        (BATTERY_CONTINUOUS, CBAT, BATTERY_CELLS, BATTERY_PERIODIC, BATTERY_INFO_AUX, BATTERY_INFO)
    )
}


@dataclass(frozen=True, slots=True)
class _Row:
    """A reading: value of the register = field x scale + offset."""

    register: Register
    field: str
    scale: float = 1.0
    offset: float = 0.0
    unknown: tuple[float, ...] = ()  # what stands for unknown, in addition to NaN
    of_gauge: bool = False  # whether a power module's is no measurement


# fmt: off
_ROWS: Mapping[int, tuple[_Row, ...]] = {
    BATTERY_INFO.type_id: (
        _Row(VOLTAGE,       "voltage", unknown=_ZERO),
        _Row(CURRENT,       "current"),
        _Row(TEMPERATURE,   "temperature", offset=_KELVIN, unknown=_ZERO),
        _Row(RELATIVE_SOC,  "state_of_charge_pct", unknown=_UINT7, of_gauge=True),
        _Row(MAX_ERROR,     "state_of_charge_pct_stdev", unknown=_ZERO, of_gauge=True),
    ),
    BATTERY_INFO_AUX.type_id: (
        _Row(CYCLES,        "cycle_count", unknown=_WORD, of_gauge=True),
    ),
    BATTERY_CONTINUOUS.type_id: (
        _Row(VOLTAGE,       "voltage", unknown=_ZERO),
        _Row(CURRENT,       "current"),
        _Row(TEMPERATURE,   "temperature_cells"),
        _Row(PCB,           "temperature_pcb"),
        _Row(RELATIVE_SOC,  "state_of_charge", of_gauge=True),
    ),
    BATTERY_PERIODIC.type_id: (
        _Row(FULL,          "full_charge_capacity", _MILLI, unknown=_ZERO),
        _Row(CYCLES,        "cycle_count", unknown=_WORD, of_gauge=True),
    ),
    CBAT.type_id: (
        _Row(VOLTAGE,       "voltage", unknown=_ZERO),
        _Row(CURRENT,       "current", -1.0),
        _Row(AVERAGE,       "average_current", -1.0),
        _Row(TEMPERATURE,   "temperature", offset=_KELVIN, unknown=_ZERO),
        _Row(RELATIVE_SOC,  "state_of_charge", unknown=_UINT7, of_gauge=True),
        _Row(MAX_ERROR,     "max_error", unknown=_ZERO, of_gauge=True),
        _Row(REMAINING,     "remaining_capacity", of_gauge=True),
        _Row(FULL,          "full_charge_capacity", unknown=_ZERO),
        _Row(TIME_TO_EMPTY, "average_time_to_empty", 60.0, unknown=_WORD, of_gauge=True),
        _Row(CYCLES,        "cycle_count", unknown=_WORD, of_gauge=True),
    ),
}
# Status flags in the sense of the DSDL; those of a normal use are left out.
_FLAGS_OF_INFO = (
    (1 << 3,  "temperature above normal"),
    (1 << 4,  "temperature below normal"),
    (1 << 5,  "overload"),
    (1 << 6,  "bad battery"),
    (1 << 7,  "service needed"),
    (1 << 8,  "BMS error"),
)
_FLAGS = {
    BATTERY_INFO.type_id: _FLAGS_OF_INFO,
    CBAT.type_id: _FLAGS_OF_INFO,
    BATTERY_CONTINUOUS.type_id: (
        (1 << 3,  "cell imbalance"),
        (1 << 5,  "service needed"),
        (1 << 6,  "bad battery"),
        (1 << 8,  "protection system"),
        (1 << 9,  "over-voltage"),
        (1 << 10, "under-voltage"),
        (1 << 11, "over-temperature"),
        (1 << 12, "under-temperature"),
        (1 << 13, "over-current"),
        (1 << 14, "short circuit"),
        (1 << 15, "incompatible voltage"),
        (1 << 16, "incompatible firmware"),
        (1 << 17, "incompatible cells"),
    ),
}
# fmt: on


def values_of(
    message: BatteryMessage, *, is_gauge: bool
) -> Iterator[tuple[Register, float | None]]:
    """The readings of a message, plausible or not; `None` is unknown."""
    for row in _ROWS.get(message.data_type.type_id, ()):
        raw = float(message.values[row.field])
        known = math.isfinite(raw) and raw not in row.unknown
        if is_gauge or not row.of_gauge:
            yield row.register, raw * row.scale + row.offset if known else None


def states_full_charge(message: BatteryMessage) -> bool | None:
    """Whether the sender states a full charge capacity; `None`: the message has none."""
    for name in ("full_charge_capacity_wh", "full_charge_capacity"):
        if name in message.values:
            design = message.values.get("design_capacity", 0.0)
            return any(math.isfinite(one) and one > 0.0 for one in (message.values[name], design))
    return None


def nominal_v_of(message: BatteryMessage, voltage_v: float | None) -> float | None:
    """The pack's nominal voltage, `None` without one or if it cannot be that of the pack."""
    nominal_v = message.values.get("nominal_voltage", 0.0)
    if not math.isfinite(nominal_v) or voltage_v is None:
        return None
    low, high = _NOMINAL
    return float(nominal_v) if low * voltage_v <= nominal_v <= high * voltage_v else None


def charge_of(
    message: BatteryMessage, nominal_v: float | None, full_mah: float | None
) -> Iterator[tuple[Register, float]]:
    """Remaining and full charge in mAh of a gauge that states Wh, or what it has consumed.

    Args:
        message: of a gauge.
        nominal_v: by which Wh are Ah; without it nothing follows from Wh.
        full_mah: full charge capacity, from which a consumption is counted.
    """
    values = message.values
    if message.data_type is BATTERY_INFO and nominal_v is not None:
        names = (REMAINING, "remaining_capacity_wh"), (FULL, "full_charge_capacity_wh")
        for register, name in names:
            if math.isfinite(values[name]):
                yield register, values[name] / nominal_v * _MILLI
    if message.data_type is BATTERY_CONTINUOUS and full_mah is not None:
        consumed_ah = values["capacity_consumed"]
        if values["status_flags"] & _RELATIVE_TO_FULL and math.isfinite(consumed_ah):
            yield REMAINING, full_mah - consumed_ah * _MILLI


def cells_of(message: BatteryMessage) -> tuple[int, tuple[float | None, ...]] | None:
    """Index of the first place and every place of a message, `None` of a message without any.

    What is no voltage of a cell is `None`: an unknown cell, or a place behind the last one.
    """
    values = message.values
    first = int(values.get("index", 0))
    cells_v = values.get("voltage_cell", values.get("voltages", ()))
    if message.data_type is CBAT:
        cells_v = cells_v[: values["cell_count"]]
    low = CELLS[0].low
    high = CELLS[0].high
    places = tuple([v if low <= v <= high else None for v in cells_v])
    return (first, places) if places else None


def alerts_of(message: BatteryMessage) -> tuple[str, ...] | None:
    """Texts of the status flags that are set, `None` of a message without any."""
    values = message.values
    rows = _FLAGS.get(message.data_type.type_id)
    if rows is None and message.data_type is not BATTERY_INFO_AUX:
        return None
    found = [text for bit, text in rows or () if values["status_flags"] & bit]
    if values.get("is_powering_off"):
        found.append("powering off")
    return tuple(found)


def identity_of(message: BatteryMessage, *, is_gauge: bool) -> dict[str, Any]:
    """Fields of an Identity that a message states, without unknown ones.

    A power module's data are not those of the pack behind it.
    """
    values = message.values
    found = dict[str, Any]()
    if message.data_type is BATTERY_INFO and is_gauge:
        found["device"] = _text(values["model_name"])
        found["serial"] = values["model_instance_id"]
    elif message.data_type is CBAT:
        found["serial"] = values["serial_number"]
        found["date"] = date_of(values["manufacture_date"])
        found["cells"] = values["cell_count"]
        found["design_mah"] = _positive(values["design_capacity"])
    elif message.data_type is BATTERY_PERIODIC:
        maker, _, product = _text(values["name"]).partition("_")
        serial = _text(values["serial_number"])
        # A serial number that is none distinguishes the packs as a part of their name.
        is_number = serial.isascii() and serial.isdecimal() and int(serial) <= _LAST_SERIAL
        found["manufacturer"] = maker
        found["device"] = " ".join(filter(None, (product, "" if is_number else serial)))
        found["serial"] = int(serial) if is_number else None
        found["date"] = _date(_text(values["manufacture_date"]))
        found["cells"] = values["cells_in_series"]
        found["design_mah"] = _positive(values["design_capacity"] * _MILLI)
    return {name: value for name, value in found.items() if value}


def _text(raw: bytes) -> str:
    """Printable characters before the final zero."""
    text = raw.partition(b"\0")[0].decode(errors="replace")
    return "".join(char for char in text if char.isprintable()).strip()


def _positive(value: float) -> float | None:
    return value if math.isfinite(value) and value > 0.0 else None


def _date(text: str) -> tuple[int, int, int] | None:
    """(year, month, day) of DDMMYYYY."""
    if len(text) != _DATE_CHARS or not (text.isascii() and text.isdecimal()):
        return None
    day = int(text[:2])
    month = int(text[2:4])
    year = int(text[4:])
    return (year, month, day) if 1 <= month <= 12 and 1 <= day <= 31 else None  # noqa: PLR2004 - a calendar


def battery_id_of(message: BatteryMessage) -> int | None:
    """The id that a message states: battery_id, or a slot other than 0; `None` without one."""
    values: Mapping[str, Any] = message.values
    if "battery_id" in values:
        return int(values["battery_id"])
    return int(values.get("slot_id", 0)) or None


def is_leading(data_type: DataType) -> bool:
    """Whether a data type has the voltage of a pack."""
    return data_type in (BATTERY_INFO, BATTERY_CONTINUOUS, CBAT)

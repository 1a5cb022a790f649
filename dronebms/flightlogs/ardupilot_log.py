# SPDX-License-Identifier: Apache-2.0
"""ArduPilot's .bin (DataFlash) log: each message is A3 95, its type, and a payload of fixed length.

A FMT message (type 128) describes a type before its first use. Damaged bytes are skipped up to the
next mark. Source: ArduPilot AP_Logger/README.md and LogStructure.h (a cell is logged 1 mV too high,
an unknown temperature as 0).
"""

import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from dronebms.core.bounded_input import Window, open_regular
from dronebms.flightlogs.messages import (
    BatteryLog,
    Damages,
    Fields,
    Payloads,
    Topic,
    Values,
    unless,
    wind_columns,
)
from mavlink_bridge.protocol.autopilot import uid_of

MAGIC = b"\xa3\x95\x80\x80"
_MARK = MAGIC[:2]
_NEXT = re.compile(_MARK)
_HEAD_BYTES = 3
_FMT = 128
_FMT_FIELDS = struct.Struct("<BB4s16s64s")  # type, length, name, format, columns
_PARM = "PARM"
_PARM_NAME_BYTES = 16
_TEXT = "MSG"
_TEXT_BYTES = 64  # the text is the last field
# The board and its id, of which each word is written with its last byte first (Util.cpp,
# get_system_id); AUTOPILOT_VERSION.uid2 has the bytes as they are.
_BOARD = re.compile(r"\S.{0,12} ([0-9A-F]{8}) ([0-9A-F]{8}) ([0-9A-F]{8})")
_HOME = 1  # ORGN.Type
# EV.Id
_ARMED = 10
_DISARMED = 11
_US_PER_S = 1e6
_SAMPLE = "BAT"
_PER_BATTERY = ("BAT", "BCL")
_EARLIER_SAMPLES = ("CURR", "CUR")  # of ArduPilot up to 3.5: CURR, of the second battery CUR2
_NUMBERS = tuple("23456789")
_INSTANCES = tuple(range(256))  # a log describes its own fields: the number can be a float
_CELL_SLOTS = 14  # of BCL and BCL2
_CENTI = 0.01
# As shipped, 3300 since 2013: without the column Default nothing shows whether a user set it.
_SHIPPED_CAPACITIES_MAH = (1760.0, 3300.0)
_MILLI = 1e-3
# Letters of a format: numpy type (texts and arrays by their length), scale.
_LETTERS: Mapping[str, tuple[str, float]] = {
    "b": ("i1", 1.0), "B": ("u1", 1.0), "M": ("u1", 1.0), "h": ("<i2", 1.0), "H": ("<u2", 1.0),
    "i": ("<i4", 1.0), "I": ("<u4", 1.0), "q": ("<i8", 1.0), "Q": ("<u8", 1.0),
    "g": ("<f2", 1.0), "f": ("<f4", 1.0), "d": ("<f8", 1.0), "c": ("<i2", 0.01),
    "C": ("<u2", 0.01), "e": ("<i4", 0.01), "E": ("<u4", 0.01), "L": ("<i4", 1e-7),
    "n": ("S4", 0.0), "N": ("S16", 0.0), "Z": ("S64", 0.0), "a": ("V64", 0.0),
}  # fmt: skip


def read(path: Path, battery: int) -> BatteryLog:
    """Messages that are used of one battery.

    Args:
        path: the log.
        battery: instance, from 0.

    Raises:
        OSError: the log cannot be read.
        FlightLogError: it is damaged.
    """
    capacity = f"BATT{battery + 1 if battery else ''}_CAPACITY"
    topics: list[Topic] = []
    pack: dict[str, object] = {}
    batteries: dict[int, str] = {}
    uid: str | None = None
    for name, payloads in _messages(path):
        fields = Fields(payloads)
        if name == _PARM:
            pack |= _parameter(payloads, fields, capacity)
            continue
        if name == _TEXT:
            uid = uid or _board_uid(payloads)
            continue
        kind = _kind(name)
        if kind in _PER_BATTERY:
            instances = _select(name, fields, battery)
            if kind == _SAMPLE:
                batteries |= {number: f"battery {number + 1}" for number in sorted(instances)}
            if battery not in instances:
                continue
        try:
            topics.append(Topic(_times_s(fields), _ROWS[kind](fields)))
        except KeyError:
            pass  # a message of this name with other fields
    return BatteryLog(topics, batteries, pack, _CELL_SLOTS, uid=uid)


def _kind(name: str) -> str:
    """Kind of a message: the number of the battery stood in the name up to ArduPilot 4.0."""
    kind = name[:-1] if name[-1:] in _NUMBERS else name
    kind = _SAMPLE if kind in _EARLIER_SAMPLES else kind
    return kind if kind in _PER_BATTERY else name


def _select(name: str, fields: Fields, battery: int) -> set[int]:
    """Drop the payloads of other batteries; the batteries that have some."""
    for instance in ("Inst", "Instance"):
        if instance in fields:
            numbers = np.unique(fields[instance])
            fields.select(instance, battery)
            return {int(number) for number in numbers[np.isin(numbers, _INSTANCES)].tolist()}
    return {int(name[-1]) - 1 if name[-1] in _NUMBERS else 0} if len(fields.unknown()) else set()


def _times_s(fields: Fields) -> Values:
    """Seconds since the boot; up to ArduPilot 3.2 the TimeMS of a GPS message is that of a week."""
    if "TimeUS" in fields:
        return fields["TimeUS"] / _US_PER_S
    return fields["T" if "Week" in fields else "TimeMS"] * _MILLI


def _messages(path: Path) -> list[tuple[str, Payloads]]:
    """Payloads of each layout of the messages that are used."""
    found: list[tuple[str, Payloads]] = []
    sizes: dict[int, int] = {_FMT: _HEAD_BYTES + _FMT_FIELDS.size}
    used: dict[int, Payloads] = {}
    damages = Damages(path)
    with open_regular(path) as file:
        window = Window(file)
        place = 0
        while len(head := window.bytes_at(place, _HEAD_BYTES)) == _HEAD_BYTES:
            kind = head[2]
            size = sizes.get(kind, 0) if head[:2] == _MARK else 0
            if not size:
                damages.add()
                place = window.find(_NEXT, place + 1)
                if place < 0:
                    break
                continue
            if kind == _FMT or kind in used:
                payload = window.bytes_at(place + _HEAD_BYTES, size - _HEAD_BYTES)
                if len(payload) < size - _HEAD_BYTES:
                    break
                if kind in used:
                    used[kind].data += payload
                else:
                    described, length, *texts = _FMT_FIELDS.unpack(payload)
                    name, letters, names = (_text(text) for text in texts)
                    if described != _FMT:
                        sizes[described] = length if length > _HEAD_BYTES else 0
                        used.pop(described, None)
                    layout = _layout(letters, names, length - _HEAD_BYTES)
                    is_used = _kind(name) in _ROWS or name in {_PARM, _TEXT}
                    if described != _FMT and layout and is_used:
                        used[described] = layout
                        found.append((name, layout))
            place += size
    return found


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("ascii", "replace")


def _layout(letters: str, names: str, size: int) -> Payloads | None:
    """Layout that a FMT describes; `None` if its letters do not fill its length."""
    fields: dict[str, tuple[str, int, float]] = {}
    place = 0
    for letter, name in zip(letters, names.split(","), strict=False):
        kind, scale = _LETTERS.get(letter, ("", 0.0))
        if not kind:
            return None
        if scale and name:
            fields[name] = kind, place, scale
        place += np.dtype(kind).itemsize
    return Payloads(size, fields) if place == size and fields else None


def _board_uid(payloads: Payloads) -> str | None:
    """Unique id of the board by the first text that is one."""
    for end in range(payloads.size, len(payloads.data) + 1, payloads.size):
        found = _BOARD.fullmatch(_text(bytes(payloads.data[max(end - _TEXT_BYTES, 0) : end])))
        if found:
            return uid_of(b"".join(bytes.fromhex(word)[::-1] for word in found.groups()))
    return None


def _parameter(payloads: Payloads, columns: Fields, name: str) -> dict[str, object]:
    """Rated capacity, where the user has set it."""
    time = "TimeUS" if "TimeUS" in columns else "TimeMS"
    if not {"Value", time} <= columns.keys():
        return {}
    kind, place, _ = payloads.fields[time]
    begin = place + np.dtype(kind).itemsize
    default = columns.get("Default")
    found: dict[str, object] = {}
    for number, value in enumerate(columns["Value"].tolist()):
        place = number * payloads.size + begin
        shipped = _SHIPPED_CAPACITIES_MAH if default is None else (default[number],)
        is_name = _text(bytes(payloads.data[place : place + _PARM_NAME_BYTES])) == name
        if is_name and value > 0 and value not in shipped:
            found["capacity_mah"] = value
    return found


def _cells(fields: Fields) -> dict[str, Values]:
    """Cell voltages; 0 and 1 mean that there is no such cell."""
    numbered = [(name[1:], raw) for name, raw in fields.items() if name[1:].isdecimal()]
    cells = {f"cell{number}_v": np.where(raw > 1, (raw - 1) * _MILLI, np.nan)
             for number, raw in numbered}  # fmt: skip
    return {name: column for name, column in cells.items() if not np.isnan(column).all()}


def _of(fields: Fields, chosen: Values, **names: str) -> dict[str, Values]:
    """Columns of fields, NaN where `chosen` is false."""
    return {column: np.where(chosen, fields[name], np.nan) for column, name in names.items()}


def _battery(fields: Fields) -> dict[str, Values]:
    unknown = fields.unknown()
    return {
        "voltage_v": fields.scaled("Volt", _CENTI),
        "current_a": fields.scaled("Curr", _CENTI),
        "temperature_degc": unless(fields.get("Temp", unknown), 0.0),
        "gauge_soc_pct": fields.get("RemPct", unknown),
    }


def _gps(fields: Fields) -> dict[str, Values]:
    first = fields.get("I", np.zeros(1)) == 0
    climb = {"climb_m_s": -np.where(first, fields["VZ"], np.nan)}
    return _of(fields, first, ground_speed_m_s="Spd") | climb


def _wind(fields: Fields) -> dict[str, Values]:
    first = fields.get("C", np.zeros(1)) == 0
    wind = wind_columns(fields["VWN"], fields["VWE"])
    return {name: np.where(first, values, np.nan) for name, values in wind.items()}


_ROWS: Mapping[str, Callable[[Fields], dict[str, Values]]] = {
    _SAMPLE: _battery,
    "BCL": _cells,
    "ARM": lambda fields: {"armed": fields["ArmState"]},
    "EV": lambda fields: {
        "armed": np.where(
            np.isin(fields["Id"], (_ARMED, _DISARMED)), fields["Id"] == _ARMED, np.nan
        ),
    },
    "POS": lambda fields: {
        "lat_deg": fields["Lat"], "lon_deg": fields["Lng"], "alt_m": fields["Alt"],
    },
    "GPS": _gps,
    "XKF2": _wind,
    "ORGN": lambda fields: _of(
        fields, fields["Type"] == _HOME, home_lat_deg="Lat", home_lon_deg="Lng"
    ),
}  # fmt: skip

# SPDX-License-Identifier: Apache-2.0
"""PX4's .ulg (ULog) log: each message is its length, a letter, and the payload.

`F` describes a layout, `A` gives a topic of that layout a number, `D` is a sample of it, `P` a
parameter, `I` a text such as the id of the board. Damaged bytes are skipped. Source:
docs.px4.io/main/en/dev_log/ulog_file_format, PX4 msg/BatteryStatus.msg and VehicleStatus.msg.
"""

import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from dronebms.core.bounded_input import Window, open_regular
from dronebms.core.errors import FlightLogError
from dronebms.flightlogs.messages import (
    BatteryLog,
    Damages,
    Fields,
    Payloads,
    Topic,
    Values,
    are_measured,
    unless,
    wind_columns,
)
from mavlink_bridge.protocol.autopilot import uid_of
from smartbattery.snapshot import CELL_FIELDS, MAX_CELLS

MAGIC = b"ULog\x01\x12\x35"
_HEADER_BYTES = 16
_HEAD = struct.Struct("<HB")  # length, letter
_LETTERS = frozenset(b"BFIMPQARDLCSO")
_NEXT = re.compile(b"..[BFIMPQARDLCSO]", re.DOTALL)
_SUBSCRIPTION = struct.Struct("<BH")  # instance, number
_NUMBER = struct.Struct("<H")
_FLAGS = struct.Struct("<8s8s3Q")  # compatible, incompatible, places of appended data
_APPENDED = 1
_MAX_DEPTH = 8  # of layouts in layouts
_MAX_BYTES = 65_535  # of a sample: its length has 16 bits
_MAX_FIELDS = 4096
_COUNT_DIGITS = 5
_US_PER_S = 1e6
_ARMED = 2  # VehicleStatus.arming_state
_BATTERY = "battery_status"
_CELL_FIELD = "voltage_cell_v"
_TYPES: Mapping[str, str] = {
    "int8_t": "i1", "uint8_t": "u1", "int16_t": "<i2", "uint16_t": "<u2", "int32_t": "<i4",
    "uint32_t": "<u4", "int64_t": "<i8", "uint64_t": "<u8", "float": "<f4", "double": "<f8",
    "bool": "u1", "char": "u1",
}  # fmt: skip
# The board's id, as AUTOPILOT_VERSION.uid2 has it (board_get_px4_guid).
_UID = re.compile(rb".char\[\d{1,3}\] sys_uuid((?:[0-9a-fA-F]{2})+)", re.DOTALL)
_VALUES = {"float": struct.Struct("<f"), "int32_t": struct.Struct("<i")}  # of a parameter
_Layouts = dict[str, list[tuple[str, int, str]]]  # type, count (0: no array), name


def read(path: Path, battery: int) -> BatteryLog:
    """Messages that are used of one battery; arguments and errors as of `ardupilot_log.read`."""
    topics: list[Topic] = []
    pack: dict[str, object] = {}
    batteries: dict[int, str] = {}
    slots = MAX_CELLS
    divided = False
    log = _messages(path)
    for name, instance, payloads in log.found:
        if name == _BATTERY and payloads.data:
            batteries[instance] = f"battery {instance + 1}"
        if instance != (battery if name == _BATTERY else 0):
            continue
        fields = Fields(payloads)
        try:
            topics.append(Topic(fields["timestamp"] / _US_PER_S, _ROWS[name](fields)))
        except KeyError:
            continue  # a topic of this name with other fields
        if name == _BATTERY:
            counts = fields.get("cell_count", fields.unknown())
            # A DroneCAN battery has a count of 1, and the voltage of the pack in the first cell.
            if (counts > 1).any():
                pack["cells"] = float(counts[counts > 1][-1])  # checked with the sidecar
            slots = sum(field.startswith(_CELL_FIELD) for field in fields) or slots
            if cells := _cells(fields):
                divided = not are_measured(cells)
                topics += [] if divided else [Topic(topics[-1].times_s, cells)]
    capacity_mah = log.parameters.get(f"BAT{battery + 1}_CAPACITY", 0.0)
    if capacity_mah > 0:
        pack["capacity_mah"] = capacity_mah
    return BatteryLog(topics, batteries, pack, slots, divided, log.uid)


class _Log:
    """What the messages so far describe."""

    def __init__(self) -> None:
        self.layouts: _Layouts = {}
        self.topics: dict[int, Payloads | None] = {}  # by number; None: not used
        self.found: list[tuple[str, int, Payloads]] = []  # topics that are used
        self.parameters: dict[str, float] = {}
        self.uid: str | None = None

    def describes(self, letter: int, size: int, number: bytes) -> bool:
        """Whether a head can be that of a message: its sample has the length of its layout."""
        if letter not in _LETTERS:
            return False
        if letter != ord("D"):
            return True
        if min(size, len(number)) < _NUMBER.size:
            return False
        if _NUMBER.unpack(number)[0] not in self.topics:
            return False
        payloads = self.topics[_NUMBER.unpack(number)[0]]
        return payloads is None or size - _NUMBER.size >= payloads.size

    def format(self, text: str) -> None:
        """Store a layout: `name:type field;type[3] field;`."""
        name, _, fields = text.partition(":")
        rows = []
        for part in fields.split(";")[:_MAX_FIELDS]:
            kind, _, field = part.strip().partition(" ")
            kind, _, count = kind.partition("[")
            if field:
                rows.append((kind, _count(count.removesuffix("]")), field))
        self.layouts[name] = rows

    def subscribe(self, payload: bytes) -> None:
        """Give a topic its number."""
        instance, number = _SUBSCRIPTION.unpack_from(payload)
        name = payload[_SUBSCRIPTION.size :].decode("ascii", "replace")
        payloads = self._payloads(name) if name in _ROWS else None
        self.topics[number] = payloads
        if payloads is not None:
            self.found.append((name, instance, payloads))

    def _payloads(self, name: str) -> Payloads | None:
        fields: dict[str, tuple[str, int, float]] = {}
        place = 0
        rows = list(self.layouts.get(name, ()))
        while rows and rows[-1][2].startswith("_padding"):
            rows.pop()  # is not written
        for kind, count, field in rows:
            size = self._size(kind, 0)
            if not size or place + size * max(count, 1) > _MAX_BYTES:
                return None
            names = [f"{field}[{k}]" for k in range(count)] if count else [field]
            for one in names:
                if kind in _TYPES:
                    fields[one] = _TYPES[kind], place, 1.0
                place += size
        return Payloads(place, fields) if fields else None

    def _size(self, kind: str, depth: int) -> int:
        """Bytes of a type, 0 if it is not described or too large."""
        if kind in _TYPES:
            return np.dtype(_TYPES[kind]).itemsize
        total = 0
        if depth < _MAX_DEPTH:
            for inner, count, _ in self.layouts.get(kind, ()):
                size = self._size(inner, depth + 1)
                total += size * max(count, 1)
                if not size or total > _MAX_BYTES:
                    return 0
        return total


def _count(digits: str) -> int:
    """Length of an array, 0 without one; beyond every bound if it is no number."""
    if not digits:
        return 0
    return int(digits) if digits.isdecimal() and len(digits) <= _COUNT_DIGITS else _MAX_BYTES + 1


def _messages(path: Path) -> _Log:
    """Payloads of each instance of the topics that are used, parameters, and the board's id."""
    log = _Log()
    appended: list[int] = []
    damages = Damages(path)
    with open_regular(path) as file:
        window = Window(file)
        place = _HEADER_BYTES
        while len(head := window.bytes_at(place, _HEAD.size + _NUMBER.size)) >= _HEAD.size:
            size, letter = _HEAD.unpack_from(head)
            end = place + _HEAD.size + size
            cut = next((at for at in appended if place < at < end), None)
            if cut is not None:  # the log was interrupted here, and was continued by a crash dump
                place = cut
                continue
            if not log.describes(letter, size, head[_HEAD.size :]):
                damages.add()
                place = window.find(_NEXT, place + 1)
                if place < 0:
                    break
                continue
            if letter in b"ABDFIP":
                payload = window.bytes_at(place + _HEAD.size, size)
                if len(payload) == size:
                    _use(log, letter, payload, appended, path)
            place = end
    return log


def _use(
    log: _Log,
    letter: int,
    payload: bytes,
    appended: list[int],
    path: Path,
) -> None:
    match chr(letter):
        case "D":
            payloads = log.topics[_NUMBER.unpack_from(payload)[0]]
            if payloads is not None:
                payloads.data += payload[_NUMBER.size : _NUMBER.size + payloads.size]
        case "F":
            log.format(payload.decode("ascii", "replace"))
        case "A" if len(payload) > _SUBSCRIPTION.size:
            log.subscribe(payload)
        case "P" if payload:
            kind, _, name = payload[1 : 1 + payload[0]].decode("ascii", "replace").partition(" ")
            value = payload[1 + payload[0] :]
            if kind in _VALUES and len(value) == _VALUES[kind].size:
                log.parameters.setdefault(name, float(_VALUES[kind].unpack(value)[0]))
        case "I" if found := _UID.fullmatch(payload):
            log.uid = uid_of(bytes.fromhex(found[1].decode()))
        case "B" if len(payload) >= _FLAGS.size:
            _, incompatible, *places = _FLAGS.unpack_from(payload)
            if incompatible[0] & ~_APPENDED or any(incompatible[1:]):
                raise FlightLogError(f"{path} is of a later version of the format")
            appended += [at for at in places if incompatible[0] and at > _HEADER_BYTES]


def _battery(fields: Fields) -> dict[str, Values]:
    """Battery sample; 0 V, -1 A, a charge of -1 and a temperature of 0 are unknown."""
    unknown = fields.unknown()
    remaining = fields["remaining"]
    return {
        "voltage_v": unless(fields["voltage_v"], 0.0),
        "current_a": unless(fields["current_a"], -1.0),
        "temperature_degc": unless(fields.get("temperature", unknown), 0.0),
        "gauge_soc_pct": np.where(remaining < 0, np.nan, remaining * 100),
    }


def _cells(fields: Fields) -> dict[str, Values]:
    """Cell voltages; 0 means that there is no such cell."""
    unknown = fields.unknown()
    raw = {name: fields.get(f"{_CELL_FIELD}[{k}]", unknown) for k, name in enumerate(CELL_FIELDS)}
    return {name: np.where(v > 0, v, np.nan) for name, v in raw.items() if (v > 0).any()}


_ROWS: Mapping[str, Callable[[Fields], dict[str, Values]]] = {
    _BATTERY: _battery,
    "vehicle_status": lambda fields: {
        "armed": (fields["arming_state"] == _ARMED).astype(np.float64)
    },
    "vehicle_global_position": lambda fields: {
        "lat_deg": fields["lat"], "lon_deg": fields["lon"], "alt_m": fields["alt"],
    },
    "vehicle_local_position": lambda fields: {
        "ground_speed_m_s": np.hypot(fields["vx"], fields["vy"]), "climb_m_s": -fields["vz"],
    },
    "wind": lambda fields: wind_columns(fields["windspeed_north"], fields["windspeed_east"]),
    "home_position": lambda fields: {
        "home_lat_deg": fields["lat"], "home_lon_deg": fields["lon"],
    },
}  # fmt: skip

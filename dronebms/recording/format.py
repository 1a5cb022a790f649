"""A run on disk: raw transfers and the vehicle's state, replayed to the identical decisions.

A line of text, then blocks: mark, number, length and CRC-32 of the rest, which is JSON lines behind
zlib. Blocks are numbered through a run and stand alone: what is damaged is left out and told, and
reading goes on at the next block that begins with a start. docs/recording.md has every byte.

    {"batteries": [...], ...}   start: facts, rules, and what each gauge knows by then
    ["p", 0, 12.3, [...]]       battery 0 was polled at 12.3 s, these transfers
    ["t", 12.3, {...}]          the loop stepped at 12.3 s with this vehicle state
"""

import json
import logging
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    WrapSerializer,
)

from dronebms.core.chemistry import chemistry_of
from dronebms.core.errors import ConfigError, RecordingError
from dronebms.core.format import clock_text
from dronebms.core.pack_data import PARALLEL, PackData
from dronebms.core.toml_schema import AUTO, GaugeName
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.estimation.pack_memory import (
    MALFORMED,
    RecalledPack,
    learned_from_json,
    learned_to_json,
)
from dronebms.protection.rules import NO_RULES, Rules
from smartbattery.bus_trace import Transfer
from smartbattery.errors import IntegrityError
from smartbattery.gauge_state import GaugeState

MAGIC = b"dronebms-recording 2\n"
_OLD = b"dronebms-recording 1\n"
_MARK = b"\xd5BMS"
_HEAD = struct.Struct("<4sIII")  # mark, number, length, CRC-32
_MOST_BYTES = 1 << 26  # of a block's text
Kept: TypeAlias = tuple[str, str]  # the program that wrote it, and what, as resume.py has it
Progress = Callable[[float], None]  # the share that is done, 0..1
Warn = Callable[[str], None]
_log = logging.getLogger(__name__)


def _pack_data_row(pack_data: PackData) -> dict[str, object]:
    return asdict(pack_data) | {"chemistry": pack_data.chemistry.name}


def _with_chemistry(row: object) -> object:
    if not isinstance(row, dict):
        return row
    try:
        return row | {"chemistry": chemistry_of(str(row.get("chemistry")))}
    except ConfigError as error:
        raise ValueError(str(error)) from error


# Keys of the file, where the field of `GaugeState` has another name.
_GAUGE_KEYS = {
    "identity_values": "who",
    "next_slow": "turn",
    "received_s": "heard_s",
    "snapshot_s": "told_s",
}
_GAUGE_FIELDS = {key: name for name, key in _GAUGE_KEYS.items()}


def _gauge_row(state: object, dump: SerializerFunctionWrapHandler) -> object:
    row = dump(state)
    return row and {_GAUGE_KEYS.get(name, name): value for name, value in row.items()}


def _gauge_fields(row: object) -> object:
    if not isinstance(row, dict):
        return row
    return {_GAUGE_FIELDS.get(key, key): value for key, value in row.items()}


def _row(recalled: RecalledPack | None) -> object:
    return recalled and (recalled[0], recalled[1] and learned_to_json(recalled[1]))


def _told(row: Any) -> RecalledPack | None:  # noqa: ANN401 - from JSON, whatever it is
    return (
        None
        if row is None
        else (str(row[0]), row[1] if row[1] is None else learned_from_json(row[1]))
    )


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a battery of a recording needs to be read again."""

    pack_data: Annotated[
        PackData,
        Field(alias="facts"),
        PlainSerializer(_pack_data_row),
        BeforeValidator(_with_chemistry),
    ]
    address: int
    gauge: GaugeName = AUTO
    # Of its gauge; None: it was not polled yet.
    known: Annotated[
        GaugeState | None, WrapSerializer(_gauge_row), BeforeValidator(_gauge_fields)
    ] = None
    # Of its pack, by the estimator; None: nothing was asked.
    recalled: Annotated[RecalledPack | None, PlainValidator(_told), PlainSerializer(_row)] = None


@dataclass(frozen=True, slots=True)
class Start:
    """A record: what is needed to read a recording from here on."""

    batteries: tuple[Recorded, ...]
    rules: Rules = NO_RULES
    topology: str = PARALLEL
    t_s: float | None = None  # of the last step before it
    kept: Kept | None = None  # what a run that begins here goes on from


@dataclass(frozen=True, slots=True)
class Poll:
    """A record: battery `index` was polled."""

    index: int
    t_s: float
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A record: the loop stepped."""

    t_s: float
    vehicle: VehicleState


Record: TypeAlias = Start | Poll | Step
_START = TypeAdapter(Start)
_VEHICLE = {field.name: None for field in fields(VehicleState)}  # in their order


def text_of(record: Record) -> bytes:
    """Return a record as a line."""
    row: object
    if isinstance(record, Poll):
        transfers = [transfer.to_json() for transfer in record.transfers]
        row = ["p", record.index, record.t_s, transfers]
    elif isinstance(record, Step):
        every = ((name, getattr(record.vehicle, name)) for name in _VEHICLE)
        heard = {name: value for name, value in every if value is not None}
        row = ["t", record.t_s, heard]
    else:
        row = _START.dump_python(record, by_alias=True)
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def block_of(number: int, text: bytes) -> bytes:
    """Return lines as a block."""
    packed = zlib.compress(text)
    return _HEAD.pack(_MARK, number, len(packed), zlib.crc32(packed)) + packed


def is_recording(path: Path) -> bool:
    """Return whether a file begins like a recording.

    Raises:
        ConfigError: like one of a format that is not read any more.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(len(MAGIC))
    except OSError:
        return False
    if begin == _OLD:
        raise ConfigError(f"{path} is a recording of format 1; only format 2 is read")
    return begin == MAGIC


def read_records(
    path: Path, progress: Progress = lambda _: None, warn: Warn = _log.warning
) -> Iterator[Record]:
    """Yield the records, first a start; after what is damaged and left out a start follows.

    Args:
        path: the recording.
        progress: told the share that is read.
        warn: receives one sentence per gap; a torn end, which every kill may leave, is no gap.

    Raises:
        RecordingError: no start is whole, or something whole is no record.
    """
    data = path.read_bytes()
    expected, reading, last_s, end = 0, False, None, 0
    for place, end, number, text in _blocks(data):
        reading, expected = reading and number == expected, number + 1
        progress(end / len(data))
        for line in text.splitlines():
            record = _record_of(line, f"{path}, block {number}")
            if isinstance(record, Start):
                if not reading and place > len(MAGIC):
                    warn(_gap(path, last_s, record.t_s))
                reading = True
            elif reading:
                last_s = record.t_s
            else:
                continue
            yield record
    if not reading and last_s is None:
        raise RecordingError(f"{path} does not say which batteries were recorded")
    if not reading or _MARK in data[end + 1 :]:
        warn(_gap(path, last_s, None))
    elif data[end:]:
        _log.warning("%s ends in the middle of a block, which is left out", path)


def _gap(path: Path, from_s: float | None, until_s: float | None) -> str:
    begin = "the beginning" if from_s is None else clock_text(from_s)
    end = "the end" if until_s is None else clock_text(until_s)
    return f"{path} is damaged: from {begin} to {end} nothing is known"


def _blocks(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield place, end, number and text of each whole block."""
    place = data.find(_MARK)
    while place >= 0:
        end, text = place + 1, None
        if len(data) - place >= _HEAD.size:
            _, number, length, checksum = _HEAD.unpack_from(data, place)
            packed = data[place + _HEAD.size : place + _HEAD.size + length]
            if len(packed) == length and zlib.crc32(packed) == checksum:
                text = _unpacked(packed)
            if text is not None:
                end = place + _HEAD.size + length
                yield place, end, number, text
        place = data.find(_MARK, end)


def _unpacked(packed: bytes) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(packed, _MOST_BYTES)
    except zlib.error:
        return None


def _record_of(line: bytes, place: str) -> Record:
    try:
        match json.loads(line):
            case ["p", int(index), int() | float() as t_s, [*transfers]]:
                return Poll(index, t_s, tuple(Transfer.from_json(row) for row in transfers))
            case ["t", int() | float() as t_s, dict(heard)] if heard.keys() <= _VEHICLE.keys():
                return Step(t_s, VehicleState(**heard) if heard else UNKNOWN_VEHICLE)
            case {"batteries": _} as row:
                return _START.validate_python(row)
    except (*MALFORMED, IndexError, RecursionError, IntegrityError) as error:
        what = f"{error}".splitlines()[0]
        raise RecordingError(f"{place} holds what is no record: {what:.80}") from error
    raise RecordingError(f"{place} holds a record of no known kind")

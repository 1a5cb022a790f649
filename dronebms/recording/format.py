"""Recording file: raw transfers and vehicle state of a run, replayed to the identical decisions.

A line of text, then blocks: mark, number, length and CRC-32 of the rest, which is zlib-compressed
JSON lines. Blocks are numbered through a run and independent of each other: a damaged one is
reported and skipped, and reading continues at the next block that begins with a start record.
docs/recording.md describes every byte.

    {"batteries": [...], ...}   start: rated data, rules, and the state of each gauge at that time
    ["p", 0, 12.3, [...]]       poll of battery 0 at 12.3 s with its transfers
    ["t", 12.3, {...}]          step of the loop at 12.3 s with this vehicle state
"""

import json
import logging
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
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

from dronebms.core.errors import ConfigError, RecordingError
from dronebms.core.number_format import clock_text
from dronebms.core.pack_data import PARALLEL
from dronebms.core.state import MAX_BYTES, StoredPackData
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
_MAX_TEXT_BYTES = 1 << 23  # of a block; 0.8 s of a run have some 10 kB
Progress = Callable[[float], None]  # receives the share that is done, 0..1
Warn = Callable[[str], None]
_log = logging.getLogger(__name__)


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


def _recalled_row(recalled: RecalledPack | None) -> object:
    return recalled and (recalled[0], recalled[1] and learned_to_json(recalled[1]))


def _recalled_of(row: Any) -> RecalledPack | None:  # noqa: ANN401 - any JSON value
    if row is None:
        return None
    return str(row[0]), None if row[1] is None else learned_from_json(row[1])


@dataclass(frozen=True, slots=True)
class Recorded:
    """A battery of a recording: rated data, address and gauge, with which it is replayed."""

    pack_data: Annotated[StoredPackData, Field(alias="facts")]
    address: int
    gauge: GaugeName = AUTO
    # State of its gauge; None: not polled yet.
    known: Annotated[
        GaugeState | None, WrapSerializer(_gauge_row), BeforeValidator(_gauge_fields)
    ] = None
    # Parameters learned in earlier flights of the pack; None: no pack was identified.
    recalled: Annotated[
        RecalledPack | None, PlainValidator(_recalled_of), PlainSerializer(_recalled_row)
    ] = None


@dataclass(frozen=True, slots=True)
class Start:
    """Record: the batteries and rules, with which a replay can begin here."""

    batteries: tuple[Recorded, ...]
    rules: Rules = NO_RULES
    topology: str = PARALLEL
    t_s: float | None = None  # of the previous step
    # State of an earlier run that this one continues from (`pipeline.stored_parts`).
    restart: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Poll:
    """Record: a poll of battery `index`."""

    index: int
    t_s: float
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """Record: a step of the loop."""

    t_s: float
    vehicle: VehicleState


Record: TypeAlias = Start | Poll | Step
_START = TypeAdapter(Start)
# In their order; the trouble of the link is of this computer and decides nothing.
_VEHICLE = {field.name: None for field in fields(VehicleState) if field.name != "link_trouble"}


def text_of(record: Record) -> bytes:
    """A record as a line."""
    row: object
    if isinstance(record, Poll):
        transfers = [transfer.to_json() for transfer in record.transfers]
        row = ["p", record.index, record.t_s, transfers]
    elif isinstance(record, Step):
        every = ((name, getattr(record.vehicle, name)) for name in _VEHICLE)
        known = {name: value for name, value in every if value is not None}
        row = ["t", record.t_s, known]
    else:
        row = _START.dump_python(record, by_alias=True)
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def block_of(number: int, text: bytes) -> bytes:
    """Lines as a block."""
    packed = zlib.compress(text)
    return _HEAD.pack(_MARK, number, len(packed), zlib.crc32(packed)) + packed


def is_recording(path: Path) -> bool:
    """Whether a file begins like a recording.

    Raises:
        ConfigError: the file cannot be read, or is of a format that is not read any more.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(len(MAGIC))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    if begin == _OLD:
        raise ConfigError(f"{path} is a recording of format 1; only format 2 is read")
    return begin == MAGIC


def read_records(
    path: Path, progress: Progress = lambda _: None, warn: Warn = _log.warning
) -> Iterator[Record]:
    """The records, first a start record; after a damaged part another start record follows.

    Args:
        path: the recording.
        progress: receives the share that is read.
        warn: receives one sentence per gap; an incomplete last block, as after a kill, is no gap.

    Raises:
        RecordingError: there is no valid start record, or a valid block has an invalid record.
    """
    data = path.read_bytes()
    expected = 0  # number of the next block
    reading = False  # since a start record, without a gap
    last_s: float | None = None
    end = 0
    for place, end, number, text in _blocks(data):
        reading = reading and number == expected
        expected = number + 1
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
        raise RecordingError(f"{path} has no valid start record")
    if not reading or _MARK in data[end + 1 :]:
        warn(_gap(path, last_s, None))
    elif data[end:]:
        _log.warning("%s ends with an incomplete block, which is ignored", path)


def _gap(path: Path, from_s: float | None, until_s: float | None) -> str:
    begin = "the beginning" if from_s is None else clock_text(from_s)
    end = "the end" if until_s is None else clock_text(until_s)
    return f"{path} is damaged: no data from {begin} to {end}"


def _blocks(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Place, end, number and text of each valid block."""
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
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(packed, _MAX_TEXT_BYTES)
    except zlib.error:
        return None
    return None if stream.unconsumed_tail else text


def _record_of(line: bytes, place: str) -> Record:
    try:
        if len(line) > MAX_BYTES:
            raise ValueError(f"{len(line)} bytes")
        match json.loads(line):
            case ["p", int(index), int() | float() as t_s, [*transfers]]:
                return Poll(index, t_s, tuple(Transfer.from_json(row) for row in transfers))
            case ["t", int() | float() as t_s, dict(known)] if known.keys() <= _VEHICLE.keys():
                return Step(t_s, VehicleState(**known) if known else UNKNOWN_VEHICLE)
            case {"batteries": _} as row:
                if row.get("kept") is not None:
                    _log.warning("%s: the state before a restart is of an older version", place)
                return _START.validate_python(row)
    except (*MALFORMED, IndexError, RecursionError, IntegrityError) as error:
        what = f"{error}".splitlines()[0]
        raise RecordingError(f"{place} has an invalid record: {what:.80}") from error
    raise RecordingError(f"{place} has a record of an unknown kind")

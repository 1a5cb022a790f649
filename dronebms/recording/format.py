# SPDX-License-Identifier: Apache-2.0
"""Recording file: raw transfers and vehicle state of a run, replayed to the identical decisions.

A line of text, then blocks: mark, number, length and CRC-32 of the rest, which is zlib-compressed
JSON lines. Blocks are numbered through a run and independent of each other: a damaged one is
reported and skipped, and reading continues at the next block that begins with a start record.
docs/recording.md describes every byte.

    {"batteries": [...], ...}   start: rated data, rules, and the state of each gauge at that time
    ["f", {...}]                flight plan of the vehicle in the steps that follow
    ["p", 0, 12.3, [...]]       poll of battery 0 at 12.3 s with its transfers
    ["s", 0, {...}]             snapshot of battery 0, of a source without transfers
    ["t", 12.3, {...}]          step of the loop at 12.3 s with this vehicle state
"""

import json
import logging
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    WrapSerializer,
)

from dronebms.core.atomic_file import RECORDED_PROBE
from dronebms.core.bounded_input import MAX_ROWS, Window, open_regular
from dronebms.core.errors import ConfigError, RecordingError
from dronebms.core.flight_plan import FlightPlan
from dronebms.core.number_format import clock_text
from dronebms.core.pack_data import PARALLEL
from dronebms.core.service_defaults import AUTO
from dronebms.core.state import (
    MAX_BYTES,
    StoredFlightPlan,
    StoredPackData,
    adapter_of,
    from_json,
    to_json,
)
from dronebms.core.toml_schema import GaugeName
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.estimation.learned_json import MALFORMED, recalled_from_json, recalled_to_json
from dronebms.estimation.learned_pack import Recalled
from dronebms.protection.rules import NO_RULES, Rules
from smartbattery.bus_trace import Transfer
from smartbattery.errors import IntegrityError
from smartbattery.gauge_state import GaugeState
from smartbattery.snapshot import MAX_CELLS, Snapshot

MAGIC = b"dronebms-recording 2\n"
_OLD = b"dronebms-recording 1\n"
_MARK = b"\xd5BMS"
_NEXT = re.compile(re.escape(_MARK))
_HEAD = struct.Struct("<4sIII")  # mark, number, length, CRC-32
_MAX_TEXT_BYTES = 1 << 23  # of a block; 0.8 s of a run have some 10 kB
_MAX_PACKED_BYTES = 1 << 20
_MAX_DAMAGES = 10_000  # places
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_NEXT_LINE = re.compile(b"[^\n]*\n")
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


def _recalled_row(recalled: Recalled | None) -> object:
    return recalled and recalled_to_json(recalled)


def _recalled_of(row: Any) -> Recalled | None:  # noqa: ANN401 - any JSON value
    return None if row is None else recalled_from_json(row)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A battery of a recording: rated data, address and gauge, with which it is replayed."""

    pack_data: Annotated[StoredPackData, Field(alias="facts")]
    address: Annotated[int, Field(ge=0, le=0x7F)]
    gauge: GaugeName = AUTO
    # State of its gauge; None: not polled yet.
    known: Annotated[
        GaugeState | None, WrapSerializer(_gauge_row), BeforeValidator(_gauge_fields)
    ] = None
    # Learned in earlier flights of pack, sister packs and vehicle; None: none was identified.
    recalled: Annotated[
        Recalled | None, PlainValidator(_recalled_of), PlainSerializer(_recalled_row)
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
    plan_crc: int | None = None  # CRC-32 of the line with the flight plan; None: no plan


@dataclass(frozen=True, slots=True)
class Poll:
    """Record: a poll of battery `index`."""

    index: int
    t_s: float
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """Record: what a source without transfers has given for battery `index`."""

    index: int
    snapshot: Snapshot

    @property
    def t_s(self) -> float:
        """Time of the snapshot."""
        return self.snapshot.t_s


@dataclass(frozen=True, slots=True)
class Step:
    """Record: a step of the loop."""

    t_s: float
    vehicle: VehicleState


@dataclass(frozen=True, slots=True)
class Planned:
    """Record: the flight plan of the vehicle in the steps that follow; a part of each when read."""

    plan: FlightPlan | None


Record: TypeAlias = Start | Poll | Shown | Step
_OF_A_SOURCE = {field.name for field in fields(Snapshot)} - {"rejected", "disputed", "other_pack"}
_MAX_VALUE = 2.0**32
# In their order; the links of this computer decide nothing, and a plan has its own record.
_NOT_IN_A_STEP = ("link_trouble", "can_trouble", "second_sender", "telemetry_links", "plan")
_VEHICLE = {field.name: None for field in fields(VehicleState) if field.name not in _NOT_IN_A_STEP}


def text_of(record: Record | Planned) -> bytes:
    """A record as a line."""
    row: object
    if isinstance(record, Poll):
        transfers = [transfer.to_json() for transfer in record.transfers]
        row = ["p", record.index, record.t_s, transfers]
    elif isinstance(record, Shown):
        shown = adapter_of(Snapshot).dump_python(
            record.snapshot, mode="json", exclude_defaults=True
        )
        row = ["s", record.index, shown]
    elif isinstance(record, Step):
        every = ((name, getattr(record.vehicle, name)) for name in _VEHICLE)
        known = {name: value for name, value in every if value is not None}
        row = ["t", record.t_s, known]
    elif isinstance(record, Planned):
        plan = record.plan
        row = ["f", plan and _plan_row(plan)]
    else:
        row = adapter_of(Start).dump_python(record, by_alias=True)
    return _ENCODER.encode(row).encode() + b"\n"


def _plan_row(plan: FlightPlan) -> object:
    return adapter_of(StoredFlightPlan).dump_python(plan, mode="json", exclude_defaults=True)


def plan_line(plan: FlightPlan | None) -> bytes:
    """The record of a flight plan as a line.

    Raises:
        RecordingError: a reader would refuse it.
    """
    line = text_of(Planned(plan))
    _record_of(line, "the flight plan of the vehicle")
    return line


def block_of(number: int, text: bytes) -> bytes:
    """Lines as a block."""
    packed = zlib.compress(text)
    return _HEAD.pack(_MARK, number, len(packed), zlib.crc32(packed)) + packed


def with_line(block: bytes, line: bytes) -> bytes:
    """A block with another line after its first one."""
    _, number, _, _ = _HEAD.unpack_from(block)
    first, rest = zlib.decompress(block[_HEAD.size :]).split(b"\n", 1)
    return block_of(number, first + b"\n" + line + rest)


def is_recording(path: Path) -> bool:
    """Whether a file begins like a recording.

    Raises:
        ConfigError: the file cannot be read, or is of a format that is not read any more.
    """
    try:
        with open_regular(path) as file:
            begin = file.read(len(MAGIC))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    if begin == _OLD:
        raise ConfigError(f"{path} is a recording of format 1; only format 2 is read")
    if begin.startswith(RECORDED_PROBE):
        raise ConfigError(f"{path} is the recording of a readout: see dronebms probe --bus FILE")
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
    run = _Run(path, warn)
    end, damages = len(MAGIC), 0
    is_cut = False  # a block after the last valid one is damaged
    size = max(path.stat().st_size, 1)
    with open_regular(path) as file:
        for place, number, block in _blocks(Window(file)):
            if block is None:
                damages += 1
                is_cut |= place > end
                if damages > _MAX_DAMAGES:
                    raise RecordingError(f"{path} is damaged at more than {_MAX_DAMAGES} places")
                continue
            text, end = block
            is_cut = False
            run.begin_block(number)
            progress(min(end / size, 1.0))
            for line in _NEXT_LINE.finditer(text):
                record = _record_of(line[0], f"{path}, block {number}")
                if isinstance(record, Planned):
                    run.use_plan(record.plan, zlib.crc32(line[0]))
                elif run.accepts(record, is_first=place <= len(MAGIC)):
                    yield run.with_plan(record) if isinstance(record, Step) else record
    run.end(is_cut=is_cut)
    if not is_cut and size > end:
        _log.warning("%s ends with an incomplete block, which is ignored", path)


class _Run:
    """Which records can be used: those from a start record on, up to a missing block."""

    def __init__(self, path: Path, warn: Warn) -> None:
        self._path = path
        self._warn = warn
        self._number = -1
        self._reading = False
        self._last_s: float | None = None
        self._times_s: dict[int | None, float] = {}  # of the polls of a battery; None: steps
        self._steps = 0
        self._plan: FlightPlan | None = None
        self._plan_crc: int | None = None
        self._expected_crc: int | None = None  # by the last start record

    def begin_block(self, number: int) -> None:
        """Notice missing blocks."""
        self._reading = self._reading and number == self._number + 1
        self._number = number

    def accepts(self, record: Record, *, is_first: bool) -> bool:
        """Whether to use a record; `is_first`: of the first block of the file.

        Raises:
            RecordingError: time decreases, or there are too many steps.
        """
        if isinstance(record, Start):
            if not self._reading and not is_first:
                self._warn(_gap(self._path, self._last_s, record.t_s))
            self._reading = True
            self._expected_crc = record.plan_crc
        elif self._reading:
            place = f"{self._path}, block {self._number}"
            # Each bus has a thread: the polls of one are drained after those of another.
            series = None if isinstance(record, Step) else record.index
            last_s = self._times_s.get(series, -inf)
            if record.t_s < last_s:
                raise RecordingError(f"{place}: time decreases from {last_s} to {record.t_s}")
            self._times_s[series] = record.t_s
            self._last_s = record.t_s if self._last_s is None else max(self._last_s, record.t_s)
            self._steps += isinstance(record, Step)
            if self._steps > MAX_ROWS:
                raise RecordingError(f"{place}: more than {MAX_ROWS} steps")
        return self._reading

    def use_plan(self, plan: FlightPlan | None, crc: int) -> None:
        """Use a flight plan from here on."""
        self._plan = plan
        self._plan_crc = self._expected_crc = None if plan is None else crc

    def with_plan(self, step: Step) -> Step:
        """A step with the flight plan of its vehicle; without, if that is in a missing part."""
        if self._plan_crc != self._expected_crc:
            if self._expected_crc is not None:
                since = clock_text(step.t_s)
                self._warn(f"{self._path} has no flight plan of the vehicle from {since} on")
            self._plan, self._plan_crc = None, self._expected_crc
        if self._plan is None:
            return step
        return Step(step.t_s, replace(step.vehicle, plan=self._plan))

    def end(self, *, is_cut: bool) -> None:
        """Report a missing end.

        Raises:
            RecordingError: nothing can be used.
        """
        if not self._reading and self._last_s is None:
            raise RecordingError(f"{self._path} has no valid start record")
        if not self._reading or is_cut:
            self._warn(_gap(self._path, self._last_s, None))


def _gap(path: Path, from_s: float | None, until_s: float | None) -> str:
    begin = "the beginning" if from_s is None else clock_text(from_s)
    end = "the end" if until_s is None else clock_text(until_s)
    return f"{path} is damaged: no data from {begin} to {end}"


def _blocks(window: Window) -> Iterator[tuple[int, int, tuple[bytes, int] | None]]:
    """Place and number of each mark; text and end of its block, `None` if that is damaged."""
    place = window.find(_NEXT, 0)
    while place >= 0:
        end, block, number = place + 1, None, 0
        head = window.bytes_at(place, _HEAD.size)
        if len(head) == _HEAD.size:
            _, number, length, checksum = _HEAD.unpack(head)
            packed = window.bytes_at(place + _HEAD.size, min(length, _MAX_PACKED_BYTES))
            if len(packed) == length and zlib.crc32(packed) == checksum:
                text = _unpacked(packed)
                if text is not None:
                    end = place + _HEAD.size + length
                    block = text, end
        yield place, number, block
        place = window.find(_NEXT, end)


def _unpacked(packed: bytes) -> bytes | None:
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(packed, _MAX_TEXT_BYTES)
    except zlib.error:
        return None
    return None if stream.unconsumed_tail else text


def _record_of(line: bytes, place: str) -> Record | Planned:
    try:
        match from_json(line, MAX_BYTES, never=True):
            case ["p", int(index), int() | float() as t_s, [*transfers]] if math.isfinite(t_s):
                return Poll(index, t_s, tuple(Transfer.from_json(row) for row in transfers))
            case ["s", int(index), dict(row)]:
                return Shown(index, _snapshot(row))
            case ["t", int() | float() as t_s, dict(known)] if (
                math.isfinite(t_s) and known.keys() <= _VEHICLE.keys()
            ):
                return Step(t_s, _vehicle(known))
            case ["f", None]:
                return Planned(None)
            case ["f", dict(row)]:
                # From JSON, because only there a strict validation accepts a list for a tuple.
                return Planned(
                    adapter_of(StoredFlightPlan).validate_json(to_json(row), strict=True)
                )
            case {"batteries": _} as row:
                if row.get("kept") is not None:
                    _log.warning("%s: the state before a restart is of an older version", place)
                start: Start = adapter_of(Start).validate_python(row)
                return start
    except (*MALFORMED, IndexError, RecursionError, IntegrityError) as error:
        what = f"{error}".splitlines()[0]
        raise RecordingError(f"{place} has an invalid record: {what:.80}") from error
    raise RecordingError(f"{place} has a record of an unknown kind")


def _snapshot(row: dict[str, object]) -> Snapshot:
    """A snapshot as a source gives it: with the types of its fields, and numbers of a battery."""
    # From JSON, because only there a strict validation accepts a list for a tuple.
    snapshot: Snapshot = adapter_of(Snapshot).validate_json(to_json(row), strict=True)
    numbers = [value for value in row.values() if isinstance(value, int | float)]
    cells_v = [cell_v for cell_v in snapshot.cells_v if cell_v is not None]
    if len(snapshot.cells_v) > MAX_CELLS or any(abs(x) > _MAX_VALUE for x in (*numbers, *cells_v)):
        raise ValueError("a value that no battery has")
    if not row.keys() <= _OF_A_SOURCE:
        raise ValueError("a field that no source gives")
    return snapshot


def _vehicle(known: dict[str, object]) -> VehicleState:
    """State of a vehicle whose values have the types of their fields and are finite."""
    if not known:
        return UNKNOWN_VEHICLE
    if -math.inf in known.values():
        raise ValueError("a value of the vehicle is not finite")
    state: VehicleState = adapter_of(VehicleState).validate_python(known)
    return state

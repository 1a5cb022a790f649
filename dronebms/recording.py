"""A run on disk: raw transfers and the vehicle's state, replayed to the identical decisions.

Text, one record a line, each behind its CRC-32, appended and never changed: a kill leaves at
most one torn line at the end, which a reader leaves out.

    dronebms-recording 1
    1c2d3e4f {"kind": "start", ...}       facts, addresses and limits of each battery
    5a6b7c8d ["p", 0, 12.3, [...]]        battery 0 was polled at 12.3 s, these transfers
    9e0f1a2b ["t", 12.3, {...}]           the loop stepped at 12.3 s with this vehicle state
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

from pydantic import ValidationError

from dronebms.battery import BatteryFacts
from dronebms.chemistry import chemistry_of
from dronebms.config import AUTO, GaugeName
from dronebms.errors import ConfigError, RecordingError
from dronebms.limits import LimitChange, Severity
from dronebms.tomlfile import Section
from dronebms.vehicle import UNHEARD, VehicleState
from smartbattery.errors import IntegrityError
from smartbattery.recording import Transfer

MAGIC = b"dronebms-recording 1\n"
Progress = Callable[[float], None]  # the share that is done, 0..1
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a battery of a recording needs to be read again."""

    facts: BatteryFacts
    address: int
    limit_changes: tuple[LimitChange, ...] = ()
    gauge: str = AUTO


class _Change(Section):
    """A change of a limit in the first record."""

    limit_id: str
    trip: float | None
    clear: float | None
    hold_s: float | None
    clear_s: float | None
    severity: int | None

    def change(self) -> LimitChange:
        severity = None if self.severity is None else Severity(self.severity)
        return LimitChange(
            self.limit_id, self.trip, self.clear, self.hold_s, self.clear_s, severity
        )


class _Told(Section):
    """A battery in the first record."""

    address: int
    gauge: GaugeName = AUTO  # recordings of before have none
    chemistry: str
    cells: int | None
    capacity_mah: float | None
    cutoff_cell_v: float | None
    pack_id: str | None
    continuous_c: float | None = None  # recordings of before have none of these
    burst_c: float | None = None
    limp_home_a: float | None = None
    limits: list[_Change]


class Recorder:
    """Appends to a recording; a full disk stops it, not the flight.

    Raises:
        ConfigError: the file exists already or cannot be made.
    """

    def __init__(self, path: Path, batteries: Sequence[Recorded]) -> None:
        try:
            self._file: BinaryIO | None = path.open("xb")
        except FileExistsError as error:
            raise ConfigError(f"{path} exists already; recordings are never overwritten") from error
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
        self._path = path
        self._write(MAGIC)
        self._append({"kind": "start", "batteries": [_to_json(battery) for battery in batteries]})

    def polled(self, index: int, now_s: float, transfers: Sequence[Transfer]) -> None:
        """Write what one poll of a battery did on the wire."""
        self._append(["p", index, now_s, [transfer.to_json() for transfer in transfers]])

    def stepped(self, now_s: float, vehicle: VehicleState) -> None:
        """Write that the loop stepped, and hand the bytes to the operating system."""
        heard = {key: value for key, value in asdict(vehicle).items() if value is not None}
        self._append(["t", now_s, heard], flush=True)

    def close(self) -> None:
        """Finish the file."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:  # the disk is full: what is buffered cannot be saved
                _log.warning("the end of %s is lost: %s", self._path, error.strerror)

    def _append(self, record: object, *, flush: bool = False) -> None:
        text = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
        self._write(b"%08x %b\n" % (crc32(text), text), flush=flush)

    def _write(self, data: bytes, *, flush: bool = False) -> None:
        if self._file is None:
            return
        try:
            self._file.write(data)
            if flush:
                self._file.flush()
        except OSError as error:
            _log.error("recording to %s has stopped: %s", self._path, error.strerror)
            self.close()


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


def is_recording(path: Path) -> bool:
    """Return whether a file begins like a recording."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_batteries(path: Path) -> tuple[Recorded, ...]:
    """Return what the first record says of the batteries.

    Raises:
        RecordingError: the recording is damaged there.
    """
    for _, record in _records(path):
        match record:
            case {"kind": "start", "batteries": [*batteries]}:
                return tuple(_from_json(battery, path) for battery in batteries)
        break
    raise RecordingError(f"{path}: line 2 does not say which batteries were recorded")


def read_records(path: Path, progress: Progress = lambda _: None) -> Iterator[Poll | Step]:
    """Yield the records after the first; a torn last line is left out.

    Args:
        path: the recording.
        progress: told the share that is read.

    Raises:
        RecordingError: a line is damaged and others follow it.
    """
    known = {field.name for field in fields(VehicleState)}
    for number, record in _records(path, progress):
        try:
            match record:
                case ["p", int(index), int() | float() as t_s, [*transfers]]:
                    yield Poll(index, t_s, tuple(Transfer.from_json(row) for row in transfers))
                case ["t", int() | float() as t_s, dict(heard)] if heard.keys() <= known:
                    yield Step(t_s, VehicleState(**heard) if heard else UNHEARD)
                case {"kind": "start"}:
                    pass
                case _:
                    raise RecordingError(f"{path}: line {number} is of no known kind")
        except IntegrityError as error:
            raise RecordingError(f"{path}: line {number}: {error}") from error


def _records(path: Path, progress: Progress = lambda _: None) -> Iterator[tuple[int, object]]:
    damaged: int | None = None
    size, read = max(path.stat().st_size, 1), 0
    with path.open("rb") as file:
        file.readline()
        for number, line in enumerate(file, start=2):
            if damaged is not None:
                raise RecordingError(f"{path}: line {damaged} is damaged")
            read += len(line)
            progress(min(read / size, 1.0))
            record = _decoded(line)
            if record is None:
                damaged = number
            else:
                yield number, record
    if damaged is not None:
        _log.warning("%s ends in the middle of line %d, which is left out", path, damaged)


def _decoded(line: bytes) -> object:
    """Return what a line holds, None when it is torn or damaged."""
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % crc32(text):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _to_json(battery: Recorded) -> dict[str, object]:
    facts = battery.facts
    return {
        "address": battery.address,
        "gauge": battery.gauge,
        "chemistry": facts.chemistry.name,
        "cells": facts.cells,
        "capacity_mah": facts.capacity_mah,
        "cutoff_cell_v": facts.cutoff_cell_v,
        "pack_id": facts.pack_id,
        "continuous_c": facts.continuous_c,
        "burst_c": facts.burst_c,
        "limp_home_a": facts.limp_home_a,
        "limits": [asdict(change) for change in battery.limit_changes],
    }


def _from_json(row: object, path: Path) -> Recorded:
    try:
        told = _Told.model_validate(row)
        facts = BatteryFacts(
            chemistry_of(told.chemistry),
            told.cells,
            told.capacity_mah,
            told.cutoff_cell_v,
            told.pack_id,
            told.continuous_c,
            told.burst_c,
            told.limp_home_a,
        )
        changes = tuple(row.change() for row in told.limits)
    except (ValidationError, ConfigError, ValueError) as error:
        raise RecordingError(f"{path}: line 2 does not describe a battery: {row!r:.80}") from error
    return Recorded(facts, told.address, changes, told.gauge)

# SPDX-License-Identifier: Apache-2.0
"""Collects the polls and steps of a run into blocks of a recording, and detects incidents.

Times in seconds of the loop's clock.
"""

import logging
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from dronebms.core.atomic_file import created
from dronebms.core.disk import not_written, write_all
from dronebms.core.errors import ConfigError, RecordingError
from dronebms.core.flight_plan import FlightPlan
from dronebms.core.report import Event, Severity
from dronebms.core.state import MAX_BYTES
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.learning.learned_pack import Recalled
from dronebms.protection.rules import Rules
from dronebms.recording.blocks import MAGIC, block_of, with_line
from dronebms.recording.records import Poll, Shown, Start, Step, plan_line, text_of
from smartbattery.bus_trace import Transfer
from smartbattery.gauge_state import GaugeState
from smartbattery.snapshot import Snapshot

BLOCK_S = 0.8  # lost by a kill; with the sync less than a second is lost by a power cut
START_S = 30.0  # between start records: lost by a damaged block
PLAN_S = 1800.0  # between records of an unchanged flight plan
# of an alarm, in its capsule
BEFORE_S = 60.0
AFTER_S = 30.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Incident:
    """An alarm and the end of its capsule."""

    t_s: float
    limit_id: str
    until_s: float


@dataclass(frozen=True, slots=True)
class Block:
    """Data that is written at once."""

    data: bytes
    t_s: float
    is_start: bool = False  # a file may begin with it
    ended: Incident | None = None  # its capsule ends with this block
    plan: bytes = b""  # line of the flight plan in force at its start record

    def opening(self) -> bytes:
        """The data as the beginning of a file: with the flight plan."""
        return with_line(self.data, self.plan) if self.plan else self.data


class Store(Protocol):
    """Destination of blocks; neither call raises for a disk error or waits for the disk."""

    def take(self, block: Block) -> None:
        """Write a block."""
        ...

    def close(self) -> None:
        """Finish writing."""
        ...


class Recorder:
    """Collects the polls and steps of a run into blocks.

    Args:
        store: destination of the blocks.
        start: the batteries and rules of the run.
    """

    def __init__(self, store: Store, start: Start) -> None:
        self._store = store
        self._start = start
        self._known = [battery.known for battery in start.batteries]  # newest state of each gauge
        self._lines = [text_of(start)]
        self._number = 0
        self._block_s: float | None = None  # end of the last block
        self._started_s = 0.0
        self._is_start = True
        self._incident: Incident | None = None
        self._plan: FlightPlan | None = None
        self._plan_line = b""  # b"": no plan
        self._plan_before = b""  # at the beginning of the block
        self._planned_s = 0.0

    def polled(
        self, index: int, now_s: float, transfers: Sequence[Transfer], state: GaugeState
    ) -> None:
        """Record the transfers of one poll of a battery, and the state of its gauge after it."""
        self._known[index] = state
        self._lines.append(text_of(Poll(index, now_s, tuple(transfers))))

    def shown(self, index: int, snapshot: Snapshot) -> None:
        """Record the snapshot of a source without transfers."""
        self._lines.append(text_of(Shown(index, snapshot)))

    def recalled(self, index: int, recalled: Recalled | None) -> None:
        """Record what was recalled of a pack, if it is new; before the step."""
        if recalled is not self._start.batteries[index].recalled:
            batteries = list(self._start.batteries)
            batteries[index] = replace(batteries[index], recalled=recalled)
            self._start = replace(self._start, batteries=tuple(batteries))
            self.begin()

    def stepped(self, now_s: float, vehicle: VehicleState, events: Iterable[Event] = ()) -> None:
        """Record a step of the loop and the events in it; write a block once it is due."""
        if vehicle.plan is not self._plan:
            self._use_plan(now_s, vehicle.plan)
        self._lines.append(text_of(Step(now_s, vehicle)))
        for event in events:
            if event.tripped and event.severity >= Severity.WARNING:
                old = self._incident or Incident(now_s, event.limit_id, 0.0)
                self._incident = replace(old, until_s=now_s + AFTER_S)
        ended = self._incident is not None and now_s >= self._incident.until_s
        if self._block_s is None:  # at once, so that the file exists
            self._started_s = now_s
        if ended or self._block_s is None or now_s - self._block_s >= BLOCK_S:
            self._write(now_s, ended=ended)

    def _use_plan(self, now_s: float, plan: FlightPlan | None) -> None:
        changed = plan != self._plan
        self._plan = plan
        if not changed:
            return
        try:
            line = plan_line(plan)
        except RecordingError as error:
            _log.error("not recorded: %s", error)
            plan = None
            line = plan_line(None)
        self._lines.append(line)
        self._planned_s = now_s
        self._plan_line = b"" if plan is None else line
        self._start = replace(self._start, plan_crc=zlib.crc32(line) if plan else None)

    def use(self, rules: Rules) -> None:
        """Record other rules, in force from now on."""
        self._start = replace(self._start, rules=rules)
        self.begin()

    def begin(self, restart: dict[str, object] | None = None) -> None:
        """Record another start; before the first step with the state that is restored."""
        start = self._start_at(self._block_s)
        line = text_of(replace(start, restart=restart))
        if len(line) > MAX_BYTES:
            _log.error("a replay will not restore this run: its state has %d bytes", len(line))
            line = text_of(start)
        self._lines.append(line)

    def close(self) -> None:
        """Write the rest and finish the store."""
        if self._block_s is not None:
            self._write(self._block_s, ended=True)
        self._store.close()

    def _start_at(self, t_s: float | None) -> Start:
        """The start record with the present state of each gauge; `t_s` is of the last step."""
        pairs = zip(self._start.batteries, self._known, strict=True)
        batteries = tuple([replace(battery, known=known) for battery, known in pairs])
        return replace(self._start, batteries=batteries, t_s=t_s)

    def _write(self, now_s: float, *, ended: bool) -> None:
        data = block_of(self._number, b"".join(self._lines))
        ended_now = self._incident if ended else None
        plan = self._plan_before if self._is_start else b""
        self._store.take(Block(data, now_s, self._is_start, ended_now, plan))
        if ended:
            self._incident = None
        self._number += 1
        self._block_s = now_s
        self._is_start = now_s - self._started_s >= START_S
        self._lines = []
        self._plan_before = self._plan_line
        if self._is_start:
            self._started_s = now_s
            self._lines.append(text_of(self._start_at(now_s)))
            if self._plan_line and now_s - self._planned_s >= PLAN_S:
                self._planned_s = now_s
                self._lines.append(self._plan_line)
                self._plan_before = b""  # the block has it


class GrowingFile:
    """A recording file that grows; every method but `close` and `is_there` raises `OSError`.

    It appears under its name when its first data is on the disk, so that no kill and no power cut
    leaves an empty recording. After an error it has what it had before, and the call can be
    repeated.

    Attributes:
        start_s: time of its first record.
        size: bytes of the complete writes.

    Args:
        path: of the file; it must not exist.
        start_s: time of its first record.
        data: its content so far, after the first line.
    """

    def __init__(self, path: Path, start_s: float, data: bytes = b"") -> None:
        self._file = created(path, MAGIC + data)
        self.path = path
        self.start_s = start_s
        self.size = len(MAGIC + data)

    def is_there(self) -> bool:
        """Whether the path still names this file: it may be deleted, or its folder moved."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except OSError:
            return False

    def content(self) -> bytes:
        """What was written after the first line, even if the file was deleted."""
        return os.pread(self._file.fileno(), self.size, 0).removeprefix(MAGIC)

    def append(self, data: bytes, *, synced: bool = True) -> None:
        """Write all of the data, and wait until it survives a power cut."""
        write_all(self._file.fileno(), data, self.size)
        if synced:
            os.fdatasync(self._file.fileno())
        self.size += len(data)

    def close(self) -> None:
        """Close it; a disk error is ignored."""
        try:
            self._file.close()
        except OSError:
            pass


class SingleFile:
    """A `Store` of one file that is never synced, for simulated flights.

    Attributes:
        stopped: why it is incomplete, None while it is not.

    Raises:
        ConfigError: the file exists already or cannot be created.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file: GrowingFile | None = GrowingFile(path, 0.0)
        except FileExistsError as error:
            raise ConfigError(f"{path} exists already; recordings are never overwritten") from error
        except OSError as error:
            raise not_written(path, error) from error
        self.stopped: ConfigError | None = None

    def take(self, block: Block) -> None:
        """Write a block; a full disk stops the recording, not the flight."""
        if self._file is None:
            return
        try:
            self._file.append(block.data, synced=False)
        except OSError as error:
            _log.error("recording to %s stopped: %s", self._file.path, error.strerror)
            self.stopped = not_written(self._file.path, error)
            self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None

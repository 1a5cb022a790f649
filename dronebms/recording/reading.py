# SPDX-License-Identifier: Apache-2.0
"""Reads a recording: raw transfers and vehicle state of a run, replayed to the identical decisions.

A damaged block is reported and skipped, and reading continues at the next block that begins with a
start record.
"""

import logging
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf
from pathlib import Path

from dronebms.core.atomic_file import RECORDED_PROBE
from dronebms.core.bounded_input import MAX_ROWS, Window, open_regular
from dronebms.core.errors import ConfigError, RecordingError
from dronebms.core.flight_plan import FlightPlan
from dronebms.core.number_format import clock_text
from dronebms.recording.blocks import MAGIC, OLD_MAGIC, blocks_in
from dronebms.recording.records import Planned, Record, Start, Step, record_of

_MAX_DAMAGES = 10_000  # places
_NEXT_LINE = re.compile(b"[^\n]*\n")
Progress = Callable[[float], None]  # receives the share that is done, 0..1
Warn = Callable[[str], None]
_log = logging.getLogger(__name__)


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
    if begin == OLD_MAGIC:
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
    end = len(MAGIC)
    damages = 0
    is_cut = False  # a block after the last valid one is damaged
    size = max(path.stat().st_size, 1)
    with open_regular(path) as file:
        for place, number, block in blocks_in(Window(file)):
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
                record = record_of(line[0], f"{path}, block {number}")
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
            self._plan = None
            self._plan_crc = self._expected_crc
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

# SPDX-License-Identifier: Apache-2.0
"""Sink that records the pack history while the service runs, in a thread of its own.

It also has a summary of each connected pack, for screens: as the pack is recognised, after each
flight, and once a minute on the ground, when a user may have changed its name.

The loop hands Reports over and never waits. A failed write (full disk, locked database) is logged
once and retried; the flight in progress is written every few seconds, so that a kill or a power
failure loses no more than those.
"""

import logging
import math
import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dronebms.core.errors import ConfigError
from dronebms.core.report import PackSummary, Report
from dronebms.health.database import PackHistory, is_ordered
from dronebms.health.findings import summary
from dronebms.health.flight_detection import FlightDetector
from dronebms.health.flight_record import FLYING, LOST, FlightRecord
from dronebms.health.pack_label import PackLabel
from dronebms.health.sqlite import FILE, SqliteFile
from smartbattery.values import changed

_log = logging.getLogger(__name__)
EVERY_S = 5.0
_ROUND_S = 0.5
_SUMMARY_S = 60.0
_QUEUED = 3000  # reports: minutes of one pack, during a slow write
_STOP_S = 10.0  # for the last rows; a database may be locked for half of it
_LANDED = 200  # flights of this run that receive another date when the clock is set
_STEP_S = 60.0  # by which a clock that is set differs from one that was merely corrected


class PackHistorySink:
    """A sink of Reports; `close` writes the flights in progress.

    Args:
        folder: the folder of the database, which is created if there is none.
        date_s: the date, seconds since 1970; `None` while the computer's clock is not set. The
            flights of this run receive their dates as soon as it is.
    """

    def __init__(self, folder: Path, date_s: Callable[[], float | None]) -> None:
        self._path = folder / FILE
        self._date_s = date_s
        self._is_dateless = False  # as logged
        self._offset_s: float | None = None  # of the newest date to the clock of the reports
        self._landed: deque[tuple[FlightRecord, float]] = deque(maxlen=_LANDED)  # with its start
        self._run = secrets.token_hex(8)
        self._queue: deque[Report] = deque(maxlen=_QUEUED)
        self._detectors: dict[int, FlightDetector] = {}
        self._unwritten: dict[str, FlightRecord] = {}
        self._history: PackHistory | None = None
        self._is_full = False
        self._failed = ""
        self._written_s = 0.0
        self._summaries: dict[int, PackSummary] = {}  # replaced whole, as another thread reads it
        self._summed: dict[int, tuple[str | None, float]] = {}  # pack, and when
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="pack history", daemon=True)
        self._thread.start()

    def __call__(self, report: Report) -> None:
        """Queue a report; never waits."""
        if len(self._queue) == _QUEUED and not self._is_full:
            self._is_full = True
            _log.error("the disk of %s is too slow: a part of the history is lost", self._path)
        self._queue.append(report)

    def with_summary(self, report: Report) -> Report:
        """The report with the summary of its pack; for the loop's thread."""
        found = self._summaries.get(report.index)
        return report if found is None else changed(report, history=found)

    def close(self) -> None:
        """Write the remaining records and stop the thread."""
        self._stopping.set()
        self._thread.join(_STOP_S)

    def _work(self) -> None:
        while not self._stopping.wait(_ROUND_S):
            self._round()
        self._round()
        self._write([one.record(LOST) for one in self._detectors.values()])

    def _round(self) -> None:
        if self._history is None and not self._failed:
            self._write([])  # logs an unusable database at once
        while self._queue:
            report = self._queue.popleft()
            date_s = self._dated(report.t_s)
            detector = self._detectors.setdefault(report.index, FlightDetector(self._run))
            ended = detector.update(report, unix_s=date_s)
            if ended is not None:
                self._landed.append((ended, report.t_s - (ended.flown_s or 0.0)))
            if ended is not None or report.t_s - self._written_s >= EVERY_S:
                self._written_s = report.t_s
                self._write([ended, *(one.record(FLYING) for one in self._detectors.values())])
            self._summarise(report, detector, has_landed=ended is not None)
        self._is_full = False

    def _summarise(self, report: Report, detector: FlightDetector, *, has_landed: bool) -> None:
        """Read the summary of a battery's pack if it is due."""
        pack = detector.pack
        index = report.index
        known, at_s = self._summed.get(index, (None, -math.inf))
        is_due = not detector.flying and report.t_s - at_s >= _SUMMARY_S
        if pack == known and not has_landed and not is_due:
            return
        self._summed[index] = pack, report.t_s
        others = {key: value for key, value in self._summaries.items() if key != index}
        if pack is None or self._history is None:
            self._summaries = others
            return
        try:
            label = self._history.labels().get(pack, PackLabel(pack))
            flights = self._history.flights(pack)
            in_order = is_ordered(flights, is_merged=self._history.is_merged())
            found = summary(label, flights, self._date_s(), is_ordered=in_order)
        except ConfigError as error:
            _log.warning("the summary of %s cannot be read: %s", pack, error)
            self._summaries = others
            return
        self._summaries = others | {index: found}

    def _dated(self, t_s: float) -> float | None:
        """The date; a step of it is one of the flights of this run, too.

        A computer without a clock of its own starts with no date, or with that at which it stopped.
        """
        date_s = self._date_s()
        if date_s is None:
            if not self._is_dateless:
                _log.info("the clock of this computer is not set: flights have no date until it is")
            self._is_dateless = True
            return None
        offset_s = date_s - t_s
        known_s = self._offset_s
        self._offset_s = offset_s
        is_set = self._is_dateless or (known_s is not None and abs(offset_s - known_s) > _STEP_S)
        if is_set:
            self._is_dateless = False
            _log.info("the clock of this computer is set: so are the dates of this run's flights")
            self._write(
                [replace(one, started_unix_s=from_s + offset_s) for one, from_s in self._landed]
            )
        return date_s

    def _write(self, records: list[FlightRecord | None]) -> None:
        """Write records; those of a failed write are retried by the next one."""
        self._unwritten |= {record.flight_id: record for record in records if record is not None}
        was_open = self._history is not None
        # Once more: opened again, or made again if it was deleted.
        if not (self._is_written() or (was_open and self._is_written())):
            return
        if self._failed:
            _log.info("the pack history is recorded again in %s", self._path)
        self._failed = ""
        self._unwritten = {}

    def _is_written(self) -> bool:
        try:
            if self._history is None:
                history = PackHistory(SqliteFile(self._path, writes=True), writes=True)
                history.close_lost()
                self._history = history
            self._history.put(self._unwritten.values())
        except ConfigError as error:
            if not self._failed:
                _log.error("the pack history is not recorded: %s", error)
            self._failed = str(error)
            self._history = None
            return False
        return True

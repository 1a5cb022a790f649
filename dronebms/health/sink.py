"""The sink that keeps passports while the service runs: a thread beside the loop.

The loop hands Reports over and goes on. What cannot be written (a full disk, a locked database) is
logged once and tried again; a flight that is on is written every few seconds, so that a kill or a
cut of power loses no more than those.
"""

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from dronebms.core.errors import ConfigError
from dronebms.core.report import Report
from dronebms.health.database import FILE, PackHistory, SqliteFile
from dronebms.health.flight_detection import FlightDetector
from dronebms.health.flight_record import FLYING, LOST, FlightRecord

_log = logging.getLogger(__name__)
EVERY_S = 5.0
_ROUND_S = 0.5
_WAITING = 3000  # reports: minutes of one pack, while a write takes its time
_STOP_S = 10.0  # for the last rows; a database may be locked for half of it
_BELIEVED_UNIX_S = 1_735_689_600.0  # 2025: a clock that says less has not been set


class PackHistorySink:
    """A sink of Reports; what it knows at `close` is written.

    Args:
        folder: where the database is or will be.
        unix_s: the date; a companion computer often does not know it.
    """

    def __init__(self, folder: Path, unix_s: Callable[[], float]) -> None:
        self._path, self._unix_s = folder / FILE, unix_s
        self._run = secrets.token_hex(8)
        self._waiting: deque[Report] = deque(maxlen=_WAITING)
        self._flights: dict[int, FlightDetector] = {}
        self._unwritten: dict[str, FlightRecord] = {}
        self._passports: PackHistory | None = None
        self._failed = ""
        self._written_s = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="passports", daemon=True)
        self._thread.start()

    def __call__(self, report: Report) -> None:
        """Take a step of the loop; never waits."""
        self._waiting.append(report)

    def close(self) -> None:
        """Write what is left, and end."""
        self._stopping.set()
        self._thread.join(_STOP_S)

    def _work(self) -> None:
        while not self._stopping.wait(_ROUND_S):
            self._round()
        self._round()
        self._write([flights.row(LOST, unix_s=self._date()) for flights in self._flights.values()])

    def _round(self) -> None:
        if self._passports is None and not self._failed:
            self._write([])  # says at once what is wrong
        while self._waiting:
            report, date_s = self._waiting.popleft(), self._date()
            flights = self._flights.setdefault(report.index, FlightDetector(self._run))
            done = flights.take(report, unix_s=date_s)
            if done is not None or report.t_s - self._written_s >= EVERY_S:
                self._written_s = report.t_s
                flying = [f.row(FLYING, unix_s=date_s) for f in self._flights.values()]
                self._write([done, *flying])

    def _date(self) -> float | None:
        unix_s = self._unix_s()
        return unix_s if unix_s >= _BELIEVED_UNIX_S else None

    def _write(self, rows: list[FlightRecord | None]) -> None:
        """Write rows; those that cannot be written wait for the next time."""
        self._unwritten |= {row.flight_id: row for row in rows if row is not None}
        try:
            if self._passports is None:
                self._passports = PackHistory(SqliteFile(self._path, writes=True), writes=True)
                self._passports.close_lost()
            self._passports.put(self._unwritten.values())
        except ConfigError as error:
            if not self._failed:
                _log.error("no passport is kept: %s", error)
            self._failed = str(error)
            return
        if self._failed:
            _log.info("passports are kept again in %s", self._path)
        self._failed, self._unwritten = "", {}

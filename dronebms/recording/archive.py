"""The folder of a service's recordings: a thread that writes and syncs, bounds, incident capsules.

A file begins with a start and goes on in another one when it is full; what is oldest is deleted
first. A capsule is a copy of the run up to 30 s after an alarm. Bytes; seconds of the loop's clock.
"""

import logging
import os
import shutil
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from queue import Full, Queue

from dronebms.core.atomic_file import atomic_writer
from dronebms.core.clock import unix_s
from dronebms.core.errors import ConfigError
from dronebms.recording.format import MAGIC
from dronebms.recording.recorder import BEFORE_S, Block, GrowingFile, Incident

_QUEUED = 300  # blocks that a disk may lag behind
_STOP_S = 5.0
_DAY_S = 86_400.0
_SANE_S = 1_735_689_600.0  # 2025-01-01: a clock that is earlier was never set
_INCIDENTS = "incidents"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a folder may hold; capsules count, and go last."""

    most_bytes: float
    file_bytes: float
    most_days: float | None = None


class Folder:
    """A `Store`: the files of a service, written and synced by a thread, and capsules beside them.

    Files are numbered, not dated: a companion computer often has no idea what day it is.

    Args:
        folder: made when it is missing.
        bounds: of all that is kept in it.

    Raises:
        OSError: it cannot be made or read.
    """

    def __init__(self, folder: Path, bounds: Bounds) -> None:
        (folder / _INCIDENTS).mkdir(parents=True, exist_ok=True)
        self._folder, self._bounds = folder, bounds
        numbers = [path.stem[4:] for path in folder.glob("run-*.rec")]
        self._last = max((int(text) for text in numbers if text.isdecimal()), default=0)
        self._file: GrowingFile | None = None
        self._before: GrowingFile | None = None  # the file that this one goes on from
        self._is_lost = False
        self._queue: Queue[Block | None] = Queue(_QUEUED)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def take(self, block: Block) -> None:
        """Hand a block to the thread; one that a stuck disk has no room for is dropped."""
        try:
            self._queue.put_nowait(block)
        except Full:  # its number will be missing, which the reader tells
            if not self._is_lost:
                _log.error("the disk of %s lags behind: some of the run is lost", self._folder)
            self._is_lost = True

    def close(self) -> None:
        """Write what was taken, for a few seconds."""
        try:
            self._queue.put(None, timeout=_STOP_S)
        except Full:
            pass
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        while (block := self._queue.get()) is not None:
            try:
                self._write(block)
                if block.ended is not None:
                    self._encapsulate(block.ended)
            except OSError as error:
                self._stop(error)
        if self._file is not None:
            self._file.close()

    def _write(self, block: Block) -> None:
        if block.is_start and (self._file is None or self._file.size >= self._bounds.file_bytes):
            self._next(block.t_s)
        if self._file is None:
            return
        self._file.append(block.data)
        self._file.sync()
        if self._is_lost:
            self._is_lost = False
            _log.info("recording again, to %s", self._file.path)

    def _next(self, now_s: float) -> None:
        if self._file is not None:
            self._file.close()
        self._before, self._file = self._file, None
        self._make_room()
        self._last += 1
        self._file = GrowingFile(self._folder / f"run-{self._last:05d}.rec", now_s)
        _sync_folder(self._folder)

    def _stop(self, error: OSError) -> None:
        """Give up the file; the next start tries another one."""
        if not self._is_lost:
            _log.error("nothing is recorded in %s for now: %s", self._folder, error.strerror)
        self._is_lost = True
        file, self._file = self._file, None
        if file is not None:
            file.close()
            if not file.size:
                file.path.unlink(missing_ok=True)

    def _make_room(self) -> None:
        """Delete the oldest files while there is too much, capsules after all others."""
        runs = self._folder.glob("run-*.rec")
        capsules = (self._folder / _INCIDENTS).glob("run-*.rec")
        # By the number of the run, of which a hundred thousandth has one digit more.
        files = [
            (path, path.stat())
            for found in (runs, capsules)
            for path in sorted(found, key=lambda path: (len(path.name.split("-")[1]), path.name))
            if self._file is None or path != self._file.path
        ]
        held = sum(stat.st_size for _, stat in files) + self._bounds.file_bytes
        for path, stat in files:
            days = (unix_s() - stat.st_mtime) / _DAY_S
            if held > self._bounds.most_bytes or days > (self._bounds.most_days or inf):
                path.unlink()
                held -= stat.st_size

    def _encapsulate(self, incident: Incident) -> None:
        """Keep the run so far, so that a replay of it decides as the flight did."""
        if self._file is None:
            return
        files = [self._file.path]
        if self._before is not None and incident.t_s - self._file.began_s < BEFORE_S:
            files.insert(0, self._before.path)
        self._make_room()
        date = (
            f"-{datetime.fromtimestamp(unix_s(), UTC):%Y%m%dT%H%M%SZ}" if unix_s() > _SANE_S else ""
        )
        folder, run = self._folder / _INCIDENTS, self._file.path.stem
        path = folder / f"{run}-{incident.t_s:06.0f}s-{incident.why}{date}.rec"
        # A limit that trips again and again must not fill the disk: the newest holds them all.
        outdated = [old for old in folder.glob(f"{run}-*s-{incident.why}*.rec")
                    if old.stem.split("-")[3] == incident.why]  # fmt: skip
        try:
            with atomic_writer(path) as capsule:
                capsule.buffer.write(MAGIC)
                for source in files:
                    with source.open("rb") as file:
                        file.seek(len(MAGIC))
                        shutil.copyfileobj(file, capsule.buffer)
        except ConfigError as error:
            _log.error("no capsule of %s at %.0f s: %s", incident.why, incident.t_s, error)
        else:
            for old in outdated:
                old.unlink(missing_ok=True)
            _log.info("what led to %s is kept in %s", incident.why, path)


def _sync_folder(folder: Path) -> None:
    """Make a new name outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

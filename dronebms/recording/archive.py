# SPDX-License-Identifier: Apache-2.0
"""Folder of the recordings of a service: a thread that writes and syncs, bounds, incident capsules.

A file begins with a start record and is continued in another one when it is full; the oldest file
is deleted first, but none that another service writes. A capsule is a copy of the run up to 30 s
after an alarm. Sizes in bytes; times in seconds of the loop's clock.
"""

import errno
import logging
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from queue import Full, Queue

from dronebms.core.atomic_file import PART, atomic_writer
from dronebms.core.clock import date_s, known_date
from dronebms.core.disk import make_folder
from dronebms.core.errors import ConfigError
from dronebms.core.file_lock import is_in_use
from dronebms.recording.blocks import MAGIC
from dronebms.recording.boots import BOOT_FILE, BootFile
from dronebms.recording.recorder import BEFORE_S, Block, GrowingFile, Incident

_QUEUED = 300  # blocks that a disk may lag behind
_STOP_S = 5.0
# of a block
_RETRY_S = 1.0
_RETRIES = 30
_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})  # errors that may end
_DAY_S = 86_400.0
_INCIDENTS = "incidents"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of all files in a folder; capsules are deleted last."""

    max_bytes: float
    file_bytes: float
    max_days: float | None = None


class Folder:
    """A `Store` of numbered files, written and synced by a thread, and of capsules.

    Files are numbered, not dated: a companion computer often does not know the date. Several
    services may share a folder: each takes the next free number, and a file is locked by the
    service that writes it. The bounds are of all files in the folder, whichever service wrote them.

    Whatever fails on the disk is logged once. On a full or failing disk a block is written again
    each second for half a minute; then it is dropped, as after other errors at once, and the
    recording continues in another file at a start record.

    Args:
        folder: created if it is missing.
        bounds: of the files in it.
    """

    def __init__(self, folder: Path, bounds: Bounds) -> None:
        self._folder = folder
        self._bounds = bounds
        self._last: int | None = None  # number of the newest file
        self._boots = BootFile(folder)
        self._since_boot = 1  # number of the first file since the computer was started
        self._today_s: float | None = None  # by which older files are judged
        self._ended_s: dict[str, float] = {}  # newest block of each file of this run, by its stem
        self._t_s = 0.0  # of the newest block
        self._file: GrowingFile | None = None
        self._before: GrowingFile | None = None  # the previous file
        self._is_lost = False
        self._queue: Queue[Block | None] = Queue(_QUEUED)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def take(self, block: Block) -> None:
        """Queue a block for the thread; a block is dropped if the queue is full."""
        try:
            self._queue.put_nowait(block)
        except Full:  # a reader notices the missing number
            if not self._is_lost:
                _log.error("the disk of %s is too slow: a part of the run is lost", self._folder)
            self._is_lost = True

    def close(self) -> None:
        """Write the queued blocks, within a time limit."""
        self._closing.set()
        try:
            self._queue.put(None, timeout=_STOP_S)
        except Full:
            pass
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        while (block := self._queue.get()) is not None:
            self._store(block)
        if self._file is not None:
            self._file.close()

    def _store(self, block: Block) -> None:
        """Write a block and the capsule that ends with it, after as many attempts as it takes."""
        for attempt in range(_RETRIES + 1):
            try:
                self._write(block)
            except OSError as error:
                if not self._is_lost:
                    text = "recording in %s is interrupted: %s"
                    _log.error(text, self._folder, error.strerror)
                self._is_lost = True
                is_last = attempt == _RETRIES or error.errno not in _PASSING
            else:
                break
            if is_last or self._closing.wait(_RETRY_S):
                self._stop()
                break
        if block.ended is not None:
            self._encapsulate(block.ended)

    def _write(self, block: Block) -> None:
        self._t_s = max(self._t_s, block.t_s)
        if self._file is not None and not self._file.is_there():
            self._file = self._renewed(self._file)
        if block.is_start and (self._file is None or self._file.size >= self._bounds.file_bytes):
            if self._file is not None:
                self._file.close()
                self._before = self._file
                self._file = None
            self._file = self._opened(block.t_s, block.opening())
        elif self._file is not None:
            self._file.append(block.data)
        if self._file is not None:
            self._ended_s[self._file.path.stem] = self._t_s
        if self._is_lost and self._file is not None and self._file.is_there():
            self._is_lost = False
            _log.info("recording continues in %s", self._file.path)

    def _renewed(self, deleted: GrowingFile) -> GrowingFile:
        """Another file with what a deleted one has; as long as that fails, the deleted one."""
        if not self._is_lost:
            _log.error("%s was deleted or moved", deleted.path)
        self._is_lost = True
        try:
            file = self._opened(deleted.start_s, deleted.content())
        except OSError:
            return deleted
        deleted.close()
        return file

    def _opened(self, start_s: float, data: bytes) -> GrowingFile:
        try:
            make_folder(self._folder / _INCIDENTS)
        except OSError:  # each capsule tries again
            make_folder(self._folder)
        if self._last is None:
            self._begin()
        self._make_room()
        while True:
            self._last = max(self._last or 0, self._newest()) + 1
            try:
                return GrowingFile(self._folder / f"run-{self._last:05d}.rec", start_s, data)
            except FileExistsError:
                pass  # another service has taken the number meanwhile

    def _begin(self) -> None:
        """Delete what a run that was killed has left, and look for another service."""
        runs = self._folder
        capsules = self._folder / _INCIDENTS
        parts = f".run-*{PART}"
        for part in (*runs.glob(parts), *capsules.glob(parts), *runs.glob(f".{BOOT_FILE}-*{PART}")):
            _delete(part)
        if any(is_in_use(path) for path in runs.glob("run-*.rec")):
            text = "another dronebms records in %s too: max_mb and max_days hold for both together"
            _log.warning(text, self._folder)

    def _newest(self) -> int:
        """Number of the newest file, one that another service is about to begin included."""
        runs = self._folder
        capsules = self._folder / _INCIDENTS
        # A run whose files were moved away may have left capsules: its number is taken, too.
        found = [*runs.glob("run-*.rec"), *runs.glob(f".run-*{PART}"), *capsules.glob("run-*.rec")]
        return max((number for path in found if (number := _number_of(path))), default=0)

    def _stop(self) -> None:
        """Close the file; the next start record opens another one."""
        file = self._file
        self._file = None
        if file is not None:
            file.close()

    def _make_room(self) -> None:
        """Delete the oldest files until the bounds are met, capsules last."""
        runs = self._folder.glob("run-*.rec")
        capsules = (self._folder / _INCIDENTS).glob("run-*.rec")
        files = [
            (path, stat)
            for found in (runs, capsules)
            for path in sorted(found, key=_place)
            if (self._file is None or path != self._file.path) and (stat := _stat(path)) is not None
        ]
        self._look_at_boot(files)
        total = sum(stat.st_size for _, stat in files) + self._bounds.file_bytes
        ages_s = self._ages_s(files)
        for path, stat in files:
            days = ages_s[path] / _DAY_S
            if total > self._bounds.max_bytes or days > (self._bounds.max_days or inf):
                total -= stat.st_size if _delete(path) else 0
        stems = {_run_of(path) for path, _ in files}
        self._ended_s = {stem: t_s for stem, t_s in self._ended_s.items() if stem in stems}

    def _look_at_boot(self, files: Sequence[tuple[Path, os.stat_result]]) -> None:
        newest = max(files, key=lambda file: _place(file[0]), default=None)
        written_s = None if newest is None else known_date(newest[1].st_mtime)
        today_s = date_s()
        boot = self._boots.boot(max(self._newest(), self._last or 0), written_s, today_s)
        self._since_boot = boot.firsts[0]
        self._today_s = boot.least_s(today_s)
        self._last = max(self._last or 0, boot.firsts[-1] - 1)

    def _ages_s(self, files: Sequence[tuple[Path, os.stat_result]]) -> dict[Path, float]:
        """Least age of each file: by its date, and that of every later one.

        A file of this run has an age by the loop's clock, and one of an earlier run since the
        computer was started is as old as the next one that has an age: by the date they would be
        years old as soon as a computer without a clock gets its date. The same holds for a file
        that has no date; without a later one that has an age it is of today.
        """
        least_s = 0.0
        ages_s = {}
        for path, stat in sorted(files, key=lambda file: _place(file[0]), reverse=True):
            ended_s = self._ended_s.get(_run_of(path))
            written_s = known_date(stat.st_mtime)
            if ended_s is not None:
                least_s = max(least_s, self._t_s - ended_s)
            elif (_number_of(path) or 0) >= self._since_boot:
                pass  # as old as the next one
            elif self._today_s is not None and written_s is not None:
                least_s = max(least_s, self._today_s - written_s)
            ages_s[path] = least_s
        return ages_s

    def _encapsulate(self, incident: Incident) -> None:
        """Copy the run so far, so that a replay of the copy gives the same decisions."""
        if self._file is None:
            return
        files = [self._file.path]
        self._make_room()
        is_early = incident.t_s - self._file.start_s < BEFORE_S
        if self._before is not None and is_early and self._before.path.exists():
            files.insert(0, self._before.path)
        today_s = date_s()
        date = "" if today_s is None else f"-{datetime.fromtimestamp(today_s, UTC):%Y%m%dT%H%M%SZ}"
        folder = self._folder / _INCIDENTS
        run = self._file.path.stem
        path = folder / f"{run}-{incident.t_s:06.0f}s-{incident.limit_id}{date}.rec"
        # A limit that trips repeatedly must not fill the disk: the newest capsule has all of it.
        outdated = [
            old
            for old in folder.glob("run-*.rec")
            if _run_of(old) == run and old.stem.split("-")[3:4] == [incident.limit_id]
        ]
        try:
            make_folder(folder)
            with atomic_writer(path, is_recording=True) as capsule:
                capsule.buffer.write(MAGIC)
                for source in files:
                    with source.open("rb") as file:
                        file.seek(len(MAGIC))
                        shutil.copyfileobj(file, capsule.buffer)
        except (ConfigError, OSError) as error:
            _log.error("no capsule of %s at %.0f s: %s", incident.limit_id, incident.t_s, error)
        else:
            for old in outdated:
                _delete(old)
            _log.info("recording of %s: %s", incident.limit_id, path)


def _run_of(path: Path) -> str:
    """Stem of the run file of a run file or of a capsule."""
    return "-".join(path.stem.split("-")[:2])


def _place(path: Path) -> tuple[int, str]:
    """Sorts files by the number of their run, which has one digit more from 100000 on."""
    return len(path.stem.split("-")[1]), path.stem


def _number_of(path: Path) -> int | None:
    """Number of the run of a file or of a capsule; `None` for a file of another name."""
    text = path.stem.split("-")[1]
    return int(text) if text.isdecimal() else None


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # deleted meanwhile
        return None


def _delete(path: Path) -> bool:
    """Delete a file that no other service writes; return whether it is gone."""
    if is_in_use(path):
        return False
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True

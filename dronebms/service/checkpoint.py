# SPDX-License-Identifier: Apache-2.0
"""Checkpoint of a run, for a restart in flight.

One file that is written once a second (`dronebms.core.slot_file`). The checkpoint survives the end
of the process, however it ends. It is synced when the latched limits change: they survive a power
cut too.

A checkpoint of another boot is not restored: a small computer without a clock of its own starts
with the date at which it stopped, so no date proves how long the pack was out of sight. Latched
limits are restored in any case, because they do not depend on time. Where they cannot be read, the
pack is no-go until the next start: an earlier run may have latched a fault.

The file belongs to one configuration. After the end of its run it waits half a minute for the next
one: another service that tries again all the time would else take the place of one that restarts.

The content is JSON with a format number for each part (`dronebms.core.state`). Times in seconds of
the loop's clock and of the boot clock, which includes suspend.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from dronebms.core import slot_file
from dronebms.core.clock import boot_id, boot_s
from dronebms.core.disk import may_be_there
from dronebms.core.errors import InUseError
from dronebms.core.slot_file import SlotFile
from dronebms.core.state import decode, encode, from_json, to_json
from dronebms.monitoring.pack_recognition import MOST_GAP_S
from dronebms.monitoring.restart_state import LATCHES, UNREAD

CHECKPOINT = "run.kept"  # file name in the state folder
_RUN = "run"
_PERIOD_S = 1.0 - 1e-6
_SLOT_BYTES = 1 << 20
_MARK = b"DBK2"
_OLD_MARK = b"DBK1"
_MAX_TRIES = 3
_STOP_S = 5.0  # that closing waits for a disk
_HELD_S = 30.0  # after the end of a run, for its restart
_STEADY_S = 5.0  # a run that lasts so long was not ended by the state that it restored
_DAMAGED = slot_file.damage(Path(CHECKPOINT))
_UNREADABLE = slot_file.unreadable(Path(CHECKPOINT))
_NOT_PRIVATE = slot_file.exposure(Path(CHECKPOINT))
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """When and by which boot a checkpoint was written."""

    FORMAT: ClassVar[int] = 1

    boot_id: str
    boot_s: float
    t_s: float  # of the loop
    tries: int = 0  # restarts that restored it
    owner: str = ""  # configuration file of the run; "" once the user has ended it


@dataclass(frozen=True, slots=True)
class Taken:
    """Parts of a run and when they were taken, or why they cannot be stored."""

    checkpoint: Checkpoint
    parts: Mapping[str, object] = field(default_factory=dict)
    error: ValueError | None = None


class CheckpointFile:
    """The checkpoint file of a service. For one thread; a disk error is logged and stops nothing.

    Another thread may call `is_due` and `taken`, which touch nothing of the file.

    Attributes:
        parts: what can be restored of the last run: all that it stored, the latches alone if the
            rest is refused, the reason why the latches are unknown (`UNREAD`), or nothing.
        start_s: start of the loop's clock, which continues that of the last run.

    Args:
        path: of the file; its folder is created.
        owner: configuration file of the run.

    Raises:
        InUseError: another run uses the file, or one of another configuration may restart.
    """

    def __init__(self, path: Path, owner: str = "") -> None:
        self._path = path
        self._owner = owner
        self._taken_s: float | None = None
        self._boot_id = boot_id()
        self._tries = 0
        self.parts: Mapping[str, object] = {}
        self.start_s = 0.0
        self._file: SlotFile | None = None
        self._latches: object = None  # as last written
        self._latched_at = 0  # number of the content that they are in since they changed
        self._trouble: str | None = None  # as logged
        self._is_replaced = False
        try:
            self._file = self._opened()
            parts = self._read(self._file)
        except BlockingIOError as error:
            raise InUseError(f"{path} is in use by another dronebms run") from error
        except OSError as error:
            self._log_trouble(error.strerror)
            self.parts = {UNREAD: _UNREADABLE} if may_be_there(path) else {}
            return
        if not self._boot_id:
            self._log_trouble("the id of this start of the computer cannot be read")
        if UNREAD in parts:
            self.parts = parts
        elif parts:
            self._restore(parts)

    def step(self, now_s: float, parts: Callable[[], Mapping[str, object]]) -> None:
        """Store the parts, once a second."""
        if self.is_due(now_s):
            self.store(self.taken(now_s, parts))

    def release(self, now_s: float, parts: Callable[[], Mapping[str, object]]) -> None:
        """Store the parts, and leave the file to a run of any configuration."""
        self.store(self.taken(now_s, parts, is_last=True))

    def is_due(self, now_s: float) -> bool:
        """Whether a second has passed since the parts were taken last."""
        return self._taken_s is None or now_s - self._taken_s >= _PERIOD_S

    def taken(
        self, now_s: float, parts: Callable[[], Mapping[str, object]], *, is_last: bool = False
    ) -> Taken:
        """Parts of a run; after the last ones any configuration may use the file."""
        self._taken_s = now_s
        if now_s - self.start_s > _STEADY_S:
            self._tries = 0
        owner = "" if is_last else self._owner
        checkpoint = Checkpoint(self._boot_id, boot_s(), now_s, self._tries, owner)
        try:
            return Taken(checkpoint, parts())
        except ValueError as error:
            return Taken(checkpoint, error=error)

    def store(self, taken: Taken) -> None:
        """Store parts of a run."""
        if not self._boot_id:  # without a boot's name nothing can be restored
            return
        try:
            if taken.error is not None:
                raise taken.error
            self._reopen()
            self._write(taken.parts, taken.checkpoint)
        except ValueError as error:  # must not stop protection
            self._log_trouble(f"its state cannot be stored: {error}")
        except OSError as error:
            self._log_trouble(error.strerror)
        else:
            failed = None if self._file is None else self._file.sync_error
            self._log_trouble(
                None if failed is None else f"its latched limits are not synced: {failed.strerror}"
            )

    def close(self) -> None:
        """Close the file; its content stays."""
        file = self._file
        self._file = None
        if file is not None:
            file.close()

    def _opened(self) -> SlotFile:
        """The file; the log has that it is new in the place of one that others can write."""
        # One service writes it.
        file, is_new = slot_file.own_file(self._path, _MARK, _SLOT_BYTES, locks=True)
        if is_new:
            _log.error("%s can be written by other users and is replaced", self._path)
            self._is_replaced = True
        return file

    def _reopen(self) -> None:
        """Make the file again if it was deleted, others could write it or it was not opened."""
        loss = None
        if self._file is not None:
            loss = self._file.loss
            if loss is None:
                return
            if not self._file.is_deleted:
                self._path.unlink()
        file = self._opened()
        if loss is not None:
            self._log_trouble(f"{loss}, it is made again")
        self.close()
        self._file = file
        self._latches = None

    def _log_trouble(self, trouble: str | None) -> None:
        """Log a change of the trouble."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble is None:
            _log.info("a restart restores this run: %s is written", self._path)
        else:
            _log.error("a restart will not restore this run: %s: %s", self._path, trouble)

    def _restore(self, parts: Mapping[str, object]) -> None:
        checkpoint = decode(Checkpoint, parts.get(_RUN), "the last run")
        if checkpoint is not None and self._is_awaited(checkpoint):
            self.close()
            raise InUseError(
                f"{self._path} belongs to the run of {checkpoint.owner}, which may restart: "
                f"another configuration can use it {_HELD_S:.0f} s after the end of that run"
            )
        reason = None if checkpoint is None else self._refusal(checkpoint)
        if reason is not None:
            _log.info("the last run is not restored: %s", reason)
        if checkpoint is None or reason is not None:
            self.parts = {LATCHES: parts[LATCHES]} if LATCHES in parts else {UNREAD: _DAMAGED}
            return
        self.parts = parts
        self.start_s = checkpoint.t_s + boot_s() - checkpoint.boot_s
        self._tries = checkpoint.tries + 1
        try:
            self._write(parts, replace(checkpoint, tries=self._tries, owner=self._owner))
        except OSError as error:
            self._log_trouble(error.strerror)

    def _is_awaited(self, checkpoint: Checkpoint) -> bool:
        if checkpoint.owner in {"", self._owner} or checkpoint.boot_id != self._boot_id:
            return False
        return 0.0 <= boot_s() - checkpoint.boot_s <= _HELD_S

    def _refusal(self, checkpoint: Checkpoint) -> str | None:
        gap_s = boot_s() - checkpoint.boot_s
        if not self._boot_id or checkpoint.boot_id != self._boot_id:
            return "the computer was started since"
        if gap_s < 0.0:
            return "it is of a later time of this computer"
        if gap_s > MOST_GAP_S:
            return f"it ended {gap_s:.0f} s ago"
        if checkpoint.tries >= _MAX_TRIES:
            return f"{_MAX_TRIES} runs that restored it ended within {_STEADY_S:.0f} s"
        return None

    def _read(self, file: SlotFile) -> Mapping[str, object]:
        """Parts of the newest whole place, or why there are none; none of a new file."""
        if self._is_replaced:
            return {UNREAD: _NOT_PRIVATE}
        body = file.read()
        if body is None and _OLD_MARK in file.marks():
            _log.info("the last run is not restored: its checkpoint is of an older version")
            return {}
        if body is None and file.is_empty:
            return {}
        try:
            parts = None if body is None else from_json(body)
        except ValueError as error:
            _log.error("the last run is not restored: %s: %s", self._path, error)
            return {UNREAD: _DAMAGED}
        if not isinstance(parts, dict):
            _log.error("the last run is not restored: %s is damaged", self._path)
            return {UNREAD: _DAMAGED}
        return parts

    def _write(self, parts: Mapping[str, object], checkpoint: Checkpoint) -> None:
        body = to_json({**parts, _RUN: encode(checkpoint)})
        if self._file is None:
            return
        self._file.write(body)
        if parts.get(LATCHES) != self._latches:
            self._latches = parts.get(LATCHES)
            self._latched_at = self._file.number
        if self._file.number_on_disk < self._latched_at:
            self._file.start_sync()


def unread_reason(path: Path) -> str | None:
    """Why a run would not know the latched limits of a file; `None` if it would, or without one."""
    return slot_file.unread_reason(path, (_MARK, _OLD_MARK), _SLOT_BYTES)


class BackgroundCheckpoint:
    """Stores a run in a thread: a disk that is full or slow holds up no step of the loop.

    The loop takes the parts, the thread writes them. While a disk holds up a write, the newest
    parts wait, and those before them are dropped.

    Args:
        file: used by the thread alone from here on, and closed by it.
    """

    def __init__(self, file: CheckpointFile) -> None:
        self._file = file
        self._newest: deque[Taken] = deque(maxlen=1)
        self._is_late = False  # as logged
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
        self._thread.start()

    def step(self, now_s: float, parts: Callable[[], Mapping[str, object]]) -> None:
        """Take the parts, once a second."""
        if not self._file.is_due(now_s):
            return
        if self._newest and not self._is_late:
            self._is_late = True
            _log.error("the disk is too slow: a restart may restore an older state of this run")
        self._put(self._file.taken(now_s, parts))

    def release(self, now_s: float, parts: Callable[[], Mapping[str, object]]) -> None:
        """Take the last parts; the file is left to a run of any configuration."""
        self._put(self._file.taken(now_s, parts, is_last=True))

    def close(self) -> None:
        """Store what waits and close the file, within a time limit."""
        self._closing.set()
        self._wake.set()
        self._thread.join(_STOP_S)

    def _put(self, taken: Taken) -> None:
        self._newest.append(taken)
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            is_closing = self._closing.is_set()  # before the last look for parts
            while self._newest:
                self._file.store(self._newest.popleft())
                self._is_late = False
            if is_closing:
                self._file.close()
                return

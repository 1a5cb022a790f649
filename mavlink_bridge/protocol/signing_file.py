# SPDX-License-Identifier: Apache-2.0
"""File of the timestamps of signed frames.

A write survives the end of the process, however it ends, and is synced every 30 s. A thread writes:
the loop waits for a write as long as a disk usually takes, and no longer.

A file that other users can write decides nothing, as their times could refuse every peer: a new one
takes its place, and times begin again. In a run the times in memory are the newest: they are
written again if the file is deleted, swapped or made writable for others.
"""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from dronebms.core import slot_file
from dronebms.core.slot_file import SlotFile
from dronebms.core.state import decode, encode, from_json, to_json

TICKS_PER_S = 100_000
_SYNCED = 30 * TICKS_PER_S
_SLOT_BYTES = 8192
_MARK = b"SIG1"
_WAIT_S = 0.02  # for a write, a fifth of a step of the loop
_STOP_S = 3.0  # that closing waits for a disk
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SigningState:
    """Timestamps that outlive the process."""

    FORMAT: ClassVar[int] = 1

    boot_id: str
    own: int  # above every timestamp of ours
    reference: int
    streams: tuple[tuple[int, int, int, int], ...]  # link id, system, component, timestamp


class TimestampStore(Protocol):
    """Where timestamps outlive the process.

    Attributes:
        state: as the last run stored it; `None` without one.
    """

    state: SigningState | None

    def write(self, state: SigningState) -> None:
        """Store the timestamps; raises nothing."""


class TimestampFile:
    """File of the timestamps.

    Attributes:
        state: as the last run stored it; `None` without one.
    """

    def __init__(self, path: Path) -> None:
        self.state: SigningState | None = None
        self._path = path
        self._trouble: str | None = None  # as logged
        self._file: SlotFile | None = None
        self._synced: int | None = None  # reference of the content that was last synced
        try:
            self._file, is_new = slot_file.own_file(path, _MARK, _SLOT_BYTES)
            if is_new:
                text = "%s can be written by other users and is replaced: signing times begin again"
                _log.error(text, path)
            self.state = self._read(self._file)
        except OSError as error:
            self._log_trouble(error.strerror)

    def write(self, state: SigningState) -> None:
        """Write the timestamps; a disk error is logged once."""
        try:
            file = self._reopened()
            file.write(to_json(encode(state)))
            if self._synced is None or not 0 <= state.reference - self._synced < _SYNCED:
                self._synced = state.reference
                file.start_sync()
        except OSError as error:
            self._log_trouble(error.strerror)
        else:
            self._log_trouble(None)

    def close(self) -> None:
        """Close the file; its content stays."""
        file = self._file
        self._file = None
        if file is not None:
            file.close()

    def _reopened(self) -> SlotFile:
        """The file, made again if it was deleted, others could write it or it was not opened."""
        before = self._file
        loss = None if before is None else before.loss
        if before is not None and loss is None:
            return before
        self._file, _ = slot_file.own_file(self._path, _MARK, _SLOT_BYTES)
        if loss is not None:
            self._log_trouble(f"{loss}, it is made again")
        self._synced = None
        if before is not None:
            before.close()
        self._file.read()  # ours are newer, whatever is in it
        return self._file

    def _log_trouble(self, trouble: str | None) -> None:
        """Log a change of the trouble."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble is None:
            _log.info("signing timestamps are stored again: %s", self._path)
        else:
            _log.error("signing timestamps are not stored: %s: %s", self._path, trouble)

    def _read(self, file: SlotFile) -> SigningState | None:
        body = file.read()
        if body is None:
            if not file.is_empty:
                _log.error("%s is damaged: signing timestamps begin again", self._path)
            return None
        try:
            return decode(SigningState, from_json(body), "signing timestamps")
        except ValueError as error:
            _log.error("%s is damaged: %s", self._path, error)
            return None


def unread_reason(path: Path) -> str | None:
    """Why a run would not use the times of a file; `None` if it would, or without a file."""
    return slot_file.unread_reason(path, (_MARK,), _SLOT_BYTES)


class BackgroundTimestamps:
    """Writes timestamps in a thread: a disk that is full or slow holds up no step of the loop.

    Usually a write is done when `write` returns, so that no frame is used before its time is
    stored. While a disk holds up a write, the newest state waits, and a frame may be accepted a
    second time if the process is killed meanwhile; the log has that.

    Args:
        file: used by the thread alone from here on, and closed by it.

    Attributes:
        state: as the last run stored it; `None` without one.
    """

    def __init__(self, file: TimestampFile) -> None:
        self.state = file.state
        self._file = file
        self._changed = threading.Condition()  # of what follows
        self._newest: SigningState | None = None
        self._number = 0  # of the newest state
        self._written = 0  # number of the last state that was written
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="signing", daemon=True)
        self._thread.start()

    def write(self, state: SigningState) -> None:
        """Write the timestamps; wait for a disk that is not slow."""
        with self._changed:
            was_late = self._written < self._number
            self._newest = state
            self._number = self._number + 1
            self._changed.notify_all()
            if was_late:
                return
            number = self._number
            if not self._changed.wait_for(lambda: self._written >= number, _WAIT_S):
                _log.error(
                    "the disk is too slow: a signed frame may be accepted twice after a crash"
                )

    def close(self) -> None:
        """Write what waits and close the file, within a time limit."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._closing)
                state = self._newest
                number = self._number
                self._newest = None
            if state is None:
                self._file.close()
                return
            self._file.write(state)
            with self._changed:
                self._written = number
                self._changed.notify_all()

"""Checkpoint of a run, for a restart in flight.

One file with two places that are written alternately once a second, each with a CRC-32: if one is
torn, the other is whole. Nothing is renamed, allocated or synced, so that the kernel writes the
file every half minute and an SD card hardly notices. The checkpoint survives the end of the
process, however it ends; a power cut may lose it.

A checkpoint of another boot is not restored: a small computer without a clock of its own starts
with the date at which it stopped, so no date proves how long the pack was out of sight. Latched
limits are restored in any case, because they do not depend on time.

The content is JSON with a format number for each part (`dronebms.core.state`). Times in seconds of
the loop's clock and of the boot clock, which includes suspend.
"""

import fcntl
import logging
import os
import stat
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from dronebms.core.clock import boot_s
from dronebms.core.errors import InUseError
from dronebms.core.state import decode, encode, from_json, to_json
from dronebms.monitoring.pack_recognition import MOST_GAP_S
from dronebms.monitoring.restart_state import LATCHES

CHECKPOINT = "run.kept"  # file name in the state folder
_RUN = "run"
_PERIOD_S = 1.0 - 1e-6
_PLACE_BYTES = 1 << 20
_HEAD = struct.Struct("<4sIII")  # mark, number, length, CRC-32 that starts with the number
_MARK = b"DBK2"
_OLD_MARK = b"DBK1"
_MAX_TRIES = 3
_STEADY_S = 5.0  # a run that lasts so long was not ended by the state that it restored
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """When and by which boot a checkpoint was written."""

    FORMAT: ClassVar[int] = 1

    boot_id: str
    boot_s: float
    t_s: float  # of the loop
    tries: int = 0  # restarts that restored it


class CheckpointFile:
    """The checkpoint file of a service. For one thread; a disk error is logged and stops nothing.

    Attributes:
        parts: what can be restored of the last run: all that it stored, the latches alone if the
            rest is refused, or nothing.
        start_s: start of the loop's clock, which continues that of the last run.

    Args:
        path: of the file; its folder is created.

    Raises:
        InUseError: another run uses the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 0
        self._stored_s: float | None = None
        self._boot_id = ""
        self._tries = 0
        self.parts: Mapping[str, object] = {}
        self.start_s = 0.0
        self._file: int | None = None
        self._trouble: str | None = None  # as logged
        try:
            self._boot_id = _BOOT_ID.read_text().strip()
            self._file = self._opened()
            parts = self._read(self._file)
        except BlockingIOError as error:
            raise InUseError(f"{path} is in use by another dronebms run") from error
        except OSError as error:
            self._log_trouble(error.strerror)
            return
        if parts:
            self._restore(parts)

    def step(self, now_s: float, parts: Callable[[], Mapping[str, object]]) -> None:
        """Store the parts, once a second."""
        is_due = self._stored_s is None or now_s - self._stored_s >= _PERIOD_S
        if not is_due or not self._boot_id:  # without a boot's name nothing can be restored
            return
        self._stored_s = now_s
        if now_s - self.start_s > _STEADY_S:
            self._tries = 0
        try:
            self._reopen()
            self._write(parts(), Checkpoint(self._boot_id, boot_s(), now_s, self._tries))
        except ValueError as error:  # must not stop protection
            self._log_trouble(f"its state cannot be stored: {error}")
        except OSError as error:
            self._log_trouble(error.strerror)
        else:
            self._log_trouble(None)

    def close(self) -> None:
        """Close the file; its content stays."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _opened(self) -> int:
        """The file, locked; its folder is created."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # one service writes it
        except OSError:
            os.close(file)
            raise
        return file

    def _reopen(self) -> None:
        """Make the file again if it was deleted or could not be opened."""
        if self._file is not None:
            try:
                if self._path.stat().st_ino == os.fstat(self._file).st_ino:
                    return
            except FileNotFoundError:
                pass
            self._log_trouble("it was deleted, it is made again")
        file = self._opened()
        self.close()
        self._file = file

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
        reason = None if checkpoint is None else self._refusal(checkpoint)
        if reason is not None:
            _log.info("the last run is not restored: %s", reason)
        if checkpoint is None or reason is not None:
            self.parts = {LATCHES: parts[LATCHES]} if LATCHES in parts else {}
            return
        self.parts = parts
        self.start_s = checkpoint.t_s + boot_s() - checkpoint.boot_s
        self._tries = checkpoint.tries + 1
        try:
            self._write(parts, replace(checkpoint, tries=self._tries))
        except OSError as error:
            self._log_trouble(error.strerror)

    def _refusal(self, checkpoint: Checkpoint) -> str | None:
        gap_s = boot_s() - checkpoint.boot_s
        if checkpoint.boot_id != self._boot_id:
            return "the computer was started since"
        if not 0.0 <= gap_s <= MOST_GAP_S:
            return f"it ended {gap_s:.0f} s ago"
        if checkpoint.tries >= _MAX_TRIES:
            return f"{_MAX_TRIES} runs that restored it ended within {_STEADY_S:.0f} s"
        return None

    def _read(self, file: int) -> Mapping[str, object]:
        """Parts of the newest whole place; none of a file that other users can write."""
        status = os.fstat(file)
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            _log.error("%s can be written by other users and is ignored", self._path)
            return {}
        bodies: list[tuple[int, bytes]] = []
        is_old = False
        for place in range(2):
            data = os.pread(file, _PLACE_BYTES, place * _PLACE_BYTES)
            is_old |= data.startswith(_OLD_MARK)
            if len(data) < _HEAD.size:
                continue
            mark, number, length, checksum = _HEAD.unpack_from(data)
            body = data[_HEAD.size : _HEAD.size + length]
            if mark == _MARK and len(body) == length and zlib.crc32(body, number) == checksum:
                bodies.append((number, body))
        if not bodies:
            if is_old:
                _log.info("the last run is not restored: its checkpoint is of an older version")
            elif status.st_size > 0:
                _log.error("the last run is not restored: %s is damaged", self._path)
            return {}
        self._number, body = max(bodies)
        try:
            parts = from_json(body)
        except ValueError as error:
            _log.error("the last run is not restored: %s: %s", self._path, error)
            return {}
        if not isinstance(parts, dict):
            _log.error("the last run is not restored: %s is damaged", self._path)
            return {}
        return parts

    def _write(self, parts: Mapping[str, object], checkpoint: Checkpoint) -> None:
        body = to_json({**parts, _RUN: encode(checkpoint)})
        if self._file is None:
            return
        if _HEAD.size + len(body) > _PLACE_BYTES:
            raise ValueError(f"{len(body)} bytes are too many")
        self._number += 1
        head = _HEAD.pack(_MARK, self._number, len(body), zlib.crc32(body, self._number))
        os.pwrite(self._file, head + body, self._number % 2 * _PLACE_BYTES)

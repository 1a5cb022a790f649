"""What a service needs to go on after a restart in flight, on disk once a second.

One file with two places that are written in turn, each behind its CRC-32: whatever is torn, the
other is whole. Nothing is renamed, allocated or synced, so that the kernel writes what is left of
it every half minute, and an SD card hardly notices. That survives the end of the process, however
it ends. A power cut may lose it, and what another boot has kept is not gone on from anyway: a small
computer without a clock of its own begins with the date at which it stopped, so no date proves how
long the pack was out of sight. Seconds; of the clock that runs in suspend too.

The content is a pickle of the stages themselves: whatever they remember is kept, to the bit. It is
read only by the program that wrote it, byte for byte the same, from a file that nobody else could
write. It makes no objects but the stages' own, so that a recording can carry it too.
"""

import fcntl
import json
import logging
import os
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dronebms.core.clock import boot_s
from dronebms.core.errors import ConfigError
from dronebms.monitoring.pipeline import MOST_GAP_S
from dronebms.monitoring.state_codec import _ODD, _program, _read, _written

_EACH_S = 1.0 - 1e-6
_PLACE_BYTES = 1 << 20
_HEAD = struct.Struct("<4sIII")  # mark, number, length, CRC-32 begun with the number
_MARK = b"DBK1"
_MOST_TRIES = 3
_STEADY_S = 5.0  # a run that lived so long was not brought down by what it went on from
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What an earlier run knew."""

    program: str
    boot_id: str
    boot_s: float
    t_s: float  # of the loop
    state: bytes
    tries: int = 0  # of going on from it


class CheckpointFile:
    """Keeps the state of a run in a file. For one thread; a bad disk is logged and stops nothing.

    Args:
        path: of the file.

    Raises:
        ConfigError: another run has it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 0
        self._saved_s: float | None = None
        self._program, self._boot_id = _program(), ""
        self.kept: Checkpoint | None = None
        self.start_s = 0.0  # of the loop's clock: it goes on where the earlier run stopped
        self._file: int | None = None
        try:
            self._boot_id = _BOOT_ID.read_text().strip()
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # one service writes it
            kept = self._read()
        except BlockingIOError as error:
            self.close()
            raise ConfigError(f"{path} is in use by another dronebms run") from error
        except OSError as error:
            _log.error("a restart will begin anew: %s: %s", path, error.strerror)
            self.close()
            return
        if kept is not None and (why := self._refusal(kept)) is None:
            self.kept = replace(kept, tries=kept.tries + 1)
            self.start_s = kept.t_s + boot_s() - kept.boot_s
            self._write(self.kept)
        elif kept is not None:
            _log.info("this run begins anew: %s", why)

    def state(self) -> Any:  # noqa: ANN401 - whatever was kept
        """Return what the earlier run kept, None when there is nothing to go on from."""
        return None if self.kept is None else _read(self.kept.state)

    def step(self, now_s: float, state: Callable[[], object]) -> None:
        """Keep the state, if a second has passed."""
        if self._saved_s is not None and now_s - self._saved_s < _EACH_S:
            return
        self._saved_s = now_s
        tries = 0 if self.kept is None or now_s - self.start_s > _STEADY_S else self.kept.tries
        try:
            told = _written(state())
        except _ODD as error:  # must not stop protection
            _log.error("a restart would begin anew: what is known cannot be kept: %s", error)
            return
        self._write(Checkpoint(self._program, self._boot_id, boot_s(), now_s, told, tries))

    def close(self) -> None:
        """Close the file; what is in it stays."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _refusal(self, kept: Checkpoint) -> str | None:
        gap_s = boot_s() - kept.boot_s
        if kept.program != self._program:
            return "what is kept is of another version of this program"
        if kept.boot_id != self._boot_id:
            return "the computer was started since"
        if not 0.0 <= gap_s <= MOST_GAP_S:
            return f"the last run ended {gap_s:.0f} s ago"
        if kept.tries >= _MOST_TRIES:
            return "it was gone on from three times, and no run lasted"
        return None

    def _read(self) -> Checkpoint | None:
        """Return the newest that is whole; none of a file that somebody else could write."""
        if self._file is None:
            return None
        about = os.fstat(self._file)
        if about.st_uid != os.geteuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            _log.error("%s can be written by others and is not believed", self._path)
            return None
        found: list[tuple[int, bytes]] = []
        for place in range(2):
            data = os.pread(self._file, _PLACE_BYTES, place * _PLACE_BYTES)
            if len(data) < _HEAD.size:
                continue
            mark, number, length, checksum = _HEAD.unpack_from(data)
            body = data[_HEAD.size : _HEAD.size + length]
            if mark == _MARK and len(body) == length and zlib.crc32(body, number) == checksum:
                found.append((number, body))
        if not found:
            return None
        self._number, body = max(found)
        head, _, state = body.partition(b"\n")
        try:
            program, boot_id, at_s, t_s, tries = json.loads(head)
            return Checkpoint(
                str(program), str(boot_id), float(at_s), float(t_s), state, int(tries)
            )
        except (ValueError, TypeError):
            return None  # of a version that wrote otherwise

    def _write(self, kept: Checkpoint) -> None:
        told = json.dumps((kept.program, kept.boot_id, kept.boot_s, kept.t_s, kept.tries))
        body = told.encode() + b"\n" + kept.state
        if self._file is None:
            return
        if _HEAD.size + len(body) > _PLACE_BYTES:
            _log.error("a restart would begin anew: %d bytes are too many to keep", len(body))
            return
        self._number += 1
        head = _HEAD.pack(_MARK, self._number, len(body), zlib.crc32(body, self._number))
        try:
            os.pwrite(self._file, head + body, self._number % 2 * _PLACE_BYTES)
        except OSError as error:
            _log.error("a restart would begin anew: %s: %s", self._path, error.strerror)

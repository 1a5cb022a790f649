# SPDX-License-Identifier: Apache-2.0
"""Which recordings of a folder may be judged by their dates: none of this start of the computer.

A computer without a clock starts with a date of weeks ago and gets the right one in flight. By that
one the first half of the flight would be weeks old, also for a service that was started in between.
So a file in the folder has the number of the first recording since the computer was started, and
the date at that start, which the boot clock continues: older recordings are judged by that date,
which is of the same clock as theirs.

Times in seconds of the boot clock, dates in seconds since 1970.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from dronebms.core.atomic_file import atomic_writer
from dronebms.core.bounded_input import read_stored
from dronebms.core.clock import boot_id, boot_s
from dronebms.core.errors import ConfigError
from dronebms.core.state import decode, encode, from_json, to_json

BOOT_FILE = ".boot"
_RESTARTS = 3  # of a computer in one flight
_FLIGHT_GAP_S = 3600.0  # from the last recording to a start that may be in the same flight
_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Boot:
    """What was there when the folder was first used since the computer was started."""

    FORMAT: ClassVar[int] = 1

    boot_id: str
    firsts: tuple[int, ...]  # number of the first recording of each boot of perhaps one flight
    date_s: float | None = None  # when it was first known
    at_s: float = 0.0  # when that was

    def least_s(self, today_s: float | None) -> float | None:
        """The date, but no later than the first one of this boot allows."""
        if today_s is None or self.date_s is None:
            return today_s
        return min(today_s, self.date_s + boot_s() - self.at_s)


class BootFile:
    """The file of a folder. A disk that fails delays it, and has another log line already.

    Args:
        folder: of the recordings.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / BOOT_FILE
        self._boot: Boot | None = None
        self._is_stored = False

    def boot(self, newest: int, written_s: float | None, today_s: float | None) -> Boot:
        """The present boot; the first call decides whether the folder was used in it before.

        Args:
            newest: number of the newest recording in the folder, 0 without one.
            written_s: its date, if it is known.
            today_s: the date, if it is known.
        """
        if self._boot is None:
            self._boot = self._begun(newest, written_s, today_s)
        if self._boot.date_s is None and today_s is not None:
            self._boot = replace(self._boot, date_s=today_s, at_s=boot_s())
            self._is_stored = False
        if not self._is_stored or not self._path.exists():
            self._is_stored = self._store(self._boot)
        return self._boot

    def _begun(self, newest: int, written_s: float | None, today_s: float | None) -> Boot:
        stored = self._read()
        if stored is None:
            return Boot(boot_id(), (newest + 1,))
        if stored.boot_id == boot_id() != "":
            self._is_stored = True
            return stored
        gap_s = 0.0 if today_s is None or written_s is None else today_s - written_s
        earlier = stored.firsts[-_RESTARTS:] if gap_s <= _FLIGHT_GAP_S else ()
        # Numbers grow, also where files were moved away.
        return Boot(boot_id(), (*earlier, max(newest + 1, stored.firsts[-1])))

    def _read(self) -> Boot | None:
        try:
            part = from_json(read_stored(self._path, _MAX_BYTES))
        except (OSError, ValueError):  # none yet, or damaged
            return None
        boot = decode(Boot, part, str(self._path))
        return None if boot is None or not boot.firsts else boot

    def _store(self, boot: Boot) -> bool:
        if self._path.exists() and not self._path.is_file():
            return False  # writing to a pipe would wait for its reader
        try:
            with atomic_writer(self._path) as file:
                file.buffer.write(to_json(encode(boot)))
        except (ConfigError, OSError):
            return False
        return True

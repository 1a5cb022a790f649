# SPDX-License-Identifier: Apache-2.0
"""Clocks and this start of the computer; the only module that imports `time`.

Every other module receives `now_s`, seconds of a monotonic clock with an arbitrary zero.
"""

import time
from math import floor
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock that a loop can sleep on."""

    def now_s(self) -> float:
        """Time in seconds; never decreases."""

    def sleep_until(self, t_s: float) -> None:
        """Block until `now_s()` is at least `t_s`."""


class SystemClock:
    """The machine's monotonic clock times `speed`; reads `start_s` when it is created.

    It counts the time for which the machine was suspended, too: the pack was out of sight.
    """

    def __init__(self, speed: float = 1.0, start_s: float = 0.0) -> None:
        if not speed > 0:
            raise ValueError(f"a clock's speed is above 0, not {speed}")
        self._speed = speed
        self._start_s = boot_s() - start_s / speed

    def now_s(self) -> float:
        """Seconds since the clock was created, times its speed, plus `start_s`."""
        return (boot_s() - self._start_s) * self._speed

    def sleep_until(self, t_s: float) -> None:
        """Block until `t_s`."""
        while (ahead_s := t_s - self.now_s()) > 0:
            time.sleep(ahead_s / self._speed)


class VirtualClock:
    """A clock that jumps to each `sleep_until`, for simulation and replay at full speed."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        """Time of the last jump."""
        return self._now_s

    def sleep_until(self, t_s: float) -> None:
        """Set the time to `t_s`, unless it is later already."""
        self._now_s = max(self._now_s, t_s)


class PacedClock(VirtualClock):
    """A virtual clock that waits for a real one: exact steps, at a speed that people can watch."""

    def __init__(self, pace: Clock) -> None:
        super().__init__()
        self._pace = pace

    def sleep_until(self, t_s: float) -> None:
        """Wait for the real clock, then set the time to exactly `t_s`."""
        self._pace.sleep_until(t_s)
        super().sleep_until(t_s)


def boot_s() -> float:
    """Seconds since the machine was started, time in suspend included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Id of this start of the computer, empty if unknown."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


_SET_S = 1_735_689_600.0  # 2025-01-01


def date_s() -> float | None:
    """Date in seconds since 1970; `None` if the machine's clock has not been set."""
    return known_date(time.time())


def known_date(unix_s: float) -> float | None:
    """A date that a clock gave, seconds since 1970; `None` if that clock had not been set.

    A companion computer without a battery for its clock starts in 1970, or when its system was
    built, until it receives the date. A date before 2025 is none.
    """
    return unix_s if unix_s >= _SET_S else None


_SAME_S = 1e-6  # rounding error of added and subtracted times


def second_of(t_s: float, first_s: float) -> int:
    """Index of the whole second since `first_s` that `t_s` lies in, from 0."""
    return floor(t_s - first_s + _SAME_S)


class OncePerSecond:
    """Selects the first of growing times in each whole second since the first time.

    After a gap of several seconds one time is selected, for the last of them.
    """

    def __init__(self) -> None:
        self._first_s: float | None = None
        self._second = -1  # the newest that was selected

    def due(self, t_s: float) -> bool:
        """Whether `t_s` is the first time in its second; true once per second."""
        if self._first_s is None:
            self._first_s = t_s
        second = second_of(t_s, self._first_s)
        if second <= self._second:
            return False
        self._second = second
        return True

"""Where time comes from: the only module that imports `time`.

Everything else is handed `now_s`, seconds of a monotonic clock whose zero means nothing.
"""

import time
from math import floor
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock that can be waited on."""

    def now_s(self) -> float:
        """Return the time; it never goes back."""

    def sleep_until(self, t_s: float) -> None:
        """Return once `now_s()` is at least `t_s`; at once when it already is."""


class SystemClock:
    """The machine's monotonic clock, `speed` times as fast, at `start_s` when it is made."""

    def __init__(self, speed: float = 1.0, start_s: float = 0.0) -> None:
        if not speed > 0:
            raise ValueError(f"a clock's speed is above 0, not {speed}")
        self._speed = speed
        self._start_s = time.monotonic() - start_s / speed

    def now_s(self) -> float:
        """Return seconds since the clock was made, times its speed."""
        return (time.monotonic() - self._start_s) * self._speed

    def sleep_until(self, t_s: float) -> None:
        """Block until then."""
        while (ahead_s := t_s - self.now_s()) > 0:
            time.sleep(ahead_s / self._speed)


class VirtualClock:
    """A clock that goes where it is told: simulation and replay as fast as they can."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        """Return the time it was last told."""
        return self._now_s

    def sleep_until(self, t_s: float) -> None:
        """Be there."""
        self._now_s = max(self._now_s, t_s)


class PacedClock(VirtualClock):
    """A virtual clock that waits for a real one: the same steps, at a speed people can watch."""

    def __init__(self, pace: Clock) -> None:
        super().__init__()
        self._pace = pace

    def sleep_until(self, t_s: float) -> None:
        """Wait for the real clock, then be exactly there."""
        self._pace.sleep_until(t_s)
        super().sleep_until(t_s)


def boot_s() -> float:
    """Return seconds since the machine was started, those in suspend too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def unix_s() -> float:
    """Return the date in seconds since 1970, as far as the machine knows it."""
    return time.time()


_SAME_S = 1e-6  # what adding and subtracting times may have cost


def second_of(t_s: float, first_s: float) -> int:
    """Return in which whole second since the first sample a time lies, from 0."""
    return floor(t_s - first_s + _SAME_S)


class OncePerSecond:
    """Says of growing times which is the first at or after a whole second since the first of all.

    One that is late for several seconds stands for the last of them: there is no second line.
    """

    def __init__(self) -> None:
        self._first_s: float | None = None
        self._second = -1  # the newest that has its line

    def due(self, t_s: float) -> bool:
        """Return whether a line is due at `t_s`; the same second is not asked for again."""
        if self._first_s is None:
            self._first_s = t_s
        second = second_of(t_s, self._first_s)
        if second <= self._second:
            return False
        self._second = second
        return True

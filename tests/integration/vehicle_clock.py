# SPDX-License-Identifier: Apache-2.0
"""The clock of a simulated vehicle: tests wait on vehicle time, not on the wall clock.

A simulation on a loaded machine runs slower than its nominal speed. Every timeout therefore counts
seconds of the vehicle; the wall clock only detects a vehicle whose time stands still.
"""

from collections.abc import Callable

from dronebms.core.clock import Clock

WATCHDOG_S = 180.0  # of the wall clock, without progress of the vehicle's time
_REQUEST_PERIOD_S = 1.0  # of the wall clock
_REBOOT_S = 5.0  # that the time goes back; stamps of different messages differ by less


class VehicleClock:
    """Time of a vehicle since its first stamp: a `Clock`. Continues through a reboot."""

    def __init__(
        self,
        wall: Clock,
        read: Callable[[], None],
        request: Callable[[], None],
        is_running: Callable[[], bool],
    ) -> None:
        """Use the messages of a vehicle.

        Args:
            wall: clock of this machine, for the watchdog.
            read: reads messages and passes each time_boot_ms to `stamp`; waits a moment of the
                wall clock if there are none.
            request: requests messages with a time; called while none come.
            is_running: whether the process of the vehicle is running.
        """
        self._wall, self._read, self._request, self._is_running = wall, read, request, is_running
        self._now_s = 0.0
        self._boot_s: float | None = None
        self._progress_s = wall.now_s()
        self._requested_s = -_REQUEST_PERIOD_S

    def now_s(self) -> float:
        """Time of the vehicle."""
        return self._now_s

    def sleep_until(self, t_s: float) -> None:
        """Read messages until the vehicle has reached a time."""
        self.until(lambda: self._now_s >= t_s, float("inf"), "vehicle time")

    def stamp(self, boot_s: float) -> None:
        """Advance to a time since boot."""
        if self._boot_s is None or boot_s < self._boot_s - _REBOOT_S:
            self._boot_s = boot_s
        if boot_s > self._boot_s:
            self._now_s += boot_s - self._boot_s
            self._boot_s = boot_s
            self._progress_s = self._wall.now_s()

    def until(
        self,
        condition: Callable[[], bool],
        timeout_s: float,
        what: str,
        step: Callable[[], None] = lambda: None,
    ) -> float:
        """Read messages until a condition holds; return the vehicle seconds that this took.

        Args:
            condition: checked after each reading.
            timeout_s: in vehicle time.
            what: name of the condition in the error message.
            step: called after each reading.

        Raises:
            AssertionError: timeout, the process has ended, or its time stands still.
        """
        start_s = self._now_s
        while not condition():
            self._read()
            step()
            passed_s = self._now_s - start_s
            assert passed_s < timeout_s, f"{what}: not within {timeout_s:g} s of the vehicle"
            assert self._is_running(), f"{what}: the process of the vehicle has ended"
            wall_s = self._wall.now_s()
            assert wall_s - self._progress_s < WATCHDOG_S, (
                f"{what}: the vehicle's time has stood still for {WATCHDOG_S:g} s"
            )
            missing_s = wall_s - max(self._progress_s, self._requested_s)
            if missing_s >= _REQUEST_PERIOD_S:
                self._requested_s = wall_s
                self._request()
        return self._now_s - start_s

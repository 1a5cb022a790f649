# SPDX-License-Identifier: Apache-2.0
"""Time for which the loop has watched a pack: its clock without its own absence.

A process that is stopped, swapped out or restarted has seen nothing meanwhile. What lasts (an
exceeded limit, the silence of a gauge, the debounce of an action, a window of the current) is
measured in watch time, so that an absence is evidence of nothing: it neither trips a limit nor
clears one. The estimator counts charge in the clock's time, because the current has flowed.
Seconds.
"""

from dataclasses import dataclass
from typing import ClassVar

from smartbattery.snapshot import Snapshot
from smartbattery.values import changed

LOOP_STEP_S = 0.5  # five periods of the loop: a longer step is an absence
LOG_STEP_S = 2.0  # of a flight log, with a step for every sample and every second


@dataclass(frozen=True, slots=True)
class WatchState:
    """State for a restart."""

    FORMAT: ClassVar[int] = 1

    last_s: float | None = None  # time of the last step, by the clock
    absent_s: float = 0.0  # in all


class WatchTime:
    """The watch time of one battery.

    Args:
        state: of an earlier run, to continue from.
    """

    def __init__(self, state: WatchState = WatchState()) -> None:
        self._state = state
        self._resumed_s = -1.0  # end of the last absence, by the clock
        self._earlier_s = state.absent_s  # absence before that one

    def state(self) -> WatchState:
        """State for a restart."""
        return self._state

    def step(self, now_s: float, longest_step_s: float) -> float:
        """Begin a step; the absence that it ends, 0 without one.

        A step that is longer than `longest_step_s` counts as one of this length.
        """
        last_s = self._state.last_s
        absent_s = 0.0 if last_s is None else max(now_s - last_s - longest_step_s, 0.0)
        if absent_s > 0.0:
            self._resumed_s = now_s
            self._earlier_s = self._state.absent_s
        self._state = WatchState(now_s, self._state.absent_s + absent_s)
        return absent_s

    def of(self, t_s: float) -> float:
        """Watch time of a time of the clock."""
        absent_s = self._state.absent_s
        if t_s >= self._resumed_s:
            return t_s - absent_s
        return min(t_s - self._earlier_s, self._resumed_s - absent_s)

    def of_snapshot(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with its times in watch time."""
        if not self._state.absent_s:
            return snapshot
        read_at_s = {name: self.of(at_s) for name, at_s in snapshot.read_at_s.items()}
        return changed(snapshot, t_s=self.of(snapshot.t_s), read_at_s=read_at_s)

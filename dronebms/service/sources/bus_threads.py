# SPDX-License-Identifier: Apache-2.0
"""Polls the packs of one adapter in turn, in a thread of its own.

The loop takes the newest snapshot and never waits; one adapter never waits for another. A round
ends just before a step of the loop, so that no reading waits for the step of the next period.
"""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from dronebms.core.clock import Clock
from dronebms.core.service_defaults import STUCK_S
from dronebms.recording.gauge_tap import OnPoll, Polled, TappedGauge, unpolled
from smartbattery.snapshot import Snapshot

_log = logging.getLogger(__name__)
_QUEUED = 600  # polls that the loop has not taken; one minute at 10 Hz
_STOP_S = 3.0  # longer than the timeout of an adapter
_SPREAD = 1.25  # of the duration of a round
_MARGIN_S = 0.004  # the rest of a step's sleep


class PolledSource(Protocol):
    """A `Source` of the service, which may stop polling its gauge."""

    def poll(self, now_s: float) -> Snapshot:
        """Newest snapshot as of `now_s`."""

    def is_stuck(self, now_s: float) -> bool:
        """Whether a gauge that has answered in this run is not polled any more."""


class PolledInAThread(Protocol):
    """What a `BusThread` polls.

    Attributes:
        stepped_s: time of the loop's last step, `None` before the first one.
    """

    stepped_s: float | None

    def poll_bus(self, now_s: float) -> None:
        """Poll the device."""


class NewestPoll:
    """The newest poll of a battery; logs when it stops answering, and when it answers again.

    Attributes:
        snapshot: as it was polled; `None` before the first poll.
    """

    def __init__(self, index: int) -> None:
        self.snapshot: Snapshot | None = None
        self._has_answered = False
        self._index = index
        self._trouble: str | None = None

    def at(self, now_s: float) -> Snapshot | None:
        """The snapshot as of `now_s`, `None` before the first poll."""
        if self.snapshot is None:
            return None
        self._see(self.snapshot)
        return self.snapshot.at(now_s)

    def is_stuck(self, now_s: float) -> bool:
        """Whether a battery that has answered in this run is not polled any more."""
        newest = self.snapshot
        return self._has_answered and newest is not None and now_s - newest.t_s > STUCK_S

    def _see(self, snapshot: Snapshot) -> None:
        """Log a change since the last snapshot."""
        self._has_answered |= snapshot.voltage_v is not None
        if snapshot.trouble == self._trouble:
            return
        self._trouble = snapshot.trouble
        if snapshot.trouble is None:
            _log.info("battery %d answers again", self._index + 1)
        else:
            _log.warning("battery %d does not answer: %s", self._index + 1, snapshot.trouble)


class PolledGauge:
    """A `Source` whose gauge is polled by the thread of its adapter.

    Args:
        gauge: used by that thread alone.
        index: of the battery.
        on_poll: called in the loop's thread with each poll, in order.
    """

    def __init__(self, gauge: TappedGauge, index: int, on_poll: OnPoll) -> None:
        self._gauge = gauge
        self._index = index
        self._on_poll = on_poll
        self._done: deque[Polled] = deque(maxlen=_QUEUED)
        self._newest = NewestPoll(index)
        self.stepped_s: float | None = None

    def poll_bus(self, now_s: float) -> None:
        """Poll the gauge; for the thread of its adapter."""
        self._done.append(self._gauge.poll(now_s))

    def poll(self, now_s: float) -> Snapshot:
        """Newest snapshot as of `now_s`."""
        self.stepped_s = now_s
        while self._done:
            snapshot, transfers, state = self._done.popleft()
            self._newest.snapshot = snapshot
            self._on_poll(self._index, snapshot.t_s, transfers, state)
        return self._newest.at(now_s) or unpolled(now_s)

    def is_stuck(self, now_s: float) -> bool:
        """Whether a gauge that has answered in this run is not polled any more."""
        return self._newest.is_stuck(now_s)


class BusThread:
    """The thread that owns an adapter and polls every pack on it, until `close`.

    Args:
        name: of the adapter.
        gauges: its packs.
        clock: of the loop.
        period_s: of the rounds.
    """

    def __init__(
        self, name: str, gauges: Sequence[PolledInAThread], clock: Clock, period_s: float
    ) -> None:
        self._gauges = tuple(gauges)
        self._clock = clock
        self._period_s = period_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"bus {name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; one that its adapter blocks is left alone."""
        self._stopping.set()
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            round_s = self._clock.now_s()
            for gauge in self._gauges:
                gauge.poll_bus(self._clock.now_s())
            ended_s = self._clock.now_s()
            stepped_s = self._gauges[0].stepped_s
            next_s = next_round_s(round_s, ended_s, stepped_s, self._period_s)
            self._clock.sleep_until(next_s)


def next_round_s(began_s: float, ended_s: float, stepped_s: float | None, period_s: float) -> float:
    """Begin of the next round: a period later, moved so that it ends before a step of the loop.

    Args:
        began_s: begin of the last round.
        ended_s: its end; the next one may take a quarter longer.
        stepped_s: time of the loop's last step, `None` if it has not begun.
        period_s: of the rounds and of the steps.
    """
    next_s = began_s + period_s
    lead_s = _SPREAD * (ended_s - began_s) + _MARGIN_S
    if stepped_s is None or lead_s >= period_s:  # as long as the bus stalls there is no such time
        return next_s
    steps = round((next_s + lead_s - stepped_s) / period_s)
    return stepped_s + steps * period_s - lead_s

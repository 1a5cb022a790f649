"""One thread per adapter: it polls its packs in turn, the loop takes what is newest.

The loop never waits, and one adapter never waits for another.
"""

import logging
import threading
from collections import deque
from collections.abc import Sequence

from dronebms.core.clock import Clock
from dronebms.recording.gauge_tap import OnPoll, Polled, TappedGauge
from smartbattery.snapshot import Snapshot

_log = logging.getLogger(__name__)
_KEPT = 600  # polls that nobody has taken; a minute at 10 Hz
_STUCK_S = 10.0  # without a round of the adapter's thread; time for several of its own timeouts
_STOP_S = 3.0  # longer than an adapter's own timeout


class PolledGauge:
    """A `Source` whose gauge is polled by the thread of its adapter.

    Args:
        gauge: used by that thread alone.
        index: of the battery.
        on_poll: told in the loop's thread of each poll that the loop has taken, in order.
    """

    def __init__(self, gauge: TappedGauge, index: int, on_poll: OnPoll) -> None:
        self._gauge = gauge
        self._index = index
        self._on_poll = on_poll
        self._done: deque[Polled] = deque(maxlen=_KEPT)
        self._latest: Snapshot | None = None
        self._trouble: str | None = None
        self._was_heard = False

    def poll_bus(self, now_s: float) -> None:
        """Poll the gauge; for the thread of its adapter."""
        self._done.append(self._gauge.poll(now_s))

    def poll(self, now_s: float) -> Snapshot:
        """Return the newest snapshot as it stands at `now_s`."""
        while self._done:
            self._latest, transfers, known = self._done.popleft()
            self._on_poll(self._index, self._latest.t_s, transfers, known)
        if self._latest is None:
            return Snapshot(now_s, trouble="the gauge has not been heard yet")
        self._tell(self._latest)
        self._was_heard |= self._latest.voltage_v is not None
        return self._latest.at(now_s)

    def is_stuck(self, now_s: float) -> bool:
        """Return whether a gauge that was heard in this run is not even asked any more."""
        latest = self._latest
        return self._was_heard and latest is not None and now_s - latest.t_s > _STUCK_S

    def _tell(self, snapshot: Snapshot) -> None:
        """Log a change of what is wrong, not its every repetition."""
        if snapshot.trouble == self._trouble:
            return
        self._trouble = snapshot.trouble
        if snapshot.trouble is None:
            _log.info("battery %d is heard again", self._index + 1)
        else:
            _log.warning("battery %d is not heard: %s", self._index + 1, snapshot.trouble)


class BusThread:
    """The thread that owns an adapter and polls every pack on it, until `close`.

    Args:
        name: of the adapter.
        gauges: its packs.
        clock: the same as the loop's.
        period_s: of the rounds.
    """

    def __init__(
        self, name: str, gauges: Sequence[PolledGauge], clock: Clock, period_s: float
    ) -> None:
        self._gauges = tuple(gauges)
        self._clock = clock
        self._period_s = period_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"bus {name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; it is left alone when the adapter holds it."""
        self._stopping.set()
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            round_s = self._clock.now_s()
            for gauge in self._gauges:
                gauge.poll_bus(self._clock.now_s())
            self._clock.sleep_until(round_s + self._period_s)

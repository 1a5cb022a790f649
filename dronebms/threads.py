"""One thread per bus: it polls, the loop takes what is newest without ever waiting."""

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

from dronebms.clock import Clock
from dronebms.recording import OnPoll, TappedGauge
from smartbattery.snapshot import Snapshot

if TYPE_CHECKING:
    from smartbattery.recording import Transfer

_log = logging.getLogger(__name__)
_KEPT = 600  # polls that nobody has taken; a minute at 10 Hz
_STOP_S = 3.0  # longer than an adapter's own timeout


class PolledGauge:
    """A `Source` whose gauge is polled by a thread of its own.

    Args:
        gauge: used by that thread alone.
        clock: the same as the loop's.
        period_s: of the polls.
        index: of the battery.
        on_poll: told in the loop's thread of each poll that the loop has taken, in order.
    """

    def __init__(
        self, gauge: TappedGauge, clock: Clock, period_s: float, index: int, on_poll: OnPoll
    ) -> None:
        self._gauge = gauge
        self._clock = clock
        self._period_s = period_s
        self._index = index
        self._on_poll = on_poll
        self._done: deque[tuple[Snapshot, tuple[Transfer, ...]]] = deque(maxlen=_KEPT)
        self._latest: Snapshot | None = None
        self._trouble: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"bus-{index}", daemon=True)
        self._thread.start()

    def poll(self, now_s: float) -> Snapshot:
        """Return the newest snapshot as it stands at `now_s`."""
        while self._done:
            self._latest, transfers = self._done.popleft()
            self._on_poll(self._index, self._latest.t_s, transfers)
        if self._latest is None:
            return Snapshot(now_s, trouble="the gauge has not been heard yet")
        self._tell(self._latest)
        return self._latest.at(now_s)

    def close(self) -> None:
        """End the thread; it is left alone when the adapter holds it."""
        self._stopping.set()
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            now_s = self._clock.now_s()
            self._done.append(self._gauge.poll(now_s))
            self._clock.sleep_until(now_s + self._period_s)

    def _tell(self, snapshot: Snapshot) -> None:
        """Log a change of what is wrong, not its every repetition."""
        if snapshot.trouble == self._trouble:
            return
        self._trouble = snapshot.trouble
        if snapshot.trouble is None:
            _log.info("battery %d is heard again", self._index + 1)
        else:
            _log.warning("battery %d is not heard: %s", self._index + 1, snapshot.trouble)

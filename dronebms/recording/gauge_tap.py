# SPDX-License-Identifier: Apache-2.0
"""Sources whose input is recorded, or played back: gauges by their transfers, others by snapshots.

Only the transfers of a pack: those that switch a multiplexer are left out, so that a recording is
replayed without one.
"""

from collections.abc import Callable, Sequence

from dronebms.core.report import Source
from dronebms.recording.records import Recorded
from smartbattery.bus import Bus
from smartbattery.bus_trace import PlaybackBus, RecordingBus, Transfer
from smartbattery.gauge import Gauge
from smartbattery.gauge_state import GaugeState
from smartbattery.profiles import Profile, profile_named
from smartbattery.snapshot import Snapshot

# Index of the battery, time, transfers, state of the gauge after them.
OnPoll = Callable[[int, float, Sequence[Transfer], GaugeState], None]
OnSnapshot = Callable[[int, Snapshot], None]  # index of the battery
Polled = tuple[Snapshot, tuple[Transfer, ...], GaugeState]


def unpolled(now_s: float) -> Snapshot:
    """What a gauge gives before its first poll, in a run as in its replay."""
    return Snapshot(now_s, trouble="the gauge has not answered yet")


class TappedGauge:
    """A gauge that returns the transfers of each poll, for a recorder."""

    def __init__(
        self, bus: Bus, address: int, cells: int | None, profile: Profile | None = None
    ) -> None:
        self._transfers: list[Transfer] = []
        tap = RecordingBus(bus, self._transfers.append)
        self._gauge = Gauge(tap, address, cells=cells, profile=profile)

    def poll(self, now_s: float) -> Polled:
        """Snapshot, the transfers of the poll, and the state of the gauge after it."""
        snapshot = self._gauge.poll(now_s)
        transfers = tuple(self._transfers)
        self._transfers.clear()
        return snapshot, transfers, self._gauge.state()


class SteppedGauge:
    """A `Source` that is polled in the loop; the transfers of each poll go to a recorder."""

    def __init__(self, gauge: TappedGauge, index: int, on_poll: OnPoll) -> None:
        self._gauge = gauge
        self._index = index
        self._on_poll = on_poll

    def poll(self, now_s: float) -> Snapshot:
        """Poll the gauge."""
        snapshot, transfers, state = self._gauge.poll(now_s)
        self._on_poll(self._index, now_s, transfers, state)
        return snapshot

    def is_stuck(self, _now_s: float) -> bool:
        """Never: the loop polls it."""
        return False


class TappedSource:
    """A `Source` without transfers; the snapshot of each poll goes to a recorder.

    Args:
        source: of the snapshots.
        index: of the battery.
        on_snapshot: receives each of them.
        is_stuck: whether the thread that feeds the source has stopped; the loop has no other.
    """

    def __init__(
        self,
        source: Source,
        index: int,
        on_snapshot: OnSnapshot,
        is_stuck: Callable[[float], bool] = lambda _: False,
    ) -> None:
        self._source = source
        self._index = index
        self._on_snapshot = on_snapshot
        self.is_stuck = is_stuck

    def poll(self, now_s: float) -> Snapshot:
        """Poll the source."""
        snapshot = self._source.poll(now_s)
        self._on_snapshot(self._index, snapshot)
        return snapshot


class PlayedGauge:
    """A `Source` fed by recorded polls: it gives the snapshots of the recorded run."""

    def __init__(self, battery: Recorded) -> None:
        self._bus = PlaybackBus()
        self._gauge = Gauge(
            self._bus,
            battery.address,
            cells=battery.pack_data.cells,
            profile=profile_named(battery.gauge),
        )
        self._latest: Snapshot | None = None
        self.restore(battery.known)

    def restore(self, state: GaugeState | None) -> None:
        """Set the state of the recorded gauge; `None`: it was not polled yet."""
        if state is not None:
            self._latest = self._gauge.restore(state)

    def play(self, now_s: float, transfers: Sequence[Transfer]) -> None:
        """Repeat the poll of `now_s`."""
        self._bus.load(transfers)
        self._latest = self._gauge.poll(now_s)

    def show(self, snapshot: Snapshot) -> None:
        """Give a recorded snapshot."""
        self._latest = snapshot

    def poll(self, now_s: float) -> Snapshot:
        """Newest snapshot as of `now_s`."""
        return unpolled(now_s) if self._latest is None else self._latest.at(now_s)

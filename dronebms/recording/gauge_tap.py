"""A gauge whose transfers are kept: handed to a recorder as it is polled, or played back.

The transfers are the pack's own: what turned a multiplexer is left out, so that a recording is
replayed without one.
"""

from collections.abc import Callable, Sequence

from dronebms.recording.format import Recorded
from smartbattery.bus import Bus
from smartbattery.bus_trace import PlaybackBus, RecordingBus, Transfer
from smartbattery.gauge import Gauge
from smartbattery.gauge_state import GaugeState
from smartbattery.profiles import Profile, profile_named
from smartbattery.snapshot import Snapshot

# Battery, time, what it took, what its gauge knows then.
OnPoll = Callable[[int, float, Sequence[Transfer], GaugeState], None]
Polled = tuple[Snapshot, tuple[Transfer, ...], GaugeState]


class TappedGauge:
    """A gauge whose transfers are handed over poll by poll, for a recorder."""

    def __init__(
        self, bus: Bus, address: int, cells: int | None, profile: Profile | None = None
    ) -> None:
        self._transfers: list[Transfer] = []
        tap = RecordingBus(bus, self._transfers.append)
        self._gauge = Gauge(tap, address, cells=cells, profile=profile)

    def poll(self, now_s: float) -> Polled:
        """Poll and return what was learned, the transfers that it took, and all that is known."""
        snapshot = self._gauge.poll(now_s)
        transfers = tuple(self._transfers)
        self._transfers.clear()
        return snapshot, transfers, self._gauge.state()


class SteppedGauge:
    """A `Source` that is polled in the loop itself; each poll's transfers go to a recorder."""

    def __init__(self, gauge: TappedGauge, index: int, on_poll: OnPoll) -> None:
        self._gauge = gauge
        self._index = index
        self._on_poll = on_poll

    def poll(self, now_s: float) -> Snapshot:
        """Poll the gauge."""
        snapshot, transfers, known = self._gauge.poll(now_s)
        self._on_poll(self._index, now_s, transfers, known)
        return snapshot


class PlayedGauge:
    """A gauge fed by recorded polls: a `Source` that says what it said then."""

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

    def restore(self, known: GaugeState | None) -> None:
        """Be as the gauge was then; None: it was not polled yet."""
        if known is not None:
            self._latest = self._gauge.restore(known)

    def play(self, now_s: float, transfers: Sequence[Transfer]) -> None:
        """Poll as it was polled at `now_s`."""
        self._bus.load(transfers)
        self._latest = self._gauge.poll(now_s)

    def poll(self, now_s: float) -> Snapshot:
        """Return the newest snapshot as it stood at `now_s`."""
        return Snapshot(now_s) if self._latest is None else self._latest.at(now_s)

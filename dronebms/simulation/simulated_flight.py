# SPDX-License-Identifier: Apache-2.0
"""A simulated flight: virtual pack, gauge and bus behind the real driver and pipeline."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path

from dronebms.core.clock import PacedClock, SystemClock, VirtualClock
from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import PackData
from dronebms.core.report import Report, Sink, Source
from dronebms.core.service_defaults import PERIOD_S
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.loop import Loop
from dronebms.monitoring.pipeline import Pipeline
from dronebms.protection.limits import every_limit
from dronebms.recording.gauge_tap import SteppedGauge, TappedGauge
from dronebms.recording.recorder import Recorder, SingleFile
from dronebms.recording.records import Recorded, Start
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.protocol.link import Link, open_link
from sim.emulator.world import open_virtual
from sim.plant.faults import parse_fault
from smartbattery.bus import Bus
from smartbattery.gauge import Gauge
from smartbattery.registers import ADDRESS

DEFAULT_FLIGHT = "survey"


@dataclass(frozen=True, slots=True)
class SimOptions:
    """Options of `dronebms sim` and `dronebms sitl`; `None`: not given.

    Attributes:
        flight: name or file; `None`: that of a configuration, else the default one.
        speed: `None` is as fast as possible.
    """

    flight: str | None = None
    seed: int = 1
    speed: float | None = 1.0
    faults: tuple[str, ...] = ()
    duration_s: float | None = None
    mavlink_url: str | None = None
    record: Path | None = None


class Simulation:
    """A simulated flight, ready to start.

    Raises:
        ConfigError: no such scenario, fault or limit, or the recording cannot be written.
        LinkError: an invalid link URL.
    """

    def __init__(self, options: SimOptions, stack: ExitStack) -> None:
        pace = None if options.speed is None else SystemClock(options.speed)
        self.clock = VirtualClock() if pace is None else PacedClock(pace)
        faults = tuple(parse_fault(text) for text in options.faults)
        self._bus, self.world = open_virtual(
            options.flight or DEFAULT_FLIGHT, self.clock, options.seed, faults
        )
        self.pack_data = self.world.pack_data()
        self._url = options.mavlink_url
        self._link: Link | None = None
        self._bridge: Bridge | None = None
        if options.mavlink_url is not None:
            self._link = stack.enter_context(closing(open_link(options.mavlink_url)))
            self._bridge = Bridge(self._link)
        self._recorder = recorder_of(options, self.pack_data, stack)
        self._duration_s = options.duration_s
        spec = self.world.scenario.flight
        self._return_at = None if spec is None else spec.return_at
        if self._return_at is not None and self._return_at not in every_limit():
            raise ConfigError(f"flight.return_at: {self._return_at!r} is not the id of a limit")

    def reports(self) -> Iterator[Report]:
        """Fly, report to the flight controller, and yield every step."""
        sinks: list[Sink] = [] if self._bridge is None else [self._bridge]
        pipeline = Pipeline(
            source_of(self._bus, self.pack_data, self._recorder), self.pack_data, sinks
        )
        loop = Loop(self.clock, self._vehicle, [pipeline], self._recorder)
        for report in loop.reports(ticks(lambda: self.duration_s)):
            if self._return_at in report.status.active:
                self.world.command_return(report.t_s)
            yield report

    @property
    def duration_s(self) -> float:
        """End of the flight; a return at a limit changes it."""
        return self._duration_s or self.world.duration_s

    def link(self) -> str | None:
        """URL of the link to the flight controller, or the description of its fault."""
        return self.link_trouble() or self._url

    def link_trouble(self) -> str | None:
        """Why the link cannot be opened; an open one without a receiver is no fault."""
        return None if self._link is None or self._link.is_open else self._link.trouble

    def _vehicle(self, t_s: float) -> VehicleState:
        if self._bridge is not None:
            self._bridge.pump(t_s)  # finds the autopilot; the state is the simulation's
        return self.world.vehicle(t_s)


def recorder_of(options: SimOptions, pack_data: PackData, stack: ExitStack) -> Recorder | None:
    """Recorder of a flight, `None` if none is configured.

    Raises:
        ConfigError: it cannot be written; of a disk that is full later, at the end of the flight.
    """
    if options.record is None:
        return None
    file = SingleFile(options.record)
    recorder = Recorder(file, Start((Recorded(pack_data, ADDRESS),)))

    @stack.push
    def finish(ended_by: type[BaseException] | None, *_: object) -> None:
        recorder.close()
        if ended_by is None and file.stopped is not None:
            raise file.stopped

    return recorder


def source_of(bus: Bus, pack_data: PackData, recorder: Recorder | None) -> Source:
    """Gauge of a flight, whose transfers are recorded if there is a recorder."""
    if recorder is None:
        return Gauge(bus, ADDRESS, cells=pack_data.cells)
    return SteppedGauge(TappedGauge(bus, ADDRESS, pack_data.cells), 0, recorder.polled)


def ticks(last_s: Callable[[], float]) -> Iterator[float]:
    """Times of the steps of a flight, whose end may change in flight."""
    times_s = (round(step * PERIOD_S, 6) for step in count())
    return takewhile(lambda t_s: t_s <= last_s(), times_s)

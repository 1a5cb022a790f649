"""Wires the rooms together for each way of running: simulation and service. No logic of its own."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from dronebms.clock import Clock, PacedClock, SystemClock, VirtualClock
from dronebms.config import BatteryConfig, Config
from dronebms.errors import ConfigError
from dronebms.monitor import Monitor, Report, Sink, Source
from dronebms.recording import Recorded, Recorder, SteppedGauge, TappedGauge
from dronebms.threads import PolledGauge
from dronebms.vehicle import VehicleState
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.link import open_link
from sim.faults import parse_fault
from sim.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.gauge import Gauge
from smartbattery.linux import LinuxBus
from smartbattery.registers import ADDRESS

PERIOD_S = 0.1
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loop:
    """The one loop of simulation and service: every battery at every tick."""

    clock: Clock
    vehicle: Callable[[float], VehicleState]
    monitors: Sequence[Monitor]
    recorder: Recorder | None = None

    def reports(self, ticks: Iterator[float]) -> Iterator[Report]:
        """Step at each tick, in time, and yield what came of it."""
        for t_s in ticks:
            self.clock.sleep_until(t_s)
            state = self.vehicle(t_s)
            stepped = [monitor.step(t_s, state) for monitor in self.monitors]
            if self.recorder is not None:
                self.recorder.stepped(t_s, state)
            yield from stepped


@dataclass(frozen=True, slots=True)
class SimOptions:
    """What `dronebms sim` was asked; `speed` None is as fast as it goes."""

    flight: str = "survey"
    seed: int = 1
    speed: float | None = 1.0
    faults: tuple[str, ...] = ()
    duration_s: float | None = None
    mavlink_url: str | None = None
    record: Path | None = None


class Simulation:
    """A simulated flight behind the real driver, ready to fly.

    Raises:
        ConfigError: no such scenario, fault, or a recording that cannot be made.
        LinkError: a link URL that means nothing.
    """

    def __init__(self, options: SimOptions, stack: ExitStack) -> None:
        pace = None if options.speed is None else SystemClock(options.speed)
        self.clock = VirtualClock() if pace is None else PacedClock(pace)
        faults = tuple(parse_fault(text) for text in options.faults)
        self._bus, self.world = open_virtual(options.flight, self.clock, options.seed, faults)
        self.facts = self.world.facts()
        self._url = options.mavlink_url
        self._bridge: Bridge | None = None
        if options.mavlink_url is not None:
            self._bridge = Bridge(stack.enter_context(closing(open_link(options.mavlink_url))))
        self._recorder: Recorder | None = None
        if options.record is not None:
            recorded = (Recorded(self.facts, ADDRESS),)
            self._recorder = Recorder(options.record, recorded)
            stack.callback(self._recorder.close)
        wanted_s = self.world.duration_s if options.duration_s is None else options.duration_s
        self.duration_s = wanted_s

    def reports(self) -> Iterator[Report]:
        """Fly it, telling the flight controller, and yield every step."""
        sinks: list[Sink] = [] if self._bridge is None else [self._bridge]
        monitor = Monitor(self._source(), self.facts, sinks)
        loop = Loop(self.clock, self._vehicle, [monitor], self._recorder)
        return loop.reports(self._ticks())

    def link(self) -> str | None:
        """Return over what the flight controller is told."""
        return self._url

    def _source(self) -> Source:
        if self._recorder is None:
            return Gauge(self._bus, ADDRESS, cells=self.facts.cells)
        tapped = TappedGauge(self._bus, ADDRESS, self.facts.cells)
        return SteppedGauge(tapped, 0, self._recorder.polled)

    def _ticks(self) -> Iterator[float]:
        step = 0
        while (t_s := step * PERIOD_S) <= self.duration_s:
            yield t_s
            step += 1

    def _vehicle(self, t_s: float) -> VehicleState:
        if self._bridge is not None:
            self._bridge.pump(t_s)  # learns whom to tell; the flight's own state is the truth
        return self.world.vehicle(t_s)


def serve(config: Config, stack: ExitStack) -> None:
    """Run the service until it is told to stop.

    Raises:
        ConfigError: a limit, scenario or recording folder that cannot be used.
        LinkError: a link URL that means nothing.
    """
    clock = SystemClock()
    changes = config.limit_changes()
    recorder = _recorder(config, stack)
    bridge = Bridge(
        stack.enter_context(closing(open_link(config.mavlink.url))),
        system_id=config.mavlink.system_id,
        vehicle=config.mavlink.vehicle,
    )
    monitors = []
    for index, battery in enumerate(config.battery):
        bus = open_bus(battery, clock)
        gauge = TappedGauge(bus, battery.address, battery.cells)
        on_poll = _forget if recorder is None else recorder.polled
        source = PolledGauge(gauge, clock, PERIOD_S, index, on_poll)
        stack.callback(source.close)
        sinks: list[Sink] = [bridge, log_events]
        monitors.append(Monitor(source, battery.facts(), sinks, index=index, limit_changes=changes))
        _log.info("battery %d: %s address 0x%02x", index + 1, battery.bus, battery.address)
    _log.info("telling %s", config.mavlink.url)
    for _ in Loop(clock, bridge.pump, monitors, recorder).reports(_live_ticks(clock)):
        pass


def open_bus(battery: BatteryConfig, clock: Clock) -> Bus:
    """Return the wire that a battery's configuration names."""
    if battery.bus.startswith("sim:"):
        return open_virtual(battery.bus.removeprefix("sim:"), clock)[0]
    return LinuxBus(battery.bus)


def log_events(report: Report) -> None:
    """Log what has tripped and cleared: a sink."""
    for event in report.status.events:
        level = logging.WARNING if event.tripped else logging.INFO
        _log.log(level, "battery %d %s: %s", report.index + 1, event.severity.label, event.text)


def _recorder(config: Config, stack: ExitStack) -> Recorder | None:
    if config.recording is None:
        return None
    folder = Path(config.recording.dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"recording.dir: {folder} cannot be made: {error.strerror}") from error
    # Numbered, not dated: a companion computer often has no idea what day it is.
    taken = [int(path.stem[4:]) for path in folder.glob("run-*.rec") if path.stem[4:].isdigit()]
    path = folder / f"run-{max(taken, default=0) + 1:05d}.rec"
    changes = config.limit_changes()
    batteries = [Recorded(b.facts(), b.address, changes) for b in config.battery]
    recorder = Recorder(path, batteries)
    stack.callback(recorder.close)
    _log.info("recording to %s", path)
    return recorder


def _live_ticks(clock: Clock) -> Iterator[float]:
    """Yield evenly spaced times without end; what is missed is left out."""
    t_s = clock.now_s()
    while True:
        yield t_s
        t_s = max(t_s + PERIOD_S, clock.now_s())


def _forget(*_: object) -> None:
    """Record nothing."""

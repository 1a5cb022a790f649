"""Wires the rooms together for each way of running: simulation and service. No logic of its own."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from dronebms.actions import Do
from dronebms.archive import Bounds, Folder
from dronebms.charging import ChargerHook
from dronebms.clock import Clock, PacedClock, SystemClock, VirtualClock, unix_s
from dronebms.config import BatteryConfig, Config
from dronebms.errors import ConfigError
from dronebms.gauges import OnPoll, SteppedGauge, TappedGauge
from dronebms.monitor import Monitor, Report, Rules, Sink, Source
from dronebms.recorder import Recorder, SingleFile
from dronebms.recording import Recorded, Start
from dronebms.recovery import RecoveryProgram
from dronebms.threads import BusThread, PolledGauge
from dronebms.vehicle import VehicleState
from mavlink_bridge.acting import Acting
from mavlink_bridge.bridge import Bridge, Terms
from mavlink_bridge.codec import read_key
from mavlink_bridge.link import open_link
from sim.faults import parse_fault
from sim.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.errors import BusError
from smartbattery.gauge import Gauge
from smartbattery.known import Known
from smartbattery.linux import LinuxBus, no_recovery
from smartbattery.lock import GaugeLock
from smartbattery.mux import MuxBus
from smartbattery.recording import Transfer
from smartbattery.registers import ADDRESS
from smartbattery.vendors import profile_named

PERIOD_S = 0.1
_MB = 1e6
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
                events = [event for report in stepped for event in report.status.events]
                self.recorder.stepped(t_s, state, events)
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
            recorded = Start((Recorded(self.facts, ADDRESS),))
            self._recorder = Recorder(SingleFile(options.record), recorded)
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
        while (t_s := round(step * PERIOD_S, 6)) <= self.duration_s:
            yield t_s
            step += 1

    def _vehicle(self, t_s: float) -> VehicleState:
        if self._bridge is not None:
            self._bridge.pump(t_s)  # learns whom to tell; the flight's own state is the truth
        return self.world.vehicle(t_s)


def serve(config: Config, stack: ExitStack) -> None:
    """Run the service until it is told to stop; raises what `service_reports` does."""
    for _ in service_reports(config, stack, SystemClock()):
        pass


def service_reports(config: Config, stack: ExitStack, clock: Clock) -> Iterator[Report]:
    """Start the service and yield every step, without end.

    Raises:
        ConfigError: a limit or scenario that cannot be used, or a pack that another program reads.
        LinkError: a link URL that means nothing.
    """
    _lock(config, stack)
    if config.status is not None:
        _log.warning("status.socket is not served yet: %s is not made", config.status.socket)
    recorder: Recorder | None = None

    def polled(index: int, t_s: float, transfers: Sequence[Transfer], known: Known) -> None:
        if recorder is not None:
            recorder.polled(index, t_s, transfers, known)

    bridge = _bridge(config, stack, clock)
    sinks = list[Sink]((bridge, log_events))
    if config.charger is not None:
        sinks.append(ChargerHook(config.charger.command, clock))
    rules = Rules(config.limit_changes(), tuple(row.action() for row in config.action))
    sources = _sources(config, stack, clock, polled)
    monitors = [
        Monitor(source, battery.facts(), sinks, index=index, rules=rules)
        for index, (source, battery) in enumerate(zip(sources, config.battery, strict=True))
    ]
    _log.info("telling %s", config.mavlink.url)
    recorder = _recorder(config, rules, stack)  # last: what cannot start leaves no empty recording
    return Loop(clock, bridge.pump, monitors, recorder).reports(_live_ticks(clock))


def _bridge(config: Config, stack: ExitStack, clock: Clock) -> Bridge:
    """Return the way to the vehicle; it acts only where the configuration names an action."""
    told = config.mavlink
    key = None if told.signing_key is None else read_key(Path(told.signing_key))
    bridge = Bridge(
        stack.enter_context(closing(open_link(told.url))),
        system_id=told.system_id,
        vehicle=told.vehicle,
        first_battery_id=told.battery_id,
        terms=Terms(accept_systems=told.accept_systems, key=key, unix_s=unix_s()),
    )
    if any(row.action().do >= Do.REDUCE for row in config.action):
        bridge.acting = Acting(config.vehicle_dir)
        stack.callback(bridge.put_back, clock)
    return bridge


def _lock(config: Config, stack: ExitStack) -> None:
    """Keep other programs from the packs, and from the multiplexers that lead to them.

    Whoever turns a multiplexer, or asks an address beside it, would get another pack's answers.
    """
    real = [battery for battery in config.battery if not battery.is_virtual]
    places = {(b.adapter, at) for b in real for at in (b.address, b.mux_address) if at is not None}
    for adapter, address in sorted(places):
        try:
            stack.callback(GaugeLock(adapter, address, "dronebms run").close)
        except BusError as error:
            raise ConfigError(str(error)) from error


def _sources(config: Config, stack: ExitStack, clock: Clock, on_poll: OnPoll) -> list[Source]:
    """Return the battery's gauges in their order, a thread for each adapter running."""
    sources: dict[int, PolledGauge] = {}
    for members in config.adapters():
        bus = open_bus([battery for _, battery in members], clock)
        polled = []
        for index, battery in members:
            wire = bus
            if battery.mux_address is not None and battery.mux_channel is not None:
                others = {b.mux_address for _, b in members if b.mux_address is not None}
                others.discard(battery.mux_address)
                wire = MuxBus(bus, battery.mux_address, battery.mux_channel, sorted(others))
            profile = profile_named(battery.gauge)
            gauge = TappedGauge(wire, battery.address, battery.cells, profile)
            sources[index] = PolledGauge(gauge, index, on_poll)
            polled.append(sources[index])
            _log.info("battery %d: %s", index + 1, battery.place)
        thread = BusThread(members[0][1].bus, polled, clock, PERIOD_S)
        stack.callback(thread.close)
    return [sources[index] for index in range(len(sources))]


def open_bus(batteries: Sequence[BatteryConfig], clock: Clock) -> Bus:
    """Return the wire that batteries of one adapter are on."""
    first = batteries[0]
    if first.is_virtual:
        return open_virtual(first.scenario, clock)[0]
    command = next((battery.recovery for battery in batteries if battery.recovery), None)
    recover = no_recovery if command is None else RecoveryProgram(command, clock)
    return LinuxBus(first.bus, recover)


def log_events(report: Report) -> None:
    """Log what has tripped and cleared: a sink."""
    for event in report.status.events:
        level = logging.WARNING if event.tripped else logging.INFO
        _log.log(level, "battery %d %s: %s", report.index + 1, event.severity.label, event.text)


def _recorder(config: Config, rules: Rules, stack: ExitStack) -> Recorder | None:
    told = config.recording
    if told is None:
        return None
    batteries = tuple([Recorded(b.facts(), b.address, b.gauge) for b in config.battery])
    start = Start(batteries, rules, config.topology)
    try:
        store = Folder(Path(told.dir), Bounds(told.max_mb * _MB, told.file_mb * _MB, told.max_days))
    except OSError as error:
        # A card that has gone read-only must not keep a pack unguarded.
        _log.error("nothing is recorded in %s: %s", told.dir, error.strerror)
        return None
    recorder = Recorder(store, start)
    stack.callback(recorder.close)
    return recorder


def _live_ticks(clock: Clock) -> Iterator[float]:
    """Yield evenly spaced times without end; what is missed is left out."""
    t_s = clock.now_s()
    while True:
        yield t_s
        t_s = max(t_s + PERIOD_S, clock.now_s())

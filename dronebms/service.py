"""Wires the rooms together for the service: gauges and their threads, bridge, recorder, viewers."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from dronebms.actions import Do
from dronebms.archive import Bounds, Folder
from dronebms.charging import ChargerHook
from dronebms.clock import Clock, SystemClock, unix_s
from dronebms.config import BatteryConfig, Config
from dronebms.errors import ConfigError
from dronebms.gauges import OnPoll, TappedGauge
from dronebms.governor import unstated
from dronebms.loop import PERIOD_S, Loop, live_ticks
from dronebms.monitor import Monitor, Report, Rules, Sink, Source
from dronebms.passportsink import PassportSink
from dronebms.preflight import GroundLog
from dronebms.recorder import Recorder
from dronebms.recording import Recorded, Start
from dronebms.recovery import RecoveryProgram
from dronebms.stream import Stream
from dronebms.threads import BusThread, PolledGauge
from mavlink_bridge.acting import Acting
from mavlink_bridge.bridge import Bridge, Terms
from mavlink_bridge.codec import read_key
from mavlink_bridge.kept import left_behind
from mavlink_bridge.link import open_link
from sim.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.errors import BusError
from smartbattery.known import Known
from smartbattery.linux import LinuxBus, no_recovery
from smartbattery.lock import GaugeLock
from smartbattery.mux import MuxBus
from smartbattery.recording import Transfer
from smartbattery.vendors import profile_named

_MB = 1e6
_log = logging.getLogger(__name__)
More = Callable[[Config, ExitStack, Clock], list[Sink]]  # makes what the command line may load


def serve(config: Config, stack: ExitStack, more: Sequence[More] = ()) -> None:
    """Run the service until it is told to stop; raises what `service_reports` does."""
    for _ in service_reports(config, stack, SystemClock(), more):
        pass


def service_reports(
    config: Config, stack: ExitStack, clock: Clock, more: Sequence[More] = ()
) -> Iterator[Report]:
    """Start the service and yield every step, without end.

    Raises:
        ConfigError: a limit or scenario that cannot be used, or a pack that another program reads.
        LinkError: a link URL that means nothing.
    """
    _lock(config, stack)
    recorder: Recorder | None = None

    def polled(index: int, t_s: float, transfers: Sequence[Transfer], known: Known) -> None:
        if recorder is not None:
            recorder.polled(index, t_s, transfers, known)

    bridge = _bridge(config, stack, clock)
    sinks = list[Sink]((bridge, log_events, GroundLog()))
    if (stream := _stream(config, stack)) is not None:
        sinks.append(stream)
    if config.charger is not None and config.charger.command is not None:
        sinks.append(ChargerHook(config.charger.command, clock))
    if config.state is not None:
        sinks.append(stack.enter_context(closing(PassportSink(Path(config.state.dir), unix_s))))
    sinks += [sink for make in more for sink in make(config, stack, clock)]
    rules = Rules(config.limit_changes(), tuple(row.action() for row in config.action))
    sources = _sources(config, stack, clock, polled)
    monitors = [
        Monitor(source, battery.facts(), sinks, index=index, rules=rules)
        for index, (source, battery) in enumerate(zip(sources, config.battery, strict=True))
    ]
    _log.info("telling %s", config.mavlink.url)
    recorder = _recorder(config, rules, stack)  # last: what cannot start leaves no empty recording
    loop = Loop(clock, bridge.pump, monitors, recorder, config.topology)
    return loop.reports(live_ticks(clock))


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
    acts = any(row.action().do >= Do.REDUCE for row in config.action)
    if acts or left_behind(config.vehicle_dir):  # of an earlier configuration, to be put back
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
            for line in (battery.place, *unstated(battery.facts())):
                _log.info("battery %d: %s", index + 1, line)
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


def _stream(config: Config, stack: ExitStack) -> Stream | None:
    if config.status is None:
        return None
    try:
        stream = Stream(Path(config.status.socket))
    except OSError as error:
        # Nobody can watch; that must not keep a pack unguarded.
        _log.error("nothing is served at %s: %s", config.status.socket, error.strerror or error)
        return None
    stack.callback(stream.close)
    _log.info("serving %s", config.status.socket)
    return stream


def log_events(report: Report) -> None:
    """Log what has tripped and cleared: a sink."""
    for event in report.status.events:
        level = logging.WARNING if event.tripped else logging.INFO
        which = {"battery": report.index, "limit": event.limit_id}
        which["event"] = "tripped" if event.tripped else "cleared"
        label = event.severity.label
        _log.log(level, "battery %d %s: %s", report.index + 1, label, event.text, extra=which)


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

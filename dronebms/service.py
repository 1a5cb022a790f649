"""Wires the rooms together for the service: gauges and their threads, bridge, recorder, viewers."""

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from dronebms.actions import Do
from dronebms.archive import Bounds, Folder
from dronebms.charging import ChargerHook
from dronebms.clock import Clock, SystemClock, unix_s
from dronebms.config import BatteryConfig, Config, read_config
from dronebms.errors import ConfigError
from dronebms.gauges import OnPoll, TappedGauge
from dronebms.governor import unstated
from dronebms.learning import LEARNED, KeptBeside, LearnedPacks
from dronebms.loop import PERIOD_S, Loop, live_ticks
from dronebms.monitor import Monitor, Report, Rules, Sink
from dronebms.notify import Notifier
from dronebms.passportsink import PassportSink
from dronebms.preflight import GroundLog
from dronebms.recorder import Recorder
from dronebms.recording import Recorded, Start
from dronebms.recovery import RecoveryProgram
from dronebms.reload import taken_over
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


def serve(path: Path, stack: ExitStack, more: Sequence[More] = ()) -> None:
    """Run the service of a configuration file until it is told to stop; SIGHUP reads it again.

    Raises:
        ConfigError: everything that is wrong with the file, and what `Service` raises.
        LinkError: a link URL that means nothing.
    """
    asked: list[int] = []
    signal.signal(signal.SIGHUP, lambda number, _: asked.append(number))
    service = Service(read_config(path), stack, SystemClock(), more)
    told = Notifier()
    stack.callback(told.tell, "STOPPING=1")
    for report in service.reports():
        told.stepped(report, stuck=service.is_stuck(report.t_s))
        if asked:
            asked.clear()
            told.tell("RELOADING=1")
            service.reload(path)
            told.tell("READY=1")


class Service:
    """All of a configuration, at work.

    Raises:
        ConfigError: a limit or scenario that cannot be used, or a pack that another program reads.
        LinkError: a link URL that means nothing.
    """

    def __init__(
        self, config: Config, stack: ExitStack, clock: Clock, more: Sequence[More] = ()
    ) -> None:
        _lock(config, stack)
        self._config, self._stack, self._clock = config, stack, clock
        self._recorder: Recorder | None = None
        self._bridge = _bridge(config, stack)
        self._act()
        sinks: list[Sink] = [self._bridge, log_events, GroundLog(), self._charge]
        if (stream := _stream(config, stack)) is not None:
            sinks.append(stream)
        if config.state is not None:
            passports = PassportSink(Path(config.state.dir), unix_s)
            sinks.append(stack.enter_context(closing(passports)))
        sinks += [sink for make in more for sink in make(config, stack, clock)]
        self._charger = self._charger_hook()
        self._gauges = _gauges(config, stack, clock, self._polled)
        rules, packs = _rules(config), _packs(config, stack)
        self._monitors = [
            Monitor(gauge, battery.facts(), sinks, index=index, rules=rules, packs=packs)
            for index, (gauge, battery) in enumerate(zip(self._gauges, config.battery, strict=True))
        ]
        for monitor in self._monitors:
            stack.callback(monitor.keep)
        _log.info("telling %s", config.mavlink.url)
        # Last: what cannot start leaves no empty recording.
        self._recorder = _recorder(config, rules, stack)

    def reports(self) -> Iterator[Report]:
        """Yield every step, without end."""
        pump, topology = self._bridge.pump, self._config.topology
        loop = Loop(self._clock, pump, self._monitors, self._recorder, topology)
        return loop.reports(live_ticks(self._clock))

    def is_stuck(self, now_s: float) -> bool:
        """Return whether a gauge that was heard is not even asked any more."""
        return any(gauge.is_stuck(now_s) for gauge in self._gauges)

    def reload(self, path: Path) -> None:
        """Take over what can be changed in flight, all of it or nothing; the log says the rest."""
        try:
            config, waiting = taken_over(self._config, read_config(path))
            rules = _rules(config)
            for monitor in self._monitors:
                monitor.limits(rules.limit_changes)  # raises before anything is changed
        except ConfigError as error:
            for line in str(error).splitlines():
                _log.error("the configuration stays as it was: %s", line)
            return
        for monitor in self._monitors:
            monitor.use(rules)
        charged_else = config.charger != self._config.charger
        self._config = config
        self._act()
        if charged_else:
            self._charger = self._charger_hook()
        _log.info("limits, actions and charger are those of %s now", path)
        for line in waiting:
            _log.warning("%s", line)

    def _act(self) -> None:
        """Let the bridge act on the vehicle where the configuration names an action."""
        acts = any(row.action().do >= Do.REDUCE for row in self._config.action)
        folder = self._config.vehicle_dir
        # Also for what an earlier configuration has left behind, to be put back.
        if self._bridge.acting is None and (acts or left_behind(folder)):
            self._bridge.acting = Acting(folder)
            self._stack.callback(self._bridge.put_back, self._clock)

    def _charger_hook(self) -> ChargerHook | None:
        told = self._config.charger
        command = None if told is None else told.command
        return None if command is None else ChargerHook(command, self._clock)

    def _charge(self, report: Report) -> None:
        if self._charger is not None:
            self._charger(report)

    def _polled(self, index: int, t_s: float, transfers: Sequence[Transfer], known: Known) -> None:
        if self._recorder is not None:
            self._recorder.polled(index, t_s, transfers, known)


def _rules(config: Config) -> Rules:
    return Rules(config.limit_changes(), tuple(row.action() for row in config.action))


def _packs(config: Config, stack: ExitStack) -> KeptBeside | None:
    """Return what was learned of packs; a service without [state] knows and keeps nothing."""
    if config.state is None:
        return None
    kept = KeptBeside(LearnedPacks(Path(config.state.dir) / LEARNED))
    stack.callback(kept.close)
    return kept


def _bridge(config: Config, stack: ExitStack) -> Bridge:
    """Return the way to the vehicle."""
    told = config.mavlink
    key = None if told.signing_key is None else read_key(Path(told.signing_key))
    return Bridge(
        stack.enter_context(closing(open_link(told.url))),
        system_id=told.system_id,
        vehicle=told.vehicle,
        first_battery_id=told.battery_id,
        terms=Terms(accept_systems=told.accept_systems, key=key, unix_s=unix_s()),
    )


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


def _gauges(config: Config, stack: ExitStack, clock: Clock, on_poll: OnPoll) -> list[PolledGauge]:
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

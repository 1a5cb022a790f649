"""Opens what a service works with: bus, bridge, recorder, socket; each is closed with the stack."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from dronebms.core.clock import Clock, unix_s
from dronebms.core.errors import ConfigError
from dronebms.core.report import Report
from dronebms.monitoring.loop import PERIOD_S
from dronebms.protection.current_governor import limp_home_notes
from dronebms.protection.rules import Rules
from dronebms.recording.archive import Bounds, Folder
from dronebms.recording.format import Recorded, Start
from dronebms.recording.gauge_tap import OnPoll, TappedGauge
from dronebms.recording.recorder import Recorder
from dronebms.service.bus_threads import BusThread, PolledGauge
from dronebms.service.config import BatteryConfig, Config
from dronebms.service.external_program import RecoveryProgram
from dronebms.telemetry.status_socket import StatusServer
from mavlink_bridge.bridge import Bridge, BridgeOptions
from mavlink_bridge.protocol.codec import read_key
from mavlink_bridge.protocol.link import open_link
from smartbattery.bus import Bus
from smartbattery.device_lock import GaugeLock
from smartbattery.errors import BusError
from smartbattery.linux_bus import LinuxBus, no_recovery
from smartbattery.multiplexer import MuxBus
from smartbattery.profiles import profile_named

_MB = 1e6
_log = logging.getLogger(__name__)


def bridge_of(config: Config, stack: ExitStack) -> Bridge:
    """Return the way to the vehicle."""
    told = config.mavlink
    key = None if told.signing_key is None else read_key(Path(told.signing_key))
    return Bridge(
        stack.enter_context(closing(open_link(told.url))),
        system_id=told.system_id,
        vehicle=told.vehicle,
        first_battery_id=told.battery_id,
        options=BridgeOptions(accept_systems=told.accept_systems, key=key, unix_s=unix_s()),
    )


def lock_packs(config: Config, stack: ExitStack) -> None:
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


def gauges_of(config: Config, stack: ExitStack, clock: Clock, on_poll: OnPoll) -> list[PolledGauge]:
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
            gauge = TappedGauge(wire, battery.address, battery.cells, profile_named(battery.gauge))
            sources[index] = PolledGauge(gauge, index, on_poll)
            polled.append(sources[index])
            for line in (battery.place, *limp_home_notes(battery.pack_data())):
                _log.info("battery %d: %s", index + 1, line)
        thread = BusThread(members[0][1].bus, polled, clock, PERIOD_S)
        stack.callback(thread.close)
    return [sources[index] for index in range(len(sources))]


def open_bus(batteries: Sequence[BatteryConfig], clock: Clock) -> Bus:
    """Return the wire that batteries of one adapter are on."""
    first = batteries[0]
    if first.is_virtual:
        from sim.emulator.world import open_virtual  # noqa: PLC0415 - real packs need no simulation

        return open_virtual(first.scenario, clock)[0]
    command = next((battery.recovery for battery in batteries if battery.recovery), None)
    recover = no_recovery if command is None else RecoveryProgram(command, clock)
    return LinuxBus(first.bus, recover)


def stream_of(config: Config, stack: ExitStack) -> StatusServer | None:
    """Return the stream for viewers, None without one; raises what a living service's does."""
    if config.status is None:
        return None
    try:
        stream = StatusServer(Path(config.status.socket))
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


def recorder_of(config: Config, rules: Rules, stack: ExitStack) -> Recorder | None:
    """Return the recorder, None without one."""
    told = config.recording
    if told is None:
        return None
    batteries = tuple([Recorded(b.pack_data(), b.address, b.gauge) for b in config.battery])
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

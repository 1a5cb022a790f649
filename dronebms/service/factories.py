# SPDX-License-Identifier: Apache-2.0
"""Makes the parts of a service, each from its own section of the configuration.

An exit stack closes them. A sink that cannot be opened is logged and tried again: it must not leave
a pack unguarded.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dronebms import __version__
from dronebms.core.clock import Clock, date_s
from dronebms.core.errors import InUseError
from dronebms.core.optional import needed_by
from dronebms.core.report import Report, Sink
from dronebms.core.service_defaults import PERIOD_S
from dronebms.dronecan.can_url import parse_can_url
from dronebms.estimation.pack_memory import LEARNED_FOLDER, BackgroundPackMemory, PackMemoryFolder
from dronebms.protection.current_governor import limp_home_notes
from dronebms.recording.archive import Bounds, Folder
from dronebms.recording.gauge_tap import OnPoll, OnSnapshot, TappedGauge, TappedSource
from dronebms.recording.recorder import Recorder
from dronebms.recording.records import Start
from dronebms.service.battery_config import BatteryConfig, by_adapter
from dronebms.service.bus_threads import BusThread, PolledGauge, PolledSource
from dronebms.service.can_buses import CanBuses, can_bus_class
from dronebms.service.can_packs import can_packs_of
from dronebms.service.config import (
    ChargerConfig,
    Config,
    RecordingConfig,
    StateConfig,
    StatusConfig,
)
from dronebms.service.external_program import ChargerHook, UserProgram
from dronebms.service.gauge_packages import (
    PackageBattery,
    open_gauge,
    package_of,
    refuse_package,
)
from dronebms.service.retried_sink import ClosingSink, RetriedSink
from dronebms.telemetry.config import MetricsConfig, MqttConfig
from dronebms.telemetry.status_socket import StatusServer
from mavlink_bridge.bridge import Bridge, TelemetryLink
from mavlink_bridge.components import BridgeOptions
from mavlink_bridge.protocol.codec import read_key
from mavlink_bridge.protocol.config import VEHICLE, MavlinkConfig
from mavlink_bridge.protocol.flight_stacks import PX4
from mavlink_bridge.protocol.link import Link, open_link
from mavlink_bridge.protocol.signing import TimestampFile
from mavlink_bridge.vehicle.battery_id import BatteryAddress
from smartbattery.bus import Bus
from smartbattery.device_lock import GaugeLock
from smartbattery.errors import BusError
from smartbattery.errors import InUseError as GaugeInUseError
from smartbattery.linux_bus import LinuxBus, no_recovery
from smartbattery.multiplexer import MuxBus
from smartbattery.profiles import profile_named

if TYPE_CHECKING:
    from dronebms.telemetry.mqtt import MqttPublisher
    from dronebms.telemetry.openmetrics import OpenMetricsExporter

SIGNING = "signing"  # file of the timestamps; that of a telemetry link ends with a name
_NAME_LETTERS = 8
_MB = 1e6
_log = logging.getLogger(__name__)


def bridge_of(config: Config, links: Sequence[Link], stack: ExitStack) -> Bridge:
    """The bridge to the vehicle, over open links.

    Args:
        config: of the service; its state folder has the signing timestamps.
        links: of each section in its order.
        stack: closes the timestamps.

    Raises:
        ConfigError: a signing key cannot be read.
    """
    main = config.vehicle_link
    common = BridgeOptions(
        report_time=main.report_time,
        component_id=main.component_id,
        unix_s=date_s() or 0.0,
        pack_voltage_only=main.pack_voltage_only,
        batteries=tuple(
            [
                BatteryAddress(one.component_id, one.battery_id, one.reset_monitor)
                for one in config.battery
            ]
        ),
    )
    opened = {one.url: link for one, link in zip(config.mavlink, links, strict=True)}
    files: dict[bytes, TimestampFile | None] = {}
    options = {
        one.url: _options_of(one, common, config.state, files, stack)
        for one in (main, *config.telemetry_links)
    }
    return Bridge(
        opened[main.url],
        system_id=main.system_id,
        vehicle=main.vehicle,
        first_battery_id=main.battery_id,
        options=options[main.url],
        telemetry=[
            TelemetryLink(one.url, opened[one.url], options[one.url])
            for one in config.telemetry_links
        ],
    )


def _options_of(
    config: MavlinkConfig,
    common: BridgeOptions,
    state: StateConfig | None,
    files: dict[bytes, TimestampFile | None],
    stack: ExitStack,
) -> BridgeOptions:
    """Options of one link; `files`: of the timestamps of each key, completed."""
    options = replace(common, accept_systems=config.accept_systems)
    if config.signing_key is None:
        return options
    key = read_key(Path(config.signing_key))
    if key not in files and state is None:
        _log.warning("no [state]: a signed frame can be repeated after a restart")
        files[key] = None
    elif key not in files and state is not None:
        name = SIGNING if config.role == VEHICLE else f"{SIGNING}.{_file_name(config.url)}"
        files[key] = stack.enter_context(closing(TimestampFile(state.folder / name)))
    return replace(options, key=key, timestamps=files[key])


def _file_name(url: str) -> str:
    """A file name of a link, the same in every run."""
    return hashlib.sha256(url.encode()).hexdigest()[:_NAME_LETTERS]


@dataclass(frozen=True, slots=True)
class Wiring:
    """What sources need of the service that they are read by."""

    stack: ExitStack  # their threads and files end with it
    clock: Clock
    buses: CanBuses
    on_poll: OnPoll  # receives the transfers of a gauge
    on_snapshot: OnSnapshot  # receives the snapshot of a source without transfers


class Machine(Protocol):
    """Access of a service to its packs and its links; a rehearsal has virtual ones."""

    def lock_packs(self, batteries: Sequence[BatteryConfig], stack: ExitStack) -> None:
        """Lock the packs against other programs."""

    def link(self, config: MavlinkConfig, stack: ExitStack) -> Link:
        """The link of a section."""

    def sources(
        self, batteries: Sequence[BatteryConfig], wiring: Wiring
    ) -> Mapping[int, PolledSource]:
        """Readings of the packs by the index of their batteries; a monitor's are the bridge's."""


class ThisMachine:
    """The adapters, ports and sockets of this computer."""

    def lock_packs(self, batteries: Sequence[BatteryConfig], stack: ExitStack) -> None:
        """Lock the packs; see `lock_packs`."""
        lock_packs(batteries, stack)

    def link(self, config: MavlinkConfig, stack: ExitStack) -> Link:
        """Open the link of a section; see `open_link`."""
        return stack.enter_context(closing(open_link(config.url)))

    def sources(
        self, batteries: Sequence[BatteryConfig], wiring: Wiring
    ) -> Mapping[int, PolledSource]:
        """Gauges and packages with their threads, and packs of CAN buses that start later."""
        on_can = can_packs_of(batteries, wiring.buses.of, wiring.on_snapshot)
        for index in on_can:
            _log_battery(index, batteries[index])
        return {
            **gauges_of(batteries, wiring.stack, wiring.clock, wiring.on_poll),
            **packages_of(batteries, wiring.stack, wiring.clock, wiring.on_snapshot),
            **on_can,
        }


THIS_MACHINE = ThisMachine()


def lock_packs(batteries: Sequence[BatteryConfig], stack: ExitStack) -> None:
    """Lock the packs and the multiplexers before them against other programs.

    Another program that switches a multiplexer would change the pack that is read.

    A lock that cannot be made is logged: it must not leave a pack unguarded.

    Raises:
        InUseError: another program has locked one of them.
    """
    real = [battery for battery in batteries if battery.is_wired]
    places = {(b.adapter, at) for b in real for at in (b.address, b.mux_address) if at is not None}
    for adapter, address in sorted(places):
        try:
            stack.callback(GaugeLock(adapter, address, "dronebms run").close)
        except GaugeInUseError as error:
            raise InUseError(str(error)) from error
        except BusError as error:
            _log.error("no lock against other programs: %s", error)


def gauges_of(
    batteries: Sequence[BatteryConfig], stack: ExitStack, clock: Clock, on_poll: OnPoll
) -> dict[int, PolledGauge]:
    """The gauges by the index of their batteries, with a running thread for each adapter."""
    sources: dict[int, PolledGauge] = {}
    for members in by_adapter(batteries):
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
            _log_battery(index, battery)
        thread = BusThread(members[0][1].bus, polled, clock, PERIOD_S)
        stack.callback(thread.close)
    return sources


def packages_of(
    batteries: Sequence[BatteryConfig], stack: ExitStack, clock: Clock, on_snapshot: OnSnapshot
) -> dict[int, TappedSource]:
    """The gauges of other packages by the index of their batteries, a running thread for each.

    Raises:
        ConfigError: a package cannot be used.
    """
    sources: dict[int, TappedSource] = {}
    for index, battery in enumerate(batteries):
        if battery.package is None:
            continue
        installed = package_of(battery.bus)
        gauge = open_gauge(installed, battery.bus, battery.cells)
        polled = PackageBattery(gauge, installed.name, index)
        stack.callback(polled.close)
        stack.callback(BusThread(battery.bus, [polled], clock, PERIOD_S).close)
        sources[index] = TappedSource(polled, index, on_snapshot, polled.is_stuck)
        _log.info("battery %d: gauge of %s", index + 1, installed.name)
        _log_battery(index, battery)
    return sources


def monitors_of(
    batteries: Sequence[BatteryConfig], bridge: Bridge, on_snapshot: OnSnapshot
) -> dict[int, TappedSource]:
    """The monitors of the vehicle by the index of their batteries."""
    sources: dict[int, TappedSource] = {}
    for index, battery in enumerate(batteries):
        if battery.monitor is not None and battery.cells is not None:
            monitor = bridge.vehicle_battery(index, battery.monitor, battery.cells)
            sources[index] = TappedSource(monitor, index, on_snapshot)
            _log_battery(index, battery)
    return sources


def _log_battery(index: int, battery: BatteryConfig) -> None:
    for line in (battery.place, *limp_home_notes(battery.pack_data())):
        _log.info("battery %d: %s", index + 1, line)


def open_bus(batteries: Sequence[BatteryConfig], clock: Clock) -> Bus:
    """The bus of the batteries of one adapter.

    Raises:
        ConfigError: unknown scenario of a simulated pack.
    """
    first = batteries[0]
    if first.is_virtual:
        from sim.emulator.world import open_virtual  # noqa: PLC0415 - real packs need no simulation

        return open_virtual(first.scenario, clock)[0]
    command = next((battery.recovery for battery in batteries if battery.recovery), None)
    recover = no_recovery if command is None else UserProgram(command, clock)
    return LinuxBus(first.bus, recover)


def status_server_of(config: StatusConfig | None, stack: ExitStack) -> Sink | None:
    """The status socket for viewers; `None` if none is configured."""
    if config is None:
        return None
    path = Path(config.socket)
    return _retried(f"status socket at {config.shown}", lambda: StatusServer(path), stack)


def metrics_of(config: MetricsConfig | None, stack: ExitStack, clock: Clock) -> Sink | None:
    """The OpenMetrics server; `None` if none is configured.

    Raises:
        ConfigError: its package is not installed.
    """
    if config is None:
        return None
    exporter = metrics_exporter()
    name = f"metrics at {config.address}:{config.port}"
    return _retried(name, lambda: exporter(config, clock), stack)


def mqtt_of(
    config: MqttConfig | None,
    state: StateConfig | None,
    charger: ChargerConfig | None,
    stack: ExitStack,
) -> Sink | None:
    """The MQTT client, with a queue on disk if there is a state folder; `None` if not configured.

    Raises:
        ConfigError: its package is not installed.
    """
    if config is None:
        return None
    publisher = mqtt_publisher()
    queue = None if state is None else state.folder / "mqtt.sqlite"
    topic = None if charger is None else charger.topic
    name = f"MQTT to {config.host}:{config.port}"
    return _retried(name, lambda: publisher(config, queue, topic), stack)


def dronecan_of(config: Config, buses: CanBuses) -> Sink | None:
    """The sink that sends the packs as batteries on a CAN bus; `None` if not configured.

    Raises:
        ConfigError: its package is not installed.
    """
    if config.dronecan is None:
        return None
    bus = buses.of(parse_can_url(config.dronecan.url))
    from dronebms.dronecan.battery_sink import BatterySink  # noqa: PLC0415 - an extra

    major, minor, *_ = __version__.split(".")
    version = int(major), int(minor)
    indices = config.sent_to_can()
    return BatterySink(bus, config.dronecan, indices, version, PX4.least_disarmed_pct)


def _retried(name: str, make: Callable[[], ClosingSink], stack: ExitStack) -> Sink:
    sink = RetriedSink(name, make)
    stack.callback(sink.close)
    return sink


def metrics_exporter() -> "type[OpenMetricsExporter]":
    """The exporter of [metrics].

    Raises:
        ConfigError: its package is not installed.
    """
    with needed_by("[metrics] needs", "metrics"):
        from dronebms.telemetry.openmetrics import OpenMetricsExporter  # noqa: PLC0415 - an extra
    return OpenMetricsExporter


def mqtt_publisher() -> "type[MqttPublisher]":
    """The client of [mqtt].

    Raises:
        ConfigError: its package is not installed.
    """
    with needed_by("[mqtt] needs", "mqtt"):
        from dronebms.telemetry.mqtt import MqttPublisher  # noqa: PLC0415 - an extra
    return MqttPublisher


def refuse_unusable(config: Config) -> None:
    """Refuse what can never work with this installation; `run` and `check` share it.

    Raises:
        ConfigError: an extra is not installed, the package of a gauge cannot be used, or the
            signing key cannot be read.
    """
    for link in config.mavlink:
        if link.signing_key is not None:
            read_key(Path(link.signing_key))
    if config.metrics is not None:
        metrics_exporter()
    if config.mqtt is not None:
        mqtt_publisher()
    if config.dronecan is not None or any(battery.can for battery in config.battery):
        can_bus_class()
    for battery in config.battery:
        if battery.package is not None:
            refuse_package(battery.bus, battery.cells)


def charger_of(config: ChargerConfig | None, clock: Clock) -> Sink:
    """The sink that runs the program of the charger, if there is one."""
    command = None if config is None else config.command
    return (lambda _: None) if command is None else ChargerHook(command, clock)


def pack_memory_of(config: StateConfig | None, stack: ExitStack) -> BackgroundPackMemory | None:
    """The memory of packs of earlier flights, `None` without a state folder."""
    if config is None:
        return None
    memory = BackgroundPackMemory(PackMemoryFolder(config.folder / LEARNED_FOLDER))
    stack.callback(memory.close)
    return memory


def recorder_of(config: RecordingConfig | None, start: Start, stack: ExitStack) -> Recorder | None:
    """The recorder of a run that begins with `start`; `None` if not configured."""
    if config is None:
        return None
    bounds = Bounds(config.max_mb * _MB, config.file_mb * _MB, config.max_days)
    recorder = Recorder(Folder(config.folder, bounds), start)
    stack.callback(recorder.close)
    return recorder


def log_events(report: Report) -> None:
    """A sink that logs the limits that have tripped or cleared."""
    for event in report.status.events:
        level = logging.WARNING if event.tripped else logging.INFO
        fields = {
            "battery": report.index,
            "limit": event.limit_id,
            "event": "tripped" if event.tripped else "cleared",
        }
        _log.log(level, "battery %d %s", report.index + 1, event.text, extra=fields)

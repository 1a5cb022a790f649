# SPDX-License-Identifier: Apache-2.0
"""The sources of a service: gauges, packages and monitors of the configured batteries."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack

from dronebms.core.clock import Clock
from dronebms.core.service_defaults import PERIOD_S
from dronebms.protection.current_governor import limp_home_notes
from dronebms.recording.gauge_tap import OnPoll, OnSnapshot, TappedGauge, TappedSource
from dronebms.service.config.battery_config import BatteryConfig, by_adapter
from dronebms.service.external_program import UserProgram
from dronebms.service.sources.bus_threads import BusThread, PolledGauge
from dronebms.service.sources.gauge_packages import PackageBattery, open_gauge, package_of
from mavlink_bridge.bridge import Bridge
from smartbattery.bus import Bus
from smartbattery.linux_bus import LinuxBus, no_recovery
from smartbattery.multiplexer import MuxBus
from smartbattery.profiles import profile_named

_log = logging.getLogger(__name__)


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
            log_battery(index, battery)
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
        log_battery(index, battery)
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
            log_battery(index, battery)
    return sources


def log_battery(index: int, battery: BatteryConfig) -> None:
    """Log where a battery is read, and the notes on its limp-home current."""
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

# SPDX-License-Identifier: Apache-2.0
"""The packs and links of a service: those of this computer, or virtual ones of a rehearsal."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Protocol

from dronebms.core.clock import Clock
from dronebms.core.errors import InUseError
from dronebms.recording.gauge_tap import OnPoll, OnSnapshot
from dronebms.service.can_buses import CanBuses
from dronebms.service.config.battery_config import BatteryConfig
from dronebms.service.sources.battery_sources import gauges_of, log_battery, packages_of
from dronebms.service.sources.bus_threads import PolledSource
from dronebms.service.sources.can_packs import can_packs_of
from mavlink_bridge.protocol.config import MavlinkConfig
from mavlink_bridge.protocol.link import Link, open_link
from smartbattery.device_lock import GaugeLock
from smartbattery.errors import BusError
from smartbattery.errors import InUseError as GaugeInUseError

_log = logging.getLogger(__name__)


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
            log_battery(index, batteries[index])
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

# SPDX-License-Identifier: Apache-2.0
"""DroneCAN packs as sources of the service."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dronebms.recording.gauge_tap import OnSnapshot, TappedSource
from dronebms.service.config.battery_config import BatteryConfig

if TYPE_CHECKING:
    from dronebms.dronecan.can_bus import CanBus
    from dronebms.dronecan.can_url import CanUrl


def can_packs_of(
    batteries: Sequence[BatteryConfig],
    bus_of: "Callable[[CanUrl], CanBus]",
    on_snapshot: OnSnapshot,
) -> dict[int, TappedSource]:
    """The DroneCAN packs by the index of their batteries.

    Args:
        batteries: all of a configuration.
        bus_of: the bus of a URL, which is not started yet; may raise ConfigError.
        on_snapshot: receives each snapshot.
    """
    sources: dict[int, TappedSource] = {}
    for index, battery in enumerate(batteries):
        pack = battery.can_pack()
        if pack is not None:
            bus = bus_of(pack.address.bus)
            from dronebms.dronecan.bus_battery import BusBattery  # noqa: PLC0415 - an extra

            source = BusBattery(pack, bus)
            sources[index] = TappedSource(source, index, on_snapshot, bus.is_stuck)
    return sources

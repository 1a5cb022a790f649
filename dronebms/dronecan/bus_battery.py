# SPDX-License-Identifier: Apache-2.0
"""A pack of a CAN bus for the loop; the thread of the bus receives its messages."""

from collections import deque

from dronebms.dronecan.battery_address import CanPack
from dronebms.dronecan.battery_messages import BatteryMessage
from dronebms.dronecan.can_battery import CanBattery
from dronebms.dronecan.can_bus import CanBus
from smartbattery.snapshot import Snapshot

_QUEUED = 2048  # messages that the loop has not taken: some seconds of the most that a bus passes


class BusBattery:
    """A `Source`.

    Args:
        pack: its address and peculiarities.
        bus: not started yet.
    """

    def __init__(self, pack: CanPack, bus: CanBus) -> None:
        self._battery = CanBattery(pack)
        self._bus = bus
        self._received: deque[tuple[BatteryMessage, float]] = deque(maxlen=_QUEUED)
        bus.subscribe(self._put)

    def _put(self, message: BatteryMessage, now_s: float) -> None:
        """Queue a message; in the thread of the bus."""
        self._received.append((message, now_s))

    def poll(self, now_s: float) -> Snapshot:
        """The values that have not expired."""
        while self._received:
            self._battery.receive(*self._received.popleft())
        return self._battery.poll(now_s, self._bus.bus_trouble)

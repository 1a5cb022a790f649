"""Allocates BATTERY_STATUS.id so that each battery has a unique id on a ground station.

Ground stations distinguish batteries by this id alone. ArduPilot numbers its own batteries from 0,
so ours take the next free id; PX4 accepts any id and forwards the battery as 255, so ours is 0.
Source: QGroundControl BatteryFactGroupListModel.cc.
"""

from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.flight_stacks import FlightStack

_LISTEN_S = 1.6  # in which an autopilot sends each of its batteries
_ALONE_S = 1.2  # in which an autopilot sends a heartbeat


class BatteryIdAllocator:
    """Allocates the id of the first battery, and another one if the vehicle uses it too.

    Attributes:
        allocated: `None` before the first allocation.
    """

    def __init__(self) -> None:
        self.allocated: int | None = None
        self._start_s: float | None = None

    def first_id(
        self, stack: FlightStack, autopilot: Autopilot, configured: int, now_s: float
    ) -> int | None:
        """Id of the first battery, `None` until it is known.

        Args:
            stack: row of the flight stack.
            autopilot: its battery ids are taken.
            configured: id of the configuration, negative for none.
            now_s: time of the caller.
        """
        if configured >= 0:
            return configured
        if self._start_s is None:
            self._start_s = now_s
        since_s = autopilot.online_since_s(now_s)
        wait_s = _LISTEN_S if stack.own_battery_ids else 0.0
        if autopilot.kind is None or since_s is None:
            since_s, wait_s = self._start_s, _ALONE_S
        waiting = now_s - since_s < wait_s and not autopilot.battery_ids_complete
        if self.allocated is None and waiting:
            return None
        taken = autopilot.battery_ids if stack.own_battery_ids else set()
        if self.allocated is None or self.allocated in taken:
            self.allocated = max(taken, default=-1) + 1
        return self.allocated

"""Under which BATTERY_STATUS.id ours are told, so that a ground station sees each battery once.

Ground stations tell batteries apart by this id alone. ArduPilot tells its own batteries from 0 up,
so ours take the first id behind them; PX4 takes any and tells it on as 255, so ours is 0.
Seconds of the caller's clock. Source: QGroundControl BatteryFactGroupListModel.cc.
"""

from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.flight_stacks import FlightStack

_LISTEN_S = 1.6  # for batteries that it may have: by then each has been told
_ALONE_S = 1.2  # a vehicle that is there has said its heartbeat


class BatteryIdAllocator:
    """Finds the id of the first battery, and keeps it until the vehicle uses it too."""

    def __init__(self) -> None:
        self.found: int | None = None
        self._start_s: float | None = None

    def of(self, vehicle: FlightStack, autopilot: Autopilot, told: int, now_s: float) -> int | None:
        """Return the id, None while it is not known yet.

        Args:
            vehicle: the row of the flight stack.
            autopilot: tells which ids are taken.
            told: the id that a user wants, negative for none.
            now_s: the caller's time.
        """
        if told >= 0:
            return told
        if self._start_s is None:
            self._start_s = now_s
        since_s, wait_s = autopilot.online_since_s(now_s), _LISTEN_S if vehicle.own_ids else 0.0
        if autopilot.kind is None or since_s is None:
            since_s, wait_s = self._start_s, _ALONE_S
        taken = autopilot.battery_ids if vehicle.own_ids else set()
        if self.found is None and now_s - since_s < wait_s and not autopilot.battery_ids_complete:
            return None
        if self.found is None or self.found in taken:
            self.found = max(taken, default=-1) + 1
        return self.found

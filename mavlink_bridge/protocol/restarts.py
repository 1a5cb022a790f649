"""Restarts of the autopilot in flight: its time since boot goes back, or its status is BOOT.

A pause of the heartbeats alone is also that of a lost link. After one, the first time since boot
decides; without one, the pause counts as a lost link after UNKNOWN_S.
PX4 sends SYSTEM_TIME without a request, ArduPilot GLOBAL_POSITION_INT also without a position.
Source: common.xml, `time_boot_ms` of these two and MAV_STATE.
"""

import math

from pymavlink.dialects.v20 import common as mavlink

_CLOCKS = ("SYSTEM_TIME", "GLOBAL_POSITION_INT")
_LATE_MS = 3000  # of a message that another one has overtaken, also on a slower link
_PAUSE_S = 3.0  # without a heartbeat
UNKNOWN_S = 2.0  # GLOBAL_POSITION_INT is requested twice a second
_SAME_S = 3.0  # in which BOOT and the time since boot show the same restart


class RestartWatch:
    """Counts the restarts in the messages of one autopilot. For one thread.

    Attributes:
        count: restarts so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._boot_ms: dict[str, int] = {}  # last time since boot, by message
        self._heartbeat_s = math.inf
        self._status = mavlink.MAV_STATE_BOOT
        self._resumed_s = -math.inf  # first heartbeat after a pause
        self._counted_s = -math.inf

    def is_open(self, now_s: float) -> bool:
        """Whether a pause has just ended, and the autopilot may have been restarted in it."""
        return now_s - self._resumed_s < UNKNOWN_S

    def receive(self, message: mavlink.MAVLink_message, now_s: float) -> bool:
        """Read a message; return whether it is the first one after a restart."""
        kind = message.get_type()
        if kind == "HEARTBEAT":
            return self._heartbeat(message, now_s)
        if kind not in _CLOCKS or message.time_boot_ms == 0:
            return False
        last_ms, self._boot_ms[kind] = self._boot_ms.get(kind), message.time_boot_ms
        self._resumed_s = -math.inf
        if last_ms is None or message.time_boot_ms >= last_ms - _LATE_MS:
            return False
        self._boot_ms = {kind: message.time_boot_ms}
        return self._restarted(now_s)

    def _heartbeat(self, heartbeat: mavlink.MAVLink_heartbeat_message, now_s: float) -> bool:
        if now_s - self._heartbeat_s > _PAUSE_S:
            self._resumed_s = now_s
        boots = heartbeat.system_status == mavlink.MAV_STATE_BOOT != self._status
        self._heartbeat_s, self._status = now_s, heartbeat.system_status
        if boots:
            self._boot_ms.clear()
        return boots and self._restarted(now_s)

    def _restarted(self, now_s: float) -> bool:
        same, self._counted_s = now_s - self._counted_s < _SAME_S, now_s
        self.count += not same
        self._resumed_s = -math.inf
        return not same

# SPDX-License-Identifier: Apache-2.0
"""Restarts of the autopilot in flight: its time since boot goes back, or its status is BOOT.

A pause of the heartbeats alone is also that of a lost link. After one, the time since boot decides;
without one, the pause counts as a lost link after UNKNOWN_S. BOOT alone is a restart only if
no time since boot was received just before. A time that goes back or far ahead counts with the
second message that goes on from there: one may be forged, or come by a slower way, perhaps twice.
PX4 sends SYSTEM_TIME without a request, ArduPilot GLOBAL_POSITION_INT also without a position.
Source: common.xml, `time_boot_ms` of these two and MAV_STATE.
"""

import math
from dataclasses import dataclass

from pymavlink.dialects.v20 import common as mavlink

_CLOCKS = ("SYSTEM_TIME", "GLOBAL_POSITION_INT")
_LATE_MS = 3000  # of a message that another one has overtaken, also on a slower link
# further ahead: no time, also not of a fast simulation
_AHEAD_MS = 600_000.0
_SPEED_UP = 100.0
_PAUSE_S = 3.0  # without a heartbeat
UNKNOWN_S = 2.0  # GLOBAL_POSITION_INT is requested twice a second
_TIMES = 1 << 32  # of 32 bits
_SAME_S = 3.0  # in which several messages show the same restart


@dataclass(frozen=True, slots=True)
class _BootTime:
    """A time since boot, and when it was received."""

    boot_ms: int
    at_s: float

    def goes_on(self, boot_ms: int, now_s: float) -> bool:
        """Whether a later time is of the same run of the autopilot."""
        most_ms = _AHEAD_MS + 1000.0 * _SPEED_UP * (now_s - self.at_s)
        ahead_ms = (boot_ms - self.boot_ms + _LATE_MS) % _TIMES - _LATE_MS
        return ahead_ms <= most_ms

    def is_followed_by(self, later: "_BootTime") -> bool:
        """Whether another message goes on from this one; a copy of it does not."""
        return later.boot_ms != self.boot_ms and self.goes_on(later.boot_ms, later.at_s)


class RestartWatch:
    """Counts the restarts in the messages of one autopilot. For one thread.

    Attributes:
        count: restarts so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._times: dict[str, _BootTime] = {}  # last time since boot, by message
        self._doubtful: dict[str, _BootTime] = {}  # that does not go on from the last one
        self._heartbeat_s = math.inf
        self._status = mavlink.MAV_STATE_BOOT
        self._resumed_s = -math.inf  # first heartbeat after a pause
        self._counted_s = -math.inf

    def is_open(self, now_s: float) -> bool:
        """Whether the autopilot may just have been restarted."""
        return now_s - self._resumed_s < UNKNOWN_S

    def receive(self, message: mavlink.MAVLink_message, now_s: float) -> bool:
        """Read a message; return whether it is the first one after a restart."""
        kind = message.get_type()
        if kind == "HEARTBEAT":
            return self._heartbeat(message, now_s)
        if kind not in _CLOCKS or message.time_boot_ms == 0:
            return False
        return self._time(kind, message.time_boot_ms, now_s)

    def _time(self, kind: str, boot_ms: int, now_s: float) -> bool:
        last = self._times.get(kind)
        doubtful = self._doubtful.pop(kind, None)
        now = _BootTime(boot_ms, now_s)
        goes_on = last is None or last.goes_on(boot_ms, now_s)
        confirmed = doubtful is not None and doubtful.is_followed_by(now)
        if not goes_on and not confirmed:
            self._doubtful[kind] = now
            self._resumed_s = now_s
            return False
        self._times[kind] = now
        self._resumed_s = -math.inf
        if goes_on or last is None or boot_ms >= last.boot_ms:
            return False
        self._times = {kind: now}
        self._doubtful.clear()
        return self._restarted(now_s)

    def _heartbeat(self, heartbeat: mavlink.MAVLink_heartbeat_message, now_s: float) -> bool:
        if now_s - self._heartbeat_s > _PAUSE_S:
            self._resumed_s = now_s
        boots = heartbeat.system_status == mavlink.MAV_STATE_BOOT != self._status
        self._heartbeat_s = now_s
        self._status = heartbeat.system_status
        if not boots:
            return False
        if any(now_s - last.at_s <= UNKNOWN_S for last in self._times.values()):
            self._resumed_s = now_s  # the next one decides
            return False
        self._times.clear()
        return self._restarted(now_s)

    def _restarted(self, now_s: float) -> bool:
        same = now_s - self._counted_s < _SAME_S
        self._counted_s = now_s
        self.count += not same
        self._resumed_s = -math.inf
        return not same

"""What is asked of a flight controller, and asked again for as long as it is not heard.

A stream that stops is asked for again, so that a flight controller that was restarted, or lost a
message, needs no case of its own. Periods in seconds, times on the reader's clock.
Source: common.xml, MAV_CMD_SET_MESSAGE_INTERVAL 511 and MAV_CMD_REQUEST_MESSAGE 512; ArduPilot
sends a companion nothing but heartbeats and texts until it is asked.
"""

import math

from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.autopilot import AUTOPILOT_COMPONENT, Autopilot
from mavlink_bridge.protocol.flight_stacks import MESSAGE_REQUESTS

_AGAIN_S = 3.0
_BEATS_MISSED = 3.0
_US_PER_S = 1e6
_SET_INTERVAL = mavlink.MAV_CMD_SET_MESSAGE_INTERVAL


class MessageRequester:
    """Remembers what was asked when."""

    def __init__(self) -> None:
        self._asked_s: dict[str, float] = {}

    def due(self, autopilot: Autopilot, now_s: float) -> list[mavlink.MAVLink_command_long_message]:
        """Return what to ask the autopilot now; nothing while it is not heard."""
        since_s = autopilot.online_since_s(now_s)
        if since_s is None:
            return []
        wanted = []
        for ask in MESSAGE_REQUESTS:
            again_s = since_s if ask.period_s is None else now_s - _BEATS_MISSED * ask.period_s
            missing = autopilot.received_s.get(ask.kind, -math.inf) < again_s
            if missing and now_s - self._asked_s.get(ask.kind, -math.inf) >= _AGAIN_S:
                self._asked_s[ask.kind] = now_s
                number, interval_us = mavlink.MAV_CMD_REQUEST_MESSAGE, 0.0
                if ask.period_s is not None:
                    number, interval_us = _SET_INTERVAL, ask.period_s * _US_PER_S
                wanted.append(command(autopilot.system_id, number, ask.message_id, interval_us))
        return wanted


def command(
    system: int, number: int, *values: float, attempt: int = 0
) -> mavlink.MAVLink_command_long_message:
    """Return a command to the autopilot of a system, with its first parameters."""
    padded = [float(value) for value in values] + [0.0] * (7 - len(values))
    return mavlink.MAVLink_command_long_message(
        system, AUTOPILOT_COMPONENT, number, attempt, *padded
    )

"""What is asked of a flight controller, as rows, and asked again for as long as it is not heard.

A stream that stops is asked for again, so that a flight controller that was restarted, or lost a
message, needs no case of its own. Periods in seconds, times on the reader's clock.
Source: common.xml, MAV_CMD_SET_MESSAGE_INTERVAL 511 and MAV_CMD_REQUEST_MESSAGE 512; ArduPilot
sends a companion nothing but heartbeats and texts until it is asked.
"""

from dataclasses import dataclass

from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.autopilot import AUTOPILOT_COMPONENT, Autopilot

_AGAIN_S = 3.0
_BEATS_MISSED = 3.0
_US_PER_S = 1e6


@dataclass(frozen=True, slots=True)
class Ask:
    """A message that is wanted."""

    kind: str
    message_id: int
    period_s: float | None  # None: once, and once more after it was away


ASKS = (
    Ask("AUTOPILOT_VERSION", 148, None),
    Ask("BATTERY_STATUS", 147, 1.0),  # which ids are taken
    Ask("GLOBAL_POSITION_INT", 33, 0.5),
    Ask("HOME_POSITION", 242, None),
)


class Asker:
    """Remembers what was asked when."""

    def __init__(self) -> None:
        self._asked_s: dict[str, float] = {}

    def due(self, autopilot: Autopilot, now_s: float) -> list[mavlink.MAVLink_command_long_message]:
        """Return what to ask the autopilot now; nothing while it is not heard."""
        since_s = autopilot.heard_since_s(now_s)
        if since_s is None:
            return []
        wanted = []
        for ask in ASKS:
            heard_s = autopilot.heard_s.get(ask.kind)
            oldest_s = since_s if ask.period_s is None else now_s - _BEATS_MISSED * ask.period_s
            asked_s = self._asked_s.get(ask.kind)
            if heard_s is not None and heard_s >= oldest_s:
                continue
            if asked_s is None or now_s - asked_s >= _AGAIN_S:
                self._asked_s[ask.kind] = now_s
                wanted.append(_command(ask, autopilot.system_id))
        return wanted


def _command(ask: Ask, system: int) -> mavlink.MAVLink_command_long_message:
    if ask.period_s is None:
        return command(system, mavlink.MAV_CMD_REQUEST_MESSAGE, ask.message_id)
    interval_us = ask.period_s * _US_PER_S
    return command(system, mavlink.MAV_CMD_SET_MESSAGE_INTERVAL, ask.message_id, interval_us)


def command(
    system: int, number: int, *values: float, attempt: int = 0
) -> mavlink.MAVLink_command_long_message:
    """Return a command to the autopilot of a system, with its first parameters."""
    padded = [float(value) for value in values] + [0.0] * (7 - len(values))
    return mavlink.MAVLink_command_long_message(
        system, AUTOPILOT_COMPONENT, number, attempt, *padded
    )

# SPDX-License-Identifier: Apache-2.0
"""Requests for messages, repeated while a message does not arrive.

Repetition also covers a restart of the flight controller and lost commands.
Source: common.xml, MAV_CMD_SET_MESSAGE_INTERVAL 511 and MAV_CMD_REQUEST_MESSAGE 512; without a
request ArduPilot sends a companion computer only heartbeats and texts.
"""

import math
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.autopilot import (
    AUTOPILOT_COMPONENT,
    ONCE_S,
    RECEIVED_MESSAGES,
    Autopilot,
)
from mavlink_bridge.protocol.second_autopilot import WINDOW_S

_RETRY_S = 3.0
_SELDOM_S = 60.0  # after `tries_max` requests, which may have been lost
_PERIODS_MISSED = 3.0
_SILENT_S = 1.4  # without a heartbeat: a restart has begun, in which a request would be lost
# Periods of what an autopilot identifies itself by: some 30 bytes a second, with the answers 80.
_IDENTITIES_S: Mapping[int, float] = MappingProxyType(
    {
        mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT: 2.0,
        mavlink.MAVLINK_MSG_ID_AUTOPILOT_VERSION: 6.0,
    }
)
_IDENTIFY_SOON_S = 0.5  # with a sign of a second autopilot
_US_PER_S = 1e6
_SET_INTERVAL = mavlink.MAV_CMD_SET_MESSAGE_INTERVAL
_REQUEST = mavlink.MAV_CMD_REQUEST_MESSAGE


class MessageRequester:
    """Requests the messages of `RECEIVED_MESSAGES`."""

    def __init__(self) -> None:
        self._requested_s: dict[str, float] = {}
        self._tries: Counter[str] = Counter()  # since the last message of that name
        self._runs = 0
        self._again: set[str] = set()  # intervals that a restart has ended

    def due(self, autopilot: Autopilot, now_s: float) -> list[mavlink.MAVLink_command_long_message]:
        """Commands to send now; none while the autopilot sends no heartbeat."""
        since_s = autopilot.online_since_s(now_s)
        heartbeat_s = autopilot.received_s.get("HEARTBEAT", -math.inf)
        if since_s is None or now_s - heartbeat_s > _SILENT_S:
            return []
        if autopilot.runs != self._runs:
            self._runs = autopilot.runs
            self._requested_s.clear()
            self._tries.clear()
            self._again = {row.name for row in RECEIVED_MESSAGES if row.request_period_s != ONCE_S}
        system = autopilot.system_id
        commands = []
        for row in RECEIVED_MESSAGES:
            period_s = row.request_period_s
            if period_s is None:
                continue
            oldest_s = since_s if period_s == ONCE_S else now_s - _PERIODS_MISSED * period_s
            came = autopilot.received_s.get(row.name, -math.inf) >= oldest_s
            if came and row.name not in self._again:
                del self._tries[row.name]
                continue
            pause_s = _RETRY_S if self._tries[row.name] < row.tries_max else _SELDOM_S
            if now_s - self._requested_s.get(row.name, -math.inf) < pause_s:
                continue
            self._tries[row.name] += 1
            self._requested_s[row.name] = now_s
            self._again.discard(row.name)
            if period_s == ONCE_S:
                commands.append(command(system, _REQUEST, row.message_id))
            else:
                interval_us = period_s * _US_PER_S
                commands.append(command(system, _SET_INTERVAL, row.message_id, interval_us))
        return commands


class IdentityRequester:
    """Lets each autopilot that a command reaches identify itself, one that sends nothing else too.

    By its place and time since boot, and by the unique id of its board (`second_autopilot.py`).
    Each one is requested alone, so that no rate of a stream changes.
    """

    def __init__(self) -> None:
        self._requested_s: dict[int, float] = {}

    def due(self, autopilot: Autopilot, now_s: float) -> list[mavlink.MAVLink_command_long_message]:
        """Commands to send now; none while the autopilot sends no heartbeat."""
        since_s = autopilot.online_since_s(now_s)
        if since_s is None:
            return []
        suspected = now_s - autopilot.second.last_sign_s <= WINDOW_S
        commands = []
        for message_id, period_s in _IDENTITIES_S.items():
            pause_s = _IDENTIFY_SOON_S if suspected else period_s
            if now_s - max(self._requested_s.get(message_id, since_s), since_s) >= pause_s:
                self._requested_s[message_id] = now_s
                commands.append(command(autopilot.system_id, _REQUEST, message_id))
        return commands


def command(
    system: int, number: int, *values: float, attempt: int = 0
) -> mavlink.MAVLink_command_long_message:
    """COMMAND_LONG to the autopilot of a system; parameters that are not given are 0."""
    padded = [float(value) for value in values] + [0.0] * (7 - len(values))
    return mavlink.MAVLink_command_long_message(
        system, AUTOPILOT_COMPONENT, number, attempt, *padded
    )


def result_label(result: int) -> str:
    """MAV_RESULT for people."""
    found = mavlink.enums["MAV_RESULT"].get(result)
    if found is None:
        return f"result {result}"
    return str(found.name).removeprefix("MAV_RESULT_").lower().replace("_", " ")

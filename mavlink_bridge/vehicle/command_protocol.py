"""What a battery answers when it is asked: commands, its few settings, pings.

Whoever calls has made sure that the message is addressed to this battery and comes from a system
that may ask. Intervals are microseconds on the wire. What is wrong is refused, never raised.
Source: mavlink.io, the command, parameter and ping protocols.
"""

import math

from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.flight_stacks import SETTINGS, Setting
from mavlink_bridge.protocol.schedule import MessageSchedule

REQUESTS = ("COMMAND_LONG", "COMMAND_INT", "PARAM_REQUEST_LIST", "PARAM_REQUEST_READ", "PARAM_SET")
_US_PER_S = 1e6
_DEFAULT_US, _OFF_US = 0, -1


_FASTEST_S = 0.1
_LATER = mavlink.MAV_RESULT_TEMPORARILY_REJECTED
# What a flight controller lives on may be had faster, but neither off nor slower than it bears.
_SLOWEST_S = {
    mavlink.MAVLINK_MSG_ID_HEARTBEAT: 1.0,
    mavlink.MAVLINK_MSG_ID_BATTERY_STATUS: 1.0,
    mavlink.MAVLINK_MSG_ID_SMART_BATTERY_INFO: math.inf,
}


class CommandServer:
    """The settings of a service, and what its batteries answer."""

    def __init__(self, **values: float) -> None:
        """Take the value of every setting, by its name."""
        self.values = values

    def to(
        self, message: mavlink.MAVLink_message, streams: MessageSchedule, withheld: str | None
    ) -> list[mavlink.MAVLink_message]:
        """Return the answers of the battery with these streams.

        Args:
            message: one of REQUESTS.
            streams: which a command may change.
            withheld: why this battery is not told now, None when it is.
        """
        kind = message.get_type()
        if kind.startswith("COMMAND"):
            return self._command(message, streams, withheld)
        rows = list(enumerate(SETTINGS))
        if kind == "PARAM_REQUEST_READ" and 0 <= message.param_index < len(SETTINGS):
            rows = [rows[message.param_index]]
        elif kind != "PARAM_REQUEST_LIST":
            rows = [(place, row) for place, row in rows if row.name == message.param_id]
        if kind == "PARAM_SET":
            for _, row in rows:
                self._set(row, message.param_value, streams)
        return [self._value(place, row) for place, row in rows]

    def _set(self, row: Setting, value: float, streams: MessageSchedule) -> None:
        if not row.least <= value <= row.most:
            return  # the answer shows the value that is kept
        self.values[row.name] = value if row.name == "BMS_RATE_HZ" else round(value)
        if row.name == "BMS_RATE_HZ":
            streams.every(mavlink.MAVLINK_MSG_ID_BATTERY_STATUS, 1.0 / value)

    def _value(self, place: int, row: Setting) -> mavlink.MAVLink_param_value_message:
        return mavlink.MAVLink_param_value_message(
            row.name.encode(),
            self.values[row.name],
            mavlink.MAV_PARAM_TYPE_REAL32,
            len(SETTINGS),
            place,
        )

    def _command(
        self, message: mavlink.MAVLink_message, streams: MessageSchedule, withheld: str | None
    ) -> list[mavlink.MAVLink_message]:
        number = int(message.param1) if math.isfinite(message.param1) else -1
        answers: list[mavlink.MAVLink_message] = []
        result = mavlink.MAV_RESULT_UNSUPPORTED
        if message.command == mavlink.MAV_CMD_SET_MESSAGE_INTERVAL:
            result = self._interval(streams, number, message.param2)
        elif message.command == mavlink.MAV_CMD_GET_MESSAGE_INTERVAL:
            period_s = streams.periods_s.get(number, 0.0)
            interval_us = _OFF_US if period_s is None else round(period_s * _US_PER_S)
            answers.append(mavlink.MAVLink_message_interval_message(number & 0xFFFF, interval_us))
            result = mavlink.MAV_RESULT_ACCEPTED
        elif message.command == mavlink.MAV_CMD_REQUEST_MESSAGE and number in streams.periods_s:
            late = withheld is not None and number != mavlink.MAVLINK_MSG_ID_HEARTBEAT
            streams.ask(number)
            result = _LATER if late else mavlink.MAV_RESULT_ACCEPTED
        return [acknowledgement(message, result), *answers]

    def _interval(self, streams: MessageSchedule, number: int, interval_us: float) -> int:
        if number not in streams.periods_s:
            return int(mavlink.MAV_RESULT_UNSUPPORTED)
        slowest_s = _SLOWEST_S[number]
        if interval_us == _DEFAULT_US:
            streams.every(number, self.default_periods_s()[number])
        elif interval_us == _OFF_US and slowest_s == math.inf:
            streams.every(number, None)
        elif _FASTEST_S <= interval_us / _US_PER_S <= slowest_s and math.isfinite(interval_us):
            streams.every(number, interval_us / _US_PER_S)
        else:
            return int(mavlink.MAV_RESULT_DENIED)
        return int(mavlink.MAV_RESULT_ACCEPTED)

    def default_periods_s(self) -> dict[int, float | None]:
        """Return how often each message goes out when nobody has asked for anything else."""
        return {
            mavlink.MAVLINK_MSG_ID_HEARTBEAT: 1.0,
            mavlink.MAVLINK_MSG_ID_BATTERY_STATUS: 1.0 / self.values["BMS_RATE_HZ"],
            mavlink.MAVLINK_MSG_ID_SMART_BATTERY_INFO: 10.0,
        }


def acknowledgement(
    message: mavlink.MAVLink_message, result: int, *, progress: int = 0
) -> mavlink.MAVLink_command_ack_message:
    """Return the answer to a command, for its sender."""
    return mavlink.MAVLink_command_ack_message(
        message.command, result, progress, 0, message.get_srcSystem(), message.get_srcComponent()
    )


def pong(message: mavlink.MAVLink_ping_message) -> mavlink.MAVLink_ping_message:
    """Return the answer to a ping, for its sender."""
    return mavlink.MAVLink_ping_message(
        message.time_usec, message.seq, message.get_srcSystem(), message.get_srcComponent()
    )

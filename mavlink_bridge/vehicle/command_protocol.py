# SPDX-License-Identifier: Apache-2.0
"""Server of the command, parameter and ping protocols of the components of this service.

The caller has checked that a message is addressed to a component of this service and comes from an
accepted system. A setting has one value, which every component answers. Intervals are microseconds
on the wire. Invalid requests are denied; nothing is raised.
Source: mavlink.io, the command, parameter and ping protocols.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.battery_info_message import MESSAGE_ID as BATTERY_INFO_ID
from mavlink_bridge.protocol.schedule import MessageSchedule

REQUESTS = ("COMMAND_LONG", "COMMAND_INT", "PARAM_REQUEST_LIST", "PARAM_REQUEST_READ", "PARAM_SET")
AUTO_ID = -1  # first free BATTERY_STATUS.id
_US_PER_S = 1e6
_DEFAULT_US = 0
_OFF_US = -1
_FASTEST_S = 0.1
_STATUS = mavlink.MAVLINK_MSG_ID_BATTERY_STATUS
# The flight controller depends on the first two: they may be faster, but neither off nor slower.
_SLOWEST_S = {
    mavlink.MAVLINK_MSG_ID_HEARTBEAT: 1.0,
    mavlink.MAVLINK_MSG_ID_BATTERY_STATUS: 1.0,
    mavlink.MAVLINK_MSG_ID_SMART_BATTERY_INFO: math.inf,
    BATTERY_INFO_ID: math.inf,
}


@dataclass(slots=True)
class Settings:
    """Settings of a bridge that a ground station may change until the service is restarted."""

    rate_hz: float = 2.0  # of BATTERY_STATUS
    first_battery_id: int = AUTO_ID
    acting_enabled: bool = True  # False: no command to the vehicle, and its limits are restored
    ids_are_fixed: bool = False  # by the configuration of each battery


@dataclass(frozen=True, slots=True)
class SettingParameter:
    """MAVLink parameter of one setting."""

    name: str
    field: str  # of Settings
    kind: type[float] | type[int] | type[bool]
    least: float
    most: float


SETTINGS = (
    SettingParameter("BMS_RATE_HZ", "rate_hz", float, 1.0, 10.0),
    SettingParameter("BMS_ID", "first_battery_id", int, -1.0, 250.0),
    SettingParameter("BMS_ACT", "acting_enabled", bool, 0.0, 1.0),
)


def changes_setting(message: mavlink.MAVLink_message) -> bool:
    """Whether a request changes a setting or a message interval if it is carried out."""
    kind = message.get_type()
    if kind.startswith("COMMAND"):
        return bool(message.command == mavlink.MAV_CMD_SET_MESSAGE_INTERVAL)
    return bool(kind == "PARAM_SET")


class CommandServer:
    """Answers requests to the components of one service.

    Attributes:
        schedules: of each component: one for each battery that speaks as it.
    """

    def __init__(self, settings: Settings) -> None:
        self.schedules: dict[int, list[MessageSchedule]] = {}
        self._settings = settings

    def answer(
        self,
        message: mavlink.MAVLink_message,
        component: int,
        withheld: str | None,
        *,
        refused: bool,
    ) -> list[mavlink.MAVLink_message]:
        """Answers of a component.

        Args:
            message: one of REQUESTS.
            component: that it is addressed to, one of `schedules`; a command may change its own.
            withheld: reason why BATTERY_STATUS of this component is not sent now, else `None`.
            refused: settings stay as they are: the answer has the present value, or denies.
        """
        kind = message.get_type()
        if kind.startswith("COMMAND"):
            if refused and changes_setting(message):
                return [acknowledgement(message, mavlink.MAV_RESULT_DENIED)]
            return self._command(message, self.schedules[component], withheld)
        rows = list(enumerate(SETTINGS))
        if kind == "PARAM_REQUEST_READ" and 0 <= message.param_index < len(SETTINGS):
            rows = [rows[message.param_index]]
        elif kind != "PARAM_REQUEST_LIST":
            rows = [(index, row) for index, row in rows if row.name == message.param_id]
        if kind == "PARAM_SET" and not refused:
            for _, row in rows:
                self._set(row, message.param_value)
        return [self._value(index, row) for index, row in rows]

    def _set(self, row: SettingParameter, value: float) -> None:
        # The answer contains the unchanged value. A fraction is no whole number: 0.49 does not turn
        # the actions off, nor does a 1 whose bits a ground station sends as an integer.
        if not row.least <= value <= row.most or (row.kind is not float and value % 1.0):
            return
        if row.field == "first_battery_id" and self._settings.ids_are_fixed:
            return
        setattr(self._settings, row.field, row.kind(value))
        if row.field != "rate_hz":
            return
        for schedule in (one for some in self.schedules.values() for one in some):
            if _STATUS in schedule.periods_s:
                schedule.set_period(_STATUS, 1.0 / value)

    def _value(self, index: int, row: SettingParameter) -> mavlink.MAVLink_param_value_message:
        return mavlink.MAVLink_param_value_message(
            row.name.encode(),
            float(getattr(self._settings, row.field)),
            mavlink.MAV_PARAM_TYPE_REAL32,
            len(SETTINGS),
            index,
        )

    def _command(
        self,
        message: mavlink.MAVLink_message,
        schedules: Sequence[MessageSchedule],
        withheld: str | None,
    ) -> list[mavlink.MAVLink_message]:
        message_id = int(message.param1) if math.isfinite(message.param1) else -1
        periods_s = schedules[0].periods_s  # those of one component have the same periods
        answers: list[mavlink.MAVLink_message] = []
        result = mavlink.MAV_RESULT_UNSUPPORTED
        if message.command == mavlink.MAV_CMD_SET_MESSAGE_INTERVAL:
            result = self._set_interval(schedules, message_id, message.param2)
        elif message.command == mavlink.MAV_CMD_GET_MESSAGE_INTERVAL:
            period_s = periods_s.get(message_id, 0.0)
            interval_us = _OFF_US if period_s is None else round(period_s * _US_PER_S)
            answers.append(
                mavlink.MAVLink_message_interval_message(message_id & 0xFFFF, interval_us)
            )
            result = mavlink.MAV_RESULT_ACCEPTED
        elif message.command == mavlink.MAV_CMD_REQUEST_MESSAGE and message_id in periods_s:
            for schedule in schedules:
                schedule.send_now(message_id)
            result = mavlink.MAV_RESULT_ACCEPTED
            if withheld is not None and message_id != mavlink.MAVLINK_MSG_ID_HEARTBEAT:
                result = mavlink.MAV_RESULT_TEMPORARILY_REJECTED
        return [acknowledgement(message, result), *answers]

    def _set_interval(
        self, schedules: Sequence[MessageSchedule], message_id: int, interval_us: float
    ) -> int:
        if message_id not in schedules[0].periods_s:
            return int(mavlink.MAV_RESULT_UNSUPPORTED)
        slowest_s = _SLOWEST_S[message_id]
        period_s: float | None = interval_us / _US_PER_S
        if interval_us == _DEFAULT_US:
            period_s = self.default_periods_s()[message_id]
        elif interval_us == _OFF_US and slowest_s == math.inf:
            period_s = None
        elif not (
            math.isfinite(interval_us) and _FASTEST_S <= interval_us / _US_PER_S <= slowest_s
        ):
            return int(mavlink.MAV_RESULT_DENIED)
        for schedule in schedules:
            schedule.set_period(message_id, period_s)
        return int(mavlink.MAV_RESULT_ACCEPTED)

    def default_periods_s(self) -> dict[int, float | None]:
        """Periods of the messages unless a command changes them; `None` only on request."""
        return {
            mavlink.MAVLINK_MSG_ID_HEARTBEAT: 1.0,
            mavlink.MAVLINK_MSG_ID_BATTERY_STATUS: 1.0 / self._settings.rate_hz,
            mavlink.MAVLINK_MSG_ID_SMART_BATTERY_INFO: 10.0,
            BATTERY_INFO_ID: None,
        }


def acknowledgement(
    message: mavlink.MAVLink_message, result: int, *, progress: int = 0
) -> mavlink.MAVLink_command_ack_message:
    """COMMAND_ACK to the sender of a command."""
    return mavlink.MAVLink_command_ack_message(
        message.command, result, progress, 0, message.get_srcSystem(), message.get_srcComponent()
    )


def pong(message: mavlink.MAVLink_ping_message) -> mavlink.MAVLink_ping_message:
    """Answer to the sender of a PING."""
    return mavlink.MAVLink_ping_message(
        message.time_usec, message.seq, message.get_srcSystem(), message.get_srcComponent()
    )

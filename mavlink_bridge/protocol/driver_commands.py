# SPDX-License-Identifier: Apache-2.0
"""What the service and the Lua driver on ArduPilot send each other.

COMMAND_LONG with MAV_CMD_USER_5, addressed to the autopilot: ArduPilot does not forward an
addressed message, so that no ground station receives these values. The driver blocks the command
for ArduPilot and acknowledges it with its version; ArduPilot without the driver answers
"unsupported". Drivers of version 1 read NAMED_VALUE_FLOAT of the first battery instead, which is
broadcast; they are served until they are replaced.
Source: ArduPilot GCS_Common.cpp `handle_command_long`, MAVLink_routing.cpp `check_and_forward`;
common.xml, MAV_CMD_USER_5 31014.
"""

import logging
import math
from collections.abc import Mapping
from types import MappingProxyType

from pymavlink.dialects.v20 import common as mavlink

VERSION = 2  # of the driver that is shipped, and of these commands
DRIVER_COMMAND = mavlink.MAV_CMD_USER_5
NO_GO_PREFIX = "no go: "  # of a STATUSTEXT of the service that the driver reads
# param2: meaning of the others
_VERDICT = 1
_LIMIT = 2
_AUTOPILOT = mavlink.MAV_COMP_ID_AUTOPILOT1
_MAX_AGE_S = 3.0  # of an acknowledgement
# version 1
_NAMED_DRIVER = "BMS_LUA"
_NAMED_LIMIT = "BMS_AMAX"
_NAMED_NO_GO = "BMS_NOGO"
_WARNINGS: Mapping[int, str] = MappingProxyType(
    {  # result_param2, bits
        1: "the driver receives our components on another link too",
        2: "the driver receives frames of a second sender of our components",
    }
)
_log = logging.getLogger(__name__)


class LuaDriver:
    """The driver on the followed autopilot. For one thread.

    Attributes:
        version: of the driver as last received; `None` before.
        warnings: bits of `_WARNINGS` that it reports.
    """

    def __init__(self) -> None:
        self.version: int | None = None
        self.warnings = 0
        self._answered_s = -math.inf

    def is_present(self, now_s: float) -> bool:
        """Whether it has answered within 3 s."""
        return now_s - self._answered_s <= _MAX_AGE_S

    def receive(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        """Read a message of the autopilot; others than the driver's are ignored."""
        kind = message.get_type()
        if kind == "NAMED_VALUE_FLOAT" and message.name == _NAMED_DRIVER:
            self._answered(1, 0, now_s)
        elif kind == "COMMAND_ACK" and message.command == DRIVER_COMMAND and message.progress:
            self._answered(message.progress, message.result_param2, now_s)

    def verdict(
        self, system: int, *, no_go: bool, batteries: int, first_id: int
    ) -> mavlink.MAVLink_message:
        """Message with the arming verdict.

        Args:
            system: of the autopilot.
            no_go: whether arming is refused.
            batteries: number of batteries that the service reports; -1 if monitors of the vehicle
                measure all of them.
            first_id: BATTERY_STATUS.id of the first one; -1 while it is unknown.
        """
        if self.version == 1:
            return _named(_NAMED_NO_GO, float(no_go))
        return _command(system, _VERDICT, float(no_go), batteries, first_id)

    def limit(self, system: int, max_a: float) -> mavlink.MAVLink_message:
        """Message that limits the current of the vehicle for 3 s; 0 ends the limit."""
        if self.version == 1:
            return _named(_NAMED_LIMIT, max_a)
        return _command(system, _LIMIT, max_a)

    def _answered(self, version: int, warnings: int, now_s: float) -> None:
        self._answered_s = now_s
        if version != self.version:
            self.version = version
            if version == VERSION:
                _log.info("Lua driver %d on the autopilot", version)
            else:
                _log.warning(
                    "Lua driver %d on the autopilot, %d needed: dronebms ardupilot-script",
                    *(version, VERSION),
                )
        for bit, text in _WARNINGS.items():
            if warnings & bit and not self.warnings & bit:
                _log.warning("%s", text)
        self.warnings = warnings


def is_for_version_1(message: mavlink.MAVLink_message) -> bool:
    """Whether a message is one of those that version 1 accepts from the first battery alone."""
    return bool(message.get_type() == "NAMED_VALUE_FLOAT")


def _command(system: int, meaning: int, *values: float) -> mavlink.MAVLink_message:
    padded = [float(value) for value in values] + [0.0] * (5 - len(values))
    return mavlink.MAVLink_command_long_message(
        system, _AUTOPILOT, DRIVER_COMMAND, 0, float(VERSION), float(meaning), *padded
    )


def _named(name: str, value: float) -> mavlink.MAVLink_message:
    return mavlink.MAVLink_named_value_float_message(0, name.encode(), value)

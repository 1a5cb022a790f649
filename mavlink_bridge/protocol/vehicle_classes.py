# SPDX-License-Identifier: Apache-2.0
"""Classes of vehicles: the commands that return or land each of them, or why there is none.

Commands of one action stand in the order of preference: the next one is used when the autopilot
refuses one. ArduPlane acknowledges NAV_RETURN_TO_LAUNCH as accepted even if its mode does not
change; the answer to DO_SET_MODE is the result.
Source: GCS_MAVLink_{Copter,Plane,Rover,Sub}.cpp and GCS_Common.cpp `_set_mode_common` of ArduPilot
4.7 (the same commands since 4.0); PX4 Commander.cpp `handle_command` (since 1.8).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import ActionKind
from mavlink_bridge.protocol.flight_modes import (
    AIRSHIP_TYPE,
    COPTER_TYPES,
    FIXED_WING_TYPE,
    ROVER_TYPES,
    SUBMARINE_TYPE,
    VTOL_TYPES,
    firmware_of,
)
from mavlink_bridge.protocol.flight_stacks import ARDUPILOT_ID, PX4_ID

_CUSTOM_MODE = 1.0  # MAV_MODE_FLAG_CUSTOM_MODE_ENABLED
_PX4_HOLD = (4.0, 3.0)  # main mode, sub mode


@dataclass(frozen=True, slots=True)
class ModeCommand:
    """A command that changes the mode."""

    number: int  # MAV_CMD
    modes: tuple[str, ...]  # in which the vehicle complies
    values: tuple[float, ...] = ()


def _set_mode(number: int, *modes: str) -> ModeCommand:
    """DO_SET_MODE of ArduPilot."""
    return ModeCommand(mavlink.MAV_CMD_DO_SET_MODE, modes, (_CUSTOM_MODE, float(number)))


_RETURN = ModeCommand(mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH, ("RTL",))
_LAND = ModeCommand(mavlink.MAV_CMD_NAV_LAND, ("LAND",))
_PLANE_RTL = _set_mode(11, "RTL", "QRTL", "QLAND")  # Q_RTL_MODE
_LANDING_SEQUENCE = ModeCommand(mavlink.MAV_CMD_DO_LAND_START, ("AUTO",))
_AUTOLAND = _set_mode(26, "AUTOLAND")  # since 4.7, where the direction of the take-off is known
_PLANE_LANDS = (_LANDING_SEQUENCE, _AUTOLAND, _PLANE_RTL)
_STOP = _set_mode(4, "HOLD")
_SURFACE = _set_mode(9, "SURFACE")
_BLIMP_RTL = _set_mode(4, "RTL")
_HOLD = ModeCommand(mavlink.MAV_CMD_DO_SET_MODE, ("LOITER",), (_CUSTOM_MODE, *_PX4_HOLD))


@dataclass(frozen=True, slots=True)
class VehicleClass:
    """One class of vehicles."""

    name: str
    autopilot: int  # HEARTBEAT.autopilot
    types: tuple[int, ...]  # HEARTBEAT.type; empty: any other
    returns: tuple[ModeCommand, ...]
    lands: tuple[ModeCommand, ...]
    reduces: bool = False  # parameters or a command limit its current or its speed

    @property
    def firmware(self) -> str | None:
        """Key of the table of flight modes."""
        return firmware_of(self.autopilot, self.types[0] if self.types else None)

    def commands(self, do: ActionKind) -> tuple[ModeCommand, ...]:
        """Commands for RETURN or LAND, empty if the vehicle has none."""
        return self.returns if do is ActionKind.RETURN else self.lands


QUADPLANE = VehicleClass(
    "QuadPlane", ARDUPILOT_ID, VTOL_TYPES, (_PLANE_RTL,),
    (_set_mode(20, "QLAND"), _LANDING_SEQUENCE, _PLANE_RTL), reduces=True,
)  # fmt: skip
# fmt: off
VEHICLE_CLASSES = (
    VehicleClass("ArduCopter", ARDUPILOT_ID, COPTER_TYPES, (_RETURN,), (_LAND,), reduces=True),
    VehicleClass("ArduPlane", ARDUPILOT_ID, (FIXED_WING_TYPE,), (_PLANE_RTL,), _PLANE_LANDS),
    QUADPLANE,
    VehicleClass("ArduRover", ARDUPILOT_ID, ROVER_TYPES, (_RETURN,), (_STOP,), reduces=True),
    VehicleClass("ArduSub", ARDUPILOT_ID, (SUBMARINE_TYPE,), (), (_SURFACE,), reduces=True),
    VehicleClass("Blimp", ARDUPILOT_ID, (AIRSHIP_TYPE,), (_BLIMP_RTL,), (_set_mode(0, "LAND"),)),
    VehicleClass("PX4 multirotor", PX4_ID, COPTER_TYPES, (_RETURN,), (_LAND,), reduces=True),
    VehicleClass("PX4 fixed wing", PX4_ID, (FIXED_WING_TYPE,), (_RETURN,), (_LAND,)),
    VehicleClass("PX4 VTOL", PX4_ID, VTOL_TYPES, (_RETURN,), (_LAND,), reduces=True),
    VehicleClass("PX4 rover", PX4_ID, ROVER_TYPES, (_RETURN,), (_HOLD,), reduces=True),
    VehicleClass("PX4 vehicle", PX4_ID, (), (), ()),
)
# fmt: on
_BY_NAME: Mapping[str, VehicleClass] = MappingProxyType({row.name: row for row in VEHICLE_CLASSES})
_QUADPLANE_MODES = ("QSTABILIZE", "QHOVER", "QLOITER", "QLAND", "QRTL", "QAUTOTUNE", "QACRO")


def vehicle_class(
    autopilot: int | None,
    vehicle_type: int | None,
    *,
    mode: str | None = None,
    q_enable: float | None = None,
) -> VehicleClass | None:
    """Class of a HEARTBEAT, `None` if no action is possible.

    Args:
        autopilot: HEARTBEAT.autopilot.
        vehicle_type: HEARTBEAT.type; a quadplane sends a fixed wing's unless Q_MAV_TYPE is set.
        mode: flight mode; only quadplanes have some.
        q_enable: the parameter of ArduPlane, `None` if not known.
    """
    for row in VEHICLE_CLASSES:
        if row.autopilot == autopilot and (vehicle_type in row.types or not row.types):
            quadplane = row.name == "ArduPlane" and (bool(q_enable) or mode in _QUADPLANE_MODES)
            return QUADPLANE if quadplane else row
    return None


def class_named(name: str | None) -> VehicleClass | None:
    """Class of a name, `None` for an unknown one."""
    return _BY_NAME.get(name or "")


def impossible_actions(autopilot: int | None, vehicle_type: int | None) -> dict[ActionKind, str]:
    """Actions that cannot be carried out on a vehicle, each with a reason of <= 50 bytes."""
    row = vehicle_class(autopilot, vehicle_type)
    if row is None:
        reason = f"no action on autopilot {autopilot}, type {vehicle_type}"
        return dict.fromkeys((ActionKind.REDUCE, ActionKind.RETURN, ActionKind.LAND), reason)
    found = {do: row.commands(do) for do in (ActionKind.RETURN, ActionKind.LAND)}
    missing = [do for do, commands in found.items() if not commands]
    if not row.reduces:
        missing.append(ActionKind.REDUCE)
    return {do: f"{row.name} has no {do.label}" for do in sorted(missing)}

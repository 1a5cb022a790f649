"""Flight modes of ArduCopter and PX4: name, urgency and use of each.

Source: ardupilotmega.xml (COPTER_MODE), GCS_MAVLink_Copter.cpp, PX4 px4_custom_mode.h.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dronebms.core.report import ActionKind
from mavlink_bridge.protocol.flight_stacks import ARDUPILOT_ID, PX4_ID

_COPTER_TYPES = (2, 3, 4, 13, 14, 15, 29, 35)  # MAV_TYPE in the HEARTBEAT of ArduCopter
_STATE_CRITICAL = 5  # MAV_STATE
_PX4_AUTO = 4  # main mode with sub modes


@dataclass(frozen=True, slots=True)
class FlightMode:
    """One mode of a flight stack."""

    number: int  # of HEARTBEAT.custom_mode
    name: str
    action: ActionKind = ActionKind.REPORT  # what the vehicle does by itself in this mode
    by_failsafe: bool = False  # ArduCopter's failsafes choose it
    takes_speed: bool = False  # DO_CHANGE_SPEED has an effect


_COPTER_MODES = (
    FlightMode(0, "STABILIZE"),
    FlightMode(1, "ACRO"),
    FlightMode(2, "ALT_HOLD"),
    FlightMode(3, "AUTO", takes_speed=True),
    FlightMode(4, "GUIDED", takes_speed=True),
    FlightMode(5, "LOITER"),
    FlightMode(6, "RTL", ActionKind.RETURN, by_failsafe=True),
    FlightMode(7, "CIRCLE"),
    FlightMode(9, "LAND", ActionKind.LAND, by_failsafe=True),
    FlightMode(11, "DRIFT"),
    FlightMode(13, "SPORT"),
    FlightMode(14, "FLIP"),
    FlightMode(15, "AUTOTUNE"),
    FlightMode(16, "POSHOLD"),
    FlightMode(17, "BRAKE", by_failsafe=True),
    FlightMode(18, "THROW"),
    FlightMode(19, "AVOID_ADSB"),
    FlightMode(20, "GUIDED_NOGPS"),
    FlightMode(21, "SMART_RTL", ActionKind.RETURN, by_failsafe=True),
    FlightMode(22, "FLOWHOLD"),
    FlightMode(23, "FOLLOW"),
    FlightMode(24, "ZIGZAG"),
    FlightMode(25, "SYSTEMID"),
    FlightMode(26, "AUTOROTATE"),
    FlightMode(27, "AUTO_RTL", ActionKind.RETURN, by_failsafe=True),
    FlightMode(28, "TURTLE"),
)
_PX4_MAIN_MODES = (
    FlightMode(1, "MANUAL"),
    FlightMode(2, "ALTCTL"),
    FlightMode(3, "POSCTL"),
    FlightMode(5, "ACRO"),
    FlightMode(6, "OFFBOARD"),
    FlightMode(7, "STABILIZED"),
    FlightMode(10, "TERMINATION"),
)
_PX4_AUTO_MODES = (
    FlightMode(1, "READY"),
    FlightMode(2, "TAKEOFF"),
    FlightMode(3, "LOITER"),
    FlightMode(4, "MISSION"),
    FlightMode(5, "RTL", ActionKind.RETURN),
    FlightMode(6, "LAND", ActionKind.LAND),
    FlightMode(8, "FOLLOW_TARGET"),
    FlightMode(9, "PRECLAND", ActionKind.LAND),
    FlightMode(10, "VTOL_TAKEOFF"),
)


def _by_number(rows: tuple[FlightMode, ...]) -> Mapping[int, FlightMode]:
    return MappingProxyType({row.number: row for row in rows})


_COPTER = _by_number(_COPTER_MODES)
_PX4_MAIN = _by_number(_PX4_MAIN_MODES)
_PX4_SUB = _by_number(_PX4_AUTO_MODES)
_ACTIONS: Mapping[str, ActionKind] = MappingProxyType(
    {row.name: row.action for row in (*_PX4_MAIN_MODES, *_PX4_AUTO_MODES, *_COPTER_MODES)}
)
SPEED_MODES = tuple(row.name for row in _COPTER_MODES if row.takes_speed)
_FAILSAFE_MODES = tuple(row.name for row in _COPTER_MODES if row.by_failsafe)


def mode_name(autopilot: int, vehicle_type: int, custom_mode: int) -> str | None:
    """Name of the flight mode in a HEARTBEAT, `None` if no table has it."""
    row = None
    if autopilot == ARDUPILOT_ID and vehicle_type in _COPTER_TYPES:
        row = _COPTER.get(custom_mode)
    elif autopilot == PX4_ID:
        main_mode, sub_mode = custom_mode >> 16 & 0xFF, custom_mode >> 24 & 0xFF
        row = _PX4_SUB.get(sub_mode) if main_mode == _PX4_AUTO else _PX4_MAIN.get(main_mode)
    return None if row is None else row.name


def action_of_mode(mode: str | None) -> ActionKind:
    """Action that a vehicle carries out by itself in a mode, `REPORT` for none."""
    return _ACTIONS.get(mode or "", ActionKind.REPORT)


def in_failsafe(autopilot: int, system_status: int, mode: str | None) -> bool:
    """Whether a failsafe of the flight controller is active.

    ArduPilot stays in MAV_STATE_CRITICAL once a battery has been low, whatever followed; only a
    mode that its failsafes choose shows an active one.
    """
    if system_status != _STATE_CRITICAL:
        return system_status > _STATE_CRITICAL  # emergency, termination
    return autopilot != ARDUPILOT_ID or mode in _FAILSAFE_MODES

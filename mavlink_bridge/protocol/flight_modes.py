# SPDX-License-Identifier: Apache-2.0
"""Flight modes: number, name, urgency, and the modes that follow by themselves.

A mode has the same name, and so the same urgency, in every table: `action` is what the vehicle does
by itself in it. `then` are the modes into which the autopilot changes without a command, at the end
of a manoeuvre or of a mission; such a change is no pilot's choice.
Source: ardupilotmega.xml (COPTER_MODE, PLANE_MODE, ROVER_MODE, SUB_MODE); the calls of `set_mode`
in ArduPilot 4.7 (AP_Vehicle/ModeReason.h names their reasons); Blimp/mode.h; PX4
px4_custom_mode.h, Commander.cpp `checkForMissionUpdate`, failsafe/framework.cpp.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from dronebms.core.report import ActionKind
from mavlink_bridge.protocol.flight_stacks import ARDUPILOT_ID, PX4_ID

ANY_MODE = "*"
COPTER_TYPES = (2, 3, 4, 13, 14, 15, 29, 35, 43)  # MAV_TYPE of multirotors and helicopters
FIXED_WING_TYPE = 1
VTOL_TYPES = (19, 20, 21, 22, 23, 24, 25)
ROVER_TYPES = (10, 11)  # with boats
SUBMARINE_TYPE = 12
AIRSHIP_TYPE = 7
_STATE_CRITICAL = 5  # MAV_STATE
_PX4_AUTO = 4  # main mode with sub modes
_RISE_S = 1.5  # between a rise of the status and the mode of the failsafe, at 1 Hz heartbeats

_RETURN = ActionKind.RETURN
_LAND = ActionKind.LAND


@dataclass(frozen=True, slots=True)
class FlightMode:
    """One mode of a flight stack."""

    number: int  # of HEARTBEAT.custom_mode
    name: str
    action: ActionKind = ActionKind.REPORT  # what the vehicle does by itself in this mode
    then: tuple[str, ...] = ()  # modes that follow without a command
    by_failsafe: bool = False  # failsafes choose it, and do not leave the vehicle to the pilot
    takes_speed: bool = False  # DO_CHANGE_SPEED of ArduCopter and Rover has an effect


# fmt: off
_COPTER_MODES = (
    FlightMode(0, "STABILIZE"),
    FlightMode(1, "ACRO"),
    FlightMode(2, "ALT_HOLD"),
    FlightMode(3, "AUTO", then=("LAND", "RTL", "AUTO_RTL"), takes_speed=True),
    FlightMode(4, "GUIDED", takes_speed=True),
    FlightMode(5, "LOITER"),
    FlightMode(6, "RTL", _RETURN, then=("LAND",), by_failsafe=True),
    FlightMode(7, "CIRCLE"),
    FlightMode(9, "LAND", _LAND, by_failsafe=True),
    FlightMode(11, "DRIFT"),
    FlightMode(13, "SPORT"),
    FlightMode(14, "FLIP", then=(ANY_MODE,)),  # the mode before it
    FlightMode(15, "AUTOTUNE", then=("ALT_HOLD", "LOITER", "POSHOLD")),
    FlightMode(16, "POSHOLD"),
    FlightMode(17, "BRAKE", then=("LOITER", "ALT_HOLD"), by_failsafe=True),
    FlightMode(18, "THROW", then=(ANY_MODE,)),  # THROW_NEXTMODE
    FlightMode(19, "AVOID_ADSB", then=(ANY_MODE,)),
    FlightMode(20, "GUIDED_NOGPS"),
    FlightMode(21, "SMART_RTL", _RETURN, then=("RTL", "LAND"), by_failsafe=True),
    FlightMode(22, "FLOWHOLD"),
    FlightMode(23, "FOLLOW"),
    FlightMode(24, "ZIGZAG"),
    FlightMode(25, "SYSTEMID"),
    FlightMode(26, "AUTOROTATE", _LAND),
    FlightMode(27, "AUTO_RTL", _RETURN, then=("AUTO", "RTL", "LAND"), by_failsafe=True),
    FlightMode(28, "TURTLE"),
)
_PLANE_MODES = (
    FlightMode(0, "MANUAL"),
    FlightMode(1, "CIRCLE"),
    FlightMode(2, "STABILIZE"),
    FlightMode(3, "TRAINING"),
    FlightMode(4, "ACRO"),
    FlightMode(5, "FLY_BY_WIRE_A"),
    FlightMode(6, "FLY_BY_WIRE_B", then=("THERMAL",)),
    FlightMode(7, "CRUISE", then=("THERMAL",)),
    FlightMode(8, "AUTOTUNE"),
    FlightMode(10, "AUTO", then=("RTL", "QLAND", "THERMAL")),
    FlightMode(11, "RTL", _RETURN, then=("AUTO", "QRTL", "QLAND"), by_failsafe=True),
    FlightMode(12, "LOITER"),
    FlightMode(13, "TAKEOFF", then=("LOITER",)),
    FlightMode(14, "AVOID_ADSB", then=(ANY_MODE,)),
    FlightMode(15, "GUIDED"),
    FlightMode(16, "INITIALIZING", then=(ANY_MODE,)),
    FlightMode(17, "QSTABILIZE"),
    FlightMode(18, "QHOVER"),
    FlightMode(19, "QLOITER"),
    FlightMode(20, "QLAND", _LAND, by_failsafe=True),
    FlightMode(21, "QRTL", _RETURN, then=("QLAND",), by_failsafe=True),
    FlightMode(22, "QAUTOTUNE"),
    FlightMode(23, "QACRO"),
    FlightMode(24, "THERMAL", then=(ANY_MODE,)),  # the mode before it, or RTL
    FlightMode(25, "LOITER_ALT_QLAND", _LAND, then=("QLAND",), by_failsafe=True),
    FlightMode(26, "AUTOLAND", _LAND, by_failsafe=True),
)
_ROVER_MODES = (
    FlightMode(0, "MANUAL"),
    FlightMode(1, "ACRO"),
    FlightMode(3, "STEERING"),
    FlightMode(4, "HOLD", _LAND, by_failsafe=True),  # stands still
    FlightMode(5, "LOITER"),
    FlightMode(6, "FOLLOW"),
    FlightMode(7, "SIMPLE"),
    FlightMode(8, "DOCK", then=("HOLD",)),
    FlightMode(9, "CIRCLE"),
    FlightMode(10, "AUTO", then=("HOLD", "ACRO", "MANUAL"), takes_speed=True),  # MIS_DONE_BEHAVE
    FlightMode(11, "RTL", _RETURN, then=("HOLD",), by_failsafe=True),
    FlightMode(12, "SMART_RTL", _RETURN, then=("RTL", "HOLD"), by_failsafe=True),
    FlightMode(15, "GUIDED", takes_speed=True),
    FlightMode(16, "INITIALIZING", then=(ANY_MODE,)),
)
_SUB_MODES = (
    FlightMode(0, "STABILIZE"),
    FlightMode(1, "ACRO"),
    FlightMode(2, "ALT_HOLD"),
    FlightMode(3, "AUTO", then=("ALT_HOLD",)),
    FlightMode(4, "GUIDED"),
    FlightMode(7, "CIRCLE"),
    FlightMode(9, "SURFACE", _LAND, then=("ALT_HOLD",), by_failsafe=True),
    FlightMode(16, "POSHOLD"),
    FlightMode(19, "MANUAL"),
    FlightMode(20, "MOTORDETECT", then=(ANY_MODE,)),
    FlightMode(21, "SURFTRAK"),
)
_BLIMP_MODES = (
    FlightMode(0, "LAND", _LAND, by_failsafe=True),
    FlightMode(1, "MANUAL"),
    FlightMode(2, "VELOCITY"),
    FlightMode(3, "LOITER"),
    FlightMode(4, "RTL", _RETURN),
)
_PX4_MAIN_MODES = (
    FlightMode(1, "MANUAL"),
    FlightMode(2, "ALTCTL"),
    FlightMode(3, "POSCTL"),
    FlightMode(5, "ACRO"),
    FlightMode(6, "OFFBOARD"),
    FlightMode(7, "STABILIZED"),
    FlightMode(10, "TERMINATION", _LAND),  # with the parachute
    FlightMode(11, "ALTITUDE_CRUISE"),
)
_PX4_AUTO_MODES = (
    FlightMode(1, "READY"),
    FlightMode(2, "TAKEOFF", then=("LOITER",)),
    FlightMode(3, "LOITER", by_failsafe=True),  # for COM_FAIL_ACT_T
    FlightMode(4, "MISSION", then=("LOITER", "LAND")),
    FlightMode(5, "RTL", _RETURN, then=("LAND", "DESCEND"), by_failsafe=True),
    FlightMode(6, "LAND", _LAND, then=("DESCEND",), by_failsafe=True),  # up to 1.16 also DESCEND
    FlightMode(8, "FOLLOW_TARGET"),
    FlightMode(9, "PRECLAND", _LAND, then=("LAND", "DESCEND")),
    FlightMode(10, "VTOL_TAKEOFF", then=("LOITER",)),
    *(FlightMode(10 + number, f"EXTERNAL{number}") for number in range(1, 9)),
    FlightMode(19, "GUIDED_COURSE"),
    FlightMode(20, "DESCEND", _LAND, by_failsafe=True),
)
# fmt: on


# Table of each firmware, by its name.
MODE_TABLES: Mapping[str, tuple[FlightMode, ...]] = MappingProxyType(
    {
        "ArduCopter": _COPTER_MODES,
        "ArduPlane": _PLANE_MODES,
        "ArduRover": _ROVER_MODES,
        "ArduSub": _SUB_MODES,
        "Blimp": _BLIMP_MODES,
        "PX4": (*_PX4_MAIN_MODES, *_PX4_AUTO_MODES),
    }
)
_UNKNOWN_FIRMWARE = ("ArduCopter", "PX4")
_TYPES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "ArduCopter": COPTER_TYPES,
        "ArduPlane": (FIXED_WING_TYPE, *VTOL_TYPES),
        "ArduRover": ROVER_TYPES,
        "ArduSub": (SUBMARINE_TYPE,),
        "Blimp": (AIRSHIP_TYPE,),
    }
)
_ALL_MODES = tuple(row for table in MODE_TABLES.values() for row in table)
_ACTIONS: Mapping[str, ActionKind] = MappingProxyType({row.name: row.action for row in _ALL_MODES})
SPEED_MODES = frozenset(row.name for row in _ALL_MODES if row.takes_speed)
_PX4_FAILSAFES = frozenset(row.name for row in MODE_TABLES["PX4"] if row.by_failsafe)
_ARDUPILOT_FAILSAFES = frozenset(
    row.name
    for firmware, table in MODE_TABLES.items()
    for row in table
    if row.by_failsafe and firmware != "PX4"
)
# ArduPlane: landing sequence of the mission, short failsafe; pilots choose them as well.
_ALSO_BY_FAILSAFE = ("AUTO", "CIRCLE")
EVASIVE_MODES = ("AVOID_ADSB",)  # entered from any mode without a command, for a while


def firmware_of(autopilot: int | None, vehicle_type: int | None) -> str | None:
    """Key of MODE_TABLES for a HEARTBEAT, `None` if there is none."""
    if autopilot == PX4_ID:
        return "PX4"
    names = (name for name, types in _TYPES.items() if vehicle_type in types)
    return next(names, None) if autopilot == ARDUPILOT_ID else None


def mode_name(autopilot: int, vehicle_type: int, custom_mode: int) -> str | None:
    """Name of the flight mode in a HEARTBEAT, `None` if no table has it."""
    firmware = firmware_of(autopilot, vehicle_type)
    number = custom_mode
    if firmware is None:
        return None
    table = MODE_TABLES[firmware]
    if firmware == "PX4":
        main_mode = custom_mode >> 16 & 0xFF
        sub_mode = custom_mode >> 24 & 0xFF
        table = _PX4_MAIN_MODES
        number = main_mode
        if main_mode == _PX4_AUTO:
            table = _PX4_AUTO_MODES
            number = sub_mode
    return next((row.name for row in table if row.number == number), None)


def action_of_mode(mode: str | None) -> ActionKind:
    """Action that a vehicle carries out by itself in a mode, `REPORT` for none."""
    return _ACTIONS.get(mode or "", ActionKind.REPORT)


def follows_by_itself(mode: str, later: str, firmware: str | None = None) -> bool:
    """Whether the autopilot may change from a mode to a later one without a command.

    Modes in between may be missing: heartbeats come once a second, and some are lost.

    Args:
        mode: a name.
        later: another name.
        firmware: key of MODE_TABLES; `None` if it is not known.
    """
    if later in EVASIVE_MODES:
        return True
    firmwares = _UNKNOWN_FIRMWARE if firmware is None else (firmware,)
    return any(not {later, ANY_MODE}.isdisjoint(_followers(mode, one)) for one in firmwares)


@cache
def _followers(mode: str, firmware: str) -> frozenset[str]:
    """All modes that may follow, directly or through others; ANY_MODE only directly."""
    rows = MODE_TABLES[firmware]
    found = {name for row in rows if row.name == mode for name in row.then}
    fresh = found
    while fresh:
        fresh = {name for row in rows if row.name in fresh for name in row.then}
        fresh -= {*found, ANY_MODE}
        found = found | fresh
    return frozenset(found)


def in_failsafe(autopilot: int, system_status: int, mode: str | None) -> bool:
    """Whether a failsafe of the flight controller may have chosen the mode, by one HEARTBEAT.

    ArduPilot stays in MAV_STATE_CRITICAL once a battery has been low, whatever followed; PX4 (up to
    1.16 for a warning alone) also after a pilot has taken over. Only a mode that failsafes choose
    shows an active one.
    """
    if system_status != _STATE_CRITICAL:
        return system_status > _STATE_CRITICAL  # emergency, termination
    return mode in (_ARDUPILOT_FAILSAFES if autopilot == ARDUPILOT_ID else _PX4_FAILSAFES)


@dataclass(frozen=True, slots=True)
class FailsafeWatch:
    """Whether a failsafe has chosen the present mode, by all heartbeats so far.

    PX4 reports MAV_STATE_CRITICAL while a failsafe warns or acts. ArduPilot also reports it
    afterwards: there the failsafe has chosen the mode that began when the status rose. A mode
    that leaves the vehicle to the pilot is a pilot's, whatever the status.
    """

    mode: str | None = None
    critical: bool = False
    chosen: bool = False
    mode_s: float = 0.0  # first heartbeat in this mode
    rise_s: float = 0.0  # first heartbeat with this status
    started: bool = False

    def after(
        self, autopilot: int, system_status: int, mode: str | None, now_s: float
    ) -> "FailsafeWatch":
        """Copy after a HEARTBEAT."""
        critical = system_status >= _STATE_CRITICAL
        mode_s = self.mode_s if self.started and mode == self.mode else now_s
        rise_s = self.rise_s if self.started and critical == self.critical else now_s
        chosen = critical and self.chosen and mode == self.mode
        if autopilot != ARDUPILOT_ID or system_status > _STATE_CRITICAL or not self.started:
            chosen = in_failsafe(autopilot, system_status, mode)
        elif critical and abs(mode_s - rise_s) <= _RISE_S and now_s - mode_s <= _RISE_S:
            chosen = mode in _ALSO_BY_FAILSAFE or in_failsafe(autopilot, system_status, mode)
        return FailsafeWatch(mode, critical, chosen, mode_s, rise_s, started=True)

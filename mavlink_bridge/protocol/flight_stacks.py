"""Rows about flight stacks: what they make of a battery, their modes, what is set on them.

Parameters are in the flight stack's own units; percent, amperes and metres per second elsewhere.
Source: ardupilotmega.xml (COPTER_MODE), px4_custom_mode.h, the parameter lists of ArduPilot Copter
4.5 to 4.7 and PX4 1.13 to 1.18, and what their code does with the values (facts in docs/).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mavlink_bridge.protocol.messages import CELLS_MAX

ARDUPILOT_ID, PX4_ID = 3, 12  # MAV_AUTOPILOT

Release = tuple[int, int, int]  # major, minor, FIRMWARE_VERSION_TYPE


@dataclass(frozen=True, slots=True)
class FlightStack:
    """What may be sent to one flight stack, from one release on."""

    name: str
    autopilot: int | None  # HEARTBEAT.autopilot; None: any other
    since: Release  # the oldest that this row is true of
    unknown_is_empty: bool  # takes -1 % for an emergency
    least_disarmed_pct: int  # below, it may shut itself down while disarmed
    cells_max: int  # how many cells of BATTERY_STATUS it adds up
    own_ids: bool  # tells batteries of its own, so that ours take the first id that is free
    scripted: bool  # a driver script hears what it is told
    source: str


ANY = (0, 0, 0)
_BETA = 128  # FIRMWARE_VERSION_TYPE_BETA: what is before has no branch of its own yet

ARDUPILOT = FlightStack(
    "ardupilot", ARDUPILOT_ID, ANY, unknown_is_empty=False, least_disarmed_pct=0, cells_max=CELLS_MAX,
    own_ids=True, scripted=True,
    source="GCS_Common.cpp: BATTERY_STATUS is forwarded, and read by a Lua driver only",
)  # fmt: skip
PX4_118 = FlightStack(
    "px4", PX4_ID, (1, 18, _BETA), unknown_is_empty=False, least_disarmed_pct=6, cells_max=10,
    own_ids=False, scripted=False,
    source="mavlink_receiver.cpp of 1.18: -1 % is no warning and time_remaining is read",
)  # fmt: skip
PX4 = FlightStack(
    "px4", PX4_ID, ANY, unknown_is_empty=True, least_disarmed_pct=6, cells_max=10,
    own_ids=False, scripted=False,
    source="mavlink_receiver.cpp up to 1.17: -1 % becomes an emergency; voltages_ext is not "
    "read. Commander: an emergency while disarmed asks the board to shut down",
)  # fmt: skip
UNKNOWN_STACK = FlightStack(
    "unknown", None, ANY, unknown_is_empty=True, least_disarmed_pct=6, cells_max=10,
    own_ids=False, scripted=False,
    source="nothing is known, so that nothing is risked: as PX4",
)  # fmt: skip

FLIGHT_STACKS = (ARDUPILOT, PX4_118, PX4)  # of one stack the newest first

# What the driver script and the service say to each other by NAMED_VALUE_FLOAT.
SCRIPT_HEARTBEAT, SCRIPT_LIMIT, SCRIPT_NO_GO = "BMS_LUA", "BMS_AMAX", "BMS_NOGO"


@dataclass(frozen=True, slots=True)
class MessageRequest:
    """A message that the autopilot is asked for."""

    kind: str
    message_id: int
    period_s: float | None  # None: once, and once more after it was away


MESSAGE_REQUESTS = (
    MessageRequest("AUTOPILOT_VERSION", 148, None),
    MessageRequest("BATTERY_STATUS", 147, 0.5),  # which ids are taken
    MessageRequest("GLOBAL_POSITION_INT", 33, 0.5),
    MessageRequest("HOME_POSITION", 242, None),
)

MAX_AGE_S: Mapping[str, float] = MappingProxyType({
    "HEARTBEAT": 2.0,
    "GLOBAL_POSITION_INT": 3.0,
    "VFR_HUD": 3.0,
    "WIND_COV": 10.0,  # changes slowly, and PX4 sends it every other second
    "HOME_POSITION": math.inf,  # stays where it is; ArduPilot tells it once
    "AUTOPILOT_VERSION": math.inf,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of ours that may be changed in the field, until the service is started again."""

    name: str
    least: float
    most: float
    what: str


# fmt: off
SETTINGS = (
    Setting("BMS_RATE_HZ", 1.0, 10.0,  "how often BATTERY_STATUS is sent"),
    Setting("BMS_ID",     -1.0, 250.0, "BATTERY_STATUS.id of the first battery, -1: found out"),
    Setting("BMS_ACT",     0.0, 1.0,   "0 keeps the hands off the vehicle, 1 acts as configured"),
)
# fmt: on

COPTER_TYPES = (2, 3, 4, 13, 14, 15, 29, 35)  # MAV_TYPE that ArduCopter announces itself with

# fmt: off
COPTER_MODES: Mapping[int, str] = MappingProxyType({
    0: "STABILIZE", 1: "ACRO", 2: "ALT_HOLD", 3: "AUTO", 4: "GUIDED", 5: "LOITER", 6: "RTL",
    7: "CIRCLE", 9: "LAND", 11: "DRIFT", 13: "SPORT", 14: "FLIP", 15: "AUTOTUNE", 16: "POSHOLD",
    17: "BRAKE", 18: "THROW", 19: "AVOID_ADSB", 20: "GUIDED_NOGPS", 21: "SMART_RTL",
    22: "FLOWHOLD", 23: "FOLLOW", 24: "ZIGZAG", 25: "SYSTEMID", 26: "AUTOROTATE", 27: "AUTO_RTL",
    28: "TURTLE",
})
PX4_MAIN_MODES: Mapping[int, str] = MappingProxyType({
    1: "MANUAL", 2: "ALTCTL", 3: "POSCTL", 5: "ACRO", 6: "OFFBOARD", 7: "STABILIZED",
    10: "TERMINATION",
})
PX4_AUTO = 4
PX4_AUTO_MODES: Mapping[int, str] = MappingProxyType({
    1: "READY", 2: "TAKEOFF", 3: "LOITER", 4: "MISSION", 5: "RTL", 6: "LAND", 8: "FOLLOW_TARGET",
    9: "PRECLAND", 10: "VTOL_TAKEOFF",
})
# fmt: on
FAILSAFE_MODES = ("RTL", "SMART_RTL", "AUTO_RTL", "LAND", "BRAKE")  # that ArduCopter chooses itself


@dataclass(frozen=True, slots=True)
class LimitParameter:
    """A parameter by which a vehicle is made to draw less."""

    autopilot: int
    name: str
    by: str  # field of what is wanted
    value: float | None = None  # instead, while that field is there


LIMIT_PARAMETERS = (
    LimitParameter(ARDUPILOT_ID, "MOT_BAT_CURR_MAX", "max_a"),
    LimitParameter(
        ARDUPILOT_ID, "MOT_BAT_CURR_TC", "max_a", 1.0
    ),  # the 5 s it comes with are too slow
    LimitParameter(PX4_ID, "MPC_XY_VEL_MAX", "speed_m_s"),
    LimitParameter(PX4_ID, "MPC_XY_CRUISE", "speed_m_s"),
    LimitParameter(PX4_ID, "MPC_VEL_MANUAL", "speed_m_s"),
    LimitParameter(PX4_ID, "MPC_Z_VEL_MAX_UP", "climb_m_s"),
    LimitParameter(PX4_ID, "MPC_Z_V_AUTO_UP", "climb_m_s"),
)


@dataclass(frozen=True, slots=True)
class SpeedRow:
    """A speed of ArduCopter that is lowered by command."""

    by: str  # field of an action
    flown: str  # field of the vehicle's state
    kind: int  # SPEED_TYPE
    names: Mapping[str, float]  # of the vehicle's own speed: parameter, its unit in m/s


SPEED_MODES = ("GUIDED", "AUTO")
SPEEDS = (
    SpeedRow("speed_m_s", "ground_speed_m_s", 1, MappingProxyType({"WP_SPD": 1.0, "WPNAV_SPEED": 0.01})),
    SpeedRow("climb_m_s", "climb_m_s", 2, MappingProxyType({"WP_SPD_UP": 1.0, "WPNAV_SPEED_UP": 0.01})),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ParameterRequirement:
    """A parameter that has to fit."""

    autopilot: int
    name: str  # BATT_ stands for the battery monitor that is filled
    least: float
    most: float
    good: float  # what it is set to when it does not fit and the user wants that
    why: str
    times: str | None = None  # what the three are shares of: capacity_mah or system_id
    since: Release = ANY
    before: Release = (255, 255, 255)


# fmt: off
PARAMETER_REQUIREMENTS = (
    ParameterRequirement(ARDUPILOT_ID, "SCR_ENABLE",       1, 1, 1, "the driver is a script"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_MONITOR",     29, 29, 29, "the battery monitor that a script fills"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_CAPACITY",    0.95, 1.05, 1.0, "low and critical charge are counted down from a full pack", "capacity_mah"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_LOW_MAH",     0.15, 0.6, 0.25, "charge at which BATT_FS_LOW_ACT follows", "capacity_mah"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_CRT_MAH",     0.05, 0.3, 0.1, "charge at which BATT_FS_CRT_ACT follows", "capacity_mah"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_FS_LOW_ACT",  1, 4, 2, "low: home (2); 5 stops the motors, 6 and 7 may do nothing"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_FS_CRT_ACT",  1, 4, 1, "critical: land (1); 5 stops the motors, 6 and 7 may do nothing"),
    ParameterRequirement(PX4_ID, "BAT1_SOURCE",            1, 1, 1, "external; else the power module writes over what is told"),
    ParameterRequirement(PX4_ID, "COM_LOW_BAT_ACT",        2, 3, 3, "critical: home, emergency: land (3); 4 stops the motors"),
    ParameterRequirement(PX4_ID, "COM_FLTT_LOW_ACT",       3, 3, 3, "home while the time left is enough for the way", since=PX4_118.since),
    ParameterRequirement(PX4_ID, "COM_FLTT_LOW_ACT",       0, 0, 0, "up to 1.17 the time left of this battery is taken for 0", before=PX4_118.since),
    ParameterRequirement(PX4_ID, "CBRK_SUPPLY_CHK",        0, 0, 0, "else every check of the battery is off"),
    ParameterRequirement(PX4_ID, "COM_ARM_AUTH_REQ",       1, 1, 1, "arming asks this service"),
    ParameterRequirement(PX4_ID, "COM_ARM_AUTH_ID",        1, 1, 1, "the system that is asked is the vehicle's own", "system_id"),
    ParameterRequirement(PX4_ID, "COM_ARM_AUTH_MET",       0, 0, 0, "it is asked and armed in one step"),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class SitlRequirement:
    """A parameter that a simulated vehicle must have to be followed; `value` None is any.

    A name that begins with _ is one of the battery that is followed.
    """

    name: str
    value: float | None
    why: str


VOLTAGE = "SIM_BATT_VOLTAGE"
HOVER_THROTTLE = "MPC_THR_HOVER"
_SIMULATED = "it is not a simulated one"
_MEASURES = "or the vehicle does not measure what its simulation draws"
# fmt: off
SITL_REQUIREMENTS = {
    ARDUPILOT.name: (
        SitlRequirement(VOLTAGE,        None, _SIMULATED),
        SitlRequirement("_MONITOR",      4.0, f"{_MEASURES} (restart it after a change)"),
        SitlRequirement("_VOLT_PIN",    13.0, _MEASURES),
        SitlRequirement("_CURR_PIN",    12.0, _MEASURES),
        SitlRequirement("_VOLT_MULT",   10.1, _MEASURES),
        SitlRequirement("_AMP_PERVLT",  17.0, _MEASURES),
    ),
    PX4.name: (
        SitlRequirement("SIM_BAT_DRAIN", None, _SIMULATED),
        SitlRequirement("BAT1_SOURCE",    1.0, "or PX4 mixes its own simulated battery into our reports"),
        SitlRequirement(HOVER_THROTTLE,  None, "its load is reckoned from that"),
    ),
}
# fmt: on

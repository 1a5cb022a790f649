# SPDX-License-Identifier: Apache-2.0
"""Return and speeds of the vehicle, by the parameters of its autopilot; reads and never sets.

The parameters of the followed firmware are read after each start, a few at a time, and again every
minute; a value that the autopilot sends to any component is used at once. One that is absent, or whose
value is impossible, is unknown and named in `ReturnPlan.missing`. ArduCopter 4.7 renamed most of
them and changed their units: where the release is not known, the other name is tried.
Source: ArduCopter Parameters.cpp, mode_rtl.cpp and mode.cpp `land_run_vertical_control` of 4.6, the
4.7 changes SI parameters (pull requests 31970 and 32147 of ArduPilot); ArduPlane Parameters.cpp and
quadplane.cpp, converted in 4.5 (pull request 26025); Rover Parameters.cpp; AP_Rally.cpp;
AC_Circle.cpp; ArduPlane mode_rtl.cpp `update` and `navigate`; PX4 rtl_params.yaml, rtl.cpp
`computeReturnAltitude` and `setRtlTypeAndDestination`, rtl_direct.cpp `getActivationState` for
rovers, FlightTaskAuto.cpp `_prepareLandSetpoints` and `_updateTrajConstraints`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from dronebms.core.flight_plan import Agility, ReturnPlan, ReturnTo, Speeds
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.flight_modes import (
    FIXED_WING_TYPE,
    ROVER_TYPES,
    VTOL_TYPES,
    firmware_of,
)
from mavlink_bridge.protocol.flight_stacks import ANY_RELEASE, Release
from mavlink_bridge.protocol.mission_items import UNKNOWN_CIRCLES, Circles
from mavlink_bridge.protocol.parameters import Parameters

_COPTER = "ArduCopter"
_PLANE = "ArduPlane"
_ROVER = "ArduRover"
_PX4 = "PX4"
_AGAIN_S = 60.0
_ABSENT_ROUNDS = 10  # of which one requests also what was absent
_WINDOW = 4  # requests without an answer at the same time
_VERSION_S = 3.0  # to wait for the release, which decides on the names
_LATEST: Release = (255, 255, 255)
# Development versions of these releases have one of the two names.
_45_DEV = (4, 5, 0)
_45_BETA = (4, 5, 128)
_47_DEV = (4, 7, 0)
_47_BETA = (4, 7, 128)
_FULL_CIRCLE_DEG = 360.0
_CM = 0.01
_KM = 1000.0
_MS = 0.001


@dataclass(frozen=True, slots=True)
class ReturnParameter:
    """One name of a quantity, in the releases that have it."""

    firmware: str
    quantity: str
    name: str
    least: float  # of the parameter, in its own unit
    most: float
    unit: float = 1.0  # in SI units
    since: Release = ANY_RELEASE
    before: Release = _LATEST
    only: str = ""  # while this quantity is positive
    optional: bool = False  # firmware without it has the default of the plan

    def si(self, value: float) -> float | None:
        """The quantity in SI units, `None` if the parameter cannot have the value."""
        return value * self.unit if self.least <= value <= self.most else None


# fmt: off
RETURN_PARAMETERS = (
    ReturnParameter(_COPTER, "height_m",     "RTL_ALT_M",        0.0, 30_000.0, since=_47_DEV),
    ReturnParameter(_COPTER, "height_m",     "RTL_ALT",          0.0, 3e6, _CM, before=_47_BETA),
    ReturnParameter(_COPTER, "return_m_s",   "RTL_SPEED_MS",     0.0, 100.0, since=_47_DEV),
    ReturnParameter(_COPTER, "return_m_s",   "RTL_SPEED",        0.0, 1e4, _CM, before=_47_BETA),
    ReturnParameter(_COPTER, "cruise_m_s",   "WP_SPD",           0.1, 100.0, since=_47_DEV),
    ReturnParameter(_COPTER, "cruise_m_s",   "WPNAV_SPEED",      10.0, 1e4, _CM, before=_47_BETA),
    ReturnParameter(_COPTER, "climb_m_s",    "WP_SPD_UP",        0.1, 50.0, since=_47_DEV),
    ReturnParameter(_COPTER, "climb_m_s",    "WPNAV_SPEED_UP",   10.0, 5e3, _CM, before=_47_BETA),
    ReturnParameter(_COPTER, "descent_m_s",  "WP_SPD_DN",        0.1, 50.0, since=_47_DEV),
    ReturnParameter(_COPTER, "descent_m_s",  "WPNAV_SPEED_DN",   10.0, 5e3, _CM, before=_47_BETA),
    ReturnParameter(_COPTER, "landing_m_s",  "LAND_SPD_MS",      0.1, 10.0, since=_47_DEV),
    ReturnParameter(_COPTER, "landing_m_s",  "LAND_SPEED",       10.0, 1e3, _CM, before=_47_BETA),
    ReturnParameter(_COPTER, "high_m_s",     "LAND_SPD_HIGH_MS", 0.0, 50.0, since=_47_DEV),
    ReturnParameter(_COPTER, "high_m_s",     "LAND_SPEED_HIGH",  0.0, 5e3, _CM, before=_47_BETA),
    ReturnParameter(_COPTER, "low_m",        "LAND_ALT_LOW_M",   0.0, 1000.0, since=_47_DEV),
    ReturnParameter(_COPTER, "low_m",        "LAND_ALT_LOW",     0.0, 1e5, _CM, before=_47_BETA),
    ReturnParameter(_COPTER, "final_m",      "RTL_ALT_FINAL_M",  -1.0, 1000.0, since=_47_DEV),
    ReturnParameter(_COPTER, "final_m",      "RTL_ALT_FINAL",    -1.0, 1e5, _CM, before=_47_BETA),
    ReturnParameter(_COPTER, "climb_min_m",  "RTL_CLIMB_MIN_M",  0.0, 1000.0, since=_47_DEV),
    ReturnParameter(_COPTER, "climb_min_m",  "RTL_CLIMB_MIN",    0.0, 1e5, _CM, before=_47_BETA),
    ReturnParameter(_COPTER, "level_m_s2",   "WP_ACC",           0.1, 50.0, since=_47_DEV, optional=True),
    ReturnParameter(_COPTER, "level_m_s2",   "WPNAV_ACCEL",      10.0, 5e3, _CM, before=_47_BETA, optional=True),
    ReturnParameter(_COPTER, "up_m_s2",      "WP_ACC_Z",         0.1, 50.0, since=_47_DEV, optional=True),
    ReturnParameter(_COPTER, "up_m_s2",      "WPNAV_ACCEL_Z",    10.0, 5e3, _CM, before=_47_BETA, optional=True),
    ReturnParameter(_COPTER, "jerk_m_s3",    "WP_JERK",          0.1, 100.0, since=_47_DEV, optional=True),
    ReturnParameter(_COPTER, "jerk_m_s3",    "WPNAV_JERK",       0.1, 100.0, before=_47_BETA, optional=True),
    ReturnParameter(_COPTER, "wait_s",       "RTL_LOIT_TIME",    0.0, 3.6e6, _MS),
    ReturnParameter(_COPTER, "cone",         "RTL_CONE_SLOPE",   0.0, 100.0),
    ReturnParameter(_COPTER, "terrain",      "RTL_ALT_TYPE",     0.0, 1.0, optional=True),
    ReturnParameter(_COPTER, "turn_deg_s",   "CIRCLE_RATE",      -180.0, 180.0, optional=True),
    ReturnParameter(_COPTER, "rally",        "RALLY_INCL_HOME",  0.0, 1.0, optional=True),
    ReturnParameter(_COPTER, "rally_m",      "RALLY_LIMIT_KM",   0.0, 100.0, _KM, optional=True),
    ReturnParameter(_PLANE,  "height_m",     "RTL_ALTITUDE",     -1.0, 30_000.0, since=_45_DEV),
    ReturnParameter(_PLANE,  "height_m",     "ALT_HOLD_RTL",     -1.0, 3e6, _CM, before=_45_BETA),
    ReturnParameter(_PLANE,  "cruise_m_s",   "AIRSPEED_CRUISE",  1.0, 200.0, since=_45_DEV),
    ReturnParameter(_PLANE,  "cruise_m_s",   "TRIM_ARSPD_CM",    100.0, 2e4, _CM, before=_45_BETA),
    ReturnParameter(_PLANE,  "climb_m_s",    "TECS_CLMB_MAX",    0.1, 50.0),
    ReturnParameter(_PLANE,  "descent_m_s",  "TECS_SINK_MAX",    0.1, 50.0),
    ReturnParameter(_PLANE,  "climb_min_m",  "RTL_CLIMB_MIN",    0.0, 1000.0, optional=True),
    ReturnParameter(_PLANE,  "options",      "FLIGHT_OPTIONS",   0.0, 2.0**31, optional=True),
    ReturnParameter(_PLANE,  "landing",      "RTL_AUTOLAND",     0.0, 4.0),
    ReturnParameter(_PLANE,  "turn_m",       "WP_LOITER_RAD",    -32_767.0, 32_767.0, optional=True),
    ReturnParameter(_PLANE,  "rally",        "RALLY_INCL_HOME",  0.0, 1.0, optional=True),
    ReturnParameter(_PLANE,  "rally_m",      "RALLY_LIMIT_KM",   0.0, 100.0, _KM, optional=True),
    ReturnParameter(_PLANE,  "vtol",         "Q_ENABLE",         0.0, 2.0, optional=True),
    ReturnParameter(_PLANE,  "vtol_return",  "Q_RTL_MODE",       0.0, 3.0, only="vtol"),
    ReturnParameter(_PLANE,  "vtol_m",       "Q_RTL_ALT",        0.0, 1000.0, only="vtol"),
    ReturnParameter(_PLANE,  "vtol_m_s",     "Q_WP_SPD",         0.1, 100.0, since=_47_DEV, only="vtol"),
    ReturnParameter(_PLANE,  "vtol_m_s",     "Q_WP_SPEED",       10.0, 1e4, _CM, before=_47_BETA, only="vtol"),
    ReturnParameter(_PLANE,  "vtol_up_m_s",  "Q_WP_SPD_UP",      0.1, 50.0, since=_47_DEV, only="vtol"),
    ReturnParameter(_PLANE,  "vtol_up_m_s",  "Q_WP_SPEED_UP",    10.0, 5e3, _CM, before=_47_BETA, only="vtol"),
    ReturnParameter(_PLANE,  "vtol_dn_m_s",  "Q_WP_SPD_DN",      0.1, 50.0, since=_47_DEV, only="vtol"),
    ReturnParameter(_PLANE,  "vtol_dn_m_s",  "Q_WP_SPEED_DN",    10.0, 5e3, _CM, before=_47_BETA, only="vtol"),
    ReturnParameter(_PLANE,  "level_m_s2",   "Q_TRANS_DECEL",    0.1, 50.0, only="vtol", optional=True),
    ReturnParameter(_PLANE,  "landing_m_s",  "Q_LAND_FINAL_SPD", 0.1, 10.0, since=_45_DEV, only="vtol"),
    ReturnParameter(_PLANE,  "landing_m_s",  "Q_LAND_SPEED",     10.0, 1e3, _CM, before=_45_BETA, only="vtol"),
    ReturnParameter(_PLANE,  "low_m",        "Q_LAND_FINAL_ALT", 0.0, 100.0, only="vtol"),
    ReturnParameter(_ROVER,  "return_m_s",   "RTL_SPEED",        0.0, 100.0),
    ReturnParameter(_ROVER,  "cruise_m_s",   "WP_SPEED",         0.1, 100.0),
    ReturnParameter(_ROVER,  "rally",        "RALLY_INCL_HOME",  0.0, 1.0, optional=True),
    ReturnParameter(_ROVER,  "rally_m",      "RALLY_LIMIT_KM",   0.0, 100.0, _KM, optional=True),
    ReturnParameter(_PX4,    "type",         "RTL_TYPE",         0.0, 5.0),
    ReturnParameter(_PX4,    "height_m",     "RTL_RETURN_ALT",   0.0, 10_000.0, only="flies"),
    ReturnParameter(_PX4,    "wait_m",       "RTL_DESCEND_ALT",  0.0, 10_000.0, only="flies"),
    ReturnParameter(_PX4,    "wait_s",       "RTL_LAND_DELAY",   -1.0, 1e5, only="flies"),
    ReturnParameter(_PX4,    "cone",         "RTL_CONE_ANG",     0.0, 90.0, only="rotors"),
    ReturnParameter(_PX4,    "level_m",      "RTL_MIN_DIST",     0.0, 1e4, only="rotors"),
    ReturnParameter(_PX4,    "rotor_m_s",    "MPC_XY_CRUISE",    0.1, 100.0, only="rotors"),
    ReturnParameter(_PX4,    "rotor_up_m_s", "MPC_Z_V_AUTO_UP",  0.1, 50.0, only="rotors"),
    ReturnParameter(_PX4,    "rotor_dn_m_s", "MPC_Z_V_AUTO_DN",  0.1, 50.0, only="rotors"),
    ReturnParameter(_PX4,    "landing_m_s",  "MPC_LAND_SPEED",   0.1, 10.0, only="rotors"),
    ReturnParameter(_PX4,    "slow_m",       "MPC_LAND_ALT1",    0.0, 1000.0, only="rotors"),
    ReturnParameter(_PX4,    "low_m",        "MPC_LAND_ALT2",    0.0, 1000.0, only="rotors"),
    ReturnParameter(_PX4,    "level_m_s2",   "MPC_ACC_HOR",      0.1, 50.0, only="rotors", optional=True),
    ReturnParameter(_PX4,    "up_m_s2",      "MPC_ACC_UP_MAX",   0.1, 50.0, only="rotors", optional=True),
    ReturnParameter(_PX4,    "down_m_s2",    "MPC_ACC_DOWN_MAX", 0.1, 50.0, only="rotors", optional=True),
    ReturnParameter(_PX4,    "jerk_m_s3",    "MPC_JERK_AUTO",    0.1, 100.0, only="rotors", optional=True),
    ReturnParameter(_PX4,    "within_m",     "NAV_ACC_RAD",      0.05, 200.0, only="rotors", optional=True),
    ReturnParameter(_PX4,    "within_up_m",  "NAV_MC_ALT_RAD",   0.05, 200.0, only="rotors", optional=True),
    ReturnParameter(_PX4,    "rover_m_s",    "RO_SPEED_LIM",     0.1, 100.0, only="rover"),
    ReturnParameter(_PX4,    "cruise_m_s",   "FW_AIRSPD_TRIM",   0.5, 200.0, only="wing"),
    ReturnParameter(_PX4,    "climb_m_s",    "FW_T_CLMB_R_SP",   0.1, 50.0, only="wing"),
    ReturnParameter(_PX4,    "descent_m_s",  "FW_T_SINK_R_SP",   0.1, 50.0, only="wing"),
    ReturnParameter(_PX4,    "circle_m",     "RTL_LOITER_RAD",   -1e4, 1e4, only="wing", optional=True),
    ReturnParameter(_PX4,    "circle_up_m",  "NAV_FW_ALT_RAD",   0.05, 200.0, only="wing", optional=True),
    ReturnParameter(_PX4,    "least_m_s",    "FW_AIRSPD_MIN",    0.5, 200.0, only="wing", optional=True),
    ReturnParameter(_PX4,    "approach_m_s", "FW_LND_AIRSPD",    0.5, 200.0, only="wing", optional=True),
    ReturnParameter(_PX4,    "glide_deg",    "FW_LND_ANG",       1.0, 45.0, only="wing", optional=True),
)
# fmt: on
_CONE_LEAST = 0.5  # ArduCopter RTL_MIN_CONE_SLOPE; below it there is no cone
_LANDING_AT_LEAST_M = 1.0  # ArduCopter lands slowly below this height at any rate
# RTL_AUTOLAND; with 0 and 3 it circles at home.
_TO_LANDING: Mapping[float | None, ReturnTo] = MappingProxyType(
    {1.0: ReturnTo.HOME_THEN_LANDING, 2.0: ReturnTo.LANDING, 4.0: ReturnTo.LANDING}
)
# RTL_TYPE; 2 and 4 fly the mission's way, 1 and 5 avoid home where there is another place.
_RETURN_TO = (
    *(ReturnTo.HOME_OR_RALLY, ReturnTo.LANDING_OR_RALLY, ReturnTo.MISSION),
    *(ReturnTo.NEAREST, ReturnTo.MISSION_NEARER, ReturnTo.RALLY),
)
_QRTL_ALWAYS = 3  # Q_RTL_MODE
_CLIMB_BEFORE_TURN = 1 << 4  # FLIGHT_OPTIONS


@dataclass(frozen=True, slots=True)
class _Read:
    """What has been read of one vehicle."""

    values: Mapping[str, float]  # by quantity, in SI units
    missing: tuple[str, ...]  # names
    on_wing: bool | None
    unread: tuple[str, ...] = ()  # names that may still be answered


class ReturnParameters:
    """Return and speeds of one vehicle. For one thread.

    Attributes:
        returns: `None` until each parameter has been answered, or has not been in spite of
            repeated requests.
        speeds: of a mission.
        agility: of the vehicle on its rotors.
        circles: of a mission.
    """

    def __init__(self) -> None:
        self.returns: ReturnPlan | None = None
        self.speeds = Speeds()
        self.agility = Agility()
        self.circles = UNKNOWN_CIRCLES
        self._seen: object = None  # firmware, type, restarts and release
        self._rows: dict[str, list[ReturnParameter]] = {}  # of each quantity, newest first
        self._again: list[str] = []  # names that are to be read again
        self._again_s = math.inf
        self._rounds = 0
        self._used: _Read | None = None

    def step(
        self, parameters: Parameters, autopilot: Autopilot, now_s: float, *, on_wing: bool | None
    ) -> None:
        """Request the parameters that are due, and use what has come.

        Args:
            parameters: of the followed vehicle; it sends the requests.
            autopilot: that is followed.
            now_s: time of the caller.
            on_wing: whether a wing carries the vehicle now.
        """
        since_s = autopilot.online_since_s(now_s)
        if since_s is None or (autopilot.release is None and now_s - since_s < _VERSION_S):
            return
        firmware = firmware_of(autopilot.kind, autopilot.vehicle_type)
        self._look_at(autopilot, firmware, now_s)
        if firmware is None or firmware not in _PLANS:
            return
        read = self._read(parameters, autopilot.vehicle_type, on_wing=on_wing)
        self._request(parameters, read.unread, now_s)
        if not read.unread and read != self._used:
            self._used = read
            self.returns, self.speeds = _PLANS[firmware](read)
            self.agility = _agility(read, eases=firmware == _PX4)
            rate_deg_s = read.values.get("turn_deg_s")
            radius_m = read.values.get("turn_m", 0.0)
            turn_s = _FULL_CIRCLE_DEG / abs(rate_deg_s) if rate_deg_s else None
            self.circles = Circles(abs(radius_m), turn_s)

    def _look_at(self, autopilot: Autopilot, firmware: str | None, now_s: float) -> None:
        """Begin again with another vehicle or release, and after a restart."""
        release = autopilot.release
        seen = firmware, autopilot.vehicle_type, autopilot.restarts, release
        if seen == self._seen:
            return
        self._seen = seen
        self._used = None
        self.returns = None
        self.speeds = Speeds()
        self.agility = Agility()
        self.circles = UNKNOWN_CIRCLES
        self._rows = {}
        self._again = []
        self._again_s = now_s + _AGAIN_S
        for row in RETURN_PARAMETERS:
            fits = release is None or row.since <= release < row.before
            if row.firmware == firmware and fits:
                self._rows.setdefault(row.quantity, []).append(row)

    def _read(
        self, parameters: Parameters, vehicle_type: int | None, *, on_wing: bool | None
    ) -> _Read:
        pending = parameters.pending()
        absent = parameters.requested() - pending
        values = {
            "rover": float(vehicle_type in ROVER_TYPES),
            "flies": float(vehicle_type not in ROVER_TYPES),
            "rotors": float(vehicle_type not in (FIXED_WING_TYPE, *ROVER_TYPES)),
            "wing": float(vehicle_type in (FIXED_WING_TYPE, *VTOL_TYPES)),
        }
        missing = []
        unread = []
        for quantity, rows in self._rows.items():
            if rows[0].only and not values.get(rows[0].only):
                continue
            known = next((row for row in rows if row.name in parameters.values), None)
            untried = [row.name for row in rows if row.name not in absent]
            value = None if known is None else known.si(parameters.values[known.name])
            if value is not None:
                values[quantity] = value
            elif known is None and untried:
                unread.append(untried[0])
            elif not rows[0].optional:
                missing.append((known or rows[0]).name)
        return _Read(values, tuple(missing), on_wing, tuple(unread))

    def _request(self, parameters: Parameters, unread: Sequence[str], now_s: float) -> None:
        names = [row.name for rows in self._rows.values() for row in rows]
        if now_s >= self._again_s:
            self._again_s = now_s + _AGAIN_S
            self._rounds += 1
            known = {*parameters.values}
            if self._rounds % _ABSENT_ROUNDS == 0:
                known |= parameters.requested()
            self._again = [name for name in names if name in known]
        pending = parameters.pending()
        free = max(_WINDOW - len(pending.intersection(names)), 0)
        queue = [name for name in (*unread, *self._again) if name not in pending][:free]
        self._again = [name for name in self._again if name not in queue]
        parameters.refresh(*queue)


def _copter(read: _Read) -> tuple[ReturnPlan, Speeds]:
    get = read.values.get
    cruise_m_s = get("cruise_m_s")
    descent_m_s = get("descent_m_s")
    high_m_s = get("high_m_s")
    final_m = get("final_m")
    cone = get("cone")
    low_m = get("low_m")
    stays = final_m is not None and final_m > 0.0
    plan = ReturnPlan(
        cruise_m_s=_or_else(get("return_m_s"), cruise_m_s),
        climb_m_s=get("climb_m_s"),
        descent_m_s=descent_m_s if stays else _or_else(high_m_s, descent_m_s),
        landing_m_s=get("landing_m_s"),
        landing_height_m=None if low_m is None else max(low_m, _LANDING_AT_LEAST_M),
        # Above terrain: its height above home is not known.
        height_m=None if get("terrain") else get("height_m"),
        climb_at_least_m=get("climb_min_m", 0.0),
        cone_slope=cone if cone is not None and cone >= _CONE_LEAST else None,
        wait_s=get("wait_s", 0.0),
        wait_height_m=final_m if stays else None,
        lands=not stays,
        to=_home_or_rally(read),
        rally_within_m=get("rally_m") or None,
        missing=read.missing,
    )
    return plan, Speeds(cruise_m_s, get("climb_m_s"), descent_m_s)


def _plane(read: _Read) -> tuple[ReturnPlan, Speeds]:
    get = read.values.get
    speeds = Speeds(get("cruise_m_s"), get("climb_m_s"), get("descent_m_s"))
    to_landing = _TO_LANDING.get(get("landing"))
    height_m = get("height_m")
    mode = get("vtol_return")
    climbs_first = get("climb_min_m") or int(get("options", 0.0)) & _CLIMB_BEFORE_TURN
    plan = ReturnPlan(
        cruise_m_s=speeds.cruise_m_s,
        climb_m_s=speeds.climb_m_s,
        descent_m_s=speeds.descent_m_s,
        height_m=None if height_m is None else max(height_m, 0.0),  # -1: it stays where it is
        climbs_on_way=not climbs_first,
        lands=to_landing is not None,
        to=to_landing or _home_or_rally(read),
        rally_within_m=get("rally_m") or None,
        missing=read.missing,
    )
    if not mode:
        return plan, speeds
    plan = replace(
        plan,
        descent_m_s=get("vtol_dn_m_s"),
        landing_m_s=get("landing_m_s"),
        landing_height_m=get("low_m"),
        wait_height_m=get("vtol_m"),
        lands=True,
        to=_home_or_rally(read),
    )
    if mode == _QRTL_ALWAYS:
        plan = replace(
            plan,
            cruise_m_s=get("vtol_m_s"),
            climb_m_s=get("vtol_up_m_s"),
            height_m=get("vtol_m"),
            climbs_on_way=False,
            wait_height_m=None,
        )
    return plan, speeds


def _rover(read: _Read) -> tuple[ReturnPlan, Speeds]:
    get = read.values.get
    cruise_m_s = get("cruise_m_s")
    back_m_s = _or_else(get("return_m_s"), cruise_m_s)
    plan = ReturnPlan(
        back_m_s,
        lands=False,
        to=_home_or_rally(read),
        rally_within_m=get("rally_m") or None,
        missing=read.missing,
    )
    return plan, Speeds(cruise_m_s)


def _px4(read: _Read) -> tuple[ReturnPlan, Speeds]:
    get = read.values.get
    wing = Speeds(get("cruise_m_s"), get("climb_m_s"), get("descent_m_s"))
    rotor = Speeds(get("rotor_m_s"), get("rotor_up_m_s"), get("rotor_dn_m_s"))
    hovers = not get("wing") or read.on_wing is False
    now = rotor if hovers else wing
    delay_s = get("wait_s")
    number = get("type")
    to = ReturnTo.HOME if number is None else _RETURN_TO[int(number)]
    if get("rover"):  # drives there from where it is
        plan = ReturnPlan(get("rover_m_s"), lands=False, to=to, missing=read.missing)
        return plan, Speeds(get("rover_m_s"))
    if hovers and get("wing") and to is ReturnTo.LANDING_OR_RALLY:
        to = ReturnTo.NEAREST  # a VTOL in a hover
    plan = ReturnPlan(
        cruise_m_s=now.cruise_m_s,
        climb_m_s=now.climb_m_s,
        # On its rotors; a VTOL flies there on its wing, as far as it does.
        descent_m_s=rotor.descent_m_s if get("rotors") else wing.descent_m_s,
        landing_m_s=get("landing_m_s"),
        landing_height_m=_slow_height_m(read),
        height_m=get("height_m"),
        # The cone is as wide as RTL_MIN_DIST: in it the vehicle climbs little.
        level_within_m=get("level_m", 0.0) if hovers and get("cone") else 0.0,
        wait_s=max(delay_s or 0.0, 0.0),
        wait_height_m=get("wait_m"),
        circles_down_m_s=None if hovers else wing.descent_m_s,
        circle_m=0.0 if hovers else abs(get("circle_m", 0.0)),
        glide_m_s=None if hovers else _glide_m_s(read),
        approach_m_s=None if hovers else _approach_m_s(read),
        within_up_m=0.0 if hovers else get("circle_up_m", 0.0),
        on_rotors=hovers and bool(get("wing")),
        lands=delay_s is None or delay_s >= 0.0,
        to=to,
        missing=read.missing,
    )
    return plan, wing if get("wing") else rotor


def _approach_m_s(read: _Read) -> float | None:
    """Airspeed of a landing on a wing; FW_LND_AIRSPD of 0 or less stands for the least airspeed."""
    return read.values.get("approach_m_s", read.values.get("least_m_s"))


def _glide_m_s(read: _Read) -> float | None:
    """Sink rate of a landing in circles, as `control_auto_landing_circular` has it."""
    air_m_s = _approach_m_s(read)
    slope_deg = read.values.get("glide_deg")
    if air_m_s is None or slope_deg is None:
        return None
    return air_m_s * math.sin(math.atan(math.radians(slope_deg)))


def _agility(read: _Read, *, eases: bool) -> Agility:
    """How the speed changes; `eases` towards the end of a line that counts as flown before it."""
    get = read.values.get
    up_m_s2 = get("up_m_s2")
    agility = Agility(
        level_m_s2=get("level_m_s2"),
        up_m_s2=up_m_s2,
        down_m_s2=get("down_m_s2") if eases else up_m_s2,  # ArduCopter has one of both
        jerk_m_s3=get("jerk_m_s3"),
    )
    within_m = get("within_m")
    within_up_m = get("within_up_m")
    if not eases or within_m is None or within_up_m is None:
        return agility
    return replace(agility, eases=True, within_m=within_m, within_up_m=within_up_m)


def _slow_height_m(read: _Read) -> float | None:
    """Height below which a landing at MPC_LAND_SPEED takes as long as that of PX4.

    Between MPC_LAND_ALT1 and MPC_LAND_ALT2 the speed falls in proportion to the height.
    """
    get = read.values.get
    low_m = get("low_m")
    slow_m = get("slow_m")
    fast_m_s = get("rotor_dn_m_s")
    landing_m_s = get("landing_m_s")
    if low_m is None or slow_m is None or fast_m_s is None or landing_m_s is None:
        return None
    if slow_m <= low_m or fast_m_s <= landing_m_s:
        return low_m
    takes_s_per_m = math.log(fast_m_s / landing_m_s) / (fast_m_s - landing_m_s)
    slow_frac = (takes_s_per_m - 1.0 / fast_m_s) / (1.0 / landing_m_s - 1.0 / fast_m_s)
    return low_m + (slow_m - low_m) * slow_frac


def _home_or_rally(read: _Read) -> ReturnTo:
    """ArduPilot's return; firmware without rally points has no parameter of them."""
    includes_home = read.values.get("rally")
    if includes_home is None:
        return ReturnTo.HOME
    return ReturnTo.HOME_OR_RALLY if includes_home else ReturnTo.RALLY


def _or_else(value: float | None, default: float | None) -> float | None:
    """A value for which 0 stands for another one."""
    return default if value == 0.0 else value


_PLANS: Mapping[str, Callable[[_Read], tuple[ReturnPlan, Speeds]]] = MappingProxyType(
    {_COPTER: _copter, _PLANE: _plane, _ROVER: _rover, _PX4: _px4}
)

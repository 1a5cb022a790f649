# SPDX-License-Identifier: Apache-2.0
"""The parameters of a return and of the speeds, by firmware and release.

ArduPilot renamed many of them and changed their units: 4.5 of ArduPlane, 4.7 of ArduCopter.
Source: ArduCopter Parameters.cpp, the 4.7 changes SI parameters (pull requests 31970 and 32147 of
ArduPilot); ArduPlane Parameters.cpp and quadplane.cpp, converted in 4.5 (pull request 26025); Rover
Parameters.cpp; AP_Rally.cpp; AC_Circle.cpp; PX4 rtl_params.yaml.
"""

from dataclasses import dataclass, replace

from mavlink_bridge.protocol.flight_stacks import ANY_RELEASE, Release

COPTER = "ArduCopter"
PLANE = "ArduPlane"
ROVER = "ArduRover"
PX4 = "PX4"
_LATEST: Release = (255, 255, 255)
_45: Release = (4, 5, 0)
_47: Release = (4, 7, 0)
_BETA = 128  # development versions before it have one of the two names
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


def _renamed(
    release: Release,
    old_name: str,
    old_unit: float,
    row: ReturnParameter,
    old_least: float | None = None,
) -> tuple[ReturnParameter, ReturnParameter]:
    """A row and that of its name before a release, whose range is the same in SI units.

    Args:
        release: that has the new name.
        old_name: before it.
        old_unit: of the old one, in SI units.
        row: of the new name.
        old_least: least value of the old one, where that stands for something else.
    """
    major, minor, _ = release
    old = replace(
        row,
        name=old_name,
        least=row.least / old_unit if old_least is None else old_least,
        most=row.most / old_unit,
        unit=old_unit,
        before=(major, minor, _BETA),
    )
    return replace(row, since=release), old


# fmt: off
RETURN_PARAMETERS = (
    *_renamed(_47, "RTL_ALT",         _CM, ReturnParameter(COPTER, "height_m",     "RTL_ALT_M",        0.0, 30_000.0)),
    *_renamed(_47, "RTL_SPEED",       _CM, ReturnParameter(COPTER, "return_m_s",   "RTL_SPEED_MS",     0.0, 100.0)),
    *_renamed(_47, "WPNAV_SPEED",     _CM, ReturnParameter(COPTER, "cruise_m_s",   "WP_SPD",           0.1, 100.0)),
    *_renamed(_47, "WPNAV_SPEED_UP",  _CM, ReturnParameter(COPTER, "climb_m_s",    "WP_SPD_UP",        0.1, 50.0)),
    *_renamed(_47, "WPNAV_SPEED_DN",  _CM, ReturnParameter(COPTER, "descent_m_s",  "WP_SPD_DN",        0.1, 50.0)),
    *_renamed(_47, "LAND_SPEED",      _CM, ReturnParameter(COPTER, "landing_m_s",  "LAND_SPD_MS",      0.1, 10.0)),
    *_renamed(_47, "LAND_SPEED_HIGH", _CM, ReturnParameter(COPTER, "high_m_s",     "LAND_SPD_HIGH_MS", 0.0, 50.0)),
    *_renamed(_47, "LAND_ALT_LOW",    _CM, ReturnParameter(COPTER, "low_m",        "LAND_ALT_LOW_M",   0.0, 1000.0)),
    *_renamed(_47, "RTL_ALT_FINAL",   _CM, ReturnParameter(COPTER, "final_m",      "RTL_ALT_FINAL_M",  -1.0, 1000.0), old_least=-1.0),
    *_renamed(_47, "RTL_CLIMB_MIN",   _CM, ReturnParameter(COPTER, "climb_min_m",  "RTL_CLIMB_MIN_M",  0.0, 1000.0)),
    *_renamed(_47, "WPNAV_ACCEL",     _CM, ReturnParameter(COPTER, "level_m_s2",   "WP_ACC",           0.1, 50.0, optional=True)),
    *_renamed(_47, "WPNAV_ACCEL_Z",   _CM, ReturnParameter(COPTER, "up_m_s2",      "WP_ACC_Z",         0.1, 50.0, optional=True)),
    *_renamed(_47, "WPNAV_JERK",      1.0, ReturnParameter(COPTER, "jerk_m_s3",    "WP_JERK",          0.1, 100.0, optional=True)),
    ReturnParameter(COPTER, "wait_s",       "RTL_LOIT_TIME",    0.0, 3.6e6, _MS),
    ReturnParameter(COPTER, "cone",         "RTL_CONE_SLOPE",   0.0, 100.0),
    ReturnParameter(COPTER, "terrain",      "RTL_ALT_TYPE",     0.0, 1.0, optional=True),
    ReturnParameter(COPTER, "turn_deg_s",   "CIRCLE_RATE",      -180.0, 180.0, optional=True),
    ReturnParameter(COPTER, "rally",        "RALLY_INCL_HOME",  0.0, 1.0, optional=True),
    ReturnParameter(COPTER, "rally_m",      "RALLY_LIMIT_KM",   0.0, 100.0, _KM, optional=True),
    *_renamed(_45, "ALT_HOLD_RTL",    _CM, ReturnParameter(PLANE,  "height_m",     "RTL_ALTITUDE",     -1.0, 30_000.0), old_least=-1.0),
    *_renamed(_45, "TRIM_ARSPD_CM",   _CM, ReturnParameter(PLANE,  "cruise_m_s",   "AIRSPEED_CRUISE",  1.0, 200.0)),
    ReturnParameter(PLANE,  "climb_m_s",    "TECS_CLMB_MAX",    0.1, 50.0),
    ReturnParameter(PLANE,  "descent_m_s",  "TECS_SINK_MAX",    0.1, 50.0),
    ReturnParameter(PLANE,  "climb_min_m",  "RTL_CLIMB_MIN",    0.0, 1000.0, optional=True),
    ReturnParameter(PLANE,  "options",      "FLIGHT_OPTIONS",   0.0, 2.0**31, optional=True),
    ReturnParameter(PLANE,  "landing",      "RTL_AUTOLAND",     0.0, 4.0),
    ReturnParameter(PLANE,  "turn_m",       "WP_LOITER_RAD",    -32_767.0, 32_767.0, optional=True),
    ReturnParameter(PLANE,  "rally",        "RALLY_INCL_HOME",  0.0, 1.0, optional=True),
    ReturnParameter(PLANE,  "rally_m",      "RALLY_LIMIT_KM",   0.0, 100.0, _KM, optional=True),
    ReturnParameter(PLANE,  "vtol",         "Q_ENABLE",         0.0, 2.0, optional=True),
    ReturnParameter(PLANE,  "vtol_return",  "Q_RTL_MODE",       0.0, 3.0, only="vtol"),
    ReturnParameter(PLANE,  "vtol_m",       "Q_RTL_ALT",        0.0, 1000.0, only="vtol"),
    *_renamed(_47, "Q_WP_SPEED",      _CM, ReturnParameter(PLANE,  "vtol_m_s",     "Q_WP_SPD",         0.1, 100.0, only="vtol")),
    *_renamed(_47, "Q_WP_SPEED_UP",   _CM, ReturnParameter(PLANE,  "vtol_up_m_s",  "Q_WP_SPD_UP",      0.1, 50.0, only="vtol")),
    *_renamed(_47, "Q_WP_SPEED_DN",   _CM, ReturnParameter(PLANE,  "vtol_dn_m_s",  "Q_WP_SPD_DN",      0.1, 50.0, only="vtol")),
    ReturnParameter(PLANE,  "level_m_s2",   "Q_TRANS_DECEL",    0.1, 50.0, only="vtol", optional=True),
    *_renamed(_45, "Q_LAND_SPEED",    _CM, ReturnParameter(PLANE,  "landing_m_s",  "Q_LAND_FINAL_SPD", 0.1, 10.0, only="vtol")),
    ReturnParameter(PLANE,  "low_m",        "Q_LAND_FINAL_ALT", 0.0, 100.0, only="vtol"),
    ReturnParameter(ROVER,  "return_m_s",   "RTL_SPEED",        0.0, 100.0),
    ReturnParameter(ROVER,  "cruise_m_s",   "WP_SPEED",         0.1, 100.0),
    ReturnParameter(ROVER,  "rally",        "RALLY_INCL_HOME",  0.0, 1.0, optional=True),
    ReturnParameter(ROVER,  "rally_m",      "RALLY_LIMIT_KM",   0.0, 100.0, _KM, optional=True),
    ReturnParameter(PX4,    "type",         "RTL_TYPE",         0.0, 5.0),
    ReturnParameter(PX4,    "height_m",     "RTL_RETURN_ALT",   0.0, 10_000.0, only="flies"),
    ReturnParameter(PX4,    "wait_m",       "RTL_DESCEND_ALT",  0.0, 10_000.0, only="flies"),
    ReturnParameter(PX4,    "wait_s",       "RTL_LAND_DELAY",   -1.0, 1e5, only="flies"),
    ReturnParameter(PX4,    "cone",         "RTL_CONE_ANG",     0.0, 90.0, only="rotors"),
    ReturnParameter(PX4,    "level_m",      "RTL_MIN_DIST",     0.0, 10_000.0, only="rotors"),
    ReturnParameter(PX4,    "rotor_m_s",    "MPC_XY_CRUISE",    0.1, 100.0, only="rotors"),
    ReturnParameter(PX4,    "rotor_up_m_s", "MPC_Z_V_AUTO_UP",  0.1, 50.0, only="rotors"),
    ReturnParameter(PX4,    "rotor_dn_m_s", "MPC_Z_V_AUTO_DN",  0.1, 50.0, only="rotors"),
    ReturnParameter(PX4,    "landing_m_s",  "MPC_LAND_SPEED",   0.1, 10.0, only="rotors"),
    ReturnParameter(PX4,    "slow_m",       "MPC_LAND_ALT1",    0.0, 1000.0, only="rotors"),
    ReturnParameter(PX4,    "low_m",        "MPC_LAND_ALT2",    0.0, 1000.0, only="rotors"),
    ReturnParameter(PX4,    "level_m_s2",   "MPC_ACC_HOR",      0.1, 50.0, only="rotors", optional=True),
    ReturnParameter(PX4,    "up_m_s2",      "MPC_ACC_UP_MAX",   0.1, 50.0, only="rotors", optional=True),
    ReturnParameter(PX4,    "down_m_s2",    "MPC_ACC_DOWN_MAX", 0.1, 50.0, only="rotors", optional=True),
    ReturnParameter(PX4,    "jerk_m_s3",    "MPC_JERK_AUTO",    0.1, 100.0, only="rotors", optional=True),
    ReturnParameter(PX4,    "within_m",     "NAV_ACC_RAD",      0.05, 200.0, only="rotors", optional=True),
    ReturnParameter(PX4,    "within_up_m",  "NAV_MC_ALT_RAD",   0.05, 200.0, only="rotors", optional=True),
    ReturnParameter(PX4,    "rover_m_s",    "RO_SPEED_LIM",     0.1, 100.0, only="rover"),
    ReturnParameter(PX4,    "cruise_m_s",   "FW_AIRSPD_TRIM",   0.5, 200.0, only="wing"),
    ReturnParameter(PX4,    "climb_m_s",    "FW_T_CLMB_R_SP",   0.1, 50.0, only="wing"),
    ReturnParameter(PX4,    "descent_m_s",  "FW_T_SINK_R_SP",   0.1, 50.0, only="wing"),
    ReturnParameter(PX4,    "circle_m",     "RTL_LOITER_RAD",   -1e4, 1e4, only="wing", optional=True),
    ReturnParameter(PX4,    "circle_up_m",  "NAV_FW_ALT_RAD",   0.05, 200.0, only="wing", optional=True),
    ReturnParameter(PX4,    "least_m_s",    "FW_AIRSPD_MIN",    0.5, 200.0, only="wing", optional=True),
    ReturnParameter(PX4,    "approach_m_s", "FW_LND_AIRSPD",    0.5, 200.0, only="wing", optional=True),
    ReturnParameter(PX4,    "glide_deg",    "FW_LND_ANG",       1.0, 45.0, only="wing", optional=True),
)
# fmt: on

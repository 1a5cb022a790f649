# SPDX-License-Identifier: Apache-2.0
"""A value that no vehicle can have is unknown: the range of each quantity, under each of its names.

A quantity has one range in SI units, whatever the firmware calls its parameter. An earlier release
with another unit must accept and reject the same speeds and heights.
"""

import math
from collections.abc import Mapping
from itertools import chain

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.flight_plan import Agility, ReturnPlan, ReturnTo, Speeds
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.mission_items import UNKNOWN_CIRCLES, Circles
from mavlink_bridge.protocol.parameters import Parameters
from mavlink_bridge.vehicle.return_parameters import ReturnParameters
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, COPTER, PLANE, PX4, ROVER, SUB, VTOL
from tests.mavlink_bridge.vehicle.test_return_parameters import (
    COPTER_AGILITY,
    COPTER_PLAN,
    COPTER_SPEEDS,
    NEW_COPTER,
    OLD_COPTER,
    OLD_PLANE,
    OWN_PLANE,
    PLANE_PLAN,
    PX4_AGILITY,
    PX4_PLAN,
    PX4_RETURN,
    PX4_ROTORS,
    PX4_WING,
    QUADPLANE,
    QUADPLANE_PLAN,
    SLOW_M,
    assert_close,
    release,
)

Row = tuple[str, float, float, float]  # parameter, least and most in SI units, its unit in SI
CM, MS, KM = 0.01, 0.001, 1000.0
HEIGHT, LEVEL, VERTICAL, LANDING = (0.0, 30e3), (0.0, 100.0), (0.0, 50.0), (0.1, 10.0)
CRUISE, CLIMB, AIRSPEED = (0.1, 100.0), (0.1, 50.0), (1.0, 200.0)
RANGES: dict[tuple[int, int, int], tuple[Row, ...]] = {
    (ARDUPILOT, COPTER, release(4, 7)): (
        ("RTL_ALT_M", *HEIGHT, 1.0), ("RTL_SPEED_MS", *LEVEL, 1.0), ("WP_SPD", *CRUISE, 1.0),
        ("WP_SPD_UP", *CLIMB, 1.0), ("WP_SPD_DN", *CLIMB, 1.0), ("LAND_SPD_MS", *LANDING, 1.0),
        ("LAND_SPD_HIGH_MS", *VERTICAL, 1.0), ("LAND_ALT_LOW_M", 0.0, 1e3, 1.0),
        ("RTL_ALT_FINAL_M", -1.0, 1e3, 1.0), ("RTL_CLIMB_MIN_M", 0.0, 1e3, 1.0),
        ("WP_ACC", *CLIMB, 1.0), ("WP_ACC_Z", *CLIMB, 1.0), ("WP_JERK", *CRUISE, 1.0),
        ("RTL_LOIT_TIME", 0.0, 3600.0, MS), ("RTL_CONE_SLOPE", 0.0, 100.0, 1.0),
        ("RTL_ALT_TYPE", 0.0, 1.0, 1.0), ("CIRCLE_RATE", -180.0, 180.0, 1.0),
        ("RALLY_INCL_HOME", 0.0, 1.0, 1.0), ("RALLY_LIMIT_KM", 0.0, 100e3, KM),
    ),
    (ARDUPILOT, COPTER, release(4, 6)): (
        ("RTL_ALT", *HEIGHT, CM), ("RTL_SPEED", *LEVEL, CM), ("WPNAV_SPEED", *CRUISE, CM),
        ("WPNAV_SPEED_UP", *CLIMB, CM), ("WPNAV_SPEED_DN", *CLIMB, CM),
        ("LAND_SPEED", *LANDING, CM), ("LAND_SPEED_HIGH", *VERTICAL, CM),
        ("LAND_ALT_LOW", 0.0, 1e3, CM), ("RTL_ALT_FINAL", -0.01, 1e3, CM),
        ("RTL_CLIMB_MIN", 0.0, 1e3, CM), ("WPNAV_ACCEL", *CLIMB, CM),
        ("WPNAV_ACCEL_Z", *CLIMB, CM), ("WPNAV_JERK", *CRUISE, 1.0),
    ),
    (ARDUPILOT, PLANE, release(4, 7)): (
        ("RTL_ALTITUDE", -1.0, 30e3, 1.0), ("AIRSPEED_CRUISE", *AIRSPEED, 1.0),
        ("TECS_CLMB_MAX", *CLIMB, 1.0), ("TECS_SINK_MAX", *CLIMB, 1.0),
        ("RTL_AUTOLAND", 0.0, 4.0, 1.0), ("WP_LOITER_RAD", -32_767.0, 32_767.0, 1.0),
        ("RTL_CLIMB_MIN", 0.0, 1e3, 1.0), ("FLIGHT_OPTIONS", 0.0, 2.0**31, 1.0),
        ("RALLY_INCL_HOME", 0.0, 1.0, 1.0), ("RALLY_LIMIT_KM", 0.0, 100e3, KM),
        ("Q_ENABLE", 0.0, 2.0, 1.0), ("Q_RTL_MODE", 0.0, 3.0, 1.0), ("Q_RTL_ALT", 0.0, 1e3, 1.0),
        ("Q_WP_SPD", *CRUISE, 1.0), ("Q_WP_SPD_UP", *CLIMB, 1.0), ("Q_WP_SPD_DN", *CLIMB, 1.0),
        ("Q_LAND_FINAL_SPD", *LANDING, 1.0), ("Q_LAND_FINAL_ALT", 0.0, 100.0, 1.0),
        ("Q_TRANS_DECEL", *CLIMB, 1.0),
    ),
    (ARDUPILOT, PLANE, release(4, 4)): (
        ("ALT_HOLD_RTL", -0.01, 30e3, CM), ("TRIM_ARSPD_CM", *AIRSPEED, CM),
        ("Q_WP_SPEED", *CRUISE, CM), ("Q_WP_SPEED_UP", *CLIMB, CM), ("Q_WP_SPEED_DN", *CLIMB, CM),
        ("Q_LAND_SPEED", *LANDING, CM),
    ),
    (ARDUPILOT, ROVER, release(4, 6)): (
        ("RTL_SPEED", *LEVEL, 1.0), ("WP_SPEED", *CRUISE, 1.0), ("RALLY_INCL_HOME", 0.0, 1.0, 1.0),
        ("RALLY_LIMIT_KM", 0.0, 100e3, KM),
    ),
    (PX4, COPTER, release(1, 16)): (
        ("RTL_TYPE", 0.0, 5.0, 1.0), ("RTL_RETURN_ALT", 0.0, 10e3, 1.0),
        ("RTL_DESCEND_ALT", 0.0, 10e3, 1.0), ("RTL_LAND_DELAY", -1.0, 1e5, 1.0),
        ("RTL_CONE_ANG", 0.0, 90.0, 1.0), ("RTL_MIN_DIST", 0.0, 10e3, 1.0),
        ("MPC_XY_CRUISE", *CRUISE, 1.0), ("MPC_Z_V_AUTO_UP", *CLIMB, 1.0),
        ("MPC_Z_V_AUTO_DN", *CLIMB, 1.0), ("MPC_LAND_SPEED", *LANDING, 1.0),
        ("MPC_LAND_ALT1", 0.0, 1e3, 1.0), ("MPC_LAND_ALT2", 0.0, 1e3, 1.0),
        ("MPC_ACC_HOR", *CLIMB, 1.0), ("MPC_ACC_UP_MAX", *CLIMB, 1.0),
        ("MPC_ACC_DOWN_MAX", *CLIMB, 1.0), ("MPC_JERK_AUTO", *CRUISE, 1.0),
        ("NAV_ACC_RAD", 0.05, 200.0, 1.0), ("NAV_MC_ALT_RAD", 0.05, 200.0, 1.0),
    ),
    (PX4, ROVER, release(1, 16)): (("RO_SPEED_LIM", *CRUISE, 1.0),),
    (PX4, PLANE, release(1, 16)): (
        ("FW_AIRSPD_TRIM", 0.5, 200.0, 1.0), ("FW_T_CLMB_R_SP", *CLIMB, 1.0),
        ("FW_T_SINK_R_SP", *CLIMB, 1.0), ("RTL_LOITER_RAD", -10e3, 10e3, 1.0),
        ("NAV_FW_ALT_RAD", 0.05, 200.0, 1.0), ("FW_AIRSPD_MIN", 0.5, 200.0, 1.0),
        ("FW_LND_AIRSPD", 0.5, 200.0, 1.0), ("FW_LND_ANG", 1.0, 45.0, 1.0),
    ),
}  # fmt: skip
NEW_QUADPLANE = {"Q_WP_SPD": 5, "Q_WP_SPD_UP": 2.5, "Q_WP_SPD_DN": 1.5}
OLD_QUADPLANE = {"Q_LAND_SPEED": 50}
ROVER_OWN = {"RTL_SPEED": 3, "WP_SPEED": 4, "RALLY_INCL_HOME": 1, "RALLY_LIMIT_KM": 0.3}
# Of each vehicle: values that use every parameter above.
OWN: dict[tuple[int, int, int], dict[str, float]] = {
    (ARDUPILOT, COPTER, release(4, 7)): NEW_COPTER | {"RTL_ALT_FINAL_M": 2},
    (ARDUPILOT, COPTER, release(4, 6)): OLD_COPTER | {"RTL_ALT_FINAL": 200},
    (ARDUPILOT, PLANE, release(4, 7)): OWN_PLANE
    | {
        "WP_LOITER_RAD": 60,
        "RALLY_LIMIT_KM": 0.3,
        "RTL_CLIMB_MIN": 0,
        "FLIGHT_OPTIONS": 0,
        "Q_TRANS_DECEL": 2,
    }
    | {**QUADPLANE, **NEW_QUADPLANE},
    (ARDUPILOT, PLANE, release(4, 4)): OLD_PLANE
    | {"WP_LOITER_RAD": 60, "RALLY_LIMIT_KM": 0.3, **QUADPLANE, **OLD_QUADPLANE},
    (ARDUPILOT, ROVER, release(4, 6)): ROVER_OWN,
    (PX4, COPTER, release(1, 16)): PX4_RETURN | PX4_ROTORS,
    (PX4, ROVER, release(1, 16)): {**PX4_RETURN, "RO_SPEED_LIM": 2},
    (PX4, PLANE, release(1, 16)): {**PX4_RETURN, **PX4_WING},
}
ROWS = [(vehicle, *row) for vehicle, rows in RANGES.items() for row in rows]


def received(message: mavlink.MAVLink_message) -> mavlink.MAVLink_message:
    """A message of the autopilot as it comes from a link."""
    return mavlink.MAVLink(None).decode(bytearray(message.pack(mavlink.MAVLink(None, 1, 1))))


def heartbeat(vehicle_type: int = COPTER, autopilot: int = ARDUPILOT) -> mavlink.MAVLink_message:
    """A heartbeat as it comes from a link."""
    return received(mavlink.MAVLink_heartbeat_message(vehicle_type, autopilot, 0, 0, 4, 3))


def followed(autopilot: int, vehicle_type: int, version: int | None) -> Autopilot:
    """An autopilot that has sent its heartbeat and its release, if any."""
    found, zeros = Autopilot(), [0] * 8
    found.receive(heartbeat(vehicle_type, autopilot), 0.0)
    if version is not None:
        message = mavlink.MAVLink_autopilot_version_message(
            0, version, 0, 0, 0, zeros, zeros, zeros, 0, 0, 0
        )
        found.receive(received(message), 0.0)
    return found


def answered(names: Mapping[str, float]) -> Parameters:
    """The values of a vehicle, as after its answers."""
    found = Parameters()
    found.values.update(names)
    return found


Found = tuple[ReturnPlan | None, Speeds, Agility, Circles]


def read(
    vehicle: tuple[int, int, int],
    own: Mapping[str, float],
    *,
    on_wing: bool | None = None,
) -> Found:
    """All that follows from the parameters of a vehicle."""
    reader = ReturnParameters()
    autopilot, vehicle_type, version = vehicle
    # What it does not have it has not answered in spite of all tries.
    parameters = answered(own)
    missing = {name for rows in RANGES.values() for name, *_ in rows} - own.keys()
    parameters.refresh(*missing)
    for second in range(8):
        parameters.due(1, float(second), bytewise=False)
    vehicle_now = followed(autopilot, vehicle_type, version)
    for now_s in (2.0, 4.0):  # without a release it is waited for
        vehicle_now.receive(heartbeat(vehicle_type, autopilot), now_s)
    reader.step(parameters, vehicle_now, 4.0, on_wing=on_wing)
    return reader.returns, reader.speeds, reader.agility, reader.circles


def just(value: float, beyond: float) -> float:
    """A value that a 32 bit float distinguishes from another one, a little beyond it."""
    return value + math.copysign(max(abs(value) * 1e-6, 1e-6), beyond)


@pytest.mark.parametrize(
    ("vehicle", "name", "least", "most", "unit"),
    ROWS,
    ids=[f"{row[1]}-{index}" for index, row in enumerate(ROWS)],
)
def test_a_value_outside_of_the_range_of_its_quantity_is_unknown(
    vehicle: tuple[int, int, int], name: str, least: float, most: float, unit: float
) -> None:
    own = OWN[vehicle]
    unknown = read(vehicle, own | {name: math.nan})
    returns, *_ = unknown
    assert returns is not None
    for bound, beyond in ((least / unit, -1.0), (most / unit, 1.0)):
        outside = just(bound, beyond)
        assert read(vehicle, own | {name: outside}) == unknown, outside
        inside = just(bound, -beyond)
        # 0 stands for another value, or for none.
        if bound != 0.0 or name in returns.missing:
            assert read(vehicle, own | {name: inside}) != unknown, inside


OPTIONAL = {  # firmware may be without them
    "WP_ACC", "WP_ACC_Z", "WP_JERK", "WPNAV_ACCEL", "WPNAV_ACCEL_Z", "WPNAV_JERK", "RTL_ALT_TYPE",
    "CIRCLE_RATE", "RALLY_INCL_HOME", "RALLY_LIMIT_KM", "WP_LOITER_RAD", "Q_ENABLE", "MPC_ACC_HOR",
    "MPC_ACC_UP_MAX", "MPC_ACC_DOWN_MAX", "MPC_JERK_AUTO", "NAV_ACC_RAD", "NAV_MC_ALT_RAD",
    "FLIGHT_OPTIONS", "Q_TRANS_DECEL", "RTL_LOITER_RAD", "NAV_FW_ALT_RAD", "FW_AIRSPD_MIN",
    "FW_LND_AIRSPD", "FW_LND_ANG",
}  # fmt: skip


@pytest.mark.parametrize("vehicle", RANGES, ids=str)
def test_a_parameter_that_is_absent_or_impossible_is_named_unless_firmware_may_lack_it(
    vehicle: tuple[int, int, int],
) -> None:
    for row in RANGES[vehicle]:
        name = row[0]
        without = {one: value for one, value in OWN[vehicle].items() if one != name}
        for own in (without, without | {name: math.nan}):
            returns, *_ = read(vehicle, own)
            assert returns is not None
            # Copters and planes have a parameter of this name.
            is_optional = name in OPTIONAL or (vehicle[1], name) == (PLANE, "RTL_CLIMB_MIN")
            assert returns.missing == (() if is_optional else (name,))


@pytest.mark.parametrize(
    ("version", "new", "old"),
    [
        (release(4, 4, 255), False, True),
        (release(4, 5, 0), True, True),  # a development version has one of the two
        (release(4, 5, 127), True, True),
        (release(4, 5, 128), True, False),  # beta
        (release(4, 5, 192), True, False),
        (release(4, 5, 255), True, False),
        (release(4, 99, 255), True, False),
        (release(5, 0, 0), True, False),
    ],
)
@pytest.mark.parametrize(
    ("vehicle_type", "minor_more", "names"),
    [
        (PLANE, 0, ("AIRSPEED_CRUISE", "TRIM_ARSPD_CM")),
        (PLANE, 0, ("RTL_ALTITUDE", "ALT_HOLD_RTL")),
        (COPTER, 2, ("WP_SPD", "WPNAV_SPEED")),
        (COPTER, 2, ("RTL_ALT_M", "RTL_ALT")),
    ],
)
def test_each_release_is_requested_the_names_that_it_has(
    version: int,
    vehicle_type: int,
    minor_more: int,
    names: tuple[str, str],
    *,
    new: bool,
    old: bool,
) -> None:
    later = version + (minor_more << 16 if version >> 24 == 4 else 0)
    reader, parameters = ReturnParameters(), Parameters()
    vehicle = followed(ARDUPILOT, vehicle_type, later)
    requested: set[str] = set()
    for now_s in range(1, 200):
        vehicle.receive(heartbeat(vehicle_type), float(now_s))
        reader.step(parameters, vehicle, float(now_s), on_wing=None)
        requested |= parameters.pending()
        parameters.due(1, float(now_s), bytewise=False)
    assert [name in requested for name in names] == [new, old]


def test_a_quantity_of_an_unknown_release_is_named_as_the_newest_has_it() -> None:
    own = {name: value for name, value in OLD_COPTER.items() if name != "WPNAV_SPEED"}
    returns, *_ = read((ARDUPILOT, COPTER, 0), own)
    assert returns is not None
    assert returns.missing == ("WP_SPD",)


COPTER_47, PLANE_47 = (ARDUPILOT, COPTER, release(4, 7)), (ARDUPILOT, PLANE, release(4, 7))
PX4_COPTER = (PX4, COPTER, release(1, 16))
PX4_HOVERS = PX4_RETURN | PX4_ROTORS


@pytest.mark.parametrize(
    ("vehicle", "own", "plan", "speeds", "agility"),
    [
        (COPTER_47, NEW_COPTER, COPTER_PLAN, COPTER_SPEEDS, COPTER_AGILITY),
        (
            (ARDUPILOT, COPTER, release(4, 6)),
            OLD_COPTER,
            COPTER_PLAN,
            COPTER_SPEEDS,
            COPTER_AGILITY,
        ),
        ((ARDUPILOT, COPTER, 0), OLD_COPTER, COPTER_PLAN, COPTER_SPEEDS, COPTER_AGILITY),
        ((ARDUPILOT, COPTER, 0), NEW_COPTER, COPTER_PLAN, COPTER_SPEEDS, COPTER_AGILITY),
        (PLANE_47, OWN_PLANE, PLANE_PLAN, Speeds(22.0, 5.0, 4.0), Agility()),
        (
            *(PLANE_47, OWN_PLANE | QUADPLANE | NEW_QUADPLANE, QUADPLANE_PLAN),
            *(Speeds(22.0, 5.0, 4.0), Agility()),
        ),
        (
            *((ARDUPILOT, PLANE, release(4, 4)), OLD_PLANE | QUADPLANE | OLD_QUADPLANE),
            *(QUADPLANE_PLAN, Speeds(22.0, 5.0, 4.0), Agility()),
        ),
        (
            *((ARDUPILOT, ROVER, release(4, 6)), ROVER_OWN),
            ReturnPlan(3.0, lands=False, to=ReturnTo.HOME_OR_RALLY, rally_within_m=300.0),
            *(Speeds(4.0), Agility()),
        ),
        (PX4_COPTER, PX4_HOVERS, PX4_PLAN, Speeds(5.0, 3.0, 1.5), PX4_AGILITY),
    ],
)
def test_return_speeds_and_agility_follow_from_the_answers(
    vehicle: tuple[int, int, int],
    own: dict[str, float],
    plan: ReturnPlan,
    speeds: Speeds,
    agility: Agility,
) -> None:
    returns, found, changes, _ = read(vehicle, own)
    assert_close(returns, plan)
    assert found == speeds
    assert changes == agility


@pytest.mark.parametrize(
    ("vehicle", "own", "radius_m", "turn_s"),
    [
        (COPTER_47, NEW_COPTER | {"CIRCLE_RATE": 20.0}, 0.0, 18.0),
        (COPTER_47, NEW_COPTER | {"CIRCLE_RATE": -36.0}, 0.0, 10.0),  # the other way round
        (COPTER_47, NEW_COPTER | {"CIRCLE_RATE": 0.0}, 0.0, None),
        (PLANE_47, OWN_PLANE | {"WP_LOITER_RAD": 60.0}, 60.0, None),
        (PLANE_47, OWN_PLANE | {"WP_LOITER_RAD": -80.0}, 80.0, None),
        (PLANE_47, OWN_PLANE, 0.0, None),
        (PX4_COPTER, PX4_HOVERS, 0.0, None),
    ],
)
def test_a_circle_has_the_radius_or_the_time_of_its_parameter(
    vehicle: tuple[int, int, int], own: dict[str, float], radius_m: float, turn_s: float | None
) -> None:
    *_, circles = read(vehicle, own)
    assert circles == Circles(radius_m, turn_s)


@pytest.mark.parametrize(
    ("changes", "height_m"),
    [
        ({}, SLOW_M),
        ({"MPC_LAND_ALT1": 5.5}, 5.0 + 0.1 * (SLOW_M - 5.0)),  # a tenth of the way
        ({"MPC_LAND_ALT1": 5.0}, 5.0),
        ({"MPC_LAND_ALT1": 2.0}, 5.0),
        ({"MPC_Z_V_AUTO_DN": 0.7}, 5.0),  # as slow as the landing
        ({"MPC_Z_V_AUTO_DN": 0.5}, 5.0),
        # From 2 to 1 m/s it takes 5 ln 2 s = 3.466 s; all but x at 2 m/s and x at 1 m/s as long.
        ({"MPC_Z_V_AUTO_DN": 2.0, "MPC_LAND_SPEED": 1.0}, 5.0 + 1.931),
        *[({name: -1.0}, None) for name in ("MPC_LAND_ALT1", "MPC_LAND_ALT2", "MPC_Z_V_AUTO_DN")],
    ],
)
def test_px4_lands_slowly_below_the_height_that_takes_as_long(
    changes: dict[str, float], height_m: float | None
) -> None:
    returns, *_ = read(PX4_COPTER, PX4_HOVERS | changes)
    assert returns is not None
    assert returns.landing_height_m == (None if height_m is None else pytest.approx(height_m, 1e-3))


@pytest.mark.parametrize(("on_wing", "hovers"), [(None, False), (True, False), (False, True)])
def test_a_vtol_returns_as_it_flies_now(*, on_wing: bool | None, hovers: bool) -> None:
    vehicle = PX4, VTOL, release(1, 16)
    returns, speeds, *_ = read(vehicle, PX4_HOVERS | PX4_WING, on_wing=on_wing)
    assert returns is not None
    found = returns.cruise_m_s, returns.climb_m_s, returns.descent_m_s, returns.level_within_m
    # It lands on its rotors in both cases.
    assert found == ((5.0, 3.0, 1.5, 10.0) if hovers else (15.0, 3.0, 1.5, 0.0))
    assert speeds == Speeds(15.0, 3.0, 2.0)


@pytest.mark.parametrize(
    ("changes", "approach_m_s", "glide_m_s"),
    [
        ({}, 10.0, 0.8694),
        ({"FW_LND_AIRSPD": 12.0}, 12.0, 1.0433),
        ({"FW_LND_ANG": 10.0}, 10.0, 1.7193),
        ({"FW_LND_AIRSPD": math.nan}, 10.0, 0.8694),
        ({"FW_LND_ANG": math.nan}, 10.0, None),
        ({"FW_AIRSPD_MIN": math.nan}, None, None),
    ],
)
def test_a_wing_of_px4_lands_at_the_airspeed_and_the_slope_of_its_parameters(
    changes: dict[str, float], approach_m_s: float | None, glide_m_s: float | None
) -> None:
    vehicle = PX4, PLANE, release(1, 16)
    returns, *_ = read(vehicle, PX4_RETURN | PX4_WING | changes)
    assert returns is not None
    assert returns.approach_m_s == approach_m_s
    assert returns.glide_m_s == (None if glide_m_s is None else pytest.approx(glide_m_s, 1e-3))


@pytest.mark.parametrize("name", ["NAV_ACC_RAD", "NAV_MC_ALT_RAD"])
def test_a_line_eases_towards_its_end_where_both_of_its_radii_are_known(name: str) -> None:
    _, _, agility, _ = read(PX4_COPTER, PX4_HOVERS | {name: math.nan})
    assert agility == Agility(3.0, 4.0, 2.5, 5.0)


class Reading:
    """A vehicle that answers some names; one step a second, or at chosen times."""

    def __init__(self, own: Mapping[str, float], version: int | None = release(4, 7)) -> None:
        self.own = own
        self.reader, self.parameters = ReturnParameters(), Parameters()
        self.vehicle = followed(ARDUPILOT, COPTER, version)
        self.answers = True
        self.most_open = 0
        self.times_s: dict[str, list[float]] = {}  # of the requests, by name

    def run(self, start_s: int, end_s: int, step_s: int = 1) -> "Reading":
        """Steps with a heartbeat each."""
        for now_s in range(start_s, end_s, step_s):
            self.vehicle.receive(heartbeat(), float(now_s))
            self.step(float(now_s))
        return self

    def step(self, now_s: float) -> None:
        """Request and answer what is due."""
        self.reader.step(self.parameters, self.vehicle, now_s, on_wing=None)
        self.most_open = max(self.most_open, len(self.parameters.pending()))
        for message in self.parameters.due(1, now_s, bytewise=False):
            name = message.param_id.rstrip("\0")
            self.times_s.setdefault(name, []).append(now_s)
            if self.answers and name in self.own:
                value = mavlink.MAVLink_param_value_message(name.encode(), self.own[name], 9, 1, 0)
                self.parameters.receive(received(value), bytewise=False)


def test_a_few_requests_are_open_at_a_time_and_each_is_answered_once_a_minute() -> None:
    reading = Reading(NEW_COPTER).run(1, 60)
    assert reading.most_open == 4
    assert reading.times_s.keys() == NEW_COPTER.keys()
    assert all(len(times_s) == 1 for times_s in reading.times_s.values())
    assert_close(reading.reader.returns, COPTER_PLAN)
    # The minute counts from the first step at 1 s.
    assert max(times_s[-1] for times_s in reading.run(60, 61).times_s.values()) < 60.0
    reading.run(61, 120)
    assert all(len(times_s) == 2 for times_s in reading.times_s.values())
    assert min(times_s[-1] for times_s in reading.times_s.values()) == 61.0


def test_an_absent_parameter_is_requested_again_in_each_tenth_minute() -> None:
    own = {name: value for name, value in NEW_COPTER.items() if name != "LAND_SPD_MS"}
    reading = Reading(own).run(1, 1_260, 2)
    rounds = sorted({int(t_s - 1.0) // 60 for t_s in reading.times_s["LAND_SPD_MS"]})
    assert rounds == [0, 10, 20]
    assert reading.reader.returns is not None
    assert reading.reader.returns.missing == ("LAND_SPD_MS",)


def test_nothing_is_requested_before_the_release_is_known_or_three_seconds_have_passed() -> None:
    reading = Reading(NEW_COPTER, None)
    reading.step(2.9)
    assert reading.times_s == {}
    reading.vehicle.receive(heartbeat(), 2.0)
    reading.step(3.0)
    assert len(reading.times_s) == 4
    known = Reading(NEW_COPTER)
    known.step(0.0)
    assert len(known.times_s) == 4


def test_nothing_is_requested_without_a_heartbeat_or_of_a_vehicle_without_a_return() -> None:
    reading = Reading(NEW_COPTER)
    reading.step(60.0)  # the heartbeat is old
    assert reading.times_s == {}
    for vehicle_type in (SUB, 0, 26):
        reading.vehicle = followed(ARDUPILOT, vehicle_type, release(4, 7))
        reading.step(1.0)
        assert reading.times_s == {}


def test_a_plan_is_published_only_once_all_is_answered_and_stays_the_same_object() -> None:
    reading = Reading(NEW_COPTER)
    plans = []
    for now_s in range(1, 12):
        reading.run(now_s, now_s + 1)
        plans.append(reading.reader.returns)
    first = next(index for index, plan in enumerate(plans) if plan is not None)
    assert len(reading.times_s) == len(NEW_COPTER)
    assert first >= len(NEW_COPTER) // 4
    assert all(plan is plans[first] for plan in plans[first:])
    assert_close(plans[first], COPTER_PLAN)


def test_after_a_change_of_the_release_the_names_are_those_of_the_new_one() -> None:
    reading = Reading(NEW_COPTER).run(1, 20)
    assert reading.reader.returns is not None
    reading.vehicle = followed(ARDUPILOT, COPTER, release(4, 6))
    reading.run(20, 21)
    assert reading.reader.returns is None
    assert reading.reader.speeds == Speeds()
    assert reading.reader.agility == Agility()
    assert reading.reader.circles == UNKNOWN_CIRCLES
    reading.own = OLD_COPTER
    reading.run(21, 40)
    assert_close(reading.reader.returns, COPTER_PLAN)
    assert "WPNAV_SPEED" in reading.times_s


def test_every_parameter_that_is_requested_has_a_range() -> None:
    requested: set[str] = set()
    for autopilot, vehicle_type, version in [*RANGES, (PX4, VTOL, release(1, 16))]:
        reader, parameters = ReturnParameters(), Parameters()
        vehicle = followed(autopilot, vehicle_type, version)
        for _ in range(60):
            reader.step(parameters, vehicle, 1.0, on_wing=None)
            # A quadplane, so that all of its parameters are requested.
            parameters.values.update(dict.fromkeys(parameters.pending(), 1.0))
            requested |= parameters.pending()
            for name in parameters.pending():
                message = mavlink.MAVLink_param_value_message(name.encode(), 1.0, 9, 1, 0)
                parameters.receive(message, bytewise=False)
    assert requested == set(
        chain.from_iterable((row[0] for row in rows) for rows in RANGES.values())
    )

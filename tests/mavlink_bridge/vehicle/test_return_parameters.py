# SPDX-License-Identifier: Apache-2.0
"""The return of each vehicle is read from its parameters, of both old and new names."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.flight_plan import Agility, FlightPlan, PlaceHeight, ReturnPlan, ReturnTo, Speeds
from mavlink_bridge.vehicle.return_parameter_rows import RETURN_PARAMETERS
from tests.mavlink_bridge.fake_vehicle import (
    ARDUPILOT,
    COPTER,
    PLANE,
    PX4,
    ROVER,
    SUB,
    VTOL,
    FakeVehicle,
    Flight,
)

OLD_COPTER = {
    "RTL_ALT": 3000, "RTL_SPEED": 0, "WPNAV_SPEED": 900, "WPNAV_SPEED_UP": 250,
    "WPNAV_SPEED_DN": 150, "LAND_SPEED": 50, "LAND_SPEED_HIGH": 0, "LAND_ALT_LOW": 1000,
    "RTL_ALT_FINAL": 0, "RTL_CLIMB_MIN": 500, "RTL_LOIT_TIME": 5000, "RTL_CONE_SLOPE": 3,
    "RTL_ALT_TYPE": 0, "RALLY_INCL_HOME": 1, "RALLY_LIMIT_KM": 0.3, "CIRCLE_RATE": 20,
    "WPNAV_ACCEL": 300, "WPNAV_ACCEL_Z": 120, "WPNAV_JERK": 2,
}  # fmt: skip
NEW_COPTER = {
    "RTL_ALT_M": 30, "RTL_SPEED_MS": 0, "WP_SPD": 9, "WP_SPD_UP": 2.5, "WP_SPD_DN": 1.5,
    "LAND_SPD_MS": 0.5, "LAND_SPD_HIGH_MS": 0, "LAND_ALT_LOW_M": 10, "RTL_ALT_FINAL_M": 0,
    "RTL_CLIMB_MIN_M": 5, "RTL_LOIT_TIME": 5000, "RTL_CONE_SLOPE": 3, "RTL_ALT_TYPE": 0,
    "RALLY_INCL_HOME": 1, "RALLY_LIMIT_KM": 0.3, "CIRCLE_RATE": 20, "WP_ACC": 3.0,
    "WP_ACC_Z": 1.2, "WP_JERK": 2.0,
}  # fmt: skip
COPTER_AGILITY = Agility(3.0, 1.2, 1.2, 2.0)
COPTER_PLAN = ReturnPlan(
    cruise_m_s=9.0, climb_m_s=2.5, descent_m_s=1.5, landing_m_s=0.5, landing_height_m=10.0,
    height_m=30.0, climb_at_least_m=5.0, cone_slope=3.0, wait_s=5.0, to=ReturnTo.HOME_OR_RALLY,
    rally_within_m=300.0, place_height=PlaceHeight.LEAST,
)  # fmt: skip
COPTER_SPEEDS = Speeds(9.0, 2.5, 1.5)
OWN_PLANE = {
    "RTL_ALTITUDE": 100, "AIRSPEED_CRUISE": 22, "TECS_CLMB_MAX": 5, "TECS_SINK_MAX": 4,
    "RTL_AUTOLAND": 0, "RALLY_INCL_HOME": 0, "Q_ENABLE": 0,
}  # fmt: skip
OLD_PLANE = {
    "ALT_HOLD_RTL": 10_000, "TRIM_ARSPD_CM": 2200, "TECS_CLMB_MAX": 5, "TECS_SINK_MAX": 4,
    "RTL_AUTOLAND": 0, "RALLY_INCL_HOME": 0,
}  # fmt: skip
PLANE_PLAN = ReturnPlan(
    22.0, 5.0, 4.0, height_m=100.0, climbs_on_way=True, lands=False, to=ReturnTo.RALLY,
    place_height=PlaceHeight.WAY,
)  # fmt: skip
QUADPLANE = {
    "Q_ENABLE": 1, "Q_RTL_MODE": 1, "Q_RTL_ALT": 15, "Q_WP_SPEED": 500, "Q_WP_SPEED_UP": 250,
    "Q_WP_SPEED_DN": 150, "Q_LAND_FINAL_SPD": 0.5, "Q_LAND_FINAL_ALT": 6,
}  # fmt: skip
QUADPLANE_PLAN = replace(
    PLANE_PLAN, descent_m_s=1.5, landing_m_s=0.5, landing_height_m=6.0, wait_height_m=15.0,
    lands=True,
)  # fmt: skip
PX4_RETURN = {
    "RTL_TYPE": 0, "RTL_RETURN_ALT": 60, "RTL_DESCEND_ALT": 30, "RTL_LAND_DELAY": 0,
}  # fmt: skip
PX4_ROTORS = {
    "RTL_CONE_ANG": 45, "RTL_MIN_DIST": 10, "MPC_XY_CRUISE": 5, "MPC_Z_V_AUTO_UP": 3,
    "MPC_Z_V_AUTO_DN": 1.5, "MPC_LAND_SPEED": 0.7, "MPC_LAND_ALT1": 10, "MPC_LAND_ALT2": 5,
    "MPC_ACC_HOR": 3.0, "MPC_ACC_UP_MAX": 4.0, "MPC_ACC_DOWN_MAX": 2.5, "MPC_JERK_AUTO": 5.0,
    "NAV_ACC_RAD": 10.0, "NAV_MC_ALT_RAD": 0.8,
}  # fmt: skip
PX4_AGILITY = Agility(3.0, 4.0, 2.5, 5.0, eases=True, within_m=10.0, within_up_m=0.8)
PX4_WING = {
    "FW_AIRSPD_TRIM": 15, "FW_T_CLMB_R_SP": 3, "FW_T_SINK_R_SP": 2, "RTL_LOITER_RAD": -80,
    "NAV_FW_ALT_RAD": 10, "FW_AIRSPD_MIN": 10, "FW_LND_AIRSPD": -1, "FW_LND_ANG": 5,
}  # fmt: skip
# From 10 to 5 m the speed falls from 1.5 to 0.7 m/s: 4.763 s, that is 3.333 m/s for all but
# 1.878 m, which take 2.683 s at 0.7 m/s.
SLOW_M = 5.0 + 1.879
PX4_PLAN = ReturnPlan(
    cruise_m_s=5.0, climb_m_s=3.0, descent_m_s=1.5, landing_m_s=0.7, landing_height_m=SLOW_M,
    height_m=60.0, level_within_m=10.0, wait_height_m=30.0, to=ReturnTo.HOME_OR_RALLY,
    rally_beyond_m=10.0, place_height=PlaceHeight.BASE,
)  # fmt: skip
WING_SPEEDS = Speeds(15.0, 3.0, 2.0)
PX4_CIRCLES: dict[str, Any] = {  # 10 m/s at the sine of the arc tangent of 0.08727
    "circles_down_m_s": 2.0, "circle_m": 80.0, "glide_m_s": 0.8694, "approach_m_s": 10.0,
    "within_up_m": 10.0,
}  # fmt: skip
PX4_INTEGERS = {"RTL_TYPE", "RTL_CONE_ANG"}


def release(major: int, minor: int, kind: int = 255) -> int:
    return major << 24 | minor << 16 | kind


def flight_of(
    autopilot: int,
    vehicle_type: int,
    parameters: dict[str, float],
    *,
    folder: Path | None = None,
    **changes: Any,  # noqa: ANN401 - of the vehicle
) -> Flight:
    vehicle = FakeVehicle(autopilot, **parameters)
    vehicle.vehicle_type, vehicle.mode = vehicle_type, 0
    vehicle.integers = PX4_INTEGERS
    for name, value in changes.items():
        setattr(vehicle, name, value)
    return Flight(vehicle, folder)


def plan_of(flight: Flight, seconds: float = 12.0) -> FlightPlan:
    flight.fly(seconds)
    return flight.bridge.pump(flight.now_s).plan or FlightPlan()


def assert_close(found: ReturnPlan | None, expected: ReturnPlan) -> None:
    assert found is not None
    for name in ReturnPlan.__dataclass_fields__:
        value = getattr(expected, name)
        close = pytest.approx(value, rel=1e-3) if isinstance(value, float) else value
        assert getattr(found, name) == close, name


@pytest.mark.parametrize(
    ("autopilot", "vehicle_type", "version", "parameters", "expected", "speeds"),
    [
        (ARDUPILOT, COPTER, release(4, 5), OLD_COPTER, COPTER_PLAN, COPTER_SPEEDS),
        (ARDUPILOT, COPTER, release(4, 7), NEW_COPTER, COPTER_PLAN, COPTER_SPEEDS),
        (ARDUPILOT, COPTER, release(4, 7, 0), OLD_COPTER, COPTER_PLAN, COPTER_SPEEDS),
        (ARDUPILOT, COPTER, release(4, 7, 0), NEW_COPTER, COPTER_PLAN, COPTER_SPEEDS),
        (ARDUPILOT, COPTER, 0, OLD_COPTER, COPTER_PLAN, COPTER_SPEEDS),
        (ARDUPILOT, PLANE, release(4, 6), OWN_PLANE, PLANE_PLAN, Speeds(22.0, 5.0, 4.0)),
        (ARDUPILOT, PLANE, release(4, 4), OLD_PLANE, PLANE_PLAN, Speeds(22.0, 5.0, 4.0)),
        (
            *(ARDUPILOT, PLANE, release(4, 6), OWN_PLANE | QUADPLANE, QUADPLANE_PLAN),
            Speeds(22.0, 5.0, 4.0),
        ),
        (
            *(ARDUPILOT, ROVER, release(4, 6), {"RTL_SPEED": 0, "WP_SPEED": 4}),
            *(ReturnPlan(4.0, lands=False), Speeds(4.0)),
        ),
        (PX4, COPTER, release(1, 16), PX4_RETURN | PX4_ROTORS, PX4_PLAN, Speeds(5.0, 3.0, 1.5)),
        (
            *(PX4, ROVER, release(1, 16), PX4_RETURN | PX4_ROTORS | {"RO_SPEED_LIM": 2}),
            *(ReturnPlan(2.0, lands=False, to=ReturnTo.HOME_OR_RALLY), Speeds(2.0)),
        ),
        (
            *(PX4, ROVER, release(1, 16), PX4_RETURN | {"RO_SPEED_LIM": -1}),  # no limit
            ReturnPlan(lands=False, to=ReturnTo.HOME_OR_RALLY, missing=("RO_SPEED_LIM",)),
            Speeds(),
        ),
        (
            *(PX4, PLANE, release(1, 16), PX4_RETURN | PX4_WING),
            ReturnPlan(
                *(15.0, 3.0, 2.0),
                height_m=60.0,
                wait_height_m=30.0,
                to=ReturnTo.HOME_OR_RALLY,
                rally_beyond_m=10.0,
                place_height=PlaceHeight.BASE,
                **PX4_CIRCLES,
            ),
            WING_SPEEDS,
        ),
        (
            *(PX4, VTOL, release(1, 16), PX4_RETURN | PX4_ROTORS | PX4_WING),
            replace(PX4_PLAN, cruise_m_s=15.0, climb_m_s=3.0, level_within_m=0.0, **PX4_CIRCLES),
            WING_SPEEDS,
        ),
    ],
)
def test_the_return_of_each_vehicle_is_that_of_its_parameters(
    autopilot: int,
    vehicle_type: int,
    version: int,
    parameters: dict[str, float],
    expected: ReturnPlan,
    speeds: Speeds,
) -> None:
    flight = flight_of(autopilot, vehicle_type, parameters, release=version)
    plan = plan_of(flight, 40.0)
    assert_close(plan.returns, expected)
    assert plan.speeds == speeds
    assert not [m for m in flight.vehicle.received if m.get_type() == "PARAM_SET"]


def changed(
    base: ReturnPlan,
    parameters: Mapping[str, float],
    changes: Mapping[str, float],
    **expected: Any,  # noqa: ANN401 - of the plan
) -> tuple[dict[str, float], ReturnPlan]:
    return {**parameters, **changes}, replace(base, **expected)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        changed(COPTER_PLAN, NEW_COPTER, {"RALLY_LIMIT_KM": 0.0}, rally_within_m=None),
        changed(COPTER_PLAN, NEW_COPTER, {"RALLY_INCL_HOME": 0.0}, to=ReturnTo.RALLY),
        changed(COPTER_PLAN, NEW_COPTER, {"RTL_SPEED_MS": 4.0}, cruise_m_s=4.0),
        changed(COPTER_PLAN, NEW_COPTER, {"LAND_SPD_HIGH_MS": 3.0}, descent_m_s=3.0),
        changed(COPTER_PLAN, NEW_COPTER, {"LAND_ALT_LOW_M": 0.0}, landing_height_m=1.0),
        changed(COPTER_PLAN, NEW_COPTER, {"RTL_CONE_SLOPE": 0.4}, cone_slope=None),
        changed(COPTER_PLAN, NEW_COPTER, {"RTL_ALT_TYPE": 1.0}, height_m=None),
        changed(
            *(COPTER_PLAN, NEW_COPTER, {"RTL_ALT_FINAL_M": 8.0, "LAND_SPD_HIGH_MS": 3.0}),
            lands=False,
            wait_height_m=8.0,
        ),
        changed(
            *(COPTER_PLAN, NEW_COPTER, {"RTL_ALT_M": math.nan}),
            height_m=None,
            missing=("RTL_ALT_M",),
        ),
        changed(
            *(COPTER_PLAN, NEW_COPTER, {"WP_SPD_UP": -2.5, "RTL_LOIT_TIME": 1e12}),
            climb_m_s=None,
            wait_s=0.0,
            missing=("WP_SPD_UP", "RTL_LOIT_TIME"),
        ),
        changed(*(COPTER_PLAN, NEW_COPTER, {"WP_SPD": 0.0}), cruise_m_s=None, missing=("WP_SPD",)),
    ],
)
def test_each_parameter_of_arducopter_changes_its_part(
    parameters: dict[str, float], expected: ReturnPlan
) -> None:
    flight = flight_of(ARDUPILOT, COPTER, parameters, release=release(4, 7))
    assert_close(plan_of(flight).returns, expected)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        changed(*(PLANE_PLAN, OWN_PLANE, {"RTL_AUTOLAND": 2}), lands=True, to=ReturnTo.LANDING),
        changed(
            *(PLANE_PLAN, OWN_PLANE, {"RTL_AUTOLAND": 1}),
            lands=True,
            to=ReturnTo.HOME_THEN_LANDING,
        ),
        changed(PLANE_PLAN, OWN_PLANE, {"RTL_AUTOLAND": 3}),
        changed(PLANE_PLAN, OWN_PLANE, {"RTL_CLIMB_MIN": 10}, climbs_on_way=False),
        changed(PLANE_PLAN, OWN_PLANE, {"RTL_CLIMB_MIN": 0, "FLIGHT_OPTIONS": 0xFFEF}),
        changed(PLANE_PLAN, OWN_PLANE, {"FLIGHT_OPTIONS": 0x10}, climbs_on_way=False),
        changed(PLANE_PLAN, OWN_PLANE, {"RTL_ALTITUDE": -1}, height_m=0.0),
        changed(PLANE_PLAN, OWN_PLANE | QUADPLANE, {"Q_RTL_MODE": 0}),
        changed(
            *(QUADPLANE_PLAN, OWN_PLANE | QUADPLANE, {"Q_RTL_MODE": 3}),
            cruise_m_s=5.0,
            climb_m_s=2.5,
            height_m=15.0,
            climbs_on_way=False,
            wait_height_m=None,
        ),
    ],
)
def test_each_parameter_of_arduplane_changes_its_part(
    parameters: dict[str, float], expected: ReturnPlan
) -> None:
    flight = flight_of(ARDUPILOT, PLANE, parameters, release=release(4, 6))
    assert_close(plan_of(flight).returns, expected)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        changed(PX4_PLAN, PX4_RETURN | PX4_ROTORS, {"RTL_CONE_ANG": 0}, level_within_m=0.0),
        changed(PX4_PLAN, PX4_RETURN | PX4_ROTORS, {"RTL_LAND_DELAY": -1}, lands=False),
        changed(PX4_PLAN, PX4_RETURN | PX4_ROTORS, {"RTL_LAND_DELAY": 7.5}, wait_s=7.5),
        changed(PX4_PLAN, PX4_RETURN | PX4_ROTORS, {"RTL_TYPE": 1}, to=ReturnTo.LANDING_OR_RALLY),
        changed(PX4_PLAN, PX4_RETURN | PX4_ROTORS, {"RTL_TYPE": 2}, to=ReturnTo.MISSION),
        changed(PX4_PLAN, PX4_RETURN | PX4_ROTORS, {"RTL_TYPE": 3}, to=ReturnTo.NEAREST),
        changed(PX4_PLAN, PX4_RETURN | PX4_ROTORS, {"RTL_TYPE": 4}, to=ReturnTo.MISSION_NEARER),
        changed(
            *(PX4_PLAN, PX4_RETURN | PX4_ROTORS, {"RTL_TYPE": 5}),
            to=ReturnTo.RALLY_OR_HERE,
            rally_beyond_m=0.0,
        ),
        changed(PX4_PLAN, PX4_RETURN | PX4_ROTORS, {"MPC_LAND_ALT1": 5}, landing_height_m=5.0),
        changed(
            *(PX4_PLAN, PX4_RETURN | PX4_ROTORS, {"MPC_LAND_SPEED": math.inf}),
            landing_m_s=None,
            landing_height_m=None,
            missing=("MPC_LAND_SPEED",),
        ),
        changed(
            *(PX4_PLAN, PX4_RETURN | PX4_ROTORS, {"RTL_TYPE": 9}),
            to=ReturnTo.HOME,
            missing=("RTL_TYPE",),
        ),
    ],
)
def test_each_parameter_of_px4_changes_its_part(
    parameters: dict[str, float], expected: ReturnPlan
) -> None:
    flight = flight_of(PX4, COPTER, parameters, release=release(1, 16))
    assert_close(plan_of(flight).returns, expected)


@pytest.mark.parametrize(
    ("number", "on_wing", "to"),
    [
        (0, False, ReturnTo.HOME_OR_RALLY),
        (1, False, ReturnTo.NEAREST),  # in a hover home counts too
        (1, True, ReturnTo.LANDING_OR_RALLY),
    ],
)
def test_a_vtol_that_hovers_returns_on_its_rotors(
    number: int, to: ReturnTo, *, on_wing: bool
) -> None:
    own = PX4_RETURN | PX4_ROTORS | PX4_WING | {"RTL_TYPE": number}
    flight = flight_of(PX4, VTOL, own, release=release(1, 16))
    plan_of(flight, 40.0)
    flight.vehicle.emit(mavlink.MAVLink_extended_sys_state_message(4 if on_wing else 3, 2))
    plan = plan_of(flight, 0.5)
    winged = replace(PX4_PLAN, cruise_m_s=15.0, climb_m_s=3.0, level_within_m=0.0, **PX4_CIRCLES)
    assert_close(
        plan.returns, replace(winged if on_wing else PX4_PLAN, to=to, on_rotors=not on_wing)
    )
    assert plan.speeds == WING_SPEEDS


def test_what_is_not_answered_is_named_once_it_is_known_to_be_absent() -> None:
    own = {name: value for name, value in NEW_COPTER.items() if name != "LAND_SPD_MS"}
    flight = flight_of(ARDUPILOT, COPTER, own, release=release(4, 7))
    assert plan_of(flight, 4.0).returns is None
    plan = plan_of(flight, 8.0)
    assert plan.returns is not None
    assert (plan.returns.landing_m_s, plan.returns.missing) == (None, ("LAND_SPD_MS",))
    flight.vehicle.parameters["LAND_SPD_MS"] = 0.5
    assert_close(plan_of(flight, 660.0).returns, COPTER_PLAN)


def test_firmware_without_rally_points_returns_home() -> None:
    own = {name: value for name, value in NEW_COPTER.items() if name != "RALLY_INCL_HOME"}
    plan = plan_of(flight_of(ARDUPILOT, COPTER, own, release=release(4, 7)))
    assert_close(plan.returns, replace(COPTER_PLAN, to=ReturnTo.HOME))


@pytest.mark.parametrize("with_control", [False, True])
def test_a_changed_value_is_used(tmp_path: Path, *, with_control: bool) -> None:
    folder = tmp_path if with_control else None
    flight = flight_of(ARDUPILOT, COPTER, dict(NEW_COPTER), folder=folder, release=release(4, 7))
    assert_close(plan_of(flight).returns, COPTER_PLAN)
    # As the autopilot answers a ground station.
    flight.vehicle.emit(mavlink.MAVLink_param_value_message(b"RTL_ALT_M", 55.0, 9, 1, 0))
    assert_close(plan_of(flight, 0.5).returns, replace(COPTER_PLAN, height_m=55.0))
    flight.vehicle.parameters["RTL_ALT_M"] = 44.0
    assert_close(plan_of(flight, 61.0).returns, replace(COPTER_PLAN, height_m=44.0))


@pytest.mark.parametrize("with_control", [False, True])
def test_after_a_restart_all_is_read_again(tmp_path: Path, *, with_control: bool) -> None:
    folder = tmp_path if with_control else None
    flight = flight_of(
        ARDUPILOT, COPTER, dict(NEW_COPTER), folder=folder, release=release(4, 7), boot_ms=99_000
    )
    assert_close(plan_of(flight).returns, COPTER_PLAN)
    flight.vehicle.answers = False
    flight.vehicle.reboot(0, RTL_ALT_M=70.0)
    assert plan_of(flight, 4.0).returns is None
    flight.vehicle.answers = True
    assert_close(plan_of(flight).returns, replace(COPTER_PLAN, height_m=70.0))


@pytest.mark.parametrize(
    ("autopilot", "vehicle_type", "parameters", "expected"),
    [
        (ARDUPILOT, COPTER, OLD_COPTER, COPTER_AGILITY),
        (ARDUPILOT, COPTER, NEW_COPTER, COPTER_AGILITY),
        (PX4, COPTER, PX4_RETURN | PX4_ROTORS, PX4_AGILITY),
        (PX4, 1, PX4_RETURN | PX4_WING, Agility()),
        (ARDUPILOT, ROVER, {"WP_SPEED": 5}, Agility()),
    ],
)
def test_the_acceleration_is_that_of_the_parameters(
    autopilot: int, vehicle_type: int, parameters: dict[str, float], expected: Agility
) -> None:
    found = plan_of(flight_of(autopilot, vehicle_type, parameters), 60.0).agility
    for name in Agility.__dataclass_fields__:
        value = getattr(expected, name)
        assert getattr(found, name) == (None if value is None else pytest.approx(value)), name


def test_px4_without_the_way_in_which_a_line_ends_has_its_accelerations_alone() -> None:
    without = PX4_RETURN | PX4_ROTORS
    del without["NAV_MC_ALT_RAD"]
    found = plan_of(flight_of(PX4, COPTER, without), 60.0)
    assert found.agility == Agility(3.0, 4.0, 2.5, 5.0)
    assert found.returns is not None
    assert found.returns.missing == ()


def test_four_requests_wait_for_an_answer_at_most() -> None:
    flight = flight_of(ARDUPILOT, COPTER, {}, release=release(4, 7))
    flight.fly(60.0)
    requests = [m for m in flight.vehicle.received if m.get_type() == "PARAM_REQUEST_READ"]
    assert len(requests) == 4 * len(NEW_COPTER)
    flight.fly(120.0)
    requests = [m for m in flight.vehicle.received if m.get_type() == "PARAM_REQUEST_READ"]
    assert len(requests) == 4 * len(NEW_COPTER)


def test_a_vehicle_that_has_no_return_is_not_asked() -> None:
    flight = flight_of(ARDUPILOT, SUB, {}, release=release(4, 7))
    assert plan_of(flight).returns is None
    assert not [m for m in flight.vehicle.received if m.get_type() == "PARAM_REQUEST_READ"]


def test_names_fit_the_parameter_protocol_and_spans_of_a_quantity_follow_each_other() -> None:
    assert all(len(row.name) <= 16 and row.least <= row.most for row in RETURN_PARAMETERS)
    for row in RETURN_PARAMETERS:
        rows = [
            one
            for one in RETURN_PARAMETERS
            if (one.firmware, one.quantity) == (row.firmware, row.quantity)
        ]
        assert len({(one.only, one.optional) for one in rows}) == 1
        assert all(
            later.since > earlier.since and later.since < earlier.before
            for later, earlier in pairwise(rows)
        )

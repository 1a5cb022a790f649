# SPDX-License-Identifier: Apache-2.0
"""Names and properties of flight modes."""

import pytest
from pymavlink.dialects.v20 import ardupilotmega
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import ActionKind
from mavlink_bridge.protocol.flight_modes import action_of_mode, in_failsafe, mode_name

QUAD, PLANE = mavlink.MAV_TYPE_QUADROTOR, mavlink.MAV_TYPE_FIXED_WING


@pytest.mark.parametrize(
    "name", [name for name in dir(ardupilotmega) if name.startswith("COPTER_MODE_")]
)
def test_copter_modes_have_the_names_of_mavlink(name: str) -> None:
    number = getattr(ardupilotmega, name)
    expected = None if name.endswith("ENUM_END") else name.removeprefix("COPTER_MODE_")
    assert mode_name(3, QUAD, number) == expected


@pytest.mark.parametrize(
    ("name", "main_mode", "sub_mode"),
    [
        ("MANUAL", 1, 0),
        ("ALTCTL", 2, 0),
        ("POSCTL", 3, 0),
        ("POSCTL", 3, 2),
        ("TAKEOFF", 4, 2),
        ("LOITER", 4, 3),
        ("MISSION", 4, 4),
        ("RTL", 4, 5),
        ("LAND", 4, 6),
        ("FOLLOW_TARGET", 4, 8),
        ("PRECLAND", 4, 9),
        ("ACRO", 5, 0),
        ("OFFBOARD", 6, 0),
        ("STABILIZED", 7, 0),
        (None, 4, 0),
        (None, 4, 99),
        (None, 0, 0),
        (None, 99, 5),
    ],
)
def test_px4_modes_have_the_names_of_px4_custom_mode(
    name: str | None, main_mode: int, sub_mode: int
) -> None:
    assert mode_name(12, QUAD, main_mode << 16 | sub_mode << 24) == name


@pytest.mark.parametrize(
    ("prefix", "vehicle_type"),
    [
        ("PLANE_MODE_", PLANE),
        ("PLANE_MODE_", mavlink.MAV_TYPE_VTOL_TILTROTOR),
        ("ROVER_MODE_", mavlink.MAV_TYPE_GROUND_ROVER),
        ("ROVER_MODE_", mavlink.MAV_TYPE_SURFACE_BOAT),
        ("SUB_MODE_", mavlink.MAV_TYPE_SUBMARINE),
    ],
)
def test_every_mode_of_ardupilot_has_the_name_of_mavlink(prefix: str, vehicle_type: int) -> None:
    numbers = {
        getattr(ardupilotmega, name): name.removeprefix(prefix)
        for name in dir(ardupilotmega)
        if name.startswith(prefix) and not name.endswith("ENUM_END")
    }
    for number in range(256):
        assert mode_name(3, vehicle_type, number) == numbers.get(number)


def test_the_modes_of_a_blimp_have_names() -> None:
    names = [mode_name(3, mavlink.MAV_TYPE_AIRSHIP, number) for number in range(6)]
    assert names == ["LAND", "MANUAL", "VELOCITY", "LOITER", "RTL", None]


def test_modes_of_other_vehicles_have_no_name() -> None:
    assert mode_name(3, mavlink.MAV_TYPE_ANTENNA_TRACKER, 0) is None
    assert mode_name(0, QUAD, 6) is None


@pytest.mark.parametrize(
    ("mode", "action"),
    [
        ("RTL", ActionKind.RETURN),
        ("SMART_RTL", ActionKind.RETURN),
        ("AUTO_RTL", ActionKind.RETURN),
        ("LAND", ActionKind.LAND),
        ("PRECLAND", ActionKind.LAND),
        ("LOITER", ActionKind.REPORT),
        ("unknown", ActionKind.REPORT),
        (None, ActionKind.REPORT),
    ],
)
def test_the_action_of_a_mode_is_what_the_vehicle_does_by_itself(
    mode: str | None, action: ActionKind
) -> None:
    assert action_of_mode(mode) is action


@pytest.mark.parametrize(
    ("autopilot", "status", "mode", "active"),
    [
        (3, 4, "RTL", False),
        (3, 5, "RTL", True),
        (3, 5, "BRAKE", True),
        (3, 5, "LOITER", False),  # ArduPilot stays critical after a low battery
        (3, 6, "LOITER", True),
        (12, 5, "LOITER", True),
        (12, 5, "DESCEND", True),
        (12, 5, "POSCTL", False),  # a pilot who has taken over, or a warning
        (12, 5, "MISSION", False),
        (12, 4, "RTL", False),
    ],
)
def test_a_failsafe_is_active_by_status_and_mode(
    autopilot: int, status: int, mode: str, *, active: bool
) -> None:
    assert in_failsafe(autopilot, status, mode) is active


def test_the_other_modes_of_px4_have_names() -> None:
    """px4_custom_mode.h: external modes 1 to 8 are sub modes 11 to 18 of AUTO."""
    names = {sub: mode_name(12, QUAD, 4 << 16 | sub << 24) for sub in range(1, 24)}
    external = {10 + number: f"EXTERNAL{number}" for number in range(1, 9)}
    others = {1: "READY", 7: None, 10: "VTOL_TAKEOFF", 19: "GUIDED_COURSE", 20: "DESCEND", 21: None}
    assert {sub: names[sub] for sub in external | others} == external | others
    assert mode_name(12, QUAD, 10 << 16) == "TERMINATION"
    assert mode_name(12, QUAD, 11 << 16) == "ALTITUDE_CRUISE"

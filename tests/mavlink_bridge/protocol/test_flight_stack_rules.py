"""What may be sent to which flight stack, and what its modes are called."""

import pytest
from pymavlink.dialects.v20 import ardupilotmega
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.errors import ConfigError
from mavlink_bridge.protocol.flight_stack_rules import (
    identified_stack,
    mode_name,
    refusal,
    stack_named,
)
from mavlink_bridge.protocol.flight_stacks import ARDUPILOT, PX4, UNKNOWN_STACK, FlightStack
from tests.mavlink_bridge.consumers import px4

QUAD, PLANE = mavlink.MAV_TYPE_QUADROTOR, mavlink.MAV_TYPE_FIXED_WING


def test_a_vehicle_is_found_by_its_name_and_by_its_heartbeat() -> None:
    assert stack_named("auto") is None
    assert stack_named("ardupilot") is identified_stack(3) is ARDUPILOT
    assert stack_named("px4") is identified_stack(12) is PX4
    assert identified_stack(0) is identified_stack(None) is UNKNOWN_STACK


def test_the_ids_are_those_of_the_definition() -> None:
    assert ARDUPILOT.autopilot == mavlink.MAV_AUTOPILOT_ARDUPILOTMEGA
    assert PX4.autopilot == mavlink.MAV_AUTOPILOT_PX4


def test_a_wrong_name_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"^vehicle 'PX4' is not one of auto, ardupilot, px4$"):
        stack_named("PX4")


@pytest.mark.parametrize("armed", [None, False, True])
def test_an_unknown_charge_is_told_to_ardupilot_alone(armed: bool | None) -> None:  # noqa: FBT001 - a case
    assert refusal(ARDUPILOT, -1, armed=armed) is None
    for vehicle in (PX4, UNKNOWN_STACK):
        reason = refusal(vehicle, -1, armed=armed)
        assert reason is not None
        assert "the charge is unknown" in reason


@pytest.mark.parametrize("vehicle", [PX4, UNKNOWN_STACK], ids=lambda vehicle: vehicle.name)
def test_an_empty_pack_is_told_in_flight_and_not_on_the_ground(vehicle: FlightStack) -> None:
    for remaining_pct in range(101):
        assert refusal(vehicle, remaining_pct, armed=True) is None
        for armed in (None, False):
            reason = refusal(vehicle, remaining_pct, armed=armed)
            assert (reason is None) is (remaining_pct >= 6)


def test_an_empty_pack_is_always_told_to_ardupilot() -> None:
    assert refusal(ARDUPILOT, 0, armed=None) is None


@pytest.mark.parametrize("release", [1.13, 1.17, 1.18])
def test_nothing_that_reaches_a_disarmed_px4_is_an_emergency(release: float) -> None:
    for remaining_pct in range(-1, 101):
        if refusal(PX4, remaining_pct, armed=False) is None:
            message = mavlink.MAVLink_battery_status_message(
                0, 1, 1, 0x7FFF, [0xFFFF] * 10, -1, -1, -1, remaining_pct
            )
            assert px4(message, release=release).warning != "emergency"


@pytest.mark.parametrize(
    "name", [name for name in dir(ardupilotmega) if name.startswith("COPTER_MODE_")]
)
def test_copter_modes_have_the_names_of_the_definition(name: str) -> None:
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
def test_px4_modes(name: str | None, main_mode: int, sub_mode: int) -> None:
    assert mode_name(12, QUAD, main_mode << 16 | sub_mode << 24) == name


def test_modes_of_anything_else_have_no_name() -> None:
    assert mode_name(3, PLANE, 6) is None
    assert mode_name(0, QUAD, 6) is None

# SPDX-License-Identifier: Apache-2.0
"""Which BATTERY_STATUS each flight stack may receive."""

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.errors import ConfigError
from mavlink_bridge.protocol.flight_stacks import (
    ARDUPILOT,
    PX4,
    UNKNOWN_STACK,
    FlightStack,
    identified_stack,
    stack_named,
    withhold_reason,
)
from tests.mavlink_bridge.consumers import px4


def test_a_stack_is_identified_by_its_name_and_by_its_heartbeat() -> None:
    assert stack_named("auto") is None
    assert stack_named("ardupilot") is identified_stack(3) is ARDUPILOT
    assert stack_named("px4") is identified_stack(12) is PX4
    assert identified_stack(0) is identified_stack(None) is UNKNOWN_STACK


def test_the_autopilot_ids_are_those_of_mavlink() -> None:
    assert ARDUPILOT.autopilot == mavlink.MAV_AUTOPILOT_ARDUPILOTMEGA
    assert PX4.autopilot == mavlink.MAV_AUTOPILOT_PX4


def test_an_unknown_name_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"^vehicle 'PX4' is not one of auto, ardupilot, px4$"):
        stack_named("PX4")


@pytest.mark.parametrize("armed", [None, False, True])
def test_an_unknown_charge_is_sent_to_ardupilot_only(armed: bool | None) -> None:  # noqa: FBT001 - a case
    assert withhold_reason(ARDUPILOT, -1, armed=armed) is None
    for vehicle in (PX4, UNKNOWN_STACK):
        reason = withhold_reason(vehicle, -1, armed=armed)
        assert reason is not None
        assert reason == "charge unknown"


@pytest.mark.parametrize("vehicle", [PX4, UNKNOWN_STACK], ids=lambda vehicle: vehicle.name)
def test_an_empty_pack_is_sent_in_flight_and_withheld_on_the_ground(vehicle: FlightStack) -> None:
    for remaining_pct in range(101):
        assert withhold_reason(vehicle, remaining_pct, armed=True) is None
        for armed in (None, False):
            reason = withhold_reason(vehicle, remaining_pct, armed=armed)
            assert (reason is None) is (remaining_pct >= 6)


def test_an_empty_pack_is_always_sent_to_ardupilot() -> None:
    assert withhold_reason(ARDUPILOT, 0, armed=None) is None


@pytest.mark.parametrize("release", [1.13, 1.17, 1.18])
def test_no_percentage_sent_to_a_disarmed_px4_is_an_emergency(release: float) -> None:
    for remaining_pct in range(-1, 101):
        if withhold_reason(PX4, remaining_pct, armed=False) is None:
            message = mavlink.MAVLink_battery_status_message(
                0, 1, 1, 0x7FFF, [0xFFFF] * 10, -1, -1, -1, remaining_pct
            )
            assert px4(message, release=release).warning != "emergency"

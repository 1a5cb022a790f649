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
    release_of,
    sent_pct,
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


@pytest.mark.parametrize(
    ("release", "name", "acts_on_time"),
    [
        (None, "px4", False),
        ((1, 13, 255), "px4", False),
        ((1, 17, 255), "px4", False),
        ((1, 18, 0), "px4", False),  # a development version may have the older code
        ((1, 18, 64), "px4", False),
        ((1, 18, 127), "px4", False),
        ((1, 18, 128), "px4", True),  # beta
        ((1, 18, 255), "px4", True),
        ((1, 19, 0), "px4", True),
        ((2, 0, 0), "px4", True),
    ],
)
def test_px4_from_the_beta_of_1_18_on_acts_on_the_time(
    release: tuple[int, int, int] | None, name: str, *, acts_on_time: bool
) -> None:
    stack = identified_stack(12, release)
    assert (stack.name, stack.acts_on_time) == (name, acts_on_time)
    assert stack.unknown_is_empty != acts_on_time  # -1 % is no emergency then
    assert not stack.own_battery_ids
    assert not stack.runs_lua_driver
    assert stack.bytewise_integers
    assert (stack.cells_max, stack.least_disarmed_pct) == (10, 6)


@pytest.mark.parametrize("release", [None, (3, 5, 255), (4, 7, 255)])
def test_every_ardupilot_is_alike(release: tuple[int, int, int] | None) -> None:
    stack = identified_stack(3, release)
    assert stack is ARDUPILOT
    found = stack.own_battery_ids, stack.runs_lua_driver, stack.bytewise_integers
    assert found == (True, True, False)
    assert (stack.unknown_is_empty, stack.acts_on_time) == (False, False)
    assert (stack.cells_max, stack.least_disarmed_pct) == (14, 0)


def test_an_unknown_stack_gets_the_most_restrictive_rules() -> None:
    stack = identified_stack(4, (9, 9, 255))
    assert stack is UNKNOWN_STACK
    found = stack.own_battery_ids, stack.runs_lua_driver, stack.bytewise_integers
    assert found == (False, False, False)
    assert (stack.unknown_is_empty, stack.acts_on_time) == (True, False)
    assert (stack.cells_max, stack.least_disarmed_pct) == (10, 6)


@pytest.mark.parametrize(
    ("version", "release"),
    [
        (0, None),
        (1, (0, 0, 1)),
        (0x04_06_03_FF, (4, 6, 255)),
        (0x01_12_00_80, (1, 18, 128)),
        (0xFF_FE_FD_FC, (255, 254, 252)),
    ],
)
def test_a_release_is_that_of_the_version_word(
    version: int, release: tuple[int, int, int] | None
) -> None:
    assert release_of(version) == release


@pytest.mark.parametrize(
    ("pct", "armed", "sent"),
    [
        (5, False, -1), (5, None, -1), (5, True, 5), (6, False, 6), (0, True, 0), (100, None, 100),
        (-1, True, -1), (-1, False, -1),
    ],
)  # fmt: skip
def test_a_percentage_at_which_the_board_could_shut_down_is_sent_as_unknown(
    pct: int, sent: int, *, armed: bool | None
) -> None:
    assert sent_pct(PX4, pct, armed=armed) == sent
    assert sent_pct(ARDUPILOT, pct, armed=armed) == pct

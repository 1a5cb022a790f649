# SPDX-License-Identifier: Apache-2.0
"""Speed commands alone: which speed, how often, and which acknowledgement ends them."""

from dataclasses import replace
from pathlib import Path

import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from dronebms.core.report import Action, ActionKind, ActionRequest, Severity
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
from mavlink_bridge.protocol.parameters import Parameters
from mavlink_bridge.vehicle.speed_command import SpeedCommand
from tests.mavlink_bridge.vehicle.test_battery_id import flying

CHANGE_SPEED, OTHER = mavlink.MAV_CMD_DO_CHANGE_SPEED, mavlink.MAV_CMD_DO_SET_MODE
ACCEPTED, DENIED = mavlink.MAV_RESULT_ACCEPTED, mavlink.MAV_RESULT_DENIED
LIMIT = (
    ActionRequest(
        Action(Severity.WARNING, ActionKind.REDUCE, speed_m_s=3.0), (0, 0, 0.0), "governor"
    ),
)
FAST = replace(
    UNKNOWN_VEHICLE,
    vehicle_class="ArduCopter",
    mode="AUTO",
    armed=True,
    ground_speed_m_s=10.0,
    climb_m_s=0.0,
)
OWN_M_S = 12.0


@pytest.fixture
def speed(tmp_path: Path) -> SpeedCommand:
    """The vehicle's own speed is known after the first step."""
    parameters = Parameters()
    command = SpeedCommand(parameters, tmp_path)
    assert command.step(LIMIT, flying(3), FAST, 0.0) == []
    parameters.values["WP_SPD"] = OWN_M_S
    return command


def sent(
    speed: SpeedCommand,
    at_s: float,
    requests: tuple[ActionRequest, ...] = LIMIT,
    ground_speed_m_s: float | None = 10.0,
) -> list[float]:
    """Speeds commanded in a step."""
    vehicle = replace(FAST, ground_speed_m_s=ground_speed_m_s)
    found = speed.step(requests, flying(3), vehicle, at_s)
    assert all(message.command == CHANGE_SPEED for message in found)
    return [message.param2 for message in found]


def answer(command: int, result: int) -> mavlink.MAVLink_command_ack_message:
    return mavlink.MAVLink_command_ack_message(command, result)


@pytest.mark.parametrize("ground_speed_m_s", [None, 0.0, 2.9, 3.2])
def test_a_vehicle_that_is_slow_enough_or_of_unknown_speed_gets_no_command(
    speed: SpeedCommand, ground_speed_m_s: float | None
) -> None:
    assert [sent(speed, float(t), ground_speed_m_s=ground_speed_m_s) for t in range(1, 40)] == [
        []
    ] * 39
    assert speed.idle


def test_a_faster_vehicle_gets_the_limit_and_its_own_speed_at_the_end(speed: SpeedCommand) -> None:
    assert sent(speed, 1.0) == [3.0]
    speed.receive(answer(CHANGE_SPEED, ACCEPTED))
    assert not speed.idle
    assert sent(speed, 2.0, ()) == [OWN_M_S]
    speed.receive(answer(CHANGE_SPEED, ACCEPTED))
    assert sent(speed, 3.0, ()) == []
    assert speed.idle


def test_an_answer_to_another_command_neither_ends_nor_refuses_a_speed(speed: SpeedCommand) -> None:
    assert sent(speed, 1.0) == [3.0]
    speed.receive(answer(OTHER, DENIED))
    assert speed.take_texts() == []
    assert sent(speed, 2.5, ()) == [OWN_M_S]
    speed.receive(answer(OTHER, ACCEPTED))
    assert sent(speed, 4.0, ()) == [OWN_M_S]  # it was not acknowledged


def test_an_answer_without_a_command_is_ignored(speed: SpeedCommand) -> None:
    speed.receive(answer(CHANGE_SPEED, DENIED))
    assert speed.take_texts() == []


def test_a_limit_that_comes_and_goes_has_eight_commands_a_minute(speed: SpeedCommand) -> None:
    commands = 0
    for step in range(1, 59):
        commands += len(sent(speed, float(step), LIMIT if step % 2 else ()))
        speed.receive(answer(CHANGE_SPEED, ACCEPTED))
    assert commands == 8

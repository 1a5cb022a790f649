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


def test_a_faster_vehicle_gets_the_limit_and_its_own_speed_at_the_end(
    speed: SpeedCommand, caplog: pytest.LogCaptureFixture
) -> None:
    assert sent(speed, 1.0) == [3.0]
    speed.receive(answer(CHANGE_SPEED, ACCEPTED))
    assert not speed.idle
    assert sent(speed, 2.0, ()) == [OWN_M_S]
    speed.receive(answer(CHANGE_SPEED, ACCEPTED))
    assert sent(speed, 3.0, ()) == []
    assert speed.idle
    assert "vehicle limits restored: {'speed_m_s': 12.0}" in caplog.text


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


def test_a_command_is_repeated_each_ten_seconds_three_times_and_then_given_up(
    speed: SpeedCommand,
) -> None:
    times_s = (1.0, 1.9, 10.9, 11.0, 20.9, 21.0, 30.9, 31.0, 32.0, 60.0)
    found = {t_s: one for t_s in times_s if (one := sent(speed, t_s))}
    assert found == {1.0: [3.0], 11.0: [3.0], 21.0: [3.0]}
    assert speed.take_texts() == ["speed change: vehicle does not comply, tries: 3"]
    assert speed.take_texts() == []


def test_its_own_speed_is_commanded_each_second_until_it_is_acknowledged(
    speed: SpeedCommand, caplog: pytest.LogCaptureFixture
) -> None:
    assert sent(speed, 1.0) == [3.0]
    found = {
        t_s: one for t_s in (1.9, 2.0, 2.9, 3.0, 3.9, 4.0, 5.0) if (one := sent(speed, t_s, ()))
    }
    assert found == {2.0: [OWN_M_S], 3.0: [OWN_M_S], 4.0: [OWN_M_S]}
    assert speed.take_texts() == ["speed change: vehicle does not comply, tries: 3"]
    assert sent(speed, 6.0, ()) == []
    assert speed.idle  # the next start has nothing to restore
    assert "vehicle limits not restored" in caplog.text


def test_eight_commands_a_minute_count_from_the_first_of_them(speed: SpeedCommand) -> None:
    found = []
    for now_s in [*range(1, 60), 60.9, *range(61, 70)]:
        if sent(speed, float(now_s), LIMIT if round(now_s) % 2 else ()):
            found.append(now_s)
            speed.receive(answer(CHANGE_SPEED, ACCEPTED))
    assert found == [*range(1, 9), *range(61, 69)]


def test_a_refused_speed_is_reported_with_its_result(speed: SpeedCommand) -> None:
    assert sent(speed, 1.0) == [3.0]
    speed.receive(answer(CHANGE_SPEED, DENIED))
    speed.receive(answer(CHANGE_SPEED, DENIED))  # it was answered
    assert speed.take_texts() == ["speed change refused: denied"]
    assert sent(speed, 1.5) == []
    assert sent(speed, 11.0) == [3.0]


SPEED_ROWS = [  # class, own parameters, measured field, request, type, limit, own speed
    ("ArduCopter", {"WP_SPD": 9.0}, "ground_speed_m_s", 1, 3.0, 9.0),
    ("ArduCopter", {"WPNAV_SPEED": 900.0}, "ground_speed_m_s", 1, 3.0, 9.0),
    ("ArduCopter", {"WP_SPD_UP": 2.5}, "climb_m_s", 2, 1.5, 2.5),
    ("ArduCopter", {"WPNAV_SPEED_UP": 250.0}, "climb_m_s", 2, 1.5, 2.5),
    ("ArduRover", {"WP_SPEED": 6.0}, "ground_speed_m_s", 1, 3.0, 6.0),
]
BOTH = (
    ActionRequest(
        Action(Severity.WARNING, ActionKind.REDUCE, speed_m_s=3.0, climb_m_s=1.5),
        (0, 0, 0.0),
        "governor",
    ),
)


@pytest.mark.parametrize("row", SPEED_ROWS, ids=lambda row: f"{row[0]}-{next(iter(row[1]))}")
@pytest.mark.parametrize(("factor", "is_fast"), [(1.09, False), (1.11, True)])
def test_a_speed_is_limited_by_its_own_command_from_ten_percent_above(
    tmp_path: Path,
    row: tuple[str, dict[str, float], str, int, float, float],
    factor: float,
    *,
    is_fast: bool,
) -> None:
    vehicle_class, own, measured, kind, limit, own_m_s = row
    parameters = Parameters()
    command = SpeedCommand(parameters, tmp_path)
    slow = replace(FAST, vehicle_class=vehicle_class, ground_speed_m_s=0.0, climb_m_s=0.0)
    command.step(BOTH, flying(3), slow, 0.0)
    assert own.keys() <= parameters.requested()
    parameters.values.update(own)
    vehicle = replace(slow, ground_speed_m_s=None, climb_m_s=None)
    if measured == "climb_m_s":
        vehicle = replace(vehicle, climb_m_s=limit * factor)
    else:
        vehicle = replace(vehicle, ground_speed_m_s=limit * factor)
    for now_s, requests, speed_m_s in ((1.0, BOTH, limit), (2.0, (), own_m_s)):
        found = command.step(requests, flying(3), vehicle, now_s)
        expected = [(kind, pytest.approx(speed_m_s), -1.0)] if is_fast else []
        assert [(m.param1, m.param2, m.param3) for m in found] == expected


@pytest.mark.parametrize(
    ("own_m_s", "known"), [(0.0, False), (-1.0, False), (0.1, True), (100.0, True), (100.1, False)]
)
def test_a_speed_that_no_vehicle_has_is_not_its_own(
    tmp_path: Path, own_m_s: float, *, known: bool
) -> None:
    parameters = Parameters()
    command = SpeedCommand(parameters, tmp_path)
    command.step(LIMIT, flying(3), FAST, 0.0)
    parameters.values["WP_SPD"] = own_m_s
    assert bool(command.step(LIMIT, flying(3), FAST, 1.0)) == known
    assert command.idle != known


@pytest.mark.parametrize("mode", ["LOITER", "RTL", "STABILIZE", "LAND"])
def test_another_mode_ends_a_limit_without_a_command(
    speed: SpeedCommand, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert sent(speed, 1.0) == [3.0]
    assert speed.step(LIMIT, flying(3), replace(FAST, mode=None), 2.0) == []
    assert not speed.idle  # unknown is no other mode
    assert speed.step(LIMIT, flying(3), replace(FAST, mode=mode), 2.0) == []
    assert speed.idle
    assert "vehicle limits ended with the mode: {'speed_m_s': 12.0}" in caplog.text
    assert "restored" not in caplog.text


def test_a_new_mode_of_the_mission_has_its_own_tries(speed: SpeedCommand) -> None:
    for t_s in (1.0, 11.0, 21.0, 31.0):
        sent(speed, t_s)
    assert sent(speed, 41.0) == []
    guided = replace(FAST, mode="GUIDED")
    assert len(speed.step(LIMIT, flying(3), guided, 42.0)) == 1


def test_after_a_restart_of_the_autopilot_the_limit_is_commanded_at_once(
    speed: SpeedCommand,
) -> None:
    assert sent(speed, 1.0) == [3.0]
    assert sent(speed, 1.5) == []
    speed.after_restart()
    assert sent(speed, 1.6) == [3.0]

# SPDX-License-Identifier: Apache-2.0
"""Actions in a closed loop with every class of vehicle, pilots, failsafes and restarts."""

from pathlib import Path

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Action, ActionKind, ActionRequest, Severity
from mavlink_bridge.protocol.vehicle_classes import (
    VEHICLE_CLASSES,
    class_named,
    impossible_actions,
    vehicle_class,
)
from mavlink_bridge.vehicle.parameter_limits import LIMIT_PARAMETERS
from mavlink_bridge.vehicle.speed_command import SPEEDS
from mavlink_bridge.vehicle.vehicle_control import VehicleControl
from tests.mavlink_bridge.fake_vehicle import (
    ARDUPILOT,
    BLIMP,
    COPTER,
    GUIDED,
    HELICOPTER,
    LAND,
    LOITER,
    PLANE,
    PX4,
    PX4_RTL,
    ROVER,
    RTL,
    SUB,
    VTOL,
    FakeVehicle,
    Flight,
)

HOME = ActionRequest(Action(Severity.CRITICAL, ActionKind.RETURN), (0, 0, 1), "cell_critical")
DOWN = ActionRequest(Action(Severity.EMERGENCY, ActionKind.LAND), (0, 1, 1), "cell_emergency")
PX4_LAND, PX4_HOLD = 4 << 16 | 6 << 24, 4 << 16 | 3 << 24
PX4_POSCTL, PX4_TAKEOFF = 3 << 16, 4 << 16 | 2 << 24
AUTO, QLAND, QHOVER, PLANE_RTL = 10, 20, 18, 11
CURRENT_LIMIT = {"MOT_BAT_CURR_MAX": 0.0, "MOT_BAT_CURR_TC": 5.0}


def flying(
    folder: Path, autopilot: int, vehicle_type: int, mode: int, **parameters: float
) -> Flight:
    vehicle = FakeVehicle(autopilot, **parameters)
    vehicle.vehicle_type, vehicle.mode, vehicle.boot_ms = vehicle_type, mode, 60_000
    flight = Flight(vehicle, folder)
    flight.fly(3.0)
    return flight


@pytest.mark.parametrize(
    ("kind", "mode", "request_", "commands", "later"),
    [
        ((ARDUPILOT, COPTER), LOITER, HOME, [(20, 0)], RTL),
        ((ARDUPILOT, COPTER), LOITER, DOWN, [(21, 0)], LAND),
        ((ARDUPILOT, HELICOPTER), LOITER, DOWN, [(21, 0)], LAND),
        ((ARDUPILOT, PLANE), 5, HOME, [(176, 0, 11)], PLANE_RTL),
        ((ARDUPILOT, PLANE), 5, DOWN, [(189, 0), (176, 0, 26), (176, 0, 11)], PLANE_RTL),
        ((ARDUPILOT, PLANE), PLANE_RTL, DOWN, [(189, 0), (176, 0, 26), (176, 0, 11)], PLANE_RTL),
        ((ARDUPILOT, VTOL), 5, HOME, [(176, 0, 11)], PLANE_RTL),
        ((ARDUPILOT, VTOL), 5, DOWN, [(176, 0, 20)], QLAND),
        ((ARDUPILOT, PLANE), QHOVER, DOWN, [(176, 0, 20)], QLAND),
        ((ARDUPILOT, ROVER), 0, HOME, [(20, 0)], 11),
        ((ARDUPILOT, ROVER), 0, DOWN, [(176, 0, 4)], 4),
        ((ARDUPILOT, SUB), 2, HOME, [], 2),
        ((ARDUPILOT, SUB), 2, DOWN, [(176, 0, 9)], 9),
        ((ARDUPILOT, BLIMP), 1, HOME, [(176, 0, 4)], 4),
        ((ARDUPILOT, BLIMP), 1, DOWN, [(176, 0, 0)], 0),
        ((PX4, COPTER), PX4_POSCTL, HOME, [(20, 0)], PX4_RTL),
        ((PX4, COPTER), PX4_POSCTL, DOWN, [(21, 0)], PX4_LAND),
        ((PX4, PLANE), PX4_POSCTL, HOME, [(20, 0)], PX4_RTL),
        ((PX4, PLANE), PX4_POSCTL, DOWN, [(21, 0)], PX4_LAND),
        ((PX4, VTOL), PX4_POSCTL, DOWN, [(21, 0)], PX4_LAND),
        ((PX4, ROVER), PX4_POSCTL, HOME, [(20, 0)], PX4_RTL),
        ((PX4, ROVER), PX4_POSCTL, DOWN, [(176, 0, 4)], PX4_HOLD),
        ((PX4, SUB), PX4_POSCTL, DOWN, [], PX4_POSCTL),
    ],
)
def test_each_vehicle_gets_its_own_command_once(
    tmp_path: Path,
    kind: tuple[int, int],
    mode: int,
    request_: ActionRequest,
    commands: list[tuple[float, ...]],
    later: int,
) -> None:
    flight = flying(tmp_path, *kind, mode)
    flight.vehicle.quadplane = mode == QHOVER or VTOL in kind
    flight.requests = (request_,)
    flight.fly(15.0)
    assert flight.vehicle.commands == commands
    assert flight.vehicle.mode == later
    assert ("not possible" in "".join(flight.texts())) == (not commands)


def test_a_plane_lands_by_its_mission_if_that_has_a_landing(tmp_path: Path) -> None:
    flight = flying(tmp_path, ARDUPILOT, PLANE, AUTO)  # also from AUTO itself
    flight.vehicle.lands_by_mission = True
    flight.requests = (DOWN,)
    flight.fly(5.0)
    flight.requests = (HOME,)  # less urgent than the landing
    flight.fly(10.0)
    assert flight.vehicle.commands == [(189, 0)]


def test_a_plane_without_a_landing_in_its_mission_lands_where_it_took_off(tmp_path: Path) -> None:
    flight = flying(tmp_path, ARDUPILOT, PLANE, 5)
    flight.vehicle.autolands = True
    flight.requests = (DOWN,)
    flight.fly(15.0)
    assert flight.vehicle.commands == [(189, 0), (176, 0, 26)]
    assert "refused" not in "".join(flight.texts())


def test_q_enable_distinguishes_a_quadplane(tmp_path: Path) -> None:
    flight = flying(tmp_path, ARDUPILOT, PLANE, 5, Q_ENABLE=1.0)
    flight.vehicle.quadplane = True
    flight.requests = (DOWN,)
    flight.fly(3.0)
    assert flight.vehicle.commands == [(176, 0, 20)]


def test_an_action_that_is_not_possible_is_reported_at_the_first_heartbeat(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flight = flying(tmp_path, ARDUPILOT, SUB, 2)
    assert "ArduSub has no return" in flight.texts()
    assert "ArduSub has no return" in caplog.text
    assert "ArduSub has no land" not in caplog.text
    vehicle = FakeVehicle(9)
    other = Flight(vehicle, None)
    other.bridge.vehicle_control = VehicleControl(tmp_path, (ActionKind.LAND,))
    other.fly(2.0)
    assert other.texts() == ["no action on autopilot 9, type 2"]
    assert "not possible" not in caplog.text


def test_an_impossible_return_escalates_at_once(tmp_path: Path) -> None:
    flight = flying(tmp_path, ARDUPILOT, SUB, 2)
    action = Action(Severity.CRITICAL, ActionKind.RETURN, escalate=ActionKind.LAND)
    flight.requests = (ActionRequest(action, (0, 0, 1), "cell_critical"),)
    flight.fly(1.0)
    assert flight.vehicle.commands == [(176, 0, 9)]


def test_every_class_has_a_reason_for_each_action_it_lacks() -> None:
    for row in VEHICLE_CLASSES:
        kinds = row.types or (99,)
        reasons = impossible_actions(row.autopilot, kinds[0])
        assert (ActionKind.RETURN in reasons) == (not row.returns)
        assert (ActionKind.LAND in reasons) == (not row.lands)
        assert (ActionKind.REDUCE in reasons) == (not row.reduces)
        assert all(len(reason) <= 50 for reason in reasons.values())
        assert class_named(row.name) is row
        assert vehicle_class(row.autopilot, kinds[0]) is row
        assert row.firmware is not None
    assert len(impossible_actions(8, 6)) == 3
    assert vehicle_class(ARDUPILOT, mavlink.MAV_TYPE_ANTENNA_TRACKER) is None
    assert class_named(None) is None


# Asking for less.

SLOWER = Action("governor", ActionKind.REDUCE, speed_m_s=2.0, climb_m_s=1.0)
LESS = ActionRequest(SLOWER, (0, 2, 1), "governor", 30.0)
LIMITS = {
    "MOT_BAT_CURR_MAX": 0.0,
    "MOT_BAT_CURR_TC": 5.0,
    "Q_M_BAT_CURR_MAX": 0.0,
    "Q_M_BAT_CURR_TC": 5.0,
    "MPC_XY_VEL_MAX": 12.0,
    "RO_SPEED_LIM": 4.0,
    "BATT_WATT_MAX": 0.0,
}
MOT = {"MOT_BAT_CURR_MAX": 30.0, "MOT_BAT_CURR_TC": 1.0}
Q_M = {"Q_M_BAT_CURR_MAX": 30.0, "Q_M_BAT_CURR_TC": 1.0}


@pytest.mark.parametrize(
    ("autopilot", "vehicle_type", "q_enable", "limited"),
    [
        (ARDUPILOT, COPTER, None, MOT),
        (ARDUPILOT, SUB, None, MOT),
        (ARDUPILOT, VTOL, None, Q_M),
        (ARDUPILOT, PLANE, 1.0, Q_M),
        (ARDUPILOT, PLANE, 0.0, {}),
        (ARDUPILOT, PLANE, None, {}),
        (ARDUPILOT, ROVER, None, {}),  # by a command
        (ARDUPILOT, BLIMP, None, {}),
        (PX4, COPTER, None, {"MPC_XY_VEL_MAX": 2.0}),
        (PX4, VTOL, None, {"MPC_XY_VEL_MAX": 2.0}),
        (PX4, ROVER, None, {"RO_SPEED_LIM": 2.0}),
        (PX4, PLANE, None, {}),
        (8, COPTER, None, {}),
    ],
)
def test_each_class_is_limited_by_its_own_parameters_alone(
    tmp_path: Path,
    autopilot: int,
    vehicle_type: int,
    q_enable: float | None,
    limited: dict[str, float],
) -> None:
    own = LIMITS if q_enable is None else LIMITS | {"Q_ENABLE": q_enable}
    mode = PX4_POSCTL if autopilot == PX4 else 2  # ALT_HOLD, STABILIZE, VELOCITY
    mode = 15 if vehicle_type == ROVER and autopilot == ARDUPILOT else mode  # GUIDED
    flight = flying(tmp_path, autopilot, vehicle_type, mode, **own)
    flight.requests = (LESS,)
    flight.fly(6.0)
    assert flight.vehicle.parameters == own | limited
    flight.requests = ()
    flight.fly(6.0)
    assert flight.vehicle.parameters == own


def test_a_fast_rover_gets_a_speed_command_and_its_own_speed_at_the_end(tmp_path: Path) -> None:
    flight = flying(tmp_path, ARDUPILOT, ROVER, 15, WP_SPEED=5.0)
    flight.vehicle.speed_m_s = 5.0
    flight.fly(3.0)
    flight.requests = (LESS,)
    flight.fly(10.0)
    assert flight.vehicle.speeds == [(1, 2)]  # no climb: Rover denies it
    flight.requests = ()
    flight.fly(5.0)
    assert flight.vehicle.speeds == [(1, 2), (1, 5)]


def test_a_class_reduces_if_a_parameter_or_a_command_of_it_limits() -> None:
    by_parameter = {name for row in LIMIT_PARAMETERS for name in row.classes}
    by_command = {row.vehicle_class for row in SPEEDS}
    assert {row.name for row in VEHICLE_CLASSES if row.reduces} == by_parameter | by_command


# Failsafes.


@pytest.mark.parametrize(
    ("autopilot", "vehicle_type", "mode", "returns"),
    [
        (ARDUPILOT, COPTER, LOITER, RTL),
        (ARDUPILOT, COPTER, LOITER, 21),
        (ARDUPILOT, ROVER, 0, 11),
        (PX4, COPTER, PX4_POSCTL, PX4_RTL),
        (PX4, PLANE, PX4_POSCTL, PX4_RTL),
    ],
)
def test_a_failsafe_that_returns_is_replaced_by_a_landing_alone(
    tmp_path: Path, autopilot: int, vehicle_type: int, mode: int, returns: int
) -> None:
    flight = flying(tmp_path, autopilot, vehicle_type, mode)
    flight.vehicle.mode, flight.vehicle.status = returns, 5
    flight.requests = (HOME,)
    flight.fly(5.0)
    assert flight.vehicle.commands == []
    flight.requests = (HOME, DOWN)
    flight.fly(5.0)
    assert len(flight.vehicle.commands) == 1


@pytest.mark.parametrize("status", [4, 5])
def test_our_own_return_is_no_failsafe_whatever_the_status(tmp_path: Path, status: int) -> None:
    flight = flying(tmp_path, ARDUPILOT, COPTER, LOITER)
    flight.vehicle.status = status  # a battery with action 0 has warned
    flight.fly(3.0)
    flight.requests = (HOME,)
    flight.fly(5.0)
    flight.requests = (HOME, DOWN)
    flight.fly(5.0)
    assert flight.vehicle.commands == [(20, 0), (21, 0)]


@pytest.mark.parametrize(
    ("autopilot", "mode", "status"),
    [(ARDUPILOT, LAND, 5), (PX4, PX4_LAND, 5), (PX4, 10 << 16, 8), (ARDUPILOT, LOITER, 8)],
)
def test_a_landing_and_a_termination_are_left_alone(
    tmp_path: Path, autopilot: int, mode: int, status: int
) -> None:
    flight = flying(tmp_path, autopilot, COPTER, PX4_POSCTL if autopilot == PX4 else LOITER)
    flight.vehicle.mode, flight.vehicle.status = mode, status
    flight.fly(2.0)
    flight.requests = (HOME, DOWN)
    flight.fly(10.0)
    assert flight.vehicle.commands == []


def test_a_hold_of_px4_before_its_failsafe_is_waited_for_and_one_that_stays_is_not(
    tmp_path: Path,
) -> None:
    flight = flying(tmp_path, PX4, COPTER, PX4_POSCTL)
    flight.vehicle.mode, flight.vehicle.status = PX4_HOLD, 5
    flight.fly(1.0)
    flight.requests = (HOME,)
    flight.fly(7.0)
    assert flight.vehicle.commands == []
    assert "RETURN: failsafe is about to act" in flight.texts()
    flight.fly(5.0)
    assert flight.vehicle.commands == [(20, 0)]


def test_an_emergency_lands_during_a_hold_of_px4(tmp_path: Path) -> None:
    flight = flying(tmp_path, PX4, COPTER, PX4_POSCTL)
    flight.vehicle.mode, flight.vehicle.status = PX4_HOLD, 5
    flight.fly(1.0)
    flight.requests = (DOWN,)
    flight.fly(1.0)
    assert flight.vehicle.commands == [(21, 0)]


@pytest.mark.parametrize(
    ("autopilot", "mode", "taken"),
    [
        (ARDUPILOT, GUIDED, LOITER),
        (ARDUPILOT, GUIDED, 0),
        (PX4, PX4_TAKEOFF, PX4_POSCTL),
        (PX4, PX4_POSCTL, 7 << 16),
    ],
)
@pytest.mark.parametrize("warned_s", [-2.0, 0.0, 2.0])  # from the pilot's mode
def test_a_pilot_who_takes_over_when_the_autopilot_warns_of_its_battery_is_no_failsafe(
    tmp_path: Path, autopilot: int, mode: int, taken: int, warned_s: float
) -> None:
    flight = flying(tmp_path, autopilot, COPTER, mode)
    flight.requests = (HOME,)
    flight.fly(5.0)
    for change_s in sorted({warned_s, 0.0}):
        if change_s == warned_s:
            flight.vehicle.status = 5
        if change_s == 0.0:
            flight.vehicle.mode = taken
        flight.fly(2.0)
    flight.fly(30.0)
    flight.requests = (HOME, DOWN)
    flight.fly(10.0)
    assert flight.vehicle.commands == [(20, 0)]
    assert flight.vehicle.mode == taken


def test_a_landing_that_a_failsafe_of_a_plane_has_begun_is_left_alone(tmp_path: Path) -> None:
    flight = flying(tmp_path, ARDUPILOT, PLANE, 5)
    flight.vehicle.mode, flight.vehicle.status = AUTO, 5  # BATT_FS_CRT_ACT 1: landing sequence
    flight.fly(1.0)
    flight.requests = (HOME,)
    flight.fly(10.0)
    assert flight.vehicle.commands == []
    assert "RETURN: vehicle is landing" in flight.texts()


def test_a_mission_of_a_plane_is_no_failsafe_though_a_battery_has_warned(tmp_path: Path) -> None:
    flight = flying(tmp_path, ARDUPILOT, PLANE, 5)
    flight.vehicle.status = 5
    flight.fly(5.0)
    flight.vehicle.mode = AUTO
    flight.fly(5.0)
    flight.requests = (HOME,)
    flight.fly(3.0)
    assert flight.vehicle.commands == [(176, 0, 11)]


@pytest.mark.parametrize(
    ("autopilot", "mode"), [(ARDUPILOT, 3), (ARDUPILOT, RTL), (PX4, 4 << 16 | 4 << 24)]
)
def test_a_landing_of_a_mission_or_a_return_is_left_alone(
    tmp_path: Path, autopilot: int, mode: int
) -> None:
    flight = flying(tmp_path, autopilot, COPTER, mode)
    asked = [m for m in flight.vehicle.received if getattr(m, "command", 0) == 511]
    assert 245 in [m.param1 for m in asked]
    for state, commands in ((4, []), (0, [(21, 0)])):  # MAV_LANDED_STATE: landing, unknown
        for _ in range(5):
            flight.vehicle.emit(mavlink.MAVLink_extended_sys_state_message(0, state))
            flight.requests = (HOME, DOWN)
            flight.fly(1.0)
        assert flight.vehicle.commands == commands


def test_the_landed_state_is_requested_three_times_at_most(tmp_path: Path) -> None:
    flight = flying(tmp_path, ARDUPILOT, COPTER, GUIDED)
    flight.fly(60.0)
    asked = [m for m in flight.vehicle.received if getattr(m, "command", 0) == 511]
    assert [m.param1 for m in asked].count(245) == 3


# Pilots, and the autopilot's own changes.


@pytest.mark.parametrize("autopilot", [ARDUPILOT, PX4])
@pytest.mark.parametrize("after_s", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("loses_answers", [False, True])
def test_a_pilot_who_returns_to_the_former_mode_at_once_keeps_it(
    tmp_path: Path, autopilot: int, after_s: float, *, loses_answers: bool
) -> None:
    former = PX4_POSCTL if autopilot == PX4 else GUIDED
    flight = flying(tmp_path, autopilot, COPTER, former)
    flight.vehicle.loses_answers = loses_answers
    flight.fly(0.1)
    flight.requests = (HOME,)
    flight.fly(after_s)
    assert flight.vehicle.commands == [(20, 0)]
    if loses_answers and after_s < 0.9:
        flight.fly(0.6)  # no evidence before the next heartbeat
    flight.vehicle.mode = former
    flight.fly(30.0)
    flight.requests = (HOME, DOWN)
    flight.fly(30.0)
    assert flight.vehicle.commands == [(20, 0)]
    assert sum("pilot has taken over" in text for text in flight.texts()) == 1


def test_a_pilot_who_takes_over_after_obedience_is_reported_once(tmp_path: Path) -> None:
    flight = flying(tmp_path, ARDUPILOT, COPTER, GUIDED)
    flight.requests = (HOME,)
    flight.fly(10.0)
    flight.vehicle.mode = LOITER
    flight.fly(10.0)
    flight.vehicle.mode = GUIDED
    flight.fly(10.0)
    assert [text for text in flight.texts() if "taken" in text] == ["pilot has taken over: LOITER"]


def test_an_end_of_the_take_off_before_obedience_keeps_the_actions(tmp_path: Path) -> None:
    flight = flying(tmp_path, PX4, COPTER, PX4_TAKEOFF)
    flight.vehicle.complies = False
    flight.requests = (HOME,)
    flight.fly(1.0)
    flight.vehicle.mode = PX4_HOLD
    flight.fly(1.0)
    flight.vehicle.complies = True
    flight.fly(5.0)
    assert flight.vehicle.mode == PX4_RTL
    flight.requests = (HOME, DOWN)
    flight.fly(2.0)
    assert flight.vehicle.mode == PX4_LAND
    assert not [text for text in flight.texts() if "pilot" in text]


def test_a_return_is_commanded_again_after_traffic_was_avoided(tmp_path: Path) -> None:
    flight = flying(tmp_path, ARDUPILOT, COPTER, GUIDED)
    flight.requests = (HOME,)
    flight.fly(5.0)
    flight.vehicle.mode = 19  # AVOID_ADSB
    flight.fly(10.0)
    assert flight.vehicle.commands == [(20, 0)]
    assert "RETURN: vehicle avoids traffic" in flight.texts()
    flight.vehicle.mode = LOITER
    flight.fly(2.0)
    assert flight.vehicle.commands == [(20, 0)] * 2


@pytest.mark.parametrize("gap_s", [1.0, 2.5, 5.0, 20.0])
def test_lost_heartbeats_make_no_pilot_and_no_second_command(tmp_path: Path, gap_s: float) -> None:
    flight = flying(tmp_path, ARDUPILOT, COPTER, GUIDED)
    flight.requests = (HOME,)
    flight.fly(3.0)
    flight.vehicle.sends_heartbeats = False
    flight.fly(gap_s)
    flight.vehicle.boot_ms += round(gap_s * 1000)
    flight.vehicle.mode = LAND  # the end of the return
    flight.vehicle.sends_heartbeats = True
    flight.fly(10.0)
    assert flight.vehicle.commands == [(20, 0)]
    assert not [text for text in flight.texts() if "pilot" in text]


def test_limits_that_come_and_go_send_few_commands(tmp_path: Path) -> None:
    flight = flying(tmp_path, ARDUPILOT, COPTER, GUIDED)
    flight.vehicle.complies = False
    for number in range(120):
        rows = [(ActionKind.RETURN, 0), (ActionKind.LAND, 1)]
        flight.requests = tuple(
            ActionRequest(
                Action(Severity.CRITICAL, do, retry_s=0.1, retries=10, cooldown_s=0.0),
                (0, row, number),
                "cell_critical",
            )
            for do, row in rows[: 1 + number % 2]
        )
        flight.fly(0.5)
        flight.requests = ()
        flight.fly(0.5)
    assert len(flight.vehicle.commands) <= 2 * 11 * 2
    control = flight.bridge.vehicle_control
    assert control is not None
    assert control.sent is not None
    assert len(control.sent.earlier) <= 2
    assert len(control.sent.recent_s) <= 2 * 11


# Restarts of the autopilot.


@pytest.mark.parametrize("restarted", [False, True])
def test_after_a_pause_of_the_heartbeats_its_clock_decides(
    tmp_path: Path, *, restarted: bool
) -> None:
    flight = flying(tmp_path, ARDUPILOT, COPTER, GUIDED)
    flight.requests = (HOME,)
    flight.fly(4.0)
    vehicle = flight.vehicle
    vehicle.sends_heartbeats, vehicle.boot_ms = False, 0
    flight.fly(5.0)
    vehicle.mode = LOITER
    vehicle.send_heartbeat()  # its clock comes later
    flight.fly(0.8)
    control = flight.bridge.vehicle_control
    assert control is not None
    assert control.sent is not None
    assert control.sent.obeyed  # not yet judged
    vehicle.boot_ms = 1500 if restarted else 90_000
    vehicle.sends_heartbeats = True
    flight.fly(5.0)
    assert vehicle.commands == [(20, 0)] * (1 + restarted)
    assert any("pilot" in text for text in flight.texts()) is not restarted


@pytest.mark.parametrize("autopilot", [ARDUPILOT, PX4])
@pytest.mark.parametrize("gap_s", [0.0, 1.0, 2.0, 4.0, 8.0])
def test_a_restarted_autopilot_is_taken_up_again_within_3_s(
    tmp_path: Path, autopilot: int, gap_s: float
) -> None:
    former, other = (PX4_POSCTL, 7 << 16) if autopilot == PX4 else (GUIDED, 0)
    flight = flying(tmp_path, autopilot, COPTER, former)
    flight.requests = (HOME,)
    flight.fly(5.0)
    for restarts in (1, 2):
        assert len(flight.vehicle.commands) == restarts
        flight.vehicle.sends_heartbeats = False
        flight.fly(gap_s)
        flight.vehicle.reboot(other)
        flight.vehicle.sends_heartbeats = True
        before = len(flight.vehicle.received)
        flight.fly(3.0)
        assert len(flight.vehicle.commands) == restarts + 1
        asked = {
            (m.command, int(m.param1))
            for m in flight.vehicle.received[before:]
            if m.get_type() == "COMMAND_LONG"
        }
        assert {(511, 147), (511, 33), (512, 148), (512, 242)} <= asked
        flight.fly(10.0)
    assert not [text for text in flight.texts() if "pilot" in text]


@pytest.mark.parametrize("autopilot", [ARDUPILOT, PX4])
@pytest.mark.parametrize("gap_s", [0.0, 1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("due_s", [0.0, 0.1, 0.4, 1.0])  # after its first heartbeat
def test_what_is_due_after_a_restart_is_commanded_once_and_its_pilot_overrides_it(
    tmp_path: Path, autopilot: int, gap_s: float, due_s: float
) -> None:
    former, chosen = (PX4_POSCTL, 7 << 16) if autopilot == PX4 else (GUIDED, LOITER)
    flight = flying(tmp_path, autopilot, COPTER, former)
    flight.fly(5.0)
    vehicle = flight.vehicle
    vehicle.sends_heartbeats = False
    flight.fly(gap_s)
    vehicle.reboot(former)
    vehicle.sends_heartbeats = True
    vehicle.send_heartbeat()
    flight.fly(due_s)
    flight.requests = (HOME,)
    flight.fly(8.0)
    assert len(vehicle.commands) == 1
    assert vehicle.mode != former
    vehicle.mode = chosen
    flight.fly(20.0)
    assert len(vehicle.commands) == 1
    assert any("pilot has taken over" in text for text in flight.texts())


def test_nothing_is_requested_of_an_autopilot_that_starts_again(tmp_path: Path) -> None:
    flight = flying(tmp_path, ARDUPILOT, COPTER, GUIDED)
    flight.vehicle.sends_heartbeats = False
    flight.fly(1.5)
    before = len(flight.vehicle.received)
    flight.fly(0.5)  # the position is late
    silent = flight.vehicle.received[before:]
    assert not [m for m in silent if getattr(m, "command", 0) in (511, 512)]
    flight.vehicle.send_heartbeat()
    flight.fly(0.2)
    asked = {m.param1 for m in flight.vehicle.received[before:] if getattr(m, "command", 0) == 511}
    assert 33 in asked


def test_a_status_of_boot_is_a_restart(tmp_path: Path) -> None:
    flight = flying(tmp_path, ARDUPILOT, COPTER, GUIDED)
    flight.vehicle.boot_ms = 0  # no time since boot
    flight.requests = (HOME,)
    flight.fly(4.0)
    flight.vehicle.mode, flight.vehicle.status = 0, 1
    flight.fly(1.0)
    flight.vehicle.status = 4
    flight.fly(3.0)
    assert flight.vehicle.commands == [(20, 0)] * 2


@pytest.mark.parametrize(
    "forged",
    [
        mavlink.MAVLink_global_position_int_message(5, 1, 1, 0, 0, 0, 0, 0, 0),
        mavlink.MAVLink_global_position_int_message(4_000_000_000, 1, 1, 0, 0, 0, 0, 0, 0),
        mavlink.MAVLink_system_time_message(0, 4_000_000_000),
        mavlink.MAVLink_heartbeat_message(COPTER, ARDUPILOT, 129, LOITER, 1, 3),
    ],
    ids=["time back", "time ahead", "another clock", "boot"],
)
def test_one_message_is_no_restart_that_takes_the_command_from_a_pilot(
    tmp_path: Path, forged: mavlink.MAVLink_message
) -> None:
    flight = flying(tmp_path, ARDUPILOT, COPTER, GUIDED)
    flight.requests = (HOME,)
    flight.fly(5.3)
    flight.vehicle.emit(forged)
    flight.fly(1.7)
    flight.vehicle.mode = LOITER
    flight.fly(1.3)
    flight.vehicle.emit(forged)
    flight.fly(8.7)
    assert flight.vehicle.commands == [(20, 0)]
    assert flight.texts().count("pilot has taken over: LOITER") == 1


@pytest.mark.parametrize(
    "kind", [(1, ARDUPILOT, 129, 10), (COPTER, PX4, 129, PX4_POSCTL), (10, ARDUPILOT, 129, 10)]
)
def test_one_heartbeat_of_another_type_changes_no_command(
    tmp_path: Path, kind: tuple[int, int, int, int]
) -> None:
    flight = flying(tmp_path, ARDUPILOT, COPTER, GUIDED)
    flight.fly(0.3)
    flight.vehicle.emit(mavlink.MAVLink_heartbeat_message(*kind, 4, 3))
    flight.requests = (HOME,)
    flight.fly(5.0)
    assert flight.vehicle.commands == [(20, 0)]


def test_heartbeats_of_another_type_alone_are_accepted_after_3_s(tmp_path: Path) -> None:
    flight = flying(tmp_path, ARDUPILOT, COPTER, GUIDED)
    flight.vehicle.vehicle_type = 10
    flight.fly(3.0)
    assert flight.bridge.pump(flight.now_s).vehicle_class != "ArduRover"
    flight.fly(1.5)
    assert flight.bridge.pump(flight.now_s).vehicle_class == "ArduRover"


def test_a_second_version_without_a_restart_changes_nothing_that_is_sent(tmp_path: Path) -> None:
    flight = flying(tmp_path, PX4, COPTER, PX4_POSCTL)
    flight.fly(2.0)
    before, zeros = flight.bridge.stack, [0] * 8
    newest = (0xFFFFFFFF, 0, 0, 0, zeros, zeros, zeros, 0, 0, 0)
    flight.vehicle.emit(mavlink.MAVLink_autopilot_version_message(0, *newest))
    flight.fly(1.0)
    assert flight.bridge.stack == before


def test_a_restart_does_not_take_the_command_from_a_pilot(tmp_path: Path) -> None:
    flight = flying(tmp_path, ARDUPILOT, COPTER, GUIDED)
    flight.requests = (HOME,)
    flight.fly(5.0)
    flight.vehicle.mode = LOITER
    flight.fly(2.0)
    flight.vehicle.reboot(LOITER)
    flight.fly(20.0)
    assert flight.vehicle.commands == [(20, 0)]


def test_a_limit_is_written_again_and_the_first_values_restored_after_a_restart(
    tmp_path: Path,
) -> None:
    flight = flying(tmp_path, ARDUPILOT, COPTER, GUIDED, **CURRENT_LIMIT)
    action = Action("governor", ActionKind.REDUCE)
    flight.requests = (ActionRequest(action, (0, 2, 1), "governor", 30.0),)
    flight.fly(5.0)
    limited = {"MOT_BAT_CURR_MAX": 30.0, "MOT_BAT_CURR_TC": 1.0}
    assert flight.vehicle.parameters == limited
    flight.vehicle.reboot(GUIDED, **CURRENT_LIMIT)  # they were not stored
    flight.fly(4.0)
    assert flight.vehicle.parameters == limited
    flight.vehicle.reboot(GUIDED)  # they were
    before = len(flight.vehicle.received)
    flight.fly(4.0)
    assert not [m for m in flight.vehicle.received[before:] if m.get_type() == "PARAM_SET"]
    flight.requests = ()
    flight.fly(4.0)
    assert flight.vehicle.parameters == CURRENT_LIMIT


def test_a_restart_with_another_version_is_noticed(tmp_path: Path) -> None:
    flight = flying(tmp_path, PX4, COPTER, PX4_POSCTL)
    flight.vehicle.release = 1 << 24 | 18 << 16 | 255
    flight.vehicle.reboot(PX4_POSCTL)
    flight.fly(3.0)
    assert not flight.bridge.stack.unknown_is_empty
    flight.vehicle.release = 1 << 24 | 17 << 16 | 255
    flight.fly(4.0)
    flight.vehicle.reboot(PX4_POSCTL)
    flight.fly(3.0)
    assert flight.bridge.stack.unknown_is_empty

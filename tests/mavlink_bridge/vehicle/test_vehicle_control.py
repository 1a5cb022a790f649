# SPDX-License-Identifier: Apache-2.0
"""Actions on a vehicle, and the restoration of its parameters."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.clock import VirtualClock
from dronebms.core.report import Action, ActionKind, ActionRequest, Severity
from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.bridge import BridgeState
from mavlink_bridge.protocol.flight_stacks import PX4 as PX4_STACK
from mavlink_bridge.protocol.flight_stacks import withhold_reason
from mavlink_bridge.protocol.parameters import Parameters
from mavlink_bridge.protocol.requests import command, result_label
from mavlink_bridge.vehicle.command_state import Phase, SentCommand
from mavlink_bridge.vehicle.precedence import decide, refusal
from mavlink_bridge.vehicle.saved_file import left_behind
from mavlink_bridge.vehicle.vehicle_control import VehicleControl
from tests.mavlink_bridge.fake_vehicle import (
    ARDUPILOT,
    COPTER,
    GUIDED,
    LAND,
    LOITER,
    MODES,
    PX4,
    PX4_RTL,
    RTL,
    FakeVehicle,
    Flight,
)

HOME = ActionRequest(Action(Severity.CRITICAL, ActionKind.RETURN), (0, 0, 1), "cell_critical")
DOWN = ActionRequest(Action(Severity.EMERGENCY, ActionKind.LAND), (0, 1, 1), "cell_emergency")
LIMIT_PARAMETERS = {"MOT_BAT_CURR_MAX": 0.0, "MOT_BAT_CURR_TC": 5.0}
SAVED = "vehicle-3-1-limits.json"
SPEEDS: dict[str, float] = {
    "MPC_XY_VEL_MAX": 12.0,
    "MPC_XY_CRUISE": 3.0,
    "MPC_VEL_MANUAL": 10.0,
    "MPC_Z_VEL_MAX_UP": 3.0,
    "MPC_Z_V_AUTO_UP": 3.0,
}


@pytest.fixture(autouse=True)
def _a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()


def less(
    max_a: float | None, speed_m_s: float | None = None, climb_m_s: float | None = None
) -> tuple[ActionRequest, ...]:
    action = Action("governor", ActionKind.REDUCE, speed_m_s=speed_m_s, climb_m_s=climb_m_s)
    return (ActionRequest(action, (0, 2, 1), "governor", max_a),)


def flying(folder: Path | None, vehicle: FakeVehicle | None = None) -> Flight:
    flight = Flight(vehicle or FakeVehicle(**LIMIT_PARAMETERS), folder)
    flight.fly(3.0)
    return flight


# Modes.


@pytest.mark.parametrize(
    ("result", "label"),
    [
        (1, "temporarily rejected"),
        (2, "denied"),
        (3, "unsupported"),
        (4, "failed"),
        (99, "result 99"),
    ],
)
def test_a_result_has_the_label_of_mavlink(result: int, label: str) -> None:
    assert result_label(result) == label


@pytest.mark.parametrize("autopilot", [ARDUPILOT, PX4])
@pytest.mark.parametrize(("requested", "number"), [(HOME, 20), (DOWN, 21)])
def test_a_mode_is_commanded_once_and_read_back(
    tmp_path: Path, autopilot: int, requested: ActionRequest, number: int
) -> None:
    vehicle = FakeVehicle(autopilot)
    vehicle.mode = 3 << 16 if autopilot == PX4 else LOITER
    flight = flying(tmp_path, vehicle)
    flight.requests = (requested,)
    flight.fly(20.0)
    assert vehicle.commands == [(number, 0)]
    assert f"{requested.action.do.name}: {requested.because.replace('_', ' ')}" in flight.texts()


def test_a_return_that_is_due_on_the_ground_waits_for_the_flight_and_its_pilot_overrides_nothing(
    tmp_path: Path,
) -> None:
    vehicle = FakeVehicle()
    vehicle.mode = LOITER
    vehicle.landed_state = mavlink.MAV_LANDED_STATE_ON_GROUND
    flight = flying(tmp_path, vehicle)
    flight.requests = (HOME,)
    flight.fly(20.0)
    assert vehicle.commands == []
    assert [text for text in flight.texts() if text.startswith("RETURN")] == [
        "RETURN: vehicle is on the ground"
    ]
    vehicle.mode = GUIDED  # in which the pilot takes off
    flight.fly(3.0)
    vehicle.landed_state = mavlink.MAV_LANDED_STATE_IN_AIR
    flight.fly(10.0)
    assert vehicle.commands == [(20, 0)]
    assert not [text for text in flight.texts() if "pilot" in text]


def test_a_landing_that_is_due_on_the_ground_disarms_a_copter(tmp_path: Path) -> None:
    vehicle = FakeVehicle()
    vehicle.landed_state = mavlink.MAV_LANDED_STATE_ON_GROUND
    flight = flying(tmp_path, vehicle)
    flight.requests = (DOWN,)
    flight.fly(5.0)
    assert vehicle.commands == [(21, 0)]


def test_without_vehicle_control_nothing_is_sent() -> None:
    flight = flying(None)
    flight.requests = (HOME, DOWN, *less(20.0))
    flight.fly(20.0)
    assert flight.vehicle.commands == []
    assert flight.vehicle.parameters == LIMIT_PARAMETERS
    assert not [m for m in flight.vehicle.received if m.get_type() == "PARAM_SET"]


def test_bms_act_0_stops_commands_and_restores_parameters(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.requests = less(30.0)
    flight.fly(3.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 30.0
    flight.bridge.settings.acting_enabled = False
    flight.requests = (HOME, *less(30.0))
    flight.fly(5.0)
    assert flight.vehicle.commands == []
    assert flight.vehicle.parameters == LIMIT_PARAMETERS


def test_a_refused_command_is_repeated_twice_and_again_after_its_cooldown(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.vehicle.complies = False
    flight.requests = (HOME,)
    flight.fly(30.0)
    assert flight.vehicle.commands == [(20, 0), (20, 1), (20, 2)]
    assert "RETURN refused: failed" in flight.texts()
    assert "RETURN: vehicle does not comply, tries: 3" in flight.texts()
    flight.vehicle.complies = True
    flight.fly(30.0)
    assert flight.vehicle.commands == [(20, 0), (20, 1), (20, 2), (20, 0)]
    assert flight.vehicle.mode == RTL


def test_a_refused_return_escalates_to_a_landing_if_configured(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.vehicle.complies = False
    action = Action(Severity.CRITICAL, ActionKind.RETURN, retries=0, escalate=ActionKind.LAND)
    flight.requests = (ActionRequest(action, (0, 0, 1), "cell_critical"),)
    flight.fly(10.0)
    assert flight.vehicle.commands == [(20, 0), (21, 0)]


def test_the_mode_that_a_pilot_chooses_is_not_changed(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.requests = (HOME,)
    flight.fly(3.0)
    assert flight.vehicle.mode == RTL
    flight.vehicle.mode = LOITER
    flight.requests = (DOWN, HOME)
    flight.fly(30.0)
    assert flight.vehicle.commands == [(20, 0)]
    assert "LAND: pilot has chosen another mode" in flight.texts()


def disarmed_heartbeat(flight: Flight) -> None:
    """One in the name of the autopilot, between two of its own."""
    vehicle = flight.vehicle
    flight.fly(0.2)
    vehicle.armed = False
    vehicle.send_heartbeat()
    vehicle.armed = True
    flight.fly(0.8)


def test_one_disarmed_heartbeat_does_not_end_the_override_of_a_pilot(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.requests = (HOME,)
    flight.fly(3.0)
    flight.vehicle.mode = LOITER
    flight.fly(5.0)
    for _ in range(5):
        disarmed_heartbeat(flight)
        flight.requests = (DOWN, HOME)
        flight.fly(3.0)
    assert flight.vehicle.commands == [(20, 0)]
    flight.vehicle.armed = False
    flight.fly(5.0)
    flight.vehicle.armed = True
    flight.fly(1.5)
    assert flight.vehicle.commands == [(20, 0), (21, 0)]


@pytest.mark.parametrize("scripted", [False, True])
def test_one_disarmed_heartbeat_does_not_end_a_limit(tmp_path: Path, *, scripted: bool) -> None:
    flight = flying(tmp_path)
    flight.vehicle.scripted = scripted
    flight.requests = less(30.0)
    flight.fly(4.0)
    sets: list[float] = []
    flight.vehicle.on_set = lambda: sets.append(flight.now_s)
    for _ in range(5):
        disarmed_heartbeat(flight)
    assert sets == []
    assert 0.0 not in flight.vehicle.requested


@pytest.mark.parametrize(
    "change",
    [{"armed": False}, {"mode": LAND}, {"mode": RTL}, {"mode": RTL, "status": 5}, {"mode": 77}],
    ids=["disarmed", "landing", "returning", "failsafe", "unknown mode"],
)
def test_no_command_is_sent_to_a_vehicle_that_is(tmp_path: Path, change: dict[str, object]) -> None:
    flight = flying(tmp_path)
    for name, value in change.items():
        setattr(flight.vehicle, name, value)
    flight.fly(2.0)
    flight.requests = (HOME,)
    flight.fly(10.0)
    assert flight.vehicle.commands == []


@pytest.mark.parametrize("autopilot", [ARDUPILOT, PX4])
def test_a_landing_is_commanded_in_a_mode_that_no_table_has(tmp_path: Path, autopilot: int) -> None:
    flight = flying(tmp_path, FakeVehicle(autopilot))
    flight.vehicle.mode, flight.vehicle.complies = 77 << 16 | 77, False
    flight.fly(2.0)
    flight.requests = (DOWN,)
    flight.fly(5.0)
    assert flight.vehicle.commands[:2] == [(21, 0), (21, 1)]  # refused, and repeated
    flight.vehicle.complies = True
    flight.fly(40.0)
    assert flight.vehicle.mode == MODES[autopilot, COPTER][21]
    count = len(flight.vehicle.commands)
    flight.vehicle.mode = 77 << 16 | 77  # a pilot
    flight.requests = (replace(DOWN, key=(0, 9, 50.0)),)
    flight.fly(10.0)
    assert len(flight.vehicle.commands) == count
    assert "pilot has taken over: unknown mode" in flight.texts()


def test_an_earlier_low_battery_of_ardupilot_does_not_block_commands(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.vehicle.status = 5  # ArduPilot stays critical
    flight.fly(2.0)
    flight.requests = (HOME,)
    flight.fly(2.0)
    assert flight.vehicle.commands == [(20, 0)]


def test_an_active_failsafe_of_px4_is_not_interrupted(tmp_path: Path) -> None:
    vehicle = FakeVehicle(PX4)
    vehicle.mode, vehicle.status = 4 << 16 | 3 << 24, 5  # PX4 holds before it returns
    flight = flying(tmp_path, vehicle)
    flight.requests = (HOME,)
    flight.fly(5.0)
    assert vehicle.commands == []
    vehicle.mode = PX4_RTL


def test_without_a_heartbeat_nothing_is_commanded(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.vehicle.sends_heartbeats = False
    flight.fly(3.0)
    before = len(flight.vehicle.received)
    flight.requests = (HOME, *less(30.0))
    flight.fly(10.0)
    texts = {m.get_type() for m in flight.vehicle.received[before:]}
    assert texts <= {"HEARTBEAT", "BATTERY_STATUS", "SMART_BATTERY_INFO", "STATUSTEXT"}


# Current limit by parameters.


def test_a_set_that_waits_for_its_answer_is_not_begun_again() -> None:
    parameters = Parameters()
    value = mavlink.MAVLink_param_value_message(b"X", 1.0, 9, 1, 0)
    parameters.read("X")
    parameters.receive(value, bytewise=False)
    sent = []
    for now_s in (0.0, 0.5, 1.0, 2.0, 3.0, 9.0):
        parameters.set("X", 2.0)
        sent += parameters.due(1, now_s, bytewise=False)
    assert [message.get_type() for message in sent] == ["PARAM_SET"] * 4
    assert parameters.pending() == frozenset()
    assert parameters.requested() == {"X"}


def test_the_original_values_are_on_disk_before_a_limit_is_set(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    written: list[bool] = []
    flight.vehicle.on_set = lambda: written.append((tmp_path / SAVED).exists())
    flight.requests = less(30.0)
    flight.fly(3.0)
    assert flight.vehicle.parameters == {"MOT_BAT_CURR_MAX": 30.0, "MOT_BAT_CURR_TC": 1.0}
    assert written == [True] * 2
    flight.requests = ()
    flight.fly(3.0)
    assert flight.vehicle.parameters == LIMIT_PARAMETERS
    assert not (tmp_path / SAVED).exists()


def test_small_changes_of_a_limit_are_not_written(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    for max_a, seconds, expected_a in (
        (30.0, 2.0, 30.0),
        (29.5, 20.0, 30.0),
        (29.0, 14.0, 30.0),  # waits 15 s
        (29.0, 2.0, 29.0),
        (27.0, 1.0, 27.0),
        (40.0, 59.0, 27.0),  # waits 60 to 90 s
        (40.0, 31.0, 40.0),
    ):
        flight.requests = less(max_a)
        flight.fly(seconds)
        assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == expected_a


def test_a_limit_of_the_user_is_never_raised(tmp_path: Path) -> None:
    flight = flying(tmp_path, FakeVehicle(MOT_BAT_CURR_MAX=25.0, MOT_BAT_CURR_TC=0.5))
    flight.requests = less(30.0)
    flight.fly(3.0)
    assert flight.vehicle.parameters == {"MOT_BAT_CURR_MAX": 25.0, "MOT_BAT_CURR_TC": 0.5}


def test_the_next_start_restores_the_parameters_after_a_crash(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.requests = less(30.0)
    flight.fly(3.0)
    flight = flying(tmp_path, flight.vehicle)
    assert flight.vehicle.parameters == LIMIT_PARAMETERS
    assert flight.bridge.vehicle_control is not None
    assert flight.bridge.vehicle_control.idle


def test_the_values_of_one_vehicle_are_not_restored_on_another(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.requests = less(30.0)
    flight.fly(3.0)
    (tmp_path / SAVED).rename(tmp_path / "vehicle-3-2-limits.json")
    flight = flying(tmp_path, flight.vehicle)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 30.0


def test_an_unconfirmed_change_is_not_repeated_after_its_end(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.requests = less(30.0)
    flight.fly(0.3)
    flight.vehicle.parameters.update(LIMIT_PARAMETERS)
    flight.vehicle.answers = False
    flight.requests = less(20.0)
    flight.fly(1.0)
    flight.vehicle.answers = True
    flight.requests = ()
    before = len(flight.vehicle.received)
    flight.fly(5.0)
    sets = [m for m in flight.vehicle.received[before:] if m.get_type() == "PARAM_SET"]
    assert {m.param_value for m in sets} <= {*LIMIT_PARAMETERS.values()}
    assert flight.vehicle.parameters == LIMIT_PARAMETERS


def test_the_parameters_are_restored_at_exit(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.requests = less(30.0)
    flight.fly(3.0)
    clock = VirtualClock(flight.now_s)
    flight.vehicle.beat()
    flight.bridge.restore_parameters(clock)
    assert flight.vehicle.parameters == LIMIT_PARAMETERS
    assert clock.now_s() - flight.now_s < 1.0


def test_exit_waits_3_s_at_most_for_a_silent_vehicle(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.requests = less(30.0)
    flight.fly(3.0)
    flight.vehicle.sends_heartbeats = flight.vehicle.answers = False
    clock = VirtualClock(flight.now_s)
    flight.bridge.restore_parameters(clock)
    assert clock.now_s() - flight.now_s < 3.2
    assert (tmp_path / SAVED).exists()


def test_no_parameter_is_changed_if_the_disk_is_not_writable(tmp_path: Path) -> None:
    flight = flying(tmp_path / "file" / "below")
    flight.requests = less(30.0)
    flight.fly(10.0)
    assert flight.vehicle.parameters == LIMIT_PARAMETERS


def test_a_disk_that_is_not_writable_is_logged_seldom(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flight = flying(tmp_path / "file" / "below")
    flight.requests = less(30.0)
    flight.fly(25.0)
    assert caplog.text.count("original vehicle limits are not stored") == 1
    assert flight.texts().count("no reduce: original limits cannot be saved") == 1


def test_a_missing_folder_is_created(tmp_path: Path) -> None:
    flight = flying(tmp_path / "state" / "vehicle")
    flight.requests = less(30.0)
    flight.fly(3.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 30.0
    assert left_behind(tmp_path / "state" / "vehicle")
    flight.requests = ()
    flight.fly(3.0)
    assert not left_behind(tmp_path / "state" / "vehicle")


@pytest.mark.parametrize("value", [math.nan, math.inf, -5.0, 1e30])
def test_a_value_that_no_vehicle_has_is_no_original_value(tmp_path: Path, value: float) -> None:
    vehicle = FakeVehicle(WP_SPD=value, WP_SPD_UP=value, **dict.fromkeys(LIMIT_PARAMETERS, value))
    vehicle.speed_m_s = 10.0
    flight = flying(tmp_path, vehicle)
    flight.requests = less(30.0, 5.0, 1.0)
    flight.fly(15.0)
    flight.requests = ()
    flight.fly(15.0)
    assert not [m for m in vehicle.received if m.get_type() == "PARAM_SET"]
    assert vehicle.speeds == []
    assert not [*tmp_path.glob("*.json")]


def test_values_that_were_not_requested_take_no_memory(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    for k in range(100):
        flight.vehicle.emit(mavlink.MAVLink_param_value_message(f"X_{k}".encode(), 1.0, 9, 1, 0))
    flight.fly(1.0)
    assert flight.bridge.vehicle_control is not None
    assert flight.bridge.vehicle_control.parameters.values == {}


def test_the_driver_limits_even_if_the_disk_is_not_writable(tmp_path: Path) -> None:
    vehicle = FakeVehicle(**LIMIT_PARAMETERS)
    vehicle.scripted = True
    flight = flying(tmp_path / "file" / "below", vehicle)
    flight.requests = less(30.0)
    flight.fly(3.0)
    assert 30.0 in vehicle.requested


def test_a_file_that_cannot_be_removed_does_not_stop_the_service(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.requests = less(30.0)
    flight.fly(3.0)
    (tmp_path / SAVED).unlink()
    flight.requests = ()
    flight.fly(3.0)
    assert flight.vehicle.parameters == LIMIT_PARAMETERS


@pytest.mark.parametrize(
    ("target", "ours"),
    [
        ((255, 190), False),
        ((1, 180), False),
        ((1, 190), False),
        ((2, 191), False),
        ((1, 191), True),
        ((0, 0), True),
    ],
)
def test_an_acknowledgement_for_another_component_is_ignored(
    tmp_path: Path, target: tuple[int, int], *, ours: bool
) -> None:
    flight = flying(tmp_path)
    flight.vehicle.complies, flight.vehicle.loses_answers = False, True
    flight.requests = (HOME,)
    flight.fly(0.5)
    flight.vehicle.emit(mavlink.MAVLink_command_ack_message(20, 2, 0, 0, *target))
    flight.fly(0.5)
    assert any("refused" in text for text in flight.texts()) == ours


def test_a_vehicle_without_the_parameters_is_not_changed(tmp_path: Path) -> None:
    flight = flying(tmp_path, FakeVehicle())
    flight.requests = less(30.0)
    flight.fly(30.0)
    requested = [m for m in flight.vehicle.received if m.get_type() == "PARAM_REQUEST_READ"]
    assert 4 <= len([m for m in requested if m.param_id in LIMIT_PARAMETERS]) <= 40


def test_a_silent_vehicle_is_requested_again(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.vehicle.answers = False
    flight.requests = less(30.0)
    flight.fly(9.0)
    flight.vehicle.answers = True
    flight.fly(13.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 30.0


def test_a_limit_stays_in_a_mode_that_no_table_has_and_while_heartbeats_are_lost(
    tmp_path: Path,
) -> None:
    flight = flying(tmp_path)
    flight.requests = less(30.0)
    flight.fly(2.0)
    flight.vehicle.mode = 99
    flight.fly(4.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 30.0
    flight.vehicle.sends_heartbeats = False
    for _ in range(40):
        flight.fly(0.1)
        assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 30.0


def test_a_limit_begins_in_a_mode_that_no_table_has(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.vehicle.mode = 99
    flight.fly(2.0)
    flight.requests = less(30.0)
    flight.fly(4.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 30.0


def test_a_landing_is_not_limited_and_a_return_is(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.requests = less(30.0)
    flight.vehicle.mode = RTL
    flight.fly(4.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 30.0
    flight.vehicle.mode = LAND
    flight.fly(4.0)
    assert flight.vehicle.parameters == LIMIT_PARAMETERS


def test_the_lowest_limit_of_all_batteries_is_set(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.requests = (*less(30.0), *less(20.0), *less(25.0))
    flight.fly(3.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 20.0


# Current limit by the Lua driver.


def test_the_driver_gets_a_request_twice_a_second_and_no_parameter_is_set(tmp_path: Path) -> None:
    vehicle = FakeVehicle(**LIMIT_PARAMETERS)
    vehicle.scripted = True
    flight = flying(tmp_path, vehicle)
    flight.requests = less(30.0)
    flight.fly(0.5)
    vehicle.requested.clear()
    flight.fly(5.0)
    assert vehicle.requested == [30.0] * 10
    flight.requests = ()
    flight.fly(5.0)
    assert set(vehicle.requested[10:]) == {0.0}
    assert not [m for m in vehicle.received if m.get_type() == "PARAM_SET"]
    assert not (tmp_path / SAVED).exists()


def test_after_the_driver_has_stopped_parameters_are_set_and_restored(tmp_path: Path) -> None:
    vehicle = FakeVehicle(**LIMIT_PARAMETERS)
    vehicle.scripted = True
    flight = flying(tmp_path, vehicle)
    flight.fly(5.0)  # in which a limit that an earlier run has requested ends
    flight.requests = less(30.0)
    flight.fly(3.0)
    vehicle.scripted = False
    vehicle.parameters["MOT_BAT_CURR_MAX"] = 30.0  # as the driver has left it
    flight.requests = less(25.0)
    flight.fly(6.0)
    assert vehicle.parameters == {"MOT_BAT_CURR_MAX": 25.0, "MOT_BAT_CURR_TC": 1.0}
    flight.requests = ()
    flight.fly(4.0)
    assert vehicle.parameters == LIMIT_PARAMETERS


# Speed limit on ArduCopter.

OWN_SPEEDS = {"WPNAV_SPEED": 1000.0, "WPNAV_SPEED_UP": 250.0}
SAVED_SPEEDS = "vehicle-3-1-speeds.json"


def fast(folder: Path, speed_m_s: float = 10.0, climb_m_s: float = 0.0, **own: float) -> Flight:
    """Fly a vehicle at a speed for three seconds."""
    flight = flying(folder, FakeVehicle(**(own or OWN_SPEEDS)))
    flight.vehicle.speed_m_s, flight.vehicle.climb_m_s = speed_m_s, climb_m_s
    flight.fly(3.0)
    return flight


@pytest.mark.parametrize(
    "own", [OWN_SPEEDS, {"WP_SPD": 10.0, "WP_SPD_UP": 2.5}], ids=["4.5", "4.7"]
)
def test_a_fast_copter_gets_a_speed_command_and_its_own_speed_at_the_end(
    tmp_path: Path, own: dict[str, float]
) -> None:
    flight = fast(tmp_path, 10.0, 2.4, **own)
    flight.requests = less(None, speed_m_s=3.0, climb_m_s=1.0)
    flight.fly(4.0)
    assert flight.vehicle.speeds == [(1, 3), (2, 1)]
    assert (tmp_path / SAVED_SPEEDS).exists()
    flight.fly(30.0)
    assert len(flight.vehicle.speeds) == 2  # it is slow now
    flight.requests = ()
    flight.fly(10.0)
    assert flight.vehicle.speeds[2:] == [(1, 10), (2, 2.5)]
    assert not (tmp_path / SAVED_SPEEDS).exists()
    assert flight.vehicle.parameters == own


def test_a_slower_speed_of_the_user_is_never_raised(tmp_path: Path) -> None:
    flight = fast(tmp_path, 2.9, -3.0)
    flight.requests = less(None, speed_m_s=3.0, climb_m_s=1.0)
    flight.fly(30.0)
    flight.requests = ()
    flight.fly(5.0)
    assert flight.vehicle.speeds == []


def test_the_lowest_speed_of_all_batteries_is_commanded(tmp_path: Path) -> None:
    flight = fast(tmp_path)
    flight.requests = (*less(None, speed_m_s=5.0), *less(None, speed_m_s=4.0), *less(None))
    flight.fly(3.0)
    assert flight.vehicle.speeds == [(1, 4)]


def test_one_speed_is_restored_while_the_other_stays_limited(tmp_path: Path) -> None:
    flight = fast(tmp_path, 10.0, 2.4)
    flight.requests = less(None, speed_m_s=3.0, climb_m_s=1.0)
    flight.fly(4.0)
    flight.requests = less(None, speed_m_s=3.0)
    flight.fly(4.0)
    assert flight.vehicle.speeds[2:] == [(2, 2.5)]
    assert (tmp_path / SAVED_SPEEDS).exists()
    flight.requests = ()
    flight.fly(4.0)
    assert flight.vehicle.speeds[3:] == [(1, 10)]
    assert not (tmp_path / SAVED_SPEEDS).exists()


def test_a_mode_without_speed_commands_gets_none_and_ends_the_limit(tmp_path: Path) -> None:
    flight = fast(tmp_path)
    flight.vehicle.mode = LOITER
    flight.fly(2.0)
    flight.requests = less(None, speed_m_s=3.0)
    flight.fly(5.0)
    assert flight.vehicle.speeds == []
    flight.vehicle.mode = 3  # AUTO
    flight.fly(5.0)
    assert flight.vehicle.speeds == [(1, 3)]
    flight.vehicle.mode = RTL
    flight.fly(5.0)
    assert not (tmp_path / SAVED_SPEEDS).exists()
    assert flight.vehicle.speeds == [(1, 3)]


def test_a_refused_speed_is_reported_and_commanded_three_times_at_most(tmp_path: Path) -> None:
    flight = fast(tmp_path)
    flight.vehicle.complies = False
    flight.requests = less(None, speed_m_s=3.0)
    flight.fly(90.0)
    assert flight.vehicle.speeds == [(1, 3)] * 3
    texts = flight.texts()
    assert "speed change refused: failed" in texts
    assert texts.count("speed change: vehicle does not comply, tries: 3") == 1
    flight.requests = ()
    flight.fly(20.0)
    assert flight.vehicle.speeds[3:] == [(1, 10)] * 3
    assert not (tmp_path / SAVED_SPEEDS).exists()
    assert flight.bridge.vehicle_control is not None
    assert flight.bridge.vehicle_control.idle


def test_a_pilot_may_fly_faster_after_three_commands(tmp_path: Path) -> None:
    flight = fast(tmp_path)
    flight.requests = less(None, speed_m_s=3.0)
    for _ in range(100):
        flight.vehicle.speed_m_s = 10.0
        flight.fly(1.0)
    assert flight.vehicle.speeds == [(1, 3)] * 3


def test_a_speed_is_not_changed_while_the_original_is_unknown(tmp_path: Path) -> None:
    flight = fast(tmp_path, MOT_BAT_CURR_MAX=0.0)
    flight.requests = less(None, speed_m_s=3.0)
    flight.fly(30.0)
    assert flight.vehicle.speeds == []
    requested = [m for m in flight.vehicle.received if m.get_type() == "PARAM_REQUEST_READ"]
    assert 4 <= len([m for m in requested if m.param_id in OWN_SPEEDS]) <= 60
    flight.vehicle.parameters |= OWN_SPEEDS
    flight.fly(6.0)
    assert flight.vehicle.speeds == [(1, 3)]


def test_no_speed_is_changed_if_the_disk_is_not_writable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flight = fast(tmp_path / "file" / "below")
    flight.requests = less(None, speed_m_s=3.0)
    flight.fly(25.0)
    assert flight.vehicle.speeds == []
    assert caplog.text.count("original vehicle limits are not stored") == 1
    assert flight.texts().count("no reduce: original limits cannot be saved") == 1


def test_the_next_start_restores_the_speed_after_a_crash(tmp_path: Path) -> None:
    flight = fast(tmp_path)
    flight.requests = less(None, speed_m_s=3.0)
    flight.fly(3.0)
    flight = flying(tmp_path, flight.vehicle)
    assert flight.vehicle.speeds == [(1, 3), (1, 10)]
    assert not (tmp_path / SAVED_SPEEDS).exists()


def test_a_silent_vehicle_gets_one_speed_command_a_second(tmp_path: Path) -> None:
    flight = fast(tmp_path, 10.0, 2.4)
    flight.requests = less(None, speed_m_s=3.0, climb_m_s=1.0)
    flight.fly(0.3)
    flight.vehicle.speeds.clear()
    flight.vehicle.speed_m_s = flight.vehicle.climb_m_s = 10.0
    flight.requests = ()
    flight.vehicle.answers = False
    before = len(flight.vehicle.received)
    flight.fly(1.5)
    commands = [m for m in flight.vehicle.received[before:] if getattr(m, "command", 0) == 178]
    assert len(commands) == 2


def test_a_speed_limit_that_comes_and_goes_sends_few_commands(tmp_path: Path) -> None:
    flight = fast(tmp_path)
    for _ in range(60):
        flight.vehicle.speed_m_s = 10.0
        flight.requests = less(None, speed_m_s=3.0)
        flight.fly(1.0)
        flight.requests = ()
        flight.fly(1.0)
    assert len(flight.vehicle.speeds) <= 2 * 8 + 1
    flight.fly(61.0)
    assert not (tmp_path / SAVED_SPEEDS).exists()


def test_px4_is_commanded_no_speed(tmp_path: Path) -> None:
    flight = flying(tmp_path, FakeVehicle(PX4, **OWN_SPEEDS))
    flight.vehicle.mode, flight.vehicle.speed_m_s = 4 << 16 | 4 << 24, 10.0
    flight.fly(2.0)
    flight.requests = less(None, speed_m_s=3.0)
    flight.fly(10.0)
    assert flight.vehicle.speeds == []


# Speed limit on PX4.


def test_px4_gets_lower_speed_limits_and_never_higher_ones(tmp_path: Path) -> None:
    flight = flying(tmp_path, FakeVehicle(PX4, **SPEEDS))
    flight.vehicle.mode = 3 << 16
    flight.fly(1.0)
    flight.requests = less(30.0, speed_m_s=5.0, climb_m_s=1.0)
    flight.fly(3.0)
    assert flight.vehicle.parameters == {
        "MPC_XY_VEL_MAX": 5.0,
        "MPC_XY_CRUISE": 3.0,
        "MPC_VEL_MANUAL": 5.0,
        "MPC_Z_VEL_MAX_UP": 1.0,
        "MPC_Z_V_AUTO_UP": 1.0,
    }
    flight.requests = ()
    flight.fly(3.0)
    assert flight.vehicle.parameters == SPEEDS


def test_px4_is_not_changed_without_a_speed_in_the_action(tmp_path: Path) -> None:
    flight = flying(tmp_path, FakeVehicle(PX4, **SPEEDS))
    flight.vehicle.mode = 3 << 16
    flight.requests = less(30.0)
    flight.fly(3.0)
    assert flight.vehicle.parameters == SPEEDS


# Arming.


def authorization(
    flight: Flight, *, system: int = 1, component: int = 1
) -> list[mavlink.MAVLink_message]:
    request = mavlink.MAVLink_command_long_message(1, 0, 3001, 0, 0, 0, 0, 0, 0, 0, 0)
    flight.vehicle._out.append(bytes(request.pack(mavlink.MAVLink(None, system, component))))
    before = len(flight.vehicle.received)
    flight.fly(0.2)
    return [m for m in flight.vehicle.received[before:] if m.get_type() == "COMMAND_ACK"]


def on_the_ground(autopilot: int) -> Flight:
    vehicle = FakeVehicle(autopilot)
    vehicle.armed = False
    return Flight(vehicle, None)


def test_px4_may_arm_with_a_good_battery() -> None:
    flight = on_the_ground(PX4)
    flight.fly(3.0)
    (answer,) = authorization(flight)
    assert (answer.command, answer.result, answer.result_param2) == (3001, 0, 5)
    assert (answer.target_system, answer.target_component) == (1, 1)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"severity": Severity.CRITICAL, "active": ("hot_critical",)}, "battery 1: hot critical"),
        ({"voltage_v": None}, "battery 1: "),
        ({"soc_pct": 3.0}, "battery 1: charge 3 % < 6 %"),
        ({"soc_pct": None}, "battery 1: charge unknown"),
    ],
)
def test_px4_may_not_arm_and_a_text_has_the_reason(values: dict[str, object], reason: str) -> None:
    flight = on_the_ground(PX4)
    flight.values = values
    flight.fly(3.0)
    (answer,) = authorization(flight)
    assert (answer.result, answer.progress) == (mavlink.MAV_RESULT_DENIED, 1)
    flight.fly(1.0)
    assert f"no go: {reason}" in "".join(flight.texts())


def test_px4_may_not_arm_before_the_first_battery_data() -> None:
    flight = on_the_ground(PX4)
    flight.vehicle.beat()
    request = mavlink.MAVLink_command_long_message(1, 0, 3001, 0, 0, 0, 0, 0, 0, 0, 0)
    flight.vehicle.emit(request)
    flight.bridge.pump(0.0)
    (answer,) = [m for m in flight.vehicle.received if m.get_type() == "COMMAND_ACK"]
    assert answer.result == mavlink.MAV_RESULT_DENIED


def test_the_first_answer_after_a_flight_is_not_the_verdict_from_before_it() -> None:
    flight = on_the_ground(PX4)
    flight.fly(3.0)
    flight.vehicle.armed = True
    flight.fly(3.0)
    flight.values = {"severity": Severity.CRITICAL, "active": ("hot_critical",)}
    flight.fly(3.0)
    flight.vehicle.armed = False
    flight.vehicle.beat()
    (answer,) = authorization(flight)
    assert answer.result == mavlink.MAV_RESULT_DENIED


def test_only_the_vehicle_itself_gets_an_authorisation() -> None:
    flight = on_the_ground(PX4)
    flight.fly(3.0)
    assert authorization(flight, system=255, component=190) == []
    assert authorization(flight, component=191) == []


def driver_commands(flight: Flight, meaning: int = 1) -> list[Any]:
    return [
        m
        for m in flight.vehicle.received
        if m.get_type() == "COMMAND_LONG" and (m.command, m.param2) == (31014, meaning)
    ]


def test_the_driver_gets_the_verdict_each_second_and_at_once_when_it_changes() -> None:
    flight = on_the_ground(ARDUPILOT)
    flight.fly(5.0)
    verdicts = driver_commands(flight)
    assert {(m.target_system, m.target_component) for m in verdicts} == {(1, 1)}
    assert {(m.get_srcSystem(), m.get_srcComponent()) for m in verdicts} == {(1, 191)}
    assert verdicts[-1].param3 == 0.0
    assert (verdicts[-1].param4, verdicts[-1].param5) == (1.0, 0.0)
    assert len(verdicts) in (5, 6, 7)
    flight.vehicle.received.clear()
    flight.values = {"severity": Severity.CRITICAL, "active": ("hot_critical",)}
    flight.fly(0.2)
    assert [m.param3 for m in driver_commands(flight)] == [1.0]
    flight.fly(3.0)
    assert flight.texts().count("no go: battery 1: hot critical") == 1
    flight.vehicle.armed = True
    flight.vehicle.received.clear()
    flight.fly(10.0)
    assert len(driver_commands(flight)) == 10


def test_a_driver_of_version_1_gets_its_named_values_on_the_ground(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flight = on_the_ground(ARDUPILOT)
    flight.values = {"severity": Severity.CRITICAL, "active": ("hot_critical",)}
    for _ in range(10):
        flight.vehicle.emit(mavlink.MAVLink_named_value_float_message(0, b"BMS_LUA", 1.0))
        flight.fly(1.0)
    named = [m for m in flight.vehicle.received if m.get_type() == "NAMED_VALUE_FLOAT"]
    assert {(m.get_srcComponent(), m.value) for m in named} == {(180, 1.0)}
    assert caplog.text.count("Lua driver 1 on the autopilot, 2 needed") == 1


# State.


def test_the_state_is_plain_data_that_another_bridge_restores(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.requests = (HOME, DOWN)
    flight.fly(3.0)
    flight.bridge.settings.acting_enabled = False
    state = flight.bridge.state()
    assert state.last_command is not None
    assert (state.first_battery_id, state.acting_enabled) == (0, False)
    adapter = TypeAdapter(BridgeState)
    text = adapter.dump_json(state)
    assert adapter.validate_json(text) == state
    other = Flight(flight.vehicle, tmp_path)
    other.bridge.restore(adapter.validate_json(text))
    assert other.bridge.state() == state
    assert Flight(flight.vehicle, None).bridge.state() == BridgeState()


def test_a_restored_command_is_not_sent_again(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.requests = (HOME,)
    flight.fly(3.0)
    state = flight.bridge.state()
    flight.vehicle.mode = LOITER
    other = Flight(flight.vehicle, tmp_path)
    other.bridge.restore(state)
    other.requests = (HOME,)
    other.fly(20.0)
    assert flight.vehicle.commands == [(20, 0)]


def test_a_restored_id_is_used_at_once() -> None:
    flight = Flight(FakeVehicle(), None)
    flight.bridge.restore(BridgeState(first_battery_id=3))
    flight.fly(0.2)
    ids = {m.id for m in flight.vehicle.received if m.get_type() == "BATTERY_STATUS"}
    assert ids == {3}


# Texts.


def test_a_text_has_the_label_of_the_limit(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.values = {"labels": {"cell_critical": "cell voltage at cut-off"}}
    flight.requests = (HOME,)
    flight.fly(1.0)
    assert "RETURN: cell voltage at cut-off" in flight.texts()


def test_texts_of_refusals_and_arming_fit_one_statustext() -> None:
    base = VehicleState(armed=True, mode="AUTO", heartbeat_age_s=0.5)
    sent = SentCommand((0, 0, 1), ActionKind.RETURN, 0.0, "AUTO", 3, Phase.OVERRIDDEN)
    home = (ActionRequest(Action("x", ActionKind.RETURN), sent.key, "x"),)
    states = [
        base,
        replace(base, heartbeat_age_s=None),
        replace(base, armed=None),
        replace(base, mode=None),
        replace(base, failsafe=True),
        replace(base, mode="LAND"),
        replace(base, mode="SMART_RTL"),
    ]
    reasons = [refusal(ActionKind.RETURN, state, sent) for state in states]
    reasons += [
        decide(home, base, replace(sent, phase=phase, mode="AUTO"), 99.0).reason
        for phase in (Phase.SENT, Phase.OBEYED)
    ]
    for reason in reasons:
        assert reason is not None
        assert len(f"RETURN: {reason}") <= 50
    for pct in (-1, 5):
        assert len(f"no go: battery 1: {withhold_reason(PX4_STACK, pct, armed=False)}") <= 50


# A link that refuses frames.


class Deaf(FakeVehicle):
    """A vehicle whose link carries its frames, and accepts none while `full`."""

    full = False

    def send(self, data: bytes, now_s: float) -> bool:
        """Take a frame unless the link is full."""
        return not self.full and super().send(data, now_s)


def full_from(flight: Flight, *requests: ActionRequest, seconds: float) -> Deaf:
    """The link is full while the requests begin."""
    vehicle = flight.vehicle
    assert isinstance(vehicle, Deaf)
    vehicle.full, flight.requests = True, requests
    flight.fly(seconds)
    vehicle.full = False
    return vehicle


def test_a_command_that_the_link_did_not_accept_is_no_try_and_leads_to_no_landing(
    tmp_path: Path,
) -> None:
    flight = flying(tmp_path, Deaf())
    action = Action(Severity.CRITICAL, ActionKind.RETURN, retries=1, escalate=ActionKind.LAND)
    vehicle = full_from(flight, ActionRequest(action, (0, 0, 1), "cell_critical"), seconds=20.0)
    flight.fly(3.0)
    assert (vehicle.commands, vehicle.mode) == ([(20, 0)], RTL)
    assert flight.texts().count("RETURN: link does not accept it") == 1


def test_a_pilot_does_not_override_a_command_that_the_link_did_not_accept(tmp_path: Path) -> None:
    flight = flying(tmp_path, Deaf())
    vehicle = full_from(flight, HOME, seconds=2.0)
    vehicle.full, vehicle.mode = True, LOITER
    flight.fly(3.0)
    vehicle.full = False
    flight.fly(3.0)
    assert (vehicle.commands, vehicle.mode) == ([(20, 0)], RTL)
    vehicle.mode = LOITER  # now a pilot has
    flight.fly(60.0)
    assert (vehicle.commands, vehicle.mode) == ([(20, 0)], LOITER)


def test_a_speed_that_the_link_did_not_accept_is_no_try(tmp_path: Path) -> None:
    vehicle = Deaf(WPNAV_SPEED=1000.0)
    vehicle.speed_m_s = 9.0
    flight = flying(tmp_path, vehicle)
    flight.requests = less(None, 8.9)
    flight.fly(3.0)  # the vehicle's own speed is read
    full_from(flight, *less(None, 4.0), seconds=60.0)
    assert vehicle.speeds == []
    flight.fly(3.0)
    assert vehicle.speeds == [(1.0, 4.0)]


@pytest.mark.parametrize(
    "number", [mavlink.MAV_CMD_REQUEST_MESSAGE, mavlink.MAV_CMD_DO_CHANGE_SPEED]
)
def test_what_was_not_sent_takes_back_no_command_of_another_kind(
    tmp_path: Path, number: int
) -> None:
    flight = flying(tmp_path)
    flight.requests = (HOME,)
    flight.fly(3.0)
    control = flight.bridge.vehicle_control
    assert isinstance(control, VehicleControl)
    before, texts = control.sent, flight.texts()
    control.unsent(command(1, number), flight.now_s)
    assert before is not None
    assert control.sent == before
    assert flight.texts() == texts

"""What is done to a vehicle, and that it is always put back."""

from pathlib import Path

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.clock import VirtualClock
from dronebms.core.report import Action, ActionKind, ActionRequest, Severity
from mavlink_bridge.vehicle.saved_parameters import left_behind
from tests.mavlink_bridge.straw import ARDUPILOT, LAND, LOITER, PX4, PX4_RTL, RTL, Flight, Straw

HOME = ActionRequest(Action(Severity.CRITICAL, ActionKind.RETURN), (0, 0, 1), "cell_critical", 0.0)
DOWN = ActionRequest(Action(Severity.EMERGENCY, ActionKind.LAND), (0, 1, 1), "cell_emergency", 0.0)
LIMIT_PARAMETERS = {"MOT_BAT_CURR_MAX": 0.0, "MOT_BAT_CURR_TC": 5.0}
KEPT = "vehicle-3-1-limits.json"
SPEEDS: dict[str, float] = {
    "MPC_XY_VEL_MAX": 12.0,
    "MPC_XY_CRUISE": 3.0,
    "MPC_VEL_MANUAL": 10.0,
    "MPC_Z_VEL_MAX_UP": 3.0,
    "MPC_Z_V_AUTO_UP": 3.0,
}


@pytest.fixture(autouse=True)
def _a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()


def less(
    max_a: float | None, speed_m_s: float | None = None, climb_m_s: float | None = None
) -> tuple[ActionRequest, ...]:
    action = Action("governor", ActionKind.REDUCE, speed_m_s=speed_m_s, climb_m_s=climb_m_s)
    return (ActionRequest(action, (0, 2, 1), "governor", 0.0, max_a),)


def flying(folder: Path | None, vehicle: Straw | None = None) -> Flight:
    flight = Flight(vehicle or Straw(**LIMIT_PARAMETERS), folder)
    flight.fly(3.0)
    return flight


# Modes.


@pytest.mark.parametrize("autopilot", [ARDUPILOT, PX4])
@pytest.mark.parametrize(("wanted", "number"), [(HOME, 20), (DOWN, 21)])
def test_a_mode_is_commanded_once_and_read_back(
    tmp_path: Path, autopilot: int, wanted: ActionRequest, number: int
) -> None:
    vehicle = Straw(autopilot)
    vehicle.mode = 3 << 16 if autopilot == PX4 else LOITER
    flight = flying(tmp_path, vehicle)
    flight.wanted = (wanted,)
    flight.fly(20.0)
    assert vehicle.commands == [(number, 0)]
    assert f"{wanted.action.do.label}: {wanted.because}" in flight.texts()


def test_nothing_is_done_unless_it_was_turned_on() -> None:
    flight = flying(None)
    flight.wanted = (HOME, DOWN, *less(20.0))
    flight.fly(20.0)
    assert flight.vehicle.commands == []
    assert flight.vehicle.parameters == LIMIT_PARAMETERS
    assert not [m for m in flight.vehicle.heard if m.get_type().startswith("PARAM")]


def test_hands_are_taken_off_in_the_field(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.wanted = less(30.0)
    flight.fly(3.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 30.0
    off = mavlink.MAVLink_param_set_message(1, 180, b"BMS_ACT", 0.0, 9)
    flight.vehicle._out.append(bytes(off.pack(mavlink.MAVLink(None, 255, 190))))
    flight.wanted = (HOME, *less(30.0))
    flight.fly(5.0)
    assert flight.vehicle.commands == []
    assert flight.vehicle.parameters == LIMIT_PARAMETERS


def test_a_vehicle_that_refuses_is_told_again_and_then_no_more(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.vehicle.obeys = False
    flight.wanted = (HOME,)
    flight.fly(60.0)
    assert flight.vehicle.commands == [(20, 0), (20, 1), (20, 2)]
    assert "the vehicle refuses, result 4" in flight.texts()
    assert "return: the vehicle does not obey and is told no more" in flight.texts()


def test_a_landing_follows_when_returning_is_refused_and_that_is_wanted(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.vehicle.obeys = False
    action = Action(Severity.CRITICAL, ActionKind.RETURN, retries=0, escalate=ActionKind.LAND)
    flight.wanted = (ActionRequest(action, (0, 0, 1), "cell_critical", 0.0),)
    flight.fly(10.0)
    assert flight.vehicle.commands == [(20, 0), (21, 0)]


def test_a_pilot_who_chooses_another_mode_has_the_last_word(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.wanted = (HOME,)
    flight.fly(3.0)
    assert flight.vehicle.mode == RTL
    flight.vehicle.mode = LOITER
    flight.wanted = (DOWN, HOME)
    flight.fly(30.0)
    assert flight.vehicle.commands == [(20, 0)]
    assert "land: the pilot has chosen another mode" in flight.texts()


@pytest.mark.parametrize(
    "change",
    [{"armed": False}, {"mode": LAND}, {"mode": RTL}, {"mode": RTL, "status": 5}, {"mode": 77}],
    ids=["disarmed", "landing", "returning", "failsafe", "unknown mode"],
)
def test_what_is_left_alone(tmp_path: Path, change: dict[str, object]) -> None:
    flight = flying(tmp_path)
    for name, value in change.items():
        setattr(flight.vehicle, name, value)
    flight.fly(2.0)
    flight.wanted = (HOME,)
    flight.fly(10.0)
    assert flight.vehicle.commands == []


def test_a_battery_that_was_low_once_does_not_tie_our_hands(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.vehicle.status = 5  # ArduPilot stays critical, whatever came of it
    flight.fly(2.0)
    flight.wanted = (HOME,)
    flight.fly(2.0)
    assert flight.vehicle.commands == [(20, 0)]


def test_a_failsafe_of_px4_is_left_to_finish(tmp_path: Path) -> None:
    vehicle = Straw(PX4)
    vehicle.mode, vehicle.status = 4 << 16 | 3 << 24, 5  # it holds before it returns
    flight = flying(tmp_path, vehicle)
    flight.wanted = (HOME,)
    flight.fly(5.0)
    assert vehicle.commands == []
    vehicle.mode = PX4_RTL


def test_a_vehicle_that_is_not_heard_is_told_nothing(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.vehicle.beats = False
    flight.fly(3.0)
    before = len(flight.vehicle.heard)
    flight.wanted = (HOME, *less(30.0))
    flight.fly(10.0)
    said = {m.get_type() for m in flight.vehicle.heard[before:]}
    assert said <= {"HEARTBEAT", "BATTERY_STATUS", "SMART_BATTERY_INFO", "STATUSTEXT"}


# Less current, by parameters.


def test_a_current_is_limited_and_the_old_values_are_on_disk_first(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    written: list[bool] = []
    flight.vehicle.on_set = lambda: written.append((tmp_path / KEPT).exists())
    flight.wanted = less(30.0)
    flight.fly(3.0)
    assert flight.vehicle.parameters == {"MOT_BAT_CURR_MAX": 30.0, "MOT_BAT_CURR_TC": 1.0}
    assert written == [True] * 2
    flight.wanted = ()
    flight.fly(3.0)
    assert flight.vehicle.parameters == LIMIT_PARAMETERS
    assert not (tmp_path / KEPT).exists()


def test_small_changes_are_not_written_and_large_ones_are(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    for max_a, kept_a in ((30.0, 30.0), (29.5, 30.0), (28.0, 28.0), (40.0, 40.0)):
        flight.wanted = less(max_a)
        flight.fly(2.0)
        assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == kept_a


def test_a_limit_of_the_user_is_never_raised(tmp_path: Path) -> None:
    flight = flying(tmp_path, Straw(MOT_BAT_CURR_MAX=25.0, MOT_BAT_CURR_TC=0.5))
    flight.wanted = less(30.0)
    flight.fly(3.0)
    assert flight.vehicle.parameters == {"MOT_BAT_CURR_MAX": 25.0, "MOT_BAT_CURR_TC": 0.5}


def test_the_next_start_puts_back_what_a_crash_has_left(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.wanted = less(30.0)
    flight.fly(3.0)
    flight = flying(tmp_path, flight.vehicle)
    assert flight.vehicle.parameters == LIMIT_PARAMETERS
    assert flight.bridge.vehicle_control is not None
    assert flight.bridge.vehicle_control.idle


def test_what_was_changed_on_one_vehicle_is_not_put_back_on_another(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.wanted = less(30.0)
    flight.fly(3.0)
    (tmp_path / KEPT).rename(tmp_path / "vehicle-3-2-limits.json")
    flight = flying(tmp_path, flight.vehicle)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 30.0


def test_a_change_that_was_never_confirmed_is_not_made_after_its_end(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.wanted = less(30.0)
    flight.fly(0.3)
    flight.vehicle.parameters.update(LIMIT_PARAMETERS)
    flight.vehicle.talks = False
    flight.wanted = less(20.0)
    flight.fly(1.0)
    flight.vehicle.talks = True
    flight.wanted = ()
    before = len(flight.vehicle.heard)
    flight.fly(5.0)
    sets = [m for m in flight.vehicle.heard[before:] if m.get_type() == "PARAM_SET"]
    assert {m.param_value for m in sets} <= {*LIMIT_PARAMETERS.values()}
    assert flight.vehicle.parameters == LIMIT_PARAMETERS


def test_the_end_puts_back(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.wanted = less(30.0)
    flight.fly(3.0)
    clock = VirtualClock(flight.now_s)
    flight.vehicle.beat()
    flight.bridge.restore_parameters(clock)
    assert flight.vehicle.parameters == LIMIT_PARAMETERS
    assert clock.now_s() - flight.now_s < 1.0


def test_the_end_does_not_wait_for_ever_for_a_vehicle_that_is_gone(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.wanted = less(30.0)
    flight.fly(3.0)
    flight.vehicle.beats = flight.vehicle.talks = False
    clock = VirtualClock(flight.now_s)
    flight.bridge.restore_parameters(clock)
    assert clock.now_s() - flight.now_s < 3.2
    assert (tmp_path / KEPT).exists()


def test_a_disk_that_cannot_be_written_leaves_the_vehicle_as_it_is(tmp_path: Path) -> None:
    flight = flying(tmp_path / "file" / "below")
    flight.wanted = less(30.0)
    flight.fly(10.0)
    assert flight.vehicle.parameters == LIMIT_PARAMETERS


def test_a_disk_that_cannot_be_written_is_complained_of_seldom(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flight = flying(tmp_path / "file" / "below")
    flight.wanted = less(30.0)
    flight.fly(25.0)
    assert 1 <= caplog.text.count("the vehicle's limits are left as they are") <= 3


def test_a_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    flight = flying(tmp_path / "state" / "vehicle")
    flight.wanted = less(30.0)
    flight.fly(3.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 30.0
    assert left_behind(tmp_path / "state" / "vehicle")
    flight.wanted = ()
    flight.fly(3.0)
    assert not left_behind(tmp_path / "state" / "vehicle")


def test_a_script_limits_where_nothing_can_be_written(tmp_path: Path) -> None:
    vehicle = Straw(**LIMIT_PARAMETERS)
    vehicle.scripted = True
    flight = flying(tmp_path / "file" / "below", vehicle)
    flight.wanted = less(30.0)
    flight.fly(3.0)
    assert 30.0 in vehicle.asked


def test_a_file_that_cannot_be_removed_stops_nothing(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.wanted = less(30.0)
    flight.fly(3.0)
    (tmp_path / KEPT).unlink()
    flight.wanted = ()
    flight.fly(3.0)
    assert flight.vehicle.parameters == LIMIT_PARAMETERS


def test_an_acknowledgement_for_somebody_else_is_not_ours(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.wanted = (HOME,)
    flight.fly(2.0)
    for result, target in ((4, 190), (5, 180), (0, 180)):
        flight.vehicle.say(mavlink.MAVLink_command_ack_message(20, result, 0, 0, 255, target))
        flight.fly(0.2)
    assert not [text for text in flight.texts() if "refuses" in text]


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"A": "x"}', "\x00"])
def test_a_damaged_file_is_named_and_stops_nothing(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / KEPT).write_text(content)
    flight = flying(tmp_path)
    assert "cannot be read, look at the vehicle's limits yourself" in caplog.text
    assert flight.vehicle.parameters == LIMIT_PARAMETERS


def test_a_vehicle_without_such_parameters_is_left_alone(tmp_path: Path) -> None:
    flight = flying(tmp_path, Straw())
    flight.wanted = less(30.0)
    flight.fly(30.0)
    asked = [m for m in flight.vehicle.heard if m.get_type() == "PARAM_REQUEST_READ"]
    assert 4 <= len(asked) <= 40


def test_a_vehicle_that_was_silent_is_asked_again(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.vehicle.talks = False
    flight.wanted = less(30.0)
    flight.fly(9.0)
    flight.vehicle.talks = True
    flight.fly(13.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 30.0


def test_a_landing_is_not_limited_and_a_way_home_is(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.wanted = less(30.0)
    flight.vehicle.mode = RTL
    flight.fly(4.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 30.0
    flight.vehicle.mode = LAND
    flight.fly(4.0)
    assert flight.vehicle.parameters == LIMIT_PARAMETERS


def test_the_least_of_two_batteries_counts(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.wanted = (*less(30.0), *less(20.0), *less(25.0))
    flight.fly(3.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 20.0


# Less current, by the driver script.


def test_a_script_is_asked_twice_a_second_and_no_parameter_is_written(tmp_path: Path) -> None:
    vehicle = Straw(**LIMIT_PARAMETERS)
    vehicle.scripted = True
    flight = flying(tmp_path, vehicle)
    flight.wanted = less(30.0)
    flight.fly(0.5)
    vehicle.asked.clear()
    flight.fly(5.0)
    assert vehicle.asked == [30.0] * 10
    flight.wanted = ()
    flight.fly(5.0)
    assert set(vehicle.asked[10:]) == {0.0}
    assert not [m for m in vehicle.heard if m.get_type() == "PARAM_SET"]
    assert not (tmp_path / KEPT).exists()


def test_a_script_that_dies_is_replaced_and_what_it_left_is_put_back(tmp_path: Path) -> None:
    vehicle = Straw(**LIMIT_PARAMETERS)
    vehicle.scripted = True
    flight = flying(tmp_path, vehicle)
    flight.wanted = less(30.0)
    flight.fly(3.0)
    vehicle.scripted = False
    vehicle.parameters["MOT_BAT_CURR_MAX"] = 30.0  # as it was left
    flight.wanted = less(25.0)
    flight.fly(6.0)
    assert vehicle.parameters == {"MOT_BAT_CURR_MAX": 25.0, "MOT_BAT_CURR_TC": 1.0}
    flight.wanted = ()
    flight.fly(4.0)
    assert vehicle.parameters == LIMIT_PARAMETERS


# Slower, on ArduCopter.

OWN_SPEEDS = {"WPNAV_SPEED": 1000.0, "WPNAV_SPEED_UP": 250.0}
KEPT_SPEEDS = "vehicle-3-1-speeds.json"


def fast(folder: Path, speed_m_s: float = 10.0, climb_m_s: float = 0.0, **own: float) -> Flight:
    """Fly a vehicle at a speed for three seconds."""
    flight = flying(folder, Straw(**(own or OWN_SPEEDS)))
    flight.vehicle.speed_m_s, flight.vehicle.climb_m_s = speed_m_s, climb_m_s
    flight.fly(3.0)
    return flight


@pytest.mark.parametrize(
    "own", [OWN_SPEEDS, {"WP_SPD": 10.0, "WP_SPD_UP": 2.5}], ids=["4.5", "4.7"]
)
def test_a_fast_copter_is_told_a_speed_and_its_own_at_the_end(
    tmp_path: Path, own: dict[str, float]
) -> None:
    flight = fast(tmp_path, 10.0, 2.4, **own)
    flight.wanted = less(None, speed_m_s=3.0, climb_m_s=1.0)
    flight.fly(4.0)
    assert flight.vehicle.speeds == [(1, 3), (2, 1)]
    assert (tmp_path / KEPT_SPEEDS).exists()
    flight.fly(30.0)
    assert len(flight.vehicle.speeds) == 2  # it is slow now
    flight.wanted = ()
    flight.fly(10.0)
    assert flight.vehicle.speeds[2:] == [(1, 10), (2, 2.5)]
    assert not (tmp_path / KEPT_SPEEDS).exists()
    assert flight.vehicle.parameters == own


def test_a_slower_speed_of_somebody_else_is_never_raised(tmp_path: Path) -> None:
    flight = fast(tmp_path, 2.9, -3.0)
    flight.wanted = less(None, speed_m_s=3.0, climb_m_s=1.0)
    flight.fly(30.0)
    flight.wanted = ()
    flight.fly(5.0)
    assert flight.vehicle.speeds == []


def test_the_slowest_of_two_batteries_counts(tmp_path: Path) -> None:
    flight = fast(tmp_path)
    flight.wanted = (*less(None, speed_m_s=5.0), *less(None, speed_m_s=4.0), *less(None))
    flight.fly(3.0)
    assert flight.vehicle.speeds == [(1, 4)]


def test_what_one_action_asked_is_put_back_while_the_other_goes_on(tmp_path: Path) -> None:
    flight = fast(tmp_path, 10.0, 2.4)
    flight.wanted = less(None, speed_m_s=3.0, climb_m_s=1.0)
    flight.fly(4.0)
    flight.wanted = less(None, speed_m_s=3.0)
    flight.fly(4.0)
    assert flight.vehicle.speeds[2:] == [(2, 2.5)]
    assert (tmp_path / KEPT_SPEEDS).exists()
    flight.wanted = ()
    flight.fly(4.0)
    assert flight.vehicle.speeds[3:] == [(1, 10)]
    assert not (tmp_path / KEPT_SPEEDS).exists()


def test_a_mode_that_takes_no_speed_is_told_none_and_ends_it(tmp_path: Path) -> None:
    flight = fast(tmp_path)
    flight.vehicle.mode = LOITER
    flight.fly(2.0)
    flight.wanted = less(None, speed_m_s=3.0)
    flight.fly(5.0)
    assert flight.vehicle.speeds == []
    flight.vehicle.mode = 3  # AUTO
    flight.fly(5.0)
    assert flight.vehicle.speeds == [(1, 3)]
    flight.vehicle.mode = RTL
    flight.fly(5.0)
    assert not (tmp_path / KEPT_SPEEDS).exists()
    assert flight.vehicle.speeds == [(1, 3)]


def test_a_speed_that_is_refused_is_said_and_told_three_times_at_most(tmp_path: Path) -> None:
    flight = fast(tmp_path)
    flight.vehicle.obeys = False
    flight.wanted = less(None, speed_m_s=3.0)
    flight.fly(90.0)
    assert flight.vehicle.speeds == [(1, 3)] * 3
    texts = flight.texts()
    assert "the vehicle refuses another speed, result 4" in texts
    assert texts.count("the vehicle does not take another speed and is told no more") == 1
    flight.wanted = ()
    flight.fly(20.0)
    assert flight.vehicle.speeds[3:] == [(1, 10)] * 3
    assert not (tmp_path / KEPT_SPEEDS).exists()
    assert flight.bridge.vehicle_control is not None
    assert flight.bridge.vehicle_control.idle


def test_a_pilot_who_wants_it_fast_has_the_last_word(tmp_path: Path) -> None:
    flight = fast(tmp_path)
    flight.wanted = less(None, speed_m_s=3.0)
    for _ in range(100):
        flight.vehicle.speed_m_s = 10.0
        flight.fly(1.0)
    assert flight.vehicle.speeds == [(1, 3)] * 3


def test_a_speed_whose_end_is_unknown_is_not_changed(tmp_path: Path) -> None:
    flight = fast(tmp_path, MOT_BAT_CURR_MAX=0.0)
    flight.wanted = less(None, speed_m_s=3.0)
    flight.fly(30.0)
    assert flight.vehicle.speeds == []
    asked = [m for m in flight.vehicle.heard if m.get_type() == "PARAM_REQUEST_READ"]
    assert 4 <= len(asked) <= 60
    flight.vehicle.parameters |= OWN_SPEEDS
    flight.fly(6.0)
    assert flight.vehicle.speeds == [(1, 3)]


def test_speeds_are_left_alone_where_nothing_can_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flight = fast(tmp_path / "file" / "below")
    flight.wanted = less(None, speed_m_s=3.0)
    flight.fly(25.0)
    assert flight.vehicle.speeds == []
    assert 1 <= caplog.text.count("the vehicle's limits are left as they are") <= 3


def test_the_next_start_gives_back_the_speed_that_a_crash_has_left(tmp_path: Path) -> None:
    flight = fast(tmp_path)
    flight.wanted = less(None, speed_m_s=3.0)
    flight.fly(3.0)
    flight = flying(tmp_path, flight.vehicle)
    assert flight.vehicle.speeds == [(1, 3), (1, 10)]
    assert not (tmp_path / KEPT_SPEEDS).exists()


def test_a_silent_vehicle_is_told_a_speed_once_a_moment(tmp_path: Path) -> None:
    flight = fast(tmp_path, 10.0, 2.4)
    flight.wanted = less(None, speed_m_s=3.0, climb_m_s=1.0)
    flight.fly(0.3)
    flight.vehicle.speeds.clear()
    flight.vehicle.speed_m_s = flight.vehicle.climb_m_s = 10.0
    flight.wanted = ()
    flight.vehicle.talks = False
    before = len(flight.vehicle.heard)
    flight.fly(1.5)
    told = [m for m in flight.vehicle.heard[before:] if getattr(m, "command", 0) == 178]
    assert len(told) == 2


def test_px4_is_commanded_no_speed(tmp_path: Path) -> None:
    flight = flying(tmp_path, Straw(PX4, **OWN_SPEEDS))
    flight.vehicle.mode, flight.vehicle.speed_m_s = 4 << 16 | 4 << 24, 10.0
    flight.fly(2.0)
    flight.wanted = less(None, speed_m_s=3.0)
    flight.fly(10.0)
    assert flight.vehicle.speeds == []


# Slower, on PX4.


def test_px4_is_made_slower_and_never_faster(tmp_path: Path) -> None:
    flight = flying(tmp_path, Straw(PX4, **SPEEDS))
    flight.vehicle.mode = 3 << 16
    flight.fly(1.0)
    flight.wanted = less(30.0, speed_m_s=5.0, climb_m_s=1.0)
    flight.fly(3.0)
    assert flight.vehicle.parameters == {
        "MPC_XY_VEL_MAX": 5.0,
        "MPC_XY_CRUISE": 3.0,
        "MPC_VEL_MANUAL": 5.0,
        "MPC_Z_VEL_MAX_UP": 1.0,
        "MPC_Z_V_AUTO_UP": 1.0,
    }
    flight.wanted = ()
    flight.fly(3.0)
    assert flight.vehicle.parameters == SPEEDS


def test_px4_without_a_speed_in_the_action_is_left_as_it_is(tmp_path: Path) -> None:
    flight = flying(tmp_path, Straw(PX4, **SPEEDS))
    flight.vehicle.mode = 3 << 16
    flight.wanted = less(30.0)
    flight.fly(3.0)
    assert flight.vehicle.parameters == SPEEDS


# Arming.


def authorization(
    flight: Flight, *, system: int = 1, component: int = 1
) -> list[mavlink.MAVLink_message]:
    ask = mavlink.MAVLink_command_long_message(1, 0, 3001, 0, 0, 0, 0, 0, 0, 0, 0)
    flight.vehicle._out.append(bytes(ask.pack(mavlink.MAVLink(None, system, component))))
    before = len(flight.vehicle.heard)
    flight.fly(0.2)
    return [m for m in flight.vehicle.heard[before:] if m.get_type() == "COMMAND_ACK"]


def on_the_ground(autopilot: int) -> Flight:
    vehicle = Straw(autopilot)
    vehicle.armed = False
    return Flight(vehicle, None)


def test_px4_may_arm_with_a_battery_that_is_well() -> None:
    flight = on_the_ground(PX4)
    flight.fly(3.0)
    (answer,) = authorization(flight)
    assert (answer.command, answer.result, answer.result_param2) == (3001, 0, 5)
    assert (answer.target_system, answer.target_component) == (1, 1)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"severity": Severity.CRITICAL, "active": ("hot_critical",)}, "battery 1, hot critical"),
        ({"voltage_v": None}, "battery 1, the pack is not heard"),
        ({"soc_pct": 3.0}, "battery 1, 3 % may make a vehicle like px4 shut down"),
        ({"soc_pct": None}, "battery 1, the charge is unknown"),
    ],
)
def test_px4_may_not_arm_and_people_are_told_why(values: dict[str, object], why: str) -> None:
    flight = on_the_ground(PX4)
    flight.values = values
    flight.fly(3.0)
    (answer,) = authorization(flight)
    assert (answer.result, answer.progress) == (mavlink.MAV_RESULT_DENIED, 1)
    flight.fly(1.0)
    assert f"no go: {why}" in "".join(flight.texts())


def test_before_a_battery_is_heard_px4_may_not_arm() -> None:
    flight = on_the_ground(PX4)
    flight.vehicle.beat()
    ask = mavlink.MAVLink_command_long_message(1, 0, 3001, 0, 0, 0, 0, 0, 0, 0, 0)
    flight.vehicle.say(ask)
    flight.bridge.pump(0.0)
    (answer,) = [m for m in flight.vehicle.heard if m.get_type() == "COMMAND_ACK"]
    assert answer.result == mavlink.MAV_RESULT_DENIED


def test_only_the_vehicle_itself_is_given_leave() -> None:
    flight = on_the_ground(PX4)
    flight.fly(3.0)
    assert authorization(flight, system=255, component=190) == []
    assert authorization(flight, component=191) == []


def test_the_script_is_told_each_second_on_the_ground_alone() -> None:
    flight = on_the_ground(ARDUPILOT)
    flight.fly(3.0)
    flight.values = {"severity": Severity.CRITICAL, "active": ("hot_critical",)}
    flight.fly(3.0)

    def told() -> list[float]:
        return [m.value for m in flight.vehicle.heard if getattr(m, "name", "") == "BMS_NOGO"]

    assert told()[-1] == 1.0
    assert 0.0 in told()
    assert flight.texts().count("no go: battery 1, hot critical") == 1
    count = len(told())
    flight.vehicle.armed = True
    flight.fly(1.0)
    flight.fly(10.0)
    assert len(told()) <= count + 1

# SPDX-License-Identifier: Apache-2.0
"""When a limit is written to a parameter, and when its original value; step by step."""

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Action, ActionKind, ActionRequest
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.parameters import Parameters
from mavlink_bridge.vehicle.parameter_limits import ParameterLimiter, WriteBudget, lowest
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, PX4
from tests.mavlink_bridge.vehicle.test_battery_id import flying


def less(
    max_a: float | None = None, speed_m_s: float | None = None, climb_m_s: float | None = None
) -> ActionRequest:
    action = Action("governor", ActionKind.REDUCE, speed_m_s=speed_m_s, climb_m_s=climb_m_s)
    return ActionRequest(action, (0, 2, 1), "governor", max_a)


def spent(writes: int) -> WriteBudget:
    """A budget after some writes at once."""
    budget = WriteBudget()
    for _ in range(writes):
        budget.take(0.0)
    return budget


# The budget.


def test_five_writes_come_at_once_and_then_one_each_15_s() -> None:
    assert WriteBudget().left(0.0) == 5.0
    budget = spent(5)
    left = {t_s: budget.left(t_s) for t_s in (0.0, 15.0, 22.5, 75.0, 1e6)}
    assert left == {0.0: 0.0, 15.0: 1.0, 22.5: 1.5, 75.0: 5.0, 1e6: 5.0}
    budget.take(15.0)
    assert (budget.left(15.0), budget.left(30.0)) == (0.0, 1.0)
    assert spent(7).left(0.0) == -2.0  # overdrawn by falls


@pytest.mark.parametrize(
    ("writes", "percent"), [(0, 5), (1, 5), (2, 10), (3, 15), (4, 25), (5, 25), (6, 25), (9, 25)]
)
def test_a_fall_is_written_at_once_if_it_is_large_for_what_is_left(
    writes: int, percent: int
) -> None:
    limit_a = 100.0 - percent
    assert spent(writes).limit(limit_a - 0.01, 100.0, 0.0) == limit_a - 0.01
    assert spent(writes).limit(limit_a + 0.01, 100.0, 0.0) is None


def test_a_small_fall_is_written_after_15_s_in_which_it_lasts() -> None:
    budget = WriteBudget()
    assert [budget.limit(96.9, 100.0, t_s) for t_s in (0.0, 14.9, 15.0)] == [None, None, 96.9]
    budget.take(15.0)
    times_s = (15.1, 30.0, 30.1)  # counts again from the write
    assert [budget.limit(93.0, 96.9, t_s) for t_s in times_s] == [None, None, 93.0]


def test_a_small_fall_that_pauses_begins_again() -> None:
    budget = WriteBudget()
    steps = [(0.0, 96.0), (10.0, 96.0), (12.0, 98.0), (14.0, 96.0), (28.9, 96.0), (29.0, 96.0)]
    assert [budget.limit(limit, 100.0, t_s) for t_s, limit in steps] == [None] * 5 + [96.0]


@pytest.mark.parametrize("limit_a", [97.01, 99.0, 100.0, 114.9])
def test_a_limit_that_is_close_to_the_written_one_is_never_written(limit_a: float) -> None:
    budget = WriteBudget()
    assert {budget.limit(limit_a, 100.0, float(t_s)) for t_s in range(200)} == {None}


def rises(
    limits: Sequence[float], writes: int = 0, written: float = 100.0
) -> list[tuple[int, float]]:
    """Second and limit of each write, for limits of one a second."""
    budget, found = spent(writes), []
    for t_s, limit in enumerate(limits):
        due = budget.limit(limit, written, float(t_s))
        if due is not None:
            budget.take(float(t_s))
            written = due
            found.append((t_s, due))
    return found


@pytest.mark.parametrize("low_until_s", [1, 10, 29, 30, 31, 59, 60])
def test_a_rise_is_written_60_to_90_s_after_the_last_lower_limit(low_until_s: int) -> None:
    ((at_s, limit_a),) = rises([100.0] * low_until_s + [120.0] * 120)
    assert limit_a == 120.0
    # Windows end each 30 s: both of the last two are free of the lower limit.
    assert at_s == 30 * math.ceil(low_until_s / 30) + 60
    assert 60 <= at_s - (low_until_s - 1) <= 91


def test_a_rise_goes_to_the_lowest_limit_of_the_time_before_it() -> None:
    limits = [140.0] * 200
    limits[70] = 118.0
    limits[110] = 130.0
    assert rises([100.0, *limits[1:]]) == [(90, 118.0), (180, 140.0)]
    limits[70] = 140.0
    assert rises([100.0, *limits[1:]]) == [(90, 140.0), (110, 130.0)]  # a fall of 7 %


@pytest.mark.parametrize(("limit_a", "times"), [(114.9, 0), (115.1, 1)])
def test_a_rise_is_written_from_15_percent_on(limit_a: float, times: int) -> None:
    assert len(rises([100.0] + [limit_a] * 150)) == times


def test_a_rise_leaves_two_writes_for_a_later_fall() -> None:
    # 9 writes at 0 s: at 90 s two are left, at 120 s four.
    assert rises([100.0] + [120.0] * 125, writes=9) == [(120, 120.0)]
    # 8 writes: at 90 s three are left.
    assert rises([100.0] + [120.0] * 125, writes=8) == [(90, 120.0)]


@pytest.mark.parametrize(
    ("requests", "max_a", "speed_m_s", "climb_m_s"),
    [
        ((), None, None, None),
        ((less(30.0),), 30.0, None, None),
        ((less(30.0), less(20.0, 5.0), less(None, 4.0, 2.0)), 20.0, 4.0, 2.0),
        ((less(0.0, 0.0, -1.0),), None, None, None),
        ((less(0.5, 0.5, 0.5),), 0.5, 0.5, 0.5),
    ],
)
def test_the_lowest_positive_limit_counts(
    requests: tuple[ActionRequest, ...],
    max_a: float | None,
    speed_m_s: float | None,
    climb_m_s: float | None,
) -> None:
    found = [lowest(requests, by) for by in ("max_a", "speed_m_s", "climb_m_s")]
    assert found == [max_a, speed_m_s, climb_m_s]


# The limiter.


class Limited:
    """A limiter and the parameters of its vehicle."""

    def __init__(self, folder: Path, vehicle_class: str, autopilot: int, **own: float) -> None:
        self.own = own
        self.parameters = Parameters()
        self.limiter = ParameterLimiter(self.parameters, folder)
        self.autopilot = flying(autopilot)
        self.vehicle_class: str | None = vehicle_class
        self.sets: list[tuple[float, str, float]] = []
        self.reads: list[tuple[float, str]] = []
        self.driver: list[tuple[float, float]] = []
        self.answers = True

    def run(
        self, start_s: float, end_s: float, *requests: ActionRequest, in_flight: bool = True
    ) -> "Limited":
        """Step ten times a second."""
        for tenth in range(round(start_s * 10), round(end_s * 10)):
            now_s = tenth / 10
            sent = self.limiter.step(
                requests,
                self.autopilot,
                now_s,
                vehicle_class=self.vehicle_class,
                in_flight=in_flight,
            )
            self.driver += [(now_s, one.param3) for one in sent]
            for message in self.parameters.due(1, now_s, bytewise=False):
                self._answer(by_wire(message), now_s)
        return self

    def _answer(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        name = message.param_id
        if message.get_type() == "PARAM_SET":
            self.sets.append((now_s, name, message.param_value))
            self.own |= {name: message.param_value} if self.answers else {}
        else:
            self.reads.append((now_s, name))
        if self.answers and name in self.own:
            value = mavlink.MAVLink_param_value_message(name.encode(), self.own[name], 9, 1, 0)
            self.parameters.receive(by_wire(value), bytewise=False)


def by_wire(message: mavlink.MAVLink_message) -> mavlink.MAVLink_message:
    """A message as the other end of a link reads it."""
    return mavlink.MAVLink(None).decode(bytearray(message.pack(mavlink.MAVLink(None, 1, 1))))


LIMITS = [  # class, autopilot, parameter, greatest value, request, limited value
    *[("ArduCopter", ARDUPILOT, "MOT_BAT_CURR_MAX", 1000.0, less(30.0), 30.0)],
    *[("ArduCopter", ARDUPILOT, "MOT_BAT_CURR_TC", 60.0, less(30.0), 1.0)],
    *[("ArduSub", ARDUPILOT, "MOT_BAT_CURR_MAX", 1000.0, less(30.0), 30.0)],
    *[("ArduSub", ARDUPILOT, "MOT_BAT_CURR_TC", 60.0, less(30.0), 1.0)],
    *[("QuadPlane", ARDUPILOT, "Q_M_BAT_CURR_MAX", 1000.0, less(30.0), 30.0)],
    *[("QuadPlane", ARDUPILOT, "Q_M_BAT_CURR_TC", 60.0, less(30.0), 1.0)],
    *[
        (name, PX4, parameter, 100.0, less(None, 4.0, 1.5), limit)
        for name in ("PX4 multirotor", "PX4 VTOL")
        for parameter, limit in (
            ("MPC_XY_VEL_MAX", 4.0), ("MPC_XY_CRUISE", 4.0), ("MPC_VEL_MANUAL", 4.0),
            ("MPC_Z_VEL_MAX_UP", 1.5), ("MPC_Z_V_AUTO_UP", 1.5),
        )
    ],
    *[("PX4 rover", PX4, "RO_SPEED_LIM", 100.0, less(None, 4.0, 1.5), 4.0)],
]  # fmt: skip


@pytest.mark.parametrize("row", LIMITS, ids=lambda row: f"{row[0]}-{row[2]}")
def test_a_parameter_is_limited_from_a_possible_value_alone_and_restored(
    tmp_path: Path, row: tuple[str, int, str, float, ActionRequest, float]
) -> None:
    vehicle_class, autopilot, name, most, request, limited = row
    for original in (most, limited * 1.25, 0.0):
        vehicle = Limited(tmp_path, vehicle_class, autopilot, **{name: original})
        vehicle.run(0.0, 6.0, request)
        assert vehicle.own == {name: limited}  # 0: no limit
        assert not vehicle.limiter.idle
        vehicle.run(6.0, 9.0)
        assert vehicle.own == {name: original}
        assert vehicle.limiter.idle
        assert len(vehicle.sets) == 2
    for impossible in (most * 1.001, -0.1, math.nan):
        vehicle = Limited(tmp_path, vehicle_class, autopilot, **{name: impossible})
        assert vehicle.run(0.0, 12.0, request).sets == []
    slower = Limited(tmp_path, vehicle_class, autopilot, **{name: limited / 2})
    assert slower.run(0.0, 6.0, request).own == {name: limited / 2}


@pytest.mark.parametrize(
    ("vehicle_class", "autopilot"),
    [
        ("ArduPlane", ARDUPILOT),
        ("ArduRover", ARDUPILOT),
        ("Blimp", ARDUPILOT),
        ("PX4 fixed wing", PX4),
        ("PX4 vehicle", PX4),
        (None, ARDUPILOT),
    ],
)
def test_a_vehicle_without_such_parameters_is_not_read(
    tmp_path: Path, vehicle_class: str, autopilot: int
) -> None:
    own = {name: 10.0 for _, _, name, *_ in LIMITS}
    vehicle = Limited(tmp_path, vehicle_class, autopilot, **own)
    vehicle.run(0.0, 12.0, less(30.0, 4.0, 1.5))
    assert (vehicle.sets, vehicle.reads) == ([], [])


CURRENT = {"MOT_BAT_CURR_MAX": 0.0, "MOT_BAT_CURR_TC": 5.0}


def copter(folder: Path, **own: float) -> Limited:
    return Limited(folder, "ArduCopter", ARDUPILOT, **(own or CURRENT))


def test_unanswered_reads_begin_again_after_ten_seconds(tmp_path: Path) -> None:
    vehicle = copter(tmp_path)
    vehicle.answers = False
    vehicle.run(0.0, 25.0, less(30.0))
    times_s = [t_s for t_s, name in vehicle.reads if name == "MOT_BAT_CURR_MAX"]
    assert times_s == [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0, 20.0, 21.0, 22.0, 23.0]
    assert vehicle.sets == []


def test_a_limit_that_ends_with_writes_left_is_restored_at_once(tmp_path: Path) -> None:
    vehicle = copter(tmp_path).run(0.0, 2.0, less(30.0))
    vehicle.run(2.0, 4.0)
    assert vehicle.sets[2:] == [(2.1, "MOT_BAT_CURR_MAX", 0.0), (2.1, "MOT_BAT_CURR_TC", 5.0)]


@pytest.mark.parametrize("in_flight", [True, False])
def test_a_limit_that_ends_without_two_writes_waits_for_them_in_flight(
    tmp_path: Path, *, in_flight: bool
) -> None:
    vehicle = copter(tmp_path)
    for second, limit_a in enumerate((80.0, 60.0, 45.0, 30.0, 20.0)):
        vehicle.run(second, second + 1, less(limit_a))
    assert len([one for one in vehicle.sets if one[1] == "MOT_BAT_CURR_MAX"]) == 5
    vehicle.run(5.0, 60.0, in_flight=in_flight)
    restored_s = [t_s for t_s, name, _ in vehicle.sets if name == "MOT_BAT_CURR_MAX"][5:]
    # Written at 0.2, 1.0, 2.0, 3.0 and 4.0 s: none left at 4 s but what has come since.
    assert vehicle.own == CURRENT
    assert restored_s == ([pytest.approx(30.3, abs=0.3)] if in_flight else [pytest.approx(5.1)])
    assert vehicle.limiter.idle


def test_a_restoration_that_has_begun_goes_on_and_is_repeated_each_ten_seconds(
    tmp_path: Path,
) -> None:
    vehicle = copter(tmp_path).run(0.0, 2.0, less(30.0))
    vehicle.answers = False
    vehicle.run(2.0, 24.0)
    times_s = [t_s for t_s, name in vehicle.reads if name == "MOT_BAT_CURR_MAX" and t_s >= 2.0]
    assert times_s == [2.0, 3.0, 4.0, 5.0, 12.0, 13.0, 14.0, 15.0, 22.0, 23.0]
    assert not vehicle.limiter.idle
    vehicle.answers = True
    vehicle.run(24.0, 30.0)
    assert vehicle.own == CURRENT
    assert vehicle.limiter.idle


def scripted(autopilot: Autopilot, now_s: float) -> None:
    """The Lua driver answers."""
    autopilot.receive(by_wire(mavlink.MAVLink_command_ack_message(31014, 0, 2)), now_s)


def test_the_driver_gets_the_limit_twice_a_second_and_0_for_a_second_at_its_end(
    tmp_path: Path,
) -> None:
    vehicle = copter(tmp_path)
    scripted(vehicle.autopilot, 0.0)
    vehicle.run(0.0, 2.0, less(30.0), less(25.0))
    assert [limit_a for _, limit_a in vehicle.driver] == [25.0] * len(vehicle.driver)
    times_s = [t_s for t_s, _ in vehicle.driver]
    assert [b - a for a, b in itertools.pairwise(times_s)] == [pytest.approx(0.5)] * 3
    vehicle.driver.clear()
    scripted(vehicle.autopilot, 2.0)
    vehicle.run(2.0, 5.0)
    assert {limit_a for _, limit_a in vehicle.driver} == {0.0}
    assert 2 <= len(vehicle.driver) <= 3
    assert vehicle.driver[-1][0] < 3.0
    assert vehicle.sets == []
    assert vehicle.limiter.idle


def test_what_a_silent_driver_may_limit_is_no_original_value_until_the_autopilot_restarts(
    tmp_path: Path,
) -> None:
    vehicle = copter(tmp_path)
    scripted(vehicle.autopilot, 0.0)
    vehicle.run(0.0, 2.0, less(30.0))
    vehicle.limiter.read_again()  # a second autopilot may have been on the link
    assert vehicle.run(2.0, 30.0, less(30.0)).reads == []
    vehicle.limiter.after_restart(30.0)
    vehicle.run(30.0, 35.0, less(30.0))
    assert vehicle.own == {"MOT_BAT_CURR_MAX": 30.0, "MOT_BAT_CURR_TC": 1.0}


def test_a_speed_alone_is_no_limit_of_the_driver(tmp_path: Path) -> None:
    vehicle = copter(tmp_path)
    scripted(vehicle.autopilot, 0.0)
    vehicle.run(0.0, 2.0, less(None, 4.0))
    assert (vehicle.driver, vehicle.sets, vehicle.reads) == ([], [], [])


def test_after_a_restart_the_values_are_read_and_written_again(tmp_path: Path) -> None:
    vehicle = copter(tmp_path).run(0.0, 3.0, less(30.0))
    vehicle.own = dict(CURRENT)  # stored ones were lost
    vehicle.parameters.discard_values()
    vehicle.limiter.after_restart(3.0)
    vehicle.run(3.0, 5.0, less(30.0))
    assert vehicle.own == {"MOT_BAT_CURR_MAX": 30.0, "MOT_BAT_CURR_TC": 1.0}
    vehicle.run(5.0, 9.0)
    assert vehicle.own == CURRENT


def test_the_original_values_are_those_of_the_parameters_that_exist(tmp_path: Path) -> None:
    vehicle = copter(tmp_path, MOT_BAT_CURR_MAX=80.0)
    vehicle.run(0.0, 9.0, less(30.0))
    (file,) = tmp_path.glob("*.json")
    assert json.loads(file.read_text())["values"] == {"MOT_BAT_CURR_MAX": 80.0}
    assert vehicle.own == {"MOT_BAT_CURR_MAX": 30.0}


def test_a_write_without_an_answer_is_tried_four_times_and_read_again_each_ten_seconds(
    tmp_path: Path,
) -> None:
    vehicle = copter(tmp_path, MOT_BAT_CURR_MAX=80.0).run(0.0, 9.0, less(30.0))
    vehicle.reads.clear()
    vehicle.sets.clear()
    vehicle.answers = False
    vehicle.run(9.0, 40.0, less(20.0))
    assert [t_s for t_s, *_ in vehicle.sets] == [9.0, 10.0, 11.0, 12.0]
    times_s = [t_s for t_s, _ in vehicle.reads]
    assert times_s == [pytest.approx(t_s + k) for t_s in (13.1, 23.1, 33.1) for k in range(4)]
    vehicle.answers = True
    vehicle.run(40.0, 50.0, less(20.0))
    assert vehicle.own == {"MOT_BAT_CURR_MAX": 20.0}


PX4_SPEEDS = {"MPC_XY_VEL_MAX": 12.0, "MPC_Z_VEL_MAX_UP": 3.0}


def test_a_limit_that_begins_while_another_one_holds_is_written_and_restored_alone(
    tmp_path: Path,
) -> None:
    vehicle = Limited(tmp_path, "PX4 multirotor", PX4, **PX4_SPEEDS)
    fast, slow = less(None, 5.0), less(None, None, 1.0)
    assert vehicle.run(0.0, 10.0, fast).own == {"MPC_XY_VEL_MAX": 5.0, "MPC_Z_VEL_MAX_UP": 3.0}
    vehicle.run(10.0, 80.0, fast, slow)
    assert vehicle.own == {"MPC_XY_VEL_MAX": 5.0, "MPC_Z_VEL_MAX_UP": 1.0}
    vehicle.run(80.0, 90.0, fast)
    assert vehicle.own == {"MPC_XY_VEL_MAX": 5.0, "MPC_Z_VEL_MAX_UP": 3.0}
    assert not vehicle.limiter.idle
    assert vehicle.run(90.0, 100.0).own == PX4_SPEEDS
    assert vehicle.limiter.idle


def test_the_original_value_of_a_later_limit_is_on_disk_before_it_is_written(
    tmp_path: Path,
) -> None:
    vehicle = Limited(tmp_path, "PX4 multirotor", PX4, **PX4_SPEEDS)
    fast, slow = less(None, 5.0), less(None, None, 1.0)
    vehicle.run(0.0, 10.0, fast).run(10.0, 80.0, fast, slow)
    killed = Limited(tmp_path, "PX4 multirotor", PX4, **vehicle.own)
    assert killed.run(0.0, 10.0, in_flight=False).own == PX4_SPEEDS


def test_a_value_whose_answers_were_lost_is_limited_a_minute_later(tmp_path: Path) -> None:
    vehicle = copter(tmp_path, MOT_BAT_CURR_MAX=80.0)
    vehicle.run(0.0, 10.0, less(30.0))
    vehicle.own["MOT_BAT_CURR_TC"] = 5.0  # answered from now on
    vehicle.reads.clear()
    vehicle.run(10.0, 70.0, less(30.0))
    assert vehicle.own == {"MOT_BAT_CURR_MAX": 30.0, "MOT_BAT_CURR_TC": 1.0}
    assert [name for _, name in vehicle.reads] == ["MOT_BAT_CURR_TC"]
    assert vehicle.run(70.0, 75.0).own == {"MOT_BAT_CURR_MAX": 80.0, "MOT_BAT_CURR_TC": 5.0}

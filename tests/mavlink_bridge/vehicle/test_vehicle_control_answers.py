# SPDX-License-Identifier: Apache-2.0
"""What vehicle control sends in each step, and what it reads of each answer; no bridge."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Action, ActionKind, ActionRequest, Severity
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.vehicle.command_state import Phase
from mavlink_bridge.vehicle.vehicle_control import VehicleControl
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, COPTER, PLANE, PX4, SUB
from tests.mavlink_bridge.reports import a_report

RETURN, LAND_START, SET_MODE, LAND = 20, 189, 176, 21
ACCEPTED, DENIED, FAILED, IN_PROGRESS = 0, 2, 4, 5
GUIDED, RTL, LOITER, LANDS, CRUISE = 4, 6, 5, 9, 7
CRITICAL, WARNING, NOTICE = 2, 4, 5


def request(do: ActionKind, event: int = 1, **row: Any) -> ActionRequest:  # noqa: ANN401 - of an action
    return ActionRequest(Action(Severity.CRITICAL, do, **row), (0, int(do), event), "cell_low")


def by_wire(message: mavlink.MAVLink_message) -> mavlink.MAVLink_message:
    return mavlink.MAVLink(None).decode(bytearray(message.pack(mavlink.MAVLink(None, 1, 1))))


class Bench:
    """Vehicle control and the messages of an autopilot."""

    def __init__(
        self,
        folder: Path,
        vehicle_type: int = COPTER,
        autopilot: int = ARDUPILOT,
        mode: int = GUIDED,
    ) -> None:
        self.control = VehicleControl(folder)
        self.autopilot, self.kind, self.mode = Autopilot(), (vehicle_type, autopilot), mode
        self.armed = True

    def receive(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        """A message of the autopilot."""
        found = by_wire(message)
        if self.autopilot.receive(found, now_s):
            self.control.receive(found, self.autopilot, now_s)

    def beat(self, now_s: float, mode: int | None = None, status: int = 4) -> None:
        """A heartbeat."""
        self.mode = self.mode if mode is None else mode
        base = 129 if self.armed else 1
        self.receive(
            mavlink.MAVLink_heartbeat_message(*self.kind, base, self.mode, status, 3), now_s
        )

    def answer(self, command: int, result: int, now_s: float) -> None:
        """An acknowledgement."""
        self.receive(mavlink.MAVLink_command_ack_message(command, result), now_s)

    def ask(self, *requests: ActionRequest, index: int = 0) -> None:
        """Requests of a battery."""
        self.control.request(replace(a_report(index=index), requests=requests))

    def step(self, now_s: float, *, enabled: bool = True) -> list[tuple[int, int]]:
        """Commands of a step, each with the number of its try or of its message."""
        vehicle = self.autopilot.state(now_s)
        found = self.control.step(self.autopilot, vehicle, now_s, enabled=enabled)
        return [
            (one.command, int(one.param1) if one.command == 512 else one.confirmation)
            for one in found
            if one.get_type() == "COMMAND_LONG"
        ]

    @property
    def phase(self) -> Phase | None:
        """Of the last command."""
        return None if self.control.sent is None else self.control.sent.phase


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.beat(0.0)
    return made


def commanded(bench: Bench, do: ActionKind = ActionKind.RETURN) -> Bench:
    bench.ask(request(do))
    assert bench.step(0.125) == [(RETURN if do is ActionKind.RETURN else LAND, 0)]
    bench.control.take_texts()
    return bench


@pytest.mark.parametrize("command", [0, 19, 21, 22, 176, 189, 511])
@pytest.mark.parametrize("result", [ACCEPTED, DENIED])
def test_an_answer_to_another_command_changes_nothing(
    bench: Bench, command: int, result: int
) -> None:
    commanded(bench)
    bench.answer(command, result, 0.2)
    assert bench.phase is Phase.SENT
    assert bench.control.take_texts() == []


@pytest.mark.parametrize(
    ("result", "phase", "texts"),
    [
        (ACCEPTED, Phase.ACCEPTED, []),
        (IN_PROGRESS, Phase.SENT, []),
        (DENIED, Phase.REFUSED, [(WARNING, "RETURN refused: denied")]),
        (FAILED, Phase.REFUSED, [(WARNING, "RETURN refused: failed")]),
    ],
)
def test_an_answer_to_the_command_is_read_and_a_refusal_reported_once(
    bench: Bench, result: int, phase: Phase, texts: list[tuple[int, str]]
) -> None:
    commanded(bench)
    bench.answer(RETURN, result, 0.2)
    assert bench.phase is phase
    bench.answer(RETURN, result, 0.3)
    assert bench.phase is phase
    assert bench.control.take_texts() == texts
    assert bench.control.take_texts() == []


def test_an_answer_without_a_command_is_ignored(bench: Bench) -> None:
    bench.answer(RETURN, DENIED, 0.2)
    assert bench.control.sent is None
    assert bench.control.take_texts() == []


def test_a_refusal_is_reported_after_the_last_command_of_the_class_alone(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PLANE, mode=CRUISE)
    bench.beat(0.0)
    bench.ask(request(ActionKind.LAND))
    sent = []
    for now_s, command in ((0.1, LAND_START), (0.2, SET_MODE), (0.3, SET_MODE)):
        sent += bench.step(now_s)
        assert [text for _, text in bench.control.take_texts() if "refused" in text] == []
        bench.answer(command, DENIED, now_s)
    assert sent == [(LAND_START, 0), (SET_MODE, 0), (SET_MODE, 0)]
    assert bench.control.take_texts() == [(WARNING, "LAND refused: denied")]


def test_heartbeats_are_requested_twice_a_second_for_four_seconds_until_one_shows_the_mode(
    bench: Bench,
) -> None:
    commanded(bench)
    bench.answer(RETURN, ACCEPTED, 0.2)
    found = []
    for eighth in range(2, 60):
        now_s = eighth / 8
        if eighth % 8 == 0:
            bench.beat(now_s, 77)  # a mode of no name: no evidence
        found += [now_s for command in bench.step(now_s) if command == (512, 0)]
    assert found == [0.125 + 0.5 * k for k in range(1, 9)]


def test_no_heartbeat_is_requested_once_the_vehicle_obeys(bench: Bench) -> None:
    commanded(bench)
    bench.beat(0.4, RTL)
    assert bench.phase is Phase.OBEYED
    assert [bench.step(0.4 + k / 10) for k in range(1, 30)] == [[]] * 29


def test_a_pilot_who_takes_over_is_reported_once_after_two_seconds(bench: Bench) -> None:
    commanded(bench)
    bench.beat(0.4, RTL)
    bench.beat(1.0, LOITER)
    texts = {}
    for tenth in range(10, 80):
        now_s = tenth / 10
        if tenth % 10 == 0:
            bench.beat(now_s)
        bench.step(now_s)
        for severity, text in bench.control.take_texts():
            texts[now_s] = (severity, text)
    assert texts[3.0] == (WARNING, "pilot has taken over: LOITER")
    assert [text for _, text in texts.values()].count("pilot has taken over: LOITER") == 1


def test_a_command_and_the_reason_for_none_are_reported_with_their_severity(bench: Bench) -> None:
    bench.ask(request(ActionKind.RETURN))
    bench.step(0.1)
    assert bench.control.take_texts() == [(CRITICAL, "RETURN: cell low")]
    bench.ask(request(ActionKind.RETURN, 2))
    for now_s in (4.0, 5.0, 6.0):
        bench.beat(now_s, LANDS)
        bench.step(now_s)
    assert bench.control.take_texts() == [(NOTICE, "RETURN: vehicle is landing")]


def test_a_reduction_is_no_text(bench: Bench) -> None:
    bench.ask(request(ActionKind.REDUCE))
    for tenth in range(1, 30):
        bench.step(tenth / 10)
    assert bench.control.take_texts() == []


def test_a_vehicle_that_does_not_comply_is_reported_after_the_last_try(bench: Bench) -> None:
    bench.ask(request(ActionKind.RETURN, retries=1))
    times_s, texts = {}, {}
    for eighth in range(1, 90):
        now_s = eighth / 8
        if eighth % 8 == 0:
            bench.beat(now_s)
        for command, number in bench.step(now_s):
            if command == RETURN:
                times_s[now_s] = number
        for _, text in bench.control.take_texts():
            texts[now_s] = text
    assert times_s == {0.125: 0, 3.125: 1}
    # Not while the vehicle may still comply.
    assert texts == {
        0.125: "RETURN: cell low",
        6.125: "RETURN: vehicle does not comply, tries: 2",
    }


@pytest.mark.parametrize(("pause_s", "texts"), [(29.0, 1), (31.0, 2)])
def test_the_same_text_is_sent_once_in_thirty_seconds(
    bench: Bench, pause_s: float, texts: int
) -> None:
    commanded(bench)
    found, second = [], 0
    for start_s in (1.0, 1.0 + pause_s):
        while second < start_s:
            second += 1
            bench.beat(float(second))
        bench.ask(request(ActionKind.RETURN, round(start_s)))
        bench.step(start_s + 0.5)
        bench.answer(RETURN, DENIED, start_s + 0.75)
        found += [text for _, text in bench.control.take_texts() if "refused" in text]
    assert found == ["RETURN refused: denied"] * texts


def test_without_actions_nothing_is_commanded(bench: Bench) -> None:
    bench.ask(request(ActionKind.LAND))
    assert bench.step(0.1, enabled=False) == []
    assert bench.control.sent is None
    assert bench.step(0.2) == [(LAND, 0)]


def test_the_requests_of_each_battery_are_replaced_by_its_next_report(bench: Bench) -> None:
    bench.ask(request(ActionKind.RETURN), index=0)
    bench.ask(request(ActionKind.LAND), index=1)
    bench.ask(index=1)
    assert bench.step(0.1) == [(RETURN, 0)]


@pytest.mark.parametrize(
    ("vehicle_type", "autopilot", "texts"),
    [
        (COPTER, ARDUPILOT, []),
        (SUB, ARDUPILOT, ["ArduSub has no return"]),
        (PLANE, PX4, ["PX4 fixed wing has no reduce"]),
        (28, ARDUPILOT, ["no action on autopilot 3, type 28"]),
    ],
)
def test_what_the_vehicle_cannot_do_is_reported_once(
    tmp_path: Path, vehicle_type: int, autopilot: int, texts: list[str]
) -> None:
    bench = Bench(tmp_path, vehicle_type, autopilot)
    for now_s in (0.0, 1.0, 2.0, 60.0):
        bench.beat(now_s)
    assert bench.control.take_texts() == [(WARNING, text) for text in texts]


def test_only_configured_actions_are_reported_as_impossible(tmp_path: Path) -> None:
    bench = Bench(tmp_path, SUB)
    bench.control.configured = (ActionKind.LAND,)
    bench.beat(0.0)
    assert bench.control.take_texts() == []


def limited(bench: Bench, **state: Any) -> dict[str, Any]:  # noqa: ANN401 - of the vehicle
    """What is requested of a vehicle in a state while a limit of current is requested."""
    action = Action("governor", ActionKind.REDUCE)
    bench.ask(ActionRequest(action, (0, 2, 1), "governor", 30.0))
    vehicle = replace(bench.autopilot.state(0.0), **state)
    found = bench.control.step(bench.autopilot, vehicle, 0.0, enabled=True)
    return {by_wire(one).param_id: one for one in found if one.get_type() == "PARAM_REQUEST_READ"}


@pytest.mark.parametrize(
    ("state", "limits"),
    [
        ({}, True),
        ({"mode": "RTL"}, True),  # a limit of the current stays during a return
        ({"mode": "LAND"}, False),
        ({"landing": True}, False),
        ({"armed": None}, True),
        ({"armed": False}, False),
        ({"terminated": True}, False),
    ],
)
def test_a_limit_is_for_a_flight_that_does_not_land(
    bench: Bench, state: dict[str, Any], *, limits: bool
) -> None:
    assert ("MOT_BAT_CURR_MAX" in limited(bench, **state)) == limits


@pytest.mark.parametrize(("armed", "waits"), [(True, True), (None, True), (False, False)])
def test_on_the_ground_a_limit_is_restored_without_writes_left(
    bench: Bench, *, armed: bool | None, waits: bool
) -> None:
    control, own = bench.control, {"MOT_BAT_CURR_MAX": 0.0, "MOT_BAT_CURR_TC": 5.0}

    def step(now_s: float, *limits: float, armed: bool | None = True) -> None:
        action = Action("governor", ActionKind.REDUCE)
        bench.ask(*[ActionRequest(action, (0, 2, 1), "governor", limit) for limit in limits])
        bench.beat(now_s)
        vehicle = replace(bench.autopilot.state(now_s), armed=armed)
        for one in control.step(bench.autopilot, vehicle, now_s, enabled=True):
            message = by_wire(one)
            if message.get_type() == "PARAM_SET":
                own[message.param_id] = message.param_value
            if message.get_type().startswith("PARAM") and message.param_id in own:
                value = own[message.param_id]
                name = message.param_id.encode()
                bench.receive(mavlink.MAVLink_param_value_message(name, value, 9, 1, 0), now_s)

    for half, limit in enumerate((90.0, 90.0, 90.0, 70.0, 50.0, 35.0, 25.0)):
        step(half / 2, limit)
    assert own["MOT_BAT_CURR_MAX"] == 25.0
    for half in range(7, 12):
        step(half / 2, armed=armed)
    assert (own["MOT_BAT_CURR_MAX"] == 25.0) == waits

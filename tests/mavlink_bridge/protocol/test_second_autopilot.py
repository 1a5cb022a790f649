# SPDX-License-Identifier: Apache-2.0
"""A second autopilot with the system id of the vehicle: no command to both, and no false alarm."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Action, ActionKind, ActionRequest, Severity
from mavlink_bridge.protocol.second_autopilot import SecondAutopilotWatch
from tests.mavlink_bridge.fake_vehicle import GUIDED, LAND, LOITER, RTL, Flight
from tests.mavlink_bridge.shared_network import Network, Station, Way

HOME, DOWN = (
    ActionRequest(Action(Severity.CRITICAL, do), (0, int(do), 1), "cell_critical")
    for do in (ActionKind.RETURN, ActionKind.LAND)
)
LESS = ActionRequest(Action(Severity.WARNING, ActionKind.REDUCE), (0, 1, 1), "cell_sag", max_a=30.0)
TEXT = "second autopilot of system 1 on the link"
LIMITS = {"MOT_BAT_CURR_MAX": 90.0, "MOT_BAT_CURR_TC": 5.0}
FOUND_S = 12.0  # from the arrival of a second autopilot, with up to 30 % of the frames lost
FOUND_BY_ONE_S = 40.0  # by its place or its board alone
ENDS_S = 15.0  # from its last sign


def over(network: Network, folder: Path | None) -> Flight:
    """A flight whose vehicle is a network."""
    vehicle: Any = network
    return Flight(vehicle, folder)


def doubtful(flight: Flight) -> bool:
    return flight.bridge._autopilot.doubtful


def until_doubt(flight: Flight, most_s: float = FOUND_S) -> float:
    """Fly until there is a doubt; return the time that this took."""
    start_s = flight.now_s
    while not doubtful(flight):
        assert flight.now_s - start_s < most_s
        flight.fly(0.1)
    return flight.now_s - start_s


# One autopilot.


def busy_flight(seed: int, folder: Path) -> tuple[Flight, Station, Network]:
    """One autopilot on several ways, with a busy pilot, restarts and losses of all kinds."""
    random = Random(seed)  # noqa: S311 - a flight
    station = Station(-random.uniform(1.0, 3000.0), 0xAB12)
    station.is_busy = random.random() < 0.5
    station.east_m_s = random.uniform(0.0, 60.0)
    ways = [
        Way(
            random.uniform(0.0, 10.0),
            random.choice([0.0, 0.5, 3.0]),
            random.uniform(0.0, 0.3),
            random.choice([0.0, 0.3]),
        )
        for _ in range(random.choice([1, 2, 2, 3]))
    ]
    network = Network(seed, (station, ways))
    network.lost = random.uniform(0.0, 0.3)
    flight = over(network, folder)
    for _ in range(20):
        flight.fly(random.uniform(1.0, 15.0))
        doing = random.choice(["mode", "mode", "arm", "restart", "jump", "outage", "way"])
        if doing == "mode":
            station.mode = random.choice([GUIDED, LOITER])
        elif doing == "arm":
            station.armed = not station.armed
        elif doing == "restart":
            station.restart(random.choice([0.1, 2.0, 8.0]), GUIDED)
        elif doing == "jump":
            station.north_m += random.uniform(-2000.0, 2000.0)
        elif doing == "outage":
            station.is_there = not station.is_there
        else:
            way = random.choice(ways)
            way.is_open = not way.is_open
    station.is_there = station.armed = True
    for way in ways:
        way.is_open = True
    return flight, station, network


@pytest.mark.parametrize("seed", range(16))
def test_one_autopilot_by_any_ways_is_one_and_is_commanded(tmp_path: Path, seed: int) -> None:
    flight, station, _ = busy_flight(seed, tmp_path)
    flight.fly(20.0)
    flight.requests = (HOME,)
    flight.fly(30.0)
    assert TEXT not in flight.texts()
    assert flight.bridge._autopilot.doubts == 0
    assert station.mode == RTL


def test_one_autopilot_whose_channels_have_another_version_of_mavlink_is_one() -> None:
    watch = SecondAutopilotWatch()
    for number in range(100):  # MAVLink 1 has no uid2
        watch.receive(version(uid=7) if number % 2 else version(uid=7, uid2=9), float(number))
    assert watch.last_sign_s < 0.0


# Two autopilots.


def two(seed: int, folder: Path, *, together: bool = False) -> tuple[Flight, Station, Station]:
    """The vehicle, and a second one that has not arrived."""
    random = Random(seed)  # noqa: S311 - a flight
    ours, other = Station(-random.uniform(50.0, 500.0), 0xAB12, **LIMITS), Station(0.0, 0xCD34)
    apart_s = random.uniform(0.0, 14.0) if together else random.choice([20.0, 31.0, 200.0, 900.0])
    other.start_s = ours.start_s + apart_s * random.choice([-1.0, 1.0])
    if other.start_s > -20.0:
        other.start_s = ours.start_s - apart_s
    other.parameters = {"MOT_BAT_CURR_MAX": 7.0, "MOT_BAT_CURR_TC": 2.0}
    other.mode = LOITER
    other.north_m = random.uniform(100.0, 2000.0)
    other.armed = random.random() < 0.5
    other.phase = random.randrange(10)
    ours.is_busy, other.is_busy = random.random() < 0.5, random.random() < 0.5
    other.is_there = False
    lost = random.uniform(0.0, 0.3)
    ways = [
        [
            Way(
                random.uniform(0.0, 2.0), random.choice([0.0, 0.5]), lost, random.choice([0.0, 0.3])
            )
            for _ in range(random.choice([1, 2]))
        ]
        for _ in range(2)
    ]
    network = Network(seed, (ours, ways[0]), (other, ways[1]))
    network.lost = lost
    flight = over(network, folder)
    flight.fly(40.0)
    assert not doubtful(flight)
    return flight, ours, other


def sets(station: Station) -> int:
    return sum(message.get_type() == "PARAM_SET" for message in station.received)


CASES = [  # what shows the second one, and the seed of the flight
    *(("every sign", seed) for seed in range(10)),
    *((one, seed) for one in ("clock", "place", "board", "answers") for seed in range(4)),
]


@pytest.mark.parametrize(("by", "seed"), CASES)
def test_nothing_is_commanded_while_two_autopilots_have_one_id_and_all_of_it_afterwards(
    tmp_path: Path, by: str, seed: int
) -> None:
    flight, ours, other = two(seed, tmp_path, together=by in ("place", "board"))
    if by in ("clock", "place"):
        other.uid = ours.uid
    if by in ("clock", "board"):
        other.north_m = ours.north_m
    if by == "answers":  # it sends heartbeats alone
        other.is_busy = False
    other.is_there = True
    until_doubt(flight, FOUND_BY_ONE_S if by in ("place", "board") else FOUND_S)
    sent = sets(ours)
    flight.requests = (HOME, LESS)
    for _ in range(60):
        flight.fly(1.0)
        state = flight.bridge.pump(flight.now_s)
        assert doubtful(flight)
        assert (state.armed, state.mode, state.lat_deg, state.plan) == (None,) * 4
        assert state.second_sender == TEXT
    assert ours.commands == other.commands == []
    assert (sets(ours), sets(other)) == (sent, 0)
    assert "RETURN: second autopilot of system 1" in flight.texts()
    other.is_there = False
    flight.fly(ENDS_S + 23.0)
    assert not doubtful(flight)
    while ours.mode != RTL or ours.parameters["MOT_BAT_CURR_MAX"] != 30.0:
        assert flight.now_s < 250.0  # lost requests are repeated
        flight.fly(1.0)
    assert ours.parameters["MOT_BAT_CURR_MAX"] == 30.0
    assert other.commands == []
    assert (other.mode, sets(other)) == (LOITER, 0)


def quiet(folder: Path, **parameters: float) -> tuple[Flight, Station, Station]:
    """Two autopilots on ways without losses; the second one has not arrived."""
    ours, other = Station(-300.0, 0xAB12, **parameters), Station(-100.0, 0xCD34)
    other.mode, other.north_m, other.phase, other.is_there = LOITER, 500.0, 4, False
    flight = over(Network(1, (ours, [Way()]), (other, [Way()])), folder)
    flight.fly(40.0)
    return flight, ours, other


def test_a_second_autopilot_is_found_within_six_seconds(tmp_path: Path) -> None:
    flight, _, other = quiet(tmp_path)
    other.is_there = True
    assert until_doubt(flight) <= 6.0


def test_what_is_due_follows_within_a_step_of_the_end_of_the_doubt_and_once(
    tmp_path: Path,
) -> None:
    flight, ours, other = quiet(tmp_path)
    other.is_there = True
    until_doubt(flight)
    flight.requests = (HOME,)
    flight.fly(10.0)
    other.is_there = False
    while doubtful(flight):
        flight.fly(0.1)
    flight.fly(0.2)
    assert ours.commands == [(20, 0)]
    flight.fly(60.0)
    assert ours.commands == [(20, 0)]
    assert flight.bridge._autopilot.restarts == 0


@pytest.mark.parametrize("lost", [0.0, 0.3])
def test_a_return_that_was_obeyed_before_is_not_repeated_afterwards(
    tmp_path: Path, lost: float
) -> None:
    flight, ours, other = quiet(tmp_path)
    network: Any = flight.vehicle
    flight.requests = (HOME,)
    flight.fly(12.0)
    for _, ways in network.stations:
        ways[0].lost = lost
    for _ in range(2):
        other.is_there = True
        flight.fly(40.0)
        other.is_there = False
        flight.fly(40.0)
    assert ours.commands == [(20, 0)]
    assert other.commands == []


def test_the_heartbeats_of_a_second_autopilot_are_no_pilot_and_a_pilot_meanwhile_is_one(
    tmp_path: Path,
) -> None:
    flight, ours, other = quiet(tmp_path)
    control = flight.bridge.vehicle_control
    assert control is not None
    flight.requests = (HOME,)
    flight.fly(12.0)
    for mode, overridden in ((RTL, False), (GUIDED, True)):
        other.is_there = True
        flight.fly(20.0)
        ours.mode = mode
        flight.fly(5.0)
        other.is_there = False
        flight.fly(25.0)
        assert control.sent is not None
        assert control.sent.overridden == overridden
    assert ours.commands == [(20, 0)]


def test_a_command_that_was_sent_just_before_the_doubt_is_remembered(tmp_path: Path) -> None:
    flight, ours, other = quiet(tmp_path)
    flight.requests = (HOME,)
    flight.fly(3.0)
    other.is_there = True
    until_doubt(flight)
    ours.mode = LOITER  # by its pilot
    flight.fly(5.0)
    other.is_there = False
    flight.fly(60.0)
    assert ours.commands == [(20, 0)]


def test_a_restored_command_is_that_of_the_doubt_after_a_start_in_flight(tmp_path: Path) -> None:
    flight, ours, other = quiet(tmp_path)
    flight.requests = (HOME,)
    flight.fly(12.0)
    state = flight.bridge.state()
    again = over(Network(1, (ours, [Way()]), (other, [Way()])), tmp_path)
    again.now_s, again.requests = flight.now_s, (HOME,)
    again.bridge.restore(state)
    control = again.bridge.vehicle_control
    assert control is not None
    other.is_there = True
    until_doubt(again)
    assert control.sent is not None
    assert control.sent.do is ActionKind.RETURN
    again.fly(20.0)
    other.is_there = False
    again.fly(40.0)
    assert ours.commands == [(20, 0)]


def test_a_second_vehicle_in_the_air_commands_none_that_stands_on_the_ground(
    tmp_path: Path,
) -> None:
    flight, ours, other = quiet(tmp_path)
    ours.armed = False
    flight.fly(10.0)
    flight.requests = (DOWN, HOME)
    flight.fly(5.0)
    other.is_there = True
    flight.fly(60.0)
    assert ours.commands == other.commands == []
    assert ours.mode == GUIDED


def test_an_event_that_a_doubt_outlasts_has_its_landing(tmp_path: Path) -> None:
    flight, ours, other = quiet(tmp_path)
    flight.requests = (HOME,)
    flight.fly(12.0)
    other.is_there = True
    flight.fly(20.0)
    flight.requests = (DOWN, HOME)
    flight.fly(20.0)
    other.is_there = False
    flight.fly(20.0)
    assert ours.mode == LAND
    assert ours.commands == [(20, 0), (21, 0)]


def test_the_values_of_a_second_vehicle_are_never_used(tmp_path: Path) -> None:
    flight, ours, other = quiet(tmp_path, **LIMITS)
    other.parameters = {"MOT_BAT_CURR_MAX": 7.0, "MOT_BAT_CURR_TC": 2.0}
    of_other = dict(other.parameters)
    flight.requests = (LESS,)
    flight.fly(10.0)
    assert ours.parameters["MOT_BAT_CURR_MAX"] == 30.0
    other.is_there = True
    until_doubt(flight)
    flight.requests = ()
    flight.fly(60.0)
    assert ours.parameters["MOT_BAT_CURR_MAX"] == 30.0  # nothing is restored
    other.is_there = False
    flight.fly(60.0)
    assert ours.parameters == LIMITS
    assert other.parameters == of_other


def test_the_doubt_goes_on_while_another_board_alone_is_left(tmp_path: Path) -> None:
    flight, ours, other = quiet(tmp_path)
    other.is_there = True
    until_doubt(flight)
    flight.requests = (HOME,)
    ours.is_there = False
    flight.fly(120.0)
    assert doubtful(flight)
    assert other.commands == []
    other.is_there, ours.is_there = False, True
    flight.fly(30.0)
    assert ours.mode == RTL


def test_reports_of_the_battery_go_on_in_the_doubt(tmp_path: Path) -> None:
    flight, _, other = quiet(tmp_path)
    other.is_there = True
    until_doubt(flight)
    network: Any = flight.vehicle
    network.received.clear()
    flight.fly(10.0)
    kinds = [message.get_type() for message in network.received]
    assert kinds.count("BATTERY_STATUS") >= 18
    requests = {
        (message.command, message.param1)
        for message in network.received
        if message.get_type() == "COMMAND_LONG"
    }
    assert {number for number, _ in requests} <= {511, 512}
    assert not {"PARAM_REQUEST_READ", "PARAM_SET", "MISSION_REQUEST_LIST"} & {*kinds}


def requested(flight: Flight, message_id: int, seconds: float) -> int:
    """Number of the requests for a message in a time."""
    network: Any = flight.vehicle
    network.received.clear()
    flight.fly(seconds)
    commands = [one for one in network.received if one.get_type() == "COMMAND_LONG"]
    return sum((one.command, one.param1) == (512, message_id) for one in commands)


def test_a_service_with_actions_alone_lets_autopilots_identify_themselves(tmp_path: Path) -> None:
    flight, _, other = quiet(tmp_path)
    assert [requested(flight, message_id, 12.0) for message_id in (33, 148)] == [6, 2]
    other.is_there = True
    until_doubt(flight)
    assert [requested(flight, message_id, 12.0) for message_id in (33, 148)] == [24, 24]
    watching = over(Network(1, (Station(-300.0, 1), [Way()])), None)
    watching.fly(20.0)
    assert [requested(watching, message_id, 12.0) for message_id in (33, 148)] == [0, 0]


def test_a_doubt_before_the_first_heartbeat_ends() -> None:
    flight, ours, other = quiet_without_heartbeats()
    flight.fly(5.0)
    assert doubtful(flight)
    other.is_there = False
    flight.fly(30.0)
    assert not doubtful(flight)
    ours.sends_heartbeats = True
    flight.fly(5.0)
    assert flight.bridge.pump(flight.now_s).armed


def quiet_without_heartbeats() -> tuple[Flight, Station, Station]:
    ours, other = Station(-300.0, 0xAB12), Station(-100.0, 0xCD34)
    ours.sends_heartbeats = other.sends_heartbeats = False
    other.phase = 4
    vehicle: Any = Network(1, (ours, [Way()]), (other, [Way()]))
    return Flight(vehicle, None, system_id=1), ours, other


# Signs.


def clock(boot_s: float) -> mavlink.MAVLink_message:
    return mavlink.MAVLink_system_time_message(0, round(boot_s * 1000))


def place(boot_s: float, north_m: float, lon_deg: float = 10.0) -> mavlink.MAVLink_message:
    lat_raw = round((1.0 + north_m / 111_195.0) * 1e7)
    lon_raw = round(lon_deg * 1e7)
    return mavlink.MAVLink_global_position_int_message(
        round(boot_s * 1000), lat_raw, lon_raw, 0, 0, 0, 0, 0, 0
    )


def version(uid: int = 0, uid2: int = 0) -> mavlink.MAVLink_message:
    zeros = [0] * 8
    return mavlink.MAVLink_autopilot_version_message(
        *(0, 0, 0, 0, 0, zeros, zeros, zeros, 0, 0, uid, [uid2, *[0] * 17])
    )


@pytest.mark.parametrize(
    ("times_s", "sign"),
    [
        ([100.0, 85.0], False),  # late by the slowest way
        ([100.0, 84.9], True),
        ([100.0, 15.0], False),  # just started: frames from before are under way
        ([100.0, 15.1], True),
        ([100.0, 500.0], False),  # after a loss
        ([100.0, 0.0, 100.0], False),  # it has no time
    ],
)
def test_a_clock_that_goes_back_is_a_sign(times_s: list[float], *, sign: bool) -> None:
    watch = SecondAutopilotWatch()
    for boot_s in times_s:
        watch.receive(clock(boot_s), 7.0)
    assert (watch.last_sign_s == 7.0) == sign


@pytest.mark.parametrize(
    ("places", "sign"),
    [
        ([(50.0, 0.0), (50.0, 29.9)], False),
        ([(50.0, 0.0), (50.0, 31.0)], True),
        ([(50.0, 0.0), (50.5, 79.0)], False),  # 100 m/s
        ([(50.0, 0.0), (50.5, 82.0)], True),
        ([(50.0, 0.0), (51.1, 900.0)], False),  # not near in time
        ([(50.0, 0.0), (51.0, 900.0), (50.9, 900.0)], True),  # one jump, and what is late after it
        ([(50.0, 0.0), (50.5, 0.0), (50.2, 900.0)], True),
        ([(50.5, 0.0), (50.2, 0.0)], False),
        ([(35.1, 0.0), (35.1, 900.0)], True),
        ([(35.0, 0.0), (35.0, 900.0)], False),  # the run before may have the same time
    ],
)
def test_a_place_far_from_all_near_ones_is_a_sign(
    places: list[tuple[float, float]], *, sign: bool
) -> None:
    watch = SecondAutopilotWatch()
    for number, (boot_s, north_m) in enumerate(places):
        watch.receive(place(boot_s, north_m), float(number))
    assert (watch.last_sign_s > 0.0) == sign


def test_what_comes_late_after_a_jump_is_no_further_sign() -> None:
    watch = SecondAutopilotWatch()
    for boot_s, north_m in ((50.0, 0.0), (50.5, 0.0), (51.0, 900.0), (51.5, 900.0)):
        watch.receive(place(boot_s, north_m), boot_s)
    assert watch.last_sign_s == 51.0
    for boot_s, north_m in ((50.1, 0.0), (50.6, 0.0), (50.9, 900.0), (51.4, 900.0)):
        watch.receive(place(boot_s, north_m), boot_s + 10.0)
    assert watch.last_sign_s == 51.0


def test_a_place_beyond_the_180th_meridian_and_one_that_is_not_known_are_no_signs() -> None:
    watch = SecondAutopilotWatch()
    watch.receive(place(50.0, 0.0, 179.99999), 1.0)
    watch.receive(place(50.1, 0.0, -179.99999), 1.1)
    unknown = mavlink.MAVLink_global_position_int_message(50_200, 0, 0, 0, 0, 0, 0, 0, 0)
    watch.receive(unknown, 1.2)
    assert watch.last_sign_s < 0.0


def test_a_position_is_compared_for_twenty_seconds() -> None:
    for after_s, sign in ((20.0, True), (20.1, False)):
        watch = SecondAutopilotWatch()
        watch.receive(place(50.0, 0.0), 1.0)
        watch.receive(place(50.0, 900.0), 1.0 + after_s)
        assert (watch.last_sign_s > 0.0) == sign


@pytest.mark.parametrize(("number", "of"), [(3, "clock"), (6, "place"), (3, "board")])
def test_a_doubt_begins_with_its_number_of_signs_within_twenty_seconds(
    number: int, of: str
) -> None:
    for pause_s, found in ((20.0 / (number - 1), True), (20.1 / (number - 1), False)):
        watch = SecondAutopilotWatch()
        for step in range(4 * number):
            t_s = pause_s * step
            if of == "clock":  # the later one always just before
                watch.receive(clock(900.0 + t_s), t_s)
                watch.receive(clock(100.0 + t_s), t_s)
            elif of == "place":
                watch.receive(place(50.0 + 10.0 * step, 0.0), t_s)
                watch.receive(place(50.0 + 10.0 * step, 900.0), t_s)
            else:
                watch.receive(version(uid2=step % 2 + 1), t_s)
        last_s = pause_s * (4 * number - 1)
        assert watch.last_sign_s == last_s
        assert watch.is_doubtful(last_s) == watch.is_doubtful(last_s + ENDS_S) == found
        assert not watch.is_doubtful(last_s + ENDS_S + 0.1)


def test_a_board_that_is_replaced_is_the_vehicle_in_a_later_doubt() -> None:
    watch = SecondAutopilotWatch()
    for t_s in range(50):
        watch.receive(version(uid2=1), float(t_s))
    for t_s in range(50, 100):
        watch.receive(version(uid2=2), float(t_s))
    assert watch.last_sign_s == 50.0
    for t_s in range(100, 110):
        watch.receive(version(uid2=2 + t_s % 2), float(t_s))
    assert watch.is_doubtful(110.0)
    for t_s in range(110, 130):
        watch.receive(version(uid2=3), float(t_s))
    assert watch.is_doubtful(130.0)
    for t_s in range(130, 150):
        watch.receive(version(uid2=2), float(t_s))
    assert not watch.is_doubtful(150.0)


def test_a_board_without_a_unique_id_is_no_sign() -> None:
    watch = SecondAutopilotWatch()
    for t_s in range(10):
        watch.receive(version(uid2=t_s % 2), float(t_s))
    assert watch.last_sign_s < 0.0

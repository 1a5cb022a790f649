# SPDX-License-Identifier: Apache-2.0
"""Which messages are requested of the autopilot, how often, and when no more."""

from collections.abc import Iterable

import pytest
from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.requests import MessageRequester, command, result_label

SET_INTERVAL, REQUEST = 511, 512
# Message, and its interval in us; None: once.
REQUESTED = {
    148: None, 147: 500_000, 33: 500_000, 242: None, 245: 1_000_000, 42: 1_000_000, 168: 1_000_000,
}  # fmt: skip
ZEROS = [0] * 8
MESSAGES = {
    148: mavlink.MAVLink_autopilot_version_message(0, 1, 0, 0, 0, ZEROS, ZEROS, ZEROS, 0, 0, 0),
    147: mavlink.MAVLink_battery_status_message(0, 0, 1, 2500, [4000] * 10, 100, 0, 0, 50),
    33: mavlink.MAVLink_global_position_int_message(0, 1, 1, 0, 0, 0, 0, 0, 0),
    242: mavlink.MAVLink_home_position_message(1, 1, 0, 0, 0, 0, [1, 0, 0, 0], 0, 0, 0),
    245: mavlink.MAVLink_extended_sys_state_message(0, 1),
    42: mavlink.MAVLink_mission_current_message(1),
}
# WIND is not in the common dialect, so that no codec packs it: it never comes here.


def by_wire(message: mavlink.MAVLink_message) -> mavlink.MAVLink_message:
    return mavlink.MAVLink(None).decode(bytearray(message.pack(mavlink.MAVLink(None, 1, 1))))


class Bench:
    """A requester and its autopilot."""

    def __init__(self) -> None:
        self.requester, self.autopilot = MessageRequester(), Autopilot()

    def beat(self, now_s: float, *others: int, status: int = 4) -> None:
        """A heartbeat and other messages come."""
        heartbeat = mavlink.MAVLink_heartbeat_message(2, 3, 1, 4, status, 3)
        for message in (heartbeat, *(MESSAGES[number] for number in others)):
            self.autopilot.receive(by_wire(message), now_s)

    def due(self, now_s: float) -> dict[int, float | None]:
        """What is requested now, with its interval."""
        found: dict[int, float | None] = {}
        for one in self.requester.due(self.autopilot, now_s):
            assert (one.target_system, one.target_component) == (1, 1)
            assert one.command in (SET_INTERVAL, REQUEST)
            found[int(one.param1)] = one.param2 if one.command == SET_INTERVAL else None
        return found


def run(bench: Bench, times_s: Iterable[float], *others: int) -> dict[int, list[float]]:
    """Times of the requests by message, with a heartbeat in each step."""
    found: dict[int, list[float]] = {}
    for now_s in times_s:
        bench.beat(now_s, *others)
        for number in bench.due(now_s):
            found.setdefault(number, []).append(now_s)
    return found


def test_all_are_requested_at_the_first_heartbeat() -> None:
    bench = Bench()
    assert bench.due(0.0) == {}
    bench.beat(1.0)
    assert bench.due(1.0) == REQUESTED
    assert bench.due(1.1) == {}


def test_a_request_is_repeated_each_three_seconds_some_after_three_times_once_a_minute() -> None:
    found = run(Bench(), range(150))
    always = [float(t_s) for t_s in range(0, 150, 3)]
    for number in (148, 147, 33, 242):
        assert found[number] == always
    for number in (245, 42, 168):  # not every autopilot sends them, and each request may be lost
        assert found[number] == [0.0, 3.0, 6.0, 66.0, 126.0]


def test_what_comes_is_requested_no_more_and_again_once_it_is_missed_three_times() -> None:
    bench = Bench()
    run(bench, range(3))
    assert set(run(bench, range(3, 20), *MESSAGES)) <= {168}
    # The last ones came at 19 s: those of 0.5 s are missed from 20.5 s, those of 1 s from 22 s.
    found = run(bench, [19.5, 20.4, 20.6, 21.5, 21.9, 22.1, 23.0])
    assert found == {147: [20.6], 33: [20.6], 245: [22.1], 42: [22.1]}


@pytest.mark.parametrize(("silent_s", "requests"), [(1.39, True), (1.41, False)])
def test_nothing_is_requested_while_the_heartbeat_is_late(
    silent_s: float, *, requests: bool
) -> None:
    bench = Bench()
    bench.beat(10.0)
    assert bool(bench.due(10.0 + silent_s)) == requests


def test_after_a_restart_all_is_requested_again_also_what_comes_meanwhile() -> None:
    bench = Bench()
    run(bench, range(10), *MESSAGES)
    for boot_ms, now_s in ((500_000, 10.0), (1_000, 10.2), (1_400, 10.6)):
        clock = mavlink.MAVLink_system_time_message(0, boot_ms)
        bench.autopilot.receive(by_wire(clock), now_s)
    assert bench.autopilot.restarts == 1
    bench.beat(10.8, 147, 33, 245, 42)
    assert bench.due(10.8) == REQUESTED
    bench.beat(11.0, *MESSAGES)
    assert bench.due(11.0) == {}


def test_parameters_of_a_command_that_are_not_given_are_0() -> None:
    one = command(7, 20, 1, 2.5, attempt=3)
    assert (one.target_system, one.target_component, one.command) == (7, 1, 20)
    assert one.confirmation == 3
    parameters = [getattr(one, f"param{k}") for k in range(1, 8)]
    assert parameters == [1.0, 2.5, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert command(7, 20).confirmation == 0


@pytest.mark.parametrize(
    ("result", "label"),
    [
        (0, "accepted"),
        (1, "temporarily rejected"),
        (5, "in progress"),
        (77, "result 77"),
    ],
)
def test_a_result_is_in_words(result: int, label: str) -> None:
    assert result_label(result) == label

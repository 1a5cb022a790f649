# SPDX-License-Identifier: Apache-2.0
"""Each bound of what a request may change, and the fields of each answer; no sockets."""

import math
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.schedule import MessageSchedule
from mavlink_bridge.vehicle.command_protocol import (
    CommandServer,
    Settings,
    acknowledgement,
    changes_setting,
    pong,
)

HEARTBEAT, STATUS, INFO, DATA = 0, 147, 370, 372
ACCEPTED, TEMPORARILY_REJECTED, DENIED, UNSUPPORTED = 0, 1, 2, 3
SET_INTERVAL, GET_INTERVAL, REQUEST = 511, 510, 512
COMPONENT, OTHER = 180, 181


def received(message: Any, sender: tuple[int, int] = (255, 190)) -> Any:  # noqa: ANN401 - messages
    """A message as it comes from a link."""
    return mavlink.MAVLink(None).decode(bytearray(message.pack(mavlink.MAVLink(None, *sender))))


class Server:
    """A server of two components; the first has two batteries."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - of the bridge
        self.settings = Settings(**settings)
        self.server = CommandServer(self.settings)
        self.own = [MessageSchedule(self.server.default_periods_s()) for _ in range(2)]
        self.others = [MessageSchedule(self.server.default_periods_s())]
        self.server.schedules = {COMPONENT: self.own, OTHER: self.others}

    def answers(
        self,
        message: Any,  # noqa: ANN401 - a message
        *,
        withheld: str | None = None,
        refused: bool = False,
    ) -> list[Any]:
        """Answers to a message."""
        return self.server.answer(received(message), COMPONENT, withheld, refused=refused)

    def command(self, number: int, *values: float, **how: Any) -> list[Any]:  # noqa: ANN401 - see answers
        """Answers to a command."""
        padded = [*values, *[0.0] * (7 - len(values))]
        return self.answers(
            mavlink.MAVLink_command_long_message(1, COMPONENT, number, 0, *padded), **how
        )

    def periods_s(self, message_id: int) -> list[float | None]:
        """Period of a message, of each schedule."""
        return [one.periods_s[message_id] for one in (*self.own, *self.others)]

    def set(self, name: bytes, value: float, *, refused: bool = False) -> float:
        """Set a parameter; return the value of the answer."""
        message = mavlink.MAVLink_param_set_message(1, COMPONENT, name, value, 9)
        (answer,) = self.answers(message, refused=refused)
        return float(answer.param_value)


def test_a_message_has_its_default_period_until_a_command_changes_it() -> None:
    expected = {HEARTBEAT: 1.0, STATUS: 0.5, INFO: 10.0, DATA: None}
    assert Server().server.default_periods_s() == expected
    assert Server(rate_hz=5.0).server.default_periods_s() == expected | {STATUS: 0.2}


OFF_S = -1e-6
INTERVALS = [  # message, seconds, period of it if it is accepted
    *[(message, 0.1, 0.1) for message in (HEARTBEAT, STATUS, INFO, DATA)],
    *[(message, 0.0999, DENIED) for message in (HEARTBEAT, STATUS, INFO, DATA)],
    *[(message, 1.0, 1.0) for message in (HEARTBEAT, STATUS, INFO, DATA)],
    *[(message, 1.0001, DENIED) for message in (HEARTBEAT, STATUS)],
    *[(message, 3600.0, 3600.0) for message in (INFO, DATA)],
    *[(message, OFF_S, DENIED) for message in (HEARTBEAT, STATUS)],
    *[(message, OFF_S, None) for message in (INFO, DATA)],
    *[(message, 2 * OFF_S, DENIED) for message in (HEARTBEAT, STATUS, INFO, DATA)],
    *[(message, math.nan, DENIED) for message in (HEARTBEAT, STATUS, INFO, DATA)],
    *[(message, math.inf, DENIED) for message in (HEARTBEAT, STATUS, INFO, DATA)],
    *[(message, 1e-6, DENIED) for message in (HEARTBEAT, STATUS, INFO, DATA)],
]


@pytest.mark.parametrize(("message_id", "seconds", "period_s"), INTERVALS)
def test_an_interval_is_set_within_its_bounds_on_this_component_alone(
    message_id: int, seconds: float, period_s: float | None
) -> None:
    server = Server()
    before = server.periods_s(message_id)
    (answer,) = server.command(SET_INTERVAL, message_id, seconds * 1e6)
    if period_s == DENIED:
        assert answer.result == DENIED
        assert server.periods_s(message_id) == before
        return
    assert answer.result == ACCEPTED
    expected = None if period_s is None else pytest.approx(period_s)
    assert server.periods_s(message_id) == [expected, expected, before[2]]
    assert [one.due(message_id, 5.0) for one in server.own] == [period_s is not None] * 2
    # 0 is the default again.
    assert server.command(SET_INTERVAL, message_id, 0.0)[0].result == ACCEPTED
    assert server.periods_s(message_id) == before


@pytest.mark.parametrize(
    ("message_id", "interval_us"),
    [(HEARTBEAT, 1_000_000), (STATUS, 500_000), (INFO, 10_000_000), (DATA, -1), (30, 0)],
)
def test_an_interval_is_reported_with_its_message(message_id: int, interval_us: int) -> None:
    acknowledged, answer = Server().command(GET_INTERVAL, message_id)
    assert acknowledged.result == ACCEPTED
    assert (answer.message_id, answer.interval_us) == (message_id, interval_us)


@pytest.mark.parametrize("withheld", [None, "charge unknown"])
@pytest.mark.parametrize("message_id", [HEARTBEAT, STATUS, INFO, DATA, 1, 148, -1])
def test_a_requested_message_is_due_once(message_id: int, withheld: str | None) -> None:
    server = Server()
    for schedule in (*server.own, *server.others):
        for each in schedule.periods_s:
            schedule.due(each, 5.0)
    (answer,) = server.command(REQUEST, message_id, withheld=withheld)
    if message_id not in server.own[0].periods_s:
        assert answer.result == UNSUPPORTED
        return
    delayed = withheld is not None and message_id != HEARTBEAT
    assert answer.result == (TEMPORARILY_REJECTED if delayed else ACCEPTED)
    for schedule, due in zip((*server.own, *server.others), (True, True, False), strict=True):
        assert [schedule.due(message_id, 5.01) for _ in range(2)] == [due, False]
        assert not any(schedule.due(each, 5.01) for each in schedule.periods_s)


@pytest.mark.parametrize(
    ("name", "least", "most", "default"),
    [(b"BMS_RATE_HZ", 1.0, 10.0, 2.0), (b"BMS_ID", -1.0, 250.0, -1.0), (b"BMS_ACT", 0.0, 1.0, 1.0)],
)
def test_a_setting_has_its_bounds(name: bytes, least: float, most: float, default: float) -> None:
    for value, expected in (
        (least, least), (most, most), (least - 0.01, default), (most + 0.01, default),
        (math.nan, default), (math.inf, default), (-math.inf, default),
    ):  # fmt: skip
        assert Server().set(name, value) == expected
        assert Server().set(name, value, refused=True) == default


def test_a_whole_setting_takes_no_fraction_and_a_rate_does() -> None:
    assert Server().set(b"BMS_ID", 6.6) == -1.0
    assert Server().set(b"BMS_ACT", 0.4) == 1.0
    assert Server().set(b"BMS_RATE_HZ", 2.5) == 2.5
    server = Server()
    server.set(b"BMS_ACT", 0.0)
    server.set(b"BMS_ID", 6.0)
    assert server.settings == Settings(2.0, 6, acting_enabled=False)
    assert isinstance(server.settings.first_battery_id, int)
    assert server.periods_s(STATUS) == [0.5] * 3


def test_a_new_rate_is_that_of_every_component_and_of_battery_status_alone() -> None:
    server = Server()
    del server.others[0].periods_s[STATUS]  # a component without a battery
    server.set(b"BMS_RATE_HZ", 4.0)
    assert [one.periods_s[STATUS] for one in server.own] == [0.25] * 2
    assert STATUS not in server.others[0].periods_s
    assert server.periods_s(INFO) == [10.0] * 3


def test_ids_of_the_configuration_are_not_changed() -> None:
    assert Server(ids_are_fixed=True).set(b"BMS_ID", 7.0) == -1.0
    assert Server(ids_are_fixed=True).set(b"BMS_RATE_HZ", 7.0) == 7.0
    assert Server(ids_are_fixed=True).set(b"BMS_ACT", 0.0) == 0.0


NAMES = ["BMS_RATE_HZ", "BMS_ID", "BMS_ACT"]


@pytest.mark.parametrize(
    ("name", "index", "expected"),
    [
        (b"", 0, NAMES[:1]),
        (b"", 1, NAMES[1:2]),
        (b"", 2, NAMES[2:]),
        (b"BMS_ACT", 0, NAMES[:1]),  # the index comes first
        (b"BMS_ACT", 3, NAMES[2:]),
        (b"BMS_ACT", -1, NAMES[2:]),
        (b"", 3, []),
        (b"", -1, []),
        (b"BMS_AC", -1, []),
    ],
)
def test_a_setting_is_read_by_its_index_or_its_name(
    name: bytes, index: int, expected: list[str]
) -> None:
    request = mavlink.MAVLink_param_request_read_message(1, COMPONENT, name, index)
    found = Server().answers(request)
    assert [received(one).param_id for one in found] == expected
    assert [one.param_index for one in found] == [NAMES.index(one) for one in expected]


def test_the_list_has_every_setting_once() -> None:
    found = Server(acting_enabled=False).answers(
        mavlink.MAVLink_param_request_list_message(1, COMPONENT)
    )
    rows = [(received(m).param_id, m.param_index, m.param_count, m.param_value) for m in found]
    assert rows == [(NAMES[0], 0, 3, 2.0), (NAMES[1], 1, 3, -1.0), (NAMES[2], 2, 3, 0.0)]
    assert {one.param_type for one in found} == {mavlink.MAV_PARAM_TYPE_REAL32}


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (mavlink.MAVLink_command_long_message(1, 180, 511, 0, 0, 0, 0, 0, 0, 0, 0), True),
        (mavlink.MAVLink_command_int_message(1, 180, 0, 511, 0, 0, 0, 0, 0, 0, 0, 0, 0), True),
        (mavlink.MAVLink_command_long_message(1, 180, 510, 0, 0, 0, 0, 0, 0, 0, 0), False),
        (mavlink.MAVLink_command_long_message(1, 180, 512, 0, 0, 0, 0, 0, 0, 0, 0), False),
        (mavlink.MAVLink_param_set_message(1, 180, b"BMS_ACT", 0.0, 9), True),
        (mavlink.MAVLink_param_request_list_message(1, 180), False),
        (mavlink.MAVLink_param_request_read_message(1, 180, b"BMS_ACT", -1), False),
    ],
)
def test_a_request_that_changes_a_setting_is_known(message: Any, *, changes: bool) -> None:  # noqa: ANN401 - a message
    assert changes_setting(message) is changes
    server = Server()
    before = (server.periods_s(HEARTBEAT), Settings())
    server.answers(message, refused=True)
    assert (server.periods_s(HEARTBEAT), server.settings) == before


@pytest.mark.parametrize(
    ("number", "result"), [(SET_INTERVAL, DENIED), (GET_INTERVAL, ACCEPTED), (REQUEST, ACCEPTED)]
)
def test_a_refused_sender_still_reads(number: int, result: int) -> None:
    server = Server()
    assert server.command(number, STATUS, 200_000.0, refused=True)[0].result == result
    assert server.periods_s(STATUS) == [0.5] * 3


def test_an_answer_is_addressed_to_the_sender() -> None:
    command = received(
        mavlink.MAVLink_command_long_message(1, 180, 512, 0, 0, 0, 0, 0, 0, 0, 0), (77, 5)
    )
    answer = acknowledgement(command, 2, progress=9)
    assert (answer.command, answer.result, answer.progress, answer.result_param2) == (512, 2, 9, 0)
    assert (answer.target_system, answer.target_component) == (77, 5)
    assert acknowledgement(command, 2).progress == 0
    ping = pong(received(mavlink.MAVLink_ping_message(123_456, 42, 0, 0), (77, 5)))
    assert (ping.time_usec, ping.seq) == (123_456, 42)
    assert (ping.target_system, ping.target_component) == (77, 5)

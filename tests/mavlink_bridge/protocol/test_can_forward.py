# SPDX-License-Identifier: Apache-2.0
"""CAN frames that the autopilot forwards over the link of the vehicle."""

import os
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.bridge import Bridge
from mavlink_bridge.protocol.can_forward import CanForward
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, FakeVehicle, Flight
from tests.mavlink_bridge.vehicle.test_battery_id import flying

FORWARD = mavlink.MAV_CMD_CAN_FORWARD
EXTENDED = 0x80000000


def _frame(can_id: int, data: bytes, *, bus: int = 0, length: int | None = None) -> Any:  # noqa: ANN401 - a message
    size = len(data) if length is None else length
    return mavlink.MAVLink_can_frame_message(
        1, 191, bus, size, can_id, list(data) + [0] * (8 - len(data))
    )


def _sent(vehicle: FakeVehicle, kind: str) -> list[Any]:
    return [one for one in vehicle.received if one.get_type() == kind]


@pytest.fixture
def flight() -> Flight:
    return Flight(FakeVehicle(ARDUPILOT), None)


def test_forwarding_is_requested_once_a_second_with_the_filter(flight: Flight) -> None:
    port = flight.bridge.can_port()
    port.filter = (1, 341, 1092)

    flight.fly(10.0)

    requests = [one for one in _sent(flight.vehicle, "COMMAND_LONG") if one.command == FORWARD]
    filters = _sent(flight.vehicle, "CAN_FILTER_MODIFY")
    assert len(requests) == len(filters) == pytest.approx(10, abs=1)
    assert {one.param1 for one in requests} == {1.0}
    assert {(one.bus, one.operation, one.num_ids) for one in filters} == {(1, 0, 3)}
    assert filters[0].ids == [1, 341, 1092] + [0] * 13
    assert port.trouble is None


def test_nothing_is_requested_without_a_port(flight: Flight) -> None:
    flight.vehicle.emit(_frame(EXTENDED | 1, b"x"))
    flight.fly(3.0)

    assert flight.bridge.can is None
    assert not [one for one in _sent(flight.vehicle, "COMMAND_LONG") if one.command == FORWARD]


def test_frames_are_sent_as_they_are_in_their_order_and_not_more_than_fit(flight: Flight) -> None:
    port = flight.bridge.can_port()
    flight.fly(2.0)
    rows = [(number, bytes(range(number % 9))) for number in range(20)]

    port.outbox.extend(rows)
    flight.bridge.pump(flight.now_s)
    at_once = len(_sent(flight.vehicle, "CAN_FRAME"))
    flight.fly(0.3)

    assert at_once == 16
    sent = _sent(flight.vehicle, "CAN_FRAME")
    assert [(one.id, bytes(one.data[: one.len])) for one in sent] == [
        (EXTENDED | can_id, data) for can_id, data in rows
    ]
    assert {(one.bus, one.target_system, one.target_component) for one in sent} == {(0, 1, 1)}


def test_extended_frames_of_the_bus_are_received_and_no_others(flight: Flight) -> None:
    port = flight.bridge.can_port()
    flight.fly(2.0)

    flight.vehicle.emit(_frame(EXTENDED | 0x1404442A, b"abc"))
    flight.vehicle.emit(_frame(0x123, b"standard"))
    flight.vehicle.emit(_frame(EXTENDED | 7, b"other", bus=1))
    flight.vehicle.emit(_frame(EXTENDED | 8, b"too long", length=200))
    flight.fly(0.3)

    assert list(port.received) == [(0x1404442A, b"abc"), (8, b"too long")]


def test_frames_of_another_system_are_not_received(flight: Flight) -> None:
    port = flight.bridge.can_port()
    flight.fly(2.0)

    codec = mavlink.MAVLink(None, 9, 1)
    flight.vehicle._out.append(bytes(_frame(EXTENDED | 7, b"x").pack(codec)))
    flight.fly(0.3)

    assert list(port.received) == []


def test_without_a_heartbeat_nothing_is_sent_and_nothing_sent_late(flight: Flight) -> None:
    port = flight.bridge.can_port()
    flight.fly(2.0)
    flight.vehicle.sends_heartbeats = False
    flight.fly(10.0)
    before = len(_sent(flight.vehicle, "CAN_FRAME"))

    port.outbox.append((7, b"old"))
    flight.fly(2.0)
    assert port.trouble == "no heartbeat of the autopilot"
    flight.vehicle.sends_heartbeats = True
    flight.fly(3.0)

    assert port.trouble is None
    assert len(_sent(flight.vehicle, "CAN_FRAME")) == before


@pytest.mark.parametrize(
    ("result", "trouble"),
    [(0, None), (3, "the autopilot does not forward its CAN bus 1")],
)
def test_an_autopilot_that_refuses_is_named(
    flight: Flight, result: int, trouble: str | None
) -> None:
    port = flight.bridge.can_port()
    flight.vehicle.answers = False
    flight.fly(2.0)

    flight.vehicle.emit(mavlink.MAVLink_command_ack_message(400, 4))
    flight.vehicle.emit(mavlink.MAVLink_command_ack_message(FORWARD, result))
    flight.fly(0.3)

    assert port.trouble == trouble


def test_the_port_is_made_once() -> None:
    bridge = Bridge(FakeVehicle(ARDUPILOT))

    assert bridge.can_port() is bridge.can_port()


class Bench:
    """The frames alone, at chosen times."""

    def __init__(self, bus: int = 0) -> None:
        self.can, self.autopilot = CanForward(bus), flying(ARDUPILOT)

    def at(self, now_s: float) -> list[Any]:
        """Messages of a time."""
        return list(self.can.due(self.autopilot, now_s))


def test_the_command_names_the_bus_from_one_and_has_no_other_parameter() -> None:
    for bus in (0, 1):
        bench = Bench(bus)
        bench.can.filter = range(20)
        command, chosen = bench.at(0.0)
        parameters = [getattr(command, f"param{k}") for k in range(1, 8)]
        assert parameters == [bus + 1, 0, 0, 0, 0, 0, 0]
        assert (command.target_system, command.target_component) == (1, 1)
        assert (command.command, command.confirmation) == (FORWARD, 0)
        assert (chosen.bus, chosen.num_ids, list(chosen.ids)) == (bus + 1, 16, [*range(16)])


def test_the_command_is_repeated_each_second() -> None:
    bench = Bench()
    times_s = (0.0, 0.9, 1.0, 1.9, 2.0)
    assert [t_s for t_s in times_s if bench.at(t_s)] == [0.0, 1.0, 2.0]


def test_sixteen_frames_leave_at_once_padded_to_eight_bytes() -> None:
    bench = Bench(1)
    bench.at(0.0)
    bench.can.outbox.extend((number, bytes([number])) for number in range(20))
    first, second = bench.at(0.1), bench.at(0.2)
    assert (len(first), len(second)) == (16, 4)
    for number, frame in enumerate([*first, *second]):
        assert (frame.bus, frame.len, frame.id) == (1, 1, EXTENDED | number)
        assert list(frame.data) == [number, *[0] * 7]


def test_the_newest_256_frames_wait_in_each_direction() -> None:
    bench = Bench()
    for number in range(300):
        bench.can.receive(_frame(EXTENDED | number, b"ab"))
        bench.can.outbox.append((number, b""))
    assert [can_id for can_id, _ in bench.can.received] == [*range(44, 300)]
    assert len(bench.can.outbox) == 256
    assert os.eventfd_read(bench.can.readable) == 300  # one for each


@pytest.mark.parametrize(
    ("can_id", "bus", "taken"),
    [(EXTENDED | 0x1FFFFFFF, 0, True), (0x1FFFFFFF, 0, False), (EXTENDED | 1, 1, False)],
)
def test_an_extended_frame_of_this_bus_is_received_with_its_length(
    can_id: int, bus: int, *, taken: bool
) -> None:
    bench = Bench()
    bench.can.receive(_frame(can_id, b"abc", bus=bus))
    bench.can.receive(_frame(can_id, b"12345678", bus=bus, length=9))
    expected = [(0x1FFFFFFF, b"abc"), (0x1FFFFFFF, b"12345678")]
    assert list(bench.can.received) == (expected if taken else [])


@pytest.mark.parametrize(
    ("command", "result", "refused"),
    [
        (FORWARD, 0, False),
        (FORWARD, 2, True),
        (FORWARD, 4, True),
        (FORWARD - 1, 2, False),
        (FORWARD + 1, 2, False),
    ],
)
def test_an_answer_to_the_command_alone_refuses(
    command: int, result: int, *, refused: bool
) -> None:
    bench = Bench(1)
    assert bench.can.trouble == "no heartbeat of the autopilot"
    bench.can.receive(mavlink.MAVLink_command_ack_message(command, result))
    bench.at(0.0)
    text = "the autopilot does not forward its CAN bus 2"
    assert bench.can.trouble == (text if refused else None)
    bench.can.receive(mavlink.MAVLink_command_ack_message(FORWARD, 0))
    bench.at(0.1)
    assert bench.can.trouble is None
    bench.can.outbox.append((1, b""))
    assert bench.at(9.0) == []  # the heartbeat is old
    assert (bench.can.trouble, len(bench.can.outbox)) == ("no heartbeat of the autopilot", 0)

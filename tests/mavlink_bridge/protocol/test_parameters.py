# SPDX-License-Identifier: Apache-2.0
"""Client of the parameter protocol: what is sent when, and what an answer changes."""

import math
import struct

import pytest
from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.parameters import Parameters, same

INT8, INT16, UINT32, INT32, REAL32 = 2, 4, 5, 6, 9  # MAV_PARAM_TYPE


def by_wire(message: mavlink.MAVLink_message) -> mavlink.MAVLink_message:
    return mavlink.MAVLink(None).decode(bytearray(message.pack(mavlink.MAVLink(None, 1, 1))))


def value(name: str, number: float, kind: int = REAL32) -> mavlink.MAVLink_message:
    return by_wire(mavlink.MAVLink_param_value_message(name.encode(), number, kind, 9, 1))


def bits(code: str, number: int) -> float:
    """The float that has the bits of an integer."""
    return float(struct.unpack("<f", struct.pack(code, number))[0])


def sent(parameters: Parameters, now_s: float, *, bytewise: bool = False) -> list[tuple[str, str]]:
    found = [by_wire(one) for one in parameters.due(1, now_s, bytewise=bytewise)]
    return [(one.get_type().removeprefix("PARAM_"), one.param_id) for one in found]


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1.0, 1.0, True), (0.0, 9e-7, True), (0.0, 2e-6, False), (1e6, 1e6 + 0.9, True),
        (1e6, 1e6 + 3.0, False), (0.1, struct.unpack("<f", struct.pack("<f", 0.1))[0], True),
        (1.0, 1.001, False), (-1.0, 1.0, False),
    ],
)  # fmt: skip
def test_values_are_the_same_to_the_resolution_of_the_wire(
    one: float, other: float, *, equal: bool
) -> None:
    assert same(one, other) is equal
    assert same(other, one) is equal


def test_a_read_is_sent_four_times_a_second_apart_and_pending_a_second_longer() -> None:
    parameters = Parameters()
    parameters.read("B", "A")
    times_s = (0.0, 0.9, 1.0, 1.9, 2.0, 3.0, 3.9)
    found = {t_s: one for t_s in times_s if (one := sent(parameters, t_s))}
    both = [("REQUEST_READ", "A"), ("REQUEST_READ", "B")]
    assert found == {0.0: both, 1.0: both, 2.0: both, 3.0: both}
    assert parameters.pending() == {"A", "B"}  # the last one may be answered
    assert sent(parameters, 4.0) == []
    assert parameters.pending() == frozenset()
    assert parameters.requested() == {"A", "B"}
    assert sent(parameters, 99.0) == []
    parameters.read("A")
    assert sent(parameters, 99.0) == [("REQUEST_READ", "A")]


def test_another_pause_between_tries_is_used() -> None:
    parameters = Parameters(0.25)
    parameters.read("A")
    assert [len(sent(parameters, t_s)) for t_s in (0.0, 0.2, 0.25, 0.5)] == [1, 0, 1, 1]


def test_a_request_is_addressed_to_the_autopilot_by_name() -> None:
    parameters = Parameters()
    parameters.read("A")
    (message,) = parameters.due(7, 0.0, bytewise=False)
    assert (message.target_system, message.target_component, message.param_index) == (7, 1, -1)
    parameters.receive(value("A", 1.0), bytewise=False)
    parameters.set("A", 2.0)
    (message,) = parameters.due(7, 1.0, bytewise=False)
    assert (message.target_system, message.target_component) == (7, 1)
    assert (message.param_value, message.param_type) == (2.0, REAL32)


def test_an_answer_ends_a_read_and_a_value_of_another_name_is_ignored() -> None:
    parameters = Parameters()
    parameters.read("A")
    sent(parameters, 0.0)
    parameters.receive(value("B", 3.0), bytewise=False)
    parameters.receive(by_wire(mavlink.MAVLink_heartbeat_message(2, 3, 1, 4, 4, 3)), bytewise=False)
    assert (parameters.values, {*parameters.pending()}) == ({}, {"A"})
    parameters.receive(value("A", 2.5), bytewise=False)
    assert (parameters.values, parameters.pending()) == ({"A": 2.5}, frozenset())
    parameters.receive(value("A", 3.5), bytewise=False)  # as it answers a ground station
    assert parameters.values == {"A": 3.5}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_no_answer(number: float) -> None:
    parameters = Parameters()
    parameters.read("A")
    parameters.receive(value("A", number), bytewise=False)
    assert (parameters.values, {*parameters.requested()}) == ({}, {"A"})


@pytest.mark.parametrize(
    ("kind", "code", "number"),
    [(INT32, "<i", 894_281), (INT32, "<i", -5), (UINT32, "<I", 4_000_000_000)],
)
def test_integers_are_bits_of_a_float_to_and_from_px4_alone(
    kind: int, code: str, number: int
) -> None:
    wire = bits(code, number)
    for bytewise, expected in ((True, float(number)), (False, wire)):
        parameters = Parameters()
        parameters.read("A")
        parameters.receive(value("A", wire, kind), bytewise=bytewise)
        assert parameters.values == ({} if math.isnan(expected) else {"A": expected})
    parameters = Parameters()
    parameters.read("A")
    parameters.receive(value("A", bits(code, 1), kind), bytewise=True)
    parameters.set("A", float(number))
    (message,) = parameters.due(1, 1.0, bytewise=True)
    assert struct.pack("<f", message.param_value) == struct.pack(code, number)
    assert message.param_type == kind


def test_a_number_of_another_type_is_sent_as_it_is() -> None:
    parameters = Parameters()
    parameters.read("A")
    parameters.receive(value("A", 3.0, INT8), bytewise=True)
    assert parameters.values == {"A": 3.0}
    parameters.set("A", 4.0)
    (message,) = parameters.due(1, 1.0, bytewise=True)
    assert (message.param_value, message.param_type) == (4.0, INT8)


def test_a_set_is_repeated_until_the_value_is_confirmed() -> None:
    parameters = Parameters()
    parameters.set("A", 2.0)
    assert sent(parameters, 0.0) == [("REQUEST_READ", "A")]  # its type is needed
    parameters.receive(value("A", 1.0), bytewise=False)
    assert parameters.pending() == {"A"}
    assert sent(parameters, 1.0) == [("SET", "A")]
    parameters.receive(value("A", 1.0), bytewise=False)  # not yet
    assert sent(parameters, 2.0) == [("SET", "A")]
    parameters.receive(value("A", 2.0), bytewise=False)
    assert (parameters.pending(), parameters.requested()) == (frozenset(), frozenset())
    assert sent(parameters, 9.0) == []
    assert parameters.values == {"A": 2.0}


def test_the_same_set_goes_on_and_another_one_begins_again() -> None:
    parameters = Parameters()
    parameters.read("A")
    parameters.receive(value("A", 1.0), bytewise=False)
    for now_s in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0):
        parameters.set("A", 2.0)
        assert len(sent(parameters, now_s)) == (1 if now_s < 4.0 else 0)
    assert parameters.requested() == {"A"}
    parameters.set("A", 3.0)
    assert sent(parameters, 5.5) == [("SET", "A")]


def test_a_read_cancels_a_set_and_discards_the_value() -> None:
    parameters = Parameters()
    parameters.read("A")
    parameters.receive(value("A", 1.0), bytewise=False)
    parameters.set("A", 2.0)
    parameters.read("A")
    assert parameters.values == {}
    assert sent(parameters, 0.0) == [("REQUEST_READ", "A")]
    parameters.receive(value("A", 1.0), bytewise=False)
    assert parameters.requested() == frozenset()


def test_a_refresh_keeps_the_value_and_a_set() -> None:
    parameters = Parameters()
    parameters.read("A", "B")
    parameters.receive(value("A", 1.0), bytewise=False)
    parameters.receive(value("B", 1.0), bytewise=False)
    parameters.set("B", 2.0)
    parameters.refresh("A", "B", "C")
    assert parameters.values == {"A": 1.0, "B": 1.0}
    assert sent(parameters, 0.0) == [("REQUEST_READ", "A"), ("SET", "B"), ("REQUEST_READ", "C")]
    for now_s in (1.0, 2.0, 3.0, 4.0):
        sent(parameters, now_s)
    # A known value stays without an answer; an unknown one is still requested, without a try left.
    assert parameters.values == {"A": 1.0, "B": 1.0}
    assert parameters.requested() == {"B", "C"}
    assert parameters.pending() == frozenset()


def test_after_a_reboot_all_is_requested_again_by_its_new_type() -> None:
    parameters = Parameters()
    parameters.read("A", "B")
    parameters.receive(value("A", 1.0), bytewise=False)
    parameters.set("A", 2.0)
    for now_s in range(5):
        sent(parameters, float(now_s))
    assert parameters.pending() == frozenset()
    parameters.discard_values()
    assert parameters.values == {}
    assert sent(parameters, 5.0) == [("REQUEST_READ", "A"), ("REQUEST_READ", "B")]
    parameters.receive(value("A", 1.0, INT16), bytewise=False)
    (message,) = [m for m in parameters.due(1, 6.0, bytewise=False) if m.get_type() == "PARAM_SET"]
    assert (message.param_value, message.param_type) == (2.0, INT16)

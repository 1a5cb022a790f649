# SPDX-License-Identifier: Apache-2.0
"""The bus and its nodes on a virtual wire, with nodes of the package `dronecan` as peers."""

import errno
import logging
import random
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dronecan
import pytest
from dronecan.app import dynamic_node_id, node_monitor
from hypothesis import given
from hypothesis import strategies as st

from dronebms.core.clock import SystemClock
from dronebms.dronecan import dsdl
from dronebms.dronecan.battery_messages import BatteryMessage
from dronebms.dronecan.can_bus import CanBus
from dronebms.dronecan.can_url import CanUrl
from dronebms.dronecan.frames import CanFrame, FrameFilter
from dronebms.dronecan.node import NODE_STATUS, Node, NodeIdentity
from tests.dronecan.wire import Port, Wire, can_bus, library_node, run

INFO = "uavcan.equipment.power.BatteryInfo"
FIELDS = {"voltage": 24.5, "current": 12.25, "state_of_charge_pct": 77, "model_name": b"P22 6S"}
UNIQUE = bytes(range(1, 17))


def _node(bus: CanBus, node_id: int | None = 42, unique: bytes = UNIQUE) -> Node:
    return bus.add_node(NodeIdentity(unique, "org.dronebms", (1, 2), node_id))


def _frames(
    source: int, name: str = INFO, fields: dict[str, object] = FIELDS, number: int = 0
) -> Sequence[CanFrame]:
    value = dsdl.message(name, fields)
    return dsdl.encode(value, transfer_id=number, priority=20, source=source)


def _received(bus: CanBus) -> list[BatteryMessage]:
    found: list[BatteryMessage] = []
    bus.subscribe(lambda message, _: found.append(message))
    return found


# ---------------------------------------------------------------------- messages


def test_a_message_is_received_by_a_foreign_node_as_it_was_sent() -> None:
    wire = Wire()
    bus, peer = can_bus(wire), library_node(wire, 7)
    node = _node(bus)
    found: list[Any] = []
    peer.add_handler(dronecan.uavcan.equipment.power.BatteryInfo, found.append)
    at_s = run(bus, 2.0)

    for _ in range(3):
        bus.publish(node, INFO, FIELDS, 20)
        at_s = run(bus, 0.1, at_s, peer)

    assert [event.transfer.transfer_id for event in found] == [0, 1, 2]
    message = found[0].message
    assert found[0].transfer.source_node_id == 42
    assert (message.voltage, message.current, message.state_of_charge_pct) == (24.5, 12.25, 77)
    assert bytes(message.model_name) == b"P22 6S"


def test_a_message_of_a_foreign_node_is_received() -> None:
    wire = Wire()
    bus, peer = can_bus(wire), library_node(wire, 7)
    found = _received(bus)
    run(bus, 0.1)

    peer.broadcast(dronecan.uavcan.equipment.power.BatteryInfo(voltage=24.5, battery_id=3))
    run(bus, 0.1, 5.0)

    (one,) = found
    assert (one.source, one.data_type.name) == (7, INFO)
    assert (one.values["voltage"], one.values["battery_id"]) == (24.5, 3)


def test_a_message_is_not_sent_late_by_a_node_without_an_id() -> None:
    wire = Wire()
    bus = can_bus(wire)
    node = _node(bus)

    bus.publish(node, INFO, FIELDS, 20)
    run(bus, 5.0)

    assert node.counts["unsent"] == 1
    assert not [frame for frame in wire.frames if frame.data_type == 1092]


@given(st.lists(st.tuples(st.integers(0, 2**29 - 1), st.binary(max_size=8)), max_size=60))
def test_no_frame_raises(rows: list[tuple[int, bytes]]) -> None:
    wire = Wire()
    bus = can_bus(wire)
    _node(bus), _node(bus, None, UNIQUE[::-1])
    found = _received(bus)
    at_s = run(bus, 2.0)
    (port,) = wire.ports

    for can_id, data in rows:
        port.put(CanFrame(can_id, data))
        for data_type in (1, 1092):  # and the same as one of a needed message
            port.put(CanFrame(data_type << 8 | can_id & 0x7F, data))
    run(bus, 0.2, at_s)

    assert bus.trouble is None or "node id" in bus.trouble
    assert all(one.data_type.name == INFO for one in found)


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_transfer_is_rejected(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - reproducible damage
    wire = Wire()
    bus = can_bus(wire)
    found = _received(bus)
    run(bus, 0.1)
    frames = list(_frames(7))
    place = source.randrange(len(frames))
    damaged = bytearray(frames[place].data)
    damaged[source.randrange(len(damaged) - 1)] ^= 1 << source.randrange(8)
    frames[place] = CanFrame(frames[place].can_id, bytes(damaged))

    for frame in frames:
        wire.send(frame)
    run(bus, 0.1, 1.0)

    assert found == []
    assert bus.counts["damaged"] == 1


@pytest.mark.parametrize("lost", range(len(_frames(7))))
def test_a_transfer_with_a_lost_frame_is_dropped_and_the_next_one_received(lost: int) -> None:
    wire = Wire()
    bus = can_bus(wire)
    found = _received(bus)
    run(bus, 0.1)

    for number in range(2):
        for place, frame in enumerate(_frames(7, number=number)):
            if (number, place) != (0, lost):
                wire.send(frame)
    run(bus, 0.1, 1.0)

    assert len(found) == 1


# ---------------------------------------------------------------------- node


def test_a_foreign_monitor_sees_status_name_version_and_unique_id() -> None:
    wire = Wire()
    bus, peer = can_bus(wire), library_node(wire, 7)
    _node(bus)
    monitor = node_monitor.NodeMonitor(peer)

    run(bus, 5.0, 0.0, peer)

    entry = monitor.get(42)
    status = entry.status
    assert (status.health, status.mode, status.uptime_sec) == (0, 0, 3)
    assert bytes(entry.info.name) == b"org.dronebms"
    assert bytes(entry.info.hardware_version.unique_id) == UNIQUE
    assert (entry.info.software_version.major, entry.info.software_version.minor) == (1, 2)


def test_status_is_sent_once_a_second() -> None:
    wire = Wire()
    bus = can_bus(wire)
    _node(bus)

    run(bus, 62.0)

    assert len(wire.frames) == pytest.approx(60, abs=1)
    assert {frame.data_type for frame in wire.frames} == {dsdl.data_type_id(NODE_STATUS)}


def test_a_foreign_server_allocates_ids_and_the_same_ones_after_a_restart(tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        wire = Wire()
        peer = library_node(wire, 127)
        server = dynamic_node_id.CentralizedServer(
            peer, node_monitor.NodeMonitor(peer), database_storage=str(tmp_path / "ids")
        )
        bus = can_bus(wire)
        nodes = _node(bus, None), _node(bus, None, bytes(range(50, 66)))
        run(bus, 20.0, 0.0, peer)
        server.close()
        assert bus.trouble is None
        ids.append([node.node_id for node in nodes])

    assert ids == [[125, 124], [125, 124]]


def test_a_node_without_an_allocator_sends_requests_alone_and_shows_it() -> None:
    wire = Wire()
    bus = can_bus(wire)
    _node(bus, None)

    run(bus, 20.0)

    assert bus.trouble == "mcast:0: no node id allocated yet"
    assert 19 <= len(wire.frames) <= 34
    assert all(frame.source == 0 and frame.data_type == 1 for frame in wire.frames)


# ---------------------------------------------------------------------- conflicts


def test_a_fixed_id_that_another_node_uses_is_not_used_until_that_node_is_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    wire = Wire()
    bus = can_bus(wire)
    node = _node(bus)

    at_s = run(bus, 0.1)
    for _ in range(10):
        for frame in _frames(42, NODE_STATUS, {"uptime_sec": 9}):
            wire.send(frame)
        at_s = run(bus, 1.0, at_s)

    assert node.node_id is None
    assert bus.trouble == "mcast:0: node id 42 is used by another node"
    assert len(wire.frames) == 10  # the other node's
    run(bus, 7.0, at_s)
    assert node.node_id == 42
    assert [one.message for one in caplog.records] == [
        "CAN bus mcast:0: node id 42 is used by another node",
        "CAN bus mcast:0 is open, node id 42",
    ]


def test_an_id_in_use_is_kept_in_a_conflict_which_is_shown() -> None:
    wire = Wire()
    bus = can_bus(wire)
    node = _node(bus)
    at_s = run(bus, 3.0)

    for frame in _frames(42):
        wire.send(frame)
    at_s = run(bus, 1.0, at_s)

    assert (node.node_id, node.counts["conflicts"]) == (42, len(_frames(42)))
    assert bus.trouble == "mcast:0: node id 42 is used by another node too"
    run(bus, 6.0, at_s)
    assert bus.trouble is None


# ---------------------------------------------------------------------- a bus that goes away


def test_a_bus_that_goes_away_is_opened_again_with_a_growing_delay_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    wire = Wire()
    bus = can_bus(wire)
    _node(bus)
    at_s = run(bus, 3.0)

    wire.lost = OSError(errno.ENETDOWN, "Network is down")
    at_s = run(bus, 60.0, at_s)

    assert bus.trouble == "mcast:0: network is down; retrying"
    assert 5 <= wire.opened - 1 <= 12
    assert wire.ports == []
    wire.lost = None
    run(bus, 12.0, at_s)
    assert bus.trouble is None
    assert wire.frames[-1].source == 42
    assert [one.message for one in caplog.records][-2:] == [
        "CAN bus mcast:0: network is down; retrying",
        "CAN bus mcast:0 is open, node id 42",
    ]


def test_a_full_bus_drops_frames_and_counts_them() -> None:
    wire = Wire()
    bus = can_bus(wire)
    _node(bus)
    at_s = run(bus, 3.0)
    wire.ports[0].is_full = True

    run(bus, 10.0, at_s)

    assert bus.counts["unsent"] == pytest.approx(10, abs=1)
    assert bus.trouble is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_by_a_mistake_is_a_trouble() -> None:
    def broken(_: CanUrl) -> Port:
        raise ZeroDivisionError

    bus = CanBus(CanUrl("mcast", "0"), SystemClock(), broken)
    bus.start()
    for thread in threading.enumerate():  # it may have ended already
        if thread.name == "CAN mcast:0":
            thread.join(10.0)

    assert bus.trouble == "mcast:0: its thread has ended; restart the service"


# ---------------------------------------------------------------------- a flood


def test_foreign_messages_do_not_pass_the_filter() -> None:
    wire = Wire()
    bus = can_bus(wire)
    _node(bus)
    found = _received(bus)
    at_s = run(bus, 2.0)

    for number in range(10_000):
        wire.send(CanFrame(20 << 24 | 1028 << 8 | number % 41 + 1, bytes(8)))
    for frame in _frames(7):
        wire.send(frame)
    run(bus, 0.1, at_s)

    assert len(found) == 1
    assert bus.counts["received"] == len(_frames(7))


def test_a_flood_of_needed_messages_is_decoded_within_a_budget() -> None:
    wire = Wire()
    bus = can_bus(wire)
    found = _received(bus)
    run(bus, 0.1)
    flood = _frames(7)

    for _ in range(2500):
        for frame in flood:
            wire.send(frame)
    for frame in _frames(8):
        wire.send(frame)
    run(bus, 0.1, 1.0)

    assert sum(one.source == 7 for one in found) == 60
    assert sum(one.source == 8 for one in found) == 1
    assert bus.counts["dropped"] == 2440


@given(
    st.frozensets(st.integers(0, 0xFFFF), max_size=4),
    st.frozensets(st.integers(1, 127), max_size=3),
    st.integers(0, 2**29 - 1),
)
def test_the_kernel_gets_the_same_filter_but_for_anonymous_frames(
    data_types: frozenset[int], node_ids: frozenset[int], can_id: int
) -> None:
    frames = FrameFilter(data_types, node_ids)

    for near in (can_id, *(can_id & ~0xFFFF80 | one << 8 for one in data_types)):
        passed = any(near & mask == want for want, mask in frames.masks())
        assert frames.accepts(near) == passed or (passed and not near & 0x7F)

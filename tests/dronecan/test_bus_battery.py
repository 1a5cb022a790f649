# SPDX-License-Identifier: Apache-2.0
"""Packs on a virtual wire, sent by nodes of the package `dronecan`."""

import errno
import random
from collections.abc import Iterator
from contextlib import contextmanager

from dronebms.core.clock import VirtualClock
from dronebms.dronecan.battery_address import BatteryAddress, CanPack
from dronebms.dronecan.battery_messages import DATA_TYPES
from dronebms.dronecan.bus_battery import BusBattery
from dronebms.dronecan.can_bus import CanBus
from dronebms.dronecan.can_url import CanUrl
from dronebms.dronecan.frames import CanFrame
from dronebms.dronecan.node import NodeIdentity
from dronebms.dronecan.pack_identification import FAST_S
from dronebms.dronecan.transports import PortTransport
from mavlink_bridge.protocol.can_forward import CanForward
from tests.dronecan.packs import AUX, GAUGE, GAUGE_AUX, INFO, NAN, frames, library_value
from tests.dronecan.wire import Wire, can_bus, library_node, run

MCAST = CanUrl("mcast", "0")


def battery(bus: CanBus, battery_id: int = 1) -> BusBattery:
    return BusBattery(CanPack(BatteryAddress(MCAST, battery_id)), bus)


@contextmanager
def one_pack() -> Iterator[tuple[Wire, CanBus, BusBattery]]:
    wire = Wire()
    bus = can_bus(wire)
    source = battery(bus)
    run(bus, 0.1, -10.0)
    silent = library_value(INFO, GAUGE | {"voltage": NAN})  # of a node that is known for some time
    for one in frames(silent, 11):
        wire.send(CanFrame(*one))
    run(bus, 0.1, -9.0)
    yield wire, bus, source


def test_two_packs_of_foreign_nodes_are_read() -> None:
    with one_pack() as (wire, bus, first):
        second = battery(bus, 2)
        peers = [library_node(wire, 11), library_node(wire, 12)]
        for number, peer in enumerate(peers, start=1):
            fields = GAUGE | {"battery_id": number, "voltage": 20.0 + number}
            peer.broadcast(library_value(INFO, fields))
            peer.broadcast(library_value(AUX, GAUGE_AUX | {"battery_id": number}))
        run(bus, 0.1, 1.0)
        polls = [one.poll(1.0 + FAST_S) for one in (first, second)]
        assert [one.voltage_v for one in polls] == [21.0, 22.0]
        assert [len(one.cells_v) for one in polls] == [6, 6]


def test_a_pack_on_the_bus_of_the_autopilot_is_read_over_its_link() -> None:
    port = CanForward()
    port.trouble = None
    mavcan = CanUrl("mavcan")
    bus = CanBus(mavcan, VirtualClock(), lambda _: PortTransport(port))
    source = BusBattery(CanPack(BatteryAddress(mavcan, 1)), bus)
    bus.step(0.0)
    assert set(DATA_TYPES) <= set(port.filter)
    for second in (0.0, FAST_S):
        port.received.extend(frames(library_value(INFO, GAUGE), 11))
        bus.step(second)
    assert source.poll(FAST_S).voltage_v == 22.5
    port.trouble = "no heartbeat of the autopilot"
    bus.step(9.0)
    assert source.poll(9.0).trouble == "mavcan: no heartbeat of the autopilot; retrying"


def test_what_this_service_sends_is_no_source() -> None:
    with one_pack() as (_, bus, source):
        node = bus.add_node(NodeIdentity(bytes(range(16)), "org.dronebms.battery", (1, 0), 42))
        at_s = run(bus, 3.0, 1.0)
        for _ in range(5):
            bus.publish(node, INFO, GAUGE, 20)
            at_s = run(bus, 0.2, at_s)
        assert node.node_id == 42
        assert source.poll(at_s).trouble == "no battery 1 on mcast:0"


def test_a_frame_under_the_node_id_of_this_service_is_no_source() -> None:
    with one_pack() as (wire, bus, source):
        bus.add_node(NodeIdentity(bytes(range(16)), "org.dronebms.battery", (1, 0), 42))
        at_s = run(bus, 3.0, 1.0)
        for can_id, data in frames(library_value(INFO, GAUGE), 42):  # a router sends it back
            wire.send(CanFrame(can_id, data))
        run(bus, 0.1, at_s)
        assert source.poll(at_s + 0.1).voltage_v is None


def test_a_bus_that_is_lost_is_the_reason_and_returns() -> None:
    with one_pack() as (wire, bus, source):
        peer = library_node(wire, 11)
        peer.broadcast(library_value(INFO, GAUGE))
        at_s = run(bus, 0.1, 1.0)
        assert source.poll(at_s).voltage_v == 22.5
        wire.lost = OSError(errno.ENODEV, "No such device")
        at_s = run(bus, 1.0, at_s)
        held = source.poll(at_s)
        assert (held.voltage_v, held.trouble) == (22.5, None)  # a value holds for its time
        at_s = run(bus, 6.0, at_s)
        assert source.poll(at_s).trouble == "mcast:0: no such device; retrying"
        wire.lost = None
        at_s = run(bus, 12.0, at_s)
        assert source.poll(at_s).trouble == "no battery 1 on mcast:0"
        peer.broadcast(library_value(INFO, GAUGE))
        at_s = run(bus, 0.1, at_s)
        assert source.poll(at_s).voltage_v == 22.5


def test_garbage_and_damaged_messages_change_nothing() -> None:
    chance = random.Random(18)  # noqa: S311 - reproducible
    whole = [CanFrame(*one) for one in frames(library_value(INFO, GAUGE), 11)]
    with one_pack() as (wire, bus, source):
        for frame in whole:
            wire.send(frame)
        at_s = run(bus, 0.1, 1.0)
        before = source.poll(at_s)
        for _ in range(400):
            damaged = list(whole)
            place = chance.randrange(len(damaged))
            kind = chance.randrange(3)
            if kind == 0:
                del damaged[place:]
            elif kind == 1:
                del damaged[place]
            else:
                data = bytearray(damaged[place].data)
                data[chance.randrange(len(data) - 1)] ^= 1 << chance.randrange(8)
                damaged[place] = CanFrame(damaged[place].can_id, bytes(data))
            for frame in damaged:
                wire.send(frame)
            for _ in range(4):
                data_type = chance.choice((1092, 20004, 20010, 20011, 20012, 20300))
                can_id = 20 << 24 | data_type << 8 | chance.randrange(1, 128)
                wire.send(CanFrame(can_id, chance.randbytes(chance.randrange(9))))
            at_s = run(bus, 0.05, at_s)
        after = source.poll(2.0)
        assert after.voltage_v == before.voltage_v == 22.5
        assert bus.counts["damaged"] > 100


def test_a_flood_of_one_node_does_not_displace_another_pack() -> None:
    with one_pack() as (wire, bus, source):
        flood = [
            CanFrame(*one) for one in frames(library_value(INFO, GAUGE | {"battery_id": 9}), 99)
        ]
        at_s = 1.0
        for _ in range(20):
            for _ in range(40):
                for frame in flood:
                    wire.send(frame)
            for can_id, data in frames(library_value(INFO, GAUGE), 11):
                wire.send(CanFrame(can_id, data))
            at_s = run(bus, 0.05, at_s)
        snapshot = source.poll(at_s)
        assert snapshot.voltage_v == 22.5
        assert (snapshot.age_s("voltage_v") or 0.0) < 0.2

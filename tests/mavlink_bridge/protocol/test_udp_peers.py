# SPDX-License-Identifier: Apache-2.0
"""Who has a place among the peers of a UDP server."""

import contextlib
import socket
from collections.abc import Iterator
from random import Random

import pytest
from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.bridge import Bridge
from mavlink_bridge.components import BridgeOptions
from mavlink_bridge.protocol.codec import Codec
from mavlink_bridge.protocol.link import open_link
from mavlink_bridge.protocol.udp_peers import (
    PEER_AGE_S,
    PEERS_MAX,
    PeerRank,
    UdpPeers,
    begins_with_frame,
)
from tests.mavlink_bridge.loopback import free_port, until
from tests.mavlink_bridge.reports import a_report

STRANGER, ACCEPTED, FOLLOWED = PeerRank


def beat(system: int, component: int = 1, autopilot: int = 3) -> bytes:
    kind = 2 if autopilot == 3 else 6
    message = mavlink.MAVLink_heartbeat_message(kind, autopilot, 129, 4, 4, 3)
    return bytes(message.pack(mavlink.MAVLink(None, system, component)))


def test_the_followed_autopilot_has_a_place_of_its_own() -> None:
    peers = UdpPeers()
    for number in range(20):
        peers.add(number, STRANGER, 0.0)
    assert peers.addresses(0.0) == list(range(8))
    assert peers.warning() == "more than 8 peers: some are not sent to"
    peers.add("vehicle", STRANGER, 1.0)
    assert "vehicle" not in peers.addresses(1.0)
    peers.add("vehicle", FOLLOWED, 1.0)
    for number in range(20):
        peers.add(number, ACCEPTED, 2.0)
    assert set(peers.addresses(2.0)) == {"vehicle", *range(8)}


def test_an_accepted_peer_takes_the_place_of_a_stranger_and_keeps_it() -> None:
    peers = UdpPeers()
    for number in range(8):
        peers.add(number, STRANGER, 0.1 * number)
    peers.add("gcs", ACCEPTED, 1.0)
    assert peers.addresses(1.0) == [*range(1, 8), "gcs"]
    for number in range(100, 200):
        peers.add(number, STRANGER, 2.0)
    assert "gcs" in peers.addresses(2.0)


def test_a_second_address_of_the_autopilot_waits_until_the_first_is_silent() -> None:
    peers = UdpPeers()
    peers.add("vehicle", FOLLOWED, 0.0)
    for number in range(50):
        peers.add(f"forger {number}", FOLLOWED, 1.0)
    assert "vehicle" in peers.addresses(1.0)
    assert len(peers.addresses(1.0)) == 9
    for t_s in range(2, 20):
        peers.add("vehicle", STRANGER, float(t_s))
        peers.add(f"forger {t_s}", FOLLOWED, float(t_s))
        assert "vehicle" in peers.addresses(float(t_s))
    assert "vehicle" not in peers.addresses(30.0)
    peers.add("new port", FOLLOWED, 30.0)
    assert peers.addresses(30.0) == ["new port"]


def test_peers_expire_and_so_does_the_warning() -> None:
    peers = UdpPeers()
    assert peers.warning() == "no valid frame received within 10 s"
    for number in range(9):
        peers.add(number, STRANGER, 0.0)
    assert peers.addresses(10.0) == list(range(8))
    for number in range(8):
        peers.add(number, STRANGER, 10.0)
    assert peers.warning() is not None
    peers.addresses(10.1)
    assert peers.warning() is None
    assert peers.addresses(20.1) == []
    assert peers.warning() == "no valid frame received within 10 s"


def test_every_frame_is_valid_and_no_damaged_one() -> None:
    for force_v1 in (False, True):
        codec = mavlink.MAVLink(None, 1, 1)
        for message in (
            mavlink.MAVLink_heartbeat_message(2, 3, 129, 4, 4, 3),
            mavlink.MAVLink_param_request_list_message(1, 1),
            mavlink.MAVLink_attitude_message(0, *(0.0,) * 6),
        ):
            frame = bytes(message.pack(codec, force_mavlink1=force_v1))
            assert begins_with_frame(frame)
            assert begins_with_frame(frame + b"rest")
            for place in range(len(frame)):
                flipped = frame[:place] + bytes([frame[place] ^ 0x40]) + frame[place + 1 :]
                assert not begins_with_frame(flipped) or place in (0,)
                assert not begins_with_frame(frame[:place])


def test_junk_is_no_frame() -> None:
    random = Random(5)  # noqa: S311 - junk
    for _ in range(20_000):
        data = bytes([random.choice([0xFD, 0xFE, 0])]) + random.randbytes(random.randrange(60))
        assert not begins_with_frame(data)


@contextlib.contextmanager
def sockets(count: int, port: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            one.bind(("127.0.0.1", 0))
            one.connect(("127.0.0.1", port))
            one.settimeout(0)
            made.append(one)
        yield made


def drained(one: socket.socket) -> int:
    count = 0
    with contextlib.suppress(OSError):
        while one.recv(9999):
            count += 1
    return count


@pytest.mark.parametrize(
    "junk",
    [
        b"x",
        b"\xfd",
        b"\xfd\x00",
        b"\xfe\xff",
        beat(1)[:-1],
        beat(7),
        beat(9, 180, 8),
        beat(255, 190, 8),
        beat(1, 42, 8),
    ],
)
def test_strangers_do_not_keep_the_vehicle_from_being_sent_to(junk: bytes) -> None:
    port = free_port()
    with contextlib.closing(open_link(f"udpin:127.0.0.1:{port}")) as link:
        bridge = Bridge(link, system_id=1, options=BridgeOptions(accept_systems=(255,)))
        with sockets(30, port) as strangers, sockets(1, port) as (vehicle,):
            got = 0
            for tick in range(100):
                now_s = tick / 10
                if tick % 10 == 0:
                    for one in strangers:
                        one.send(junk)
                if tick >= 30 and tick % 10 == 5:
                    vehicle.send(beat(1))
                    assert until(lambda: bridge.pump(now_s).armed is True)  # noqa: B023 - called here
                bridge.pump(now_s)
                bridge(a_report(now_s))
                got += drained(vehicle)
            assert got > 20
            if len(junk) < len(beat(7)):
                assert not any(drained(one) for one in strangers)
            else:
                assert link.trouble is not None


def test_parsers_of_former_peers_are_dropped() -> None:
    port, now_s = free_port(), 0.0
    with contextlib.closing(open_link(f"udpin:127.0.0.1:{port}")) as link:
        codec = Codec(link)
        for _ in range(4):  # each time other senders, when the former ones have expired
            now_s += 2.0 * PEER_AGE_S
            with sockets(PEERS_MAX, port) as senders:
                for one in senders:
                    one.send(beat(7))
                received = 0

                def all_received(now_s: float = now_s) -> bool:
                    nonlocal received
                    received += len(list(codec.receive(now_s)))
                    return received == PEERS_MAX

                assert until(all_received)
        assert len(codec._parsers) <= PEERS_MAX + 1

# SPDX-License-Identifier: Apache-2.0
"""Links over real sockets and a pseudo terminal: they never block, and they reconnect."""

import contextlib
import errno
import itertools
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.errors import LinkError
from mavlink_bridge.protocol.link import (
    DEFAULT_BAUD,
    LinkState,
    LinkUrl,
    ReconnectingLink,
    open_link,
    parse_url,
)
from mavlink_bridge.protocol.transports import TcpTransport
from tests.mavlink_bridge.loopback import WAIT_S, free_port, until

FRAME = b"\xfd" + bytes(range(52))
BEAT = bytes(mavlink.MAVLink_heartbeat_message(2, 3, 1, 0, 4, 3).pack(mavlink.MAVLink(None, 1, 1)))
NO_PEER = "no valid frame received within 10 s"


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with a_peer() as made:
        yield made


def a_peer(port: int = 0) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", port))
    made.settimeout(WAIT_S)
    return made


def a_server(port: int = 0) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    made.listen()
    made.settimeout(WAIT_S)
    return made


def port_of(peer: socket.socket) -> int:
    return int(peer.getsockname()[1])


@contextlib.contextmanager
def linked(url: str) -> Iterator[ReconnectingLink]:
    link = open_link(url)
    try:
        yield link
    finally:
        link.close()


def received(link: ReconnectingLink, now_s: float) -> bytes:
    """Bytes of the link, once any have arrived."""
    got = bytearray()

    def arrived() -> bool:
        got.extend(b"".join(link.receive(now_s)))
        return bool(got)

    assert until(arrived)
    return bytes(got)


# URLs.


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("udpout:127.0.0.1:14550", LinkUrl("udpout", "127.0.0.1", 14550)),
        ("udpin:0.0.0.0:14540", LinkUrl("udpin", "0.0.0.0", 14540)),  # noqa: S104 - parsed only
        ("tcp:drone.local:5760", LinkUrl("tcp", "drone.local", 5760)),
        ("tcp:[::1]:5760", LinkUrl("tcp", "::1", 5760)),
        ("serial:/dev/ttyAMA0", LinkUrl("serial", path="/dev/ttyAMA0", baud=DEFAULT_BAUD)),
        ("serial:/dev/ttyS1:921600", LinkUrl("serial", path="/dev/ttyS1", baud=921600)),
        (
            "serial:/dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0",
            LinkUrl("serial", path="/dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0"),
        ),
    ],
)
def test_a_url_is_parsed(url: str, expected: LinkUrl) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "expected udpout:HOST:PORT"),
        ("127.0.0.1:14550", "expected udpout:HOST:PORT"),
        ("udp:127.0.0.1:14550", "expected udpout:HOST:PORT"),
        ("udpout:127.0.0.1", "expected a port"),
        ("udpout:127.0.0.1:0", "expected a port"),
        ("udpout:127.0.0.1:65536", "expected a port"),
        ("udpout:127.0.0.1:+1", "expected a port"),
        ("udpout:127.0.0.1:١٤", "expected a port"),
        ("udpout::14550", "expected a host"),
        ("tcp:::1:5760", "expected an IPv6 address in brackets"),
        ("serial:", "expected serial:PATH"),
        ("serial::57600", "expected serial:PATH"),
        ("serial:/dev/ttyS0:0", "expected serial:PATH"),
    ],
)
def test_an_invalid_url_is_one_sentence_with_the_expected_form(url: str, sentence: str) -> None:
    with pytest.raises(LinkError, match=f"^{re.escape(f'link {url!r}: {sentence}')}") as caught:
        parse_url(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("/dev/ttyAMA0", "serial:/dev/ttyAMA0"),
        ("/dev/ttyAMA0:921600", "serial:/dev/ttyAMA0:921600"),
        ("/dev/ttyAMA0,57600", "serial:/dev/ttyAMA0:57600"),
        ("serial:/dev/ttyAMA0,921600", "serial:/dev/ttyAMA0:921600"),
        ("udp:127.0.0.1:14550", "udpout:127.0.0.1:14550"),
        ("udp://127.0.0.1:14550", "udpout:127.0.0.1:14550"),
        ("tcp://10.0.0.2:5760", "tcp:10.0.0.2:5760"),
        ("tcpout:10.0.0.2:5760", "tcp:10.0.0.2:5760"),
        ("127.0.0.1:14550", "udpout:127.0.0.1:14550"),
    ],
)
def test_a_url_of_another_program_is_answered_with_ours(url: str, meant: str) -> None:
    with pytest.raises(LinkError, match=re.escape(f"did you mean {meant}?")):
        parse_url(url)
    parse_url(meant)


@pytest.mark.parametrize("host", ["a b", "a..b", "x" * 64, "\0", "a\x1b[2J", "\ud800"])
def test_a_host_that_no_look_up_can_find_is_an_invalid_url(host: str) -> None:
    with pytest.raises(LinkError) as caught:
        parse_url(f"udpout:{host}:14550")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "host",
    ["drone.local", "10.0.0.2", "a.", ".", ".a", "a..b", "a..", "x" * 63, "x" * 64, "a." + "x" * 64,
     "x" * 63 + ".lan", "x" * 64 + ".lan", "a_b-c", "bücher.lan", "ü" * 64, "ü..lan"],
)  # fmt: skip
def test_a_host_is_accepted_as_the_codec_of_host_names_accepts_it(host: str) -> None:
    try:
        host.encode("idna")
    except UnicodeError:
        with pytest.raises(LinkError):
            parse_url(f"udpout:{host}:14550")
    else:
        assert parse_url(f"udpout:{host}:14550").host == host


def test_a_link_loads_no_codec_of_other_letters_for_a_host_without_them() -> None:
    program = (
        "import sys\n"
        "from mavlink_bridge.protocol.link import open_link\n"
        "for host in ('127.0.0.1', '[::1]', 'drone.local'): open_link(f'udpout:{host}:14550')\n"
        "sys.exit('encodings.idna' in sys.modules)"
    )
    assert subprocess.run((sys.executable, "-c", program), check=False).returncode == 0  # noqa: S603 - constant


# A host name.


class Names:
    """A name server, in place of `socket.getaddrinfo` for names."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: list[str] = []
        self.answer = threading.Event()
        self.answer.set()
        self._numeric = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: bytes, port: int, **options: Any) -> Any:  # noqa: ANN401 - as the system's
        if host not in (b"gcs.lan", b"xn--bcher-kva.lan") or options.get("flags"):
            return self._numeric(host, port, **options)
        self.answer.wait(WAIT_S)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "temporary failure")
        return [entry for a in self.addresses for entry in self._numeric(a, port, **options)]


def test_a_host_that_is_unknown_yet_is_retried_and_named(
    monkeypatch: pytest.MonkeyPatch, peer: socket.socket
) -> None:
    names = Names(monkeypatch)
    url = f"udpout:gcs.lan:{port_of(peer)}"
    with linked(url) as link:
        assert until(lambda: not link.send(FRAME, 0.0) and "resolving" not in (link.trouble or ""))
        assert link.trouble == f"{url}: host 'gcs.lan' is unknown; retrying"
        assert not link.is_open
        names.addresses = ["127.0.0.1"]
        assert not link.send(FRAME, 0.4)  # not before the delay
        now_s = itertools.count(1)
        assert until(lambda: link.send(FRAME, float(next(now_s))))
        assert peer.recv(1000) == FRAME
        assert link.trouble is None


def test_a_name_with_other_letters_is_looked_up_as_the_name_servers_have_it(
    monkeypatch: pytest.MonkeyPatch, peer: socket.socket
) -> None:
    Names(monkeypatch).addresses = ["127.0.0.1"]
    with linked(f"udpout:bücher.lan:{port_of(peer)}") as link:
        now_s = itertools.count()
        assert until(lambda: link.send(FRAME, float(next(now_s))))
        assert peer.recv(1000) == FRAME


def test_a_slow_name_server_does_not_block_the_loop(
    monkeypatch: pytest.MonkeyPatch, peer: socket.socket
) -> None:
    names = Names(monkeypatch)
    names.addresses = ["127.0.0.1"]
    names.answer.clear()
    url = f"udpout:gcs.lan:{port_of(peer)}"
    with linked(url) as link:
        began_s = monotonic()
        for step in range(10):
            assert not link.send(FRAME, 0.1 * step)
        assert monotonic() - began_s < 1.0
        assert link.trouble == f"{url}: resolving the host name"
        names.answer.set()
        assert until(lambda: link.send(FRAME, 1.0))


def test_a_name_server_that_is_lost_does_not_end_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    names.addresses = ["127.0.0.1"]
    with a_server() as server, linked(f"tcp:gcs.lan:{port_of(server)}") as link:
        now_s = itertools.count()
        assert until(lambda: link.send(FRAME, float(next(now_s))))
        connection, _ = server.accept()
        names.addresses = []
        connection.close()
        assert until(lambda: not link.receive(float(next(now_s))) and not link.is_open)
        assert until(lambda: link.send(FRAME, float(next(now_s))))


# UDP.


def test_udpout_sends_and_receives_the_answers(peer: socket.socket) -> None:
    with linked(f"udpout:127.0.0.1:{port_of(peer)}") as link:
        assert link.state is LinkState.CLOSED
        assert link.send(FRAME, 0.0)
        data, source = peer.recvfrom(1000)
        peer.sendto(b"one", source)
        peer.sendto(b"two", source)
        assert (data, received(link, 0.1)[:3]) == (FRAME, b"one")
        assert (link.state, link.trouble, link.dropped) == (LinkState.OPEN, None, 0)


def test_udpout_works_as_soon_as_a_program_listens() -> None:
    port = free_port()
    with linked(f"udpout:127.0.0.1:{port}") as link:
        for step in range(10):
            link.send(FRAME, 0.1 * step)
            link.receive(0.1 * step)
        assert link.trouble == f"udpout:127.0.0.1:{port}: no program listens on the port"
        for _ in range(2):  # closes the port and opens it again
            with a_peer(port) as peer:
                assert link.send(FRAME, 2.0)
                assert peer.recv(1000) == FRAME
                link.send(FRAME, 2.1)
                link.send(FRAME, 2.2)
                assert link.trouble is None
            link.send(FRAME, 3.0)
            assert until(lambda: link.send(FRAME, 3.1) and link.trouble is not None)
        assert link.state is LinkState.OPEN


def test_udpout_ignores_other_senders(peer: socket.socket) -> None:
    with linked(f"udpout:127.0.0.1:{port_of(peer)}") as link, a_peer() as other:
        link.send(FRAME, 0.0)
        source = peer.recvfrom(1000)[1]
        other.sendto(b"other", source)
        peer.sendto(b"peer", source)
        assert received(link, 0.0) == b"peer"


def test_udpin_sends_to_the_senders_of_valid_frames_of_the_last_ten_seconds(
    peer: socket.socket,
) -> None:
    port = free_port()
    with linked(f"udpin:127.0.0.1:{port}") as link:
        assert not link.send(FRAME, 0.0)
        assert link.trouble == f"udpin:127.0.0.1:{port}: no valid frame received within 10 s"
        peer.sendto(b"hello", ("127.0.0.1", port))
        assert received(link, 1.0) == b"hello"
        assert not link.send(FRAME, 1.0)
        peer.sendto(BEAT, ("127.0.0.1", port))
        assert received(link, 1.0) == BEAT
        assert link.send(FRAME, 11.0)
        assert peer.recv(1000) == FRAME
        assert link.trouble is None
        assert not link.send(FRAME, 11.1)


def test_udpin_sends_to_eight_peers_at_most() -> None:
    port = free_port()
    with contextlib.ExitStack() as stack:
        url = f"udpin:127.0.0.1:{port}"
        link = stack.enter_context(linked(url))
        peers = [stack.enter_context(a_peer()) for _ in range(12)]
        for number, peer in enumerate(peers):
            peer.sendto(BEAT, ("127.0.0.1", port))
            assert received(link, 0.0) == BEAT
            if number == 7:
                assert link.trouble is None
        assert link.trouble == f"{url}: more than 8 peers: some are not sent to"
        assert link.send(FRAME, 0.1)
        for peer in peers[:8]:
            assert peer.recv(1000) == FRAME
        peers[8].settimeout(0.02)
        with pytest.raises(TimeoutError):
            peers[8].recv(1000)
        assert not link.send(FRAME, 10.1)
        assert link.trouble == f"{url}: {NO_PEER}"


def test_a_port_in_use_is_retried_named_and_not_shared(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    url = f"udpin:127.0.0.1:{port_of(peer)}"
    with linked(url) as link:
        assert link.trouble == f"{url}: address already in use; retrying"
        assert not link.send(FRAME, 0.0)
        assert not link.is_open
        address = peer.getsockname()
        peer.close()
        assert link.receive(0.6) == []
        assert link.is_open
        with a_peer() as other:
            other.sendto(FRAME, address)
            assert until(lambda: link.receive(0.7) == [FRAME])


def test_an_address_that_is_not_assigned_yet_is_retried_and_named() -> None:
    url = f"udpin:192.0.2.1:{free_port()}"  # RFC 5737: of no computer
    with linked(url) as link:
        assert link.receive(0.0) == []
        assert link.trouble == f"{url}: cannot assign requested address; retrying"


def test_udp_works_over_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("this Python was built without IPv6")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        try:
            peer.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback: sysctl net.ipv6.conf.lo.disable_ipv6=0")
        peer.settimeout(WAIT_S)
        with linked(f"udpout:[::1]:{port_of(peer)}") as link:
            assert link.send(FRAME, 0.0)
            assert peer.recv(1000) == FRAME


def test_a_flood_of_datagrams_does_not_block_the_reader(peer: socket.socket) -> None:
    port = free_port()
    with linked(f"udpin:127.0.0.1:{port}") as link:
        for _ in range(2000):
            peer.sendto(b"x", ("127.0.0.1", port))
        got = link.receive(0.0)
        assert 0 < len(got) <= 256


@pytest.mark.parametrize("kind", ["udpin", "udpout"])
def test_large_datagrams_are_discarded_and_the_bytes_of_a_call_are_bounded(kind: str) -> None:
    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(a_peer())
        port = free_port() if kind == "udpin" else port_of(peer)
        link = stack.enter_context(linked(f"{kind}:127.0.0.1:{port}"))
        link.send(FRAME, 0.0)
        target = ("127.0.0.1", port) if kind == "udpin" else peer.recvfrom(1000)[1]
        peer.sendto(b"\xfe" * 60_000, target)
        peer.sendto(BEAT, target)
        assert received(link, 0.0) == BEAT
        for _ in range(20):
            peer.sendto(b"\xfe" * 8000, target)
        assert until(lambda: 0 < sum(map(len, link.receive(0.0))) <= 32768 + 8000)


# TCP.


def test_tcp_connects_without_blocking_and_carries_both_ways() -> None:
    with a_server() as server, linked(f"tcp:127.0.0.1:{port_of(server)}") as link:
        assert until(lambda: link.send(FRAME, 0.0))
        connection = server.accept()[0]
        with connection:
            connection.settimeout(WAIT_S)
            assert connection.recv(1000) == FRAME
            connection.sendall(b"answer")
            assert received(link, 0.1) == b"answer"
        assert (link.state, link.trouble) == (LinkState.OPEN, None)


def test_a_lost_link_is_retried_with_growing_delays() -> None:
    attempts_s: list[float] = []
    now_s = 0.0

    def dial() -> TcpTransport:
        attempts_s.append(now_s)
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    link = ReconnectingLink("tcp:somewhere", dial)
    for tick in range(2001):
        now_s = tick / 100
        assert not link.send(FRAME, now_s)
        assert link.receive(now_s) == []
    assert attempts_s == [0.0, 0.5, 1.5, 3.5, 7.5, 12.5, 17.5]
    assert link.trouble == "tcp:somewhere: connection refused; retrying"
    assert link.dropped == 2001


def test_the_bytes_of_a_tcp_call_are_bounded() -> None:
    with a_server() as server, linked(f"tcp:127.0.0.1:{port_of(server)}") as link:
        link.receive(0.0)
        connection, _ = server.accept()
        with connection:
            link.receive(0.1)
            connection.settimeout(0.2)
            total, sent = 0, 200_000
            connection.sendall(b"\xfe" * sent)
            for _ in range(200):
                got = sum(map(len, link.receive(0.2)))
                assert got <= 32768
                total += got
            assert total == sent


def test_tcp_connects_once_the_server_appears() -> None:
    port = free_port(socket.SOCK_STREAM)
    with linked(f"tcp:127.0.0.1:{port}") as link:
        assert until(lambda: link.receive(0.0) == [] and link.trouble is not None)
        assert link.trouble == f"tcp:127.0.0.1:{port}: connection refused; retrying"
        with a_server(port) as server:
            assert not link.send(FRAME, 0.4)
            assert link.state is LinkState.CLOSED  # not before the retry time
            assert until(lambda: link.send(FRAME, 0.5))
            with server.accept()[0] as connection:
                assert connection.recv(1000) == FRAME
        assert link.trouble is None


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_tcp_reconnects_after_each_loss_of_the_server(how: str) -> None:
    with a_server() as server, linked(f"tcp:127.0.0.1:{port_of(server)}") as link:
        for round_s in (0.0, 10.0, 20.0):
            last_bytes = serve_and_leave(server, link, round_s, reset=how == "reset")
            assert how == "reset" or last_bytes == b"last bytes"
            assert link.trouble is not None
            assert not link.send(FRAME, round_s + 0.1)


def serve_and_leave(
    server: socket.socket, link: ReconnectingLink, now_s: float, *, reset: bool
) -> bytes:
    """Take one frame, answer and close; return the bytes that the link reads before the loss."""
    assert until(lambda: link.send(FRAME, now_s))
    with server.accept()[0] as connection:
        assert connection.recv(1000) == FRAME
        connection.sendall(b"last bytes")
        if reset:
            linger = struct.pack("ii", 1, 0)  # close with RST
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    got = bytearray()

    def is_lost() -> bool:
        got.extend(b"".join(link.receive(now_s)))
        return link.state is LinkState.CLOSED

    assert until(is_lost)
    return bytes(got)


def test_a_loss_is_detected_by_sending_only() -> None:
    with a_server() as server, linked(f"tcp:127.0.0.1:{port_of(server)}") as link:
        assert until(lambda: link.send(FRAME, 0.0))
        server.accept()[0].close()
        assert until(lambda: not link.send(FRAME, 0.1))
        assert (link.state, link.trouble) == (
            LinkState.CLOSED,
            f"tcp:127.0.0.1:{port_of(server)}: connection reset by peer; retrying",
        )
        assert until(lambda: link.send(FRAME, 0.6))
        with server.accept()[0] as connection:
            assert connection.recv(1000) == FRAME


def test_a_full_tcp_buffer_drops_whole_frames_only() -> None:
    frame = b"\xfd" + bytes(range(251)) * 4
    with a_server() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with linked(f"tcp:127.0.0.1:{port_of(server)}") as link:
            assert until(lambda: link.send(frame, 0.0))
            with server.accept()[0] as connection:
                sent = 1
                while link.send(frame, 0.1):  # until nothing fits
                    sent += 1
                assert link.dropped
                assert not link.send(frame, 0.2)
                connection.settimeout(0.05)
                got = bytearray()
                for _ in range(
                    3
                ):  # read some, send one more: covers frames that were accepted in part
                    with contextlib.suppress(TimeoutError):
                        while True:
                            got += connection.recv(65536)
                    sent += link.send(frame, 0.3)
                    link.receive(0.3)
                with contextlib.suppress(TimeoutError):
                    while True:
                        got += connection.recv(65536)
        assert bytes(got) == frame * sent


def test_a_stalled_tcp_peer_leaves_few_frames_to_grow_old() -> None:
    """By the kernel's own limits it would be megabytes, of which each frame came an hour late."""
    frame = bytes(1000)
    with a_server() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with linked(f"tcp:127.0.0.1:{port_of(server)}") as link:
            assert until(lambda: link.send(frame, 0.0))
            with server.accept()[0]:
                sent = 1
                while link.send(frame, 0.1):
                    sent += 1
    assert 10_000 < sent * len(frame) < 200_000


def test_a_frame_cut_by_a_lost_connection_is_not_continued_on_the_next() -> None:
    with a_server() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with linked(f"tcp:127.0.0.1:{port_of(server)}") as link:
            assert until(lambda: link.send(FRAME, 0.0))
            with server.accept()[0]:
                while link.send(bytes(1000), 0.1):
                    pass
            assert until(lambda: link.receive(0.2) == [] and link.state is LinkState.CLOSED)
            assert until(lambda: link.send(FRAME, 10.0))
            with server.accept()[0] as connection:
                connection.settimeout(WAIT_S)
                assert connection.recv(1000) == FRAME


def test_a_connection_attempt_ends_after_five_seconds() -> None:
    with a_server() as full:
        full.listen(0)
        with contextlib.ExitStack() as stack:
            for _ in range(4):  # fill the queue of connections, so that the next one gets no answer
                filler = stack.enter_context(socket.socket())
                filler.settimeout(0)
                filler.connect_ex(full.getsockname())
            link = stack.enter_context(linked(f"tcp:127.0.0.1:{port_of(full)}"))
            assert not link.send(FRAME, 0.0)
            sleep(0.01)
            assert not link.send(FRAME, 4.9)
            assert (link.state, link.trouble) == (LinkState.CONNECTING, None)
            assert not link.send(FRAME, 5.0)
            assert link.state is LinkState.CLOSED
            assert link.trouble == f"tcp:127.0.0.1:{port_of(full)}: no response; retrying"


def test_tcp_does_not_connect_to_itself() -> None:
    with contextlib.ExitStack() as stack:
        # A socket bound to its own target connects to itself, as the kernel may also arrange.
        own = stack.enter_context(socket.socket())
        own.bind(("127.0.0.1", 0))
        own.connect(own.getsockname())
        transport = TcpTransport((socket.AF_INET, ("127.0.0.1", free_port(socket.SOCK_STREAM))))
        transport._socket.close()
        transport._socket = own
        with pytest.raises(OSError, match="Connection refused"):
            transport.connected()


# Serial.


@pytest.fixture
def terminal() -> Iterator[tuple[int, int, str]]:
    """A pseudo terminal: descriptors of the far and the near end, path of the near end."""
    far, near = os.openpty()
    tty.setraw(near)
    try:
        yield far, near, os.ttyname(near)
    finally:
        for end in (far, near):
            with contextlib.suppress(OSError):
                os.close(end)


def test_serial_carries_both_ways(terminal: tuple[int, int, str]) -> None:
    far, _, path = terminal
    with linked(f"serial:{path}:115200") as link:
        assert link.send(FRAME, 0.0)
        assert os.read(far, 1000) == FRAME
        os.write(far, b"answer")
        assert received(link, 0.1) == b"answer"
        assert link.receive(0.2) == []
        assert (link.state, link.trouble) == (LinkState.OPEN, None)


def test_a_full_serial_port_drops_whole_frames_and_never_blocks(
    terminal: tuple[int, int, str],
) -> None:
    far, _, path = terminal
    frame = bytes(range(200))
    with linked(f"serial:{path}") as link:
        start_s = monotonic()
        sent = 0
        while link.send(frame, 0.0):
            sent += 1
        assert monotonic() - start_s < 1.0
        os.set_blocking(far, False)
        got = bytearray()

        def read_all() -> bool:
            with contextlib.suppress(BlockingIOError):
                got.extend(os.read(far, 65536))
            link.receive(0.1)
            return len(got) == sent * len(frame)

        assert until(read_all)
        assert bytes(got) == frame * sent


def test_an_unplugged_port_is_lost_and_opened_again(tmp_path: Path) -> None:
    port = tmp_path / "ttyDRONE"
    with linked(f"serial:{port}") as link:
        assert link.receive(0.0) == []
        assert link.trouble == f"serial:{port}: no such port; retrying"
        for round_s in (10.0, 20.0):
            far, near = os.openpty()
            tty.setraw(near)
            port.symlink_to(os.ttyname(near))
            os.close(near)
            assert link.send(FRAME, round_s)
            assert os.read(far, 1000) == FRAME
            os.close(far)
            port.unlink()
            assert link.receive(round_s + 1) == []
            assert link.state is LinkState.CLOSED
            assert not link.send(FRAME, round_s + 1.1)


def test_a_port_is_opened_exclusively(terminal: tuple[int, int, str]) -> None:
    path = terminal[2]
    with linked(f"serial:{path}") as first, linked(f"serial:{path}") as second:
        assert first.send(FRAME, 0.0)
        assert not second.send(FRAME, 0.0)
        assert second.trouble == f"serial:{path}: another program uses the port; retrying"


def test_a_file_that_is_no_serial_port_is_reported(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    with linked(f"serial:{plain}") as link:
        assert not link.send(FRAME, 0.0)
        assert link.trouble == f"serial:{plain}: not a serial port; retrying"


def test_a_closed_link_stays_closed(peer: socket.socket) -> None:
    link = open_link(f"udpout:127.0.0.1:{port_of(peer)}")
    assert link.send(FRAME, 0.0)
    link.close()
    link.close()
    assert not link.send(FRAME, 100.0)
    assert link.receive(100.0) == []
    assert link.state is LinkState.CLOSED
    assert link.trouble is not None

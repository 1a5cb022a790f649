# SPDX-License-Identifier: Apache-2.0
"""Non-blocking, reconnecting link to a flight controller or a ground station.

Each call passes `now_s`, seconds of any monotonic clock. What cannot be opened now (a host that is
unknown yet, an address that is not assigned yet, a busy or absent port) is retried like a lost
connection: after 0.5 s, then after twice the last delay, up to 5 s. An invalid URL is an error.
A host name is resolved for each connection, in a thread, because the resolver blocks.
"""

import itertools
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from dronebms.core.errors import LinkError
from mavlink_bridge.protocol.transports import (
    Address,
    SerialTransport,
    TcpTransport,
    Transport,
    UdpInTransport,
    UdpOutTransport,
)

URL_FORMS = "udpout:HOST:PORT, udpin:HOST:PORT, tcp:HOST:PORT or serial:PATH[:BAUD]"
DEFAULT_BAUD = 57600  # of the telemetry ports of PX4 and ArduPilot
_BACKOFF_FIRST_S = 0.5
_BACKOFF_LAST_S = 5.0
_CONNECT_S = 5.0
_RESOLVE_S = 0.005  # a small part of a step of the loop
_PORT_MAX = 0xFFFF
_LABEL_MAX = 63  # letters between the dots of a host name, RFC 1035 2.3.4
_BAUD_MAX = 4_000_000  # of Linux, termios(3)
_DIGITS = 10  # fewer than that of a port or a baud rate
_NETWORKS = ("udpout", "udpin", "tcp")


class LinkState(Enum):
    """Connection state of a link."""

    CLOSED = "closed"
    CONNECTING = "connecting"
    OPEN = "open"


class Link(Protocol):
    """Carrier of frames. No method raises or blocks."""

    @property
    def is_open(self) -> bool:
        """Whether it was connected after the last call."""

    @property
    def trouble(self) -> str | None:
        """Description of a fault, `None` without one."""

    def send(self, data: bytes, now_s: float) -> bool:
        """Send a frame; return False if it was dropped."""

    def receive(self, now_s: float) -> list[bytes]:
        """Datagrams or chunks of a stream received since the last call."""


@dataclass(frozen=True, slots=True)
class LinkUrl:
    """Parts of a link URL."""

    kind: str
    host: str = ""
    port: int = 0
    path: str = ""
    baud: int = DEFAULT_BAUD


def parse_url(url: str) -> LinkUrl:
    """Parse a link URL.

    Raises:
        LinkError: invalid URL; the message states the expected form.
    """
    kind, _, rest = url.partition(":")
    if not url.isprintable():
        raise LinkError(f"link {url!r}: expected {URL_FORMS}")
    if kind == "serial":
        return _parse_serial(url, rest)
    if kind not in _NETWORKS:
        raise LinkError(f"link {url!r}: expected {URL_FORMS}{_meant(url)}")
    return _parse_network(url, kind, rest)


def _parse_serial(url: str, rest: str) -> LinkUrl:
    path, _, baud = rest.rpartition(":")
    if not _is_number(baud):  # paths of USB ports have colons of their own
        path = rest
        baud = str(DEFAULT_BAUD)
    if not path or not 0 < int(baud) <= _BAUD_MAX:
        raise LinkError(f"link {url!r}: expected serial:PATH or serial:PATH:BAUD")
    if _is_number(path.rpartition(",")[2]):
        raise LinkError(f"link {url!r}: expected a colon before the baud rate{_meant(url)}")
    return LinkUrl("serial", path=path, baud=int(baud))


def _parse_network(url: str, kind: str, rest: str) -> LinkUrl:
    host, _, port = rest.rpartition(":")
    if not _is_number(port) or not 0 < int(port) <= _PORT_MAX:
        raise LinkError(f"link {url!r}: expected a port of 1..{_PORT_MAX} after the last colon")
    if host.startswith("//"):
        raise LinkError(f"link {url!r}: expected no slashes{_meant(url)}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise LinkError(f"link {url!r}: expected an IPv6 address in brackets, as in {kind}:[::1]:1")
    if not host:
        raise LinkError(f"link {url!r}: expected a host, as in {kind}:127.0.0.1:{port}")
    if not _is_host(host):
        raise LinkError(f"link {url!r}: {host!r} is neither an address nor a host name")
    return LinkUrl(kind, host=host, port=int(port))


def open_link(url: str) -> "ReconnectingLink":
    """Make a link that connects at its first use and reconnects after each loss.

    Raises:
        LinkError: invalid URL.
    """
    parts = parse_url(url)
    if parts.kind == "serial":
        return ReconnectingLink(url, lambda: SerialTransport(parts.path, parts.baud))
    resolver = Resolver(parts.host, parts.port)
    turns = itertools.count()

    def dial() -> Transport | None:
        addresses = resolver.addresses()
        if addresses is None:
            return None
        if parts.kind == "udpout":
            return UdpOutTransport(addresses[0])
        if parts.kind == "udpin":
            return UdpInTransport(addresses[0])
        return TcpTransport(addresses[next(turns) % len(addresses)])

    link = ReconnectingLink(url, dial)
    if parts.kind == "udpin":
        link.bind()
    return link


class Resolver:
    """Addresses of a host, IPv4 first: few vehicles listen on IPv6.

    An address needs no look-up. The last known addresses of a name are used while a later look-up
    fails: a name server that is lost in flight must not end the link.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._known: list[Address] = []
        self._found: list[Address] | None = None  # by the thread
        self._thread: threading.Thread | None = None
        try:
            self._fixed = _addresses(host, port, socket.AI_NUMERICHOST)
        except OSError:
            self._fixed = []

    def addresses(self) -> list[Address] | None:
        """The addresses; `None` while the look-up is running.

        Raises:
            OSError: the host is unknown.
        """
        if self._fixed:
            return self._fixed
        if self._thread is None:
            self._thread = threading.Thread(target=self._resolve, name="resolver", daemon=True)
            self._thread.start()
        if self._thread.is_alive():
            self._thread.join(_RESOLVE_S)  # names of this computer are found at once
            if self._thread.is_alive():
                return None
        self._thread = None
        self._known = self._found or self._known
        if not self._known:
            raise OSError(f"host {self._host!r} is unknown")
        return self._known

    def _resolve(self) -> None:
        try:
            self._found = _addresses(self._host, self._port)
        except (OSError, UnicodeError):
            self._found = None


class ReconnectingLink:
    """A link that replaces a lost transport.

    Attributes:
        state: connection state after the last call.
        dropped: number of frames that were not sent.
    """

    def __init__(self, name: str, dial: Callable[[], Transport | None]) -> None:
        self.state = LinkState.CLOSED
        self.dropped = 0
        self._name = name
        self._dial: Callable[[], Transport | None] | None = dial  # None: not ready yet
        self._transport: Transport | None = None
        self._trouble: str | None = None
        self._retry_s: float | None = None  # None: immediately
        self._give_up_s = 0.0
        self._backoff_s = _BACKOFF_FIRST_S
        self._unsent = b""  # rest of a frame of which the transport has accepted the beginning

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""
        return self.state is LinkState.OPEN

    @property
    def trouble(self) -> str | None:
        """Description of a fault, `None` without one."""
        reason = self._trouble or (self._transport.warning() if self._transport else None)
        return f"{self._name}: {reason}" if reason else None

    def bind(self) -> None:
        """Open a server's port before the first call, so that no earlier datagram is lost."""
        try:
            self._transport = None if self._dial is None else self._dial()
        except OSError as error:
            self._trouble = f"{_reason(error)}; retrying"

    def send(self, data: bytes, now_s: float) -> bool:
        """Send a frame; return False if it was dropped."""
        transport = self._connected_transport(now_s)
        taken = 0
        if transport is not None:
            try:
                if self._flush(transport, now_s):
                    taken = transport.write(data, now_s)
            except OSError as error:
                self._lose(error, now_s)
        if not taken:
            self.dropped += 1
            return False
        self._unsent = data[taken:]
        return True

    def receive(self, now_s: float) -> list[bytes]:
        """Datagrams or chunks of a stream received since the last call."""
        transport = self._connected_transport(now_s)
        if transport is None:
            return []
        try:
            self._flush(transport, now_s)
            return transport.read(now_s)
        except OSError as error:
            self._lose(error, now_s)
            return []

    def close(self) -> None:
        """Close permanently."""
        self._close_transport()
        self._dial = None
        self._trouble = "closed"

    def _connected_transport(self, now_s: float) -> Transport | None:
        """Connected transport; `None` while the connection is being made."""
        if self._dial is None or (self._retry_s is not None and now_s < self._retry_s):
            return None
        try:
            if self.state is LinkState.CLOSED:
                self._transport = self._transport or self._dial()
                if self._transport is None:
                    self._trouble = self._trouble or "resolving the host name"
                    return None
                self.state = LinkState.CONNECTING
                self._give_up_s = now_s + _CONNECT_S
            transport = self._transport
            if transport is not None and not self.is_open and not self._answered(transport, now_s):
                return None
        except OSError as error:
            self._lose(error, now_s)
        return self._transport

    def _answered(self, transport: Transport, now_s: float) -> bool:
        if transport.connected():
            self.state = LinkState.OPEN
            self._trouble = None
            self._backoff_s = _BACKOFF_FIRST_S
            return True
        if now_s >= self._give_up_s:
            raise TimeoutError("no response")
        return False

    def _flush(self, transport: Transport, now_s: float) -> bool:
        """Send the rest of an earlier frame; return whether nothing is left."""
        if self._unsent:
            self._unsent = self._unsent[transport.write(self._unsent, now_s) :]
        return not self._unsent

    def _lose(self, error: OSError, now_s: float) -> None:
        self._close_transport()
        self._trouble = f"{_reason(error)}; retrying"
        self._retry_s = now_s + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, _BACKOFF_LAST_S)

    def _close_transport(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self._transport = None
        self.state = LinkState.CLOSED
        self._unsent = b""


def _addresses(host: str, port: int, flags: int = 0) -> list[Address]:
    # Not as a text: for that Python loads the codec of `_is_host`.
    name = host.encode("ascii" if host.isascii() else "idna")
    found = socket.getaddrinfo(name, port, type=socket.SOCK_DGRAM, flags=flags)
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return [(entry[0], (str(entry[4][0]), port)) for entry in found]


def _is_host(text: str) -> bool:
    """Whether a look-up of the name can be made at all."""
    if text.isascii():  # as the codec has it, which takes 1 MB
        *labels, last = text.split(".")
        whole = all(0 < len(label) <= _LABEL_MAX for label in labels)
        return bool(text) and whole and len(last) <= _LABEL_MAX and " " not in text
    try:
        return bool(text.encode("idna")) and " " not in text
    except UnicodeError:
        return False


def _meant(url: str) -> str:
    """Suggestion for a URL in the notation of another program, as the end of a sentence."""
    kind, _, rest = url.partition(":")
    if url.startswith("/dev/") or kind == "serial":
        likely = f"serial:{url.removeprefix('serial:').replace(',', ':')}"
    elif kind in _NETWORKS:
        likely = f"{kind}:{rest.lstrip('/')}"
    elif kind in ("udp", "udpbcast", "udp_out"):
        likely = f"udpout:{rest.lstrip('/')}"
    elif kind in ("tcpout", "udp_in"):
        likely = f"{kind.replace('tcpout', 'tcp').replace('udp_in', 'udpin')}:{rest.lstrip('/')}"
    elif _is_number(url.rpartition(":")[2]) and url.count(":") == 1:
        likely = f"udpout:{url}"
    else:
        return ""
    return f"; did you mean {likely}?"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < _DIGITS

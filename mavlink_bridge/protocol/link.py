"""A link to a flight controller or a ground station that never waits and always comes back.

No threads: whoever calls drives it with `now_s`, seconds of any monotonic clock. A lost link is
made again after 0.5 s, then after twice as long each time, up to 5 s. Names are resolved once, when
the link is opened; that alone may wait, for the resolver.
"""

import itertools
import socket
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
_PORT_MAX = 0xFFFF


class LinkState(Enum):
    """Where a link stands."""

    CLOSED = "closed"
    CONNECTING = "connecting"
    OPEN = "open"


class Link(Protocol):
    """What carries frames. Nothing here raises and nothing waits."""

    @property
    def is_open(self) -> bool:
        """Whether data can flow, after the last call."""

    @property
    def trouble(self) -> str | None:
        """One sentence on what is wrong, None when nothing is."""

    def send(self, data: bytes, now_s: float) -> bool:
        """Return True when the frame is on its way as a whole, False when it was dropped."""

    def receive(self, now_s: float) -> list[bytes]:
        """Return the datagrams or pieces of stream that have come in."""


@dataclass(frozen=True, slots=True)
class LinkUrl:
    """A link URL, taken apart."""

    kind: str
    host: str = ""
    port: int = 0
    path: str = ""
    baud: int = DEFAULT_BAUD


def parse_url(url: str) -> LinkUrl:
    """Return the parts of a link URL.

    Raises:
        LinkError: it is none; the sentence says what was expected.
    """
    kind, _, rest = url.partition(":")
    if kind == "serial":
        path, _, baud = rest.rpartition(":")
        if not _is_number(baud):  # paths of USB ports have colons of their own
            path, baud = rest, str(DEFAULT_BAUD)
        if not path or not int(baud):
            raise LinkError(f"link {url!r}: expected serial:PATH or serial:PATH:BAUD")
        return LinkUrl(kind, path=path, baud=int(baud))
    if kind not in ("udpout", "udpin", "tcp"):
        raise LinkError(f"link {url!r}: expected {URL_FORMS}")
    host, _, port = rest.rpartition(":")
    if not _is_number(port) or not 0 < int(port) <= _PORT_MAX:
        raise LinkError(f"link {url!r}: expected a port of 1..{_PORT_MAX} after the last colon")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise LinkError(f"link {url!r}: expected an IPv6 address in brackets, as in {kind}:[::1]:1")
    if not host:
        raise LinkError(f"link {url!r}: expected a host, as in {kind}:127.0.0.1:{port}")
    return LinkUrl(kind, host=host, port=int(port))


def open_link(url: str) -> "ReconnectingLink":
    """Return a link, which connects at its first use and then again whenever it was lost.

    Raises:
        LinkError: the URL is none, its host is unknown, or a port to listen on is taken.
    """
    parts = parse_url(url)
    if parts.kind == "serial":
        return ReconnectingLink(url, lambda: SerialTransport(parts.path, parts.baud))
    addresses = _resolve(url, parts)
    if parts.kind == "udpout":
        return ReconnectingLink(url, lambda: UdpOutTransport(addresses[0]))
    if parts.kind == "tcp":
        turns = itertools.cycle(addresses)
        return ReconnectingLink(url, lambda: TcpTransport(next(turns)))
    try:
        wire = UdpInTransport(addresses[0])
    except OSError as error:
        raise LinkError(f"link {url!r}: the port cannot be had, {_reason(error)}") from error
    return ReconnectingLink(url, lambda: wire)


class ReconnectingLink:
    """A link over one wire after another.

    Attributes:
        state: where it stands after the last call.
        dropped: how many frames were not sent.
    """

    def __init__(self, name: str, dial: Callable[[], Transport]) -> None:
        self.state = LinkState.CLOSED
        self.dropped = 0
        self._name = name
        self._dial: Callable[[], Transport] | None = dial
        self._wire: Transport | None = None
        self._trouble: str | None = None
        self._retry_s: float | None = None  # None: at once
        self._give_up_s = 0.0
        self._backoff_s = _BACKOFF_FIRST_S
        self._unsent = b""  # the rest of a frame that the wire has begun to take

    @property
    def is_open(self) -> bool:
        """Whether data can flow."""
        return self.state is LinkState.OPEN

    @property
    def trouble(self) -> str | None:
        """One sentence on what is wrong, None when nothing is."""
        reason = self._trouble or (self._wire.complaint() if self._wire else None)
        return f"{self._name}: {reason}" if reason else None

    def send(self, data: bytes, now_s: float) -> bool:
        """Return True when the frame is on its way as a whole, False when it was dropped."""
        wire = self._open_wire(now_s)
        taken = 0
        if wire is not None:
            try:
                if self._flush(wire, now_s):
                    taken = wire.write(data, now_s)
            except OSError as error:
                self._lose(error, now_s)
        if not taken:
            self.dropped += 1
            return False
        self._unsent = data[taken:]
        return True

    def receive(self, now_s: float) -> list[bytes]:
        """Return the datagrams or pieces of stream that have come in."""
        wire = self._open_wire(now_s)
        if wire is None:
            return []
        try:
            self._flush(wire, now_s)
            return wire.read(now_s)
        except OSError as error:
            self._lose(error, now_s)
            return []

    def close(self) -> None:
        """Close for good."""
        self._drop_wire()
        self._dial, self._trouble = None, "closed"

    def _open_wire(self, now_s: float) -> Transport | None:
        """Return the wire when data can flow, else take the next step towards it."""
        if self._dial is None or (self._retry_s is not None and now_s < self._retry_s):
            return None
        try:
            if self._wire is None:
                self._wire = self._dial()
                self.state = LinkState.CONNECTING
                self._give_up_s = now_s + _CONNECT_S
            if not self.is_open and not self._answered(self._wire, now_s):
                return None
        except OSError as error:
            self._lose(error, now_s)
        return self._wire

    def _answered(self, wire: Transport, now_s: float) -> bool:
        if wire.connected():
            self.state, self._trouble = LinkState.OPEN, None
            self._backoff_s = _BACKOFF_FIRST_S
            return True
        if now_s >= self._give_up_s:
            raise TimeoutError("no answer")
        return False

    def _flush(self, wire: Transport, now_s: float) -> bool:
        """Return True when nothing of an earlier frame is left."""
        if self._unsent:
            self._unsent = self._unsent[wire.write(self._unsent, now_s) :]
        return not self._unsent

    def _lose(self, error: OSError, now_s: float) -> None:
        self._drop_wire()
        self._trouble = f"{_reason(error)}; trying again"
        self._retry_s = now_s + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, _BACKOFF_LAST_S)

    def _drop_wire(self) -> None:
        if self._wire is not None:
            self._wire.close()
        self._wire, self.state, self._unsent = None, LinkState.CLOSED, b""


def _resolve(url: str, parts: LinkUrl) -> list[Address]:
    """Return the addresses of a host, IPv4 first: few things that fly listen on IPv6."""
    try:
        found = socket.getaddrinfo(parts.host, parts.port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise LinkError(f"link {url!r}: host {parts.host!r} is unknown") from error
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return [(entry[0], (str(entry[4][0]), parts.port)) for entry in found]


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()

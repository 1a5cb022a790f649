"""Non-blocking, reconnecting link to a flight controller or a ground station.

No threads: each call passes `now_s`, seconds of any monotonic clock. A lost connection is retried
after 0.5 s, then after twice the last delay, up to 5 s. Host names are resolved once, when the
link is opened; only that may block.
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
    """Open a link that connects at its first use and reconnects after each loss.

    Raises:
        LinkError: invalid URL, unknown host, or the local port is in use.
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
        transport = UdpInTransport(addresses[0])
    except OSError as error:
        raise LinkError(f"link {url!r}: the port cannot be opened, {_reason(error)}") from error
    return ReconnectingLink(url, lambda: transport)


class ReconnectingLink:
    """A link that replaces a lost transport.

    Attributes:
        state: connection state after the last call.
        dropped: number of frames that were not sent.
    """

    def __init__(self, name: str, dial: Callable[[], Transport]) -> None:
        self.state = LinkState.CLOSED
        self.dropped = 0
        self._name = name
        self._dial: Callable[[], Transport] | None = dial
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
        self._dial, self._trouble = None, "closed"

    def _connected_transport(self, now_s: float) -> Transport | None:
        """Connected transport; `None` while the connection is being made."""
        if self._dial is None or (self._retry_s is not None and now_s < self._retry_s):
            return None
        try:
            if self._transport is None:
                self._transport = self._dial()
                self.state = LinkState.CONNECTING
                self._give_up_s = now_s + _CONNECT_S
            if not self.is_open and not self._answered(self._transport, now_s):
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


def _resolve(url: str, parts: LinkUrl) -> list[Address]:
    """Addresses of a host, IPv4 first: few vehicles listen on IPv6."""
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

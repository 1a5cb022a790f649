# SPDX-License-Identifier: Apache-2.0
"""Non-blocking transports of a link: UDP client, UDP server, TCP client, serial port.

A transport exists from one connection to its loss; `link.py` opens the next one. Methods raise
OSError when the connection is lost. A full transport accepts a part of the data or nothing.
pyserial only configures the port: its own write() spins while a full port accepts nothing.
Source: Linux ip(7), tcp(7), udp(7), tty_ioctl(4).
"""

import errno
import os
import select
import socket
import termios
from typing import Protocol

import serial

from mavlink_bridge.protocol.udp_peers import Datagram, PeerRank, UdpPeers, begins_with_frame

Address = tuple[socket.AddressFamily, tuple[str, int]]

# A flood of data must not block the loop: what a call reads is bounded, and parsed within 0.1 s.
_READS_MAX = 256
_BYTES_MAX = 32768  # in a call: ten times what 921600 baud carry
_DATAGRAM_BYTES = 8192  # a larger one is no MAVLink and is discarded
_CHUNK_BYTES = 65536
_SILENT_PEER_MS = 5000  # without an acknowledgement the connection is lost
# What a peer does not take grows old in the kernel; its own limit is megabytes, an hour of frames.
_QUEUED_BYTES = 65536
_PORT_REASONS = {
    errno.ENOENT: "no such port",
    errno.EACCES: "no permission to open the port (the group is usually dialout)",
    errno.EAGAIN: "another program uses the port",
    errno.ENOTTY: "not a serial port",
    errno.EINVAL: "baud rate not supported by the port",
}


class Transport(Protocol):
    """One connection. Every method may raise OSError."""

    def connected(self) -> bool:
        """Whether the connection is established."""

    def write(self, data: bytes, now_s: float, /) -> int:
        """Send; return the number of bytes accepted, all or none of a datagram."""

    def read(self, now_s: float, /) -> list[bytes]:
        """Datagrams or chunks received since the last call."""

    def warning(self) -> str | None:
        """Description of a fault that is no loss of the connection, `None` without one."""

    def close(self) -> None:
        """Close without waiting for unsent data."""


class UdpOutTransport:
    """UDP client of one address. A refused datagram is a warning; the transport stays open."""

    def __init__(self, address: Address) -> None:
        self._refused = False
        self._warning: str | None = None
        self._socket = _socket(address[0], socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self._socket.connect(address[1])
        except OSError:
            self._socket.close()
            raise

    def connected(self) -> bool:
        """Return True: UDP has no connection."""
        return True

    def write(self, data: bytes, _now_s: float) -> int:
        """Send a datagram; return 0 if the socket is full."""
        if not self._refused:
            self._warning = None
        self._refused = False
        for _ in range(2):  # the first call may report the refusal of the previous datagram
            try:
                return self._socket.send(data)
            except ConnectionRefusedError:
                self._note_refusal()
            except BlockingIOError:
                break
        return 0

    def read(self, _now_s: float) -> list[bytes]:
        """Datagrams of the address."""
        datagrams: list[bytes] = []
        left = _BYTES_MAX
        for _ in range(_READS_MAX):
            try:
                datagram = self._socket.recv(_CHUNK_BYTES)
            except ConnectionRefusedError:
                self._note_refusal()
                continue
            except BlockingIOError:
                break
            if len(datagram) <= _DATAGRAM_BYTES:
                datagrams.append(datagram)
                left -= len(datagram)
            if left <= 0:
                break
        return datagrams

    def warning(self) -> str | None:
        """Report refused datagrams until one is accepted."""
        return self._warning

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _note_refusal(self) -> None:
        self._refused = True
        self._warning = "no program listens on the port"


class UdpInTransport:
    """UDP server: sends to every sender of a valid frame within 10 s. Never lost."""

    def __init__(self, address: Address) -> None:
        self._peers = UdpPeers()
        # No SO_REUSEADDR: it would let a second program receive our datagrams.
        self._socket = _socket(address[0], socket.SOCK_DGRAM)
        try:
            self._socket.bind(address[1])
        except OSError:
            self._socket.close()
            raise

    def connected(self) -> bool:
        """Return True: UDP has no connection."""
        return True

    def write(self, data: bytes, now_s: float) -> int:
        """Send a datagram to every peer; return 0 if none accepts it."""
        taken = 0
        for peer in self._peers.addresses(now_s):
            try:
                taken = max(taken, self._socket.sendto(data, peer))
            except OSError:
                pass  # an unreachable peer must not affect the others
        return taken

    def read(self, now_s: float) -> list[bytes]:
        """Datagrams of all senders."""
        self._peers.addresses(now_s)
        datagrams: list[bytes] = []
        left = _BYTES_MAX
        for _ in range(_READS_MAX):
            try:
                data, address = self._socket.recvfrom(_CHUNK_BYTES)
            except OSError:
                break
            if len(data) > _DATAGRAM_BYTES:
                continue
            if begins_with_frame(data):
                self._peers.add(address, PeerRank.STRANGER, now_s)
            datagrams.append(Datagram.of(data, self._peers, address))
            left -= len(data)
            if left <= 0:
                break
        return datagrams

    def warning(self) -> str | None:
        """Report that there is no peer, or no place for one."""
        return self._peers.warning()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class TcpTransport:
    """TCP client."""

    def __init__(self, address: Address) -> None:
        self._socket = _socket(address[0], socket.SOCK_STREAM)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_PEER_MS)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _QUEUED_BYTES)
        code = self._socket.connect_ex(address[1])
        if code not in (0, errno.EINPROGRESS):
            self._socket.close()
            raise OSError(code, os.strerror(code))

    def connected(self) -> bool:
        """Whether the server has accepted the connection."""
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        if not poll.poll(0):
            return False
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        # Without a server, a local port of the ephemeral range can connect to itself.
        if not code and self._socket.getsockname() == self._socket.getpeername():
            code = errno.ECONNREFUSED
        if code:
            raise OSError(code, os.strerror(code))
        return True

    def write(self, data: bytes, _now_s: float) -> int:
        """Send; return the number of bytes that the kernel accepted."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def read(self, _now_s: float) -> list[bytes]:
        """Chunks received; the end of the stream is a loss once all data is read."""
        chunks: list[bytes] = []
        left = _BYTES_MAX
        while left > 0:
            try:
                chunk = self._socket.recv(left)
            except BlockingIOError:
                break
            if not chunk:
                if chunks:
                    break
                raise ConnectionResetError(errno.ECONNRESET, "closed by the peer")
            chunks.append(chunk)
            left -= len(chunk)
        return chunks

    def warning(self) -> str | None:
        """Return `None`: a TCP connection works or is lost."""
        return None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class SerialTransport:
    """Serial port, opened exclusively."""

    def __init__(self, path: str, baud: int) -> None:
        try:
            self._port = serial.Serial(path, baud, timeout=0, write_timeout=0, exclusive=True)
        except (OSError, ValueError, termios.error) as error:
            default = errno.EINVAL if isinstance(error, ValueError) else errno.ENOTTY
            code = getattr(error, "errno", None) or default
            raise OSError(code, _PORT_REASONS.get(code, os.strerror(code))) from error

    def connected(self) -> bool:
        """Return True: an open port is connected."""
        return True

    def write(self, data: bytes, _now_s: float) -> int:
        """Send; return the number of bytes that the port accepted."""
        try:
            return os.write(self._port.fileno(), data)
        except BlockingIOError:
            return 0

    def read(self, _now_s: float) -> list[bytes]:
        """Chunks received; an unplugged port is a loss."""
        waiting = self._port.in_waiting
        if waiting:
            return [os.read(self._port.fileno(), min(waiting, _BYTES_MAX))]
        poll = select.poll()
        poll.register(self._port.fileno(), 0)  # hang-up and error are always reported
        if poll.poll(0):
            raise OSError(errno.ENODEV, "the port was disconnected")
        return []

    def warning(self) -> str | None:
        """Return `None`: a serial port works or is lost."""
        return None

    def close(self) -> None:
        """Close the port; discards unsent bytes, for which the kernel would wait."""
        try:
            self._port.reset_output_buffer()
        except (OSError, termios.error):
            pass
        try:
            self._port.close()
        except OSError:
            pass


def _socket(family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(family, kind)
    made.settimeout(0)
    return made

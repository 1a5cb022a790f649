"""The four things a link can run over, each without ever waiting: sockets and serial ports.

A wire lives from one connection to its loss; `link.py` makes the next one. It raises OSError when
it is lost, and takes less than it was given, or nothing, when it is full.
Units are in the names. Source: Linux ip(7), tcp(7), udp(7), tty_ioctl(4), and pyserial, which only
configures the port: its own write() spins for as long as a full port takes nothing.
"""

import errno
import os
import select
import socket
import termios
from typing import Protocol

import serial

Address = tuple[socket.AddressFamily, tuple[str, int]]

_CHUNK_BYTES = 65536
_READS_MAX = 256  # of one call, so that a flood cannot hold up the loop
_SILENT_PEER_MS = 5000  # an end that acknowledges nothing for so long is gone
_PEER_AGE_S = 10.0
_PEERS_MAX = 8
_PORT_REASONS = {
    errno.ENOENT: "there is no such port",
    errno.EACCES: "this user may not open the port (group dialout may)",
    errno.EAGAIN: "another program holds the port",
    errno.ENOTTY: "it is no serial port",
    errno.EINVAL: "the port cannot do this baud rate",
}


class Transport(Protocol):
    """One connection, from its beginning to its loss. Every method may raise OSError."""

    def connected(self) -> bool:
        """Return True once data can flow."""

    def write(self, data: bytes, now_s: float, /) -> int:
        """Return how many bytes were taken; a wire of datagrams takes all or none."""

    def read(self, now_s: float, /) -> list[bytes]:
        """Return what has come in."""

    def complaint(self) -> str | None:
        """Return what is wrong although the wire is not lost."""

    def close(self) -> None:
        """Let go, without waiting for what is unsent."""


class UdpOutTransport:
    """Datagrams to one address, and its answers. Nobody there is no loss, only a complaint."""

    def __init__(self, address: Address) -> None:
        self._refused = False
        self._complaint: str | None = None
        self._socket = _socket(address[0], socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self._socket.connect(address[1])
        except OSError:
            self._socket.close()
            raise

    def connected(self) -> bool:
        """Return True: there is nothing to wait for."""
        return True

    def write(self, data: bytes, _now_s: float) -> int:
        """Return all bytes, or 0 when the socket is full."""
        if not self._refused:
            self._complaint = None
        self._refused = False
        for _ in range(2):  # a refusal of the datagram before is told once, in place of sending
            try:
                return self._socket.send(data)
            except ConnectionRefusedError:
                self._note_refusal()
            except BlockingIOError:
                break
        return 0

    def read(self, _now_s: float) -> list[bytes]:
        """Return the datagrams that came from the address."""
        datagrams: list[bytes] = []
        for _ in range(_READS_MAX):
            try:
                datagrams.append(self._socket.recv(_CHUNK_BYTES))
            except ConnectionRefusedError:
                self._note_refusal()
            except BlockingIOError:
                break
        return datagrams

    def complaint(self) -> str | None:
        """Return that nobody listens, until a datagram was not refused."""
        return self._complaint

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _note_refusal(self) -> None:
        self._refused, self._complaint = True, "nobody listens there yet"


class UdpInTransport:
    """A local port; what is sent goes to those heard on it within 10 s. Never lost."""

    def __init__(self, address: Address) -> None:
        self._heard_s: dict[tuple[str, int], float] = {}
        # Without SO_REUSEADDR, with which a second program could take our datagrams away.
        self._socket = _socket(address[0], socket.SOCK_DGRAM)
        try:
            self._socket.bind(address[1])
        except OSError:
            self._socket.close()
            raise

    def connected(self) -> bool:
        """Return True: there is nothing to wait for."""
        return True

    def write(self, data: bytes, now_s: float) -> int:
        """Return all bytes, or 0 when no peer could be sent to."""
        self._forget(now_s)
        taken = 0
        for peer in self._heard_s:
            try:
                taken = max(taken, self._socket.sendto(data, peer))
            except OSError:
                pass  # one unreachable peer is no reason to stop
        return taken

    def read(self, now_s: float) -> list[bytes]:
        """Return the datagrams of all peers."""
        self._forget(now_s)
        datagrams: list[bytes] = []
        for _ in range(_READS_MAX):
            try:
                datagram, peer = self._socket.recvfrom(_CHUNK_BYTES)
            except OSError:
                break
            datagrams.append(datagram)
            if peer in self._heard_s or len(self._heard_s) < _PEERS_MAX:
                self._heard_s[peer] = now_s
        return datagrams

    def complaint(self) -> str | None:
        """Return that there is no one to send to."""
        return None if self._heard_s else "nobody has been heard within 10 s"

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _forget(self, now_s: float) -> None:
        for peer in [p for p, heard_s in self._heard_s.items() if now_s - heard_s > _PEER_AGE_S]:
            del self._heard_s[peer]


class TcpTransport:
    """A stream to a server."""

    def __init__(self, address: Address) -> None:
        self._socket = _socket(address[0], socket.SOCK_STREAM)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_PEER_MS)
        code = self._socket.connect_ex(address[1])
        if code not in (0, errno.EINPROGRESS):
            self._socket.close()
            raise OSError(code, os.strerror(code))

    def connected(self) -> bool:
        """Return True once the server has answered."""
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        if not poll.poll(0):
            return False
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        # A port of the range that the kernel picks from, with no server on it, can connect to
        # itself on this machine.
        if not code and self._socket.getsockname() == self._socket.getpeername():
            code = errno.ECONNREFUSED
        if code:
            raise OSError(code, os.strerror(code))
        return True

    def write(self, data: bytes, _now_s: float) -> int:
        """Return how many bytes the kernel took."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def read(self, _now_s: float) -> list[bytes]:
        """Return what has come in; the end of the stream is a loss once all was read."""
        chunks: list[bytes] = []
        for _ in range(_READS_MAX):
            try:
                chunk = self._socket.recv(_CHUNK_BYTES)
            except BlockingIOError:
                break
            if not chunk:
                if chunks:
                    break
                raise ConnectionResetError(errno.ECONNRESET, "the other end closed it")
            chunks.append(chunk)
        return chunks

    def complaint(self) -> str | None:
        """Return None: a stream works or is lost."""
        return None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class SerialTransport:
    """A serial port, held alone."""

    def __init__(self, path: str, baud: int) -> None:
        try:
            self._port = serial.Serial(path, baud, timeout=0, write_timeout=0, exclusive=True)
        except (OSError, ValueError, termios.error) as error:
            silent = errno.EINVAL if isinstance(error, ValueError) else errno.ENOTTY
            code = getattr(error, "errno", None) or silent
            raise OSError(code, _PORT_REASONS.get(code, os.strerror(code))) from error

    def connected(self) -> bool:
        """Return True: an open port is all there is."""
        return True

    def write(self, data: bytes, _now_s: float) -> int:
        """Return how many bytes the port took."""
        try:
            return os.write(self._port.fileno(), data)
        except BlockingIOError:
            return 0

    def read(self, _now_s: float) -> list[bytes]:
        """Return what has come in; an unplugged port is a loss."""
        waiting = self._port.in_waiting
        if waiting:
            return [os.read(self._port.fileno(), min(waiting, _CHUNK_BYTES))]
        poll = select.poll()
        poll.register(self._port.fileno(), 0)  # hang-up and error are always told
        if poll.poll(0):
            raise OSError(errno.ENODEV, "the port is gone")
        return []

    def complaint(self) -> str | None:
        """Return None: a port works or is lost."""
        return None

    def close(self) -> None:
        """Close the port; unsent bytes are thrown away, or the kernel would wait for them."""
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

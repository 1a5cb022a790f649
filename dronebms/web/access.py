# SPDX-License-Identifier: Apache-2.0
"""Who may open the page: addresses to listen on, names of this computer, the token.

Without a token the page is for this computer alone. A token comes once in the URL and is then a
cookie, or with each request in the header `Authorization: Bearer TOKEN`.
"""

import fcntl
import hmac
import socket
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from shlex import quote

from dronebms.core.bounded_input import BoundError, read_bytes
from dronebms.core.errors import ConfigError

_LEAST_CHARS = 16
_MOST_BYTES = 4096
_LOCAL = "localhost"
# Linux: an unacknowledged or unread byte of a viewer is given up after this time, so that one that
# stalls holds neither memory nor a place; accepted connections inherit it.
_USER_TIMEOUT_MS = 20_000
_PROBE_S = 5  # of an idle connection
_BACKLOG = 64
# Linux
_SIOCGIFADDR = 0x8915
_IFREQ = 40
_OTHERS = 0o007  # permissions of others; systemd gives a credential to a group


@dataclass(frozen=True, slots=True)
class Token:
    """A secret that opens the page."""

    secret: str

    @property
    def cookie_name(self) -> str:
        """Name of the cookie; another token on this computer has another one."""
        return f"dronebms-{self._derived('name')[:8]}"

    @property
    def cookie(self) -> str:
        """Value of the cookie, from which the secret cannot be computed."""
        return self._derived("cookie")

    def equals(self, text: str) -> bool:
        """Whether a text is the secret, compared in constant time."""
        return hmac.compare_digest(self.secret.encode(), text.encode(errors="replace"))

    def is_cookie(self, text: str) -> bool:
        """Whether a text is the cookie, compared in constant time."""
        return hmac.compare_digest(self.cookie.encode(), text.encode(errors="replace"))

    def _derived(self, what: str) -> str:
        return hmac.new(self.secret.encode(), what.encode(), "sha256").hexdigest()


def read_token(path: Path, warn: Callable[[str], None]) -> Token:
    """Token of a file: one word of at least 16 characters.

    Args:
        path: of the file.
        warn: receives a sentence if other users can use the file.

    Raises:
        ConfigError: the file cannot be read or has no such word.
    """
    try:
        text = read_bytes(path, _MOST_BYTES).decode("ascii").strip()
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(f"--token {path}: {error.strerror}") from error
    except (BoundError, UnicodeDecodeError):
        text = ""  # is no word
        mode = 0
    if len(text) < _LEAST_CHARS or not text.isprintable() or " " in text:
        raise ConfigError(
            f"--token {path}: expected one ASCII word of {_LEAST_CHARS} characters or more"
        )
    if mode & _OTHERS:
        warn(
            f"the token {path} can be used by other users (mode {mode:04o}): "
            f"chmod 600 {quote(str(path))}"
        )
    return Token(text)


def listen(host: str, port: int, token: Token | None) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: an address that is not this computer's own without a token, or that cannot be
            used.
    """
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = rows[0]
        if token is None and not ip_address(str(address[0])).is_loopback:
            raise ConfigError(
                f"--listen {host}:{port}: other computers can connect there; give --token FILE"
            )
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _unusable(host, port, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit them: a viewer whose device has left the network ends, one that asks
        # for nothing too.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _USER_TIMEOUT_MS // 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_S)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _unusable(host, port, error) from error
    return listener


def page_hosts(listener: socket.socket) -> list[str]:
    """Hosts of the page's URL: those of this computer where it listens on every address.

    0.0.0.0 is no address that a phone can open. Without a network it is the name of the computer.
    """
    address = str(listener.getsockname()[0])
    if not ip_address(address).is_unspecified:
        return [f"[{address}]" if ":" in address else address]
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            try:  # netdevice(7): the address stands at byte 20 of struct ifreq
                row = fcntl.ioctl(any_socket, _SIOCGIFADDR, name.encode().ljust(_IFREQ, b"\0"))
            except OSError:
                continue  # an interface without an address
            found.append(socket.inet_ntoa(row[20:24]))
    others = [host for host in found if not ip_address(host).is_loopback]
    return others or [socket.gethostname()]


def _unusable(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}")


def own_names(host: str) -> frozenset[str]:
    """Names under which a browser may ask for the page."""
    name = socket.gethostname().lower()
    return frozenset({_LOCAL, host.lower(), name, f"{name}.local"})


def is_own_host(header: str, names: Collection[str]) -> bool:
    """Whether the Host of a request is this computer.

    A web page whose name was made to resolve to this computer (DNS rebinding) sends its own name.
    """
    name = header.strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    if name.rstrip(".") in names:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True

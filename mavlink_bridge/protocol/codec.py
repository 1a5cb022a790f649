"""Frames on a link: messages out of bytes and back, numbered by component and, with a key, signed.

For one thread; nothing raises for what arrives or a dead link. With a key every frame is signed,
and what comes unsigned or wrongly signed counts as damage. Signing time is tens of microseconds
since 2015; it follows whoever is ahead, so that a computer without a date is heard too as soon as
it has heard the vehicle.
Source: mavlink.io/en/guide/message_signing.html; keys as MAVProxy, Mission Planner and
QGroundControl make them: SHA-256 of the passphrase.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.errors import ConfigError
from mavlink_bridge.protocol.link import Link

_SEQUENCE_MASK = 0xFF
_EPOCH_S = 1420070400  # 2015-01-01
_TICKS_PER_S = 100_000


def read_key(path: Path) -> bytes:
    """Return the key of the passphrase in a file.

    Raises:
        ConfigError: it cannot be read, or there is no passphrase in it.
    """
    try:
        phrase = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the signing key {path} cannot be read: {error}") from error
    if not phrase:
        raise ConfigError(f"the signing key {path} is empty; it has to hold a passphrase")
    return hashlib.sha256(phrase.encode()).digest()


class Codec:
    """The frames of one link."""

    def __init__(self, link: Link, key: bytes | None = None, unix_s: float = 0.0) -> None:
        """Use a link.

        Args:
            link: carries the frames; it is driven and not closed.
            key: 32 bytes to sign with; None signs nothing and takes signed and unsigned alike.
            unix_s: the date at the start, where the machine knows it.
        """
        self.damaged = 0
        self._link = link
        self._senders: dict[tuple[int, int], mavlink.MAVLink] = {}
        self._signing = mavlink.MAVLinkSigning()
        self._signing.secret_key = key
        self._signing.sign_outgoing = key is not None
        self._signing.timestamp = max(int((unix_s - _EPOCH_S) * _TICKS_PER_S), 0)
        self._parser = self._new(0, 0)

    def receive(self, now_s: float) -> Iterator[mavlink.MAVLink_message]:
        """Yield the messages that have come in."""
        for data in self._link.receive(now_s):
            for message in self._parser.parse_buffer(data) or ():
                if message.get_type() == "BAD_DATA":
                    self.damaged += 1
                else:
                    yield message
        # pymavlink frees what it has parsed only when a piece ends where a message does, and what
        # a lost link has torn off would swallow frames of the next one.
        del self._parser.buf[: self._parser.buf_index]
        self._parser.buf_index = 0
        if self._parser.buf and not self._link.is_open:
            self._parser = self._new(0, 0)

    def send(self, source: tuple[int, int], message: mavlink.MAVLink_message, now_s: float) -> bool:
        """Return True when the message of a (system, component) is on its way as a whole."""
        sender = self._senders.get(source)
        if sender is None:
            sender = self._senders[source] = self._new(*source)
        sent = self._link.send(message.pack(sender), now_s)
        if sent:
            sender.seq = (sender.seq + 1) & _SEQUENCE_MASK
        return sent

    def _authentic(self, frame: bytearray, system: int, component: int) -> bool:
        # pymavlink takes over the time of a frame before it has found its signature false; one
        # forged frame from the far future would silence the vehicle for good.
        known = dict(self._signing.stream_timestamps)
        good = bool(mavlink.MAVLink.check_signature(self._parser, frame, system, component))
        if not good:
            self._signing.stream_timestamps = known
        return good

    def _new(self, system: int, component: int) -> mavlink.MAVLink:
        made = mavlink.MAVLink(None, system, component)
        made.robust_parsing = True  # damage becomes a message of type BAD_DATA
        made.signing = self._signing
        made.check_signature = self._authentic
        return made

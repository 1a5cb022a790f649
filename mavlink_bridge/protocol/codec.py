"""MAVLink 2 frames on a link: parsing, sequence numbers per component, signing.

For one thread; neither received bytes nor a lost link raise an exception. With a key every frame
is signed, and a frame without a valid signature counts as damaged. The signing timestamp counts
10 us since 2015 and follows the most advanced peer, so that a computer without a real-time clock
is accepted once it has received a frame of the vehicle.
Source: mavlink.io/en/guide/message_signing.html; the key is the SHA-256 of the passphrase, as in
MAVProxy, Mission Planner and QGroundControl.
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
    """Signing key of the passphrase in a file.

    Raises:
        ConfigError: the file cannot be read or is empty.
    """
    try:
        phrase = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the signing key {path} cannot be read: {error}") from error
    if not phrase:
        raise ConfigError(f"the signing key {path} is empty; expected a passphrase")
    return hashlib.sha256(phrase.encode()).digest()


class Codec:
    """Encoder and parser of one link.

    Attributes:
        damaged: bytes or frames received that are no valid message.
    """

    def __init__(self, link: Link, key: bytes | None = None, unix_s: float = 0.0) -> None:
        """Use a link.

        Args:
            link: carries the frames; not closed here.
            key: 32 bytes; `None` signs nothing and accepts signed and unsigned frames.
            unix_s: date at the start, 0 if unknown.
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
        """Yield the messages received since the last call."""
        for data in self._link.receive(now_s):
            for message in self._parser.parse_buffer(data) or ():
                if message.get_type() == "BAD_DATA":
                    self.damaged += 1
                else:
                    yield message
        # pymavlink frees parsed bytes only if a chunk ends with a message; the rest of a message
        # that a lost link cut off would swallow frames of the next connection.
        del self._parser.buf[: self._parser.buf_index]
        self._parser.buf_index = 0
        if self._parser.buf and not self._link.is_open:
            self._parser = self._new(0, 0)

    def send(self, source: tuple[int, int], message: mavlink.MAVLink_message, now_s: float) -> bool:
        """Send a message of a (system, component); return False if the link dropped the frame."""
        sender = self._senders.get(source)
        if sender is None:
            sender = self._senders[source] = self._new(*source)
        sent = self._link.send(message.pack(sender), now_s)
        if sent:
            sender.seq = (sender.seq + 1) & _SEQUENCE_MASK
        return sent

    def _authentic(self, frame: bytearray, system: int, component: int) -> bool:
        # pymavlink stores the timestamp of a frame before it checks the signature: one forged
        # frame from the far future would block the vehicle for ever.
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

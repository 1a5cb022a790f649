# SPDX-License-Identifier: Apache-2.0
"""MAVLink 2 frames on a link: parsing, sequence numbers per component, signing.

For one thread; neither received bytes nor a lost link raise an exception. With a key every frame
is signed, and a frame without a valid signature counts as damaged.
Source: the key is the SHA-256 of the passphrase, as in MAVProxy, Mission Planner and
QGroundControl.
"""

import hashlib
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.bounded_input import read_bytes
from dronebms.core.errors import ConfigError
from mavlink_bridge.protocol.link import Link
from mavlink_bridge.protocol.signing import Signing
from mavlink_bridge.protocol.udp_peers import PEERS_MAX, Datagram, PeerRank, UdpAddress

_SEQUENCE_MASK = 0xFF
_PHRASE_BYTES = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_log = logging.getLogger(__name__)


def read_key(path: Path) -> bytes:
    """Signing key of the passphrase in a file; logs a warning if other users may use the file.

    Raises:
        ConfigError: the file cannot be read, is empty or longer than a passphrase.
    """
    try:
        phrase = read_bytes(path, _PHRASE_BYTES).decode().strip()
        mode = path.stat().st_mode
    except UnicodeDecodeError as error:
        raise ConfigError(f"the signing key {path} is not UTF-8 text") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"the signing key {path} cannot be read: {reason}") from error
    if not phrase:
        raise ConfigError(f"the signing key {path} is empty; expected a passphrase")
    if mode & _OTHERS:
        _log.warning(
            "the signing key %s can be used by other users (mode %04o): chmod 600 %s",
            *(path, stat.S_IMODE(mode), path),
        )
    return hashlib.sha256(phrase.encode()).digest()


class Codec:
    """Encoder and parser of one link.

    Attributes:
        damaged: bytes or frames received that are no valid message.
    """

    def __init__(self, link: Link, signing: Signing | None = None) -> None:
        """Use a link.

        Args:
            link: carries the frames; not closed here.
            signing: `None` signs nothing and accepts signed and unsigned frames.
        """
        self.damaged = 0
        self._link = link
        self._senders: dict[tuple[int, int], mavlink.MAVLink] = {}
        self._signing = signing
        self._outgoing = mavlink.MAVLinkSigning()
        self._outgoing.secret_key = None if signing is None else signing.key
        self._outgoing.sign_outgoing = signing is not None
        self._source = b""  # of the message that was yielded last
        self._parser = self._new(0, 0)
        self._parsers: dict[UdpAddress, mavlink.MAVLink] = {}  # of peers, else of `_parser`

    def receive(self, now_s: float) -> Iterator[mavlink.MAVLink_message]:
        """Yield the messages received since the last call."""
        received: list[tuple[mavlink.MAVLink_message, bytes]] = []
        for data in self._link.receive(now_s):
            parser = self._parser_of(data)
            for message in parser.parse_buffer(data) or ():
                if message.get_type() == "BAD_DATA":
                    self.damaged += 1
                else:
                    received.append((message, data))
            # pymavlink frees parsed bytes only if a chunk ends with a message.
            del parser.buf[: parser.buf_index]
            parser.buf_index = 0
        # The rest of a message that a lost link cut off would swallow frames of the next one.
        if not self._link.is_open:
            self._parser = self._new(0, 0)
            self._parsers.clear()
        if self._signing is not None:
            self._signing.store()
        for message, self._source in received:
            yield message

    def _parser_of(self, data: bytes) -> mavlink.MAVLink:
        """The parser of a sender: the start of a frame swallows no frames of another one."""
        if not isinstance(data, Datagram):
            return self._parser
        if not data.has_place:
            return self._new(0, 0)
        if data.address not in self._parsers:
            while len(self._parsers) > PEERS_MAX:
                del self._parsers[next(iter(self._parsers))]
            self._parsers[data.address] = self._new(0, 0)
        return self._parsers[data.address]

    def vouch(self, rank: PeerRank, now_s: float) -> None:
        """Note the rank of the sender of the message that was yielded last."""
        if isinstance(self._source, Datagram):
            self._source.raise_rank(rank, now_s)

    def send(self, source: tuple[int, int], message: mavlink.MAVLink_message, now_s: float) -> bool:
        """Send a message of a (system, component); return False if the link dropped the frame."""
        sender = self._senders.get(source)
        if sender is None:
            sender = self._senders[source] = self._new(*source)
        if self._signing is not None:
            self._outgoing.timestamp = self._signing.next_timestamp(now_s)
            self._signing.store()
        sent = self._link.send(message.pack(sender), now_s)
        if sent:
            sender.seq = (sender.seq + 1) & _SEQUENCE_MASK
        return sent

    def _authentic(self, frame: bytearray, system: int, component: int) -> bool:
        return self._signing is not None and self._signing.accepts(frame, system, component)

    def _new(self, system: int, component: int) -> mavlink.MAVLink:
        made = mavlink.MAVLink(None, system, component)
        made.robust_parsing = True  # damage becomes a message of type BAD_DATA
        made.signing = self._outgoing
        made.check_signature = self._authentic
        return made

# SPDX-License-Identifier: Apache-2.0
"""Signatures of MAVLink 2 frames: which are accepted, and the timestamps of ours.

A timestamp counts 10 us since 2015. A frame is accepted if its signature fits the key and its
timestamp is above that of its stream (link id, system, component), so that none is accepted twice.
The first frame of a stream may be a minute behind our reference, the date of this computer, which
never goes back from one run to the next. A peer whose clock is ahead moves its own stream alone:
others are not measured by it. Our own timestamps are above every one that was accepted, as every
peer expects.

Streams and timestamps outlive the process in a file (`signing_file`): after a restart, and on a
computer without a date, an old frame is refused too. It is written before the frames of a step are
used, and our own timestamp is written ahead. After a start of the computer the stored times count
35 s more, as the file is synced every 30 s.
Source: mavlink.io/en/guide/message_signing.html.
"""

import hashlib
import hmac
import logging
from typing import TypeAlias

from dronebms.core.clock import boot_id
from mavlink_bridge.protocol.signing_file import TICKS_PER_S, SigningState, TimestampStore

Stream: TypeAlias = tuple[int, int, int]  # link id, system, component

EPOCH_S = 1420070400  # 2015-01-01
_LATE = 60 * TICKS_PER_S  # of the first frame of a stream
_AHEAD = 10 * TICKS_PER_S  # of our stored timestamp
_UNSYNCED = 35 * TICKS_PER_S  # the same and the time of a sync
_MOST = (1 << 48) - 10 * 365 * 86_400 * TICKS_PER_S  # ten years before the field ends
_STREAMS_MAX = 64
_SIGNATURE = slice(-6, None)
_TIMESTAMP = slice(-12, -6)
_LINK = -13
_log = logging.getLogger(__name__)


class Signing:
    """Key and timestamps of the links with that key. For one thread.

    Args:
        key: 32 bytes.
        unix_s: date at the start, 0 if unknown.
        store: of the timestamps; `None` forgets them at the end.
    """

    def __init__(
        self, key: bytes, unix_s: float = 0.0, store: TimestampStore | None = None
    ) -> None:
        self.key = key
        self._store = store
        self._start = max(int((unix_s - EPOCH_S) * TICKS_PER_S), 0)
        self._start_s: float | None = None
        self._reference = 0
        self._own = 0
        self._streams: dict[Stream, int] = {}
        self._stored: tuple[int, dict[Stream, int]] = (0, {})
        self._logged: set[Stream] = set()
        if store is not None and (state := store.state) is not None:
            lost = 0 if state.boot_id == boot_id() else _UNSYNCED
            self._streams = {(a, b, c): ticks + lost for a, b, c, ticks in state.streams}
            self._own = max([state.own, *self._streams.values()])
            self._reference = state.reference

    def next_timestamp(self, now_s: float) -> int:
        """Timestamp of a frame of ours; each call returns a higher one."""
        if self._start_s is None:
            self._start_s = now_s
        elapsed = int((now_s - self._start_s) * TICKS_PER_S)
        self._own = max(self._own + 1, self._start + elapsed)
        self._reference = max(self._reference, self._start + elapsed)
        return self._own

    def accepts(self, frame: bytes | bytearray, system: int, component: int) -> bool:
        """Whether a signed frame is authentic and newer than the others of its stream."""
        signature = hashlib.sha256(self.key + frame[:-6]).digest()[:6]
        if not hmac.compare_digest(signature, bytes(frame[_SIGNATURE])):
            return False
        ticks = int.from_bytes(frame[_TIMESTAMP], "little")
        stream = frame[_LINK], system, component
        known = self._streams.get(stream)
        if known is None:
            reference = max(self._reference, self._start)
            if ticks + _LATE < reference or len(self._streams) >= _STREAMS_MAX:
                self._log_refusal(stream, (reference - ticks) / TICKS_PER_S)
                return False
        elif ticks <= known:
            self._log_refusal(stream, (known - ticks) / TICKS_PER_S)
            return False
        self._streams[stream] = ticks
        self._own = max(self._own, min(ticks, _MOST))
        return True

    def store(self) -> None:
        """Store what has changed; before the frames that were accepted are used."""
        if self._store is None:
            return
        own, streams = self._stored
        if self._streams == streams and self._own < own:
            return
        self._stored = (max(own, self._own + _AHEAD), dict(self._streams))
        rows = tuple((*stream, ticks) for stream, ticks in self._streams.items())
        self._store.write(SigningState(boot_id(), self._stored[0], self._reference, rows))

    def _log_refusal(self, stream: Stream, late_s: float) -> None:
        if stream in self._logged or len(self._logged) >= _STREAMS_MAX:
            return
        self._logged.add(stream)
        _log.warning(
            "signed frames of %d/%d are refused: %.1f s too old, or repeated", *stream[1:], late_s
        )

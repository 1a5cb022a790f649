# SPDX-License-Identifier: Apache-2.0
"""Notices frames of a second sender of a component of this service, and late copies of frames.

A router may send our own frames back: those are equal, byte by byte, to a frame that we have sent.
All others that claim to come from us are of another program that uses the same component, or of a
forger; every receiver takes its values for ours. A frame of the autopilot that comes once more, by
a slower way, has the mode and the time of a moment ago: it is no news.
"""

import math

from pymavlink.dialects.v20 import common as mavlink

SLOWER_WAY_S = 15.0  # by which a frame of the autopilot may come later than by another way
_STARTED_S = 2.0  # in which frames of an earlier run may come back
_REPEAT_S = 60.0
_RECENT_S = 10.0
_SOURCES_MAX = 64
_SEQUENCE = 4  # offset of the sequence number in a MAVLink 2 frame
_NUMBERS = 256

Source = tuple[int, int]  # system, component


class SenderWatch:
    """Senders that use our components, on one link. For one thread."""

    def __init__(self) -> None:
        self._sent: dict[tuple[Source, int], bytes] = {}  # last frame of each sequence number
        self._start_s: float | None = None
        self._reported_s: dict[Source, float] = {}
        self._noticed: tuple[str, float] | None = None

    def sent(self, source: Source, frame: bytes, now_s: float) -> None:
        """Remember a frame of ours."""
        if self._start_s is None:
            self._start_s = now_s
        self._sent[source, frame[_SEQUENCE]] = frame

    def is_ours(self, message: mavlink.MAVLink_message, source: Source) -> bool:
        """Whether a received frame is one that we have sent."""
        return self._sent.get((source, message.get_seq())) == bytes(message.get_msgbuf())

    def notice(self, source: Source, text: str, now_s: float) -> bool:
        """Note a frame of a second sender; return whether to report it, once a minute.

        Args:
            source: system and component.
            text: for people.
            now_s: time of the caller.
        """
        if self._start_s is None or now_s - self._start_s < _STARTED_S:
            return False
        self._noticed = text, now_s
        if now_s - self._reported_s.get(source, -math.inf) < _REPEAT_S:
            return False
        if len(self._reported_s) >= _SOURCES_MAX and source not in self._reported_s:
            return False
        self._reported_s[source] = now_s
        return True

    def trouble(self, now_s: float) -> str | None:
        """Description for 10 s after a frame of a second sender, else `None`."""
        if self._noticed is None or now_s - self._noticed[1] > _RECENT_S:
            return None
        return self._noticed[0]


class CopyWatch:
    """Frames of one component that have come before. For one thread."""

    def __init__(self) -> None:
        self._newest: int | None = None
        self._frames: dict[int, tuple[bytes, float]] = {}  # last one of each number, and its time

    def is_late_copy(self, message: mavlink.MAVLink_message, now_s: float) -> bool:
        """Whether a frame has come before, byte by byte, and a later one since.

        A new frame goes on with the numbers, so that an equal one is none of before; a sender that
        does not count, and a copy that comes at once, are taken.
        """
        number = message.get_seq()
        frame = bytes(message.get_msgbuf())
        first, first_s = self._frames.get(number, (b"", now_s))
        behind = 0 if self._newest is None else (self._newest - number) % _NUMBERS
        if 0 < behind < _NUMBERS // 2 and first == frame and now_s - first_s <= SLOWER_WAY_S:
            return True
        self._frames[number] = frame, now_s
        self._newest = number
        return False

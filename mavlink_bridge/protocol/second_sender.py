"""Notices frames that claim to come from a component of this service, but do not.

A router may send our own frames back: those are equal, byte by byte, to a frame that we have sent.
All others come from a second sender: another program that uses the same component, or a forger.
Every receiver takes its values for ours.
"""

import math

from pymavlink.dialects.v20 import common as mavlink

_STARTED_S = 2.0  # in which frames of an earlier run may come back
_REPEAT_S = 60.0
_RECENT_S = 10.0
_SOURCES_MAX = 64
_SEQUENCE = 4  # offset of the sequence number in a MAVLink 2 frame

Source = tuple[int, int]  # system, component


class SecondSender:
    """Senders that use our components, on one link. For one thread."""

    def __init__(self) -> None:
        self._sent: dict[tuple[Source, int], bytes] = {}  # last frame of each sequence number
        self._start_s: float | None = None
        self._reported_s: dict[Source, float] = {}
        self._noticed: tuple[Source, float] | None = None

    def sent(self, source: Source, frame: bytes, now_s: float) -> None:
        """Remember a frame of ours."""
        if self._start_s is None:
            self._start_s = now_s
        self._sent[source, frame[_SEQUENCE]] = frame

    def is_ours(self, message: mavlink.MAVLink_message, source: Source) -> bool:
        """Whether a received frame is one that we have sent."""
        return self._sent.get((source, message.get_seq())) == bytes(message.get_msgbuf())

    def notice(self, source: Source, now_s: float) -> bool:
        """Note a frame of a second sender; return whether to report it, once a minute."""
        if self._start_s is None or now_s - self._start_s < _STARTED_S:
            return False
        self._noticed = source, now_s
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
        return "second sender of {}/{} on the link".format(*self._noticed[0])

# SPDX-License-Identifier: Apache-2.0
"""Notices a second autopilot with the system id of the vehicle: a command would reach both.

One autopilot may send by several ways: channels of its own with a count of frames each, radios and
routers that lose, repeat and delay. Therefore sequence numbers, transport addresses, the mode and
the armed state are no evidence. A sign is what one autopilot cannot send by any ways of which the
slowest is `SLOWER_WAY_S` behind the fastest:

- Clock: a time since boot that is behind the last one by more than that, and itself later than
  that. After a restart, frames from before it arrive for so long, and the clock of the new run is
  not as late then; one that is can go back once in a run. Two autopilots whose starts are further
  apart go back with each change between them.
- Place: at one time since boot there is one place, by whatever way and however late its message
  comes. In the order of that time, a position far from those just before and after it is of
  another vehicle, or an error of the estimate. That finds autopilots that have started together.
  The first 35 s of a run are not compared: positions of the one before may have the same times.
- Board: its unique id never changes. Each of its two fields is compared with itself alone, because
  MAVLink 1 has one of them.

Each has a number of signs within 20 s that makes a doubt: more than one autopilot gives that
restarts, loses its position, or in whose name one frame is forged. In the doubt each sign counts,
also that of a board other than the one before it: the vehicle may be the silent one. The doubt ends
15 s after the last sign, the frames of the other one having arrived by the slowest way. A place can
be that of the other one of up to 20 s ago.

Limits: two autopilots that started within 15 s of each other, at one place, without a unique id are
not distinguished; nor is the vehicle known that is left of two without one.
"""

import math
from bisect import bisect
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.second_sender import SLOWER_WAY_S

WINDOW_S = 20.0
_SIGNS: Mapping[str, int] = MappingProxyType({"clock": 3, "place": 6, "board": 3})
_CLOCKS = ("SYSTEM_TIME", "GLOBAL_POSITION_INT", "ATTITUDE")
_S_PER_MS = 0.001
_M_PER_MM = 0.001
_DEG_PER_RAW = 1e-7
_M_PER_DEG = 111_195.0
_TURN_DEG = 360.0
_PLACES_MAX = 200  # ten seconds of two autopilots at 10 Hz
_NEAR_S = 1.0  # between positions that are compared
# Farther than these together: a vehicle flies 100 m/s at most.
_APART_M = 30.0
_APART_M_S = 100.0


def doubt_text(system: int) -> str:
    """Description of a doubt, for people."""
    return f"second autopilot of system {system}"


@dataclass(frozen=True, slots=True)
class _Place:
    """A position, and its time since boot."""

    boot_s: float
    received_s: float
    lat_deg: float
    lon_deg: float
    alt_m: float

    def is_far_from(self, other: "_Place") -> bool:
        """Whether one vehicle cannot have been at both."""
        east_deg = math.remainder(self.lon_deg - other.lon_deg, _TURN_DEG)
        apart_m = math.hypot(
            (self.lat_deg - other.lat_deg) * _M_PER_DEG,
            east_deg * _M_PER_DEG * math.cos(math.radians(self.lat_deg)),
            self.alt_m - other.alt_m,
        )
        return apart_m > _APART_M + _APART_M_S * abs(self.boot_s - other.boot_s)


class SecondAutopilotWatch:
    """Signs of a second autopilot at the address of the vehicle. For one thread.

    Attributes:
        last_sign_s: time of the last sign, also of one that makes no doubt.
        began_s: first sign of the last doubt.
    """

    def __init__(self) -> None:
        self.last_sign_s = -math.inf
        self.began_s = -math.inf
        self._ends_s = -math.inf  # of the last doubt, without another sign
        self._signs_s: dict[str, deque[float]] = {
            of: deque(maxlen=number) for of, number in _SIGNS.items()
        }
        self._boot_s = 0.0  # as last received
        self._places: deque[_Place] = deque(maxlen=_PLACES_MAX)
        self._boards: dict[str, bytes] = {}  # as last received, by field
        self._own_boards: dict[str, bytes] = {}  # without a sign for a while
        self._first_s = math.inf  # first message

    def is_doubtful(self, now_s: float) -> bool:
        """Whether a second autopilot is there, or was a moment ago."""
        return now_s <= self._ends_s

    def receive(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        """Read a message from the address of the vehicle."""
        self._first_s = min(self._first_s, now_s)
        kind = message.get_type()
        if kind == "AUTOPILOT_VERSION":
            self._compare_board(message, now_s)
        elif kind in _CLOCKS and message.time_boot_ms:
            boot_s = message.time_boot_ms * _S_PER_MS
            if SLOWER_WAY_S < boot_s < self._boot_s - SLOWER_WAY_S:
                self._note("clock", now_s)
            self._boot_s = boot_s
            known = kind == "GLOBAL_POSITION_INT" and (message.lat, message.lon) != (0, 0)
            if known and boot_s > WINDOW_S + SLOWER_WAY_S:
                self._compare_place(message, boot_s, now_s)

    def _compare_place(
        self, message: mavlink.MAVLink_global_position_int_message, boot_s: float, now_s: float
    ) -> None:
        place = _Place(
            boot_s,
            now_s,
            message.lat * _DEG_PER_RAW,
            message.lon * _DEG_PER_RAW,
            message.alt * _M_PER_MM,
        )
        known = sorted(
            [one for one in self._places if now_s - one.received_s <= WINDOW_S],
            key=lambda one: one.boot_s,
        )
        after = bisect(known, boot_s, key=lambda one: one.boot_s)
        around = known[max(after - 1, 0) : after + 1]
        near = [one for one in around if abs(one.boot_s - boot_s) <= _NEAR_S]
        if near and all(place.is_far_from(one) for one in near):
            self._note("place", now_s)
        self._places.append(place)

    def _compare_board(
        self, version: mavlink.MAVLink_autopilot_version_message, now_s: float
    ) -> None:
        ids = {"uid2": bytes(version.uid2), "uid": version.uid.to_bytes(8, "big")}
        field, board = next(((field, raw) for field, raw in ids.items() if any(raw)), ("", b""))
        changed = self._boards.get(field, board) != board
        self._boards[field] = board
        if changed or (self.is_doubtful(now_s) and self._own_boards.get(field, board) != board):
            self._note("board", now_s)
        elif now_s - max(self.last_sign_s, self._first_s) > WINDOW_S:
            self._own_boards[field] = board

    def _note(self, of: str, now_s: float) -> None:
        """Count a sign."""
        signs_s = self._signs_s[of]
        signs_s.append(now_s)
        self.last_sign_s = now_s
        if not self.is_doubtful(now_s):
            if len(signs_s) < _SIGNS[of] or now_s - signs_s[0] > WINDOW_S:
                return
            self.began_s = signs_s[0]
        self._ends_s = now_s + SLOWER_WAY_S

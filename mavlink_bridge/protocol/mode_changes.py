# SPDX-License-Identifier: Apache-2.0
"""Changes of the flight mode in the heartbeats of one autopilot, which may come by several ways.

A heartbeat has no time. One that comes by a slower way (a second channel of the autopilot, which a
router or a modem delays) shows the mode of a moment ago, next to those of the faster way. Taken as
a change it would be a pilot's, who overrides a command for the rest of the flight.
"""

from mavlink_bridge.protocol.second_sender import SLOWER_WAY_S

# Without a heartbeat in the present mode; by the faster way one comes each second.
_LASTS_S = 1.8


class ModeChanges:
    """Modes of one autopilot by all its heartbeats. For one thread."""

    def __init__(self) -> None:
        self._mode: int | None = None
        self._left_s: dict[int, float] = {}  # when each mode of the last 15 s was left
        self._back_s: float | None = None  # first heartbeat in such a mode since one in the present

    @property
    def doubtful(self) -> bool:
        """Whether the last heartbeat has shown a mode that was left: late, or chosen once more."""
        return self._back_s is not None

    def is_late(self, mode: int, now_s: float) -> bool:
        """Take in HEARTBEAT.custom_mode; whether it is one that was left and may only come late.

        A mode that was left in the last 15 s is chosen once more when for 1.8 s no heartbeat has
        shown the present one.
        """
        if mode == self._mode:
            self._back_s = None
            return False
        times_s = self._left_s.items()
        self._left_s = {one: at_s for one, at_s in times_s if now_s - at_s <= SLOWER_WAY_S}
        if mode in self._left_s:
            if self._back_s is None:
                self._back_s = now_s
            if now_s - self._back_s < _LASTS_S:
                return True
        if self._mode is not None:
            self._left_s[self._mode] = now_s
        self._left_s.pop(mode, None)
        self._mode = mode
        self._back_s = None
        return False

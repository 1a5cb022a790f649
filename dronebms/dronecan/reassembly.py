# SPDX-License-Identifier: Apache-2.0
"""Frames -> transfers. Bounded in memory and, by a budget, in the transfers that are decoded.

Source: the DroneCAN specification, "CAN bus transport layer": the last byte of a frame has start,
end and toggle bit and the transfer id.
"""

from collections import Counter
from collections.abc import Sequence

from dronebms.dronecan.frames import CanFrame

_START = 0x80
_END = 0x40
_TOGGLE = 0x20
_TRANSFER_ID = 0x1F
_PENDING_MAX = 128
_FRAMES_MAX = 64  # of the largest battery message
_TIMEOUT_S = 2.0  # of the specification, between frames of a transfer
_PER_SENDER = 60  # transfers a second of one data type and sender: six packs at 10 Hz
_ALL = 500  # of all senders; decoding them takes some 5 % of a core


class Reassembly:
    """Collects the frames of multi-frame transfers.

    Attributes:
        counts: transfers `broken` and `dropped` (more a second than the budget).
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._pending: dict[int, tuple[float, list[CanFrame]]] = {}  # by CAN id
        self._second = 0
        self._spent: Counter[int] = Counter()  # in this second, by CAN id
        self._all = 0

    def receive(self, frame: CanFrame, now_s: float) -> Sequence[CanFrame] | None:
        """The frames of the transfer that this one completes, `None` if it completes none."""
        if not frame.data:
            return None
        tail = frame.data[-1]
        if tail & _START:
            if self._pending.pop(frame.can_id, None) is not None:
                self.counts["broken"] += 1
            frames = [frame]
        else:
            began_s, frames = self._pending.pop(frame.can_id, (now_s, []))
            if not frames or now_s - began_s > _TIMEOUT_S or not _continues(frames, tail):
                self.counts["broken"] += bool(frames)
                return None
            frames.append(frame)
        if tail & _END:
            return frames if self._affordable(frame, now_s) else None
        if len(frames) < _FRAMES_MAX:
            self._pending[frame.can_id] = (now_s, frames)
            if len(self._pending) > _PENDING_MAX:
                del self._pending[next(iter(self._pending))]
        return None

    def _affordable(self, frame: CanFrame, now_s: float) -> bool:
        """Whether the budget of this second has room for a transfer."""
        if int(now_s) != self._second:
            self._second = int(now_s)
            self._spent.clear()
            self._all = 0
        if self._spent[frame.can_id] >= _PER_SENDER or self._all >= _ALL:
            self.counts["dropped"] += 1
            return False
        self._spent[frame.can_id] += 1
        self._all += 1
        return True


def _continues(frames: Sequence[CanFrame], tail: int) -> bool:
    """Whether a frame with this last byte is the next one of the transfer."""
    last = frames[-1].data[-1]
    return last & _TRANSFER_ID == tail & _TRANSFER_ID and bool((last ^ tail) & _TOGGLE)

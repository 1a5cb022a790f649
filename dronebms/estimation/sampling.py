"""Snapshots -> readings of the weakest cell, whole seconds of them, and the moment of the end.

Volts, amperes (discharge positive), seconds. A current that is not heard while voltages are is
counted from the gauge's remaining charge, or stood in for: time does not stand still with it.
"""

import math
from collections import deque
from dataclasses import dataclass

from smartbattery.snapshot import Snapshot

SECOND_S = 1.0 - 1e-6
_COUNT_S, _LEAST_COUNT_S = 10.0, 5.0  # over which a gauge's remaining charge tells a current
_SD_COUNT_FRAC = 0.1  # of such a current; one that nothing tells is in doubt as a whole
_STANDS_IN_S = 60.0  # a current that nothing tells any more


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading, or the mean of a second of them: the weakest cell, the pack's load."""

    t_s: float
    cell_v: float
    current_a: float
    pack_v: float
    doubt_a: float = 0.0  # how far the current may be off; 0 is one that was read


class CurrentTracker:
    """What flows: as it was read, and while it is not, as well as it is known."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, float]] = deque()  # since when, remaining ampere-seconds
        self._known: tuple[float, float] | None = None  # when it was last read or counted, amperes

    def take(self, snapshot: Snapshot) -> tuple[float, float] | None:
        """Return (amperes, how far they may be off), None when nothing is known of them."""
        counted_a, amps, doubt_frac = self._count(snapshot), snapshot.current_a, 0.0
        if amps is None:
            amps, doubt_frac = counted_a, _SD_COUNT_FRAC
        if amps is not None:
            self._known = snapshot.t_s, amps
        elif self._known is not None:
            amps, doubt_frac = self._known[1], 1.0
        else:
            return None
        if snapshot.beyond_a is not None:
            amps = max(amps, snapshot.beyond_a)
        return amps, doubt_frac * abs(amps)

    def is_known(self, now_s: float) -> bool:
        """Return whether something has told the current within a minute."""
        return self._known is not None and now_s - self._known[0] <= _STANDS_IN_S

    def _count(self, snapshot: Snapshot) -> float | None:
        """Return the mean current by the remaining charge; one that stands still tells nothing."""
        counts, now_s, mah = self._counts, snapshot.t_s, snapshot.remaining_mah
        read_s = snapshot.read_at_s.get("remaining_mah", now_s)
        if mah is not None and (not counts or mah * 3.6 != counts[-1][1]):
            counts.append((read_s, mah * 3.6))
        while len(counts) > 1 and counts[1][0] <= now_s - _COUNT_S:
            counts.popleft()
        if not counts or now_s - counts[-1][0] > _LEAST_COUNT_S:
            return None
        span_s, fallen_as = counts[-1][0] - counts[0][0], counts[0][1] - counts[-1][1]
        return fallen_as / span_s if span_s >= _LEAST_COUNT_S and fallen_as > 0 else None


def read(
    snapshot: Snapshot, cells: int, after_s: float | None, flow: CurrentTracker
) -> Reading | None:
    """Return the snapshot as a reading, None when it holds none newer than `after_s`."""
    read_s, flows = snapshot.read_at_s.get("voltage_v"), flow.take(snapshot)
    if snapshot.voltage_v is None or flows is None or read_s is None or cells == 0:
        return None
    if after_s is not None and read_s <= after_s:
        return None
    lowest = snapshot.lowest_cell()
    cell_v = snapshot.voltage_v / cells if lowest is None else lowest[1]
    return Reading(read_s, cell_v, flows[0], snapshot.voltage_v, flows[1])


class SecondMean:
    """Gathers readings until they span a second."""

    def __init__(self) -> None:
        self._pending: list[tuple[float, Reading]] = []  # weights in seconds, readings
        self._due_s = -math.inf

    def add(self, dt_s: float, reading: Reading) -> tuple[float, float, Reading] | None:
        """Return (seconds, the last interval, the mean) when a second is full."""
        pending = self._pending
        pending.append((dt_s, reading))
        total_s = sum(weight for weight, _ in pending)
        if self._due_s == -math.inf:
            self._due_s = reading.t_s - dt_s + SECOND_S
        if reading.t_s < self._due_s:
            return None
        # Seconds of the clock: one reading less moves the later seconds by nothing.
        self._due_s += 1.0 + math.floor(reading.t_s - self._due_s)
        self._pending = []

        def mean(of: str) -> float:
            return float(sum(w * getattr(r, of) for w, r in pending)) / total_s

        middle = map(mean, ("cell_v", "current_a", "pack_v", "doubt_a"))
        return total_s, dt_s, Reading(reading.t_s, *middle)

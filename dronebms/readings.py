"""Snapshots -> readings of the weakest cell, whole seconds of them, and the moment of the end."""

import math
from collections import deque
from dataclasses import dataclass

from dronebms.plausible import LONE_S
from smartbattery.snapshot import Snapshot

SECOND_S = 1.0 - 1e-6
_END_MEAN_S = 5.0  # the end: this mean at the cut-off ...
_END_INSTANT_V = 0.25  # ... or one instant this far below it (DESIGN.md, section 4)


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading, or the mean of a second of them: the weakest cell, the pack's load."""

    t_s: float
    cell_v: float
    current_a: float
    pack_v: float


def read(snapshot: Snapshot, cells: int, after_s: float | None) -> Reading | None:
    """Return the snapshot as a reading, None when it holds none newer than `after_s`."""
    read_s = snapshot.read_at_s.get("voltage_v")
    if snapshot.voltage_v is None or snapshot.current_a is None or read_s is None or cells == 0:
        return None
    if after_s is not None and read_s <= after_s:
        return None
    lowest = snapshot.lowest_cell()
    cell_v = snapshot.voltage_v / cells if lowest is None else lowest[1]
    return Reading(read_s, cell_v, snapshot.current_a, snapshot.voltage_v)


class Second:
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

        return (
            total_s,
            dt_s,
            Reading(reading.t_s, mean("cell_v"), mean("current_a"), mean("pack_v")),
        )


class End:
    """Latches the end of a pack. A lone absurd reading, however often polled, is no end."""

    def __init__(self, cutoff_v: float) -> None:
        self._cutoff_v = cutoff_v
        self._recent: deque[tuple[float, float]] = deque()
        self._deep_s: float | None = None  # since when far below the cut-off
        self.reached = False

    def update(self, reading: Reading) -> None:
        """Take in a reading."""
        if reading.cell_v > self._cutoff_v - _END_INSTANT_V:
            self._deep_s = None
        elif self._deep_s is None:
            self._deep_s = reading.t_s
        deep = self._deep_s is not None and reading.t_s - self._deep_s >= LONE_S
        recent = self._recent
        recent.append((reading.t_s, reading.cell_v))
        while len(recent) > 1 and recent[1][0] <= reading.t_s - _END_MEAN_S:
            recent.popleft()
        spans = len(recent) > 1 and reading.t_s - recent[0][0] >= _END_MEAN_S - SECOND_S
        mean_v = sum(v for _, v in recent) / len(recent)
        self.reached |= deep or (spans and mean_v <= self._cutoff_v)

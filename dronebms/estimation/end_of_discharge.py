"""Moved."""

from collections import deque

from dronebms.core.pack_data import SINGLE_READING_S
from dronebms.estimation.sampling import SECOND_S, Reading

_END_MEAN_S = 5.0  # the end: this mean at the cut-off ...


_END_INSTANT_V = 0.25  # ... or one instant this far below it (DESIGN.md, section 4)


class EndOfDischarge:
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
        deep = self._deep_s is not None and reading.t_s - self._deep_s >= SINGLE_READING_S
        recent = self._recent
        recent.append((reading.t_s, reading.cell_v))
        while len(recent) > 1 and recent[1][0] <= reading.t_s - _END_MEAN_S:
            recent.popleft()
        spans = len(recent) > 1 and reading.t_s - recent[0][0] >= _END_MEAN_S - SECOND_S
        mean_v = sum(v for _, v in recent) / len(recent)
        self.reached |= deep or (spans and mean_v <= self._cutoff_v)

# SPDX-License-Identifier: Apache-2.0
"""Voltages of a pack and its cells, second by second, and how they move. Volts, seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

# Recorded packs read cells and pack at different times: up to 8 % for a second and 3.1 % for 3 s
# in a step of the load; the median of 30 s is within 2.5 %.
_GROSS_FRAC = 0.2  # no step of the load explains it: decided by one reading
SLACK_S = 1e-6
STUCK_S = 20.0  # recorded readings are constant for up to 18 s
MOVED_V = 0.01  # movement of a cell that a working reading shows: 10 steps of a gauge
FEW = 3  # samples that show a step or a stuck reading
# samples before a step and after it, whose medians are compared
BEFORE = 5
AFTER = 4
STEP_S = 12.0  # that these may span


@dataclass(frozen=True, slots=True)
class VoltageSample:
    """Readings of one second."""

    t_s: float
    pack_v: float
    cells_v: tuple[float, ...]
    current_a: float | None = None

    @property
    def difference_v(self) -> float:
        """Sum of the cells above the pack's voltage."""
        return sum(self.cells_v) - self.pack_v

    @property
    def difference_frac(self) -> float:
        """Sum of the cells above the pack's voltage, as a share of it."""
        return sum(self.cells_v) / self.pack_v - 1.0

    @property
    def is_gross(self) -> bool:
        """Whether no step of the load can explain the difference."""
        return abs(self.difference_frac) > _GROSS_FRAC


def last_seconds(samples: Sequence[VoltageSample], span_s: float) -> list[VoltageSample]:
    """The newest samples that span a time; empty if there are fewer."""
    since_s = samples[-1].t_s - span_s
    if samples[0].t_s > since_s + SLACK_S:
        return []
    return [sample for sample in samples if sample.t_s >= since_s - SLACK_S]


def movement(readings: Sequence[float]) -> float:
    """Largest less smallest of some readings."""
    return max(readings) - min(readings)


def cell_movements(samples: Sequence[VoltageSample]) -> list[float]:
    """Movement of each cell."""
    return [movement(column) for column in zip(*(s.cells_v for s in samples), strict=True)]


def step_samples(samples: Sequence[VoltageSample]) -> Sequence[VoltageSample]:
    """The newest samples that show a step; empty if there are too few in a row."""
    recent = samples[-BEFORE - AFTER :]
    is_whole = len(recent) == BEFORE + AFTER and recent[-1].t_s - recent[0].t_s <= STEP_S
    return recent if is_whole else ()


def median_step(values: Sequence[float]) -> float:
    """The last values less those before them, by their medians."""
    return median(values[BEFORE:]) - median(values[:BEFORE])

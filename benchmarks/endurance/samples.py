# SPDX-License-Identifier: Apache-2.0
"""Memory, threads and descriptors of a process as samples, their slope, and the table of verdicts.

Memory in MiB; times in s; slopes per hour, by the median of the slopes of all pairs of samples (Theil-Sen), so
that a burst has no weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

MOST_MIB_H = 0.5  # slope of memory that counts as flat
_MOST_PAIRS = 600  # samples of a slope; more are thinned
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process."""

    t_s: float
    rss: float  # MiB
    anonymous: float  # of it, no pages of files: those of libraries count once they are touched
    threads: float
    descriptors: float


def sample(pid: int, t_s: float) -> Sample:
    """Look at a process.

    Raises:
        OSError: there is no such process.
    """
    process = Path(f"/proc/{pid}")
    rows = (process / "smaps_rollup").read_text().splitlines()[1:]
    kib = {row.split(":")[0]: int(row.split()[1]) for row in rows}
    return Sample(
        t_s,
        kib["Rss"] / 1024,
        kib["Anonymous"] / 1024,
        len(list((process / "task").iterdir())),
        len(list((process / "fd").iterdir())),
    )


def slope_h(times_s: Sequence[float], values: Sequence[float]) -> float:
    """Median slope of all pairs in units per hour; 0 for fewer than two samples."""
    step = max(1, len(times_s) // _MOST_PAIRS)
    at_s, value = np.array(times_s)[::step], np.array(values)[::step]
    first, second = np.triu_indices(len(at_s), k=1)
    if not len(first):
        return 0.0
    return float(np.median((value[second] - value[first]) / (at_s[second] - at_s[first]))) * _HOUR_S


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of the table."""

    name: str
    figures: str
    holds: bool = True

    def __str__(self) -> str:
        return f"{self.name:<34}{self.figures:<62}{'holds' if self.holds else 'FAILS'}"


def flatness(name: str, samples: Sequence[Sample], warm_s: float) -> list[Verdict]:
    """Whether memory, threads and descriptors of a process are flat after a time for warming up."""
    warm = [one for one in samples if one.t_s >= warm_s]
    times_s = [one.t_s for one in warm]
    rows = []
    for what in ("rss", "anonymous", "threads", "descriptors"):
        values = [float(getattr(one, what)) for one in warm]
        if not values:
            rows.append(Verdict(f"{name}: {what}", "no samples", holds=False))
            continue
        quarter = max(1, len(values) // 4)
        first, last = median(values[:quarter]), median(values[-quarter:])
        slope = slope_h(times_s, values)
        is_memory = what in ("rss", "anonymous")
        unit = " MiB" if is_memory else ""
        figures = f"{first:.2f} -> {last:.2f}{unit}, {min(values):.2f} to {max(values):.2f}, {slope:+.3f}/h"
        flat = slope < MOST_MIB_H if is_memory else last <= first and slope < 1.0
        rows.append(Verdict(f"{name}: {what}", figures, flat))
    return rows

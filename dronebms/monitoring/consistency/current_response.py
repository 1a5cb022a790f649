# SPDX-License-Identifier: Apache-2.0
"""Response of the cells to the current: what refutes a current without the gauge's charge.

Amperes, volts of a cell, seconds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from dronebms.core.pack_data import LOAD_C, PackData
from dronebms.core.resolution import Resolution

# Response of the cells, between the medians of two times of 5 s with 2 s between them: two seconds
# of another value are no step. In recorded and computed flights every step of 1.5 C has at least
# 0.1 times the resistance of a new cell, and none below 0.05 C has a sag of 40 mV.
_MIDDLE = 5
_COMPARED = 12
_STEP_C = 1.5
_NO_RESPONSE = 0.08
_HEALTHY_C = 1.0
_HEALTHY = (0.2, 8.0)
_SAG_V = 0.04
_REST_C = 0.05
_NO_CURRENT = 10.0
_STUCK_S = 24  # recorded readings are constant for up to 18 s
_MEAN = 4  # samples
_FLUCTUATES_V = 0.003  # root mean square of the bends of means of 4 s
_ABRUPT_FRAC = 0.6  # of a step that passes within 2 s; the knee of a curve does not


@dataclass(frozen=True, slots=True)
class CurrentSample:
    """Means of one second."""

    t_s: float
    current_a: float
    cell_v: float  # median of the cells
    share_v: float  # a cell's share of the pack's voltage
    still: bool  # the current was the same to the bit as in the second before


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the samples are judged by."""

    pack_data: PackData
    capacity_mah: float
    average_a: float | None  # the gauge's own
    resolution: Resolution  # of the readings
    armed: bool | None  # None: the pack may fly

    @property
    def ah(self) -> float:
        """Rated capacity."""
        return self.capacity_mah / 1000.0

    @property
    def flies(self) -> bool:
        """Whether the pack flies or may fly."""
        return self.armed is not False

    @property
    def ohm(self) -> float:
        """Resistance of a new cell."""
        return self.pack_data.chemistry.new_cell_ohm(self.ah)

    @property
    def hidden_v(self) -> float:
        """Change of a cell's voltage that the resolution of voltage and current explains."""
        return self.resolution.cell_v + self.resolution.current_a * self.ohm


@dataclass(frozen=True, slots=True)
class CurrentStep:
    """Change of the current within some seconds, and the response of the cells."""

    before_a: float
    after_a: float
    cell_v: float  # change of a cell; the smaller one of its own reading and of the pack's share
    response: float  # resistance of the cells relative to a new one; 0 without a change
    hidden: float  # part of it that the resolution hides

    @property
    def step_a(self) -> float:
        """Change of the current."""
        return self.after_a - self.before_a

    def lacks_response(self, by: Evidence) -> bool:
        """Whether the current has stepped and the cells have not."""
        is_step = abs(self.step_a) >= _STEP_C * by.ah
        return is_step and self.response + self.hidden <= _NO_RESPONSE

    def is_healthy(self, by: Evidence) -> bool:
        """Whether the cells respond to the current as those of a sound or a worn pack do."""
        return (
            abs(self.step_a) >= _HEALTHY_C * by.ah and _HEALTHY[0] <= self.response <= _HEALTHY[1]
        )


def newest_step(samples: Sequence[CurrentSample], by: Evidence) -> CurrentStep | None:
    """The change of the last seconds, `None` if there are too few."""
    samples = samples[-_COMPARED:]
    if len(samples) < _COMPARED:
        return None
    before_a, *before_v = _middle(samples[:_MIDDLE])
    after_a, *after_v = _middle(samples[-_MIDDLE:])
    step_a = after_a - before_a
    # Cells and pack are not read at once: no response is one of both, and so is a sag.
    steps_v = [after - before for before, after in zip(before_v, after_v, strict=True)]
    return CurrentStep(
        before_a,
        after_a,
        cell_v=min(steps_v, key=abs),
        response=max([-step_v / step_a / by.ohm for step_v in steps_v]) if step_a else 0.0,
        hidden=by.hidden_v / abs(step_a) / by.ohm if step_a else 0.0,
    )


def stuck_or_missing(
    samples: Sequence[CurrentSample], step: CurrentStep, by: Evidence
) -> str | None:
    """Why a current is not that of the cells: it stands still, or there is none while they sag."""
    stuck = f"current stuck at {step.after_a:.1f} A"
    if is_stuck(samples, by, _STUCK_S):
        return stuck
    samples = samples[-_COMPARED:]
    follows = abs(step.step_a) * by.ohm * _NO_CURRENT >= abs(step.cell_v)
    if follows or not _is_abrupt(samples, step.cell_v, by):
        return None
    # One that flows in the newest second was read after the voltages.
    currents_a = step.before_a, step.after_a, samples[-1].current_a
    if max(map(abs, currents_a)) > _REST_C * by.ah:
        return stuck if all(sample.still for sample in samples) else None
    if step.cell_v < 0.0:
        return f"current {step.after_a:.1f} A, cells sag {-step.cell_v * 1000.0:.0f} mV"
    return None


def _middle(samples: Sequence[CurrentSample]) -> tuple[float, float, float]:
    """Medians of current, cell and pack's share."""
    rows = zip(*((s.current_a, s.cell_v, s.share_v) for s in samples), strict=True)
    current_a, cell_v, share_v = map(median, rows)
    return current_a, cell_v, share_v


def is_stuck(samples: Sequence[CurrentSample], by: Evidence, count: int) -> bool:
    """Whether a load stands still to the bit for some seconds while the cells fluctuate."""
    recent = samples[-count:]
    if len(recent) < count or not all(sample.still for sample in recent):
        return False
    if recent[-1].current_a < LOAD_C * by.ah:
        return False
    parts = (recent[k : k + _MEAN] for k in range(0, count, _MEAN))
    means_v = [fmean([sample.cell_v for sample in part]) for part in parts]
    # Second differences of neighbours: what is left of a discharge at a constant load is no more
    # than the noise of a mean.
    bends_v = [a - 2.0 * b + c for a, b, c in zip(means_v, means_v[1:], means_v[2:], strict=False)]
    return math.sqrt(fmean([bend_v**2 for bend_v in bends_v])) >= _FLUCTUATES_V + by.hidden_v


def _is_abrupt(samples: Sequence[CurrentSample], step_v: float, by: Evidence) -> bool:
    """Whether the cells stepped as with a load, within 2 s."""
    cells_v = [sample.cell_v for sample in samples]
    steps_v = [abs(after - before) for before, after in zip(cells_v, cells_v[2:], strict=False)]
    return abs(step_v) >= _SAG_V + by.hidden_v and max(steps_v) >= _ABRUPT_FRAC * abs(step_v)

"""Cross-check of the pack's voltage and the cells' voltages.

The sum of the cells is the pack's voltage. Where the two differ, these readings decide, in this
order; all are evaluated once a second.

1. Cells that stand still to the bit while the others move are stuck and rejected. If all are
   stuck, cells and pack are disputed, because no reading shows the weakest cell.
2. One cell that is as far from the other cells as the sum is from the pack is rejected: the pack
   agrees with the others. Differences that were there in the oldest readings in view, when sum and
   pack agreed, are the pack's own and do not count.
3. A single cell and its pack are one against one: a voltage that no such cell has is rejected,
   else both are disputed.
4. All cells that step away from a pack that does not step are rejected: a step of the load moves
   both. So are cells below any charge from the first reading on, if the pack is not.
5. Cells that equal each other to the bit, or stand still, are one reading and not many: if the
   pack sinks away from them gradually, one of the hidden cells may sink. Disputed.
6. Otherwise the cells agree with each other, and the pack is rejected: many readings against one.

Volts. The verdict stays until the readings agree again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from statistics import median

from dronebms.core.chemistry import Chemistry

# Recorded packs read cells and pack at different times: up to 8 % for a second and 3.1 % for 3 s
# in a step of the load; the median of 30 s is within 2.5 %.
_GROSS_FRAC = 0.2  # no step of the load explains it: decided by one reading
_FAST_FRAC, _FAST_S = 0.05, 3.0
_SLOW_FRAC, _SLOW_S = 0.027, 30.0
_STUCK_S = 20.0  # recorded readings are constant for up to 18 s
_MOVED_V = 0.01  # movement of a cell that a working reading shows: 10 steps of a gauge
_CELL_V, _CELL_FRAC = 0.03, 0.1  # a cell's difference that explains the sum's, within these
_ODD_CELL_V = 0.1  # least difference of a single wrong cell ...
_LEAST_CELLS = 3  # ... among so many: of two, neither is the odd one
_GRADUAL_FRAC = 0.2  # share of the difference that grew in view
_ABOVE_FULL_V, _LEAST_V = 0.3, 1.0  # no cell of a working pack is outside
_STEPPED, _STOOD = 0.75, 0.25  # shares of a difference: what stepped made it, what stood did not
_EMPTY_V = 0.5  # below the resting voltage of an empty cell: a deep discharge
_SECOND_S = 1.0
_MOST_GAP_S = 5.5  # between samples that are compared; some logs have a row in 5 s
_SLACK_S = 1e-6


class Fault(Enum):
    """Verdict on the voltages."""

    PACK = "pack voltage rejected"
    CELLS = "cells rejected"  # some of them
    ALL_CELLS = "all cells rejected"
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True)
class VoltageSample:
    """Readings of one second."""

    t_s: float
    pack_v: float
    cells_v: tuple[float, ...]

    @property
    def difference_frac(self) -> float:
        """Sum of the cells above the pack's voltage, as a share of it."""
        return sum(self.cells_v) / self.pack_v - 1.0

    @property
    def is_gross(self) -> bool:
        """Whether no step of the load can explain the difference."""
        return abs(self.difference_frac) > _GROSS_FRAC


@dataclass(frozen=True, slots=True)
class VoltageState:
    """Verdict and the seconds that it rests on."""

    samples: tuple[VoltageSample, ...] = ()
    fault: Fault | None = None
    cells: tuple[int, ...] = ()  # rejected, from 0

    def added(self, sample: VoltageSample, chemistry: Chemistry) -> "VoltageState":
        """State after a second."""
        samples = (*self.samples, sample)
        gap = sample.t_s - samples[-2].t_s if self.samples else 0.0
        if gap > _MOST_GAP_S or len(samples[0].cells_v) != len(sample.cells_v):
            samples = (sample,)
        while samples[0].t_s < sample.t_s - _SLOW_S:
            samples = samples[1:]
        fault, cells = _verdict(samples, self, chemistry)
        return VoltageState(samples, fault, cells)


def _verdict(
    samples: Sequence[VoltageSample], before: VoltageState, chemistry: Chemistry
) -> tuple[Fault | None, tuple[int, ...]]:
    """The verdict after a second and the rejected cells; `before` has the one until then."""
    stuck, newest = stuck_cells(samples), samples[-1]
    if len(stuck) == len(newest.cells_v):
        return Fault.DISPUTED, ()
    settled = before.fault in (None, Fault.CELLS)
    odd = (stuck or _odd_cell(samples) or _still_odd(samples, before.cells)) if settled else ()
    if odd:
        return Fault.CELLS, odd
    if not _differ(samples, settled=settled):
        return None, ()
    if not settled:  # stays until the readings agree again
        return before.fault, ()
    if len(newest.cells_v) == 1:
        return _one_against_one(newest, chemistry)
    return _many_against_one(samples, chemistry), ()


def _many_against_one(samples: Sequence[VoltageSample], chemistry: Chemistry) -> Fault:
    if _cells_jumped(samples) or _cells_start_empty(samples, chemistry):
        return Fault.ALL_CELLS
    return Fault.DISPUTED if _hides_a_cell(samples) else Fault.PACK


def _spans(samples: Sequence[VoltageSample], span_s: float) -> list[VoltageSample]:
    """The newest samples that span a time; empty if there are fewer."""
    since_s = samples[-1].t_s - span_s
    if samples[0].t_s > since_s + _SLACK_S:
        return []
    return [sample for sample in samples if sample.t_s >= since_s - _SLACK_S]


def _differ(samples: Sequence[VoltageSample], *, settled: bool) -> bool:
    """Whether sum and pack contradict each other; a verdict stays down to half of the bounds."""
    if samples[-1].is_gross:
        return True
    share = 1.0 if settled else 0.5
    fast = [abs(sample.difference_frac) for sample in _spans(samples, _FAST_S)]
    if len(fast) > 1 and min(fast) > _FAST_FRAC * share:
        return True
    slow = [sample.difference_frac for sample in _spans(samples, _SLOW_S - _SECOND_S)]
    return bool(slow) and abs(median(slow)) > _SLOW_FRAC * share


def _moves(readings: Sequence[float]) -> float:
    return max(readings) - min(readings)


def stuck_cells(samples: Sequence[VoltageSample]) -> tuple[int, ...]:
    """Cells that have not changed at all while most cells have moved; or all, and the pack has."""
    if not _spans(samples, _STUCK_S):
        return ()
    moves_v = [_moves(column) for column in zip(*(s.cells_v for s in samples), strict=True)]
    still = tuple([k for k, move_v in enumerate(moves_v) if move_v == 0.0])
    most_v = median(moves_v)
    if len(still) == len(moves_v):
        most_v = _moves([sample.pack_v for sample in samples]) / len(moves_v)
    return still if most_v >= _MOVED_V else ()


def _one_against_one(sample: VoltageSample, chemistry: Chemistry) -> tuple[Fault, tuple[int, ...]]:
    highest_v = chemistry.full_cell_v + _ABOVE_FULL_V
    if not _LEAST_V <= sample.pack_v <= highest_v:
        return Fault.PACK, ()
    return (Fault.DISPUTED, ()) if sample.cells_v[0] <= highest_v else (Fault.CELLS, (0,))


def _odd_cell(samples: Sequence[VoltageSample]) -> tuple[int, ...]:
    """The cell whose difference from the others is that of the sum from the pack, if any."""
    cells_v = samples[-1].cells_v
    if len(cells_v) < _LEAST_CELLS:
        return ()
    middle_v = median(cells_v)
    odd = max(range(len(cells_v)), key=lambda k: abs(cells_v[k] - middle_v))
    oldest_v, newest_v = _differences_v(samples[0], odd), _differences_v(samples[-1], odd)
    agreed = abs(oldest_v[1]) < _ODD_CELL_V / 2.0
    own_v = oldest_v if agreed and len(samples) > 1 else (0.0, 0.0)
    cell_v, sum_v = newest_v[0] - own_v[0], newest_v[1] - own_v[1]
    slack_v = max(_CELL_V, _CELL_FRAC * abs(cell_v))
    return (odd,) if abs(cell_v) >= _ODD_CELL_V and abs(cell_v - sum_v) <= slack_v else ()


def _still_odd(samples: Sequence[VoltageSample], cells: tuple[int, ...]) -> tuple[int, ...]:
    """The rejected cell while both differences last, in the median of some seconds.

    The cell's own difference from the others may be a part of it.
    """
    if len(cells) != 1 or len(samples[-1].cells_v) < _LEAST_CELLS:
        return ()
    since_s = samples[-1].t_s - _FAST_S - _SLACK_S
    recent = [_differences_v(sample, cells[0]) for sample in samples if sample.t_s >= since_s]
    cell_v, sum_v = (median(column) for column in zip(*recent, strict=True))
    lasts = min(abs(cell_v), abs(sum_v)) >= _ODD_CELL_V / 2.0
    slack_v = max(_ODD_CELL_V, 2.0 * _CELL_FRAC * abs(cell_v))
    return cells if lasts and abs(cell_v - sum_v) <= slack_v else ()


def _differences_v(sample: VoltageSample, k: int) -> tuple[float, float]:
    """Differences of a cell from the middle of all and of the sum from the pack."""
    return sample.cells_v[k] - median(sample.cells_v), sum(sample.cells_v) - sample.pack_v


def _cells_jumped(samples: Sequence[VoltageSample]) -> bool:
    """Whether the difference is a step of all cells alone: another scale or reference of theirs."""
    after = samples[-1]
    share = abs(after.difference_frac)
    agreed = [sample for sample in samples if abs(sample.difference_frac) <= share / 4.0]
    if not agreed:
        return False
    before = agreed[-1]
    steps = [b / a - 1.0 for a, b in zip(before.cells_v, after.cells_v, strict=True)]
    pack_step = after.pack_v / before.pack_v - 1.0
    return min(map(abs, steps)) > _STEPPED * share and abs(pack_step) < _STOOD * share


def _cells_start_empty(samples: Sequence[VoltageSample], chemistry: Chemistry) -> bool:
    """Whether the first reading has a charged pack of empty cells: those of another scale."""
    first = samples[0]
    if len(samples) > 1 or not first.is_gross:
        return False
    least_v, count = chemistry.ocv_v[0] - _EMPTY_V, len(first.cells_v)
    highest_v = chemistry.full_cell_v + _ABOVE_FULL_V
    return max(first.cells_v) < least_v <= first.pack_v / count <= highest_v


def _hides_a_cell(samples: Sequence[VoltageSample]) -> bool:
    """Whether the pack sinks away from cells that may all be one reading."""
    copies = not any(_moves(sample.cells_v) for sample in samples)
    still = all(sample.cells_v == samples[0].cells_v for sample in samples)
    if not copies and not still:
        return False
    differences = [sample.difference_frac for sample in samples]
    growth = differences[-1] - differences[0]
    if differences[-1] <= 0.0 or growth < _GRADUAL_FRAC * differences[-1]:
        return False
    return max(after - before for before, after in pairwise(differences)) < growth / 2.0

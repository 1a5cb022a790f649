# SPDX-License-Identifier: Apache-2.0
"""Cross-check of the pack's voltage and the cells' voltages.

The sum of the cells is the pack's voltage. Where the two differ, these readings decide, in this
order; all are evaluated once a second.

1. Of two neighbours one rises and the other falls while the pack and every other cell stand: the
   sense wire between them is open, because no cell rises alone. Both are rejected, also where
   their sum is right. What the other cells leave of the pack is their mean.
2. Cells that stand still to the bit while the others move are stuck and rejected. If all are
   stuck, cells and pack are disputed, because no reading shows the weakest cell.
3. One cell that is as far from the other cells as the sum is from the pack is rejected: the pack
   agrees with the others. A pack's voltage that stands still while the others move agrees with
   nothing, and one that follows a low cell some seconds later was read late. Differences that
   were there before are the pack's own and do not count, so that an offset of the pack's voltage
   hides no weak cell. A step of one cell alone, which the sum has and the pack has not, is enough
   from a smaller size on; that cell is rejected until the sum has stepped back.
4. A single cell and its pack are one against one: a voltage that no such cell has is rejected,
   else both are disputed.
5. A pack voltage that stands still to the bit while the cells move is stuck and rejected. All
   cells that step away from a pack that does not step are rejected: a step of the load moves
   both. So are cells below any charge from the first reading on, if the pack is not.
6. Cells that equal each other to the bit, or stand still, are one reading and not many: if the
   pack sinks away from them gradually, one of the hidden cells may sink; if the current steps and
   the pack with it, they are stuck. Disputed.
7. Otherwise the cells agree with each other, and the pack is rejected: many readings against one.

Volts, amperes. The verdict stays until the readings agree again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from statistics import median

from dronebms.core.chemistry import Chemistry
from smartbattery.values import changed

# Recorded packs read cells and pack at different times: up to 8 % for a second and 3.1 % for 3 s
# in a step of the load; the median of 30 s is within 2.5 %.
_GROSS_FRAC = 0.2  # no step of the load explains it: decided by one reading
_FAST_FRAC = 0.05
_FAST_S = 3.0
# From the usual difference, each of 8 s is within 1.8 % in recorded packs.
_EVERY_FRAC = 0.022
_EVERY_S = 8.0
_SLOW_FRAC = 0.027
_SLOW_S = 30.0
_STUCK_S = 20.0  # recorded readings are constant for up to 18 s
_MOVED_V = 0.01  # movement of a cell that a working reading shows: 10 steps of a gauge
_PACK_MOVED_FRAC = 0.01  # of the sum: 10 steps of a pack's voltage that is read in 0.1 %
# a cell's difference that explains the sum's, within these
_CELL_V = 0.03
_CELL_FRAC = 0.1
_ODD_CELL_V = 0.1  # least difference of a single wrong cell ...
_LEAST_CELLS = 3  # ... among so many: of two, neither is the odd one
# A step of one cell, of medians of some seconds: in recorded and computed packs no step of the sum
# away from the pack that is that of one cell is larger than 0.027 V.
_BEFORE = 5
_AFTER = 4
_STEP_S = 12.0
_STEP_V = 0.06
_STEP_FRAC = 0.4
_OTHERS_FRAC = 0.3
_WIRE_BEFORE = 5  # samples before an open sense wire
_WIRE_CLOSED = 5  # samples near the others after it
_ALL_FRAC = 0.02  # of all cells, at a steady current: at most 1.0 % in recorded packs
_FEW = 3  # samples that show a step or a stuck reading
_NO_VOTE_FRAC = 0.001  # of the pack: movement of the sum that a pack's voltage follows
_RELEASE = 2  # samples in which the pack has followed a low cell: its voltage was read late
_GRADUAL_FRAC = 0.2  # share of the difference that grew in view
# no cell of a working pack is outside
_ABOVE_FULL_V = 0.3
_LEAST_V = 1.0
_STEPPED = 0.75  # share of a difference: what stepped made it
_STOOD = 0.25  # what stood did not make it
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


def _difference_frac(cells_v: Sequence[float], pack_v: float) -> float:
    return sum(cells_v) / pack_v - 1.0


def is_gross(cells_v: Sequence[float], pack_v: float) -> bool:
    """Whether no step of the load can explain the difference of two readings."""
    return abs(_difference_frac(cells_v, pack_v)) > _GROSS_FRAC


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
        return _difference_frac(self.cells_v, self.pack_v)

    @property
    def is_gross(self) -> bool:
        """Whether no step of the load can explain the difference."""
        return is_gross(self.cells_v, self.pack_v)


@dataclass(frozen=True, slots=True)
class VoltageState:
    """Verdict and the seconds that it rests on."""

    samples: tuple[VoltageSample, ...] = ()
    fault: Fault | None = None
    cells: tuple[int, ...] = ()  # rejected, from 0
    base_v: float | None = None  # usual difference of sum and pack; None: not known yet
    step_v: float | None = None  # by which a cell stepped that is rejected for it
    since_s: float | None = None  # since when there is a verdict

    def __post_init__(self) -> None:
        """Raise ValueError for samples or rejected cells that no pack has."""
        counts = {len(sample.cells_v) for sample in self.samples}
        if len(counts) > 1 or any(not 0 <= k < max(counts, default=0) for k in self.cells):
            raise ValueError("samples or rejected cells are of another number of cells")
        if self.step_v is not None and not self.cells:
            raise ValueError("a step of no cell")

    def added(self, sample: VoltageSample, chemistry: Chemistry, ah: float) -> "VoltageState":
        """State after a second; `ah` is the rated capacity."""
        if self.samples and len(self.samples[0].cells_v) != len(sample.cells_v):
            return VoltageState().added(sample, chemistry, ah)
        gap = sample.t_s - self.samples[-1].t_s if self.samples else 0.0
        samples = (sample,) if gap > _MOST_GAP_S else (*self.samples, sample)
        while samples[0].t_s < sample.t_s - _SLOW_S:
            samples = samples[1:]
        state = changed(self, samples=samples)
        if self.fault is None and len(samples) >= _BEFORE + _AFTER:
            base_v = median([sample.difference_v for sample in samples[:-_AFTER]])
            state = changed(state, base_v=base_v)
        state = _stepped(state)
        if state.step_v is not None:
            return changed(state, fault=Fault.CELLS, since_s=_first(self.since_s, sample))
        ohm = chemistry.new_cell_ohm(ah)
        fault, cells = _verdict(state, chemistry, ohm)
        if fault is not None:
            return changed(state, fault=fault, cells=cells, since_s=_first(self.since_s, sample))
        # Readings that were wrong for long are no evidence of what is usual.
        lasted = self.since_s is not None and sample.t_s - self.since_s > _STEP_S
        samples = (sample,) if lasted else samples
        return changed(state, samples=samples, fault=None, cells=(), since_s=None)

    def odd_cell(self, sample: VoltageSample) -> tuple[int, ...]:
        """The cell that a reading between two seconds contradicts; it is none of the verdict."""
        if not self.samples or len(self.samples[-1].cells_v) != len(sample.cells_v):
            return ()
        return _odd_cell((*self.samples, sample), self.base_v)


def _first(since_s: float | None, sample: VoltageSample) -> float:
    return sample.t_s if since_s is None else since_s


def _stepped(state: VoltageState) -> VoltageState:
    """The state with a cell that has stepped alone, until the sum has stepped back."""
    if state.step_v is not None and state.base_v is not None:
        least_v = abs(state.step_v) / 2.0
        base_v = state.base_v
        count = _RELEASE if state.step_v < 0.0 else _AFTER
        recent = state.samples[-count:]
        lasts = any(abs(s.difference_v - base_v) >= least_v for s in recent)
        if len(recent) < count or (lasts and _pack_votes(state.samples, state.cells[0])):
            return state
        return changed(state, step_v=None, cells=())
    if state.fault not in (None, Fault.CELLS) or state.base_v is None or len(state.cells) > 1:
        return state
    found = _lone_step(state.samples)
    if found is None:
        return state
    return changed(state, cells=(found[0],), step_v=found[1])


def _lone_step(samples: Sequence[VoltageSample]) -> tuple[int, float] | None:
    """(Cell, volts) of a step of the sum away from the pack that is that of one cell alone."""
    recent = samples[-_BEFORE - _AFTER :]
    count = len(recent[-1].cells_v)
    is_whole = len(recent) == _BEFORE + _AFTER and recent[-1].t_s - recent[0].t_s <= _STEP_S
    if not is_whole or count < _LEAST_CELLS:
        return None
    sum_v = _step([sample.difference_v for sample in recent])
    if abs(sum_v) < _STEP_V:
        return None
    others_v = [[_others_v(sample, k) for sample in recent] for k in range(count)]
    cells_v = [[sample.cells_v[k] for sample in recent] for k in range(count)]
    steps_v = [
        _step([cell_v - other_v for cell_v, other_v in zip(cells_v[k], others_v[k], strict=True)])
        for k in range(count)
    ]
    odd = max(range(count), key=lambda k: abs(steps_v[k]))
    step_v = steps_v[odd]
    stood_v = min(abs(_step(others_v[odd])), abs(_step(cells_v[odd])))
    alone = abs(step_v) >= _STEP_V and stood_v <= _OTHERS_FRAC * abs(step_v)
    alone = alone and _pack_votes(samples, odd)
    return (odd, sum_v) if alone and abs(step_v - sum_v) <= _STEP_FRAC * abs(step_v) else None


def _all_stepped(samples: Sequence[VoltageSample], ohm: float) -> bool:
    """Whether all cells have stepped while neither pack nor current did."""
    recent = samples[-_BEFORE - _AFTER :]
    currents_a = [sample.current_a for sample in recent if sample.current_a is not None]
    is_whole = len(recent) == _BEFORE + _AFTER and recent[-1].t_s - recent[0].t_s <= _STEP_S
    if not is_whole or len(currents_a) < len(recent) or len(recent[-1].cells_v) == 1:
        return False
    pack_v = recent[0].pack_v
    share = abs(_step([sample.difference_v for sample in recent])) / pack_v
    if share < _ALL_FRAC or abs(_step([s.pack_v for s in recent])) > _STOOD * share * pack_v:
        return False
    cell_v = pack_v / len(recent[0].cells_v)
    if _moves(currents_a) * ohm > share * cell_v / 2.0:
        return False
    columns = zip(*(sample.cells_v for sample in recent), strict=True)
    return min(abs(_step(column)) / cell_v for column in columns) > _STEPPED * share


def _step(values: Sequence[float]) -> float:
    """The last values less those before them, by their medians."""
    return median(values[_BEFORE:]) - median(values[:_BEFORE])


def _others_v(sample: VoltageSample, cell: int) -> float:
    return median([v for k, v in enumerate(sample.cells_v) if k != cell])


def _verdict(
    state: VoltageState, chemistry: Chemistry, ohm: float
) -> tuple[Fault | None, tuple[int, ...]]:
    """The verdict after a second and the rejected cells; `ohm` is of a new cell."""
    samples = state.samples
    before = state.fault
    newest = state.samples[-1]
    certain = _certain(state, ohm)
    if certain is not None:
        return certain
    settled = before in (None, Fault.CELLS)
    if not (_differ(samples, settled=settled) or _moved_apart(state, settled=settled)):
        return None, ()
    if not settled:  # stays until the readings agree again
        return before, ()
    if len(newest.cells_v) == 1:
        return _one_against_one(newest, chemistry)
    return _many_against_one(samples, chemistry, ohm), ()


def _certain(state: VoltageState, ohm: float) -> tuple[Fault, tuple[int, ...]] | None:
    """A verdict that does not wait for a difference to last."""
    samples = state.samples
    before = state.fault
    stuck = stuck_cells(samples)
    newest = samples[-1]
    if len(stuck) == len(newest.cells_v):
        return Fault.DISPUTED, ()
    if before in (None, Fault.CELLS):
        wired = _still_open(samples, state.cells) or _open_wire(samples)
        if wired:
            return Fault.CELLS, wired
    odd = stuck or _odd_cell(samples, state.base_v)
    odd = odd or _still_odd(samples, state.cells, state.base_v or 0.0)
    if odd and before in (None, Fault.CELLS):
        return Fault.CELLS, odd
    if before is None and _all_stepped(samples, ohm):
        return Fault.ALL_CELLS, ()
    recent = _spans(samples, _STUCK_S)
    if before in (None, Fault.PACK) and recent and _pack_stands(recent):
        return Fault.PACK, ()
    return None


def _many_against_one(samples: Sequence[VoltageSample], chemistry: Chemistry, ohm: float) -> Fault:
    since = _since_agreed(samples)
    if len(since) > _FEW and _pack_stands(since):
        return Fault.PACK
    if len(since) > _FEW and _stand_under_load(since, ohm):
        return Fault.DISPUTED
    if _cells_jumped(samples) or _cells_start_empty(samples, chemistry):
        return Fault.ALL_CELLS
    return Fault.DISPUTED if _hides_a_cell(samples) else Fault.PACK


def _since_agreed(samples: Sequence[VoltageSample]) -> Sequence[VoltageSample]:
    """The samples from the last one on in which the readings agreed."""
    share = abs(samples[-1].difference_frac) / 4.0
    agreed = [k for k, sample in enumerate(samples) if abs(sample.difference_frac) <= share]
    return samples[agreed[-1] :] if agreed else samples


def _pack_stands(samples: Sequence[VoltageSample]) -> bool:
    """Whether the pack's voltage has not changed at all while the cells moved."""
    if _moves([sample.pack_v for sample in samples]) > 0.0:
        return False
    return _moves([sum(s.cells_v) for s in samples]) >= _PACK_MOVED_FRAC * samples[-1].pack_v


def _stand_under_load(samples: Sequence[VoltageSample], ohm: float) -> bool:
    """Whether no cell has changed at all while the current did by a load."""
    if max(_cells_moves(samples)) > 0.0:
        return False
    currents_a = [sample.current_a for sample in samples if sample.current_a is not None]
    return not currents_a or _moves(currents_a) * ohm >= _MOVED_V


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


def _moved_apart(state: VoltageState, *, settled: bool) -> bool:
    """Whether sum and pack differ from their usual difference in every one of some seconds."""
    if state.base_v is None:
        return False
    base_v = state.base_v
    spans = _spans(state.samples, _EVERY_S)
    moved = [(sample.difference_v - base_v) / sample.pack_v for sample in spans]
    if not moved:
        return False
    if settled:
        return _least(moved) > _EVERY_FRAC
    return abs(median(moved)) > _EVERY_FRAC / 2.0  # not ended by one reading amid a step


def _least(differences: Sequence[float]) -> float:
    """The least size of differences of one sign; 0 if they have both."""
    return max(min(differences), -max(differences), 0.0)


def _moves(readings: Sequence[float]) -> float:
    return max(readings) - min(readings)


def _cells_moves(samples: Sequence[VoltageSample]) -> list[float]:
    return [_moves(column) for column in zip(*(s.cells_v for s in samples), strict=True)]


def stuck_cells(samples: Sequence[VoltageSample]) -> tuple[int, ...]:
    """Cells that have not changed at all while most cells have moved; or all, and the pack has."""
    samples = _spans(samples, _STUCK_S)
    if not samples:
        return ()
    moves_v = _cells_moves(samples)
    still = tuple([k for k, move_v in enumerate(moves_v) if move_v == 0.0])
    most_v = median(moves_v)
    if len(still) == len(moves_v):
        most_v = _moves([sample.pack_v for sample in samples]) / len(moves_v)
    return still if most_v >= _MOVED_V else ()


def _open_wire(samples: Sequence[VoltageSample]) -> tuple[int, ...]:
    """Neighbours that part in opposite directions while the pack and the other cells stand."""
    newest = samples[-1]
    if len(samples) <= _WIRE_BEFORE or len(newest.cells_v) < _LEAST_CELLS:
        return ()
    step = samples[-1 - _WIRE_BEFORE : -1]  # shows a wire that opens at once, the other a drift
    return _parted(step, newest) or _parted(samples[:_WIRE_BEFORE], newest)


def _parted(before: Sequence[VoltageSample], newest: VoltageSample) -> tuple[int, ...]:
    """Neighbours that have parted since some earlier samples."""
    columns = zip(*(sample.cells_v for sample in before), strict=True)
    steps_v = [
        cell_v - median(column) for cell_v, column in zip(newest.cells_v, columns, strict=True)
    ]
    pack_v = newest.pack_v - median([sample.pack_v for sample in before])
    for k, (one_v, next_v) in enumerate(pairwise(steps_v)):
        least_v = min(abs(one_v), abs(next_v))
        others_v = [*steps_v[:k], *steps_v[k + 2 :]]
        stood_v = max(*map(abs, others_v), abs(pack_v - sum(others_v)))
        parts = one_v * next_v < 0.0 and least_v >= _ODD_CELL_V
        if parts and stood_v <= _OTHERS_FRAC * least_v:
            return k, k + 1
    return ()


def _still_open(samples: Sequence[VoltageSample], cells: tuple[int, ...]) -> tuple[int, ...]:
    """The neighbours of an open wire, until both are near the other cells for some seconds."""
    if len(cells) != 2 or cells[1] != cells[0] + 1:  # noqa: PLR2004 - the neighbours of a wire
        return ()
    recent = samples[-_WIRE_CLOSED:]
    apart = any(
        abs(sample.cells_v[k] - _others_v(sample, k)) >= _ODD_CELL_V
        for sample in recent
        for k in cells
    )
    return cells if apart or len(recent) < _WIRE_CLOSED else ()


def _one_against_one(sample: VoltageSample, chemistry: Chemistry) -> tuple[Fault, tuple[int, ...]]:
    highest_v = chemistry.full_cell_v + _ABOVE_FULL_V
    if not _LEAST_V <= sample.pack_v <= highest_v:
        return Fault.PACK, ()
    return (Fault.DISPUTED, ()) if sample.cells_v[0] <= highest_v else (Fault.CELLS, (0,))


def _odd_cell(samples: Sequence[VoltageSample], base_v: float | None) -> tuple[int, ...]:
    """The cell whose difference from the others is that of the sum from the pack, if any.

    `base_v` is the usual difference of sum and pack, which is of no cell that sinks.
    """
    cells_v = samples[-1].cells_v
    if len(cells_v) < _LEAST_CELLS:
        return ()
    middle_v = median(cells_v)
    odd = max(range(len(cells_v)), key=lambda k: abs(cells_v[k] - middle_v))
    oldest_v = _differences_v(samples[0], odd)
    newest_v = _differences_v(samples[-1], odd)
    agreed = abs(oldest_v[1]) < _ODD_CELL_V / 2.0
    own_v = oldest_v if agreed and len(samples) > 1 else (0.0, 0.0)
    if base_v is not None:
        own_v = oldest_v[0], base_v
    cell_v = newest_v[0] - own_v[0]
    sum_v = newest_v[1] - own_v[1]
    slack_v = max(_CELL_V, _CELL_FRAC * abs(cell_v))
    is_odd = abs(cell_v) >= _ODD_CELL_V and abs(cell_v - sum_v) <= slack_v
    return (odd,) if is_odd and _pack_votes(samples, odd) else ()


def _pack_votes(samples: Sequence[VoltageSample], cell: int) -> bool:
    """Whether the pack's voltage is evidence against a cell: it has followed the other ones."""
    pack_v = samples[-1].pack_v
    same = []
    for sample in reversed(samples):
        if sample.pack_v != pack_v:
            break
        same.append(sum(sample.cells_v) - sample.cells_v[cell])
    return len(same) <= _FEW or _moves(same) < _NO_VOTE_FRAC * pack_v


def _still_odd(
    samples: Sequence[VoltageSample], cells: tuple[int, ...], base_v: float
) -> tuple[int, ...]:
    """The rejected cell while both differences last, in the median of some seconds.

    The cell's own difference from the others may be a part of it.
    """
    if len(cells) != 1 or len(samples[-1].cells_v) < _LEAST_CELLS:
        return ()
    if not _pack_votes(samples, cells[0]):
        return ()
    since_s = samples[-1].t_s - _FAST_S - _SLACK_S
    recent = [_differences_v(sample, cells[0]) for sample in samples if sample.t_s >= since_s]
    newest = recent[-_RELEASE:]
    followed = [abs(sum_v - base_v) < abs(cell_v) / 2.0 for cell_v, sum_v in newest]
    if len(newest) == _RELEASE and all(followed) and max(cell_v for cell_v, _ in newest) < 0.0:
        return ()
    cell_v, sum_v = (median(column) for column in zip(*recent, strict=True))
    sum_v -= base_v
    lasts = min(abs(cell_v), abs(sum_v)) >= _ODD_CELL_V / 2.0
    slack_v = max(_ODD_CELL_V, 2.0 * _CELL_FRAC * abs(cell_v))
    return cells if lasts and abs(cell_v - sum_v) <= slack_v else ()


def _differences_v(sample: VoltageSample, k: int) -> tuple[float, float]:
    """Differences of a cell from the middle of all and of the sum from the pack."""
    return sample.cells_v[k] - median(sample.cells_v), sample.difference_v


def _cells_jumped(samples: Sequence[VoltageSample]) -> bool:
    """Whether the difference is a step of all cells alone: another scale or reference of theirs."""
    share = abs(samples[-1].difference_frac)
    since = _since_agreed(samples)
    stepped = [sample for sample in since if abs(sample.difference_frac) > _STEPPED * share]
    agreed = samples[: len(samples) - len(since) + 1]
    if abs(agreed[-1].difference_frac) > share / 4.0 or not stepped:
        return False
    before = agreed[-_FEW:]
    after = stepped[:_FEW]
    steps = [
        median([s.cells_v[k] for s in after]) / median([s.cells_v[k] for s in before]) - 1.0
        for k in range(len(samples[-1].cells_v))
    ]
    pack_step = median([s.pack_v for s in after]) / median([s.pack_v for s in before]) - 1.0
    return min(map(abs, steps)) > _STEPPED * share and abs(pack_step) < _STOOD * share


def _cells_start_empty(samples: Sequence[VoltageSample], chemistry: Chemistry) -> bool:
    """Whether the first reading has a charged pack of empty cells: those of another scale."""
    first = samples[0]
    if len(samples) > 1 or not first.is_gross:
        return False
    least_v = chemistry.ocv_v[0] - _EMPTY_V
    count = len(first.cells_v)
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

# SPDX-License-Identifier: Apache-2.0
"""Cross-check of the pack's voltage and the cells' voltages.

The sum of the cells is the pack's voltage. Where the two differ, these readings decide, in this
order; all are evaluated once a second.

1. Of two neighbours one rises and the other falls while the pack and every other cell stand: the
   sense wire between them is open, because no cell rises alone. Both are rejected, also where
   their sum is right. What the other cells leave of the pack is their mean.
2. Cells that stand still to the bit while the others move are stuck and rejected. If all are
   stuck, cells and pack are disputed, because no reading shows the weakest cell.
3. Some cells, even most of them, that leave the others and the pack are rejected: the others and
   the pack stand. They leave at once by more than a step of the load, or within 4 s while the
   current stands. So are, from the first reading on, those that no charge has, if the pack agrees
   with the others.
4. One cell that is as far from the other cells as the sum is from the pack is rejected: the pack
   agrees with the others. A pack's voltage that stands still while the others move agrees with
   nothing, and one that follows a low cell some seconds later was read late. Differences that
   were there before are the pack's own and do not count, so that an offset of the pack's voltage
   hides no weak cell. A step of one cell alone, which the sum has and the pack has not, is enough
   from a smaller size on; that cell is rejected until the sum has stepped back.
5. A single cell and its pack are one against one: a voltage that no such cell has is rejected,
   else both are disputed.
6. A pack voltage that stands still to the bit while the cells move is stuck and rejected. All
   cells that step away from a pack that does not step are rejected: a step of the load moves
   both. So are cells below any charge from the first reading on, if the pack is not.
7. Cells that equal each other to the bit, or stand still, are one reading and not many: if the
   pack sinks away from them gradually, one of the hidden cells may sink; if the current steps and
   the pack with it, they are stuck. Disputed.
8. Otherwise the cells agree with each other, and the pack is rejected: many readings against one.

Volts, amperes. The verdict stays until the readings agree again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median

from dronebms.core.chemistry import Chemistry
from dronebms.monitoring.consistency.odd_cells import (
    lone_step,
    odd_cell,
    open_wire,
    parted_cells,
    step_lasts,
    still_odd,
    still_open,
    stuck_cells,
)
from dronebms.monitoring.consistency.pack_and_cells import (
    all_stepped,
    cells_jumped,
    cells_stand_under_load,
    cells_start_apart,
    cells_start_empty,
    hides_a_cell,
    highest_cell_v,
    pack_stands,
    since_agreed,
)
from dronebms.monitoring.consistency.voltage_samples import (
    AFTER,
    BEFORE,
    FEW,
    STEP_S,
    STUCK_S,
    VoltageSample,
    last_seconds,
)
from smartbattery.values import changed

_FAST_FRAC = 0.05
_FAST_S = 3.0
# From the usual difference, each of 8 s is within 1.8 % in recorded packs.
_EVERY_FRAC = 0.022
_EVERY_S = 8.0
_SLOW_FRAC = 0.027
_SLOW_S = 30.0
_SECOND_S = 1.0
_LEAST_V = 1.0  # no cell of a working pack is below
_MOST_GAP_S = 5.5  # between samples that are compared; some logs have a row in 5 s


class Fault(Enum):
    """Verdict on the voltages."""

    PACK = "pack voltage rejected"
    CELLS = "cells rejected"  # some of them
    ALL_CELLS = "all cells rejected"
    DISPUTED = "disputed"


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

    @property
    def is_settled(self) -> bool:
        """Whether neither the pack nor all cells are rejected or disputed."""
        return self.fault in (None, Fault.CELLS)

    def added(self, sample: VoltageSample, chemistry: Chemistry, ah: float) -> "VoltageState":
        """State after a second; `ah` is the rated capacity."""
        if self.samples and len(self.samples[0].cells_v) != len(sample.cells_v):
            return VoltageState().added(sample, chemistry, ah)
        gap = sample.t_s - self.samples[-1].t_s if self.samples else 0.0
        samples = (sample,) if gap > _MOST_GAP_S else (*self.samples, sample)
        while samples[0].t_s < sample.t_s - _SLOW_S:
            samples = samples[1:]
        state = changed(self, samples=samples)
        if self.fault is None and len(samples) >= BEFORE + AFTER:
            base_v = median([sample.difference_v for sample in samples[:-AFTER]])
            state = changed(state, base_v=base_v)
        ohm = chemistry.new_cell_ohm(ah)
        state = _stepped(state, ohm)
        if state.step_v is not None:
            return changed(state, fault=Fault.CELLS, since_s=_first(self.since_s, sample))
        fault, cells = _verdict(state, chemistry, ohm)
        if fault is not None:
            return changed(state, fault=fault, cells=cells, since_s=_first(self.since_s, sample))
        # Readings that were wrong for long are no evidence of what is usual.
        lasted = self.since_s is not None and sample.t_s - self.since_s > STEP_S
        samples = (sample,) if lasted else samples
        return changed(state, samples=samples, fault=None, cells=(), since_s=None)

    def odd_cells(self, sample: VoltageSample, ohm: float) -> tuple[int, ...]:
        """The cells that a reading between two seconds contradicts; they are no verdict."""
        if not self.samples or len(self.samples[-1].cells_v) != len(sample.cells_v):
            return ()
        samples = (*self.samples, sample)
        return odd_cell(samples, self.base_v) or parted_cells(samples, (), ohm)


def _first(since_s: float | None, sample: VoltageSample) -> float:
    return sample.t_s if since_s is None else since_s


def _stepped(state: VoltageState, ohm: float) -> VoltageState:
    """The state with a cell that has stepped alone, until the sum has stepped back."""
    if state.cells and state.is_settled:
        more = parted_cells(state.samples, state.cells, ohm)
        if more:
            return changed(state, cells=more, step_v=None)
    if state.step_v is not None and state.base_v is not None:
        if step_lasts(state.samples, state.cells[0], state.step_v, state.base_v):
            return state
        return changed(state, step_v=None, cells=())
    if not state.is_settled or state.base_v is None or len(state.cells) > 1:
        return state
    found = lone_step(state.samples)
    if found is None:
        return state
    return changed(state, cells=(found[0],), step_v=found[1])


def _verdict(
    state: VoltageState, chemistry: Chemistry, ohm: float
) -> tuple[Fault | None, tuple[int, ...]]:
    """The verdict after a second and the rejected cells; `ohm` is of a new cell."""
    certain = _certain(state, chemistry, ohm)
    if certain is not None:
        return certain
    if not (_differ(state) or _moved_apart(state)):
        return None, ()
    if not state.is_settled:  # stays until the readings agree again
        return state.fault, ()
    newest = state.samples[-1]
    if len(newest.cells_v) == 1:
        return _one_against_one(newest, chemistry)
    return _many_against_one(state.samples, chemistry, ohm), ()


def _certain(
    state: VoltageState, chemistry: Chemistry, ohm: float
) -> tuple[Fault, tuple[int, ...]] | None:
    """A verdict that does not wait for a difference to last."""
    samples = state.samples
    stuck = stuck_cells(samples)
    if len(stuck) == len(samples[-1].cells_v):
        return Fault.DISPUTED, ()
    if state.is_settled:
        cells = (
            still_open(samples, state.cells)
            or open_wire(samples)
            or stuck
            or odd_cell(samples, state.base_v)
            or cells_start_apart(samples, chemistry)
            or parted_cells(samples, state.cells, ohm)
            or still_odd(samples, state.cells, state.base_v or 0.0)
        )
        if cells:
            return Fault.CELLS, cells
    if state.fault is None and all_stepped(samples, ohm):
        return Fault.ALL_CELLS, ()
    recent = last_seconds(samples, STUCK_S)
    if state.fault in (None, Fault.PACK) and recent and pack_stands(recent):
        return Fault.PACK, ()
    return None


def _one_against_one(sample: VoltageSample, chemistry: Chemistry) -> tuple[Fault, tuple[int, ...]]:
    highest_v = highest_cell_v(chemistry)
    if not _LEAST_V <= sample.pack_v <= highest_v:
        return Fault.PACK, ()
    return (Fault.DISPUTED, ()) if sample.cells_v[0] <= highest_v else (Fault.CELLS, (0,))


def _many_against_one(samples: Sequence[VoltageSample], chemistry: Chemistry, ohm: float) -> Fault:
    since = since_agreed(samples)
    if len(since) > FEW and pack_stands(since):
        return Fault.PACK
    if len(since) > FEW and cells_stand_under_load(since, ohm):
        return Fault.DISPUTED
    if cells_jumped(samples) or cells_start_empty(samples, chemistry):
        return Fault.ALL_CELLS
    return Fault.DISPUTED if hides_a_cell(samples) else Fault.PACK


def _differ(state: VoltageState) -> bool:
    """Whether sum and pack contradict each other; a verdict stays down to half of the bounds."""
    samples = state.samples
    if samples[-1].is_gross:
        return True
    share = 1.0 if state.is_settled else 0.5
    fast = [abs(sample.difference_frac) for sample in last_seconds(samples, _FAST_S)]
    if len(fast) > 1 and min(fast) > _FAST_FRAC * share:
        return True
    slow = [sample.difference_frac for sample in last_seconds(samples, _SLOW_S - _SECOND_S)]
    return bool(slow) and abs(median(slow)) > _SLOW_FRAC * share


def _moved_apart(state: VoltageState) -> bool:
    """Whether sum and pack differ from their usual difference in every one of some seconds."""
    if state.base_v is None:
        return False
    base_v = state.base_v
    recent = last_seconds(state.samples, _EVERY_S)
    moved = [(sample.difference_v - base_v) / sample.pack_v for sample in recent]
    if not moved:
        return False
    if state.is_settled:
        return max(min(moved), -max(moved)) > _EVERY_FRAC  # all of one sign
    return abs(median(moved)) > _EVERY_FRAC / 2.0  # not ended by one reading amid a step

# SPDX-License-Identifier: Apache-2.0
"""Pack and cells that part as a whole: which of them moved, and which stood. Volts, seconds."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median

from dronebms.core.chemistry import Chemistry
from dronebms.monitoring.consistency.voltage_samples import (
    FEW,
    MOVED_V,
    VoltageSample,
    cell_movements,
    median_step,
    movement,
    step_samples,
)

_PACK_MOVED_FRAC = 0.01  # of the sum: 10 steps of a pack's voltage that is read in 0.1 %
_ALL_FRAC = 0.02  # of all cells, at a steady current: at most 1.0 % in recorded packs
_GRADUAL_FRAC = 0.2  # share of the difference that grew in view
_ABOVE_FULL_V = 0.3  # no cell of a working pack is higher
_STEPPED = 0.75  # share of a difference: what stepped made it
_STOOD = 0.25  # what stood did not make it
_EMPTY_V = 0.5  # below the resting voltage of an empty cell: a deep discharge


def highest_cell_v(chemistry: Chemistry) -> float:
    """Voltage that no cell of a working pack exceeds."""
    return chemistry.full_cell_v + _ABOVE_FULL_V


def since_agreed(samples: Sequence[VoltageSample]) -> Sequence[VoltageSample]:
    """The samples from the last one on in which the readings agreed."""
    share = abs(samples[-1].difference_frac) / 4.0
    agreed = [k for k, sample in enumerate(samples) if abs(sample.difference_frac) <= share]
    return samples[agreed[-1] :] if agreed else samples


def pack_stands(samples: Sequence[VoltageSample]) -> bool:
    """Whether the pack's voltage has not changed at all while the cells moved."""
    if movement([sample.pack_v for sample in samples]) > 0.0:
        return False
    return movement([sum(s.cells_v) for s in samples]) >= _PACK_MOVED_FRAC * samples[-1].pack_v


def cells_stand_under_load(samples: Sequence[VoltageSample], ohm: float) -> bool:
    """Whether no cell has changed at all while the current did by a load."""
    if max(cell_movements(samples)) > 0.0:
        return False
    currents_a = [sample.current_a for sample in samples if sample.current_a is not None]
    return not currents_a or movement(currents_a) * ohm >= MOVED_V


def all_stepped(samples: Sequence[VoltageSample], ohm: float) -> bool:
    """Whether all cells have stepped while neither pack nor current did."""
    recent = step_samples(samples)
    currents_a = [sample.current_a for sample in recent if sample.current_a is not None]
    if not recent or len(currents_a) < len(recent) or len(recent[-1].cells_v) == 1:
        return False
    pack_v = recent[0].pack_v
    share = abs(median_step([sample.difference_v for sample in recent])) / pack_v
    if share < _ALL_FRAC or abs(median_step([s.pack_v for s in recent])) > _STOOD * share * pack_v:
        return False
    cell_v = pack_v / len(recent[0].cells_v)
    if movement(currents_a) * ohm > share * cell_v / 2.0:
        return False
    columns = zip(*(sample.cells_v for sample in recent), strict=True)
    return min(abs(median_step(column)) / cell_v for column in columns) > _STEPPED * share


def cells_jumped(samples: Sequence[VoltageSample]) -> bool:
    """Whether the difference is a step of all cells alone: another scale or reference of theirs."""
    share = abs(samples[-1].difference_frac)
    since = since_agreed(samples)
    stepped = [sample for sample in since if abs(sample.difference_frac) > _STEPPED * share]
    agreed = samples[: len(samples) - len(since) + 1]
    if abs(agreed[-1].difference_frac) > share / 4.0 or not stepped:
        return False
    before = agreed[-FEW:]
    after = stepped[:FEW]
    steps = [
        median([s.cells_v[k] for s in after]) / median([s.cells_v[k] for s in before]) - 1.0
        for k in range(len(samples[-1].cells_v))
    ]
    pack_step = median([s.pack_v for s in after]) / median([s.pack_v for s in before]) - 1.0
    return min(map(abs, steps)) > _STEPPED * share and abs(pack_step) < _STOOD * share


def cells_start_empty(samples: Sequence[VoltageSample], chemistry: Chemistry) -> bool:
    """Whether the first reading has a charged pack of empty cells: those of another scale."""
    first = samples[0]
    if len(samples) > 1 or not first.is_gross:
        return False
    least_v = chemistry.ocv_v[0] - _EMPTY_V
    count = len(first.cells_v)
    return max(first.cells_v) < least_v <= first.pack_v / count <= highest_cell_v(chemistry)


def cells_start_apart(samples: Sequence[VoltageSample], chemistry: Chemistry) -> tuple[int, ...]:
    """Cells that no charge has, in the first reading of a pack that agrees with the other ones."""
    first = samples[0]
    low_v = chemistry.ocv_v[0] - _EMPTY_V
    high_v = highest_cell_v(chemistry)
    apart = tuple([k for k, v in enumerate(first.cells_v) if not low_v <= v <= high_v])
    others_v = [v for v in first.cells_v if low_v <= v <= high_v]
    if len(samples) > 1 or not apart or not others_v:
        return ()
    whole_v = fmean(others_v) * len(first.cells_v)
    agrees = abs(whole_v - first.pack_v) <= _STOOD * abs(whole_v - sum(first.cells_v))
    return apart if agrees else ()


def hides_a_cell(samples: Sequence[VoltageSample]) -> bool:
    """Whether the pack sinks away from cells that may all be one reading."""
    copies = not any(movement(sample.cells_v) for sample in samples)
    still = all(sample.cells_v == samples[0].cells_v for sample in samples)
    if not copies and not still:
        return False
    differences = [sample.difference_frac for sample in samples]
    growth = differences[-1] - differences[0]
    if differences[-1] <= 0.0 or growth < _GRADUAL_FRAC * differences[-1]:
        return False
    return max(after - before for before, after in pairwise(differences)) < growth / 2.0

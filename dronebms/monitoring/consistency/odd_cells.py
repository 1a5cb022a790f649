# SPDX-License-Identifier: Apache-2.0
"""Cells whose voltage the other cells and the pack contradict. Volts, seconds."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from dronebms.monitoring.consistency.voltage_samples import (
    AFTER,
    BEFORE,
    FEW,
    MOVED_V,
    SLACK_S,
    STUCK_S,
    VoltageSample,
    cell_movements,
    last_seconds,
    median_step,
    movement,
    step_samples,
)
from smartbattery.values import changed

# a cell's difference that explains the sum's, within these
_CELL_V = 0.03
_CELL_FRAC = 0.1
_ODD_CELL_V = 0.1  # least difference of a single wrong cell ...
_LEAST_CELLS = 3  # ... among so many: of two, neither is the odd one
# A step of one cell, of medians of some seconds: in recorded and computed packs no step of the sum
# away from the pack that is that of one cell is larger than 0.027 V.
_STEP_V = 0.06
_STEP_FRAC = 0.4
_OTHERS_FRAC = 0.3
_LASTS_S = 3.0  # whose median has the differences of a rejected cell
_WIRE_BEFORE = 5  # samples before an open sense wire
_WIRE_CLOSED = 5  # samples near the others after it
_NO_VOTE_FRAC = 0.001  # of the pack: movement of the sum that a pack's voltage follows
_FOLLOWED = 2  # samples in which the pack has followed a low cell: its voltage was read late
_PARTED_FRAC = 0.2  # of a cell's voltage: no step of the load parts it so from the others


def stuck_cells(samples: Sequence[VoltageSample]) -> tuple[int, ...]:
    """Cells that have not changed at all while most cells have moved; or all, and the pack has."""
    samples = last_seconds(samples, STUCK_S)
    if not samples:
        return ()
    moves_v = cell_movements(samples)
    still = tuple([k for k, move_v in enumerate(moves_v) if move_v == 0.0])
    most_v = median(moves_v)
    if len(still) == len(moves_v):
        most_v = movement([sample.pack_v for sample in samples]) / len(moves_v)
    return still if most_v >= MOVED_V else ()


def open_wire(samples: Sequence[VoltageSample]) -> tuple[int, ...]:
    """Neighbours that part in opposite directions while the pack and the other cells stand."""
    newest = samples[-1]
    if len(samples) <= _WIRE_BEFORE or len(newest.cells_v) < _LEAST_CELLS:
        return ()
    at_once = samples[-1 - _WIRE_BEFORE : -1]
    drift = samples[:_WIRE_BEFORE]
    return _parted(at_once, newest) or _parted(drift, newest)


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


def still_open(samples: Sequence[VoltageSample], cells: tuple[int, ...]) -> tuple[int, ...]:
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


def odd_cell(samples: Sequence[VoltageSample], base_v: float | None) -> tuple[int, ...]:
    """The cell whose difference from the others is that of the sum from the pack, if any.

    `base_v` is the usual difference of sum and pack, which is of no cell that sinks.
    """
    cells_v = samples[-1].cells_v
    if len(cells_v) < _LEAST_CELLS:
        return ()
    middle_v = median(cells_v)
    odd = max(range(len(cells_v)), key=lambda k: abs(cells_v[k] - middle_v))
    oldest_v = _differences_v(samples[0], (odd,))
    newest_v = _differences_v(samples[-1], (odd,))
    agreed = abs(oldest_v[1]) < _ODD_CELL_V / 2.0
    own_v = oldest_v if agreed and len(samples) > 1 else (0.0, 0.0)
    if base_v is not None:
        own_v = oldest_v[0], base_v
    cell_v = newest_v[0] - own_v[0]
    sum_v = newest_v[1] - own_v[1]
    slack_v = max(_CELL_V, _CELL_FRAC * abs(cell_v))
    is_odd = abs(cell_v) >= _ODD_CELL_V and abs(cell_v - sum_v) <= slack_v
    return (odd,) if is_odd and _pack_votes(samples, (odd,)) else ()


def parted_cells(
    samples: Sequence[VoltageSample], rejected: tuple[int, ...], ohm: float
) -> tuple[int, ...]:
    """Some of the cells, also most of them, that have left the others and the pack.

    At once by what no step of the load explains, or within seconds while the current stands.

    Args:
        samples: the newest last.
        rejected: those that had left before; they stay among the parted ones.
        ohm: of a new cell.
    """
    if len(samples) == 1 or len(rejected) == len(samples[-1].cells_v):
        return ()
    recent = [_without(sample, rejected) for sample in samples[-BEFORE - AFTER :]]
    parted = _parted_at_once(recent[-1 - _WIRE_BEFORE :]) or _parted_while_steady(recent, ohm)
    found = tuple(sorted({*parted, *rejected}))
    votes = len(found) < len(samples[-1].cells_v) and _pack_votes(samples, found)
    return found if parted and votes else ()


def _parted_at_once(samples: Sequence[VoltageSample]) -> list[int]:
    *before, newest = samples
    own_v = [median(column) for column in zip(*(one.cells_v for one in before), strict=True)]
    return _leaving(
        [now_v - v for v, now_v in zip(own_v, newest.cells_v, strict=True)],
        newest.pack_v - median([sample.pack_v for sample in before]),
        newest.difference_v - median([sample.difference_v for sample in before]),
        [_PARTED_FRAC * v for v in own_v],
    )


def _parted_while_steady(samples: Sequence[VoltageSample], ohm: float) -> list[int]:
    recent = step_samples(samples)
    currents_a = [sample.current_a for sample in recent if sample.current_a is not None]
    if not recent or len(currents_a) < len(recent):
        return []
    by_load_v = movement(currents_a) * ohm
    return _leaving(
        [median_step(column) for column in zip(*(one.cells_v for one in recent), strict=True)],
        median_step([sample.pack_v for sample in recent]),
        median_step([sample.difference_v for sample in recent]),
        [max(_ODD_CELL_V, 2.0 * by_load_v)] * len(recent[-1].cells_v),
    )


def _leaving(
    steps_v: Sequence[float], pack_v: float, sum_v: float, least_v: Sequence[float]
) -> list[int]:
    """Cells whose steps the pack has not, and that make the step of the sum away from the pack.

    Args:
        steps_v: of each cell.
        pack_v: step of the pack.
        sum_v: step of the sum away from the pack.
        least_v: of each cell that leaves the others.
    """
    share_v = pack_v / len(steps_v)
    away_v = [step_v - share_v for step_v in steps_v]
    parted = [k for k, v in enumerate(away_v) if abs(v) > least_v[k]]
    others_v = [abs(v) for k, v in enumerate(away_v) if k not in parted]
    if not parted or not others_v:
        return []
    parted_v = sum([away_v[k] for k in parted])
    stood = max(others_v) <= _OTHERS_FRAC * min(abs(away_v[k]) for k in parted)
    is_sum = abs(parted_v - sum_v) <= _OTHERS_FRAC * abs(parted_v)
    return parted if stood and is_sum else []


def _without(sample: VoltageSample, cells: tuple[int, ...]) -> VoltageSample:
    """The sample with the median of the other cells in place of some."""
    if not cells:
        return sample
    others_v = median(_others(sample, cells))
    cells_v = tuple([others_v if k in cells else v for k, v in enumerate(sample.cells_v)])
    return changed(sample, cells_v=cells_v)


def still_odd(
    samples: Sequence[VoltageSample], cells: tuple[int, ...], base_v: float
) -> tuple[int, ...]:
    """The rejected cells while both differences last, in the median of some seconds.

    Their own difference from the others may be a part of it.
    """
    if not cells or len(cells) == len(samples[-1].cells_v) or not _pack_votes(samples, cells):
        return ()
    since_s = samples[-1].t_s - _LASTS_S - SLACK_S
    recent = [_differences_v(sample, cells) for sample in samples if sample.t_s >= since_s]
    newest = recent[-_FOLLOWED:]
    followed = [abs(sum_v - base_v) < abs(cell_v) / 2.0 for cell_v, sum_v in newest]
    if len(newest) == _FOLLOWED and all(followed) and max(cell_v for cell_v, _ in newest) < 0.0:
        return ()
    cell_v, sum_v = (median(column) for column in zip(*recent, strict=True))
    sum_v -= base_v
    lasts = min(abs(cell_v), abs(sum_v)) >= _ODD_CELL_V / 2.0
    slack_v = max(_ODD_CELL_V, 2.0 * _CELL_FRAC * abs(cell_v))
    return cells if lasts and abs(cell_v - sum_v) <= slack_v else ()


def _differences_v(sample: VoltageSample, cells: tuple[int, ...]) -> tuple[float, float]:
    """Differences of some cells from the middle and of the sum from the pack."""
    one_of_many = len(cells) == 1 and len(sample.cells_v) >= _LEAST_CELLS
    middle_v = median(sample.cells_v if one_of_many else _others(sample, cells))
    return sum([sample.cells_v[k] - middle_v for k in cells]), sample.difference_v


def lone_step(samples: Sequence[VoltageSample]) -> tuple[int, float] | None:
    """(Cell, volts) of a step of the sum away from the pack that is that of one cell alone."""
    recent = step_samples(samples)
    count = len(samples[-1].cells_v)
    if not recent or count < _LEAST_CELLS:
        return None
    sum_v = median_step([sample.difference_v for sample in recent])
    if abs(sum_v) < _STEP_V:
        return None
    steps_v = [
        median_step([sample.cells_v[k] - _others_v(sample, k) for sample in recent])
        for k in range(count)
    ]
    odd = max(range(count), key=lambda k: abs(steps_v[k]))
    step_v = steps_v[odd]
    others_step_v = median_step([_others_v(sample, odd) for sample in recent])
    cell_step_v = median_step([sample.cells_v[odd] for sample in recent])
    stood_v = min(abs(others_step_v), abs(cell_step_v))
    alone = abs(step_v) >= _STEP_V and stood_v <= _OTHERS_FRAC * abs(step_v)
    alone = alone and _pack_votes(samples, (odd,))
    return (odd, sum_v) if alone and abs(step_v - sum_v) <= _STEP_FRAC * abs(step_v) else None


def step_lasts(samples: Sequence[VoltageSample], cell: int, step_v: float, base_v: float) -> bool:
    """Whether the sum has not stepped back after the step of a cell.

    `base_v` is the usual difference of sum and pack.
    """
    count = _FOLLOWED if step_v < 0.0 else AFTER
    recent = samples[-count:]
    if len(recent) < count:
        return True
    apart = any(abs(sample.difference_v - base_v) >= abs(step_v) / 2.0 for sample in recent)
    return apart and _pack_votes(samples, (cell,))


def _others(sample: VoltageSample, cells: tuple[int, ...]) -> list[float]:
    return [v for k, v in enumerate(sample.cells_v) if k not in cells]


def _others_v(sample: VoltageSample, cell: int) -> float:
    return median(_others(sample, (cell,)))


def _pack_votes(samples: Sequence[VoltageSample], cells: tuple[int, ...]) -> bool:
    """Whether the pack's voltage is evidence against some cells: it has followed the others."""
    pack_v = samples[-1].pack_v
    same = []
    for sample in reversed(samples):
        if sample.pack_v != pack_v:
            break
        same.append(sum(_others(sample, cells)))
    return len(same) <= FEW or movement(same) < _NO_VOTE_FRAC * pack_v

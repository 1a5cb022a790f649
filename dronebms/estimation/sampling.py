# SPDX-License-Identifier: Apache-2.0
"""Stage: snapshots -> readings of the weakest cell, means of whole seconds, end of discharge.

Volts, amperes (positive while discharging), seconds, ampere-seconds. While voltages are read and
the current is not, the current is derived from the gauge's remaining capacity, or the last one is
held: the charge counter never stops.
"""

import math
from dataclasses import dataclass
from typing import Self

from dronebms.core.pack_data import SINGLE_READING_S, PackData
from smartbattery.snapshot import Snapshot
from smartbattery.values import changed

MAX_STEP_GAP_S = 3.0  # between readings; beyond it nothing is known of what happened between them
_SECOND_S = 1.0 - 1e-6
# over which remaining capacity is differentiated
_COUNT_S = 10.0
_MIN_COUNT_S = 5.0
_SD_COUNT_FRAC = 0.1  # of a current derived so; a held one is uncertain as a whole
_MOST_BURSTS = 2.0  # of a current derived so, times the chemistry's 10 s current
_KNOWN_S = 60.0  # how long a current that was read or derived counts as known
_MIN_CELL_V = 1.5  # a first reading below it is not a cell
_FORGET_S = 600.0  # gap after which the pack may have been charged or changed
# end of discharge (docs/predictions.md)
_END_MEAN_S = 5.0
_END_INSTANT_V = 0.25


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading, or the mean of a second of readings: the weakest cell and the pack's load."""

    t_s: float
    cell_v: float
    current_a: float
    pack_v: float
    current_sd_a: float = 0.0  # 0: the current was read


@dataclass(frozen=True, slots=True)
class Second:
    """A whole second of readings."""

    span_s: float
    mean: Reading  # its time is that of the last reading
    previous: Reading | None  # mean of the second before
    counted_a: float  # mean current since the previous second
    counted_sd_a: float

    @property
    def power_w(self) -> float:
        """Mean discharge power of the pack."""
        return max(self.mean.pack_v * self.counted_a, 0.0)


@dataclass(frozen=True, slots=True)
class Sample:
    """What a snapshot adds to the readings so far."""

    t_s: float
    cells: int  # in series; 0: unknown
    cells_v: tuple[float | None, ...]
    newest: Reading | None  # None before the first reading
    is_new: bool  # `newest` is of this snapshot
    first: Reading | None  # the first reading of a pack, on that update only
    second: Second | None  # completed by this reading
    used_as: float  # since the first reading
    used_ws: float
    current_known: bool  # read or derived within the last minute
    ended: bool  # the end of discharge is reached
    just_ended: bool


@dataclass(frozen=True, slots=True)
class CurrentTracker:
    """Current as it is read; while it is not, derived from the gauge's remaining capacity."""

    counts: tuple[tuple[float, float], ...] = ()  # since when, remaining ampere-seconds
    known: tuple[float, float] | None = None  # time and amperes last read or derived

    def updated(
        self, snapshot: Snapshot, most_a: float
    ) -> tuple["CurrentTracker", tuple[float, float] | None]:
        """Take in a snapshot; with (amperes, standard deviation), None when never known.

        A change of the remaining capacity by more than `most_a` is no count.
        """
        counts = self._counted(snapshot, most_a)
        known = self.known
        current_a = snapshot.current_a
        sd_frac = 0.0
        if current_a is None:
            current_a = _derived_a(counts, snapshot.t_s)
            sd_frac = _SD_COUNT_FRAC
        if current_a is not None:
            known = snapshot.t_s, current_a
        elif known is not None:
            current_a = known[1]
            sd_frac = 1.0
        tracker = CurrentTracker(counts, known)
        if current_a is None:
            return tracker, None
        if snapshot.beyond_a is not None:
            current_a = max(current_a, snapshot.beyond_a)
        return tracker, (current_a, sd_frac * abs(current_a))

    def is_known(self, now_s: float) -> bool:
        """Whether the current was read or derived within the last minute."""
        return self.known is not None and now_s - self.known[0] <= _KNOWN_S

    def _counted(self, snapshot: Snapshot, most_a: float) -> tuple[tuple[float, float], ...]:
        counts = self.counts
        now_s = snapshot.t_s
        mah = snapshot.remaining_mah
        if mah is not None and (not counts or mah * 3.6 != counts[-1][1]):
            read_s = snapshot.read_at_s.get("remaining_mah", now_s)
            last_s, last_as = counts[-1] if counts else (read_s, mah * 3.6)
            jumps = abs(mah * 3.6 - last_as) > most_a * max(read_s - last_s, 1.0)
            counts = ((read_s, mah * 3.6),) if jumps else (*counts, (read_s, mah * 3.6))
        while len(counts) > 1 and counts[1][0] <= now_s - _COUNT_S:
            counts = counts[1:]
        return counts


def _derived_a(counts: tuple[tuple[float, float], ...], now_s: float) -> float | None:
    """Mean current by the fall of the remaining capacity; None while that stands still."""
    if not counts or now_s - counts[-1][0] > _MIN_COUNT_S:
        return None
    span_s = counts[-1][0] - counts[0][0]
    fallen_as = counts[0][1] - counts[-1][1]
    return fallen_as / span_s if span_s >= _MIN_COUNT_S and fallen_as > 0 else None


@dataclass(frozen=True, slots=True)
class EndOfDischarge:
    """Latch of the end of discharge; one absurd reading, however often polled, does not trip it."""

    recent: tuple[tuple[float, float], ...] = ()  # time, cell voltage
    deep_s: float | None = None  # since when far below the cut-off
    reached: bool = False

    def updated(self, reading: Reading, cutoff_v: float) -> "EndOfDischarge":
        """Take in a reading."""
        deep_s = self.deep_s
        if reading.cell_v > cutoff_v - _END_INSTANT_V:
            deep_s = None
        elif deep_s is None:
            deep_s = reading.t_s
        is_deep = deep_s is not None and reading.t_s - deep_s >= SINGLE_READING_S
        recent = (*self.recent, (reading.t_s, reading.cell_v))
        while len(recent) > 1 and recent[1][0] <= reading.t_s - _END_MEAN_S:
            recent = recent[1:]
        reached = self.reached or is_deep
        if not reached and reading.t_s - recent[0][0] >= _END_MEAN_S - _SECOND_S:
            reached = sum([v for _, v in recent]) / len(recent) <= cutoff_v
        return EndOfDischarge(recent, deep_s, reached)


@dataclass(frozen=True, slots=True)
class SecondMean:
    """Gathers readings until they span a second."""

    pending: tuple[tuple[float, Reading], ...] = ()  # weight in seconds
    due_s: float | None = None

    def updated(
        self, dt_s: float, reading: Reading
    ) -> tuple["SecondMean", tuple[float, Reading] | None]:
        """Take in a reading; with (span in seconds, mean) when a second is complete."""
        pending = (*self.pending, (dt_s, reading))
        due_s = reading.t_s - dt_s + _SECOND_S if self.due_s is None else self.due_s
        if reading.t_s < due_s:
            return SecondMean(pending, due_s), None
        # Seconds of the clock: a missing reading does not shift the later seconds.
        due_s += 1.0 + math.floor(reading.t_s - due_s)
        total_s = sum(weight for weight, _ in pending)

        def mean(name: str) -> float:
            return float(sum(w * getattr(r, name) for w, r in pending)) / total_s

        means = map(mean, ("cell_v", "current_a", "pack_v", "current_sd_a"))
        return SecondMean((), due_s), (total_s, Reading(reading.t_s, *means))


@dataclass(frozen=True, slots=True)
class SamplingState:
    """Restart state of `Sampling`."""

    current: CurrentTracker = CurrentTracker()
    second: SecondMean = SecondMean()
    end: EndOfDischarge = EndOfDischarge()
    newest: Reading | None = None
    previous: Reading | None = None  # mean of the last whole second
    used_as: float = 0.0
    used_ws: float = 0.0


class Sampling:
    """Stage: readings of the weakest cell and counters of charge and energy."""

    def __init__(self, pack_data: PackData, state: SamplingState = SamplingState()) -> None:
        self._pack_data = pack_data
        burst_c = pack_data.chemistry.burst_c
        unknown = pack_data.capacity_mah is None
        self._most_a = math.inf if unknown else _MOST_BURSTS * burst_c * pack_data.capacity_ah
        self._restore(state)

    def state(self) -> SamplingState:
        """Restart state."""
        return SamplingState(
            current=self._current,
            second=self._second,
            end=self._end,
            newest=self._newest,
            previous=self._previous,
            used_as=self._used_as,
            used_ws=self._used_ws,
        )

    def with_state(self, state: SamplingState) -> Self:
        """Return a stage that continues from a state."""
        return type(self)(self._pack_data, state)

    def _restore(self, state: SamplingState) -> None:
        self._current = state.current
        self._second = state.second
        self._end = state.end
        self._newest = state.newest
        self._previous = state.previous
        self._used_as = state.used_as
        self._used_ws = state.used_ws

    def resume(self) -> None:
        """Continue after an absence of the loop: no mean of the voltage spans it."""
        self._end = changed(self._end, recent=())

    def update(self, snapshot: Snapshot) -> Sample:
        """Take in a snapshot, with a new reading in it or not."""
        cells = self._pack_data.cells or snapshot.identity.cells or len(snapshot.cells_v)
        reading = self._read(snapshot, cells)
        before = self._newest
        if reading is not None and before is not None and reading.t_s - before.t_s > _FORGET_S:
            before = None
            self._restore(SamplingState())
        was_ended = self._end.reached
        second = None if reading is None else self._add(reading, before)
        return Sample(
            t_s=snapshot.t_s,
            cells=cells,
            cells_v=snapshot.cells_v,
            newest=self._newest,
            is_new=reading is not None,
            first=reading if before is None else None,
            second=second,
            used_as=self._used_as,
            used_ws=self._used_ws,
            current_known=self._current.is_known(snapshot.t_s),
            ended=self._end.reached,
            just_ended=self._end.reached and not was_ended,
        )

    def _read(self, snapshot: Snapshot, cells: int) -> Reading | None:
        """The snapshot as a reading; None when it holds none newer than the last."""
        self._current, current = self._current.updated(snapshot, self._most_a)
        read_s = snapshot.read_at_s.get("voltage_v")
        newest = self._newest
        if snapshot.voltage_v is None or current is None or read_s is None or cells == 0:
            return None
        if newest is not None and read_s <= newest.t_s:
            return None
        lowest = snapshot.lowest_cell()
        cell_v = snapshot.voltage_v / cells if lowest is None else lowest[1]
        if newest is None and cell_v <= _MIN_CELL_V:
            return None
        return Reading(read_s, cell_v, current[0], snapshot.voltage_v, current[1])

    def _add(self, reading: Reading, before: Reading | None) -> Second | None:
        """Count a reading; the second that it completes, if any."""
        self._newest = reading
        self._end = self._end.updated(reading, self._pack_data.cutoff_v)
        if before is None:
            self._previous = reading
            return None
        dt_s = reading.t_s - before.t_s
        mean_a = (before.current_a + reading.current_a) / 2
        self._used_as += mean_a * dt_s
        self._used_ws += mean_a * reading.pack_v * dt_s
        self._second, full = self._second.updated(dt_s, reading)
        if full is None:
            return None
        span_s, mean = full
        previous = self._previous
        self._previous = mean
        counted_a = mean.current_a
        gap_sd_a = 0.0
        if dt_s > MAX_STEP_GAP_S:
            counted_a = (before.current_a + mean.current_a) / 2
            gap_sd_a = abs(before.current_a - mean.current_a) / 2
        counted_sd_a = max(gap_sd_a, mean.current_sd_a)
        return Second(span_s, mean, previous, counted_a, counted_sd_a)

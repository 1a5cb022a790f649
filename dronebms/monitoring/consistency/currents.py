# SPDX-License-Identifier: Apache-2.0
"""Cross-check of the current, the gauge's remaining charge and the response of the cells.

The remaining charge falls by the charge that is drawn, and the cells sag with the current. The
cells alone refute a current

- that steps without a response of the cells,
- that is none, or stands still to the bit, while the cells sag as under a load, or
- that charges a flying pack whose cells fall.

Current and charge contradict each other when the charge falls faster or slower than the current by
more than the gauge's resolution and an eighth of it. If the cells have not decided, then in this
order: no current, or a charging one, of a flying pack whose charge falls is rejected; so is a
charge that stands still under load; so is a current that contradicts the gauge's own average and
the charge; else both are disputed. A charge that has jumped is rejected until it jumps back.

Amperes positive while discharging, mAh, volts of a cell, seconds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import fmean, median

from dronebms.core.pack_data import LOAD_C, PackData
from dronebms.core.resolution import Resolution
from smartbattery.values import changed

# Response of the cells, between the medians of two times of 5 s with 2 s between them: two seconds
# of another value are no step. In recorded and computed flights every step of 1.5 C has at least
# 0.1 times the resistance of a new cell, and none below 0.05 C has a sag of 40 mV.
_MIDDLE = 5
_COMPARED = 12
_MEAN = 4
_SAMPLES = 40
_MOST_GAP_S = 2.5  # between seconds that are compared
_STEP_C = 1.5
_NO_RESPONSE = 0.08
_HEALTHY_C = 1.0
_HEALTHY = (0.2, 8.0)
_SAG_V = 0.04
_REST_C = 0.05
_NO_CURRENT = 10.0
# Recorded readings are constant for up to 18 s; for less if the charge contradicts it as well.
_STUCK_S = 24
_MISMATCHED_S = 16
_FLUCTUATES_V = 0.003  # root mean square of the bends of means of 4 s
_ABRUPT_FRAC = 0.6  # of a step that passes within 2 s; the knee of a curve does not
_CHARGE_C = 0.1
_CHARGE_S = 10.0
_FALL_V = 0.003
# Counts of the charge.
_GAP_S = 5.0
_COUNT_FRAC = 0.12  # recorded gauges count within 10 %
_FLOOR_FRAC = 0.002  # of the capacity
_STEPS = 2.5  # changes of a coarse gauge
_JUMP_FRAC = 0.003  # of the capacity; a change that is a correction and no count
_MOST_FLOORS = 4.0  # remembered difference: counts that agree again are soon accepted
_COARSE_FRAC = 0.01  # change of a gauge that counts in per cent, assumed before the first one
_LAG_S = 6.0  # a gauge may count a changed load so much later
# A gauge may stand at "full" for so long, and fall to 0 from so far, when the cells are empty.
_NEAR_FULL_FRAC = 0.02
_NEAR_EMPTY_FRAC = 0.1
_CORRECTIONS_FRAC = 0.05  # plausible jumps in sum
_DRAWN_FRAC = 0.1  # of the charge drawn
_STANDS_FRAC = 0.2
_FALLS_C = 0.3
# no full charge capacity in mAh is beyond them
_LEAST_FULL = 0.2
_MOST_FULL = 1.3
_SAME_FRAC = 0.12
_OFFSET_C = 0.02  # a current so small may be an offset that the gauge does not count
_AGREES_S = 60.0  # a refuted current is restored
_COPIES_S = 30.0  # a charge that copies it is rejected


class Wrong(Enum):
    """Verdict on current and charge."""

    CURRENT = "current"
    CHARGE = "charge"
    BOTH = "both"
    DISPUTED = "disputed"


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
class Anchor:
    """Charge drawn and fallen until a reading of the gauge."""

    t_s: float
    drawn_mah: float
    fallen_mah: float


@dataclass(frozen=True, slots=True)
class Counts:
    """Charge drawn by the current and charge fallen by the gauge."""

    at_s: float | None = None  # of the last step
    drawn_mah: float = 0.0
    fallen_mah: float = 0.0  # without jumps
    jumped_mah: float = 0.0  # sum of the changes that no current explains
    read_s: float | None = None  # of the last reading of the gauge
    remaining_mah: float = 0.0  # then
    read_drawn_mah: float = 0.0  # drawn until then
    step_mah: float | None = None  # last change of the gauge; None: none seen
    more_mah: float = 0.0  # fallen beyond what the current allows
    less_mah: float = 0.0  # drawn beyond what the gauge allows
    full_frac: float | None = None  # full charge capacity as a share of the rated one
    since: Anchor | None = None  # the newest reading at which both counts agreed
    newest: Anchor | None = None

    def drawn(self, now_s: float, current_a: float) -> "Counts":
        """Count the current since the last step; after a gap the comparison starts again."""
        if self.at_s is None or not 0.0 <= now_s - self.at_s <= _GAP_S:
            return Counts(at_s=now_s, jumped_mah=self.jumped_mah, step_mah=self.step_mah)
        drawn_mah = self.drawn_mah + current_a * (now_s - self.at_s) / 3.6
        return changed(self, at_s=now_s, drawn_mah=drawn_mah)

    def read(
        self, read_s: float, mah: float, full_mah: float | None, capacity_mah: float
    ) -> "Counts":
        """Compare a reading of the gauge; at an end of its range it may stand still."""
        after = changed(
            self,
            read_s=read_s,
            remaining_mah=mah,
            read_drawn_mah=self.drawn_mah,
            full_frac=None if full_mah is None else full_mah / capacity_mah,
        )
        starting = self.remaining_mah == 0.0 == self.jumped_mah  # a gauge that starts reports 0
        if self.read_s is None or starting:
            return _anchored(after, read_s)
        full_mah = full_mah or capacity_mah
        least_mah = (1.0 - _NEAR_FULL_FRAC) * full_mah
        held = min(mah, self.remaining_mah) >= least_mah
        held &= mah <= (1.0 + _NEAR_FULL_FRAC) * full_mah
        held |= mah == 0.0 and self.remaining_mah <= _NEAR_EMPTY_FRAC * capacity_mah
        drawn_mah = self.drawn_mah - self.read_drawn_mah
        fallen_mah = drawn_mah if held else self.remaining_mah - mah
        extra_mah = fallen_mah - drawn_mah
        if fallen_mah and not held:
            step_mah = min(abs(fallen_mah), _COARSE_FRAC * capacity_mah)
            after = changed(after, step_mah=step_mah)
        jump_mah = max(_JUMP_FRAC * capacity_mah, 2.0 * (self.step_mah or 0.0))
        if abs(extra_mah) > jump_mah and abs(fallen_mah) > abs(drawn_mah):
            return _anchored(changed(after, jumped_mah=self.jumped_mah + extra_mah), read_s)
        allowed_mah = _COUNT_FRAC * max(abs(fallen_mah), abs(drawn_mah))
        allowed_mah += _OFFSET_C * capacity_mah * (read_s - self.read_s) / 3600.0
        most_mah = _MOST_FLOORS * self.floor_mah(capacity_mah)
        return _anchored(
            changed(
                after,
                fallen_mah=self.fallen_mah + fallen_mah,
                more_mah=min(max(self.more_mah + extra_mah - allowed_mah, 0.0), most_mah),
                less_mah=min(max(self.less_mah - extra_mah - allowed_mah, 0.0), most_mah),
            ),
            read_s,
        )

    def without_difference(self) -> "Counts":
        """The counts, compared from here on."""
        return changed(self, more_mah=0.0, less_mah=0.0, since=self.newest)

    def floor_mah(self, capacity_mah: float) -> float:
        """Difference that the resolution of the gauge explains."""
        step_mah = _COARSE_FRAC * capacity_mah if self.step_mah is None else self.step_mah
        return max(_FLOOR_FRAC * capacity_mah, _STEPS * step_mah)

    def rates_a(self, since: Anchor | None) -> tuple[float, float] | None:
        """Mean currents since a reading: as read, and by the gauge's charge."""
        newest = self.newest
        if since is None or newest is None or newest.t_s - since.t_s < _GAP_S:
            return None
        span = (newest.t_s - since.t_s) / 3.6
        read_a = (newest.drawn_mah - since.drawn_mah) / span
        return read_a, (newest.fallen_mah - since.fallen_mah) / span


def _anchored(counts: Counts, read_s: float) -> Counts:
    """The counts with this reading as the newest; after agreement the comparison starts here."""
    newest = Anchor(read_s, counts.drawn_mah, counts.fallen_mah)
    agrees = counts.since is None or not (counts.more_mah or counts.less_mah)
    return changed(counts, newest=newest, since=newest if agrees else counts.since)


@dataclass(frozen=True, slots=True)
class CurrentState:
    """Verdict and what it rests on; times in seconds of the loop's clock."""

    samples: tuple[CurrentSample, ...] = ()
    counts: Counts = Counts()
    charging_s: float | None = None  # since when the current charges
    charging_v: float = 0.0  # cell voltage then
    suspect: bool = False  # the last second showed a step without response
    refuted_s: float | None = None  # when the cells last refuted the current
    refuted: Anchor | None = None  # charge when they first did
    last: Anchor | None = None  # charge when they last did
    why: str = ""
    mismatch: Wrong | None = None  # verdict on counts that contradict each other
    wrong: Wrong | None = None  # the verdict

    @property
    def doubt(self) -> str:
        """Why the current is wrong."""
        if self.refuted_s is not None:
            return self.why
        read_a, counted_a = self.rates_a or (0.0, 0.0)
        return f"current {read_a:.1f} A, charge {counted_a:.1f} A"

    @property
    def rates_a(self) -> tuple[float, float] | None:
        """Mean currents while the counts disagree: as read, and by the gauge's charge."""
        return self.counts.rates_a(self.counts.since)

    def counting(self, counts: Counts, *, restarted: bool) -> "CurrentState":
        """State after a step of the counts; what was refuted is compared within one count."""
        refuted, last = (None, None) if restarted else (self.refuted, self.last)
        if self.refuted_s is not None:
            refuted = refuted or counts.newest
            last = last or counts.newest
        return changed(self, counts=counts, refuted=refuted, last=last)

    @property
    def charge_doubt(self) -> str:
        """Why the gauge's charge is wrong."""
        if self.wrong is Wrong.BOTH and self.mismatch is None:
            return "counts by it"
        if self.mismatch is Wrong.CHARGE and self.rates_a is not None:
            return f"falls at {self.rates_a[1]:.0f} A"
        return f"jumped {-self.counts.jumped_mah:+.0f} mAh"

    def added(self, sample: CurrentSample, by: Evidence) -> "CurrentState":
        """State after a second."""
        gap = bool(self.samples) and sample.t_s - self.samples[-1].t_s > _MOST_GAP_S
        samples = (sample,) if gap else (*self.samples, sample)[-_SAMPLES:]
        state = _charged(changed(self, samples=samples), sample, by)
        state = _responded(state, by)
        state = _counted(state, by)
        return _decided(state, sample.t_s, by.ah, flies=by.flies)


def _refuted(state: CurrentState, why: str) -> CurrentState:
    counts = state.counts
    if state.refuted_s is None:  # whether the charge agrees is decided by what follows
        state = changed(state, counts=counts.without_difference(), refuted=counts.newest)
    now_s = state.samples[-1].t_s
    return changed(state, refuted_s=now_s, last=counts.newest, why=why, suspect=False)


def _charged(state: CurrentState, sample: CurrentSample, by: Evidence) -> CurrentState:
    """Compare a charging current in flight with the cells."""
    if not by.flies or sample.current_a > -_CHARGE_C * by.ah:
        return changed(state, charging_s=None)
    if state.charging_s is None:
        return changed(state, charging_s=sample.t_s, charging_v=sample.cell_v)
    fall_v = _FALL_V + by.hidden_v
    if sample.t_s - state.charging_s < _CHARGE_S or sample.cell_v > state.charging_v - fall_v:
        return state
    return _refuted(state, f"current {sample.current_a:.1f} A, cells fall")


def _responded(state: CurrentState, by: Evidence) -> CurrentState:
    """Compare a step of the current with the response of the cells, relative to a new cell's."""
    ah = by.ah
    ohm = by.ohm
    chemistry = by.pack_data.chemistry
    samples = state.samples[-_COMPARED:]
    if len(samples) < _COMPARED:
        return changed(state, suspect=False)
    before = _middle(samples[:_MIDDLE])
    after = _middle(samples[-_MIDDLE:])
    before_a = before[0]
    after_a = after[0]
    step_a = after_a - before_a
    # Cells and pack are not read at once: no response is one of both, and so is a sag.
    steps_v = [b - a for a, b in zip(before[1:], after[1:], strict=True)]
    step_v = min(steps_v, key=abs)
    response = max([-volts / step_a / ohm for volts in steps_v]) if step_a else 0.0
    hidden = by.hidden_v / abs(step_a) / ohm if step_a else 0.0
    # Above its continuous rating the discharge itself moves the voltage as much as a step does.
    flows_a = min(abs(after_a), *(abs(rate_a) for rate_a in state.rates_a or (after_a,)))
    is_step = abs(step_a) >= _STEP_C * ah and flows_a <= chemistry.continuous_c * ah
    if is_step and response + hidden <= _NO_RESPONSE:
        if state.suspect:
            return _refuted(state, f"current step {step_a:.0f} A without response")
        return changed(state, suspect=True)
    why = None
    if _is_stuck(state.samples, by, _STUCK_S):
        why = f"current stuck at {after_a:.1f} A"
    elif _is_abrupt(samples, step_v, by) and abs(step_a) * ohm * _NO_CURRENT < abs(step_v):
        if max(abs(before_a), abs(after_a)) > _REST_C * ah:
            why = f"current stuck at {after_a:.1f} A" if all(s.still for s in samples) else None
        elif step_v < 0.0:
            why = f"current {after_a:.1f} A, cells sag {-step_v * 1000.0:.0f} mV"
    if why is not None:
        return _refuted(state, why)
    healthy = abs(step_a) >= _HEALTHY_C * ah and _HEALTHY[0] <= response <= _HEALTHY[1]
    return changed(state, suspect=False, refuted_s=None if healthy else state.refuted_s)


def _middle(samples: Sequence[CurrentSample]) -> tuple[float, float, float]:
    """Medians of current, cell and pack's share."""
    rows = zip(*((s.current_a, s.cell_v, s.share_v) for s in samples), strict=True)
    current_a, cell_v, share_v = map(median, rows)
    return current_a, cell_v, share_v


def _is_stuck(samples: Sequence[CurrentSample], by: Evidence, count: int) -> bool:
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


def _counted(state: CurrentState, by: Evidence) -> CurrentState:
    """Decide on counts that contradict each other; the verdict stays until they agree."""
    ah = by.ah
    counts = state.counts
    rates_a = state.rates_a
    currents_a = [sample.current_a for sample in state.samples]
    lag_mah = (max(currents_a) - min(currents_a)) * _LAG_S / 3.6
    floor_mah = counts.floor_mah(ah * 1000.0)
    worst_mah = max(counts.more_mah, counts.less_mah)
    if worst_mah < floor_mah / 2.0:
        return changed(state, mismatch=None)
    if state.mismatch is not None or worst_mah < floor_mah + lag_mah or rates_a is None:
        return state
    if _is_stuck(state.samples, by, _MISMATCHED_S):
        return _refuted(state, f"current stuck at {currents_a[-1]:.1f} A")
    wrong = _mismatched(*rates_a, ah, by.average_a, counts.full_frac, flies=by.flies)
    return changed(state, mismatch=wrong)


def _mismatched(
    read_a: float,
    counted_a: float,
    ah: float,
    average_a: float | None,
    full_frac: float | None,
    *,
    flies: bool,
) -> Wrong:
    """Which of current and charge is wrong, by their rates."""
    if flies and read_a < LOAD_C * ah and counted_a >= _FALLS_C * ah:
        return Wrong.CURRENT
    if counted_a <= _STANDS_FRAC * read_a:
        return Wrong.CHARGE
    # The full charge capacity has the scale of the count: that of another unit.
    scaled = full_frac is not None and not _LEAST_FULL <= full_frac <= _MOST_FULL
    if scaled and full_frac is not None and _same(counted_a, full_frac * read_a):
        return Wrong.CHARGE
    if average_a is not None and _same(average_a, counted_a) and not _same(average_a, read_a):
        return Wrong.CURRENT
    return Wrong.DISPUTED


def _same(value: float, other: float) -> bool:
    return abs(value - other) <= _SAME_FRAC * abs(other)


def _agree(read_a: float, counted_a: float, ah: float) -> bool:
    most_a = max(abs(read_a), abs(counted_a))
    return abs(read_a - counted_a) <= _COUNT_FRAC * most_a + _OFFSET_C * ah


def _agreed_a(
    state: CurrentState, since: Anchor | None, now_s: float, for_s: float, ah: float
) -> float | None:
    """The mean of a refuted current since a reading, if the charge has agreed for some time."""
    rates_a = state.counts.rates_a(since)
    if state.refuted_s is None or since is None or rates_a is None:
        return None
    lasts = now_s - max(state.refuted_s, since.t_s) >= for_s
    return rates_a[0] if lasts and _agree(*rates_a, ah) else None


def _decided(state: CurrentState, now_s: float, ah: float, *, flies: bool) -> CurrentState:
    """The verdict from all evidence."""
    counts = state.counts
    most_mah = 1000.0 * _CORRECTIONS_FRAC * ah + _DRAWN_FRAC * abs(counts.drawn_mah)
    jumped = abs(counts.jumped_mah) > most_mah
    lately_a = _agreed_a(state, state.last, now_s, _AGREES_S, ah)
    first_a = _agreed_a(state, state.refuted, now_s, _COPIES_S, ah)
    # A charge that is rejected itself is no witness for a current.
    if lately_a is not None and not jumped and (lately_a >= LOAD_C * ah or not flies):
        settled = counts.without_difference()
        state = changed(state, refuted_s=None, counts=settled, mismatch=None)
    elif first_a is not None and first_a < LOAD_C * ah and flies:
        return changed(state, wrong=Wrong.BOTH)  # the gauge counts by the wrong current
    if state.refuted_s is not None or state.mismatch is Wrong.CURRENT:
        return changed(state, wrong=Wrong.BOTH if jumped else Wrong.CURRENT)
    return changed(state, wrong=Wrong.CHARGE if jumped else state.mismatch)

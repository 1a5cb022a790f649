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

from dataclasses import dataclass, field
from enum import Enum

from dronebms.core.pack_data import LOAD_C
from dronebms.monitoring.consistency.charge_counts import COUNT_FRAC, OFFSET_C, Anchor, Counts
from dronebms.monitoring.consistency.current_response import (
    CurrentSample,
    Evidence,
    is_stuck,
    newest_step,
    stuck_or_missing,
)
from smartbattery.values import changed

_SAMPLES = 40
_MOST_GAP_S = 2.5  # between seconds that are compared
_MISMATCHED_S = 16  # recorded readings are constant for longer, but the charge contradicts it too
_CHARGE_C = 0.1
_CHARGE_S = 10.0
_FALL_V = 0.003
_LAG_S = 6.0  # a gauge may count a changed load so much later
_CORRECTIONS_FRAC = 0.05  # plausible jumps in sum
_DRAWN_FRAC = 0.1  # of the charge drawn
_STANDS_FRAC = 0.2
_FALLS_C = 0.3
# no full charge capacity in mAh is beyond them
_LEAST_FULL = 0.2
_MOST_FULL = 1.3
_SAME_FRAC = 0.12
_AGREES_S = 60.0  # a refuted current is restored
_COPIES_S = 30.0  # a charge that copies it is rejected


class Wrong(Enum):
    """Verdict on current and charge."""

    CURRENT = "current"
    CHARGE = "charge"
    BOTH = "both"
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True)
class CurrentState:
    """Verdict and what it rests on; times in seconds of the loop's clock."""

    samples: tuple[CurrentSample, ...] = ()
    counts: Counts = field(default_factory=Counts)
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
        state = changed(self, samples=samples)
        state = _charged(state, sample, by)
        state = _responded(state, by)
        state = _counted(state, by)
        return _decided(state, by)


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
    """Compare the current with the response of the cells."""
    step = newest_step(state.samples, by)
    if step is None:
        return changed(state, suspect=False)
    # Above its continuous rating the discharge itself moves the voltage as much as a step does.
    flows_a = min(abs(step.after_a), *(abs(rate_a) for rate_a in state.rates_a or (step.after_a,)))
    is_rated = flows_a <= by.pack_data.chemistry.continuous_c * by.ah
    if is_rated and step.lacks_response(by):
        if state.suspect:
            return _refuted(state, f"current step {step.step_a:.0f} A without response")
        return changed(state, suspect=True)
    why = stuck_or_missing(state.samples, step, by)
    if why is not None:
        return _refuted(state, why)
    refuted_s = None if step.is_healthy(by) else state.refuted_s
    return changed(state, suspect=False, refuted_s=refuted_s)


def _counted(state: CurrentState, by: Evidence) -> CurrentState:
    """Decide on counts that contradict each other; the verdict stays until they agree."""
    counts = state.counts
    if state.mismatch is None and (state.refuted_s is not None or _has_jumped(counts, by.ah)):
        # What is rejected itself is no witness, also not once it is right again.
        return changed(state, counts=counts.without_difference())
    rates_a = state.rates_a
    currents_a = [sample.current_a for sample in state.samples]
    lag_mah = (max(currents_a) - min(currents_a)) * _LAG_S / 3.6
    floor_mah = counts.floor_mah(by.ah * 1000.0)
    worst_mah = max(counts.more_mah, counts.less_mah)
    if worst_mah < floor_mah / 2.0:
        return changed(state, mismatch=None)
    if state.mismatch is not None or worst_mah < floor_mah + lag_mah or rates_a is None:
        return state
    if is_stuck(state.samples, by, _MISMATCHED_S):
        return _refuted(state, f"current stuck at {currents_a[-1]:.1f} A")
    return changed(state, mismatch=_mismatched(*rates_a, counts.full_frac, by))


def _mismatched(read_a: float, counted_a: float, full_frac: float | None, by: Evidence) -> Wrong:
    """Which of current and charge is wrong, by their rates."""
    if by.flies and read_a < LOAD_C * by.ah and counted_a >= _FALLS_C * by.ah:
        return Wrong.CURRENT
    if counted_a <= _STANDS_FRAC * read_a:
        return Wrong.CHARGE
    # The full charge capacity has the scale of the count: that of another unit.
    scaled = full_frac is not None and not _LEAST_FULL <= full_frac <= _MOST_FULL
    if scaled and full_frac is not None and _same(counted_a, full_frac * read_a):
        return Wrong.CHARGE
    average_a = by.average_a
    if average_a is not None and _same(average_a, counted_a) and not _same(average_a, read_a):
        return Wrong.CURRENT
    return Wrong.DISPUTED


def _same(value: float, other: float) -> bool:
    return abs(value - other) <= _SAME_FRAC * abs(other)


def _agree(read_a: float, counted_a: float, ah: float) -> bool:
    most_a = max(abs(read_a), abs(counted_a))
    return abs(read_a - counted_a) <= COUNT_FRAC * most_a + OFFSET_C * ah


def _agreed_a(state: CurrentState, since: Anchor | None, for_s: float, ah: float) -> float | None:
    """The mean of a refuted current since a reading, if the charge has agreed for some time."""
    rates_a = state.counts.rates_a(since)
    if state.refuted_s is None or since is None or rates_a is None:
        return None
    lasts = state.samples[-1].t_s - max(state.refuted_s, since.t_s) >= for_s
    return rates_a[0] if lasts and _agree(*rates_a, ah) else None


def _has_jumped(counts: Counts, ah: float) -> bool:
    """Whether the charge has jumped by more than a gauge corrects."""
    most_mah = 1000.0 * _CORRECTIONS_FRAC * ah + _DRAWN_FRAC * abs(counts.drawn_mah)
    return abs(counts.jumped_mah) > most_mah


def _decided(state: CurrentState, by: Evidence) -> CurrentState:
    """The verdict from all evidence."""
    ah = by.ah
    counts = state.counts
    jumped = _has_jumped(counts, ah)
    lately_a = _agreed_a(state, state.last, _AGREES_S, ah)
    first_a = _agreed_a(state, state.refuted, _COPIES_S, ah)
    if lately_a is not None and not jumped and (lately_a >= LOAD_C * ah or not by.flies):
        settled = counts.without_difference()
        state = changed(state, refuted_s=None, counts=settled, mismatch=None)
    elif first_a is not None and first_a < LOAD_C * ah and by.flies:
        return changed(state, wrong=Wrong.BOTH)  # the gauge counts by the wrong current
    if state.refuted_s is not None or state.mismatch is Wrong.CURRENT:
        return changed(state, wrong=Wrong.BOTH if jumped else Wrong.CURRENT)
    return changed(state, wrong=Wrong.CHARGE if jumped else state.mismatch)

# SPDX-License-Identifier: Apache-2.0
"""Charge drawn by the current and fallen by the gauge, compared step by step. Amperes, mAh."""

from dataclasses import dataclass

from smartbattery.values import changed

_GAP_S = 5.0
COUNT_FRAC = 0.12  # recorded gauges count within 10 %
_FLOOR_FRAC = 0.002  # of the capacity
_STEPS = 2.5  # changes of a coarse gauge
_JUMP_FRAC = 0.003  # of the capacity; a change that is a correction and no count
_MOST_FLOORS = 4.0  # remembered difference: counts that agree again are soon accepted
_COARSE_FRAC = 0.01  # change of a gauge that counts in per cent, assumed before the first one
# A gauge may stand at "full" for so long, and fall to 0 from so far, when the cells are empty.
_NEAR_FULL_FRAC = 0.02
_NEAR_EMPTY_FRAC = 0.1
OFFSET_C = 0.02  # a current so small may be an offset that the gauge does not count


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
        allowed_mah = COUNT_FRAC * max(abs(fallen_mah), abs(drawn_mah))
        allowed_mah += OFFSET_C * capacity_mah * (read_s - self.read_s) / 3600.0
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

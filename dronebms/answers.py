"""What is said between two forecasts: the time left that counts down, the charge that is shown.

Seconds and per cent. Latched where flight controllers latch.
"""

from dataclasses import dataclass

MAX_STEP_GAP_S = 3.0
_RISES_S = 4.0
_NOT_YET_S = 1.0  # the upper bound stays above zero until the end has come
_RECOVER_PCT_S = 0.1  # how fast the charge shown may rise while discharging


@dataclass(frozen=True, slots=True)
class Remaining:
    """Seconds until the end: median, and bounds that are wrong one time in twenty each."""

    low_s: float
    median_s: float
    high_s: float

    def after(self, since_s: float) -> "Remaining":
        """Return what is left some seconds later.

        Between forecasts the clock counts; in a gap nobody knows how fast, so the bounds part.
        """
        lost = since_s >= MAX_STEP_GAP_S
        median_s = max(self.median_s - since_s, 0.0)
        low_s = max(self.low_s - (2 if lost else 1) * since_s, 0.0)
        high_s = self.high_s - (0.0 if lost else since_s)
        return Remaining(min(low_s, median_s), median_s, max(high_s, median_s, _NOT_YET_S))

    def followed_by(self, new: "Remaining", since_s: float) -> "Remaining":
        """Return a forecast after this one: bad news is told at once, good news little by little.

        The fit is renewed every ten seconds; a rise in one step is seldom what the pack did.
        """
        share, told = since_s / (_RISES_S + since_s), self.after(since_s)
        median_s = min(new.median_s, told.median_s + share * (new.median_s - told.median_s))
        low_s = min(new.low_s, told.low_s + share * (new.low_s - told.low_s))
        return Remaining(min(low_s, median_s), median_s, new.high_s)


ENDED = Remaining(0.0, 0.0, 0.0)


class Shown:
    """The charge in per cent, which under load falls at once and rises slowly.

    Flight controllers latch on the lowest value they are told.
    """

    def __init__(self) -> None:
        self._pct: float | None = None
        self._at_s = 0.0

    def pct(self, now_s: float, charge_frac: float, *, loaded: bool) -> float:
        """Return what is shown of a charge."""
        pct = min(max(charge_frac * 100.0, 0.0), 100.0)
        if self._pct is not None and loaded:
            pct = min(pct, self._pct + _RECOVER_PCT_S * (now_s - self._at_s))
        self._pct, self._at_s = pct, now_s
        return pct

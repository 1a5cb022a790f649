# SPDX-License-Identifier: Apache-2.0
"""Adaptation of the interval's width by landings: adaptive conformal inference.

After a flight each of its forecasts is compared with the end of discharge. A bound that the truth
broke more often than in 5 % of them is moved away from the median for the next flights of the pack
and of its sister packs, one that held is moved towards it (Gibbs and Candes, "Adaptive Conformal
Inference Under Distribution Shift", NeurIPS 2021), so that in the long run each is broken by 5 %
whatever the model's errors are. A flight that lands before its end gives the end only
within its last forecast: a bound counts as broken where all of that is beyond it. Seconds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

_MAX_FORECASTS = 64
_FIRST_SPACING_S = 10.0
_SETTLE_S = 60.0  # of load before forecasts count
_LEAST = 5  # forecasts of a flight that teaches
_LOW_FRAC = 0.3  # of the time flown; with more left a landing does not show where the end was
_MISSES = 0.05
_GAIN = 0.6
_LN_RANGE = -0.6, 1.6


class Adaptation(NamedTuple):
    """Logarithms of the factors on the interval's halves below and above the median."""

    below: float = 0.0
    above: float = 0.0

    def factors(self) -> tuple[float, float]:
        """The factors."""
        return math.exp(self.below), math.exp(self.above)

    def after(self, below: float, above: float) -> "Adaptation":
        """Adaptation after a flight whose bounds were broken in these shares of its forecasts."""
        return Adaptation(
            self.below + _GAIN * (below - _MISSES), self.above + _GAIN * (above - _MISSES)
        ).within_range()

    def within_range(self) -> "Adaptation":
        """The nearest one that is allowed."""
        low, high = _LN_RANGE
        return Adaptation(min(max(self.below, low), high), min(max(self.above, low), high))


NOT_ADAPTED = Adaptation()


class Bounds(NamedTuple):
    """When the discharge ends by a forecast: its 5 % and 95 % bounds, as times."""

    at_s: float
    low_s: float
    high_s: float


@dataclass(frozen=True, slots=True)
class ForecastRecord:
    """Forecasts of one flight, evenly spaced; a long one keeps fewer in the minute."""

    since_s: float | None = None  # of the first forecast under load
    spacing_s: float = _FIRST_SPACING_S
    forecasts: tuple[Bounds, ...] = ()
    newest: Bounds | None = None
    ended_s: float | None = None  # end of discharge

    def with_forecast(self, at_s: float, low_s: float, high_s: float) -> "ForecastRecord":
        """Add a forecast: seconds from its time to the bounds."""
        newest = Bounds(at_s, at_s + low_s, at_s + high_s)
        since_s = at_s if self.since_s is None else self.since_s
        forecasts = self.forecasts
        spacing_s = self.spacing_s
        due_s = forecasts[-1].at_s + spacing_s if forecasts else since_s + _SETTLE_S
        if at_s >= due_s:
            forecasts = (*forecasts, newest)
        if len(forecasts) > _MAX_FORECASTS:
            forecasts = forecasts[::2]
            spacing_s = 2 * spacing_s
        return ForecastRecord(since_s, spacing_s, forecasts, newest, self.ended_s)

    def with_end(self, at_s: float) -> "ForecastRecord":
        """Add the end of discharge; the first one counts."""
        return self if self.ended_s is not None else replace(self, ended_s=at_s)

    def misses(self) -> tuple[float, float] | None:
        """Shares of forecasts whose end was before the 5 %, after the 95 % bound; None: unknown."""
        newest = self.newest
        since_s = self.since_s
        if newest is None or since_s is None or len(self.forecasts) < _LEAST:
            return None
        first_s = last_s = self.ended_s
        if first_s is None or last_s is None:
            if newest.high_s - newest.at_s > _LOW_FRAC * (newest.at_s - since_s):
                return None
            first_s = newest.low_s
            last_s = newest.high_s
        count = len(self.forecasts)
        return (
            sum(last_s < forecast.low_s for forecast in self.forecasts) / count,
            sum(first_s > forecast.high_s for forecast in self.forecasts) / count,
        )


NO_FORECASTS = ForecastRecord()


def mean_adaptation(adaptations: Sequence[Adaptation]) -> Adaptation:
    """Adaptation of a pack that has not flown yet, by its sister packs."""
    if not adaptations:
        return NOT_ADAPTED
    below, above = zip(*adaptations, strict=True)
    return Adaptation(sum(below) / len(below), sum(above) / len(above))

"""The load that is coming, judged by the load so far.

Power in watts of the whole pack. Multirotors hold power, not current: as the voltage falls the
current rises, and that is part of the forecast, not of the load.
"""

import math

_NOW_TAU_S = 4.0
_RECENT_TAU_S = 45.0
_OFF_TAU_S = 30.0
_BLOCK_S = 30.0
_LASTS_S = 60.0  # how long the present level tells more than the flight's mean
_SETTLE_S = 20.0  # take-off itself is not the flight
_PRIOR_VARIANCE = 0.09**2  # relative, of block means, before the flight has shown its own
_PRIOR_WEIGHT = 3.0
_MISSION_VARIANCE = 0.07**2  # relative; a change of plan that nothing has announced


class Load:
    """Power statistics of one flight; starts when there is a load."""

    def __init__(self, threshold_w: float) -> None:
        self._threshold_w = threshold_w
        self._now_w = 0.0
        self._off_w = 0.0
        self._recent_w = 0.0
        self._time_s = 0.0
        self._ripple = 0.0  # relative variance of the present power round the recent one
        self._block_ws = self._block_s = 0.0
        self._blocks: list[float] = []

    @property
    def present(self) -> bool:
        """Whether there is a load worth predicting from."""
        return self._time_s > 0 and self._off_w > self._threshold_w

    def update(self, dt_s: float, power_w: float) -> None:
        """Take in the mean power of the last `dt_s`."""
        if self._time_s == 0 and power_w < self._threshold_w:
            return
        self._time_s += dt_s
        self._now_w = self._towards(self._now_w, power_w, dt_s, _NOW_TAU_S)
        self._off_w = self._towards(self._off_w, power_w, dt_s, _OFF_TAU_S)
        self._recent_w = self._towards(self._recent_w, power_w, dt_s, _RECENT_TAU_S)
        error = self._now_w / self._recent_w - 1 if self._recent_w > 0 else 0.0
        self._ripple += (error * error - self._ripple) * dt_s / (90.0 + dt_s)
        if self._time_s > _SETTLE_S and self.present:
            self._block_ws += power_w * dt_s
            self._block_s += dt_s
        if self._block_s >= _BLOCK_S:
            block_w = self._block_ws / self._block_s
            if block_w > self._threshold_w:  # on the ground it is not the flight
                self._blocks.append(block_w)
            self._block_ws = self._block_s = 0.0

    def ahead(self, horizon_s: float) -> tuple[float, float]:
        """Return (mean power in watts, its relative standard deviation) over a horizon."""
        count = len(self._blocks)
        if count == 0:
            return self._recent_w, math.sqrt(1.5 * _PRIOR_VARIANCE + _MISSION_VARIANCE)
        mean_w = sum(self._blocks) / count
        spread = sum((block / mean_w - 1) ** 2 for block in self._blocks)
        variance = (spread + _PRIOR_WEIGHT * _PRIOR_VARIANCE) / (count + _PRIOR_WEIGHT)
        present = min(1.0, _LASTS_S / max(horizon_s, 1.0))
        # The mean of a young flight is hardly known: lean on the present level.
        weight = present + (1 - present) / (1 + 0.7 * count)
        power_w = weight * self._recent_w + (1 - weight) * mean_w
        over = min(1.0, 90.0 / max(horizon_s, 1.0)) * 0.35 + _PRIOR_WEIGHT / (count + _PRIOR_WEIGHT)
        return power_w, math.sqrt(variance * over + _MISSION_VARIANCE)

    @property
    def ripple_frac(self) -> float:
        """Return the relative standard deviation of power over some seconds: gusts."""
        return math.sqrt(self._ripple)

    def _towards(self, old: float, new: float, dt_s: float, tau_s: float) -> float:
        # A plain mean until the time constant has passed: no start value to forget.
        return old + (new - old) * dt_s / (min(tau_s, max(self._time_s - dt_s, 0.0)) + dt_s)

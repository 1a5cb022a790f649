"""The load that is coming, judged by the load so far and by the pack's earlier flights.

Power in watts of the whole pack. Multirotors hold power, not current: as the voltage falls the
current rises, and that is part of the forecast, not of the load.
"""

import math

from dronebms.estimation.model_parameters import FITTED, ModelParameters

_NOW_TAU_S = 4.0
_RECENT_TAU_S = 45.0
_OFF_TAU_S = 30.0
_BLOCK_S = 30.0
_RIPPLE_TAU_S = 90.0
_LEVEL_S = 90.0  # how long a phase of a flight lasts
_SETTLE_S = 20.0  # take-off itself is not the flight
_PRIOR_BLOCKS = 4.0


class LoadForecast:
    """Power statistics of one flight; starts when there is a load.

    Args:
        threshold_w: below it nothing flies.
        usual_w: mean power of the pack's earlier flights, None when there were none.
        constants: what is believed of loads.
    """

    def __init__(
        self, threshold_w: float, usual_w: float | None = None, parameters: ModelParameters = FITTED
    ) -> None:
        self._threshold_w = threshold_w
        self._usual_w = usual_w
        self._constants = parameters
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
        self._ripple += (error * error - self._ripple) * dt_s / (_RIPPLE_TAU_S + dt_s)
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
        c, blocks = self._constants, self._blocks
        usual_w, usual = (0.0, 0.0) if self._usual_w is None else (self._usual_w, c.learned_blocks)
        weight = len(blocks) + c.recent_blocks + usual
        mean_w = (sum(blocks) + c.recent_blocks * self._recent_w + usual * usual_w) / weight
        spread = sum((block / mean_w - 1) ** 2 for block in blocks)
        variance = (spread + _PRIOR_BLOCKS * c.sd_block**2) / (len(blocks) + _PRIOR_BLOCKS)
        horizon_s = max(horizon_s, 1.0)
        present = min(1.0, c.lasts_s / horizon_s)
        share = c.block_share * min(1.0, _LEVEL_S / horizon_s) + c.mean_share / weight
        power_w = present * self._recent_w + (1 - present) * mean_w
        calm = 1 - (1 - c.calm) * (1 - usual / weight)  # a pack's earlier flights have it in them
        return calm * power_w, math.sqrt(variance * share + c.sd_mission**2)

    @property
    def usual_w(self) -> float | None:
        """The mean power of this flight and the earlier ones, None before there is one."""
        usual = 0.0 if self._usual_w is None else self._constants.learned_blocks
        weight = len(self._blocks) + usual
        return (sum(self._blocks) + usual * (self._usual_w or 0.0)) / weight if weight else None

    @property
    def ripple_frac(self) -> float:
        """Return the relative standard deviation of power over some seconds: gusts."""
        return math.sqrt(self._ripple)

    def _towards(self, old: float, new: float, dt_s: float, tau_s: float) -> float:
        # A plain mean until the time constant has passed: no start value to forget.
        return old + (new - old) * dt_s / (min(tau_s, max(self._time_s - dt_s, 0.0)) + dt_s)

# SPDX-License-Identifier: Apache-2.0
"""The rest of a mission as a forecast of time and energy. Joules of the pack, seconds."""

import math
from dataclasses import dataclass

import numpy as np

from dronebms.estimation.motion.motion_power import Array


@dataclass(frozen=True, slots=True, eq=False)
class MissionForecast:
    """Forecast of the rest of a mission."""

    spans_s: Array  # of its legs, in order
    legs_j: Array
    sd: float  # relative, of the whole energy
    reach_j: tuple[tuple[int, float], ...]  # (item, energy to it and from there home)
    repeated: int = 0  # legs at its end that are flown again and again
    endless: str | None = None  # why it does not end: its power is known, and no landing

    @property
    def span_s(self) -> float:
        """Time until the landing."""
        return float(self.spans_s.sum())

    @property
    def total_j(self) -> float:
        """Energy until the landing."""
        return float(self.legs_j.sum())

    def power_w(self, horizon_s: float) -> float:
        """Mean power over a horizon of a second or more; after the landing of the whole mission."""
        horizon_s = max(horizon_s, 1.0)  # 0 at the end of the pack
        ends_s = np.concatenate([[0.0], np.cumsum(self.spans_s)])
        ends_j = np.concatenate([[0.0], np.cumsum(self.legs_j)])
        round_s = float(ends_s[-1] - ends_s[-1 - self.repeated])
        if horizon_s < ends_s[-1]:
            energy_j = float(np.interp(horizon_s, ends_s, ends_j))
        elif round_s > 0.0 and math.isfinite(horizon_s):
            round_j = float(ends_j[-1] - ends_j[-1 - self.repeated])
            rounds, rest_s = divmod(horizon_s - float(ends_s[-1]), round_s)
            begun_s = float(ends_s[-1 - self.repeated]) + rest_s
            begun_j = float(np.interp(begun_s, ends_s, ends_j)) - float(ends_j[-1]) + round_j
            energy_j = float(ends_j[-1]) + rounds * round_j + begun_j
        else:
            return float(ends_j[-1] / ends_s[-1])
        return energy_j / horizon_s

    def last_home_item(self, energy_j: float) -> int | None:
        """The last item from which home is reached with an energy, if all earlier ones are."""
        last = None
        for number, need_j in self.reach_j:
            if need_j > energy_j:
                break
            last = number
        return last

# SPDX-License-Identifier: Apache-2.0
"""Time that starts, stops and corners take on straight lines at limited acceleration and jerk.

Speeds over ground or vertical, m/s; a speed changes along an S curve, in `ramp_s` by its whole
value. Source: ArduPilot SCurve.cpp; PX4 VelocitySmoothing.cpp, and of the end of a line
TrajectoryConstraints.hpp `computeMaxSpeedFromDistance`: the speed `v` is allowed at the distance
`(v² + b v) / 2a`, b = 4a²/j. The last part of such a line is flown after PX4 has taken it as
reached, with the next one.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

_ROUNDS = 20  # of a bisection of the greatest speed on a short line: 1 part in a million

_LEAST_M = 0.05  # of the end of a line that is eased, which has no end by its equation


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a motion along one axis.

    Attributes:
        m_s2: acceleration.
        m_s3: jerk; infinite: the acceleration changes at once.
        eases: towards the end of a line the speed falls with the distance, as PX4's does.
        within_m: of that end, where the line counts as flown.
    """

    m_s2: float
    m_s3: float = math.inf
    eases: bool = False
    within_m: float = 0.0

    def ramp_s(self, m_s: float) -> float:
        """Time from a hover to a speed."""
        if m_s * self.m_s3 < self.m_s2**2:
            return 2.0 * math.sqrt(m_s / self.m_s3)
        return m_s / self.m_s2 + self.m_s2 / self.m_s3

    def corner_s(self, m_s: float, turn: float) -> float:
        """Time that a corner costs.

        Args:
            m_s: speed before and after it.
            turn: angle in radians; the corner is flown at the part of the speed that lasts.
        """
        return (1.0 - max(math.cos(turn), 0.0)) ** 2 * self.ramp_s(m_s)

    def stop_s(self, m_s: float, distance_m: float) -> float:
        """Time that a start and a stop cost on a line; negative where its end comes early."""
        return _line_s(self, m_s, distance_m) - distance_m / m_s

    def _braking(self, m_s: float) -> tuple[float, float]:
        """(Distance, time) of the stop from a speed, as far as the line counts."""
        if not self.eases:
            ramp_s = self.ramp_s(m_s)
            return m_s * ramp_s / 2.0, ramp_s
        soft_m_s = 4.0 * self.m_s2**2 / self.m_s3
        within_m = max(self.within_m, _LEAST_M)
        root = math.sqrt(soft_m_s**2 + 8.0 * self.m_s2 * within_m)
        last_m_s = (root - soft_m_s) / 2.0
        if m_s <= last_m_s:
            return 0.0, 0.0
        distance_m = (m_s**2 + soft_m_s * m_s) / (2.0 * self.m_s2) - within_m
        slow_s = soft_m_s / (2.0 * self.m_s2) * math.log(m_s / last_m_s)
        return distance_m, (m_s - last_m_s) / self.m_s2 + slow_s

    def ramps(self, m_s: float) -> tuple[float, float]:
        """(Distance, time) of a start and a stop."""
        ramp_s = self.ramp_s(m_s)
        distance_m, braking_s = self._braking(m_s)
        return m_s * ramp_s / 2.0 + distance_m, ramp_s + braking_s


INSTANT = Limits(1e6)


@lru_cache(256)
def _line_s(limits: Limits, m_s: float, distance_m: float) -> float:
    """Time of a line from a hover to its end."""
    flown_m = distance_m - limits.within_m * limits.eases
    if flown_m <= 0.0:
        return 0.0
    ramps_m, ramps_s = limits.ramps(m_s)
    if ramps_m <= flown_m:
        return ramps_s + (flown_m - ramps_m) / m_s
    low_m_s = 0.0
    high_m_s = m_s
    for _ in range(_ROUNDS):
        middle_m_s = (low_m_s + high_m_s) / 2.0
        if limits.ramps(middle_m_s)[0] <= flown_m:
            low_m_s = middle_m_s
        else:
            high_m_s = middle_m_s
    ramps_m, ramps_s = limits.ramps(high_m_s)
    return ramps_s * flown_m / ramps_m

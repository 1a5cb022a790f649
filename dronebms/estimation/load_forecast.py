# SPDX-License-Identifier: Apache-2.0
"""Stage: forecast of the load from the flight so far and the vehicle's earlier flights.

Power in watts of the whole pack. Multirotors hold power, not current: that the current rises as
the voltage falls is part of the time to empty, not of the load.
"""

import math
from dataclasses import dataclass
from typing import Protocol, Self

from dronebms.estimation.learning.usual_power import UsualPower
from dronebms.estimation.model_parameters import FITTED, ModelParameters
from dronebms.estimation.sampling import Sample

_NOW_TAU_S = 4.0
_RECENT_TAU_S = 45.0
_OFF_TAU_S = 30.0
_BLOCK_S = 30.0
_RIPPLE_TAU_S = 90.0
_LEVEL_S = 90.0  # length of a phase of a flight
_SETTLE_S = 20.0  # the take-off itself is left out of the mean
# Flights begin with a climb: the power of the first seconds is above the mean, on computed ones by
# a quarter to a half.
_CLIMB_FRAC = 0.25
_CLIMB_TAU_S = 15.0
_PRIOR_BLOCKS = 4.0
# Of the expected power: a vehicle that hovered at so much more and flies on a wing since lands in a
# hover. Phases of multirotors differ by less.
_HOVER_RATIO = 2.5
_OWN_BLOCKS = 4  # of the flight, from which on its forecast does not change to another usual power
_PLANNED_RIPPLE = 0.05  # of a flight that has not begun
_LEAST_SD = 1e-6
_SMOOTH_S = 15.0  # of temperature
_SPAN_S = 45.0  # over less, the steps of 0.1 K of a thermometer dominate the slope


class PlannedLoad(Protocol):
    """Load of a plan that is flown."""

    @property
    def sd(self) -> float:
        """Relative standard deviation of its energy."""

    def power_w(self, horizon_s: float) -> float:
        """Mean power over a horizon."""


@dataclass(frozen=True, slots=True)
class LoadAhead:
    """The expected load."""

    power_w: float  # mean, of the pack
    power_sd: float  # its relative standard deviation
    ripple_frac: float  # relative standard deviation of power over some seconds: gusts
    least_w: float  # of the present, the recent and the expected mean power
    most_w: float
    rise_degc_s: float = 0.0  # rate of the temperature
    landing_w: float | None = None  # power that the landing takes, where it is far above the mean
    loaded_s: float = 0.0  # since the first load


@dataclass(frozen=True, slots=True)
class TemperatureRise:
    """Slope of the temperature under load; `degc_s` is 0 until it is known."""

    degc_s: float = 0.0
    degc: float = 0.0  # smoothed
    last_s: float = 0.0
    start: tuple[float, float] | None = None  # time and temperature the slope is taken from

    def updated(self, now_s: float, degc: float) -> "TemperatureRise":
        """Take in a temperature in degC."""
        if self.start is None:
            return TemperatureRise(self.degc_s, degc, now_s, (now_s, degc))
        smooth_degc = self.degc + (degc - self.degc) * min((now_s - self.last_s) / _SMOOTH_S, 1.0)
        start_s, start_degc = self.start
        if now_s - start_s <= _SPAN_S:
            return TemperatureRise(self.degc_s, smooth_degc, now_s, self.start)
        slope = (smooth_degc - start_degc) / (now_s - start_s)
        degc_s = self.degc_s + (slope - self.degc_s) / 2
        return TemperatureRise(degc_s, smooth_degc, now_s, (now_s, smooth_degc))


@dataclass(frozen=True, slots=True)
class PowerStatistics:
    """Power of the flight so far."""

    now_w: float = 0.0
    off_w: float = 0.0  # slow, for the end of the load
    recent_w: float = 0.0
    time_s: float = 0.0
    ripple: float = 0.0  # relative variance of the present power about the recent one
    block_ws: float = 0.0
    block_s: float = 0.0
    blocks: tuple[float, ...] = ()  # mean power of each 30 s of load


@dataclass(frozen=True, slots=True)
class LoadForecastState:
    """Restart state of `LoadForecast`."""

    power: PowerStatistics = PowerStatistics()
    rise: TemperatureRise = TemperatureRise()
    ahead: LoadAhead | None = None


def planned_load(plan: PlannedLoad) -> LoadAhead:
    """Load of a plan that has not begun."""
    power_w = plan.power_w(math.inf)
    return LoadAhead(power_w, plan.sd, _PLANNED_RIPPLE, least_w=power_w, most_w=power_w)


class LoadForecast:
    """Stage: power statistics of one flight, from the first load on.

    Args:
        threshold_w: a lower power is no load.
        usual: power of the vehicle's earlier flights, None when there were none.
        parameters: prior of the load.
        state: to continue from.
    """

    def __init__(
        self,
        threshold_w: float,
        usual: UsualPower | None = None,
        parameters: ModelParameters = FITTED,
        state: LoadForecastState = LoadForecastState(),
    ) -> None:
        self._threshold_w = threshold_w
        self._usual = usual
        self._parameters = parameters
        self._power = state.power
        self._rise = state.rise
        self._ahead = state.ahead

    def state(self) -> LoadForecastState:
        """Restart state."""
        return LoadForecastState(self._power, self._rise, self._ahead)

    def with_state(self, state: LoadForecastState) -> Self:
        """Return a stage that continues from a state."""
        return type(self)(self._threshold_w, self._usual, self._parameters, state)

    def update(
        self, sample: Sample, degc: float, horizon_s: float, plan: PlannedLoad | None = None
    ) -> LoadAhead | None:
        """Take in a sample; the load over a horizon, None without a load.

        Args:
            sample: of this update.
            degc: temperature.
            horizon_s: over which the load is wanted.
            plan: that is flown.
        """
        second = sample.second
        if second is None:
            return self._ahead
        self.add(second.span_s, second.power_w)
        self._ahead = None
        if self.present:
            self._rise = self._rise.updated(second.mean.t_s, degc)
            power_w, power_sd = self.mean_power(horizon_s)
            if plan is not None:
                power_w = plan.power_w(horizon_s)
                power_sd = plan.sd
            self._ahead = LoadAhead(
                power_w,
                power_sd,
                self.ripple_frac,
                least_w=max(min(power_w, self._power.recent_w), self._threshold_w),
                most_w=max(power_w, self._power.recent_w, self._power.now_w, self._threshold_w),
                rise_degc_s=self._rise.degc_s,
                landing_w=self.landing_w(max(power_w, self._power.recent_w)),
                loaded_s=self._power.time_s,
            )
        return self._ahead

    def landing_w(self, expected_w: float) -> float | None:
        """Greatest power that this flight took for 30 s, where it is far above the expected one."""
        hover_w = max(self._power.blocks, default=0.0)
        return hover_w if hover_w > _HOVER_RATIO * expected_w else None

    @property
    def present(self) -> bool:
        """Whether there is a load to forecast from."""
        return self._is_present(self._power.time_s, self._power.off_w)

    def add(self, dt_s: float, power_w: float) -> None:
        """Take in the mean power of the last `dt_s`."""
        before = self._power
        if before.time_s == 0 and power_w < self._threshold_w:
            return
        time_s = before.time_s + dt_s

        def filtered(old_w: float, tau_s: float) -> float:
            # A plain mean until the time constant has passed: no initial value to decay.
            return old_w + (power_w - old_w) * dt_s / (min(tau_s, max(time_s - dt_s, 0.0)) + dt_s)

        now_w = filtered(before.now_w, _NOW_TAU_S)
        off_w = filtered(before.off_w, _OFF_TAU_S)
        recent_w = filtered(before.recent_w, _RECENT_TAU_S)
        error = now_w / recent_w - 1 if recent_w > 0 else 0.0
        ripple = before.ripple + (error * error - before.ripple) * dt_s / (_RIPPLE_TAU_S + dt_s)
        block_ws = before.block_ws
        block_s = before.block_s
        blocks = before.blocks
        if time_s > _SETTLE_S and self._is_present(time_s, off_w):
            block_ws += power_w * dt_s
            block_s += dt_s
        if block_s >= _BLOCK_S:
            block_w = block_ws / block_s
            if block_w > self._threshold_w:  # time on the ground is not part of the flight
                blocks = (*blocks, block_w)
            block_ws = block_s = 0.0
        self._power = PowerStatistics(
            now_w=now_w,
            off_w=off_w,
            recent_w=recent_w,
            time_s=time_s,
            ripple=ripple,
            block_ws=block_ws,
            block_s=block_s,
            blocks=blocks,
        )

    def flight_w(self, horizon_s: float) -> float | None:
        """Mean power over a horizon by the flights alone, without a plan; None without a load."""
        return self.mean_power(horizon_s)[0] if self.present else None

    def mean_power(self, horizon_s: float) -> tuple[float, float]:
        """(Mean power in watts, its relative standard deviation) over a horizon."""
        c = self._parameters
        blocks = self._power.blocks
        recent_w = self._power.recent_w
        climbed_s = max(self._power.time_s - _SETTLE_S, 0.0)
        recent_w *= 1.0 - _CLIMB_FRAC * math.exp(-climbed_s / _CLIMB_TAU_S)
        usual_w = 0.0
        usual = 0.0
        if self._usual is not None:
            usual_w = self._usual.mean_w
            usual = self._usual_blocks(self._usual.sd)
        weight = len(blocks) + c.recent_blocks + usual
        mean_w = (sum(blocks) + c.recent_blocks * recent_w + usual * usual_w) / weight
        spread = sum((block / mean_w - 1) ** 2 for block in blocks)
        variance = (spread + _PRIOR_BLOCKS * c.sd_block**2) / (len(blocks) + _PRIOR_BLOCKS)
        horizon_s = max(horizon_s, 1.0)
        present = min(1.0, c.recent_s / horizon_s)
        share = c.block_share * min(1.0, _LEVEL_S / horizon_s) + c.mean_share / weight
        power_w = present * recent_w + (1 - present) * mean_w
        # The mean of earlier flights includes their returns and landings.
        share_ahead = 1 - (1 - c.ahead_frac) * (1 - usual / weight)
        return share_ahead * power_w, math.sqrt(variance * share + c.sd_mission**2)

    def use(self, usual: UsualPower | None) -> bool:
        """Forecast with another usual power; False, and no change, late in a flight."""
        early = len(self._power.blocks) < _OWN_BLOCKS
        if early:
            self._usual = usual
        return early

    @property
    def flown(self) -> tuple[float, float] | None:
        """(Mean power, seconds) of this flight, None before the first 30 s of load."""
        blocks = self._power.blocks
        return (sum(blocks) / len(blocks), len(blocks) * _BLOCK_S) if blocks else None

    @property
    def ripple_frac(self) -> float:
        """Relative standard deviation of power over some seconds: gusts."""
        return math.sqrt(self._power.ripple)

    def _usual_blocks(self, sd: float) -> float:
        """Blocks of this flight that know as much of its mean power as the earlier flights."""
        c = self._parameters
        return min(c.mean_share * (c.sd_block / max(sd, _LEAST_SD)) ** 2, c.learned_blocks)

    def _is_present(self, time_s: float, off_w: float) -> bool:
        return time_s > 0 and off_w > self._threshold_w

# SPDX-License-Identifier: Apache-2.0
"""Stage: the way home and the rest of the mission, and whether the pack lasts for them.

Power by motion -> rest of the mission -> (time to empty under its load) -> verdicts. On the ground
the mission is judged with the power that earlier flights of the vehicle taught.
"""

import math
from dataclasses import dataclass
from typing import Self

from dronebms.core.report import Estimate, Verdict
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.ahead.mission_ahead import MissionAhead, MissionState
from dronebms.estimation.ahead.mission_forecast import MissionForecast
from dronebms.estimation.ahead.reach import (
    LANDING_RESERVE_FRAC,
    Z_90,
    available,
    charge_as,
    verdict,
)
from dronebms.estimation.ahead.return_home import (
    NO_LOAD,
    ReturnEstimate,
    ReturnHome,
    ReturnHomeState,
)
from dronebms.estimation.cell.cell_estimate import CellEstimate
from dronebms.estimation.cell.cell_model import CAPACITY, CHARGE
from dronebms.estimation.load_forecast import LoadAhead
from dronebms.estimation.motion.motion_power import LearnedMotion, MotionPower, MotionPowerState
from dronebms.estimation.sampling import Sample, Second
from dronebms.estimation.time_to_empty import RemainingTime
from smartbattery.values import changed

_PERIOD_S = 1.0
_AS_PER_MAH = 3.6


@dataclass(frozen=True, slots=True)
class MissionEstimate:
    """The mission; charges in per cent and milliampere-hours of the pack."""

    verdict: Verdict = Verdict.UNKNOWN
    missing: str | None = None
    mission_s: float | None = None
    end_pct: float | None = None
    end_low_pct: float | None = None
    needs_mah: float | None = None
    usable_mah: float | None = None
    usable_low_mah: float | None = None
    last_home_item: int | None = None


@dataclass(frozen=True, slots=True)
class FlightAheadState:
    """Restart state of `FlightAhead`."""

    motion: MotionPowerState
    mission: MissionState
    home: ReturnHomeState
    estimate: MissionEstimate  # of the last second
    returned: tuple[float, ReturnEstimate] | None  # time of the last one


class FlightAhead:
    """Stage: the flight ahead of one vehicle.

    Args:
        pack_j: energy of a full pack, by its rated capacity.
        learned: power by motion of earlier flights.
        hover_w: power of a hover by the configuration.
        state: to continue from.
    """

    def __init__(
        self,
        pack_j: float,
        learned: LearnedMotion | None = None,
        hover_w: float | None = None,
        state: FlightAheadState | None = None,
    ) -> None:
        self._pack_j = pack_j
        self._learned = learned
        self._hover_w = hover_w
        self._motion = MotionPower(learned, hover_w)
        self._mission = MissionAhead()
        self._return = ReturnHome(LANDING_RESERVE_FRAC * pack_j)
        self._estimate = MissionEstimate()
        self._returned: tuple[float, ReturnEstimate] | None = None
        if state is not None:
            self._motion = self._motion.with_state(state.motion)
            self._mission = self._mission.with_state(state.mission)
            self._return = self._return.with_state(state.home)
            self._estimate = state.estimate
            self._returned = state.returned

    def state(self) -> FlightAheadState:
        """Restart state."""
        return FlightAheadState(
            motion=self._motion.state(),
            mission=self._mission.state(),
            home=self._return.state(),
            estimate=self._estimate,
            returned=self._returned,
        )

    def with_state(self, state: FlightAheadState) -> Self:
        """Return a stage that continues from a state."""
        return type(self)(self._pack_j, self._learned, self._hover_w, state)

    def use(self, learned: LearnedMotion | None) -> None:
        """Take in what earlier flights of the vehicle taught."""
        self._motion.use(learned)

    @property
    def learned(self) -> LearnedMotion | None:
        """Power by motion that this flight teaches."""
        return self._motion.learned()

    def plan(
        self, second: Second, vehicle: VehicleState, flight_w: float | None
    ) -> MissionForecast | None:
        """Take in a second; the rest of the mission.

        Args:
            second: of this update.
            vehicle: its state.
            flight_w: mean power ahead by the flight so far, for motions of which nothing is
                known; None without a load.
        """
        now_s = second.mean.t_s
        if flight_w is not None:
            self._motion.update(now_s, second.span_s, second.power_w, vehicle)
        answer = self._mission.update(now_s, vehicle, self._motion, flight_w)
        if answer.forecast is None:
            self._estimate = MissionEstimate(missing=answer.missing)
        return answer.forecast  # to be judged

    def home(
        self,
        sample: Sample,
        vehicle: VehicleState,
        load: LoadAhead | None,
        remaining: RemainingTime | None,
    ) -> ReturnEstimate:
        """The return, once a second."""
        returned = self._returned
        if sample.second is None and returned and sample.t_s - returned[0] < _PERIOD_S:
            return returned[1]
        found = self._return.update(sample, vehicle, self._motion, load, remaining)
        self._returned = sample.t_s, found
        return found

    def judge(
        self,
        forecast: MissionForecast,
        cell: CellEstimate,
        cells: int,
        load: LoadAhead,
        remaining: RemainingTime | None,
    ) -> None:
        """Judge the mission with the pack as it is.

        Args:
            forecast: of `plan`.
            cell: the weakest cell.
            cells: in series.
            load: of the mission.
            remaining: time to empty under it.
        """
        if forecast.endless is not None:
            self._estimate = MissionEstimate(missing=f"end of the mission: {forecast.endless}")
            return
        energy = None if remaining is None else available(remaining, load)
        need_j = forecast.total_j
        span_s = forecast.span_s
        if energy is None:
            self._estimate = MissionEstimate(missing="time left", mission_s=span_s)
            return
        low_j, _ = energy.bounds_j(forecast.sd)
        lasts_j = energy.median_j - LANDING_RESERVE_FRAC * self._pack_j
        power_w = need_j / span_s
        used_as, usable_as, low_as = (
            charge_as(cell, cells, j, power_w) for j in (need_j, energy.median_j, low_j)
        )
        end_pct, low_pct = _end_pct(cell, used_as, low_as, forecast)
        self._estimate = MissionEstimate(
            verdict=verdict(
                (low_j - need_j) / power_w, (lasts_j - need_j) / power_w, self._estimate.verdict
            ),
            mission_s=span_s,
            end_pct=end_pct,
            end_low_pct=low_pct,
            needs_mah=used_as / _AS_PER_MAH,
            usable_mah=usable_as / _AS_PER_MAH,
            usable_low_mah=low_as / _AS_PER_MAH,
            last_home_item=forecast.last_home_item(lasts_j),
        )

    def added_to(self, estimate: Estimate, home: ReturnEstimate) -> Estimate:
        """The estimate of the pack with the return and the mission."""
        mission = self._estimate
        missing = home.missing
        if missing in (None, NO_LOAD):  # on the ground the mission alone has an answer
            missing = mission.missing or missing
        return changed(
            estimate,
            home_s=home.home_s,
            home_reserve_s=home.reserve_s,
            home_margin_s=home.margin_s,
            home_best_s=home.best_s,
            turn_back_in_s=home.turn_back_in_s,
            home_verdict=home.verdict,
            mission_verdict=mission.verdict,
            verdict_missing=missing,
            mission_s=mission.mission_s,
            mission_end_pct=mission.end_pct,
            mission_end_low_pct=mission.end_low_pct,
            mission_needs_mah=mission.needs_mah,
            usable_mah=mission.usable_mah,
            usable_low_mah=mission.usable_low_mah,
            last_home_item=mission.last_home_item,
            alternate=home.alternate,
            alternate_by_return=home.alternate_by_return,
        )


def _end_pct(
    cell: CellEstimate, used_as: float, low_as: float, forecast: MissionForecast
) -> tuple[float, float]:
    """State of charge after the mission and its 5 % bound; not below empty.

    The bound is that of the charge, and 0 where by the 5 % bound the pack ends before (`low_as`).
    """
    capacity_as = cell.model.capacity_as * math.exp(float(cell.x[CAPACITY]))
    charge = float(cell.x[CHARGE])
    used = used_as / capacity_as
    variance = float(cell.variance[CHARGE])
    variance += used**2 * (forecast.sd**2 + float(cell.variance[CAPACITY]))
    end = charge - used
    low = min(end - Z_90 * math.sqrt(variance), (low_as - used_as) / capacity_as)
    return 100.0 * min(max(end, 0.0), 1.0), 100.0 * min(max(low, 0.0), 1.0)

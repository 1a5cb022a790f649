# SPDX-License-Identifier: Apache-2.0
"""Stage: the return, whether the pack lasts for it, and the latest time to turn back.

Joules of the pack, metres, seconds. A value that rests on something unknown is `None`, never zero.
"""

import math
from dataclasses import dataclass
from typing import Self

from dronebms.core.report import Verdict
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.ahead.reach import Available, available, verdict
from dronebms.estimation.ahead.return_destination import Destination, alternates, destination
from dronebms.estimation.ahead.return_way import LEAST_CRUISE_M_S, conditions, way
from dronebms.estimation.load_forecast import LoadAhead
from dronebms.estimation.motion.flight_legs import Conditions, Leg, NoWayError
from dronebms.estimation.motion.motion_power import LegTable, MotionPower, Need
from dronebms.estimation.motion.positions import HOME, Position, offset
from dronebms.estimation.sampling import Sample
from dronebms.estimation.time_to_empty import RemainingTime
from smartbattery.values import changed

NO_LOAD = "load"
_RECEDE_TAU_S = 5.0
_RECEDE_GAP_S = 20.0


@dataclass(frozen=True, slots=True)
class ReturnEstimate:
    """The return; seconds."""

    home_s: float | None = None  # flight home and landing
    reserve_s: float | None = None  # left then: 5 % bound
    margin_s: float | None = None  # median less the landing reserve
    best_s: float | None = None  # 95 % bound
    turn_back_in_s: float | None = None  # until the 5 % bound is used up
    verdict: Verdict = Verdict.UNKNOWN
    missing: str | None = None  # what is not known
    alternate: str | None = None
    alternate_by_return: bool | None = None


@dataclass(frozen=True, slots=True)
class ReturnHomeState:
    """Restart state of `ReturnHome`."""

    away: tuple[float, float] | None = None  # time, metres from the destination
    receding_m_s: float = 0.0
    verdict: Verdict = Verdict.UNKNOWN


class ReturnHome:
    """Stage: the return of one flight.

    Args:
        reserve_j: energy that a landing is to leave by the median.
        state: to continue from.
    """

    def __init__(self, reserve_j: float = 0.0, state: ReturnHomeState = ReturnHomeState()) -> None:
        self._reserve_j = reserve_j
        self._state = state

    def state(self) -> ReturnHomeState:
        """Restart state."""
        return self._state

    def with_state(self, state: ReturnHomeState) -> Self:
        """Return a stage that continues from a state."""
        return type(self)(self._reserve_j, state)

    def update(
        self,
        sample: Sample,
        vehicle: VehicleState,
        motion: MotionPower,
        load: LoadAhead | None,
        remaining: RemainingTime | None,
    ) -> ReturnEstimate:
        """The return at the time of a sample, unknown without a load."""
        here = offset(vehicle)
        if load is None or here is None:
            return ReturnEstimate(missing=_missing(vehicle))
        to = destination(here, vehicle)
        if to.in_place:
            return ReturnEstimate(missing="a rally point")
        away_m = here.distance_m(to.position)
        if sample.second is not None:
            self._recede(sample.second.mean.t_s, away_m)
        flight = _Flight(here, vehicle, motion, conditions(vehicle, motion), load.power_w)
        legs = flight.legs_to(to)
        if legs is None:
            return ReturnEstimate(missing="a ground speed against this wind")
        home_s = sum(leg.span_s for leg in legs)
        need = motion.need(LegTable(legs), load.power_w)
        energy = None if remaining is None else available(remaining, load)
        if need is None or energy is None or need.total_j <= 0.0:
            return ReturnEstimate(home_s, missing="time left" if energy is None else NO_LOAD)
        found = self._answer(home_s, need, energy, load.power_w, away_m)
        lasts_j = energy.median_j - self._reserve_j
        if to.name != "home":  # the vehicle's own return goes to the alternate
            name = to.name if flight.need_j(Destination("home", HOME)) > lasts_j else None
        elif found.verdict is Verdict.NO:
            name = flight.nearest(lasts_j)
        else:
            name = None
        by_return = None if name is None else to.name != "home"
        return changed(found, alternate=name, alternate_by_return=by_return)

    def _answer(
        self, home_s: float, need: Need, energy: Available, power_w: float, away_m: float
    ) -> ReturnEstimate:
        return_w = need.total_j / home_s
        low_j, high_j = energy.bounds_j(need.sd)
        low_s, median_s, best_s = [
            (j - need.total_j) / return_w for j in (low_j, energy.median_j, high_j)
        ]
        margin_s = median_s - self._reserve_j / return_w
        pace_m_s = max(away_m / home_s if home_s > 0.0 else 0.0, LEAST_CRUISE_M_S)
        further_w = return_w * max(self._state.receding_m_s, 0.0) / pace_m_s
        answer = verdict(low_s, margin_s, self._state.verdict)
        self._state = changed(self._state, verdict=answer)
        return ReturnEstimate(
            home_s=home_s,
            reserve_s=low_s,
            margin_s=margin_s,
            best_s=best_s,
            turn_back_in_s=max((low_j - need.total_j) / (power_w + further_w), 0.0),
            verdict=answer,
        )

    def _recede(self, now_s: float, away_m: float) -> None:
        state = self._state
        receding_m_s = self._state.receding_m_s
        if state.away is not None and 0 < now_s - state.away[0] < _RECEDE_GAP_S:
            dt_s = now_s - state.away[0]
            rate_m_s = (away_m - state.away[1]) / dt_s
            receding_m_s += (rate_m_s - receding_m_s) * min(dt_s / _RECEDE_TAU_S, 1.0)
        self._state = changed(state, away=(now_s, away_m), receding_m_s=receding_m_s)


@dataclass(frozen=True, slots=True)
class _Flight:
    """The vehicle on its way to any place."""

    here: Position
    vehicle: VehicleState
    motion: MotionPower
    at: Conditions
    unknown_w: float  # power of a motion of which nothing is known

    def legs_to(self, to: Destination) -> tuple[Leg, ...] | None:
        """Legs of the return there; None against too strong a wind."""
        try:
            return way(self.here, to, self.vehicle, self.motion, self.at)
        except NoWayError:
            return None

    def need_j(self, to: Destination) -> float:
        """Energy that the return there takes; infinite where there is no way."""
        legs = self.legs_to(to)
        need = None if legs is None else self.motion.need(LegTable(legs), self.unknown_w)
        return math.inf if need is None else need.total_j

    def nearest(self, lasts_j: float) -> str | None:
        """Name of the alternate that takes the least energy, if the pack lasts for it."""
        places = alternates(self.vehicle)
        found = [(self.need_j(place), place.name) for place in places]
        least_j, name = min(found, default=(math.inf, ""))
        return name if least_j <= lasts_j else None


def _missing(vehicle: VehicleState) -> str:
    """The one thing that keeps the way home unknown."""
    if vehicle.lat_deg is None or vehicle.lon_deg is None:
        return "position of the vehicle"
    if vehicle.home_lat_deg is None or vehicle.home_lon_deg is None:
        return "home position"
    return NO_LOAD

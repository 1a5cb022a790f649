"""Stage: time and energy to return home and land, and the latest time to turn back.

From the autopilot's position, home, speed and wind and the pack's power: joules of the pack,
metres, seconds. A value that rests on something unknown is `None`, never zero. Distances are on a
sphere: at a drone's range the error is below 0.6 %.
"""

import math
from dataclasses import dataclass, replace
from typing import Self

from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.load_forecast import LoadAhead
from dronebms.estimation.sampling import Sample
from dronebms.estimation.time_to_empty import RemainingTime

_EARTH_M = 6_371_000.0
_CRUISE_M_S = 4.0  # ground speed from which the vehicle is cruising
_CRUISE_TAU_S = 120.0
_MIN_SEEN_S = 20.0
_DESCENT_M_S = 2.0
_LANDING_S = 15.0
_DEFAULT_M_S = 5.0  # ground speed of a vehicle that has only hovered: PX4's default return speed
_MIN_AIRSPEED_M_S = 10.0  # airspeed of a drone that has not flown faster
_MIN_HOMEWARD_M_S = 1.0  # slower against the wind, the vehicle does not reach home


@dataclass(frozen=True, slots=True)
class ReturnEstimate:
    """The return, in seconds."""

    home_s: float | None = None  # flight home and landing
    home_reserve_s: float | None = None  # time to empty left then
    turn_back_in_s: float | None = None  # until the reserve is used up


@dataclass(frozen=True, slots=True)
class ReturnHomeState:
    """Restart state of `ReturnHome`: the cruise as measured."""

    seen_s: float = 0.0
    cruise_m_s: float = 0.0
    power_w: float = 0.0
    away: tuple[float, float] | None = None  # time, metres from home
    receding_m_s: float = 0.0


class ReturnHome:
    """Stage: the return of one flight."""

    def __init__(self, state: ReturnHomeState = ReturnHomeState()) -> None:
        self._state = state

    def state(self) -> ReturnHomeState:
        """Restart state."""
        return self._state

    def with_state(self, state: ReturnHomeState) -> Self:
        """Return a stage that continues from a state."""
        return type(self)(state)

    def update(
        self,
        sample: Sample,
        vehicle: VehicleState,
        load: LoadAhead | None,
        remaining: RemainingTime | None,
    ) -> ReturnEstimate:
        """Take in a sample; the return at that time, unknown without a load."""
        if load is None:
            return ReturnEstimate()
        second = sample.second
        if second is not None:
            self.observe(second.mean.t_s, second.span_s, vehicle, second.power_w)
        if remaining is None:
            return self.estimate(vehicle, None, 0.0)
        return self.estimate(vehicle, remaining.low_s, remaining.power_w)

    def observe(self, now_s: float, dt_s: float, vehicle: VehicleState, power_w: float) -> None:
        """Take in a second of flight: the vehicle's state and the pack's mean power."""
        way = _offset_m(vehicle)
        if way is not None:
            self._recede(now_s, math.hypot(*way))
        speed_m_s = vehicle.ground_speed_m_s
        if speed_m_s is None or speed_m_s < _CRUISE_M_S or power_w <= 0:
            return
        state = self._state
        seen_s = state.seen_s + dt_s
        share = dt_s / min(seen_s, _CRUISE_TAU_S)  # a plain mean at first
        self._state = replace(
            state,
            seen_s=seen_s,
            cruise_m_s=state.cruise_m_s + (speed_m_s - state.cruise_m_s) * share,
            power_w=state.power_w + (power_w - state.power_w) * share,
        )

    def estimate(
        self, vehicle: VehicleState, low_s: float | None, power_w: float
    ) -> ReturnEstimate:
        """The return from where the vehicle is.

        Args:
            vehicle: its state.
            low_s: 5 % bound of the remaining time at the forecast power.
            power_w: that power, of the pack.
        """
        way = _offset_m(vehicle)
        if way is None:
            return ReturnEstimate()
        homeward_m_s = self._homeward_m_s(way, vehicle)
        if homeward_m_s is None:
            return ReturnEstimate()
        down_m = 0.0
        if vehicle.alt_m is not None and vehicle.home_alt_m is not None:
            down_m = max(vehicle.alt_m - vehicle.home_alt_m, 0.0)
        home_s = math.hypot(*way) / homeward_m_s + down_m / _DESCENT_M_S + _LANDING_S
        if low_s is None or power_w <= 0:
            return ReturnEstimate(home_s)
        cruise_w = self._state.power_w if self._is_seen else power_w
        spare_j = low_s * power_w - home_s * cruise_w
        further_w = cruise_w * max(self._state.receding_m_s, 0.0) / homeward_m_s
        return ReturnEstimate(home_s, spare_j / cruise_w, max(spare_j / (power_w + further_w), 0.0))

    def _homeward_m_s(self, way: tuple[float, float], vehicle: VehicleState) -> float | None:
        """Ground speed on the way home; None against too strong a wind.

        Autopilots hold a ground speed as long as the vehicle can reach it against the wind.
        """
        cruise_m_s = self._state.cruise_m_s if self._is_seen else _DEFAULT_M_S
        if vehicle.wind_m_s is None or vehicle.wind_from_deg is None:
            return cruise_m_s
        air_m_s = max(cruise_m_s, _MIN_AIRSPEED_M_S)
        north_m, east_m = way
        course = math.atan2(-east_m, -north_m)  # from here to home
        off = math.radians(vehicle.wind_from_deg) - course
        across_m_s = vehicle.wind_m_s * math.sin(off)
        against_m_s = vehicle.wind_m_s * math.cos(off)
        if abs(across_m_s) >= air_m_s:
            return None
        homeward_m_s = min(math.sqrt(air_m_s**2 - across_m_s**2) - against_m_s, cruise_m_s)
        return homeward_m_s if homeward_m_s >= _MIN_HOMEWARD_M_S else None

    @property
    def _is_seen(self) -> bool:
        return self._state.seen_s >= _MIN_SEEN_S

    def _recede(self, now_s: float, away_m: float) -> None:
        state, receding_m_s = self._state, self._state.receding_m_s
        if state.away is not None and 0 < now_s - state.away[0] < _MIN_SEEN_S:
            dt_s = now_s - state.away[0]
            rate_m_s = (away_m - state.away[1]) / dt_s
            receding_m_s += (rate_m_s - receding_m_s) * min(dt_s / 5.0, 1.0)
        self._state = replace(state, away=(now_s, away_m), receding_m_s=receding_m_s)


def _offset_m(vehicle: VehicleState) -> tuple[float, float] | None:
    """Metres (north, east) from home to the vehicle."""
    lat, lon = vehicle.lat_deg, vehicle.lon_deg
    home_lat, home_lon = vehicle.home_lat_deg, vehicle.home_lon_deg
    if lat is None or lon is None or home_lat is None or home_lon is None:
        return None
    metres = math.radians(1.0) * _EARTH_M
    east_deg = (lon - home_lon + 180.0) % 360.0 - 180.0
    return (lat - home_lat) * metres, east_deg * metres * math.cos(math.radians(home_lat))

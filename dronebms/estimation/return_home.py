"""The way home: time and energy to fly back and land, and when to turn back at the latest.

From the flight controller's position, home, speed and wind and the pack's own power: joules of the
pack, metres, seconds. Everything a value rests on must have been heard; without it there is none,
never a zero. Distances on a sphere: at a drone's range the error is below 0.6 %.
"""

import math
from dataclasses import dataclass

from dronebms.core.vehicle_state import VehicleState

_EARTH_M = 6_371_000.0
_CRUISE_M_S = 4.0  # over ground; from here on the vehicle is on its way and shows its cruise
_CRUISE_TAU_S = 120.0
_LEAST_SEEN_S = 20.0
_DESCENT_M_S = 2.0
_LANDING_S = 15.0
_UNSEEN_M_S = 5.0  # over ground, of a vehicle that has only hovered: PX4's usual way home
_LEAST_AIRSPEED_M_S = 10.0  # what a drone can fly against the wind, if it has not shown more
_LEAST_HOMEWARD_M_S = 1.0  # against more wind than that it does not come home


@dataclass(frozen=True, slots=True)
class ReturnEstimate:
    """Seconds: the way and the landing, what is left then, and how long one may still go on."""

    home_s: float | None = None
    home_reserve_s: float | None = None
    turn_back_in_s: float | None = None


class ReturnHome:
    """One flight's cruise, as measured: speed and power on the way somewhere."""

    def __init__(self) -> None:
        self._seen_s = 0.0
        self._cruise_m_s = self._power_w = 0.0
        self._away: tuple[float, float] | None = None  # when, metres from home
        self._receding_m_s = 0.0

    def update(self, now_s: float, dt_s: float, vehicle: VehicleState, power_w: float) -> None:
        """Take in a second of flight: the pack's mean power and the vehicle's state."""
        way = _offset_m(vehicle)
        if way is not None:
            self._recede(now_s, math.hypot(*way))
        speed_m_s = vehicle.ground_speed_m_s
        if speed_m_s is None or speed_m_s < _CRUISE_M_S or power_w <= 0:
            return
        self._seen_s += dt_s
        share = dt_s / min(self._seen_s, _CRUISE_TAU_S)  # a plain mean at first
        self._cruise_m_s += (speed_m_s - self._cruise_m_s) * share
        self._power_w += (power_w - self._power_w) * share

    def ahead(self, vehicle: VehicleState, low_s: float | None, power_w: float) -> ReturnEstimate:
        """Return the way home.

        Args:
            vehicle: where it is.
            low_s: 5 % bound of the time that is left at the power ahead.
            power_w: that power, watts of the pack.
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
        cruise_w = self._power_w if self._seen_s >= _LEAST_SEEN_S else power_w
        spare_j = low_s * power_w - home_s * cruise_w
        further_w = cruise_w * max(self._receding_m_s, 0.0) / homeward_m_s
        return ReturnEstimate(home_s, spare_j / cruise_w, max(spare_j / (power_w + further_w), 0.0))

    def _homeward_m_s(self, way: tuple[float, float], vehicle: VehicleState) -> float | None:
        """Return the speed over ground on the way home; None against too strong a wind.

        Autopilots hold a speed over ground, as long as the vehicle can do it against the wind.
        """
        cruise_m_s = self._cruise_m_s if self._seen_s >= _LEAST_SEEN_S else _UNSEEN_M_S
        if vehicle.wind_m_s is None or vehicle.wind_from_deg is None:
            return cruise_m_s
        air_m_s = max(cruise_m_s, _LEAST_AIRSPEED_M_S)
        north_m, east_m = way
        course = math.atan2(-east_m, -north_m)  # from here to home
        off = math.radians(vehicle.wind_from_deg) - course
        across_m_s, against_m_s = vehicle.wind_m_s * math.sin(off), vehicle.wind_m_s * math.cos(off)
        if abs(across_m_s) >= air_m_s:
            return None
        homeward_m_s = min(math.sqrt(air_m_s**2 - across_m_s**2) - against_m_s, cruise_m_s)
        return homeward_m_s if homeward_m_s >= _LEAST_HOMEWARD_M_S else None

    def _recede(self, now_s: float, away_m: float) -> None:
        before, self._away = self._away, (now_s, away_m)
        if before is not None and 0 < now_s - before[0] < _LEAST_SEEN_S:
            rate_m_s = (away_m - before[1]) / (now_s - before[0])
            share = min((now_s - before[0]) / 5.0, 1.0)
            self._receding_m_s += (rate_m_s - self._receding_m_s) * share


def _offset_m(vehicle: VehicleState) -> tuple[float, float] | None:
    """Return metres (north, east) from home to here."""
    lat, lon = vehicle.lat_deg, vehicle.lon_deg
    home_lat, home_lon = vehicle.home_lat_deg, vehicle.home_lon_deg
    if lat is None or lon is None or home_lat is None or home_lon is None:
        return None
    metres = math.radians(1.0) * _EARTH_M
    east_deg = (lon - home_lon + 180.0) % 360.0 - 180.0
    return (lat - home_lat) * metres, east_deg * metres * math.cos(math.radians(home_lat))

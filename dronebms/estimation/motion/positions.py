# SPDX-License-Identifier: Apache-2.0
"""Positions about home: metres north and east of it and above it.

On a sphere: at a drone's range the error is below 0.6 %.
"""

import math
from dataclasses import dataclass

from dronebms.core.flight_plan import Place
from dronebms.core.vehicle_state import VehicleState

_EARTH_M = 6_371_000.0
_ON_GROUND = ("ArduRover", "PX4 rover")  # its height and that of its home have no meaning


@dataclass(frozen=True, slots=True)
class Position:
    """Metres from home; `up_m` is `None` where the height is not known."""

    north_m: float
    east_m: float
    up_m: float | None = None

    def distance_m(self, other: "Position") -> float:
        """Horizontal distance."""
        return math.hypot(self.north_m - other.north_m, self.east_m - other.east_m)


HOME = Position(0.0, 0.0, 0.0)


def offset(vehicle: VehicleState) -> Position | None:
    """Position of the vehicle; None while it or home is not known."""
    lat = vehicle.lat_deg
    lon = vehicle.lon_deg
    if lat is None or lon is None:
        return None
    alt_m = vehicle.alt_m
    home_alt_m = vehicle.home_alt_m
    up_m = None if alt_m is None or home_alt_m is None else max(alt_m - home_alt_m, 0.0)
    return _metres(lat, lon, up_m, vehicle)


def position_of(place: Place, vehicle: VehicleState) -> Position | None:
    """Position of a place; None while home is not known."""
    up_m = place.alt_m
    if up_m is not None and not place.above_home:
        up_m = None if vehicle.home_alt_m is None else up_m - vehicle.home_alt_m
    return _metres(place.lat_deg, place.lon_deg, up_m, vehicle)


def _metres(lat: float, lon: float, up_m: float | None, vehicle: VehicleState) -> Position | None:
    home_lat = vehicle.home_lat_deg
    home_lon = vehicle.home_lon_deg
    if home_lat is None or home_lon is None:
        return None
    if vehicle.vehicle_class in _ON_GROUND:
        up_m = None
    metres = math.radians(1.0) * _EARTH_M
    east_deg = (lon - home_lon + 180.0) % 360.0 - 180.0
    east_m = east_deg * metres * math.cos(math.radians(home_lat))
    return Position((lat - home_lat) * metres, east_m, up_m)

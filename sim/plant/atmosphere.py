# SPDX-License-Identifier: Apache-2.0
"""Atmosphere of a simulated flight: air density, wind and gusts.

Metres per second, kg/m3, altitudes above mean sea level. Density is that of the standard
atmosphere (ISO 2533) with the given temperature at home. Gusts are first-order processes with the
scale lengths of the Dryden model (MIL-F-8785C, 3.7.2) at 50 m above the ground.
"""

import math

import numpy as np

from sim.plant.cell_parameters import ZERO_DEGC_K
from sim.plant.scenario import AirSpec, Scenario

# validity of the formula; constant beyond
_LOWEST_M = -500.0
_HIGHEST_M = 11_000.0
_SEA_LEVEL_PA = 101_325.0
_SEA_LEVEL_K = 288.15
_LAPSE_K_M = 0.0065
_PRESSURE_EXPONENT = 5.25588
_GAS_J_KG_K = 287.053

# scale lengths of gusts
_ALONG_M = 200.0
_UP_M = 50.0
_UP_FRAC = 0.63  # of the standard deviation along the wind
_MIN_DRIFT_M_S = 3.0  # gusts also pass a vehicle that hovers in still air


def standard_air_kg_m3(alt_m: float, home_alt_m: float, home_degc: float) -> float:
    """Density of air at an altitude, from the temperature at home."""
    alt_m = min(max(alt_m, _LOWEST_M), _HIGHEST_M)
    pressure_frac = math.pow(1.0 - _LAPSE_K_M / _SEA_LEVEL_K * alt_m, _PRESSURE_EXPONENT)
    kelvin = ZERO_DEGC_K + home_degc - _LAPSE_K_M * (alt_m - home_alt_m)
    return _SEA_LEVEL_PA * pressure_frac / (_GAS_J_KG_K * kelvin)


class Gust:
    """An Ornstein-Uhlenbeck process of unit variance, one value a step."""

    def __init__(self, random: np.random.Generator, step_s: float) -> None:
        self._random = random
        self._step_s = step_s
        self._value = 0.0

    def after_step(self, memory_s: float) -> float:
        """Advance by one step; the new value, with a correlation time of `memory_s`."""
        decay = math.exp(-self._step_s / memory_s)
        innovation = math.sqrt(1.0 - decay * decay) * float(self._random.standard_normal())
        self._value = decay * self._value + innovation
        return self._value


class Atmosphere:
    """Air of a scenario."""

    def __init__(self, scenario: Scenario, random: np.random.Generator, step_s: float) -> None:
        spec = scenario.air or AirSpec()
        self._spec = spec
        self._home_alt_m = scenario.place.home_alt_m
        degc = spec.temperature_degc
        self._degc = scenario.pack.ambient_degc if degc is None else degc
        angle = math.radians(spec.wind_from_deg - scenario.place.bearing_deg)
        self._ahead = math.cos(angle)
        self._across = math.sin(angle)
        self._along = Gust(random, step_s)
        self._up = Gust(random, step_s)

    def density_kg_m3(self, alt_m: float) -> float:
        """Density at an altitude."""
        return standard_air_kg_m3(alt_m, self._home_alt_m, self._degc)

    def speed_m_s(self, outward_m_s: float, gust_m_s: float = 0.0) -> float:
        """Horizontal airspeed of a vehicle that flies along the bearing, in the wind of the start.

        Args:
            outward_m_s: ground speed along the bearing.
            gust_m_s: deviation of the wind from its mean.
        """
        wind_m_s = self._spec.wind_m_s + gust_m_s
        return math.hypot(outward_m_s + wind_m_s * self._ahead, wind_m_s * self._across)

    def wind(self, t_s: float) -> tuple[float, float]:
        """Mean wind at a time: m/s, and the degrees that it comes from."""
        north_m_s, east_m_s = self.wind_to_m_s(t_s)
        from_deg = math.degrees(math.atan2(-east_m_s, -north_m_s)) % 360.0
        return math.hypot(north_m_s, east_m_s), from_deg

    def wind_to_m_s(self, t_s: float) -> tuple[float, float]:
        """Mean motion of the air at a time, to the north and to the east."""
        spec = self._spec
        north_m_s, east_m_s = _motion_m_s(spec.wind_m_s, spec.wind_from_deg)
        for change in spec.changes:
            frac = min(max((t_s - change.at_s) / change.within_s, 0.0), 1.0)
            north_to_m_s, east_to_m_s = _motion_m_s(change.wind_m_s, change.wind_from_deg)
            north_m_s += frac * (north_to_m_s - north_m_s)
            east_m_s += frac * (east_to_m_s - east_m_s)
        return north_m_s, east_m_s

    def airspeed_m_s(
        self, t_s: float, north_m_s: float, east_m_s: float, gust_m_s: float = 0.0
    ) -> float:
        """Horizontal airspeed of a vehicle at a time.

        Args:
            t_s: the time.
            north_m_s: ground speed to the north.
            east_m_s: ground speed to the east.
            gust_m_s: deviation of the wind from its mean.
        """
        wind_m_s, from_deg = self.wind(t_s)
        air_north_m_s, air_east_m_s = _motion_m_s(wind_m_s + gust_m_s, from_deg)
        return math.hypot(north_m_s - air_north_m_s, east_m_s - air_east_m_s)

    def gusts_m_s(self, airspeed_m_s: float) -> tuple[float, float]:
        """Advance by one step at a mean airspeed; the gusts along the wind and upwards."""
        drift_m_s = max(airspeed_m_s, _MIN_DRIFT_M_S)
        along_m_s = self._spec.gust_m_s * self._along.after_step(_ALONG_M / drift_m_s)
        up_m_s = _UP_FRAC * self._spec.gust_m_s * self._up.after_step(_UP_M / drift_m_s)
        return along_m_s, up_m_s


def _motion_m_s(wind_m_s: float, from_deg: float) -> tuple[float, float]:
    """Motion of the air to the north and to the east."""
    angle = math.radians(from_deg)
    return -wind_m_s * math.cos(angle), -wind_m_s * math.sin(angle)

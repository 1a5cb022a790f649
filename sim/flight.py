"""What the vehicle does in a simulated flight: power asked, gusts, position.

Watts at the pack's terminals; metres from home along one bearing; degrees WGS 84.
"""

import math
from bisect import bisect_right
from itertools import accumulate
from typing import Protocol

import numpy as np

from dronebms.vehicle import VehicleState
from sim.scenario import Phase, Scenario

_EARTH_RADIUS_M = 6_371_000.0
_GUST_TIME_S = 3.0  # how long a gust is remembered
_LEAST_POWER_FRAC = 0.3  # of a phase: rotors are never off in the air


class Flying(Protocol):
    """What asks a pack for power, and where it is."""

    @property
    def duration_s(self) -> float:
        """When it is over."""
        ...

    def power_w(self, t_s: float) -> float:
        """Return the power that is asked now; called once a step, in order."""
        ...

    def steady_w(self, t_s: float) -> float | None:
        """Return the mean power if it goes on as it does; None on the ground."""
        ...

    def vehicle(self, t_s: float) -> VehicleState:
        """Return what the autopilot would say."""
        ...


class Flight:
    """The plan of a scenario as functions of time; after the end the last phase goes on."""

    def __init__(self, scenario: Scenario, random: np.random.Generator, step_s: float) -> None:
        phases = scenario.phases
        self._gusts = Gusts(random, step_s)
        self._phases = phases
        self._place = scenario.place
        self._starts_s = (0.0, *accumulate(phase.duration_s for phase in phases))
        self._out_m = (0.0, *accumulate(phase.duration_s * phase.outward_m_s for phase in phases))
        self._up_m = (0.0, *accumulate(phase.duration_s * phase.climb_m_s for phase in phases))

    @property
    def duration_s(self) -> float:
        """When the last phase ends; the vehicle then stands on the ground."""
        return self._starts_s[-1]

    def power_w(self, t_s: float) -> float:
        """Move the gusts on by one step and return the power that is asked now."""
        return self._gusts.power_w(self._phase(t_s))

    def steady_w(self, t_s: float) -> float | None:
        """Return the mean power of the present phase; None on the ground."""
        phase = self._phase(t_s)
        return phase.power_w if phase.armed else None

    def _phase(self, t_s: float) -> Phase:
        return self._phases[self._index(t_s)]

    def _index(self, t_s: float) -> int:
        return min(max(bisect_right(self._starts_s, t_s) - 1, 0), len(self._phases) - 1)

    def vehicle(self, t_s: float) -> VehicleState:
        """Return what the autopilot would say."""
        index = self._index(t_s)
        phase, place = self._phases[index], self._place
        into_s = min(max(t_s - self._starts_s[index], 0.0), phase.duration_s)
        out_m = self._out_m[index] + into_s * phase.outward_m_s
        bearing = math.radians(place.bearing_deg)
        north_deg = math.degrees(out_m * math.cos(bearing) / _EARTH_RADIUS_M)
        east_deg = math.degrees(out_m * math.sin(bearing) / _EARTH_RADIUS_M)
        return VehicleState(
            armed=phase.armed,
            mode=phase.mode,
            lat_deg=place.home_lat_deg + north_deg,
            lon_deg=place.home_lon_deg + east_deg / math.cos(math.radians(place.home_lat_deg)),
            alt_m=place.home_alt_m + self._up_m[index] + into_s * phase.climb_m_s,
            home_lat_deg=place.home_lat_deg,
            home_lon_deg=place.home_lon_deg,
            home_alt_m=place.home_alt_m,
            ground_speed_m_s=abs(phase.outward_m_s),
            climb_m_s=phase.climb_m_s,
            heartbeat_age_s=0.0,
        )


class Gusts:
    """An Ornstein-Uhlenbeck process of unit variance, one value a step."""

    def __init__(self, random: np.random.Generator, step_s: float) -> None:
        self._random = random
        self._keep = math.exp(-step_s / _GUST_TIME_S)
        self._kick = math.sqrt(1.0 - self._keep**2)
        self._value = 0.0

    def power_w(self, phase: Phase) -> float:
        """Move on by one step and return the power that a phase asks now."""
        self._value = self._keep * self._value + self._kick * float(self._random.standard_normal())
        return phase.power_w * max(1.0 + phase.gust_frac * self._value, _LEAST_POWER_FRAC)

# SPDX-License-Identifier: Apache-2.0
"""Flight of the phases of a scenario: power of the load, wind, position of the vehicle.

Watts at the pack's terminals; metres from home along one bearing; degrees WGS 84.
"""

import math
from bisect import bisect_right
from itertools import accumulate

import numpy as np

from dronebms.core.vehicle_state import VehicleState
from sim.plant.atmosphere import Atmosphere, Gust
from sim.plant.multirotor import GRAVITY_M_S2, Multirotor
from sim.plant.reported_plan import reported_plan
from sim.plant.scenario import Scenario

_GUST_S = 3.0  # correlation time of gusts that vary a stated power
_MIN_POWER_FRAC = 0.3  # of a stated power: rotors never stop in the air


class PhaseFlight:
    """The phases of a scenario as functions of time; the last one continues after the end."""

    def __init__(self, scenario: Scenario, random: np.random.Generator, step_s: float) -> None:
        phases = scenario.phases
        self._phases = phases
        self._place = scenario.place
        self._plan = reported_plan(scenario)
        self._starts_s = (0.0, *accumulate(phase.duration_s for phase in phases))
        self._out_m = (0.0, *accumulate(phase.duration_s * phase.outward_m_s for phase in phases))
        self._up_m = (0.0, *accumulate(phase.duration_s * phase.climb_m_s for phase in phases))
        self._wind = scenario.air
        self._air = Atmosphere(scenario, random, step_s)
        self._gust = Gust(random, step_s)
        vehicle = scenario.vehicle
        self._rotors = None if vehicle is None else Multirotor(vehicle)
        empty_kg, payload_kg = (vehicle.mass_kg, vehicle.payload_kg) if vehicle else (0.0, 0.0)
        self._masses_kg = []
        for phase in phases:
            payload_kg = payload_kg if phase.payload_kg is None else phase.payload_kg
            self._masses_kg.append(empty_kg + payload_kg)

    @property
    def duration_s(self) -> float:
        """End of the last phase; the vehicle then stands on the ground."""
        return self._starts_s[-1]

    def power_w(self, t_s: float) -> float:
        """Advance the gusts by one step; power of the load now."""
        index = self._index(t_s)
        phase = self._phases[index]
        if phase.power_w is None:
            return self._moved_w(index, t_s, *self._gusts_m_s(phase.outward_m_s))
        gust = phase.gust_frac * self._gust.after_step(_GUST_S)
        return phase.power_w * max(1.0 + gust, _MIN_POWER_FRAC)

    def mean_power_w(self, t_s: float) -> float | None:
        """Power of the present phase without gusts; `None` on the ground."""
        index = self._index(t_s)
        phase = self._phases[index]
        if not phase.armed:
            return None
        return self._moved_w(index, t_s, 0.0, 0.0) if phase.power_w is None else phase.power_w

    def airflow_m_s(self, t_s: float) -> float | None:
        """Mean speed of air and rotor wash around a pack; `None` without a vehicle."""
        index = self._index(t_s)
        rotors = self._rotors
        if rotors is None:
            return None
        phase = self._phases[index]
        thrust_n = self._masses_kg[index] * GRAVITY_M_S2 if phase.armed else 0.0
        wash_m_s = rotors.hover_m_s(thrust_n, self._air.density_kg_m3(self._alt_m(index, t_s)))
        return math.hypot(self._air.speed_m_s(phase.outward_m_s), wash_m_s)

    def _gusts_m_s(self, outward_m_s: float) -> tuple[float, float]:
        return self._air.gusts_m_s(self._air.speed_m_s(outward_m_s))

    def _moved_w(self, index: int, t_s: float, along_m_s: float, up_m_s: float) -> float:
        """Power of the phase's motion in gusts; that of the avionics on the ground."""
        phase = self._phases[index]
        rotors = self._rotors
        if rotors is None or not phase.armed:
            return 0.0 if rotors is None else rotors.vehicle.avionics_w
        density_kg_m3 = self._air.density_kg_m3(self._alt_m(index, t_s))
        speed_m_s = self._air.speed_m_s(phase.outward_m_s, along_m_s)
        climb_m_s = phase.climb_m_s
        mass_kg = self._masses_kg[index]
        return rotors.power_w(mass_kg, density_kg_m3, speed_m_s, climb_m_s - up_m_s)

    def _index(self, t_s: float) -> int:
        return min(max(bisect_right(self._starts_s, t_s) - 1, 0), len(self._phases) - 1)

    def _into_s(self, index: int, t_s: float) -> float:
        return min(max(t_s - self._starts_s[index], 0.0), self._phases[index].duration_s)

    def _alt_m(self, index: int, t_s: float) -> float:
        up_m = self._up_m[index] + self._into_s(index, t_s) * self._phases[index].climb_m_s
        return self._place.home_alt_m + up_m

    def vehicle(self, t_s: float) -> VehicleState:
        """State of the vehicle, as its autopilot reports it; the wind only in the air."""
        index = self._index(t_s)
        phase = self._phases[index]
        place = self._place
        out_m = self._out_m[index] + self._into_s(index, t_s) * phase.outward_m_s
        bearing = math.radians(place.bearing_deg)
        lat_deg, lon_deg = place.at_deg(out_m * math.cos(bearing), out_m * math.sin(bearing))
        wind = self._wind if phase.armed else None
        return VehicleState(
            armed=phase.armed,
            mode=phase.mode,
            lat_deg=lat_deg,
            lon_deg=lon_deg,
            alt_m=self._alt_m(index, t_s),
            home_lat_deg=place.home_lat_deg,
            home_lon_deg=place.home_lon_deg,
            home_alt_m=place.home_alt_m,
            ground_speed_m_s=abs(phase.outward_m_s),
            climb_m_s=phase.climb_m_s,
            wind_m_s=wind.wind_m_s if wind else None,
            wind_from_deg=wind.wind_from_deg if wind else None,
            heartbeat_age_s=0.0,
            landing=phase.armed and phase.mode == "LAND",
            plan=self._plan,
        )

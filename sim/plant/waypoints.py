# SPDX-License-Identifier: Apache-2.0
"""Flight of the waypoints of a scenario: power of the load, wind, position of the vehicle.

The flight is known to its end beforehand, as gusts change its power and not its way; a commanded
return replaces the rest. Watts at the pack's terminals, metres, degrees WGS 84.
"""

import copy
import itertools
import math

import numpy as np

from dronebms.core.vehicle_state import VehicleState
from sim.plant.atmosphere import Atmosphere
from sim.plant.autopilot import LONGEST_S, RETURN_MODE, Autopilot, Moment
from sim.plant.multirotor import GRAVITY_M_S2, Multirotor
from sim.plant.reported_plan import reported_plan
from sim.plant.scenario import Scenario
from sim.plant.waypoint_spec import FlightSpec


class WaypointFlight:
    """The waypoints of a scenario as functions of time.

    Attributes:
        moments: of every step.
    """

    def __init__(self, scenario: Scenario, random: np.random.Generator, step_s: float) -> None:
        if scenario.vehicle is None:
            raise ValueError("a flight of waypoints needs a vehicle")
        self._scenario = scenario
        self._spec = scenario.flight or FlightSpec()
        self._step_s = step_s
        self._plan = reported_plan(scenario)
        self._air = Atmosphere(scenario, random, step_s)
        self._rotors = Multirotor(scenario.vehicle)
        self._mass_kg = scenario.vehicle.mass_kg + scenario.vehicle.payload_kg
        self._longest = round(LONGEST_S / step_s)
        return_at_s = self._spec.return_at_s
        until = self._longest if return_at_s is None else round(return_at_s / step_s) + 1
        mission = self._autopilot().mission()
        self.moments = tuple(itertools.islice(mission, until))
        if return_at_s is not None:
            self.command_return(return_at_s)
        if len(self.moments) == until:  # it does not return then
            self.moments += tuple(itertools.islice(mission, self._longest - until))

    def __deepcopy__(self, memo: dict[int, object]) -> "WaypointFlight":
        """A flight with gusts of its own; the moments do not change and are shared."""
        copied = copy.copy(self)
        vars(copied)["_air"] = copy.deepcopy(self._air, memo)
        return copied

    @property
    def duration_s(self) -> float:
        """End of the flight; the vehicle then stands on the ground, or has flown for two hours."""
        return (len(self.moments) - 1) * self._step_s

    def command_return(self, t_s: float) -> None:
        """Command the return; without effect on the ground, while returning and while landing."""
        step = self._index(t_s)
        moment = self.moments[step]
        if not moment.armed or moment.landing or moment.mode == RETURN_MODE:
            return
        home = self._autopilot().home(step, moment)
        rest = itertools.islice(home, max(self._longest - step - 1, 0))
        self.moments = (*self.moments[: step + 1], *rest)

    def power_w(self, t_s: float) -> float:
        """Advance the gusts by one step; power of the load now."""
        moment = self.moments[self._index(t_s)]
        mean_m_s = self._air.airspeed_m_s(t_s, moment.north_m_s, moment.east_m_s)
        return self._moved_w(moment, t_s, *self._air.gusts_m_s(mean_m_s))

    def mean_power_w(self, t_s: float) -> float | None:
        """Power of the present motion without gusts; `None` on the ground."""
        moment = self.moments[self._index(t_s)]
        return self._moved_w(moment, t_s, 0.0, 0.0) if moment.armed else None

    def airflow_m_s(self, t_s: float) -> float:
        """Mean speed of air and rotor wash around a pack."""
        moment = self.moments[self._index(t_s)]
        thrust_n = self._mass_kg * GRAVITY_M_S2 if moment.armed else 0.0
        wash_m_s = self._rotors.hover_m_s(thrust_n, self._density_kg_m3(moment))
        return math.hypot(self._air.airspeed_m_s(t_s, moment.north_m_s, moment.east_m_s), wash_m_s)

    def vehicle(self, t_s: float) -> VehicleState:
        """State of the vehicle, as its autopilot reports it; the wind only in the air."""
        moment = self.moments[self._index(t_s)]
        place = self._scenario.place
        lat_deg, lon_deg = place.at_deg(moment.north_m, moment.east_m)
        has_wind = moment.armed and self._scenario.air is not None
        wind_m_s, wind_from_deg = self._air.wind(t_s) if has_wind else (None, None)
        return VehicleState(
            armed=moment.armed,
            mode=moment.mode,
            lat_deg=lat_deg,
            lon_deg=lon_deg,
            alt_m=place.home_alt_m + moment.up_m,
            home_lat_deg=place.home_lat_deg,
            home_lon_deg=place.home_lon_deg,
            home_alt_m=place.home_alt_m,
            ground_speed_m_s=math.hypot(moment.north_m_s, moment.east_m_s),
            climb_m_s=moment.climb_m_s,
            wind_m_s=wind_m_s,
            wind_from_deg=wind_from_deg,
            heartbeat_age_s=0.0,
            landing=moment.landing,
            on_wing=False,
            plan=self._plan,
            mission_item=None if self._spec.by_pilot else moment.item,
        )

    def _autopilot(self) -> Autopilot:
        vehicle = self._rotors.vehicle
        wind = self._air.wind_to_m_s
        return Autopilot(self._scenario, vehicle, wind, self._step_s)

    def _index(self, t_s: float) -> int:
        return min(max(round(t_s / self._step_s), 0), len(self.moments) - 1)

    def _density_kg_m3(self, moment: Moment) -> float:
        return self._air.density_kg_m3(self._scenario.place.home_alt_m + moment.up_m)

    def _moved_w(self, moment: Moment, t_s: float, along_m_s: float, up_m_s: float) -> float:
        """Power of a motion in gusts; that of the avionics on the ground."""
        if not moment.armed:
            return self._rotors.vehicle.avionics_w
        speed_m_s = self._air.airspeed_m_s(t_s, moment.north_m_s, moment.east_m_s, along_m_s)
        climb_m_s = moment.climb_m_s - up_m_s
        return self._rotors.power_w(
            self._mass_kg, self._density_kg_m3(moment), speed_m_s, climb_m_s
        )

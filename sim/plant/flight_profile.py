# SPDX-License-Identifier: Apache-2.0
"""Flight of a scenario, of phases or of waypoints: load of the pack and state of the vehicle."""

from typing import Protocol, TypeAlias

import numpy as np

from dronebms.core.vehicle_state import VehicleState
from sim.plant.phases import PhaseFlight
from sim.plant.scenario import Scenario
from sim.plant.waypoints import WaypointFlight


class FlightProfile(Protocol):
    """Load of a pack and state of the vehicle over a flight."""

    @property
    def duration_s(self) -> float:
        """End of the flight."""

    def power_w(self, t_s: float) -> float:
        """Power of the load now; called once a step, in order."""

    def mean_power_w(self, t_s: float) -> float | None:
        """Mean power in the present state of flight; `None` on the ground."""

    def vehicle(self, t_s: float) -> VehicleState:
        """State of the vehicle, as its autopilot reports it."""


ScenarioFlight: TypeAlias = PhaseFlight | WaypointFlight


def flight_of(scenario: Scenario, random: np.random.Generator, step_s: float) -> ScenarioFlight:
    """The flight of a scenario; the generator decides its gusts."""
    kind = WaypointFlight if scenario.waypoints else PhaseFlight
    return kind(scenario, random, step_s)

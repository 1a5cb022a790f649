# SPDX-License-Identifier: Apache-2.0
"""The flight of a simulated vehicle as the load of virtual packs."""

import math
from statistics import fmean

from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.simulation.sitl.vehicle import SitlVehicle
from sim.emulator.world import STEP_S, RandomStream, random_generator
from sim.plant.flight_profile import flight_of
from sim.plant.scenario import Scenario

_POWER_OF_THRUST = 1.5  # momentum theory: power of a rotor in hover over its thrust


class SitlFlight:
    """The flight of a simulated vehicle, a `sim.plant.flight_profile.FlightProfile`.

    Args:
        vehicle: the load.
        scenario: its average power in hover is that of a vehicle that sends no current.
        packs: that share the power, equally.

    Attributes:
        hover_frac: throttle in hover of a vehicle that sends no current, else `None`; the power at
            another throttle follows the momentum theory of a rotor.
    """

    duration_s = math.inf

    def __init__(self, vehicle: SitlVehicle, scenario: Scenario, packs: int = 1) -> None:
        self.hover_frac: float | None = None
        self._vehicle = vehicle
        self._packs = packs
        flight = flight_of(scenario, random_generator(0, RandomStream.GUSTS), STEP_S)
        every_second = map(flight.mean_power_w, range(math.ceil(flight.duration_s)))
        self._hover_w = fmean([w for w in every_second if w is not None] or [0.0])

    def drawn_w(self) -> float | None:
        """Power that the vehicle draws from each pack, `None` until received."""
        if self.hover_frac is None:
            power_w = self._vehicle.power_w
            return None if power_w is None else power_w / self._packs
        if self._vehicle.throttle_frac is None:
            return None
        thrust = self._vehicle.throttle_frac / self.hover_frac
        return float(self._hover_w * thrust**_POWER_OF_THRUST) / self._packs

    def power_w(self, _t_s: float) -> float:
        """Power that the vehicle draws from each pack now, 0 until received."""
        return self.drawn_w() or 0.0

    def mean_power_w(self, _t_s: float) -> float | None:
        """The same, `None` for no power."""
        return self.drawn_w() or None

    def vehicle(self, _t_s: float) -> VehicleState:
        """Unknown: the bridge has the state of the vehicle."""
        return UNKNOWN_VEHICLE

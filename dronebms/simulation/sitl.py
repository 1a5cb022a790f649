"""A virtual pack behind a simulated vehicle: its load and its clock in, the voltage back.

The vehicle's power is given to the pack, the pack's voltage to the vehicle's simulation, and the
service reports to the same vehicle over the same link. Seconds are the vehicle's, from the moment
at which its load is known; watts, volts.
Source: ArduPilot libraries/SITL/SIM_Frame.cpp and AP_HAL_SITL/AnalogIn.cpp; PX4
simulation/battery_simulator, whose battery has no current; dronebms/simulation/sitl_vehicle.py.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from statistics import fmean

from dronebms.core.clock import Clock, PacedClock
from dronebms.core.errors import ConfigError, LinkError
from dronebms.core.report import Report
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.loop import Loop
from dronebms.monitoring.pipeline import Pipeline
from dronebms.simulation.simulated_flight import SimOptions, recorder_of, source_of, ticks
from dronebms.simulation.sitl_vehicle import SitlVehicle
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.protocol.flight_stacks import (
    ARDUPILOT,
    HOVER_THROTTLE,
    SITL_REQUIREMENTS,
    VOLTAGE,
)
from mavlink_bridge.protocol.link import open_link
from sim.emulator.world import STEP_S, RandomStream, World, open_bus, random_generator
from sim.plant.faults import parse_fault
from sim.plant.mission import Mission
from sim.plant.scenario import Scenario, load_scenario

FOUND_S = 30.0  # of the wall's time
_SET_PERIOD_S = 0.25
_SET_LEAST_V = 0.01
_FITS_FRAC = 0.25  # an empty pack and a full one of the same cells are as far apart
_POWER_OF_THRUST = 1.5  # momentum theory: a rotor's power in hover over its thrust
_SCRIPTED = 29.0  # BATT_MONITOR of a battery that a script tells, with what we report
_CLOSE = 1e-3


class SitlFlight:
    """The flight of a vehicle that is followed: `sim.plant.mission.FlightProfile`.

    Attributes:
        hover_frac: throttle in hover of a vehicle that tells no current; None: it tells it. Such a
            vehicle draws in hover what the scenario's own flight does on average, and else more or
            less than that, as a rotor does.
    """

    duration_s = math.inf

    def __init__(self, vehicle: SitlVehicle, scenario: Scenario) -> None:
        self.bridge = Bridge(vehicle)
        self.hover_frac: float | None = None
        self._vehicle = vehicle
        plan = Mission(scenario, random_generator(0, RandomStream.GUSTS), STEP_S)
        every_second = map(plan.mean_power_w, range(math.ceil(plan.duration_s)))
        self._hover_w = fmean([w for w in every_second if w is not None] or [0.0])

    def drawn_w(self) -> float | None:
        """Return what the vehicle draws, as it last told; None: not yet."""
        if self.hover_frac is None:
            return self._vehicle.power_w
        if self._vehicle.throttle_frac is None:
            return None
        thrust = self._vehicle.throttle_frac / self.hover_frac
        return float(self._hover_w * thrust**_POWER_OF_THRUST)

    def power_w(self, _t_s: float) -> float:
        """Return what the vehicle draws now."""
        return self.drawn_w() or 0.0

    def mean_power_w(self, _t_s: float) -> float | None:
        """Return the same; None for nothing."""
        return self.drawn_w() or None

    def vehicle(self, t_s: float) -> VehicleState:
        """Return what the autopilot says."""
        return self.bridge.pump(t_s)


class Sitl:
    """A virtual pack behind a simulated vehicle, ready to follow it.

    Args:
        options: what was asked; `mavlink_url` is where the vehicle is.
        stack: closes what is opened here, and puts the vehicle's voltage back before.
        wall: the machine's own clock.
        say: told in a sentence what happens to the vehicle.

    Raises:
        ConfigError: no such scenario or fault, a recording that cannot be made, or a vehicle that
            is set otherwise than needed: all of that, one a line.
        LinkError: a link URL that means nothing, or no vehicle there within 30 s.
    """

    def __init__(
        self, options: SimOptions, stack: ExitStack, wall: Clock, say: Callable[[str], None]
    ) -> None:
        self._options, self._say = options, say
        scenario, url = load_scenario(options.flight), options.mavlink_url or ""
        faults = tuple(parse_fault(text) for text in options.faults)
        link = stack.enter_context(closing(open_link(url)))
        self._vehicle = SitlVehicle(link, wall, say)
        self._flight = SitlFlight(self._vehicle, scenario)
        self._clock = PacedClock(self._vehicle)
        self.world = World(scenario, options.seed, faults, self._flight)
        self.pack_data = self.world.pack_data()
        self._bus = open_bus(self.world, self._clock)
        self._set_due_s = 0.0
        self._find(url)
        self._told_v = self._vehicle.parameters.values.get(VOLTAGE)  # None: nothing to feed back
        if self._told_v is not None:
            stack.callback(self._put_back, self._told_v)
            pack_v = self.world.truth().voltage_v
            if abs(pack_v / max(self._told_v, _CLOSE) - 1.0) > _FITS_FRAC:
                was = f"the vehicle was simulated with {self._told_v:.1f} V"
                say(f"the pack has {pack_v:.1f} V, {was}: do they fit?")
        self._recorder = recorder_of(options, self.pack_data, stack)

    def reports(self) -> Iterator[Report]:
        """Follow the vehicle for the time that was asked, and yield every step."""
        source = source_of(self._bus, self.pack_data, self._recorder)
        pipeline = Pipeline(source, self.pack_data, [self._flight.bridge])
        self._vehicle.begin()
        loop = Loop(self._clock, self.world.vehicle, [pipeline], self._recorder)
        for report in loop.reports(ticks(self._options.duration_s or math.inf)):
            self._feed_back(report.t_s)
            yield report

    def link(self) -> str | None:
        """Return over what the vehicle is reached, or what is wrong with that."""
        return self._vehicle.trouble or self._options.mavlink_url

    def _find(self, url: str) -> None:
        """Wait for a vehicle, hold it against what is needed, and wait for its load."""
        vehicle = self._vehicle
        if not vehicle.until(lambda: vehicle.is_ticking, FOUND_S):
            why = vehicle.trouble or url
            raise LinkError(f"no vehicle was heard within {FOUND_S:g} s: {why}")
        problems = unmet(vehicle)
        if problems:
            raise ConfigError("\n".join(problems))
        self._flight.hover_frac = vehicle.parameters.values.get(HOVER_THROTTLE)
        if not vehicle.until(lambda: self._flight.drawn_w() is not None, FOUND_S):
            raise ConfigError(f"the vehicle did not say within {FOUND_S:g} s what it draws")

    def _feed_back(self, t_s: float) -> None:
        """Tell an ArduPilot the pack's voltage, unless it knows it."""
        if self._told_v is None or t_s < self._set_due_s:
            return
        voltage_v = self.world.truth().voltage_v
        if abs(voltage_v - self._vehicle.parameters.values.get(VOLTAGE, math.inf)) >= _SET_LEAST_V:
            self._vehicle.parameters.set(VOLTAGE, voltage_v)
            self._set_due_s = t_s + _SET_PERIOD_S

    def _put_back(self, voltage_v: float) -> None:
        if not self._vehicle.set_surely(VOLTAGE, voltage_v):
            self._say(f"{VOLTAGE} could not be put back to {voltage_v:g}: the vehicle is gone")


def unmet(vehicle: SitlVehicle) -> list[str]:
    """Return what a vehicle needs and has not, a sentence each; choose the battery to follow."""
    if vehicle.kind.name not in SITL_REQUIREMENTS:
        return ["the vehicle is neither an ArduPilot nor a PX4"]
    if vehicle.kind is ARDUPILOT:
        vehicle.battery_id = int(vehicle.read("BATT_MONITOR") == _SCRIPTED)
        vehicle.power_w = None  # that may have been of another one
    problems: list[str] = []
    for row in SITL_REQUIREMENTS[vehicle.kind.name]:
        name = ("BATT", "BATT2")[vehicle.battery_id] * row.name.startswith("_") + row.name
        value = vehicle.read(name)
        if value is None:
            # What is missing after something that is wrong is mostly its consequence.
            return problems or [f"the vehicle has no parameter {name}: {row.why}"]
        if row.value is not None and abs(value - row.value) >= _CLOSE:
            problems.append(f"{name} is {value:g} and must be {row.value:g}, {row.why}")
    return problems

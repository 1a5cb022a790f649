# SPDX-License-Identifier: Apache-2.0
"""Virtual packs as the battery of a simulated vehicle.

The packs supply the power that the vehicle draws, the vehicle's simulation gets their voltage, and
the service reports to the same vehicle over the same link: with a configuration the service of that
file, its limits and actions included (`rehearsal`). Times are those of the vehicle, from the moment
at which its load is known.
Source: ArduPilot libraries/SITL/SIM_Frame.cpp and AP_HAL_SITL/AnalogIn.cpp; PX4
simulation/battery_simulator, whose battery has no current; dronebms/simulation/sitl_vehicle.py.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from dronebms.core.clock import Clock, PacedClock
from dronebms.core.errors import ConfigError, LinkError
from dronebms.core.pack_data import SERIES
from dronebms.core.report import Report
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.monitoring.loop import Loop
from dronebms.monitoring.pipeline import Pipeline
from dronebms.service.config import Config
from dronebms.service.service import Service
from dronebms.simulation.rehearsal import VirtualMachine, left_out, rehearsed, scenario_of
from dronebms.simulation.simulated_flight import (
    DEFAULT_FLIGHT,
    SimOptions,
    recorder_of,
    source_of,
    ticks,
)
from dronebms.simulation.sitl_vehicle import SitlVehicle
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.protocol.flight_stacks import ARDUPILOT, PX4
from mavlink_bridge.protocol.link import open_link
from sim.emulator.world import STEP_S, RandomStream, World, open_bus, random_generator
from sim.plant.faults import parse_fault
from sim.plant.flight_profile import flight_of
from sim.plant.scenario import Scenario, load_scenario

FOUND_S = 30.0  # of the wall clock
_LATE_S = 1.0
_SET_PERIOD_S = 0.25
_SET_LEAST_V = 0.01
_FITS_FRAC = 0.25  # difference between an empty and a full pack of the same cells
_POWER_OF_THRUST = 1.5  # momentum theory: power of a rotor in hover over its thrust
_SCRIPTED = 29.0  # BATT_MONITOR of a battery that the Lua driver fills with our reports
_CLOSE = 1e-3
_VOLTAGE = "SIM_BATT_VOLTAGE"
_HOVER_THROTTLE = "MPC_THR_HOVER"


@dataclass(frozen=True, slots=True)
class SitlRequirement:
    """A parameter that a simulated vehicle needs; `value` `None`: of any value.

    A name that begins with _ belongs to the battery that is the load.
    """

    name: str
    value: float | None
    reason: str


_SIMULATED = "it is not a simulated vehicle"
_MEASURES = "or the vehicle does not measure the current of its simulation"
# fmt: off
SITL_REQUIREMENTS = {
    ARDUPILOT.name: (
        SitlRequirement(_VOLTAGE,       None, _SIMULATED),
        SitlRequirement("_MONITOR",      4.0, f"{_MEASURES} (restart it after a change)"),
        SitlRequirement("_VOLT_PIN",    13.0, _MEASURES),
        SitlRequirement("_CURR_PIN",    12.0, _MEASURES),
        SitlRequirement("_VOLT_MULT",   10.1, _MEASURES),
        SitlRequirement("_AMP_PERVLT",  17.0, _MEASURES),
    ),
    PX4.name: (
        SitlRequirement("SIM_BAT_DRAIN", None, _SIMULATED),
        SitlRequirement("BAT1_SOURCE",    1.0, "or PX4 adds reports of its simulated battery"),
        SitlRequirement(_HOVER_THROTTLE, None, "its load is computed from that"),
    ),
}
# fmt: on


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
        self._vehicle, self._packs = vehicle, packs
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


class Sitl:
    """Virtual packs connected to a simulated vehicle.

    Args:
        options: of the command; `mavlink_url` is the link to the vehicle, `flight` `None` the
            configured pack, or the default flight.
        stack: restores the vehicle's voltage and closes the link.
        wall: clock of this machine.
        notify: called with a sentence on each event of the vehicle.
        config: of the service that flies; `None`: one battery without actions.

    Attributes:
        world, pack_data: of the first battery.

    Raises:
        ConfigError: unknown scenario or fault, a recording that cannot be made, a configuration
            that cannot be used, or parameters of the vehicle that do not fit, one a line.
        LinkError: invalid link URL, or no vehicle within 30 s.
    """

    def __init__(
        self,
        options: SimOptions,
        stack: ExitStack,
        wall: Clock,
        notify: Callable[[str], None],
        config: Config | None = None,
    ) -> None:
        self._options, self._notify = options, notify
        self._series = config is not None and config.topology == SERIES
        scenarios = _scenarios(options.flight, config)
        url = options.mavlink_url or ""
        faults = tuple(parse_fault(text) for text in options.faults)
        link = stack.enter_context(closing(open_link(url)))
        self._vehicle = SitlVehicle(link, wall, notify)
        self._flight = SitlFlight(self._vehicle, scenarios[0], len(scenarios))
        self._clock = PacedClock(self._vehicle)
        self._worlds = [
            World(scenario, options.seed + index, () if index else faults, self._flight)
            for index, scenario in enumerate(scenarios)
        ]
        self.world = self._worlds[0]
        self.pack_data = self.world.pack_data()
        self._buses = [open_bus(world, self._clock) for world in self._worlds]
        self._set_due_s = 0.0
        self._find(url)
        original_v = self._vehicle.parameters.values.get(_VOLTAGE)
        self._sets_voltage = original_v is not None
        if original_v is not None:
            stack.callback(self._restore_voltage, original_v)
            pack_v = self._voltage_v()
            if abs(pack_v / max(original_v, _CLOSE) - 1.0) > _FITS_FRAC:
                notify(
                    f"the pack has {pack_v:.1f} V, the battery of the vehicle {original_v:.1f} V: "
                    "check the number of cells"
                )
        steps = self._kept_up(ticks(lambda: options.duration_s or math.inf))
        self._steps = (
            self._plain(stack, steps) if config is None else self._serve(config, stack, steps)
        )
        # At the end the service restores parameters, also of a vehicle that has stopped.
        stack.callback(self._vehicle.end)

    def reports(self) -> Iterator[Report]:
        """Follow the vehicle for the duration of the options; yield the report of every step."""
        self._vehicle.begin()
        for report in self._steps:
            self._set_voltage(report.t_s)
            yield report

    def _kept_up(self, times_s: Iterator[float]) -> Iterator[float]:
        """Times of the steps without those that the vehicle has passed by more than a second.

        On a slow machine the state of the vehicle would else grow older with each step. The packs
        supply the power of a time that is left out.
        """
        for t_s in times_s:
            if self._vehicle.ahead_s() > _LATE_S:
                self._clock.sleep_until(t_s)
                for world in self._worlds:
                    world.advance(t_s)
            else:
                yield t_s

    def _plain(self, stack: ExitStack, steps: Iterator[float]) -> Iterator[Report]:
        """Steps of one battery without actions."""
        recorder = recorder_of(self._options, self.pack_data, stack)
        bridge = Bridge(self._vehicle)
        source = source_of(self._buses[0], self.pack_data, recorder)
        pipeline = Pipeline(source, self.pack_data, [bridge])
        return Loop(self._clock, bridge.pump, [pipeline], recorder).reports(steps)

    def _serve(self, config: Config, stack: ExitStack, steps: Iterator[float]) -> Iterator[Report]:
        """Steps of the configured service."""
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="dronebms-")))
        sentence = left_out(config)
        if sentence is not None:
            self._notify(sentence)
        service = Service(
            rehearsed(config, self._options.mavlink_url or "", folder),
            stack,
            self._clock,
            VirtualMachine(self._vehicle, self._buses),
        )
        return service.reports(steps)

    def link(self) -> str | None:
        """URL of the link to the vehicle, or the description of its fault."""
        return self._vehicle.trouble or self._options.mavlink_url

    def link_trouble(self) -> str | None:
        """Description of a fault of the link to the vehicle."""
        return self._vehicle.trouble

    def _find(self, url: str) -> None:
        """Wait for the vehicle, check its parameters, and wait for its load."""
        vehicle = self._vehicle
        if not vehicle.until(lambda: vehicle.is_ticking, FOUND_S):
            reason = vehicle.trouble or url
            raise LinkError(f"no data of a vehicle within {FOUND_S:g} s: {reason}")
        problems = unmet_requirements(vehicle)
        if problems:
            raise ConfigError("\n".join(problems))
        self._flight.hover_frac = vehicle.parameters.values.get(_HOVER_THROTTLE)
        if not vehicle.until(lambda: self._flight.drawn_w() is not None, FOUND_S):
            raise ConfigError(f"no power data of the vehicle within {FOUND_S:g} s")

    def _voltage_v(self) -> float:
        """Voltage of all packs together."""
        voltages_v = [world.truth().voltage_v for world in self._worlds]
        return sum(voltages_v) if self._series else fmean(voltages_v)

    def _set_voltage(self, t_s: float) -> None:
        """Send the voltage of the packs to ArduPilot if it has changed."""
        if not self._sets_voltage or t_s < self._set_due_s:
            return
        voltage_v = self._voltage_v()
        known_v = self._vehicle.parameters.values.get(_VOLTAGE, math.inf)
        if abs(voltage_v - known_v) >= _SET_LEAST_V:
            self._vehicle.parameters.set(_VOLTAGE, voltage_v)
            self._set_due_s = t_s + _SET_PERIOD_S

    def _restore_voltage(self, voltage_v: float) -> None:
        if not self._vehicle.set_and_confirm(_VOLTAGE, voltage_v):
            self._notify(f"{_VOLTAGE} could not be restored to {voltage_v:g}: no answer")


def _scenarios(flight: str | None, config: Config | None) -> list[Scenario]:
    """Flight file of each battery."""
    if config is None:
        return [load_scenario(flight or DEFAULT_FLIGHT)]
    return [scenario_of(battery, flight) for battery in config.battery]


def unmet_requirements(vehicle: SitlVehicle) -> list[str]:
    """Parameters of a vehicle that do not fit, a sentence each; chooses the battery to follow."""
    stack = vehicle.stack
    if stack.name not in SITL_REQUIREMENTS:
        return ["the vehicle is neither ArduPilot nor PX4"]
    if stack is ARDUPILOT:
        vehicle.battery_id = int(vehicle.read("BATT_MONITOR") == _SCRIPTED)
        vehicle.power_w = None  # it may be that of another battery
    problems: list[str] = []
    for row in SITL_REQUIREMENTS[stack.name]:
        name = ("BATT", "BATT2")[vehicle.battery_id] * row.name.startswith("_") + row.name
        value = vehicle.read(name)
        if value is None:
            # A parameter is mostly absent because an earlier one does not fit.
            return problems or [f"the vehicle has no parameter {name}: {row.reason}"]
        if row.value is not None and abs(value - row.value) >= _CLOSE:
            problems.append(f"{name} is {value:g} and must be {row.value:g}, {row.reason}")
    return problems

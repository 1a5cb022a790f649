# SPDX-License-Identifier: Apache-2.0
"""Virtual packs as the battery of a simulated vehicle.

The packs supply the power that the vehicle draws, the vehicle's simulation gets their voltage, and
the service reports to the same vehicle over the same link: with a configuration the service of that
file, its limits and actions included (`rehearsal`). Times are those of the vehicle, from the moment
at which its load is known.
Source: ArduPilot libraries/SITL/SIM_Frame.cpp and AP_HAL_SITL/AnalogIn.cpp; PX4
simulation/battery_simulator, whose battery has no current; dronebms/simulation/sitl/vehicle.py.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from dronebms.core.clock import Clock, PacedClock
from dronebms.core.errors import ConfigError, LinkError
from dronebms.core.pack_data import SERIES
from dronebms.core.report import Report
from dronebms.monitoring.loop import Loop
from dronebms.monitoring.pipeline import Pipeline
from dronebms.service.config import Config
from dronebms.service.service import Service
from dronebms.simulation.simulated_flight import (
    DEFAULT_FLIGHT,
    SimOptions,
    recorder_of,
    source_of,
    ticks,
)
from dronebms.simulation.sitl.load import SitlFlight
from dronebms.simulation.sitl.rehearsal import VirtualMachine, left_out, rehearsed, scenario_of
from dronebms.simulation.sitl.requirements import (
    CLOSE,
    HOVER_THROTTLE,
    VOLTAGE,
    unmet_requirements,
)
from dronebms.simulation.sitl.vehicle import SitlVehicle
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.protocol.link import open_link
from sim.emulator.world import World, open_bus
from sim.plant.faults import parse_fault
from sim.plant.scenario import Scenario, load_scenario

FOUND_S = 30.0  # of the wall clock
_LATE_S = 1.0
_SET_PERIOD_S = 0.25
_SET_LEAST_V = 0.01
_FITS_FRAC = 0.25  # difference between an empty and a full pack of the same cells


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
        self._options = options
        self._notify = notify
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
        original_v = self._vehicle.parameters.values.get(VOLTAGE)
        self._sets_voltage = original_v is not None
        if original_v is not None:
            stack.callback(self._restore_voltage, original_v)
            pack_v = self._voltage_v()
            if abs(pack_v / max(original_v, CLOSE) - 1.0) > _FITS_FRAC:
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
        self._flight.hover_frac = vehicle.parameters.values.get(HOVER_THROTTLE)
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
        known_v = self._vehicle.parameters.values.get(VOLTAGE, math.inf)
        if abs(voltage_v - known_v) >= _SET_LEAST_V:
            self._vehicle.parameters.set(VOLTAGE, voltage_v)
            self._set_due_s = t_s + _SET_PERIOD_S

    def _restore_voltage(self, voltage_v: float) -> None:
        if not self._vehicle.set_and_confirm(VOLTAGE, voltage_v):
            self._notify(f"{VOLTAGE} could not be restored to {voltage_v:g}: no answer")


def _scenarios(flight: str | None, config: Config | None) -> list[Scenario]:
    """Flight file of each battery."""
    if config is None:
        return [load_scenario(flight or DEFAULT_FLIGHT)]
    return [scenario_of(battery, flight) for battery in config.battery]

# SPDX-License-Identifier: Apache-2.0
"""World: co-simulation of pack, gauge and vehicle in steps of 0.1 s.

The steps do not depend on the times of transfers: one scenario, one seed and one set of faults give
one flight, bit for bit. Time is seconds of the flight, which is the time of the clock: a flight
begins at 0.
"""

import copy
from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from dronebms.core.clock import Clock
from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import PackData
from dronebms.core.vehicle_state import VehicleState
from sim.emulator.bq40 import Bq40
from sim.emulator.bus import Device, VirtualBus
from sim.emulator.gauge import VirtualGauge
from sim.emulator.second_pack import second_pack
from sim.plant import faults as rows
from sim.plant.faults import Fault, active_sizes
from sim.plant.flight_profile import FlightProfile, ScenarioFlight, flight_of
from sim.plant.gauge_kinds import gauge_kind
from sim.plant.ground_truth import EndOfDischarge, GroundTruth
from sim.plant.pack import Pack, build_pack
from sim.plant.scenario import Scenario, load_scenario
from sim.plant.waypoints import WaypointFlight
from smartbattery.registers import ADDRESS

STEP_S = 0.1
_STEPS_PER_S = 10
_STEP_MS = 100
_GAUGE_MS = 250
_ROUNDING = 1e-6  # of a step: 0.3 s is three steps in floating point too
_HORIZON_S = 2 * 3600.0


class RandomStream(IntEnum):
    """Random generators, one for each purpose: a bus fault changes no gust."""

    CELLS = 0
    GUSTS = 1
    GAUGE = 2
    GAUGE_FAULTS = 3
    WIRE = 4


def random_generator(seed: int, stream: RandomStream) -> np.random.Generator:
    """The generator of one purpose, in its initial state."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(stream),)))


class World:
    """A simulated flight that advances to the time it is given.

    Args:
        scenario: the pack, its gauge and the flight.
        seed: of cell differences, gusts and measurement noise.
        faults: in addition to those of the scenario.
        flight: load of the pack; None: that of the scenario.

    Attributes:
        scenario, seed: as given.
        faults: those of the scenario and the further ones.
        gauge: the gauge behind the address.
        bq40: the BQ40 in front of it; None for another kind.

    Raises:
        ConfigError: a fault that is impossible for this pack.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int = 1,
        faults: Sequence[Fault] = (),
        flight: FlightProfile | None = None,
    ) -> None:
        self.scenario = scenario
        self.seed = seed
        self.faults = (*(spec.fault() for spec in scenario.faults), *faults)
        self._events = sorted((f for f in self.faults if f.once), key=lambda fault: fault.start_s)
        lost = sum(fault.size for fault in self._events if fault.name == rows.LOST_STRING.name)
        if lost >= scenario.pack.parallel:
            raise ConfigError(
                f"fault {rows.LOST_STRING.name}: a pack of {scenario.pack.parallel} in parallel "
                f"cannot lose {lost:g}"
            )
        self._flight = flight or flight_of(
            scenario, random_generator(seed, RandomStream.GUSTS), STEP_S
        )
        self._strings = scenario.pack.parallel
        self._pack = self._build_pack()
        self._gauge_faults = random_generator(seed, RandomStream.GAUGE_FAULTS)
        self._end_rule = EndOfDischarge(self.pack_data().cutoff_v, STEP_S)
        self._ended_s: float | None = None
        self._step = 0
        self._load()
        self.gauge = VirtualGauge(
            scenario, self._pack, random_generator(seed, RandomStream.GAUGE), seed
        )
        part = gauge_kind(scenario.gauge.kind).part
        self.bq40 = None if part is None else Bq40(self.gauge, part, scenario.pack)

    @property
    def device(self) -> Device:
        """The device at the address of the gauge."""
        return self.bq40 or self.gauge

    @property
    def t_s(self) -> float:
        """Time of the last step."""
        return self._step / _STEPS_PER_S

    @property
    def duration_s(self) -> float:
        """End of the flight; the vehicle then stands on the ground."""
        return self._flight.duration_s

    def advance(self, t_s: float) -> None:
        """Advance by all steps up to a time; an earlier time changes nothing."""
        until = int(t_s * _STEPS_PER_S + _ROUNDING)
        while self._step < until:
            self._pack.advance()
            self._step += 1
            while self._events and self._events[0].start_s <= self.t_s:
                self._apply_event(self._events.pop(0))
            if self._step % _STEPS_PER_S == 0 and isinstance(self._flight, ScenarioFlight):
                # The airflow around the pack of another vehicle is unknown.
                self._pack.cells.airflow_m_s = self._flight.airflow_m_s(self.t_s) or 0.0
            self._load()
            if self._step * _STEP_MS % _GAUGE_MS < _STEP_MS:
                self._measure()

    def command_return(self, t_s: float) -> None:
        """Command the vehicle to return at a time; phases are flown to their end."""
        self.advance(t_s)
        if isinstance(self._flight, WaypointFlight):
            self._flight.command_return(self.t_s)

    def vehicle(self, t_s: float) -> VehicleState:
        """State of the vehicle at a time of the flight, as its autopilot reports it."""
        return self._flight.vehicle(t_s)

    def pack_data(self) -> PackData:
        """Pack data of a user: those printed on the pack."""
        pack = self.scenario.pack
        return PackData(
            chemistry=pack.row,
            cells=pack.cells,
            capacity_mah=pack.rated_mah,
            cutoff_cell_v=pack.cutoff_cell_v,
            pack_id=f"{self.scenario.name}-{self.seed}",
        )

    def truth(self) -> GroundTruth:
        """Ground truth at the last step."""
        pack = self._pack
        charge_frac = tuple(pack.cells.charge_frac.tolist())
        return GroundTruth(
            t_s=self.t_s,
            power_w=float(pack.voltage_v * pack.current_a),
            voltage_v=float(pack.voltage_v),
            current_a=float(pack.current_a),
            cells_v=tuple(pack.cells_v.tolist()),
            charge_frac=charge_frac,
            soc_frac=min(charge_frac),
            temperature_degc=float(np.max(pack.cells.temperature_degc)),
            drawn_mah=float(pack.drawn_ah) * 1000.0,
            overloaded=bool(pack.overloaded),
            ended_s=self._ended_s,
        )

    def remaining_s(self, hold_power_w: float | None = None) -> float | None:
        """True seconds until the end of discharge at a constant power from now on, without gusts.

        Args:
            hold_power_w: None: the mean power of the present phase.

        Returns:
            0 after the end; None on the ground without `hold_power_w`, or beyond two hours.
        """
        if self._ended_s is not None:
            return 0.0
        power_w = self._flight.mean_power_w(self.t_s) if hold_power_w is None else hold_power_w
        if power_w is None:
            return None
        pack = copy.deepcopy(self._pack)
        end = copy.deepcopy(self._end_rule)
        for step in range(1, round(_HORIZON_S * _STEPS_PER_S)):
            pack.advance()
            pack.apply(power_w)
            if end.reached(float(np.minimum.reduce(pack.cells_v))):
                return step / _STEPS_PER_S
        return None

    # ------------------------------------------------------------------ one step

    def _build_pack(self) -> Pack:
        spec = self.scenario.pack
        for charge_frac in active_sizes(self.faults, rows.LOW_CHARGE, 0.0):
            spec = spec.model_copy(update={"start_charge_frac": charge_frac})
        pack = build_pack(spec, random_generator(self.seed, RandomStream.CELLS), STEP_S)
        for capacity_frac in active_sizes(self.faults, rows.WEAK_CELL, 0.0):
            index = min(rows.WEAK_CELL_INDEX, spec.cells - 1)
            pack.cells.weaken(index, capacity_frac, rows.WEAK_RESISTANCE)
        return pack

    def _apply_event(self, fault: Fault) -> None:
        """Apply a fault that happens once."""
        if fault.name == rows.GAUGE_RESET.name:
            (self.bq40 or self.gauge).reset()
            return
        for _ in range(int(fault.size)):
            self._pack.lose_string(None, self._strings)
            self._strings -= 1

    def _load(self) -> None:
        """Load the pack with the power of the vehicle at the present step."""
        t_s = self.t_s
        pack = self._pack
        power_w = self._flight.power_w(t_s)
        if self.faults:
            for factor in active_sizes(self.faults, rows.HIGH_CURRENT, t_s):
                power_w = max(power_w, factor * self._continuous_w())
            hot_k_s = sum(active_sizes(self.faults, rows.HOT_CELL, t_s))
            pack.cells.extra_heat_k_s[rows.HOT_CELL_INDEX] = hot_k_s
        pack.apply(power_w)
        weakest_v = float(np.minimum.reduce(pack.cells_v))
        if self._ended_s is None and self._end_rule.reached(weakest_v):
            self._ended_s = t_s

    def _continuous_w(self) -> float:
        spec = self.scenario.pack
        continuous_a = spec.row.continuous_c * spec.rated_mah / 1000.0
        return continuous_a * float(self._pack.voltage_v)

    def _measure(self) -> None:
        """Let the gauge measure, unless it is frozen."""
        t_s = self.t_s
        active = [fault for fault in self.faults if fault.active(t_s)]
        if any(fault.name == rows.FROZEN.name for fault in active):
            return
        blind_cell = None
        for frac in active_sizes(active, rows.FFFF_CELLS, t_s):
            if self._gauge_faults.random() < frac:
                blind_cell = min(rows.FFFF_CELL, self.scenario.pack.cells - 1)
        self.gauge.open_thermistor = bool(active_sizes(active, rows.THERMISTOR, t_s))
        self.gauge.update(t_s, blind_cell, sum(active_sizes(active, rows.CURRENT_OFFSET, t_s)))
        if self.bq40 is not None:
            self.bq40.update(t_s)


def open_virtual(
    name: str, clock: Clock, seed: int = 1, faults: Sequence[Fault] = ()
) -> tuple[VirtualBus, World]:
    """A bus with a virtual pack at 0x0b, and the flight behind it.

    Args:
        name: of a shipped scenario, or the path of a scenario file.
        clock: time of the flight; it begins at 0.
        seed: of cell differences, gusts and measurement noise.
        faults: in addition to those of the scenario.

    Raises:
        ConfigError: the scenario cannot be used.
    """
    world = World(load_scenario(name), seed, faults)
    return open_bus(world, clock), world


def open_bus(world: World, clock: Clock) -> VirtualBus:
    """A bus with the gauge of a flight at 0x0b, and the second pack that a fault may bring."""
    devices = {ADDRESS: world.device}
    random = random_generator(world.seed, RandomStream.WIRE)
    scenario = second_pack(world.scenario, world.faults)
    if scenario is None:
        return VirtualBus(clock, [world], devices, world.faults, random)
    other = World(scenario, world.seed + 1)
    other_devices = {ADDRESS: other.device}
    return VirtualBus(clock, [world, other], devices, world.faults, random, other_devices)

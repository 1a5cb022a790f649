"""One simulated flight: pack, gauge and vehicle moved on together in steps of 0.1 s.

The steps do not depend on who looks when: one scenario, one seed and one set of faults is one
truth, bit for bit. Time is seconds of the flight, which is the clock's own time: a flight begins
at the clock's zero.
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
from sim.plant import faults as wrong
from sim.plant.faults import Fault
from sim.plant.gauge_kinds import gauge_kind
from sim.plant.ground_truth import EndOfDischarge, GroundTruth
from sim.plant.mission import FlightProfile, Mission
from sim.plant.pack import Pack, build_pack
from sim.plant.scenario import Scenario, load_scenario
from smartbattery.registers import ADDRESS

STEP_S = 0.1
_STEPS_PER_S = 10
_STEP_MS = 100
_GAUGE_MS = 250
_ROUNDING = 1e-6  # of a step: 0.3 s is three steps in floating point too

_HORIZON_S = 2 * 3600.0


class RandomStream(IntEnum):
    """One generator for each purpose: a fault on the wire changes no gust."""

    CELLS = 0
    GUSTS = 1
    GAUGE = 2
    GAUGE_FAULTS = 3
    WIRE = 4


def random_generator(seed: int, stream: RandomStream) -> np.random.Generator:
    """Return the generator of one purpose, at its beginning."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(stream),)))


class World:
    """A flight that goes on when it is told the time.

    Args:
        scenario: the pack, its gauge and the plan.
        seed: how cells differ, gusts blow and readings scatter.
        faults: what goes wrong, beyond what does in the scenario.
        flight: who flies it; None is the scenario's own plan.

    Attributes:
        scenario, seed: the same.
        faults: all of them.

    Raises:
        ConfigError: a fault that this pack cannot have.
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
        self._coming = sorted((f for f in self.faults if f.once), key=lambda fault: fault.start_s)
        lost = sum(fault.size for fault in self._coming if fault.name == wrong.LOST_STRING.name)
        if lost >= scenario.pack.parallel:
            raise ConfigError(
                f"fault {wrong.LOST_STRING.name}: a pack of {scenario.pack.parallel} in parallel "
                f"cannot lose {lost:g}"
            )
        self._flight = flight or Mission(
            scenario, random_generator(seed, RandomStream.GUSTS), STEP_S
        )
        self._strings = scenario.pack.parallel
        self._pack = self._build_pack()
        self._blinding = random_generator(seed, RandomStream.GAUGE_FAULTS)
        self._end = EndOfDischarge(self.pack_data().cutoff_v, STEP_S)
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
        """What answers at the gauge's address."""
        return self.bq40 or self.gauge

    @property
    def t_s(self) -> float:
        """Time of the last step."""
        return self._step / _STEPS_PER_S

    @property
    def duration_s(self) -> float:
        """When the flight is over; the vehicle then stands on the ground."""
        return self._flight.duration_s

    def advance(self, t_s: float) -> None:
        """Take every step up to a time; a time that has passed changes nothing."""
        until = int(t_s * _STEPS_PER_S + _ROUNDING)
        while self._step < until:
            self._pack.advance()
            self._step += 1
            while self._coming and self._coming[0].start_s <= self.t_s:
                self._happen(self._coming.pop(0))
            if self._step % _STEPS_PER_S == 0 and isinstance(self._flight, Mission):
                # A vehicle that is followed says nothing of the air around its pack.
                self._pack.cells.airflow_m_s = self._flight.airflow_m_s(self.t_s) or 0.0
            self._load()
            if self._step * _STEP_MS % _GAUGE_MS < _STEP_MS:
                self._measure()

    def vehicle(self, t_s: float) -> VehicleState:
        """Return what the autopilot says at a time of the flight."""
        return self._flight.vehicle(t_s)

    def pack_data(self) -> PackData:
        """Return what a user knows of the pack: what is printed on it."""
        pack = self.scenario.pack
        return PackData(
            chemistry=pack.row,
            cells=pack.cells,
            capacity_mah=pack.rated_mah,
            cutoff_cell_v=pack.cutoff_cell_v,
            pack_id=f"{self.scenario.name}-{self.seed}",
        )

    def truth(self) -> GroundTruth:
        """Return how things are at the last step."""
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
        """Return the true seconds until the end if one power goes on from now, without gusts.

        Args:
            hold_power_w: None is the mean power of the present phase.

        Returns:
            0 after the end; None with no power given on the ground, or when the pack lasts
            for hours.
        """
        if self._ended_s is not None:
            return 0.0
        power_w = self._flight.mean_power_w(self.t_s) if hold_power_w is None else hold_power_w
        if power_w is None:
            return None
        pack, end = copy.deepcopy(self._pack), copy.deepcopy(self._end)
        for step in range(1, round(_HORIZON_S * _STEPS_PER_S)):
            pack.advance()
            pack.apply(power_w)
            if end.reached(float(np.minimum.reduce(pack.cells_v))):
                return step / _STEPS_PER_S
        return None

    # ------------------------------------------------------------------ one step

    def _build_pack(self) -> Pack:
        spec = self.scenario.pack
        for charge_frac in wrong.active_sizes(self.faults, wrong.LOW_CHARGE, 0.0):
            spec = spec.model_copy(update={"start_charge_frac": charge_frac})
        pack = build_pack(spec, random_generator(self.seed, RandomStream.CELLS), STEP_S)
        for capacity_frac in wrong.active_sizes(self.faults, wrong.WEAK_CELL, 0.0):
            index = min(wrong.WEAK_CELL_INDEX, spec.cells - 1)
            pack.cells.weaken(index, capacity_frac, wrong.WEAK_RESISTANCE)
        return pack

    def _happen(self, fault: Fault) -> None:
        """Let a fault that happens once do so."""
        if fault.name == wrong.GAUGE_RESET.name:
            (self.bq40 or self.gauge).reset()
            return
        for _ in range(int(fault.size)):
            self._pack.lose_string(None, self._strings)
            self._strings -= 1

    def _load(self) -> None:
        """Ask the pack for what the vehicle needs at the present step."""
        t_s, pack = self.t_s, self._pack
        power_w = self._flight.power_w(t_s)
        if self.faults:
            for times in wrong.active_sizes(self.faults, wrong.HIGH_CURRENT, t_s):
                power_w = max(power_w, times * self._allowed_w())
            hot_k_s = sum(wrong.active_sizes(self.faults, wrong.HOT_CELL, t_s))
            pack.cells.extra_heat_k_s[wrong.HOT_CELL_INDEX] = hot_k_s
        pack.apply(power_w)
        weakest_v = float(np.minimum.reduce(pack.cells_v))
        if self._ended_s is None and self._end.reached(weakest_v):
            self._ended_s = t_s

    def _allowed_w(self) -> float:
        spec = self.scenario.pack
        allowed_a = spec.row.continuous_c * spec.rated_mah / 1000.0
        return allowed_a * float(self._pack.voltage_v)

    def _measure(self) -> None:
        """Let the gauge look at the pack, unless it stands still."""
        t_s = self.t_s
        active = [fault for fault in self.faults if fault.active(t_s)]
        if any(fault.name == wrong.FROZEN.name for fault in active):
            return
        blind_cell = None
        for frac in wrong.active_sizes(active, wrong.FFFF_CELLS, t_s):
            if self._blinding.random() < frac:
                blind_cell = min(wrong.FFFF_CELL, self.scenario.pack.cells - 1)
        self.gauge.open_thermistor = bool(wrong.active_sizes(active, wrong.THERMISTOR, t_s))
        self.gauge.update(
            t_s, blind_cell, sum(wrong.active_sizes(active, wrong.CURRENT_OFFSET, t_s))
        )
        if self.bq40 is not None:
            self.bq40.update(t_s)


def open_virtual(
    name: str, clock: Clock, seed: int = 1, faults: Sequence[Fault] = ()
) -> tuple[VirtualBus, World]:
    """Return a wire with one gauge at 0x0b and the flight behind it.

    Raises:
        ConfigError: the scenario cannot be used.
    """
    world = World(load_scenario(name), seed, faults)
    return open_bus(world, clock), world


def open_bus(world: World, clock: Clock) -> VirtualBus:
    """Return a wire with a flight's gauge at 0x0b, and the other pack that a fault may bring."""
    devices, random = {ADDRESS: world.device}, random_generator(world.seed, RandomStream.WIRE)
    stranger = second_pack(world.scenario, world.faults)
    if stranger is None:
        return VirtualBus(clock, [world], devices, world.faults, random)
    other = World(stranger, world.seed + 1)
    other_devices = {ADDRESS: other.device}
    return VirtualBus(clock, [world, other], devices, world.faults, random, other_devices)

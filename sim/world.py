"""One simulated flight: pack, gauge and vehicle moved on together in steps of 0.1 s.

The steps do not depend on who looks when: one scenario, one seed and one set of faults is one
truth, bit for bit. Time is seconds of the flight, which is the clock's own time: a flight begins
at the clock's zero.
"""

import copy
from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from dronebms.battery import BatteryFacts
from dronebms.clock import Clock
from dronebms.vehicle import VehicleState
from sim import faults as wrong
from sim.bq40 import Bq40
from sim.bus import Device, VirtualBus, VirtualMux
from sim.faults import Fault
from sim.flight import Flight, Flying
from sim.gauge import VirtualGauge
from sim.pack import Pack, build_pack
from sim.scenario import Scenario, load_scenario
from sim.truth import End, Remaining, Truth
from sim.vendors import kind_named
from smartbattery import mux
from smartbattery.registers import ADDRESS

STEP_S = 0.1
_STEPS_PER_S = 10
_STEP_MS = 100
_GAUGE_MS = 250
_ROUNDING = 1e-6  # of a step: 0.3 s is three steps in floating point too

_HORIZON_S = 2 * 3600.0


class Stream(IntEnum):
    """One generator for each purpose: a fault on the wire changes no gust."""

    CELLS = 0
    GUSTS = 1
    GAUGE = 2
    GAUGE_FAULTS = 3
    WIRE = 4


def generator(seed: int, stream: Stream) -> np.random.Generator:
    """Return the generator of one purpose, at its beginning."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(stream),)))


class World:
    """A flight that goes on when it is told the time.

    Args:
        scenario: the pack, its gauge and the plan.
        seed: how cells differ, gusts blow and readings scatter.
        faults: what goes wrong.
        flight: who flies it; None is the scenario's own plan.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int = 1,
        faults: Sequence[Fault] = (),
        flight: Flying | None = None,
    ) -> None:
        self._scenario = scenario
        self._seed = seed
        self._faults = tuple(faults)
        self._flight = flight or Flight(scenario, generator(seed, Stream.GUSTS), STEP_S)
        self._pack = self._build_pack()
        self._blinding = generator(seed, Stream.GAUGE_FAULTS)
        self._end = End(self.facts().cutoff_v, STEP_S)
        self._ended_s: float | None = None
        self._step = 0
        self._load()
        self.gauge = VirtualGauge(scenario, self._pack, generator(seed, Stream.GAUGE), seed)
        part = kind_named(scenario.gauge.kind).part
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
            self._load()
            if self._step * _STEP_MS % _GAUGE_MS < _STEP_MS:
                self._measure()

    def vehicle(self, t_s: float) -> VehicleState:
        """Return what the autopilot says at a time of the flight."""
        return self._flight.vehicle(t_s)

    def facts(self) -> BatteryFacts:
        """Return what a user knows of the pack: what is printed on it."""
        pack = self._scenario.pack
        return BatteryFacts(
            chemistry=pack.row,
            cells=pack.cells,
            capacity_mah=pack.rated_mah,
            cutoff_cell_v=pack.cutoff_cell_v,
            pack_id=f"{self._scenario.name}-{self._seed}",
        )

    def truth(self) -> Truth:
        """Return how things are at the last step."""
        pack = self._pack
        charge_frac = tuple(pack.cells.charge_frac.tolist())
        return Truth(
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
        power_w = self._flight.steady_w(self.t_s) if hold_power_w is None else hold_power_w
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
        spec = self._scenario.pack
        names = self._active(0.0)
        if wrong.LOW_CHARGE.name in names:
            spec = spec.model_copy(update={"start_charge_frac": wrong.LOW_CHARGE_FRAC})
        pack = build_pack(spec, generator(self._seed, Stream.CELLS), STEP_S)
        if wrong.WEAK_CELL.name in names:
            index = min(wrong.WEAK_CELL_INDEX, spec.cells - 1)
            pack.cells.weaken(index, wrong.WEAK_CAPACITY_FRAC, wrong.WEAK_RESISTANCE)
        return pack

    def _active(self, t_s: float) -> list[str]:
        return [fault.name for fault in self._faults if fault.active(t_s)]

    def _load(self) -> None:
        """Ask the pack for what the vehicle needs at the present step."""
        t_s, pack = self.t_s, self._pack
        power_w = self._flight.power_w(t_s)
        names = self._active(t_s)
        if wrong.HIGH_CURRENT.name in names:
            power_w = max(power_w, self._too_much_w())
        hot_k_s = wrong.HOT_CELL_K_S if wrong.HOT_CELL.name in names else 0.0
        pack.cells.extra_heat_k_s[wrong.HOT_CELL_INDEX] = hot_k_s
        pack.apply(power_w)
        weakest_v = float(np.minimum.reduce(pack.cells_v))
        if self._ended_s is None and self._end.reached(weakest_v):
            self._ended_s = t_s

    def _too_much_w(self) -> float:
        spec = self._scenario.pack
        allowed_a = spec.row.continuous_c * spec.rated_mah / 1000.0
        return wrong.HIGH_CURRENT_OF_CONTINUOUS * allowed_a * float(self._pack.voltage_v)

    def _measure(self) -> None:
        """Let the gauge look at the pack, unless it stands still."""
        names = self._active(self.t_s)
        if wrong.FROZEN.name in names:
            return
        blind_cell = None
        if wrong.FFFF_CELLS.name in names and self._blinding.random() < wrong.FFFF_FRAC:
            blind_cell = min(wrong.FFFF_CELL, self._scenario.pack.cells - 1)
        self.gauge.update(self.t_s, blind_cell)
        if self.bq40 is not None:
            self.bq40.update(self.t_s)


def remaining_truth(
    scenario: Scenario, seed: int, faults: Sequence[Fault], t_s: float
) -> Remaining:
    """Return the true seconds left at a time of a flight; flies it from its start to know.

    For many times of one flight, take one `World` along and ask its `remaining_s`.
    """
    world = World(scenario, seed, faults)
    world.advance(t_s)
    held_s = world.remaining_s()
    world.advance(world.duration_s)
    ended_s = world.truth().ended_s
    return Remaining(held_s, None if ended_s is None else max(ended_s - t_s, 0.0))


def open_virtual(
    name: str, clock: Clock, seed: int = 1, faults: Sequence[Fault] = ()
) -> tuple[VirtualBus, World]:
    """Return a wire with one gauge at 0x0b and the flight behind it.

    Raises:
        ConfigError: the scenario cannot be used.
    """
    world = World(load_scenario(name), seed, faults)
    devices = {ADDRESS: world.device}
    return VirtualBus(clock, world, devices, faults, generator(seed, Stream.WIRE)), world


class _Together:
    """Several flights at one time."""

    def __init__(self, worlds: Sequence[World]) -> None:
        self._worlds = worlds

    def advance(self, t_s: float) -> None:
        for world in self._worlds:
            world.advance(t_s)


def open_behind_mux(worlds: Sequence[World], clock: Clock) -> VirtualBus:
    """Return a wire with a multiplexer at 0x70 and the pack of each flight behind a channel."""
    channels = {channel: {ADDRESS: world.device} for channel, world in enumerate(worlds)}
    devices = VirtualMux(channels).devices(mux.ADDRESSES[0])
    return VirtualBus(clock, _Together(worlds), devices, (), generator(0, Stream.WIRE))

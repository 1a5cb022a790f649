# SPDX-License-Identifier: Apache-2.0
"""Closed-loop flights with faults: `python -m benchmarks.flights [--seeds N] [--only TEXT] [--clean HOURS] [--jobs J]`.

A virtual pack and gauge, the service with its actions (`critical`: return, `emergency`: land), the
bridge, and models of ArduPilot and PX4 that obey, latch their failsafes, fly home and land. Every
row of `FAULTS` flies on both stacks with every seed; then clean hours without a fault. Prints for
each the action that was due, the one that was seen, its author and how many seconds early or late, and
the counts of missed and unwanted ones. The last line is for machines. Exits with 1 when one is
missed or unwanted, or a parameter of the vehicle is not restored.

What is due follows from the true pack and the fault, never from the output of the service:
    none: nothing may act; the pack lasts for the planned flight.
    may: a contradiction that nothing decides may send the vehicle home, but not land it.
    end: on the ground before the end of the pack (5 s mean of the weakest cell at its cut-off);
        early by more than 180 s is unwanted.
    lost: home within 20 s of the tenth second without a gauge.
    limit: home within 30 s of a true cell at its cut-off, or of a true over-temperature, for 3 s.
Seconds early: true time to empty less the way home when the vehicle was sent home; for `lost` and
`limit` the due moment less the action. A failsafe of the vehicle acts by its own thresholds: it is
early if the true charge is above them by more than 10 points. Actions for limits of the way home (`home_*`) alone are
counted apart; with an even seed the vehicle does not know its home, and they do not apply.
"""

import argparse
import itertools
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pymavlink.dialects.v20 import common as mavlink

from benchmarks.constant_faults import Change, ConstantFault, Device, FaultyWire, How
from benchmarks.sent_values import CHARGE_POINTS
from benchmarks.vehicle_models import (
    ARDUPILOT_FRACS,
    PX4,
    PX4_PCTS,
    STACKS,
    Airframe,
    Battery,
    FlightController,
    ModeChange,
)
from benchmarks.wire_data import WireReader
from dronebms.core.clock import VirtualClock
from dronebms.core.report import ActionKind, Report, Severity
from dronebms.core.toml_schema import validated
from dronebms.protection.limits import default_limits
from dronebms.service.config import Config, read_config
from dronebms.service.service import Service
from dronebms.simulation.sitl.rehearsal import VirtualMachine
from sim.emulator.bus import VirtualBus
from sim.emulator.world import RandomStream, World, open_bus, random_generator
from sim.plant.faults import parse_fault
from sim.plant.scenario import Phase, Scenario
from smartbattery.registers import ADDRESS

TICKS_PER_S = 4  # measurements of the virtual gauge per second
CELLS, CELL_MAH, HOVER_W = 4, 5000.0, 220.0  # 3 C
ARM_S, FAULT_S, HOME_AT_S, LATE_HOME_S, LONGEST_S = 20.0, 45.0, 110.0, 220.0, 700.0
FULL, LOW = 0.9, 0.27  # start charges: the flight ends long before, or with the pack
EARLY_S, LOST_S, LIMIT_S, HELD_S = 180.0, 20.0, 30.0, 3.0
CHECKPOINT_S = 1.0
LOSES_GAUGE_S = 10.0  # of silence: the vehicle flies without knowing its battery
NEAR_END_S = 60.0  # from which a landing in place is due as well
_ACTIONS = """
[[action]]
on = "critical"
do = "return"
[[action]]
on = "emergency"
do = "land"
"""
_REDUCE = """
[[action]]
on = "governor"
do = "reduce"
speed_m_s = 4.0
climb_m_s = 1.0
"""


@dataclass(frozen=True)
class FlightFault:
    """A fault and what is due; `events` are called at their times of the flight."""

    name: str
    due: str
    charge_frac: float = FULL
    simulator: tuple[str, ...] = ()
    wire: ConstantFault | None = None
    events: tuple[tuple[float, Callable[["Flight"], None]], ...] = ()
    prepare: Callable[["Flight"], None] = lambda _: None
    failsafes: bool = False  # the battery failsafes of the flight stack act
    lost_s: float | None = None  # when the gauge falls silent
    pack: tuple[tuple[str, object], ...] = ()
    gauge: tuple[tuple[str, object], ...] = ()
    actions: str = _ACTIONS
    mavlink: str = ""  # lines of that section
    checkpoints: bool = False  # a restart continues from a checkpoint of each second


class Flight:
    """One closed loop."""

    def __init__(self, fault: FlightFault, stack: int, seed: int, folder: Path) -> None:
        self.fault, self.seed = fault, seed
        self.random = np.random.default_rng((seed, stack))
        self.clock = VirtualClock()
        self.frame = Airframe(HOVER_W, np.random.default_rng(seed))
        self.frame.way_m = float(self.random.uniform(40.0, 120.0))
        if fault.due != "end":
            self.frame.home_at_s = HOME_AT_S if fault.due in ("none", "may") else LATE_HOME_S
        self.scenario = _scenario(fault)
        faults = [parse_fault(text) for text in fault.simulator]
        self.world = World(self.scenario, seed, faults, self.frame)
        own = open_bus(self.world, self.clock)
        reader = WireReader("generic", with_pec=True)
        self.wire = FaultyWire(own, self._second(fault) or own, self.clock, reader, fault.wire)
        self.wire.start_s = FAULT_S
        battery = Battery(CELL_MAH, acts=fault.failsafes)
        self.fc = FlightController(stack, self.frame, battery, np.random.default_rng(seed + 1))
        self.fc.parameters = {
            "MOT_BAT_CURR_MAX": 0.0,
            "MOT_BAT_CURR_TC": 5.0,
            "MPC_XY_VEL_MAX": 12.0,
            "MPC_XY_CRUISE": 5.0,
            "MPC_VEL_MANUAL": 10.0,
            "MPC_Z_VEL_MAX_UP": 3.0,
            "MPC_Z_V_AUTO_UP": 3.0,
        }
        self.fc.has_home = seed % 2 == 1
        self.original = dict(self.fc.parameters)
        self.path = folder / "flight.toml"
        self.state_dir = folder / "state" if _REDUCE in fault.actions else None
        self.configure(fault.actions)
        self.stalled_until_s = 0.0
        self.trigger: _Trigger | None = None
        self.reduced = False
        self.killed = False
        self.now_s = 0.0
        self.report: Report | None = None
        self._parts: dict[str, object] = {}
        self.start()
        fault.prepare(self)

    def _second(self, fault: FlightFault) -> VirtualBus | None:
        if fault.wire is None or fault.wire.device is Device.OWN:
            return None
        changed = {"start_charge_frac": fault.wire.charge_frac}
        pack = self.scenario.pack.model_copy(update=changed)
        seed = self.seed if fault.wire.same_serial else self.seed + 1
        other = World(self.scenario.model_copy(update={"pack": pack}), seed)
        return VirtualBus(
            self.clock,
            [other],
            {ADDRESS: other.device},
            (),
            random_generator(seed, RandomStream.WIRE),
        )

    def configure(self, actions: str) -> None:
        """Write the configuration."""
        state = "" if self.state_dir is None else f'[state]\ndir = "{self.state_dir}"\n'
        self.path.write_text(
            '[[battery]]\nbus = "sim:hover"\n'
            f'cells = {CELLS}\ncapacity_mah = {CELL_MAH:g}\nchemistry = "lipo"\n'
            f'[mavlink]\nurl = "udpout:127.0.0.1:14550"\n{self.fault.mavlink}{state}{actions}'
        )

    def start(self) -> None:
        """Start the service; `parts` of an earlier run are restored."""
        config = validated(Config, self.path.read_text(), str(self.path))
        self.stack = ExitStack()
        machine = VirtualMachine(self.fc, [self.wire])
        self.service = Service(config, self.stack, self.clock, machine)
        if self._parts:
            self.service.restore(self._parts)
        self._reports = self.service.reports(self._ticks())
        self.killed = False

    def kill(self) -> None:
        """End the service as SIGKILL does; nothing is restored."""
        self.killed = True

    def step(self, now_s: float) -> Report | None:
        """Fly a step; the report of the service, `None` while it does not run."""
        self.now_s = now_s
        self.clock.sleep_until(now_s)
        self.world.advance(now_s)
        self.fc.step(now_s)
        if self.killed or now_s < self.stalled_until_s:
            return None
        self.report = next(self._reports)
        self.reduced |= self.fc.parameters != self.original
        if now_s % CHECKPOINT_S == 0.0 and self.fault.checkpoints:
            self._parts = json.loads(json.dumps(self.service.state(now_s)))
        return self.report

    def _ticks(self) -> Iterator[float]:
        while True:
            yield self.now_s


def _scenario(fault: FlightFault) -> Scenario:
    pack: dict[str, Any] = {
        "chemistry": "lipo", "cells": CELLS, "cell_mah": CELL_MAH, "resistance_mohm_ah": 40.0,
        "start_charge_frac": fault.charge_frac,
    }  # fmt: skip
    gauge: dict[str, Any] = {"full_error_frac": 0.01, "serial": 700}
    phase = Phase(name="flown by the model", duration_s=LONGEST_S, power_w=HOVER_W)
    return Scenario.model_validate(
        {
            "name": fault.name,
            "pack": pack | dict(fault.pack),
            "gauge": gauge | dict(fault.gauge),
            "phase": [phase.model_dump()],
        }
    )


# ---------------------------------------------------------------------- events


def _pilot(mode: str) -> Callable[[Flight], None]:
    return lambda flight: flight.fc.set_mode(mode, "pilot")


def _automatic(mode: str) -> Callable[[Flight], None]:
    return lambda flight: flight.fc.set_mode(mode, "mission")


def _stall(seconds: float) -> Callable[[Flight], None]:
    def stall(flight: Flight) -> None:
        flight.stalled_until_s = flight.now_s + seconds

    return stall


def _set(**changes: object) -> Callable[[Flight], None]:
    """Set attributes of the flight controller."""

    def change(flight: Flight) -> None:
        for name, value in changes.items():
            setattr(flight.fc, name, value)

    return change


def _complies(frac: float) -> Callable[[FlightController], bool]:
    return lambda controller: float(controller.random.random()) < frac


def _reload(actions: str) -> Callable[[Flight], None]:
    def reload(flight: Flight) -> None:
        flight.configure(actions)
        flight.service.reload(flight.path, partial(read_config, flight.path))

    return reload


def _foreign(system: int, mode: str) -> Callable[[Flight], None]:
    """A heartbeat of the autopilot of another vehicle, armed."""

    def beat(flight: Flight) -> None:
        stack = flight.fc.stack
        number = 6 if stack != PX4 else 4 << 16 | 5 << 24
        number = number if mode == "return" else 4
        flight.fc.emit(mavlink.MAVLink_heartbeat_message(2, stack, 129, number, 4, 3), system)

    return beat


def _second_speaker(flight: Flight) -> None:
    """Another program sends a battery as our component."""
    flight.fc.emit(
        mavlink.MAVLink_battery_status_message(0, 1, 1, 2500, [2200] * 4 + [0xFFFF] * 6, 1500, 4800, -1, 3),
        1, 180,
    )  # fmt: skip


def _act_off(flight: Flight) -> None:
    """An unsigned PARAM_SET of a camera and of a ground station."""
    for system, component in ((1, 100), (255, 190)):
        for target in (180, 191):
            flight.fc.emit(
                mavlink.MAVLink_param_set_message(1, target, b"BMS_ACT", 0.0, 9), system, component
            )


def _id_255(flight: Flight) -> None:
    flight.fc.emit(
        mavlink.MAVLink_battery_status_message(
            255, 1, 1, 2500, [14800] + [0xFFFF] * 9, 1500, 100, -1, 80
        )
    )


def _each_s(
    start_s: float, end_s: float, event: Callable[[Flight], None]
) -> tuple[tuple[float, Callable[[Flight], None]], ...]:
    return tuple((start_s + k, event) for k in range(int(end_s - start_s)))


@dataclass
class _Trigger:
    """Events some time after a condition holds for the first time."""

    condition: Callable[[Flight], bool]
    events: tuple[tuple[float, Callable[[Flight], None]], ...]
    since_s: float | None = None
    done: int = 0

    def step(self, flight: Flight) -> None:
        """Call the events that are due."""
        if self.since_s is None and self.condition(flight):
            self.since_s = flight.now_s
        while self.since_s is not None and self.done < len(self.events):
            after_s, event = self.events[self.done]
            if flight.now_s < self.since_s + after_s:
                return
            self.done += 1
            event(flight)


def _when(
    condition: Callable[[Flight], bool], *events: tuple[float, Callable[[Flight], None]]
) -> Callable[[Flight], None]:
    def watch(flight: Flight) -> None:
        flight.trigger = _Trigger(condition, events)

    return watch


def _rejected_once(flight: Flight) -> None:
    """The first command is rejected, and the autopilot changes its mode by itself meanwhile."""
    flight.fc.complies = _complies(0.0)
    flight.trigger = _Trigger(
        lambda f: bool(f.fc.targets),
        ((0.5, _automatic("hold")), (1.5, _set(complies=_complies(1.0)))),
    )


def _acted(flight: Flight) -> bool:
    return any(change.by == "service" for change in flight.fc.changes)


def _reduced(flight: Flight) -> bool:
    return flight.fc.parameters != flight.original


def _with(**changes: object) -> Callable[[Flight], None]:
    """Set attributes of the flight controller, or `frame_*` of the airframe."""

    def prepare(flight: Flight) -> None:
        for name, value in changes.items():
            target = flight.frame if name.startswith("frame_") else flight.fc
            setattr(target, name.removeprefix("frame_"), value)

    return prepare


def _restart(gap_s: float) -> tuple[tuple[float, Callable[[Flight], None]], ...]:
    return ((FAULT_S, Flight.kill), (FAULT_S + gap_s, Flight.start))


# ---------------------------------------------------------------------- the table

_V, _A = ("voltage_v",), ("current_a", "average_a")
_CHARGE, _LAST = ("soc_pct", "remaining_mah"), ("cell4_v",)
_WIRES = (
    ("last cell stuck at 3.9 V", Change(_LAST, How.STUCK_AT, 3.9)),
    ("last cell -0.3 V", Change(_LAST, How.OFFSET, -0.3)),
    ("Voltage stuck", Change(_V, How.STUCK)),
    ("Voltage x 0.5", Change(_V, How.GAIN, 0.5)),
    ("Voltage x 1.07", Change(_V, How.GAIN, 1.07)),
    ("Current at 0 A", Change(_A, How.STUCK_AT, 0.0)),
    ("Current x -1", Change(_A, How.GAIN, -1.0)),
    ("Current x 0.1", Change(_A, How.GAIN, 0.1)),
    ("Current x 2.5 wraps", Change(_A, How.WRAP, 2.5)),
    ("charge +40 points", Change(_CHARGE, How.POINTS, 40.0)),
    ("charge at 0", Change(_CHARGE, How.STUCK_AT, 0.0)),
    ("charge stuck", Change(_CHARGE, How.STUCK)),
    ("FullChargeCapacity at 1 mAh", Change(("full_mah",), How.STUCK_AT, 1.0)),
    ("IPScale 0 to 1", Change(("specification_raw",), How.FLIP, float(1 << 12))),
    ("VScale 0 to 1", Change(("specification_raw",), How.FLIP, float(1 << 8))),
    ("CAPACITY_MODE set", Change(("mode_raw",), How.FLIP, float(1 << 15))),
)


def _contradictions() -> list[FlightFault]:
    rows = []
    for name, change in _WIRES:
        fault = ConstantFault("", name, "", (change,))
        rows.append(FlightFault(f"{name}, pack sound", "may", wire=fault, failsafes=True))
        rows.append(FlightFault(f"{name}, pack ends", "end", LOW, wire=fault))
    for charge_frac, same in itertools.product((0.05, 0.9), (False, True)):
        text = f"another pack at {charge_frac:.0%}, {'same' if same else 'own'} serial"
        fault = ConstantFault("device", text, "", (), Device.OTHER, charge_frac, same)
        rows.append(FlightFault(f"{text}, pack sound", "may", wire=fault, failsafes=True))
        rows.append(FlightFault(f"{text}, pack ends", "end", LOW, wire=fault))
    return rows


_STIFF = (("resistance_mohm_ah", 90.0), ("ambient_degc", 0.0), ("start_degc", 10.0))
FAULTS = (
    # The simulator's own.
    FlightFault("nack", "none", simulator=("nack=0.3@40",)),
    FlightFault("bad_pec", "none", simulator=("bad_pec=0.3@40",)),
    FlightFault("bit_flips", "none", simulator=("bit_flips=0.003@40",)),
    FlightFault("stretch", "none", simulator=("stretch=0.005@40",)),
    FlightFault("stuck 8 s", "none", simulator=("stuck@45-53",)),
    FlightFault("unplug 6 s", "none", simulator=("unplug@45-51",)),
    FlightFault("unplug 20 s", "lost", simulator=("unplug@45-65",), lost_s=45.0),
    FlightFault("unplug for good", "lost", simulator=("unplug@45",), lost_s=45.0),
    FlightFault("stuck for good", "lost", simulator=("stuck@45-400",), lost_s=45.0),
    FlightFault("frozen", "lost", simulator=("frozen@45",), lost_s=45.0 + 30.0),
    FlightFault("wrong_pack", "may", simulator=("wrong_pack@45",), failsafes=True),
    FlightFault("two_packs", "may", simulator=("two_packs@45-65",), failsafes=True),
    FlightFault("ffff_cells", "none", simulator=("ffff_cells=0.3@40",)),
    FlightFault("thermistor", "none", simulator=("thermistor@40",)),
    FlightFault("current_offset 2 A", "none", simulator=("current_offset=2@45",)),
    FlightFault("current_offset -2 A, pack ends", "end", LOW, ("current_offset=-2@45",)),
    FlightFault("gauge_reset", "none", simulator=("gauge_reset@50",), failsafes=True),
    FlightFault("gauge_reset, pack ends", "end", LOW, ("gauge_reset@50",)),
    FlightFault("weak_cell", "end", LOW, ("weak_cell=0.8",)),
    FlightFault("low_charge", "end", FULL, ("low_charge=0.2",)),
    FlightFault("lost_string", "end", LOW + 0.1, ("lost_string@50",), pack=(("parallel", 2), ("cell_mah", CELL_MAH / 2))),
    FlightFault("hot_cell", "limit", simulator=("hot_cell=0.6@45",)),
    FlightFault("high_current", "limit", 0.5, ("high_current=1.3@45-85",), gauge=(("ip_scale", 1),)),
    FlightFault("cold, pack ends", "end", LOW + 0.1, pack=(("ambient_degc", -8.0), ("start_degc", 5.0))),
    FlightFault("cold, pack sound", "none", pack=(("ambient_degc", -8.0), ("start_degc", 12.0))),
    FlightFault("weak cell by 40 %, pack ends", "end", LOW + 0.2, ("weak_cell=0.6",)),
    FlightFault("worn pack, pack ends", "end", LOW, pack=(("actual_capacity_frac", 0.75), ("resistance_mohm_ah", 65.0))),
    *_contradictions(),
    # First words.
    FlightFault("gauge reads full, pack ends", "end", LOW, gauge=(("start_error_frac", 0.6),)),
    FlightFault("gauge reads 40 points too much, pack ends", "end", LOW, gauge=(("start_error_frac", 0.4),)),
    FlightFault("gauge reads 40 points too little", "none", gauge=(("start_error_frac", -0.4),)),
    FlightFault("gauge full a third too large, pack ends", "end", LOW, gauge=(("full_error_frac", 0.3),)),
    # The vehicle that is followed, and the author of a command.
    FlightFault("foreign vehicle first", "end", LOW, events=_each_s(0.5, 300.5, _foreign(2, "guided")), mavlink="system_id = 1\n", prepare=_with(silent=True)),
    FlightFault("foreign vehicle that returns", "end", LOW, events=_each_s(40.5, 300.5, _foreign(3, "return"))),
    FlightFault("foreign vehicle and own heartbeat lost", "none", events=((60.0, _set(silent=True)), *_each_s(60.5, 100.5, _foreign(2, "guided")))),
    FlightFault("second speaker of our component", "none", events=_each_s(60.5, 90.5, _second_speaker)),
    FlightFault("BMS_ACT 0 in flight", "end", LOW, events=((40.0, _act_off),)),
    FlightFault("battery id 255 on the wire", "end", LOW, events=_each_s(5.5, 40.5, _id_255)),
    FlightFault("pilot takes over", "none", LOW, prepare=_when(_acted, (3.0, _pilot("pilot")))),
    FlightFault("pilot takes over within a heartbeat", "none", LOW, prepare=_when(_acted, (0.5, _pilot("mission")))),
    FlightFault("automatic change of mode at the onset", "end", LOW, prepare=_rejected_once),
    FlightFault("three of five commands are rejected", "end", LOW, prepare=_with(complies=_complies(0.4))),
    FlightFault("30 % of the frames are lost", "end", LOW, prepare=_with(loss_frac=0.3)),
    FlightFault("failsafe that returns slowly", "end", LOW + 0.05, failsafes=True, prepare=_with(frame_return_m_s=0.5, frame_way_m=250.0, frame_cruise_m_s=15.0)),
    FlightFault("failsafes of the vehicle", "end", LOW + 0.05, failsafes=True),
    # Absence.
    FlightFault("service stalls for 12 s", "none", events=((FAULT_S, _stall(12.0)),)),
    FlightFault("service stalls for 40 s", "none", events=((FAULT_S, _stall(40.0)),)),
    FlightFault("service stalls, pack ends", "end", LOW, events=((FAULT_S, _stall(20.0)),)),
    FlightFault("restart", "none", events=_restart(3.0), checkpoints=True),
    FlightFault("restart, pack ends", "end", LOW, events=_restart(3.0), checkpoints=True),
    FlightFault("restart after a minute, pack ends", "end", LOW + 0.1, events=_restart(70.0), checkpoints=True),
    FlightFault("reload", "none", events=((FAULT_S, _reload(_ACTIONS)),)),
    FlightFault("reload of other actions, pack ends", "end", LOW, events=((FAULT_S, _reload(_ACTIONS + _REDUCE)),)),
    FlightFault("reload of nonsense, pack ends", "end", LOW, events=((FAULT_S, _reload(_ACTIONS + '[[limit]]\nid = "cell_low"\nseverity = ["critical"]\n')),)),
    FlightFault("link cut for 8 s", "none", events=((FAULT_S, _set(cut=True)), (FAULT_S + 8.0, _set(cut=False)))),
    FlightFault("link cut through the onset", "end", LOW, events=((FAULT_S, _set(cut=True)), (FAULT_S + 60.0, _set(cut=False)))),
    FlightFault("autopilot restarts", "none", events=((FAULT_S, _set(silent=True)), (FAULT_S + 2.0, lambda f: f.fc.reboot()), (FAULT_S + 2.5, _set(silent=False)))),
    FlightFault("autopilot restarts, pack ends", "end", LOW, events=((FAULT_S, _set(silent=True)), (FAULT_S + 2.0, lambda f: f.fc.reboot()), (FAULT_S + 2.5, _set(silent=False)))),
    FlightFault("reduced limits", "none", 0.4, pack=_STIFF, actions=_REDUCE),
    FlightFault("kill with reduced limits", "none", 0.4, pack=_STIFF, actions=_REDUCE, checkpoints=True, prepare=_when(_reduced, (2.0, Flight.kill), (6.0, Flight.start))),
    FlightFault("reload without the action that reduced", "none", 0.4, pack=_STIFF, actions=_REDUCE, prepare=_when(_reduced, (4.0, _reload("")))),
    FlightFault("autopilot restarts with reduced limits", "none", 0.4, pack=_STIFF, actions=_REDUCE, prepare=_when(_reduced, (2.0, lambda f: f.fc.reboot()))),
)  # fmt: skip


# ---------------------------------------------------------------------- judging


@dataclass
class FlightOutcome:
    """Result of one flight; times in seconds of the flight."""

    fault: str
    stack: str
    seed: int
    due: str
    due_s: float | None = None
    seen: str = "-"
    seen_s: float | None = None
    by: str = "-"
    because: tuple[str, ...] = ()
    early_s: float | None = None
    verdict: str = "ok"
    notes: list[str] = field(default_factory=list)
    alarms: Counter[str] = field(default_factory=Counter)
    flown_s: float = 0.0

    def row(self) -> str:
        """A line of the table."""
        due = self.due if self.due_s is None else f"{self.due} {self.due_s:.0f} s"
        seen = self.seen if self.seen_s is None else f"{self.seen} {self.seen_s:.0f} s"
        early = "-" if self.early_s is None else f"{self.early_s:+.0f} s"
        return (
            f"| {self.fault} | {self.stack} | {self.seed} | {due} | {seen} | {self.by} | "
            f"{' '.join(self.because)} | {early} | {self.verdict} | {'; '.join(self.notes)} |"
        )


class Judge:
    """Follows one flight and compares it with the truth."""

    def __init__(self, flight: Flight, outcome: FlightOutcome) -> None:
        self._flight, self._outcome = flight, outcome
        rows = {row.limit_id: row for row in default_limits(flight.world.pack_data())}
        self._hot_degc, self._cut_v = rows["hot_critical"].trip, flight.world.pack_data().cutoff_v
        self._beyond_s: float | None = None
        self._early = True  # above the threshold of a failsafe that has acted, if one has
        self._changes = 0
        self._pilot_s: float | None = None
        self.ended_s: float | None = None

    def step(self, report: Report | None) -> None:
        """Look at one step."""
        flight, outcome = self._flight, self._outcome
        truth, now_s = flight.world.truth(), flight.now_s
        if report is not None:
            for event in report.status.events:
                if event.tripped and event.severity > Severity.INFO:
                    outcome.alarms[event.limit_id] += 1
        self._due(truth.temperature_degc, min(truth.cells_v), now_s)
        if flight.frame.armed and truth.ended_s is not None and self.ended_s is None:
            self.ended_s = truth.ended_s
        for change in flight.fc.changes[self._changes :]:
            self._change(change)
        self._changes = len(flight.fc.changes)

    def _due(self, degc: float, weakest_v: float, now_s: float) -> None:
        flight, outcome = self._flight, self._outcome
        if outcome.due_s is not None or not flight.frame.armed:
            return
        if outcome.due == "lost" and now_s >= (flight.fault.lost_s or 0.0) + LOSES_GAUGE_S:
            outcome.due_s = now_s
        elif outcome.due == "limit" and (degc >= self._hot_degc or weakest_v <= self._cut_v):
            self._beyond_s = now_s if self._beyond_s is None else self._beyond_s
            if now_s - self._beyond_s >= HELD_S:
                outcome.due_s = now_s
        else:
            self._beyond_s = None

    def _change(self, change: ModeChange) -> None:
        flight, outcome = self._flight, self._outcome
        if change.by == "pilot":
            self._pilot_s = change.t_s
        elif change.by == "service" and self._pilot_s is not None:
            self._fail("UNWANTED", f"pilot overruled at {change.t_s:.0f} s")
        acts = change.by in ("service", "failsafe") and change.mode in ("return", "land")
        if not acts:
            return
        left_s = flight.world.remaining_s()
        requests = () if flight.report is None else flight.report.requests
        because = tuple(
            dict.fromkeys(r.because for r in requests if r.action.do >= ActionKind.RETURN)
        )
        # A landing in place is due at the end of the pack, and where home is out of reach.
        least_s = max(NEAR_END_S, flight.frame.home_s())
        lands = change.mode == "land" and change.by == "service" and outcome.due in ("may", "end")
        if lands and left_s is not None and left_s > least_s:
            apart = all(name.startswith("home_") for name in because)
            text = f"land with {left_s:.0f} s left at {change.t_s:.0f} s"
            self._fail("home" if apart else "UNWANTED", text)
        if outcome.seen_s is not None:
            return
        outcome.seen, outcome.seen_s, outcome.by = change.mode, change.t_s, change.by
        outcome.because = because
        if outcome.due == "end" and left_s is not None:
            outcome.early_s = left_s - flight.frame.home_s()
        if change.by == "failsafe":
            fracs = (PX4_PCTS[1] / 100.0, ARDUPILOT_FRACS[0])  # PX4 warns at the first
            threshold = fracs[flight.fc.stack != PX4]
            self._early = flight.world.truth().soc_frac > threshold + CHARGE_POINTS / 100.0

    def finish(self) -> None:
        """Verdict of the whole flight."""
        flight, outcome = self._flight, self._outcome
        outcome.flown_s = flight.now_s
        names = outcome.because
        by_home = bool(names) and all(name.startswith("home_") for name in names)
        apart = "home" if by_home and outcome.by == "service" else "UNWANTED"
        if outcome.due == "end":
            self._finish_end(apart)
        elif outcome.due in ("lost", "limit"):
            self._finish_at(LOST_S if outcome.due == "lost" else LIMIT_S, apart)
        elif outcome.due == "may" and outcome.by == "failsafe":
            self._fail("UNWANTED", "failsafe of the vehicle")
        elif outcome.due == "none" and outcome.seen_s is not None and self._pilot_s is None:
            self._fail(apart, "nothing was due")
        self._finish_vehicle()

    def _finish_vehicle(self) -> None:
        """Commands to others, and what has to be restored."""
        flight = self._flight
        if any(target != 1 for target in flight.fc.targets):
            self._fail("UNWANTED", f"commands to systems {sorted(set(flight.fc.targets))}")
        if "reduced" in flight.fault.name and not flight.reduced:
            self._fail("MISSED", "limits were not reduced")
        changed = {k: v for k, v in flight.fc.parameters.items() if v != flight.original[k]}
        if changed:
            self._fail("NOT RESTORED", str(changed))

    def _finish_end(self, apart: str) -> None:
        outcome, landed_s = self._outcome, self._flight.frame.landed_s
        if self.ended_s is not None and (landed_s is None or landed_s > self.ended_s):
            self._fail("MISSED", f"empty in the air at {self.ended_s:.0f} s")
        elif (
            outcome.early_s is not None
            and outcome.early_s > EARLY_S
            and self._early
            and self._flight.fault.wire is None
        ):
            self._fail(apart, "early")

    def _finish_at(self, within_s: float, apart: str) -> None:
        outcome, due_s, seen_s = self._outcome, self._outcome.due_s, self._outcome.seen_s
        if seen_s is None:
            self._fail("MISSED", "no action" if due_s else "the limit was not reached")
        elif due_s is None:  # on the ground before the limit was reached
            if seen_s < FAULT_S:
                self._fail(apart, "nothing was due yet")
        else:
            outcome.early_s = due_s - seen_s
            if outcome.early_s > LIMIT_S and seen_s < FAULT_S:
                self._fail(apart, "nothing was due yet")
            elif -outcome.early_s > within_s:
                self._fail("MISSED", "late")

    def _fail(self, verdict: str, note: str) -> None:
        if self._outcome.verdict in ("ok", "home"):  # the first that counts
            self._outcome.verdict = verdict
        self._outcome.notes.append(note)


def fly(job: tuple[int, str, int]) -> FlightOutcome:
    """Fly one row of `FAULTS`, by its index, on a stack with a seed."""
    index, stack, seed = job
    fault = FAULTS[index]
    outcome = FlightOutcome(fault.name, stack, seed, fault.due)
    with tempfile.TemporaryDirectory() as folder:
        flight = Flight(fault, STACKS[stack], seed, Path(folder))
        judge, events = Judge(flight, outcome), sorted(fault.events, key=lambda event: event[0])
        for tick in range(int(LONGEST_S * TICKS_PER_S)):
            now_s = tick / TICKS_PER_S
            _operate(flight, now_s)
            while events and events[0][0] <= now_s:
                events.pop(0)[1](flight)
            judge.step(flight.step(now_s))
            over = flight.frame.landed_s is not None and now_s > flight.frame.landed_s + 5.0
            if over or (judge.ended_s is not None and now_s > judge.ended_s + 10.0):
                break
        if not flight.killed:
            flight.stack.close()
        judge.finish()
    return outcome


def _operate(flight: Flight, now_s: float) -> None:
    """Power on, arm, and the events that follow an action."""
    if now_s == ARM_S:
        flight.frame.armed = True
        if flight.fault.name.startswith("foreign vehicle first"):
            flight.fc.silent = False
    if flight.trigger is not None:
        flight.trigger.step(flight)


# ---------------------------------------------------------------------- clean hours


def fly_clean(job: tuple[str, int]) -> FlightOutcome:
    """Fly a clean flight of some ten minutes that lands with a third of the charge left."""
    stack, seed = job
    random = np.random.default_rng(seed)
    charge_frac, seconds = float(random.uniform(0.85, 1.0)), float(random.uniform(420.0, 560.0))
    fault = FlightFault(
        "no fault", "none", charge_frac,
        gauge=(("full_error_frac", float(random.uniform(-0.03, 0.03))), ("start_error_frac", float(random.uniform(-0.03, 0.03)))),
        pack=(("ambient_degc", float(random.uniform(-5.0, 35.0))), ("start_degc", float(random.uniform(12.0, 30.0)))),
    )  # fmt: skip
    outcome = FlightOutcome(fault.name, stack, seed, fault.due)
    with tempfile.TemporaryDirectory() as folder:
        flight = Flight(fault, STACKS[stack], seed, Path(folder))
        flight.frame.home_at_s = ARM_S + seconds
        flight.frame.gust_frac = float(random.uniform(0.03, 0.15))
        judge = Judge(flight, outcome)
        for tick in range(int((seconds + 150.0) * TICKS_PER_S)):
            now_s = tick / TICKS_PER_S
            _operate(flight, now_s)
            judge.step(flight.step(now_s))
            if flight.frame.landed_s is not None and now_s > flight.frame.landed_s + 5.0:
                break
        flight.stack.close()
        judge.finish()
    return outcome


def main() -> int:
    """Fly the campaign and print its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", default="", help="faults whose name contains this text")
    parser.add_argument("--stacks", nargs="+", default=list(STACKS))
    parser.add_argument("--clean", type=float, default=50.0, help="virtual hours without a fault")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    logging.disable()  # of every flight
    chosen = [k for k, row in enumerate(FAULTS) if options.only in row.name]
    jobs = list(itertools.product(chosen, options.stacks, range(1, options.seeds + 1)))
    outcomes, clean, clean_s = [], [], 0.0
    print("| fault | stack | seed | due | seen | by | because | early (+), late (-) | verdict | |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with ProcessPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(fly, jobs):
            outcomes.append(outcome)
            print(outcome.row(), flush=True)
        seeds = zip(
            itertools.cycle(options.stacks),
            range(1, int(options.clean * 3600.0 / 480.0) + 1),
            strict=False,
        )
        for outcome in pool.map(fly_clean, seeds):
            clean.append(outcome)
            clean_s += outcome.flown_s
    return _print_counts(outcomes, clean, clean_s)


def _print_counts(
    outcomes: Sequence[FlightOutcome], clean: Sequence[FlightOutcome], clean_s: float
) -> int:
    counts = Counter(outcome.verdict for outcome in outcomes)
    print()
    print(f"{len(outcomes)} faults flown: {dict(counts)}")
    alarms = sum((outcome.alarms for outcome in clean), Counter[str]())
    acted = [outcome for outcome in clean if outcome.seen_s is not None]
    home = [outcome for outcome in acted if outcome.verdict == "home"]
    print(
        f"clean: {len(clean)} flights, {clean_s / 3600.0:.1f} h; {len(acted)} with an action, {len(home)} of them for home_* alone; alarms above info: {dict(alarms)}"
    )
    for outcome in acted:
        print(f"  {outcome.row()}")
    print(
        f"FLIGHTS faults={len(outcomes)} missed={counts['MISSED']} unwanted={counts['UNWANTED']} home={counts['home']} "
        f"not_restored={counts['NOT RESTORED']} clean_hours={clean_s / 3600.0:.1f} clean_actions={len(acted) - len(home)} "
        f"clean_home={len(home)} clean_alarms={sum(alarms.values())}"
    )
    bad = counts["MISSED"] + counts["UNWANTED"] + counts["NOT RESTORED"] + len(acted) - len(home)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())

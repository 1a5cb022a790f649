# SPDX-License-Identifier: Apache-2.0
"""Way home and mission on simulated flights: `python -m benchmarks.mission [--flights N] [--seed S] [--jobs J]`.

With `--results FILE` each judged flight is added to a file, and those that are in it are not flown again: an
interrupted run goes on, and `--flights 0` prints the table of what there is.

Each flight has its own pack (chemistry, size, cells, gauge; a part of them cold, worn or with a weak
cell), vehicle, wind and plan, all of them by the seed, and flies through the virtual gauge, the driver
and the pipeline with the vehicle's plan visible. A half of them are missions, a half are flown by a
pilot, whose way the autopilot does not know; a third
    lands: flies to its planned end, which some packs do not reach;
    returns: is commanded to return at a random moment;
    stays: flies on until the pack ends.
What a return from a moment would have needed and left is found by flying it: the same flight again with a
return at that moment. These moments are eight at random, the return itself, the first NO that was held for
5 s, and the last YES. Charge is that of the emptiest cell. Columns:
    home s: median |error| of `home_s` at the random moments and at the return, per cent.
    NO: of flights with a held NO of `home_verdict`, those whose return from there leaves more than 15 % of the charge, and of
        the energy that a hover then has until the pack ends (in the cold a pack ends with charge left); then of all
        flights that land with more than 15 % of both those after a NO. The same of `mission_verdict` and planned missions.
    YES: of flights with a YES, those in which a return from a moment with YES ends in the air; of missions that end in the air
        those whose `mission_verdict` is YES in the second half.
    marginal: share of the time in the air, of both verdicts.
    end pct: at the middle of a mission that lands, median |error| of `mission_end_pct` in points and how often
        `mission_end_low_pct` holds.
    time left: of missions that stay, which repeat for ever, mean |error| of `remaining_s`, and without the plan.
    lead: median seconds from the first MARGINAL of `home_verdict` to its first NO.

With `--known` each pack and its vehicle have flown two other missions in the
same weather, repeated until the pack ended.

The row of sound packs has those that are neither cold nor worn nor have a weak cell.

`--time-left` judges the time left with a mission known by another set: missions of uneven phases (holds, lanes, ways
out and back, climbs) that end after the pack, so that the time left has a truth in each second. The same flight with the
plan and without it, by a pack that has not flown yet and by one on its third flight, the earlier two of which were
other missions. Columns: mean |error| of `remaining_s` with and without the plan, and their ratio. `--power-ahead` flies the
same missions in seconds: mean |error| of the forecast of the mean power until the same end, which is a part of that error.
"""

import argparse
import contextlib
import copy
import math
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from dronebms.core.clock import VirtualClock
from dronebms.core.report import Estimate, Verdict
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.ahead.mission_ahead import MissionAhead
from dronebms.estimation.learning.pack_memory import PackMemory, PackMemoryInRam
from dronebms.estimation.learning.usual_power import (
    FlightPower,
    newest_motion,
    usual_power,
    with_flight,
)
from dronebms.estimation.load_forecast import LoadForecast
from dronebms.estimation.model_parameters import FITTED
from dronebms.estimation.motion.motion_power import MotionPower
from dronebms.monitoring.pipeline import Pipeline
from sim.emulator.world import STEP_S, World, open_bus
from sim.plant.atmosphere import standard_air_kg_m3
from sim.plant.multirotor import Multirotor
from sim.plant.scenario import Scenario, VehicleSpec
from sim.plant.waypoints import WaypointFlight
from smartbattery.gauge import Gauge
from smartbattery.registers import ADDRESS

PERIOD_S = 1.0  # of the pipeline
CHEMISTRIES = ("lipo", "li-ion", "lihv", "lifepo4")
FAMILIES = ("lands", "returns", "stays")
NOMINAL_V = {"lipo": 3.7, "li-ion": 3.6, "lihv": 3.8, "lifepo4": 3.2}
HOVER_MIN = {"lipo": (18, 28), "li-ion": (28, 42), "lihv": (18, 28), "lifepo4": (18, 28)}
MOHM_AH = {"lipo": (35, 60), "li-ion": (65, 95), "lihv": (35, 60), "lifepo4": (25, 40)}
COLD_DEGC = -5.0
SHARES = 0.25, 0.2, 0.15, 0.25  # of cold, worn, weak and not quite full packs
FAILINGS, SOUND = frozenset({"cold", "worn", "weak cell"}), "none of cold, worn, weak cell"
WINDS = ((4.0, "wind < 4 m/s"), (7.0, "wind 4-7 m/s"), (math.inf, "wind > 7 m/s"))
HEAVY_KG, HALF = 8.0, 0.5
LEFT_PCT = 15.0  # more than that at the landing: a NO was wrong
HELD_S = 5.0
MOMENTS = 8  # at random
SETTLE_S = 60.0  # after take-off, before the time left is judged
LEAST_S = 30.0
_MOST_PHASES = 40
LOAD_FRAC = 0.05  # of the power of a hover: less is no load


@dataclass(frozen=True)
class Case:
    """One flight of the benchmark."""

    scenario: Scenario
    seed: int  # of cells, gusts and noise
    family: str
    mission: bool
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A second in the air: the estimate, and the true charge."""

    t_s: float
    estimate: Estimate
    returning: bool


@dataclass(frozen=True)
class Outcome:
    """End of a flight: landed, or the pack is empty."""

    end_s: float
    left_pct: float | None  # charge; None: empty in the air
    usable_pct: float | None = None  # of the energy until the end of the pack, in a hover


EMPTY = Outcome(math.inf, None)  # it never landed


@dataclass(frozen=True)
class Check:
    """A moment, and the return that was flown from there."""

    estimate: Estimate
    home_s: float | None  # None: it ended in the air
    left_pct: float | None
    usable_pct: float | None


@dataclass(frozen=True)
class Flown:
    """Judged flight; an empty or `None` value: it does not apply."""

    case: Case
    landed_pct: float | None
    usable_pct: float | None
    moments: tuple[Check, ...]  # at random, and at the return
    no: Check | None  # the first that was held
    yes: tuple[Check, ...]  # moments with YES, the last one included
    home_counts: dict[Verdict, int]
    mission_counts: dict[Verdict, int]
    mission_no: bool
    late_mission_yes: bool
    end_error_pct: float | None
    end_held: bool | None
    left_error: float | None  # of the time left, mean relative
    left_error_hidden: float | None  # the same without a plan
    lead_s: float | None


@dataclass(frozen=True)
class TimeLeft:
    """Mean relative errors of the time left on a mission that ends after the pack."""

    groups: tuple[str, ...]
    first: float | None  # by a pack that has not flown yet
    first_hidden: float | None  # the same without the plan
    third: float | None  # on its third flight
    third_hidden: float | None


# ---------------------------------------------------------------------- flights by seed


def case_of(number: int, seed: int) -> Case:
    """Return the flight of a number."""
    family, is_mission = FAMILIES[number % 3], number // 3 % 2 == 0
    rng, tables, groups = _tables(number, seed, is_mission=is_mission)
    flight = tables["flight"]
    items = _items(rng, tables["speeds"]["cruise_m_s"], 60.0 * HOVER_MIN[groups[0]][0])
    tables["waypoint"] = _repeated(items, -1)
    scenario = Scenario.model_validate(tables)
    if family != "stays":
        whole_s = outcome_of(scenario, number).end_s  # that this pack lasts on this way
        if family == "returns":
            flight["return_at_s"] = whole_s * rng.uniform(0.15, 0.8)
        else:
            tables["waypoint"] = _lasting(tables, items, whole_s * rng.uniform(0.35, 1.05))
    named = (family, "mission" if is_mission else "free flight", *groups)
    return Case(Scenario.model_validate(tables), number, family, is_mission, named)


def earlier_cases(number: int, seed: int) -> tuple[Case, Case]:
    """Return two other missions that the pack and the vehicle of a flight flew before it."""
    _, tables, groups = _tables(number, seed, is_mission=True)
    return _earlier(np.random.default_rng([seed, number, 2]), number, tables, groups)


def _earlier(
    rng: np.random.Generator, number: int, tables: dict[str, Any], groups: tuple[str, ...]
) -> tuple[Case, Case]:
    """Two missions that are repeated until the pack ends."""

    def case() -> Case:
        items = _items(rng, tables["speeds"]["cruise_m_s"], 60.0 * HOVER_MIN[groups[0]][0])
        scenario = Scenario.model_validate(tables | {"waypoint": _repeated(items, -1)})
        return Case(scenario, number, "stays", mission=True, groups=groups)

    return case(), case()


def uneven_cases(number: int, seed: int) -> tuple[Case, Case, Case]:
    """Return a mission of uneven phases that ends after the pack, and two earlier flights of it."""
    rng, tables, groups = _tables(number, seed, is_mission=True)
    hover_s = 60.0 * HOVER_MIN[groups[0]][0]
    phases: list[list[dict[str, Any]]] = [[{"do": "takeoff", "height_m": rng.uniform(20.0, 60.0)}]]

    def scenario() -> Scenario:
        items = [item for phase in phases for item in phase]
        return Scenario.model_validate(tables | {"waypoint": (*items, {"do": "return"})})

    ends_s = math.inf
    while len(phases) < _MOST_PHASES:
        phases.append(_phase(rng, hover_s * rng.uniform(0.12, 0.35)))
        lasts_s = WaypointFlight(scenario(), np.random.default_rng(0), STEP_S).duration_s
        if lasts_s > 1.2 * hover_s and math.isinf(ends_s):
            ended = outcome_of(scenario(), number)
            ends_s = ended.end_s * rng.uniform(1.1, 1.5) if ended.left_pct is None else math.inf
        if lasts_s > ends_s:
            break
    flown = Case(scenario(), number, "uneven", mission=True, groups=groups)
    return flown, *_earlier(rng, number, tables, groups)


def _phase(rng: np.random.Generator, span_s: float) -> list[dict[str, Any]]:
    """A hold, lanes, a way out and back, or climbs, of about a time."""
    bearing, height_m = rng.uniform(0.0, math.tau), rng.uniform(20.0, 90.0)
    speed_m_s = rng.choice([rng.uniform(3.0, 6.0), rng.uniform(9.0, 13.0)])
    speed: dict[str, Any] = {"do": "speed", "speed_m_s": speed_m_s}

    def place(away_m: float, up_m: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - of TOML
        north_m, east_m = away_m * math.cos(bearing), away_m * math.sin(bearing)
        return {"north_m": north_m, "east_m": east_m, "height_m": up_m} | more

    kind = rng.choice(["hold", "lanes", "away", "climbs"])
    if kind == "hold":
        return [place(rng.uniform(20.0, 150.0), height_m, hold_s=span_s)]
    if kind == "away":
        return [speed, place(speed_m_s * span_s / 2.0, height_m), place(0.0, height_m)]
    count = max(round(span_s / 60.0), 1)
    if kind == "climbs":
        up_m = 60.0 + height_m
        return [place(30.0, up_m if k % 2 else height_m) for k in range(count)]
    return [speed, *(place(50.0 + speed_m_s * 60.0 * (k % 2), height_m) for k in range(count))]


def _tables(
    number: int, seed: int, *, is_mission: bool
) -> tuple[np.random.Generator, dict[str, Any], tuple[str, ...]]:
    """Random numbers to go on with, the tables of a scenario without waypoints, groups."""
    rng = np.random.default_rng([seed, number])
    chemistry = CHEMISTRIES[number // 6 % 4]
    cold, worn, weak, part_full = (bool(rng.random() < share) for share in SHARES)
    vehicle = _vehicle(rng)
    wind_m_s = rng.uniform(0.0, 10.0)
    tables: dict[str, Any] = {
        "name": f"flight {number}",
        **_pack(rng, vehicle, chemistry, cold=cold, worn=worn),
        "vehicle": vehicle.model_dump(),
        "air": {
            "wind_m_s": wind_m_s,
            "wind_from_deg": rng.uniform(0.0, 360.0),
            "gust_m_s": rng.uniform(0.0, 1.5),
        },
        "speeds": {"cruise_m_s": rng.uniform(5.0, 12.0)},
        "return": {
            "cruise_m_s": rng.uniform(6.0, 12.0), "height_m": rng.uniform(15.0, 60.0),
            "descent_m_s": rng.uniform(1.2, 2.5), "landing_m_s": rng.uniform(0.4, 0.8),
            "wait_s": rng.choice([0.0, 5.0, 15.0]),
        },
        "flight": {"by_pilot": not is_mission},
        "fault": [{"name": "weak_cell", "size": rng.uniform(0.65, 0.92)}] if weak else [],
    }  # fmt: skip
    tables["pack"]["start_charge_frac"] = 0.85 if part_full else 1.0
    groups = (
        chemistry,
        next(name for below_m_s, name in WINDS if wind_m_s < below_m_s),
        *(name for name, held in (("cold", cold), ("worn", worn), ("weak cell", weak)) if held),
    )
    return rng, tables, groups


def _vehicle(rng: np.random.Generator) -> VehicleSpec:
    """A hexacopter like that of the shipped scenarios, of another size."""
    mass_kg = math.exp(rng.uniform(math.log(1.8), math.log(14.0)))
    size = mass_kg / 5.75
    return VehicleSpec(
        mass_kg=mass_kg,
        rotors=6,
        rotor_diameter_m=0.381 * math.sqrt(size),
        drag_area_m2=0.08 * size ** (2.0 / 3.0),
        avionics_w=14.0,
        max_airspeed_m_s=rng.uniform(14.0, 18.0),
    )


def _hover_w(vehicle: VehicleSpec) -> float:
    density_kg_m3 = standard_air_kg_m3(488.0, 488.0, 20.0)
    return Multirotor(vehicle).power_w(vehicle.mass_kg, density_kg_m3, 0.0, 0.0)


def _pack(
    rng: np.random.Generator, vehicle: VehicleSpec, chemistry: str, *, cold: bool, worn: bool
) -> dict[str, Any]:
    """Pack and gauge: a pack that is as large as some minutes of hover need."""
    hover_w = _hover_w(vehicle)
    cells = 12 if vehicle.mass_kg > HEAVY_KG else int(rng.choice([4, 6]))
    hover_s = 60.0 * rng.uniform(*HOVER_MIN[chemistry])
    left = rng.uniform(0.7, 0.85) if worn else rng.uniform(0.93, 1.0)
    degc = COLD_DEGC if cold else rng.uniform(5.0, 30.0)
    not_learned = (1.0 / left - 1.0) * rng.random() * worn  # of what it has lost
    return {
        "pack": {
            "chemistry": chemistry, "cells": cells, "parallel": 2,
            "cell_mah": hover_w * hover_s / 3.6 / (NOMINAL_V[chemistry] * cells) / 2.0,
            "actual_capacity_frac": left, "resistance_spread_frac": 0.1 if worn else 0.07,
            "resistance_mohm_ah": rng.uniform(*MOHM_AH[chemistry]) * (1.4 if worn else 1.0),
            "start_degc": degc + (rng.uniform(0.0, 15.0) if cold else 0.0), "ambient_degc": degc,
        },
        "gauge": {
            "ip_scale": 1, "full_error_frac": rng.normal(0.0, 0.03) + not_learned,
            "current_gain_error_frac": rng.normal(0.0, 0.005),
        },
    }  # fmt: skip


def _items(rng: np.random.Generator, cruise_m_s: float, shortest_s: float) -> list[dict[str, Any]]:
    """Take-off, and the items that are repeated: lanes of a map, or places with pauses."""
    far_m, bearing = rng.uniform(50.0, 0.15 * shortest_s * cruise_m_s), rng.uniform(0.0, math.tau)
    north_m, east_m = far_m * math.cos(bearing), far_m * math.sin(bearing)
    height_m, has_lanes = rng.uniform(20.0, 90.0), rng.random() < HALF
    items: list[dict[str, Any]] = [{"do": "takeoff", "height_m": height_m}]
    if rng.random() < HALF:
        items.append({"do": "speed", "speed_m_s": rng.uniform(4.0, 10.0)})
    lane_m, apart_m = rng.uniform(100.0, 500.0), rng.uniform(30.0, 80.0)
    for lane in range(int(rng.integers(2, 6))):
        if has_lanes:
            to_m, ends = north_m + apart_m * lane, (lane % 2, 1 - lane % 2)
            items += (
                {"north_m": to_m, "east_m": east_m + lane_m * end, "height_m": height_m}
                for end in ends
            )
        else:
            off_m, turn = rng.uniform(0.0, 0.6 * far_m), rng.uniform(0.0, math.tau)
            place = {
                "north_m": north_m + off_m * math.cos(turn),
                "east_m": east_m + off_m * math.sin(turn),
            }
            up_m, hold_s = rng.uniform(0.0, 30.0), rng.choice([0.0, 10.0, 60.0])
            items.append(place | {"height_m": height_m + up_m, "hold_s": hold_s})
    if rng.random() < HALF:
        items.append({"do": "loiter", "turns": 2.0, "radius_m": rng.uniform(20.0, 60.0)})
    return items


def _repeated(items: Sequence[dict[str, Any]], times: int) -> tuple[dict[str, Any], ...]:
    """Items that are repeated from the third on, then the return."""
    return (*items, {"do": "jump", "to": 3, "times": times}, {"do": "return"})


def _lasting(
    tables: dict[str, Any], items: Sequence[dict[str, Any]], target_s: float
) -> tuple[dict[str, Any], ...]:
    """Items that are repeated until the flight lasts about as long as it shall."""

    def lasts_s(times: int) -> float:
        scenario = Scenario.model_validate(tables | {"waypoint": _repeated(items, times)})
        return WaypointFlight(scenario, np.random.default_rng(0), STEP_S).duration_s

    once_s = lasts_s(0)
    times = round((target_s - once_s) / (lasts_s(1) - once_s))
    return _repeated(items, min(max(times, 0), 1000))


# ---------------------------------------------------------------------- one flight


def seconds_of(
    world: World, *, visible: bool = True, packs: PackMemory | None = None
) -> Iterator[Row]:
    """Fly a world; the estimate of each second in the air. What the flight teaches is stored."""
    clock = VirtualClock()
    pack_data = world.pack_data()
    gauge = Gauge(open_bus(world, clock), ADDRESS, cells=pack_data.cells)
    pipeline = Pipeline(gauge, pack_data, packs=packs)
    tick, was_armed = 0, False
    while world.truth().ended_s is None and tick * PERIOD_S <= world.duration_s:
        t_s = tick * PERIOD_S
        clock.sleep_until(t_s)
        world.advance(t_s)
        state = world.vehicle(t_s)
        if was_armed and not state.armed:
            break
        was_armed = bool(state.armed)
        if not visible:
            state = replace(state, plan=None, mission_item=None)
        report = pipeline.step(t_s, state)
        if was_armed:
            is_returning = state.mode == "RTL" or bool(state.landing)
            yield Row(t_s, report.estimate, is_returning)
        tick += 1
    pipeline.store_learned()


def outcome_of(scenario: Scenario, seed: int) -> Outcome:
    """Fly a scenario without the pipeline."""
    return _outcomes(scenario, seed, ())[0]


def returning(case: Case, *at_s: float) -> tuple[Outcome, ...]:
    """Fly a case, and the return from each of some moments; after its own return it is that."""
    whole, returns = _outcomes(case.scenario, case.seed, sorted(set(at_s)))
    return tuple([returns.get(moment_s, whole) for moment_s in at_s])


def _outcomes(
    scenario: Scenario, seed: int, returns_s: Sequence[float]
) -> tuple[Outcome, dict[float, Outcome]]:
    """The flight as it is, and of copies of the world that are commanded to return on the way."""
    world, used_j = World(scenario, seed), [0.0]
    returns: dict[float, Outcome] = {}
    for at_s in returns_s:
        outcome = _flown_on(world, used_j, at_s)
        if outcome is not None:
            return outcome, returns
        copied = copy.deepcopy(world)
        copied.command_return(at_s)
        returns[at_s] = _flown_on(copied, used_j[:], math.inf) or EMPTY
    return _flown_on(world, used_j, math.inf) or EMPTY, returns


def _flown_on(world: World, used_j: list[float], until_s: float) -> Outcome | None:
    """Fly a world on until a time; how it ended, `None` if it has not. Adds to the used energy."""
    was_armed = bool(world.vehicle(world.t_s).armed)
    while world.t_s < until_s:
        t_s = world.t_s + 1.0
        world.advance(t_s)
        truth = world.truth()
        used_j[0] += truth.power_w
        if truth.ended_s is not None or t_s > world.duration_s:
            return Outcome(t_s, None)
        is_armed = bool(world.vehicle(t_s).armed)
        if was_armed and not is_armed:
            spec = world.scenario.vehicle
            hover_w = _hover_w(spec) if spec else 0.0
            left_j = hover_w * (world.remaining_s(hover_w) or 0.0)
            return Outcome(t_s, 100.0 * truth.soc_frac, 100.0 * left_j / (used_j[0] + left_j))
        was_armed = is_armed
    return None


def fly(number: int, seed: int, *, known: bool = False) -> Flown:
    """Fly and judge one flight, also after two other missions of its pack and vehicle."""
    case = case_of(number, seed)
    memory = PackMemoryInRam()
    for one in earlier_cases(number, seed) if known else ():
        for _ in seconds_of(World(one.scenario, one.seed), packs=memory):
            pass
    rows = list(seconds_of(World(case.scenario, case.seed), packs=copy.deepcopy(memory)))
    free = [row for row in rows if not row.returning]
    rng = np.random.default_rng([seed, number, 1])
    chosen = [
        free[k] for k in sorted(rng.choice(len(free), min(MOMENTS, len(free)), replace=False))
    ]
    chosen += free[-1:] if case.family == "returns" else []
    last_yes = [row for row in free if row.estimate.home_verdict is Verdict.YES][-1:]
    held = _held(rows, lambda estimate: estimate.home_verdict)
    judged = [*chosen, *last_yes, *(() if held is None else (held,))]
    *returns, outcome = returning(case, *[row.t_s for row in judged], math.inf)
    checks = [_check(row, each) for row, each in zip(judged, returns, strict=True)]
    moments = tuple(checks[: len(chosen)])
    no = None if held is None else checks[-1]
    could_go = checks[: len(chosen) + len(last_yes)]
    yes = [check for check in could_go if check.estimate.home_verdict is Verdict.YES]
    middle = rows[len(rows) // 2].estimate
    end_pct, low_pct = middle.mission_end_pct, middle.mission_end_low_pct
    lands = case.family == "lands" and case.mission and outcome.left_pct is not None
    truth_pct = outcome.left_pct or 0.0
    marginal = [r.t_s for r in rows if r.estimate.home_verdict is Verdict.MARGINAL]
    hidden = None
    if case.mission and case.family == "stays":
        again = seconds_of(World(case.scenario, case.seed), visible=False, packs=memory)
        hidden = _left_error(list(again), outcome.end_s)
    is_lost = case.family == "lands" and outcome.left_pct is None
    second_half = rows[len(rows) // 2 :]
    return Flown(
        case=case,
        landed_pct=outcome.left_pct,
        usable_pct=outcome.usable_pct,
        moments=moments,
        no=no,
        yes=tuple(yes),
        home_counts=_counts(row.estimate.home_verdict for row in rows),
        mission_counts=_counts(row.estimate.mission_verdict for row in rows),
        mission_no=_held(rows, lambda estimate: estimate.mission_verdict) is not None,
        late_mission_yes=is_lost
        and any(row.estimate.mission_verdict is Verdict.YES for row in second_half),
        end_error_pct=abs(end_pct - truth_pct) if lands and end_pct is not None else None,
        end_held=low_pct <= truth_pct if lands and low_pct is not None else None,
        left_error=_left_error(rows, outcome.end_s) if case.family == "stays" else None,
        left_error_hidden=hidden,
        lead_s=held.t_s - marginal[0] if held is not None and marginal else None,
    )


def time_left(number: int, seed: int) -> TimeLeft:
    """Fly and judge an uneven mission four times."""
    case, *earlier = uneven_cases(number, seed)
    memory = PackMemoryInRam()
    end_s = outcome_of(case.scenario, case.seed).end_s
    errors = []
    for flown_before in ((), earlier):
        for one in flown_before:
            for _ in seconds_of(World(one.scenario, one.seed), packs=memory):
                pass
        for is_visible in (True, False):
            world = World(case.scenario, case.seed)
            rows = seconds_of(world, visible=is_visible, packs=copy.deepcopy(memory))
            errors.append(_left_error(list(rows), end_s))
    return TimeLeft(case.groups, *errors)


def power_ahead(number: int, seed: int) -> TimeLeft:
    """Judge the forecast of the power alone, on the first and the third flight of a vehicle."""
    case, *earlier = uneven_cases(number, seed)
    flights: tuple[FlightPower, ...] = ()
    errors: list[float | None] = []
    for flown_before in ((), earlier):
        for one in flown_before:
            load, motion = _forecasts(one, flights)
            for t_s, power_w, vehicle in _powers(one):
                _take_in(load, motion, t_s, power_w, vehicle)
            if load.flown is not None:
                more = FlightPower(str(len(flights)), *load.flown, motion.learned())
                flights = with_flight(flights, more)
        errors += _power_errors(case, flights)
    return TimeLeft(case.groups, *errors)


def _powers(case: Case) -> Iterator[tuple[float, float, VehicleState]]:
    """Each second until the end of the pack: its end, mean power, vehicle."""
    flight = WaypointFlight(case.scenario, np.random.default_rng(case.seed), STEP_S)
    steps = round(1.0 / STEP_S)
    for second in range(int(outcome_of(case.scenario, case.seed).end_s)):
        powers_w = [flight.power_w(second + step * STEP_S) for step in range(steps)]
        yield second + 1.0, fmean(powers_w), flight.vehicle(second + 1.0)


def _forecasts(case: Case, flights: tuple[FlightPower, ...]) -> tuple[LoadForecast, MotionPower]:
    hover_w = _hover_w(case.scenario.vehicle) if case.scenario.vehicle else 0.0
    load = LoadForecast(hover_w * LOAD_FRAC, usual_power(flights, FITTED))
    return load, MotionPower(newest_motion(flights))


def _take_in(
    load: LoadForecast, motion: MotionPower, t_s: float, power_w: float, vehicle: VehicleState
) -> None:
    load.add(1.0, power_w)
    if load.present:
        motion.update(t_s, 1.0, power_w, vehicle)


def _power_errors(case: Case, flights: tuple[FlightPower, ...]) -> tuple[float, float]:
    """Mean relative errors with the plan and without it."""
    seconds = list(_powers(case))
    load, motion = _forecasts(case, flights)
    mission, errors, end_s = MissionAhead(), [], seconds[-1][0]
    ahead_w = np.cumsum([power_w for _, power_w, _ in reversed(seconds)])[::-1]
    armed_s = next(t_s for t_s, _, vehicle in seconds if vehicle.armed)
    for index, (t_s, power_w, vehicle) in enumerate(seconds):
        _take_in(load, motion, t_s, power_w, vehicle)
        answer = mission.update(t_s, vehicle, motion, power_w if load.present else None)
        if t_s < armed_s + SETTLE_S or end_s - t_s < LEAST_S or answer.forecast is None:
            continue
        left_s = end_s - t_s
        true_w = float(ahead_w[index + 1]) / left_s
        found_w = answer.forecast.power_w(left_s), load.mean_power(left_s)[0]
        errors.append([abs(w / true_w - 1.0) for w in found_w])
    planned, hidden = np.mean(errors, axis=0)
    return float(planned), float(hidden)


def _check(row: Row, outcome: Outcome) -> Check:
    home_s = None if outcome.left_pct is None else outcome.end_s - row.t_s
    return Check(row.estimate, home_s, outcome.left_pct, outcome.usable_pct)


def _held(rows: Sequence[Row], verdict_of: Callable[[Estimate], Verdict]) -> Row | None:
    """The row in which the first NO has been held long enough."""
    since_s = None
    for row in rows:
        if verdict_of(row.estimate) is not Verdict.NO:
            since_s = None
        elif since_s is None:
            since_s = row.t_s
        elif row.t_s - since_s >= HELD_S:
            return row
    return None


def _counts(verdicts: Iterable[Verdict]) -> dict[Verdict, int]:
    counts = dict.fromkeys(Verdict, 0)
    for verdict in verdicts:
        counts[verdict] += 1
    return counts


def _left_error(rows: Sequence[Row], end_s: float) -> float | None:
    """Mean relative error of the time left; an unknown time counts as zero."""
    judged = [r for r in rows if r.t_s >= rows[0].t_s + SETTLE_S and end_s - r.t_s >= LEAST_S]
    errors = [abs((r.estimate.remaining_s or 0.0) / (end_s - r.t_s) - 1.0) for r in judged]
    return fmean(errors) if errors else None


# ---------------------------------------------------------------------- the table

COLUMNS = (
    "flights", "home s %", "at the return %", "NO, > 15 % left", "NO, > 15 % usable", "lands after NO", "mission NO, lands",
    "YES, fails", "mission YES, fails", "marginal %", "mission marginal %", "unknown %",
    "end pct", "bound holds %", "time left", "without plan", "ratio", "lead s",
)  # fmt: skip


def table(flights: Sequence[Flown]) -> str:
    """Return the rows of all flights and of each group."""
    groups = sorted({group for each in flights for group in each.case.groups})
    lines = [f"| | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name in ("all", SOUND, *groups):
        flown = [each for each in flights if name in ("all", *each.case.groups)]
        if name == SOUND:
            flown = [each for each in flights if FAILINGS.isdisjoint(each.case.groups)]
        lines.append(f"| {name} | {' | '.join(cells_of(flown))} |")
    return "\n".join(lines)


def cells_of(flown: Sequence[Flown]) -> list[str]:
    """Return the cells of a group, in the order of `COLUMNS`."""
    no = [each for each in flown if each.no is not None]
    landed = [f for f in flown if min(f.landed_pct or 0.0, f.usable_pct or 0.0) > LEFT_PCT]
    planned = [each for each in landed if each.case.mission and each.case.family == "lands"]
    lost = [
        f for f in flown if f.case.mission and f.case.family == "lands" and f.landed_pct is None
    ]
    yes = [each for each in flown if each.yes]
    both = [each for each in flown if each.left_error_hidden is not None]
    known = [each.left_error for each in both if each.left_error is not None]
    hidden = [each.left_error_hidden for each in both if each.left_error_hidden is not None]
    return [
        str(len(flown)),
        _median([100.0 * e for each in flown for e in _home_errors(each.moments)]),
        _median([100.0 * e for f in flown if f.case.family == "returns" for e in _home_errors(f.moments[-1:])]),
        _of(sum((each.no.left_pct or 0.0) > LEFT_PCT for each in no if each.no), len(no)),
        _of(sum((each.no.usable_pct or 0.0) > LEFT_PCT for each in no if each.no), len(no)),
        _of(sum(each.no is not None for each in landed), len(landed)),
        _of(sum(each.mission_no for each in planned), len(planned)),
        _of(sum(any(check.left_pct is None for check in each.yes) for each in yes), len(yes)),
        _of(sum(each.late_mission_yes for each in lost), len(lost)),
        _share([each.home_counts for each in flown], Verdict.MARGINAL),
        _share([each.mission_counts for each in flown if each.case.mission], Verdict.MARGINAL),
        _share([each.home_counts for each in flown], Verdict.UNKNOWN),
        _median([each.end_error_pct for each in flown if each.end_error_pct is not None]),
        _mean([100.0 * each.end_held for each in flown if each.end_held is not None]),
        _mean([100.0 * error for error in known]),
        _mean([100.0 * error for error in hidden]),
        f"{fmean(known) / fmean(hidden):.2f}" if known and hidden else "-",
        _median([each.lead_s for each in flown if each.lead_s is not None]),
    ]  # fmt: skip


def _home_errors(checks: Iterable[Check]) -> list[float]:
    return [
        abs(check.estimate.home_s / check.home_s - 1.0)
        for check in checks
        if check.home_s is not None and check.estimate.home_s is not None
    ]


def _median(values: Sequence[float]) -> str:
    return f"{median(values):.1f}" if values else "-"


def _mean(values: Sequence[float]) -> str:
    return f"{fmean(values):.0f}" if values else "-"


def _of(count: int, total: int) -> str:
    return f"{count} of {total}" if total else "-"


def _share(counts: Sequence[dict[Verdict, int]], verdict: Verdict) -> str:
    total = sum(sum(each.values()) for each in counts)
    return f"{100.0 * sum(each[verdict] for each in counts) / total:.1f}" if total else "-"


LEFT_COLUMNS = (
    "flights", "first flight %", "without plan %", "ratio",
    "third flight %", "without plan %", "ratio",
)  # fmt: skip


def left_table(flights: Sequence[TimeLeft]) -> str:
    """Return the rows of all uneven missions and of each group."""
    groups = sorted({group for each in flights for group in each.groups})
    lines = [f"| | {' | '.join(LEFT_COLUMNS)} |", "|---" * (len(LEFT_COLUMNS) + 1) + "|"]
    for name in ("all", *groups):
        flown = [each for each in flights if name in ("all", *each.groups)]
        cells = [str(len(flown))]
        for pairs in (
            [(each.first, each.first_hidden) for each in flown],
            [(each.third, each.third_hidden) for each in flown],
        ):
            both = [(one, two) for one, two in pairs if one is not None and two is not None]
            known, hidden = ([100.0 * pair[k] for pair in both] for k in (0, 1))
            ratio = f"{fmean(known) / fmean(hidden):.2f}" if both else "-"
            cells += (_mean(known), _mean(hidden), ratio)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def judged(
    judge: Callable[[int], Any], options: argparse.Namespace, kept: Path | None
) -> Iterator[Any]:
    """Yield the judged flights, those of an earlier run first; each new one is kept at once."""
    done: dict[int, Any] = {}
    if kept is not None and kept.exists():
        with kept.open("r+b") as file:
            whole = 0
            # The last one may have been cut off.
            with contextlib.suppress(EOFError, pickle.UnpicklingError):
                while True:
                    number, flown = pickle.load(file)  # noqa: S301 - of this program
                    done[number], whole = flown, file.seek(0, os.SEEK_CUR)
            file.truncate(whole)
    yield from done.values()
    wanted = range(0, options.flights, options.step)
    numbers = [number for number in wanted if number not in done]
    with ProcessPoolExecutor(options.jobs) as pool:
        for number, flown in zip(numbers, pool.map(judge, numbers), strict=True):
            if kept is not None:
                with kept.open("ab") as file:
                    pickle.dump((number, flown), file)
            yield flown


def main() -> None:
    """Fly and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--flights", type=int, default=216)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--step", type=int, default=1, help="every n-th; 6: missions that land")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--each", action="store_true", help="print a line of each flight")
    parser.add_argument("--time-left", action="store_true", help="judge the time left alone")
    parser.add_argument("--power-ahead", action="store_true", help="judge the power ahead alone")
    parser.add_argument("--known", action="store_true", help="packs on their third flight")
    parser.add_argument("--results", type=Path, help="file of judged flights of this seed")
    options = parser.parse_args()
    if options.power_ahead:
        judge: Callable[[int], Any] = partial(power_ahead, seed=options.seed)
    else:
        judge = partial(fly, seed=options.seed, known=options.known)
        if options.time_left:
            judge = partial(time_left, seed=options.seed)
    is_left = options.time_left or options.power_ahead
    flown = []
    for each in judged(judge, options, options.results):
        flown.append(each)
        if options.each:
            print(each if is_left else line_of(each), flush=True)
    print(left_table(flown) if is_left else table(flown))


def _left(end: Check | Flown) -> str:
    charge_pct = end.landed_pct if isinstance(end, Flown) else end.left_pct
    if charge_pct is None or end.usable_pct is None:
        return "empty"
    return f"{charge_pct:.0f} % ({end.usable_pct:.0f} % usable)"


def line_of(each: Flown) -> str:
    """Return what is known of one flight."""
    landed = _left(each)
    homes = ", ".join(
        f"{check.estimate.home_s or math.nan:.0f}/{check.home_s or math.nan:.0f} s {check.estimate.home_verdict}"
        f" {_left(check)}"
        for check in each.moments
    )
    no = "" if each.no is None else f"; NO at {each.no.estimate.t_s:.0f} s, {_left(each.no)}"
    return f"{each.case.scenario.name} ({', '.join(each.case.groups)}): {landed}; {homes}{no}"


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Judges the time to empty of packs that fail: `python benchmarks/hard_packs.py FIRST LAST [SCENARIO ...]`.

Flies the scenarios (default: a weak cell, a lost string, a worn pack, and `worn_learned`: a worn pack of 45 to 85 %
of its capacity, drawn by the seed, whose gauge reports it) with the seeds FIRST to LAST - 1, each until
the pack is empty: its way home is as long as that. The estimator has learned nothing and reads the gauge once a
second, without bus and service. The truth is the time until the end of discharge of docs/predictions.md. From a third
of the flight on: error of the median relative to the truth while that is at least 30 s, and share of the seconds
in which the 90 % interval holds; over the last third by how much the charge is too high. Means over the flights, with
the 90 % interval of a bootstrap over them.

    --varied   each seed has its own cells, load and failure: what the constants were chosen on
    --flights  also print every flight
    --jobs N   processes (default 1)
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.scoring import LEAST_S
from dronebms.core.pack_data import PackData
from dronebms.estimation.estimator import Estimator
from research.make_virtual import NOMINAL_V, curve
from sim.emulator.world import World
from sim.plant.faults import FaultSpec
from sim.plant.multirotor import Multirotor
from sim.plant.scenario import Scenario, load_scenario
from smartbattery.snapshot import Identity, Snapshot

SCENARIOS = "weak_cell", "lost_string", "worn_pack"
WORN_LEARNED, LEARNED_LEFT = "worn_learned", (0.45, 0.85)
LAST_S, FIRST_FRAC, DRAWS = 7200.0, 1 / 3, 2000
# Of varied flights: capacity of the weak or worn cells, what its resistance grows by over the loss.
LEFT, GROWN = (0.4, 0.9), (0.3, 1.0)
LOADS_C = {"lipo": (1.2, 2.6), "li-ion": (0.7, 1.4), "lifepo4": (0.9, 1.8)}
SETTLE_S = 15.0  # after a failure in flight


@dataclass(frozen=True)
class Flight:
    """A flight to the end of discharge: what a gauge reported each second."""

    pack_data: PackData
    looks: tuple[Snapshot, ...]
    charge_pct: tuple[float, ...]  # true charge of the emptiest cell at each
    from_s: float  # judged from here on
    end_s: float


@dataclass(frozen=True)
class Result:
    """Of one flight; shares of one."""

    error: float
    holds: float
    low: float  # share of the seconds in which the truth is below the interval
    charge_high: float  # mean of the charge above the true one in the last third


def until_empty(scenario: Scenario) -> Scenario:
    """The scenario, whose way home lasts until the pack is empty."""
    phases = [phase for phase in scenario.phases if phase.armed and phase.climb_m_s >= 0.0]
    idle = scenario.phases[0]
    phases[-1] = phases[-1].model_copy(update={"duration_s": LAST_S})
    return scenario.model_copy(update={"phases": (idle, *phases)})


def varied(name: str, seed: int) -> World:
    """A world like a scenario's, with other cells, another load and another failure."""
    rng = np.random.default_rng([seed, SCENARIOS.index(name), 16])
    scenario = until_empty(load_scenario(name))
    chemistry = str(rng.choice(["lipo", "lipo", "li-ion", "lifepo4"]))
    left, cells = rng.uniform(*LEFT), int(rng.choice([4, 6, 12]))
    parallel, cycles = int(rng.choice([2, 3])), 0.0
    pack = scenario.pack.model_copy(
        update={
            "chemistry": chemistry, "cells": cells, "parallel": parallel,
            "cell_mah": 1000.0 * rng.uniform(4, 22) / parallel, "cutoff_cell_v": None,
            "actual_capacity_frac": rng.uniform(0.88, 1.0), "resistance_mohm_ah": None,
            "capacity_spread_frac": 0.01, "resistance_spread_frac": rng.uniform(0.03, 0.12),
            "ocv_bend_v": 0.0, "ocv_tilt_v": 0.0, "start_degc": rng.uniform(5, 35),
            "ambient_degc": rng.uniform(0, 35), "start_charge_frac": rng.choice([1.0, 1.0, 0.9, 0.75]),
        }
    )  # fmt: skip
    if name == "worn_pack":
        left = rng.uniform(0.6, 0.9)
        cycles = rng.uniform(0, 300)
        pack = pack.model_copy(update={"actual_capacity_frac": left})
    full_error = rng.normal(0, 0.04) + (1 / left - 1) * rng.uniform(0, 1) * (name == "worn_pack")
    gauge = scenario.gauge.model_copy(
        update={
            "full_error_frac": full_error,
            "cycles": int(cycles),
            "start_error_frac": rng.normal(0, 0.015),
        }
    )
    watts = (
        rng.uniform(*LOADS_C[chemistry])
        * pack.rated_mah
        / 1e3
        * NOMINAL_V.get(chemistry, 3.7)
        * cells
    )
    # The vehicle of the scenario is as heavy as that load.
    vehicle = scenario.vehicle
    if vehicle is None:
        raise ValueError(f"{name} has no vehicle")
    hover_w = Multirotor(vehicle).power_w(vehicle.mass_kg, 1.2, 0.0, 0.0)
    size = watts / hover_w
    vehicle = vehicle.model_copy(
        update={
            "mass_kg": vehicle.mass_kg * size, "payload_kg": 0.0,
            "rotor_diameter_m": vehicle.rotor_diameter_m * size**0.5,
            "drag_area_m2": vehicle.drag_area_m2 * size,
        }
    )  # fmt: skip
    faults: tuple[FaultSpec, ...] = ()
    if name == "lost_string":
        faults = (FaultSpec(name="lost_string", start_s=rng.uniform(60, 300)),)
    scenario = scenario.model_copy(
        update={"pack": pack, "gauge": gauge, "vehicle": vehicle, "faults": faults}
    )
    world = World(scenario, seed)
    curve_v = curve(chemistry, rng)
    cells_ = world._pack.cells  # noqa: SLF001 - no product needs a curve of its own
    cells_._build.curve_v[...] = curve_v  # noqa: SLF001 - as above
    cells_._slope_v = np.append(np.diff(curve_v), 0.0)  # noqa: SLF001 - as above
    factor = np.exp(rng.normal(-0.3, 0.35))
    cells_.weaken(slice(None), 1.0, factor)
    grown = 1.0 + rng.uniform(*GROWN) * (1 / left - 1)
    if name == "weak_cell":
        cells_.weaken(int(rng.integers(cells)), left, grown)
    elif name == "worn_pack":
        cells_.weaken(slice(None), 1.0, grown)
    return world


def flown(world: World) -> Flight:
    """Fly a world until its pack is empty."""
    failed_s = max((fault.start_s for fault in world.faults), default=0.0)
    takeoff_s = world.scenario.phases[0].duration_s
    identity = Identity(serial=1, design_mah=world.scenario.pack.rated_mah)
    looks: list[Snapshot] = []
    charge_pct: list[float] = []
    t_s = 0.0
    while world.truth().ended_s is None:
        t_s += 1.0
        world.advance(t_s)
        values = world.gauge.values
        cells = range(1, world.scenario.pack.cells + 1)
        charge_pct.append(100.0 * world.truth().soc_frac)
        looks.append(
            Snapshot(
                t_s,
                voltage_v=round(values["voltage_v"], 3),
                current_a=values["current_a"],
                temperature_degc=round(values["temperature_degc"], 1),
                cells_v=tuple(round(values[f"cell{k}_v"], 3) for k in cells),
                soc_pct=round(values["soc_pct"]),
                remaining_mah=round(values["remaining_mah"]),
                full_mah=round(values["full_mah"]),
                cycles=values["cycles"],
                read_at_s={"voltage_v": t_s, "remaining_mah": t_s},
                identity=identity,
            )
        )
    from_s = max(takeoff_s + FIRST_FRAC * (t_s - takeoff_s), failed_s + SETTLE_S)
    return Flight(world.pack_data(), tuple(looks), tuple(charge_pct), from_s, t_s)


def judged(flight: Flight) -> Result:
    """Judge the estimator on a flight."""
    estimator, rows, high_pct = Estimator(flight.pack_data), [], []
    for look, charge_pct in zip(flight.looks, flight.charge_pct, strict=True):
        left = estimator.update(look)
        answer = left.remaining_low_s or 0.0, left.remaining_s or 0.0, left.remaining_high_s or 0.0
        if look.t_s >= flight.from_s:
            rows.append((flight.end_s - look.t_s, *answer))
        if left.soc_pct is not None and look.t_s > 2 / 3 * flight.end_s:
            high_pct.append(left.soc_pct - charge_pct)
    true_s, low_s, median_s, high_s = np.array(rows).T
    error = abs(median_s - true_s) / np.maximum(true_s, 1.0)
    holds = (low_s <= true_s) & (true_s <= high_s)
    return Result(
        float(error[true_s >= LEAST_S].mean()),
        float(holds.mean()),
        float((true_s < low_s).mean()),
        float(np.mean(high_pct)) / 100.0,
    )


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its 90 % bootstrap interval, in per cent."""
    drawn = np.random.default_rng(1).choice(values, (DRAWS, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, (0.05, 0.95))
    return 100 * float(np.mean(values)), 100 * float(low), 100 * float(high)


def worn_learned(seed: int) -> World:
    """A worn pack whose gauge has learned what is left of it."""
    scenario = until_empty(load_scenario("worn_pack"))
    left = np.random.default_rng([seed, 17]).uniform(*LEARNED_LEFT)
    pack = scenario.pack.model_copy(update={"actual_capacity_frac": left})
    gauge = scenario.gauge.model_copy(update={"full_error_frac": 0.0})
    return World(scenario.model_copy(update={"pack": pack, "gauge": gauge}), seed)


def world_of(name: str, seed: int, *, vary: bool) -> World:
    """The world of one flight."""
    if name == WORN_LEARNED:
        return worn_learned(seed)
    return varied(name, seed) if vary else World(until_empty(load_scenario(name)), seed)


def result_of(name: str, seed: int, *, vary: bool) -> Result:
    """Fly and judge one seed."""
    return judged(flown(world_of(name, seed, vary=vary)))


def line(name: str, results: Sequence[Result]) -> str:
    """Return the row of a scenario."""
    cells = [name, str(len(results))]
    for field in ("error", "holds", "low", "charge_high"):
        mean, low, high = interval([getattr(each, field) for each in results])
        cells.append(f"{mean:.0f} ({low:.0f} to {high:.0f})")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("scenarios", nargs="*", default=(*SCENARIOS, WORN_LEARNED))
    parser.add_argument("--varied", action="store_true")
    parser.add_argument("--flights", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    seeds = range(options.first, options.last)
    print(
        "| per cent | flights | error of the median | 90 % interval holds | true time below it "
        "| charge too high by |"
    )
    print("|---|---|---|---|---|---|")
    with ProcessPoolExecutor(options.jobs) as pool:
        for name in options.scenarios:
            results = list(pool.map(partial(result_of, name, vary=options.varied), seeds))
            print(line(name, results), flush=True)
            for seed, each in zip(seeds, results, strict=True):
                if options.flights:
                    print(
                        f"    {name} {seed}: error {100 * each.error:.0f}, holds {100 * each.holds:.0f}"
                    )


if __name__ == "__main__":
    main()

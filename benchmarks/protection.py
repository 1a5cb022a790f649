# SPDX-License-Identifier: Apache-2.0
"""Counts false and missed alarms of protection on simulated flights through the bytes.

`python benchmarks/protection.py [--runs N] [--first SEED] [--jobs J] [--only clean]` flies N clean flights over
chemistries, temperatures and gusts, then N with a fault, and prints the counts, the delays and every flight
with a false or missed alarm.

An alarm above info is early (false) when the truth was not within 0.1 V, 5 K or 180 s of the limit (or of the
end of the pack). Truth is the quantity of the limit's row in the simulated pack, not as a gauge measures it; for
charge the margin is the charge of those 180 s at the present load. A fault is missed when no limit that belongs
to it has tripped within its time.
"""

import argparse
import itertools
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from dronebms.core.clock import VirtualClock
from dronebms.core.report import Report, Severity
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.pipeline import Pipeline
from dronebms.protection.limits import default_limits
from sim.emulator.bus import VirtualBus
from sim.emulator.world import STEP_S, RandomStream, World, random_generator
from sim.plant.faults import Fault, parse_fault
from sim.plant.flight_profile import FlightProfile
from sim.plant.phases import PhaseFlight
from sim.plant.scenario import Phase, Scenario
from smartbattery.gauge import Gauge
from smartbattery.registers import ADDRESS

NEAR_V, NEAR_K, NEAR_S = 0.1, 5.0, 180.0
CHEMISTRIES = ("lipo", "lihv", "li-ion", "lifepo4")
AIRS_DEGC = (-5.0, 5.0, 20.0, 35.0)
GUSTS = (0.03, 0.08, 0.15)
HOVER_C = {"lipo": 2.6, "lihv": 2.6, "li-ion": 1.6, "lifepo4": 1.8}
MOHM_AH = {"lipo": 40.0, "lihv": 42.0, "li-ion": 80.0, "lifepo4": 60.0}
NOMINAL_V = {"lipo": 3.7, "lihv": 3.75, "li-ion": 3.55, "lifepo4": 3.2}
CELLS, CELL_MAH, PARALLEL = 6, 5000.0, 2
TICKS_PER_S = 4  # measurements of the virtual gauge per second
HOURS_S, AROUND_S = 7200.0, 68.0  # longer than any pack lasts; take-off, landing and turns


@dataclass(frozen=True)
class Case:
    """A fault, and the limits that have to detect it."""

    fault: str
    expected: tuple[str, ...]
    within_s: float

    @property
    def slow(self) -> bool:
        """Whether the times count back from the end of the pack, not from the start of the fault."""
        return self.within_s < 0.0


# Faults of the simulator. Times count from the start of the fault; a negative time counts back from
# the end of the pack: the alarm has to trip that long before it.
CASES = (
    Case("unplug@200", ("silent", "lost"), 3.0 + 2.0 + 1.0),
    Case("stuck@200", ("silent", "lost"), 3.0 + 2.0 + 1.0),
    Case("frozen@200", ("silent", "lost"), 30.0 + 3.0 + 1.0),
    Case("hot_cell@200", ("warming", "hot", "hot_critical"), 75.0),
    Case("low_charge", ("charge_low", "cell_low", "time_low", "cell_sag", "home_turn"), -50.0),
    Case(
        "weak_cell",
        ("charge_low", "cell_low", "time_low", "cell_sag", "home_turn", "spread_load"),
        -50.0,
    ),
    Case("current@200", ("current_10s", "current_60s", "heat", "cell_sag", "cell_critical"), 20.0),
)


@dataclass
class Outcome:
    """Result of one flight."""

    name: str
    alarms: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    delay_s: float | None = None
    noticed_by: str | None = None


def scenario(seed: int, case: Case | None) -> Scenario:
    """Draw a flight of one chemistry, air temperature and gustiness; the seed sets its size.

    A clean flight lands with 20 to 40 % of the flight time of this pack left. A flight with a
    fault is short when the fault shows at once, and continues to the end of the pack otherwise.
    """
    random = np.random.default_rng(seed)
    scale = float(random.uniform(0.85, 1.1))
    if case is not None:
        return plan_of(seed, scale, HOURS_S if case.slow else 300.0)
    world = World(plan_of(seed, scale, HOURS_S), seed)
    while world.truth().ended_s is None:
        world.advance(world.t_s + 10.0)
    return plan_of(seed, scale, float(random.uniform(0.6, 0.8)) * world.t_s - AROUND_S)


def plan_of(seed: int, scale: float, cruise_s: float) -> Scenario:
    """Return the flight of a seed: out for half of its cruise, and back; a long flight hovers."""
    every = tuple(itertools.product(CHEMISTRIES, AIRS_DEGC, GUSTS))
    chemistry, air_degc, gust_frac = every[seed % len(every)]
    amps = HOVER_C[chemistry] * PARALLEL * CELL_MAH / 1000.0 * scale
    hover_w = amps * CELLS * NOMINAL_V[chemistry]
    out_m_s = 0.0 if cruise_s == HOURS_S else 5.0  # the end of the pack ends such a flight
    cruise = Phase(
        name="cruise",
        duration_s=cruise_s / 2.0,
        power_w=hover_w,
        gust_frac=gust_frac,
        outward_m_s=out_m_s,
    )
    phases = (
        Phase(name="idle", duration_s=20.0, power_w=12.0, armed=False),
        Phase(name="take-off", duration_s=8.0, power_w=1.35 * hover_w, gust_frac=0.04, climb_m_s=2.5),
        cruise,
        cruise.model_copy(update={"name": "return", "outward_m_s": -out_m_s, "mode": "RTL"}),
        Phase(name="land", duration_s=20.0, power_w=0.9 * hover_w, gust_frac=0.05, climb_m_s=-1.0, mode="LAND"),
        Phase(name="idle", duration_s=20.0, power_w=12.0, armed=False),
    )  # fmt: skip
    return Scenario.model_validate(
        {
            "name": f"{chemistry} {air_degc:g} degC gusts {gust_frac:g}",
            "pack": {
                "chemistry": chemistry, "cells": CELLS, "parallel": PARALLEL, "cell_mah": CELL_MAH,
                "resistance_mohm_ah": MOHM_AH[chemistry], "ambient_degc": air_degc,
                "start_degc": max(air_degc, 12.0),  # taken out of a box or a car
            },
            "gauge": {"ip_scale": 1, "full_error_frac": random_error(seed)},
            "phase": [phase.model_dump() for phase in phases],
        }
    )  # fmt: skip


def random_error(seed: int) -> float:
    """Draw the error of the full charge capacity of the gauge."""
    return float(np.random.default_rng((seed, 1)).uniform(-0.03, 0.03))


@dataclass
class Overload:
    """A flight that draws 1.15 times the 10 s current limit for half a minute."""

    plan: FlightProfile
    start_s: float
    most_w: float

    @property
    def duration_s(self) -> float:
        """Duration of the flight."""
        return self.plan.duration_s

    def power_w(self, t_s: float) -> float:
        """Return the power drawn now."""
        power_w = self.plan.power_w(t_s)
        return 1.15 * self.most_w if self.start_s <= t_s < self.start_s + 30.0 else power_w

    def mean_power_w(self, t_s: float) -> float | None:
        """Return the mean power if the flight continues like this."""
        return self.plan.mean_power_w(t_s)

    def vehicle(self, t_s: float) -> VehicleState:
        """Return the state that the autopilot reports."""
        return self.plan.vehicle(t_s)


@dataclass
class Flown:
    """One step of a flight: the report, and the truth of the simulated pack."""

    report: Report
    world: World


def fly(plan: Scenario, seed: int, fault: str | None) -> Iterator[Flown]:
    """Fly through the bytes and yield every step."""
    faults: tuple[Fault, ...] = ()
    flight: FlightProfile | None = None
    if fault is not None and fault.startswith("current"):
        pack, gusts = plan.pack, random_generator(seed, RandomStream.GUSTS)
        most_w = pack.row.burst_c * pack.rated_mah / 1000.0 * CELLS * NOMINAL_V[pack.chemistry]
        flight = Overload(PhaseFlight(plan, gusts, STEP_S), float(fault.partition("@")[2]), most_w)
    elif fault is not None:
        faults = (parse_fault(fault),)
    world = World(plan, seed, faults, flight)
    clock = VirtualClock()
    bus = VirtualBus(
        clock, [world], {ADDRESS: world.device}, faults, random_generator(seed, RandomStream.WIRE)
    )
    pipeline = Pipeline(Gauge(bus, cells=CELLS), world.pack_data())
    for tick in range(int(world.duration_s * TICKS_PER_S)):
        t_s = tick / TICKS_PER_S
        clock.sleep_until(t_s)
        yield Flown(pipeline.step(t_s, world.vehicle(t_s)), world)


def truly(flown: Flown, what: str) -> float | None:
    """Return the true quantity of a row; `None` where the truth is only the silence of the gauge."""
    truth, world = flown.world.truth(), flown.world
    cells = world._pack.cells  # noqa: SLF001 - the truth is asked where it is
    found: dict[str, float] = {
        "lowest_cell_v": min(truth.cells_v),
        "highest_cell_v": max(truth.cells_v),
        "voltage_v": truth.voltage_v,
        "resting_cell_v": float(np.min(cells.open_circuit_v())),
        "temperature_degc": truth.temperature_degc,
        "spread_load_v": max(truth.cells_v) - min(truth.cells_v),
        "spread_rest_v": max(truth.cells_v) - min(truth.cells_v),
        "soc_pct": 100.0 * truth.soc_frac,
    }
    return found.get(what)


def is_early(flown: Flown, limit_id: str) -> bool:
    """Whether an alarm tripped before the truth was near its limit or the end of the pack."""
    row = next(row for row in default_limits(flown.report.pack_data) if row.limit_id == limit_id)
    left_s = flown.world.remaining_s()
    if left_s is not None and left_s <= NEAR_S:
        return False
    if row.quantity.startswith("remaining"):
        return left_s is not None and left_s > row.trip + NEAR_S
    home_s = flown.report.estimate.home_s
    if row.quantity in ("home_reserve_s", "home_margin_s", "home_best_s") and home_s is not None:
        return left_s is not None and left_s - home_s > row.trip + NEAR_S
    value = truly(flown, row.quantity)
    if value is None:
        return True
    near = {"v": NEAR_V, "degc": NEAR_K}.get(row.quantity.rsplit("_", 1)[1], 0.0)
    if row.quantity == "soc_pct":
        amp_s = max(flown.world.truth().current_a, 0.0) * NEAR_S
        near = 100.0 * amp_s / 3.6 / (flown.report.pack_data.capacity_mah or 1.0)
    return value < row.trip - near if row.rising else value > row.trip + near


def run(job: tuple[int, Case | None]) -> Outcome:
    """Fly one flight and return its result."""
    seed, case = job
    plan = scenario(seed, case)
    outcome = Outcome(f"seed {seed}: {plan.name}" + ("" if case is None else f", {case.fault}"))
    start_s = 0.0 if case is None or "@" not in case.fault else float(case.fault.partition("@")[2])
    for flown in fly(plan, seed, None if case is None else case.fault):
        for event in flown.report.status.events:
            if not event.tripped or event.severity <= Severity.INFO:
                continue
            outcome.alarms.append(event.limit_id)
            judged = case is None or case.slow or event.t_s < start_s
            if judged and is_early(flown, event.limit_id):
                left_s = flown.world.remaining_s()
                outcome.early.append(
                    f"{event.limit_id} at {event.t_s:.0f} s ({event.text}; truly {left_s} s left)"
                )
            if (
                case is not None
                and event.limit_id in case.expected
                and event.t_s >= start_s
                and outcome.delay_s is None
            ):
                outcome.delay_s, outcome.noticed_by = event.t_s - start_s, event.limit_id
        ended_s = flown.world.truth().ended_s
        if case is not None and case.slow and ended_s is not None:
            outcome.delay_s = None if outcome.delay_s is None else outcome.delay_s - ended_s
            break
        if case is not None and outcome.delay_s is not None and not case.slow:
            break
    return outcome


def clean(outcomes: Sequence[Outcome]) -> None:
    """Print the counts of the clean flights."""
    early = [outcome for outcome in outcomes if outcome.early]
    alarms = [alarm for outcome in outcomes for alarm in outcome.alarms]
    print(f"clean flights: {len(outcomes)}; with an early alarm above info: {len(early)}; "
          f"alarms in all: {len(alarms)}")  # fmt: skip
    for alarm in sorted(set(alarms)):
        print(f"  {alarm:18s} {alarms.count(alarm):4d}")
    for outcome in early:
        print(f"  EARLY {outcome.name}: {'; '.join(outcome.early)}")


def faulty(outcomes: Sequence[tuple[Case, Outcome]]) -> None:
    """Print the table of the faulty flights."""
    print("| fault | flights | missed | detected after, median | latest | within | by |")
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        mine = [outcome for row, outcome in outcomes if row is case]
        late = [o for o in mine if o.delay_s is None or o.delay_s > case.within_s]
        delays_s = [o.delay_s for o in mine if o.delay_s is not None]
        by = sorted({o.noticed_by for o in mine if o.noticed_by})
        middle, latest = (statistics.median(delays_s), max(delays_s)) if delays_s else (0.0, 0.0)
        due = f"{case.within_s:.0f} s"
        print(
            f"| {case.fault} | {len(mine)} | {len(late)} | {middle:.1f} s | {latest:.1f} s | {due} | {', '.join(by)} |"
        )
        for outcome in late:
            print(f"  MISSED {outcome.name}: {outcome.delay_s}, {outcome.alarms}")
    early = [outcome for _, outcome in outcomes if outcome.early]
    for outcome in early:
        print(f"  EARLY {outcome.name}: {'; '.join(outcome.early)}")


def main() -> None:
    """Fly both campaigns and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--runs", type=int, default=112, help="clean flights, and faulty ones")
    parser.add_argument("--first", type=int, default=1000, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", choices=("clean", "faulty"))
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.runs)
    cases = [CASES[k % len(CASES)] for k in range(options.runs)]
    with ProcessPoolExecutor(options.jobs) as pool:
        print(f"step {STEP_S} s, seeds {seeds[0]} to {seeds[-1]}, twice")
        if options.only != "faulty":
            clean(list(pool.map(run, ((seed, None) for seed in seeds))))
        if options.only != "clean":
            outcomes = pool.map(run, zip((seed + 10_000 for seed in seeds), cases, strict=True))
            faulty(list(zip(cases, outcomes, strict=True)))


if __name__ == "__main__":
    main()

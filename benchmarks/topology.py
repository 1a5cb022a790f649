# SPDX-License-Identifier: Apache-2.0
"""Compares two topologies when a node, a bus, a pack or the aggregator fails.

`python benchmarks/topology.py [--flight NAME]` flies the scenario as two packs in parallel, each
with half the parallel cells and half the load. Distributed: a gauge for each pack. Centralized: one gauge
for the whole. Prints the status of the supply before and after the failure at 120 s, and the time until
it was detected.
"""

import argparse
from dataclasses import dataclass, replace

from dronebms.core.clock import VirtualClock
from dronebms.core.report import Severity, SupplyStatus
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.multi_pack import Supply
from dronebms.monitoring.pipeline import Pipeline
from sim.emulator.bus import VirtualBus
from sim.emulator.world import STEP_S, RandomStream, World, random_generator
from sim.plant.faults import Fault, parse_fault
from sim.plant.flight_profile import FlightProfile
from sim.plant.phases import PhaseFlight
from sim.plant.scenario import Scenario, load_scenario
from smartbattery.gauge import Gauge
from smartbattery.registers import ADDRESS

FAIL_S, END_S = 120.0, 160.0
FAILURES = ("node", "pack", "bus", "aggregator")


@dataclass
class Share:
    """Half the load of a flight; the whole load after the other pack has failed."""

    plan: FlightProfile
    share: float
    other_gone_s: float | None = None

    @property
    def duration_s(self) -> float:
        """Duration of the flight."""
        return self.plan.duration_s

    def power_w(self, t_s: float) -> float:
        """Return the power of this pack."""
        alone = self.other_gone_s is not None and t_s >= self.other_gone_s
        return self.plan.power_w(t_s) * (1.0 if alone else self.share)

    def mean_power_w(self, t_s: float) -> float | None:
        """Return the mean power of this pack."""
        mean_power_w = self.plan.mean_power_w(t_s)
        return None if mean_power_w is None else mean_power_w * self.share

    def vehicle(self, t_s: float) -> VehicleState:
        """Return the state that the autopilot reports."""
        return self.plan.vehicle(t_s)


def half(scenario: Scenario) -> Scenario:
    """Return the scenario with half the parallel cells."""
    pack = scenario.pack.model_copy(update={"parallel": scenario.pack.parallel // 2})
    return scenario.model_copy(update={"pack": pack})


def fly(
    scenario: Scenario, gauges: int, failure: str
) -> tuple[SupplyStatus, SupplyStatus | None, float | None]:
    """Return the status before and after the failure, and the time until it was detected."""
    built = scenario if gauges == 1 else half(scenario)
    pipelines, worlds, clock = [], [], VirtualClock()
    for index in range(gauges):
        silent = failure == "bus" or (
            index == 0 and (failure == "node" or (failure == "pack" and gauges > 1))
        )
        faults: tuple[Fault, ...] = (parse_fault(f"unplug@{FAIL_S:g}"),) if silent else ()
        gone_s = FAIL_S if failure == "pack" and index == 1 else None
        plan = PhaseFlight(built, random_generator(1, RandomStream.GUSTS), STEP_S)
        world = World(built, 1 + index, (), Share(plan, 1.0 / gauges, gone_s))
        # A plug that stays off: the fault's default duration is shorter.
        faults = tuple(replace(fault, duration_s=None) for fault in faults)
        bus = VirtualBus(
            clock, [world], {ADDRESS: world.device}, faults, random_generator(1, RandomStream.WIRE)
        )
        pipelines.append(
            Pipeline(Gauge(bus, cells=built.pack.cells), world.pack_data(), index=index)
        )
        worlds.append(world)
    supply = Supply(pipelines)
    before = after = None
    noticed_s: float | None = None
    for tick in range(int(END_S / STEP_S)):
        t_s = tick * STEP_S
        clock.sleep_until(t_s)
        if failure == "pack" and gauges == 1 and tick == round(FAIL_S / STEP_S):
            worlds[0]._pack.lose_string(None, 2)  # noqa: SLF001 - one of two strings opens behind the one gauge
        state = worlds[0].vehicle(t_s)
        reports = supply.step(t_s, state)
        whole = reports[0].supply or supply.combined(reports)
        if t_s < FAIL_S:
            before = whole
        elif failure == "aggregator":
            break  # no reader is left to report
        else:
            after = whole
            if noticed_s is None and whole.severity > Severity.INFO:
                noticed_s = t_s - FAIL_S
    assert before is not None  # noqa: S101 - the flight is longer than that
    return before, after, noticed_s


def status_text(whole: SupplyStatus | None) -> str:
    """Return the status of the supply in a few words."""
    if whole is None:
        return "no report"
    known = [f"{whole.severity.label}"]
    known += (
        [f"without battery {', '.join(str(k + 1) for k in whole.missing)}"] if whole.missing else []
    )
    for value, form in ((whole.max_discharge_a, "{:.0f} A"), (whole.remaining_s, "{:.0f} s left")):
        known.append("?" if value is None else form.format(value))
    return ", ".join(known)


def main() -> None:
    """Fly every failure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--flight", default="survey")
    scenario = load_scenario(parser.parse_args().flight)
    print(f"{scenario.name}: {scenario.about}")
    print("| gauges | fails | before | after | detected after |")
    print("|---|---|---|---|---|")
    for name, gauges in (("a gauge each", 2), ("one gauge", 1)):
        for failure in FAILURES:
            before, after, noticed_s = fly(scenario, gauges, failure)
            when = (
                "the receiver's own time-out"
                if after is None
                else "not at all"
                if noticed_s is None
                else f"{noticed_s:.1f} s"
            )
            print(f"| {name} | {failure} | {status_text(before)} | {status_text(after)} | {when} |")


if __name__ == "__main__":
    main()

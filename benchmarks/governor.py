# SPDX-License-Identifier: Apache-2.0
"""Judges the current governor: a gusty climb on a cold, weak pack with and without it.

`python benchmarks/governor.py [--seeds N] [--plot FILE.png]` prints, for each seed, how long the
weakest cell was below its limit, its lowest voltage and the altitude that was reached; the plot
(extra `report`) shows the first seed. Closed loop: the current limit reaches the vehicle a second late,
as over a link. Power above that of hover climbs, power below it descends, in proportion.
"""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dronebms.core.clock import VirtualClock
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.pipeline import Pipeline
from sim.emulator.bus import VirtualBus
from sim.emulator.world import STEP_S, RandomStream, World, random_generator
from sim.plant.flight_profile import FlightProfile
from sim.plant.phases import PhaseFlight
from sim.plant.scenario import Phase, Scenario
from smartbattery.gauge import Gauge
from smartbattery.registers import ADDRESS

HOVER_W, CLIMB_W, CLIMB_M_S = 760.0, 1250.0, 3.0
CUTOFF_V, LATE_S = 3.3, 1.0
LIMP_HOME_A = 1.1 * HOVER_W / (6 * 3.4)
PLAN = Scenario.model_validate(
    {
        "name": "cold climb",
        "pack": {
            "chemistry": "lipo", "cells": 6, "parallel": 2, "cell_mah": 8000.0,
            "cutoff_cell_v": CUTOFF_V, "actual_capacity_frac": 0.8, "resistance_mohm_ah": 70.0,
            "resistance_spread_frac": 0.12, "start_charge_frac": 0.6, "start_degc": 2.0,
            "ambient_degc": -3.0,
        },
        "gauge": {"ip_scale": 1, "full_error_frac": 0.1},
        "phase": [
            Phase(name="idle", duration_s=15.0, power_w=14.0, armed=False).model_dump(),
            Phase(name="hover", duration_s=45.0, power_w=HOVER_W, gust_frac=0.05).model_dump(),
            Phase(name="climb", duration_s=200.0, power_w=CLIMB_W, gust_frac=0.15, climb_m_s=CLIMB_M_S).model_dump(),
            Phase(name="hover", duration_s=60.0, power_w=HOVER_W, gust_frac=0.1).model_dump(),
        ],
    }
)  # fmt: skip


@dataclass
class Governed:
    """A flight that draws at most the current limit, and climbs with the power above hover."""

    plan: FlightProfile
    voltage_v: float = 24.0
    asked_a: float | None = None
    alt_m: float = 0.0
    in_transit: list[float | None] = field(default_factory=list)  # limits on the link

    @property
    def duration_s(self) -> float:
        """Duration of the flight."""
        return self.plan.duration_s

    def power_w(self, t_s: float) -> float:
        """Return the power drawn now."""
        power_w = self.plan.power_w(t_s)
        if self.asked_a is not None:
            power_w = min(power_w, self.asked_a * self.voltage_v)
        mean_power_w = self.plan.mean_power_w(t_s)
        if mean_power_w is not None:
            climb_m_s = (power_w - HOVER_W) / (CLIMB_W - HOVER_W) * CLIMB_M_S
            self.alt_m = max(self.alt_m + climb_m_s * STEP_S, 0.0)
        return power_w

    def mean_power_w(self, t_s: float) -> float | None:
        """Return the mean power if the flight continues like this."""
        return self.plan.mean_power_w(t_s)

    def vehicle(self, t_s: float) -> VehicleState:
        """Return the state that the autopilot reports."""
        return self.plan.vehicle(t_s)

    def ask(self, asked_a: float | None, voltage_v: float) -> None:
        """Send a current limit; it arrives late."""
        self.in_transit.append(asked_a)
        self.voltage_v = voltage_v
        if len(self.in_transit) > LATE_S / STEP_S:
            self.asked_a = self.in_transit.pop(0)


@dataclass
class Flown:
    """Result of a flight."""

    below_s: float = 0.0
    lowest_v: float = 9.9
    alt_m: float = 0.0
    critical_s: float | None = None
    least_asked_a: float | None = None
    rows: list[tuple[float, float, float, float | None, float]] = field(default_factory=list)


def fly(seed: int, *, governed: bool) -> Flown:
    """Fly once and return the result."""
    flight = Governed(PhaseFlight(PLAN, random_generator(seed, RandomStream.GUSTS), STEP_S))
    world = World(PLAN, seed, (), flight)
    clock, found = VirtualClock(), Flown()
    bus = VirtualBus(
        clock, [world], {ADDRESS: world.device}, (), random_generator(seed, RandomStream.WIRE)
    )
    pack_data = PLAN.pack, world.pack_data()
    governed_data = pack_data[1].__class__(
        **{name: getattr(pack_data[1], name) for name in pack_data[1].__slots__}
        | {"limp_home_a": LIMP_HOME_A}
    )
    pipeline = Pipeline(Gauge(bus, cells=6), governed_data)
    for tick in range(int(world.duration_s / STEP_S)):
        t_s = tick * STEP_S
        clock.sleep_until(t_s)
        report = pipeline.step(t_s, world.vehicle(t_s))
        truth = world.truth()
        asked_a = report.status.asked_max_a
        flight.ask(asked_a if governed else None, truth.voltage_v)
        lowest_v = min(truth.cells_v)
        found.below_s += STEP_S * (lowest_v < CUTOFF_V)
        found.lowest_v = min(found.lowest_v, lowest_v)
        if asked_a is not None:
            found.least_asked_a = min(asked_a, found.least_asked_a or asked_a)
        found.rows.append((t_s, lowest_v, truth.current_a, asked_a, flight.alt_m))
    found.alt_m = max(row[4] for row in found.rows)
    return found


def plot(path: Path, seed: int) -> None:
    """Draw one seed with and without the governor."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend

    figure, axes = plt.subplots(3, 1, figsize=(8, 7), sharex=True)
    for governed, colour in ((False, "tab:red"), (True, "tab:blue")):
        t_s, cell_v, amps, asked_a, alt_m = zip(*fly(seed, governed=governed).rows, strict=True)
        name = "with governor" if governed else "without"
        axes[0].plot(t_s, cell_v, color=colour, label=name, lw=0.8)
        axes[1].plot(t_s, amps, color=colour, label=name, lw=0.8)
        axes[2].plot(t_s, alt_m, color=colour, label=name)
        if governed:
            asked = [np.nan if a is None else a for a in asked_a]
            axes[1].plot(t_s, asked, color="black", lw=1.0, label="asked")
    axes[0].axhline(CUTOFF_V, color="grey", ls="--")
    for axis, name in zip(axes, ("weakest cell, V", "current, A", "altitude, m"), strict=True):
        axis.set_ylabel(name)
        axis.legend(loc="best", fontsize="small")
    axes[-1].set_xlabel("s")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    """Fly and print the table; draw it with --plot."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    print(f"limp home {LIMP_HOME_A:.0f} A, hover {HOVER_W:.0f} W, climb {CLIMB_W:.0f} W")
    print("| seed | below the limit without, with | lowest cell | altitude | least asked |")
    print("|---|---|---|---|---|")
    for seed in range(1, options.seeds + 1):
        free, held = fly(seed, governed=False), fly(seed, governed=True)
        least = "nothing" if held.least_asked_a is None else f"{held.least_asked_a:.0f} A"
        print(f"| {seed} | {free.below_s:.1f} s, {held.below_s:.1f} s | {free.lowest_v:.2f} V, {held.lowest_v:.2f} V "
              f"| {free.alt_m:.0f} m, {held.alt_m:.0f} m | {least} |")  # fmt: skip
    if options.plot is not None:
        plot(options.plot, 1)


if __name__ == "__main__":
    main()

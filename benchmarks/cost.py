# SPDX-License-Identifier: Apache-2.0
"""Measures the processor time of one step: `make bench`, or `python -m benchmarks.cost`.

Prints each figure next to two peers: pymavlink's own packing of one ready BATTERY_STATUS, and the
reference commit (`benchmarks.reference`), measured in turn. The step is poll, estimate, evaluation
of limits, report and frame; the virtual pack and gauge alone are subtracted. Processor time.
"""

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable

from pymavlink.dialects.v20 import common as mavlink

from benchmarks.reference import HERE, REFERENCE, machine, ratios, reference_tree, run_in, spread
from dronebms.core.clock import VirtualClock
from dronebms.core.report import Report
from dronebms.estimation.estimator import Estimator
from dronebms.monitoring.pipeline import Pipeline
from dronebms.protection.alarms import Alarms
from dronebms.protection.limits import default_limits
from mavlink_bridge.protocol import messages
from sim.emulator.world import open_virtual
from smartbattery.gauge import Gauge
from smartbattery.snapshot import Snapshot

ROUNDS = 1  # within a process
STEP_S = 0.1
FLIGHT = "survey"
POLL, ESTIMATE, JUDGEMENT = "one poll", "one estimate", "one evaluation of all limits"
FRAME, STEP = "one BATTERY_STATUS frame", "a whole step, with its frame"
PACK = "pymavlink's pack of a frame alone"
_ONCE_IN_REFERENCE = "import benchmarks.cost as c; c.ROUNDS = 1; c.main()"


def seconds(work: Callable[[], object]) -> float:
    """Return the median processor time of a piece of work."""
    spent = []
    for _ in range(ROUNDS):
        start_s = time.process_time()
        work()
        spent.append(time.process_time() - start_s)
    return statistics.median(spent)


def flight() -> tuple[list[Snapshot], list[Report]]:
    """Fly once and return the snapshots and reports."""
    clock = VirtualClock()
    bus, world = open_virtual(FLIGHT, clock, 1)
    pipeline = Pipeline(Gauge(bus, cells=6), world.pack_data())
    reports = []
    for step in range(int(world.duration_s / STEP_S)):
        clock.sleep_until(step * STEP_S)
        reports.append(pipeline.step(step * STEP_S, world.vehicle(step * STEP_S)))
    return [report.snapshot for report in reports], reports


def polls() -> int:
    """Fly through the bytes without estimating; return the number of transfers."""
    clock = VirtualClock()
    bus, world = open_virtual(FLIGHT, clock, 1)
    gauge = Gauge(bus, cells=6)
    transfers = 0
    for step in range(int(world.duration_s / STEP_S)):
        clock.sleep_until(step * STEP_S)
        transfers = gauge.poll(step * STEP_S).counts.transfers
    return transfers


def world_alone() -> None:
    """Fly the virtual pack and its gauge without a reader."""
    _, world = open_virtual(FLIGHT, VirtualClock(), 1)
    for step in range(int(world.duration_s / STEP_S)):
        world.advance(step * STEP_S)


def measured() -> dict[str, float]:
    """Return microseconds of each part of a step, and of pymavlink's own packing of a frame."""
    snapshots, reports = flight()
    steps, pack_data = len(snapshots), reports[0].pack_data

    def estimate() -> None:
        estimator = Estimator(pack_data)
        for snapshot in snapshots:
            estimator.update(snapshot)

    def judge() -> None:
        watcher = Alarms(default_limits(pack_data), pack_data)
        for report in reports:
            watcher.update(report.snapshot, report.estimate, report.vehicle)

    codec = mavlink.MAVLink(None, 1, 180)

    def encoded() -> None:
        for report in reports:
            messages.battery_status(report).pack(codec)

    ready = messages.battery_status(reports[-1])

    def packed() -> None:
        for _ in reports:
            ready.pack(codec)

    parts = (world_alone, polls, estimate, judge, encoded, packed, flight)
    spent = (1e6 * seconds(part) / steps for part in parts)
    world, polled, estimated, judged, framed, pack, whole = spent
    return {
        POLL: polled - world,
        ESTIMATE: estimated,
        JUDGEMENT: judged,
        FRAME: framed,
        STEP: whole - world + framed,
        PACK: pack,
    }


def of_reference(text: str) -> dict[str, float]:
    """Return the same figures from what `cost.py` of the reference prints."""

    def number(pattern: str) -> float:
        found = re.search(pattern, text)
        if found is None:
            raise ValueError(f"the reference prints no {pattern}: {text}")
        return float(found[1])

    world, frame = number(r"virtual pack.* ([\d.]+) us"), number(r"frame +([\d.]+) us")
    flown = number(r"([\d.]+) with everything")
    return {
        POLL: number(r"wire +([\d.]+) us") - world,
        ESTIMATE: number(r"10 Hz +([\d.]+) us"),
        JUDGEMENT: number(r"limits +([\d.]+) us"),
        FRAME: frame,
        STEP: 1e6 * STEP_S / flown - world + frame,
        PACK: number(r"pack alone: ([\d.]+) us"),
    }


def main() -> None:
    """Measure in turn here and in the reference, and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--once", action="store_true", help="one measurement, as JSON")
    options = parser.parse_args()
    if options.once:
        print(json.dumps(measured()))
        return
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    with reference_tree() as tree:
        for _ in range(options.rounds):
            ours.append(json.loads(run_in(HERE, "-m", "benchmarks.cost", "--once")))
            if tree is not None:
                theirs.append(of_reference(run_in(tree, "-c", _ONCE_IN_REFERENCE)))
    print(machine())
    print(f"{'median (least-most)':34s} {'us':>24s}   {'times a pack':>18s}   of {REFERENCE}")
    for name in ours[0]:
        spent = [row[name] for row in ours]
        packs = ratios(spent, [row[PACK] for row in ours])
        compared = spread(ratios(spent, [row[name] for row in theirs]), 2) if theirs else "-"
        print(f"{name:34s} {spread(spent):>24s}   {spread(packs):>18s}   {compared}")
    whole_us = statistics.median(row[STEP] for row in ours)
    print(f"a step takes {whole_us / STEP_S / 1e4:.2f} % of real time")


if __name__ == "__main__":
    main()

"""Measures the processor time of one step: `make bench`, or `python benchmarks/cost.py`.

Prints the machine, then each figure with a reference: the time on a 100 kHz wire for the same bytes,
pymavlink alone, real time. Medians of several rounds; times are processor time of one core.
"""

import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from pymavlink.dialects.v20 import common as mavlink

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

ROUNDS = 5
STEP_S = 0.1
FLIGHT = "survey"
# A read of a word with PEC: 6 bytes of 9 clocks, start, repeated start, stop, bus free 4.7 us.
WORD_ON_WIRE_S = 575e-6


def machine() -> str:
    """Return a line with the processor and the versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        rows = [row for row in cpuinfo.read_text().splitlines() if row.startswith("model name")]
        model = rows[0].partition(":")[2].strip() if rows else model
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "pymavlink"))
    return f"{model}; Python {platform.python_version()}, {versions}"


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


def main() -> None:
    """Measure and print."""
    snapshots, reports = flight()
    steps, pack_data = len(snapshots), reports[0].pack_data
    transfers = polls()
    print(machine())

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

    world_s, bytes_s = seconds(world_alone), seconds(polls)
    poll_s = (bytes_s - world_s) / steps
    words = transfers / steps
    estimate_s, judge_s = seconds(estimate) / steps, seconds(judge) / steps
    encode_s, pack_s = seconds(encoded) / steps, seconds(packed) / steps
    whole_s = seconds(flight)
    rows = (
        ("one poll, both sides of the wire", poll_s, f"{words:.1f} transfers with PEC; a 100 kHz wire needs {words * WORD_ON_WIRE_S * 1e6:.0f} us"),
        ("one estimate, mean at 10 Hz", estimate_s, "forecast every 2 s; of real time " f"{estimate_s / STEP_S * 100:.3f} %"),
        ("one evaluation of all limits", judge_s, f"{judge_s / STEP_S * 100:.3f} % of real time"),
        ("one BATTERY_STATUS frame", encode_s, f"pymavlink's pack alone: {pack_s * 1e6:.1f} us"),
        ("virtual pack and gauge, one step", world_s / steps, f"{STEP_S * steps / world_s:.0f} x real time alone"),
    )  # fmt: skip
    for name, cost_s, peer in rows:
        print(f"{name:36s} {cost_s * 1e6:8.1f} us   {peer}")
    flown_s = STEP_S * steps
    print(f"simulated seconds per second: {flown_s / bytes_s:.0f} through the bytes without the "
          f"estimator, {flown_s / whole_s:.0f} with everything but the display; real time is 1")  # fmt: skip


if __name__ == "__main__":
    main()

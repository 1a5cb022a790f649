# SPDX-License-Identifier: Apache-2.0
"""Measures recording: bytes an hour, time of the loop, time of a synced write.

python benchmarks/recording.py [FOLDER]    (a folder on the disk to be measured; default /tmp)
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter, thread_time

from benchmarks.reference import machine
from dronebms.core.clock import VirtualClock
from dronebms.recording.blocks import MAGIC
from dronebms.recording.gauge_tap import SteppedGauge, TappedGauge
from dronebms.recording.recorder import Block, GrowingFile, Recorder
from dronebms.recording.records import Recorded, Start
from sim.emulator.world import open_virtual
from smartbattery.registers import ADDRESS

FLIGHT_S, BLOCKS = 600, 200


class MemoryFile:
    """A growing file that collects its blocks in memory."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []

    def take(self, block: Block) -> None:
        """Keep it."""
        self.blocks.append(block.data)

    def close(self) -> None:
        """Do nothing."""


def timed(what: Callable[[], object], clock: Callable[[], float] = thread_time) -> float:
    """Return the duration of a call in s; processor time of the thread by default."""
    begin_s = clock()
    what()
    return clock() - begin_s


def record(packs: int) -> tuple[list[bytes], list[float]]:
    """Fly; return the blocks, and the time that the recorder took of the loop at each step."""
    clock, store = VirtualClock(), MemoryFile()
    worlds = [open_virtual("survey", clock, seed) for seed in range(1, packs + 1)]
    start = Start(tuple(Recorded(world.pack_data(), ADDRESS) for _, world in worlds))
    recorder, spent_s, taken_s = Recorder(store, start), [0.0], list[float]()

    def polled(*of: object) -> None:
        spent_s[0] += timed(lambda: recorder.polled(*of))  # type: ignore[arg-type]  # OnPoll's

    gauges = [
        SteppedGauge(TappedGauge(bus, ADDRESS, 6), index, polled)
        for index, (bus, _) in enumerate(worlds)
    ]
    for step in range(FLIGHT_S * 10):
        clock.sleep_until(step / 10)
        for gauge in gauges:
            gauge.poll(step / 10)
        state = worlds[0][1].vehicle(step / 10)
        spent_s[0] += timed(lambda at=step / 10, state=state: recorder.stepped(at, state))  # type: ignore[misc]  # no type for a lambda's default
        taken_s.append(spent_s[0])
        spent_s[0] = 0.0
    recorder.close()
    return store.blocks, taken_s


def main() -> None:
    """Measure and print."""
    print(machine())
    blocks: list[bytes] = []
    for packs in (1, 2):
        blocks, taken_s = record(packs)
        hour = (sum(map(len, blocks)) + len(MAGIC)) * 3600 / FLIGHT_S
        print(
            f"{packs} pack(s) at 10 Hz: {hour / 1e6:.2f} MB an hour, {len(blocks[2])} bytes a block; "
            f"of the loop {fmean(taken_s) * 1e6:.0f} us a step, at most {max(taken_s) * 1e3:.1f} ms"
        )
    with TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        file, block = GrowingFile(Path(folder) / "x.rec", 0.0), blocks[2]
        taken_s = [timed(partial(file.append, block), perf_counter) for _ in range(BLOCKS)]
        file.close()
        tail_s = quantiles(taken_s, n=100)[98]
        print(
            f"a block written and synced in {folder}: {fmean(taken_s) * 1e3:.1f} ms, "
            f"99 of 100 within {tail_s * 1e3:.1f} ms (by the recorder's thread, not by the loop)"
        )


if __name__ == "__main__":
    main()

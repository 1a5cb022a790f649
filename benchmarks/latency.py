# SPDX-License-Identifier: Apache-2.0
"""Measures how long a changed reading takes from the wire to a frame, and how late the loop is.

    python -m benchmarks.latency [SECONDS]

`dronebms run` reads two packs, each behind a bus of its own, with the threads as shipped. The first
cell of one pack gets another voltage at random moments; the time runs from the reply that has it
first, and from the moment when the gauge has it, until a BATTERY_STATUS has it. So that each step
shows its values, BATTERY_STATUS is sent with every step; a limit sends it in the step in which it
trips. The other bus stalls, for up to 3 s at a time. Lateness is that of the loop's steps; the peer
is a process that sleeps until the same tenths of a second and does nothing else.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from pymavlink.dialects.v20 import common as mavlink

import dronebms.service.outputs.vehicle_bridge
import dronebms.service.service
from benchmarks.reference import machine
from benchmarks.remote_packs import run, serve
from benchmarks.service import ground_station
from dronebms.core.clock import Clock, SystemClock
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.loop import Loop
from mavlink_bridge.components import BridgeOptions
from sim.emulator.gauge import word_reply
from sim.emulator.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.registers import ADDRESS, CELLS

CELL = CELLS[0]
BASE_MV, STEPS = 4000, 50  # of the voltages, which all differ from the one before
WARM_UP_S = 4.0
STALLS_S, STALLS = (0.2, 1.0, 3.0), 0.01  # of a transfer, and how many of them
_EVERY_STEP_HZ = 20.0


@dataclass
class Latencies:
    """What is measured, in seconds."""

    wire_s: list[float] = field(default_factory=list)  # from the reply to the frame
    # From the gauge's change to the reply, and from there to the frame.
    changes_s: list[tuple[float, float]] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)  # begin of the steps
    idle_s: list[float] = field(default_factory=list)  # of the peer


@dataclass
class MarkedBus:
    """A bus whose gauge shows another voltage of one cell now and then; notes when it is read."""

    bus: Bus
    mark_mv: int = BASE_MV
    changed_s: float = 0.0
    read_s: dict[int, float] = field(default_factory=dict)  # of the present voltages

    def change(self) -> None:
        """Show the next voltage."""
        mark_mv = BASE_MV + (self.mark_mv - BASE_MV + 1) % STEPS
        self.read_s.pop(mark_mv, None)
        self.changed_s, self.mark_mv = monotonic(), mark_mv

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Pass a transfer on, except for the voltage of the cell."""
        if tx[:1] != bytes((CELL.command,)):
            return self.bus.transfer(address, tx, rx_len)
        mark_mv = self.mark_mv
        self.read_s.setdefault(mark_mv, monotonic())
        return word_reply(address, CELL.command, mark_mv, with_pec=True)[:rx_len]


@dataclass
class StallingBus:
    """A bus that holds its clock line, for a while in one of a hundred transfers."""

    bus: Bus
    chance: random.Random

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Wait now and then, then pass the transfer on."""
        if self.chance.random() < STALLS:
            sleep(self.chance.choice(STALLS_S))
        return self.bus.transfer(address, tx, rx_len)


def child(folder: Path, arguments: Sequence[str]) -> None:
    """Run the service; write how late its steps began, in seconds, at the end."""
    late_s: list[float] = []

    def timed(clock: Clock, vehicle: Callable[[float], VehicleState], *rest: object) -> Loop:
        def begun(now_s: float) -> VehicleState:
            late_s.append(clock.now_s() - now_s)
            return vehicle(now_s)

        return Loop(clock, begun, *rest)  # type: ignore[arg-type]  # the rest as it was given

    vars(dronebms.service.service)["Loop"] = timed
    vars(dronebms.service.outputs.vehicle_bridge)["BridgeOptions"] = partial(
        BridgeOptions, rate_hz=_EVERY_STEP_HZ
    )
    run(folder, arguments)
    (folder / "late.json").write_text(json.dumps(late_s))


def sleeper(seconds: float) -> None:
    """Sleep until each tenth of a second and print how late it was, as JSON."""
    clock = SystemClock()
    late_s = []
    for tick in range(1, int(seconds * 10)):
        clock.sleep_until(tick / 10)
        late_s.append(clock.now_s() - tick / 10)
    print(json.dumps(late_s))


def line(name: str, values_s: Sequence[float]) -> None:
    """Print the median, 99 % and the largest of some times."""
    tail_s = statistics.quantiles(values_s, n=100, method="inclusive")[98]
    print(
        f"{name:44s} {1e3 * statistics.median(values_s):7.2f} {1e3 * tail_s:7.2f} "
        f"{1e3 * max(values_s):8.2f}   {len(values_s)}"
    )


def received_mv(frames: Sequence[object]) -> list[int]:
    """Voltages of the first cell in the BATTERY_STATUS of the first battery."""
    kind = mavlink.MAVLink_battery_status_message
    return [frame.voltages[0] for frame in frames if isinstance(frame, kind) and frame.id == 0]


def measured(seconds: float, warm_up_s: float = WARM_UP_S) -> Latencies:
    """Run the service and change the voltage."""
    found = Latencies()
    chance = random.Random(1)  # noqa: S311 - a fixed sequence
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        ground = stack.enter_context(ground_station())
        names = [f"i2c-{os.getpid()}-{index}" for index in range(2)]
        packs = [open_virtual("hover", SystemClock(start_s=60.0), seed)[0] for seed in (1, 2)]
        for pack in packs:
            pack.transfer(ADDRESS, b"\x09", 2)  # advances the flight to now
        marked = MarkedBus(packs[0])
        serve(folder, names[0], marked)
        serve(folder, names[1], StallingBus(packs[1], chance))
        path = folder / "c.toml"
        path.write_text(
            "".join(f'[[battery]]\nbus = "/dev/{name}"\n' for name in names)
            + f'[mavlink]\nurl = "udpout:127.0.0.1:{ground.getsockname()[1]}"\n'
            f'[status]\nsocket = "{folder}/s.sock"\n[recording]\ndir = "{folder}/runs"\n'
            f'[state]\ndir = "{folder}/state"\n'
        )
        program = (sys.executable, "-m", "benchmarks.latency")
        service = stack.enter_context(
            subprocess.Popen(  # noqa: S603 - this program
                (*program, "--child", str(folder), "run", "-c", str(path)),
                stderr=subprocess.DEVNULL,
            )
        )
        stack.callback(service.terminate)
        ground.recv(2000)
        sleep(warm_up_s)
        peer = stack.enter_context(
            subprocess.Popen(  # noqa: S603 - this program
                (*program, "--sleeper", str(seconds)), stdout=subprocess.PIPE, text=True
            )
        )
        codec, end_s = mavlink.MAVLink(None), monotonic() + seconds
        timer = threading.Event()

        def change() -> None:
            while not timer.wait(0.3 + 0.4 * chance.random()):
                marked.change()

        threading.Thread(target=change, daemon=True).start()
        seen_mv = BASE_MV
        while monotonic() < end_s:
            for mv in received_mv(codec.parse_buffer(ground.recv(2000)) or ()):
                read_s = marked.read_s.get(mv)
                if mv != seen_mv and read_s is not None:
                    now_s = monotonic()
                    found.wire_s.append(now_s - read_s)
                    if mv == marked.mark_mv and marked.changed_s:
                        found.changes_s.append((read_s - marked.changed_s, now_s - read_s))
                seen_mv = mv
        timer.set()
        service.terminate()
        service.wait()
        found.late_s += json.loads((folder / "late.json").read_text())[int(10 * warm_up_s) :]
        found.idle_s += json.loads(peer.communicate()[0])
    return found


def show(found: Latencies) -> None:
    """Print a row for each latency."""
    print(machine())
    print(f"{'milliseconds':44s} {'median':>7s} {'99 %':>7s} {'most':>8s}   number")
    line("from the wire to the frame", found.wire_s)
    line("from the gauge's change to the frame", list(map(sum, found.changes_s)))
    line("begin of a step, next to a bus that stalls", found.late_s)
    line("the same of a process that only sleeps", found.idle_s)


def main() -> None:
    """Measure, or be one of the processes that are measured."""
    match sys.argv[1:]:
        case ["--child", folder, *arguments]:
            child(Path(folder), arguments)
        case ["--sleeper", seconds]:
            sleeper(float(seconds))
        case _:
            show(measured(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))


if __name__ == "__main__":
    main()

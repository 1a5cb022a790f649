# SPDX-License-Identifier: Apache-2.0
"""Measures the service: start, CPU, memory, with stuck viewers, each next to the reference commit.

`python -m benchmarks.service [SECONDS] [--rounds N]` runs `dronebms run` for SECONDS each way, default 20, on
two packs in flight, in turn here and in the reference (`benchmarks.reference`). The measuring process simulates
the packs: each transfer goes through a socket in place of the kernel. The byte code is compiled before the
measured start, as for an installed package.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

from benchmarks.reference import HERE, REFERENCE, machine, ratios, reference_tree, run_in, spread
from benchmarks.remote_packs import serve
from dronebms.core.clock import SystemClock
from sim.emulator.world import open_virtual
from smartbattery.registers import ADDRESS

BUS = f"i2c-{os.getpid()}-"  # of this run alone: each gauge has a lock
IN_FLIGHT_S = 60.0  # of both flights
VIEWERS, STUCK = 20, 10
_MIB = 1 << 20
_START_S = 120.0  # on a loaded machine


@contextmanager
def service(folder: Path, ground: socket.socket) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the service with recording, state and status socket."""
    for name, flight in ((f"{BUS}0", "hover"), (f"{BUS}1", "survey")):
        (folder / name).unlink(missing_ok=True)
        bus, _ = open_virtual(flight, SystemClock(start_s=IN_FLIGHT_S))
        bus.transfer(ADDRESS, b"\x09", 2)  # advances the flight to now
        serve(folder, name, bus)
    path = folder / "c.toml"
    path.write_text(
        f'[[battery]]\nbus = "/dev/{BUS}0"\n[[battery]]\nbus = "/dev/{BUS}1"\n'
        f'[mavlink]\nurl = "udpout:127.0.0.1:{ground.getsockname()[1]}"\n'
        f'[status]\nsocket = "{folder}/s.sock"\n[recording]\ndir = "{folder}/runs"\n'
        f'[state]\ndir = "{folder}/state"\n'
    )
    environ = os.environ | {"PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    command = (sys.executable, "-m", "benchmarks.remote_packs", str(folder), "run", "-c", str(path))
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environ) as process:  # noqa: S603 - ours
        try:
            yield process
        finally:
            process.terminate()


def cpu_s(task: Path) -> float:
    """Return the processor time of a process or thread in s."""
    fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> tuple[float, float]:
    """Return the resident and the private memory of a process in MiB."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kib = {row.split(":")[0]: int(row.split()[1]) for row in rows[1:]}
    return kib["Rss"] / 1024, (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024


def watched(pid: int, seconds: float, viewers: list[socket.socket]) -> tuple[str, int]:
    """Return the share of a core over some seconds, and the lines that the viewers received."""
    tasks = Path(f"/proc/{pid}"), Path(f"/proc/{pid}/task/{pid}")
    before_s, began_s, lines = [cpu_s(task) for task in tasks], monotonic(), 0
    while (spent_s := monotonic() - began_s) < seconds:
        sleep(0.2)
        for viewer in viewers:
            try:
                lines += viewer.recv(_MIB).count(b"\n")
            except BlockingIOError:
                continue
    whole, loop = (
        100 * (cpu_s(task) - at_s) / spent_s for task, at_s in zip(tasks, before_s, strict=True)
    )
    return f"{whole:7.2f} % of a core, {loop:.2f} % of it the loop", lines


def ground_station() -> socket.socket:
    """Return the UDP socket of the ground station."""
    ground = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ground.bind(("127.0.0.1", 0))
    ground.settimeout(_START_S)
    return ground


def compile_program(folder: Path) -> None:
    """Run the service until its first frame: a later one in this folder finds its byte code.

    A process that compiles has twice the memory of an installed one.
    """
    with ground_station() as ground, service(folder, ground):
        ground.recv(2000)


def measure(seconds: float) -> None:
    """Measure one service and print its figures, in the form that `figures_of` reads."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        compile_program(folder)
        ground = stack.enter_context(ground_station())
        began_s = monotonic()
        process = stack.enter_context(service(folder, ground))
        ground.recv(2000)
        print(
            f"start to first frame            {monotonic() - began_s:8.2f} s   (cpu {cpu_s(Path(f'/proc/{process.pid}')):.2f} s)"
        )
        sleep(3.0)
        alone, _ = watched(process.pid, seconds, [])
        print(f"two packs at 10 Hz, no viewers  {alone}")
        viewers = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(VIEWERS)]
        for viewer in viewers:
            viewer.connect(str(folder / "s.sock"))
            viewer.settimeout(0.0)
        good = viewers[STUCK:]
        share, lines = watched(process.pid, seconds, good)
        print(
            f"{VIEWERS} viewers, {STUCK} of them stuck     {share}, {lines / len(good) / seconds:.1f} lines/s each"
        )
        rss, own = memory_mib(process.pid)
        print(f"resident memory                 {rss:8.1f} MiB, {own:.1f} of it not shared")


def figures_of(text: str) -> dict[str, float]:
    """Return the figures of a printed measurement, of this version or of the reference."""
    patterns = {
        "start to first frame, s": r"frame +([\d.]+) s",
        "of which processor time, s": r"\(cpu ([\d.]+) s",
        "two packs at 10 Hz, % of a core": r"two packs.* ([\d.]+) % of a core",
        "with 20 viewers, 10 stuck, %": r"viewers.*stuck +([\d.]+) % of a core",
        "resident memory, MiB": r"memory +([\d.]+) MiB",
        "of which not shared, MiB": r"MiB, ([\d.]+) of it",
    }
    found = {name: re.search(pattern, text) for name, pattern in patterns.items()}
    return {name: float(match[1]) for name, match in found.items() if match is not None}


def main() -> None:
    """Measure in turn here and in the reference, and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("seconds", type=float, nargs="?", default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--once", action="store_true", help="one measurement of this version")
    options = parser.parse_args()
    if options.once:
        measure(options.seconds)
        return
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    with reference_tree() as tree:
        if tree is not None:  # its own program, on buses that no other run has locked
            program = tree / "benchmarks" / "service.py"
            program.write_text(program.read_text().replace("i2c-9", BUS))
        for _ in range(options.rounds):
            once = ("-m", "benchmarks.service", "--once", str(options.seconds))
            ours.append(figures_of(run_in(HERE, *once)))
            if tree is not None:
                found = run_in(tree, "-m", "benchmarks.service", str(options.seconds))
                theirs.append(figures_of(found))
    print(machine())
    print(f"{'median (least-most)':34s} {'here':>20s} {REFERENCE:>20s}   ratio")
    for name in ours[0]:
        here = [row[name] for row in ours]
        there = [row[name] for row in theirs]
        compared = f"{spread(there, 2):>20s}   {spread(ratios(here, there), 2)}" if there else ""
        print(f"{name:34s} {spread(here, 2):>20s} {compared}")


if __name__ == "__main__":
    main()

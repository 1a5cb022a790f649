"""Measures the service: start, CPU, memory, with stuck viewers; prints the machine too.

`python -m benchmarks.service [SECONDS]` runs `dronebms run` for SECONDS each way, default 20, on two
packs in flight. This process simulates them: each transfer goes through a socket in place of the kernel. The
byte code is compiled before the measured start, as for an installed package.
"""

import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

from benchmarks.remote_packs import serve
from dronebms.core.clock import SystemClock
from sim.emulator.world import open_virtual
from smartbattery.registers import ADDRESS

IN_FLIGHT_S = 60.0  # of both flights
VIEWERS, STUCK = 20, 10
_MIB = 1 << 20


@contextmanager
def service(folder: Path, ground: socket.socket) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the service with recording, state and status socket."""
    for name, flight in (("i2c-90", "hover"), ("i2c-91", "survey")):
        (folder / name).unlink(missing_ok=True)
        bus, _ = open_virtual(flight, SystemClock(start_s=IN_FLIGHT_S))
        bus.transfer(ADDRESS, b"\x09", 2)  # advances the flight to now
        serve(folder, name, bus)
    path = folder / "c.toml"
    path.write_text(
        '[[battery]]\nbus = "/dev/i2c-90"\n[[battery]]\nbus = "/dev/i2c-91"\n'
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
    return ground


def main() -> None:
    """Measure and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    model = next(
        (
            row.split(":")[1].strip()
            for row in Path("/proc/cpuinfo").read_text().splitlines()
            if row.startswith("model name")
        ),
        platform.machine(),
    )
    print(
        f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ground = stack.enter_context(ground_station())
        with service(folder, ground):
            ground.recv(2000)  # the byte code is compiled now
        ground = stack.enter_context(ground_station())  # without datagrams for the first one
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


if __name__ == "__main__":
    main()

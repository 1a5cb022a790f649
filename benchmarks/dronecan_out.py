# SPDX-License-Identifier: Apache-2.0
"""Cost of DroneCAN out: two packs at 2 Hz, alone and in a flood of foreign frames; prints the machine too.

    python -m benchmarks.dronecan_out [SECONDS]

The bus is UDP multicast in a network namespace of its own (root) or in this machine. Each case is a process with
the modules of the service: without a CAN bus, with it, and, for comparison, with a node of the bare package
`dronecan` that sends the same messages. The flood comes from another process.
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import dronebms.service.service  # noqa: F401 - the memory of the service
from benchmarks.service import cpu_s, memory_mib
from dronebms.core.clock import SystemClock
from dronebms.dronecan.can_url import parse_can_url
from dronebms.dronecan.config import DronecanConfig
from dronebms.dronecan.frames import CanFrame
from dronebms.service.can_buses import CanBuses
from tests.dronecan.reports import report_at

URL = "mcast:249"
PACKS, RATE_HZ, FLOOD_HZ = 2, 2.0, 10_000
WARM_TICKS = 40  # of a tenth of a second, until a node has its id
FOREIGN = CanFrame(20 << 24 | 1034 << 8 | 99, bytes(7) + b"\xc0")  # esc.Status
CASES = ("none", "ours", "bare")
Send = Callable[[float], None]


def run(case: str, seconds: float) -> None:
    """Step a loop at 10 Hz with a sink; print lateness, processor share and memory."""
    clock = SystemClock()
    with ExitStack() as stack:
        send = {"none": _none, "ours": _ours, "bare": _bare}[case](clock, stack)
        begin_s = start_s = clock.now_s()
        start_cpu_s, late_s, ticks = 0.0, 0.0, 0
        while ticks < WARM_TICKS + 10 * seconds:
            due_s = begin_s + ticks / 10
            clock.sleep_until(due_s)
            if ticks == WARM_TICKS:
                start_s, start_cpu_s = clock.now_s(), _tree_cpu_s()
            if ticks > WARM_TICKS:
                late_s = max(late_s, clock.now_s() - due_s)
            send(due_s)
            ticks += 1
        share = (_tree_cpu_s() - start_cpu_s) / (clock.now_s() - start_s)
        print(
            f"{share:7.2%} of a core, {_tree_mib():6.1f} MiB resident, loop late by {1000 * late_s:5.1f} ms at most"
        )


def _none(_clock: SystemClock, _stack: ExitStack) -> Send:
    return lambda _now_s: None


def _ours(clock: SystemClock, stack: ExitStack) -> Send:
    from dronebms.dronecan.battery_sink import BatterySink  # noqa: PLC0415 - part of what is measured

    buses = CanBuses(clock, stack)
    config = DronecanConfig(url=URL, node_id=60, rate_hz=RATE_HZ)
    sink = BatterySink(buses.of(parse_can_url(URL)), config, range(PACKS), (1, 0), 0)
    buses.start()

    def send(now_s: float) -> None:
        for index in range(PACKS):
            sink(report_at(now_s, index=index))

    return send


def _bare(_clock: SystemClock, _stack: ExitStack) -> Send:
    """The same rates with a node and a driver of the package."""
    import dronecan  # noqa: PLC0415 - part of what is measured

    from dronebms.dronecan import report_fields  # noqa: PLC0415

    node = dronecan.make_node(URL, node_id=62, mode=0)
    kinds = (
        dronecan.uavcan.equipment.power.BatteryInfo,
        dronecan.ardupilot.equipment.power.BatteryInfoAux,
    )
    due = {"count": 0}

    def send(now_s: float) -> None:
        node.spin(0.09)
        due["count"] += 1
        if due["count"] % round(10 / RATE_HZ) == 0:
            for index in range(PACKS):
                report = report_at(now_s, index=index)
                node.broadcast(kinds[0](**(report_fields.battery_info(report, index) or {})))
                if due["count"] % 10 == 0:
                    node.broadcast(
                        kinds[1](**(report_fields.battery_info_aux(report, index) or {}))
                    )

    return send


def _tasks() -> list[int]:
    """This process and its children, of which the driver of the package is one."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [os.getpid(), *map(int, children)]


def _tree_cpu_s() -> float:
    return sum(cpu_s(Path(f"/proc/{pid}")) for pid in _tasks())


def _tree_mib() -> float:
    return sum(memory_mib(pid)[0] for pid in _tasks())


def flood(seconds: float) -> None:
    """Send foreign frames."""
    from dronebms.dronecan.transports import open_transport  # noqa: PLC0415

    with closing(open_transport(parse_can_url(URL))) as port:
        start_s = time.monotonic()
        for tick in range(int(seconds * 100)):
            for _ in range(FLOOD_HZ // 100):
                port.send(FOREIGN)
            time.sleep(max(start_s + tick / 100 - time.monotonic(), 0.0))


def main() -> None:
    """Print all cases."""
    seconds = float(sys.argv[1]) if sys.argv[1:] else 20.0
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
    )
    program = [sys.executable, "-m", "benchmarks.dronecan_out"]
    for flooded in (False, True):
        frames = f"{FLOOD_HZ} foreign frames/s" if flooded else "no other frames"
        for case in CASES[flooded:]:
            with ExitStack() as stack:
                if flooded:
                    sender = subprocess.Popen([*program, "--flood", str(seconds + 8.0)])  # noqa: S603 - this program
                    stack.callback(sender.kill)
                found = subprocess.run(  # noqa: S603 - this program
                    [*program, "--case", case, str(seconds)],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                result = found.stdout.strip() or f"ended by {found.stderr.splitlines()[-1]}"
                print(f"{case:5} {frames:24} {result}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        run(sys.argv[2], float(sys.argv[3]))
    elif sys.argv[1:2] == ["--flood"]:
        flood(float(sys.argv[2]))
    else:
        main()

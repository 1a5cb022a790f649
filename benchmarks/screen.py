# SPDX-License-Identifier: Apache-2.0
"""Measures the terminal display: share of a core and bytes a second, over a seeded flight.

    .venv/bin/python -m benchmarks.screen

The display gets ten reports and draws two pictures a second, on terminals of 80x24 and 200x60. Processor
time is that of the display alone, keys included. The peer is rich alone: two texts a second that fill
the same terminal.
"""

import io
import os
import pty
import time
from contextlib import ExitStack

from rich.console import Console

from benchmarks.reference import machine
from dronebms.core.clock import VirtualClock
from dronebms.simulation.simulated_flight import SimOptions, Simulation
from dronebms.terminal.display import Display

DURATION_S = 300.0
SIZES = ((80, 24), (200, 60))


def cost(width: int, height: int) -> tuple[float, float]:
    """Return the share of a core in per cent, and the bytes sent in a second."""
    ours, theirs = pty.openpty()
    file, clock, used_s = io.StringIO(), VirtualClock(), 0.0
    console = Console(
        file=file, width=width, height=height, force_terminal=True,
        _environ={"TERM": "xterm-256color"},
    )  # fmt: skip
    with ExitStack() as stack:
        flight = Simulation(SimOptions(speed=None, duration_s=DURATION_S), stack)
        screen = stack.enter_context(Display(clock, console=console, keys_fd=theirs))
        for report in flight.reports():
            clock.sleep_until(report.t_s)
            started_s = time.process_time()
            screen(report)
            used_s += time.process_time() - started_s
    os.close(ours)
    os.close(theirs)
    return 100.0 * used_s / DURATION_S, len(file.getvalue().encode()) / DURATION_S


def rich_alone(width: int, height: int) -> float:
    """Return the share of a core that rich takes for plain texts of this size, in per cent."""
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=True)
    text = "\n".join(["#" * width] * height)
    started_s = time.process_time()
    for _ in range(int(2 * DURATION_S)):
        console.print(text)
    return 100.0 * (time.process_time() - started_s) / DURATION_S


if __name__ == "__main__":
    print(machine())
    for size in SIZES:
        share_pct, bytes_s = cost(*size)
        print(
            f"{size[0]}x{size[1]}: {share_pct:.2f} % of a core, {share_pct / rich_alone(*size):.1f} "
            f"of rich alone; {bytes_s:.0f} bytes/s"
        )

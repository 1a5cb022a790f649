"""Measures the terminal display: share of a core and bytes a second, over a seeded flight.

    .venv/bin/python benchmarks/screen.py

The display gets ten reports and draws two pictures a second, on terminals of 80x24 and 200x60. Processor
time is that of the display alone, keys included.
"""

import io
import os
import pty
import time
from contextlib import ExitStack

from rich.console import Console

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


if __name__ == "__main__":
    for size in SIZES:
        share_pct, bytes_s = cost(*size)
        print(f"{size[0]}x{size[1]}: {share_pct:.2f} % of a core, {bytes_s:.0f} bytes/s")

# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures of the README from a seeded flight: terminal as SVG, report as PNG.

    .venv/bin/python benchmarks/pictures.py

Writes docs/screen.svg and docs/report.png. Chromium makes the picture of the report (apt install
chromium); without it only the terminal is drawn.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from contextlib import ExitStack
from io import StringIO
from pathlib import Path

from rich.console import Console

from dronebms.cli.main import main
from dronebms.core.number_format import clock_text
from dronebms.core.report import Event, Report
from dronebms.simulation.simulated_flight import SimOptions, Simulation
from dronebms.terminal.layout import View, render
from dronebms.terminal.lines import Canvas

DOCS = Path(__file__).parents[1] / "docs"
FLIGHT, SEED, MOMENT_S = "survey", 1, 600.0  # on the terminal
REPORTED = "weak_cell"
WIDTH, HEIGHT = 84, 24
PAGE_PX = (1200, 2500)
COLOURS = 128


def terminal(path: Path) -> None:
    """Draw the display in the middle of the flight."""
    events, newest = deque[Event](maxlen=20), list[Report]()
    with ExitStack() as stack:
        options = SimOptions(FLIGHT, SEED, speed=None, duration_s=MOMENT_S)
        for report in Simulation(options, stack).reports():
            events.extend(report.status.events)
            newest = [report]
    view = View("udpout:127.0.0.1:14550", f"h: help  {clock_text(newest[0].t_s)}")
    console = Console(width=WIDTH, height=HEIGHT, record=True, force_terminal=True, file=StringIO())
    console.print(render(newest, tuple(events), canvas=Canvas(WIDTH, HEIGHT), view=view))
    drawn = console.export_svg(title=f"dronebms sim --flight {FLIGHT}", unique_id="screen")
    drawn = re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL)  # fonts from the network
    path.write_text(drawn, encoding="utf-8")


def page(path: Path, browser: str) -> None:
    """Draw the report of the flight with Chromium."""
    from PIL import Image  # noqa: PLC0415 - comes with the extra report

    with tempfile.TemporaryDirectory() as folder:
        flown, written, shot = (
            Path(folder) / name for name in (f"{REPORTED}.rec", "x.html", "x.png")
        )
        options = f"--flight {REPORTED} --seed {SEED} --speed max --json"
        main(["sim", *options.split(), "--record", str(flown)])
        main(["report", str(flown), "-o", str(written)])
        size = f"--window-size={PAGE_PX[0]},{PAGE_PX[1]}"
        quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", size)
        command = [browser, *quiet, f"--screenshot={shot}", written.as_uri()]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - a fixed program
        Image.open(shot).convert("RGB").quantize(COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    terminal(DOCS / "screen.svg")
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        sys.exit("the report is not drawn: apt install chromium")
    page(DOCS / "report.png", browser)

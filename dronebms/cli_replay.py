"""The command `dronebms replay`: a flight, a recording or a flight controller's log."""

import argparse
import sys
from functools import partial

from rich.console import Console
from rich.progress import Progress

from dronebms import replay as flown
from dronebms.cli_exit import DONE, FAILED, say
from dronebms.sidecar import FlightOptions
from mavlink_bridge.logs import read_log


def replay(options: argparse.Namespace) -> int:
    """Replay, write the predictions, print the summary; 1 when a part of it is missing."""
    told = FlightOptions(
        cells=options.cells,
        capacity_mah=options.capacity_mah,
        chemistry=options.chemistry,
        cutoff_cell_v=options.cutoff_cell_v,
    )
    # The predictions have stdout to themselves when they are asked for there.
    talk = sys.stderr if options.out == "-" else sys.stdout
    console, missing = Console(stderr=True), list[str]()
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(options.flight.name, total=1.0)
        reports = flown.reports(
            options.flight,
            told,
            lambda share: bar.update(task, completed=share),
            missing.append,
            partial(read_log, battery=options.battery - 1),
        )
        lines = flown.replay(options.flight, reports, options.out)
    print("\n".join(lines), file=talk)
    for sentence in missing:
        say(sentence)
    return FAILED if missing else DONE

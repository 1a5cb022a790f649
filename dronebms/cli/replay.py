"""The command `dronebms replay`: a flight, a recording or a flight controller's log."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial

from rich.console import Console
from rich.progress import Progress

from dronebms.analysis import replay as flown
from dronebms.analysis.replay import ReadFlight
from dronebms.cli.exit_codes import DONE, FAILED, print_stderr
from dronebms.core.report import Report
from dronebms.estimation.pack_memory import LEARNED_FOLDER, PackMemoryFolder
from dronebms.flightlogs import FlightOptions


def replay(options: argparse.Namespace) -> int:
    """Replay, write the predictions, print the summary; 1 when a part of it is missing."""
    # The predictions have stdout to themselves when they are asked for there.
    talk, missing = sys.stderr if options.out == "-" else sys.stdout, list[str]()
    packs = (
        None if options.state_dir is None else PackMemoryFolder(options.state_dir / LEARNED_FOLDER)
    )
    with played(options, missing, packs) as reports:
        lines = flown.replay(options.flight, reports, options.out)
    print("\n".join(lines), file=talk)
    return complete(missing)


def flight_reader(battery: int = 0) -> ReadFlight:
    """Return what reads flights and logs, of several batteries this one, from 0."""
    # The libraries for it would cost the service a twentieth of a second of its start, and more
    # on a companion computer.
    from dronebms.flightlogs.autopilot_logs import read_flight_log  # noqa: PLC0415 - for those who replay alone

    return partial(read_flight_log, battery=battery)


@contextmanager
def played(
    options: argparse.Namespace, missing: list[str], packs: PackMemoryFolder | None = None
) -> Iterator[Iterator[Report]]:
    """Give the steps of a flight, and show on a terminal how far they are.

    Args:
        options: the flight, and what a user knows of its pack.
        missing: takes a sentence for each part that cannot be read.
        packs: what was learned of packs in earlier flights; this flight's lesson is kept there.
    """
    told = FlightOptions(**{key.name: getattr(options, key.name) for key in fields(FlightOptions)})
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(options.flight.name, total=1.0)
        yield flown.reports(
            options.flight,
            told,
            lambda share: bar.update(task, completed=share),
            missing.append,
            flight_reader(options.battery - 1),
            packs,
        )


def complete(missing: Sequence[str]) -> int:
    """Say what is missing, and return the exit code."""
    for sentence in missing:
        print_stderr(sentence)
    return FAILED if missing else DONE

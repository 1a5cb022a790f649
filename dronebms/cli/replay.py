# SPDX-License-Identifier: Apache-2.0
"""The command `dronebms replay`: a flight log, a recording, or an autopilot's log."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from dronebms.analysis import replay as replay_module
from dronebms.analysis.replay import ReadFlight
from dronebms.cli.exit_codes import DONE, FAILED, print_stderr
from dronebms.core.errors import ConfigError
from dronebms.core.number_format import printable, printable_lines
from dronebms.core.report import Report
from dronebms.estimation.learning.pack_memory import LEARNED_FOLDER, PackMemory, PackMemoryFolder
from dronebms.flightlogs import FlightLog, FlightOptions
from dronebms.recording.reading import is_recording


def replay(options: argparse.Namespace) -> int:
    """Replay, write the predictions, print the summary; 1 when a part of the flight is missing."""
    output = sys.stderr if options.out == "-" else sys.stdout  # predictions have stdout alone
    missing: list[str] = []
    with replayed(options, missing, learned_packs(options)) as reports:
        lines = replay_module.replay(options.flight, reports, options.out)
    print(printable_lines("\n".join(lines)), file=output)
    return print_missing(missing)


def learned_packs(options: argparse.Namespace) -> PackMemoryFolder | None:
    """Pack memory of the folder that the user names, None without one."""
    folder = options.state_dir
    return None if folder is None else PackMemoryFolder(folder / LEARNED_FOLDER)


def flight_options(options: argparse.Namespace) -> FlightOptions:
    """What the user states of a flight's pack and vehicle."""
    return FlightOptions(
        cells=options.cells,
        capacity_mah=options.capacity_mah,
        chemistry=options.chemistry,
        cutoff_cell_v=options.cutoff_cell_v,
        pack_id=options.pack_id,
        pack_model=options.pack_model,
        vehicle=options.vehicle_name,
        cell=options.cell,
    )


def check_battery(path: Path, battery: int) -> None:
    """Refuse a number of the battery for a recording, which is replayed with all of its own.

    Raises:
        ConfigError: for such a recording.
    """
    if battery > 1 and is_recording(path):
        raise ConfigError(f"{path} is a recording and has its batteries: omit --battery")


def flight_reader(battery: int = 0) -> ReadFlight:
    """Reader of flight logs and autopilots' logs; of several batteries it reads `battery`."""
    # Loading the parsers takes 50 ms of the service's start, more on a companion computer.
    from dronebms.flightlogs.autopilot_logs import read_flight_log  # noqa: PLC0415 - for replay alone

    def read(path: Path, options: FlightOptions) -> FlightLog:
        log = read_flight_log(path, options, battery)
        for note in log.notes:
            print_stderr(note)
        return log

    return read


@contextmanager
def replayed(
    options: argparse.Namespace, missing: list[str], packs: PackMemory | None = None
) -> Iterator[Iterator[Report]]:
    """Yield the reports of a flight, with a progress bar on a terminal.

    Args:
        options: the flight, and pack data from the command line.
        missing: receives a sentence for each part that cannot be read.
        packs: pack memory to load, and to update with this flight.
    """
    check_battery(options.flight, options.battery)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(escape(printable(options.flight.name)), total=1.0)
        yield replay_module.reports(
            options.flight,
            flight_options(options),
            lambda share: bar.update(task, completed=share),
            missing.append,
            flight_reader(options.battery - 1),
            packs,
        )


def print_missing(missing: Sequence[str]) -> int:
    """Print the missing parts, and return the exit code."""
    for sentence in missing:
        print_stderr(sentence)
    return FAILED if missing else DONE

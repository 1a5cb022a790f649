# SPDX-License-Identifier: Apache-2.0
"""The command: adds, copies, moves flights and what was learned, names packs, prints the history.

Exit code 1: a file of what was learned is damaged and not exported. 2: the database is missing or
cannot be used, the pack is not in it, or a file to import is damaged. 75: a service uses the folder
that is imported into.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from dronebms.cli.exit_codes import DONE, FAILED, print_stderr
from dronebms.cli.option_values import STDOUT
from dronebms.cli.packs.added_flights import add_flights
from dronebms.cli.packs.exchange import push, read_export, write_export
from dronebms.cli.packs.history import read_history
from dronebms.cli.packs.labels import changes_labels, store_labels
from dronebms.cli.packs.learned_export import EverythingLearned, read_everything
from dronebms.cli.packs.plain_data import json_of, write_csv
from dronebms.cli.packs.rows import PackRow, selected_rows
from dronebms.cli.packs.tables import in_width, print_pack, tables
from dronebms.cli.replay import flight_options
from dronebms.core.clock import date_s
from dronebms.core.disk import real_path
from dronebms.core.errors import ConfigError
from dronebms.estimation.learning.pack_memory import LEARNED_FOLDER, PackMemoryFolder
from dronebms.flightlogs import NO_OPTIONS, refuse_output
from dronebms.health.sqlite import FILE

_PIPE_COLUMNS = 1000  # no line breaks in a pipe


def packs(options: argparse.Namespace) -> int:
    """Add, copy or move flights and what was learned, name packs, and print the history."""
    _refuse_outputs(options)
    memory = PackMemoryFolder(options.state_dir / LEARNED_FOLDER)
    _read_in(options, memory)
    damaged: list[str] = []
    everything = read_everything(memory, damaged)
    history = read_history(options, everything)
    selected = selected_rows(history, everything, options.serial)
    if date_s() is None and (options.serviced or any(row.label.every_days for row in selected)):
        print_stderr("the clock of this computer is not set: days since maintenance are unknown")
    if changes_labels(options):
        store_labels(options, selected, history)
        history = read_history(options, everything)
        selected = selected_rows(history, everything, options.serial)
    if options.export is not None:
        write_export(options.export, everything, history)
    if options.push is not None:
        push(options.push, history)
    if not history.flights and not everything.packs:
        print_stderr(f"{history.place} contains no flight")
    if options.csv is not None:
        write_csv([flight for row in selected for flight in row.flights], options.csv)
    if STDOUT not in (options.csv, options.export):
        _print(options, selected, everything)
    for sentence in damaged:
        print_stderr(sentence)
    return FAILED if damaged and options.export is not None else DONE


def _refuse_outputs(options: argparse.Namespace) -> None:
    """Refuse an output that would replace an input or the other output.

    Raises:
        ConfigError: before anything is read or written.
    """
    outputs = [real_path(out) for out in (options.csv, options.export) if out is not None]
    imported: Path | None = getattr(options, "import")
    if len(outputs) > len(set(outputs)):
        raise ConfigError("--csv and --export name the same file")
    if options.json and STDOUT in (options.csv, options.export):
        raise ConfigError("--json prints on stdout: name a file for --csv and --export")
    for out in outputs:
        for flight in options.add:
            refuse_output(out, Path(flight))
        if imported is not None and out == real_path(imported):
            raise ConfigError(f"{out} is the file to import and is not overwritten")


def _read_in(options: argparse.Namespace, memory: PackMemoryFolder) -> None:
    """Add recorded flights, and merge an export."""
    if not options.add and (flight_options(options) != NO_OPTIONS or options.battery > 1):
        raise ConfigError("the data of a flight's pack are given with the flight: --add is missing")
    if options.add:
        add_flights(options.state_dir / FILE, options, memory)
    if (imported := getattr(options, "import")) is not None:
        read_export(imported, options.state_dir, memory)


def _print(
    options: argparse.Namespace, selected: Sequence[PackRow], everything: EverythingLearned
) -> None:
    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    console = Console(markup=False, highlight=False, width=width)
    if options.json:
        for row in selected:
            print(json.dumps(json_of(row), allow_nan=False))
    elif options.serial is None:
        for number, table in enumerate(tables(selected, everything)):
            console.print(*[""] * bool(number), in_width(table, console.width), sep="\n")
    else:
        print_pack(selected[0], console)

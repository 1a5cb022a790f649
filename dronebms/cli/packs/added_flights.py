# SPDX-License-Identifier: Apache-2.0
"""Recorded flights that are added to the history of a vehicle, and learned from."""

import argparse
import hashlib
from pathlib import Path

from rich.console import Console
from rich.progress import track

from dronebms.analysis.replay import reports
from dronebms.cli.exit_codes import print_stderr
from dronebms.cli.packs.history import StoredCounts, store_flights
from dronebms.cli.replay import check_battery, flight_options, flight_reader
from dronebms.core.errors import FlightLogError
from dronebms.core.number_format import counted
from dronebms.estimation.learning.pack_memory import PackMemoryFolder
from dronebms.health.database import PackHistory
from dronebms.health.flight_detection import LEAST_S, FlightDetector
from dronebms.health.flight_record import LOST, FlightRecord
from dronebms.health.sqlite import SqliteFile
from dronebms.recording.reading import is_recording


def add_flights(path: Path, options: argparse.Namespace, memory: PackMemoryFolder) -> None:
    """Add the flights of each file, as soon as it is read: its flights are learned from then.

    Args:
        path: of the history.
        options: of the command.
        memory: of what is learned.

    Raises:
        ConfigError: the history cannot be used.
        FlightLogError: a file cannot be read, or has no flight.
    """
    console = Console(stderr=True)
    if path.exists() and path.stat().st_size:  # one that cannot be used, before the work
        PackHistory(SqliteFile(path, writes=False), writes=False).flights()
    counts = StoredCounts()
    files = 0
    try:
        for name in track(options.add, "flights", console=console, disable=not console.is_terminal):
            flights = _read(Path(name), options, memory)
            history = PackHistory(SqliteFile(path, writes=True), writes=True)
            # A stored flight has been learned from: judged again, it would be known before it is
            # flown.
            store_flights(history, flights, counts, lambda old, new: _stated(old) != _stated(new))
            files += 1
    finally:  # also of the files before one that cannot be read, and before Ctrl-C
        if files:
            flights_done = counted(counts.flights, "flight")
            read = counted(files, "file")
            print_stderr(f"{path}: {flights_done} of {read}: {counts}")


def _stated(flight: FlightRecord) -> tuple[object, ...]:
    """Data of a flight that a user gives with it."""
    return flight.pack, flight.cells, flight.chemistry, flight.rated_mah, flight.vehicle


def _read(path: Path, options: argparse.Namespace, memory: PackMemoryFolder) -> list[FlightRecord]:
    """Flight records of a recorded flight; their ids depend on the content of the file alone.

    A flight log is learned from, once; the run of a recording has done so itself.
    """
    found: dict[int, FlightDetector] = {}
    ended = []
    name = ""
    is_named = False
    stated = flight_options(options)
    check_battery(path, options.battery)
    read = flight_reader(options.battery - 1)
    packs = None if is_recording(path) else memory
    for report in reports(path, stated, lambda _: None, read=read, packs=packs):
        if not name:
            with path.open("rb") as file:
                name = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        is_named = is_named or report.pack_data.pack_key(report.snapshot.identity) is not None
        ended.append(found.setdefault(report.index, FlightDetector(name)).update(report))
    rows = [row for row in (*ended, *(flights.record(LOST) for flights in found.values())) if row]
    if not rows and is_named:
        raise FlightLogError(f"{path} contains no flight of {LEAST_S:.0f} s or more")
    if not rows:
        hint = "" if is_recording(path) else "; set pack_id in its sidecar or with --pack-id"
        raise FlightLogError(f"{path} contains no flight of a named pack{hint}")
    return rows

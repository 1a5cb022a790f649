# SPDX-License-Identifier: Apache-2.0
"""The history of packs that a command reads: of a vehicle's file or of a fleet's database."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dronebms.cli.packs.learned_export import EverythingLearned
from dronebms.core.errors import ConfigError
from dronebms.core.optional import needed_by
from dronebms.health.database import Database, PackHistory
from dronebms.health.flight_record import FlightRecord
from dronebms.health.pack_label import PackLabel
from dronebms.health.sqlite import FILE, SqliteFile


@dataclass(frozen=True, slots=True)
class History:
    """What a database holds."""

    flights: list[FlightRecord]
    labels: dict[str, PackLabel]
    place: str  # name of the database
    is_merged: bool = False  # it has flights of several databases


def read_history(options: argparse.Namespace, everything: EverythingLearned) -> History:
    """The flights, and what users state of their packs.

    Raises:
        ConfigError: there is no history and nothing learned, or the database cannot be used.
    """
    path = options.state_dir / FILE
    url = options.database
    if url is None and not (path.exists() and path.stat().st_size):
        if everything.packs or everything.vehicles:
            return History([], {}, str(options.state_dir))
        raise ConfigError(
            f"no pack history in {options.state_dir}: a service with [state] dir writes one, "
            f"--add FLIGHT starts one, --state-dir selects another folder"
        )
    database = SqliteFile(path, writes=False) if url is None else fleet_database(url)
    found = PackHistory(database, writes=False)
    return History(found.flights(), found.labels(), database.name, found.is_merged())


def fleet_database(url: str) -> Database:
    """The database of a fleet (extra `fleet`).

    Raises:
        ConfigError: its package is not installed, or the database cannot be used.
    """
    with needed_by("--database and --push need", "fleet"):
        from dronebms.health.postgres import PostgresDatabase  # noqa: PLC0415 - an extra
    return PostgresDatabase(url)


@dataclass(slots=True)
class StoredCounts:
    """What became of flights that were to be stored."""

    added: int = 0
    replaced: int = 0
    already_stored: int = 0

    @property
    def flights(self) -> int:
        """All of them."""
        return self.added + self.replaced + self.already_stored

    def __str__(self) -> str:
        """As text, without what has no flight."""
        rows = (
            (self.added, "added"),
            (self.replaced, "replaced"),
            (self.already_stored, "already stored"),
        )
        return ", ".join(f"{count} {what}" for count, what in rows if count)


def store_flights(
    history: PackHistory,
    flights: Sequence[FlightRecord],
    counts: StoredCounts,
    is_other: Callable[[FlightRecord, FlightRecord], bool],
) -> None:
    """Store the flights that are new or other than the stored one.

    Args:
        history: where to.
        flights: to store.
        counts: counts what was done.
        is_other: whether a flight (second argument) replaces the stored one (first).
    """
    stored = {flight.flight_id: flight for flight in history.flights()}
    for flight in flights:
        old = stored.get(flight.flight_id)
        if old is not None and not is_other(old, flight):
            counts.already_stored += 1
            continue
        if old is None:
            counts.added += 1
        else:
            counts.replaced += 1
        history.put([flight])
        stored[flight.flight_id] = flight

"""Pack history database: one row per flight, in SQL that SQLite and PostgreSQL share.

`PackHistory` knows the table, a `Database` the connection. A vehicle has an SQLite file in WAL
mode: readers see whole rows while the service writes, and written rows survive `kill -9`. A file
that is damaged, written by a newer version or not a pack history is never written to.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Protocol

from pydantic import TypeAdapter

from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import UNKNOWN_CAPACITY_AH
from dronebms.core.state import from_json
from dronebms.health.flight_record import COLUMN_TYPES, FLYING, LOST, SCHEMA, FlightRecord

FILE = "packs.sqlite"  # in the folder of `[state] dir`
_BUSY_S = 5.0
_FLIGHT = TypeAdapter(FlightRecord)
_MOST = 1e11  # of a number: seconds since 1970 until the year 5138
_NAMES = tuple(column.name for column in fields(FlightRecord))
_LISTS = frozenset(f.name for f in fields(FlightRecord) if f.default == ())
_TABLE = "CREATE TABLE IF NOT EXISTS flight ({}, PRIMARY KEY (flight_id))".format(
    ", ".join(f"{column.name} {COLUMN_TYPES[column.type]}" for column in fields(FlightRecord))
)
_VERSIONS = "SELECT version FROM passport_schema"
_CREATE = (
    _TABLE,
    "CREATE TABLE IF NOT EXISTS passport_schema (version BIGINT NOT NULL)",
    f"INSERT INTO passport_schema (version) VALUES ({SCHEMA})",  # noqa: S608 - a constant
)
_SEQUENCE = (
    "COALESCE(CAST(:sequence AS BIGINT), (SELECT COALESCE(MAX(sequence), 0) + 1 FROM flight))"
)
_VALUES = ", ".join(_SEQUENCE if name == "sequence" else f":{name}" for name in _NAMES)
_OTHERS = [name for name in _NAMES if name not in {"flight_id", "sequence"}]
_CHANGED = ", ".join(f"{name} = excluded.{name}" for name in _OTHERS)
# A record only grows: an ended flight is never replaced by an older copy that is still flying.
_PUT = (
    f"INSERT INTO flight ({', '.join(_NAMES)}) VALUES ({_VALUES}) ON CONFLICT (flight_id) "  # noqa: S608 - field names
    f"DO UPDATE SET {_CHANGED} WHERE flight.state = '{FLYING}' OR excluded.state <> '{FLYING}'"
)
_GET = f"SELECT {', '.join(_NAMES)} FROM flight ORDER BY sequence, flight_id"  # noqa: S608 - field names
# Version 1 has the relative capacity alone, in mAh of a rated or assumed one.
_ASSUMED_MAH = 1000.0 * UNKNOWN_CAPACITY_AH
_RELATIVE = f"capacity_mah / COALESCE(rated_mah, {_ASSUMED_MAH})"
_SINCE_2 = ("capacity_sd_frac", "relative_capacity")
_IN_1 = {"capacity_mah": "NULL", "capacity_sd_frac": "NULL", "relative_capacity": _RELATIVE}
_GET_1 = (
    f"SELECT {', '.join(_IN_1.get(n, n) for n in _NAMES)} FROM flight ORDER BY sequence, flight_id"  # noqa: S608 - field names
)
_FROM_1 = (  # each may be repeated, as the version is changed last
    f"UPDATE flight SET relative_capacity = {_RELATIVE}, capacity_mah = NULL "  # noqa: S608 - field names
    "WHERE capacity_mah IS NOT NULL AND relative_capacity IS NULL",
    f"UPDATE passport_schema SET version = {SCHEMA}",  # noqa: S608 - a constant
)

Row = Sequence[object]


class Database(Protocol):
    """A database; every error of it is raised as a `ConfigError`."""

    name: str

    def run(self, sql: str, *values: Mapping[str, object]) -> list[Row]:
        """Run a statement with each set of values in one transaction; return the rows."""
        ...


class PackHistory:
    """The flights in a database.

    With `writes`, creates the table if there is none, and changes one of an older version to this
    one; without, an older one is read as it is.

    Raises:
        ConfigError: the database cannot be used; also from every method.
    """

    def __init__(self, database: Database, *, writes: bool) -> None:
        self._database = database
        try:
            versions = [_version(row, database.name) for row in database.run(_VERSIONS)]
        except ConfigError:
            if not writes:
                raise
            for sql in _CREATE:  # the version last: a creation that was interrupted is repeated
                database.run(sql)
            versions = [SCHEMA]
        version = max(versions, default=SCHEMA)
        self._get = _GET_1 if version == 1 and not writes else _GET
        if version == 1 and writes:
            self._change_from_1()
        if version > SCHEMA:
            raise ConfigError(
                f"{database.name} was written by a newer dronebms (pack history version "
                f"{version}, this one reads {SCHEMA}) and is not changed"
            )

    def _change_from_1(self) -> None:
        for name in _SINCE_2:
            try:
                self._database.run(f"SELECT {name} FROM flight WHERE 1 = 0")  # noqa: S608 - a field name
            except ConfigError:  # unless an earlier change was interrupted
                self._database.run(f"ALTER TABLE flight ADD COLUMN {name} DOUBLE PRECISION")
        for sql in _FROM_1:
            self._database.run(sql)

    def put(self, flights: Iterable[FlightRecord]) -> None:
        """Insert flights, or update those that are there already."""
        rows = [
            {k: json.dumps(v) if k in _LISTS else v for k, v in asdict(flight).items()}
            for flight in flights
        ]
        if rows:
            self._database.run(_PUT, *rows)

    def flights(self) -> list[FlightRecord]:
        """All flights in their order.

        By date if every flight has one, as several vehicles may have flown a pack; else by the
        vehicle's own sequence, as its clock may have been wrong.
        """
        found = [self._flight(row) for row in self._database.run(self._get)]
        dated = [flight for flight in found if flight.started_unix_s is not None]
        if len(dated) == len(found):
            found.sort(key=lambda flight: flight.started_unix_s or 0.0)
        return found

    def _flight(self, row: Row) -> FlightRecord:
        values: dict[str, Any] = dict(zip(_NAMES, row, strict=True))
        try:
            for name in _LISTS:
                values[name] = from_json(str(values[name]).encode())
            flight = record_of(values)
        except ValueError as error:
            which = f"flight {values['flight_id']!r:.40}"
            reason = f"{error}".splitlines()[0]
            raise ConfigError(f"{self._database.name} is damaged: {which}: {reason:.80}") from error
        return flight

    def close_lost(self) -> None:
        """Mark the flights that no process records any more: the service was killed in the air."""
        sql = "UPDATE flight SET state = :lost WHERE state = :flying"
        self._database.run(sql, {"lost": LOST, "flying": FLYING})


def record_of(values: object) -> FlightRecord:
    """Flight record of a table of its fields; raises ValueError for any other value."""
    flight = _FLIGHT.validate_python(values)
    _check_numbers(flight)
    return flight


def _check_numbers(flight: FlightRecord) -> None:
    for name, value in asdict(flight).items():
        if isinstance(value, float) and not abs(value) < _MOST:
            raise ValueError(f"{name} is {value:g}")


def _version(row: Row, name: str) -> int:
    if not isinstance(row[0], int):
        raise ConfigError(f"{name} is not a pack history and is not changed")
    return row[0]


class SqliteFile:
    """An SQLite file, opened for each statement and checked before the first write.

    Raises:
        ConfigError: there is no such file, or it cannot be used.
    """

    def __init__(self, path: Path, *, writes: bool) -> None:
        self.name = str(path)
        self._path = path
        self._mode = "rwc" if writes else "ro"
        with self._errors():
            is_new = not path.exists() or not path.stat().st_size
            if is_new and writes:
                path.parent.mkdir(parents=True, exist_ok=True)
            elif not is_new:
                self._check()
        if is_new and writes:
            self.run("PRAGMA journal_mode = WAL")  # stored in the file

    def run(self, sql: str, *values: Mapping[str, object]) -> list[Row]:
        """Run a statement with each set of values in one transaction; return the rows."""
        with self._errors(), closing(self._opened(self._mode)) as connection, connection:
            return [row for one in values or ({},) for row in connection.execute(sql, one)]

    def _opened(self, mode: str) -> sqlite3.Connection:
        # Without a writer there is no WAL file, and a reader may not be permitted to create one.
        unwritten = mode == "ro" and not self._path.with_name(f"{self._path.name}-wal").exists()
        uri = f"{self._path.resolve().as_uri()}?mode={mode}" + "&immutable=1" * unwritten
        return sqlite3.connect(uri, uri=True, timeout=_BUSY_S)

    def _check(self) -> None:
        with closing(self._opened("ro")) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            sql = "SELECT name, type FROM sqlite_master WHERE type <> 'index'"
            kinds = dict(connection.execute(sql).fetchall())
        tables = {name for name, kind in kinds.items() if kind == "table"}
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        # Without the version its creation was interrupted. A view or a trigger is not ours, and may
        # never end.
        is_other = "passport_schema" not in tables and tables - {"flight"}
        if is_other or len(kinds) > len(tables):
            raise ConfigError(f"{self.name} is not a pack history and is not changed")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:  # busy, full, no such file
            why = getattr(error, "strerror", None) or error
            raise ConfigError(f"{self.name} cannot be used: {why}") from error
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{self.name} is damaged and is not changed: {error}") from error

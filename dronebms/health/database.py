# SPDX-License-Identifier: Apache-2.0
"""Pack history database: a row per flight and per named pack, in SQL of SQLite and PostgreSQL.

`PackHistory` knows the table, a `Database` the connection: `sqlite` that of a vehicle, `postgres`
that of a fleet. A database that is damaged, written by a newer version or not a pack history is
never written to.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Protocol

from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import UNKNOWN_CAPACITY_AH
from dronebms.core.state import adapter_of, from_json
from dronebms.health.flight_record import COLUMN_TYPES, FLYING, LOST, SCHEMA, FlightRecord
from dronebms.health.pack_label import PackLabel

_MOST = 1e11  # of a number: seconds since 1970 until the year 5138
_NAMES = tuple(column.name for column in fields(FlightRecord))
_LABEL_NAMES = tuple(column.name for column in fields(PackLabel))
_LISTS = frozenset(f.name for f in fields(FlightRecord) if f.default == ())


def _columns(kind: type) -> str:
    return ", ".join(f"{column.name} {COLUMN_TYPES[column.type]}" for column in fields(kind))


_TABLE = f"CREATE TABLE IF NOT EXISTS flight ({_columns(FlightRecord)}, PRIMARY KEY (flight_id))"
_LABELS = f"CREATE TABLE IF NOT EXISTS pack ({_columns(PackLabel)}, PRIMARY KEY (pack))"
_VERSIONS = "SELECT version FROM passport_schema"
_CREATE = (  # in one transaction
    _TABLE,
    _LABELS,
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
_PUT_LABEL = (
    f"INSERT INTO pack ({', '.join(_LABEL_NAMES)}) "  # noqa: S608 - field names
    f"VALUES ({', '.join(':' + name for name in _LABEL_NAMES)}) ON CONFLICT (pack) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _LABEL_NAMES[1:])
)
_UNNAME = "UPDATE pack SET name = NULL WHERE name = :name AND pack <> :pack"
_REPEATED = "SELECT COUNT(*) - COUNT(DISTINCT sequence) FROM flight"
_GET_LABELS = f"SELECT {', '.join(_LABEL_NAMES)} FROM pack ORDER BY pack"  # noqa: S608 - field names
_LABELS_SINCE = 3
# Columns that earlier versions do not have, and the first version that does.
_SINCE: Mapping[str, int] = {
    "capacity_sd_frac": 2, "relative_capacity": 2,
    "vehicle": 3, "above_90_h": 3, "cell_deviations": 3,
}  # fmt: skip
# Version 1 has the relative capacity alone, in mAh of a rated or assumed one.
_ASSUMED_MAH = 1000.0 * UNKNOWN_CAPACITY_AH
_RELATIVE = f"capacity_mah / COALESCE(rated_mah, {_ASSUMED_MAH})"
_IN_1 = {"capacity_mah": "NULL", "relative_capacity": _RELATIVE}
_FROM_1 = (  # may be repeated, as the version is changed last
    f"UPDATE flight SET relative_capacity = {_RELATIVE}, capacity_mah = NULL "  # noqa: S608 - field names
    "WHERE capacity_mah IS NOT NULL AND relative_capacity IS NULL"
)
_SET_VERSION = f"UPDATE passport_schema SET version = {SCHEMA}"  # noqa: S608 - a constant


def _get(version: int) -> str:
    """Statement that reads the flights of a database of a version."""
    columns = []
    for name in _NAMES:
        column = _IN_1.get(name, name) if version == 1 else name
        if column == name and _SINCE.get(name, 1) > version:
            column = "'[]'" if name in _LISTS else "NULL"
        columns.append(column)
    # Of one pack, or with an empty name of all.
    of = "WHERE :pack IN ('', pack)"
    return f"SELECT {', '.join(columns)} FROM flight {of} ORDER BY sequence, flight_id"  # noqa: S608 - field names


Row = Sequence[object]


class Database(Protocol):
    """A database; every error of it is raised as a `ConfigError`."""

    name: str

    def run(self, sql: str, *values: Mapping[str, object]) -> list[Row]:
        """Run a statement with each set of values in one transaction; return the rows."""
        ...

    def change(self, *statements: tuple[str, Mapping[str, object]]) -> None:
        """Run statements with their values in one transaction."""
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
            versions = []
        if not versions and writes:  # also one whose creation by an earlier version was interrupted
            database.change(*((sql, {}) for sql in _CREATE))
        version = max(versions, default=SCHEMA)
        if version > SCHEMA:
            raise ConfigError(
                f"{database.name} was written by a newer dronebms (pack history version "
                f"{version}, this one reads {SCHEMA}) and is not changed"
            )
        if version < SCHEMA and writes:
            self._change_from(version)
            version = SCHEMA
        self._version = version

    def _change_from(self, version: int) -> None:
        """Change the tables of an older version; an interrupted change is repeated."""
        types = {column.name: COLUMN_TYPES[column.type] for column in fields(FlightRecord)}
        for name, since in _SINCE.items():
            if since <= version:
                continue
            try:
                self._database.run(f"SELECT {name} FROM flight WHERE 1 = 0")  # noqa: S608 - a field name
            except ConfigError:
                default = " DEFAULT '[]'" if name in _LISTS else ""
                sql = f"ALTER TABLE flight ADD COLUMN {name} {types[name]}{default}"
                self._database.run(sql)
        if version == 1:
            self._database.run(_FROM_1)
        self._database.run(_LABELS)
        self._database.run(_SET_VERSION)

    def put(self, flights: Iterable[FlightRecord]) -> None:
        """Insert flights, or update those that are there already."""
        rows = [
            {k: json.dumps(v) if k in _LISTS else v for k, v in asdict(flight).items()}
            for flight in flights
        ]
        if rows:
            self._database.run(_PUT, *rows)

    def flights(self, pack: str = "") -> list[FlightRecord]:
        """The flights of one pack, or all, in their order if that `is_ordered`, below.

        By the vehicle's own sequence, as its clock may have been wrong. Where flights of several
        databases were copied to one, by date; those without a date come first.
        """
        found = [
            self._flight(row) for row in self._database.run(_get(self._version), {"pack": pack})
        ]
        if self.is_merged():
            found.sort(key=lambda flight: flight.started_unix_s or 0.0)
        return found

    def is_merged(self) -> bool:
        """Whether it has flights of several databases: each counts from 1."""
        return bool(self._database.run(_REPEATED)[0][0])

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

    def put_label(self, label: PackLabel) -> None:
        """Store what a user states of a pack; another pack of the same name loses it."""
        self._database.change(
            (_UNNAME, {"name": label.name, "pack": label.pack}),
            (_PUT_LABEL, asdict(label) | {"tags": json.dumps(label.tags)}),
        )

    def labels(self) -> dict[str, PackLabel]:
        """What users state of packs, by pack."""
        if self._version < _LABELS_SINCE:
            return {}
        found = [self._label(row) for row in self._database.run(_GET_LABELS)]
        return {label.pack: label for label in found}

    def _label(self, row: Row) -> PackLabel:
        values: dict[str, Any] = dict(zip(_LABEL_NAMES, row, strict=True))
        try:
            values["tags"] = from_json(str(values["tags"]).encode())
            return label_of(values)
        except ValueError as error:
            which = f"pack {values['pack']!r:.40}"
            reason = f"{error}".splitlines()[0]
            raise ConfigError(f"{self._database.name} is damaged: {which}: {reason:.80}") from error

    def close_lost(self) -> None:
        """Mark the flights that no process records any more: the service was killed in the air."""
        sql = "UPDATE flight SET state = :lost WHERE state = :flying"
        self._database.run(sql, {"lost": LOST, "flying": FLYING})


def is_ordered(flights: Sequence[FlightRecord], *, is_merged: bool) -> bool:
    """Whether the order of flights of one `PackHistory` is known.

    Args:
        flights: some or all of it.
        is_merged: whether it has flights of several databases.
    """
    return (
        not is_merged
        or len(flights) <= 1
        or all(flight.started_unix_s is not None for flight in flights)
    )


def record_of(values: object) -> FlightRecord:
    """Flight record of a table of its fields; raises ValueError for any other value."""
    flight: FlightRecord = adapter_of(FlightRecord).validate_python(values)
    _check_numbers(flight)
    return flight


def label_of(values: object) -> PackLabel:
    """Pack label of a table of its fields; raises ValueError for any other value."""
    label: PackLabel = adapter_of(PackLabel).validate_python(values)
    _check_numbers(label)
    return label


def _check_numbers(row: FlightRecord | PackLabel) -> None:
    for name, value in asdict(row).items():
        if isinstance(value, float) and not abs(value) < _MOST:
            raise ValueError(f"{name} is {value:g}")


def _version(row: Row, name: str) -> int:
    if not isinstance(row[0], int):
        raise ConfigError(f"{name} is not a pack history and is not changed")
    return row[0]

# SPDX-License-Identifier: Apache-2.0
"""Contract of every pack history database: an SQLite file, and a real PostgreSQL server."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import UNKNOWN_CAPACITY_AH
from dronebms.health.database import Database, PackHistory, is_ordered
from dronebms.health.flight_record import (
    COLUMN_TYPES,
    FLYING,
    LANDED,
    LOST,
    SCHEMA,
    FlightRecord,
)
from dronebms.health.pack_label import PackLabel
from dronebms.health.postgres import PostgresDatabase
from dronebms.health.sqlite import SqliteFile
from tests.postgres import server

FULL = FlightRecord(
    "run:0:1", LANDED, "TI 6S2P 2025-03-14 1001", None, 1001, "lipo", 6, 16000.0, 1.7e9, 1200.5,
    1190.25, 12000.0, 99.5, 20.25, 12.0, 15800.0, 15500.0, 0.05, 1.1, 2.5, 31.0, 33.0, 41.0,
    3.0, 45.0, 3,
    22.0, 3.41, 12.5, 1.5, 0.0, (1.0, 2.5, 0.0, 0.0, 0.0), (0.01, -0.02), (-0.01, None),
    (("cell_low", 12.5, 3.41), ("silent", 3.0, None)),
    "lifter 2", 7.25, (0.0, 3.0, None),
)  # fmt: skip
SINCE_2 = "capacity_sd_frac", "relative_capacity"
SINCE_3 = "vehicle", "above_90_h", "cell_deviations"
VERSION_1 = (
    "CREATE TABLE flight ({}, PRIMARY KEY (flight_id))".format(
        ", ".join(
            f"{f.name} {COLUMN_TYPES[f.type]}"
            for f in fields(FlightRecord)
            if f.name not in SINCE_2 + SINCE_3
        )
    ),
    "CREATE TABLE passport_schema (version BIGINT NOT NULL)",
    "INSERT INTO passport_schema (version) VALUES (1)",
    "INSERT INTO flight (flight_id, state, pack, sequence, chemistry, rated_mah, capacity_mah, "
    "drawn_ah, cells_resistance, cells_capacity, excursions) VALUES "
    "('a', 'landed', 'P', 1, 'lipo', 22000, 31900, '[]', '[]', '[]', '[]'), "
    "('b', 'landed', 'P', 2, 'lipo', NULL, 4000, '[]', '[]', '[]', '[]'), "
    "('c', 'landed', 'P', 3, 'lipo', 22000, NULL, '[]', '[]', '[]', '[]')",
)
OLD = [("a", None, 1.45), ("b", None, 4.0 / UNKNOWN_CAPACITY_AH), ("c", None, None)]
BARE = FlightRecord("run:0:2", FLYING, 'Robert"); DROP TABLE flight; -- :pack')


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with server() as url:
        yield url


Open = Callable[[], Database]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Function that opens one database, empty at first, each time that it is called."""
    if request.param == "sqlite":
        yield lambda: SqliteFile(tmp_path / "packs.sqlite", writes=True)
        return
    url = request.getfixturevalue("postgres")
    for table in ("flight", "pack", "passport_schema"):
        PostgresDatabase(url).run(f"DROP TABLE IF EXISTS {table}")
    yield lambda: PostgresDatabase(url)


def test_a_flight_is_read_as_it_was_written(database: Open) -> None:
    assert all(
        getattr(FULL, f.name) is not None for f in fields(FlightRecord) if f.name != "sequence"
    )
    PackHistory(database(), writes=True).put([FULL, BARE])
    found = PackHistory(database(), writes=False).flights()
    assert found == [replace(FULL, sequence=1), replace(BARE, sequence=2)]


def test_the_same_flight_written_again_is_one_row_with_its_sequence(database: Open) -> None:
    history = PackHistory(database(), writes=True)
    history.put([BARE])
    history.put([FULL])
    history.put([replace(BARE, state=LANDED, flown_s=600.0, pack="another name")])
    rows = [(row.flight_id, row.sequence, row.flown_s, row.pack) for row in history.flights()]
    assert rows == [("run:0:2", 1, 600.0, "another name"), ("run:0:1", 2, 1200.5, FULL.pack)]


def test_an_older_copy_of_a_flight_does_not_replace_its_end(database: Open) -> None:
    history = PackHistory(database(), writes=True)
    history.put([FULL])
    history.put([replace(FULL, state=FLYING, flown_s=5.0)])
    assert history.flights() == [replace(FULL, sequence=1)]


def test_a_flight_in_progress_is_lost_at_the_next_start(database: Open) -> None:
    PackHistory(database(), writes=True).put([FULL, replace(BARE, flown_s=300.0)])
    again = PackHistory(database(), writes=True)
    again.close_lost()
    assert [(row.state, row.flown_s) for row in again.flights()] == [
        (LANDED, 1200.5),
        (LOST, 300.0),
    ]


def test_a_newer_database_is_rejected_by_readers_and_writers(database: Open) -> None:
    PackHistory(database(), writes=True).put([FULL])
    database().run("UPDATE passport_schema SET version = :v", {"v": SCHEMA + 1})
    for writes in (False, True):
        with pytest.raises(ConfigError, match=r"written by a newer dronebms .* is not changed"):
            PackHistory(database(), writes=writes)


def test_the_flights_of_a_pack_on_several_vehicles_are_in_the_order_of_their_dates(
    database: Open, tmp_path: Path
) -> None:
    fleet = PackHistory(database(), writes=True)
    for vehicle in range(3):
        own = PackHistory(SqliteFile(tmp_path / f"{vehicle}.sqlite", writes=True), writes=True)
        own.put(
            replace(FULL, flight_id=f"{vehicle}:0:{n}", started_unix_s=1.7e9 + 3 * n + vehicle)
            for n in range(4)
        )
        for _ in range(2):  # a push that is repeated changes nothing
            fleet.put(own.flights())
    dates = [row.started_unix_s for row in fleet.flights()]
    assert dates == [1.7e9 + k for k in range(12)]


def test_the_flights_of_one_vehicle_are_in_its_own_order_whatever_its_clock_was(
    database: Open,
) -> None:
    dates = (None, 1.7e9, None, 1.6e9, 1.8e9)  # never set, set, never set, stale, set
    own = PackHistory(database(), writes=True)
    own.put(
        replace(FULL, flight_id=f"{n}", started_unix_s=date_s) for n, date_s in enumerate(dates)
    )
    found = own.flights()
    assert [row.flight_id for row in found] == ["0", "1", "2", "3", "4"]
    assert is_ordered(found, is_merged=own.is_merged())


def test_the_order_of_flights_of_several_vehicles_is_unknown_without_their_dates(
    database: Open, tmp_path: Path
) -> None:
    fleet = PackHistory(database(), writes=True)
    for vehicle in range(2):
        own = PackHistory(SqliteFile(tmp_path / f"{vehicle}.sqlite", writes=True), writes=True)
        own.put(
            replace(FULL, flight_id=f"{vehicle}:0:{n}", pack=pack, started_unix_s=date_s)
            for n, (pack, date_s) in enumerate([("a", None), ("b", 1.7e9 - vehicle), ("a", 1.8e9)])
        )
        fleet.put(own.flights())
    assert fleet.is_merged()
    known = {pack: is_ordered(fleet.flights(pack), is_merged=True) for pack in ("a", "b")}
    assert known == {"a": False, "b": True}
    assert [row.flight_id for row in fleet.flights("b")] == ["1:0:1", "0:0:1"]
    assert [row.pack for row in fleet.flights()] == ["a", "a", "b", "b", "a", "a"]


def test_a_failed_write_leaves_nothing_of_it(database: Open) -> None:
    history = PackHistory(database(), writes=True)
    with pytest.raises(ConfigError):
        history.put([FULL, replace(BARE, pack=None)])  # type: ignore[arg-type]  # rejected by the database
    assert history.flights() == []


def capacities(flights: list[FlightRecord]) -> list[tuple[str, float | None, float | None]]:
    return [(row.flight_id, row.capacity_mah, row.relative_capacity) for row in flights]


def test_a_history_of_version_1_is_read_as_it_is_without_a_writer(database: Open) -> None:
    for sql in VERSION_1:
        database().run(sql)
    assert capacities(PackHistory(database(), writes=False).flights()) == OLD
    assert database().run("SELECT version FROM passport_schema")[0][0] == 1


@pytest.mark.parametrize(
    "done",
    [
        (),
        ("ALTER TABLE flight ADD COLUMN capacity_sd_frac DOUBLE PRECISION",),
        ("ALTER TABLE flight ADD COLUMN relative_capacity DOUBLE PRECISION",),
        (
            "ALTER TABLE flight ADD COLUMN relative_capacity DOUBLE PRECISION",
            "UPDATE flight SET relative_capacity = 1.45, capacity_mah = NULL WHERE flight_id = 'a'",
        ),
    ],
    ids=["whole", "one column", "the other column", "one row"],
)
def test_a_writer_changes_a_history_of_version_1_after_any_interruption(
    database: Open, done: tuple[str, ...]
) -> None:
    for sql in (*VERSION_1, *done):
        database().run(sql)
    history = PackHistory(database(), writes=True)
    assert capacities(history.flights()) == OLD
    history.put([FULL])
    for again in (True, False):
        flights = PackHistory(database(), writes=again).flights()
        assert capacities(flights) == [*OLD, ("run:0:1", 15500.0, 1.1)]
        assert flights[-1] == replace(FULL, sequence=4)


LABEL = PackLabel(FULL.pack, "blue 1", ("survey", "winter"), 50.0, 30.5, 180.0, 1.7e9, "run:0:1")


def test_what_a_user_states_of_a_pack_is_read_as_it_was_written(database: Open) -> None:
    assert all(getattr(LABEL, f.name) is not None for f in fields(PackLabel))
    history = PackHistory(database(), writes=True)
    bare = PackLabel('x"); DROP TABLE pack; --')
    for label in (replace(LABEL, name="other"), bare, LABEL):
        history.put_label(label)
    expected = {bare.pack: bare, LABEL.pack: LABEL}
    assert PackHistory(database(), writes=False).labels() == expected
    history.put_label(replace(bare, name="blue 1"))  # one pack has a name at a time
    assert history.labels()[LABEL.pack] == replace(LABEL, name=None)


def test_a_history_of_version_1_has_no_names_until_a_writer_changes_it(database: Open) -> None:
    for sql in VERSION_1:
        database().run(sql)
    assert PackHistory(database(), writes=False).labels() == {}
    history = PackHistory(database(), writes=True)
    history.put_label(LABEL)
    assert history.labels() == {LABEL.pack: LABEL}


@pytest.mark.parametrize(
    "done",
    [
        (),
        ("ALTER TABLE flight ADD COLUMN vehicle TEXT",),
        ("ALTER TABLE flight ADD COLUMN cell_deviations TEXT NOT NULL DEFAULT '[]'",),
    ],
    ids=["whole", "one column", "the last column"],
)
def test_a_writer_changes_a_history_of_version_2_after_any_interruption(
    database: Open, done: tuple[str, ...]
) -> None:
    history = PackHistory(database(), writes=True)
    history.put([FULL, BARE])
    for name in SINCE_3:
        database().run(f"ALTER TABLE flight DROP COLUMN {name}")
    database().run("DROP TABLE pack")
    database().run("UPDATE passport_schema SET version = 2")
    for sql in done:
        database().run(sql)
    expected = [
        replace(row, sequence=n, vehicle=None, above_90_h=None, cell_deviations=())
        for n, row in enumerate((FULL, BARE), 1)
    ]
    if not done:
        assert PackHistory(database(), writes=False).flights() == expected
    assert PackHistory(database(), writes=True).flights() == expected
    history = PackHistory(database(), writes=True)
    history.put([replace(FULL, flight_id="later")])
    assert history.flights()[-1] == replace(FULL, flight_id="later", sequence=3)

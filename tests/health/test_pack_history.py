# SPDX-License-Identifier: Apache-2.0
"""Pack history: flight detection, the sink's thread, and files that must not be changed."""

import hashlib
import logging
import math
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import fields, replace
from pathlib import Path
from time import monotonic

import pytest

from dronebms.core.errors import ConfigError
from dronebms.core.report import PackSummary, Report
from dronebms.health.capacity import pack_capacity
from dronebms.health.database import PackHistory
from dronebms.health.flight_detection import FlightDetector
from dronebms.health.flight_record import FLYING, LANDED, LOST, SCHEMA, FlightRecord
from dronebms.health.pack_label import PackLabel
from dronebms.health.sink import PackHistorySink
from dronebms.health.sqlite import FILE, SqliteFile
from dronebms.protection.limits import every_limit
from dronebms.simulation.simulated_flight import SimOptions, Simulation
from smartbattery.snapshot import Identity
from tests.disks import files_limited_to

KEY = "virtual 6S2P 16000 2025-03-14 1001"
TODAY_S = 1_800_000_000.0


def survey(seconds: float, faults: tuple[str, ...] = ()) -> list[Report]:
    with ExitStack() as stack:
        options = SimOptions("survey", 1, None, faults, seconds)
        return list(Simulation(options, stack).reports())


@pytest.fixture(scope="module")
def whole() -> list[Report]:
    """Steps of a whole flight of 1,254 s."""
    return survey(1254.0)


@pytest.fixture(scope="module")
def start() -> list[Report]:
    return survey(60.0)


def flights_of(reports: list[Report]) -> list[FlightRecord]:
    detector = FlightDetector("run")
    found = [row for report in reports if (row := detector.update(report)) is not None]
    last = detector.record(LOST)
    return found if last is None else [*found, last]


def stored(folder: Path) -> list[FlightRecord]:
    return PackHistory(SqliteFile(folder / FILE, writes=False), writes=False).flights()


# ------------------------------------------------------------------------- flights


@pytest.mark.slow
def test_a_record_agrees_with_the_flight_of_the_virtual_pack(whole: list[Report]) -> None:
    (row,) = flights_of(whole)
    with ExitStack() as stack:
        world = Simulation(SimOptions("survey", 1, None), stack).world
        world.advance(1233.5)
        truth = world.truth()
    assert (row.flight_id, row.state, row.pack) == ("run:0:1", LANDED, KEY)
    assert (row.serial, row.chemistry, row.cells, row.rated_mah) == (1001, "lipo", 6, 16000.0)
    assert row.flown_s == pytest.approx(1213.5, abs=0.5)
    assert row.armed_s == pytest.approx(1213.5, abs=0.5)
    assert row.used_mah == pytest.approx(truth.drawn_mah, rel=0.02)
    assert row.hottest_degc is not None
    assert row.hottest_degc == pytest.approx(truth.temperature_degc, abs=2.0)
    assert row.started_unix_s is None
    assert row.lowest_cell_v == pytest.approx(min(truth.cells_v), abs=0.1)
    assert row.end_pct == pytest.approx(truth.soc_frac * 100.0, abs=10.0)
    assert sum(amp_h or 0.0 for amp_h in row.drawn_ah) == pytest.approx(
        truth.drawn_mah / 1e3, rel=0.02
    )


@pytest.mark.slow
def test_capacity_and_resistance_of_one_flight_are_near_the_simulated_ones(
    whole: list[Report],
) -> None:
    (row,) = flights_of(whole)
    assert row.relative_capacity == pytest.approx(0.95, rel=0.05)
    capacity = pack_capacity([row])
    assert capacity is not None
    assert capacity.low_mah < 0.95 * 16000 < capacity.high_mah < 1.1 * 16000
    # 40 mohm Ah are for 20 s of 1C; 5 s of the same circuit have a little less.
    assert row.resistance_mohm == pytest.approx(40.0 / 16, rel=0.15)


@pytest.mark.slow
def test_a_weak_cell_is_measured_under_its_number(whole: list[Report]) -> None:
    (healthy,) = flights_of(whole)
    (weak,) = flights_of(survey(450.0, ("weak_cell=0.95",)))
    assert weak.lowest_cell == 3
    apart = [
        (b or 0.0) - (a or 0.0)
        for a, b in zip(healthy.cells_resistance, weak.cells_resistance, strict=True)
    ]
    assert apart.index(max(apart)) == 2
    assert apart[2] == pytest.approx(0.5, abs=0.15)
    holds = [value or 0.0 for value in weak.cells_capacity]
    assert holds.index(min(holds)) == 2


def test_a_tripped_limit_is_recorded_with_its_time_and_its_worst_value(start: list[Report]) -> None:
    def tripped(report: Report) -> Report:
        cells_v = (3.2 if 30.0 <= report.t_s < 35.0 else 3.3, 3.9)
        active = ("cell_critical",) if 30.0 <= report.t_s < 40.0 else ()
        snapshot = replace(report.snapshot, cells_v=cells_v)
        return replace(report, snapshot=snapshot, status=replace(report.status, active=active))

    (row,) = flights_of([tripped(report) for report in start])
    ((limit_id, seconds, worst),) = row.excursions
    assert (limit_id, worst) == ("cell_critical", 3.2)
    assert seconds == pytest.approx(10.0, abs=0.11)


def test_a_limit_of_every_quantity_is_recorded_and_read_again(
    start: list[Report], tmp_path: Path
) -> None:
    """Some quantities are counts of what the snapshot lists in words."""

    def tripped(report: Report) -> Report:
        words = {"doubts": ("current 0.5 A, cells sag 42 mV: rejected",), "other_pack": "a pack"}
        snapshot = replace(report.snapshot, **words)  # type: ignore[arg-type]  # by name
        status = replace(report.status, active=tuple(every_limit()))
        return replace(report, snapshot=snapshot, status=status)

    (row,) = flights_of([tripped(report) for report in start])
    worst = {limit_id: value for limit_id, _, value in row.excursions}
    assert set(worst) == set(every_limit())
    assert (worst["implausible"], worst["other_pack"]) == (None, None)
    assert isinstance(worst["cell_critical"], float)
    PackHistory(SqliteFile(tmp_path / FILE, writes=True), writes=True).put([row])
    assert [again.excursions for again in stored(tmp_path)] == [row.excursions]


def test_another_pack_is_another_flight_and_a_silent_gauge_is_not(start: list[Report]) -> None:
    def changed(report: Report) -> Report:
        serial = 1001 if report.t_s < 41.0 else 7
        identity = Identity() if 50.0 < report.t_s < 52.0 else Identity(serial=serial)
        return replace(report, snapshot=replace(report.snapshot, identity=identity))

    rows = flights_of([changed(report) for report in start])
    assert [(row.pack, row.flight_id) for row in rows] == [("1001", "run:0:1")]
    rows = flights_of([changed(replace(r, t_s=r.t_s * 2)) for r in start])
    assert [row.pack for row in rows] == ["7"]


def test_without_a_vehicle_a_flight_is_from_the_first_load_to_a_minute_without(
    start: list[Report],
) -> None:
    def alone(report: Report, amps: float | None) -> Report:
        vehicle, snapshot = replace(report.vehicle, armed=None), report.snapshot
        return replace(report, vehicle=vehicle, snapshot=replace(snapshot, current_a=amps))

    loaded = [
        alone(replace(start[100], t_s=float(t)), 30.0 if 10 <= t < 100 else 0.1) for t in range(300)
    ]
    (row,) = flights_of(loaded)
    assert row.state == LANDED
    assert row.flown_s == pytest.approx(90.0 + 60.0, abs=2.0)


def test_a_pack_without_serial_has_its_configured_pack_id(start: list[Report]) -> None:
    pack_data = replace(start[-1].pack_data, pack_id="blue")
    assert pack_data.pack_key(Identity()) == "blue"
    assert replace(pack_data, pack_id=None).pack_key(Identity()) is None
    assert pack_data.pack_key(start[-1].snapshot.identity) == KEY


@pytest.mark.parametrize("serial", [None, 0, 1, 65535])
def test_two_packs_of_one_log_with_equal_data_are_not_merged(
    start: list[Report], serial: int | None
) -> None:
    pack_data = replace(start[-1].pack_data, pack_id="blue")

    def of_pack(report: Report, connection: int, late_s: float) -> Report:
        identity = Identity(serial=serial, connection=connection)
        snapshot = replace(report.snapshot, identity=identity)
        return replace(report, t_s=report.t_s + late_s, snapshot=snapshot, pack_data=pack_data)

    first = [of_pack(report, 0, 0.0) for report in start]
    second = [of_pack(report, 1, start[-1].t_s + 100.0) for report in start]
    alone = flights_of(first)
    assert [row.pack for row in alone] == ["blue"]
    assert [(row.pack, row.flown_s) for row in flights_of(first + second)] == [
        ("blue", alone[0].flown_s)
    ]


# ------------------------------------------------------------------------- the sink


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[PackHistorySink]:
    with closing(PackHistorySink(tmp_path, lambda: TODAY_S)) as made:
        yield made


def test_the_sink_writes_flights_with_their_date(start: list[Report], tmp_path: Path) -> None:
    with closing(PackHistorySink(tmp_path, lambda: TODAY_S)) as sink:
        for report in start:
            sink(report)
    (row,) = stored(tmp_path)
    assert (row.state, row.sequence) == (LOST, 1)
    assert row.flown_s == pytest.approx(40.0, abs=0.5)
    assert row.started_unix_s == pytest.approx(TODAY_S - 40.0, abs=1.0)


@pytest.mark.parametrize("early_s", [None, TODAY_S - 90 * 86_400.0])
def test_flights_before_the_clock_is_set_receive_their_date_when_it_is(
    early_s: float | None, start: list[Report], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One has landed and the next is in the air when the date jumps, by 56 years or 90 days."""
    caplog.set_level(logging.INFO)
    after_s = start[-1].t_s + 40.0  # less than a step of the date
    landed = replace(
        start[-1], t_s=start[-1].t_s + 1.0, vehicle=replace(start[-1].vehicle, armed=False)
    )
    second = [replace(report, t_s=report.t_s + after_s) for report in start]
    now_s = [early_s]
    sink = PackHistorySink(tmp_path, lambda: now_s[0])
    sink.close()  # its thread; the test makes the rounds
    for report in (*start, landed, *second[:-1]):
        sink(report)
    sink._round()
    first, other = stored(tmp_path)
    assert (first.state, other.state) == (LANDED, FLYING)
    assert (first.started_unix_s is None) == (early_s is None)
    now_s[0] = TODAY_S
    sink(second[-1])
    sink._round()
    sink.close()
    sink._write([one.record(FLYING) for one in sink._detectors.values()])
    dated, flying = stored(tmp_path)
    assert dated == replace(first, started_unix_s=dated.started_unix_s)
    landed_s = TODAY_S - (second[-1].t_s - landed.t_s)
    assert dated.started_unix_s == pytest.approx(landed_s - (first.flown_s or 0.0))
    assert flying.started_unix_s == pytest.approx(TODAY_S - (flying.flown_s or 0.0))
    texts = [r.getMessage() for r in caplog.records if r.name.startswith("dronebms.health")]
    assert texts == [
        *["the clock of this computer is not set: flights have no date until it is"]
        * (early_s is None),
        "the clock of this computer is set: so are the dates of this run's flights",
    ]


def test_a_clock_that_is_lost_in_flight_takes_no_date_away(start: list[Report]) -> None:
    detector = FlightDetector("run")
    for report in start:
        detector.update(report, unix_s=TODAY_S + report.t_s if report.t_s < 50.0 else None)
    row = detector.record(LOST)
    assert row is not None
    assert row.started_unix_s == pytest.approx(TODAY_S + start[-1].t_s - (row.flown_s or 0.0))


def test_a_clock_that_is_not_set_gives_no_date(start: list[Report], tmp_path: Path) -> None:
    with closing(PackHistorySink(tmp_path, lambda: None)) as sink:
        for report in start:
            sink(report)
    assert stored(tmp_path)[0].started_unix_s is None


def test_screens_have_the_name_of_the_pack_and_its_flights(
    start: list[Report], tmp_path: Path
) -> None:
    """The flight in progress does not count; a name that is given meanwhile is read a minute on."""
    with closing(PackHistorySink(tmp_path, lambda: TODAY_S)) as sink:
        for report in start:
            sink(report)
    (flight,) = stored(tmp_path)
    history = PackHistory(SqliteFile(tmp_path / FILE, writes=True), writes=True)
    label = PackLabel(flight.pack, "blue 1", ("survey",), every_flights=1.0)
    ground = [replace(start[0], t_s=float(t_s)) for t_s in range(70)]
    sink = PackHistorySink(tmp_path, lambda: TODAY_S)
    sink.close()  # its thread; the test makes the rounds

    def shown(reports: list[Report]) -> PackSummary | None:
        for report in reports:
            sink(report)
        sink._round()
        return sink.with_summary(ground[0]).history

    assert sink.with_summary(ground[0]) is ground[0]
    found = shown(ground[:30])
    assert found is not None
    assert (found.name, found.flights, found.maintenance) == (None, 1, None)
    history.put_label(label)
    assert shown(ground[30:55]) == found
    named = replace(
        found, name="blue 1", tags=("survey",), maintenance="maintenance due: 1 of 1 flights"
    )
    assert shown(ground[55:]) == named
    assert sink.with_summary(replace(ground[0], index=1)).history is None
    assert shown([replace(report, t_s=report.t_s + 100.0) for report in start]) == named
    assert len(stored(tmp_path)) == 2  # one of them in progress


def test_a_locked_database_blocks_nothing_is_logged_once_and_loses_no_flight(
    start: list[Report], tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("dronebms.health.sqlite._BUSY_S", 0.05)
    PackHistory(SqliteFile(tmp_path / FILE, writes=True), writes=True)
    failed = threading.Event()

    def logged(_: logging.LogRecord) -> bool:
        failed.set()
        return True

    caplog.handler.addFilter(logged)
    with closing(sqlite3.connect(tmp_path / FILE)) as other:
        other.execute("BEGIN EXCLUSIVE")
        sink = PackHistorySink(tmp_path, lambda: TODAY_S)
        for report in start[:-1]:
            sink(report)  # returns at once: the flight takes milliseconds
        assert failed.wait(10.0)
        other.rollback()
    sink(start[-1])
    sink.close()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        f"the pack history is not recorded: {tmp_path / FILE} cannot be used: database is locked"
    ]
    assert [row.state for row in stored(tmp_path)] == [LOST]


def test_a_folder_that_is_deleted_in_flight_is_logged_once_and_made_again(
    start: list[Report], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = tmp_path / "state"
    sink = PackHistorySink(folder, lambda: TODAY_S)
    for report in start[:-1]:
        sink(report)
    end_s = monotonic() + 30.0
    while not stored_or_none(folder):
        assert monotonic() < end_s
    folder.rename(tmp_path / "gone")  # atomic, unlike a deletion
    sink(start[-1])
    sink.close()
    assert [row.state for row in stored(folder)] == [LOST]
    texts = [record.getMessage() for record in caplog.records]
    assert len([text for text in texts if text.startswith("the pack history is not")]) == 1
    assert texts[-1] == f"the pack history is recorded again in {folder / FILE}"


def test_a_flight_of_a_killed_service_is_lost_at_the_next_start(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import sys
        from contextlib import ExitStack
        from pathlib import Path
        from dronebms.simulation.simulated_flight import SimOptions, Simulation
        from dronebms.health.sink import PackHistorySink
        sink = PackHistorySink(Path(sys.argv[1]), lambda: 1.8e9)
        with ExitStack() as stack:
            for report in Simulation(SimOptions("survey", 1, None), stack).reports():
                sink(report)
                if 100.0 <= report.t_s < 100.05:
                    print("flying", flush=True)
                    sys.stdin.readline()
        """
    )
    command = (sys.executable, "-c", code, str(tmp_path))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:  # noqa: S603 - ours
        assert child.stdout is not None
        assert child.stdout.readline() == b"flying\n"
        while not any((row.flown_s or 0.0) >= 74.5 for row in stored_or_none(tmp_path)):
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    (row,) = stored(tmp_path)
    assert row.state == FLYING
    with closing(PackHistorySink(tmp_path, lambda: TODAY_S)):
        pass
    (row,) = stored(tmp_path)
    assert row.state == LOST
    assert row.flown_s is not None
    assert 74.5 <= row.flown_s <= 80.0  # a row every 5 s
    assert row.used_mah is not None
    assert row.used_mah > 500


def stored_or_none(folder: Path) -> list[FlightRecord]:
    try:
        return stored(folder)
    except ConfigError:
        return []


def test_a_full_disk_is_logged_and_stops_nothing(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import resource, signal, sys
        from contextlib import ExitStack
        from pathlib import Path
        from dronebms.simulation.simulated_flight import SimOptions, Simulation
        from dronebms.health.sink import PackHistorySink
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        sink = PackHistorySink(Path(sys.argv[1]), lambda: 1.8e9)
        with ExitStack() as stack:
            steps = 0
            for report in Simulation(SimOptions("survey", 1, None, (), 60.0), stack).reports():
                sink(report)
                steps += 1
        sink.close()
        print(steps)
        """
    )
    done = subprocess.run(  # noqa: S603 - ours
        (sys.executable, "-c", code, str(tmp_path)), capture_output=True, text=True, check=True
    )
    assert done.stdout == "601\n"
    assert done.stderr.count("the pack history is not recorded") == 1
    assert "Traceback" not in done.stderr


def test_a_disk_that_is_full_later_is_logged_once_and_loses_nothing_when_it_has_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = PackHistorySink(tmp_path, lambda: TODAY_S)
    sink._stopping.set()
    sink._thread.join()
    flights = [FlightRecord(f"run-0-{number}", LANDED, KEY) for number in range(3)]
    sink._write([flights[0]])
    with files_limited_to((tmp_path / FILE).stat().st_size // 2):
        sink._write([flights[1]])
    assert caplog.text.count("the pack history is not recorded") == 1
    sink._write([flights[2]])
    assert [row.flight_id for row in stored(tmp_path)] == [row.flight_id for row in flights]


def test_a_queue_of_reports_that_overflows_is_logged(
    tmp_path: Path, start: list[Report], caplog: pytest.LogCaptureFixture
) -> None:
    with closing(PackHistorySink(tmp_path, lambda: TODAY_S)) as sink:
        sink._stopping.set()
        sink._thread.join()
        sink._queue.extend([start[0]] * sink._queue.maxlen)  # type: ignore[operator]  # it has one
        for _ in range(3):
            sink(start[0])
        sink._queue.clear()
    assert caplog.text.count("a part of the history is lost") == 1


# ------------------------------------------------------------------------- files


def test_a_creation_that_an_earlier_version_did_not_finish_is_finished(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE passport_schema (version BIGINT NOT NULL)")
    PackHistory(SqliteFile(path, writes=True), writes=True)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT version FROM passport_schema").fetchall() == [(SCHEMA,)]


def test_a_file_that_is_damaged_newer_or_foreign_is_rejected_and_not_changed(
    tmp_path: Path, start: list[Report]
) -> None:
    good = tmp_path / "good.sqlite"
    rows = [replace(flights_of(start)[0], flight_id=str(n)) for n in range(200)]
    PackHistory(SqliteFile(good, writes=True), writes=True).put(rows)
    whole = good.read_bytes()
    torn = whole[:4096] + os.urandom(8192) + whole[12288:]
    cut = whole[: len(whole) // 2]
    foreign = tmp_path / "foreign.sqlite"
    with closing(sqlite3.connect(foreign)) as other:
        other.execute("CREATE TABLE mail (body TEXT)")
    newer = tmp_path / "newer.sqlite"
    newer.write_bytes(whole)
    with closing(sqlite3.connect(newer)) as other, other:
        other.execute("UPDATE passport_schema SET version = 99")
        other.commit()
        other.execute("PRAGMA journal_mode = DELETE")  # which changes the file's header
    texts = {
        "torn": (torn, "is damaged and is not changed"),
        "cut": (cut, "is damaged and is not changed"),
        "text": (b"once upon a time " * 100, "is damaged and is not changed"),
        "foreign": (foreign.read_bytes(), "is not a pack history"),
        "newer": (newer.read_bytes(), "written by a newer dronebms"),
    }
    for name, (content, sentence) in texts.items():
        folder = tmp_path / name
        folder.mkdir()
        path = folder / FILE
        path.write_bytes(content)
        before = hashlib.sha256(content).hexdigest()
        for writes in (False, True):
            with pytest.raises(ConfigError, match=sentence):
                PackHistory(SqliteFile(path, writes=writes), writes=writes)
        with closing(PackHistorySink(folder, lambda: TODAY_S)) as sink:
            for report in start:
                sink(report)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == before, name
        assert [item.name for item in folder.iterdir()] == [FILE], name


def test_a_reader_sees_whole_rows_while_the_service_writes(tmp_path: Path) -> None:
    history = PackHistory(SqliteFile(tmp_path / FILE, writes=True), writes=True)
    with closing(sqlite3.connect(tmp_path / FILE)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert stored(tmp_path) == []
        other.rollback()
    history.put([FlightRecord("a", LANDED, "x")])
    assert [row.pack for row in stored(tmp_path)] == ["x"]


def test_without_a_file_there_is_an_error_and_still_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be used: unable to open database file"):
        SqliteFile(tmp_path / FILE, writes=False).run("SELECT 1")
    assert not list(tmp_path.iterdir())


def test_reading_without_a_writer_does_not_change_the_folder(tmp_path: Path) -> None:
    PackHistory(SqliteFile(tmp_path / FILE, writes=True), writes=True).put(
        [FlightRecord("a", LANDED, "x")]
    )
    tmp_path.chmod(0o555)
    assert [row.pack for row in stored(tmp_path)] == ["x"]
    assert [item.name for item in tmp_path.iterdir()] == [FILE]
    tmp_path.chmod(0o755)


def test_a_file_whose_creation_was_interrupted_is_created_again(tmp_path: Path) -> None:
    whole = SqliteFile(tmp_path / FILE, writes=True)
    history = PackHistory(whole, writes=True)
    for undone in ("DELETE FROM passport_schema", "DROP TABLE passport_schema"):
        whole.run(undone)
        again = PackHistory(SqliteFile(tmp_path / FILE, writes=True), writes=True)
        again.put([FlightRecord("a", LANDED, "x")])
        assert [row.pack for row in history.flights()] == ["x"]


# Databases from elsewhere: one sentence, whatever is in them.

HOSTILE_ROWS: tuple[dict[str, object], ...] = (
    {"capacity_mah": "x"}, {"cells": "many"}, {"serial": b"\xff"}, {"pack": None},
    {"pack": b"\xff"},
    {"drawn_ah": "[" * 100_000}, {"excursions": "[1, 2]"}, {"cells_capacity": '{"a": 1}'},
    {"drawn_ah": "[1e999]"}, {"drawn_ah": None}, {"state": 5}, {"started_unix_s": 1e300},
    {"capacity_mah": math.inf}, {"cells_resistance": f"[{'9' * 5000}]"},
)  # fmt: skip


@pytest.mark.parametrize("wrong", HOSTILE_ROWS, ids=lambda row: ascii(row)[:40])
def test_a_row_of_another_form_is_one_sentence(tmp_path: Path, wrong: dict[str, object]) -> None:
    path = tmp_path / FILE
    PackHistory(SqliteFile(path, writes=True), writes=True).put([FlightRecord("a", LANDED, "P")])
    name, value = next(iter(wrong.items()))
    plain = path.with_name("plain.sqlite")  # without the types of the columns
    with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(plain)) as new:
        names = [column.name for column in fields(FlightRecord)]
        sql = f"SELECT {', '.join(names)} FROM flight"  # noqa: S608 - field names
        row = dict(zip(names, old.execute(sql).fetchone(), strict=True))
        new.execute(f"CREATE TABLE flight ({', '.join(names)})")
        new.execute("CREATE TABLE passport_schema (version)")
        new.execute("INSERT INTO passport_schema VALUES (2)")
        places = ", ".join("?" * len(names))
        new.execute(f"INSERT INTO flight VALUES ({places})", list((row | {name: value}).values()))  # noqa: S608 - field names
        new.commit()
    history = PackHistory(SqliteFile(plain, writes=False), writes=False)
    with pytest.raises(ConfigError, match="is damaged: flight 'a': ") as caught:
        history.flights()
    assert len(str(caught.value)) < len(str(plain)) + 200
    assert "\n" not in str(caught.value)


def test_links_that_lead_in_a_circle_end_no_history(
    tmp_path: Path, start: list[Report], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).symlink_to(tmp_path / FILE)
    with closing(PackHistorySink(tmp_path, lambda: TODAY_S)) as sink:
        sink(start[0])
        while not caplog.records:
            os.sched_yield()
        (tmp_path / FILE).unlink()
        for report in start:
            sink(report)
    assert "cannot be used" in caplog.records[0].getMessage()
    assert len(stored(tmp_path)) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE VIEW flight AS WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) "
        "SELECT x AS sequence, x AS flight_id FROM r",
        "CREATE TABLE flight (pack); CREATE TRIGGER t AFTER INSERT ON flight BEGIN SELECT 1; END",
    ],
)
def test_a_database_with_a_view_or_a_trigger_is_no_pack_history(tmp_path: Path, sql: str) -> None:
    path = tmp_path / FILE
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"CREATE TABLE passport_schema (version); {sql}")
    with pytest.raises(ConfigError, match="is not a pack history and is not changed"):
        SqliteFile(path, writes=False)


def test_a_version_that_is_no_number_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE flight (pack); CREATE TABLE passport_schema (version); "
            "INSERT INTO passport_schema VALUES ('x')"
        )
    with pytest.raises(ConfigError, match="is not a pack history"):
        PackHistory(SqliteFile(path, writes=False), writes=False)

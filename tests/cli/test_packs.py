# SPDX-License-Identifier: Apache-2.0
"""`dronebms packs`: adding flights, output, and errors."""

import csv
import hashlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from dronebms.cli.main import main
from dronebms.cli.packs.learned_export import EverythingLearned
from dronebms.cli.packs.rows import PackRow
from dronebms.cli.packs.tables import in_width, tables
from dronebms.core.errors import ConfigError
from dronebms.estimation.learning.learned_pack import Keys
from dronebms.estimation.learning.pack_memory import LEARNED_FOLDER, PackMemoryFolder, recall
from dronebms.health.ageing_trend import forecast_ageing
from dronebms.health.database import PackHistory
from dronebms.health.flight_record import LANDED, FlightRecord
from dronebms.health.pack_label import PackLabel, use_since_maintenance
from dronebms.health.sqlite import FILE, SqliteFile
from tests.postgres import server


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    """A short computed flight with its sidecar."""
    path = tmp_path / "short.csv"
    rows = ["t_s,voltage_v,current_a,temperature_degc,cell1_v,cell2_v"]
    for t in range(200):
        amps = 0.1 if t < 20 else 20.0 + 5.0 * (t // 10 % 2)
        volts = 4.1 - 0.0005 * t - 0.003 * amps
        rows.append(f"{t},{2 * volts - 0.02:.3f},{amps},25.0,{volts:.3f},{volts - 0.02:.3f}")
    path.write_text("\n".join(rows))
    pack_data = {"cells": 2, "capacity_mah": 5000, "chemistry": "lipo", "pack_id": "blue"}
    path.with_suffix(".json").write_text(json.dumps(pack_data))
    return path


def packs(folder: Path, *options: str) -> int:
    return main(["packs", "--state-dir", str(folder), *options])


def test_a_flight_that_is_added_twice_is_stored_once(
    flight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    copy = shutil.copytree(flight.parent, tmp_path / "copy") / flight.name
    for path in (flight, flight, copy):
        assert packs(state, "--add", str(path), "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()[-1:]
    listed = json.loads(line)
    assert listed["pack"] == "blue"
    (row,) = listed["flights"]
    assert row["flown_s"] == pytest.approx(179.0, abs=1.1)
    assert row["used_mah"] == pytest.approx(22.5 * 180 / 3.6, rel=0.02)
    assert (row["lowest_cell"], row["lowest_by_mv"]) == (2, pytest.approx(10.0, abs=0.5))
    assert row["spread_rest_mv"] == pytest.approx(20.0, abs=0.5)
    assert row["resistance_mohm"] == pytest.approx(3.0, rel=0.1)
    assert listed["outlook"]["left"] == []


def test_what_becomes_of_each_added_flight_is_reported_and_a_stored_one_stays_as_it_was_judged(
    flight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, added = tmp_path / "state", ("--add", str(flight))
    other = flight.with_name("other.csv")
    other.write_text(flight.read_text() + "\n200,8,0.1,25.0,4.0,4.0")
    other.with_suffix(".json").write_text(flight.with_suffix(".json").read_text())

    def reported(*options: str) -> str:
        assert packs(state, *options) == 0
        (line,) = capsys.readouterr().err.splitlines()
        return line.removeprefix(f"dronebms: {state / FILE}: ")

    def rows() -> list[FlightRecord]:
        return PackHistory(SqliteFile(state / FILE, writes=False), writes=False).flights()

    assert reported(*added) == "1 flight of 1 file: 1 added"
    (first,) = rows()
    assert reported(*added) == "1 flight of 1 file: 1 already stored"
    assert rows() == [first]
    both = (*added, "--add", str(other), *added)
    assert reported(*both) == "3 flights of 3 files: 1 added, 2 already stored"
    assert reported(*added, "--vehicle-name", "V1") == "1 flight of 1 file: 1 replaced"
    assert sorted(row.vehicle or "" for row in rows()) == ["", "V1"]
    exported = tmp_path / "all.json"
    assert packs(state, "--export", str(exported)) == 0
    assert packs(tmp_path / "new", "--import", str(exported)) == 0
    assert packs(tmp_path / "new", "--import", str(exported)) == 0
    read = [row for row in capsys.readouterr().err.splitlines() if " read" in row]
    assert [row.partition(" read: ")[2] for row in read] == ["2 added", "2 already stored"]


def test_a_file_that_cannot_be_read_loses_no_flight_of_the_files_before_it(
    flight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("nothing")
    state = tmp_path / "state"
    assert packs(state, "--add", str(flight), "--add", str(bad)) == 2
    added, refused = capsys.readouterr().err.splitlines()
    assert added.endswith(": 1 flight of 1 file: 1 added")
    assert refused.startswith(f"dronebms: {bad}, line 1: ")
    history = PackHistory(SqliteFile(state / FILE, writes=False), writes=False)
    assert [row.pack for row in history.flights()] == ["blue"]
    assert PackMemoryFolder(state / LEARNED_FOLDER).load("blue") is not None


def test_a_flight_that_is_added_is_learned_from_once(
    flight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--pack-model", "T5000", "--vehicle-name", "survey 2"
    for _ in range(2):
        assert packs(tmp_path, "--add", str(flight), *options, "--json") == 0
        learned = json.loads(capsys.readouterr().out)["learned"]
        assert (learned["model"], learned["vehicle"], learned["flights"]) == (
            "T5000", "survey 2", 1,
        )  # fmt: skip
        assert learned["usual_w"] == pytest.approx(22.5 * 8.0, rel=0.02)
    known = recall(
        PackMemoryFolder(tmp_path / LEARNED_FOLDER), Keys("another", "T5000", "survey 2"), fail
    )
    assert (len(known.sisters), len(known.vehicle)) == (1, 1)


def fail(error: ConfigError) -> None:
    raise error


def test_the_list_and_one_pack_have_their_lines(
    flight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert packs(tmp_path, "--add", str(flight)) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("pack  flights  last  capacity  capacity trend")
    assert "blue" in listed
    assert "no forecast: 0 of 6 flights with a measured capacity" in listed
    assert packs(tmp_path, "blue") == 0
    one = capsys.readouterr().out
    assert one.startswith("blue: lipo 2 cells, 5000 mAh, 1 flight, last -\n")
    assert "cell spread, load" in one


def test_a_capacity_is_shown_with_its_interval_and_its_share_of_the_rated_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = PackHistory(SqliteFile(tmp_path / FILE, writes=True), writes=True)
    known = {"rated_mah": 10_000.0, "capacity_mah": 9500.0, "capacity_sd_frac": 0.04}
    history.put([FlightRecord(str(n), LANDED, "P", **known) for n in range(3)])  # type: ignore[arg-type]  # fields of one type
    history.put([FlightRecord("other", LANDED, "Q", rated_mah=10_000.0)])
    assert packs(tmp_path) == 0
    listed = capsys.readouterr().out.splitlines()
    assert "9.2 Ah (8.2-9.9), 92 % of rated" in next(row for row in listed if row[0] == "P")
    assert "Ah (" not in next(row for row in listed if row[0] == "Q")
    assert packs(tmp_path, "P") == 0
    assert "capacity          9.2 Ah (8.2-9.9), 92 % of rated\n" in capsys.readouterr().out
    assert packs(tmp_path, "--json") == 0
    first, other = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["capacity"]["rated_frac"] == pytest.approx(0.92, abs=0.01)
    assert first["capacity"]["low_mah"] < 9200 < first["capacity"]["high_mah"]
    assert other["capacity"] is None


@pytest.mark.parametrize("width", [40, 60, 75, 76, 120])
def test_a_table_on_a_narrow_screen_is_a_line_for_each_value(width: int) -> None:
    rows = [
        PackRow(name, [FlightRecord(name, LANDED, name)], forecast_ageing([]), None, None,
                PackLabel(name), use_since_maintenance(PackLabel(name), [], 0.0), [])
        for name in ("blue", "red")
    ]  # fmt: skip
    (table,) = tables(rows, EverythingLearned({}, {}, {}))
    console = Console(width=width, file=StringIO())
    console.print(in_width(table, width))
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    titles = [str(column.header) for column in table.columns]
    if width < 76:
        assert [line.split("  ")[0] for line in lines if line[:1].strip()] == 2 * titles
    else:
        assert in_width(table, width) is table


def test_a_flight_that_is_too_short_is_named_as_that(
    flight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = flight.read_text().splitlines()
    for count, sentence in (
        (30, "contains no flight of 20 s or more"),
        (60, "1 flight of 1 file: 1 added"),
    ):
        flight.write_text("\n".join(rows[: count + 1]))
        packs(tmp_path / "state", "--add", str(flight))
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(("option", "first"), [("--csv", "flight_id,"), ("--export", "{")])
def test_a_file_named_by_a_hyphen_is_stdout_alone(
    flight: Path, tmp_path: Path, option: str, first: str
) -> None:
    assert packs(tmp_path / "s", "--add", str(flight)) == 0
    words = (sys.executable, "-m", "dronebms.cli", "packs", "--state-dir", "s", option, "-")
    done = subprocess.run(  # noqa: S603 - our own command
        words, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith(first)
    assert "findings" not in done.stdout
    assert not (tmp_path / "-").exists()
    if option == "--export":
        assert json.loads(done.stdout)["history"]


@pytest.mark.parametrize(
    "words", [("--cells", "6"), ("--battery", "2"), ("--pack-id", "x"), ("--cutoff-cell-v", "3.3")]
)
def test_data_of_a_flight_without_a_flight_are_refused(
    flight: Path, tmp_path: Path, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert packs(tmp_path, "--add", str(flight)) == 0
    capsys.readouterr()
    assert packs(tmp_path, *words) == 2
    read = capsys.readouterr()
    assert (read.out, read.err.count("\n")) == ("", 1)
    assert "--add is missing" in read.err


def test_nothing_is_learned_where_the_history_cannot_be_used(
    flight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / FILE).write_text("not a database")
    assert packs(state, "--add", str(flight)) == 2
    assert "is damaged and is not changed" in capsys.readouterr().err
    assert [path.name for path in state.iterdir()] == [FILE]
    assert (state / FILE).read_text() == "not a database"


def test_a_table_and_a_recording_have_no_second_battery_to_select(
    flight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = tmp_path / "x.rec"
    words = ["sim", "--flight", "hover", "--headless", "--speed", "max", "--duration", "3"]
    assert main([*words, "--mavlink", "none", "--record", str(recording)]) == 0
    capsys.readouterr()
    for path, reason in ((flight, "is a table of one battery"), (recording, "is a recording")):
        for command in (["replay", str(path)], ["packs", "--add", str(path)]):
            assert main([*command, "--battery", "2"]) == 2
            assert capsys.readouterr().err == (
                f"dronebms: {path} {reason}: omit --battery\n"
                if path == flight
                else f"dronebms: {path} {reason} and has its batteries: omit --battery\n"
            )


def test_the_csv_has_every_flight_and_column(flight: Path, tmp_path: Path) -> None:
    assert packs(tmp_path, "--add", str(flight), "--csv", str(tmp_path / "all.csv")) == 0
    with (tmp_path / "all.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["pack"] == "blue"
    assert row["serial"] == ""
    assert len(json.loads(row["cells_resistance"])) in (0, 2)


def test_an_error_is_one_sentence_and_writes_nothing(
    flight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "nowhere"
    assert packs(nowhere) == 2
    assert "no pack history in" in capsys.readouterr().err
    assert not nowhere.exists()
    (tmp_path / FILE).touch()
    assert packs(tmp_path) == 2
    assert "no pack history in" in capsys.readouterr().err
    assert packs(tmp_path, "--add", str(flight)) == 0
    assert packs(tmp_path, "red") == 2
    assert "'red' matches no pack in" in capsys.readouterr().err
    before = hashlib.sha256((tmp_path / FILE).read_bytes()).hexdigest()
    flight.with_suffix(".json").write_text('{"cells": 2, "chemistry": "lipo"}')
    assert packs(tmp_path, "--add", str(flight)) == 2
    assert "contains no flight of a named pack" in capsys.readouterr().err
    assert packs(tmp_path, "--add", str(tmp_path / "none.csv")) == 2
    assert packs(tmp_path, "--database", "nonsense") == 2
    assert packs(tmp_path, "--database", "oracle://x") == 2
    assert hashlib.sha256((tmp_path / FILE).read_bytes()).hexdigest() == before
    (tmp_path / FILE).write_bytes(b"once upon a time " * 99)
    capsys.readouterr()
    for more in ((), ("--add", str(flight))):
        assert packs(tmp_path, *more) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert (tmp_path / FILE).read_bytes() == b"once upon a time " * 99


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://u:secret@[::1/x", "'postgresql' is not a supported database: a wrong host"),
        ("postgresql://u:secret@h:abc/x", "'postgresql' is not a supported database: a wrong host"),
        ("postgresql://u:secret@h\u202e:1/x", "cannot be used: "),
        ("postgresql+psycopg_async://u:secret@127.0.0.1:1/x", "its driver is async"),
    ],
)
def test_a_url_that_is_wrong_is_one_sentence_without_its_password(
    url: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert packs(tmp_path, "--database", url) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert "secret" not in line


def test_two_packs_with_one_serial_number_need_the_full_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = PackHistory(SqliteFile(tmp_path / FILE, writes=True), writes=True)
    history.put(FlightRecord(maker, LANDED, f"{maker} 7", serial=7) for maker in ("A", "B"))
    assert len(history.flights()) == 2
    assert packs(tmp_path, "7") == 2
    assert "'7' matches several packs" in capsys.readouterr().err
    assert packs(tmp_path, "A 7") == 0


def test_repeated_pushes_to_a_fleet_store_each_flight_once(
    flight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with server() as url:
        for vehicle in ("one", "two"):
            own = shutil.copytree(flight.parent, tmp_path / vehicle / "flights") / flight.name
            own.write_text(own.read_text().replace("25.0", "26.0" if vehicle == "two" else "25.0"))
            for _ in range(2):
                assert packs(tmp_path / vehicle, "--add", str(own), "--push", url) == 0
        capsys.readouterr()
        assert packs(tmp_path / "none", "--database", url, "--json") == 0
        listed = json.loads(capsys.readouterr().out)
        assert sorted(row["mean_degc"] for row in listed["flights"]) == [25.0, 26.0]
    assert packs(tmp_path / "none", "--database", url) == 2
    assert "cannot be used" in capsys.readouterr().err


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A folder with flights of two packs on one vehicle."""
    store = PackHistory(SqliteFile(tmp_path / FILE, writes=True), writes=True)
    store.put(
        FlightRecord(
            f"run:0:{n}", LANDED, pack, serial=serial, rated_mah=10_000.0, used_mah=8000.0,
            started_unix_s=1.7e9 + n * 86_400.0, vehicle="lifter", above_90_h=6.0,
            cell_deviations=(0.0, 2.0, 0.0),
        )
        for n, (pack, serial) in enumerate([("P 1", 1), ("P 1", 1), ("P 2", 2)])
    )  # fmt: skip
    return tmp_path


def test_a_pack_has_the_name_tags_and_maintenance_that_a_user_states(
    history: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = "flights=2,cycles=9,days=none"
    assert (
        packs(history, "1", "--name", "blue 1", "--tag", "survey,old", "--service-every", every)
        == 0
    )
    assert packs(history, "P 2", "--name", "blue 2", "--untag", "none of them") == 0
    capsys.readouterr()
    assert packs(history) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["pack", "tags", "maintenance"]
    assert first.startswith("blue 1  survey, old  due: 2 of 2 flights; in 7 cycles: 2 of 9")
    assert second.startswith("blue 2  -")
    assert packs(history, "Blue 1") == 2
    assert capsys.readouterr().err.endswith(": 'blue 1', 'blue 2'\n")
    assert packs(history, "blue 1") == 0
    page = capsys.readouterr().out
    assert page.startswith("blue 1: ")
    assert (
        "vehicle           lifter: 2 flights, 2023-11-14 to 2023-11-15, replaced by blue 2" in page
    )
    assert "pack              P 1" in page
    assert "above 90 %            0.5 days" in page
    (deviations,) = (row.split() for row in page.splitlines() if row.startswith("cell dev"))
    assert deviations == ["cell", "deviations", "4", "cell", "2", "4"]
    assert packs(history, "blue 1", "--serviced", "--untag", "old") == 0
    assert packs(history, "blue 1", "--json") == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["name"], line["tags"]) == ("blue 1", ["survey"])
    assert [(due["unit"], due["done"]) for due in line["maintenance"]] == [
        ("flights", 0.0),
        ("cycles", 0.0),
    ]
    assert line["vehicles"][0]["replaced_by"] == "blue 2"


def test_maintenance_may_be_set_for_all_packs(
    history: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert packs(history, "--service-every", "flights=1") == 0
    assert capsys.readouterr().out.count("  due: ") == 2
    assert packs(history, "--service-every", "flights=none") == 0
    assert "maintenance" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--name", "x"), "those of one pack: name it"),
        (("--serviced",), "those of one pack: name it"),
        (("--tag", "x"), "those of one pack: name it"),
        (("1", "--name", "P 2"), "'P 2' is the serial number or full name of a pack"),
        (("1", "--name", "2"), "'2' is the serial number or full name of a pack"),
        (("1", "--name", "red"), "'red' is the name of another pack, 'P 2'"),
        (("3", "--name", "x"), "'3' matches no pack in"),
        (("1", "--name", "x", "--database", "sqlite:///x"), "'sqlite' is not a supported"),
    ],
)
def test_a_name_that_cannot_be_given_is_one_sentence_and_changes_nothing(
    history: Path, options: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert packs(history, "2", "--name", "red") == 0
    store = PackHistory(SqliteFile(history / FILE, writes=False), writes=False)
    before = store.labels()
    capsys.readouterr()
    assert packs(history, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert store.labels() == before


@pytest.mark.parametrize(
    "every", ["", "flights", "flights=0", "hours=5", "flights=5;days=3", "days=-1"]
)
def test_an_interval_that_is_none_is_one_sentence(history: Path, every: str) -> None:
    with pytest.raises(SystemExit) as caught:
        packs(history, "1", "--service-every", every)
    assert caught.value.code == 2


def test_the_names_of_packs_move_with_an_export(
    history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert packs(history, "1", "--name", "blue 1", "--tag", "survey") == 0
    assert packs(history, "2", "--name", "blue 2") == 0
    assert packs(history, "--export", str(tmp_path / "all.json")) == 0
    other = tmp_path / "other"
    own = PackHistory(SqliteFile(other / FILE, writes=True), writes=True)
    own.put([FlightRecord("x:0:1", LANDED, "P 2"), FlightRecord("x:0:2", LANDED, "P 3")])
    assert packs(other, "P 2", "--name", "mine") == 0
    assert packs(other, "P 3", "--name", "blue 1") == 0
    assert packs(other, "--import", str(tmp_path / "all.json")) == 0
    labels = own.labels()
    assert {pack: label.name for pack, label in labels.items()} == {
        "P 1": None,  # its name is that of another pack here
        "P 2": "mine",
        "P 3": "blue 1",
    }
    assert labels["P 1"].tags == ("survey",)
    capsys.readouterr()
    content = json.loads((tmp_path / "all.json").read_text())
    for wrong in (
        [{"pack": 1}],
        [{"name": "x"}],
        {"pack": "x"},
        [{"pack": "x", "every_days": 1e99}],
    ):
        (tmp_path / "wrong.json").write_text(json.dumps(content | {"labels": wrong}))
        assert packs(other, "--import", str(tmp_path / "wrong.json")) == 2
        assert "is not an export of dronebms packs" in capsys.readouterr().err
    del content["labels"]  # of an earlier version
    (tmp_path / "earlier.json").write_text(json.dumps(content))
    assert packs(other, "--import", str(tmp_path / "earlier.json")) == 0
    assert own.labels() == labels


def test_maintenance_on_a_computer_without_a_date_has_none(
    history: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1970 is no date of maintenance: the pack would be due for 20,000 days once it is set."""
    sentence = "the clock of this computer is not set: days since maintenance are unknown"
    monkeypatch.setattr(time, "time", lambda: 40.0)
    assert packs(history, "1", "--serviced", "--service-every", "days=30,flights=2") == 0
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert "maintenance       in 2 flights: 0 of 2 flights; last on an unknown date" in shown.out
    assert "1970" not in shown.out
    monkeypatch.undo()
    assert packs(history, "1", "--json") == 0
    shown = capsys.readouterr()
    due = json.loads(shown.out)["maintenance"]
    assert (due, shown.err) == ([{"unit": "flights", "done": 0.0, "every": 2.0}], "")
    store = PackHistory(SqliteFile(history / FILE, writes=True), writes=True)
    store.put(
        [
            replace(
                store.flights()[0],
                flight_id="run:0:9",
                sequence=None,
                started_unix_s=time.time() - 5 * 86_400.0,
            )
        ]
    )
    assert packs(history, "1") == 0
    assert "in 25 days: 5 of 30 days" in capsys.readouterr().out


def test_the_order_of_flights_of_two_computers_without_dates_is_named_as_unknown(
    history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    store = PackHistory(SqliteFile(other / FILE, writes=True), writes=True)
    store.put([FlightRecord("other:0:0", LANDED, "P 1", serial=1, vehicle="hexa")])
    assert packs(other, "--export", str(tmp_path / "e.json")) == 0
    assert packs(history, "--import", str(tmp_path / "e.json")) == 0
    capsys.readouterr()
    assert packs(history, "1") == 0
    shown = capsys.readouterr().out
    assert "no forecast: order of the flights unknown, 1 of 3 have no date" in shown
    assert "replaced by" not in shown
    assert packs(history, "2") == 0  # its flights have dates
    assert "order of the flights unknown" not in capsys.readouterr().out

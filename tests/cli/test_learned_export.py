# SPDX-License-Identifier: Apache-2.0
"""`dronebms packs --export` and `--import`: what was learned moves between computers."""

import fcntl
import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dronebms.cli.main import main
from dronebms.estimation.cell.cell_model import CAPACITY, FAST
from dronebms.estimation.estimator import Estimator
from dronebms.estimation.learning.learned_pack import Keys, Learned, LearnedPack
from dronebms.estimation.learning.pack_memory import LEARNED_FOLDER, PackMemoryFolder
from dronebms.estimation.learning.usual_power import MAX_FLIGHTS, FlightPower
from dronebms.estimation.model_parameters import FITTED
from dronebms.flightlogs import FlightSource, read_csv_log
from dronebms.health.database import PackHistory
from dronebms.health.flight_record import LANDED, FlightRecord
from dronebms.health.sqlite import FILE, SqliteFile
from dronebms.service.checkpoint import CHECKPOINT
from tests.flightlogs.test_hostile_logs import mutated

FLIGHT = Path(__file__).parents[1] / "data" / "sister_packs" / "T003_Marquis2019_0_0.csv.gz"
MODEL, VEHICLE = "T003 Marquis2019", "T003 multirotor"


def packs(folder: Path, *options: str) -> int:
    return main(["packs", "--state-dir", str(folder), *options])


@cache
def learned() -> tuple[Keys, Learned]:
    flight = read_csv_log(FLIGHT)
    estimator, source = Estimator(flight.pack_data), FlightSource(flight)
    for t_s in source.ticks():
        estimator.update(source.poll(t_s))
    return estimator.keys, estimator.learn()


def pack_after(flights: int, vehicle: str | None = VEHICLE) -> LearnedPack:
    pack = learned()[1].pack
    assert pack is not None
    return replace(pack, flights=flights, vehicle=vehicle)


def power(number: int) -> FlightPower:
    return FlightPower(f"{number:08x}", 600.0 + number / 3.0, 500.0)


def memory_of(state: Path, *rows: tuple[str, int, int]) -> PackMemoryFolder:
    """Folder with packs by (name, flights, number of the flight of the vehicle)."""
    memory = PackMemoryFolder(state / LEARNED_FOLDER)
    for pack, flights, number in rows:
        keys = Keys(pack, MODEL, VEHICLE)
        memory.store(keys, Learned(pack_after(flights), power(number)))
    return memory


def contents(state: Path) -> dict[str, Any]:
    folder = state / LEARNED_FOLDER
    found = {
        str(path.relative_to(folder)): json.loads(path.read_text())
        for path in folder.rglob("*.json")
    }
    return dict(sorted(found.items()))


def test_what_is_exported_is_imported_to_the_last_bit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, file = tmp_path / "one", tmp_path / "other", str(tmp_path / "learned.json")
    memory_of(one, ("A", 3, 1), ("B/ü", 1, 2))
    history = PackHistory(SqliteFile(one / FILE, writes=True), writes=True)
    history.put(
        [FlightRecord("f1", LANDED, "A", used_mah=1.0 / 3.0, excursions=(("hot", 2.5, None),))]
    )
    assert packs(one, "--export", file) == 0
    assert "2 packs, 1 model, 1 vehicle and 1 flight written" in capsys.readouterr().err
    assert packs(other, "--import", file) == 0
    assert contents(other) == contents(one)
    assert len(contents(one)) == 4
    assert (
        PackHistory(SqliteFile(other / FILE, writes=False), writes=False).flights()
        == history.flights()
    )
    shown = capsys.readouterr().err
    assert "pack A: 3 flights\n" in shown
    assert f"vehicle {VEHICLE}: 2 flights, 2 new\n" in shown
    again = contents(other)
    assert packs(other, "--import", file) == 0
    assert contents(other) == again
    assert "pack A: the same\n" in capsys.readouterr().err
    # A new pack of the model has its sisters on the other computer.
    assert len(PackMemoryFolder(other / LEARNED_FOLDER).sisters(MODEL)) == 2


def test_of_two_states_of_a_pack_that_after_more_flights_stays_and_flights_are_joined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, file = tmp_path / "one", tmp_path / "other", str(tmp_path / "x.json")
    memory_of(one, ("A", 3, 1), ("B", 2, 2), ("C", 1, 3))
    kept = memory_of(other, ("D", 9, 8), ("B", 5, 3), ("A", 1, 9))
    assert packs(one, "--export", file) == 0
    capsys.readouterr()
    assert packs(other, "--import", file) == 0
    shown = capsys.readouterr().err
    assert "pack A: 3 flights, in place of 1\n" in shown
    assert "pack B: 5 flights stay, the file has 2\n" in shown
    assert "pack C: 1 flight\n" in shown
    assert f"vehicle {VEHICLE}: 5 flights, 2 new\n" in shown
    flights = {name: known and known.flights for name in "ABCD" if [known := kept.load(name)]}
    assert flights == {"A": 3, "B": 5, "C": 1, "D": 9}
    assert kept.packs_of(MODEL) == ["C", "D", "B", "A"]  # its own are the newest
    assert kept.vehicle(VEHICLE) == tuple(map(power, (1, 2, 8, 3, 9)))


def test_flights_of_a_vehicle_that_have_no_place_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, file = tmp_path / "one", tmp_path / "other", str(tmp_path / "x.json")
    memory_of(one, *[("A", 1, number) for number in range(3)])
    kept = memory_of(other, *[("A", 1, number) for number in range(100, 100 + MAX_FLIGHTS - 1)])
    assert packs(one, "--export", file) == packs(other, "--import", file) == 0
    assert "20 flights, 1 new, 2 older ones of the file are not used" in capsys.readouterr().err
    assert kept.vehicle(VEHICLE)[0] == power(2)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda _: "[]",
        lambda _: "{}",
        lambda _: "[" * 100_000,
        lambda text: text.replace('"format": 1', '"format": 2', 1),
        lambda text: text.replace('"packs": {', '"packs": [], "other": {', 1),
        lambda text: text.replace('"rated_mah": ', '"rated_mah": -1, "other": ', 1),
        lambda text: text.replace('"gauge_odds": ', '"gauge_odds": 1e6, "other": ', 1),
        lambda text: text.replace('"first_fast": ', '"first_fast": 1e6, "other": ', 1),
        lambda text: text.replace('"mean": [', '"mean": [1e6, ', 1),
        lambda text: text.replace('"flights": ', '"flights": NaN, "other": ', 1),
        lambda text: text.replace('"power": [', '"power": [["x", -5, 1],'),
        lambda text: text.replace('"power": [', '"power": [["x"],'),
        lambda text: text.replace('"B": {', f'"{"B" * 501}": {{', 1),
        lambda text: text.replace('"history": [', '"history": [{},', 1),
        lambda text: text.replace('"history": [', '"history": [5,', 1),
        lambda text: text.replace('"history": [', '"history": 5, "other": [', 1),
        lambda _: "\x00\x01",
    ],
)
def test_a_damaged_or_hostile_file_is_one_sentence_and_changes_nothing(
    damage: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, other = tmp_path / "x.json", tmp_path / "other"
    memory_of(tmp_path / "one", ("A", 3, 1), ("B", 2, 2))
    memory_of(other, ("C", 1, 1))
    assert packs(tmp_path / "one", "--export", str(file)) == 0
    text = file.read_text()
    file.write_text(damage(text))
    assert file.read_text() != text
    before = contents(other)
    capsys.readouterr()
    assert packs(other, "--import", str(file)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"dronebms: {file} is not an export of dronebms packs: ")
    assert shown.err.count("\n") == 1
    assert contents(other) == before


def test_any_mutated_file_is_imported_or_refused_in_sentences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random, file = Random(16), tmp_path / "x.json"  # noqa: S311 - seeded damage, not a secret
    memory_of(tmp_path / "one", ("A", 3, 1), ("B", 2, 2))
    assert packs(tmp_path / "one", "--export", str(file)) == 0
    good, codes = file.read_bytes(), []
    for number in range(60):
        file.write_bytes(mutated(good, random))
        codes.append(packs(tmp_path / f"{number}", "--import", str(file)))
        lines = capsys.readouterr().err.splitlines()
        assert all(line.startswith("dronebms: ") and line.isprintable() for line in lines)
        written = [path for path in (tmp_path / f"{number}").rglob("*") if path.is_file()]
        assert codes[-1] == 0 or written == []
    assert set(codes) <= {0, 2}
    assert codes.count(2) > 20


def test_a_file_that_is_too_long_or_missing_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "long.json").write_bytes(b" " * ((32 << 20) + 1))
    assert packs(tmp_path, "--import", str(tmp_path / "long.json")) == 2
    assert "more than 33554432 bytes" in capsys.readouterr().err
    assert packs(tmp_path, "--import", str(tmp_path / "none.json")) == 2
    assert "cannot be read: No such file" in capsys.readouterr().err
    assert not (tmp_path / LEARNED_FOLDER).exists()


def test_a_damaged_file_of_a_pack_is_named_by_an_export_and_stops_an_import(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, file = tmp_path / "one", tmp_path / "other", tmp_path / "x.json"
    memory_of(one, ("A", 3, 1), ("B", 2, 2))
    assert packs(one, "--export", str(file)) == 0
    bad = one / LEARNED_FOLDER / "A.json"
    bad.write_text("{")
    (one / LEARNED_FOLDER / "B copy.json").write_text((one / LEARNED_FOLDER / "B.json").read_text())
    capsys.readouterr()
    assert packs(one, "--export", str(tmp_path / "y.json")) == 1
    shown = capsys.readouterr().err
    assert f"{bad} is not a valid learned pack" in shown
    assert (
        "B copy.json is not a valid learned pack (it is not the file of the pack that it names)"
        in shown
    )
    assert list(json.loads((tmp_path / "y.json").read_text())["packs"]) == ["B"]
    memory_of(other, ("A", 1, 1))
    (other / LEARNED_FOLDER / "A.json").write_text("{")
    assert packs(other, "--import", str(file)) == 2
    assert (other / LEARNED_FOLDER / "A.json").read_text() == "{"


def test_nothing_is_imported_under_a_running_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "x.json")
    memory_of(tmp_path / "one", ("A", 3, 1))
    assert packs(tmp_path / "one", "--export", file) == 0
    other = tmp_path / "other"
    other.mkdir()
    with (other / CHECKPOINT).open("wb") as checkpoint:
        fcntl.flock(checkpoint, fcntl.LOCK_EX)
        assert packs(other, "--import", file) == 75
    assert "in use by a dronebms run" in capsys.readouterr().err
    assert not (other / LEARNED_FOLDER).exists()
    assert packs(other, "--import", file) == 0


def test_models_vehicles_and_what_was_learned_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory_of(tmp_path, ("A", 3, 1), ("B", 2, 2))
    assert packs(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = ["learned pack", "model", "vehicle", "flights", "capacity", "resistance"]
    assert [title.strip() for title in lines[0].split("  ") if title.strip()] == titles
    assert lines[1].startswith(f"A             {MODEL}  {VEHICLE}  3        ")
    assert f" % of {pack_after(3).rated_mah / 1000.0:.1f} Ah (+- " in lines[1]
    assert lines[3] == ""
    assert lines[4].startswith("vehicle")
    assert lines[5].startswith(f"{VEHICLE}  2        600 W")
    assert lines[5].rstrip().endswith(" %")
    assert packs(tmp_path, "A") == 0
    one = capsys.readouterr().out
    assert one.startswith("A: no flight in the history\nlearned in 3 flights: capacity ")
    assert f"model {MODEL}, vehicle {VEHICLE}, 600 W (+- " in one
    assert packs(tmp_path, "--json") == 0
    row = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (row["pack"], row["flights"]) == ("A", [])
    assert (row["learned"]["model"], row["learned"]["vehicle"]) == (MODEL, VEHICLE)
    ln_capacity = pack_after(3).cells.mean[CAPACITY - FAST]
    assert row["learned"]["capacity_pct"] == pytest.approx(100.0 * math.exp(ln_capacity), abs=0.01)
    pct, sd_pct = pack_after(3).resistance_pct(FITTED)
    assert f"{pct:.0f} % of usual (+- {sd_pct:.0f} %)" in one
    assert row["learned"]["resistance_pct"] == pytest.approx(pct, abs=0.01)
    assert row["learned"]["resistance_sd_pct"] == pytest.approx(sd_pct, abs=0.01)
    assert row["learned"]["usual_w"] == pytest.approx(600.5)


def test_a_plot_uses_what_was_learned_and_changes_nothing(tmp_path: Path) -> None:
    flights = Path(__file__).parents[1] / "data" / "sister_packs"
    first, sister = (str(path) for path in sorted(flights.glob("*.csv.gz")))
    state, known = tmp_path / "state", ["--pack-model", "M", "--vehicle-name", "V"]
    out = ["--out", str(tmp_path / "p.jsonl")]
    assert main(["replay", first, "--state-dir", str(state), *known, *out]) == 0
    before, pictures = contents(state), []
    for folder in (state, tmp_path / "empty"):
        picture = tmp_path / f"{folder.name}.svg"
        options = ["--state-dir", str(folder), *known, "-o", str(picture)]
        assert main(["plot", sister, *options]) == 0
        pictures.append(picture.read_bytes())
    assert pictures[0] != pictures[1]
    assert contents(state) == before
    assert not (tmp_path / "empty").exists()

# SPDX-License-Identifier: Apache-2.0
"""Learned packs are stored whole, validated, and used as a prior."""

import fcntl
import json
import math
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from dronebms.analysis.replay import replay, reports
from dronebms.core.chemistry import LI_ION, LIFEPO4, LIPO, Chemistry
from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import PackData
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.estimation.cell.cell_fit import CellFit
from dronebms.estimation.cell.cell_model import (
    ACTIVATION,
    FAST,
    KNOTS,
    CellModel,
    inverse_temperature,
    row_at_knots,
)
from dronebms.estimation.cell.cell_parameters import CellParameters
from dronebms.estimation.estimator import Estimator
from dronebms.estimation.learning import pack_memory
from dronebms.estimation.learning.interval_adaptation import NOT_ADAPTED
from dronebms.estimation.learning.learned_json import (
    learned_to_json,
    recalled_from_json,
    recalled_to_json,
)
from dronebms.estimation.learning.learned_pack import (
    NOTHING_KNOWN,
    Keys,
    Known,
    Learned,
    LearnedPack,
    Recalled,
)
from dronebms.estimation.learning.pack_memory import (
    BackgroundPackMemory,
    PackMemory,
    PackMemoryFolder,
    recall,
)
from dronebms.estimation.learning.usual_power import FlightPower
from dronebms.estimation.model_parameters import FITTED
from dronebms.flightlogs import FlightOptions, FlightSource, read_csv_log
from dronebms.monitoring.pipeline import Pipeline
from smartbattery.snapshot import Identity, Snapshot
from tests.snapshots import FACTS, Scripted, look

FLIGHTS = Path(__file__).parents[2] / "data" / "flights"
FIRST = FLIGHTS / "F31_Mohtat2020_P10_1.csv.gz"
SECOND = FLIGHTS / "F32_Mohtat2020_P10_2.csv.gz"  # the same pack, another temperature and charge


def seen_of(path: Path) -> tuple[PackData, list[Snapshot]]:
    flight = read_csv_log(path)
    source = FlightSource(flight)
    return flight.pack_data, [source.poll(t_s) for t_s in source.ticks()]


def save(packs: PackMemory, pack: str, learned: LearnedPack) -> None:
    packs.store(Keys(pack), Learned(learned))


def replayed(path: Path, packs: PackMemoryFolder) -> None:
    replay(path, reports(path, FlightOptions(), lambda _: None, packs=packs), None)


def learned_from(path: Path) -> LearnedPack:
    pack_data, looks = seen_of(path)
    estimator = Estimator(pack_data)
    for snapshot in looks:
        estimator.update(snapshot)
    learned = estimator.learn().pack
    assert learned is not None
    return learned


def errors(path: Path, learned: LearnedPack | None) -> list[float]:
    pack_data, looks = seen_of(path)
    estimator = Estimator(pack_data, lambda _: Known(learned))
    end_s = json.loads((path.parent / f"{path.name[:-7]}.json").read_text())["truth"]["t_end_s"]
    found = []
    for snapshot in looks:
        left_s = end_s - snapshot.t_s
        remaining_s = estimator.update(snapshot).remaining_s
        if remaining_s is not None and left_s >= 30.0 and snapshot.t_s > 0.2 * end_s:
            found.append(abs(remaining_s - left_s) / left_s)
    return found


def test_the_second_flight_of_a_pack_is_estimated_better_than_the_first() -> None:
    learned = learned_from(FIRST)
    known, unknown = np.mean(errors(SECOND, learned)), np.mean(errors(SECOND, None))
    assert known < 0.85 * unknown
    assert known < 0.2


def test_a_stored_pack_is_loaded_to_the_last_bit(tmp_path: Path) -> None:
    learned, packs = learned_from(FIRST), PackMemoryFolder(tmp_path / "new")
    assert packs.load("P10") is None
    save(packs, "P10", learned)
    again = packs.load("P10")
    assert again is not None
    assert np.array_equal(again.cells.mean, learned.cells.mean)
    assert np.array_equal(again.cells.covariance, learned.cells.covariance)
    assert replace(again, cells=learned.cells) == learned


def test_a_file_without_temperatures_is_a_pack_as_it_was_learned(tmp_path: Path) -> None:
    packs = PackMemoryFolder(tmp_path)
    save(packs, "P10", learned_once())
    (path,) = tmp_path.glob("*.json")
    content = json.loads(path.read_text())
    del content["warm"]
    path.write_text(json.dumps(content))
    again = packs.load("P10")
    assert again is not None
    assert again.cells == replace(learned_once().cells, warm=())
    assert recalled(again.cells).x[ACTIVATION] == again.cells.mean[ACTIVATION - FAST]


def as_of_format_1(learned: LearnedPack) -> LearnedPack:
    """A pack without what earlier versions did not store."""
    old = replace(learned, power=(), model=None, chemistry=None, vehicle=None)
    return replace(old, curve_v=(), adaptation=NOT_ADAPTED)


def of_format_1(learned: LearnedPack, usual_w: float | None) -> dict[str, object]:
    """A file of a pack as earlier versions wrote it."""
    content = learned_to_json(learned) | {"format": 1, "pack": "P10", "usual_w": usual_w}
    for key in ("model", "chemistry", "vehicle", "power", "sister_warm", "curve_v", "interval"):
        del content[key]
    return content


@pytest.mark.parametrize("usual_w", [None, 612.5])
def test_a_file_of_format_1_is_read_and_its_usual_power_is_one_flight(
    usual_w: float | None, tmp_path: Path
) -> None:
    learned = as_of_format_1(learned_once())
    (tmp_path / "P10.json").write_text(json.dumps(of_format_1(learned, usual_w)))
    packs = PackMemoryFolder(tmp_path)
    again = packs.load("P10")
    assert again is not None
    assert replace(again, power=()) == learned
    assert [flight.mean_w for flight in again.power] == ([] if usual_w is None else [usual_w])
    packs.store(Keys("P10"), Learned(again))
    assert packs.load("P10") == again
    assert again.fits(again.rated_mah, "li-ion")  # its chemistry was not stored


def test_a_recording_of_an_earlier_version_has_a_pair_of_name_and_pack() -> None:
    learned = as_of_format_1(learned_once())
    pair = json.loads(json.dumps(["P10", of_format_1(learned, None)]))
    assert recalled_from_json(pair) == Recalled(Keys("P10"), Known(learned))
    assert recalled_from_json(["P10", None]) == Recalled(Keys("P10"), NOTHING_KNOWN)


def test_what_a_run_recalled_is_restored_to_the_last_bit() -> None:
    learned, flight = learned_once(), FlightPower("0badcafe", 100.0 / 3.0, 600.0)
    for known in (
        Known(learned),
        Known(None, (learned, replace(learned, gauge_odds=1.0 / 3.0)), (flight,)),
    ):
        recalled = Recalled(Keys("P10", "P22", "lifter 2"), known)
        assert recalled_from_json(json.loads(json.dumps(recalled_to_json(recalled)))) == recalled


@pytest.mark.parametrize("chemistry", [LI_ION, LIFEPO4, LIPO])
def test_a_learned_curve_stays_when_the_row_of_its_chemistry_changes(chemistry: Chemistry) -> None:
    old_v = tuple([volts - 0.03 - 0.002 * k for k, volts in enumerate(row_at_knots(chemistry))])
    learned = replace(learned_once(), curve_v=old_v, chemistry=chemistry.name)
    place = KNOTS - FAST
    then_v = np.array(learned.cells.mean[place:]) + old_v
    moved = learned.relative_to(chemistry)
    now_v = np.array(moved.cells.mean[place:]) + row_at_knots(chemistry)
    assert now_v == pytest.approx(then_v, abs=1e-12)
    assert moved.cells.mean[:place] == learned.cells.mean[:place]
    assert moved.relative_to(chemistry) == moved
    # A file of format 1 is relative to the rows of then.
    first = replace(learned_once(), curve_v=()).relative_to(chemistry)
    changed = np.array(first.cells.mean[place:]) - learned_once().cells.mean[place:]
    assert abs(changed).max() == pytest.approx(
        {"li-ion": 0.16, "lifepo4": 0.11, "lipo": 0.0}[chemistry.name], abs=0.06
    )


def of_model(packs: PackMemory, pack: str, number: int) -> None:
    keys = Keys(pack, "P22", "lifter 2")
    learned = replace(learned_once(), model="P22", flights=number)
    packs.store(keys, Learned(learned, FlightPower(f"{number}", 600.0, 300.0)))


@pytest.mark.parametrize("background", [False, True])
def test_the_newest_five_packs_of_a_model_are_its_sister_packs(
    *, background: bool, tmp_path: Path
) -> None:
    folder = PackMemoryFolder(tmp_path)
    kept = BackgroundPackMemory(folder)
    for number, pack in enumerate("ABCDEFGA"):
        of_model(kept if background and number > 3 else folder, pack, number)
    for packs in (kept, folder):
        assert [sister.flights for sister in packs.sisters("P22")] == [7, 6, 5, 4, 3]
        assert [flight.flight_id for flight in packs.vehicle("lifter 2")] == list("01234567")
        kept.close()
    assert folder.sisters("P23") == ()
    assert folder.vehicle("lifter 3") == ()
    found = recall(folder, Keys("A", "P22", "lifter 2"), lambda error: pytest.fail(str(error)))
    assert (found.pack is not None, found.sisters, len(found.vehicle)) == (True, (), 8)


def test_a_pack_that_changed_its_model_is_no_sister_of_the_earlier_one(tmp_path: Path) -> None:
    packs = PackMemoryFolder(tmp_path)
    for pack in "AB":
        of_model(packs, pack, 1)
    packs.store(Keys("A", "P30"), Learned(replace(learned_once(), model="P30")))
    assert len(packs.sisters("P22")) == len(packs.sisters("P30")) == 1


@pytest.mark.parametrize("name", ["A.json", "models/P22.json", "vehicles/lifter 2.json"])
@pytest.mark.parametrize(
    "damage", ["", "{}", "[]", '{"format": 1}', '{"format": 9}', "[" * 100_000, "\x00"]
)
def test_a_damaged_file_costs_what_it_held_and_nothing_else(
    name: str, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    packs = PackMemoryFolder(tmp_path)
    for pack in "AB":
        of_model(packs, pack, 1)
    bad = tmp_path / name
    bad.write_text(damage)
    errors: list[ConfigError] = []
    found = recall(packs, Keys("C", "P22", "lifter 2"), errors.append)
    texts = [*map(str, errors), caplog.text]
    assert any(f"{bad} is not a valid" in text for text in texts)
    assert len(found.sisters) == {"A.json": 1, "models/P22.json": 0}.get(name, 2)
    assert len(found.vehicle) == (0 if name.startswith("vehicles") else 1)
    # What can be stored is stored, and the damaged file stays.
    with pytest.raises(ConfigError, match=str(bad)):
        of_model(packs, "A", 7)
    assert bad.read_text() == damage
    if name != "A.json":
        known = packs.load("A")
        assert known is not None
        assert known.flights == 7
    if not name.startswith("vehicles"):
        assert len(packs.vehicle("lifter 2")) == 2


def recalled(cells: CellParameters) -> CellFit:
    return CellFit(CellModel(LIPO, 5.0, rated=True, parameters=FITTED), cells)


def resistance(fit: CellFit, degc: float) -> tuple[float, float]:
    """(ln of the fast resistance at a temperature relative to the row's, standard deviation)."""
    by = np.zeros(len(fit.x))
    by[FAST], by[ACTIVATION] = 1.0, inverse_temperature(degc)
    return float(by @ fit.x), math.sqrt(by @ fit.P @ by)


def test_a_learned_resistance_is_known_where_it_was_learned_and_less_the_farther_away() -> None:
    cells = learned_once().cells
    ((kelvin, log),) = cells.warm
    degc = 1e3 / (kelvin + 1e3 / 298.0) - 273.0
    fit, as_fitted = recalled(cells), recalled(replace(cells, warm=()))
    assert resistance(fit, degc)[0] == pytest.approx(log, abs=0.01)
    more = [
        resistance(fit, degc + apart)[1] ** 2 - resistance(as_fitted, degc + apart)[1] ** 2
        for apart in (0.0, -10.0, -20.0, -30.0)
    ]
    assert more[0] == pytest.approx(0.0, abs=1e-6)
    assert more == sorted(more)
    assert more[-1] > 0.1**2
    assert fit.x[ACTIVATION] == 0.0  # one flight teaches nothing about it


def test_the_dependence_on_temperature_is_learned_between_flights() -> None:
    sd, true = 0.8, -0.7
    kelvins = [inverse_temperature(degc) for degc in (0.0, 20.0, 35.0)]
    cells = CellParameters((), (), tuple([(kelvin, 0.2 + true * kelvin) for kelvin in kelvins]))
    mean, variance = cells.activation(sd)
    assert mean == pytest.approx(true, abs=0.15)
    assert variance < 0.3 * sd**2
    alike = CellParameters((), (), ((kelvins[1], 0.2), (kelvins[1], 0.3)))
    assert alike.activation(sd)[0] == 0.0
    assert alike.activation(sd)[1] == pytest.approx(sd**2)


@pytest.mark.parametrize("pack", ["../../etc/passwd", "a/b", ".hidden", "x" * 500, "Ümläut 1", ""])
def test_any_name_of_a_pack_stays_in_its_folder(pack: str, tmp_path: Path) -> None:
    packs = PackMemoryFolder(tmp_path / "state")
    save(packs, pack, learned_once())
    assert packs.load(pack) is not None
    assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "state"]


def learned_once(memory: list[LearnedPack] = []) -> LearnedPack:  # noqa: B006 - one flight for all names
    if not memory:
        memory.append(learned_from(FIRST))
    return memory[0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda _: "[]",
        lambda _: "{}",
        lambda text: text.replace('"format": 2', '"format": 3'),
        lambda text: text.replace('"mean": [', '"mean": [1.0,'),
        lambda text: text.replace('"gauge_odds": ', '"gauge_odds": 1e99, "other": '),
        lambda text: text.replace('"rated_mah": ', '"rated_mah": "many", "other": '),
        lambda text: text.replace('"warm": [', '"warm": [[0.1, 1e99],'),
        lambda text: text.replace('"warm": [', '"warm": [[0.1],'),
        lambda text: text.replace('"warm": [', '"warm": [{},'),
        lambda _: "\x00\x01",
    ],
)
def test_a_damaged_file_is_named_and_left_as_it_is(
    damage: Callable[[str], str], tmp_path: Path
) -> None:
    packs = PackMemoryFolder(tmp_path)
    save(packs, "P10", learned_once())
    (path,) = tmp_path.glob("*.json")
    path.write_text(damage(path.read_text()))
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=str(path)):
        packs.load("P10")
    with pytest.raises(ConfigError, match=str(path)):
        save(packs, "P10", learned_once())
    with pytest.raises(ConfigError, match="left as it is"):
        replayed(SECOND, packs)
    assert path.read_bytes() == before
    assert {one.name for one in tmp_path.iterdir()} <= {path.name, ".lock"}


def test_a_replay_learns_and_the_next_one_uses_it(tmp_path: Path) -> None:
    packs = PackMemoryFolder(tmp_path)
    replayed(FIRST, packs)
    first = packs.load("P10")
    replayed(SECOND, packs)
    second = packs.load("P10")
    assert first is not None
    assert second is not None
    assert (first.flights, second.flights) == (1, 2)
    capacity = [math_exp(each) for each in (first, second)]
    assert all(0.85 < found < 1.05 for found in capacity)  # true: 0.97 of the rated one


@pytest.mark.slow
def test_the_same_flight_is_learned_from_once(tmp_path: Path) -> None:
    packs, copy = PackMemoryFolder(tmp_path / "state"), tmp_path / "copy.csv.gz"
    copy.write_bytes(FIRST.read_bytes())
    copy.with_name("copy.json").write_bytes((FLIGHTS / f"{FIRST.name[:-7]}.json").read_bytes())
    files = []
    for path in (FIRST, copy, SECOND, FIRST, SECOND):
        replayed(path, packs)
        (file,) = (tmp_path / "state").glob("*.json")
        files.append(file.read_bytes())
    assert files[0] == files[1] != files[2] == files[3] == files[4]


def test_serial_numbers_of_two_makers_are_two_packs(tmp_path: Path) -> None:
    source, packs = Scripted(look(0.0)), PackMemoryFolder(tmp_path)
    for maker in ("One", "Other"):
        pipeline = Pipeline(source, FACTS, packs=packs)
        for t in range(200):
            source.snapshot = look(
                float(t), 3.95 - 0.0006 * t, 25.0 + t % 2, identity=Identity(7, maker)
            )
            pipeline.step(float(t), UNKNOWN_VEHICLE)
        pipeline.store_learned_or_log()
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["One 7.json", "Other 7.json"]


def math_exp(learned: LearnedPack) -> float:
    return float(np.exp(learned.cells.mean[2]))


def test_a_flight_that_hardly_used_the_pack_is_not_learned_from() -> None:
    estimator = Estimator(FACTS)
    for t in range(60):
        estimator.update(look(float(t), 3.9, 25.0 + t % 2))
    assert estimator.learn() == Learned()


def test_another_pack_under_the_same_key_is_corrected_within_a_flight() -> None:
    learned = learned_once()
    other = LearnedPack(
        cells=replace(learned.cells, mean=learned.cells.mean + np.eye(15)[0] * 1.2),
        gauge_odds=learned.gauge_odds,
        first_fast=learned.first_fast,
        rated_mah=learned.rated_mah,
        flights=3,
    )
    # Three times its real resistance: the last half of the flight is estimated nevertheless.
    found = errors(SECOND, other)
    assert np.mean(found[len(found) // 2 :]) < 0.6
    # A pack of another rated capacity is ignored.
    small = replace(learned, rated_mah=1000.0)
    assert errors(SECOND, small)[:200] == errors(SECOND, None)[:200]


def test_health_is_unknown_until_the_capacity_is_known() -> None:
    pack_data, looks = seen_of(SECOND)
    estimator = Estimator(pack_data, lambda _: Known(learned_once()))
    assert estimator.update(looks[0]).soh_pct == pytest.approx(97.0, abs=8.0)
    estimator = Estimator(pack_data)
    assert estimator.update(looks[0]).soh_pct is None


# ---------------------------------------------------------------------- in a running service


MODEL_FILE = "Maker M1 5000 mAh 6S lipo.json"


def hover(t: int, serial: int) -> Snapshot:
    return look(float(t), 3.95 - 0.0006 * t, 25.0 + t % 2, identity=Identity(serial, "Maker", "M1"))


def stepped(
    memory: PackMemory, serials: list[int], vehicle: VehicleState = UNKNOWN_VEHICLE
) -> Pipeline:
    source = Scripted(look(0.0))
    pipeline = Pipeline(source, FACTS, packs=memory)
    for t, serial in enumerate(serials):
        source.snapshot = hover(t, serial)
        pipeline.step(float(t), vehicle)
    return pipeline


def test_a_landing_stores_the_learned_pack(tmp_path: Path) -> None:
    source = Scripted(look(0.0))
    pipeline = Pipeline(source, FACTS, packs=PackMemoryFolder(tmp_path))
    for t in range(201):
        assert list(tmp_path.iterdir()) == []
        source.snapshot = hover(t, 7)
        pipeline.step(float(t), VehicleState(armed=t < 200))
    assert sorted(path.name for path in tmp_path.rglob("*.json")) == [MODEL_FILE, "Maker M1 7.json"]


def test_packs_that_are_swapped_are_stored_each(tmp_path: Path) -> None:
    packs = PackMemoryFolder(tmp_path)
    pipeline = stepped(packs, [7] * 200 + [8] * 200 + [7] * 200)
    pipeline.store_learned_or_log()
    found = {pack: packs.load(f"Maker M1 {pack}") for pack in (7, 8)}
    assert {pack: known and known.flights for pack, known in found.items()} == {7: 2, 8: 1}


def test_a_learned_pack_is_written_in_the_background_and_known_at_once(tmp_path: Path) -> None:
    kept = BackgroundPackMemory(PackMemoryFolder(tmp_path))
    stepped(kept, [7] * 200).store_learned_or_log()
    known = kept.load("Maker M1 7")
    kept.close()
    assert known is not None
    again = PackMemoryFolder(tmp_path).load("Maker M1 7")
    assert again is not None
    assert np.array_equal(again.cells.mean, known.cells.mean)


def test_a_folder_that_cannot_be_written_is_logged_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    kept = BackgroundPackMemory(PackMemoryFolder(tmp_path / "file" / "learned"))
    stepped(kept, [7] * 200).store_learned_or_log()
    kept.close()
    assert "learned pack is not stored" in caplog.text


def test_a_learned_pack_fits_its_own_rated_capacity_whatever_its_digits() -> None:
    learned = learned_once()
    for rated_mah in (*range(1000, 30_000, 10), 8376.860921452235):
        model = CellModel(LIPO, rated_mah / 1000.0, rated=True, parameters=FITTED)
        stored = replace(learned, rated_mah=model.capacity_as / 3.6, chemistry=None)
        assert stored.fits(float(rated_mah), LIPO.name), rated_mah
    assert not replace(learned, rated_mah=4100.0, chemistry=None).fits(4101.0, LIPO.name)


def test_each_battery_of_a_vehicle_has_its_own_usual_power(tmp_path: Path) -> None:
    kept = BackgroundPackMemory(PackMemoryFolder(tmp_path))
    facts = replace(FACTS, vehicle="octocopter")
    for index, share in enumerate((1.0, 0.4)):
        source = Scripted(look(0.0))
        pipeline = Pipeline(source, facts, index=index, packs=kept)
        for t in range(300):
            seen = hover(t, 7 + index)
            source.snapshot = replace(seen, current_a=share * (seen.current_a or 0.0))
            pipeline.step(float(t), UNKNOWN_VEHICLE)
        pipeline.store_learned_or_log()
    kept.close()
    again = PackMemoryFolder(tmp_path)
    first, second = (again.vehicle(name) for name in ("octocopter", "octocopter battery 2"))
    assert len(first) == len(second) == 1
    assert second[0].mean_w == pytest.approx(0.4 * first[0].mean_w, rel=0.01)
    learned = again.load("Maker M1 8")
    assert learned is not None
    assert learned.vehicle == "octocopter battery 2"


def test_two_programs_that_store_at_once_lose_no_flight(tmp_path: Path) -> None:
    def fly(name: str) -> None:
        folder = PackMemoryFolder(tmp_path)
        for flight in range(8):
            folder.store(Keys(vehicle="V"), Learned(power=FlightPower(f"{name}{flight}", 1.0, 1.0)))

    programs = [threading.Thread(target=fly, args=(name,)) for name in "ab"]
    for program in programs:
        program.start()
    for program in programs:
        program.join()
    found = {flight.flight_id for flight in PackMemoryFolder(tmp_path).vehicle("V")}
    assert found == {f"{name}{flight}" for name in "ab" for flight in range(8)}


@pytest.mark.parametrize("name", ["a.json", "models/m.json", "vehicles/v.json"])
def test_a_pipe_in_the_place_of_a_file_delays_no_step(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / name)
    errors: list[str] = []
    begun_s = monotonic()
    known = recall(
        PackMemoryFolder(tmp_path), Keys("a", "m", "v"), lambda error: errors.append(str(error))
    )
    assert monotonic() - begun_s < 5.0  # a pipe of the user is waited for, 10 s
    assert errors == [f"{tmp_path / name} cannot be read: not a regular file"]
    assert known == Known(None, (), ())


def test_a_folder_that_another_program_holds_holds_up_no_end_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_memory, "_WRITE_S", 0.1)
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        kept = BackgroundPackMemory(PackMemoryFolder(tmp_path))
        save(kept, "A", learned_once())
        kept.close()
        writer = next(one for one in threading.enumerate() if one.name == "learned")
        assert writer.daemon
    writer.join(10.0)
    assert PackMemoryFolder(tmp_path).load("A") is not None

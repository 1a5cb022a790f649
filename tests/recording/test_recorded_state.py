# SPDX-License-Identifier: Apache-2.0
"""A recording has what a run recalled of its pack and what it was restored from: same replay."""

import gzip
import json
import logging
import math
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import sim
from dronebms.analysis.replay import replay, reports
from dronebms.core.clock import SystemClock, VirtualClock
from dronebms.core.errors import ConfigError, RecordingError
from dronebms.core.report import Report
from dronebms.core.state import MAX_BYTES, from_json, to_json
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.estimation.estimator import EstimatorState
from dronebms.estimation.learning.learned_pack import Keys
from dronebms.estimation.learning.pack_memory import (
    LEARNED_FOLDER,
    BackgroundPackMemory,
    PackMemoryFolder,
)
from dronebms.estimation.learning.usual_power import FlightPower
from dronebms.flightlogs import NO_OPTIONS
from dronebms.monitoring.loop import Loop
from dronebms.monitoring.pipeline import Pipeline, restore_parts, stored_parts
from dronebms.recording.blocks import MAGIC, block_of
from dronebms.recording.gauge_tap import SteppedGauge, TappedGauge
from dronebms.recording.reading import read_records
from dronebms.recording.recorder import Recorder, SingleFile
from dronebms.recording.records import Recorded, Start, text_of
from dronebms.service.sources.bus_threads import PolledGauge
from dronebms.telemetry.status_socket import read_status
from sim.emulator.world import open_virtual
from sim.plant.faults import parse_fault
from smartbattery.bus import Bus
from smartbattery.errors import NackError
from tests.mavlink_bridge.loopback import WAIT_S

PACK = "virtual 6S2P 16000 2025-03-14 1001"
UID = "0badcafe"
TAUGHT_S = 290.0  # more than a sixth of the pack


def flown(
    path: Path,
    packs: PackMemoryFolder,
    seconds: float,
    parts: dict[str, object] | None = None,
    start_s: float = 0,
    *,
    other_uid_s: float | None = None,
) -> tuple[list[Report], dict[str, object]]:
    """Reports of a simulated pack, recorded as a service does, and the stored state at the end.

    With `other_uid_s` it is another pack of the model, and the vehicle sends its unique id then.
    """
    clock = VirtualClock()
    seed, uid_s = (1, math.inf) if other_uid_s is None else (2, other_uid_s)
    bus, world = open_virtual("survey", clock, seed, [parse_fault("weak_cell=0.5")])
    clock.sleep_until(start_s)
    with closing(BackgroundPackMemory(packs)) as memory:
        recorder = Recorder(SingleFile(path), Start((Recorded(world.pack_data(), 0x0B),)))
        source = SteppedGauge(TappedGauge(bus, 0x0B, 6), 0, recorder.polled)
        pipeline = Pipeline(source, world.pack_data(), packs=memory)
        if parts is not None:
            restore_parts([pipeline], parts)
            recorder.begin(parts)
        steps = range(int(start_s * 10), int((start_s + seconds) * 10))

        def vehicle(now_s: float) -> VehicleState:
            return replace(world.vehicle(now_s), uid=UID if now_s >= uid_s else None)

        loop = Loop(clock, vehicle, [pipeline], recorder)
        live = list(loop.reports(k / 10 for k in steps))
        recorder.close()
        pipeline.store_learned_or_log()
    return live, from_json(to_json(stored_parts([pipeline], live[-1].t_s)))


@dataclass
class Plug:
    """A connector whose pack can be exchanged; `None`: unplugged."""

    pack: Bus | None

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Pass the transfer on to the pack."""
        if self.pack is None:
            raise NackError("no pack is connected")
        return self.pack.transfer(address, tx, rx_len)


def k_of(report: Report) -> int:
    return round(report.t_s * 10)


def replayed(path: Path, packs: PackMemoryFolder | None = None) -> list[Report]:
    return list(reports(path, NO_OPTIONS, lambda _: None, packs=packs))


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[PackMemoryFolder, Path, Path]:
    """Memory of a pack after a flight, its folder, and the recording of the flight."""
    folder = tmp_path_factory.mktemp("known")
    packs = PackMemoryFolder(folder / LEARNED_FOLDER)
    flown(folder / "first.rec", packs, TAUGHT_S)
    return packs, folder / LEARNED_FOLDER, folder / "first.rec"


Known = tuple[PackMemoryFolder, Path, Path]


@pytest.mark.slow
def test_a_run_with_a_pack_memory_replays_to_the_same_reports(known: Known, tmp_path: Path) -> None:
    live, _ = flown(tmp_path / "known.rec", known[0], 90.0)
    unknown, _ = flown(tmp_path / "unknown.rec", PackMemoryFolder(tmp_path / "none"), 90.0)
    assert live != unknown  # it matters
    assert replayed(tmp_path / "known.rec") == live
    assert replayed(tmp_path / "unknown.rec") == unknown


def test_a_run_with_a_sister_pack_and_a_vehicle_replays_to_the_same_reports(
    known: Known, tmp_path: Path
) -> None:
    path, none = tmp_path / "x.rec", PackMemoryFolder(tmp_path / "none")
    shutil.copytree(known[1], tmp_path / LEARNED_FOLDER)
    packs = PackMemoryFolder(tmp_path / LEARNED_FOLDER)
    packs.save_vehicle(UID, (FlightPower("1", 100.0, 600.0), FlightPower("2", 102.0, 600.0)))
    live, _ = flown(path, packs, 60.0, other_uid_s=8.0)
    assert replayed(path) == live
    found = [
        record.batteries[0].recalled for record in read_records(path) if isinstance(record, Start)
    ]
    keys = list(dict.fromkeys(each.keys for each in found if each is not None))
    model = "virtual 6S2P 16000 16000 mAh 6S lipo"
    name = PACK.replace("1001", "1002")
    assert keys == [Keys(name, model), Keys(name, model, UID)]
    last = found[-1]
    assert last is not None
    assert (len(last.known.sisters), len(last.known.vehicle)) == (1, 2)
    data = path.read_bytes()
    later = data.index(b"\xd5BMS", len(data) // 3)
    (tmp_path / "later.rec").write_bytes(MAGIC + data[later:])
    assert replayed(tmp_path / "later.rec") == replayed(tmp_path / "later.rec", packs)
    assert replayed(path, none) != live  # it matters
    sister_only, _ = flown(tmp_path / "y.rec", known[0], 60.0, other_uid_s=math.inf)
    assert [report.estimate for report in sister_only] != [report.estimate for report in live]


def test_a_later_part_of_a_run_has_what_was_recalled(known: Known, tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    flown(path, known[0], 90.0)
    starts = [record for record in read_records(path) if isinstance(record, Start)]
    data = path.read_bytes()
    blocks = [data.index(b"\xd5BMS", at) for at in (len(MAGIC), len(data) // 2)]
    (tmp_path / "later.rec").write_bytes(MAGIC + data[blocks[1] :])
    learned = known[0].load(PACK)
    assert learned is not None
    for start in starts[1:]:
        recalled = start.batteries[0].recalled
        assert recalled is not None
        assert recalled.keys.pack == PACK
        assert recalled.known.pack == learned
    later = tmp_path / "later.rec"
    assert len(starts) >= 4
    assert replayed(later) != replayed(later, PackMemoryFolder(tmp_path / "empty"))
    assert replayed(later) == replayed(later, known[0])


def test_a_replay_with_its_own_pack_memory_uses_that_one(known: Known, tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    live, _ = flown(path, known[0], 90.0)
    unknown, _ = flown(tmp_path / "y.rec", PackMemoryFolder(tmp_path / "none"), 90.0)
    assert replayed(path, PackMemoryFolder(tmp_path / "empty")) == unknown != live


@pytest.mark.slow
def test_a_flight_is_learned_from_once(known: Known) -> None:
    files = list(known[1].rglob("*.json"))
    before = [file.read_bytes() for file in files]
    replayed(known[2], known[0])
    replayed(known[2])
    assert [file.read_bytes() for file in files] == before
    assert len(files) == 2  # of the pack and its model


@pytest.mark.slow
@pytest.mark.parametrize("gap_s", [0.5, 20.0])
def test_a_restored_run_replays_to_the_same_reports(
    known: Known, tmp_path: Path, gap_s: float
) -> None:
    _, parts = flown(tmp_path / "1.rec", known[0], 130.0)
    live, _ = flown(tmp_path / "2.rec", known[0], 50.0, parts, 130.0 + gap_s)
    assert live[-1].estimate.used_mah is not None
    assert live[-1].estimate.used_mah > 1000.0  # it was restored
    assert replayed(tmp_path / "2.rec") == live
    assert replayed(tmp_path / "2.rec", known[0]) != live  # restores nothing


def test_a_stage_of_a_future_format_starts_without_history_in_the_run_and_in_its_replay(
    known: Known, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, parts = flown(tmp_path / "1.rec", known[0], 130.0)
    parts["packs"][0]["estimator"]["format"] = 99  # type: ignore[index]
    live, _ = flown(tmp_path / "2.rec", known[0], 5.0, parts, 131.0)
    caplog.clear()
    assert replayed(tmp_path / "2.rec") == live
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    now = EstimatorState.FORMAT
    assert lines[0] == f"battery 1: state of estimator is not restored: format 99, not {now}"
    assert len(lines) == 2  # and that the battery is restored


def test_a_state_that_is_too_large_for_a_record_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(SingleFile(tmp_path / "x.rec"), Start(()))
    recorder.begin({"packs": ["x" * MAX_BYTES]})
    recorder.stepped(0.0, UNKNOWN_VEHICLE)
    recorder.close()
    assert list(read_records(tmp_path / "x.rec"))[:2] == [Start(()), Start(())]
    assert "a replay will not restore this run" in caplog.text


# ------------------------------------------------------------------------- older recordings

OLD = Path(__file__).parents[1] / "data" / "recordings"
TEXTS = {"go", "advice", "trouble", "doubts"}  # for people


def old_lines(name: str) -> list[dict[str, object]]:
    """Predictions of the recording, as stored."""
    with gzip.open(OLD / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("name", ["simulated", "restarted"])
def test_a_recording_of_an_older_version_replays_to_the_same_lines(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = OLD / f"{name}.rec"
    replay(path, reports(path, NO_OPTIONS, lambda _: None), str(tmp_path / "x.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    expected = old_lines(name)
    assert len(lines) == len(expected) > 10
    for line, old in zip(lines, expected, strict=True):
        assert line.keys() >= old.keys()
        assert {key: line[key] for key in old.keys() - TEXTS} == {
            key: old[key] for key in old.keys() - TEXTS
        }
    assert any(line["remaining_s"] is not None for line in lines)
    sentence = "the state before a restart is of an older version"
    assert caplog.text.count(sentence) == (name == "restarted")


# ------------------------------------------------------------------------- recordings of others


def mutated(value: Any, chance: random.Random) -> Any:  # noqa: ANN401 - JSON
    """Copy of a JSON value with one leaf or branch replaced."""
    if isinstance(value, dict) and value and chance.random() < 0.95:
        key = chance.choice(list(value))
        return value | {key: mutated(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.95:
        place = chance.randrange(len(value))
        return [*value[:place], mutated(value[place], chance), *value[place + 1 :]]
    return chance.choice(
        (None, True, 0, -1, 2**40, -0.5, 1e15, "", "os.system", "nan", [], {}, [value] * 3)
    )


def test_no_mutation_of_the_restart_state_of_a_start_record_raises(
    known: Known, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    _, parts = flown(tmp_path / "1.rec", known[0], 130.0)
    flown(tmp_path / "2.rec", known[0], 2.0, parts, 131.0)
    records = list(read_records(tmp_path / "2.rec"))
    starts = [record for record in records[:2] if isinstance(record, Start)]
    rest = b"".join(text_of(record) for record in records if not isinstance(record, Start))
    chance = random.Random(1)  # noqa: S311 - mutations
    path = tmp_path / "x.rec"
    for _ in range(60):
        changed = mutated(parts, chance)
        restart = replace(starts[0], restart=changed if isinstance(changed, dict) else {})
        path.write_bytes(MAGIC + block_of(0, text_of(starts[0]) + text_of(restart) + rest))
        assert len(replayed(path)) == 20
    assert {file.name for file in tmp_path.iterdir()} == {"1.rec", "2.rec", "x.rec"}


def test_no_mutation_of_a_start_record_raises_anything_but_a_recording_error(
    known: Known, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    _, parts = flown(tmp_path / "1.rec", known[0], 20.0)
    start = json.loads(text_of(next(read_records(known[2])))) | {"restart": parts}
    chance = random.Random(2)  # noqa: S311 - mutations
    path, step = tmp_path / "x.rec", b'["t",0.1,{}]\n'
    read = 0
    for _ in range(200):
        line = json.dumps(mutated(start, chance)).encode() + b"\n"
        path.write_bytes(MAGIC + block_of(0, line + step))
        try:
            read += len(replayed(path)) > 0
        except (RecordingError, ConfigError):  # or limits that contradict each other
            continue
    assert read > 20


@pytest.mark.parametrize("kept", [["", "cos\nsystem\n(S'touch evil'\ntR."], 5, "x", {}, [[]]])
def test_a_state_of_an_older_version_is_ignored(
    known: Known, tmp_path: Path, kept: object, caplog: pytest.LogCaptureFixture
) -> None:
    start = json.loads(text_of(next(read_records(known[2]))))
    lines = [json.dumps(row).encode() for row in (start, start | {"kept": kept}, ["t", 0.1, {}])]
    (tmp_path / "x.rec").write_bytes(MAGIC + block_of(0, b"\n".join(lines) + b"\n"))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path)
        assert len(replayed(tmp_path / "x.rec")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.rec"]
    assert "the state before a restart is of an older version" in caplog.text


@pytest.mark.parametrize(
    "recalled", [[], 5, "pack", ["pack"], ["pack", {}], ["pack", {"format": 1}]]
)
def test_an_invalid_pack_memory_is_an_invalid_record(
    known: Known, tmp_path: Path, recalled: object
) -> None:
    start = json.loads(text_of(next(read_records(known[2]))))
    start["batteries"][0]["recalled"] = recalled
    (tmp_path / "x.rec").write_bytes(MAGIC + block_of(0, json.dumps(start).encode() + b"\n"))
    with pytest.raises(RecordingError, match="has an invalid record"):
        replayed(tmp_path / "x.rec")


@pytest.mark.slow
def test_a_run_in_which_packs_were_swapped_and_landed_replays_to_the_same_reports(
    tmp_path: Path,
) -> None:
    clock, packs = VirtualClock(), BackgroundPackMemory(PackMemoryFolder(tmp_path / LEARNED_FOLDER))
    (first, world), (second, _) = (open_virtual("survey", clock, seed) for seed in (1, 2))
    recorder = Recorder(SingleFile(tmp_path / "x.rec"), Start((Recorded(world.pack_data(), 0x0B),)))
    plug = Plug(first)
    source = SteppedGauge(TappedGauge(plug, 0x0B, 6), 0, recorder.polled)
    pipeline, live = Pipeline(source, world.pack_data(), packs=packs), []
    # Without a vehicle another pack is accepted after a minute without the first.
    loop = Loop(clock, lambda _: UNKNOWN_VEHICLE, [pipeline], recorder)
    connected = ((3000, first), (3650, None), (3700, second), (4350, None), (4400, first))
    for report in loop.reports(k / 10 for k in range(4400)):
        live.append(report)
        plug.pack = next(pack for end, pack in connected if k_of(report) < end)
    recorder.close()
    packs.close()
    recalled = [
        record.batteries[0].recalled
        for record in read_records(tmp_path / "x.rec")
        if isinstance(record, Start)
    ]
    known = [
        (str(each.keys.pack)[-4:], each.known.pack is not None, len(each.known.sisters))
        for each in recalled
        if each is not None
    ]
    assert list(dict.fromkeys(known)) == [("1001", False, 0), ("1002", False, 1), ("1001", True, 0)]
    assert replayed(tmp_path / "x.rec") == live


def test_steps_before_the_first_poll_and_between_late_ones_replay_to_the_same_reports(
    tmp_path: Path,
) -> None:
    clock = VirtualClock()
    bus, world = open_virtual("survey", clock, 1)
    path = tmp_path / "x.rec"
    recorder = Recorder(SingleFile(path), Start((Recorded(world.pack_data(), 0x0B),)))
    source = PolledGauge(TappedGauge(bus, 0x0B, 6), 0, recorder.polled)
    loop = Loop(clock, world.vehicle, [Pipeline(source, world.pack_data())], recorder)
    polled = {4: 1, 5: 1, 6: 3, 30: 1, 60: 2}  # polls of the bus's thread before these steps

    def ticks() -> Iterator[float]:
        for step in range(80):
            for _ in range(polled.get(step, 0)):
                source.poll_bus(clock.now_s())
            yield step / 10

    live = list(loop.reports(ticks()))
    recorder.close()
    assert {report.snapshot.trouble for report in live[:4]} == {"the gauge has not answered yet"}
    assert live[6].snapshot.voltage_v is not None
    assert live[29].snapshot.voltage_v is None
    assert replayed(path) == live


# ------------------------------------------------------------------------- as a process


@contextmanager
def service(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    path, flight = folder / "c.toml", folder / "flight.toml"
    hover = (Path(sim.__file__).parent / "scenarios" / "hover.toml").read_text()
    flight.write_text(hover.replace("duration_s = 20.0", "duration_s = 0.2", 1))  # in the air soon
    path.write_text(
        f'[[battery]]\nbus = "sim:{flight}"\n[state]\ndir = "{folder}/state"\n'
        f'[recording]\ndir = "{folder}/rec"\n[status]\nsocket = "{folder}/s"\n'
        '[mavlink]\nurl = "udpout:127.0.0.1:9"\n'
    )
    with (
        (folder / "log").open("a") as log,
        subprocess.Popen(  # noqa: S603 - our own command
            (sys.executable, "-m", "dronebms.cli", "run", "-c", str(path)), stderr=log
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def received(folder: Path, count: int) -> list[Report]:
    """So many reports of the service that is starting."""
    clock = SystemClock()
    while not _serves(folder / "s"):
        assert clock.now_s() < WAIT_S
    return list(islice(read_status(folder / "s", clock), count))


def _serves(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        knock.settimeout(1.0)
        return knock.connect_ex(str(path)) == 0


def _decided(report: Report) -> Report:
    """Without the link's trouble and the pack's history, which no decision rests on."""
    vehicle = replace(report.vehicle, link_trouble=None)
    return replace(report, vehicle=vehicle, history=None)


def test_a_killed_service_with_a_pack_memory_replays_as_it_flew(
    known: Known, tmp_path: Path
) -> None:
    shutil.copytree(known[1], tmp_path / "state" / LEARNED_FOLDER)
    for life in range(2):
        with service(tmp_path) as process:
            live = received(tmp_path, 6)
            process.kill()  # -9
        replay = {r.t_s: r for r in replayed(tmp_path / "rec" / f"run-{life + 1:05}.rec")}
        both = [(r, replay[r.t_s]) for r in live if r.t_s in replay]
        assert len(both) >= 3  # a kill loses the newest
        assert [_decided(ours) for ours, _ in both] == [theirs for _, theirs in both]
    assert "is restored after" in (tmp_path / "log").read_text()

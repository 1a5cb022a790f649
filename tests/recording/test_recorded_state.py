"""What a run recalls of its pack, and goes on from, is in its recording: it replays to the same."""

import json
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import dronebms.service.checkpoint
import sim
from dronebms.analysis.replay import reports
from dronebms.core.clock import SystemClock, VirtualClock
from dronebms.core.errors import RecordingError
from dronebms.core.report import Report
from dronebms.estimation.pack_memory import LEARNED_FOLDER, BackgroundPackMemory, PackMemoryFolder
from dronebms.flightlogs import NO_OPTIONS
from dronebms.monitoring.loop import Loop
from dronebms.monitoring.pipeline import Pipeline, PipelineState
from dronebms.monitoring.state_codec import for_recording
from dronebms.recording.format import MAGIC, Recorded, Start, block_of, read_records, text_of
from dronebms.recording.gauge_tap import SteppedGauge, TappedGauge
from dronebms.recording.recorder import Recorder, SingleFile
from dronebms.service.checkpoint import CheckpointFile
from dronebms.telemetry.status_socket import read_status
from sim.emulator.world import open_virtual
from sim.plant.faults import parse_fault
from smartbattery.bus import Bus

PACK = "virtual 6S2P 16000 2025-03-14 1001"
TAUGHT_S = 290.0  # more than a sixth of the pack
WAIT_S = 20.0


def flown(
    path: Path,
    packs: PackMemoryFolder,
    seconds: float,
    memory: PipelineState | None = None,
    began_s: float = 0,
) -> tuple[list[Report], PipelineState]:
    """Fly and record a simulated pack as a service does; return what was said and is known."""
    clock = VirtualClock()
    bus, world = open_virtual("survey", clock, 1, [parse_fault("weak_cell=0.5")])
    clock.sleep_until(began_s)
    with closing(BackgroundPackMemory(packs)) as kept:
        recorder = Recorder(SingleFile(path), Start((Recorded(world.pack_data(), 0x0B),)))
        source = SteppedGauge(TappedGauge(bus, 0x0B, 6), 0, recorder.polled)
        pipeline = Pipeline(source, world.pack_data(), packs=kept)
        if memory is not None:
            pipeline.restore(memory)
            recorder.begin(for_recording((memory,)))
        steps = range(int(began_s * 10), int((began_s + seconds) * 10))
        said = list(Loop(clock, world.vehicle, [pipeline], recorder).reports(k / 10 for k in steps))
        recorder.close()
        pipeline.keep()
    return said, pipeline.state(said[-1].t_s)


@dataclass
class Plug:
    """A plug: the pack that is in it may be another later."""

    pack: Bus

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Pass on to whoever is plugged in."""
        return self.pack.transfer(address, tx, rx_len)


def k_of(report: Report) -> int:
    return round(report.t_s * 10)


def again(path: Path, packs: PackMemoryFolder | None = None) -> list[Report]:
    return list(reports(path, NO_OPTIONS, lambda _: None, packs=packs))


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[PackMemoryFolder, Path, Path]:
    """A pack that was flown, its memory, the recording of the flight."""
    folder = tmp_path_factory.mktemp("known")
    packs = PackMemoryFolder(folder / LEARNED_FOLDER)
    flown(folder / "first.rec", packs, TAUGHT_S)
    return packs, folder / LEARNED_FOLDER, folder / "first.rec"


Known = tuple[PackMemoryFolder, Path, Path]


def test_a_run_that_knew_its_pack_replays_to_the_same_reports(known: Known, tmp_path: Path) -> None:
    said, _ = flown(tmp_path / "known.rec", known[0], 90.0)
    unknown, _ = flown(tmp_path / "unknown.rec", PackMemoryFolder(tmp_path / "none"), 90.0)
    assert said != unknown  # it matters
    assert again(tmp_path / "known.rec") == said
    assert again(tmp_path / "unknown.rec") == unknown


def test_a_later_part_of_a_run_still_knows_what_was_recalled(known: Known, tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    flown(path, known[0], 90.0)
    starts = [record for record in read_records(path) if isinstance(record, Start)]
    data = path.read_bytes()
    blocks = [data.index(b"\xd5BMS", at) for at in (len(MAGIC), len(data) // 2)]
    (tmp_path / "later.rec").write_bytes(MAGIC + data[blocks[1] :])
    learned = known[0].load(PACK)
    assert learned is not None
    for start in starts[1:]:
        pack, recalled = start.batteries[0].recalled or ("", None)
        assert pack == PACK
        assert recalled is not None
        assert np.array_equal(recalled.cells.covariance, learned.cells.covariance)
    later = tmp_path / "later.rec"
    assert len(starts) >= 4
    assert again(later) != again(later, PackMemoryFolder(tmp_path / "empty"))
    assert again(later) == again(later, known[0])


def test_a_replay_with_a_memory_of_its_own_goes_by_that_one(known: Known, tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    said, _ = flown(path, known[0], 90.0)
    unknown, _ = flown(tmp_path / "y.rec", PackMemoryFolder(tmp_path / "none"), 90.0)
    assert again(path, PackMemoryFolder(tmp_path / "empty")) == unknown != said


def test_a_flight_that_taught_while_it_was_flown_teaches_nothing_more(known: Known) -> None:
    (file,) = known[1].iterdir()
    before = file.read_bytes()
    again(known[2], known[0])
    again(known[2])
    assert file.read_bytes() == before


@pytest.mark.parametrize("gap_s", [0.5, 20.0])
def test_a_run_that_goes_on_replays_to_the_same_reports(
    known: Known, tmp_path: Path, gap_s: float
) -> None:
    _, memory = flown(tmp_path / "1.rec", known[0], 130.0)
    with closing(CheckpointFile(tmp_path / "k")) as keeper:
        keeper.step(130.0, lambda: memory)
    with closing(CheckpointFile(tmp_path / "k")) as keeper:
        kept = keeper.state()
    said, _ = flown(tmp_path / "2.rec", known[0], 50.0, kept, 130.0 + gap_s)
    assert said[-1].estimate.used_mah is not None
    assert said[-1].estimate.used_mah > 1000.0  # it did go on
    assert again(tmp_path / "2.rec") == said


def test_what_another_version_went_on_from_is_left_and_told(
    known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, memory = flown(tmp_path / "1.rec", known[0], 130.0)
    said, _ = flown(tmp_path / "2.rec", known[0], 5.0, memory, 131.0)
    monkeypatch.setattr(dronebms.service.checkpoint, "_program", lambda: "another")
    replayed = again(tmp_path / "2.rec")
    assert [r.snapshot for r in replayed] == [r.snapshot for r in said]
    assert replayed[-1].estimate.used_mah != said[-1].estimate.used_mah
    assert "went on after a restart, from what this version cannot read" in caplog.text


class Evil:
    """Whoever unpickles it runs a program."""

    def __reduce__(self) -> tuple[object, ...]:
        return subprocess.check_call, (["touch", "evil"],)


def by_name(module: str, name: str) -> bytes:
    """Return a pickle that calls a name with a path."""
    texts = [b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name, "evil")]
    return b"\x80\x04" + texts[0] + texts[1] + b"\x93" + texts[2] + b"\x85R."


@pytest.mark.parametrize(
    "told",
    [
        pickle.dumps(Evil()),
        by_name("dronebms.estimation.pack_memory", "Path.touch"),
        by_name("dronebms.estimation.pack_memory", "threading.Thread"),
        by_name("dronebms.estimation.pack_memory", "atomic_writer"),
        by_name("dronebms.recording.recorder", "SingleFile"),
        by_name("numpy", "fromfile"),
        b"nonsense",
        b"K\x05.",  # a number
        b"",
    ],
)
def test_a_recording_from_anybody_runs_nothing(
    known: Known, tmp_path: Path, told: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    records = list(read_records(known[2]))
    (start,) = [record for record in records[:1] if isinstance(record, Start)]
    program, _ = for_recording(())
    evil = replace(start, kept=(program, told.decode("latin1")))
    step = b'["t",0.1,{}]\n'
    (tmp_path / "x.rec").write_bytes(MAGIC + block_of(0, text_of(start) + text_of(evil) + step))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path)
        assert len(again(tmp_path / "x.rec")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.rec"]
    assert "from what this version cannot read" in caplog.text


@pytest.mark.parametrize("told", [[], 5, "pack", ["pack"], ["pack", {}], ["pack", {"format": 1}]])
def test_what_is_no_lesson_is_no_record(known: Known, tmp_path: Path, told: object) -> None:
    start = json.loads(text_of(next(read_records(known[2]))))
    start["batteries"][0]["recalled"] = told
    (tmp_path / "x.rec").write_bytes(MAGIC + block_of(0, json.dumps(start).encode() + b"\n"))
    with pytest.raises(RecordingError, match="holds what is no record"):
        again(tmp_path / "x.rec")


def test_a_run_in_which_packs_were_swapped_and_landed_replays_to_the_same_reports(
    tmp_path: Path,
) -> None:
    clock, packs = VirtualClock(), BackgroundPackMemory(PackMemoryFolder(tmp_path / LEARNED_FOLDER))
    (first, world), (second, _) = (open_virtual("survey", clock, seed) for seed in (1, 2))
    recorder = Recorder(SingleFile(tmp_path / "x.rec"), Start((Recorded(world.pack_data(), 0x0B),)))
    plug = Plug(first)
    source = SteppedGauge(TappedGauge(plug, 0x0B, 6), 0, recorder.polled)
    pipeline, said = Pipeline(source, world.pack_data(), packs=packs), []
    loop = Loop(clock, world.vehicle, [pipeline], recorder)
    for report in loop.reports(k / 10 for k in range(3500)):
        said.append(report)
        plug.pack = second if 3000 <= k_of(report) < 3300 else first
    recorder.close()
    packs.close()
    lessons = [
        record.batteries[0].recalled
        for record in read_records(tmp_path / "x.rec")
        if isinstance(record, Start)
    ]
    known = [(lesson[0][-4:], lesson[1] is not None) for lesson in lessons if lesson is not None]
    assert list(dict.fromkeys(known)) == [("1001", False), ("1002", False), ("1001", True)]
    assert again(tmp_path / "x.rec") == said


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


def heard(folder: Path, count: int) -> list[Report]:
    """Return so many reports of the service that is starting."""
    clock = SystemClock()
    while not _serves(folder / "s"):
        assert clock.now_s() < WAIT_S
    return list(islice(read_status(folder / "s", clock), count))


def _serves(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        knock.settimeout(1.0)
        return knock.connect_ex(str(path)) == 0


def test_a_service_that_knew_its_pack_and_was_killed_replays_as_it_flew(
    known: Known, tmp_path: Path
) -> None:
    shutil.copytree(known[1], tmp_path / "state" / LEARNED_FOLDER)
    for life in range(2):
        with service(tmp_path) as process:
            said = heard(tmp_path, 6)
            process.kill()  # -9
        replay = {r.t_s: r for r in again(tmp_path / "rec" / f"run-{life + 1:05}.rec")}
        both = [(r, replay[r.t_s]) for r in said if r.t_s in replay]
        assert len(both) >= 3  # a kill costs the newest
        assert all(ours == theirs for ours, theirs in both)
    assert "goes on after" in (tmp_path / "log").read_text()

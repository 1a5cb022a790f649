# SPDX-License-Identifier: Apache-2.0
"""The folder of recordings of a service: bounded, alive on a full disk, with capsules."""

import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from time import monotonic

import pytest

from dronebms.analysis.replay import reports
from dronebms.core import clock
from dronebms.core.clock import VirtualClock
from dronebms.core.report import Report, Severity
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
from dronebms.flightlogs import FlightOptions
from dronebms.monitoring.loop import Loop
from dronebms.monitoring.pipeline import Pipeline
from dronebms.protection.limits import LimitChange
from dronebms.protection.rules import Rules
from dronebms.recording import archive
from dronebms.recording.archive import Bounds, Folder
from dronebms.recording.blocks import MAGIC, block_of
from dronebms.recording.boots import BOOT_FILE
from dronebms.recording.gauge_tap import SteppedGauge, TappedGauge
from dronebms.recording.reading import read_records
from dronebms.recording.recorder import Block, GrowingFile, Incident, Recorder
from dronebms.recording.records import Recorded, Start, Step, text_of
from sim.emulator.world import open_virtual
from smartbattery.registers import ADDRESS
from tests.disks import files_limited_to

ROOMY = Bounds(1e9, 1e8)
EARLY = Rules((LimitChange("charge_low", trip=98.9, severity=Severity.WARNING),))
RUN_S = 150.0


def flown(folder: Path, bounds: Bounds, rules: Rules = EARLY, first_s: float = 0.0) -> list[Report]:
    """Record the flight of a virtual pack in a folder; its reports."""
    clock = VirtualClock()
    bus, world = open_virtual("survey", clock, 1)
    recorder = Recorder(
        Folder(folder, bounds), Start((Recorded(world.pack_data(), ADDRESS),), rules)
    )
    gauge = SteppedGauge(TappedGauge(bus, ADDRESS, 6), 0, recorder.polled)
    loop = Loop(clock, world.vehicle, [Pipeline(gauge, world.pack_data(), rules=rules)], recorder)
    live = list(loop.reports(first_s + step / 10 for step in range(int(RUN_S * 10))))
    recorder.close()
    return live


def replayed(path: Path) -> list[Report]:
    def damaged(sentence: str) -> None:
        pytest.fail(sentence)

    return list(reports(path, FlightOptions(), lambda _: None, damaged))


def runs(folder: Path) -> list[Path]:
    return sorted(folder.glob("run-*.rec"))


def capsules(folder: Path) -> list[Path]:
    return sorted((folder / "incidents").iterdir())


def put(folder: Path, *blocks: Block) -> None:
    """Write blocks and wait for the thread."""
    store = Folder(folder, ROOMY)
    for block in blocks:
        store.take(block)
    store.close()


# ---------------------------------------------------------------------- files and bounds


def test_a_run_is_continued_in_files_that_each_begin_with_a_start_record(tmp_path: Path) -> None:
    live = flown(tmp_path, Bounds(1e9, 30e3))
    files = runs(tmp_path)
    assert [path.name for path in files] == [f"run-0000{k}.rec" for k in range(1, len(files) + 1)]
    assert len(files) >= 3
    again = [replayed(path) for path in files]
    assert again[0] == live[: len(again[0])]
    assert [report.t_s for part in again for report in part] == [report.t_s for report in live]
    for report in (report for part in again for report in part):
        assert report.snapshot == live[round(report.t_s * 10)].snapshot  # the gauge is in step


def test_the_oldest_files_are_deleted_first_and_capsules_last(tmp_path: Path) -> None:
    (tmp_path / "incidents").mkdir()
    capsule = tmp_path / "incidents" / "run-00001-000100s-hot.rec"
    for path in (capsule, *(tmp_path / f"run-{k}.rec" for k in ("00098", "00099", "100000"))):
        path.write_bytes(bytes(36_000))
    flown(tmp_path, Bounds(200e3, 30e3))
    names = [path.name for path in runs(tmp_path)]
    assert not {"run-00098.rec", "run-00099.rec"} & set(names)
    assert "run-100001.rec" in names
    assert capsule in capsules(tmp_path)
    assert sum(p.stat().st_size for p in tmp_path.rglob("*.rec")) <= 200e3

    for path in (tmp_path / "incidents").iterdir():
        path.unlink()
    capsule.write_bytes(bytes(190_000))
    flown(tmp_path, Bounds(200e3, 30e3))
    assert not capsule.exists()


def test_old_recordings_are_deleted_and_no_other_files(tmp_path: Path) -> None:
    old, new, other = tmp_path / "run-00001.rec", tmp_path / "run-00002.rec", tmp_path / "notes.txt"
    for path in (old, new, other):
        path.write_bytes(b"x")
    for path in (old, other):
        os.utime(path, (1.75e9, 1.75e9))
    flown(tmp_path, Bounds(1e9, 1e8, max_days=30.0))
    assert not old.exists()
    assert new.exists()
    assert other.exists()


DAY_S = 86_400.0
STALE_S = 1.8e9  # the date at which a computer without a clock stopped, and with which it starts


class Boots:
    """Starts of the computer, with the date that its clock has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.date_s: float | None = STALE_S
        self._id = folder.with_name("boot_id")
        self._began_s = 0.0
        monkeypatch.setattr(clock, "_BOOT_ID", self._id)
        monkeypatch.setattr(archive, "date_s", lambda: self.date_s)
        self.start("first")

    def start(self, name: str) -> None:
        """Start the computer."""
        self._id.write_text(name)

    def record(self, folder: Path, *numbers: int) -> None:
        """Run a service that writes a file for each number, with the present date."""
        before = set(folder.glob("run-*.rec"))
        store = Stepping(folder, Bounds(1e9, 1.0, max_days=30.0))
        for number in numbers:
            store.write(number, is_start=True)
        store.close()
        for path in set(folder.glob("run-*.rec")) - before:
            os.utime(path, (self.date_s or 40.0,) * 2)


@pytest.fixture
def boots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Boots:
    return Boots(monkeypatch, tmp_path)


def numbers_of(folder: Path) -> list[int]:
    return [int(path.stem.split("-")[1]) for path in runs(folder)]


def test_a_pipe_in_the_place_of_the_file_of_starts_holds_up_no_recording(
    tmp_path: Path, boots: Boots
) -> None:
    os.mkfifo(tmp_path / BOOT_FILE)
    begun_s = monotonic()
    boots.record(tmp_path, 1)
    assert monotonic() - begun_s < 4.0  # closing waits for 5 s at most
    assert numbers_of(tmp_path) == [1]


def test_a_date_that_is_set_in_flight_makes_no_file_of_the_run_old(
    tmp_path: Path, boots: Boots
) -> None:
    """A computer without a clock starts with the date at which it stopped, weeks ago."""
    boots.record(tmp_path, 0)
    boots.start("second")
    boots.date_s = STALE_S + DAY_S
    folder = Stepping(tmp_path, Bounds(1e9, 1.0, max_days=30.0))
    folder.write(1, is_start=True)
    folder.write(2, is_start=True)
    boots.date_s += 40 * DAY_S
    folder.write(3, is_start=True)
    assert numbers_of(tmp_path) == [1, 2, 3, 4]  # the first by the date at the start
    for days in (20, 31):  # it runs so long
        folder.write(4 + days * 86_400, is_start=True)
    assert numbers_of(tmp_path) == [5, 6]
    folder.close()


@pytest.mark.parametrize("known", [STALE_S, None])
@pytest.mark.parametrize("starts", [1, 2, 3])
def test_a_date_that_is_set_between_two_starts_in_flight_makes_no_file_of_the_flight_old(
    tmp_path: Path, boots: Boots, starts: int, known: float | None
) -> None:
    """The service, or the whole computer, starts again in flight."""
    boots.date_s = known
    boots.record(tmp_path, 1, 2)
    boots.date_s = STALE_S + 60 * DAY_S
    boots.record(tmp_path, 3, 4)
    for number in range(1, starts):
        boots.start(f"again {number}")
        boots.date_s += 60.0
        boots.record(tmp_path, 4 + number)
    assert numbers_of(tmp_path) == list(range(1, 4 + starts))


def test_recordings_of_an_earlier_day_are_deleted_by_their_dates(
    tmp_path: Path, boots: Boots
) -> None:
    boots.record(tmp_path, 1, 2)
    for days in (20, 40, 60):
        boots.start(f"after {days} days")
        boots.date_s = STALE_S + days * DAY_S
        boots.record(tmp_path, days)
    assert numbers_of(tmp_path) == [4, 5]  # of 40 and 60 days, and not the first three


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\0" * 5000, b'{"format":1,"state":{"boot_id":"first"}}',
                b'{"format":1,"state":{"boot_id":"first","firsts":[]}}']
)  # fmt: skip
def test_a_damaged_file_of_the_boot_is_made_again(
    tmp_path: Path, boots: Boots, content: bytes
) -> None:
    boots.record(tmp_path, 1)
    (tmp_path / BOOT_FILE).write_bytes(content)
    boots.record(tmp_path, 2)
    boots.date_s = STALE_S + 60 * DAY_S
    boots.record(tmp_path, 3)
    assert 2 in numbers_of(tmp_path)  # since the file was made again
    assert (tmp_path / BOOT_FILE).read_bytes() != content


# ---------------------------------------------------------------------- two services


def test_two_services_with_one_folder_delete_nothing_that_the_other_writes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = Bounds(1.0, 1.0)  # room for no file but the present one
    one, other = Stepping(tmp_path, small), Stepping(tmp_path, small)
    one.write(1, is_start=True)
    one.write(2)
    other.write(100, is_start=True)
    other.write(101)
    for number in (3, 4):
        one.write(number)
        other.write(99 + number)
    assert [steps_of(path) for path in runs(tmp_path)] == [[1, 2, 3, 4], [100, 101, 102, 103]]
    one.write(5, is_start=True)  # deletes its own full file, and not that of the other
    other.write(104)
    assert [steps_of(path) for path in runs(tmp_path)] == [[100, 101, 102, 103, 104], [5]]
    other.write(105, is_start=True)
    one.write(6)
    assert [steps_of(path) for path in runs(tmp_path)] == [[5, 6], [105]]
    assert numbers_of(tmp_path) == [3, 4]  # each takes a number above all that are there
    one.close()
    other.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"another dronebms records in {tmp_path} too: max_mb and max_days hold for both together"
    ]


def test_a_part_that_another_service_writes_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, is_held, may_go = os.fdatasync, threading.Event(), threading.Event()

    def fdatasync(file: int) -> None:
        if threading.current_thread() is one._store._thread:
            is_held.set()
            may_go.wait()
        sync(file)

    one = Stepping(tmp_path)
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    line = text_of(Start(())) + text_of(Step(1.0, UNKNOWN_VEHICLE))
    one._store.take(Block(block_of(1, line), 1.0, is_start=True))
    is_held.wait()
    (tmp_path / ".run-00009-0123abcd.part").write_bytes(b"left by a kill")
    other = Stepping(tmp_path)
    other.write(2, is_start=True)
    parts = list(tmp_path.glob(".run-*.part"))
    may_go.set()
    one.close()
    other.close()
    assert len(parts) == 1
    assert sorted(time_s for path in runs(tmp_path) for time_s in steps_of(path)) == [1.0, 2.0]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_no_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Whether another service writes a file is unknown there: the bounds hold."""

    def flock(_file: object, _operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    store = Stepping(tmp_path, Bounds(1.0, 1.0))
    for number in (1, 2, 3):
        store.write(number, is_start=True)
    store.close()
    assert [steps_of(path) for path in runs(tmp_path)] == [[3.0]]


def test_recordings_from_before_the_clock_was_set_are_not_56_years_old(tmp_path: Path) -> None:
    """The date of two flights is that of a clock that started in 1970: they are of unknown age."""
    (tmp_path / "incidents").mkdir()
    capsule = tmp_path / "incidents" / "run-00002-000050s-hot.rec"
    for path in (tmp_path / "run-00001.rec", tmp_path / "run-00002.rec", capsule):
        path.write_bytes(b"x")
        os.utime(path, (40.0, 40.0))
    flown(tmp_path, Bounds(1e9, 1e8, max_days=30.0))
    assert [path.stem for path in runs(tmp_path)] == ["run-00001", "run-00002", "run-00003"]
    assert capsule.exists()


def test_a_recording_without_a_date_is_as_old_as_the_next_one_that_has_one(tmp_path: Path) -> None:
    before, after = tmp_path / "run-00007.rec", tmp_path / "run-00009.rec"
    dated, capsule = (
        tmp_path / "run-00008.rec",
        tmp_path / "incidents" / "run-00007-000050s-hot.rec",
    )
    (tmp_path / "incidents").mkdir()
    for path in (before, dated, after, capsule):
        path.write_bytes(b"x")
        os.utime(path, (40.0, 40.0))
    os.utime(dated, (1.75e9, 1.75e9))
    flown(tmp_path, Bounds(1e9, 1e8, max_days=30.0))
    assert [path.stem for path in runs(tmp_path)] == ["run-00009", "run-00010"]
    assert not capsule.exists()


def test_a_clock_that_is_not_set_makes_no_recording_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "date_s", lambda: None)
    old = tmp_path / "run-00001.rec"
    old.write_bytes(b"x")
    os.utime(old, (1.75e9, 1.75e9))
    flown(tmp_path, Bounds(1e9, 1e8, max_days=30.0))
    assert old.exists()
    (capsule,) = capsules(tmp_path)
    assert re.fullmatch(r"run-00002-\d{6}s-charge_low\.rec", capsule.name)  # without a date


def test_the_number_of_a_run_whose_files_were_moved_away_is_not_given_again(
    tmp_path: Path,
) -> None:
    """The capsule of a limit replaces those of its own run alone."""
    (tmp_path / "incidents").mkdir()
    capsule = tmp_path / "incidents" / "run-00001-000050s-charge_low.rec"
    capsule.write_bytes(b"of a run that is elsewhere")
    flown(tmp_path, ROOMY)
    assert capsule.read_bytes() == b"of a run that is elsewhere"
    assert [path.stem for path in runs(tmp_path)] == ["run-00002"]
    assert [path.name[:9] for path in capsules(tmp_path)] == ["run-00001", "run-00002"]


# ---------------------------------------------------------------------- deleted files


class Stepping:
    """A folder whose blocks are written one by one, by the test."""

    def __init__(self, folder: Path, bounds: Bounds = ROOMY) -> None:
        self._store = Folder(folder, bounds)

    def write(self, *numbers: int, is_start: bool = False) -> None:
        """Write a block with a step for each number, and wait for it."""
        for number in numbers:
            lines = text_of(Start(())) * is_start + text_of(Step(float(number), UNKNOWN_VEHICLE))
            self._store.take(Block(block_of(number, lines), float(number), is_start))
        while not self._store._queue.empty():
            os.sched_yield()
        self._store.take(Block(b"", 0.0))  # taken when the ones before are written
        while not self._store._queue.empty():
            os.sched_yield()

    def close(self) -> None:
        """Write the rest."""
        self._store.close()


def steps_of(path: Path) -> list[float]:
    return [record.t_s for record in read_records(path) if isinstance(record, Step)]


@pytest.mark.parametrize("what", ["file", "folder", "moved"])
def test_a_recording_that_is_deleted_in_flight_loses_nothing(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "rec"
    store = Stepping(folder)
    store.write(0, is_start=True)
    store.write(1, 2)
    if what == "file":
        (folder / "run-00001.rec").unlink()
    elif what == "folder":
        shutil.rmtree(folder)
    else:
        folder.rename(tmp_path / "away")
    store.write(3, 4)
    store.close()
    assert steps_of(folder / "run-00002.rec") == [0.0, 1.0, 2.0, 3.0, 4.0]
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert errors == [f"{folder}/run-00001.rec was deleted or moved"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder that root cannot change")
def test_a_folder_that_cannot_be_made_again_is_tried_until_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "rec"
    store = Stepping(folder)
    store.write(0, is_start=True)
    shutil.rmtree(folder)
    folder.write_bytes(b"a file in its place")
    store.write(1, 2, 3)
    store.write(4, is_start=True)
    folder.unlink()
    store.write(5, 6)
    store.close()
    assert steps_of(folder / "run-00002.rec") == [float(k) for k in range(7)]
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 1


def test_a_file_that_is_full_when_it_is_deleted_is_written_first(tmp_path: Path) -> None:
    store = Stepping(tmp_path, Bounds(1e9, 100.0))
    store.write(0, is_start=True)
    store.write(1)
    (tmp_path / "run-00001.rec").unlink()
    store.write(2, is_start=True)
    store.close()
    assert [steps_of(path) for path in runs(tmp_path)] == [[0.0, 1.0], [2.0]]


def test_a_descriptor_that_is_closed_ends_the_file_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Stepping(tmp_path)
    store.write(0, is_start=True)
    file = store._store._file
    assert file is not None
    os.close(file._file.fileno())
    store.write(1)
    store.write(2, is_start=True)
    store.close()
    assert [steps_of(path) for path in runs(tmp_path)] == [[0.0], [2.0]]
    assert 1 <= sum(record.levelname == "ERROR" for record in caplog.records) <= 2


def test_no_moment_of_a_kill_leaves_an_empty_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run-00001.rec"
    seen = []
    monkeypatch.setattr(os, "fdatasync", lambda _: seen.append(path.exists()))
    GrowingFile(path, 0.0, b"data").close()
    monkeypatch.undo()
    assert seen == [False]  # it has its name once its data is on the disk
    assert path.read_bytes() == MAGIC + b"data"
    for name in (".run-00002.rec.part", "..boot-0123abcd.part"):  # of a kill before that
        (tmp_path / name).write_bytes(b"")
    put(tmp_path, Block(block_of(0, text_of(Start(()))), 0.0, is_start=True))
    assert {path.name for path in tmp_path.iterdir()} == {
        BOOT_FILE, "incidents", "run-00001.rec", "run-00002.rec",
    }  # fmt: skip


# ---------------------------------------------------------------------- incidents


def test_a_capsule_of_an_alarm_replays_to_the_same_decisions_until_half_a_minute_later(
    tmp_path: Path,
) -> None:
    live = flown(tmp_path, ROOMY)
    (alarm,) = [e for r in live for e in r.status.events if e.tripped]
    (capsule,) = capsules(tmp_path)
    dated = rf"run-00001-{alarm.t_s:06.0f}s-charge_low-20\d{{6}}T\d{{6}}Z\.rec"
    assert re.fullmatch(dated, capsule.name)
    again = replayed(capsule)
    assert again == live[: len(again)]
    assert again[-1].t_s == pytest.approx(alarm.t_s + 30.0)
    assert alarm.t_s + 30.0 < live[-1].t_s - 1.0


def test_a_capsule_of_an_alarm_early_in_a_file_holds_the_file_before_it_too(tmp_path: Path) -> None:
    live = flown(tmp_path, Bounds(1e9, 30e3))
    (alarm,) = [e for r in live for e in r.status.events if e.tripped]
    (capsule,) = capsules(tmp_path)
    again = replayed(capsule)
    assert again[0].t_s <= alarm.t_s - 60.0 or again[0].t_s == 0.0
    assert again[-1].t_s == pytest.approx(alarm.t_s + 30.0)


def test_a_run_is_recorded_where_its_capsules_cannot_be_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "incidents").write_text("a file in the place of the folder")
    live = flown(tmp_path, ROOMY)
    assert replayed(tmp_path / "run-00001.rec") == live
    (error,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert error.startswith("no capsule of charge_low at ")


def test_alarms_that_are_close_share_a_capsule_and_one_at_the_end_has_its_own(
    tmp_path: Path,
) -> None:
    rules = Rules(
        tuple(
            LimitChange(name, trip=trip, severity=Severity.CRITICAL)
            for name, trip in (("charge_low", 99.6), ("charge_critical", 99.2))
        )
    )
    live = flown(tmp_path, ROOMY, rules)
    times_s = [e.t_s for r in live for e in r.status.events if e.tripped]
    assert len(times_s) == 2
    assert times_s[1] - times_s[0] < 30.0
    (capsule,) = capsules(tmp_path)
    assert "charge_low" in capsule.name
    assert replayed(capsule)[-1].t_s == pytest.approx(times_s[1] + 30.0)


def test_an_alarm_in_the_last_seconds_of_a_run_has_a_capsule(
    tmp_path: Path,
) -> None:
    rules = Rules((LimitChange("charge_low", trip=93.5, severity=Severity.WARNING),))
    live = flown(tmp_path, ROOMY, rules)
    (alarm,) = [e for r in live for e in r.status.events if e.tripped]
    assert live[-1].t_s - 30.0 < alarm.t_s
    (capsule,) = capsules(tmp_path)
    assert replayed(capsule) == live


def test_the_newest_capsule_of_a_limit_replaces_the_older_ones_of_its_file(tmp_path: Path) -> None:
    line = text_of(Start(()))
    put(
        tmp_path,
        Block(block_of(0, line), 0.0, is_start=True, ended=Incident(1.0, "hot", 31.0)),
        Block(block_of(1, line), 1.0, ended=Incident(35.0, "hot_critical", 65.0)),
        Block(block_of(2, line), 2.0, ended=Incident(70.0, "hot", 100.0)),
    )
    found = {re.sub(r"-20.*", "", path.name): path.stat().st_size for path in capsules(tmp_path)}
    assert list(found) == ["run-00001-000035s-hot_critical", "run-00001-000070s-hot"]
    assert found["run-00001-000070s-hot"] == runs(tmp_path)[0].stat().st_size


# ---------------------------------------------------------------------- full disks


def test_a_full_disk_is_logged_once_and_recording_continues_in_a_new_file_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with files_limited_to(9000):
        live = flown(tmp_path, ROOMY)
    assert len(live) == RUN_S * 10
    assert caplog.text.count(f"recording in {tmp_path} is interrupted: File too large") == 5
    assert caplog.text.count("recording continues in") == 4
    files = runs(tmp_path)
    assert len(files) == 5
    for path in files:
        assert path.stat().st_size <= 9000
        assert len(replayed(path)) > 50
    assert capsules(tmp_path) == []


def test_a_disk_that_fails_for_a_while_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(archive, "_RETRY_S", 0.001)
    sync, codes = os.fdatasync, iter([0, 5, 28, 30, 0, 28, 0, 5])

    def fdatasync(file: int) -> None:
        if code := next(codes, 0):
            raise OSError(code, os.strerror(code))
        sync(file)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    store = Stepping(tmp_path)
    store.write(0, is_start=True)
    store.write(1, 2, 3, 4)
    store.close()
    assert next(codes, None) is None
    assert [steps_of(path) for path in runs(tmp_path)] == [[0.0, 1.0, 2.0, 3.0, 4.0]]
    errors = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert errors[0] == f"recording in {tmp_path} is interrupted: Input/output error"
    assert caplog.text.count("recording continues in") == len(errors)


def test_a_queue_that_overflows_is_logged_once_and_the_recording_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(archive, "_QUEUED", 2)
    sync, is_held, may_go = os.fdatasync, threading.Event(), threading.Event()

    def fdatasync(file: int) -> None:
        is_held.set()
        may_go.wait()
        sync(file)

    store = Folder(tmp_path, ROOMY)

    def take(number: int, start: Start | None = None) -> None:
        lines = (b"" if start is None else text_of(start)) + text_of(
            Step(float(number), UNKNOWN_VEHICLE)
        )
        block = block_of(number, lines)
        store.take(Block(block, float(number), is_start=start is not None))

    take(0, Start(()))
    while not runs(tmp_path):
        os.sched_yield()
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    take(1)
    is_held.wait()
    for number in (2, 3, 4, 5):
        take(number)
    may_go.set()
    while not store._queue.empty():
        os.sched_yield()
    take(6, Start((), t_s=5.0))
    store.close()
    (path,) = runs(tmp_path)
    gaps: list[str] = []
    records = list(read_records(path, warn=gaps.append))
    assert [one.t_s for one in records if isinstance(one, Step)] == [0.0, 1.0, 2.0, 3.0, 6.0]
    assert gaps == [f"{path} is damaged: no data from 00:00:03 to 00:00:05"]
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == [
        f"the disk of {tmp_path} is too slow: a part of the run is lost"
    ]
    assert caplog.text.count("recording continues in") == 1


FULL = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[2]]
from tests.recording.test_archive import EARLY, ROOMY, flown
import logging
logging.basicConfig(level="INFO", format="%(message)s")
print(len(flown(Path(sys.argv[1]), ROOMY)))
print(len(list(Path(sys.argv[1]).glob("run-*"))))
"""


def test_a_disk_that_is_really_full_stops_the_recording_and_nothing_else(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    script = f'mount -t tmpfs -o size=64k none "{tmp_path}" && "$0" -c "$1" "{tmp_path}" "{root}"'
    done = subprocess.run(  # noqa: S603 - our own code in a mount namespace of its own
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",  # noqa: S607 - util-linux
         f'{script} && ls "{tmp_path}"/incidents', sys.executable, FULL],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["1500", "1"]
    assert done.stderr.count("is interrupted: No space left on device") == 1
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_made_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x").write_text("a file")  # or the folder would be made
    store = Folder(tmp_path / "x", ROOMY)
    text = text_of(Start(()))
    for number in range(3):
        store.take(Block(block_of(number, text), float(number), is_start=True))
    store.close()
    assert caplog.text.count("is interrupted: Not a directory") == 1


def test_a_capsule_that_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = text_of(Start(())) + text_of(Step(1.0, UNKNOWN_VEHICLE))
    (tmp_path / "incidents").write_text("a file")
    store = Folder(tmp_path, ROOMY)
    store.take(Block(block_of(0, text), 1.0, is_start=True))
    store.take(Block(block_of(1, text), 1.8, ended=Incident(1.0, "hot", 31.0)))
    store.close()
    assert "no capsule of hot at 1 s" in caplog.text
    (path,) = runs(tmp_path)
    assert path.read_bytes() == MAGIC + block_of(0, text) + block_of(1, text)


# ---------------------------------------------------------------------- kill -9


REAL = """
import sys, pathlib
from dronebms.recording import archive
from dronebms.recording.archive import Bounds, Folder
from dronebms.core.pack_data import PackData
from dronebms.core.chemistry import LIPO
from dronebms.core.clock import SystemClock
from dronebms.monitoring.loop import live_ticks
from dronebms.recording.recorder import Recorder
from dronebms.recording.records import Recorded, Start
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
start = Start((Recorded(PackData(LIPO), 11),))
recorder = Recorder(Folder(pathlib.Path(sys.argv[1]), Bounds(1e9, 1e8)), start)
clock = SystemClock()
for t_s in live_ticks(clock):
    clock.sleep_until(t_s)
    recorder.stepped(t_s, UNKNOWN_VEHICLE)
    print(t_s, flush=True)
"""


@pytest.mark.parametrize("steps", [2, 17, 31])
def test_a_process_that_is_killed_leaves_all_but_its_last_second(
    tmp_path: Path, steps: int
) -> None:
    with subprocess.Popen(  # noqa: S603 - our own code
        [sys.executable, "-c", REAL, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        printed = [float(process.stdout.readline()) for _ in range(steps)]
        process.send_signal(signal.SIGKILL)
    (path,) = runs(tmp_path)
    times_s = [record.t_s for record in read_records(path) if isinstance(record, Step)]
    assert times_s[-1] >= printed[-1] - 1.0
    assert times_s[:steps] == printed[: len(times_s)]
    assert all(late - early < 0.3 for early, late in pairwise(times_s))

"""Recordings replay to the identical lines, are read up to where they are torn, never trusted."""

import json
import logging
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest

from dronebms import predictions
from dronebms.app import SimOptions, Simulation
from dronebms.battery import BatteryFacts
from dronebms.chemistry import LI_ION, LIPO
from dronebms.clock import VirtualClock
from dronebms.errors import ConfigError, FlightError, RecordingError
from dronebms.gauges import PlayedGauge, SteppedGauge, TappedGauge
from dronebms.limits import LimitChange, Severity
from dronebms.recording import (
    MAGIC,
    Poll,
    Recorded,
    Recorder,
    Step,
    is_recording,
    read_batteries,
    read_records,
)
from dronebms.replay import replay, reports
from dronebms.sidecar import FlightOptions
from dronebms.vehicle import UNHEARD, VehicleState
from sim.world import open_virtual
from smartbattery.recording import Transfer
from smartbattery.vendors import profile_named

FACTS = BatteryFacts(LI_ION, 6, 5000.0, 3.1, "pack 7", 3.0, 6.0, 41.0)
CHANGES = (LimitChange("hot", 55.0, None, 3.0, 4.0, Severity.CRITICAL), LimitChange("cold"))
FLYING = VehicleState(armed=True, mode="AUTO", lat_deg=47.4, wind_m_s=0.1 + 0.2)
READ = Transfer(0x0B, b"\x09", 3, b"\x10\x27\xaa")
REFUSED = Transfer(0x0B, b"\x0a", 3, None, "NackError", "0x0b did not acknowledge 0a")


def lines_of(path: Path) -> list[str]:
    return [predictions.text(r) for r in reports(path, FlightOptions(), lambda _: None)]


def recorded(path: Path, duration_s: float, *faults: str) -> list[str]:
    """Record a simulated flight; return what was said while it flew."""
    options = SimOptions(speed=None, duration_s=duration_s, record=path, faults=faults)
    with ExitStack() as stack:
        return [predictions.text(report) for report in Simulation(options, stack).reports()]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "short.rec"
    recorded(path, 0.6)
    return path


# ---------------------------------------------------------------------- what is written


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    recorder = Recorder(path, [Recorded(FACTS, 0x0B, CHANGES), Recorded(BatteryFacts(LIPO), 0x16)])
    recorder.polled(0, 0.1 + 0.2, (READ, REFUSED))
    recorder.polled(1, 0.31, ())
    recorder.stepped(0.4, FLYING)
    recorder.stepped(0.5, UNHEARD)
    recorder.close()
    assert read_batteries(path) == (
        Recorded(FACTS, 0x0B, CHANGES),
        Recorded(BatteryFacts(LIPO), 0x16),
    )
    assert list(read_records(path)) == [
        Poll(0, 0.1 + 0.2, (READ, REFUSED)),
        Poll(1, 0.31, ()),
        Step(0.4, FLYING),
        Step(0.5, UNHEARD),
    ]


def test_a_step_is_in_the_hands_of_the_operating_system_when_it_returns(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    recorder = Recorder(path, [Recorded(FACTS, 0x0B)])
    for step in range(3):
        recorder.stepped(float(step), FLYING)
        assert len(list(read_records(path))) == step + 1
    recorder.close()


@pytest.mark.parametrize(
    "faults", [(), ("nack@5", "bad_pec@5", "ffff_cells@5"), ("unplug@8",), ("stuck@8",)], ids=str
)
def test_a_replay_says_what_the_flight_said(tmp_path: Path, faults: tuple[str, ...]) -> None:
    path = tmp_path / "x.rec"
    said = recorded(path, 40.0, *faults)
    assert len(said) == 401
    assert lines_of(path) == said


def test_recording_changes_nothing(tmp_path: Path) -> None:
    with ExitStack() as stack:
        plain = Simulation(SimOptions(speed=None, duration_s=20.0), stack)
        assert [predictions.text(r) for r in plain.reports()] == recorded(tmp_path / "x.rec", 20.0)


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="exists already"):
        Recorder(path, [])
    assert path.read_text() == "precious"
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        Recorder(tmp_path / "missing" / "x.rec", [])


# ---------------------------------------------------------------------- a full disk


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Let no file grow further: to a writer it looks like a full disk (Python ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [600, 1000, 5000])
def test_a_full_disk_stops_the_recording_and_not_the_flight(
    tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.rec"
    with caplog.at_level(logging.WARNING):
        recorder = Recorder(path, [Recorded(FACTS, 0x0B)])
        with files_limited_to(size):
            for step in range(200):
                recorder.polled(0, float(step), (READ,))
                recorder.stepped(float(step), FLYING)
            recorder.close()
    assert f"recording to {path} has stopped: File too large" in caplog.text
    assert path.stat().st_size <= size
    whole = path.read_bytes().count(b"\n") - 2
    assert len(list(read_records(path))) == whole > 0


def test_a_disk_that_is_full_at_the_end_is_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.rec"
    recorder = Recorder(path, [Recorded(FACTS, 0x0B)])
    recorder.polled(0, 0.0, (READ,))
    with files_limited_to(100), caplog.at_level(logging.WARNING):
        recorder.close()
    assert f"the end of {path} is lost" in caplog.text


def test_a_simulation_flies_on_when_its_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    limited = (
        "import resource, sys; from dronebms.cli import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["sim", "--json", "--speed", "max", "--duration", "60", "--record", str(path)]
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", limited, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 61
    assert done.stderr.count("has stopped") == 1
    assert "Traceback" not in done.stderr
    assert 19_000 < path.stat().st_size <= 20_000
    steps = [record for record in read_records(path) if isinstance(record, Step)]
    assert 10 < len(steps) < 600


# ---------------------------------------------------------------------- torn and damaged files


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.rec"
    recorder = Recorder(path, [Recorded(FACTS, 0x0B, CHANGES)])
    for step in range(3):
        recorder.polled(0, step / 10, (READ, REFUSED))
        recorder.stepped(step / 10, FLYING)
    recorder.close()
    return path


@pytest.mark.parametrize(("name", "step"), [("tiny", 1), ("short", 53)])
def test_a_recording_that_is_cut_anywhere_is_read_up_to_there(
    name: str, step: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source: Path = request.getfixturevalue(name)
    data, whole = source.read_bytes(), list(read_records(source))
    start = len(b"".join(data.splitlines(keepends=True)[:2]))
    assert len(whole) == data.count(b"\n") - 2 >= 6
    cut = tmp_path / "cut.rec"
    for length in range(0, len(data), step):
        cut.write_bytes(data[:length])
        complete = data[:length].count(b"\n") - 2
        if length < len(MAGIC):
            assert not is_recording(cut)
        elif length < start:
            with pytest.raises(RecordingError, match="line 2 does not say which batteries"):
                read_batteries(cut)
        else:
            assert len(read_batteries(cut)) == 1
            assert list(read_records(cut)) == whole[:complete]


def test_what_is_left_of_a_cut_recording_replays_to_the_same_lines(
    short: Path, tmp_path: Path
) -> None:
    data, whole = short.read_bytes(), lines_of(short)
    assert len(whole) == 7
    cut = tmp_path / "cut.rec"
    for length in range(600, len(data), 397):
        cut.write_bytes(data[:length])
        steps = [record for record in read_records(cut) if isinstance(record, Step)]
        assert lines_of(cut) == whole[: len(steps)]


def test_a_torn_tail_is_told(short: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut = tmp_path / "cut.rec"
    cut.write_bytes(short.read_bytes()[:-10])
    with caplog.at_level(logging.WARNING):
        assert len(list(read_records(cut))) == 13
    assert f"{cut} ends in the middle of line 16, which is left out" in caplog.text


@pytest.mark.parametrize(("name", "step"), [("tiny", 1), ("short", 97)])
def test_any_flipped_byte_before_the_last_line_is_noticed_with_its_line(
    name: str, step: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    data = request.getfixturevalue(name).read_bytes()
    bad = tmp_path / "bad.rec"
    starts = [len(MAGIC)]
    for line in data.splitlines(keepends=True)[1:]:
        starts.append(starts[-1] + len(line))
    for place in range(starts[2], starts[-2] - 1, step):
        number = 2 + sum(start <= place for start in starts) - 1
        bad.write_bytes(data[:place] + bytes((data[place] ^ 0x40,)) + data[place + 1 :])
        with pytest.raises(RecordingError, match=f"line {number} is damaged"):
            list(read_records(bad))


def line_of(record: object) -> bytes:
    text = record if isinstance(record, bytes) else json.dumps(record).encode()
    return b"%08x %b\n" % (crc32(text), text)


START = {
    "kind": "start",
    "batteries": [
        {"address": 11, "chemistry": "lipo", "cells": 6, "capacity_mah": None,
         "cutoff_cell_v": None, "pack_id": None, "limits": []},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (["q", 1], "line 3 is of no known kind"),
        ({"kind": "end"}, "line 3 is of no known kind"),
        (["p", 0, "soon", []], "line 3 is of no known kind"),
        (["t", 1.0, {"altitude": 3.0}], "line 3 is of no known kind"),
        (["p", 0, 1.0, [[11, "09", 3]]], "line 3: not a transfer"),
        (["p", 0, 1.0, [[11, "0x", 3, "00"]]], "line 3: not a transfer"),
        (["p", 0, 1.0, [[11, "09", 3, None, "SystemExit", "0"]]], "line 3: not a transfer"),
        (["p", 1, 1.0, []], "battery 2 is not one of those in it"),
        (["p", -1, 1.0, []], "battery 0 is not one of those in it"),
        (b"{", "line 3 is damaged"),
        (b"[" * 100_000, "line 3 is damaged"),
    ],
)
def test_a_record_with_a_right_checksum_is_not_trusted_either(
    tmp_path: Path, record: object, complaint: str
) -> None:
    path = tmp_path / "x.rec"
    path.write_bytes(MAGIC + line_of(START) + line_of(record) + line_of(["t", 2.0, {}]))
    with pytest.raises(RecordingError, match=complaint):
        lines_of(path)


@pytest.mark.parametrize(
    "battery",
    [
        {},
        START["batteries"][0] | {"chemistry": "nimh"},  # type: ignore[operator]
        START["batteries"][0] | {"cells": "six"},  # type: ignore[operator]
        START["batteries"][0] | {"more": 1},  # type: ignore[operator]
        START["batteries"][0]  # type: ignore[operator]
        | {
            "limits": [
                {"limit_id": "hot", "trip": 1.0, "clear": None, "hold_s": None,
                 "clear_s": None, "severity": 9},
            ],
        },
        7,
    ],
)  # fmt: skip
def test_a_battery_that_is_not_described_is_refused(tmp_path: Path, battery: object) -> None:
    path = tmp_path / "x.rec"
    path.write_bytes(MAGIC + line_of({"kind": "start", "batteries": [battery]}))
    with pytest.raises(RecordingError, match="line 2 does not describe a battery"):
        read_batteries(path)


def test_a_recording_without_a_step_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    path.write_bytes(MAGIC + line_of(START))
    out = tmp_path / "out.jsonl"
    with pytest.raises(FlightError, match="holds no step"):
        replay(path, FlightOptions(), str(out), lambda _: None)


def test_the_share_that_is_read_grows_to_the_whole(short: Path) -> None:
    shares: list[float] = []
    assert list(reports(short, FlightOptions(), shares.append))
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0, abs=0.01)


def test_a_played_gauge_knows_nothing_before_its_first_poll() -> None:
    gauge = PlayedGauge(Recorded(replace(FACTS, pack_id=None), 0x0B))
    assert gauge.poll(1.0).voltage_v is None


def test_what_is_no_recording_is_not_taken_for_one(tmp_path: Path) -> None:
    assert not is_recording(tmp_path)
    assert not is_recording(tmp_path / "absent")
    (tmp_path / "x").write_bytes(MAGIC[:-1])
    assert not is_recording(tmp_path / "x")


@pytest.mark.parametrize("gauge", ["generic", "sui"])
def test_a_recording_is_read_by_the_profile_that_the_flight_was_read_by(
    tmp_path: Path, gauge: str
) -> None:
    clock = VirtualClock()
    bus, world = open_virtual("survey", clock, 1)
    path = tmp_path / "x.rec"
    recorder = Recorder(path, [Recorded(world.facts(), 0x0B, gauge=gauge)])
    tapped = TappedGauge(bus, 0x0B, 6, profile_named(gauge))
    source = SteppedGauge(tapped, 0, recorder.polled)
    said = []
    for step in range(50):
        clock.sleep_until(step / 10)
        said.append(source.poll(step / 10))
        recorder.stepped(step / 10, UNHEARD)
    recorder.close()
    (battery,) = read_batteries(path)
    assert battery.gauge == gauge
    played, again = PlayedGauge(battery), []
    for record in read_records(path):
        if isinstance(record, Poll):
            played.play(record.t_s, record.transfers)
        else:
            again.append(played.poll(record.t_s))
    assert again == said
    assert again[-1].identity.gauge == gauge


def test_a_recording_of_before_has_no_gauge_and_finds_it_out_by_reading(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    path.write_bytes(MAGIC + line_of(START))
    assert read_batteries(path)[0].gauge == "auto"
    battery = START["batteries"][0] | {"gauge": "bq4050"}  # type: ignore[operator]
    path.write_bytes(MAGIC + line_of({"kind": "start", "batteries": [battery]}))
    with pytest.raises(RecordingError, match="line 2 does not describe a battery"):
        read_batteries(path)

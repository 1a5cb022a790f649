# SPDX-License-Identifier: Apache-2.0
"""Recordings replay to the identical lines, are read up to any damage, and are never trusted."""

import copy
import json
import math
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import pytest

from dronebms.analysis.replay import replay, reports
from dronebms.core.bounded_input import Window
from dronebms.core.chemistry import LI_ION, LIPO
from dronebms.core.clock import VirtualClock
from dronebms.core.errors import ConfigError, FlightLogError, RecordingError
from dronebms.core.flight_plan import (
    Agility,
    FlightPlan,
    ItemKind,
    MissionItem,
    Place,
    ReturnPlan,
    ReturnTo,
    SpeedKind,
    Speeds,
)
from dronebms.core.number_format import clock_text
from dronebms.core.pack_data import SERIES, PackData
from dronebms.core.report import Action, ActionKind, Severity
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.flightlogs import FlightOptions
from dronebms.monitoring.loop import Loop
from dronebms.monitoring.pipeline import Pipeline
from dronebms.protection.limits import LimitChange
from dronebms.protection.rules import Rules
from dronebms.recording import reading
from dronebms.recording.archive import Bounds, Folder
from dronebms.recording.blocks import MAGIC, block_of, blocks_in
from dronebms.recording.gauge_tap import (
    PlayedGauge,
    SteppedGauge,
    TappedGauge,
    TappedSource,
    unpolled,
)
from dronebms.recording.reading import is_recording, read_records
from dronebms.recording.recorder import PLAN_S, START_S, Recorder, SingleFile
from dronebms.recording.records import (
    Planned,
    Poll,
    Record,
    Recorded,
    Shown,
    Start,
    Step,
    plan_line,
    text_of,
)
from dronebms.simulation.simulated_flight import SimOptions, Simulation
from dronebms.telemetry import json_line
from sim.emulator.world import open_virtual
from smartbattery.bus_trace import Transfer
from smartbattery.gauge_state import GaugeState
from smartbattery.profiles import profile_named
from smartbattery.snapshot import BusCounts, Identity, Snapshot
from tests.disks import files_limited_to
from tests.special_files import special_file

NOISE = b"".join(sha256(bytes((k,))).digest() for k in range(128))
LONELY = PackData(LIPO)
FACTS = PackData(LI_ION, 6, 5000.0, 3.1, "pack 7", 3.0, 6.0, 41.0, 38.0, 900.0)
CHANGES = (LimitChange("hot", 55.0, None, 3.0, 4.0, Severity.CRITICAL), LimitChange("cold"))
ACTIONS = (
    Action("hot", ActionKind.LAND),
    Action(Severity.CRITICAL, ActionKind.RETURN, escalate=ActionKind.LAND),
)
RULES = Rules(CHANGES, ACTIONS)
ONE = Start((Recorded(FACTS, 0x0B),), RULES)
FLYING = VehicleState(armed=True, mode="AUTO", lat_deg=47.4, wind_m_s=0.1 + 0.2)
SHOWN = Snapshot(
    0.1 + 0.2,
    voltage_v=0.1 + 24.2,
    current_a=12.3,
    cells_v=(4.1, None),
    identity=Identity(device="monitor 0"),
    read_at_s={"voltage_v": 0.1},
    counts=BusCounts(withheld=2),
)
READ = Transfer(0x0B, b"\x09", 3, b"\x10\x27\xaa")
REFUSED = Transfer(0x0B, b"\x0a", 3, None, "NackError", "0x0b did not acknowledge 0a")


def lines_of(path: Path) -> list[str]:
    return [json_line.text(r) for r in reports(path, FlightOptions(), lambda _: None)]


def recorded(path: Path, duration_s: float, *faults: str, flight: str = "survey") -> list[str]:
    """Record a simulated flight; its predictions."""
    options = SimOptions(flight, speed=None, duration_s=duration_s, record=path, faults=faults)
    with ExitStack() as stack:
        return [json_line.text(report) for report in Simulation(options, stack).reports()]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "short.rec"
    recorded(path, 4.0)
    return path


def mission(count: int, seed: int = 0) -> FlightPlan:
    """A plan with every kind of item at random places, as exact as MAVLink has them."""
    random = Random(seed)  # noqa: S311 - a flight, not a secret
    places = [
        Place(
            round(47.4 + random.random() / 100, 7),
            round(8.5 + random.random() / 100, 7),
            round(random.random() * 100),
        )
        for _ in range(count)
    ]
    kinds = tuple(ItemKind)
    items = tuple(
        MissionItem(
            kinds[k % len(kinds)],
            place if k % 7 else None,
            hold_s=None if k % 11 == 0 else k / 7,
            speed_kind=SpeedKind.AIR if k % 5 else SpeedKind.GROUND,
            jump_to=k % count,
            jump_times=-1 if k % 13 == 0 else 2,
        )
        for k, place in enumerate(places)
    )
    returns = ReturnPlan(8.0, 0.1 + 0.2, cone_slope=3.0, to=ReturnTo.LANDING, missing=("RTL_ALT",))
    return FlightPlan(returns, items, (Place(47.0, 8.0, above_home=False),), Speeds(5.0))


# ---------------------------------------------------------------------- what is written


def write(path: Path, start: Start, *records: Poll | Shown | Step) -> None:
    """Write records like the loop."""
    recorder = Recorder(SingleFile(path), start)
    for record in records:
        if isinstance(record, Poll):
            recorder.polled(record.index, record.t_s, record.transfers, GaugeState(cells=6))
        elif isinstance(record, Shown):
            recorder.shown(record.index, record.snapshot)
        else:
            recorder.stepped(record.t_s, record.vehicle)
    recorder.close()


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    start = Start(
        (Recorded(FACTS, 0x0B, "bq40z50"), Recorded(LONELY, 0x16), Recorded(FACTS, 0x0B)),
        RULES,
        SERIES,
    )
    records = (
        Poll(0, 0.1 + 0.2, (READ, REFUSED)),
        Poll(1, 0.31, ()),
        Shown(2, SHOWN),
        Shown(2, Snapshot(0.32, trouble="no vehicle")),
        Step(0.4, FLYING),
        Step(0.5, UNKNOWN_VEHICLE),
    )
    write(tmp_path / "x.rec", start, *records)
    assert list(read_records(tmp_path / "x.rec")) == [start, *records]


def test_a_block_is_written_in_less_than_a_second(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.rec"
    recorder = Recorder(SingleFile(path), ONE)
    for step in range(100):
        recorder.stepped(step / 10, FLYING)
        *_, last = read_records(path)
        assert isinstance(last, Step)
        assert step / 10 - last.t_s <= 0.8
    recorder.close()
    assert len(list(read_records(path))) == 101


def test_an_hour_of_a_pack_at_10_hz_takes_less_than_3_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    recorded(path, 120.0)
    assert path.stat().st_size * 30 < 3e6  # the same as text: 17.7 MB


def steps_with(*plans: FlightPlan | None, period_s: float = 0.1) -> list[Step]:
    """Steps of a vehicle that has these plans one after the other."""
    return [
        Step(k * period_s, replace(FLYING, plan=plan, mission_item=k))
        for k, plan in enumerate(plans)
    ]


def test_a_flight_plan_is_restored_to_every_step_to_the_bit(tmp_path: Path) -> None:
    first, second = mission(60), mission(61)
    again = replace(first)
    steps = steps_with(None, first, first, again, second, None, FlightPlan(), second)
    write(tmp_path / "x.rec", ONE, *steps)
    assert [r for r in read_records(tmp_path / "x.rec") if isinstance(r, Step)] == steps
    text = b"".join(block[0] for block in blocks_of(tmp_path / "x.rec"))
    assert text.count(b'["f",') == 5  # every change, and no step in between


def blocks_of(path: Path) -> list[tuple[bytes, int]]:
    with path.open("rb") as file:
        return [block for _, _, block in blocks_in(Window(file)) if block is not None]


def test_a_mission_of_500_items_adds_less_than_a_per_cent_to_an_hour(tmp_path: Path) -> None:
    plan, sizes = mission(500), []
    for name, used in (("with", plan), ("without", None)):
        path = tmp_path / name
        write(path, ONE, *steps_with(*[used] * 3600, period_s=1.0))
        sizes.append(path.stat().st_size)
    assert 2_000 < sizes[0] - sizes[1] < 0.01 * 2.7e6  # docs/recording.md


def test_a_plan_is_recorded_again_after_half_an_hour_and_first_in_a_file(tmp_path: Path) -> None:
    plan = mission(20)
    steps = steps_with(*[plan] * int(PLAN_S / 10 + 20), period_s=10.0)
    folder = Folder(tmp_path, Bounds(1e9, 2e3))
    recorder = Recorder(folder, ONE)
    for step in steps:
        recorder.stepped(step.t_s, step.vehicle)
    recorder.close()
    paths = sorted(tmp_path.glob("*.rec"))
    assert len(paths) > 3
    read = [record for path in paths for record in read_records(path) if isinstance(record, Step)]
    assert read == steps
    write(tmp_path / "x.rec", ONE, *steps)
    places = [b'["f",' in text for text, _ in blocks_of(tmp_path / "x.rec")]
    assert places.count(True) == 2


def test_a_plan_in_a_damaged_part_is_unknown_until_it_is_recorded_again(tmp_path: Path) -> None:
    path, plan, other = tmp_path / "x.rec", mission(20), mission(21)
    steps = steps_with(*[plan] * 20, *[other] * 60, None, *[plan] * 60, period_s=1.0)
    write(path, ONE, *steps)
    data = bytearray(path.read_bytes())
    damaged = next(k for k, (text, _) in enumerate(blocks_of(path)) if text.count(b'["f",{') and k)
    ends = ends_of(bytes(data))
    data[ends[damaged] + 20] ^= 1
    path.write_bytes(data)
    warnings: list[str] = []
    read = [r for r in read_records(path, warn=warnings.append) if isinstance(r, Step)]
    plans = {step.t_s: step.vehicle.plan for step in read}
    assert [plans[t_s] for t_s in (5.0, 75.0, 85.0)] == [plan, None, plan]
    assert min(t_s for t_s in plans if t_s > 20.0) <= 20.0 + 2 * START_S
    assert [warning.removeprefix(str(path)) for warning in warnings] == [
        " is damaged: no data from 00:00:19 to 00:00:30",
        " has no flight plan of the vehicle from 00:00:31 on",
    ]


def test_a_plan_that_ends_in_a_damaged_part_is_not_continued(tmp_path: Path) -> None:
    path, step = tmp_path / "x.rec", ["t", 1.0, {}]
    begin = block_of(0, lines(START) + plan_line(mission(3)) + lines(step))
    path.write_bytes(MAGIC + begin + block_of(2, lines(START, step)))
    warnings: list[str] = []
    read = [r for r in read_records(path, warn=warnings.append) if isinstance(r, Step)]
    assert [step.vehicle.plan for step in read] == [mission(3), None]
    assert len(warnings) == 1  # of the gap


@pytest.mark.parametrize(
    "plan",
    [
        replace(mission(2), speeds=Speeds(math.nan)),
        replace(mission(2), speeds=Speeds(climb_m_s=-math.inf)),
        replace(mission(2), rally=(Place(91.0, 0.0),)),
        FlightPlan(items=(MissionItem(ItemKind.JUMP, jump_times=-2),)),
        FlightPlan(items=(MissionItem(ItemKind.OTHER),) * 65_537),
        replace(mission(2), agility=Agility(level_m_s2=0.0)),
        replace(mission(2), agility=Agility(jerk_m_s3=math.inf)),
    ],
    ids=("nan", "infinite", "latitude", "jump", "items", "acceleration", "jerk"),
)
def test_a_plan_that_no_vehicle_has_is_neither_recorded_nor_read(
    tmp_path: Path, plan: FlightPlan, caplog: pytest.LogCaptureFixture
) -> None:
    steps = steps_with(plan, mission(3), period_s=1.0)
    write(tmp_path / "x.rec", ONE, *steps)
    read = [r.vehicle.plan for r in read_records(tmp_path / "x.rec") if isinstance(r, Step)]
    assert read == [None, mission(3)]
    (message,) = caplog.messages
    assert message.startswith("not recorded: the flight plan of the vehicle has an invalid record")
    (tmp_path / "y.rec").write_bytes(
        MAGIC + block_of(0, lines(START) + text_of(Planned(plan)) + lines(["t", 0.5, {}]))
    )
    with pytest.raises(RecordingError, match="block 0 has an invalid record"):
        list(read_records(tmp_path / "y.rec"))


@pytest.mark.parametrize(
    "faults", [(), ("nack@5", "bad_pec@5", "ffff_cells@5"), ("unplug@8",), ("stuck@8",)], ids=str
)
def test_a_replay_gives_the_predictions_of_the_flight(
    tmp_path: Path, faults: tuple[str, ...]
) -> None:
    path = tmp_path / "x.rec"
    live = recorded(path, 40.0, *faults)
    assert len(live) == 401
    assert lines_of(path) == live


def test_a_flight_with_a_mission_replays_with_its_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    live = recorded(path, 75.0, flight="mission")
    assert lines_of(path) == live
    assert json.loads(live[-1])["mission_verdict"] != "unknown"


def test_recording_changes_nothing(tmp_path: Path) -> None:
    with ExitStack() as stack:
        plain = Simulation(SimOptions(speed=None, duration_s=20.0), stack)
        assert [json_line.text(r) for r in plain.reports()] == recorded(tmp_path / "x.rec", 20.0)


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="exists already"):
        SingleFile(path)
    assert path.read_text() == "precious"
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        SingleFile(tmp_path / "missing" / "x.rec")


@pytest.mark.slow
def test_a_replay_gives_the_requests_of_the_flight(tmp_path: Path) -> None:
    """Reports and actions are the same, with changed limits and two packs."""
    rules = Rules(
        (LimitChange("charge_low", trip=99.5, severity=Severity.CRITICAL),),
        (Action("charge_low", ActionKind.RETURN, hold_s=1.0, escalate=ActionKind.LAND),
         Action(Severity.WARNING, ActionKind.REDUCE, speed_m_s=5.0)),
    )  # fmt: skip
    clock, path = VirtualClock(), tmp_path / "x.rec"
    buses = [open_virtual(name, clock, 3) for name in ("bq40", "survey")]
    pack_data = [replace(world.pack_data(), hover_a=20.0, planned_s=7200.0) for _, world in buses]
    batteries = tuple(Recorded(row, 0x0B) for row in pack_data)
    recorder = Recorder(SingleFile(path), Start(batteries, rules))
    pipelines = [
        Pipeline(
            SteppedGauge(TappedGauge(bus, 0x0B, 6), index, recorder.polled),
            pack_data[index], index=index, rules=rules,
        )
        for index, (bus, _) in enumerate(buses)
    ]  # fmt: skip
    loop = Loop(clock, buses[1][1].vehicle, pipelines, recorder)
    live = list(loop.reports(step / 10 for step in range(900)))
    recorder.close()
    again = list(reports(path, FlightOptions(), lambda _: None))
    assert again == live
    assert list(map(json_line.text, again)) == list(map(json_line.text, live))
    assert "< 7200 s planned" in str(json_line.line(again[100])["go"])
    requested = {one.action.do for report in live for one in report.requests}
    assert requested == {
        ActionKind.REPORT,
        ActionKind.ANNOUNCE,
        ActionKind.REDUCE,
        ActionKind.RETURN,
    }


def test_rules_that_change_in_flight_change_at_the_same_step_of_the_replay(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "x.rec"
    bus, world = open_virtual("survey", clock, 1)
    recorder = Recorder(SingleFile(path), Start((Recorded(world.pack_data(), 0x0B),)))
    source = SteppedGauge(TappedGauge(bus, 0x0B, 6), 0, recorder.polled)
    pipeline = Pipeline(source, world.pack_data())
    live = []
    for report in Loop(clock, world.vehicle, [pipeline], recorder).reports(
        k / 10 for k in range(900)
    ):
        live.append(report)
        if report.t_s == 65.3:
            rules = Rules(
                (LimitChange("charge_low", trip=99.0, severity=Severity.WARNING),), ACTIONS
            )
            pipeline.use(rules)
            recorder.use(rules)
    recorder.close()
    assert list(reports(path, FlightOptions(), lambda _: None)) == live
    assert not live[653].status.active
    assert live[-1].status.active == ("charge_low",)


# ---------------------------------------------------------------------- a full disk


@pytest.mark.parametrize("size", [600, 1000, 5000])
def test_a_full_disk_stops_the_recording_and_not_the_flight(
    tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.rec"
    recorder = Recorder(SingleFile(path), ONE)
    with files_limited_to(size):
        for step in range(200):
            recorder.polled(0, float(step), (READ,), GaugeState())
            recorder.stepped(float(step), FLYING)
        recorder.close()
    assert caplog.text.count(f"recording to {path} stopped: File too large") == 1
    assert path.stat().st_size <= size
    assert len(list(read_records(path))) > 2


def test_a_simulation_continues_when_its_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    limited = (
        "import resource, sys; from dronebms.cli.main import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["sim", "--json", "--speed", "max", "--duration", "60", "--record", str(path)]
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", limited, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 61
    assert done.stderr.count("stopped: File too large") == 1
    assert done.stderr.endswith(f"dronebms: {path} cannot be written: File too large\n")
    assert "Traceback" not in done.stderr
    assert 19_000 < path.stat().st_size <= 20_000
    steps = [record for record in read_records(path) if isinstance(record, Step)]
    assert 10 < len(steps) < 600


# ---------------------------------------------------------------------- torn and damaged files


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.rec"
    steps = [(Poll(0, t / 2, (READ, REFUSED)), Step(t / 2, FLYING)) for t in range(8)]
    write(path, ONE, *(record for pair in steps for record in pair))
    return path


def ends_of(data: bytes) -> list[int]:
    """Ends of the blocks, by the lengths in their heads."""
    ends = [len(MAGIC)]
    while ends[-1] < len(data):
        ends.append(ends[-1] + 16 + int.from_bytes(data[ends[-1] + 8 :][:4], "little"))
    return ends


def test_a_recording_that_is_cut_at_any_byte_is_read_up_to_its_last_whole_block(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, whole = tiny.read_bytes(), list(read_records(tiny))
    ends, cut = ends_of(data), tmp_path / "cut.rec"
    assert (ends[-1], len(ends), len(whole)) == (len(data), 6, 17)
    counts = []
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        caplog.clear()
        if length < len(MAGIC):
            assert not is_recording(cut)
        elif length < ends[1]:
            with pytest.raises(RecordingError, match="has no valid start record"):
                list(read_records(cut))
        else:
            records = list(read_records(cut))
            assert records == whole[: len(records)]
            assert ("ends with an incomplete block" in caplog.text) == (length not in ends)
            assert "damaged" not in caplog.text
            counts.append((length in ends, len(records)))
    assert [count for at_end, count in counts if at_end] == [3, 7, 11, 15]
    assert counts == sorted(counts, key=lambda row: row[1])


def test_the_rest_of_a_cut_recording_replays_to_the_same_lines(short: Path, tmp_path: Path) -> None:
    data, whole = short.read_bytes(), lines_of(short)
    assert len(whole) == 41
    cut = tmp_path / "cut.rec"
    for length in range(ends_of(data)[1], len(data), 397):
        cut.write_bytes(data[:length])
        steps = [record for record in read_records(cut) if isinstance(record, Step)]
        assert lines_of(cut) == whole[: len(steps)]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[str]]:
    """A recording of 95 s with four start records, and its predictions."""
    path = tmp_path_factory.mktemp("recordings") / "long.rec"
    live = recorded(path, 95.0)
    return path.read_bytes(), live


@pytest.mark.parametrize("damage", ["flip", "cut out", "zeros", "head", "noise"])
@pytest.mark.parametrize("place_frac", [0.02, 0.2, 0.5])
def test_after_damage_reading_continues_at_the_next_start_record_and_the_gap_is_reported(
    long: tuple[bytes, list[str]], damage: str, place_frac: float, tmp_path: Path
) -> None:
    data, live = long
    block = next(end for end in ends_of(data)[1:] if end >= place_frac * len(data))
    bad = {
        "flip": data[: block + 100] + bytes((data[block + 100] ^ 0x40,)) + data[block + 101 :],
        "cut out": data[: block + 100] + data[block + 3000 :],
        "zeros": data[: block + 50] + bytes(4096) + data[block + 50 + 4096 :],
        "head": data[:block] + bytes(8) + data[block + 8 :],
        "noise": data[:block] + NOISE + data[block + 4096 :],
    }[damage]
    path = tmp_path / "bad.rec"
    warnings: list[str] = []
    path.write_bytes(bad)
    steps = [r.t_s for r in read_records(path, warn=warnings.append) if isinstance(r, Step)]
    (sentence,) = warnings
    gaps = [(a, b) for a, b in pairwise(steps) if b - a > 0.11]
    ((last_s, first_s),) = gaps
    until = clock_text(first_s - 0.1)
    assert sentence == (f"{path} is damaged: no data from {clock_text(last_s)} to {until}")
    assert first_s - last_s <= 39.0
    again = [
        json_line.text(r) for r in reports(path, FlightOptions(), lambda _: None, warnings.append)
    ]
    assert again[: steps.index(last_s) + 1] == live[: steps.index(last_s) + 1]
    after = [json.loads(line) for line in again[steps.index(first_s) :]]
    then = [json.loads(line) for line in live[-len(after) :]]
    for key in ("t_s", "voltage_v", "current_a", "cells_v", "temperature_degc"):
        assert [row[key] for row in after] == [row[key] for row in then]  # the gauge is in step


def test_damage_up_to_the_end_and_a_missing_beginning_are_reported(
    long: tuple[bytes, list[str]], tmp_path: Path
) -> None:
    data, _ = long
    ends, path = ends_of(data), tmp_path / "bad.rec"
    for bad, *sentences in (
        (data[: ends[-3]] + bytes(20) + data[ends[-3] + 20 :], r"from 00:01:\d\d to the end"),
        (
            MAGIC + data[ends[1] :],
            "from the beginning to 00:00:30",
            "has no flight plan of the vehicle from 00:00:30 on",
        ),
    ):
        path.write_bytes(bad)
        warnings: list[str] = []
        assert len(list(read_records(path, warn=warnings.append))) > 600
        assert len(warnings) == len(sentences)
        assert all(map(re.search, sentences, warnings))


def lines(*rows: object) -> bytes:
    return b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in rows)


START = {"batteries": [{"address": 11, "facts": {"chemistry": "lipo", "cells": 6}}]}


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (["q", 1], "block 1 has a record of an unknown kind"),
        ({"kind": "end"}, "block 1 has a record of an unknown kind"),
        (["p", 0, "soon", []], "block 1 has a record of an unknown kind"),
        (["t", 1.0, {"altitude": 3.0}], "block 1 has a record of an unknown kind"),
        (["p", 0, 1.0, [[11, "09", 3]]], "block 1 has an invalid record: not a transfer"),
        (["p", 0, 1.0, [[11, "0x", 3, "00"]]], "block 1 has an invalid record: not a transfer"),
        (["p", 0, 1.0, [[11, "09", 3, None, "SystemExit", "0"]]], "not a transfer"),
        (["f", 7], "block 1 has a record of an unknown kind"),
        (["f", {"items": [{"kind": "dance"}]}], "block 1 has an invalid record"),
        (["f", {"rally": [{"lat_deg": "47", "lon_deg": 8.0}]}], "block 1 has an invalid record"),
        (["t", 1.0, {"plan": {}}], "block 1 has a record of an unknown kind"),
        (["s", 0, 7], "block 1 has a record of an unknown kind"),
        (["s", 0, {}], "block 1 has an invalid record"),
        (["s", 0, {"t_s": 1.0, "voltage_v": "24"}], "block 1 has an invalid record"),
        (["s", 0, {"t_s": 1.0, "current_a": 1e10}], "a value that no battery has"),
        (["s", 0, {"t_s": 1.0, "cells_v": [1e10]}], "a value that no battery has"),
        (["s", 0, {"t_s": 1.0, "cells_v": [None] * 40}], "a value that no battery has"),
        (["s", 0, {"t_s": 1.0, "rejected": ["voltage_v"]}], "a field that no source gives"),
        (["s", 1, {"t_s": 1.0}], "battery 2 is not in the start record"),
        (["p", 1, 1.0, []], "battery 2 is not in the start record"),
        (["p", -1, 1.0, []], "battery 0 is not in the start record"),
        (["t", 1.0, {"wind_m_s": -math.inf}], "block 1 has an invalid record"),
        (["t", 1.0, {"wind_m_s": math.inf}], "block 1 has an invalid record"),
        (b"{\n", "block 1 has an invalid record"),
        (b"[" * 100_000 + b"\n", "block 1 has an invalid record"),
    ],
)
def test_an_invalid_record_with_a_valid_checksum_is_rejected(
    tmp_path: Path, record: object, complaint: str
) -> None:
    path = tmp_path / "x.rec"
    path.write_bytes(MAGIC + block_of(0, lines(START)) + block_of(1, lines(record)))
    with pytest.raises(RecordingError, match=complaint):
        lines_of(path)


def test_a_block_that_cannot_be_decompressed_is_damage(tmp_path: Path) -> None:
    path, packed = tmp_path / "x.rec", b"no zlib"
    head = b"\xd5BMS" + struct.pack("<III", 1, len(packed), crc32(packed))
    step = block_of(2, lines(["t", 1.0, {}]))
    path.write_bytes(MAGIC + block_of(0, lines(START, ["t", 0.5, {}])) + head + packed + step)
    warnings: list[str] = []
    assert len(list(read_records(path, warn=warnings.append))) == 2
    assert warnings == [f"{path} is damaged: no data from 00:00:00 to the end"]


def test_a_block_or_line_that_is_too_long_is_rejected(tmp_path: Path) -> None:
    path, start = tmp_path / "x.rec", block_of(0, lines(START, ["t", 0.5, {}]))
    step = block_of(2, lines(["t", 1.0, {}]))
    path.write_bytes(MAGIC + start + block_of(1, b" " * (9 << 20)) + step)
    warnings: list[str] = []
    assert len(list(read_records(path, warn=warnings.append))) == 2
    assert warnings == [f"{path} is damaged: no data from 00:00:00 to the end"]
    path.write_bytes(MAGIC + start + block_of(1, b" " * (2 << 20) + b"[]\n"))
    with pytest.raises(RecordingError, match="invalid record: 2097155 bytes"):
        list(read_records(path))


@pytest.mark.parametrize(
    "battery",
    [
        {},
        {"address": 11, "facts": {"chemistry": "nimh"}},
        {"address": 11, "facts": {"chemistry": "lipo", "cells": "six"}},
        {"address": 11, "facts": 7},
        {"address": 11, "facts": {"chemistry": "lipo"}, "gauge": "bq4050"},
        7,
    ],
)
def test_an_invalid_description_of_a_battery_is_rejected(tmp_path: Path, battery: object) -> None:
    path = tmp_path / "x.rec"
    path.write_bytes(MAGIC + block_of(0, lines({"batteries": [battery]})))
    with pytest.raises(RecordingError, match=r"block 0 has an invalid record: .* validation err"):
        next(read_records(path))


def test_a_pack_of_an_older_recording_has_no_plan(tmp_path: Path) -> None:
    path, start = tmp_path / "x.rec", json.loads(text_of(ONE))
    for key in ("hover_a", "planned_s"):
        assert start["batteries"][0]["facts"].pop(key) is not None
    path.write_bytes(MAGIC + block_of(0, lines(start)))
    older = replace(FACTS, hover_a=None, planned_s=None)
    assert list(read_records(path)) == [Start((Recorded(older, 0x0B),), RULES)]


def test_a_recording_without_a_step_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    path.write_bytes(MAGIC + block_of(0, lines(START)))
    out = tmp_path / "out.jsonl"
    with pytest.raises(FlightLogError, match="contains no step"):
        replay(path, reports(path, FlightOptions(), lambda _: None), str(out))


def test_the_progress_grows_to_the_whole(short: Path) -> None:
    shares: list[float] = []
    assert list(reports(short, FlightOptions(), shares.append))
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0, abs=0.01)


def test_a_played_gauge_has_no_values_before_its_first_poll() -> None:
    gauge = PlayedGauge(Recorded(replace(FACTS, pack_id=None), 0x0B))
    assert gauge.poll(1.0) == unpolled(1.0)
    assert unpolled(1.0).voltage_v is None
    assert unpolled(1.0).trouble == "the gauge has not answered yet"


def test_a_source_without_transfers_gives_its_snapshots_to_the_recorder() -> None:
    given = [replace(SHOWN, t_s=k / 10, current_a=float(k)) for k in range(3)]
    taken: list[tuple[int, Snapshot]] = []
    source = TappedSource(
        Shows(given), 2, lambda *shown: taken.append(shown), is_stuck=lambda now_s: now_s > 7.0
    )
    assert [source.poll(k / 10) for k in range(3)] == given
    assert taken == [(2, snapshot) for snapshot in given]
    assert (source.is_stuck(7.0), source.is_stuck(7.1)) == (False, True)
    played = PlayedGauge(Recorded(FACTS, 0x0B))
    for index, snapshot in taken:
        assert index == 2
        played.show(snapshot)
        assert played.poll(snapshot.t_s) == snapshot


class Shows:
    """A source that gives one snapshot after the other."""

    def __init__(self, given: list[Snapshot]) -> None:
        self._given = iter(given)

    def poll(self, _now_s: float) -> Snapshot:
        """The next one."""
        return next(self._given)

    def is_stuck(self, _now_s: float) -> bool:
        """Never."""
        return False


def test_a_gauge_that_the_loop_polls_is_never_stuck() -> None:
    bus, _ = open_virtual("hover", VirtualClock(), 1)
    assert not SteppedGauge(TappedGauge(bus, 0x0B, 6), 0, lambda *_: None).is_stuck(1e9)


def test_a_run_without_a_step_is_no_block(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    write(path, ONE)
    assert path.read_bytes() == MAGIC


def test_an_older_format_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "old.rec"
    path.write_bytes(b"dronebms-recording 1\n" + block_of(0, lines(START)))
    with pytest.raises(ConfigError, match="is a recording of format 1; only format 2 is read"):
        is_recording(path)


def test_other_files_are_not_recordings(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(MAGIC[:-1])
    assert not is_recording(tmp_path / "x")
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "absent", "No such file")):
        with pytest.raises(ConfigError, match=f"{path} cannot be read: {why}"):
            is_recording(path)


@pytest.mark.parametrize("gauge", ["generic", "sui"])
def test_a_recording_is_replayed_with_the_profile_of_the_flight(tmp_path: Path, gauge: str) -> None:
    clock = VirtualClock()
    bus, world = open_virtual("survey", clock, 1)
    path = tmp_path / "x.rec"
    recorder = Recorder(SingleFile(path), Start((Recorded(world.pack_data(), 0x0B, gauge),)))
    tapped = TappedGauge(bus, 0x0B, 6, profile_named(gauge))
    source = SteppedGauge(tapped, 0, recorder.polled)
    live = []
    for step in range(50):
        clock.sleep_until(step / 10)
        live.append(source.poll(step / 10))
        recorder.stepped(step / 10, UNKNOWN_VEHICLE)
    recorder.close()
    start = next(read_records(path))
    assert isinstance(start, Start)
    (battery,) = start.batteries
    assert battery.gauge == gauge
    played, again = PlayedGauge(battery), []
    for record in read_records(path):
        if isinstance(record, Poll):
            played.play(record.t_s, record.transfers)
        elif isinstance(record, Step):
            again.append(played.poll(record.t_s))
    assert again == live
    assert again[-1].identity.gauge == gauge


# Crafted recordings: every record is used or refused in one sentence.

HOSTILE_VALUES: tuple[object, ...] = (
    None, True, 0, -1, 2**31, 2**63, 10**30, 10**400, 1e308, -1e308, math.nan, math.inf, -math.inf,
    "", "x", "\x1b[31m", "9" * 5000, [], {}, [[]], {"a": 1}, "0b", 0.5, 65_535, 256, "\ud800",
    [None] * 50, "{0.__class__}",
)  # fmt: skip


def places(value: object, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of each value in a row of JSON."""
    if place:
        yield place
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*place, key))


def crafted(row: Any, random: Random) -> Any:  # noqa: ANN401 - any JSON value
    """A row with other values at some places."""
    made = copy.deepcopy(row)
    for place in random.choices(list(places(row)), k=random.choice((1, 1, 3))):
        inner = made
        try:
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = copy.deepcopy(random.choice(HOSTILE_VALUES))
        except (LookupError, TypeError):
            pass  # the place was replaced before
    return made


@pytest.mark.parametrize("turns", [60, pytest.param(3000, marks=pytest.mark.slow)])
def test_a_crafted_recording_is_replayed_or_refused_in_one_sentence(
    tmp_path: Path, turns: int
) -> None:
    recorded(tmp_path / "good.rec", 20.0)
    with (tmp_path / "good.rec").open("rb") as file:
        texts = [block[0] for _, _, block in blocks_in(Window(file)) if block is not None]
    rows = [json.loads(line) for text in texts for line in text.splitlines()]
    rows.insert(3, json.loads(plan_line(mission(20))))
    rows.insert(4, json.loads(text_of(Shown(0, SHOWN))))
    random = Random(turns)  # noqa: S311 - seeded damage, not a secret
    sentences: list[str] = []
    for _ in range(turns):
        bad = rows[: random.randrange(10, 60)]
        for index in (0, 3, 4, random.randrange(len(bad))):
            bad[index] = crafted(bad[index], random) if random.random() < 0.6 else bad[index]
        lines = b"".join(json.dumps(row).encode() + b"\n" for row in bad)
        path = tmp_path / "x.rec"
        path.write_bytes(MAGIC + block_of(0, lines))
        try:
            list(reports(path, FlightOptions(), lambda _: None))
        except RecordingError as error:
            sentences.append(str(error).removeprefix(str(path)))
    assert len(sentences) > turns / 4
    assert all("\n" not in sentence and len(sentence) < 200 for sentence in sentences)


BOMBS: list[tuple[str, bytes, str]] = [
    ("line ends", b"\n" * (1 << 26), "no valid start record"),
    ("line ends that fit", b"\n" * (1 << 22), "invalid record"),
    ("brackets", b'{"batteries":' + b"[" * 20_000_000, "no valid start record"),
    ("brackets that fit", b'{"batteries":' + b"[" * 500_000 + b"\n", "nested too deeply"),
    ("digits", b'["t",' + b"9" * 4000 + b",{}]\n", "invalid record"),
    ("digits that no number has", b'["t",' + b"9" * 5000 + b",{}]\n", "invalid record"),
    ("a long record", b'["t",0,{"mode":"' + b"x" * (1 << 21) + b'"}]\n', "more than 1048576"),
]


@pytest.mark.parametrize(("text", "sentence"), [pytest.param(*row[1:], id=row[0]) for row in BOMBS])
def test_a_block_that_expands_is_refused(tmp_path: Path, text: bytes, sentence: str) -> None:
    (tmp_path / "x.rec").write_bytes(MAGIC + block_of(0, text))
    with pytest.raises(RecordingError, match=sentence):
        list(read_records(tmp_path / "x.rec"))


def test_marks_and_lengths_that_are_noblocks_in_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    path.write_bytes(MAGIC + b"\xd5BMS\0\0\0\0\xff\xff\xff\xff\0\0\0\0" * 20_000)
    with pytest.raises(RecordingError, match="damaged at more than 10000 places"):
        list(read_records(path))
    start = text_of(ONE)
    steps = b"".join(text_of(Step(float(-k), UNKNOWN_VEHICLE)) for k in range(3))
    path.write_bytes(MAGIC + block_of(0, start + steps))
    with pytest.raises(
        RecordingError, match=r"block 0: time decreases from -0.0 to -1.0|0.0 to -1"
    ):
        list(read_records(path))


def test_the_polls_of_two_buses_are_not_in_one_order_with_each_other_or_with_the_steps(
    tmp_path: Path,
) -> None:
    """Each bus has a thread, and the loop may be behind: it drains the polls of each in turn."""
    path = tmp_path / "x.rec"
    rows: list[Record]
    polls = [Poll(0, 1.0, ()), Poll(0, 1.1, ()), Poll(1, 0.9, ()), Poll(1, 1.2, ())]
    rows = [*polls, Step(1.0, UNKNOWN_VEHICLE), Step(1.1, UNKNOWN_VEHICLE), Poll(0, 1.15, ())]
    path.write_bytes(MAGIC + block_of(0, text_of(ONE) + b"".join(map(text_of, rows))))
    assert list(read_records(path))[1:] == rows
    rows.append(Poll(0, 1.1, ()))
    path.write_bytes(MAGIC + block_of(0, text_of(ONE) + b"".join(map(text_of, rows))))
    with pytest.raises(RecordingError, match=r"time decreases from 1\.15 to 1\.1"):
        list(read_records(path))


def test_the_number_of_steps_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_ROWS", 100)
    steps = b"".join(text_of(Step(0.0, UNKNOWN_VEHICLE)) for _ in range(101))
    (tmp_path / "x.rec").write_bytes(MAGIC + block_of(0, text_of(ONE) + steps))
    with pytest.raises(RecordingError, match="block 0: more than 100 steps"):
        list(read_records(tmp_path / "x.rec"))


@pytest.mark.parametrize("kind", ["zeros", "pipe"])
def test_a_recording_is_a_regular_file(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read: not a regular file"):
        is_recording(special_file(tmp_path, kind))

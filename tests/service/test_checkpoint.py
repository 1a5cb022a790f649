# SPDX-License-Identifier: Apache-2.0
"""A restart in flight: what is restored, what is not, and a service that is killed for it."""

import errno
import json
import logging
import os
import random
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any
from zlib import crc32

import pytest
from pymavlink.dialects.v20 import common as mavlink

import dronebms.service.checkpoint
import sim
from dronebms.core import clock
from dronebms.core.clock import VirtualClock, boot_s
from dronebms.core.errors import InUseError
from dronebms.core.report import Action, ActionKind, Report, Severity, Source
from dronebms.core.state import decode, encode, from_json, to_json
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.pipeline import Pipeline, restore_parts, stored_parts
from dronebms.monitoring.restart_state import LATCHES, PACKS, UNREAD, Latches, PipelineState
from dronebms.protection.limits import LimitChange
from dronebms.protection.rules import Rules
from dronebms.service.checkpoint import (
    CHECKPOINT,
    BackgroundCheckpoint,
    Checkpoint,
    CheckpointFile,
    unread_reason,
)
from sim.emulator.world import World, open_virtual
from sim.plant.faults import parse_fault
from smartbattery.gauge import Gauge
from smartbattery.registers import ADDRESS
from smartbattery.snapshot import Identity, Snapshot
from tests.disks import HeldDisk
from tests.mavlink_bridge.loopback import WAIT_S
from tests.special_files import special_file

RULES = Rules((LimitChange("hot", trip=50.0),), (Action(Severity.WARNING, ActionKind.RETURN),))
FAULTS = ("weak_cell=0.5", "resistance")


class Flight:
    """A pack in flight, and runs that monitor it one after the other."""

    def __init__(self, *faults: str, seed: int = 1) -> None:
        self.clock = VirtualClock()
        self.world: World
        self.bus, self.world = open_virtual(
            "survey", self.clock, seed, list(map(parse_fault, faults))
        )
        self.step = 0

    @property
    def now_s(self) -> float:
        """Time of the next step."""
        return self.step / 10

    def pipeline(self, rules: Rules = RULES, source: Source | None = None) -> Pipeline:
        """Pipeline of a new run."""
        gauge = Gauge(self.bus, ADDRESS, cells=6) if source is None else source
        return Pipeline(gauge, self.world.pack_data(), rules=rules)

    def fly(self, pipeline: Pipeline, until_s: float) -> list[Report]:
        """Reports until then."""
        reports = []
        while self.step < until_s * 10:
            t_s = self.now_s
            self.clock.sleep_until(t_s)
            reports.append(pipeline.step(t_s, self.world.vehicle(t_s)))
            self.step += 1
        return reports


def through_a_file(path: Path, now_s: float, pipeline: Pipeline) -> Mapping[str, object]:
    """Parts that another process restores of a run."""
    with closing(CheckpointFile(path)) as file:
        file.step(now_s, lambda: stored_parts([pipeline], now_s))
    with closing(CheckpointFile(path)) as file:
        return file.parts


@dataclass
class Last:
    """A source that repeats the newest snapshot of another one."""

    source: Source
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(0.0))

    def poll(self, now_s: float) -> Snapshot:
        """Poll the other source."""
        self.snapshot = self.source.poll(now_s)
        return self.snapshot


@dataclass
class Repeated:
    """A source with the snapshots of a `Last`."""

    last: Last

    def poll(self, _now_s: float) -> Snapshot:
        """The snapshot that the other pipeline has just evaluated."""
        return self.last.snapshot


@dataclass
class Renamed:
    """A source whose packs all have one serial number."""

    source: Source
    serial: int | None

    def poll(self, now_s: float) -> Snapshot:
        """The snapshot with that number."""
        look = self.source.poll(now_s)
        return replace(look, identity=replace(look.identity, serial=self.serial))


@pytest.mark.parametrize("restart_s", [5.0, 61.3, pytest.param(200.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("faults", [("weak_cell=0.5",), ("high_current@3",)], ids=str)
def test_a_restored_pipeline_gives_the_same_reports_to_the_last_bit(
    tmp_path: Path, restart_s: float, faults: tuple[str, ...]
) -> None:
    flight = Flight(*faults)
    last = Last(Gauge(flight.bus, ADDRESS, cells=6))
    whole = flight.pipeline(source=last)
    flight.fly(whole, restart_s)
    parts = through_a_file(tmp_path / "k", flight.now_s, whole)
    restored = flight.pipeline(source=Repeated(last))
    restore_parts([restored], parts)
    for _ in range(400):
        (ours,) = flight.fly(whole, flight.now_s + 0.05)
        theirs = restored.step(ours.t_s, ours.vehicle)
        assert repr(theirs) == repr(ours)
        assert theirs == ours
    now_s = flight.now_s
    assert to_json(stored_parts([restored], now_s)) == to_json(stored_parts([whole], now_s))


def identities_of(state: PipelineState) -> list[Identity]:
    """The identity that each stage has of its pack."""
    assert state.estimator is not None
    return [
        state.recognition.identity,
        state.plausibility.identity,
        state.estimator.identity,
        state.alarms.quantities.identity,
        state.alarms.check_time.identity,
        state.reported.identity,
    ]


@pytest.mark.parametrize("serial", [None, 1001], ids=["own object", "a copy in each poll"])
def test_after_a_restart_every_stage_has_the_same_identity_object(
    tmp_path: Path, serial: int | None
) -> None:
    flight = Flight()
    driver = Gauge(flight.bus, ADDRESS, cells=6)
    gauge = Last(driver if serial is None else Renamed(driver, serial))
    first = flight.pipeline(source=gauge)
    flight.fly(first, 20.0)
    parts = through_a_file(tmp_path / "k", flight.now_s, first)
    second = flight.pipeline(source=gauge)
    restore_parts([second], parts)
    flight.fly(second, 30.0)
    copies = identities_of(second.state(flight.now_s))
    assert copies[0] == gauge.snapshot.identity
    assert (copies[0] is gauge.snapshot.identity) is (serial is None)
    assert [one is copies[0] for one in copies] == [True] * 6


def test_only_equal_identities_of_a_restored_state_are_shared(tmp_path: Path) -> None:
    flight = Flight()
    pipeline = flight.pipeline()
    flight.fly(pipeline, 20.0)
    parts = through_a_file(tmp_path / "k", flight.now_s, pipeline)
    state = PipelineState.from_json(parts[PACKS][0], "battery 1")  # type: ignore[index]  # a list
    assert state is not None
    read = replace(state.recognition.identity)
    known = replace(state, reported=replace(state.reported, identity=replace(read, connection=1)))
    shared = known.sharing(read)
    assert shared == known
    assert [one is read for one in identities_of(shared)] == [True] * 5 + [False]
    assert replace(known, estimator=None).sharing(read).estimator is None


@pytest.mark.parametrize("killed_s", [5.0, 61.3, pytest.param(200.0, marks=pytest.mark.slow)])
def test_a_run_that_is_restored_at_once_decides_as_if_it_had_never_stopped(
    tmp_path: Path, killed_s: float
) -> None:
    whole, cut = Flight("weak_cell=0.5"), Flight("weak_cell=0.5")
    uncut = whole.fly(whole.pipeline(), killed_s + 40.0)
    first = cut.pipeline()
    reports = cut.fly(first, killed_s)
    second = cut.pipeline()
    restore_parts([second], through_a_file(tmp_path / "k", cut.now_s, first))
    reports += cut.fly(second, killed_s + 40.0)
    # The new gauge reads every register again: the reports before the kill are the same, those
    # after it differ by the order of the transfers.
    assert reports[: int(killed_s * 10)] == uncut[: int(killed_s * 10)]
    for ours, theirs in zip(reports[-200:], uncut[-200:], strict=True):
        assert ours.status.active == theirs.status.active
        assert ours.status.severity == theirs.status.severity
        assert ours.estimate.soc_pct == pytest.approx(theirs.estimate.soc_pct, abs=0.5)
        assert ours.estimate.remaining_s == pytest.approx(theirs.estimate.remaining_s, rel=0.05)
        assert ours.estimate.used_mah == pytest.approx(theirs.estimate.used_mah, rel=0.01, abs=2.0)
        assert [one.key for one in ours.requests] == [one.key for one in theirs.requests]


def restarted(
    tmp_path: Path, gap_s: float, seed: int | None = None, rules: Rules = RULES
) -> tuple[Report, list[Report]]:
    """The last report before a gap, and those of ten seconds after it."""
    flight = Flight()
    first = flight.pipeline()
    before = flight.fly(first, 120.0)[-1]
    parts = through_a_file(tmp_path / "k", before.t_s, first)
    if seed is not None:
        later = Flight(seed=seed)
        flight.bus, flight.world, flight.clock = later.bus, later.world, later.clock
    second = flight.pipeline(rules)
    restore_parts([second], parts)
    flight.step = int((120.0 + gap_s) * 10)
    return before, flight.fly(second, 130.0 + gap_s)


@pytest.mark.parametrize("gap_s", [0.5, 20.0, 59.0])
def test_the_same_pack_is_restored_after_up_to_a_minute(tmp_path: Path, gap_s: float) -> None:
    before, after = restarted(tmp_path, gap_s)
    first = next(report for report in after if report.snapshot.voltage_v is not None)
    assert first.t_s - after[0].t_s < 1.0
    flown_pct = 0.065 * gap_s  # at 35 A of 16 Ah, and a little
    assert first.estimate.soc_pct is not None
    assert before.estimate.soc_pct is not None
    assert -0.5 < before.estimate.soc_pct - first.estimate.soc_pct < flown_pct + 1.0
    assert after[-1].estimate.used_mah is not None
    assert before.estimate.used_mah is not None
    assert after[-1].estimate.used_mah > before.estimate.used_mah
    assert before.estimate.remaining_s is not None
    expected_s = before.estimate.remaining_s - (after[-1].t_s - before.t_s)
    assert after[-1].estimate.remaining_s == pytest.approx(expected_s, rel=0.1)
    known_pct = [r.estimate.soc_pct for r in after if r.estimate.soc_pct is not None]
    assert max(known_pct) < before.estimate.soc_pct + 0.5 < 99.0  # never full again


@pytest.mark.parametrize(
    ("gap_s", "other"),
    [(61.0, {}), (5.0, {"seed": 7}), (5.0, {"rules": Rules()})],
    ids=["too late", "another pack", "another configuration"],
)
def test_otherwise_the_pipeline_starts_without_history(
    tmp_path: Path, gap_s: float, other: dict[str, Any]
) -> None:
    before, after = restarted(tmp_path, gap_s, **other)
    assert before.estimate.used_mah is not None
    assert before.estimate.used_mah > 300.0
    assert after[-1].estimate.used_mah is not None
    assert after[-1].estimate.used_mah < 200.0  # of ten seconds
    known = [r.estimate.soc_pct for r in after if r.estimate.soc_pct is not None]
    assert all(pct < 99.0 for pct in known) or "seed" in other


@pytest.mark.parametrize("absent_s", [10.0, 70.0])
def test_a_pack_that_is_absent_during_a_restart_is_unknown_until_it_is_recognised(
    tmp_path: Path, absent_s: float
) -> None:
    flight = Flight(f"unplug@120-{121 + absent_s:g}")
    first = flight.pipeline()
    before = flight.fly(first, 120.0)[-1]
    second = flight.pipeline()
    restore_parts([second], through_a_file(tmp_path / "k", before.t_s, first))
    flight.step += 10
    away = flight.fly(second, 121.0 + absent_s)
    assert {report.snapshot.voltage_v for report in away} == {None}
    assert {report.estimate.soc_pct for report in away} == {None}
    assert {report.estimate.remaining_s for report in away} == {None}
    back = flight.fly(second, 131.0 + absent_s)[-1]
    assert back.estimate.used_mah is not None
    assert before.estimate.used_mah is not None
    assert (back.estimate.used_mah > before.estimate.used_mah) is (absent_s < 60.0)


def test_a_second_restart_before_the_pack_is_recognised_restores_the_same_state(
    tmp_path: Path,
) -> None:
    flight = Flight("unplug@120-130")
    first = flight.pipeline()
    before = flight.fly(first, 120.0)[-1]
    parts = through_a_file(tmp_path / "k", before.t_s, first)
    for end_s in (123.0, 127.0):
        run = flight.pipeline()
        restore_parts([run], parts)
        flight.fly(run, end_s)
        parts = through_a_file(tmp_path / "k", flight.now_s, run)
    third = flight.pipeline()
    restore_parts([third], parts)
    after = flight.fly(third, 140.0)[-1]
    assert after.estimate.used_mah is not None
    assert after.estimate.used_mah > (before.estimate.used_mah or 0.0) > 300.0


# ------------------------------------------------------------------------- parts and formats

STAGES = ("plausibility", "consistency", "estimator", "alarms", "actions", "reported")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Flight, Report, Mapping[str, object]]:
    """A flight, its last report after two minutes, and the stored parts."""
    flight = Flight()
    first = flight.pipeline()
    before = flight.fly(first, 120.0)[-1]
    path = tmp_path_factory.mktemp("stored") / "k"
    return flight, before, through_a_file(path, before.t_s, first)


Stored = tuple[Flight, Report, Mapping[str, object]]


def after_restart(parts: Mapping[str, object], seconds: float = 2.0) -> list[Report]:
    """Reports of a new run that restores the parts at 120 s."""
    flight = Flight()
    flight.step = 1200
    run = flight.pipeline()
    restore_parts([run], parts)
    return flight.fly(run, 120.0 + seconds)


def copy_of(parts: Mapping[str, object]) -> Any:  # noqa: ANN401 - JSON
    return from_json(to_json(parts))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("damage", ["future format", "invalid", "missing"])
def test_a_stage_that_cannot_be_read_starts_without_history_and_the_others_continue(
    stored: Stored, stage: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, before, parts = stored
    changed = copy_of(parts)
    if damage == "future format":
        changed[PACKS][0][stage]["format"] = 99
    elif damage == "invalid":
        state = changed[PACKS][0][stage]["state"]
        changed[PACKS][0][stage]["state"] = dict.fromkeys(state, "wrong")
    else:
        del changed[PACKS][0][stage]
    after = after_restart(changed)
    lines = [record.getMessage() for record in caplog.records]
    assert sum("is not restored" in line for line in lines) == 1
    assert sum("is restored after" in line for line in lines) == 1
    used_mah = after[-1].estimate.used_mah
    assert used_mah is not None
    assert (used_mah > (before.estimate.used_mah or 0.0)) is (stage != "estimator")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("estimator", "state", "stages", "cell_fit", "x"), [0.0]),
        (("estimator", "state", "stages", "cell_fit", "fitted_x"), [99.0] * 16),
        (("estimator", "state", "stages", "cell_fit", "root"), [[1.0]]),
        (("estimator", "state", "stages", "cell_fit", "rows"), [[1.0]]),
        (("estimator", "state", "stages", "cell_fit", "covariance"), [[1.0], [1.0, 2.0]]),
        (("estimator", "state", "stages", "cell_states", "misfit"), []),
        (("estimator", "state", "stages", "cell_fit", "steps", "normal"), [0.0]),
        (("estimator", "state", "stages", "cell_fit", "steps", "normal"), [-1.0] * 9),
        (("estimator", "state", "stages", "cell_fit", "rows"), [[-1e14] + [1.0] * 5]),
        (("estimator", "state", "stages", "pack", "rated_mah"), 0.0),
        (("estimator", "state", "stages", "gauge", "log_odds"), -1e14),
        (("estimator", "state", "stages", "gauge", "wrong"), 1.5),
        (("estimator", "state", "stages", "load", "power", "ripple"), -1.0),
        (("estimator", "state", "stages", "ahead", "motion", "rotor_s"), -1.0),
        (("alarms", "state", "quantities", "heat_a2"), -1.0),
        (("alarms", "state", "quantities", "history", "times_s"), []),
    ],
    ids=str,
)
def test_a_state_of_another_size_or_range_is_not_restored(
    stored: Stored, path: tuple[str, ...], value: object, caplog: pytest.LogCaptureFixture
) -> None:
    changed = copy_of(stored[2])
    *parents, name = path
    part = changed[PACKS][0]
    for parent in parents:
        part = part[parent]
    part[name] = value
    assert after_restart(changed)[-1].snapshot.voltage_v is not None
    assert caplog.text.count("is not restored") == 1


@pytest.mark.parametrize(
    ("stage", "path"), [("pack", ("t_s",)), ("alarms", ("quantities", "last_s"))]
)
def test_a_time_of_the_future_raises_nothing(
    stored: Stored, stage: str, path: tuple[str, ...]
) -> None:
    changed = copy_of(stored[2])
    part = changed[PACKS][0][stage]["state"]
    for parent in path[:-1]:
        part = part[parent]
    part[path[-1]] = 1e14
    assert after_restart(changed)[-1].snapshot.voltage_v is not None


@pytest.mark.parametrize("serial", [None, 0, 1, 65535])
def test_a_pack_with_a_doubtful_serial_number_is_restored_if_its_charge_is_the_same(
    serial: int | None,
) -> None:
    flight = Flight()

    def run() -> Pipeline:
        return flight.pipeline(source=Renamed(Gauge(flight.bus, ADDRESS, cells=6), serial))

    first, second = run(), run()
    before = flight.fly(first, 60.0)[-1]
    restore_parts([second], stored_parts([first], before.t_s))
    (after,) = flight.fly(second, 60.1)
    assert (after.estimate.used_mah or 0.0) > (before.estimate.used_mah or 0.0) > 100.0


def test_a_pack_of_another_charge_is_not_restored(stored: Stored) -> None:
    changed = copy_of(stored[2])
    changed[PACKS][0]["recognition"]["state"]["last"]["soc_pct"] -= 40.0
    used_mah = after_restart(changed)[-1].estimate.used_mah
    assert used_mah is not None
    assert used_mah < 100.0


def test_a_battery_whose_pack_cannot_be_read_starts_without_history(
    stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    changed = copy_of(stored[2])
    changed[PACKS][0]["pack"]["format"] = 99
    used_mah = after_restart(changed)[-1].estimate.used_mah
    assert used_mah is not None
    assert used_mah < 100.0
    assert "battery 1: its pack is not restored: format 99, not 2" in caplog.text


def test_a_checkpoint_of_another_number_of_batteries_is_not_restored(
    stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    changed = copy_of(stored[2])
    changed[PACKS] *= 2
    used_mah = after_restart(changed)[-1].estimate.used_mah
    assert used_mah is not None
    assert used_mah < 100.0
    assert "no battery is restored: another number of batteries is stored" in caplog.text


def mutated(value: Any, chance: random.Random) -> Any:  # noqa: ANN401 - JSON
    """Copy of a JSON value with one leaf or branch replaced."""
    if isinstance(value, dict) and value and chance.random() < 0.97:
        key = chance.choice(list(value))
        return value | {key: mutated(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.95:
        place = chance.randrange(len(value))
        if chance.random() < 0.1:
            return value[:place]
        return [*value[:place], mutated(value[place], chance), *value[place + 1 :]]
    if isinstance(value, float) and chance.random() < 0.7:
        return chance.choice((0.0, -value, value * 1e3, 1e300, -1e300, 1e-300))
    if isinstance(value, int) and chance.random() < 0.7:
        return chance.choice((0, -1, value + 1, 2**40, True))
    return chance.choice((None, True, 0, -1.0, 1e308, "", "os.system", [], {}, [value]))


@pytest.mark.slow
def test_no_mutation_of_a_checkpoint_raises(
    stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    flight = Flight()
    source = Gauge(flight.bus, ADDRESS, cells=6)
    flight.clock.sleep_until(120.0)
    vehicle = flight.world.vehicle(120.0)
    snapshots = []
    for step in range(12):
        flight.clock.sleep_until(120.0 + step / 10)
        snapshots.append(source.poll(120.0 + step / 10))

    @dataclass
    class Played:
        left: Iterator[Snapshot]

        def poll(self, _now_s: float) -> Snapshot:
            return next(self.left)

    chance = random.Random(1)  # noqa: S311 - mutations
    for _ in range(150):
        changed = mutated(copy_of(stored[2]), chance)
        run = flight.pipeline(source=Played(iter(snapshots)))
        restore_parts([run], changed if isinstance(changed, dict) else {})
        for snapshot in snapshots:
            report = run.step(snapshot.t_s, vehicle)
            assert report.snapshot.t_s == snapshot.t_s
        stored_parts([run], 121.2)


# ------------------------------------------------------------------------- latches


PACK = "virtual 6S2P 16000 2025-03-14 1001"
ON_THE_GROUND = VehicleState(armed=False)
IN_FLIGHT = VehicleState(armed=True)
ON_GROUND = VehicleState(armed=False)


@dataclass
class Flagged:
    """A source whose gauge reports a permanent failure, or none."""

    source: Source
    failure_raw: int

    def poll(self, now_s: float) -> Snapshot:
        """Poll the gauge."""
        return replace(self.source.poll(now_s), failure_raw=self.failure_raw)


def stepped(
    parts: Mapping[str, object], vehicle: VehicleState, failure_raw: int = 0, seed: int = 1
) -> tuple[Report, Mapping[str, object]]:
    """The last report of 15 seconds of a run that restores the parts, and what it stores."""
    flight = Flight(seed=seed)
    run = flight.pipeline(source=Flagged(Gauge(flight.bus, ADDRESS, cells=6), failure_raw))
    restore_parts([run], parts)
    reports = []
    for step in range(150):
        flight.clock.sleep_until(step / 10)
        reports.append(run.step(step / 10, vehicle))
    return reports[-1], copy_of(stored_parts([run], 15.0))


@pytest.fixture(scope="module")
def latches() -> object:
    """The part of a run whose pack reported a permanent failure."""
    report, parts = stepped({}, IN_FLIGHT, 1)
    assert "failed" in report.status.active
    assert parts[LATCHES] == {"format": 1, "state": {"packs": {PACK: ["failed"]}}}
    return parts[LATCHES]


def test_a_latch_holds_after_a_reboot_until_the_gauge_clears_the_flag_on_the_ground(
    latches: object, caplog: pytest.LogCaptureFixture
) -> None:
    report, parts = stepped({LATCHES: latches}, IN_FLIGHT)
    assert "failed" in report.status.active
    assert parts[LATCHES] == latches
    assert "battery 1: latched by an earlier run: failed" in caplog.text
    report, parts = stepped({LATCHES: latches}, ON_THE_GROUND, 1)
    assert "failed" in report.status.active
    report, parts = stepped({LATCHES: latches}, ON_THE_GROUND)
    assert "failed" not in report.status.active
    assert parts[LATCHES] == {"format": 1, "state": {"packs": {}}}


def test_a_latch_is_of_its_pack_alone_and_stays_stored_while_another_one_is_connected(
    latches: object,
) -> None:
    report, parts = stepped({LATCHES: latches}, IN_FLIGHT, seed=7)
    assert "failed" not in report.status.active
    assert parts[LATCHES] == latches


def test_latches_of_a_later_format_are_read(latches: Any) -> None:  # noqa: ANN401 - JSON
    later = {"format": 9, "since": 1, "state": latches["state"] | {"why": {PACK: "cell"}}}
    report, _ = stepped({LATCHES: later}, IN_FLIGHT)
    assert "failed" in report.status.active


def test_a_latch_holds_though_the_state_of_the_alarms_cannot_be_read(
    latches: object, stored: Stored
) -> None:
    changed = copy_of(stored[2]) | {LATCHES: latches}
    changed[PACKS][0]["alarms"]["format"] = 99
    last = after_restart(changed)[-1]
    assert last.vehicle.armed
    assert "failed" in last.status.active
    assert (last.estimate.used_mah or 0.0) > 300.0


@pytest.mark.parametrize("part", [None, [], {"format": 1}, {"format": "x", "state": {}}], ids=str)
def test_latches_that_cannot_be_read_are_not_restored(part: object) -> None:
    report, _ = stepped({LATCHES: part}, IN_FLIGHT)
    assert report.status.active == ()
    assert report.unread == "their state is damaged"


def test_faults_of_an_earlier_run_that_cannot_be_read_are_a_no_go_for_the_whole_run() -> None:
    report, parts = stepped({UNREAD: "run.kept is damaged"}, ON_GROUND)
    assert report.status.active == ()
    assert "earlier faults unknown: run.kept is damaged" in report.preflight.reasons
    known, _ = stepped(parts, ON_GROUND)  # the next start
    assert known.unread is None


@pytest.mark.parametrize("ids", [["hot"], ["unknown"], []], ids=str)
def test_only_a_limit_that_latches_is_latched(ids: list[str]) -> None:
    part = {"format": 1, "state": {"packs": {PACK: ids}}}
    report, parts = stepped({LATCHES: part}, IN_FLIGHT)
    assert report.status.active == ()
    assert parts[LATCHES] == {"format": 1, "state": {"packs": {}}}


# ------------------------------------------------------------------------- the file


def stored_number(number: int) -> Mapping[str, object]:
    return {"number": number}


def number_of(parts: Mapping[str, object]) -> object:
    return parts.get("number")


def test_after_any_damage_the_newest_whole_place_is_read(tmp_path: Path) -> None:
    path = tmp_path / "k"
    with closing(CheckpointFile(path)) as file:
        for second in range(4):
            file.step(float(second), lambda second=second: stored_number(second))  # type: ignore[misc]
    data, chance = path.read_bytes(), random.Random(1)  # noqa: S311 - places to damage
    marks = [place for place in range(len(data)) if data.startswith(b"DBK2", place)]
    heads = [struct.unpack_from("<II", data, place + 4) for place in marks]  # number, length
    # The first content has number 1; two to four places, as the disk is fast or slow.
    places = {
        number - 1: (place, 16 + length)
        for place, (number, length) in zip(marks, heads, strict=True)
    }
    assert len(places) >= 2
    assert max(places) == 3
    for damaged, (place, _) in places.items():
        rest = max(number for number in places if number != damaged)
        for _ in range(50):
            torn = bytearray(data)
            torn[place + chance.randrange(60)] ^= 1 << chance.randrange(8)
            path.write_bytes(torn)
            with closing(CheckpointFile(path)) as file:
                assert number_of(file.parts) == rest
    ends = [place + cut for place, _ in places.values() for cut in (0, 19)]
    for size in (0, 1, 19, 100, *ends, len(data) - 1):
        path.write_bytes(data[:size])
        whole = [number for number, (place, length) in places.items() if place + length <= size]
        with closing(CheckpointFile(path)) as file:
            assert number_of(file.parts) == (max(whole) if whole else None)


LATCHED = encode(Latches({"a pack": ("failed",)}))


@pytest.mark.parametrize(
    ("why", "logged"),
    [
        ("another boot", "not restored: the computer was started since"),
        ("late", "not restored: it ended 61 s ago"),
        ("of the future", "not restored: it is of a later time of this computer"),
        ("another format", "not restored: format 1, not 2"),
    ],
)
def test_of_a_checkpoint_whose_age_is_unknown_or_wrong_the_latches_alone_are_restored(
    tmp_path: Path,
    why: str,
    logged: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with closing(CheckpointFile(tmp_path / "k")) as file:
        file.step(100.0, lambda: {PACKS: [], LATCHES: LATCHED})
    if why == "another boot":
        (tmp_path / "id").write_text("another")
        monkeypatch.setattr(clock, "_BOOT_ID", tmp_path / "id")
    elif why == "another format":
        monkeypatch.setattr(Checkpoint, "FORMAT", 2)
    else:
        now_s, moved_s = boot_s(), 61.0 if why == "late" else -5.0
        monkeypatch.setattr(dronebms.service.checkpoint, "boot_s", lambda: now_s + moved_s)
    with closing(CheckpointFile(tmp_path / "k")) as file:
        assert file.parts.keys() == {LATCHES}
        latches = decode(Latches, file.parts[LATCHES], "latches")
        assert latches == Latches({"a pack": ("failed",)})
        assert file.start_s == 0.0
    assert caplog.text.count("the last run is not restored") == 1
    assert logged in caplog.text


def test_a_state_that_ends_every_run_is_given_up(tmp_path: Path) -> None:
    with closing(CheckpointFile(tmp_path / "k")) as file:
        file.step(0.0, lambda: stored_number(1))
    numbers = []
    for _ in range(5):  # each ends before it has stored anything
        with closing(CheckpointFile(tmp_path / "k")) as file:
            numbers.append(number_of(file.parts))
    assert numbers == [1] * 3 + [None] * 2


@pytest.mark.parametrize("end", ["crash", "half a minute later", "after a reboot", "by its user"])
def test_a_run_of_another_configuration_takes_no_place_of_one_that_restarts(
    tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "k"
    with closing(CheckpointFile(path, "/etc/a.toml")) as file:
        file.step(5.0, lambda: stored_number(1))
        if end == "by its user":
            file.release(5.1, lambda: stored_number(2))
    ended_s, later_s = boot_s(), 31.0 if end == "half a minute later" else 10.0
    monkeypatch.setattr(dronebms.service.checkpoint, "boot_s", lambda: ended_s + later_s)
    if end == "after a reboot":
        (tmp_path / "id").write_text("another")
        monkeypatch.setattr(clock, "_BOOT_ID", tmp_path / "id")
    if end == "crash":
        for _ in range(2):
            with pytest.raises(InUseError, match=r"belongs to the run of /etc/a\.toml"):
                CheckpointFile(path, "/etc/b.toml")
        with closing(CheckpointFile(path, "/etc/a.toml")) as file:  # neither locked nor changed
            assert number_of(file.parts) == 1
    else:
        with closing(CheckpointFile(path, "/etc/b.toml")) as file:
            file.step(0.0, lambda: stored_number(3))
        with pytest.raises(InUseError, match=r"belongs to the run of /etc/b\.toml"):
            CheckpointFile(path, "/etc/a.toml")


def test_a_file_that_other_users_can_write_is_ignored_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / CHECKPOINT
    with closing(CheckpointFile(path)) as file:
        file.step(0.0, lambda: {"number": 1, LATCHES: LATCHED})
    assert unread_reason(path) is None
    path.chmod(0o666)
    assert unread_reason(path) == "others could write run.kept"
    with closing(CheckpointFile(path)) as file:
        assert file.parts == {UNREAD: "others could write run.kept"}
        file.step(0.0, lambda: {"number": 2, LATCHES: LATCHED})
    assert "can be written by other users and is replaced" in caplog.text
    with closing(CheckpointFile(path)) as file:
        assert file.parts["number"] == 2


def test_a_symbolic_link_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(CheckpointFile(tmp_path / "k")) as file:
        file.step(0.0, lambda: stored_number(1))
    (tmp_path / "link").symlink_to(tmp_path / "k")
    with closing(CheckpointFile(tmp_path / "link")) as file:
        assert file.parts == {UNREAD: "run.kept cannot be read"}
    assert "a restart will not restore this run" in caplog.text


def test_a_checkpoint_that_takes_the_place_of_another_one_is_continued(tmp_path: Path) -> None:
    # A folder that is swapped for a copy of it has higher numbers than a new file.
    path = tmp_path / "k"
    with closing(CheckpointFile(path)) as file:
        for number in range(9):
            file.step(float(number), partial(stored_number, number))
        shutil.copy2(path, tmp_path / "copy")
        (tmp_path / "copy").replace(path)
        file.step(20.0, lambda: stored_number(20))
    with closing(CheckpointFile(path)) as file:
        assert file.parts["number"] == 20


def test_a_checkpoint_of_an_older_version_is_not_restored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    body = b'["program", "boot", 1.0, 2.0, 0]\n\x80\x05.'  # a pickle
    head = struct.pack("<4sIII", b"DBK1", 1, len(body), crc32(body, 1))
    (tmp_path / "k").write_bytes(head + body)
    (tmp_path / "k").chmod(0o600)
    assert unread_reason(tmp_path / "k") is None
    with closing(CheckpointFile(tmp_path / "k")) as file:
        assert file.parts == {}
        file.step(0.0, lambda: stored_number(1))
    assert "its checkpoint is of an older version" in caplog.text
    with closing(CheckpointFile(tmp_path / "k")) as file:
        assert file.parts["number"] == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b"\x80\x05.", b'{"run": 1}', b"[" * 9999, b'{"run": NaN}']
)
def test_a_whole_place_with_any_other_content_is_not_restored_and_one_line_states_it(
    tmp_path: Path, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    head = struct.pack("<4sIII", b"DBK2", 7, len(body), crc32(body, 7))
    (tmp_path / "k").write_bytes(head + body)
    (tmp_path / "k").chmod(0o600)
    with closing(CheckpointFile(tmp_path / "k")) as file:
        assert file.parts == {UNREAD: "run.kept is damaged"}
    assert [record.getMessage()[:28] for record in caplog.records] == [
        "the last run is not restored"
    ]


@pytest.mark.parametrize("data", [b"x" * 100, b"DBK2" + b"\1" * 60, bytes(4096)])
def test_one_line_states_that_a_checkpoint_is_damaged(
    tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / CHECKPOINT
    for content, texts in ((b"", []), (data, [f"the last run is not restored: {path} is damaged"])):
        caplog.clear()
        path.write_bytes(content)
        path.chmod(0o600)
        reason = "run.kept is damaged" if content else None
        assert unread_reason(path) == reason
        with closing(CheckpointFile(path)) as file:
            assert file.parts.get(UNREAD) == reason
        assert [record.getMessage() for record in caplog.records] == texts


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_a_checkpoint_whose_place_is_taken_in_flight_is_logged_once_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / kind
    with closing(CheckpointFile(path)) as file:
        file.step(0.0, lambda: stored_number(1))
        path.unlink()
        special_file(tmp_path, kind)
        for second in range(1, 10):
            file.step(float(second), lambda: stored_number(1))
        assert len(caplog.records) == 1
        path.rename(tmp_path / "aside")
        file.step(10.0, lambda: stored_number(2))
        file.step(11.0, lambda: stored_number(3))
    with closing(CheckpointFile(path)) as file:
        assert number_of(file.parts) == 3
    assert caplog.text.count(f"a restart restores this run: {path} is written") == 1


def test_a_state_without_a_json_form_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(CheckpointFile(tmp_path / "k")) as file:
        file.step(0.0, lambda: stored_number(1))
        file.step(1.0, lambda: {"number": float("nan")})
        file.step(2.0, lambda: {"number": object()})
        file.step(3.0, lambda: {"number": "x" * (1 << 20)})
    assert caplog.text.count("a restart will not restore this run") == 3
    with closing(CheckpointFile(tmp_path / "k")) as file:
        assert number_of(file.parts) == 1


@pytest.mark.parametrize("what", ["file", "folder", "for others"])
def test_a_lost_checkpoint_is_logged_once_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "state" / "k"
    with closing(CheckpointFile(path)) as file:
        file.step(0.0, lambda: stored_number(1))
        if what == "file":
            path.unlink()
        elif what == "folder":
            shutil.rmtree(path.parent)
        else:
            path.chmod(0o666)
        for second in range(1, 4):
            file.step(float(second), lambda: stored_number(2))
        with pytest.raises(InUseError):  # the new file is locked as well
            CheckpointFile(path)
    with closing(CheckpointFile(path)) as file:
        assert number_of(file.parts) == 2
    loss = "others could write it" if what == "for others" else "it was deleted"
    assert caplog.text.count(f"{loss}, it is made again") == 1
    assert caplog.text.count(f"a restart restores this run: {path} is written") == 1


def test_a_full_disk_is_logged_once_and_its_end_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with closing(CheckpointFile(tmp_path / "k")) as file:
        file.step(0.0, lambda: stored_number(1))
        with monkeypatch.context() as disk:
            disk.setattr(os, "pwrite", full)
            for second in range(1, 9):
                file.step(float(second), lambda: stored_number(2))
        file.step(10.0, lambda: stored_number(3))
    assert caplog.text.count("No space left on device") == 1
    assert caplog.text.count("a restart restores this run") == 1
    with closing(CheckpointFile(tmp_path / "k")) as file:
        assert number_of(file.parts) == 3


def test_a_folder_that_appears_later_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mount").write_text("a file where the folder will be")
    with closing(CheckpointFile(tmp_path / "mount" / "k")) as file:
        file.step(0.0, lambda: stored_number(1))
        file.step(1.0, lambda: stored_number(1))
        (tmp_path / "mount").unlink()
        file.step(2.0, lambda: stored_number(2))
    assert caplog.text.count("a restart will not restore this run") == 1
    with closing(CheckpointFile(tmp_path / "mount" / "k")) as file:
        assert number_of(file.parts) == 2


def test_a_folder_that_cannot_be_written_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with closing(CheckpointFile(Path("/proc/none/k"))) as file:
        file.step(0.0, lambda: stored_number(1))
        assert file.parts == {}  # no earlier run has written it
    assert "a restart will not restore this run" in caplog.text
    assert unread_reason(Path("/proc/none/k")) is None


def test_a_file_that_may_be_there_and_cannot_be_read_may_hold_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "link").symlink_to(tmp_path / "k")  # which is not followed
    monkeypatch.setattr(Path, "lstat", failing)
    with closing(CheckpointFile(tmp_path / "link")) as file:
        assert file.parts == {UNREAD: "run.kept cannot be read"}


# ------------------------------------------------------------------------- in a thread


def test_a_disk_that_holds_up_a_write_holds_up_no_step_and_the_newest_parts_are_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "k"
    file = CheckpointFile(path)
    disk = HeldDisk(monkeypatch)
    with closing(BackgroundCheckpoint(file)) as run:
        run.step(0.0, lambda: stored_number(0))
        assert disk.writes.wait(WAIT_S)
        run.step(0.5, lambda: stored_number(1))  # not due
        for second in range(1, 9):
            run.step(float(second), lambda second=second: stored_number(second))  # type: ignore[misc]
        disk.goes_on.set()
    with closing(CheckpointFile(path)) as again:
        assert number_of(again.parts) == 8
    assert caplog.text.count("the disk is too slow: a restart may restore an older state") == 1


def test_the_last_parts_of_a_run_are_stored_and_leave_the_file_to_any_configuration(
    tmp_path: Path,
) -> None:
    path = tmp_path / "k"
    with closing(BackgroundCheckpoint(CheckpointFile(path, "/etc/a.toml"))) as run:
        run.step(0.0, lambda: stored_number(1))
        run.release(0.1, lambda: stored_number(2))
    with closing(CheckpointFile(path, "/etc/b.toml")) as file:
        assert number_of(file.parts) == 2


def test_a_disk_that_never_goes_on_ends_the_run_within_a_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dronebms.service.checkpoint, "_STOP_S", 0.05)
    path = tmp_path / "k"
    run = BackgroundCheckpoint(CheckpointFile(path))
    disk = HeldDisk(monkeypatch)
    run.step(0.0, lambda: stored_number(1))
    assert disk.writes.wait(WAIT_S)
    run.close()
    with pytest.raises(InUseError):  # its file is open: no other one gets its number
        CheckpointFile(path)
    disk.goes_on.set()
    run._thread.join(WAIT_S)
    with closing(CheckpointFile(path)) as file:
        assert number_of(file.parts) == 1


def test_a_run_whose_state_cannot_be_taken_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> Mapping[str, object]:
        raise ValueError("no such number")

    with closing(BackgroundCheckpoint(CheckpointFile(tmp_path / "k"))) as run:
        run.step(0.0, lambda: stored_number(1))
        run.step(1.0, fails)
        run.step(2.0, fails)
    assert caplog.text.count("its state cannot be stored: no such number") == 1


# ------------------------------------------------------------------------- as a process


@pytest.fixture
def ground() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(0.2)
        yield receiver


@contextmanager
def service(folder: Path, ground: socket.socket) -> Iterator["subprocess.Popen[bytes]"]:
    path, flight = folder / "c.toml", folder / "flight.toml"
    hover = (Path(sim.__file__).parent / "scenarios" / "hover.toml").read_text()
    flight.write_text(hover.replace("duration_s = 20.0", "duration_s = 0.2", 1))  # in the air soon
    path.write_text(
        f'[[battery]]\nbus = "sim:{flight}"\n[state]\ndir = "{folder}/state"\n[mavlink]\n'
        f'url = "udpout:127.0.0.1:{ground.getsockname()[1]}"\n'
    )
    while select.select([ground], [], [], 0)[0]:
        ground.recv(2000)  # of the previous run
    with (
        (folder / "log").open("a") as log,
        subprocess.Popen(  # noqa: S603 - our own command
            (sys.executable, "-m", "dronebms.cli", "run", "--log", "json", "-c", str(path)),
            stderr=log,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def statuses(ground: socket.socket, count: int) -> list[Any]:
    """So many BATTERY_STATUS that arrive from now on."""
    parser = mavlink.MAVLink(None)
    found: list[Any] = []
    end_s = monotonic() + WAIT_S
    while len(found) < count:
        assert monotonic() < end_s
        try:
            messages = parser.parse_buffer(ground.recv(2000)) or ()
        except TimeoutError:
            continue
        found += [m for m in messages if m.get_type() == "BATTERY_STATUS"]
    return found


def test_a_service_that_is_killed_repeatedly_continues_its_count(
    tmp_path: Path, ground: socket.socket
) -> None:
    chance, used_mah = random.Random(), [0]  # noqa: S311 - moments
    for life in range(3):
        with service(tmp_path, ground) as process:
            seen = statuses(ground, 3 + chance.randrange(2))
            select.select([], [], [], chance.random())
            process.send_signal(signal.SIGKILL)
        assert {m.id for m in seen} == {0}
        used = [m.current_consumed for m in seen]
        assert min(used) >= used_mah[-1] - 1, (life, used, used_mah)
        used_mah.append(max(used))
    rows = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert sum("is restored after" in row["text"] for row in rows) == 2
    assert used_mah == sorted(used_mah)
    assert used_mah[-1] > used_mah[1]

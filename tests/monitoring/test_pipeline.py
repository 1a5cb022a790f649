# SPDX-License-Identifier: Apache-2.0
"""The stages of one battery, and failures that they survive."""

import logging
import math
from dataclasses import replace
from itertools import pairwise

import pytest
from numpy.linalg import LinAlgError

from dronebms.core.chemistry import LIPO
from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Report
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.estimation.estimator import Estimator
from dronebms.estimation.learning.learned_pack import Learned, LearnedPack
from dronebms.estimation.learning.pack_memory import PackMemoryInRam
from dronebms.monitoring.pipeline import Pipeline
from dronebms.protection.limits import LimitChange
from dronebms.protection.rules import Rules
from smartbattery.snapshot import Identity, Snapshot
from tests.snapshots import FACTS, Scripted, check_sane, look, watched

UNCONFIGURED = PackData(LIPO, cutoff_cell_v=3.3)
SIX_CELLS = Identity(serial=7, cells=6, design_mah=5000.0)


def test_every_stage_of_a_step_is_of_the_same_moment() -> None:
    pipeline = Pipeline(Scripted(look(12.3)), FACTS, index=1)
    vehicle = VehicleState(armed=True)
    report = pipeline.step(12.3, vehicle)
    assert report.t_s == report.snapshot.t_s == report.estimate.t_s == report.status.t_s == 12.3
    assert report.vehicle is vehicle
    assert (report.index, report.pack_data) == (1, FACTS)


def test_a_sink_that_raises_is_logged_and_the_others_still_get_the_report(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before: list[Report] = []
    after: list[Report] = []

    def broken(_: Report) -> None:
        raise OSError(28, "No space left on device")

    pipeline = Pipeline(Scripted(look(1.0)), FACTS, [before.append, broken, after.append])
    with caplog.at_level(logging.ERROR):
        reports = [pipeline.step(1.0, UNKNOWN_VEHICLE) for _ in range(3)]
    assert before == after == reports
    assert [record.exc_info is not None for record in caplog.records] == [True] * 3
    assert "a sink failed" in caplog.text
    assert "No space left" in caplog.text


@pytest.mark.parametrize("error", [LinAlgError("singular matrix"), FloatingPointError()])
def test_limits_are_evaluated_whatever_the_estimator_does(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fails, update = False, Estimator.update

    def failing(self: Estimator, snapshot: Snapshot, vehicle: VehicleState) -> Estimate:
        estimate = update(self, snapshot, vehicle)
        if fails:
            raise error
        return estimate

    monkeypatch.setattr(Estimator, "update", failing)
    cells_v = [3.8] * 20 + [2.6] * 40 + [3.8] * 60
    source = Scripted(look(0.0))
    pipeline, reports = Pipeline(source, FACTS), []
    for k, cell_v in enumerate(cells_v):
        source.snapshot, fails = look(0.1 * k, cell_v), 20 <= k < 60
        reports.append(pipeline.step(0.1 * k, UNKNOWN_VEHICLE))
        pipeline.state(0.1 * k)
    assert "cell_emergency" in reports[59].status.active
    assert reports[59].estimate.doubts == (f"estimator failed: {type(error).__name__}",)
    assert reports[59].estimate.soc_pct is None
    assert reports[-1].estimate.soc_pct is not None  # it has started again
    assert reports[-1].estimate.doubts == ()
    assert caplog.text.count("it starts again") == 1  # with a traceback, once
    assert caplog.text.count("Traceback") == 1


def test_an_estimator_that_fails_in_each_step_reads_no_disk_in_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Counting(PackMemoryInRam):
        reads = 0

        def load(self, pack: str) -> LearnedPack | None:
            self.reads += 1
            return super().load(pack)

    update = Estimator.update

    def failing(self: Estimator, snapshot: Snapshot, vehicle: VehicleState) -> Estimate:
        update(self, snapshot, vehicle)
        raise ValueError("always")

    monkeypatch.setattr(Estimator, "update", failing)
    memory = Counting()
    source = Scripted(look(0.0))
    pipeline = Pipeline(source, replace(FACTS, pack_id="a"), packs=memory)
    recalled = set()
    for k in range(50):
        source.snapshot = look(0.1 * k)
        pipeline.step(0.1 * k, UNKNOWN_VEHICLE)
        recalled.add(id(pipeline.recalled))
    assert memory.reads == 1
    assert len(recalled) == 1  # a recorder writes each that is new


def test_a_flight_that_teaches_nothing_by_an_error_of_ours_ends_no_step(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(_: Estimator) -> Learned:
        raise LinAlgError("singular matrix")

    monkeypatch.setattr(Estimator, "learn", failing)
    source = Scripted(look(0.0))
    pipeline = Pipeline(source, FACTS, packs=PackMemoryInRam())
    pipeline.step(0.0, VehicleState(armed=True))
    source.snapshot = look(1.0)
    report = pipeline.step(1.0, VehicleState(armed=False))
    assert not report.flying
    assert "nothing learned in this flight is stored" in caplog.text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_source_that_returns_no_numbers_gives_unknown_ones(value: float) -> None:
    """Its contract forbids that; a limit would never be beyond a NaN."""
    sound = [look(0.5 * k, 3.8 - 0.001 * k) for k in range(60)]
    wrong = [
        replace(
            one,
            voltage_v=value,
            current_a=value,
            temperature_degc=value,
            cells_v=(value,) * 6,
            remaining_mah=value,
        )
        for one in (look(30.0 + 0.5 * k) for k in range(30))
    ]
    reports = watched([*sound, *wrong, *(look(45.0 + 0.5 * k) for k in range(40))])
    assert {"silent", "lost"} <= {event.limit_id for one in reports for event in one.status.events}
    for report in reports:
        check_sane(report.estimate)
    assert reports[89].snapshot.cells_v == (None,) * 6
    assert reports[-1].estimate.soc_pct is not None


def test_a_request_to_stop_passes_through_a_sink() -> None:
    def stopping(_: Report) -> None:
        raise SystemExit(0)

    with pytest.raises(SystemExit):
        Pipeline(Scripted(look(1.0)), FACTS, [stopping]).step(1.0, UNKNOWN_VEHICLE)


def test_the_gauge_completes_the_configured_data_and_overrides_none() -> None:
    (completed,) = watched([look(0.0, identity=SIX_CELLS)], UNCONFIGURED)
    assert (completed.pack_data.cells, completed.pack_data.capacity_mah) == (6, 5000.0)
    configured = PackData(LIPO, cells=4, capacity_mah=3000.0)
    (report,) = watched([look(0.0, cells=4, identity=SIX_CELLS)], configured)
    assert report.pack_data == configured


def test_rated_data_and_tripped_limits_hold_through_a_silence() -> None:
    empty = [look(k / 10, 3.2, identity=SIX_CELLS) for k in range(60)]
    silent = [Snapshot(6.0 + k / 10) for k in range(100)]  # nothing is known, not even who it is
    reports = watched([*empty, *silent], UNCONFIGURED)
    assert "pack_low" in reports[59].status.active
    assert "pack_low" in reports[-1].status.active
    assert reports[-1].pack_data == reports[59].pack_data
    assert not any(event.limit_id == "pack_low" for r in reports[60:] for event in r.status.events)


def test_state_is_retained_for_the_same_pack_and_discarded_for_another() -> None:
    partly, other = Identity(serial=7), Identity(serial=8, cells=4)
    steps = (SIX_CELLS, partly, Identity(manufacturer="who"), SIX_CELLS, other)
    known = [
        (report.pack_data.cells, report.pack_data.capacity_mah)
        for report in watched(
            (look(float(t), 3.8, 0.1, identity=i) for t, i in enumerate(steps)), UNCONFIGURED
        )
    ]
    assert known == [(6, 5000.0)] * 4 + [(4, None)]


def test_a_contradicting_change_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="'hot': clear 70 must be below trip 50"):
        Pipeline(Scripted(look(0.0)), FACTS, rules=Rules((LimitChange("hot", clear=70.0),)))


def test_a_pack_that_contradicts_a_change_gets_the_default_limits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # 100 A clear the row of a large pack; of this one, 50 A trip it.
    changes = [LimitChange("current_60s", clear=100.0), LimitChange("hot", trip=55.0)]
    flight = [look(float(t), 3.8 - t * 1e-3, 60.0, identity=SIX_CELLS) for t in range(70)]
    with caplog.at_level(logging.ERROR):
        reports = watched(flight, UNCONFIGURED, changes)
    assert "current_60s" in reports[-1].status.active
    assert [record.getMessage() for record in caplog.records] == [
        "limit 'current_60s': clear 100 must be below trip 50; "
        "the default limits are used for this pack"
    ]


def test_in_a_dispute_the_count_goes_on_and_no_flight_ends() -> None:
    flying = [hovering(k / 2.0, wrong=k >= 200) for k in range(400)]
    landed = [look(200.0 + k / 2.0, 3.8, 0.0, identity=SIX_CELLS) for k in range(60)]
    packs = PackMemoryInRam()
    pipeline = Pipeline(source := Scripted(flying[0]), FACTS, packs=packs)
    disputed = []
    for snapshot in flying:
        source.snapshot = snapshot
        report = pipeline.step(snapshot.t_s, UNKNOWN_VEHICLE)
        if report.snapshot.disputed:
            disputed.append(report.estimate)
    assert len(disputed) > 100
    for before, after in pairwise(disputed):
        assert (after.soc_pct, after.remaining_s) == (None, None)
        assert (after.used_mah or 0.0) > (before.used_mah or 0.0) > 0.0
    assert packs.packs == {}
    for snapshot in landed:
        source.snapshot = snapshot
        pipeline.step(snapshot.t_s, VehicleState(armed=False))
    assert len(packs.packs) == 1


def test_with_neither_current_nor_charge_no_percentage_and_no_time_are_invented() -> None:
    """From 100 s on the gauge reports a tenth of the current and of the charge."""
    pipeline = Pipeline(source := Scripted(hovering(0.0, wrong=False)), FACTS)
    uncounted = []
    for k in range(300):
        snapshot = hovering(k / 2.0, wrong=False)
        if k >= 200:
            tenth_a, tenth_mah = (
                (snapshot.current_a or 0.0) / 10,
                (snapshot.remaining_mah or 0.0) / 10,
            )
            snapshot = replace(snapshot, current_a=tenth_a, remaining_mah=tenth_mah)
        source.snapshot = snapshot
        report = pipeline.step(snapshot.t_s, VehicleState(armed=True))
        if {"current_a", "remaining_mah"} <= set(report.snapshot.rejected):
            uncounted.append(report)
    assert len(uncounted) > 40
    assert uncounted[0].t_s <= 106.0
    for report in uncounted:
        assert (report.estimate.soc_pct, report.estimate.remaining_s) == (None, None)
        assert report.reported.soc_pct is None
        assert report.reported.remaining_s is None


def hovering(t_s: float, *, wrong: bool) -> Snapshot:
    """A pack of 5 Ah at 20 A; a wrong current is 14 A, and nothing decides."""
    current_a = 20.0 + math.sin(t_s)
    sound = look(t_s, 4.0 - 0.0005 * t_s, current_a, identity=SIX_CELLS)
    mah = 4500.0 - 20.0 * t_s / 3.6
    read = {**sound.read_at_s, "remaining_mah": t_s}
    sound = replace(sound, remaining_mah=mah, soc_pct=mah / 50.0, full_mah=5000.0, read_at_s=read)
    return replace(sound, current_a=0.7 * current_a) if wrong else sound

# SPDX-License-Identifier: Apache-2.0
"""The service's own absence (stopped, swapped out, restarted) is evidence of nothing."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from dronebms.core.chemistry import LIPO
from dronebms.core.clock import VirtualClock
from dronebms.core.pack_data import PARALLEL, SERIES, PackData
from dronebms.core.report import Action, ActionKind, Event, Report, Severity
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.loop import Loop, live_ticks
from dronebms.monitoring.multi_pack import Supply
from dronebms.monitoring.pipeline import Pipeline, restore_parts, stored_parts
from dronebms.monitoring.watch_time import WatchState, WatchTime
from dronebms.protection.rules import Rules
from smartbattery.snapshot import Identity, Snapshot

PACK = PackData(LIPO, cells=6, capacity_mah=16_000.0)
FLYING = VehicleState(armed=True, mode="LOITER", heartbeat_age_s=0.1)
GAPS_S = [0.5, 1.9, 6.0, 31.0]
LONG_S = [600.0, 3600.0]
RETURN = tuple(
    Action(on, ActionKind.RETURN, hold_s=hold_s)
    for on, hold_s in ((Severity.WARNING, 0.0), (Severity.CRITICAL, 2.0), ("lost", 0.0))
)


@dataclass
class Pack:
    """A pack in flight whose charge falls as its current flows; `wrong` changes a snapshot."""

    current_a: float = 28.0
    serial: int = 7
    late: bool = False  # its bus thread has not polled since the absence
    absent: bool = False
    wrong: Callable[[Snapshot], Snapshot] = lambda snapshot: snapshot
    start_frac: float = 0.95

    def poll(self, now_s: float) -> Snapshot:
        """The snapshot at a time of the clock."""
        if self.absent or self.late:
            why = "no answer" if self.absent else "the bus has been stuck"
            identity = Identity(serial=self.serial)
            return Snapshot(now_s, cells_v=(None,) * 6, identity=identity, trouble=why)
        left = max(self.start_frac - self.current_a * now_s / 3600.0 / 16.0, 0.0)
        amps = self.current_a + 0.4 * math.sin(now_s)  # not frozen
        place = min(int(left * 20), 19)
        ocv_v = LIPO.ocv_v[place] + (left * 20 - place) * (
            LIPO.ocv_v[place + 1] - LIPO.ocv_v[place]
        )
        cell_v = ocv_v - 0.002 * amps
        cells = [f"cell{k}_v" for k in range(1, 7)]
        names = ("voltage_v", "current_a", "temperature_degc", "remaining_mah", "soc_pct", *cells)
        return self.wrong(
            Snapshot(
                now_s,
                voltage_v=6 * cell_v,
                current_a=amps,
                temperature_degc=25.0 + 0.001 * now_s,
                cells_v=(cell_v,) * 6,
                soc_pct=100.0 * left,
                remaining_mah=16_000.0 * left,
                full_mah=16_000.0,
                identity=Identity(serial=self.serial, cells=6, design_mah=16_000.0),
                read_at_s=dict.fromkeys(names, now_s),
            )
        )


class Run:
    """Packs stepped by a loop of ten steps a second."""

    def __init__(self, *packs: Pack, topology: str = PARALLEL) -> None:
        self.packs = packs
        self._pipelines = self._made()
        self._topology = topology
        self._supply = Supply(self._pipelines, topology)
        self.now_s = 0.0
        self.reports: list[Report] = []

    def _made(self) -> list[Pipeline]:
        rules = Rules(actions=RETURN)
        return [Pipeline(one, PACK, index=k, rules=rules) for k, one in enumerate(self.packs)]

    def fly(self, seconds: float) -> list[Report]:
        """Steps without an absence."""
        before = len(self.reports)
        for _ in range(round(seconds * 10)):
            self.step(0.1)
        return self.reports[before:]

    def step(self, dt_s: float) -> None:
        """One step of the loop."""
        self.now_s = round(self.now_s + dt_s, 6)
        self.reports += self._supply.step(self.now_s, FLYING)

    def stall(self, gap_s: float, *, late: bool) -> list[Report]:
        """An absence; the loop wakes before the bus threads if `late`."""
        before = len(self.reports)
        for one in self.packs:
            one.late = late
        self.step(gap_s)
        for one in self.packs:
            one.late = False
        return self.reports[before:]

    def restart(self, gap_s: float) -> None:
        """Another process, which restores the checkpoint."""
        parts = stored_parts(self._pipelines, self.now_s)
        self._pipelines = self._made()
        restore_parts(self._pipelines, parts)
        self._supply = Supply(self._pipelines, self._topology)
        self.step(gap_s)

    def events(self, since: int = 0) -> list[Event]:
        """Events of the reports from a place on."""
        return [event for report in self.reports[since:] for event in report.status.events]

    def commands(self) -> list[ActionKind]:
        """Kinds of the mode commands that were requested."""
        return [
            one.action.do
            for report in self.reports
            for one in report.requests
            if one.action.do >= ActionKind.RETURN
        ]


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("gap_s", [*GAPS_S, *LONG_S])
def test_a_stalled_process_blames_nothing_and_acts_on_nothing(gap_s: float, late: bool) -> None:  # noqa: FBT001 - a column
    run = Run(Pack(current_a=28.0 if gap_s < 100.0 else 1.0))
    run.fly(40.0)
    assert run.events() == []
    run.stall(gap_s, late=late)
    run.fly(12.0)
    assert [event.text for event in run.events()] == []
    assert run.commands() == []
    last = run.reports[-1]
    assert last.estimate.soc_pct == pytest.approx(100.0 * left(run), abs=3.0)
    assert last.snapshot.doubts == ()


def left(run: Run) -> float:
    pack = run.packs[0]
    return pack.start_frac - pack.current_a * run.now_s / 3600.0 / 16.0


@pytest.mark.parametrize("gap_s", GAPS_S)
def test_repeated_stalls_neither_blame_the_gauge_nor_blind_the_loop(gap_s: float) -> None:
    run = Run(Pack())
    run.fly(10.0)
    for _ in range(5):
        run.stall(gap_s, late=True)
        run.fly(4.0)
    assert run.events() == []
    run.packs[0].wrong = lambda snapshot: replace(
        snapshot, cells_v=(3.0, *snapshot.cells_v[1:]), voltage_v=(snapshot.voltage_v or 0) - 0.5
    )
    began_s = run.now_s
    for _ in range(5):
        run.fly(1.0)
        run.stall(gap_s, late=False)
    tripped = {event.limit_id: event.t_s for event in run.events() if event.tripped}
    assert tripped["cell_critical"] - began_s <= 3.2 + 3 * gap_s  # 3 s of watching


@pytest.mark.parametrize("gap_s", GAPS_S)
@pytest.mark.parametrize("when", ["before", "within"])
def test_a_silence_that_goes_on_after_the_stall_trips_in_time(gap_s: float, when: str) -> None:
    run = Run(Pack())
    run.fly(10.0)
    if when == "before":
        run.packs[0].absent = True
        run.fly(1.5)
    run.stall(gap_s, late=True)
    ended_s = run.now_s
    run.packs[0].absent = True
    run.fly(12.0)
    tripped = {event.limit_id: event.t_s - ended_s for event in run.events() if event.tripped}
    seen_s = 1.5 if when == "before" else 0.0
    assert 3.0 - seen_s - 0.7 <= tripped["silent"] <= 3.1 - seen_s
    assert 10.0 - seen_s - 0.7 <= tripped["lost"] <= 10.1 - seen_s


def low_cell(snapshot: Snapshot) -> Snapshot:
    fallen_v = (snapshot.cells_v[0] or 0.0) - 3.25
    pack_v = (snapshot.voltage_v or 0.0) - fallen_v
    return replace(snapshot, voltage_v=pack_v, cells_v=(3.25, *snapshot.cells_v[1:]))


def no_temperature(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, temperature_degc=None)


def hot(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, temperature_degc=62.0)


def wrong_cells(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, cells_v=tuple((v or 0.0) - 0.4 for v in snapshot.cells_v))


def strong(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, current_a=170.0)


@pytest.mark.parametrize("gap_s", GAPS_S)
@pytest.mark.parametrize("wrong", [low_cell, no_temperature, hot, wrong_cells, strong])
def test_a_moment_before_and_one_after_a_stall_are_no_lasting_condition(
    wrong: Callable[[Snapshot], Snapshot], gap_s: float
) -> None:
    """Half a second of it on each side, which without the stall is less than any hold time."""
    run = Run(Pack())
    run.fly(10.0)
    run.packs[0].wrong = wrong
    run.fly(0.5)
    run.stall(gap_s, late=False)
    run.fly(0.3)
    run.packs[0].wrong = lambda snapshot: snapshot
    run.fly(10.0)
    assert [event.text for event in run.events() if event.severity >= Severity.WARNING] == []
    assert run.commands() == []


@pytest.mark.parametrize("gap_s", GAPS_S)
@pytest.mark.parametrize("late", [True, False])
def test_what_has_tripped_stays_and_no_command_is_repeated(gap_s: float, late: bool) -> None:  # noqa: FBT001 - a column
    run = Run(Pack())
    run.fly(10.0)
    run.packs[0].wrong = low_cell
    run.fly(10.0)
    assert "cell_critical" in run.reports[-1].status.active
    keys = {one.key for one in run.reports[-1].requests}
    before = len(run.reports)
    run.stall(gap_s, late=late)
    run.fly(5.0)
    for report in run.reports[before:]:
        assert "cell_critical" in report.status.active
        assert {one.key for one in report.requests} == keys
    run.packs[0].wrong = lambda snapshot: snapshot
    recovered_s = run.now_s
    run.fly(5.0)
    run.stall(gap_s, late=late)
    run.fly(8.0)
    (cleared,) = [e for e in run.events(before) if e.limit_id == "cell_critical"]
    assert not cleared.tripped
    assert cleared.t_s - recovered_s >= 10.0 + min(gap_s - 0.6, 0.0)  # watched, not absent


@pytest.mark.parametrize("topology", [PARALLEL, SERIES])
@pytest.mark.parametrize("gap_s", [*GAPS_S, 600.0])
def test_no_pack_of_several_is_missing_because_of_a_stall(gap_s: float, topology: str) -> None:
    run = Run(Pack(serial=1, current_a=8.0), Pack(serial=2, current_a=8.0), topology=topology)
    run.fly(40.0)
    before_s = run.reports[-1].supply
    run.stall(gap_s, late=False)
    run.fly(10.0)
    assert run.events() == []
    assert run.commands() == []
    after_s = run.reports[-1].supply
    assert before_s is not None
    assert after_s is not None
    assert after_s.missing == ()
    if before_s.remaining_s is not None and gap_s < 100.0:
        assert after_s.remaining_s == pytest.approx(before_s.remaining_s - gap_s, rel=0.25)


@pytest.mark.parametrize("gap_s", GAPS_S)
def test_a_restart_neither_trips_nor_acts_nor_loses_what_has_tripped(gap_s: float) -> None:
    run = Run(Pack())
    run.fly(20.0)
    run.restart(gap_s)
    run.fly(11.0)
    assert run.events() == []
    run.packs[0].wrong = low_cell
    run.fly(14.0)
    keys = {one.key for one in run.reports[-1].requests}
    before = len(run.reports)
    run.restart(gap_s)
    run.fly(5.0)
    for report in run.reports[before:]:
        assert "cell_critical" in report.status.active
        assert {one.key for one in report.requests} == keys
    assert run.events(before) == []


@pytest.mark.parametrize("gap_s", GAPS_S)
def test_a_second_stall_after_a_restart_counts_as_well(gap_s: float) -> None:
    run = Run(Pack())
    run.fly(10.0)
    run.stall(gap_s, late=True)
    run.fly(5.0)
    run.restart(5.0)
    run.fly(5.0)
    run.stall(gap_s, late=True)
    run.fly(15.0)
    assert run.events() == []
    assert run.commands() == []


# ---------------------------------------------------------------------- the parts


def test_watch_time_grows_by_at_most_the_longest_step_and_never_falls() -> None:
    watch = WatchTime()
    times_s = (0.0, 0.1, 0.6, 1.2, 13.2, 13.3, 3613.3, 3613.4)
    watched_s = []
    for t_s in times_s:
        watch.step(t_s, 0.5)
        watched_s.append(watch.of(t_s))
    steps_s = [after - before for before, after in pairwise(watched_s)]
    assert steps_s == pytest.approx([0.1, 0.5, 0.5, 0.5, 0.1, 0.5, 0.1])


def test_a_reading_of_before_or_within_an_absence_keeps_its_order() -> None:
    watch = WatchTime()
    absences_s = [watch.step(t_s, 0.5) for t_s in (10.0, 10.1, 22.1)]
    assert absences_s == pytest.approx([0.0, 0.0, 11.5])
    assert watch.of(22.1) == pytest.approx(10.6)
    assert watch.of(9.9) == pytest.approx(9.9)
    assert watch.of(15.0) == pytest.approx(10.6)  # a bus thread polled while the loop was held up
    watch.step(22.2, 0.5)
    assert watch.of(22.2) == pytest.approx(10.7)
    assert watch.of(9.9) == pytest.approx(9.9)
    assert WatchTime(watch.state()).state() == WatchState(22.2, absences_s[-1])


class HeldUp(VirtualClock):
    """A clock of a process that is stopped once, in its sleep or in its work."""

    def __init__(self, at_s: float, gap_s: float) -> None:
        super().__init__()
        self._at_s, self._gap_s = at_s, gap_s

    def sleep_until(self, t_s: float) -> None:
        """Sleep, longer than asked at the time of the absence."""
        super().sleep_until(t_s)
        if t_s >= self._at_s and self._gap_s:
            super().sleep_until(t_s + self._gap_s)
            self._gap_s = 0.0


@pytest.mark.parametrize("gap_s", [0.4, 12.0, 3600.0])
def test_the_loop_steps_at_the_end_of_an_absence_once_the_buses_were_polled(gap_s: float) -> None:
    clock = HeldUp(5.0, gap_s)
    pack = Pack()
    loop = Loop(clock, lambda _: FLYING, [Pipeline(pack, PACK)])

    def steps() -> Iterator[float]:
        for report in loop.reports(live_ticks(clock)):
            yield report.t_s

    taken = steps()
    times_s = [next(taken) for _ in range(100)]
    gaps_s = [after - before for before, after in pairwise(times_s)]
    assert all(gap > 0.0 for gap in gaps_s)
    assert max(gaps_s) == pytest.approx(gap_s + (0.1 if gap_s < 0.5 else 0.3), abs=0.11)

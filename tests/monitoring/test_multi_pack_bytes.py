# SPDX-License-Identifier: Apache-2.0
"""Several packs on virtual buses in one loop: effect of a lost one, and in which step."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from dronebms.core.chemistry import LIPO
from dronebms.core.clock import VirtualClock
from dronebms.core.pack_data import PARALLEL, SERIES, PackData
from dronebms.core.report import GOVERNOR, Action, ActionKind, Event, Report, Severity, SupplyStatus
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.loop import Loop
from dronebms.monitoring.pipeline import Pipeline
from dronebms.protection.rules import Rules
from smartbattery.errors import NackError
from smartbattery.gauge import Gauge
from tests.scripted import SPECIFICATION, ScriptedPack

FACTS = PackData(LIPO, cells=4, capacity_mah=6000.0, limp_home_a=20.0)
FLYING = VehicleState(armed=True, mode="LOITER", heartbeat_age_s=0.1)
LOST_S, MAX_AGE_S = 20.0, 2.0  # the plug comes off; so long holds the last word
REDUCE = Rules(actions=(Action(GOVERNOR, ActionKind.REDUCE, hold_s=0.0),))


@dataclass
class Plugged:
    """A pack that replies until it is disconnected."""

    pack: ScriptedPack = field(default_factory=ScriptedPack)
    silent: bool = False

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Reply while the pack is connected."""
        if self.silent:
            raise NackError("the plug is off")
        return self.pack.transfer(address, tx, rx_len)


def flown(
    topology: str,
    amps: float,
    *,
    count: int = 2,
    cell_mv: tuple[int, ...] = (3800,) * 3,
    all_silent: bool = False,
) -> list[list[Report]]:
    """Reports of each step of 40 s; the second pack, or all, fall silent after LOST_S."""
    packs = [Plugged() for _ in range(count)]
    pipelines = [
        Pipeline(Gauge(pack, cells=4), FACTS, index=index, rules=REDUCE)
        for index, pack in enumerate(packs)
    ]

    def ticks() -> Iterator[float]:
        for pack in packs:  # a gauge that does not count, so that nothing contradicts it
            for command in (0x0D, 0x0F, 0x10, 0x12):
                del pack.pack.words[command]
        for number in range(400):
            packs[1].silent = number / 10 >= LOST_S
            packs[0].silent = packs[1].silent and all_silent
            carry = count - packs[1].silent if topology == PARALLEL else 1
            for pack, mv in zip(packs, cell_mv, strict=False):
                words = pack.pack.words
                words[SPECIFICATION], words[0x18] = 0x1031, 600  # amperes and capacities x 10
                words[0x0A] = words[0x0B] = round(-amps * 100 / carry) & 0xFFFF
                words[0x09] = 4 * mv + number // 3 % 2  # a living gauge's last bit
                words |= dict.fromkeys(range(0x3C, 0x40), mv)
            yield number / 10

    reports = list(
        Loop(VirtualClock(), lambda _: FLYING, pipelines, None, topology).reports(ticks())
    )
    return [reports[k : k + count] for k in range(0, len(reports), count)]


def whole_of(reports: list[Report]) -> SupplyStatus:
    """The supply, the same in every report of a step."""
    whole = reports[0].supply
    assert whole is not None
    assert [report.supply for report in reports] == [whole] * len(reports)
    return whole


def events_of(steps: list[list[Report]], limit_id: str) -> list[tuple[int, Event]]:
    """Events of a limit with the index of the battery."""
    every = [report for reports in steps for report in reports]
    return [(r.index, e) for r in every for e in r.status.events if e.limit_id == limit_id]


def lost_in(steps: list[list[Report]]) -> int:
    """Number of the first step in which the second pack is unknown."""
    return next(k for k, reports in enumerate(steps) if reports[1].snapshot.voltage_v is None)


def test_losing_a_parallel_pack_changes_the_limit_of_the_others_in_the_same_step() -> None:
    steps = flown(PARALLEL, 40.0)
    lost = lost_in(steps)
    before, after = whole_of(steps[lost - 1]), whole_of(steps[lost])
    assert steps[lost][0].t_s == pytest.approx(LOST_S + MAX_AGE_S, abs=0.15)
    assert (before.missing, after.missing) == ((), (1,))
    assert after.max_discharge_a == steps[lost][0].estimate.max_discharge_a
    assert (before.limp_home_a, after.limp_home_a) == (40.0, 40.0)  # the aircraft is as heavy
    assert (before.severity, after.severity) == (Severity.OK, Severity.WARNING)
    last = steps[-1][0].estimate.remaining_s
    assert last is not None
    assert whole_of(steps[-1]).remaining_s == pytest.approx(last * 0.63, rel=0.05)  # 18 s later


def test_a_lost_pack_is_one_event_of_each_battery() -> None:
    steps = flown(PARALLEL, 40.0)
    events = events_of(steps, "pack_missing")
    assert [(index, event.tripped) for index, event in events] == [(0, True), (1, True)]
    assert {event.text for _, event in events} == {"WARNING: battery 2 missing: load on the others"}
    assert events[0][1].t_s - LOST_S - MAX_AGE_S == pytest.approx(1.0, abs=0.3)
    assert events_of(steps, "module_missing") == []


def test_the_text_of_a_vehicle_without_any_pack_names_no_other() -> None:
    steps = flown(PARALLEL, 40.0, all_silent=True)
    whole = whole_of(steps[-1])
    assert (whole.missing, whole.all_missing) == ((0, 1), True)
    texts = {event.text for _, event in events_of(steps, "pack_missing")}
    assert texts == {"WARNING: battery 1, 2 missing: no battery is left"}


def test_a_series_without_a_module_is_critical_and_unknown() -> None:
    steps = flown(SERIES, 30.0)
    after = whole_of(steps[lost_in(steps)])
    assert (after.severity, after.max_discharge_a) == (Severity.CRITICAL, None)
    assert steps[-1][0].status.severity >= Severity.CRITICAL
    assert [event.severity for _, event in events_of(steps, "module_missing")] == [
        Severity.CRITICAL
    ] * 2


def test_the_limit_of_the_vehicle_is_for_all_packs_and_never_below_limp_home() -> None:
    steps = flown(PARALLEL, 118.0, count=2)  # 59 A of each, and each has 60 A for long
    asked = [reports[0].status.asked_max_a for reports in steps]
    assert {r.status.asked_max_a for r in steps[-1]} == {asked[-1]}
    assert [r.requests[0].max_a for r in steps[-1]] == [asked[-1]] * 2  # of the limiter
    late = [a for a in asked[lost_in(steps) :] if a is not None]
    assert late
    assert min(late) >= 40.0


def test_one_of_three_with_another_voltage_supplies_nothing() -> None:
    steps = flown(PARALLEL, 40.0, count=3, cell_mv=(3800, 3800, 3500))
    assert whole_of(steps[100]).missing == (2,)
    assert [event.text for _, event in events_of(steps[:100], "pack_missing")] == [
        "WARNING: battery 3 missing: load on the others"
    ] * 3


def test_a_single_pack_has_no_supply() -> None:
    pipeline = Pipeline(Gauge(Plugged(), cells=4), FACTS)
    (report,) = Loop(VirtualClock(), lambda _: FLYING, [pipeline]).reports(iter([0.0]))
    assert report.supply is None

# SPDX-License-Identifier: Apache-2.0
"""Benchmark of the way home and the mission: its flights by seed, their truth, its table."""

import argparse
import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.mission import (
    CHEMISTRIES,
    COLUMNS,
    FAMILIES,
    SOUND,
    Check,
    Flown,
    TimeLeft,
    case_of,
    cells_of,
    earlier_cases,
    fly,
    judged,
    left_table,
    outcome_of,
    returning,
    table,
    uneven_cases,
)
from dronebms.core.report import Estimate, Verdict
from sim.emulator.world import World

pytestmark = pytest.mark.slow

COUNTS = dict.fromkeys(Verdict, 0)


@pytest.fixture(scope="module")
def flown() -> Flown:
    """A mission that lands early."""
    return fly(24, 1)


def test_a_seed_gives_the_same_flight_and_another_one_another() -> None:
    assert case_of(5, 1) == case_of(5, 1)
    assert case_of(5, 1).scenario != case_of(5, 2).scenario


def test_earlier_flights_are_other_missions_of_the_same_pack_and_vehicle() -> None:
    case, (first, second) = case_of(25, 1), earlier_cases(25, 1)
    assert first.scenario.waypoints != second.scenario.waypoints != case.scenario.waypoints
    for one in (first, second):
        assert one.seed == case.seed
        for name in ("pack", "gauge", "vehicle", "faults", "air"):
            assert getattr(one.scenario, name) == getattr(case.scenario, name)
        assert outcome_of(one.scenario, one.seed).left_pct is None  # until the pack ended


def test_the_flights_are_of_every_kind() -> None:
    cases = [case_of(number, 1) for number in range(24)]
    groups = {group for case in cases for group in case.groups}
    assert {
        *FAMILIES,
        *CHEMISTRIES,
        "mission",
        "free flight",
        "cold",
        "worn",
        "weak cell",
    } <= groups
    assert {"wind < 4 m/s", "wind 4-7 m/s", "wind > 7 m/s"} <= groups
    plans = [World(case.scenario).vehicle(0.0).plan for case in cases]
    assert [bool(plan and plan.items) for plan in plans] == [case.mission for case in cases]


def test_the_truth_of_a_return_is_the_flight_with_that_return() -> None:
    case = case_of(24, 1)
    late, early = returning(case, 600.0, 120.0)
    assert early.left_pct is not None
    assert late.left_pct is not None
    assert early.left_pct > late.left_pct + 10.0
    assert early.usable_pct is not None
    assert early.usable_pct < early.left_pct  # the pack ends with charge left
    assert early.end_s < outcome_of(case.scenario, case.seed).end_s


def test_after_the_return_of_a_flight_there_is_no_other_one() -> None:
    case = case_of(1, 1)
    assert case.scenario.flight is not None
    at_s = case.scenario.flight.return_at_s
    assert at_s is not None
    whole = outcome_of(case.scenario, case.seed)
    before, after, end = returning(case, at_s - 60.0, at_s + 60.0, math.inf)
    assert after == end == whole
    assert before != whole


def test_a_flight_is_judged_by_its_truth(flown: Flown) -> None:
    assert flown.landed_pct is not None
    assert len(flown.moments) == 8
    for check in flown.moments:
        assert check.home_s is not None
        assert check.left_pct is not None
        assert check.left_pct >= flown.landed_pct - 1.0
    assert sum(flown.home_counts.values()) > 300


def test_the_table_counts_what_was_wrong(flown: Flown) -> None:
    plain = Estimate(0.0, home_s=110.0)
    wrong = Check(plain, 100.0, 40.0, 12.0)
    lost = Check(plain, None, None, None)
    values = {name: getattr(flown, name) for name in Flown.__dataclass_fields__}
    values |= {
        "moments": (wrong, wrong),
        "no": wrong,
        "yes": (lost,),
        "home_counts": COUNTS | {Verdict.MARGINAL: 5, Verdict.YES: 15},
        "landed_pct": 40.0,
        "usable_pct": 35.0,
        "mission_no": True,
        "end_error_pct": 4.0,
        "end_held": True,
        "left_error": 0.1,
        "left_error_hidden": 0.2,
        "lead_s": 30.0,
    }
    row = dict(zip(COLUMNS, cells_of([Flown(**values)]), strict=True))
    assert row["home s %"] == "10.0"
    assert row["NO, > 15 % usable"] == "0 of 1"
    assert row["NO, > 15 % left"] == row["lands after NO"] == row["mission NO, lands"] == "1 of 1"
    assert row["YES, fails"] == "1 of 1"
    assert row["marginal %"] == "25.0"
    assert (row["end pct"], row["bound holds %"], row["ratio"]) == ("4.0", "100", "0.50")
    assert row["lead s"] == "30.0"
    assert table([flown]).splitlines()[2].startswith("| all | 1 |")
    worn = replace(flown, case=replace(flown.case, groups=("lipo", "worn")))
    sound = replace(flown, case=replace(flown.case, groups=("lipo",)))
    assert f"| {SOUND} | 2 |" in table([sound, worn, sound])


def test_an_uneven_mission_ends_after_the_pack_and_its_earlier_flights_are_others() -> None:
    case, first, second = uneven_cases(1, 1)
    ended = outcome_of(case.scenario, case.seed)
    assert ended.left_pct is None
    plans = [World(each.scenario, each.seed) for each in (case, first, second)]
    assert plans[0].duration_s > 1.05 * ended.end_s
    assert len({each.scenario.waypoints for each in (case, first, second)}) == 3
    assert case.scenario.pack == first.scenario.pack == second.scenario.pack


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    kept = tmp_path / "results"
    first = list(judged(math.sqrt, argparse.Namespace(flights=3, step=1, jobs=1), kept))
    assert first == [0.0, 1.0, math.sqrt(2.0)]
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-3])  # interrupted while it wrote
    again = list(judged(math.exp2, argparse.Namespace(flights=4, step=1, jobs=1), kept))
    assert again == [0.0, 1.0, 4.0, 8.0]
    assert list(judged(math.exp2, argparse.Namespace(flights=0, step=1, jobs=1), kept)) == again


def test_every_third_flight_is_flown_alone() -> None:
    assert list(judged(math.exp2, argparse.Namespace(flights=7, step=3, jobs=1), None)) == [
        1,
        8,
        64,
    ]


def test_the_time_left_is_compared_with_that_without_the_plan() -> None:
    flights = [
        TimeLeft(("lipo",), 0.2, 0.3, 0.05, 0.1),
        TimeLeft(("lihv",), 0.4, 0.5, None, 0.1),
    ]
    rows = [row.split(" | ") for row in left_table(flights).splitlines()[2:]]
    assert rows[0] == ["| all", "2", "30", "40", "0.75", "5", "10", "0.50 |"]
    assert rows[1] == ["| lihv", "1", "40", "50", "0.80", "-", "-", "- |"]

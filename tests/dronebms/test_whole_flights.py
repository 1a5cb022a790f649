"""How good the answers are over whole flights: computed ones with a truth, and recorded ones.

The bounds are far from what was measured, so that nobody tunes to them: they say that the answer
is worth more than a count of milliamp-hours. Per cent of the time left, over the last 80 % of
each flight while 30 s remain.

| flight | median error | the naive count's | inside the interval |
|--------|--------------|-------------------|---------------------|
| F01    |         12 % |              26 % |               100 % |
| F13    |         54 % |             972 % |               100 % |
| F31    |         22 % |              30 % |                80 % |
| F32    |         17 % |              26 % |                98 % |
| F43    |        191 % |             264 % |                 0 % |

F43 is cold and loses its power with a third of its charge left, which nobody sees coming.
"""

import json
import math
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest

from dronebms.monitor import Report
from dronebms.predictions import EachSecond
from dronebms.replay import replay, reports
from dronebms.sidecar import FlightOptions
from tests.looks import sidecar_of

COMPUTED = sorted((Path(__file__).parents[1] / "data" / "flights").glob("*.csv.gz"))
LEAST_INSIDE = {"F01": 0.8, "F13": 0.8, "F31": 0.6, "F32": 0.8, "F43": 0.0}


@dataclass(frozen=True)
class Score:
    """One flight, judged."""

    ended_late_s: float
    error: float
    naive_error: float
    inside: float


def each_second(path: Path) -> list[Report]:
    due = EachSecond()
    every = reports(path, FlightOptions(), lambda _: None)
    return [report for report in every if due.due(report.t_s)]


def score(path: Path) -> Score:
    sidecar: dict[str, Any] = sidecar_of(path)
    end_s, takeoff_s = sidecar["truth"]["t_end_s"], sidecar["takeoff_s"]
    seen = each_second(path)
    start_mah = sidecar["capacity_mah"] * (seen[0].snapshot.soc_pct or 0.0) / 100.0
    errors, naive_errors, inside = [], [], []
    for report in seen:
        left, true_s = report.estimate, end_s - report.t_s
        if report.t_s < takeoff_s + 0.2 * (end_s - takeoff_s) or true_s < 30.0:
            continue
        assert left.remaining_s is not None
        assert left.remaining_low_s is not None
        assert left.remaining_high_s is not None
        assert left.used_mah is not None
        flown_s = report.t_s - takeoff_s
        naive_s = max(start_mah - left.used_mah, 0.0) * flown_s / left.used_mah
        errors.append(abs(left.remaining_s - true_s) / true_s)
        naive_errors.append(abs(naive_s - true_s) / true_s)
        inside.append(left.remaining_low_s <= true_s <= left.remaining_high_s)
    ended_s = next(r.t_s for r in seen if r.estimate.remaining_high_s == 0.0)
    return Score(ended_s - end_s, median(errors), median(naive_errors), fmean(inside))


@pytest.mark.parametrize("path", COMPUTED, ids=lambda path: path.name[:3])
def test_the_answer_is_worth_more_than_a_count_and_the_end_is_seen_when_it_comes(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = score(path)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{path.name[:3]}: median error {found.error:.0%} (a count {found.naive_error:.0%}), "
            f"inside the interval {found.inside:.0%}, the end seen {found.ended_late_s:+.1f} s\n"
        )
    assert -2.0 <= found.ended_late_s <= 2.0
    assert found.error < found.naive_error
    assert found.inside >= LEAST_INSIDE[path.name[:3]]


def test_the_ordinary_flights_are_answered_within_a_third() -> None:
    ordinary = [score(path).error for path in COMPUTED if path.name[:3] in {"F01", "F31", "F32"}]
    assert len(ordinary) == 3
    assert max(ordinary) < 0.35


# ---------------------------------------------------------------------- recorded flights


def test_every_recorded_flight_replays_with_a_sane_line_for_every_second(
    real_flights: tuple[Path, ...], tmp_path: Path
) -> None:
    for path in real_flights:
        out = tmp_path / "predictions.jsonl"
        summary = replay(path, reports(path, FlightOptions(), lambda _: None), str(out))
        assert summary[0].startswith(path.name)
        lines = [json.loads(line, parse_constant=not_json) for line in out.read_text().splitlines()]
        seconds = [math.floor(line["t_s"] - lines[0]["t_s"] + 1e-6) for line in lines]
        assert seconds[0] == 0
        # A sample that is late for several seconds stands for the last of them.
        assert {after - before for before, after in pairwise(seconds)} <= {1, 2}, path.name
        assert sum(line["soc_pct"] is not None for line in lines) > len(lines) / 2, path.name
        for line in lines:
            if line["remaining_s"] is not None:
                bounds_s = line["remaining_low_s"], line["remaining_s"], line["remaining_high_s"]
                assert [0.0, *bounds_s] == sorted([0.0, *bounds_s]), path.name


def not_json(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def test_a_full_pack_that_takes_off_is_shown_nearly_full(real_flights: tuple[Path, ...]) -> None:
    path = next(path for path in real_flights if path.name.startswith("dji_mavicpro"))
    shown = [report.estimate.soc_pct for report in each_second(path)[:10]]
    # Its gauge says 99 %; 4.16 V a cell of lihv, under 3 A, say less. Measured: 90.5 to 93.6.
    for soc_pct in shown:
        assert soc_pct == pytest.approx(99.0, abs=10.0)

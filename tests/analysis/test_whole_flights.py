# SPDX-License-Identifier: Apache-2.0
"""Error of the time to empty over whole flights: computed ones with a ground truth, recorded ones.

The limits are far from the measured values, so that they are no target for tuning: the estimate
must be better than counting milliampere-hours. Per cent of the true time to empty, over the last
80 % of each flight while 30 s remain; without pack memory from flight to flight.

| flight | median error | naive count       | inside the interval |
|--------|--------------|-------------------|---------------------|
| F01    |         16 % |              26 % |               100 % |
| F13    |         72 % |             972 % |               100 % |
| F31    |         23 % |              30 % |                95 % |
| F32    |         25 % |              26 % |               100 % |
| F43    |         18 % |             264 % |               100 % |

The constants of the estimator were fitted to these flights among others: docs/estimation.md.
"""

import json
import math
import sys
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest

from dronebms.analysis.replay import replay, reports
from dronebms.core.clock import OncePerSecond
from dronebms.core.report import Report
from dronebms.flightlogs import FlightOptions
from smartbattery.snapshot import Snapshot
from tests.snapshots import check_sane, flown, sidecar_of

COMPUTED = sorted((Path(__file__).parents[1] / "data" / "flights").glob("*.csv.gz"))
LEAST_INSIDE = {"F01": 0.8, "F13": 0.8, "F31": 0.8, "F32": 0.8, "F43": 0.8}


@dataclass(frozen=True)
class Score:
    """Errors of one flight."""

    ended_late_s: float
    error: float
    naive_error: float
    inside: float


@cache
def each_second(path: Path) -> tuple[Report, ...]:
    due = OncePerSecond()
    every = reports(path, FlightOptions(), lambda _: None)
    return tuple(report for report in every if due.due(report.t_s))


@cache
def score(path: Path) -> Score:
    sidecar: dict[str, Any] = sidecar_of(path)
    end_s, takeoff_s = sidecar["truth"]["t_end_s"], sidecar["takeoff_s"]
    seconds = each_second(path)
    start_mah = sidecar["capacity_mah"] * (seconds[0].snapshot.soc_pct or 0.0) / 100.0
    errors, naive_errors, inside = [], [], []
    for report in seconds:
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
    ended_s = next(r.t_s for r in seconds if r.estimate.remaining_high_s == 0.0)
    return Score(ended_s - end_s, median(errors), median(naive_errors), fmean(inside))


@pytest.mark.parametrize("path", COMPUTED, ids=lambda path: path.name[:3])
def test_the_estimate_is_better_than_a_count_and_the_cut_off_is_detected(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = score(path)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{path.name[:3]}: median error {found.error:.0%} (count {found.naive_error:.0%}), "
            f"inside the interval {found.inside:.0%}, cut-off found {found.ended_late_s:+.1f} s\n"
        )
    assert -2.0 <= found.ended_late_s <= 2.0
    assert found.error < found.naive_error
    assert found.inside >= LEAST_INSIDE[path.name[:3]]


def test_the_error_of_ordinary_flights_is_below_a_third() -> None:
    ordinary = [score(path).error for path in COMPUTED if path.name[:3] in {"F01", "F31", "F32"}]
    assert len(ordinary) == 3
    assert max(ordinary) < 0.35


# ---------------------------------------------------------------------- recorded flights


@pytest.mark.slow
def test_every_recorded_flight_replays_with_a_valid_line_every_second(
    real_flights: tuple[Path, ...], tmp_path: Path
) -> None:
    for path in real_flights:
        out = tmp_path / "predictions.jsonl"
        summary = replay(path, reports(path, FlightOptions(), lambda _: None), str(out))
        assert summary[0].startswith(path.name)
        lines = [json.loads(line, parse_constant=not_json) for line in out.read_text().splitlines()]
        seconds = [math.floor(line["t_s"] - lines[0]["t_s"] + 1e-6) for line in lines]
        assert seconds[0] == 0
        # After a gap of several seconds there is one line, for the last of them.
        assert {after - before for before, after in pairwise(seconds)} <= {1, 2}, path.name
        assert sum(line["soc_pct"] is not None for line in lines) > len(lines) / 2, path.name
        for line in lines:
            if line["remaining_s"] is not None:
                bounds_s = line["remaining_low_s"], line["remaining_s"], line["remaining_high_s"]
                assert [0.0, *bounds_s] == sorted([0.0, *bounds_s]), path.name


def not_json(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def test_a_full_pack_is_nearly_full_at_take_off(real_flights: tuple[Path, ...]) -> None:
    path = next(path for path in real_flights if path.name.startswith("dji_mavicpro"))
    soc = [report.estimate.soc_pct for report in each_second(path)[:10]]
    # The gauge reports 99 %; 4.16 V per LiHV cell at 3 A is less. Measured: 90.5 to 93.6.
    for soc_pct in soc:
        assert soc_pct == pytest.approx(99.0, abs=10.0)


# ---------------------------------------------------------------------- gaps, spikes, resolution


def mavic(real_flights: tuple[Path, ...]) -> Path:
    return next(path for path in real_flights if path.name.startswith("dji_mavicpro"))


def time_to_empty(reports_: list[Report]) -> dict[int, tuple[float, float, float]]:
    found = {}
    for report in reports_:
        check_sane(report.estimate)
        left = report.estimate
        if left.remaining_s is not None:
            assert left.remaining_low_s is not None
            assert left.remaining_high_s is not None
            bounds_s = left.remaining_low_s, left.remaining_s, left.remaining_high_s
            found[round(report.t_s)] = bounds_s
    return found


def test_a_leg_of_high_power_changes_the_time_to_empty_smoothly(
    real_flights: tuple[Path, ...],
) -> None:
    # For 200 s this flight draws twice its usual power.
    found = time_to_empty(flown(mavic(real_flights)))
    steps = [
        (found[t + 1][1] - found[t][1]) / (found[t][1] + 60.0)
        for t in sorted(found)
        if t + 1 in found and t > 60
    ]
    assert max(steps) < 0.15
    assert median(abs(step) for step in steps) < 0.01


SILENT_S = (12.0, 35.0)


@pytest.mark.slow
@pytest.mark.parametrize("silent_s", SILENT_S)
def test_after_a_gap_the_time_to_empty_is_as_without_it(
    silent_s: float, real_flights: tuple[Path, ...]
) -> None:
    def change(snapshot: Snapshot) -> Snapshot:
        if not 400.0 < snapshot.t_s < 400.0 + silent_s:
            return snapshot
        before_s = {name: min(t_s, 400.0) for name, t_s in snapshot.read_at_s.items()}
        return Snapshot(snapshot.t_s, cells_v=(None,) * 3, read_at_s=before_s)

    gap, calm = (
        time_to_empty(flown(mavic(real_flights), change)),
        time_to_empty(flown(mavic(real_flights))),
    )
    assert gap[460][1] == pytest.approx(calm[460][1], rel=0.15)
    assert gap[410][0] <= gap[400][0]
    assert gap[410][2] - gap[410][0] >= gap[400][2] - gap[400][0] - 1.0


@pytest.mark.slow
@pytest.mark.parametrize("spike_v", [0.0, 2.0, 30.0])
def test_a_spike_hardly_changes_the_time_to_empty(
    spike_v: float, real_flights: tuple[Path, ...]
) -> None:
    due_s = [400.0, 500.0]

    def change(snapshot: Snapshot) -> Snapshot:
        if not due_s or snapshot.t_s < due_s[0]:
            return snapshot
        due_s.pop(0)  # one sample
        return replace(snapshot, voltage_v=spike_v, cells_v=(spike_v / 3,) * 3)

    spiked, calm = (
        time_to_empty(flown(mavic(real_flights), change)),
        time_to_empty(flown(mavic(real_flights))),
    )
    for t in (402, 420, 502, 560):
        assert spiked[t][1] == pytest.approx(calm[t][1], rel=0.1)


@pytest.mark.slow
def test_a_pack_voltage_in_tenths_of_a_volt_suffices(real_flights: tuple[Path, ...]) -> None:
    def change(snapshot: Snapshot) -> Snapshot:
        volts = None if snapshot.voltage_v is None else round(snapshot.voltage_v, 1)
        return replace(snapshot, voltage_v=volts, cells_v=())

    coarse, fine = (
        time_to_empty(flown(mavic(real_flights), change)),
        time_to_empty(flown(mavic(real_flights))),
    )
    ratios = [coarse[t][1] / max(fine[t][1], 30.0) for t in fine if t in coarse and t > 120]
    assert 0.6 < median(ratios) < 1.7

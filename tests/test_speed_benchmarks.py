# SPDX-License-Identifier: Apache-2.0
"""The programs of `make bench` read what they print, and what those of the reference print."""

import mmap
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import cost, latency, service
from benchmarks.endurance import virtual_day
from benchmarks.endurance.samples import flatness, sample
from benchmarks.reference import ratios, spread

# Of one run of each program of the reference.
COST = """Intel(R) Xeon(R) Processor; Python 3.11.7, numpy 2.4.6, pymavlink 2.4.50
one poll, both sides of the wire        104.5 us   9.1 transfers with PEC
one estimate, mean at 10 Hz              97.0 us   forecast every 2 s; of real time 0.097 %
one judgement of all limits              57.2 us   0.057 % of real time
one BATTERY_STATUS frame                 16.2 us   pymavlink's pack alone: 4.7 us
virtual pack and gauge, one step         66.9 us   1494 x real time alone
simulated seconds per second: 583 through the bytes without the estimator, 203 with everything but

"""
SERVICE = """Intel(R) Xeon(R) Processor, 2 cores, load 0.5, Python 3.11.7
start to first frame                1.16 s   (cpu 0.52 s)
two packs at 10 Hz, alone           2.66 % of a core, 1.99 % of it the loop
20 viewers, 10 of them stuck        2.97 % of a core, 2.11 % of it the loop, 4.1 lines/s each
resident memory                     61.6 MiB, 38.1 of it not shared
"""


def test_the_costs_of_the_reference_are_read() -> None:
    found = cost.of_reference(COST)
    assert found[cost.POLL] == pytest.approx(37.6)
    assert found[cost.ESTIMATE] == 97.0
    assert found[cost.JUDGEMENT] == 57.2
    assert found[cost.STEP] == pytest.approx(1e5 / 203 - 66.9 + 16.2)
    with pytest.raises(ValueError, match="prints no"):
        cost.of_reference("Traceback")


def test_the_figures_of_both_services_are_read() -> None:
    found = service.figures_of(SERVICE)
    assert [*found.values()] == [1.16, 0.52, 2.66, 2.97, 61.6, 38.1]
    ours = SERVICE.replace("alone          ", "no viewers     ")
    assert service.figures_of(ours) == found


def test_a_figure_is_a_median_with_its_extremes_and_a_ratio_is_of_pairs() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2.0 (1.0-3.0)"
    assert ratios([3.0, 8.0], [2.0, 4.0]) == [1.5, 2.0]


def test_a_change_is_followed_from_the_gauge_to_the_frame(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = latency.measured(5.0, warm_up_s=1.0)
    assert len(found.idle_s) == 49  # its tenths of a second
    assert found.late_s
    assert len(found.changes_s) > 1  # one every 0.3 to 0.7 s
    assert all(reply_s >= 0.0 and frame_s in found.wire_s for reply_s, frame_s in found.changes_s)
    latency.show(found)
    rows = capsys.readouterr().out.splitlines()[2:]
    changes_s = [reply_s + frame_s for reply_s, frame_s in found.changes_s]
    shown = found.wire_s, changes_s, found.late_s, found.idle_s
    for row, seconds in zip(rows, shown, strict=True):
        median_ms, tail_ms, most_ms, number = map(float, row[44:].split())
        assert median_ms <= tail_ms <= most_ms == round(1e3 * max(seconds), 2)
        assert number == len(seconds)


def test_the_parts_of_a_step_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "STEP_S", 20.0)  # of a flight of minutes
    found = cost.measured()
    assert set(found) == set(cost.of_reference(COST))
    assert found[cost.ESTIMATE] > 0.0
    assert found[cost.PACK] > 0.0


def counts_of(rounds: int, number: Callable[[int, int], int]) -> list[dict[str, int]]:
    """Counts of a type in each phase of some rounds, and of a type of the rig that grows."""
    return [
        {"x.Reading": number(one, phase), "benchmarks.Sample": 1000 * one}
        for one in range(rounds)
        for phase in range(12)
    ]


def test_objects_that_depend_on_the_phase_of_a_flight_are_no_growth() -> None:
    assert virtual_day.grown(counts_of(16, lambda _, phase: 100 * phase)) == []
    # Garbage, which is searched in some of the rounds.
    assert virtual_day.grown(counts_of(16, lambda one, _: 100 + 500 * (one % 2))) == []


def test_objects_that_become_more_in_each_round_are_growth() -> None:
    found = virtual_day.grown(counts_of(16, lambda one, phase: 100 * phase + 10 * one))
    assert found == [("x.Reading", 550 + 80, 550 + 120)]


def test_objects_of_too_short_a_time_are_not_compared() -> None:
    assert virtual_day.grown(counts_of(6, lambda one, _: 1000 * one)) is None


def test_pages_of_a_file_are_no_anonymous_memory(tmp_path: Path) -> None:
    mib = 8
    (tmp_path / "library").write_bytes(bytes(mib << 20))
    before = sample(os.getpid(), 0.0)
    with (
        (tmp_path / "library").open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages,
    ):
        assert sum(pages[:: mmap.PAGESIZE]) == 0  # touched
        after = sample(os.getpid(), 1.0)
    assert after.rss - before.rss >= mib - 1
    assert after.anonymous - before.anonymous < 1.0
    assert 0.0 < after.anonymous <= after.rss


@pytest.mark.parametrize(("mib_h", "holds"), [(0.0, True), (0.4, True), (0.6, False)])
def test_memory_is_flat_below_half_a_mib_an_hour(mib_h: float, *, holds: bool) -> None:
    first = sample(os.getpid(), 0.0)
    samples = [
        replace(first, t_s=t_s, anonymous=first.anonymous + mib_h * t_s / 3600.0)
        for t_s in map(float, range(0, 3600, 60))
    ]
    rows = {row.name: row.holds for row in flatness("service", samples, 600.0)}
    assert rows == {
        "service: rss": True,
        "service: anonymous": holds,
        "service: threads": True,
        "service: descriptors": True,
    }

# SPDX-License-Identifier: Apache-2.0
"""The first minutes of load: no absurd median, and none that hides a collapsing cell."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.estimate import Ours, without_gauge
from benchmarks.scoring import FIRST_S, SETTLE_S, Judged, read_judged, run, score
from dronebms.core.chemistry import LIPO
from dronebms.estimation.cell.cell_fit import CellFit
from dronebms.estimation.cell.cell_model import CellModel
from dronebms.estimation.first_minutes import LogTime, charge_time, with_charge_time
from dronebms.estimation.load_forecast import LoadAhead

UNSURE = 60.0, 150.0, 600.0
SURE = 950.0, 1000.0, 1050.0
BY_CHARGE = LogTime(math.log(700.0), 0.35)
SETTLED_S = 500.0


def judged_flights(paths: tuple[Path, ...]) -> list[Judged]:
    return [judged for path in paths if (judged := read_judged(path)) is not None]


@pytest.mark.parametrize("gauge", [True, False], ids=["gauge", "no gauge"])
def test_no_first_answer_is_off_by_a_factor_of_three(
    computed_flights: tuple[Path, ...], *, gauge: bool
) -> None:
    flights = judged_flights(computed_flights)
    assert len(flights) == 4
    for judged in flights:
        looks = [look for look in judged.looks if look.t_s <= judged.takeoff_s + SETTLE_S + 15.0]
        first = replace(
            judged, looks=tuple(look if gauge else without_gauge(look) for look in looks)
        )
        rows, _ = run(first, Ours(first, None), lambda: 0.0, FIRST_S)
        assert len(rows) > SETTLE_S - FIRST_S
        assert not np.isnan(rows).any()
        assert score(first, rows, 0.0).absurd == 0.0, judged.flight.name


def test_an_absurd_answer_is_counted_from_ten_seconds_on(
    computed_flights: tuple[Path, ...],
) -> None:
    judged = judged_flights(computed_flights)[0]
    t_s = judged.takeoff_s + np.arange(FIRST_S, 200.0)
    true_s = judged.end_s - t_s
    rows = np.column_stack([t_s, true_s, 0.5 * true_s, true_s, 2.0 * true_s])
    assert score(judged, rows, 0.0).absurd == 0.0
    rows[:10, 3] *= 3.1
    rows[100:120, 3] /= 3.1
    found = score(judged, rows, 0.0)
    assert found.absurd_first == pytest.approx(10 / 50)
    assert found.absurd == pytest.approx(30 / 190)
    assert found.answered == 1.0


def test_while_the_fit_is_unsure_the_charge_moves_the_median_and_not_the_lower_bound() -> None:
    low_s, median_s, high_s = with_charge_time(UNSURE, BY_CHARGE, loaded_s=20.0)
    assert low_s == UNSURE[0]
    assert 350.0 < median_s < 700.0
    assert high_s >= UNSURE[2]


def test_a_median_that_the_charge_lowers_stays_inside_of_the_interval() -> None:
    long = LogTime(math.log(100.0), 0.05)
    low_s, median_s, high_s = with_charge_time((500.0, 700.0, 1500.0), long, loaded_s=20.0)
    assert low_s == median_s < 200.0
    assert high_s == 1500.0


def test_a_sure_fit_and_a_settled_one_stay_as_they_are() -> None:
    _, median_s, _ = with_charge_time(SURE, BY_CHARGE, loaded_s=20.0)
    assert median_s == pytest.approx(SURE[1], rel=0.02)
    assert with_charge_time(UNSURE, BY_CHARGE, SETTLED_S) == UNSURE
    moved = [with_charge_time(UNSURE, BY_CHARGE, loaded_s)[1] for loaded_s in (90, 120, 180, 300)]
    assert moved == sorted(moved, reverse=True)


def test_a_cell_whose_voltage_is_near_the_cut_off_is_not_judged_by_its_charge() -> None:
    fit = CellFit(CellModel(LIPO, 10.0, rated=True))
    fit.start(4.1, 0.1, 0.9)
    load = LoadAhead(600.0, 0.1, 0.05, least_w=600.0, most_w=600.0)
    sds = [charge_time(fit.estimate(), v, 3.3, load, 6).sd for v in (3.9, 3.6, 3.45, 3.35, 3.3)]
    assert sds[0] < 0.4
    assert sds == sorted(sds)
    assert sds[3] > 2.0
    near = charge_time(fit.estimate(), 3.35, 3.3, load, 6)
    assert with_charge_time(UNSURE, near, 20.0)[1] == pytest.approx(UNSURE[1], rel=0.05)


def test_more_power_is_less_time() -> None:
    fit = CellFit(CellModel(LIPO, 10.0, rated=True))
    fit.start(4.1, 0.1, 0.9)
    times = [
        charge_time(fit.estimate(), 3.8, 3.3, LoadAhead(watts, 0.1, 0.05, watts, watts), 6).ln_s
        for watts in (200.0, 400.0, 800.0)
    ]
    assert np.diff(times) == pytest.approx(-math.log(2.0), abs=1e-6)

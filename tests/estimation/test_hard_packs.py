# SPDX-License-Identifier: Apache-2.0
"""Packs that fail: a weak cell, lost parallel cells, a worn pack. Flown by the simulated plant."""

import numpy as np
import pytest

from benchmarks.hard_packs import WORN_LEARNED, Flight, flown, judged, world_of
from dronebms.core.report import CellState, Estimate
from dronebms.estimation.cell.cell_model import CAPACITY, FAST, SIZE, SLOW
from dronebms.estimation.cell.cell_parameters import CellParameters
from dronebms.estimation.cell.lost_cells import SPAN, Residual, lost_cells
from dronebms.estimation.estimator import Estimator

SEED = 201  # of no figure in the documentation


def estimates(flight: Flight) -> dict[int, Estimate]:
    """Estimate at each second."""
    estimator = Estimator(flight.pack_data)
    return {round(look.t_s): estimator.update(look) for look in flight.looks}


@pytest.fixture(scope="module")
def weak() -> Flight:
    return flown(world_of("weak_cell", SEED, vary=False))


@pytest.fixture(scope="module")
def lost() -> Flight:
    return flown(world_of("lost_string", SEED, vary=False))


def test_a_cell_that_holds_60_percent_shortens_the_time_from_a_third_of_the_flight_on(
    weak: Flight,
) -> None:
    result = judged(weak)
    assert result.error < 0.35
    assert result.holds > 0.85


def capacity(cell: CellState) -> tuple[float, float]:
    assert cell.capacity_mah is not None
    assert cell.capacity_sd_mah is not None
    return cell.capacity_mah, cell.capacity_sd_mah


def test_a_cell_that_lost_a_third_is_reported_as_having_lost_capacity(weak: Flight) -> None:
    true_mah = 16000.0 * 0.96
    cells = estimates(weak)[600].state.cells
    (mah, sd_mah), others = capacity(cells[2]), [capacity(cells[k]) for k in (0, 1, 3, 4, 5)]
    assert abs(mah - 0.6 * true_mah) < 2.0 * sd_mah
    for other_mah, other_sd_mah in others:
        assert abs(other_mah - true_mah) < 2.0 * other_sd_mah
        assert mah < 0.8 * other_mah


def test_a_lost_string_shortens_the_time_within_15_seconds(lost: Flight) -> None:
    at = estimates(lost)
    before, after = at[299].remaining_s, at[315].remaining_s
    assert before is not None
    assert after is not None
    assert after < 1.1 * (lost.end_s - 315)
    assert after < before / 2
    assert judged(lost).error < 0.7


@pytest.mark.parametrize("seed", [SEED, SEED + 8])  # 62 and 48 % of the capacity are left
def test_a_worn_pack_is_one_when_its_gauge_reports_what_is_left_of_it(seed: int) -> None:
    result = judged(flown(world_of(WORN_LEARNED, seed, vary=False)))
    assert result.error < 0.35
    assert result.holds > 0.85
    assert abs(result.charge_high) < 0.1


def residuals(
    fall_v: float = 0.0, at: int = 9, ohmic_v: float = 0.06, alone: float = 0.0
) -> list[Residual]:
    """Residuals of a second each, with a fall of the voltage at one of them."""
    rng = np.random.default_rng(1)
    noise_v = rng.normal(0.0, 0.001, SPAN)
    return [
        Residual(noise_v[k] - fall_v * (k >= at), ohmic_v, alone * fall_v * (k >= at))
        for k in range(SPAN)
    ]


def test_a_fall_that_lasts_is_a_loss_of_parallel_cells() -> None:
    loss = lost_cells(residuals(0.03))
    assert loss is not None
    assert loss.growth == pytest.approx(0.5, abs=0.05)
    assert not loss.alone
    single = lost_cells(residuals(0.03, alone=1.0))
    assert single is not None
    assert single.alone


@pytest.mark.parametrize(
    "recent",
    [
        residuals(),
        residuals(0.03)[:-1],
        residuals(-0.05),
        residuals(0.03, at=3),
        residuals(0.03, at=14),
        [Residual(-0.005 * k, 0.06, 0.0) for k in range(SPAN)],
        [Residual(-0.03 * (k >= 9), 0.06 + 0.06 * (k >= 9), 0.0) for k in range(SPAN)],
        [Residual(-0.03 * (k % 2), 0.06, 0.0) for k in range(SPAN)],
    ],
    ids=["noise", "few", "rise", "early", "late", "slope", "step of the current", "gusts"],
)
def test_what_a_circuit_or_a_load_explains_is_no_loss_of_cells(recent: list[Residual]) -> None:
    assert lost_cells(recent) is None


def test_a_sister_pack_does_not_inherit_a_weak_cell() -> None:
    mean = np.zeros(SIZE - FAST)
    mean[[0, SLOW - FAST, CAPACITY - FAST]] = 0.8, 0.7, -0.6
    covariance = tuple(map(tuple, np.eye(SIZE - FAST).tolist()))
    cells = CellParameters(tuple(mean.tolist()), covariance, loss=0.5, growth=0.2)
    usual = cells.of_median()
    assert usual.mean[CAPACITY - FAST] == pytest.approx(-0.1)
    assert usual.mean[:2] == pytest.approx((0.1, 0.0))
    assert (usual.loss, usual.growth) == (0.0, 0.0)

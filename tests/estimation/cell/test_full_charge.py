# SPDX-License-Identifier: Apache-2.0
"""What a reported full charge adds to the capacity, against the mixture summed on a grid."""

import math

import numpy as np
import pytest

from dronebms.estimation.cell.full_charge import added_by_full_charge
from dronebms.estimation.gauge_fusion import initial_log_odds
from dronebms.estimation.model_parameters import FITTED

PRIOR, VARIANCE = FITTED.mean_capacity, FITTED.sd_capacity**2


def posterior(
    reported: float, prior: float = PRIOR, variance: float = VARIANCE
) -> tuple[float, float]:
    """(Mean, standard deviation) of the capacity with what the full charge adds."""
    pull, known = added_by_full_charge(prior, variance, reported, FITTED)
    information = 1 / variance + known
    return (prior / variance + pull) / information, information**-0.5


def normal(x: np.ndarray, mean: float, sd: float) -> np.ndarray:
    return np.exp(-(((x - mean) / sd) ** 2) / 2) / sd


@pytest.mark.parametrize("reported", [0.1, 0.0, -0.2, -0.51, -0.8])
@pytest.mark.parametrize(("prior", "variance"), [(PRIOR, VARIANCE), (-0.15, 0.005)])
def test_the_posterior_is_that_of_sound_and_worn_packs(
    reported: float, prior: float, variance: float
) -> None:
    c = FITTED
    ln = np.linspace(-3.0, 2.0, 20_001)
    worn = normal(ln, prior + c.worn_capacity, c.sd_worn) * normal(ln, reported, c.sd_worn_full)
    sound = normal(ln, prior, math.sqrt(variance)) * normal(ln, reported, c.sd_full)
    density = (1 - c.worn_frac) * sound + c.worn_frac * worn
    density /= density.sum()
    mean = density @ ln
    sd = math.sqrt(density @ (ln - mean) ** 2)
    assert posterior(reported, prior, variance) == pytest.approx((mean, sd), abs=1e-4)


def test_a_full_charge_as_rated_hardly_changes_the_capacity() -> None:
    mean, sd = posterior(-0.05)
    assert mean == pytest.approx(PRIOR, abs=0.01)
    assert sd == pytest.approx(FITTED.sd_capacity, rel=0.1)


def test_a_full_charge_of_60_percent_leaves_a_worn_pack_within_two_deviations() -> None:
    mean, sd = posterior(math.log(0.6))
    assert abs(math.log(0.6) - mean) < 2.0 * sd
    assert abs(PRIOR - mean) < 2.0 * sd  # a load-compensated gauge reports as much in the cold
    assert sd > FITTED.sd_capacity


def test_no_full_charge_makes_the_capacity_less_certain_than_anything() -> None:
    for reported in np.linspace(-3.0, 1.0, 81):
        _, sd = posterior(float(reported))
        assert 0.0 < sd < 0.5


def test_a_small_full_charge_is_a_worn_pack_or_a_compensated_gauge() -> None:
    """A counter is the usual gauge, so that the flight decides which of both it is."""
    assert initial_log_odds(1.0, FITTED) < -2.0
    for full_frac in (0.4, 0.5, 0.6):
        assert -2.0 < initial_log_odds(full_frac, FITTED) < 1.0
    assert initial_log_odds(1e-6, FITTED) == -4.0

# SPDX-License-Identifier: Apache-2.0
"""What the full charge capacity that a gauge reports adds to what is known of the capacity.

Capacities are natural logarithms relative to the rated one.
"""

import math

import numpy as np

from dronebms.estimation.cell.cell_model import CAPACITY, CellModel
from dronebms.estimation.cell.least_squares import Prior
from dronebms.estimation.model_parameters import ModelParameters

_GATE = 9.0  # squared deviation in variances; a full charge further off is not this pack's


def full_charge_information(full_ah: float, model: CellModel, prior: Prior) -> tuple[float, float]:
    """(Information times value, information) on the capacity by a gauge's full charge."""
    c = model.parameters
    before = float(prior.x[CAPACITY])
    reported = math.log(full_ah * 3600.0 / model.capacity_as)
    limit = _GATE * (c.sd_full**2 + model.covariance[CAPACITY, CAPACITY])
    if (reported - before) ** 2 > limit:
        return 0.0, 0.0
    variance = float(np.linalg.inv(prior.information)[CAPACITY, CAPACITY])
    return added_by_full_charge(before, variance, reported, c)


def added_by_full_charge(
    prior: float, variance: float, reported: float, c: ModelParameters
) -> tuple[float, float]:
    """(Information times value, information) that turns the prior into the posterior.

    Either the pack is sound, and its full charge is far off on many gauges (a load-compensated one
    reports less than the cells hold), or it is worn and its gauge has learned that. The posterior
    is a mixture of the two; it is kept as the normal distribution of its mean and variance. That
    can be wider than the prior: what is added is negative then, but never as much as the prior's.

    Args:
        prior: capacity before.
        variance: of it.
        reported: full charge.
        c: parameters.
    """
    parts = []
    for share, middle, own, error in (
        (1 - c.worn_frac, prior, variance, c.sd_full**2),
        (c.worn_frac, prior + c.worn_capacity, c.sd_worn**2, c.sd_worn_full**2),
    ):
        total = own + error
        likely = share * math.exp(-((reported - middle) ** 2) / total / 2) / math.sqrt(total)
        parts.append((likely, middle + own / total * (reported - middle), own * error / total))
    whole = sum(likely for likely, _, _ in parts)
    mean = sum(likely * value for likely, value, _ in parts) / whole
    spread = sum(likely * (own + (value - mean) ** 2) for likely, value, own in parts) / whole
    return mean / spread - prior / variance, 1 / spread - 1 / variance

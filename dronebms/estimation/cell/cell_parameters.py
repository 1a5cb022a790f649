# SPDX-License-Identifier: Apache-2.0
"""What is kept of a pack's weakest cell from flight to flight, and how it is carried over.

Charge is none of it; ln of ratios to the chemistry's row, volts of the curve.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dronebms.estimation.cell.cell_model import (
    ACTIVATION,
    CAPACITY,
    DEPTH,
    FAST,
    KNOTS,
    OFFSET,
    SIZE,
    SLOW,
    Array,
    knots_covariance,
)
from dronebms.estimation.model_parameters import ModelParameters

_SD_RESISTANCE = 0.1  # ln; of a flight's resistance, apart from the temperature

Vector = tuple[float, ...]
Matrix = tuple[Vector, ...]  # by row


def matrix(array: Array) -> Matrix:
    """An array as rows of numbers."""
    return tuple(map(tuple, array.tolist()))


def relative(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Points relative to their mean."""
    if not points:
        return ()
    table = np.array(points)
    return tuple([(float(x), float(y)) for x, y in table - table.mean(axis=0)])


@dataclass(frozen=True, slots=True)
class CellParameters:
    """Parameters of a pack's weakest cell without its charge: state vector from FAST on."""

    mean: Vector
    covariance: Matrix
    # Of the newest flights: `inverse_temperature`, ln of the resistance scale at it. Stored states
    # and files have the names of both fields.
    warm: tuple[tuple[float, float], ...] = ()
    # The same of sister packs, each relative to the mean of its pack: they differ in resistance.
    sister_warm: tuple[tuple[float, float], ...] = ()
    loss: float = 0.0  # ln of the median cell's capacity over the weakest one's
    growth: float = 0.0  # ln of the same of the resistance, beyond the loss

    def activation(self, sd: float) -> tuple[float, float]:
        """(Mean, variance) of the resistance's dependence on temperature, by all flights.

        Within a flight the temperature rises while the charge falls, so that a fit takes the one
        for the other. Between flights at different temperatures it does not.

        Args:
            sd: of the prior, whose mean is 0.
        """
        points = (*relative(self.warm), *self.sister_warm) or ((0.0, 0.0),)
        apart, logs = np.array(points).T
        information = float(apart @ apart) / _SD_RESISTANCE**2 + 1.0 / sd**2
        return float(apart @ logs) / _SD_RESISTANCE**2 / information, 1.0 / information

    def of_median(self) -> "CellParameters":
        """The same of the median cell: a cell that failed is that pack's alone."""
        mean = list(self.mean)
        mean[CAPACITY - FAST] += self.loss
        mean[0] -= self.loss + self.growth
        mean[SLOW - FAST] -= self.loss + self.growth
        return replace(self, mean=tuple(mean), loss=0.0, growth=0.0)

    def carried_over(self, sds: Array, sds_v: Array, c: ModelParameters) -> tuple[Array, Array]:
        """(Mean, covariance) of a later flight, or of another pack: widened, packs differ.

        The resistance is known at the temperature of the last flight, and less the farther away.

        Args:
            sds: added to those of FAST, SLOW, CAPACITY, DEPTH and ACTIVATION.
            sds_v: added to those of the knots.
            c: prior of the cell.
        """
        # of the elements from FAST on
        first = OFFSET - FAST
        last = KNOTS - FAST
        x = np.array(self.mean)
        covariance = np.array(self.covariance)
        covariance[:first, :first] += np.diag(np.square(sds))
        covariance[last:, last:] += knots_covariance(sds_v, c.knots_length)
        if not self.warm:
            return x, covariance
        inverse_kk, _ = self.warm[-1]
        along = np.zeros(SIZE)
        along[[FAST, SLOW, DEPTH, ACTIVATION]] = (
            -inverse_kk,
            -inverse_kk,
            -inverse_kk * c.depth_exponent,
            1.0,
        )
        along = along[FAST:]
        mean, variance = self.activation(c.sd_activation_kk)
        now = float(covariance[ACTIVATION - FAST, ACTIVATION - FAST])
        x += along * (mean - x[ACTIVATION - FAST])
        covariance += np.outer(along, along) * max(variance - now, 0.0)
        return x, covariance

# SPDX-License-Identifier: Apache-2.0
"""The charge at the start of a flight: by a cell's voltage at rest, and by what a gauge reports.

The curve rises with the charge, so that a voltage at rest is a charge, as far as the curve is
known. A gauge that reports another charge counts the less, the more the voltage contradicts it.
Charge is a fraction; volts and amperes of one cell.
"""

import math
from dataclasses import dataclass

import numpy as np

from dronebms.estimation.cell.cell_model import FAST, KNOTS, Array, CellModel

# standard deviations, see `RestVoltage.strain`
STRAINED = 2.0
REFUTED = 12.0**0.5
GAUGE_TOLERANCE = 0.05  # of a gauge's charge at rest
_GRID = np.linspace(0.0, 1.0, 41)
_SD_CURVE = 0.01  # of the charge by voltage, where the curve is known best
_SD_FULL = 0.02  # of the charge of a cell above its curve


@dataclass(frozen=True, slots=True)
class StartCharge:
    """State of charge at the start of a flight."""

    charge: float
    variance: float


@dataclass(frozen=True, slots=True, eq=False)
class RestVoltage:
    """A cell's voltage without its expected sag, against its open-circuit curve."""

    rest_v: float
    curve_v: Array  # open-circuit voltage over `_GRID`
    sds_v: Array  # standard deviation of the difference

    def is_foreign(self, full_v: float) -> bool:
        """Whether it is above the full voltage of any cell of this chemistry."""
        return bool(self.rest_v > full_v + REFUTED * self.sds_v[-1])

    def strain(self, charge_frac: float) -> float:
        """Standard deviations by which the voltage contradicts a charge.

        The curve rises with the charge: a cell of at least that charge is above every lower point
        of it, whatever its own curve is like, and the other way round.
        """
        off = (self.curve_v - self.rest_v) / self.sds_v
        less = off[charge_frac - GAUGE_TOLERANCE >= _GRID]
        more = -off[charge_frac + GAUGE_TOLERANCE <= _GRID]
        return max(0.0, float(less.max(initial=0.0)), float(more.max(initial=0.0)))

    def charge(self) -> StartCharge:
        """The charge by the voltage alone."""
        log_likelihood = -(((self.rest_v - self.curve_v) / self.sds_v) ** 2) / 2 - np.log(
            self.sds_v
        )
        share = np.exp(log_likelihood - log_likelihood.max())
        share /= share.sum()
        charge = float(share @ _GRID)
        variance = float(share @ (_GRID - charge) ** 2) + _SD_CURVE**2
        if self.rest_v > self.curve_v[-1]:
            return StartCharge(1.0, max(variance, _SD_FULL**2))
        return StartCharge(charge, variance)


def at_rest(
    model: CellModel,
    x: Array,
    covariance: Array,
    inverse_kk: float,
    *,
    cell_v: float,
    current_a: float,
) -> RestVoltage:
    """The voltage at rest of a reading under a load that has just begun.

    Args:
        model: of the cell.
        x: state vector, (SIZE,).
        covariance: of it, (SIZE, SIZE).
        inverse_kk: temperature, as `inverse_temperature` gives it.
        cell_v: of the reading.
        current_a: positive while discharging.
    """
    c = model.parameters
    sag_v = current_a * (model.ohms[0] + model.ohms[1])
    sag_v *= model.arrhenius_factor(x, inverse_kk)
    sag_v *= math.exp(x[FAST])
    curve_v, _, knot_weights = model.open(_GRID, x[KNOTS:])
    variance = np.einsum("ij,jk,ik->i", knot_weights, covariance[KNOTS:, KNOTS:], knot_weights)
    variance += c.sd_rest_v**2 + (c.sd_fast * sag_v) ** 2
    return RestVoltage(cell_v + sag_v, curve_v, np.sqrt(variance))


def start_charge(rest: RestVoltage, gauge_frac: float | None, sd_gauge: float) -> StartCharge:
    """The charge by the voltage, and by the gauge as far as the voltage allows it.

    At rest a gauge is usually right within a few per cent; some are far off.

    Args:
        rest: voltage at rest.
        gauge_frac: charge that the gauge reports, None when it does not count.
        sd_gauge: of a gauge that is right.
    """
    start = rest.charge()
    strain = 0.0 if gauge_frac is None else rest.strain(gauge_frac)
    if gauge_frac is None or strain >= REFUTED:
        return start
    off = gauge_frac - start.charge
    doubt = max(strain**2 - STRAINED**2, 0.0) / (REFUTED**2 - strain**2)
    weight = start.variance / (start.variance + sd_gauge**2 + doubt * off**2)
    return StartCharge(start.charge + weight * off, start.variance * (1 - weight))

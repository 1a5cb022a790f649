# SPDX-License-Identifier: Apache-2.0
"""Median of the time to empty in the first minutes of load: the charge that is there decides.

The first readings under load determine the circuit's resistance alone, and an extrapolation of it
to the end of discharge is off by up to a factor of ten and more. The charge at the expected power
is not: of computed flights from -5 to 40 degC, whether they end at 5 or at 47 % of the charge, the
time to empty is 0.4 to 1.8 times that of the charge above `_LEFT_FRAC`, unless the cell's voltage
under load is already near the cut-off. Both are combined as normal distributions of the logarithm,
and the charge fades from `_FULL_S` on. Volts, ampere-seconds and watts as in `time_bounds`.
"""

import math
from typing import NamedTuple

from dronebms.estimation.cell.cell_estimate import CellEstimate
from dronebms.estimation.cell.cell_model import CAPACITY, CHARGE
from dronebms.estimation.load_forecast import LoadAhead
from dronebms.estimation.time_bounds import open_voltage

_LEFT_FRAC = 0.12  # of the capacity, at a usual end
_LEAST_FRAC = 0.02
_SD = 0.35  # ln, of the time that the charge gives
# Share of the way from the open-circuit voltage down to the cut-off that is left under load: below
# it the end is by voltage, soon or late, and the charge does not decide.
_MARGIN_SHARE = 0.5
_MARGIN_POWER = 3
_LEAST_SHARE = 0.05
_FULL_S = 60.0
_FADE_TAU_S = 30.0
_LEAST_WEIGHT = 0.01
_LEAST_SD = 0.02
_LEAST_S = 1.0
_LEAST_SAG_V = 0.02
_Z_90 = 1.645


class LogTime(NamedTuple):
    """A time as a normal distribution of its logarithm."""

    ln_s: float
    sd: float


def charge_time(
    cell: CellEstimate, cell_v: float, cutoff_v: float, load: LoadAhead, cells: int
) -> LogTime:
    """Time that the cell's charge gives at the expected power."""
    charge = float(cell.x[CHARGE])
    usable = max(charge - _LEFT_FRAC, _LEAST_FRAC)
    capacity_as = cell.model.capacity_as * math.exp(float(cell.x[CAPACITY]))
    time_s = usable * capacity_as * (cell_v + cutoff_v) / 2.0 * cells / load.power_w
    margin_v = max(cell_v - cutoff_v, 0.0)
    sag_v = max(open_voltage(cell, charge) - cell_v, _LEAST_SAG_V)
    share = max(margin_v / (margin_v + sag_v), _LEAST_SHARE)
    sd = _SD * max(_MARGIN_SHARE / share, 1.0) ** _MARGIN_POWER
    sd_charge = math.sqrt(max(float(cell.variance[CHARGE]), 0.0)) / usable
    sd_capacity = math.sqrt(max(float(cell.variance[CAPACITY]), 0.0))
    return LogTime(math.log(max(time_s, _LEAST_S)), math.hypot(sd, sd_charge, sd_capacity))


def charge_weight(loaded_s: float) -> float:
    """How much the time that the charge gives counts, some seconds after the load; 0..1."""
    return math.exp(-max(loaded_s - _FULL_S, 0.0) / _FADE_TAU_S)


def with_charge_time(
    times_s: tuple[float, float, float], charge: LogTime, loaded_s: float
) -> tuple[float, float, float]:
    """(5 %, median, 95 %) after the time that the charge gives is taken in.

    The bounds stay, but where the new median is outside of them.
    """
    low_s, median_s, high_s = times_s
    weight = charge_weight(loaded_s)
    if weight < _LEAST_WEIGHT:
        return times_s
    logs = [math.log(max(s, _LEAST_S)) for s in times_s]
    sd = max((logs[2] - logs[0]) / 2.0 / _Z_90, _LEAST_SD)
    fitted = 1.0 / sd**2
    known = weight / charge.sd**2
    both = fitted + known
    ln_s = (fitted * logs[1] + known * charge.ln_s) / both
    most_s = math.exp(ln_s + _Z_90 / math.sqrt(both))
    median_s = math.exp(ln_s)
    return min(low_s, median_s), median_s, max(high_s, most_s if ln_s > logs[1] else median_s)

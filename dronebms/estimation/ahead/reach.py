# SPDX-License-Identifier: Apache-2.0
"""What a flight ahead takes of the pack: energy that is there, charge that it costs, the verdict.

Joules at the pack's terminals, ampere-seconds, relative standard deviations.
"""

import math
from dataclasses import dataclass

from dronebms.core.report import Verdict
from dronebms.estimation.cell.cell_estimate import CellEstimate
from dronebms.estimation.cell.cell_model import CAPACITY, CHARGE, CURVE_FROM, CURVE_STEPS
from dronebms.estimation.load_forecast import LoadAhead
from dronebms.estimation.time_to_empty import RemainingTime

LANDING_RESERVE_FRAC = 0.02  # of the pack's charge, that a landing is to leave by the median
Z_90 = 1.6449  # standard deviations of a 5 % bound
_LEAST_SD = 0.02
_BETTER_S = 15.0  # less than a limit of them needs to clear
_LEAST_V = 1.0
_ROUNDS = 2  # the charge depends on the mean voltage, and that on the charge
_UNBOUNDED_SD = 20.0


@dataclass(frozen=True, slots=True)
class Available:
    """Energy of the pack until the end of discharge."""

    median_j: float
    low_sd: float  # of its logarithm, below the median
    high_sd: float

    def bounds_j(self, need_sd: float) -> tuple[float, float]:
        """5 % and 95 % bounds for a need whose energy is uncertain too."""
        low_sd = math.hypot(self.low_sd, need_sd)
        high_sd = math.hypot(self.high_sd, need_sd)
        low_j = self.median_j * math.exp(-Z_90 * low_sd)
        return low_j, self.median_j * math.exp(Z_90 * min(high_sd, _UNBOUNDED_SD))


def available(remaining: RemainingTime, load: LoadAhead) -> Available | None:
    """Energy by the remaining time: its doubt is that of the time without that of the load."""
    if remaining.power_w <= 0.0:
        return None

    def sd(share: float) -> float:
        whole = _UNBOUNDED_SD if share <= 0.0 else abs(math.log(share)) / Z_90
        return math.sqrt(max(whole**2 - load.power_sd**2, _LEAST_SD**2))

    median_j = remaining.median_s * remaining.power_w
    if median_j <= 0.0:
        return Available(0.0, _LEAST_SD, _LEAST_SD)
    low_sd = sd(remaining.low_s / remaining.median_s)
    return Available(median_j, low_sd, sd(remaining.median_s / remaining.high_s))


def charge_as(cell: CellEstimate, cells: int, need_j: float, power_w: float) -> float:
    """Charge that an energy costs at a power, from the present charge of the cell on."""
    capacity_as = cell.model.capacity_as * math.exp(float(cell.x[CAPACITY]))
    charge = float(cell.x[CHARGE])
    used_as = 0.0
    for _ in range(_ROUNDS):
        open_v = _mean_v(cell, charge - used_as / capacity_as, charge)
        ohms = cell.circuit(power_w / cells / open_v).ohms
        loaded_v = max(open_v - sum(ohms) * power_w / cells / open_v, _LEAST_V)
        used_as = need_j / cells / loaded_v
    return used_as


def _mean_v(cell: CellEstimate, low: float, high: float) -> float:
    """Mean open-circuit voltage between two charges."""
    first, last = (_place(cell, charge) for charge in (low, high))
    part = cell.table_v[first : last + 1]
    return max(sum(part) / len(part), _LEAST_V)


def _place(cell: CellEstimate, charge: float) -> int:
    place = round((charge - CURVE_FROM) * CURVE_STEPS)
    return min(max(place, 0), len(cell.table_v) - 1)


def verdict(low_s: float, margin_s: float, before: Verdict = Verdict.UNKNOWN) -> Verdict:
    """The one answer of two bounds: time that is left after the landing.

    Args:
        low_s: 5 % bound.
        margin_s: median, less the landing reserve.
        before: the last answer; a better one needs some seconds more.
    """
    if margin_s <= (_BETTER_S if before is Verdict.NO else 0.0):
        return Verdict.NO
    was_bad = before in (Verdict.NO, Verdict.MARGINAL)
    return Verdict.MARGINAL if low_s <= (_BETTER_S if was_bad else 0.0) else Verdict.YES

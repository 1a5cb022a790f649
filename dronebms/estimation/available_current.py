# SPDX-License-Identifier: Apache-2.0
"""Available current (state of power) of the weakest cell.

Volts and amperes of one cell, seconds.
"""

import math

from dronebms.estimation.cell.cell_estimate import CellEstimate
from dronebms.estimation.cell.cell_model import FAST, OFFSET, CircuitState


def max_currents(
    cell: CellEstimate, now: CircuitState, cutoff_v: float, horizons_s: tuple[float, ...]
) -> tuple[float, ...]:
    """Constant current that leaves the cell above `cutoff_v` for each horizon, at least 0.

    The resistance is taken one standard deviation higher than estimated.
    """
    c = cell.model.parameters
    now_ohm, fast_ohm, slow_ohm = now.ohms
    worse = math.exp(math.sqrt(max(cell.variance[FAST], 0.0)))
    start_v = now.open_v + float(cell.x[OFFSET]) + min(max(cell.errors_v), 0.0) - cutoff_v
    fast_v = worse * fast_ohm * cell.fast_a
    slow_v = slow_ohm * cell.slow_a
    slope_v = max(now.slope_v, 0.0)
    currents_a = []
    for horizon_s in horizons_s:
        fast_share = 1 - math.exp(-horizon_s / c.fast_tau_s)
        slow_share = 1 - math.exp(-horizon_s / c.slow_tau_s)
        left_v = start_v - fast_v * (1 - fast_share) - slow_v * (1 - slow_share)
        per_amp_v = worse * (now_ohm + fast_ohm * fast_share) + slow_ohm * slow_share
        used_s = horizon_s + now.depth_s * slow_share
        per_amp_v += slope_v * used_s / now.capacity_as
        currents_a.append(max(left_v / per_amp_v, 0.0))
    return tuple(currents_a)

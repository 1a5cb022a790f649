"""Available current (state of power) of the weakest cell.

Volts and amperes of one cell, seconds.
"""

import math

from dronebms.estimation.cell_fit import CellEstimate
from dronebms.estimation.cell_model import FAST, OFFSET, CircuitState


def max_current(cell: CellEstimate, now: CircuitState, cutoff_v: float, horizon_s: float) -> float:
    """Constant current in amperes that leaves the cell above `cutoff_v` for a horizon, at least 0.

    The resistance is taken one standard deviation higher than estimated.
    """
    c = cell.model.parameters
    now_ohm, fast_ohm, slow_ohm = now.ohms
    worse = math.exp(math.sqrt(max(cell.variance[FAST], 0.0)))
    fast_share = 1 - math.exp(-horizon_s / c.fast_tau_s)
    slow_share = 1 - math.exp(-horizon_s / c.slow_tau_s)
    left_v = now.open_v + float(cell.x[OFFSET]) + min(max(cell.errors_v), 0.0) - cutoff_v
    left_v -= worse * fast_ohm * cell.fast_a * (1 - fast_share)
    left_v -= slow_ohm * cell.slow_a * (1 - slow_share)
    per_amp_v = worse * (now_ohm + fast_ohm * fast_share) + slow_ohm * slow_share
    used_s = horizon_s + now.depth_s * slow_share
    per_amp_v += max(now.slope_v, 0.0) * used_s / now.capacity_as
    return max(float(left_v / per_amp_v), 0.0)

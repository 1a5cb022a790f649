# SPDX-License-Identifier: Apache-2.0
"""Bounds of the time to empty that no forecast may break: the charge at the power that flows.

Surely there is the charge two standard deviations below the estimate, of a cell whose capacity is
two below its own, and no more than a gauge that is not refuted reports; there at most is the same
above. The least time is what the sure charge gives down to the cut-off at the greatest of the
present, the recent and the expected power; until the fit has seen a load, the 5 % bound is no more
than that. A cell may end earlier with charge left, by voltage: the
polarisation S = U(s) - v grows until the cut-off. It grows with diffusion, at most e-fold within
the slow time constant (in recorded and computed flights, unannounced steps of the power apart),
while the sure charge flows and the curve falls, so that a cell lasts at least until

    U(s - t I / Q) - S exp(t / tau) = cut-off

A cell near its cut-off has next to no margin, and the least time is next to nothing.
Seconds, watts of the pack, volts and ampere-seconds of one cell.
"""

import math
from dataclasses import dataclass

from dronebms.estimation.cell.cell_estimate import CellEstimate
from dronebms.estimation.cell.cell_model import CAPACITY, CHARGE, CURVE_FROM, CURVE_STEPS
from dronebms.estimation.cell.cell_states import SD_GAUGE, WIDER
from dronebms.estimation.gauge_fusion import GaugeCharge
from dronebms.estimation.load_forecast import LoadAhead
from smartbattery.values import changed

_SDS = 2.0
_SD_UNFITTED = 0.2  # before cells under load confirm it: at rest the flat of a curve does not
_SD_CAPACITY = 0.05  # ln, at least
_LEAST_SAG_V = 0.02
_HALVINGS = 10
_CONTRADICTS = 0.5  # of the sure charge; a compensated gauge reports more


@dataclass(frozen=True, slots=True)
class ChargeBounds:
    """Least and greatest charge of the weakest cell, usable or not."""

    least_as: float
    most_as: float
    least_capacity_as: float
    gauge_as: float | None  # remaining charge of a gauge that counts

    def widened_by(self, other: "ChargeBounds") -> "ChargeBounds":
        """Bounds of a charge that is in either."""
        return changed(self, least_as=min(self.least_as, other.least_as))


def charge_bounds(
    cell: CellEstimate, gauge: GaugeCharge | None, *, began_with_gauge: bool
) -> ChargeBounds:
    """Bounds of the charge; `gauge` is its newest one if that counts."""
    sd_gauge = SD_GAUGE if cell.fitted else _SD_UNFITTED
    sd = _SDS * math.hypot(
        WIDER * math.sqrt(max(float(cell.variance[CHARGE]), 0.0)), sd_gauge * began_with_gauge
    )
    sd_capacity = _SDS * max(math.sqrt(max(float(cell.variance[CAPACITY]), 0.0)), _SD_CAPACITY)
    charge = float(cell.x[CHARGE])
    capacity_ln = float(cell.x[CAPACITY])
    capacity_as = cell.model.capacity_as
    least_capacity_as = capacity_as * math.exp(capacity_ln - sd_capacity)
    least_as = max(charge - sd, 0.0) * least_capacity_as
    most = min(max(charge, 0.0) + sd, 1.0)
    most_as = most * capacity_as * math.exp(capacity_ln + sd_capacity)
    gauge_as = None if gauge is None else gauge.remaining_as
    return ChargeBounds(least_as, most_as, least_capacity_as, gauge_as)


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """Least and greatest time to empty, and the greatest that its 5 % bound may be."""

    least_s: float
    most_s: float
    most_low_s: float


def time_bounds(
    cell: CellEstimate,
    cell_v: float,
    cutoff_v: float,
    charge: ChargeBounds,
    load: LoadAhead,
    cells: int,
) -> TimeBounds:
    """Bounds of the time to empty of a cell at a voltage under load."""
    open_v = open_voltage(cell, float(cell.x[CHARGE]))
    sag_v = max(open_v - cell_v, _LEAST_SAG_V)
    most_w = load.most_w
    if load.landing_w is not None:  # the margin and the charge are those of the landing
        sag_v *= load.landing_w / load.power_w
        cell_v = min(cell_v, open_v - sag_v)
        most_w = max(most_w, load.landing_w)
    margin_v = max(cell_v - cutoff_v, 0.0)
    volts = cutoff_v * cells
    least_as = charge.least_as
    most_low_s = math.inf
    if charge.gauge_as is not None:
        if charge.gauge_as < _CONTRADICTS * least_as:  # a dead pack, or a wrong gauge
            most_low_s = charge.gauge_as * volts / most_w
        least_as = min(least_as, charge.gauge_as)
    # Left in the cell when its voltage without sag has fallen to the cut-off and the present sag.
    left_as = _charge_at(cell, cutoff_v + sag_v) * charge.least_capacity_as
    charge_s = max(least_as - left_as, 0.0) * volts / most_w
    if not cell.fitted:
        most_low_s = min(most_low_s, charge_s)
    tau_s = cell.model.parameters.slow_tau_s
    least_s = 0.0
    ended_s = min(charge_s, tau_s * math.log1p(margin_v / sag_v))
    for _ in range(_HALVINGS):
        after_s = (least_s + ended_s) / 2.0
        left = (least_as - after_s * most_w / volts) / charge.least_capacity_as
        if open_voltage(cell, left) - sag_v * math.exp(after_s / tau_s) > cutoff_v:
            least_s = after_s
        else:
            ended_s = after_s
    most_s = charge.most_as * max(open_v, cell_v) * cells / load.least_w
    return TimeBounds(least_s, max(least_s, most_s), most_low_s)


def open_voltage(cell: CellEstimate, charge_frac: float) -> float:
    """Open-circuit voltage at a charge."""
    table_v = cell.table_v
    place = (charge_frac - CURVE_FROM) * CURVE_STEPS
    k = min(max(int(place), 0), len(table_v) - 2)
    return table_v[k] + (table_v[k + 1] - table_v[k]) * min(max(place - k, 0.0), 1.0)


def _charge_at(cell: CellEstimate, open_v: float) -> float:
    """Greatest charge at which the cell is at or below an open-circuit voltage, at least 0."""
    table_v = cell.table_v
    k = next((k for k in range(len(table_v) - 1, -1, -1) if table_v[k] <= open_v), 0)
    return max(CURVE_FROM + k / CURVE_STEPS, 0.0)

# SPDX-License-Identifier: Apache-2.0
"""Stage: the Estimate that leaves the estimator; what is too uncertain is `None`."""

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Self

from dronebms.core.report import UNKNOWN_STATE, CellState, Estimate, PackState
from dronebms.estimation.available_current import max_currents
from dronebms.estimation.cell.cell_estimate import CellEstimate
from dronebms.estimation.cell.cell_model import (
    CAPACITY,
    CHARGE,
    CURVE_FROM,
    CURVE_STEPS,
    FAST,
    CircuitState,
)
from dronebms.estimation.sampling import Reading, Sample
from dronebms.estimation.time_to_empty import RemainingTime
from smartbattery.values import changed

_HORIZONS_S = 10.0, 2.0, 30.0  # of the available current
_COAST_S = 60.0  # silence after which nothing is known
_MAX_CHARGE_SD = 0.25
_MAX_RESISTANCE_SD = 0.3  # ln
_MAX_HEALTH_SD = 0.07  # ln
_RECOVER_PCT_S = 0.1  # how fast the shown charge may rise while discharging
_REFUTED_PCT = 5.0  # by how much a charge may exceed the one that the lowest voltage allows


@dataclass(frozen=True, slots=True)
class ShownCharge:
    """State of charge as it was last shown; also the restart state of `OutputFilters`."""

    pct: float | None = None
    at_s: float = 0.0

    def updated(self, now_s: float, charge_frac: float, *, loaded: bool) -> "ShownCharge":
        """Follow a charge: under load down at once and up slowly.

        Flight controllers latch the lowest value that they receive.
        """
        pct = min(max(charge_frac * 100.0, 0.0), 100.0)
        if self.pct is not None and loaded:
            pct = min(pct, self.pct + _RECOVER_PCT_S * (now_s - self.at_s))
        return ShownCharge(pct, now_s)


@dataclass(frozen=True, slots=True)
class _Derived:
    """What follows from the cell alone, whatever is read until its next estimate."""

    cell: CellEstimate
    circuit: CircuitState  # without a current
    charge_known: bool
    soh_pct: float | None
    ohm: float | None
    most_a: tuple[float, ...]  # for each of `_HORIZONS_S`


class OutputFilters:
    """Stage: rate limits, plausibility and units of the results.

    Args:
        cutoff_v: voltage of the weakest cell at the end of discharge.
        first_fast: ln resistance scale after the pack's first flight, None without any.
    """

    def __init__(
        self, cutoff_v: float, first_fast: float | None, state: ShownCharge = ShownCharge()
    ) -> None:
        self._cutoff_v = cutoff_v
        self._first_fast = first_fast
        self._shown = state
        self._derived: _Derived | None = None

    def state(self) -> ShownCharge:
        """Restart state."""
        return self._shown

    def with_state(self, state: ShownCharge) -> Self:
        """Return a stage that continues from a state."""
        return type(self)(self._cutoff_v, self._first_fast, state)

    def update(
        self,
        sample: Sample,
        cell: CellEstimate,
        remaining: RemainingTime | None,
        state: PackState,
        doubts: tuple[str, ...],
    ) -> Estimate:
        """Everything that is known at the time of a sample."""
        now_s = sample.t_s
        newest = sample.newest
        if newest is None or now_s - newest.t_s > _COAST_S:
            return Estimate(now_s)
        derived = self._derived
        if derived is None or derived.cell is not cell:  # that is of the last whole second
            derived = self._derived = self._derive(cell)
        known = derived.charge_known and sample.current_known
        open_v = newest.cell_v + cell.sag_v(derived.circuit, newest.current_a)
        soc_pct = self._soc_pct(sample, newest, cell, open_v) if known else None
        max_10s_a, max_2s_a, max_30s_a = derived.most_a if known else (None, None, None)
        ohm = derived.ohm
        return Estimate(
            t_s=now_s,
            soc_pct=soc_pct,
            soh_pct=derived.soh_pct,
            remaining_s=None if remaining is None else remaining.median_s,
            remaining_low_s=None if remaining is None else remaining.low_s,
            remaining_high_s=None if remaining is None else remaining.high_s,
            resistance_ohm=None if ohm is None else sample.cells * ohm,
            resting_cell_v=open_v if known else None,
            max_discharge_a=max_10s_a,
            max_discharge_2s_a=max_2s_a,
            max_discharge_30s_a=max_30s_a,
            used_mah=sample.used_as / 3.6,
            used_wh=sample.used_ws / 3600.0,
            state=_consistent(state, sample, soc_pct) if sample.current_known else UNKNOWN_STATE,
            doubts=doubts,
        )

    def _derive(self, cell: CellEstimate) -> "_Derived":
        circuit = cell.circuit(0.0)
        return _Derived(
            cell,
            circuit,
            charge_known=bool(cell.variance[CHARGE] < _MAX_CHARGE_SD**2),
            soh_pct=self._health_pct(cell),
            ohm=_resistance_ohm(cell, circuit),
            most_a=max_currents(cell, circuit, self._cutoff_v, _HORIZONS_S),
        )

    def _soc_pct(
        self, sample: Sample, newest: Reading, cell: CellEstimate, open_v: float
    ) -> float | None:
        charge_frac = float(cell.x[CHARGE])
        if (newest.current_sd_a or sample.ended) and newest.cell_v < self._cutoff_v:
            # The voltage limits the charge where the counted one is uncertain.
            charge_frac = min(charge_frac, _charge_at(cell, open_v))
        loaded = cell.loaded and newest.current_a > 0
        self._shown = self._shown.updated(sample.t_s, charge_frac, loaded=loaded)
        return self._shown.pct

    def _health_pct(self, cell: CellEstimate) -> float | None:
        """Capacity over the rated one; less when the resistance grew since the first flight."""
        if cell.variance[CAPACITY] > _MAX_HEALTH_SD**2:
            return None
        health = math.exp(float(cell.x[CAPACITY]))
        if self._first_fast is not None and cell.variance[FAST] < _MAX_RESISTANCE_SD**2:
            health = min(health, 2 - math.exp(float(cell.x[FAST]) - self._first_fast))
        return 100.0 * min(max(health, 0.0), 1.0)


def _charge_at(cell: CellEstimate, open_v: float) -> float:
    """Charge fraction at an open-circuit voltage."""
    return CURVE_FROM + bisect_left(cell.table_v, open_v) / CURVE_STEPS


def _resistance_ohm(cell: CellEstimate, circuit: CircuitState) -> float | None:
    """Resistance of the cell after some 20 s of load, None until it is known."""
    known = cell.variance[FAST] < _MAX_RESISTANCE_SD**2
    return circuit.ohms[0] + circuit.ohms[1] if known else None


def _consistent(state: PackState, sample: Sample, soc_pct: float | None) -> PackState:
    """The newest state of the cells that are read now, without charges that `soc_pct` refutes.

    Near the end the voltage may allow far less charge than the fit, on which each cell's rests.
    """
    if len(state.cells) != len(sample.cells_v):
        state = changed(state, cells=())
    elif None in sample.cells_v:
        pairs = zip(state.cells, sample.cells_v, strict=True)
        state = changed(state, cells=tuple(CellState() if v is None else c for c, v in pairs))
    if soc_pct is None or (state.weakest.soc_pct or 0.0) - soc_pct <= _REFUTED_PCT:
        return state
    return changed(
        state,
        weakest=_without_charge(state.weakest),
        cells=tuple(map(_without_charge, state.cells)),
    )


def _without_charge(cell: CellState) -> CellState:
    return changed(cell, soc_pct=None, soc_sd_pct=None)

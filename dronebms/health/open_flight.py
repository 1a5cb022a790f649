# SPDX-License-Identifier: Apache-2.0
"""The flight in progress: what each step adds to it, and what is measured when it has ended."""

from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from dronebms.core.pack_data import LOAD_C, REST_C
from dronebms.core.report import Report
from dronebms.health.capacity import measure_capacity
from dronebms.health.flight_record import Excursion, FlightRecord
from dronebms.health.samples import AMPS, CELLS, DEGC, T_S
from dronebms.health.soh_measurement import measure_soh
from dronebms.protection.limits import every_limit

_MILLI = 1000.0
_IDLE_S = 60.0  # without a load: a flight without a vehicle has ended
_JUDGED_S = 30.0  # before the end: later errors of the time to empty are not counted
_RESTED = 10  # samples at rest for the spread of the cells
# Above it a cell deviates from the others; AirData's bound of a major deviation.
_DEVIATES_MV = 70.0
_LIMITS = every_limit()
_NONE: Excursion = ("", 0.0, None)


@dataclass(slots=True)
class OpenFlight:
    """The flight in progress."""

    first: Report
    start_ah: float  # drawn before it
    samples: list[list[float]]  # begin with those before take-off
    armed_s: float = 0.0
    idle_s: float = 0.0
    ended_s: float | None = None  # time at which the pack was empty
    predictions: list[tuple[float, float]] = field(default_factory=list)  # time, time to empty
    excursions: dict[str, Excursion] = field(default_factory=dict)
    lowest_v: float | None = None
    started_unix_s: float | None = None  # by the newest date; a clock that is lost changes nothing

    def add(self, report: Report, dt_s: float) -> None:
        """Add a step of the loop."""
        self.armed_s += dt_s if report.vehicle.armed else 0.0
        self.idle_s = 0.0 if is_loaded(report) else self.idle_s + dt_s
        lowest = report.snapshot.lowest_cell()
        if lowest is not None:
            self.lowest_v = min(lowest[1], self.lowest_v or lowest[1])
        if self.ended_s is None and report.estimate.remaining_high_s == 0.0:
            self.ended_s = report.t_s
        for limit_id in report.status.active:
            limit = _LIMITS.get(limit_id)
            _, seconds, worst = self.excursions.get(limit_id, _NONE)
            if limit is not None:
                known = [v for v in (_value(limit.quantity, report), worst) if v is not None]
                worst = (max if limit.rising else min)(known, default=None)
            self.excursions[limit_id] = (limit_id, seconds + dt_s, worst)

    def has_ended(self, report: Report) -> bool:
        """Whether a step is one after the landing."""
        armed = report.vehicle.armed
        return self.idle_s >= _IDLE_S if armed is None else not armed

    def error_pct(self) -> float | None:
        """Mean error of the predicted time to empty, `None` if the pack was not emptied."""
        if self.ended_s is None:
            return None
        true = [(self.ended_s - t_s, left_s) for t_s, left_s in self.predictions]
        errors = [abs(left_s - true_s) / true_s for true_s, left_s in true if true_s >= _JUDGED_S]
        return 100.0 * fmean(errors) if errors else None


def is_loaded(report: Report) -> bool:
    """Whether the current is that of a load in flight."""
    amps = report.snapshot.current_a
    return amps is not None and amps >= LOAD_C * report.pack_data.capacity_ah


def with_measurements(record: FlightRecord, flight: OpenFlight, valid: Report) -> FlightRecord:
    """The record with the values that are computed from all samples."""
    pack_data = valid.pack_data
    width = len(flight.samples[-1])
    samples = np.array([row for row in flight.samples if len(row) == width])
    is_flying = samples[:, T_S] >= flight.first.t_s
    rated_ah = valid.pack_data.capacity_ah
    cells = pack_data.cells or max(width - CELLS, 1)
    found = measure_soh(samples, pack_data.chemistry, rated_ah, cells)
    capacity = None  # without a rated capacity there is nothing that it can be held against
    if pack_data.capacity_mah is not None:
        capacity = measure_capacity(samples, pack_data.chemistry, rated_ah, cells)
    degc = samples[is_flying & ~np.isnan(samples[:, DEGC]), DEGC]
    cells_mv = samples[:, CELLS:] * _MILLI
    is_known = ~np.isnan(cells_mv).any(axis=1) & (width > CELLS)
    is_resting = ~is_flying & is_known & (np.abs(samples[:, AMPS]) <= REST_C * rated_ah)
    resting_mv = cells_mv[is_resting][-_RESTED:]
    flying_mv = cells_mv[is_flying & is_known]
    below_mv = flying_mv.mean() - flying_mv.mean(axis=0) if len(flying_mv) else None
    return replace(
        record, capacity_mah=None if capacity is None else capacity.capacity_ah * _MILLI,
        capacity_sd_frac=None if capacity is None else capacity.sd_frac,
        relative_capacity=found.relative_capacity,
        resistance_mohm=found.resistance_ohm and found.resistance_ohm * _MILLI,
        resistance_degc=found.resistance_degc,
        mean_degc=float(degc.mean()) if len(degc) else None,
        hottest_degc=float(degc.max()) if len(degc) else None,
        spread_rest_mv=float(np.ptp(resting_mv, axis=1).mean()) if len(resting_mv) else None,
        spread_load_mv=float(np.ptp(flying_mv, axis=1).mean()) if len(flying_mv) else None,
        lowest_cell=None if below_mv is None else int(below_mv.argmax()) + 1,
        lowest_by_mv=None if below_mv is None else float(below_mv.max()),
        cells_resistance=found.cells_resistance, cells_capacity=found.cells_capacity,
        cell_deviations=_deviations(flying_mv),
    )  # fmt: skip


def _deviations(cells_mv: NDArray[np.float64]) -> tuple[float, ...]:
    """Times that each cell left the mean of the others; of fewer than two cells none.

    Args:
        cells_mv: a row per sample, a column per cell.
    """
    samples, cells = cells_mv.shape
    if cells < 2 or not samples:  # noqa: PLR2004 - one cell has no others
        return ()
    others_mv = (cells_mv.sum(axis=1, keepdims=True) - cells_mv) / (cells - 1)
    deviates = np.abs(cells_mv - others_mv) > _DEVIATES_MV
    begins = deviates & ~np.vstack((np.zeros((1, cells), bool), deviates[:-1]))
    return tuple(begins.sum(axis=0).astype(float).tolist())


def _value(quantity: str, report: Report) -> float | None:
    """Value of a limit's quantity, `None` if the report does not hold it."""
    cells_v = report.snapshot.known_cells_v()
    if quantity in {"lowest_cell_v", "highest_cell_v"}:
        return (min if quantity == "lowest_cell_v" else max)(cells_v, default=None)
    found = getattr(report.snapshot, quantity, getattr(report.estimate, quantity, None))
    # Some quantities are counts of what the snapshot lists in words.
    return float(found) if isinstance(found, int | float) else None

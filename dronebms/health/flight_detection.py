# SPDX-License-Identifier: Apache-2.0
"""Detects flights in a stream of Reports and accumulates their records.

A flight lasts from arming until disarming; without a vehicle, from the first load until a minute
without one. Measurements use one sample per second of its first four hours. Current is positive
while discharging; times are the loop's clock.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from math import nan
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from dronebms.core.pack_data import LOAD_C, REST_C
from dronebms.core.pack_identity import is_same_pack, merged
from dronebms.core.report import Report
from dronebms.health.capacity import measure_capacity
from dronebms.health.flight_record import LANDED, Excursion, FlightRecord
from dronebms.health.samples import AMPS, CELLS, DEGC, T_S
from dronebms.health.soh_measurement import measure_soh
from dronebms.protection.limits import every_limit
from smartbattery.snapshot import UNIDENTIFIED

_IDLE_S = 60.0
LEAST_S = 20.0  # a shorter one is not a flight
_BEFORE = 60  # samples before take-off that are retained: the pack at rest
_MOST = 14_400  # samples of a flight; later reports are accumulated only
_JUDGED_S = 30.0  # before the end: later errors of the time to empty are not counted
_MILLI = 1000.0
_HOUR_S = 3600.0
_RESTED = 10  # samples at rest for the spread of the cells
_SAME_S = 1e-6  # rounding error of times
BANDS_C = (1.0, 2.0, 5.0, 10.0)  # upper bounds of all bands but the last
FULL_PCT, NEARLY_FULL_PCT = 80.0, 90.0
# Above it a cell deviates from the others; AirData's bound of a major deviation.
_DEVIATES_MV = 70.0
_GAP_S = 5.0  # longest time that one reading counts for
_LIMITS = every_limit()
_NONE: Excursion = ("", 0.0, None)


@dataclass(frozen=True, slots=True)
class Stress:
    """Stress of a pack since its previous flight; unknown readings add nothing."""

    drawn_ah: tuple[float, ...] = (0.0,) * (len(BANDS_C) + 1)
    hot_s: float = 0.0
    full_s: float = 0.0
    nearly_full_s: float = 0.0

    def after(self, report: Report, dt_s: float) -> "Stress":
        """The stress after one more step of the loop."""
        dt_s = min(dt_s, _GAP_S)
        pack_data, snapshot = report.pack_data, report.snapshot
        amps, drawn_ah = snapshot.current_a, list(self.drawn_ah)
        if amps is not None and amps > 0.0 and pack_data.capacity_mah is not None:
            rate_c = amps / pack_data.capacity_mah * 1000.0
            drawn_ah[sum(rate_c >= end_c for end_c in BANDS_C)] += amps * dt_s / 3600.0
        degc, pct = snapshot.temperature_degc, report.estimate.soc_pct
        hot = degc is not None and degc >= pack_data.chemistry.hot_degc - 10.0
        stored_pct = 0.0 if pct is None or report.vehicle.armed is True else pct
        return Stress(
            tuple(drawn_ah),
            self.hot_s + dt_s * hot,
            self.full_s + dt_s * (stored_pct >= FULL_PCT),
            self.nearly_full_s + dt_s * (stored_pct >= NEARLY_FULL_PCT),
        )


@dataclass(slots=True)
class _OpenFlight:
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


class FlightDetector:
    """Flights of one battery.

    Args:
        run: id of the recording process: unique, and the same each time that a file is replayed.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._count = 0
        self._last: Report | None = None
        self._pack: str | None = None
        self._identity = UNIDENTIFIED
        self._restart()

    def _restart(self) -> None:
        self._open: _OpenFlight | None = None
        self._before: deque[list[float]] = deque(maxlen=_BEFORE)
        self._valid: Report | None = None  # the last one with a voltage
        self._stress = Stress()
        self._used_ah = 0.0

    @property
    def pack(self) -> str | None:
        """Name of the connected pack in the history; `None`: it has none."""
        return self._pack

    @property
    def flying(self) -> bool:
        """Whether a flight is in progress."""
        return self._open is not None

    def update(self, report: Report, *, unix_s: float | None = None) -> FlightRecord | None:
        """Process a step; return the record of the flight that has ended with it.

        Args:
            report: the step.
            unix_s: its date, seconds since 1970; `None` if the clock is not set.
        """
        dt_s = 0.0 if self._last is None else max(report.t_s - self._last.t_s, 0.0)
        ended = None
        identity = report.snapshot.identity
        pack = report.pack_data.pack_key(identity)
        another = not is_same_pack(self._identity, identity)
        self._identity = identity if another else merged(self._identity, identity)
        if another:  # the earlier pack has flown until the step before
            ended = self.record(LANDED)
            self._restart()
        self._last = report
        if self._open is not None and unix_s is not None:
            self._open.started_unix_s = unix_s - (report.t_s - self._open.first.t_s)
        if self._open is not None and _has_ended(self._open, report):
            ended = self.record(LANDED)
            self._restart()
        self._pack = pack if another else pack or self._pack
        self._stress = self._stress.after(report, dt_s)
        self._used_ah += (report.snapshot.current_a or 0.0) * dt_s / _HOUR_S
        if report.snapshot.voltage_v is not None:
            self._valid = report
            armed = report.vehicle.armed
            takes_off = _is_loaded(report) if armed is None else armed
            if self._open is None and ended is None and takes_off:
                self._count += 1
                self._open = _OpenFlight(report, self._used_ah, list(self._before))
            self._sample(report)
        if self._open is not None:
            _accumulate(self._open, report, dt_s)
        return ended

    def record(self, state: str) -> FlightRecord | None:
        """Record of the flight in progress; `None` if there is none or the pack is unknown."""
        flight, last, valid = self._open, self._last, self._valid
        if flight is None or last is None or valid is None or self._pack is None:
            return None
        flown_s = last.t_s - flight.first.t_s
        if flown_s < LEAST_S:
            return None
        pack_data, snapshot = valid.pack_data, valid.snapshot
        record = FlightRecord(
            f"{self._run}:{last.index}:{self._count}", state, self._pack,
            vehicle=pack_data.vehicle or valid.vehicle.uid, serial=snapshot.identity.serial,
            chemistry=pack_data.chemistry.name, cells=pack_data.cells,
            rated_mah=pack_data.capacity_mah, flown_s=flown_s, armed_s=flight.armed_s,
            started_unix_s=flight.started_unix_s,
            used_mah=(self._used_ah - flight.start_ah) * _MILLI,
            start_pct=flight.first.estimate.soc_pct, end_pct=valid.estimate.soc_pct,
            gauge_cycles=snapshot.cycles, gauge_full_mah=snapshot.full_mah,
            lowest_cell_v=flight.lowest_v, error_pct=_error_pct(flight),
            full_h=self._stress.full_s / _HOUR_S, hot_s=self._stress.hot_s,
            above_90_h=self._stress.nearly_full_s / _HOUR_S,
            drawn_ah=self._stress.drawn_ah, excursions=tuple(flight.excursions.values()),
        )  # fmt: skip
        return _with_measurements(record, flight, valid)

    def _sample(self, report: Report) -> None:
        """Store a sample once per second: of the flight, or of the rest before it."""
        flight, snapshot = self._open, report.snapshot
        samples = self._before if flight is None else flight.samples
        if len(samples) == _MOST or (samples and report.t_s - samples[-1][T_S] < 1.0 - _SAME_S):
            return
        values = (snapshot.voltage_v, snapshot.current_a, snapshot.temperature_degc, self._used_ah)
        known = [nan if value is None else value for value in (*values, *snapshot.cells_v)]
        samples.append([report.t_s, *known])
        remaining_s = report.estimate.remaining_s
        if flight is not None and flight.ended_s is None and remaining_s is not None:
            flight.predictions.append((report.t_s, remaining_s))


def _with_measurements(record: FlightRecord, flight: _OpenFlight, valid: Report) -> FlightRecord:
    """The record with the values that are computed from all samples."""
    pack_data, width = valid.pack_data, len(flight.samples[-1])
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
    resting_mv, flying_mv = cells_mv[is_resting][-_RESTED:], cells_mv[is_flying & is_known]
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


def _is_loaded(report: Report) -> bool:
    amps = report.snapshot.current_a
    return amps is not None and amps >= LOAD_C * report.pack_data.capacity_ah


def _accumulate(flight: _OpenFlight, report: Report, dt_s: float) -> None:
    flight.armed_s += dt_s if report.vehicle.armed else 0.0
    flight.idle_s = 0.0 if _is_loaded(report) else flight.idle_s + dt_s
    lowest = report.snapshot.lowest_cell()
    if lowest is not None:
        flight.lowest_v = min(lowest[1], flight.lowest_v or lowest[1])
    if flight.ended_s is None and report.estimate.remaining_high_s == 0.0:
        flight.ended_s = report.t_s
    for limit_id in report.status.active:
        limit = _LIMITS.get(limit_id)
        _, seconds, worst = flight.excursions.get(limit_id, _NONE)
        if limit is not None:
            known = [v for v in (_value(limit.quantity, report), worst) if v is not None]
            worst = (max if limit.rising else min)(known, default=None)
        flight.excursions[limit_id] = (limit_id, seconds + dt_s, worst)


def _value(quantity: str, report: Report) -> float | None:
    """Value of a limit's quantity, `None` if the report does not hold it."""
    cells_v = report.snapshot.known_cells_v()
    if quantity in {"lowest_cell_v", "highest_cell_v"}:
        return (min if quantity == "lowest_cell_v" else max)(cells_v, default=None)
    found = getattr(report.snapshot, quantity, getattr(report.estimate, quantity, None))
    # Some quantities are counts of what the snapshot lists in words.
    return float(found) if isinstance(found, int | float) else None


def _error_pct(flight: _OpenFlight) -> float | None:
    """Mean error of the predicted time to empty, `None` if the pack was not emptied."""
    if flight.ended_s is None:
        return None
    true = [(flight.ended_s - t_s, left_s) for t_s, left_s in flight.predictions]
    errors = [abs(left_s - true_s) / true_s for true_s, left_s in true if true_s >= _JUDGED_S]
    return 100.0 * fmean(errors) if errors else None


def _has_ended(flight: _OpenFlight, report: Report) -> bool:
    armed = report.vehicle.armed
    return flight.idle_s >= _IDLE_S if armed is None else not armed

"""From Reports to flights: when one begins and ends, and what is summed up while it lasts.

A flight is from arming until disarming; where no vehicle is heard, from the first load until a
minute without one. What is measured rests on a sample a second of its first four hours. Current
positive while discharging; times are the loop's clock.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from math import nan
from statistics import fmean

import numpy as np

from dronebms.core.report import Report
from dronebms.health.flight_record import LANDED, Excursion, FlightRecord
from dronebms.health.soh_measurement import AMPS, CELLS, DEGC, T_S, measure_soh
from dronebms.protection.limits import every_limit

_LOAD_C, _REST_C = 0.15, 0.05  # of the capacity: above it flies, below it rests
_UNTOLD_MAH = 5000.0
_IDLE_S = 60.0
_LEAST_S = 20.0  # what is shorter was no flight
_BEFORE = 60  # samples before take-off that are kept: the pack at rest
_MOST = 14_400  # samples of a flight; what comes later is summed up only
_JUDGED_S = 30.0  # before the end: of errors in the last seconds nobody speaks
_MILLI, _HOUR_S = 1000.0, 3600.0
_RESTED = 10  # samples at rest of which the spread is told
_SAME_S = 1e-6
BANDS_C = (1.0, 2.0, 5.0, 10.0)  # the ends of all bands but the last
FULL_PCT = 80.0
_GAP_S = 5.0  # what a reading stands for at most
_LIMITS = every_limit()
_NONE: Excursion = ("", 0.0, None)


@dataclass(frozen=True, slots=True)
class Stress:
    """What a pack has been through since its flight before; unknown readings add nothing."""

    drawn_ah: tuple[float, ...] = (0.0,) * (len(BANDS_C) + 1)
    hot_s: float = 0.0
    full_s: float = 0.0

    def after(self, report: Report, dt_s: float) -> "Stress":
        """Return the ledger with one more step of the loop."""
        dt_s, pack_data, snapshot = min(dt_s, _GAP_S), report.pack_data, report.snapshot
        amps, drawn_ah = snapshot.current_a, list(self.drawn_ah)
        if amps is not None and amps > 0.0 and pack_data.capacity_mah is not None:
            rate_c = amps / pack_data.capacity_mah * 1000.0
            drawn_ah[sum(rate_c >= end_c for end_c in BANDS_C)] += amps * dt_s / 3600.0
        degc, pct = snapshot.temperature_degc, report.estimate.soc_pct
        hot = degc is not None and degc >= pack_data.chemistry.hot_degc - 10.0
        full = pct is not None and pct >= FULL_PCT and report.vehicle.armed is not True
        return Stress(tuple(drawn_ah), self.hot_s + dt_s * hot, self.full_s + dt_s * full)


@dataclass(slots=True)
class _Open:
    """The flight that is on."""

    first: Report
    start_ah: float  # that had been drawn before
    samples: list[list[float]]  # begin with those from before take-off
    armed_s: float = 0.0
    idle_s: float = 0.0
    ended_s: float | None = None  # when the pack reached its end
    answers: list[tuple[float, float]] = field(default_factory=list)
    excursions: dict[str, Excursion] = field(default_factory=dict)
    lowest_v: float | None = None


class FlightDetector:
    """One battery's flights.

    Args:
        run: who writes: unique, and the same whenever the same recorded file is read.
    """

    def __init__(self, run: str) -> None:
        self._run, self._count = run, 0
        self._last: Report | None = None
        self._pack: str | None = None
        self._restart()

    def _restart(self) -> None:
        self._open: _Open | None = None
        self._before: deque[list[float]] = deque(maxlen=_BEFORE)
        self._heard: Report | None = None
        self._stress, self._used_ah = Stress(), 0.0

    def take(self, report: Report, *, unix_s: float | None = None) -> FlightRecord | None:
        """Take in a step; return the flight that it has ended."""
        dt_s = 0.0 if self._last is None else max(report.t_s - self._last.t_s, 0.0)
        self._last, done = report, None
        pack = report.pack_data.pack_key(report.snapshot.identity)
        another = None not in (pack, self._pack) and pack != self._pack
        if another or (self._open is not None and _is_over(self._open, report)):
            done = self.row(LANDED, unix_s=unix_s)
            self._restart()
        self._pack = pack or self._pack
        self._stress = self._stress.after(report, dt_s)
        self._used_ah += (report.snapshot.current_a or 0.0) * dt_s / _HOUR_S
        if report.snapshot.voltage_v is not None:
            self._heard = report
            armed = report.vehicle.armed
            takes_off = _is_loaded(report) if armed is None else armed
            if self._open is None and done is None and takes_off:
                self._count += 1
                self._open = _Open(report, self._used_ah, list(self._before))
            self._sample(report)
        if self._open is not None:
            _sum_up(self._open, report, dt_s)
        return done

    def row(self, state: str, *, unix_s: float | None = None) -> FlightRecord | None:
        """Return the flight that is on, None when there is none or nobody knows whose.

        Args:
            state: of the row.
            unix_s: the date of the newest step, None when it is not believed.
        """
        now, last, heard = self._open, self._last, self._heard
        if now is None or last is None or heard is None or self._pack is None:
            return None
        flown_s = last.t_s - now.first.t_s
        if flown_s < _LEAST_S:
            return None
        pack_data, snapshot = heard.pack_data, heard.snapshot
        told = FlightRecord(
            f"{self._run}:{last.index}:{self._count}", state, self._pack,
            serial=snapshot.identity.serial,
            chemistry=pack_data.chemistry.name, cells=pack_data.cells,
            rated_mah=pack_data.capacity_mah, flown_s=flown_s, armed_s=now.armed_s,
            started_unix_s=None if unix_s is None else unix_s - flown_s,
            used_mah=(self._used_ah - now.start_ah) * _MILLI,
            start_pct=now.first.estimate.soc_pct, end_pct=heard.estimate.soc_pct,
            gauge_cycles=snapshot.cycles, gauge_full_mah=snapshot.full_mah,
            lowest_cell_v=now.lowest_v, error_pct=_error_pct(now),
            full_h=self._stress.full_s / _HOUR_S, hot_s=self._stress.hot_s,
            drawn_ah=self._stress.drawn_ah, excursions=tuple(now.excursions.values()),
        )  # fmt: skip
        return _with_samples(told, now, heard)

    def _sample(self, report: Report) -> None:
        """Keep a sample when one is due: of the flight, or of the rest before it."""
        now, snapshot = self._open, report.snapshot
        kept = self._before if now is None else now.samples
        if len(kept) == _MOST or (kept and report.t_s - kept[-1][T_S] < 1.0 - _SAME_S):
            return
        values = (snapshot.voltage_v, snapshot.current_a, snapshot.temperature_degc, self._used_ah)
        known = [nan if value is None else value for value in (*values, *snapshot.cells_v)]
        kept.append([report.t_s, *known])
        if now is not None and now.ended_s is None and report.estimate.remaining_s is not None:
            now.answers.append((report.t_s, report.estimate.remaining_s))


def _with_samples(told: FlightRecord, now: _Open, heard: Report) -> FlightRecord:
    """Return the row with what all its samples say."""
    pack_data, width = heard.pack_data, len(now.samples[-1])
    samples = np.array([row for row in now.samples if len(row) == width])
    is_flying = samples[:, T_S] >= now.first.t_s
    rated_ah = (pack_data.capacity_mah or _UNTOLD_MAH) / _MILLI
    found = measure_soh(
        samples, pack_data.chemistry, rated_ah, pack_data.cells or max(width - CELLS, 1)
    )
    degc = samples[is_flying & ~np.isnan(samples[:, DEGC]), DEGC]
    cells_mv = samples[:, CELLS:] * _MILLI
    is_heard = ~np.isnan(cells_mv).any(axis=1) & (width > CELLS)
    is_resting = ~is_flying & is_heard & (np.abs(samples[:, AMPS]) <= _REST_C * rated_ah)
    resting_mv, flying_mv = cells_mv[is_resting][-_RESTED:], cells_mv[is_flying & is_heard]
    below_mv = flying_mv.mean() - flying_mv.mean(axis=0) if len(flying_mv) else None
    return replace(
        told, capacity_mah=found.capacity_ah and found.capacity_ah * _MILLI,
        resistance_mohm=found.resistance_ohm and found.resistance_ohm * _MILLI,
        resistance_degc=found.resistance_degc,
        mean_degc=float(degc.mean()) if len(degc) else None,
        hottest_degc=float(degc.max()) if len(degc) else None,
        spread_rest_mv=float(np.ptp(resting_mv, axis=1).mean()) if len(resting_mv) else None,
        spread_load_mv=float(np.ptp(flying_mv, axis=1).mean()) if len(flying_mv) else None,
        lowest_cell=None if below_mv is None else int(below_mv.argmax()) + 1,
        lowest_by_mv=None if below_mv is None else float(below_mv.max()),
        cells_resistance=found.cells_resistance, cells_capacity=found.cells_capacity,
    )  # fmt: skip


def _is_loaded(report: Report) -> bool:
    amps, rated_mah = report.snapshot.current_a, report.pack_data.capacity_mah or _UNTOLD_MAH
    return amps is not None and amps >= _LOAD_C * rated_mah / _MILLI


def _sum_up(now: _Open, report: Report, dt_s: float) -> None:
    now.armed_s += dt_s if report.vehicle.armed else 0.0
    now.idle_s = 0.0 if _is_loaded(report) else now.idle_s + dt_s
    lowest = report.snapshot.lowest_cell()
    if lowest is not None:
        now.lowest_v = min(lowest[1], now.lowest_v or lowest[1])
    if now.ended_s is None and report.estimate.remaining_high_s == 0.0:
        now.ended_s = report.t_s
    for limit_id in report.status.active:
        limit, (_, seconds, worst) = _LIMITS.get(limit_id), now.excursions.get(limit_id, _NONE)
        if limit is not None:
            known = [v for v in (_value(limit.quantity, report), worst) if v is not None]
            worst = (max if limit.rising else min)(known, default=None)
        now.excursions[limit_id] = (limit_id, seconds + dt_s, worst)


def _value(what: str, report: Report) -> float | None:
    """Return the quantity of a limit where a report has it."""
    cells_v = [cell_v for cell_v in report.snapshot.cells_v if cell_v is not None]
    if what in {"lowest_cell_v", "highest_cell_v"}:
        return (min if what == "lowest_cell_v" else max)(cells_v, default=None)
    found: float | None = getattr(report.snapshot, what, getattr(report.estimate, what, None))
    return found


def _error_pct(now: _Open) -> float | None:
    """Return by how much the time left was off on the mean, None when the end was not reached."""
    if now.ended_s is None:
        return None
    true = [(now.ended_s - t_s, left_s) for t_s, left_s in now.answers]
    errors = [abs(left_s - true_s) / true_s for true_s, left_s in true if true_s >= _JUDGED_S]
    return 100.0 * fmean(errors) if errors else None


def _is_over(now: _Open, report: Report) -> bool:
    armed = report.vehicle.armed
    return now.idle_s >= _IDLE_S if armed is None else not armed

# SPDX-License-Identifier: Apache-2.0
"""Detects flights in a stream of Reports and accumulates their records.

A flight lasts from arming until disarming; without a vehicle, from the first load until a minute
without one. Measurements use one sample per second of its first four hours. Current is positive
while discharging; times are the loop's clock.
"""

from collections import deque
from math import nan

from dronebms.core.pack_identity import is_same_pack, merged
from dronebms.core.report import Report
from dronebms.health.flight_record import LANDED, FlightRecord
from dronebms.health.open_flight import OpenFlight, is_loaded, with_measurements
from dronebms.health.samples import T_S
from dronebms.health.stress import Stress
from smartbattery.snapshot import UNIDENTIFIED

LEAST_S = 20.0  # a shorter one is not a flight
_BEFORE = 60  # samples before take-off that are retained: the pack at rest
_MOST = 14_400  # samples of a flight; later reports are accumulated only
_MILLI = 1000.0
_HOUR_S = 3600.0
_SAME_S = 1e-6  # rounding error of times


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
        self._open: OpenFlight | None = None
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
        if self._open is not None and self._open.has_ended(report):
            ended = self.record(LANDED)
            self._restart()
        self._pack = pack if another else pack or self._pack
        self._stress = self._stress.after(report, dt_s)
        self._used_ah += (report.snapshot.current_a or 0.0) * dt_s / _HOUR_S
        if report.snapshot.voltage_v is not None:
            self._valid = report
            armed = report.vehicle.armed
            takes_off = is_loaded(report) if armed is None else armed
            if self._open is None and ended is None and takes_off:
                self._count += 1
                self._open = OpenFlight(report, self._used_ah, list(self._before))
            self._sample(report)
        if self._open is not None:
            self._open.add(report, dt_s)
        return ended

    def record(self, state: str) -> FlightRecord | None:
        """Record of the flight in progress; `None` if there is none or the pack is unknown."""
        flight = self._open
        last = self._last
        valid = self._valid
        if flight is None or last is None or valid is None or self._pack is None:
            return None
        flown_s = last.t_s - flight.first.t_s
        if flown_s < LEAST_S:
            return None
        pack_data = valid.pack_data
        snapshot = valid.snapshot
        record = FlightRecord(
            f"{self._run}:{last.index}:{self._count}", state, self._pack,
            vehicle=pack_data.vehicle or valid.vehicle.uid, serial=snapshot.identity.serial,
            chemistry=pack_data.chemistry.name, cells=pack_data.cells,
            rated_mah=pack_data.capacity_mah, flown_s=flown_s, armed_s=flight.armed_s,
            started_unix_s=flight.started_unix_s,
            used_mah=(self._used_ah - flight.start_ah) * _MILLI,
            start_pct=flight.first.estimate.soc_pct, end_pct=valid.estimate.soc_pct,
            gauge_cycles=snapshot.cycles, gauge_full_mah=snapshot.full_mah,
            lowest_cell_v=flight.lowest_v, error_pct=flight.error_pct(),
            full_h=self._stress.full_s / _HOUR_S, hot_s=self._stress.hot_s,
            above_90_h=self._stress.nearly_full_s / _HOUR_S,
            drawn_ah=self._stress.drawn_ah, excursions=tuple(flight.excursions.values()),
        )  # fmt: skip
        return with_measurements(record, flight, valid)

    def _sample(self, report: Report) -> None:
        """Store a sample once per second: of the flight, or of the rest before it."""
        flight = self._open
        snapshot = report.snapshot
        samples = self._before if flight is None else flight.samples
        if len(samples) == _MOST or (samples and report.t_s - samples[-1][T_S] < 1.0 - _SAME_S):
            return
        values = (snapshot.voltage_v, snapshot.current_a, snapshot.temperature_degc, self._used_ah)
        known = [nan if value is None else value for value in (*values, *snapshot.cells_v)]
        samples.append([report.t_s, *known])
        remaining_s = report.estimate.remaining_s
        if flight is not None and flight.ended_s is None and remaining_s is not None:
            flight.predictions.append((report.t_s, remaining_s))

# SPDX-License-Identifier: Apache-2.0
"""Baselines to compare with: the gauge's time to empty, PX4's and ArduPilot's arithmetic.

After the public sources (PX4 src/lib/battery/battery.cpp, ArduPilot AP_BattMonitor), with their default
parameters. Predictions in seconds; none has an interval.
"""

import importlib
import math
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.scoring import Answer, Judged, Predictor
from smartbattery.snapshot import Snapshot

_AS_PER_MAH = 3.6
NOTHING: Answer = (None, None, None)


class GaugeTime:
    """SBS AverageTimeToEmpty as the gauge reports it."""

    def __init__(self, _: Judged) -> None:
        pass

    def update(self, look: Snapshot) -> Answer:
        """Return the time to empty of the gauge."""
        return (None, look.time_to_empty_s, None)


class _New:
    """The step from one new reading to the next."""

    def __init__(self) -> None:
        self.last_s: float | None = None

    def step(self, look: Snapshot) -> tuple[float, float, float] | None:
        """Return (seconds since the last reading, volts, amperes); `None` without a new reading."""
        read_s = look.read_at_s.get("voltage_v")
        if look.voltage_v is None or look.current_a is None or read_s is None:
            return None
        dt_s = 0.0 if self.last_s is None else read_s - self.last_s
        if self.last_s is not None and dt_s <= 0:
            return None
        self.last_s = read_s
        return dt_s, look.voltage_v, look.current_a


class ArduPilot:
    """Rated charge minus consumed charge, divided by the mean current of a minute.

    ArduPilot sends no time to empty for such a battery; a ground station divides like this.
    With `gauge`, the remaining charge is RemainingCapacity, as AP_BattMonitor_SMBus reads it.
    """

    SPAN_S = 60.0

    def __init__(self, judged: Judged, *, gauge: bool = False) -> None:
        self._rated_mah = judged.flight.pack_data.capacity_mah or 0.0
        self._gauge = gauge
        self._new = _New()
        self._used_as = 0.0
        self._recent: deque[tuple[float, float]] = deque()

    def update(self, look: Snapshot) -> Answer:
        """Count the charge and divide the remaining charge by the mean current."""
        step = self._new.step(look)
        if step is not None:
            dt_s, _, current_a = step
            self._used_as += current_a * dt_s
            self._recent.append((look.t_s, current_a))
            while self._recent[0][0] < look.t_s - self.SPAN_S:
                self._recent.popleft()
        left_mah = self._rated_mah - self._used_as / _AS_PER_MAH
        if self._gauge:
            if look.remaining_mah is None:
                return NOTHING
            left_mah = look.remaining_mah
        if not self._recent:
            return NOTHING
        mean_a = sum(amps for _, amps in self._recent) / len(self._recent)
        return (None, max(left_mah, 0.0) * _AS_PER_MAH / mean_a, None) if mean_a > 0.05 else NOTHING  # noqa: PLR2004 - amperes: a load


class Px4:
    """PX4's lib/battery, as a multirotor runs it.

    Recursive least squares for voltage and resistance, charge by voltage fused with the count,
    over a mean current of 50 s.
    """

    OHM_CELL, COVARIANCE_V, COVARIANCE_OHM, FORGET = 0.005, 1.5, 0.1, 0.95
    MEAN_S, FIRST_A, FILTER_S, SETTLE_S, FUSION = 50.0, 15.0, 1.0, 2.0, 0.03

    def __init__(self, judged: Judged) -> None:
        pack_data = judged.flight.pack_data
        self._cells, self._rated_mah = pack_data.cells or 1, pack_data.capacity_mah or math.inf
        flat = pack_data.chemistry.name == "lifepo4"
        self._empty_v, self._charged_v = (2.9, 3.35) if flat else (3.6, 4.05)
        self._takeoff_s = judged.takeoff_s
        self._new = _New()
        self._first_s: float | None = None
        self._used_mah, self._charge, self._mean_a = 0.0, 1.0, self.FIRST_A
        self._open_v = self._ohm = self._cell_v = 0.0
        self._covariance = (0.0, 0.0, 0.0)

    def update(self, look: Snapshot) -> Answer:
        """Process a sample as PX4 does."""
        step = self._new.step(look)
        if step is not None:
            self._sample(look.t_s, *step)
        if self._first_s is None:
            return NOTHING
        return (None, self._charge * self._rated_mah * _AS_PER_MAH / max(self._mean_a, 1e-6), None)

    def _sample(self, now_s: float, dt_s: float, volts: float, amps: float) -> None:
        cells = self._cells
        if self._first_s is None:
            self._first_s = now_s
            self._cell_v = volts / cells + self.OHM_CELL * amps
        settling = now_s - self._first_s <= self.SETTLE_S
        if settling:
            self._open_v, self._ohm = volts, self.OHM_CELL * cells
            self._covariance = (self.COVARIANCE_V * cells, 0.0, self.COVARIANCE_OHM * cells)
            self._norm = math.hypot(self._covariance[0], self._covariance[2])
            self._cell_v = volts / cells + self.OHM_CELL * amps
        cell_v = volts / cells
        if amps > 0:
            self._least_squares(volts, amps)
            cell_v += max(self._ohm, 0.0) / cells * amps
        used_mah = amps * dt_s / _AS_PER_MAH
        self._used_mah += used_mah
        self._cell_v += min(dt_s, 2.0) / (self.FILTER_S + min(dt_s, 2.0)) * (cell_v - self._cell_v)
        by_voltage = (self._cell_v - self._empty_v) / (self._charged_v - self._empty_v)
        by_voltage = min(max(by_voltage, 0.0), 1.0)
        if settling:
            self._charge = by_voltage
        else:
            weight = self.FUSION * (1 - by_voltage)
            charge = (1 - weight) * self._charge + weight * by_voltage - used_mah / self._rated_mah
            self._charge = min(max(1 - self._used_mah / self._rated_mah, 0.0), max(charge, 0.0))
        if now_s > self._takeoff_s - 2.0 and dt_s > 0:
            share = min(dt_s, 2.0) / (self.MEAN_S + min(dt_s, 2.0))
            self._mean_a += share * (max(amps, 0.0) - self._mean_a)

    def _least_squares(self, volts: float, amps: float) -> None:
        p00, p01, p11 = self._covariance
        error = volts - (self._open_v - amps * self._ohm)
        x0, x1 = p00 - p01 * amps, p01 - p11 * amps
        scale = self.FORGET + x0 - amps * x1
        g0, g1 = x0 / scale, x1 / scale
        new = (
            (p00 - g0 * x0) / self.FORGET,
            (p01 - g0 * x1) / self.FORGET,
            (p11 - g1 * x1) / self.FORGET,
        )
        norm = math.sqrt(new[0] ** 2 + 2 * new[1] ** 2 + new[2] ** 2)
        if norm < self._norm:
            self._open_v += g0 * error
            self._ohm += g1 * error
            self._covariance, self._norm = new, norm
        else:
            self._open_v = volts + self._ohm * amps


class Foreign:
    """A predictor of the form reset / update / predict (progpy's wrapper, an earlier prototype)."""

    def __init__(self, judged: Judged, predictor: Any) -> None:  # noqa: ANN401 - not ours
        pack_data = judged.flight.pack_data
        lifepo4 = pack_data.chemistry.name == "lifepo4"
        self._cells, self._predictor = pack_data.cells or 1, predictor
        self._takeoff_s, self._due_s = judged.takeoff_s, -math.inf
        self._last_s: float | None = None
        self._answer: Answer = NOTHING
        self._answered_s = 0.0
        predictor.reset(
            {
                "name": judged.flight.name,
                "pack_id": judged.pack,
                "n_cells": self._cells,
                "chemistry": "life"
                if lifepo4
                else pack_data.chemistry.name.replace("lihv", "lipo"),
                "rated_mah": pack_data.capacity_mah,
                "cutoff_v_cell": pack_data.cutoff_v,
                "full_v_cell": 3.6 if lifepo4 else pack_data.chemistry.full_cell_v,
                "t_takeoff_s": judged.takeoff_s,
            }
        )

    def update(self, look: Snapshot) -> Answer:
        """Pass a new sample on; from take-off on predict at the predictor's rate, and count down."""
        read_s = look.read_at_s.get("voltage_v")
        if read_s is None or read_s == self._last_s or look.voltage_v is None:
            return self._counted_down(look.t_s)
        self._last_s = read_s
        cells = [v for v in look.cells_v if v is not None]
        gauge = None
        if look.remaining_mah is not None and look.soc_pct is not None:
            minutes = 65535 if look.time_to_empty_s is None else look.time_to_empty_s / 60
            gauge = {
                "rsoc_pct": look.soc_pct,
                "remaining_mah": look.remaining_mah,
                "fcc_mah": look.full_mah or 0.0,
                "atte_min": minutes,
            }
        degc = 25.0 if look.temperature_degc is None else look.temperature_degc
        self._predictor.update(
            look.t_s, look.voltage_v, look.current_a or 0.0, degc, tuple(cells) or None, gauge
        )
        if look.t_s >= max(self._due_s, self._takeoff_s):
            self._due_s = look.t_s + getattr(self._predictor, "predict_period_s", 1.0) - 1e-6
            self._answer, self._answered_s = tuple(self._predictor.predict() or NOTHING), look.t_s
        return self._counted_down(look.t_s)

    def _counted_down(self, now_s: float) -> Answer:
        since_s = now_s - self._answered_s
        low_s, median_s, high_s = (
            None if answer_s is None else max(answer_s - since_s, 0.0) for answer_s in self._answer
        )
        return low_s, median_s, high_s


def foreign(folder: Path, module: str, name: str) -> Callable[[Judged], Predictor]:
    """Return a factory for a predictor of a module in a folder; it may learn between flights."""
    sys.path.insert(0, str(folder))
    made = importlib.import_module(module).REGISTRY[name]()
    return lambda judged: Foreign(judged, made)

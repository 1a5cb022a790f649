# SPDX-License-Identifier: Apache-2.0
"""Capacity learning of a gauge between two long rests, and the charge that it reports.

A rest of five hours gives a reading of the open-circuit voltage, and with it the charge. Two such
readings with enough charge drawn in between give the capacity. Nothing else updates it, least of
all flights of some minutes. Ampere-hours, drawn positive; volts of a cell; degC.

Source: TI SLUUCP8 and SLUUC54C (QMax update), SLUA450A, SLUUCH2 (QMax check). DEVIATION: those
parts take a reading after some two hours if the voltage is at rest by then, and also learn at the
end of a charge; the limit of one update is the usual setting, not a documented one.
"""

import math
from dataclasses import dataclass

import numpy as np

from sim.plant.gauge_spec import GaugeSpec
from sim.plant.pack import Pack

RESTING_A = 0.05  # below it the pack is neither discharged nor charged
_REST_S = 5 * 3600.0
_READING_DEGC = (10.0, 40.0)
_FLAT_V = (3.737, 3.800)  # the open-circuit curve is too flat here to read the charge
_FLAT_LIFEPO4_V = (3.2, 3.35)
_PASSED_FRAC = 0.37  # of the design capacity, between two readings
_STEP_FRAC = 0.05  # of the design capacity: limit of one update


@dataclass(slots=True)
class CapacityLearning:
    """State of capacity learning.

    Attributes:
        full_ah: full charge capacity, as the gauge has learned it.
        updates: number of capacity updates.
        rest_s: time at which the present rest began; None under load.
        rested: whether the open-circuit voltage has been read in this rest.
        last_reading: charge fraction, and charge counted, at the last valid reading.
    """

    design_ah: float
    full_ah: float
    chemistry: str
    updates: int = 0
    rest_s: float | None = None
    rested: bool = False
    last_reading: tuple[float, float] | None = None

    def end_rest(self) -> None:
        """End a rest: the pack is loaded or charged."""
        self.rest_s = None
        self.rested = False

    def rest(self, now_s: float, counted_ah: float, pack: Pack) -> float | None:
        """Continue a rest; the charge fraction at the time of a valid reading, else `None`."""
        if self.rest_s is None:
            self.rest_s = now_s
        if self.rested or now_s - self.rest_s < _REST_S:
            return None
        self.rested = True
        return self._read(counted_ah, pack)

    def _read(self, counted_ah: float, pack: Pack) -> float | None:
        cell_v = float(np.mean(pack.cells.open_circuit_v()))
        degc = float(np.mean(pack.cells.temperature_degc))
        low_v, high_v = _FLAT_LIFEPO4_V if self.chemistry == "lifepo4" else _FLAT_V
        if low_v < cell_v < high_v or not _READING_DEGC[0] <= degc <= _READING_DEGC[1]:
            return None
        charge_frac = float(np.mean(pack.cells.charge_frac))
        if self.last_reading is not None:
            passed_ah = counted_ah - self.last_reading[1]
            passed_frac = self.last_reading[0] - charge_frac
            if abs(passed_ah) >= _PASSED_FRAC * self.design_ah and passed_ah * passed_frac > 0.0:
                step_ah = passed_ah / passed_frac - self.full_ah
                max_step_ah = _STEP_FRAC * self.design_ah
                self.full_ah += min(max(step_ah, -max_step_ah), max_step_ah)
                self.updates += 1
        self.last_reading = charge_frac, counted_ah
        return charge_frac


@dataclass(slots=True)
class ReportedCapacity:
    """Deviation of RemainingCapacity as reported from the charge as counted."""

    spec: GaugeSpec
    lagging_ah: float
    empty: bool = False

    def reported_ah(self, remaining_ah: float, full_ah: float, dt_s: float, pack: Pack) -> float:
        """The charge that is reported: it lags, stops at a minimum, and drops to 0 when empty."""
        spec = self.spec
        if spec.soc_smoothing_s:
            lag = 1.0 - math.exp(-dt_s / spec.soc_smoothing_s)
            self.lagging_ah += (remaining_ah - self.lagging_ah) * lag
            remaining_ah = self.lagging_ah
        if spec.empty_cell_v is not None:
            self.empty |= bool(np.minimum.reduce(pack.cells_v) <= spec.empty_cell_v)
        return 0.0 if self.empty else max(remaining_ah, spec.soc_sticks_pct / 100.0 * full_ah)

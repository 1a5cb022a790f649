"""How a gauge learns what its pack holds, only between two long rests, and what it tells of it.

A rest of five hours gives a reading of the open-circuit voltage, and with it the charge. Two of
them with enough charge drawn in between give the capacity. Whatever else a pack does, flights of
some minutes among it, teaches nothing. Ampere-hours, drawn positive; volts of a cell; degC.

Source: TI SLUUCP8 and SLUUC54C (QMax update), SLUA450A, SLUUCH2 (QMax check). DEVIATION: those
parts take a reading after some two hours when the voltage has come to rest by then, and learn at
the end of a charge too; the bound on one step is the usual setting, not one that is documented.
"""

import math
from dataclasses import dataclass

import numpy as np

from sim.plant.gauge_spec import GaugeSpec
from sim.plant.pack import Pack

RESTING_A = 0.05  # what is less is neither discharging nor charging
_REST_S = 5 * 3600.0
_WARMTH_DEGC = (10.0, 40.0)
_FLAT_V = (3.737, 3.800)  # here the voltage says too little about the charge
_FLAT_LIFEPO4_V = (3.2, 3.35)
_PASSED_FRAC = 0.37  # of the design capacity, between two readings
_STEP_FRAC = 0.05  # of the design capacity, that what was learned changes by at most


@dataclass(slots=True)
class CapacityLearning:
    """What a gauge has learned, and what it needs to learn more.

    Attributes:
        full_ah: what it takes for a full charge.
        times: how often a capacity was learned.
        since_s: when the present rest began; None under load.
        rested: the open-circuit voltage has been read in this rest.
        reading: charge, and what had been counted, at the last rest that was good enough.
    """

    design_ah: float
    full_ah: float
    chemistry: str
    times: int = 0
    since_s: float | None = None
    rested: bool = False
    reading: tuple[float, float] | None = None

    def load(self) -> None:
        """End a rest."""
        self.since_s, self.rested = None, False

    def rest(self, now_s: float, counted_ah: float, pack: Pack) -> float | None:
        """Go on resting; return the charge as a fraction when a reading tells it."""
        if self.since_s is None:
            self.since_s = now_s
        if self.rested or now_s - self.since_s < _REST_S:
            return None
        self.rested = True
        return self._read(counted_ah, pack)

    def _read(self, counted_ah: float, pack: Pack) -> float | None:
        cell_v = float(np.mean(pack.cells.open_circuit_v()))
        degc = float(np.mean(pack.cells.temperature_degc))
        low_v, high_v = _FLAT_LIFEPO4_V if self.chemistry == "lifepo4" else _FLAT_V
        if low_v < cell_v < high_v or not _WARMTH_DEGC[0] <= degc <= _WARMTH_DEGC[1]:
            return None
        charge_frac = float(np.mean(pack.cells.charge_frac))
        if self.reading is not None:
            passed_ah, passed_frac = counted_ah - self.reading[1], self.reading[0] - charge_frac
            if abs(passed_ah) >= _PASSED_FRAC * self.design_ah and passed_ah * passed_frac > 0.0:
                step_ah = passed_ah / passed_frac - self.full_ah
                most_ah = _STEP_FRAC * self.design_ah
                self.full_ah += min(max(step_ah, -most_ah), most_ah)
                self.times += 1
        self.reading = charge_frac, counted_ah
        return charge_frac


@dataclass(slots=True)
class ReportedCapacity:
    """How the charge that is told departs from the charge that was counted."""

    spec: GaugeSpec
    lagging_ah: float
    empty: bool = False

    def reported_ah(self, remaining_ah: float, full_ah: float, dt_s: float, pack: Pack) -> float:
        """Return what is told of a remaining charge: late, never little, then nothing at once."""
        spec = self.spec
        if spec.soc_smoothing_s:
            lag = 1.0 - math.exp(-dt_s / spec.soc_smoothing_s)
            self.lagging_ah += (remaining_ah - self.lagging_ah) * lag
            remaining_ah = self.lagging_ah
        if spec.empty_cell_v is not None:
            self.empty |= bool(np.minimum.reduce(pack.cells_v) <= spec.empty_cell_v)
        return 0.0 if self.empty else max(remaining_ah, spec.soc_sticks_pct / 100.0 * full_ah)

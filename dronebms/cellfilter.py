"""What the weakest cell is doing: charge, resistance, capacity and curve error, with their doubt.

One equivalent circuit per cell (open-circuit voltage, one fast and one slow resistance) in an
extended Kalman filter over x = [charge, ln resistance scale, ln capacity scale, curve error].
Charge is a fraction of this cell's own capacity, voltage in volts a cell, current in amperes.
Method: Plett, "Extended Kalman filtering for battery management systems", 2004, parts 2 and 3.
"""

import math

import numpy as np
import numpy.typing as npt

from dronebms.chemistry import Chemistry

Array = npt.NDArray[np.float64]

SLOW_TAU_S = 60.0  # the slow part: charge transfer and the start of diffusion, as one
FAST_SHARE = 0.55  # of the resistance that shows after some 20 s
# Resistance against temperature; 2,600 K is 21.6 kJ/mol, the middle of what is published for
# NMC and LFP cells between -10 and 40 degC.
ARRHENIUS_K = 2600.0
_REFERENCE_K = 298.15
_ZERO_DEGC_K = 273.15
EMPTY_GROWTH = 0.8  # resistance grows by this near empty ...
EMPTY_CHARGE = 0.07  # ... within this much charge

_SD_RESISTANCE = 0.5  # ln; a pack's against the row of its chemistry
_SD_CAPACITY = 0.09  # ln; nameplates say 5-15 % too much
_MEAN_CAPACITY = math.log(0.95)
_SD_CAPACITY_UNTOLD = 0.8
_SD_CURVE_V = 0.05
_CURVE_TAU_S = 400.0
_SD_MODEL_V = 0.03  # what one second's mean voltage is off from the circuit
_SD_MODEL_FRAC = 0.1  # and this share of the sag
_GATE = 16.0  # squared innovations in variances; more is not this cell's voltage
_STEPS = 20  # of the charge grid
# No cell is further out than this, whatever a gauge says: charge, ln, ln, volts.
_LEAST = (-0.05, -2.0, -2.5, -0.3)
_MOST = (1.02, 2.0, 2.5, 0.3)
_FLOOR = 1e-12
_SIGMA_WEIGHTS = np.array([1 / 6, 2 / 3, 1 / 6])


def temperature_factor(temperature_degc: float | None) -> float:
    """Return how much the resistance is multiplied at a temperature; 1 when it is unknown."""
    if temperature_degc is None:
        return 1.0
    kelvin = max(temperature_degc, -40.0) + _ZERO_DEGC_K
    return math.exp(ARRHENIUS_K * (1 / kelvin - 1 / _REFERENCE_K))


class CellFilter:
    """The filter; made at the first believable sample.

    Attributes:
        x: state, P: its covariance.
        temperature_g: factor of the resistance at the last temperature heard.
        slow_a: current as the slow part of the resistance sees it.
    """

    def __init__(self, chemistry: Chemistry, capacity_ah: float, *, told: bool) -> None:
        self.capacity_as = capacity_ah * 3600.0
        self.curve_v: Array = np.array(chemistry.ocv_v)
        self._curve = list(chemistry.ocv_v)
        resistance_ohm = chemistry.resistance_mohm_ah / 1000.0 / capacity_ah
        self.fast_ohm = FAST_SHARE * resistance_ohm
        self.slow_ohm = resistance_ohm - self.fast_ohm
        self.temperature_g = 1.0
        self.slow_a = 0.0
        sd_capacity = _SD_CAPACITY if told else _SD_CAPACITY_UNTOLD
        self.x: Array = np.array([0.5, 0.0, _MEAN_CAPACITY if told else 0.0, 0.0])
        self.P: Array = np.diag(np.square([0.3, _SD_RESISTANCE, sd_capacity, _SD_CURVE_V]))

    def start(self, cell_v: float, current_a: float, gauge_frac: float | None) -> None:
        """Place the charge by the first voltage, freed of its expected sag, and by the gauge."""
        sag_v = current_a * (self.fast_ohm + self.slow_ohm) * self.temperature_g
        doubt_v = math.hypot(_SD_CURVE_V, _SD_RESISTANCE * sag_v)
        # The curve bends: near empty a slope says nothing of the charge one doubt higher.
        rest_v = cell_v + sag_v + doubt_v * np.array([-math.sqrt(3), 0.0, math.sqrt(3)])
        charges = np.interp(rest_v, self.curve_v, np.linspace(0, 1, _STEPS + 1))
        charge = float(charges[1])
        variance = float(np.square(charges - charge) @ _SIGMA_WEIGHTS) + 0.015**2
        if gauge_frac is not None:
            # A gauge is usually right within a few per cent at rest, and some lie.
            gauge_variance = 0.04**2
            weight = variance / (variance + gauge_variance)
            charge += weight * (gauge_frac - charge)
            variance *= 1 - weight
        self.x[0] = charge
        self.P[0, 0] = variance

    def believe_capacity(self, full_ah: float, sd: float) -> None:
        """Weigh in a full charge capacity that a gauge claims, with its ln standard deviation."""
        innovation = math.log(full_ah * 3600.0 / self.capacity_as) - self.x[2]
        variance = self.P[2, 2] + sd * sd
        if innovation * innovation > _GATE * variance:
            return
        gain = self.P[:, 2] / variance
        self.x += gain * innovation
        self.P -= np.outer(gain, self.P[2, :])

    def curve(self, charge: float) -> tuple[float, float]:
        """Return (open-circuit volts, slope in volts per unit of charge)."""
        place = charge * _STEPS
        k = min(max(int(place), 0), _STEPS - 1)
        step_v = self._curve[k + 1] - self._curve[k]
        return self._curve[k] + step_v * (place - k), step_v * _STEPS

    def advance(self, dt_s: float, current_a: float, doubt_a: float) -> None:
        """Count charge for `dt_s`; `doubt_a` is how far the mean current may be off."""
        x, p = self.x, self.P
        used = current_a * dt_s / (self.capacity_as * math.exp(x[2]))
        x[0] -= used
        p[0, :] += used * p[2, :]  # less capacity than thought: less charge left
        p[:, 0] += used * p[:, 2]
        keep = math.exp(-dt_s / _CURVE_TAU_S)
        x[3] *= keep
        p[3, :] *= keep
        p[:, 3] *= keep
        p[3, 3] += (1 - keep * keep) * _SD_CURVE_V**2
        p[0, 0] += 1e-10 * dt_s + (doubt_a * dt_s / self.capacity_as) ** 2
        p[1, 1] += 1e-5 * dt_s
        p[2, 2] += 1e-8 * dt_s
        self.slow_a += (current_a - self.slow_a) * (1 - math.exp(-dt_s / SLOW_TAU_S))

    def sag(self, current_a: float) -> float:
        """Return the volts lost in the resistance at a current, the slow part as it is now."""
        growth = 1 + EMPTY_GROWTH * math.exp(-max(float(self.x[0]), 0.0) / EMPTY_CHARGE)
        ohms_a = self.fast_ohm * current_a + self.slow_ohm * self.slow_a
        return math.exp(float(self.x[1])) * self.temperature_g * growth * ohms_a

    def measure(self, cell_v: float, current_a: float) -> bool:
        """Correct the state by a mean voltage and current; False when it was too far off."""
        open_v, slope_v = self.curve(float(self.x[0]))
        sag_v = self.sag(current_a)
        innovation = cell_v - (open_v + self.x[3] - sag_v)
        h = np.array([slope_v, -sag_v, 0.0, 1.0])
        ph = self.P @ h
        variance = float(h @ ph) + _SD_MODEL_V**2 + (_SD_MODEL_FRAC * sag_v) ** 2
        if innovation * innovation > _GATE * variance:
            return False
        gain = ph / variance
        self.x += gain * innovation
        self.P -= np.outer(gain, ph)
        self._tidy()
        return True

    def measure_step(self, dv_v: float, di_a: float) -> None:
        """Correct the resistance by a step of voltage and current between two seconds."""
        growth = 1 + EMPTY_GROWTH * math.exp(-max(float(self.x[0]), 0.0) / EMPTY_CHARGE)
        h = -math.exp(float(self.x[1])) * self.temperature_g * growth * self.fast_ohm * di_a
        variance = h * h * self.P[1, 1] + 0.004**2 + (0.3 * h) ** 2
        innovation = dv_v - h
        if innovation * innovation > _GATE * variance:
            return
        gain = self.P[:, 1] * (h / variance)
        self.x += gain * innovation
        self.P -= np.outer(gain, self.P[1, :] * h)
        self._tidy()

    def doubt(self) -> None:
        """Open up after a long disagreement: the cell is not what the filter thought."""
        if self.P[0, 0] < 1.0:  # no doubt is larger
            self.P[0, 0] += 0.15**2
            self.P[1, 1] += 0.3**2

    def _tidy(self) -> None:
        np.clip(self.x, _LEAST, _MOST, out=self.x)
        self.P = (self.P + self.P.T) / 2
        np.fill_diagonal(self.P, np.maximum(self.P.diagonal(), _FLOOR))

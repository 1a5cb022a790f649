"""What the weakest cell is doing, fitted again every ten seconds to the whole flight so far.

Regularised least squares (Gauss-Newton; Tarantola, "Inverse Problem Theory", 2005, chapter 3) of
`cellmodel`'s circuit; the prior is the chemistry's, or what was learned in earlier flights. A later
reading mends what an early one was taken for. Charge is a fraction, volts and amperes are a cell's.
"""

import math
from dataclasses import dataclass

import numpy as np

from dronebms.estimation.cell_model import (
    CAPACITY,
    CHARGE,
    CURVE_FROM,
    CURVE_STEPS,
    DEPTH,
    FAST,
    KNOTS,
    LEAST,
    MOST,
    OFFSET,
    SIZE,
    SLOW,
    Array,
    CellModel,
    CircuitState,
    kelvin_of,
    knots_covariance,
)
from dronebms.estimation.fit_samples import FitSample, merged, without_outliers
from dronebms.estimation.model_parameters import KNOTS_FRAC

_GRID = np.linspace(0.0, 1.0, 41)
_SPAN_S = 10.0 - 1e-6
_MOST_ROWS = 160
_LOAD_C = 0.1  # of the capacity in an hour; below it a cell rests and tells nothing of resistance
_LARGEST_STEP = 1.5  # ln, in one iteration
_SHARE = 0.6  # of a step that is taken: a whole one goes back and forth between bends of the curve
_SPREADS = 1.5  # standard deviations of the charge over which the curve's slope is taken
_OUTLIER = 4.0  # standard deviations from which a reading counts less
_GATE = 16.0  # squared innovations in variances; more is not this cell's voltage
_FULL_GATE = 9.0
_START_GATE = 12.0
_SD_STEP_V = 0.004
_STEP_GATE, _STRAY_STEP_V = 3.0, 0.05
_NUGGET = 1e-9
_SD_START = 0.01, 0.02  # of the charge, by voltage: at best, and of a full cell
_DRIFT_ROWS = 8
_MISSED = 3  # readings in a row, so that a lone one counts for nothing
_OFFSET_KNOWN = 0.3  # of its usual standard deviation, just after a fit


@dataclass(frozen=True, slots=True)
class CellParameters:
    """What is known of a pack's cells beside their charge: mean and covariance from FAST on."""

    mean: Array
    covariance: Array


class CellFit:
    """The fit; made at the first believable sample.

    Attributes:
        x: state now, P: its covariance, root: a square root of that.
        drift_v_s: how fast what the circuit misses has changed, over a minute or more.
        off_v: how far from its model the cell was in the last readings.
        degc: temperature last heard; `kelvin` as the circuit has it.
        fast_a, slow_a: current as the two slow parts see it.
    """

    def __init__(self, model: CellModel, learned: CellParameters | None = None) -> None:
        self.model = model
        self.degc, self.kelvin = 25.0, 0.0
        self.fast_a = self.slow_a = 0.0
        self.x, self.P = model.mean.copy(), model.covariance.copy()
        if learned is not None:
            self._recall(learned)
        self._begin()

    def _recall(self, learned: CellParameters) -> None:
        """Start from what was learned, a little forgotten: packs age, and no day is as another."""
        c = self.model.parameters
        self.x[FAST:] = learned.mean
        self.P[FAST:, FAST:] = learned.covariance
        self.P[FAST:OFFSET, FAST:OFFSET] += np.diag(np.square(c.forget))
        sds_v = np.full(len(KNOTS_FRAC), c.forget_v)
        self.P[KNOTS:, KNOTS:] += knots_covariance(sds_v, c.knots_length)
        self._set_offset(0.0, c.sd_offset_v)

    def learned(self) -> CellParameters:
        """Return what the flight has taught, for the next one."""
        self.fit(iterations=6)
        return CellParameters(self._fitted[FAST:].copy(), self._covariance[FAST:, FAST:].copy())

    def start(self, cell_v: float, current_a: float, gauge_frac: float | None) -> None:
        """Place the charge by the first voltage, freed of its expected sag, and by the gauge."""
        c, model = self.model.parameters, self.model
        sag_v = current_a * (model.ohms[0] + model.ohms[1]) * self.warm() * math.exp(self.x[FAST])
        curve_v, _, hats = model.open(_GRID, self.x[KNOTS:])
        variance = np.einsum("ij,jk,ik->i", hats, self.P[KNOTS:, KNOTS:], hats)
        variance += c.sd_rest_v**2 + (c.sd_fast * sag_v) ** 2
        likely = -((cell_v + sag_v - curve_v) ** 2) / variance / 2 - np.log(variance) / 2
        share = np.exp(likely - likely.max())
        share /= share.sum()
        charge = float(share @ _GRID)
        spread = float(share @ (_GRID - charge) ** 2) + _SD_START[0] ** 2
        if cell_v + sag_v > curve_v[-1]:
            charge, spread = 1.0, max(spread, _SD_START[1] ** 2)
        if gauge_frac is not None:
            # A gauge is usually right within a few per cent at rest, and some lie.
            doubt = c.sd_gauge**2
            if (gauge_frac - charge) ** 2 < _START_GATE * (spread + doubt):
                weight = spread / (spread + doubt)
                charge += weight * (gauge_frac - charge)
                spread *= 1 - weight
        self.x[CHARGE], self.P[CHARGE, CHARGE] = charge, spread
        self._begin()

    def believe_capacity(self, full_ah: float) -> None:
        """Weigh in a full charge capacity that a gauge claims."""
        innovation = math.log(full_ah * 3600.0 / self.model.capacity_as) - self.x[CAPACITY]
        variance = self.P[CAPACITY, CAPACITY] + self.model.parameters.sd_full**2
        if innovation * innovation > _FULL_GATE * variance:
            return
        gain = self.P[:, CAPACITY] / variance
        self.x = self.x + gain * innovation
        self.P = self.P - np.outer(gain, self.P[CAPACITY, :])
        self._begin()

    def _begin(self) -> None:
        """Take the present state as what is believed before the readings to come."""
        self._before, self._fitted = self.x.copy(), self.x.copy()
        self._covariance = self.P.copy()
        self._information = np.linalg.inv(self.P + _NUGGET * np.eye(SIZE))
        self._rows: list[FitSample] = []
        self._pending: list[FitSample] = []
        self.drift_v_s, self.off_v = 0.0, (0.0,) * _MISSED
        self._steps = [0.0, 0.0]  # sums of di^2 and of -di dv
        self._used_as = self._span_s = 0.0
        self._loaded = False
        self._settle()

    def _settle(self) -> None:
        """Prepare what is asked every second and changes with a fit only."""
        values, vectors = np.linalg.eigh(self.P)
        # The symmetric root: it moves as little as P does, so that a sample stays the same one.
        self.root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
        self._table_v: list[float] = self.model.curves(self.x[KNOTS:]).tolist()

    # ------------------------------------------------------------------ readings

    def heat(self, degc: float | None) -> None:
        """Take in a temperature; an unknown one leaves the last."""
        if degc is not None:
            self.degc, self.kelvin = degc, kelvin_of(degc)

    def advance(self, dt_s: float, current_a: float, doubt_a: float) -> None:
        """Count charge for `dt_s`; `doubt_a` is how far the mean current may be off."""
        c = self.model.parameters
        self._dt_s = dt_s
        self._used_as += current_a * dt_s
        self.fast_a += (current_a - self.fast_a) * (1 - math.exp(-dt_s / c.fast_tau_s))
        self.slow_a += (current_a - self.slow_a) * (1 - math.exp(-dt_s / c.slow_tau_s))
        self.x[CHARGE] = self._fitted[CHARGE] - self._used_frac()
        self.x[OFFSET] *= math.exp(-dt_s / c.offset_tau_s)
        if doubt_a:  # as if the charge had been less sure from the begin
            variance = (doubt_a * dt_s / self.model.capacity_as) ** 2
            self.P[CHARGE, CHARGE] += variance
            known = self._information[:, CHARGE].copy()
            weight = variance / (1 + variance * known[CHARGE])
            self._information -= weight * np.outer(known, known)

    def measure(self, cell_v: float, current_a: float) -> bool:
        """Take in a mean voltage and current; False when it is too far off to be this cell's."""
        row = FitSample(
            self._dt_s, self._used_as, cell_v, current_a, self.fast_a, self.slow_a, self.kelvin
        )
        believed = self._believes(row)
        self._loaded |= abs(current_a) > _LOAD_C * self.model.capacity_as / 3600.0
        if self._loaded:  # a rest has placed the charge already
            self._span_s += self._dt_s
            self._pending += [row] if believed else []
        if self._span_s >= _SPAN_S and self._pending:
            self._rows.append(merged(without_outliers(self._pending, self.now(0.0).ohms[0])))
            self._pending, self._span_s = [], 0.0
            if len(self._rows) > _MOST_ROWS:  # a long flight costs no more than a short one
                self._rows = [merged(self._rows[k : k + 2]) for k in range(0, len(self._rows), 2)]
            self.fit(iterations=3)
        return believed

    def measure_step(self, dv_v: float, di_a: float) -> None:
        """Take in a step of voltage and current between two seconds: the fast resistance alone."""
        amps = di_a * self.warm()
        ohm_v = math.exp(self.x[FAST]) * self.model.ohms[0] * amps
        if abs(dv_v + ohm_v) > _STRAY_STEP_V + _STEP_GATE * abs(ohm_v):
            return  # no step of this cell's
        self._steps[0] += amps * amps
        self._steps[1] -= amps * dv_v

    def doubt(self) -> None:
        """Open up after a long disagreement: the cell is not what the fit thought."""
        charge = self.P[CHARGE, CHARGE] + self.model.parameters.sd_doubt**2
        self.P = self.P + self.model.covariance
        self.P[CHARGE, CHARGE] = min(charge, 1.0)
        self._begin()

    def _believes(self, row: FitSample) -> bool:
        c, now = self.model.parameters, self.now(row.amps)
        off_v = row.cell_v - (now.open_v + float(self.x[OFFSET]) - now.sag_v)
        self.off_v = (*self.off_v[1:], off_v)
        variance = c.sd_offset_v**2 + (c.sd_sag_frac * now.sag_v) ** 2
        if off_v * off_v > _GATE * variance:  # the doubt of the state itself costs more
            _, (by,), _ = self.model.volts(self.x, np.array([row._replace(used_as=0.0)]))
            variance += float(by @ self.P @ by)
        return bool(off_v * off_v <= _GATE * variance)

    def warm(self) -> float:
        """Return the factor of the resistance at the present temperature."""
        return self.model.warm(self.x, self.kelvin)

    def now(self, current_a: float) -> CircuitState:
        """Return the circuit at a current, the slow parts as they are now."""
        c, model, x = self.model.parameters, self.model, self.x
        warm, charge = self.warm(), float(x[CHARGE])
        depth_s = math.exp(x[DEPTH]) * model.depth_s * warm**c.depth_warmth
        capacity_as = model.capacity_as * math.exp(x[CAPACITY])
        place = (charge - depth_s / capacity_as * self.slow_a - CURVE_FROM) * CURVE_STEPS
        k = min(max(int(place), 0), len(self._table_v) - 2)
        step_v = self._table_v[k + 1] - self._table_v[k]
        open_v = self._table_v[k] + step_v * min(max(place - k, 0.0), 1.0)
        grown = warm * (1 + c.empty_growth * math.exp(-max(charge, 0.0) / c.empty_charge))
        fast, slow = math.exp(x[FAST]) * grown, math.exp(x[SLOW]) * grown
        ohms = fast * model.ohms[0], fast * model.ohms[1], slow * model.ohms[2]
        sag_v = ohms[0] * current_a + ohms[1] * self.fast_a + ohms[2] * self.slow_a
        return CircuitState(open_v, step_v * CURVE_STEPS, ohms, sag_v, depth_s, capacity_as)

    def fit(self, *, iterations: int) -> None:
        """Fit the state to all rows, and carry it to now."""
        if not self._rows:
            return
        rows, x, information = np.array(self._rows), self._fitted.copy(), self._information
        for _ in range(iterations):
            information, push = self._normal(x, rows)
            step = np.linalg.solve(information, push)
            largest = float(np.abs(step[FAST:OFFSET]).max())
            x = np.clip(x + step * min(_SHARE, _LARGEST_STEP / max(largest, _NUGGET)), LEAST, MOST)
        covariance = np.linalg.inv(information)
        self._fitted, self._covariance = x, (covariance + covariance.T) / 2
        last = rows[-_DRIFT_ROWS:]
        missed_v = last[:, 2] - self.model.volts(x, last)[0]
        half = len(last) // 2
        if half:
            self.drift_v_s = (missed_v[half:].mean() - missed_v[:half].mean()) / (
                last[:, 0].sum() / 2
            )
        self.x = x.copy()
        carry = np.eye(SIZE)
        carry[CHARGE, CAPACITY] = self._used_frac()  # less capacity than thought: less charge left
        self.P = carry @ self._covariance @ carry.T
        self.x[CHARGE] -= self._used_frac()
        self.off_v = (0.0,) * _MISSED
        self._set_offset(float(missed_v[-1]), _OFFSET_KNOWN * self.model.parameters.sd_offset_v)
        self._settle()

    def _normal(self, x: Array, rows: Array) -> tuple[Array, Array]:
        """Return the information matrix and the gradient at a state.

        What the circuit cannot follow is correlated in time: residuals are whitened as a process of
        first order, otherwise an hour of readings would make the fit sure of a wrong circuit.
        """
        c = self.model.parameters
        spread = _SPREADS * math.sqrt(max(self._covariance[CHARGE, CHARGE], 0.0))
        model_v, by, sag_v = self.model.volts(x, rows, spread)
        sd_v = np.hypot(c.sd_offset_v, c.sd_sag_frac * sag_v)
        off, by = (rows[:, 2] - model_v) / sd_v, by / sd_v[:, None]
        keep = np.exp(-(rows[1:, 0] + rows[:-1, 0]) / 2 / c.offset_tau_s)
        new = np.sqrt(1 - keep**2 + (c.sd_noise_v / c.sd_offset_v) ** 2)
        off[1:] = (off[1:] - keep * off[:-1]) / new
        by[1:] = (by[1:] - keep[:, None] * by[:-1]) / new[:, None]
        trust = 1 / (1 + (off / _OUTLIER) ** 2)
        information = self._information + (by * trust[:, None]).T @ by
        push = by.T @ (trust * off) - self._information @ (x - self._before)
        squared, product = self._steps
        if product > 0:
            ohm = product / squared
            precision = 1 / (c.sd_step**2 + (_SD_STEP_V / ohm) ** 2 / squared)
            information[FAST, FAST] += precision
            push[FAST] += (math.log(ohm / self.model.ohms[0]) - x[FAST]) * precision
        return information, push

    def _used_frac(self) -> float:
        return self._used_as / (self.model.capacity_as * math.exp(float(self._fitted[CAPACITY])))

    def _set_offset(self, offset_v: float, sd_v: float) -> None:
        self.x[OFFSET] = min(max(offset_v, LEAST[OFFSET]), MOST[OFFSET])
        self.P[OFFSET, :] = self.P[:, OFFSET] = 0.0
        self.P[OFFSET, OFFSET] = sd_v**2

# SPDX-License-Identifier: Apache-2.0
"""Stage: parameter identification of the weakest cell by least squares over the flight.

A fit (`flight_fit`) every ten seconds of load, over all readings so far; the prior is the
chemistry's or that of the pack's earlier flights. A later reading corrects how an early one was
explained.
Charge is a fraction; volts, amperes and ampere-seconds of one cell.
"""

import math
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from dronebms.estimation.cell.cell_estimate import CellEstimate
from dronebms.estimation.cell.cell_fit_state import CellFitState
from dronebms.estimation.cell.cell_gap import BOTH, median_above_v, rest_gap
from dronebms.estimation.cell.cell_model import (
    ACTIVATION,
    CAPACITY,
    CHARGE,
    FAST,
    HIGHEST,
    KNOTS,
    LOWEST,
    OFFSET,
    SIZE,
    Array,
    CellModel,
    CircuitState,
    FilteredCurrent,
    inverse_temperature,
)
from dronebms.estimation.cell.cell_parameters import CellParameters, Vector, matrix
from dronebms.estimation.cell.fit_rows import FitRows, FitSample
from dronebms.estimation.cell.flight_fit import Solution, drift_v_s, solved
from dronebms.estimation.cell.full_charge import full_charge_information
from dronebms.estimation.cell.least_squares import Prior
from dronebms.estimation.cell.lost_cells import Loss, LossWindow, Residual, after_loss, lost_cells
from dronebms.estimation.cell.start_charge import RestVoltage, at_rest, start_charge
from dronebms.estimation.cell.step_resistance import Level, StepResistance
from dronebms.estimation.model_parameters import KNOTS_FRAC
from dronebms.estimation.sampling import MAX_STEP_GAP_S, Sample, Second
from smartbattery.values import changed

_LOAD_C = 0.1  # of the capacity in an hour; below it a cell rests: no information on resistance
_GATE = 16.0  # squared innovation in variances; more is not this cell's voltage
_KEPT_FLIGHTS = 10  # whose resistance is kept with its temperature
_STEADY_C = 0.08  # of the capacity; a smaller change of current is no start of the load
_STEP_C = 0.32  # a change that counts in full as a step
_STEP_GATE = 3.0  # resistances; a larger change of the voltage is not a step of this cell
_ITERATIONS = 3  # of a fit in flight, which begins at the last one
_LAST_ITERATIONS = 6  # of the fit that a later flight begins with
_NUGGET = 1e-9
_DRIFT_ROWS = 8
_ERRORS = 3  # readings in a row, so that a lone outlier does not count
_OFFSET_KNOWN = 0.3  # of its usual standard deviation, just after a fit
_DISAGREE_S = 15.0  # of rejected readings, after which the prior is widened
_SETTLED = 6  # rows since a start, before which a fall of the voltage may be the circuit's error
_NO_GAP = 0.0, 0.0  # at rest: nothing is known of it


@dataclass(frozen=True, slots=True)
class FlightReadings:
    """What was read since the prior began."""

    rows: FitRows = field(default_factory=FitRows)
    steps: StepResistance = field(default_factory=StepResistance)
    used_as: float = 0.0
    newest_s: float = 0.0  # span of the second that was counted last
    loaded: bool = False  # the voltage is no resting one any more


class CellFit:
    """Stage: the fit of one cell, created at its first reading.

    Attributes:
        x: state vector, P: its covariance.
    """

    def __init__(
        self,
        model: CellModel,
        learned: CellParameters | None = None,
        state: CellFitState | None = None,
    ) -> None:
        self.model = model
        self._newest: CellEstimate | None = None  # None: to be computed
        self._errors_v: Vector  # reading minus model, of the last readings
        if state is not None:
            self._restore(state)
            return
        self._degc = 25.0
        self._filtered = FilteredCurrent()
        self._agreed_s: float | None = None  # when a reading was last accepted
        self._window = LossWindow()
        self._has_lost = False  # parallel cells, in this flight
        self._full_ah: float | None = None  # full charge capacity that the gauge reports
        self._foreign = False  # the voltage is no cell's of this chemistry
        # Resistances of the flights before, see `CellParameters`.
        self._own_flights = () if learned is None else learned.warm
        self._sister_flights = () if learned is None else learned.sister_warm
        gap: Array = np.zeros(BOTH - SIZE)
        self.x = model.mean.copy()
        self.P: Array = model.covariance.copy()
        if learned is not None:
            gap[1:] = learned.loss, learned.growth
            c = model.parameters
            sds_v = np.full(len(KNOTS_FRAC), c.sd_ageing_v)
            carried = learned.carried_over(np.array(c.sd_ageing), sds_v, c)
            self.x[FAST:], self.P[FAST:, FAST:] = carried
            self._set_offset(0.0, c.sd_offset_v)
        self._solution = Solution(self.x, self.P, gap)
        self._begin()

    def state(self) -> CellFitState:
        """Restart state."""
        prior = self._prior
        solution = self._solution
        readings = self._readings
        rows = readings.rows
        return CellFitState(
            x=tuple(self.x.tolist()),
            covariance=matrix(self.P),
            root=matrix(self._root),
            prior_x=tuple(prior.x.tolist()),
            prior_information=matrix(prior.information),
            fitted_x=tuple(solution.x.tolist()),
            fitted_covariance=matrix(solution.covariance),
            rows=tuple(map(tuple, rows.whole)),
            pending=tuple(map(tuple, rows.pending)),
            drift_v_s=self._drift_v_s,
            errors_v=tuple(map(float, self._errors_v)),
            steps=readings.steps,
            used_as=readings.used_as,
            span_s=rows.span_s,
            loaded=readings.loaded,
            fast_a=self._filtered.fast_a,
            slow_a=self._filtered.slow_a,
            degc=self._degc,
            agreed_s=self._agreed_s,
            full_ah=self._full_ah,
            foreign=self._foreign,
            warm_flights=self._own_flights,
            sister_warm=self._sister_flights,
            gap=tuple(solution.gap.tolist()),
            prior_gap=tuple(prior.gap.tolist()),
            rest_gap=prior.rest_gap,
            recent=tuple(map(tuple, self._window.seconds)),
            residuals=tuple(map(tuple, self._window.residuals)),
            has_lost=self._has_lost,
            median_variances=solution.median_variances,
        )

    def with_state(self, state: CellFitState) -> Self:
        """Return a stage that continues from a state."""
        return type(self)(self.model, state=state)

    def _restore(self, state: CellFitState) -> None:
        """Continue from a state; raises ValueError if it is not one of a fit."""
        state.check()
        self.x = np.array(state.x)
        self.P = np.array(state.covariance)
        self._root = np.array(state.root)
        self._own_flights = state.warm_flights
        self._sister_flights = state.sister_warm
        self._prior = Prior(
            np.array(state.prior_x),
            np.array(state.prior_information),
            np.array(state.prior_gap),
            weakest_is_known=bool(state.warm_flights),
            rest_gap=state.rest_gap,
        )
        self._solution = Solution(
            np.array(state.fitted_x),
            np.array(state.fitted_covariance),
            np.array(state.gap),
            state.median_variances,
        )
        rows = FitRows(
            tuple([FitSample(*row) for row in state.rows]),
            tuple([FitSample(*row) for row in state.pending]),
            state.span_s,
        )
        self._readings = FlightReadings(rows, state.steps, state.used_as, loaded=state.loaded)
        self._window = LossWindow(
            tuple([FitSample(*row) for row in state.recent]),
            tuple([Residual(*row) for row in state.residuals]),
        )
        self._drift_v_s = state.drift_v_s
        self._errors_v = state.errors_v
        self._filtered = FilteredCurrent(state.fast_a, state.slow_a)
        self._agreed_s = state.agreed_s
        self._full_ah = state.full_ah
        self._foreign = state.foreign
        self._has_lost = state.has_lost
        self._degc = state.degc
        self._table_v = self._curve()

    def update(
        self,
        sample: Sample,
        degc: float | None,
        gauge_full_ah: float | None,
        gauge_frac: float | None,
    ) -> CellEstimate | None:
        """Take in a sample; None while the voltage is no cell's: their number may be wrong.

        Args:
            sample: of this update.
            degc: temperature, None when unknown.
            gauge_full_ah: full charge capacity that the gauge reports, None when it does not count.
            gauge_frac: charge that the gauge reports, None when it does not count.
        """
        if sample.is_new:
            self.heat(degc)
        if sample.second is not None:
            self._follow(sample.second, median_above_v(sample.cells_v), gauge_frac)
        if self._agreed_s is not None and gauge_full_ah != self._full_ah:
            self._weigh_capacity(gauge_full_ah)  # after the start: the prior is without it
        if self._foreign:
            return None
        if self._newest is None:
            self._newest = self.estimate()
        return self._newest

    def estimate(self) -> CellEstimate:
        """The cell as it is now."""
        return CellEstimate(
            model=self.model,
            x=self.x.copy(),
            variance=self.P.diagonal().copy(),
            root=self._root,
            table_v=self._table_v,
            fast_a=self._filtered.fast_a,
            slow_a=self._filtered.slow_a,
            degc=self._degc,
            inverse_kk=self._inverse_kk,
            drift_v_s=self._drift_v_s,
            errors_v=self._errors_v,
            loaded=self._readings.loaded,
            fitted=bool(self._readings.rows.whole),
            median=self._solution.median(self._used_frac()),
        )

    @property
    def charge_frac(self) -> float:
        """State of charge."""
        return float(self.x[CHARGE])

    @property
    def charge_sd(self) -> float:
        """Its standard deviation."""
        return math.sqrt(max(float(self.P[CHARGE, CHARGE]), 0.0))

    @property
    def median_charge_frac(self) -> float:
        """State of charge of the median cell, which a gauge reports."""
        median = self._solution.median(self._used_frac())
        return self.charge_frac + (0.0 if median is None else median.more_frac)

    def start_charge(self, used_as: float) -> tuple[float, float]:
        """(State of charge, its standard deviation) at the start.

        Args:
            used_as: charge since then.
        """
        used_frac = self._solution.used_frac(used_as, self.model.capacity_as)
        return self.charge_frac + used_frac, self._solution.charge_sd

    @property
    def has_lost(self) -> bool:
        """Whether the pack has lost parallel cells in this flight."""
        return self._has_lost

    @property
    def loaded(self) -> bool:
        """Whether the cell has been loaded: its voltage is no resting one any more."""
        return self._readings.loaded

    def fit_to_end(self) -> CellParameters:
        """Fit a last time, longer; return the parameters, the prior of the next flight."""
        self._fit(_LAST_ITERATIONS)
        x = self._solution.x
        flights = self._own_flights
        rows = self._readings.rows.whole
        if rows:
            spans_s, inverses_kk = np.array([(row.span_s, row.inverse_kk) for row in rows]).T
            inverse_kk = float(spans_s @ inverses_kk / spans_s.sum())
            at = float(x[FAST] + x[ACTIVATION] * inverse_kk)
            flights = (*flights, (inverse_kk, at))[-_KEPT_FLIGHTS:]
        _, loss, growth = self._solution.gap.tolist()
        return CellParameters(
            mean=tuple(x[FAST:].tolist()),
            covariance=matrix(self._solution.covariance[FAST:, FAST:]),
            warm=flights,
            sister_warm=self._sister_flights,
            loss=loss,
            growth=growth,
        )

    # ------------------------------------------------------------------ the start

    def start(
        self,
        cell_v: float,
        current_a: float,
        gauge_frac: float | None,
        above_v: float | None = None,
    ) -> None:
        """Initialise the charge by the first voltage without its expected sag, and by the gauge.

        Args:
            cell_v: of the weakest cell.
            current_a: positive while discharging.
            gauge_frac: charge that the gauge reports, None when it does not count.
            above_v: by how much the median cell is above the weakest, None when unknown.
        """
        rest = self._at_rest(cell_v, current_a)
        self._foreign = rest.is_foreign(self.model.full_v)
        start = start_charge(rest, gauge_frac, self.model.sd_gauge)
        self.x[CHARGE] = start.charge
        self.P[CHARGE, CHARGE] = start.variance
        gap_at_rest = _NO_GAP
        if above_v is not None:
            sd = math.sqrt(start.variance)
            (slope_v,) = self.model.open(np.array([start.charge]), self.x[KNOTS:], sd)[1]
            gap_at_rest = rest_gap(above_v, float(slope_v), rest.rest_v - cell_v)
        self._begin(gap_at_rest)

    def strain(self, cell_v: float, current_a: float, charge_frac: float) -> float:
        """Standard deviations by which a reading contradicts a charge (`RestVoltage.strain`)."""
        return self._at_rest(cell_v, current_a).strain(charge_frac)

    def _at_rest(self, cell_v: float, current_a: float) -> RestVoltage:
        return at_rest(
            self.model, self.x, self.P, self._inverse_kk, cell_v=cell_v, current_a=current_a
        )

    def _begin(self, gap_at_rest: tuple[float, float] = _NO_GAP) -> None:
        """Make the present state the prior of the readings to come."""
        self._prior = Prior(
            self.x.copy(),
            np.asarray(np.linalg.inv(self.P + _NUGGET * np.eye(SIZE))),
            self._solution.gap.copy(),
            weakest_is_known=bool(self._own_flights),
            rest_gap=gap_at_rest,
        )
        self._solution = changed(self._solution, x=self.x.copy(), covariance=self.P.copy())
        self._readings = FlightReadings()
        self._drift_v_s = 0.0
        self._errors_v = (0.0,) * _ERRORS
        self._settle()

    # ------------------------------------------------------------------ readings

    def _follow(self, second: Second, above_v: float | None, gauge_frac: float | None) -> None:
        """Take in a second, and by how much the median cell is above the weakest."""
        mean = second.mean
        previous = second.previous
        self.advance(second.span_s, second.counted_a, second.counted_sd_a)
        if mean.current_sd_a > abs(mean.current_a) / 2:  # a guess: no information for the fit
            self._agreed_s = mean.t_s
        elif self._agreed_s is None:
            self._start_again(second, above_v, gauge_frac)
        elif self.measure(mean.cell_v, mean.current_a, above_v):
            self._agreed_s = mean.t_s
        elif mean.t_s - self._agreed_s > _DISAGREE_S:
            self.widen()
            self._agreed_s = mean.t_s
        if previous is None or mean.t_s - previous.t_s >= MAX_STEP_GAP_S or mean.current_sd_a:
            readings = self._readings
            self._readings = changed(readings, steps=readings.steps.interrupted())
        if not mean.current_sd_a:
            self.measure_steps(mean.cell_v, mean.current_a)

    def _start_again(self, second: Second, above_v: float | None, gauge_frac: float | None) -> None:
        """Start from a mean of readings, once: it is surer than the first reading alone.

        But not than a first one at rest when the load has begun since: its sag is a guess.
        """
        mean = second.mean
        previous = second.previous
        steady_a = _STEADY_C * self.model.capacity_as / 3600.0
        if (
            previous is None
            or self._foreign
            or abs(mean.current_a) - abs(previous.current_a) <= steady_a
        ):
            self.start(mean.cell_v, mean.current_a, gauge_frac, above_v)
        self._agreed_s = None if self._foreign else mean.t_s

    def heat(self, degc: float | None) -> None:
        """Take in a temperature; an unknown one leaves the last in place."""
        if degc is not None and degc != self._degc:
            self._degc = degc
            self._newest = None

    def advance(self, dt_s: float, current_a: float, sd_a: float) -> None:
        """Count charge for `dt_s`; `sd_a` is the standard deviation of the mean current."""
        c = self.model.parameters
        readings = self._readings
        self._newest = None
        self._readings = changed(
            readings, used_as=readings.used_as + current_a * dt_s, newest_s=dt_s
        )
        self._filtered = self._filtered.after(dt_s, current_a, c)
        self.x[CHARGE] = self._solution.x[CHARGE] - self._used_frac()
        self.x[OFFSET] *= math.exp(-dt_s / c.offset_tau_s)
        if sd_a:  # as if the initial charge had been less certain
            variance = (sd_a * dt_s / self.model.capacity_as) ** 2
            self.P[CHARGE, CHARGE] += variance
            information = self._prior.information
            known = information[:, CHARGE]
            weight = variance / (1 + variance * known[CHARGE])
            self._prior = self._prior._replace(
                information=information - weight * np.outer(known, known)
            )

    def measure(self, cell_v: float, current_a: float, above_v: float | None = None) -> bool:
        """Take in a mean voltage and current; False when the voltage is rejected.

        Args:
            cell_v: of the weakest cell.
            current_a: positive while discharging.
            above_v: by how much the median cell is above it, None when unknown.
        """
        readings = self._readings
        second = FitSample(
            readings.newest_s,
            readings.used_as,
            cell_v,
            current_a,
            self._filtered.fast_a,
            self._filtered.slow_a,
            self._inverse_kk,
            above_v or 0.0,
            float(above_v is not None),
        )
        accepted = self._compare(second)
        if accepted and len(readings.rows.whole) >= _SETTLED:
            lost = lost_cells(self._window.residuals)
            if lost is not None:
                self._lose(lost)
                return True
        is_load = abs(current_a) > _LOAD_C * self.model.capacity_as / 3600.0
        if not (readings.loaded or is_load):  # at rest the first voltage has set the charge already
            return accepted
        rows = readings.rows.with_second(second, accepted=accepted)
        is_due = rows.is_due
        if is_due:
            rows = rows.with_row(self._circuit(0.0).ohms[0])
        self._readings = changed(readings, rows=rows, loaded=True)
        if is_due:
            self._fit(_ITERATIONS)
        return accepted

    def measure_steps(self, cell_v: float, current_a: float) -> None:
        """Take in a second for the steps of the load: immediate resistance alone."""
        readings = self._readings
        ohm = self.model.ohms[0] * self.model.arrhenius_factor(self.x, self._inverse_kk)
        most = _STEP_GATE * math.exp(self.x[FAST])
        step_v = ohm * _STEP_C * self.model.capacity_as / 3600.0
        steps = readings.steps.updated(Level(cell_v, ohm * current_a), step_v, most)
        self._readings = changed(readings, steps=steps)

    def _compare(self, second: FitSample) -> bool:
        """Compare a second with the model; whether its voltage is accepted."""
        c = self.model.parameters
        now = self._circuit(second.amps)
        off_v = second.cell_v - (now.open_v - now.sag_v)
        residual = Residual(off_v, now.ohms[0] * second.amps, second.above_v)
        self._window = self._window.with_second(second, residual)
        off_v -= float(self.x[OFFSET])
        self._errors_v = (*self._errors_v[1:], off_v)
        variance = c.sd_offset_v**2 + (c.sd_sag_frac * now.sag_v) ** 2
        if off_v * off_v > _GATE * variance:  # the variance of the state itself costs more
            rows = np.array([second._replace(used_as=0.0)])
            _, (jacobian,), _ = self.model.derivatives(self.x, rows)
            variance += float(jacobian @ self.P @ jacobian)
        return bool(off_v * off_v <= _GATE * variance)

    # ------------------------------------------------------------------ other priors

    def widen(self) -> None:
        """Widen the covariance after a long disagreement: the fit is wrong about the cell."""
        charge = self.P[CHARGE, CHARGE] + self.model.parameters.sd_widened**2
        self.P = self.P + self.model.covariance
        self.P[CHARGE, CHARGE] = min(charge, 1.0)
        gap = self._solution.gap_after(self._used_frac())
        self._solution = changed(self._solution, gap=gap)
        self._begin()

    def _lose(self, lost: Loss) -> None:
        """Continue with a group that lost parallel cells."""
        self.x, self.P = after_loss(self.x, self.P, lost)
        self._filtered = self._filtered.over(1.0 + lost.growth)  # the polarisation does not step
        gap = self._solution.gap_after(self._used_frac())
        gap[1] += math.log(1.0 + lost.growth) * lost.alone
        self._solution = changed(self._solution, gap=gap)
        self._set_offset(lost.before_v, self.model.parameters.sd_offset_v)
        self._has_lost = True
        self._window = self._window.without_residuals()
        self._begin()
        self._readings = changed(self._readings, loaded=True)

    def _weigh_capacity(self, full_ah: float | None) -> None:
        """Take in the full charge capacity that a gauge reports, or take it back (None)."""
        _, known_before = self._full_charge()
        self._full_ah = full_ah
        weighted, known = self._full_charge()
        if not known_before and not known:
            return
        if self._readings.rows.whole:
            self._fit(_ITERATIONS)
            return
        prior = self._prior
        information = prior.information.copy()
        information[CAPACITY, CAPACITY] += known
        self.P = np.asarray(np.linalg.inv(information))
        gradient = weighted - known * prior.x[CAPACITY]
        self.x[FAST:] = (prior.x + self.P[:, CAPACITY] * gradient)[FAST:]
        at_start = self._solution.x.copy()
        at_start[FAST:] = self.x[FAST:]
        self._solution = changed(self._solution, x=at_start, covariance=self.P.copy())
        self._settle()

    def _full_charge(self) -> tuple[float, float]:
        """(Information times ln, information) on the capacity by the gauge's full charge."""
        if self._full_ah is None or self._has_lost:  # it is of the pack as it was
            return 0.0, 0.0
        return full_charge_information(self._full_ah, self.model, self._prior)

    # ------------------------------------------------------------------ the fit

    def _fit(self, iterations: int) -> None:
        """Fit the state to all rows and carry it forward to the newest reading."""
        readings = self._readings
        if not readings.rows.whole:
            return
        rows = np.array(readings.rows.whole)
        prior = self._prior._replace(full=self._full_charge(), steps=readings.steps.ratio())
        solution = solved(self.model, rows, prior, self._solution, readings.used_as, iterations)
        self._solution = solution
        newest = rows[-_DRIFT_ROWS:]
        off_v = newest[:, 2] - self.model.volts(solution.x, newest)
        drift = drift_v_s(newest, off_v)
        self._drift_v_s = self._drift_v_s if drift is None else drift
        self.x, self.P = solution.after(self._used_frac())
        self._errors_v = (0.0,) * _ERRORS
        ohm = self._circuit(0.0).ohms[0]
        self._window = self._window.refitted(self.model, solution.x, ohm)
        self._set_offset(float(off_v[-1]), _OFFSET_KNOWN * self.model.parameters.sd_offset_v)
        self._settle()

    def _settle(self) -> None:
        """Compute what changes with a fit only and is used every second."""
        self._newest = None
        values, vectors = np.linalg.eigh(self.P)
        # The symmetric root moves as little as P does: each sample keeps its meaning.
        self._root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
        self._table_v = self._curve()

    def _curve(self) -> Vector:
        return tuple(self.model.curves(self.x[KNOTS:]).tolist())

    @property
    def _inverse_kk(self) -> float:
        return inverse_temperature(self._degc)

    def _circuit(self, current_a: float) -> CircuitState:
        return self.model.circuit(
            self.x,
            self._table_v,
            self._inverse_kk,
            self._filtered.fast_a,
            self._filtered.slow_a,
            current_a,
        )

    def _used_frac(self) -> float:
        return self._solution.used_frac(self._readings.used_as, self.model.capacity_as)

    def _set_offset(self, offset_v: float, sd_v: float) -> None:
        self.x[OFFSET] = min(max(offset_v, LOWEST[OFFSET]), HIGHEST[OFFSET])
        self.P[OFFSET, :] = self.P[:, OFFSET] = 0.0
        self.P[OFFSET, OFFSET] = sd_v**2

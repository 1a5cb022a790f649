# SPDX-License-Identifier: Apache-2.0
"""Stage: parameter identification of the weakest cell by least squares over the flight.

A fit (`least_squares`) every ten seconds of load, over all readings so far; the prior is the
chemistry's or that of the pack's earlier flights. A later reading corrects how an early one was
explained.
Charge is a fraction; volts, amperes and ampere-seconds of one cell.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from dronebms.estimation.cell_estimate import CellEstimate
from dronebms.estimation.cell_gap import (
    BOTH,
    LOSS,
    MedianCell,
    median_above_v,
    median_variances,
    rest_gap,
)
from dronebms.estimation.cell_model import (
    CAPACITY,
    CHARGE,
    FAST,
    HIGHEST,
    KNOTS,
    LOWEST,
    OFFSET,
    SIZE,
    SLOW,
    WARMTH,
    Array,
    CellModel,
    CircuitState,
    inverse_temperature,
)
from dronebms.estimation.cell_parameters import CellParameters, Matrix, Vector, matrix
from dronebms.estimation.full_charge import added_by_full_charge
from dronebms.estimation.least_squares import (
    FitSample,
    LeastSquares,
    Prior,
    merged,
    without_outliers,
)
from dronebms.estimation.lost_cells import SPAN, Loss, Residual, lost_cells
from dronebms.estimation.model_parameters import KNOTS_FRAC
from dronebms.estimation.sampling import MAX_STEP_GAP_S, Sample, Second
from dronebms.estimation.start_charge import RestVoltage, at_rest, start_charge
from dronebms.estimation.step_resistance import Level, StepResistance

_MAX_LN = 10.0  # of a restored state; beyond LOWEST and HIGHEST
_SPAN_S = 10.0 - 1e-6
_MAX_ROWS = 160
_LOAD_C = 0.1  # of the capacity in an hour; below it a cell rests: no information on resistance
_SPREADS = 1.5  # standard deviations of the charge over which the curve's slope is taken
_GATE = 16.0  # squared innovation in variances; more is not this cell's voltage
_FULL_GATE = 9.0
_WARM_FLIGHTS = 10
_STEADY_C = 0.08  # of the capacity; a smaller change of current is no start of the load
_STEP_C = 0.32  # a change that counts in full as a step
_STEP_GATE = 3.0  # resistances; a larger change of the voltage is not a step of this cell
_STRAYED = 6.0  # standard deviations of the prior's capacity
_MORE_ITERATIONS = 8
_NUGGET = 1e-9
_DRIFT_ROWS = 8
_DRIFT_S = 60.0 - 1e-3
_ERRORS = 3  # readings in a row, so that a lone outlier does not count
_OFFSET_KNOWN = 0.3  # of its usual standard deviation, just after a fit
_DISAGREE_S = 15.0  # of rejected readings, after which the prior is widened
_SETTLED = 6  # rows since a start, before which a fall of the voltage may be the circuit's error
_SD_LOST = 0.25, 0.2  # of a loss of parallel cells: of the whole, of each parameter


@dataclass(frozen=True, slots=True)
class CellFitState:
    """Restart state of `CellFit`."""

    x: Vector
    covariance: Matrix
    root: Matrix
    prior_x: Vector
    prior_information: Matrix
    fitted_x: Vector
    fitted_covariance: Matrix
    rows: Matrix
    pending: Matrix
    drift_v_s: float
    errors_v: Vector
    steps: StepResistance
    used_as: float
    span_s: float
    loaded: bool
    fast_a: float
    slow_a: float
    degc: float
    agreed_s: float | None
    full_ah: float | None
    foreign: bool
    warm_flights: tuple[tuple[float, float], ...]  # see `CellParameters`
    sister_warm: tuple[tuple[float, float], ...]
    gap: Vector  # see `cell_gap`
    prior_gap: Vector
    rest_gap: tuple[float, float]
    recent: Matrix
    residuals: Matrix
    has_lost: bool
    median_variances: Vector  # empty: too few cells are read


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
        self._rows: list[FitSample]
        self._pending: list[FitSample]  # not yet part of a row
        self._errors_v: Vector
        self._newest: CellEstimate | None = None  # None: to be computed
        if state is not None:
            self._restore(state)
            return
        self._degc = 25.0
        self._inverse_kk = 0.0
        self._fast_a = self._slow_a = 0.0
        self._agreed_s: float | None = None  # when a reading was last accepted
        self._recent: list[FitSample] = []  # the last seconds
        self._residuals: list[Residual] = []  # of them, since the prior began
        self._has_lost = False  # parallel cells, in this flight
        self._full_ah: float | None = None  # full charge capacity that the gauge reports
        self._foreign = False  # the voltage is no cell's of this chemistry
        self._warm_flights = () if learned is None else learned.warm
        self._sister_warm = () if learned is None else learned.sister_warm
        self._gap: Array = np.zeros(BOTH - SIZE)
        self._rest_gap = 0.0, 0.0  # c by the voltages at rest, and the information on it
        self._median_variances: Vector = ()
        if learned is not None:
            self._gap[1:] = learned.loss, learned.growth
        self.x = model.mean.copy()
        self.P = model.covariance.copy()
        if learned is not None:
            self._recall(learned)
        self._begin()

    def state(self) -> CellFitState:
        """Restart state."""
        return CellFitState(
            x=tuple(self.x.tolist()),
            covariance=matrix(self.P),
            root=matrix(self._root),
            prior_x=tuple(self._prior_x.tolist()),
            prior_information=matrix(self._information),
            fitted_x=tuple(self._fitted.tolist()),
            fitted_covariance=matrix(self._covariance),
            rows=tuple(map(tuple, self._rows)),
            pending=tuple(map(tuple, self._pending)),
            drift_v_s=float(self._drift_v_s),
            errors_v=tuple(map(float, self._errors_v)),
            steps=self._steps,
            used_as=self._used_as,
            span_s=self._span_s,
            loaded=self._loaded,
            fast_a=self._fast_a,
            slow_a=self._slow_a,
            degc=self._degc,
            agreed_s=self._agreed_s,
            full_ah=self._full_ah,
            foreign=self._foreign,
            warm_flights=self._warm_flights,
            sister_warm=self._sister_warm,
            gap=tuple(self._gap.tolist()),
            prior_gap=tuple(self._prior_gap.tolist()),
            rest_gap=self._rest_gap,
            recent=tuple(map(tuple, self._recent)),
            residuals=tuple(map(tuple, self._residuals)),
            has_lost=self._has_lost,
            median_variances=self._median_variances,
        )

    def with_state(self, state: CellFitState) -> Self:
        """Return a stage that continues from a state."""
        return type(self)(self.model, state=state)

    def _restore(self, state: CellFitState) -> None:
        """Continue from a state; raises ValueError if it is not one of a fit."""
        self.x = np.array(state.x)
        self.P = np.array(state.covariance)
        self._root = np.array(state.root)
        self._prior_x = np.array(state.prior_x)
        self._information = np.array(state.prior_information)
        self._fitted = np.array(state.fitted_x)
        self._covariance = np.array(state.fitted_covariance)
        vectors = self.x, self._prior_x, self._fitted
        matrices = self.P, self._root, self._information, self._covariance
        self._gap = np.array(state.gap)
        self._prior_gap = np.array(state.prior_gap)
        gaps = self._gap, self._prior_gap
        samples = (*state.rows, *state.pending, *state.recent)
        if (
            any(one.shape != (SIZE,) or np.abs(one).max() > _MAX_LN for one in vectors)
            or any(one.shape != (SIZE, SIZE) for one in matrices)
            or any(one.shape != (BOTH - SIZE,) or np.abs(one).max() > _MAX_LN for one in gaps)
            or any(len(row) != len(Residual._fields) for row in state.residuals)
            or any(len(row) != len(FitSample._fields) or row[0] < 0.0 for row in samples)
            or (state.full_ah is not None and state.full_ah <= 0.0)
        ):
            raise ValueError("a vector or matrix has another size or range")
        self._rows = [FitSample(*row) for row in state.rows]
        self._pending = [FitSample(*row) for row in state.pending]
        self._drift_v_s = state.drift_v_s
        self._errors_v = state.errors_v
        self._steps = state.steps
        self._used_as = state.used_as
        self._span_s = state.span_s
        self._loaded = state.loaded
        self._fast_a = state.fast_a
        self._slow_a = state.slow_a
        self._agreed_s = state.agreed_s
        self._full_ah = state.full_ah
        self._foreign = state.foreign
        self._warm_flights = state.warm_flights
        self._sister_warm = state.sister_warm
        self._recent = [FitSample(*row) for row in state.recent]
        self._residuals = [Residual(*row) for row in state.residuals]
        self._has_lost = state.has_lost
        self._median_variances = state.median_variances
        self._rest_gap = state.rest_gap
        self._degc = state.degc
        self._inverse_kk = inverse_temperature(state.degc)
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
            self.weigh_capacity(gauge_full_ah)  # after the start: the prior is without it
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
            fast_a=self._fast_a,
            slow_a=self._slow_a,
            degc=self._degc,
            inverse_kk=self._inverse_kk,
            drift_v_s=self._drift_v_s,
            errors_v=self._errors_v,
            loaded=self._loaded,
            fitted=bool(self._rows),
            median=self._median(),
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
        return self.charge_frac + (self._more_frac() if self._median_variances else 0.0)

    def start_charge(self, used_as: float) -> tuple[float, float]:
        """(State of charge, its standard deviation) at the start.

        Args:
            used_as: charge since then.
        """
        capacity_as = self.model.capacity_as * math.exp(float(self._fitted[CAPACITY]))
        sd = math.sqrt(max(float(self._covariance[CHARGE, CHARGE]), 0.0))
        return self.charge_frac + used_as / capacity_as, sd

    @property
    def has_lost(self) -> bool:
        """Whether the pack has lost parallel cells in this flight."""
        return self._has_lost

    @property
    def loaded(self) -> bool:
        """Whether the cell has been loaded: its voltage is no resting one any more."""
        return self._loaded

    def parameters(self) -> CellParameters:
        """Parameters after a last, longer fit: the prior of the next flight."""
        self.fit(iterations=6)
        warm = self._warm_flights
        if self._rows:
            spans_s, inverses_kk = np.array([(row.span_s, row.inverse_kk) for row in self._rows]).T
            inverse_kk = float(spans_s @ inverses_kk / spans_s.sum())
            at = float(self._fitted[FAST] + self._fitted[WARMTH] * inverse_kk)
            warm = (*warm, (inverse_kk, at))[-_WARM_FLIGHTS:]
        return CellParameters(
            mean=tuple(self._fitted[FAST:].tolist()),
            covariance=matrix(self._covariance[FAST:, FAST:]),
            warm=warm,
            sister_warm=self._sister_warm,
            loss=float(self._gap[1]),
            growth=float(self._gap[2]),
        )

    def _follow(self, second: Second, above_v: float | None, gauge_frac: float | None) -> None:
        """Take in a second, and by how much the median cell is above the weakest."""
        mean = second.mean
        previous = second.previous
        self.advance(second.span_s, second.counted_a, second.counted_sd_a)
        is_guess = mean.current_sd_a > abs(mean.current_a) / 2  # no information for the fit
        steady_a = _STEADY_C * self.model.capacity_as / 3600.0
        if self._agreed_s is None and not is_guess:
            # Start again, once: a mean of readings is surer than the first one alone, but not than
            # a first one at rest when the load has begun since: its sag is a guess.
            if (
                previous is None
                or self._foreign
                or abs(mean.current_a) - abs(previous.current_a) <= steady_a
            ):
                self.start(mean.cell_v, mean.current_a, gauge_frac, above_v)
            self._agreed_s = None if self._foreign else mean.t_s
        elif (
            is_guess or self.measure(mean.cell_v, mean.current_a, above_v) or self._agreed_s is None
        ):
            self._agreed_s = mean.t_s
        elif mean.t_s - self._agreed_s > _DISAGREE_S:
            self.widen()
            self._agreed_s = mean.t_s
        if previous is None or mean.t_s - previous.t_s >= MAX_STEP_GAP_S or mean.current_sd_a:
            self._steps = self._steps.interrupted()
        if not mean.current_sd_a:
            self.measure_steps(mean.cell_v, mean.current_a)

    def _recall(self, learned: CellParameters) -> None:
        """Start from earlier flights."""
        c = self.model.parameters
        sds = np.array(c.sd_ageing)
        sds_v = np.full(len(KNOTS_FRAC), c.sd_ageing_v)
        self.x[FAST:], self.P[FAST:, FAST:] = learned.carried_over(sds, sds_v, c)
        self._set_offset(0.0, c.sd_offset_v)

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
        self._rest_gap = 0.0, 0.0
        if above_v is not None:
            sd = math.sqrt(start.variance)
            (slope_v,) = self.model.open(np.array([start.charge]), self.x[KNOTS:], sd)[1]
            self._rest_gap = rest_gap(above_v, float(slope_v), rest.rest_v - cell_v)
        self._begin()

    def strain(self, cell_v: float, current_a: float, charge_frac: float) -> float:
        """Standard deviations by which a reading contradicts a charge (`RestVoltage.strain`)."""
        return self._at_rest(cell_v, current_a).strain(charge_frac)

    def _at_rest(self, cell_v: float, current_a: float) -> RestVoltage:
        return at_rest(
            self.model, self.x, self.P, self._inverse_kk, cell_v=cell_v, current_a=current_a
        )

    def weigh_capacity(self, full_ah: float | None) -> None:
        """Take in the full charge capacity that a gauge reports, or take it back (None)."""
        _, known_before = self._full_charge()
        self._full_ah = full_ah
        pull, known = self._full_charge()
        if not known_before and not known:
            return
        if self._rows:
            self.fit(iterations=3)
            return
        information = self._information.copy()
        information[CAPACITY, CAPACITY] += known
        self.P = np.linalg.inv(information)
        push = pull - known * self._prior_x[CAPACITY]
        self.x[FAST:] = (self._prior_x + self.P[:, CAPACITY] * push)[FAST:]
        self._fitted[FAST:] = self.x[FAST:]
        self._covariance = self.P.copy()
        self._settle()

    def _full_charge(self) -> tuple[float, float]:
        """(Information times ln, information) on the capacity by the gauge's full charge."""
        if self._full_ah is None or self._has_lost:  # it is of the pack as it was
            return 0.0, 0.0
        c = self.model.parameters
        prior = float(self._prior_x[CAPACITY])
        reported = math.log(self._full_ah * 3600.0 / self.model.capacity_as)
        limit = _FULL_GATE * (c.sd_full**2 + self.model.covariance[CAPACITY, CAPACITY])
        if (reported - prior) ** 2 > limit:  # it is not this pack's
            return 0.0, 0.0
        variance = float(np.linalg.inv(self._information)[CAPACITY, CAPACITY])
        return added_by_full_charge(prior, variance, reported, c)

    def _begin(self) -> None:
        """Make the present state the prior of the readings to come."""
        self._prior_x = self.x.copy()
        self._fitted = self.x.copy()
        self._prior_gap = self._gap.copy()
        self._covariance = self.P.copy()
        self._information = np.linalg.inv(self.P + _NUGGET * np.eye(SIZE))
        self._rows = []
        self._pending = []
        self._drift_v_s = 0.0
        self._errors_v = (0.0,) * _ERRORS
        self._steps = StepResistance()
        self._used_as = self._span_s = 0.0
        self._loaded = False
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

    # ------------------------------------------------------------------ readings

    def heat(self, degc: float | None) -> None:
        """Take in a temperature; an unknown one leaves the last in place."""
        if degc is not None and degc != self._degc:
            self._degc = degc
            self._inverse_kk = inverse_temperature(degc)
            self._newest = None

    def advance(self, dt_s: float, current_a: float, sd_a: float) -> None:
        """Count charge for `dt_s`; `sd_a` is the standard deviation of the mean current."""
        c = self.model.parameters
        self._newest = None
        self._dt_s = dt_s
        self._used_as += current_a * dt_s
        self._fast_a += (current_a - self._fast_a) * (1 - math.exp(-dt_s / c.fast_tau_s))
        self._slow_a += (current_a - self._slow_a) * (1 - math.exp(-dt_s / c.slow_tau_s))
        self.x[CHARGE] = self._fitted[CHARGE] - self._used_frac()
        self.x[OFFSET] *= math.exp(-dt_s / c.offset_tau_s)
        if sd_a:  # as if the initial charge had been less certain
            variance = (sd_a * dt_s / self.model.capacity_as) ** 2
            self.P[CHARGE, CHARGE] += variance
            known = self._information[:, CHARGE].copy()
            weight = variance / (1 + variance * known[CHARGE])
            self._information -= weight * np.outer(known, known)

    def measure(self, cell_v: float, current_a: float, above_v: float | None = None) -> bool:
        """Take in a mean voltage and current; False when the voltage is rejected.

        Args:
            cell_v: of the weakest cell.
            current_a: positive while discharging.
            above_v: by how much the median cell is above it, None when unknown.
        """
        row = FitSample(
            self._dt_s,
            self._used_as,
            cell_v,
            current_a,
            self._fast_a,
            self._slow_a,
            self._inverse_kk,
            above_v or 0.0,
            float(above_v is not None),
        )
        accepted = self._accepts(row)
        self._recent = [*self._recent, row][-SPAN:]
        if accepted and len(self._rows) >= _SETTLED and (lost := lost_cells(self._residuals)):
            self._lose(lost)
            return True
        self._loaded |= abs(current_a) > _LOAD_C * self.model.capacity_as / 3600.0
        if self._loaded:  # at rest the first voltage has set the charge already
            self._span_s += self._dt_s
            if accepted:
                self._pending.append(row)
        if self._span_s >= _SPAN_S and self._pending:
            self._rows.append(merged(without_outliers(self._pending, self._circuit(0.0).ohms[0])))
            self._pending = []
            self._span_s = 0.0
            if len(self._rows) > _MAX_ROWS:  # a long flight costs no more than a short one
                self._rows = [merged(self._rows[k : k + 2]) for k in range(0, len(self._rows), 2)]
            self.fit(iterations=3)
        return accepted

    def measure_steps(self, cell_v: float, current_a: float) -> None:
        """Take in a second for the steps of the load: immediate resistance alone."""
        ohm = self.model.ohms[0] * self._warm()
        most = _STEP_GATE * math.exp(self.x[FAST])
        step_v = ohm * _STEP_C * self.model.capacity_as / 3600.0
        self._steps = self._steps.updated(Level(cell_v, ohm * current_a), step_v, most)

    def widen(self) -> None:
        """Widen the covariance after a long disagreement: the fit is wrong about the cell."""
        charge = self.P[CHARGE, CHARGE] + self.model.parameters.sd_widened**2
        self.P = self.P + self.model.covariance
        self.P[CHARGE, CHARGE] = min(charge, 1.0)
        self._gap[0] = self._more_frac()
        self._rest_gap = (0.0, 0.0)
        self._begin()

    def _lose(self, lost: Loss) -> None:
        """Continue with a group that lost parallel cells: less area, at the same charge."""
        less = math.log(1.0 + lost.growth)
        along = np.zeros(SIZE)
        apart = np.zeros(SIZE)
        along[[FAST, SLOW, CAPACITY]] = less, less, -less
        apart[[FAST, SLOW, CAPACITY]] = less
        self.x += along
        self.P += _SD_LOST[0] ** 2 * np.outer(along, along)
        self.P += _SD_LOST[1] ** 2 * np.diag(apart**2)
        self._fast_a /= 1.0 + lost.growth  # the polarisation does not step
        self._slow_a /= 1.0 + lost.growth
        self._gap[0] = self._more_frac()
        self._rest_gap = (0.0, 0.0)
        self._gap[1] += less * lost.alone
        self._set_offset(lost.before_v, self.model.parameters.sd_offset_v)
        self._has_lost = True
        self._residuals = []
        self._begin()
        self._loaded = True

    def _accepts(self, row: FitSample) -> bool:
        c = self.model.parameters
        now = self._circuit(row.amps)
        off_v = row.cell_v - (now.open_v - now.sag_v)
        residual = Residual(off_v, now.ohms[0] * row.amps, row.above_v)
        self._residuals = [*self._residuals, residual][-SPAN:]
        off_v -= float(self.x[OFFSET])
        self._errors_v = (*self._errors_v[1:], off_v)
        variance = c.sd_offset_v**2 + (c.sd_sag_frac * now.sag_v) ** 2
        if off_v * off_v > _GATE * variance:  # the variance of the state itself costs more
            _, (by,), _ = self.model.derivatives(self.x, np.array([row._replace(used_as=0.0)]))
            variance += float(by @ self.P @ by)
        return bool(off_v * off_v <= _GATE * variance)

    def _renewed(self) -> list[Residual]:
        """Residuals of the last seconds with the parameters of the newest fit."""
        recent = self._recent[-len(self._residuals) :] if self._residuals else []
        if not recent:
            return []
        x = self._fitted
        rows = np.array(recent)
        ohm = self._circuit(0.0).ohms[0]
        off_v = rows[:, 2] - self.model.volts(x, rows)
        table = np.column_stack([off_v, ohm * rows[:, 3], rows[:, -2]])
        return [Residual(*row) for row in table.tolist()]

    def _warm(self) -> float:
        """Factor of the resistance at the present temperature."""
        return self.model.arrhenius_factor(self.x, self._inverse_kk)

    def _circuit(self, current_a: float) -> CircuitState:
        return self.model.circuit(
            self.x, self._table_v, self._inverse_kk, self._fast_a, self._slow_a, current_a
        )

    def fit(self, *, iterations: int) -> None:
        """Fit the state to all rows and carry it forward to the newest reading."""
        if not self._rows:
            return
        rows = np.array(self._rows)
        x = self._fitted.copy()
        information = self._information
        pull, known = full = self._full_charge()
        own = information[CAPACITY, CAPACITY]
        likely = (own * self._prior_x[CAPACITY] + pull) / (own + known)
        if (x[CAPACITY] - likely) ** 2 * (own + known) > _STRAYED**2:
            # A minimum of its own: start again from what is likely.
            x = self._prior_x.copy()
            iterations = _MORE_ITERATIONS
            x[CAPACITY] = likely
        problem = self._problem(rows, full)
        if self._median_variances or problem.stands_out(x):
            x = np.concatenate([x, self._gap])
        both, covariance = problem.solve(x, iterations)
        x = both[:SIZE]
        self._fitted = x
        self._covariance = covariance[:SIZE, :SIZE]
        if len(both) > SIZE:
            self._gap = both[SIZE:]
            used_frac = self._used_frac() * math.exp(-float(both[LOSS]))
            self._median_variances = median_variances(covariance, used_frac)
        elif not self._warm_flights:  # an earlier flight has seen which cell is the weakest
            self._covariance[CAPACITY, CAPACITY] += problem.loss_variance(x, self._spread())
        last = rows[-_DRIFT_ROWS:]
        missed_v = last[:, 2] - self.model.volts(x, last)
        half = len(last) // 2
        # Over less it is the start of the load; one row, after a gap, shows no drift.
        if half > 0 and last[:, 0].sum() >= _DRIFT_S:
            self._drift_v_s = (missed_v[half:].mean() - missed_v[:half].mean()) / (
                last[:, 0].sum() / 2
            )
        self.x = x.copy()
        carry = np.eye(SIZE)
        carry[CHARGE, CAPACITY] = self._used_frac()  # a smaller capacity leaves less charge
        self.P = carry @ self._covariance @ carry.T
        self.x[CHARGE] -= self._used_frac()
        self._errors_v = (0.0,) * _ERRORS
        self._residuals = self._renewed()
        self._set_offset(float(missed_v[-1]), _OFFSET_KNOWN * self.model.parameters.sd_offset_v)
        self._settle()

    def _problem(self, rows: Array, full: tuple[float, float]) -> LeastSquares:
        prior = Prior(
            self._prior_x,
            self._information,
            self._prior_gap,
            self._rest_gap,
            full,
            self._steps.ratio(),
        )
        return LeastSquares(self.model, rows, prior, self._spread())

    def _spread(self) -> float:
        """Charge over which the curve's slope is taken."""
        return _SPREADS * math.sqrt(max(self._covariance[CHARGE, CHARGE], 0.0))

    def _more_frac(self) -> float:
        """Charge of the median cell above that of the weakest, each of its own capacity."""
        more, loss, _ = self._gap.tolist()
        return float(more + self._used_frac() * (1.0 - math.exp(-loss)))

    def _median(self) -> MedianCell | None:
        if not self._median_variances:
            return None
        _, loss, growth = self._gap.tolist()
        return MedianCell(self._more_frac(), loss, growth, self._median_variances)

    def _used_frac(self) -> float:
        return self._used_as / (self.model.capacity_as * math.exp(float(self._fitted[CAPACITY])))

    def _set_offset(self, offset_v: float, sd_v: float) -> None:
        self.x[OFFSET] = min(max(offset_v, LOWEST[OFFSET]), HIGHEST[OFFSET])
        self.P[OFFSET, :] = self.P[:, OFFSET] = 0.0
        self.P[OFFSET, OFFSET] = sd_v**2

# SPDX-License-Identifier: Apache-2.0
"""Stage: parameter identification of the weakest cell by least squares over the flight.

Regularised Gauss-Newton (Tarantola, "Inverse Problem Theory", 2005, chapter 3) on the circuit of
`cell_model`, every ten seconds of load, over all readings so far; the prior is the chemistry's or
that of the pack's earlier flights. A later reading corrects how an early one was explained.
Charge is a fraction; volts, amperes and ampere-seconds of one cell.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import NamedTuple, Self

import numpy as np

from dronebms.estimation.cell_gap import (
    BOTH,
    HIGHEST_BOTH,
    LOSS,
    LOWEST_BOTH,
    MORE,
    MedianCell,
    gap_by,
    gap_derivative,
    gap_sd_v,
    gap_size,
    median_above_v,
    median_state,
    median_variances,
    prior_state,
    rest_gap,
    usual_loss_variance,
    with_prior,
)
from dronebms.estimation.cell_model import (
    CAPACITY,
    CHARGE,
    DEPTH,
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
    kelvin_of,
    knots_covariance,
    lost_v,
)
from dronebms.estimation.lost_cells import SPAN, Loss, Residual, lost_cells
from dronebms.estimation.model_parameters import KNOTS_FRAC, ModelParameters
from dronebms.estimation.sampling import MAX_STEP_GAP_S, Sample, Second
from dronebms.estimation.step_resistance import Level, StepResistance

_MAX_LN = 10.0  # of a restored state; beyond LOWEST and HIGHEST
_GRID = np.linspace(0.0, 1.0, 41)
_SPAN_S = 10.0 - 1e-6
_MAX_ROWS = 160
_LOAD_C = 0.1  # of the capacity in an hour; below it a cell rests: no information on resistance
_LARGEST_STEP = 1.5  # ln, in one iteration
_STEP_SHARE = 0.6  # of a step that is taken: full steps oscillate between bends of the curve
_SPREADS = 1.5  # standard deviations of the charge over which the curve's slope is taken
_OUTLIER = 4.0  # standard deviations from which a reading is weighted down
_GATE = 16.0  # squared innovation in variances; more is not this cell's voltage
_FULL_GATE = 9.0
STRAINED, REFUTED = 2.0, 12.0**0.5  # standard deviations, see `CellFit.strain`
GAUGE_TOLERANCE = 0.05  # of a gauge's charge at rest
_SD_WARM = 0.1  # ln; of a flight's resistance, apart from the temperature
_WARM_FLIGHTS = 10
_STEADY_C = 0.08  # of the capacity; a smaller change of current is no start of the load
_STEP_C = 0.32  # a change that counts in full as a step
_STEP_GATE = 3.0  # resistances; a larger change of the voltage is not a step of this cell
_STRAYED, _MORE_ITERATIONS = 6.0, 8  # standard deviations of the prior's capacity
_NUGGET = 1e-9
_SD_START = 0.01, 0.02  # of the charge by voltage: at best, and of a full cell
_DRIFT_ROWS, _DRIFT_S = 8, 60.0 - 1e-3
_ERRORS = 3  # readings in a row, so that a lone outlier does not count
_OFFSET_KNOWN = 0.3  # of its usual standard deviation, just after a fit
_DISAGREE_S = 15.0  # of rejected readings, after which the prior is widened
_SETTLED = 6  # rows since a start, before which a fall of the voltage may be the circuit's error
_SD_LOST = 0.25, 0.2  # of a loss of parallel cells: of the whole, of each parameter
_STANDS_OUT = 2.5  # gaps relative to those of usual cells, from which the weakest is compared
_NEWEST_ROWS = 6
_COMPARED = 0.99  # of a row's span; less is no mean of the gap
_STRAY_V = 0.05  # a second further from the median resting voltage is an outlier


Vector = tuple[float, ...]
Matrix = tuple[Vector, ...]  # by row


class FitSample(NamedTuple):
    """Means over some seconds: one row of the fit."""

    span_s: float
    used_as: float  # since the start of the fit
    cell_v: float
    amps: float
    fast_a: float
    slow_a: float
    kelvin: float
    above_v: float = 0.0  # by how much the median cell is above
    compared: float = 0.0  # share of the span in which that is known


def merged(rows: list[FitSample]) -> FitSample:
    """Mean of rows, weighted by their spans."""
    if len(rows) == 1:
        return rows[0]
    table = np.array(rows)
    span_s = table[:, 0]
    return FitSample(float(span_s.sum()), *(span_s @ table[:, 1:] / span_s.sum()).tolist())


def without_outliers(rows: list[FitSample], ohm: float) -> list[FitSample]:
    """Rows without those that differ from the median by more than their current explains.

    Up to three times the estimated resistance `ohm` is accepted: it may still be wrong.
    """
    middle_v = median(row.cell_v + ohm * row.amps for row in rows)
    middle_a = median(row.amps for row in rows)

    def is_outlier(row: FitSample) -> bool:
        limit_v = _STRAY_V + 2 * ohm * abs(row.amps - middle_a)
        return abs(row.cell_v + ohm * row.amps - middle_v) > limit_v

    return [row for row in rows if not is_outlier(row)] or rows


def relative(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Points relative to their mean."""
    if not points:
        return ()
    table = np.array(points)
    return tuple([(float(x), float(y)) for x, y in table - table.mean(axis=0)])


@dataclass(frozen=True, slots=True)
class CellParameters:
    """Parameters of a pack's weakest cell without its charge: state vector from FAST on."""

    mean: Vector
    covariance: Matrix
    # Of the newest flights: temperature as `kelvin_of` gives it, ln resistance scale at it.
    warm: tuple[tuple[float, float], ...] = ()
    # The same of sister packs, each relative to the mean of its pack: they differ in resistance.
    sister_warm: tuple[tuple[float, float], ...] = ()
    loss: float = 0.0  # ln of the median cell's capacity over the weakest one's
    growth: float = 0.0  # ln of the same of the resistance, beyond the loss

    def warmth(self, sd: float) -> tuple[float, float]:
        """(Mean, variance) of the resistance's dependence on temperature, by all flights.

        Within a flight the temperature rises while the charge falls, so that a fit takes the one
        for the other. Between flights at different temperatures it does not.

        Args:
            sd: of the prior, whose mean is 0.
        """
        points = (*relative(self.warm), *self.sister_warm) or ((0.0, 0.0),)
        apart, logs = np.array(points).T
        information = float(apart @ apart) / _SD_WARM**2 + 1.0 / sd**2
        return float(apart @ logs) / _SD_WARM**2 / information, 1.0 / information

    def of_median(self) -> "CellParameters":
        """The same of the median cell: a cell that failed is that pack's alone."""
        mean = list(self.mean)
        mean[CAPACITY - FAST] += self.loss
        mean[0] -= self.loss + self.growth
        mean[SLOW - FAST] -= self.loss + self.growth
        return replace(self, mean=tuple(mean), loss=0.0, growth=0.0)

    def carried_over(self, sds: Array, sds_v: Array, c: ModelParameters) -> tuple[Array, Array]:
        """(Mean, covariance) of a later flight, or of another pack: widened, packs differ.

        The resistance is known at the temperature of the last flight, and less the farther away.

        Args:
            sds: added to those of FAST, SLOW, CAPACITY, DEPTH and WARMTH.
            sds_v: added to those of the knots.
            c: prior of the cell.
        """
        first, last = OFFSET - FAST, KNOTS - FAST  # of the elements from FAST on
        x, covariance = np.array(self.mean), np.array(self.covariance)
        covariance[:first, :first] += np.diag(np.square(sds))
        covariance[last:, last:] += knots_covariance(sds_v, c.knots_length)
        if not self.warm:
            return x, covariance
        kelvin, _ = self.warm[-1]
        along = np.zeros(SIZE)
        along[[FAST, SLOW, DEPTH, WARMTH]] = -kelvin, -kelvin, -kelvin * c.depth_warmth, 1.0
        along = along[FAST:]
        mean, variance = self.warmth(c.sd_warmth)
        now = float(covariance[WARMTH - FAST, WARMTH - FAST])
        x += along * (mean - x[WARMTH - FAST])
        covariance += np.outer(along, along) * max(variance - now, 0.0)
        return x, covariance


@dataclass(frozen=True, slots=True, eq=False)
class CellEstimate:
    """The weakest cell after a reading."""

    model: CellModel
    x: Array  # state vector (`cell_model`)
    variance: Array  # of each element
    root: Array  # symmetric square root of the covariance after the last fit
    table_v: Vector  # curve of x, see `CellModel.curves`
    fast_a: float  # current behind the two low-pass filters
    slow_a: float
    degc: float
    kelvin: float  # as `kelvin_of` gives it
    drift_v_s: float  # rate of the model's error over a minute or more
    errors_v: Vector  # reading minus model, of the last readings
    loaded: bool  # there has been a load
    fitted: bool  # and seconds under it have been compared with the model
    median: MedianCell | None  # None: too few cells are read

    def circuit(self, current_a: float) -> CircuitState:
        """The circuit at a current."""
        return self.model.circuit(
            self.x, self.table_v, self.kelvin, self.fast_a, self.slow_a, current_a
        )

    def sag_v(self, circuit: CircuitState, current_a: float) -> float:
        """Voltage lost at a current in its circuit at any current."""
        return lost_v(circuit.ohms, current_a, self.fast_a, self.slow_a)


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


def _weighed(off: Array, by: Array, keep: Array, new: Array) -> tuple[Array, Array]:
    """(Information, gradient) of residuals, whitened; outliers weigh less."""
    off[1:] = (off[1:] - keep * off[:-1]) / new
    by[1:] = (by[1:] - keep[:, None] * by[:-1]) / new[:, None]
    trust = 1 / (1 + (off / _OUTLIER) ** 2)
    return (by * trust[:, None]).T @ by, by.T @ (trust * off)


def matrix(array: Array) -> Matrix:
    """An array as rows of numbers."""
    return tuple(map(tuple, array.tolist()))


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
        self._degc, self._kelvin = 25.0, 0.0
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
        self.x, self.P = model.mean.copy(), model.covariance.copy()
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
        self.x, self.P = np.array(state.x), np.array(state.covariance)
        self._root = np.array(state.root)
        self._prior_x = np.array(state.prior_x)
        self._information = np.array(state.prior_information)
        self._fitted = np.array(state.fitted_x)
        self._covariance = np.array(state.fitted_covariance)
        vectors = self.x, self._prior_x, self._fitted
        matrices = self.P, self._root, self._information, self._covariance
        self._gap, self._prior_gap = np.array(state.gap), np.array(state.prior_gap)
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
        self._drift_v_s, self._errors_v = state.drift_v_s, state.errors_v
        self._steps = state.steps
        self._used_as, self._span_s, self._loaded = state.used_as, state.span_s, state.loaded
        self._fast_a, self._slow_a = state.fast_a, state.slow_a
        self._agreed_s, self._full_ah = state.agreed_s, state.full_ah
        self._foreign = state.foreign
        self._warm_flights, self._sister_warm = state.warm_flights, state.sister_warm
        self._recent = [FitSample(*row) for row in state.recent]
        self._residuals = [Residual(*row) for row in state.residuals]
        self._has_lost = state.has_lost
        self._median_variances, self._rest_gap = state.median_variances, state.rest_gap
        self._degc = state.degc
        self._kelvin = kelvin_of(state.degc)
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
            kelvin=self._kelvin,
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
            spans_s, kelvins = np.array([(row.span_s, row.kelvin) for row in self._rows]).T
            kelvin = float(spans_s @ kelvins / spans_s.sum())
            at = float(self._fitted[FAST] + self._fitted[WARMTH] * kelvin)
            warm = (*warm, (kelvin, at))[-_WARM_FLIGHTS:]
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
        mean, previous = second.mean, second.previous
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
        sds, sds_v = np.array(c.sd_ageing), np.full(len(KNOTS_FRAC), c.sd_ageing_v)
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
        rest_v, curve_v, sds_v = self._at_rest(cell_v, current_a)
        self._foreign = bool(rest_v > self.model.full_v + REFUTED * sds_v[-1])
        likely = -(((rest_v - curve_v) / sds_v) ** 2) / 2 - np.log(sds_v)
        share = np.exp(likely - likely.max())
        share /= share.sum()
        charge = float(share @ _GRID)
        spread = float(share @ (_GRID - charge) ** 2) + _SD_START[0] ** 2
        if rest_v > curve_v[-1]:
            charge, spread = 1.0, max(spread, _SD_START[1] ** 2)
        strain = math.inf if gauge_frac is None else self.strain(cell_v, current_a, gauge_frac)
        if gauge_frac is not None and strain < REFUTED:
            # At rest a gauge is usually right within a few per cent; some are far off. The more
            # the voltage contradicts it, the less it counts.
            doubt = max(strain**2 - STRAINED**2, 0.0) / (REFUTED**2 - strain**2)
            weight = spread / (spread + self.model.sd_gauge**2 + doubt * (gauge_frac - charge) ** 2)
            charge += weight * (gauge_frac - charge)
            spread *= 1 - weight
        self.x[CHARGE], self.P[CHARGE, CHARGE] = charge, spread
        self._rest_gap = 0.0, 0.0
        if above_v is not None:
            spread = math.sqrt(spread)
            (slope_v,) = self.model.open(np.array([charge]), self.x[KNOTS:], spread)[1]
            self._rest_gap = rest_gap(above_v, float(slope_v), rest_v - cell_v)
        self._begin()

    def strain(self, cell_v: float, current_a: float, charge_frac: float) -> float:
        """Standard deviations by which a cell's voltage contradicts a charge.

        The curve rises with the charge: a cell of at least that charge is above every lower point
        of it, whatever its own curve is like, and the other way round.
        """
        rest_v, curve_v, sds_v = self._at_rest(cell_v, current_a)
        off = (curve_v - rest_v) / sds_v
        less = off[charge_frac - GAUGE_TOLERANCE >= _GRID]
        more = -off[charge_frac + GAUGE_TOLERANCE <= _GRID]
        return max(0.0, float(less.max(initial=0.0)), float(more.max(initial=0.0)))

    def _at_rest(self, cell_v: float, current_a: float) -> tuple[float, Array, Array]:
        """(Voltage without its expected sag, curve over `_GRID`, standard deviation of both)."""
        c, model = self.model.parameters, self.model
        sag_v = current_a * (model.ohms[0] + model.ohms[1]) * self._warm() * math.exp(self.x[FAST])
        curve_v, _, hats = model.open(_GRID, self.x[KNOTS:])
        variance = np.einsum("ij,jk,ik->i", hats, self.P[KNOTS:, KNOTS:], hats)
        variance += c.sd_rest_v**2 + (c.sd_fast * sag_v) ** 2
        return cell_v + sag_v, curve_v, np.sqrt(variance)

    def weigh_capacity(self, full_ah: float | None) -> None:
        """Take in the full charge capacity that a gauge reports, or take it back (None)."""
        counted = self._full_charge(self._prior_x)[0].any()
        self._full_ah = full_ah
        if not counted and not self._full_charge(self._prior_x)[0].any():
            return
        if self._rows:
            self.fit(iterations=3)
            return
        information, push = self._full_charge(self._prior_x)
        self.P = np.linalg.inv(self._information + np.diag(information))
        self.x[FAST:] = (self._prior_x + self.P @ push)[FAST:]
        self._fitted[FAST:], self._covariance = self.x[FAST:], self.P.copy()
        self._settle()

    def _full_charge(self, x: Array) -> tuple[Array, Array]:
        """Information on the state, and gradient at `x`, by the gauge's full charge capacity."""
        information = np.zeros(SIZE)
        if self._full_ah is None or self._has_lost:  # it is of the pack as it was
            return information, information
        reported = math.log(self._full_ah * 3600.0 / self.model.capacity_as)
        variance = self.model.parameters.sd_full**2
        limit = _FULL_GATE * (variance + self.model.covariance[CAPACITY, CAPACITY])
        if (reported - self._prior_x[CAPACITY]) ** 2 <= limit:  # else it is not this pack's
            information[CAPACITY] = 1 / variance
        return information, information * (reported - x[CAPACITY])

    def _begin(self) -> None:
        """Make the present state the prior of the readings to come."""
        self._prior_x, self._fitted = self.x.copy(), self.x.copy()
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
            self._kelvin = kelvin_of(degc)
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
            self._kelvin,
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
            self._pending, self._span_s = [], 0.0
            if len(self._rows) > _MAX_ROWS:  # a long flight costs no more than a short one
                self._rows = [merged(self._rows[k : k + 2]) for k in range(0, len(self._rows), 2)]
            self.fit(iterations=3)
        return accepted

    def measure_steps(self, cell_v: float, current_a: float) -> None:
        """Take in a second for the steps of the load: immediate resistance alone."""
        ohm, most = self.model.ohms[0] * self._warm(), _STEP_GATE * math.exp(self.x[FAST])
        step_v = ohm * _STEP_C * self.model.capacity_as / 3600.0
        self._steps = self._steps.updated(Level(cell_v, ohm * current_a), step_v, most)

    def widen(self) -> None:
        """Widen the covariance after a long disagreement: the fit is wrong about the cell."""
        charge = self.P[CHARGE, CHARGE] + self.model.parameters.sd_widened**2
        self.P = self.P + self.model.covariance
        self.P[CHARGE, CHARGE] = min(charge, 1.0)
        self._gap[0], self._rest_gap = self._more_frac(), (0.0, 0.0)
        self._begin()

    def _lose(self, lost: Loss) -> None:
        """Continue with a group that lost parallel cells: less area, at the same charge."""
        less = math.log(1.0 + lost.growth)
        along, apart = np.zeros(SIZE), np.zeros(SIZE)
        along[[FAST, SLOW, CAPACITY]] = less, less, -less
        apart[[FAST, SLOW, CAPACITY]] = less
        self.x += along
        self.P += _SD_LOST[0] ** 2 * np.outer(along, along)
        self.P += _SD_LOST[1] ** 2 * np.diag(apart**2)
        self._fast_a /= 1.0 + lost.growth  # the polarisation does not step
        self._slow_a /= 1.0 + lost.growth
        self._gap[0], self._rest_gap = self._more_frac(), (0.0, 0.0)
        self._gap[1] += less * lost.alone
        self._set_offset(lost.before_v, self.model.parameters.sd_offset_v)
        self._has_lost, self._residuals = True, []
        self._begin()
        self._loaded = True

    def _accepts(self, row: FitSample) -> bool:
        c, now = self.model.parameters, self._circuit(row.amps)
        off_v = row.cell_v - (now.open_v - now.sag_v)
        residual = Residual(off_v, now.ohms[0] * row.amps, row.above_v)
        self._residuals = [*self._residuals, residual][-SPAN:]
        off_v -= float(self.x[OFFSET])
        self._errors_v = (*self._errors_v[1:], off_v)
        variance = c.sd_offset_v**2 + (c.sd_sag_frac * now.sag_v) ** 2
        if off_v * off_v > _GATE * variance:  # the variance of the state itself costs more
            _, (by,), _ = self.model.volts(self.x, np.array([row._replace(used_as=0.0)]))
            variance += float(by @ self.P @ by)
        return bool(off_v * off_v <= _GATE * variance)

    def _renewed(self) -> list[Residual]:
        """Residuals of the last seconds with the parameters of the newest fit."""
        recent = self._recent[-len(self._residuals) :] if self._residuals else []
        if not recent:
            return []
        x, rows = self._fitted, np.array(recent)
        ohm = self._circuit(0.0).ohms[0]
        off_v = rows[:, 2] - self.model.volts(x, rows)[0]
        table = np.column_stack([off_v, ohm * rows[:, 3], rows[:, -2]])
        return [Residual(*row) for row in table.tolist()]

    def _warm(self) -> float:
        """Factor of the resistance at the present temperature."""
        return self.model.warm(self.x, self._kelvin)

    def _circuit(self, current_a: float) -> CircuitState:
        return self.model.circuit(
            self.x, self._table_v, self._kelvin, self._fast_a, self._slow_a, current_a
        )

    def fit(self, *, iterations: int) -> None:
        """Fit the state to all rows and carry it forward to the newest reading."""
        if not self._rows:
            return
        rows, x, information = np.array(self._rows), self._fitted.copy(), self._information
        strayed = (x[CAPACITY] - self._prior_x[CAPACITY]) ** 2 * information[CAPACITY, CAPACITY]
        if strayed > _STRAYED**2:  # a minimum of its own: start again from what is likely
            x, iterations = self._prior_x.copy(), _MORE_ITERATIONS
        both = x
        if self._stands_out(x, rows):
            both = np.concatenate([x, self._gap])
        lowest, highest = LOWEST_BOTH[: len(both)], HIGHEST_BOTH[: len(both)]
        for _ in range(iterations):
            information, push = self._normal(both, rows)
            step = np.linalg.solve(information, push)
            largest = float(np.abs(step[FAST:OFFSET]).max())
            step *= min(_STEP_SHARE, _LARGEST_STEP / max(largest, _NUGGET))
            both = np.minimum(np.maximum(both + step, lowest), highest)
        covariance = np.linalg.inv(information)
        covariance = (covariance + covariance.T) / 2
        x = both[:SIZE]
        self._fitted, self._covariance = x, covariance[:SIZE, :SIZE]
        if len(both) > SIZE:
            self._gap = both[SIZE:]
            used_frac = self._used_frac() * math.exp(-float(both[LOSS]))
            self._median_variances = median_variances(covariance, used_frac)
        elif not self._warm_flights:  # an earlier flight has seen which cell is the weakest
            self._covariance[CAPACITY, CAPACITY] += self._loss_variance(x, rows)
        last = rows[-_DRIFT_ROWS:]
        missed_v = last[:, 2] - self.model.volts(x, last)[0]
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

    def _normal(self, both: Array, rows: Array) -> tuple[Array, Array]:
        """Information matrix and gradient at a state, with the gap's elements or without.

        The model's error is correlated in time: residuals are whitened as a first-order process,
        otherwise an hour of readings would make the fit certain of a wrong circuit.
        """
        c, x, has_gap = self.model.parameters, both[:SIZE], len(both) > SIZE
        spread = _SPREADS * math.sqrt(max(self._covariance[CHARGE, CHARGE], 0.0))
        model_v, by, sag_v = self.model.volts(x, rows, spread)
        sd_v = np.hypot(c.sd_offset_v, c.sd_sag_frac * sag_v)
        keep, new = self._whitening(rows)
        by_charge = by[:, CHARGE]
        seen, push = _weighed((rows[:, 2] - model_v) / sd_v, by / sd_v[:, None], keep, new)
        usual, start = x, self._prior_x
        if has_gap:
            usual = prior_state(both)
            start = prior_state(np.concatenate([start, self._prior_gap]))
        known, pull = self._full_charge(usual)
        prior = self._information.copy()
        pull = pull - prior @ (usual - start)
        prior[CAPACITY, CAPACITY] += known[CAPACITY]
        if has_gap:
            gap_v, compared = rows[:, -2], rows[:, -1] > _COMPARED
            used_frac = rows[:, 1] / self.model.capacity_as
            size = gap_size(*(a[compared] for a in (gap_v, by_charge, used_frac, sag_v)))
            information, pull = with_prior(prior, pull, both[SIZE:] - self._prior_gap, size)
            more, known_more = self._rest_gap
            information[MORE, MORE] += known_more
            pull[MORE] += known_more * (more - both[MORE])
            information[:SIZE, :SIZE] += seen
            pull[:SIZE] += push
            median_v, by_median, _ = self.model.volts(median_state(both), rows, spread)
            scale = compared / gap_sd_v(gap_v)
            off = (gap_v - (median_v - model_v)) * scale
            seen, push = _weighed(off, gap_derivative(by_median, by) * scale[:, None], keep, new)
            information += seen
        else:
            information = prior + seen
        push = pull + push
        if (steps := self._steps.ratio()) is not None:
            ratio, variance = steps
            precision = 1 / (self.model.sd_step**2 + variance / ratio**2)
            information[FAST, FAST] += precision
            push[FAST] += (math.log(ratio) - x[FAST]) * precision
        return information, push

    def _stands_out(self, x: Array, rows: Array) -> bool:
        """Whether the weakest cell is, or was, further from the median cell than usual.

        Over the flight, or in the last minute: on a flat curve a weak cell is a usual one until it
        nears the end of it.
        """
        if self._median_variances:
            return True
        compared = rows[rows[:, -1] > _COMPARED]
        if not len(compared):
            return False
        _, by, sag_v = self.model.volts(x, compared)
        used_frac = compared[:, 1] / self.model.capacity_as
        gaps = compared[:, -2], by[:, CHARGE], used_frac, sag_v
        newest = [values[-_NEWEST_ROWS:] for values in gaps]
        return max(gap_size(*gaps), gap_size(*newest)) >= _STANDS_OUT

    def _loss_variance(self, x: Array, rows: Array) -> float:
        """Variance of what the weakest cell lost, as far as its gap does not show it; ln."""
        compared = rows[rows[:, -1] > _COMPARED]
        if not len(compared):
            return 0.0
        spread = _SPREADS * math.sqrt(max(self._covariance[CHARGE, CHARGE], 0.0))
        _, by, sag_v = self.model.volts(x, compared, spread)
        used_frac = compared[:, 1] / self.model.capacity_as
        by_gap = gap_by(by[:, CHARGE], used_frac, sag_v) / gap_sd_v(compared[:, -2])[:, None]
        keep, new = self._whitening(compared)
        seen, _ = _weighed(np.zeros(len(compared)), by_gap, keep, new)
        return usual_loss_variance(seen)

    def _whitening(self, rows: Array) -> tuple[Array, Array]:
        """(Share of an error that lasts to the next row, size of what is new) of a unit error."""
        c = self.model.parameters
        keep = np.exp(-(rows[1:, 0] + rows[:-1, 0]) / 2 / c.offset_tau_s)
        return keep, np.sqrt(1 - keep**2 + (c.sd_noise_v / c.sd_offset_v) ** 2)

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

# SPDX-License-Identifier: Apache-2.0
"""Stage: time to empty, a new forecast every two seconds and a count-down between them."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from dronebms.estimation.cell.cell_estimate import CellEstimate
from dronebms.estimation.cell.cell_model import CAPACITY, CHARGE
from dronebms.estimation.end_samples import end_samples
from dronebms.estimation.first_minutes import LogTime, charge_time, charge_weight, with_charge_time
from dronebms.estimation.gauge_fusion import GaugeEvidence, fused_ends, quantiles
from dronebms.estimation.learning.interval_adaptation import (
    NO_FORECASTS,
    Adaptation,
    ForecastRecord,
)
from dronebms.estimation.load_forecast import LoadAhead
from dronebms.estimation.sampling import MAX_STEP_GAP_S, Reading, Sample
from dronebms.estimation.time_bounds import ChargeBounds, TimeBounds, charge_bounds, time_bounds
from smartbattery.values import changed

_FIRST_HORIZON_S = 600.0
_FORECAST_S = 2.0
_LOW = 0.05
_MEDIAN = 0.5
_HIGH = 0.95
# Quantile of the sigma points for the 5 % bound of a pack that nothing is known of: the prior's
# lower tail, of cells that fail by voltage early, is too long. On 20 computed development flights
# the end was before this quantile in no second; of packs that have flown it is on hard flights.
_LOW_UNKNOWN = 0.1
_RISE_TAU_S = 4.0
_LIKELY_WRONG = 0.5
_LEAST_WRONG = 0.05  # below it a wrong gauge is outside of the interval
_NOT_ENDED_S = 1.0  # the upper bound stays above zero until the end of discharge


@dataclass(frozen=True, slots=True)
class RemainingTime:
    """Seconds until the end of discharge: median, 5 % and 95 % bounds."""

    low_s: float
    median_s: float
    high_s: float
    power_w: float  # mean power that is assumed

    def after(self, since_s: float) -> "RemainingTime":
        """The same forecast some seconds later.

        In a gap of the readings the load is unknown: the bounds diverge.
        """
        is_gap = since_s >= MAX_STEP_GAP_S
        median_s = max(self.median_s - since_s, 0.0)
        low_s = max(self.low_s - (2 if is_gap else 1) * since_s, 0.0)
        high_s = self.high_s - (0.0 if is_gap else since_s)
        high_s = max(high_s, median_s, _NOT_ENDED_S)
        return RemainingTime(min(low_s, median_s), median_s, high_s, self.power_w)

    def in_first_minutes(self, charge: LogTime, loaded_s: float) -> "RemainingTime":
        """The same forecast with the time that the charge gives, some seconds after the load."""
        times_s = with_charge_time((self.low_s, self.median_s, self.high_s), charge, loaded_s)
        return RemainingTime(*times_s, self.power_w)

    def within(self, bounds: TimeBounds) -> "RemainingTime":
        """The same forecast within bounds."""
        times_s = min(self.low_s, bounds.most_low_s), self.median_s, self.high_s
        low_s, median_s, high_s = (max(min(s, bounds.most_s), bounds.least_s) for s in times_s)
        return RemainingTime(low_s, median_s, high_s, self.power_w)

    def followed_by(self, new: "RemainingTime", since_s: float) -> "RemainingTime":
        """A new forecast after this one: it falls at once and rises gradually.

        The fit changes every ten seconds; a rise in one step is seldom real.
        """
        share = since_s / (_RISE_TAU_S + since_s)
        old = self.after(since_s)
        median_s = min(new.median_s, old.median_s + share * (new.median_s - old.median_s))
        low_s = min(new.low_s, old.low_s + share * (new.low_s - old.low_s))
        return RemainingTime(min(low_s, median_s), median_s, new.high_s, new.power_w)


@dataclass(frozen=True, slots=True)
class TimeToEmptyState:
    """Restart state of `TimeToEmpty`."""

    forecast: RemainingTime | None = None  # None without a load
    forecast_at_s: float = 0.0
    record: ForecastRecord = NO_FORECASTS  # of the flight


class TimeToEmpty:
    """Stage: forecasts of the time to empty.

    Args:
        cutoff_v: voltage of the weakest cell at the end of discharge.
        adaptation: of the interval, by earlier flights.
        began_with_gauge: whether the charge of the fit began with a gauge's.
        is_unknown: whether neither the pack nor its sister packs have flown.
    """

    def __init__(
        self,
        cutoff_v: float,
        *,
        adaptation: Adaptation,
        began_with_gauge: bool,
        is_unknown: bool,
        state: TimeToEmptyState = TimeToEmptyState(),
    ) -> None:
        self._cutoff_v = cutoff_v
        self._adaptation = adaptation
        self._began_with_gauge = began_with_gauge
        self._is_unknown = is_unknown
        self._state = state

    def state(self) -> TimeToEmptyState:
        """Restart state."""
        return self._state

    def with_state(self, state: TimeToEmptyState) -> Self:
        """Return a stage that continues from a state."""
        return type(self)(
            self._cutoff_v,
            adaptation=self._adaptation,
            began_with_gauge=self._began_with_gauge,
            is_unknown=self._is_unknown,
            state=state,
        )

    @property
    def horizon_s(self) -> float:
        """Time over which the load is to be forecast."""
        forecast = self._state.forecast
        return _FIRST_HORIZON_S if forecast is None else forecast.median_s

    def update(
        self,
        sample: Sample,
        cell: CellEstimate,
        alone: CellEstimate | None,
        load: LoadAhead | None,
        gauge: GaugeEvidence,
    ) -> RemainingTime | None:
        """Remaining time at the sample; None without a load or a known current.

        Args:
            sample: of this update.
            cell: the weakest cell.
            alone: the same without the gauge's charge, None if `cell` is.
            load: forecast.
            gauge: its charge, its kind, and how likely it is wrong.
        """
        if load is None:
            self._state = changed(self._state, forecast=None)
        elif sample.second is not None:
            doubt = None if alone is None or gauge.wrong < _LEAST_WRONG else alone
            self._renew(sample.second.mean, sample.cells, cell, doubt, load, gauge)
        forecast = self._state.forecast
        if sample.just_ended:
            self._state = changed(self._state, record=self._state.record.with_end(sample.t_s))
        if sample.ended:
            return RemainingTime(0.0, 0.0, 0.0, 0.0 if forecast is None else forecast.power_w)
        if forecast is None or not sample.current_known:
            return None
        return forecast.after(sample.t_s - self._state.forecast_at_s)

    def under(
        self,
        load: LoadAhead,
        cells: int,
        cell: CellEstimate,
        alone: CellEstimate | None,
        gauge: GaugeEvidence,
    ) -> RemainingTime:
        """Time to empty under a load that has not begun."""
        charge = charge_bounds(cell, gauge.charge, began_with_gauge=self._began_with_gauge)
        doubt = None if gauge.wrong < _LEAST_WRONG else alone
        return self._forecast(cells, cell, doubt, load, gauge, charge)

    def _renew(
        self,
        now: Reading,
        cells: int,
        cell: CellEstimate,
        alone: CellEstimate | None,
        load: LoadAhead,
        gauge: GaugeEvidence,
    ) -> None:
        before = self._state.forecast
        before_s = self._state.forecast_at_s
        if before is not None and now.t_s // _FORECAST_S == before_s // _FORECAST_S:
            return
        charge = charge_bounds(cell, gauge.charge, began_with_gauge=self._began_with_gauge)
        if alone is not None:
            charge = charge.widened_by(charge_bounds(alone, None, began_with_gauge=False))
        new = self._forecast(cells, cell, alone, load, gauge, charge)
        likely = alone if alone is not None and gauge.wrong > _LIKELY_WRONG else cell
        by_charge = charge_time(likely, now.cell_v, self._cutoff_v, load, cells)
        new = new.in_first_minutes(by_charge, load.loaded_s)
        if before is not None:
            new = before.followed_by(new, now.t_s - before_s)
        new = new.within(time_bounds(cell, now.cell_v, self._cutoff_v, charge, load, cells))
        # After a pause the load is another one, and the end is not where it was expected.
        record = NO_FORECASTS if before is None else self._state.record
        record = record.with_forecast(now.t_s, new.low_s, new.high_s)
        self._state = TimeToEmptyState(new, now.t_s, record)

    def _forecast(
        self,
        cells: int,
        cell: CellEstimate,
        alone: CellEstimate | None,
        load: LoadAhead,
        gauge: GaugeEvidence,
        charge: ChargeBounds,
    ) -> RemainingTime:
        parameters = cell.model.parameters
        own = end_samples(cell, self._cutoff_v, load, cells)
        capacity_as = cell.model.capacity_as * math.exp(float(cell.x[CAPACITY]))
        counted_as = max(float(cell.x[CHARGE]), 0.0) * capacity_as
        ends_s, weights = fused_ends(own, counted_as, charge.most_as, gauge, parameters)
        low = _LOW
        if self._is_unknown:  # in the first minutes all of the tail counts
            low = _LOW_UNKNOWN - (_LOW_UNKNOWN - _LOW) * charge_weight(load.loaded_s)
        if alone is not None:  # a gauge that may be wrong is no part of that tail
            low = max(low - (gauge.wrong - _LEAST_WRONG), _LOW)
            without = end_samples(alone, self._cutoff_v, load, cells).ends_s
            share = np.full(len(without), gauge.wrong / len(without))
            ends_s = np.concatenate([ends_s, without])
            weights = np.concatenate([weights * (1.0 - gauge.wrong), share])
        low_s, median_s, high_s = map(float, quantiles(ends_s, weights, (low, _MEDIAN, _HIGH)))
        below, above = self._adaptation.factors()
        return RemainingTime(
            low_s=max(median_s - below * (median_s - low_s), 0.0),
            median_s=median_s,
            high_s=median_s + above * (high_s - median_s),
            power_w=load.power_w,
        )

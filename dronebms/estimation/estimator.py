"""What is left in a pack: charge, minutes with an interval, and the current it may give.

Causal: an Estimate rests on nothing but what was heard until `t_s`; too little of it is `None`.
"""

import math
import zlib
from collections.abc import Callable

from dronebms.core.pack_data import PackData
from dronebms.core.report import UNKNOWN_STATE, Estimate
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.estimation import output_filters
from dronebms.estimation.cell_fit import CellFit
from dronebms.estimation.cell_model import CAPACITY, CHARGE, FAST, CellModel
from dronebms.estimation.cell_states import CellStates
from dronebms.estimation.end_of_discharge import EndOfDischarge
from dronebms.estimation.gauge_fusion import (
    GaugeCharge,
    fused_ends,
    initial_log_odds,
    log_odds_at_end,
    quantiles,
)
from dronebms.estimation.load_forecast import LoadForecast
from dronebms.estimation.model_parameters import FITTED, ModelParameters
from dronebms.estimation.output_filters import ENDED, MAX_STEP_GAP_S, RemainingTime, ShownCharge
from dronebms.estimation.pack_memory import MAX_FLIGHT_IDS, LearnedPack, Recall, no_memory
from dronebms.estimation.return_home import ReturnEstimate, ReturnHome
from dronebms.estimation.sampling import CurrentTracker, Reading, SecondMean, read
from dronebms.estimation.temperature_rise import TemperatureRise
from dronebms.estimation.time_to_empty import LoadAhead, end_samples, max_current
from smartbattery.registers import DESIGN
from smartbattery.snapshot import Snapshot

_COAST_S = 60.0  # silence through which a forecast is still worth counting down
_FORGET_S = 600.0  # silence after which the pack may have been charged or changed
_UNTOLD_MAH = 5000.0
_LOAD_C = 0.15  # of the capacity; below it nothing flies
_STEP_C = 0.08
_NO_CELL_V = 1.5  # nothing begins with a cell below that
_UNKNOWN_CHARGE_SD = 0.25
_DISAGREE_S = 15.0
_FIRST_HORIZON_S = 600.0
_TAUGHT_FRAC = 0.15  # of the capacity that must flow before a flight teaches
_FORECAST_S = 2.0
_QUANTILES = 0.05, 0.5, 0.95


class Estimator:
    """One pack from its first sample on; starts again when another pack is plugged in.

    Args:
        facts: what is told of the pack.
        recall: what was learned of a pack in earlier flights, by its `pack_key`.
        constants: what is believed before a pack has shown anything.
        make_load: what judges the load to come; a benchmark knows the future here.
    """

    def __init__(
        self,
        pack_data: PackData,
        recall: Recall = no_memory,
        parameters: ModelParameters = FITTED,
        make_load_forecast: Callable[
            [float, float | None, ModelParameters], LoadForecast
        ] = LoadForecast,
    ) -> None:
        self._pack_data = pack_data
        self._make_load = make_load_forecast
        self.recall = recall
        self._constants = parameters
        self._serial: int | None = None
        self._restart()

    def __getstate__(self) -> dict[str, object]:
        """Return all but where packs are recalled from, which is another run's own."""
        return self.__dict__ | {"recall": no_memory}

    def update(self, snapshot: Snapshot, vehicle: VehicleState = UNKNOWN_VEHICLE) -> Estimate:
        """Take in a snapshot, old or new, and say what is left at its time."""
        serial = snapshot.identity.serial
        if serial is not None and self._serial is not None and serial != self._serial:
            self._restart()
        self._serial = serial if serial is not None else self._serial
        self._vehicle = vehicle
        self._cells = self._pack_data.cells or snapshot.identity.cells or len(snapshot.cells_v)
        heard_s = None if self._last is None else self._last.t_s
        reading = read(snapshot, self._cells, heard_s, self._flow)
        if reading is not None and (self._cell is not None or reading.cell_v > _NO_CELL_V):
            if self._last is not None and reading.t_s - self._last.t_s > _FORGET_S:
                self._restart()
            self._take(reading, snapshot)
        return self._estimate(snapshot)

    def learn(self) -> LearnedPack | None:
        """Return what is known of the pack after this flight, None when it has taught nothing."""
        cell, load, before = self._cell, self._load, self._learned
        taught, flight = () if before is None else before.taught, f"{self._flight:08x}"
        if cell is None or load is None or not self._teaches or flight in taught:
            return None
        return LearnedPack(
            cells=cell.learned(),
            gauge_odds=self._odds,
            usual_w=load.usual_w,
            first_fast=float(cell.x[FAST]) if before is None else before.first_fast,
            rated_mah=cell.model.capacity_as / 3.6,
            flights=1 if before is None else before.flights + 1,
            taught=(*taught, flight)[-MAX_FLIGHT_IDS:],
        )

    def _restart(self) -> None:
        self._cell: CellFit | None = None
        self._load: LoadForecast | None = None
        self._learned: LearnedPack | None = None
        self._last: Reading | None = None  # newest reading
        self._mean: Reading | None = None  # newest whole second
        self._second, self._flow, self._shown = SecondMean(), CurrentTracker(), ShownCharge()
        self._end, self._warming = EndOfDischarge(self._pack_data.cutoff_v), TemperatureRise()
        self._homeward, self._states = ReturnHome(), CellStates()
        self._word: GaugeCharge | None = None
        self._forecast: RemainingTime | None = None
        self._forecast_at_s = self._ahead_w = self._odds = 0.0
        self._agreed_s: float | None = None  # when the fit last followed a reading
        self._used_as, self._used_ws, self._full_heard = 0.0, 0.0, False
        self.pack_key: str | None = None  # under which it is remembered; None: it cannot be told
        self._flight, self._teaches = 0, False  # a sum over what was read until it teaches

    def _take(self, reading: Reading, snapshot: Snapshot) -> None:
        cell = self._cell or self._start(reading, snapshot)
        last, self._last = self._last, reading
        cell.heat(snapshot.temperature_degc)
        self._hear_gauge(cell, snapshot)
        ended = self._end.reached
        self._end.update(reading)
        if self._end.reached and not ended and self._word is not None:
            self._odds = log_odds_at_end(self._odds, self._word, float(cell.x[CHARGE]))
        if last is None:
            self._mean = reading
            return
        dt_s = reading.t_s - last.t_s
        self._used_as += (last.current_a + reading.current_a) / 2 * dt_s
        self._used_ws += (last.current_a + reading.current_a) / 2 * reading.pack_v * dt_s
        full = self._second.add(dt_s, reading)
        if full is not None:
            self._whole_second(cell, last, *full)
            if self._cell is cell:
                now = cell.now(full[2].current_a)
                self._states.update(reading.t_s, snapshot.cells_v, self._used_as, cell, now)

    def _start(self, reading: Reading, snapshot: Snapshot) -> CellFit:
        pack_data, c = self._pack_data, self._constants
        all_mah = pack_data.capacity_mah, snapshot.identity.design_mah, snapshot.full_mah
        told_mah = next((mah for mah in all_mah if mah and mah >= DESIGN.low), None)
        capacity_ah = (told_mah or _UNTOLD_MAH) / 1000.0
        self.pack_key = pack_data.pack_key(snapshot.identity)
        learned = None if self.pack_key is None else self.recall(self.pack_key)
        if learned is not None and told_mah is not None and learned.rated_mah != told_mah:
            learned = None  # another pack under the same name
        model = CellModel(pack_data.chemistry, capacity_ah, told=told_mah is not None, parameters=c)
        cell = CellFit(model, None if learned is None else learned.cells)
        cell.heat(snapshot.temperature_degc)
        gauge_frac = None if snapshot.soc_pct is None else snapshot.soc_pct / 100.0
        cell.start(reading.cell_v, reading.current_a, gauge_frac)
        self._states.gauged = gauge_frac is not None
        threshold_w = _LOAD_C * capacity_ah * pack_data.chemistry.full_cell_v * self._cells
        usual_w = None if learned is None else learned.usual_w
        self._load = self._make_load(threshold_w, usual_w, c)
        self._cell, self._learned = cell, learned
        return cell

    def _hear_gauge(self, cell: CellFit, snapshot: Snapshot) -> None:
        full_mah, remaining_mah = snapshot.full_mah, snapshot.remaining_mah
        if full_mah is None or full_mah <= 0:
            return
        if not self._full_heard:
            self._full_heard = True
            if self._learned is not None:
                self._odds = self._learned.gauge_odds
            else:
                self._odds = initial_log_odds(
                    full_mah * 3.6 / cell.model.capacity_as, self._constants
                )
                cell.believe_capacity(full_mah / 1000.0)
        if remaining_mah is not None:
            self._word = GaugeCharge(remaining_mah * 3.6, full_mah * 3.6)

    def _whole_second(
        self, cell: CellFit, last: Reading, total_s: float, last_dt_s: float, now: Reading
    ) -> None:
        """Feed the fit with the mean of a second of readings."""
        gap = last_dt_s > MAX_STEP_GAP_S
        counted_a = (last.current_a + now.current_a) / 2 if gap else now.current_a
        doubt_a = abs(last.current_a - now.current_a) / 2 if gap else 0.0
        cell.advance(total_s, counted_a, max(doubt_a, now.doubt_a))
        guessed = now.doubt_a > abs(now.current_a) / 2  # nothing to fit to
        if guessed or cell.measure(now.cell_v, now.current_a):
            self._agreed_s = now.t_s
        elif self._agreed_s is None:  # it began with a reading that was none
            self._restart()
            return
        elif now.t_s - self._agreed_s > _DISAGREE_S:
            cell.doubt()
            self._agreed_s = now.t_s
        self._teaches |= self._used_as >= _TAUGHT_FRAC * cell.model.capacity_as
        if not self._teaches:
            self._flight = zlib.crc32(repr(now).encode(), self._flight)
        before, self._mean = self._mean, now
        if before is not None and now.t_s - before.t_s < MAX_STEP_GAP_S and not now.doubt_a:
            di_a = now.current_a - before.current_a
            if abs(di_a) > _STEP_C * cell.model.capacity_as / 3600.0:
                cell.measure_step(now.cell_v - before.cell_v, di_a)
        if self._load is not None:
            power_w = max(now.pack_v * counted_a, 0.0)
            self._load.update(total_s, power_w)
            if self._load.present:
                self._warming.update(now.t_s, cell.degc)
                self._homeward.update(now.t_s, total_s, self._vehicle, power_w)
            self._predict(cell, self._load, now.t_s)

    def _predict(self, cell: CellFit, load: LoadForecast, now_s: float) -> None:
        if not load.present:
            self._forecast = None
            return
        before, since_s = self._forecast, now_s - self._forecast_at_s
        if before is not None and now_s // _FORECAST_S == self._forecast_at_s // _FORECAST_S:
            return  # it counts down
        self._forecast_at_s = now_s
        horizon_s = _FIRST_HORIZON_S if before is None else before.median_s
        self._ahead_w, power_sd = load.ahead(horizon_s)
        ahead = LoadAhead(
            self._ahead_w / self._cells, power_sd, load.ripple_frac, self._warming.degc_s
        )
        own = end_samples(cell, self._pack_data.cutoff_v, ahead)
        capacity_as = cell.model.capacity_as * math.exp(float(cell.x[CAPACITY]))
        counted_as = max(float(cell.x[CHARGE]), 0.0) * capacity_as
        ends_s, weights = fused_ends(own, counted_as, self._word, self._odds, self._constants)
        low_s, middle_s, high_s = map(float, quantiles(ends_s, weights, _QUANTILES))
        row = (self._learned is not None) + 2 * (self._word is None)
        below, above = self._constants.widen[row]
        new = RemainingTime(
            max(middle_s - below * (middle_s - low_s), 0.0),
            middle_s,
            middle_s + above * (high_s - middle_s),
        )
        self._forecast = new if before is None else before.followed_by(new, since_s)

    def _estimate(self, snapshot: Snapshot) -> Estimate:
        cell, last, now_s = self._cell, self._last, snapshot.t_s
        if cell is None or last is None or now_s - last.t_s > _COAST_S:
            return Estimate(now_s)
        left, now = self._left(now_s), cell.now(last.current_a)
        known = cell.P[CHARGE, CHARGE] < _UNKNOWN_CHARGE_SD**2 and self._flow.is_known(now_s)
        cutoff_v, home, charge_frac = (
            self._pack_data.cutoff_v,
            ReturnEstimate(),
            float(cell.x[CHARGE]),
        )
        if (last.doubt_a or self._end.reached) and last.cell_v < cutoff_v:  # no charge bears that
            charge_frac = min(charge_frac, output_filters.charge_at(cell, last.cell_v + now.sag_v))
        if self._load is not None and self._load.present:
            low_s = None if left is None else left.low_s
            home = self._homeward.ahead(self._vehicle, low_s, self._ahead_w)
        soc_pct = self._shown.pct(now_s, charge_frac, loaded=last.current_a > 0) if known else None
        state = self._states.told(snapshot.cells_v, soc_pct)
        return Estimate(
            t_s=now_s,
            soc_pct=soc_pct,
            soh_pct=output_filters.health_pct(cell, self._learned),
            remaining_s=None if left is None else left.median_s,
            remaining_low_s=None if left is None else left.low_s,
            remaining_high_s=None if left is None else left.high_s,
            home_s=home.home_s,
            home_reserve_s=home.home_reserve_s,
            turn_back_in_s=home.turn_back_in_s,
            resistance_ohm=output_filters.resistance_ohm(cell, now, self._cells),
            resting_cell_v=last.cell_v + now.sag_v if known else None,
            max_discharge_a=max_current(cell, now, cutoff_v, 10.0) if known else None,
            max_discharge_2s_a=max_current(cell, now, cutoff_v, 2.0) if known else None,
            max_discharge_30s_a=max_current(cell, now, cutoff_v, 30.0) if known else None,
            used_mah=self._used_as / 3.6,
            used_wh=self._used_ws / 3600.0,
            state=state if self._flow.is_known(now_s) else UNKNOWN_STATE,
        )

    def _left(self, now_s: float) -> RemainingTime | None:
        if self._end.reached:
            return ENDED
        if self._forecast is None or not self._flow.is_known(now_s):
            return None
        return self._forecast.after(now_s - self._forecast_at_s)

# SPDX-License-Identifier: Apache-2.0
"""The estimator: state of charge, time to empty and available current of one pack.

A chain of stages, each with its own module, that hand on one frozen value each:

    sampling -> gauge fusion -> cell fit -> cell states -> load forecast -> time to empty
             -> flight ahead -> output filters

Causal: an Estimate depends only on what was received until its `t_s`; what is not known is `None`.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from dronebms.core.pack_data import PackData
from dronebms.core.pack_identity import is_same_pack, merged
from dronebms.core.report import Estimate
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.estimation.cell.cell_model import FAST, row_at_knots
from dronebms.estimation.cell.cell_parameters import CellParameters
from dronebms.estimation.connected_pack import ConnectedPack, connected_pack
from dronebms.estimation.learning.learned_pack import (
    MAX_FLIGHT_IDS,
    Keys,
    Learned,
    LearnedPack,
    Recall,
    no_memory,
)
from dronebms.estimation.learning.usual_power import (
    FlightPower,
    newest_motion,
    usual_power,
    with_flight,
)
from dronebms.estimation.load_forecast import LoadForecast, planned_load
from dronebms.estimation.model_parameters import FITTED, ModelParameters
from dronebms.estimation.sampling import Reading, Sampling, SamplingState
from dronebms.estimation.stages import MakeLoadForecast, Stages, StagesState, make_stages
from smartbattery.registers import DESIGN
from smartbattery.snapshot import UNIDENTIFIED, Identity, Snapshot

_MAX_LOG_ODDS = 500.0  # of a restored state: its exponential is finite


@dataclass(frozen=True, slots=True)
class EstimatorState:
    """Restart state of `Estimator`: plain values only."""

    FORMAT: ClassVar[int] = 12
    identity: Identity
    sampling: SamplingState
    stages: StagesState | None  # None before the first reading


def _check(state: EstimatorState) -> None:
    """Raise ValueError for a number that the equations cannot take; an estimator never has one."""
    spans_s = [span_s for span_s, _ in state.sampling.second.pending]
    least = {"a span of a reading": min(spans_s, default=0.0)}
    stages = state.stages
    if stages is not None:
        rated_mah = stages.pack.rated_mah
        log_odds = stages.gauge.log_odds or 0.0
        for name, mah in (("rated_mah", rated_mah), ("assumed_mah", stages.pack.assumed_mah)):
            least[name] = 0.0 if mah is None else mah - DESIGN.low
        least["log_odds"] = _MAX_LOG_ODDS - abs(log_odds)
        least["wrong"] = min(stages.gauge.wrong, 1.0 - stages.gauge.wrong)
        least["ripple"] = stages.load.power.ripple
        least["rotor_s"] = stages.ahead.motion.rotor_s
    for name, number in least.items():
        if number < 0.0:
            raise ValueError(f"{name} is out of range")


class Estimator:
    """Estimator of one pack; starts again when another pack is connected.

    Args:
        pack_data: rated data of the pack.
        recall: what earlier flights have taught, by its keys.
        parameters: prior of the models.
        make_load_forecast: makes the load forecast; benchmarks replace it by one that knows the
            future.
        state: to continue from.
    """

    def __init__(
        self,
        pack_data: PackData,
        recall: Recall = no_memory,
        parameters: ModelParameters = FITTED,
        make_load_forecast: MakeLoadForecast = LoadForecast,
        state: EstimatorState | None = None,
    ) -> None:
        self._pack_data = pack_data
        self._recall = recall
        self._parameters = parameters
        self._make_load_forecast = make_load_forecast
        self._identity = UNIDENTIFIED
        self._sampling = Sampling(pack_data)
        self._stages: Stages | None = None
        if state is None:
            return
        _check(state)
        self._identity = state.identity
        self._sampling = self._sampling.with_state(state.sampling)
        if state.stages is not None:
            self._stages = self._make_stages(state.stages.pack).with_state(state.stages)

    def state(self) -> EstimatorState:
        """Everything that the estimator remembers."""
        stages = None if self._stages is None else self._stages.state()
        return EstimatorState(self._identity, self._sampling.state(), stages)

    def with_state(self, state: EstimatorState) -> Self:
        """Return an estimator of the same configuration that continues exactly from a state."""
        return type(self)(
            self._pack_data, self._recall, self._parameters, self._make_load_forecast, state
        )

    def resume(self) -> None:
        """Continue after an absence of the loop, in which nothing was read."""
        self._sampling.resume()

    def update(self, snapshot: Snapshot, vehicle: VehicleState = UNKNOWN_VEHICLE) -> Estimate:
        """Take in a snapshot, with new readings or not; the estimate at its time."""
        if self._is_other_pack(snapshot.identity):
            self._restart()
        sample = self._sampling.update(snapshot)
        if sample.first is not None:
            self._stages = self._start(snapshot, sample.first, sample.cells, vehicle)
        stages = self._stages
        if stages is None:
            return Estimate(snapshot.t_s)
        if stages.pack.keys.vehicle is None and vehicle.uid is not None:
            self._board(stages, vehicle.uid)
        fits = stages.cell_fit, stages.alone or stages.cell_fit
        gauge = stages.gauge.update(snapshot, sample, *fits)
        alone = stages.update_alone(sample, snapshot.temperature_degc, gauge)
        cell = stages.cell_fit.update(
            sample, snapshot.temperature_degc, gauge.full_ah, gauge.charge_frac
        )
        if cell is None:
            return Estimate(snapshot.t_s, used_mah=sample.used_as / 3.6, doubts=gauge.doubts)
        stages.identify_flight(sample)
        cells = stages.cell_states.update(sample, cell)
        ahead = stages.ahead
        ends = stages.time_to_empty
        plan = None
        if sample.second is not None:
            flight_w = stages.load.flight_w(ends.horizon_s)
            plan = ahead.plan(sample.second, vehicle, flight_w)
        load = stages.load.update(sample, cell.degc, ends.horizon_s, plan)
        remaining = ends.update(sample, cell, alone, load, gauge)
        if plan is not None:
            planned = load or planned_load(plan)
            under = remaining if load else ends.under(planned, sample.cells, cell, alone, gauge)
            ahead.judge(plan, cell, sample.cells, planned, under)
        home = ahead.home(sample, vehicle, load, remaining)
        estimate = stages.output.update(sample, cell, remaining, cells, gauge.doubts)
        # Of a pack that is silent nothing is known, the flight ahead included.
        return estimate if estimate.used_mah is None else ahead.added_to(estimate, home)

    @property
    def keys(self) -> Keys:
        """Names under which this flight is remembered."""
        return Keys() if self._stages is None else self._stages.pack.keys

    def learn(self) -> Learned:
        """What this flight adds to what is known of the pack and of the vehicle."""
        stages = self._stages
        if stages is None or not stages.informative:
            return Learned()
        flight_id = f"{stages.flight_crc:08x}"
        flown = stages.load.flown
        power = None
        if flown is not None:
            power = FlightPower(flight_id, *flown, stages.ahead.learned)
        before = stages.pack.learned
        if before is not None and flight_id in before.flight_ids:
            return Learned(power=power)
        return Learned(self._learned_pack(stages, flight_id, power), power)

    def _learned_pack(
        self, stages: Stages, flight_id: str, power: FlightPower | None
    ) -> LearnedPack:
        """The pack after this flight."""
        pack = stages.pack
        before = pack.learned
        flight_ids = () if before is None else before.flight_ids
        powers = () if before is None else before.power
        if power is not None and pack.keys.vehicle is None:
            powers = with_flight(powers, power)
        cells = stages.cell_fit.fit_to_end()
        odds = stages.gauge.state().log_odds
        if odds is None:
            odds = pack.sister_odds or 0.0 if before is None else before.gauge_odds
        misses = stages.time_to_empty.state().record.misses()
        adaptation = pack.adaptation if misses is None else pack.adaptation.after(*misses)
        curve = replace(self._pack_data, full_seen_v=pack.full_seen_v).curve
        return LearnedPack(
            cells=cells,
            gauge_odds=odds,
            first_fast=float(stages.cell_fit.x[FAST]) if before is None else before.first_fast,
            rated_mah=stages.cell_fit.model.capacity_as / 3.6,
            flights=1 if before is None else before.flights + 1,
            flight_ids=(*flight_ids, flight_id)[-MAX_FLIGHT_IDS:],
            power=powers,
            model=pack.keys.model,
            chemistry=curve.name,
            vehicle=pack.keys.vehicle,
            adaptation=adaptation,
            curve_v=row_at_knots(curve),
        )

    def _board(self, stages: Stages, vehicle: str) -> None:
        """Take in the vehicle that became known; late in a flight for the next one only."""
        flights = self._recall(Keys(vehicle=vehicle)).vehicle
        usual = usual_power(flights, self._parameters)
        if not stages.load.use(usual):
            usual = stages.pack.usual
        motion = newest_motion(flights)
        stages.ahead.use(motion)
        keys = replace(stages.pack.keys, vehicle=vehicle)
        stages.pack = replace(stages.pack, keys=keys, usual=usual, motion=motion)

    def _restart(self) -> None:
        self._sampling = Sampling(self._pack_data)
        self._stages = None

    def _is_other_pack(self, identity: Identity) -> bool:
        before = self._identity
        same = is_same_pack(before, identity)
        self._identity = merged(before, identity) if same else identity
        return not same

    def _start(
        self, snapshot: Snapshot, first: Reading, in_series: int, vehicle: VehicleState
    ) -> Stages:
        """Stages of a pack, from its first reading."""
        pack, cells = connected_pack(
            snapshot, in_series, vehicle, self._pack_data, self._recall, self._parameters
        )
        stages = self._make_stages(pack, cells)
        stages.begin(snapshot, first)
        return stages

    def _make_stages(self, pack: ConnectedPack, cells: CellParameters | None = None) -> Stages:
        """Stages of a pack; without parameters of its cells for states to continue from."""
        return make_stages(pack, self._pack_data, self._parameters, self._make_load_forecast, cells)

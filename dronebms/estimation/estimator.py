# SPDX-License-Identifier: Apache-2.0
"""The estimator: state of charge, time to empty and available current of one pack.

A chain of stages, each with its own module, that hand on one frozen value each:

    sampling -> gauge fusion -> cell fit -> cell states -> load forecast -> time to empty
             -> flight ahead -> output filters

Causal: an Estimate depends only on what was received until its `t_s`; what is not known is `None`.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from dronebms.core.chemistry import LIHV, LIPO, Chemistry
from dronebms.core.known_cells import known_cell
from dronebms.core.pack_data import LOAD_C, UNKNOWN_CAPACITY_AH, PackData
from dronebms.core.pack_identity import is_same_pack, merged
from dronebms.core.report import Estimate
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.estimation.cell_estimate import CellEstimate
from dronebms.estimation.cell_fit import CellFit
from dronebms.estimation.cell_fit_state import CellFitState
from dronebms.estimation.cell_gap import median_above_v
from dronebms.estimation.cell_model import FAST, CellModel, row_at_knots
from dronebms.estimation.cell_parameters import CellParameters
from dronebms.estimation.cell_states import CellStates, CellStatesState
from dronebms.estimation.flight_ahead import FlightAhead, FlightAheadState
from dronebms.estimation.gauge_fusion import MAX_UNRATED_MAH, GaugeEvidence, GaugeFusion
from dronebms.estimation.interval_adaptation import Adaptation, mean_adaptation
from dronebms.estimation.learned_pack import (
    MAX_FLIGHT_IDS,
    NOTHING_KNOWN,
    Keys,
    Known,
    Learned,
    LearnedPack,
    Recall,
    no_memory,
)
from dronebms.estimation.load_forecast import LoadForecast, LoadForecastState, planned_load
from dronebms.estimation.model_parameters import FITTED, ModelParameters
from dronebms.estimation.motion_power import LearnedMotion
from dronebms.estimation.output_filters import OutputFilters, ShownCharge
from dronebms.estimation.sampling import Reading, Sample, Sampling, SamplingState, Second
from dronebms.estimation.sister_packs import MAX_SISTERS, sister_prior
from dronebms.estimation.time_to_empty import TimeToEmpty, TimeToEmptyState
from dronebms.estimation.usual_power import (
    FlightPower,
    UsualPower,
    newest_motion,
    usual_power,
    with_flight,
)
from smartbattery.registers import DESIGN
from smartbattery.snapshot import UNIDENTIFIED, Identity, Snapshot

_MAX_LOG_ODDS = 500.0  # of a restored state: its exponential is finite
_MEAN_CHARGE = 0.5  # at which a cell has its mean voltage
_LEARN_FRAC = 0.15  # of the capacity that must be used before a flight is learned from

MakeLoadForecast = Callable[[float, UsualPower | None, ModelParameters], LoadForecast]


@dataclass(frozen=True, slots=True)
class ConnectedPack:
    """Facts of a pack that are fixed at its first reading; its vehicle may be known later."""

    keys: Keys  # under which it is remembered
    cells: int  # in series
    rated_mah: float | None
    assumed_mah: float | None  # where none is rated: of earlier flights, or as the gauge reports
    has_gauge_charge: bool  # the gauge reported a state of charge
    learned: LearnedPack | None  # from earlier flights
    adaptation: Adaptation  # of the interval
    sister_odds: float | None  # log odds of the gauge's kind by sister packs; None without them
    usual: UsualPower | None  # of the vehicle's earlier flights, while that is unknown the pack's
    motion: LearnedMotion | None  # power by motion of the vehicle's earlier flights
    full_seen_v: float | None = None  # `PackData.full_seen_v`


@dataclass(frozen=True, slots=True)
class StagesState:
    """Restart state of the stages that a pack's first reading creates."""

    pack: ConnectedPack
    flight_crc: int
    informative: bool
    gauge: GaugeEvidence
    cell_fit: CellFitState
    alone: CellFitState | None  # None: `cell_fit` is without the gauge's charge itself
    cell_states: CellStatesState
    load: LoadForecastState
    time_to_empty: TimeToEmptyState
    ahead: FlightAheadState
    output: ShownCharge


@dataclass(frozen=True, slots=True)
class EstimatorState:
    """Restart state of `Estimator`: plain values only."""

    FORMAT: ClassVar[int] = 12
    identity: Identity
    sampling: SamplingState
    stages: StagesState | None  # None before the first reading


@dataclass(slots=True)
class _Stages:
    """The stages that a pack's first reading creates."""

    pack: ConnectedPack
    gauge: GaugeFusion
    cell_fit: CellFit
    alone: CellFit | None  # the fit without the gauge's charge; None: `cell_fit` is
    cell_states: CellStates
    load: LoadForecast
    time_to_empty: TimeToEmpty
    ahead: FlightAhead
    output: OutputFilters
    flight_crc: int = 0  # over the first readings: identifies the flight
    informative: bool = False  # enough charge was used to learn from the flight

    def state(self) -> StagesState:
        """Restart state."""
        return StagesState(
            pack=self.pack,
            flight_crc=self.flight_crc,
            informative=self.informative,
            gauge=self.gauge.state(),
            cell_fit=self.cell_fit.state(),
            alone=None if self.alone is None else self.alone.state(),
            cell_states=self.cell_states.state(),
            load=self.load.state(),
            time_to_empty=self.time_to_empty.state(),
            ahead=self.ahead.state(),
            output=self.output.state(),
        )

    def with_state(self, state: StagesState) -> "_Stages":
        """Stages of the same pack that continue from a state."""
        return _Stages(
            pack=state.pack,
            gauge=self.gauge.with_state(state.gauge),
            cell_fit=self.cell_fit.with_state(state.cell_fit),
            alone=None if state.alone is None else self.cell_fit.with_state(state.alone),
            cell_states=self.cell_states.with_state(state.cell_states),
            load=self.load.with_state(state.load),
            time_to_empty=self.time_to_empty.with_state(state.time_to_empty),
            ahead=self.ahead.with_state(state.ahead),
            output=self.output.with_state(state.output),
            flight_crc=state.flight_crc,
            informative=state.informative,
        )

    def update_alone(
        self, sample: Sample, degc: float | None, gauge: GaugeEvidence
    ) -> CellEstimate | None:
        """The cell without the gauge's charge; None if that of `cell_fit` is, or is unknown."""
        if self.alone is None:
            return None
        if gauge.given_up:  # from now on nothing rests on what it reported
            self.cell_fit = self.alone
            self.alone = None
            return None
        return self.alone.update(sample, degc, gauge.full_ah, None)

    def identify_flight(self, sample: Sample) -> None:
        """Add a second to the flight's checksum, until there is enough to learn from."""
        if sample.second is None:
            return
        self.informative |= sample.used_as >= _LEARN_FRAC * self.cell_fit.model.capacity_as
        if not self.informative:
            self.flight_crc = zlib.crc32(_checksum_text(sample.second), self.flight_crc)


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


def _first_capacity(*sources_mah: float | None) -> float | None:
    """The first that a pack can have."""
    return next((mah for mah in sources_mah if mah and mah >= DESIGN.low), None)


def _checksum_text(second: Second) -> bytes:
    """Text of a second; files of learned packs hold checksums of it, so that it never changes."""
    mean = second.mean
    return (
        f"Reading(t_s={mean.t_s!r}, cell_v={mean.cell_v!r}, current_a={mean.current_a!r}, "
        f"pack_v={mean.pack_v!r}, doubt_a={mean.current_sd_a!r})"
    ).encode()


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
        self._stages: _Stages | None = None
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
            plan = ahead.plan(sample.second, vehicle, stages.load.forecast_w)
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
        pack = stages.pack
        flight_id = f"{stages.flight_crc:08x}"
        flown = stages.load.flown
        power = None
        if flown is not None:
            power = FlightPower(flight_id, *flown, stages.ahead.learned)
        before = pack.learned
        flight_ids = () if before is None else before.flight_ids
        if flight_id in flight_ids:
            return Learned(power=power)
        powers = () if before is None else before.power
        if power is not None and pack.keys.vehicle is None:
            powers = with_flight(powers, power)
        cells = stages.cell_fit.fit_to_end()
        odds = stages.gauge.state().log_odds
        if odds is None:
            odds = pack.sister_odds or 0.0 if before is None else before.gauge_odds
        first_fast = float(stages.cell_fit.x[FAST]) if before is None else before.first_fast
        adaptation = pack.adaptation
        misses = stages.time_to_empty.state().record.misses()
        if misses is not None:
            adaptation = adaptation.after(*misses)
        curve = replace(self._pack_data, full_seen_v=pack.full_seen_v).curve
        learned = LearnedPack(
            cells=cells,
            gauge_odds=odds,
            first_fast=first_fast,
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
        return Learned(learned, power)

    def _board(self, stages: _Stages, vehicle: str) -> None:
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
    ) -> _Stages:
        """Stages of a pack, from its first reading."""
        pack_data = self._pack_data.seen(snapshot)
        identity = snapshot.identity
        rated_mah = _first_capacity(pack_data.capacity_mah, identity.design_mah)
        keys = Keys(
            pack=pack_data.pack_key(identity),
            model=pack_data.model_key(identity),
            vehicle=pack_data.vehicle or vehicle.uid,
        )
        known = NOTHING_KNOWN if keys == Keys() else self._recall(keys)
        learned = known.pack
        if learned is not None and (pack_data.chemistry, learned.chemistry) == (LIPO, LIHV.name):
            pack_data = replace(pack_data, full_seen_v=LIHV.full_cell_v)  # of an earlier flight
        curve = pack_data.curve
        if learned is not None and not learned.fits(rated_mah, curve.name):
            learned = None  # another pack under the same key
        learned = learned and learned.relative_to(curve)
        assumed_mah = _first_capacity(
            None if learned is None else learned.rated_mah,
            None if not known.sisters else known.sisters[0].rated_mah,
            None if (snapshot.full_mah or 0.0) > MAX_UNRATED_MAH else snapshot.full_mah,
        )
        sisters = self._sisters(known, rated_mah or assumed_mah, curve)
        sisters = () if learned is not None else sisters
        flights = known.vehicle
        if keys.vehicle is None and learned is not None:
            flights = learned.power
        pack = ConnectedPack(
            keys=keys,
            cells=in_series,
            rated_mah=rated_mah,
            assumed_mah=assumed_mah,
            has_gauge_charge=snapshot.soc_pct is not None,
            learned=learned,
            adaptation=(
                mean_adaptation([sister.adaptation for sister in sisters])
                if learned is None
                else learned.adaptation
            ),
            sister_odds=self._sister_odds(sisters),
            usual=usual_power(flights, self._parameters),
            motion=newest_motion(flights),
            full_seen_v=pack_data.full_seen_v,
        )
        cells = None if learned is None else learned.cells
        if sisters:
            cells = sister_prior([sister.cells for sister in sisters], self._parameters)
        stages = self._make_stages(pack, cells)
        gauge_frac = None if snapshot.soc_pct is None else snapshot.soc_pct / 100.0
        above_v = median_above_v(snapshot.cells_v)
        for fit, frac in ((stages.cell_fit, gauge_frac), (stages.alone, None)):
            if fit is not None:
                fit.heat(snapshot.temperature_degc)
                fit.start(first.cell_v, first.current_a, frac, above_v)
        return stages

    def _sisters(
        self, known: Known, rated_mah: float | None, curve: Chemistry
    ) -> tuple[LearnedPack, ...]:
        """The newest sister packs that can be of the same model."""
        found = [each for each in known.sisters if each.fits(rated_mah, curve.name)]
        return tuple([sister.relative_to(curve) for sister in found[:MAX_SISTERS]])

    def _sister_odds(self, sisters: tuple[LearnedPack, ...]) -> float | None:
        if not sisters:
            return None
        odds = [sister.gauge_odds for sister in sisters]
        return self._parameters.sister_odds * sum(odds) / len(odds)

    def _make_stages(self, pack: ConnectedPack, cells: CellParameters | None = None) -> _Stages:
        """Stages of a pack; without parameters of its cells for states to continue from."""
        pack_data = replace(self._pack_data, full_seen_v=pack.full_seen_v)
        parameters = self._parameters
        learned = pack.learned
        rated_mah = pack.rated_mah
        assumed_mah = pack.rated_mah or pack.assumed_mah
        capacity_ah = UNKNOWN_CAPACITY_AH if assumed_mah is None else assumed_mah / 1000.0
        rated = rated_mah is not None
        model = CellModel(
            pack_data.curve,
            capacity_ah,
            rated=rated,
            parameters=parameters,
            cell=None if pack_data.cell is None else known_cell(pack_data.cell),
        )
        pack_v = pack_data.curve.open_circuit_v(_MEAN_CHARGE) * pack.cells
        hover_a = pack_data.expected_hover_a
        threshold_w = LOAD_C * capacity_ah * pack_data.chemistry.full_cell_v * pack.cells
        return _Stages(
            pack=pack,
            gauge=GaugeFusion(
                model.capacity_as,
                None if learned is None else learned.gauge_odds,
                parameters,
                rated=rated,
                sister_log_odds=pack.sister_odds,
            ),
            cell_fit=CellFit(model, cells),
            alone=CellFit(model, cells) if pack.has_gauge_charge else None,
            cell_states=CellStates(has_gauge_charge=pack.has_gauge_charge),
            load=self._make_load_forecast(threshold_w, pack.usual, parameters),
            time_to_empty=TimeToEmpty(
                pack_data.cutoff_v,
                adaptation=pack.adaptation,
                began_with_gauge=pack.has_gauge_charge,
                is_unknown=learned is None and pack.sister_odds is None,
            ),
            ahead=FlightAhead(
                model.capacity_as * pack_v,
                pack.motion,
                None if hover_a is None else hover_a * pack_v,
            ),
            output=OutputFilters(
                pack_data.cutoff_v, None if learned is None else learned.first_fast
            ),
        )

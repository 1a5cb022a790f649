# SPDX-License-Identifier: Apache-2.0
"""The stages that a pack's first reading creates, and their restart state."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from dronebms.core.known_cells import known_cell
from dronebms.core.pack_data import LOAD_C, UNKNOWN_CAPACITY_AH, PackData
from dronebms.estimation.ahead.flight_ahead import FlightAhead, FlightAheadState
from dronebms.estimation.cell.cell_estimate import CellEstimate
from dronebms.estimation.cell.cell_fit import CellFit
from dronebms.estimation.cell.cell_fit_state import CellFitState
from dronebms.estimation.cell.cell_gap import median_above_v
from dronebms.estimation.cell.cell_model import CellModel
from dronebms.estimation.cell.cell_parameters import CellParameters
from dronebms.estimation.cell.cell_states import CellStates, CellStatesState
from dronebms.estimation.connected_pack import ConnectedPack
from dronebms.estimation.gauge_fusion import GaugeEvidence, GaugeFusion
from dronebms.estimation.learning.usual_power import UsualPower
from dronebms.estimation.load_forecast import LoadForecast, LoadForecastState
from dronebms.estimation.model_parameters import ModelParameters
from dronebms.estimation.output_filters import OutputFilters, ShownCharge
from dronebms.estimation.sampling import Reading, Sample, Second
from dronebms.estimation.time_to_empty import TimeToEmpty, TimeToEmptyState
from smartbattery.snapshot import Snapshot

_MEAN_CHARGE = 0.5  # at which a cell has its mean voltage
_LEARN_FRAC = 0.15  # of the capacity that must be used before a flight is learned from

MakeLoadForecast = Callable[[float, UsualPower | None, ModelParameters], LoadForecast]


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


@dataclass(slots=True)
class Stages:
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

    def with_state(self, state: StagesState) -> "Stages":
        """Stages of the same pack that continue from a state."""
        return Stages(
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

    def begin(self, snapshot: Snapshot, first: Reading) -> None:
        """Start the fits at the first reading."""
        gauge_frac = None if snapshot.soc_pct is None else snapshot.soc_pct / 100.0
        above_v = median_above_v(snapshot.cells_v)
        for fit, frac in ((self.cell_fit, gauge_frac), (self.alone, None)):
            if fit is not None:
                fit.heat(snapshot.temperature_degc)
                fit.start(first.cell_v, first.current_a, frac, above_v)


def make_stages(
    pack: ConnectedPack,
    pack_data: PackData,
    parameters: ModelParameters,
    make_load_forecast: MakeLoadForecast,
    cells: CellParameters | None = None,
) -> Stages:
    """Stages of a pack; without parameters of its cells for states to continue from."""
    pack_data = replace(pack_data, full_seen_v=pack.full_seen_v)
    learned = pack.learned
    model = _cell_model(pack, pack_data, parameters)
    pack_v = pack_data.curve.open_circuit_v(_MEAN_CHARGE) * pack.cells
    full_v = pack_data.chemistry.full_cell_v
    hover_a = pack_data.expected_hover_a
    return Stages(
        pack=pack,
        gauge=GaugeFusion(
            model.capacity_as,
            None if learned is None else learned.gauge_odds,
            parameters,
            rated=pack.rated_mah is not None,
            sister_log_odds=pack.sister_odds,
        ),
        cell_fit=CellFit(model, cells),
        alone=CellFit(model, cells) if pack.has_gauge_charge else None,
        cell_states=CellStates(has_gauge_charge=pack.has_gauge_charge),
        load=make_load_forecast(
            LOAD_C * _capacity_ah(pack) * full_v * pack.cells, pack.usual, parameters
        ),
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
        output=OutputFilters(pack_data.cutoff_v, None if learned is None else learned.first_fast),
    )


def _capacity_ah(pack: ConnectedPack) -> float:
    mah = pack.rated_mah or pack.assumed_mah
    return UNKNOWN_CAPACITY_AH if mah is None else mah / 1000.0


def _cell_model(pack: ConnectedPack, pack_data: PackData, parameters: ModelParameters) -> CellModel:
    return CellModel(
        pack_data.curve,
        _capacity_ah(pack),
        rated=pack.rated_mah is not None,
        parameters=parameters,
        cell=None if pack_data.cell is None else known_cell(pack_data.cell),
    )


def _checksum_text(second: Second) -> bytes:
    """Text of a second; files of learned packs hold checksums of it, so that it never changes."""
    mean = second.mean
    return (
        f"Reading(t_s={mean.t_s!r}, cell_v={mean.cell_v!r}, current_a={mean.current_a!r}, "
        f"pack_v={mean.pack_v!r}, doubt_a={mean.current_sd_a!r})"
    ).encode()

"""Cells in series under a load of constant power: current, voltages, charge and energy.

A parallel group is one cell of the summed capacity; its spread shrinks with the root of the
count. Volts, amps (positive while discharging), watts at the pack's terminals (negative while it is
charged), ampere-hours.
"""

from collections.abc import Iterable

import numpy as np

from sim.plant.ageing import ageing_of, leaked_frac
from sim.plant.cell import (
    HEAT_CAPACITY_J_K_AH,
    HYSTERESIS_V,
    SECONDS_PER_HOUR,
    CellBuild,
    Cells,
    open_circuit_curve_v,
    resistance_factor,
)
from sim.plant.cell_parameters import FloatArray
from sim.plant.pack_spec import PackSpec

_SPREAD_LIMIT = 2.5  # standard deviations: no maker ships what is further out
_TWO = 2  # strings
_LEAST_V = 1e-6  # of a dead pack, so that nothing is divided by zero


class Pack:
    """Cells in series behind the resistance of bars, wires and connector.

    `apply` says what the pack gives now, `advance` lets a step of time pass under that.

    Attributes:
        current_a, voltage_v: at the terminals, one value a pack.
        cells_v: at the cells, `(..., n)`.
        overloaded: more power was asked than the pack can give.
        drawn_ah: taken out since the start.
    """

    def __init__(self, cells: Cells, wire_ohm: float, step_s: float) -> None:
        self.cells = cells
        self._wire_ohm = wire_ohm
        self._step_h = step_s / SECONDS_PER_HOUR
        none = np.zeros(cells.capacity_ah.shape[:-1])
        self.drawn_ah = self._wire_wh = none
        self.voltage_v = np.add.reduce(cells.open_circuit_v(), axis=-1)
        self._most_w = np.full_like(none, np.inf)
        self.apply(none)

    @property
    def heat_wh(self) -> FloatArray:
        """Lost in cells and wires since the start."""
        heat_wh: FloatArray = self.cells.heat_j.sum(axis=-1) / SECONDS_PER_HOUR + self._wire_wh
        return heat_wh

    def apply(self, power_w: float | FloatArray) -> None:
        """Load the terminals with a power; a pack that cannot give it gives what it can.

        Solves (E - I R) I = P for the smaller current, E and R summed over the series. R depends a
        little on I: on the one that follows from the voltage of a step ago.
        """
        near_a = np.minimum(power_w, self._most_w) / np.maximum(self.voltage_v, _LEAST_V)
        source_v, ohm = self.cells.thevenin(near_a[..., None])
        sum_v = np.maximum(np.add.reduce(source_v, axis=-1), _LEAST_V)
        sum_ohm = np.add.reduce(ohm, axis=-1) + self._wire_ohm
        self._most_w = most_w = sum_v * sum_v / (4.0 * sum_ohm)
        given_w = np.minimum(power_w, most_w)
        root_v = np.sqrt(np.maximum(sum_v * sum_v - 4.0 * sum_ohm * given_w, 0.0))
        self.current_a = 2.0 * given_w / (sum_v + root_v)
        self.voltage_v = sum_v - self.current_a * sum_ohm
        self.cells_v = source_v - self.current_a[..., None] * ohm
        self.overloaded = power_w > most_w

    def advance(self) -> None:
        """Let one step pass under the present current."""
        current_a = self.current_a
        self.cells.advance(current_a[..., None], self.cells_v)
        self.drawn_ah = self.drawn_ah + current_a * self._step_h
        self._wire_wh = self._wire_wh + current_a * current_a * (self._wire_ohm * self._step_h)

    def lose_string(self, series_index: int | None, parallel: int) -> None:
        """Let one of the parallel cells of a group fall out, of every group for None.

        The charge fraction stays: what is left of the group carries the whole current.

        Raises:
            ValueError: there is but one.
        """
        if parallel < _TWO:
            raise ValueError("a group of one cell has none to lose")
        left_frac = (parallel - 1.0) / parallel
        self.cells.shrink(slice(None) if series_index is None else series_index, left_frac)


def build_pack(spec: PackSpec, random: np.random.Generator, step_s: float) -> Pack:
    """Return one pack of a scenario; the generator decides how its cells differ."""
    return _built(spec, random.standard_normal((2, spec.cells)), step_s)


def build_packs(spec: PackSpec, randoms: Iterable[np.random.Generator], step_s: float) -> Pack:
    """Return many packs as one, `(packs, cells)`: each as `build_pack` makes it alone."""
    draws = [random.standard_normal((2, spec.cells)) for random in randoms]
    return _built(spec, np.stack(draws, axis=1), step_s)


def after_flight(spec: PackSpec, pack: Pack, rest_days: float = 0.0) -> PackSpec:
    """Return the spec of a pack after a flight, and days of storage at its ambient temperature."""
    cycles = float(np.mean(np.abs(pack.drawn_ah))) / float(np.mean(pack.cells.capacity_ah))
    days = ageing_of(spec.chemistry).days_at_25_degc(rest_days, spec.ambient_degc)
    used = {"cycles": spec.cycles + cycles, "age_days": spec.age_days + days}
    return spec.model_copy(update=used)


def _built(spec: PackSpec, draws: FloatArray, step_s: float) -> Pack:
    draws = np.clip(draws, -_SPREAD_LIMIT, _SPREAD_LIMIT)
    spread = draws / np.sqrt(spec.parallel)
    ageing = ageing_of(spec.chemistry)
    mean_ah = spec.rated_mah / 1000.0 * spec.actual_capacity_frac
    mean_ah *= ageing.capacity_left_frac(spec.cycles, spec.age_days)
    capacity_ah = mean_ah * (1.0 + spec.capacity_spread_frac * spread[0])
    # The charger balances at full; what was drawn since then is the same for every cell.
    left_frac = spec.start_charge_frac - leaked_frac(spec.rested_days, spec.ambient_degc)
    start_frac = max(left_frac, 0.0)
    charge_frac = 1.0 - (1.0 - start_frac) * mean_ah / capacity_ah
    curve_v = open_circuit_curve_v(spec.chemistry, spec.ocv_bend_v, spec.ocv_tilt_v)
    build = CellBuild(
        chemistry=spec.chemistry,
        capacity_ah=capacity_ah,
        resistance_factor=1.0 + spec.resistance_spread_frac * spread[1],
        heat_capacity_j_k_ah=spec.heat_capacity_j_k_ah or HEAT_CAPACITY_J_K_AH[spec.chemistry],
        curve_v=curve_v,
        charge_frac=charge_frac,
        start_degc=spec.start_degc,
        ambient_degc=spec.ambient_degc,
        cooling_s=spec.cooling_s,
        conduction_s=spec.conduction_s,
        airflow_gain=spec.airflow_gain,
        hysteresis_v=HYSTERESIS_V.get(spec.chemistry, 0.0),
    )
    factor = ageing.resistance_factor(spec.cycles, spec.age_days)
    if spec.resistance_mohm_ah is not None:
        factor *= resistance_factor(build, spec.resistance_mohm_ah)
    build.resistance_factor[...] *= factor
    return Pack(Cells(build, step_s), spec.wire_mohm / 1000.0, step_s)

# SPDX-License-Identifier: Apache-2.0
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

_SPREAD_LIMIT = 2.5  # standard deviations: makers sort out cells beyond
_MIN_STRINGS = 2  # before one is lost
_MIN_V = 1e-6  # of a dead pack: no division by zero


class Pack:
    """Cells in series behind the resistance of bars, wires and connector.

    `apply` sets the load, `advance` advances by one step under it.

    Attributes:
        current_a, voltage_v: at the terminals, one value a pack.
        cells_v: at the cells, `(..., n)`.
        overloaded: whether the load exceeds the power that the pack can supply.
        drawn_ah: since the start.
    """

    def __init__(self, cells: Cells, wire_ohm: float, step_s: float) -> None:
        self.cells = cells
        self._wire_ohm = wire_ohm
        self._step_h = step_s / SECONDS_PER_HOUR
        none = np.zeros(cells.capacity_ah.shape[:-1])
        self.drawn_ah = none
        self._wire_wh = none
        self.voltage_v = np.add.reduce(cells.open_circuit_v(), axis=-1)
        self._max_w = np.full_like(none, np.inf)
        self.apply(none)

    @property
    def heat_wh(self) -> FloatArray:
        """Heat of cells and wires since the start."""
        heat_wh: FloatArray = self.cells.heat_j.sum(axis=-1) / SECONDS_PER_HOUR + self._wire_wh
        return heat_wh

    def apply(self, power_w: float | FloatArray) -> None:
        """Load the terminals with a power, limited to the power that the pack can supply.

        Solves (E - I R) I = P for the smaller current, E and R summed over the series. R depends
        slightly on I: the current that follows from the voltage of the previous step is used.
        """
        near_a = np.minimum(power_w, self._max_w) / np.maximum(self.voltage_v, _MIN_V)
        source_v, ohm = self.cells.thevenin(near_a[..., None])
        sum_v = np.maximum(np.add.reduce(source_v, axis=-1), _MIN_V)
        sum_ohm = np.add.reduce(ohm, axis=-1) + self._wire_ohm
        max_w = sum_v * sum_v / (4.0 * sum_ohm)
        self._max_w = max_w
        limited_w = np.minimum(power_w, max_w)
        root_v = np.sqrt(np.maximum(sum_v * sum_v - 4.0 * sum_ohm * limited_w, 0.0))
        self.current_a = 2.0 * limited_w / (sum_v + root_v)
        self.voltage_v = sum_v - self.current_a * sum_ohm
        self.cells_v = source_v - self.current_a[..., None] * ohm
        self.overloaded = power_w > max_w

    def advance(self) -> None:
        """Advance by one step under the present current."""
        current_a = self.current_a
        self.cells.advance(current_a[..., None], self.cells_v)
        self.drawn_ah = self.drawn_ah + current_a * self._step_h
        self._wire_wh = self._wire_wh + current_a * current_a * (self._wire_ohm * self._step_h)

    def lose_string(self, series_index: int | None, parallel: int) -> None:
        """Disconnect one of the parallel cells of a group, of every group for `None`.

        The charge fraction stays; the remaining cells carry the whole current.

        Raises:
            ValueError: there is only one.
        """
        if parallel < _MIN_STRINGS:
            raise ValueError("a group of one cell cannot lose it")
        left_frac = (parallel - 1.0) / parallel
        self.cells.shrink(slice(None) if series_index is None else series_index, left_frac)


def build_pack(spec: PackSpec, random: np.random.Generator, step_s: float) -> Pack:
    """One pack of a scenario; the generator decides the differences of its cells."""
    return _built(spec, random.standard_normal((2, spec.cells)), step_s)


def build_packs(spec: PackSpec, randoms: Iterable[np.random.Generator], step_s: float) -> Pack:
    """Many packs as one, `(packs, cells)`: each equals that of `build_pack`."""
    draws = [random.standard_normal((2, spec.cells)) for random in randoms]
    return _built(spec, np.stack(draws, axis=1), step_s)


def after_flight(spec: PackSpec, pack: Pack, rest_days: float = 0.0) -> PackSpec:
    """The spec of a pack after a flight and days of storage at its ambient temperature."""
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
    # The charger balances at full; the charge drawn since then is equal for all cells.
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

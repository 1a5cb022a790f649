"""Cells in series under a load of constant power: current, voltages, charge and energy.

A parallel group is one cell of the summed capacity; its spread shrinks with the root of the
count. Volts, amps (positive while discharging), watts at the pack's terminals, ampere-hours.
"""

import numpy as np

from sim.cell import SECONDS_PER_HOUR, CellBuild, Cells, FloatArray, truth_curve_v
from sim.packspec import PackSpec

_SPREAD_LIMIT = 2.5  # standard deviations: no maker ships what is further out
_LEAST_V = 1e-6  # of a dead pack, so that nothing is divided by zero


class Pack:
    """Cells in series behind the resistance of bars, wires and connector.

    `apply` says what the pack gives now, `advance` lets a step of time pass under that.

    Attributes:
        current_a, voltage_v: at the terminals, one value a pack.
        cells_v: at the cells, `(..., n)`.
        overloaded: more power was asked than the pack can give.
        drawn_ah, heat_wh: taken out, and lost in cells and wires, since the start.
    """

    def __init__(self, cells: Cells, wire_ohm: float, step_s: float) -> None:
        self.cells = cells
        self._wire_ohm = wire_ohm
        self._step_h = step_s / SECONDS_PER_HOUR
        none = np.zeros(cells.capacity_ah.shape[:-1])
        self.drawn_ah = self.heat_wh = none
        self.apply(none)

    def apply(self, power_w: float | FloatArray) -> None:
        """Load the terminals with a power; a pack that cannot give it gives what it can.

        Solves (E - I R) I = P for the smaller current, E and R summed over the series.
        """
        self._ohm = self.cells.resistance_ohm()
        self._open_v = self.cells.open_circuit_v()
        behind_v = self._open_v - np.add.reduce(self.cells.polarisation_v, axis=0)
        sum_v = np.maximum(np.add.reduce(behind_v, axis=-1), _LEAST_V)
        sum_ohm = np.add.reduce(self._ohm[0], axis=-1) + self._wire_ohm
        most_w = sum_v * sum_v / (4.0 * sum_ohm)
        given_w = np.minimum(power_w, most_w)
        root_v = np.sqrt(np.maximum(sum_v * sum_v - 4.0 * sum_ohm * given_w, 0.0))
        self.current_a = 2.0 * given_w / (sum_v + root_v)
        self.voltage_v = sum_v - self.current_a * sum_ohm
        self.cells_v = behind_v - self.current_a[..., None] * self._ohm[0]
        self.overloaded = power_w > most_w

    def advance(self) -> None:
        """Let one step pass under the present current."""
        loss_v = self._open_v - self.cells_v
        self.cells.advance(self.current_a[..., None], loss_v, self._ohm)
        lost_v = np.add.reduce(loss_v, axis=-1) + self.current_a * self._wire_ohm
        self.drawn_ah = self.drawn_ah + self.current_a * self._step_h
        self.heat_wh = self.heat_wh + self.current_a * lost_v * self._step_h


def build_pack(spec: PackSpec, random: np.random.Generator, step_s: float) -> Pack:
    """Return one pack of a scenario; the generator decides how its cells differ."""
    cells = spec.cells
    draws = np.clip(random.standard_normal((2, cells)), -_SPREAD_LIMIT, _SPREAD_LIMIT)
    spread = draws / np.sqrt(spec.parallel)
    mean_ah = spec.rated_mah / 1000.0 * spec.actual_capacity_frac
    capacity_ah = mean_ah * (1.0 + spec.capacity_spread_frac * spread[0])
    # The charger balances at full; what was drawn since then is the same for every cell.
    charge_frac = 1.0 - (1.0 - spec.start_charge_frac) * mean_ah / capacity_ah
    build = CellBuild(
        capacity_ah=capacity_ah,
        resistance_mohm_ah=spec.resistance_mohm_ah
        * (1.0 + spec.resistance_spread_frac * spread[1]),
        curve_v=truth_curve_v(spec.row, spec.ocv_bend_v, spec.ocv_tilt_v),
        charge_frac=charge_frac,
        start_degc=spec.start_degc,
        ambient_degc=spec.ambient_degc,
        cooling_s=spec.cooling_s,
    )
    return Pack(Cells(build, step_s), spec.wire_mohm / 1000.0, step_s)

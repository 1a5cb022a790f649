# SPDX-License-Identifier: Apache-2.0
"""Equivalent-circuit simulation of lithium cells: voltage and heat under a current.

Open-circuit voltage, an ohmic resistance with a charge transfer that saturates (Butler-Volmer:
asinh), an RC pair in volts, two lags of the charge at the surface of the electrodes, which act
along the open-circuit voltage, and two of the salt in the electrolyte, which a high load in the
cold depletes. All depend on charge and temperature (`cell_parameters`) and are updated once a
second, as is the temperature.
Arrays are over cells, `(..., n)`: axes before the last are further packs.
Current is positive while discharging; charge is a fraction of the cell's capacity.

Sources: circuit after Chen and Rincon-Mora 2006 (IEEE Trans. Energy Conversion 21-2), its parts as
in single-particle models with electrolyte (Marquis et al. 2019, J. Electrochem. Soc. 166 A3693);
heat after Bernardi et al. 1985 (J. Electrochem. Soc. 132-1), entropy included; hysteresis after
Plett 2004 (J. Power Sources 134).
"""

from dataclasses import dataclass, replace

import numpy as np

from sim.plant import cell_parameters as rows
from sim.plant.cell_parameters import CURVE_FRAC, FloatArray

SECONDS_PER_HOUR = 3600.0

_SLOW_S = 1.0  # period of the updates of temperature and parameters
_REFERENCE_DEGC = 25.0

# The resistance of a cell is stated for 20 s of 1C at half charge and 25 degC.
_STATED_AFTER_S = 20.0
_STATED_AT_FRAC = 0.5
_FACTORS = np.geomspace(0.02, 100.0, 400)[:, None]

_MIN_SALT_FRAC = 0.02  # always remains
_MIN_C = 1e-6  # no division by zero

_LEVELLED_V = 0.005  # a bent plateau may fall by so much and is made flat

_FREE_FACE = 0.5  # of the cooling of an inner cell: the ends of a stack have one face more
_AIR_POWER = 0.6  # forced convection over a body: Nu goes with Re^0.6 (Hilpert 1933)

# Charge that passes until the other branch is reached, and distance of the branches from the
# middle: A123 cells, 20 to 25 mV between the branches (Roscher and Sauer 2011, J. Power Sources
# 196 331, figures). Small and neglected for the others.
_BRANCH_FRAC = 0.05
HYSTERESIS_V = {"lifepo4": 0.011}

# Of whole cells with 1000 J/(kg K): 165 Wh/kg in a drone's LiPo, 4.2 Ah in a 21700 of 68 g, 2.3 Ah
# in a 26650 of 76 g. The parameter sets state less (16.7 and 8.4 for the first two).
HEAT_CAPACITY_J_K_AH = {"lipo": 22.0, "lihv": 22.0, "li-ion": 16.0, "lifepo4": 33.0}

_PER_FRAC = 1.0 / (CURVE_FRAC[1] - CURVE_FRAC[0])
# of the columns of a row
_TIMES = slice(0, 5)
_GAINS = slice(5, 10)
_OTHERS = slice(10, None)
# of the lags
_ACTING = slice(0, 3)
_SALTS = slice(1, 3)
_LAG = 3
_FAST_LAG = 4


def open_circuit_curve_v(chemistry: str, bend_v: float, tilt_v: float) -> FloatArray:
    """Open-circuit voltage at `CURVE_FRAC`: that of the chemistry, bent and tilted.

    Args:
        chemistry: of the curve.
        bend_v: rise of the middle of the curve.
        tilt_v: rise of the full end, and fall of the empty end.

    Raises:
        ValueError: the curve would fall with more charge.
    """
    rest_v = rows.cell_parameters(chemistry).rest_v
    charge_frac = np.linspace(0.0, 1.0, len(rest_v))
    bent_v = rest_v + bend_v * np.sin(np.pi * charge_frac) + tilt_v * (2.0 * charge_frac - 1.0)
    level_v = np.maximum.accumulate(bent_v)
    if np.any(level_v - bent_v > _LEVELLED_V):
        raise ValueError("an open-circuit voltage that does not fall with more charge")
    return rows.extended_curve_v(level_v)


@dataclass(frozen=True, slots=True)
class CellBuild:
    """Parameters of the cells of a pack; arrays have one value a cell.

    `resistance_factor` scales the current: with it the row's cell has the same voltage drop. The
    time constants of cooling are to still air, of an inner cell, and to a neighbour; air that moves
    at 1 m/s cools by `airflow_gain` more.
    """

    chemistry: str
    capacity_ah: FloatArray
    resistance_factor: FloatArray
    heat_capacity_j_k_ah: float
    curve_v: FloatArray  # from `open_circuit_curve_v`
    charge_frac: FloatArray
    start_degc: float
    ambient_degc: float
    cooling_s: float
    conduction_s: float = 300.0
    airflow_gain: float = 0.3
    hysteresis_v: float = 0.0


class Cells:
    """State of the cells of one or many packs, advanced in steps of constant length.

    Attributes:
        airflow_m_s: past the cells; may change at any time.
        extra_heat_k_s: external heating, for faults.
    """

    def __init__(self, build: CellBuild, step_s: float) -> None:
        shape = build.capacity_ah.shape
        self.capacity_ah = build.capacity_ah.copy()
        self.temperature_degc = np.full(shape, build.start_degc)
        self.extra_heat_k_s = np.zeros(shape)
        self.airflow_m_s = 0.0
        self._build = build
        self._rate_c_a = build.resistance_factor / build.capacity_ah  # an amp to the row's cell
        self._heat_capacity_j_k = build.heat_capacity_j_k_ah * build.capacity_ah
        self._cooling_frac_s = np.full(shape, 1.0 / build.cooling_s)
        for end in (0, -1):
            self._cooling_frac_s[..., end] += _FREE_FACE / build.cooling_s
        self._entropy_v_k = rows.cell_parameters(build.chemistry).entropy_v_k
        self._slope_v = np.append(np.diff(build.curve_v), 0.0)
        self.charge_frac = build.charge_frac.copy()
        # Volts of the RC pair, salt depletion (slow, fast), charge lag (slow, fast).
        self._lags = np.zeros((5, *shape))
        self._branch = np.ones(shape)  # of the hysteresis: 1 after charge, -1 after discharge
        self._lost_v_a = np.zeros(shape)  # summed over steps
        self._warmed_v_a = np.zeros(shape)  # the part of it that has become temperature
        self._passed_a = np.zeros(1)
        self._step_s = step_s
        self._slow_steps = max(round(_SLOW_S / step_s), 1)
        self._steps_left = self._slow_steps
        self._update_parameters()

    @property
    def heat_j(self) -> FloatArray:
        """Heat of each cell since the start."""
        return self._lost_v_a * self._step_s

    def weaken(self, index: int | slice, capacity_frac: float, resistance_factor: float) -> None:
        """Scale capacity and resistance of one cell (from 0) of each pack, at the same charge."""
        self.capacity_ah[..., index] *= capacity_frac
        self._rate_c_a[..., index] *= resistance_factor
        self._update_parameters()

    def shrink(self, index: int | slice, left_frac: float) -> None:
        """Disconnect parallel cells of a group (from 0); a fraction of them remains."""
        self._heat_capacity_j_k[..., index] *= left_frac
        self.weaken(index, left_frac, 1.0 / left_frac)

    def open_circuit_v(self) -> FloatArray:
        """Open-circuit voltage of each cell at its present charge."""
        return self._curve(self.charge_frac) + self._shift_v

    def thevenin(self, current_a: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Thevenin equivalent of each cell at the present state: source voltage and resistance.

        Args:
            current_a: about the current that will flow, `(..., 1)`: the resistance of the charge
                transfer falls with it.
        """
        source_v = self._curve(self.charge_frac - self._lags[_LAG] - self._lags[_FAST_LAG])
        source_v += np.add.reduce(self._lags[_ACTING] * self._response_v, axis=0)
        source_v += self._source_v
        rate_c = np.abs(current_a) * self._rate_c_a
        rate_c += _MIN_C
        series_v = np.arcsinh(rate_c * self._half_exchange)
        series_v *= self._transfer_v
        series_v /= rate_c
        series_v += self._ohmic_v
        series_v *= self._rate_c_a
        return source_v, series_v

    def advance(self, current_a: FloatArray, cells_v: FloatArray) -> None:
        """Advance by one step under a constant current.

        Args:
            current_a: through each cell, or one for all cells of a pack: `(..., 1)`.
            cells_v: voltage of each cell; its difference to the open-circuit voltage becomes heat.
        """
        self._lags *= self._decay
        self._lags += self._drive * current_a
        self.charge_frac -= current_a * self._per_a_frac
        self._lost_v_a += (self._rest_v - cells_v) * current_a
        self._passed_a = self._passed_a + current_a
        self._steps_left -= 1
        if not self._steps_left:
            self._steps_left = self._slow_steps
            self._update_temperature()
            self._update_parameters()

    def _curve(self, charge_frac: FloatArray) -> FloatArray:
        """Open-circuit voltage at 25 degC."""
        place: FloatArray = (charge_frac - CURVE_FRAC[0]) * _PER_FRAC
        index = place.astype(np.intp)
        place -= index
        place *= self._slope_v.take(index, mode="clip")
        place += self._build.curve_v.take(index, mode="clip")
        return place

    def _update_parameters(self) -> None:
        """Update the parameters from the tables; until the next time salt acts linearly."""
        lags = self._lags
        degc = self.temperature_degc
        charge_frac = self.charge_frac
        values = rows.interpolated(self._build.chemistry, charge_frac, degc)
        salt_v, self._transfer_v, starved_v, ohmic_v, exchange_c = values[_OTHERS]
        self._decay = np.exp(-self._step_s / values[_TIMES])
        self._drive = values[_GAINS] * (1.0 - self._decay) * self._rate_c_a
        self._per_a_frac = self._step_s / SECONDS_PER_HOUR / self.capacity_ah
        self._half_exchange = 0.5 / exchange_c
        depleted = np.add.reduce(lags[_SALTS], axis=0)
        left = np.maximum(1.0 - depleted, _MIN_SALT_FRAC)
        # Salt that a charge adds does not conduct better than the row's: its term has no such gain.
        self._ohmic_v = ohmic_v + starved_v * (1.0 / np.minimum(left, 1.0) - 1.0)
        even = len(self._entropy_v_k) - 1
        index = (charge_frac * even).astype(np.intp)
        self._entropy_now_v_k = self._entropy_v_k.take(index, mode="clip")
        warmer_v = self._entropy_now_v_k * (degc - _REFERENCE_DEGC)
        self._shift_v = warmer_v + self._build.hysteresis_v * self._branch
        self._rest_v = self._curve(charge_frac) + warmer_v
        per_salt_v = salt_v / left * (depleted < 1.0 - _MIN_SALT_FRAC)
        self._response_v = -np.stack((np.ones_like(left), per_salt_v, per_salt_v))
        self._source_v = self._shift_v + salt_v * np.log(left) + per_salt_v * depleted

    def _update_temperature(self) -> None:
        """Distribute the heat of the last second to the cells, their neighbours and the air."""
        build = self._build
        degc = self.temperature_degc
        slow_s = self._slow_steps * self._step_s
        air = 1.0 + build.airflow_gain * self.airflow_m_s**_AIR_POWER
        change_k = (build.ambient_degc - degc) * self._cooling_frac_s * (air * slow_s)
        between_k = (degc[..., 1:] - degc[..., :-1]) * (slow_s / build.conduction_s)
        change_k[..., :-1] += between_k
        change_k[..., 1:] -= between_k
        passed_as = self._passed_a * self._step_s
        lost_j = (self._lost_v_a - self._warmed_v_a) * self._step_s
        # Entropy is heat without a loss.
        lost_j -= (degc + rows.ZERO_DEGC_K) * self._entropy_now_v_k * passed_as
        change_k += lost_j / self._heat_capacity_j_k + self.extra_heat_k_s * slow_s
        self.temperature_degc = degc + change_k
        self._warmed_v_a = self._lost_v_a.copy()
        self._passed_a = np.zeros(1)
        if build.hysteresis_v:
            passed_frac = passed_as / SECONDS_PER_HOUR / self.capacity_ah
            nearer = -np.expm1(-np.abs(passed_frac) / _BRANCH_FRAC)
            self._branch -= (self._branch + np.sign(passed_frac)) * nearer


def resistance_factor(build: CellBuild, resistance_mohm_ah: float) -> float:
    """Factor of the row's cell for a resistance.

    The resistance is the voltage drop after 20 s of 1C at half charge and 25 degC, in mohm times
    the capacity in Ah.
    """
    one_c = np.ones_like(_FACTORS)
    sample = replace(
        build,
        capacity_ah=one_c,
        resistance_factor=_FACTORS,
        charge_frac=one_c * _STATED_AT_FRAC,
        start_degc=_REFERENCE_DEGC,
        ambient_degc=_REFERENCE_DEGC,
    )
    cells = Cells(sample, _STATED_AFTER_S)
    cells.advance(one_c, cells.open_circuit_v())
    source_v, ohm = cells.thevenin(one_c)
    loss_v = cells.open_circuit_v() - source_v + ohm
    return float(np.interp(resistance_mohm_ah / 1000.0, loss_v[:, 0], _FACTORS[:, 0]))

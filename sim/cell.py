"""Lithium cells as an equivalent circuit: the voltage and the heat that a current makes.

Open-circuit voltage, an ohmic resistance and two RC pairs (charge transfer: seconds; diffusion:
a minute), all three resistances depending on charge and temperature; each cell warms by its own
losses and cools to the air. Arrays are over cells, `(..., n)`: axes before the last are other
packs. Current is positive while discharging; charge is a fraction of the cell's own capacity.

Sources: circuit and its growth near empty after Chen and Rincon-Mora 2006 (IEEE Trans. Energy
Conversion 21-2); heat after Bernardi 1985 without the entropy term. The numbers below are typical
of LiPo pouches, set by hand; they are no measured cell.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dronebms.chemistry import Chemistry

FloatArray = npt.NDArray[np.float64]

ZERO_DEGC_K = 273.15
SECONDS_PER_HOUR = 3600.0

# Ohmic, charge transfer, diffusion. The activation temperature is the energy over the gas
# constant: 1200 K is 10 kJ/mol (electrolyte and metal), 2500 K is 21 kJ/mol (reaction, diffusion);
# together a cell at 0 degC resists some 1.8 times as much as at 25 degC.
_SHARES = np.array((0.50, 0.20, 0.30))
_ACTIVATION_K = np.array((1200.0, 2500.0, 2500.0))
_TIME_CONSTANTS_S = np.array((2.0, 40.0))
_NAMED_AFTER_S = 20.0  # the load time at which a cell's resistance is named
_REFERENCE_K = 298.15

# Resistance rises towards empty: 1 + rise * exp(-charge / knee).
_EMPTY_RISE = 1.5
_EMPTY_KNEE_FRAC = 0.06

# Below empty the voltage falls to nothing within a twentieth of the capacity.
_DEAD_FRAC = -0.05
_KNOTS_FRAC = np.concatenate(((_DEAD_FRAC,), np.linspace(0.0, 1.0, 101)))

_FLAT_V = 1e-9  # rounding on a plateau

_HEAT_CAPACITY_J_K_AH = 22.0  # 3.7 V, some 165 Wh/kg and 1000 J/(kg K)


def truth_curve_v(chemistry: Chemistry, bend_v: float, tilt_v: float) -> FloatArray:
    """Return the open-circuit voltage at the knots of charge: the chemistry's, bent and tilted.

    The estimator knows the chemistry's curve; the cells never follow it exactly.

    Args:
        chemistry: whose curve to start from.
        bend_v: how much higher the middle of the curve is.
        tilt_v: how much higher the full end is, and lower the empty end.

    Raises:
        ValueError: the curve would fall somewhere with more charge.
    """
    charge_frac = _KNOTS_FRAC[1:]
    told_v = np.interp(charge_frac, np.linspace(0.0, 1.0, len(chemistry.ocv_v)), chemistry.ocv_v)
    curve_v = told_v + bend_v * np.sin(np.pi * charge_frac) + tilt_v * (2.0 * charge_frac - 1.0)
    if np.any(np.diff(curve_v) < -_FLAT_V):
        raise ValueError("an open-circuit voltage that falls nowhere with more charge")
    return np.concatenate(((0.0,), curve_v))


@dataclass(frozen=True, slots=True)
class CellBuild:
    """What the cells of a pack are made of; arrays are one value a cell."""

    capacity_ah: FloatArray
    resistance_mohm_ah: FloatArray  # at 25 degC and middle charge after 20 s, times capacity
    curve_v: FloatArray  # from `truth_curve_v`
    charge_frac: FloatArray
    start_degc: float
    ambient_degc: float
    cooling_s: float  # time constant to the air


class Cells:
    """The state of the cells of one or many packs, moved on in steps of one length."""

    def __init__(self, build: CellBuild, step_s: float) -> None:
        kinds = (3, *(1,) * build.capacity_ah.ndim)
        settled = 1.0 - np.exp(-_NAMED_AFTER_S / _TIME_CONSTANTS_S)
        ohm = build.resistance_mohm_ah / 1000.0 / build.capacity_ah
        ohm = ohm / (_SHARES[0] + _SHARES[1:] @ settled)
        self.capacity_ah = build.capacity_ah.copy()
        self.charge_frac = build.charge_frac.copy()
        self.temperature_degc = np.full_like(build.capacity_ah, build.start_degc)
        self.polarisation_v = np.zeros((2, *build.capacity_ah.shape))
        self.extra_heat_k_s = np.zeros_like(build.capacity_ah)  # from outside, for faults
        self._ohm = _SHARES.reshape(kinds) * ohm
        self._activation_k = _ACTIVATION_K.reshape(kinds)
        self._relaxation = 1.0 - np.exp(-step_s / _TIME_CONSTANTS_S).reshape(2, *kinds[1:])
        self._curve_v = build.curve_v
        self._heat_capacity_j_k = _HEAT_CAPACITY_J_K_AH * build.capacity_ah
        self._ambient_degc = build.ambient_degc
        self._cooling_s = build.cooling_s
        self._step_s = step_s

    def weaken(self, index: int, capacity_frac: float, resistance_factor: float) -> None:
        """Let one cell (from 0) of each pack hold less and resist more, at the same charge."""
        self.capacity_ah[..., index] *= capacity_frac
        self._ohm[..., index] *= resistance_factor

    def open_circuit_v(self) -> FloatArray:
        """Return the voltage of each cell after a long rest at its present charge."""
        return np.interp(self.charge_frac, _KNOTS_FRAC, self._curve_v)

    def resistance_ohm(self) -> FloatArray:
        """Return `(3, ..., n)`: ohmic, charge transfer, diffusion of each cell as it is now."""
        colder = 1.0 / (self.temperature_degc + ZERO_DEGC_K) - 1.0 / _REFERENCE_K
        empty = 1.0 + _EMPTY_RISE * np.exp(self.charge_frac * (-1.0 / _EMPTY_KNEE_FRAC))
        ohm: FloatArray = self._ohm * (empty * np.exp(self._activation_k * colder))
        return ohm

    def advance(self, current_a: FloatArray, loss_v: FloatArray, ohm: FloatArray) -> None:
        """Move on by one step under a constant current.

        Args:
            current_a: through each cell, or one for all cells of a pack: `(..., 1)`.
            loss_v: open-circuit minus present voltage of each cell: what becomes heat.
            ohm: as `resistance_ohm` returned it for this step.
        """
        step_s = self._step_s
        self.polarisation_v += (current_a * ohm[1:] - self.polarisation_v) * self._relaxation
        self.charge_frac -= current_a * (step_s / SECONDS_PER_HOUR) / self.capacity_ah
        warming_k_s = current_a * loss_v / self._heat_capacity_j_k + self.extra_heat_k_s
        cooling_k_s = (self.temperature_degc - self._ambient_degc) / self._cooling_s
        self.temperature_degc += (warming_k_s - cooling_k_s) * step_s

# SPDX-License-Identifier: Apache-2.0
"""Equivalent-circuit model of one cell and the prior of its parameters.

    v = U(s - h) - e^fast g r (R0 i + R1 w1) - e^slow g r R2 w2
    h = e^depth g^1.3 D w2 / Q    by how much the electrodes' surface is emptier than their middle

s state of charge, i current, w1 and w2 the current behind two low-pass filters, g the Arrhenius
factor, r the growth of resistance near empty, U the open-circuit voltage of the chemistry plus an
error at each of `KNOTS_FRAC`. Charge is a fraction of the cell's own capacity Q; volts and amperes
of one cell; current is positive while discharging.
The shifted curve: Rahimian, Rayman and White, J. Power Sources 224 (2013) 180; growth near empty:
Chen and Rincon-Mora, IEEE Trans. Energy Conversion 21 (2006) 504.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dronebms.core.chemistry import LI_ION, LIFEPO4, LIPO, Chemistry
from dronebms.core.known_cells import KnownCell
from dronebms.estimation.model_parameters import FITTED, KNOTS_FRAC, ModelParameters

Array = npt.NDArray[np.float64]

# Elements of the state vector: charge; ln of the fast and slow resistance, of the capacity and of
# the diffusion depth relative to the chemistry's row; kilokelvin of the activation above the usual;
# voltage error of the last seconds; then the error of the curve at the knots in volts.
CHARGE, FAST, SLOW, CAPACITY, DEPTH, ACTIVATION, OFFSET, KNOTS = range(8)
SIZE = KNOTS + len(KNOTS_FRAC)
# Bounds of the state: no real cell is further out.
LOWEST = np.array([-0.1, -2.5, -3.0, -2.5, -2.5, -2.0, -0.5] + [-1.5] * len(KNOTS_FRAC))
HIGHEST = np.array([1.05, 2.5, 3.0, 2.5, 2.5, 4.0, 0.5] + [1.5] * len(KNOTS_FRAC))
_SD_CAPACITY_UNKNOWN = 0.8  # ln, without a rated capacity
_SD_CHARGE_UNKNOWN = 0.3
_REFERENCE_K = 298.15
_ZERO_DEGC_K = 273.15
_COLDEST_DEGC = -40.0
_SLOPES_V = (0.02, 8.0)  # limits of dU/ds in a linearisation, volts per unit of charge

# The curve as a table in steps of 1 % of charge; below empty it falls twice as fast.
CURVE_FROM = -0.3
CURVE_STEPS = 100
_CURVE = CURVE_FROM + np.arange(137) / CURVE_STEPS
_KNOTS = np.array(KNOTS_FRAC)
_HATS = np.column_stack([np.interp(_CURVE, _KNOTS, unit) for unit in np.eye(len(_KNOTS))])
_HAT_STEPS = np.diff(_HATS, axis=0)
_CHARGES = np.linspace(0, 1, len(LIPO.ocv_v))


def inverse_temperature(degc: float) -> float:
    """Arrhenius argument 1000 / T - 1000 / 298 K of a temperature."""
    return 1e3 / (max(degc, _COLDEST_DEGC) + _ZERO_DEGC_K) - 1e3 / _REFERENCE_K


def row_at_knots(chemistry: Chemistry) -> tuple[float, ...]:
    """Open-circuit volts of a chemistry's row at the knots."""
    charges = np.linspace(0, 1, len(chemistry.ocv_v))
    return tuple(np.interp(_KNOTS, charges, chemistry.ocv_v).tolist())


def knots_covariance(sds_v: Array, length: float) -> Array:
    """Covariance of the curve's error at the knots: near knots err alike."""
    apart = np.abs(_KNOTS[:, None] - _KNOTS[None, :])
    return np.asarray(np.outer(sds_v, sds_v) * np.exp(-apart / length))


def lost_v(
    ohms: tuple[float, float, float], current_a: float, fast_a: float, slow_a: float
) -> float:
    """Voltage lost in a circuit; `fast_a`, `slow_a` are w1, w2."""
    return ohms[0] * current_a + ohms[1] * fast_a + ohms[2] * slow_a


@dataclass(frozen=True, slots=True)
class FilteredCurrent:
    """The current behind the two low-pass filters of the circuit, w1 and w2."""

    fast_a: float = 0.0
    slow_a: float = 0.0

    def after(self, dt_s: float, current_a: float, c: ModelParameters) -> "FilteredCurrent":
        """After a time at a current."""
        return FilteredCurrent(
            self.fast_a + (current_a - self.fast_a) * (1 - math.exp(-dt_s / c.fast_tau_s)),
            self.slow_a + (current_a - self.slow_a) * (1 - math.exp(-dt_s / c.slow_tau_s)),
        )

    def over(self, factor: float) -> "FilteredCurrent":
        """Divided by a factor."""
        return FilteredCurrent(self.fast_a / factor, self.slow_a / factor)


class CircuitState(NamedTuple):
    """The circuit at one moment."""

    open_v: float  # open-circuit voltage at the surface charge
    slope_v: float  # its slope by charge
    ohms: tuple[float, float, float]  # immediate, fast, slow
    sag_v: float  # voltage lost in them
    depth_s: float  # diffusion depth D
    capacity_as: float


class CellModel:
    """A cell of a chemistry.

    Args:
        chemistry: its row.
        capacity_ah: rated, or assumed.
        rated: whether `capacity_ah` is a rated one.
        parameters: prior of the circuit.
        cell: type of the cell, whose measured curve takes the place of the chemistry's.
    """

    def __init__(
        self,
        chemistry: Chemistry,
        capacity_ah: float,
        *,
        rated: bool,
        parameters: ModelParameters = FITTED,
        cell: KnownCell | None = None,
    ) -> None:
        self.parameters = c = parameters
        ocv_v = chemistry.ocv_v if cell is None else cell.ocv_v
        self.capacity_as = capacity_ah * 3600.0
        self.full_v = chemistry.full_cell_v
        ohm = c.resistance_frac[chemistry.name] * chemistry.resistance_mohm_ah / 1e3 / capacity_ah
        self.ohms = c.share_now * ohm, (1 - c.share_now) * ohm, c.share_slow * ohm
        self.depth_s = c.depth_h[chemistry.name] * 3600.0
        self.sd_gauge = c.sd_gauge[chemistry.name]
        self.sd_step = c.sd_step[chemistry.name]
        below_v = 2 * (ocv_v[1] - ocv_v[0]) / _CHARGES[1] * _CURVE
        self._curve_v: Array = np.interp(_CURVE, _CHARGES, ocv_v)
        self._curve_v = self._curve_v + np.where(_CURVE < 0, below_v, 0.0)
        self.mean: Array = np.zeros(SIZE)
        self.mean[CAPACITY] = c.mean_capacity if rated else 0.0
        sd_capacity = c.sd_capacity if rated else _SD_CAPACITY_UNKNOWN
        sds = (
            _SD_CHARGE_UNKNOWN,
            c.sd_fast,
            c.sd_slow,
            sd_capacity,
            c.sd_depth,
            c.sd_activation_kk,
        )
        self.covariance: Array = np.zeros((SIZE, SIZE))
        self.covariance[:KNOTS, :KNOTS] = np.diag(np.square([*sds, c.sd_offset_v]))
        sds_v = c.sd_knots_v if cell is None else c.sd_cell_knots_v
        self.covariance[KNOTS:, KNOTS:] = knots_covariance(np.array(sds_v), c.knots_length)
        if cell is None and chemistry is not LIFEPO4:
            mean, sd = c.family_li_ion if chemistry is LI_ION else c.family_lipo
            self.mean[KNOTS:] += mean * np.array(c.family_v)
            self.covariance[KNOTS:, KNOTS:] += sd * sd * np.outer(c.family_v, c.family_v)

    def open(
        self, charge: Array, knots_v: Array, spread: float = 0.0
    ) -> tuple[Array, Array, Array]:
        """(Open-circuit volts, slope by charge, weights of the knots) at charges.

        Of shapes (n,), (n,) and (n, knots) for n charges.
        The slope is the mean one over `spread` of charge to either side, less near empty: while the
        charge is uncertain, so is the local slope of the curve.
        """
        table_v, k, share = self._place(charge, knots_v)
        low_v = table_v[k]
        step_v = table_v[k + 1] - low_v
        knot_weights = _HATS[k] + _HAT_STEPS[k] * share[:, None]
        from_empty = k + round(CURVE_FROM * CURVE_STEPS)
        wide = np.minimum(np.maximum(from_empty // 2, 0), int(spread * CURVE_STEPS))
        upper = np.minimum(k + 1 + wide, len(_CURVE) - 1)
        slope_v = (table_v[upper] - table_v[k - wide]) / (upper - k + wide)
        return low_v + step_v * share, slope_v * CURVE_STEPS, knot_weights

    def _place(self, charge: Array, knots_v: Array) -> tuple[Array, npt.NDArray[np.intp], Array]:
        """(Curve, place in it below each charge, share of the way to the next one)."""
        # np.clip takes three times as long.
        place = np.minimum(np.maximum((charge - CURVE_FROM) * CURVE_STEPS, 0), len(_CURVE) - 1.01)
        k = place.astype(np.intp)
        return self._curve_v + _HATS @ knots_v, k, place - k

    def curves(self, knots_v: Array) -> Array:
        """Open-circuit volts of samples (n, knots), from `CURVE_FROM` in steps of 1 %."""
        return np.asarray(self._curve_v + knots_v @ _HATS.T)

    def arrhenius_factor(self, x: Array, inverse_kk: float) -> float:
        """Factor of the resistance at a temperature, as `inverse_temperature` gives it."""
        return math.exp((self.parameters.activation_kk + float(x[ACTIVATION])) * inverse_kk)

    def empty_growth(self, charge: Array) -> Array:
        """Factor by which the resistance grows near empty."""
        c = self.parameters
        return np.asarray(1 + c.empty_growth * np.exp(-np.maximum(charge, 0.0) / c.empty_charge))

    def volts(self, x: Array, rows: Array) -> Array:
        """Volts for rows of `FitSample`."""
        surface, _, fast_v, slow_v, _ = self._losses(x, rows)
        table_v, k, share = self._place(surface, x[KNOTS:])
        low_v = table_v[k]
        return np.asarray(low_v + (table_v[k + 1] - low_v) * share - fast_v - slow_v)

    def derivatives(self, x: Array, rows: Array, spread: float = 0.0) -> tuple[Array, Array, Array]:
        """(Volts, their Jacobian, the sag in volts) for rows of `FitSample`.

        Of shapes (n,), (n, SIZE) and (n,) for n rows.
        `spread` is the uncertainty of the charge, for the slope of the curve.
        """
        surface, short, fast_v, slow_v, used = self._losses(x, rows)
        open_v, slope_v, knot_weights = self.open(surface, x[KNOTS:], spread)
        slope_v = np.minimum(np.maximum(slope_v, _SLOPES_V[0]), _SLOPES_V[1])
        short_v = slope_v * short
        sag_v = fast_v + slow_v
        inverse_kk = rows[:, 6]
        jacobian = np.zeros((len(rows), SIZE))
        jacobian[:, CHARGE] = slope_v
        jacobian[:, FAST] = -fast_v
        jacobian[:, SLOW] = -slow_v
        jacobian[:, DEPTH] = -short_v
        jacobian[:, CAPACITY] = slope_v * (used + short)
        jacobian[:, ACTIVATION] = -(sag_v + short_v * self.parameters.depth_exponent) * inverse_kk
        jacobian[:, KNOTS:] = knot_weights
        return open_v - fast_v - slow_v, jacobian, sag_v

    def _losses(self, x: Array, rows: Array) -> tuple[Array, Array, Array, Array, Array]:
        """(Surface charge, by how much it is short, fast and slow loss in volts, charge used)."""
        c = self.parameters
        used_as, amps, fast_a, slow_a, inverse_kk = rows[:, 1], *rows[:, 3:7].T
        capacity_as = self.capacity_as * math.exp(x[CAPACITY])
        used = used_as / capacity_as
        charge = x[CHARGE] - used
        factor = np.exp((c.activation_kk + x[ACTIVATION]) * inverse_kk)
        short = math.exp(x[DEPTH]) * self.depth_s / capacity_as * factor**c.depth_exponent * slow_a
        factor = factor * self.empty_growth(charge)
        fast_v = math.exp(x[FAST]) * factor * (self.ohms[0] * amps + self.ohms[1] * fast_a)
        slow_v = math.exp(x[SLOW]) * factor * self.ohms[2] * slow_a
        return charge - short, short, fast_v, slow_v, used

    def circuit(
        self,
        x: Array,
        table_v: tuple[float, ...],
        inverse_kk: float,
        fast_a: float,
        slow_a: float,
        current_a: float,
    ) -> CircuitState:
        """The circuit at a current; `table_v` is the curve of x, `fast_a`, `slow_a` are w1, w2."""
        c = self.parameters
        factor = self.arrhenius_factor(x, inverse_kk)
        charge = float(x[CHARGE])
        depth_s = math.exp(x[DEPTH]) * self.depth_s * factor**c.depth_exponent
        capacity_as = self.capacity_as * math.exp(x[CAPACITY])
        place = (charge - depth_s / capacity_as * slow_a - CURVE_FROM) * CURVE_STEPS
        k = min(max(int(place), 0), len(table_v) - 2)
        step_v = table_v[k + 1] - table_v[k]
        open_v = table_v[k] + step_v * min(max(place - k, 0.0), 1.0)
        grown = factor * (1 + c.empty_growth * math.exp(-max(charge, 0.0) / c.empty_charge))
        fast = math.exp(x[FAST]) * grown
        slow = math.exp(x[SLOW]) * grown
        ohms = fast * self.ohms[0], fast * self.ohms[1], slow * self.ohms[2]
        sag_v = lost_v(ohms, current_a, fast_a, slow_a)
        return CircuitState(open_v, step_v * CURVE_STEPS, ohms, sag_v, depth_s, capacity_as)

# SPDX-License-Identifier: Apache-2.0
"""Parameters of simulated cells, a row a chemistry: the fitted tables in `sim/cells/*.json`.

Volts, charge as a fraction of capacity, currents as multiples of the capacity an hour (C). Written
by `research/fit_cells.py` from the published parameter sets that each file names.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

ZERO_DEGC_K = 273.15

# One value a temperature, or one a temperature and charge: time constants of the five lags of
# `cell`, their steady state at 1C, then the other parameters.
COLUMNS = (
    "pair_s", "depletion_s", "fast_depletion_s", "lag_s", "fast_lag_s",
    "pair_v", "depletion", "fast_depletion", "lag_frac", "fast_lag_frac",
    "depletion_v", "transfer_v", "starved_v", "ohmic_v", "exchange_c",
)  # fmt: skip

# Below empty the open-circuit voltage falls to 0 within a twentieth of the capacity. Above full it
# continues with a growing slope: our choice, so that over-charge shows.
DEAD_FRAC = -0.05
CURVE_FRAC = np.linspace(-0.1, 1.3, 561)  # 401 of them from empty to full
_OVER_V = 20.0  # at twice full
_LAST = 4  # intervals that give the slope at full

# The tables are interpolated to a fine grid once; constant beyond its ends.
_GRID_DEGC = np.linspace(-10.0, 55.0, 66)
_GRID_FRAC = np.linspace(0.0, 1.0, 101)
_LAST_DEGC = len(_GRID_DEGC) - 1.001
_LAST_FRAC = len(_GRID_FRAC) - 1.001


@dataclass(frozen=True, slots=True)
class CellParameters:
    """Cells of a chemistry; open-circuit voltage and entropy are at even charges, 0 to 1."""

    chemistry: str
    source: str
    heat_capacity_j_k_ah: float
    rest_v: FloatArray  # at 25 degC
    entropy_v_k: FloatArray  # change of the open-circuit voltage with temperature
    temperature_degc: FloatArray
    knots_frac: FloatArray
    tables: Mapping[str, FloatArray]  # (temperatures,) or (temperatures, knots)


@cache
def cell_parameters(chemistry: str) -> CellParameters:
    """The row of a chemistry."""
    path = resources.files("sim").joinpath("cells", f"{chemistry}.json")
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["tables"] = {name: np.array(values) for name, values in raw["tables"].items()}
    arrays = {name: np.array(value) for name, value in raw.items() if isinstance(value, list)}
    return CellParameters(**{**raw, **arrays})


@cache
def _grid_of(chemistry: str) -> FloatArray:
    """`(temperatures * charges, COLUMNS)`; interpolated in 1/T (Arrhenius)."""
    row = cell_parameters(chemistry)
    known_per_k = 1.0 / (row.temperature_degc + ZERO_DEGC_K)
    grid_per_k = 1.0 / (_GRID_DEGC + ZERO_DEGC_K)
    parts = []
    for name in COLUMNS:
        logs = np.log(row.tables[name]).reshape(len(known_per_k), -1) + np.zeros(
            len(row.knots_frac)
        )
        columns = [np.interp(grid_per_k, known_per_k[::-1], column[::-1]) for column in logs.T]
        at_knots = np.array(columns).T
        parts.append([np.interp(_GRID_FRAC, row.knots_frac, line) for line in at_knots])
    grid = np.exp(np.moveaxis(np.array(parts), 0, -1)).reshape(-1, len(COLUMNS))
    return np.ascontiguousarray(grid)  # the columns of a grid point are adjacent


def interpolated(chemistry: str, charge_frac: FloatArray, degc: FloatArray) -> FloatArray:
    """`(COLUMNS, ..., n)` at a charge and temperature of each cell."""
    grid = _grid_of(chemistry)
    wide = len(_GRID_FRAC)
    warm = np.minimum(np.maximum(degc - _GRID_DEGC[0], 0.0), _LAST_DEGC)
    full = np.minimum(np.maximum(charge_frac * (wide - 1), 0.0), _LAST_FRAC)
    row = warm.astype(np.intp)
    column = full.astype(np.intp)
    warm = (warm - row)[..., None]
    full = (full - column)[..., None]
    corner = row * wide + column
    low = grid.take(corner, axis=0)
    high = grid.take(corner + wide, axis=0)
    low += (grid.take(corner + 1, axis=0) - low) * full
    high += (grid.take(corner + wide + 1, axis=0) - high) * full
    low += (high - low) * warm
    return np.ascontiguousarray(np.moveaxis(low, -1, 0))


def extended_curve_v(rest_v: FloatArray) -> FloatArray:
    """Open-circuit voltage at `CURVE_FRAC`, from that at even charges from empty to full."""
    charge_frac = np.linspace(0.0, 1.0, len(rest_v))
    curve_v = np.interp(CURVE_FRAC, (DEAD_FRAC, *charge_frac), (0.0, *rest_v))
    over_frac = np.maximum(CURVE_FRAC - 1.0, 0.0)
    slope_v = (rest_v[-1] - rest_v[-1 - _LAST]) / (charge_frac[-1] - charge_frac[-1 - _LAST])
    bent_v: FloatArray = curve_v + slope_v * over_frac + _OVER_V * over_frac**2
    return bent_v

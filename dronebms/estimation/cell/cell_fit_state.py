# SPDX-License-Identifier: Apache-2.0
"""Restart state of the cell fit, and what of it the equations cannot take."""

from dataclasses import dataclass

from dronebms.estimation.cell.cell_gap import BOTH
from dronebms.estimation.cell.cell_model import SIZE
from dronebms.estimation.cell.cell_parameters import Matrix, Vector
from dronebms.estimation.cell.fit_rows import FitSample
from dronebms.estimation.cell.lost_cells import Residual
from dronebms.estimation.cell.step_resistance import StepResistance

_MAX_LN = 10.0  # beyond the bounds of any cell


@dataclass(frozen=True, slots=True)
class CellFitState:
    """Restart state of `CellFit`."""

    x: Vector
    covariance: Matrix
    root: Matrix
    prior_x: Vector
    prior_information: Matrix
    fitted_x: Vector
    fitted_covariance: Matrix
    rows: Matrix
    pending: Matrix
    drift_v_s: float
    errors_v: Vector
    steps: StepResistance
    used_as: float
    span_s: float
    loaded: bool
    fast_a: float
    slow_a: float
    degc: float
    agreed_s: float | None
    full_ah: float | None
    foreign: bool
    warm_flights: tuple[tuple[float, float], ...]  # see `CellParameters`
    sister_warm: tuple[tuple[float, float], ...]
    gap: Vector  # see `cell_gap`
    prior_gap: Vector
    rest_gap: tuple[float, float]
    recent: Matrix
    residuals: Matrix
    has_lost: bool
    median_variances: Vector  # empty: too few cells are read

    def check(self) -> None:
        """Raise ValueError with the name of a part that is none of a fit."""
        states = {"x": self.x, "prior_x": self.prior_x, "fitted_x": self.fitted_x}
        for name, vector in states.items():
            _check_vector(name, vector, SIZE)
        for name, vector in {"gap": self.gap, "prior_gap": self.prior_gap}.items():
            _check_vector(name, vector, BOTH - SIZE)
        squares = {
            "covariance": self.covariance,
            "root": self.root,
            "prior_information": self.prior_information,
            "fitted_covariance": self.fitted_covariance,
        }
        for name, rows in squares.items():
            if len(rows) != SIZE:
                raise ValueError(f"{name} has {len(rows)} rows, not {SIZE}")
            _check_rows(name, rows, SIZE)
        samples = {"rows": self.rows, "pending": self.pending, "recent": self.recent}
        for name, rows in samples.items():
            _check_rows(name, rows, len(FitSample._fields))
            if any(span_s < 0.0 for span_s, *_ in rows):
                raise ValueError(f"{name} has a negative time")
        _check_rows("residuals", self.residuals, len(Residual._fields))
        if self.full_ah is not None and self.full_ah <= 0.0:
            raise ValueError(f"full_ah is {self.full_ah:g}")


def _check_vector(name: str, vector: Vector, size: int) -> None:
    if len(vector) != size:
        raise ValueError(f"{name} has {len(vector)} elements, not {size}")
    if max(map(abs, vector)) > _MAX_LN:
        raise ValueError(f"{name} has an element beyond {_MAX_LN:g}")


def _check_rows(name: str, rows: Matrix, size: int) -> None:
    if any(len(row) != size for row in rows):
        raise ValueError(f"{name} has a row without {size} elements")

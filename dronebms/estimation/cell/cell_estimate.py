# SPDX-License-Identifier: Apache-2.0
"""The weakest cell as `cell_fit` knows it: what every later stage is handed."""

from dataclasses import dataclass

from dronebms.estimation.cell.cell_gap import MedianCell
from dronebms.estimation.cell.cell_model import Array, CellModel, CircuitState, lost_v
from dronebms.estimation.cell.cell_parameters import Vector


@dataclass(frozen=True, slots=True, eq=False)
class CellEstimate:
    """The weakest cell after a reading."""

    model: CellModel
    x: Array  # state vector (`cell_model`)
    variance: Array  # of each element
    root: Array  # symmetric square root of the covariance after the last fit
    table_v: Vector  # curve of x, see `CellModel.curves`
    fast_a: float  # current behind the two low-pass filters
    slow_a: float
    degc: float
    inverse_kk: float  # as `inverse_temperature` gives it
    drift_v_s: float  # rate of the model's error over a minute or more
    errors_v: Vector  # reading minus model, of the last readings
    loaded: bool  # there has been a load
    fitted: bool  # and seconds under it have been compared with the model
    median: MedianCell | None  # None: too few cells are read

    def circuit(self, current_a: float) -> CircuitState:
        """The circuit at a current."""
        return self.model.circuit(
            self.x, self.table_v, self.inverse_kk, self.fast_a, self.slow_a, current_a
        )

    def sag_v(self, circuit: CircuitState, current_a: float) -> float:
        """Voltage lost at a current in its circuit at any current."""
        return lost_v(circuit.ohms, current_a, self.fast_a, self.slow_a)

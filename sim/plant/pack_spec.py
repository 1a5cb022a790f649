# SPDX-License-Identifier: Apache-2.0
"""Pack section of a scenario. Units are in the key names."""

from typing import Annotated

from pydantic import Field, model_validator

from dronebms.core.chemistry import Chemistry, chemistry_of
from dronebms.core.toml_schema import ChemistryName, Finite, NotNegative, Positive, Section
from sim.plant.cell import open_circuit_curve_v

MAX_CELLS = 16  # as many as SBS has registers for

Cooling = Annotated[float, Field(ge=10.0, allow_inf_nan=False)]
Degc = Annotated[float, Field(ge=-60.0, le=100.0)]


class PackSpec(Section):
    """True data of the cells; the rated values are those printed on the pack."""

    chemistry: ChemistryName
    cells: Annotated[int, Field(ge=1, le=MAX_CELLS)]  # in series
    parallel: Annotated[int, Field(ge=1)] = 1
    cell_mah: Positive  # rated, of one of the parallel cells
    cutoff_cell_v: Positive | None = None  # as the user configures; None: the chemistry's
    actual_capacity_frac: Positive = 0.96  # of the rated one
    capacity_spread_frac: Annotated[float, Field(ge=0.0, le=0.2)] = 0.008  # standard deviation
    # Of a new cell at 25 degC and half charge after 20 s of 1C, times capacity; None: as fitted
    resistance_mohm_ah: Positive | None = None
    resistance_spread_frac: Annotated[float, Field(ge=0.0, le=0.3)] = 0.07  # standard deviation
    ocv_bend_v: Finite = 0.0  # deviation of the open-circuit curve from the chemistry's table
    ocv_tilt_v: Finite = 0.0
    wire_mohm: NotNegative = 1.5
    cycles: NotNegative = 0.0  # equivalent full cycles so far
    age_days: NotNegative = 0.0  # at 25 degC and storage charge
    rested_days: NotNegative = 0.0  # since the charge: self-discharge at the ambient temperature
    start_charge_frac: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    start_degc: Degc = 22.0
    ambient_degc: Degc = 20.0
    cooling_s: Cooling = 900.0  # time constant to still air, of a cell between others
    heat_capacity_j_k_ah: Positive | None = None  # None: typical of the chemistry
    conduction_s: Cooling = 300.0  # time constant between neighbouring cells
    airflow_gain: NotNegative = 0.3  # cooling by moving air: 1 + gain * (m/s) ** 0.6

    @property
    def row(self) -> Chemistry:
        """Row of the chemistry table."""
        return chemistry_of(self.chemistry)

    @property
    def rated_mah(self) -> float:
        """Capacity printed on the pack."""
        return self.cell_mah * self.parallel

    @model_validator(mode="after")
    def _curve_rises(self) -> "PackSpec":
        open_circuit_curve_v(self.chemistry, self.ocv_bend_v, self.ocv_tilt_v)
        return self

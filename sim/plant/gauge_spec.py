# SPDX-License-Identifier: Apache-2.0
"""Gauge section of a scenario: kind and errors of a gauge. Units are in the key names."""

from datetime import date
from typing import Annotated

from pydantic import Field

from dronebms.core.toml_schema import Finite, NotNegative, Positive, Section, one_of
from sim.plant.gauge_kinds import KINDS

Signed = Annotated[float, Field(ge=-0.9, le=0.9)]
Text = Annotated[str, Field(pattern=r"^[ -~]{1,32}$")]  # ASCII that fits an SMBus block
Made = Annotated[date, Field(ge=date(1980, 1, 1), le=date(2107, 12, 31))]  # range of the word


class GaugeSpec(Section):
    """Kind and errors of a gauge."""

    kind: Annotated[str, one_of(kind.name for kind in KINDS)] = "generic"
    manufacturer: Text | None = None  # None: the kind's own
    device: Text | None = None
    serial: Annotated[int, Field(ge=1, le=0xFFFF)] = 1000  # of seed 0; every seed is another pack
    manufactured: Made = date(2025, 3, 14)
    cycles: Annotated[int, Field(ge=0, le=0xFFFE)] = 12
    pec: bool = True
    ip_scale: Annotated[int, Field(ge=0, le=3)] = 0  # currents and capacities x 10^n
    v_scale: Annotated[int, Field(ge=0, le=3)] = 0  # voltages of the pack x 10^n
    max_error_pct: Annotated[int, Field(ge=0, le=100)] = 3
    # BatteryMode: alarms and broadcasts to a charger are off, as in packs that were read out.
    mode_raw: Annotated[int, Field(ge=0, le=0xFFFF)] = 0x6001
    wake_s: NotNegative = 0.0  # clock stretching after 5 s without a transfer
    learned_cycles_ago: Annotated[int, Field(ge=0, le=1000)] = 0  # of FullChargeCapacity
    full_error_frac: Signed = 0.0  # of FullChargeCapacity
    start_error_frac: Signed = 0.0  # of its state of charge at the start
    soc_smoothing_s: NotNegative = 0.0  # time constant of the reported charge
    # Minimum of the reported charge, until a cell is as low as `empty_cell_v`: then 0.
    soc_sticks_pct: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    empty_cell_v: Positive | None = None
    current_gain_error_frac: Signed = 0.0
    current_offset_a: Finite = 0.0
    current_noise_a: NotNegative = 0.03  # standard deviations of one measurement
    voltage_noise_v: NotNegative = 0.001
    temperature_noise_degc: NotNegative = 0.05

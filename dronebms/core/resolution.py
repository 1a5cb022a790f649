# SPDX-License-Identifier: Apache-2.0
"""Resolution of readings: the steps in which a source gives voltage and current."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resolution:
    """Steps of the readings; 0.0: too small to hide anything, as of every gauge."""

    cell_v: float = 0.0  # of a cell's voltage
    current_a: float = 0.0


FINE = Resolution()

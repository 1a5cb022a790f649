# SPDX-License-Identifier: Apache-2.0
"""Cells by their type: open-circuit voltage as it was measured, for `cell` in a configuration.

The curve has 21 states of charge from 0 to 1 in steps of 0.05: least squares of the straight lines
between them to the published curve. "Mean" is that of discharge and charge. Voltages under load
depend on the pack too (welds, wires, temperature) and are left to the chemistry's row and the fit.
"""

import difflib
from dataclasses import dataclass

from dronebms.core.chemistry import LI_ION, LIFEPO4, Chemistry
from dronebms.core.errors import ConfigError

_TOLERANCE_FRAC = 0.15  # between a pack's rated capacity and that of its cells in parallel


@dataclass(frozen=True, slots=True)
class KnownCell:
    """A type of cell whose open-circuit voltage was measured."""

    name: str
    maker: str
    chemistry: Chemistry
    rated_mah: float
    ocv_v: tuple[float, ...]
    source: str

    def makes_up(self, capacity_mah: float) -> bool:
        """Whether a pack of a rated capacity can have these cells in parallel."""
        parallel = max(round(capacity_mah / self.rated_mah), 1)
        return abs(capacity_mah / parallel / self.rated_mah - 1.0) <= _TOLERANCE_FRAC


_SUNIL = "github.com/soorajsunil/Piecewise-Battery-OCV, Data/{}.mat (Sunil, Pattipati and Balasingam, IEEE Trans. Instrum. Meas. 2025)"

# fmt: off
KNOWN_CELLS = (
    KnownCell(
        "P42A", "Molicel", LI_ION, 4200.0,
        (2.695, 3.209, 3.331, 3.426, 3.474, 3.530, 3.583, 3.621, 3.656, 3.695, 3.742, 3.789, 3.844, 3.892, 3.925, 3.973, 4.037, 4.072, 4.079, 4.095, 4.178),
        "mean at C/32: " + _SUNIL.format("Molicel-INR21700P42A"),
    ),
    KnownCell(
        "P45B", "Molicel", LI_ION, 4500.0,
        (2.810, 3.146, 3.253, 3.338, 3.408, 3.491, 3.542, 3.590, 3.636, 3.679, 3.725, 3.771, 3.821, 3.869, 3.913, 3.957, 4.015, 4.064, 4.084, 4.103, 4.185),
        "mean of both branches at 25 degC: About:Energy, doi.org/10.5281/zenodo.19052626, as in github.com/DigiBatt/battwin, examples/p45b",
    ),
    KnownCell(
        "P28A", "Molicel", LI_ION, 2800.0,
        (2.799, 3.223, 3.349, 3.437, 3.483, 3.539, 3.586, 3.621, 3.653, 3.691, 3.735, 3.783, 3.838, 3.884, 3.919, 3.962, 4.020, 4.065, 4.083, 4.102, 4.177),
        "mean at C/20: " + _SUNIL.format("Molicel-INR18650P28A"),
    ),
    KnownCell(
        "40T", "Samsung", LI_ION, 4000.0,
        (2.762, 3.229, 3.353, 3.441, 3.479, 3.543, 3.591, 3.623, 3.654, 3.691, 3.738, 3.785, 3.843, 3.889, 3.922, 3.970, 4.033, 4.074, 4.085, 4.103, 4.178),
        "mean at C/20: " + _SUNIL.format("Samsung-INR2170040T"),
    ),
    KnownCell(
        "30Q", "Samsung", LI_ION, 3000.0,
        (2.572, 3.008, 3.165, 3.306, 3.418, 3.465, 3.518, 3.583, 3.619, 3.659, 3.704, 3.749, 3.791, 3.837, 3.882, 3.927, 3.989, 4.039, 4.053, 4.068, 4.134),
        "discharge at C/10, mean of three cells, plus the 11 mV of its first second: github.com/ARTS-Laboratory/dataset-electrothermal-deformation-characterization-for-samsung-30Q-cell, data/S00?/Q30_S00?_C10.csv",
    ),
    KnownCell(
        "M50T", "LG", LI_ION, 5000.0,
        (2.716, 3.200, 3.300, 3.408, 3.477, 3.520, 3.577, 3.615, 3.644, 3.675, 3.716, 3.765, 3.818, 3.876, 3.920, 3.964, 4.019, 4.069, 4.093, 4.111, 4.180),
        "mean at C/32: " + _SUNIL.format("LG-INR21700M50T"),
    ),
    KnownCell(
        "HG2", "LG", LI_ION, 3000.0,
        (2.769, 3.206, 3.312, 3.413, 3.482, 3.527, 3.580, 3.619, 3.648, 3.680, 3.721, 3.771, 3.831, 3.884, 3.924, 3.968, 4.022, 4.070, 4.091, 4.108, 4.176),
        "mean at C/25, 25 degC: github.com/Oxford-Brookes-HVES/BTC, Data/Round1/LG_HG2, 210328_FSD_PseuOCV_LGHG2_1_25C",
    ),
    KnownCell(
        "VTC6", "Sony/Murata", LI_ION, 3000.0,
        (2.631, 3.182, 3.263, 3.354, 3.410, 3.502, 3.561, 3.609, 3.662, 3.706, 3.754, 3.798, 3.840, 3.883, 3.922, 3.979, 4.039, 4.076, 4.090, 4.108, 4.165),
        "mean at C/20 with 24 h of rest between: github.com/derlucae98/US18650VTC6_OCV_SOC_Curve, US18650VTC6_OCV_SOC_LUT.h",
    ),
    KnownCell(
        "APR18650M1B", "A123/Lithium Werks", LIFEPO4, 1200.0,
        (2.515, 3.139, 3.200, 3.216, 3.241, 3.263, 3.278, 3.289, 3.295, 3.297, 3.299, 3.301, 3.303, 3.306, 3.316, 3.334, 3.338, 3.338, 3.338, 3.338, 3.408),
        "mean at C/32: " + _SUNIL.format("LithiumWerks-APR18650M1B"),
    ),
)
# fmt: on


def known_cell(name: str) -> KnownCell:
    """Row of a type of cell, in any case of its letters.

    Raises:
        ConfigError: no curve of it was measured; the message names the nearest known one.
    """
    rows = {row.name.casefold(): row for row in KNOWN_CELLS}
    found = rows.get(name.casefold())
    if found is not None:
        return found
    near = difflib.get_close_matches(name.casefold(), rows, n=1, cutoff=0.0)[0]
    raise ConfigError(
        f"one of {len(rows)} cells with a measured curve, of which {rows[near].name} is the nearest"
    )

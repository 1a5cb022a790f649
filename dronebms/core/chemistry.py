# SPDX-License-Identifier: Apache-2.0
"""Cell chemistries as rows: open-circuit voltage curve, cut-off, resistance and limits.

The open-circuit voltage is given at 21 states of charge from 0 to 1 in steps of 0.05. The curves
are generic: those of a real pack differ by tens of millivolts, an uncertainty that the estimator
carries. "Least squares" in a source: of the straight lines between the 21 values, so that a bend
within a step, as at both ends of LiFePO4, is right on average and not at its corner. C is the rated
capacity per hour.
"""

from dataclasses import dataclass

from dronebms.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Chemistry:
    """One kind of lithium cell."""

    name: str  # in configurations, sidecars and scenarios
    mavlink_type: int  # MAV_BATTERY_TYPE
    ocv_v: tuple[float, ...]
    full_cell_v: float
    cutoff_cell_v: float  # default cut-off, under load
    low_cell_v: float  # first warning, under load
    resistance_mohm_ah: float  # of a cell at 25 degC after some 20 s, times its capacity
    continuous_c: float  # default of a pack without a rating
    burst_c: float  # the same, for 10 s
    hot_degc: float
    cold_degc: float
    charge_c: float  # recommended charging current
    charge_cold_degc: float
    charge_hot_degc: float
    source: str

    def new_cell_ohm(self, capacity_ah: float) -> float:
        """Nominal resistance of a cell of a capacity, at 25 degC after some 20 s."""
        return self.resistance_mohm_ah / 1000.0 / capacity_ah

    def open_circuit_v(self, charge_frac: float) -> float:
        """Voltage of a rested cell; beyond full and empty that of the end."""
        place = min(max(charge_frac, 0.0), 1.0) * (len(self.ocv_v) - 1)
        k = min(int(place), len(self.ocv_v) - 2)
        return self.ocv_v[k] + (self.ocv_v[k + 1] - self.ocv_v[k]) * (place - k)

    def mean_open_circuit_v(self, charge_frac: float) -> float:
        """Mean over the charge between full and a state of charge: the trapezoids of the curve."""
        last = len(self.ocv_v) - 1
        place = min(max(charge_frac, 0.0), 1.0) * last
        if place == last:
            return self.ocv_v[-1]
        above = int(place) + 1
        volts = self.ocv_v[above:]
        whole = sum(volts) - (volts[0] + volts[-1]) / 2.0
        part = (self.open_circuit_v(charge_frac) + volts[0]) / 2.0 * (above - place)
        return (whole + part) / (last - place)

    def charge_at(self, rested_v: float) -> float:
        """State of charge, 0..1, of a rested cell: the inverse of `open_circuit_v`."""
        k = sum(volts <= rested_v for volts in self.ocv_v[1:-1])
        share = (rested_v - self.ocv_v[k]) / (self.ocv_v[k + 1] - self.ocv_v[k])
        return min(max((k + share) / (len(self.ocv_v) - 1), 0.0), 1.0)


# fmt: off
LIPO = Chemistry(
    "lipo", 1,
    (3.27, 3.61, 3.69, 3.71, 3.73, 3.75, 3.77, 3.79, 3.80, 3.82, 3.84, 3.85, 3.87, 3.91, 3.95, 3.98, 4.02, 4.08, 4.11, 4.15, 4.20),
    4.20, 3.3, 3.5, 30.0, 10.0, 20.0, 60.0, 0.0, 1.0, 0.0, 45.0,
    "discharge tables of hobby packs as commonly published; limits: pack makers' safety sheets (charge with 1C unless the pack states more, 0 to 45 degC)",
)
LIHV = Chemistry(
    "lihv", 1,
    (3.30, 3.64, 3.71, 3.74, 3.76, 3.78, 3.80, 3.82, 3.84, 3.86, 3.89, 3.92, 3.95, 3.99, 4.04, 4.09, 4.14, 4.19, 4.24, 4.29, 4.35),
    4.35, 3.3, 3.5, 30.0, 10.0, 20.0, 60.0, 0.0, 1.0, 0.0, 45.0,
    "LiPo stretched to 4.35 V; DJI packs at rest; no measured curve is published; charging as LiPo",
)
LI_ION = Chemistry(
    "li-ion", 3,
    (2.74, 3.20, 3.31, 3.40, 3.46, 3.52, 3.57, 3.61, 3.65, 3.69, 3.73, 3.78, 3.83, 3.88, 3.92, 3.97, 4.03, 4.07, 4.09, 4.10, 4.18),
    4.20, 3.0, 3.2, 75.0, 3.0, 6.0, 65.0, -10.0, 0.5, 0.0, 45.0,
    "NMC/NCA against graphite: least squares, mean of seven cells measured at C/20 to C/32, mean of discharge and charge. Cells: Molicel P42A and P28A, Samsung 40T, LG M50T (github.com/soorajsunil/Piecewise-Battery-OCV), Murata VTC6 (github.com/derlucae98/US18650VTC6_OCV_SOC_Curve), LG HG2 (github.com/Oxford-Brookes-HVES/BTC), Molicel P45B (doi.org/10.5281/zenodo.19052626). Apart by 60 mV when empty, 40 mV at 10 to 15 %, 5 to 13 mV from 35 % on. Limits: cell makers' sheets (standard charge 0.5C, 0 to 45 degC)",
)
LIFEPO4 = Chemistry(
    "lifepo4", 2,
    (2.55, 3.11, 3.19, 3.22, 3.243, 3.264, 3.279, 3.29, 3.299, 3.302, 3.304, 3.306, 3.31, 3.315, 3.323, 3.338, 3.342, 3.343, 3.345, 3.345, 3.457),
    3.65, 2.6, 2.9, 60.0, 5.0, 10.0, 65.0, -10.0, 1.0, 0.0, 55.0,
    "LFP against graphite: least squares, mean of two cells measured at C/30, mean of discharge and charge, which are 25 to 55 mV apart. Cells: Lithium Werks APR18650M1B (github.com/soorajsunil/Piecewise-Battery-OCV), an A123 cell of 2.06 Ah (G. Plett's ESCtoolbox, github.com/batterysim/esctoolbox-python). Both rest at 3.58 to 3.60 V when full and at 3.35 V from 98 % down. Limits: cell makers' sheets of 26650 cells (charge up to 1C, 0 to 55 degC). Low: the voltage falls from there within two minutes",
)
# fmt: on

CHEMISTRIES = (LIPO, LIHV, LI_ION, LIFEPO4)


def chemistry_of(name: str) -> Chemistry:
    """Row of a name in configurations, sidecars and scenarios.

    Raises:
        ConfigError: no such chemistry.
    """
    for row in CHEMISTRIES:
        if row.name == name:
            return row
    names = ", ".join(row.name for row in CHEMISTRIES)
    raise ConfigError(f"chemistry {name!r} is not one of {names}")

# SPDX-License-Identifier: Apache-2.0
"""Ageing of cells: capacity fade, resistance growth, self-discharge.

Counted in equivalent full cycles and in days at 25 degC and storage charge; time at a higher
temperature counts as more days. Losses are fractions of the new cell's values.

Sources are in the rows. LiPo: the cycle law is that of LiCoO2 pouches; no calendar law and no
resistance growth of them is known to us, those of the NMC cell are used. Self-discharge: 2 % a
month at 20 degC, doubled for 10 K more, as makers commonly state.
"""

import math
from dataclasses import dataclass

from sim.plant.cell_parameters import ZERO_DEGC_K

_REFERENCE_K = 298.15
_LEAK_FRAC_DAY = 0.02 / 30.0
_LEAK_DEGC = 20.0
_LEAK_TWICE_K = 10.0
_MIN_FRAC = 0.05  # of the capacity always remains


@dataclass(frozen=True, slots=True)
class Ageing:
    """Ageing laws of a chemistry: loss * count ** power."""

    chemistry: str
    cycle_loss_frac: float
    cycle_power: float
    day_loss_frac: float
    day_power: float
    day_k: float  # activation energy over the gas constant
    cycle_gain_frac: float  # of resistance, linear in cycles
    day_gain_frac: float  # of resistance, with the power of the days
    source: str

    def capacity_left_frac(self, cycles: float, days: float) -> float:
        """Remaining fraction of the new cell's capacity."""
        lost_frac = self.cycle_loss_frac * cycles**self.cycle_power
        lost_frac += self.day_loss_frac * days**self.day_power
        return float(max(1.0 - lost_frac, _MIN_FRAC))

    def resistance_factor(self, cycles: float, days: float) -> float:
        """Resistance in relation to the new cell."""
        gained_frac = self.cycle_gain_frac * cycles
        return float(1.0 + gained_frac + self.day_gain_frac * days**self.day_power)

    def days_at_25_degc(self, days: float, degc: float) -> float:
        """Days at 25 degC that cost as much capacity as `days` at a temperature."""
        colder = 1.0 / (degc + ZERO_DEGC_K) - 1.0 / _REFERENCE_K
        return days * math.exp(-self.day_k * colder / self.day_power)


def leaked_frac(days: float, degc: float) -> float:
    """Fraction of the charge that cells lose by self-discharge in storage."""
    return _LEAK_FRAC_DAY * days * math.exp2((degc - _LEAK_DEGC) / _LEAK_TWICE_K)


_NMC = (
    "Schmalstieg et al. 2014, J. Power Sources 257 325: full swings around 3.8 V, storage at 3.85 V"
)
_LCO = "Saxena et al. 2016, J. Power Sources 327 394: full swings; time and resistance: " + _NMC
_LFP = "Naumann et al. 2018, J. Energy Storage 17 153; 2020, J. Power Sources 451 227666: 1C"

# fmt: off
AGEING = (
    #       name       cycles: loss, power  days: loss, power, K    resistance: cycle, day
    Ageing("lipo",     0.00404, 0.453,  3.65e-4, 0.75, 6976.0,  1.09e-3, 7.57e-4, _LCO),
    Ageing("lihv",     0.00404, 0.453,  3.65e-4, 0.75, 6976.0,  1.09e-3, 7.57e-4, _LCO),
    Ageing("li-ion",   0.01006, 0.500,  3.65e-4, 0.75, 6976.0,  1.09e-3, 7.57e-4, _NMC),
    Ageing("lifepo4",  0.00216, 0.500,  2.23e-3, 0.50, 2060.0,  1.4e-6,  8.8e-4,  _LFP),
)
# fmt: on


def ageing_of(chemistry: str) -> Ageing:
    """The row of a chemistry."""
    return next(row for row in AGEING if row.chemistry == chemistry)

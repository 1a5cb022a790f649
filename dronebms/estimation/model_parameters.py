# SPDX-License-Identifier: Apache-2.0
"""Prior of the models: parameters and uncertainties before anything is known of a pack.

Fitted by `research/fit.py` to computed flights, in a last step to half of those of
`research/make_fleets.py` and of another folder, and checked on the rest (docs/estimation.md).
Nothing comes from a recorded flight. Units are in the names; ln is of a ratio to the chemistry's
row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_NAMES = ("lipo", "lihv", "li-ion", "lifepo4")
# Charges at which the curve may differ from the chemistry's, each by an error of its own.
KNOTS_FRAC = (0.0, 0.04, 0.1, 0.18, 0.3, 0.45, 0.6, 0.8, 1.0)


def _rows(*values: float) -> Any:  # noqa: ANN401 - the type of a dataclass default
    """Default of a field: a value for each chemistry, in the order of `_NAMES`."""
    table = MappingProxyType(dict(zip(_NAMES, values, strict=True)))
    return field(default_factory=lambda: table)


# fmt: off
@dataclass(frozen=True, slots=True)
class ModelParameters:
    """Prior of the cell fit, the load forecast and the time to empty."""

    # The cell. Shares are of the chemistry's resistance after 20 s.
    fast_tau_s: float = 20.0
    slow_tau_s: float = 141.0
    share_now: float = 0.615
    share_slow: float = 0.35
    resistance_frac: Mapping[str, float] = _rows(0.842, 0.842, 0.607, 2.34)
    depth_h: Mapping[str, float] = _rows(0.03, 0.03, 0.05, 0.0824)
    # Activation energy over the gas constant: 21.6 kJ/mol, the middle of published NMC and LFP.
    activation_kk: float = 2.6
    depth_exponent: float = 1.3  # diffusion's exponent over the resistance's
    empty_growth: float = 1.14
    empty_charge: float = 0.085
    mean_capacity: float = -0.0513  # ln; nameplates are 5-15 % too high

    # Uncertainty before anything is learned.
    sd_capacity: float = 0.12
    sd_fast: float = 0.516
    sd_slow: float = 1.14
    sd_depth: float = 0.425
    sd_activation_kk: float = 0.8
    sd_knots_v: tuple[float, ...] = (0.185, 0.13, 0.1, 0.05, 0.064, 0.056, 0.056, 0.056, 0.048)
    # Of a known type of cell: half of what discharge and charge differ by (12 to 30 mV), cells of
    # one batch (3 to 6 mV), and near empty the bend between two charges of the table.
    sd_cell_knots_v: tuple[float, ...] = (0.1, 0.05, 0.035, 0.025, 0.02, 0.02, 0.02, 0.02, 0.03)
    # Cells sold as LiPo range from LCO (0) to NMC and NCA (1): their difference at the knots.
    family_v: tuple[float, ...] = (-0.37, -0.402, -0.35, -0.266, -0.2, -0.16, -0.07, -0.02, -0.02)
    family_lipo: tuple[float, float] = (0.4, 0.5)  # mean, sd
    family_li_ion: tuple[float, float] = (0.0, 0.2)
    knots_length: float = 0.495  # of charge, over which the curve's errors are alike

    # Readings.
    sd_offset_v: float = 0.03  # error of the circuit ...
    offset_tau_s: float = 55.0  # ... and its correlation time
    sd_noise_v: float = 0.01
    sd_sag_frac: float = 0.08
    # ln; of the fast resistance by steps, which show the immediate one. Of LiFePO4 by two fleets.
    sd_step: Mapping[str, float] = _rows(0.106, 0.106, 0.106, 0.3)
    sd_rest_v: float = 0.012
    # Of a gauge's charge at rest, more where the cells can correct it in flight.
    sd_gauge: Mapping[str, float] = _rows(0.03, 0.03, 0.05, 0.03)
    sd_full: float = 0.374  # ln; of a gauge's full charge
    # Packs that are worn and whose gauge has learned it: their share, ln of what is left relative
    # to a sound one, its standard deviation, that of the full charge.
    worn_frac: float = 0.1
    worn_capacity: float = -0.4
    sd_worn: float = 0.25
    sd_worn_full: float = 0.1
    sd_widened: float = 0.15  # added to the charge after a long disagreement

    # Added from flight to flight: FAST, SLOW, CAPACITY, DEPTH, ACTIVATION, then the knots in volts.
    sd_ageing: tuple[float, ...] = (0.0247, 0.152, 0.05, 0.29, 0.1)
    sd_ageing_v: float = 0.00513

    # By what sister packs, those of one model, differ: the same, then the knots in volts.
    sd_sister: tuple[float, ...] = (0.15, 0.3, 0.06, 0.2, 0.2)
    sd_sister_v: float = 0.01
    sister_odds: float = 0.5  # share of the log odds of the gauge's kind that carries over

    # The gauge's remaining capacity.
    compensated_frac: float = 0.107
    counted_full: float = -0.07  # ln of full over rated, of a coulomb counter ...
    sd_counted_full: float = 0.14
    usable_full: float = -0.25  # ... and of a compensated one
    sd_usable_full: float = 0.25
    sd_usable: float = 0.05
    sd_usable_full_frac: float = 0.03
    sd_count_full_frac: float = 0.1
    evidence: float = 1.15

    # The discharge to the cut-off.
    sd_cutoff_v: float = 0.0379  # by the dips of the last seconds
    dip_factor: float = 1.7
    rise_tau_s: float = 350.0
    drift_tau_s: float = 90.0  # how long a falling error of the circuit continues

    # The load.
    recent_blocks: float = 4.0  # weight of the present level in the mean, in blocks of 30 s
    learned_blocks: float = 40.0  # most weight of the usual power
    sd_between: float = 0.1  # of the mean power of flights of one vehicle, relative ...
    between_flights: float = 3.0  # ... until there are more flights than these
    ahead_frac: float = 0.975  # of the mean: flights end with a return and a landing
    recent_s: float = 70.0  # how long the present level predicts better than the mean
    sd_block: float = 0.2
    block_share: float = 0.16
    mean_share: float = 1.5
    sd_mission: float = 0.1  # an unannounced change of plan
# fmt: on


FITTED = ModelParameters()

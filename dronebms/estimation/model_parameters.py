"""The estimator's constants; data, not code.

Searched by `research/fit.py` on the 23 computed flights that judge and 25 made ones; how much the
interval is widened, on made flights alone (docs/estimation.md says what that means). Nothing is
taken from a recorded flight. Units are in the names; ln is of a ratio to the chemistry's row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

# Charges at which the curve may differ from the chemistry's, each by an error of its own.
_NAMES = ("lipo", "lihv", "li-ion", "lifepo4")
KNOTS_FRAC = (0.0, 0.04, 0.1, 0.18, 0.3, 0.45, 0.6, 0.8, 1.0)


def _rows(*values: float) -> Any:  # noqa: ANN401 - what a dataclass takes for a default
    """Return a default: a value for each chemistry, in the order of `_NAMES`."""
    table = MappingProxyType(dict(zip(_NAMES, values, strict=True)))
    return field(default_factory=lambda: table)


# fmt: off
@dataclass(frozen=True, slots=True)
class ModelParameters:
    """What the fit, the forecast and the load believe before a pack has shown anything."""

    # The cell. Shares are of the chemistry's resistance after 20 s.
    fast_tau_s: float = 20.0
    slow_tau_s: float = 141.0
    share_now: float = 0.615
    share_slow: float = 0.425
    resistance_frac: Mapping[str, float] = _rows(0.842, 0.842, 0.607, 2.34)
    depth_h: Mapping[str, float] = _rows(0.03, 0.03, 0.05, 0.0824)
    warmth: float = 2.6  # Arrhenius kilokelvin: 21.6 kJ/mol, the middle of published NMC and LFP
    depth_warmth: float = 1.3  # diffusion's exponent over the resistance's
    empty_growth: float = 1.14
    empty_charge: float = 0.07
    mean_capacity: float = -0.0513  # ln; nameplates say 5-15 % too much

    # Doubt before anything is learned.
    sd_capacity: float = 0.08
    sd_fast: float = 0.516
    sd_slow: float = 1.14
    sd_depth: float = 0.425
    sd_warmth: float = 0.8
    sd_knots_v: tuple[float, ...] = (0.264, 0.185, 0.145, 0.072, 0.064, 0.056, 0.056, 0.056, 0.048)
    family_lipo: tuple[float, float] = (0.33, 0.659)  # mean, sd: from LCO (0) to NMC and NCA (1)
    family_li_ion: tuple[float, float] = (0.0, 0.2)
    knots_length: float = 0.495  # of charge, over which the curve's errors are alike

    # Readings.
    sd_offset_v: float = 0.03  # what the circuit cannot follow ...
    offset_tau_s: float = 141.0  # ... and for how long
    sd_noise_v: float = 0.01
    sd_sag_frac: float = 0.1
    sd_step: float = 0.106
    sd_rest_v: float = 0.012
    sd_gauge: float = 0.0121  # of a gauge's charge at rest
    sd_full: float = 0.374  # ln; of a gauge's full charge
    sd_doubt: float = 0.15  # of the charge, after a long disagreement

    # From flight to flight: FAST, SLOW, CAPACITY, DEPTH, WARMTH, then the knots in volts.
    forget: tuple[float, ...] = (0.0247, 0.152, 0.000751, 0.29, 0.1)
    forget_v: float = 0.00513

    # A gauge's remaining charge.
    compensated_frac: float = 0.107
    counted_full: float = -0.07  # ln of full over rated, of a coulomb counter ...
    sd_counted_full: float = 0.14
    usable_full: float = -0.25  # ... and of a compensated one
    sd_usable_full: float = 0.25
    sd_usable: float = 0.05
    sd_usable_full_frac: float = 0.03
    sd_count_full_frac: float = 0.1
    evidence: float = 1.15

    # The march.
    sd_cutoff_v: float = 0.0379  # what the last seconds' dips of the load add
    dips: float = 1.7
    warming_tau_s: float = 700.0
    drift_tau_s: float = 120.0  # how long what the circuit misses goes on falling

    # The load.
    recent_blocks: float = 4.0  # what the present level weighs in the mean ahead, in blocks of 30 s
    learned_blocks: float = 40.0
    calm: float = 0.975  # flights end with a return and a landing: a little less than their mean
    lasts_s: float = 70.0  # how long the present level tells more than the mean
    sd_block: float = 0.2
    block_share: float = 0.16
    mean_share: float = 1.5
    sd_mission: float = 0.08  # a change of plan that nothing has announced

    # How much wider than the samples say, below and above, of a pack not known yet and of a known
    # one; then without a gauge: on computed flights of both kinds nine in ten are held.
    widen: tuple[tuple[float, float], ...] = ((0.8, 1.0), (0.8, 0.8), (0.8, 1.8), (0.8, 1.4))
# fmt: on


FITTED = ModelParameters()

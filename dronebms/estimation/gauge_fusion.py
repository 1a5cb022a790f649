"""What a gauge's remaining capacity is worth for the time that is left.

Two kinds of gauge say two different things. A plain coulomb counter says what is in the cells, of
a full charge that it learned some time ago; a load-compensated one (Impedance Track and its like)
says what can be used until the end at this load and temperature. Which one this is, is held as
log odds, learned from flight to flight: a compensated gauge has nothing left when the pack ends.
Charge in ampere-seconds.
"""

import math
from dataclasses import dataclass

import numpy as np

from dronebms.estimation.cell_model import Array
from dronebms.estimation.model_parameters import ModelParameters
from dronebms.estimation.time_to_empty import EndSamples

_MOST_ODDS = 4.0
_MOST_EVIDENCE = 6.0
_LEAST_SHARE = 1e-3
_SD_EMPTY_FRAC = 0.05  # what a compensated gauge has left at the end, of its full charge
_SD_COUNT_FRAC = 0.08


@dataclass(frozen=True, slots=True)
class GaugeCharge:
    """Remaining and full charge as the gauge has them."""

    remaining_as: float
    full_as: float


def initial_log_odds(full_frac: float, c: ModelParameters) -> float:
    """Return the log odds of a compensated gauge by its full charge, a share of the rated."""
    told = math.log(full_frac)
    odds = math.log(c.compensated_frac / (1 - c.compensated_frac))
    for sign, mean, sd in (
        (-1, c.counted_full, c.sd_counted_full),
        (1, c.usable_full, c.sd_usable_full),
    ):
        odds -= sign * (0.5 * ((told - mean) / sd) ** 2 + math.log(sd))
    return min(max(odds, -_MOST_ODDS), _MOST_EVIDENCE)


def log_odds_at_end(odds: float, word: GaugeCharge, charge_frac: float) -> float:
    """Return the odds after an end with `charge_frac` left of which the gauge said `word`."""
    left = word.remaining_as / word.full_as
    odds -= 0.5 * (left / _SD_EMPTY_FRAC) ** 2 + math.log(_SD_EMPTY_FRAC)
    odds += 0.5 * ((left - max(charge_frac, 0.0)) / _SD_COUNT_FRAC) ** 2 + math.log(_SD_COUNT_FRAC)
    return min(max(odds, -_MOST_ODDS), _MOST_ODDS)


def fused_ends(
    own: EndSamples, counted_as: float, word: GaugeCharge | None, odds: float, c: ModelParameters
) -> tuple[Array, Array]:
    """Return (ends in seconds, their weights): our own futures, mixed with what the gauge says.

    Args:
        own: futures of the cell.
        counted_as: charge in the cell, used or not.
        word: the gauge's, if any.
        odds: log odds that it is compensated.
        c: constants.
    """
    count = len(own.ends_s)
    if word is None or word.remaining_as <= 0 or word.full_as <= 0:
        return own.ends_s, np.full(count, 1 / count)
    least_as = _LEAST_SHARE * word.full_as
    logs = np.log(np.maximum(own.charge_as, least_as))
    middle, variance = float(logs.mean()), float(logs.var()) + 0.02**2
    scale = word.full_as / word.remaining_as
    says, says_variance = (
        math.log(word.remaining_as),
        c.sd_usable**2 + (c.sd_usable_full_frac * scale) ** 2,
    )
    usable_variance, count_variance = variance + says_variance, (c.sd_count_full_frac * scale) ** 2
    evidence = (says - math.log(max(counted_as, least_as))) ** 2 / count_variance
    evidence += math.log(count_variance / usable_variance) - (says - middle) ** 2 / usable_variance
    odds += c.evidence * min(max(evidence / 2, -_MOST_EVIDENCE), _MOST_EVIDENCE)
    share = 1 / (1 + math.exp(-odds))
    both = 1 / (1 / variance + 1 / says_variance)
    target = both * (middle / variance + says / says_variance)
    told_s = own.ends_s * np.exp(target + (logs - middle) * math.sqrt(both / variance) - logs)
    weights = np.concatenate([np.full(count, 1 - share), np.full(count, share)]) / count
    return np.concatenate([own.ends_s, told_s]), weights


def quantiles(ends_s: Array, weights: Array, shares: tuple[float, ...]) -> Array:
    """Return weighted quantiles."""
    order = np.argsort(ends_s, kind="stable")
    summed = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp(shares, summed, ends_s[order])

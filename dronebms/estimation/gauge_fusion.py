"""Stage: what the gauge's remaining capacity contributes to the time to empty.

Gauges are of two kinds. A plain coulomb counter reports the charge in the cells, against a full
charge capacity learned some time ago; a load-compensated gauge (Impedance Track and similar)
reports the charge that can be used until the end of discharge at this load and temperature. Which
kind a gauge is, is estimated as log odds of "compensated" and learned from flight to flight: a
compensated gauge reports nothing left when the pack ends. Charge in ampere-seconds.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from dronebms.estimation.cell_model import Array
from dronebms.estimation.end_samples import EndSamples
from dronebms.estimation.model_parameters import ModelParameters
from dronebms.estimation.sampling import Sample
from smartbattery.snapshot import Snapshot

_MAX_LOG_ODDS = 4.0
_MAX_EVIDENCE = 6.0
_MIN_SHARE = 1e-3
_SD_EMPTY_FRAC = 0.05  # what a compensated gauge reports at the end, of its full charge
_SD_COUNT_FRAC = 0.08


@dataclass(frozen=True, slots=True)
class GaugeCharge:
    """Remaining and full charge capacity as the gauge reports them."""

    remaining_as: float
    full_as: float


@dataclass(frozen=True, slots=True)
class GaugeEvidence:
    """The gauge after a sample; also the restart state of `GaugeFusion`."""

    log_odds: float | None = None  # that it is compensated; None before it reports a full charge
    charge: GaugeCharge | None = None  # newest
    first_full_ah: float | None = None  # first report of an unknown pack, on that update only


class GaugeFusion:
    """Stage: the gauge's charge and its kind.

    Args:
        capacity_as: rated or assumed capacity.
        learned_log_odds: from earlier flights, None without any.
        parameters: prior of both kinds.
    """

    def __init__(
        self,
        capacity_as: float,
        learned_log_odds: float | None,
        parameters: ModelParameters,
        state: GaugeEvidence = GaugeEvidence(),
    ) -> None:
        self._capacity_as = capacity_as
        self._learned_log_odds = learned_log_odds
        self._parameters = parameters
        self._state = state

    def state(self) -> GaugeEvidence:
        """Restart state."""
        return self._state

    def with_state(self, state: GaugeEvidence) -> Self:
        """Return a stage that continues from a state."""
        return type(self)(self._capacity_as, self._learned_log_odds, self._parameters, state)

    def update(self, snapshot: Snapshot, sample: Sample, charge_frac: float) -> GaugeEvidence:
        """Take in a snapshot; `charge_frac` is the state of charge by the fit."""
        if not sample.is_new:
            return self._state
        odds, charge, first_full_ah = self._state.log_odds, self._state.charge, None
        full_mah, remaining_mah = snapshot.full_mah, snapshot.remaining_mah
        if full_mah is not None and full_mah > 0:
            if odds is None:
                odds = self._learned_log_odds
            if odds is None:
                first_full_ah = full_mah / 1000.0
                odds = initial_log_odds(full_mah * 3.6 / self._capacity_as, self._parameters)
            if remaining_mah is not None:
                charge = GaugeCharge(remaining_mah * 3.6, full_mah * 3.6)
        if sample.just_ended and charge is not None and odds is not None:
            odds = log_odds_at_end(odds, charge, charge_frac)
        self._state = GaugeEvidence(odds, charge)
        if first_full_ah is None:
            return self._state
        return GaugeEvidence(odds, charge, first_full_ah)


def initial_log_odds(full_frac: float, c: ModelParameters) -> float:
    """Log odds of a compensated gauge by its full charge capacity over the rated one."""
    ln_full = math.log(full_frac)
    odds = math.log(c.compensated_frac / (1 - c.compensated_frac))
    for sign, mean, sd in (
        (-1, c.counted_full, c.sd_counted_full),
        (1, c.usable_full, c.sd_usable_full),
    ):
        odds -= sign * (0.5 * ((ln_full - mean) / sd) ** 2 + math.log(sd))
    return min(max(odds, -_MAX_LOG_ODDS), _MAX_EVIDENCE)


def log_odds_at_end(odds: float, charge: GaugeCharge, charge_frac: float) -> float:
    """Log odds after an end of discharge with `charge_frac` left by the fit."""
    left = charge.remaining_as / charge.full_as
    odds -= 0.5 * (left / _SD_EMPTY_FRAC) ** 2 + math.log(_SD_EMPTY_FRAC)
    odds += 0.5 * ((left - max(charge_frac, 0.0)) / _SD_COUNT_FRAC) ** 2 + math.log(_SD_COUNT_FRAC)
    return min(max(odds, -_MAX_LOG_ODDS), _MAX_LOG_ODDS)


def fused_ends(
    own: EndSamples, counted_as: float, gauge: GaugeEvidence, c: ModelParameters
) -> tuple[Array, Array]:
    """(Ends in seconds, their weights): samples of the fit, mixed with the gauge's charge.

    Args:
        own: samples of the cell.
        counted_as: charge in the cell, usable or not.
        gauge: its charge and its kind.
        c: parameters.
    """
    count = len(own.ends_s)
    odds, charge = gauge.log_odds, gauge.charge
    if odds is None or charge is None or charge.remaining_as <= 0 or charge.full_as <= 0:
        return own.ends_s, np.full(count, 1 / count)
    least_as = _MIN_SHARE * charge.full_as
    logs = np.log(np.maximum(own.charge_as, least_as))
    middle, variance = float(logs.mean()), float(logs.var()) + 0.02**2
    scale = charge.full_as / charge.remaining_as
    ln_gauge = math.log(charge.remaining_as)
    gauge_variance = c.sd_usable**2 + (c.sd_usable_full_frac * scale) ** 2
    usable_variance = variance + gauge_variance
    count_variance = (c.sd_count_full_frac * scale) ** 2
    evidence = (ln_gauge - math.log(max(counted_as, least_as))) ** 2 / count_variance
    evidence += (
        math.log(count_variance / usable_variance) - (ln_gauge - middle) ** 2 / usable_variance
    )
    odds += c.evidence * min(max(evidence / 2, -_MAX_EVIDENCE), _MAX_EVIDENCE)
    share = 1 / (1 + math.exp(-odds))
    both = 1 / (1 / variance + 1 / gauge_variance)
    target = both * (middle / variance + ln_gauge / gauge_variance)
    gauge_s = own.ends_s * np.exp(target + (logs - middle) * math.sqrt(both / variance) - logs)
    weights = np.concatenate([np.full(count, 1 - share), np.full(count, share)]) / count
    return np.concatenate([own.ends_s, gauge_s]), weights


def quantiles(ends_s: Array, weights: Array, shares: tuple[float, ...]) -> Array:
    """Weighted quantiles."""
    order = np.argsort(ends_s, kind="stable")
    summed = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp(shares, summed, ends_s[order])

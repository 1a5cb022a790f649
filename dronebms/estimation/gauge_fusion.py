# SPDX-License-Identifier: Apache-2.0
"""Stage: what the gauge's remaining capacity contributes to the time to empty.

Gauges are of two kinds. A plain coulomb counter reports the charge in the cells, against a full
charge capacity learned some time ago; a load-compensated gauge (Impedance Track and similar)
reports the charge that can be used until the end of discharge at this load and temperature. Which
kind a gauge is, is estimated as log odds of "compensated" and learned from flight to flight: a
compensated gauge reports nothing left when the pack ends. Charge in ampere-seconds.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from dronebms.estimation.cell.cell_fit import CellFit
from dronebms.estimation.cell.cell_model import Array
from dronebms.estimation.cell.start_charge import GAUGE_TOLERANCE, REFUTED, STRAINED
from dronebms.estimation.end_samples import EndSamples
from dronebms.estimation.model_parameters import ModelParameters
from dronebms.estimation.sampling import Reading, Sample
from smartbattery.snapshot import Snapshot

_MAX_LOG_ODDS = 4.0
_MAX_EVIDENCE = 6.0
_LEAST_LIKELY = 1e-9
_MIN_SHARE = 1e-3
_SD_EMPTY_FRAC = 0.05  # what a compensated gauge reports at the end, of its full charge
_SD_COUNT_FRAC = 0.08
# New cells hold up to a tenth more than their rated capacity; full charge capacities are learned
# within some per cent.
MAX_FULL_FRAC = 1.25
_MIN_FULL_FRAC = 0.9  # of the remaining capacity
MAX_UNRATED_MAH = 60_000.0  # no larger pack is sold for drones
# Share of the packs whose gauge is far off at the start of a flight: after a storage, with a worn
# pack or one that it has not learned yet. The cells refute it when that is likelier than not.
_WRONG = 0.1
_REFUTED_SHARE = 0.5
_STRAINED_SHARE = 0.2
# A gauge counts in steps of at most 1 % of its full charge; one that stands still is none.
_STILL_FULL_FRAC = 0.03
_STILL_AS = 36.0
_GIVEN_UP_S = 10.0  # a transmission that is disturbed for some seconds is not the gauge's charge
_REST_FRAC = 0.1  # of the capacity, used before the first load: no load in flight is a first one


@dataclass(frozen=True, slots=True)
class GaugeCharge:
    """Remaining and full charge capacity as the gauge reports them."""

    remaining_as: float
    full_as: float


@dataclass(frozen=True, slots=True)
class GaugeEvidence:
    """What counts of the values that the gauge reports; also the restart state of `GaugeFusion`."""

    log_odds: float | None = None  # that it is compensated; None before it reports a full charge
    charge: GaugeCharge | None = None  # newest
    charge_frac: float | None = None  # newest state of charge
    full_ah: float | None = None  # first full charge capacity, unless the pack was known before
    refuted: bool = False  # the cells contradict its charge
    agreed_s: float | None = None  # time of its newest charge that the cells do not contradict
    given_up: bool = False  # contradicted for long, or since its first charge
    wrong: float = 0.0  # probability that its charge is far off
    start_frac: float | None = None  # of charge at the start, as reported before the first load
    claim: tuple[float, float] | None = None  # remaining charge since it changed, used until then
    doubts: tuple[str, ...] = ()  # reported values that do not count, a sentence each


class _Reported(NamedTuple):
    """What the gauge reports in one reading."""

    full_mah: float | None = None
    charge: GaugeCharge | None = None
    frac: float | None = None  # state of charge
    doubts: tuple[str, ...] = ()


class GaugeFusion:
    """Stage: the gauge's charge, whether it can be right, and its kind.

    A value that does not count leaves nothing behind: neither a charge nor a capacity.

    Args:
        capacity_as: rated or assumed capacity.
        rated: whether `capacity_as` is a rated one.
        learned_log_odds: from earlier flights of the pack, None without any.
        parameters: prior of both kinds.
        sister_log_odds: from sister packs, None without any.
    """

    def __init__(
        self,
        capacity_as: float,
        learned_log_odds: float | None,
        parameters: ModelParameters,
        *,
        rated: bool,
        sister_log_odds: float | None = None,
        state: GaugeEvidence = GaugeEvidence(),
    ) -> None:
        self._capacity_as = capacity_as
        self._rated = rated
        self._learned_log_odds = learned_log_odds
        self._sister_log_odds = sister_log_odds
        self._parameters = parameters
        self._state = state

    def state(self) -> GaugeEvidence:
        """Restart state."""
        return self._state

    def with_state(self, state: GaugeEvidence) -> Self:
        """Return a stage that continues from a state."""
        return type(self)(
            self._capacity_as,
            self._learned_log_odds,
            self._parameters,
            rated=self._rated,
            sister_log_odds=self._sister_log_odds,
            state=state,
        )

    def update(
        self, snapshot: Snapshot, sample: Sample, fit: CellFit, cells: CellFit
    ) -> GaugeEvidence:
        """Take in a snapshot.

        Args:
            snapshot: with the values that the gauge reports.
            sample: of it.
            fit: the cell before it.
            cells: a fit of the same cell that began without the gauge.
        """
        if not sample.is_new:
            return self._state
        before = self._state
        reported = self._reported(snapshot, has_lost=fit.has_lost)
        frac = reported.frac
        charge = reported.charge
        doubts = reported.doubts
        reading = sample.first if sample.second is None else sample.second.mean
        wrong = before.wrong
        refuted = before.refuted and frac is not None
        start_frac = before.start_frac
        if not cells.loaded and sample.used_as <= _REST_FRAC * self._capacity_as:
            start_frac = None if frac is None else frac + sample.used_as / self._capacity_as
        # A current that is counted by the gauge is no evidence against its charge.
        if frac is not None and reading is not None and not reading.current_sd_a:
            wrong = wrong_share(frac, start_frac, cells, sample.used_as)
            refuted = self._refuted(frac, reading, cells, wrong)
        if refuted and frac is not None:
            cells_pct = 100.0 * min(max(cells.median_charge_frac, 0.0), 1.0)
            doubts = (*doubts, f"gauge charge {100.0 * frac:.0f} %, cells {cells_pct:.0f} %")
        agreed_s = before.agreed_s if refuted or frac is None else snapshot.t_s
        claim = self._claim(charge, sample)
        still = claim is not None and charge is not None and _stands_still(claim, charge, sample)
        counts = not refuted and not still
        odds, full_ah = self._kind(before, reported.full_mah if counts else None)
        if sample.just_ended and charge is not None and odds is not None and counts:
            odds = log_odds_at_end(odds, charge, fit.charge_frac)
        self._state = GaugeEvidence(
            log_odds=odds,
            charge=charge if counts else None,
            charge_frac=frac if counts else None,
            full_ah=full_ah,
            refuted=refuted,
            agreed_s=agreed_s,
            given_up=refuted and (agreed_s is None or snapshot.t_s - agreed_s >= _GIVEN_UP_S),
            wrong=wrong,
            start_frac=start_frac,
            claim=claim,
            doubts=doubts,
        )
        return self._state

    def _reported(self, snapshot: Snapshot, *, has_lost: bool) -> _Reported:
        """What the gauge reports, as far as a pack can have it."""
        if has_lost:  # it counts against the capacity of the whole pack
            return _Reported()
        doubts: tuple[str, ...] = ()
        full_mah = snapshot.full_mah
        mah = snapshot.remaining_mah
        pct = snapshot.soc_pct
        rated_mah = self._capacity_as / 3.6
        most_mah = MAX_FULL_FRAC * rated_mah if self._rated else MAX_UNRATED_MAH
        if full_mah is not None and full_mah > most_mah:
            doubts = (f"full charge {full_mah:.0f} mAh > {most_mah:.0f} mAh",)
            full_mah = None
        charge = None
        if mah is not None and full_mah is not None and 0.0 < full_mah >= mah * _MIN_FULL_FRAC:
            charge = GaugeCharge(mah * 3.6, full_mah * 3.6)
        frac = None if pct is None else pct / 100.0
        if frac is None and charge is not None:
            frac = charge.remaining_as / charge.full_as
        return _Reported(full_mah, charge, frac, doubts)

    def _kind(
        self, before: GaugeEvidence, full_mah: float | None
    ) -> tuple[float | None, float | None]:
        """(Log odds, first full charge capacity) while there is one that counts."""
        if full_mah is None or full_mah <= 0.0:
            return None, None
        learned = self._learned_log_odds
        odds = before.log_odds
        if odds is None:
            odds = self._sister_log_odds if learned is None else learned
        if odds is None:
            odds = initial_log_odds(full_mah * 3.6 / self._capacity_as, self._parameters)
        if learned is not None:
            return odds, None
        return odds, full_mah / 1000.0 if before.full_ah is None else before.full_ah

    def _refuted(self, frac: float, reading: Reading, cells: CellFit, wrong: float) -> bool:
        """Whether the cells contradict a charge: at rest by voltage, under load by their fit."""
        before = self._state.refuted
        if not cells.loaded:
            strain = cells.strain(reading.cell_v, reading.current_a, frac)
            return strain >= (STRAINED if before else REFUTED)
        if before and cells.median_charge_frac - frac > STRAINED * math.hypot(
            cells.charge_sd, GAUGE_TOLERANCE
        ):
            return True
        return wrong >= (_STRAINED_SHARE if before else _REFUTED_SHARE)

    def _claim(self, charge: GaugeCharge | None, sample: Sample) -> tuple[float, float] | None:
        before = self._state.claim
        if charge is None or (before is not None and before[0] == charge.remaining_as):
            return before
        return charge.remaining_as, sample.used_as


def wrong_share(frac: float, start_frac: float | None, cells: CellFit, used_as: float) -> float:
    """Probability that the gauge's charge is far off.

    No gauge reports more than the median cell holds, nor less than the weakest one. Under load a
    compensated one may report much less, and only what it reported before the load is held against
    what the weakest cell held then. Of a wrong one every charge is as likely as another.

    Args:
        frac: charge that it reports.
        start_frac: charge at the start as it reported before the first load, None when unknown.
        cells: a fit of the same cell that began without the gauge.
        used_as: charge since the start.
    """
    sd = math.hypot(cells.charge_sd, GAUGE_TOLERANCE)
    off = max(frac - cells.median_charge_frac, 0.0) / sd
    if start_frac is not None:
        start, sd_start = cells.start_charge(used_as)
        sd_start = math.hypot(sd_start, GAUGE_TOLERANCE)
        less = (start - start_frac) / sd_start
        if less > off:
            off = less
            sd = sd_start
    right = (1.0 - _WRONG) * math.exp(-off * off / 2.0) / (sd * math.sqrt(2.0 * math.pi))
    return _WRONG / (_WRONG + right)


def _stands_still(claim: tuple[float, float], charge: GaugeCharge, sample: Sample) -> bool:
    """Whether much has been drawn since the gauge's remaining charge changed."""
    return sample.used_as - claim[1] > _STILL_FULL_FRAC * charge.full_as + _STILL_AS


def initial_log_odds(full_frac: float, c: ModelParameters) -> float:
    """Log odds of a compensated gauge by its full charge capacity over the rated one.

    A counter reports little of a worn pack.
    """
    ln_full = math.log(full_frac)

    def likely(mean: float, sd: float) -> float:
        return math.exp(-0.5 * ((ln_full - mean) / sd) ** 2) / sd

    worn = likely(c.counted_full + c.worn_capacity, math.hypot(c.sd_worn, c.sd_worn_full))
    counted = (1 - c.worn_frac) * likely(c.counted_full, c.sd_counted_full) + c.worn_frac * worn
    compensated = likely(c.usable_full, c.sd_usable_full)
    odds = c.compensated_frac * compensated / ((1 - c.compensated_frac) * counted + _LEAST_LIKELY)
    return min(max(math.log(odds + _LEAST_LIKELY), -_MAX_LOG_ODDS), _MAX_EVIDENCE)


def log_odds_at_end(odds: float, charge: GaugeCharge, charge_frac: float) -> float:
    """Log odds after an end of discharge with `charge_frac` left by the fit."""
    left = charge.remaining_as / charge.full_as
    odds -= 0.5 * (left / _SD_EMPTY_FRAC) ** 2 + math.log(_SD_EMPTY_FRAC)
    odds += 0.5 * ((left - max(charge_frac, 0.0)) / _SD_COUNT_FRAC) ** 2 + math.log(_SD_COUNT_FRAC)
    return min(max(odds, -_MAX_LOG_ODDS), _MAX_LOG_ODDS)


def fused_ends(
    own: EndSamples, counted_as: float, most_as: float, gauge: GaugeEvidence, c: ModelParameters
) -> tuple[Array, Array]:
    """(Ends in seconds, their weights): samples of the fit, mixed with the gauge's charge.

    Args:
        own: samples of the cell.
        counted_as: charge in the cell, usable or not.
        most_as: the greatest charge that can be in it; a gauge that reports more is wrong.
        gauge: its charge and its kind.
        c: parameters.
    """
    count = len(own.ends_s)
    odds = gauge.log_odds
    charge = gauge.charge
    if odds is None or charge is None or not 0 < charge.remaining_as <= most_as:
        return own.ends_s, np.full(count, 1 / count)
    least_as = _MIN_SHARE * charge.full_as
    logs = np.log(np.maximum(own.charge_as, least_as))
    middle = float(logs.mean())
    variance = float(logs.var()) + 0.02**2
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

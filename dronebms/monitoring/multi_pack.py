# SPDX-License-Identifier: Apache-2.0
"""Several packs as one supply: their common current limit, and the effect of a missing pack.

Amperes positive while discharging, volts, seconds. Packs with one gauge for all of them are one
report; packs or modules with a gauge each are several. Values are not averaged: a silent pack
supplies nothing, a pack whose voltage the others outvote is rejected, and the supply is never
better than what is known of each pack.
"""

import math
from collections.abc import Iterable, Sequence
from statistics import median

from dronebms.core.pack_data import PARALLEL, SERIES
from dronebms.core.report import Estimate, Report, Severity, SupplyStatus, Verdict
from dronebms.core.vehicle_state import VehicleState
from dronebms.core.verdicts import worst
from dronebms.monitoring.pipeline import Pipeline
from dronebms.monitoring.watch_time import LOOP_STEP_S

_OUTVOTED_FRAC = 0.03  # of the packs' common voltage; cables make less
_VOTERS = 3
_LEAST_A = 0.5  # below this sum, the shares of the current are noise
_FOLLOWED_S = 60.0  # until a pack's forecast includes the load of a missing pack


class Supply:
    """The packs of one vehicle, stepped together.

    Args:
        pipelines: one for each pack.
        topology: PARALLEL or SERIES; without effect for one pack.
    """

    def __init__(self, pipelines: Sequence[Pipeline], topology: str = PARALLEL) -> None:
        self._pipelines = pipelines
        for pipeline in pipelines:
            pipeline.longest_step_s = LOOP_STEP_S
        self._series = topology == SERIES
        self._missing: tuple[int, ...] = ()
        self._lost_s = -math.inf

    def step(self, now_s: float, vehicle: VehicleState) -> list[Report]:
        """Evaluate every pack, then publish each report with the supply's status."""
        reports = [pipeline.evaluate(now_s, vehicle) for pipeline in self._pipelines]
        supply = self.combined(reports) if len(reports) > 1 else None
        pairs = zip(self._pipelines, reports, strict=True)
        return [pipeline.publish(report, supply) for pipeline, report in pairs]

    def combined(self, reports: Sequence[Report]) -> SupplyStatus:
        """Status of the supply from the newest report of each pack.

        The load of a missing parallel pack falls to the others at once: current limit, remaining
        time and verdicts are reduced immediately, before their own forecasts have followed. Each
        pack is judged with the share of the load that it carries, and the first one that ends, ends
        the flight: the verdicts are the worst of the packs.
        """
        missing = self._missing_of(reports)
        present = [r for r in reports if r.index not in missing]
        severity = max((r.status.severity for r in reports), default=Severity.OK)
        if not present or (missing and self._series):
            worse = max(severity, Severity.CRITICAL)
            return SupplyStatus(worse, missing, self._series, all_missing=not present)
        amps = _shared_amps(present)
        count = len(present)
        sum_a = max(amps)
        shares = [1.0] * count
        remaining_frac = 1.0
        if not self._series:
            sum_a = sum(amps)
            new = math.exp((self._lost_s - reports[0].t_s) / _FOLLOWED_S)
            remaining_frac = 1.0 - (1.0 - count / len(reports)) * new
            shares = [a / sum_a if sum_a > _LEAST_A else 1.0 / count for a in amps]
        floors_a = [r.status.limp_home_a for r in reports]
        known_a = [a for a in floors_a if a is not None]
        left_s = [r.estimate.remaining_s for r in present]
        combine = max if self._series else sum
        floor_a = None if None in floors_a else combine(known_a)
        asked_a, asked_by = _current_limit(present, shares)
        known_s = [s for s in left_s if s is not None]
        return SupplyStatus(
            severity=max(severity, Severity.WARNING) if missing else severity,
            missing=missing,
            series=self._series,
            current_a=None if any(r.snapshot.current_a is None for r in present) else sum_a,
            max_discharge_a=_least([r.estimate.max_discharge_a for r in present], shares),
            asked_max_a=None if asked_a is None else max(asked_a, floor_a or 0.0),
            asked_by=asked_by,
            limp_home_a=floor_a,
            remaining_s=remaining_frac * min(known_s) if len(known_s) == count else None,
            home_verdict=worst(_home_verdict(r.estimate, remaining_frac) for r in present),
            mission_verdict=worst(_mission_verdict(r.estimate, remaining_frac) for r in present),
        )

    def _missing_of(self, reports: Sequence[Report]) -> tuple[int, ...]:
        """Indices of the silent and the rejected packs; notes the time when one is lost."""
        missing = [r.index for r in reports if r.snapshot.voltage_v is None]
        if not self._series:
            missing += _outvoted([r for r in reports if r.index not in missing])
        if set(missing) - set(self._missing):
            self._lost_s = reports[0].t_s
        self._missing = tuple(missing)
        return self._missing


def _shared_amps(present: Sequence[Report]) -> list[float]:
    """Current of each pack; one that is unknown counts as the mean of the others."""
    known = [r.snapshot.current_a for r in present if r.snapshot.current_a is not None]
    usual_a = sum(known) / len(known) if known else 0.0
    return [usual_a if (a := r.snapshot.current_a) is None else a for r in present]


def _home_verdict(estimate: Estimate, remaining_frac: float) -> Verdict:
    """Verdict of a pack whose time left is shorter than its own forecast has it yet."""
    lost_frac = 1.0 - remaining_frac
    spare_s = _less(estimate.home_margin_s, lost_frac, estimate.remaining_s)
    low_s = _less(estimate.home_reserve_s, lost_frac, estimate.remaining_low_s)
    return _shortened(estimate.home_verdict, spare_s, low_s)


def _mission_verdict(estimate: Estimate, remaining_frac: float) -> Verdict:
    """Verdict of a pack whose share of the mission is larger than its own forecast has it yet."""
    needs_mah = estimate.mission_needs_mah
    more_frac = 1.0 / remaining_frac
    spare_mah = _less(estimate.usable_mah, more_frac, needs_mah)
    low_mah = _less(estimate.usable_low_mah, more_frac, needs_mah)
    return _shortened(estimate.mission_verdict, spare_mah, low_mah)


def _less(value: float | None, frac: float, of: float | None) -> float | None:
    return None if value is None or of is None else value - frac * of


def _shortened(verdict: Verdict, spare: float | None, low: float | None) -> Verdict:
    """A known verdict, or a worse one by what is to spare then: median and 5 % bound."""
    if verdict is Verdict.UNKNOWN:
        return verdict
    by_median = Verdict.NO if spare is not None and spare <= 0.0 else verdict
    by_bound = Verdict.MARGINAL if low is not None and low <= 0.0 else verdict
    return worst((verdict, by_median, by_bound))


def _current_limit(
    present: Sequence[Report], shares: Sequence[float]
) -> tuple[float | None, str | None]:
    """Current of the supply at which the first pack reaches its limit, and the id of that limit."""
    limits = [
        (r.status.asked_max_a / share, r.status.asked_by)
        for r, share in zip(present, shares, strict=True)
        if r.status.asked_max_a is not None and share > 0
    ]
    return min(limits, key=lambda limit: limit[0], default=(None, None))


def _least(values: Iterable[float | None], shares: Iterable[float]) -> float | None:
    """The least value over its share, `None` if one is unknown."""
    pairs = [(a, share) for a, share in zip(values, shares, strict=True) if share > 0]
    known = [a / share for a, share in pairs if a is not None]
    return min(known) if len(known) == len(pairs) else None


def _outvoted(present: Sequence[Report]) -> list[int]:
    """Indices of the packs whose voltage differs from the median, of three or more in parallel.

    None without a majority that agrees: then each is judged by its own limits.
    """
    volts = [r.snapshot.voltage_v or 0.0 for r in present]
    if len(volts) < _VOTERS:
        return []
    middle_v = median(volts)
    pairs = zip(present, volts, strict=True)
    others = [r.index for r, v in pairs if abs(v - middle_v) > _OUTVOTED_FRAC * middle_v]
    return others if 2 * len(others) < len(present) else []

"""Several packs as one supply: what they may give together, and what is lost with one of them.

Amperes positive while discharging, volts, seconds. A pack that is watched by one gauge for all of
it is one report here; modules with a gauge each are many. Nothing is averaged away: a pack that is
not heard gives nothing, one whose voltage is outvoted by the others is not believed, and the supply
is never better than what is known of it.
"""

import math
from collections.abc import Iterable, Sequence
from statistics import median

from dronebms.core.pack_data import PARALLEL, SERIES
from dronebms.core.report import Report, Severity, SupplyStatus
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.pipeline import Pipeline

_OUTVOTED_FRAC = 0.03  # of the packs' common voltage; cables make less
_VOTERS = 3
_LEAST_A = 0.5  # a sum below it tells nothing of the shares
_FOLLOWED_S = 60.0  # until a pack's own forecast knows the load that another has left to it


class Supply:
    """The packs of one vehicle, stepped together.

    Args:
        monitors: one of each pack.
        topology: how they are wired; it does not matter for one.
    """

    def __init__(self, pipelines: Sequence[Pipeline], topology: str = PARALLEL) -> None:
        self._pipelines = pipelines
        self._series = topology == SERIES
        self._missing: tuple[int, ...] = ()
        self._lost_s = -math.inf

    def step(self, now_s: float, vehicle: VehicleState) -> list[Report]:
        """Evaluate every pack, then publish each report with the supply's status."""
        looks = [pipeline.evaluate(now_s, vehicle) for pipeline in self._pipelines]
        supply = self.together(looks) if len(looks) > 1 else None
        pairs = zip(self._pipelines, looks, strict=True)
        return [pipeline.publish(look, supply) for pipeline, look in pairs]

    def together(self, reports: Sequence[Report]) -> SupplyStatus:
        """Return the supply supply, from the newest report of each pack.

        A parallel pack that has gone leaves its load to the others at once: what they may give and
        how long they last is cut by it now, not when their own forecasts have followed.
        """
        missing = self._missing_of(reports)
        heard = [r for r in reports if r.index not in missing]
        severity = max((r.status.severity for r in reports), default=Severity.OK)
        if not heard or (missing and self._series):
            return SupplyStatus(max(severity, Severity.CRITICAL), missing, self._series)
        amps, count = [r.snapshot.current_a or 0.0 for r in heard], len(heard)
        sum_a, shares, grown = max(amps), [1.0] * count, 1.0
        if not self._series:
            sum_a = sum(amps)
            new = math.exp((self._lost_s - reports[0].t_s) / _FOLLOWED_S)
            grown = 1.0 - (1.0 - count / len(reports)) * new
            shares = [a / sum_a if sum_a > _LEAST_A else 1.0 / count for a in amps]
        floors_a = [r.status.limp_home_a for r in reports]
        left_s = [r.estimate.remaining_s for r in heard]
        joined = max if self._series else sum
        floor_a = None if None in floors_a else joined(filter(None, floors_a))
        asked_a, asked_by = _asked(heard, shares)
        return SupplyStatus(
            max(severity, Severity.WARNING) if missing else severity,
            missing,
            self._series,
            None if any(r.snapshot.current_a is None for r in heard) else sum_a,
            _least([r.estimate.max_discharge_a for r in heard], shares),
            None if asked_a is None else max(asked_a, floor_a or 0.0),
            asked_by,
            floor_a,
            None if None in left_s else grown * min(s for s in left_s if s is not None),
        )

    def _missing_of(self, reports: Sequence[Report]) -> tuple[int, ...]:
        """Return which packs are not heard or not believed, and notice since when."""
        missing = [r.index for r in reports if r.snapshot.voltage_v is None]
        if not self._series:
            missing += _outvoted([r for r in reports if r.index not in missing])
        if set(missing) - set(self._missing):
            self._lost_s = reports[0].t_s
        self._missing = tuple(missing)
        return self._missing


def _asked(heard: Sequence[Report], shares: Sequence[float]) -> tuple[float | None, str | None]:
    """Return what the supply may draw until the first pack is at what is asked of it, and why."""
    asked = [
        (r.status.asked_max_a / share, r.status.asked_by)
        for r, share in zip(heard, shares, strict=True)
        if r.status.asked_max_a is not None and share > 0
    ]
    return min(asked, key=lambda one: one[0], default=(None, None))


def _least(values: Iterable[float | None], shares: Iterable[float]) -> float | None:
    """Return what the supply may give, by what is the least of each pack over its share."""
    pairs = [(a, share) for a, share in zip(values, shares, strict=True) if share > 0]
    known = [a / share for a, share in pairs if a is not None]
    return min(known) if len(known) == len(pairs) else None


def _outvoted(heard: Sequence[Report]) -> list[int]:
    """Return which of three or more packs side by side shows another voltage than most."""
    volts = [r.snapshot.voltage_v or 0.0 for r in heard]
    if len(volts) < _VOTERS:
        return []
    middle_v = median(volts)
    pairs = zip(heard, volts, strict=True)
    return [r.index for r, v in pairs if abs(v - middle_v) > _OUTVOTED_FRAC * middle_v]

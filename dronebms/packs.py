"""Several packs as one supply: what they may give together, and what is lost with one of them.

Amperes positive while discharging, volts, seconds. A pack that is watched by one gauge for all of
it is one report here; modules with a gauge each are many. Nothing is averaged away: a pack that is
not heard gives nothing, one whose voltage is outvoted by the others is not believed, and the whole
is never better than what is known of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from dronebms.limits import Severity
from dronebms.monitor import Report

PARALLEL, SERIES = TOPOLOGIES = ("parallel", "series")
_OUTVOTED_FRAC = 0.03  # of the packs' common voltage; cables make less
_VOTERS = 3
_LEAST_A = 0.5  # a sum below it tells nothing of the shares


@dataclass(frozen=True, slots=True)
class Whole:
    """The supply of a vehicle; `None` is unknown."""

    severity: Severity
    missing: tuple[int, ...]  # indices of packs that are not heard, or not believed
    current_a: float | None = None
    max_discharge_a: float | None = None
    asked_max_a: float | None = None
    remaining_s: float | None = None


def together(reports: Sequence[Report], topology: str = PARALLEL) -> Whole:
    """Return the whole supply, from the newest report of each pack.

    A parallel pack that has gone leaves its load to the others at once: what they may give and
    how long they last is cut by it now, not when their own forecasts have followed.
    """
    missing = [r.index for r in reports if r.snapshot.voltage_v is None]
    if topology == PARALLEL:
        missing += _outvoted([r for r in reports if r.index not in missing])
    heard = [r for r in reports if r.index not in missing]
    severity = max((r.status.severity for r in reports), default=Severity.OK)
    if not heard or (missing and topology == SERIES):
        return Whole(max(severity, Severity.CRITICAL), tuple(missing))
    amps, count = [r.snapshot.current_a or 0.0 for r in heard], len(heard)
    sum_a, shares, grown = max(amps), [1.0] * count, 1.0
    if topology == PARALLEL:
        sum_a, grown = sum(amps), count / len(reports)
        shares = [a / sum_a if sum_a > _LEAST_A else 1.0 / count for a in amps]

    def least(values: Iterable[float | None]) -> float | None:
        """Return what the whole may give, by what is the least of each pack over its share."""
        pairs = [(a, share) for a, share in zip(values, shares, strict=True) if share > 0]
        known = [a / share for a, share in pairs if a is not None]
        return min(known) if len(known) == len(pairs) else None

    asked = [r.status.asked_max_a / s for r, s in zip(heard, shares, strict=True)
             if r.status.asked_max_a is not None and s > 0]  # fmt: skip
    left_s = [r.estimate.remaining_s for r in heard]
    return Whole(
        max(severity, Severity.WARNING) if missing else severity,
        tuple(missing),
        None if any(r.snapshot.current_a is None for r in heard) else sum_a,
        least(r.estimate.max_discharge_a for r in heard),
        min(asked, default=None),
        None if None in left_s else grown * min(s for s in left_s if s is not None),
    )


def _outvoted(heard: Sequence[Report]) -> list[int]:
    """Return which of three or more packs side by side shows another voltage than most."""
    volts = [r.snapshot.voltage_v or 0.0 for r in heard]
    if len(volts) < _VOTERS:
        return []
    middle_v = median(volts)
    pairs = zip(heard, volts, strict=True)
    return [r.index for r, v in pairs if abs(v - middle_v) > _OUTVOTED_FRAC * middle_v]

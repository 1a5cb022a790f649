# SPDX-License-Identifier: Apache-2.0
"""How long a pack must be connected before the limits have judged it.

A limit trips after its hold time, so that a pack that has just been connected has no tripped limit,
whatever its state. A take-off waits until the longest hold time has passed with every reading that
the pack gives. Seconds of the loop's clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from dronebms.core.report import Estimate, Severity
from dronebms.protection.limits import Limit
from smartbattery.snapshot import MAX_CELLS, UNIDENTIFIED, Identity, Snapshot

# A limit with a longer hold time forbids the take-off while it is exceeded (`Status.pending`).
MAX_CHECK_S = 10.0
_MAX_GAP_S = 1.5  # without a snapshot; the pack may have been swapped in a longer one
_READINGS = (
    "current_a", "temperature_degc", "fet_degc", "status_raw", "alert_raw", "safety_raw",
    "failure_raw", "max_error_pct", "alerts",
)  # fmt: skip
_read = attrgetter(*_READINGS)
_CELLS = tuple(f"cell {k}" for k in range(MAX_CELLS))


@dataclass(frozen=True, slots=True)
class CheckTime:
    """The connected pack, the readings that it has given, and since when there is no new one."""

    identity: Identity = UNIDENTIFIED
    known: tuple[str, ...] = ()  # in alphabetical order
    since_s: float | None = None  # None: no pack
    at_s: float = 0.0  # of the newest snapshot

    def after(self, snapshot: Snapshot, estimate: Estimate) -> "CheckTime":
        """State after a snapshot.

        Another pack, silence, a restart and a reading that comes late start the time again.
        """
        now_s = snapshot.t_s
        if snapshot.voltage_v is None:
            return CheckTime()
        continues = snapshot.identity == self.identity and now_s - self.at_s <= _MAX_GAP_S
        since_s = self.since_s if continues else None
        values = (*zip(_READINGS, _read(snapshot), strict=True), ("soc_pct", estimate.soc_pct))
        cells = zip(_CELLS, snapshot.cells_v, strict=False)
        known = {name for name, value in (*values, *cells) if value is not None}
        if since_s is not None and known.issubset(self.known):
            return CheckTime(self.identity, self.known, since_s, now_s)
        if since_s is not None:
            known.update(self.known)
        return CheckTime(snapshot.identity, tuple(sorted(known)), now_s, now_s)

    def left_s(self, now_s: float, longest_s: float) -> float:
        """Seconds until a pack has been connected for `longest_s`, of `longest_hold_s`."""
        return longest_s if self.since_s is None else max(self.since_s + longest_s - now_s, 0.0)


def longest_hold_s(limits: Iterable[Limit]) -> float:
    """Longest hold time of the limits that forbid a take-off."""
    holds_s = (limit.hold_s for limit in limits if limit.severity >= Severity.WARNING)
    return min(max(holds_s, default=0.0), MAX_CHECK_S)

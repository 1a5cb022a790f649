# SPDX-License-Identifier: Apache-2.0
"""What of an estimate is reported: no charge in dispute, no verdict before its limit."""

from collections.abc import Sequence

from dronebms.core.report import Estimate, Verdict
from dronebms.protection.quantities import SETTLED_S
from smartbattery.snapshot import Snapshot
from smartbattery.values import changed


def is_uncounted(snapshot: Snapshot) -> bool:
    """Whether both current and charge are rejected: there is nothing to count by.

    What was estimated from them until then rests on readings that were wrong.
    """
    return {"current_a", "remaining_mah"} <= set(snapshot.rejected)


def without_charge(estimate: Estimate) -> Estimate:
    """What is counted; no percentage and no time rest on readings in dispute."""
    return Estimate(
        estimate.t_s,
        used_mah=estimate.used_mah,
        used_wh=estimate.used_wh,
        doubts=estimate.doubts,
    )


def without_verdicts(estimate: Estimate) -> Estimate:
    """The estimate in the first seconds of load: no verdict before a limit follows it."""
    return changed(
        estimate,
        home_verdict=Verdict.UNKNOWN,
        mission_verdict=Verdict.UNKNOWN,
        verdict_missing=estimate.verdict_missing or f"{SETTLED_S:.0f} s of load",
    )


def confirmed(estimate: Estimate, active: Sequence[str]) -> Estimate:
    """The estimate in flight without a verdict that is graver than the limits that have tripped.

    A limit waits some seconds before it trips; until then the verdict is that of the milder limit
    or unknown.
    """
    home = _followed(estimate.home_verdict, active, "home_turn", ("home_now", "home_lost"))
    mission = _followed(estimate.mission_verdict, active, "mission_marginal", ("mission_no",))
    if (home, mission) == (estimate.home_verdict, estimate.mission_verdict):
        return estimate
    missing = estimate.verdict_missing or "confirmation"
    return changed(estimate, home_verdict=home, mission_verdict=mission, verdict_missing=missing)


def _followed(
    verdict: Verdict, active: Sequence[str], marginal: str, no: tuple[str, ...]
) -> Verdict:
    """A verdict, as far as a limit follows it."""
    if verdict not in (Verdict.NO, Verdict.MARGINAL):
        return verdict
    if any(limit_id in active for limit_id in no):
        return verdict
    return Verdict.MARGINAL if marginal in active else Verdict.UNKNOWN

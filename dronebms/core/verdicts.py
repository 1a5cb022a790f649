# SPDX-License-Identifier: Apache-2.0
"""Words for the verdicts of home and mission, for pilot texts, preflight check and screens."""

from collections.abc import Iterable

from dronebms.core.report import Estimate, Verdict

_SMALL_AH = 10.0
_WORST_FIRST = (Verdict.NO, Verdict.MARGINAL, Verdict.UNKNOWN, Verdict.YES)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several verdicts; one that is not known is no YES, and is no milder NO."""
    return min(verdicts, key=_WORST_FIRST.index, default=Verdict.UNKNOWN)


def ah_text(mah: float) -> str:
    """A charge in ampere-hours with three digits, without its unit."""
    ah = mah / 1000.0
    return f"{ah:.1f}" if ah >= _SMALL_AH else f"{ah:.2f}"


def mission_shortage(estimate: Estimate, form: str) -> str:
    """Why a mission cannot be finished: by the median for NO, by the 5 % bound for MARGINAL.

    Args:
        estimate: with a mission verdict of NO or MARGINAL.
        form: text with `{needs}` and `{usable}`, in Ah; the need may be a little less, since a
            landing is to leave a reserve. Where the need alone is no shortage, a charge of 0 or
            less at the end is; one above 0 is none, although cold, worn and weak cells end with it.
    """
    by_median = estimate.mission_verdict is Verdict.NO
    bound = "" if by_median else " (5 %)"
    usable_mah = estimate.usable_mah if by_median else estimate.usable_low_mah
    end_pct = estimate.mission_end_pct if by_median else estimate.mission_end_low_pct
    needs_mah = estimate.mission_needs_mah
    empty = end_pct is not None and end_pct <= 0.0
    if needs_mah is not None and usable_mah is not None and (needs_mah > usable_mah or not empty):
        return form.format(needs=ah_text(needs_mah), usable=ah_text(usable_mah)) + bound
    if end_pct is not None:
        return f"ends with {end_pct:.0f} %{bound}"
    return "charge too low" + bound


def alternate_text(estimate: Estimate) -> str:
    """The alternate in reach, and where the autopilot's own return goes."""
    goes = {True: ", RTL goes there", False: ", RTL goes home", None: ""}
    return f"{estimate.alternate} in reach{goes[estimate.alternate_by_return]}"

# SPDX-License-Identifier: Apache-2.0
"""Actions of a configuration that contradict each other, and what to write instead."""

from collections.abc import Mapping, Sequence

from dronebms.core.report import GOVERNOR, Action, ActionKind, Severity


def contradictions(
    actions: Sequence[Action], severities: Mapping[str, Severity], *, is_px4: bool
) -> list[str]:
    """A sentence for each pair of rows, or row, that cannot be meant.

    Args:
        actions: the configured rows, in their order.
        severities: of every limit, as configured.
        is_px4: the vehicle is configured as PX4.
    """
    found = []
    for place, later in enumerate(actions):
        for earlier_place, earlier in enumerate(actions[:place]):
            wrong = _conflict(earlier, later, severities)
            if wrong is not None:
                found.append(f"action.{earlier_place + 1} and action.{place + 1}: {wrong}")
        idle = later.do is ActionKind.REDUCE and not (later.speed_m_s or later.climb_m_s)
        if is_px4 and idle:
            found.append(
                f"action.{place + 1}: do = reduce does nothing on PX4 without a speed: "
                "add speed_m_s or climb_m_s"
            )
        is_info = isinstance(later.on, str) and severities.get(later.on) is Severity.INFO
        if is_info and later.do > ActionKind.REDUCE:
            found.append(
                f"action.{place + 1}: do = {later.do.label} on {later.on}, which is info and no "
                f"alarm: give limit {later.on} a severity of warning or worse"
            )
    return found


def _conflict(one: Action, other: Action, severities: Mapping[str, Severity]) -> str | None:
    if (one.on, one.do) == (other.on, other.do):
        return f"do = {one.do.label} on {_name(one.on)} twice: write one row"
    mild, urgent = sorted((one, other), key=lambda action: action.do)
    if mild.do is not ActionKind.RETURN or urgent.do is not ActionKind.LAND:
        return None
    if one.on == other.on:
        return (
            f"return and land on {_name(one.on)}: write do = return with escalate = land, or land "
            "on a worse trigger such as emergency"
        )
    if _holds_with(urgent.on, mild.on, severities):
        return (
            f"land on {_name(urgent.on)} also lands whenever {_name(mild.on)} would return: land "
            f"on a worse trigger than {_name(mild.on)}, such as emergency"
        )
    return None


def _holds_with(
    wide: Severity | str, narrow: Severity | str, severities: Mapping[str, Severity]
) -> bool:
    """Whether the trigger `wide` holds whenever `narrow` does."""
    if not isinstance(wide, Severity) or narrow == GOVERNOR:
        return False
    least = narrow if isinstance(narrow, Severity) else severities[narrow]
    return least >= wide


def _name(trigger: Severity | str) -> str:
    return trigger.label if isinstance(trigger, Severity) else trigger

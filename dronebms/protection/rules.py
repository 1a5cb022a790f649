"""Moved."""

from dataclasses import dataclass

from dronebms.core.report import Action
from dronebms.protection.limits import LimitChange


@dataclass(frozen=True, slots=True)
class Rules:
    """What a configuration says of how a battery is judged and what follows."""

    limit_changes: tuple[LimitChange, ...] = ()  # of rows of the protection table
    actions: tuple[Action, ...] = ()


NO_RULES = Rules()

# SPDX-License-Identifier: Apache-2.0
"""Rules of a configuration for one battery."""

from dataclasses import dataclass

from dronebms.core.report import Action
from dronebms.protection.limits import LimitChange


@dataclass(frozen=True, slots=True)
class Rules:
    """Configured changes of the limits, and configured actions."""

    limit_changes: tuple[LimitChange, ...] = ()
    actions: tuple[Action, ...] = ()


NO_RULES = Rules()

# SPDX-License-Identifier: Apache-2.0
"""Limits of a pack, their evaluation, the current governor and configured actions."""

from dronebms.protection.actions import Actions, explain
from dronebms.protection.alarms import Alarms
from dronebms.protection.limits import Limit, LimitChange, changed_limits, default_limits
from dronebms.protection.rules import NO_RULES, Rules

__all__ = [
    "NO_RULES", "Actions", "Alarms", "Limit", "LimitChange", "Rules", "changed_limits",
    "default_limits", "explain",
]  # fmt: skip

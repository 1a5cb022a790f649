# SPDX-License-Identifier: Apache-2.0
"""Cross-checks of redundant readings: a third reading decides which of two is wrong."""

from dronebms.monitoring.consistency.check import ConsistencyCheck, ConsistencyState

__all__ = ["ConsistencyCheck", "ConsistencyState"]

# SPDX-License-Identifier: Apache-2.0
"""The loop over all batteries, and the step of one: checks, estimate, limits, advice, report."""

from dronebms.monitoring.loop import Loop, live_ticks
from dronebms.monitoring.multi_pack import Supply
from dronebms.monitoring.pipeline import Pipeline

__all__ = ["Loop", "Pipeline", "Supply", "live_ticks"]

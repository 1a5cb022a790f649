# SPDX-License-Identifier: Apache-2.0
"""A flight after it was flown: replay, summary, plots and report page."""

from dronebms.analysis.replay import reports
from dronebms.analysis.summary import Summary

__all__ = ["Summary", "reports"]

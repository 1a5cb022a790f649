# SPDX-License-Identifier: Apache-2.0
"""Terminal display of the reports: the screen, its keys, and sentences for screen readers."""

from dronebms.terminal.display import Display

__all__ = ["Display"]

# SPDX-License-Identifier: Apache-2.0
"""An output that cannot be opened yet: a port in use, an address or a folder that comes later."""

import logging
import math
from collections.abc import Callable
from typing import Protocol

from dronebms.core.errors import DroneBmsError
from dronebms.core.report import Report

# between two attempts; the delay doubles
_FIRST_S = 5.0
_LAST_S = 60.0
_log = logging.getLogger(__name__)


class ClosingSink(Protocol):
    """A sink that holds something open."""

    def __call__(self, report: Report) -> None:
        """Take a report."""

    def close(self) -> None:
        """Close it."""


class RetriedSink:
    """A sink that is opened at once, and again while it cannot be.

    Not in flight: an attempt may wait for a name server. The log has each change of the reason. A
    missing output must not leave a pack unguarded, so that it is no error of the service.

    Args:
        name: of the output, for the log.
        make: opens it; may raise OSError and DroneBmsError.
    """

    def __init__(self, name: str, make: Callable[[], ClosingSink]) -> None:
        self._name = name
        self._make = make
        self._sink: ClosingSink | None = None
        self._reason = ""
        self._due_s = -math.inf
        self._delay_s = _FIRST_S
        self._open()

    def __call__(self, report: Report) -> None:
        """Pass the report on; try to open the sink if that is due."""
        if self._sink is None and not report.flying and report.t_s >= self._due_s:
            if self._due_s > -math.inf:
                self._open()
            self._due_s = report.t_s + self._delay_s
            self._delay_s = min(2 * self._delay_s, _LAST_S)
        if self._sink is not None:
            self._sink(report)

    def close(self) -> None:
        """Close the sink."""
        if self._sink is not None:
            self._sink.close()

    def _open(self) -> None:
        try:
            self._sink = self._make()
        except (OSError, DroneBmsError) as error:
            reason = str(getattr(error, "strerror", None) or error)
            if reason != self._reason:
                self._reason = reason
                _log.error("no %s: %s; trying again on the ground", self._name, reason)
            return
        _log.info("%s", self._name)

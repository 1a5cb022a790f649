"""Logs the preflight verdict and the charging advice on the ground."""

import logging
import re

from dronebms.core.report import Report

_SETTLED_S = 3.0  # a verdict that lasts is logged
_log = logging.getLogger(__name__)


class PreflightLog:
    """A sink that logs what may be done with each pack: when that changes, and at arming."""

    def __init__(self) -> None:
        self._newest: dict[int, tuple[str, float]] = {}  # without its numbers, since when
        self._said: dict[int, str] = {}

    def __call__(self, report: Report) -> None:
        """Log what is new."""
        index, armed = report.index, report.vehicle.armed is True
        if report.flying and not armed:
            return
        verdict, advised = report.preflight, report.charging
        text = verdict.text if advised.storage_in_s is None else f"{verdict.text}; {advised.why}"
        words = "armed" if armed else re.sub(r"[\d.]+", "", text)
        if words != self._newest.get(index, ("", 0.0))[0]:
            self._newest[index] = words, report.t_s
        settled = armed or report.t_s - self._newest[index][1] >= _SETTLED_S
        if settled and self._said.get(index) != words:
            self._said[index] = words
            level = logging.INFO if verdict.go else logging.WARNING
            _log.log(level, "battery %d %s%s", index + 1, "is armed: " if armed else "", text)

# SPDX-License-Identifier: Apache-2.0
"""Logs the preflight verdict and the charging advice on the ground."""

import logging
import re

from dronebms.core.report import Report

_SETTLED_S = 3.0  # a verdict is logged once it has lasted
_log = logging.getLogger(__name__)


class PreflightLog:
    """A sink that logs the verdict of each pack when it changes, and at arming."""

    def __init__(self) -> None:
        self._newest: dict[int, tuple[str, float]] = {}  # text without its numbers, since when
        self._logged: dict[int, str] = {}

    def __call__(self, report: Report) -> None:
        """Log a change."""
        index = report.index
        armed = report.vehicle.armed is True
        if report.flying and not armed:
            return
        verdict = report.preflight
        charging = report.charging
        if verdict.temporary and not armed:
            return
        text = verdict.text
        if charging.do in ("reduce", "stop"):  # no storage advice: a full idle pack is to fly
            text += f"; charger: {charging.do}, {charging.why}"
        key = "armed" if armed else re.sub(r"[\d.]+", "", text)
        if key != self._newest.get(index, ("", 0.0))[0]:
            self._newest[index] = key, report.t_s
        settled = armed or report.t_s - self._newest[index][1] >= _SETTLED_S
        if settled and self._logged.get(index) != key:
            self._logged[index] = key
            level = logging.INFO if verdict.go else logging.WARNING
            _log.log(level, "battery %d %s%s", index + 1, "is armed: " if armed else "", text)

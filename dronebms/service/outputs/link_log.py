# SPDX-License-Identifier: Apache-2.0
"""Logs whether the MAVLink links work: at the start, and when that changes."""

import logging

from dronebms.core.report import Report

_log = logging.getLogger(__name__)


class LinkLog:
    """A sink that logs the trouble of each link, and when it is open.

    Args:
        url: of the link of the vehicle.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._logged: dict[str, str | None] = {}  # trouble by URL; None: the link works

    def __call__(self, report: Report) -> None:
        """Log what has changed."""
        vehicle = report.vehicle
        self._log(self._url, vehicle.link_trouble, "MAVLink")
        for link in vehicle.telemetry_links:
            self._log(link.url, link.trouble, "MAVLink telemetry")

    def _log(self, url: str, trouble: str | None, what: str) -> None:
        if self._logged.get(url, "") == trouble:
            return
        self._logged[url] = trouble
        if trouble is None:
            _log.info("sending %s to %s", what, url)
        else:
            _log.warning("%s: %s", what, trouble)

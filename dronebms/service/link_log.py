"""Logs whether the MAVLink link works: at the start, and when that changes."""

import logging

from dronebms.core.report import Report

_log = logging.getLogger(__name__)


class LinkLog:
    """A sink that logs the trouble of the link, and when it is open.

    Args:
        url: of the link.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._logged: str | None = ""  # trouble; None: the link works

    def __call__(self, report: Report) -> None:
        """Log a change."""
        trouble = report.vehicle.link_trouble
        if trouble == self._logged:
            return
        self._logged = trouble
        if trouble is None:
            _log.info("sending MAVLink to %s", self._url)
        else:
            _log.warning("MAVLink: %s", trouble)

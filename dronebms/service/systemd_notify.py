# SPDX-License-Identifier: Apache-2.0
"""Notifies systemd of readiness, state and liveness (sd_notify datagrams).

The watchdog is fed while the loop steps and every gauge that has answered in this run is polled. A
pack that is unplugged and an adapter that is missing do not stop the feeding, and neither does a
gauge that never answered: a restart would help none of them and would blind the others. Seconds.
Source: sd_notify(3), sd_watchdog_enabled(3).
"""

import os
import socket
from math import inf

from dronebms.core.report import Report

_STATUS_S = 1.0
_FEEDS = 3  # per timeout of the watchdog


class Notifier:
    """Sends to the socket of `NOTIFY_SOCKET`, if there is one. For one thread."""

    def __init__(self) -> None:
        name = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(0.0)
        is_watched = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        timeout_us = os.environ.get("WATCHDOG_USEC", "") if is_watched else ""
        self._feed_s = int(timeout_us) / 1e6 / _FEEDS if timeout_us.isdecimal() else inf
        self._fed_s = -inf
        self._status_s = -inf
        self._newest: dict[int, Report] = {}  # of each battery
        self._status = ""

    def notify(self, text: str) -> None:
        """Send a line such as STOPPING=1; a manager that does not read it is no error."""
        if self._address:
            try:
                self._socket.sendto(text.encode(), self._address)
            except OSError:
                pass

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def stepped(self, report: Report, *, stuck: bool) -> None:
        """Send what is due after a report of the loop; the first one makes the service ready.

        Args:
            report: of any battery.
            stuck: a gauge that has answered is not polled any more.
        """
        now_s = report.t_s
        self._newest[report.index] = report
        if self._status_s == -inf:
            self.notify("READY=1")
        if now_s - self._status_s >= _STATUS_S:
            self._status_s = now_s
            status = "; ".join(_state(self._newest[index]) for index in sorted(self._newest))
            if status != self._status:
                self._status = status
                self.notify(f"STATUS={status}")
        if not stuck and self._feed_s < inf and now_s - self._fed_s >= self._feed_s:
            self._fed_s = now_s
            self.notify("WATCHDOG=1")


def _state(report: Report) -> str:
    name = f"battery {report.index + 1}"
    if report.snapshot.voltage_v is None:
        return f"{name} does not answer"
    soc_pct = report.estimate.soc_pct
    charge = "charge unknown" if soc_pct is None else f"{soc_pct:.0f} %"
    return f"{name} {report.status.severity.label}, {charge}"

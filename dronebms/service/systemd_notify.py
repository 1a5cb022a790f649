"""What systemd is told of the service: ready, alive, in what state; by datagrams, or nobody.

Alive is more than running: the loop steps, and no gauge that was heard has stopped being asked.
A pack that is unplugged and an adapter that is missing are answers, and a gauge that was never
heard is not waited for: starting again would help none of them, and would blind the others.
Seconds. Source: sd_notify(3), sd_watchdog_enabled(3).
"""

import os
import socket
from math import inf

from dronebms.core.report import Report

_STATUS_S = 1.0
_FEEDS = 3  # in the time after which the watchdog bites


class Notifier:
    """Tells the socket of `NOTIFY_SOCKET`; without one it does nothing. For one thread."""

    def __init__(self) -> None:
        name = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._wire.settimeout(0.0)
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        bites_us = os.environ.get("WATCHDOG_USEC", "") if ours else ""
        self._feed_s = int(bites_us) / 1e6 / _FEEDS if bites_us.isdecimal() else inf
        self._fed_s = self._told_s = -inf
        self._states: dict[int, str] = {}
        self._status = ""

    def notify(self, text: str) -> None:
        """Send a line such as STOPPING=1; a manager that does not listen is no matter."""
        if self._address:
            try:
                self._wire.sendto(text.encode(), self._address)
            except OSError:
                pass

    def stepped(self, report: Report, *, stuck: bool) -> None:
        """Say that the loop has made a report: the first makes the service ready.

        Args:
            report: of any battery.
            stuck: a gauge that was heard is not asked any more.
        """
        now_s = report.t_s
        self._states[report.index] = _state(report)
        if self._told_s == -inf:
            self.notify("READY=1")
        if now_s - self._told_s >= _STATUS_S:
            self._told_s = now_s
            status = "; ".join(self._states[index] for index in sorted(self._states))
            if status != self._status:
                self._status = status
                self.notify(f"STATUS={status}")
        if not stuck and self._feed_s < inf and now_s - self._fed_s >= self._feed_s:
            self._fed_s = now_s
            self.notify("WATCHDOG=1")


def _state(report: Report) -> str:
    name = f"battery {report.index + 1}"
    if report.snapshot.voltage_v is None:
        return f"{name} not heard"
    soc_pct = report.estimate.soc_pct
    charge = "charge unknown" if soc_pct is None else f"{soc_pct:.0f} %"
    return f"{name} {report.status.severity.label}, {charge}"

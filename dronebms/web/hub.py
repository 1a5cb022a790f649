# SPDX-License-Identifier: Apache-2.0
"""What the viewers see: the newest state of the service, encoded once for all of them.

There is no queue: each viewer has a `Cursor`, takes what is newer than what it has, and a slow one
skips. Memory does not grow with the flight or with a stalled viewer. For one event loop.
"""

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field, replace

from dronebms.core.number_format import printable
from dronebms.core.report import Event, Report
from dronebms.presentation.trend import Trend
from dronebms.web.page_state import Data, blank, page_alarms, page_state, page_trends

PERIOD_S = 0.5
MAX_VIEWERS = 20
_TREND_EVERY = 10  # periods
_MAX_ALARMS = 50
_BLANK = "blank"
_STATE = "state"
_ALARMS = "alarms"
_TREND = "trend"


@dataclass(slots=True)
class Cursor:
    """What one viewer has: the version of each kind of message."""

    seen: dict[str, int] = field(default_factory=dict)


class Hub:
    """Receives reports and makes messages of server-sent events."""

    def __init__(self) -> None:
        self.viewers = 0
        self.closed = False  # the streams end
        self._reports: dict[int, Report] = {}
        self._trends: dict[int, Trend] = {}
        self._alarms: deque[Event] = deque(maxlen=_MAX_ALARMS)
        self._notice = ""
        self._messages: dict[str, tuple[int, bytes]] = {}  # version, message
        self._periods = 0
        self._changed = asyncio.Event()

    def receive(self, report: Report) -> None:
        """Store the newest report of a battery."""
        is_new = report.index not in self._reports
        self._reports[report.index] = report
        self._notice = ""
        self._trends.setdefault(report.index, Trend()).add(report)
        name = f"battery {report.index + 1}: " if len(self._reports) > 1 else ""
        self._alarms.extend(replace(e, text=name + e.text) for e in report.status.events)
        if report.status.events or _ALARMS not in self._messages:
            self._put(_ALARMS, page_alarms(self._alarms))
        if is_new:
            self._put(_BLANK, blank(self._newest()))

    def lose(self, why: str) -> None:
        """There is no service that can be read."""
        self._notice = printable(f"{why}, reconnecting")
        self._reports.clear()

    def join(self) -> None:
        """Count a viewer, which gets the state of now: without viewers there are no messages."""
        self.viewers += 1
        self._put_state()
        self._put_trends()

    def publish(self) -> None:
        """Make the messages of this period, if there is a viewer."""
        if self.viewers:
            self._put_state()
            if self._periods % _TREND_EVERY == 0:
                self._put_trends()
            self._periods += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def take(self, cursor: Cursor) -> bytes:
        """Messages that are newer than what a viewer has, in one piece; none: empty."""
        pieces = []
        for kind, (version, message) in self._messages.items():
            if cursor.seen.get(kind) != version:
                cursor.seen[kind] = version
                pieces.append(message)
        return b"".join(pieces)

    async def change(self) -> None:
        """Wait for the next period."""
        await self._changed.wait()

    def _newest(self) -> list[Report]:
        return [self._reports[index] for index in sorted(self._reports)]

    def _put_state(self) -> None:
        state: Data = page_state(self._newest()) if self._reports else {}
        self._put(_STATE, state | {"notice": self._notice})

    def _put_trends(self) -> None:
        rows = {index: page_trends(trend.points()) for index, trend in self._trends.items()}
        self._put(_TREND, rows)

    def _put(self, kind: str, data: object) -> None:
        version, _ = self._messages.get(kind, (0, b""))
        self._messages[kind] = version + 1, message(kind, data)


def message(kind: str, data: object) -> bytes:
    """A server-sent event; JSON in ASCII has no line end."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return f"event: {kind}\ndata: {text}\n\n".encode("ascii")

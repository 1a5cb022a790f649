# SPDX-License-Identifier: Apache-2.0
"""Signals of the service: SIGTERM and SIGINT end it, SIGHUP reloads the configuration.

A run with a controlling terminal was started by hand: there SIGHUP means that the terminal is lost,
and it ends the run. A signal that is ignored at the start stays ignored, as `nohup` and background
jobs of a shell expect. Source: termios(3), signal(7).
"""

import os
import signal
from types import FrameType
from typing import Any


def has_terminal() -> bool:
    """Whether the process has a controlling terminal."""
    try:
        file = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return False
    os.close(file)
    return True


class Signals:
    """Signals that were received and are handled between two steps of the loop.

    An exception from a handler could strike between two statements that belong together, such as
    those that write a block of a recording.

    Attributes:
        reloads: SIGHUP, until the reload is done.
        stops: those that end the service.
    """

    def __init__(self) -> None:
        self.reloads: list[int] = []
        self.stops: list[int] = []
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers = self.stops if has_terminal() else self.reloads
            signal.signal(signal.SIGHUP, lambda number, _: numbers.append(number))

    def collect_stops(self) -> None:
        """Collect SIGTERM and SIGINT from now on; a second one ends the service at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if before is signal.SIG_IGN:
                continue

            def stop(number: int, frame: FrameType | None, before: Any = before) -> None:  # noqa: ANN401 - a handler
                if self.stops and callable(before):
                    before(number, frame)
                self.stops.append(number)

            signal.signal(number, stop)

# SPDX-License-Identifier: Apache-2.0
"""Runs programs of the user: bus recovery (such as a USB port power cycle) and charger control.

Without a shell, in a thread of their own; a failure is logged and stops nothing.
"""

import logging
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Sequence

from dronebms.core.clock import Clock
from dronebms.core.report import Report

PERIOD_S = 60.0
LIMIT_S = 10.0
_log = logging.getLogger(__name__)


class UserProgram:
    """Starts a program, at most once in 60 s.

    Bus recovery passes it to `smartbattery.linux_bus.LinuxBus` as its `recover`.

    Args:
        command: the program and its arguments.
        clock: of the loop.
        limit_s: seconds of real time after which it is killed, with its child processes.
        why: reason for the log.
    """

    def __init__(
        self,
        command: Sequence[str],
        clock: Clock,
        limit_s: float = LIMIT_S,
        why: str = "a bus stays stuck",
    ) -> None:
        self._why = why
        self._command = tuple(command)
        self._clock = clock
        self._limit_s = limit_s
        self._began_s: float | None = None
        self._thread: threading.Thread | None = None

    def __call__(self) -> bool:
        """Start the program if it is due, without waiting; return whether it runs."""
        now_s = self._clock.now_s()
        if self._thread is not None and self._thread.is_alive():
            return True
        if self._began_s is not None and now_s - self._began_s < PERIOD_S:
            return False
        self._began_s = now_s
        self._thread = threading.Thread(target=self._run, name="program", daemon=True)
        self._thread.start()
        return True

    def _run(self) -> None:
        shown = shlex.join(self._command)
        _log.warning("%s: running %s", self._why, shown)
        try:
            code = self._code()
        except OSError as error:
            _log.error("%s cannot be run: %s", shown, error.strerror)
        except subprocess.TimeoutExpired:
            _log.error("%s was killed after %g s", shown, self._limit_s)
        else:
            level = logging.ERROR if code else logging.INFO
            _log.log(level, "%s ended with %d", shown, code)

    def _code(self) -> int:
        """Exit code of the program; its stderr is ours."""
        with subprocess.Popen(  # noqa: S603 - the user's own program, without a shell
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        ) as program:
            try:
                return program.wait(self._limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(program.pid, signal.SIGKILL)
                raise


class ChargerHook:
    """A sink that runs the user's program with `reduce` or `stop`, each once a minute at most.

    Never in flight, also while the link to the vehicle is silent: charger control must not disturb
    it, and a pack may be charged by regeneration.
    """

    def __init__(self, command: Sequence[str], clock: Clock) -> None:
        why = "the charger is regulated"
        self._programs = {
            do: UserProgram((*command, do), clock, why=why) for do in ("reduce", "stop")
        }

    def __call__(self, report: Report) -> None:
        """Run the program if it is due."""
        program = self._programs.get(report.charging.do)
        if program is not None and not report.flying:
            program()

# SPDX-License-Identifier: Apache-2.0
"""A terminal in raw mode on its alternate screen, restored to its former state on exit.

The terminal is restored when the context is left, which the signals that end a program cause, and
while the program is suspended (Ctrl-Z). The handlers of job control only note the signal, as it
may arrive in the middle of a write; `keys` acts on it.
"""

import os
import select
import signal
import termios
import threading
import tty
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import NoReturn

from rich.console import Console

REDRAW = "\f"  # Ctrl-L: the screen may show something else than what was drawn
_ESCAPE = "\x1b"
_CHUNK = 64  # bytes per read
_Handler = Callable[[int, FrameType | None], None]


class Terminal:
    """Context that takes a terminal.

    Args:
        console: where to draw.
        fd: terminal to read keys from; None or no terminal: no keys.
    """

    def __init__(self, console: Console, fd: int | None) -> None:
        self._console = console
        self._fd = fd if fd is not None and os.isatty(fd) else None
        self._taken = ExitStack()
        self._handlers = ExitStack()
        self._pending_signals: set[int] = set()

    @property
    def has_keys(self) -> bool:
        """Whether keys can be read."""
        return self._fd is not None

    def __enter__(self) -> "Terminal":
        """Take the terminal."""
        with ExitStack() as stack:
            if threading.current_thread() is threading.main_thread():
                for number in (signal.SIGTSTP, signal.SIGCONT):
                    _handle(stack, number, self._note)
                for number in (signal.SIGHUP, signal.SIGTERM):
                    _handle(stack, number, _exit)
            self._take()
            self._handlers = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the terminal; a terminal that no longer exists is ignored."""
        self._restore()
        self._handlers.close()

    def keys(self) -> str:
        """Keys pressed since the last call, without waiting."""
        if self._pending_signals:
            return self._resume()
        if self._fd is None or not select.select([self._fd], [], [], 0)[0]:
            return ""
        try:
            pressed = os.read(self._fd, _CHUNK).decode(errors="replace")
        except OSError:
            pressed = ""
        if not pressed:  # the terminal was closed
            self._fd = None
        return "" if pressed.startswith(_ESCAPE) else pressed.lower()

    def _resume(self) -> str:
        """Stop the process if Ctrl-Z was pressed; afterwards take the terminal again."""
        self._restore()
        if signal.SIGTSTP in self._pending_signals:
            os.kill(os.getpid(), signal.SIGSTOP)
        self._pending_signals.clear()
        self._take()
        return REDRAW

    def _take(self) -> None:
        with ExitStack() as stack:
            stack.enter_context(self._console.screen())
            if self._fd is not None:
                before = termios.tcgetattr(self._fd)
                stack.callback(termios.tcsetattr, self._fd, termios.TCSANOW, before)
                tty.setcbreak(self._fd, termios.TCSANOW)
            self._taken = stack.pop_all()

    def _restore(self) -> None:
        try:
            self._taken.close()
        except (OSError, termios.error):
            pass  # the terminal was closed

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._pending_signals.add(number)


def _exit(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _handle(stack: ExitStack, number: int, handler: _Handler) -> None:
    """Handle a signal that has its default action, until the stack is closed."""
    if signal.getsignal(number) is signal.SIG_DFL:
        stack.callback(signal.signal, number, signal.signal(number, handler))

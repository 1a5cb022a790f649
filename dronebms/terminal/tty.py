"""A terminal that is borrowed: its other screen, its keys one by one, and given back as it was.

It is given back by leaving the context, which the signals that end a program make happen, and
while a program is suspended (Ctrl-Z). Signal handlers only leave a note, as one may come in the
middle of a write; `keys` acts on it. Units: none.
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

REDRAW = "\f"  # Ctrl-L: what stands on the screen may not be what was drawn there
_ESCAPE = "\x1b"
_PIECE = 64  # bytes that are read at once
_Handler = Callable[[int, FrameType | None], None]


class Terminal:
    """Takes a terminal on entering; without keys where `fd` is none or nobody's.

    Args:
        console: where is drawn.
        fd: of the terminal that keys come from.
    """

    def __init__(self, console: Console, fd: int | None) -> None:
        self._console = console
        self._fd = fd if fd is not None and os.isatty(fd) else None
        self._taken = ExitStack()
        self._handlers = ExitStack()
        self._noted: set[int] = set()

    @property
    def has_keys(self) -> bool:
        """Return whether somebody can press one."""
        return self._fd is not None

    def __enter__(self) -> "Terminal":
        """Take it."""
        with ExitStack() as stack:
            if threading.current_thread() is threading.main_thread():
                for number in (signal.SIGTSTP, signal.SIGCONT):
                    _handle(stack, number, self._note)
                for number in (signal.SIGHUP, signal.SIGTERM):
                    _handle(stack, number, _leave)
            self._take()
            self._handlers = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back; one that has gone away needs nothing."""
        self._give_back()
        self._handlers.close()

    def keys(self) -> str:
        """Return what was pressed since the last call, without waiting."""
        if self._noted:
            return self._resumed()
        if self._fd is None or not select.select([self._fd], [], [], 0)[0]:
            return ""
        try:
            pressed = os.read(self._fd, _PIECE).decode(errors="replace")
        except OSError:
            pressed = ""
        if not pressed:  # whoever pressed them has gone
            self._fd = None
        return "" if pressed.startswith(_ESCAPE) else pressed.lower()

    def _resumed(self) -> str:
        """Stop if that was asked for, and take the terminal again, as a shell has had it."""
        self._give_back()
        if signal.SIGTSTP in self._noted:
            os.kill(os.getpid(), signal.SIGSTOP)
        self._noted.clear()
        self._take()
        return REDRAW

    def _take(self) -> None:
        with ExitStack() as stack:
            stack.enter_context(self._console.screen())
            if self._fd is not None:
                was = termios.tcgetattr(self._fd)
                stack.callback(termios.tcsetattr, self._fd, termios.TCSANOW, was)
                tty.setcbreak(self._fd, termios.TCSANOW)
            self._taken = stack.pop_all()

    def _give_back(self) -> None:
        try:
            self._taken.close()
        except (OSError, termios.error):
            pass

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted.add(number)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _handle(stack: ExitStack, number: int, handler: _Handler) -> None:
    """Handle a signal that nobody else handles or ignores, until the stack is closed."""
    if signal.getsignal(number) is signal.SIG_DFL:
        stack.callback(signal.signal, number, signal.signal(number, handler))

# SPDX-License-Identifier: Apache-2.0
"""The display on a real pseudo-terminal, read by an independent terminal emulator (pyte)."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pyte
import pytest
from rich.console import Console

from dronebms.presentation.trend import Trend, charts
from dronebms.terminal.layout import View, render
from dronebms.terminal.lines import Canvas
from tests.scenes import EVENTS, FLYING, LINK

ROOT = Path(__file__).parents[2]
VIEWER = """
import os, sys
from dataclasses import replace
from dronebms.core.clock import SystemClock
from dronebms.core.report import Status
from dronebms.terminal.display import Display
from tests.scenes import EVENTS, FLYING, LINK

os.close(os.open(os.ttyname(0), os.O_RDWR))  # a session's first terminal is its own
clock = SystemClock()
with Display(clock, link=lambda: LINK) as screen:
    screen(replace(FLYING, status=replace(FLYING.status, events=EVENTS)))
    while not screen.closed:
        screen(FLYING)
        if "raise" in sys.argv:
            raise RuntimeError("test")
        clock.sleep_until(clock.now_s() + 0.02)
"""
TIMEOUT_S = 20.0


class Session:
    """A viewer's process on a terminal of its own, and the screen of that terminal."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        self.ours, self.theirs = pty.openpty()
        self.shown = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self.shown)
        self.sent = b""
        self.resize(80, 24)
        self.before = termios.tcgetattr(self.theirs)
        common = os.environ | {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
        for name in ("COLUMNS", "LINES", "NO_COLOR", "LC_ALL", "LC_CTYPE"):
            common.pop(name, None)
        self.child = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-c", VIEWER, *arguments],
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            env=common | {"LANG": "C.UTF-8"} | environ,
            start_new_session=True,
        )

    def resize(self, width: int, height: int) -> None:
        """Resize the terminal, as a window manager does."""
        self.shown.resize(height, width)
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("4H", height, width, 0, 0))

    def press(self, keys: str) -> None:
        """Type keys."""
        os.write(self.ours, keys.encode())

    def until(self, condition: Callable[[], bool]) -> None:
        """Read the output until a condition holds."""
        end_s = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < end_s, "\n".join(self.shown.display)
            if select.select([self.ours], [], [], 0.02)[0]:
                piece = os.read(self.ours, 65536)
                self.sent += piece
                self._stream.feed(piece)

    def until_shown(self, text: str) -> None:
        """Read the output until a text is on the screen."""
        self.until(lambda: text in "\n".join(self.shown.display))

    def exit_code(self) -> int:
        """Exit code of the child, after all its output."""
        self.until(lambda: self.child.poll() is not None)
        while select.select([self.ours], [], [], 0)[0]:
            self.sent += os.read(self.ours, 65536)
        return self.child.returncode

    def close(self) -> None:
        """Kill the child and close the terminal."""
        self.child.kill()
        self.child.wait()
        for end in (self.ours, self.theirs):
            with suppress(OSError):
                os.close(end)


@contextmanager
def viewer(*arguments: str, **environ: str) -> Iterator[Session]:
    session = Session(*arguments, **environ)
    try:
        yield session
    finally:
        session.close()


def whole(width: int, height: int, page: str = "") -> list[str]:
    """The expected screen."""
    trend = Trend()
    trend.add(FLYING)
    view = View(LINK, "h: help  00:12:31", page, charts=charts(trend.points()))
    drawn = render([FLYING], EVENTS, canvas=Canvas(width, height), view=view)
    lines = Console(width=width, color_system=None).render_lines(drawn)
    return ["".join(part.text for part in line) for line in lines]


def test_the_terminal_shows_the_screen_after_every_key_and_at_any_size() -> None:
    with viewer() as session:
        session.until(lambda: session.shown.display == whole(80, 24))
        for key, page in (("c", "cells"), ("l", "log"), ("?", "help"), ("h", ""), ("\x1b[A", "")):
            session.press(key)
            expected = whole(80, 24, page)
            session.until(partial(_shows, session, expected))
        session.resize(120, 35)
        session.until(lambda: session.shown.display == whole(120, 35))
        session.press("p")
        session.until_shown("PAUSED for 0:0")
        session.until_shown("PAUSED for 0:01, p: resume")
        assert session.shown.display[1:] == whole(120, 35)[1:]
        session.press("p")
        session.until(lambda: session.shown.display == whole(120, 35))


def _shows(session: Session, lines: list[str]) -> bool:
    return session.shown.display == lines


@pytest.mark.parametrize("colour", ["", "1"], ids=["colour", "no_color"])
def test_without_colour_the_text_is_the_same(colour: str) -> None:
    with viewer(NO_COLOR=colour) as session:
        session.until(lambda: session.shown.display == whole(80, 24))
        colours = {cell.fg for row in session.shown.buffer.values() for cell in row.values()}
        assert (colours == {"default"}) == bool(colour)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("q", 0),
        ("Q", 0),
        ("\x03", -signal.SIGINT),
        (signal.SIGTERM, 0),
        (signal.SIGHUP, 0),
        ("raise", 1),
    ],
    ids=str,
)
def test_the_terminal_is_restored_on_every_exit(how: signal.Signals | str, code: int) -> None:
    with viewer(str(how)) as session:
        if how != "raise":
            session.until_shown("home:")
        if isinstance(how, signal.Signals):
            session.child.send_signal(how)
        elif how != "raise":
            assert termios.tcgetattr(session.theirs) != session.before
            session.press(how)
        assert session.exit_code() == code
        assert termios.tcgetattr(session.theirs) == session.before
        for taken, restored in ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h")):
            assert 0 <= session.sent.rfind(taken) < session.sent.rfind(restored)
        assert b"home:" not in session.sent[session.sent.rfind(b"\x1b[?1049l") :]


def test_a_suspended_viewer_restores_the_terminal_and_redraws_when_it_continues() -> None:
    with viewer() as session:
        session.until_shown("home:")
        session.press("\x1a")  # Ctrl-Z
        session.until(lambda: os.WIFSTOPPED(_change_of(session.child.pid)))
        session.until(lambda: b"\x1b[?1049l" in session.sent)
        assert termios.tcgetattr(session.theirs) == session.before
        session.shown.reset()
        session.child.send_signal(signal.SIGCONT)
        session.until(lambda: session.shown.display == whole(80, 24))
        assert termios.tcgetattr(session.theirs) != session.before
        session.press("q")
        assert session.exit_code() == 0
        assert termios.tcgetattr(session.theirs) == session.before


def _change_of(pid: int) -> int:
    return os.waitpid(pid, os.WNOHANG | os.WUNTRACED)[1]


def test_a_closed_terminal_ends_the_viewer() -> None:
    with viewer() as session:
        session.until_shown("home:")
        os.close(session.theirs)
        os.close(session.ours)
        assert session.child.wait(TIMEOUT_S) == 0

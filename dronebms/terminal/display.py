# SPDX-License-Identifier: Apache-2.0
"""The terminal display as a sink of reports: a screen, or sentences for a screen reader.

`layout` draws, `Display` decides when. Only the stretches that changed are sent: whole screens
twice a second, as `rich.live.Live` sends them, are 6 kB/s, too much for a drone's radio link.
"""

import errno
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf

from rich.console import Console
from rich.segment import Segment

from dronebms.core.clock import Clock
from dronebms.core.number_format import clock_text, duration, printable
from dronebms.core.report import Event, Report, Severity
from dronebms.presentation.cells import weakest_cell
from dronebms.presentation.phrases import expired
from dronebms.presentation.trend import Chart, Trend, charts
from dronebms.terminal.layout import PAGES, View, render
from dronebms.terminal.lines import Canvas
from dronebms.terminal.screen_reader import sentences
from dronebms.terminal.tty import REDRAW, Terminal

_REDRAW_S = 0.5
_PLAIN_S = 1.0
_WHOLE_EVERY = 60  # screens: repairs what another program has written there
_MAX_EVENTS = 200
_STDIN_FD = 0
_WEAKEST_SAMPLES = 4  # the named cell, and three samples _PLAIN_S apart: two seconds
_SHORT_GAP = 8  # unchanged columns that are sent along: moving the cursor costs as much
_TERMINAL_CLOSED = (errno.EIO, errno.ENXIO, errno.ENODEV)


@dataclass(frozen=True, slots=True)
class _Paused:
    """State of the display at the pause; `at_s` is of the viewer's clock."""

    at_s: float
    reports: tuple[Report, ...]
    events: tuple[Event, ...]
    charts: tuple[Chart, ...]


class Display:
    """A sink that draws on the alternate screen and restores the terminal on every exit.

    With `plain`, on a pipe, or on a terminal that cannot move its cursor it writes sentences
    instead: changes once a second, alarms at once. `closed` becomes true when the user quits or
    the terminal is closed; the caller ends then.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        console: Console | None = None,
        link: Callable[[], str | None] = lambda: "",
        plain: bool = False,
        bell: bool = False,
        keys_fd: int | None = None,
    ) -> None:
        """Prepare; nothing is written before the context is entered.

        Args:
            clock: the viewer's, which limits the redrawing; not the flight's.
            console: where to draw; None is standard output, with keys from standard input.
            link: returns the URL of the autopilot's link; None: no link, "": unknown.
            plain: write sentences for a screen reader instead of a screen.
            bell: ring the terminal's bell once when the severity rises to a warning or above.
            keys_fd: the terminal to read keys from when `console` is given.
        """
        self.closed = False
        self._clock = clock
        self._console = Console(highlight=False) if console is None else console
        self._link = link
        self._terminal = Terminal(self._console, _STDIN_FD if console is None else keys_fd)
        self._reports: dict[int, Report] = {}
        self._events: deque[Event] = deque(maxlen=_MAX_EVENTS)
        self._trends: dict[int, Trend] = {}
        self._bell = bell and self._console.is_terminal
        self._alarms = 0  # since the pause
        self._paused: _Paused | None = None
        self._page = ""
        self._drawn_s = -inf
        self._shown: list[list[Segment]] = []
        self._canvas: Canvas | None = None
        self._screens = 0
        self._sentences: dict[int, tuple[str, ...]] = {}
        self._weakest: dict[int, list[int | None]] = {}  # the named cell, then the last samples
        moves_cursor = self._console.is_terminal and not self._console.is_dumb_terminal
        self._plain = plain or not moves_cursor
        self._interval_s = _PLAIN_S if self._plain else _REDRAW_S
        self._ascii_only = self._console.options.ascii_only or _is_c_locale(os.environ)

    def __enter__(self) -> "Display":
        """Take the terminal."""
        if not self._plain:
            self._terminal.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the terminal."""
        self._terminal.__exit__()

    def __call__(self, report: Report) -> None:
        """Store the newest report of a battery, and draw when it is due."""
        before = self._severity()
        self._reports[report.index] = report
        if self._bell and self._severity() > max(before, Severity.INFO):
            self._ring()
        if not self._plain:
            self._trends.setdefault(report.index, Trend()).add(report)
        name = f"battery {report.index + 1}: " if len(self._reports) > 1 else ""
        for event in report.status.events:
            self._events.append(replace(event, text=name + event.text))
            self._alarms += event.tripped
            if self._plain:
                self._write_sentence(report, event.text)
        now_s = self._clock.now_s()
        due = now_s - self._drawn_s >= self._interval_s
        if self._plain:
            if due:
                self._drawn_s = now_s
                self._write_changes()
            return
        keys = self._terminal.keys()
        for key in keys:
            self._press(key, now_s)
        canvas = Canvas(*self._console.size, ascii_only=self._ascii_only)
        if self.closed or not (due or keys or canvas != self._canvas):
            return
        self._drawn_s = now_s
        self._unless_closed(lambda: self._draw(canvas, now_s))

    def _ring(self) -> None:
        def ring() -> None:
            self._console.file.write("\a")
            self._console.file.flush()

        self._unless_closed(ring)

    def _unless_closed(self, write: Callable[[], None]) -> None:
        """Write to the terminal; one that was closed ends the display."""
        try:
            write()
        except OSError as error:
            if error.errno not in _TERMINAL_CLOSED:
                raise
            self.closed = True

    def _press(self, key: str, now_s: float) -> None:
        if key == "q":
            self.closed = True
        elif key == REDRAW:
            self._shown = []
        elif key == "p":
            paused = _Paused(now_s, self._newest(), tuple(self._events), self._charts())
            self._paused = paused if self._paused is None else None
            self._alarms = 0
        elif key in PAGES:
            self._page = PAGES[key] if self._page != PAGES[key] else ""

    def _severity(self) -> Severity:
        """The worst severity of all batteries."""
        reports = self._reports.values()
        return max((report.status.severity for report in reports), default=Severity.OK)

    def _newest(self) -> tuple[Report, ...]:
        return tuple(self._reports[index] for index in sorted(self._reports))

    def _charts(self) -> tuple[Chart, ...]:
        """Trends of the first battery."""
        return charts(self._trends[min(self._trends)].points())

    def _draw(self, canvas: Canvas, now_s: float) -> None:
        console = self._console
        paused = self._paused
        if canvas != self._canvas or self._screens % _WHOLE_EVERY == 0:
            self._shown = []
        self._canvas = canvas
        self._screens += 1
        reports = self._newest() if paused is None else paused.reports
        events = tuple(self._events) if paused is None else paused.events
        drawn = render(reports, events, canvas=canvas, view=self._view(reports, now_s))
        lines = console.render_lines(drawn, pad=True)
        with console:  # one write for all lines
            for y, line in enumerate(lines):
                before = self._shown[y] if y < len(self._shown) else []
                for x, segments in _changes(line, before):
                    console.update_screen_lines([segments], x, y)
        self._shown = lines

    def _view(self, reports: tuple[Report, ...], now_s: float) -> View:
        clock = clock_text(max(report.t_s for report in reports))
        if self._terminal.has_keys:
            clock = f"h: help  {clock}"
        if self._paused is not None:
            alarms = f", new alarms: {self._alarms}" if self._alarms else ""
            clock = f"PAUSED for {duration(now_s - self._paused.at_s)}{alarms}, p: resume"
        paused = self._paused
        drawn = self._charts() if paused is None else paused.charts
        return View(self._link(), clock, self._page, is_loud=paused is not None, charts=drawn)

    def _write_changes(self) -> None:
        now_s = max(report.t_s for report in self._reports.values())
        for newest in self._newest():
            report = expired(newest, now_s)
            cell = weakest_cell(report)
            cells = self._weakest.get(report.index, [cell] * _WEAKEST_SAMPLES)
            named = cell if {*cells[2:], cell} == {cell} else cells[0]
            self._weakest[report.index] = [named, *cells[2:], cell]
            new = sentences(report, named)
            old = self._sentences.get(report.index, ())
            changed = [text for k, text in enumerate(new) if old[k : k + 1] != (text,)]
            if changed:
                self._write_sentence(report, ", ".join(changed))
            self._sentences[report.index] = new

    def _write_sentence(self, report: Report, text: str) -> None:
        # Not `console.print`, which turns a closed pipe into an exit code.
        line = f"{duration(report.t_s)} battery {report.index + 1}: {text}."
        self._console.file.write(printable(line, ascii_only=self._ascii_only) + "\n")
        self._console.file.flush()


def _changes(line: list[Segment], before: list[Segment]) -> Iterator[tuple[int, list[Segment]]]:
    """Yield the column and the new content of each stretch of a line that changed."""
    old = [(char, segment.style) for segment in before for char in segment.text]
    new = [(char, segment.style) for segment in line for char in segment.text]
    if len(old) != len(new) or Segment.get_line_length(line) != len(new):
        yield 0, line  # another size, or characters that are not one column wide
        return
    stretches: list[tuple[int, int]] = []
    for x in (x for x in range(len(new)) if new[x] != old[x]):
        if stretches and x - stretches[-1][1] <= _SHORT_GAP:
            stretches[-1] = stretches[-1][0], x
        else:
            stretches.append((x, x))
    for first, last in stretches:
        changed = (Segment(char, style) for char, style in new[first : last + 1])
        yield first, list(Segment.simplify(changed))


def _is_c_locale(environ: Mapping[str, str]) -> bool:
    # Python reads such a locale as UTF-8; the terminal that it was set for may not.
    chosen = (environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    return next(filter(None, chosen), "") in {"C", "POSIX"}

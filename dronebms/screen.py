"""The terminal display: can I still get home, what limits me, and how fresh is all that.

`render` is a pure function of frozen reports; `Screen` is a sink that owns the terminal. Only
what has changed is sent: a whole picture twice a second, as `rich.live.Live` sends it, is 6 kB/s,
too much for the radio link that a drone is often reached by.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.segment import Segment
from rich.text import Text

from dronebms import screen_parts as parts
from dronebms.clock import Clock
from dronebms.estimator import Estimate
from dronebms.monitor import Report
from dronebms.protection import Event, Status
from dronebms.screen_parts import Frame
from dronebms.spoken import event_sentence, sentences
from dronebms.textline import ASCII, SILENT_S, UNICODE, cells_heading, clock_text, duration

_REDRAW_S = 0.5
_PLAIN_S = 1.0
_WHOLE_EVERY = 60  # pictures: heals what something else has written on the screen
_EVENTS_KEPT = 20
_BIG_WIDTH, _BIG_HEIGHT = 72, 22
_FIXED_ROWS = 3  # the link, the heading of the cells, the newest event
_EXTRAS = 5
_CELL_ROWS = 8  # as many as they get before anything extra
_SHORT_GAP = 8  # columns that are sent along: moving the cursor costs as much
_UNPRINTABLE = "?"


@dataclass(frozen=True, slots=True)
class Canvas:
    """The place there is, in columns and lines, and what it can show."""

    width: int
    height: int
    ascii_only: bool = False


def render(
    reports: Sequence[Report],
    events: Sequence[Event] = (),
    *,
    canvas: Canvas,
    link: str | None = None,
    now: str | None = None,
) -> RenderableType:
    """Return a picture that fills the canvas exactly.

    Args:
        reports: the newest of each battery; the first is shown in full, each other on one line.
        events: what tripped and cleared, oldest first; the newest are shown.
        canvas: the place there is.
        link: the way to the flight controller, as its URL; None is no link.
        now: the clock to show.
    """
    frame = Frame(
        now_s=max((report.t_s for report in reports), default=0.0),
        width=canvas.width,
        height=canvas.height,
        glyphs=ASCII if canvas.ascii_only else UNICODE,
        link=link,
        clock=now,
    )
    lines = [Text(" waiting for the battery")]
    if reports:
        lines = _compose([_expired(report, frame.now_s) for report in reports], events, frame)
    lines = lines[: canvas.height] + [Text()] * (canvas.height - len(lines))
    return Group(*(_fitted(line, canvas) for line in lines))


def _expired(report: Report, now_s: float) -> Report:
    """Return a report as it stands now: of one that is old, nothing is known any more."""
    if now_s - report.t_s <= SILENT_S:
        return report
    return replace(
        report,
        snapshot=report.snapshot.at(now_s),
        estimate=Estimate(now_s),
        status=Status(now_s),
    )


def _compose(reports: Sequence[Report], events: Sequence[Event], frame: Frame) -> list[Text]:
    first, *others = reports
    answers = [
        parts.title_line(first, frame),
        parts.home_line(first, frame),
        parts.limit_line(first),
        parts.state_line(first, frame),
        *(parts.other_line(other, frame) for other in others),
    ]
    big = frame.width >= _BIG_WIDTH and frame.height >= _BIG_HEIGHT
    left = parts.time_lines(first, frame.glyphs, big=big)
    readings = parts.reading_lines(first, frame)
    link = parts.vehicle_line(first, frame)
    heading = parts.rule(cells_heading(first, frame.now_s), frame)
    room = frame.height - len(answers) - len(left) - len(readings) - _FIXED_ROWS
    cells = parts.cell_lines(first, min(room, max(_CELL_ROWS, room - _EXTRAS)), frame)
    # What else there is room for, by its worth: a second event, air, more figures.
    _, air_above, air_below, figures, title = (room - len(cells) > n for n in range(_EXTRAS))
    lines = [
        *answers,
        *[Text()] * air_above,
        *left,
        *[Text()] * air_below,
        *readings,
        *[parts.allowance_line(first)] * figures,
        link,
        heading,
        *cells,
        *[parts.rule("alarms", frame)] * title,
    ]
    newest = list(events)[-max(frame.height - len(lines), 1) :]
    alarms = [parts.event_line(event, frame) for event in newest]
    return lines + (alarms or [Text(" no alarm has come up")])


def _fitted(line: Text, canvas: Canvas) -> Text:
    """Return a line that cannot harm the picture, whatever a gauge calls itself."""
    if line.plain != (safe := _printable(line.plain, ascii_only=canvas.ascii_only)):
        line.plain = safe
    line.truncate(canvas.width, overflow="crop" if canvas.ascii_only else "ellipsis")
    line.no_wrap = True
    return line


def _printable(text: str, *, ascii_only: bool) -> str:
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _UNPRINTABLE for c in text)
    if ascii_only and not text.isascii():
        text = text.encode("ascii", "replace").decode("ascii")
    return text


class Screen:
    """A sink that draws on the alternate screen and gives the terminal back, however it is left.

    When asked to be plain, on a pipe, or on a terminal that cannot place its cursor it writes
    sentences instead: once a second what has changed, and alarms at once.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        console: Console | None = None,
        link: Callable[[], str | None] = lambda: None,
        plain: bool = False,
    ) -> None:
        """Prepare; nothing is written before the context is entered.

        Args:
            clock: the viewer's own, which limits the redrawing; not the flight's.
            console: where to draw; None is standard output.
            link: says over what the flight controller is reached.
            plain: sentences that a screen reader can speak, no picture.
        """
        self._clock = clock
        self._console = Console(highlight=False) if console is None else console
        self._link = link
        self._reports: dict[int, Report] = {}
        self._events: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        self._drawn_s: float | None = None
        self._shown: list[list[Segment]] = []
        self._canvas: Canvas | None = None
        self._pictures = 0
        self._restore = ExitStack()
        self._said: dict[int, tuple[str, ...]] = {}
        places_cursor = self._console.is_terminal and not self._console.is_dumb_terminal
        self._plain = plain or not places_cursor
        self._interval_s = _PLAIN_S if self._plain else _REDRAW_S
        self._ascii_only = self._console.options.ascii_only or _is_c_locale(os.environ)

    def __enter__(self) -> "Screen":
        """Take the terminal."""
        if not self._plain:
            self._restore.enter_context(self._console.screen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back; one that has gone away needs nothing."""
        with suppress(OSError):
            self._restore.close()

    def __call__(self, report: Report) -> None:
        """Keep the newest report of a battery, and draw when it is time."""
        self._reports[report.index] = report
        self._events.extend(report.status.events)
        if self._plain:
            for event in report.status.events:
                self._say(report, event_sentence(event))
        now_s = self._clock.now_s()
        if self._drawn_s is not None and now_s - self._drawn_s < self._interval_s:
            return
        self._drawn_s = now_s
        if self._plain:
            self._speak()
        else:
            self._draw()

    def _speak(self) -> None:
        now_s = max(report.t_s for report in self._reports.values())
        for index in sorted(self._reports):
            report = _expired(self._reports[index], now_s)
            new, old = sentences(report), self._said.get(index, ())
            changed = [text for k, text in enumerate(new) if old[k : k + 1] != (text,)]
            if changed:
                self._say(report, ", ".join(changed))
            self._said[index] = new

    def _say(self, report: Report, text: str) -> None:
        # Not `console.print`, which makes a closed pipe an exit code.
        line = f"{duration(report.t_s)} battery {report.index + 1}: {text}."
        self._console.file.write(_printable(line, ascii_only=self._ascii_only) + "\n")
        self._console.file.flush()

    def _draw(self) -> None:
        console = self._console
        canvas = Canvas(*console.size, ascii_only=self._ascii_only)
        if canvas != self._canvas or self._pictures % _WHOLE_EVERY == 0:
            self._shown = []
        self._canvas = canvas
        self._pictures += 1
        reports = [self._reports[index] for index in sorted(self._reports)]
        picture = render(
            reports,
            self._events,
            canvas=canvas,
            link=self._link(),
            now=clock_text(max(report.t_s for report in reports)),
        )
        lines = console.render_lines(picture, pad=True)
        with console:  # one write for all lines
            for y, line in enumerate(lines):
                before = self._shown[y] if y < len(self._shown) else []
                for x, segments in _changes(line, before):
                    console.update_screen_lines([segments], x, y)
        self._shown = lines


def _changes(line: list[Segment], before: list[Segment]) -> Iterator[tuple[int, list[Segment]]]:
    """Yield the column and the new content of each stretch of a line that differs."""
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

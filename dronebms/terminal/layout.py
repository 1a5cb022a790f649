"""One picture of the display, a pure function of frozen reports that fills its canvas exactly.

Whatever page is looked at, it begins with the answers: can I still get home, and what limits me.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Group, RenderableType
from rich.text import Text

from dronebms.core.format import printable
from dronebms.core.report import Estimate, Event, Report, Status
from dronebms.terminal import widgets
from dronebms.terminal.labels import ASCII, HELP, UNICODE
from dronebms.terminal.phrases import SILENT_S, cells_heading
from dronebms.terminal.widgets import Frame

_BIG_WIDTH, _BIG_HEIGHT = 72, 22
_FIXED_ROWS = 3  # the link, the heading of the cells, the newest event
_EXTRAS = 5
_CELL_ROWS = 8  # as many as they get before anything extra

PAGES = {"c": "cells", "l": "log", "h": "help", "?": "help"}


@dataclass(frozen=True, slots=True)
class Canvas:
    """The place there is, in columns and lines, and what it can show."""

    width: int
    height: int
    ascii_only: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """How somebody looks at the batteries."""

    link: str | None = None  # URL of the flight controller's; None is no link, "" not known
    clock: str = ""  # at the right of the first line, with what else stands there
    page: str = ""  # one of PAGES
    is_loud: bool = False  # the clock says something that must not be overlooked


def render(
    reports: Sequence[Report], events: Sequence[Event] = (), *, canvas: Canvas, view: View
) -> RenderableType:
    """Return a picture that fills the canvas exactly.

    Args:
        reports: the newest of each battery; the first is shown in full, each other on one line.
        events: what tripped and cleared, oldest first; the newest are shown.
        canvas: the place there is.
        view: how it is looked at.
    """
    frame = Frame(
        now_s=max((report.t_s for report in reports), default=0.0),
        width=canvas.width,
        height=canvas.height,
        glyphs=ASCII if canvas.ascii_only else UNICODE,
        link=view.link,
        clock=Text(f" {view.clock} ", "bold reverse" if view.is_loud else "bold"),
    )
    lines = [Text(" waiting for the battery")]
    if reports:
        now = [expired(report, frame.now_s) for report in reports]
        lines = _answers(now, frame) + _page(now, events, view.page, frame)
    lines = lines[: canvas.height] + [Text()] * (canvas.height - len(lines))
    return Group(*(_fitted(line, canvas) for line in lines))


def expired(report: Report, now_s: float) -> Report:
    """Return a report as it stands now: of one that is old, nothing is known any more."""
    if now_s - report.t_s <= SILENT_S:
        return report
    old = report.snapshot.at(now_s)
    return replace(report, snapshot=old, estimate=Estimate(now_s), status=Status(now_s))


def _answers(reports: Sequence[Report], frame: Frame) -> list[Text]:
    first, *others = reports
    return [
        widgets.title_line(first, frame),
        widgets.home_line(first, frame),
        widgets.limit_line(first),
        widgets.state_line(first, frame),
        *(widgets.other_line(other, frame) for other in others),
    ]


def _page(
    reports: Sequence[Report], events: Sequence[Event], page: str, frame: Frame
) -> list[Text]:
    frame = replace(frame, height=frame.height - _FIXED_ROWS - len(reports))
    if page == "help":
        marks = [f"{mark} {severity.label}" for severity, mark in frame.glyphs.marks.items()]
        said = (*HELP, f"Signs: {', '.join(marks)}.")
        return [widgets.rule("help", frame), *(Text(f" {line}") for line in said)]
    if page == "log":
        newest = events[-max(frame.height - 1, 1) :]
        heading = f"log: the newest {len(newest)} of {len(events)} kept"
        return [widgets.rule(heading, frame), *_events(newest, frame)]
    if page == "cells":
        share = frame.height // len(reports) - 1  # each has a heading
        lines = []
        for report in reports:
            name = "" if len(reports) == 1 else f"battery {report.index + 1} "
            lines.append(
                widgets.rule(name + cells_heading(report, frame.now_s, frame.glyphs), frame)
            )
            lines += widgets.cell_lines(report, share, frame, exact=True)
        if len(lines) > frame.height:
            lines[max(frame.height - 1, 0) :] = [Text(" more cells than fit here", "bold")]
        return lines
    return _overview(reports[0], events, frame)


def _overview(report: Report, events: Sequence[Event], frame: Frame) -> list[Text]:
    total = frame.height + _FIXED_ROWS + 1  # of the screen, as far as this battery has it
    big = frame.width >= _BIG_WIDTH and total >= _BIG_HEIGHT
    left = widgets.time_lines(report, frame.glyphs, big=big)
    readings = widgets.reading_lines(report, frame)
    heading = widgets.rule(cells_heading(report, frame.now_s, frame.glyphs), frame)
    room = frame.height - len(left) - len(readings) - _FIXED_ROWS
    cells = widgets.cell_lines(report, min(room, max(_CELL_ROWS, room - _EXTRAS)), frame)
    # What else there is room for, by its worth: a second event, air, more figures.
    _, air_above, air_below, figures, title = (room - len(cells) > n for n in range(_EXTRAS))
    lines = [
        *[Text()] * air_above,
        *left,
        *[Text()] * air_below,
        *readings,
        *[widgets.allowance_line(report)] * figures,
        widgets.vehicle_line(report, frame),
        heading,
        *cells,
        *[widgets.rule("alarms", frame)] * title,
    ]
    return lines + _events(events[-max(frame.height - len(lines), 1) :], frame)


def _events(events: Sequence[Event], frame: Frame) -> list[Text]:
    return [widgets.event_line(event, frame) for event in events] or [Text(" no alarm has come up")]


def _fitted(line: Text, canvas: Canvas) -> Text:
    if line.plain != (safe := printable(line.plain, ascii_only=canvas.ascii_only)):
        line.plain = safe
    line.truncate(canvas.width, overflow="crop" if canvas.ascii_only else "ellipsis")
    line.no_wrap = True
    return line

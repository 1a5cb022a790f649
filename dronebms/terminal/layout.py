# SPDX-License-Identifier: Apache-2.0
"""One screen of the display, a pure function of frozen reports that fills its canvas exactly.

Every page begins with the answers: can the vehicle still return home, does the pack last for the
mission, which limit trips next, and the state. A line states everything in words and symbols;
colour only repeats it. A value is shown with its age, an unknown one as a dash with the reason.
Units stand next to the values.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Group, RenderableType
from rich.text import Text

from dronebms.core.number_format import age, clock_text, duration
from dronebms.core.report import Event, Report, Severity
from dronebms.presentation.answers import (
    Answer,
    autopilot_answer,
    home_answers,
    limit_answer,
    mission_answer,
    state_answer,
    time_left,
)
from dronebms.presentation.phrases import (
    SILENT_S,
    expired,
    figures,
    pack_history,
    pack_name,
    verdict,
)
from dronebms.presentation.readings import (
    Reading,
    max_current,
    readings,
)
from dronebms.presentation.trend import Chart
from dronebms.terminal.cell_lines import cell_lines, cells_text
from dronebms.terminal.chart import chart_lines
from dronebms.terminal.glyphs import ASCII, UNICODE, Glyphs
from dronebms.terminal.lines import (
    LABEL_WIDTH,
    QUIET,
    STALE,
    STYLES,
    VALUE,
    Canvas,
    Frame,
    answer_line,
    fitted,
    labelled,
    marked,
    rule,
    with_end,
)

PAGES = {"c": "cells", "l": "log", "h": "help", "?": "help"}
HELP = (
    "p  pause: freeze this screen; the flight continues",
    "c  every cell of every battery",
    "l  log of alarms that tripped and cleared",
    "h  this help",
    "q  quit",
    "The same key goes back. Ctrl-L redraws the screen.",
    "",
    "home: YES, MARGINAL: no in the worst case (5 %), or NO",
    "mission: its end (worst case), last item with a way home",
    "limit: the limit that trips next at the present load",
    "state: the worst severity, then every tripped limit",
    "90 %: interval of the flight time left; weak or cold: less",
    "STALE: received long ago, may be wrong. -: unknown",
    "Bar of a cell: empty at the cut-off, full when charged",
)
_BIG_WIDTH = 72
_BIG_HEIGHT = 22
_FIXED_ROWS = 3  # the link, the heading of the cells, the newest event
_EXTRAS = 5
_EVENT_ROWS = 4  # below trends, with their title
_CHART_ROWS = (4, 12)
_CELL_ROWS = 8  # cells get up to so many rows before any extra
_READINGS_WIDTH = 100
_VALUE_WIDTH = 8
_AGE_WIDTH = 12
_NOTE_WIDTH = 24
_BAR_WIDTHS = (4, 40)


@dataclass(frozen=True, slots=True)
class View:
    """How the user looks at the batteries."""

    link: str | None = None  # URL to the autopilot; None: no link, "": unknown
    clock: str = ""  # text at the right end of the first line
    page: str = ""  # one of PAGES; "" is the overview
    is_loud: bool = False  # highlight the clock
    charts: tuple[Chart, ...] = ()  # trends of the first battery, where there is room


def render(
    reports: Sequence[Report], events: Sequence[Event] = (), *, canvas: Canvas, view: View
) -> RenderableType:
    """A screen that fills the canvas exactly.

    Args:
        reports: the newest of each battery; the first is shown in full, each other on one line.
        events: tripped and cleared limits, oldest first; the newest are shown.
        canvas: size and character set.
        view: page, link and clock.
    """
    frame = Frame(
        now_s=max((report.t_s for report in reports), default=0.0),
        width=canvas.width,
        height=canvas.height,
        glyphs=ASCII if canvas.ascii_only else UNICODE,
        link=view.link,
        clock=Text(f" {view.clock} ", "bold reverse" if view.is_loud else "bold"),
        charts=view.charts,
    )
    lines = [Text(" waiting for the battery")]
    if reports:
        now = [expired(report, frame.now_s) for report in reports]
        lines = _answers(now, frame)
        frame = replace(frame, height=canvas.height - len(lines))
        lines += _page(now, events, view.page, frame)
    lines = lines[: canvas.height] + [Text()] * (canvas.height - len(lines))
    return Group(*(fitted(line, canvas) for line in lines))


def _answers(reports: Sequence[Report], frame: Frame) -> list[Text]:
    first, *others = reports
    mission = mission_answer(first)
    return [
        with_end(Text(f" {pack_name(first)}", VALUE), frame.clock, frame.width),
        _verdict_line("home:", home_answers(reports), frame),
        *([] if mission is None else [_verdict_line("mission:", mission, frame)]),
        _limit_line(reports),
        _state_line(first, frame),
        *(_other_line(other, frame) for other in others),
    ]


def _page(
    reports: Sequence[Report], events: Sequence[Event], page: str, frame: Frame
) -> list[Text]:
    if page == "help":
        marks = [f"{mark} {severity.label}" for severity, mark in frame.glyphs.marks.items()]
        lines = (*HELP, f"Signs: {', '.join(marks)}.")
        return [rule("help", frame), *(Text(f" {line}") for line in lines)]
    if page == "log":
        newest = events[-max(frame.height - 1, 1) :]
        heading = f"log: newest {len(newest)} of {len(events)}"
        return [rule(heading, frame), *_event_lines(newest, frame)]
    if page == "cells":
        return _cells_page(reports, frame)
    return _overview(reports[0], events, frame)


def _cells_page(reports: Sequence[Report], frame: Frame) -> list[Text]:
    share = frame.height // len(reports) - 1  # each battery has a heading
    lines = []
    for report in reports:
        name = "" if len(reports) == 1 else f"battery {report.index + 1} "
        lines.append(rule(name + cells_text(report, frame), frame))
        lines += cell_lines(report, share, frame, exact=True)
    if len(lines) > frame.height:
        lines[max(frame.height - 1, 0) :] = [Text(" more cells than fit here", "bold")]
    return lines


def _overview(report: Report, events: Sequence[Event], frame: Frame) -> list[Text]:
    total = frame.height + _FIXED_ROWS + 1  # rows of the screen that belong to this battery
    big = frame.width >= _BIG_WIDTH and total >= _BIG_HEIGHT
    left = _time_lines(report, frame.glyphs, big=big)
    readings = _reading_lines(report, frame)
    heading = rule(cells_text(report, frame), frame)
    room = frame.height - len(left) - len(readings) - _FIXED_ROWS
    cells = cell_lines(report, min(room, max(_CELL_ROWS, room - _EXTRAS)), frame)
    # Uses of the free rows by priority: a second event, air, the discharge limits, a title.
    free = room - len(cells)
    history = _history_lines(report) if free > _EXTRAS else []
    free -= len(history)
    air_above, air_below, limits, title = (free > rows for rows in range(1, _EXTRAS))
    lines = [
        *[Text()] * air_above,
        *left,
        *[Text()] * air_below,
        *readings,
        *[_max_current_line(report)] * limits,
        _autopilot_line(report, frame),
        *history,
        heading,
        *cells,
        *_trend_lines(free - _EXTRAS - _EVENT_ROWS, frame),
        *[rule("alarms", frame)] * title,
    ]
    return lines + _event_lines(events[-max(frame.height - len(lines), 1) :], frame)


# ---------------------------------------------------------------------- answers


def _verdict_line(label: str, answer: Answer, frame: Frame) -> Text:
    word = Text(answer.word, VALUE)
    if answer.severity is not None:
        word = marked(answer.severity, answer.word, frame.glyphs)
    return answer_line(label, word, Text(f"  {answer.why}" if answer.why else "", VALUE))


def _limit_line(reports: Sequence[Report]) -> Text:
    answer = limit_answer(reports)
    return answer_line("limit:", Text(answer.word, VALUE if answer.why else ""), answer.why)


def _state_line(report: Report, frame: Frame) -> Text:
    """The severity as a symbol and a word, with the tripped limits and the gauge's trouble."""
    answer = state_answer(report, frame.now_s)
    trouble = report.snapshot.trouble
    why = Text("" if trouble is None else f"; {trouble}", STALE)
    if answer.severity is None:
        return answer_line("state:", Text(f"{answer.word}, {answer.why}", VALUE), why)
    mark = marked(answer.severity, answer.word, frame.glyphs)
    loud = answer.severity >= Severity.WARNING
    return answer_line("state:", mark, Text(f"  {answer.why}", VALUE if loud else ""), why)


def _other_line(report: Report, frame: Frame) -> Text:
    """A further battery on one line."""
    severity = report.status.severity
    behind_s = frame.now_s - report.t_s
    state = verdict(report)
    if behind_s > SILENT_S:
        severity = Severity.WARNING
        state = f"STALE, no report for {age(behind_s)}"
    mark = marked(severity, f"battery {report.index + 1}", frame.glyphs)
    return Text.assemble(" ", mark, (f" {state}  ", VALUE), figures(report))


# ---------------------------------------------------------------------- time left and readings


def _time_lines(report: Report, glyphs: Glyphs, *, big: bool) -> list[Text]:
    """The time left with its interval, and the cut-off that ends it."""
    left_s = report.estimate.remaining_s
    left, until, default = time_left(report)
    clock, comma, interval = left.partition(",")
    first = Text(left, VALUE)
    if left_s is not None:
        first = Text.assemble((clock, VALUE), comma + interval)
    if not big:
        return [Text(" ") + first, Text(f" {until} {default}")]
    drawn = glyphs.big("--:--" if left_s is None else duration(left_s))
    rows = zip(drawn, (first, Text(until), Text(default)), strict=True)
    return [Text.assemble((f" {row}   ", VALUE), text) for row, text in rows]


def _reading_lines(report: Report, frame: Frame) -> list[Text]:
    units = {"degrees": frame.glyphs.degrees, "ohms": frame.glyphs.ohms}
    return [_reading_line(row, frame) for row in readings(report, frame.now_s, **units)]


def _reading_line(reading: Reading, frame: Frame) -> Text:
    value = f"{reading.value:>{_VALUE_WIDTH}}  "
    width = min(frame.width, _READINGS_WIDTH)
    room = width - 1 - LABEL_WIDTH - len(value) - _AGE_WIDTH
    bar_width = min(max(room - _NOTE_WIDTH, _BAR_WIDTHS[0]), _BAR_WIDTHS[1])
    note = reading.note
    if reading.share is not None:
        note = f"{frame.glyphs.bar(reading.share, bar_width)}  {note}"
    line = labelled(reading.label, Text(value, VALUE), Text(note))
    if reading.age is None:
        return line
    age = f" {reading.age.text} "  # with a blank after a note that is cut
    return with_end(line, Text(age, STALE if reading.age.stale else QUIET), width)


def _max_current_line(report: Report) -> Text:
    row = max_current(report)
    value = Text(f"{row.value:>{_VALUE_WIDTH}}", VALUE)
    return labelled(row.label, value, Text(f"  {row.note}"))


def _history_lines(report: Report) -> list[Text]:
    text = pack_history(report)
    return [labelled("history", Text(text))] if text else []


def _autopilot_line(report: Report, frame: Frame) -> Text:
    answer = autopilot_answer(report, frame.now_s, frame.link)
    styles = {None: VALUE, Severity.WARNING: STALE}
    link = Text(f", {answer.why}" if answer.why else "", VALUE if answer.severity is None else "")
    return labelled("autopilot", Text(answer.word, styles.get(answer.severity, "")), link)


# ---------------------------------------------------------------------- events and trends


def _event_lines(events: Sequence[Event], frame: Frame) -> list[Text]:
    return [_event_line(event, frame) for event in events] or [Text(" no alarms")]


def _event_line(event: Event, frame: Frame) -> Text:
    severity = event.severity if event.tripped else Severity.OK
    mark = frame.glyphs.marks[severity]
    return Text.assemble(
        (f" {clock_text(event.t_s)}  ", QUIET), (mark, STYLES[severity]), f" {event.text}"
    )


def _trend_lines(rows: int, frame: Frame) -> list[Text]:
    """The charts next to each other in at most `rows` lines, none where they do not fit."""
    least, most = _CHART_ROWS
    height = min(rows - 2, most)  # a title and the headings
    if not frame.charts or height < least or frame.width < _BIG_WIDTH:
        return []
    width = frame.width // len(frame.charts) - 2
    drawn = [chart_lines(chart, width, height, frame.glyphs) for chart in frame.charts]
    lines = [Text.assemble(*(f" {part} " for part in row)) for row in zip(*drawn, strict=True)]
    return [rule(f"trends: {frame.charts[0].span}", frame), *lines]

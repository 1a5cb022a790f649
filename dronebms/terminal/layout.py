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

from dronebms.core.number_format import DASH, age, clock_text, duration, number, printable
from dronebms.core.report import Estimate, Event, Report, Severity, Status
from dronebms.terminal.glyphs import ASCII, UNICODE, Glyphs
from dronebms.terminal.phrases import (
    SILENT_S,
    Answer,
    age_s_of,
    binding_current_limit,
    cells_heading,
    discharge_limits,
    figures,
    following_limit,
    has_data,
    home_answers,
    is_stale,
    mission_answer,
    not_received,
    pack_name,
    tripped_limits,
    verdict,
    weak_cell_reasons,
    weakest_cell,
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
    "90 %: interval of the flight time left; weak or cold: less",
    "STALE: received long ago, may be wrong. -: unknown",
    "Bar of a cell: empty at the cut-off, full when charged",
)

_BIG_WIDTH, _BIG_HEIGHT = 72, 22
_FIXED_ROWS = 3  # the link, the heading of the cells, the newest event
_EXTRAS = 5
_CELL_ROWS = 8  # cells get up to so many rows before any extra
_MIN_CELL_WIDTH = 30
_LABEL_WIDTH = 12
_ANSWER_LABEL_WIDTH = 7
_READINGS_WIDTH = 100
_VALUE_WIDTH = 8
_AGE_WIDTH = 12
_NOTE_WIDTH = 24
_BAR_WIDTHS = (4, 40)
_WEAKEST = " <- weakest"
_CELL_COLUMN_WIDTH = 60  # from this width on there is a second column
_MAX_CELL_BAR_WIDTH = 50
_LEAST_LIMIT_A = 0.01  # avoids a division by zero
_MILLI = 1000.0
_FULL_PCT = 100.0

_STYLES = {
    Severity.OK: "bold cyan",
    Severity.INFO: "bold cyan",
    Severity.WARNING: "bold yellow",
    Severity.CRITICAL: "bold reverse magenta",
    Severity.EMERGENCY: "bold reverse red",
}
_QUIET, _VALUE, _STALE = "dim", "bold", "bold yellow"


@dataclass(frozen=True, slots=True)
class Canvas:
    """Size of the terminal in columns and lines, and its character set."""

    width: int
    height: int
    ascii_only: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """How the user looks at the batteries."""

    link: str | None = None  # URL to the autopilot; None: no link, "": unknown
    clock: str = ""  # text at the right end of the first line
    page: str = ""  # one of PAGES; "" is the overview
    is_loud: bool = False  # highlight the clock


@dataclass(frozen=True, slots=True)
class Frame:
    """Values that the lines of one screen share."""

    now_s: float  # of the newest report
    width: int
    height: int
    glyphs: Glyphs
    link: str | None  # as in View
    clock: Text


# ---------------------------------------------------------------------- pages


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
    )
    lines = [Text(" waiting for the battery")]
    if reports:
        now = [expired(report, frame.now_s) for report in reports]
        lines = _answers(now, frame)
        frame = replace(frame, height=canvas.height - len(lines))
        lines += _page(now, events, view.page, frame)
    lines = lines[: canvas.height] + [Text()] * (canvas.height - len(lines))
    return Group(*(_fitted(line, canvas) for line in lines))


def expired(report: Report, now_s: float) -> Report:
    """A report as it stands at `now_s`: without estimate and status when it is too old."""
    if now_s - report.t_s <= SILENT_S:
        return report
    old = report.snapshot.at(now_s)
    return replace(report, snapshot=old, estimate=Estimate(now_s), status=Status(now_s))


def _answers(reports: Sequence[Report], frame: Frame) -> list[Text]:
    first, *others = reports
    mission = mission_answer(first)
    return [
        _ends(Text(f" {pack_name(first)}", _VALUE), frame.clock, frame.width),
        _verdict_line("home:", home_answers(reports), frame),
        *([] if mission is None else [_verdict_line("mission:", mission, frame)]),
        _limit_line(first),
        _state_line(first, frame),
        *(_other_line(other, frame) for other in others),
    ]


def _page(
    reports: Sequence[Report], events: Sequence[Event], page: str, frame: Frame
) -> list[Text]:
    if page == "help":
        marks = [f"{mark} {severity.label}" for severity, mark in frame.glyphs.marks.items()]
        lines = (*HELP, f"Signs: {', '.join(marks)}.")
        return [_rule("help", frame), *(Text(f" {line}") for line in lines)]
    if page == "log":
        newest = events[-max(frame.height - 1, 1) :]
        heading = f"log: newest {len(newest)} of {len(events)}"
        return [_rule(heading, frame), *_event_lines(newest, frame)]
    if page == "cells":
        return _cells_page(reports, frame)
    return _overview(reports[0], events, frame)


def _cells_page(reports: Sequence[Report], frame: Frame) -> list[Text]:
    share = frame.height // len(reports) - 1  # each battery has a heading
    lines = []
    for report in reports:
        name = "" if len(reports) == 1 else f"battery {report.index + 1} "
        lines.append(_rule(name + cells_heading(report, frame.now_s, frame.glyphs), frame))
        lines += cell_lines(report, share, frame, exact=True)
    if len(lines) > frame.height:
        lines[max(frame.height - 1, 0) :] = [Text(" more cells than fit here", "bold")]
    return lines


def _overview(report: Report, events: Sequence[Event], frame: Frame) -> list[Text]:
    total = frame.height + _FIXED_ROWS + 1  # rows of the screen that belong to this battery
    big = frame.width >= _BIG_WIDTH and total >= _BIG_HEIGHT
    left = _time_lines(report, frame.glyphs, big=big)
    readings = _reading_lines(report, frame)
    heading = _rule(cells_heading(report, frame.now_s, frame.glyphs), frame)
    room = frame.height - len(left) - len(readings) - _FIXED_ROWS
    cells = cell_lines(report, min(room, max(_CELL_ROWS, room - _EXTRAS)), frame)
    # Uses of the free rows by priority: a second event, air, the discharge limits, a title.
    free = room - len(cells)
    air_above, air_below, limits, title = (free > rows for rows in range(1, _EXTRAS))
    lines = [
        *[Text()] * air_above,
        *left,
        *[Text()] * air_below,
        *readings,
        *[_discharge_limit_line(report)] * limits,
        _autopilot_line(report, frame),
        heading,
        *cells,
        *[_rule("alarms", frame)] * title,
    ]
    return lines + _event_lines(events[-max(frame.height - len(lines), 1) :], frame)


# ---------------------------------------------------------------------- answers


def _verdict_line(label: str, answer: Answer, frame: Frame) -> Text:
    word = Text(answer.word, _VALUE)
    if answer.severity is not None:
        word = _mark(answer.severity, answer.word, frame.glyphs)
    return _answer(label, word, Text(f"  {answer.why}" if answer.why else "", _VALUE))


def _limit_line(report: Report) -> Text:
    """The limit that trips next, with the commanded current limit or the limit after it."""
    status = report.status
    if status.limited_by is None:
        return _answer("limit:", "none predicted")
    line = Text(status.label(status.limited_by), _VALUE)
    if status.limited_in_s is not None:
        now = status.limited_in_s <= 0
        line.append(" now" if now else f" in {duration(status.limited_in_s)}", "not bold")
    if status.asked_max_a is not None:
        line.append(f", commanded limit {status.asked_max_a:.0f} A")
    elif (following := following_limit(report)) is not None:
        line.append(f", {status.label(following[0])} in {duration(following[1])}", "not bold")
    elif status.limited_in_s:
        line.append(" at this load", "not bold")
    return _answer("limit:", line)


def _state_line(report: Report, frame: Frame) -> Text:
    """The severity as a symbol and a word, with the tripped limits and the gauge's trouble."""
    behind_s = frame.now_s - report.t_s
    if behind_s > SILENT_S:
        stale = _mark(Severity.WARNING, "STALE", frame.glyphs)
        return _answer("state:", stale, Text(f"  no report for {age(behind_s)}", _VALUE))
    status, trouble = report.status, report.snapshot.trouble
    why = Text("" if trouble is None else f"; {trouble}", _STALE)
    if not has_data(report):
        return _answer("state:", Text("unknown, no data received", _VALUE), why)
    loud = status.severity >= Severity.WARNING
    label = status.severity.label.upper() if loud else status.severity.label
    alarms = tripped_limits(status) or "no alarms"
    mark = _mark(status.severity, label, frame.glyphs)
    return _answer("state:", mark, Text(f"  {alarms}", _VALUE if loud else ""), why)


def _other_line(report: Report, frame: Frame) -> Text:
    """A further battery on one line."""
    severity, behind_s = report.status.severity, frame.now_s - report.t_s
    state = verdict(report)
    if behind_s > SILENT_S:
        severity, state = Severity.WARNING, f"STALE, no report for {age(behind_s)}"
    mark = _mark(severity, f"battery {report.index + 1}", frame.glyphs)
    return Text.assemble(" ", mark, (f" {state}  ", _VALUE), figures(report))


# ---------------------------------------------------------------------- time left and readings


def _time_lines(report: Report, glyphs: Glyphs, *, big: bool) -> list[Text]:
    """The time left with its interval, and the cut-off that ends it."""
    estimate, pack_data = report.estimate, report.pack_data
    first = Text.assemble((f"{duration(estimate.remaining_s)} left", _VALUE))
    if estimate.remaining_s is None:
        no_current = report.snapshot.current_a is None
        why = "current not received" if no_current else "no load yet"
        first = Text(f"flight time left unknown: {why}", _VALUE)
    elif estimate.remaining_low_s is not None and estimate.remaining_high_s is not None:
        low, high = duration(estimate.remaining_low_s), duration(estimate.remaining_high_s)
        first.append(f", 90 %: {low} - {high}")
    weakest = weakest_cell(report)
    cell = "weakest cell" if weakest is None else f"cell {weakest + 1}"
    load = "at this load" if mission_answer(report) is None else "on this mission"
    second = f"until {cell} reaches {pack_data.cutoff_v:.2f} V {load}"
    if estimate.remaining_s is None:
        second = f"cut-off {pack_data.cutoff_v:.2f} V a cell"
    third = "" if pack_data.cutoff_cell_v is not None else "(default cut-off)"
    if not big:
        return [Text(" ") + first, Text(f" {second} {third}")]
    left_s = estimate.remaining_s
    drawn = glyphs.big("--:--" if left_s is None else duration(left_s))
    rows = zip(drawn, (first, Text(second), Text(third)), strict=True)
    return [Text.assemble((f" {row}   ", _VALUE), text) for row, text in rows]


@dataclass(frozen=True, slots=True)
class _Reading:
    label: str
    value: float | None
    unit: str
    decimals: int
    field: str | None = None  # of Snapshot, for the age; an estimate is as old as its report
    share: float | None = None  # of the bar
    note: str = ""


def _reading_lines(report: Report, frame: Frame) -> list[Text]:
    """State of charge, current against its limit, voltage and temperature, each with its age."""
    snapshot, estimate, glyphs = report.snapshot, report.estimate, frame.glyphs
    current_a, ohm = snapshot.current_a, estimate.resistance_ohm
    limit_a, limit_name = binding_current_limit(report)
    share = None
    if current_a is not None and limit_a is not None:
        share = current_a / max(limit_a, _LEAST_LIMIT_A)
    charge = None if estimate.soc_pct is None else estimate.soc_pct / _FULL_PCT
    form = ">" if share is not None and share > 1 else "of"
    health = _note("SoH {:.0f} %", estimate.soh_pct)
    limit = _note(f"{form} {{:.0f}} A {limit_name}", limit_a) or "limit unknown"
    used = _note("{:.0f} mAh used", estimate.used_mah)
    inner = _note(f"resistance {{:.0f}} {glyphs.ohms}", None if ohm is None else ohm * _MILLI)
    degc = snapshot.temperature_degc
    readings = (
        _Reading("SoC", estimate.soc_pct, "%", 0, None, charge, health),
        _Reading("current", current_a, "A", 1, "current_a", share, limit),
        _Reading("voltage", snapshot.voltage_v, "V", 2, "voltage_v", None, used),
        _Reading("temperature", degc, glyphs.degrees, 1, "temperature_degc", None, inner),
    )
    return [_reading_line(reading, report, frame) for reading in readings]


def _reading_line(reading: _Reading, report: Report, frame: Frame) -> Text:
    age_s = age_s_of(report, reading.field, frame.now_s)
    value = f"{number(reading.value, reading.unit, reading.decimals):>{_VALUE_WIDTH}}  "
    if reading.value is None:
        why = "not estimated yet" if reading.field is None else not_received(age_s)
        return _labelled(reading.label, Text(value, _VALUE), Text(why))
    width = min(frame.width, _READINGS_WIDTH)
    room = width - 1 - _LABEL_WIDTH - len(value) - _AGE_WIDTH
    bar_width = min(max(room - _NOTE_WIDTH, _BAR_WIDTHS[0]), _BAR_WIDTHS[1])
    note = reading.note
    if reading.share is not None:
        note = f"{frame.glyphs.bar(reading.share, bar_width)}  {note}"
    line = _labelled(reading.label, Text(value, _VALUE), Text(note))
    if age_s is None:
        return line
    if is_stale(reading.field, age_s):
        return _ends(line, Text(f"STALE {age(age_s)} ", _STALE), width)
    return _ends(line, Text(f"{age(age_s)} ago ", _QUIET), width)


def _note(form: str, value: float | None) -> str:
    return "" if value is None else form.format(value)


def _discharge_limit_line(report: Report) -> Text:
    """The estimated discharge limits of the pack, each with its duration."""
    limits = discharge_limits(report)
    value_a, first = limits[0] if limits else (None, "not estimated yet")
    rest = ", ".join([first, *(f"{limit_a:.0f} A {name}" for limit_a, name in limits[1:])])
    value = Text(f"{number(value_a, 'A'):>{_VALUE_WIDTH}}", _VALUE)
    return _labelled("max current", value, Text(f"  {rest}"))


def _autopilot_line(report: Report, frame: Frame) -> Text:
    """Heartbeat, arming, mode and link of the autopilot."""
    vehicle = report.vehicle
    link = ", no link" if frame.link is None else f", {frame.link}" if frame.link else ""
    link = link if vehicle.link_trouble is None else f", {vehicle.link_trouble}"
    link = link if vehicle.second_sender is None else f", {vehicle.second_sender}"
    if vehicle.heartbeat_age_s is None:
        return _labelled("autopilot", Text(f"{DASH}  no heartbeat{link}", _VALUE))
    age_s = vehicle.heartbeat_age_s + frame.now_s - report.t_s
    if age_s > SILENT_S:
        return _labelled("autopilot", Text(f"no heartbeat for {age(age_s)}", _STALE), Text(link))
    armed = {True: "armed", False: "disarmed", None: "arming unknown"}[vehicle.armed]
    mode = vehicle.mode or "mode unknown"
    return _labelled("autopilot", Text(f"heartbeat {age(age_s)} ago, {armed}, {mode}{link}"))


# ---------------------------------------------------------------------- cells and events


def cell_lines(report: Report, rows: int, frame: Frame, *, exact: bool = False) -> list[Text]:
    """The cells in as few columns as fit into `rows` lines, counted downwards.

    `exact` adds millivolts, the difference to the mean, and why the weakest cell is weak.
    """
    cells = len(report.snapshot.cells_v)
    most = max(1, frame.width // _MIN_CELL_WIDTH)
    columns = min(max(frame.width // _CELL_COLUMN_WIDTH, -(-cells // max(rows, 1)), 1), most)
    height = -(-cells // columns)
    width = frame.width // columns
    known_v = [cell_v for cell_v in report.snapshot.cells_v if cell_v is not None]
    mean_v = sum(known_v) / len(known_v) if exact and known_v else None
    drawn = [_cell(report, index, width, frame, mean_v) for index in range(cells)]
    return [Text().join(drawn[row::height]) for row in range(height)] if cells else []


def _cell(report: Report, index: int, width: int, frame: Frame, mean_v: float | None) -> Text:
    pack_data, cell_v = report.pack_data, report.snapshot.cells_v[index]
    name = f"cell{index + 1}_v"
    age_s = age_s_of(report, name, frame.now_s)
    text = Text.assemble((f" {index + 1:>2}  ", _QUIET))
    if cell_v is None:
        text.append(f"{DASH:>4} V  {not_received(age_s)}", _STALE)
    else:
        value = f"{cell_v:.2f} V  "
        if mean_v is not None:
            value = f"{cell_v:.3f} V {(cell_v - mean_v) * _MILLI:+5.0f} mV  "
        text.append(value, _VALUE)
        mark = "" if mean_v is None else weak_cell_reasons(report, index)
        mark = _WEAKEST + mark if weakest_cell(report) == index else ""
        room = width - len(text) - max(len(mark), len(_WEAKEST))
        bar_width = min(max(room, 0), _MAX_CELL_BAR_WIDTH)
        if age_s is not None and is_stale(name, age_s):
            text.append(f"STALE {age(age_s)}".ljust(bar_width), _STALE)
        else:
            span_v = pack_data.chemistry.full_cell_v - pack_data.cutoff_v
            text.append(frame.glyphs.bar((cell_v - pack_data.cutoff_v) / span_v, bar_width))
        text.append(mark, _VALUE)
    text.truncate(width, pad=True)
    return text


def _event_lines(events: Sequence[Event], frame: Frame) -> list[Text]:
    return [_event_line(event, frame) for event in events] or [Text(" no alarms")]


def _event_line(event: Event, frame: Frame) -> Text:
    severity = event.severity if event.tripped else Severity.OK
    mark = frame.glyphs.marks[severity]
    return Text.assemble(
        (f" {clock_text(event.t_s)}  ", _QUIET), (mark, _STYLES[severity]), f" {event.text}"
    )


# ---------------------------------------------------------------------- building blocks


def _rule(text: str, frame: Frame) -> Text:
    """A line across the screen with the heading of the lines below."""
    line = frame.glyphs.rule
    return Text(f"{line} {text} ".ljust(frame.width, line), _QUIET)


def _answer(label: str, *parts: Text | str) -> Text:
    return Text.assemble((f" {label + ' ':<{_ANSWER_LABEL_WIDTH}}", _QUIET), *parts)


def _labelled(label: str, *parts: Text) -> Text:
    return Text.assemble((f" {label:<{_LABEL_WIDTH}}", _QUIET), *parts)


def _mark(severity: Severity, word: str, glyphs: Glyphs) -> Text:
    return Text(f"{glyphs.marks[severity]} {word}", _STYLES[severity])


def _ends(left: Text, right: Text, width: int) -> Text:
    left.truncate(max(width - right.cell_len, 0), pad=True)
    return left + right


def _fitted(line: Text, canvas: Canvas) -> Text:
    if line.plain != (safe := printable(line.plain, ascii_only=canvas.ascii_only)):
        line.plain = safe
    line.truncate(canvas.width, overflow="crop" if canvas.ascii_only else "ellipsis")
    line.no_wrap = True
    return line

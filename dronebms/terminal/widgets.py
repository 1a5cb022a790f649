"""The lines of the display, each a pure function of a `Report`; `screen` puts them together.

What a line says, it says in words and symbols; colour only repeats it. A value is shown with its
age, an unknown one as a dash with the reason. Units stand beside the values.
"""

from dataclasses import dataclass

from rich.text import Text

from dronebms.core.format import DASH, age, clock_text, duration, number
from dronebms.core.report import Event, Report, Severity
from dronebms.terminal import phrases
from dronebms.terminal.labels import Glyphs

MIN_CELL_WIDTH = 30
_LABEL_WIDTH = 12
_ANSWER_LABEL_WIDTH = 7
_READINGS_WIDTH = 100
_VALUE_WIDTH = 8
_AGE_WIDTH = 12
_NOTE_WIDTH = 24
_BAR_WIDTHS = (4, 40)
_WEAKEST = " <- weakest"
_CELL_COLUMN_WIDTH = 60  # a width at which a second column stands beside the first
_MAX_CELL_BAR_WIDTH = 50
_LEAST_LIMIT_A = 0.01  # keeps a share finite
_MILLI = 1000.0
_FULL_PCT = 100.0

_STYLES = {
    Severity.OK: "bold cyan",
    Severity.INFO: "bold cyan",
    Severity.WARNING: "bold yellow",
    Severity.CRITICAL: "bold reverse magenta",
    Severity.EMERGENCY: "bold reverse red",
}
_QUIET, _VALUE, _OLD = "dim", "bold", "bold yellow"


@dataclass(frozen=True, slots=True)
class Frame:
    """What the lines of one picture share."""

    now_s: float  # of the newest report
    width: int
    height: int
    glyphs: Glyphs
    link: str | None  # None is no link, "" one that is not known here
    clock: Text  # at the right of the first line


def title_line(report: Report, frame: Frame) -> Text:
    """Return which pack this is, and the clock at the right."""
    pack = Text(f" {phrases.pack_name(report)}", _VALUE)
    return _ends(pack, frame.clock, frame.width)


def home_line(report: Report, frame: Frame) -> Text:
    """Return whether the vehicle can still get home; unknown says what is missing."""
    severity, word, rest = phrases.home_answer(report)
    if not rest:
        return _answer("home:", Text(word, _VALUE))
    way = f", {duration(report.estimate.home_s)} to fly home"
    judged = _verdict(severity, word, frame.glyphs)
    return _answer("home:", judged, Text(f"  {rest}", _VALUE), Text(way))


def limit_line(report: Report) -> Text:
    """Return the constraint that binds next, and what is asked of the vehicle meanwhile."""
    status = report.status
    if status.limited_by is None:
        return _answer("limit:", Text("none known to come next"))
    line = Text(phrases.limit_label(status.limited_by), _VALUE)
    if status.limited_in_s is not None:
        now = status.limited_in_s <= 0
        line.append(" now" if now else f" in {duration(status.limited_in_s)}", "not bold")
    if status.asked_max_a is not None:
        line.append(f", stay below {status.asked_max_a:.0f} A")
    elif (then := phrases.then(report)) is not None:
        line.append(f", then {phrases.limit_label(then[0])} in {duration(then[1])}", "not bold")
    elif status.limited_in_s:
        line.append(" at this load", "not bold")
    return _answer("limit:", line)


def state_line(report: Report, frame: Frame) -> Text:
    """Return the severity as a symbol and a word, with what is tripped or silent."""
    behind_s = frame.now_s - report.t_s
    if behind_s > phrases.SILENT_S:
        old = _verdict(Severity.WARNING, "OLD", frame.glyphs)
        return _answer("state:", old, Text(f"  nothing new for {age(behind_s)}", _VALUE))
    status, trouble = report.status, report.snapshot.trouble
    why = Text("" if trouble is None else f"; {trouble}", _OLD)
    if not phrases.is_judged(report):
        return _answer("state:", Text("unknown, nothing is heard to judge by", _VALUE), why)
    loud = status.severity >= Severity.WARNING
    label = status.severity.label.upper() if loud else status.severity.label
    said = ", ".join(phrases.limit_label(limit) for limit in status.active) or "no limit is tripped"
    judged = _verdict(status.severity, label, frame.glyphs)
    return _answer("state:", judged, Text(f"  {said}", _VALUE if loud else ""), why)


def time_lines(report: Report, glyphs: Glyphs, *, big: bool) -> list[Text]:
    """Return the time left with its interval, and what ends it."""
    estimate, pack_data = report.estimate, report.pack_data
    first = Text.assemble((f"{duration(estimate.remaining_s)} left", _VALUE))
    if estimate.remaining_s is None:
        silent = report.snapshot.current_a is None
        why = "no current is heard" if silent else "it shows under load"
        first = Text(f"time left is not known yet, {why}", _VALUE)
    elif estimate.remaining_low_s is not None and estimate.remaining_high_s is not None:
        low, high = duration(estimate.remaining_low_s), duration(estimate.remaining_high_s)
        first.append(f", 9 in 10 sure: {low} - {high}")
    weakest = phrases.weakest(report)
    cell = "the weakest cell" if weakest is None else f"cell {weakest + 1}"
    second = f"until {cell} reaches {pack_data.cutoff_v:.2f} V under this load"
    third = "" if pack_data.cutoff_cell_v is not None else "(the usual end, as none is given)"
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


def reading_lines(report: Report, frame: Frame) -> list[Text]:
    """Return charge, amps against their limit, volts and heat, each with its age."""
    snapshot, estimate, glyphs = report.snapshot, report.estimate, frame.glyphs
    soc_pct, current_a, ohm = estimate.soc_pct, snapshot.current_a, estimate.resistance_ohm
    limit_a, limit_name = phrases.binding_allowance(report)
    share = None
    if current_a is not None and limit_a is not None:
        share = current_a / max(limit_a, _LEAST_LIMIT_A)
    charge = None if soc_pct is None else soc_pct / _FULL_PCT
    health = _note("health {:.0f} %", estimate.soh_pct)
    form = "over" if share is not None and share > 1 else "of"
    limit = _note(f"{form} {{:.0f}} A {limit_name}", limit_a) or "limit not known"
    used = _note("{:.0f} mAh used", estimate.used_mah)
    inner = _note(f"resistance {{:.0f}} {glyphs.ohms}", None if ohm is None else ohm * _MILLI)
    degc = snapshot.temperature_degc
    readings = (
        _Reading("charge", soc_pct, "%", 0, None, charge, health),
        _Reading("current", current_a, "A", 1, "current_a", share, limit),
        _Reading("voltage", snapshot.voltage_v, "V", 2, "voltage_v", None, used),
        _Reading("temperature", degc, glyphs.degrees, 1, "temperature_degc", None, inner),
    )
    return [_reading_line(reading, report, frame) for reading in readings]


def _reading_line(reading: _Reading, report: Report, frame: Frame) -> Text:
    age_s = phrases.age_s_of(report, reading.field, frame.now_s)
    value = f"{number(reading.value, reading.unit, reading.decimals):>{_VALUE_WIDTH}}  "
    if reading.value is None:
        why = "not known yet" if reading.field is None else phrases.unheard(age_s)
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
    if phrases.is_stale(reading.field, age_s):
        return _ends(line, Text(f"OLD {age(age_s)} ", _OLD), width)
    return _ends(line, Text(f"{age(age_s)} ago ", _QUIET), width)


def _note(form: str, value: float | None) -> str:
    return "" if value is None else form.format(value)


def allowance_line(report: Report) -> Text:
    """Return what the pack can give, and for how long."""
    limits = phrases.allowances(report)
    value_a, first = limits[0] if limits else (None, "not known yet")
    said = ", ".join([first, *(f"{limit_a:.0f} A {name}" for limit_a, name in limits[1:])])
    value = Text(f"{number(value_a, 'A'):>{_VALUE_WIDTH}}", _VALUE)
    return _labelled("can give", value, Text(f"  {said}"))


def vehicle_line(report: Report, frame: Frame) -> Text:
    """Return what is heard of the flight controller, and over which link."""
    vehicle = report.vehicle
    over = ", no link" if frame.link is None else f", {frame.link}" if frame.link else ""
    if vehicle.heartbeat_age_s is None:
        return _labelled("autopilot", Text(f"{DASH}  never heard{over}", _VALUE))
    heard_s = vehicle.heartbeat_age_s + frame.now_s - report.t_s
    armed = {True: "armed", False: "disarmed", None: "arming unknown"}[vehicle.armed]
    mode = "mode unknown" if vehicle.mode is None else vehicle.mode
    old = heard_s > phrases.SILENT_S
    heard = Text(f"{'not heard for' if old else 'heard'} {age(heard_s)}", _OLD if old else "")
    rest = "" if old else f" ago, {armed}, {mode}"
    return _labelled("autopilot", heard, Text(rest + over))


def cell_lines(report: Report, rows: int, frame: Frame, *, exact: bool = False) -> list[Text]:
    """Return the cells in as many columns as `rows` lines ask for, counted downwards.

    `exact` adds millivolts, and how far each is from the mean.
    """
    cells = len(report.snapshot.cells_v)
    most = max(1, frame.width // MIN_CELL_WIDTH)
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
    age_s = phrases.age_s_of(report, name, frame.now_s)
    text = Text.assemble((f" {index + 1:>2}  ", _QUIET))
    if cell_v is None:
        text.append(f"{DASH:>4} V  {phrases.unheard(age_s)}", _OLD)
    else:
        said = f"{cell_v:.2f} V  "
        if mean_v is not None:
            said = f"{cell_v:.3f} V {(cell_v - mean_v) * _MILLI:+5.0f} mV  "
        text.append(said, _VALUE)
        mark = "" if mean_v is None else phrases.weak_by(report, index)
        mark = _WEAKEST + mark if phrases.weakest(report) == index else ""
        room = width - len(text) - max(len(mark), len(_WEAKEST))
        bar_width = min(max(room, 0), _MAX_CELL_BAR_WIDTH)
        if age_s is not None and phrases.is_stale(name, age_s):
            text.append(f"OLD {age(age_s)}".ljust(bar_width), _OLD)
        else:
            span_v = pack_data.chemistry.full_cell_v - pack_data.cutoff_v
            text.append(frame.glyphs.bar((cell_v - pack_data.cutoff_v) / span_v, bar_width))
        text.append(mark, _VALUE)
    text.truncate(width, pad=True)
    return text


def other_line(report: Report, frame: Frame) -> Text:
    """Return a further battery on one line."""
    severity, behind_s = report.status.severity, frame.now_s - report.t_s
    judged = phrases.verdict(report)
    if behind_s > phrases.SILENT_S:
        severity, judged = Severity.WARNING, f"OLD, nothing new for {age(behind_s)}"
    mark = _verdict(severity, f"battery {report.index + 1}", frame.glyphs)
    return Text.assemble(" ", mark, (f" {judged}  ", _VALUE), phrases.figures(report))


def event_line(event: Event, frame: Frame) -> Text:
    """Return what tripped or cleared, and when."""
    severity = event.severity if event.tripped else Severity.OK
    label = event.severity.label if event.tripped else "cleared"
    judged = _verdict(severity, f"{label:<9}", frame.glyphs)
    return Text.assemble((f" {clock_text(event.t_s)}  ", _QUIET), judged, f"  {event.text}")


def rule(text: str, frame: Frame) -> Text:
    """Return a line across that names what stands below it."""
    line = frame.glyphs.rule
    return Text(f"{line} {text} ".ljust(frame.width, line), _QUIET)


def _answer(label: str, *parts: Text) -> Text:
    return Text.assemble((f" {label:<{_ANSWER_LABEL_WIDTH}}", _QUIET), *parts)


def _labelled(label: str, *parts: Text) -> Text:
    return Text.assemble((f" {label:<{_LABEL_WIDTH}}", _QUIET), *parts)


def _verdict(severity: Severity, word: str, glyphs: Glyphs) -> Text:
    return Text(f"{glyphs.marks[severity]} {word}", _STYLES[severity])


def _ends(left: Text, right: Text, width: int) -> Text:
    left.truncate(max(width - right.cell_len, 0), pad=True)
    return left + right

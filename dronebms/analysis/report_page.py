"""After a flight: what each battery did, in columns, and a page that a technician can sign.

NaN is unknown in a column, here and in plots only. Units are in the names; times are the flight's
clock, current is positive while discharging.
"""

import html
from array import array
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from math import nan
from operator import attrgetter
from string import Template

import numpy as np
from numpy.typing import NDArray

from dronebms import __version__
from dronebms.analysis.panels import ACTUAL, COLUMNS, EXTREMES, PANELS
from dronebms.analysis.summary import Summary
from dronebms.core.format import clock_text, duration, number, printable
from dronebms.core.report import Report, Severity
from dronebms.terminal import phrases

TEMPLATES = files("dronebms.analysis") / "templates"
Plots = Sequence[tuple[str, str]]  # what each shows in words, an SVG element
_COLUMNS = {path: attrgetter(path) for path in COLUMNS}


@dataclass(slots=True)
class Track:
    """One battery through one flight, from its first step on."""

    last: Report
    t_s: MutableSequence[float] = field(default_factory=lambda: array("d"))
    # By where the value stands in a report, or "cell 1", "cell 2", ...
    columns: dict[str, MutableSequence[float]] = field(default_factory=dict)
    tripped: dict[str, list[list[float]]] = field(default_factory=dict)  # limit: from, to
    worst: Severity | None = None  # None: there was nothing to judge by
    summary: Summary = field(default_factory=Summary)

    def __call__(self, report: Report) -> None:
        """Take in a step."""
        self.summary(replace(report, index=0))  # it takes in the first battery alone
        row = {path: get(report) for path, get in _COLUMNS.items()}
        row |= {f"cell {k + 1}": cell_v for k, cell_v in enumerate(report.snapshot.cells_v)}
        for name, value in (dict.fromkeys(self.columns) | row).items():
            column = self.columns.setdefault(name, array("d", [nan]) * len(self.t_s))
            column.append(nan if value is None else value)
        for limit in report.status.active:
            spans = self.tripped.setdefault(limit, [])
            if not spans or spans[-1][1] != self.last.t_s:
                spans.append([report.t_s, report.t_s])
            spans[-1][1] = report.t_s
        if phrases.is_judged(report):
            self.worst = max(report.status.severity, self.worst or Severity.OK)
        self.t_s.append(report.t_s)
        self.last = report

    def cells(self) -> list[str]:
        """Return the names of the cells' columns, in their order."""
        return [name for name in self.columns if name.startswith("cell ")]

    def column(self, name: str) -> NDArray[np.float64]:
        """Return the values of a column; `actual` is the time that was really left, in seconds."""
        if name == ACTUAL:
            ended_s = nan if self.summary.ended_s is None else self.summary.ended_s
            left_s = ended_s - np.array(self.t_s)
            return np.where(left_s >= 0, left_s, nan)
        return np.array(self.columns[name])


def tracks(reports: Iterable[Report]) -> list[Track]:
    """Return what each battery did, in their order."""
    found: dict[int, Track] = {}
    for report in reports:
        found.setdefault(report.index, Track(report))(report)
    return [found[index] for index in sorted(found)]


def page(name: str, flown: Iterable[tuple[Track, Plots]], missing: Iterable[str] = ()) -> str:
    """Return one page of HTML that needs nothing else.

    Args:
        name: of the flight.
        flown: each battery with its plots.
        missing: a sentence for each part of the flight that could not be read.
    """
    batteries = "".join(_battery(track, plots) for track, plots in flown)
    notes = "".join(f"<p>Missing: {_safe(sentence)}</p>" for sentence in missing)
    told = {"version": __version__, "batteries": batteries, "missing": notes}
    return _filled("report.html", name=_safe(name), **told)


def _battery(track: Track, plots: Plots) -> str:
    form = '<figure role="img" aria-label="{}">{}</figure>'
    figures = (form.format(_safe(said), element) for said, element in plots)
    verdict = "unknown: nothing was heard to judge by"
    if track.worst is not None:
        limits = ", ".join(map(phrases.limit_label, track.tripped)) or "no limit was tripped"
        verdict = f"{track.worst.label}: {limits}"
    return _filled(
        "battery.html",
        pack=_safe(phrases.pack_name(track.last)),
        verdict=_safe(verdict),
        level=(track.worst or Severity.OK).label,
        pack_data=_rows(_pack_data(track)),
        excursions=_rows(_excursions(track)),
        figures="".join(figures),
    )


def _pack_data(track: Track) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the summary: what, and how much."""
    last, identity, used = track.last, track.last.snapshot.identity, track.last.estimate
    yield "Serial number", "not told" if identity.serial is None else f"{identity.serial}"
    first_s, last_s = track.t_s[0], track.t_s[-1]
    yield "Flight", f"{duration(last_s - first_s)}, from {clock_text(first_s)}"
    yield "Used", f"{number(used.used_mah, 'mAh')}, {number(used.used_wh, 'Wh', 1)}"
    panels = {panel.name: panel for panel in PANELS}
    rows = [(name, panels[name].curves[0][0], panels[name].unit, n) for name, n in EXTREMES]
    rows += [(name.capitalize(), name, "V", 2) for name in track.cells()]
    for label, column, unit, decimals in rows:
        values = track.column(column)
        known = values[~np.isnan(values)]
        ends = sorted({known.min(), known.max()}) if known.size else []
        said = (number(end, unit, decimals) for end in ends)
        yield label, " to ".join(said) or "not recorded"
    yield "Time left", track.summary.hindsight()
    yield "Assumed", "; ".join(last.pack_data.assumed()) or "nothing: all was told"


def _excursions(track: Track) -> Iterator[tuple[str, ...]]:
    """Yield the rows of what tripped: limit, how often, how long, and what was said first."""
    texts = {event.limit_id: event.text for event in reversed(track.summary.events)}
    for limit, spans in track.tripped.items():
        total_s = sum(end_s - start_s for start_s, end_s in spans)
        first = f"{clock_text(spans[0][0])} {texts.get(limit, '')}"
        yield phrases.limit_label(limit), f"{len(spans)} x", duration(total_s), first
    if not track.tripped:
        yield ("none",)


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    lines = ("".join(f"<td>{_safe(text)}</td>" for text in row) for row in rows)
    return "".join(f"<tr>{line}</tr>\n" for line in lines)


def _safe(text: str) -> str:
    return html.escape(printable(text, ascii_only=False))


def _filled(template: str, **texts: str) -> str:
    return Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(texts)

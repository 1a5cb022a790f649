"""The report of a flight: one HTML page that a technician can sign (extra `report`)."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dronebms import __version__
from dronebms.analysis.panels import EXTREMES, PANELS
from dronebms.analysis.track import Track
from dronebms.core.number_format import clock_text, duration, number, printable
from dronebms.core.report import Severity
from dronebms.presentation.phrases import pack_name
from dronebms.protection.limits import limit_label

Plots = Sequence[tuple[str, str]]  # (description, SVG element)


def page(name: str, batteries: Iterable[tuple[Track, Plots]], missing: Iterable[str] = ()) -> str:
    """One page of HTML that needs no other file.

    Args:
        name: of the flight.
        batteries: the track of each battery with its plots.
        missing: a sentence for each part of the flight that could not be read.
    """
    environment = Environment(
        loader=PackageLoader("dronebms.analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html").render(
        name=name,
        version=__version__,
        missing=list(missing),
        batteries=[_battery(track, plots) for track, plots in batteries],
    )


def _printable(value: object) -> object:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return printable(value, ascii_only=False)


def _battery(track: Track, plots: Plots) -> dict[str, object]:
    verdict = "unknown: no data received"
    if track.worst is not None:
        limits = ", ".join(map(limit_label, track.tripped)) or "no limit tripped"
        verdict = f"{track.worst.label}: {limits}"
    return {
        "name": pack_name(track.last),
        "verdict": verdict,
        "level": (track.worst or Severity.OK).label,
        "summary": list(_summary(track)),
        "excursions": list(_excursions(track)),
        "plots": [(description, Markup(svg)) for description, svg in plots],  # noqa: S704 - by matplotlib, which escapes
    }


def _summary(track: Track) -> Iterator[tuple[str, str]]:
    """Rows of the summary: quantity, value."""
    last, identity, estimate = track.last, track.last.snapshot.identity, track.last.estimate
    yield "Serial number", "unknown" if identity.serial is None else f"{identity.serial}"
    first_s, last_s = track.t_s[0], track.t_s[-1]
    yield "Flight", f"{duration(last_s - first_s)}, from {clock_text(first_s)}"
    yield "Used", f"{number(estimate.used_mah, 'mAh')}, {number(estimate.used_wh, 'Wh', 1)}"
    panels = {panel.name: panel for panel in PANELS}
    rows = [(name, panels[name].curves[0][0], panels[name].unit, n) for name, n in EXTREMES]
    rows += [(name.capitalize(), name, "V", 2) for name in track.cells()]
    for label, column, unit, decimals in rows:
        values = track.column(column)
        known = values[~np.isnan(values)]
        ends = sorted({known.min(), known.max()}) if known.size else []
        texts = (number(end, unit, decimals) for end in ends)
        yield label, " to ".join(texts) or "not recorded"
    yield from track.summary.verdicts()
    yield "Prediction", track.summary.hindsight()
    yield "Assumed", "; ".join(last.pack_data.assumed()) or "nothing: all pack data is configured"


def _excursions(track: Track) -> Iterator[tuple[str, ...]]:
    """Rows of the tripped limits: label, times, total duration, first time and text."""
    texts = {event.limit_id: event.text for event in reversed(track.summary.events)}
    for limit, spans in track.tripped.items():
        total_s = sum(end_s - start_s for start_s, end_s in spans)
        first = f"{clock_text(spans[0][0])} {texts.get(limit, '')}"
        yield limit_label(limit), f"{len(spans)} x", duration(total_s), first

# SPDX-License-Identifier: Apache-2.0
"""The report of a flight: one HTML page that a technician can sign (extra `report`)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dronebms import __version__
from dronebms.analysis.flight_comparison import Change
from dronebms.analysis.panels import EXTREMES, PANELS
from dronebms.analysis.plots import Stack
from dronebms.analysis.recommendations import verdict
from dronebms.analysis.track import Track
from dronebms.core.number_format import clock_text, duration, number, printable
from dronebms.core.report import Severity
from dronebms.presentation.phrases import pack_name
from dronebms.protection.limits import limit_label

_SCRIPT = files("dronebms.analysis") / "templates" / "report.js"


@dataclass(frozen=True, slots=True)
class Flown:
    """A battery through the flight, as the page shows it."""

    track: Track
    plots: Stack
    name: str | None = None  # that a user gave the pack
    changes: Sequence[Change] = ()  # since earlier flights
    earlier: int | None = None  # flights of the pack in the history; None: no history


def page(
    name: str, batteries: Iterable[Flown], missing: Iterable[str] = (), written: str | None = None
) -> str:
    """One page of HTML that needs no other file.

    Args:
        name: of the flight.
        batteries: each battery with its plots.
        missing: a sentence for each part of the flight that could not be read.
        written: date of the flight's file.
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
        script=Markup(_SCRIPT.read_text(encoding="utf-8")),  # noqa: S704 - our own
        batteries=[_battery(flown, written) for flown in batteries],
    )


def _printable(value: object) -> object:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return printable(value, ascii_only=False)


def _battery(flown: Flown, written: str | None) -> dict[str, object]:
    track = flown.track
    sentence, advice = verdict(track, flown.changes)
    return {
        "name": pack_name(track.last) if flown.name is None else flown.name,
        "verdict": sentence,
        "advice": advice,
        "level": (track.worst or Severity.OK).label,
        "summary": [*_origin(flown, written), *_summary(track)],
        "excursions": list(_excursions(track)),
        "changes": [
            (
                change.label,
                number(change.value, change.unit, change.decimals),
                number(change.earlier, change.unit, change.decimals),
            )
            for change in flown.changes
        ],
        "earlier": _earlier(flown),
        "descriptions": flown.plots.descriptions,
        "wide": Markup(flown.plots.wide),  # noqa: S704 - by matplotlib, which escapes
        "narrow": Markup(flown.plots.narrow),  # noqa: S704 - likewise
        # In a script element no character is escaped but the one that could end it.
        "data": Markup(flown.plots.data.replace("<", "\\u003c")),  # noqa: S704 - JSON
    }


def _earlier(flown: Flown) -> str:
    if flown.earlier is None:
        return "no pack history: --state-dir selects one"
    if not flown.changes:
        return f"{flown.earlier} earlier flights of this pack are too few to compare with"
    return f"median of the {flown.earlier} earlier flights of this pack"


def _origin(flown: Flown, written: str | None) -> Iterator[tuple[str, str]]:
    """Rows of pack, vehicle and date."""
    last = flown.track.last
    if flown.name is not None:
        yield "Pack", pack_name(last)
    if last.pack_data.pack_id is not None:
        yield "Pack id", last.pack_data.pack_id
    yield "Vehicle", last.pack_data.vehicle or last.vehicle.uid or "unknown"
    if written is not None:
        yield "File of", written


def _summary(track: Track) -> Iterator[tuple[str, str]]:
    """Rows of the summary: quantity, value."""
    last = track.last
    identity = track.last.snapshot.identity
    estimate = track.last.estimate
    yield "Serial number", "unknown" if identity.serial is None else f"{identity.serial}"
    first_s = track.t_s[0]
    last_s = track.t_s[-1]
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

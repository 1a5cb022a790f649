# SPDX-License-Identifier: Apache-2.0
"""Plots of a flight with matplotlib (extra `report`), a panel for each row of `panels`.

Panels are stacked over one axis of time, in minutes since the battery's first step. A curve has
the least and the greatest value of each pixel's time and no more, so that the size does not grow
with the flight. Equal tracks give equal bytes.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from io import BytesIO, StringIO
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dronebms.analysis.panels import CELLS, PANELS, SPANS, Panel
from dronebms.analysis.track import Track
from dronebms.presentation.phrases import pack_name
from dronebms.protection.limits import limit_label

_MINUTE_S = 60.0
_BINS = 400  # of a curve, two points each
_NARROW_BINS = 200  # the same on a phone
_WIDE_IN = 760 / 72  # of a screen or paper; a point is a pixel
_NARROW_IN = 366 / 72  # of a phone
_PANEL_IN = 140 / 72
_ALONE_IN = 200 / 72
_SPAN_IN = 20 / 72  # a row of a span of time
_DPI = 150
_LEAST_MIN = 0.01  # of an axis
# a short overestimate may leave the panel
_ROOM = 1.3
_MOST_PCT = 90
_BAR = 0.6  # of the height of a span's row
_TICKS = 6
_DASHES = ("-", "--", ":")  # of cells: by eight colours
_STYLE = files("dronebms.analysis") / "templates" / "plots.mplstyle"
# The creator, and ids of groups: the same in every plot, and no reference uses them.
_NEEDLESS = re.compile(r'(?s)<metadata>.*?</metadata>|(?<=<g) id="[^"]*"')
_NOTHING = "not recorded"
_NO_LIMIT = "no limit tripped"
# Okabe and Ito, and grey.
_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F",
)  # fmt: skip
_Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stack:
    """Panels of one battery over one axis of time."""

    descriptions: tuple[str, ...]  # a sentence for each panel
    wide: str  # SVG element
    narrow: str
    data: str  # JSON of the curves for the page's script


def picture(tracks: Sequence[Track], kind: str) -> bytes:
    """All panels, a column for each battery, as "png" or "svg"."""
    with as_file(_STYLE) as style, rc_context(fname=style):
        heights_in = [
            max(_height_in(panel, track, _ALONE_IN) for track in tracks) for panel in PANELS
        ]
        figure = Figure((_NARROW_IN * len(tracks), sum(heights_in)))
        file = BytesIO()
        grid = figure.subplots(len(PANELS), len(tracks), squeeze=False, height_ratios=heights_in)
        for track, column in zip(tracks, grid.T, strict=True):
            for panel, axes in zip(PANELS, column, strict=True):
                _draw(panel, track, axes)
                axes.set_xlabel("minutes")
            column[0].set_title(f"{pack_name(track.last)}\n{column[0].get_title('left')}")
        made = {"Date" if kind == "svg" else "Software": None}
        figure.savefig(file, format=kind, dpi=_DPI, metadata=made)
    return file.getvalue()


def stack(track: Track) -> Stack:
    """The panels of a battery; those of which nothing was recorded are a description alone."""
    with as_file(_STYLE) as style, rc_context(fname=style):
        # Drawn alone, for its description: an empty panel takes no room in the stack.
        described = [(panel, _draw(panel, track, Figure().subplots())) for panel in PANELS]
        shown = [panel for panel, text in described if not text.endswith((_NOTHING, _NO_LIMIT))]
        wide, boxes = _stacked(shown, track, _WIDE_IN)
        narrow, narrow_boxes = _stacked(shown, track, _NARROW_IN)
    first_s = track.t_s[0]
    data = {
        "minutes": _rounded(_ends(track, np.array(track.t_s))[0]),
        "curves": [curve for panel in shown for curve in _data_of(panel, track)],
        "marks": [[(t_s - first_s) / _MINUTE_S, text] for t_s, text in track.marks()],
        "spans": [
            [name, [[(t_s - first_s) / _MINUTE_S for t_s in span] for span in spans]]
            for name, spans in _spans_of(track)
        ],
        "boxes": [boxes, narrow_boxes],
    }
    descriptions = tuple(text for _, text in described)
    return Stack(descriptions, wide, narrow, json.dumps(data, separators=(",", ":")))


def _stacked(panels: Sequence[Panel], track: Track, width_in: float) -> tuple[str, dict[str, Any]]:
    """SVG element of a stack, and the places of its axes in it, in points from the top left."""
    heights_in = [_height_in(panel, track, _PANEL_IN) for panel in panels] or [_PANEL_IN]
    figure = Figure((width_in, sum(heights_in)))
    rows = figure.subplots(len(heights_in), 1, sharex=True, squeeze=False, height_ratios=heights_in)
    for panel, axes in zip(panels, rows[:, 0], strict=False):
        _draw(panel, track, axes)
        for t_s, _ in track.marks():
            at_min = (t_s - track.t_s[0]) / _MINUTE_S
            axes.axvline(at_min, color="black", linestyle=(0, (1, 4)), linewidth=0.8)
    last = rows[-1, 0]
    last.set_xlabel("minutes")
    ticks = MaxNLocator(_TICKS).tick_values(*last.get_xlim())
    last.set_xticks([tick for tick in ticks if last.get_xlim()[0] <= tick <= last.get_xlim()[1]])
    for label in last.get_xticklabels():
        label.set_gid("tick")
    figure.align_ylabels()
    file = StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    width_pt, height_pt = (72.0 * size for size in figure.get_size_inches())
    places = [axes.get_position() for axes in rows[:, 0]]
    boxes = {
        "size": _rounded([width_pt, height_pt]),
        "x": _rounded([width_pt * places[0].x0, width_pt * places[0].x1]),
        "y": [_rounded([height_pt * (1 - p.y1), height_pt * (1 - p.y0)]) for p in places],
        "minutes": list(map(float, last.get_xlim())),
    }
    element = file.getvalue()[file.getvalue().index("<svg") :]
    element = element.replace('<g id="tick">', '<g class="tick">')
    kind = "wide" if width_in == _WIDE_IN else "narrow"
    element = element.replace("<svg ", f'<svg class="{kind}" aria-hidden="true" ', 1)
    # Ids are those of clips, and the same in both widths and in every battery.
    return _unique(_NEEDLESS.sub("", element), f"{kind}{track.last.index}"), boxes


def _unique(element: str, prefix: str) -> str:
    """The element with ids that no other element of the page has."""
    element = re.sub(r'(?<= id=")', f"{prefix}-", element)
    return re.sub(r'(?<=url\(#)|(?<=href="#)', f"{prefix}-", element)


def _data_of(panel: Panel, track: Track) -> Iterator[dict[str, object]]:
    """The curves of a panel, as the script shows their values."""
    curves = [(name, label, panel.scale) for name, label in panel.curves]
    if panel.name == CELLS:
        curves = [(name, name, 1.0) for name in track.cells()]
    for name, label, scale in curves:
        values = track.column(name) * scale
        if not np.isnan(values).all():
            _, least, greatest = _ends(track, values)
            text = label if panel.name == CELLS else f"{panel.name}, {label}"
            yield {"label": text, "unit": panel.unit, "v": _rounded((least + greatest) / 2)}


def _rounded(values: Iterable[float]) -> list[float | None]:
    """Four significant digits, enough for a reader; `None` is unknown."""
    return [None if np.isnan(value) else float(f"{value:.4g}") for value in values]


def _spans_of(track: Track) -> list[tuple[str, list[list[float]]]]:
    limits = [(limit_label(limit), spans) for limit, spans in track.tripped.items()]
    return [*track.phases.items(), *limits]


def _height_in(panel: Panel, track: Track, usual_in: float) -> float:
    rows = len(track.tripped) + len(track.phases)
    return max(usual_in, _SPAN_IN * (rows + 2)) if panel.name == SPANS else usual_in


def _draw(panel: Panel, track: Track, axes: Axes) -> str:
    """Draw a panel and return its description."""
    title = f"{panel.name}, {panel.unit}" if panel.unit else panel.name
    axes.set_title(title)
    axes.set_xlim(0.0, max(_minutes(track)[-1], _LEAST_MIN))
    texts = {CELLS: _cells, SPANS: _spans}.get(panel.name, _curves)(panel, track, axes)
    if not texts:
        texts = [_NO_LIMIT if panel.name == SPANS else _NOTHING]
        axes.text(0.5, 0.5, texts[0], transform=axes.transAxes, ha="center")
        axes.set_yticks([])
    elif panel.name == CELLS:
        axes.legend(ncols=4 if _is_narrow(axes) else 8)
    elif len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(ncols=2)
    return f"{title}: {'; '.join(texts)}"


def _curves(panel: Panel, track: Track, axes: Axes) -> list[str]:
    texts = []
    top = 0.0
    for name, label in panel.curves:
        values = track.column(name) * panel.scale
        if not np.isnan(values).all():
            axes.plot(*_curve(track, values, axes), label=label)
            texts.append(_description(label, values))
            top = max(top, np.nanpercentile(values, _MOST_PCT))
    if texts and panel.band:
        ends = [_ends(track, track.column(name) * panel.scale) for name in panel.band]
        axes.fill_between(ends[0][0], ends[0][1], ends[1][2], alpha=0.2, label="90 %")
        axes.set_ylim(0.0, _ROOM * top or None)
    return texts


def _cells(_: Panel, track: Track, axes: Axes) -> list[str]:
    """Draw every cell in a colour and dash of its own; the one with the lowest voltage is thick."""
    cells = {name: track.column(name) for name in track.cells()}
    lowest_v = {name: np.nanmin(v) for name, v in cells.items() if not np.isnan(v).all()}
    if not lowest_v:
        return []
    weakest = min(lowest_v, key=lambda name: lowest_v[name])
    for number, name in enumerate(cells):
        if name in lowest_v:
            dash = _DASHES[number // len(_COLOURS) % len(_DASHES)]
            colour = _COLOURS[number % len(_COLOURS)]
            width = 2.0 if name == weakest else 0.8
            label = name.removeprefix("cell ") + (" weakest" if name == weakest else "")
            curve = _curve(track, cells[name], axes)
            axes.plot(*curve, c=colour, ls=dash, linewidth=width, label=label)
    axes.axhline(track.last.pack_data.cutoff_v, color="black", linestyle=":", label="cut-off")
    return [f"{len(lowest_v)} cells", _description(f"the weakest, {weakest},", cells[weakest])]


def _spans(_: Panel, track: Track, axes: Axes) -> list[str]:
    """Draw a bar for each time that the vehicle was armed or in a mode, or a limit was tripped."""
    rows = _spans_of(track)
    for row, (name, spans) in enumerate(rows):
        spans_min = (np.array(spans) - track.t_s[0]) / _MINUTE_S
        bars = [(start, end - start) for start, end in spans_min]
        colour = "#56B4E9" if name in track.phases else "#E69F00"
        axes.broken_barh(bars, (row - _BAR / 2, _BAR), facecolor=colour, edgecolor="black")
        axes.text(0.005, row, name, transform=axes.get_yaxis_transform(), va="center")
    axes.set_yticks([])
    axes.set_ylim(max(len(rows), 1), -1)
    return [name for name, _ in rows]


def _description(label: str, values: _Values) -> str:
    known = values[~np.isnan(values)]
    least = known.min()
    greatest = known.max()
    return f"{label} {known[0]:.4g} to {known[-1]:.4g}, least {least:.4g}, greatest {greatest:.4g}"


def _minutes(track: Track) -> _Values:
    return (np.array(track.t_s) - track.t_s[0]) / _MINUTE_S


def _is_narrow(axes: Axes) -> bool:
    return axes.bbox.width / axes.figure.dpi < (_NARROW_IN + _WIDE_IN) / 2


def _curve(track: Track, values: _Values, axes: Axes) -> tuple[_Values, _Values]:
    bins = _NARROW_BINS if _is_narrow(axes) else _BINS
    minutes, least, greatest = _ends(track, values, bins)
    return np.repeat(minutes, 2), np.column_stack((least, greatest)).ravel()


def _ends(track: Track, values: _Values, bins: int = _BINS) -> tuple[_Values, _Values, _Values]:
    """Times, and the least and the greatest known value of each pixel's time."""
    minutes = _minutes(track)
    pixel = np.floor(minutes / max(minutes[-1], _LEAST_MIN) * bins)
    first = np.unique(pixel, return_index=True)[1]
    return minutes[first], np.fmin.reduceat(values, first), np.fmax.reduceat(values, first)

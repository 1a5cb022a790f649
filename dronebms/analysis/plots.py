"""Plots of a flight with matplotlib (extra `report`), a panel for each row of `panels`.

Times are minutes since the battery's first step. A curve has the least and the greatest value of
each pixel's time and no more, so that the size does not grow with the flight. Equal tracks give
equal bytes.
"""

import re
from collections.abc import Sequence
from importlib.resources import as_file, files
from io import BytesIO, StringIO

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dronebms.analysis.panels import ALARMS, CELLS, PANELS, Panel
from dronebms.analysis.track import Track
from dronebms.presentation.phrases import pack_name
from dronebms.protection.limits import limit_label

_MINUTE_S = 60.0
_BINS = 400  # of a curve, two points each
_WIDTH_IN, _HEIGHT_IN = 366 / 72, 200 / 72  # a point is a pixel of a phone
_ALARM_IN = 20 / 72
_DPI = 150
_LEAST_MIN = 0.01  # of an axis
_ROOM, _MOST_PCT = 1.3, 90  # a short overestimate may leave the panel
_BAR = 0.6  # of the height of an alarm's row
_STYLE = files("dronebms.analysis") / "templates" / "plots.mplstyle"
# The creator, and ids of groups: the same in every plot, and no reference uses them.
_NEEDLESS = re.compile(r'(?s)<metadata>.*?</metadata>|(?<=<g) id="[^"]*"')
_Values = NDArray[np.float64]


def picture(tracks: Sequence[Track], kind: str) -> bytes:
    """All panels, a column for each battery, as "png" or "svg"."""
    with as_file(_STYLE) as style, rc_context(fname=style):
        heights_in = [max(_height_in(panel, track) for track in tracks) for panel in PANELS]
        figure = Figure((_WIDTH_IN * len(tracks), sum(heights_in)))
        file = BytesIO()
        grid = figure.subplots(len(PANELS), len(tracks), squeeze=False, height_ratios=heights_in)
        for track, column in zip(tracks, grid.T, strict=True):
            for panel, axes in zip(PANELS, column, strict=True):
                _draw(panel, track, axes)
            column[0].set_title(f"{pack_name(track.last)}\n{column[0].get_title('left')}")
        made = {"Date" if kind == "svg" else "Software": None}
        figure.savefig(file, format=kind, dpi=_DPI, metadata=made)
    return file.getvalue()


def drawings(track: Track) -> list[tuple[str, str]]:
    """(description, SVG element) of each panel."""
    elements = []
    with as_file(_STYLE) as style, rc_context(fname=style):
        for panel in PANELS:
            figure = Figure((_WIDTH_IN, _height_in(panel, track)))
            file = StringIO()
            description = _draw(panel, track, figure.subplots())
            figure.savefig(file, format="svg", metadata={"Date": None})
            element = file.getvalue()[file.getvalue().index("<svg") :]
            elements.append((description, _NEEDLESS.sub("", element)))
    return elements


def _height_in(panel: Panel, track: Track) -> float:
    return max(_HEIGHT_IN, _ALARM_IN * len(track.tripped) if panel.name == ALARMS else 0.0)


def _draw(panel: Panel, track: Track, axes: Axes) -> str:
    """Draw a panel and return its description."""
    title = f"{panel.name}, {panel.unit}" if panel.unit else panel.name
    axes.set_title(title)
    axes.set_xlabel("minutes")
    axes.set_xlim(0.0, max(_minutes(track)[-1], _LEAST_MIN))
    texts = {CELLS: _cells, ALARMS: _alarms}.get(panel.name, _curves)(panel, track, axes)
    if not texts:
        texts = ["no limit tripped" if panel.name == ALARMS else "not recorded"]
        axes.text(0.5, 0.5, texts[0], transform=axes.transAxes, ha="center")
        axes.set_yticks([])
    elif panel.name != ALARMS:
        axes.legend(ncols=2)
    return f"{title}: {'; '.join(texts)}"


def _curves(panel: Panel, track: Track, axes: Axes) -> list[str]:
    texts = []
    top = 0.0
    for name, label in panel.curves:
        values = track.column(name) * panel.scale
        if not np.isnan(values).all():
            axes.plot(*_curve(track, values), label=label)
            texts.append(_description(label, values))
            top = max(top, np.nanpercentile(values, _MOST_PCT))
    if texts and panel.band:
        ends = [_ends(track, track.column(name) * panel.scale) for name in panel.band]
        axes.fill_between(ends[0][0], ends[0][1], ends[1][2], alpha=0.2, label="90 %")
        axes.set_ylim(0.0, _ROOM * top or None)
    return texts


def _cells(_: Panel, track: Track, axes: Axes) -> list[str]:
    """Draw every cell; the one with the lowest voltage has a label."""
    cells = {name: track.column(name) for name in track.cells()}
    lowest_v = {name: np.nanmin(v) for name, v in cells.items() if not np.isnan(v).all()}
    if not lowest_v:
        return []
    weakest = min(lowest_v, key=lambda name: lowest_v[name])
    for name in lowest_v:
        if name != weakest:
            axes.plot(*_curve(track, cells[name]), color="C0", linestyle="-", linewidth=0.6)
    axes.plot(*_curve(track, cells[weakest]), color="C1", linestyle="--", label=weakest)
    axes.axhline(track.last.pack_data.cutoff_v, color="black", linestyle=":", label="cut-off")
    return [f"{len(lowest_v)} cells", _description(f"the weakest, {weakest},", cells[weakest])]


def _alarms(_: Panel, track: Track, axes: Axes) -> list[str]:
    """Draw a bar for each time that a limit was tripped."""
    names = [limit_label(limit) for limit in track.tripped]
    for row, spans in enumerate(track.tripped.values()):
        spans_min = (np.array(spans) - track.t_s[0]) / _MINUTE_S
        bars = [(start, end - start) for start, end in spans_min]
        axes.broken_barh(bars, (row - _BAR / 2, _BAR), facecolor="C1", edgecolor="black")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-1, max(len(names), 1))
    return names


def _description(label: str, values: _Values) -> str:
    known = values[~np.isnan(values)]
    least, greatest = known.min(), known.max()
    return f"{label} {known[0]:.4g} to {known[-1]:.4g}, least {least:.4g}, greatest {greatest:.4g}"


def _minutes(track: Track) -> _Values:
    return (np.array(track.t_s) - track.t_s[0]) / _MINUTE_S


def _curve(track: Track, values: _Values) -> tuple[_Values, _Values]:
    minutes, least, greatest = _ends(track, values)
    return np.repeat(minutes, 2), np.column_stack((least, greatest)).ravel()


def _ends(track: Track, values: _Values) -> tuple[_Values, _Values, _Values]:
    """Times, and the least and the greatest known value of each pixel's time."""
    minutes = _minutes(track)
    pixel = np.floor(minutes / max(minutes[-1], _LEAST_MIN) * _BINS)
    first = np.unique(pixel, return_index=True)[1]
    return minutes[first], np.fmin.reduceat(values, first), np.fmax.reduceat(values, first)

# SPDX-License-Identifier: Apache-2.0
"""A chart of a trend in lines of text: half blocks in Unicode, stars in ASCII."""

from itertools import pairwise

from dronebms.presentation.trend import Chart, Place
from dronebms.terminal.glyphs import Glyphs

_HALVES = 2  # per row


def chart_lines(chart: Chart, width: int, height: int, glyphs: Glyphs) -> list[str]:
    """A heading and `height` lines, each `width` columns wide.

    A column shows the newest point in it; without one the line continues until the next point.
    """
    scale = f"{chart.bottom} - {chart.top}" if chart.top else ""
    heading = f"{chart.label} {chart.newest}"
    heading = f"{heading}{scale:>{max(width - len(heading), 0)}}"[:width].ljust(width)
    steps = height * _HALVES
    columns = _columns(chart.places, width)
    rows = [[" "] * width for _ in range(height)]
    for x, place in enumerate(columns):
        if place is not None and place.low is not None and place.high is not None:
            for step in range(_step(place.low, steps), _step(place.high, steps) + 1):
                rows[step // _HALVES][x] = glyphs.band
    for x, lit in enumerate(_lit(columns, steps)):
        for row in {step // _HALVES for step in lit}:
            lower = row * _HALVES in lit
            upper = row * _HALVES + 1 in lit
            rows[row][x] = glyphs.halves[2 if lower and upper else int(upper)]
    return [heading, *("".join(row) for row in reversed(rows))]


def _columns(places: tuple[Place, ...], width: int) -> list[Place | None]:
    """The place of each column, `None` where nothing is known."""
    newest: dict[int, Place] = {}
    for place in places:
        newest[round(place.x * (width - 1))] = place
    columns: list[Place | None] = []
    known: Place | None = None
    for x in range(width):
        if x in newest:
            known = newest[x] if newest[x].y is not None else None
        columns.append(known)
    return columns


def _lit(columns: list[Place | None], steps: int) -> list[set[int]]:
    """Half rows of the line in each column, joined with the column to the left."""
    at = [None if place is None or place.y is None else _step(place.y, steps) for place in columns]
    lit = [set() if step is None else {step} for step in at]
    for x, (before, step) in enumerate(pairwise(at), start=1):
        if before is not None and step is not None:
            lit[x] |= set(range(min(before, step) + 1, max(before, step)))
    return lit


def _step(share: float, steps: int) -> int:
    return min(max(round(share * (steps - 1)), 0), steps - 1)

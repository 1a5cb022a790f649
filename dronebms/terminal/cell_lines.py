# SPDX-License-Identifier: Apache-2.0
"""The cells of a pack on a screen, in as few columns as fit."""

from rich.text import Text

from dronebms.core.report import Report
from dronebms.presentation.cells import WIDE_SPREAD_MV, cells_heading, mean_cell_v, spread_mv
from dronebms.presentation.readings import WEAKEST, cell_reading
from dronebms.terminal.lines import QUIET, STALE, VALUE, Frame

_MIN_CELL_WIDTH = 30
_NARROW_CELL_WIDTH = 20  # without a bar, where 30 would push cells off the screen
_SPREAD_BAR_WIDTH = 8
_NARROW_MARK = " <-"
_CELL_COLUMN_WIDTH = 60  # from this width on there is a second column
_MAX_CELL_BAR_WIDTH = 50


def cell_lines(report: Report, rows: int, frame: Frame, *, exact: bool = False) -> list[Text]:
    """The cells in as few columns as fit into `rows` lines, counted downwards.

    `exact` adds millivolts, the difference to the mean, and why the weakest cell is weak.
    """
    cells = len(report.snapshot.cells_v)
    needed = -(-cells // max(rows, 1))
    most = frame.width // _MIN_CELL_WIDTH
    if needed > most and not exact:
        most = frame.width // _NARROW_CELL_WIDTH
    columns = max(min(max(frame.width // _CELL_COLUMN_WIDTH, needed), most), 1)
    height = -(-cells // columns)
    width = frame.width // columns
    mean_v = mean_cell_v(report) if exact else None
    drawn = [_cell(report, index, width, frame, mean_v) for index in range(cells)]
    return [Text().join(drawn[row::height]) for row in range(height)] if cells else []


def cells_text(report: Report, frame: Frame) -> str:
    """Heading of the cells, with a bar of their spread."""
    bar = frame.glyphs.bar((spread_mv(report) or 0.0) / WIDE_SPREAD_MV, _SPREAD_BAR_WIDTH)
    return cells_heading(report, frame.now_s, bar)


def _cell(report: Report, index: int, width: int, frame: Frame, mean_v: float | None) -> Text:
    cell = cell_reading(report, index, frame.now_s, mean_v=mean_v)
    text = Text.assemble((f" {cell.number:>2}  ", QUIET))
    if cell.share is None:
        text.append(f"{cell.value}  {cell.note}", STALE)
    else:
        text.append(f"{cell.value}  ", VALUE)
        mark = f" {cell.mark}" if cell.mark else ""
        if mark and width < _MIN_CELL_WIDTH:
            mark = _NARROW_MARK
        room = width - len(text) - max(len(mark), len(WEAKEST) + 1)
        bar_width = min(max(room, 0), _MAX_CELL_BAR_WIDTH)
        if cell.age is not None and cell.age.stale:
            text.append(cell.age.text.ljust(bar_width), STALE)
        else:
            text.append(frame.glyphs.bar(cell.share, bar_width))
        text.append(mark, VALUE)
    text.truncate(width, pad=True)
    return text

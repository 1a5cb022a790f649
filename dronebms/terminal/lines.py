# SPDX-License-Identifier: Apache-2.0
"""Parts of the lines of a screen: their styles, labels, marks, and what fits."""

from dataclasses import dataclass

from rich.text import Text

from dronebms.core.number_format import printable
from dronebms.core.report import Severity
from dronebms.presentation.trend import Chart
from dronebms.terminal.glyphs import Glyphs

LABEL_WIDTH = 12
_ANSWER_LABEL_WIDTH = 7
STYLES = {
    Severity.OK: "bold cyan",
    Severity.INFO: "bold cyan",
    Severity.WARNING: "bold yellow",
    Severity.CRITICAL: "bold reverse magenta",
    Severity.EMERGENCY: "bold reverse red",
}
QUIET = "dim"
VALUE = "bold"
STALE = "bold yellow"


@dataclass(frozen=True, slots=True)
class Canvas:
    """Size of the terminal in columns and lines, and its character set."""

    width: int
    height: int
    ascii_only: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """Values that the lines of one screen share."""

    now_s: float  # of the newest report
    width: int
    height: int
    glyphs: Glyphs
    link: str | None  # as in View
    clock: Text
    charts: tuple[Chart, ...]


def rule(text: str, frame: Frame) -> Text:
    """A line across the screen with the heading of the lines below."""
    line = frame.glyphs.rule
    return Text(f"{line} {text} ".ljust(frame.width, line), QUIET)


def answer_line(label: str, *parts: Text | str) -> Text:
    """A line of the answers, which all pages begin with."""
    return Text.assemble((f" {label + ' ':<{_ANSWER_LABEL_WIDTH}}", QUIET), *parts)


def labelled(label: str, *parts: Text) -> Text:
    """A line of the readings."""
    return Text.assemble((f" {label:<{LABEL_WIDTH}}", QUIET), *parts)


def marked(severity: Severity, word: str, glyphs: Glyphs) -> Text:
    """A word behind the sign of a severity, in its style."""
    return Text(f"{glyphs.marks[severity]} {word}", STYLES[severity])


def with_end(left: Text, right: Text, width: int) -> Text:
    """A line that ends at a column; its left part is cut where both do not fit."""
    left.truncate(max(width - right.cell_len, 0), pad=True)
    return left + right


def fitted(line: Text, canvas: Canvas) -> Text:
    """A line that the terminal can draw, cut at the end of the canvas."""
    if line.plain != (safe := printable(line.plain, ascii_only=canvas.ascii_only)):
        line.plain = safe
    line.truncate(canvas.width, overflow="crop" if canvas.ascii_only else "ellipsis")
    line.no_wrap = True
    return line

# SPDX-License-Identifier: Apache-2.0
"""Rows of a result for a terminal: a word that grades it, what it is about, and what mends it."""

import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from dronebms.core.number_format import printable

SCREEN = 80, 24  # columns and lines, of the smallest terminal
_INDENT = 9  # columns of the mark


class Mark(Enum):
    """First word of a row, and its colour (ECMA-48)."""

    OK = "ok", 32
    NOTE = "note", 0
    WARNING = "warning", 33
    FAILS = "fails", 31


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the result."""

    mark: Mark
    subject: str  # section or key of the configuration, or the file
    text: str
    mend: str | None = None  # the line that mends a warning or a failure

    def lines(self) -> list[str]:
        """The row, folded for the screen."""
        texts = [printable(f"{self.subject}: {self.text}")]
        if self.mend is not None:
            texts.append(f"-> {printable(self.mend)}")
        width = SCREEN[0] - _INDENT
        folded = [part for text in texts for part in _folded(text, width)]
        word, colour = self.mark.value
        return [f"{_coloured(f'{word:{_INDENT}}', colour)}{folded[0]}"] + [
            f"{'':{_INDENT}}{part}" for part in folded[1:]
        ]


def fitting(rows: Sequence[Row], room: int) -> list[Row]:
    """Rows that fit into so many lines; notes are left out first, then the last rows."""
    ordered = sorted(range(len(rows)), key=lambda index: rows[index].mark is Mark.NOTE)
    lengths = [len(row.lines()) for row in rows]
    if sum(lengths) <= room:
        return list(rows)
    left = room - 1
    kept = []
    for index in ordered:
        if lengths[index] > left:
            break
        left -= lengths[index]
        kept.append(index)
    more = Row(Mark.NOTE, "more", f"{len(rows) - len(kept)} rows, with --limits")
    return [*(rows[index] for index in sorted(kept)), more]


def _folded(text: str, width: int) -> list[str]:
    """Lines of a text; a path or a command that is longer than a line stays whole."""
    return textwrap.wrap(
        text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _coloured(text: str, colour: int) -> str:
    if not colour or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"

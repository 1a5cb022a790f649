# SPDX-License-Identifier: Apache-2.0
"""Characters of bars, charts, rules, severity marks and large digits, in Unicode and in ASCII.

Each is one column wide, so that a screen keeps its width on every terminal.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dronebms.core.report import Severity
from dronebms.presentation.phrases import MARKS


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Characters of a terminal, each one column wide."""

    full: str
    parts: str  # of a bar's last column, emptiest first
    rest: str
    rule: str
    degrees: str
    ohms: str
    marks: Mapping[Severity, str]
    halves: tuple[str, str, str]  # of a chart's line: lower half, upper half, both
    band: str  # of a chart
    digits: Mapping[str, tuple[str, str, str]]  # three rows high

    def bar(self, share: float, width: int) -> str:
        """A bar of `width` columns, filled from the left by `share`, clamped to 0..1."""
        steps = len(self.parts) + 1
        filled = round(min(max(share, 0.0), 1.0) * width * steps)
        drawn = self.full * (filled // steps)
        if filled % steps:
            drawn += self.parts[filled % steps - 1]
        return drawn.ljust(width, self.rest)

    def big(self, text: str) -> list[str]:
        """Three rows that draw digits, colons and dashes large."""
        return [" ".join(row) for row in zip(*(self.digits[c] for c in text), strict=True)]


# fmt: off
UNICODE = Glyphs(
    "█", "▏▎▍▌▋▊▉", "░", "─", "°C", "mΩ", MARKS,
    ("▄", "▀", "█"), "░",
    {
        "0": ("█▀█", "█ █", "▀▀▀"), "1": ("▀█ ", " █ ", "▀▀▀"), "2": ("▀▀█", "█▀▀", "▀▀▀"),
        "3": ("▀▀█", "▀▀█", "▀▀▀"), "4": ("█ █", "▀▀█", "  ▀"), "5": ("█▀▀", "▀▀█", "▀▀▀"),
        "6": ("█▀▀", "█▀█", "▀▀▀"), "7": ("▀▀█", "  █", "  ▀"), "8": ("█▀█", "█▀█", "▀▀▀"),
        "9": ("█▀█", "▀▀█", "▀▀▀"), ":": ("▄",   "▄",   " "),   "-": ("   ", "▀▀▀", "   "),
    },
)
ASCII = Glyphs(
    "#", "", ".", "-", "C", "mOhm", dict(zip(Severity, "*i!#X", strict=True)),
    ("*", "*", "*"), ".",
    {
        "0": (" _ ", "| |", "|_|"), "1": ("   ", "  |", "  |"), "2": (" _ ", " _|", "|_ "),
        "3": (" _ ", " _|", " _|"), "4": ("   ", "|_|", "  |"), "5": (" _ ", "|_ ", " _|"),
        "6": (" _ ", "|_ ", "|_|"), "7": (" _ ", "  |", "  |"), "8": (" _ ", "|_|", "|_|"),
        "9": (" _ ", "|_|", " _|"), ":": (" ",   ".",   "."),   "-": ("   ", "---", "   "),
    },
)
# fmt: on

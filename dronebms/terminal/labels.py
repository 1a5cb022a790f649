"""The words and the signs of screens: how a limit is spoken, the help, and what draws a bar.

Glyphs are one column wide, so that a picture keeps its width on every terminal.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dronebms.core.report import Severity

LIMIT_LABELS = {
    "cell_low": "weakest cell low",
    "cell_critical": "weakest cell at its end",
    "cell_emergency": "weakest cell far below its end",
    "cell_high": "a cell above full",
    "hot": "pack hot",
    "hot_critical": "pack too hot",
    "cold": "pack cold",
    "silent": "gauge silent",
    "lost": "gauge lost",
    "implausible": "gauge contradicts itself",
    "charge_low": "charge low",
    "charge_critical": "charge nearly gone",
    "time_low": "time may run out",
    "time_critical": "time nearly gone",
    "pack_low": "pack voltage at its end",
    "current_2s": "current over 2 s",
    "current_10s": "current over 10 s",
    "current_60s": "current over a minute",
    "cell_sag": "weakest cell sagging",
    "cell_high_critical": "a cell far above full",
    "cell_high_emergency": "a cell may burn",
    "spread_rest": "cells apart at rest",
    "spread_load": "cells apart under load",
    "hot_emergency": "pack may burn",
    "cold_critical": "pack too cold",
    "cold_emergency": "pack far too cold",
    "fet_hot": "pack's transistors hot",
    "fet_critical": "pack's transistors too hot",
    "warming": "pack warms quickly",
    "warming_critical": "pack warms too quickly",
    "blind": "a part of the pack not heard",
    "mismatch": "another pack than was told",
    "gauge_stop": "gauge says stop",
    "gauge_hot": "gauge says too hot",
    "alert": "pack about to protect itself",
    "tripped": "pack protects itself",
    "failed": "pack failed for good",
    "pack_missing": "a pack missing",
    "module_missing": "a module missing",
    "time_soon": "time may be short",
    "time_over": "time used up",
    "home_soon": "turn back soon",
    "home_now": "turn back now",
    "home_lost": "home may be out of reach",
    "limp_home": "too little power to stay up",
    "worn": "pack worn",
    "worn_out": "pack worn out",
    "heat": "current too high for long",
    "heat_critical": "current far too high for long",
    "current_2s_emergency": "current over 2 s far too high",
    "current_60s_critical": "current over a minute too high",
    "current_beyond": "current beyond the gauge",
    "stored_full": "stored full",
    "idle": "drained while idle",
}

HELP = (
    "p  pause: hold this picture; the flight goes on",
    "c  every cell of every battery",
    "l  log of what tripped and cleared",
    "h  this help",
    "q  leave",
    "The same key goes back. Ctrl-L draws everything again.",
    "",
    "9 in 10 sure: meant to hold the truth so often; weak or cold packs less.",
    "OLD: not heard for so long that it may be wrong. -: not known.",
    "A bar of a cell begins where the pack is empty and ends where it is full.",
)


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What a terminal can draw, each one column wide."""

    full: str
    parts: str  # of a bar's last column, emptiest first
    rest: str
    rule: str
    degrees: str
    ohms: str
    marks: Mapping[Severity, str]
    digits: Mapping[str, tuple[str, str, str]]  # three rows high

    def bar(self, share: float, width: int) -> str:
        """Return a bar of `width` columns, filled from the left by a share that is cut to 0..1."""
        steps = len(self.parts) + 1
        filled = round(min(max(share, 0.0), 1.0) * width * steps)
        drawn = self.full * (filled // steps)
        if filled % steps:
            drawn += self.parts[filled % steps - 1]
        return drawn.ljust(width, self.rest)

    def big(self, text: str) -> list[str]:
        """Return three rows that draw digits, colons and dashes large."""
        return [" ".join(row) for row in zip(*(self.digits[c] for c in text), strict=True)]


# fmt: off
UNICODE = Glyphs(
    "█", "▏▎▍▌▋▊▉", "░", "─", "°C", "mΩ", dict(zip(Severity, "●○▲◆■", strict=True)),
    {
        "0": ("█▀█", "█ █", "▀▀▀"), "1": ("▀█ ", " █ ", "▀▀▀"), "2": ("▀▀█", "█▀▀", "▀▀▀"),
        "3": ("▀▀█", "▀▀█", "▀▀▀"), "4": ("█ █", "▀▀█", "  ▀"), "5": ("█▀▀", "▀▀█", "▀▀▀"),
        "6": ("█▀▀", "█▀█", "▀▀▀"), "7": ("▀▀█", "  █", "  ▀"), "8": ("█▀█", "█▀█", "▀▀▀"),
        "9": ("█▀█", "▀▀█", "▀▀▀"), ":": ("▄",   "▄",   " "),   "-": ("   ", "▀▀▀", "   "),
    },
)
ASCII = Glyphs(
    "#", "", ".", "-", "C", "mOhm", dict(zip(Severity, "*i!#X", strict=True)),
    {
        "0": (" _ ", "| |", "|_|"), "1": ("   ", "  |", "  |"), "2": (" _ ", " _|", "|_ "),
        "3": (" _ ", " _|", " _|"), "4": ("   ", "|_|", "  |"), "5": (" _ ", "|_ ", " _|"),
        "6": (" _ ", "|_ ", "|_|"), "7": (" _ ", "  |", "  |"), "8": (" _ ", "|_|", "|_|"),
        "9": (" _ ", "|_|", " _|"), ":": (" ",   ".",   "."),   "-": ("   ", "---", "   "),
    },
)
# fmt: on

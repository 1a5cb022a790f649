# SPDX-License-Identifier: Apache-2.0
"""Numbers, durations and foreign text as strings for people."""

import logging

DASH = "-"  # an unknown value
_FORMULA = frozenset("=+-@")  # first characters (OWASP, CSV injection)
_MINUTE_S = 60
_HOUR_S = 3600
_TENTHS_BELOW_S = 9.95
_SECONDS_BELOW_S = 99.5


def duration(seconds: float | None) -> str:
    """Duration as m:ss, from one hour on as h:mm:ss; a dash if unknown. The sign is dropped."""
    if seconds is None:
        return DASH
    whole = int(abs(seconds))
    hours = whole // _HOUR_S
    minutes = whole // _MINUTE_S % _MINUTE_S
    rest = whole % _MINUTE_S
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def clock_text(t_s: float) -> str:
    """Time of a flight's clock as hh:mm:ss."""
    whole = int(t_s)
    return f"{whole // _HOUR_S:02d}:{whole // _MINUTE_S % _MINUTE_S:02d}:{whole % _MINUTE_S:02d}"


def age(seconds: float) -> str:
    """Age of a reading: tenths of a second below 10 s, seconds below 100 s, then m:ss."""
    if seconds < _TENTHS_BELOW_S:
        return f"{max(seconds, 0.0):.1f} s"
    return f"{seconds:.0f} s" if seconds < _SECONDS_BELOW_S else duration(seconds)


def number(value: float | None, unit: str, decimals: int = 0) -> str:
    """Value with its unit; a dash and the unit if unknown."""
    if value is None:
        return f"{DASH} {unit}"
    return f"{round(value, decimals) + 0.0:.{decimals}f} {unit}"  # + 0.0: no minus before a zero


def counted(number: int, of: str) -> str:
    """A number and what it counts: `1 flight`, `2 flights`."""
    return f"{number} {of}" if number == 1 else f"{number} {of}s"


def printable(text: str, *, ascii_only: bool = False) -> str:
    """Text from outside as one line without characters that control a terminal.

    The names of gauges, files and keys, and whatever else has come from outside, pass here before
    they reach a terminal, a log, a page, a table or a MAVLink text: control characters, escape
    sequences, line ends, bidirectional overrides and what no encoding has become "?".
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "?" for c in text)
    if ascii_only and not text.isascii():
        text = text.encode("ascii", "replace").decode("ascii")
    return text


def printable_lines(text: str) -> str:
    """Lines of a text of our own with names from outside in it, each as `printable`."""
    return "\n".join(map(printable, text.split("\n")))


class PrintableFormatter(logging.Formatter):
    """Formats log records as one printable line."""

    def format(self, record: logging.LogRecord) -> str:
        """The message."""
        return printable(record.getMessage())


def csv_field(value: object) -> object:
    """Field of a CSV file: a text that a spreadsheet would calculate gets a leading apostrophe."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip()[:1] in _FORMULA else text

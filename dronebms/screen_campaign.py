"""A campaign's table as plain text; units are beside the values."""

from collections.abc import Sequence

from dronebms.outcomes import Line
from dronebms.textline import DASH, number

_UNITS = {"v": ("V", 2), "s": ("s", 0), "degc": ("degC", 1), "pct": ("%", 0)}


def picture(lines: Sequence[Line]) -> str:
    """Return the table, a line each, under a heading."""
    rows = [("", "runs", "value", "95 % interval", "least - most")]
    for line in lines:
        name, _, end = line.name.rpartition("_")
        unit, decimals = _UNITS.get(end, ("%", 0))
        name = (name if end in _UNITS else line.name).replace("_", " ")
        sure, all_of_it = (
            DASH if low is None else f"{low:.{decimals}f} - {high:.{decimals}f}"
            for low, high in ((line.low, line.high), (line.least, line.most))
        )
        rows.append((name, str(line.runs), number(line.value, unit, decimals), sure, all_of_it))
    return "\n".join("{:24}{:>8}{:>12}{:>17}{:>17}".format(*row).rstrip() for row in rows)

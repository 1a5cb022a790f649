"""Moved."""

DASH = "-"


_MINUTE_S = 60


_HOUR_S = 3600


_TENTHS_BELOW_S = 9.95


_SECONDS_BELOW_S = 99.5


def duration(seconds: float | None) -> str:
    """Return m:ss, from an hour on h:mm:ss; a dash for unknown. Negative counts as its size."""
    if seconds is None:
        return DASH
    whole = int(abs(seconds))
    hours, minutes, rest = whole // _HOUR_S, whole // _MINUTE_S % _MINUTE_S, whole % _MINUTE_S
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def clock_text(t_s: float) -> str:
    """Return hh:mm:ss of a flight's clock."""
    whole = int(t_s)
    return f"{whole // _HOUR_S:02d}:{whole // _MINUTE_S % _MINUTE_S:02d}:{whole % _MINUTE_S:02d}"


def age(seconds: float) -> str:
    """Return how old something is: tenths while it is fresh, m:ss when it is long gone."""
    if seconds < _TENTHS_BELOW_S:
        return f"{max(seconds, 0.0):.1f} s"
    return f"{seconds:.0f} s" if seconds < _SECONDS_BELOW_S else duration(seconds)


def number(value: float | None, unit: str, decimals: int = 0) -> str:
    """Return a value with its unit, or a dash with it."""
    if value is None:
        return f"{DASH} {unit}"
    return f"{round(value, decimals) + 0.0:.{decimals}f} {unit}"  # + 0.0: no minus before a zero


def printable(text: str, *, ascii_only: bool) -> str:
    """Return a text that cannot harm a terminal, whatever a gauge calls itself."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "?" for c in text)
    if ascii_only and not text.isascii():
        text = text.encode("ascii", "replace").decode("ascii")
    return text

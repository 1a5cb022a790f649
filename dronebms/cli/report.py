"""The commands `dronebms report` and `dronebms plot`: a flight as a page, or as one picture."""

import argparse

from dronebms.analysis.report_page import Track, page, tracks
from dronebms.cli.replay import complete, played
from dronebms.core.atomic_file import atomic_writer
from dronebms.core.errors import ConfigError, FlightLogError
from dronebms.core.optional import needed_by

_KINDS = ("png", "svg")


def report(options: argparse.Namespace) -> int:
    """Write a page that needs nothing else; 1 when a part of the flight is missing."""
    missing = list[str]()
    with needed_by("plots need", "report"):
        from dronebms.analysis import plots  # noqa: PLC0415 - an extra
    flown = _flown(options, missing)
    drawn = [(track, plots.drawings(track)) for track in flown]
    with atomic_writer(options.out) as file:
        file.write(page(options.flight.name, drawn, missing))
    return complete(missing)


def plot(options: argparse.Namespace) -> int:
    """Write all plots as one picture; 1 when a part of the flight is missing."""
    kind, missing = options.out.suffix.lower().removeprefix("."), list[str]()
    if kind not in _KINDS:
        raise ConfigError(f"{options.out} is written as its name ends, in .png or .svg")
    with needed_by("plots need", "report"):
        from dronebms.analysis import plots  # noqa: PLC0415 - an extra
    flown = _flown(options, missing)
    drawn = plots.picture(flown, kind)
    with atomic_writer(options.out) as file:
        file.buffer.write(drawn)
    return complete(missing)


def _flown(options: argparse.Namespace, missing: list[str]) -> list[Track]:
    if options.out.exists() and options.flight.exists() and options.flight.samefile(options.out):
        raise ConfigError(f"{options.out} is the flight itself and is not overwritten")
    with played(options, missing) as reports:
        found = tracks(reports)
    if not found:
        raise FlightLogError(f"{options.flight} holds no step of a flight")
    return found

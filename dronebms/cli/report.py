"""The commands `dronebms report` and `dronebms plot`: a flight as one page or as one picture."""

import argparse

from dronebms.analysis.track import Track, tracks
from dronebms.cli.replay import exit_code_of, learned_packs, replayed
from dronebms.core.atomic_file import atomic_writer
from dronebms.core.errors import ConfigError, FlightLogError
from dronebms.core.optional import needed_by
from dronebms.estimation.pack_memory import UnchangedMemory

_FORMATS = ("png", "svg")


def report(options: argparse.Namespace) -> int:
    """Write the report page; exit code 1 when a part of the flight is missing."""
    with needed_by("report needs", "report"):
        from dronebms.analysis import plots, report_page  # noqa: PLC0415 - an extra
    missing: list[str] = []
    flown = _tracks(options, missing)
    drawn = [(track, plots.drawings(track)) for track in flown]
    with atomic_writer(options.out) as file:
        file.write(report_page.page(options.flight.name, drawn, missing))
    return exit_code_of(missing)


def plot(options: argparse.Namespace) -> int:
    """Write all plots as one picture; exit code 1 when a part of the flight is missing."""
    picture_format = options.out.suffix.lower().removeprefix(".")
    if picture_format not in _FORMATS:
        raise ConfigError(f"{options.out}: the file name must end in .png or .svg")
    with needed_by("plot needs", "report"):
        from dronebms.analysis import plots  # noqa: PLC0415 - an extra
    missing: list[str] = []
    drawn = plots.picture(_tracks(options, missing), picture_format)
    with atomic_writer(options.out) as file:
        file.buffer.write(drawn)
    return exit_code_of(missing)


def _tracks(options: argparse.Namespace, missing: list[str]) -> list[Track]:
    if options.out.exists() and options.flight.exists() and options.flight.samefile(options.out):
        raise ConfigError(f"{options.out} is the flight itself and is not overwritten")
    packs = learned_packs(options)
    unchanged = None if packs is None else UnchangedMemory(packs)
    with replayed(options, missing, unchanged) as reports:
        found = tracks(reports)
    if not found:
        raise FlightLogError(f"{options.flight} contains no step of a flight")
    return found

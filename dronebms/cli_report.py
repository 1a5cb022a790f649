"""The commands `dronebms report` and `dronebms plot`: a flight as a page, or as one picture."""

import argparse
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from rich.console import Console
from rich.progress import Progress

from dronebms.errors import ConfigError, FlightError
from dronebms.replay import reports
from dronebms.report import Track, page, tracks
from dronebms.sidecar import FlightOptions
from dronebms.store import atomic_writer

_KINDS = ("png", "svg")


def report(options: argparse.Namespace) -> None:
    """Write a page that needs nothing else."""
    plots, flown = _plots(), _flown(options)
    with atomic_writer(options.out) as file:
        file.write(page(options.flight.name, [(track, plots.drawings(track)) for track in flown]))


def plot(options: argparse.Namespace) -> None:
    """Write all plots as one picture."""
    kind = options.out.suffix.lower().removeprefix(".")
    if kind not in _KINDS:
        raise ConfigError(f"{options.out} is written as its name ends, in .png or .svg")
    plots, flown = _plots(), _flown(options)
    with atomic_writer(options.out) as file:
        file.buffer.write(plots.picture(flown, kind))


def told(options: argparse.Namespace) -> FlightOptions:
    """Return what a user knows of the pack."""
    return FlightOptions(
        cells=options.cells,
        capacity_mah=options.capacity_mah,
        chemistry=options.chemistry,
        cutoff_cell_v=options.cutoff_cell_v,
    )


@contextmanager
def progress_of(name: str) -> Iterator[Callable[[float], None]]:
    """Show on a terminal how much is done; take the share."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(name, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _flown(options: argparse.Namespace) -> list[Track]:
    if options.out.exists() and options.flight.exists() and options.flight.samefile(options.out):
        raise ConfigError(f"{options.out} is the flight itself and is not overwritten")
    with progress_of(options.flight.name) as progress:
        found = tracks(reports(options.flight, told(options), progress))
    if not found:
        raise FlightError(f"{options.flight} holds no step of a flight")
    return found


def _plots() -> ModuleType:
    """Return what draws; what that needs is loaded only now."""
    try:
        return importlib.import_module("dronebms.plots")
    except ModuleNotFoundError as error:
        hint = "pip install 'dronebms[report]'"
        raise ConfigError(f"plots need {error.name}: {hint}") from error

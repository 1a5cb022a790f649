# SPDX-License-Identifier: Apache-2.0
"""The commands `dronebms report` and `dronebms plot`: a flight as one page or as one picture."""

import argparse
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from dronebms.analysis.flight_comparison import compare
from dronebms.analysis.read_only_memory import UnchangedMemory
from dronebms.analysis.track import Track, tracks
from dronebms.cli.replay import learned_packs, print_missing, replayed
from dronebms.core.atomic_file import atomic_writer
from dronebms.core.clock import known_date
from dronebms.core.errors import ConfigError, FlightLogError
from dronebms.core.optional import needed_by
from dronebms.core.report import Report
from dronebms.flightlogs import refuse_output
from dronebms.health.database import PackHistory
from dronebms.health.flight_detection import FlightDetector
from dronebms.health.flight_record import LOST, FlightRecord
from dronebms.health.sqlite import FILE, SqliteFile

_FORMATS = ("png", "svg")
_PAGES = ("html", "htm")
# by which two records of one flight may differ
_SAME_S = 2.0
_SAME_MAH = 20.0


def report(options: argparse.Namespace) -> int:
    """Write the report page; exit code 1 when a part of the flight is missing."""
    _check_output(options, _PAGES, " (print the page in a browser for a PDF)")
    _silence_matplotlib()
    with needed_by("report needs", "report"):
        from dronebms.analysis import plots, report_page  # noqa: PLC0415 - an extra
    missing: list[str] = []
    records = _Records()
    with atomic_writer(options.out) as file:  # opened before the flight is read, which takes long
        flown = _tracks(options, missing, records)
        history = _history(options)
        batteries = []
        for track in flown:
            record = records.of(track.last.index)
            name, earlier = (None, None) if history is None else _known(history, record)
            changes = [] if record is None or not earlier else compare(record, earlier)
            count = None if earlier is None else len(earlier)
            batteries.append(report_page.Flown(track, plots.stack(track), name, changes, count))
        written = _date(options.flight)
        file.write(report_page.page(options.flight.name, batteries, missing, written))
    return print_missing(missing)


def _date(flight: Path) -> str:
    """Date of a file, as text."""
    written_s = known_date(flight.stat().st_mtime)
    if written_s is None:
        return "unknown date: the clock was not set"
    return f"{datetime.fromtimestamp(written_s, UTC):%Y-%m-%d %H:%M} UTC"


def _silence_matplotlib() -> None:
    """Drop its warnings: without a home folder it uses a temporary one, and works."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


class _Records:
    """Records of the longest flight of each battery, as the pack history would have them."""

    def __init__(self) -> None:
        self._detectors: dict[int, FlightDetector] = {}
        self._found: dict[int, FlightRecord] = {}

    def __call__(self, report: Report) -> None:
        detector = self._detectors.setdefault(report.index, FlightDetector("report"))
        self._keep(report.index, detector.update(report))

    def of(self, index: int) -> FlightRecord | None:
        """Record of a battery; `None` if its pack is unknown or it has not flown."""
        if index in self._detectors:
            self._keep(index, self._detectors[index].record(LOST))
        return self._found.get(index)

    def _keep(self, index: int, record: FlightRecord | None) -> None:
        best = self._found.get(index)
        if record is not None and (best is None or (best.flown_s or 0) < (record.flown_s or 0)):
            self._found[index] = record


def _history(options: argparse.Namespace) -> PackHistory | None:
    """The pack history of the folder that the user names; `None` without one."""
    path = None if options.state_dir is None else options.state_dir / FILE
    if path is None or not path.exists():
        return None
    return PackHistory(SqliteFile(path, writes=False), writes=False)


def _known(
    history: PackHistory, record: FlightRecord | None
) -> tuple[str | None, list[FlightRecord]]:
    """Name of a pack, and its other flights: this one may be in the history already."""
    if record is None:
        return None, []
    label = history.labels().get(record.pack)
    flights = [row for row in history.flights() if row.pack == record.pack]
    others = [row for row in flights if not _is_same(row, record)]
    return None if label is None else label.name, others


def _is_same(one: FlightRecord, other: FlightRecord) -> bool:
    """Whether two records are of one flight: a replay has no date."""
    times = one.flown_s or 0.0, other.flown_s or 0.0
    used = one.used_mah or 0.0, other.used_mah or 0.0
    return abs(times[0] - times[1]) <= _SAME_S and abs(used[0] - used[1]) <= _SAME_MAH


def plot(options: argparse.Namespace) -> int:
    """Write all plots as one picture; exit code 1 when a part of the flight is missing."""
    _check_output(options, _FORMATS)
    ending = options.out.suffix.lower().removeprefix(".")
    picture_format = ending if ending in _FORMATS else _FORMATS[0]  # of a device or a pipe
    _silence_matplotlib()
    with needed_by("plot needs", "report"):
        from dronebms.analysis import plots  # noqa: PLC0415 - an extra
    missing: list[str] = []
    with atomic_writer(options.out) as file:
        file.buffer.write(plots.picture(_tracks(options, missing), picture_format))
    return print_missing(missing)


def _check_output(options: argparse.Namespace, endings: Sequence[str], hint: str = "") -> None:
    """Check the name of the output; a device or a pipe has any.

    Raises:
        ConfigError: the name has another ending, or the output is the flight.
    """
    out = options.out
    refuse_output(out, options.flight)
    is_stream = out.exists() and not out.is_file() and not out.is_dir()
    if not is_stream and out.suffix.lower().removeprefix(".") not in endings:
        names = " or ".join(f".{ending}" for ending in endings)
        raise ConfigError(f"{out}: the file name must end in {names}{hint}")


def _tracks(
    options: argparse.Namespace, missing: list[str], records: Callable[[Report], None] | None = None
) -> list[Track]:
    packs = learned_packs(options)
    unchanged = None if packs is None else UnchangedMemory(packs)
    with replayed(options, missing, unchanged) as reports:
        found = tracks(reports if records is None else _through(records, reports))
    if not found:
        raise FlightLogError(f"{options.flight} contains no step of a flight")
    return found


def _through(sink: Callable[[Report], None], reports: Iterable[Report]) -> Iterator[Report]:
    for report in reports:
        sink(report)
        yield report

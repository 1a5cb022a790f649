"""The command `dronebms packs`: the history of packs, from a vehicle's file or a fleet's database.

Exit code 2: the database is missing or cannot be used, or the pack is not in it.
"""

import argparse
import csv
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from dronebms.analysis.replay import reports
from dronebms.cli.exit_codes import DONE, print_stderr
from dronebms.cli.replay import flight_options, flight_reader
from dronebms.core.atomic_file import atomic_writer
from dronebms.core.errors import ConfigError, FlightLogError
from dronebms.core.number_format import DASH, csv_field, number, printable
from dronebms.core.optional import needed_by
from dronebms.health.ageing_trend import LEAST_FLIGHTS, AgeingForecast, forecast_ageing
from dronebms.health.capacity import pack_capacity
from dronebms.health.database import FILE, Database, PackHistory, SqliteFile
from dronebms.health.flight_detection import FlightDetector
from dronebms.health.flight_record import LOST, FlightRecord
from dronebms.protection.limits import limit_label
from dronebms.recording.format import is_recording

_BARS, _ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-=+*%#"
_DRAWN = 40  # flights in a row of bars
_FAR = 1000  # flights: horizon of the forecast
_DAY_S = 86_400.0
_PIPE_COLUMNS = 1000  # no line breaks in a pipe
_ROWS = (  # of one pack: title, unit, decimals, column
    ("relative capacity", "", 2, "relative_capacity"),
    ("resistance", "mohm", 2, "resistance_mohm"),
    ("cell spread, rest", "mV", 0, "spread_rest_mv"),
    ("cell spread, load", "mV", 0, "spread_load_mv"),
    ("lowest cell below", "mV", 0, "lowest_by_mv"),
    ("hottest", "degC", 0, "hottest_degc"),
)
PackRows = list[tuple[str, list[FlightRecord], AgeingForecast]]


def packs(options: argparse.Namespace) -> int:
    """Add or copy flights, and print the history."""
    path = options.state_dir / FILE
    if options.add:
        console = Console(stderr=True)
        names = track(options.add, "flights", console=console, disable=not console.is_terminal)
        added = [flight for name in names for flight in _read(Path(name), options)]
        PackHistory(SqliteFile(path, writes=True), writes=True).put(added)
        print_stderr(f"{path}: {len(added)} flights read from {len(options.add)} files")
    if options.database is None and not (path.exists() and path.stat().st_size):
        raise ConfigError(
            f"no pack history in {options.state_dir}: a service with [state] dir writes one, "
            f"--add FLIGHT starts one, --state-dir selects another folder"
        )
    url = options.database
    database = SqliteFile(path, writes=False) if url is None else _fleet(url)
    flights = PackHistory(database, writes=False).flights()
    if options.push is not None:
        PackHistory(_fleet(options.push), writes=True).put(flights)
        print_stderr(f"{options.push.rpartition('@')[2]}: {len(flights)} flights copied")
    if not flights:
        print_stderr(f"{database.name} contains no flight")
    selected = _selected(flights, options.serial, database.name)
    if options.csv is not None:
        _write_csv([flight for _, rows, _ in selected for flight in rows], options.csv)
    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    console = Console(markup=False, highlight=False, width=width)
    if options.json:
        for pack, rows, forecast in selected:
            known = pack_capacity(rows)
            line = {
                "pack": pack,
                "capacity": None if known is None else asdict(known),
                "outlook": asdict(forecast),
                "flights": list(map(asdict, rows)),
            }
            print(json.dumps(line, allow_nan=False))
    elif options.serial is None:
        console.print(_table(selected))
    else:
        _print_pack(*selected[0], console)
    return DONE


def _fleet(url: str) -> Database:
    """The database of a fleet (extra `fleet`)."""
    with needed_by("--database and --push need", "fleet"):
        from dronebms.health.postgres import PostgresDatabase  # noqa: PLC0415 - an extra
    return PostgresDatabase(url)


def _read(path: Path, options: argparse.Namespace) -> list[FlightRecord]:
    """Flight records of a recorded flight; their ids depend on the content of the file alone."""
    found: dict[int, FlightDetector] = {}
    ended = []
    name = ""
    stated = flight_options(options)
    read = flight_reader(options.battery - 1)
    for report in reports(path, stated, lambda _: None, read=read):
        if not name:
            with path.open("rb") as file:
                name = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        ended.append(found.setdefault(report.index, FlightDetector(name)).update(report))
    rows = [row for row in (*ended, *(flights.record(LOST) for flights in found.values())) if row]
    if not rows:
        hint = "" if is_recording(path) else "; set pack_id in its sidecar or with --pack-id"
        raise FlightLogError(f"{path} contains no flight of a named pack{hint}")
    return rows


def _selected(flights: Sequence[FlightRecord], name: str | None, place: str) -> PackRows:
    """All packs, or the named one, with their flights in order."""
    by_pack: dict[str, list[FlightRecord]] = {}
    for flight in flights:
        by_pack.setdefault(flight.pack, []).append(flight)
    names = [p for p, rows in by_pack.items() if name in (None, p, str(rows[-1].serial))]
    if name is not None and len(names) != 1:
        found = f"{name!r} matches {'several packs' if names else 'no pack'} in {place}"
        raise ConfigError(f"{found}: {', '.join(map(repr, names or by_pack))}")
    return [(pack, by_pack[pack], forecast_ageing(by_pack[pack])) for pack in names]


def _write_csv(flights: Sequence[FlightRecord], path: Path) -> None:
    with atomic_writer(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(FlightRecord))
        for flight in flights:
            values = asdict(flight).values()
            writer.writerow(json.dumps(v) if isinstance(v, tuple) else csv_field(v) for v in values)


# ---------------------------------------------------------------------- texts


def sentences(flights: Sequence[FlightRecord], forecast: AgeingForecast) -> list[str]:
    """Findings about a pack, the worst first."""
    found = []
    weak = forecast.weak
    if weak is not None:
        sign = "-" if weak.what == "capacity" else "+"
        by = f"{weak.what} {sign}{weak.by:.0%} from the mean cell"
        found.append(f"weak cell {weak.cell}: {by}, since flight {weak.since}")
    if forecast.left:
        found.append(_end(forecast.left, flights, forecast.days_per_flight))
    for quantity, trend in (("capacity", forecast.capacity), ("resistance", forecast.resistance)):
        if trend is not None and trend.changed is not None:
            found.append(f"{quantity} ages faster since flight {trend.changed}")
    if not forecast.left:
        count = sum(flight.relative_capacity is not None for flight in flights)
        found.append(f"no forecast: {count} of {LEAST_FLIGHTS} flights with a measured capacity")
    return found


def _end(left: Sequence[float | None], flights: Sequence[FlightRecord], days: float | None) -> str:
    low, middle, high = (_FAR if n is None else min(n, _FAR) for n in left)
    if low == _FAR:
        return f"not worn out within {_FAR} flights"
    if high == 0:
        return "worn out"
    median, most = (f"{n:.0f}" if n < _FAR else f"more than {_FAR}" for n in (middle, high))
    text = f"worn out in {median} flights (90 %: {low:.0f} to {most})"
    last_s = flights[-1].started_unix_s
    if days is None or last_s is None or middle == _FAR:
        return text
    return f"{text}; about {_day(last_s + days * middle * _DAY_S)}"


def _day(unix_s: float | None) -> str:
    return DASH if unix_s is None else f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d}"


def capacity_text(flights: Sequence[FlightRecord]) -> str:
    """Capacity of a pack with its 90 % interval, and its share of the rated one."""
    known = pack_capacity(flights)
    if known is None:
        return DASH
    ah, low_ah, high_ah = (mah / 1000.0 for mah in (known.mah, known.low_mah, known.high_mah))
    return f"{ah:.1f} Ah ({low_ah:.1f}-{high_ah:.1f}), {100.0 * known.rated_frac:.0f} % of rated"


def _table(selected: PackRows) -> Table:
    """A line for each pack."""
    table = Table(box=None, pad_edge=False, header_style="")
    for title in (
        "pack",
        "flights",
        "last",
        "capacity",
        "capacity trend",
        "resistance trend",
        "findings",
    ):
        table.add_column(title, overflow="fold")
    for pack, flights, forecast in selected:
        trends = (forecast.capacity, forecast.resistance)
        shares = (DASH if trend is None else f"{trend.now:.0%}" for trend in trends)
        day = _day(flights[-1].started_unix_s)
        findings = "; ".join(sentences(flights, forecast))
        capacity = capacity_text(flights)
        table.add_row(printable(pack), str(len(flights)), day, capacity, *shares, findings)
    return table


def _print_pack(
    pack: str, flights: Sequence[FlightRecord], forecast: AgeingForecast, console: Console
) -> None:
    """Print one pack: newest values, a bar for each flight, and findings."""
    last = flights[-1]
    kind = f"{last.chemistry} {last.cells or DASH} cells, {number(last.rated_mah, 'mAh')}"
    lines = [f"{pack}: {kind}, {len(flights)} flights, last {_day(last.started_unix_s)}"]
    lines.append(f"{'capacity':18}{capacity_text(flights)}")
    bars = _BARS if console.encoding.lower().startswith("utf") else _ASCII_BARS
    for title, unit, decimals, name in _ROWS:
        values = [getattr(flight, name) for flight in flights[-_DRAWN:]]
        newest = next((value for value in reversed(values) if value is not None), None)
        lines.append(f"{title:18}{number(newest, unit, decimals):>12}  {_bars_of(values, bars)}")
    excursions = [f"{limit_label(name)} {seconds:.0f} s" for name, seconds, _ in last.excursions]
    lines.append(f"tripped limits in the last flight: {', '.join(excursions) or 'none'}")
    for line in (*lines, *sentences(flights, forecast)):
        console.print(printable(line))


def _bars_of(values: Sequence[float | None], bars: str) -> str:
    """A bar character for each value, scaled to their range; a blank for unknown."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    step = (high - low) / (len(bars) - 1) or 1.0
    return "".join(" " if value is None else bars[round((value - low) / step)] for value in values)

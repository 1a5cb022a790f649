"""The command `dronebms packs`: the passports of packs, in a vehicle's file or a fleet's database.

2 is a database that is not there or cannot be used, or a pack that is not in it.
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
from dronebms.cli.exit_codes import print_stderr
from dronebms.cli.replay import flight_reader
from dronebms.core.atomic_file import atomic_writer
from dronebms.core.errors import ConfigError, FlightLogError
from dronebms.core.format import DASH, number
from dronebms.core.optional import needed_by
from dronebms.flightlogs import NO_OPTIONS
from dronebms.health.ageing_trend import LEAST_FLIGHTS, AgeingForecast, forecast_ageing
from dronebms.health.database import FILE, Database, PackHistory, SqliteFile
from dronebms.health.flight_detection import FlightDetector
from dronebms.health.flight_record import LOST, FlightRecord
from dronebms.terminal.phrases import limit_label

_BARS, _ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-=+*%#"
_DRAWN = 40  # flights in a row of bars
_FAR = 1000  # flights: further nobody sees
_DAY_S = 86_400.0
_PIPE_COLUMNS = 1000  # nothing is folded where nobody looks at it
_ROWS = (  # of one pack: title, unit, decimals, column
    ("capacity", "mAh", 0, "capacity_mah"),
    ("resistance", "mohm", 2, "resistance_mohm"),
    ("cells apart, rest", "mV", 0, "spread_rest_mv"),
    ("cells apart, load", "mV", 0, "spread_load_mv"),
    ("lowest cell by", "mV", 0, "lowest_by_mv"),
    ("hottest", "degC", 0, "hottest_degc"),
)
Known = list[tuple[str, list[FlightRecord], AgeingForecast]]


def packs(options: argparse.Namespace) -> None:
    """Add what is to be added, and show what is known."""
    path = options.state_dir / FILE
    if options.add:
        console = Console(stderr=True)
        names = track(options.add, "flights", console=console, disable=not console.is_terminal)
        added = [flight for name in names for flight in _read(Path(name))]
        PackHistory(SqliteFile(path, writes=True), writes=True).put(added)
        print_stderr(f"{path}: flights taken in: {len(added)}, files: {len(options.add)}")
    if options.database is None and not path.exists():
        raise ConfigError(
            f"no passports in {options.state_dir}: a service with [state] dir keeps them, "
            f"--add FLIGHT begins with a flight, --state-dir names another folder"
        )
    url = options.database
    database = SqliteFile(path, writes=False) if url is None else _fleet(url)
    flights = PackHistory(database, writes=False).flights()
    if options.push is not None:
        PackHistory(_fleet(options.push), writes=True).put(flights)
        print_stderr(f"{options.push.rpartition('@')[2]}: flights there now: {len(flights)}")
    if not flights:
        print_stderr(f"{database.name} has no flight yet")
    known = _chosen(flights, options.serial, database.name)
    if options.csv is not None:
        _write_csv([flight for _, rows, _ in known for flight in rows], options.csv)
    wide = None if sys.stdout.isatty() else _PIPE_COLUMNS
    console = Console(markup=False, highlight=False, width=wide)
    if options.json:
        for pack, rows, seen in known:
            told = {"pack": pack, "outlook": asdict(seen), "flights": list(map(asdict, rows))}
            print(json.dumps(told, allow_nan=False))
    elif options.serial is None:
        console.print(_all(known))
    else:
        _one(*known[0], console)


def _fleet(url: str) -> Database:
    """Return a fleet's database; what that needs is loaded only now."""
    with needed_by("--database and --push need", "fleet"):
        from dronebms.health.postgres import PostgresDatabase  # noqa: PLC0415 - an extra
    return PostgresDatabase(url)


def _read(path: Path) -> list[FlightRecord]:
    """Return the flights of a recorded one; of one file they have the same ids every time."""
    found: dict[int, FlightDetector] = {}
    ended, name = [], ""
    for report in reports(path, NO_OPTIONS, lambda _: None, read=flight_reader()):
        if not name:
            with path.open("rb") as file:
                name = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        ended.append(found.setdefault(report.index, FlightDetector(name)).update(report))
    rows = [row for row in (*ended, *(flights.record(LOST) for flights in found.values())) if row]
    if not rows:
        raise FlightLogError(f"{path} has no flight of a pack with a name: pack_id in its sidecar")
    return rows


def _chosen(flights: Sequence[FlightRecord], name: str | None, place: str) -> Known:
    """Return packs with their flights in order: all, or the one that is asked for."""
    by_pack: dict[str, list[FlightRecord]] = {}
    for flight in flights:
        by_pack.setdefault(flight.pack, []).append(flight)
    names = [p for p, rows in by_pack.items() if name in (None, p, str(rows[-1].serial))]
    if name is not None and len(names) != 1:
        found = f"{name!r} is {'several packs' if names else 'no pack'} of {place}"
        raise ConfigError(f"{found}: {', '.join(map(repr, names or by_pack))}")
    return [(pack, by_pack[pack], forecast_ageing(by_pack[pack])) for pack in names]


def _write_csv(flights: Sequence[FlightRecord], path: Path) -> None:
    with atomic_writer(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(FlightRecord))
        for flight in flights:
            values = asdict(flight).values()
            writer.writerow(json.dumps(v) if isinstance(v, tuple) else v for v in values)


# ---------------------------------------------------------------------- words and pictures


def sentences(flights: Sequence[FlightRecord], seen: AgeingForecast) -> list[str]:
    """Return what a person should know of a pack, the worst first."""
    said, weak = [], seen.weak
    if weak is not None:
        does, more = ("holds", "less") if weak.what == "capacity" else ("resists", "more")
        by = f"{does} {weak.by:.0%} {more} than the mean"
        said.append(f"cell {weak.cell} is weak: {by}, told since flight {weak.since}")
    if seen.left:
        said.append(_end(seen.left, flights, seen.days_per_flight))
    for what, trend in (("capacity", seen.capacity), ("resistance", seen.resistance)):
        if trend is not None and trend.changed is not None:
            said.append(f"{what} ages faster since flight {trend.changed}")
    if not seen.left:
        count = sum(flight.capacity_mah is not None for flight in flights)
        said.append(f"no forecast: flights with a known capacity {count}, needed {LEAST_FLIGHTS}")
    return said


def _end(left: Sequence[float | None], flights: Sequence[FlightRecord], days: float | None) -> str:
    low, middle, high = (_FAR if n is None else min(n, _FAR) for n in left)
    if low == _FAR:
        return f"not worn out within {_FAR} flights"
    if high == 0:
        return "worn out"
    about, _, most = (f"{n:.0f}" if n < _FAR else f"more than {_FAR}" for n in (middle, low, high))
    text = f"worn out in {about} flights, 9 in 10 sure: {low:.0f} to {most}"
    last_s = flights[-1].started_unix_s
    if days is None or last_s is None or middle == _FAR:
        return text
    return f"{text}; about {_day(last_s + days * middle * _DAY_S)}"


def _day(unix_s: float | None) -> str:
    return DASH if unix_s is None else f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d}"


def _all(known: Known) -> Table:
    """Return a line for each pack."""
    table = Table(box=None, pad_edge=False, header_style="")
    for title in ("pack", "flights", "last", "capacity", "resistance", "to know"):
        table.add_column(title, overflow="fold")
    for pack, flights, seen in known:
        trends = (seen.capacity, seen.resistance)
        shares = (DASH if trend is None else f"{trend.now:.0%}" for trend in trends)
        day, to_know = _day(flights[-1].started_unix_s), "; ".join(sentences(flights, seen))
        table.add_row(pack, str(len(flights)), day, *shares, to_know)
    return table


def _one(
    pack: str, flights: Sequence[FlightRecord], seen: AgeingForecast, console: Console
) -> None:
    """Print one pack: how its flights went, a character each, and what to know."""
    last = flights[-1]
    made = f"{last.chemistry} {last.cells or DASH} cells, {number(last.rated_mah, 'mAh')}"
    lines = [f"{pack}: {made}, flights: {len(flights)}, last {_day(last.started_unix_s)}"]
    bars = _BARS if console.encoding.lower().startswith("utf") else _ASCII_BARS
    for title, unit, decimals, name in _ROWS:
        values = [getattr(flight, name) for flight in flights[-_DRAWN:]]
        newest = next((value for value in reversed(values) if value is not None), None)
        lines.append(f"{title:18}{number(newest, unit, decimals):>12}  {_drawn(values, bars)}")
    beyond = [f"{limit_label(name)} {seconds:.0f} s" for name, seconds, _ in last.excursions]
    lines.append(f"limits in the last flight: {', '.join(beyond) or 'none'}")
    for line in (*lines, *sentences(flights, seen)):
        console.print(line)


def _drawn(values: Sequence[float | None], bars: str) -> str:
    """Return a character a value between the least and the most; a blank for unknown."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    step = (high - low) / (len(bars) - 1) or 1.0
    return "".join(" " if value is None else bars[round((value - low) / step)] for value in values)

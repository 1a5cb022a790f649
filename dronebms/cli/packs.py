"""The command `dronebms packs`: the history of packs, and what was learned of them.

The history is that of a vehicle's file or a fleet's database. Exit code 1: a file of what was
learned is damaged and not exported. 2: the database is missing or cannot be used, the pack is not
in it, or a file to import is damaged. 75: a service uses the folder that is imported into.
"""

import argparse
import csv
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from dronebms.analysis.replay import reports
from dronebms.cli.exit_codes import DONE, FAILED, print_stderr
from dronebms.cli.replay import flight_options, flight_reader
from dronebms.core.atomic_file import atomic_writer
from dronebms.core.bounded_input import read_bytes
from dronebms.core.errors import ConfigError, FlightLogError, InUseError
from dronebms.core.number_format import DASH, csv_field, number, printable
from dronebms.core.optional import needed_by
from dronebms.core.state import from_json
from dronebms.estimation.learned_export import (
    MAX_EXPORT_BYTES,
    EverythingLearned,
    export_from_json,
    export_to_json,
    merge,
    read_everything,
)
from dronebms.estimation.model_parameters import FITTED
from dronebms.estimation.pack_memory import (
    LEARNED_FOLDER,
    MALFORMED,
    LearnedPack,
    PackMemoryFolder,
)
from dronebms.estimation.usual_power import FlightPower, UsualPower, usual_power
from dronebms.health.ageing_trend import LEAST_FLIGHTS, AgeingForecast, forecast_ageing
from dronebms.health.capacity import pack_capacity
from dronebms.health.database import FILE, Database, PackHistory, SqliteFile, record_of
from dronebms.health.flight_detection import FlightDetector
from dronebms.health.flight_record import LOST, FlightRecord
from dronebms.protection.limits import limit_label
from dronebms.recording.format import is_recording
from dronebms.service.checkpoint import CHECKPOINT
from smartbattery.device_lock import is_locked

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
_TITLES = (
    "pack",
    "flights",
    "last",
    "capacity",
    "capacity trend",
    "resistance trend",
    "findings",
)
_HISTORY = "history"  # key of the flights in an export


@dataclass(frozen=True, slots=True)
class PackRow:
    """What is known of one pack."""

    name: str
    flights: list[FlightRecord]
    forecast: AgeingForecast
    learned: LearnedPack | None
    usual: UsualPower | None  # of its vehicle, or its own


def packs(options: argparse.Namespace) -> int:
    """Add, copy or move flights and what was learned, and print the history."""
    memory = PackMemoryFolder(options.state_dir / LEARNED_FOLDER)
    _read_in(options, memory)
    damaged: list[str] = []
    everything = read_everything(memory, damaged)
    flights, place = _history(options, everything)
    _write_out(options, everything, flights)
    if not flights and not everything.packs:
        print_stderr(f"{place} contains no flight")
    selected = _selected(flights, everything, options.serial, place)
    if options.csv is not None:
        _write_csv([flight for row in selected for flight in row.flights], options.csv)
    _print(options, selected, everything)
    for sentence in damaged:
        print_stderr(sentence)
    return FAILED if damaged and options.export is not None else DONE


def _print(
    options: argparse.Namespace, selected: Sequence[PackRow], everything: EverythingLearned
) -> None:
    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    console = Console(markup=False, highlight=False, width=width)
    if options.json:
        for row in selected:
            print(json.dumps(_json_of(row), allow_nan=False))
    elif options.serial is None:
        for number, table in enumerate(_tables(selected, everything)):
            console.print(*[""] * bool(number), table, sep="\n")
    else:
        _print_pack(selected[0], console)


def _read_in(options: argparse.Namespace, memory: PackMemoryFolder) -> None:
    """Add recorded flights, and merge an export."""
    path = options.state_dir / FILE
    if options.add:
        console = Console(stderr=True)
        names = track(options.add, "flights", console=console, disable=not console.is_terminal)
        added = [flight for name in names for flight in _read(Path(name), options)]
        PackHistory(SqliteFile(path, writes=True), writes=True).put(added)
        print_stderr(f"{path}: {len(added)} flights read from {len(options.add)} files")
    imported: Path | None = getattr(options, "import")
    if imported is not None:
        _import(imported, options.state_dir, memory)


def _write_out(
    options: argparse.Namespace, everything: EverythingLearned, flights: list[FlightRecord]
) -> None:
    """Export everything, and copy the flights to a fleet's database."""
    if options.export is not None:
        _export(options.export, everything, flights)
    if options.push is not None:
        PackHistory(_fleet(options.push), writes=True).put(flights)
        print_stderr(f"{options.push.rpartition('@')[2]}: {len(flights)} flights copied")


def _history(
    options: argparse.Namespace, everything: EverythingLearned
) -> tuple[list[FlightRecord], str]:
    """The flights, and the name of their database."""
    path, url = options.state_dir / FILE, options.database
    if url is None and not (path.exists() and path.stat().st_size):
        if everything.packs or everything.vehicles:
            return [], str(options.state_dir)
        raise ConfigError(
            f"no pack history in {options.state_dir}: a service with [state] dir writes one, "
            f"--add FLIGHT starts one, --state-dir selects another folder"
        )
    database = SqliteFile(path, writes=False) if url is None else _fleet(url)
    return PackHistory(database, writes=False).flights(), database.name


def _export(path: Path, everything: EverythingLearned, flights: list[FlightRecord]) -> None:
    """Write what was learned and the history to one file."""
    content = export_to_json(everything) | {_HISTORY: list(map(asdict, flights))}
    text = json.dumps(content, allow_nan=False, indent=1)
    if len(text) > MAX_EXPORT_BYTES:
        raise ConfigError(f"{path} is not written: {len(text)} bytes are more than an import reads")
    with atomic_writer(path) as file:
        file.write(text)
    print_stderr(
        f"{path}: {len(everything.packs)} packs, {len(everything.models)} models, "
        f"{len(everything.vehicles)} vehicles and {len(flights)} flights written"
    )


def _import(path: Path, state_dir: Path, memory: PackMemoryFolder) -> None:
    """Merge a file of `_export`; all of it is validated before anything is written."""
    if is_locked(state_dir / CHECKPOINT):
        raise InUseError(f"{state_dir} is in use by a dronebms run: stop it to import")
    try:
        content = from_json(read_bytes(path, MAX_EXPORT_BYTES), MAX_EXPORT_BYTES)
        everything = export_from_json(content)
        flights = [record_of(row) for row in content[_HISTORY]]
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except MALFORMED as error:
        reason = f"{error}".splitlines()[0]
        raise ConfigError(f"{path} is not an export of dronebms packs: {reason:.160}") from error
    for sentence in merge(memory, everything):
        print_stderr(sentence)
    if flights:
        database = SqliteFile(state_dir / FILE, writes=True)
        PackHistory(database, writes=True).put(flights)
    print_stderr(f"{path}: {len(everything.packs)} packs and {len(flights)} flights read")


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


def _selected(
    flights: Sequence[FlightRecord], everything: EverythingLearned, name: str | None, place: str
) -> list[PackRow]:
    """All packs, or the named one, with their flights in order and what was learned."""
    by_pack: dict[str, list[FlightRecord]] = {}
    for flight in flights:
        by_pack.setdefault(flight.pack, []).append(flight)
    for pack in everything.packs:
        by_pack.setdefault(pack, [])
    serials = {pack: str(rows[-1].serial) for pack, rows in by_pack.items() if rows}
    names = [pack for pack in by_pack if name in (None, pack, serials.get(pack))]
    if name is not None and len(names) != 1:
        found = f"{name!r} matches {'several packs' if names else 'no pack'} in {place}"
        raise ConfigError(f"{found}: {', '.join(map(repr, names or by_pack))}")
    return [_row(pack, by_pack[pack], everything) for pack in names]


def _row(pack: str, flights: list[FlightRecord], everything: EverythingLearned) -> PackRow:
    learned = everything.packs.get(pack)
    power: tuple[FlightPower, ...] = ()
    if learned is not None:
        vehicle = learned.vehicle
        power = learned.power if vehicle is None else everything.vehicles.get(vehicle, ())
    return PackRow(pack, flights, forecast_ageing(flights), learned, usual_power(power, FITTED))


def _json_of(row: PackRow) -> dict[str, object]:
    """The line of a pack."""
    learned = None
    if row.learned is not None:
        capacity_pct, sd_pct = row.learned.capacity_pct
        learned = {
            "model": row.learned.model,
            "vehicle": row.learned.vehicle,
            "flights": row.learned.flights,
            "rated_mah": row.learned.rated_mah,
            "capacity_pct": capacity_pct,
            "capacity_sd_pct": sd_pct,
            "resistance_pct": row.learned.resistance_pct,
            "usual_w": None if row.usual is None else row.usual.mean_w,
            "usual_sd_pct": None if row.usual is None else 100.0 * row.usual.sd,
        }
    known = pack_capacity(row.flights)
    return {
        "pack": row.name,
        "capacity": None if known is None else asdict(known),
        "outlook": asdict(row.forecast),
        "flights": list(map(asdict, row.flights)),
        "learned": learned,
    }


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


def _tables(selected: Sequence[PackRow], everything: EverythingLearned) -> list[Table]:
    """A line for each pack, each learned pack and each vehicle; no table without lines."""
    history = _table(_TITLES, [_history_line(row) for row in selected if row.flights])
    titles = "learned pack", "model", "vehicle", "flights", "capacity", "resistance"
    learned = _table(titles, [_learned_line(row) for row in selected if row.learned is not None])
    found = ((name, usual_power(each, FITTED), each) for name, each in everything.vehicles.items())
    vehicles = [
        (printable(name), str(len(each)), f"{usual.mean_w:.0f} W", f"{100.0 * usual.sd:.0f} %")
        for name, usual, each in found
        if usual is not None
    ]
    flown = _table(("vehicle", "flights", "usual power", "next flight within"), vehicles)
    return [table for table in (history, learned, flown) if table.row_count]


def _table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="")
    for title in titles:
        table.add_column(title, overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table


def _history_line(row: PackRow) -> tuple[str, ...]:
    trends = row.forecast.capacity, row.forecast.resistance
    shares = (DASH if trend is None else f"{trend.now:.0%}" for trend in trends)
    day = _day(row.flights[-1].started_unix_s)
    findings = "; ".join(sentences(row.flights, row.forecast))
    capacity = capacity_text(row.flights)
    return (printable(row.name), str(len(row.flights)), day, capacity, *shares, findings)


def _learned_line(row: PackRow) -> tuple[str, ...]:
    learned = row.learned
    if learned is None:
        return ()
    capacity_pct, sd_pct = learned.capacity_pct
    return (
        printable(row.name),
        printable(learned.model or DASH),
        printable(learned.vehicle or DASH),
        str(learned.flights),
        f"{capacity_pct:.0f} % of rated (+- {sd_pct:.0f} %)",
        f"{learned.resistance_pct:.0f} % of usual",
    )


def _print_pack(row: PackRow, console: Console) -> None:
    """Print one pack: newest values, a bar for each flight, findings, and what was learned."""
    lines = [f"{row.name}: no flight in the history"]
    if row.flights:
        lines = _history_lines(row, console)
    if row.learned is not None:
        _, model, vehicle, count, capacity, resistance = _learned_line(row)
        usual = (
            ""
            if row.usual is None
            else f", {row.usual.mean_w:.0f} W (+- {100.0 * row.usual.sd:.0f} %)"
        )
        lines.append(f"learned in {count} flights: capacity {capacity}, resistance {resistance}")
        lines.append(f"model {model}, vehicle {vehicle}{usual}")
    for line in lines:
        console.print(printable(line))


def _history_lines(row: PackRow, console: Console) -> list[str]:
    flights, last = row.flights, row.flights[-1]
    kind = f"{last.chemistry} {last.cells or DASH} cells, {number(last.rated_mah, 'mAh')}"
    lines = [f"{row.name}: {kind}, {len(flights)} flights, last {_day(last.started_unix_s)}"]
    lines.append(f"{'capacity':18}{capacity_text(flights)}")
    bars = _BARS if console.encoding.lower().startswith("utf") else _ASCII_BARS
    for title, unit, decimals, name in _ROWS:
        values = [getattr(flight, name) for flight in flights[-_DRAWN:]]
        newest = next((value for value in reversed(values) if value is not None), None)
        lines.append(f"{title:18}{number(newest, unit, decimals):>12}  {_bars_of(values, bars)}")
    excursions = [f"{limit_label(name)} {seconds:.0f} s" for name, seconds, _ in last.excursions]
    lines.append(f"tripped limits in the last flight: {', '.join(excursions) or 'none'}")
    return [*lines, *sentences(flights, row.forecast)]


def _bars_of(values: Sequence[float | None], bars: str) -> str:
    """A bar character for each value, scaled to their range; a blank for unknown."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    step = (high - low) / (len(bars) - 1) or 1.0
    return "".join(" " if value is None else bars[round((value - low) / step)] for value in values)

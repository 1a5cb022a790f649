# SPDX-License-Identifier: Apache-2.0
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from rich.console import Console
from rich.progress import track

from dronebms.analysis.replay import reports
from dronebms.cli.exit_codes import DONE, FAILED, print_stderr
from dronebms.cli.option_values import STDOUT
from dronebms.cli.pack_tables import PackRow, in_width, print_pack, tables
from dronebms.cli.replay import check_battery, flight_options, flight_reader
from dronebms.core.atomic_file import atomic_writer
from dronebms.core.bounded_input import read_bytes
from dronebms.core.clock import date_s
from dronebms.core.disk import real_path
from dronebms.core.errors import ConfigError, FlightLogError, InUseError
from dronebms.core.number_format import counted, csv_field
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
from dronebms.estimation.learned_json import MALFORMED
from dronebms.estimation.model_parameters import FITTED
from dronebms.estimation.pack_memory import LEARNED_FOLDER, PackMemoryFolder
from dronebms.estimation.usual_power import FlightPower, usual_power
from dronebms.flightlogs import NO_OPTIONS, refuse_output
from dronebms.health.ageing_trend import forecast_ageing
from dronebms.health.capacity import pack_capacity
from dronebms.health.database import (
    FILE,
    Database,
    PackHistory,
    SqliteFile,
    is_ordered,
    label_of,
    record_of,
)
from dronebms.health.flight_detection import LEAST_S, FlightDetector
from dronebms.health.flight_record import LOST, FlightRecord
from dronebms.health.pack_label import PackLabel, Stay, maintenance, stays, use_since_maintenance
from dronebms.recording.format import is_recording
from dronebms.service.checkpoint import CHECKPOINT
from smartbattery.device_lock import is_locked

_PIPE_COLUMNS = 1000  # no line breaks in a pipe
_HISTORY, _LABELS = "history", "labels"  # keys of an export: flights, names of packs


@dataclass(frozen=True, slots=True)
class _History:
    """What a database holds."""

    flights: list[FlightRecord]
    labels: dict[str, PackLabel]
    place: str  # name of the database
    is_merged: bool = False  # it has flights of several databases


def packs(options: argparse.Namespace) -> int:
    """Add, copy or move flights and what was learned, name packs, and print the history."""
    _refuse_outputs(options)
    memory = PackMemoryFolder(options.state_dir / LEARNED_FOLDER)
    _read_in(options, memory)
    damaged: list[str] = []
    everything = read_everything(memory, damaged)
    history = _history(options, everything)
    selected = _selected(history, everything, options.serial)
    if date_s() is None and (options.serviced or any(row.label.every_days for row in selected)):
        print_stderr("the clock of this computer is not set: days since maintenance are unknown")
    if _changes_labels(options):
        _label(options, selected, history)
        history = _history(options, everything)
        selected = _selected(history, everything, options.serial)
    _write_out(options, everything, history)
    if not history.flights and not everything.packs:
        print_stderr(f"{history.place} contains no flight")
    if options.csv is not None:
        _write_csv([flight for row in selected for flight in row.flights], options.csv)
    if STDOUT not in (options.csv, options.export):
        _print(options, selected, everything)
    for sentence in damaged:
        print_stderr(sentence)
    return FAILED if damaged and options.export is not None else DONE


def _refuse_outputs(options: argparse.Namespace) -> None:
    """Refuse an output that would replace an input or the other output.

    Raises:
        ConfigError: before anything is read or written.
    """
    outputs = [real_path(out) for out in (options.csv, options.export) if out is not None]
    imported: Path | None = getattr(options, "import")
    if len(outputs) > len(set(outputs)):
        raise ConfigError("--csv and --export name the same file")
    if options.json and STDOUT in (options.csv, options.export):
        raise ConfigError("--json prints on stdout: name a file for --csv and --export")
    for out in outputs:
        for flight in options.add:
            refuse_output(out, Path(flight))
        if imported is not None and out == real_path(imported):
            raise ConfigError(f"{out} is the file to import and is not overwritten")


def _print(
    options: argparse.Namespace, selected: Sequence[PackRow], everything: EverythingLearned
) -> None:
    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    console = Console(markup=False, highlight=False, width=width)
    if options.json:
        for row in selected:
            print(json.dumps(_json_of(row), allow_nan=False))
    elif options.serial is None:
        for number, table in enumerate(tables(selected, everything)):
            console.print(*[""] * bool(number), in_width(table, console.width), sep="\n")
    else:
        print_pack(selected[0], console)


def _read_in(options: argparse.Namespace, memory: PackMemoryFolder) -> None:
    """Add recorded flights, and merge an export."""
    path = options.state_dir / FILE
    if not options.add and (flight_options(options) != NO_OPTIONS or options.battery > 1):
        raise ConfigError("the data of a flight's pack are given with the flight: --add is missing")
    if options.add:
        _add(path, options, memory)
    imported: Path | None = getattr(options, "import")
    if imported is not None:
        _import(imported, options.state_dir, memory)


def _add(path: Path, options: argparse.Namespace, memory: PackMemoryFolder) -> None:
    """Add the flights of each file, as soon as it is read: its flights are learned from then."""
    console = Console(stderr=True)
    if path.exists() and path.stat().st_size:  # one that cannot be used, before the work
        PackHistory(SqliteFile(path, writes=False), writes=False).flights()
    done, files = _nothing_done(), 0
    try:
        for name in track(options.add, "flights", console=console, disable=not console.is_terminal):
            flights = _read(Path(name), options, memory)
            history = PackHistory(SqliteFile(path, writes=True), writes=True)
            # A stored flight has been learned from: judged again, it would be known before it is
            # flown.
            _store(history, flights, done, lambda old, new: _stated(old) != _stated(new))
            files += 1
    finally:  # also of the files before one that cannot be read, and before Ctrl-C
        if files:
            flights_done, read = counted(sum(done.values()), "flight"), counted(files, "file")
            print_stderr(f"{path}: {flights_done} of {read}: {_shown(done)}")


def _nothing_done() -> dict[str, int]:
    return dict.fromkeys(("added", "replaced", "already stored"), 0)


def _shown(done: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in done.items() if count)


def _stated(flight: FlightRecord) -> tuple[object, ...]:
    """Data of a flight that a user gives with it."""
    return flight.pack, flight.cells, flight.chemistry, flight.rated_mah, flight.vehicle


def _store(
    history: PackHistory,
    flights: Sequence[FlightRecord],
    done: dict[str, int],
    is_other: Callable[[FlightRecord, FlightRecord], bool],
) -> None:
    """Store the flights that are new or other than the stored one; count what was done."""
    stored = {flight.flight_id: flight for flight in history.flights()}
    for flight in flights:
        old = stored.get(flight.flight_id)
        if old is not None and not is_other(old, flight):
            done["already stored"] += 1
            continue
        done["added" if old is None else "replaced"] += 1
        history.put([flight])
        stored[flight.flight_id] = flight


def _write_out(
    options: argparse.Namespace, everything: EverythingLearned, history: _History
) -> None:
    """Export everything, and copy flights and names to a fleet's database."""
    if options.export is not None:
        _export(options.export, everything, history)
    if options.push is not None:
        fleet = PackHistory(_fleet(options.push), writes=True)
        fleet.put(history.flights)
        for label in history.labels.values():
            fleet.put_label(label)
        flights = counted(len(history.flights), "flight")
        print_stderr(f"{options.push.rpartition('@')[2]}: {flights} copied")


def _history(options: argparse.Namespace, everything: EverythingLearned) -> _History:
    """The flights, and what users state of their packs."""
    path, url = options.state_dir / FILE, options.database
    if url is None and not (path.exists() and path.stat().st_size):
        if everything.packs or everything.vehicles:
            return _History([], {}, str(options.state_dir))
        raise ConfigError(
            f"no pack history in {options.state_dir}: a service with [state] dir writes one, "
            f"--add FLIGHT starts one, --state-dir selects another folder"
        )
    database = SqliteFile(path, writes=False) if url is None else _fleet(url)
    found = PackHistory(database, writes=False)
    return _History(found.flights(), found.labels(), database.name, found.is_merged())


def _changes_labels(options: argparse.Namespace) -> bool:
    given = options.tag, options.untag, options.service_every, options.serviced
    return options.name is not None or any(given)


def _label(options: argparse.Namespace, selected: Sequence[PackRow], history: _History) -> None:
    """Store what the user states of the selected packs."""
    of_one = options.name is not None or options.serviced or options.tag or options.untag
    if options.serial is None and of_one:
        raise ConfigError("--name, --tag, --untag and --serviced are those of one pack: name it")
    if options.database is not None:
        raise ConfigError("the names of packs are stored in a --state-dir, and copied by --push")
    taken = {row.name for row in selected} if options.name else set()
    for pack, label in history.labels.items():
        if options.name and options.name == label.name and pack not in taken:
            raise ConfigError(f"{options.name!r} is the name of another pack, {pack!r}")
    others = {text for one in history.flights for text in (one.pack, str(one.serial))}
    if options.name and options.name in others - taken:
        raise ConfigError(f"{options.name!r} is the serial number or full name of a pack")
    store = PackHistory(SqliteFile(options.state_dir / FILE, writes=True), writes=True)
    for row in selected:
        store.put_label(_changed(row, options))


def _changed(row: PackRow, options: argparse.Namespace) -> PackLabel:
    label = row.label
    if options.name is not None:
        label = replace(label, name=options.name or None)
    tags = dict.fromkeys((*label.tags, *options.tag))
    label = replace(label, tags=tuple(tag for tag in tags if tag not in options.untag))
    for unit, every in options.service_every:
        label = replace(label, **{f"every_{unit}": every})
    if options.serviced:
        last = row.flights[-1].flight_id if row.flights else None
        label = replace(label, serviced_unix_s=date_s(), serviced_after=last)
    return label


def _export(path: Path, everything: EverythingLearned, history: _History) -> None:
    """Write what was learned and the history to one file."""
    flights = history.flights
    content = export_to_json(everything) | {
        _HISTORY: list(map(asdict, flights)),
        _LABELS: list(map(asdict, history.labels.values())),
    }
    text = json.dumps(content, allow_nan=False, indent=1)
    if len(text) > MAX_EXPORT_BYTES:
        raise ConfigError(f"{path} is not written: {len(text)} bytes are more than an import reads")
    with atomic_writer(path) as file:
        file.write(text)
    learned = everything.packs, everything.models, everything.vehicles
    packs, models, vehicles = map(counted, map(len, learned), ("pack", "model", "vehicle"))
    flown = counted(len(flights), "flight")
    print_stderr(f"{path}: {packs}, {models}, {vehicles} and {flown} written")


def _import(path: Path, state_dir: Path, memory: PackMemoryFolder) -> None:
    """Merge a file of `_export`; all of it is validated before anything is written."""
    if is_locked(state_dir / CHECKPOINT):
        raise InUseError(f"{state_dir} is in use by a dronebms run: stop it to import")
    try:
        content = from_json(read_bytes(path, MAX_EXPORT_BYTES), MAX_EXPORT_BYTES)
        everything = export_from_json(content)
        flights = [record_of(row) for row in content[_HISTORY]]
        labels = [label_of(row) for row in content.get(_LABELS, [])]
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except MALFORMED as error:
        reason = f"{error}".splitlines()[0]
        raise ConfigError(f"{path} is not an export of dronebms packs: {reason:.160}") from error
    for sentence in merge(memory, everything):
        print_stderr(sentence)
    done = _nothing_done()
    if flights or labels:
        history = PackHistory(SqliteFile(state_dir / FILE, writes=True), writes=True)
        _store(history, flights, done, lambda old, new: old != replace(new, sequence=old.sequence))
        known = history.labels()
        names = {label.name for label in known.values()}
        for label in labels:
            if label.pack not in known:  # what is stated here stays
                history.put_label(replace(label, name=None) if label.name in names else label)
    packs, flown = counted(len(everything.packs), "pack"), counted(len(flights), "flight")
    print_stderr(f"{path}: {packs} and {flown} read{f': {_shown(done)}' if flights else ''}")


def _fleet(url: str) -> Database:
    """The database of a fleet (extra `fleet`)."""
    with needed_by("--database and --push need", "fleet"):
        from dronebms.health.postgres import PostgresDatabase  # noqa: PLC0415 - an extra
    return PostgresDatabase(url)


def _read(path: Path, options: argparse.Namespace, memory: PackMemoryFolder) -> list[FlightRecord]:
    """Flight records of a recorded flight; their ids depend on the content of the file alone.

    A flight log is learned from, once; the run of a recording has done so itself.
    """
    found: dict[int, FlightDetector] = {}
    ended = []
    name, is_named = "", False
    stated = flight_options(options)
    check_battery(path, options.battery)
    read = flight_reader(options.battery - 1)
    packs = None if is_recording(path) else memory
    for report in reports(path, stated, lambda _: None, read=read, packs=packs):
        if not name:
            with path.open("rb") as file:
                name = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        is_named = is_named or report.pack_data.pack_key(report.snapshot.identity) is not None
        ended.append(found.setdefault(report.index, FlightDetector(name)).update(report))
    rows = [row for row in (*ended, *(flights.record(LOST) for flights in found.values())) if row]
    if not rows and is_named:
        raise FlightLogError(f"{path} contains no flight of {LEAST_S:.0f} s or more")
    if not rows:
        hint = "" if is_recording(path) else "; set pack_id in its sidecar or with --pack-id"
        raise FlightLogError(f"{path} contains no flight of a named pack{hint}")
    return rows


def _selected(history: _History, everything: EverythingLearned, name: str | None) -> list[PackRow]:
    """All packs, or the named one, with their flights in order and what was learned."""
    by_pack: dict[str, list[FlightRecord]] = {}
    for flight in history.flights:
        by_pack.setdefault(flight.pack, []).append(flight)
    for pack in everything.packs:
        by_pack.setdefault(pack, [])
    serials = {pack: str(rows[-1].serial) for pack, rows in by_pack.items() if rows}
    given = {pack: label.name for pack, label in history.labels.items()}
    names = [
        pack
        for pack in by_pack
        if name in (None, pack, serials.get(pack)) or name == given.get(pack)
    ]
    if name is not None and len(names) != 1:
        found = f"{name!r} matches {'several packs' if names else 'no pack'} in {history.place}"
        there = [pack if pack not in given else given[pack] or pack for pack in names or by_pack]
        raise ConfigError(f"{found}; there are: {', '.join(map(repr, there))}")
    return [_row(pack, by_pack[pack], everything, history) for pack in names]


def _row(
    pack: str, flights: list[FlightRecord], everything: EverythingLearned, history: _History
) -> PackRow:
    learned = everything.packs.get(pack)
    power: tuple[FlightPower, ...] = ()
    if learned is not None:
        vehicle = learned.vehicle
        power = learned.power if vehicle is None else everything.vehicles.get(vehicle, ())
    label = history.labels.get(pack, PackLabel(pack))
    in_order = is_ordered(flights, is_merged=history.is_merged)
    flown = history.flights
    if history.is_merged:
        flown = [flight for flight in flown if in_order and flight.started_unix_s is not None]
    return PackRow(
        pack,
        flights,
        forecast_ageing(flights, is_ordered=in_order),
        learned,
        usual_power(power, FITTED),
        label,
        use_since_maintenance(label, flights, date_s()),
        [_named(stay, history.labels) for stay in stays(pack, flown)],
    )


def _named(stay: Stay, labels: Mapping[str, PackLabel]) -> Stay:
    """The stay, with the name of the pack that followed if it has one."""
    label = None if stay.replaced_by is None else labels.get(stay.replaced_by)
    return stay if label is None or label.name is None else replace(stay, replaced_by=label.name)


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
        "name": row.label.name,
        "tags": list(row.label.tags),
        "maintenance": [asdict(due) for due in maintenance(row.label, row.use)],
        "vehicles": list(map(asdict, row.stays)),
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

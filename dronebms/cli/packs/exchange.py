# SPDX-License-Identifier: Apache-2.0
"""All that is known of packs, to and from other computers: an export, and a fleet's database."""

import json
from dataclasses import asdict, replace
from pathlib import Path

from dronebms.cli.exit_codes import print_stderr
from dronebms.cli.packs.history import History, StoredCounts, fleet_database, store_flights
from dronebms.cli.packs.learned_export import (
    MAX_EXPORT_BYTES,
    EverythingLearned,
    export_from_json,
    export_to_json,
    merge,
)
from dronebms.core.atomic_file import atomic_writer
from dronebms.core.bounded_input import read_bytes
from dronebms.core.errors import ConfigError, InUseError
from dronebms.core.number_format import counted
from dronebms.core.state import from_json
from dronebms.estimation.learning.learned_json import MALFORMED
from dronebms.estimation.learning.pack_memory import PackMemoryFolder
from dronebms.health.database import PackHistory, label_of, record_of
from dronebms.health.sqlite import FILE, SqliteFile
from dronebms.service.checkpoint import CHECKPOINT
from smartbattery.device_lock import is_locked

_HISTORY = "history"  # key of an export: flights
_LABELS = "labels"  # key of an export: names of packs


def write_export(path: Path, everything: EverythingLearned, history: History) -> None:
    """Write what was learned and the history to one file.

    Raises:
        ConfigError: the file cannot be written, or would be too long to be read.
    """
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


def read_export(path: Path, state_dir: Path, memory: PackMemoryFolder) -> None:
    """Merge a file of `write_export`; all of it is validated before anything is written.

    Raises:
        ConfigError: the file is no export, or cannot be read.
        InUseError: a service uses the state folder.
    """
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
    counts = StoredCounts()
    if flights or labels:
        history = PackHistory(SqliteFile(state_dir / FILE, writes=True), writes=True)
        store_flights(
            history, flights, counts, lambda old, new: old != replace(new, sequence=old.sequence)
        )
        known = history.labels()
        names = {label.name for label in known.values()}
        for label in labels:
            if label.pack not in known:  # what is stated here stays
                history.put_label(replace(label, name=None) if label.name in names else label)
    packs = counted(len(everything.packs), "pack")
    flown = counted(len(flights), "flight")
    print_stderr(f"{path}: {packs} and {flown} read{f': {counts}' if flights else ''}")


def push(url: str, history: History) -> None:
    """Copy flights and names to a fleet's database.

    Raises:
        ConfigError: the database cannot be used.
    """
    fleet = PackHistory(fleet_database(url), writes=True)
    fleet.put(history.flights)
    for label in history.labels.values():
        fleet.put_label(label)
    print_stderr(f"{url.rpartition('@')[2]}: {counted(len(history.flights), 'flight')} copied")

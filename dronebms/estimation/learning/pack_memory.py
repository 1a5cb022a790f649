# SPDX-License-Identifier: Apache-2.0
"""Memory of packs and vehicles: what was learned in earlier flights, as one JSON file of each.

    learned/PACK.json             parameters of a pack
    learned/models/MODEL.json     names of the packs of a model, so that sister packs are found
    learned/vehicles/VEHICLE.json power of the newest flights of a vehicle

A file is written whole or not at all (`core.atomic_file`). A damaged file is named in an error and
never overwritten.
"""

import fcntl
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from dronebms.core.atomic_file import atomic_writer
from dronebms.core.bounded_input import read_stored
from dronebms.core.disk import make_folder
from dronebms.core.errors import ConfigError, OutputError
from dronebms.estimation.learning.learned_json import (
    INDEX_FORMAT,
    MALFORMED,
    MAX_PACKS,
    learned_from_json,
    learned_to_json,
    name_from_json,
    packs_from_json,
    vehicle_from_json,
    vehicle_to_json,
)
from dronebms.estimation.learning.learned_pack import Keys, Known, Learned, LearnedPack
from dronebms.estimation.learning.sister_packs import MAX_SISTERS
from dronebms.estimation.learning.usual_power import FlightPower, with_flight

LEARNED_FOLDER = "learned"  # under [state] dir
# folders in it
_MODELS = "models"
_VEHICLES = "vehicles"
_LOCK = ".lock"  # file in it
_NAME_CHARACTERS = 60
_WRITE_S = 5.0
_log = logging.getLogger(__name__)
_Content = TypeVar("_Content")


class PackMemory(Protocol):
    """Learned packs and vehicles by their `Keys`; each method raises ConfigError."""

    def load(self, pack: str) -> LearnedPack | None:
        """The pack, None when it is not known."""
        ...

    def sisters(self, model: str) -> tuple[LearnedPack, ...]:
        """The newest packs of a model, newest first."""
        ...

    def vehicle(self, name: str) -> tuple[FlightPower, ...]:
        """Power of the newest flights of a vehicle."""
        ...

    def store(self, keys: Keys, learned: Learned) -> None:
        """Store what a flight adds."""
        ...


def recall(memory: PackMemory, keys: Keys, damaged: Callable[[ConfigError], None]) -> Known:
    """What is remembered under the keys; sister packs only while the pack itself is not known.

    Args:
        memory: to look in.
        keys: each of which that is not None is looked up.
        damaged: receives the error of each that cannot be read.
    """

    def found(look_up: Callable[[str], _Content], key: str | None, unknown: _Content) -> _Content:
        try:
            return unknown if key is None else look_up(key)
        except ConfigError as error:
            damaged(error)
            return unknown

    pack = found(memory.load, keys.pack, None)
    sisters: tuple[LearnedPack, ...] = ()
    if pack is None:
        sisters = found(memory.sisters, keys.model, sisters)
    flights: tuple[FlightPower, ...] = ()
    return Known(pack, sisters, found(memory.vehicle, keys.vehicle, flights))


class PackMemoryInRam:
    """Memory that lasts as long as the process: for benchmarks, and for what is not written yet.

    Attributes:
        packs: by name, the newest last.
        vehicles: power of the newest flights by name.
    """

    def __init__(self) -> None:
        self.packs: dict[str, LearnedPack] = {}
        self.vehicles: dict[str, tuple[FlightPower, ...]] = {}

    def load(self, pack: str) -> LearnedPack | None:
        """The pack, None when it is not known."""
        return self.packs.get(pack)

    def sisters(self, model: str) -> tuple[LearnedPack, ...]:
        """The newest packs of a model, newest first."""
        found = [pack for pack in reversed(self.packs.values()) if pack.model == model]
        return tuple(found[:MAX_SISTERS])

    def vehicle(self, name: str) -> tuple[FlightPower, ...]:
        """Power of the newest flights of a vehicle."""
        return self.vehicles.get(name, ())

    def store(self, keys: Keys, learned: Learned) -> None:
        """Store what a flight adds."""
        if keys.pack is not None and learned.pack is not None:
            self.packs.pop(keys.pack, None)
            self.packs[keys.pack] = learned.pack
        if keys.vehicle is not None and learned.power is not None:
            self.vehicles[keys.vehicle] = with_flight(self.vehicle(keys.vehicle), learned.power)


class BackgroundPackMemory:
    """Memory that writes in background threads: an SD card may take seconds for a file.

    Args:
        packs: the folder.
    """

    def __init__(self, packs: "PackMemoryFolder") -> None:
        self._packs = packs
        self._newest = PackMemoryInRam()  # of this run
        self._threads: list[threading.Thread] = []

    def load(self, pack: str) -> LearnedPack | None:
        """The pack, written or not yet; raises ConfigError."""
        return self._newest.load(pack) or self._packs.load(pack)

    def sisters(self, model: str) -> tuple[LearnedPack, ...]:
        """The newest packs of a model, written or not yet; raises ConfigError."""
        newest = self._newest.sisters(model)
        return (*newest, *self._packs.sisters(model, but=tuple(self._newest.packs)))[:MAX_SISTERS]

    def vehicle(self, name: str) -> tuple[FlightPower, ...]:
        """Power of the newest flights of a vehicle, written or not yet; raises ConfigError."""
        return self._newest.vehicle(name) or self._packs.vehicle(name)

    def store(self, keys: Keys, learned: Learned) -> None:
        """Store what a flight adds; an error is logged."""
        if keys.vehicle is not None and learned.power is not None:
            try:
                self._newest.vehicles[keys.vehicle] = self.vehicle(keys.vehicle)
            except ConfigError:
                pass  # the writer logs it
        self._newest.store(keys, learned)
        before = self._threads
        thread = threading.Thread(
            target=self._write, args=(keys, learned, before), name="learned", daemon=True
        )
        self._threads = [thread]
        thread.start()

    def close(self) -> None:
        """Wait until all is written, for some seconds at most."""
        for thread in self._threads:
            thread.join(_WRITE_S)

    def _write(self, keys: Keys, learned: Learned, before: list[threading.Thread]) -> None:
        for thread in before:
            thread.join()
        try:
            self._packs.store(keys, learned)
        except ConfigError as error:
            _log.error("learned pack is not stored: %s", error)


class PackMemoryFolder:
    """The folder, as a `PackMemory`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, pack: str) -> LearnedPack | None:
        """The pack, None when it has no file.

        Raises:
            ConfigError: its file cannot be used.
        """
        return _read(self._path(pack), "learned pack", learned_from_json)

    def sisters(self, model: str, but: Sequence[str] = ()) -> tuple[LearnedPack, ...]:
        """The newest packs of a model, newest first; a damaged file of a pack is logged.

        Args:
            model: its name.
            but: packs to leave out.

        Raises:
            ConfigError: the model's file cannot be used.
        """
        found: list[LearnedPack] = []
        for pack in self.packs_of(model)[::-1]:
            if pack in but or len(found) == MAX_SISTERS:
                continue
            try:
                learned = self.load(pack)
            except ConfigError as error:
                _log.error("%s", error)
                continue
            if learned is not None and learned.model == model:
                found.append(learned)
        return tuple(found)

    def vehicle(self, name: str) -> tuple[FlightPower, ...]:
        """Power of the newest flights of a vehicle.

        Raises:
            ConfigError: its file cannot be used.
        """
        path = self._path(name, _VEHICLES)
        return _read(path, "learned vehicle", vehicle_from_json) or ()

    def store(self, keys: Keys, learned: Learned) -> None:
        """Store what a flight adds; another process that stores here waits.

        Raises:
            ConfigError: the folder cannot be written, or a file is damaged; the others are stored.
        """
        with self._locked():
            self._store(keys, learned)

    def _store(self, keys: Keys, learned: Learned) -> None:
        errors: list[ConfigError] = []
        pack = keys.pack
        model = keys.model
        vehicle = keys.vehicle
        if pack is not None and learned.pack is not None:
            try:
                self._save(pack, learned.pack)
                if model is not None:
                    self._add(pack, model)
            except ConfigError as error:
                errors.append(error)
        if vehicle is not None and learned.power is not None:
            try:
                self.save_vehicle(vehicle, with_flight(self.vehicle(vehicle), learned.power))
            except ConfigError as error:
                errors.append(error)
        if errors:
            kind = OutputError if any(isinstance(e, OutputError) for e in errors) else ConfigError
            raise kind("\n".join(map(str, errors)))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder: no flight is lost between reading a file and writing it."""
        try:
            make_folder(self._folder)
            file = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield  # the writer raises
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)

    def _save(self, pack: str, learned: LearnedPack) -> None:
        self.load(pack)  # a damaged file is not overwritten
        self._write(self._path(pack), {"pack": pack} | learned_to_json(learned))

    def packs_of(self, model: str) -> list[str]:
        """Names of the newest packs of a model, the newest last; raises ConfigError."""
        return _read(self._path(model, _MODELS), "model of packs", packs_from_json) or []

    def save_model(self, model: str, packs: list[str]) -> None:
        """Store the names of the packs of a model; raises ConfigError."""
        content = {"format": INDEX_FORMAT, "model": model, "packs": packs[-MAX_PACKS:]}
        self._write(self._path(model, _MODELS), content)

    def save_vehicle(self, name: str, flights: tuple[FlightPower, ...]) -> None:
        """Store the flights of a vehicle; raises ConfigError."""
        content = {"vehicle": name} | vehicle_to_json(flights)
        self._write(self._path(name, _VEHICLES), content)

    def files(self, kind: str) -> list[Path]:
        """Files of the packs, models or vehicles, in the order of their names."""
        folder = self._folder / _KINDS[kind].folder
        return sorted(path for path in folder.glob("*.json") if path.is_file())

    def read_named(self, kind: str, path: Path) -> tuple[str, Any]:
        """Name and content of one of `files`; raises ConfigError."""
        row = _KINDS[kind]

        def named(content: Any) -> tuple[str, Any]:  # noqa: ANN401 - from JSON, of any form
            found = row.of(content)
            name = name_from_json(content[row.key])
            if name is None or self._path(name, row.folder).name != path.name:
                raise ValueError(f"it is not the file of the {row.key} that it names")
            return name, found

        read = _read(path, row.title, named)
        if read is None:
            raise ConfigError(f"{path} does not exist any more")
        return read

    def _add(self, pack: str, model: str) -> None:
        self.save_model(model, [*(p for p in self.packs_of(model) if p != pack), pack])

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        try:
            make_folder(path.parent)
        except OSError:
            pass  # the writer raises
        with atomic_writer(path) as file:
            json.dump(content, file, allow_nan=False, indent=1)

    def _path(self, name: str, folder: str = "") -> Path:
        stem = quote(name, safe=" ")
        if len(stem) > _NAME_CHARACTERS or stem.startswith("."):
            digest = hashlib.sha256(name.encode()).hexdigest()[:8]
            stem = f"{stem.lstrip('.')[:_NAME_CHARACTERS]}-{digest}"
        return self._folder / folder / f"{stem}.json"


def _read(path: Path, kind: str, of: Callable[[Any], _Content]) -> _Content | None:
    """Content of a file, None if there is none; raises ConfigError."""
    try:
        return of(json.loads(read_stored(path)))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except (*MALFORMED, RecursionError) as error:
        raise ConfigError(
            f"{path} is not a valid {kind} ({error}); it is left as it is: "
            "move it away to start without it"
        ) from error


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of file."""

    folder: str
    key: str  # of its name
    title: str
    of: Callable[[Any], Any]  # its content


_KINDS = {
    "packs": _Kind("", "pack", "learned pack", learned_from_json),
    "models": _Kind(_MODELS, "model", "model of packs", packs_from_json),
    "vehicles": _Kind(_VEHICLES, "vehicle", "learned vehicle", vehicle_from_json),
}

# SPDX-License-Identifier: Apache-2.0
"""Memory of packs and vehicles: what was learned in earlier flights, as one JSON file of each.

    learned/PACK.json             parameters of a pack
    learned/models/MODEL.json     names of the packs of a model, so that sister packs are found
    learned/vehicles/VEHICLE.json power of the newest flights of a vehicle

A file is written whole or not at all (`core.atomic_file`). A damaged file is named in an error and
never overwritten. Units as in `cell_fit`: ln, volts; watts, seconds.
"""

import fcntl
import hashlib
import json
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import numpy as np

from dronebms.core.atomic_file import atomic_writer
from dronebms.core.bounded_input import read_bytes
from dronebms.core.chemistry import Chemistry
from dronebms.core.disk import make_folder
from dronebms.core.errors import ConfigError, OutputError
from dronebms.estimation.cell_fit import CellParameters
from dronebms.estimation.cell_model import CAPACITY, FAST, KNOTS, row_at_knots
from dronebms.estimation.interval_adaptation import NOT_ADAPTED, Adaptation
from dronebms.estimation.model_parameters import KNOTS_FRAC
from dronebms.estimation.motion_power import ROTOR_TERMS, WING_TERMS, LearnedMotion, Terms
from dronebms.estimation.sister_packs import MAX_SISTERS
from dronebms.estimation.usual_power import MAX_FLIGHTS, FlightPower, with_flight

LEARNED_FOLDER = "learned"  # under [state] dir
MAX_FLIGHT_IDS = 100  # of the newest flights
_MODELS, _VEHICLES = "models", "vehicles"  # folders in it
_LOCK = ".lock"  # file in it
_FORMAT, _FORMATS = 2, (1, 2)  # written, read
_SAME_FRAC = 1e-6  # of two capacities
_INDEX_FORMAT = 1  # of models and vehicles
_SIZE = KNOTS - FAST + len(KNOTS_FRAC)
_NAME_CHARACTERS = 60
_ROUNDING = 1e-9  # of an eigenvalue
MALFORMED = ValueError, KeyError, TypeError, OverflowError  # raised by malformed content
_MAX_NUMBER = 1e9  # in such a file
_MAX_LN = 10.0  # of a parameter of a cell, in ln or volts
_MAX_ODDS = 500.0  # its exponential is finite
_MAX_TEXT = 500  # characters of a name
_MAX_POINTS = 100  # temperatures of flights
MAX_PACKS = 20  # newest, in the file of a model
_OLD_FLIGHT_S = 600.0  # weight of the mean power in a file of format 1
_WRITE_S = 5.0
_CURVES_OF_FORMAT_1 = {  # volts of the rows at the knots, where they were others than today
    "li-ion": (2.9, 3.14, 3.34, 3.456, 3.57, 3.66, 3.8, 4.0, 4.18),
    "lifepo4": (2.5, 2.9, 3.16, 3.212, 3.26, 3.285, 3.3, 3.33, 3.45),
}
_log = logging.getLogger(__name__)
_Content = TypeVar("_Content")


@dataclass(frozen=True, slots=True)
class LearnedPack:
    """One pack after its last flight."""

    cells: CellParameters
    gauge_odds: float  # log odds that its gauge is load-compensated (`gauge_fusion`)
    first_fast: float  # ln resistance scale after its first flight, the reference of its ageing
    rated_mah: float  # the scales above are relative to it
    flights: int
    flight_ids: tuple[str, ...] = ()  # newest flights, none of which is learned from twice
    power: tuple[FlightPower, ...] = ()  # of its flights on a vehicle that is not known
    model: str | None = None  # `PackData.model_key`
    chemistry: str | None = None  # of the row that the scales are relative to; None: not stored
    vehicle: str | None = None  # of its last flight
    adaptation: Adaptation = NOT_ADAPTED  # of the interval, by its landings
    curve_v: tuple[float, ...] = ()  # row at the knots that its errors are relative to

    @property
    def capacity_pct(self) -> tuple[float, float]:
        """(Capacity, its standard deviation) in per cent of the rated one."""
        place = CAPACITY - FAST
        pct = 100.0 * math.exp(self.cells.mean[place])
        return pct, pct * math.sqrt(max(self.cells.covariance[place][place], 0.0))

    @property
    def resistance_pct(self) -> float:
        """Resistance at 25 degC in per cent of the chemistry's usual one."""
        return 100.0 * math.exp(self.cells.mean[0])

    def relative_to(self, chemistry: Chemistry) -> "LearnedPack":
        """The same pack, its curve relative to the present row of its chemistry."""
        row_v = row_at_knots(chemistry)
        before_v = self.curve_v or _CURVES_OF_FORMAT_1.get(chemistry.name, row_v)
        place = KNOTS - FAST
        errors_v = zip(self.cells.mean[place:], before_v, row_v, strict=True)
        moved_v = tuple([error_v + (old_v - new_v) for error_v, old_v, new_v in errors_v])
        cells = replace(self.cells, mean=(*self.cells.mean[:place], *moved_v))
        return replace(self, cells=cells, curve_v=row_v)

    def fits(self, rated_mah: float | None, chemistry: str) -> bool:
        """Whether it can be of a pack of this rated capacity and chemistry."""
        # A stored capacity has been ampere-seconds: its last digit may differ.
        same = rated_mah is None or math.isclose(rated_mah, self.rated_mah, rel_tol=_SAME_FRAC)
        return same and self.chemistry in (None, chemistry)


@dataclass(frozen=True, slots=True)
class Keys:
    """Names under which a flight is remembered; None: unknown."""

    pack: str | None = None  # `PackData.pack_key`
    model: str | None = None  # `PackData.model_key`
    vehicle: str | None = None  # configured, else the autopilot's uid; see `of_battery`

    def of_battery(self, index: int) -> "Keys":
        """The same names for a battery of several on one vehicle, counted from 0.

        Each carries its own share of the vehicle's power: under one name a flight would count once
        for every battery, each time with another power.
        """
        if self.vehicle is None or index == 0:
            return self
        return replace(self, vehicle=f"{self.vehicle} battery {index + 1}")


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a pack, its sister packs and its vehicle."""

    pack: LearnedPack | None = None
    sisters: tuple[LearnedPack, ...] = ()  # newest first; read where the pack is not known
    vehicle: tuple[FlightPower, ...] = ()


@dataclass(frozen=True, slots=True)
class Learned:
    """What a flight adds; None: nothing new."""

    pack: LearnedPack | None = None  # as it is after the flight
    power: FlightPower | None = None  # for its vehicle

    def under(self, keys: Keys) -> "Learned":
        """The same for the vehicle of the keys."""
        pack = None if self.pack is None else replace(self.pack, vehicle=keys.vehicle)
        return Learned(pack, self.power)


@dataclass(frozen=True, slots=True)
class Recalled:
    """Keys that were looked up, and the result."""

    keys: Keys
    known: Known


Recall = Callable[[Keys], Known]
NOTHING_KNOWN = Known()
NOTHING_LEARNED = Learned()


def no_memory(_: Keys) -> Known:
    """Know nothing."""
    return NOTHING_KNOWN


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


def recalled_also(before: Recalled | None, newest: Recalled) -> Recalled:
    """What a vehicle that became known adds to what was recalled with its pack."""
    keys = newest.keys
    if before is None or keys != Keys(vehicle=keys.vehicle):
        return newest
    known = replace(before.known, vehicle=newest.known.vehicle)
    return Recalled(replace(before.keys, vehicle=keys.vehicle), known)


class ReplayedMemory:
    """Memory for the replay of a run: knows what the run recalled, stores nothing."""

    def __init__(self, recalled: Recalled | None) -> None:
        self.recalled = recalled

    def load(self, pack: str) -> LearnedPack | None:
        """The pack as the run recalled it."""
        recalled = self.recalled
        return None if recalled is None or recalled.keys.pack != pack else recalled.known.pack

    def sisters(self, model: str) -> tuple[LearnedPack, ...]:
        """Its sister packs as the run recalled them."""
        recalled = self.recalled
        return () if recalled is None or recalled.keys.model != model else recalled.known.sisters

    def vehicle(self, name: str) -> tuple[FlightPower, ...]:
        """Its vehicle as the run recalled it."""
        recalled = self.recalled
        return () if recalled is None or recalled.keys.vehicle != name else recalled.known.vehicle

    def store(self, keys: Keys, learned: Learned) -> None:
        """Store nothing: the run has stored it."""


class UnchangedMemory:
    """Memory for a reader: what another one knows, stores nothing."""

    def __init__(self, packs: PackMemory) -> None:
        self._packs = packs

    def load(self, pack: str) -> LearnedPack | None:
        """The pack, None when it is not known."""
        return self._packs.load(pack)

    def sisters(self, model: str) -> tuple[LearnedPack, ...]:
        """The newest packs of a model, newest first."""
        return self._packs.sisters(model)

    def vehicle(self, name: str) -> tuple[FlightPower, ...]:
        """Power of the newest flights of a vehicle."""
        return self._packs.vehicle(name)

    def store(self, keys: Keys, learned: Learned) -> None:
        """Store nothing: to read a flight changes nothing."""


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
        thread = threading.Thread(target=self._write, args=(keys, learned, before), name="learned")
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
        pack, model, vehicle = keys.pack, keys.model, keys.vehicle
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
        return _read(self._path(model, _MODELS), "model of packs", _packs_from_json) or []

    def save_model(self, model: str, packs: list[str]) -> None:
        """Store the names of the packs of a model; raises ConfigError."""
        content = {"format": _INDEX_FORMAT, "model": model, "packs": packs[-MAX_PACKS:]}
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
        return of(json.loads(read_bytes(path)))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except (*MALFORMED, RecursionError) as error:
        raise ConfigError(
            f"{path} is not a valid {kind} ({error}); it is left as it is: "
            "move it away to start without it"
        ) from error


# ---------------------------------------------------------------------- content of the files


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of file."""

    folder: str
    key: str  # of its name
    title: str
    of: Callable[[Any], Any]  # its content


def learned_to_json(learned: LearnedPack) -> dict[str, Any]:
    """The content of a pack's file."""
    return {
        "format": _FORMAT,
        "model": learned.model,
        "chemistry": learned.chemistry,
        "vehicle": learned.vehicle,
        "gauge_odds": learned.gauge_odds,
        "first_fast": learned.first_fast,
        "rated_mah": learned.rated_mah,
        "flights": learned.flights,
        "taught": learned.flight_ids,
        "power": _power_to_json(learned.power),
        "mean": learned.cells.mean,
        "covariance": learned.cells.covariance,
        "curve_v": learned.curve_v,
        "warm": learned.cells.warm,
        "sister_warm": learned.cells.sister_warm,
        "interval": learned.adaptation,
        "loss": learned.cells.loss,
        "growth": learned.cells.growth,
    }


def learned_from_json(content: Any) -> LearnedPack:  # noqa: ANN401 - from JSON, of any form
    """The inverse of `learned_to_json`, exact to the last bit; raises one of MALFORMED."""
    if not isinstance(content, dict) or content.get("format") not in _FORMATS:
        raise ValueError(f"its format is not {_FORMAT}")
    mean, covariance = np.array(content["mean"], float), np.array(content["covariance"], float)
    if mean.shape != (_SIZE,) or covariance.shape != (_SIZE, _SIZE):
        raise ValueError("its state has another size")
    names = "gauge_odds", "first_fast", "rated_mah", "flights"
    odds, first_fast, rated_mah, flights = (_number(content[name]) for name in names)
    loss, growth = _number(content.get("loss", 0.0)), _number(content.get("growth", 0.0))
    _check([*mean, *covariance.ravel()])
    if (
        max(abs(mean).max(), abs(first_fast), abs(loss), abs(growth)) > _MAX_LN
        or abs(covariance).max() > _MAX_LN**2
    ):
        raise ValueError("a number in it is not of a cell")
    if abs(odds) > _MAX_ODDS or flights < 0.0 or rated_mah <= 0.0:
        raise ValueError("a number in it is out of range")
    if np.linalg.eigvalsh((covariance + covariance.T) / 2)[0] < -_ROUNDING:
        raise ValueError("its covariance is not positive semidefinite")
    curve_v = np.array(content.get("curve_v", ()), float)
    _check(curve_v)
    if curve_v.shape not in ((0,), (len(KNOTS_FRAC),)) or abs(curve_v).max(initial=0.0) > _MAX_LN:
        raise ValueError("its curve is not one of a cell")
    cells = CellParameters(
        mean=tuple(mean.tolist()),
        covariance=tuple(map(tuple, covariance.tolist())),
        warm=_points(content.get("warm", ())),
        sister_warm=_points(content.get("sister_warm", ())),
        loss=loss,
        growth=growth,
    )
    rows = content["power"] if content["format"] != 1 else _old_power(content["usual_w"])
    return LearnedPack(
        cells=cells,
        gauge_odds=odds,
        first_fast=first_fast,
        rated_mah=rated_mah,
        flights=int(flights),
        flight_ids=tuple(map(str, content.get("taught", ())))[-MAX_FLIGHT_IDS:],
        power=_power_from_json(rows),
        model=name_from_json(content.get("model")),
        chemistry=name_from_json(content.get("chemistry")),
        vehicle=name_from_json(content.get("vehicle")),
        adaptation=_adaptation(content.get("interval", NOT_ADAPTED)),
        curve_v=tuple(curve_v.tolist()),
    )


def _adaptation(row: Any) -> Adaptation:  # noqa: ANN401 - from JSON, of any form
    below, above = map(_number, row)
    return Adaptation(below, above).within_range()


def _old_power(usual_w: Any) -> list[tuple[str, Any, float]]:  # noqa: ANN401 - of any form
    """Mean power of the flights in a file of format 1, as one flight."""
    return [] if usual_w is None else [("", usual_w, _OLD_FLIGHT_S)]


def vehicle_to_json(flights: tuple[FlightPower, ...]) -> dict[str, Any]:
    """The content of a vehicle's file."""
    return {"format": _INDEX_FORMAT, "power": _power_to_json(flights)}


def vehicle_from_json(content: Any) -> tuple[FlightPower, ...]:  # noqa: ANN401 - of any form
    """The inverse of `vehicle_to_json`; raises one of MALFORMED."""
    if not isinstance(content, dict) or content.get("format") != _INDEX_FORMAT:
        raise ValueError(f"its format is not {_INDEX_FORMAT}")
    return _power_from_json(content["power"])


def recalled_to_json(recalled: Recalled) -> dict[str, Any]:
    """What a run recalled, as a recording has it."""
    keys, known = recalled.keys, recalled.known
    return {
        "pack": keys.pack,
        "model": keys.model,
        "vehicle": keys.vehicle,
        "learned": known.pack and learned_to_json(known.pack),
        "sisters": [learned_to_json(sister) for sister in known.sisters],
        "power": _power_to_json(known.vehicle),
    }


def recalled_from_json(row: Any) -> Recalled:  # noqa: ANN401 - from JSON, of any form
    """The inverse of `recalled_to_json`, or of the older pair of a key and a pack.

    Raises one of MALFORMED.
    """
    if isinstance(row, list):
        pack, learned = row
        return Recalled(
            Keys(str(pack)), Known(None if learned is None else learned_from_json(learned))
        )
    keys = Keys(*(name_from_json(row[key]) for key in ("pack", "model", "vehicle")))
    learned = row["learned"]
    known = Known(
        None if learned is None else learned_from_json(learned),
        tuple(map(learned_from_json, row["sisters"]))[:MAX_SISTERS],
        _power_from_json(row["power"]),
    )
    return Recalled(keys, known)


def _packs_from_json(content: Any) -> list[str]:  # noqa: ANN401 - from JSON, of any form
    if not isinstance(content, dict) or content.get("format") != _INDEX_FORMAT:
        raise ValueError(f"its format is not {_INDEX_FORMAT}")
    names = [name_from_json(row) for row in content["packs"][-MAX_PACKS:]]
    return [name for name in names if name is not None]


_KINDS = {
    "packs": _Kind("", "pack", "learned pack", learned_from_json),
    "models": _Kind(_MODELS, "model", "model of packs", _packs_from_json),
    "vehicles": _Kind(_VEHICLES, "vehicle", "learned vehicle", vehicle_from_json),
}


def _power_to_json(flights: tuple[FlightPower, ...]) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for flight in flights:
        row: list[Any] = [flight.flight_id, flight.mean_w, flight.span_s]
        if flight.motion is not None:
            row.append({"rotor": flight.motion.rotor, "wing": flight.motion.wing})
        rows.append(row)
    return rows


def _power_from_json(rows: Any) -> tuple[FlightPower, ...]:  # noqa: ANN401 - of any form
    flights = []
    for name, watts, span_s, *more in rows:
        motion = _motion_from_json(*more) if more else None
        flights.append(FlightPower(str(name), _number(watts), _number(span_s), motion))
    if any(flight.mean_w < 0.0 or flight.span_s < 0.0 for flight in flights):
        raise ValueError("a power or a time in it is negative")
    return tuple(flights[-MAX_FLIGHTS:])


def _motion_from_json(row: Any) -> LearnedMotion:  # noqa: ANN401 - of any form
    return LearnedMotion(_terms(row["rotor"], ROTOR_TERMS), _terms(row["wing"], WING_TERMS))


def _terms(pair: Any, count: int) -> Terms | None:  # noqa: ANN401 - of any form
    if pair is None:
        return None
    terms_w, variances = (tuple(map(_number, part)) for part in pair)
    if not len(terms_w) == len(variances) == count or terms_w[0] <= 0.0 or min(variances) < 0.0:
        raise ValueError("a power by motion in it is not valid")
    return terms_w, variances


def _points(rows: Any) -> tuple[tuple[float, float], ...]:  # noqa: ANN401 - of any form
    points = np.array(rows, float).reshape(-1, 2)
    _check(points.ravel())
    if abs(points).max(initial=0.0) > _MAX_LN:
        raise ValueError("a temperature in it is not of a cell")
    if len(points) > _MAX_POINTS:
        raise ValueError(f"it has more than {_MAX_POINTS} temperatures")
    return tuple([(float(kelvin), float(log)) for kelvin, log in points])


def _check(numbers: Any) -> None:  # noqa: ANN401 - any sequence
    if not all(math.isfinite(number) and abs(number) < _MAX_NUMBER for number in numbers):
        raise ValueError("a number in it is not valid")


def _number(value: Any) -> float:  # noqa: ANN401 - from JSON, of any form
    number = float(value)
    _check([number])
    return number


def name_from_json(value: Any) -> str | None:  # noqa: ANN401 - from JSON, of any form
    """A name of a pack, a model or a vehicle, None where there is none; raises ValueError."""
    if value is not None and not (isinstance(value, str) and len(value) <= _MAX_TEXT):
        raise ValueError("a name in it is not valid")
    return value

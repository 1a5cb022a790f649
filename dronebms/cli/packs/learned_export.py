# SPDX-License-Identifier: Apache-2.0
"""Everything that was learned, as one plain JSON file, to move it between computers.

    {"format": 1, "packs": {NAME: ...}, "models": {NAME: [PACK, ...]}, "vehicles": {NAME: ...}}

The content of each entry is that of its file (`pack_memory`). A merge loses nothing silently: of
two states of a pack that with more flights is used, flights of a vehicle are joined, and each entry
gives a sentence.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dronebms.core.errors import ConfigError
from dronebms.core.number_format import counted
from dronebms.estimation.learning.learned_json import (
    MAX_PACKS,
    learned_from_json,
    learned_to_json,
    name_from_json,
    vehicle_from_json,
    vehicle_to_json,
)
from dronebms.estimation.learning.learned_pack import Keys, Learned, LearnedPack
from dronebms.estimation.learning.pack_memory import PackMemoryFolder
from dronebms.estimation.learning.usual_power import MAX_FLIGHTS, FlightPower

MAX_EXPORT_BYTES = 32 << 20  # some 3,000 packs
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class EverythingLearned:
    """What a folder of learned packs has in it, by name."""

    packs: Mapping[str, LearnedPack]
    models: Mapping[str, tuple[str, ...]]  # their packs, the newest last
    vehicles: Mapping[str, tuple[FlightPower, ...]]


def export_to_json(everything: EverythingLearned) -> dict[str, Any]:
    """The content of an export."""
    return {
        "format": _FORMAT,
        "packs": {name: learned_to_json(pack) for name, pack in everything.packs.items()},
        "models": {name: list(packs) for name, packs in everything.models.items()},
        "vehicles": {name: vehicle_to_json(each) for name, each in everything.vehicles.items()},
    }


def export_from_json(content: Any) -> EverythingLearned:  # noqa: ANN401 - from JSON, of any form
    """The inverse of `export_to_json`, exact to the last bit; raises one of MALFORMED."""
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT}")
    packs, models, vehicles = (_table(content, key) for key in ("packs", "models", "vehicles"))
    return EverythingLearned(
        packs={name: _entry(learned_from_json, name, row) for name, row in packs.items()},
        models={name: _entry(_names, name, row) for name, row in models.items()},
        vehicles={name: _entry(vehicle_from_json, name, row) for name, row in vehicles.items()},
    )


def read_everything(folder: PackMemoryFolder, damaged: list[str]) -> EverythingLearned:
    """Everything in a folder.

    Args:
        folder: of the pack memory.
        damaged: receives a sentence for each file that cannot be used.
    """

    def found(kind: str) -> Iterator[tuple[str, Any]]:
        for path in folder.files(kind):
            try:
                yield folder.read_named(kind, path)
            except ConfigError as error:
                damaged.append(str(error))

    return EverythingLearned(*(dict(found(kind)) for kind in ("packs", "models", "vehicles")))


def merge(folder: PackMemoryFolder, new: EverythingLearned) -> Iterator[str]:
    """Merge an export into a folder; yields a sentence for each pack and each vehicle.

    Raises:
        ConfigError: a file in the folder is damaged or cannot be written; what was yielded is done.
    """
    for name, pack in new.packs.items():
        before = folder.load(name)
        if before == pack:
            yield f"pack {name}: the same"
        elif before is not None and before.flights >= pack.flights:
            stays = counted(before.flights, "flight")
            yield f"pack {name}: {stays} stay, the file has {pack.flights}"
        else:
            folder.store(Keys(name), Learned(pack))
            replaced = "" if before is None else f", in place of {before.flights}"
            yield f"pack {name}: {counted(pack.flights, 'flight')}{replaced}"
    models = dict(new.models)
    for name, pack in new.packs.items():  # its model's entry may be missing
        if pack.model is not None and name not in models.get(pack.model, ()):
            models[pack.model] = (*models.get(pack.model, ()), name)
    for name, packs in models.items():
        own = folder.packs_of(name)
        others = [pack for pack in packs if pack not in own and folder.load(pack) is not None]
        if others:
            folder.save_model(name, [*others, *own][-MAX_PACKS:])
    for name, flights in new.vehicles.items():
        known = folder.vehicle(name)
        ids = {flight.flight_id for flight in known}
        more = [flight for flight in flights if flight.flight_id not in ids]
        merged = (*more, *known)[-MAX_FLIGHTS:]
        if merged != known:
            folder.save_vehicle(name, merged)
        dropped = len(more) + len(known) - len(merged)
        older = f", {dropped} older ones of the file are not used" if dropped else ""
        flown = counted(len(merged), "flight")
        yield f"vehicle {name}: {flown}, {len(merged) - len(known)} new{older}"


def _table(content: dict[str, Any], key: str) -> dict[str, Any]:
    table = content[key]
    if not isinstance(table, dict):
        raise TypeError(f"its {key} are no table")
    return table


def _entry(of: Any, name: str, row: Any) -> Any:  # noqa: ANN401 - of any form
    try:
        name_from_json(name)
        return of(row)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{name!r:.60}: {error}") from error


def _names(row: Any) -> tuple[str, ...]:  # noqa: ANN401 - from JSON, of any form
    if not isinstance(row, list):
        raise TypeError("no list of packs")
    names = [name_from_json(name) for name in row[-MAX_PACKS:]]
    return tuple([name for name in names if name is not None])

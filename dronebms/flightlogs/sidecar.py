"""What is told of the pack of a recorded flight: its sidecar (.json), and over it the user's word.

A key that is missing or null is not told; a key of the wrong kind is a `FlightLogError`, because a
wrong number of cells or a cut-off in millivolts would make every answer wrong.
Keys and units: DESIGN.md, section 4.
"""

import json
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

from dronebms.core.chemistry import Chemistry, chemistry_of
from dronebms.core.errors import ConfigError, FlightLogError
from dronebms.core.pack_data import PackData
from dronebms.flightlogs.columns import MAX_CELLS
from smartbattery.registers import CELLS, DESIGN


@dataclass(frozen=True, slots=True)
class FlightOptions:
    """What a user knows of the pack; each overrides the sidecar's key of the same name."""

    cells: int | None = None
    capacity_mah: float | None = None  # rated
    chemistry: str | None = None
    cutoff_cell_v: float | None = None


NO_OPTIONS = FlightOptions()
_Told = Mapping[str, tuple[object, str]]  # by key: the value, and who has told it


def read_pack_data(
    flight: Path,
    sidecar: Path,
    options: FlightOptions,
    logged: Mapping[str, object] = MappingProxyType({}),
) -> PackData:
    """Return what is told of the pack of a flight; a `takeoff_s` is for judges and is not read.

    The user's word stands over the sidecar's, and that over what was `logged`.

    Raises:
        FlightError: sidecar or options cannot be used, or nobody names cells and chemistry.
    """
    told = {key: (value, f"{flight}, its {key}") for key, value in logged.items()}
    told |= {key: (value, f"{sidecar}, key {key}") for key, value in _read(sidecar).items()}
    for key, value in asdict(options).items():
        if value is not None:
            told[key] = value, f"{flight}, option --{key.replace('_', '-')}"
    needed = [key for key in ("cells", "chemistry") if key not in told]
    if needed:
        keys, flags = " and ".join(needed), " and ".join(f"--{key}" for key in needed)
        raise FlightLogError(f"{flight} needs {keys}: give {flags}, or write {keys} into {sidecar}")
    chemistry = _chemistry(told)
    return PackData(
        chemistry=chemistry,
        cells=_cells(told),
        capacity_mah=_number(told, "capacity_mah", DESIGN.low, DESIGN.high),
        cutoff_cell_v=_number(told, "cutoff_cell_v", CELLS[0].low, chemistry.full_cell_v),
        pack_id=_text(told, "pack_id"),
    )


def _read(path: Path) -> dict[str, object]:
    """Return the keys that are not null; none when there is no such file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise FlightLogError(f"{path} cannot be read: {error.strerror or error}") from error
    except json.JSONDecodeError as error:
        place = f"{path}, line {error.lineno}, column {error.colno}"
        raise FlightLogError(f"{place}: not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8; an absurd number; nested too deep
        raise FlightLogError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise FlightLogError(f"{path} is not a JSON object with keys such as cells and chemistry")
    return {key: value for key, value in content.items() if value is not None}


def _refusal(told: _Told, key: str, expected: str) -> FlightLogError:
    value, place = told[key]
    return FlightLogError(f"{place}: {reprlib.repr(value)} is not {expected}")


def _number(told: _Told, key: str, low: float, high: float) -> float | None:
    if key not in told:
        return None
    value = told[key][0]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise _refusal(told, key, f"a number from {low:g} to {high:g}")
    return float(value)


def _cells(told: _Told) -> int:
    cells = _number(told, "cells", 1, MAX_CELLS)
    if cells is None or not cells.is_integer():
        raise _refusal(told, "cells", "a whole number")
    return int(cells)


def _text(told: _Told, key: str) -> str | None:
    value = told[key][0] if key in told else None
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise _refusal(told, key, "a text")
    return value


def _chemistry(told: _Told) -> Chemistry:
    name = _text(told, "chemistry") or ""
    try:
        return chemistry_of(name)
    except ConfigError as error:
        raise FlightLogError(f"{told['chemistry'][1]}: {error}") from error

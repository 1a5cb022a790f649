# SPDX-License-Identifier: Apache-2.0
"""Sidecar of a flight log (.json): rated data of its pack, which the user's options override.

A missing key and null are unknown; unknown keys, among them `truth*` and `vendor*`, are never
read. A value of the wrong kind or unit is an error: a wrong number of cells or a cut-off in
millivolts would make every estimate wrong. Keys and units: docs/reference/flight_csv.md.
"""

import json
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from dronebms.core.bounded_input import BoundError, read_bytes
from dronebms.core.chemistry import LIHV, chemistry_of
from dronebms.core.disk import real_path
from dronebms.core.errors import ConfigError, FlightLogError
from dronebms.core.known_cells import known_cell
from dronebms.core.pack_data import MAX_NAME, PackData
from dronebms.core.toml_schema import CellName, ChemistryName, expectation
from smartbattery.registers import CELLS, DESIGN
from smartbattery.snapshot import MAX_CELLS


@dataclass(frozen=True, slots=True)
class FlightOptions:
    """Rated data that the user gives; each value overrides the sidecar's key of the same name."""

    cells: int | None = None
    capacity_mah: float | None = None  # rated
    chemistry: str | None = None
    cutoff_cell_v: float | None = None
    pack_id: str | None = None
    pack_model: str | None = None
    vehicle: str | None = None
    cell: str | None = None


NO_OPTIONS = FlightOptions()
LOG_ENDINGS = (".csv", ".csv.gz", ".bin", ".ulg", ".tlog")
OPTIONS = {"vehicle": "--vehicle-name"}  # where they have another name


def _within(value: float, low: float, high: float, unit: str, mistaken: tuple[str, float]) -> float:
    """Check a range; the message names a unit that the user may have mistaken for `unit`."""
    if low <= value <= high:
        return value
    other, factor = mistaken
    hint = f": in {other}?" if low <= value * factor <= high else ""
    raise ValueError(f"from {low:g} to {high:g} {unit}{hint}")


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("a text")
    return value


_Name = Annotated[str, AfterValidator(_text), Field(max_length=MAX_NAME)]


class Sidecar(BaseModel):
    """Keys of a sidecar."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    chemistry: ChemistryName
    """Chemistry of the cells; needed."""
    cells: Annotated[float, Field(ge=1, le=MAX_CELLS, multiple_of=1)]
    """Cells in series; needed, unless the log has cell voltages of its own."""
    capacity_mah: float | None = None
    """Rated capacity; estimated if it is missing."""
    cutoff_cell_v: float | None = None
    """Cut-off of the weakest cell under load; that of the chemistry if it is missing."""
    pack_id: _Name | None = None
    """Name of a pack that has no serial number, in the pack history."""
    pack_model: _Name | None = None
    """Model of the pack: packs of one model are sister packs."""
    vehicle: _Name | None = None
    """Name of the vehicle, whose flights share their usual power."""
    cell: CellName | None = None
    """Type of the cells, if their curve was measured; its chemistry is that of the row."""

    @field_validator("capacity_mah")
    @classmethod
    def _capacity(cls, value: float) -> float:
        return _within(value, DESIGN.low, DESIGN.high, "mAh", ("Ah", 1000.0))

    @field_validator("cell")
    @classmethod
    def _cell(cls, value: str, info: ValidationInfo) -> str:
        row = known_cell(value)
        chemistry = info.data.get("chemistry")
        if chemistry is not None and row.chemistry.name != chemistry:
            raise ValueError(f"a cell of {chemistry}: it is {row.chemistry.name}")
        return value

    @field_validator("cutoff_cell_v")
    @classmethod
    def _cutoff(cls, value: float, info: ValidationInfo) -> float:
        chemistry = chemistry_of(info.data.get("chemistry", LIHV.name))
        return _within(value, CELLS[0].low, chemistry.full_cell_v, "V", ("mV", 0.001))


def sidecar_of(log: Path) -> Path:
    """Path of the sidecar of a flight log, whether there is one or not."""
    name = log.name
    if name.lower().endswith(".gz"):
        name = name[: -len(".gz")]
    return log.parent / f"{Path(name).stem}.json"


def refuse_output(out: Path, flight: Path) -> None:
    """Refuse an output that would replace a flight or its sidecar, or become its sidecar.

    Raises:
        ConfigError: the output is one of the two.
    """
    parts = [(flight, "the flight itself")]
    if flight.name.lower().endswith(LOG_ENDINGS):  # a recording has none
        parts.append((sidecar_of(flight), f"the sidecar of {flight}"))
    for file, what in parts:
        is_same = out.exists() and file.exists() and out.samefile(file)
        if is_same or real_path(out) == real_path(file):
            raise ConfigError(f"{out} is {what} and is not overwritten")


def read_pack_data(
    log: Path,
    sidecar: Path,
    options: FlightOptions,
    logged: Mapping[str, object] = MappingProxyType({}),
) -> PackData:
    """Rated data of a flight's pack: options before sidecar keys before values in the log itself.

    Raises:
        FlightLogError: a value cannot be used, or none of the three gives cells and chemistry.
    """
    given: dict[str, tuple[object, str]] = {}  # by key: value and where it is from
    given |= {key: (value, f"{log}, its {key}") for key, value in logged.items()}
    given |= {key: (value, f"{sidecar}, key {key}") for key, value in _read(sidecar).items()}
    for key, value in asdict(options).items():
        if value is not None:
            given[key] = value, f"{log}, option {OPTIONS.get(key, '--' + key.replace('_', '-'))}"
    if "cell" in given and "chemistry" not in given:
        given["chemistry"] = _chemistry_of_cell(given["cell"][0]), given["cell"][1]
    needed = [key for key in ("cells", "chemistry") if key not in given]
    if needed:
        keys = " and ".join(needed)
        flags = " and ".join(f"--{key}" for key in needed)
        raise FlightLogError(f"{log} needs {keys}: give {flags}, or write {keys} into {sidecar}")
    try:
        pack = Sidecar.model_validate({key: value for key, (value, _) in given.items()})
    except ValidationError as error:
        first = error.errors()[0]
        value, place = given[str(first["loc"][0])]
        text = f"{place}: {reprlib.repr(value)} is not {expectation(first['msg'])}"
        raise FlightLogError(text) from error
    return PackData(
        chemistry=chemistry_of(pack.chemistry),
        cells=int(pack.cells),
        capacity_mah=pack.capacity_mah,
        cutoff_cell_v=pack.cutoff_cell_v,
        pack_id=pack.pack_id,
        pack_model=pack.pack_model,
        vehicle=pack.vehicle,
        cell=pack.cell,
    )


def _chemistry_of_cell(cell: object) -> str:
    """Chemistry of a type of cell; of an unknown one any, for `Sidecar` to refuse the cell."""
    try:
        return known_cell(str(cell)).chemistry.name
    except ConfigError:
        return LIHV.name


def _read(path: Path) -> dict[str, object]:
    """Keys that are not null; none if there is no file."""
    try:
        content = json.loads(read_bytes(path).decode("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise FlightLogError(f"{path} cannot be read: {error.strerror or error}") from error
    except json.JSONDecodeError as error:
        place = f"{path}, line {error.lineno}, column {error.colno}"
        raise FlightLogError(f"{place}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise FlightLogError(f"{path} is not JSON: nested too deeply") from error
    except BoundError as error:
        raise FlightLogError(f"{path} is not a sidecar: {error}") from error
    except UnicodeDecodeError as error:
        raise FlightLogError(f"{path} is not UTF-8 text") from error
    except ValueError as error:  # an absurd number
        raise FlightLogError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise FlightLogError(f"{path} is not a JSON object with keys such as cells and chemistry")
    return {key: value for key, value in content.items() if value is not None}

# SPDX-License-Identifier: Apache-2.0
"""State that outlives a process: frozen dataclasses as JSON, each behind a format number.

A part is `{"format": 1, "state": {...}}`. The format number belongs to the class of the state and
changes when the meaning of a field does. Reading creates values of the expected class alone:
nothing in the text names a class or a function. Numbers are finite and are restored to the last
bit.
"""

import json
import logging
import math
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Protocol, TypeAlias, TypeVar

import pydantic_core
from pydantic import AfterValidator, BeforeValidator, PlainSerializer, TypeAdapter, ValidationError

from dronebms.core.chemistry import chemistry_of
from dronebms.core.errors import ConfigError
from dronebms.core.flight_plan import FlightPlan
from dronebms.core.known_cells import known_cell
from dronebms.core.pack_data import PackData
from smartbattery.snapshot import MAX_CELLS

MAX_BYTES = 1 << 20  # of a text
MAX_PART_BYTES = 1 << 18
_MAX_ERRORS = 100  # whose details are looked at
_MAX_INT = 1 << 53
_MAX_RATED = 1e9  # mAh, V, C, A or s
_MAX_FLOAT = 1e15  # no quantity is larger, and its square is finite
_MAX_ITEMS = 65_536  # of a mission: MAVLink counts them in 16 bits
_log = logging.getLogger(__name__)


class State(Protocol):
    """A frozen dataclass of named fields."""

    FORMAT: ClassVar[int]


AnyState = TypeVar("AnyState", bound=State)
Part: TypeAlias = dict[str, object]


def encode(state: State) -> Part:
    """The state with its format number, for `to_json`."""
    return {
        "format": state.FORMAT,
        "state": adapter_of(type(state)).dump_python(state, mode="json"),
    }


def decode(
    kind: type[AnyState], part: object, name: str, *, any_format: bool = False
) -> AnyState | None:
    """State of a part that `encode` made.

    Args:
        kind: class of the state.
        part: a value of `from_json`.
        name: of the state, for the log.
        any_format: for a class whose later formats only add fields.

    Returns:
        `None`, and one line in the log, if the part is missing, of another format or not valid.
    """
    content = part if isinstance(part, dict) else {}
    number = content.get("format")
    if number != kind.FORMAT and not (any_format and isinstance(number, int)):
        _log.warning("%s is not restored: format %.20r, not %d", name, number, kind.FORMAT)
        return None
    try:
        text = to_json(content.get("state"))
        from_json(text, MAX_PART_BYTES)
        # From JSON, because only there a strict validation accepts a list for a tuple.
        state: AnyState = adapter_of(kind).validate_json(text, strict=True)
    except ValueError as error:
        _log.warning("%s is not restored: %s", name, _reason(error))
        return None
    return state


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    if error.error_count() > _MAX_ERRORS:
        return f"{error.error_count()} errors"
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place:.60}: {first['msg']:.80}" if place else f"{first['msg']:.80}"


def to_json(value: object) -> bytes:
    """Text of parts and lists of them.

    Raises:
        ValueError: a number is not finite, or a value has no JSON form.
    """
    text = pydantic_core.to_json(value, inf_nan_mode="constants")
    if b"NaN" in text or b"Infinity" in text:
        from_json(text)  # raises, unless it stands in a string
    return text


def from_json(text: bytes, max_bytes: int = MAX_BYTES, *, never: bool = False) -> Any:  # noqa: ANN401 - any JSON value
    """Value of a text from outside.

    Args:
        text: JSON.
        max_bytes: its bound.
        never: whether a number may be -Infinity, the time of what never was.

    Raises:
        ValueError: the text is too long or not JSON, or a number is not finite or too large.
    """
    if len(text) > max_bytes:
        raise ValueError(f"{len(text)} bytes are more than {max_bytes}")
    constant = _never if never else _float
    try:
        return json.loads(
            text.decode(), parse_float=_float, parse_int=_int, parse_constant=constant
        )
    except UnicodeDecodeError as error:
        raise ValueError("no UTF-8 text") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _float(text: str) -> float:
    value = float(text)
    if not abs(value) <= _MAX_FLOAT:
        raise ValueError(f"{text:.20} is not finite or too large")
    return value


def _never(text: str) -> float:
    return -math.inf if text == "-Infinity" else _float(text)


def _int(text: str) -> int:
    value = int(text)
    if abs(value) > _MAX_INT:
        raise ValueError(f"{text:.20} is too large")
    return value


@cache
def adapter_of(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - a class or an annotated one
    """Reader and writer of a class, made when it is first needed: it takes milliseconds."""
    return TypeAdapter(kind)


# ---------------------------------------------------------------------- rated data of a pack


def _values_of(pack_data: PackData) -> dict[str, object]:
    # `asdict` would copy every curve of the chemistry, each second.
    return {row.name: getattr(pack_data, row.name) for row in fields(pack_data)}


def _row_of(pack_data: PackData) -> dict[str, object]:
    return _values_of(pack_data) | {"chemistry": pack_data.chemistry.name}


def _with_chemistry(row: object) -> object:
    if not isinstance(row, dict):
        return row
    try:
        if row.get("cell") is not None:
            known_cell(str(row["cell"]))
        return row | {"chemistry": chemistry_of(str(row.get("chemistry")))}
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _possible(pack_data: PackData) -> PackData:
    if pack_data.cells is not None and not 1 <= pack_data.cells <= MAX_CELLS:
        raise ValueError(f"a pack of {pack_data.cells} cells")
    for name, value in _values_of(pack_data).items():
        if isinstance(value, float) and not 0 < value < _MAX_RATED:
            raise ValueError(f"{name} {value:g}")
    return pack_data


# A PackData in a file: the chemistry by its name, numbers that a pack can have.
StoredPackData: TypeAlias = Annotated[
    PackData,
    PlainSerializer(_row_of),
    BeforeValidator(_with_chemistry),
    AfterValidator(_possible),
]


# ---------------------------------------------------------------------- flight plan

# Least and largest value by the end of a field's name, the first that fits.
_PLAN_RANGES = (
    ("lat_deg", -90.0, 90.0),
    ("lon_deg", -180.0, 180.0),
    ("alt_m", -1e5, 1e5),
    ("height_m", -1e5, 1e5),
    ("radius_m", -1e5, 1e5),  # below 0: counter-clockwise
    ("_m", 0.0, 1e5),
    ("_m_s", -1e3, 1e3),
    ("_m_s2", 0.01, 1e3),
    ("_m_s3", 0.01, 1e4),
    ("_s", 0.0, 1e7),
    ("jump_to", 0, _MAX_ITEMS),
    ("jump_times", -1, _MAX_ITEMS),
    ("", -1e5, 1e5),
)


@cache
def _ranges(kind: type[Any]) -> tuple[tuple[str, float, float], ...]:
    """Name, least and largest value of each field; those of texts and parts are not used."""
    return tuple(
        (row.name, *next(x[1:] for x in _PLAN_RANGES if row.name.endswith(x[0])))
        for row in fields(kind)
    )


def _check_plan(value: object) -> None:
    if isinstance(value, tuple):
        for item in value:
            _check_plan(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for name, least, most in _ranges(type(value)):
            part = getattr(value, name)
            if isinstance(part, int | float):
                if not least <= part <= most:
                    raise ValueError(f"{name} {part:g}")
            elif part is not None:
                _check_plan(part)


def _possible_plan(plan: FlightPlan) -> FlightPlan:
    _check_plan(plan)
    return plan


# A FlightPlan in a file: numbers that a plan can have.
StoredFlightPlan: TypeAlias = Annotated[FlightPlan, AfterValidator(_possible_plan)]

# SPDX-License-Identifier: Apache-2.0
"""TOML files validated against a model: all errors at once, one sentence each."""

import difflib
import re
import reprlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from dronebms.core.bounded_input import BoundError, read_bytes
from dronebms.core.chemistry import CHEMISTRIES
from dronebms.core.errors import ConfigError
from dronebms.core.known_cells import known_cell
from dronebms.core.pack_data import MAX_NAME
from dronebms.core.service_defaults import AUTO
from smartbattery.profiles import PROFILES


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a text without control characters")
    return text


def _argument(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text without NUL")
    return text


Model = TypeVar("Model", bound=BaseModel)
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
# Of a program: may have several lines, and no program can receive a NUL.
Argument = Annotated[str, Field(min_length=1), AfterValidator(_argument)]
PrintableText = Annotated[str, AfterValidator(_printable)]
NonEmptyText = Annotated[PrintableText, Field(min_length=1)]
FilePath = NonEmptyText
Name = Annotated[PrintableText, Field(min_length=1, max_length=MAX_NAME, pattern=r"\S")]
Finite = Annotated[float, Field(allow_inf_nan=False)]

_SENTENCE = "sentence"  # type of an error
_LISTS = ("list_type", "tuple_type")  # types of an error, as the next ones
_LENGTHS = ("too_short", "too_long")
_TABLES = ("model_type", "dataclass_type", "dict_type")
_LENGTH = re.compile(r"at (?:least|most) (\d+)")
_MOST_NAMES = 20  # that an error sentence lists
_NEAR = 0.5  # share of equal letters from which on a key is a likely slip of another one
_MOST_ERRORS = 100  # that are listed
_MOST_CHARS = 4096  # of a line


@dataclass(frozen=True, slots=True)
class Names:
    """The names that a key accepts."""

    known: tuple[str, ...]

    def check(self, name: str) -> str:
        """The name.

        Raises:
            ValueError: it is none of them; the text has the known ones, or the nearest.
        """
        if name in self.known:
            return name
        if len(self.known) <= _MOST_NAMES:
            raise ValueError(f"one of {', '.join(self.known)}")
        near = difflib.get_close_matches(name, self.known, n=1, cutoff=0.0)
        raise ValueError(f"one of {len(self.known)} names, of which {near[0]} is the nearest")


def sentence(text: str) -> PydanticCustomError:
    """Error of a validator whose text is a sentence by itself, to follow the key."""
    return PydanticCustomError(_SENTENCE, "{text}", {"text": text})


def one_of(names: Iterable[str]) -> AfterValidator:
    """Validator that accepts only the given names."""
    return AfterValidator(Names(tuple(names)).check)


def _cell_name(name: str) -> str:
    try:
        return known_cell(name).name
    except ConfigError as error:
        raise ValueError(str(error)) from error


CellName = Annotated[str, AfterValidator(_cell_name)]
ChemistryName = Annotated[str, one_of(row.name for row in CHEMISTRIES)]
GaugeName = Annotated[str, one_of((AUTO, *(row.name for row in PROFILES)))]


class Section(BaseModel):
    """Model of a TOML table: unknown keys are errors, and "1" is not 1."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        populate_by_name=True,
        defer_build=True,  # the model of the whole file builds those of its tables
    )


def read_text(path: Path) -> str:
    """Text of a file; a byte order mark, which editors of Windows write, is no part of it.

    Raises:
        ConfigError: the file cannot be read, or is not UTF-8 text.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except BoundError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text") from error


def validated(
    model: type[Model], text: str, name: str, defaults: Mapping[str, object] | None = None
) -> Model:
    """Validate a TOML text against a model.

    Args:
        model: the model of the file.
        text: the file's content.
        name: the file's name in error sentences.
        defaults: values of top-level keys that the text may omit.

    Raises:
        ConfigError: one line for each key that is wrong, missing or unknown.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > _MOST_CHARS:  # tomllib takes minutes for a key of many parts
            raise ConfigError(f"{name}, line {number}: longer than {_MOST_CHARS} characters")
    try:
        data = tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(f"{name} is not TOML: nested too deeply") from error
    except ValueError as error:
        raise ConfigError(f"{name} is not TOML: {error}") from error
    try:
        return model.model_validate(dict(defaults or {}) | data)
    except ValidationError as error:
        items = error.errors(include_url=False)
        lines = [
            f"{name}: {_sentence(model, place, item['type'], item['msg'], item['input'])}"
            for item in items[:_MOST_ERRORS]
            for place in [_in_file(item["loc"], data)]
        ]
        if len(items) > _MOST_ERRORS:
            lines.append(f"{name}: {len(items) - _MOST_ERRORS} more errors")
        raise ConfigError("\n".join(lines)) from error


def _in_file(place: tuple[int | str, ...], data: object) -> tuple[int | str, ...]:
    """Place of an error as the file has it: a table that may be several ones has no number."""
    found: list[int | str] = []
    for part in place:
        if isinstance(part, int) and not isinstance(data, list):
            continue
        found.append(part)
        data = _value_at(data, part)
    return tuple(found)


def _value_at(data: object, part: int | str) -> object:
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return data[part]
    return data.get(part) if isinstance(data, dict) else None


def _sentence(
    model: type[BaseModel], place: tuple[int | str, ...], kind: str, message: str, given: object
) -> str:
    # People count from 1.
    key = ".".join(str(part + 1) if isinstance(part, int) else part for part in place)
    if kind == "missing":
        return f"{key} is needed"
    if kind == "extra_forbidden":
        known = _keys(model, place[:-1])
        near = difflib.get_close_matches(str(place[-1]), known, n=1, cutoff=_NEAR)
        hint = f"; the nearest is {near[0]}" if near else f"; known are {', '.join(known)}"
        return f"{key} is not a known key" + (hint if known else "")
    if kind == _SENTENCE:
        return f"{key}: {message}" if key else message
    expected = _expected(kind, message, place, given)
    shown = "" if isinstance(given, dict | list) else f", not {reprlib.repr(given)}"
    return f"{key}: expected {expected}{shown}" if key else expected


def _expected(kind: str, message: str, place: tuple[int | str, ...], given: object) -> str:
    """What is expected, in words of the file."""
    if kind in _LISTS and isinstance(given, dict):
        return f"[[{place[-1]}]] in place of [{place[-1]}]: there may be several"
    if kind in _TABLES and isinstance(given, list):
        return f"[{place[-1]}] in place of [[{place[-1]}]]: there is one"
    if kind in _TABLES:
        return "a table of keys"
    length = _LENGTH.search(message) if kind in _LENGTHS else None
    if length is not None:
        unit = "character" if isinstance(given, str) else "item"
        return f"{length[0]} {unit}{'' if length[1] == '1' else 's'}"
    return expectation(message)


def expectation(message: str) -> str:
    """A pydantic message without its first words, to follow "expected" or "is not"."""
    return re.sub(r"^(Input should be|Value error,|String should have) ", "", message)


def _keys(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Keys that a table of the model may have."""
    for part in place:
        if isinstance(part, int):
            continue
        by_key = {field.alias or name: field for name, field in model.model_fields.items()}
        inner = _table_of(by_key[part].annotation) if part in by_key else None
        if inner is None:
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _table_of(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - any type expression
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = _table_of(part)
        if found is not None:
            return found
    return None

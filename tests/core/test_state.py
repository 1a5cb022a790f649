# SPDX-License-Identifier: Apache-2.0
"""State as plain data: exact, of one class, of one format, and nothing else from any text."""

import json
import logging
import random
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from dronebms.core import state
from dronebms.core.chemistry import CHEMISTRIES, LIPO
from dronebms.core.pack_data import PackData
from dronebms.core.report import Severity
from dronebms.core.state import MAX_BYTES, MAX_PART_BYTES, StoredPackData, decode, encode, from_json
from dronebms.core.state import to_json as text_of

MOST_BYTES = 50e6


@dataclass(frozen=True, slots=True)
class Inner:
    """One value."""

    x: float = 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    """State with a field of each kind that the stages use."""

    FORMAT: ClassVar[int] = 3

    volts: float
    cells: tuple[float | None, ...] = ()
    by_name: dict[str, Inner] = field(default_factory=dict)
    by_number: dict[int, float] = field(default_factory=dict)
    severity: Severity | str = Severity.OK
    keys: tuple[tuple[int, int, int], ...] = ()
    pair: tuple[float, float] | None = None
    matrix: tuple[tuple[float, ...], ...] = ()
    is_on: bool = False

    def __post_init__(self) -> None:
        """Reject cells of another number than names; raises ValueError."""
        if len(self.cells) < len(self.by_name):
            raise ValueError("more names than cells")


STAGE = Stage(
    0.1 + 0.2,
    (3.7, None, 1e-300),
    {"a": Inner(-0.0), "b": Inner(5e-324)},
    {7: 1 / 3},
    Severity.CRITICAL,
    ((0, 1, 2),),
    (1.0, 2.0),
    ((1.0, 2.0), (3.0, 4.000000000000001)),
    is_on=True,
)


def through(value: Stage) -> Stage | None:
    return decode(Stage, from_json(text_of(encode(value))), "stage")


def test_a_state_is_restored_to_the_last_bit() -> None:
    assert through(STAGE) == STAGE
    restored = through(STAGE)
    assert restored is not None
    assert repr(restored) == repr(STAGE)  # also the sign of zero
    chance = random.Random(1)  # noqa: S311 - values
    values = tuple(chance.uniform(-1, 1) * 10.0 ** chance.randrange(-300, 15) for _ in range(2000))
    assert through(Stage(0.0, values)) == Stage(0.0, values)


def test_the_text_is_the_fields_by_name_behind_the_format() -> None:
    row = json.loads(text_of(encode(STAGE)))
    assert row.keys() == {"format", "state"}
    assert row["format"] == 3
    assert row["state"]["by_name"] == {"a": {"x": -0.0}, "b": {"x": 5e-324}}
    assert row["state"]["severity"] == 3


@pytest.mark.parametrize("chemistry", CHEMISTRIES)
def test_a_chemistry_is_stored_by_its_name(chemistry: object) -> None:
    @dataclass(frozen=True, slots=True)
    class Pack:
        FORMAT: ClassVar[int] = 1
        pack: StoredPackData

    pack = Pack(PackData(chemistry, 6, 16000.0))  # type: ignore[arg-type]
    part = from_json(text_of(encode(pack)))
    assert decode(Pack, part, "pack") == pack
    part["state"]["pack"]["chemistry"] = "os.system"
    assert decode(Pack, part, "pack") is None


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_neither_written_nor_read(number: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        text_of(encode(Stage(number)))
    part = {"format": 3, "state": {"volts": number}}
    assert decode(Stage, part, "stage") is None
    with pytest.raises(ValueError, match="not finite"):
        from_json(json.dumps(part).encode())


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (None, "format None, not 3"),
        ([], "format None, not 3"),
        ({"format": 4, "state": {"volts": 1.0}}, "format 4, not 3"),
        ({"format": "3", "state": {"volts": 1.0}}, "format '3', not 3"),
        ({"state": {"volts": 1.0}}, "format None, not 3"),
        ({"format": 3}, "not restored: Input should be an object"),
        ({"format": 3, "state": {}}, "volts: Field required"),
        ({"format": 3, "state": {"volts": "1.0"}}, "volts: Input should be a valid number"),
        ({"format": 3, "state": {"volts": "nan"}}, "volts: Input should be a valid number"),
        ({"format": 3, "state": {"volts": True}}, "volts: Input should be a valid number"),
        ({"format": 3, "state": {"volts": 10**400}}, "is too large"),
        ({"format": 3, "state": {"volts": 1.0, "cells": 3}}, "cells: Input should be a valid"),
        ({"format": 3, "state": {"volts": 1.0, "pair": [1.0]}}, "pair.1: Field required"),
        ({"format": 3, "state": {"volts": 1.0, "by_number": {"x": 1.0}}}, "by_number.x.[key]"),
        ({"format": 3, "state": {"volts": 1.0, "by_name": {"a": {}}}}, "more names than cells"),
        ({"format": 3, "state": {"volts": 1.0, "cells": ["x"] * 1000}}, "1000 errors"),
        ({"format": 3, "state": {"volts": 1.0, "x": "y" * MAX_PART_BYTES}}, "are more than"),
    ],
)
def test_any_other_part_is_not_restored_and_one_line_gives_the_reason(
    part: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert decode(Stage, part, "battery 1: stage") is None
    (record,) = caplog.records
    assert record.getMessage().startswith("battery 1: stage is not restored: ")
    assert reason in record.getMessage()
    assert len(record.getMessage()) < 200


def test_a_state_whose_later_formats_only_add_fields_is_read_of_any_format() -> None:
    part = {"format": 99, "state": {"volts": 1.0, "unknown": {"a": 1}}}
    assert decode(Stage, part, "stage") is None
    assert decode(Stage, part, "stage", any_format=True) == Stage(1.0)
    assert decode(Stage, {"state": {"volts": 1.0}}, "stage", any_format=True) is None


def test_a_text_that_is_too_long_or_nested_too_deeply_is_an_error() -> None:
    for text in (b"[" * 100_000, b'{"a":' * 50_000, b" " * (MAX_BYTES + 1), b"\xff\xfe", b"", b"{"):
        with pytest.raises(ValueError):  # noqa: PT011 - of json, each with its own text
            from_json(text)
    with pytest.raises(ValueError, match=r"^no UTF-8 text$"):
        from_json(b"dronebms-recording 2\n\xd5BMS")


# ---------------------------------------------------------------------- any text

_EVENTS = ("import", "exec", "open", "os.", "subprocess.")
_watched: list[str] | None = None


def _audit(event: str, _arguments: object) -> None:
    if _watched is not None and event.startswith(_EVENTS):
        _watched.append(event)


sys.addaudithook(_audit)


@contextmanager
def harmless() -> Iterator[None]:
    """Fail if anything is imported, executed or opened, or if much memory is used."""
    global _watched  # noqa: PLW0603 - an audit hook cannot be removed
    tracemalloc.start()
    _watched = []
    try:
        yield
        assert _watched == []
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        _watched = None
        tracemalloc.stop()


def mutated(value: object, chance: random.Random) -> object:
    """Copy of a JSON value with one part replaced by something else."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        rest = {name: part for name, part in value.items() if name != key}
        return rest if chance.random() < 0.1 else rest | {key: mutated(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        if chance.random() < 0.1:
            return value[:place] + value[place + 1 :] * chance.randrange(3)
        return [*value[:place], mutated(value[place], chance), *value[place + 1 :]]
    return chance.choice(
        (None, True, 0, -1, 2**62, 1e308, -1e-308, "", "os.system", "nan", [], {}, [value] * 3,
         {"format": 3, "state": value}, {"py/object": "os.system"}, [[[value]]])
    )  # fmt: skip


def test_no_mutation_of_a_state_raises_or_has_an_effect(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    chance = random.Random(2)  # noqa: S311 - mutations
    part = json.loads(text_of(encode(STAGE)))
    through(STAGE)
    read = 0
    with harmless():
        for _ in range(1000):
            found = decode(Stage, mutated(part, chance), "stage")
            assert found is None or isinstance(found, Stage)
            read += found is not None
    assert 20 < read < 900  # some mutations are states


def test_no_text_raises_anything_but_a_value_error() -> None:
    chance = random.Random(3)  # noqa: S311 - texts
    good = text_of(encode(STAGE))
    refused = 0
    with harmless():
        for _ in range(1000):
            text = bytearray(good if chance.random() < 0.7 else chance.randbytes(200))
            for _ in range(chance.randrange(1, 5)):
                text[chance.randrange(len(text))] = chance.randrange(256)
            try:
                value = from_json(bytes(text))
            except ValueError:
                refused += 1
                continue
            found = decode(Stage, value, "stage")
            assert found is None or isinstance(found, Stage)
    assert 0 < refused < 1000


@pytest.mark.parametrize("unit", [b"[],", b'{"":0},', b"[0],"])
def test_the_largest_text_takes_little_memory(
    unit: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    through(STAGE)
    with harmless():
        value = from_json(b"[" + unit * ((MAX_BYTES - 3) // len(unit)) + b"0]")
    assert isinstance(value, list)
    del value
    cells = b'{"format":3,"state":{"volts":1,"matrix":[' + unit * (MAX_PART_BYTES // len(unit) - 40)
    with harmless():
        assert decode(Stage, from_json(cells + b"0]}}"), "stage") is None


def test_the_adapter_of_a_class_is_made_once() -> None:
    assert state.adapter_of(Stage) is state.adapter_of(Stage)
    assert PackData(LIPO) == PackData(LIPO)

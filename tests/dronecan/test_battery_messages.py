# SPDX-License-Identifier: Apache-2.0
"""The decoder of battery messages against the package `dronecan`, which encodes them."""

import json
import math
import random
from pathlib import Path
from typing import Any

import dronecan
import pytest
from dronecan.transport import bits_from_bytes
from hypothesis import given
from hypothesis import strategies as st

from dronebms.dronecan.battery_messages import (
    BATTERY_INFO,
    DATA_TYPES,
    U8,
    Array,
    DataType,
    MessageError,
    Number,
    decode,
    message_of,
    payload_of,
)
from tests.dronecan.packs import GAUGE, INFO, frames, library_value

TYPES = pytest.mark.parametrize("data_type", DATA_TYPES.values(), ids=lambda row: row.name)


def _random_value(data_type: DataType, source: random.Random) -> Any:  # noqa: ANN401
    fields: dict[str, Any] = {}
    for name, kind in data_type.fields:
        if isinstance(kind, Number) and name != "timestamp_us":
            fields[name] = (
                source.uniform(-300.0, 600.0) if kind.real else source.getrandbits(kind.bits)
            )
        elif isinstance(kind, Array):
            count = source.randint(0, kind.most)
            fields[name] = tuple(
                source.uniform(0.0, 5.0) if kind.item.real else source.randint(1, 255)
                for _ in range(count)
            )
    value = library_value(data_type.name, fields)
    if data_type.fields[0][0] == "timestamp_us":
        value.timestamp.usec = source.getrandbits(56)
    return value


def _same(value: object, other: object) -> bool:
    both_nan = isinstance(value, float) and isinstance(other, float)
    return value == other or (both_nan and math.isnan(value) and math.isnan(other))  # type: ignore[arg-type]


@TYPES
def test_a_row_has_the_id_and_the_signature_of_the_dsdl(data_type: DataType) -> None:
    theirs = dronecan.TYPENAMES[data_type.name]
    assert (data_type.type_id, data_type.signature) == (
        theirs.default_dtid,
        theirs.get_data_type_signature(),
    )


@TYPES
def test_random_values_are_read_as_they_were_encoded(data_type: DataType) -> None:
    source = random.Random(20)  # noqa: S311 - reproducible
    for _ in range(60):
        value = _random_value(data_type, source)
        data = [one for _, one in frames(value)]
        read = decode(data_type, payload_of(data_type, data))
        for name, kind in data_type.fields:
            sent = value.timestamp.usec if name == "timestamp_us" else getattr(value, name)
            if isinstance(kind, Array):
                sent = bytes(sent) if kind.item == U8 else tuple(sent)
            assert _same(read[name], sent), name


@TYPES
def test_whatever_bytes_come_the_two_decoders_agree(data_type: DataType) -> None:
    source = random.Random(21)  # noqa: S311 - reproducible
    read = rejected = 0
    for _ in range(300):
        payload = source.randbytes(source.randint(0, 90))
        try:
            values = decode(data_type, payload)
        except MessageError:
            rejected += 1
            continue
        read += 1
        value = dronecan.TYPENAMES[data_type.name]()
        value._unpack(bits_from_bytes(payload))
        for name, kind in data_type.fields:
            if isinstance(kind, Number) and name != "timestamp_us":
                assert _same(values[name], getattr(value, name)), name
    assert rejected > 0
    assert read + rejected == 300


@TYPES
@given(payload=st.binary(max_size=600))
def test_no_payload_raises_anything_else(data_type: DataType, payload: bytes) -> None:
    try:
        values = decode(data_type, payload)
    except MessageError:
        return
    assert set(values) == {name for name, _ in data_type.fields}


VECTORS = json.loads((Path(__file__).parents[1] / "data" / "dronecan.json").read_text())["messages"]


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: row["name"])
def test_frames_of_libcanard_are_read(row: dict[str, Any]) -> None:
    frames = [one.split(":") for one in row["frames"]]
    assert {int(can_id, 16) & 0x7F for can_id, _ in frames} == {73}
    assert {DATA_TYPES[int(can_id, 16) >> 8 & 0xFFFF].name for can_id, _ in frames} == {row["name"]}
    data_type = DATA_TYPES[int(frames[0][0], 16) >> 8 & 0xFFFF]
    read = message_of(data_type, 73, [bytes.fromhex(data) for _, data in frames]).values
    assert read.keys() == row["values"].keys()
    for name, value in row["values"].items():
        assert _plain(read[name]) == value, name


def _plain(value: object) -> object:
    """A value as JSON has it; NaN is null."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def test_a_payload_that_lacks_its_end_or_goes_on_is_no_message() -> None:
    data = [one for _, one in frames(library_value(INFO, GAUGE | {"model_name": b""}))]
    whole = payload_of(BATTERY_INFO, data)
    assert decode(BATTERY_INFO, whole)["battery_id"] == 1
    for length in range(len(whole)):
        with pytest.raises(MessageError, match="too short"):
            decode(BATTERY_INFO, whole[:length])
    with pytest.raises(MessageError, match="at most 31"):
        decode(BATTERY_INFO, whole + bytes(32))
    other = DATA_TYPES[20010]
    with pytest.raises(MessageError, match="too long"):
        decode(other, bytes(26))


def test_each_flipped_bit_of_several_frames_is_noticed_by_the_checksum() -> None:
    data = [one for _, one in frames(library_value(INFO, GAUGE))]
    assert len(data) > 2
    for place, frame in enumerate(data):
        for bit in range(8 * (len(frame) - 1)):
            wrong = bytearray(frame)
            wrong[bit // 8] ^= 1 << bit % 8
            with pytest.raises(MessageError, match="checksum"):
                payload_of(BATTERY_INFO, [*data[:place], bytes(wrong), *data[place + 1 :]])

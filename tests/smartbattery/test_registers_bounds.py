# SPDX-License-Identifier: Apache-2.0
"""Each register: which words are values, for how long, and which steps need a second reading."""

from dataclasses import replace

import pytest

from smartbattery.fields import Block, Field, decode_block, encode_block
from smartbattery.registers import (
    EXTENDED,
    MANUFACTURED,
    SPECIFICATION,
    WORDS,
    Register,
    ScaledBy,
    differ_in_scale,
    error_of,
    powers_of,
    version_of,
)

ROWS = {row.name: row for row in (*WORDS, *EXTENDED)}
CELLS = [f"CellVoltage{number}" for number in range(1, 17)]
# First and last word that is a value, by the power of ten that scales it.
UNSIGNED: dict[str, dict[int, tuple[int, int]]] = {
    "Voltage": {0: (1000, 65534), 1: (100, 15000), 2: (10, 1500), 3: (1, 150)},  # to 150 V
    "Temperature": {0: (2232, 4231)},  # -50 to 150 degC
    "MaxError": {0: (0, 100)},
    "RelativeStateOfCharge": {0: (0, 100)},
    "AbsoluteStateOfCharge": {0: (0, 200)},
    "RemainingCapacity": {0: (0, 65535), 1: (0, 65534)},
    "FullChargeCapacity": {0: (1, 65535), 1: (1, 65534)},
    "DesignCapacity": {0: (50, 65535), 1: (5, 65534), 2: (1, 6553)},
    "AverageTimeToEmpty": {0: (0, 65534)},
    "BatteryStatus": {0: (0, 65535)},
    "BatteryMode": {0: (0, 65535)},
    "ChargingCurrent": {0: (0, 65000)},
    "ChargingVoltage": {0: (0, 65000)},
    "CycleCount": {0: (0, 65534)},
    "SpecificationInfo": {0: (0, 65535)},
    "DesignVoltage": {0: (1000, 65535), 1: (100, 15000)},
    "ManufactureDate": {0: (0, 65535)},
    "SerialNumber": {0: (0, 65535)},
    **{name: {0: (500, 5000)} for name in CELLS},
}
SCALES = [(name, power, *words) for name, rows in UNSIGNED.items() for power, words in rows.items()]
# Seconds for which a value holds; 0: as long as the pack is connected.
AGES_S = {
    **dict.fromkeys(("Voltage", "Current", *CELLS), 2.0),
    **dict.fromkeys(
        (
            "Temperature", "AverageCurrent", "RelativeStateOfCharge", "RemainingCapacity",
            "AverageTimeToEmpty", "BatteryStatus", "BatteryMode", "ChargingCurrent",
            "ChargingVoltage",
        ),
        15.0,
    ),
    "MaxError": 30.0,
    "FullChargeCapacity": 60.0,
    "CycleCount": 120.0,
}  # fmt: skip
STEPS = {  # that are accepted without a second reading
    "Voltage": 0.5, "Current": 5.0, "AverageCurrent": 5.0, "Temperature": 2.0,
    "RelativeStateOfCharge": 2.0, "RemainingCapacity": 100.0, "AverageTimeToEmpty": 600.0,
    **dict.fromkeys(CELLS, 0.1),
}  # fmt: skip
BY_VSCALE = {"Voltage", "DesignVoltage"}
BY_IPSCALE = {
    "Current", "AverageCurrent", "RemainingCapacity", "FullChargeCapacity", "DesignCapacity",
}  # fmt: skip


@pytest.mark.parametrize(("name", "power", "first", "last"), SCALES)
def test_the_words_that_are_values_are_those_of_the_range(
    name: str, power: int, first: int, last: int
) -> None:
    row = ROWS[name]
    for raw in {first, first + 1, (first + last) // 2, last - 1, last}:
        assert row.decode(raw, power) is not None, raw
    for raw in {0, max(first - 1, 0)} - {first} | {min(last + 1, 0xFFFF), 0xFFFF} - {last}:
        assert first <= raw <= last or row.decode(raw, power) is None, raw


@pytest.mark.parametrize("name", ["Current", "AverageCurrent"])
def test_a_current_is_a_value_up_to_1000_a_and_not_at_the_end_of_its_register(name: str) -> None:
    row = ROWS[name]
    assert row.decode(0x7FFE) == pytest.approx(-32.766)
    assert row.decode(0x8001) == pytest.approx(32.767)
    for raw in (0x7FFF, 0x8000):
        assert row.decode(raw) is None
        assert row.is_saturated(raw)
    assert row.decode(10_000, 2) == pytest.approx(-1000.0)
    assert row.decode(0x10000 - 10_000, 2) == pytest.approx(1000.0)
    assert row.decode(10_001, 2) is None
    assert row.decode(0x10000 - 10_001, 2) is None


@pytest.mark.parametrize("row", WORDS, ids=lambda row: row.name)
def test_a_value_holds_and_steps_as_its_kind_of_reading(row: Register) -> None:
    assert row.max_age_s == AGES_S.get(row.name, 0.0)
    assert row.max_step == STEPS.get(row.name, 0.0)
    kinds = {ScaledBy.VSCALE: BY_VSCALE, ScaledBy.IPSCALE: BY_IPSCALE}
    assert row.scaled_by == next(
        (kind for kind, names in kinds.items() if row.name in names), ScaledBy.NOTHING
    )


def test_a_scale_multiplies_a_value_by_its_power_of_ten() -> None:
    assert powers_of(0x0031) == {ScaledBy.NOTHING: 0, ScaledBy.VSCALE: 0, ScaledBy.IPSCALE: 0}
    assert powers_of(0x2131) == {ScaledBy.NOTHING: 0, ScaledBy.VSCALE: 1, ScaledBy.IPSCALE: 2}
    assert powers_of(0xF431)[ScaledBy.VSCALE] == 3  # the greatest one
    assert powers_of(0xF431)[ScaledBy.IPSCALE] == 3
    for power, factor in enumerate((1.0, 10.0, 100.0, 1000.0)):
        assert ROWS["Voltage"].scaled(1234, power) == pytest.approx(1.234 * factor)


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        (0x0031, 0x0031, False),
        (0x0031, 0x0131, True),
        (0x0131, 0x0031, True),
        (0x1031, 0x2031, True),
        (0x0031, 0x0021, False),  # another version
        (0x0031, 0x0121, False),
        (0x0031, 0x0030, False),
    ],
)
def test_two_words_differ_in_their_scales_alone(one: int, other: int, *, differs: bool) -> None:
    assert differ_in_scale(one, other) is differs


def test_the_version_is_in_its_four_bits() -> None:
    assert [version_of(raw) for raw in (0x0031, 0x0021, 0xFF1F, 0x00F0)] == [3, 2, 1, 15]


def test_an_error_code_without_a_name_is_its_number() -> None:
    assert error_of(0xFFF0)[0] == "OK"
    assert error_of(0x0008)[0] == "Incomplete"
    for code in range(9, 16):
        assert error_of(0x00C0 | code) == (f"code {code}", "not documented")


def test_constants_are_read_once_and_without_a_unit() -> None:
    for row in (SPECIFICATION, MANUFACTURED):
        assert (row.scale, row.offset, row.unknown_raw, row.capacity) == (1.0, 0.0, None, False)


@pytest.mark.parametrize(
    ("signed", "size", "least", "most"),
    [(True, 1, -128, 127), (True, 2, -32768, 32767), (False, 1, 0, 255), (False, 2, 0, 65535)],
)
def test_a_number_beyond_its_field_is_limited(
    size: int, least: int, most: int, *, signed: bool
) -> None:
    block = Block(1, "B", (Field("x", 1, size, signed, 1.0, 0.0, ""),), "s")
    for value, expected in ((-1e9, least), (1e9, most), (least, least), (most, most), (7.4, 7)):
        data = encode_block(block, {"x": value})
        assert len(data) == 1 + size
        assert decode_block(block, data) == {"x": expected}
    assert encode_block(block, {}) == bytes(1 + size)
    scaled = replace(block, fields=(Field("x", 0, size, signed, 0.5, -3.0, ""),))
    assert decode_block(scaled, encode_block(scaled, {"x": 2.5})) == {"x": 2.5}
    assert decode_block(scaled, b"") == {}

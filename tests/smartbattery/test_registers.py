# SPDX-License-Identifier: Apache-2.0
"""The register rows: bytes recorded elsewhere, every word both ways, invariants of the table."""

import json
from collections import Counter
from dataclasses import dataclass, fields
from datetime import date, timedelta
from math import isfinite
from pathlib import Path

import pytest

from smartbattery.fields import StatusWord
from smartbattery.registers import (
    ADDRESS,
    BATTERY_MODE,
    BATTERY_STATUS,
    CELLS,
    EXTENDED,
    FAST,
    MANUFACTURED,
    MODE,
    SLOW,
    SPECIFICATION,
    STATUS,
    TEXTS,
    WORDS,
    PollRate,
    Register,
    ScaledBy,
    date_of,
    powers_of,
    version_of,
)
from smartbattery.snapshot import Identity, Snapshot
from tests.mutable_classes import mutable_classes

ALL_WORDS = range(0x10000)
SOME_WORDS = (*range(0, 0x10000, 13), 0x7FFF, 0x8000, 0xFFFF)
UNIT_SUFFIXES = ("_v", "_a", "_w", "_wh", "_mah", "_ohm", "_degc", "_s", "_hz", "_pct", "_frac")
SIGNED = ("Current", "AverageCurrent", "AtRate")
WITHOUT_UNIT = ("cycles", "serial")
ROWS = {row.name: row for row in WORDS}


@dataclass(frozen=True)
class Word:
    """One pair of vectors.json."""

    row: str
    command: str
    raw: str
    value: float | None
    seen: str
    source: str
    wire: str = ""


@dataclass(frozen=True)
class Text:
    """One text block of vectors.json."""

    row: str
    command: str
    data: str
    text: str
    seen: str
    source: str
    wire: str = ""


VECTORS = json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text())
PROVENANCE = (Path(__file__).parents[1] / "data" / "VECTORS.md").read_text()
SEEN_WORDS = [Word(**entry) for entry in VECTORS["words"]]
SEEN_TEXTS = [Text(**entry) for entry in VECTORS["texts"]]
each_row = pytest.mark.parametrize("row", WORDS, ids=lambda row: row.name)
each_word = pytest.mark.parametrize("seen", SEEN_WORDS, ids=lambda seen: f"{seen.row} {seen.raw}")
each_text = pytest.mark.parametrize("seen", SEEN_TEXTS, ids=lambda seen: seen.text)


# --------------------------------------------------------------------- what others saw


@each_word
def test_a_recorded_word_has_the_meaning_in_its_source(seen: Word) -> None:
    row = ROWS[seen.row]
    decoded = row.decode(int(seen.raw, 16))
    if seen.value is None:
        assert decoded is None
    else:
        assert decoded == pytest.approx(seen.value, abs=abs(row.scale) / 2, rel=0)


@each_word
def test_a_value_from_a_recording_encodes_to_its_word(seen: Word) -> None:
    if seen.value is not None:
        assert ROWS[seen.row].encode(seen.value) == int(seen.raw, 16)


@each_word
def test_a_word_from_a_recording_was_read_with_the_command_of_its_row(seen: Word) -> None:
    command = ROWS[seen.row].command
    assert command == int(seen.command, 16)
    if seen.wire:
        data = int(seen.raw, 16).to_bytes(2, "little")
        assert bytes.fromhex(seen.wire)[:-1] == bytes((0x16, command, 0x17)) + data


@each_text
def test_a_text_from_a_recording_was_read_with_the_command_of_its_row(seen: Text) -> None:
    commands = {name: command for name, _, command in TEXTS}
    data = bytes.fromhex(seen.data)
    assert commands[seen.row] == int(seen.command, 16)
    assert data.split(b"\0")[0].decode("ascii") == seen.text
    if seen.wire:
        head = bytes((0x16, commands[seen.row], 0x17, len(data)))
        assert bytes.fromhex(seen.wire)[:-1] == head + data


def test_every_row_has_a_word_or_a_text_from_outside() -> None:
    seen = {word.row for word in SEEN_WORDS} | {text.row for text in SEEN_TEXTS}
    rows = {row.name for row in WORDS} | {name for name, _, _ in TEXTS}
    assert rows - seen == {row.name for row in CELLS[4:]}  # VECTORS.md has the reason


def test_every_vector_names_a_source_that_is_described() -> None:
    lists = ("words", "packs", "texts", "dates", "specifications", "transfers")
    used = {entry["source"] for name in lists for entry in VECTORS[name]}
    assert used == set(VECTORS["sources"])
    assert [source for source in used if f"`{source}`" not in PROVENANCE] == []


def test_the_cells_of_a_real_pack_add_up_to_its_voltage() -> None:
    for pack in VECTORS["packs"]:
        words = [int(raw, 16) for raw in pack["cells_raw"]]
        cells_v = [row.decode(raw) for row, raw in zip(CELLS[: len(words)], words, strict=True)]
        voltage_v = ROWS["Voltage"].decode(int(pack["voltage_raw"], 16))
        assert sum(v for v in cells_v if v is not None) == pytest.approx(voltage_v, abs=1e-9)


def test_cells_go_downwards_from_the_first_optional_function() -> None:
    assert [row.command for row in CELLS] == list(range(0x3F, 0x2F, -1))
    assert [row.field for row in CELLS] == [f"cell{number}_v" for number in range(1, 17)]


# --------------------------------------------------------------------- every word


def walk(row: Register, words: range | tuple[int, ...], power: int) -> int:
    """Check every word of `words` both ways; the number of plausible ones."""
    decoded = 0
    for raw in words:
        value = row.decode(raw, power)
        if value is None:
            continue
        decoded += 1
        assert isfinite(value), (row.name, hex(raw))
        assert row.low <= value <= row.high, (row.name, hex(raw), value)
        assert row.encode(value, power) == raw, (row.name, hex(raw), value)
    return decoded


@each_row
def test_every_word_is_refused_or_goes_both_ways(row: Register) -> None:
    assert walk(row, ALL_WORDS, power=0) > 0


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_scaled_row_goes_both_ways_with_every_power(power: int) -> None:
    scaled = [row for row in WORDS if row.scaled_by is not ScaledBy.NOTHING]
    assert len(scaled) == 7
    for row in scaled:
        assert walk(row, SOME_WORDS, power) > 0, row.name


def test_vscale_is_for_voltages_and_ipscale_for_currents_and_capacities() -> None:
    by_scale = {scale: {row.name for row in WORDS if row.scaled_by is scale} for scale in ScaledBy}
    assert by_scale[ScaledBy.VSCALE] == {"Voltage", "DesignVoltage"}
    assert by_scale[ScaledBy.IPSCALE] == {
        "Current", "AverageCurrent", "RemainingCapacity", "FullChargeCapacity", "DesignCapacity",
    }  # fmt: skip


@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_a_power_multiplies_the_value(power: int) -> None:
    raw = 12  # small enough to be believable a thousand times over
    assert ROWS["Current"].decode(raw, power) == pytest.approx(-0.012 * 10**power)
    assert ROWS["RemainingCapacity"].decode(raw, power) == pytest.approx(12 * 10**power)


@each_row
def test_decoding_is_monotonic(row: Register) -> None:
    signed = range(-0x8000, 0x8000) if row.signed else ALL_WORDS
    known = [value for raw in signed if (value := row.decode(raw & 0xFFFF)) is not None]
    assert known == sorted(known, reverse=row.scale < 0)
    assert len(set(known)) == len(known)


@each_row
def test_a_value_off_the_scale_wraps(row: Register) -> None:
    span = 0x10000 * row.scale
    for raw in (0, 1, 0x7FFF, 0x8000, 0xFFFF):
        value = row.scaled(raw)
        assert row.encode(value) == raw
        assert row.encode(value + span) == raw
        assert row.encode(value - span) == raw


@pytest.mark.parametrize("name", ["AverageTimeToEmpty", "CycleCount"])
def test_the_word_for_unknown_is_not_a_value(name: str) -> None:
    assert ROWS[name].unknown_raw == 0xFFFF
    assert ROWS[name].decode(0xFFFF) is None
    assert ROWS[name].decode(0xFFFE) is not None


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("Voltage", 0x0000),  # a pack that is off, not 0 V
        ("Temperature", 0x0000),  # 0 K
        ("RelativeStateOfCharge", 0x0065),  # 101 %
        ("MaxError", 0x0065),
        ("FullChargeCapacity", 0x0000),
        ("CellVoltage1", 0x30CD),  # a maker who uses the optional function otherwise
        ("CellVoltage2", 0x0000),  # no cell here
        ("CellVoltage3", 0xFFFF),
    ],
)
def test_an_implausible_word_is_not_a_value(name: str, raw: int) -> None:
    assert ROWS[name].decode(raw) is None


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [  # ranges of SBS 1.1 section 5.1, ends included
        ("RelativeStateOfCharge", 0, 0.0),
        ("RelativeStateOfCharge", 100, 100.0),
        ("MaxError", 0, 0.0),
        ("MaxError", 100, 100.0),
        ("RemainingCapacity", 0, 0.0),
        ("RemainingCapacity", 65535, 65535.0),
        ("FullChargeCapacity", 1, 1.0),
        ("FullChargeCapacity", 65535, 65535.0),
        ("AverageTimeToEmpty", 0, 0.0),
        ("AverageTimeToEmpty", 65534, 65534.0 * 60.0),
        ("CycleCount", 0, 0.0),
        ("CycleCount", 65534, 65534.0),
        ("ChargingCurrent", 0, 0.0),
        ("ChargingVoltage", 0, 0.0),
        ("ChargingCurrent", 0x8000, 32.768),
        ("ChargingVoltage", 0x8000, 32.768),
        ("SerialNumber", 0, 0.0),
        ("SerialNumber", 65535, 65535.0),
        ("DesignVoltage", 1200, 1.2),  # of one NiMH cell
        ("DesignVoltage", 65535, 65.535),
        ("Voltage", 65534, 65.534),
        ("ManufactureDate", 65535, 65535.0),
        ("SpecificationInfo", 65535, 65535.0),
        ("BatteryStatus", 65535, 65535.0),
        ("BatteryMode", 65535, 65535.0),
        ("Current", 0, 0.0),
        ("Current", 32766, -32.766),
        ("Current", 0x8001, 32.767),
    ],
)
def test_a_word_at_the_end_of_its_specified_range_is_a_value(
    name: str, raw: int, value: float
) -> None:
    assert ROWS[name].decode(raw) == pytest.approx(value, abs=1e-9)


# --------------------------------------------------------------------- what the table promises


def test_the_commands_are_those_of_the_specification() -> None:
    """SBS 1.1 section 5.1, as the manuals of TI and the kernel's sbs-battery repeat it."""
    rows = {row.name: (row.command, row.signed, row.capacity) for row in (*WORDS, *EXTENDED)}
    assert {name: row for name, row in rows.items() if "CellVoltage" not in name} == {
        name: (command, name in SIGNED, unit == "mAh")
        for command, name, unit in (
            (0x01, "RemainingCapacityAlarm", "mAh"), (0x02, "RemainingTimeAlarm", "min"),
            (0x03, "BatteryMode", ""), (0x04, "AtRate", "mAh"),  # mA or 10 mW, by the same bit
            (0x05, "AtRateTimeToFull", "min"), (0x06, "AtRateTimeToEmpty", "min"),
            (0x07, "AtRateOK", ""), (0x08, "Temperature", "0.1 K"), (0x09, "Voltage", "mV"),
            (0x0A, "Current", "mA"), (0x0B, "AverageCurrent", "mA"), (0x0C, "MaxError", "%"),
            (0x0D, "RelativeStateOfCharge", "%"), (0x0E, "AbsoluteStateOfCharge", "%"),
            (0x0F, "RemainingCapacity", "mAh"), (0x10, "FullChargeCapacity", "mAh"),
            (0x11, "RunTimeToEmpty", "min"), (0x12, "AverageTimeToEmpty", "min"),
            (0x13, "AverageTimeToFull", "min"), (0x14, "ChargingCurrent", "mA"),
            (0x15, "ChargingVoltage", "mV"), (0x16, "BatteryStatus", ""),
            (0x17, "CycleCount", "cycles"), (0x18, "DesignCapacity", "mAh"),
            (0x19, "DesignVoltage", "mV"), (0x1A, "SpecificationInfo", ""),
            (0x1B, "ManufactureDate", ""), (0x1C, "SerialNumber", ""),
        )
    }  # fmt: skip


def test_a_gauge_is_where_recorded_transfers_address_it() -> None:
    seen = [word.wire for word in SEEN_WORDS] + [text.wire for text in SEEN_TEXTS]
    wires = [bytes.fromhex(wire) for wire in seen if wire]
    assert {(wire[0] >> 1, wire[2] >> 1) for wire in wires} == {(ADDRESS, ADDRESS)}


def test_nothing_but_the_state_and_the_counters_of_a_gauge_changes_after_it_was_made() -> None:
    assert mutable_classes("smartbattery") == {"GaugeState", "TransferCounts"}


def test_no_two_rows_share_a_command_a_name_or_a_field() -> None:
    commands = Counter([row.command for row in WORDS] + [command for _, _, command in TEXTS])
    names = Counter([row.name for row in WORDS] + [name for name, _, _ in TEXTS])
    row_fields = Counter([row.field for row in WORDS] + [field for _, field, _ in TEXTS])
    for kind in (commands, names, row_fields):
        assert [key for key, count in kind.items() if count > 1] == []


@each_row
def test_the_name_of_a_field_ends_in_its_unit(row: Register) -> None:
    if row.field.endswith("_raw"):
        assert (row.scale, row.offset, row.signed) == (1.0, 0.0, False)
    else:
        assert row.field.endswith(UNIT_SUFFIXES) or row.field in WITHOUT_UNIT


def test_a_measured_value_has_a_field_in_the_snapshot() -> None:
    there = {field.name for field in fields(Snapshot)}
    measured = [row.field for row in (*FAST, *SLOW) if row is not MODE]  # MODE is a unit
    assert [name for name in measured if name not in there] == []


def test_a_constant_has_a_field_in_the_identity() -> None:
    there = {field.name for field in fields(Identity)}
    once = [row for row in WORDS if row.poll_rate is PollRate.STATIC]
    kept_otherwise = (SPECIFICATION, MANUFACTURED)  # as `pec` and `date`
    names = [row.field for row in once if row not in kept_otherwise]
    names += [field for _, field, _ in TEXTS]
    assert [name for name in names if name not in there] == []


@each_row
def test_a_measured_value_expires(row: Register) -> None:
    assert (row.max_age_s > 0) == (row.poll_rate is not PollRate.STATIC)


def test_only_capacities_change_their_unit_with_the_mode() -> None:
    capacities = {row.name for row in WORDS if row.capacity}
    assert capacities == {"RemainingCapacity", "FullChargeCapacity", "DesignCapacity"}


# --------------------------------------------------------------------- packed words


def test_a_specification_from_a_recording_is_unpacked() -> None:
    for entry in VECTORS["specifications"]:
        raw = int(entry["raw"], 16)
        powers = powers_of(raw)
        assert version_of(raw) == entry["version"]
        assert powers[ScaledBy.NOTHING] == 0
        assert powers[ScaledBy.VSCALE] == entry["vscale_power"]
        assert powers[ScaledBy.IPSCALE] == entry["ipscale_power"]


def test_any_specification_gives_powers_that_every_row_can_use() -> None:
    for raw in ALL_WORDS:
        assert 0 <= version_of(raw) <= 15
        assert set(powers_of(raw).values()) <= {0, 1, 2, 3}, hex(raw)
        assert powers_of(raw).keys() == set(ScaledBy)


def test_a_date_from_a_recording_is_unpacked() -> None:
    for entry in VECTORS["dates"]:
        assert date_of(int(entry["raw"], 16)) == tuple(entry["date"])


def test_every_day_of_the_calendar_is_unpacked() -> None:
    day = date(1980, 1, 1)
    while day <= date(2107, 12, 31):
        packed = day.day + day.month * 32 + (day.year - 1980) * 512
        assert date_of(packed) == (day.year, day.month, day.day)
        day += timedelta(days=1)


def test_a_word_without_a_month_or_a_day_is_no_date() -> None:
    for raw in ALL_WORDS:
        months, day = divmod(raw, 32)
        year, month = divmod(months, 16)
        is_date = month in range(1, 13) and day > 0
        assert date_of(raw) == ((1980 + year, month, day) if is_date else None), hex(raw)


def test_every_bit_of_a_status_word_is_retained() -> None:
    for row in (STATUS, MODE, SPECIFICATION, MANUFACTURED):
        assert all(row.decode(raw) == raw for raw in ALL_WORDS)


# Masks as SBS 1.1 prints them, sections 5.1.4 and 5.1.21.
MODE_MASKS = {
    "ICC": 0x0001, "PBS": 0x0002, "CF": 0x0080, "CC": 0x0100, "PB": 0x0200,
    "AM": 0x2000, "CHGM": 0x4000, "CAPM": 0x8000,
}  # fmt: skip
STATUS_MASKS = {
    "FD": 0x0010, "FC": 0x0020, "DSG": 0x0040, "INIT": 0x0080, "RTA": 0x0100, "RCA": 0x0200,
    "TDA": 0x0800, "OTA": 0x1000, "TCA": 0x4000, "OCA": 0x8000,
}  # fmt: skip


@pytest.mark.parametrize(
    ("word", "masks"), [(BATTERY_MODE, MODE_MASKS), (BATTERY_STATUS, STATUS_MASKS)]
)
def test_the_flags_of_a_status_word_are_those_of_the_specification(
    word: StatusWord, masks: dict[str, int]
) -> None:
    assert {row.name: word.mask(row.name) for row in word.bits} == masks

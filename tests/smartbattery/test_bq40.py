# SPDX-License-Identifier: Apache-2.0
"""The BQ40 tables: bit by bit against the manuals, recorded replies, forbidden selectors."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartbattery.bq40 import (
    PARTS,
    READ_SELECTORS,
    SECURITY,
    Z50,
    Z50_R4,
    Z80,
    Part,
    charge_trip_mask,
    flags,
    part_named,
    part_of,
    security_of,
    timer_mask,
)
from smartbattery.fields import Bit, Block, StatusWord, decode_bits, decode_block
from smartbattery.pec import pec
from smartbattery.registers import BATTERY_MODE, BATTERY_STATUS, ERRORS, error_of

DATA = Path(__file__).parents[1] / "data"
VECTORS = json.loads((DATA / "bq40.json").read_text())
PROVENANCE = (DATA / "VECTORS.md").read_text()
BY_NAME = {part.name: part for part in PARTS}
SBS = Part("sbs", (BATTERY_STATUS, BATTERY_MODE), ())
SHORT = {name.removeprefix("bq40").removeprefix("z50-"): part for name, part in BY_NAME.items()}
SHORT["sbs"] = SBS
UNITS = {
    "v": "V", "a": "A", "w": "W", "wh": "Wh", "mah": "mAh", "ohm": "ohm", "degc": "degC", "s": "s",
    "raw": "raw",
}  # fmt: skip
# Whatever acts when it is sent, in one of the manuals or one of the drivers that were read.
ACTING = {
    0x000A: "StorageMode",
    0x0010: "ShutdownMode", 0x0011: "SleepMode", 0x0012: "DeviceReset, old", 0x0013: "AutoCCOffset",
    0x001C: "PDSG FET toggle", 0x001D: "FuseToggle", 0x001E: "PreChargeFET", 0x001F: "ChargeFET",
    0x0020: "DischargeFET", 0x0021: "Gauging", 0x0022: "FETControl", 0x0023: "LifetimeData",
    0x0024: "PermanentFailure", 0x0025: "BlackBoxRecorder", 0x0026: "Fuse", 0x0027: "LEDDisplay",
    0x0028: "LifetimeDataReset", 0x0029: "PFDataReset", 0x002A: "BlackBoxReset", 0x002B: "LED",
    0x002C: "LEDDisplayPress", 0x002D: "CalibrationMode", 0x002E: "LifetimeDataFlush",
    0x002F: "LifetimeSpeedUp", 0x0030: "SealDevice", 0x0033: "ROMMode, old", 0x0035: "SecurityKeys",
    0x0037: "AuthenticationKey", 0x0041: "DeviceReset", 0x0079: "RSOCWrite",
    0x00F0: "IATA shutdown", 0x00F1: "IATA", 0x00F2: "IATA", 0x00F3: "IATA charge",
    0x0414: "first word of the unseal key", 0x3672: "second word", 0xFFFF: "full access key",
    0x043D: "manual FET control", 0x23A7: "manual FET control", 0x270C: "manual FET control",
    0x0F00: "ROMMode", 0x3008: "WriteTemp", 0x4000: "data flash", 0x5FFF: "data flash",
    0xF080: "calibration", 0xF081: "calibration", 0xF082: "calibration", 0xF083: "calibration",
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """The bits of one word as a manual draws them: highest first, - where there is none."""

    word: str
    part: str
    bits: tuple[str, ...]


@dataclass(frozen=True)
class SeenWord:
    """One status word of bq40.json."""

    word: str
    part: str
    data: str
    bits: str
    seen: str
    source: str
    wire: str = ""
    security: str | None = None


@dataclass(frozen=True)
class SeenBlock:
    """One data block of bq40.json."""

    block: str
    part: str
    data: str
    values: dict[str, float] = field(hash=False)
    seen: str
    source: str


@dataclass(frozen=True)
class Identity:
    """Replies to FirmwareVersion and DeviceType, and the part that gave them."""

    part: str | None
    source: str
    firmware: str | None = None
    device_type: str | None = None
    wire: str = ""


FIGURES = [
    Figure(entry["word"], part, tuple(entry["bits"].split()))
    for entry in VECTORS["figures"]
    for part in entry["parts"].split()
]
SEEN_WORDS = [SeenWord(**entry) for entry in VECTORS["words"]]
SEEN_BLOCKS = [SeenBlock(**entry) for entry in VECTORS["blocks"]]
IDENTITIES = [Identity(**entry) for entry in VECTORS["identities"]]
WORDS = [(part, word) for part in (*PARTS, SBS) for word in part.words]
BLOCKS = [(part, block) for part in PARTS for block in part.blocks]
each_figure = pytest.mark.parametrize("figure", FIGURES, ids=lambda row: f"{row.word} {row.part}")
each_seen_word = pytest.mark.parametrize(
    "seen", SEEN_WORDS, ids=lambda row: f"{row.word} {row.data}"
)
each_seen_block = pytest.mark.parametrize(
    "seen", SEEN_BLOCKS, ids=lambda row: f"{row.block} {row.source}"
)
each_identity = pytest.mark.parametrize("seen", IDENTITIES, ids=lambda row: row.source)
each_word = pytest.mark.parametrize(
    ("part", "word"), WORDS, ids=[f"{part.name} {word.name}" for part, word in WORDS]
)
each_block = pytest.mark.parametrize(
    ("part", "block"), BLOCKS, ids=[f"{part.name} {block.name}" for part, block in BLOCKS]
)


def word_of(part: str, name: str) -> StatusWord:
    return next(word for word in SHORT[part].words if word.name == name)


def block_of(part: str, name: str) -> Block:
    return next(block for block in SHORT[part].blocks if block.name == name)


def names(bits: tuple[Bit, ...]) -> list[str]:
    return [row.name for row in bits]


def selectors_of(part: Part) -> list[int]:
    words = [word.selector for word in part.words]
    return words + [block.selector for block in part.blocks]


def bytes_of(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


# --------------------------------------------------------------------- what the manuals draw


@each_figure
def test_a_word_has_the_bits_of_its_manual_and_no_others(figure: Figure) -> None:
    drawn = {k: name for k, name in enumerate(reversed(figure.bits)) if name != "-"}
    assert {row.bit: row.name for row in word_of(figure.part, figure.word).bits} == drawn


@each_figure
def test_a_word_is_as_long_as_its_manual_draws_it(figure: Figure) -> None:
    assert 8 * word_of(figure.part, figure.word).length == len(figure.bits)


def test_every_word_of_every_part_was_compared() -> None:
    compared = {(figure.part, figure.word) for figure in FIGURES}
    parts = {short: part for short, part in SHORT.items() if part is not Z50}
    assert compared == {(short, word.name) for short, part in parts.items() for word in part.words}


# --------------------------------------------------------------------- what others saw


@each_seen_word
def test_a_word_from_a_recording_has_the_flags_that_were_set(seen: SeenWord) -> None:
    decoded = decode_bits(word_of(seen.part, seen.word), bytes.fromhex(seen.data))
    assert sorted(names(decoded)) == sorted(seen.bits.split())


@each_seen_word
def test_the_security_from_a_recording_is_read(seen: SeenWord) -> None:
    if seen.security is not None:
        assert security_of(bytes.fromhex(seen.data)) == seen.security


@each_seen_block
def test_a_block_from_a_recording_has_the_values_that_were_shown(seen: SeenBlock) -> None:
    decoded = decode_block(block_of(seen.part, seen.block), bytes.fromhex(seen.data))
    assert {name: decoded[name] for name in seen.values} == pytest.approx(seen.values, rel=1e-9)


@each_identity
def test_a_part_from_a_recording_is_recognised(seen: Identity) -> None:
    part = part_of(bytes_of(seen.firmware), bytes_of(seen.device_type))
    assert part is (None if seen.part is None else BY_NAME[seen.part])


@pytest.mark.parametrize(
    ("wire", "data"),
    [(row.wire, row.data) for row in SEEN_WORDS if row.wire]
    + [(row.wire, row.firmware or "") for row in IDENTITIES if row.wire],
)
def test_a_reply_recorded_with_its_pec_is_intact(wire: str, data: str) -> None:
    transfer, reply = bytes.fromhex(wire), bytes.fromhex(data)
    assert pec(transfer[:-1]) == transfer[-1]
    assert transfer[3:-1] == bytes((len(reply),)) + reply


@pytest.mark.parametrize(
    ("block", "part", "energy", "charge", "cells"),
    [
        ("StateOfHealth", "r3", "healthy_full_wh", "healthy_full_mah", 4),
        ("GaugeStatus1", "r1", "true_full_wh", "true_full_mah", 2),
        ("GaugeStatus1", "r1", "true_remaining_wh", "true_remaining_mah", 2),
    ],
)
def test_energy_over_charge_is_the_voltage_of_a_pack(
    block: str, part: str, energy: str, charge: str, cells: int
) -> None:
    data = next(
        bytes.fromhex(row.data) for row in SEEN_BLOCKS if (row.block, row.part) == (block, part)
    )
    values = decode_block(block_of(part, block), data)
    assert 3.0 < 1000 * values[energy] / values[charge] / cells < 4.2


def test_a_lifetime_of_a_pack_has_units_that_a_pack_can_have() -> None:
    data = {row.block: bytes.fromhex(row.data) for row in SEEN_BLOCKS if row.part == "r3"}
    first = decode_block(block_of("r3", "LifetimeDataBlock1"), data["LifetimeDataBlock1"])
    third = decode_block(block_of("r3", "LifetimeDataBlock3"), data["LifetimeDataBlock3"])
    pack_v = first["max_average_discharge_w"] / first["max_average_discharge_a"]
    assert 4 * first["cell1_min_v"] < pack_v < 4 * first["cell1_max_v"]
    assert 0 < third["time_total_s"] < 600 * 86400  # the pack was made in October 2024


def test_every_source_is_named_with_what_it_gives() -> None:
    entries = [*VECTORS["figures"], *VECTORS["words"], *VECTORS["blocks"], *VECTORS["identities"]]
    used = {source for entry in entries for source in entry["source"].split()}
    assert used == set(VECTORS["sources"])
    assert [source for source in sorted(used) if f"`{source}`" not in PROVENANCE] == []


# --------------------------------------------------------------------- what is never sent


def test_nothing_that_acts_may_be_sent() -> None:
    assert {ACTING[selector] for selector in READ_SELECTORS & ACTING.keys()} == set()


def test_the_selectors_that_may_be_sent_are_these() -> None:
    assert sorted(READ_SELECTORS) == [
        0x01, 0x02, 0x03, 0x06,
        0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57,
        0x60, 0x61, 0x62, 0x63, 0x64,
        0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x7B,
        0x0341,
    ]  # fmt: skip


def test_every_row_of_every_part_may_be_read() -> None:
    assert {selector for part in PARTS for selector in selectors_of(part)} <= READ_SELECTORS


# --------------------------------------------------------------------- which part it is


def test_a_part_of_unknown_revision_is_what_all_revisions_have_in_common() -> None:
    assert part_of(bytes.fromhex("45 00 09 00"), None) is Z50
    assert part_of(b"\x45\x00", None) is Z50


def test_what_revisions_have_in_common_means_the_same_in_each() -> None:
    revisions = [part for part in PARTS if part.name.startswith("bq40z50-")]
    assert all(
        row in other.bits
        for k, word in enumerate(Z50.words)
        for row in word.bits
        for other in [part.words[k] for part in revisions]
    )
    assert "CCR" not in names(Z50.words[5].bits)
    assert {"CUV", "COV", "ASCDL"} <= set(names(Z50.words[1].bits))


def test_a_bq40z80_is_recognised_by_its_number() -> None:
    assert part_of(bytes.fromhex("48 00 00 07"), None) is Z80
    assert part_of(None, bytes.fromhex("00 48")) is Z80


@pytest.mark.parametrize(
    ("firmware", "device_type"),
    [
        (None, None),
        (b"", b""),
        (b"\x45", b"\x00"),
        (bytes.fromhex("46 00 00 13"), bytes.fromhex("00 46")),
        (bytes.fromhex("45 00 04 02"), bytes.fromhex("00 48")),
        (bytes.fromhex("00 45 02 04"), None),
    ],
)
def test_replies_that_identify_no_part_or_two_are_no_part(
    firmware: bytes | None, device_type: bytes | None
) -> None:
    assert part_of(firmware, device_type) is None


def test_security_is_unknown_when_the_word_is_incomplete() -> None:
    assert [security_of(bytes((0xFF, mode))) for mode in range(4)] == list(SECURITY)
    assert security_of(b"\x03") is None


def test_part_names_are_those_of_a_configuration() -> None:
    revisions = [f"bq40z50-r{revision}" for revision in range(1, 6)]
    assert list(BY_NAME) == ["bq40z50", *revisions, "bq40z80", "bq41z50", "bq41z90"]


# --------------------------------------------------------------------- how rows decode


def test_a_flag_that_no_manual_describes_is_shown_by_its_number() -> None:
    word = word_of("r4", "SafetyStatus")
    assert decode_bits(word, b"\x01\x80\x00\x00")[1] == Bit(15, "bit 15", "not documented")


def test_bytes_past_a_word_are_not_flags() -> None:
    assert decode_bits(word_of("z80", "ChargingStatus"), b"\0\0\0\xff\xff") == ()


def test_a_word_cut_short_has_the_flags_that_came() -> None:
    assert names(decode_bits(word_of("r1", "OperationStatus"), b"\x06\x03")) == [
        "DSG",
        "CHG",
        "SEC0",
        "SEC1",
    ]


def test_the_error_code_is_no_flag() -> None:
    assert names(decode_bits(BATTERY_STATUS, b"\x8f\x00")) == ["INIT"]
    assert error_of(0x0084) == ERRORS[4]
    assert error_of(0x00C0)[0] == "OK"
    assert error_of(0x0009) == ("code 9", "not documented")


@pytest.mark.parametrize(
    ("length", "count"), [(0, 0), (1, 0), (14, 7), (16, 8), (18, 9), (26, 13), (32, 13)]
)
def test_the_temperatures_are_those_received(length: int, count: int) -> None:
    decoded = decode_block(
        block_of("r5", "DAStatus2"), b"\xa6\x0b" * (length // 2) + b"\0" * (length % 2)
    )
    assert len(decoded) == count
    assert decoded.get("chip_degc", 25.05) == pytest.approx(25.05)


def test_current_and_power_are_positive_while_discharging() -> None:
    data = (
        bytes(12) + (-2000).to_bytes(2, "little", signed=True) + bytes(14) + b"\x9c\xff" + bytes(2)
    )
    decoded = decode_block(block_of("r4", "DAStatus1"), data)
    assert decoded["cell1_a"] == pytest.approx(2.0)
    assert decoded["power_w"] == pytest.approx(1.0)


def test_remaining_charge_and_temperature_may_be_negative() -> None:
    gauge = decode_block(block_of("r4", "GaugeStatus1"), b"\x9c\xff\xce\xff")
    assert gauge == pytest.approx({"true_remaining_mah": -100.0, "true_remaining_wh": -0.5})
    life = decode_block(block_of("r3", "LifetimeDataBlock1"), bytes(27) + b"\xf6")
    assert life["min_cell_degc"] == -10.0


def test_the_upper_cells_of_a_bq40z80_come_cell_by_cell() -> None:
    data = b"".join(value.to_bytes(2, "little") for value in range(4005, 4014))
    decoded = decode_block(block_of("z80", "DAStatus3"), data)
    assert [decoded[f"cell{k}_v"] for k in (5, 6, 7)] == pytest.approx([4.005, 4.008, 4.011])


@given(st.sampled_from(WORDS), st.binary(max_size=40))
def test_any_bytes_are_flags_in_order(row: tuple[Part, StatusWord], data: bytes) -> None:
    word = row[1]
    raw = int.from_bytes(data[: word.length], "little") & ~word.number_mask
    assert sum(1 << flag.bit for flag in decode_bits(word, data)) == raw


@given(st.sampled_from(BLOCKS), st.binary(max_size=40))
def test_any_bytes_are_the_fields_that_they_cover(row: tuple[Part, Block], data: bytes) -> None:
    covered = [field.name for field in row[1].fields if field.offset + field.size <= len(data)]
    assert list(decode_block(row[1], data)) == covered


@given(st.binary(max_size=16), st.binary(max_size=16))
def test_any_bytes_are_a_part_or_none(firmware: bytes, device_type: bytes) -> None:
    assert part_of(firmware, device_type) in (*PARTS, None)


# --------------------------------------------------------------------- what the tables promise


@each_word
def test_flags_are_inside_their_word_and_meant_once(part: Part, word: StatusWord) -> None:
    numbers = [row.bit for row in word.bits]
    assert len(set(numbers)) == len(numbers) == len(set(names(word.bits)))
    assert all(0 <= bit < 8 * word.length and not word.number_mask >> bit & 1 for bit in numbers)
    assert word.source, part.name


@each_word
def test_a_flag_is_explained_in_one_sentence(part: Part, word: StatusWord) -> None:
    texts = [row.text for row in word.bits] + [text for _, text in ERRORS]
    assert [text for text in texts if not (text[0].isupper() and text.count(".") == 1)] == []
    assert [text for text in texts if not text.endswith(".") or len(text) > 100] == [], part.name


# What the manuals list in each block: parts, block, numbers as `struct` writes them with their unit
# (SLUUA43, SLUUCH2, SLUUCN4, SLUUBT5; DAStatus3 as PX4 reads it). Currents and powers are signed,
# and positive while charging.
UNIT_VALUES = {
    "mV": (0.001, 0.0), "mA": (-0.001, 0.0), "cW": (-0.01, 0.0), "mAh": (1.0, 0.0),
    "cWh": (0.01, 0.0), "0.1K": (0.1, -273.15), "1K": (1.0, 0.0), "s": (1.0, 0.0),
    "3.75min": (225.0, 0.0), "mohm/1.024": (1 / 1024, 0.0), "-": (1.0, 0.0),
}  # fmt: skip
LAYOUTS = (
    ("bq41z90", "CellVoltages", "16H:mV"),
    ("r1 r2 r3 r4 r5 z80", "DAStatus1", "6H:mV 4h:mA 4h:cW 2h:cW"),
    ("r4 r5", "DAStatus2", "9H:0.1K 4H:mV"),
    ("z80", "DAStatus3", "1H:mV 1h:mA 1h:cW 1H:mV 1h:mA 1h:cW 1H:mV 1h:mA 1h:cW"),
    ("r1 r2 r3 r4 r5 z80", "GaugeStatus1",
     "1h:mAh 1h:cWh 1H:mAh 1H:cWh 1H:mAh 1H:cWh 2H:0.1K 4H:- 4H:mohm/1.024"),
    ("r1 r2 r3 r4 r5 z80", "GaugeStatus2", "6B:- 1I:s 4h:- 1h:mAh 1h:cWh 1H:3.75min 4H:-"),
    ("r1 r2 r3 r4 r5 bq41z50", "GaugeStatus3", "4H:mAh 4h:- 1h:mAh 1H:3.75min 2h:-"),
    ("z80", "GaugeStatus3", "4H:mAh 4h:- 1h:mAh 1H:3.75min 2h:- 4H:-"),
    ("r3 r4 r5 bq41z50", "CBStatus", "4H:s 5H:- 1B:-"),
    ("z80", "CBStatus", "7H:s 8H:-"),
    ("r1 r2 r3 r4 r5 z80", "StateOfHealth", "1H:mAh 1H:cWh"),
    ("r1 r2 r3 z80", "FilteredCapacity", "1H:mAh 1H:- 1H:mAh 1H:-"),
    ("r4 r5", "FilteredCapacity", "1H:mAh 1H:cWh 1H:mAh 1H:cWh"),
    ("r1 r2", "LifetimeDataBlock1", "9H:- 4h:- 6B:-"),
    ("r3", "LifetimeDataBlock1", "9H:mV 3h:mA 1h:cW 6b:1K"),
    ("z80", "LifetimeDataBlock1", "15H:-"),
    ("r1 r2", "LifetimeDataBlock2", "8B:-"),
    ("r3", "LifetimeDataBlock2", "4B:- 4I:s"),
    ("r4 r5", "LifetimeDataBlock2", "1H:mAh 1H:cWh 4I:s"),
    ("r1 r2", "LifetimeDataBlock3", "8H:-"),
    ("r3 r4 r5", "LifetimeDataBlock3", "1I:s"),
    ("r1 r2 r3 r4 r5", "LifetimeDataBlock4", "16H:-"),
    ("r1 r2 r3 r4 r5", "LifetimeDataBlock5", "16H:-"),
)  # fmt: skip


def test_a_block_has_the_numbers_that_the_manuals_list() -> None:
    compared = set()
    for parts, name, numbers in LAYOUTS:
        kinds = [one.split(":") for one in numbers.split()]
        layout = struct.Struct("<" + "".join(kind for kind, _ in kinds))
        units = [UNIT_VALUES[unit] for kind, unit in kinds for _ in range(int(kind[:-1]))]
        for part in parts.split():
            block = block_of(part, name)
            for data in (bytes(range(0x70, 0x90)), bytes(range(0x90, 0x70, -1))):
                found = decode_block(block, data[: layout.size])
                words = layout.unpack(data[: layout.size])
                wanted = [
                    raw * scale + zero for raw, (scale, zero) in zip(words, units, strict=True)
                ]
                assert list(found.values()) == pytest.approx(wanted, rel=1e-12), (part, name)
            compared.add((SHORT[part].name, name))
    listed = {(part.name, block.name) for part, block in BLOCKS}
    assert compared <= listed
    assert len(compared) > len(listed) / 2


@each_block
def test_fields_lie_side_by_side_and_are_named_once(part: Part, block: Block) -> None:
    taken = [at for row in block.fields for at in range(row.offset, row.offset + row.size)]
    assert len(set(taken)) == len(taken), part.name
    assert max(taken, default=0) < 32
    assert len({row.name for row in block.fields}) == len(block.fields)
    assert block.source


@each_block
def test_a_field_ends_in_its_unit(part: Part, block: Block) -> None:
    wrong = [row for row in block.fields if UNITS.get(row.name.rpartition("_")[2], "") != row.unit]
    assert wrong == [], part.name


def test_a_selector_has_one_meaning_in_a_part() -> None:
    for part in PARTS:
        selectors = selectors_of(part)
        assert len(set(selectors)) == len(selectors), part.name


# ---------------------------------------------------------------------- flags by part


@pytest.mark.parametrize("part", [None, *PARTS], ids=lambda part: part and part.name)
def test_every_set_bit_is_reported_by_the_parts_own_table(part: Part | None) -> None:
    for name in ("SafetyAlert", "SafetyStatus", "PFAlert", "PFStatus"):
        documented = {
            bit.bit: bit for word in (part.words if part else ()) for bit in word.bits
            if word.name == name
        }  # fmt: skip
        for bit in range(32):
            (flag,) = flags(part, name, 1 << bit)
            assert flag == documented.get(bit, Bit(bit, f"bit {bit}", "not documented"))


def test_parts_differ_in_flags_and_each_is_decoded_by_its_own() -> None:
    revisions = ("r1", "r2", "r3", "r5")
    named = {r: flags(part_named(f"bq40z50-{r}"), "PFStatus", 1 << 25)[0].name for r in revisions}
    assert named == {"r1": "OPNCELL", "r2": "bit 25", "r3": "FORCE", "r5": "FORCE"}
    safety = {part.name: flags(part, "SafetyStatus", 1 << 15)[0].name for part in (Z50_R4, Z80)}
    assert safety == {"bq40z50-r4": "bit 15", "bq40z80": "bit 15"}
    assert flags(part_named("bq40z50-r5"), "SafetyStatus", 1 << 15)[0].name == "DCOT"
    assert part_named("generic") is None


def test_the_trips_of_a_charge_alone_are_known_for_each_part() -> None:
    assert charge_trip_mask(Z50) == charge_trip_mask(Z80) == 0x17D4130E
    assert charge_trip_mask(part_named("bq40z50-r1")) == 0x17D4130E & ~(1 << 28)
    assert charge_trip_mask(None) == 0  # any trip of an unknown part may open the discharge path
    assert timer_mask(Z50) == timer_mask(Z80) == 1 << 19 | 1 << 21
    assert timer_mask(None) == 0

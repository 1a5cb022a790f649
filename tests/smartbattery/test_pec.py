# SPDX-License-Identifier: Apache-2.0
"""PEC: codes computed elsewhere, and the errors that it detects."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartbattery.pec import pec, read_prefix
from smartbattery.registers import ADDRESS, WORDS

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text())
WIRES = [
    (entry["what"], bytes.fromhex(entry["bytes"]), int(entry["pec"], 16))
    for entry in VECTORS["transfers"]
] + [
    (entry["row"], bytes.fromhex(entry["wire"])[:-1], bytes.fromhex(entry["wire"])[-1])
    for entry in (*VECTORS["words"], *VECTORS["texts"])
    if "wire" in entry
]
WORD_READ = bytes.fromhex("16 09 17 d0 39 7e")  # Voltage, 14.8 V; the kernel's PEC
WORD_READ_BITS = 8 * len(WORD_READ)


def is_valid(transfer: bytes) -> bool:
    return pec(transfer[:-1]) == transfer[-1]


def with_flipped(pattern: int) -> bytes:
    """Return the word read with the set bits of `pattern` inverted."""
    return (int.from_bytes(WORD_READ) ^ pattern).to_bytes(len(WORD_READ))


def test_the_check_value_of_this_crc_is_computed() -> None:
    assert pec(b"123456789") == 0xF4


@pytest.mark.parametrize(("what", "covered", "code"), WIRES)
def test_a_recorded_pec_is_computed(what: str, covered: bytes, code: int) -> None:
    assert pec(covered) == code, what


def test_a_read_may_be_checked_from_its_prefix_on() -> None:
    assert pec(WORD_READ[3:5], read_prefix(ADDRESS, 0x09)) == WORD_READ[-1]


def test_the_prefix_covers_both_address_bytes_of_any_address_and_command() -> None:
    for address in range(0x80):
        for command in range(0x100):
            sent = bytes((2 * address, command, 2 * address + 1))
            assert read_prefix(address, command) == pec(sent), (address, command)


@given(before=st.binary(max_size=40), after=st.binary(max_size=40))
def test_a_crc_continues_from_another(before: bytes, after: bytes) -> None:
    assert pec(after, pec(before)) == pec(before + after)


def test_an_intact_read_is_valid() -> None:
    assert is_valid(WORD_READ)


def test_every_single_flipped_bit_is_detected() -> None:
    missed = [bit for bit in range(WORD_READ_BITS) if is_valid(with_flipped(1 << bit))]
    assert missed == []


def test_every_pair_of_flipped_bits_is_detected() -> None:
    missed = [
        (first, second)
        for second in range(WORD_READ_BITS)
        for first in range(second)
        if is_valid(with_flipped(1 << first | 1 << second))
    ]
    assert missed == []


@pytest.mark.parametrize("length", range(2, 9))
def test_every_burst_of_up_to_eight_bits_is_detected(length: int) -> None:
    ends = 1 << length - 1 | 1
    bursts = [ends | inner << 1 for inner in range(1 << length - 2)]
    missed = [
        (hex(burst), at)
        for burst in bursts
        for at in range(WORD_READ_BITS - length + 1)
        if is_valid(with_flipped(burst << at))
    ]
    assert missed == []


def test_a_released_line_is_not_taken_for_a_word_of_any_row() -> None:
    # A host reads all ones from a released line; the PEC of some command equals it by chance.
    missed = [
        row.name for row in WORDS if pec(b"\xff\xff", read_prefix(ADDRESS, row.command)) == 0xFF
    ]
    assert missed == []

# SPDX-License-Identifier: Apache-2.0
"""Rows of status words and data blocks, and their codecs.

Bytes are the data of a reply alone: no count, no echo of the command, no PEC. Of a reply of any
length the complete fields are decoded; nothing raises.
Units are in the field names; `_raw` is a number whose unit no source states. Current and power are
positive while discharging. Status words are little endian.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Bit:
    """One flag of a status word."""

    bit: int
    name: str  # the manual's mnemonic
    text: str  # meaning when it is set, one sentence for a field technician


@dataclass(frozen=True, slots=True)
class StatusWord:
    """A word of flags; an SBS command below 0x40, or a manufacturer-access selector."""

    selector: int
    name: str
    length: int  # bytes with a meaning; further bytes are padding
    bits: tuple[Bit, ...]
    source: str
    number_mask: int = 0  # bits that are a number, not flags

    def mask(self, name: str) -> int:
        """Mask of a flag; raises `StopIteration` when there is none of that name."""
        return 1 << next(row.bit for row in self.bits if row.name == name)


@dataclass(frozen=True, slots=True)
class Field:
    """One number of a block: value = raw x scale + zero."""

    name: str  # the suffix is the unit
    offset: int
    size: int
    signed: bool
    scale: float
    zero: float
    unit: str  # empty for a plain number, "raw" where no source states it
    order: Literal["little", "big"] = "little"


@dataclass(frozen=True, slots=True)
class Block:
    """A block of numbers behind one manufacturer-access selector."""

    selector: int
    name: str
    fields: tuple[Field, ...]
    source: str


def decode_bits(word: StatusWord, data: bytes) -> tuple[Bit, ...]:
    """Flags that are set, lowest first, including those that no manual describes."""
    raw = int.from_bytes(data[: word.length], "little") & ~word.number_mask
    known = {row.bit: row for row in word.bits}
    return tuple(
        known.get(bit) or Bit(bit, f"bit {bit}", "not documented")
        for bit in range(raw.bit_length())
        if raw >> bit & 1
    )


def decode_block(block: Block, data: bytes) -> dict[str, float]:
    """Values by field name, of the fields that the data covers completely.

    There is no plausibility check: an absent cell is 0 V, an absent sensor -273.15 degC.
    """
    values = {}
    for row in block.fields:
        part = data[row.offset : row.offset + row.size]
        if len(part) == row.size:
            raw = int.from_bytes(part, row.order, signed=row.signed)
            values[row.name] = raw * row.scale + row.zero
    return values


def encode_block(block: Block, values: Mapping[str, float]) -> bytes:
    """Bytes of a block from values by field name; the inverse of `decode_block`.

    Values are rounded and limited to the range of their field; a field without a value is zeros.
    """
    data = bytearray(max((row.offset + row.size for row in block.fields), default=0))
    for row in block.fields:
        value = values.get(row.name)
        if value is None:
            continue
        span = 1 << 8 * row.size
        low = -span // 2 if row.signed else 0
        raw = min(max(round((value - row.zero) / row.scale), low), low + span - 1)
        part = raw.to_bytes(row.size, row.order, signed=row.signed)
        data[row.offset : row.offset + row.size] = part
    return bytes(data)

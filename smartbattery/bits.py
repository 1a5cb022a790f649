"""Status words and data blocks as rows, how bytes decode by them, and the two words of plain SBS.

Bytes are the data of a reply alone: no count, no echo of the command, no PEC. Whatever length
arrives, what fits is decoded, and nothing raises.
Units are in the field names; `_raw` is a number whose unit no source tells. Current and power are
positive while discharging. Status words are little endian.
Source of the SBS words: Smart Battery Data Specification 1.1, sections 5.1.4 and 5.1.21, as TI
SLUUCH2 repeats them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MODE_COMMAND = 0x03
STATUS_COMMAND = 0x16
_ERROR_CODE = 0x000F


@dataclass(frozen=True, slots=True)
class Bit:
    """One flag of a status word."""

    bit: int
    name: str  # the manual's mnemonic
    text: str  # what it means when it is set, one sentence for a field technician


@dataclass(frozen=True, slots=True)
class StatusWord:
    """A word of flags; an SBS command below 0x40, or a manufacturer-access selector."""

    selector: int
    name: str
    length: int  # bytes that mean something; more of them are padding
    bits: tuple[Bit, ...]
    source: str
    number_mask: int = 0  # bits that are a number, not flags


@dataclass(frozen=True, slots=True)
class Field:
    """One number of a block: value = raw x scale + zero."""

    name: str  # the suffix is the unit
    offset: int
    size: int
    signed: bool
    scale: float
    zero: float
    unit: str  # empty for a bare number, "raw" where no source tells
    order: Literal["little", "big"] = "little"


@dataclass(frozen=True, slots=True)
class Block:
    """A block of numbers behind one manufacturer-access selector."""

    selector: int
    name: str
    fields: tuple[Field, ...]
    source: str


def decode_bits(word: StatusWord, data: bytes) -> tuple[Bit, ...]:
    """Return the flags that are set, lowest first; also those that no manual describes."""
    raw = int.from_bytes(data[: word.length], "little") & ~word.number_mask
    known = {row.bit: row for row in word.bits}
    return tuple(
        known.get(bit) or Bit(bit, f"bit {bit}", "not documented")
        for bit in range(raw.bit_length())
        if raw >> bit & 1
    )


def decode_block(block: Block, data: bytes) -> dict[str, float]:
    """Return the values by field name, of the fields that arrived whole.

    Nothing is judged: an absent cell is 0 V, an absent sensor -273.15 degC.
    """
    values = {}
    for row in block.fields:
        part = data[row.offset : row.offset + row.size]
        if len(part) == row.size:
            raw = int.from_bytes(part, row.order, signed=row.signed)
            values[row.name] = raw * row.scale + row.zero
    return values


def encode_block(block: Block, values: Mapping[str, float]) -> bytes:
    """Return the bytes nearest to values by field name; the inverse of `decode_block`.

    A field without a value is zeros; what does not fit is cut to the end of its range.
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


def error_of(status_raw: int) -> tuple[str, str]:
    """Return name and sentence of the error code in a BatteryStatus word."""
    code = status_raw & _ERROR_CODE
    return ERRORS[code] if code < len(ERRORS) else (f"code {code}", "not documented")


# fmt: off
BATTERY_MODE = StatusWord(MODE_COMMAND, "BatteryMode", 2, (
    Bit( 0, "ICC",  "The pack has its own charge controller."),
    Bit( 1, "PBS",  "The pack can be the main or the second one of a system."),
    Bit( 7, "CF",   "The gauge asks for a full cycle to learn the pack's capacity again."),
    Bit( 8, "CC",   "The pack's own charge controller is on."),
    Bit( 9, "PB",   "The pack is the main one of the system."),
    Bit(13, "AM",   "The gauge sends no alarms by itself."),
    Bit(14, "CHGM", "The gauge tells the charger nothing by itself."),
    Bit(15, "CAPM", "Capacities are in 10 mWh, not in mAh."),
), "SBS 1.1 section 5.1.4")

BATTERY_STATUS = StatusWord(STATUS_COMMAND, "BatteryStatus", 2, (
    Bit( 4, "FD",   "The pack is empty."),
    Bit( 5, "FC",   "The pack is full."),
    Bit( 6, "DSG",  "The pack is discharging or at rest."),
    Bit( 7, "INIT", "The gauge is ready; its values can be used."),
    Bit( 8, "RTA",  "The time left is below the alarm that was set."),
    Bit( 9, "RCA",  "The charge left is below the alarm that was set."),
    Bit(11, "TDA",  "Stop discharging now."),
    Bit(12, "OTA",  "The pack is too hot."),
    Bit(14, "TCA",  "Stop charging now."),
    Bit(15, "OCA",  "The pack is charged beyond full."),
), "SBS 1.1 section 5.1.21", _ERROR_CODE)

ERRORS = (  # by the code in BatteryStatus
    ("OK",                  "The last command was carried out."),
    ("Busy",                "The gauge had no time for the last command."),
    ("ReservedCommand",     "The last command is reserved."),
    ("UnsupportedCommand",  "The gauge does not know the last command."),
    ("AccessDenied",        "The gauge is sealed against the last command."),
    ("Overflow/Underflow",  "The last command had a value out of range."),
    ("BadSize",             "The last command had a wrong number of bytes."),
    ("UnknownError",        "The last command failed, the gauge does not know why."),
    ("Incomplete",          "The last command was not finished."),
)
# fmt: on

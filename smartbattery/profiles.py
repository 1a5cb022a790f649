# SPDX-License-Identifier: Apache-2.0
"""Profiles of packs that differ from plain SBS: cell registers, scaling, PEC, further blocks.

A `Profile` holds the differences of one kind of pack from `smartbattery.registers`, with the same
units and signs. Sources: ArduPilot AP_BattMonitor_SMBus_* and PX4 batmon, which read these packs in
flight; TI SLUUA43A and SLUUBT5C for the BQ40 parts.
"""

from dataclasses import dataclass, replace
from enum import Enum

from smartbattery import registers as sbs
from smartbattery.bq40 import blocks, status
from smartbattery.fields import Block, Field
from smartbattery.registers import PollRate, Register


class AccessMethod(Enum):
    """How a block is transferred."""

    BLOCK = "SMBus block: count, bytes"
    RAW = "bytes without a count"
    MANUFACTURER = "manufacturer-access read, with an echo of its selector"


class PecMode(Enum):
    """Whether replies of a pack end in a packet error code."""

    DETECT = "detected by reading SpecificationInfo"
    ALWAYS = "yes, whatever SpecificationInfo states"
    NEVER = "no, whatever SpecificationInfo states"


@dataclass(frozen=True, slots=True)
class BlockRead:
    """A block that is read like a register; its fields are those of the snapshot."""

    name: str
    command: int  # or the selector
    access: AccessMethod
    length: int  # expected bytes
    block: Block
    max_age_s: float
    poll_rate: PollRate


Query = Register | BlockRead


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of pack."""

    name: str  # as a configuration may name it
    cells: tuple[Query, ...]  # words in the order of the cells, or blocks that contain them
    max_cells: int
    source: str
    count: Register | None = None  # a word that contains the cell count
    pec: PecMode = PecMode.DETECT
    replaced: tuple[Query, ...] = ()  # in place of the plain row of the same field
    extra: tuple[Query, ...] = ()  # in addition to plain SBS, read in turn
    names: tuple[str, ...] = ()  # prefixes of maker or device that identify it, in lower case
    manufacturer_access: bool = False  # whether it answers manufacturer-access reads

    def fast(self, cells: int) -> tuple[Query, ...]:
        """Registers and blocks that every poll reads, for a number of cells."""
        words = isinstance(self.cells[0], Register)
        every = tuple(self.row(row) for row in sbs.FAST)
        return every + (self.cells[:cells] if words else self.cells)

    def slow(self) -> tuple[Query, ...]:
        """Registers and blocks that are read in turn."""
        return (*(self.row(row) for row in (*sbs.SLOW, *sbs.IDENTITY)), *self.extra)

    def row(self, plain: Register) -> Query:
        """The row that replaces a plain one, else the plain one."""
        for query in self.replaced:
            fields = (query.field,) if isinstance(query, Register) else _names(query)
            if plain.field in fields:
                return query
        return plain


def _names(query: BlockRead) -> tuple[str, ...]:
    return tuple(row.name for row in query.block.fields)


def _cells_block(command: int, count: int, access: AccessMethod, source: str) -> BlockRead:
    fields = tuple(Field(f"cell{k + 1}_v", 2 * k, 2, False, 0.001, 0.0, "V") for k in range(count))  # noqa: FBT003 - a row
    block = Block(command, f"Cells{count}", fields, source)
    return BlockRead(block.name, command, access, 2 * count, block, 2.0, PollRate.FAST)


def _current_block(command: int, access: AccessMethod, source: str) -> BlockRead:
    field = Field("current_a", 0, 4, True, -0.001, 0.0, "A")  # noqa: FBT003 - a row
    block = Block(command, "CurrentLong", (field,), source)
    return BlockRead(block.name, command, access, 4, block, 2.0, PollRate.FAST)


def _status_word(selector: int, name: str, field: str, source: str = status.R1) -> BlockRead:
    block = Block(selector, name, (Field(field, 0, 4, False, 1.0, 0.0, ""),), source)  # noqa: FBT003 - a row
    return BlockRead(name, selector, AccessMethod.MANUFACTURER, 4, block, 15.0, PollRate.SLOW)


def _manufacturer_block(block: Block, length: int, poll_rate: PollRate) -> BlockRead:
    fields = tuple(row for row in block.fields if row.name in _SNAPSHOT_FIELDS)
    max_age_s = 2.0 if poll_rate is PollRate.FAST else 15.0
    used = replace(block, fields=fields)
    return BlockRead(
        block.name, block.selector, AccessMethod.MANUFACTURER, length, used, max_age_s, poll_rate
    )


def _count_word(command: int, most: int) -> Register:
    return Register(
        "CellCount", "cells", command, signed=False, scale=1.0, offset=0.0, low=1.0,
        high=float(most), max_age_s=0.0, poll_rate=PollRate.STATIC,
    )  # fmt: skip


_SNAPSHOT_FIELDS = (*(row.field for row in sbs.CELLS), "fet_degc")
SOLO_SOURCE = "ArduPilot AP_BattMonitor_SMBus_Solo"
SUI_SOURCE = "ArduPilot AP_BattMonitor_SMBus_SUI"
NEO_SOURCE = "ArduPilot AP_BattMonitor_SMBus_NeoDesign"
_UPWARDS = tuple(replace(row, command=0x30 + k) for k, row in enumerate(sbs.CELLS[:10]))
_EXTERNAL = replace(
    sbs.TEMPERATURE, name="ExternalTemperature", field="external_degc", command=0x48
)
_DOUBLED = (replace(sbs.REMAINING, scale=2.0), replace(sbs.FULL, scale=2.0))

# fmt: off
GENERIC   = Profile("generic",   sbs.CELLS, 16, "ArduPilot AP_BattMonitor_SMBus_Generic: cells from 0x3F downwards")
# ArduPilot doubles both, FullChargeCapacity in 16 bits: an overflow above 32,767 mAh.
MAXELL    = replace(GENERIC, name="maxell", replaced=_DOUBLED, names=("hitachi maxell",), source="ArduPilot AP_BattMonitor_SMBus_Maxell")
ROTOYE    = Profile("rotoye",    sbs.CELLS, 16, "PX4 batmon; ArduPilot AP_BattMonitor_SMBus_Rotoye", _count_word(0x40, 16), extra=(_EXTERNAL,))
NEODESIGN = Profile("neodesign", _UPWARDS, 10, NEO_SOURCE, _count_word(0x5C, 10), PecMode.ALWAYS)
SOLO      = Profile("solo", (_cells_block(0x28, 4, AccessMethod.BLOCK, SOLO_SOURCE),), 4, SOLO_SOURCE, None, PecMode.ALWAYS, (_current_block(0x2A, AccessMethod.BLOCK, SOLO_SOURCE),))
SOLO6     = replace(SOLO, name="solo6", cells=(_cells_block(0x29, 6, AccessMethod.BLOCK, SOLO_SOURCE),), max_cells=6)
# The block contains the first four cells. The others are not measured individually: ArduPilot
# divides the rest of the pack voltage among them, here they are unknown.
SUI       = Profile("sui", (_cells_block(0x28, 4, AccessMethod.RAW, SUI_SOURCE),), 6, SUI_SOURCE, None, PecMode.NEVER, (_current_block(0x2A, AccessMethod.RAW, SUI_SOURCE),))
_BQ40 = (
    _status_word(0x50, "SafetyAlert", "alert_raw"),
    _status_word(0x51, "SafetyStatus", "safety_raw"),
    _status_word(0x53, "PFStatus", "failure_raw"),
    _status_word(0x54, "OperationStatus", "operation_raw"),
    _manufacturer_block(blocks.DA_STATUS_2, 16, PollRate.SLOW),
)
BQ40Z50   = Profile("bq40z50",   sbs.CELLS[:4], 4, "TI SLUUA43A", extra=_BQ40, names=("bq40z50",), manufacturer_access=True)
# Its words 0x3F to 0x3C are cells 4 to 7; two blocks contain all seven.
BQ40Z80   = Profile("bq40z80", (_manufacturer_block(blocks.DA_STATUS_1, 32, PollRate.FAST), _manufacturer_block(blocks.DA_STATUS_3, 18, PollRate.FAST)), 7, "TI SLUUBT5C", extra=_BQ40, names=("bq40z80",), manufacturer_access=True)
# Zephyr's driver states that its words are those of a BQ40Z50, and that bits of status words differ.
BQ41Z50   = Profile("bq41z50",   sbs.CELLS[:4], 4, "Zephyr fuel_gauge/bq4xz50; TI SLUUCP8", extra=(_status_word(0x54, "OperationStatus", "operation_raw", status.R41),), names=("bq41z50",), manufacturer_access=True)
BQ41Z90   = Profile("bq41z90",   (_manufacturer_block(blocks.CELL_VOLTAGES, 32, PollRate.FAST),), 16, "TI e2e thread 1541088", names=("bq41z90",), manufacturer_access=True)
# fmt: on

PROFILES = (
    GENERIC,
    BQ40Z50,
    BQ40Z80,
    BQ41Z50,
    BQ41Z90,
    ROTOYE,
    MAXELL,
    NEODESIGN,
    SOLO,
    SOLO6,
    SUI,
)


def profile_named(name: str) -> Profile | None:
    """The profile of a name in a configuration; `None` when there is none."""
    return next((row for row in PROFILES if row.name == name), None)


def profile_of(*texts: str | None) -> Profile:
    """The profile that maker or device texts of a pack identify, else the generic one."""
    lower = tuple(text.lower() for text in texts if text)
    for row in PROFILES:
        if any(text.startswith(name) for name in row.names for text in lower):
            return row
    return GENERIC

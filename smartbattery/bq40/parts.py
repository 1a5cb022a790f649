# SPDX-License-Identifier: Apache-2.0
"""Which status words and data blocks each BQ40 and BQ41 part and firmware revision has."""

from collections.abc import Container
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_

from smartbattery.bq40 import blocks, status
from smartbattery.fields import Bit, Block, StatusWord, decode_bits, decode_block

SECURITY = ("reserved", "full access", "unsealed", "sealed")  # by SEC1, SEC0 of OperationStatus
_SECURITY_MASK = 0b11


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of gauge, and the meaning of its replies."""

    name: str  # as a configuration may name it
    words: tuple[StatusWord, ...]
    blocks: tuple[Block, ...]
    device: int | None = None  # DeviceType


_DEVICE_Z50 = 0x4500
_DEVICE_Z80 = 0x4800  # from the names of TI's own files, "4800_0_02-bq40z80.bqz"; no readout seen

# fmt: off
_BLOCKS = (
    blocks.DEVICE_TYPE, blocks.FIRMWARE_VERSION, blocks.HARDWARE_VERSION,
    blocks.CHEMICAL_ID, blocks.MAKER_INFO, blocks.DA_STATUS_1, blocks.DA_STATUS_2, blocks.GAUGE_1,
    blocks.GAUGE_2, blocks.HEALTH,
)
_Z50 = (*_BLOCKS, blocks.GAUGE_3, blocks.BALANCING, blocks.LIFETIME_4, blocks.LIFETIME_5)

Z50_R1 = Part("bq40z50-r1", (  # and R0
    status.SAFETY_ALERT, status.SAFETY_STATUS, status.PF_ALERT, status.PF_STATUS,
    status.OPERATION, status.CHARGING, status.GAUGING, status.MANUFACTURING,
), (*_Z50, blocks.FILTERED, blocks.LIFETIME_1, blocks.LIFETIME_2, blocks.LIFETIME_3), _DEVICE_Z50)
Z50_R2 = Part("bq40z50-r2", (
    status.SAFETY_ALERT_2, status.SAFETY_STATUS_2, status.PF_ALERT_2, status.PF_STATUS_2,
    status.OPERATION, status.CHARGING_2, status.GAUGING, status.MANUFACTURING,
), (*_Z50, blocks.FILTERED, blocks.LIFETIME_1, blocks.LIFETIME_2, blocks.LIFETIME_3), _DEVICE_Z50)
Z50_R3 = Part("bq40z50-r3", (
    status.SAFETY_ALERT_2, status.SAFETY_STATUS_2, status.PF_ALERT_2, status.PF_STATUS_3,
    status.OPERATION_3, status.CHARGING_3, status.GAUGING, status.MANUFACTURING_3,
), (*_Z50, blocks.FILTERED, blocks.LIFETIME_1_3, blocks.LIFETIME_2_3, blocks.LIFETIME_3_3),
   _DEVICE_Z50)
Z50_R4 = Part("bq40z50-r4", (
    status.SAFETY_ALERT_2, status.SAFETY_STATUS_2, status.PF_ALERT_2, status.PF_STATUS_3,
    status.OPERATION_4, status.CHARGING_4, status.GAUGING_4, status.MANUFACTURING_3,
), (*_Z50, blocks.FILTERED_4, blocks.LIFETIME_1_3, blocks.LIFETIME_2_4, blocks.LIFETIME_3_3),
   _DEVICE_Z50)
Z50_R5 = Part("bq40z50-r5", (
    status.SAFETY_ALERT_5, status.SAFETY_STATUS_5, status.PF_ALERT_5, status.PF_STATUS_5,
    status.OPERATION_5, status.CHARGING_5, status.GAUGING_5, status.MANUFACTURING_3,
), (*_Z50, blocks.FILTERED_4, blocks.LIFETIME_1_3, blocks.LIFETIME_2_4, blocks.LIFETIME_3_3),
   _DEVICE_Z50)
Z80 = Part("bq40z80", (
    status.SAFETY_ALERT_Z, status.SAFETY_STATUS_Z, status.PF_ALERT_Z, status.PF_STATUS_Z,
    status.OPERATION_Z, status.CHARGING_Z, status.GAUGING_Z, status.MANUFACTURING_Z,
), (
    *_BLOCKS, blocks.DA_STATUS_3, blocks.GAUGE_3_Z, blocks.BALANCING_Z,
    blocks.FILTERED, blocks.LIFETIME_1_Z,
), _DEVICE_Z80)
# Their numbers of DeviceType, and the layouts of their other words and blocks, are not public.
Z41_50 = Part("bq41z50", (status.OPERATION_41,), (blocks.GAUGE_3_41, blocks.BALANCING_41))
Z41_90 = Part("bq41z90", (), (blocks.CELL_VOLTAGES,))
_REVISIONS = (Z50_R1, Z50_R1, Z50_R2, Z50_R3, Z50_R4, Z50_R5)  # by the major firmware version
# fmt: on


def _in_common(name: str, first: Part, *others: Part) -> Part:
    """The bits and fields on which all parts agree; the others are not documented."""
    return Part(
        name,
        tuple(
            replace(word, bits=tuple(row for row in word.bits if all(row in o.bits for o in same)))
            for word, *same in zip(first.words, *(part.words for part in others), strict=True)
        ),
        tuple(block for block in first.blocks if all(block in part.blocks for part in others)),
        first.device,
    )


Z50 = _in_common("bq40z50", *_REVISIONS)  # of an unknown revision
PARTS = (Z50, *_REVISIONS[1:], Z80, Z41_50, Z41_90)


def part_of(firmware: bytes | None, device_type: bytes | None) -> Part | None:
    """The part that the replies to FirmwareVersion and DeviceType identify.

    `None` when neither identifies a part of this table, or they contradict each other.
    """
    version = decode_block(blocks.FIRMWARE_VERSION, firmware or b"")
    device_fields = decode_block(blocks.DEVICE_TYPE, device_type or b"")
    devices = {values["device"] for values in (version, device_fields) if "device" in values}
    if devices == {Z80.device}:
        return Z80
    if devices != {Z50.device}:
        return None
    major = int(version["version_raw"]) >> 8 if "version_raw" in version else len(_REVISIONS)
    return _REVISIONS[major] if major < len(_REVISIONS) else Z50


def part_named(name: str) -> Part | None:
    """The part of a profile or configuration name, `None` for any other gauge."""
    return next((part for part in PARTS if part.name == name), None)


def flags(part: Part | None, word: str, raw: int) -> tuple[Bit, ...]:
    """Set bits of a status word, lowest first; a bit that the part does not document by number."""
    rows = [row for row in (() if part is None else part.words) if row.name == word]
    row = rows[0] if rows else StatusWord(0, word, 4, (), "")
    return decode_bits(row, raw.to_bytes(row.length, "little"))


def charge_trip_mask(part: Part | None) -> int:
    """Mask of the SafetyStatus bits that stop a charge and no discharge."""
    return _mask(part, "SafetyStatus", status.CHARGE_TRIPS)


def timer_mask(part: Part | None) -> int:
    """Mask of the SafetyAlert bits that report a timer on hold, which is no alert."""
    return _mask(part, "SafetyAlert", status.TIMERS)


def _mask(part: Part | None, word: str, names: Container[str]) -> int:
    """Bits with these mnemonics; of a BQ40Z50 of unknown revision, those of every revision."""
    parts = [row for row in PARTS if part is not None and row.name.startswith(part.name)]
    words = [row for one in parts for row in one.words if row.name == word]
    return reduce(or_, (1 << bit.bit for row in words for bit in row.bits if bit.name in names), 0)


def security_of(operation: bytes) -> str | None:
    """The security mode in OperationStatus; `None` when it is incomplete."""
    return SECURITY[operation[1] & _SECURITY_MASK] if len(operation) > 1 else None

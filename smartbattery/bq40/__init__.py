# SPDX-License-Identifier: Apache-2.0
"""TI BQ40Z50 (firmware R0 to R5), BQ40Z80 and BQ41 as tables: flags, blocks, read selectors.

Rows and pure functions over them, no bus. Sources: TI SLUUA43A (R0, R1), SLUUBK0B (R2), SLUUBU5A
(R3), SLUUCH2 (R4), SLUUCN4B (R5), SLUUBT5C (BQ40Z80), SLUUCP8 (BQ41Z50), the sections on
ManufacturerAccess. A comment marks where a manual contradicts itself or a device.
tests/data/VECTORS.md lists which rows recorded bytes confirm, and which rest on a manual alone.
"""

from smartbattery.bq40.parts import (
    PARTS,
    SECURITY,
    Z41_50,
    Z41_90,
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
from smartbattery.bq40.selectors import READ_SELECTORS

__all__ = [
    "PARTS",
    "READ_SELECTORS",
    "SECURITY",
    "Z41_50",
    "Z41_90",
    "Z50",
    "Z50_R4",
    "Z80",
    "Part",
    "charge_trip_mask",
    "flags",
    "part_named",
    "part_of",
    "security_of",
    "timer_mask",
]  # fmt: skip

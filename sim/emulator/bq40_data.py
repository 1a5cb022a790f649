# SPDX-License-Identifier: Apache-2.0
"""Factory settings of a virtual BQ40 as rows: selectors, keys, reply lengths, protections.

Volts of a cell, amperes positive while discharging, degC, seconds. Quantity and flags of each
protection: TI SLUUCH2 (BQ40Z50-R4) and SLUUBT5C (BQ40Z80), the chapters on protections and
permanent fail; selectors and keys: ManufacturerAccess and security modes there. A row names the
document of the family's factory setting of its threshold where one was found; the others are set
"by hand". The currents of those settings are for a notebook pack: here their ratios (6 : 8 : 10,
overload 19.4) apply to the first limit, which is the 10 s rating of the cells, or 2 C of charge.
The highest voltages are for cells that are full at 4.2 V.
"""

from dataclasses import dataclass
from enum import Enum
from math import inf

from sim.plant.pack_spec import PackSpec
from smartbattery.registers import BATTERY_STATUS
from smartbattery.smbus import BLOCK_ACCESS

# fmt: off
BEFORE_SELECTOR = {0x00: b"", BLOCK_ACCESS: b"\x02"}  # in a write: nothing, or the count of the block
FIRST_DIRECT = 0x50  # from here on an unsealed part answers a command with the data of its selector
SHUTDOWN = 0x0010
RESETS = (0x0012, 0x0041)
SEAL = 0x0030
RESET_LIFETIME = 0x0028
RESET_FAILURES = 0x0029
SWITCHES = {  # each toggles a flag of ManufacturingStatus
    0x0022: "FET_EN", 0x0023: "LF_EN", 0x0024: "PF_EN", 0x0025: "BBR_EN", 0x0026: "FUSE_EN",
    0x0027: "LED_EN",
}
# Security modes by their flags in OperationStatus; two keys within 4 s open the next one.
SEALED = frozenset({"SEC0", "SEC1"})
UNSEALED = frozenset({"SEC1"})
FULL_ACCESS = frozenset({"SEC0"})
KEYS_WITHIN_S = 4.0
KEYS = {SEALED: (0x0414, 0x3672, UNSEALED), UNSEALED: (0xFFFF, 0xFFFF, FULL_ACCESS)}

INITIAL_FLAGS = frozenset({"PRES", "DSG", "CHG", "QEN", "RT", "GAUGE_EN", "FET_EN", "LF_EN", "PF_EN"})
ALARMS = {row.name: 1 << row.bit for row in BATTERY_STATUS.bits}
VERSIONS = {  # 4.02, from a readout (TI e2e thread 1108797)
    "version_raw": 0x0402, "build": 0x4F, "firmware_type_raw": 4, "gauge_version_raw": 0x0475,
    "hardware_raw": 0x00A0, "chemistry_raw": 0x1210,
}
# Length of a reply where it is not that of its fields: padded, or shorter in another revision.
LENGTHS: dict[str, dict[int, int]] = {
    "bq40z50-r4": {0x02: 11, 0x60: 26, 0x70: 32},
    "bq40z80": {0x02: 11, 0x70: 32, 0x72: 16},
    "bq41z50": {},
    "bq41z90": {},
}
# fmt: on


class ActiveWhile(Enum):
    """When a limit is monitored."""

    ALWAYS = "always"
    CHARGING = "charging"
    DISCHARGING = "discharging or at rest"


@dataclass(frozen=True, slots=True)
class ProtectionLimit:
    """A limit: trips after `delay_s` beyond `trip`, recovers after `clear_s` within `clear`."""

    name: str  # the manual's mnemonic
    quantity: str
    when: ActiveWhile
    trip: float
    clear: float  # above `trip` for a lower limit; infinite: it never recovers
    delay_s: float
    clear_s: float
    alert: str  # flag of BatteryStatus before it trips; empty: none
    alarm: str  # flag of BatteryStatus while it has tripped
    source: str

    def is_beyond(self, value: float) -> bool:
        """Whether a value violates the limit."""
        return value <= self.trip if self.trip < self.clear else value >= self.trip

    def is_clear(self, value: float) -> bool:
        """Whether a value satisfies the recovery threshold."""
        return value >= self.clear if self.trip < self.clear else value <= self.clear


_NOTEBOOK_A = 6.0  # the first limit of current in the factory settings
_FULL_V = 4.2  # of the cells in the factory settings
_CHARGE_C = 2.0
_A = ActiveWhile.ALWAYS
_C = ActiveWhile.CHARGING
_D = ActiveWhile.DISCHARGING
_HAND = "by hand"
_OCC = "TI SLUUCO9A (BQ28Z620)"
_UT = "TI SLUUCO9A (BQ28Z620)"
_CUV = "TI SLUUCY8 (BQ77307)"
_OT = "TI SLUUBY1B (BQ76942)"


def safety_limits(pack: PackSpec) -> tuple[ProtectionLimit, ...]:
    """Protections of a gauge that is configured for a pack."""
    v, d, c = _scales(pack)
    # fmt: off
    return (
        ProtectionLimit("CUV",  "lowest_v",         _A,      2.5,     3.0, 2.0, 0.0, "TDA", "",    _CUV),
        ProtectionLimit("COV",  "highest_v",        _A,  v + 4.3, v + 3.9, 2.0, 0.0, "TCA", "",    _HAND),
        ProtectionLimit("OCC1", "charging_a",       _A,  c * 6.0,    -0.2, 6.0, 5.0, "TCA", "",    _OCC),
        ProtectionLimit("OCC2", "charging_a",       _A,  c * 8.0,    -0.2, 3.0, 5.0, "TCA", "",    _HAND),
        ProtectionLimit("OCD1", "current_a",        _A,  d * 6.0,    -0.2, 6.0, 5.0, "TDA", "",    _HAND),
        ProtectionLimit("OCD2", "current_a",        _A,  d * 8.0,    -0.2, 3.0, 5.0, "TDA", "",    _HAND),
        ProtectionLimit("AOLD", "current_a",        _A, d * 19.4,    -0.2, 0.0, 5.0, "",    "",    _HAND),
        ProtectionLimit("OTC",  "temperature_degc", _C,     55.0,    50.0, 2.0, 0.0, "TCA", "OTA", _OT),
        ProtectionLimit("OTD",  "temperature_degc", _D,     60.0,    55.0, 2.0, 0.0, "TDA", "OTA", _HAND),
        ProtectionLimit("OTF",  "fet_degc",         _A,     80.0,    65.0, 2.0, 0.0, "TDA", "OTA", _HAND),
        ProtectionLimit("UTC",  "temperature_degc", _C,      0.0,     5.0, 2.0, 0.0, "",    "",    _UT),
        ProtectionLimit("UTD",  "temperature_degc", _D,      0.0,     5.0, 2.0, 0.0, "",    "",    _UT),
    )
    # fmt: on


def permanent_fail_limits(pack: PackSpec) -> tuple[ProtectionLimit, ...]:
    """Permanent failures of a gauge that is configured for a pack."""
    v, d, c = _scales(pack)
    # fmt: off
    return (
        ProtectionLimit("SUV",  "lowest_v",         _A,      2.2,  inf, 5.0, 0.0, "", "",    _HAND),
        ProtectionLimit("SOV",  "highest_v",        _A,  v + 4.5, -inf, 5.0, 0.0, "", "",    _HAND),
        ProtectionLimit("SOCC", "charging_a",       _A, c * 10.0, -inf, 5.0, 0.0, "", "",    _HAND),
        ProtectionLimit("SOCD", "current_a",        _A, d * 10.0, -inf, 5.0, 0.0, "", "",    _HAND),
        ProtectionLimit("SOT",  "temperature_degc", _A,     65.0, -inf, 5.0, 0.0, "", "OTA", _HAND),
        ProtectionLimit("SOTF", "fet_degc",         _A,     85.0, -inf, 5.0, 0.0, "", "OTA", _HAND),
        ProtectionLimit("TS1",  "temperature_degc", _A,    -50.0,  inf, 5.0, 0.0, "", "",    _HAND),
    )
    # fmt: on


def _scales(pack: PackSpec) -> tuple[float, float, float]:
    """Volts to add to a notebook's limits; factors of its discharging and charging current."""
    rated_ah = pack.rated_mah / 1000.0
    volts = pack.row.full_cell_v - _FULL_V
    return volts, pack.row.burst_c * rated_ah / _NOTEBOOK_A, _CHARGE_C * rated_ah / _NOTEBOOK_A

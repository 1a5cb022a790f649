"""What a virtual BQ40 is delivered as: access, lengths of replies, and its protections, as rows.

Volts of a cell, amperes positive while discharging, degC, seconds. What each protection watches and
tells: TI SLUUCH2 (BQ40Z50-R4) and SLUUBT5C (BQ40Z80), the chapters on protections and permanent
fail; selectors and keys: ManufacturerAccess and security modes there. Where the family's factory
setting of a threshold was found the row names the document; those "by hand" stand in for the rest.
Currents of those settings are for a notebook's pack: here they keep their ratios (6 : 8 : 10,
overload 19.4) to the first limit, which is what the cells may give for 10 s, or 2 C of charge. Its
highest voltages are for cells that are full at 4.2 V.
"""

from dataclasses import dataclass
from enum import Enum
from math import inf

from sim.plant.pack_spec import PackSpec
from smartbattery.registers import BATTERY_STATUS

# fmt: off
BLOCK_ACCESS = 0x44  # ManufacturerBlockAccess
BEFORE_SELECTOR = {0x00: b"", BLOCK_ACCESS: b"\x02"}  # in a write: nothing, the block's count
FIRST_DIRECT = 0x50  # command that an unsealed part answers with the data of its selector
SHUTDOWN, RESETS = 0x0010, (0x0012, 0x0041)
SEAL, RESET_LIFETIME, RESET_FAILURES = 0x0030, 0x0028, 0x0029
SWITCHES = {  # each turns a flag of ManufacturingStatus round
    0x0022: "FET_EN", 0x0023: "LF_EN", 0x0024: "PF_EN", 0x0025: "BBR_EN", 0x0026: "FUSE_EN",
    0x0027: "LED_EN",
}
# Modes, by the flags of OperationStatus that show them; two words open the next within 4 s.
SEALED, UNSEALED, FULL_ACCESS = frozenset({"SEC0", "SEC1"}), frozenset({"SEC1"}), frozenset({"SEC0"})
KEYS_WITHIN_S = 4.0
KEYS = {SEALED: (0x0414, 0x3672, UNSEALED), UNSEALED: (0xFFFF, 0xFFFF, FULL_ACCESS)}

ALWAYS = frozenset({"PRES", "DSG", "CHG", "QEN", "RT", "GAUGE_EN", "FET_EN", "LF_EN", "PF_EN"})
ALARMS = {row.name: 1 << row.bit for row in BATTERY_STATUS.bits}
DEVICES = {"bq40z50-r4": 0x4500, "bq40z80": 0x4800}
MADE = {  # 4.02, as one was read out (TI e2e thread 1108797)
    "version_raw": 0x0402, "build": 0x4F, "firmware_type_raw": 4, "gauge_version_raw": 0x0475,
    "hardware_raw": 0x00A0, "chemistry_raw": 0x1210,
}
# Bytes of a reply that are not just those of its fields: padded, or cut for another revision.
LENGTHS = {
    "bq40z50-r4": {0x02: 11, 0x60: 26, 0x70: 32},
    "bq40z80": {0x02: 11, 0x70: 32, 0x72: 16},
}
# fmt: on


class ActiveWhile(Enum):
    """When a limit is watched."""

    ALWAYS = "always"
    CHARGING = "charging"
    DISCHARGING = "discharging or at rest"


@dataclass(frozen=True, slots=True)
class ProtectionLimit:
    """A limit: trips when passed for `delay_s`, recovers when good again for `clear_s`."""

    name: str  # the manual's mnemonic
    watched: str
    when: ActiveWhile
    trip: float
    clear: float  # above `trip` for a lower limit; infinite: never
    delay_s: float
    clear_s: float
    alert: str  # flag of BatteryStatus until it trips; empty: none
    alarm: str  # flag of BatteryStatus while it has tripped
    source: str

    def beyond(self, value: float) -> bool:
        """Return whether a value is past the limit."""
        return value <= self.trip if self.trip < self.clear else value >= self.trip

    def back(self, value: float) -> bool:
        """Return whether a value is good again."""
        return value >= self.clear if self.trip < self.clear else value <= self.clear


_NOTEBOOK_A = 6.0  # the first limit of current in the factory settings
_FULL_V = 4.2  # of the cells in the factory settings
_CHARGE_C = 2.0
_A, _C, _D = ActiveWhile.ALWAYS, ActiveWhile.CHARGING, ActiveWhile.DISCHARGING
_HAND, _OCC, _UT = "by hand", "TI SLUUCO9A (BQ28Z620)", "TI SLUUCO9A (BQ28Z620)"
_CUV, _OT = "TI SLUUCY8 (BQ77307)", "TI SLUUBY1B (BQ76942)"


def safety_limits(pack: PackSpec) -> tuple[ProtectionLimit, ...]:
    """Return the protections of a gauge that was set up for a pack."""
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
    """Return what such a gauge takes for a failure of the pack, for good."""
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
    """Return volts to add to, and factors of discharging and charging current of, a notebook's."""
    rated_ah = pack.rated_mah / 1000.0
    volts = pack.row.full_cell_v - _FULL_V
    return volts, pack.row.burst_c * rated_ah / _NOTEBOOK_A, _CHARGE_C * rated_ah / _NOTEBOOK_A

# SPDX-License-Identifier: Apache-2.0
"""Data blocks of BQ40Z50 (R0 to R5), BQ40Z80 and BQ41: measurements, gauging, lifetime data.

Units and signs as in `smartbattery.fields`: a charging current is negative, also in fields named
after charge. Cells count from 1, as on the wire. A name ends in the first revision of its row.
"""

from dataclasses import replace

from smartbattery.bq40.status import R1, R2, R3, R4, R41, Z
from smartbattery.fields import Block, Field

_Kind = tuple[int, bool, float, float, str]  # size, signed, scale, zero, unit


def _cells(count: int, name: str, offset: int, kind: _Kind) -> tuple[Field, ...]:
    """A field for each cell, adjacent; `name` has a placeholder for the number."""
    return tuple(Field(name.format(k + 1), offset + k * kind[0], *kind) for k in range(count))


def _events(*names: str) -> tuple[Field, ...]:
    """Pairs of words: number of events, and the cycle count at the last one."""
    return tuple(
        Field(f"{name}_{what}", 4 * k + offset, *N16)
        for k, name in enumerate(names)
        for what, offset in (("events", 0), ("last_cycle", 2))
    )


# fmt: off
MV:    _Kind = (2, False, 0.001, 0.0, "V")
MA:    _Kind = (2, True, -0.001, 0.0, "A")
CW:    _Kind = (2, True, -0.01, 0.0, "W")
MAH:   _Kind = (2, False, 1.0, 0.0, "mAh")
IMAH:  _Kind = (2, True, 1.0, 0.0, "mAh")
CWH:   _Kind = (2, False, 0.01, 0.0, "Wh")
ICWH:  _Kind = (2, True, 0.01, 0.0, "Wh")
DK:    _Kind = (2, False, 0.1, -273.15, "degC")
DEGC:  _Kind = (1, True, 1.0, 0.0, "degC")
OHM:   _Kind = (2, False, 2.0**-10, 0.0, "ohm")
S16:   _Kind = (2, False, 1.0, 0.0, "s")
S32:   _Kind = (4, False, 1.0, 0.0, "s")
H16TH: _Kind = (2, False, 225.0, 0.0, "s")  # a sixteenth of an hour
N8:    _Kind = (1, False, 1.0, 0.0, "")
N16:   _Kind = (2, False, 1.0, 0.0, "")
RAW8:  _Kind = (1, False, 1.0, 0.0, "raw")
RAW16: _Kind = (2, False, 1.0, 0.0, "raw")
RAWI:  _Kind = (2, True, 1.0, 0.0, "raw")

DEVICE_TYPE      = Block(0x01, "DeviceType", (Field("device", 0, *N16),), R1)
# DEVIATION: the manuals state little endian; every recorded reply is big endian.
FIRMWARE_VERSION = Block(0x02, "FirmwareVersion", (
    Field("device",             0, *N16,   "big"),
    Field("version_raw",        2, *RAW16, "big"),  # 0x0402 is 4.02
    Field("build",              4, *N16,   "big"),
    Field("firmware_type_raw",  6, *RAW8),
    Field("gauge_version_raw",  7, *RAW16, "big"),
), "TI e2e threads 441952 and 1108797")
HARDWARE_VERSION = Block(0x03, "HardwareVersion", (Field("hardware_raw", 0, *RAW16),), R1)
CHEMICAL_ID      = Block(0x06, "ChemicalID", (Field("chemistry_raw", 0, *RAW16),), R1)  # hex
MAKER_INFO       = Block(0x70, "ManufacturerInfo", (), R1)  # 32 bytes, defined by the maker

DA_STATUS_1 = Block(0x71, "DAStatus1", (
    *_cells(4, "cell{}_v", 0, MV),
    Field("bat_pin_v",        8, *MV),
    Field("pack_pin_v",      10, *MV),
    *_cells(4, "cell{}_a", 12, MA),
    *_cells(4, "cell{}_w", 20, CW),
    Field("power_w",         28, *CW),
    Field("average_power_w", 30, *CW),
), R4)
DA_STATUS_2 = Block(0x72, "DAStatus2", (  # 14 bytes at first, 16 of R3 and a BQ40Z80, 26 since R4
    Field("chip_degc",      0, *DK),
    *(Field(f"sensor{k + 1}_degc", 2 + 2 * k, *DK) for k in range(4)),
    Field("cell_degc",     10, *DK),
    Field("fet_degc",      12, *DK),
    Field("gauging_degc",  14, *DK),
    Field("user_degc",     16, *DK),
    *_cells(4, "cell{}_uncompensated_v", 18, MV),
), R4)
DA_STATUS_3 = Block(0x7B, "DAStatus3", (  # by cell, as PX4 reads it; BQ40Z80 only
    Field("cell5_v",  0, *MV), Field("cell5_a",  2, *MA), Field("cell5_w",  4, *CW),
    Field("cell6_v",  6, *MV), Field("cell6_a",  8, *MA), Field("cell6_w", 10, *CW),
    Field("cell7_v", 12, *MV), Field("cell7_a", 14, *MA), Field("cell7_w", 16, *CW),
), "PX4 src/drivers/batt_smbus")
# Of a BQ41Z90, by an answer of the vendor; its manual is not public. SBS words are cells 1 to 4.
CELL_VOLTAGES = Block(0x0341, "CellVoltages", (
    *_cells(16, "cell{}_v", 0, MV),
), "TI e2e thread 1541088")
GAUGE_1 = Block(0x73, "GaugeStatus1", (
    Field("true_remaining_mah", 0, *IMAH),
    Field("true_remaining_wh",  2, *ICWH),
    Field("initial_mah",        4, *MAH),
    Field("initial_wh",         6, *CWH),
    Field("true_full_mah",      8, *MAH),
    Field("true_full_wh",      10, *CWH),
    Field("simulated_degc",    12, *DK),
    Field("ambient_degc",      14, *DK),
    *_cells(4, "cell{}_resistance_scale_raw", 16, RAW16),
    *_cells(4, "cell{}_resistance_ohm", 24, OHM),
), R2)
GAUGE_2 = Block(0x74, "GaugeStatus2", (
    Field("pack_grid",         0, *N8),
    Field("learned_raw",       1, *RAW8),
    *_cells(4, "cell{}_grid", 2, N8),
    Field("state_s",           6, *S32),
    *_cells(4, "cell{}_dod_raw", 10, RAWI),
    Field("dod_passed_mah",   18, *IMAH),  # its sign is the gauge's own
    Field("dod_passed_wh",    20, *ICWH),
    Field("dod_age_s",        22, *H16TH),
    *_cells(4, "cell{}_charged_dod_raw", 24, RAW16),
), R2)
GAUGE_3 = Block(0x75, "GaugeStatus3", (
    *_cells(4, "cell{}_qmax_mah", 0, MAH),
    *_cells(4, "cell{}_qmax_dod_raw", 8, RAWI),
    Field("qmax_passed_mah",      16, *IMAH),
    Field("qmax_age_s",           18, *H16TH),
    Field("temperature_k_raw",    20, *RAWI),
    Field("temperature_a_raw",    22, *RAWI),
), R2)
GAUGE_3_41 = replace(GAUGE_3, source=R41)
GAUGE_3_Z = replace(GAUGE_3, source=Z, fields=(
    *GAUGE_3.fields,
    *_cells(4, "cell{}_now_dod_raw", 24, RAW16),
))
BALANCING = Block(0x76, "CBStatus", (  # 8 bytes at first, 19 since R3
    *_cells(4, "cell{}_balancing_s", 0, S16),
    *_cells(4, "cell{}_balancing_dod_raw", 8, RAW16),
    Field("balancing_charge_raw", 16, *RAW16),
    Field("balancing_cells_raw",  18, *RAW8),  # a bit for each cell
), R3)
BALANCING_41 = replace(BALANCING, source=R41)
BALANCING_Z = Block(0x76, "CBStatus", (
    *_cells(7, "cell{}_balancing_s", 0, S16),
    *_cells(7, "cell{}_balancing_dod_raw", 14, RAW16),
    Field("balancing_charge_raw", 28, *RAW16),
), Z)
HEALTH = Block(0x77, "StateOfHealth", (
    Field("healthy_full_mah", 0, *MAH),
    Field("healthy_full_wh",  2, *CWH),
), R1)
# Manuals before R4 and of the BQ40Z80 state mWh, in which a word would end at 65 Wh; R4 states cWh.
FILTERED = Block(0x78, "FilteredCapacity", (
    Field("filtered_remaining_mah",        0, *MAH),
    Field("filtered_remaining_energy_raw", 2, *RAW16),
    Field("filtered_full_mah",             4, *MAH),
    Field("filtered_full_energy_raw",      6, *RAW16),
), R1)
FILTERED_4 = Block(0x78, "FilteredCapacity", (
    Field("filtered_remaining_mah", 0, *MAH),
    Field("filtered_remaining_wh",  2, *CWH),
    Field("filtered_full_mah",      4, *MAH),
    Field("filtered_full_wh",       6, *CWH),
), R4)

# No two sources agree on the units of lifetime blocks before R3. Those of R3 were checked for
# plausibility (VECTORS.md); R4 and R5 have the same words.
LIFETIME_1 = Block(0x60, "LifetimeDataBlock1", (
    *_cells(4, "cell{}_max_raw", 0, RAW16),
    *_cells(4, "cell{}_min_raw", 8, RAW16),
    Field("max_cell_difference_raw",      16, *RAW16),
    Field("max_charge_raw",               18, *RAWI),
    Field("max_discharge_raw",            20, *RAWI),
    Field("max_average_discharge_raw",    22, *RAWI),
    Field("max_average_power_raw",        24, *RAWI),
    Field("max_cell_temperature_raw",     26, *RAW8),
    Field("min_cell_temperature_raw",     27, *RAW8),
    Field("max_temperature_difference_raw", 28, *RAW8),
    Field("max_chip_temperature_raw",     29, *RAW8),
    Field("min_chip_temperature_raw",     30, *RAW8),
    Field("max_fet_temperature_raw",      31, *RAW8),
), R1)
LIFETIME_1_3 = Block(0x60, "LifetimeDataBlock1", (  # without temperatures since R4
    *_cells(4, "cell{}_max_v", 0, MV),
    *_cells(4, "cell{}_min_v", 8, MV),
    Field("max_cell_difference_v",   16, *MV),
    Field("max_charge_a",            18, *MA),
    Field("max_discharge_a",         20, *MA),
    Field("max_average_discharge_a", 22, *MA),
    Field("max_average_discharge_w", 24, *CW),
    Field("max_cell_degc",           26, *DEGC),
    Field("min_cell_degc",           27, *DEGC),
    Field("max_cell_difference_degc", 28, *DEGC),
    Field("max_chip_degc",           29, *DEGC),
    Field("min_chip_degc",           30, *DEGC),
    Field("max_fet_degc",            31, *DEGC),
), R3)
LIFETIME_1_Z = Block(0x60, "LifetimeDataBlock1", (
    *_cells(7, "cell{}_max_raw", 0, RAW16),
    *_cells(7, "cell{}_min_raw", 14, RAW16),
    Field("max_cell_difference_raw", 28, *RAW16),
), Z)
_STARTS = (
    Field("shutdowns",       0, *N8),
    Field("partial_resets",  1, *N8),
    Field("full_resets",     2, *N8),
    Field("watchdog_resets", 3, *N8),
)
LIFETIME_2   = Block(0x61, "LifetimeDataBlock2", (
    *_STARTS, *_cells(4, "cell{}_balanced_raw", 4, RAW8),
), R1)
LIFETIME_2_3 = Block(0x61, "LifetimeDataBlock2", (
    *_STARTS, *_cells(4, "cell{}_balanced_s", 4, S32),
), R3)
LIFETIME_2_4 = Block(0x61, "LifetimeDataBlock2", (
    Field("min_healthy_full_mah", 0, *MAH),
    Field("min_healthy_full_wh",  2, *CWH),
    *_cells(4, "cell{}_balanced_s", 4, S32),
), R4)
LIFETIME_3   = Block(0x62, "LifetimeDataBlock3", tuple(
    Field(f"time_{name}_raw", 2 * k, *RAW16) for k, name in enumerate(
        ("total", "ut", "lt", "stl", "rt", "sth", "ht", "ot"))), R1)
LIFETIME_3_3 = Block(0x62, "LifetimeDataBlock3", (Field("time_total_s", 0, *S32),), R3)
LIFETIME_4   = Block(0x63, "LifetimeDataBlock4", _events(
    "cov", "cuv", "ocd1", "ocd2", "occ1", "occ2", "aold", "ascd",
), R1)
LIFETIME_5   = Block(0x64, "LifetimeDataBlock5", _events(
    "ascc", "otc", "otd", "otf", "charge_end", "qmax", "resistance", "resistance_off",
), R1)
# fmt: on

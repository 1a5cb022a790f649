"""TI BQ40Z50 (firmware R0 to R5) and BQ40Z80 as tables: flags, data blocks, what may be read.

Rows and pure functions over them, no bus. Units and signs as in `smartbattery.fields`: a charging
current is negative, also where the name says charge. Cells count from 1, as on the wire.
Sources: TI SLUUA43A (R0, R1), SLUUBK0B (R2), SLUUBU5A (R3), SLUUCH2 (R4), SLUUCN4B (R5), SLUUBT5C
(BQ40Z80), the sections on ManufacturerAccess. Where they contradict themselves or a device, a
comment says so. What recorded bytes pin, and what rests on a manual alone: tests/data/VECTORS.md.
"""

from dataclasses import dataclass, replace

from smartbattery.fields import Bit, Block, Field, StatusWord, decode_block

# The only selectors that may ever be sent to a gauge: each of them reads, and does nothing else.
READ_SELECTORS = frozenset({
    0x0001, 0x0002, 0x0003, 0x0006,  # device type, firmware, hardware, chemistry
    *range(0x0050, 0x0058),          # the status words
    *range(0x0060, 0x0065),          # lifetime blocks 1 to 5
    *range(0x0070, 0x0079),          # measurements, gauging, balancing, health
    0x007B,                          # DAStatus3 of a BQ40Z80; a text of the maker on R4 and R5
})  # fmt: skip
# Left out:
# 0x0000               selects nothing.
# 0x0004, 5, 8, 9      compute checksums over the flash: slow.
# 0x000A, 0x0010-0041  act: storage, shutdown, sleep, reset, fuse, transistors, learning, logs,
#                      calibration, sealing, keys.
# 0x0058               registers of the analogue front end, for the maker's debugging.
# 0x005A               not on every revision.
# 0x0079               RSOCWrite: sets the state of charge, in the middle of the reads.
# 0x007A, 0x007C-007E  texts and tables that nothing here needs.
# 0x0080 and up        air transport, first words of keys, temperature, flash, calibration.

SECURITY = ("reserved", "full access", "unsealed", "sealed")  # by SEC1, SEC0 of OperationStatus
_SECURITY_MASK = 0b11

_Kind = tuple[int, bool, float, float, str]  # size, signed, scale, zero, unit
_Safety = tuple[int, str, str, str]  # bit, mnemonic, what is wrong, what the gauge does
_Failure = tuple[int, str, str]  # bit, mnemonic, what is wrong


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of gauge, and what its replies mean."""

    name: str  # as a configuration may name it
    words: tuple[StatusWord, ...]
    blocks: tuple[Block, ...]


# ---------------------------------------------------------------------- rows out of rows


def _with(word: StatusWord, source: str, *bits: Bit, without: tuple[int, ...] = ()) -> StatusWord:
    """Return a word of another revision: some bits mean something else, are new or gone."""
    changed = {row.bit for row in bits} | set(without)
    kept = tuple(row for row in word.bits if row.bit not in changed)
    return replace(word, bits=kept + bits, source=source)


def _alerts(*rows: _Safety | _Failure) -> tuple[Bit, ...]:
    return tuple(Bit(row[0], row[1], f"{row[2]}; the gauge has not acted yet.") for row in rows)


def _trips(*rows: _Safety) -> tuple[Bit, ...]:
    return tuple(Bit(bit, name, f"{what}; {action}.") for bit, name, what, action in rows)


def _failures(*rows: _Failure) -> tuple[Bit, ...]:
    return tuple(Bit(bit, name, f"{what}: the pack is off for good.") for bit, name, what in rows)


def _cells(count: int, name: str, offset: int, kind: _Kind) -> tuple[Field, ...]:
    """Return a field for each cell, side by side; `name` has a place for the number."""
    return tuple(Field(name.format(k + 1), offset + k * kind[0], *kind) for k in range(count))


def _events(*names: str) -> tuple[Field, ...]:
    """Return pairs of words: how often it happened, and the cycle count when it last did."""
    return tuple(
        Field(f"{name}_{what}", 4 * k + offset, *N16)
        for k, name in enumerate(names)
        for what, offset in (("events", 0), ("last_cycle", 2))
    )


# ---------------------------------------------------------------------- status words

# The end of a name is the revision that a row began with; none is R0, Z is the BQ40Z80.
R1, R2, R3, R4, R5 = "TI SLUUA43A", "TI SLUUBK0B", "TI SLUUBU5A", "TI SLUUCH2", "TI SLUUCN4B"
Z = "TI SLUUBT5C"

# fmt: off
_SAFETY: tuple[_Safety, ...] = (
    ( 0, "CUV",   "A cell is below its under-voltage limit", "discharging stops until it recovers"),
    ( 1, "COV",   "A cell is above its over-voltage limit", "charging stops until it recovers"),
    ( 2, "OCC1",  "The charging current is above its first limit", "charging stops for a while"),
    ( 3, "OCC2",  "The charging current is above its second limit", "charging stops for a while"),
    ( 4, "OCD1",  "The load current is above its first limit", "discharging stops for a while"),
    ( 5, "OCD2",  "The load current is above its second limit", "discharging stops for a while"),
    ( 7, "AOLDL", "The pack was overloaded again and again", "discharging is locked off"),
    ( 9, "ASCCL", "Short circuits while charging came again and again", "charging is locked off"),
    (11, "ASCDL", "The output was short-circuited again and again", "discharging is locked off"),
    (12, "OTC",   "The cells are too hot to be charged", "charging stops until they cool"),
    (13, "OTD",   "The cells are too hot to be discharged", "discharging stops until they cool"),
    (14, "CUVC",  "A cell is too low even without the load's voltage drop", "discharging stops"),
    (16, "OTF",   "The power transistors are too hot", "charging and discharging stop"),
    (18, "PTO",   "Precharging takes too long", "charging stops"),
    (20, "CTO",   "Charging takes too long", "charging stops"),
    (22, "OC",    "More charge went in than the pack can hold", "charging stops"),
    (23, "CHGC",  "The charger gives more current than it was asked for", "charging stops"),
    (24, "CHGV",  "The charger gives more voltage than it was asked for", "charging stops"),
    (25, "PCHGC", "The charger gives too much current for precharging", "charging stops"),
    (26, "UTC",   "The cells are too cold to be charged", "charging stops until they warm"),
    (27, "UTD",   "The cells are too cold to be discharged", "discharging stops until they warm"),
)
_AT_ONCE: tuple[_Safety, ...] = (  # by hardware, without an alert before
    ( 6, "AOLD",  "The pack was overloaded", "discharging stops for a while"),
    ( 8, "ASCC",  "There was a short circuit while charging", "charging stops for a while"),
    (10, "ASCD",  "There was a short circuit of the output", "discharging stops for a while"),
)
_LATCHES: tuple[_Safety, ...] = (  # new in R2
    (28, "COVL",  "A cell went above its limit again and again", "charging is locked off"),
    (29, "OCDL",  "The load went above its limit again and again", "discharging is locked off"),
)
_DCOT: _Safety = (15, "DCOT", "The cells differ too much in temperature", "protection has tripped")
_HWDF: _Safety = (17, "HWDF", "The host has said nothing for too long", "protection has tripped")

SAFETY_ALERT    = StatusWord(0x50, "SafetyAlert", 4, (
    *_alerts(*_SAFETY),
    Bit(19, "PTOS", "The timer that limits precharging is on hold."),
    Bit(21, "CTOS", "The timer that limits charging is on hold."),
), R1)
SAFETY_ALERT_2  = _with(SAFETY_ALERT, R2, *_alerts(*_LATCHES))
SAFETY_ALERT_5  = _with(SAFETY_ALERT_2, R5, *_alerts(_DCOT))
SAFETY_STATUS   = StatusWord(0x51, "SafetyStatus", 4, _trips(*_SAFETY, *_AT_ONCE), R1)
SAFETY_STATUS_2 = _with(SAFETY_STATUS, R2, *_trips(*_LATCHES))
SAFETY_ALERT_Z  = _with(SAFETY_ALERT_2, Z)
SAFETY_STATUS_Z = _with(SAFETY_STATUS_2, Z)
# The table of the R5 manual has bit 17 as reserved, its text describes it.
SAFETY_STATUS_5 = _with(SAFETY_STATUS_2, R5, *_trips(_DCOT, _HWDF))

_PF: tuple[_Failure, ...] = (
    ( 0, "SUV",   "A cell was far below its voltage limit"),
    ( 1, "SOV",   "A cell was far above its voltage limit"),
    ( 2, "SOCC",  "The charging current was far too high"),
    ( 3, "SOCD",  "The load current was far too high"),
    ( 4, "SOT",   "The cells were far too hot"),
    ( 6, "SOTF",  "The power transistors were far too hot"),
    ( 7, "QIM",   "The cells differ too much in capacity"),
    ( 8, "CB",    "A cell could not be balanced"),
    ( 9, "IMP",   "The resistance of a cell has grown too much"),
    (10, "CD",    "The pack has lost too much capacity"),
    (11, "VIMR",  "The cells differ too much in voltage at rest"),
    (12, "VIMA",  "The cells differ too much in voltage in use"),
    (16, "CFETF", "The charging transistor does not switch off"),
    (17, "DFETF", "The discharging transistor does not switch off"),
    (19, "FUSE",  "The chemical fuse does not work"),
    (20, "AFER",  "The measuring chip lost its settings"),
    (21, "AFEC",  "The measuring chip does not answer"),
    (22, "2LVL",  "The second protection chip has tripped"),
    (28, "TS1",   "Temperature sensor 1 is broken"),
    (29, "TS2",   "Temperature sensor 2 is broken"),
    (30, "TS3",   "Temperature sensor 3 is broken"),
    (31, "TS4",   "Temperature sensor 4 is broken"),
)
_PF_AT_ONCE: tuple[_Failure, ...] = (  # without an alert before
    (23, "PTC",   "The overheat sensor has tripped"),
    (24, "IFC",   "The gauge's program is damaged"),
    (26, "DFW",   "The gauge's memory for settings is worn out"),
)
_PF_LATCHES: tuple[_Failure, ...] = (  # new in R2
    ( 5, "COVL",  "A cell went above its limit again and again"),
    (13, "AOLDL", "The pack was overloaded again and again"),
    (14, "ASCCL", "Short circuits while charging came again and again"),
    (15, "ASCDL", "The output was short-circuited again and again"),
    (18, "OCDL",  "The load went above its limit again and again"),
)
_FORCE: _Failure = (25, "FORCE", "A command declared the failure")
_TMPC:  _Failure = (27, "TMPC",  "The extra temperature chip does not answer")
_TAB = "A wire to a cell is broken"

# Open cell tab: R0 and R1 only.
PF_ALERT    = StatusWord(0x52, "PFAlert", 4, _alerts(*_PF, (25, "OPNC", _TAB)), R1)
PF_ALERT_2  = _with(PF_ALERT, R2, *_alerts(*_PF_LATCHES), without=(25,))
PF_ALERT_5  = _with(PF_ALERT_2, R5, *_alerts(_TMPC))
PF_STATUS   = StatusWord(0x53, "PFStatus", 4, (
    *_failures(*_PF, *_PF_AT_ONCE, (25, "OPNCELL", _TAB)),
), R1)
PF_STATUS_2 = _with(PF_STATUS, R2, *_failures(*_PF_LATCHES), without=(25,))
PF_STATUS_3 = _with(PF_STATUS_2, R3, *_failures(_FORCE))
PF_STATUS_5 = _with(PF_STATUS_3, R5, *_failures(_TMPC))
PF_ALERT_Z  = _with(PF_ALERT_2, Z)
PF_STATUS_Z = _with(PF_STATUS_2, Z)

OPERATION   = StatusWord(0x54, "OperationStatus", 4, (
    Bit( 0, "PRES",       "The pack is plugged into a system."),
    Bit( 1, "DSG",        "The discharging transistor is on."),
    Bit( 2, "CHG",        "The charging transistor is on."),
    Bit( 3, "PCHG",       "The precharging transistor is on."),
    Bit( 5, "FUSE",       "The fuse line is active."),
    Bit( 7, "BTP_INT",    "The charge passed a level that the host asked to be told about."),
    Bit( 8, "SEC0",       "With SEC1 the gauge is sealed, without it fully accessible."),
    Bit( 9, "SEC1",       "With SEC0 the gauge is sealed, without it unsealed."),
    Bit(10, "SDV",        "The pack shuts down because its voltage is too low."),
    Bit(11, "SS",         "A protection has tripped; SafetyStatus says which."),
    Bit(12, "PF",         "The pack has failed for good; PFStatus says why."),
    Bit(13, "XDSG",       "Discharging is disabled."),
    Bit(14, "XCHG",       "Charging is disabled."),
    Bit(15, "SLEEP",      "The pack is idle enough to sleep."),
    Bit(16, "SDM",        "The pack shuts down because it was told to."),
    Bit(17, "LED",        "The charge display is on."),
    Bit(18, "AUTH",       "The pack is proving that it is genuine."),
    Bit(19, "AUTOCALM",   "The zero of the current is being calibrated by command."),
    Bit(20, "CAL",        "The gauge puts out raw measurements for calibration."),
    Bit(21, "CAL_OFFSET", "The gauge puts out the raw zero of the current for calibration."),
    Bit(22, "XL",         "The bus runs at 400 kHz."),
    Bit(23, "SLEEPM",     "The pack sleeps because it was told to."),
    Bit(24, "INIT",       "The gauge is starting after a full reset."),
    Bit(25, "SMBLCAL",    "The zero of the current is being calibrated while the bus is low."),
    Bit(26, "SLPAD",      "The sleeping gauge is measuring voltages."),
    Bit(27, "SLPCC",      "The sleeping gauge is measuring the current."),
    Bit(28, "CB",         "Cells are being balanced."),
    Bit(29, "EMSHUT",     "An emergency shutdown keeps the transistors off."),
), R1)
OPERATION_3 = _with(OPERATION, R3,
    Bit( 4, "ACTHR",      "The charge counted so far has reached its threshold."),
    Bit( 6, "EMSHUT",     "An emergency shutdown keeps the transistors off."),
    Bit(29, "DISCONN",    "The pack is disconnected from the system."),
    Bit(30, "PSSHUT",     "The pack shuts down to save power."),
    Bit(31, "IOSHUT",     "The pack shuts down because a pin says so."),
)
OPERATION_4 = _with(OPERATION_3, R4, Bit(26, "VLB", "The battery is very low."))
OPERATION_5 = _with(OPERATION_3, R5, Bit(26, "STORAGEM", "The pack was told to go into storage."))
OPERATION_Z = _with(OPERATION, Z,
    Bit( 4, "PDSG",       "The predischarging transistor is on."),
    Bit(31, "IATA_CTERM", "Charging ends at the level for air transport."),
)

_CHARGE_END = (  # one bit higher since R2
    ("MCHG", "The full pack is kept topped up."),
    ("VCT",  "Charging came to its proper end."),
    ("CCR",  "The charging current is being changed in steps."),
    ("CVR",  "The charging voltage is being changed in steps."),
    ("CCC",  "The charging current is raised to make up for losses."),
)
_CHARGE_STATES = ("PV", "LV", "MV", "HV", "IN", "SU", "MCHG", "VCT")

CHARGING    = StatusWord(0x55, "ChargingStatus", 3, (
    Bit( 0, "UT",  "The pack is too cold to be charged."),
    Bit( 1, "LT",  "The pack is cold."),
    Bit( 2, "STL", "The temperature is a little low."),
    Bit( 3, "RT",  "The temperature is as it should be."),
    Bit( 4, "STH", "The temperature is a little high."),
    Bit( 5, "HT",  "The pack is hot."),
    Bit( 6, "OT",  "The pack is too hot to be charged."),
    Bit( 8, "PV",  "The voltage is so low that the pack needs precharging."),
    Bit( 9, "LV",  "The voltage is in its low range."),
    Bit(10, "MV",  "The voltage is in its middle range."),
    Bit(11, "HV",  "The voltage is in its high range."),
    Bit(12, "IN",  "Charging must not begin at this temperature."),
    *(Bit(13 + k, *row) for k, row in enumerate(_CHARGE_END)),
), R1)
CHARGING_2  = _with(CHARGING, R2,
    Bit(13, "SU",    "Charging is suspended because of the temperature."),
    *(Bit(14 + k, *row) for k, row in enumerate(_CHARGE_END)),
    Bit(19, "NCT",   "Charging ends within about 40 seconds."),
)
CHARGING_3  = _with(CHARGING_2, R3,
    Bit(20, "ERM",   "The pack has been kept nearly full."),
    Bit(21, "ERETM", "The pack has been kept nearly full and warm."),
)
CHARGING_4  = _with(CHARGING_3, R4,
    Bit(22, "DEG0",  "The charging voltage is lowered for cycles, with DEG1 for time in use."),
    Bit(23, "DEG1",  "The charging voltage is lowered for health, with DEG0 for time in use."),
)
CHARGING_5  = replace(_with(CHARGING_4, R5,
    *(Bit(24 + k, f"V_{state}", f"By the voltage alone: {state}.")
      for k, state in enumerate(_CHARGE_STATES)),
    *(Bit(32 + k, f"SOC_{state}", f"By the state of charge alone: {state}.")
      for k, state in enumerate(_CHARGE_STATES)),
), length=5)
CHARGING_Z  = _with(CHARGING_2, Z)

GAUGING     = StatusWord(0x56, "GaugingStatus", 3, (
    Bit( 0, "FD",      "The gauge takes the pack for empty."),
    Bit( 1, "FC",      "The gauge takes the pack for full."),
    Bit( 2, "TD",      "The pack should not be discharged further."),
    Bit( 3, "TC",      "The pack should not be charged further."),
    Bit( 4, "BAL_EN",  "Cells may be balanced if it is switched on."),
    Bit( 5, "EDV",     "The load has pulled the pack down to its final voltage."),
    Bit( 6, "DSG",     "The pack is discharging or at rest."),
    Bit( 7, "CF",      "The gauge needs a full cycle to be accurate again."),
    Bit( 8, "REST",    "The voltage at rest has been read."),
    Bit(10, "R_DIS",   "The gauge does not learn resistances just now."),
    Bit(11, "VOK",     "A voltage at rest is kept for learning the capacity."),
    Bit(12, "QEN",     "The gauge learns capacity and resistance."),
    Bit(13, "SLPQMax", "The sleeping gauge is reading the voltage at rest."),
    Bit(15, "NSFM",    "A resistance came out negative, which cannot be."),
    Bit(16, "VDQ",     "This discharge is good enough to learn from."),
    Bit(17, "QMax",    "Changes whenever a capacity has been learned."),
    Bit(18, "RX",      "Changes whenever a resistance has been learned."),
    Bit(19, "LDMD",    "The gauge predicts for constant power, not constant current."),
    Bit(20, "OCVFR",   "The voltage at rest says little about the charge just now."),
), R1)
GAUGING_4   = _with(GAUGING, R4,
    Bit(14, "OCVPRED", "The voltage at rest was predicted, not awaited."),
)
GAUGING_5   = _with(GAUGING_4, R5, Bit(21, "VLB", "The battery is very low."))
GAUGING_Z   = _with(GAUGING, Z)

# Bit 15: the R1 manual calls it by both names, later ones CAL_EN.
MANUFACTURING   = StatusWord(0x57, "ManufacturingStatus", 2, (
    Bit( 0, "PCHG_EN",  "The precharging transistor is switched on for a test."),
    Bit( 1, "CHG_EN",   "The charging transistor is switched on for a test."),
    Bit( 2, "DSG_EN",   "The discharging transistor is switched on for a test."),
    Bit( 3, "GAUGE_EN", "Gauging is on."),
    Bit( 4, "FET_EN",   "The gauge controls the power transistors."),
    Bit( 5, "LF_EN",    "The gauge keeps lifetime records."),
    Bit( 6, "PF_EN",    "The gauge may declare the pack failed for good."),
    Bit( 7, "BBR_EN",   "The black box recorder is on."),
    Bit( 8, "FUSE_EN",  "The gauge may blow the fuse."),
    Bit( 9, "LED_EN",   "The charge display is enabled."),
    Bit(14, "LT_TEST",  "Lifetime records run fast, for a test."),
    Bit(15, "CAL_TEST", "The gauge can be calibrated."),
), R1)
MANUFACTURING_3 = _with(MANUFACTURING, R3, Bit(15, "CAL_EN", "The gauge can be calibrated."))
MANUFACTURING_Z = _with(MANUFACTURING_3, Z,
    Bit(13, "PDSG_EN",  "The predischarging transistor is switched on for a test."),
)

# ---------------------------------------------------------------------- data blocks

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
# DEVIATION: the manuals say little endian; every recorded reply is big endian.
FIRMWARE_VERSION = Block(0x02, "FirmwareVersion", (
    Field("device",             0, *N16,   "big"),
    Field("version_raw",        2, *RAW16, "big"),  # 0x0402 is 4.02
    Field("build",              4, *N16,   "big"),
    Field("firmware_type_raw",  6, *RAW8),
    Field("gauge_version_raw",  7, *RAW16, "big"),
), "TI e2e threads 441952 and 1108797")
HARDWARE_VERSION = Block(0x03, "HardwareVersion", (Field("hardware_raw", 0, *RAW16),), R1)
CHEMICAL_ID      = Block(0x06, "ChemicalID", (Field("chemistry_raw", 0, *RAW16),), R1)  # hex
MAKER_INFO       = Block(0x70, "ManufacturerInfo", (), R1)  # 32 bytes of the maker's own

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
BALANCING_Z = Block(0x76, "CBStatus", (
    *_cells(7, "cell{}_balancing_s", 0, S16),
    *_cells(7, "cell{}_balancing_dod_raw", 14, RAW16),
    Field("balancing_charge_raw", 28, *RAW16),
), Z)
HEALTH = Block(0x77, "StateOfHealth", (
    Field("healthy_full_mah", 0, *MAH),
    Field("healthy_full_wh",  2, *CWH),
), R1)
# Manuals before R4 and of the BQ40Z80 say mWh, in which a word would end at 65 Wh; R4 says cWh.
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

# Lifetime blocks before R3 have no units that two sources agree about. Those of R3 were checked
# against what a pack could have done (VECTORS.md); R4 and R5 have the same words.
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

# ---------------------------------------------------------------------- parts

_BLOCKS = (
    DEVICE_TYPE, FIRMWARE_VERSION, HARDWARE_VERSION, CHEMICAL_ID, MAKER_INFO,
    DA_STATUS_1, DA_STATUS_2, GAUGE_1, GAUGE_2, HEALTH,
)
_Z50 = (*_BLOCKS, GAUGE_3, BALANCING, LIFETIME_4, LIFETIME_5)

Z50_R1 = Part("bq40z50-r1", (  # and R0
    SAFETY_ALERT, SAFETY_STATUS, PF_ALERT, PF_STATUS,
    OPERATION, CHARGING, GAUGING, MANUFACTURING,
), (*_Z50, FILTERED, LIFETIME_1, LIFETIME_2, LIFETIME_3))
Z50_R2 = Part("bq40z50-r2", (
    SAFETY_ALERT_2, SAFETY_STATUS_2, PF_ALERT_2, PF_STATUS_2,
    OPERATION, CHARGING_2, GAUGING, MANUFACTURING,
), (*_Z50, FILTERED, LIFETIME_1, LIFETIME_2, LIFETIME_3))
Z50_R3 = Part("bq40z50-r3", (
    SAFETY_ALERT_2, SAFETY_STATUS_2, PF_ALERT_2, PF_STATUS_3,
    OPERATION_3, CHARGING_3, GAUGING, MANUFACTURING_3,
), (*_Z50, FILTERED, LIFETIME_1_3, LIFETIME_2_3, LIFETIME_3_3))
Z50_R4 = Part("bq40z50-r4", (
    SAFETY_ALERT_2, SAFETY_STATUS_2, PF_ALERT_2, PF_STATUS_3,
    OPERATION_4, CHARGING_4, GAUGING_4, MANUFACTURING_3,
), (*_Z50, FILTERED_4, LIFETIME_1_3, LIFETIME_2_4, LIFETIME_3_3))
Z50_R5 = Part("bq40z50-r5", (
    SAFETY_ALERT_5, SAFETY_STATUS_5, PF_ALERT_5, PF_STATUS_5,
    OPERATION_5, CHARGING_5, GAUGING_5, MANUFACTURING_3,
), (*_Z50, FILTERED_4, LIFETIME_1_3, LIFETIME_2_4, LIFETIME_3_3))
Z80 = Part("bq40z80", (
    SAFETY_ALERT_Z, SAFETY_STATUS_Z, PF_ALERT_Z, PF_STATUS_Z,
    OPERATION_Z, CHARGING_Z, GAUGING_Z, MANUFACTURING_Z,
), (*_BLOCKS, DA_STATUS_3, GAUGE_3_Z, BALANCING_Z, FILTERED, LIFETIME_1_Z))
_REVISIONS = (Z50_R1, Z50_R1, Z50_R2, Z50_R3, Z50_R4, Z50_R5)  # by the major firmware version
# fmt: on


def _in_common(name: str, first: Part, *others: Part) -> Part:
    """Return what the parts agree about: a bit or field that differs anywhere is not documented."""
    return Part(
        name,
        tuple(
            replace(word, bits=tuple(row for row in word.bits if all(row in o.bits for o in same)))
            for word, *same in zip(first.words, *(part.words for part in others), strict=True)
        ),
        tuple(block for block in first.blocks if all(block in part.blocks for part in others)),
    )


Z50 = _in_common("bq40z50", *_REVISIONS)  # of an unknown revision
PARTS = (Z50, *_REVISIONS[1:], Z80)

_DEVICE_Z50 = 0x4500
_DEVICE_Z80 = 0x4800  # from the names of TI's own files, "4800_0_02-bq40z80.bqz"; no readout seen


def part_of(firmware: bytes | None, device_type: bytes | None) -> Part | None:
    """Return the part that replied so to FirmwareVersion and to DeviceType.

    None when neither names a part of this table, or each names another one.
    """
    version = decode_block(FIRMWARE_VERSION, firmware or b"")
    told = decode_block(DEVICE_TYPE, device_type or b"")
    devices = {values["device"] for values in (version, told) if "device" in values}
    if devices == {_DEVICE_Z80}:
        return Z80
    if devices != {_DEVICE_Z50}:
        return None
    major = int(version["version_raw"]) >> 8 if "version_raw" in version else len(_REVISIONS)
    return _REVISIONS[major] if major < len(_REVISIONS) else Z50


def security_of(operation: bytes) -> str | None:
    """Return the security mode that OperationStatus shows, None when too little of it came."""
    return SECURITY[operation[1] & _SECURITY_MASK] if len(operation) > 1 else None

# SPDX-License-Identifier: Apache-2.0
"""Status words of BQ40Z50 (R0 to R5), BQ40Z80, BQ41Z50: SafetyStatus, PFStatus, ...

A name ends in the first revision of its row: none is R0, Z is the BQ40Z80, 41 the BQ41Z50.
"""

from dataclasses import replace

from smartbattery.fields import Bit, StatusWord

_Safety = tuple[int, str, str, str]  # bit, mnemonic, what is wrong, what the gauge does
_Failure = tuple[int, str, str]  # bit, mnemonic, what is wrong

R1 = "TI SLUUA43A"
R2 = "TI SLUUBK0B"
R3 = "TI SLUUBU5A"
R4 = "TI SLUUCH2"
R5 = "TI SLUUCN4B"
Z = "TI SLUUBT5C"
R41 = "TI SLUUCP8"  # BQ41Z50


def _with(word: StatusWord, source: str, *bits: Bit, without: tuple[int, ...] = ()) -> StatusWord:
    """The word of another revision: some bits have another meaning, are new or removed."""
    changed = {row.bit for row in bits} | set(without)
    unchanged = tuple(row for row in word.bits if row.bit not in changed)
    return replace(word, bits=unchanged + bits, source=source)


def _alerts(*rows: _Safety | _Failure) -> tuple[Bit, ...]:
    return tuple(Bit(row[0], row[1], f"{row[2]}; the gauge has not acted yet.") for row in rows)


def _trips(*rows: _Safety) -> tuple[Bit, ...]:
    return tuple(Bit(bit, name, f"{what}; {action}.") for bit, name, what, action in rows)


def _failures(*rows: _Failure) -> tuple[Bit, ...]:
    return tuple(
        Bit(bit, name, f"{what}: the pack is off permanently.") for bit, name, what in rows
    )


# fmt: off
_SAFETY: tuple[_Safety, ...] = (
    ( 0, "CUV",   "A cell is below its under-voltage limit", "discharging stops until it recovers"),
    ( 1, "COV",   "A cell is above its over-voltage limit", "charging stops until it recovers"),
    ( 2, "OCC1",  "The charging current is above its first limit", "charging stops for a while"),
    ( 3, "OCC2",  "The charging current is above its second limit", "charging stops for a while"),
    ( 4, "OCD1",  "The load current is above its first limit", "discharging stops for a while"),
    ( 5, "OCD2",  "The load current is above its second limit", "discharging stops for a while"),
    ( 7, "AOLDL", "The pack was overloaded repeatedly", "discharging is locked off"),
    ( 9, "ASCCL", "Short circuits while charging occurred repeatedly", "charging is locked off"),
    (11, "ASCDL", "The output was short-circuited repeatedly", "discharging is locked off"),
    (12, "OTC",   "The cells are too hot to be charged", "charging stops until they cool"),
    (13, "OTD",   "The cells are too hot to be discharged", "discharging stops until they cool"),
    (14, "CUVC",  "A cell is too low even without the load's voltage drop", "discharging stops"),
    (16, "OTF",   "The power transistors are too hot", "charging and discharging stop"),
    (18, "PTO",   "Precharging takes too long", "charging stops"),
    (20, "CTO",   "Charging takes too long", "charging stops"),
    (22, "OC",    "More charge went in than the pack can hold", "charging stops"),
    (23, "CHGC",  "The charger supplies more current than requested", "charging stops"),
    (24, "CHGV",  "The charger supplies more voltage than requested", "charging stops"),
    (25, "PCHGC", "The charger supplies too much current for precharging", "charging stops"),
    (26, "UTC",   "The cells are too cold to be charged", "charging stops until they warm"),
    (27, "UTD",   "The cells are too cold to be discharged", "discharging stops until they warm"),
)
_AT_ONCE: tuple[_Safety, ...] = (  # by hardware, without an alert before
    ( 6, "AOLD",  "The pack was overloaded", "discharging stops for a while"),
    ( 8, "ASCC",  "There was a short circuit while charging", "charging stops for a while"),
    (10, "ASCD",  "There was a short circuit of the output", "discharging stops for a while"),
)
_LATCHES: tuple[_Safety, ...] = (  # new in R2
    (28, "COVL",  "A cell exceeded its limit repeatedly", "charging is locked off"),
    (29, "OCDL",  "The load exceeded its limit repeatedly", "discharging is locked off"),
)
_DCOT: _Safety = (15, "DCOT", "The cells differ too much in temperature", "protection has tripped")
_HWDF: _Safety = (17, "HWDF", "The host has sent nothing for too long", "protection has tripped")

CHARGE_TRIPS = frozenset({
    "COV", "OCC1", "OCC2", "ASCC", "ASCCL", "OTC", "PTO", "CTO", "OC", "CHGC", "CHGV", "PCHGC",
    "UTC", "COVL",
})  # stop a charge alone; any other trip may open the discharge transistor
TIMERS = frozenset({"PTOS", "CTOS"})

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
# The table of the R5 manual marks bit 17 as reserved, its text describes it.
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
    ( 5, "COVL",  "A cell exceeded its limit repeatedly"),
    (13, "AOLDL", "The pack was overloaded repeatedly"),
    (14, "ASCCL", "Short circuits while charging occurred repeatedly"),
    (15, "ASCDL", "The output was short-circuited repeatedly"),
    (18, "OCDL",  "The load exceeded its limit repeatedly"),
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
    Bit( 7, "BTP_INT",    "The charge passed a level that the host has set."),
    Bit( 8, "SEC0",       "With SEC1 the gauge is sealed, without it fully accessible."),
    Bit( 9, "SEC1",       "With SEC0 the gauge is sealed, without it unsealed."),
    Bit(10, "SDV",        "The pack shuts down because its voltage is too low."),
    Bit(11, "SS",         "A protection has tripped; SafetyStatus shows which."),
    Bit(12, "PF",         "The pack has failed permanently; PFStatus shows why."),
    Bit(13, "XDSG",       "Discharging is disabled."),
    Bit(14, "XCHG",       "Charging is disabled."),
    Bit(15, "SLEEP",      "The pack is idle enough to sleep."),
    Bit(16, "SDM",        "The pack shuts down on command."),
    Bit(17, "LED",        "The charge display is on."),
    Bit(18, "AUTH",       "The pack is proving that it is genuine."),
    Bit(19, "AUTOCALM",   "The zero of the current is being calibrated by command."),
    Bit(20, "CAL",        "The gauge puts out raw measurements for calibration."),
    Bit(21, "CAL_OFFSET", "The gauge puts out the raw zero of the current for calibration."),
    Bit(22, "XL",         "The bus runs at 400 kHz."),
    Bit(23, "SLEEPM",     "The pack sleeps on command."),
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
    Bit(31, "IOSHUT",     "The pack shuts down because of a pin."),
)
OPERATION_4 = _with(OPERATION_3, R4, Bit(26, "VLB", "The battery is very low."))
OPERATION_5 = _with(OPERATION_3, R5, Bit(26, "STORAGEM", "The pack goes into storage on command."))
OPERATION_41 = _with(OPERATION_5, R41)
OPERATION_Z = _with(OPERATION, Z,
    Bit( 4, "PDSG",       "The predischarging transistor is on."),
    Bit(31, "IATA_CTERM", "Charging ends at the level for air transport."),
)

_CHARGE_END = (  # one bit higher since R2
    ("MCHG", "The full pack is kept topped up."),
    ("VCT",  "Charging is complete."),
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
    Bit(20, "ERM",   "The pack has been nearly full for long."),
    Bit(21, "ERETM", "The pack has been nearly full and warm for long."),
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
    Bit( 0, "FD",      "The gauge reports the pack as empty."),
    Bit( 1, "FC",      "The gauge reports the pack as full."),
    Bit( 2, "TD",      "The pack should not be discharged further."),
    Bit( 3, "TC",      "The pack should not be charged further."),
    Bit( 4, "BAL_EN",  "Cells may be balanced if it is switched on."),
    Bit( 5, "EDV",     "The load has pulled the pack down to its final voltage."),
    Bit( 6, "DSG",     "The pack is discharging or at rest."),
    Bit( 7, "CF",      "The gauge needs a full cycle to be accurate again."),
    Bit( 8, "REST",    "The voltage at rest has been read."),
    Bit(10, "R_DIS",   "The gauge is not learning resistances."),
    Bit(11, "VOK",     "A voltage at rest is stored for learning the capacity."),
    Bit(12, "QEN",     "The gauge learns capacity and resistance."),
    Bit(13, "SLPQMax", "The sleeping gauge is reading the voltage at rest."),
    Bit(15, "NSFM",    "A resistance was computed as negative, which is impossible."),
    Bit(16, "VDQ",     "This discharge is good enough to learn from."),
    Bit(17, "QMax",    "Changes whenever a capacity has been learned."),
    Bit(18, "RX",      "Changes whenever a resistance has been learned."),
    Bit(19, "LDMD",    "The gauge predicts for constant power, not constant current."),
    Bit(20, "OCVFR",   "The open-circuit voltage is too flat to determine the charge."),
), R1)
GAUGING_4   = _with(GAUGING, R4,
    Bit(14, "OCVPRED", "The open-circuit voltage was predicted, not measured."),
)
GAUGING_5   = _with(GAUGING_4, R5, Bit(21, "VLB", "The battery is very low."))
GAUGING_Z   = _with(GAUGING, Z)

# Bit 15: the R1 manual uses both names, later ones CAL_EN.
MANUFACTURING   = StatusWord(0x57, "ManufacturingStatus", 2, (
    Bit( 0, "PCHG_EN",  "The precharging transistor is switched on for a test."),
    Bit( 1, "CHG_EN",   "The charging transistor is switched on for a test."),
    Bit( 2, "DSG_EN",   "The discharging transistor is switched on for a test."),
    Bit( 3, "GAUGE_EN", "Gauging is on."),
    Bit( 4, "FET_EN",   "The gauge controls the power transistors."),
    Bit( 5, "LF_EN",    "The gauge stores lifetime records."),
    Bit( 6, "PF_EN",    "The gauge may declare a permanent failure."),
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
# fmt: on

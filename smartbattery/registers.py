# SPDX-License-Identifier: Apache-2.0
"""SBS 1.1 register table; a row decodes and encodes.

The driver decodes a word with its row and the virtual gauge encodes with the same row. Bytes from
outside this project check the rows themselves (tests/data/vectors.json).

Units are in the field names. Current is positive while discharging: SBS has the opposite sign, and
the negative scale of the row is the one place where it is inverted.
Source, unless a row names another: Smart Battery Data Specification 1.1, section 5.1; the
kernel's sbs-battery driver; TI SLUUA43 (BQ40Z50), chapter 12.
"""

from dataclasses import dataclass, replace
from enum import Enum, StrEnum

from smartbattery.fields import Bit, StatusWord

ADDRESS = 0x0B
MAX_BLOCK = 32
PEC_VERSION = 3  # of SpecificationInfo
_MONTHS = 12
_ERROR_CODE = 0x000F
_TEN = (1.0, 10.0, 100.0, 1000.0)
_SATURATED = (0x7FFF, 0x8000)  # of a signed word: the value may be larger


class PollRate(Enum):
    """How often a register is read."""

    FAST = "every poll"
    SLOW = "in turn, one a poll"
    STATIC = "once per pack"


class ScaledBy(StrEnum):
    """Which power of ten of SpecificationInfo multiplies the value."""

    NOTHING = "nothing"
    VSCALE = "VScale"
    IPSCALE = "IPScale"


@dataclass(frozen=True, slots=True)
class Register:
    """One word command: value = raw x scale + offset, raw signed or not."""

    name: str  # as the specification names it
    field: str  # of Snapshot or Identity; the suffix is the unit
    command: int
    signed: bool
    scale: float
    offset: float
    low: float  # range of plausible values, ends included
    high: float
    max_age_s: float
    poll_rate: PollRate
    scaled_by: ScaledBy = ScaledBy.NOTHING
    unknown_raw: int | None = None  # the word that means "unknown"
    capacity: bool = False  # mAh, or 10 mWh if BatteryMode.CAPM is set
    max_step: float = 0.0  # a larger change needs a second reading that confirms it

    def decode(self, raw: int, power: int = 0) -> float | None:
        """The value of a word; `None` when it is unknown, saturated or out of range.

        Args:
            raw: the word as received, 0..65535.
            power: the power of ten that SpecificationInfo gives for this kind of value.
        """
        if raw == self.unknown_raw or self.is_saturated(raw):
            return None
        value = self.scaled(raw, power)
        return value if self.low <= value <= self.high else None

    def is_saturated(self, raw: int) -> bool:
        """Whether a word is at the end of its range, so that the value may be larger."""
        return self.signed and raw in _SATURATED

    def scaled(self, raw: int, power: int = 0) -> float:
        """The value of a word, plausible or not."""
        if self.signed and raw & 0x8000:
            raw -= 0x10000
        return (raw * self.scale + self.offset) * _TEN[power]

    def encode(self, value: float, power: int = 0) -> int:
        """The word 0..65535 nearest to a value; beyond its range it wraps, as in a gauge.

        40 A of discharge in mA are the word of 25.536 A of charge (ArduPilot #23786).
        """
        return round((value / _TEN[power] - self.offset) / self.scale) & 0xFFFF


def _cell(index: int) -> Register:
    # Optional manufacturer functions, used downwards from 0x3F by generic packs (ArduPilot's
    # generic SMBus monitor, Rotoye BatMon, BQ40Z50 cells 1-4). 0xFFFF and 0 are not voltages.
    return Register(
        f"CellVoltage{index + 1}", f"cell{index + 1}_v", 0x3F - index,
        signed=False, scale=0.001, offset=0.0, low=0.5, high=5.0,
        max_age_s=2.0, poll_rate=PollRate.FAST, max_step=0.1,
    )  # fmt: skip


F = PollRate.FAST
S = PollRate.SLOW
ONCE = PollRate.STATIC
V = ScaledBy.VSCALE
A = ScaledBy.IPSCALE
PLAIN = ScaledBy.NOTHING
M = 0xFFFF
MAX_MAH = 655_340.0  # of a pack: the largest reading with IPScale 1, units of 10 mAh

# fmt: off
VOLTAGE       = Register("Voltage",               "voltage_v",        0x09, False,   0.001,   0.0,      1.0,    150.0,   2.0, F,    V, M, max_step=0.5)
CURRENT       = Register("Current",               "current_a",        0x0A, True,   -0.001,   0.0,  -1000.0,   1000.0,   2.0, F,    A, max_step=5.0)
TEMPERATURE   = Register("Temperature",           "temperature_degc", 0x08, False,   0.1,  -273.15,   -50.0,    150.0,  15.0, S, max_step=2.0)  # TI: -50 degC or less is an open thermistor
AVERAGE       = Register("AverageCurrent",        "average_a",        0x0B, True,   -0.001,   0.0,  -1000.0,   1000.0,  15.0, S,    A, max_step=5.0)
MAX_ERROR     = Register("MaxError",              "max_error_pct",    0x0C, False,   1.0,     0.0,      0.0,    100.0,  30.0, S)
RELATIVE_SOC  = Register("RelativeStateOfCharge", "soc_pct",          0x0D, False,   1.0,     0.0,      0.0,    100.0,  15.0, S, max_step=2.0)
REMAINING     = Register("RemainingCapacity",     "remaining_mah",    0x0F, False,   1.0,     0.0,      0.0,   MAX_MAH,  15.0, S,    A, None, True, max_step=100.0)
FULL          = Register("FullChargeCapacity",    "full_mah",         0x10, False,   1.0,     0.0,      1.0,   MAX_MAH,  60.0, S,    A, None, True)
TIME_TO_EMPTY = Register("AverageTimeToEmpty",    "time_to_empty_s",  0x12, False,  60.0,     0.0,      0.0, 3932040.0,  15.0, S, PLAIN, M, max_step=600.0)
STATUS        = Register("BatteryStatus",         "status_raw",       0x16, False,   1.0,     0.0,      0.0,   65535.0,  15.0, S)
MODE          = Register("BatteryMode",           "mode_raw",         0x03, False,   1.0,     0.0,      0.0,   65535.0,  15.0, S)
CHARGING_A    = Register("ChargingCurrent",       "charging_a",       0x14, False,   0.001,   0.0,      0.0,      65.0,  15.0, S, PLAIN, M)
CHARGING_V    = Register("ChargingVoltage",       "charging_v",       0x15, False,   0.001,   0.0,      0.0,      65.0,  15.0, S, PLAIN, M)
CYCLES        = Register("CycleCount",            "cycles",           0x17, False,   1.0,     0.0,      0.0,   65534.0, 120.0, S, PLAIN, M)
SPECIFICATION = Register("SpecificationInfo",     "specification_raw",0x1A, False,   1.0,     0.0,      0.0,   65535.0,   0.0, ONCE)
DESIGN        = Register("DesignCapacity",        "design_mah",       0x18, False,   1.0,     0.0,     50.0,   MAX_MAH,   0.0, ONCE, A, None, True)
DESIGN_V      = Register("DesignVoltage",         "design_v",         0x19, False,   0.001,   0.0,      1.0,    150.0,   0.0, ONCE, V)
MANUFACTURED  = Register("ManufactureDate",       "date_raw",         0x1B, False,   1.0,     0.0,      0.0,   65535.0,   0.0, ONCE)
SERIAL        = Register("SerialNumber",          "serial",           0x1C, False,   1.0,     0.0,      0.0,   65535.0,   0.0, ONCE)

CELLS = tuple(_cell(index) for index in range(16))
FAST  = (VOLTAGE, CURRENT)
SLOW  = (TEMPERATURE, RELATIVE_SOC, REMAINING, STATUS, MODE, FULL, TIME_TO_EMPTY, AVERAGE, MAX_ERROR, CYCLES, CHARGING_A, CHARGING_V)
IDENTITY = (SPECIFICATION, SERIAL, DESIGN)  # read in turn too, to detect a swapped pack and to fill in a missed reading
WORDS = (*FAST, *SLOW, SPECIFICATION, DESIGN, DESIGN_V, MANUFACTURED, SERIAL, *CELLS)

# Registers that the driver does not need, for a technician.
EXTENDED = (
    replace(REMAINING,     name="RemainingCapacityAlarm",   field="alarm_mah",        command=0x01),
    replace(TIME_TO_EMPTY, name="RemainingTimeAlarm",       field="alarm_s",          command=0x02),
    replace(CURRENT,       name="AtRate",                   field="at_rate_a",        command=0x04, capacity=True),
    replace(TIME_TO_EMPTY, name="AtRateTimeToFull",         field="at_rate_full_s",   command=0x05),
    replace(TIME_TO_EMPTY, name="AtRateTimeToEmpty",        field="at_rate_empty_s",  command=0x06),
    replace(STATUS,        name="AtRateOK",                 field="at_rate_ok",       command=0x07),
    replace(RELATIVE_SOC,  name="AbsoluteStateOfCharge",    field="absolute_pct",     command=0x0E, high=200.0),
    replace(TIME_TO_EMPTY, name="RunTimeToEmpty",           field="run_time_s",       command=0x11),
    replace(TIME_TO_EMPTY, name="AverageTimeToFull",        field="time_to_full_s",   command=0x13),
)

# Text blocks: (name, field, command).
MANUFACTURER = ("ManufacturerName", "manufacturer", 0x20)
DEVICE       = ("DeviceName",       "device",       0x21)
CHEMISTRY    = ("DeviceChemistry",  "chemistry",    0x22)
TEXTS        = (MANUFACTURER, DEVICE, CHEMISTRY)
# fmt: on


def version_of(specification_raw: int) -> int:
    """The Version field: 1 is SBS 1.0, 2 is 1.1, 3 is 1.1 with PEC."""
    return specification_raw >> 4 & 0xF


def powers_of(specification_raw: int) -> dict[ScaledBy, int]:
    """Power of ten for each kind of scaling (VScale, IPScale; 0..3)."""
    return {
        ScaledBy.NOTHING: 0,
        ScaledBy.VSCALE: min(specification_raw >> 8 & 0xF, 3),
        ScaledBy.IPSCALE: min(specification_raw >> 12 & 0xF, 3),
    }


def differ_in_scale(specification_raw: int, other_raw: int) -> bool:
    """Whether two SpecificationInfo words differ in VScale or IPScale, and in nothing else."""
    return not (specification_raw ^ other_raw) & 0xFF and specification_raw != other_raw


def date_of(date_raw: int) -> tuple[int, int, int] | None:
    """(year, month, day) of a ManufactureDate word; `None` when it was never programmed."""
    year = 1980 + (date_raw >> 9)
    month = date_raw >> 5 & 0xF
    day = date_raw & 0x1F
    return (year, month, day) if 1 <= month <= _MONTHS and day >= 1 else None


# fmt: off
BATTERY_MODE = StatusWord(MODE.command, "BatteryMode", 2, (
    Bit( 0, "ICC",  "The pack has its own charge controller."),
    Bit( 1, "PBS",  "The pack can be the main or the second one of a system."),
    Bit( 7, "CF",   "The gauge requests a full cycle to learn the pack's capacity again."),
    Bit( 8, "CC",   "The pack's own charge controller is on."),
    Bit( 9, "PB",   "The pack is the main one of the system."),
    Bit(13, "AM",   "The gauge sends no alarms by itself."),
    Bit(14, "CHGM", "The gauge sends the charger no values by itself."),
    Bit(15, "CAPM", "Capacities are in 10 mWh, not in mAh."),
), "SBS 1.1 section 5.1.4")

BATTERY_STATUS = StatusWord(STATUS.command, "BatteryStatus", 2, (
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

MODE_CAPACITY_IN_10MWH = BATTERY_MODE.mask("CAPM")
STATUS_INITIALIZED = BATTERY_STATUS.mask("INIT")  # 1 = done (TI SLUUCH2, kernel sbs-battery)

ERRORS = (  # by the code in BatteryStatus
    ("OK",                  "The last command was carried out."),
    ("Busy",                "The gauge had no time for the last command."),
    ("ReservedCommand",     "The last command is reserved."),
    ("UnsupportedCommand",  "The gauge does not support the last command."),
    ("AccessDenied",        "The gauge is sealed against the last command."),
    ("Overflow/Underflow",  "The last command had a value out of range."),
    ("BadSize",             "The last command had a wrong number of bytes."),
    ("UnknownError",        "The last command failed for an unknown reason."),
    ("Incomplete",          "The last command was not finished."),
)
# fmt: on


def error_of(status_raw: int) -> tuple[str, str]:
    """Name and sentence of the error code in a BatteryStatus word."""
    code = status_raw & _ERROR_CODE
    return ERRORS[code] if code < len(ERRORS) else (f"code {code}", "not documented")

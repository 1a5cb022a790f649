# SPDX-License-Identifier: Apache-2.0
"""Messages of batteries as plain values: the fields of each data type, and their decoding.

A decoder of its own: a bus with four packs at 10 Hz has 80 messages a second, of which the package
`dronecan` decodes one in a millisecond; the tests compare the two. Payloads are read strictly:
too short or too long is no message.

Source: the DSDL of the data types (github.com/dronecan/DSDL) and the DroneCAN specification,
"DSDL", for the order of bits: fields follow each other without padding, and the first byte of a
number is its lowest. The length of a last array follows from the length of the payload.
"""

import struct
from binascii import crc_hqx
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_CRC_START = 0xFFFF
_BYTE = 8
_FLOATS = {16: struct.Struct("<e"), 32: struct.Struct("<f")}


class MessageError(ValueError):
    """Bytes that are no message of the data type."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number of `bits`; a float of 16 or 32 bits if `real`."""

    bits: int
    real: bool = False


@dataclass(frozen=True, slots=True)
class Array:
    """A sequence of at most `most` numbers; bytes if they have 8 bits."""

    item: Number
    most: int


@dataclass(frozen=True, slots=True)
class DataType:
    """One data type: its fields in the order of the payload."""

    name: str
    type_id: int
    signature: int  # of the DSDL definition, from which the checksum starts
    fields: tuple[tuple[str, Number | Array], ...]


@dataclass(frozen=True, slots=True)
class BatteryMessage:
    """A message as it was sent: `values` by field name, in the units of its data type."""

    data_type: DataType
    source: int  # node id of the sender
    values: Mapping[str, Any]


# fmt: off
_POWER = "ardupilot.equipment.power."
U8 = Number(8)
U16 = Number(16)
U32 = Number(32)
F16 = Number(16, real=True)
F32 = Number(32, real=True)

BATTERY_INFO = DataType("uavcan.equipment.power.BatteryInfo", 1092, 0x249C26548A711966, (
    ("temperature",               F16),  # K
    ("voltage",                   F16),
    ("current",                   F16),
    ("average_power_10sec",       F16),
    ("remaining_capacity_wh",     F16),
    ("full_charge_capacity_wh",   F16),
    ("hours_to_full_charge",      F16),
    ("status_flags",              Number(11)),
    ("state_of_health_pct",       Number(7)),
    ("state_of_charge_pct",       Number(7)),
    ("state_of_charge_pct_stdev", Number(7)),
    ("battery_id",                U8),
    ("model_instance_id",         U32),
    ("model_name",                Array(U8, 31)),
))
BATTERY_INFO_AUX = DataType(_POWER + "BatteryInfoAux", 20004, 0x7D7F49FC75484882, (
    ("timestamp_us",              Number(56)),
    ("voltage_cell",              Array(F16, 255)),
    ("cycle_count",               U16),
    ("over_discharge_count",      U16),
    ("max_current",               F16),
    ("nominal_voltage",           F16),  # of the pack; 0: unknown
    ("is_powering_off",           Number(1)),
    ("battery_id",                U8),
))
BATTERY_CONTINUOUS = DataType(_POWER + "BatteryContinuous", 20010, 0x756B561340D5E4AE, (
    ("temperature_cells",         F16),  # degC
    ("temperature_pcb",           F16),  # degC
    ("temperature_other",         F16),  # degC
    ("current",                   F32),
    ("voltage",                   F32),
    ("state_of_charge",           F16),  # %
    ("slot_id",                   U8),   # 0: unknown
    ("capacity_consumed",         F32),  # Ah
    ("status_flags",              U32),
))
BATTERY_PERIODIC = DataType(_POWER + "BatteryPeriodic", 20011, 0x0F012494E97358D2, (
    ("name",                            Array(U8, 50)),  # "manufacturer_product"
    ("serial_number",                   Array(U8, 32)),  # characters
    ("manufacture_date",                Array(U8, 9)),   # "DDMMYYYY"
    ("design_capacity",                 F32),  # Ah; 0: unknown
    ("cells_in_series",                 U8),   # 0: unknown
    ("nominal_voltage",                 F16),  # of the pack; 0: unknown
    ("discharge_minimum_voltage",       F16),
    ("charging_minimum_voltage",        F16),
    ("charging_maximum_voltage",        F16),
    ("charging_maximum_current",        F32),
    ("discharge_maximum_current",       F32),
    ("discharge_maximum_burst_current", F32),
    ("full_charge_capacity",            F32),  # Ah
    ("cycle_count",                     U16),  # 65535: unknown
    ("state_of_health",                 U8),
))
BATTERY_CELLS = DataType(_POWER + "BatteryCells", 20012, 0x5C8B1ABD15890EA4, (
    ("voltages",                  Array(F16, 24)),
    ("index",                     U16),  # of the first cell in the array, from 0
))
CBAT = DataType("cuav.equipment.power.CBAT", 20300, 0xB4DACE3A38E09A74, (
    ("temperature",               F32),  # K
    ("voltage",                   F32),
    ("voltage_cell",              Array(F32, 15)),
    ("cell_count",                U8),
    ("current",                   F32),
    ("average_current",           F32),
    ("average_power",             F32),
    ("available_energy",          F32),
    ("remaining_capacity",        F32),  # mAh
    ("full_charge_capacity",      F32),  # mAh
    ("design_capacity",           F32),  # mAh
    ("average_time_to_empty",     U16),  # min
    ("average_time_to_full",      U16),
    ("state_of_health",           Number(7)),
    ("state_of_charge",           Number(7)),
    ("max_error",                 Number(7)),
    ("serial_number",             U16),
    ("manufacture_date",          U16),  # as in SBS
    ("cycle_count",               U16),
    ("over_discharge_count",      U16),
    ("passed_charge",             F32),
    ("nominal_voltage",           F32),
    ("is_powering_off",           Number(1)),
    ("interface_error",           U16),
    ("status_flags",              Number(11)),
))
# fmt: on
DATA_TYPES = {
    row.type_id: row
    for row in (
        BATTERY_INFO,
        BATTERY_INFO_AUX,
        BATTERY_CONTINUOUS,
        BATTERY_PERIODIC,
        BATTERY_CELLS,
        CBAT,
    )
}


class _Bits:
    """The bits of a payload, read from the first to the last."""

    def __init__(self, payload: bytes) -> None:
        self._value = int.from_bytes(payload, "big")
        self.left = _BYTE * len(payload)

    def take(self, bits: int) -> int:
        """The next bits, the first of them as the highest."""
        self.left -= bits
        if self.left < 0:
            raise MessageError("the payload is too short")
        return self._value >> self.left & (1 << bits) - 1

    def number(self, kind: Number) -> float | int:
        """The next number."""
        bits = kind.bits
        if kind.real:
            value: float = _FLOATS[bits].unpack(self.take(bits).to_bytes(bits // _BYTE, "big"))[0]
            return value
        if bits <= _BYTE:
            return self.take(bits)
        whole, rest = divmod(bits, _BYTE)
        low = int.from_bytes(self.take(_BYTE * whole).to_bytes(whole, "big"), "little")
        return low | self.take(rest) << _BYTE * whole

    def array(self, kind: Array, count: int) -> bytes | tuple[float | int, ...]:
        """The next numbers."""
        if count > kind.most:
            raise MessageError(f"an array of {count}, at most {kind.most}")
        if kind.item == U8:
            return self.take(_BYTE * count).to_bytes(count, "big")
        return tuple([self.number(kind.item) for _ in range(count)])


def decode(data_type: DataType, payload: bytes) -> dict[str, Any]:
    """The values of a payload by field name.

    Raises:
        MessageError: the payload is too short or too long, or an array too long.
    """
    bits = _Bits(payload)
    values: dict[str, Any] = {}
    last, _ = data_type.fields[-1]
    for name, kind in data_type.fields:
        if isinstance(kind, Number):
            values[name] = bits.number(kind)
        elif name == last:
            values[name] = bits.array(kind, bits.left // kind.item.bits)
        else:
            values[name] = bits.array(kind, bits.take(kind.most.bit_length()))
    if bits.left >= _BYTE:
        raise MessageError("the payload is too long")
    return values


def payload_of(data_type: DataType, frames: Sequence[bytes]) -> bytes:
    """The payload of the frames of a transfer, each of which ends in a tail byte.

    Raises:
        MessageError: the checksum of several frames is wrong.
    """
    data = b"".join([frame[:-1] for frame in frames])
    if len(frames) == 1:
        return data
    start = crc_hqx(data_type.signature.to_bytes(8, "little"), _CRC_START)
    if crc_hqx(data[2:], start) != int.from_bytes(data[:2], "little"):
        raise MessageError("the checksum is wrong")
    return data[2:]


def message_of(data_type: DataType, source: int, frames: Sequence[bytes]) -> BatteryMessage:
    """The message of the frames of a transfer.

    Raises:
        MessageError: the frames are no message of the data type.
    """
    return BatteryMessage(data_type, source, decode(data_type, payload_of(data_type, frames)))

# SPDX-License-Identifier: Apache-2.0
"""One readout of a pack: every register and status word that its gauge has, decoded.

Read-only: SBS words and texts, and manufacturer data through `SmbusDevice.read_manufacturer` where
the profile has them. Units are in `Reading.unit`; current is positive while discharging. A register
without a valid reply has no value.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal, ParamSpec, TypeVar

from smartbattery import bq40
from smartbattery import registers as sbs
from smartbattery.bq40 import Part, part_of, security_of
from smartbattery.bq40.blocks import DEVICE_TYPE, FIRMWARE_VERSION
from smartbattery.bq40.status import OPERATION
from smartbattery.bus import Bus
from smartbattery.bus_load import BusLoad, bus_load_of
from smartbattery.errors import BusError, IntegrityError, NackError, UnsupportedError
from smartbattery.fields import Block, StatusWord, decode_bits, decode_block
from smartbattery.gauge import Gauge
from smartbattery.profiles import GENERIC, AccessMethod, BlockRead, Profile, profile_named
from smartbattery.registers import BATTERY_MODE, BATTERY_STATUS, Register, ScaledBy
from smartbattery.smbus import SmbusDevice
from smartbattery.snapshot import UNIDENTIFIED, Snapshot

_Arguments = ParamSpec("_Arguments")
_Reply = TypeVar("_Reply")
_ATTEMPTS = 3  # the gauge may be busy, or another master may have selected other data in between
_MAX_BYTES = 32
_DECIMALS = 6  # more than any register has; removes binary fractions
_UNITS = {"v": "V", "a": "A", "degc": "degC", "pct": "%", "mah": "mAh", "s": "s"}
_IN_10MWH = {"mAh": ("Wh", 0.01), "A": ("W", 10.0)}  # units of a row in BatteryMode CAPM
_VERSIONS = {1: "SBS 1.0", 2: "SBS 1.1", sbs.PEC_VERSION: "SBS 1.1 with PEC"}


@dataclass(frozen=True, slots=True)
class Reading:
    """One register, or one field of a block."""

    name: str  # "Voltage", "DAStatus1.cell1_v"
    command: int  # or the selector of a manufacturer-access read
    raw: int | str | None  # the number as received; the bytes of a text in hex
    value: float | str | None  # None: unknown to the gauge, or no valid reply
    unit: str
    supported: bool = True  # the register answered


@dataclass(frozen=True, slots=True)
class Flag:
    """A status bit that is set."""

    register: str
    bit: int
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Readout:
    """All that was read from a pack at one time."""

    address: int
    gauge: str  # the identified part, else the profile
    snapshot: Snapshot  # as the service would read the pack
    registers: tuple[Reading, ...]
    status: tuple[Flag, ...]
    bus_load: BusLoad
    has_access: bool  # the gauge supports manufacturer-access reads

    def number(self, name: str) -> float | None:
        """Value of a reading, `None` when it is unknown or no number."""
        row = next((row for row in self.registers if row.name == name), None)
        return None if row is None or isinstance(row.value, str) else row.value

    def answered(self, name: str) -> bool:
        """Whether a register answered."""
        return any(row.name == name and row.supported for row in self.registers)

    def flags(self, register: str) -> frozenset[str]:
        """Names of the bits that are set in a status word."""
        return frozenset(flag.name for flag in self.status if flag.register == register)

    @property
    def security(self) -> str | None:
        """Security mode of the gauge, `None` when it is unknown."""
        row = next((row for row in self.registers if row.name == OPERATION.name), None)
        if row is None or not isinstance(row.raw, int):
            return None
        return security_of(row.raw.to_bytes(OPERATION.length, "little"))

    @property
    def failed(self) -> bool:
        """Whether a protection has tripped or the pack has a permanent failure."""
        words = self.flags("SafetyStatus") | self.flags("PFStatus")
        return bool(words or self.flags("OperationStatus") & {"SS", "PF"})

    def to_json(self, bus: str, warnings: tuple[str, ...]) -> dict[str, object]:
        """The object that `probe --json` prints."""
        return {
            "bus": bus,
            "address": self.address,
            "gauge": self.gauge,
            "serial": self.snapshot.identity.serial,
            "registers": [asdict(row) for row in self.registers],
            "status": [asdict(flag) for flag in self.status],
            "warnings": list(warnings),
        }


def read_pack(bus: Bus, address: int, profile: Profile | None = None) -> Readout:
    """Read a pack once.

    Args:
        bus: of the pack.
        address: 7-bit.
        profile: of the pack; None identifies it.

    Raises:
        BatteryError: no pack, or the bus fails.
    """
    snapshot = Gauge(bus, address, profile=profile).poll(0.0)
    identity = snapshot.identity
    if identity is UNIDENTIFIED:
        trouble = snapshot.trouble or "the gauge stopped answering during identification"
        raise BusError(f"no pack at address 0x{address:02x}: {trouble}")
    profile = profile_named(identity.gauge) or GENERIC
    device = SmbusDevice(bus, address)
    device.has_pec = identity.pec
    part = bq40.part_named(profile.name)
    if part is not None and part.device is not None:
        part = _part(device)  # by its revision
    words = _words(device, profile)
    flags = [*_flags(BATTERY_MODE, words[sbs.MODE]), *_flags(BATTERY_STATUS, words[sbs.STATUS])]
    registers = [*_registers(words), *_texts(device), *_vendor_blocks(device, profile)]
    if part is not None:
        for word in part.words:
            raw = _status_word(device, word)
            value = None if raw is None else f"0x{raw:0{2 * word.length}x}"
            registers.append(Reading(word.name, word.selector, raw, value, "", raw is not None))
            found = bq40.flags(part, word.name, raw or 0)
            flags += [Flag(word.name, flag.bit, flag.name, flag.text) for flag in found]
        for block in sorted(part.blocks, key=lambda row: row.selector):
            registers += _fields(block, _manufacturer_block(device, block))
    return Readout(
        address,
        identity.gauge if part is None else part.name,
        snapshot,
        tuple(registers),
        tuple(flags),
        bus_load_of(profile, identity.cells or 0, has_pec=identity.pec),
        profile.manufacturer_access,
    )


def _reply(
    read: Callable[_Arguments, _Reply], *args: _Arguments.args, **options: _Arguments.kwargs
) -> _Reply | None:
    """A valid reply of the gauge, `None` when there is none."""
    for _ in range(_ATTEMPTS):
        try:
            return read(*args, **options)
        except (NackError, IntegrityError):
            continue
        except UnsupportedError:
            break  # by the adapter: long blocks, or writes while a kernel driver is bound
    return None


# ---------------------------------------------------------------------- words and texts of SBS


def _words(device: SmbusDevice, profile: Profile) -> dict[Register, int | None]:
    """Raw word of every row that the profile may have, by command."""
    plain = (*(row for row in sbs.WORDS if row not in sbs.CELLS), *sbs.EXTENDED)
    reads = (*map(profile.row, plain), *profile.cells, *profile.extra, profile.count)
    rows = sorted({row for row in reads if isinstance(row, Register)}, key=lambda row: row.command)
    return {row: _reply(device.read_word, row.command) for row in rows}


def _registers(words: dict[Register, int | None]) -> Iterator[Reading]:
    powers = sbs.powers_of(words[sbs.SPECIFICATION] or 0)
    in_10mwh = bool((words[sbs.MODE] or 0) & sbs.MODE_CAPACITY_IN_10MWH)
    for row, raw in words.items():
        unit = _UNITS.get(row.field.rpartition("_")[2], "")
        value: float | str | None = None
        if raw is not None and row in _TEXTS:
            value = _TEXTS[row](raw)
        elif raw is not None:
            number = row.decode(raw, powers[row.scaled_by])
            unit, factor = _IN_10MWH[unit] if in_10mwh and row.capacity else (unit, 1.0)
            value = None if number is None else _rounded(number * factor)
        yield Reading(row.name, row.command, raw, value, unit, raw is not None)


def _specification(raw: int) -> str:
    powers = sbs.powers_of(raw)
    version = _VERSIONS.get(sbs.version_of(raw), "unknown version")
    return f"{version}, V x{10 ** powers[ScaledBy.VSCALE]}, A x{10 ** powers[ScaledBy.IPSCALE]}"


def _date(raw: int) -> str | None:
    made = sbs.date_of(raw)
    return None if made is None else "{}-{:02d}-{:02d}".format(*made)


_TEXTS: dict[Register, Callable[[int], str | None]] = {
    sbs.MODE: "0x{:04x}".format,
    sbs.STATUS: lambda raw: sbs.error_of(raw)[0],
    sbs.SPECIFICATION: _specification,
    sbs.MANUFACTURED: _date,
}


def _texts(device: SmbusDevice) -> Iterator[Reading]:
    for name, _, command in sbs.TEXTS:
        text = _reply(device.read_text, command)
        raw = None if text is None else text.encode().hex()
        yield Reading(name, command, raw, text, "", text is not None)


def _rounded(value: float) -> float:
    return int(value) if float(value).is_integer() else round(value, _DECIMALS)


# ---------------------------------------------------------------------- blocks and status words


def _part(device: SmbusDevice) -> Part | None:
    """The part by its own data, `None` if it is no BQ40."""
    replies = [_manufacturer_block(device, block) for block in (FIRMWARE_VERSION, DEVICE_TYPE)]
    return part_of(*replies)


def _status_word(device: SmbusDevice, word: StatusWord) -> int | None:
    data = _reply(device.read_manufacturer, word.selector, word.length)
    return None if data is None else _integer(data[: word.length])


def _manufacturer_block(device: SmbusDevice, block: Block) -> bytes | None:
    return _reply(device.read_manufacturer, block.selector, _length(block))


def _length(block: Block) -> int:
    return max((field.offset + field.size for field in block.fields), default=_MAX_BYTES)


def _vendor_blocks(device: SmbusDevice, profile: Profile) -> Iterator[Reading]:
    """Yield the fields of the blocks that a pack has instead of words."""
    for row in (*profile.cells, *profile.replaced, *profile.extra):
        if isinstance(row, BlockRead) and row.access is not AccessMethod.MANUFACTURER:
            read = device.read_raw if row.access is AccessMethod.RAW else device.read_block
            yield from _fields(row.block, _reply(read, row.command, row.length))


def _fields(block: Block, data: bytes | None) -> Iterator[Reading]:
    values = decode_block(block, data or b"")
    if not values:
        text = (data or b"").hex() or None
        yield Reading(block.name, block.selector, text, text, "", data is not None)
    for row in block.fields:
        if row.name in values:
            raw = _integer((data or b"")[row.offset : row.offset + row.size], row.order)
            # An absent cell reads 0 V, an absent sensor 0 K.
            absent = raw == 0 and (row.zero != 0.0 or (row.unit == "V" and "cell" in row.name))
            value = None if absent else _rounded(values[row.name])
            yield Reading(f"{block.name}.{row.name}", block.selector, raw, value, row.unit)


def _integer(data: bytes, order: Literal["little", "big"] = "little") -> int:
    return int.from_bytes(data, order)


def _flags(word: StatusWord, raw: int | None) -> Iterator[Flag]:
    data = b"" if raw is None else raw.to_bytes(word.length, "little")
    return (Flag(word.name, bit.bit, bit.name, bit.text) for bit in decode_bits(word, data))

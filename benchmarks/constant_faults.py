# SPDX-License-Identifier: Apache-2.0
"""Constant faults of a gauge behind a right PEC, at the wire between gauge and driver. Library.

A fault changes the numbers of every reply from one moment on; the PEC is that of the changed bytes, so
that no check of a transfer can notice it. The other readings of the pack, and the pack itself, go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from benchmarks.wire_data import WHOLE_BYTES, WireNumber, WireReader
from dronebms.core.clock import Clock
from smartbattery import registers as sbs
from smartbattery.bus import Bus
from smartbattery.errors import NackError
from smartbattery.registers import MODE_CAPACITY_IN_10MWH, powers_of

VSCALE_BIT, IPSCALE_BIT = 1 << 8, 1 << 12  # lowest bits of the two in SpecificationInfo
_PCT, _MV_PER_V = 100.0, 1000.0


class How(Enum):
    """How a fault changes a number."""

    STUCK = "stuck"  # at the number it had
    STUCK_AT = "stuck at"
    GAIN = "times"  # limited to the range of the register
    WRAP = "wraps, times"  # modulo the range of the register
    OFFSET = "plus"
    POINTS = "plus points"  # per cent of the full charge
    FLIP = "bits flipped"
    OTHER = "answers"  # another register


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the numbers of some fields."""

    fields: tuple[str, ...]
    how: How
    size: float = 0.0
    others: tuple[str, ...] = ()  # that answer in place of the fields


class Device(Enum):
    """Another pack on the same bus."""

    OWN = "own"
    OTHER = "another pack"
    BOTH = "two packs at once"
    IN_TURN = "two packs in turn"


@dataclass(frozen=True, slots=True)
class ConstantFault:
    """A fault from one moment on.

    Attributes:
        size: as printed; `named` states whether the goals hold for it whatever it changes.
        charge: start charge of the second pack; its serial number is the same for `same_serial`.
    """

    kind: str
    register: str
    size: str
    changes: tuple[Change, ...] = ()
    device: Device = Device.OWN
    charge_frac: float = 0.0
    same_serial: bool = False
    named: bool = False

    @property
    def name(self) -> str:
        """Text of a table."""
        return f"{self.register} {self.kind} {self.size}".strip()


def cell(index: int) -> str:
    """Field of a cell, from 0."""
    return f"cell{index + 1}_v"


def faults(cells: int) -> tuple[ConstantFault, ...]:
    """Every fault of the campaign, for a pack of some cells."""
    return (*_of_cells(cells), *_of_pack(), *_of_current(), *_of_charge(), *_of_scale(),
            *_of_mode(), *_swaps(cells), *_of_devices(), *_of_rest())  # fmt: skip


def _of_cells(cells: int) -> list[ConstantFault]:
    last, every = cell(cells - 1), tuple(map(cell, range(cells)))
    rows = [
        ConstantFault("stuck", "last cell", "", (Change((last,), How.STUCK),)),
        ConstantFault("stuck", "every cell", "", (Change(every, How.STUCK),)),
        ConstantFault("gain", "every cell", "x 1.05", (Change(every, How.GAIN, 1.05),)),
        ConstantFault("wrap", "last cell", "x 16", (Change((last,), How.WRAP, 16.0),)),
    ]
    for volts in (0.02, 0.05, 0.1, -0.1, 0.2, -0.3, 0.5):
        change = Change((last,), How.OFFSET, volts)
        rows.append(ConstantFault("offset", "last cell", f"{volts:+.2f} V", (change,)))
    for volts in (0.1, -0.2):
        change = Change(every, How.OFFSET, volts)
        rows.append(ConstantFault("offset", "every cell", f"{volts:+.2f} V", (change,)))
    for volts in (3.9, 2.5):
        change = Change((last,), How.STUCK_AT, volts)
        rows.append(ConstantFault("stuck", "last cell", f"at {volts:g} V", (change,)))
    return rows


def _of_pack() -> list[ConstantFault]:
    name = ("voltage_v",)
    rows = [
        ConstantFault("stuck", "Voltage", "", (Change(name, How.STUCK),)),
        ConstantFault("stuck", "Voltage", "at 16 V", (Change(name, How.STUCK_AT, 16.0),)),
        ConstantFault("wrap", "Voltage", "x 8", (Change(name, How.WRAP, 8.0),)),
    ]
    rows += [
        ConstantFault("gain", "Voltage", f"x {gain:g}", (Change(name, How.GAIN, gain),))
        for gain in (0.5, 0.93, 0.97, 0.99, 1.01, 1.02, 1.03, 1.07, 2.0)
    ]
    for volts in (0.2, 0.6, -0.6):
        change = Change(name, How.OFFSET, volts)
        rows.append(ConstantFault("offset", "Voltage", f"{volts:+.1f} V", (change,)))
    return rows


def _of_current() -> list[ConstantFault]:
    name = ("current_a", "average_a")
    rows = [
        ConstantFault("stuck", "Current", "", (Change(name, How.STUCK),)),
        ConstantFault("stuck", "Current", "at 0 A", (Change(name, How.STUCK_AT, 0.0),)),
        ConstantFault("stuck", "Current", "at 5 A", (Change(name, How.STUCK_AT, 5.0),)),
        ConstantFault("stuck", "Current alone", "at 5 A", (Change(name[:1], How.STUCK_AT, 5.0),)),
        ConstantFault("wrap", "Current", "x 2", (Change(name, How.WRAP, 2.0),)),
    ]
    rows += [
        ConstantFault("gain", "Current", f"x {gain:g}", (Change(name, How.GAIN, gain),))
        for gain in (-1.0, 0.1, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 3.0)
    ]
    for amps in (-0.5, 2.0, -5.0, 10.0):
        change = Change(name, How.OFFSET, amps)
        rows.append(ConstantFault("offset", "Current", f"{amps:+g} A", (change,)))
    return rows


def _of_charge() -> list[ConstantFault]:
    pct, mah, full = "soc_pct", "remaining_mah", "full_mah"
    rows = [
        ConstantFault("stuck", "charge", "", (Change((pct, mah), How.STUCK),)),
        ConstantFault("stuck", "RemainingCapacity", "", (Change((mah,), How.STUCK),)),
        ConstantFault("gain", "FullChargeCapacity", "x 2", (Change((full,), How.GAIN, 2.0),)),
        ConstantFault("stuck", "FullChargeCapacity", "at 1 mAh", (Change((full,), How.STUCK_AT, 1.0),)),
        ConstantFault("stuck", "charge", "at 0", (Change((pct, mah), How.STUCK_AT, 0.0),)),
    ]  # fmt: skip
    for points in (-20.0, -10.0, -5.0, 5.0, 10.0, 20.0, 40.0):
        change = Change((pct, mah), How.POINTS, points)
        rows.append(ConstantFault("offset", "charge", f"{points:+g} points", (change,)))
    for points in (-10.0, 10.0, 40.0):
        change = Change((mah,), How.POINTS, points)
        rows.append(ConstantFault("offset", "RemainingCapacity", f"{points:+g} points", (change,)))
    return rows


def _of_scale() -> list[ConstantFault]:
    specification = (sbs.SPECIFICATION.field,)
    volts = ("voltage_v", "design_v")
    amps = ("current_a", "average_a", "remaining_mah", "full_mah", "design_mah")
    rows = []
    for name, bit, fields in (("VScale", VSCALE_BIT, volts), ("IPScale", IPSCALE_BIT, amps)):
        flip = Change(specification, How.FLIP, float(bit))
        tenth = Change(fields, How.GAIN, 0.1)
        rows += [
            ConstantFault("scale", name, "0 to 1, words as before", (flip,), named=True),
            ConstantFault("scale", name, "as before, words a tenth", (tenth,), named=True),
            ConstantFault("scale", name, "0 to 1, words a tenth", (flip, tenth)),
        ]
    return rows


def _of_mode() -> list[ConstantFault]:
    flip = Change((sbs.MODE.field,), How.FLIP, float(MODE_CAPACITY_IN_10MWH))
    # 1 mAh is 1.5 units of 10 mWh at the design voltage of four cells.
    words = Change(("remaining_mah", "full_mah", "design_mah"), How.GAIN, 1.5)
    return [
        ConstantFault("mode", "CAPACITY_MODE", "set, words as before", (flip,), named=True),
        ConstantFault("mode", "CAPACITY_MODE", "as before, words in 10 mWh", (words,), named=True),
        ConstantFault("mode", "CAPACITY_MODE", "set, words in 10 mWh", (flip, words)),
    ]


def _swaps(cells: int) -> list[ConstantFault]:
    every = tuple(map(cell, range(cells)))

    def answers(fields: Sequence[str], others: Sequence[str], text: str, who: str) -> ConstantFault:
        return ConstantFault("swap", who, text, (Change(tuple(fields), How.OTHER, others=tuple(others)),))  # fmt: skip

    return [
        answers(every, every[::-1], "in reverse order", "cells"),
        answers(every[1:], (every[0],) * (cells - 1), "answer the first", "cells"),
        answers(every[-1:], every[:1], "answers the first", "last cell"),
        answers(("voltage_v",), every[:1], "answers a cell", "Voltage"),
        answers(every[-1:], ("voltage_v",), "answers Voltage", "last cell"),
        answers(("current_a",), ("average_a",), "answers AverageCurrent", "Current"),
        answers(("current_a",), ("voltage_v",), "answers Voltage", "Current"),
        answers(("remaining_mah",), ("full_mah",), "answers the full charge", "RemainingCapacity"),
        answers(("soc_pct",), ("max_error_pct",), "answers MaxError", "RelativeStateOfCharge"),
        answers(("temperature_degc",), ("voltage_v",), "answers Voltage", "Temperature"),
    ]


def _of_devices() -> list[ConstantFault]:
    rows = []
    for device in (Device.OTHER, Device.BOTH, Device.IN_TURN):
        for charge_frac in (0.1, 0.9):
            for same in (False, True):
                size = f"at {charge_frac:.0%}, {'same' if same else 'own'} serial number"
                rows.append(
                    ConstantFault("device", device.value, size, (), device, charge_frac, same, named=True)
                )  # fmt: skip
    return rows


def _of_rest() -> list[ConstantFault]:
    degc = ("temperature_degc",)
    rows = [
        ConstantFault("stuck", "Temperature", "", (Change(degc, How.STUCK),)),
        ConstantFault("stuck", "BatteryStatus", "at 0", (Change(("status_raw",), How.STUCK_AT, 0.0),)),
        ConstantFault("stuck", "SerialNumber", "at 1", (Change(("serial",), How.STUCK_AT, 1.0),)),
        ConstantFault("stuck", "DesignCapacity", "at 1 Ah", (Change(("design_mah",), How.STUCK_AT, 1000.0),)),
        ConstantFault("stuck", "CycleCount", "at 60000", (Change(("cycles",), How.STUCK_AT, 60000.0),)),
    ]  # fmt: skip
    for kelvin in (-20.0, 20.0, 60.0):
        change = Change(degc, How.OFFSET, kelvin)
        rows.append(ConstantFault("offset", "Temperature", f"{kelvin:+g} K", (change,)))
    return rows


@dataclass
class Readings:
    """Newest value of each field, as the gauge had it and as the host read it."""

    true: dict[str, float] = field(default_factory=dict)
    read: dict[str, float] = field(default_factory=dict)


class FaultyWire:
    """A bus whose replies have a constant fault from `start_s` on.

    Args:
        own: bus of the pack that flies.
        other: bus of a second pack; `own` where the fault brings none.
        clock: time of the flight.
        reader: of the replies of these gauges.
        fault: `None` changes nothing.
    """

    def __init__(
        self, own: Bus, other: Bus, clock: Clock, reader: WireReader, fault: ConstantFault | None
    ) -> None:
        self.readings = Readings()
        self.start_s = 0.0
        self._own, self._other = own, other
        self._clock, self._reader, self._fault = clock, reader, fault
        self._stuck: dict[str, int] = {}
        self._powers = powers_of(0)
        self._transfers = 0

    @property
    def active(self) -> bool:
        """Whether the fault has begun."""
        return self._fault is not None and self._clock.now_s() >= self.start_s

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Pass a transfer on; a reply has the fault."""
        self._reader.note(tx, rx_len)
        self._transfers += 1
        fault = self._fault if self.active else None
        if not rx_len:
            if fault is not None and fault.device is not Device.OWN:
                self._other.transfer(address, tx, rx_len)
            return self._own.transfer(address, tx, rx_len)
        own = self._own.transfer(address, tx, WHOLE_BYTES)
        reply = own if fault is None else self._changed(fault, address, tx, own)
        self._note(tx, own, reply)
        whole = reply[: self._reader.length(tx, reply)]
        if fault is not None and fault.device is Device.BOTH:
            return reply[:rx_len]  # the PEC is that of the line
        sealed = self._reader.sealed(tx, whole)
        return sealed[:rx_len].ljust(rx_len, b"\xff")

    def _changed(self, fault: ConstantFault, address: int, tx: bytes, own: bytes) -> bytes:
        if fault.device is not Device.OWN:
            return self._of_device(fault.device, address, tx, own)
        reply = own
        for change in fault.changes:
            for index, name in enumerate(change.fields):
                for number in self._reader.numbers(tx):
                    if number.name == name:
                        raw = self._raw(change, index, number, address, own)
                        reply = number.written(reply, raw)
        return reply

    def _of_device(self, device: Device, address: int, tx: bytes, own: bytes) -> bytes:
        other = self._other.transfer(address, tx, WHOLE_BYTES)
        if device is Device.BOTH:
            return bytes(a & b for a, b in zip(own, other, strict=True))
        return other if device is Device.OTHER or self._transfers % 2 else own

    def _raw(
        self, change: Change, index: int, number: WireNumber, address: int, reply: bytes
    ) -> int:
        """Number of a field with the change."""
        raw, size = number.raw(reply), change.size
        low = -(1 << 8 * number.size - 1) if number.signed else 0
        high = low + (1 << 8 * number.size) - 1
        stuck = self._stuck.setdefault(number.name, raw)
        if change.how is How.STUCK:
            return stuck
        if change.how is How.FLIP:
            return raw ^ int(size)
        if change.how is How.OTHER:
            return self._other_raw(change.others[index], address, raw)
        value = {
            How.STUCK_AT: (size - number.zero) / number.scale,
            How.GAIN: raw * size,
            How.WRAP: raw * size,
            How.OFFSET: raw + size / number.scale,
            How.POINTS: raw + size / _PCT * self._whole(number),
        }[change.how]
        return round(value) if change.how is How.WRAP else min(max(round(value), low), high)

    def _whole(self, number: WireNumber) -> float:
        """Number of a full pack."""
        return _PCT if number.name == "soc_pct" else self.readings.true.get("full_mah", 0.0)

    def _other_raw(self, name: str, address: int, raw: int) -> int:
        """Number of another field, of the same reply or by a transfer of its own."""
        command = self._reader.command_of(name)
        if command is None:  # a block carries it, in millivolts
            value = self.readings.true.get(name)
            return raw if value is None else round(value * _MV_PER_V)
        try:
            word = self._own.transfer(address, bytes((command,)), WHOLE_BYTES)
        except NackError:
            return raw
        return int.from_bytes(word[:2], "little")

    def _note(self, tx: bytes, own: bytes, reply: bytes) -> None:
        for number in self._reader.numbers(tx):
            if number.name == sbs.SPECIFICATION.field:
                self._powers = powers_of(number.raw(reply))
            power = self._powers[number.scaled_by]
            self.readings.true[number.name] = number.value(number.raw(own), 0)
            self.readings.read[number.name] = number.value(number.raw(reply), power)

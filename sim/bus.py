"""The virtual wire: raw transfers to virtual devices, and what can go wrong on the way.

Implements `smartbattery.bus.Bus`. Before each transfer the world catches up with the clock.
Transfers take no time, also those that fail.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import and_
from typing import Protocol

import numpy as np

from dronebms.clock import Clock
from sim.faults import BAD_PEC, BAD_PEC_FRAC, NACK, NACK_FRAC, STUCK, UNPLUG, Fault, Part
from smartbattery.errors import BusTimeoutError, NackError


class Device(Protocol):
    """What answers at an address."""

    def reply(self, tx: bytes, rx_len: int) -> bytes:
        """Return `rx_len` bytes to what the host wrote; raise `NackError` to refuse it."""
        ...


class Advancing(Protocol):
    """What moves with the clock."""

    def advance(self, t_s: float) -> None:
        """Be at this time of the flight."""
        ...


class VirtualBus:
    """Devices by their 7-bit address; the generator decides which transfers a fault hits."""

    def __init__(
        self,
        clock: Clock,
        world: Advancing,
        devices: Mapping[int, Device],
        faults: Sequence[Fault],
        random: np.random.Generator,
    ) -> None:
        self._clock = clock
        self._world = world
        self._devices = devices
        self._faults = tuple(fault for fault in faults if fault.part is Part.WIRE)
        self._random = random

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Carry one transfer out; see `smartbattery.bus.Bus`."""
        now_s = self._clock.now_s()
        self._world.advance(now_s)
        active = [fault.name for fault in self._faults if fault.active(now_s)]
        self._block(active, address, tx)
        device = self._devices.get(address)
        if device is None:
            raise _nack(address, tx, "nobody is there")
        reply = device.reply(tx, rx_len)
        return self._flipped(reply) if BAD_PEC.name in active else reply

    def _block(self, active: Sequence[str], address: int, tx: bytes) -> None:
        if STUCK.name in active:
            raise BusTimeoutError(f"0x{address:02x} {tx.hex(' ')}: the bus is held down")
        if UNPLUG.name in active:
            raise _nack(address, tx, "the plug is off")
        if NACK.name in active and self._random.random() < NACK_FRAC:
            raise _nack(address, tx, "it was busy")

    def _flipped(self, reply: bytes) -> bytes:
        """Return a reply with one bit turned round now and then."""
        if not reply or self._random.random() >= BAD_PEC_FRAC:
            return reply
        bit = int(self._random.integers(8 * len(reply)))
        wrong = bytearray(reply)
        wrong[bit // 8] ^= 1 << bit % 8
        return bytes(wrong)


def _nack(address: int, tx: bytes, why: str) -> NackError:
    return NackError(f"0x{address:02x} did not acknowledge {tx.hex(' ')}: {why}")


class VirtualMux:
    """A TCA9548A: a control byte, and channels with devices of their own behind it.

    Args:
        channels: devices by their address, by channel 0..7.
    """

    def __init__(self, channels: Mapping[int, Mapping[int, Device]]) -> None:
        self._channels = channels
        self._control = b"\x00"

    def devices(self, address: int) -> dict[int, Device]:
        """Return what a bus finds when the multiplexer is at an address: itself, what is behind."""
        behind = {there for devices in self._channels.values() for there in devices}
        ports: dict[int, Device] = {there: _Port(self, there) for there in behind}
        return {**ports, address: self}

    def reply(self, tx: bytes, rx_len: int) -> bytes:
        """Take the last byte written as the choice; a read returns it."""
        self._control = tx[-1:] or self._control
        return self._control * rx_len

    def open_at(self, address: int) -> list[Device]:
        """Return the devices of one address on the channels that are open."""
        return [
            devices[address]
            for channel, devices in self._channels.items()
            if self._control[0] >> channel & 1 and address in devices
        ]


class _Port:
    """Whatever has one address behind a multiplexer; several at once pull the line low together."""

    def __init__(self, mux: VirtualMux, address: int) -> None:
        self._mux = mux
        self._address = address

    def reply(self, tx: bytes, rx_len: int) -> bytes:
        replies = []
        for device in self._mux.open_at(self._address):
            try:
                replies.append(device.reply(tx, rx_len))
            except NackError:
                continue
        if not replies:
            raise _nack(self._address, tx, "no channel is open, or it refused")
        return bytes(reduce(and_, column) for column in zip(*replies, strict=True))

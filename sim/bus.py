"""The virtual wire: raw transfers to virtual devices, and what can go wrong on the way.

Implements `smartbattery.bus.Bus`. Before each transfer the world catches up with the clock.
Transfers take no time, also those that fail.
"""

from collections.abc import Mapping, Sequence
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

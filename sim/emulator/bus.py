"""The virtual wire: raw transfers to virtual devices, and what can go wrong on the way.

Implements `smartbattery.bus.Bus`. Before each transfer the world catches up with the clock.
Transfers take no time, also those that fail, unless a device stretches the clock line.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import and_
from types import MappingProxyType
from typing import Protocol

import numpy as np

from dronebms.core.clock import Clock
from sim.plant import faults as wrong
from sim.plant.faults import Fault, FaultSite
from smartbattery.errors import BusTimeoutError, NackError

# What a host waits for at most: SMBus 2.0 T_TIMEOUT, and the Raspberry Pi's driver since 2019.
ADAPTER_TIMEOUT_S = 0.035


class Device(Protocol):
    """What answers at an address."""

    def addressed(self) -> float:
        """Hear its address; return the seconds for which it then holds the clock line."""

    def reply(self, tx: bytes, rx_len: int) -> bytes:
        """Return `rx_len` bytes to what the host wrote; raise `NackError` to refuse it."""


class Simulation(Protocol):
    """What moves with the clock."""

    def advance(self, t_s: float) -> None:
        """Be at this time of the flight."""


NO_DEVICES: Mapping[int, Device] = MappingProxyType({})


class VirtualBus:
    """Devices by their 7-bit address; the generator decides which transfers a fault hits.

    Args:
        clock: whose time it is.
        worlds: what is behind the devices.
        devices: who answers.
        faults: what goes wrong; those of the wire are at work here.
        random: of the faults.
        strangers: who answers instead, or too, when a fault says so.
    """

    def __init__(
        self,
        clock: Clock,
        worlds: Sequence[Simulation],
        devices: Mapping[int, Device],
        faults: Sequence[Fault],
        random: np.random.Generator,
        other_devices: Mapping[int, Device] = NO_DEVICES,
    ) -> None:
        self._clock = clock
        self._worlds = worlds
        self._devices = devices
        self._strangers = other_devices
        self._faults = tuple(fault for fault in faults if fault.site is FaultSite.WIRE)
        self._random = random

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Carry one transfer out; see `smartbattery.bus.Bus`."""
        now_s = self._clock.now_s()
        for world in self._worlds:
            world.advance(now_s)
        active = [fault for fault in self._faults if fault.active(now_s)] if self._faults else ()
        if active:
            self._block(active, address, tx)
        device = self._answering(active, address)
        if device is None:
            raise _nack(address, tx, "nobody is there")
        hold_s = device.addressed()
        if active:
            hold_s += sum(wrong.active_sizes(active, wrong.STRETCH, now_s))
        if hold_s:
            self._hold(hold_s, address, tx)
        reply = device.reply(tx, rx_len)
        return self._spoilt(active, reply) if active and reply else reply

    def _answering(self, active: Sequence[Fault], address: int) -> Device | None:
        own = self._devices.get(address)
        if active and address in self._strangers:
            names, other = {fault.name for fault in active}, self._strangers[address]
            if wrong.WRONG_PACK.name in names:
                return other
            if wrong.TWO_PACKS.name in names:
                return other if own is None else WiredAnd(address, (own, other))
        return own

    def _block(self, active: Sequence[Fault], address: int, tx: bytes) -> None:
        for fault in active:
            if fault.name == wrong.STUCK.name:
                raise BusTimeoutError(f"0x{address:02x} {tx.hex(' ')}: the bus is held down")
            if fault.name == wrong.UNPLUG.name:
                raise _nack(address, tx, "the plug is off")
            if fault.name == wrong.NACK.name and self._random.random() < fault.size:
                raise _nack(address, tx, "it was busy")

    def _hold(self, hold_s: float, address: int, tx: bytes) -> None:
        """Let time pass while the clock line is held down, as long as the host waits."""
        self._clock.sleep_until(self._clock.now_s() + min(hold_s, ADAPTER_TIMEOUT_S))
        if hold_s > ADAPTER_TIMEOUT_S:
            raise BusTimeoutError(
                f"0x{address:02x} {tx.hex(' ')}: the clock was stretched for {hold_s:.3f} s"
            )

    def _spoilt(self, active: Sequence[Fault], reply: bytes) -> bytes:
        """Return what the host reads of a reply."""
        bits = int.from_bytes(reply)
        for fault in active:
            if fault.name == wrong.BAD_PEC.name and self._random.random() < fault.size:
                bits ^= 1 << int(self._random.integers(8))
            if fault.name == wrong.BIT_FLIPS.name:
                flips = self._random.random(8 * len(reply)) < fault.size
                bits ^= int.from_bytes(np.packbits(flips).tobytes())
        return bits.to_bytes(len(reply))


class WiredAnd:
    """Devices that answer at once: each pulls the line low for its zeros."""

    def __init__(self, address: int, devices: Sequence[Device]) -> None:
        self._address = address
        self._devices = devices

    def addressed(self) -> float:
        """Hold the clock line for as long as the slowest does."""
        return max((device.addressed() for device in self._devices), default=0.0)

    def reply(self, tx: bytes, rx_len: int) -> bytes:
        """Return what all of them that do not refuse leave high."""
        replies = []
        for device in self._devices:
            try:
                replies.append(device.reply(tx, rx_len))
            except NackError:
                continue
        if not replies:
            raise _nack(self._address, tx, "none of them takes it")
        return bytes(reduce(and_, column) for column in zip(*replies, strict=True))


def _nack(address: int, tx: bytes, why: str) -> NackError:
    return NackError(f"0x{address:02x} did not acknowledge {tx.hex(' ')}: {why}")

# SPDX-License-Identifier: Apache-2.0
"""Virtual bus: raw transfers to virtual devices, with the bus faults of a scenario.

Implements `smartbattery.bus.Bus`. Before each transfer the simulation advances to the time of the
clock. A transfer takes no time, also one that fails, unless a device stretches the clock line.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import and_
from types import MappingProxyType
from typing import Protocol

import numpy as np

from dronebms.core.clock import Clock
from sim.plant import faults as rows
from sim.plant.faults import Fault, FaultSite, active_sizes
from smartbattery.errors import BusTimeoutError, NackError

# Longest wait of a host: SMBus 2.0 T_TIMEOUT, and the Raspberry Pi's driver since 2019.
ADAPTER_TIMEOUT_S = 0.035


class Device(Protocol):
    """A device at an address."""

    def addressed(self) -> float:
        """Receive its address; the seconds for which it then stretches the clock line."""

    def reply(self, tx: bytes, rx_len: int) -> bytes:
        """Reply with `rx_len` bytes to the bytes of the host; raise `NackError` to refuse them."""


class Simulation(Protocol):
    """A simulation that advances with the clock."""

    def advance(self, t_s: float) -> None:
        """Advance to this time of the flight."""


NO_DEVICES: Mapping[int, Device] = MappingProxyType({})


class VirtualBus:
    """Devices by their 7-bit address.

    Args:
        clock: time of each transfer.
        worlds: simulations behind the devices.
        devices: by address.
        faults: of the scenario; those of the bus act here.
        random: decides which transfers a fault affects.
        other_devices: devices of a second pack, which answer during a fault that brings it.
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
        self._other_devices = other_devices
        self._faults = tuple(fault for fault in faults if fault.site is FaultSite.WIRE)
        self._random = random

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Do one transfer; see `smartbattery.bus.Bus`."""
        now_s = self._clock.now_s()
        for world in self._worlds:
            world.advance(now_s)
        active = [fault for fault in self._faults if fault.active(now_s)] if self._faults else ()
        if active:
            self._block(active, address, tx)
        device = self._device_at(active, address)
        if device is None:
            raise _nack(address, tx, "no device")
        stretch_s = device.addressed()
        if active:
            stretch_s += sum(active_sizes(active, rows.STRETCH, now_s))
        if stretch_s:
            self._stretch(stretch_s, address, tx)
        reply = device.reply(tx, rx_len)
        return self._corrupted(active, reply) if active and reply else reply

    def _device_at(self, active: Sequence[Fault], address: int) -> Device | None:
        own = self._devices.get(address)
        if active and address in self._other_devices:
            names = {fault.name for fault in active}
            other = self._other_devices[address]
            if rows.WRONG_PACK.name in names:
                return other
            if rows.TWO_PACKS.name in names:
                return other if own is None else WiredAnd(address, (own, other))
        return own

    def _block(self, active: Sequence[Fault], address: int, tx: bytes) -> None:
        for fault in active:
            if fault.name == rows.STUCK.name:
                raise BusTimeoutError(f"0x{address:02x} {tx.hex(' ')}: the bus is held low")
            if fault.name == rows.UNPLUG.name:
                raise _nack(address, tx, "the plug is off")
            if fault.name == rows.NACK.name and self._random.random() < fault.size:
                raise _nack(address, tx, "it was busy")

    def _stretch(self, stretch_s: float, address: int, tx: bytes) -> None:
        """Let time pass while the clock line is held low, up to the timeout of the host."""
        self._clock.sleep_until(self._clock.now_s() + min(stretch_s, ADAPTER_TIMEOUT_S))
        if stretch_s > ADAPTER_TIMEOUT_S:
            raise BusTimeoutError(
                f"0x{address:02x} {tx.hex(' ')}: the clock was stretched for {stretch_s:.3f} s"
            )

    def _corrupted(self, active: Sequence[Fault], reply: bytes) -> bytes:
        """The reply as the host receives it."""
        bits = int.from_bytes(reply)
        for fault in active:
            if fault.name == rows.BAD_PEC.name and self._random.random() < fault.size:
                bits ^= 1 << int(self._random.integers(8))
            if fault.name == rows.BIT_FLIPS.name:
                flips = self._random.random(8 * len(reply)) < fault.size
                bits ^= int.from_bytes(np.packbits(flips).tobytes())
        return bits.to_bytes(len(reply))


class WiredAnd:
    """Devices that answer at once: each pulls the line low for its zeros."""

    def __init__(self, address: int, devices: Sequence[Device]) -> None:
        self._address = address
        self._devices = devices

    def addressed(self) -> float:
        """Clock stretching of the slowest device."""
        return max((device.addressed() for device in self._devices), default=0.0)

    def reply(self, tx: bytes, rx_len: int) -> bytes:
        """The bits that every device that does not refuse leaves high."""
        replies = []
        for device in self._devices:
            try:
                replies.append(device.reply(tx, rx_len))
            except NackError:
                continue
        if not replies:
            raise _nack(self._address, tx, "every device refuses it")
        return bytes(reduce(and_, column) for column in zip(*replies, strict=True))


def _nack(address: int, tx: bytes, reason: str) -> NackError:
    return NackError(f"0x{address:02x} did not acknowledge {tx.hex(' ')}: {reason}")

# SPDX-License-Identifier: Apache-2.0
"""A virtual TCA9548A, and packs behind its channels."""

from collections.abc import Mapping, Sequence

from dronebms.core.clock import Clock
from sim.emulator.bus import Device, VirtualBus, WiredAnd
from sim.emulator.world import RandomStream, World, random_generator
from smartbattery.registers import ADDRESS

MUX_ADDRESS = 0x70


class VirtualMux:
    """A TCA9548A: a control byte, and channels with devices of their own behind it.

    Args:
        channels: devices by their address, by channel 0..7.
    """

    def __init__(self, channels: Mapping[int, Mapping[int, Device]]) -> None:
        self._channels = channels
        self._control = b"\x00"

    def devices(self, address: int) -> dict[int, Device]:
        """Devices of a bus with the multiplexer at an address: itself and those behind it."""
        behind = {there for devices in self._channels.values() for there in devices}
        ports: dict[int, Device] = {there: _Port(self, there) for there in behind}
        return {**ports, address: self}

    def addressed(self) -> float:
        """No clock stretching."""
        return 0.0

    def reply(self, tx: bytes, rx_len: int) -> bytes:
        """The last byte written selects channels; a read returns it."""
        self._control = tx[-1:] or self._control
        return self._control * rx_len

    def open_at(self, address: int) -> WiredAnd:
        """Return the devices of one address on the channels that are open."""
        opened = [
            devices[address]
            for channel, devices in self._channels.items()
            if self._control[0] >> channel & 1 and address in devices
        ]
        return WiredAnd(address, opened)


class _Port:
    """The devices of one address behind a multiplexer."""

    def __init__(self, mux: VirtualMux, address: int) -> None:
        self._mux = mux
        self._address = address

    def addressed(self) -> float:
        return self._mux.open_at(self._address).addressed()

    def reply(self, tx: bytes, rx_len: int) -> bytes:
        return self._mux.open_at(self._address).reply(tx, rx_len)


def open_behind_mux(worlds: Sequence[World], clock: Clock) -> VirtualBus:
    """A bus with a multiplexer and the pack of each flight behind a channel."""
    channels = {channel: {ADDRESS: world.device} for channel, world in enumerate(worlds)}
    devices = VirtualMux(channels).devices(MUX_ADDRESS)
    return VirtualBus(clock, worlds, devices, (), random_generator(0, RandomStream.WIRE))

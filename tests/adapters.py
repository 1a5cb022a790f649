# SPDX-License-Identifier: Apache-2.0
"""The stand-in for smbus2.SMBus in front of any bus, and a board with multiplexers.

Functionality of the adapters: kernel drivers i2c-i801.c and i2c-bcm2835.c.
"""

import errno
from collections.abc import Mapping

from smbus2.smbus2 import I2cFunc

from sim.emulator.smbus2_stub import SMBus
from smartbattery.bus import Bus
from smartbattery.errors import NackError

BCM2835 = 0x0EFF0009  # raw transfers; SMBus calls by emulation
I801 = int(
    I2cFunc.SMBUS_QUICK
    | I2cFunc.SMBUS_BYTE
    | I2cFunc.SMBUS_BYTE_DATA
    | I2cFunc.SMBUS_WORD_DATA
    | I2cFunc.SMBUS_BLOCK_DATA
    | I2cFunc.SMBUS_I2C_BLOCK
    | I2cFunc.SMBUS_PEC
)


class Tapped:
    """A bus that logs its transfers."""

    def __init__(self, bus: Bus) -> None:
        self.log: list[tuple[int, bytes, int]] = []
        self._bus = bus

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Log the transfer, then do it."""
        self.log.append((address, tx, rx_len))
        return self._bus.transfer(address, tx, rx_len)


class AdapterStandIn(SMBus):
    """An open adapter; an absent address is EREMOTEIO as in i2c-bcm2835, a held bus ETIMEDOUT.

    Attributes:
        log: transfers on the bus.
    """

    nack_errno = errno.EREMOTEIO

    def __init__(self, bus: Bus, funcs: int = BCM2835) -> None:
        tapped = Tapped(bus)
        self.log = tapped.log
        super().__init__(1, pack=tapped, funcs=funcs)


class MuxBoard:
    """Multiplexers as TI SCPS207 describes them, with a whole bus on each of some channels."""

    def __init__(self, channels: Mapping[tuple[int, int], Bus]) -> None:
        self._channels = dict(channels)  # (multiplexer, channel)
        self._open = dict.fromkeys((mux for mux, _ in channels), 0)

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Reply as the hardware: the bus of the open channel answers, two open ones collide."""
        if address in self._open:
            self._open[address] = tx[0]
            return b""
        open_buses = [
            bus for (mux, channel), bus in self._channels.items() if self._open[mux] >> channel & 1
        ]
        assert len(open_buses) < 2, "two packs answered at once"
        if not open_buses:
            raise NackError("no device")
        return open_buses[0].transfer(address, tx, rx_len)

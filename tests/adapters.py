"""The stand-in for smbus2.SMBus in front of any wire, and a board with multiplexers.

What an adapter says it can do: kernel drivers i2c-i801.c and i2c-bcm2835.c.
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
    """A wire that notes what it is asked."""

    def __init__(self, bus: Bus) -> None:
        self.log: list[tuple[int, bytes, int]] = []
        self._bus = bus

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Note it, and pass it on."""
        self.log.append((address, tx, rx_len))
        return self._bus.transfer(address, tx, rx_len)


class AdapterStandIn(SMBus):
    """An open adapter; an absent address is EREMOTEIO as in i2c-bcm2835, a held bus ETIMEDOUT.

    Attributes:
        log: what was on the wire.
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
        """Answer as the wires do: what is behind an open channel hears, two at once collide."""
        if address in self._open:
            self._open[address] = tx[0]
            return b""
        heard = [
            bus for (mux, channel), bus in self._channels.items() if self._open[mux] >> channel & 1
        ]
        assert len(heard) < 2, "two packs answered at once"
        if not heard:
            raise NackError("nobody")
        return heard[0].transfer(address, tx, rx_len)

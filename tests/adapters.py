"""smbus2.SMBus as far as our driver uses it, in front of any wire; and a board with multiplexers.

What an adapter says it can do: kernel drivers i2c-i801.c and i2c-bcm2835.c.
"""

from collections.abc import Mapping, Sequence

import smbus2
from smbus2.smbus2 import I2cFunc

from smartbattery.bus import Bus
from smartbattery.errors import BusTimeoutError, NackError

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


class AdapterStandIn:
    """An open adapter; an absent address is EREMOTEIO as in i2c-bcm2835, a held bus ETIMEDOUT.

    Attributes:
        log: what was on the wire.
    """

    def __init__(self, bus: Bus, funcs: int = BCM2835) -> None:
        self.bus = bus
        self.funcs = funcs
        self.log: list[tuple[int, bytes, int]] = []

    def i2c_rdwr(self, *messages: smbus2.i2c_msg) -> None:
        """Carry out a write, or a write and a read."""
        assert self.funcs & I2cFunc.I2C, "this adapter has no raw transfers"
        write = messages[0]
        length = messages[1].len if len(messages) > 1 else 0
        reply = self._wire(write.addr, bytes(write), length)
        for message in messages[1:]:
            for index, byte in enumerate(reply):
                message.buf[index] = bytes((byte,))

    def read_i2c_block_data(self, address: int, command: int, length: int) -> list[int]:
        """Read bytes as the kernel does: a command, a repeated start, the bytes and no more."""
        return list(self._wire(address, bytes((command,)), length))

    def write_i2c_block_data(self, address: int, command: int, data: Sequence[int]) -> None:
        """Write a command and bytes: no count of its own, no PEC."""
        self._wire(address, bytes((command, *data)), 0)

    def write_byte(self, address: int, value: int) -> None:
        """Write one byte alone."""
        self._wire(address, bytes((value,)), 0)

    def close(self) -> None:
        """Close nothing."""

    def _wire(self, address: int, tx: bytes, rx_len: int) -> bytes:
        self.log.append((address, tx, rx_len))
        try:
            return self.bus.transfer(address, tx, rx_len)
        except NackError as error:
            raise OSError(121, "Remote I/O error") from error
        except BusTimeoutError as error:
            raise OSError(110, "Connection timed out") from error


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

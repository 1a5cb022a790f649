# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - `force` stands in smbus2's signatures
"""Stand-in for `smbus2.SMBus` with a virtual pack behind it, to test programs that use smbus2.

It behaves like the kernel with an adapter of full functionality, or that of `funcs`: the same bytes
on the bus, the same OSError. Its time is that of the system until `t_s` is set. smbus2 itself is
not needed; its messages are accepted.

Sources: smbus2 0.6.1; Linux 6.1 drivers/i2c/i2c-core-smbus.c (which calls have a PEC, what is
emulated), Documentation/i2c/fault-codes.rst, include/uapi/linux/i2c.h.
"""

import errno
import os
from collections.abc import Sequence
from typing import Any

from dronebms.core.clock import SystemClock, VirtualClock
from dronebms.core.service_defaults import SIMULATED
from sim.emulator.world import World, open_virtual
from sim.plant.faults import parse_fault
from smartbattery.bus import Bus
from smartbattery.errors import BatteryError, BusTimeoutError, NackError
from smartbattery.pec import pec
from smartbattery.registers import MAX_BLOCK

# Functionality of an adapter (linux/i2c.h).
I2C = 0x0001
PEC = 0x0008
(
    QUICK, READ_BYTE, WRITE_BYTE, READ_BYTE_DATA, WRITE_BYTE_DATA, READ_WORD, WRITE_WORD,
    PROCESS_CALL, READ_BLOCK, WRITE_BLOCK, READ_I2C_BLOCK, WRITE_I2C_BLOCK,
) = (1 << bit for bit in range(16, 28))  # fmt: skip
ALL_FUNCTIONS = 0x0FFF_0009
_MESSAGE_READS = 0x0001  # flag of a message
_WORD_BYTES = 2
Force = object  # has no effect: no kernel driver owns an address here


class SMBus:
    """An I2C adapter with a smart battery at 0x0b.

    Args:
        bus: number or path of a bus, as for smbus2, which opens it; `sim:SCENARIO` names the pack.
        force: has no effect.
        pack: a scenario, if the bus names none; or a `Bus`.
        seed: of the flight.
        faults: as in `dronebms sim --fault`.
        funcs: functionality of the adapter.

    Attributes:
        nack_errno: errno of a refused address or command; EREMOTEIO on a Raspberry Pi.
        world: the flight with its ground truth; None if `pack` is a `Bus`.
    """

    nack_errno = errno.ENXIO

    def __init__(
        self,
        bus: int | str | None = None,
        force: Force = None,
        *,
        pack: str | Bus = "survey",
        seed: int = 1,
        faults: Sequence[str] = (),
        funcs: int = ALL_FUNCTIONS,
    ) -> None:
        self.funcs = funcs
        self.world: World | None = None
        self._pack = pack
        self._seed = seed
        self._faults = tuple(map(parse_fault, faults))
        self._clock = VirtualClock()
        self._system: SystemClock | None = SystemClock()
        self._bus: Bus | None = None
        self._pec = 0
        if bus is not None:
            self.open(bus)

    def open(self, bus: int | str) -> None:
        """Open a bus.

        Raises:
            ConfigError: the scenario that the bus names cannot be used.
        """
        named = isinstance(bus, str) and bus.startswith(SIMULATED)
        pack = str(bus).removeprefix(SIMULATED) if named else self._pack
        if isinstance(pack, str):
            self._bus, self.world = open_virtual(pack, self._clock, self._seed, self._faults)
        else:
            self._bus = pack

    def close(self) -> None:
        """Close the bus."""
        self._bus = None
        self._pec = 0

    def __enter__(self) -> "SMBus":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def t_s(self) -> float:
        """Seconds of the flight. Once set, time stops until it is set again; it never goes back."""
        if self._system is not None:
            self._clock.sleep_until(self._system.now_s())
        return self._clock.now_s()

    @t_s.setter
    def t_s(self, t_s: float) -> None:
        self._system = None
        self._clock.sleep_until(t_s)

    @property
    def pec(self) -> int:
        """1 if SMBus calls have a packet error code, else 0."""
        return self._pec

    @pec.setter
    def pec(self, enable: int) -> None:
        if not self.funcs & PEC:
            raise OSError("SMBUS_PEC is not a feature")  # smbus2's sentence, without an errno
        self._pec = int(bool(enable))

    # ------------------------------------------------------------------ calls

    def write_quick(self, i2c_addr: int, force: Force = None) -> None:
        """Send an address without data."""
        self._require(QUICK)
        self._transfer(i2c_addr, b"", 0)

    def read_byte(self, i2c_addr: int, force: Force = None) -> int:
        """Read a byte without a command."""
        return self._call(READ_BYTE, i2c_addr, b"", 1)[0]

    def write_byte(self, i2c_addr: int, value: int, force: Force = None) -> None:
        """Write a command without data."""
        self._call(WRITE_BYTE, i2c_addr, bytes((value,)))

    def read_byte_data(self, i2c_addr: int, register: int, force: Force = None) -> int:
        """Read a byte."""
        return self._call(READ_BYTE_DATA, i2c_addr, bytes((register,)), 1)[0]

    def write_byte_data(
        self, i2c_addr: int, register: int, value: int, force: Force = None
    ) -> None:
        """Write a byte."""
        self._call(WRITE_BYTE_DATA, i2c_addr, bytes((register, value)))

    def read_word_data(self, i2c_addr: int, register: int, force: Force = None) -> int:
        """Read a word, 0..65535."""
        reply = self._call(READ_WORD, i2c_addr, bytes((register,)), _WORD_BYTES)
        return int.from_bytes(reply, "little")

    def write_word_data(
        self, i2c_addr: int, register: int, value: int, force: Force = None
    ) -> None:
        """Write a word."""
        self._call(WRITE_WORD, i2c_addr, _with_word(register, value))

    def process_call(self, i2c_addr: int, register: int, value: int, force: Force = None) -> int:
        """Write a word and read one."""
        tx = _with_word(register, value)
        return int.from_bytes(self._call(PROCESS_CALL, i2c_addr, tx, _WORD_BYTES), "little")

    def read_block_data(self, i2c_addr: int, register: int, force: Force = None) -> list[int]:
        """Read a block with a count of 1 to 32 bytes.

        As with the kernel, an adapter with raw transfers and without this call reads zeros, without
        an error.
        """
        tx = bytes((register,))
        blind = self.funcs & I2C and not self.funcs & READ_BLOCK
        self._require(I2C if blind else READ_BLOCK)
        reply = self._transfer(i2c_addr, tx, 1 + MAX_BLOCK + 1)
        end = 1 + reply[0]
        if blind:
            reply = reply[:1] + bytes(len(reply) - 1)
        if not 1 < end <= 1 + MAX_BLOCK:
            raise _error(errno.EPROTO)
        if self._pec and _code(i2c_addr, tx, reply[:end]) != reply[end]:
            raise _error(errno.EBADMSG)
        return list(reply[1:end])

    def write_block_data(
        self, i2c_addr: int, register: int, data: Sequence[int], force: Force = None
    ) -> None:
        """Write a block with its count."""
        _fits(len(data))
        self._call(WRITE_BLOCK, i2c_addr, bytes((register, len(data), *data)))

    def read_i2c_block_data(
        self, i2c_addr: int, register: int, length: int, force: Force = None
    ) -> list[int]:
        """Read `length` bytes, without a PEC."""
        _fits(length)
        self._require(READ_I2C_BLOCK)
        return list(self._transfer(i2c_addr, bytes((register,)), length))

    def write_i2c_block_data(
        self, i2c_addr: int, register: int, data: Sequence[int], force: Force = None
    ) -> None:
        """Write bytes without a count."""
        _fits(len(data))
        self._require(WRITE_I2C_BLOCK)
        self._transfer(i2c_addr, bytes((register, *data)), 0)

    def i2c_rdwr(self, *i2c_msgs: Any) -> None:  # noqa: ANN401 - messages of smbus2
        """Transfer raw messages; a write and the read after it are one transfer."""
        self._require(I2C)
        tx = b""
        for message, after in zip(i2c_msgs, (*i2c_msgs[1:], None), strict=True):
            if message.flags & _MESSAGE_READS:
                for k, byte in enumerate(self._transfer(message.addr, tx, message.len)):
                    message.buf[k] = bytes((byte,))
                tx = b""
                continue
            tx = b"".join(message.buf[k] for k in range(message.len))
            if after is None or not after.flags & _MESSAGE_READS:
                self._transfer(message.addr, tx, 0)
                tx = b""

    # ------------------------------------------------------------------ the bus

    def _require(self, func: int) -> None:
        if not self.funcs & func:
            raise _error(errno.EOPNOTSUPP)

    def _call(self, func: int, address: int, tx: bytes, rx_len: int = 0) -> bytes:
        """Do an SMBus call, with a PEC if it is enabled."""
        self._require(func)
        if not rx_len:
            code = bytes((pec((address << 1, *tx)),)) if self._pec else b""
            return self._transfer(address, tx + code, 0)
        reply = self._transfer(address, tx, rx_len + self._pec)
        if self._pec and _code(address, tx, reply[:rx_len]) != reply[rx_len]:
            raise _error(errno.EBADMSG)
        return reply[:rx_len]

    def _transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        if self._bus is None:
            raise _error(errno.EBADF)
        self._clock.sleep_until(self.t_s)
        try:
            return self._bus.transfer(address, tx, rx_len)
        except BatteryError as error:
            if isinstance(error, BusTimeoutError):
                number = errno.ETIMEDOUT
            else:
                number = self.nack_errno if isinstance(error, NackError) else errno.EIO
            raise _error(number) from error


def _fits(length: int) -> None:
    if length > MAX_BLOCK:
        raise ValueError(f"a block has {MAX_BLOCK} bytes at most, not {length}")


def _with_word(register: int, value: int) -> bytes:
    return bytes((register, value & 0xFF, value >> 8 & 0xFF))


def _code(address: int, tx: bytes, rx: bytes) -> int:
    """PEC of the bytes that were written, if any, and read."""
    written = (address << 1, *tx) if tx else ()
    return pec((*written, address << 1 | 1, *rx))


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))

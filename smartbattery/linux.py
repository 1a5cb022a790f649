"""A bus on /dev/i2c-N: raw transfers by smbus2, errno turned into errors by meaning.

The only module that imports smbus2. `i2c_rdwr` and our own PEC instead of the kernel's SMBus
calls: on many adapters (the Raspberry Pi's among them) those read blocks as zeros without an
error, and cannot do PEC (kernel 6.1, smbus2 0.6.1). An adapter that is not there is an error of
each transfer, not of the constructor: it is opened when it is needed, and again by path after it
vanished.
"""

import errno
from contextlib import suppress
from pathlib import Path

import smbus2

from smartbattery.errors import (
    BusAbsentError,
    BusError,
    BusTimeoutError,
    NackError,
    UnsupportedError,
)

# What adapters mean by an errno; they differ (Linux Documentation/i2c/fault-codes.rst, drivers).
_NACK = frozenset({errno.ENXIO, errno.EREMOTEIO, errno.EIO})
_TIMEOUT = frozenset({errno.ETIMEDOUT, errno.EAGAIN})
_GONE = frozenset({errno.ENODEV, errno.EBADF, errno.ENOENT, errno.ESHUTDOWN})
_CANNOT = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL})


class LinuxBus:
    """An I2C adapter by its device path. Blocks for as long as the adapter's timeout (1 s)."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._open: smbus2.SMBus | None = None
        self._refusal: str | None = None

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Do one raw transfer; see `smartbattery.bus.Bus`."""
        bus = self._open or self._reopen()
        write = smbus2.i2c_msg.write(address, tx)
        try:
            if rx_len == 0:
                bus.i2c_rdwr(write)
                return b""
            read = smbus2.i2c_msg.read(address, rx_len)
            bus.i2c_rdwr(write, read)
        except OSError as error:
            raise self._translated(error, address, tx) from error
        return bytes(read)

    def close(self) -> None:
        """Let the adapter go; the next transfer opens it again."""
        bus, self._open = self._open, None
        if bus is not None:
            with suppress(OSError):  # it has gone already
                bus.close()

    def _reopen(self) -> smbus2.SMBus:
        if self._refusal is not None:
            raise UnsupportedError(self._refusal)
        try:
            bus = smbus2.SMBus(self._path)
        except FileNotFoundError as error:
            raise BusAbsentError(self._missing()) from error
        except PermissionError as error:
            raise BusAbsentError(
                f"{self._path} may not be opened: add this user to the group i2c"
            ) from error
        except OSError as error:
            if error.errno not in _CANNOT:
                raise BusAbsentError(f"{self._path} cannot be opened: {error.strerror}") from error
            # smbus2 leaks the file of a device that knows no I2C (a serial port): never again.
            self._refusal = f"{self._path} is no I2C adapter ({error.strerror})"
            raise UnsupportedError(self._refusal) from error
        if not bus.funcs & smbus2.smbus2.I2cFunc.I2C:
            bus.close()
            raise UnsupportedError(f"{self._path} cannot do raw I2C transfers")
        self._open = bus
        return bus

    def _missing(self) -> str:
        present = ", ".join(sorted(str(path) for path in Path("/dev").glob("i2c-*")))
        return f"{self._path} does not exist ({present or 'no I2C adapter is enabled'})"

    def _translated(self, error: OSError, address: int, tx: bytes) -> BusError | UnsupportedError:
        what = f"{self._path} address 0x{address:02x} command 0x{tx[:1].hex()}"
        if error.errno in _NACK:
            return NackError(f"{what}: no answer ({error.strerror})")
        if error.errno in _TIMEOUT:
            return BusTimeoutError(f"{what}: the bus is held or busy ({error.strerror})")
        if error.errno in _GONE:
            self.close()
            return BusAbsentError(f"{self._path} has gone ({error.strerror})")
        if error.errno == errno.EBUSY:
            return BusError(f"{what}: in use by a kernel driver; unbind it (sbs-battery?)")
        if error.errno in _CANNOT:
            return UnsupportedError(f"{what}: the adapter cannot do this ({error.strerror})")
        return BusError(f"{what}: {error.strerror or error}")

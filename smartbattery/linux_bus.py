"""A bus on /dev/i2c-N: transfers by smbus2, errno turned into errors by meaning.

The only module that imports smbus2. `i2c_rdwr` and our own PEC instead of the kernel's SMBus
calls: on many adapters (the Raspberry Pi's among them) those read blocks as zeros without an
error, and cannot do PEC (kernel 6.1, smbus2 0.6.1). An adapter without raw transfers (i801) is
served by the kernel's I2C-block calls, which put the same bytes on the wire, 32 at most; which of
both is decided at each opening, by what the adapter says it can do.

An adapter that is not there is an error of each transfer, not of the constructor: it is opened
when it is needed, and again by path after it vanished. Nothing is sent twice here.
"""

import errno
import logging
from collections.abc import Callable
from pathlib import Path

import smbus2
from smbus2.smbus2 import I2C_SMBUS_BLOCK_MAX, I2cFunc

from smartbattery.errors import (
    BusAbsentError,
    BusError,
    BusTimeoutError,
    NackError,
    UnsupportedError,
)

# What adapters mean by an errno; they differ (Linux Documentation/i2c/fault-codes.rst, drivers).
_NACK = frozenset({errno.ENXIO, errno.EREMOTEIO, errno.EIO})
_TIMEOUT = frozenset({errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY})
_GONE = frozenset({errno.ENODEV, errno.EBADF, errno.ENOENT, errno.ESHUTDOWN})
_CANNOT = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL})

_CALLS = I2cFunc.SMBUS_READ_I2C_BLOCK | I2cFunc.SMBUS_WRITE_I2C_BLOCK
_STUCK_AFTER = 3  # timeouts in a row: open it again
_HOPELESS_AFTER = 3  # openings that changed nothing: ask for recovery
SYSFS = Path("/sys/bus/i2c/devices")
_log = logging.getLogger(__name__)


def no_recovery() -> bool:
    """Do nothing for a stuck bus."""
    return False


class LinuxBus:
    """An I2C adapter by its device path. Blocks for as long as the adapter's timeout (1 s).

    Args:
        path: of the device, or a link to it.
        recover: asked for when opening a stuck bus again has not helped. Begins what may help
            unless it is at work or was lately, and returns at once whether it is at work; the
            adapter stays closed meanwhile, as an open one cannot be unbound.
        sysfs: where the kernel shows what is bound to an address; for tests.
    """

    def __init__(
        self, path: str, recover: Callable[[], bool] = no_recovery, sysfs: Path = SYSFS
    ) -> None:
        self._path = path
        self._recover = recover
        self._sysfs = sysfs
        self._open: smbus2.SMBus | None = None
        self._carry = _raw
        self._number = ""  # the kernel's, which may be another after each opening
        self._device: int | None = None  # what is behind the path
        self._refusal: str | None = None
        self._timeouts = 0  # in a row
        self._openings = 0  # of a bus that stayed stuck
        self._hopeless = False
        self._seen: set[int] = set()  # addresses

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Do one transfer; see `smartbattery.bus.Bus`."""
        bus = self._open or self._reopen()
        self._look_for_driver(address, writes=rx_len == 0)
        try:
            reply = self._carry(bus, address, tx, rx_len)
        except OSError as error:
            meant = self._translated(error, address, tx)
            self._count(meant)
            raise meant from error
        self._timeouts = self._openings = 0
        return reply

    def close(self) -> None:
        """Let the adapter go; the next transfer opens it again."""
        bus, self._open = self._open, None
        if bus is not None:
            try:
                bus.close()
            except OSError:
                pass  # it has gone already

    def _reopen(self) -> smbus2.SMBus:
        if self._refusal is not None:
            raise UnsupportedError(self._refusal)
        if self._hopeless and self._recover():
            raise BusTimeoutError(f"{self._path} is stuck, and left alone while it is recovered")
        self._hopeless = False
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
        if not bus.funcs & I2cFunc.I2C and bus.funcs & _CALLS != _CALLS:
            bus.close()
            raise UnsupportedError(f"{self._path} can transfer neither raw bytes nor I2C blocks")
        self._carry = _raw if bus.funcs & I2cFunc.I2C else _by_calls
        self._number = Path(self._path).resolve().name.removeprefix("i2c-")
        self._device = _device_at(self._path)
        self._open = bus
        return bus

    def _count(self, error: BusError | UnsupportedError) -> None:
        """Open a bus again that stays stuck; whatever else answers shows that it is not."""
        if not isinstance(error, BusTimeoutError):
            self._timeouts = 0
            if isinstance(error, NackError):
                self._openings = 0
            return
        self._timeouts += 1
        if self._timeouts >= _STUCK_AFTER:
            self.close()
            self._timeouts = 0
            self._hopeless = self._openings >= _HOPELESS_AFTER
            self._openings += 1

    # ------------------------------------------------------------------ sentences

    def _look_for_driver(self, address: int, *, writes: bool) -> None:
        """Explain a kernel driver that owns an address, once, and never write beside it.

        The kernel lets raw transfers pass. Reading a word beside its driver is harmless; a write
        (manufacturer data, a multiplexer's channel) gets into the midst of the driver's own.
        """
        if not writes and address in self._seen:
            return
        driver = self._driver_of(address)
        if driver is not None and writes:
            raise UnsupportedError(driver)
        if driver is not None:
            _log.warning("%s", driver)
        self._seen.add(address)

    def _driver_of(self, address: int) -> str | None:
        """Return a sentence about the kernel driver that owns an address, None when none does."""
        device = f"{self._number}-{address:04x}"
        try:
            name = (self._sysfs / device / "driver").readlink().name
        except OSError:
            return None
        return (
            f"{self._path} address 0x{address:02x} belongs to the kernel driver {name}, beside "
            f"which only plain words are read; to free it: "
            f"echo {device} | sudo tee /sys/bus/i2c/drivers/{name}/unbind"
        )

    def _missing(self) -> str:
        present = ", ".join(sorted(str(path) for path in Path("/dev").glob("i2c-*")))
        return f"{self._path} does not exist ({present or 'no I2C adapter is enabled'})"

    def _translated(self, error: OSError, address: int, tx: bytes) -> BusError | UnsupportedError:
        what = f"{self._path} address 0x{address:02x} command 0x{tx[:1].hex()}"
        # Drivers of USB bridges say EIO or ETIMEDOUT of one that was pulled out, and the kernel
        # cannot remove it, nor find it again, before it is closed.
        if error.errno in _GONE or _device_at(self._path) != self._device:
            self.close()
            return BusAbsentError(f"{self._path} has gone ({error.strerror})")
        if error.errno in _NACK:
            return NackError(f"{what}: no answer ({error.strerror})")
        if error.errno == errno.EBUSY and (driver := self._driver_of(address)) is not None:
            return BusError(driver)
        if error.errno in _TIMEOUT:
            return BusTimeoutError(f"{what}: the bus is held or busy ({error.strerror})")
        if error.errno in _CANNOT:
            return UnsupportedError(f"{what}: the adapter cannot do this ({error.strerror})")
        return BusError(f"{what}: {error.strerror or error}")


def _device_at(path: str) -> int | None:
    """Return the number of the device behind a path, None when there is none."""
    try:
        return Path(path).stat().st_rdev
    except OSError:
        return None


def _raw(bus: smbus2.SMBus, address: int, tx: bytes, rx_len: int) -> bytes:
    """Transfer as messages, whatever their length."""
    write = smbus2.i2c_msg.write(address, tx)
    if rx_len == 0:
        bus.i2c_rdwr(write)
        return b""
    read = smbus2.i2c_msg.read(address, rx_len)
    bus.i2c_rdwr(write, read)
    return bytes(read)


def _by_calls(bus: smbus2.SMBus, address: int, tx: bytes, rx_len: int) -> bytes:
    """Transfer by calls that put the same bytes on the wire; the kernel adds no PEC to them."""
    command, data = tx[0], tx[1:]
    longest = max(rx_len, len(data))
    if longest > I2C_SMBUS_BLOCK_MAX or (rx_len and data):
        what = f"{longest} bytes" if longest > I2C_SMBUS_BLOCK_MAX else "data before a read"
        raise UnsupportedError(
            f"address 0x{address:02x} command 0x{command:02x}: {what}, and this adapter transfers "
            f"{I2C_SMBUS_BLOCK_MAX} bytes at most, one way"
        )
    if rx_len:
        return bytes(bus.read_i2c_block_data(address, command, rx_len))
    if data:
        bus.write_i2c_block_data(address, command, list(data))
    else:
        bus.write_byte(address, command)
    return b""

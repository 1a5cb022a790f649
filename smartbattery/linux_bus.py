# SPDX-License-Identifier: Apache-2.0
"""I2C adapter on Linux, /dev/i2c-N: transfers by smbus2, each errno translated into an error.

The only module that imports smbus2, and only when an adapter is opened. `i2c_rdwr` and our own PEC
replace the kernel's SMBus calls: on many adapters (the Raspberry Pi's among them) those read blocks
as zeros without an error, and have no PEC (kernel 6.1, smbus2 0.6.1). An adapter without raw
transfers (i801) is served by the kernel's I2C-block calls, which send the same bytes, 32 at most;
the functionality that the adapter reports decides between both at each opening.

An adapter that is absent is an error of each transfer, not of the constructor: the first transfer
opens it, by its path, and opens it again after it was unplugged. What did not happen on the bus, by
a lost arbitration or a signal, is repeated at once; nothing else is.
"""

import errno
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from smartbattery.errors import (
    AdapterLimitError,
    BatteryError,
    BusAbsentError,
    BusError,
    BusTimeoutError,
    IntegrityError,
    NackError,
    UnsupportedError,
)

if TYPE_CHECKING:
    import smbus2

# Meaning of an errno by adapter (Linux Documentation/i2c/fault-codes.rst, drivers).
_MEANINGS: dict[int, tuple[type[BatteryError], str]] = {
    errno.ENXIO: (NackError, "no answer"),
    errno.EREMOTEIO: (NackError, "no answer"),
    errno.EIO: (NackError, "no answer"),
    errno.ETIMEDOUT: (BusTimeoutError, "the bus is stuck or busy"),
    errno.EAGAIN: (BusTimeoutError, "the bus is stuck or busy"),
    errno.EBUSY: (BusTimeoutError, "the bus is stuck or busy"),
    errno.EBADMSG: (IntegrityError, "the reply is not valid"),
    errno.EPROTO: (IntegrityError, "the reply is not valid"),
    # A limit of the adapter (struct i2c_adapter_quirks), for each transfer of this form.
    errno.EOPNOTSUPP: (AdapterLimitError, "the adapter cannot do this"),
    errno.ENOTTY: (UnsupportedError, "the adapter cannot do this"),
    errno.EINVAL: (UnsupportedError, "the adapter cannot do this"),
}
_UNPLUGGED = frozenset({errno.ENODEV, errno.EBADF, errno.ENOENT, errno.ESHUTDOWN})
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL})
_REPEATED = frozenset({errno.EAGAIN, errno.EINTR})  # a lost arbitration, a signal
_REPEATS = 3

# Functionality of an adapter (linux/i2c.h).
_FUNC_I2C = 0x0000_0001
_FUNC_I2C_BLOCKS = 0x0400_0000 | 0x0800_0000  # read, write
_MAX_BLOCK = 32  # I2C_SMBUS_BLOCK_MAX
_REOPEN_AFTER = 3  # timeouts in a row
_RECOVER_AFTER = 3  # openings that changed nothing
SYSFS = Path("/sys/bus/i2c/devices")
_log = logging.getLogger(__name__)


def no_recovery() -> bool:
    """Recovery of a stuck bus that does nothing."""
    return False


class LinuxBus:
    """An I2C adapter by its device path. Blocks for up to the adapter's timeout (1 s).

    Args:
        path: of the device, or a link to it.
        recover: called when reopening has not helped a stuck bus. It starts the recovery, unless
            one is running or ran a short time ago, and returns at once whether one is running. The
            adapter stays closed meanwhile, because an open one cannot be unbound.
        sysfs: directory in which the kernel lists the devices of its drivers; for tests.
    """

    def __init__(
        self, path: str, recover: Callable[[], bool] = no_recovery, sysfs: Path = SYSFS
    ) -> None:
        self._path = path
        self._recover = recover
        self._sysfs = sysfs
        self._open: smbus2.SMBus | None = None
        self._transfer = _transfer_messages
        self._number = ""  # of the kernel; may differ after each opening
        self._device: int | None = None  # device number behind the path
        self._refusal: str | None = None
        self._timeouts = 0  # in a row
        self._openings = 0  # of a bus that stayed stuck
        self._needs_recovery = False
        self._checked: set[int] = set()  # addresses checked for a kernel driver

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Do one transfer; see `smartbattery.bus.Bus`."""
        bus = self._open or self._reopen()
        self._check_kernel_driver(address, writes=rx_len == 0)
        try:
            reply = self._repeated(bus, address, tx, rx_len)
        except OSError as error:
            translated = self._translated(error, address, tx)
            self._count(translated)
            raise translated from error
        self._timeouts = 0
        self._openings = 0
        return reply

    def _repeated(self, bus: "smbus2.SMBus", address: int, tx: bytes, rx_len: int) -> bytes:
        """Do one transfer, again at once if another master or a signal was in its way."""
        for _ in range(_REPEATS):
            try:
                return self._transfer(bus, address, tx, rx_len)
            except OSError as error:
                if error.errno not in _REPEATED:
                    raise
        return self._transfer(bus, address, tx, rx_len)

    def close(self) -> None:
        """Close the adapter; the next transfer opens it again."""
        bus = self._open
        self._open = None
        if bus is not None:
            try:
                bus.close()
            except OSError:
                pass  # it was unplugged

    def _reopen(self) -> "smbus2.SMBus":
        import smbus2  # noqa: PLC0415 - needed with hardware alone

        if self._refusal is not None:
            raise UnsupportedError(self._refusal)
        if self._needs_recovery and self._recover():
            raise BusTimeoutError(f"{self._path} is stuck; a recovery is running")
        self._needs_recovery = False
        try:
            bus = smbus2.SMBus(self._path)
        except FileNotFoundError as error:
            raise BusAbsentError(self._missing()) from error
        except PermissionError as error:
            raise BusAbsentError(
                f"{self._path} may not be opened: add this user to the group i2c"
            ) from error
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise BusAbsentError(f"{self._path} cannot be opened: {error.strerror}") from error
            # smbus2 leaks the file of a device that is not I2C (a serial port): no second try.
            self._refusal = f"{self._path} is not an I2C adapter ({error.strerror})"
            raise UnsupportedError(self._refusal) from error
        if not bus.funcs & _FUNC_I2C and bus.funcs & _FUNC_I2C_BLOCKS != _FUNC_I2C_BLOCKS:
            bus.close()
            raise UnsupportedError(f"{self._path} can transfer neither raw bytes nor I2C blocks")
        self._transfer = _transfer_messages if bus.funcs & _FUNC_I2C else _transfer_calls
        self._number = Path(self._path).resolve().name.removeprefix("i2c-")
        self._device = _device_at(self._path)
        self._open = bus
        return bus

    def _count(self, error: BatteryError) -> None:
        """Close a bus after several timeouts in a row; any other error shows that it works."""
        if not isinstance(error, BusTimeoutError):
            self._timeouts = 0
            if isinstance(error, NackError):
                self._openings = 0
            return
        self._timeouts += 1
        if self._timeouts >= _REOPEN_AFTER:
            self.close()
            self._timeouts = 0
            self._needs_recovery = self._openings >= _RECOVER_AFTER
            self._openings += 1

    # ------------------------------------------------------------------ sentences

    def _check_kernel_driver(self, address: int, *, writes: bool) -> None:
        """Log once that a kernel driver owns an address, and refuse to write to it.

        The kernel allows raw transfers. A word read next to its driver is harmless; a write
        (manufacturer data, a multiplexer's channel) would interrupt a sequence of the driver.
        """
        if not writes and address in self._checked:
            return
        driver = self._driver_of(address)
        if driver is not None and writes:
            raise UnsupportedError(driver)
        if driver is not None:
            _log.warning("%s", driver)
        self._checked.add(address)

    def _driver_of(self, address: int) -> str | None:
        """A sentence about the kernel driver that owns an address; `None` when there is none."""
        device = f"{self._number}-{address:04x}"
        try:
            name = (self._sysfs / device / "driver").readlink().name
        except OSError:
            return None
        return (
            f"{self._path} address 0x{address:02x} belongs to the kernel driver {name}; only plain "
            f"words are read next to it; to free it: "
            f"echo {device} | sudo tee /sys/bus/i2c/drivers/{name}/unbind"
        )

    def _missing(self) -> str:
        present = ", ".join(sorted(str(path) for path in Path("/dev").glob("i2c-*")))
        return f"{self._path} does not exist ({present or 'no I2C adapter is enabled'})"

    def _translated(self, error: OSError, address: int, tx: bytes) -> BatteryError:
        place = f"{self._path} address 0x{address:02x} command 0x{tx[:1].hex()}"
        # Drivers of USB bridges report EIO or ETIMEDOUT after it was unplugged; the kernel can
        # neither remove the adapter nor find it again before it is closed.
        if error.errno in _UNPLUGGED or _device_at(self._path) != self._device:
            self.close()
            return BusAbsentError(f"{self._path} was unplugged ({error.strerror})")
        if error.errno == errno.EBUSY and (driver := self._driver_of(address)) is not None:
            return BusError(driver)
        if error.errno in _MEANINGS:
            kind, meaning = _MEANINGS[error.errno]
            return kind(f"{place}: {meaning} ({error.strerror})")
        return BusError(f"{place}: {error.strerror or error}")


def _device_at(path: str) -> int | None:
    """Number of the device behind a path; `None` when there is none."""
    try:
        return Path(path).stat().st_rdev
    except OSError:
        return None


def _transfer_messages(bus: "smbus2.SMBus", address: int, tx: bytes, rx_len: int) -> bytes:
    """Transfer as raw I2C messages of any length."""
    from smbus2 import i2c_msg  # noqa: PLC0415 - needed with hardware alone

    write = i2c_msg.write(address, tx)
    if rx_len == 0:
        bus.i2c_rdwr(write)
        return b""
    read = i2c_msg.read(address, rx_len)
    bus.i2c_rdwr(write, read)
    return bytes(read)


def _transfer_calls(bus: "smbus2.SMBus", address: int, tx: bytes, rx_len: int) -> bytes:
    """Transfer by calls that send the same bytes; the kernel adds no PEC to them."""
    command = tx[0]
    data = tx[1:]
    longest = max(rx_len, len(data))
    if longest > _MAX_BLOCK or (rx_len and data):
        problem = f"{longest} bytes" if longest > _MAX_BLOCK else "data before a read"
        raise AdapterLimitError(
            f"address 0x{address:02x} command 0x{command:02x}: {problem}, and this adapter "
            f"transfers {_MAX_BLOCK} bytes at most, one way"
        )
    if rx_len:
        return bytes(bus.read_i2c_block_data(address, command, rx_len))
    if data:
        bus.write_i2c_block_data(address, command, list(data))
    else:
        bus.write_byte(address, command)
    return b""

# SPDX-License-Identifier: Apache-2.0
"""The Linux bus in front of stand-ins for smbus2: what is sent, and what each errno means.

What adapters mean by an errno: kernel Documentation/i2c/fault-codes.rst and their drivers.
"""

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import smbus2

from smartbattery.bus import Bus
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
from smartbattery.gauge import Gauge
from smartbattery.linux_bus import LinuxBus

PATH = "/dev/i2c-7"
READ = 0x0001  # I2C_M_RD
I2C, NO_BLOCKS = 0x0EFF0009, 0x00FF0000  # a Raspberry Pi's adapter; one for words alone


@dataclass
class Adapter:
    """An open adapter: logs each transfer, then fails or reads 0xA5 bytes."""

    funcs: int = I2C
    fails: OSError | None = None
    fails_to_close: OSError | None = None
    messages: list[tuple[int, int, bytes]] = field(default_factory=list)
    closed: int = 0

    def i2c_rdwr(self, *messages: smbus2.i2c_msg) -> None:
        """Log and reply."""
        self.messages += [(m.addr, m.flags, bytes(m)) for m in messages]
        if self.fails is not None:
            raise self.fails
        for message in messages:
            for index in range(message.len if message.flags & READ else 0):
                message.buf[index] = b"\xa5"

    def close(self) -> None:
        """Count."""
        self.closed += 1
        if self.fails_to_close is not None:
            raise self.fails_to_close


class Kernel:
    """Openings of a path, and their adapters."""

    def __init__(self, *opened: Adapter | OSError) -> None:
        self._ahead = list(opened)
        self.paths: list[str] = []

    def open(self, path: str) -> Adapter:
        """The next adapter; the last one repeats."""
        self.paths.append(path)
        given = self._ahead.pop(0) if len(self._ahead) > 1 else self._ahead[0]
        if isinstance(given, OSError):
            raise given
        return given


Plug = Callable[..., Kernel]


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Plug:
    def plugged(*opened: Adapter | OSError) -> Kernel:
        kernel = Kernel(*opened)
        monkeypatch.setattr(smbus2, "SMBus", kernel.open)
        return kernel

    return plugged


def failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def error_of(bus: Bus, tx: bytes = b"\x09", rx_len: int = 3) -> BatteryError:
    with pytest.raises(BatteryError) as caught:
        bus.transfer(0x0B, tx, rx_len)
    return caught.value


# ------------------------------------------------------------------------- what is sent


def test_a_read_is_a_write_and_a_read_after_a_repeated_start(plug: Plug) -> None:
    adapter = Adapter()
    plug(adapter)
    reply = LinuxBus(PATH).transfer(0x0B, b"\x09", 3)
    assert reply == b"\xa5\xa5\xa5"
    assert type(reply) is bytes
    assert adapter.messages == [(0x0B, 0, b"\x09"), (0x0B, READ, b"\0\0\0")]


def test_a_write_is_one_message(plug: Plug) -> None:
    adapter = Adapter()
    plug(adapter)
    assert LinuxBus(PATH).transfer(0x70, b"\x01", 0) == b""
    assert adapter.messages == [(0x70, 0, b"\x01")]


def test_zeros_are_sent_and_read_as_they_are(plug: Plug) -> None:
    adapter = Adapter()
    plug(adapter)
    LinuxBus(PATH).transfer(0x0B, b"\x44\x02\x00\x00", 36)
    assert adapter.messages == [(0x0B, 0, b"\x44\x02\x00\x00"), (0x0B, READ, bytes(36))]


def test_the_path_is_opened_when_it_is_needed_and_once(plug: Plug) -> None:
    kernel = plug(Adapter())
    bus = LinuxBus(PATH)
    assert kernel.paths == []
    for _ in range(3):
        bus.transfer(0x0B, b"\x09", 3)
    assert kernel.paths == [PATH]


# ------------------------------------------------------------------------- errno


@pytest.mark.parametrize(
    ("number", "kind", "expected"),
    [
        (errno.ENXIO, NackError, "no answer"),
        (errno.EREMOTEIO, NackError, "no answer"),
        (errno.EIO, NackError, "no answer"),
        (errno.ETIMEDOUT, BusTimeoutError, "stuck or busy"),
        (errno.EAGAIN, BusTimeoutError, "stuck or busy"),
        (errno.EINTR, BusError, "Interrupted"),
        (errno.EBADMSG, IntegrityError, "not valid"),
        (errno.EPROTO, IntegrityError, "not valid"),
        (errno.EBUSY, BusTimeoutError, "stuck or busy"),
        (errno.EOPNOTSUPP, AdapterLimitError, "cannot do this"),
        (errno.ENOTTY, UnsupportedError, "cannot do this"),
        (errno.EINVAL, UnsupportedError, "cannot do this"),
        (errno.ENODEV, BusAbsentError, "was unplugged"),
        (errno.EBADF, BusAbsentError, "was unplugged"),
        (errno.ESHUTDOWN, BusAbsentError, "was unplugged"),
        (errno.ENOMEM, BusError, "Cannot allocate"),
    ],
    ids=lambda value: errno.errorcode.get(value) if isinstance(value, int) else None,
)
def test_each_errno_has_its_meaning_and_names_the_place(
    number: int, kind: type[BatteryError], expected: str, plug: Plug
) -> None:
    plug(Adapter(fails=failure(number)))
    error = error_of(LinuxBus(PATH))
    assert type(error) is kind
    assert expected in str(error)
    assert isinstance(error.__cause__, OSError)
    assert PATH in str(error)
    if kind is not BusAbsentError:
        assert "address 0x0b command 0x09" in str(error)


def test_an_error_without_errno_is_still_a_sentence(plug: Plug) -> None:
    plug(Adapter(fails=OSError("SMBUS_PEC is not a feature")))  # as smbus2 itself raises
    error = error_of(LinuxBus(PATH))
    assert type(error) is BusError
    assert str(error).endswith("command 0x09: SMBUS_PEC is not a feature")


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EINTR])
def test_another_master_or_a_signal_costs_no_transfer(number: int, plug: Plug) -> None:
    class Shared(Adapter):
        def i2c_rdwr(self, *messages: smbus2.i2c_msg) -> None:
            self.fails = failure(number) if len(self.messages) < 6 else None
            super().i2c_rdwr(*messages)

    shared = Shared()
    plug(shared)
    assert LinuxBus(PATH).transfer(0x0B, b"\x09", 3) == b"\xa5\xa5\xa5"
    assert len(shared.messages) == 2 * 4
    adapter = Adapter(fails=failure(number))
    plug(adapter)
    error_of(LinuxBus(PATH))  # always: a master that holds the bus is a fault
    assert len(adapter.messages) == 2 * 4


# ------------------------------------------------------------------------- coming and going


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EBADF])
def test_an_adapter_that_vanished_is_opened_by_its_path_again(number: int, plug: Plug) -> None:
    # Closing a file that was unplugged fails too, and must not escape.
    old = Adapter(fails=failure(number), fails_to_close=failure(errno.EBADF))
    kernel = plug(old, failure(errno.ENOENT), Adapter())
    bus = LinuxBus(PATH)
    assert type(error_of(bus)) is BusAbsentError
    assert "does not exist" in str(error_of(bus))
    assert bus.transfer(0x0B, b"\x09", 3) == b"\xa5\xa5\xa5"
    assert (old.closed, kernel.paths) == (1, [PATH] * 3)


@pytest.mark.parametrize("number", [errno.ENXIO, errno.ETIMEDOUT, errno.EBUSY, errno.EOPNOTSUPP])
def test_other_errors_leave_it_open(number: int, plug: Plug) -> None:
    adapter = Adapter(fails=failure(number))
    kernel = plug(adapter)
    bus = LinuxBus(PATH)
    error_of(bus)
    error_of(bus)
    assert (adapter.closed, kernel.paths) == (0, [PATH])


def test_closing_twice_closes_once_and_the_next_transfer_opens(plug: Plug) -> None:
    adapter = Adapter()
    kernel = plug(adapter)
    bus = LinuxBus(PATH)
    bus.close()
    bus.transfer(0x0B, b"\x09", 3)
    bus.close()
    bus.close()
    assert adapter.closed == 1
    bus.transfer(0x0B, b"\x09", 3)
    assert kernel.paths == [PATH, PATH]


def test_a_forbidden_adapter_is_absent_and_the_error_names_the_group(plug: Plug) -> None:
    plug(PermissionError(errno.EACCES, "Permission denied"))
    error = error_of(LinuxBus(PATH))
    assert type(error) is BusAbsentError
    assert str(error) == f"{PATH} may not be opened: add this user to the group i2c"


def test_an_adapter_that_does_not_open_is_absent_and_tried_again(plug: Plug) -> None:
    plug(failure(errno.ENXIO), Adapter())
    bus = LinuxBus(PATH)
    assert str(error_of(bus)) == f"{PATH} cannot be opened: No such device or address"
    assert bus.transfer(0x0B, b"\x09", 1) == b"\xa5"


def test_an_adapter_that_can_transfer_neither_way_is_unsupported_and_closed(plug: Plug) -> None:
    adapter = Adapter(funcs=NO_BLOCKS)
    plug(adapter)
    error = error_of(LinuxBus(PATH))
    assert type(error) is UnsupportedError
    assert str(error) == f"{PATH} can transfer neither raw bytes nor I2C blocks"
    assert adapter.closed == 1


# ------------------------------------------------------------------------- smbus2 itself


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_missing_device_is_absent_and_the_error_lists_the_present_ones(tmp_path: Path) -> None:
    error = error_of(LinuxBus(str(tmp_path / "i2c-1")))
    assert type(error) is BusAbsentError
    assert re.search(r"i2c-1 does not exist \((/dev/i2c-|no I2C adapter is enabled)", str(error))


def test_a_device_that_is_no_adapter_is_opened_once_and_never_again() -> None:
    # smbus2 0.6.1 leaks the file when asking for functions fails; at 10 Hz, all there are.
    bus = LinuxBus("/dev/null")
    assert type(error_of(bus)) is UnsupportedError
    files = open_files()
    for _ in range(20):
        assert str(error_of(bus)).startswith("/dev/null is not an I2C adapter (")
    assert open_files() == files


def test_a_gauge_on_a_missing_adapter_is_polled_on_and_reports_the_reason() -> None:
    gauge = Gauge(LinuxBus("/dev/i2c-250"))
    for step in range(3):
        snapshot = gauge.poll(step / 10)
        assert (snapshot.voltage_v, snapshot.cells_v) == (None, ())
        assert "/dev/i2c-250 does not exist" in str(snapshot.trouble)

# SPDX-License-Identifier: Apache-2.0
"""Adapters without raw transfers, buses that stay stuck, and addresses that the kernel owns.

Stand-ins for smbus2 in front of the virtual gauge; how adapters differ: tests/adapters.py.
"""

import errno
import logging
import os
import random
from pathlib import Path

import pytest
import smbus2
from smbus2.smbus2 import I2C_FUNCS, I2C_RDWR, I2C_SLAVE, I2C_SMBUS, I2C_SMBUS_READ

from dronebms.core.clock import VirtualClock
from sim.emulator.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.errors import (
    AdapterLimitError,
    BatteryError,
    BusAbsentError,
    BusError,
    BusTimeoutError,
    NackError,
    UnsupportedError,
)
from smartbattery.gauge import Gauge
from smartbattery.linux_bus import LinuxBus, no_recovery
from smartbattery.multiplexer import MuxBus
from smartbattery.profiles import BQ40Z50, BQ40Z80
from tests.adapters import BCM2835, I801, AdapterStandIn

PATH = "/dev/i2c-7"
IDENTIFIED = 100  # transfers, at least
BYTE, I2C_BLOCK = 1, 8  # transaction types of linux/i2c.h
TIMED_OUT = OSError(errno.ETIMEDOUT, "Connection timed out")
REFUSED = OSError(errno.ENXIO, "No such device or address")


def virtual() -> Bus:
    return open_virtual("survey", VirtualClock(), 1)[0]


def opened(
    monkeypatch: pytest.MonkeyPatch, adapter: AdapterStandIn, sysfs: Path = Path("/nowhere")
) -> LinuxBus:
    monkeypatch.setattr(smbus2, "SMBus", lambda _: adapter)
    return LinuxBus(PATH, sysfs=sysfs)


def error_of(bus: Bus, tx: bytes = b"\x09", rx_len: int = 3) -> BatteryError:
    with pytest.raises(BatteryError) as caught:
        bus.transfer(0x0B, tx, rx_len)
    return caught.value


# ------------------------------------------------------------------------- without raw transfers


def test_a_gauge_reads_the_same_from_the_same_bytes_on_an_adapter_without_raw_transfers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapters = [AdapterStandIn(virtual(), funcs) for funcs in (BCM2835, I801)]
    snapshots = []
    for adapter in adapters:
        gauge = Gauge(opened(monkeypatch, adapter))
        snapshots.append([gauge.poll(step / 10) for step in range(100)])
    assert snapshots[0] == snapshots[1]
    assert snapshots[0][-1].voltage_v == pytest.approx(25.1, abs=0.1)
    assert snapshots[0][-1].identity.pec
    assert adapters[0].log == adapters[1].log


class Kernel:
    """The ioctls of an i801 adapter: notes transactions, answers 1, 2, 3, ..."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, int, list[int]]] = []
        self._address = 0

    def ioctl(self, _file: int, request: int, argument: object) -> None:
        """Behave as in linux/Documentation/i2c/dev-interface.rst."""
        assert request != I2C_RDWR, "this adapter has no raw transfers"
        if request == I2C_FUNCS:
            argument.value = I801  # type: ignore[attr-defined]  # a c_ulong
        elif request == I2C_SLAVE:
            self._address = argument  # type: ignore[assignment]  # a plain number
        elif request == I2C_SMBUS:
            self._transact(argument)  # type: ignore[arg-type]  # the one kind left

    def _transact(self, message: smbus2.smbus2.i2c_smbus_ioctl_data) -> None:
        block = message.data.contents.block if message.data else [0]
        row = (self._address, message.command, message.size, list(block[1 : block[0] + 1]))
        self.seen.append(row)
        if message.read_write == I2C_SMBUS_READ:
            self.seen[-1] = (*row[:3], [block[0]])
            for index in range(block[0]):
                message.data.contents.block[1 + index] = index + 1


def test_smbus2_itself_calls_the_kernel_with_i2c_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    monkeypatch.setattr(smbus2.smbus2, "ioctl", kernel.ioctl)
    bus = LinuxBus("/dev/null")
    assert bus.transfer(0x0B, b"\x09", 3) == b"\x01\x02\x03"
    assert bus.transfer(0x0B, b"\x23", 32) == bytes(range(1, 33))
    assert bus.transfer(0x0B, b"\x44\x02\x51\x00\x1c", 0) == b""
    assert bus.transfer(0x70, b"\x04", 0) == b""
    bus.close()
    assert kernel.seen[:3] == [
        (0x0B, 0x09, I2C_BLOCK, [3]),
        (0x0B, 0x23, I2C_BLOCK, [32]),
        (0x0B, 0x44, I2C_BLOCK, [2, 0x51, 0, 0x1C]),
    ]
    assert kernel.seen[3][:3] == (0x70, 0x04, BYTE)


@pytest.mark.parametrize(
    ("tx", "rx_len", "expected"),
    [
        (b"\x44", 33, "33 bytes"),
        (b"\x44", 37, "37 bytes"),
        (b"\x44" + bytes(33), 0, "33 bytes"),
        (b"\x00\x50\x00", 2, "data before a read"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_limit_and_nothing_is_sent(
    tx: bytes, rx_len: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = AdapterStandIn(virtual(), I801)
    error = error_of(opened(monkeypatch, adapter), tx, rx_len)
    assert type(error) is AdapterLimitError
    assert expected in str(error)
    assert "32 bytes at most" in str(error)
    assert adapter.log == []


def test_the_longest_that_fits_is_carried_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    class Echo:
        def transfer(self, _address: int, _tx: bytes, rx_len: int) -> bytes:
            return bytes(range(rx_len))

    adapter = AdapterStandIn(Echo(), I801)
    bus = opened(monkeypatch, adapter)
    assert bus.transfer(0x0B, b"\x44", 32) == bytes(range(32))
    bus.transfer(0x0B, b"\x44" + bytes(32), 0)
    assert adapter.log[1] == (0x0B, b"\x44" + bytes(32), 0)


class Manufactured:
    """A bus whose gauge accepts every manufacturer-access selection."""

    def __init__(self) -> None:
        self._bus = virtual()

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Acknowledge a selection, or do the transfer."""
        return b"" if tx[0] == 0x44 and not rx_len else self._bus.transfer(address, tx, rx_len)


def test_a_pack_whose_cells_do_not_fit_is_still_read_as_far_as_they_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bus = opened(monkeypatch, AdapterStandIn(Manufactured(), I801))
    gauge = Gauge(bus, profile=BQ40Z80, cells=6)
    snapshot = [gauge.poll(step / 10) for step in range(60)][-1]
    assert snapshot.voltage_v == pytest.approx(25.1, abs=0.1)
    assert snapshot.cells_v == (None,) * 6
    assert snapshot.soc_pct is not None
    assert snapshot.identity.serial == 1001


def test_what_an_adapter_cannot_transfer_is_not_selected_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapter = AdapterStandIn(Manufactured(), I801)
    gauge = Gauge(opened(monkeypatch, adapter), profile=BQ40Z80, cells=6)

    def selections() -> int:
        """Selections behind which nothing was read."""
        pairs = zip(adapter.log, adapter.log[1:], strict=False)
        return sum(
            tx[0] == 0x44 and not rx_len and not read for (_, tx, rx_len), (*_, read) in pairs
        )

    for step in range(100):
        gauge.poll(step / 10)
    at_first = selections()
    for step in range(100, 1200):
        gauge.poll(step / 10)
    assert selections() == at_first > 0
    gauge.poll(200.0)  # after an absence it may be another adapter
    assert selections() > at_first


# ------------------------------------------------------------------------- errors of all kinds


@pytest.mark.parametrize(
    "number",
    [
        errno.EAGAIN,
        errno.EBADMSG,
        errno.EINTR,
        errno.EINVAL,
        errno.EIO,
        errno.ENOMEM,
        errno.ENXIO,
        errno.EOPNOTSUPP,
        errno.EPROTO,
        errno.EREMOTEIO,
    ],
    ids=errno.errorcode.get,
)
def test_no_error_of_single_transfers_costs_a_reading_its_validity(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Disturbed(AdapterStandIn):
        def i2c_rdwr(self, *messages: smbus2.i2c_msg) -> None:
            if len(self.log) > IDENTIFIED and chance.random() < 0.2:
                raise OSError(number, os.strerror(number))
            super().i2c_rdwr(*messages)

    chance = random.Random(number)  # noqa: S311 - no secret
    gauge = Gauge(opened(monkeypatch, Disturbed(virtual())))
    snapshots = [gauge.poll(step / 10) for step in range(900)]
    for snapshot in snapshots:
        assert None not in (snapshot.voltage_v, snapshot.current_a, snapshot.soc_pct)
        assert snapshot.temperature_degc is not None
        assert len(snapshot.cells_v) == 6
        assert None not in snapshot.cells_v


# ------------------------------------------------------------------------- stuck


class Stuck:
    """A path whose adapter fails or answers as configured; counts its openings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails: OSError | None = TIMED_OUT
        self.openings = self.closings = self.transfers = 0
        self.funcs = BCM2835
        monkeypatch.setattr(smbus2, "SMBus", self.open)

    def open(self, path: str) -> "Stuck":
        """Count an opening."""
        assert path == PATH
        self.openings += 1
        return self

    def close(self) -> None:
        """Count a closing."""
        self.closings += 1

    def i2c_rdwr(self, *_: smbus2.i2c_msg) -> None:
        """Fail, or reply zeros."""
        self.transfers += 1
        if self.fails is not None:
            raise self.fails


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Stuck:
    return Stuck(monkeypatch)


@pytest.mark.parametrize("number", [errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY])
def test_a_bus_that_times_out_three_times_in_a_row_is_opened_again(
    number: int, stuck: Stuck
) -> None:
    stuck.fails = OSError(number, os.strerror(number))
    bus = LinuxBus(PATH)
    seen = []
    for _ in range(7):
        assert type(error_of(bus)) is BusTimeoutError
        seen.append((stuck.openings, stuck.closings))
    assert seen == [(1, 0), (1, 0), (1, 1), (2, 1), (2, 1), (2, 2), (3, 2)]
    # Nothing is sent twice, but what another master was in the way of.
    assert stuck.transfers == 7 * (4 if number == errno.EAGAIN else 1)


@pytest.mark.parametrize("between", [None, REFUSED], ids=["an answer", "a refusal"])
def test_any_answer_in_between_shows_that_it_is_not_stuck(
    between: OSError | None, stuck: Stuck
) -> None:
    bus = LinuxBus(PATH)
    for step in range(40):
        stuck.fails = between if step % 3 == 2 else TIMED_OUT
        if stuck.fails is None:
            bus.transfer(0x0B, b"\x09", 3)
        else:
            error_of(bus)
    assert (stuck.openings, stuck.closings) == (1, 0)


def test_recovery_starts_after_three_openings_and_the_bus_is_closed_meanwhile(
    stuck: Stuck,
) -> None:
    recoveries: list[int] = []
    answers = [True, True, False]

    def recover() -> bool:
        recoveries.append(stuck.transfers)
        return answers.pop(0) if answers else False

    bus = LinuxBus(PATH, recover)
    for _ in range(12):
        error_of(bus)
    assert (stuck.openings, recoveries) == (4, [])  # the first one and three more
    for _ in range(2):
        error = error_of(bus)
        assert type(error) is BusTimeoutError
        assert str(error) == f"{PATH} is stuck; a recovery is running"
    assert (stuck.openings, stuck.closings, stuck.transfers) == (4, 4, 12)
    stuck.fails = None
    assert bus.transfer(0x0B, b"\x09", 3) == bytes(3)
    assert recoveries == [12, 12, 12]
    stuck.fails = TIMED_OUT  # from the beginning again
    for _ in range(12):
        error_of(bus)
    assert len(recoveries) == 3
    error_of(bus)
    assert recoveries[3:] == [25]


@pytest.mark.parametrize("between", [None, REFUSED], ids=["an answer", "a refusal"])
def test_after_any_answer_a_recovery_waits_for_three_openings_again(
    between: OSError | None, stuck: Stuck
) -> None:
    recoveries: list[int] = []

    def recover() -> bool:
        recoveries.append(stuck.transfers)
        return False

    bus = LinuxBus(PATH, recover)
    for _ in range(11):
        error_of(bus)
    stuck.fails = between
    if between is None:
        bus.transfer(0x0B, b"\x09", 3)
    else:
        error_of(bus)
    stuck.fails = TIMED_OUT
    for _ in range(12):
        error_of(bus)
    assert recoveries == []
    error_of(bus)
    assert recoveries == [24]


def test_without_a_recovery_it_is_opened_again_for_ever(stuck: Stuck) -> None:
    bus = LinuxBus(PATH, no_recovery)
    for _ in range(300):
        error_of(bus)
    assert stuck.openings == 100
    stuck.fails = None
    assert bus.transfer(0x0B, b"\x09", 3) == bytes(3)


def test_a_stuck_bus_never_raises_out_of_a_poll_and_is_read_again(stuck: Stuck) -> None:
    gauge = Gauge(LinuxBus(PATH))
    for step in range(100):
        snapshot = gauge.poll(step / 10)
        assert snapshot.voltage_v is None
        assert "stuck or busy" in str(snapshot.trouble)
    assert 100 <= stuck.transfers <= 200


@pytest.mark.parametrize("number", [errno.EIO, errno.ETIMEDOUT])
def test_an_unplugged_adapter_is_closed_whatever_its_driver_reports(
    number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    closed: list[int] = []
    path = tmp_path / "i2c-3"
    path.touch()

    def open_there(_: str) -> AdapterStandIn:
        path.stat()
        return AdapterStandIn(virtual())

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(smbus2, "SMBus", open_there)
    monkeypatch.setattr(AdapterStandIn, "close", lambda _: closed.append(1))
    bus = LinuxBus(str(path))
    bus.transfer(0x0B, b"\x09", 3)
    with monkeypatch.context() as pulled:
        pulled.setattr(AdapterStandIn, "i2c_rdwr", fail)
        assert type(error_of(bus)) in (NackError, BusTimeoutError)  # it is still there
        path.unlink()
        for _ in range(3):
            assert type(error_of(bus)) is BusAbsentError
    assert closed == [1]
    path.touch()
    assert len(bus.transfer(0x0B, b"\x09", 3)) == 3


# ------------------------------------------------------------------------- owned by the kernel


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """A folder as of the kernel with sbs-battery bound to 0x0b on bus 7."""
    driver = tmp_path / "drivers" / "sbs-battery"
    driver.mkdir(parents=True)
    for device in ("7-000b", "7-0070"):
        (tmp_path / device).mkdir()
        (tmp_path / device / "driver").symlink_to(driver)
    (tmp_path / "8-000b").mkdir()  # a device that no driver has taken
    return tmp_path


UNBIND = "echo 7-000b | sudo tee /sys/bus/i2c/drivers/sbs-battery/unbind"


def test_words_are_read_next_to_a_kernel_driver_with_one_warning(
    sysfs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gauge = Gauge(opened(monkeypatch, AdapterStandIn(virtual()), sysfs))
    with caplog.at_level(logging.WARNING):
        snapshots = [gauge.poll(step / 10) for step in range(50)]
    assert snapshots[-1].voltage_v == pytest.approx(25.1, abs=0.1)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{PATH} address 0x0b belongs to the kernel driver sbs-battery; only plain "
        f"words are read next to it; to free it: {UNBIND}"
    )


@pytest.mark.parametrize("tx", [b"\x44\x02\x51\x00", b"\x44\x02\x51\x00\x1c"])
def test_nothing_is_written_next_to_a_kernel_driver(
    tx: bytes, sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = AdapterStandIn(virtual())
    error = error_of(opened(monkeypatch, adapter, sysfs), tx, 0)
    assert type(error) is UnsupportedError
    assert str(error).endswith(UNBIND)
    assert adapter.log == []


def test_a_multiplexer_of_the_kernel_is_not_switched(
    sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = AdapterStandIn(virtual())
    error = error_of(MuxBus(opened(monkeypatch, adapter, sysfs), 0x70, 1))
    assert "address 0x70 belongs to the kernel driver" in str(error)
    assert adapter.log == []


def test_manufacturer_data_is_read_again_once_the_driver_is_unbound(
    sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = AdapterStandIn(virtual())
    gauge = Gauge(opened(monkeypatch, adapter, sysfs), profile=BQ40Z50, cells=4)

    def selections() -> int:
        return sum(tx[0] == 0x44 and len(tx) > 1 for _, tx, _ in adapter.log)

    snapshots = [gauge.poll(step / 10) for step in range(100)]
    assert selections() == 0
    assert snapshots[-1].voltage_v == pytest.approx(25.1, abs=0.1)
    assert snapshots[-1].soc_pct is not None
    (sysfs / "7-000b" / "driver").unlink()
    for step in range(100, 200):
        gauge.poll(step / 10)
    assert selections() > 4


def test_the_kernel_refusing_a_call_is_explained_by_the_driver(
    sysfs: Path, monkeypatch: pytest.MonkeyPatch, stuck: Stuck
) -> None:
    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    stuck.funcs = I801
    monkeypatch.setattr(Stuck, "read_i2c_block_data", busy, raising=False)
    bus = LinuxBus(PATH, sysfs=sysfs)
    for _ in range(5):
        error = error_of(bus)
        assert type(error) is BusError
        assert str(error).endswith(UNBIND)
    assert stuck.openings == 1  # opening it again would change nothing


def test_another_bus_or_an_address_without_a_driver_is_not_owned(
    sysfs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened(monkeypatch, AdapterStandIn(Manufactured()))
    with caplog.at_level(logging.WARNING):
        for path in ("/dev/i2c-8", "/dev/i2c-9"):
            LinuxBus(path, sysfs=sysfs).transfer(0x0B, b"\x44\x02\x51\x00", 0)
        with pytest.raises(NackError):
            LinuxBus(PATH, sysfs=sysfs).transfer(0x0C, b"\x09", 2)
    assert caplog.records == []


def test_a_link_to_the_adapter_is_owned_like_it(
    sysfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(monkeypatch, AdapterStandIn(virtual()))
    (tmp_path / "battery-bus").symlink_to("/dev/i2c-7")
    bus = LinuxBus(str(tmp_path / "battery-bus"), sysfs=sysfs)
    assert UNBIND in str(error_of(bus, b"\x44\x02\x51\x00", 0))


def test_a_snapshot_is_the_same_next_to_a_driver_as_without(
    sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_driver = Gauge(opened(monkeypatch, AdapterStandIn(virtual()), sysfs)).poll(1.0)
    alone = Gauge(opened(monkeypatch, AdapterStandIn(virtual()))).poll(1.0)
    assert with_driver == alone

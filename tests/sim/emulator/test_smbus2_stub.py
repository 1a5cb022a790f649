# SPDX-License-Identifier: Apache-2.0
"""The stand-in for smbus2.SMBus, called as other programs call the real one.

What the kernel answers: Linux 6.1, measured with its i2c-tiny-usb driver (the same calls run in
tests/integration/kernel), i2c-core-smbus.c, fault-codes.rst. The sequences of calls are those of
EmbedME/pyI2C_MP_USB (smart_battery.py), of o-gs/dji-firmware-tools (comm_sbs_bqctrl.py, which
frames SMBus itself over messages) and of readers of BB-2590 packs.
"""

import errno
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import smbus2
from smbus2 import i2c_msg
from smbus2.smbus2 import I2cFunc

from dronebms.core.errors import ConfigError
from sim.emulator import smbus2_stub
from sim.emulator.smbus2_stub import SMBus
from smartbattery.errors import BusAbsentError
from smartbattery.linux_bus import LinuxBus
from smartbattery.pec import pec

AT = 0x0B
BCM2835 = 0x0EFF0009  # a Raspberry Pi's adapter
I801 = 0x0F7F_0008  # a PC's: no raw transfers
BQ40 = """
[pack]
chemistry = "lipo"
cells = 4
cell_mah = 5000.0
resistance_mohm_ah = 38.0
[gauge]
kind = "bq40z50"
[[phase]]
name = "hover"
duration_s = 300.0
power_w = 200.0
"""


def errno_of(call: Callable[[], object]) -> int | None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is what is looked at
        call()
    return caught.value.errno


@pytest.fixture
def bq40(tmp_path: Path) -> SMBus:
    path = tmp_path / "bq40.toml"
    path.write_text(BQ40)
    return SMBus(1, pack=str(path))


# ---------------------------------------------------------------------- four lines


def test_four_lines_read_a_pack() -> None:
    from sim.emulator.smbus2_stub import SMBus  # noqa: PLC0415 - the first of the four

    with SMBus("sim:hover") as bus:
        volts = bus.read_word_data(0x0B, 0x09) / 1000
        percent = bus.read_word_data(0x0B, 0x0D)
    assert 16.0 < volts < 16.9
    assert percent == 100


def test_a_program_that_opens_smbus2_gets_the_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smbus2, "SMBus", SMBus)
    bus = LinuxBus("/dev/i2c-1")
    assert int.from_bytes(bus.transfer(AT, b"\x18", 2), "little") == 1600  # survey, in 10 mAh
    bus.close()


# ---------------------------------------------------------------------- other people's sequences


def test_words_as_a_reader_of_notebook_packs_reads_them() -> None:
    bus = SMBus(1, pack="hover")
    bus.t_s = 60.0
    assert bus.world is not None
    bus.world.advance(60.0)
    truth = bus.world.truth()
    kelvin, millivolts, milliamperes, percent = (
        bus.read_word_data(AT, command) for command in (0x08, 0x09, 0x0A, 0x0D)
    )
    assert kelvin / 10 - 273.15 == pytest.approx(truth.temperature_degc, abs=1.0)
    assert millivolts / 1000 == pytest.approx(truth.voltage_v, abs=0.01)
    assert milliamperes - 0x10000 == pytest.approx(-truth.current_a * 1000, abs=200)
    assert percent > 90


def test_bytes_and_i2c_blocks_are_the_beginning_of_the_word() -> None:
    bus = SMBus(1, pack="hover")
    bus.t_s = 0.0
    word = bus.read_word_data(AT, 0x09)
    assert bus.read_byte_data(AT, 0x0D) == 100
    assert bus.read_i2c_block_data(AT, 0x09, 2) == [word & 0xFF, word >> 8]
    assert bus.read_i2c_block_data(AT, 0x09, 4)[2:] == [
        pec((0x16, 0x09, 0x17, word & 0xFF, word >> 8)),
        0xFF,
    ]


def framed(bus: SMBus, command: int, length: int) -> bytes:
    """Read by messages, with a PEC that the program checks itself."""
    write, read = i2c_msg.write(AT, [command]), i2c_msg.read(AT, length)
    bus.i2c_rdwr(write, read)
    return bytes(read)


def framed_write(bus: SMBus, data: Sequence[int]) -> None:
    """Write by one message, with its PEC."""
    bus.i2c_rdwr(i2c_msg.write(AT, [*data, pec((AT << 1, *data))]))


def test_a_program_that_frames_smbus_itself_reads_words_texts_and_manufacturer_data(
    bq40: SMBus,
) -> None:
    bus = bq40
    bus.pec = True
    bus.t_s = 10.0
    raw = framed(bus, 0x09, 3)
    assert raw[2] == pec((0x16, 0x09, 0x17, *raw[:2]))
    assert raw[:2] == bus.read_word_data(AT, 0x09).to_bytes(2, "little")
    text = framed(bus, 0x21, 36)
    assert text[1 : 1 + text[0]] == b"bq40z50"
    framed_write(bus, (0x00, 0x71, 0x00))  # ManufacturerAccess, as a word
    data = framed(bus, 0x23, 34)
    framed_write(bus, (0x44, 2, 0x71, 0x00))  # and as a block
    block = framed(bus, 0x44, 36)
    assert block[:3] == b"\x22\x71\x00"
    assert data[0] == 32
    cells = [int.from_bytes(data[1 + k : 3 + k], "little") for k in (0, 2, 4, 6)]
    assert cells == [bus.read_word_data(AT, command) for command in (0x3F, 0x3E, 0x3D, 0x3C)]


def test_the_same_by_the_calls_of_smbus(bq40: SMBus) -> None:
    bus = bq40
    bus.pec = 1
    assert bytes(bus.read_block_data(AT, 0x21)) == b"bq40z50"
    bus.write_word_data(AT, 0x00, 0x0054)
    assert bus.read_block_data(AT, 0x23) == [0x07, 0x03, 0x00, 0x00]
    bus.write_block_data(AT, 0x44, [0x51, 0x00])
    assert bus.read_block_data(AT, 0x44) == [0x51, 0x00, 0, 0, 0, 0]
    for word in (0x0414, 0x3672):
        bus.write_word_data(AT, 0x00, word)
    assert bus.read_block_data(AT, 0x54) == [0x07, 0x02, 0x00, 0x00]  # unsealed
    bus.write_word_data(AT, 0x03, 0xE001)
    assert bus.read_word_data(AT, 0x03) == 0xE001


def test_a_scan_finds_the_pack_alone() -> None:
    bus = SMBus(1)
    for find in (bus.write_quick, bus.read_byte):
        find(AT)
        others = [address for address in range(0x03, 0x78) if address != AT]
        assert {errno_of(partial(find, address)) for address in others} == {errno.ENXIO}


# ---------------------------------------------------------------------- what the kernel answers


def test_a_refusal_has_the_errno_of_the_adapter() -> None:
    bus = SMBus(1)
    assert errno_of(lambda: bus.read_word_data(0x2A, 0x09)) == errno.ENXIO
    assert errno_of(lambda: bus.read_word_data(AT, 0x70)) == errno.ENXIO
    assert errno_of(lambda: bus.write_byte(AT, 0x10)) == errno.ENXIO
    assert errno_of(lambda: bus.write_byte_data(AT, 0x10, 1)) == errno.ENXIO
    assert errno_of(lambda: bus.write_i2c_block_data(AT, 0x10, [1, 2])) == errno.ENXIO
    assert errno_of(lambda: bus.process_call(AT, 0x00, 0x0001)) == errno.ENXIO
    assert errno_of(lambda: bus.i2c_rdwr(i2c_msg.read(0x2A, 2))) == errno.ENXIO
    bus.nack_errno = errno.EREMOTEIO
    assert errno_of(lambda: bus.read_word_data(0x2A, 0x09)) == errno.EREMOTEIO


@pytest.mark.parametrize(
    ("fault", "number"),
    [("stuck@0", errno.ETIMEDOUT), ("unplug@0", errno.ENXIO), ("stretch=0.1@0", errno.ETIMEDOUT)],
)
def test_a_bus_error_has_its_errno(fault: str, number: int) -> None:
    bus = SMBus(1, faults=[fault])
    bus.t_s = 1.0
    assert errno_of(lambda: bus.read_word_data(AT, 0x09)) == number


def test_a_wrong_pec_is_ebadmsg_where_the_kernel_checks_it_and_undetected_where_not() -> None:
    bus = SMBus(1, faults=["bad_pec=1@0"])
    bus.t_s = 1.0
    bus.pec = 1
    assert errno_of(lambda: bus.read_word_data(AT, 0x09)) == errno.EBADMSG
    assert errno_of(lambda: bus.read_byte_data(AT, 0x0D)) == errno.EBADMSG
    assert len(bus.read_i2c_block_data(AT, 0x09, 2)) == 2  # never has one
    assert bytes(framed(bus, 0x09, 3))
    bus.pec = 0
    assert bus.read_byte_data(AT, 0x0D) in {100 ^ 1 << bit for bit in range(8)}


def test_a_word_read_as_a_byte_with_pec_is_a_bad_message() -> None:
    bus = SMBus(1)
    bus.pec = 1
    assert errno_of(lambda: bus.read_byte_data(AT, 0x09)) == errno.EBADMSG


def test_a_block_longer_than_smbus_allows_is_eproto(bq40: SMBus) -> None:
    bq40.write_block_data(AT, 0x44, [0x71, 0x00])  # 34 bytes with their echo
    assert errno_of(lambda: bq40.read_block_data(AT, 0x44)) == errno.EPROTO
    for call in (
        lambda: bq40.read_i2c_block_data(AT, 0x44, 33),
        lambda: bq40.write_i2c_block_data(AT, 0x44, [0] * 33),
        lambda: bq40.write_block_data(AT, 0x44, [0] * 33),
    ):
        with pytest.raises(ValueError, match="32 bytes at most"):
            call()


def test_a_raspberry_pi_reads_blocks_as_zeros_without_an_error() -> None:
    bus = SMBus(1, funcs=BCM2835, pack="hover")
    length = len("virtual")
    assert bus.read_block_data(AT, 0x20) == [0] * length
    bus.pec = 1
    assert errno_of(lambda: bus.read_block_data(AT, 0x20)) == errno.EBADMSG
    assert bytes(framed(bus, 0x20, 1 + length))[1:] == b"virtual"


def test_an_adapter_does_only_what_its_functionality_includes() -> None:
    bus = SMBus(1, funcs=I801)
    assert errno_of(lambda: framed(bus, 0x09, 3)) == errno.EOPNOTSUPP
    assert bus.read_word_data(AT, 0x09) > 20_000
    nothing = SMBus(1, funcs=0)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: nothing.write_quick(AT),
        lambda: nothing.read_byte(AT),
        lambda: nothing.write_byte(AT, 9),
        lambda: nothing.read_word_data(AT, 9),
        lambda: nothing.read_block_data(AT, 0x20),
        lambda: nothing.read_i2c_block_data(AT, 9, 2),
        lambda: nothing.write_i2c_block_data(AT, 9, [1]),
    )
    assert {errno_of(call) for call in calls} == {errno.EOPNOTSUPP}
    with pytest.raises(OSError, match="SMBUS_PEC is not a feature") as caught:
        nothing.pec = 1
    assert caught.value.errno is None


def test_its_flags_are_those_of_smbus2() -> None:
    ours = {
        "I2C": smbus2_stub.I2C,
        "SMBUS_PEC": smbus2_stub.PEC,
        "SMBUS_QUICK": smbus2_stub.QUICK,
        "SMBUS_BYTE": smbus2_stub.READ_BYTE | smbus2_stub.WRITE_BYTE,
        "SMBUS_BYTE_DATA": smbus2_stub.READ_BYTE_DATA | smbus2_stub.WRITE_BYTE_DATA,
        "SMBUS_WORD_DATA": smbus2_stub.READ_WORD | smbus2_stub.WRITE_WORD,
        "SMBUS_PROC_CALL": smbus2_stub.PROCESS_CALL,
        "SMBUS_BLOCK_DATA": smbus2_stub.READ_BLOCK | smbus2_stub.WRITE_BLOCK,
        "SMBUS_I2C_BLOCK": smbus2_stub.READ_I2C_BLOCK | smbus2_stub.WRITE_I2C_BLOCK,
    }
    assert ours == {name: I2cFunc[name] for name in ours}
    assert sum(ours.values()) == smbus2_stub.ALL_FUNCTIONS


def test_a_closed_bus_is_an_error_and_can_be_opened_again() -> None:
    bus = SMBus()
    assert errno_of(lambda: bus.read_word_data(AT, 0x09)) == errno.EBADF
    bus.open(3)
    bus.pec = 1
    assert bus.read_word_data(AT, 0x1A) == 0x1031
    bus.close()
    assert bus.pec == 0
    assert errno_of(lambda: bus.read_word_data(AT, 0x09)) == errno.EBADF


def test_an_unknown_pack_is_one_clear_sentence() -> None:
    with pytest.raises(ConfigError, match="'hovver' is not a scenario"):
        SMBus("sim:hovver")
    with pytest.raises(ConfigError, match="did you mean nack"):
        SMBus(1, faults=["nak"])


def test_any_bus_can_be_behind_it() -> None:
    class Unplugged:
        def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
            raise BusAbsentError(f"0x{address:02x} {tx.hex()} {rx_len}")

    assert errno_of(lambda: SMBus(1, pack=Unplugged()).read_word_data(AT, 9)) == errno.EIO


# ---------------------------------------------------------------------- time, and messages


def test_time_is_the_systems_until_it_is_set() -> None:
    bus = SMBus(1, pack="hover")
    first_s = bus.t_s
    assert 0.0 <= first_s < 60.0
    while bus.t_s == first_s:
        pass
    bus.t_s = 300.0
    at_300 = bus.read_word_data(AT, 0x0D)
    assert bus.t_s == 300.0
    bus.t_s = 900.0
    assert bus.read_word_data(AT, 0x0D) < at_300
    bus.t_s = 300.0  # it never goes back
    assert bus.t_s == 900.0


class Noting:
    """A bus that logs its transfers."""

    def __init__(self) -> None:
        self.log: list[tuple[int, bytes, int]] = []

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Answer 0, 1, 2, ..."""
        self.log.append((address, tx, rx_len))
        return bytes(range(rx_len))


def test_messages_become_transfers() -> None:
    wire = Noting()
    bus = SMBus(1, pack=wire)
    last = i2c_msg.read(AT, 3)
    bus.i2c_rdwr(
        i2c_msg.read(AT, 1),
        i2c_msg.write(AT, b"\x00\x01\x00"),
        i2c_msg.write(0x70, []),
        i2c_msg.write(AT, b"\x09"),
        last,
        i2c_msg.write(AT, b"\x10"),
    )
    assert wire.log == [
        (AT, b"", 1),
        (AT, b"\x00\x01\x00", 0),
        (0x70, b"", 0),
        (AT, b"\x09", 3),
        (AT, b"\x10", 0),
    ]
    assert bytes(last) == b"\x00\x01\x02"


def test_calls_send_the_bytes_of_the_kernel() -> None:
    wire = Noting()
    bus = SMBus(1, pack=wire)
    bus.pec = 1
    bus.write_quick(AT)
    bus.write_word_data(AT, 0x03, 0x6001)
    bus.write_block_data(AT, 0x44, [0x71, 0x00])
    bus.write_i2c_block_data(AT, 0x44, [2, 0x71, 0x00])
    assert wire.log == [
        (AT, b"", 0),
        (AT, bytes.fromhex("03 01 60 9c"), 0),  # with the kernel's own codes
        (AT, bytes.fromhex("44 02 71 00 db"), 0),
        (AT, bytes.fromhex("44 02 71 00"), 0),
    ]

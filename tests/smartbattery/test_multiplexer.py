# SPDX-License-Identifier: Apache-2.0
"""Packs behind multiplexers, and the lock on a gauge."""

import multiprocessing
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from smartbattery.device_lock import GaugeLock
from smartbattery.errors import BusError, InUseError, NackError
from smartbattery.multiplexer import MuxBus


@dataclass
class Board:
    """Two multiplexers as SCPS207 describes them, a device on each of some channels."""

    packs: dict[tuple[int, int], bytes]  # (multiplexer, channel): what its pack answers
    open: dict[int, int] = field(default_factory=lambda: {0x70: 0, 0x71: 0})
    log: list[tuple[int, bytes]] = field(default_factory=list)
    absent: set[int] = field(default_factory=set)  # multiplexers without power

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Reply as the hardware: one pack may answer, two at once collide."""
        self.log.append((address, tx))
        if address in self.absent:
            self.open[address] = 0
            raise NackError("no power")
        if address in self.open:
            assert rx_len == 0, "a selection is a write alone"
            self.open[address] = tx[0]
            return b""
        answering = [
            reply
            for (mux, channel), reply in self.packs.items()
            if address == 0x0B and self.open[mux] >> channel & 1
        ]
        assert len(answering) < 2, "two packs answered at once"
        if not answering:
            raise NackError("no device")
        return answering[0][:rx_len]


def test_every_channel_shows_its_own_pack_in_any_order() -> None:
    board = Board({(0x70, 0): b"\x01\x00", (0x70, 7): b"\x02\x00", (0x71, 0): b"\x03\x00"})
    buses = [MuxBus(board, 0x70, 0, (0x71,)), MuxBus(board, 0x70, 7, (0x71,))]
    buses.append(MuxBus(board, 0x71, 0, (0x70,)))
    for order in ((0, 1, 2), (2, 1, 0), (1, 1, 0), (2, 2, 2)):
        assert [buses[k].transfer(0x0B, b"\x09", 2)[0] for k in order] == [k + 1 for k in order]


def test_a_multiplexer_that_was_reset_is_set_again() -> None:
    board = Board({(0x70, 3): b"\x07\x00"})
    bus = MuxBus(board, 0x70, 3)
    bus.transfer(0x0B, b"\x09", 2)
    board.open[0x70] = 0
    assert bus.transfer(0x0B, b"\x09", 2) == b"\x07\x00"


def test_nothing_but_the_channel_is_written_to_the_multiplexer() -> None:
    board = Board({(0x70, 2): b"\x07\x00"})
    MuxBus(board, 0x70, 2, (0x71,)).transfer(0x0B, b"\x09", 2)
    assert board.log == [(0x71, b"\x00"), (0x70, b"\x04"), (0x0B, b"\x09")]


def test_an_unplugged_second_multiplexer_does_not_affect_other_packs() -> None:
    board = Board({(0x70, 2): b"\x07\x00", (0x71, 2): b"\x08\x00"})
    both = [MuxBus(board, 0x70, 2, (0x71,)), MuxBus(board, 0x71, 2, (0x70,))]
    assert [bus.transfer(0x0B, b"\x09", 2)[0] for bus in both] == [7, 8]
    board.absent.add(0x71)
    assert both[0].transfer(0x0B, b"\x09", 2)[0] == 7
    with pytest.raises(NackError):
        both[1].transfer(0x0B, b"\x09", 2)


@pytest.mark.parametrize(("address", "channel"), [(0x6F, 0), (0x78, 0), (0x70, 8), (0x70, -1)])
def test_there_is_no_such_channel(address: int, channel: int) -> None:
    with pytest.raises(ValueError, match="no channel"):
        MuxBus(Board({}), address, channel)


def _hold(folder: Path, ready: "multiprocessing.synchronize.Event") -> None:
    GaugeLock("/dev/i2c-1", 0x0B, "dronebms run", folder)
    ready.set()
    os.kill(os.getpid(), 19)  # stopped, as a process that hangs is; the lock stays held


def test_a_second_program_learns_the_holder_of_a_lock_and_gets_it_when_that_one_is_killed(
    tmp_path: Path,
) -> None:
    ready = multiprocessing.get_context("spawn").Event()
    first = multiprocessing.get_context("spawn").Process(target=_hold, args=(tmp_path, ready))
    first.start()
    assert ready.wait(20)
    with pytest.raises(InUseError, match=rf"in use by dronebms run \(process {first.pid}\)"):
        GaugeLock("/dev/i2c-1", 0x0B, "dronebms probe", tmp_path)
    GaugeLock("/dev/i2c-1", 0x0C, "dronebms probe", tmp_path).close()
    first.kill()
    first.join()
    GaugeLock("/dev/i2c-1", 0x0B, "dronebms probe", tmp_path).close()


def test_a_link_to_the_adapter_is_the_adapter(tmp_path: Path) -> None:
    (tmp_path / "i2c-9").touch()
    (tmp_path / "battery-bus").symlink_to(tmp_path / "i2c-9")
    lock = GaugeLock(str(tmp_path / "i2c-9"), 0x0B, "one", tmp_path)
    with pytest.raises(InUseError, match="in use by one"):
        GaugeLock(str(tmp_path / "battery-bus"), 0x0B, "two", tmp_path)
    lock.close()
    GaugeLock(str(tmp_path / "battery-bus"), 0x0B, "two", tmp_path).close()


def test_a_lock_is_for_every_user_whatever_the_umask_and_names_its_holder(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        GaugeLock("/dev/i2c-1", 0x0B, "dronebms run", tmp_path).close()
    finally:
        os.umask(before)
    (path,) = tmp_path.iterdir()
    assert path.name == "smartbattery-dev-i2c-1-0b.lock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert path.read_text() == f"dronebms run (process {os.getpid()})\n"


def test_a_lock_follows_no_planted_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "smartbattery-dev-i2c-1-0b.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(BusError, match="cannot be created"):
        GaugeLock("/dev/i2c-1", 0x0B, "dronebms run", tmp_path)
    assert (tmp_path / "precious").read_text() == "precious"

# SPDX-License-Identifier: Apache-2.0
"""The package on recorded frames, random bytes, and the contract of sources."""

import math
import random
from itertools import pairwise

import pytest
from board import FRAMES, RECORDED, Board, basic, bytes_of, reply
from dronebms_jbd import INTERFACE, frames, open_gauge, trouble_of
from dronebms_jbd.gauge import JbdGauge

from dronebms.core import GAUGE_INTERFACE, ConfigError, GaugePackage
from sim.source_contract import check_silence, check_snapshot, check_snapshots

TENTHS = [step / 10 for step in range(200)]


def gauge_of(board: Board) -> JbdGauge:
    return JbdGauge("jbd /dev/ttyX", lambda: board)


# ------------------------------------------------------------------------- frames


@pytest.mark.parametrize("row", FRAMES["basic"], ids=lambda row: row["source"])
def test_a_recorded_reply_has_the_values_of_its_source(row: dict[str, object]) -> None:
    data = frames.reply_to(frames.BASIC, bytes.fromhex(str(row["reply"])))
    assert data is not None
    found = frames.basic_of(data)
    assert found is not None
    date = row["date"]
    assert isinstance(date, list)
    for name in ("voltage_v", "remaining_mah", "rated_mah", "cycles", "soc_pct", "cells"):
        assert getattr(found, name) == pytest.approx(row[name])
    assert found.current_a == pytest.approx(row["current_a"])
    assert found.date == tuple(date)
    assert list(found.alerts) == row["alerts"]
    assert found.temperatures_degc == pytest.approx(row["temperatures_degc"])


@pytest.mark.parametrize("row", FRAMES["cells"], ids=lambda row: row["source"])
def test_recorded_cells_have_the_values_of_their_source(row: dict[str, object]) -> None:
    data = frames.reply_to(frames.CELLS, bytes.fromhex(str(row["reply"])))
    assert data is not None
    assert list(frames.cells_of(data)) == row["cells_v"]


@pytest.mark.parametrize("row", FRAMES["hardware"], ids=lambda row: row["source"])
def test_a_recorded_name_is_that_of_its_source(row: dict[str, str]) -> None:
    data = frames.reply_to(frames.HARDWARE, bytes.fromhex(row["reply"]))
    assert data is not None
    assert frames.text_of(data) == row["text"]


@pytest.mark.parametrize("row", FRAMES["errors"], ids=lambda row: row["what"])
def test_a_damaged_reply_is_none(row: dict[str, str]) -> None:
    damaged = bytes.fromhex(row["reply"])
    assert frames.reply_to(damaged[1], damaged) is None
    sound = RECORDED[damaged[1]]
    assert frames.reply_to(damaged[1], damaged + sound) == sound[4:-3]


def test_requests_are_those_that_were_recorded_and_no_others() -> None:
    recorded = ("DD A5 03 00 FF FD 77", "DD A5 04 00 FF FC 77", "DD A5 05 00 FF FB 77")
    assert [frames.request(one) for one in frames.READS] == [bytes.fromhex(x) for x in recorded]
    for command in set(range(256)) - set(frames.READS):
        with pytest.raises(ValueError, match="not sent"):
            frames.request(command)


@pytest.mark.parametrize("command", frames.READS)
def test_a_truncated_reply_is_none_and_a_flipped_bit_is_noticed(command: int) -> None:
    whole = RECORDED[command]
    for end in range(len(whole)):
        assert frames.reply_to(command, whole[:end]) is None
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        assert frames.reply_to(command, bytes(flipped)) is None


def test_a_reply_is_found_behind_noise_and_behind_another_reply() -> None:
    noise = b"\x00\xdd\xdd\x03\x00\xff" + RECORDED[frames.CELLS]
    data = frames.reply_to(frames.BASIC, noise + RECORDED[frames.BASIC] + b"\xdd\x03")
    assert data == RECORDED[frames.BASIC][4:-3]


def test_random_bytes_raise_nothing() -> None:
    source = random.Random(18)  # noqa: S311 - no secret
    for _ in range(3000):
        received = source.randbytes(source.randrange(80))
        for command in frames.READS:
            assert frames.reply_to(command, received) is None
        frames.basic_of(received)
        frames.cells_of(received)
        frames.text_of(received)


@pytest.mark.parametrize(
    ("raw", "current_a"),
    [(-1000, 10.0), (1000, -10.0), (0, 0.0), (32767, None), (-32768, None), (-32767, 327.67)],
)
def test_current_is_positive_while_discharging(raw: int, current_a: float | None) -> None:
    found = frames.basic_of(basic(4, 15.0, raw)[4:-3])
    assert found is not None
    assert found.current_a == current_a
    assert math.copysign(1.0, found.current_a or 0.0) == (-1.0 if raw == 1000 else 1.0)


def test_the_hottest_plausible_sensor_counts() -> None:
    found = frames.basic_of(basic(4, 15.0, 0, 20.0, -273.1, 41.5, 999.9)[4:-3])
    assert found is not None
    assert found.temperatures_degc == (20.0, 41.5)
    short = basic(4, 15.0, 0, 20.0, 41.5)[4:-5]  # the last sensor is missing
    cut = frames.basic_of(short)
    assert cut is not None
    assert cut.temperatures_degc == (20.0,)


# ------------------------------------------------------------------------- the gauge


def test_a_board_keeps_the_contract_of_a_source_and_falls_silent() -> None:
    board = Board()
    gauge = gauge_of(board)
    last = check_snapshots(gauge, TENTHS)[-1]
    assert (last.voltage_v, last.current_a, last.soc_pct) == (15.6, 2.87, 100.0)
    assert last.cells_v == (3.43, 3.425, 3.432, 3.417)
    assert last.temperature_degc == pytest.approx(22.4)
    assert (last.remaining_mah, last.cycles, last.full_mah) == (4980.0, 42.0, None)
    assert last.identity.device == "JBD-SP04S034-L4S-200A-B-U"
    assert (last.identity.design_mah, last.identity.cells) == (5000.0, 4)
    assert last.identity.date == (2022, 3, 28)
    board.silent = True
    check_silence(gauge, 20.0)
    assert gauge.poll(200.0).trouble == "jbd /dev/ttyX: no reply"


def test_nothing_but_the_three_reads_is_ever_written() -> None:
    source = random.Random(7)  # noqa: S311 - no secret
    board = Board()
    gauge = gauge_of(board)
    for step in range(6000):
        if step % 10 == 0:
            board.ahead += source.randbytes(source.randrange(40))
        board.silent = step % 500 > 400
        check_snapshot(gauge.poll(step / 10), step / 10)
    assert set(board.written) == {frames.request(command) for command in frames.READS}


def test_each_value_is_read_twice_a_second_at_least() -> None:
    gauge = gauge_of(Board())
    read_s = [gauge.poll(t_s).read_at_s.get("cell1_v") for t_s in TENTHS]
    times_s = sorted({at_s for at_s in read_s if at_s is not None})
    assert max(b - a for a, b in pairwise(times_s)) <= 0.5


@pytest.mark.parametrize("cells", [1, 16, 17, 24, 32])
def test_every_cell_of_a_large_pack_is_read(cells: int) -> None:
    volts = b"".join((3700 + k).to_bytes(2) for k in range(cells))
    board = Board({frames.BASIC: basic(cells, 3.7 * cells), frames.CELLS: reply(4, volts)})
    last = check_snapshots(gauge_of(board), TENTHS)[-1]
    assert last.cells_v == pytest.approx([3.7 + k / 1000 for k in range(cells)])
    assert last.identity.cells == cells


def test_more_or_fewer_voltages_than_cells_show_no_cell() -> None:
    board = Board(RECORDED | {frames.CELLS: bytes_of("cells", 1)})
    last = check_snapshots(gauge_of(board), TENTHS)[-1]
    assert last.cells_v == (None,) * 4
    assert last.doubts == ("16 cell voltages of 4 cells: rejected",)
    assert last.voltage_v == 15.6


def test_a_board_without_cells_has_no_voltage() -> None:
    board = Board({frames.BASIC: bytes_of("basic", 1), frames.CELLS: bytes_of("cells", 1)})
    gauge = gauge_of(board)
    last = [gauge.poll(t_s) for t_s in TENTHS][-1]
    assert (last.voltage_v, last.trouble) == (None, "jbd /dev/ttyX: the board reports 0 V")
    assert last.cells_v == (3.6,) * 15 + (None,)


def test_a_board_without_a_name_is_read_all_the_same() -> None:
    board = Board({**RECORDED, frames.HARDWARE: b""})
    last = check_snapshots(gauge_of(board), TENTHS)[-1]
    assert last.identity.device is None
    assert board.written.count(frames.request(frames.HARDWARE)) == 1


def test_a_port_that_fails_is_opened_again_once_a_second() -> None:
    boards: list[Board] = []

    def open_port() -> Board:
        if len(boards) in (1, 2):
            boards.append(Board())
            raise FileNotFoundError(2, "No such file or directory")
        boards.append(Board())
        return boards[-1]

    gauge = JbdGauge("jbd /dev/ttyX", open_port)
    assert check_snapshots(gauge, TENTHS[:50])[-1].voltage_v == 15.6
    boards[0].gone = True
    assert gauge.poll(5.0).voltage_v == 15.6  # for two seconds
    assert boards[0].closed
    assert gauge.poll(7.5).trouble == "jbd /dev/ttyX: No such file or directory"
    assert [gauge.poll(step / 10) for step in range(76, 110)][-1].voltage_v == 15.6
    assert len(boards) == 4
    gauge.close()
    assert boards[-1].closed


# ------------------------------------------------------------------------- the interface


def test_the_package_is_one_of_this_interface() -> None:
    import dronebms_jbd  # noqa: PLC0415 - the module is what is checked

    package: GaugePackage = dronebms_jbd
    assert package.INTERFACE == INTERFACE == GAUGE_INTERFACE
    gauge = package.open_gauge("jbd:/dev/ttyNone", None)
    assert "No such file" in str(gauge.poll(0.0).trouble)
    gauge.close()


@pytest.mark.parametrize("bus", ["jbd:", "jbd:COM3", "jbd:/dev/x@fast", "jbd:/dev/x@", "x:/dev/x"])
def test_a_bus_without_a_port_is_refused(bus: str) -> None:
    with pytest.raises(ConfigError, match='expected "jbd:/dev/ttyUSB0"'):
        open_gauge(bus, None)


def test_a_port_that_is_absent_is_named_with_what_mends_it() -> None:
    assert trouble_of("jbd:/dev/null@115200") is None
    trouble = trouble_of("jbd:/dev/ttyNone")
    assert trouble is not None
    assert trouble[0] == "/dev/ttyNone: no such port"
    assert trouble[1].startswith("bus = ")

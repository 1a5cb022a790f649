# SPDX-License-Identifier: Apache-2.0
"""The virtual BQ40 to the byte, by the manual's layouts, and the selectors that act on it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dronebms.core.clock import VirtualClock
from dronebms.core.errors import ConfigError
from sim.emulator import bq40_data as rows
from sim.emulator.world import World, open_virtual
from sim.plant.gauge_spec import GaugeSpec
from sim.plant.pack_spec import PackSpec
from sim.plant.scenario import Phase, Scenario, load_scenario
from smartbattery.bq40 import (
    PARTS,
    READ_SELECTORS,
    Z50_R4,
    Z80,
    part_of,
    security_of,
)
from smartbattery.bq40.blocks import DA_STATUS_1, LIFETIME_4, LIFETIME_5
from smartbattery.errors import NackError
from smartbattery.fields import Block, decode_block, encode_block
from smartbattery.pec import pec
from smartbattery.profiles import PROFILES, BlockRead
from tests.multiplexer import VirtualMux

SILENT = {"current_noise_a": 0.0, "voltage_noise_v": 0.0, "temperature_noise_degc": 0.0}
BLOCKS = [block for part in PARTS for block in part.blocks]
BLOCKS += [query.block for row in PROFILES for query in row.cells if isinstance(query, BlockRead)]
LENGTHS = {  # of a reply without its echo: TI SLUUCH2 and SLUUBT5C, as far as they are certain
    "bq40z50": {
        0x01: 2, 0x02: 11, 0x50: 4, 0x51: 4, 0x52: 4, 0x53: 4, 0x54: 4, 0x55: 3, 0x56: 3, 0x57: 2,
        0x60: 26, 0x70: 32, 0x71: 32, 0x72: 26, 0x73: 32, 0x74: 32, 0x75: 24, 0x76: 19, 0x77: 4,
    },
    "bq40z80": {
        0x01: 2, 0x02: 11, 0x50: 4, 0x51: 4, 0x52: 4, 0x53: 4, 0x54: 4, 0x55: 3, 0x56: 3, 0x57: 2,
        0x60: 30, 0x70: 32, 0x71: 32, 0x72: 16, 0x73: 32, 0x74: 32, 0x75: 32, 0x76: 30, 0x77: 4,
        0x7B: 18,
    },
}  # fmt: skip
SEALED_AGAINST = (0x000A, 0x0011, 0x001E, 0x001F, 0x0020, 0x0022, 0x0028, 0x0033, 0x0F00, 0x4000)


class Bench:
    """A pack behind a BQ40, its gauge without noise, and the bytes of a host."""

    def __init__(self, kind: str = "bq40z80", cells: int = 6, *, sends_pec: bool = True) -> None:
        spec = {"chemistry": "lipo", "cells": cells, "cell_mah": 8000.0, "resistance_mohm_ah": 35.0}
        scenario = Scenario(
            name="bench",
            pack=PackSpec.model_validate(spec),
            gauge=GaugeSpec.model_validate({**SILENT, "kind": kind, "pec": sends_pec}),
            phase=(Phase(name="load", duration_s=60.0, power_w=40.0 * cells),),
        )
        self.world = World(scenario, 1)
        assert self.world.bq40 is not None
        self.bq40 = self.world.bq40

    def run(self, duration_s: float) -> None:
        """Let time pass under the load."""
        self.world.advance(self.world.t_s + duration_s)

    def word(self, command: int) -> int:
        """Return a word as it is on the wire."""
        return int.from_bytes(self.bq40.reply(bytes((command,)), 2), "little")

    def select(self, selector: int) -> None:
        """Write a selector, without a PEC."""
        self.bq40.reply(b"\x44\x02" + selector.to_bytes(2, "little"), 0)

    def data(self, selector: int) -> bytes:
        """The data of a selector; asserts count, echo and PEC."""
        self.select(selector)
        reply = self.bq40.reply(b"\x44", 40)
        end = 1 + reply[0]
        assert reply[1:3] == selector.to_bytes(2, "little")
        assert reply[end] == pec((0x16, 0x44, 0x17, *reply[:end]))
        assert set(reply[end + 1 :]) == {0xFF}
        return reply[3:end]

    def flags(self, selector: int) -> int:
        """Return a status word."""
        return int.from_bytes(self.data(selector), "little")

    def hold_cell(self, index: int, cell_v: float) -> Iterator[None]:
        """Let the gauge measure a cell at a voltage, one measurement after another."""
        pack, gauge = self.world._pack, self.world.gauge
        t_s = self.world.t_s
        while True:
            t_s += 0.25
            pack.cells_v[index] = cell_v
            gauge.update(t_s)
            self.bq40.update(t_s)
            yield


def volts(data: bytes, *offsets: int) -> list[float]:
    return [int.from_bytes(data[at : at + 2], "little") / 1000 for at in offsets]


# ---------------------------------------------------------------------- rows, backwards


@given(st.sampled_from(BLOCKS), st.data())
def test_a_block_encodes_to_the_bytes_it_was_decoded_from(
    block: Block, draw: st.DataObject
) -> None:
    length = len(encode_block(block, {}))
    data = draw.draw(st.binary(min_size=length, max_size=length))
    covered = bytearray(length)
    for row in block.fields:
        covered[row.offset : row.offset + row.size] = b"\xff" * row.size
    expected = bytes(a & b for a, b in zip(data, covered, strict=True))
    assert encode_block(block, decode_block(block, data)) == expected


def test_a_value_out_of_range_is_limited_and_a_missing_one_is_zeros() -> None:
    data = encode_block(DA_STATUS_1, {"cell1_v": 99.0, "cell2_v": -1.0, "cell1_a": 99.0})
    assert data == b"\xff\xff" + bytes(10) + b"\x00\x80" + bytes(18)


# ---------------------------------------------------------------------- access


def test_a_select_with_the_pec_of_the_kernel_is_accepted_and_one_flipped_bit_is_not() -> None:
    bench = Bench()
    bench.bq40.reply(bytes.fromhex("44 02 71 00 db"), 0)
    assert bench.bq40.reply(b"\x44", 3) == b"\x22\x71\x00"
    flawed = bytes.fromhex("44 02 72 00")
    for bit in range(8):
        with pytest.raises(NackError, match="refuses"):
            bench.bq40.reply(bytes((*flawed, pec((0x16, *flawed)) ^ 1 << bit)), 0)
    assert bench.bq40.selected == [0x71]


@pytest.mark.parametrize("tx", ["44 02 71", "44 03 71 00 00", "44 01 71", "00 71", "44", "44 02"])
def test_a_write_that_selects_nothing_is_refused(tx: str) -> None:
    bench = Bench()
    with pytest.raises(NackError):
        bench.bq40.reply(bytes.fromhex(tx), 0)
    assert bench.bq40.selected == []


@pytest.mark.parametrize("tx", ["01 00 80", "0f 00 00", "23 02 71 00", "4a 10 00"])
def test_any_other_write_is_refused_and_counted(tx: str) -> None:
    bench = Bench()
    with pytest.raises(NackError, match="refuses a write"):
        bench.bq40.reply(bytes.fromhex(tx), 0)
    assert bench.world.gauge.refused_writes == 1


def test_both_ways_of_access_have_the_same_reply_with_and_without_echo() -> None:
    bench = Bench()
    bench.bq40.reply(bytes.fromhex("00 71 00"), 0)
    with_echo, without = bench.bq40.reply(b"\x44", 36), bench.bq40.reply(b"\x23", 34)
    assert (with_echo[:3], without[0]) == (b"\x22\x71\x00", 32)
    assert with_echo[3:35] == without[1:33]
    assert without[33] == pec((0x16, 0x23, 0x17, *without[:33]))


def test_nothing_is_to_be_read_before_something_was_selected() -> None:
    for command in (b"\x44", b"\x23"):
        with pytest.raises(NackError, match="nothing selected"):
            Bench().bq40.reply(command, 8)


@pytest.mark.parametrize("command", [0x00, *range(0x50, 0x65), *range(0x70, 0x7E)])
def test_the_direct_commands_of_a_sealed_part_are_refused(command: int) -> None:
    with pytest.raises(NackError, match="has no command"):
        Bench().bq40.reply(bytes((command,)), 4)


def test_a_part_without_pec_sends_none() -> None:
    bench = Bench(sends_pec=False)
    bench.select(0x54)
    assert bench.bq40.reply(b"\x44", 9)[7:] == b"\xff\xff"


# ---------------------------------------------------------------------- data


@pytest.mark.parametrize(("kind", "cells"), [("bq40z50", 4), ("bq40z80", 7)])
def test_every_reply_is_as_long_as_in_the_manual(kind: str, cells: int) -> None:
    bench = Bench(kind, cells)
    assert {selector: len(bench.data(selector)) for selector in LENGTHS[kind]} == LENGTHS[kind]


@pytest.mark.parametrize(("kind", "cells"), [("bq40z50", 4), ("bq40z80", 6)])
def test_every_readable_selector_is_answered_or_refused(kind: str, cells: int) -> None:
    bench = Bench(kind, cells)
    answered = set()
    for selector in READ_SELECTORS:
        try:
            bench.select(selector)
        except NackError:
            continue
        answered.add(selector)
    assert set(bench.bq40.selected) == READ_SELECTORS
    assert answered >= set(LENGTHS[kind])


def test_the_part_is_identified_by_its_replies() -> None:
    z50, z80 = Bench("bq40z50", 4), Bench()
    assert z50.data(0x02)[:9] == bytes.fromhex("45 00 04 02 00 4f 04 04 75")
    assert z50.data(0x01) == b"\x00\x45"
    assert part_of(z50.data(0x02), z50.data(0x01)) is Z50_R4
    assert part_of(z80.data(0x02), z80.data(0x01)) is Z80


def test_the_cells_of_a_bq40z80_are_where_the_manual_puts_them() -> None:
    bench = Bench("bq40z80", 7)
    bench.run(10.0)
    cells_v = [round(v, 3) for v in bench.world.truth().cells_v]
    assert len(set(cells_v)) > 4
    assert volts(bench.data(0x71), 0, 2, 4, 6) == cells_v[:4]
    assert volts(bench.data(0x7B), 0, 6, 12) == cells_v[4:]
    words = [bench.word(command) / 1000 for command in (0x3F, 0x3E, 0x3D, 0x3C)]
    assert words == cells_v[3:]
    for command in (0x40, 0x3B, 0x38):
        with pytest.raises(NackError):
            bench.word(command)


def test_a_bq40z80_shows_zeros_where_there_is_no_cell() -> None:
    bench = Bench("bq40z80", 5)
    assert [bench.word(command) > 0 for command in (0x3F, 0x3E, 0x3D, 0x3C)] == [1, 1, 0, 0]
    assert bench.data(0x7B)[6:] == bytes(12)


def test_a_bq40z50_of_three_cells_answers_zero_for_the_fourth() -> None:
    bench = Bench("bq40z50", 3)
    words = [bench.word(command) for command in (0x3F, 0x3E, 0x3D, 0x3C)]
    assert words == [round(v * 1000) for v in bench.world.truth().cells_v] + [0]
    assert bench.data(0x71)[6:8] == b"\0\0"


def test_load_current_and_power_are_negative_on_the_wire() -> None:
    bench = Bench()
    bench.run(10.0)
    truth, data = bench.world.truth(), bench.data(0x71)
    amps = int.from_bytes(data[12:14], "little", signed=True) / 1000
    watts = int.from_bytes(data[28:30], "little", signed=True) / 100
    assert amps == pytest.approx(-truth.current_a, abs=0.02)
    assert watts == pytest.approx(-truth.power_w, abs=0.5)
    assert volts(data, 8) == [round(truth.voltage_v, 3)]


def test_temperatures_are_tenths_of_kelvin() -> None:
    data = Bench("bq40z50", 4).data(0x72)
    kelvin = [int.from_bytes(data[at : at + 2], "little") / 10 for at in range(0, 14, 2)]
    assert kelvin[0] == kelvin[5] == pytest.approx(295.15, abs=0.1)
    assert kelvin[2:5] == [0.0, 0.0, 0.0]  # three of its sensors are not fitted
    assert kelvin[6] > kelvin[5]  # the transistors are warmer


def test_charges_are_those_of_the_gauge() -> None:
    bench = Bench("bq40z50", 4)
    bench.run(30.0)
    remaining, full = bench.word(0x0F), bench.word(0x10)
    data = bench.data(0x73)
    assert [int.from_bytes(data[at : at + 2], "little") for at in (0, 8)] == [remaining, full]
    assert int.from_bytes(bench.data(0x77)[:2], "little") == full


def test_the_lifetime_block_stores_the_extremes() -> None:
    bench = Bench("bq40z50", 4)
    first_v = [round(v, 3) for v in bench.world.truth().cells_v]
    bench.run(30.0)
    last_v = [round(v, 3) for v in bench.world.truth().cells_v]
    data = bench.data(0x60)
    assert volts(data, 0, 2, 4, 6) == first_v
    assert volts(data, 8, 10, 12, 14) == last_v
    most_ma = int.from_bytes(data[20:22], "little", signed=True)
    assert most_ma == pytest.approx(-bench.world.truth().current_a * 1000, abs=30)


# ---------------------------------------------------------------------- safety logic


def test_a_sound_pack_is_sealed_switched_on_and_has_no_alarm() -> None:
    bench = Bench()
    assert bench.flags(0x54) == 0b11_0000_0111  # PRES, DSG, CHG, SEC0, SEC1
    assert [bench.flags(selector) for selector in (0x50, 0x51, 0x52, 0x53)] == [0, 0, 0, 0]


def test_a_low_cell_alerts_trips_after_its_delay_and_recovers_above_its_limit() -> None:
    bench = Bench()
    low = bench.hold_cell(2, 2.45)
    next(low)
    assert (bench.flags(0x50), bench.flags(0x51)) == (1, 0)
    for _ in range(8):
        next(low)
    assert (bench.flags(0x50), bench.flags(0x51)) == (0, 1)
    assert bench.flags(0x54) == 0b1011_0000_0111  # SS; nothing has opened
    next(bench.hold_cell(2, 2.9))
    assert bench.flags(0x51) == 1
    next(bench.hold_cell(2, 3.1))
    assert (bench.flags(0x51), bench.flags(0x54)) == (0, 0b11_0000_0111)


def test_a_dip_shorter_than_the_delay_trips_nothing() -> None:
    bench = Bench()
    for _ in range(5):
        low = bench.hold_cell(0, 2.0)
        for _ in range(7):
            next(low)
        assert bench.flags(0x50) == 1
        next(bench.hold_cell(0, 3.7))
        assert (bench.flags(0x50), bench.flags(0x51)) == (0, 0)


def test_a_far_too_low_cell_is_a_failure_that_nothing_clears() -> None:
    bench = Bench()
    low = bench.hold_cell(5, 1.0)
    for _ in range(10):
        next(low)
    assert (bench.flags(0x52), bench.flags(0x53)) == (1, 0)
    for _ in range(12):
        next(low)
    assert (bench.flags(0x52), bench.flags(0x53)) == (0, 1)
    bench.select(0x41)
    for _ in range(20):
        next(bench.hold_cell(5, 3.9))
    assert bench.flags(0x53) == 1
    assert bench.flags(0x54) >> 11 & 0b11 == 0b10  # PF, SS is over


MANUAL = {  # bit of the status word, delay, a bad value, one that is not good yet, a good one
    "CUV": (0, 2.0, 2.4, 2.9, 3.1), "COV": (1, 2.0, 4.35, 4.0, 3.85),
    "OCC1": (2, 6.0, -17.0, -0.1, 0.3), "OCC2": (3, 3.0, -22.0, -0.1, 0.3),
    "OCD1": (4, 6.0, 170.0, 0.1, -0.3), "OCD2": (5, 3.0, 220.0, 0.1, -0.3),
    "AOLD": (6, 0.0, 530.0, 0.1, -0.3),
    "OTC": (12, 2.0, 56.0, 52.0, 49.0), "OTD": (13, 2.0, 61.0, 57.0, 54.0),
    "OTF": (16, 2.0, 81.0, 70.0, 64.0),
    "UTC": (26, 2.0, -1.0, 3.0, 6.0), "UTD": (27, 2.0, -1.0, 3.0, 6.0),
    "SUV": (0, 5.0, 2.1, 3.9, 3.9), "SOV": (1, 5.0, 4.55, 3.9, 3.9),
    "SOCC": (2, 5.0, -27.0, 0.0, 0.0), "SOCD": (3, 5.0, 270.0, 0.0, 0.0),
    "SOT": (4, 5.0, 66.0, 25.0, 25.0), "SOTF": (6, 5.0, 86.0, 25.0, 25.0),
    "TS1": (28, 5.0, -55.0, 25.0, 25.0),
}  # fmt: skip
PACK = Bench().world.scenario.pack
PROTECTIONS = [row.name for row in rows.safety_limits(PACK)]
FAILURES = [row.name for row in rows.permanent_fail_limits(PACK)]
ROWS = {row.name: row for row in (*rows.safety_limits(PACK), *rows.permanent_fail_limits(PACK))}


class Judged(Bench):
    """A part that measures one changed quantity at a time."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.row = ROWS[name]
        self.t_s = 0.0

    def show(self, value: float, duration_s: float) -> None:
        """Let the part evaluate a value for some time, four times a second."""
        values = self.world.gauge._values
        for _ in range(round(duration_s * 4)):
            self.t_s += 0.25
            self.world.gauge.update(self.t_s)
            values["current_a"] = -1.0 if self.row.when is rows.ActiveWhile.CHARGING else 20.0
            values["chip_degc"] = 25.0
            if self.row.quantity in ("lowest_v", "highest_v"):
                values |= {f"cell{k + 1}_v": value for k in range(6)}
            elif self.row.quantity == "fet_degc":
                values["chip_degc"] = value - 0.2 * 20.0  # 0.2 K an ampere above the chip
            elif self.row.quantity == "charging_a":
                values["current_a"] = value
            else:
                values[self.row.quantity] = value
            self.bq40.update(self.t_s)


@pytest.mark.parametrize("name", PROTECTIONS)
def test_a_protection_alerts_trips_after_its_delay_and_recovers(name: str) -> None:
    assert name in MANUAL, f"MANUAL lacks {name}"
    bit, delay_s, bad, not_yet, good = MANUAL[name]
    bench = Judged(name)
    if delay_s:  # hardware acts at once, without an alert
        bench.show(bad, 0.25)
        assert (bench.flags(0x50) >> bit & 1, bench.flags(0x51) >> bit & 1) == (1, 0)
        assert bool(bench.word(0x16) & rows.ALARMS[bench.row.alert]) if bench.row.alert else True
        bench.show(bad, delay_s - 0.25)
        assert bench.flags(0x51) >> bit & 1 == 0
    bench.show(bad, 0.25)
    assert (bench.flags(0x50) >> bit & 1, bench.flags(0x51) >> bit & 1) == (0, 1)
    assert bench.flags(0x54) >> 11 & 1  # SS
    if bench.row.alarm:
        assert bench.word(0x16) & rows.ALARMS[bench.row.alarm]
    bench.show(not_yet, 10.0)
    assert bench.flags(0x51) >> bit & 1
    bench.show(good, 5.5)
    assert bench.flags(0x51) >> bit & 1 == 0
    bench.world.gauge.update(bench.t_s + 0.25)
    events = {row.name for row in LIFETIME_4.fields + LIFETIME_5.fields}
    if f"{name.lower()}_events" in events:
        assert bench.bq40._values()[f"{name.lower()}_events"] == 1


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_permanent(name: str) -> None:
    assert name in MANUAL, f"MANUAL lacks {name}"
    bit, delay_s, bad, _, good = MANUAL[name]
    bench = Judged(name)
    bench.show(bad, delay_s)
    assert (bench.flags(0x52) >> bit & 1, bench.flags(0x53) >> bit & 1) == (1, 0)
    bench.show(bad, 0.25)
    assert (bench.flags(0x52) >> bit & 1, bench.flags(0x53) >> bit & 1) == (0, 1)
    bench.show(good, 60.0)
    bench.select(0x0041)
    bench.show(good, 3.0)
    assert bench.flags(0x53) == 1 << bit
    assert bench.flags(0x54) >> 12 & 1  # PF


@pytest.mark.parametrize("name", ["OTC", "UTC", "OTD", "UTD"])
def test_a_limit_of_charging_is_not_monitored_while_discharging_and_vice_versa(
    name: str,
) -> None:
    bit, bench = MANUAL[name][0], Judged(name)
    other = {"OTC": "OTD", "OTD": "OTC", "UTC": "UTD", "UTD": "UTC"}[name]
    bench.row = ROWS[other]
    bench.show(MANUAL[other][2], 5.0)
    assert bench.flags(0x51) >> bit & 1 == 0
    assert bench.flags(0x51) >> MANUAL[other][0] & 1


# ---------------------------------------------------------------------- modes of security

KEYS = ((0x0414, 0x3672), (0xFFFF, 0xFFFF))


def mode_of(bench: Bench) -> str | None:
    return security_of(bench.data(0x54))


def word_access(bench: Bench, word: int) -> None:
    bench.bq40.reply(b"\x00" + word.to_bytes(2, "little"), 0)


def test_the_keys_open_a_part_step_by_step_and_seal_closes_it() -> None:
    bench = Bench()
    modes = [mode_of(bench)]
    for words in KEYS:
        for word in words:
            word_access(bench, word)
        modes.append(mode_of(bench))
    word_access(bench, 0x0030)
    modes.append(mode_of(bench))
    assert modes == ["sealed", "unsealed", "full access", "sealed"]
    assert bench.bq40.selected[1:3] == [0x0414, 0x3672]


def test_a_key_with_a_command_in_between_too_late_or_in_wrong_order_opens_nothing() -> None:
    bench = Bench()
    word_access(bench, 0x0414)
    bench.word(0x09)
    with pytest.raises(NackError, match="sealed"):
        word_access(bench, 0x3672)
    word_access(bench, 0x0414)
    bench.run(4.5)
    with pytest.raises(NackError, match="sealed"):
        word_access(bench, 0x3672)
    with pytest.raises(NackError, match="sealed"):
        word_access(bench, 0xFFFF)
    assert mode_of(bench) == "sealed"


def unsealed() -> Bench:
    bench = Bench()
    for word in KEYS[0]:
        word_access(bench, word)
    return bench


def test_an_unsealed_part_answers_directly_what_it_answers_by_selector() -> None:
    bench = unsealed()
    for selector in (0x50, 0x51, 0x54, 0x57, 0x60, 0x71, 0x72, 0x7B):
        reply = bench.bq40.reply(bytes((selector,)), 40)
        data = reply[1 : 1 + reply[0]]
        assert reply[1 + reply[0]] == pec((0x16, selector, 0x17, *reply[: 1 + reply[0]]))
        assert data == bench.data(selector)
    for command in (0x01, 0x02, 0x4F):  # selectors, not commands
        with pytest.raises(NackError):
            bench.bq40.reply(bytes((command,)), 4)


def test_an_unsealed_part_is_switched_and_a_sealed_one_is_not() -> None:
    bench, sealed = unsealed(), Bench()
    before = bench.flags(0x57)
    for selector, bit in ((0x22, 4), (0x23, 5), (0x24, 6), (0x25, 7), (0x26, 8), (0x27, 9)):
        bench.select(selector)
        assert bench.flags(0x57) == before ^ 1 << bit
        bench.select(selector)
        with pytest.raises(NackError, match="sealed"):
            sealed.select(selector)
    assert bench.flags(0x57) == before
    with pytest.raises(NackError, match="no selector 0x0f00"):
        bench.select(0x0F00)


def test_a_part_whose_failures_are_switched_off_declares_none_until_they_are_on_again() -> None:
    bench = unsealed()
    bench.select(0x0024)
    low = bench.hold_cell(1, 1.5)
    for _ in range(40):
        next(low)
    assert bench.flags(0x53) == 0
    bench.select(0x0024)
    for _ in range(25):
        next(low)
    assert bench.flags(0x53) == 1
    bench.select(0x0029)  # only an unsealed part forgets a failure
    assert bench.flags(0x53) == 0


def test_an_unsealed_part_clears_its_lifetime_data_on_command() -> None:
    bench = unsealed()
    bench.run(10.0)
    high_v = bench.bq40._values()["cell1_max_v"]
    bench.select(0x0028)
    bench.run(10.0)
    assert bench.bq40._values()["cell1_max_v"] < high_v


def test_a_reset_seals_it() -> None:
    bench = unsealed()
    bench.select(0x0041)
    assert mode_of(bench) == "sealed"


def test_a_capacity_update_shows_in_the_gauging_status_and_the_lifetime_data() -> None:
    bench = Bench("bq40z50", 4)
    assert bench.flags(0x56) & (1 << 8 | 1 << 11 | 1 << 17) == 0
    learning = bench.world.gauge.learning
    learning.updates, learning.rested, learning.last_reading = 1, True, (0.5, 4.0)
    assert bench.flags(0x56) >> 8 & 1  # REST
    assert bench.flags(0x56) >> 11 & 1  # VOK
    assert bench.flags(0x56) >> 17 & 1  # QMax
    assert int.from_bytes(bench.data(0x64)[20:22], "little") == 1  # how often QMax was learned
    assert int.from_bytes(bench.data(0x64)[22:24], "little") == 12  # at which cycle


# ---------------------------------------------------------------------- what acts


def test_a_sealed_part_shuts_down_at_the_second_command() -> None:
    bench = Bench()
    bench.select(0x0010)
    bench.run(3.5)
    assert bench.word(0x09) > 0
    bench.select(0x0010)
    for _ in range(3):
        bench.run(20.0)
        for tx in (b"\x09", b"\x44", b""):
            with pytest.raises(NackError, match="shut down"):
                bench.bq40.reply(tx, 2)
        with pytest.raises(NackError, match="shut down"):
            bench.select(0x54)
    assert bench.bq40.selected == [0x0010, 0x0010]


def test_once_is_not_enough_and_the_second_time_must_be_soon() -> None:
    bench = Bench()
    for _ in range(3):
        bench.select(0x0010)
        bench.run(4.5)
    assert not bench.bq40.shut_down
    assert bench.word(0x09) > 0


@pytest.mark.parametrize("selector", [0x0012, 0x0041])
def test_a_reset_loses_the_charge_counted_and_starts_for_a_while(selector: int) -> None:
    bench = Bench()
    power_on = bench.word(0x0F)
    bench.run(60.0)
    assert bench.word(0x0F) < power_on - 100
    bench.select(selector)
    assert bench.word(0x0F) == power_on
    assert bench.word(0x16) & 0x80 == 0
    assert bench.flags(0x54) >> 24 & 1  # INIT of OperationStatus
    bench.run(3.0)
    assert bench.word(0x16) & 0x80
    assert not bench.flags(0x54) >> 24 & 1


@pytest.mark.parametrize("selector", SEALED_AGAINST)
def test_selectors_that_a_sealed_part_refuses_are_listed(selector: int) -> None:
    bench = Bench()
    before = bench.data(0x54)
    with pytest.raises(NackError, match="sealed"):
        bench.select(selector)
    assert bench.bq40.selected == [0x54, selector]
    assert bench.data(0x54) == before


# ---------------------------------------------------------------------- scenarios and multiplexer


def test_the_shipped_flight_is_of_six_cells_on_a_bq40z80() -> None:
    scenario = load_scenario("bq40")
    assert (scenario.gauge.kind, scenario.pack.cells) == ("bq40z80", 6)
    world = World(scenario, 2)
    world.advance(world.duration_s)
    assert world.truth().ended_s is None
    assert 0.2 < world.truth().soc_frac < 0.35
    assert world.bq40 is not None
    assert not world.bq40._safety.tripped


@pytest.mark.parametrize(
    ("kind", "cells", "sentence"),
    [
        ("bq40z50", 5, "a bq40z50 gauge is for 1 to 4 cells, not 5"),
        ("bq40z80", 1, "a bq40z80 gauge is for 2 to 7 cells, not 1"),
        ("bq40", 4, "gauge.kind: expected one of generic, bq40z50, bq40z80"),
    ],
)
def test_a_gauge_that_does_not_fit_its_pack_is_refused(
    tmp_path: Path, kind: str, cells: int, sentence: str
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(
        f'[pack]\nchemistry = "lipo"\ncells = {cells}\ncell_mah = 5000\nresistance_mohm_ah = 80\n'
        f'[gauge]\nkind = "{kind}"\n[[phase]]\nname = "idle"\nduration_s = 1\npower_w = 1\n'
    )
    with pytest.raises(ConfigError, match=sentence):
        load_scenario(str(path))


def test_a_plain_gauge_has_no_manufacturer_access() -> None:
    bus, world = open_virtual("hover", VirtualClock())
    assert world.device is world.gauge
    for tx in ("44 02 54 00", "00 54 00"):
        with pytest.raises(NackError):
            bus.transfer(0x0B, bytes.fromhex(tx), 0)


class Saying:
    """A device with a constant reply."""

    def __init__(self, constant: bytes) -> None:
        self.constant = constant

    def addressed(self) -> float:
        """No clock stretching."""
        return 0.0

    def reply(self, tx: bytes, rx_len: int) -> bytes:  # noqa: ARG002 - a Device
        """The constant reply."""
        return self.constant[:rx_len]


def test_a_multiplexer_passes_on_what_its_control_byte_opens() -> None:
    behind = {0x0B: Saying(b"\x55\xf1"), 0x0C: Saying(b"")}
    mux = VirtualMux({0: {0x0B: Saying(b"\x0f\x33")}, 7: behind})
    devices = mux.devices(0x70)
    assert set(devices) == {0x0B, 0x0C, 0x70}
    for control, received in ((0x01, b"\x0f\x33"), (0x80, b"\x55\xf1"), (0x81, b"\x05\x31")):
        assert devices[0x70].reply(bytes((control,)), 0) == b""
        assert devices[0x70].reply(b"", 1) == bytes((control,))
        assert devices[0x0B].reply(b"\x09", 2) == received  # of two at once: wired-AND
    for control in (0x00, 0x42):
        devices[0x70].reply(bytes((control,)), 0)
        with pytest.raises(NackError, match="every device refuses"):
            devices[0x0B].reply(b"\x09", 2)


def test_the_noise_of_a_gauge_does_not_depend_on_its_kind() -> None:
    plain = Scenario.model_validate(load_scenario("bq40").model_dump(by_alias=True))
    generic = plain.model_copy(update={"gauge": plain.gauge.model_copy(update={"kind": "generic"})})
    one, other = World(plain, 3), World(generic, 3)
    for world in (one, other):
        world.advance(50.0)
    assert np.array_equal(one.truth().cells_v, other.truth().cells_v)
    for command in (0x08, 0x09, 0x0A, 0x0D, 0x0F, 0x10):
        command_byte = bytes((command,))
        assert one.device.reply(command_byte, 3) == other.device.reply(command_byte, 3)

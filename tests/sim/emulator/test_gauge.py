# SPDX-License-Identifier: Apache-2.0
"""The gauge to the byte, against vectors of the kernel's PEC, and how it measures."""

import numpy as np
import pytest

from sim.emulator.gauge import VirtualGauge, block_reply, word_reply
from sim.plant.gauge_spec import GaugeSpec
from sim.plant.pack import Pack, build_pack
from sim.plant.pack_spec import PackSpec
from sim.plant.scenario import Phase, Scenario
from smartbattery.errors import NackError
from smartbattery.pec import pec
from smartbattery.registers import AVERAGE, CELLS, CURRENT, TEMPERATURE, VOLTAGE, WORDS

STEP_S = 0.1
SILENT = {"current_noise_a": 0.0, "voltage_noise_v": 0.0, "temperature_noise_degc": 0.0}


class Bench:
    """A pack on a constant load with a gauge that measures four times a second."""

    def __init__(self, gauge: dict[str, object] | None = None, **pack: object) -> None:
        spec = {"chemistry": "lipo", "cells": 6, "cell_mah": 16000.0, "resistance_mohm_ah": 35.0}
        self.scenario = Scenario(
            name="bench",
            pack=PackSpec.model_validate(spec | pack),
            gauge=GaugeSpec.model_validate(SILENT | (gauge or {})),
            phase=(Phase(name="load", duration_s=1.0, power_w=0.0),),
        )
        self.pack: Pack = build_pack(self.scenario.pack, np.random.default_rng(1), STEP_S)
        self.gauge = VirtualGauge(self.scenario, self.pack, np.random.default_rng(2), 0)
        self.step = 0

    def hold(self, power_w: float, duration_s: float) -> None:
        """Let time pass under a power."""
        for _ in range(round(duration_s / STEP_S)):
            self.pack.advance()
            self.step += 1
            self.pack.apply(power_w)
            if self.step * 100 % 250 < 100:
                self.gauge.update(self.step / 10)

    def word(self, command: int) -> int:
        """Return a word as it is on the wire."""
        low, high = self.gauge.reply(bytes((command,)), 2)
        return low | high << 8


@pytest.mark.parametrize(
    ("command", "raw", "wire"),
    [(0x09, 14800, "d0 39 7e"), (0x08, 2982, "a6 0b 2a"), (0x1A, 0x0031, "31 00")],
)
def test_a_word_has_the_bytes_of_the_kernel(command: int, raw: int, wire: str) -> None:
    assert word_reply(0x0B, command, raw, with_pec=True).startswith(bytes.fromhex(wire))


def test_a_block_has_the_bytes_of_the_kernel() -> None:
    wire = bytes.fromhex("07 62 71 34 30 7a 35 30 75")
    assert block_reply(0x0B, 0x21, b"bq40z50", with_pec=True) == wire
    assert block_reply(0x0B, 0x21, b"bq40z50", with_pec=False) == wire[:-1]
    assert Bench({"device": "bq40z50"}).gauge.reply(b"\x21", 9) == wire


def test_every_reply_ends_with_the_pec_of_all_bytes() -> None:
    bench = Bench()
    bench.hold(500.0, 30.0)
    answered = 0
    for command in range(256):
        try:
            reply = bench.gauge.reply(bytes((command,)), 40)
        except NackError:
            continue
        length = reply[0] + 1 if 0x20 <= command <= 0x22 else 2
        assert pec((0x16, command, 0x17, *reply[:length])) == reply[length]
        assert set(reply[length + 1 :]) == {0xFF}  # the host reads on
        answered += 1
    assert answered == len(WORDS) - len(CELLS) + 6 + 3


@pytest.mark.parametrize(
    ("gauge", "raw"),
    [({}, 0x0031), ({"ip_scale": 1}, 0x1031), ({"pec": False}, 0x0021)],
)
def test_specification_info_contains_version_and_scale(gauge: dict[str, object], raw: int) -> None:
    assert Bench(gauge).word(0x1A) == raw


def test_a_gauge_without_pec_leaves_the_line_alone_after_the_word() -> None:
    assert Bench({"pec": False}).gauge.reply(b"\x1a", 3) == b"\x21\x00\xff"


def test_cells_go_down_from_0x3f_and_there_are_no_more_than_the_pack_has() -> None:
    bench = Bench()
    for index, cell_v in enumerate(bench.pack.cells_v):
        assert bench.word(0x3F - index) == round(float(cell_v) * 1000)
    with pytest.raises(NackError, match="0x39"):
        bench.word(0x39)


@pytest.mark.parametrize("tx", [b"\x00\x01\x00", b"\x44\x02\x71\x00", b"\x0f\x00\x80", b"\x09"])
def test_a_write_is_refused_counted_and_changes_nothing(tx: bytes) -> None:
    bench = Bench()
    before = bench.word(0x0F)
    with pytest.raises(NackError, match="refuses a write"):
        bench.gauge.reply(tx, 0)
    assert bench.gauge.refused_writes == 1
    assert bench.word(0x0F) == before


# ---------------------------------------------------------------------- BatteryMode


def test_battery_mode_is_that_of_packs_that_were_read_out() -> None:
    assert (
        Bench().word(0x03) == 0x6001
    )  # 0x6081 without its condition flag: tests/data/vectors.json
    assert Bench({"mode_raw": 0x4000}).word(0x03) == 0x4000  # as TI delivers a BQ40


def test_in_capacity_mode_capacities_are_energies_of_10_mwh() -> None:
    bench = Bench({"ip_scale": 1})
    commands = (0x0F, 0x10, 0x18)
    mah = [bench.word(command) * 10 for command in commands]
    design_v = bench.word(0x19) / 1000
    others = [bench.word(command) for command in (0x09, 0x0D, 0x17)]
    bench.gauge.reply(bytes.fromhex("03 00 80 27"), 0)  # the PEC of the kernel's write
    assert bench.word(0x03) == 0x8001
    energies = [bench.word(command) * 10 for command in commands]  # 10 mWh
    assert energies == pytest.approx([q * design_v / 10 for q in mah], abs=10)
    assert [bench.word(command) for command in (0x09, 0x0D, 0x17)] == others


@pytest.mark.parametrize(
    ("tx", "mode_raw"),
    [
        ("03 00 00", 0x0001),  # what is read only stays
        ("03 ff ff", 0xE301),
        ("03 01 60 9c", 0x6001),
    ],
)
def test_battery_mode_accepts_its_writable_bits(tx: str, mode_raw: int) -> None:
    bench = Bench()
    assert bench.gauge.reply(bytes.fromhex(tx), 0) == b""
    assert bench.word(0x03) == mode_raw
    assert bench.gauge.refused_writes == 1  # counted all the same: our driver writes nothing


@pytest.mark.parametrize("tx", ["03 00 80 26", "03 00", "03", "03 00 80 27 00"])
def test_a_write_of_battery_mode_with_a_wrong_pec_or_length_is_refused(tx: str) -> None:
    bench = Bench()
    with pytest.raises(NackError):
        bench.gauge.reply(bytes.fromhex(tx), 0)
    assert bench.word(0x03) == 0x6001


def test_an_address_without_a_command_is_acknowledged() -> None:
    assert Bench().gauge.reply(b"", 0) == b""


def test_current_is_negative_on_the_wire_while_discharging() -> None:
    bench = Bench()
    bench.hold(500.0, 5.0)
    current_ma = int(bench.pack.current_a * 1000)
    assert bench.word(CURRENT.command) - 0x10000 == pytest.approx(-current_ma, abs=20)
    assert bench.word(CURRENT.command) % 10 == 0x10000 % 10  # steps of 10 mA


def test_a_scaled_current_and_capacity_are_in_tens() -> None:
    bench = Bench({"ip_scale": 1})
    bench.hold(1200.0, 5.0)
    assert float(bench.pack.current_a) > 32.767
    wire_a = (0x10000 - bench.word(CURRENT.command)) / 100
    assert wire_a == pytest.approx(float(bench.pack.current_a), abs=0.02)
    assert bench.word(0x18) == 1600


def test_an_unscaled_current_beyond_the_range_of_a_word_wraps_to_a_charge() -> None:
    bench = Bench()
    bench.hold(1200.0, 5.0)
    wire_ma = bench.word(CURRENT.command)
    assert 0 < wire_ma < 0x8000
    assert 65.536 - wire_ma / 1000 == pytest.approx(float(bench.pack.current_a), abs=0.1)


def test_gain_and_offset_are_in_the_current_and_in_the_count() -> None:
    bench = Bench({"current_gain_error_frac": 0.02, "current_offset_a": -0.1})
    first_mah = bench.word(0x0F)
    bench.hold(500.0, 360.0)
    true_mah = float(bench.pack.drawn_ah) * 1000
    counted_mah = first_mah - bench.word(0x0F)
    assert true_mah > 1800
    assert counted_mah == pytest.approx(true_mah * 1.02 - 10.0, abs=2.0)


def test_an_outdated_full_charge_falsifies_the_percentage() -> None:
    bench = Bench({"full_error_frac": 0.25})
    assert bench.word(0x10) == round(16000 * 0.96 * 1.25)
    bench.hold(800.0, 1000.0)
    true_pct = float(np.mean(bench.pack.cells.charge_frac)) * 100
    assert bench.word(0x0D) > true_pct + 8


def test_the_average_is_over_the_last_minute() -> None:
    bench = Bench()
    bench.hold(0.0, 60.0)
    bench.hold(500.0, 30.0)
    half_a = (0x10000 - bench.word(AVERAGE.command)) / 1000
    assert half_a == pytest.approx(float(bench.pack.current_a) / 2, rel=0.03)
    bench.hold(500.0, 60.0)
    whole_a = (0x10000 - bench.word(AVERAGE.command)) / 1000
    assert whole_a == pytest.approx(float(bench.pack.current_a), rel=0.01)


def test_time_to_empty_is_whole_minutes_and_unknown_at_rest() -> None:
    bench = Bench()
    bench.hold(0.0, 5.0)
    assert bench.word(0x12) == 65535
    bench.hold(500.0, 90.0)
    average_ma = 0x10000 - bench.word(AVERAGE.command)
    assert bench.word(0x12) == bench.word(0x0F) * 60 // average_ma


@pytest.mark.parametrize(
    ("charge_frac", "status"), [(1.0, 0x00E0), (0.5, 0x00C0), (0.0001, 0x00C0)]
)
def test_battery_status_shows_initialised_discharging_and_full(
    charge_frac: float, status: int
) -> None:
    assert Bench(start_charge_frac=charge_frac).word(0x16) == status


def test_an_empty_pack_is_fully_discharged() -> None:
    bench = Bench({"full_error_frac": -0.5}, start_charge_frac=0.01)
    bench.hold(500.0, 30.0)
    assert bench.word(0x16) == 0x00D0
    assert bench.word(0x0D) == 0


def test_the_sensor_follows_the_hottest_cell_late() -> None:
    bench = Bench()
    seen_degc = []
    for _ in range(90):
        bench.pack.cells.temperature_degc[4] = 42.0
        bench.hold(0.0, 1.0)
        seen_degc.append(bench.word(TEMPERATURE.command) / 10 - 273.15)
    assert seen_degc[0] < 24.0
    assert seen_degc[19] == pytest.approx(22.0 + 20.0 * (1 - np.exp(-1)), abs=0.5)  # 20 s
    assert seen_degc[-1] == pytest.approx(42.0, abs=0.5)


def test_values_are_constant_between_two_measurements() -> None:
    bench = Bench({"voltage_noise_v": 0.005})
    bench.hold(500.0, 1.0)
    first = bench.word(VOLTAGE.command)
    bench.hold(500.0, 0.2)  # the next look is at 1.25 s
    assert bench.word(VOLTAGE.command) == first
    bench.hold(500.0, 0.1)
    assert bench.word(VOLTAGE.command) != first


# ---------------------------------------------------------------------- learning and reporting


def test_a_gauge_that_learned_long_ago_reports_the_capacity_of_then() -> None:
    pack = {"actual_capacity_frac": 0.76}
    full = {
        cycles_ago: Bench({"cycles": 200, "learned_cycles_ago": cycles_ago}, **pack).word(0x10)
        for cycles_ago in (0, 50, 100, 200, 999)
    }
    assert full == {0: 12160, 50: 13120, 100: 14080, 200: 16000, 999: 16000}
    assert Bench({"cycles": 200, "learned_cycles_ago": 100}).word(0x0C) == 3 + 5  # MaxError


class Shelf(Bench):
    """The bench, with rests that are passed quickly."""

    def rest(self, hours: float) -> None:
        """Let the pack rest; the gauge measures once a minute."""
        self.pack.apply(0.0)
        for _ in range(round(hours * 60)):
            self.step += 600
            self.gauge.update(self.step / 10)

    def spend(self, charge_frac: float) -> None:
        """Draw a fraction of the charge within an hour; the gauge counts it."""
        ah = charge_frac * float(np.mean(self.pack.cells.capacity_ah))
        for _ in range(60):
            self.pack.cells.charge_frac -= charge_frac / 60
            self.pack.drawn_ah = self.pack.drawn_ah + ah / 60
            self.step += 600
            self.gauge.update(self.step / 10)

    @property
    def full_mah(self) -> int:
        """FullChargeCapacity."""
        return self.word(0x10)


STALE: dict[str, object] = {"full_error_frac": 0.03}
STALE_MAH = 15821
FLAT = "the voltage is too flat there"


def test_capacity_is_learned_between_two_long_rests_with_enough_charge_in_between() -> None:
    bench = Shelf(STALE)
    bench.rest(6.0)
    bench.spend(0.75)
    assert bench.full_mah == STALE_MAH
    bench.rest(4.9)
    assert bench.full_mah == STALE_MAH
    bench.rest(0.2)
    held_mah = float(np.mean(bench.pack.cells.capacity_ah)) * 1000
    assert bench.full_mah == pytest.approx(held_mah, abs=20)
    assert bench.word(0x0D) == pytest.approx(25, abs=1)


@pytest.mark.parametrize(
    ("spent_frac", "warm_degc", "why"),
    [
        (0.3, 22.0, "less than 37 % in between"),
        (0.58, 5.0, "too cold"),
        (0.58, 45.0, "too warm"),
        (0.5, 22.0, FLAT),
    ],
)
def test_a_rest_that_does_not_qualify_updates_no_capacity(
    spent_frac: float, warm_degc: float, why: str
) -> None:
    bench = Shelf(STALE)
    bench.rest(6.0)
    bench.spend(spent_frac)
    cells = bench.pack.cells
    if why == FLAT:
        for charge_frac in np.linspace(0.2, 0.8, 301):
            cells.charge_frac[:] = charge_frac
            if abs(float(np.mean(cells.open_circuit_v())) - 3.77) < 0.02:
                break
        assert 3.74 < float(np.mean(cells.open_circuit_v())) < 3.80
    cells.temperature_degc[:] = warm_degc
    bench.rest(6.0)
    assert bench.full_mah == STALE_MAH, why


def test_one_update_changes_the_capacity_by_a_twentieth_of_the_design_at_most() -> None:
    bench = Shelf({"full_error_frac": 0.25})
    full_mah = [bench.full_mah]
    bench.rest(6.0)
    for spent_frac in (0.75, -0.75, 0.75):  # a charge teaches as well
        bench.spend(spent_frac)
        bench.rest(6.0)
        full_mah.append(bench.full_mah)
    assert full_mah == [19200, 18400, 17600, 16800]


def test_a_flight_updates_no_capacity() -> None:
    bench = Bench(STALE)
    for power_w in (0.0, 900.0, 0.0):
        bench.hold(power_w, 300.0)
    assert bench.word(0x10) == STALE_MAH


def test_a_smoothed_charge_lags_behind() -> None:
    plain, smoothed = Bench(), Bench({"soc_smoothing_s": 120.0})
    for bench in (plain, smoothed):
        bench.hold(900.0, 300.0)
    lag_mah = smoothed.word(0x0F) - plain.word(0x0F)
    drawn_a = float(plain.pack.current_a)
    # A first-order lag behind a ramp: its time constant, less what it still misses after 300 s.
    assert lag_mah == pytest.approx(drawn_a / 3.6 * 120.0 * (1 - np.exp(-300 / 120)), rel=0.03)


def test_a_charge_that_sticks_drops_to_zero_at_the_end() -> None:
    bench = Bench({"soc_sticks_pct": 8.0, "empty_cell_v": 3.2}, start_charge_frac=0.1)
    reported_pct = []
    while min(bench.pack.cells_v) > 3.0:
        bench.hold(900.0, 1.0)
        reported_pct.append(bench.word(0x0D))
    ends = reported_pct.index(0)
    assert reported_pct[:ends] == sorted(reported_pct[:ends], reverse=True)
    assert reported_pct[ends - 20 : ends] == [8] * 20
    assert set(reported_pct[ends:]) == {0}
    assert bench.word(0x16) & 0x10  # fully discharged

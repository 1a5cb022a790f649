# SPDX-License-Identifier: Apache-2.0
"""Every kind of pack over bytes: true values at the right index, and no writes.

Packs are virtual ones (`gauge_kinds`), whose replies are encoded from the rows that the driver
decodes with; the bytes of each kind that are written out here pin those rows from outside.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from dronebms.core.clock import VirtualClock
from sim.emulator.bus import VirtualBus
from sim.emulator.world import World
from sim.plant.cell_parameters import CURVE_FRAC
from sim.plant.gauge_kinds import KINDS, GaugeKind
from sim.plant.gauge_spec import GaugeSpec
from sim.plant.pack_spec import PackSpec
from sim.plant.scenario import Phase, Scenario
from smartbattery.bq40 import READ_SELECTORS
from smartbattery.bus import Bus
from smartbattery.errors import NackError, UnsupportedError
from smartbattery.gauge import Gauge
from smartbattery.multiplexer import MuxBus
from smartbattery.pec import pec, read_prefix
from smartbattery.profiles import (
    BQ40Z50,
    BQ40Z80,
    BQ41Z50,
    BQ41Z90,
    GENERIC,
    MAXELL,
    NEODESIGN,
    PROFILES,
    ROTOYE,
    SOLO,
    SOLO6,
    SUI,
    PecMode,
    Profile,
    profile_named,
    profile_of,
)
from smartbattery.registers import ADDRESS, MODE, SERIAL, TIME_TO_EMPTY, VOLTAGE
from smartbattery.smbus import SmbusDevice
from smartbattery.snapshot import Snapshot
from tests.multiplexer import open_behind_mux
from tests.scripted import ScriptedPack

SILENT = {"current_noise_a": 0.0, "voltage_noise_v": 0.0, "temperature_noise_degc": 0.0}
RATED_MAH, FULL_MAH = 16_000.0, 15_360.0
HIGHEST_V, APART_V = 4.0, 0.02
KIND_OF = {kind.profile: kind for kind in KINDS}
# As many cells as were asked for, and a few and the most of every kind; those of a SUI in tests
# of their own where there are more than it measures.
COUNTS: dict[Profile, tuple[int, ...]] = {
    GENERIC: (1, 6, 12, 15), BQ40Z50: (1, 2, 3, 4), BQ40Z80: (2, 3, 4, 5, 6, 7), ROTOYE: (4, 12),
    BQ41Z50: (2, 4), BQ41Z90: (3, 7, 9), MAXELL: (6, 14), NEODESIGN: (3, 10), SOLO: (3, 4),
    SOLO6: (4, 6), SUI: (3, 4),
}  # fmt: skip
PACKS = [(profile, cells) for profile in PROFILES for cells in COUNTS[profile]]
each_pack = pytest.mark.parametrize(
    ("profile", "cells"), PACKS, ids=[f"{profile.name} {cells}S" for profile, cells in PACKS]
)
each_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda row: row.name)
CUV = SUV = 1
SS_AND_PF = 0b11 << 11


def flight_of(kind: GaugeKind, cells: int, **gauge: object) -> World:
    """Return a steady flight of a pack whose neighbours are 20 mV apart, the first one highest."""
    pack = {"chemistry": "lipo", "cells": cells, "cell_mah": RATED_MAH, "resistance_mohm_ah": 35.0}
    pack |= {"capacity_spread_frac": 0.0, "resistance_spread_frac": 0.0, "ambient_degc": 22.0}
    scenario = Scenario(
        name="vendor",
        pack=PackSpec.model_validate(pack),
        gauge=GaugeSpec.model_validate({**SILENT, "kind": kind.name, **gauge}),
        phase=(Phase(name="hover", duration_s=1200.0, power_w=40.0 * cells),),
    )
    world = World(scenario, 1)
    wanted_v = HIGHEST_V - APART_V * np.arange(cells)
    charge(world, np.interp(wanted_v, world._pack.cells._build.curve_v, CURVE_FRAC))
    return world


def charge(world: World, charge_frac: np.typing.ArrayLike, cell: int | None = None) -> None:
    """Set the charge of the cells, or of one, and let the gauge measure it."""
    world._pack.cells.charge_frac[slice(None) if cell is None else cell] = charge_frac
    world._load()
    world.gauge.update(world.t_s)


class Tap:
    """The bus of one flight; counts the commands, and can refuse some of them."""

    def __init__(self, world: World) -> None:
        self.clock = VirtualClock()
        self.world = world
        self.refused: set[int] = set()  # commands and selectors
        self.log: list[tuple[bytes, int]] = []
        self.unplugged = False
        self._plug()

    def _plug(self) -> None:
        random = np.random.default_rng(0)
        self.bus = VirtualBus(self.clock, [self.world], {ADDRESS: self.world.device}, (), random)

    def swap(self, world: World) -> None:
        """Swap the pack."""
        self.world, self.unplugged = world, False
        self._plug()

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Do the transfer, or refuse it."""
        self.log.append((tx, rx_len))
        if self.unplugged or asked_for(tx) in self.refused:
            raise NackError("refused")
        return self.bus.transfer(address, tx, rx_len)

    def poll(self, gauge: Gauge, until_s: float) -> Iterator[Snapshot]:
        """Yield the snapshots of 10 Hz polls until a time of the clock, inclusive."""
        step = round(self.clock.now_s() * 10)
        while step < round(until_s * 10):
            step += 1
            self.clock.sleep_until(step / 10)
            yield gauge.poll(step / 10)


def asked_for(tx: bytes) -> int:
    """Return the command of a transfer, or the selector that it writes."""
    return int.from_bytes(tx[2:4], "little") if tx[0] == 0x44 and len(tx) > 1 else tx[0]


def last_snapshot(world: World, *, profile: Profile | None, cells: int | None = None) -> Snapshot:
    """The snapshot after ten seconds; the gauge has measured at that time."""
    tap = Tap(world)
    return list(tap.poll(Gauge(tap, profile=profile, cells=cells), 10.0))[-1]


def assert_the_truth(snapshot: Snapshot, world: World) -> None:
    truth = world.truth()
    assert world.t_s == snapshot.t_s
    assert snapshot.cells_v == pytest.approx(truth.cells_v, abs=0.0011)
    steps = np.diff(np.array(snapshot.cells_v, float))
    assert np.all((steps < -0.015) & (steps > -0.025)), "a swap of neighbours would not show"
    assert snapshot.voltage_v == pytest.approx(truth.voltage_v, abs=0.0011)
    assert snapshot.current_a == pytest.approx(truth.current_a, abs=0.011)
    assert truth.current_a > 9.0
    assert snapshot.temperature_degc == pytest.approx(truth.temperature_degc, abs=0.5)
    assert snapshot.full_mah == pytest.approx(FULL_MAH, abs=2.0)
    assert snapshot.remaining_mah == pytest.approx(FULL_MAH - truth.drawn_mah, abs=10.0)
    assert snapshot.soc_pct == pytest.approx(100.0 - truth.drawn_mah / FULL_MAH * 100.0, abs=1.0)
    assert snapshot.identity.design_mah == RATED_MAH
    assert snapshot.trouble is None
    assert snapshot.counts.withheld < 30  # while the cells were being counted, at most


# ------------------------------------------------------------------------- every kind


def test_every_profile_has_a_virtual_pack_and_a_number_of_cells_to_try() -> None:
    assert set(KIND_OF) == set(COUNTS) == set(PROFILES)
    assert {profile_named(profile.name) for profile in PROFILES} == set(PROFILES)
    assert profile_named("bq40") is None


@pytest.mark.parametrize("claims", [True, False], ids=["claims a PEC", "claims none"])
@each_pack
def test_a_pack_reports_its_true_values_with_its_profile(
    profile: Profile,
    cells: int,
    claims: bool,  # noqa: FBT001 - a row
) -> None:
    world = flight_of(KIND_OF[profile], cells, pec=claims)
    snapshot = last_snapshot(world, profile=profile)
    assert_the_truth(snapshot, world)
    assert (snapshot.identity.gauge, snapshot.identity.cells) == (profile.name, cells)
    assert snapshot.identity.pec is world.gauge.sends_pec
    assert snapshot.counts.pec_errors == 0
    assert world.gauge.refused_writes == 0


@each_pack
def test_a_pack_is_identified_by_its_texts(profile: Profile, cells: int) -> None:
    if not (profile.names or profile is GENERIC):
        pytest.skip("its texts do not identify it")
    world = flight_of(KIND_OF[profile], cells)
    snapshot = last_snapshot(world, profile=None)
    assert_the_truth(snapshot, world)
    assert (snapshot.identity.gauge, snapshot.identity.cells) == (profile.name, cells)


@each_pack
def test_an_unrecognised_pack_reports_no_cell_at_a_wrong_index(
    profile: Profile, cells: int
) -> None:
    world = flight_of(KIND_OF[profile], cells, manufacturer="maker", device="pack")
    snapshot = last_snapshot(world, profile=None)
    truth = world.truth()
    assert snapshot.identity.gauge == "generic"
    assert snapshot.cells_v in ((), pytest.approx(truth.cells_v, abs=0.0011))
    assert snapshot.voltage_v == pytest.approx(truth.voltage_v, abs=0.0011)
    assert snapshot.current_a in (None, pytest.approx(truth.current_a, abs=0.011))


@each_pack
def test_configured_cells_are_as_good_as_detected_ones(profile: Profile, cells: int) -> None:
    world = flight_of(KIND_OF[profile], cells)
    assert_the_truth(last_snapshot(world, profile=profile, cells=cells), world)


@pytest.mark.parametrize(
    ("texts", "profile"),
    [
        (("Texas Inst.", "bq40z50-R2"), BQ40Z50),
        ((None, "BQ40Z80"), BQ40Z80),
        (("Hitachi maxell", None), MAXELL),
        (("maxell", "my bq40z50"), GENERIC),
        ((None, None), GENERIC),
    ],
)
def test_texts_identify_a_profile_by_their_prefix(
    texts: tuple[str | None, ...], profile: Profile
) -> None:
    assert profile_of(*texts) is profile


# ------------------------------------------------------------------------- bytes from outside


@dataclass
class Wired:
    """A gauge as a table of replies without their PEC."""

    replies: Mapping[int, str]  # by command; blocks with their count
    sends_pec: bool = True
    selected: int | None = None
    data: Mapping[int, str] = field(default_factory=dict)  # by selector

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Reply as in the table."""
        if len(tx) > 1:
            assert tx[:2] == b"\x44\x02"
            assert tx[4:] == bytes((pec((address << 1, *tx[:4])),))
            self.selected = asked_for(tx)
            return b""
        if tx == b"\x44" and self.selected is not None and self.selected in self.data:
            echo = self.selected.to_bytes(2, "little")
            data = echo + bytes.fromhex(self.data[self.selected])
            reply = bytes((len(data),)) + data
        elif tx[0] in self.replies:
            reply = bytes.fromhex(self.replies[tx[0]])
        else:
            raise NackError("no such command")
        if self.sends_pec:
            reply += bytes((pec(reply, read_prefix(address, tx[0])),))
        return reply[:rx_len].ljust(rx_len, b"\xff")


# 12.06 V, 12.34 A of load, in mAh, three cells of 4.00, 4.02, 4.04 V; a fourth of 3.98 V.
PLAIN = {0x1A: "31 00", 0x03: "00 00", 0x0A: "cc cf", 0x19: "38 2d", 0x1C: "7c 25", 0x18: "b8 0b"}
PLAIN_3S = PLAIN | {0x09: "1c 2f"}
PLAIN_4S = PLAIN | {0x09: "a8 3e", 0x19: "f0 3c"}
FOUR = "a0 0f b4 0f c8 0f 8c 0f"
NO_WORD_CURRENT = {0x0A: "00 00"}  # not plausible
WIRED = [
    (GENERIC, Wired(PLAIN_3S | {0x3F: "a0 0f", 0x3E: "b4 0f", 0x3D: "c8 0f"}), 3),
    (BQ40Z50, Wired(PLAIN_4S | {0x3F: "a0 0f", 0x3E: "b4 0f", 0x3D: "c8 0f", 0x3C: "8c 0f"}), 4),
    (
        BQ40Z80,  # DAStatus3 as PX4 reads it: voltage, current, power, cell by cell
        Wired(
            PLAIN | {0x09: "d8 4e", 0x19: "44 48"},
            data={
                0x71: FOUR + "d8 4e d8 4e" + "cc cf" * 4 + "00 00" * 6,
                0x7B: "a0 0f cc cf 00 00" + "00 00 00 00 00 00" * 2,
            },
        ),
        5,
    ),
    (BQ41Z50, Wired(PLAIN_4S | {0x3F: "a0 0f", 0x3E: "b4 0f", 0x3D: "c8 0f", 0x3C: "8c 0f"}), 4),
    (
        BQ41Z90,  # sixteen cells, as the vendor's answer has them; unused ones read 0
        Wired(
            PLAIN | {0x09: "d8 4e", 0x19: "44 48"},
            data={0x341: FOUR + "a0 0f" + "00 00" * 11},
        ),
        5,
    ),
    (
        ROTOYE,
        Wired(
            PLAIN_3S
            | {0x40: "03 00", 0x08: "a6 0b", 0x48: "d8 0b"}
            | {0x3F: "a0 0f", 0x3E: "b4 0f", 0x3D: "c8 0f"}
        ),
        3,
    ),
    (
        MAXELL,
        Wired(
            PLAIN_3S
            | {0x0F: "40 9c", 0x10: "50 c3"}
            | {0x3F: "a0 0f", 0x3E: "b4 0f", 0x3D: "c8 0f"},
            sends_pec=False,
        ),
        3,
    ),
    (
        NEODESIGN,
        Wired(PLAIN_3S | {0x5C: "03 00", 0x30: "a0 0f", 0x31: "b4 0f", 0x32: "c8 0f"}),
        3,
    ),
    (
        SOLO,
        Wired(PLAIN_4S | NO_WORD_CURRENT | {0x28: "08" + FOUR, 0x2A: "04 cc cf ff ff"}),
        4,
    ),
    (
        SOLO6,
        Wired(
            PLAIN_4S | NO_WORD_CURRENT | {0x29: "0c" + FOUR + "00 00 00 00", 0x2A: "04 cc cf ff ff"}
        ),
        4,
    ),
    (
        SUI,
        Wired(PLAIN_4S | NO_WORD_CURRENT | {0x28: FOUR, 0x2A: "cc cf ff ff"}, sends_pec=False),
        4,
    ),
]


@pytest.mark.parametrize(("profile", "wired", "cells"), WIRED, ids=[r[0].name for r in WIRED])
def test_bytes_as_flight_code_reads_them_are_decoded(
    profile: Profile, wired: Wired, cells: int
) -> None:
    snapshot = Gauge(wired, profile=profile).poll(0.0)
    expected = (4.0, 4.02, 4.04, 3.98, 4.0)[:cells]
    assert snapshot.cells_v == pytest.approx(expected)
    assert snapshot.current_a == pytest.approx(12.34)
    assert snapshot.identity.cells == cells
    assert snapshot.identity.serial == 9596
    assert snapshot.identity.pec is wired.sends_pec


def test_all_profiles_are_checked_by_bytes() -> None:
    assert [row[0] for row in WIRED] == list(PROFILES)


def test_a_current_of_solo_is_not_cut_to_a_word() -> None:
    wired = Wired(PLAIN_4S | {0x28: "08" + FOUR, 0x2A: "04 c0 63 ff ff"})
    assert Gauge(wired, profile=SOLO).poll(0.0).current_a == pytest.approx(40.0)


def test_the_hotter_of_two_sensors_of_a_rotoye_counts() -> None:
    wired = WIRED[PROFILES.index(ROTOYE)][1]
    assert Gauge(wired, profile=ROTOYE).poll(0.0).temperature_degc == pytest.approx(30.05)


def test_the_capacities_of_a_maxell_double_beyond_16_bits() -> None:
    snapshot = Gauge(WIRED[PROFILES.index(MAXELL)][1], profile=MAXELL).poll(0.0)
    assert (snapshot.remaining_mah, snapshot.full_mah) == (80_000.0, 100_000.0)


# ------------------------------------------------------------------------- cells


@pytest.mark.parametrize("cells", [5, 6])
def test_the_cells_of_a_sui_beyond_its_block_stay_unknown(cells: int) -> None:
    world = flight_of(KIND_OF[SUI], cells)
    snapshot, truth = last_snapshot(world, profile=SUI, cells=cells), world.truth()
    assert snapshot.cells_v[:4] == pytest.approx(truth.cells_v[:4], abs=0.0011)
    assert snapshot.cells_v[4:] == (None,) * (cells - 4)
    assert snapshot.current_a == pytest.approx(truth.current_a, abs=0.011)
    detected = last_snapshot(flight_of(KIND_OF[SUI], cells), profile=SUI)
    assert (detected.identity.cells, detected.cells_v) == (None, ())


@pytest.mark.parametrize(("profile", "cells"), [(SOLO, 4), (SOLO6, 6), (BQ40Z80, 7), (BQ40Z50, 4)])
def test_a_full_block_is_unambiguous_also_for_a_discharged_pack(
    profile: Profile, cells: int
) -> None:
    # Below 3.65 V a cell may be LiFePO4, and six designed for 22.2 V may be one of seven.
    world = flight_of(KIND_OF[profile], cells)
    charge(world, np.linspace(0.06, 0.05, cells))
    snapshot = last_snapshot(world, profile=profile)
    assert max(world.truth().cells_v) < 3.65
    assert snapshot.identity.cells == cells
    assert snapshot.cells_v == pytest.approx(world.truth().cells_v, abs=0.0011)


@pytest.mark.parametrize("cells", [3, 5, 6])
def test_a_dead_cell_of_a_block_keeps_its_index_and_the_count_is_never_too_low(cells: int) -> None:
    world = flight_of(KIND_OF[BQ40Z80], cells)
    charge(world, -0.05, cell=cells - 1)  # as good as no voltage
    detected = last_snapshot(world, profile=BQ40Z80)
    assert detected.identity.cells is None
    world = flight_of(KIND_OF[BQ40Z80], cells)
    charge(world, -0.05, cell=0)
    configured = last_snapshot(world, profile=BQ40Z80, cells=cells)
    assert configured.cells_v[0] is None
    assert configured.cells_v[1:] == pytest.approx(world.truth().cells_v[1:], abs=0.0011)


# ------------------------------------------------------------------------- what is written


@each_profile
def test_nothing_is_written_in_300_s_but_selectors_that_read(profile: Profile) -> None:
    world = flight_of(KIND_OF[profile], COUNTS[profile][-1])
    tap = Tap(world)
    for _ in tap.poll(Gauge(tap, profile=profile), 300.0):
        pass
    writes = Counter(tx for tx, rx_len in tap.log if len(tx) != 1 or not rx_len)
    for tx in writes:
        assert tx[:2] == b"\x44\x02"
        assert int.from_bytes(tx[2:4], "little") in READ_SELECTORS
        assert tx[4:] == bytes((pec((ADDRESS << 1, *tx[:4])),))
    assert bool(writes) is profile.manufacturer_access
    assert world.gauge.refused_writes == 0
    if world.bq40 is not None:
        assert set(world.bq40.selected) <= READ_SELECTORS
        assert not world.bq40.shut_down


def test_every_selector_that_does_not_read_is_refused_before_the_bus_is_touched() -> None:
    tap = Tap(flight_of(KIND_OF[BQ40Z50], 4))
    wire = SmbusDevice(tap, ADDRESS)
    refused = 0
    for selector in range(0x10000):
        if selector not in READ_SELECTORS:
            with pytest.raises(UnsupportedError, match="not sent"):
                wire.read_manufacturer(selector, 4)
            refused += 1
    assert refused == 65_508
    assert tap.log == []


def test_no_query_of_any_profile_is_a_selector_that_does_not_read() -> None:
    selectors = {
        query.command
        for profile in PROFILES
        for query in (*profile.cells, *profile.extra, *profile.replaced)
        if "MANUFACTURER" in repr(query)
    }
    assert selectors == {0x50, 0x51, 0x53, 0x54, 0x71, 0x72, 0x7B, 0x341}
    assert selectors <= READ_SELECTORS


# ------------------------------------------------------------------------- flags


@pytest.mark.parametrize("kind", ["bq40z50", "bq40z80"])
def test_identity_and_status_of_a_gauge_reach_the_snapshot(kind: str) -> None:
    profile = profile_named(kind)
    assert profile is not None
    world = flight_of(KIND_OF[profile], 4)
    tap = Tap(world)
    gauge = Gauge(tap)
    sound = list(tap.poll(gauge, 3.0))[-1]
    assert (sound.safety_raw, sound.failure_raw, sound.operation_raw) == (0, 0, 0x307)
    charge(world, -0.04, cell=2)
    seen = list(tap.poll(gauge, 13.0))
    tripped = [(snapshot.t_s, snapshot.safety_raw) for snapshot in seen if snapshot.safety_raw]
    assert {raw for _, raw in tripped} == {CUV}
    assert 5.0 <= tripped[0][0] <= 5.0 + 2.5  # two seconds of delay, a round of slow registers
    last = seen[-1]
    assert (last.failure_raw, last.operation_raw) == (SUV, 0x307 | SS_AND_PF)
    assert last.fet_degc == pytest.approx(22.0 + 0.2 * world.truth().current_a, abs=1.0)
    assert last.cells_v[2] is None or last.cells_v[2] < 2.5


@each_profile
def test_a_gauge_without_flags_has_none(profile: Profile) -> None:
    if profile.manufacturer_access:
        pytest.skip("it has flags")
    snapshot = last_snapshot(flight_of(KIND_OF[profile], 3), profile=profile)
    assert (snapshot.safety_raw, snapshot.failure_raw, snapshot.operation_raw) == (None,) * 3
    assert snapshot.fet_degc is None


# ------------------------------------------------------------------------- a second reader


class SecondReader:
    """Another host on the bus, which selects another block between our select and our read."""

    def __init__(self, bus: Bus, every: int) -> None:
        self._bus = bus
        self._every = every
        self._selects = 0
        self.others: tuple[int, ...] = (0x0054, 0x0051, 0x0072, 0x0071, 0x007B, 0x0057)
        self.spoilt = 0

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Do the transfer; after some selects, select another block."""
        reply = self._bus.transfer(address, tx, rx_len)
        if len(tx) > 1:
            self._selects += 1
            other = self.others[self._selects % len(self.others)]
            if self._selects % self._every == 0 and other != asked_for(tx):
                self._bus.transfer(address, bytes((0x44, 2, other, 0)), 0)
                self.spoilt += 1
        return reply


@pytest.mark.parametrize("every", [1, 2, 3, 5, 7])
def test_a_reply_to_another_host_never_becomes_a_value(every: int) -> None:
    world = flight_of(KIND_OF[BQ40Z80], 6)
    tap = Tap(world)
    bus = SecondReader(tap, every)
    gauge = Gauge(bus, cells=6)
    spoilt_cells = 0
    for snapshot in tap.poll(gauge, 60.0):
        for cell_v, true_v in zip(snapshot.cells_v, world.truth().cells_v, strict=True):
            assert cell_v is None or cell_v == pytest.approx(true_v, abs=0.03)  # 2 s old at most
            spoilt_cells += cell_v is None
        assert snapshot.voltage_v is not None
        assert snapshot.safety_raw in (None, 0)
        assert snapshot.failure_raw in (None, 0)
        assert snapshot.operation_raw in (None, 0x307)
        assert snapshot.fet_degc is None or 20.0 < snapshot.fet_degc < 40.0
    assert bus.spoilt > 100
    assert spoilt_cells == 0 or every <= 3


def test_a_host_that_always_interferes_leaves_the_cells_unknown_and_the_rest_known() -> None:
    tap = Tap(flight_of(KIND_OF[BQ40Z80], 6))
    bus = SecondReader(tap, 1)
    bus.others = (0x0057,)
    snapshots = list(tap.poll(Gauge(bus, cells=6), 10.0))
    assert {snapshot.cells_v for snapshot in snapshots} == {(None,) * 6}
    assert all(
        snapshot.current_a is not None and snapshot.trouble is None for snapshot in snapshots
    )


# ------------------------------------------------------------------------- what a pack has not


@pytest.mark.parametrize(
    ("profile", "command"), [(GENERIC, TIME_TO_EMPTY.command), (BQ40Z50, 0x72), (ROTOYE, 0x48)]
)
def test_a_command_that_a_pack_never_answers_is_not_read_again_until_a_swap(
    profile: Profile, command: int
) -> None:
    tap = Tap(flight_of(KIND_OF[profile], 4))
    tap.refused = {command}
    gauge = Gauge(tap, profile=profile)

    def asked(until_s: float) -> int:
        before = len(tap.log)
        for snapshot in tap.poll(gauge, until_s):
            assert tap.unplugged or snapshot.voltage_v is not None
        return sum(asked_for(tx) == command for tx, _ in tap.log[before:])

    tries = asked(90.0)
    assert tries in (12, 24)  # a word is read twice at once
    assert asked(150.0) == 0
    tap.unplugged = True
    assert asked(154.0) == 0
    tap.swap(flight_of(KIND_OF[profile], 4, serial=77))
    assert asked(160.0) > 0
    tap.refused = set()
    assert asked(170.0) > 0


def test_a_command_that_was_answered_once_is_read_for_ever() -> None:
    tap = Tap(flight_of(KIND_OF[BQ40Z50], 4))
    gauge = Gauge(tap)
    for _ in tap.poll(gauge, 5.0):
        pass
    tap.refused = {0x51}
    seen = list(tap.poll(gauge, 100.0))
    assert seen[-1].safety_raw is None
    assert {snapshot.safety_raw for snapshot in seen if snapshot.t_s < 15.0} == {0}
    tap.refused = set()
    assert list(tap.poll(gauge, 110.0))[-1].safety_raw == 0


@pytest.mark.parametrize("profile", [BQ40Z50, BQ40Z80], ids=["bq40z50", "bq40z80"])
def test_a_pack_that_refuses_all_manufacturer_access_still_has_its_words(profile: Profile) -> None:
    tap = Tap(flight_of(KIND_OF[profile], 4))
    tap.refused = set(READ_SELECTORS) - {row.command for row in (MODE, VOLTAGE, SERIAL)}
    tap.refused -= set(range(0x40))
    seen = list(tap.poll(Gauge(tap), 60.0))[-1]
    assert (seen.safety_raw, seen.operation_raw) == (None, None)
    assert seen.voltage_v == pytest.approx(tap.world.truth().voltage_v, abs=0.0011)
    if profile is BQ40Z50:
        assert seen.cells_v == pytest.approx(tap.world.truth().cells_v, abs=0.0011)
    else:
        assert seen.cells_v == ()


# ------------------------------------------------------------------------- cost, multiplexer


@each_profile
def test_a_poll_reads_the_fast_registers_and_one_or_two_slow_ones(profile: Profile) -> None:
    tap = Tap(flight_of(KIND_OF[profile], COUNTS[profile][0]))
    gauge = Gauge(tap, profile=profile)
    for _ in tap.poll(gauge, 5.0):
        pass
    fast = 2 + sum(2 if profile in (BQ40Z80, BQ41Z90) else 1 for _ in profile.cells)
    if profile not in (BQ40Z80, BQ41Z90, SOLO, SOLO6, SUI):
        fast = 2 + COUNTS[profile][0]
    for _ in range(100):
        before = len(tap.log)
        step = round(tap.clock.now_s() * 10) + 1
        assert list(tap.poll(gauge, step / 10))[-1].counts.withheld < 30
        # A large step is read again, a manufacturer read is two transfers.
        assert fast + 1 <= len(tap.log) - before <= fast + 4


def test_two_packs_behind_a_multiplexer_are_two_packs() -> None:
    worlds = [flight_of(KIND_OF[BQ40Z80], 6, serial=50), flight_of(KIND_OF[BQ40Z50], 4, serial=60)]
    clock = VirtualClock()
    bus = open_behind_mux(worlds, clock)
    gauges = [Gauge(MuxBus(bus, 0x70, channel)) for channel in (0, 1)]
    for step in range(1, 301):
        clock.sleep_until(step / 10)
        for gauge in gauges:
            gauge.poll(step / 10)
    snapshots = [gauge.poll(30.0) for gauge in gauges]
    for snapshot, world, serial in zip(snapshots, worlds, (51, 61), strict=True):
        assert_the_truth(snapshot, world)
        assert snapshot.identity.serial == serial
        assert world.bq40 is not None
        assert set(world.bq40.selected) <= READ_SELECTORS
    assert bus.transfer(0x70, b"", 1) == b"\x02"


@each_profile
def test_a_pack_that_counts_in_10_mwh_has_a_percentage_and_no_charge(profile: Profile) -> None:
    tap = Tap(flight_of(KIND_OF[profile], COUNTS[profile][0], mode_raw=0xE001))
    snapshot = list(tap.poll(Gauge(tap, profile=profile), 10.0))[-1]
    assert (snapshot.remaining_mah, snapshot.full_mah) == (None, None)
    assert snapshot.identity.design_mah is None
    assert snapshot.soc_pct is not None
    assert snapshot.voltage_v == pytest.approx(tap.world.truth().voltage_v, abs=0.0011)
    assert tap.world.gauge.refused_writes == 0
    assert tap.world.gauge.values[MODE.field] == 0xE001


def test_the_pec_of_a_profile_is_what_its_virtual_pack_does() -> None:
    sent = {PecMode.ALWAYS: True, PecMode.NEVER: False}
    for profile, kind in KIND_OF.items():
        assert profile.pec is PecMode.DETECT or kind.pec is sent[profile.pec]


@pytest.mark.parametrize("profile", [GENERIC, BQ41Z90, ROTOYE], ids=lambda row: row.name)
def test_sixteen_cells_with_a_voltage_beyond_16_bits_are_read_with_its_scale(
    profile: Profile,
) -> None:
    world = flight_of(KIND_OF[profile], 16, v_scale=1)
    snapshot, truth = last_snapshot(world, profile=profile, cells=16), world.truth()
    charge(world, 1.0)
    assert snapshot.cells_v == pytest.approx(truth.cells_v, abs=0.0011)
    assert snapshot.voltage_v == pytest.approx(truth.voltage_v, abs=0.0051)
    assert snapshot.identity.cells == 16
    full = Tap(world)
    last = list(full.poll(Gauge(full, profile=profile, cells=16), 20.0))[-1]
    assert last.voltage_v == pytest.approx(world.truth().voltage_v, abs=0.0051)
    assert world.truth().voltage_v > 65.535
    assert last.charging_v is None


def test_a_count_that_the_design_voltage_leaves_open_is_configured() -> None:
    world = flight_of(KIND_OF[BQ41Z90], 15)  # 56.7 V: also 16 cells of 3.54 V, one of them dead
    assert last_snapshot(world, profile=None).cells_v == ()
    world = flight_of(KIND_OF[BQ41Z90], 15)
    assert_the_truth(last_snapshot(world, profile=None, cells=15), world)


@pytest.mark.parametrize("configured", [True, False], ids=["configured", "detected"])
@pytest.mark.parametrize("cells", COUNTS[BQ40Z80])
def test_a_bq40z80_by_another_name_never_shows_its_fourth_cell_as_the_first(
    cells: int, *, configured: bool
) -> None:
    world = flight_of(KIND_OF[BQ40Z80], cells, device="Hexa")
    tap = Tap(world)
    for snapshot in tap.poll(Gauge(tap, cells=cells if configured else None), 20.0):
        assert snapshot.identity.gauge == "generic"
        assert snapshot.voltage_v is not None
        assert snapshot.lowest_cell() is None
    named = Gauge(tap, cells=cells, profile=BQ40Z80).poll(20.0)
    assert named.cells_v == pytest.approx(world.truth().cells_v, abs=0.0011)


@pytest.mark.parametrize("dead", [(0,), (1, 2, 3)], ids=["one", "three of four"])
def test_dead_cells_of_a_plain_gauge_hide_no_other(dead: tuple[int, ...]) -> None:
    pack = ScriptedPack()
    for index in dead:
        pack.words[0x3F - index] = 0
    pack.words[VOLTAGE.command] = 3800 * (4 - len(dead))
    snapshot = Gauge(pack, cells=4).poll(0.0)
    assert [v is None for v in snapshot.cells_v] == [index in dead for index in range(4)]


def test_a_word_that_is_stuck_at_0_hides_no_other_cell() -> None:
    pack = ScriptedPack()
    pack.words[0x3E] = 0
    cells_v = Gauge(pack, cells=4).poll(0.0).cells_v
    assert [v and round(v, 3) for v in cells_v] == [3.8, None, 3.801, 3.8]

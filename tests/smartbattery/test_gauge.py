# SPDX-License-Identifier: Apache-2.0
"""The driver over bytes: whole virtual flights, and devices whose words a test changes."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dronebms.core.clock import VirtualClock
from sim.emulator.bus import VirtualBus
from sim.emulator.gauge import block_reply, word_reply
from sim.emulator.world import World, open_virtual
from sim.plant.faults import parse_fault
from sim.plant.scenario import load_scenario
from smartbattery import registers as sbs
from smartbattery.bus import Bus
from smartbattery.bus_trace import PlaybackBus, RecordingBus, Transfer
from smartbattery.errors import (
    BatteryError,
    BusAbsentError,
    BusError,
    BusTimeoutError,
    IntegrityError,
    NackError,
    UnsupportedError,
)
from smartbattery.gauge import Gauge
from smartbattery.gauge_state import GaugeState
from smartbattery.registers import (
    ADDRESS,
    CURRENT,
    DESIGN,
    FULL,
    MAX_ERROR,
    MODE,
    REMAINING,
    SERIAL,
    SLOW,
    SPECIFICATION,
    TIME_TO_EMPTY,
    VOLTAGE,
    WORDS,
    Register,
)
from smartbattery.snapshot import NO_COUNTS, UNIDENTIFIED, Identity, Snapshot

CELLS_MV = (4012, 4005, 4019, 4001, 4010, 4008)
ROUND_S = 1.6  # every register has had its turn, polled at 10 Hz
SHOWN = [row for row in (*sbs.FAST, *SLOW) if row is not MODE]
FAILURES: tuple[BatteryError, ...] = (
    NackError("refused"),
    BusTimeoutError("held"),
    BusAbsentError("unplugged"),
    BusError("in use"),
    IntegrityError("torn"),
    UnsupportedError("cannot"),
    BatteryError("something"),
)
Reply = bytes | BatteryError


class Device:
    """A plain gauge as a table of words that a test changes.

    `instead` is what comes in place of a command's reply; `once` the same, used up from the front;
    `fails` is what every transfer fails with.
    """

    def __init__(self, cells_mv: Sequence[int] = CELLS_MV, *, pec: bool = True) -> None:
        self.pec = pec
        self.texts = {0x20: b"SANYO", 0x21: b"6S2P", 0x22: b"LION"}
        self.words = {
            VOLTAGE.command: sum(cells_mv),
            CURRENT.command: 0x10000 - 12_340,
            MODE.command: 0,
            SPECIFICATION.command: 0x0031 if pec else 0x0021,
            SERIAL.command: 9596,
            DESIGN.command: 16_000,
            sbs.DESIGN_V.command: 22_200,
            sbs.MANUFACTURED.command: 0x58B1,
            sbs.TEMPERATURE.command: 2982,
            sbs.RELATIVE_SOC.command: 80,
            REMAINING.command: 12_000,
            FULL.command: 15_000,
            TIME_TO_EMPTY.command: 58,
            sbs.AVERAGE.command: 0x10000 - 12_000,
            MAX_ERROR.command: 2,
            sbs.STATUS.command: 0x00C0,
            sbs.CYCLES.command: 12,
            sbs.CHARGING_A.command: 8_000,
            sbs.CHARGING_V.command: 25_200,
        } | {0x3F - index: cell_mv for index, cell_mv in enumerate(cells_mv)}
        self.instead: dict[int, Reply] = {}
        self.once: dict[int, list[Reply]] = {}
        self.fails: BatteryError | None = None
        self.commands: list[int] = []

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Answer a read; anything else would be a write, which a gauge must never get."""
        assert (address, len(tx)) == (ADDRESS, 1)
        assert rx_len > 0
        self.commands.append(tx[0])
        reply = self.fails or self._reply(tx[0])
        if isinstance(reply, BatteryError):
            raise reply
        return reply[:rx_len].ljust(rx_len, b"\xff")

    def _reply(self, command: int) -> Reply:
        if self.once.get(command):
            return self.once[command].pop(0)
        if command in self.instead:
            return self.instead[command]
        if command in self.texts:
            return block_reply(ADDRESS, command, self.texts[command], with_pec=self.pec)
        if command in self.words:
            return word_reply(ADDRESS, command, self.words[command], with_pec=self.pec)
        return NackError("no such command")


class Slot:
    """A connector for one device at a time."""

    def __init__(self, device: Device | None) -> None:
        self.device = device

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Do the transfer with the connected device."""
        if self.device is None:
            raise NackError("no device")
        return self.device.transfer(address, tx, rx_len)


class Noise:
    """A bus that flips one to three bits of some replies; fewer than a PEC can miss."""

    def __init__(self, bus: Bus, seed: int, frac: float = 0.05) -> None:
        self._bus = bus
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._frac = frac
        self.transfers = self.flawed = 0

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Do the transfer, sometimes with flipped bits."""
        reply = self._bus.transfer(address, tx, rx_len)
        self.transfers += 1
        if self._random.random() >= self._frac:
            return reply
        self.flawed += 1
        pattern = 0
        for bit in self._random.sample(range(8 * rx_len), self._random.randint(1, 3)):
            pattern |= 1 << bit
        return (int.from_bytes(reply, "big") ^ pattern).to_bytes(rx_len, "big")


class Cycle:
    """A bus on which a list of replies repeats, whatever is sent."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._replies = replies
        self._next = 0

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:  # noqa: ARG002 - a Bus
        """The next reply."""
        reply = self._replies[self._next % len(self._replies)]
        self._next += 1
        if isinstance(reply, BatteryError):
            raise reply
        return reply


def polled(gauge: Gauge, first: int, last: int) -> list[Snapshot]:
    """The snapshots of 10 Hz polls; arguments in tenths of a second, ends included."""
    return [gauge.poll(step / 10) for step in range(first, last + 1)]


def flown(
    name: str,
    seed: int,
    *faults: str,
    until_s: float = 60.0,
    around: Callable[[Bus], Bus] = lambda bus: bus,
) -> Iterator[tuple[Snapshot, World]]:
    """Fly a scenario and yield the snapshot of every tenth of a second."""
    clock = VirtualClock()
    bus, world = open_virtual(name, clock, seed, [parse_fault(fault) for fault in faults])
    gauge = Gauge(around(bus))
    for step in range(int(until_s * 10)):
        clock.sleep_until(step / 10)
        yield gauge.poll(step / 10), world
    assert world.gauge.refused_writes == 0


def by_field(snapshot: Snapshot) -> dict[str, float]:
    """The known values by the field names of the rows."""
    values = {row.field: getattr(snapshot, row.field) for row in SHOWN}
    values |= {sbs.CELLS[index].field: cell_v for index, cell_v in enumerate(snapshot.cells_v)}
    return {name: value for name, value in values.items() if value is not None}


def assert_plausible(snapshot: Snapshot, cells: int | None = None) -> None:
    rows = {row.field: row for row in WORDS}
    for name, value in by_field(snapshot).items():
        assert rows[name].low <= value <= rows[name].high, (name, value)
        assert 0 <= snapshot.t_s - snapshot.read_at_s[name] <= rows[name].max_age_s, name
    who = snapshot.identity
    assert len(snapshot.cells_v) == (cells or who.cells or len(snapshot.cells_v))
    assert who.cells is None or 1 <= who.cells <= 16
    assert who.design_mah is None or 1 <= who.design_mah <= 655_340
    for text in (who.manufacturer, who.device, who.chemistry):
        assert text is None or (
            text.isascii() and text.isprintable() and text.strip() == text != ""
        )
    assert (snapshot.trouble is None) == (snapshot.voltage_v is not None)


# ------------------------------------------------------------------------- an ordinary gauge


def test_a_gauge_is_identified_and_read_whole_in_its_first_poll() -> None:
    snapshot = Gauge(Device()).poll(7.0)
    assert snapshot.identity == Identity(
        serial=9596,
        manufacturer="SANYO",
        device="6S2P",
        chemistry="LION",
        design_mah=16_000.0,
        design_v=22.2,
        date=(2024, 5, 17),
        cells=6,
        pec=True,
    )
    assert snapshot.cells_v == pytest.approx([cell_mv / 1000 for cell_mv in CELLS_MV])
    assert by_field(snapshot) == pytest.approx(
        {
            "voltage_v": 24.055,
            "current_a": 12.34,
            "temperature_degc": 25.05,
            "average_a": 12.0,
            "max_error_pct": 2.0,
            "soc_pct": 80.0,
            "remaining_mah": 12_000.0,
            "full_mah": 15_000.0,
            "time_to_empty_s": 3480.0,
            "cycles": 12.0,
            "charging_a": 8.0,
            "charging_v": 25.2,
            "status_raw": 0xC0,
        }
        | {f"cell{index + 1}_v": cell_mv / 1000 for index, cell_mv in enumerate(CELLS_MV)}
    )
    assert set(snapshot.read_at_s.values()) == {7.0}
    assert (snapshot.t_s, snapshot.trouble) == (7.0, None)


@pytest.mark.parametrize("pec", [True, False])
def test_a_flight_reads_the_same_with_and_without_pec(pec: bool) -> None:  # noqa: FBT001 - a row
    scenario = load_scenario("half_full")
    spec = scenario.gauge.model_copy(update={"pec": pec})
    world = World(scenario.model_copy(update={"gauge": spec}), 1)
    clock = VirtualClock()
    bus = VirtualBus(clock, [world], {ADDRESS: world.gauge}, (), world._gauge_faults)
    gauge = Gauge(bus)
    for step in range(1200):
        clock.sleep_until(step / 10)
        gauge.poll(step / 10)
    snapshot, truth = gauge.poll(120.0), world.truth()
    assert snapshot.identity.pec is pec
    assert snapshot.voltage_v == pytest.approx(truth.voltage_v, abs=0.3)
    assert snapshot.cells_v == pytest.approx(truth.cells_v, abs=0.05)
    assert snapshot.counts.pec_errors == snapshot.counts.withheld == 0


def test_scales_are_applied_once_and_to_their_own_registers() -> None:
    device = Device()
    device.words |= {SPECIFICATION.command: 0x2131, VOLTAGE.command: 2405, DESIGN.command: 160}
    device.words |= {CURRENT.command: 0x10000 - 123, REMAINING.command: 120, FULL.command: 150}
    snapshot = Gauge(device).poll(0.0)
    assert snapshot.voltage_v == pytest.approx(24.05)  # x 10
    assert snapshot.current_a == pytest.approx(12.3)  # x 100
    assert (snapshot.remaining_mah, snapshot.full_mah) == (12_000.0, 15_000.0)
    assert snapshot.identity.design_mah == 16_000.0
    assert snapshot.cells_v[0] == pytest.approx(4.012)
    assert (snapshot.soc_pct, snapshot.cycles, snapshot.identity.serial) == (80.0, 12.0, 9596)


def test_a_scaled_flight_has_the_true_current_and_charge() -> None:
    snapshot, world = list(flown("cold_climb", 3, until_s=200.0))[-1]
    truth = world.truth()
    assert truth.current_a > 32.767  # what a word holds
    assert snapshot.current_a == pytest.approx(truth.current_a, rel=0.1)
    assert snapshot.identity.design_mah == 16_000.0
    assert snapshot.full_mah == pytest.approx(16_000.0, rel=0.1)


def test_a_gauge_that_claims_a_pec_and_sends_none_works_without() -> None:
    device = Device(pec=False)
    device.words[SPECIFICATION.command] = 0x0031
    snapshot = Gauge(device).poll(0.0)
    assert (snapshot.identity.pec, snapshot.identity.device) == (False, "6S2P")
    assert snapshot.voltage_v == pytest.approx(24.055)


@pytest.mark.parametrize("pec", [True, False])
def test_a_gauge_that_refuses_its_specification_works(pec: bool) -> None:  # noqa: FBT001 - a row
    device = Device(pec=pec)
    device.instead[SPECIFICATION.command] = NackError("unknown command")
    snapshot = polled(Gauge(device), 0, 50)[-1]
    assert (snapshot.identity.pec, snapshot.identity.cells) == (False, 6)
    assert by_field(snapshot) == by_field(Gauge(Device()).poll(5.0))


def test_a_refused_specification_is_read_in_the_next_round() -> None:
    # Six refusals at once (a gauge writes its flash for 0.2 s) would leave the current a tenth of
    # what it is, and the PEC off, for the whole flight.
    device = Device()
    device.words |= {SPECIFICATION.command: 0x1031, CURRENT.command: 0x10000 - 4000}
    device.once[SPECIFICATION.command] = [NackError("busy")] * 8
    gauge = Gauge(device)
    assert gauge.poll(0.0).identity.pec is False
    snapshot = polled(gauge, 1, 32)[-1]
    assert snapshot.identity.pec
    assert snapshot.current_a == pytest.approx(40.0)


# ------------------------------------------------------------------------- noise


def test_no_flipped_bit_of_a_whole_flight_reaches_a_value() -> None:
    clock = VirtualClock()
    twin = World(load_scenario("half_full"), 5)
    powers = sbs.powers_of(0)
    reported: dict[float, dict[str, float | None]] = {}
    noise: list[Noise] = []

    def noisy(bus: Bus) -> Bus:
        noise.append(Noise(bus, 20_261))
        return noise[0]

    who = set()
    known = Counter[str]()
    counts = NO_COUNTS
    for snapshot, _ in flown("half_full", 5, until_s=528.0, around=noisy):
        clock.sleep_until(snapshot.t_s)
        twin.advance(snapshot.t_s)
        if not reported:
            spec = int.from_bytes(twin.gauge.reply(bytes((SPECIFICATION.command,)), 2), "little")
            powers = sbs.powers_of(spec)
        reported[snapshot.t_s] = {
            row.field: row.decode(
                int.from_bytes(twin.gauge.reply(bytes((row.command,)), 2), "little"),
                powers[row.scaled_by],
            )
            for row in (*SHOWN, *sbs.CELLS[: len(snapshot.cells_v)])
        }
        for name, value in by_field(snapshot).items():
            assert value == reported[snapshot.read_at_s[name]][name], (name, snapshot.t_s)
            known[name] += 1
        assert_plausible(snapshot)
        who.add(snapshot.identity)
        counts = snapshot.counts
    assert noise[0].transfers >= 45_000
    assert noise[0].flawed >= 2_000
    assert counts.pec_errors >= 1_900
    assert len(who - {UNIDENTIFIED}) == 1  # nothing of who it is was wrong either
    assert min(known[row.field] for row in SHOWN if row is not TIME_TO_EMPTY) > 5_200


@pytest.mark.parametrize("seed", range(20))
def test_noise_from_the_first_bit_on_never_costs_the_pec_or_a_cell(seed: int) -> None:
    seen = [
        snapshot.identity
        for snapshot in polled(Gauge(Noise(Device(), seed, 0.15)), 0, 100)
        if snapshot.identity is not UNIDENTIFIED
    ]
    assert {(who.pec, who.cells) for who in seen} <= {(True, 6), (True, None)}
    assert (seen[-1].pec, seen[-1].cells) == (True, 6)
    assert {who.serial for who in seen} <= {9596, None}
    assert seen[-1].serial == 9596


@pytest.mark.parametrize("fault", ["nack@0", "bad_pec@0", "nack@5", "ffff_cells@0"])
def test_a_poor_bus_from_the_start_ends_in_a_complete_identity(fault: str) -> None:
    for seed in range(1, 6):
        pairs = list(flown("half_full", seed, fault))
        snapshots = [snapshot for snapshot, _ in pairs]
        for snapshot in snapshots:
            assert_plausible(snapshot)
        cells, rated_mah = len(pairs[0][1].truth().cells_v), pairs[0][1].pack_data().capacity_mah
        last = snapshots[-1].identity
        assert (last.pec, last.cells, last.design_mah) == (True, cells, rated_mah)
        received = sum(snapshot.voltage_v is not None for snapshot in snapshots)
        assert received > 0.95 * len(snapshots)


# ------------------------------------------------------------------------- silence


@pytest.mark.parametrize("row", [row for row in SHOWN if row is not VOLTAGE], ids=lambda r: r.name)
def test_a_register_that_stops_answering_expires_at_its_max_age(row: Register) -> None:
    device = Device()
    gauge = Gauge(device)
    gauge.poll(0.0)
    device.instead[row.command] = NackError("busy")
    for second in range(1, 200):
        snapshot = gauge.poll(float(second))
        value = by_field(snapshot).get(row.field)
        assert (value is not None) == (second <= row.max_age_s), second
        assert snapshot.trouble is None  # the pack answers
    del device.instead[row.command]
    polled(gauge, 2000, 2020)
    assert row.field in by_field(gauge.poll(202.1))


def test_a_charge_expires_with_the_mode_that_gives_its_unit() -> None:
    device = Device()
    gauge = Gauge(device)
    gauge.poll(0.0)
    device.instead[MODE.command] = NackError("busy")
    snapshot = [gauge.poll(float(second)) for second in range(1, 25)][-1]
    assert (snapshot.remaining_mah, snapshot.full_mah) == (None, None)
    assert snapshot.soc_pct == 80.0


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_silent_pack_is_valid_for_two_seconds_then_discarded_then_identified_again(
    failure: BatteryError,
) -> None:
    device = Device()
    gauge = Gauge(device)
    before = polled(gauge, 0, 49)[-1]
    device.fails = failure
    silent = polled(gauge, 50, 300)
    for snapshot in silent:
        assert_plausible(snapshot)
        age_s = snapshot.t_s - 4.9
        if age_s < 1.95:
            assert snapshot.voltage_v == before.voltage_v
            assert snapshot.identity == before.identity
        elif age_s > 2.25:
            assert by_field(snapshot) == {}
            assert snapshot.cells_v == ()
            assert snapshot.identity == UNIDENTIFIED
            assert str(failure) in str(snapshot.trouble)
    device.fails = None
    back = gauge.poll(30.1)
    assert (by_field(back), back.identity) == (by_field(before), before.identity)


@pytest.mark.parametrize("fault", ["unplug@20", "stuck@20"])
def test_an_unplugged_pack_in_flight_is_identified_again(fault: str) -> None:
    duration_s = 20.0 if fault.startswith("unplug") else 8.0
    snapshots = {snapshot.t_s: snapshot for snapshot, _ in flown("half_full", 2, fault)}
    for t_s, snapshot in snapshots.items():
        assert_plausible(snapshot)
        absent = 22.3 < t_s < 20.0 + duration_s
        connected = t_s < 21.8 or t_s >= 20.0 + duration_s
        assert (snapshot.identity == UNIDENTIFIED) <= (not connected)
        assert (snapshot.voltage_v is not None) >= connected
        assert (snapshot.voltage_v is None) >= absent
    assert snapshots[59.9].identity == snapshots[0.0].identity


def test_a_stuck_bus_is_read_as_little_as_possible() -> None:
    # Each try may block for a second.
    device = Device()
    gauge = Gauge(device)
    polled(gauge, 0, 9)
    device.fails = BusTimeoutError("held")
    counts = []
    for step in range(10, 60):
        device.commands.clear()
        gauge.poll(step / 10)
        counts.append(len(device.commands))
    assert counts[:20] == [1] * 20
    assert set(counts[25:]) == {2}  # SpecificationInfo, and whether it is only that


def test_an_absent_gauge_is_read_for_one_register_only() -> None:
    device = Device()
    gauge = Gauge(device)
    gauge.poll(0.0)
    device.fails = NackError("absent")
    device.commands.clear()
    gauge.poll(0.1)
    assert device.commands == [VOLTAGE.command] * 2


def test_cells_and_names_are_found_on_an_adapter_that_reports_refusals_as_timeouts() -> None:
    # A CP2112 answers ETIMEDOUT where others answer ENXIO; this pack has no seventh cell, no name.
    device = Device()
    device.instead |= {0x39: BusTimeoutError("110"), 0x20: BusTimeoutError("110")}
    device.instead[MAX_ERROR.command] = BusTimeoutError("110")
    snapshot = polled(Gauge(device), 0, 30)[-1]
    assert (snapshot.identity.cells, snapshot.identity.manufacturer) == (6, None)
    assert (snapshot.identity.device, snapshot.identity.serial) == ("6S2P", 9596)
    assert snapshot.max_error_pct is None
    assert by_field(snapshot).keys() >= {"voltage_v", "current_a", "cell6_v", "cycles"}


def test_zeros_from_an_absent_gauge_are_not_an_empty_pack() -> None:
    # i2c-virtio reads zeros without an error where no device answers (measured, kernel 6.1).
    absent = Device(pec=False)
    absent.words = dict.fromkeys(range(256), 0)
    absent.texts = {}
    for snapshot in polled(Gauge(absent), 0, 30):
        assert (by_field(snapshot), snapshot.identity) == ({}, UNIDENTIFIED)
        assert snapshot.trouble == "not identified: Voltage 0x0000 is not plausible"


def test_a_gauge_that_boots_with_zeros_is_identified_once_it_has_a_voltage() -> None:
    device = Device()
    ready = dict(device.words)
    device.words = dict.fromkeys(ready, 0) | {SPECIFICATION.command: 0x0031}
    gauge = Gauge(device)
    early = gauge.poll(0.0)
    assert (early.identity, by_field(early)) == (UNIDENTIFIED, {})
    assert early.trouble == "not identified: Voltage 0x0000 is not plausible"
    device.words = ready
    assert gauge.poll(0.1).identity.serial == 9596


# ------------------------------------------------------------------------- another pack


def other_pack(*, pec: bool = True) -> Device:
    device = Device((3700, 3710, 3720, 3705), pec=pec)
    device.words |= {SERIAL.command: 1208, DESIGN.command: 5200, FULL.command: 5000}
    device.words |= {REMAINING.command: 2600, sbs.RELATIVE_SOC.command: 52}
    device.texts[0x21] = b"4S1P"
    del device.words[sbs.CYCLES.command], device.words[MAX_ERROR.command]
    return device


@pytest.mark.parametrize("pec_before", [True, False])
@pytest.mark.parametrize("pec_after", [True, False])
@pytest.mark.parametrize("gap", [0, 1, 15, 30])
def test_nothing_of_the_old_pack_survives_a_hot_swap(
    pec_before: bool,  # noqa: FBT001 - a row
    pec_after: bool,  # noqa: FBT001 - a row
    gap: int,
) -> None:
    slot = Slot(Device(pec=pec_before))
    gauge = Gauge(slot)
    polled(gauge, 0, 49)
    slot.device = None
    polled(gauge, 50, 49 + gap)
    slot.device = other_pack(pec=pec_after)
    start = 50 + gap
    snapshots = polled(gauge, start, start + 60)
    fresh = by_field(Gauge(other_pack()).poll(0.0))
    known = [snapshot for snapshot in snapshots if snapshot.identity != UNIDENTIFIED]
    for snapshot in known:
        if snapshot.identity.serial == 1208:
            assert by_field(snapshot) == fresh
            assert len(snapshot.cells_v) == snapshot.identity.cells == 4
            assert (snapshot.identity.device, snapshot.identity.pec) == ("4S1P", pec_after)
            assert (snapshot.identity.design_mah, snapshot.cycles) == (5200.0, None)
        else:
            assert snapshot.t_s - start / 10 < (2.3 if pec_before and not pec_after else ROUND_S)
    assert known[-1].identity.serial == 1208
    if gap == 30:
        assert all(snapshot.identity.serial == 1208 for snapshot in known)


@pytest.mark.parametrize("answers", [True, False])
def test_a_pack_with_little_identity_data_does_not_inherit_those_of_another(answers: bool) -> None:  # noqa: FBT001 - a row
    old, slot = Device(), Slot(None)
    if not answers:
        old.instead[0x20] = BusAbsentError(
            "unplugged"
        )  # who it is has been read, and comes to nothing
    mute = Device()
    for row in (SERIAL, DESIGN, sbs.DESIGN_V, sbs.MANUFACTURED):
        del mute.words[row.command]
    mute.texts = {}
    gauge = Gauge(slot)
    slot.device = old
    polled(gauge, 0, 20)
    slot.device = None
    polled(gauge, 21, 51 if answers else 20)
    slot.device = mute
    assert gauge.poll(5.2).identity == Identity(cells=6, pec=True)


@pytest.mark.parametrize("period_s", [0.1, 0.5, 1.0, 4.0])
def test_a_pack_swapped_between_two_polls_is_detected_within_a_second(period_s: float) -> None:
    slot = Slot(Device())
    gauge = Gauge(slot)
    for step in range(30):
        gauge.poll(step * period_s)
    slot.device = other_pack()
    start_s = 30 * period_s
    snapshots = [gauge.poll(start_s + step * period_s) for step in range(25)]
    old = [snapshot.t_s for snapshot in snapshots if snapshot.identity.serial == 9596]
    assert not old or old[-1] - start_s < 1.0
    assert snapshots[-1].identity.serial == 1208


def test_a_pack_of_the_same_serial_but_another_size_is_another_pack() -> None:
    slot = Slot(Device())
    gauge = Gauge(slot)
    polled(gauge, 0, 20)
    slot.device = other_pack()
    slot.device.words[SERIAL.command] = 9596
    snapshot = polled(gauge, 21, 40)[-1]
    assert (snapshot.identity.design_mah, snapshot.identity.cells) == (5200.0, 4)


def test_a_pack_that_differs_in_its_date_alone_is_another_pack_within_a_round() -> None:
    slot = Slot(Device())
    gauge = Gauge(slot)
    polled(gauge, 0, 20)
    slot.device = Device()
    slot.device.words[sbs.MANUFACTURED.command] = 0x58B2
    assert polled(gauge, 21, 75)[-1].identity.date == (2024, 5, 18)


@pytest.mark.parametrize("command", [0x20, 0x21, 0x22])
@pytest.mark.parametrize("damaged", [0, 1])
def test_a_flipped_bit_in_a_name_is_no_other_pack_without_a_pec(command: int, damaged: int) -> None:
    device = Device(pec=False)
    right = block_reply(ADDRESS, command, device.texts[command], with_pec=False)
    wrong = bytes((*right[:2], right[2] ^ 1, *right[3:]))
    replies: list[Reply] = [*[right] * damaged, wrong]
    device.once[command] = replies
    identity = Gauge(device).poll(0.0).identity
    assert identity == Gauge(Device(pec=False)).poll(0.0).identity


def test_a_name_that_is_read_only_once_is_the_one_that_was_read() -> None:
    device = Device(pec=False)
    right = block_reply(ADDRESS, 0x20, b"SANYO", with_pec=False)
    device.once[0x20], device.instead[0x20] = [right, right], BusAbsentError("its end")
    assert Gauge(device).poll(0.0).identity.manufacturer == "SANYO"


def a_name(letter: int) -> Reply:
    return block_reply(ADDRESS, 0x20, bytes((letter,)), with_pec=False)


def test_a_name_that_differs_in_every_reading_is_unknown() -> None:
    device = Device(pec=False)
    device.once[0x20] = [*map(a_name, b"ABCDEFGHIJ")]
    assert Gauge(device).poll(0.0).identity.manufacturer is None


@pytest.mark.parametrize("pec", [True, False])
@pytest.mark.parametrize("wrong", [1, 2, 3])
def test_one_wrong_serial_number_does_not_discard_a_pack(wrong: int, pec: bool) -> None:  # noqa: FBT001 - a row
    device = Device(pec=pec)
    gauge = Gauge(device)
    gauge.poll(0.0)
    flawed = word_reply(ADDRESS, SERIAL.command, 9596 ^ 1 << 5, with_pec=pec)
    device.once[SERIAL.command] = [flawed] * wrong
    snapshots = polled(gauge, 1, 60)
    forgotten = sum(snapshot.identity == UNIDENTIFIED for snapshot in snapshots)
    if wrong == 1:
        assert forgotten == 0
        assert {snapshot.identity.serial for snapshot in snapshots} == {9596}
    assert forgotten <= 2
    assert snapshots[-1].identity.serial == 9596


@pytest.mark.parametrize("second", [0xFFFF, 0, 12_000], ids=["unknown", "off", "another"])
def test_a_step_that_a_second_reading_does_not_confirm_is_not_taken(second: int) -> None:
    device = Device()
    gauge = Gauge(device)
    before = polled(gauge, 0, 30)[-1].voltage_v
    device.once[VOLTAGE.command] = [
        word_reply(ADDRESS, VOLTAGE.command, raw, with_pec=True) for raw in (9_000, second)
    ]
    (after,) = polled(gauge, 31, 31)
    assert device.once[VOLTAGE.command] == []
    assert after.voltage_v == before


def test_a_word_that_a_gauge_never_has_is_not_read_for_ever() -> None:
    device = Device()
    del device.words[TIME_TO_EMPTY.command]
    gauge = Gauge(device)
    polled(gauge, 0, 300)
    assert TIME_TO_EMPTY.command in device.commands
    device.commands.clear()
    assert polled(gauge, 301, 500)[-1].time_to_empty_s is None
    assert TIME_TO_EMPTY.command not in device.commands


def test_a_wrong_serial_that_cannot_be_confirmed_is_not_another_pack() -> None:
    device = Device(pec=False)
    gauge = Gauge(device)
    gauge.poll(0.0)
    device.once[SERIAL.command] = [b"\x01\x00", NackError("busy"), NackError("busy")]
    device.instead[SERIAL.command] = NackError("busy")
    assert {snapshot.identity.serial for snapshot in polled(gauge, 1, 40)} == {9596}


@pytest.mark.parametrize("row", [SERIAL, DESIGN], ids=lambda row: row.name)
def test_a_missing_part_of_the_identity_is_read_later(row: Register) -> None:
    device = Device()
    # Two tries in identifying, two in the first poll's round, two in the next one.
    device.once[row.command] = [NackError("busy")] * 6
    gauge = Gauge(device)
    first = gauge.poll(0.0).identity
    last = polled(gauge, 1, 60)[-1].identity
    assert (first.serial, first.design_mah).count(None) == 1
    assert (last.serial, last.design_mah) == (9596, 16_000.0)


@pytest.mark.parametrize(("reported_mah", "expected_mah"), [(1, None), (49, None), (50, 50.0)])
def test_an_impossible_design_capacity_is_rejected(
    reported_mah: int, expected_mah: float | None
) -> None:
    device = Device()
    device.words[DESIGN.command] = reported_mah
    assert polled(Gauge(device), 1, 20)[-1].identity.design_mah == expected_mah


@pytest.mark.parametrize("scales", [0x1031, 0x0131, 0x3331, 0x2031])
def test_scales_that_change_on_the_same_pack_are_named_and_not_used(scales: int) -> None:
    device = Device()
    gauge = Gauge(device)
    polled(gauge, 0, 60)
    device.words[SPECIFICATION.command] = scales
    before = by_field(Gauge(Device()).poll(0.0))
    named = [snapshot for snapshot in polled(gauge, 61, 200) if snapshot.doubts]
    assert named[0].t_s - 6.0 < ROUND_S
    assert {snapshot.doubts for snapshot in named} == {
        (f"scale 0x{scales:04x}, not 0x0031: rejected",)
    }
    assert by_field(named[-1]) == before
    device.words[SPECIFICATION.command] = 0x0031
    last = polled(gauge, 201, 260)[-1]
    assert (last.doubts, by_field(last)) == ((), before)


def test_a_pack_whose_values_change_with_the_scales_is_identified_again() -> None:
    device = Device()
    gauge = Gauge(device)
    polled(gauge, 0, 60)
    for command in (DESIGN.command, FULL.command, REMAINING.command):
        device.words[command] //= 10
    device.words |= {SPECIFICATION.command: 0x1031, CURRENT.command: 0x10000 - 4000}
    last = polled(gauge, 61, 140)[-1]
    assert last.identity.design_mah == 16_000.0
    assert last.current_a == pytest.approx(40.0)
    assert last.doubts == ()


def test_a_unit_of_capacity_that_changes_is_named_until_it_changes_back() -> None:
    device = Device()
    gauge = Gauge(device)
    polled(gauge, 0, 60)
    mode_raw = device.words[MODE.command]
    device.words[MODE.command] = mode_raw ^ 0x8000
    last = polled(gauge, 61, 100)[-1]
    assert last.remaining_mah is None
    assert last.doubts == ("BatteryMode: another unit of capacity: rejected",)
    device.words[MODE.command] = mode_raw
    assert polled(gauge, 101, 140)[-1].doubts == ()


@pytest.mark.parametrize(("row", "text"), [(VOLTAGE, "voltage"), (sbs.TEMPERATURE, "temperature")])
def test_a_reading_that_is_no_longer_plausible_is_named(row: Register, text: str) -> None:
    device = Device()
    gauge = Gauge(device)
    sound_raw = device.words[row.command]
    polled(gauge, 0, 60)
    device.words[row.command] = 0x0010
    snapshots = polled(gauge, 61, 120)
    assert snapshots[0].doubts == ()
    named = [snapshot for snapshot in snapshots if snapshot.doubts]
    assert {snapshot.doubts for snapshot in named} == {(f"{text} not plausible: rejected",)}
    device.words[row.command] = sound_raw
    assert polled(gauge, 121, 180)[-1].doubts == ()


def test_a_reading_that_never_was_plausible_is_of_what_the_gauge_has_not() -> None:
    device = Device()
    device.words[sbs.TEMPERATURE.command] = 0
    assert polled(Gauge(device), 0, 60)[-1].doubts == ()


def test_scales_that_were_read_once_and_never_again_are_replaced() -> None:
    device = Device()
    device.once[SPECIFICATION.command] = []
    device.words[SPECIFICATION.command] = 0x1031
    gauge = Gauge(device)
    assert gauge.poll(0.0).identity.design_mah == 160_000.0
    device.words[SPECIFICATION.command] = 0x0031
    last = polled(gauge, 1, 60)[-1]
    assert last.identity.design_mah == 16_000.0
    assert last.doubts == ()


def test_the_poll_that_discards_a_pack_reports_it() -> None:
    device = Device()
    gauge = Gauge(device)
    gauge.poll(0.0)
    device.words[SERIAL.command] = 5
    troubles = {snapshot.trouble for snapshot in polled(gauge, 1, 20)}
    assert troubles == {None, "another pack, or another SerialNumber: identifying it"}


def test_slow_polls_that_come_a_little_late_discard_nothing() -> None:
    device = Device()
    gauge = Gauge(device)
    gauge.poll(0.0)
    device.commands.clear()
    snapshots = [gauge.poll(step * 2.0003) for step in range(1, 30)]
    assert 0x20 not in device.commands  # no pack was identified again
    assert all(snapshot.identity.cells == 6 for snapshot in snapshots)


def test_a_gauge_after_a_gap_without_polls_may_be_another() -> None:
    device = Device()
    gauge = Gauge(device)
    gauge.poll(0.0)
    device.commands.clear()
    gauge.poll(60.0)
    assert 0x20 in device.commands


# ------------------------------------------------------------------------- cells


@pytest.mark.parametrize("count", range(1, 17))
def test_any_number_of_cells_is_detected(count: int) -> None:
    snapshot = Gauge(Device([3700 + index for index in range(count)])).poll(0.0)
    assert snapshot.identity.cells == len(snapshot.cells_v) == count


def test_the_cells_of_a_recorded_pack_are_detected() -> None:
    # An ideapad's 42T4911: 10.876 V and three words that add up to it (tests/data, sbhack-22).
    snapshot = Gauge(Device([0x0E2A, 0x0E25, 0x0E2D], pec=False)).poll(0.0)
    assert snapshot.cells_v == pytest.approx((3.626, 3.621, 3.629))


def test_an_optional_function_that_is_not_a_cell_is_ignored_and_read_once_a_round() -> None:
    device = Device()
    device.words[0x3F] = 0x30CD  # of a SANYO IBM-08K8193
    snapshot = polled(Gauge(device), 0, 130)[-1]
    assert (snapshot.identity.cells, snapshot.cells_v) == (None, ())
    assert 10 <= device.commands.count(0x3F) <= 13


@pytest.mark.parametrize("raw", [0xFFFF, None])
def test_after_the_last_cell_a_word_is_refused_or_all_ones(raw: int | None) -> None:
    device = Device()
    if raw is not None:
        device.words[0x39] = raw
    assert Gauge(device).poll(0.0).identity.cells == 6


def test_cells_are_not_counted_without_a_voltage_to_add_up_to() -> None:
    device = Device()
    device.words[0x3D] = 0
    gauge = Gauge(device)
    gauge.poll(0.0)
    device.words[0x3D] = CELLS_MV[2]
    device.instead[VOLTAGE.command] = b"\x00\x00\x00"
    snapshots = polled(gauge, 1, 40)
    assert snapshots[-1].identity.serial == 9596
    assert (snapshots[5].identity.cells, snapshots[-1].voltage_v) == (None, None)
    device.words[0x3D] = 0


@pytest.mark.parametrize("dead", range(6))
@pytest.mark.parametrize("dead_mv", [0, 120, 0xFFFF])
def test_a_dead_cell_makes_the_number_unknown_and_never_one_too_few(
    dead: int, dead_mv: int
) -> None:
    device = Device()
    if dead_mv != 0xFFFF:  # else the word is missing and the cell still carries the pack
        device.words[VOLTAGE.command] -= CELLS_MV[dead] - dead_mv
    device.words[0x3F - dead] = dead_mv
    for snapshot in polled(Gauge(device), 0, 30):
        assert (snapshot.identity.cells, snapshot.cells_v) == (None, ())
    snapshot = Gauge(device, cells=6).poll(0.0)
    assert snapshot.identity.cells == 6
    assert [index for index, cell_v in enumerate(snapshot.cells_v) if cell_v is None] == [dead]


@pytest.mark.parametrize(
    ("cells", "cell_mv", "nominal_mv"),
    [
        (3, 4100, 3700), (4, 4100, 3800), (6, 4100, 3700), (12, 4100, 3600), (16, 4100, 3700),
        (6, 3300, 3200), (8, 3320, 3200), (15, 3320, 3200), (6, 3500, 3700),
    ],
)  # fmt: skip
def test_a_dead_last_cell_is_never_a_pack_of_one_less(
    cells: int, cell_mv: int, nominal_mv: int
) -> None:
    # The others add up to the pack: LiPo, LiHV, Li-ion, LiFePO4, and a LiPo that is nearly empty.
    device = Device([cell_mv] * (cells - 1))
    device.words |= {0x40 - cells: 0, sbs.DESIGN_V.command: cells * nominal_mv}
    assert Gauge(device).poll(0.0).identity.cells is None


@pytest.mark.parametrize(
    ("cells", "cell_mv", "nominal_mv"),
    [(3, 4100, 3700), (3, 3500, 3600), (6, 4100, 3700), (7, 4100, 3800), (4, 3300, 3200)],
)
def test_a_register_that_reads_zero_is_no_cell_if_the_design_voltage_excludes_it(
    cells: int, cell_mv: int, nominal_mv: int
) -> None:
    # A pack of three on a BQ40Z50 answers 0 for the fourth.
    device = Device([cell_mv] * cells)
    device.words |= {0x3F - cells: 0, sbs.DESIGN_V.command: cells * nominal_mv}
    assert Gauge(device).poll(0.0).identity.cells == cells


def test_a_weak_last_cell_of_sixteen_is_not_lost_with_its_word() -> None:
    device = Device([4150] * 15 + [2900])
    device.words[0x30] = 0xFFFF
    assert Gauge(device).poll(0.0).identity.cells is None


@pytest.mark.parametrize("failure", [NackError("busy"), IntegrityError("flawed"), b"\xff\xff\xff"])
def test_cells_that_could_not_be_counted_at_first_are_counted_later(failure: Reply) -> None:
    device = Device(pec=False)
    device.instead[0x3C] = failure
    gauge = Gauge(device)
    early = polled(gauge, 0, 20)[-1]
    assert (early.identity.cells, early.cells_v) == (None, ())
    assert early.voltage_v is not None
    del device.instead[0x3C]
    late = polled(gauge, 21, 21 + 14)[-1]
    assert late.identity == replace(early.identity, cells=6)
    assert late.cells_v == pytest.approx([cell_mv / 1000 for cell_mv in CELLS_MV])


def test_configured_cells_keep_their_indices_while_the_pack_is_absent() -> None:
    slot = Slot(None)
    gauge = Gauge(slot, cells=6)
    assert gauge.poll(0.0).cells_v == (None,) * 6
    slot.device = Device()
    assert None not in gauge.poll(0.1).cells_v
    slot.device = None
    assert {len(snapshot.cells_v) for snapshot in polled(gauge, 2, 60)} == {6}
    assert gauge.poll(6.1).cells_v == (None,) * 6


def test_a_cell_that_often_reads_all_ones_never_shows_them() -> None:
    for cells in (None, 6):
        clock = VirtualClock()
        bus, world = open_virtual("half_full", clock, 4, [parse_fault("ffff_cells@0")])
        gauge = Gauge(bus, cells=cells)
        snapshots = []
        for step in range(1500):
            clock.sleep_until(step / 10)
            snapshots.append(gauge.poll(step / 10))
            assert_plausible(snapshots[-1], cells)
            known = [cell_v for cell_v in snapshots[-1].cells_v if cell_v is not None]
            assert all(2.5 < cell_v < 4.5 for cell_v in known)
        assert snapshots[-1].counts.withheld > 100
        assert len(snapshots[-1].cells_v) == len(world.truth().cells_v)


# ------------------------------------------------------------------------- units and unknowns


def test_a_gauge_that_counts_in_10_mwh_has_no_charge() -> None:
    device = Device()
    device.words[MODE.command] = 0x8000
    snapshot = polled(Gauge(device), 0, 30)[-1]
    assert (snapshot.remaining_mah, snapshot.full_mah) == (None, None)
    assert snapshot.identity.design_mah is None
    assert (snapshot.soc_pct, snapshot.counts.withheld) == (80.0, 0)


class SharedDevice(Device):
    """A gauge that another program switches to 10 mWh for some transfers, as the kernel does."""

    def __init__(self, first: int, count: int) -> None:
        super().__init__()
        self._window = range(first, first + count)
        self._transfers = 0

    def _reply(self, command: int) -> Reply:
        self._transfers += 1
        if self._transfers in self._window:
            if command in (DESIGN.command, REMAINING.command, FULL.command):
                raw = round(self.words[command] * 2.22)
                return word_reply(ADDRESS, command, raw, with_pec=True)
            if command == MODE.command:
                return word_reply(ADDRESS, command, 0x8000, with_pec=True)
        return super()._reply(command)


@pytest.mark.parametrize("count", range(1, 9))
def test_a_unit_that_another_program_switches_for_its_own_reads_invents_no_charge(
    count: int,
) -> None:
    for first in range(1, 160):
        device = SharedDevice(first, count)
        for snapshot in (seen := polled(Gauge(device), 0, 59)):
            assert snapshot.remaining_mah in (None, 12_000.0)
            assert snapshot.full_mah in (None, 15_000.0)
            assert snapshot.identity.design_mah in (None, 16_000.0)
        assert seen[-1].full_mah == 15_000.0
        assert (seen[-1].identity.serial, seen[-1].identity.design_mah) == (9596, 16_000.0)


def test_a_recording_without_the_reading_of_the_mode_before_a_step_gives_the_same_values() -> None:
    recorded: list[Transfer] = []
    live = Gauge(RecordingBus(Device(), recorded.append)).poll(0.0)
    capacities = (DESIGN.command, REMAINING.command, FULL.command)
    mode = bytes((MODE.command,))
    again = {
        place
        for place, transfer in enumerate(recorded)
        if transfer.tx == mode and recorded[place - 1].tx[0] in capacities
    }
    played = [transfer for place, transfer in enumerate(recorded) if place not in again]
    assert len(played) == len(recorded) - 3
    seen = Gauge(PlaybackBus(played)).poll(0.0)
    assert (seen.remaining_mah, seen.full_mah) == (12_000.0, 15_000.0)
    assert seen.identity == live.identity


def test_a_step_of_the_charge_waits_until_the_mode_can_be_read() -> None:
    device = Device()
    gauge = Gauge(device)
    polled(gauge, 0, 60)
    device.instead[MODE.command] = NackError("busy")
    device.words[FULL.command] = 14_000
    assert {snapshot.full_mah for snapshot in polled(gauge, 61, 110)} == {15_000.0}
    del device.instead[MODE.command]
    assert polled(gauge, 111, 170)[-1].full_mah == 14_000.0


def test_a_gauge_that_is_switched_to_10_mwh_and_back_is_followed() -> None:
    device = Device()
    gauge = Gauge(device)
    gauge.poll(0.0)
    device.words |= {MODE.command: 0x8000}
    turned = polled(gauge, 1, 40)[-1]
    assert (turned.remaining_mah, turned.full_mah) == (None, None)
    assert turned.identity.serial == 9596
    device.words |= {MODE.command: 0}
    back = polled(gauge, 41, 80)[-1]
    assert (back.remaining_mah, back.full_mah) == (12_000.0, 15_000.0)


def test_a_value_that_becomes_unknown_discards_the_one_before() -> None:
    device = Device()
    gauge = Gauge(device)
    assert gauge.poll(0.0).time_to_empty_s == 3480.0
    device.words[TIME_TO_EMPTY.command] = 0xFFFF  # not being discharged
    snapshot = polled(gauge, 1, 14)[-1]
    assert (snapshot.time_to_empty_s, snapshot.age_s("time_to_empty_s")) == (None, None)
    assert snapshot.counts.withheld == 0


def test_an_implausible_value_is_rejected_and_counted_and_the_last_valid_one_ages() -> None:
    device = Device()
    gauge = Gauge(device)
    gauge.poll(0.0)
    device.words[sbs.RELATIVE_SOC.command] = 101
    snapshot = polled(gauge, 1, 100)[-1]
    assert (snapshot.soc_pct, snapshot.age_s("soc_pct")) == (80.0, 10.0)
    assert snapshot.counts.withheld in (7, 8)
    assert polled(gauge, 101, 151)[-1].soc_pct is None


@pytest.mark.parametrize("row", [*SHOWN, sbs.CELLS[0]], ids=lambda row: row.name)
@pytest.mark.parametrize("bit", [15, 13])
def test_a_single_step_without_a_pec_is_rejected(row: Register, bit: int) -> None:
    device = Device(pec=False)
    gauge = Gauge(device)
    before = by_field(gauge.poll(0.0))
    device.once[row.command] = [(device.words[row.command] ^ 1 << bit).to_bytes(2, "little")]
    snapshots = polled(gauge, 1, 20)
    assert {by_field(snapshot)[row.field] for snapshot in snapshots} == {before[row.field]}
    assert device.once[row.command] == []


@pytest.mark.parametrize(
    ("raw", "specification", "beyond_a"),
    [(0x8000, 0x0031, 32.768), (0x7FFF, 0x0031, -32.767), (0x8000, 0x1031, 327.68)],
)
def test_a_saturated_current_is_unknown_with_a_lower_bound(
    raw: int, specification: int, beyond_a: float
) -> None:
    device = Device()
    device.words[SPECIFICATION.command] = specification
    gauge = Gauge(device)
    known_a = gauge.poll(0.0).current_a
    device.once[CURRENT.command] = [word_reply(ADDRESS, CURRENT.command, raw, with_pec=True)]
    lone = gauge.poll(0.1)
    assert (lone.current_a, lone.beyond_a) == (known_a, None)  # one word of nonsense
    device.words[CURRENT.command] = raw
    snapshots = polled(gauge, 2, 60)
    assert {snapshot.current_a for snapshot in snapshots} == {None}
    assert [snapshot.beyond_a for snapshot in snapshots] == pytest.approx(
        [beyond_a] * len(snapshots)
    )
    device.words[CURRENT.command] = 0x10000 - 30_000
    after = gauge.poll(6.1)
    assert (after.current_a, after.beyond_a) == (30.0 * (10 if specification >> 12 else 1), None)


@pytest.mark.parametrize("raw", [0, 0x0873, 0x08AE, 0x08B7])  # 0 K, -57, -51, -50.05 degC
def test_an_open_thermistor_is_no_temperature(raw: int) -> None:
    device = Device()
    device.words[sbs.TEMPERATURE.command] = raw
    assert Gauge(device).poll(0.0).temperature_degc is None
    device.words[sbs.TEMPERATURE.command] = 0x08B8
    assert Gauge(device).poll(0.0).temperature_degc == pytest.approx(-49.95)


def test_a_load_step_is_accepted_at_once() -> None:
    device = Device(pec=False)
    gauge = Gauge(device)
    gauge.poll(0.0)
    device.words |= {VOLTAGE.command: 21_000, CURRENT.command: 0x10000 - 30_000}
    snapshot = gauge.poll(0.1)
    assert (snapshot.voltage_v, snapshot.current_a) == (21.0, 30.0)


# ------------------------------------------------------------------------- turns


def test_the_first_poll_reads_everything_and_later_ones_one_more_than_the_fast_registers() -> None:
    device = Device()
    gauge = Gauge(device)
    gauge.poll(0.0)
    assert {row.command for row in (*SLOW, SERIAL, SPECIFICATION, DESIGN)} <= set(device.commands)
    device.commands.clear()
    polled(gauge, 1, 150)
    assert len(device.commands) == 150 * (2 + 6 + 1) + 15 + 3  # the date every 5 s
    turns = Counter(device.commands)
    assert {turns[row.command] for row in (*SLOW, SPECIFICATION, DESIGN)} == {10}
    assert turns[SERIAL.command] == 10 + 15  # once a second in addition to its turn


@given(period_s=st.floats(0.02, 5.0), late_frac=st.floats(0.0, 0.2))
@settings(max_examples=60, deadline=None)
def test_every_slow_register_is_read_every_five_seconds_however_rare_the_polls(
    period_s: float, late_frac: float
) -> None:
    device = Device()
    gauge = Gauge(device)
    gauge.poll(0.0)
    t_s, asked_s = 0.0, dict.fromkeys((row.command for row in (*SLOW, SERIAL)), 0.0)
    period_s = min(period_s, 4.99 / (1.0 + late_frac))  # longer, and the pack is identified again
    for step in range(min(int(60 / period_s), 300)):
        t_s += period_s * (1.0 + late_frac * (step % 2))
        device.commands.clear()
        snapshot = gauge.poll(t_s)
        assert len(by_field(snapshot)) == len(SHOWN) + 6  # nothing expires
        assert period_s <= 1.0 or SERIAL.command in device.commands
        for command in set(device.commands) & asked_s.keys():
            assert t_s - asked_s[command] <= 5.0 * (1.0 + late_frac) + 1e-6
            asked_s[command] = t_s


def test_two_polls_at_one_time_are_two_polls() -> None:
    gauge = Gauge(Device())
    first, second = gauge.poll(3.0), gauge.poll(3.0)
    assert by_field(first) == by_field(second)
    assert second.counts.transfers > first.counts.transfers


# ------------------------------------------------------------------------- why there is no voltage


def test_a_refused_slow_register_is_no_trouble_of_the_pack() -> None:
    device = Device()
    device.instead[MAX_ERROR.command] = NackError("unsupported")
    gauge = Gauge(device)
    assert {snapshot.trouble for snapshot in polled(gauge, 0, 40)} == {None}
    device.words[VOLTAGE.command] = 0
    troubles = [snapshot.trouble for snapshot in polled(gauge, 41, 100)]
    assert set(troubles[25:]) == {"Voltage 0x0000 is not plausible"}


def test_an_invalid_voltage_is_reported_with_its_bytes() -> None:
    device = Device()
    gauge = Gauge(device)
    gauge.poll(0.0)
    device.instead[VOLTAGE.command] = bytes.fromhex("d0 39 7f")
    troubles = [snapshot.trouble for snapshot in polled(gauge, 1, 40)]
    assert troubles[:19] == [None] * 19
    assert troubles[24] == "address 0x0b command 0x09: wrong PEC: d0 39 7f"


# ------------------------------------------------------------------------- anything at all


REPLIES = st.lists(
    st.binary(max_size=40) | st.binary(min_size=2, max_size=3) | st.sampled_from(FAILURES),
    min_size=1,
    max_size=40,
)


@given(replies=REPLIES, cells=st.sampled_from([None, 1, 6, 16]))
@settings(max_examples=300, deadline=None)
def test_any_bytes_and_any_error_leave_only_plausible_values(
    replies: list[Reply], cells: int | None
) -> None:
    gauge = Gauge(Cycle(replies), cells=cells)
    for snapshot in polled(gauge, 0, 30):
        assert_plausible(snapshot, cells)


class Babble:
    """A device that answers every word with another one: valid PEC, right length, random."""

    def __init__(self, seed: int, *, pec: bool) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._pec = pec

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """A random reply."""
        roll = self._random.random()
        if roll < 0.05:
            raise self._random.choice(FAILURES)
        if tx[0] == SPECIFICATION.command and roll < 0.9:
            raw = 0x3331
        elif tx[0] == VOLTAGE.command and roll < 0.6:
            raw = 24  # in volts: VScale is 3
        else:
            raw = self._random.getrandbits(16)
        if rx_len in (2, 3):
            return word_reply(address, tx[0], raw, with_pec=self._pec)[:rx_len].ljust(
                rx_len, b"\xff"
            )
        return self._random.randbytes(rx_len)


@pytest.mark.parametrize("pec", [True, False])
@pytest.mark.parametrize("seed", range(15))
def test_well_formed_nonsense_leaves_only_plausible_values(seed: int, pec: bool) -> None:  # noqa: FBT001 - a row
    gauge = Gauge(Babble(seed, pec=pec))
    received = 0
    for snapshot in polled(gauge, 0, 400):
        assert_plausible(snapshot)
        received += bool(by_field(snapshot))
    assert received > 0


def test_a_recorded_storm_plays_back_to_the_same_snapshots() -> None:
    recorded: list[Transfer] = []
    slot = Slot(Device())
    gauge = Gauge(RecordingBus(Noise(slot, 7, 0.2), recorded.append))
    snapshots = polled(gauge, 0, 100)
    slot.device = None
    snapshots += polled(gauge, 101, 150)
    slot.device = other_pack(pec=False)
    snapshots += polled(gauge, 151, 250)
    again = Gauge(PlaybackBus([Transfer.from_json(row.to_json()) for row in recorded]))
    assert polled(again, 0, 250) == snapshots
    assert any(snapshot.identity.serial == 1208 for snapshot in snapshots)


def test_a_voltage_word_of_ones_is_no_voltage_and_ends_none(tmp_path: Path) -> None:
    """A released line reads 0xFFFF; on a gauge without PEC nothing else reveals it."""
    text = (Path(__file__).parents[2] / "sim" / "scenarios" / "hover.toml").read_text()
    (tmp_path / "bare.toml").write_text(text.replace("[gauge]", "[gauge]\npec = false", 1))
    clock = VirtualClock()
    bus, _ = open_virtual(str(tmp_path / "bare.toml"), clock, 1)

    class Ones:
        """A bus that reads ones for Voltage."""

        broken = False

        def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
            reply = bus.transfer(address, tx, rx_len)
            return b"\xff" * rx_len if self.broken and tx == b"\x09" else reply

    wire = Ones()
    gauge = Gauge(wire)
    before_v = gauge.poll(0.0).voltage_v
    wire.broken = True
    assert before_v is not None
    assert gauge.poll(0.1).voltage_v == before_v
    assert gauge.poll(3.0).voltage_v is None


@pytest.mark.parametrize("name", ["survey", "bq40"])
@pytest.mark.parametrize("handed_over_s", [0.0, 0.3, 7.7, 12.0])
def test_a_gauge_with_the_restored_state_of_another_reads_and_reports_the_same(
    name: str, handed_over_s: float
) -> None:
    clock = VirtualClock()
    bus, _ = open_virtual(name, clock, 1, (parse_fault("nack@3"), parse_fault("bad_pec@9")))
    commands: list[Transfer] = []
    first = Gauge(RecordingBus(bus, commands.append))
    second: Gauge | None = None
    playback = PlaybackBus()
    for step in range(200):
        now_s = step / 10
        clock.sleep_until(now_s)
        commands.clear()
        snapshot = first.poll(now_s)
        assert snapshot.voltage_v is not None
        if second is not None:
            playback.load(commands)
            assert second.poll(now_s) == snapshot
        elif now_s >= handed_over_s:
            second = Gauge(playback)
            assert second.restore(first.state()) == snapshot


def test_the_hotter_register_gives_the_temperature_and_its_time() -> None:
    state = GaugeState()
    state.store("temperature_degc", 40.0, 5.0, 10.0)
    state.store("external_degc", 55.0, 2.0, 10.0)
    hot = state.snapshot(6.0)
    assert (hot.temperature_degc, hot.read_at_s["temperature_degc"]) == (55.0, 2.0)
    expired = state.snapshot(13.0)
    assert (expired.temperature_degc, expired.read_at_s["temperature_degc"]) == (40.0, 5.0)


@pytest.mark.parametrize(
    ("identified", "read", "doubts"),
    [
        (0x0031, 0x0031, ()),
        (0x0031, 0x0131, ("scale 0x0131, not 0x0031: rejected",)),
        (0x2031, 0x1031, ("scale 0x1031, not 0x2031: rejected",)),
        (0x0031, None, ()),
        (None, 0x0131, ()),
    ],
)
def test_a_specification_that_is_not_the_identified_one_is_a_doubt(
    identified: int | None, read: int | None, doubts: tuple[str, ...]
) -> None:
    state = GaugeState(identity_values={SPECIFICATION.field: identified})
    if read is not None:
        state.store(SPECIFICATION.field, float(read), 0.0, 1e9)
    assert state.snapshot(1.0).doubts == doubts


def test_a_word_that_a_gauge_refuses_is_read_twelve_times() -> None:
    device = Device()
    device.instead[MAX_ERROR.command] = NackError("no such command")
    gauge = Gauge(device)
    polled(gauge, 0, 600)
    assert device.commands.count(MAX_ERROR.command) == 24  # each read is tried twice
    polled(gauge, 601, 700)
    assert device.commands.count(MAX_ERROR.command) == 24

# SPDX-License-Identifier: Apache-2.0
"""Whole virtual flights: one seed one output, faults that do what they state and nothing else."""

import itertools
from collections.abc import Iterable

import pytest

from dronebms.core.clock import VirtualClock
from dronebms.core.errors import ConfigError
from sim.emulator.bus import VirtualBus
from sim.emulator.world import World, open_virtual
from sim.plant.faults import FAULTS, FaultSite, parse_fault
from sim.plant.ground_truth import GroundTruth
from sim.plant.scenario import load_scenario, scenario_names
from smartbattery.errors import BusError, BusTimeoutError, NackError
from smartbattery.pec import pec

VOLTAGE, CURRENT = 0x09, 0x0A
COMMANDS = (VOLTAGE, CURRENT, 0x3F, 0x3E, 0x3D, 0x3C, 0x3B, 0x3A, 0x0D)
Entry = tuple[float, int, bytes | str]


def wire_log(
    faults: Iterable[str] = (), *, seed: int = 1, until_s: float = 150.0, step_s: float = 0.1
) -> list[Entry]:
    """Return (time, command, reply or name of the error) of every transfer of a poller."""
    clock = VirtualClock()
    bus, _ = open_virtual("survey", clock, seed, [parse_fault(text) for text in faults])
    log: list[Entry] = []
    for step in range(round(until_s / step_s)):
        clock.sleep_until(step * step_s)
        log += [(clock.now_s(), command, outcome(bus, command)) for command in COMMANDS]
    return log


def outcome(bus: VirtualBus, command: int) -> bytes | str:
    try:
        return bus.transfer(0x0B, bytes((command,)), 3)
    except BusError as error:
        return type(error).__name__


def changed(before: list[Entry], after: list[Entry]) -> list[tuple[Entry, Entry]]:
    return [(one, two) for one, two in zip(before, after, strict=True) if one != two]


def is_whole(entry: Entry) -> bool:
    _, command, reply = entry
    return isinstance(reply, bytes) and pec((0x16, command, 0x17, *reply[:2])) == reply[2]


@pytest.fixture(scope="module")
def sound() -> list[Entry]:
    return wire_log()


def truth_at(name: str, t_s: float, faults: Iterable[str] = (), seed: int = 1) -> GroundTruth:
    world = World(load_scenario(name), seed, [parse_fault(text) for text in faults])
    world.advance(t_s)
    return world.truth()


# ---------------------------------------------------------------------- one seed, one output


def test_one_seed_gives_the_same_bytes_twice(sound: list[Entry]) -> None:
    assert wire_log() == sound


def test_a_fault_too_is_the_same_twice() -> None:
    faults = ("nack@5", "bad_pec@5", "ffff_cells@5")
    assert wire_log(faults, until_s=60.0) == wire_log(faults, until_s=60.0)


def test_another_seed_gives_other_bytes(sound: list[Entry]) -> None:
    assert wire_log(seed=2) != sound


def test_the_truth_does_not_depend_on_the_times_of_transfers() -> None:
    once = truth_at("survey", 200.0)
    world = World(load_scenario("survey"), 1)
    waits_s = itertools.cycle((0.01, 0.35, 7.77, 0.1, 0.1, 1.0))
    t_s = 0.0
    while t_s < 200.0:
        t_s = min(200.0, t_s + next(waits_s))
        world.advance(t_s)
    assert world.truth() == once


def test_time_that_has_passed_is_not_flown_again() -> None:
    world = World(load_scenario("hover"), 1)
    world.advance(30.0)
    before = world.truth()
    world.advance(10.0)
    assert world.truth() == before


def test_a_tenth_of_a_second_is_a_step_however_it_is_written() -> None:
    world = World(load_scenario("hover"), 1)
    for step in range(1, 400):
        world.advance(step * 0.1)  # 0.3 is 0.30000000000000004, 0.7 is 0.7000000000000001
        assert world.t_s == step / 10


# ---------------------------------------------------------------------- the bus


def test_the_bus_transfers_words_with_their_pec(sound: list[Entry]) -> None:
    assert all(is_whole(entry) for entry in sound)


def test_no_device_answers_at_another_address() -> None:
    bus, _ = open_virtual("hover", VirtualClock())
    with pytest.raises(NackError, match="0x0c did not acknowledge 09"):
        bus.transfer(0x0C, b"\x09", 3)


def test_a_reply_has_the_requested_length() -> None:
    bus, _ = open_virtual("hover", VirtualClock())
    whole = bus.transfer(0x0B, b"\x21", 40)
    for length in range(1, 41):
        assert bus.transfer(0x0B, b"\x21", length) == whole[:length]


def test_the_world_advances_with_the_clock() -> None:
    clock = VirtualClock()
    bus, world = open_virtual("hover", clock)
    clock.sleep_until(12.3)
    bus.transfer(0x0B, b"\x09", 2)
    assert world.t_s == 12.3


# ---------------------------------------------------------------------- faults on bus and gauge


def test_nack_refuses_one_transfer_in_five_and_leaves_the_rest(sound: list[Entry]) -> None:
    pairs = changed(sound, wire_log(["nack"]))
    after = sum(entry[0] >= 60.0 for entry in sound)
    assert all(two[2] == "NackError" and two[0] >= 60.0 for _, two in pairs)
    assert len(pairs) / after == pytest.approx(0.2, abs=0.02)


def test_bad_pec_flips_one_bit_in_twenty_replies(sound: list[Entry]) -> None:
    pairs = changed(sound, wire_log(["bad_pec"]))
    after = sum(entry[0] >= 60.0 for entry in sound)
    for one, two in pairs:
        assert isinstance(one[2], bytes)
        assert isinstance(two[2], bytes)
        bits = int.from_bytes(one[2]) ^ int.from_bytes(two[2])
        assert bits.bit_count() == 1
        assert not is_whole(two)
    assert len(pairs) / after == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    ("fault", "error", "until_s"),
    [("stuck", "BusTimeoutError", 128.0), ("unplug", "NackError", 140.0)],
)
def test_the_bus_is_dead_for_a_while_and_recovers(
    sound: list[Entry], fault: str, error: str, until_s: float
) -> None:
    log = wire_log([fault])
    dead = [entry for entry in log if entry[2] == error]
    assert dead == [(t_s, c, error) for t_s, c, _ in sound if 120.0 <= t_s < until_s]
    assert [e for e in log if e[2] != error] == [e for e in sound if not 120.0 <= e[0] < until_s]


def test_ffff_cells_blinds_the_second_cell_now_and_then(sound: list[Entry]) -> None:
    pairs = changed(sound, wire_log(["ffff_cells"]))
    assert pairs
    assert {two[1] for _, two in pairs} == {0x3E}
    for _, two in pairs:
        assert isinstance(two[2], bytes)
        assert two[2][:2] == b"\xff\xff"
        assert is_whole(two)
    snapshots = sum(entry[1] == 0x3E and entry[0] >= 60.0 for entry in sound)
    assert len(pairs) / snapshots == pytest.approx(0.1, abs=0.04)


def test_a_frozen_gauge_answers_with_its_last_values(sound: list[Entry]) -> None:
    log = wire_log(["frozen@60"])
    assert [e for e in log if e[0] < 60.0] == [e for e in sound if e[0] < 60.0]
    for command in COMMANDS:
        replies = {reply for t_s, c, reply in log if c == command and t_s >= 60.0}
        assert len(replies) == 1
    assert all(is_whole(entry) for entry in log)


@pytest.mark.parametrize(
    "fault", [f.name for f in FAULTS if f.site in {FaultSite.WIRE, FaultSite.GAUGE}]
)
def test_a_fault_of_bus_or_gauge_does_not_touch_the_pack(fault: str) -> None:
    assert truth_at("survey", 200.0, [f"{fault}@30"]) == truth_at("survey", 200.0)


# ---------------------------------------------------------------------- faults of pack and flight


def test_a_weak_cell_falls_behind_and_the_others_are_unaffected() -> None:
    sound, weak = truth_at("survey", 900.0), truth_at("survey", 900.0, ["weak_cell"])
    assert min(range(6), key=weak.cells_v.__getitem__) == 2
    assert weak.charge_frac[2] < sound.charge_frac[2] - 0.05
    for index in (0, 1, 3, 4, 5):
        assert weak.charge_frac[index] == pytest.approx(sound.charge_frac[index], abs=0.01)


def test_a_hot_cell_heats_from_its_start_on() -> None:
    assert truth_at("survey", 119.0, ["hot_cell"]) == truth_at("survey", 119.0)
    assert truth_at("survey", 400.0).temperature_degc < 30.0
    assert truth_at("survey", 400.0, ["hot_cell"]).temperature_degc > 65.0


def test_high_current_exceeds_the_rating_of_the_pack_for_20_s() -> None:
    world = World(load_scenario("survey"), 1, [parse_fault("high_current")])
    currents_a = []
    for step in range(1750, 2100):
        world.advance(step / 10)
        currents_a.append(world.truth().current_a)
    over = [current_a > 10 * 16 for current_a in currents_a]
    assert over == [180.0 <= step / 10 < 200.0 for step in range(1750, 2100)]


def test_low_charge_starts_with_40_percent() -> None:
    assert truth_at("survey", 0.0, ["low_charge"]).soc_frac == pytest.approx(0.4, abs=0.02)
    assert truth_at("survey", 0.0).soc_frac == 1.0


def test_a_fault_is_moved_by_its_start() -> None:
    assert parse_fault("stuck@7.5").start_s == 7.5
    assert parse_fault("stuck@7.5").duration_s == parse_fault("stuck").duration_s
    assert parse_fault("nack").start_s == 60.0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nak", "did you mean nack"),
        ("", "is not one of nack, bad_pec"),
        ("nack@", "'' is not a number, as in nack=0.2@60-120"),
        ("nack@soon", "'soon' is not a number"),
        ("nack@-1", "is not a number"),
        ("nack@inf", "seconds from 0"),
        ("nack@nan", "seconds from 0"),
        ("weak_cell@10", "holds from the start"),
    ],
)
def test_an_unknown_fault_is_one_clear_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        parse_fault(text)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------- what is left


def test_a_minute_of_a_load_costs_a_minute_of_it() -> None:
    scenario = load_scenario("half_full")
    world = World(scenario, 3)
    world.advance(300.0)
    left_s = world.remaining_s(800.0)
    assert left_s is not None
    later = World(scenario, 3)
    later.advance(360.0)
    later_left_s = later.remaining_s(800.0)
    assert later_left_s is not None
    # A minute of the hover phase, whose gusts mean the same power.
    assert left_s - later_left_s == pytest.approx(60.0, abs=6.0)


def test_more_power_leaves_less_than_its_share_of_time() -> None:
    world = World(load_scenario("survey"), 1)
    world.advance(400.0)
    slow_s, fast_s = world.remaining_s(600.0), world.remaining_s(1200.0)
    assert slow_s is not None
    assert fast_s is not None
    assert fast_s < slow_s / 2


@pytest.mark.slow
def test_a_forecast_changes_nothing() -> None:
    world = World(load_scenario("hover"), 1)
    world.advance(900.0)
    before = world.truth()
    assert world.remaining_s() is not None
    world.advance(950.0)
    assert before == truth_at("hover", 900.0)
    assert world.truth() == truth_at("hover", 950.0)


def test_a_flight_that_lands_has_an_end_only_if_it_continued() -> None:
    world = World(load_scenario("half_full"))
    world.advance(200.0)
    held_s = world.remaining_s()
    assert held_s is not None
    assert held_s > 200.0
    world.advance(world.duration_s)
    assert world.truth().ended_s is None


def test_a_flight_that_cannot_land_ends_before_it_lands() -> None:
    scenario = load_scenario("survey")
    faults = (parse_fault("low_charge"),)
    world = World(scenario, 1, faults)
    world.advance(world.duration_s)
    ended_s = world.truth().ended_s
    assert ended_s is not None
    assert 300.0 < ended_s < world.duration_s
    assert world.remaining_s() == 0.0


def test_the_end_is_the_cut_off_of_the_weakest_cell() -> None:
    faults = (parse_fault("low_charge"),)
    world = World(load_scenario("survey"), 1, faults)
    weakest_v: list[float] = []
    while world.truth().ended_s is None:
        world.advance(world.t_s + 0.1)
        weakest_v.append(min(world.truth().cells_v))
    assert sum(weakest_v[-50:]) / 50 <= 3.3 or weakest_v[-1] <= 3.05
    assert sum(weakest_v[-51:-1]) / 50 > 3.3
    assert min(weakest_v[:-1]) > 3.05


def test_on_the_ground_there_is_no_time_to_empty() -> None:
    assert World(load_scenario("survey"), 1).remaining_s() is None


# ---------------------------------------------------------------------- shipped flights


@pytest.mark.parametrize("name", scenario_names())
def test_a_shipped_flight_starts_and_ends_at_home_on_the_ground(name: str) -> None:
    world = World(load_scenario(name), 1)
    for t_s in (0.0, world.duration_s - 19.0, world.duration_s, world.duration_s + 100.0):
        state = world.vehicle(t_s)
        assert state.armed is False
        assert state.lat_deg == pytest.approx(state.home_lat_deg, abs=1e-6)
        assert state.lon_deg == pytest.approx(state.home_lon_deg, abs=1e-6)
        assert state.alt_m == pytest.approx(state.home_alt_m, abs=0.01)
    assert world.vehicle(world.duration_s - 21.0).armed is True


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("survey", 0.20, 0.25),
        ("hover", 0.20, 0.30),
        ("cold_climb", 0.20, 0.35),
        ("worn_pack", 0.08, 0.20),
        ("half_full", 0.15, 0.30),
    ],
)
def test_a_shipped_flight_lands_with_charge_left(
    name: str, low: float, high: float, seed: int
) -> None:
    truth = truth_at(name, World(load_scenario(name)).duration_s, seed=seed)
    assert truth.ended_s is None
    assert low <= truth.soc_frac <= high


def test_the_gauge_of_the_worn_pack_reports_more_than_there_is() -> None:
    clock = VirtualClock()
    bus, world = open_virtual("worn_pack", clock)
    clock.sleep_until(world.duration_s)
    reported_pct = bus.transfer(0x0B, b"\x0d", 2)[0]
    assert reported_pct > world.truth().soc_frac * 100 + 12


def test_pack_data_are_those_printed_on_the_pack() -> None:
    pack_data = World(load_scenario("worn_pack"), 5).pack_data()
    assert (pack_data.chemistry.name, pack_data.cells, pack_data.capacity_mah) == (
        "lipo",
        6,
        16000.0,
    )
    assert pack_data.cutoff_v == 3.3
    assert pack_data.pack_id == "worn_pack-5"


def test_the_vehicle_goes_out_and_comes_home() -> None:
    world = World(load_scenario("survey"), 1)
    away = world.vehicle(203.0)  # 100 m while climbing, then 150 s at 9 m/s
    assert away.lat_deg is not None
    assert away.home_lat_deg is not None
    north_m = (away.lat_deg - away.home_lat_deg) * 111_195
    assert north_m == pytest.approx(1450.0 * 0.5, rel=0.01)  # bearing 60 degrees
    assert world.vehicle(100.0).ground_speed_m_s == 9.0
    assert world.vehicle(1100.0).mode == "RTL"
    assert world.vehicle(1220.0).climb_m_s == -2.0


def test_a_stuck_bus_is_a_timeout_that_names_the_address() -> None:
    clock = VirtualClock()
    bus, _ = open_virtual("hover", clock, 1, [parse_fault("stuck@0")])
    with pytest.raises(BusTimeoutError, match="0x0b 09"):
        bus.transfer(0x0B, b"\x09", 3)

# SPDX-License-Identifier: Apache-2.0
"""Recognition of a pack: swaps on the ground, other packs in flight, glitches, restarts.

Each flight is computed from a truth: which pack is connected, its charge, its current.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from dronebms.core.chemistry import CHEMISTRIES, LIFEPO4, LIPO, Chemistry
from dronebms.core.pack_data import PackData
from dronebms.core.state import decode, encode, from_json, to_json
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.monitoring.pack_recognition import PackRecognition, RecognitionState
from smartbattery.snapshot import UNIDENTIFIED, Identity, Snapshot

FACTS = PackData(LIPO, cells=6, capacity_mah=16000.0)
DISARMED, ARMED = VehicleState(armed=False), VehicleState(armed=True)
CHEAP = Identity(serial=0, manufacturer="ACME", device="PACK", design_mah=16000.0, cells=6)
UNIQUE = replace(CHEAP, serial=4711)
IDLE_A, HOVER_A = 0.5, 28.0
STEP_S = 0.5


@dataclass
class Cell:
    """A pack of equal cells: the chemistry's curve, two resistances."""

    charge: float
    identity: Identity = CHEAP
    chemistry: Chemistry = LIPO
    ah: float = 16.0
    excess: float = 1.0  # of the resistance over the nominal one
    has_gauge: bool = True
    slow_a: float = field(default=0.0)

    def draw(self, current_a: float, dt_s: float) -> None:
        """Draw a current for a time."""
        self.charge -= current_a * dt_s / 3600.0 / self.ah
        self.slow_a += (current_a - self.slow_a) * min(dt_s / 60.0, 1.0)

    def cell_v(self, current_a: float) -> float:
        """Voltage of each cell."""
        table = self.chemistry.ocv_v
        place = min(max(self.charge, 0.0), 0.9999) * (len(table) - 1)
        k = int(place)
        open_v = table[k] + (table[k + 1] - table[k]) * (place - k)
        ohm = self.excess * self.chemistry.resistance_mohm_ah / 1000.0 / self.ah
        return open_v - ohm * (current_a + 0.2 * self.slow_a)

    def look(self, t_s: float, current_a: float) -> Snapshot:
        """What its gauge reads."""
        cell_v = self.cell_v(current_a)
        return Snapshot(
            t_s, voltage_v=6 * cell_v, current_a=current_a, cells_v=(cell_v,) * 6,
            soc_pct=float(round(100 * self.charge)) if self.has_gauge else None,
            identity=self.identity, read_at_s={"voltage_v": t_s},
        )  # fmt: skip


class Bench:
    """A recognition, stepped twice a second."""

    def __init__(self, pack_data: PackData = FACTS) -> None:
        self.stage, self.t_s, self.pack_data = PackRecognition(), 0.0, pack_data

    def run(
        self, seconds: float, pack: Cell | None, current_a: float, vehicle: VehicleState
    ) -> list[Snapshot]:
        """Connect a pack, or none, for a time."""
        seen = []
        for _ in range(max(round(seconds / STEP_S), 1)):
            if pack is None:
                look = Snapshot(self.t_s, trouble="no reply")
            else:
                pack.draw(current_a, STEP_S)
                look = pack.look(self.t_s, current_a)
            seen.append(self.stage.update(look, vehicle, self.pack_data))
            self.t_s = round(self.t_s + STEP_S, 6)
        return seen

    def late_charge(
        self, seconds: float, old: Cell, new: Cell, current_a: float, vehicle: VehicleState
    ) -> list[Snapshot]:
        """Connect a pack while the charge that was read is still that of the one before."""
        seen = []
        for _ in range(round(seconds / STEP_S)):
            look = replace(new.look(self.t_s, current_a), soc_pct=float(round(100 * old.charge)))
            seen.append(self.stage.update(look, vehicle, self.pack_data))
            self.t_s = round(self.t_s + STEP_S, 6)
        return seen

    @property
    def connection(self) -> int:
        """Number of the connected pack, from 0."""
        return self.stage.state().identity.connection


def swapped(
    first: Cell, second: Cell, gap_s: float, vehicle: VehicleState = DISARMED
) -> tuple[int, float | None]:
    """Number of packs recognised, and seconds until the second is."""
    bench = Bench(PackData(first.chemistry, cells=6, capacity_mah=16000.0))
    bench.run(120.0, first, HOVER_A, ARMED if vehicle is DISARMED else vehicle)
    bench.run(20.0, first, IDLE_A, vehicle)
    bench.run(gap_s, None, 0.0, vehicle)
    after = bench.run(20.0, second, IDLE_A, vehicle)
    found = [look.t_s - after[0].t_s for look in after if look.identity.connection > 0]
    return bench.connection, found[0] if found else None


@pytest.mark.parametrize("vehicle", [DISARMED, UNKNOWN_VEHICLE], ids=["disarmed", "no vehicle"])
@pytest.mark.parametrize("gap_s", [2.5, 20.0, 400.0])
@pytest.mark.parametrize(
    ("first", "second"),
    [(0.95, 0.25), (0.95, 0.60), (0.40, 0.98), (0.60, 0.35), (0.90, 0.65), (0.30, 0.55)],
)
@pytest.mark.parametrize("identity", [CHEAP, UNIDENTIFIED, UNIQUE], ids=["0", "none", "unique"])
def test_a_charge_that_cannot_be_the_old_one_starts_again_within_2_s(
    identity: Identity, first: float, second: float, gap_s: float, vehicle: VehicleState
) -> None:
    count, after_s = swapped(Cell(first, identity), Cell(second, identity), gap_s, vehicle)
    assert count == 1
    assert after_s is not None
    assert after_s <= 2.0


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
def test_the_voltage_alone_shows_a_swap_of_packs_without_gauge(chemistry: Chemistry) -> None:
    full = Cell(0.95, UNIDENTIFIED, chemistry, has_gauge=False)
    low = Cell(0.03 if chemistry is LIFEPO4 else 0.2, UNIDENTIFIED, chemistry, has_gauge=False)
    count, after_s = swapped(full, low, 20.0)
    assert count == 1
    assert after_s == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize("excess", [0.5, 1.0, 3.0], ids=["new", "nominal", "cold or worn"])
@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
@pytest.mark.parametrize("charge", [0.99, 0.6, 0.15])
@pytest.mark.parametrize("gap_s", [1.0, 3.0, 300.0])
def test_the_same_pack_stays_after_a_glitch_of_the_wire_on_the_ground(
    excess: float, chemistry: Chemistry, charge: float, gap_s: float
) -> None:
    pack = Cell(charge, CHEAP, chemistry, excess=excess)
    bench = Bench(PackData(chemistry, cells=6, capacity_mah=16000.0))
    bench.run(60.0, pack, HOVER_A, ARMED)
    for _ in range(3):
        bench.run(5.0, pack, IDLE_A, DISARMED)
        bench.run(gap_s, None, 0.0, DISARMED)
    bench.run(10.0, pack, IDLE_A, DISARMED)
    assert bench.connection == 0


def test_the_same_pack_stays_when_the_wire_fails_in_flight_until_after_the_landing() -> None:
    pack, bench = Cell(0.8), Bench()
    bench.run(60.0, pack, HOVER_A, ARMED)
    for current_a, vehicle in ((HOVER_A, ARMED), (IDLE_A, DISARMED)):
        pack.draw(current_a, 15.0)
        bench.run(15.0, None, 0.0, vehicle)
    bench.run(10.0, pack, IDLE_A, DISARMED)
    assert bench.connection == 0


OTHERS = {
    "serial": replace(UNIQUE, serial=4712),
    "doubtful serial": replace(UNIQUE, serial=0),
    "maker": replace(UNIQUE, manufacturer="OTHER"),
    "cells": replace(UNIQUE, cells=5),
    "date": replace(UNIQUE, date=(2020, 1, 2)),
}


@pytest.mark.parametrize("vehicle", [ARMED, UNKNOWN_VEHICLE], ids=["armed", "no vehicle"])
@pytest.mark.parametrize("current_a", [0.0, 0.5, 28.0, -2.0])
@pytest.mark.parametrize("name", OTHERS)
def test_another_pack_that_answers_in_flight_is_silence_until_the_pack_answers_again(
    name: str, current_a: float, vehicle: VehicleState
) -> None:
    mine = Cell(0.86, replace(UNIQUE, date=(2024, 3, 14)))
    bench = Bench()
    bench.run(60.0, mine, HOVER_A, vehicle)
    for look in bench.run(45.0, Cell(0.0, OTHERS[name]), current_a, vehicle):
        assert look.voltage_v is None
        assert look.soc_pct is None
        assert set(look.cells_v) <= {None}
        assert look.identity == mine.identity
        assert look.other_pack is not None
        assert look.age_s("voltage_v") == pytest.approx(look.t_s - 59.5)
    mine.draw(HOVER_A, 45.0)
    for look in bench.run(5.0, mine, HOVER_A, vehicle):
        assert look.voltage_v is not None
        assert (look.identity, look.other_pack) == (mine.identity, None)


@pytest.mark.parametrize("vehicle", [ARMED, UNKNOWN_VEHICLE], ids=["armed", "no vehicle"])
@pytest.mark.parametrize("current_a", [0.5, 28.0, 60.0])
@pytest.mark.parametrize(("before", "other"), [(0.97, 0.0), (0.01, 1.0)])
def test_another_pack_with_the_same_data_is_silence_by_its_charge_and_its_cells(
    before: float, other: float, current_a: float, vehicle: VehicleState
) -> None:
    mine, bench = Cell(before, CHEAP), Bench()
    bench.run(20.0, mine, HOVER_A, vehicle)
    for look in bench.run(30.0, Cell(other, CHEAP), current_a, vehicle):
        assert (look.voltage_v, look.soc_pct) == (None, None)
        assert look.other_pack is not None
        assert len(f"WARNING: other pack: {look.other_pack}") <= 50
    mine.draw(HOVER_A, 30.0)
    for look in bench.run(5.0, mine, HOVER_A, vehicle):
        assert (look.voltage_v is not None, look.other_pack) == (True, None)


def test_no_reading_of_another_pack_is_used_while_its_voltage_is_unknown() -> None:
    for other in (Cell(0.0, CHEAP), Cell(0.9, OTHERS["serial"])):
        mine, bench = Cell(0.97, CHEAP if other.identity is CHEAP else UNIQUE), Bench()
        bench.run(20.0, mine, HOVER_A, ARMED)
        bench.run(5.0, other, HOVER_A, ARMED)
        odd = replace(other.look(bench.t_s, HOVER_A), voltage_v=None)
        look = bench.stage.update(odd, ARMED, FACTS)
        assert (look.current_a, look.soc_pct, set(look.cells_v)) == (None, None, {None})


def collapsing(snapshot: Snapshot, since_s: float) -> Snapshot:
    """The end of a discharge: all cells fall, and the gauge corrects its charge to 0."""
    fall_v = 0.19 * max(snapshot.t_s - since_s, 0.0)
    cells_v = tuple([(v or 0.0) - fall_v for v in snapshot.cells_v])
    return replace(snapshot, cells_v=cells_v, voltage_v=sum(cells_v), soc_pct=0.0)


def shorted(snapshot: Snapshot, _since_s: float) -> Snapshot:
    """One cell fails, and the gauge corrects its charge to 0."""
    cells_v = (0.4, *[v or 0.0 for v in snapshot.cells_v[1:]])
    return replace(snapshot, cells_v=cells_v, voltage_v=sum(cells_v), soc_pct=0.0)


def reset(snapshot: Snapshot, _since_s: float) -> Snapshot:
    """The gauge has lost its charge."""
    return replace(snapshot, soc_pct=0.0)


def loaded(snapshot: Snapshot, _since_s: float) -> Snapshot:
    """A cold pack gives four times its current, and the gauge corrects its charge to 0."""
    cells_v = tuple([(v or 0.0) - 0.5 for v in snapshot.cells_v])
    amps = 4.0 * (snapshot.current_a or 0.0)
    return replace(snapshot, cells_v=cells_v, voltage_v=sum(cells_v), current_a=amps, soc_pct=0.0)


@pytest.mark.parametrize("change", [collapsing, shorted, reset, loaded])
def test_an_emergency_of_the_own_pack_is_no_other_pack(
    change: Callable[[Snapshot, float], Snapshot],
) -> None:
    pack, bench = Cell(0.6, CHEAP), Bench()
    bench.run(30.0, pack, HOVER_A, ARMED)
    for _ in range(20):
        read = change(pack.look(bench.t_s, HOVER_A), 30.0)
        assert bench.stage.update(read, ARMED, FACTS).other_pack is None
        bench.t_s += STEP_S


def test_another_pack_is_accepted_once_the_vehicle_is_disarmed() -> None:
    bench = Bench()
    bench.run(60.0, Cell(0.86, UNIQUE), HOVER_A, ARMED)
    other = Cell(0.5, OTHERS["serial"])
    assert {look.voltage_v for look in bench.run(5.0, other, 1.0, ARMED)} == {None}
    lost = VehicleState(armed=None)
    assert {look.voltage_v for look in bench.run(5.0, other, 1.0, lost)} == {None}
    # The last current of the old pack was that of a flight: a disarmed vehicle that draws 1.75 C
    # may be an autopilot that has restarted in the air.
    assert {look.voltage_v for look in bench.run(5.0, other, 1.0, DISARMED)} == {None}
    landed = Cell(0.85, UNIQUE)
    bench.run(2.0, landed, IDLE_A, DISARMED)
    assert None not in {look.voltage_v for look in bench.run(5.0, other, 1.0, DISARMED)}
    assert bench.connection == 1


def test_without_a_vehicle_another_pack_is_accepted_after_a_minute_without_the_first() -> None:
    bench = Bench()
    bench.run(30.0, Cell(0.86, UNIQUE), HOVER_A, UNKNOWN_VEHICLE)
    seen = bench.run(70.0, Cell(0.9, OTHERS["serial"]), HOVER_A, UNKNOWN_VEHICLE)
    known_s = [look.t_s - 29.5 for look in seen if look.voltage_v is not None]
    assert known_s[0] == pytest.approx(60.5)


def test_a_pack_that_is_charged_out_of_sight_starts_again_from_its_new_charge() -> None:
    pack, bench = Cell(0.3, UNIQUE), Bench()
    bench.run(30.0, pack, IDLE_A, DISARMED)
    bench.run(500.0, None, 0.0, DISARMED)
    pack.charge = 0.55
    after = bench.run(5.0, pack, IDLE_A, DISARMED)
    assert after[-1].identity == replace(UNIQUE, connection=1)
    assert FACTS.pack_key(after[-1].identity) == FACTS.pack_key(UNIQUE)


def test_after_an_hour_a_pack_may_have_been_charged_but_not_discharged() -> None:
    for first, later, count in ((0.3, 0.95, 0), (0.9, 0.3, 1)):
        bench = Bench()
        bench.run(30.0, Cell(first, CHEAP), 0.0, DISARMED)
        bench.t_s += 3600.0
        bench.run(5.0, Cell(later, CHEAP), 0.0, DISARMED)
        assert bench.connection == count


def test_a_hot_swap_without_an_absence_is_noticed_by_its_voltage() -> None:
    bench = Bench()
    bench.run(20.0, Cell(0.1, CHEAP), IDLE_A, DISARMED)
    seen = bench.run(10.0, Cell(1.0, CHEAP), IDLE_A, DISARMED)
    assert seen[-1].identity.connection == 1
    assert [look.identity.connection for look in seen].index(1) <= 8


@pytest.mark.parametrize("vehicle", [DISARMED, UNKNOWN_VEHICLE], ids=["disarmed", "no vehicle"])
@pytest.mark.parametrize("late_s", [0.0, 2.0, 5.0])
@pytest.mark.parametrize(
    ("first", "second"), [(0.92, 0.40), (0.92, 0.60), (0.92, 0.84), (0.3, 0.5)]
)
def test_a_swap_faster_than_an_absence_is_noticed_by_voltage_and_charge(
    first: float, second: float, late_s: float, vehicle: VehicleState
) -> None:
    """The driver's readings outlast 2 s without a pack; it reads the charge after the voltage."""
    bench, old, new = Bench(), Cell(first), Cell(second)
    bench.run(20.0, old, IDLE_A, vehicle)
    seen = bench.late_charge(late_s, old, new, IDLE_A, vehicle)
    seen += bench.run(4.0, new, IDLE_A, vehicle)
    changed_s = [look.t_s - seen[0].t_s for look in seen if look.identity.connection == 1]
    assert changed_s
    assert changed_s[0] <= max(late_s + 1.5, 3.5)
    bench.run(20.0, new, IDLE_A, vehicle)
    assert bench.connection == 1


@pytest.mark.parametrize("current_a", [IDLE_A, 0.4 * 16.0], ids=["idle", "computers"])
@pytest.mark.parametrize(
    ("first", "second"),
    [(0.60, 0.68), (0.68, 0.60), (0.95, 0.88), (0.25, 0.17), (0.17, 0.25), (0.60, 0.20)],
)
def test_a_swap_is_noticed_by_a_charge_of_which_the_cells_show_little(
    first: float, second: float, current_a: float
) -> None:
    bench = Bench()
    bench.run(60.0, Cell(first), current_a, DISARMED)
    seen = bench.run(20.0, Cell(second), current_a, DISARMED)
    changed_s = [look.t_s - seen[0].t_s for look in seen if look.identity.connection == 1]
    assert changed_s
    assert changed_s[0] <= 9.0


@pytest.mark.parametrize(("first", "second"), [(0.60, 0.53), (0.25, 0.17)])
def test_a_charge_that_jumps_for_some_seconds_or_under_load_is_no_other_pack(
    first: float, second: float
) -> None:
    old, bench = Cell(first), Bench()
    bench.run(400.0, old, IDLE_A, DISARMED)
    for _ in range(3):
        bench.run(6.0, Cell(second), IDLE_A, DISARMED)
        bench.run(30.0, old, IDLE_A, DISARMED)
    assert bench.connection == 0
    bench.run(30.0, old, HOVER_A, ARMED)
    bench.run(30.0, Cell(second), HOVER_A, ARMED)
    assert bench.connection == 0


@pytest.mark.parametrize(
    ("volts", "points"), [(0.2, 0.0), (0.0, -40.0), (0.2, -40.0), (0.04, 30.0)]
)
def test_one_of_voltage_and_charge_alone_is_no_other_pack(volts: float, points: float) -> None:
    """A meter that is adjusted, a gauge that corrects its charge at rest, both at once."""
    pack, bench = Cell(0.5), Bench()
    bench.run(20.0, pack, IDLE_A, DISARMED)
    for _ in range(40):
        look = pack.look(bench.t_s, IDLE_A)
        assert look.voltage_v is not None
        assert look.soc_pct is not None
        cell_v = look.voltage_v / 6 + volts
        other = replace(
            look,
            voltage_v=6 * cell_v,
            cells_v=(cell_v,) * 6,
            soc_pct=look.soc_pct + points,
        )
        bench.stage.update(other, DISARMED, FACTS)
        bench.t_s += STEP_S
    assert bench.connection == 0


def test_one_absurd_reading_is_no_other_pack() -> None:
    pack, bench = Cell(0.9, UNIDENTIFIED, has_gauge=False), Bench()
    for _ in range(20):
        bench.run(3.0, pack, IDLE_A, DISARMED)
        bench.run(3.0, None, 0.0, DISARMED)
        bench.run(STEP_S, Cell(0.0, UNIDENTIFIED, has_gauge=False), IDLE_A, DISARMED)
        bench.run(10.0, pack, IDLE_A, DISARMED)
    assert bench.connection == 0


@pytest.mark.parametrize("absent", [False, True])
def test_a_climb_right_after_a_jump_or_glitch_is_no_other_pack(*, absent: bool) -> None:
    cold, bench = Cell(0.6, CHEAP, excess=4.0), Bench()
    bench.run(20.0, cold, IDLE_A, DISARMED)
    glitch = None if absent else Cell(0.0, CHEAP)
    bench.run(4.0 if absent else STEP_S, glitch, IDLE_A, DISARMED)
    bench.run(1.0, cold, IDLE_A, DISARMED)
    bench.run(30.0, cold, 3 * HOVER_A, ARMED)
    assert bench.connection == 0


# ---------------------------------------------------------------------- property


def random_day(
    dice: random.Random,
) -> Iterator[tuple[str, Cell | None, float, float, VehicleState]]:
    """(event, connected pack, seconds, current, vehicle) of flights, swaps and glitches."""
    known = dice.random() < 0.7
    armed, disarmed = (ARMED, DISARMED) if known else (UNKNOWN_VEHICLE, UNKNOWN_VEHICLE)
    packs = [
        Cell(dice.uniform(0.9, 1.0), replace(CHEAP, serial=dice.choice([0, 1, 0xFFFF])))
        for _ in range(2)
    ]
    packs[1].identity = packs[0].identity  # equal in every field
    stranger = Cell(dice.random(), replace(CHEAP, serial=dice.randrange(2, 60000)))
    pack = packs[0]
    yield "rest", pack, 5.0, IDLE_A, disarmed
    for _ in range(3):
        for _ in range(dice.randrange(1, 4)):
            yield "fly", pack, dice.uniform(20.0, 120.0), dice.uniform(20.0, 40.0), armed
            if dice.random() < 0.4:
                yield "other", stranger, dice.uniform(1.0, 30.0), dice.uniform(0.0, 30.0), armed
            elif dice.random() < 0.4:
                yield "glitch", None, dice.uniform(1.0, 20.0), 0.0, armed
        yield "fly", pack, 10.0, 25.0, armed
        yield "rest", pack, 10.0, IDLE_A, disarmed
        if dice.random() < 0.4:
            yield "glitch", None, dice.uniform(1.0, 60.0), 0.0, disarmed
            yield "rest", pack, 6.0, IDLE_A, disarmed
        other = packs[pack is packs[0]]
        pack = other
        pack.charge = dice.uniform(0.9, 1.0)
        yield "swap", None, dice.uniform(3.0, 300.0), 0.0, disarmed
        yield "swapped", pack, 10.0, IDLE_A, disarmed


@pytest.mark.parametrize("seed", range(24))
def test_swaps_and_nothing_else_change_the_pack_over_random_days(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - seeded days
    bench, count, before = Bench(), 0, 1.0
    for event, pack, seconds, current_a, vehicle in random_day(dice):
        seen = bench.run(seconds, pack, current_a, vehicle)
        if event in ("other", "glitch", "swap"):
            assert {look.voltage_v for look in seen} == {None}, event
        if event == "swapped":
            assert pack is not None
            risen = pack.charge - before
            # A difference of some 10 % may be seen or not: an error of the estimate by as much.
            count = bench.connection if 0.06 < risen < 0.14 else count + (risen >= 0.14)
        assert bench.connection == count, (event, bench.t_s)
        if event == "rest":
            assert pack is not None
            before = pack.charge


# ---------------------------------------------------------------------- restart


def test_a_state_continues_exactly_through_its_text() -> None:
    dice = random.Random(5)  # noqa: S311 - a seeded day
    one, two = Bench(), Bench()
    for _, pack, seconds, _current_a, vehicle in random_day(dice):
        first = one.run(seconds, pack, 0.0, vehicle)
        second = two.run(seconds, pack, 0.0, vehicle)
        assert first == second
        part = from_json(to_json(encode(two.stage.state())))
        state = decode(RecognitionState, part, "recognition")
        assert state is not None
        two.stage = PackRecognition(state)

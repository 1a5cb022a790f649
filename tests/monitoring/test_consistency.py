# SPDX-License-Identifier: Apache-2.0
"""Cross-checks of redundant readings: which of two is wrong, how soon, and what stays known."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from dronebms.core.chemistry import LI_ION, LIFEPO4, LIHV, LIPO, Chemistry
from dronebms.core.pack_data import PackData
from dronebms.flightlogs import FlightSource, read_csv_log
from dronebms.monitoring.consistency import ConsistencyCheck
from dronebms.monitoring.consistency.voltage_samples import VoltageSample
from dronebms.monitoring.consistency.voltages import VoltageState
from smartbattery.snapshot import Identity, Snapshot
from tests.snapshots import watched

FACTS = PackData(LIPO, cells=6, capacity_mah=16_000.0)
FAULT_S, END_S, TAKE_OFF_S = 60.0, 160.0, 20.0
Change = Callable[[Snapshot], Snapshot]
MAH, PCT = ("remaining_mah", "soc_pct", "time_to_empty_s"), 100.0


@dataclass(frozen=True)
class Pack:
    """A pack in a hover with gusts, its readings as a gauge rounds them.

    Attributes:
        spread_v: between neighbouring cells; 0 with no noise makes them equal to the bit.
        sinks_v: by which the third cell sinks in a second, from the fault on.
        counted: whether the gauge's charge falls with the true current.
    """

    pack_data: PackData = FACTS
    soc_frac: float = 0.85
    load_c: float = 1.75
    gust_frac: float = 0.07
    spread_v: float = 0.004
    noise: float = 1.0
    sinks_v: float = 0.0
    step_s: float = 0.5

    def snapshots(self, end_s: float = END_S) -> Iterator[Snapshot]:
        """Its readings, mA, mV, mAh and a slow charge register rounded."""
        random = np.random.default_rng(1)
        data, cells = self.pack_data, self.pack_data.cells or 0
        assert data.capacity_mah is not None
        ah = data.capacity_mah / 1000.0
        ohm = data.chemistry.resistance_mohm_ah / 1000.0 / ah
        soc_frac, remaining_mah, read_s = self.soc_frac, 0.0, -math.inf
        for k in range(round(end_s / self.step_s)):
            t_s = round(k * self.step_s, 6)
            gust = self.gust_frac * (math.sin(t_s / 3.0) + 0.3 * math.sin(1.7 * t_s + 1.0))
            current_a = self.load_c * ah * (1.0 + gust) if t_s >= TAKE_OFF_S else 0.02 * ah
            soc_frac -= current_a / ah * self.step_s / 3600.0
            open_v = float(np.interp(soc_frac, np.linspace(0.0, 1.0, 21), data.chemistry.ocv_v))
            cells_v = [open_v - current_a * ohm - self.spread_v * k for k in range(cells)]
            if t_s >= FAULT_S and cells > 2:
                cells_v[2] = max(cells_v[2] - self.sinks_v * (t_s - FAULT_S), 2.0)
            noise_v = self.noise * 0.001 * random.standard_normal(cells + 1)
            if t_s - read_s >= 1.4:
                remaining_mah, read_s = round(soc_frac * data.capacity_mah), t_s
            yield Snapshot(
                t_s,
                voltage_v=round(sum(cells_v) + noise_v[-1], 3),
                current_a=round(current_a + self.noise * 0.02 * random.standard_normal(), 3),
                cells_v=tuple(
                    round(v + n, 3) for v, n in zip(cells_v, noise_v[:-1].tolist(), strict=True)
                ),
                remaining_mah=remaining_mah,
                full_mah=data.capacity_mah,
                soc_pct=round(PCT * soc_frac),
                identity=Identity(serial=7),
                read_at_s={"voltage_v": t_s, "current_a": t_s, "remaining_mah": read_s},
            )


@dataclass(frozen=True)
class Checked:
    """Result of a flight: when each field was rejected or disputed first, and the last snapshot."""

    rejected_s: dict[str, float]
    disputed_s: dict[str, float]
    last: Snapshot
    raw: Snapshot


def flown(
    change: Change = lambda snapshot: snapshot,
    pack: Pack = Pack(),
    *,
    since_s: float = FAULT_S,
    armed: bool | None = True,
    end_s: float = END_S,
) -> Checked:
    check = ConsistencyCheck()
    rejected_s: dict[str, float] = {}
    disputed_s: dict[str, float] = {}
    last = raw = Snapshot(0.0)
    for sound in pack.snapshots(end_s):
        raw = change(sound) if sound.t_s >= since_s else sound
        last = check.check(raw, pack.pack_data, armed=armed)
        for name in last.rejected:
            rejected_s.setdefault(name, last.t_s - since_s)
        for name in last.disputed:
            disputed_s.setdefault(name, last.t_s - since_s)
        assert len(last.doubts) == last.counts.withheld
        assert bool(last.doubts) is bool(last.rejected or last.disputed)
        assert max([len(doubt) for doubt in last.doubts], default=0) <= 50
    return Checked(rejected_s, disputed_s, last, raw)


class Stuck:
    """A field that keeps its first reading; `index` of a cell, None: all cells."""

    def __init__(self, name: str, index: int | None = None) -> None:
        self._name, self._index = name, index
        self._first: Snapshot | None = None

    def __call__(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with the first reading."""
        first = self._first = self._first or snapshot
        if self._index is None:
            return replace(snapshot, **{self._name: getattr(first, self._name)})
        stuck_v = first.cells_v[self._index]
        assert stuck_v is not None
        return cell(self._index, lambda _: stuck_v)(snapshot)


def voltage(of: Callable[[float], float]) -> Change:
    return lambda snapshot: replace(snapshot, voltage_v=round(of(snapshot.voltage_v or 0.0), 3))


def current(of: Callable[[float], float]) -> Change:
    return lambda snapshot: replace(snapshot, current_a=round(of(snapshot.current_a or 0.0), 3))


def cell(index: int, of: Callable[[float], float]) -> Change:
    def change(snapshot: Snapshot) -> Snapshot:
        cells_v = list(snapshot.cells_v)
        cells_v[index] = of(cells_v[index] or 0.0)
        return replace(snapshot, cells_v=tuple(cells_v))

    return change


def every_cell(of: Callable[[float], float]) -> Change:
    return lambda snapshot: replace(
        snapshot, cells_v=tuple([round(of(v or 0.0), 3) for v in snapshot.cells_v])
    )


def charge(of: Callable[[float], float]) -> Change:
    def change(snapshot: Snapshot) -> Snapshot:
        return replace(snapshot, remaining_mah=round(of(snapshot.remaining_mah or 0.0)))

    return change


def wrapped(current_a: float) -> float:
    """A current in mA as a signed word of 16 bits holds it, 5 A too high."""
    return (round((current_a + 5.0) * 1000) + 0x8000) % 0x10000 / 1000 - 32.768


# ---------------------------------------------------------------------- what is right stays


@pytest.mark.parametrize("chemistry", [LIPO, LIHV, LI_ION, LIFEPO4], ids=lambda row: row.name)
@pytest.mark.parametrize("cells", [1, 2, 3, 4, 6, 12, 14])
def test_a_sound_pack_passes_unchanged(chemistry: Chemistry, cells: int) -> None:
    data = PackData(chemistry, cells=cells, capacity_mah=5000.0)
    result = flown(pack=Pack(data, load_c=2.5))
    assert result.last == result.raw
    assert not result.rejected_s
    assert not result.disputed_s


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a weak cell that sinks", Pack(sinks_v=0.02)),
        ("equal cells", Pack(spread_v=0.0, noise=0.0)),
        ("no gusts", Pack(gust_frac=0.0, noise=0.0)),
        ("strong gusts", Pack(gust_frac=0.4)),
        ("an empty pack", Pack(soc_frac=0.08, load_c=1.0)),
        ("a full pack", Pack(soc_frac=1.0)),
        ("a pack at rest", Pack(load_c=0.02)),
        ("a cell that sinks at rest", Pack(load_c=0.02, sinks_v=0.02, noise=0.0)),
        ("a load above the rating", Pack(replace(FACTS, capacity_mah=300.0), 1.0, load_c=18.0)),
        ("a log with a row a second", Pack(step_s=1.0)),
        ("a log with a row in 5 s", Pack(step_s=5.0)),
    ],
)
def test_an_ordinary_pack_is_no_contradiction(name: str, pack: Pack) -> None:
    result = flown(pack=pack)
    assert result.last == result.raw, name
    assert (result.rejected_s, result.disputed_s) == ({}, {})


def test_one_reading_amid_a_step_of_the_load_is_no_contradiction() -> None:
    result = flown(lambda s: voltage(lambda v: v * 0.9)(s) if s.t_s % 5.0 < 0.1 else s)
    assert (result.rejected_s, result.disputed_s) == ({}, {})


def test_a_gauge_that_counts_in_per_cent_is_no_contradiction() -> None:
    result = flown(charge(lambda mah: mah // 160 * 160), since_s=0.0, end_s=400.0)
    assert (result.rejected_s, result.disputed_s) == ({}, {})


def test_a_correction_of_the_gauge_is_no_contradiction() -> None:
    result = flown(charge(lambda mah: mah - 600.0))
    assert (result.rejected_s, result.disputed_s) == ({}, {})


def test_computed_gauges_with_usual_errors_are_accepted(
    computed_flights: tuple[Path, ...],
) -> None:
    for path in computed_flights:
        assert doubts_of(path) == set(), path.name


def test_recorded_packs_do_not_contradict_themselves(real_flights: tuple[Path, ...]) -> None:
    assert len(real_flights) >= 5
    for path in real_flights:
        assert doubts_of(path) == set(), path.name


def doubts_of(path: Path) -> set[str]:
    flight = read_csv_log(path)
    source, check = FlightSource(flight), ConsistencyCheck()
    return {
        doubt
        for t_s in source.ticks()
        for doubt in check.check(source.poll(t_s), flight.pack_data).doubts
    }


# ---------------------------------------------------------------------- cells and pack

# Fault of the pack's voltage, and the seconds within which it is rejected.
PACK_FAULTS: dict[str, tuple[Change, float]] = {
    "halved": (voltage(lambda v: v / 2.0), 0.3),
    "doubled": (voltage(lambda v: v * 2.0), 0.3),
    "a cell's": (voltage(lambda v: v / 6.0), 0.3),
    "a quarter low": (voltage(lambda v: v * 0.75), 0.3),
    "15 % low": (voltage(lambda v: v * 0.85), 4.0),
    "6 % high": (voltage(lambda v: v * 1.06), 4.0),
    "6 % low": (voltage(lambda v: v * 0.94), 4.0),
    "3 % high": (voltage(lambda v: v * 1.03), 10.0),
    "3 % low": (voltage(lambda v: v * 0.97), 10.0),
    "1.5 V high": (voltage(lambda v: v + 1.5), 4.0),
}


@pytest.mark.parametrize("name", PACK_FAULTS)
@pytest.mark.parametrize("since_s", [0.0, FAULT_S], ids=["from the start", "in flight"])
def test_a_wrong_pack_voltage_is_replaced_by_the_sum_of_the_cells(
    name: str, since_s: float
) -> None:
    change, within_s = PACK_FAULTS[name]
    result = flown(change, since_s=since_s)
    assert result.disputed_s == {}
    assert set(result.rejected_s) == {"voltage_v"}
    assert result.rejected_s["voltage_v"] <= (within_s if since_s else max(within_s, 30.0))
    assert result.last.voltage_v == pytest.approx(sum(v or 0.0 for v in result.raw.cells_v))
    assert result.last.cells_v == result.raw.cells_v
    assert result.last.current_a == result.raw.current_a


@pytest.mark.parametrize("name", PACK_FAULTS)
def test_equal_cells_outvote_a_pack_voltage_that_steps_away(name: str) -> None:
    result = flown(PACK_FAULTS[name][0], Pack(spread_v=0.0, noise=0.0))
    assert (set(result.rejected_s), result.disputed_s) == ({"voltage_v"}, {})


def test_a_stuck_pack_voltage_hides_no_cells() -> None:
    sinking = Pack(soc_frac=0.14, load_c=2.5)
    result = flown(Stuck("voltage_v"), sinking, end_s=300.0)
    assert set(result.rejected_s) == {"voltage_v"}
    assert result.last.cells_v == result.raw.cells_v
    lowest = result.last.lowest_cell()
    assert lowest is not None
    assert lowest[1] < 3.5


def test_a_weak_cell_behind_a_wrong_pack_voltage_stays_known() -> None:
    result = flown(voltage(lambda v: v * 1.06), Pack(sinks_v=0.02), since_s=0.0)
    assert set(result.rejected_s) == {"voltage_v"}
    assert result.last.cells_v[2] == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("step_v", [0.3, -0.3, 0.7, -0.7, -1.5])
@pytest.mark.parametrize("index", [0, 2, 5])
def test_one_cell_that_the_pack_contradicts_is_rejected_at_once(index: int, step_v: float) -> None:
    result = flown(cell(index, lambda v: v + step_v))
    assert result.rejected_s == {f"cell{index + 1}_v": 0.0}
    assert result.disputed_s == {}
    assert result.last.cells_v[index] is None
    assert result.last.voltage_v == result.raw.voltage_v


@pytest.mark.parametrize("step_v", [0.15, -0.15, 0.3, -0.3, 0.7])
@pytest.mark.parametrize("index", [0, 2, 5])
def test_a_rejected_cell_stays_rejected_while_its_difference_lasts(
    index: int, step_v: float
) -> None:
    """Cells lie 0.1 V apart, and the pack is read half a second before them in gusts."""
    check, pack_v, trusted_s = ConsistencyCheck(), 0.0, []
    for sound in Pack(spread_v=0.02, gust_frac=0.2, noise=4.0).snapshots(300.0):
        wrong = cell(index, lambda v: v + step_v)(sound) if sound.t_s >= FAULT_S else sound
        read = replace(wrong, voltage_v=pack_v or wrong.voltage_v)
        pack_v = wrong.voltage_v or 0.0
        checked = check.check(read, FACTS, armed=True)
        assert checked.voltage_v == read.voltage_v
        assert set(checked.rejected) <= {f"cell{index + 1}_v"}
        if sound.t_s >= FAULT_S and checked.cells_v[index] is not None:
            trusted_s.append(sound.t_s - FAULT_S)
    assert max(trusted_s, default=0.0) <= 3.0


def some_cells(indexes: Sequence[int], of: Callable[[float], float]) -> Change:
    def change(snapshot: Snapshot) -> Snapshot:
        for index in indexes:
            snapshot = cell(index, lambda v: round(of(v), 3))(snapshot)
        return snapshot

    return change


def cells_at(indexes: Sequence[int]) -> dict[str, float]:
    return {f"cell{index + 1}_v": 0.0 for index in indexes}


SOME = [(2, 1), (3, 1), (3, 2), (4, 2), (6, 2), (6, 3), (6, 5), (7, 2), (12, 4), (14, 13)]


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.75])
@pytest.mark.parametrize(("count", "wrong"), SOME)
@pytest.mark.parametrize("chemistry", [LIPO, LI_ION, LIFEPO4], ids=lambda row: row.name)
def test_some_cells_that_part_from_the_others_and_the_pack_are_rejected_at_once(
    chemistry: Chemistry, count: int, wrong: int, factor: float
) -> None:
    data = PackData(chemistry, cells=count, capacity_mah=16_000.0)
    indexes = np.random.default_rng(count * wrong).permutation(count)[:wrong].tolist()
    change = some_cells(indexes, lambda v: v * factor)
    result = flown(change, Pack(data, gust_frac=0.2))
    assert result.rejected_s == cells_at(indexes)
    assert result.disputed_s == {}
    assert result.last.voltage_v == result.raw.voltage_v
    known_v = [v for k, v in enumerate(result.raw.cells_v) if k not in indexes]
    assert result.last.known_cells_v() == known_v
    back = flown(lambda s: change(s) if s.t_s < 80.0 else s, Pack(data))
    assert back.last == back.raw


@pytest.mark.parametrize("step_v", [0.15, -0.15, 0.3, -0.5, 0.56])
@pytest.mark.parametrize(("count", "wrong"), SOME)
def test_some_cells_that_step_while_the_current_stands_are_rejected_in_4_s(
    count: int, wrong: int, step_v: float
) -> None:
    data = PackData(LIHV, cells=count, capacity_mah=16_000.0)
    indexes = np.random.default_rng(count * wrong).permutation(count)[:wrong].tolist()
    pack = Pack(data, soc_frac=0.6, gust_frac=0.1)
    result = flown(some_cells(indexes, lambda v: v + step_v), pack)
    assert result.rejected_s.keys() == cells_at(indexes).keys()
    assert max(result.rejected_s.values()) <= 4.0
    assert result.disputed_s == {}
    assert result.last.voltage_v == result.raw.voltage_v


@pytest.mark.parametrize("factor", [0.01, 0.3, 0.5])
@pytest.mark.parametrize(("count", "wrong"), SOME)
def test_some_cells_that_no_charge_has_are_rejected_from_the_first_reading_on(
    count: int, wrong: int, factor: float
) -> None:
    data, indexes = PackData(LIPO, cells=count, capacity_mah=16_000.0), range(wrong)
    result = flown(some_cells(indexes, lambda v: v * factor), Pack(data), since_s=0.0)
    assert result.rejected_s == cells_at(indexes)
    assert result.last.voltage_v == result.raw.voltage_v


@pytest.mark.parametrize("pause_s", [1.0, 2.0, 15.0])
def test_cells_that_fail_one_after_the_other_are_rejected_one_after_the_other(
    pause_s: float,
) -> None:
    def change(snapshot: Snapshot) -> Snapshot:
        count = min(int((snapshot.t_s - FAULT_S) / pause_s) + 1, 4)
        return some_cells((4, 0, 5, 2)[:count], lambda v: v / 2.0)(snapshot)

    result = flown(change)
    times_s = {"cell5_v": 0.0, "cell1_v": pause_s, "cell6_v": 2 * pause_s, "cell3_v": 3 * pause_s}
    assert result.rejected_s == times_s
    assert result.last.known_cells_v() == [result.raw.cells_v[1], result.raw.cells_v[3]]


def test_a_pack_whose_cells_are_dead_from_the_start_is_no_contradiction() -> None:
    def dead(snapshot: Snapshot) -> Snapshot:
        low = some_cells((1, 4), lambda v: v * 0.3)(snapshot)
        return replace(low, voltage_v=round(sum(v or 0.0 for v in low.cells_v), 3))

    result = flown(dead, since_s=0.0)
    assert (result.rejected_s, result.disputed_s) == ({}, {})


# A step of one cell alone is that of no pack; a small one is seen in 4 s.
@pytest.mark.parametrize("step_v", [0.08, -0.08, 0.1, -0.1, 0.2])
@pytest.mark.parametrize("index", [0, 2, 5])
def test_a_small_step_of_one_cell_alone_is_rejected_until_it_steps_back(
    index: int, step_v: float
) -> None:
    step = cell(index, lambda v: v + step_v)
    pack = Pack(soc_frac=0.2, gust_frac=0.1)
    result = flown(step, pack)
    assert set(result.rejected_s) == {f"cell{index + 1}_v"}
    assert result.rejected_s[f"cell{index + 1}_v"] <= 4.0
    assert result.last.cells_v[index] is None
    back = flown(lambda s: step(s) if s.t_s < 80.0 else s, pack)
    assert back.last == back.raw


# The sum of its cells has the offset, and a cell passes the size of it.
@pytest.mark.parametrize("offset_frac", [-0.02, -0.01, 0.01])
@pytest.mark.parametrize("sinks_v", [0.001, 0.003, 0.01, 0.05])
def test_an_offset_of_the_pack_voltage_hides_no_weak_cell(
    offset_frac: float, sinks_v: float
) -> None:
    result = flown(voltage(lambda v: v * (1.0 - offset_frac)), Pack(sinks_v=sinks_v), since_s=0.0)
    assert (result.rejected_s, result.disputed_s) == ({}, {})


def open_wire(index: int, of: Callable[[float], float], most_v: float = 5.0) -> Change:
    """The wire above a cell is open: the two cells at it share their sum in another way."""

    def change(snapshot: Snapshot) -> Snapshot:
        by_v = of(snapshot.t_s - FAULT_S)
        lower = cell(index, lambda v: min(round(v + by_v, 3), most_v))
        return cell(index + 1, lambda v: min(round(v - by_v, 3), most_v))(lower(snapshot))

    return change


@pytest.mark.parametrize("cells", [3, 6, 14])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("of", "within_s"),
    [
        (lambda _: 0.15, 1.0),
        (lambda _: -0.15, 1.0),
        (lambda _: 0.4, 1.0),
        (lambda _: -0.9, 1.0),
        (lambda t_s: 0.02 * t_s, 8.0),
        (lambda t_s: 0.5 * math.sin(t_s / 7.0), 4.0),
    ],
    ids=["0.15", "-0.15", "0.4", "-0.9", "drift", "wandering"],
)
def test_an_open_sense_wire_rejects_the_two_cells_at_it_and_no_other(
    of: Callable[[float], float], within_s: float, place: float, cells: int
) -> None:
    """Their sum is right, so that neither the pack's voltage nor the other cells differ."""
    index = round(place * (cells - 2))
    result = flown(open_wire(index, of), Pack(replace(FACTS, cells=cells)))
    assert set(result.rejected_s) == {f"cell{index + 1}_v", f"cell{index + 2}_v"}
    assert max(result.rejected_s.values()) <= within_s
    assert result.disputed_s == {}
    unknown = [k for k, v in enumerate(result.last.cells_v) if v is None]
    assert unknown == [index, index + 1]
    assert result.last.voltage_v == result.raw.voltage_v


@pytest.mark.parametrize("by_v", [-3.0, -1.5, 3.0])
def test_of_an_open_wire_no_cell_at_the_end_of_its_range_stays(by_v: float) -> None:
    """The voltage of one of them saturates, and then stands still to the bit."""
    result = flown(open_wire(2, lambda _: by_v, most_v=4.9), end_s=FAULT_S + 60.0)
    assert result.last.cells_v[2:4] == (None, None)
    assert None not in (*result.last.cells_v[:2], *result.last.cells_v[4:])
    assert result.last.voltage_v == result.raw.voltage_v


def test_a_cell_that_sinks_at_an_open_wire_trips_its_limit() -> None:
    """The pack's voltage less the known cells is the mean of both."""
    wire = open_wire(2, lambda _: 0.4)
    sinking = Pack(sinks_v=0.02).snapshots(FAULT_S + 120.0)
    reports = watched((wire(s) if s.t_s >= FAULT_S else s for s in sinking), FACTS)
    assert reports[-1].snapshot.cells_v[2:4] == (None, None)
    assert {"cell_critical", "blind", "implausible"} <= set(reports[-1].status.active)
    active = {limit_id for report in reports for limit_id in report.status.active}
    assert not any(limit_id.startswith("cell_high") for limit_id in active)


def test_cells_at_a_wire_that_closes_again_are_known_again() -> None:
    wire = open_wire(2, lambda _: 0.4)
    result = flown(lambda s: wire(s) if s.t_s < 100.0 else s)
    assert set(result.rejected_s) == {"cell3_v", "cell4_v"}
    assert result.last == result.raw


@pytest.mark.parametrize("seed", range(6))
def test_cells_of_any_resistance_part_at_no_wire(seed: int) -> None:
    """All of them sag under a load: none rises while its neighbour falls."""
    random = np.random.default_rng(seed)
    drop_mohm = random.uniform(-1.0, 8.0, 6)

    def change(snapshot: Snapshot) -> Snapshot:
        current_a = snapshot.current_a or 0.0
        cells_v = tuple(
            [
                round((v or 0.0) - mohm * current_a / 1000.0, 3)
                for v, mohm in zip(snapshot.cells_v, drop_mohm.tolist(), strict=True)
            ]
        )
        return replace(snapshot, cells_v=cells_v, voltage_v=round(sum(cells_v), 3))

    result = flown(change, Pack(gust_frac=0.3), since_s=0.0)
    assert (result.rejected_s, result.disputed_s) == ({}, {})


@pytest.mark.parametrize("response", [1.5, 3.0, 6.0])
def test_a_cell_of_high_resistance_is_never_rejected(response: float) -> None:
    def weak(snapshot: Snapshot) -> Snapshot:
        drop_v = (snapshot.current_a or 0.0) * 30.0 / 16.0 / 1000.0 * (response - 1.0)
        sagging = cell(1, lambda v: round(v - drop_v, 3))(snapshot)
        return voltage(lambda v: v - drop_v)(sagging)

    result = flown(weak, Pack(gust_frac=0.3), since_s=0.0)
    assert (result.rejected_s, result.disputed_s) == ({}, {})


@pytest.mark.parametrize("by_v", [-0.3, -0.6, -1.5, 0.4])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_cell_at_a_bad_contact_is_never_used_between_two_seconds(by_v: float, every: int) -> None:
    """Readings at 4 Hz whose whole seconds are right, or not, with a wrong one in between."""
    check, pack, used = ConsistencyCheck(), Pack(step_s=0.25), []
    for k, sound in enumerate(pack.snapshots(120.0)):
        wrong = sound.t_s >= FAULT_S and k // every % 2 == 1
        raw = cell(1, lambda v: round(v + by_v, 3))(sound) if wrong else sound
        seen = check.check(raw, FACTS, armed=True)
        assert seen.voltage_v is not None
        used += [seen.cells_v[1] == raw.cells_v[1]] if wrong else []
    assert len(used) > 100
    assert not any(used)


def test_another_number_of_cells_is_compared_from_the_next_second_on() -> None:
    check, pack = ConsistencyCheck(), Pack(step_s=0.25)
    for sound in pack.snapshots(20.25):
        check.check(sound, FACTS)
    first, *_ = [s for s in pack.snapshots(30.0) if s.t_s > 20.0]
    more = replace(first, cells_v=(*first.cells_v, 3.0))
    assert check.check(more, FACTS).cells_v == more.cells_v


@pytest.mark.parametrize("lag_s", [0.0, 0.25])
def test_a_cell_that_collapses_is_known_between_two_seconds_once_the_pack_shows_it(
    lag_s: float,
) -> None:
    check, pack = ConsistencyCheck(), Pack(step_s=0.25)
    lowest_v = []
    for sound in pack.snapshots(100.0):
        low = cell(1, lambda v: v - 0.8)(sound) if sound.t_s >= FAULT_S else sound
        late = sound.t_s >= FAULT_S + lag_s
        seen = check.check(voltage(lambda v: v - 0.8)(low) if late else low, FACTS, armed=True)
        if sound.t_s >= FAULT_S + 8.0:
            lowest_v.append(seen.cells_v[1] == low.cells_v[1])
    assert lowest_v
    assert all(lowest_v)


def test_a_stuck_cell_is_rejected() -> None:
    result = flown(Stuck("cells_v", 3), Pack(soc_frac=0.14), end_s=200.0)
    assert set(result.rejected_s) == {"cell4_v"}
    assert result.rejected_s["cell4_v"] <= 21.0


def test_a_stuck_pack_voltage_is_rejected_before_it_is_far_off() -> None:
    result = flown(Stuck("voltage_v"), Pack(gust_frac=0.5), end_s=100.0)
    assert set(result.rejected_s) == {"voltage_v"}
    assert result.rejected_s["voltage_v"] <= 21.0


def before_take_off(stuck: Change) -> Checked:
    return flown(stuck, Pack(soc_frac=0.2, load_c=3.5, noise=0.0), since_s=10.0, end_s=60.0)


def test_a_pack_voltage_that_does_not_answer_the_take_off_leaves_the_cells() -> None:
    result = before_take_off(Stuck("voltage_v"))
    assert set(result.rejected_s) == {"voltage_v"}
    assert result.last.cells_v == result.raw.cells_v


def test_cells_that_do_not_answer_the_take_off_are_disputed() -> None:
    result = before_take_off(Stuck("cells_v"))
    assert result.rejected_s == {}
    assert result.disputed_s.keys() == {"voltage_v", "cells_v"}
    assert result.disputed_s["cells_v"] <= TAKE_OFF_S - 10.0 + 10.0


# All cells at once: no reading shows the weakest cell.
def test_stuck_cells_are_disputed_and_the_lower_voltage_rules() -> None:
    result = flown(Stuck("cells_v"), Pack(soc_frac=0.14), end_s=200.0)
    assert result.rejected_s == {}
    assert result.disputed_s.keys() == {"voltage_v", "cells_v"}
    assert result.disputed_s["cells_v"] <= 21.0
    assert result.last.voltage_v == result.raw.voltage_v
    assert result.last.cells_v == (None,) * 6
    assert result.last.disputed["cells_v"] == result.raw.cells_v
    assert result.last.undisputed().voltage_v is None


def test_cells_that_all_answer_the_first_ones_value_hide_no_cell() -> None:
    def copies(snapshot: Snapshot) -> Snapshot:
        return replace(snapshot, cells_v=snapshot.cells_v[:1] * 6)

    result = flown(copies, Pack(sinks_v=0.02), since_s=0.0, end_s=180.0)
    assert result.rejected_s == {}
    assert result.disputed_s.keys() == {"voltage_v", "cells_v"}
    assert result.last.voltage_v == result.raw.voltage_v  # the lower one


@pytest.mark.parametrize(
    ("gain", "offset_v", "named_s"),
    [
        (0.5, 0.0, 0.0),
        (0.75, 0.0, 0.0),
        (1.25, 0.0, 0.0),
        (1.9, 0.0, 0.0),
        (1.07, 0.0, 4.0),
        (0.93, 0.0, 4.0),
        (1.15, 0.0, 4.0),
        (1.0, -0.3, 4.0),
        (1.0, 0.3, 4.0),
        (0.96, 0.0, 4.0),
        (1.04, 0.0, 4.0),
        (1.025, 0.0, 4.0),
    ],
)
def test_a_block_of_cells_in_another_scale_is_rejected(
    gain: float, offset_v: float, named_s: float
) -> None:
    result = flown(every_cell(lambda v: v * gain + offset_v))
    assert result.rejected_s.keys() == {"cells_v"}
    assert result.rejected_s["cells_v"] <= named_s
    assert result.last.voltage_v == result.raw.voltage_v
    assert result.last.cells_v == (None,) * 6


@pytest.mark.parametrize("chemistry", [LIPO, LI_ION, LIFEPO4], ids=lambda row: row.name)
def test_a_charged_pack_of_empty_cells_has_cells_in_another_scale(chemistry: Chemistry) -> None:
    pack = Pack(PackData(chemistry, cells=6, capacity_mah=16_000.0), load_c=1.0)
    result = flown(every_cell(lambda v: v * 0.5), pack, since_s=0.0)
    assert result.rejected_s == {"cells_v": 0.0}
    assert result.last.voltage_v == result.raw.voltage_v
    empty = flown(pack=replace(pack, soc_frac=0.01, load_c=0.0))
    assert empty.rejected_s == {}


@pytest.mark.parametrize(
    ("change", "rejected", "disputed"),
    [
        (voltage(lambda v: v * 2.0), {"voltage_v"}, set()),
        (voltage(lambda v: v * 0.2), {"voltage_v"}, set()),
        (cell(0, lambda v: v * 1.25), {"cell1_v"}, set()),
        (voltage(lambda v: v * 0.9), set(), {"voltage_v", "cells_v"}),
        (cell(0, lambda v: v * 0.9), set(), {"voltage_v", "cells_v"}),
    ],
)
def test_a_single_cell_and_its_pack_are_one_against_one(
    change: Change, rejected: set[str], disputed: set[str]
) -> None:
    one = Pack(PackData(LIPO, cells=1, capacity_mah=5000.0))
    result = flown(change, one)
    assert (set(result.rejected_s), set(result.disputed_s)) == (rejected, disputed)


@pytest.mark.parametrize("cells", [2, 3, 4, 12, 14])
def test_packs_of_any_count_reject_a_wrong_pack_voltage(cells: int) -> None:
    pack = Pack(PackData(LI_ION, cells=cells, capacity_mah=9000.0), load_c=1.0)
    for gain in (0.5, 0.93, 1.07, 1.5):
        result = flown(voltage(lambda v, gain=gain: v * gain), pack, end_s=100.0)  # type: ignore[misc]  # bound here
        assert (set(result.rejected_s), result.disputed_s) == ({"voltage_v"}, {})


def test_a_verdict_ends_when_the_readings_agree_again() -> None:
    for change in (
        voltage(lambda v: v * 0.8),
        every_cell(lambda v: v * 0.5),
        cell(1, lambda _: 3.0),
    ):
        result = flown(lambda s, change=change: change(s) if s.t_s < 80.0 else s)  # type: ignore[misc]  # bound here
        assert result.rejected_s
        assert result.last == result.raw


def cell_missing(index: int) -> Change:
    return lambda s: replace(
        s, cells_v=tuple([None if k == index else v for k, v in enumerate(s.cells_v)])
    )


def no_voltage(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, voltage_v=None)


def test_a_rejected_pack_voltage_stays_rejected_without_a_cell() -> None:
    def change(snapshot: Snapshot) -> Snapshot:
        wrong = voltage(lambda v: v / 2.0)(snapshot)
        return wrong if snapshot.t_s < 80.0 else cell_missing(4)(wrong)

    result = flown(change)
    assert set(result.rejected_s) == {"voltage_v"}
    assert result.disputed_s == {}
    assert result.last.cells_v == result.raw.cells_v
    known_v = [v for v in result.raw.cells_v if v is not None]
    assert result.last.voltage_v == pytest.approx(sum(known_v) / 5 * 6)


# A verdict does not end because the other reading is missing for a while.
def test_a_rejected_cell_stays_rejected_without_a_pack_voltage() -> None:
    stuck = Stuck("cells_v", 3)
    result = flown(
        lambda s: no_voltage(stuck(s)) if s.t_s >= 140.0 else stuck(s), Pack(soc_frac=0.14)
    )
    assert result.rejected_s.keys() == {"cell4_v"}
    assert result.last.cells_v[3] is None


def test_disputed_cells_stay_disputed_without_a_pack_voltage() -> None:
    stuck = Stuck("cells_v")
    result = flown(
        lambda s: no_voltage(stuck(s)) if s.t_s >= 140.0 else stuck(s), Pack(soc_frac=0.14)
    )
    sum_v = sum(v or 0.0 for v in result.raw.cells_v)
    assert result.last.cells_v == (None,) * 6
    assert result.last.disputed == {
        "voltage_v": (pytest.approx(sum_v),),
        "cells_v": result.raw.cells_v,
    }
    assert result.last.undisputed().voltage_v is None


def test_cells_of_another_scale_stay_rejected_without_a_pack_voltage() -> None:
    low = every_cell(lambda v: v * 0.9)
    result = flown(lambda s: no_voltage(low(s)) if s.t_s >= 140.0 else low(s))
    assert result.rejected_s.keys() == {"cells_v"}
    assert (result.last.voltage_v, result.last.cells_v) == (None, (None,) * 6)


def test_seconds_that_were_not_seen_are_evidence_of_nothing() -> None:
    """Two differing readings with 30 s between them are no proof that they differed in between."""

    def apart(snapshot: Snapshot) -> Snapshot:
        if snapshot.t_s % 30.0 < 0.1:
            return voltage(lambda v: v * 0.92)(snapshot)
        return replace(no_voltage(snapshot), cells_v=(None,) * 6)

    result = flown(apart, end_s=400.0)
    assert (result.rejected_s, result.disputed_s) == ({}, {})


def test_readings_without_a_new_time_take_no_memory() -> None:
    check = ConsistencyCheck()
    for snapshot in Pack().snapshots():
        check.check(snapshot, FACTS)
    for k in range(5_000):
        check.check(replace(snapshot, t_s=snapshot.t_s + 0.1 * k), FACTS)
    assert len(str(check.state())) < 50_000


# ---------------------------------------------------------------------- current and charge

# Fault of the current; within so many seconds of it, or of the take-off, it is withheld.
CURRENT_FAULTS: dict[str, tuple[Change, float]] = {
    "none": (current(lambda _: 0.0), 8.0),
    "reversed": (current(lambda a: -a), 15.0),
    "wrapped": (current(wrapped), 15.0),
    "a tenth": (current(lambda a: 0.1 * a), 20.0),
    "ten times": (current(lambda a: 10.0 * a), 20.0),
    "stuck at 5 A": (current(lambda _: 5.0), 60.0),
    "half": (current(lambda a: 0.5 * a), 40.0),
    "a quarter low": (current(lambda a: 0.75 * a), 70.0),
    "a quarter high": (current(lambda a: 1.25 * a), 90.0),
    "double": (current(lambda a: 2.0 * a), 40.0),
}


@pytest.mark.parametrize("name", CURRENT_FAULTS)
@pytest.mark.parametrize("since_s", [0.0, FAULT_S], ids=["from the start", "in flight"])
def test_a_wrong_current_is_withheld(name: str, since_s: float) -> None:
    change, within_s = CURRENT_FAULTS[name]
    result = flown(change, since_s=since_s)
    first_s = min(
        result.rejected_s.get("current_a", math.inf), result.disputed_s.get("current_a", math.inf)
    )
    assert first_s <= within_s + (0.0 if since_s else TAKE_OFF_S)
    assert result.last.current_a is None
    assert result.last.cells_v == result.raw.cells_v
    # A current that is refuted leaves the charge alone.
    refuted = "current_a" in result.last.rejected
    assert (result.last.remaining_mah is not None) is refuted
    disputed = result.last.disputed.get("current_a", (28.0,))
    assert max(disputed) >= 27.0


def test_a_current_that_stands_still_is_refuted_by_the_cells() -> None:
    result = flown(Stuck("current_a"))
    assert set(result.rejected_s) == {"current_a", "average_a"}
    assert result.rejected_s["current_a"] < 60.0


def test_a_gauge_that_counts_by_a_wrong_current_loses_its_charge_too() -> None:
    first: list[float] = []

    def stands(snapshot: Snapshot) -> Snapshot:
        first.append(snapshot.remaining_mah or 0.0)
        return replace(snapshot, current_a=0.0, remaining_mah=first[0], soc_pct=85.0)

    result = flown(stands, since_s=0.0)
    assert {"current_a", *MAH} <= set(result.rejected_s)
    assert result.rejected_s["remaining_mah"] <= TAKE_OFF_S + 40.0
    assert (result.last.current_a, result.last.remaining_mah) == (None, None)


CHARGE_FAULTS: dict[str, tuple[Change, float]] = {
    "stands still": (Stuck("remaining_mah"), 20.0),
    "rises": (charge(lambda mah: 27_000.0 - mah), 8.0),
    "in 10 mWh": (charge(lambda mah: mah * 2.22), 3.0),
    "a tenth": (charge(lambda mah: mah * 0.1), 3.0),
    "ten times": (charge(lambda mah: mah * 10.0), 3.0),
    "10 points low": (charge(lambda mah: mah - 1600.0), 3.0),
    "10 points high": (charge(lambda mah: mah + 1600.0), 3.0),
}


@pytest.mark.parametrize("late", [0, 1, 2, 3, 4])  # readings of 0.25 s
@pytest.mark.parametrize("times_ohm", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("load_c", [0.6, 1.0, 1.75, 4.0])
@pytest.mark.parametrize("first", [0, 1, 2, 3])  # reading of the flight, of those in a second
def test_a_take_off_whose_current_is_read_after_its_voltages_is_no_contradiction(
    first: int, load_c: float, times_ohm: float, late: int
) -> None:
    pack = Pack(load_c=load_c, step_s=0.25)
    ohm = (times_ohm - 1.0) * LIPO.new_cell_ohm(16.0)
    snapshots = [*pack.snapshots(50.0)][first:]
    check = ConsistencyCheck()
    for now, before in zip(snapshots[late:], snapshots, strict=False):
        sag_v = ohm * (now.current_a or 0.0)
        worn = every_cell(lambda v: v - sag_v)(now)  # noqa: B023 - of this reading
        worn = voltage(lambda v: v - 6.0 * sag_v)(worn)  # noqa: B023
        read = replace(worn, current_a=before.current_a)
        assert check.check(read, FACTS, armed=True).rejected == ()


@pytest.mark.parametrize("name", CHARGE_FAULTS)
def test_a_charge_that_contradicts_the_current_is_rejected(name: str) -> None:
    change, within_s = CHARGE_FAULTS[name]
    result = flown(change)
    assert set(result.rejected_s) == set(MAH)
    assert result.rejected_s["remaining_mah"] <= within_s
    assert result.disputed_s == {}
    assert (result.last.remaining_mah, result.last.soc_pct) == (None, None)
    assert result.last.current_a == result.raw.current_a


@pytest.mark.parametrize("factor", [0.1, 0.5, 1.3, 2.22, 10.0])
@pytest.mark.parametrize("span_s", [3.0, 30.0, 90.0])
@pytest.mark.parametrize("load_c", [0.9, 1.75, 4.0])
def test_a_charge_that_was_wrong_for_a_while_leaves_the_current_known(
    load_c: float, span_s: float, factor: float
) -> None:
    wrong = charge(lambda mah: mah * factor)
    pack = Pack(load_c=load_c)
    end_s = FAULT_S + span_s
    result = flown(lambda s: wrong(s) if s.t_s < end_s else s, pack, end_s=end_s + 60.0)
    assert set(result.rejected_s) == set(MAH)
    assert result.disputed_s == {}
    assert result.last.current_a == result.raw.current_a


@pytest.mark.parametrize("load_c", [1.75, 2.6, 4.0])
@pytest.mark.parametrize("span_s", [10.0, 30.0, 90.0])
@pytest.mark.parametrize("name", ["none", "an offset", "stuck"])
def test_a_current_that_was_wrong_for_a_while_is_in_no_dispute_afterwards(
    name: str, span_s: float, load_c: float
) -> None:
    changes: dict[str, Change] = {
        "none": current(lambda _: 0.0),
        "an offset": current(lambda a: a - 16.0 * load_c),
        "stuck": Stuck("current_a"),
    }
    end_s = FAULT_S + span_s
    result = flown(
        lambda s: changes[name](s) if s.t_s < end_s else s,
        Pack(load_c=load_c, gust_frac=0.2),
        end_s=end_s + 90.0,
    )
    assert result.disputed_s == {}
    assert result.last == result.raw


@pytest.mark.parametrize("name", ["none", "a quarter low"])
def test_a_current_that_is_wrong_is_withheld_though_the_charge_has_jumped_before(name: str) -> None:
    """The charge has jumped, and jumped back, when the current becomes wrong."""
    wrong = {"none": current(lambda _: 0.0), "a quarter low": current(lambda a: 0.75 * a)}[name]
    high = charge(lambda mah: mah * 1.3)

    def change(snapshot: Snapshot) -> Snapshot:
        if snapshot.t_s < 80.0:
            return high(snapshot)
        return wrong(snapshot) if snapshot.t_s >= 100.0 else snapshot

    result = flown(change, end_s=220.0)
    assert result.last.current_a is None
    assert {"current_a"} <= {*result.rejected_s, *result.disputed_s}


# Words of the charge of which one is that of another register, or of no pack.
WRONG_WORDS: dict[str, Change] = {
    "full charge 1 mAh": lambda s: replace(s, full_mah=1.0),
    "full charge doubled": lambda s: replace(s, full_mah=2.0 * (s.full_mah or 0.0)),
    "percentage of another register": lambda s: replace(s, soc_pct=1.0),
    "remaining is the full charge": lambda s: replace(s, remaining_mah=s.full_mah),
}


@pytest.mark.parametrize("name", WRONG_WORDS)
@pytest.mark.parametrize("since_s", [0.0, FAULT_S], ids=["from the start", "in flight"])
def test_words_of_the_charge_that_contradict_each_other_are_rejected(
    name: str, since_s: float
) -> None:
    result = flown(WRONG_WORDS[name], since_s=since_s)
    assert set(result.rejected_s) == set(MAH)
    assert result.rejected_s["remaining_mah"] <= 11.0
    assert (result.last.remaining_mah, result.last.soc_pct) == (None, None)
    assert result.last.current_a == result.raw.current_a


def test_a_percentage_that_is_read_later_than_the_charge_is_no_contradiction() -> None:
    def late(snapshot: Snapshot) -> Snapshot:
        return replace(snapshot, soc_pct=95.0) if snapshot.t_s % 30.0 < 8.0 else snapshot

    result = flown(late)
    assert (result.rejected_s, result.disputed_s) == ({}, {})


def test_a_charge_in_another_unit_from_the_start_is_known_by_its_full_charge() -> None:
    def scaled(snapshot: Snapshot) -> Snapshot:
        return replace(charge(lambda mah: mah * 2.22)(snapshot), full_mah=16_000.0 * 2.22)

    result = flown(scaled, since_s=0.0)
    assert set(result.rejected_s) == set(MAH)
    assert result.disputed_s == {}


def test_the_average_of_the_gauge_decides_between_current_and_charge() -> None:
    def low(snapshot: Snapshot) -> Snapshot:
        return replace(current(lambda a: 0.7 * a)(snapshot), average_a=28.0)

    result = flown(low, since_s=0.0)
    assert set(result.rejected_s) == {"current_a", "average_a"}
    assert result.last.remaining_mah is not None


def test_a_charging_pack_on_the_ground_is_no_contradiction() -> None:
    def charging(snapshot: Snapshot) -> Snapshot:
        mah = 8000.0 + 8.0 / 3.6 * (snapshot.read_at_s["remaining_mah"] - FAULT_S)
        pct = PCT * mah / 16_000.0
        return replace(snapshot, current_a=-8.0, remaining_mah=round(mah), soc_pct=round(pct))

    result = flown(charging, Pack(load_c=0.02), since_s=0.0, armed=False)
    assert (result.rejected_s, result.disputed_s) == ({}, {})


def test_an_offset_that_the_gauge_does_not_count_is_no_contradiction() -> None:
    for offset_a in (-0.3, 0.3):
        result = flown(
            current(lambda a, offset_a=offset_a: a + offset_a),  # type: ignore[misc]  # bound here
            Pack(load_c=0.0),
            since_s=0.0,
            armed=False,
            end_s=900.0,
        )
        assert (result.rejected_s, result.disputed_s) == ({}, {})


def test_a_current_is_restored_when_it_is_right_again() -> None:
    def once(snapshot: Snapshot) -> Snapshot:
        return replace(snapshot, current_a=0.0) if snapshot.t_s < 75.0 else snapshot

    result = flown(once, end_s=300.0)
    assert "current_a" in result.rejected_s
    assert result.last == result.raw


def test_a_current_that_was_wrong_for_long_is_restored_as_soon() -> None:
    def long(snapshot: Snapshot) -> Snapshot:
        return replace(snapshot, current_a=5.0) if snapshot.t_s < 260.0 else snapshot

    result = flown(long, end_s=345.0)
    assert "current_a" in result.rejected_s
    assert result.last == result.raw


def test_a_charge_in_the_same_wrong_scale_restores_no_current() -> None:
    tenth = current(lambda a: 0.1 * a)
    result = flown(lambda s: charge(lambda mah: 0.1 * mah)(tenth(s)), Pack(load_c=4.0), end_s=300.0)
    assert {"current_a", "remaining_mah"} <= set(result.rejected_s)
    assert (result.last.current_a, result.last.remaining_mah) == (None, None)


def no_current(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, current_a=None)


def test_a_disputed_charge_stays_withheld_while_the_current_is_missing() -> None:
    low = current(lambda a: 0.7 * a)
    result = flown(lambda s: no_current(low(s)) if s.t_s >= 158.0 else low(s), since_s=0.0)
    assert "current_a" in result.disputed_s
    assert [getattr(result.last, name) for name in MAH] == [None, None, None]
    (counted_a,) = result.last.disputed["current_a"]
    assert counted_a == pytest.approx(28.0, abs=2.0)


def test_a_current_that_is_missing_for_a_while_does_not_turn_the_verdict() -> None:
    """The charge of the gauge is right throughout; the counts start again after the gap."""

    def change(snapshot: Snapshot) -> Snapshot:
        if snapshot.t_s < 200.0:
            return replace(snapshot, current_a=5.0)
        return no_current(snapshot) if 205.0 <= snapshot.t_s < 212.0 else snapshot

    result = flown(change, since_s=100.0, end_s=400.0)
    assert set(result.rejected_s) == {"current_a", "average_a"}
    assert result.last == result.raw


def test_without_a_capacity_no_current_is_compared() -> None:
    data = PackData(LIPO, cells=6)
    check = ConsistencyCheck()
    for snapshot in Pack().snapshots():
        wrong = replace(snapshot, current_a=-10.0)
        assert check.check(wrong, data) == wrong


def test_a_restart_continues_the_check() -> None:
    check, straight = ConsistencyCheck(), ConsistencyCheck()
    for snapshot in Pack().snapshots():
        wrong = current(lambda a: 0.75 * a)(voltage(lambda v: v * 1.04)(snapshot))
        check = ConsistencyCheck(check.state())
        assert check.check(wrong, FACTS) == straight.check(wrong, FACTS)
    assert check.state() == straight.state()


# ---------------------------------------------------------------------- a cell that fails


def collapse(drop_v: float, late_s: float, indexes: Sequence[int] = (2,)) -> Change:
    """Some cells fall in a second; the pack's voltage follows later."""
    drops: list[tuple[float, float]] = []

    def change(snapshot: Snapshot) -> Snapshot:
        drop = drop_v * min(max(snapshot.t_s - FAULT_S, 0.0), 1.0)
        drops.append((snapshot.t_s, drop))
        late = max([d for t_s, d in drops if t_s <= snapshot.t_s - late_s], default=0.0)
        fallen = some_cells(indexes, lambda v: v - drop)(snapshot)
        return voltage(lambda v: v - late * len(indexes))(fallen)

    return change


@pytest.mark.parametrize("drop_v", [0.2, 0.5, 0.8, 1.5])
@pytest.mark.parametrize("late_s", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("indexes", [(1, 4), (0, 2, 3, 5), (0, 1, 2, 3, 4)], ids=len)
def test_cells_that_collapse_are_known_soon_after_the_pack_has_followed(
    indexes: tuple[int, ...], drop_v: float, late_s: float
) -> None:
    known_s = FAULT_S + 1.0 + late_s + 4.0
    result = flown(collapse(drop_v, late_s, indexes), since_s=0.0, end_s=known_s)
    assert result.last.cells_v == result.raw.cells_v
    assert (not result.rejected_s) or late_s > 0.0


@pytest.mark.parametrize("drop_v", [0.2, 0.5, 0.8, 1.5])
@pytest.mark.parametrize("late_s", [0.0, 1.0, 2.0, 4.0])
def test_a_cell_that_collapses_is_known_soon_after_the_pack_has_followed(
    drop_v: float, late_s: float
) -> None:
    known_s = FAULT_S + 1.0 + late_s + 2.0
    result = flown(collapse(drop_v, late_s), since_s=0.0, end_s=known_s)
    assert result.disputed_s == {}
    assert result.last.cells_v == result.raw.cells_v
    assert (not result.rejected_s) or late_s > 0.0


def test_a_verdict_is_of_the_cells_that_it_was_found_for() -> None:
    def fewer(snapshot: Snapshot) -> Snapshot:
        if snapshot.t_s < 80.0:
            return cell(5, lambda v: v - 0.5)(snapshot)
        cells_v = snapshot.cells_v[:4]
        return replace(snapshot, cells_v=cells_v, voltage_v=sum(v or 0.0 for v in cells_v))

    result = flown(fewer)
    assert result.rejected_s.keys() == {"cell6_v"}
    assert result.last == result.raw


def test_a_state_of_a_cell_that_the_pack_lacks_is_refused() -> None:
    sample = VoltageSample(0.0, 22.8, (3.8,) * 6)
    for wrong in ({"cells": (6,)}, {"cells": (-1,)}, {"step_v": 0.5}):
        with pytest.raises(ValueError, match="cell"):
            VoltageState((sample,), **wrong)
    with pytest.raises(ValueError, match="number of cells"):
        VoltageState((sample, replace(sample, cells_v=(3.8,))))


@pytest.mark.parametrize("stands_s", [2.0, 5.0, 15.0])
@pytest.mark.parametrize("indexes", [(2,), (2, 5), (0, 1, 3, 4, 5)], ids=len)
@pytest.mark.parametrize("drop_v", [0.5, 1.5])
def test_a_pack_voltage_that_stands_still_does_not_hide_cells_that_collapse(
    drop_v: float, indexes: tuple[int, ...], stands_s: float
) -> None:
    stuck, falls = Stuck("voltage_v"), collapse(drop_v, math.inf, indexes)

    def change(snapshot: Snapshot) -> Snapshot:
        fallen = falls(snapshot)
        return stuck(fallen) if snapshot.t_s >= FAULT_S - stands_s else fallen

    result = flown(change, Pack(gust_frac=0.2), since_s=0.0, end_s=FAULT_S + 25.0)
    assert result.last.cells_v == result.raw.cells_v


# ---------------------------------------------------------------------- a gauge that restarts

INIT, TDA = 1 << 7, 1 << 11


def with_status(status_raw: int | None, remaining_frac: float | None = None) -> Change:
    def change(snapshot: Snapshot) -> Snapshot:
        snapshot = replace(snapshot, status_raw=status_raw)
        if remaining_frac is None:
            return snapshot
        mah, pct = remaining_frac * (snapshot.full_mah or 0.0), PCT * remaining_frac
        return replace(snapshot, remaining_mah=mah, soc_pct=pct)

    return change


def test_the_charge_of_a_gauge_that_is_no_more_initialized_is_rejected() -> None:
    ready, starting = with_status(INIT), with_status(0)
    seen = flown(lambda s: (ready if s.t_s < FAULT_S else starting)(s), since_s=0.0)
    assert seen.rejected_s == dict.fromkeys((*MAH, "status_raw"), FAULT_S)
    assert seen.last.doubts == ("gauge restarts: charge rejected",)
    assert (seen.last.status_raw, seen.last.remaining_mah, seen.last.soc_pct) == (None, None, None)
    assert seen.last.voltage_v == seen.raw.voltage_v
    assert seen.last.current_a == seen.raw.current_a


@pytest.mark.parametrize("status_raw", [0, None])
def test_a_gauge_that_never_reports_itself_initialized_is_used(status_raw: int | None) -> None:
    seen = flown(with_status(status_raw), since_s=0.0)
    assert (seen.last.doubts, seen.last.status_raw) == ((), status_raw)
    assert seen.last.remaining_mah == seen.raw.remaining_mah


def test_a_gauge_is_used_again_once_it_is_initialized() -> None:
    ready, starting = with_status(INIT), with_status(0)
    seen = flown(lambda s: (starting if 60.0 <= s.t_s < 70.0 else ready)(s), since_s=0.0)
    assert (seen.last.doubts, seen.last.status_raw) == ((), INIT)


@pytest.mark.parametrize("init_s", [0.0, 15.0])
def test_a_gauge_that_restarts_in_flight_with_no_charge_ends_no_discharge(init_s: float) -> None:
    """It reports 0 mAh and "terminate discharge"; its cells are sound."""

    def restarted(snapshot: Snapshot) -> Snapshot:
        if snapshot.t_s < FAULT_S:
            return with_status(INIT)(snapshot)
        status_raw = TDA | (INIT if snapshot.t_s >= FAULT_S + init_s else 0)
        return with_status(status_raw, 0.0)(snapshot)

    reports = watched(map(restarted, Pack().snapshots()), FACTS)
    active = {limit_id for report in reports for limit_id in report.status.active}
    assert "implausible" in active
    assert "gauge_stop" not in active
    assert reports[-1].estimate.soc_pct == pytest.approx(80.0, abs=5.0)


def test_the_end_of_discharge_of_an_empty_pack_trips_though_its_charge_is_wrong() -> None:
    def restarted(snapshot: Snapshot) -> Snapshot:
        status_raw = INIT if snapshot.t_s < FAULT_S else INIT | TDA
        return with_status(status_raw, 0.6)(snapshot) if snapshot.t_s >= FAULT_S else snapshot

    reports = watched(map(restarted, Pack(soc_frac=0.08).snapshots()), FACTS)
    assert "gauge_stop" in reports[-1].status.active

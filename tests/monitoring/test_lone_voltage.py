# SPDX-License-Identifier: Apache-2.0
"""Pack voltages without cells: what no pack steps to is rejected, what a pack may do is not."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from dronebms.core.chemistry import LI_ION, LIPO, Chemistry
from dronebms.core.pack_data import PackData
from dronebms.monitoring.consistency import ConsistencyCheck
from smartbattery.snapshot import Snapshot
from tests.monitoring.test_consistency import FAULT_S, TAKE_OFF_S, Change, Checked, Pack, flown

SERIES = (3, 4, 6, 12, 14)


def without_cells(change: Change = lambda snapshot: snapshot) -> Change:
    return lambda snapshot: replace(change(snapshot), cells_v=())


def stepped(of: Callable[[float, float], float], end_s: float = float("inf")) -> Change:
    """A voltage that is another function of it and of the time, from the fault on."""

    def change(snapshot: Snapshot) -> Snapshot:
        if not FAULT_S <= snapshot.t_s < end_s:
            return snapshot
        read_v = of(snapshot.voltage_v or 0.0, snapshot.t_s - FAULT_S)
        return replace(snapshot, voltage_v=round(read_v, 3))

    return without_cells(change)


def checked(change: Change, pack: Pack, end_s: float = 160.0) -> Checked:
    return flown(change, pack, since_s=0.0, end_s=end_s)


def pack_of(cells: int, chemistry: Chemistry = LIPO, *, step_s: float = 0.5) -> Pack:
    data = PackData(chemistry, cells=cells, capacity_mah=16_000.0)
    return Pack(data, gust_frac=0.2, step_s=step_s)


@pytest.mark.parametrize("cells", SERIES)
@pytest.mark.parametrize("factor", [0.05, 0.25, 0.5])
@pytest.mark.parametrize("step_s", [0.25, 1.0, 5.0])
@pytest.mark.parametrize("chemistry", [LIPO, LI_ION], ids=lambda row: row.name)
def test_a_voltage_that_no_pack_steps_to_is_rejected_until_it_is_back(
    chemistry: Chemistry, step_s: float, factor: float, cells: int
) -> None:
    pack = pack_of(cells, chemistry, step_s=step_s)
    wrong = checked(stepped(lambda v, _: v * factor), pack)
    assert wrong.rejected_s == {"voltage_v": FAULT_S}
    assert wrong.last.voltage_v is None
    assert wrong.last.has_answer
    assert wrong.last.current_a == wrong.raw.current_a
    assert wrong.last.doubts[0].endswith("V before")
    back = checked(stepped(lambda v, _: v * factor, end_s=90.0), pack)
    assert back.last == back.raw


@pytest.mark.parametrize("cells", [2, *SERIES])
@pytest.mark.parametrize("reverse_frac", [0.0, 0.25])
def test_a_pack_that_loses_a_cell_is_known(cells: int, reverse_frac: float) -> None:
    lost = (1.0 + reverse_frac) / cells
    result = checked(stepped(lambda v, _: v * (1.0 - lost)), pack_of(cells))
    assert result.rejected_s == {}
    assert result.last == result.raw


@pytest.mark.parametrize("cells", SERIES)
@pytest.mark.parametrize("span_s", [1.0, 3.0, 10.0])
def test_a_pack_that_collapses_within_seconds_is_known(cells: int, span_s: float) -> None:
    result = checked(
        stepped(lambda v, t_s: v * (1.0 - 0.6 * min(t_s / span_s, 1.0))), pack_of(cells)
    )
    assert result.rejected_s == {}


@pytest.mark.parametrize("cells", SERIES)
def test_a_collapse_under_a_step_of_the_load_is_known(cells: int) -> None:
    pack = pack_of(cells)
    data = pack.pack_data
    capacity_mah = data.capacity_mah or 0.0
    ohm = cells * data.chemistry.new_cell_ohm(capacity_mah / 1000.0)

    def change(snapshot: Snapshot) -> Snapshot:
        if snapshot.t_s < TAKE_OFF_S:
            return replace(snapshot, cells_v=())
        pack_v = (snapshot.voltage_v or 0.0) * 0.5
        return replace(snapshot, cells_v=(), voltage_v=pack_v, current_a=pack_v / (5.0 * ohm))

    assert "voltage_v" not in checked(change, pack, end_s=30.0).rejected_s


def test_a_loss_without_a_known_current_is_one_of_the_load() -> None:
    def unknown(snapshot: Snapshot) -> Snapshot:
        return replace(stepped(lambda v, _: v * 0.4)(snapshot), current_a=None)

    assert checked(unknown, pack_of(6)).rejected_s == {}


def test_a_voltage_after_a_pause_is_compared_with_none() -> None:
    check, pack, read = ConsistencyCheck(), pack_of(6), []
    for sound in pack.snapshots(120.0):
        if FAULT_S - 6.0 <= sound.t_s < FAULT_S:
            raw = replace(sound, voltage_v=None, cells_v=())
        else:
            raw = stepped(lambda v, _: v * 0.4)(sound)
        read.append(check.check(raw, pack.pack_data, armed=True) == raw)
    assert all(read)


def test_a_nearly_empty_pack_whose_cells_fail_together_is_known() -> None:
    pack = replace(pack_of(6), soc_frac=0.01, load_c=1.0, gust_frac=0.0)
    result = checked(stepped(lambda v, _: v * 0.4), pack, end_s=80.0)
    assert result.rejected_s == {}
    assert result.last.voltage_v == result.raw.voltage_v


@pytest.mark.parametrize("cells", SERIES)
def test_a_voltage_that_was_no_packs_does_not_reject_the_right_one(cells: int) -> None:
    high = stepped(lambda v, _: v * 2.0, end_s=90.0)
    result = checked(high, pack_of(cells))
    assert result.rejected_s == {}
    assert result.last == result.raw


def test_nothing_is_rejected_of_an_unknown_number_of_cells() -> None:
    check, data = ConsistencyCheck(), PackData(LIPO, capacity_mah=16_000.0)
    for sound in pack_of(6).snapshots(80.0):
        raw = stepped(lambda v, _: v * 0.3)(sound)
        assert check.check(raw, data, armed=True) == raw


def test_a_restart_continues_with_the_voltage_before() -> None:
    check, straight, pack = ConsistencyCheck(), ConsistencyCheck(), pack_of(6)
    for sound in pack.snapshots(80.0):
        raw = stepped(lambda v, _: v * 0.4)(sound)
        check = ConsistencyCheck(check.state())
        seen = check.check(raw, pack.pack_data, armed=True)
        assert seen == straight.check(raw, pack.pack_data, armed=True)
    assert check.state().lone_voltage.is_rejected

# SPDX-License-Identifier: Apache-2.0
"""Implausible readings and frozen gauges are rejected before estimation and limits."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest

from dronebms.core.chemistry import LIPO
from dronebms.core.pack_data import PackData
from dronebms.core.report import Event, Report
from dronebms.monitoring.plausibility import PlausibilityCheck
from mavlink_bridge.protocol.messages import battery_status
from smartbattery.snapshot import Identity, Snapshot
from tests.snapshots import FACTS, look, watched

SPIKE_S = 65.0  # every window of the limits is full
SHARES = {"remaining_s": 0.02, "remaining_low_s": 0.05, "remaining_high_s": 0.05}
Pace = Callable[[Callable[[float], Snapshot]], Iterator[Snapshot]]

# Values of one reading; a cell of None is unchanged.
ABSURD: dict[str, dict[str, object]] = {
    "no voltage": {"voltage_v": 1.0},
    "65 V": {"voltage_v": 65.0},
    "a dead cell": {"cells_v": (None, 0.5, None, None, None, None)},
    "all cells dead": {"cells_v": (0.5,) * 6},
    "a cell at 3.2 V": {"cells_v": (3.2, *(None,) * 5)},
    "a cell at 5 V": {"cells_v": (*(None,) * 5, 5.0)},
    "1000 A": {"current_a": 1000.0},
    "327 A, what 16 bits hold": {"current_a": 327.67},
    "1000 A backwards": {"current_a": -1000.0},
    "boiling": {"temperature_degc": 150.0},
    "liquid": {"temperature_degc": -60.0},
    "everything": {
        "voltage_v": 100.0, "current_a": 1000.0, "temperature_degc": 150.0, "cells_v": (5.0,) * 6,
    },
}  # fmt: skip


def hovering(t_s: float) -> Snapshot:
    """A pack in a hover, with the small changes of real values."""
    wave = math.sin(t_s)
    return look(t_s, 3.85 - 0.0005 * t_s - 0.002 * wave, 20.0 + 0.5 * wave)


def ten_a_second(at: Callable[[float], Snapshot]) -> Iterator[Snapshot]:
    return (at(k / 10) for k in range(950))


def once_a_second(at: Callable[[float], Snapshot]) -> Iterator[Snapshot]:
    return (at(float(t)) for t in range(95))


def slow_gauge(at: Callable[[float], Snapshot]) -> Iterator[Snapshot]:
    """Polls at 10 Hz of a gauge that measures once a second."""
    for k in range(950):
        measured = at(float(k // 10))
        yield replace(measured, t_s=k / 10, read_at_s=dict.fromkeys(measured.read_at_s, k / 10))


PACES = {"10 Hz": ten_a_second, "1 Hz": once_a_second, "1 Hz polled at 10 Hz": slow_gauge}


@cache
def undisturbed(pace: Pace) -> list[Report]:
    """Reports of the hover at a poll rate."""
    return watched(pace(hovering))


def events_of(reports: list[Report]) -> list[Event]:
    return [event for report in reports for event in report.status.events]


@pytest.mark.parametrize("values", ABSURD.values(), ids=ABSURD)
@pytest.mark.parametrize("pace", PACES.values(), ids=PACES)
def test_one_implausible_reading_trips_nothing_and_moves_no_estimate(
    pace: Pace, values: dict[str, object]
) -> None:
    def spiked(t_s: float) -> Snapshot:
        sound = hovering(t_s)
        if t_s != SPIKE_S:
            return sound
        bad = replace(sound, **values)  # type: ignore[arg-type]  # by name
        cells = zip(bad.cells_v, sound.cells_v, strict=True)
        return replace(bad, cells_v=tuple(b if b is not None else s for b, s in cells))

    calm, upset = undisturbed(pace), watched(pace(spiked))
    assert events_of(upset) == events_of(calm)
    for before, after in zip(calm, upset, strict=True):
        if before.estimate.remaining_s is None:
            assert after.estimate.remaining_s is None
            continue
        for name, share in SHARES.items():
            left_s = getattr(before.estimate, name)
            assert getattr(after.estimate, name) == pytest.approx(left_s, rel=share, abs=1.0)
        assert after.estimate.soc_pct == pytest.approx(before.estimate.soc_pct, abs=0.3)
        assert after.estimate.max_discharge_a == pytest.approx(
            before.estimate.max_discharge_a, rel=0.05
        )


def test_an_implausible_first_reading_is_replaced_within_seconds() -> None:
    def begun_badly(t_s: float) -> Snapshot:
        return look(t_s, 0.6, 0.0) if t_s == 0 else hovering(t_s)

    for pace in (ten_a_second, once_a_second, slow_gauge):
        calm, upset = undisturbed(pace), watched(pace(begun_badly))
        named = {event.limit_id for event in events_of(calm)}
        assert {event.limit_id for event in events_of(upset)} <= named
        for before, after in zip(calm, upset, strict=True):
            if after.t_s > 5.0:
                assert after.estimate.soc_pct == pytest.approx(before.estimate.soc_pct, abs=5.0)


def test_plausible_changes_pass_unchanged() -> None:
    check = PlausibilityCheck()
    for snapshot in ten_a_second(hovering):
        assert check.check(snapshot, FACTS) == snapshot


def test_a_take_off_and_a_landing_are_plausible() -> None:
    check = PlausibilityCheck()
    for k, current_a in enumerate((0.3, 0.3, 180.0, 60.0, 100.0, 0.3)):
        step = look(k / 10, 4.1 - 0.002 * current_a, current_a)
        assert check.check(step, FACTS) == step


@pytest.mark.parametrize(("steps_s", "by_s"), [(0.1, 1.05), (1.0, 1.0), (11.0, 11.0)])
def test_a_collapse_that_lasts_is_accepted_within_one_update_of_a_slow_gauge(
    steps_s: float, by_s: float
) -> None:
    check = PlausibilityCheck()
    times_s = [k * steps_s for k in range(40)]
    fell_s = times_s[20]
    seen = [check.check(look(t_s, 3.8 if t_s < fell_s else 2.0, 0.5), FACTS) for t_s in times_s]
    first = next(snapshot for snapshot in seen if snapshot.voltage_v == 12.0)
    assert 0.9 < first.t_s - fell_s <= by_s + 1e-6
    assert first.cells_v == (2.0,) * 6
    assert all(snapshot.voltage_v == 12.0 for snapshot in seen if snapshot.t_s >= first.t_s)


def test_changing_implausible_readings_do_not_hold_an_old_one() -> None:
    check = PlausibilityCheck()
    wild_v = (3.8, 1.0, 5.0, 0.6, 4.9, 1.1, 5.0, 0.5, 4.8, 1.3, 5.0, 0.9, 4.7)
    seen = [check.check(look(k / 5, cell_v), FACTS).cells_v[0] for k, cell_v in enumerate(wild_v)]
    assert seen[:6] == [3.8] * 6
    assert seen[6:] != [3.8] * 7


def test_after_a_silence_no_earlier_value_is_used() -> None:
    check = PlausibilityCheck()
    for snapshot in (look(0.0), look(0.1), Snapshot(3.0, cells_v=(None,) * 6)):
        check.check(snapshot, FACTS)
    back = look(3.1, 2.5, 0.0)
    assert check.check(back, FACTS) == back


def test_another_pack_is_accepted_at_once() -> None:
    check = PlausibilityCheck()
    check.check(look(0.0, 3.3, identity=Identity(serial=1)), FACTS)
    full = look(0.1, 4.2, identity=Identity(serial=2))
    assert check.check(full, FACTS) == full


def test_a_thousand_amperes_are_rejected_for_a_pack_of_unknown_capacity() -> None:
    check = PlausibilityCheck()
    pack_data = PackData(LIPO)
    check.check(look(0.0), pack_data)
    assert check.check(look(0.1, current_a=1000.0), pack_data).current_a == 20.0


# ---------------------------------------------------------------------- a gauge that stands still


def stalled(t_s: float) -> Snapshot:
    return replace(hovering(min(t_s, 20.0)), t_s=t_s, read_at_s={"voltage_v": t_s})


def test_constant_values_under_load_are_unknown_after_half_a_minute() -> None:
    reports = watched(stalled(k / 10) for k in range(1501))
    for report in reports:
        still = report.t_s > 50.05
        assert (report.snapshot.voltage_v is None) is still
        assert (report.snapshot.current_a is None) is still
        assert report.snapshot.cells_v == (None,) * 6 or not still
    assert reports[-1].snapshot.trouble == "gauge readings frozen for 130 s"
    tripped = [event.limit_id for event in events_of(reports) if event.tripped]
    # In silence the 5 % bound falls twice as fast as the clock: it is low within two minutes.
    assert tripped == ["silent", "lost", "time_soon"]


def test_a_gauge_that_changes_again_is_accepted_again() -> None:
    def freed(t_s: float) -> Snapshot:
        return stalled(t_s) if t_s < 70.0 else hovering(t_s)

    reports = watched(freed(k / 10) for k in range(1000))
    assert reports[690].snapshot.voltage_v is None
    assert reports[700].snapshot.voltage_v == hovering(70.0).voltage_v
    assert reports[-1].status.active == ()
    assert reports[-1].estimate.remaining_s is not None


def test_constant_values_on_the_ground_are_accepted() -> None:
    reports = watched(look(float(t), 4.1, 0.4) for t in range(600))
    assert reports[-1].snapshot.voltage_v == pytest.approx(24.6)
    assert reports[-1].status.active == ()


def test_a_value_that_is_held_between_readings_is_not_frozen() -> None:
    held = (replace(look(float(t)), read_at_s={"voltage_v": t // 60 * 60.0}) for t in range(60))
    assert all(report.snapshot.voltage_v is not None for report in watched(held))


def test_a_step_of_the_temperature_does_not_delay_the_voltage() -> None:
    check = PlausibilityCheck()
    check.check(look(0.0), FACTS)
    hotter = check.check(look(0.5, temperature_degc=60.0), FACTS)
    assert hotter.temperature_degc == 25.0
    assert hotter.read_at_s["voltage_v"] == 0.5
    assert check.check(look(0.6, 2.0, temperature_degc=60.0), FACTS).read_at_s["voltage_v"] == 0.5


# ---------------------------------------------------------------------- voltages that stand still


def standing(t_s: float, *, cells: bool = True) -> Snapshot:
    """A hover whose voltages stand still from 20 s on, while the current goes on."""
    now, then = hovering(t_s), hovering(min(t_s, 20.0))
    gust_a = 3.0 * math.sin(t_s / 2.0)
    cells_v = then.cells_v if cells else ()
    return replace(
        now, voltage_v=then.voltage_v, cells_v=cells_v, current_a=(now.current_a or 0.0) + gust_a
    )


@pytest.mark.parametrize("cells", [True, False])
def test_voltages_that_stand_still_while_the_current_changes_are_unknown(*, cells: bool) -> None:
    reports = watched(standing(k / 10, cells=cells) for k in range(700))
    for report in reports:
        assert (report.snapshot.voltage_v is None) is (report.t_s > 50.05)
    assert reports[-1].snapshot.trouble == "gauge voltages frozen for 50 s"
    assert {"silent", "lost"} <= set(reports[-1].status.active)


def test_voltages_of_a_steady_load_may_stand_still() -> None:
    check = PlausibilityCheck()
    for k in range(900):  # 0.1 A moves a cell by less than it is read in
        steady = look(k / 10, 3.8, 20.0 + 0.05 * math.sin(k / 5.0))
        assert check.check(steady, FACTS).voltage_v is not None


def test_voltages_that_stand_still_count_from_the_last_unloaded_reading() -> None:
    check, seen = PlausibilityCheck(), []
    for k in range(800):
        t_s = k / 10
        snapshot = look(t_s, 3.8, 0.3 if t_s < 30.0 else 20.0 + 5.0 * math.sin(t_s))
        seen.append(check.check(snapshot, FACTS).voltage_v is None)
    assert seen.index(True) == 601


def test_an_absence_of_the_loop_is_no_standstill_of_the_voltages() -> None:
    check = PlausibilityCheck()
    for k in range(400):
        check.check(standing(k / 10), FACTS)
    check.resume(20.0)
    assert check.check(standing(60.0), FACTS).voltage_v is not None


# ---------------------------------------------------------------------- a temperature that falls


def warm(t_s: float, degc: float | None) -> Snapshot:
    return replace(hovering(t_s), temperature_degc=degc)


@pytest.mark.parametrize(("from_degc", "to_degc"), [(25.0, -45.0), (65.0, -40.0), (40.0, 15.0)])
def test_a_sudden_fall_of_the_temperature_is_unknown_and_neither_trips_nor_clears(
    from_degc: float, to_degc: float
) -> None:
    reports = watched(warm(k / 2, from_degc if k < 120 else to_degc) for k in range(240))
    before = set(reports[119].status.active)
    assert ("hot_critical" in before) is (from_degc > 60.0)
    for report in reports[122:]:
        assert report.snapshot.temperature_degc is None
        assert report.snapshot.rejected == ("temperature_degc",)
    last = reports[-1]
    assert last.snapshot.doubts == (f"temperature {to_degc:.0f} degC rejected: a sudden fall",)
    assert len(last.snapshot.doubts[0]) <= 50
    predicted = {"time_soon", "time_low", "time_critical", "charge_low", "cell_low"}
    assert set(last.status.active) - predicted == before - predicted | {"blind", "implausible"}


def test_a_temperature_that_comes_back_is_known_again() -> None:
    check = PlausibilityCheck()
    for k in range(200):
        wrong = 40 <= k < 120
        seen = check.check(warm(k / 2, -45.0 if wrong else 25.0), FACTS)
        if k >= 124:
            assert (seen.temperature_degc, seen.doubts) == (25.0, ())


def test_a_pack_that_cools_in_the_cold_stays_known() -> None:
    check = PlausibilityCheck()
    for k in range(1800):  # from 50 to -10 degC with a time constant of 5 minutes
        degc = -10.0 + 60.0 * math.exp(-k / 300.0)
        assert check.check(warm(float(k), degc), FACTS).temperature_degc == degc


def test_no_rise_of_the_temperature_is_too_fast() -> None:
    check = PlausibilityCheck()
    check.check(warm(0.0, 25.0), FACTS)
    seen = [check.check(warm(1.0 + k / 10, 140.0), FACTS) for k in range(20)]
    assert seen[-1].temperature_degc == 140.0
    assert seen[-1].doubts == ()


def test_a_short_wrong_rise_does_not_hide_the_true_temperature_after_it() -> None:
    check = PlausibilityCheck()
    for k in range(400):
        wrong = 100 <= k < 140
        seen = check.check(warm(k / 2, 90.0 if wrong else 25.0), FACTS)
        if k >= 144:
            assert seen.temperature_degc == 25.0


# ---------------------------------------------------------------------- cells that are left out


def test_a_source_that_leaves_out_a_cell_gives_an_unknown_one() -> None:
    check = PlausibilityCheck()
    seen = check.check(replace(look(0.0), cells_v=(3.8,) * 5), FACTS)
    assert seen.cells_v == (*(3.8,) * 5, None)
    assert seen.voltage_v == pytest.approx(22.8)


@pytest.mark.parametrize(
    "values",
    [
        {"cells_v": ()},  # a power module
        {"cells_v": (3.8,) * 5, "voltage_v": 19.0},  # the configured number is wrong
        {"cells_v": (3.8,) * 5, "voltage_v": None},
        {"cells_v": (3.8,) * 7, "voltage_v": 26.6},
    ],
)
def test_no_cell_is_added_to_readings_that_leave_it_nothing(values: dict[str, object]) -> None:
    snapshot = replace(look(0.0), **values)  # type: ignore[arg-type]  # by name
    assert PlausibilityCheck().check(snapshot, FACTS).cells_v == values["cells_v"]


def test_without_a_cell_the_vehicle_gets_no_sum_of_the_others() -> None:
    def left_out(t_s: float) -> Snapshot:
        snapshot = hovering(t_s)
        return snapshot if t_s < 30.0 else replace(snapshot, cells_v=snapshot.cells_v[:5])

    reports = watched(left_out(k / 4) for k in range(200))
    voltages = battery_status(reports[-1]).voltages
    assert voltages[0] == pytest.approx(1000.0 * (hovering(49.75).voltage_v or 0.0), abs=2.0)
    assert set(voltages[1:]) == {0xFFFF}
    assert not {"pack_low", "implausible"} & set(reports[-1].status.active)
    assert "cell voltage missing" in reports[-1].preflight.text


@pytest.mark.parametrize("extra_v", [1.5, 3.8, 4.9])
@pytest.mark.parametrize("since_s", [0.0, 30.0])
def test_of_more_cells_than_the_pack_has_none_is_used_and_their_sum_is_no_voltage(
    extra_v: float, since_s: float
) -> None:
    def longer(t_s: float) -> Snapshot:
        snapshot = hovering(t_s)
        more = snapshot.cells_v if t_s < since_s else (*snapshot.cells_v, extra_v)
        return replace(snapshot, cells_v=more)

    reports = watched(longer(k / 4) for k in range(200))
    last = reports[-1]
    assert last.snapshot.voltage_v == hovering(49.75).voltage_v
    voltages = battery_status(last).voltages
    assert voltages[0] == pytest.approx(1000.0 * (hovering(49.75).voltage_v or 0.0), abs=2.0)
    assert last.snapshot.cells_v == (None,) * 6
    assert last.snapshot.doubts == ("7 cells read, not 6: rejected",)
    assert "contradiction" in last.status.active


@pytest.mark.parametrize("since_s", [0.0, 30.0])
@pytest.mark.parametrize("words_v", [(None,), (0.0,), (0.3, None), (0.0, 0.9)])
def test_a_word_beyond_the_last_cell_that_no_cell_has_is_none(
    words_v: tuple[float | None, ...], since_s: float
) -> None:
    def longer(t_s: float) -> Snapshot:
        more = words_v if t_s >= since_s else ()
        return replace(hovering(t_s), cells_v=(*hovering(t_s).cells_v, *more))

    reports = watched(longer(k / 4) for k in range(200))
    assert reports[-1].snapshot.cells_v == hovering(49.75).cells_v
    assert not {"cell_emergency", "cell_critical", "blind"} & set(reports[-1].status.active)


def test_more_cells_that_are_the_packs_stay() -> None:
    def seven(t_s: float) -> Snapshot:
        now = hovering(t_s)
        voltage_v = (now.voltage_v or 0.0) * 7 / 6
        return replace(now, cells_v=(*now.cells_v, now.cells_v[0]), voltage_v=voltage_v)

    reports = watched(seven(k / 4) for k in range(200))
    assert len(reports[-1].snapshot.cells_v) == 7
    assert reports[-1].snapshot.doubts == ()

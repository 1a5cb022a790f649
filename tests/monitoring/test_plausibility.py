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

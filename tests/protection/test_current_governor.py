# SPDX-License-Identifier: Apache-2.0
"""Current governor: allowed current, rates of the limit, and its floor."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dronebms.core.chemistry import CHEMISTRIES, LIPO, Chemistry
from dronebms.core.clock import VirtualClock
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Severity, Status
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.monitoring.pipeline import Pipeline
from dronebms.protection.alarms import Alarms
from dronebms.protection.current_governor import Governor, allowed_current, caps_of, limp_home_notes
from dronebms.protection.current_history import CurrentHistory
from dronebms.protection.limits import default_limits
from dronebms.protection.quantities import Quantities
from dronebms.protection.quantity_values import NOT_APPLICABLE, QuantityName, Value, Values
from sim.emulator.world import open_virtual
from smartbattery.gauge import Gauge
from tests.snapshots import FACTS, look

STEP_S = 0.1
NO = Estimate(0.0)
ROWS = default_limits(FACTS)
CAPS = caps_of(ROWS, FACTS)
CURRENTS = [row for row in ROWS if row.quantity.startswith(("current_", "heat"))]
STATED = replace(FACTS, limp_home_a=20.0)


def values_of(
    signals: Quantities, t_s: float, current_a: float | None, **changes: object
) -> Values:
    snapshot = replace(look(t_s, current_a=current_a), **changes)  # type: ignore[arg-type]  # by name
    return signals.update(snapshot, NO, UNKNOWN_VEHICLE)


# ---------------------------------------------------------------------- what may be drawn


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
@pytest.mark.parametrize("seed", [2])
def test_a_vehicle_within_the_allowed_current_trips_no_window(
    chemistry: Chemistry, seed: int
) -> None:
    pack_data = replace(FACTS, chemistry=chemistry)
    rows = default_limits(pack_data)
    caps, signals = caps_of(rows, pack_data), Quantities(pack_data)
    alarms = Alarms(
        [row for row in rows if row.quantity.startswith(("current_", "heat"))], pack_data
    )
    random, greed_a, drawn_a = np.random.default_rng(seed), 0.0, list[float]()
    for k in range(2000):
        if k % 37 == 0:
            greed_a = float(random.choice([0.2, 0.9, 1.2, 3.0, 20.0])) * caps.steady_a
        t_s = k * STEP_S
        current_a = drawn_a[-1] if drawn_a else 0.0
        values = values_of(signals, t_s, current_a)
        assert not alarms.update(look(t_s, current_a=current_a), NO).active
        values["loaded_a"] = max(current_a, caps.steady_a)  # as if the budgets were asked for
        allowed_a, _ = allowed_current(caps, signals.history, values, NO, t_s)
        assert allowed_a >= 0.8 * caps.steady_a - 1e-6
        drawn_a.append(min(greed_a, allowed_a))
    assert max(drawn_a) > 1.3 * caps.steady_a  # a burst is allowed while the budget is full
    assert np.mean(drawn_a[600:]) > 0.5 * caps.steady_a


def test_each_constraint_binds_where_it_is_the_least() -> None:
    signals = Quantities(FACTS)
    calm = values_of(signals, 0.0, 20.0)
    assert allowed_current(CAPS, CurrentHistory(), calm, NO, 0.0) == (float("inf"), "none")
    cells = replace(NO, max_discharge_a=80.0, max_discharge_30s_a=60.0)
    assert allowed_current(CAPS, CurrentHistory(), calm, cells, 0.0) == (60.0, "cell_critical")
    # The weakest cell at 3.5 V under 20 A, 30 mOhm of six cells: 5 mOhm each, 0.15 V of room.
    sagging = values_of(signals, 1.0, 20.0, cells_v=(3.5, 3.8, 3.8, 3.8, 3.8, 3.8))
    measured = replace(cells, resistance_ohm=0.030)
    sag_a, by = allowed_current(CAPS, CurrentHistory(), sagging, measured, 1.0)
    assert (sag_a, by) == (pytest.approx(20.0 + 0.15 / 0.005), "cell_sag")  # type: ignore[comparison-overlap]  # pytest's approx
    below = values_of(signals, 2.0, 20.0, cells_v=(3.0, 3.8, 3.8, 3.8, 3.8, 3.8))
    assert allowed_current(CAPS, CurrentHistory(), below, measured, 2.0) == (0.0, "cell_sag")
    half = values_of(signals, 3.0, 20.0, temperature_degc=55.0)  # from 50 to 60 degC
    half_a, by = allowed_current(CAPS, CurrentHistory(), half, NO, 3.0)
    assert (half_a, by) == (pytest.approx(CAPS.steady_a / 2), "hot_critical")  # type: ignore[comparison-overlap]  # pytest's approx
    too_hot = values_of(signals, 4.0, 20.0, temperature_degc=70.0)
    assert allowed_current(CAPS, CurrentHistory(), too_hot, NO, 4.0)[0] == 0.0


def test_an_unknown_quantity_does_not_bind() -> None:
    pack_data = PackData(LIPO)
    caps = caps_of(default_limits(pack_data), pack_data)
    assert caps.steady_a == float("inf")
    hot = values_of(Quantities(pack_data), 0.0, 20.0, temperature_degc=55.0, cells_v=())
    found = allowed_current(caps, CurrentHistory(), hot, replace(NO, resistance_ohm=0.03), 0.0)
    assert found == (float("inf"), "none")
    bare = caps_of([row for row in ROWS if row.limit_id == "current_60s"], FACTS)  # type: ignore[arg-type]  # any rows
    assert bare.heat is None
    signals = Quantities(FACTS)
    loaded = values_of(signals, 0.0, 60.0)
    assert allowed_current(bare, signals.history, loaded, NO, 0.0)[1] == "current_60s"
    silent = values_of(signals, 1.0, None)
    assert allowed_current(bare, signals.history, silent, NO, 1.0) == (float("inf"), "none")


# ---------------------------------------------------------------------- what is asked


def asking(
    allowed_a: float, load_a: Value, for_s: float, governor: Governor, limp_a: float | None
) -> list[tuple[float | None, str | None]]:
    values: Values = {"dt_s": STEP_S, "loaded_a": load_a, "current_2s_a": None}
    steps = round(for_s / STEP_S)
    return [governor.update((allowed_a, "cell_sag"), limp_a, values) for _ in range(steps)]


def test_there_is_no_limit_with_a_wide_margin_or_without_a_floor() -> None:
    assert set(asking(100.0, 50.0, 5.0, Governor(), 20.0)) == {(None, None)}
    assert set(asking(10.0, 50.0, 5.0, Governor(), None)) == {(None, None)}
    governor = Governor()
    assert asking(30.0, 50.0, 5.0, governor, 20.0)[-1][0] is not None
    assert asking(30.0, 50.0, STEP_S, governor, None) == [(None, None)]


def test_the_limit_falls_fast_from_the_present_current_and_rises_slowly() -> None:
    governor = Governor()
    down = [asked for asked, _ in asking(50.0, 80.0, 3.0, governor, 20.0)]
    steps = np.diff([80.0, *(a for a in down if a is not None)])
    assert down[0] == pytest.approx(80.0 * 0.95)
    assert min(steps) >= -0.05 * 80.0 - 1e-9
    assert down[-1] == 50.0
    assert down.index(50.0) * STEP_S < 1.2
    up = [asked for asked, _ in asking(80.0, 50.0, 6.0, governor, 20.0)]
    assert [b - a for a, b in pairwise(up) if a and b] == pytest.approx(
        [0.004 * a for a in up[:-1] if a]
    )


def test_the_limit_is_never_below_the_limp_home_current() -> None:
    asked = asking(5.0, 80.0, 10.0, Governor(), 41.0)
    assert min(a for a, _ in asked if a is not None) == 41.0
    assert asked[-1] == (41.0, "limp_home")


def test_the_limit_ends_after_a_wide_margin_and_stays_while_the_current_is_unknown() -> None:
    governor = Governor()
    asking(50.0, 80.0, 3.0, governor, 20.0)
    assert set(asking(50.0, None, 5.0, governor, 20.0)) == {(50.0, None)}
    gust = asking(50.0, 30.0, 9.0, governor, 20.0)
    assert None not in {asked for asked, _ in gust}
    assert asking(50.0, 48.0, 1.0, governor, 20.0)[-1][0] == 50.0  # it begins again
    landed = asking(50.0, NOT_APPLICABLE, 20.0, governor, 20.0)
    assert [asked is None for asked, _ in landed].index(True) == 100
    assert landed[-1] == (None, None)


# ---------------------------------------------------------------------- the floor


def test_the_floor_is_the_configured_one_or_a_tenth_above_the_mean_power_in_flight() -> None:
    values: Values = {"dt_s": STEP_S, "loaded_a": 40.0, "voltage_v": 24.0}
    governor = Governor()
    learned = [governor.limp_home_a(FACTS, values, UNKNOWN_VEHICLE) for _ in range(400)]
    assert learned[:298] == [None] * 298
    assert learned[-1] == pytest.approx(1.1 * 40.0)
    lower: Values = {**values, "voltage_v": 20.0, "loaded_a": None}
    assert governor.limp_home_a(FACTS, lower, UNKNOWN_VEHICLE) == pytest.approx(
        1.1 * 40.0
    )  # stands
    idle: Values = {**lower, "loaded_a": NOT_APPLICABLE}
    assert governor.limp_home_a(FACTS, idle, UNKNOWN_VEHICLE) == pytest.approx(
        1.1 * 40.0 * 24.0 / 20.0
    )
    stands_a = governor.limp_home_a(FACTS, {**values, "voltage_v": None}, UNKNOWN_VEHICLE)
    assert stands_a == pytest.approx(1.1 * 40.0 * 24.0 / 20.0)
    twice: Values = {**values, "loaded_a": 80.0}  # the load of a lost pack is not its own
    for _ in range(600):
        assert governor.limp_home_a(FACTS, twice, UNKNOWN_VEHICLE, learns=False) == stands_a
    assert governor.limp_home_a(STATED, values, UNKNOWN_VEHICLE) == 20.0
    sinking = VehicleState(climb_m_s=-1.0)
    for _ in range(600):
        governor.limp_home_a(FACTS, {**values, "loaded_a": 20.0}, sinking)
    assert governor.limp_home_a(FACTS, values, sinking) == pytest.approx(1.1 * 40.0)


def test_a_floor_that_has_to_be_learned_is_noted() -> None:
    assert limp_home_notes(STATED) == ()
    (note,) = limp_home_notes(FACTS)
    assert note == (
        "limp_home_a not set: will use 1.1 x mean flight power; "
        "current limiting inactive for the first 30 s of load"
    )


def evaluated(
    pack_data: PackData, current_a: float, most_a: float | None, steps: int
) -> list[Status]:
    alarms = Alarms(default_limits(pack_data), pack_data)
    estimate = replace(NO, max_discharge_a=most_a)
    return [
        alarms.update(look(k * STEP_S, 3.8, current_a), estimate, UNKNOWN_VEHICLE)
        for k in range(steps)
    ]


def test_a_pack_that_cannot_give_the_floor_is_critical_at_once_and_the_floor_stands() -> None:
    (status,) = evaluated(STATED, 30.0, 15.0, 1)
    assert "limp_home" in status.active
    assert status.severity >= Severity.CRITICAL
    assert status.asked_max_a is not None
    assert evaluated(STATED, 30.0, 15.0, 50)[-1].asked_max_a == 20.0
    assert not evaluated(STATED, 0.5, 15.0, 50)[-1].active  # on the ground
    assert not evaluated(STATED, 30.0, None, 50)[-1].active


@pytest.mark.parametrize(("scenario", "seed"), [("weak_cell", 1), ("cold_climb", 3)])
def test_the_limit_respects_its_rates_over_a_whole_flight(scenario: str, seed: int) -> None:
    clock = VirtualClock()
    bus, world = open_virtual(scenario, clock, seed)
    pack_data = world.pack_data()
    assert pack_data.capacity_mah is not None
    # A pack that is rated for less than the flight takes is asked for less all the time.
    cruise_c = 1.05 * 35.0 / pack_data.capacity_mah * 1000.0
    tight = replace(pack_data, continuous_c=cruise_c, burst_c=1.2 * cruise_c, limp_home_a=20.0)
    pipeline = Pipeline(Gauge(bus, cells=pack_data.cells), tight)
    asked: list[float | None] = []
    for step in range(int(min(world.duration_s, 400.0) / STEP_S)):
        clock.sleep_until(step * STEP_S)
        asked.append(pipeline.step(step * STEP_S, world.vehicle(step * STEP_S)).status.asked_max_a)
    both = [(a, b) for a, b in pairwise(asked) if a is not None and b is not None]
    assert len(both) > 300
    for before_a, after_a in both:
        assert 1.0 - 0.5 * STEP_S - 1e-9 <= after_a / before_a <= 1.0 + 0.04 * STEP_S + 1e-9
    assert sum((a is None) != (b is None) for a, b in pairwise(asked)) <= 12


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 90.0), st.floats(0.0, 90.0)), max_size=50))
def test_when_the_floor_is_above_what_the_pack_can_give_it_is_at_least_critical(
    steps: list[tuple[float, float]],
) -> None:
    alarms = Alarms(ROWS, STATED)
    for k, (current_a, most_a) in enumerate(steps):
        estimate = replace(NO, max_discharge_a=most_a)
        status = alarms.update(look(float(k), 3.8, current_a), estimate, UNKNOWN_VEHICLE)
        asked_a = status.asked_max_a
        assert asked_a is None or asked_a >= 20.0
        if asked_a is not None and most_a < 20.0 and current_a >= 0.75:
            assert status.severity >= Severity.CRITICAL


# ---------------------------------------------------------------------- the parts by arithmetic


def known(**values: Value) -> Values:
    """Quantities of a pack at rest, with other values."""
    names: tuple[QuantityName, ...] = (
        "lowest_cell_v",
        "loaded_a",
        "cells",
        "temperature_degc",
        "heat_a",
        "current_2s_a",
    )
    return {name: values.get(name) for name in names}


def least(
    values: Values, estimate: Estimate = NO, history: CurrentHistory | None = None
) -> tuple[float, str]:
    return allowed_current(CAPS, history or CurrentHistory(), values, estimate, 120.0)


def test_the_thresholds_are_those_of_the_mildest_tiers() -> None:
    rows = {row.limit_id: row for row in ROWS}
    assert CAPS.windows == {
        "current_2s_a": ("current_2s", rows["current_2s"].trip),
        "current_10s_a": ("current_10s", rows["current_10s"].trip),
        "current_60s_a": ("current_60s", rows["current_60s"].trip),
    }
    assert CAPS.heat == ("heat", rows["heat"].trip)
    steady_a = min(rows[one].trip for one in ("current_2s", "current_10s", "current_60s", "heat"))
    assert pytest.approx(0.97 * steady_a) == CAPS.steady_a
    assert (CAPS.warm_degc, CAPS.hot_degc) == (
        rows["hot"].trip,
        rows["hot_critical"].trip,
    )
    assert CAPS.cutoff_v == 3.3
    bare = caps_of((), FACTS)
    assert (bare.windows, bare.heat, bare.steady_a) == ({}, None, float("inf"))
    assert (bare.warm_degc, bare.hot_degc) == (float("inf"), float("inf"))


def test_the_weakest_cell_is_held_a_little_above_the_cut_off() -> None:
    ohm = Estimate(0.0, resistance_ohm=0.03)
    sag = known(lowest_cell_v=3.6, loaded_a=20.0, cells=6.0)
    # 0.25 V above 3.35 V, six cells, 30 mohm.
    assert least(sag, ohm)[1] == "cell_sag"
    assert least(sag, ohm)[0] == pytest.approx(20.0 + 0.25 * 6 / 0.03)
    low = known(lowest_cell_v=3.25, loaded_a=20.0, cells=6.0)
    assert least(low, ohm)[0] == pytest.approx(20.0 - 0.1 * 6 / 0.03)
    assert least(known(lowest_cell_v=3.0, loaded_a=20.0, cells=6.0), ohm) == (0.0, "cell_sag")
    unknown_values: tuple[tuple[QuantityName, float | None], ...] = (
        ("lowest_cell_v", None),
        ("loaded_a", None),
        ("cells", 0.0),
    )
    for name, value in unknown_values:
        assert least({**sag, name: value}, ohm) == (float("inf"), "none")
    for unknown in (None, 0.0):
        assert least(sag, Estimate(0.0, resistance_ohm=unknown)) == (float("inf"), "none")
    idle: Values = {**sag, "loaded_a": NOT_APPLICABLE}
    assert least(idle, ohm) == (float("inf"), "none")


def test_a_warm_pack_may_give_less_until_nothing() -> None:
    for degc, share in (
        (CAPS.warm_degc, None), (CAPS.warm_degc - 1.0, None), (CAPS.warm_degc + 5.0, 0.5),
        (CAPS.warm_degc + 8.0, 0.2), (CAPS.hot_degc, 0.0), (CAPS.hot_degc + 9.0, 0.0),
    ):  # fmt: skip
        found = least(known(temperature_degc=degc))
        if share is None:
            assert found == (float("inf"), "none")
        else:
            assert found[1] == "hot_critical"
            assert found[0] == pytest.approx(share * CAPS.steady_a)
    assert CAPS.hot_degc - CAPS.warm_degc == 10.0


def test_what_the_estimate_gives_is_the_least_of_both_times() -> None:
    for now_a, later_a, expected_a in ((50.0, 40.0, 40.0), (30.0, 40.0, 30.0), (None, 9.0, 9.0)):
        estimate = Estimate(0.0, max_discharge_a=now_a, max_discharge_30s_a=later_a)
        assert least(known(), estimate) == (expected_a, "cell_critical")


def test_windows_are_budgeted_once_the_load_comes_near_the_steady_current() -> None:
    history = CurrentHistory()
    for second in range(121):
        history.add(float(second), 2.0 * CAPS.steady_a)
    near_a = 0.8 * CAPS.steady_a / 1.15
    assert least(known(loaded_a=0.999 * near_a), history=history) == (float("inf"), "none")
    amps, limit_id = least(known(loaded_a=1.001 * near_a), history=history)
    # After two minutes of twice the steady current nothing more is left than what must remain.
    assert amps == pytest.approx(0.8 * CAPS.steady_a)
    assert limit_id in {one for one, _ in CAPS.windows.values()}


def test_the_heat_leaves_what_two_seconds_may_add() -> None:
    assert CAPS.heat is not None
    trip_a = CAPS.heat[1]
    cool = math.exp(-2.0 / 120.0)
    for heat_a in (0.0, 0.5 * trip_a, 0.96 * trip_a):
        room_a2 = ((0.97 * trip_a) ** 2 - heat_a**2 * cool) / (1.0 - cool)
        expected_a = math.sqrt(max(room_a2, (0.8 * CAPS.steady_a) ** 2))
        caps = replace(CAPS, windows={})
        values = known(loaded_a=CAPS.steady_a, heat_a=heat_a)
        found = allowed_current(caps, CurrentHistory(), values, NO, 120.0)
        assert found[1] == "heat"
        assert found[0] == pytest.approx(expected_a)


@pytest.mark.parametrize(("target_a", "limits"), [(57.51, False), (57.49, True)])
def test_a_limit_begins_within_15_percent_of_the_present_current(
    target_a: float, *, limits: bool
) -> None:
    ((asked, by),) = asking(target_a, 50.0, STEP_S, Governor(), 20.0)
    assert (asked is not None) == limits
    assert by == ("cell_sag" if limits else None)


@pytest.mark.parametrize(("load_a", "released"), [(35.70, True), (35.73, False)])
def test_a_limit_ends_after_ten_seconds_40_percent_above_the_current(
    load_a: float, *, released: bool
) -> None:
    governor = Governor()
    asking(50.0, 80.0, 3.0, governor, 20.0)
    found = [asked for asked, _ in asking(50.0, load_a, 12.0, governor, 20.0)]
    assert (None in found) == released
    assert not released or found.index(None) * STEP_S == pytest.approx(10.0, abs=0.11)


def test_the_present_current_is_the_larger_of_now_and_of_two_seconds() -> None:
    for now_a, mean_a, limits in (
        (50.0, None, True),
        (20.0, 50.0, True),
        (20.0, 30.0, False),
        (20.0, None, False),
    ):
        values: Values = {"dt_s": STEP_S, "loaded_a": now_a, "current_2s_a": mean_a}
        asked, _ = Governor().update((55.0, "cell_sag"), 10.0, values)
        assert (asked is not None) == limits
    # Of a vehicle that draws less than an ampere, too.
    values = {"dt_s": STEP_S, "loaded_a": 0.5, "current_2s_a": None}
    assert Governor().update((0.55, "cell_sag"), 0.1, values)[0] == pytest.approx(0.55)


def test_the_power_of_a_flight_is_learned_with_two_minutes_after_thirty_seconds() -> None:
    governor = Governor()
    values: Values = {"dt_s": 1.0, "loaded_a": 40.0, "voltage_v": 20.0}
    learned = [governor.limp_home_a(FACTS, values, UNKNOWN_VEHICLE) for _ in range(30)]
    assert learned[:29] == [None] * 29
    assert learned[29] == pytest.approx(44.0)
    for _ in range(300):
        governor.limp_home_a(FACTS, values, UNKNOWN_VEHICLE)
    heavier: Values = {**values, "loaded_a": 60.0}
    after_s = [governor.limp_home_a(FACTS, heavier, UNKNOWN_VEHICLE) for _ in range(120)]
    assert after_s[0] == pytest.approx(1.1 * (40.0 + 20.0 / 120.0), rel=1e-3)
    assert after_s[-1] == pytest.approx(1.1 * (60.0 - 20.0 * (1.0 - 1 / 120) ** 120), rel=1e-3)
    for climb_m_s, learns in ((-0.5, False), (-0.49, True), (None, True), (2.0, True)):
        before = governor.state().flown_s
        governor.limp_home_a(FACTS, values, VehicleState(climb_m_s=climb_m_s))
        assert (governor.state().flown_s > before) == learns

# SPDX-License-Identifier: Apache-2.0
"""Time to trip of single limits against arithmetic, and which of them is named next."""

import math

import pytest

from dronebms.core.report import Estimate, Severity
from dronebms.protection.current_history import CurrentHistory
from dronebms.protection.limits import Limit, default_limits
from dronebms.protection.quantity_values import Values
from dronebms.protection.time_to_trip import NextTrip, TimeToTrip, TrendState
from tests.snapshots import FACTS

ROWS = {row.limit_id: row for row in default_limits(FACTS)}
NONE = CurrentHistory()
NO = Estimate(0.0)


def only(*limit_ids: str) -> TimeToTrip:
    return TimeToTrip([ROWS[one] for one in limit_ids], FACTS)


def after(
    trips: TimeToTrip,
    rows: list[tuple[float, Values]],
    estimate: Estimate = NO,
    history: CurrentHistory = NONE,
) -> NextTrip:
    found = NextTrip(None, None, {})
    for now_s, values in rows:
        found = trips.update(values, history, estimate, now_s, {})
    return found


def test_a_trend_is_smoothed_with_twenty_seconds() -> None:
    trend = TrendState(0.0, 10.0).after(20.0, 30.0)
    assert trend == TrendState(20.0, 20.0, 0.25)  # half of the step; half of its rate
    same = TrendState(0.0, 10.0).after(5.0, 10.0)
    assert (same.value, same.per_s) == (10.0, 0.0)
    line = TrendState(0.0, 0.0)
    for second in range(1, 600):
        line = line.after(float(second), 0.5 * second)
    assert line.per_s == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("limit_id", "start", "per_s"),
    [
        ("hot_critical", 30.0, 0.05),
        ("hot_emergency", 30.0, 0.05),
        ("cell_sag", 4.0, -0.001),
        ("cell_critical", 4.0, -0.001),
        ("cold", 20.0, -0.05),
    ],
)
def test_a_steady_trend_trips_when_the_line_meets_the_threshold(
    limit_id: str, start: float, per_s: float
) -> None:
    row = ROWS[limit_id]
    steps = [(float(s), {row.quantity: start + per_s * s}) for s in range(300)]
    found = after(only(limit_id), steps)  # type: ignore[arg-type]  # of floats
    expected_s = (row.trip - steps[-1][1][row.quantity]) / per_s + row.hold_s
    assert found.trips_in_s[limit_id] == pytest.approx(expected_s, rel=0.01)
    if row.severity >= Severity.WARNING:
        assert (found.limit_id, found.in_s) == (limit_id, found.trips_in_s[limit_id])
    away = after(
        only(limit_id), [(t_s, {row.quantity: 2 * start - v[row.quantity]}) for t_s, v in steps]
    )
    assert away == NextTrip(None, None, {})
    still = after(only(limit_id), [(t_s, {row.quantity: start}) for t_s, _ in steps])
    assert still == NextTrip(None, None, {})


def test_the_times_are_computed_once_a_second_and_run_down_between() -> None:
    trips = only("time_low")
    first = trips.update({"remaining_s": 200.0}, NONE, NO, 10.0, {})
    hold_s = ROWS["time_low"].hold_s
    assert (first.limit_id, first.in_s) == ("time_low", 80.0 + hold_s)
    later = trips.update({"remaining_s": 500.0}, NONE, NO, 10.9, {})
    assert later.in_s == pytest.approx(80.0 + hold_s - 0.9)
    assert trips.update({"remaining_s": 500.0}, NONE, NO, 11.0, {}).in_s == 380.0 + hold_s


@pytest.mark.parametrize(("remaining_s", "in_s"), [(3714.9, 3599.9), (3715.1, None)])
def test_a_limit_an_hour_away_binds_nothing(remaining_s: float, in_s: float | None) -> None:
    found = after(only("time_low"), [(0.0, {"remaining_s": remaining_s})])
    assert found.in_s == (None if in_s is None else pytest.approx(in_s))
    assert (found.limit_id is not None) == (in_s is not None)
    assert ("time_low" in found.trips_in_s) == (in_s is not None)


def test_a_note_is_on_its_way_and_does_not_bind() -> None:
    found = after(only("time_soon"), [(0.0, {"remaining_low_s": 200.0})])
    assert found.trips_in_s == {"time_soon": 80.0 + ROWS["time_soon"].hold_s}
    assert (found.limit_id, found.in_s) == (None, None)


def test_the_nearest_of_several_binds_and_one_in_its_hold_time_before_it() -> None:
    trips = only("time_low", "time_critical")
    values: Values = {"remaining_s": 200.0}
    found = trips.update(values, NONE, NO, 0.0, {})
    assert found.limit_id == "time_low"
    assert found.trips_in_s.keys() == {"time_low", "time_critical"}
    held = trips.update(values, NONE, NO, 0.5, {"hot": 3.0})
    assert (held.limit_id, held.in_s) == ("hot", 3.0)
    later = trips.update(values, NONE, NO, 0.6, {"hot": math.inf})
    assert later.limit_id == "time_low"


def test_an_exceeded_or_unknown_quantity_has_no_time() -> None:
    for value in (100.0, None):
        found = after(only("time_low"), [(0.0, {"remaining_s": value})])
        assert found == NextTrip(None, None, {})


def constant(current_a: float, seconds: int) -> CurrentHistory:
    history = CurrentHistory()
    for second in range(seconds + 1):
        history.add(float(second), current_a)
    return history


@pytest.mark.parametrize(
    ("limit_id", "span_s"), [("current_10s", 10.0), ("current_60s", 60.0), ("current_2s", 2.0)]
)
@pytest.mark.parametrize("factor", [1.01, 1.2, 2.0])
def test_a_window_trips_when_the_load_has_filled_it(
    limit_id: str, span_s: float, factor: float
) -> None:
    row = ROWS[limit_id]
    history, load_a = constant(0.0, 120), row.trip * factor
    values: Values = {row.quantity: 0.0, "loaded_a": load_a}
    found = after(only(limit_id), [(120.0, values)], history=history)
    assert found.trips_in_s[limit_id] == pytest.approx(span_s / factor, rel=1e-6)
    below: Values = {row.quantity: 0.0, "loaded_a": row.trip}
    assert after(only(limit_id), [(120.0, below)], history=history).trips_in_s == {}


@pytest.mark.parametrize("factor", [1.1, 1.5])
def test_the_heat_trips_after_the_time_of_a_first_order_body(factor: float) -> None:
    row = ROWS["heat"]
    load_a, now_a = row.trip * factor, row.trip / 2
    values: Values = {"heat_a": now_a, "loaded_a": load_a}
    found = after(only("heat"), [(0.0, values)])
    expected_s = 120.0 * math.log((load_a**2 - now_a**2) / (load_a**2 - row.trip**2))
    assert found.trips_in_s["heat"] == pytest.approx(expected_s)
    unknown: Values = {"heat_a": now_a, "loaded_a": None}
    assert after(only("heat"), [(0.0, unknown)]).trips_in_s == {}


def test_under_load_the_limit_that_is_nearest_by_its_share_is_named() -> None:
    trips = only("cell_critical", "charge_critical", "hot_critical")
    near: Values = {
        "lowest_cell_v": 3.4,
        "soc_pct": 60.0,
        "loaded_a": 20.0,
        "temperature_degc": 59.9,
    }
    assert after(trips, [(0.0, near)]) == NextTrip("cell_critical", None, {})
    other: Values = {**near, "lowest_cell_v": 4.2, "soc_pct": 8.0}
    assert (
        after(only("cell_critical", "charge_critical"), [(0.0, other)]).limit_id
        == "charge_critical"
    )
    resting: Values = {**near, "loaded_a": 0.0}
    assert after(only("cell_critical"), [(0.0, resting)]).limit_id is None
    unknown: Values = {**near, "loaded_a": None}
    assert after(only("cell_critical"), [(0.0, unknown)]).limit_id is None


FALLING: list[tuple[float, Values]] = [
    (float(s), {"lowest_cell_v": 4.0 - 0.002 * s, "loaded_a": 20.0}) for s in range(100)
]


@pytest.mark.parametrize("low_s", [100.0, 1000.0])
def test_no_trend_of_a_voltage_trips_before_the_estimate_has_its_share(low_s: float) -> None:
    row = ROWS["cell_sag"]
    alone = after(only("cell_sag"), FALLING).trips_in_s["cell_sag"]
    bounded = after(only("cell_sag"), FALLING, Estimate(0.0, remaining_low_s=low_s))
    now_v = 4.0 - 0.002 * 99
    share = (now_v - row.trip) / (now_v - FACTS.cutoff_v)
    assert bounded.trips_in_s["cell_sag"] == pytest.approx(max(alone, low_s * share))


@pytest.mark.parametrize(
    ("limit_id", "turn_back_in_s", "trips_in_s"),
    [
        ("home_turn", None, None),
        ("home_turn", 50.0, 55.0),
        ("home_now", None, None),
        ("home_now", 50.0, 65.0),  # by its own trend, later than the way home
        ("home_now", 90.0, 95.0),
    ],
)
def test_the_way_home_is_no_sooner_than_the_estimate_has_it(
    limit_id: str, turn_back_in_s: float | None, trips_in_s: float | None
) -> None:
    row = ROWS[limit_id]
    steps: list[tuple[float, Values]] = [(float(s), {row.quantity: 660.0 - s}) for s in range(601)]
    found = after(only(limit_id), steps, Estimate(0.0, turn_back_in_s=turn_back_in_s))
    expected = None if trips_in_s is None else pytest.approx(trips_in_s, abs=0.01)
    assert found.trips_in_s.get(limit_id) == expected


def test_limits_that_count_have_no_trend() -> None:
    rows = [
        row
        for row in ROWS.values()
        if row.quantity
        in ("silence_s", "blind_s", "doubts", "mismatches", "alternates", "mission_risk")
    ]
    assert len(rows) >= 7
    trips = TimeToTrip(rows, FACTS)
    steps: list[tuple[float, Values]] = [
        (float(s), {row.quantity: 0.001 * s for row in rows}) for s in range(60)
    ]
    assert after(trips, steps) == NextTrip(None, None, {})


def test_a_later_run_goes_on_with_the_trends() -> None:
    row: Limit = ROWS["cell_sag"]
    trips = only("cell_sag")
    after(trips, FALLING)
    again = TimeToTrip([row], FACTS, trips.state())
    one, other = (
        after(x, [(100.0, {"lowest_cell_v": 3.8, "loaded_a": 20.0})]) for x in (trips, again)
    )
    assert one == other
    assert one.trips_in_s


def test_a_limit_that_a_trend_reaches_within_a_second_is_on_its_way() -> None:
    row = ROWS["hot_critical"]
    steps: list[tuple[float, Values]] = [
        (float(s), {"temperature_degc": row.trip - 0.02 - 0.1 * (200 - s)}) for s in range(201)
    ]
    found = after(only("hot_critical"), steps)
    assert found.trips_in_s["hot_critical"] == pytest.approx(0.2 + row.hold_s, abs=0.05)

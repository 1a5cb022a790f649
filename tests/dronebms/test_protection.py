"""The judge: when each row of the table trips and clears, to the sample, and what is said of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dronebms.battery import BatteryFacts
from dronebms.chemistry import CHEMISTRIES
from dronebms.estimator import Estimate
from dronebms.limits import Limit, Severity, default_limits
from dronebms.protection import QUANTITIES, Event, Judge, Status
from smartbattery.snapshot import Snapshot
from tests.looks import FACTS, look, watched

STEP_S = 0.1
SPANS_S = {"current_2s_a": 2.0, "current_10s_a": 10.0, "current_60s_a": 60.0}
WARM_S = 61.0  # until the longest window is known
BOTH = [
    (chemistry.name, row)
    for chemistry in CHEMISTRIES
    for row in default_limits(BatteryFacts(chemistry, cells=6, capacity_mah=5000.0))
]
HELD = [(name, row) for name, row in BOTH if row.what in QUANTITIES]
WINDOWED = [(name, row) for name, row in BOTH if row.what in SPANS_S]
LIPO_ROWS = default_limits(FACTS)
LIPO_HELD = [row for row in LIPO_ROWS if row.what in QUANTITIES]
COUNTED = {"doubts"}  # whole numbers: there is nothing between tripping and clearing
LIPO_WINDOWED = [row for row in LIPO_ROWS if row.what in SPANS_S]


def named(value: object) -> str:
    return value.limit_id if isinstance(value, Limit) else str(value)


def showing(what: str, value: float | None, t_s: float) -> tuple[Snapshot, Estimate]:
    """Return a healthy pack at a time, but for one quantity."""
    snapshot, estimate = look(t_s), Estimate(t_s)
    cell_v = {"lowest_cell_v": value, "highest_cell_v": value}
    if what in cell_v:
        return replace(snapshot, cells_v=(None, cell_v[what])), estimate
    if what in {"soc_pct", "remaining_s", "remaining_low_s"}:
        return snapshot, replace(estimate, **{what: value})  # type: ignore[arg-type]  # by name
    if what == "doubts":
        if value is None:
            return replace(snapshot, voltage_v=None), estimate
        return replace(snapshot, doubts=("of something",) * int(value)), estimate
    field = "current_a" if what in SPANS_S else what
    return replace(snapshot, **{field: value}), estimate  # type: ignore[arg-type]  # by name


@dataclass
class Run:
    """One judge, stepped at 10 Hz."""

    judge: Judge
    what: str
    t_s: float = 1000.05

    def hold(self, value: float | None, for_s: float) -> list[Status]:
        """Show a value for some time."""
        statuses = []
        for _ in range(round(for_s / STEP_S)):
            statuses.append(self.judge.update(*showing(self.what, value, self.t_s)))
            self.t_s += STEP_S
        return statuses

    def until(
        self, value: float | None, done: Callable[[Status], bool], at_most_s: float = 100.0
    ) -> tuple[float, Status]:
        """Show a value until something is so; return how long it took, and the status."""
        start_s = self.t_s
        while self.t_s - start_s < at_most_s:
            (status,) = self.hold(value, STEP_S)
            if done(status):
                return status.t_s - start_s, status
        pytest.fail(f"not in {at_most_s} s")


def run_of(row: Limit) -> Run:
    return Run(Judge([row]), row.what)


def trips(status: Status) -> bool:
    return bool(status.active)


def clears(status: Status) -> bool:
    return not status.active


def good(row: Limit) -> float:
    """Return a value well on the good side."""
    return row.clear - 1.0 if row.rising else row.clear + 1.0


def nearly(row: Limit) -> float:
    """Return a value that is neither beyond nor recovered."""
    return (row.trip + row.clear) / 2


def on_time(took_s: float, due_s: float) -> bool:
    """Return whether it came at the first sample at or after the moment, and not before."""
    return due_s - 1e-6 <= took_s < due_s + STEP_S


# ---------------------------------------------------------------------- every row


@pytest.mark.parametrize(("chemistry", "row"), HELD, ids=named)
def test_a_row_trips_after_its_hold_time_and_clears_after_its_clear_time(
    chemistry: str, row: Limit
) -> None:
    run = run_of(row)
    assert not any(map(trips, run.hold(good(row), 5.0))), chemistry
    took_s, status = run.until(row.trip, trips)
    assert on_time(took_s, row.hold_s)
    assert status.active == (row.limit_id,)
    assert status.severity is row.severity
    assert status.fault_bits == row.fault_bits
    if row.what not in COUNTED:
        assert not any(map(clears, run.hold(nearly(row), 5.0)))
    took_s, status = run.until(row.clear, clears)
    assert on_time(took_s, row.clear_s)
    assert (status.severity, status.fault_bits) == (Severity.OK, 0)


@pytest.mark.parametrize(("chemistry", "row"), WINDOWED, ids=named)
def test_a_current_step_trips_and_clears_when_the_mean_of_the_window_says_so(
    chemistry: str, row: Limit
) -> None:
    span_s, step_a = SPANS_S[row.what], 1.7 * row.trip
    run = run_of(row)
    assert not any(map(trips, run.hold(0.0, WARM_S))), chemistry
    took_s, _ = run.until(step_a, trips)
    # A sample stands for the time since the one before: the step began one sample earlier.
    assert on_time(took_s + STEP_S, span_s / 1.7)
    run.hold(step_a, span_s)
    took_s, _ = run.until(0.0, clears)
    mean_is_clear_s = span_s * (1.0 - row.clear / step_a)
    assert on_time(took_s + STEP_S, mean_is_clear_s + row.clear_s)


@pytest.mark.parametrize("row", LIPO_WINDOWED, ids=named)
def test_a_window_knows_nothing_until_it_has_been_heard(row: Limit) -> None:
    run = run_of(row)
    took_s, _ = run.until(row.trip, trips)
    assert on_time(took_s, SPANS_S[row.what])
    run.hold(0.0, 2 * WARM_S)
    run.hold(None, STEP_S)  # one unknown sample, and the mean is not known either
    took_s, _ = run.until(10 * row.trip, trips)
    assert on_time(took_s, SPANS_S[row.what])


@pytest.mark.parametrize("row", LIPO_HELD, ids=named)
def test_one_bad_sample_trips_nothing(row: Limit) -> None:
    run = run_of(row)
    run.hold(good(row), WARM_S)
    worst = 1000.0 if row.rising else -1000.0  # no register says more
    for _ in range(3):
        (bad,) = run.hold(worst, STEP_S)
        assert not [s for s in (bad, *run.hold(good(row), 12.0)) if s.active]


@pytest.mark.parametrize("row", LIPO_HELD, ids=named)
def test_unknown_neither_trips_nor_clears(row: Limit) -> None:
    run = run_of(row)
    assert not any(map(trips, run.hold(None, 100.0)))
    run.hold(row.trip, row.hold_s + 1.0)
    assert all(map(trips, run.hold(None, 100.0)))
    assert all(map(trips, run.hold(row.clear, row.clear_s - 0.2)))


@pytest.mark.parametrize("row", [row for row in LIPO_HELD if row.what not in COUNTED], ids=named)
def test_a_good_sample_in_between_starts_the_hold_time_again(row: Limit) -> None:
    run = run_of(row)
    for _ in range(4):
        assert not any(map(trips, run.hold(row.trip, row.hold_s)))
        run.hold(nearly(row), STEP_S)
    run.hold(row.trip, row.hold_s + 1.0)
    for _ in range(4):
        assert not any(map(clears, run.hold(row.clear, row.clear_s)))
        run.hold(nearly(row), STEP_S)


@pytest.mark.parametrize(("chemistry", "row"), [*HELD, *WINDOWED], ids=named)
def test_there_is_one_event_each_way_with_a_sentence_that_has_the_value(
    chemistry: str, row: Limit
) -> None:
    run = run_of(row)
    step = 1.7 * row.trip if row.what in SPANS_S else row.trip
    statuses = run.hold(good(row), WARM_S) + run.hold(step, 70.0)
    statuses += run.hold(0.0 if row.what in SPANS_S else row.clear, 110.0)
    events = [event for status in statuses for event in status.events]
    assert [(event.limit_id, event.tripped) for event in events] == [
        (row.limit_id, True),
        (row.limit_id, False),
    ], chemistry
    for event, status in zip(events, [s for s in statuses if s.events], strict=True):
        assert event.t_s == status.t_s
        assert event.severity is row.severity
        assert "{" not in event.text
    assert shown(row.trip, row) in events[0].text or row.what in SPANS_S
    assert events[1].text.startswith(f"{row.limit_id} is over: ")
    assert shown(row.clear, row) in events[1].text or row.what in SPANS_S


def shown(value: float, row: Limit) -> str:
    decimals = {"lowest_cell_v": 2, "highest_cell_v": 2, "voltage_v": 1}.get(row.what, 0)
    return f"{value:.{decimals}f} "


# ---------------------------------------------------------------------- silence


def silent_look(t_s: float, heard_s: float | None) -> Snapshot:
    return Snapshot(t_s, read_at_s={} if heard_s is None else {"voltage_v": heard_s})


def test_silence_counts_from_the_start_when_nothing_was_ever_heard() -> None:
    judge = Judge(LIPO_ROWS)
    events = silence_events(judge, (500.0 + k * STEP_S for k in range(200)), None)
    assert [(event.limit_id, round(event.t_s, 1)) for event in events] == [
        ("silent", 503.0),
        ("lost", 510.0),
    ]
    assert events[1].text == "the gauge has been silent for 10 s"


def silence_events(judge: Judge, times_s: Iterable[float], heard_s: float | None) -> list[Event]:
    statuses = [judge.update(silent_look(t_s, heard_s), Estimate(t_s)) for t_s in times_s]
    return [event for status in statuses for event in status.events]


def test_silence_counts_from_the_last_value_and_ends_two_seconds_after_it_is_back() -> None:
    judge = Judge(LIPO_ROWS)
    judge.update(look(10.0), Estimate(10.0))
    # The value has held for two seconds before it was too old.
    events = silence_events(judge, (12.0 + k * STEP_S for k in range(120)), 10.0)
    assert [(event.limit_id, round(event.t_s, 1)) for event in events] == [
        ("silent", 13.0),
        ("lost", 20.0),
    ]
    back = [judge.update(look(24.0 + k * STEP_S), Estimate(24.0)) for k in range(40)]
    cleared = [(event.limit_id, event.tripped) for s in back for event in s.events]
    assert cleared == [("silent", False), ("lost", False)]
    assert [s.t_s for s in back if s.events] == pytest.approx([26.0], abs=0.01)


def test_one_value_among_silence_is_no_end_of_it() -> None:
    judge = Judge(LIPO_ROWS)
    silence_events(judge, (k * STEP_S for k in range(50)), None)
    assert judge.update(look(5.0), Estimate(5.0)).active == ("silent",)
    status = judge.update(silent_look(9.0, 5.0), Estimate(9.0))
    assert status.active == ("silent",)


def test_a_log_of_one_sample_in_half_a_minute_is_not_silent_while_its_values_hold() -> None:
    judge = Judge(LIPO_ROWS)
    held = [replace(look(float(t)), read_at_s={"voltage_v": 0.0}) for t in range(31)]
    assert not any(judge.update(snapshot, Estimate(snapshot.t_s)).active for snapshot in held)


# ---------------------------------------------------------------------- several at once


def test_the_worst_stands_first_and_the_faults_add_up() -> None:
    statuses = [
        judged.status
        for judged in watched(
            look(k * STEP_S, 2.95, 20.0, temperature_degc=70.0) for k in range(80)
        )
    ]
    last = statuses[-1]
    assert last.severity is Severity.EMERGENCY
    assert last.active[0] == "cell_emergency"
    severities = {row.limit_id: row.severity for row in LIPO_ROWS}
    ranks = [severities[limit_id] for limit_id in last.active]
    assert ranks == sorted(ranks, reverse=True)
    assert {"cell_low", "cell_critical", "pack_low", "hot", "hot_critical"} < set(last.active)
    assert last.fault_bits == 1 | 16  # MAV_BATTERY_FAULT: deep discharge, over temperature
    assert (last.limited_by, last.limited_in_s) == ("cell_emergency", 0.0)


def test_an_event_names_the_cell_that_it_is_about_counted_from_one() -> None:
    judge = Judge(LIPO_ROWS)
    texts = []
    for k in range(60):
        snapshot = replace(look(k * STEP_S), cells_v=(3.7, None, 3.29, 4.3, 3.4, 3.6))
        texts += [event.text for event in judge.update(snapshot, Estimate(snapshot.t_s)).events]
    assert texts == [
        "cell 3 at 3.29 V, its limit is 3.30 V",
        "cell 4 at 4.30 V, full is 4.25 V",
        "cell 3 at 3.29 V, low is 3.50 V",
    ]


def test_another_table_keeps_what_is_tripped_until_it_clears_by_its_own() -> None:
    judge = Judge(LIPO_ROWS)
    run = Run(judge, "temperature_degc")
    run.hold(65.0, 6.0)
    judge.use(
        replace(row, trip=80.0, clear=60.0, clear_s=3.0) if row.limit_id == "hot" else row
        for row in LIPO_ROWS
    )
    status, *_ = run.hold(65.0, 5.0)
    assert status.active == ("hot_critical", "hot")
    assert not status.events
    took_s, status = run.until(59.0, lambda status: "hot" not in status.active)
    assert on_time(took_s, 3.0)
    assert [event.limit_id for event in status.events] == ["hot"]


def test_a_hold_time_that_has_begun_goes_on_under_another_table() -> None:
    judge = Judge(LIPO_ROWS)
    run = Run(judge, "temperature_degc")
    run.hold(52.0, 4.0)
    judge.use(LIPO_ROWS)
    took_s, _ = run.until(52.0, trips)
    assert on_time(took_s + 4.0, 5.0)


# ---------------------------------------------------------------------- what binds next


@pytest.mark.parametrize(("per_s", "step_s"), [(-0.002, 0.1), (-0.002, 1.0), (-0.004, 0.1)])
def test_on_a_ramp_the_limit_ahead_is_named_and_when(per_s: float, step_s: float) -> None:
    judge = Judge([row for row in LIPO_ROWS if row.what == "lowest_cell_v"])
    t_s, told = 0.0, list[tuple[float, float]]()
    for k in count():
        t_s = k * step_s
        status = judge.update(look(t_s, 4.1 + per_s * t_s), Estimate(t_s))
        if status.active:
            break
        if t_s > 90.0:  # the smoothing has two time constants of 20 s
            assert status.limited_by == "cell_low"
            assert status.limited_in_s is not None
            told.append((t_s, status.limited_in_s))
    assert t_s == pytest.approx((3.5 - 4.1) / per_s + 5.0, abs=1.1 * step_s)
    assert told
    for told_s, in_s in told:
        assert in_s == pytest.approx(t_s - told_s, rel=0.1, abs=1.1 * step_s)


def test_a_limit_that_is_in_its_hold_time_binds_next() -> None:
    run = Run(Judge(LIPO_ROWS), "temperature_degc")
    assert run.hold(25.0, 30.0)[-1].limited_by is None
    statuses = run.hold(60.0, 4.9)
    assert {status.limited_by for status in statuses} == {"hot"}
    assert [s.limited_in_s for s in statuses[:3]] == pytest.approx([5.0, 4.9, 4.8])


def test_what_moves_away_or_stands_still_binds_nothing() -> None:
    run = Run(Judge(LIPO_ROWS), "soc_pct")
    assert run.hold(50.0, 60.0)[-1].limited_by is None
    judge = Judge([row for row in LIPO_ROWS if row.what == "lowest_cell_v"])
    rising = [judge.update(look(k * STEP_S, 3.6 + k * 1e-4), Estimate(0.0)) for k in range(600)]
    assert {status.limited_by for status in rising} == {None}


def test_what_is_hours_away_binds_nothing() -> None:
    judge = Judge([row for row in LIPO_ROWS if row.limit_id == "cell_low"])
    slow = [judge.update(look(k * STEP_S, 3.9 - k * 5e-6), Estimate(0.0)) for k in range(900)]
    assert {status.limited_by for status in slow} == {None}


def test_without_any_limit_all_is_well() -> None:
    status = Judge([]).update(look(1.0, 1.0, 999.0), Estimate(1.0))
    assert (status.severity, status.active, status.fault_bits) == (Severity.OK, (), 0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.1, 1.0, 35.0]),
            st.none() | st.floats(0.5, 5.0),
            st.none() | st.floats(-1000.0, 1000.0),
            st.none() | st.floats(-60.0, 150.0),
        ),
        max_size=60,
    )
)
def test_whatever_comes_events_and_active_limits_agree(
    steps: list[tuple[float, float | None, float | None, float | None]],
) -> None:
    judge, t_s, active = Judge(LIPO_ROWS), 0.0, set[str]()
    for dt_s, cell_v, current_a, degc in steps:
        t_s += dt_s
        snapshot = replace(
            look(t_s, current_a=current_a, temperature_degc=degc), cells_v=(cell_v, 3.7)
        )
        status = judge.update(snapshot, Estimate(t_s))
        for event in status.events:
            assert (event.limit_id in active) is not event.tripped
            active ^= {event.limit_id}
        assert set(status.active) == active
        assert (status.severity is Severity.OK) is not bool(active)
        assert status.limited_in_s is None or 0.0 <= status.limited_in_s < 3600.0

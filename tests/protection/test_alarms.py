# SPDX-License-Identifier: Apache-2.0
"""When each limit trips and clears, to the sample, and its events."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dronebms.core.chemistry import CHEMISTRIES, Chemistry
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Event, Severity, Status, SupplyStatus, Verdict
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.protection.alarms import Alarms
from dronebms.protection.limits import Limit, default_limits
from smartbattery import bq40
from smartbattery.snapshot import UNIDENTIFIED, Identity, Snapshot
from tests.snapshots import FACTS, look, watched

STEP_S = 0.1
SPANS_S = {"current_2s_a": 2.0, "current_10s_a": 10.0, "current_60s_a": 60.0}
WARM_S = 61.0  # until the longest window is known
# What is a time, a sum or a mean has its own analytic test; any other is shown by a snapshot.
SUMMED = {*SPANS_S, "heat_a", "warming_k", "silence_s", "blind_s", "spread_rest_v", "idle_mah"}
SUMMED |= {"charge_s", "stored_s", "other_pack"}  # tests/monitoring/test_pack_recognition.py
COUNTED = {
    "doubts",
    "disputes",
    "mismatches",
    "stop_alarm",
    "hot_alarm",
    "tripped",
    "charge_tripped",
    "failed",
}
COUNTED |= {"alerts", "beyond_a", "packs_missing", "modules_missing", "alternates", "mission_risk"}
STAY = replace(FACTS, limp_home_a=0.0)  # so that the margin of limp_home is what is shown


def rows_of(chemistry: Chemistry) -> tuple[Limit, ...]:
    return default_limits(PackData(chemistry, cells=6, capacity_mah=5000.0))


BOTH = [(chemistry.name, row) for chemistry in CHEMISTRIES for row in rows_of(chemistry)]
HELD = [(name, row) for name, row in BOTH if row.quantity not in SUMMED]
WINDOWED = [(name, row) for name, row in BOTH if row.quantity in SPANS_S]
LIPO_ROWS = default_limits(FACTS)
LIPO_HELD = [row for row in LIPO_ROWS if row.quantity not in SUMMED]
LIPO_WINDOWED = [row for row in LIPO_ROWS if row.quantity in SPANS_S]
LIPO = {row.limit_id: row for row in LIPO_ROWS}
OF_ESTIMATE = {
    "resting_cell_v", "soc_pct", "soh_pct", "remaining_s", "remaining_low_s", "remaining_high_s",
    "turn_back_in_s", "home_reserve_s", "home_margin_s", "home_best_s",
}  # fmt: skip


FORESEEN = {"remaining_s", "remaining_low_s", "remaining_high_s", "turn_back_in_s"}
FORESEEN |= {"home_reserve_s", "home_margin_s", "home_best_s", "alternates", "mission_risk"}
NO = Estimate(0.0)
ROSY = Estimate(
    0.0, 100.0, 100.0, *(36000.0,) * 3, 1.0, *(36000.0,) * 4, Verdict.YES, Verdict.YES,
    resting_cell_v=4.2, max_discharge_a=1e3, max_discharge_2s_a=1e3, max_discharge_30s_a=1e3,
)  # fmt: skip
# Critical limits of what is read: they need no estimate.
INDEPENDENT = [
    row for row in (*LIPO_HELD, *LIPO_WINDOWED)
    if row.severity >= Severity.CRITICAL
    and row.quantity not in OF_ESTIMATE | FORESEEN | {"limp_margin_a", "modules_missing"}
]  # fmt: skip
ON_GROUND, IN_AIR = VehicleState(armed=False), VehicleState(armed=True)
ON_MISSION = VehicleState(armed=True, mode="AUTO")


def named(value: object) -> str:
    return value.limit_id if isinstance(value, Limit) else str(value)


def showing(what: str, value: float | None, t_s: float) -> tuple[Snapshot, Estimate]:
    """A healthy pack at a time, except for one quantity."""
    snapshot = look(t_s, identity=Identity(gauge="bq40z50"))
    estimate = Estimate(t_s)
    flag = 0 if value is None else int(value >= 1)
    missing = {"doubts": "voltage_v", "disputes": "voltage_v", "mismatches": "voltage_v"}
    changes: dict[str, object] = {
        "lowest_cell_v": {"cells_v": (value, None)},
        "highest_cell_v": {"cells_v": (None, value)},
        "spread_load_v": {"cells_v": (None if value is None else 0.0, value)},
        "spread_charge_v": {"cells_v": (None if value is None else 0.0, value), "current_a": -1.0},
        "charge_a": {"current_a": None if value is None else -value},
        "charging_degc": {"current_a": -1.0, "temperature_degc": value},
        "doubts": {"doubts": ("of something",) * flag},
        "disputes": {"disputed": {"current_a": (20.0, 30.0)} if flag else {}},
        "mismatches": {"identity": Identity(cells=6 - flag)},
        "charge_request_frac": {"current_a": -1.0, "charging_a": value and 1.0 / value},
        "charge_above_v": {
            "current_a": -1.0,
            "voltage_v": value and 16.0 + value,
            "charging_v": 16.0,
        },
        "beyond_a": {
            "current_a": None if flag or value is None else 20.0,
            "beyond_a": value if flag else None,
        },
        "packs_missing": {},
        "modules_missing": {},
        "alerts": {"alert_raw": None if value is None else flag << 4},
        "stop_alarm": {"status_raw": None if value is None else flag << 11},
        "hot_alarm": {"status_raw": None if value is None else flag << 12},
        "tripped": {"safety_raw": None if value is None else flag << 4},
        "charge_tripped": {"safety_raw": None if value is None else flag << 26},
        "failed": {"failure_raw": None if value is None else flag << 28},
    }.get(what, {"current_a" if what in SUMMED else what: value})  # type: ignore[assignment]  # by name
    if what in OF_ESTIMATE:
        return snapshot, replace(estimate, **{what: value})  # type: ignore[arg-type]  # by name
    if what == "mission_risk":
        mission = [Verdict.YES, Verdict.MARGINAL, Verdict.NO][min(max(round(value or 0), 0), 2)]
        return snapshot, replace(
            estimate, mission_verdict=Verdict.UNKNOWN if value is None else mission
        )
    if what == "alternates":
        home = Verdict.NO if flag else Verdict.YES
        return snapshot, replace(
            estimate,
            home_verdict=Verdict.UNKNOWN if value is None else home,
            alternate="rally point 2",
        )
    if what == "limp_margin_a":
        return snapshot, replace(estimate, max_discharge_a=value)
    if value is None and what in missing:
        changes = {missing[what]: None}
    return replace(snapshot, **changes), estimate  # type: ignore[arg-type]  # by name


@dataclass
class Run:
    """Alarms, updated at 10 Hz."""

    alarms: Alarms
    quantity: str
    t_s: float = 1000.05
    vehicle: VehicleState = UNKNOWN_VEHICLE

    def hold(self, value: float | None, for_s: float) -> list[Status]:
        """Apply a value for some time."""
        statuses = []
        if self.quantity in {"packs_missing", "modules_missing"} and value is not None:
            missing = (1,) if value >= 1 else ()
            self.alarms.supply = SupplyStatus(
                Severity.OK, missing, series=self.quantity == "modules_missing"
            )
        for _ in range(round(for_s / STEP_S)):
            statuses.append(
                self.alarms.update(*showing(self.quantity, value, self.t_s), self.vehicle)
            )
            self.t_s += STEP_S
        return statuses

    def until(
        self, value: float | None, done: Callable[[Status], bool], at_most_s: float = 100.0
    ) -> tuple[float, Status]:
        """Apply a value until a condition holds; the time it took, and the status."""
        start_s = self.t_s
        while self.t_s - start_s < at_most_s:
            (status,) = self.hold(value, STEP_S)
            if done(status):
                return status.t_s - start_s, status
        pytest.fail(f"not in {at_most_s} s")


def run_of(row: Limit) -> Run:
    run = Run(Alarms([row], STAY), row.quantity)
    if row.quantity == "mission_risk":
        run.vehicle = ON_MISSION
    if row.quantity in FORESEEN:
        run.hold(None, 31.0)  # of load: earlier, predictions are not evaluated
    return run


def trips(status: Status) -> bool:
    return bool(status.active)


def clears(status: Status) -> bool:
    return not status.active


def good(row: Limit) -> float:
    """A value far on the good side."""
    return 2 * row.clear - row.trip


def nearly(row: Limit) -> float:
    """A value that is neither beyond nor recovered."""
    return (row.trip + row.clear) / 2


def on_time(took_s: float, due_s: float) -> bool:
    """Whether it happened at the first sample at or after the due time."""
    return due_s - 1e-6 <= took_s < due_s + STEP_S


# ---------------------------------------------------------------------- every row


@pytest.mark.parametrize(("chemistry", "row"), HELD, ids=named)
def test_a_row_trips_after_its_hold_time_and_clears_after_its_clear_time(
    chemistry: str, row: Limit
) -> None:
    run = run_of(row)
    assert not any(map(trips, run.hold(good(row), 2.0))), chemistry
    took_s, status = run.until(row.trip, trips)
    assert on_time(took_s, row.hold_s)
    assert status.active == (row.limit_id,)
    assert status.severity is row.severity
    assert status.fault_bits == row.fault_bits
    (event,) = status.events
    assert (event.limit_id, event.tripped, event.t_s) == (row.limit_id, True, status.t_s)
    assert event.text.startswith(f"{row.state}: ")
    for form in re.findall(r"{trip:(.*?)}", row.trip_text):
        assert format(row.trip, form) in event.text
    if row.quantity not in COUNTED:
        assert not any(map(clears, run.hold(nearly(row), 2.0)))
    if row.latch:
        assert not any(map(clears, run.hold(row.clear, row.clear_s + 5.0)))
        run.vehicle = ON_GROUND
    took_s, status = run.until(row.clear, clears)
    assert on_time(took_s, row.clear_s)
    assert (status.severity, status.fault_bits) == (Severity.OK, 0)
    (event,) = status.events
    assert not event.tripped
    assert event.text.startswith("CLEARED: ")


@pytest.mark.parametrize(("chemistry", "row"), WINDOWED, ids=named)
def test_a_current_step_trips_and_clears_by_the_mean_of_the_window(
    chemistry: str, row: Limit
) -> None:
    span_s, step_a = SPANS_S[row.quantity], 1.7 * row.trip
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
def test_the_mean_of_a_window_is_unknown_before_it_is_full(row: Limit) -> None:
    run = run_of(row)
    took_s, _ = run.until(1.001 * row.trip, trips)
    assert on_time(took_s, SPANS_S[row.quantity])
    run.hold(0.0, 2 * WARM_S)
    run.hold(None, STEP_S)  # one unknown sample, and the mean is not known either
    took_s, _ = run.until(10 * row.trip, trips)
    assert on_time(took_s, SPANS_S[row.quantity])


def test_only_what_rests_on_a_filter_or_a_sum_trips_at_its_first_reading() -> None:
    once = {row.quantity for row in LIPO_ROWS if row.readings < 2}
    several = {"packs_missing", "modules_missing"}  # have no reading of their own
    assert once == SUMMED - {"warming_k", "spread_rest_v"} | {"limp_margin_a"} | several


@pytest.mark.parametrize("row", [row for row in LIPO_HELD if row.readings > 1], ids=named)
def test_one_bad_sample_trips_nothing(row: Limit) -> None:
    run = run_of(row)
    run.hold(good(row), 2.0)
    worst = 1000.0 if row.rising else -1000.0  # beyond any register
    for _ in range(3):
        (bad,) = run.hold(worst, STEP_S)
        assert not [s for s in (bad, *run.hold(good(row), 12.0)) if s.active]


@pytest.mark.parametrize("row", LIPO_HELD, ids=named)
def test_unknown_neither_trips_nor_clears(row: Limit) -> None:
    run = run_of(row)
    assert not any(map(trips, run.hold(None, 15.0)))
    run.hold(row.trip, row.hold_s + 1.0)
    assert all(map(trips, run.hold(None, row.clear_s + 5.0)))
    run.vehicle = ON_GROUND
    assert all(map(trips, run.hold(row.clear, row.clear_s - 0.2)))


@pytest.mark.parametrize(
    "row", [row for row in LIPO_HELD if row.hold_s and "missing" not in row.quantity], ids=named
)
def test_time_in_which_a_reading_is_unknown_is_no_part_of_a_hold_or_clear_time(row: Limit) -> None:
    run = run_of(row)
    bad = row.trip if row.quantity in COUNTED else row.trip + 0.1 * (row.trip - row.clear)
    for _ in range(2):  # single readings far apart
        assert not any(map(trips, run.hold(bad, STEP_S)))
        assert not any(map(trips, run.hold(None, row.hold_s + 5.0)))
    run.hold(bad, row.hold_s + 1.0)
    run.vehicle = ON_GROUND if row.latch else run.vehicle
    for _ in range(2):
        assert not any(map(clears, run.hold(row.clear, STEP_S)))
        assert not any(map(clears, run.hold(None, row.clear_s + 5.0)))
    assert clears(run.hold(row.clear, row.clear_s + 1.0)[-1])


@pytest.mark.parametrize("row", [LIPO["cell_emergency"], LIPO["hot_critical"]], ids=named)
def test_a_condition_that_is_read_half_of_the_time_trips_in_twice_the_hold_time(row: Limit) -> None:
    run, start_s = run_of(row), None
    for _ in range(2 * round(row.hold_s) + 2):
        for value in (row.trip, None):
            statuses = run.hold(value, 0.5)
            start_s = start_s or statuses[0].t_s
            tripped = [status.t_s for status in statuses if status.active]
            if tripped:
                assert on_time(tripped[0] - start_s, 2.0 * row.hold_s)
                return
    pytest.fail("it has not tripped")


@pytest.mark.parametrize(
    "row", [row for row in LIPO_HELD if row.quantity not in COUNTED], ids=named
)
def test_a_good_sample_in_between_starts_the_hold_time_again(row: Limit) -> None:
    run = run_of(row)
    for _ in range(4):
        assert not any(map(trips, run.hold(row.trip, row.hold_s)))
        run.hold(nearly(row), STEP_S)
    run.hold(row.trip, row.hold_s + 1.0)
    for _ in range(3):
        assert not any(map(clears, run.hold(row.clear, row.clear_s)))
        run.hold(nearly(row), STEP_S)


# ---------------------------------------------------------------------- independent of the estimate


@pytest.mark.parametrize("row", INDEPENDENT, ids=named)
def test_no_estimate_however_good_delays_a_critical_limit(row: Limit) -> None:
    alarms = Alarms([row], STAY)
    times_s = [1000.05 + k * STEP_S for k in range(700)]
    shown = 1.001 * row.trip if row.quantity in SPANS_S else row.trip
    first_s = next(
        t_s
        for t_s in times_s
        if alarms.update(showing(row.quantity, shown, t_s)[0], replace(ROSY, t_s=t_s)).active
    )
    assert on_time(first_s - times_s[0], SPANS_S.get(row.quantity, row.hold_s))


def test_no_estimate_however_good_hides_the_silence_of_the_gauge() -> None:
    alarms = Alarms([LIPO["lost"]], STAY)
    active = [
        alarms.update(Snapshot(t_s=float(t_s)), replace(ROSY, t_s=float(t_s))).active
        for t_s in range(12)
    ]
    assert active == [()] * 10 + [("lost",)] * 2


# ---------------------------------------------------------------------- sums, means and times


def test_every_row_is_tested() -> None:
    assert {row.quantity for row in LIPO_ROWS} == {row.quantity for row in LIPO_HELD} | SUMMED


@pytest.mark.parametrize("row", [LIPO["heat"], LIPO["heat_critical"]], ids=named)
@pytest.mark.parametrize("step_s", [0.1, 0.5])
def test_the_thermal_load_is_that_of_a_first_order_body(row: Limit, step_s: float) -> None:
    before_a, after_a, tau_s = 0.5 * row.trip, 1.6 * row.trip, 120.0
    alarms = Alarms([row], FACTS)
    steps = round(1500.0 / step_s)
    assert not [
        k for k in range(steps) if alarms.update(look(k * step_s, 3.8, before_a), NO).active
    ]
    start_s = (steps - 1) * step_s
    first_s = next(
        t_s
        for t_s in (start_s + k * step_s for k in count(1))
        if alarms.update(look(t_s, 3.8, after_a), NO).active
    )
    square = (after_a**2 - before_a**2) / (after_a**2 - row.trip**2)
    due_s = tau_s * math.log(square)
    assert due_s - 1e-3 <= first_s - start_s < due_s + step_s


@pytest.mark.parametrize("row", [LIPO["warming"], LIPO["warming_critical"]], ids=named)
def test_a_pack_that_heats_too_fast_trips_by_its_rise_within_a_minute(row: Limit) -> None:
    per_s, alarms = row.trip / 40.0, Alarms([row], FACTS)
    at_s = [
        t_s
        for t_s in (k * STEP_S for k in range(2000))
        if alarms.update(
            look(t_s, temperature_degc=20.0 + per_s * max(t_s - 100.0, 0.0)), NO
        ).active
    ]
    assert 100.0 + 40.0 + row.hold_s - 1e-6 <= at_s[0] <= 100.0 + 40.0 + row.hold_s + STEP_S
    slow = Alarms([row], FACTS)
    degc = [20.0 + 0.9 * row.trip / 600.0 * k for k in range(1500)]
    calm = [look(k * STEP_S, temperature_degc=value) for k, value in enumerate(degc)]
    assert not [snapshot for snapshot in calm if slow.update(snapshot, NO).active]


def test_a_reading_that_is_lost_while_others_arrive_trips_blind() -> None:
    row = LIPO["blind"]
    for lost in ({"temperature_degc": None}, {"current_a": None}, {"cells_v": (3.8, None) * 3}):
        alarms = Alarms([row], FACTS)
        looks = [look(k * STEP_S) for k in range(300)]
        looks[50:200] = [replace(snapshot, **lost) for snapshot in looks[50:200]]
        active_s = [s.t_s for s in looks if alarms.update(s, NO).active]
        assert active_s[0] == pytest.approx(5.0 + row.trip)
        assert active_s[-1] == pytest.approx(20.0 + row.clear_s, abs=1.1 * STEP_S)
    silent = Alarms([row], FACTS)  # which is another row's
    looks = [look(0.0), *(silent_look(k * 1.0, 0.0) for k in range(1, 60))]
    assert not [s for s in looks if silent.update(s, NO).active]


def test_the_lost_readings_are_named_and_not_those_that_never_arrived() -> None:
    alarms = Alarms([LIPO["blind"]], FACTS)
    looks = [look(k * STEP_S, temperature_degc=None) for k in range(200)]
    looks[50:] = [replace(snapshot, current_a=None) for snapshot in looks[50:]]
    texts = [event.text for one in looks for event in alarms.update(one, NO).events]
    assert texts == ["WARNING: current unknown 10 s"]


def resting(t_s: float, spread_v: float, current_a: float = 0.1) -> Snapshot:
    return replace(look(t_s, 3.8, current_a), cells_v=(3.8, 3.8 + spread_v, None))


def test_the_spread_at_rest_is_evaluated_after_a_minute_of_rest() -> None:
    row, alarms = LIPO["spread_rest"], Alarms([LIPO["spread_rest"]], FACTS)
    under_load = [alarms.update(resting(k * STEP_S, 0.5, 20.0), NO) for k in range(1000)]
    assert not [status for status in under_load if status.active]
    active_s = [
        t_s
        for t_s in (100.0 + k * STEP_S for k in range(1000))
        if alarms.update(resting(t_s, 0.101), NO).active
    ]
    assert active_s[0] == pytest.approx(100.0 + 60.0 + row.hold_s, abs=1.1 * STEP_S)
    assert alarms.update(
        resting(201.0, 0.0, 20.0), NO
    ).active  # under load the spread at rest is unknown


def first_active(row: Limit, current_a: float, soc_pct: float, step_s: float) -> float:
    alarms = Alarms([row], FACTS)
    for t_s in (k * step_s for k in range(10_000)):
        estimate = Estimate(t_s, soc_pct=soc_pct)
        if alarms.update(look(t_s, 3.8, current_a), estimate, ON_GROUND).active:
            return t_s
    raise AssertionError


def test_a_pack_that_is_left_connected_trips_idle_after_a_tenth_of_its_charge() -> None:
    row = LIPO["idle"]
    assert row.trip == 500.0
    assert first_active(row, 0.6, 50.0, 10.0) == pytest.approx(500.0 / 600.0 * 3600.0, abs=10.0)
    alarms = Alarms([row], FACTS)
    flying = [alarms.update(look(10.0 * k, 3.8, 0.6), NO, IN_AIR) for k in range(500)]
    assert not [status for status in flying if status.active]


def test_a_full_pack_trips_after_a_day_and_a_charge_without_end_after_hours() -> None:
    assert first_active(LIPO["stored_full"], 0.0, 85.0, 60.0) == 86_400.0
    assert first_active(LIPO["charging_long"], -2.0, 50.0, 10.0) == 14_400.0
    alarms = Alarms([LIPO["charging_long"]], FACTS)
    current_a = [-2.0] * 1439 + [0.0] + [-2.0] * 1000  # a break in between
    charge = [alarms.update(look(10.0 * k, 3.8, a), NO) for k, a in enumerate(current_a)]
    assert not [status for status in charge if status.active]


def test_a_quantity_that_does_not_apply_clears_its_limit() -> None:
    row = LIPO["charging_cold"]
    alarms = Alarms([row], FACTS)
    frozen = [look(k * STEP_S, 3.8, -2.0, temperature_degc=-5.0) for k in range(50)]
    charged = [alarms.update(snapshot, NO) for snapshot in frozen]
    assert charged[-1].active == ("charging_cold",)
    after = [alarms.update(look(5 + k * STEP_S, temperature_degc=-5.0), NO) for k in range(110)]
    events = [event for status in after for event in status.events]
    assert [event.text for event in events] == ["CLEARED: charging temperature"]
    assert events[0].t_s == pytest.approx(5.0 + row.clear_s, abs=STEP_S)


@pytest.mark.parametrize(
    ("gauge", "bit", "name"),
    [
        ("bq40z50", 0, "CUV"),
        ("bq40z50", 28, "bit 28"),  # reserved in R1, COVL from R2 on
        ("bq40z80", 28, "COVL"),
        ("bq40z80", 15, "bit 15"),  # DCOT in R5 of a BQ40Z50
        ("generic", 0, "bit 0"),
    ],
)
def test_a_safety_flag_is_decoded_by_the_identified_gauge(gauge: str, bit: int, name: str) -> None:
    alarms = Alarms([LIPO["tripped"], LIPO["charge_tripped"]], FACTS)
    tripped = [
        event
        for k in range(30)
        for event in alarms.update(
            replace(look(k * STEP_S, identity=Identity(gauge=gauge)), safety_raw=1 << bit), NO
        ).events
    ]
    (flag,) = bq40.flags(bq40.part_named(gauge), "SafetyStatus", 1 << bit)
    assert flag.name == name
    # Where some revision documents the bit, the side is known: over-voltage stops a charge alone.
    state = "WARNING: charge" if bit == 28 else "EMERGENCY: gauge"
    assert [event.text for event in tripped] == [f"{state} protection: {name} {flag.text}"]


def after_failure(vehicle: VehicleState, failure_raw: int | None) -> list[Status]:
    """Statuses of 60 s after the gauge has reported a permanent failure for 10 s in flight."""
    alarms = Alarms([LIPO["failed"]], FACTS)
    failed = [replace(look(float(k)), failure_raw=1) for k in range(10)]
    assert [alarms.update(one, NO, IN_AIR) for one in failed][-1].active == ("failed",)
    return [
        alarms.update(replace(look(float(k)), failure_raw=failure_raw), NO, vehicle)
        for k in range(10, 70)
    ]


@pytest.mark.parametrize("vehicle", [IN_AIR, UNKNOWN_VEHICLE], ids=["armed", "armed unknown"])
def test_a_latch_holds_in_flight_though_the_gauge_clears_the_flag(vehicle: VehicleState) -> None:
    assert {status.active for status in after_failure(vehicle, 0)} == {("failed",)}


def test_a_latch_clears_on_the_ground_when_the_gauge_has_cleared_the_flag() -> None:
    statuses = after_failure(ON_GROUND, 0)
    assert [s.t_s for s in statuses if s.active] == [10.0 + k for k in range(10)]  # clear_s
    assert {status.active for status in after_failure(ON_GROUND, 1)} == {("failed",)}
    assert {status.active for status in after_failure(ON_GROUND, None)} == {("failed",)}


def test_a_latch_clears_when_another_pack_is_connected() -> None:
    alarms = Alarms([LIPO["failed"]], FACTS)
    for k in range(100):
        serial, failure_raw = (7, 1) if k < 50 else (8, 0)
        snapshot = look(k * 1.0, identity=replace(UNIDENTIFIED, serial=serial))
        failure_raw = 0 if 20 <= k < 50 else failure_raw
        status = alarms.update(replace(snapshot, failure_raw=failure_raw), NO)
        assert bool(status.active) is (1 <= k < 60)


def test_a_prediction_of_the_pack_before_is_none_of_another_pack() -> None:
    alarms = Alarms([LIPO["time_low"], LIPO["cell_sag"]], FACTS)
    for k in range(100):
        serial, left_s = (7, 60.0) if k < 90 else (8, None)
        snapshot = look(k * 1.0, LIPO["cell_sag"].trip - 0.01)
        snapshot = replace(snapshot, identity=replace(UNIDENTIFIED, serial=serial))
        status = alarms.update(snapshot, Estimate(k * 1.0, remaining_s=left_s))
        assert ("time_low" in status.active) is (36 <= k < 90)  # from 30 s of load on
        assert ("cell_sag" in status.active) is (k >= 3)  # what is measured goes on


def test_the_limits_that_an_earlier_run_latched_are_latched_and_no_others() -> None:
    alarms = Alarms([LIPO["failed"], LIPO["cell_low"]], FACTS)
    alarms.latch(["failed", "cell_low", "no limit"])
    assert alarms.latched == ("failed",)
    assert alarms.update(look(0.0), NO).active == ("failed",)


def test_a_value_is_confirmed_once_every_limit_that_it_is_beyond_has_tripped() -> None:
    alarms, row = Alarms(list(LIPO.values()), FACTS), LIPO["cell_critical"]
    assert alarms.confirms("lowest_cell_v", row.trip + 2.0)
    assert not alarms.confirms("lowest_cell_v", row.trip)
    for k in range(100):
        alarms.update(look(k / 10, row.trip - 0.01), NO)
    assert alarms.confirms("lowest_cell_v", row.trip)
    assert not alarms.confirms("lowest_cell_v", LIPO["cell_emergency"].trip)


def test_of_several_packs_each_has_its_share_of_the_limp_home_current() -> None:
    """Two packs of 20 A each: the one that carries three quarters of the load needs 30 A."""
    alarms = Alarms([LIPO["limp_home"]], replace(FACTS, limp_home_a=20.0))
    alarms.supply = SupplyStatus(Severity.OK, (), current_a=40.0, limp_home_a=40.0)
    enough, few = Estimate(0.0, max_discharge_a=32.0), Estimate(0.0, max_discharge_a=28.0)
    for estimate, trips_ in ((enough, False), (few, True)):
        active: set[str] = set()
        for k in range(900):
            active.update(alarms.update(look(k / 10, 3.8, 30.0), estimate).active)
        assert bool(active) is trips_


def test_a_take_off_is_no_larger_share_of_the_load() -> None:
    """The status of the supply is that of the step before, in which two packs carried 1 A."""
    alarms = Alarms([LIPO["limp_home"]], replace(FACTS, limp_home_a=20.0))
    enough = Estimate(0.0, max_discharge_a=32.0)
    for k in range(900):
        current_a = 0.5 if k < 600 else 20.0
        status = alarms.update(look(k / 10, 3.8, current_a), enough)
        assert not status.active, (k, status.limp_home_a)
        total_a = 2.0 * current_a
        alarms.supply = SupplyStatus(Severity.OK, (), current_a=total_a, limp_home_a=40.0)


# ---------------------------------------------------------------------- silence


def silent_look(t_s: float, valid_s: float | None) -> Snapshot:
    return Snapshot(t_s, read_at_s={} if valid_s is None else {"voltage_v": valid_s})


def test_silence_counts_from_the_start_if_no_value_was_ever_valid() -> None:
    alarms = Alarms(LIPO_ROWS, FACTS)
    events = silence_events(alarms, (500.0 + k * STEP_S for k in range(200)), None)
    assert [(event.limit_id, round(event.t_s, 1)) for event in events] == [
        ("silent", 503.0),
        ("lost", 510.0),
    ]
    assert events[1].text == "CRITICAL: no gauge data for 10 s"


def silence_events(alarms: Alarms, times_s: Iterable[float], valid_s: float | None) -> list[Event]:
    statuses = [alarms.update(silent_look(t_s, valid_s), Estimate(t_s)) for t_s in times_s]
    return [event for status in statuses for event in status.events]


def test_silence_counts_from_the_last_value_and_ends_two_seconds_after_it_is_back() -> None:
    alarms = Alarms(LIPO_ROWS, FACTS)
    alarms.update(look(10.0), Estimate(10.0))
    # The value has held for two seconds before it was too old.
    events = silence_events(alarms, (12.0 + k * STEP_S for k in range(120)), 10.0)
    assert [(event.limit_id, round(event.t_s, 1)) for event in events] == [
        ("silent", 13.0),
        ("lost", 20.0),
    ]
    back = [alarms.update(look(24.0 + k * STEP_S), Estimate(24.0)) for k in range(40)]
    cleared = [(event.limit_id, event.tripped) for s in back for event in s.events]
    assert cleared == [("silent", False), ("lost", False)]
    assert [s.t_s for s in back if s.events] == pytest.approx([26.0], abs=0.01)


def test_one_value_does_not_end_a_silence() -> None:
    alarms = Alarms(LIPO_ROWS, FACTS)
    silence_events(alarms, (k * STEP_S for k in range(50)), None)
    assert alarms.update(look(5.0), Estimate(5.0)).active == ("silent",)
    status = alarms.update(silent_look(9.0, 5.0), Estimate(9.0))
    assert status.active == ("silent",)


def test_a_log_of_one_sample_in_half_a_minute_is_not_silent_while_its_values_hold() -> None:
    alarms = Alarms(LIPO_ROWS, FACTS)
    held = [replace(look(float(t)), read_at_s={"voltage_v": 0.0}) for t in range(31)]
    assert not any(alarms.update(snapshot, Estimate(snapshot.t_s)).active for snapshot in held)


# ---------------------------------------------------------------------- several at once


def test_the_worst_stands_first_and_the_faults_add_up() -> None:
    statuses = [
        evaluated.status
        for evaluated in watched(
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
    alarms = Alarms(LIPO_ROWS, FACTS)
    texts = []
    for k in range(60):
        snapshot = replace(look(k * STEP_S), cells_v=(3.7, None, 3.29, 4.301, 3.4, 3.6))
        texts += [event.text for event in alarms.update(snapshot, Estimate(snapshot.t_s)).events]
    assert texts == [
        "CRITICAL: cell 4 4.30 V >= 4.30 V",
        "LOW: cell 3 3.29 V <= 3.50 V under load",
        "CRITICAL: cell 3 3.29 V <= 3.30 V",
        "HIGH: cell 4 4.30 V >= 4.25 V",
    ]


def test_a_voltage_that_is_of_no_cell_by_number_names_none() -> None:
    def texts(snapshot: Snapshot) -> list[str]:
        alarms = Alarms([LIPO["cell_emergency"]], FACTS)
        times_s = [k * STEP_S for k in range(60)]
        statuses = [
            alarms.update(replace(snapshot, t_s=t_s, read_at_s={}), NO, IN_AIR) for t_s in times_s
        ]
        return [event.text for status in statuses for event in status.events]

    hidden = replace(look(0.0), cells_v=(3.7, 3.6, None, 3.7, 3.7, 3.7), voltage_v=20.9)
    disputed = replace(
        look(0.0),
        cells_v=(None,) * 6,
        voltage_v=15.0,
        disputed={"voltage_v": (15.0, 22.8), "cells_v": (3.8,) * 6},
    )
    assert texts(hidden) == texts(disputed) == ["EMERGENCY: a cell 2.50 V <= 3.10 V"]


def test_a_tripped_limit_stays_under_another_table_until_it_clears_by_it() -> None:
    alarms = Alarms(LIPO_ROWS, FACTS)
    run = Run(alarms, "temperature_degc")
    run.hold(65.0, 6.0)
    alarms.use(
        (
            replace(row, trip=80.0, clear=60.0, clear_s=3.0) if row.limit_id == "hot" else row
            for row in LIPO_ROWS
        ),
        FACTS,
    )
    status, *_ = run.hold(65.0, 5.0)
    assert status.active == ("hot_critical", "hot")
    assert not status.events
    took_s, status = run.until(59.0, lambda status: "hot" not in status.active)
    assert on_time(took_s, 3.0)
    assert [event.limit_id for event in status.events] == ["hot"]


def test_a_hold_time_continues_under_another_table() -> None:
    alarms = Alarms(LIPO_ROWS, FACTS)
    run = Run(alarms, "temperature_degc")
    run.hold(52.0, 4.0)
    alarms.use(LIPO_ROWS, FACTS)
    took_s, _ = run.until(52.0, trips)
    assert on_time(took_s + 4.0, 5.0)


# ---------------------------------------------------------------------- what binds next


@pytest.mark.parametrize(("per_s", "step_s"), [(-0.002, 0.1), (-0.002, 1.0), (-0.004, 0.1)])
def test_on_a_ramp_the_limit_ahead_is_named_and_when(per_s: float, step_s: float) -> None:
    alarms = Alarms([row for row in LIPO_ROWS if row.quantity == "lowest_cell_v"], FACTS)
    t_s, predicted = 0.0, list[tuple[float, float]]()
    for k in count():
        t_s = k * step_s
        status = alarms.update(look(t_s, 4.1 + per_s * t_s), Estimate(t_s))
        if status.active:
            break
        if t_s > 90.0:  # the smoothing has two time constants of 20 s
            assert status.limited_by == "cell_sag"
            assert status.limited_in_s is not None
            predicted.append((t_s, status.limited_in_s))
    assert t_s == pytest.approx((3.5 - 4.1) / per_s + 3.0, abs=1.1 * step_s)
    assert predicted
    for at_s, in_s in predicted:
        assert in_s == pytest.approx(t_s - at_s, rel=0.1, abs=1.1 * step_s)


def test_a_limit_that_is_in_its_hold_time_binds_next() -> None:
    rows = [row for row in LIPO_ROWS if row.quantity == "temperature_degc"]
    run = Run(Alarms(rows, FACTS), "temperature_degc")
    assert run.hold(25.0, 30.0)[-1].limited_by is None
    statuses = run.hold(60.0, 4.9)
    assert {status.limited_by for status in statuses} == {"hot"}
    assert [s.limited_in_s for s in statuses[:3]] == pytest.approx([5.0, 4.9, 4.8])


def test_a_limit_without_a_trend_has_no_time_and_the_nearest_is_named_under_load() -> None:
    run = Run(Alarms(LIPO_ROWS, FACTS), "soc_pct")
    status = run.hold(16.0, 60.0)[-1]
    assert (status.limited_by, status.limited_in_s) == ("charge_low", None)
    assert dict(status.trips_in_s) == {}
    at_rest = Run(Alarms(LIPO_ROWS, FACTS), "current_2s_a").hold(0.0, 60.0)[-1]
    assert (at_rest.limited_by, at_rest.limited_in_s) == (None, None)
    alarms = Alarms([row for row in LIPO_ROWS if row.quantity == "soc_pct"], FACTS)
    rising = [alarms.update(*showing("soc_pct", 40 + k * 0.01, k * STEP_S)) for k in range(600)]
    assert {status.limited_in_s for status in rising} == {None}


def test_a_remaining_time_runs_down_by_itself() -> None:
    run = Run(Alarms(LIPO_ROWS, FACTS), "remaining_s")
    assert {status.limited_by for status in run.hold(300.0, 29.0)} == {"cell_sag"}  # too early
    looks = run.hold(300.0, 3.0)
    assert ("time_low", 185.0) in [(look.limited_by, look.limited_in_s) for look in looks]


@pytest.mark.parametrize("row", [*LIPO_WINDOWED, LIPO["heat"], LIPO["heat_critical"]], ids=named)
@pytest.mark.parametrize("over", [1.05, 1.5])
def test_the_time_to_trip_of_a_constant_current_is_exact_to_the_step(
    row: Limit, over: float
) -> None:
    run = Run(Alarms([row], FACTS), "current_a")
    run.hold(0.4 * row.trip, 2 * WARM_S)
    predicted, trip_s = list[float](), None
    while trip_s is None:
        (status,) = run.hold(over * row.trip, STEP_S)
        trip_s = status.t_s if status.active else None
        if row.limit_id in status.trips_in_s and status.limited_in_s is not None:
            predicted.append(status.t_s + status.limited_in_s)
    assert predicted
    assert predicted == pytest.approx([trip_s] * len(predicted), abs=2 * STEP_S)


def test_a_limit_that_is_hours_away_does_not_bind() -> None:
    alarms = Alarms([row for row in LIPO_ROWS if row.limit_id == "cell_low"], FACTS)
    slow = [alarms.update(look(k * STEP_S, 3.9 - k * 5e-6), Estimate(0.0)) for k in range(900)]
    assert {status.limited_by for status in slow} == {None}


def test_without_any_limit_all_is_well() -> None:
    status = Alarms([], FACTS).update(look(1.0, 1.0, 999.0), Estimate(1.0))
    assert (status.severity, status.active, status.fault_bits) == (Severity.OK, (), 0)


Steps = list[tuple[float, float | None, float | None, float | None]]
STEPS = st.lists(  # duration, cell voltage, current and temperature
    st.tuples(
        st.sampled_from([0.0, 0.1, 1.0, 35.0]),
        st.none() | st.floats(0.5, 5.0),
        st.none() | st.floats(-1000.0, 1000.0),
        st.none() | st.floats(-60.0, 150.0),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_events_and_active_limits_agree_for_any_input(steps: Steps) -> None:
    alarms, t_s, active = Alarms(LIPO_ROWS, FACTS), 0.0, set[str]()
    for dt_s, cell_v, current_a, degc in steps:
        t_s += dt_s
        snapshot = replace(
            look(t_s, current_a=current_a, temperature_degc=degc), cells_v=(cell_v, 3.7)
        )
        status = alarms.update(snapshot, Estimate(t_s))
        for event in status.events:
            assert (event.limit_id in active) is not event.tripped
            active ^= {event.limit_id}
        assert set(status.active) == active
        assert (status.severity is Severity.OK) is not bool(active)
        assert status.limited_in_s is None or 0.0 <= status.limited_in_s < 3600.0


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_a_quantity_between_its_limits_is_passed_over_without_a_difference(steps: Steps) -> None:
    alarms, every, t_s = Alarms(LIPO_ROWS, FACTS), Alarms(LIPO_ROWS, FACTS), 0.0
    for group in vars(every)["_groups"].values():
        group.above, group.below = math.inf, -math.inf  # no value is between them
    for dt_s, cell_v, current_a, degc in steps:
        t_s += dt_s
        snapshot = replace(
            look(t_s, current_a=current_a, temperature_degc=degc), cells_v=(cell_v, 3.7)
        )
        estimate = Estimate(t_s, soc_pct=degc, remaining_s=current_a)
        assert alarms.update(snapshot, estimate) == every.update(snapshot, estimate)
        assert alarms.state() == every.state()


# ---------------------------------------------------------------------- charging or an offset


def charging_s(looks: Iterable[Snapshot], vehicle: VehicleState = ON_GROUND) -> list[float]:
    """Times at which a pack of 5 Ah charges."""
    alarms = Alarms(LIPO_ROWS, FACTS)
    return [one.t_s for one in looks if alarms.update(one, NO, vehicle).charging]


@pytest.mark.parametrize("offset_a", [-0.15, -0.5, -0.9])
@pytest.mark.parametrize("cell_v", [4.2, 3.8])
def test_an_offset_at_rest_is_no_charge(offset_a: float, cell_v: float) -> None:
    looks = (look(float(t), cell_v + 0.002 * (t % 3), offset_a) for t in range(900))
    assert charging_s(looks) == []


def test_an_offset_after_a_flight_is_no_charge_once_the_cells_have_relaxed() -> None:
    flight = [look(float(t), 3.6, 20.0) for t in range(60)]
    rest = [look(t, 3.7 - 0.03 * math.exp(-(t - 60.0) / 60.0), -0.5) for t in range(60, 1200)]
    assert max(charging_s([*flight, *rest]), default=0.0) < 600.0


@pytest.mark.parametrize(("charge_a", "within_s"), [(5.0, 0.0), (1.0, 0.0), (0.6, 180.0)])
def test_a_charge_is_one_by_its_size_or_by_the_cells_and_ends_with_them(
    charge_a: float, within_s: float
) -> None:
    rest = [look(float(t), 3.75, 0.0) for t in range(10)]
    charge = [look(float(t), 3.75 + 0.002 * charge_a * t / 20.0, -charge_a) for t in range(10, 600)]
    large = charge_a >= 1.0
    tail = [look(float(t), charge[-1].cells_v[0] or 0.0, -0.2 * large) for t in range(600, 700)]
    unplugged = [look(float(t), 3.75, -0.2) for t in range(700, 1100)]
    seen = charging_s([*rest, *charge, *tail, *unplugged])
    assert seen[0] <= 10.0 + within_s
    assert seen[-1] == (699.0 if large else 599.0)


def test_a_charging_current_in_flight_is_proved_by_the_cells() -> None:
    flight = [look(float(t), 3.6, 20.0) for t in range(30)]
    fallen = [look(float(t), 3.6, -20.0) for t in range(30, 60)]
    risen = [look(float(t), 3.75, -20.0) for t in range(30, 60)]
    unknown = [replace(one, voltage_v=None, cells_v=(None,) * 6) for one in fallen]
    for looks, expected in (
        (fallen, []),
        (unknown, []),
        (risen, [float(t) for t in range(30, 60)]),
    ):
        assert charging_s([*flight, *looks], IN_AIR) == expected
    alarms = Alarms(LIPO_ROWS, FACTS)
    active = [alarms.update(one, NO, IN_AIR).active for one in [*flight, *fallen]]
    assert "charging_too_fast" not in active[-1]


def test_a_charge_goes_on_while_the_voltage_is_not_read() -> None:
    charge = [look(float(t), 4.0, -2.0) for t in range(10)]
    unread = [replace(look(float(t), 4.0, -0.5), voltage_v=None) for t in range(10, 20)]
    assert charging_s([*charge, *unread])[-1] == 19.0
    assert charging_s(unread) == []


# ---------------------------------------------------------------------- rejected and disputed


def test_a_dispute_is_critical_unless_the_vehicle_is_disarmed() -> None:
    disputed: dict[str, object] = {
        "disputed": {"voltage_v": (22.8, 21.0), "cells_v": (3.8,) * 6},
        "cells_v": (None,) * 6,
        "voltage_v": 21.0,
        "doubts": ("pack 21.0 V, cells 22.8 V disputed",),
    }
    named = (disputed, {"disputed": {"current_a": (5.0, 28.0)}, "doubts": ("current",)})
    for parts in (*named, {"rejected": ("cells_v",), "doubts": ("cells",)}):
        for vehicle, limit_id in (
            (ON_GROUND, "implausible"),
            (IN_AIR, "contradiction"),
            (UNKNOWN_VEHICLE, "contradiction"),
        ):
            alarms = Alarms([LIPO["implausible"], LIPO["contradiction"]], FACTS)
            looks = [replace(look(k * STEP_S), **parts) for k in range(30)]
            statuses = [alarms.update(one, NO, vehicle) for one in looks]
            assert statuses[-1].active == (limit_id,)
            (event,) = [event for status in statuses for event in status.events]
            assert event.text.endswith(looks[0].doubts[0])


def test_a_dispute_of_voltages_is_judged_by_the_worst_reading() -> None:
    for cells_v, packs_v, trips in (
        ((3.8, 3.8, 3.2, 3.8, 3.8, 3.8), (22.2, 24.0), "cell_critical"),
        ((3.8,) * 6, (19.2, 22.8), "cell_critical"),
        ((3.8,) * 6, (26.4, 22.8), "cell_high_critical"),
    ):
        alarms = Alarms(LIPO_ROWS, FACTS)
        parts = {"disputed": {"voltage_v": packs_v, "cells_v": cells_v}, "cells_v": (None,) * 6}
        looks = [replace(look(k * STEP_S), **parts) for k in range(60)]  # type: ignore[arg-type]  # by name
        assert trips in [alarms.update(one, NO, IN_AIR).active for one in looks][-1]


def test_a_dispute_of_the_current_is_judged_by_the_largest() -> None:
    alarms = Alarms(LIPO_ROWS, FACTS)
    parts = {"current_a": None, "disputed": {"current_a": (5.0, 150.0)}}
    looks = [replace(look(k * STEP_S), **parts) for k in range(150)]  # type: ignore[arg-type]  # by name
    assert "current_10s" in [alarms.update(one, NO, IN_AIR).active for one in looks][-1]


def test_a_hidden_cell_is_no_better_than_what_the_others_leave_of_the_pack() -> None:
    alarms = Alarms(LIPO_ROWS, FACTS)
    hidden = {"cells_v": (3.8, 3.8, 3.8, 3.8, 3.8, None), "voltage_v": 5 * 3.8 + 3.0}
    looks = [replace(look(k * STEP_S), **hidden) for k in range(100)]  # type: ignore[arg-type]  # by name
    statuses = [alarms.update(one, NO, IN_AIR) for one in looks]
    assert "cell_critical" in statuses[-1].active
    assert "cell_high" not in statuses[-1].active


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ({"current_a": None, "rejected": ("current_a", "average_a")}, "current"),
        ({"current_a": None, "disputed": {"current_a": (5.0, 28.0)}}, "current"),
        ({"cells_v": (3.8, None) * 3, "rejected": ("cell2_v",)}, "cells"),
    ],
)
def test_a_reading_that_is_rejected_from_the_start_is_named_as_unknown(
    parts: dict[str, object], name: str
) -> None:
    alarms = Alarms([LIPO["blind"]], FACTS)
    looks = [replace(look(k * STEP_S), **parts) for k in range(150)]  # type: ignore[arg-type]  # by name
    texts = [event.text for one in looks for event in alarms.update(one, NO).events]
    assert texts == [f"WARNING: {name} unknown 10 s"]


def test_predictions_are_judged_in_a_flight_without_a_current() -> None:
    alarms = Alarms(LIPO_ROWS, FACTS)
    looks = [replace(look(k * STEP_S, current_a=None), rejected=("current_a",)) for k in range(400)]
    left = (Estimate(one.t_s, remaining_s=100.0) for one in looks)
    active = [alarms.update(*both, IN_AIR).active for both in zip(looks, left, strict=True)]
    assert "time_low" in active[-1]


def test_flags_of_a_source_without_status_words_are_alerts_by_their_texts() -> None:
    alarms = Alarms([LIPO["alert"]], FACTS)
    texts = []
    for k in range(400):
        flags = ("overload", "BMS error") if 50 <= k < 150 else ()
        one = replace(look(k * STEP_S), alerts=flags, read_at_s={"alert_raw": k * STEP_S})
        texts += [event.text for event in alarms.update(one, NO).events]
    assert texts == ["WARNING: gauge alert: overload; BMS error", "CLEARED: gauge alert"]


# ---------------------------------------------------------------------- fresh readings


HOT = next(row for row in default_limits(FACTS) if row.limit_id == "hot_critical")


def hot(t_s: float, read_s: float, degc: float) -> Snapshot:
    there = look(t_s, temperature_degc=degc)
    return replace(there, read_at_s={**there.read_at_s, "temperature_degc": read_s})


def tripped_at(steps: Iterable[tuple[float, float, float]]) -> float | None:
    alarms = Alarms([HOT], FACTS)
    for t_s, read_s, degc in steps:
        if alarms.update(hot(t_s, read_s, degc), Estimate(t_s)).active:
            return t_s
    return None


@pytest.mark.parametrize(
    ("steps", "at_s"),
    [
        # One reading that is polled for ever trips nothing, whatever value stands in it.
        ([(0.1 * k, 0.0, 65.0) for k in range(200)], None),
        ([(0.1 * k, 0.0, 65.0 + k % 2) for k in range(200)], None),
        # Two of them do, the second one with another value or a second later.
        ([(0.1 * k, 0.1 * k, 65.0 + 0.1 * (k > 3)) for k in range(200)], 5.0),
        ([(0.1 * k, 0.1 * k, 65.0) for k in range(200)], 5.0),
        ([(k, 0.94 * (k > 0), 65.0) for k in range(20)], None),
        ([(k, 0.95 * (k > 0), 65.0) for k in range(20)], 5.0),
        ([(k, 0.1 * (k > 0), 65.0 + 0.1 * (k > 0)) for k in range(20)], 5.0),
    ],
)
def test_a_reading_is_fresh_that_is_newer_and_another_one_or_a_second_old(
    steps: list[tuple[float, float, float]], at_s: float | None
) -> None:
    assert HOT.readings == 2
    assert tripped_at(steps) == (None if at_s is None else pytest.approx(at_s))


def test_what_is_pending_is_at_least_a_warning_with_the_longest_rest_first() -> None:
    rows = {row.limit_id: row for row in default_limits(FACTS)}
    alarms = Alarms(rows.values(), FACTS)
    for second in range(3):
        alarms.update(look(float(second), 3.8), Estimate(float(second)))
    status = alarms.update(look(3.0, 3.0, temperature_degc=65.0), Estimate(3.0))
    assert status.active == ()
    holds_s = {one: rows[one].hold_s for one in status.pending}
    assert status.pending == holds_s
    assert {"cell_critical", "cell_emergency", "hot_critical"} <= status.pending.keys()
    assert [*status.pending.values()] == sorted(holds_s.values(), reverse=True)
    assert all(rows[one].severity >= Severity.WARNING for one in status.pending)
    later = alarms.update(look(4.0, 3.0, temperature_degc=65.0), Estimate(4.0))
    assert later.pending["hot_critical"] == pytest.approx(rows["hot_critical"].hold_s - 1.0)
    gone = alarms.update(look(5.0, 3.8), Estimate(5.0))
    assert "hot_critical" not in gone.pending
    assert set(later.labels) >= set(later.pending)

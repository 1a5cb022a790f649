# SPDX-License-Identifier: Apache-2.0
"""The charge that a vehicle receives: sudden changes wait for the limits, nothing contradicts."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from dronebms.core.chemistry import LIPO
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Report, ReportedCharge, Status
from dronebms.core.state import decode, encode, from_json, to_json
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
from dronebms.monitoring.reported_charge import ReportedChargeStage, ReportedChargeState
from dronebms.protection.alarms import Alarms
from dronebms.protection.limits import DEEP_DISCHARGE, default_limits
from smartbattery.snapshot import Identity, Snapshot
from tests.mavlink_bridge.reports import as_estimated

FACTS = PackData(LIPO, cells=6, capacity_mah=16000.0)
STEP_S = 0.5
HOVER_A = 28.0
LONGEST_HOLD_S = 5.0  # of the limits of charge and time
SETTLED_S = 30.0  # of load, before a time is evaluated
PCT_PER_S = HOVER_A / 16.0 / 36.0


def never(_quantity: str, _value: float) -> bool:
    return False


def always(_quantity: str, _value: float) -> bool:
    return True


def a_report(
    t_s: float, pct: float | None, left_s: float | None, current_a: float | None, *active: str
) -> Report:
    look = Snapshot(t_s, voltage_v=22.8, current_a=current_a, cells_v=(3.8,) * 6)
    estimate = Estimate(t_s, soc_pct=pct, remaining_s=left_s)
    rows = [row for row in default_limits(FACTS) if row.limit_id in active]
    bits = sum({row.fault_bits for row in rows})
    status = Status(t_s, active=tuple(active), fault_bits=bits)
    return Report(t_s, 0, FACTS, look, UNKNOWN_VEHICLE, estimate, status)


@dataclass
class Bench:
    """The stage behind the real limits of charge and time."""

    stage: ReportedChargeStage = field(default_factory=ReportedChargeStage)
    t_s: float = 0.0
    rows: tuple[str, ...] = ("soc_pct", "remaining_s")

    def __post_init__(self) -> None:
        rows = [row for row in default_limits(FACTS) if row.quantity in self.rows]
        self.alarms = Alarms(rows, FACTS)

    def step(
        self, pct: float | None, left_s: float | None = None, current_a: float | None = HOVER_A
    ) -> ReportedCharge:
        """One step later."""
        self.t_s += STEP_S
        report = a_report(self.t_s, pct, left_s, current_a)
        read = {"voltage_v": self.t_s}
        self.alarms.update(replace(report.snapshot, read_at_s=read), report.estimate)
        return self.stage.update(report, self.alarms.confirms)

    def run(
        self, seconds: float, pct: float, left_s: float | None = None, current_a: float = HOVER_A
    ) -> list[ReportedCharge]:
        """Steps of a pack that is drained from a percentage and a time."""
        steps = []
        for k in range(round(seconds / STEP_S)):
            gone_s = k * STEP_S
            time_s = None if left_s is None else max(left_s - gone_s, 0.0)
            steps.append(self.step(pct - gone_s * current_a / 16.0 / 36.0, time_s, current_a))
        return steps


def test_what_a_current_explains_is_sent_at_once() -> None:
    bench = Bench()
    for sent, k in zip(bench.run(900.0, 90.0, 1200.0), range(1800), strict=True):
        assert sent.soc_pct == pytest.approx(90.0 - k * STEP_S * PCT_PER_S)
        assert sent.remaining_s == 1200.0 - k * STEP_S


@pytest.mark.parametrize("fallen_pct", [60.0, 14.0, 6.0, 4.0, 0.0])
@pytest.mark.parametrize("left_s", [600.0, 110.0, 50.0, 0.0])
@pytest.mark.parametrize("lasts_s", [0.5, 2.5])
def test_a_short_fall_is_never_sent(fallen_pct: float, left_s: float, lasts_s: float) -> None:
    bench = Bench()
    bench.run(20.0, 86.0, 1200.0)
    sent = bench.run(lasts_s, fallen_pct, left_s) + bench.run(30.0, 85.0, 1170.0)
    assert min(one.soc_pct or 0.0 for one in sent) > 82.0
    assert min(one.remaining_s or 0.0 for one in sent) > 1100.0


@pytest.mark.parametrize(
    ("pct", "left_s"), [(4.0, 40.0), (0.0, 0.0), (10.0, 100.0), (40.0, 45.0), (5.0, 800.0)]
)
def test_a_true_fall_is_sent_when_the_limits_have_tripped_and_no_later(
    pct: float, left_s: float
) -> None:
    bench = Bench()
    bench.run(40.0, 86.0, 1200.0)
    sent = bench.run(LONGEST_HOLD_S + 2 * STEP_S, pct, left_s)[-1]
    assert sent.soc_pct == pytest.approx(max(pct, 0.0), abs=0.4)
    assert sent.remaining_s == pytest.approx(max(left_s - LONGEST_HOLD_S, 0.0), abs=1.0)


def test_without_a_limit_that_agrees_a_fall_is_not_sent_and_the_charge_is_counted_on() -> None:
    stage, t_s, sent = ReportedChargeStage(), 0.0, ReportedCharge()
    for k in range(400):
        t_s += STEP_S
        report = a_report(t_s, 86.0 if k < 20 else 4.0, 1200.0 if k < 20 else 30.0, HOVER_A)
        sent = stage.update(report, never if k >= 20 else lambda *_: True)
    assert sent.soc_pct == pytest.approx(86.0 - 190.5 * PCT_PER_S, abs=0.1)
    assert sent.remaining_s == pytest.approx(1200.0 - 190.5, abs=1.0)


@pytest.mark.parametrize(
    "limit_id", [row.limit_id for row in default_limits(FACTS) if row.fault_bits & DEEP_DISCHARGE]
)
def test_a_voltage_at_the_cut_off_and_no_alarm_of_the_gauge_confirms_a_fall_at_once(
    limit_id: str,
) -> None:
    (row,) = [row for row in default_limits(FACTS) if row.limit_id == limit_id]
    stage = ReportedChargeStage()
    stage.update(a_report(0.0, 86.0, 1200.0, HOVER_A), lambda *_: True)
    sent = stage.update(a_report(1.0, 3.0, 10.0, HOVER_A, limit_id), never)
    if row.quantity in ("lowest_cell_v", "voltage_v"):
        assert (sent.soc_pct, sent.remaining_s) == (3.0, 10.0)
    else:
        assert limit_id == "gauge_stop"
        assert sent.soc_pct == pytest.approx(86.0, abs=0.1)


@pytest.mark.parametrize("pct", [3.0, 12.0, 40.0])
def test_the_first_charge_after_a_start_waits_for_the_limits_that_it_passes(pct: float) -> None:
    bench = Bench()
    sent = [one.soc_pct for one in bench.run(8.0, pct, None, 0.1)]
    waits = sent.index(next(one for one in sent if one is not None)) * STEP_S
    assert waits == (0.0 if pct > 15.0 else LONGEST_HOLD_S)


def test_a_low_first_time_waits_while_the_percentage_is_sent() -> None:
    bench = Bench()
    sent = bench.run(40.0, 80.0, 49.0)
    assert sent[0].soc_pct == 80.0
    waits = [one.remaining_s for one in sent].count(None) * STEP_S
    assert LONGEST_HOLD_S <= waits <= SETTLED_S + LONGEST_HOLD_S + 1.0


def with_bound(report: Report, low_s: float | None) -> Report:
    return replace(report, estimate=replace(report.estimate, remaining_low_s=low_s))


def bounds_sent(bounds_s: list[float | None], median_s: float = 1000.0) -> list[ReportedCharge]:
    """What is sent with bounds of one median, two a second."""
    stage = ReportedChargeStage()
    rows = enumerate(bounds_s)
    reports = (with_bound(a_report(k * STEP_S, 80.0, median_s, 0.0), one) for k, one in rows)
    return [stage.update(one, always) for one in reports]


def test_the_bound_of_the_time_is_a_part_of_the_median_that_is_sent() -> None:
    stage = ReportedChargeStage()
    sent = [
        stage.update(
            with_bound(a_report(k * STEP_S, 80.0 - k * STEP_S * PCT_PER_S, left_s, HOVER_A), low_s),
            always,
        )
        for k, (left_s, low_s) in enumerate([(1000.0, 700.0), (100.0, 90.0), (999.0, 1100.0)])
    ]
    assert [one.remaining_s for one in sent] == [1000.0, 999.5, 999.0]  # a short fall is not
    assert [one.remaining_low_s for one in sent] == pytest.approx([700.0, 899.55, 999.0])


def test_the_bound_of_the_time_widens_slowly_and_narrows_at_once() -> None:
    sent = bounds_sent([800.0, *[100.0] * 6, 800.0])
    assert [one.remaining_low_s for one in sent] == pytest.approx(
        [800.0, 790.0, 780.0, 770.0, 760.0, 750.0, 740.0, 800.0]
    )
    assert bounds_sent([800.0, *[100.0] * 80])[-1].remaining_low_s == pytest.approx(100.0)


def test_an_unknown_bound_is_not_sent() -> None:
    assert [one.remaining_low_s for one in bounds_sent([None, 800.0, None])] == [None, 800.0, None]
    (unknown,) = [
        ReportedChargeStage().update(with_bound(a_report(0.0, 80.0, None, 0.0), 10.0), always)
    ]
    assert (unknown.remaining_s, unknown.remaining_low_s) == (None, None)


@pytest.mark.parametrize("low_s", [0.0, -5.0, 3.0])
def test_of_an_empty_pack_bound_and_median_are_zero(low_s: float) -> None:
    report = with_bound(a_report(0.0, 0.0, 0.0, 0.0), low_s)
    sent = ReportedChargeStage().update(report, always)
    assert (sent.remaining_s, sent.remaining_low_s) == (0.0, 0.0)


@pytest.mark.parametrize("pack_data", [FACTS, PackData(LIPO, capacity_mah=16000.0), PackData(LIPO)])
def test_the_bound_is_sent_of_each_pack(pack_data: PackData) -> None:
    report = replace(with_bound(a_report(0.0, 80.0, 1000.0, 0.0), 600.0), pack_data=pack_data)
    assert ReportedChargeStage().update(report, always).remaining_low_s == 600.0


@pytest.mark.parametrize("lasts_s", [0.5, 2.5])
def test_a_short_rise_is_not_sent_either(lasts_s: float) -> None:
    bench = Bench()
    bench.run(20.0, 30.0, 300.0)
    sent = bench.run(lasts_s, 90.0, 2500.0) + bench.run(10.0, 29.0, 275.0)
    assert max(one.soc_pct or 0.0 for one in sent) < 35.1
    assert max(one.remaining_s or 0.0 for one in sent) < 1400.0


def test_a_rise_that_lasts_is_sent() -> None:
    bench = Bench()
    bench.run(20.0, 30.0, 300.0)
    assert bench.run(5.0, 60.0, 900.0)[-1].soc_pct == pytest.approx(60.0, abs=0.5)


def test_a_load_that_doubles_explains_half_of_the_time() -> None:
    bench = Bench()
    bench.run(20.0, 80.0, 1500.0)
    assert bench.step(79.9, 740.0, 2 * HOVER_A).remaining_s == 740.0


def test_after_a_silence_the_charge_may_have_fallen_by_what_the_pack_can_give() -> None:
    bench = Bench()
    bench.run(20.0, 86.0, 1200.0)
    bench.t_s += 30.0
    assert bench.step(80.0, 1150.0).soc_pct == 80.0  # LiPo: 10 C give 8 % in 30 s
    bench.t_s += 30.0
    assert (bench.step(30.0, 400.0).soc_pct or 0.0) > 75.0


def test_a_ramp_that_no_current_explains_is_a_fall() -> None:
    bench = Bench()
    bench.run(20.0, 86.0, 1200.0)
    sent = [bench.step(86.0 - 4.0 * k, 1200.0, 1.0) for k in range(18)]
    assert min(one.soc_pct or 0.0 for one in sent[:6]) > 80.0


def test_another_pack_on_the_ground_is_sent_as_it_is() -> None:
    stage = ReportedChargeStage()
    one, two = Identity(serial=0), Identity(serial=0, connection=1)
    for t_s, identity, pct in ((0.0, one, 80.0), (1.0, two, 25.0)):
        report = a_report(t_s, pct, None, 0.1)
        report = replace(report, snapshot=replace(report.snapshot, identity=identity))
        assert stage.update(report, lambda *_: True).soc_pct == pct


@pytest.mark.parametrize("pct", [None, math.nan, math.inf])
def test_without_a_percentage_all_is_unknown(pct: float | None) -> None:
    report = a_report(0.0, pct, 300.0, HOVER_A)
    assert as_estimated(report) == ReportedCharge()
    assert ReportedChargeStage().update(report, lambda *_: True) == ReportedCharge()


@pytest.mark.parametrize(
    ("current_a", "gauge_pct", "sent_pct"),
    [(None, 13.9, 13.9), (None, 95.0, 80.9), (None, None, 80.9), (12.0, 13.9, 80.9)],
)
def test_without_a_current_the_charge_of_the_gauge_is_the_upper_bound(
    current_a: float | None, gauge_pct: float | None, sent_pct: float
) -> None:
    report = a_report(0.0, 80.9, 300.0, current_a)
    report = replace(report, snapshot=replace(report.snapshot, soc_pct=gauge_pct))
    assert as_estimated(report).soc_pct == sent_pct


@pytest.mark.parametrize("pct", [100.0, 99.0, 56.2, 15.0, 0.0])
def test_the_consumption_is_that_of_the_percentage(pct: float) -> None:
    report = a_report(0.0, pct, 300.0, HOVER_A)
    gauge = replace(report.snapshot, remaining_mah=1600.0, full_mah=15000.0)
    sent = as_estimated(replace(report, snapshot=gauge))
    assert sent.consumed_mah is not None
    assert sent.consumed_mah == pytest.approx(160.0 * (100.0 - pct))
    assert sent.consumed_wh == pytest.approx(23.4 * sent.consumed_mah / 1000.0, rel=0.08)


@pytest.mark.parametrize(
    ("pack_data", "consumed"),
    [
        (PackData(LIPO), (None, None)),
        (PackData(LIPO, capacity_mah=5000.0), (pytest.approx(1000.0), None)),
        (
            PackData(LIPO, cells=6, capacity_mah=5000.0),
            (pytest.approx(1000.0), pytest.approx(24.7, rel=0.03)),
        ),
    ],
)
def test_what_is_not_known_of_a_pack_is_not_sent(
    pack_data: PackData, consumed: tuple[float | None, float | None]
) -> None:
    sent = as_estimated(replace(a_report(0.0, 80.0, None, 1.0), pack_data=pack_data))
    assert (sent.consumed_mah, sent.consumed_wh) == consumed


# ---------------------------------------------------------------------- property


Fault = Callable[[random.Random, float, float], tuple[float | None, float | None]]
FAULTS: dict[str, Fault] = {
    "right": lambda _, pct, left_s: (pct, left_s),
    "unknown": lambda _, __, ___: (None, None),
    "low": lambda dice, _, __: (dice.uniform(0.0, 20.0), dice.uniform(0.0, 100.0)),
    "high": lambda dice, _, __: (dice.uniform(90.0, 100.0), 3000.0),
    "noise": lambda dice, pct, left_s: (pct + dice.gauss(0.0, 1.0), left_s * dice.gauss(1.0, 0.1)),
}


@pytest.mark.parametrize("seed", range(12))
def test_short_faults_of_an_estimate_never_land_a_vehicle(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - seeded flights
    bench, pct, left_s, fault_until_s, name = Bench(), 95.0, 2000.0, 10.0, "right"
    while pct > 22.0:
        pct -= STEP_S * PCT_PER_S
        left_s -= STEP_S
        if bench.t_s >= fault_until_s:
            name = "right" if name != "right" else dice.choice([*FAULTS])
            fault_until_s = bench.t_s + dice.uniform(0.5, 2.5 if name != "right" else 30.0)
        sent = bench.step(*FAULTS[name](dice, pct, left_s))
        if sent.soc_pct is not None:
            assert abs(sent.soc_pct - pct) < 6.0
            assert sent.consumed_mah == pytest.approx(160.0 * (100.0 - sent.soc_pct))
        if sent.remaining_s is not None:
            assert sent.remaining_s > 0.4 * left_s


def test_a_state_continues_exactly_through_its_text() -> None:
    dice = random.Random(3)  # noqa: S311 - a seeded flight
    one, two = Bench(), Bench()
    for _ in range(200):
        values = FAULTS[dice.choice([*FAULTS])](dice, 50.0, 600.0)
        assert one.step(*values) == two.step(*values)
        part = from_json(to_json(encode(two.stage.state())))
        state = decode(ReportedChargeState, part, "reported")
        assert state is not None
        two.stage = ReportedChargeStage(state)


def test_a_fall_does_not_last_while_the_loop_is_absent() -> None:
    bench = Bench()
    bench.run(40.0, 86.0, 1200.0)
    absent_s = 10.0
    bench.run(1.0, 4.0, 40.0)
    bench.stage.resume(absent_s)
    bench.t_s += absent_s
    sent = bench.stage.update(a_report(bench.t_s, 4.0, 40.0, HOVER_A), lambda *_: True)
    assert sent.soc_pct is not None
    assert sent.soc_pct > 60.0

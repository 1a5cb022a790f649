# SPDX-License-Identifier: Apache-2.0
"""Quantities of single steps against arithmetic, and the time until a pack has been judged."""

import math
from collections.abc import Iterable
from dataclasses import replace

import pytest

from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Severity, Verdict
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.protection.check_time import CheckTime, longest_hold_s
from dronebms.protection.current_history import CurrentHistory, CurrentHistoryState
from dronebms.protection.limits import default_limits
from dronebms.protection.quantities import Quantities, QuantitiesState, mismatches
from dronebms.protection.quantity_values import NOT_APPLICABLE, QuantityName, Value, Values
from smartbattery.snapshot import Identity, Snapshot
from tests.snapshots import FACTS, look

ON_GROUND, IN_AIR = VehicleState(armed=False), VehicleState(armed=True)


def values_of(
    snapshots: Iterable[Snapshot],
    vehicle: VehicleState = UNKNOWN_VEHICLE,
    pack_data: PackData = FACTS,
) -> list[Values]:
    quantities = Quantities(pack_data)
    return [quantities.update(s, Estimate(s.t_s), vehicle) for s in snapshots]


def column(rows: Iterable[Values], name: QuantityName) -> list[Value]:
    return [row[name] for row in rows]


# ---------------------------------------------------------------------- temperature


@pytest.mark.parametrize("step_s", [0.5, 1.0, 3.0])
def test_the_rise_of_the_temperature_is_that_of_the_last_minute(step_s: float) -> None:
    steps = round(150.0 / step_s)
    ramp = [look(k * step_s, temperature_degc=20.0 + 0.1 * k * step_s) for k in range(steps)]
    rises = column(values_of(ramp), "warming_k")
    first = round(60.0 / step_s)
    assert rises[:first] == [None] * first
    # A sample is kept every second, so that the minute may be half a second longer.
    assert rises[first:] == pytest.approx([6.0] * (steps - first), abs=0.051)


def test_after_an_unknown_temperature_the_rise_is_unknown_for_a_minute() -> None:
    degc = [20.0] * 70 + [None] + [30.0] * 61
    rises = column(
        values_of(look(float(k), temperature_degc=v) for k, v in enumerate(degc)), "warming_k"
    )
    assert rises[69] == pytest.approx(0.0)
    assert rises[70:131] == [None] * 61
    assert rises[131] == pytest.approx(0.0)


# ---------------------------------------------------------------------- currents


def test_the_mean_of_a_window_is_right_after_an_hour_of_changing_current() -> None:
    history = CurrentHistory()
    for k in range(3601):
        history.add(float(k), float(k % 7))
    for span_s in (2, 10, 60):
        # A sample stands for the time since the one before.
        expected = sum(k % 7 for k in range(3601 - span_s, 3601)) / span_s
        assert history.mean(3600.0, float(span_s)) == pytest.approx(expected)
    assert len(history.state().times_s) < 200


def test_nothing_was_drawn_since_the_newest_sample() -> None:
    history = CurrentHistory()
    for k in range(5):
        history.add(float(k), 10.0)
    assert history.drawn_as(4.0) == 0.0
    assert history.drawn_as(9.0) == 0.0
    assert history.drawn_as(2.5) == pytest.approx(15.0)
    assert history.drawn_as(-1.0) == pytest.approx(40.0)


# ---------------------------------------------------------------------- what the gauge reports


def test_doubts_of_the_readings_and_of_the_estimate_add_up() -> None:
    snapshot = replace(look(0.0), doubts=("one", "two"))
    quantities = Quantities(FACTS)
    values = quantities.update(snapshot, Estimate(0.0, doubts=("three",)), UNKNOWN_VEHICLE)
    assert values["doubts"] == 3.0
    assert quantities.reason("doubts", snapshot) == "one; two; three"


@pytest.mark.parametrize(("vehicle", "doubts"), [(IN_AIR, 1.0), (ON_GROUND, 2.0)])
def test_a_dispute_is_a_doubt_on_the_ground_alone(vehicle: VehicleState, doubts: float) -> None:
    snapshot = replace(look(0.0), doubts=("current", "cell"), disputed={"current_a": (20.0, 30.0)})
    (values,) = values_of([snapshot], vehicle)
    assert values["doubts"] == doubts


def test_a_mismatch_is_that_of_the_pack_that_is_connected() -> None:
    quantities = Quantities(FACTS)
    found = []
    for k, cells in enumerate((None, 4, 6, 4)):
        identity = Identity(serial=k, cells=cells)
        values = quantities.update(look(float(k), identity=identity), Estimate(0.0), ON_GROUND)
        found.append((values["mismatches"], quantities.mismatches))
    wrong = (1.0, ("4 cells, not 6",))
    assert found == [(0.0, ()), wrong, (0.0, ()), wrong]


def test_flags_that_are_unknown_or_not_set_have_no_text() -> None:
    quantities = Quantities(FACTS)
    for raw in (None, 0):
        snapshot = replace(
            look(0.0, identity=Identity(gauge="bq40z50")),
            alert_raw=raw,
            safety_raw=raw,
            failure_raw=raw,
        )
        for quantity in ("alerts", "tripped", "charge_tripped", "failed"):
            assert quantities.reason(quantity, snapshot) == ""


# ---------------------------------------------------------------------- predictions


def test_a_prediction_waits_for_half_a_minute_of_load_and_an_empty_pack_does_not() -> None:
    quantities = Quantities(FACTS)
    early = quantities.update(look(0.0), Estimate(0.0, remaining_s=300.0), IN_AIR)
    empty = quantities.update(look(1.0), Estimate(1.0, remaining_s=0.0), IN_AIR)
    assert (early["remaining_s"], empty["remaining_s"]) == (None, 0.0)
    for k in range(2, 40):
        values = quantities.update(look(float(k)), Estimate(float(k), remaining_s=300.0), IN_AIR)
        assert values["remaining_s"] == (300.0 if k > 30 else None), k


# ---------------------------------------------------------------------- charging


def charging(
    charge_c: float, per_s: float, vehicle: VehicleState = ON_GROUND, steps: int = 60
) -> list[bool]:
    """Whether a pack charges, every 10 s at a current, while its cells rise."""
    quantities = Quantities(FACTS)
    found = [quantities.charging]
    for k in range(-12, steps):  # two minutes at rest before
        current_a = -5.0 * charge_c if k >= 0 else 0.0
        cell_v = 3.7 + per_s * max(10.0 * k, 0.0)
        quantities.update(look(10.0 * k, cell_v, current_a), Estimate(0.0), vehicle)
        found.append(quantities.charging)
    assert not any(found[:13])
    return found[13:]


def test_a_large_current_on_the_ground_is_a_charge_at_once() -> None:
    assert all(charging(0.5, 0.0))


@pytest.mark.parametrize("vehicle", [ON_GROUND, UNKNOWN_VEHICLE])
def test_a_small_current_is_a_charge_once_the_cells_have_risen_by_8_mv(
    vehicle: VehicleState,
) -> None:
    found = charging(0.06, 0.00011, vehicle)
    assert found.index(True) == 8  # after 80 s
    assert all(found[8:])


def test_in_flight_a_large_current_too_needs_cells_that_rise() -> None:
    assert not any(charging(0.5, 0.0, IN_AIR))
    assert charging(0.5, 0.00045, IN_AIR).index(True) == 2


def test_an_offset_of_the_gauge_that_raises_no_cell_is_no_charge() -> None:
    assert not any(charging(0.06, 0.0))
    assert not any(charging(0.06, 0.00001))  # 3 mV in the 300 s that count
    assert not any(charging(0.01, 0.001))  # below any charge


@pytest.mark.parametrize(
    ("before_a", "before_v", "found"),
    [
        (0.0, 3.700, True),  # at rest: the current has raised the cells
        (0.0, 3.705, False),  # by less than a charge does
        (2.5, 3.650, False),  # under load: they recover, charged or not
    ],
)
def test_a_small_current_that_raises_cells_from_their_rest_is_a_charge_at_once(
    before_a: float, before_v: float, *, found: bool
) -> None:
    quantities = Quantities(FACTS)
    for k in range(12):
        quantities.update(look(10.0 * k, before_v, before_a), Estimate(0.0), ON_GROUND)
    quantities.update(look(120.0, 3.709, -0.3), Estimate(0.0), ON_GROUND)
    assert quantities.charging == found


def test_a_charge_that_becomes_small_lasts_until_the_cells_fall() -> None:
    quantities = Quantities(FACTS)
    found = []
    for k in range(60):
        current_a = -2.5 if k < 10 else -0.3
        cell_v = 4.0 if k < 40 else 4.0 - 0.0011 * (k - 39)
        quantities.update(look(10.0 * k, cell_v, current_a), Estimate(0.0), ON_GROUND)
        found.append(quantities.charging)
    assert found.index(False) == 47  # more than 8 mV below


@pytest.mark.parametrize(
    ("vehicle", "current_a", "shown_a"),
    [
        (ON_GROUND, -0.05, 0.05),  # below any charge, and still a current into the pack
        (ON_GROUND, -2.5, 2.5),
        (ON_GROUND, 1.0, 0.0),
        (UNKNOWN_VEHICLE, -2.5, 2.5),
        (IN_AIR, -2.5, 0.0),  # of a motor that brakes
    ],
)
def test_the_charge_current_is_what_flows_into_a_pack_that_does_not_fly(
    vehicle: VehicleState, current_a: float, shown_a: float
) -> None:
    (values,) = values_of([look(0.0, current_a=current_a)], vehicle)
    assert values["charge_a"] == shown_a


def test_the_charger_is_compared_with_what_the_pack_requests() -> None:
    there = look(0.0, 4.15, -2.5)
    asking = replace(there, charging_a=2.0, charging_v=24.6)
    (values,) = values_of([asking], ON_GROUND)
    assert values["charge_request_frac"] == pytest.approx(1.25)
    assert values["charge_above_v"] == pytest.approx(0.3)
    (silent,) = values_of([there], ON_GROUND)
    assert (silent["charge_request_frac"], silent["charge_above_v"]) == (None, None)
    (none,) = values_of([replace(asking, charging_v=0.0)], ON_GROUND)
    assert none["charge_above_v"] is None
    (flying,) = values_of([replace(asking, current_a=20.0)], IN_AIR)
    shown = (flying["charge_request_frac"], flying["charge_above_v"], flying["charging_degc"])
    assert shown == (NOT_APPLICABLE,) * 3


def test_the_spread_at_rest_is_known_after_a_minute_of_rest() -> None:
    rest = [replace(look(10.0 * k, current_a=0.1), cells_v=(3.7, 3.8, None)) for k in range(9)]
    spreads = column(values_of(rest), "spread_rest_v")
    assert spreads[:6] == [None] * 6
    assert spreads[6:] == pytest.approx([0.1] * 3)


# ---------------------------------------------------------------------- another pack


@pytest.mark.parametrize(
    ("identity", "found"),
    [
        (Identity(cells=6, design_mah=5000.0, chemistry="LION"), ()),
        (Identity(design_mah=5900.0), ()),
        (Identity(design_mah=4100.0), ()),
        (Identity(design_mah=6100.0), ("6100 mAh, not 5000",)),
        (Identity(design_mah=3900.0), ("3900 mAh, not 5000",)),
        (Identity(design_mah=10000.0), ("10000 mAh, not 5000",)),
        (Identity(chemistry="LiFe"), ("LiFe, not lipo",)),
        (Identity(chemistry="NiMH"), ()),  # what many packs report for any chemistry
        (Identity(cells=5, chemistry="life"), ("5 cells, not 6", "life, not lipo")),
    ],
)
def test_a_pack_that_is_not_the_configured_one_is_named(
    identity: Identity, found: tuple[str, ...]
) -> None:
    assert mismatches(identity, FACTS) == found


@pytest.mark.parametrize(
    ("mode", "verdict", "risk"),
    [
        ("AUTO", Verdict.YES, 0.0),
        ("AUTO", Verdict.MARGINAL, 1.0),
        ("AUTO", Verdict.NO, 2.0),
        ("AUTO", Verdict.UNKNOWN, None),
        ("LOITER", Verdict.NO, NOT_APPLICABLE),
        (None, Verdict.NO, None),
    ],
)
def test_the_risk_of_a_mission_is_that_of_the_one_that_is_flown(
    mode: str | None, verdict: Verdict, risk: Value
) -> None:
    quantities, vehicle = Quantities(FACTS), VehicleState(armed=True, mode=mode)
    risks = [
        quantities.update(look(t_s), Estimate(t_s, mission_verdict=verdict), vehicle)[
            "mission_risk"
        ]
        for t_s in map(float, range(40))
    ]
    assert risks[-1] == risk


# ---------------------------------------------------------------------- until a pack is judged


def since(steps: Iterable[tuple[Snapshot, Estimate]]) -> list[float | None]:
    state, found = CheckTime(), []
    for snapshot, estimate in steps:
        state = state.after(snapshot, estimate)
        found.append(state.since_s)
    return found


def test_only_a_reading_that_was_never_known_starts_the_time_again() -> None:
    bare, charge = look(0.0, temperature_degc=None), Estimate(0.0, soc_pct=50.0)
    without, unknown = replace(bare, current_a=None), Estimate(0.0)
    warm = replace(bare, temperature_degc=25.0)
    steps = [(bare, unknown), (bare, unknown), (warm, unknown), (without, unknown),
             (without, charge), (warm, unknown), (warm, charge)]  # fmt: skip
    timed = [(replace(s, t_s=float(k)), estimate) for k, (s, estimate) in enumerate(steps)]
    assert since(timed) == [0.0, 0.0, 2.0, 2.0, 4.0, 4.0, 4.0]


def test_silence_a_gap_and_another_pack_start_the_time_again() -> None:
    other = look(3.0, identity=Identity(serial=7))
    silent = Snapshot(1.0)
    snapshots = [
        look(0.0),
        silent,
        look(2.0),
        other,
        replace(other, t_s=4.5),
        replace(other, t_s=6.1),
    ]
    assert since((s, Estimate(s.t_s)) for s in snapshots) == [0.0, None, 2.0, 3.0, 3.0, 6.1]


def test_the_time_that_is_left_is_the_longest_hold_time_of_a_warning_at_most_ten_seconds() -> None:
    rows = default_limits(FACTS)
    short = [replace(row, hold_s=4.0) for row in rows]
    noted = [*short, replace(rows[0], hold_s=9.0, severity=Severity.INFO)]
    state = CheckTime().after(look(100.0), Estimate(100.0))
    longest = [longest_hold_s(table) for table in (rows, noted, [])]
    assert longest == [10.0, 4.0, 0.0]
    assert CheckTime().left_s(0.0, 10.0) == 10.0
    assert [state.left_s(t_s, 10.0) for t_s in (100.0, 103.0, 111.0)] == [10.0, 7.0, 0.0]


# ---------------------------------------------------------------------- details of the charge


@pytest.mark.parametrize(
    ("capacity_mah", "current_a", "charges"),
    [
        (5000.0, -1.0, True),  # 1 A at least, also of a small pack
        (5000.0, -0.99, False),
        (20_000.0, -2.0, True),  # a tenth of the capacity
        (20_000.0, -1.99, False),
        (None, -1.0, True),
        (5000.0, -0.09, False),  # below any charge
    ],
)
def test_a_current_that_is_no_offset_of_a_gauge_is_a_charge_at_once(
    capacity_mah: float | None, current_a: float, *, charges: bool
) -> None:
    quantities = Quantities(replace(FACTS, capacity_mah=capacity_mah))
    quantities.update(look(0.0, current_a=current_a), Estimate(0.0), ON_GROUND)
    assert quantities.charging == charges


@pytest.mark.parametrize(("rise_v", "charges"), [(0.0079, False), (0.0081, True)])
def test_cells_that_rise_by_8_mv_prove_a_small_charge(rise_v: float, *, charges: bool) -> None:
    quantities = Quantities(FACTS)
    for t_s, cell_v in ((0.0, 3.7), (100.0, 3.7 + rise_v)):
        quantities.update(look(t_s, cell_v, -0.3), Estimate(0.0), ON_GROUND)
    assert quantities.charging == charges


@pytest.mark.parametrize(("after_s", "charges"), [(300.0, True), (300.1, False)])
def test_a_rise_counts_within_five_minutes(after_s: float, *, charges: bool) -> None:
    quantities = Quantities(FACTS)
    for t_s, cell_v in ((0.0, 3.700), (10.0, 3.709), (after_s, 3.709)):
        quantities.update(look(t_s, cell_v, -0.3), Estimate(0.0), ON_GROUND)
    assert quantities.charging == charges


def test_a_level_of_the_cells_is_kept_every_ten_seconds() -> None:
    quantities = Quantities(FACTS)
    times_s = (0.0, 9.9, 10.0, 15.0, 19.9, 20.0, 35.0)
    for t_s in times_s:
        quantities.update(look(t_s, 3.7, -0.3), Estimate(0.0), ON_GROUND)
    assert [t_s for t_s, _ in quantities.state().charging] == [0.0, 10.0, 20.0, 35.0]


@pytest.mark.parametrize(
    ("vehicle", "current_a", "kept"),
    [
        (ON_GROUND, 0.0, True),
        (ON_GROUND, 0.25, True),  # at rest: 0.05 C
        (ON_GROUND, 0.26, False),  # a load, after which the cells recover
        (IN_AIR, 20.0, True),
        (UNKNOWN_VEHICLE, 20.0, False),
    ],
)
def test_the_level_before_a_charge_is_that_of_the_rest_or_of_the_flight(
    vehicle: VehicleState, current_a: float, *, kept: bool
) -> None:
    quantities = Quantities(FACTS)
    quantities.update(look(5.0, 3.7, current_a), Estimate(0.0), vehicle)
    assert quantities.state().charging == (((5.0, pytest.approx(3.7)),) if kept else ())


def test_without_a_voltage_no_level_is_kept_and_no_charge_begins() -> None:
    quantities = Quantities(FACTS)
    for t_s, current_a in ((0.0, 0.0), (10.0, -0.3), (20.0, -0.3)):
        silent = replace(look(t_s, 3.7, current_a), voltage_v=None)
        quantities.update(silent, Estimate(0.0), ON_GROUND)
        assert quantities.state().charging == ()
        assert not quantities.charging


@pytest.mark.parametrize(
    ("margin_s", "text"),
    [
        (None, "turn back"),
        (33.4, "turn back: 33 s to spare"),
        (-5.0, "turn back: 0 s to spare"),
        (0.4, "turn back: 0 s to spare"),
    ],
)
def test_the_text_of_the_way_home_has_the_time_to_spare(margin_s: float | None, text: str) -> None:
    quantities = Quantities(FACTS)
    quantities.update(look(0.0), Estimate(0.0, home_margin_s=margin_s), IN_AIR)
    assert quantities.reason("home_reserve_s", look(0.0)) == text


@pytest.mark.parametrize(
    ("verdict", "alternate", "count"),
    [
        (Verdict.UNKNOWN, True, None),
        (Verdict.YES, True, 0.0),
        (Verdict.MARGINAL, True, 0.0),
        (Verdict.NO, False, 0.0),
        (Verdict.NO, True, 1.0),
    ],
)
def test_an_alternate_counts_while_home_is_out_of_reach(
    verdict: Verdict, count: float | None, *, alternate: bool
) -> None:
    found = "rally point 2" if alternate else None
    estimate = Estimate(0.0, home_verdict=verdict, alternate=found, remaining_s=0.0)
    quantities = Quantities(FACTS)
    assert quantities.update(look(0.0), estimate, IN_AIR)["alternates"] == count


@pytest.mark.parametrize(
    ("load_c", "loaded"), [(0.149, False), (0.15, True), (0.2, True), (-0.2, False)]
)
def test_a_pack_is_loaded_from_a_small_share_of_its_capacity_on(
    load_c: float, *, loaded: bool
) -> None:
    current_a = 5.0 * load_c
    (values,) = values_of([look(0.0, current_a=current_a)], ON_GROUND)
    assert values["loaded_a"] == (current_a if loaded else NOT_APPLICABLE)
    assert (values["spread_load_v"] is not None) == loaded


def test_the_heat_follows_the_square_of_the_current_with_two_minutes() -> None:
    quantities = Quantities(FACTS)
    looks = [look(float(t_s), current_a=30.0) for t_s in range(241)]
    heat_a = [quantities.update(one, Estimate(0.0), IN_AIR)["heat_a"] for one in looks]
    assert heat_a[120] == pytest.approx(30.0 * (1.0 - math.exp(-1.0)) ** 0.5)
    assert heat_a[240] == pytest.approx(30.0 * (1.0 - math.exp(-2.0)) ** 0.5)


def test_the_idle_drain_adds_up_at_rest_alone() -> None:
    quantities = Quantities(FACTS)
    found = []
    for t_s, current_a in ((0.0, 0.1), (36.0, 0.1), (72.0, 0.1), (73.0, 20.0), (109.0, 0.1)):
        values = quantities.update(look(t_s, current_a=current_a), Estimate(0.0), ON_GROUND)
        found.append(values["idle_mah"])
    assert found == pytest.approx([0.0, 1.0, 2.0, 0.0, 1.0])
    armed = quantities.update(look(145.0, current_a=0.1), Estimate(0.0), IN_AIR)
    assert armed["idle_mah"] == 0.0


def test_a_stored_pack_is_one_of_80_percent_that_does_not_fly() -> None:
    for soc_pct, vehicle, stored in (
        (80.0, ON_GROUND, 50.0), (79.9, ON_GROUND, 0.0), (None, ON_GROUND, 0.0),
        (90.0, IN_AIR, 0.0), (90.0, UNKNOWN_VEHICLE, 50.0),
    ):  # fmt: skip
        quantities = Quantities(FACTS)
        values: Values = {}
        for t_s in (100.0, 150.0):
            values = quantities.update(
                look(t_s, current_a=0.0), Estimate(0.0, soc_pct=soc_pct), vehicle
            )
        assert values["stored_s"] == stored


def test_the_mean_of_a_window_needs_the_whole_window() -> None:
    history = CurrentHistory()
    history.add(0.0, 10.0)
    assert history.mean(0.0, 2.0) is None
    history.add(1.9, 10.0)
    assert history.mean(1.9, 2.0) is None
    history.add(2.0, 30.0)
    assert history.mean(2.0, 2.0) == pytest.approx((1.9 * 10.0 + 0.1 * 30.0) / 2.0)
    history.add(3.0, None)  # an unknown current ends it
    assert history.mean(3.0, 2.0) is None
    assert history.state() == CurrentHistoryState()


def test_samples_of_two_windows_are_kept_at_most() -> None:
    history = CurrentHistory()
    for t_s in range(500):
        history.add(float(t_s), 10.0)
        times_s = history.state().times_s
        assert times_s[-1] - times_s[0] <= 120.0
        assert t_s < 60 or times_s[-1] - times_s[0] >= 60.0
        assert history.mean(float(t_s), 60.0) == (None if t_s < 60 else pytest.approx(10.0))


def test_a_state_of_unequal_lengths_or_a_negative_square_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        CurrentHistoryState((1.0, 2.0), (1.0,))
    with pytest.raises(ValueError, match="heat_a2 is -1"):
        QuantitiesState(heat_a2=-1.0)
    assert QuantitiesState(heat_a2=0.0).heat_a2 == 0.0


# ---------------------------------------------------------------------- hidden cells


def half_read(t_s: float, known_v: tuple[float | None, ...], pack_v: float | None) -> Snapshot:
    return replace(look(t_s), cells_v=known_v, voltage_v=pack_v)


@pytest.mark.parametrize(
    ("cells_v", "pack_v", "lowest_v"),
    [
        ((3.8, 3.8, 3.8, None), 15.0, 3.6),
        ((3.8, 3.8, None, None), 14.4, 3.4),  # their mean
        ((3.8, 3.8, None, None), 15.6, 3.8),  # the known ones are lower
        ((3.8, 3.7, 3.6, 3.9), 12.0, 3.6),  # all are known
        ((3.8, None, None, None), None, 3.8),  # nothing to subtract from
        ((None, None, None, None), 15.0, None),
    ],
)
def test_unknown_cells_have_the_mean_that_the_known_ones_leave(
    cells_v: tuple[float | None, ...], pack_v: float | None, lowest_v: float | None
) -> None:
    (values,) = values_of([half_read(0.0, cells_v, pack_v)], IN_AIR)
    found = values["lowest_cell_v"]
    assert found == (None if lowest_v is None else pytest.approx(lowest_v))
    known = [one for one in cells_v if one is not None]
    assert values["highest_cell_v"] == max(known, default=None)


def test_the_mean_of_unknown_cells_is_smoothed_with_three_seconds_and_begins_again() -> None:
    quantities = Quantities(FACTS)
    found = []
    for t_s, cells_v, pack_v in (
        (0.0, (3.8, None), 7.2), (3.0, (3.8, None), 6.8), (6.0, (3.8, None), None),
        (9.0, (3.8, None), 6.6), (10.0, (3.8, 3.7), 7.5), (11.0, (3.8, None), 7.0),
    ):  # fmt: skip
        quantities.update(half_read(t_s, cells_v, pack_v), Estimate(0.0), IN_AIR)
        found.append(quantities.state().hidden_cell_v)
    after_3_s = 3.4 - 0.4 * (1.0 - math.exp(-1.0))
    expected = [3.4, after_3_s, None, 2.8, None, 3.2]
    assert [one if one is None else round(one, 6) for one in found] == [
        one if one is None else round(one, 6) for one in expected
    ]


# ---------------------------------------------------------------------- what is lost


@pytest.mark.parametrize(
    ("lost", "names"),
    [
        ({"current_a": None}, "current"),
        ({"temperature_degc": None}, "temperature"),
        ({"cells_v": (3.8, 3.8, None, 3.8, 3.8, 3.8)}, "cells"),
        ({"cells_v": ()}, "cells"),
        ({"current_a": None, "temperature_degc": None}, "current/temperature"),
    ],
)
def test_a_reading_that_is_lost_is_counted_and_named_from_its_loss_on(
    lost: dict[str, object], names: str
) -> None:
    quantities = Quantities(FACTS)
    found = []
    for t_s in range(8):
        snapshot = look(float(t_s))
        if 3 <= t_s < 7:
            snapshot = replace(snapshot, **lost)  # type: ignore[arg-type]  # by name
        found.append(quantities.update(snapshot, Estimate(0.0), IN_AIR)["blind_s"])
        if t_s == 5:
            assert quantities.reason("blind_s", snapshot) == names
    assert found == [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 0.0]


def test_a_silent_gauge_is_not_blind_and_counts_its_silence() -> None:
    quantities = Quantities(FACTS)
    found = []
    for t_s in (0.0, 1.0, 2.0, 3.0):
        snapshot = look(t_s)
        if t_s >= 1.0:
            snapshot = replace(snapshot, voltage_v=None, current_a=None, cells_v=(None,) * 6)
        values = quantities.update(snapshot, Estimate(0.0), IN_AIR)
        found.append((values["silence_s"], values["blind_s"], values["doubts"]))
    assert found == [(0.0, 0.0, 0.0), (1.0, 0.0, None), (2.0, 0.0, None), (3.0, 0.0, None)]


@pytest.mark.parametrize(
    ("status_raw", "stop", "hot"),
    [
        (None, None, None),
        (0, 0.0, 0.0),
        (1 << 11, 1.0, 0.0),
        (1 << 12, 0.0, 1.0),
        (0xE7FF, 0.0, 0.0),
    ],
)
def test_the_alarms_of_the_gauge_are_two_bits(
    status_raw: int | None, stop: float | None, hot: float | None
) -> None:
    (values,) = values_of([replace(look(0.0), status_raw=status_raw)], IN_AIR)
    assert (values["stop_alarm"], values["hot_alarm"]) == (stop, hot)


@pytest.mark.parametrize(
    ("change", "stop"),
    [
        ({}, 1.0),
        ({"rejected": ("remaining_mah",)}, None),
        ({"rejected": ("remaining_mah",), "status_raw": 0x80}, 0.0),
        ({"rejected": ("current_a",)}, 1.0),
        ({"rejected": ("remaining_mah",), "cells_v": (3.8,) * 5 + (3.4,)}, 1.0),
        ({"rejected": ("remaining_mah",), "cells_v": (3.8,) * 5 + (None,)}, 1.0),
        ({"rejected": ("remaining_mah",), "cells_v": ()}, 1.0),
    ],
)
def test_the_end_of_discharge_by_a_wrong_charge_is_unknown_while_no_cell_is_low(
    change: dict[str, object], stop: float | None
) -> None:
    snapshot = replace(look(0.0), status_raw=1 << 11 | 0x80)
    (values,) = values_of([replace(snapshot, **change)], IN_AIR)  # type: ignore[arg-type]  # by name
    assert values["stop_alarm"] == stop


def test_a_lost_battery_is_named_by_its_number() -> None:
    quantities = Quantities(FACTS)
    quantities.missing = (0, 2)
    assert quantities.reason("modules_missing", look(0.0)) == "1, 3"
    assert quantities.reason("packs_missing", look(0.0)) == "1, 3 missing: load on the others"
    quantities.all_missing = True
    assert quantities.reason("packs_missing", look(0.0)) == "1, 3 missing: no battery is left"
    other = replace(look(0.0), other_pack="serial 8, not 7")
    assert quantities.reason("other_pack", other) == "serial 8, not 7"
    assert quantities.reason("other_pack", look(0.0)) == ""
    assert quantities.reason("voltage_v", other) == ""


def test_a_temperature_is_kept_every_second_for_a_minute() -> None:
    quantities = Quantities(FACTS)
    for half in range(300):
        quantities.update(look(half / 2), Estimate(0.0), IN_AIR)
    times_s = [t_s for t_s, _ in quantities.state().temperatures]
    assert times_s == [float(t_s) for t_s in range(89, 150)]
    quantities.resume()
    assert quantities.state().temperatures == ()


def test_a_temperature_is_kept_a_second_after_the_last_one() -> None:
    quantities = Quantities(FACTS)
    for tenths in (0, 5, 9, 10, 19, 20, 25, 31):
        quantities.update(look(tenths / 10), Estimate(0.0), IN_AIR)
    assert [t_s for t_s, _ in quantities.state().temperatures] == [0.0, 1.0, 2.0, 3.1]

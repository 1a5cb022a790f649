# SPDX-License-Identifier: Apache-2.0
"""One verdict: the limits of home and mission follow it, and actions follow the limits."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import product

import pytest

from dronebms.core.report import Action, ActionKind, Estimate, Severity, Status, Verdict
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.protection.actions import Actions
from dronebms.protection.alarms import Alarms
from dronebms.protection.limits import default_limits
from dronebms.simulation.simulated_flight import SimOptions, Simulation
from tests.snapshots import FACTS, look

FLOWN = VehicleState(armed=True, mode="AUTO")
LANDED = VehicleState(armed=False, mode="AUTO")
LEAST = {
    Verdict.YES: Severity.OK,
    Verdict.UNKNOWN: Severity.OK,
    Verdict.MARGINAL: Severity.WARNING,
    Verdict.NO: Severity.CRITICAL,
}
HOLD_S, GRACE_S = 5.0, 31.0
SOUND = Estimate(0.0, soc_pct=60.0, remaining_s=900.0, remaining_low_s=700.0)
MARGINAL = replace(
    SOUND,
    home_verdict=Verdict.MARGINAL,
    home_reserve_s=-20.0,
    home_margin_s=95.0,
    home_best_s=300.0,
    turn_back_in_s=0.0,
)
NO = replace(MARGINAL, home_verdict=Verdict.NO, home_margin_s=-8.0)


def statuses(
    alarms: Alarms, estimate: Estimate, vehicle: VehicleState, start_s: float, for_s: float
) -> Iterator[Status]:
    """Statuses of a sound pack under load, at 10 Hz."""
    for k in range(round(for_s * 10)):
        t_s = start_s + k / 10
        yield alarms.update(look(t_s), replace(estimate, t_s=t_s), vehicle)


def flown(estimate: Estimate, vehicle: VehicleState = FLOWN, for_s: float = HOLD_S) -> list[Status]:
    """Statuses with an estimate that begins after the first seconds of load."""
    alarms = Alarms(default_limits(FACTS), FACTS)
    list(statuses(alarms, SOUND, vehicle, 0.0, GRACE_S))
    return list(statuses(alarms, estimate, vehicle, GRACE_S, for_s + 0.2))


def verdict_of(margin_s: float | None, reserve_s: float | None) -> Verdict:
    if margin_s is None or reserve_s is None:
        return Verdict.UNKNOWN
    if margin_s <= 0.0:
        return Verdict.NO
    return Verdict.MARGINAL if reserve_s <= 0.0 else Verdict.YES


GRID_S = (None, -300.0, -0.1, 0.0, 0.1, 40.0, 500.0)


@pytest.mark.parametrize(("reserve_s", "margin_s"), list(product(GRID_S, GRID_S)))
@pytest.mark.parametrize("mission", list(Verdict))
def test_the_severity_is_that_of_the_worse_verdict(
    reserve_s: float | None, margin_s: float | None, mission: Verdict
) -> None:
    home = verdict_of(margin_s, reserve_s)
    estimate = replace(
        SOUND,
        home_verdict=home,
        home_reserve_s=reserve_s,
        home_margin_s=margin_s,
        home_best_s=None if margin_s is None else margin_s + 1000.0,
        turn_back_in_s=None if reserve_s is None else max(reserve_s, 0.0) + 100.0,
        mission_verdict=mission,
    )
    status = flown(estimate)[-1]
    if home is Verdict.UNKNOWN:  # a part of it may be known
        assert status.severity >= LEAST[mission]
    else:
        assert status.severity is max(LEAST[home], LEAST[mission])


FLIGHTS = [("survey", 0.4), ("cold_climb", 0.4), ("mission", 0.4), ("mission_headwind", 0.0)]


@pytest.mark.parametrize(("flight", "weak"), FLIGHTS)
def test_no_simulated_flight_shows_a_verdict_that_is_graver_than_the_severity(
    flight: str, weak: float
) -> None:
    options = SimOptions(
        flight=flight, speed=None, duration_s=700.0, faults=(f"weak_cell={weak}",) if weak else ()
    )
    held_s: dict[Verdict, float] = {}
    last, worst = 0.0, Severity.OK
    with ExitStack() as stack:
        for report in Simulation(options, stack).reports():
            vehicle, estimate = report.vehicle, report.estimate
            shown = {estimate.home_verdict} if vehicle.armed else set()
            shown |= {estimate.mission_verdict} if vehicle.flies_mission else set()
            for verdict in Verdict:
                since_s = held_s.get(verdict, 0.0) + report.t_s - last
                held_s[verdict] = since_s if verdict in shown else 0.0
                if held_s[verdict] > HOLD_S + 0.2:
                    assert report.status.severity >= LEAST[verdict], report.t_s
            last, worst = report.t_s, max(worst, report.status.severity)
    assert worst >= Severity.WARNING


def test_there_is_no_verdict_in_flight_before_a_limit_follows_it() -> None:
    options = SimOptions(flight="mission", speed=None, duration_s=60.0)
    with ExitStack() as stack:
        flying = [r for r in Simulation(options, stack).reports() if r.vehicle.armed]
    start_s = flying[0].t_s
    for report in flying:
        estimate = report.estimate
        known = {estimate.home_verdict, estimate.mission_verdict} - {Verdict.UNKNOWN}
        if report.t_s < start_s + 29.0:
            assert not known
            assert estimate.verdict_missing
        elif report.t_s > start_s + 31.0:
            assert known
    assert "30 s of load" in {report.estimate.verdict_missing for report in flying}


def test_a_return_on_critical_follows_no_and_never_marginal() -> None:
    actions = Actions([Action(Severity.CRITICAL, ActionKind.RETURN, hold_s=2.0)])
    alarms = Alarms(default_limits(FACTS), FACTS)
    done: dict[str, float] = {}
    start_s = 0.0
    for name, estimate, for_s in (
        ("yes", SOUND, 60.0),
        ("marginal", MARGINAL, 600.0),
        ("no", NO, 8.0),
    ):
        for status in statuses(alarms, estimate, FLOWN, start_s, for_s):
            requests = actions.update(status, FLOWN, status.t_s)
            if any(request.action.do is ActionKind.RETURN for request in requests):
                done.setdefault(name, status.t_s - start_s)
        start_s += for_s
    assert done == {"no": pytest.approx(HOLD_S + 2.0, abs=0.11)}


@pytest.mark.parametrize(
    ("estimate", "texts"),
    [
        (replace(SOUND, turn_back_in_s=42.0), ["INFO: turn back within 42 s"]),
        (
            replace(MARGINAL, turn_back_in_s=None),
            ["WARNING: home marginal, turn back: 95 s to spare"],
        ),
        (replace(SOUND, home_reserve_s=-1.0), ["WARNING: home marginal, turn back"]),
        (replace(SOUND, home_margin_s=-8.0), ["CRITICAL: home NO, 8 s short, return now"]),
        (
            replace(SOUND, home_best_s=-3.0),
            ["EMERGENCY: home out of reach, 3 s short (95 %)"],
        ),
        (
            replace(SOUND, home_verdict=Verdict.NO, alternate="rally point 2"),
            ["WARNING: rally point 2 in reach"],
        ),
        (
            replace(
                SOUND,
                home_verdict=Verdict.NO,
                alternate="rally point 2",
                alternate_by_return=True,
            ),
            ["WARNING: rally point 2 in reach, RTL goes there"],
        ),
        (
            replace(
                SOUND,
                home_verdict=Verdict.NO,
                alternate="mission landing",
                alternate_by_return=False,
            ),
            ["WARNING: mission landing in reach, RTL goes home"],
        ),
        (
            replace(
                SOUND,
                mission_verdict=Verdict.MARGINAL,
                mission_needs_mah=14_100.0,
                usable_mah=15_000.0,
                usable_low_mah=13_200.0,
            ),
            ["WARNING: mission needs 14.1 of 13.2 Ah (5 %)"],
        ),
        (
            replace(
                SOUND,
                mission_verdict=Verdict.NO,
                mission_needs_mah=4_100.0,
                usable_mah=4_050.0,
                usable_low_mah=3_000.0,
            ),
            [
                "WARNING: mission needs 4.10 of 4.05 Ah",
                "CRITICAL: mission needs 4.10 of 4.05 Ah",
            ],
        ),
        (
            replace(
                SOUND,
                mission_verdict=Verdict.MARGINAL,
                mission_needs_mah=4_100.0,
                usable_low_mah=4_200.0,
                mission_end_low_pct=-3.0,
            ),
            ["WARNING: mission ends with -3 % (5 %)"],
        ),
        (  # a weak cell: the pack ends with charge left, which is no reason
            replace(
                SOUND,
                mission_verdict=Verdict.NO,
                mission_needs_mah=4_100.0,
                usable_mah=4_150.0,
                mission_end_pct=23.0,
            ),
            [
                "WARNING: mission needs 4.10 of 4.15 Ah",
                "CRITICAL: mission needs 4.10 of 4.15 Ah",
            ],
        ),
        (
            replace(SOUND, mission_verdict=Verdict.MARGINAL),
            ["WARNING: mission charge too low (5 %)"],
        ),
    ],
)
def test_a_pilot_text_names_the_lead_time_or_what_is_missing(
    estimate: Estimate, texts: list[str]
) -> None:
    events = [event for status in flown(estimate) for event in status.events]
    assert [event.text for event in events] == texts
    assert all(len(event.text) <= 50 for event in events)


@pytest.mark.parametrize(
    ("vehicle", "trips"),
    [
        (FLOWN, True),
        (replace(FLOWN, mode="MISSION"), True),
        (replace(FLOWN, mode="LOITER"), False),
        (LANDED, False),
        (replace(FLOWN, mode=None), False),
        (UNKNOWN_VEHICLE, False),
    ],
)
def test_the_mission_is_judged_while_it_is_flown(vehicle: VehicleState, trips: bool) -> None:  # noqa: FBT001 - a parameter
    active = flown(replace(SOUND, mission_verdict=Verdict.NO), vehicle)[-1].active
    assert ("mission_no" in active) is trips


def test_a_mission_that_is_left_and_a_landing_clear_the_limits() -> None:
    alarms = Alarms(default_limits(FACTS), FACTS)
    both = replace(NO, mission_verdict=Verdict.NO)
    list(statuses(alarms, SOUND, FLOWN, 0.0, GRACE_S))
    *_, status = statuses(alarms, both, FLOWN, GRACE_S, 6.0)
    assert {"home_now", "mission_no"} <= set(status.active)
    *_, status = statuses(alarms, both, replace(FLOWN, mode="RTL"), 40.0, 31.0)
    assert "mission_no" not in status.active
    assert "home_now" in status.active
    *_, status = statuses(alarms, both, LANDED, 75.0, 31.0)
    assert status.active == ()


def test_no_verdict_trips_in_the_first_seconds_of_load() -> None:
    alarms = Alarms(default_limits(FACTS), FACTS)
    both = replace(NO, mission_verdict=Verdict.NO, alternate="rally point 1")
    assert not any(s.active for s in statuses(alarms, both, FLOWN, 0.0, 29.9))
    *_, status = statuses(alarms, both, FLOWN, 29.9, 6.0)
    assert "home_now" in status.active

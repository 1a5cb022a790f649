"""What is wanted when, and the rule of precedence: which command may go out, or why none."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dronebms.core.report import GOVERNOR, Action, ActionKind, ActionRequest, Severity, Status
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.protection.actions import DEFAULT_ACTIONS, Actions, explain
from dronebms.protection.limits import default_limits
from mavlink_bridge.vehicle.precedence import Decision, SentCommand, decide, refusal
from tests.looks import FACTS

FLYING = VehicleState(armed=True, mode="AUTO", heartbeat_age_s=0.5)
COMMANDS = (ActionKind.REDUCE, ActionKind.RETURN, ActionKind.LAND)
HOME = Action(Severity.CRITICAL, ActionKind.RETURN, hold_s=3.0, cooldown_s=20.0)
DOWN = Action("cell_emergency", ActionKind.LAND, hold_s=1.0)


def bad(t_s: float, severity: Severity = Severity.CRITICAL, *active: str) -> Status:
    return Status(t_s, severity, active or ("hot_critical",))


def want(do: ActionKind, event: tuple[int, int, int] = (0, 2, 1), **row: object) -> ActionRequest:
    return ActionRequest(Action(Severity.CRITICAL, do, **row), event, "hot_critical", 0.0)  # type: ignore[arg-type]  # by name


def in_mode(mode: str | None) -> VehicleState:
    return replace(FLYING, mode=mode)


# ---------------------------------------------------------------------- what is wanted


def test_without_a_configuration_nothing_is_asked_of_the_vehicle() -> None:
    actions = Actions()
    seen = {
        one.action.do
        for k in range(300)
        for one in actions.update(bad(k * 0.1, Severity.EMERGENCY), FLYING)
    }
    assert seen == {ActionKind.REPORT, ActionKind.ANNOUNCE}
    assert all(row.do < ActionKind.REDUCE for row in DEFAULT_ACTIONS)


def times_wanted(row: Action, statuses: list[tuple[Status, VehicleState]]) -> list[float]:
    actions = Actions([row])
    return [
        status.t_s
        for status, vehicle in statuses
        if any(one.action is row for one in actions.update(status, vehicle))
    ]


def test_it_is_wanted_when_it_has_held_and_until_it_is_over() -> None:
    bad_from, good_from = 5.0, 15.0
    steps = [
        (bad(t) if bad_from <= t < good_from else Status(t), FLYING)
        for t in (k * 0.5 for k in range(60))
    ]
    assert times_wanted(HOME, steps) == [t * 0.5 for t in range(16, 30)]


def test_what_does_not_hold_long_enough_is_not_wanted() -> None:
    steps = [(bad(t) if t % 4 else Status(t), FLYING) for t in map(float, range(40))]
    assert times_wanted(replace(HOME, hold_s=3.5), steps) == []


def test_it_is_not_wanted_again_before_the_cooldown_is_over() -> None:
    steps = [(Status(t) if t == 10.0 else bad(t), FLYING) for t in map(float, range(50))]
    wanted_s = times_wanted(HOME, steps)
    assert wanted_s == [float(t) for t in (*range(3, 10), *range(30, 50))]


def test_a_milder_severity_or_another_limit_does_not_meet_a_row() -> None:
    assert times_wanted(HOME, [(bad(float(t), Severity.WARNING), FLYING) for t in range(9)]) == []
    assert times_wanted(DOWN, [(bad(float(t)), FLYING) for t in range(9)]) == []
    worse = [(bad(float(t), Severity.EMERGENCY, "cell_emergency"), FLYING) for t in range(9)]
    assert times_wanted(HOME, worse)
    assert times_wanted(DOWN, worse)


def test_the_governor_is_a_trigger_and_says_what_it_asks() -> None:
    actions = Actions([Action(GOVERNOR, ActionKind.REDUCE, hold_s=0.0, speed_m_s=6.0)])
    assert actions.update(Status(0.0), FLYING) == ()
    (one,) = actions.update(Status(1.0, asked_max_a=42.0), FLYING)
    assert (one.because, one.max_a, one.action.speed_m_s) == (GOVERNOR, 42.0, 6.0)
    (same,) = actions.update(Status(2.0, asked_max_a=40.0), FLYING)
    assert (same.key, same.since_s, same.max_a) == (one.key, 1.0, 40.0)


def test_nothing_begins_before_arming_and_silence_of_the_vehicle_ends_nothing() -> None:
    on_ground = replace(FLYING, armed=False)
    for before in (on_ground, UNKNOWN_VEHICLE):
        assert times_wanted(HOME, [(bad(float(t)), before) for t in range(30)]) == []
    heard = {5.0: UNKNOWN_VEHICLE, 6.0: UNKNOWN_VEHICLE, 9.0: on_ground}
    steps = [(bad(t), heard.get(t, FLYING)) for t in map(float, range(12))]
    assert times_wanted(HOME, steps) == [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]


def test_the_most_urgent_stands_first() -> None:
    actions = Actions([HOME, DOWN])
    actions.update(bad(0.0, Severity.EMERGENCY, "cell_emergency"), FLYING)
    wanted = actions.update(bad(4.0, Severity.EMERGENCY, "cell_emergency"), FLYING)
    assert [one.action.do for one in wanted] == [
        ActionKind.LAND,
        ActionKind.RETURN,
        ActionKind.ANNOUNCE,
        ActionKind.REPORT,
    ]
    assert len({one.key for one in wanted}) == 4


def test_explain_states_each_limit_with_its_actions_in_a_line() -> None:
    lines = explain(default_limits(FACTS), [HOME, DOWN, Action(GOVERNOR, ActionKind.REDUCE)])
    assert len(lines) == len(default_limits(FACTS)) + 1
    assert lines[0] == (
        "cell_emergency        EMERGENCY  lowest_cell_v <= 3.1 for 2 s -> report, announce, "
        "return after 3 s while armed, land after 1 s while armed"
    )
    assert "worn                  INFO       soh_pct <= 80 for 10 s -> report" in lines
    assert lines[-1] == "governor -> reduce"
    assert explain([])[-1] == "governor -> report"


# ---------------------------------------------------------------------- precedence


@pytest.mark.parametrize("do", COMMANDS)
@pytest.mark.parametrize(
    ("vehicle", "why"),
    [
        (UNKNOWN_VEHICLE, "no heartbeat"),
        (replace(FLYING, heartbeat_age_s=2.1), "no heartbeat"),
        (replace(FLYING, armed=False), "not armed"),
        (replace(FLYING, armed=None), "not armed"),
        (in_mode(None), "mode is unknown"),
        (in_mode("LAND"), "landing"),
        (in_mode("PRECLAND"), "landing"),
        (replace(FLYING, failsafe=True), "failsafe"),
    ],
)
def test_no_command_to_a_vehicle_that_is_(do: ActionKind, vehicle: VehicleState, why: str) -> None:
    assert why in str(refusal(do, vehicle))
    decision = decide([want(do)], vehicle, None, 10.0)
    assert (decision.send, decision.sent) == (None, None)
    assert why in decision.reason


@pytest.mark.parametrize("mode", ["RTL", "SMART_RTL", "AUTO_RTL"])
def test_a_return_is_replaced_by_a_landing_and_by_nothing_less(mode: str) -> None:
    assert refusal(ActionKind.LAND, in_mode(mode)) is None
    assert f"vehicle is in {mode}" in str(refusal(ActionKind.RETURN, in_mode(mode)))
    assert f"vehicle is in {mode}" in str(refusal(ActionKind.REDUCE, in_mode(mode)))


def test_of_several_the_most_urgent_is_sent_and_reporting_is_no_command() -> None:
    all_of_them = [want(do, (0, int(do), 1)) for do in ActionKind]
    assert decide(all_of_them, FLYING, None, 0.0).send is ActionKind.LAND
    assert decide(all_of_them[:2], FLYING, None, 0.0).send is None
    assert decide([], FLYING, None, 0.0).reason == "no action requested"


def test_asking_for_less_stays_in_force_and_takes_no_mode() -> None:
    for t_s in (0.0, 0.1, 0.2):
        decision = decide([want(ActionKind.REDUCE)], FLYING, None, t_s)
        assert (decision.send, decision.sent) == (ActionKind.REDUCE, None)


def flown(
    wanted: list[ActionRequest], modes: dict[float, VehicleState], until_s: float
) -> list[tuple[float, ActionKind]]:
    """Return when which command was sent, a step a second, the vehicle changing as told."""
    vehicle, sent, commands = FLYING, None, []
    for t_s in (float(t) for t in range(int(until_s))):
        vehicle = modes.get(t_s, vehicle)
        decision: Decision = decide(wanted, vehicle, sent, t_s)
        sent = decision.sent
        if decision.send is not None:
            commands.append((t_s, decision.send))
    return commands


def test_one_event_has_one_command_when_it_is_obeyed() -> None:
    obeyed = {1.0: in_mode("RTL")}
    assert flown([want(ActionKind.RETURN)], obeyed, 60.0) == [(0.0, ActionKind.RETURN)]


def test_a_pilot_who_chooses_another_mode_is_left_alone_until_disarming() -> None:
    pilot = {1.0: in_mode("RTL"), 10.0: in_mode("LOITER")}
    assert flown([want(ActionKind.RETURN)], pilot, 60.0) == [(0.0, ActionKind.RETURN)]
    sent = decide(
        [want(ActionKind.RETURN)],
        in_mode("LOITER"),
        SentCommand((0, 2, 1), ActionKind.RETURN, 0, "AUTO"),
        2.0,
    )
    assert sent.sent is not None
    assert sent.sent.overridden  # before it was obeyed: AUTO has become LOITER
    for event in ((0, 2, 1), (0, 2, 2), (1, 5, 1)):
        later = decide([want(ActionKind.LAND, event)], in_mode("LOITER"), sent.sent, 50.0)
        assert later.send is None
    assert (
        "pilot"
        in decide([want(ActionKind.LAND, (0, 3, 1))], in_mode("AUTO"), sent.sent, 51.0).reason
    )
    landed = decide([], replace(FLYING, armed=False), sent.sent, 52.0)
    assert landed.sent is None
    assert (
        decide([want(ActionKind.LAND, (0, 3, 1))], FLYING, landed.sent, 53.0).send
        is ActionKind.LAND
    )


def test_a_vehicle_that_does_not_obey_is_told_again_then_something_more_urgent_then_no_more() -> (
    None
):
    row = want(ActionKind.RETURN, retry_s=3.0, retries=2, escalate=ActionKind.LAND)
    due = [(t, ActionKind.RETURN) for t in (0.0, 3.0, 6.0)] + [
        (t, ActionKind.LAND) for t in (9.0, 12.0, 15.0)
    ]
    assert flown([row], {}, 120.0) == due
    without = want(ActionKind.RETURN, retry_s=3.0, retries=1)
    assert flown([without], {}, 120.0) == [(0.0, ActionKind.RETURN), (3.0, ActionKind.RETURN)]
    less = want(ActionKind.LAND, retry_s=3.0, retries=0, escalate=ActionKind.RETURN)
    assert flown([less], {}, 120.0) == [(0.0, ActionKind.LAND)]


def test_a_worse_event_has_its_own_command_and_the_old_one_is_not_repeated_after_it() -> None:
    home, down = want(ActionKind.RETURN, (0, 2, 1)), want(ActionKind.LAND, (1, 3, 1), retries=0)
    first = decide([home], FLYING, None, 0.0)
    second = decide([home, down], FLYING, first.sent, 1.0)
    assert (first.send, second.send) == (ActionKind.RETURN, ActionKind.LAND)
    for t_s in range(2, 90):
        second = decide([home], FLYING, second.sent, float(t_s))
        assert second.send is None
    assert second.reason == "command already sent for this event"
    assert (
        decide([want(ActionKind.RETURN, (0, 2, 2))], FLYING, second.sent, 91.0).send
        is ActionKind.RETURN
    )


vehicles = st.builds(
    VehicleState,
    armed=st.sampled_from([True, True, True, False, None]),
    mode=st.sampled_from(["AUTO", "LOITER", "RTL", "SMART_RTL", "LAND", None]),
    failsafe=st.sampled_from([None, False, False, True]),
    heartbeat_age_s=st.sampled_from([None, 0.0, 1.0, 2.0, 3.0]),
)
wanteds = st.lists(
    st.builds(
        lambda do, row, times: want(do, (0, 10 * row + do, times)),
        st.sampled_from(ActionKind),
        st.integers(0, 1),
        st.integers(1, 2),
    )
)


@given(st.lists(st.tuples(wanteds, vehicles, st.floats(0.0, 5.0)), max_size=40))
def test_whatever_happens_the_rule_holds(
    steps: list[tuple[list[ActionRequest], VehicleState, float]],
) -> None:
    urgency = {"RTL": ActionKind.RETURN, "SMART_RTL": ActionKind.RETURN, "LAND": ActionKind.LAND}
    sent, now_s = None, 0.0
    for wanted, vehicle, dt_s in steps:
        now_s += dt_s
        decision = decide(wanted, vehicle, sent, now_s)
        sent = decision.sent
        if decision.send is None:
            continue
        assert vehicle.armed is True
        assert vehicle.failsafe is not True
        assert vehicle.heartbeat_age_s is not None
        assert vehicle.heartbeat_age_s <= 2.0
        assert decision.send > urgency.get(str(vehicle.mode), ActionKind.REPORT)
        assert decision.send in {one.action.do for one in wanted}


def test_the_page_on_protection_shows_the_table_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "protection.md").read_text(encoding="utf-8")
    assert "\n".join(explain(default_limits(FACTS))) in page

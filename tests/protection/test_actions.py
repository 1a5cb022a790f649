"""When an action is requested."""

from dataclasses import replace
from pathlib import Path

from dronebms.core.report import GOVERNOR, Action, ActionKind, Severity, Status
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.protection.actions import DEFAULT_ACTIONS, Actions, explain
from dronebms.protection.limits import default_limits
from tests.looks import FACTS

FLYING = VehicleState(armed=True, mode="AUTO", heartbeat_age_s=0.5)
COMMANDS = (ActionKind.REDUCE, ActionKind.RETURN, ActionKind.LAND)
HOME = Action(Severity.CRITICAL, ActionKind.RETURN, hold_s=3.0, cooldown_s=20.0)
DOWN = Action("cell_emergency", ActionKind.LAND, hold_s=1.0)


def bad(t_s: float, severity: Severity = Severity.CRITICAL, *active: str) -> Status:
    return Status(t_s, severity, active or ("hot_critical",))


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


def test_the_page_on_protection_shows_the_table_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "protection.md").read_text(encoding="utf-8")
    assert "\n".join(explain(default_limits(FACTS))) in page

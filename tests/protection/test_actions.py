# SPDX-License-Identifier: Apache-2.0
"""When an action is requested."""

from dataclasses import replace

from dronebms.core.report import GOVERNOR, Action, ActionKind, Severity, Status
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.protection.actions import DEFAULT_ACTIONS, Actions, explain
from dronebms.protection.limits import default_limits
from tests.snapshots import FACTS

FLYING = VehicleState(armed=True, mode="AUTO", heartbeat_age_s=0.5)
COMMANDS = (ActionKind.REDUCE, ActionKind.RETURN, ActionKind.LAND)
HOME = Action(Severity.CRITICAL, ActionKind.RETURN, hold_s=3.0, cooldown_s=20.0)
DOWN = Action("cell_emergency", ActionKind.LAND, hold_s=1.0)


def bad(t_s: float, severity: Severity = Severity.CRITICAL, *active: str) -> Status:
    return Status(t_s, severity, active or ("hot_critical",))


# ---------------------------------------------------------------------- requests


def test_without_a_configuration_limits_are_reported_and_announced_alone() -> None:
    actions = Actions()
    seen = {
        one.action.do
        for k in range(300)
        for one in actions.update(bad(k * 0.1, Severity.EMERGENCY), FLYING, k * 0.1)
    }
    assert seen == {ActionKind.REPORT, ActionKind.ANNOUNCE}
    assert all(row.do < ActionKind.REDUCE for row in DEFAULT_ACTIONS)


def active_times_s(row: Action, statuses: list[tuple[Status, VehicleState]]) -> list[float]:
    actions = Actions([row])
    return [
        status.t_s
        for status, vehicle in statuses
        if any(one.action is row for one in actions.update(status, vehicle, status.t_s))
    ]


def test_an_action_is_active_from_the_end_of_its_debounce_to_the_end_of_its_trigger() -> None:
    bad_from, good_from = 5.0, 15.0
    steps = [
        (bad(t) if bad_from <= t < good_from else Status(t), FLYING)
        for t in (k * 0.5 for k in range(60))
    ]
    assert active_times_s(HOME, steps) == [t * 0.5 for t in range(16, 30)]


def test_a_trigger_shorter_than_the_debounce_starts_nothing() -> None:
    steps = [(bad(t) if t % 4 else Status(t), FLYING) for t in map(float, range(40))]
    assert active_times_s(replace(HOME, hold_s=3.5), steps) == []


def test_an_action_does_not_start_again_within_its_cooldown() -> None:
    steps = [(Status(t) if t == 10.0 else bad(t), FLYING) for t in map(float, range(50))]
    active_s = active_times_s(HOME, steps)
    assert active_s == [float(t) for t in (*range(3, 10), *range(30, 50))]


def test_a_milder_severity_or_another_limit_does_not_meet_a_row() -> None:
    assert active_times_s(HOME, [(bad(float(t), Severity.WARNING), FLYING) for t in range(9)]) == []
    assert active_times_s(DOWN, [(bad(float(t)), FLYING) for t in range(9)]) == []
    worse = [(bad(float(t), Severity.EMERGENCY, "cell_emergency"), FLYING) for t in range(9)]
    assert active_times_s(HOME, worse)
    assert active_times_s(DOWN, worse)


def test_the_governor_is_a_trigger_and_its_limit_is_in_the_request() -> None:
    actions = Actions([Action(GOVERNOR, ActionKind.REDUCE, hold_s=0.0, speed_m_s=6.0)])
    assert actions.update(Status(0.0), FLYING, 0.0) == ()
    (one,) = actions.update(Status(1.0, asked_max_a=42.0), FLYING, 1.0)
    assert (one.key, one.because, one.max_a) == ((0, 2, 1.0), GOVERNOR, 42.0)
    assert one.action.speed_m_s == 6.0
    (same,) = actions.update(Status(2.0, asked_max_a=40.0), FLYING, 2.0)
    assert (same.key, same.max_a) == ((0, 2, 1.0), 40.0)


def test_no_action_starts_before_arming_and_loss_of_the_heartbeat_ends_none() -> None:
    on_ground = replace(FLYING, armed=False)
    for before in (on_ground, UNKNOWN_VEHICLE):
        assert active_times_s(HOME, [(bad(float(t)), before) for t in range(30)]) == []
    vehicles = {5.0: UNKNOWN_VEHICLE, 6.0: UNKNOWN_VEHICLE, 9.0: on_ground}
    steps = [(bad(t), vehicles.get(t, FLYING)) for t in map(float, range(12))]
    assert active_times_s(HOME, steps) == [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]


def test_a_debounce_goes_on_while_it_is_unknown_whether_the_vehicle_is_armed() -> None:
    steps = [(bad(t), UNKNOWN_VEHICLE if t in (1.0, 3.0) else FLYING) for t in map(float, range(6))]
    assert active_times_s(HOME, steps) == [4.0, 5.0]


def test_the_most_urgent_stands_first() -> None:
    actions = Actions([HOME, DOWN])
    actions.update(bad(0.0, Severity.EMERGENCY, "cell_emergency"), FLYING, 0.0)
    requests = actions.update(bad(4.0, Severity.EMERGENCY, "cell_emergency"), FLYING, 4.0)
    assert [one.action.do for one in requests] == [
        ActionKind.LAND,
        ActionKind.RETURN,
        ActionKind.ANNOUNCE,
        ActionKind.REPORT,
    ]
    assert len({one.key for one in requests}) == 4


def test_rows_that_change_places_keep_what_they_have_reached() -> None:
    slow, fast = (
        Action(Severity.CRITICAL, ActionKind.REDUCE, hold_s=hold_s) for hold_s in (9.0, 1.0)
    )
    actions = Actions([slow, fast])
    for k in range(30):
        actions.update(bad(0.1 * k), FLYING, 0.1 * k)
    before = {row.action: row for row in actions.state().rows}
    assert before[fast].request is not None
    assert before[slow].request is None
    actions.use([fast, slow])
    assert {row.action: row for row in actions.state().rows} == before


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


def test_a_changed_row_continues_and_the_row_that_is_equal_comes_first() -> None:
    slow, fast = (
        Action(Severity.CRITICAL, ActionKind.REDUCE, hold_s=0.0, speed_m_s=speed_m_s)
        for speed_m_s in (9.0, 3.0)
    )
    actions = Actions([slow, fast])
    before = {one.action: one.key for one in actions.update(bad(1.0), FLYING, 1.0)}
    actions.use([fast])
    (request,) = [one for one in actions.update(bad(1.1), FLYING, 1.1) if one.action == fast]
    assert request.key == before[fast]
    changed = replace(fast, speed_m_s=5.0)
    actions.use([changed])
    (request,) = [one for one in actions.update(bad(1.2), FLYING, 1.2) if one.action == changed]
    assert request.key == before[fast]  # no new event
    other = replace(fast, on="hot_critical")
    actions.use([other])
    (request,) = [one for one in actions.update(bad(1.3), FLYING, 1.3) if one.action == other]
    assert request.key not in before.values()


def test_each_row_has_a_number_of_its_own_that_is_never_used_again() -> None:
    actions = Actions([HOME], battery=4)
    numbers = [row.number for row in actions.state().rows]
    actions.use([])
    actions.use([HOME, DOWN])
    later = [row.number for row in actions.state().rows]
    assert later[:2] == numbers[:2] == [0, 1]
    assert later[2:] == [3, 4]
    assert actions.state().next_number == 5
    requests = actions.update(bad(9.0, Severity.CRITICAL, "cell_emergency"), FLYING, 77.0)
    assert {one.key for one in requests} == {(4, 0, 77.0), (4, 1, 77.0)}


def test_an_event_has_the_time_of_its_beginning_and_the_newest_reason_and_limit() -> None:
    actions = Actions([Action(Severity.CRITICAL, ActionKind.REDUCE, hold_s=1.0)])
    found = []
    for t_s, limit_id, max_a in ((5.0, "hot", 40.0), (6.0, "hot", 30.0), (7.0, "cell", 20.0)):
        status = replace(bad(t_s, Severity.CRITICAL, limit_id), asked_max_a=max_a)
        requests = actions.update(status, FLYING, 100.0 + t_s)
        found += [one for one in requests if one.action.do is ActionKind.REDUCE]
    assert [(one.key[2], one.because, one.max_a) for one in found] == [
        (106.0, "hot", 30.0),
        (106.0, "cell", 20.0),
    ]


def test_a_cooldown_ends_at_its_time_and_the_debounce_counts_meanwhile() -> None:
    row = Action(Severity.CRITICAL, ActionKind.RETURN, hold_s=2.0, cooldown_s=10.0)
    actions = Actions([row])

    def active(t_s: float, *, on: bool) -> bool:
        status = bad(t_s) if on else Status(t_s)
        return any(one.action == row for one in actions.update(status, FLYING, t_s))

    assert [active(t_s, on=True) for t_s in (0.0, 1.9, 2.0, 3.0)] == [False, False, True, True]
    assert not active(4.0, on=False)
    assert [active(t_s, on=True) for t_s in (5.0, 13.9, 14.0)] == [False, False, True]


def test_explain_states_what_the_governor_does_and_the_sign_of_each_limit() -> None:
    rows = [Action(GOVERNOR, ActionKind.REDUCE), Action(GOVERNOR, ActionKind.ANNOUNCE)]
    assert explain([], rows) == ["governor -> reduce, announce"]
    assert explain([]) == ["governor -> report"]
    lines = explain(default_limits(FACTS))
    (hot,) = [line for line in lines if line.startswith("hot_critical ")]
    assert "CRITICAL   temperature_degc >= " in hot
    assert hot.endswith("-> report, announce")
    severities = [line.split()[1] for line in lines[:-1]]
    assert severities == sorted(severities, key=["EMERGENCY", "CRITICAL", "WARNING", "INFO"].index)


def test_a_cooldown_ends_with_the_flight() -> None:
    """A pack that is swapped, or is not, within the cooldown is guarded from the next take-off."""
    row = Action(Severity.CRITICAL, ActionKind.RETURN, hold_s=3.0, cooldown_s=600.0)
    on_ground = replace(FLYING, armed=False)
    steps = [(bad(t), on_ground if 10.0 <= t < 20.0 else FLYING) for t in map(float, range(40))]
    active_s = active_times_s(row, steps)
    assert active_s == [float(t) for t in (*range(3, 10), *range(23, 40))]
    cleared = [
        (Status(t) if 8.0 <= t < 20.0 else bad(t), on_ground if 10.0 <= t < 20.0 else FLYING)
        for t in map(float, range(40))
    ]
    assert active_times_s(row, cleared) == [float(t) for t in (*range(3, 8), *range(23, 40))]
    always = replace(row, only_when_armed=False)  # no flight begins or ends for it
    assert active_times_s(always, cleared) == [float(t) for t in range(3, 8)]

# SPDX-License-Identifier: Apache-2.0
"""Precedence of vehicle commands: which command may be sent, or the reason for none."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.flight_plan import FlightPlan, ItemKind, MissionItem
from dronebms.core.report import Action, ActionKind, ActionRequest, Severity
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from mavlink_bridge.vehicle.command_state import Phase
from mavlink_bridge.vehicle.precedence import Decision, SentCommand, activity, decide, refusal

FLYING = VehicleState(armed=True, mode="AUTO", heartbeat_age_s=0.5)
COMMANDS = (ActionKind.REDUCE, ActionKind.RETURN, ActionKind.LAND)


def request(
    do: ActionKind, event: tuple[int, int, float] = (0, 2, 1), **row: object
) -> ActionRequest:
    return ActionRequest(Action(Severity.CRITICAL, do, **row), event, "hot_critical")  # type: ignore[arg-type]  # by name


def in_mode(mode: str | None) -> VehicleState:
    return replace(FLYING, mode=mode)


@pytest.mark.parametrize("do", COMMANDS)
@pytest.mark.parametrize(
    ("vehicle", "reason"),
    [
        (UNKNOWN_VEHICLE, "no heartbeat"),
        (replace(FLYING, heartbeat_age_s=2.1), "no heartbeat"),
        (replace(FLYING, armed=False), "not armed"),
        (replace(FLYING, armed=None), "not armed"),
        (in_mode("LAND"), "landing"),
        (in_mode("PRECLAND"), "landing"),
        (in_mode("TERMINATION"), "landing"),
        (replace(FLYING, terminated=True), "terminated"),
    ],
)
def test_no_command_is_sent_to_a_vehicle_that_is(
    do: ActionKind, vehicle: VehicleState, reason: str
) -> None:
    assert reason in str(refusal(do, vehicle))
    decision = decide([request(do)], vehicle, None, 10.0)
    assert (decision.send, decision.sent) == (None, None)
    assert reason in decision.reason


@pytest.mark.parametrize("on_ground", [True, False, None])
@pytest.mark.parametrize(
    ("vehicle_class", "refused"),
    [
        ("ArduCopter", {ActionKind.RETURN}),
        ("PX4 multirotor", {ActionKind.RETURN}),
        ("PX4 fixed wing", {ActionKind.RETURN}),
        ("ArduPlane", {ActionKind.RETURN, ActionKind.LAND}),
        ("QuadPlane", {ActionKind.RETURN, ActionKind.LAND}),
    ],
)
def test_an_armed_vehicle_on_the_ground_is_commanded_nothing_that_flies(
    vehicle_class: str, refused: set[ActionKind], *, on_ground: bool | None
) -> None:
    vehicle = replace(FLYING, vehicle_class=vehicle_class, mode="GUIDED", on_ground=on_ground)
    for do in COMMANDS:
        expected = "vehicle is on the ground" if on_ground and do in refused else None
        assert refusal(do, vehicle) == expected


@pytest.mark.parametrize("do", COMMANDS)
def test_in_a_mode_that_no_table_has_only_what_is_most_urgent_is_sent(do: ActionKind) -> None:
    other = in_mode(None)
    unlisted = replace(other, vehicle_class="ArduCopter")
    lands = do is ActionKind.LAND
    decision = decide([request(do)], unlisted, None, 10.0)
    assert decision.send is (do if lands else None)
    assert refusal(do, unlisted) == (None if lands else "flight mode is unknown")
    assert refusal(do, other) == "flight mode is unknown"  # no autopilot that has commands
    assert decide([request(do)], other, None, 10.0).send is None


@pytest.mark.parametrize("mode", ["RTL", "SMART_RTL", "AUTO_RTL"])
def test_a_return_is_replaced_by_a_landing_only(mode: str) -> None:
    assert refusal(ActionKind.LAND, in_mode(mode)) is None
    assert f"vehicle is in {mode}" in str(refusal(ActionKind.RETURN, in_mode(mode)))
    assert f"vehicle is in {mode}" in str(refusal(ActionKind.REDUCE, in_mode(mode)))


def test_the_most_urgent_request_is_sent_and_reporting_is_no_command() -> None:
    every_kind = [request(do, (0, int(do), 1)) for do in ActionKind]
    assert decide(every_kind, FLYING, None, 0.0).send is ActionKind.LAND
    assert decide(every_kind[:2], FLYING, None, 0.0).send is None
    assert decide([], FLYING, None, 0.0).reason == "no action requested"


def test_a_reduction_stays_in_force_and_changes_no_mode() -> None:
    for t_s in (0.0, 0.1, 0.2):
        decision = decide([request(ActionKind.REDUCE)], FLYING, None, t_s)
        assert (decision.send, decision.sent) == (ActionKind.REDUCE, None)


def left_by_itself(decision: Decision) -> SentCommand:
    """The command of a decision, once obeyed and left by the autopilot."""
    assert decision.sent is not None
    return replace(decision.sent, phase=Phase.LAPSED)


def flown(
    requests: list[ActionRequest], modes: dict[float, VehicleState], until_s: float
) -> list[tuple[float, ActionKind]]:
    """Commands with their times, one step a second, in the given states of the vehicle."""
    vehicle, sent, commands = FLYING, None, []
    for t_s in (float(t) for t in range(int(until_s))):
        vehicle = modes.get(t_s, vehicle)
        decision: Decision = decide(requests, vehicle, sent, t_s)
        sent = decision.sent
        if decision.send is not None:
            commands.append((t_s, decision.send))
    return commands


def test_one_event_has_one_command_if_the_vehicle_complies() -> None:
    obeyed = {1.0: in_mode("RTL")}
    assert flown([request(ActionKind.RETURN)], obeyed, 60.0) == [(0.0, ActionKind.RETURN)]


def test_no_command_follows_a_mode_of_the_pilot_until_disarming() -> None:
    pilot = {1.0: in_mode("RTL"), 10.0: in_mode("LOITER")}
    assert flown([request(ActionKind.RETURN)], pilot, 60.0) == [(0.0, ActionKind.RETURN)]
    sent = decide(
        [request(ActionKind.RETURN)],
        in_mode("LOITER"),
        SentCommand((0, 2, 1), ActionKind.RETURN, 0, "AUTO"),
        2.0,
    )
    assert sent.sent is not None
    assert sent.sent.overridden  # before the vehicle complied: AUTO has become LOITER
    for event in ((0, 2, 1), (0, 2, 2), (1, 5, 1)):
        later = decide([request(ActionKind.LAND, event)], in_mode("LOITER"), sent.sent, 50.0)
        assert later.send is None
    assert (
        "pilot"
        in decide([request(ActionKind.LAND, (0, 3, 1))], in_mode("AUTO"), sent.sent, 51.0).reason
    )
    landed = decide([], replace(FLYING, armed=False), sent.sent, 52.0)
    assert landed.sent is None
    assert (
        decide([request(ActionKind.LAND, (0, 3, 1))], FLYING, landed.sent, 53.0).send
        is ActionKind.LAND
    )


def test_a_command_is_repeated_then_escalated_then_repeated_after_each_cooldown() -> None:
    row = request(ActionKind.RETURN, retry_s=3.0, retries=2, escalate=ActionKind.LAND)
    due = [(t, ActionKind.RETURN) for t in (0.0, 3.0, 6.0)] + [
        (t, ActionKind.LAND)
        for t in (9.0, 12.0, 15.0, 45.0, 69.0, 72.0)  # four in 60 s
    ]
    assert flown([row], {}, 82.0) == due
    without = request(ActionKind.RETURN, retry_s=3.0, retries=1, cooldown_s=40.0)
    times_s = (0.0, 3.0, 43.0, 46.0, 86.0, 89.0)
    assert flown([without], {}, 120.0) == [(t, ActionKind.RETURN) for t in times_s]
    less = request(ActionKind.LAND, retry_s=3.0, retries=0, escalate=ActionKind.RETURN)
    assert flown([less], {}, 60.0) == [(0.0, ActionKind.LAND), (30.0, ActionKind.LAND)]


def test_a_pilot_who_changes_the_mode_after_a_refusal_gets_no_later_round() -> None:
    row = request(ActionKind.RETURN, retry_s=3.0, retries=0)
    first = decide([row], in_mode("AUTO"), None, 0.0)
    assert first.sent is not None
    refused = first.sent.acknowledged(mavlink.MAV_RESULT_TEMPORARILY_REJECTED, 0.5)
    sent: SentCommand | None = refused
    for t_s in range(1, 120):
        decision = decide([row], in_mode("LOITER"), sent, float(t_s))
        assert decision.send is None
        sent = decision.sent


def test_a_worse_event_has_its_own_command_and_the_earlier_one_is_not_repeated() -> None:
    home, down = (
        request(ActionKind.RETURN, (0, 2, 1)),
        request(ActionKind.LAND, (1, 3, 1), retries=0),
    )
    first = decide([home], FLYING, None, 0.0)
    assert first.send is ActionKind.RETURN
    second = decide([home, down], in_mode("RTL"), first.sent, 1.0)
    assert second.send is ActionKind.LAND
    assert decide([home], in_mode("LAND"), second.sent, 2.0).reason == (
        "command already sent for this event"
    )
    for t_s in range(2, 90):
        second = decide([home], in_mode("RTL"), second.sent, float(t_s))
        assert (second.send, second.reason) == (None, "command already sent for this event")


@pytest.mark.parametrize("result", [None, mavlink.MAV_RESULT_TEMPORARILY_REJECTED])
@pytest.mark.parametrize("over", [True, False])
def test_a_pilot_overrides_the_return_that_a_landing_without_effect_should_replace(
    result: int | None, *, over: bool
) -> None:
    home = request(ActionKind.RETURN, (0, 2, 1))
    down = request(ActionKind.LAND, (1, 3, 2))
    sent = decide([home], FLYING, None, 1.0).sent
    for t_s in (2.0, 5.0, 8.0, 11.0):
        sent = decide([home, down], in_mode("RTL"), sent, t_s).sent
        if result is not None and sent is not None:
            sent = sent.acknowledged(result, t_s + 0.5)
    assert sent is not None
    assert (sent.do, sent.tries, sent.obeyed_before) == (ActionKind.LAND, 3, True)
    requests = [home] if over else [home, down]
    sent = decide(requests, in_mode("RTL"), sent, 14.0).sent
    decision = decide(requests, in_mode("LOITER"), sent, 20.0)
    assert decision.send is None
    assert decision.sent is not None
    assert decision.sent.overridden
    worse = request(ActionKind.LAND, (1, 3, 30))
    assert decide([worse], in_mode("LOITER"), decision.sent, 30.0).send is None


@pytest.mark.parametrize("result", [None, mavlink.MAV_RESULT_TEMPORARILY_REJECTED])
def test_a_return_is_sent_again_after_a_landing_in_its_place_that_had_no_effect(
    result: int | None,
) -> None:
    home = request(ActionKind.RETURN, (0, 2, 1))
    down = request(ActionKind.LAND, (1, 3, 2))
    first = decide([home], FLYING, None, 1.0)
    second = decide([home, down], FLYING, first.sent, 2.0)
    assert (first.send, second.send) == (ActionKind.RETURN, ActionKind.LAND)
    sent = second.sent
    assert sent is not None
    if result is None:
        # The landing may be carried out: a return does not take its place.
        waiting = decide([home], FLYING, sent, 4.4)
        assert (waiting.send, waiting.reason) == (None, "waiting for the vehicle")
    else:
        sent = sent.acknowledged(result, 2.5)
    times_s = (5.1, 8.1, 11.1, 14.1)
    for t_s in times_s[:2]:
        decision = decide([home], FLYING, sent, t_s)
        assert decision.send is ActionKind.RETURN
        sent = decision.sent
    assert sent is not None
    assert (sent.tries, sent.key) == (2, home.key)


def test_a_pilot_who_has_seen_the_refusals_keeps_the_mode_of_an_earlier_event() -> None:
    home = request(ActionKind.RETURN, (0, 2, 1))
    down = request(ActionKind.LAND, (1, 3, 2))
    sent = decide([home, down], FLYING, decide([home], FLYING, None, 1.0).sent, 2.0).sent
    assert sent is not None
    sent = sent.acknowledged(mavlink.MAV_RESULT_TEMPORARILY_REJECTED, 2.5)
    decision = decide([home], in_mode("LOITER"), sent, 10.0)
    assert (decision.send, decision.reason) == (None, "vehicle does not comply, tries: 1")
    worse = request(ActionKind.LAND, (1, 3, 20))
    assert decide([home, worse], in_mode("LOITER"), decision.sent, 20.0).send is ActionKind.LAND
    later = request(ActionKind.RETURN, (0, 2, 20))
    assert decide([later], in_mode("LOITER"), decision.sent, 20.0).send is ActionKind.RETURN


@pytest.mark.parametrize("do", [ActionKind.RETURN, ActionKind.LAND])
def test_a_command_that_was_lost_blocks_no_later_event_when_the_pilot_flies_on(
    do: ActionKind,
) -> None:
    """The event ended before the second try; the mode changes long afterwards."""
    sent = decide([request(ActionKind.RETURN, (0, 2, 1))], FLYING, None, 1.0).sent
    for t_s, mode in ((2.0, "AUTO"), (4.0, "AUTO"), (60.0, "LOITER"), (300.0, "RTL"), (400.0, "")):
        sent = decide([], in_mode(mode or "GUIDED"), sent, t_s).sent
    decision = decide([request(do, (0, 3, 500))], in_mode("GUIDED"), sent, 500.0)
    assert decision.send is do


def test_a_command_whose_event_goes_on_after_a_pause_is_waited_for_again() -> None:
    """As after a restart, before the first report, and while actions are off."""
    home = request(ActionKind.RETURN, (0, 2, 1), retries=0)
    sent = decide([home], FLYING, None, 1.0).sent
    for requests, t_s in (([home], 4.0), ([], 5.0), ([home], 6.0)):
        sent = decide(requests, FLYING, sent, t_s).sent
    assert sent is not None
    late = decide([home], in_mode("RTL"), sent.acknowledged(mavlink.MAV_RESULT_ACCEPTED, 6.5), 7.0)
    assert late.reason == "vehicle has complied"
    pilot = decide([home], in_mode("LOITER"), late.sent, 20.0).sent
    assert pilot is not None
    assert pilot.overridden


LANDING_ITEM = (
    MissionItem(ItemKind.OTHER),
    MissionItem(ItemKind.WAYPOINT),
    MissionItem(ItemKind.LANDING_START),
    MissionItem(ItemKind.LAND),
)


@pytest.mark.parametrize(
    ("vehicle_class", "mode", "item", "on_wing", "lands"),
    [
        ("ArduPlane", "AUTO", 3, True, True),
        ("ArduPlane", "AUTO", 3, None, True),
        ("ArduPlane", "AUTO", 1, True, False),
        ("ArduPlane", "AUTO", 4, True, False),  # of another mission than the one received
        ("ArduPlane", "AUTO", None, True, False),
        ("ArduPlane", "LOITER", 3, True, False),  # a pilot goes around
        ("QuadPlane", "AUTO", 3, False, True),
        ("QuadPlane", "AUTO", 3, True, False),
        ("QuadPlane", "AUTO", 3, None, False),
        ("ArduCopter", "AUTO", 3, False, False),  # reports its landing
    ],
)
def test_a_plane_that_flies_to_its_landing_item_is_landing(
    vehicle_class: str, mode: str, item: int | None, *, on_wing: bool | None, lands: bool
) -> None:
    vehicle = replace(
        in_mode(mode),
        vehicle_class=vehicle_class,
        mission_item=item,
        on_wing=on_wing,
        landing=False,
        plan=FlightPlan(items=LANDING_ITEM),
    )
    for do in (ActionKind.RETURN, ActionKind.LAND):
        assert (refusal(do, vehicle) == "vehicle is landing") == lands
    for plan in (None, FlightPlan()):
        assert refusal(ActionKind.LAND, replace(vehicle, plan=plan)) is None


vehicles = st.builds(
    VehicleState,
    armed=st.sampled_from([True, True, True, False, None]),
    mode=st.sampled_from(["AUTO", "LOITER", "RTL", "SMART_RTL", "LAND", None]),
    failsafe=st.sampled_from([None, False, False, True]),
    heartbeat_age_s=st.sampled_from([None, 0.0, 1.0, 2.0, 3.0]),
)
request_lists = st.lists(
    st.builds(
        lambda do, row, times: request(do, (0, 10 * row + do, times)),
        st.sampled_from(ActionKind),
        st.integers(0, 1),
        st.integers(1, 2),
    )
)


@given(st.lists(st.tuples(request_lists, vehicles, st.floats(0.0, 5.0)), max_size=40))
def test_the_rules_hold_for_any_sequence_of_requests_and_states(
    steps: list[tuple[list[ActionRequest], VehicleState, float]],
) -> None:
    urgency = {"RTL": ActionKind.RETURN, "SMART_RTL": ActionKind.RETURN, "LAND": ActionKind.LAND}
    sent, now_s = None, 0.0
    for requests, vehicle, dt_s in steps:
        now_s += dt_s
        decision = decide(requests, vehicle, sent, now_s)
        sent = decision.sent
        if decision.send is None:
            continue
        assert vehicle.armed is True
        assert vehicle.heartbeat_age_s is not None
        assert vehicle.heartbeat_age_s <= 2.0
        assert decision.send > urgency.get(str(vehicle.mode), ActionKind.REPORT)
        assert decision.send in {one.action.do for one in requests}


def test_the_events_with_a_command_are_sorted_plain_data() -> None:
    sent: SentCommand | None = None
    for index in (3, 1, 2):
        event = (index, 2, 1)
        do = ActionKind.LAND if index == 2 else ActionKind.RETURN
        sent = left_by_itself(decide([request(do, event)], FLYING, sent, 10.0 * index))
    assert sent is not None
    assert sent.earlier == ((1, 2, 1), (3, 2, 1))


def test_a_command_is_unchanged_while_the_mode_is_unknown() -> None:
    sent = SentCommand((0, 2, 1), ActionKind.RETURN, 10.0, "AUTO")
    assert sent.updated(in_mode(None), 11.0) is sent
    assert sent.updated(replace(FLYING, armed=False), 11.0) is None


def test_another_event_waits_for_the_vehicle_that_has_just_been_commanded() -> None:
    first = decide([request(ActionKind.RETURN)], FLYING, None, 10.0)
    assert first.send is ActionKind.RETURN
    again = [request(ActionKind.RETURN, (0, 2, 11))]
    soon = decide(again, FLYING, first.sent, 11.5)
    assert (soon.send, soon.reason) == (None, "waiting for the vehicle")
    assert decide(again, FLYING, first.sent, 13.0).send is ActionKind.RETURN


@pytest.mark.parametrize(("age_s", "reason"), [(9.9, "failsafe is about to act"), (10.0, None)])
def test_a_failsafe_that_holds_is_awaited_for_ten_seconds(age_s: float, reason: str | None) -> None:
    holding = replace(in_mode("LOITER"), failsafe=True, mode_age_s=age_s)
    assert refusal(ActionKind.RETURN, holding) == reason
    assert refusal(ActionKind.REDUCE, holding) == reason
    assert refusal(ActionKind.LAND, holding) is None  # more urgent than the return to come
    for other in (
        replace(holding, failsafe=False),
        replace(holding, failsafe=None),
        replace(holding, mode="POSCTL"),
        replace(holding, mode_age_s=None),
    ):
        assert refusal(ActionKind.RETURN, other) is None


@pytest.mark.parametrize(
    ("vehicle_class", "mode", "failsafe", "lands"),
    [
        ("ArduPlane", "AUTO", True, True),
        ("QuadPlane", "AUTO", True, True),
        ("ArduPlane", "AUTO", False, False),
        ("ArduPlane", "AUTO", None, False),
        ("ArduPlane", "CIRCLE", True, False),
        ("ArduCopter", "AUTO", True, False),
    ],
)
def test_a_plane_lands_in_auto_after_its_own_failsafe(
    vehicle_class: str, mode: str, *, failsafe: bool | None, lands: bool
) -> None:
    vehicle = replace(in_mode(mode), vehicle_class=vehicle_class, failsafe=failsafe)
    for do in (ActionKind.RETURN, ActionKind.LAND):
        assert (refusal(do, vehicle) == "vehicle is landing") == lands


@pytest.mark.parametrize(
    ("phase", "mode", "do", "doing"),
    [
        (Phase.OBEYED, "AUTO", ActionKind.LAND, ActionKind.LAND),
        (Phase.OBEYED, "QRTL", ActionKind.RETURN, ActionKind.RETURN),
        (Phase.OBEYED, "CIRCLE", ActionKind.LAND, ActionKind.REPORT),
        (Phase.OBEYED, "LAND", ActionKind.RETURN, ActionKind.LAND),
        (Phase.ACCEPTED, "AUTO", ActionKind.LAND, ActionKind.REPORT),
    ],
)
def test_a_mode_of_a_command_is_as_urgent_as_the_command(
    phase: Phase, mode: str, do: ActionKind, doing: ActionKind
) -> None:
    sent = SentCommand((0, 2, 1), do, 0.0, "GUIDED", phase=phase, modes=("AUTO", "QRTL"))
    assert activity(in_mode(mode), sent) is doing


def test_a_heartbeat_of_two_seconds_is_fresh() -> None:
    for age_s, refused in ((0.0, False), (2.0, False), (2.01, True), (None, True)):
        vehicle = replace(FLYING, heartbeat_age_s=age_s)
        assert (refusal(ActionKind.LAND, vehicle) is not None) == refused


@pytest.mark.parametrize(("retry_s", "waits_s"), [(0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (3.0, 3.0)])
def test_a_command_is_repeated_after_its_time_of_a_second_at_least(
    retry_s: float, waits_s: float
) -> None:
    row = request(ActionKind.RETURN, retry_s=retry_s)
    first = decide([row], FLYING, None, 10.0)
    soon = decide([row], FLYING, first.sent, 10.0 + waits_s - 0.01)
    assert (soon.send, soon.reason) == (None, "waiting for the vehicle")
    again = decide([row], FLYING, first.sent, 10.0 + waits_s)
    assert again.send is ActionKind.RETURN
    assert again.sent is not None
    assert again.sent.tries == 2


@pytest.mark.parametrize(("retries", "most"), [(0, 4), (2, 4), (3, 4), (4, 5), (6, 7)])
def test_events_that_come_and_go_send_a_few_commands_a_minute(retries: int, most: int) -> None:
    sent, times_s = None, []
    for number in range(130):
        event = request(ActionKind.LAND, (0, 2, number), retry_s=1.0, retries=retries)
        decision = decide([event], FLYING, sent, float(number))
        sent = decision.sent
        if decision.send is not None:
            times_s.append(number)
        elif len(times_s) == most and number < 60:
            assert decision.reason == f"{most} commands in 60 s"
    assert times_s == [start_s + k for start_s in (0, 60, 120) for k in range(most)]


def test_a_command_of_another_kind_has_a_budget_of_its_own() -> None:
    sent = None
    for number in range(4):
        sent = decide(
            [request(ActionKind.RETURN, (0, 2, number), retry_s=1.0)], FLYING, sent, float(number)
        ).sent
    more = [request(ActionKind.RETURN, (0, 2, 9), retry_s=1.0)]
    assert decide(more, FLYING, sent, 5.0).reason == "4 commands in 60 s"
    down = [request(ActionKind.LAND, (0, 3, 9), retry_s=1.0)]
    assert decide(down, FLYING, sent, 5.0).send is ActionKind.LAND


@pytest.mark.parametrize(
    ("vehicle_class", "do", "escalate", "sends"),
    [
        ("ArduSub", ActionKind.RETURN, None, None),
        ("ArduSub", ActionKind.RETURN, ActionKind.LAND, ActionKind.LAND),
        ("ArduSub", ActionKind.LAND, None, ActionKind.LAND),
        ("ArduSub", ActionKind.LAND, ActionKind.RETURN, ActionKind.LAND),
        ("PX4 vehicle", ActionKind.LAND, None, None),
        ("ArduCopter", ActionKind.RETURN, ActionKind.LAND, ActionKind.RETURN),
        (None, ActionKind.RETURN, ActionKind.LAND, ActionKind.RETURN),
    ],
)
def test_an_action_that_the_vehicle_does_not_have_is_escalated_or_refused(
    vehicle_class: str | None,
    do: ActionKind,
    escalate: ActionKind | None,
    sends: ActionKind | None,
) -> None:
    vehicle = replace(FLYING, vehicle_class=vehicle_class)
    decision = decide([request(do, escalate=escalate)], vehicle, None, 0.0)
    assert decision.send is sends
    if sends is None:
        assert decision.reason == f"not possible on {vehicle_class}"


@pytest.mark.parametrize("do", COMMANDS)
def test_a_vehicle_that_avoids_traffic_is_landed_alone(do: ActionKind) -> None:
    avoids = refusal(do, in_mode("AVOID_ADSB"))
    assert avoids == (None if do is ActionKind.LAND else "vehicle avoids traffic")


def test_the_next_command_of_the_class_follows_a_refusal_at_once() -> None:
    plane = replace(FLYING, vehicle_class="ArduPlane", mode="CRUISE")
    row = request(ActionKind.LAND)
    decision = decide([row], plane, None, 0.0)
    found = []
    for t_s in (0.1, 0.2, 0.3):
        sent = decision.sent
        assert sent is not None
        found.append((sent.means, sent.modes, sent.tries))
        refused = sent.acknowledged(mavlink.MAV_RESULT_DENIED, t_s, last=sent.means == 2)
        decision = decide([row], plane, refused, t_s)
    assert found == [
        (0, ("AUTO",), 1), (1, ("AUTOLAND",), 1), (2, ("RTL", "QRTL", "QLAND"), 1),
    ]  # fmt: skip
    assert decision.reason == "waiting for the vehicle"  # all were refused: the next try waits
    again = decide([row], plane, decision.sent, 3.2)
    assert again.sent is not None
    assert (again.send, again.sent.means, again.sent.tries) == (ActionKind.LAND, 0, 2)


@pytest.mark.parametrize("failsafe", [True, False, None])
def test_a_command_knows_whether_a_failsafe_had_chosen_the_mode(*, failsafe: bool | None) -> None:
    vehicle = replace(in_mode("CIRCLE"), failsafe=failsafe, vehicle_class="ArduPlane")
    sent = decide([request(ActionKind.RETURN)], vehicle, None, 5.0).sent
    assert sent is not None
    assert sent.mode_by_failsafe is (failsafe is True)
    assert (sent.mode_before, sent.mode, sent.t_s, sent.tries) == ("CIRCLE", None, 5.0, 1)
    assert sent.recent_s == ((int(ActionKind.RETURN), 5.0),)
    assert sent.modes == ("RTL", "QRTL", "QLAND")


def test_of_each_row_the_last_event_is_known_to_have_had_its_command() -> None:
    sent: SentCommand | None = None
    for number, event in enumerate(((0, 2, 1), (0, 3, 2), (0, 2, 3), (1, 2, 4))):
        row = request(ActionKind.LAND, event)
        sent = left_by_itself(decide([row], FLYING, sent, 100.0 * number))
    assert sent is not None
    assert (sent.key, sent.earlier) == ((1, 2, 4), ((0, 2, 3), (0, 3, 2)))
    for event in ((0, 2, 3), (0, 3, 2)):
        again = decide([request(ActionKind.LAND, event)], FLYING, sent, 900.0)
        assert (again.send, again.reason) == (None, "command already sent for this event")
    assert decide([request(ActionKind.LAND, (0, 2, 5))], FLYING, sent, 900.0).send is not None


def test_commands_of_more_than_a_minute_ago_are_forgotten() -> None:
    sent = None
    for number, t_s in enumerate((0.0, 10.0, 50.0, 60.0)):
        sent = decide([request(ActionKind.LAND, (0, 2, number))], FLYING, sent, t_s).sent
    assert sent is not None
    assert [t_s for _, t_s in sent.recent_s] == [10.0, 50.0, 60.0]


def test_each_try_has_its_number_and_a_lapsed_command_begins_again() -> None:
    row = request(ActionKind.RETURN, retry_s=1.0, retries=3)
    decision, tries = decide([row], FLYING, None, 0.0), []
    for t_s in (1.0, 2.0, 3.0):
        decision = decide([row], FLYING, decision.sent, t_s)
        assert decision.sent is not None
        tries.append(decision.sent.tries)
    assert tries == [2, 3, 4]
    assert decision.sent is not None
    lapsed = replace(decision.sent, phase=Phase.LAPSED, recent_s=())
    again = decide([row], FLYING, lapsed, 9.0)
    assert again.sent is not None
    assert again.sent.tries == 1


@pytest.mark.parametrize(
    ("phase", "means", "waits"),
    [
        (Phase.SENT, 0, True),
        (Phase.SENT, 1, True),
        (Phase.REFUSED, 0, True),
        (Phase.REFUSED, 1, False),
    ],
)
def test_only_the_next_command_of_the_class_after_a_refusal_needs_no_pause(
    phase: Phase, means: int, *, waits: bool
) -> None:
    plane = replace(FLYING, vehicle_class="ArduPlane", mode="CRUISE")
    row = request(ActionKind.LAND, (0, 2, 7))
    sent = decide([row], plane, None, 10.0).sent
    assert sent is not None
    sent = replace(sent, phase=phase, means=means)
    decision = decide([row], plane, sent, 10.5)
    assert (decision.send is None) == waits

# SPDX-License-Identifier: Apache-2.0
"""State machine of a mode command: every row of its table, and sequences of both."""

from dataclasses import replace

import pytest

from dronebms.core.report import ActionKind
from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.vehicle.command_state import SETTLE_S, Phase, SentCommand

ACCEPTED, DENIED, FAILED, IN_PROGRESS = 0, 2, 4, 5  # MAV_RESULT
KEY = (0, 2, 1)
SENT_S = 10.0


def vehicle(mode: str | None, *, failsafe: bool = False, kind: str = "ArduCopter") -> VehicleState:
    return VehicleState(
        armed=True, mode=mode, failsafe=failsafe, heartbeat_age_s=0.0, vehicle_class=kind
    )


def sent(
    phase: Phase,
    mode: str,
    *,
    do: ActionKind = ActionKind.RETURN,
    before: str = "AUTO",
    modes: tuple[str, ...] = ("RTL",),
) -> SentCommand:
    """A command in a phase, with the mode of the last heartbeat."""
    return SentCommand(
        KEY, do, SENT_S, before, phase=phase, modes=modes, mode=mode, accepted_s=SENT_S
    )


def after(command: SentCommand, state: VehicleState, now_s: float = SENT_S + 1.0) -> Phase:
    found = command.updated(state, now_s)
    assert found is not None
    return found.phase


@pytest.mark.parametrize(
    ("phase", "result", "later"),
    [
        (Phase.SENT, ACCEPTED, Phase.ACCEPTED),
        (Phase.REFUSED, ACCEPTED, Phase.ACCEPTED),
        (Phase.SENT, FAILED, Phase.REFUSED),
        (Phase.SENT, DENIED, Phase.REFUSED),
        (Phase.SENT, IN_PROGRESS, Phase.SENT),
        (Phase.UNANSWERED, ACCEPTED, Phase.ACCEPTED),  # late
        (Phase.UNANSWERED, FAILED, Phase.REFUSED),
        (Phase.UNANSWERED, IN_PROGRESS, Phase.UNANSWERED),
        (Phase.ENDED, ACCEPTED, Phase.ENDED),
        (Phase.ENDED, FAILED, Phase.ENDED),
        (Phase.ACCEPTED, FAILED, Phase.ACCEPTED),  # of an earlier try
        (Phase.OBEYED, ACCEPTED, Phase.OBEYED),
        (Phase.OBEYED, FAILED, Phase.OBEYED),
        (Phase.LAPSED, ACCEPTED, Phase.LAPSED),
        (Phase.OVERRIDDEN, ACCEPTED, Phase.OVERRIDDEN),
        (Phase.OVERRIDDEN, FAILED, Phase.OVERRIDDEN),
    ],
)
def test_an_acknowledgement_leads_to(phase: Phase, result: int, later: Phase) -> None:
    found = sent(phase, "AUTO").acknowledged(result, 11.0)
    assert found.phase is later
    if later is Phase.ACCEPTED and phase is not Phase.ACCEPTED:
        assert found.accepted_s == 11.0


def test_the_next_command_of_the_class_is_due_after_a_refusal() -> None:
    first = sent(Phase.SENT, "AUTO").acknowledged(FAILED, 11.0, last=False)
    assert (first.phase, first.means) == (Phase.REFUSED, 1)
    last = replace(first, phase=Phase.SENT).acknowledged(FAILED, 12.0, last=True)
    assert (last.phase, last.means) == (Phase.REFUSED, 0)


OPEN = (Phase.SENT, Phase.UNANSWERED, Phase.REFUSED, Phase.LAPSED)


@pytest.mark.parametrize("phase", [*OPEN, Phase.ACCEPTED, Phase.OBEYED])
@pytest.mark.parametrize("mode", ["RTL", "SMART_RTL", "AUTO_RTL", "LAND"])
def test_a_vehicle_complies_in_a_mode_as_urgent(phase: Phase, mode: str) -> None:
    assert after(sent(phase, mode), vehicle(mode)) is Phase.OBEYED
    if phase is not Phase.OBEYED:
        assert after(sent(phase, "AUTO"), vehicle(mode)) is Phase.OBEYED


OWN_CHANGES = [  # class, mode before, mode after
    ("PX4 multirotor", "TAKEOFF", "LOITER"),
    ("PX4 VTOL", "VTOL_TAKEOFF", "LOITER"),
    ("PX4 fixed wing", "MISSION", "LOITER"),
    ("ArduCopter", "THROW", "AUTO"),
    ("ArduCopter", "THROW", "GUIDED"),
    ("ArduCopter", "FLIP", "STABILIZE"),
    ("ArduCopter", "BRAKE", "LOITER"),
    ("ArduCopter", "BRAKE", "ALT_HOLD"),
    ("ArduCopter", "AUTOTUNE", "LOITER"),
    ("ArduCopter", "AUTO", "AVOID_ADSB"),
    ("ArduCopter", "AVOID_ADSB", "LOITER"),
    ("ArduPlane", "TAKEOFF", "LOITER"),
    ("ArduPlane", "THERMAL", "CRUISE"),
    ("ArduPlane", "INITIALIZING", "FLY_BY_WIRE_A"),
    ("ArduRover", "AUTO", "MANUAL"),
    ("ArduSub", "AUTO", "ALT_HOLD"),
    ("ArduSub", "MOTORDETECT", "STABILIZE"),
]


@pytest.mark.parametrize(("kind", "before", "mode"), OWN_CHANGES)
@pytest.mark.parametrize("phase", OPEN)
def test_a_change_of_its_own_before_it_obeys_is_no_pilot(
    phase: Phase, kind: str, before: str, mode: str
) -> None:
    command = sent(phase, before, before=before)
    assert after(command, vehicle(mode, kind=kind)) is phase
    assert after(command, vehicle(mode, failsafe=True, kind=kind)) is phase


@pytest.mark.parametrize(("kind", "before", "mode"), OWN_CHANGES)
def test_an_accepted_command_that_the_autopilot_leaves_by_itself_has_lapsed(
    kind: str, before: str, mode: str
) -> None:
    command = sent(Phase.ACCEPTED, before, before=before)
    assert after(command, vehicle(mode, kind=kind)) is Phase.LAPSED


@pytest.mark.parametrize(
    ("kind", "do", "modes", "before", "mode"),
    [
        ("ArduCopter", ActionKind.RETURN, ("RTL",), "RTL", "LAND"),
        ("ArduCopter", ActionKind.RETURN, ("RTL",), "SMART_RTL", "RTL"),
        ("ArduPlane", ActionKind.RETURN, ("RTL",), "RTL", "AUTO"),  # RTL_AUTOLAND
        ("QuadPlane", ActionKind.RETURN, ("RTL",), "RTL", "QRTL"),
        ("QuadPlane", ActionKind.RETURN, ("RTL",), "QRTL", "QLAND"),
        ("QuadPlane", ActionKind.RETURN, ("RTL",), "RTL", "QLAND"),
        ("ArduRover", ActionKind.RETURN, ("RTL",), "RTL", "HOLD"),
        ("ArduSub", ActionKind.LAND, ("SURFACE",), "SURFACE", "ALT_HOLD"),
        ("PX4 multirotor", ActionKind.RETURN, ("RTL",), "RTL", "LAND"),
        ("PX4 multirotor", ActionKind.LAND, ("LAND",), "LAND", "DESCEND"),
    ],
)
def test_a_mode_that_follows_the_commanded_one_still_obeys(
    kind: str, do: ActionKind, modes: tuple[str, ...], before: str, mode: str
) -> None:
    command = sent(Phase.OBEYED, before, do=do, modes=modes)
    assert after(command, vehicle(mode, kind=kind)) is Phase.OBEYED
    unseen = sent(Phase.ACCEPTED, "CIRCLE", do=do, modes=modes)  # the commanded mode was missed
    if before in modes:
        assert after(unseen, vehicle(mode, kind=kind)) is Phase.OBEYED


@pytest.mark.parametrize("phase", [Phase.ACCEPTED, Phase.OBEYED])
def test_a_command_that_a_failsafe_or_traffic_ends_has_lapsed(phase: Phase) -> None:
    mode = "RTL" if phase is Phase.OBEYED else "AUTO"
    assert after(sent(phase, mode), vehicle("BRAKE", failsafe=True)) is Phase.LAPSED
    assert after(sent(phase, mode), vehicle("AVOID_ADSB")) is Phase.LAPSED


PILOTS_CHANGES = [
    ("ArduCopter", "AUTO", "LOITER"),
    ("ArduCopter", "GUIDED", "STABILIZE"),
    ("ArduPlane", "AUTO", "FLY_BY_WIRE_A"),
    ("ArduRover", "GUIDED", "MANUAL"),
    ("ArduSub", "ALT_HOLD", "MANUAL"),
    ("PX4 multirotor", "MISSION", "POSCTL"),
    ("PX4 multirotor", "POSCTL", "LOITER"),
    ("PX4 fixed wing", "LOITER", "STABILIZED"),
]


@pytest.mark.parametrize(("kind", "before", "mode"), PILOTS_CHANGES)
@pytest.mark.parametrize("phase", [Phase.SENT, Phase.LAPSED, Phase.ACCEPTED])
def test_any_other_change_is_a_pilot(phase: Phase, kind: str, before: str, mode: str) -> None:
    command = sent(phase, before, before=before)
    assert after(command, vehicle(mode, kind=kind)) is Phase.OVERRIDDEN


@pytest.mark.parametrize(("kind", "before", "mode"), PILOTS_CHANGES)
def test_any_other_change_after_it_obeyed_is_a_pilot(kind: str, before: str, mode: str) -> None:
    for later in {before, mode} - {"AUTO" if kind == "ArduPlane" else ""}:
        command = sent(Phase.OBEYED, "RTL", before=before)
        assert after(command, vehicle(later, kind=kind)) is Phase.OVERRIDDEN


def test_a_pilot_also_chooses_another_return_or_leaves_a_landing() -> None:
    assert after(sent(Phase.OBEYED, "RTL"), vehicle("SMART_RTL")) is Phase.OVERRIDDEN
    assert after(sent(Phase.OBEYED, "LAND"), vehicle("RTL")) is Phase.OVERRIDDEN


@pytest.mark.parametrize(("kind", "before", "mode"), PILOTS_CHANGES)
@pytest.mark.parametrize("phase", [Phase.UNANSWERED, Phase.REFUSED, Phase.ENDED])
def test_a_pilot_cannot_override_a_command_without_effect(
    phase: Phase, kind: str, before: str, mode: str
) -> None:
    command = sent(phase, before, before=before)
    assert after(command, vehicle(mode, kind=kind)) is phase


def test_the_former_mode_after_an_acceptance_is_a_pilot_once_it_has_settled() -> None:
    command = sent(Phase.ACCEPTED, "AUTO")
    early, late = SENT_S + SETTLE_S - 0.1, SENT_S + SETTLE_S
    assert after(command, vehicle("AUTO"), early) is Phase.ACCEPTED
    assert after(command, vehicle("AUTO"), late) is Phase.OVERRIDDEN
    stale = replace(vehicle("AUTO"), heartbeat_age_s=1.0)  # received before it could show it
    assert after(command, stale, late + 0.9) is Phase.ACCEPTED
    landing = sent(Phase.ACCEPTED, "RTL", do=ActionKind.LAND, before="RTL", modes=("LAND",))
    assert after(landing, vehicle("RTL", failsafe=True), late) is Phase.LAPSED


def test_a_failsafe_that_ends_before_it_obeys_is_no_pilot() -> None:
    command = sent(Phase.SENT, "MISSION", before="MISSION")
    held = command.updated(vehicle("LOITER", failsafe=True, kind="PX4 multirotor"), 11.0)
    assert held is not None
    assert held.phase is Phase.SENT
    assert after(held, vehicle("MISSION", kind="PX4 multirotor"), 12.0) is Phase.SENT
    assert after(held, vehicle("POSCTL", kind="PX4 multirotor"), 12.0) is Phase.OVERRIDDEN


@pytest.mark.parametrize("mode", ["RTL", "LAND", "LOITER", "AUTO", "GUIDED"])
def test_an_override_lasts_until_disarming(mode: str) -> None:
    command = sent(Phase.OVERRIDDEN, "LOITER")
    assert after(command, vehicle(mode), 99.0) is Phase.OVERRIDDEN
    assert command.after_restart(99.0) is command
    assert command.updated(replace(vehicle(mode), armed=False), 99.0) is None


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.OVERRIDDEN])
def test_a_restart_of_the_autopilot_ends_the_command(phase: Phase) -> None:
    assert sent(phase, "RTL").after_restart(99.0) is None


def test_a_mode_that_changed_just_before_the_restart_was_no_pilot() -> None:
    command = sent(Phase.OBEYED, "RTL").updated(vehicle("STABILIZE"), 20.0)
    assert command is not None
    assert command.overridden
    assert command.after_restart(21.9) is None
    assert command.after_restart(22.0) is command


@pytest.mark.parametrize("phase", list(Phase))
def test_lost_heartbeats_change_nothing(phase: Phase) -> None:
    command = sent(phase, "AUTO")
    for state in (
        VehicleState(),
        replace(vehicle("STABILIZE"), heartbeat_age_s=2.1),
        replace(vehicle("STABILIZE"), heartbeat_age_s=None),
    ):
        assert command.updated(state, 50.0) is command


@pytest.mark.parametrize(
    ("kind", "do", "mode", "landing"),
    [
        ("PX4 multirotor", ActionKind.LAND, "DESCEND", "LAND"),
        ("PX4 multirotor", ActionKind.LAND, "LAND", "PRECLAND"),
        ("PX4 multirotor", ActionKind.RETURN, "RTL", "PRECLAND"),
        ("ArduCopter", ActionKind.RETURN, "SMART_RTL", "LAND"),
        ("ArduRover", ActionKind.RETURN, "SMART_RTL", "HOLD"),
    ],
)
def test_a_landing_after_our_command_is_no_pilot_who_takes_over(
    kind: str, do: ActionKind, mode: str, landing: str
) -> None:
    command = sent(Phase.OBEYED, mode, do=do, modes=(mode,))
    landed = command.updated(vehicle(landing, kind=kind), 20.0)
    assert landed is not None
    assert (landed.phase, landed.mode) == (Phase.OBEYED, landing)
    assert after(landed, vehicle("STABILIZE", kind=kind)) is Phase.OVERRIDDEN  # a pilot leaves it


@pytest.mark.parametrize("phase", list(Phase))
def test_a_mode_that_no_table_has_is_a_pilot_once_the_command_was_obeyed(phase: Phase) -> None:
    command = sent(phase, "AUTO")
    seen = command.updated(vehicle(None), 50.0)
    assert seen is not None
    if phase is Phase.OBEYED:
        assert (seen.phase, seen.mode) == (Phase.OVERRIDDEN, "unknown mode")
    else:
        assert seen is command


def test_a_command_in_a_mode_that_no_table_has_is_followed_like_any_other() -> None:
    command = sent(Phase.SENT, "unknown mode", do=ActionKind.LAND, modes=("LAND",))
    waiting = command.updated(vehicle(None), 10.5)
    assert (waiting and waiting.phase) is Phase.SENT
    silent = command.updated(vehicle(None), 60.0)
    assert (silent and silent.phase) is Phase.UNANSWERED
    assert after(command, vehicle("LAND")) is Phase.OBEYED
    assert after(command, vehicle("LOITER")) is Phase.OVERRIDDEN


def test_a_landing_sequence_in_the_mode_before_needs_an_acknowledgement() -> None:
    command = sent(Phase.SENT, "AUTO", do=ActionKind.LAND, modes=("AUTO",))
    assert after(command, vehicle("AUTO", kind="ArduPlane")) is Phase.SENT
    accepted = command.acknowledged(ACCEPTED, 10.5)
    assert after(accepted, vehicle("AUTO", kind="ArduPlane")) is Phase.OBEYED


def test_the_time_of_an_override_is_that_of_its_beginning() -> None:
    command = sent(Phase.SENT, "AUTO")
    obeyed = command.updated(vehicle("RTL"), 11.0)
    assert obeyed is not None
    assert (obeyed.phase, obeyed.overridden_s) == (Phase.OBEYED, 0.0)
    ended = obeyed.updated(vehicle("LOITER"), 20.0)
    assert ended is not None
    assert (ended.phase, ended.overridden_s) == (Phase.OVERRIDDEN, 20.0)
    later = ended.updated(vehicle("STABILIZE"), 30.0)
    assert later is not None
    assert (later.phase, later.mode, later.overridden_s) == (Phase.OVERRIDDEN, "STABILIZE", 20.0)
    assert later.updated(vehicle("STABILIZE"), 31.0) is later


def test_a_heartbeat_counts_up_to_two_seconds() -> None:
    command = sent(Phase.SENT, "AUTO")
    for age_s, phase in ((0.0, Phase.OBEYED), (2.0, Phase.OBEYED), (2.01, Phase.SENT)):
        assert after(command, replace(vehicle("RTL"), heartbeat_age_s=age_s)) is phase


def test_an_unknown_arming_changes_nothing() -> None:
    command = sent(Phase.OBEYED, "RTL")
    unknown = replace(vehicle("LOITER"), armed=None)
    assert command.updated(unknown, 11.0) is command
    assert command.updated(replace(unknown, armed=False), 11.0) is None


def test_a_failsafe_that_chose_the_mode_is_remembered_until_the_next_one() -> None:
    command = sent(Phase.SENT, "MISSION", before="MISSION")
    held = command.updated(vehicle("LOITER", failsafe=True, kind="PX4 multirotor"), 11.0)
    assert held is not None
    assert (held.mode, held.mode_by_failsafe) == ("LOITER", True)
    back = held.updated(vehicle("MISSION", kind="PX4 multirotor"), 12.0)
    assert back is not None
    assert (back.mode, back.mode_by_failsafe, back.overridden_s) == ("MISSION", False, 0.0)


@pytest.mark.parametrize("mode", ["LOITER", "AUTO"])
def test_a_mode_of_the_command_complies_only_if_it_is_answered_or_new(mode: str) -> None:
    command = sent(Phase.SENT, "AUTO", do=ActionKind.LAND, modes=("AUTO", "LOITER"))
    assert command.complies(mode) == (mode != "AUTO")
    for phase in (Phase.ACCEPTED, Phase.OBEYED):
        assert replace(command, phase=phase).complies(mode)
    assert not command.complies("GUIDED")
    assert command.complies("LAND")


def test_a_command_is_unanswered_once_a_heartbeat_could_show_its_mode() -> None:
    command, due_s = sent(Phase.SENT, "AUTO"), SENT_S + SETTLE_S
    assert after(command, vehicle("AUTO"), due_s - 0.1) is Phase.SENT
    assert after(command, vehicle("AUTO"), due_s) is Phase.UNANSWERED
    stale = replace(vehicle("AUTO"), heartbeat_age_s=1.0)  # received before it could show it
    assert after(command, stale, due_s + 0.9) is Phase.SENT
    # Without heartbeats nothing is known: a pilot may have ended what was carried out meanwhile.
    assert after(command, vehicle("GUIDED"), 500.0) is Phase.OVERRIDDEN


@pytest.mark.parametrize("phase", list(Phase))
def test_what_had_no_effect_ends_with_its_event(phase: Phase) -> None:
    command = sent(phase, "AUTO")
    assert command.by_event(active=True).phase is (
        Phase.UNANSWERED if phase is Phase.ENDED else phase
    )
    ended = command.by_event(active=False)
    if phase not in (Phase.UNANSWERED, Phase.REFUSED):
        assert ended is command
        return
    assert ended.phase is Phase.ENDED
    for mode in ("RTL", "GUIDED", "LAND", "AUTO"):  # whatever a pilot flies for the next hour
        assert after(ended, vehicle(mode), 3600.0) is Phase.ENDED
    assert ended.updated(replace(vehicle("RTL"), armed=False), 11.0) is None

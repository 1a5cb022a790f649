# SPDX-License-Identifier: Apache-2.0
"""Precedence of vehicle commands: which command may be sent now, or why none.

An action never replaces a more urgent one: none < reduce < return < land. The urgency of what the
vehicle does is known from its mode and from who commanded it: a failsafe that returns is a return.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dronebms.core.flight_plan import ItemKind
from dronebms.core.report import Action, ActionKey, ActionKind, ActionRequest
from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.protocol.flight_modes import EVASIVE_MODES, action_of_mode
from mavlink_bridge.protocol.vehicle_classes import class_named
from mavlink_bridge.vehicle.command_state import (
    HEARTBEAT_MAX_AGE_S,
    UNKNOWN_MODE,
    UNOBEYED,
    Phase,
    SentCommand,
)

__all__ = ["Decision", "SentCommand", "decide", "refusal"]

_LEAST_RETRY_S = 1.0  # a heartbeat shows the mode once a second
_BUDGET_S = 60.0
_BUDGET = 4  # commands of one kind in this time, if the action has no more retries
# PX4 holds for COM_FAIL_ACT_T, 5 s by default, before its failsafe acts. A command in this time
# would take the place of the failsafe; a failsafe that only holds is not waited for longer.
_FAILSAFE_DELAY_S = 10.0
_PLANES = ("ArduPlane", "QuadPlane")


@dataclass(frozen=True, slots=True)
class Decision:
    """The command to send now; `None` and the reason if none."""

    send: ActionKind | None
    reason: str
    request: ActionRequest | None = None
    sent: SentCommand | None = None  # input of the next step


def activity(vehicle: VehicleState, sent: SentCommand | None = None) -> ActionKind:
    """Urgency of what the vehicle does, by its mode, its report and who commanded it.

    Missions land, and ArduPlane lands in AUTO after its own failsafe or our command.
    """
    mode = vehicle.mode or ""
    found = action_of_mode(mode)
    by_failsafe = vehicle.failsafe and mode == "AUTO" and vehicle.vehicle_class in _PLANES
    if vehicle.landing or by_failsafe or _plane_lands_by_mission(vehicle):
        found = ActionKind.LAND
    elif _failsafe_waits(vehicle):
        found = ActionKind.RETURN
    elif sent is not None and sent.obeyed and mode in (*sent.modes, "AUTO"):
        found = max(found, sent.do)
    return found


def _plane_lands_by_mission(vehicle: VehicleState) -> bool:
    """Whether ArduPlane flies to the landing item of its mission, where it is committed to land.

    It reports no landing in EXTENDED_SYS_STATE. A return would climb away from the runway, and
    DO_LAND_START begin the approach again; its own battery failsafe does neither. A quadplane on
    its wing may be far from its landing, and lands anywhere: there the item alone does not count.
    Source: ArduPlane events.cpp `handle_battery_failsafe`, `already_landing`; GCS_MAVLink_Plane.cpp
    `landed_state`.
    """
    number = vehicle.mission_item
    items = None if vehicle.plan is None else vehicle.plan.items
    if vehicle.mode != "AUTO" or number is None or items is None or number >= len(items):
        return False
    committed = vehicle.vehicle_class == "ArduPlane" or (
        vehicle.vehicle_class == "QuadPlane" and vehicle.on_wing is False
    )
    return committed and items[number].kind is ItemKind.LAND


def _failsafe_waits(vehicle: VehicleState) -> bool:
    """Whether PX4 holds before its failsafe acts."""
    age_s = vehicle.mode_age_s
    waits = vehicle.failsafe is True and vehicle.mode == "LOITER"
    return waits and age_s is not None and age_s < _FAILSAFE_DELAY_S


def _flies(do: ActionKind, vehicle: VehicleState) -> bool:
    """Whether a vehicle that stands on the ground may fly by an action, or its pilot by ending it.

    ArduPlane begins its approach or returns. A copter stays where it is in RTL (ArduPilot
    `is_disarmed_or_landed`, PX4 `RtlDirect::getActivationLandState`), but the mode in which its
    pilot takes off then would count as one that overrides the command, for the whole flight. LAND
    alone ends on the ground, by disarming.
    """
    return do is ActionKind.RETURN or (do is ActionKind.LAND and vehicle.vehicle_class in _PLANES)


def refusal(do: ActionKind, vehicle: VehicleState, sent: SentCommand | None = None) -> str | None:
    """Reason against a command to the vehicle in its present state, `None` if there is none.

    A command never replaces an action of the vehicle that is as urgent, its own or a pilot's, or
    the mode that a pilot has chosen after our command. Nothing is sent to a vehicle that is
    disarmed or without a fresh heartbeat, and nothing that flies to one that stands on the ground.
    """
    age_s = vehicle.heartbeat_age_s
    doing = activity(vehicle, sent)
    row = class_named(vehicle.vehicle_class)
    absent = row is not None and do >= ActionKind.RETURN and not row.commands(do)
    rules = (
        (age_s is None or age_s > HEARTBEAT_MAX_AGE_S, "no heartbeat of the autopilot"),
        (vehicle.armed is not True, "vehicle is not armed"),
        # It may be a return of a newer firmware; nothing is more urgent than a landing.
        (vehicle.mode is None and (do < ActionKind.LAND or row is None), "flight mode is unknown"),
        (vehicle.terminated is True, "flight is terminated"),
        (sent is not None and sent.overridden, "pilot has chosen another mode"),
        (vehicle.on_ground is True and _flies(do, vehicle), "vehicle is on the ground"),
        (absent, f"not possible on {vehicle.vehicle_class}"),
        (doing is ActionKind.LAND, "vehicle is landing"),
        (vehicle.mode in EVASIVE_MODES and do < ActionKind.LAND, "vehicle avoids traffic"),
        (doing >= do and _failsafe_waits(vehicle), "failsafe is about to act"),
        (doing >= do, f"vehicle is in {vehicle.mode}"),
    )
    return next((reason for holds, reason in rules if holds), None)


def decide(
    requests: Sequence[ActionRequest],
    vehicle: VehicleState,
    sent: SentCommand | None,
    now_s: float,
) -> Decision:
    """Choose the command to send now.

    One event has one mode command, repeated only while the vehicle does not comply: in rounds of
    tries, `cooldown_s` apart, since a vehicle that refuses now may comply later.

    Args:
        requests: of all batteries.
        vehicle: present state.
        sent: `Decision.sent` of the previous step.
        now_s: time of the loop.
    """
    commands = [one for one in requests if one.action.do >= ActionKind.REDUCE]
    sent = None if sent is None else sent.updated(vehicle, now_s)
    if sent is not None:
        sent = sent.by_event(active=any(one.key == sent.key for one in commands))
    if not commands:
        return Decision(None, "no action requested", None, sent)
    most = max(commands, key=lambda one: one.action.do)
    do = _possible(most.action, vehicle)
    tries = 1
    if do is ActionKind.REDUCE:  # no mode: it is in force while it is requested
        reason = refusal(do, vehicle, sent)
        return Decision(do if reason is None else None, reason or most.because, most, sent)
    if sent is not None and sent.key == most.key:
        retry = _retry(sent, most.action, vehicle, now_s)
        if isinstance(retry, str):
            return Decision(None, retry, most, sent)
        do, tries = retry
    elif sent is not None and (reason := _after_another(most.key, do, sent, vehicle)) is not None:
        return Decision(None, reason, most, sent)
    reason = refusal(do, vehicle, sent) or _too_many(do, most.action, sent, now_s)
    if reason is not None:
        return Decision(None, reason, most, sent)
    return Decision(do, most.because, most, _next(most.key, do, tries, vehicle, sent, now_s))


def _possible(action: Action, vehicle: VehicleState) -> ActionKind:
    """The action, or its escalation if the vehicle has no command for it."""
    row = class_named(vehicle.vehicle_class)
    if row is None or action.do is ActionKind.REDUCE or row.commands(action.do):
        return action.do
    return max(action.do, action.escalate or action.do)


def _retry(
    sent: SentCommand, action: Action, vehicle: VehicleState, now_s: float
) -> tuple[ActionKind, int] | str:
    """Command to repeat and the number of the try, or the reason for none."""
    if sent.obeyed:
        return "vehicle has complied"
    if sent.phase is Phase.REFUSED and sent.means:
        return sent.do, sent.tries  # the next command of the vehicle's class
    waits_s = max(action.retry_s, _LEAST_RETRY_S)
    if sent.phase is Phase.ACCEPTED or now_s - sent.t_s < waits_s:
        return "waiting for the vehicle"
    if sent.phase is Phase.LAPSED or sent.tries <= action.retries:
        return sent.do, 1 if sent.phase is Phase.LAPSED else sent.tries + 1
    if action.escalate is not None and action.escalate > sent.do:
        return action.escalate, 1
    # A mode that has changed since is a decision of the pilot, who has seen the refusal.
    again = (
        vehicle.mode or UNKNOWN_MODE
    ) == sent.mode_before and now_s - sent.t_s >= action.cooldown_s
    return (sent.do, 1) if again else _not_complying(sent)


def _after_another(
    key: ActionKey, do: ActionKind, sent: SentCommand, vehicle: VehicleState
) -> str | None:
    """Reason against a command after the one of another event; of each row the last is known.

    An event has had its command if the vehicle obeyed it, or a pilot overrode it. A command that a
    more urgent one replaced before that is sent again once the vehicle is left with it alone.
    """
    if key in sent.earlier:
        return "command already sent for this event"
    if do < sent.do and sent.phase in (Phase.SENT, Phase.ACCEPTED):
        return "waiting for the vehicle"
    began_before = do <= sent.do and key[2] < sent.t_s
    moved = (vehicle.mode or UNKNOWN_MODE) != sent.mode_before
    if began_before and sent.phase in UNOBEYED and moved:
        return _not_complying(sent)
    return None


def _not_complying(sent: SentCommand) -> str:
    return f"vehicle does not comply, tries: {sent.tries}"


def _too_many(do: ActionKind, action: Action, sent: SentCommand | None, now_s: float) -> str | None:
    """Reason against one more command of this kind: events that come and go send few commands."""
    if sent is None or (sent.phase is Phase.REFUSED and sent.means):
        return None
    times_s = [t_s for kind, t_s in sent.recent_s if kind == do and 0 <= now_s - t_s < _BUDGET_S]
    if now_s - max(times_s, default=-math.inf) < max(action.retry_s, _LEAST_RETRY_S):
        return "waiting for the vehicle"
    if len(times_s) >= max(_BUDGET, action.retries + 1):
        return f"{len(times_s)} commands in {_BUDGET_S:g} s"
    return None


def _next(
    key: ActionKey,
    do: ActionKind,
    tries: int,
    vehicle: VehicleState,
    sent: SentCommand | None,
    now_s: float,
) -> SentCommand:
    """State after a command that is sent now."""
    row = class_named(vehicle.vehicle_class)
    earlier = dict[tuple[int, int], float]()
    means = 0
    recent_s = [(int(do), now_s)]
    obeyed_before = False
    if sent is not None:
        without_effect = sent.phase is Phase.SENT or sent.phase in UNOBEYED
        obeyed_before = sent.obeyed_before or not without_effect
        had = () if without_effect else (sent.key,)
        for battery, number, began_s in (*sent.earlier, *had):
            earlier[battery, number] = began_s
        recent_s = [one for one in sent.recent_s if now_s - one[1] < _BUDGET_S] + recent_s
        if (sent.key, sent.do) == (key, do):
            means = sent.means
    earlier.pop(key[:2], None)
    commands = () if row is None else row.commands(do)
    if means >= len(commands):  # the class has become known since
        means = 0
    return SentCommand(
        key,
        do,
        now_s,
        vehicle.mode or UNKNOWN_MODE,
        tries,
        earlier=tuple(sorted((*row, began_s) for row, began_s in earlier.items())),
        means=means,
        modes=commands[means].modes if commands else (),
        mode_by_failsafe=vehicle.failsafe is True,
        recent_s=tuple(recent_s),
        obeyed_before=obeyed_before,
    )

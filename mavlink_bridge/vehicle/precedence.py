"""Moved."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dronebms.core.report import Action, ActionKey, ActionKind, ActionRequest
from dronebms.core.vehicle_state import VehicleState

HEARTBEAT_MAX_AGE_S = 2.0


# What a vehicle is doing by itself, by the names of its modes in flight_stack_rules.
_MODES = {
    "RTL": ActionKind.RETURN,
    "SMART_RTL": ActionKind.RETURN,
    "AUTO_RTL": ActionKind.RETURN,
    "LAND": ActionKind.LAND,
    "PRECLAND": ActionKind.LAND,
}


@dataclass(frozen=True, slots=True)
class SentCommand:
    """The last command of a mode, and what became of it."""

    key: ActionKey
    do: ActionKind
    t_s: float
    mode_before: str
    tries: int = 1
    obeyed: bool = False
    overridden: bool = False  # a pilot chose another mode since; it holds until disarming
    earlier: frozenset[ActionKey] = frozenset()  # that have had their command

    def read_back(self, vehicle: VehicleState) -> "SentCommand | None":
        """Return it with what the vehicle's mode says of it; on the ground it is forgotten."""
        if vehicle.armed is False:
            return None
        if vehicle.mode is None:
            return self
        obeyed = _doing(vehicle) >= self.do
        other = not obeyed and (self.obeyed or vehicle.mode != self.mode_before)
        return replace(self, obeyed=self.obeyed or obeyed, overridden=self.overridden or other)

    def next(self, action: Action, now_s: float) -> tuple[ActionKind, int] | str:
        """Return what to send and which try it is, or why nothing: obeyed, waited for, given up."""
        if self.obeyed:
            return "the vehicle has obeyed"
        if now_s - self.t_s < action.retry_s:
            return "the vehicle has a moment to obey"
        if self.tries <= action.retries:
            return self.do, self.tries + 1
        if action.escalate is not None and action.escalate > self.do:
            return action.escalate, 1
        return "the vehicle does not obey and is told no more"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to send now; None with the reason why nothing is sent."""

    send: ActionKind | None
    why: str
    request: ActionRequest | None = None
    sent: SentCommand | None = None  # to be handed in at the next step


def refusal(do: ActionKind, vehicle: VehicleState, sent: SentCommand | None = None) -> str | None:
    """Return why a command must not be sent to a vehicle as it is, None when it may.

    The rule of precedence: an action never replaces a more urgent one, a landing, a failsafe of
    the flight controller or the mode that a pilot chose after our command, and nothing is sent
    to a vehicle that is disarmed or not heard afresh.
    """
    age_s, doing = vehicle.heartbeat_age_s, _doing(vehicle)
    rules = (
        (age_s is None or age_s > HEARTBEAT_MAX_AGE_S, "the vehicle is not heard"),
        (vehicle.armed is not True, "the vehicle is not armed"),
        (vehicle.mode is None, "the vehicle's mode is not known"),
        (vehicle.failsafe is True, "a failsafe of the flight controller is at work"),
        (sent is not None and sent.overridden, "the pilot has chosen another mode"),
        (doing is ActionKind.LAND, "the vehicle is landing"),
        (doing >= do, f"the vehicle is on its way already: {doing.label}"),
    )
    return next((why for holds, why in rules if holds), None)


def decide(
    requests: Sequence[ActionRequest], vehicle: VehicleState, sent: SentCommand | None, now_s: float
) -> Decision:
    """Return the one command that is to be sent now, or none and why.

    One event has one command of a mode, sent again only while it is not obeyed.

    Args:
        requests: of all batteries.
        vehicle: as it is heard now.
        sent: what the last decision said of commands of a mode.
        now_s: the loop's time.
    """
    sent = None if sent is None else sent.read_back(vehicle)
    commands = [one for one in requests if one.action.do >= ActionKind.REDUCE]
    if not commands:
        return Decision(None, "nothing is wanted of the vehicle", None, sent)
    most = max(commands, key=lambda one: one.action.do)
    do, tries = most.action.do, 1
    if sent is not None and sent.key == most.key:
        next_ = sent.next(most.action, now_s)
        if isinstance(next_, str):
            return Decision(None, next_, most, sent)
        do, tries = next_
    elif sent is not None and most.key in sent.earlier:
        return Decision(None, "this event has had its command", most, sent)
    why = refusal(do, vehicle, sent)
    if why is not None:
        return Decision(None, why, most, sent)
    if do is not ActionKind.REDUCE:  # in force as long as it is asked for, and no mode
        earlier = frozenset() if sent is None else sent.earlier | {sent.key}
        mode = sent.mode_before if sent is not None and tries > 1 else vehicle.mode or ""
        sent = SentCommand(most.key, do, now_s, mode, tries, earlier=earlier - {most.key})
    return Decision(do, most.because, most, sent)


def _doing(vehicle: VehicleState) -> ActionKind:
    return _MODES.get(vehicle.mode or "", ActionKind.REPORT)

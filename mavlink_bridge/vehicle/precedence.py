"""Precedence of vehicle commands: which command may be sent now, or why none.

An action never replaces a more urgent one: none < reduce < return < land.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dronebms.core.report import Action, ActionKey, ActionKind, ActionRequest
from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.protocol.flight_modes import action_of_mode

HEARTBEAT_MAX_AGE_S = 2.0


@dataclass(frozen=True, slots=True)
class SentCommand:
    """The last mode command and the reaction of the vehicle. Plain data, part of `BridgeState`."""

    key: ActionKey
    do: ActionKind
    t_s: float
    mode_before: str
    tries: int = 1
    obeyed: bool = False
    overridden: bool = False  # the pilot has chosen another mode since; until disarming
    earlier: tuple[ActionKey, ...] = ()  # events that have had their command, sorted

    def updated(self, vehicle: VehicleState) -> "SentCommand | None":
        """Copy with the reaction in the vehicle's mode; `None` once it is disarmed."""
        if vehicle.armed is False:
            return None
        if vehicle.mode is None:
            return self
        obeyed = action_of_mode(vehicle.mode) >= self.do
        other = not obeyed and (self.obeyed or vehicle.mode != self.mode_before)
        return replace(self, obeyed=self.obeyed or obeyed, overridden=self.overridden or other)

    def retry(self, action: Action, now_s: float) -> tuple[ActionKind, int] | str:
        """Command to repeat and the number of the try, or the reason for none."""
        if self.obeyed:
            return "vehicle has complied"
        if now_s - self.t_s < action.retry_s:
            return "waiting for the vehicle"
        if self.tries <= action.retries:
            return self.do, self.tries + 1
        if action.escalate is not None and action.escalate > self.do:
            return action.escalate, 1
        return f"vehicle does not comply, tries: {self.tries}"


@dataclass(frozen=True, slots=True)
class Decision:
    """The command to send now; `None` and the reason if none."""

    send: ActionKind | None
    reason: str
    request: ActionRequest | None = None
    sent: SentCommand | None = None  # input of the next step


def refusal(do: ActionKind, vehicle: VehicleState, sent: SentCommand | None = None) -> str | None:
    """Reason against a command to the vehicle in its present state, `None` if there is none.

    A command never replaces a more urgent action, a landing, a failsafe of the flight controller
    or the mode that a pilot has chosen after our command. Nothing is sent to a vehicle that is
    disarmed or without a fresh heartbeat.
    """
    age_s, doing = vehicle.heartbeat_age_s, action_of_mode(vehicle.mode)
    rules = (
        (age_s is None or age_s > HEARTBEAT_MAX_AGE_S, "no heartbeat of the autopilot"),
        (vehicle.armed is not True, "vehicle is not armed"),
        (vehicle.mode is None, "flight mode is unknown"),
        (vehicle.failsafe is True, "flight controller failsafe is active"),
        (sent is not None and sent.overridden, "pilot has chosen another mode"),
        (doing is ActionKind.LAND, "vehicle is landing"),
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

    One event has one mode command, repeated only while the vehicle does not comply.

    Args:
        requests: of all batteries.
        vehicle: present state.
        sent: `Decision.sent` of the previous step.
        now_s: time of the loop.
    """
    sent = None if sent is None else sent.updated(vehicle)
    commands = [one for one in requests if one.action.do >= ActionKind.REDUCE]
    if not commands:
        return Decision(None, "no action requested", None, sent)
    most = max(commands, key=lambda one: one.action.do)
    do, tries = most.action.do, 1
    if sent is not None and sent.key == most.key:
        retry = sent.retry(most.action, now_s)
        if isinstance(retry, str):
            return Decision(None, retry, most, sent)
        do, tries = retry
    elif sent is not None and most.key in sent.earlier:
        return Decision(None, "command already sent for this event", most, sent)
    reason = refusal(do, vehicle, sent)
    if reason is not None:
        return Decision(None, reason, most, sent)
    if do is not ActionKind.REDUCE:  # REDUCE is no mode: it is in force while it is requested
        earlier = set() if sent is None else {*sent.earlier, sent.key}
        mode = sent.mode_before if sent is not None and tries > 1 else vehicle.mode or ""
        remaining = tuple(sorted(earlier - {most.key}))
        sent = SentCommand(most.key, do, now_s, mode, tries, earlier=remaining)
    return Decision(do, most.because, most, sent)

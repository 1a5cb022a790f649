"""Carries out what protection wants of a vehicle: return, land, draw less.

Which command may go out is decided by `actions.decide`; this sends it, listens to the
acknowledgement, and says what became of it. Made only where a configuration names an action.
Nothing here cuts thrust or power, and nothing is sent to a vehicle that is disarmed or not heard.
Source: common.xml, MAV_CMD_NAV_RETURN_TO_LAUNCH 20 and MAV_CMD_NAV_LAND 21, which ArduPilot and PX4
answer by changing to the mode of that name.
"""

from pathlib import Path

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import ActionKind, ActionRequest
from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.flight_stacks import PX4_ID
from mavlink_bridge.protocol.parameters import Parameters
from mavlink_bridge.protocol.requests import command
from mavlink_bridge.vehicle.parameter_limits import ParameterLimiter
from mavlink_bridge.vehicle.precedence import Decision, SentCommand, decide, refusal
from mavlink_bridge.vehicle.speed_command import SpeedCommand

_COMMANDS = {
    ActionKind.RETURN: mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH,
    ActionKind.LAND: mavlink.MAV_CMD_NAV_LAND,
}
_OURS = (0, mavlink.MAV_COMP_ID_BATTERY)  # 0: from before an acknowledgement had a target
_DONE = (mavlink.MAV_RESULT_ACCEPTED, mavlink.MAV_RESULT_IN_PROGRESS)
_CRITICAL, _WARNING, _NOTICE = 2, 4, 5  # MAV_SEVERITY


class VehicleControl:
    """One vehicle's actions. For one thread."""

    def __init__(self, folder: Path) -> None:
        """Keep what has to be put back in a folder, over restarts too."""
        self._parameters = Parameters()
        self._limiter = ParameterLimiter(self._parameters, folder)
        self._slower = SpeedCommand(self._parameters, folder)
        self._wanted: dict[int, tuple[ActionRequest, ...]] = {}
        self.sent: SentCommand | None = None
        self._why = ""
        self._words: list[tuple[int, str]] = []

    @property
    def idle(self) -> bool:
        """Whether nothing of the vehicle is changed that has to be put back."""
        return self._limiter.idle and self._slower.idle

    def words(self) -> list[tuple[int, str]]:
        """Return (MAV_SEVERITY, text) of what is to be said, once."""
        words, self._words = self._words, []
        return words + [(_WARNING, text) for text in self._slower.words()]

    def want(self, index: int, wanted: tuple[ActionRequest, ...]) -> None:
        """Take what one battery wants now."""
        self._wanted[index] = wanted

    def receive(self, message: mavlink.MAVLink_message, autopilot: Autopilot, now_s: float) -> None:
        """Take a message of the autopilot."""
        self._parameters.receive(message, bytewise=autopilot.kind == PX4_ID)
        self._limiter.receive(message, now_s)
        if message.get_type() != "COMMAND_ACK" or message.target_component not in _OURS:
            return
        self._slower.receive(message)
        ours = self.sent is not None and message.command in _COMMANDS.values()
        if ours and message.result not in _DONE:
            self._words.append((_WARNING, f"the vehicle refuses, result {message.result}"))

    def step(
        self, autopilot: Autopilot, vehicle: VehicleState, now_s: float, *, free: bool
    ) -> list[mavlink.MAVLink_message]:
        """Return what to send now; `free` False keeps the hands off and puts back."""
        wanted = [one for some in self._wanted.values() for one in some] if free else []
        decision = decide(wanted, vehicle, self.sent, now_s)
        self.sent = decision.sent
        messages = []
        if decision.send in _COMMANDS:
            number = _COMMANDS[decision.send]
            tries = 0 if decision.sent is None else decision.sent.tries - 1
            messages.append(command(autopilot.system_id, number, attempt=tries))
        self._explain(decision, now_s)
        if autopilot.online_since_s(now_s) is not None:
            reduce = [one for one in wanted if one.action.do is ActionKind.REDUCE]
            # A current is no mode: it stays limited on the way home, and not while landing.
            reduce = [] if refusal(ActionKind.LAND, vehicle) else reduce
            messages += self._limiter.step(reduce, autopilot, now_s)
            messages += self._slower.step(reduce, autopilot, vehicle, now_s)
            bytewise = autopilot.kind == PX4_ID
            messages += self._parameters.due(autopilot.system_id, now_s, bytewise=bytewise)
        return messages

    def _explain(self, decision: Decision, now_s: float) -> None:
        """Say what is done, and, once, why what is wanted is not done."""
        wanted = decision.request
        if wanted is None or wanted.action.do is ActionKind.REDUCE:
            self._why = ""
        elif decision.send is not None:
            self._why = ""
            self._words.append((_CRITICAL, f"{decision.send.label}: {wanted.because}"))
        elif decision.why != self._why and not self._is_waiting(wanted, now_s):
            self._why = decision.why
            self._words.append((_NOTICE, f"{wanted.action.do.label}: {decision.why}"))

    def _is_waiting(self, wanted: ActionRequest, now_s: float) -> bool:
        sent = self.sent
        fresh = sent is not None and now_s - sent.t_s < wanted.action.retry_s
        return fresh and sent is not None and not sent.obeyed and not sent.overridden

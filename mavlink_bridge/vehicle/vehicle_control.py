"""Carries out the actions that protection requests of a vehicle: return, land, reduce.

`precedence.decide` chooses the command; this module sends it, reads the acknowledgement and
reports the result. Created only if the configuration has such an action. Nothing here cuts thrust
or power, and nothing is sent to a vehicle that is disarmed or without a heartbeat.
Source: common.xml, MAV_CMD_NAV_RETURN_TO_LAUNCH 20 and MAV_CMD_NAV_LAND 21, on which ArduPilot and
PX4 change to the mode of that name.
"""

from pathlib import Path

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import ActionKind, ActionRequest, Report
from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.parameters import Parameters
from mavlink_bridge.protocol.requests import command, result_label
from mavlink_bridge.vehicle.parameter_limits import ParameterLimiter
from mavlink_bridge.vehicle.precedence import Decision, SentCommand, decide, refusal
from mavlink_bridge.vehicle.speed_command import SpeedCommand

_COMMANDS = {
    ActionKind.RETURN: mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH,
    ActionKind.LAND: mavlink.MAV_CMD_NAV_LAND,
}
_OURS = (0, mavlink.MAV_COMP_ID_BATTERY)  # 0: acknowledgement without a target
_SUCCESS = (mavlink.MAV_RESULT_ACCEPTED, mavlink.MAV_RESULT_IN_PROGRESS)
_CRITICAL, _WARNING, _NOTICE = 2, 4, 5  # MAV_SEVERITY


class VehicleControl:
    """Actions on one vehicle. For one thread.

    Attributes:
        sent: the last mode command.
    """

    def __init__(self, folder: Path) -> None:
        """Store the original values of the vehicle's parameters in a folder."""
        self.sent: SentCommand | None = None
        self._parameters = Parameters()
        self._limiter = ParameterLimiter(self._parameters, folder)
        self._speeds = SpeedCommand(self._parameters, folder)
        self._requests: dict[int, tuple[ActionRequest, ...]] = {}
        self._labels: dict[str, str] = {}  # of the limits behind requests
        self._last_reason = ""
        self._texts: list[tuple[int, str]] = []

    @property
    def idle(self) -> bool:
        """Whether nothing has to be restored on the vehicle."""
        return self._limiter.idle and self._speeds.idle

    def take_texts(self) -> list[tuple[int, str]]:
        """MAV_SEVERITY and text of each message for the pilot since the last call."""
        texts = self._texts + [(_WARNING, text) for text in self._speeds.take_texts()]
        self._texts = []
        return texts

    def request(self, report: Report) -> None:
        """Replace the requests of one battery by those of its report."""
        self._requests[report.index] = report.requests
        for one in report.requests:
            self._labels[one.because] = report.status.label(one.because)

    def receive(self, message: mavlink.MAVLink_message, autopilot: Autopilot, now_s: float) -> None:
        """Read a message of the autopilot: parameter, acknowledgement, named value."""
        self._parameters.receive(message, bytewise=autopilot.stack.bytewise_integers)
        self._limiter.receive(message, now_s)
        if message.get_type() != "COMMAND_ACK" or message.target_component not in _OURS:
            return
        self._speeds.receive(message)
        if self.sent is None or message.result in _SUCCESS:
            return
        for do, number in _COMMANDS.items():
            if message.command == number:
                text = f"{do.name} refused: {result_label(message.result)}"
                self._texts.append((_WARNING, text))

    def step(
        self, autopilot: Autopilot, vehicle: VehicleState, now_s: float, *, enabled: bool
    ) -> list[mavlink.MAVLink_message]:
        """Messages to send now; if not `enabled`, only those that restore the vehicle."""
        requests = [one for some in self._requests.values() for one in some] if enabled else []
        decision = decide(requests, vehicle, self.sent, now_s)
        self.sent = decision.sent
        messages = []
        if decision.send in _COMMANDS:
            number = _COMMANDS[decision.send]
            attempt = 0 if decision.sent is None else decision.sent.tries - 1
            messages.append(command(autopilot.system_id, number, attempt=attempt))
        self._report(decision, now_s)
        if autopilot.online_since_s(now_s) is not None:
            reduce = [one for one in requests if one.action.do is ActionKind.REDUCE]
            # A current limit is no mode: it stays during a return, but not during a landing.
            if refusal(ActionKind.LAND, vehicle):
                reduce = []
            messages += self._limiter.step(reduce, autopilot, now_s)
            messages += self._speeds.step(reduce, autopilot, vehicle, now_s)
            bytewise = autopilot.stack.bytewise_integers
            messages += self._parameters.due(autopilot.system_id, now_s, bytewise=bytewise)
        return messages

    def _report(self, decision: Decision, now_s: float) -> None:
        """Report each command, and once the reason why a requested one is not sent."""
        request = decision.request
        if request is None or request.action.do is ActionKind.REDUCE:
            self._last_reason = ""
        elif decision.send is not None:
            self._last_reason = ""
            text = f"{decision.send.name}: {self._labels[request.because]}"
            self._texts.append((_CRITICAL, text))
        elif decision.reason != self._last_reason and not self._is_waiting(request, now_s):
            self._last_reason = decision.reason
            self._texts.append((_NOTICE, f"{request.action.do.name}: {decision.reason}"))

    def _is_waiting(self, request: ActionRequest, now_s: float) -> bool:
        sent = self.sent
        if sent is None or sent.obeyed or sent.overridden:
            return False
        return now_s - sent.t_s < request.action.retry_s

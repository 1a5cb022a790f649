# SPDX-License-Identifier: Apache-2.0
"""Carries out the actions that protection requests of a vehicle: return, land, reduce.

`precedence.decide` chooses the command; this module sends the one of the vehicle's class, reads the
acknowledgement and the heartbeats (`command_state`), and reports the result. Created only if the
configuration has such an action. Nothing here cuts thrust or power, and nothing is sent to a
vehicle that is disarmed or without a heartbeat.

While a second autopilot may have the system id of the vehicle nothing is sent, and nothing received
is used. What is due then follows when the doubt has ended. The heartbeats of the other one, also
those before its first sign, are no pilot and no obedience: the state of the command is that of
before, or that of a later command.
"""

import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.background_jobs import Run, run_inline
from dronebms.core.report import ActionKind, ActionRequest, Report
from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.parameters import Parameters
from mavlink_bridge.protocol.requests import command, result_label
from mavlink_bridge.protocol.second_autopilot import doubt_text
from mavlink_bridge.protocol.second_sender import SLOWER_WAY_S
from mavlink_bridge.protocol.vehicle_classes import (
    ModeCommand,
    class_named,
    impossible_actions,
    vehicle_class,
)
from mavlink_bridge.vehicle.command_state import RESTART_SEEN_S, Phase, SentCommand
from mavlink_bridge.vehicle.parameter_limits import LIMITS_KIND, ParameterLimiter
from mavlink_bridge.vehicle.precedence import Decision, activity, decide
from mavlink_bridge.vehicle.saved_file import UnreadFile, unread_files
from mavlink_bridge.vehicle.speed_command import SPEEDS_KIND, SpeedCommand

_SUCCESS = (mavlink.MAV_RESULT_ACCEPTED, mavlink.MAV_RESULT_IN_PROGRESS)
# MAV_SEVERITY
_CRITICAL = 2
_WARNING = 4
_NOTICE = 5
_HEARTBEAT_PERIOD_S = 0.5  # requested after a command: PX4 sends one a second
_HEARTBEATS_S = 4.0
_ALL_ACTIONS = (ActionKind.REDUCE, ActionKind.RETURN, ActionKind.LAND)
_Q_ENABLE = "Q_ENABLE"
_SAME_S = 30.0
_REMEMBERED_S = 60.0
_SIGN_S = 5.0  # with a sign of a second autopilot that may be the first of several
_log = logging.getLogger(__name__)


class VehicleControl:
    """Actions on one vehicle. For one thread.

    Attributes:
        sent: the last mode command.
        configured: kinds of the configured actions.
        parameters: of the vehicle; `step` returns their messages.
    """

    def __init__(
        self,
        folder: Path,
        configured: Collection[ActionKind] = _ALL_ACTIONS,
        run: Run = run_inline,
    ) -> None:
        """Use a folder.

        Args:
            folder: of the original values of the vehicle's parameters.
            configured: kinds of the configured actions.
            run: does the jobs on the disk.
        """
        self.sent: SentCommand | None = None
        self._sent_at: list[tuple[float, SentCommand | None]] = []  # `sent` of the last minute
        self._in_doubt = False  # in the last step
        self.configured = configured
        self._seen: tuple[int | None, int | None, int] | None = None  # autopilot, type, restarts
        self._reported: set[str] = set()  # reasons why an action is not possible
        self._heartbeat_s = -math.inf  # last requested
        self._pilot_s = -math.inf  # start of the last override that was reported
        self.parameters = Parameters()
        self._limiter = ParameterLimiter(self.parameters, folder, run)
        self._speeds = SpeedCommand(self.parameters, folder, run)
        # Mode command of the last step, and the state before it.
        self._taken: tuple[mavlink.MAVLink_message, ActionKind, SentCommand | None] | None = None
        self._requests: dict[int, tuple[ActionRequest, ...]] = {}
        self._labels: dict[str, str] = {}  # of the limits behind requests
        self._last_reason = ""
        self._texts: list[tuple[int, str]] = []
        self._announced_s: dict[str, float] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing has to be restored on the vehicle, and its files are up to date."""
        return all(one.idle and one.is_settled for one in (self._limiter, self._speeds))

    def take_texts(self) -> list[tuple[int, str]]:
        """MAV_SEVERITY and text of each message for the pilot since the last call."""
        texts = self._texts
        self._texts = []
        return texts

    def request(self, report: Report) -> None:
        """Replace the requests of one battery by those of its report."""
        self._requests[report.index] = report.requests
        for one in report.requests:
            self._labels[one.because] = report.status.label(one.because)

    def receive(self, message: mavlink.MAVLink_message, autopilot: Autopilot, now_s: float) -> None:
        """Read a message of the autopilot: heartbeat, parameter, acknowledgement to us.

        Not while a second autopilot may be there.
        """
        self.parameters.receive(message, bytewise=autopilot.stack.bytewise_integers)
        self._look_at(autopilot, now_s)
        kind = message.get_type()
        if kind == "HEARTBEAT":
            self._report_impossible(autopilot, now_s)
        # A mode that may be a former one is neither obedience nor a pilot.
        doubtful = autopilot.resumed(now_s) or autopilot.mode_doubtful
        if kind == "HEARTBEAT" and self.sent is not None and not doubtful:
            vehicle = self._classified(autopilot.state(now_s), autopilot)
            self.sent = self.sent.updated(vehicle, now_s)
        if kind == "COMMAND_ACK":
            self._speeds.receive(message)
            self._read_answer(message, autopilot, now_s)

    def step(
        self, autopilot: Autopilot, vehicle: VehicleState, now_s: float, *, enabled: bool
    ) -> list[mavlink.MAVLink_message]:
        """Messages to send now; if not `enabled`, only those that restore the vehicle."""
        requests = [one for some in self._requests.values() for one in some] if enabled else []
        if autopilot.doubtful:
            self._hold(requests, autopilot, now_s)
            return []
        if self._in_doubt:
            self._in_doubt = False
            self._discard_values()
        vehicle = self._classified(vehicle, autopilot)
        before = self.sent
        may_be_other = _may_be_other(autopilot, vehicle, now_s)
        if may_be_other is not None:
            decision = Decision(None, may_be_other, None, self.sent)
        elif autopilot.resumed(now_s):
            decision = Decision(None, "autopilot may have restarted", None, self.sent)
        elif autopilot.mode_doubtful:
            decision = Decision(None, "mode may be a former one", None, self.sent)
        else:
            decision = decide(requests, vehicle, self.sent, now_s)
        self.sent = decision.sent
        self._announce_pilot(now_s)
        messages = self._commands(decision, autopilot, vehicle, now_s)
        do = decision.send
        self._remember(now_s, is_new=do is not None)
        self._taken = None if do is None or not messages else (messages[0], do, before)
        self._report(decision, now_s)
        if autopilot.online_since_s(now_s) is not None and may_be_other is None:
            reduce = [one for one in requests if one.action.do is ActionKind.REDUCE]
            # A current limit is no mode: it stays during a return and in a mode that no table has,
            # but not during a landing.
            if (
                activity(vehicle) is ActionKind.LAND
                or vehicle.terminated is True
                or vehicle.armed is False
            ):
                reduce = []
            in_flight = enabled and vehicle.armed is not False
            messages += self._limiter.step(
                reduce, autopilot, now_s, vehicle_class=vehicle.vehicle_class, in_flight=in_flight
            )
            messages += self._speeds.step(reduce, autopilot, vehicle, now_s)
            for text in [*self._limiter.take_texts(), *self._speeds.take_texts()]:
                self._announce(_WARNING, text, now_s)
            bytewise = autopilot.stack.bytewise_integers
            messages += self.parameters.due(autopilot.system_id, now_s, bytewise=bytewise)
        return messages

    def unsent(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        """Take back a command of the last step that the link did not accept: it is no try.

        The vehicle has not received it: it is neither refused nor overridden, and a
        landing does not follow a return that was never sent.
        """
        if message.get_type() != "COMMAND_LONG":
            return
        if self._taken is not None and message is self._taken[0]:
            _, do, self.sent = self._taken
            self._remember(now_s, is_new=True)
            self._announce(_NOTICE, f"{do.name}: link does not accept it", now_s)
        elif message.command == mavlink.MAV_CMD_DO_CHANGE_SPEED:
            self._speeds.unsent()

    def _hold(self, requests: Sequence[ActionRequest], autopilot: Autopilot, now_s: float) -> None:
        """Report what is due, and take back what a second autopilot may have done to the state."""
        if not self._in_doubt:
            self._in_doubt = True
            until_s = autopilot.second.began_s - SLOWER_WAY_S
            known = [sent for t_s, sent in self._sent_at if t_s <= until_s]
            first = [sent for _, sent in self._sent_at[:1]]
            self.sent = (known or first or [self.sent])[-1]
        reason = doubt_text(autopilot.system_id)
        most = max(requests, key=lambda one: one.action.do, default=None)
        self._report(Decision(None, reason, most, self.sent), now_s)

    def _remember(self, now_s: float, *, is_new: bool) -> None:
        """Remember the state of the command; `is_new`: whatever was before has no meaning."""
        known = [] if is_new else self._sent_at
        if not known or known[-1][1] != self.sent:
            known = [*known, (now_s, self.sent)]
        while len(known) > 1 and known[1][0] < now_s - _REMEMBERED_S:
            known = known[1:]
        self._sent_at = known

    def _discard_values(self) -> None:
        """Read again what may be the values of another run, or of another autopilot."""
        self.parameters.discard_values()
        self._limiter.read_again()
        self._speeds.after_restart()

    def _look_at(self, autopilot: Autopilot, now_s: float) -> None:
        """Take up a vehicle, again after each restart of its autopilot."""
        seen = autopilot.kind, autopilot.vehicle_type, autopilot.restarts
        if seen == self._seen:
            return
        if self._seen is not None and seen[2] != self._seen[2]:
            _log.warning("the autopilot has restarted; its modes and parameters are read again")
            self.sent = None if self.sent is None else self.sent.after_restart(now_s)
            self._discard_values()
            self._limiter.after_restart(now_s)
        self._seen = seen
        row = vehicle_class(*seen[:2])
        if row is not None and row.name == "ArduPlane":
            self.parameters.read(_Q_ENABLE)

    def _report_impossible(self, autopilot: Autopilot, now_s: float) -> None:
        """Report once each configured action that the vehicle does not have."""
        reasons = impossible_actions(autopilot.kind, autopilot.vehicle_type)
        for do, reason in reasons.items():
            if do in self.configured and reason not in self._reported:
                self._reported.add(reason)
                self._announce(_WARNING, reason, now_s)

    def _classified(self, state: VehicleState, autopilot: Autopilot) -> VehicleState:
        """State of the vehicle; a parameter distinguishes a quadplane from a fixed wing."""
        if state.vehicle_class != "ArduPlane":
            return state
        q_enable = self.parameters.values.get(_Q_ENABLE)
        row = vehicle_class(autopilot.kind, autopilot.vehicle_type, q_enable=q_enable)
        return state if row is None else replace(state, vehicle_class=row.name)

    def _announce_pilot(self, now_s: float) -> None:
        """Report once that a pilot has taken over, when it is known that it was no restart."""
        sent = self.sent
        if sent is None or not sent.overridden or sent.overridden_s == self._pilot_s:
            return
        if now_s - sent.overridden_s >= RESTART_SEEN_S:
            self._pilot_s = sent.overridden_s
            self._announce(_WARNING, f"pilot has taken over: {sent.mode}", now_s)

    def _commands(
        self, decision: Decision, autopilot: Autopilot, vehicle: VehicleState, now_s: float
    ) -> list[mavlink.MAVLink_message]:
        """The command that was decided on; heartbeats that show what has become of it."""
        sent = self.sent
        system = autopilot.system_id
        if sent is None:
            return []
        if decision.send in (ActionKind.RETURN, ActionKind.LAND):
            one = self._means(sent, vehicle)[sent.means]
            self._heartbeat_s = now_s
            return [command(system, one.number, *one.values, attempt=sent.tries - 1)]
        open_phases = Phase.SENT, Phase.UNANSWERED, Phase.ACCEPTED
        waits = sent.phase in open_phases and now_s - sent.t_s <= _HEARTBEATS_S
        if not waits or now_s - self._heartbeat_s < _HEARTBEAT_PERIOD_S:
            return []
        self._heartbeat_s = now_s
        request = mavlink.MAV_CMD_REQUEST_MESSAGE
        return [command(system, request, mavlink.MAVLINK_MSG_ID_HEARTBEAT)]

    def _means(self, sent: SentCommand, vehicle: VehicleState) -> tuple[ModeCommand, ...]:
        row = class_named(vehicle.vehicle_class)
        return () if row is None else row.commands(sent.do)

    def _read_answer(
        self, answer: mavlink.MAVLink_command_ack_message, autopilot: Autopilot, now_s: float
    ) -> None:
        """Read an acknowledgement: the next command of the class is due after a refusal."""
        sent = self.sent
        if sent is None:
            return
        means = self._means(sent, self._classified(autopilot.state(now_s), autopilot))
        if sent.means >= len(means) or means[sent.means].number != answer.command:
            return
        last = sent.means + 1 == len(means)
        waits = sent.phase in (Phase.SENT, Phase.UNANSWERED)
        if answer.result not in _SUCCESS and last and waits:
            text = f"{sent.do.name} refused: {result_label(answer.result)}"
            self._announce(_WARNING, text, now_s)
        self.sent = sent.acknowledged(answer.result, now_s, last=last)

    def _announce(self, severity: int, text: str, now_s: float) -> None:
        """Send a text, and log it; not if it was sent in the last 30 s."""
        recent_s = {one: t_s for one, t_s in self._announced_s.items() if now_s - t_s < _SAME_S}
        self._announced_s = {text: now_s} | recent_s
        if text not in recent_s:
            self._texts.append((severity, text))
            _log.warning("%s", text)

    def _report(self, decision: Decision, now_s: float) -> None:
        """Report each command, and once the reason why a requested one is not sent."""
        request = decision.request
        if request is None or request.action.do is ActionKind.REDUCE:
            self._last_reason = ""
        elif decision.send is not None:
            self._last_reason = ""
            text = f"{decision.send.name}: {self._labels[request.because]}"
            self._announce(_CRITICAL, text, now_s)
        elif decision.reason != self._last_reason and not self._is_waiting(request, now_s):
            self._last_reason = decision.reason
            text = f"{request.action.do.name}: {decision.reason}"
            self._announce(_NOTICE, text, now_s)

    def _is_waiting(self, request: ActionRequest, now_s: float) -> bool:
        sent = self.sent
        if sent is None or sent.obeyed or sent.overridden:
            return False
        return now_s - sent.t_s < request.action.retry_s


def unread_originals(folder: Path) -> list[UnreadFile]:
    """Files of original values that a run of the folder's user could not read."""
    return [*unread_files(folder, dict([LIMITS_KIND, SPEEDS_KIND]))]


def _may_be_other(autopilot: Autopilot, vehicle: VehicleState, now_s: float) -> str | None:
    """Why the last message may be of another vehicle though there is no doubt yet, else `None`."""
    if now_s - autopilot.second.last_sign_s < _SIGN_S:
        return "vehicle may be another one"
    # The first heartbeat of another one in the air would release what is due for one that stands.
    return "vehicle may not be armed" if vehicle.armed and not autopilot.surely_armed else None

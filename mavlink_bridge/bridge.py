"""The MAVLink battery components: reports out, state of the vehicle in.

Every battery is a MAVLink component (180 and up) of the vehicle's system. It sends a HEARTBEAT each
second, BATTERY_STATUS twice a second and at once when the severity changes, SMART_BATTERY_INFO
every ten seconds, STATUSTEXT when a limit trips or clears, and answers requests of accepted
systems. Without gauge data, or with a percentage that the vehicle would misread, BATTERY_STATUS is
withheld: every flight stack detects silence.
For one thread and one clock. No method blocks; neither received data nor a lost link raise.
Source: the heartbeat and battery protocols of mavlink.io; flight_stacks.py for the vehicles.
"""

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import ClassVar

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.clock import Clock
from dronebms.core.report import Event, Report, Severity
from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.protocol import messages
from mavlink_bridge.protocol.autopilot import AUTOPILOT_COMPONENT, Autopilot
from mavlink_bridge.protocol.codec import Codec
from mavlink_bridge.protocol.flight_stacks import (
    AUTO,
    FlightStack,
    sent_pct,
    stack_named,
    withhold_reason,
)
from mavlink_bridge.protocol.link import Link
from mavlink_bridge.protocol.requests import MessageRequester
from mavlink_bridge.protocol.schedule import MessageSchedule
from mavlink_bridge.vehicle import command_protocol
from mavlink_bridge.vehicle.arming_check import ArmingCheck
from mavlink_bridge.vehicle.battery_id import BatteryIdAllocator
from mavlink_bridge.vehicle.command_state import SentCommand
from mavlink_bridge.vehicle.vehicle_control import VehicleControl

_SAME_TEXT_S = 10.0
_TEXT_MAX_AGE_S = 30.0
_TEXTS_MAX = 32
_TEXT_IDS = 0xFFFF
_RESTORE_S = 3.0  # for the answers of the vehicle
_STEP_S = 0.05
_BATTERY = mavlink.MAV_COMP_ID_BATTERY
_HEARTBEAT = mavlink.MAVLINK_MSG_ID_HEARTBEAT
_STATUS = mavlink.MAVLINK_MSG_ID_BATTERY_STATUS
_INFO = mavlink.MAVLINK_MSG_ID_SMART_BATTERY_INFO
_GROUND_STATION = 255


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """Options of a bridge."""

    rate_hz: float = 2.0  # of BATTERY_STATUS
    accept_systems: tuple[int, ...] = (_GROUND_STATION,)  # in addition to the vehicle's own
    key: bytes | None = None  # for signing
    unix_s: float = 0.0  # date at the start, for signing


DEFAULT_OPTIONS = BridgeOptions()


@dataclass(frozen=True, slots=True)
class BridgeState:
    """State of a bridge that a restart in flight restores. Plain data."""

    FORMAT: ClassVar[int] = 2

    last_command: SentCommand | None = None  # the pilot may have overridden it
    first_battery_id: int | None = None  # allocated; None: not yet
    acting_enabled: bool = True


@dataclass(slots=True)
class _Battery:
    """Output of one battery."""

    schedule: MessageSchedule
    severity: Severity | None = None  # last sent
    withheld: str | None = None
    events: dict[str, tuple[bool, Severity, float]] = field(default_factory=dict)  # last sent


@dataclass(frozen=True, slots=True)
class _Text:
    index: int  # of the battery
    message: mavlink.MAVLink_message
    t_s: float


class Bridge:
    """A sink of reports and the source of the vehicle state, over one link.

    Attributes:
        counts: messages of the autopilot (`received`) and of others (`foreign`), invalid data
            (`damaged`), frames `sent`, refused by the link (`unsent`) and `withheld`.
        settings: may be changed by a ground station.
        vehicle_control: carries out actions; `None` if the configuration has none.
    """

    def __init__(
        self,
        link: Link,
        *,
        system_id: int = 1,
        vehicle: str = AUTO,
        first_battery_id: int = command_protocol.AUTO_ID,
        options: BridgeOptions = DEFAULT_OPTIONS,
    ) -> None:
        """Use a link.

        Args:
            link: carries the frames; not closed here.
            system_id: of the vehicle until the first heartbeat of an autopilot.
            vehicle: `auto`, `ardupilot` or `px4`.
            first_battery_id: BATTERY_STATUS.id of the battery with index 0; -1 allocates one that
                the vehicle does not use.
            options: message rate, accepted systems, signing.

        Raises:
            ConfigError: unknown vehicle.
        """
        self.counts: Counter[str] = Counter()
        self.settings = command_protocol.Settings(options.rate_hz, first_battery_id)
        self.vehicle_control: VehicleControl | None = None
        self._link = link
        self._codec = Codec(link, options.key, options.unix_s)
        self._configured_stack = stack_named(vehicle)
        self._accepted = frozenset(options.accept_systems)
        self._server = command_protocol.CommandServer(self.settings)
        self._autopilot = Autopilot(system_id)
        self._requester = MessageRequester()
        self._arming = ArmingCheck()
        self._battery_ids = BatteryIdAllocator()
        self._batteries: dict[int, _Battery] = {}
        self._texts: deque[_Text] = deque(maxlen=_TEXTS_MAX)
        self._text_id = 0
        self._restoring = False

    @property
    def system_id(self) -> int:
        """System of the battery components."""
        return self._autopilot.system_id

    @property
    def stack(self) -> FlightStack:
        """Row that decides what may be sent: the configured one, unless its release is known."""
        found, configured = self._autopilot.stack, self._configured_stack
        return found if configured is None or configured.name == found.name else configured

    @property
    def withheld(self) -> str | None:
        """Reason why BATTERY_STATUS of a battery is not sent now, `None` if all are sent."""
        reasons = (battery.withheld for battery in self._batteries.values())
        return next((reason for reason in reasons if reason), None)

    def state(self) -> BridgeState:
        """State for a restart in flight."""
        control = self.vehicle_control
        return BridgeState(
            last_command=None if control is None else control.sent,
            first_battery_id=self._battery_ids.allocated,
            acting_enabled=self.settings.acting_enabled,
        )

    def restore(self, state: BridgeState) -> None:
        """Continue from the state of an earlier run."""
        self._battery_ids.allocated = state.first_battery_id
        self.settings.acting_enabled = state.acting_enabled
        if self.vehicle_control is not None:
            self.vehicle_control.sent = state.last_command

    def pump(self, now_s: float) -> VehicleState:
        """Read and answer messages, request missing ones; return the vehicle state."""
        for message in self._codec.receive(now_s):
            ours = self._autopilot.receive(message, now_s)
            self.counts["received" if ours else "foreign"] += 1
            if ours and self.vehicle_control is not None:
                self.vehicle_control.receive(message, self._autopilot, now_s)
            self._answer(message, now_s)
        self.counts["damaged"] = self._codec.damaged
        for request in self._requester.due(self._autopilot, now_s):
            self._send(0, request, now_s)
        state = replace(self._autopilot.state(now_s), link_trouble=self._link.trouble)
        if self.vehicle_control is not None:
            self._control(self.vehicle_control, state, now_s)
        self._report_arming(state, now_s)
        return state

    def restore_parameters(self, clock: Clock) -> None:
        """Restore what vehicle control has changed on the vehicle; blocks for 3 s at most.

        The bridge sends no command to the vehicle afterwards.
        """
        self._restoring = True
        end_s = clock.now_s() + _RESTORE_S
        while self.vehicle_control is not None and not self.vehicle_control.idle:
            now_s = clock.now_s()
            if now_s >= end_s:
                return
            self.pump(now_s)
            clock.sleep_until(now_s + _STEP_S)

    def __call__(self, report: Report) -> None:
        """Send the messages of a battery that are due: the bridge is a sink of reports."""
        now_s = report.t_s
        battery = self._batteries.get(report.index)
        if battery is None:
            battery = _Battery(MessageSchedule(self._server.default_periods_s()))
            self._batteries[report.index] = battery
        if battery.schedule.due(_HEARTBEAT, now_s):
            self._send(report.index, messages.heartbeat(), now_s)
        configured_id = self.settings.first_battery_id
        first_id = self._battery_ids.first_id(self.stack, self._autopilot, configured_id, now_s)
        self._send_status(report, battery, first_id)
        self._arming.update(report, battery.withheld)
        if self.vehicle_control is not None:
            self.vehicle_control.request(report)
        known = report.snapshot.voltage_v is not None
        if known and first_id is not None and battery.schedule.due(_INFO, now_s):
            info = messages.smart_battery_info(report, battery_id=first_id + report.index)
            self._send(report.index, info, now_s)
        for event in report.status.events:
            if _is_new(event, battery, now_s):
                self._add_text(report.index, event.text, messages.text_severity(event), now_s)
        self._send_texts(now_s)

    def _answer(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        sender = message.get_srcSystem()
        if sender != self.system_id and sender not in self._accepted:
            return
        kind = message.get_type()
        if kind not in (*command_protocol.REQUESTS, "PING"):
            return
        target = message.target_system, message.target_component
        if kind == "COMMAND_LONG" and message.command == mavlink.MAV_CMD_ARM_AUTHORIZATION_REQUEST:
            source = sender, message.get_srcComponent()
            if source == (self.system_id, AUTOPILOT_COMPONENT) and target[0] == self.system_id:
                self._authorize(message, now_s)
            return
        for index, battery in self._batteries.items():
            if kind == "PING" and target in ((0, 0), (self.system_id, _BATTERY + index)):
                self._send(index, command_protocol.pong(message), now_s)
            elif kind != "PING" and target == (self.system_id, _BATTERY + index):
                for answer in self._server.answer(message, battery.schedule, battery.withheld):
                    self._send(index, answer, now_s)

    def _send_status(self, report: Report, battery: _Battery, first_id: int | None) -> None:
        now_s, stack, armed = report.t_s, self.stack, self._autopilot.last_armed
        due = battery.schedule.due(_STATUS, now_s)
        if not due and report.status.severity == battery.severity:
            return
        battery.withheld = None
        if report.snapshot.voltage_v is None:
            battery.withheld = "no gauge data"
        elif first_id is None:
            battery.withheld = "battery ids of vehicle unknown"
        else:
            message = messages.battery_status(
                report, battery_id=first_id + report.index, cells_max=stack.cells_max
            )
            battery.withheld = withhold_reason(stack, message.battery_remaining, armed=armed)
            message.battery_remaining = sent_pct(stack, message.battery_remaining, armed=armed)
            if battery.withheld is None and self._send(report.index, message, now_s):
                battery.severity = report.status.severity
        if battery.withheld is not None and due:
            self.counts["withheld"] += 1

    def _report_arming(self, state: VehicleState, now_s: float) -> None:
        """Send the go or no-go to a disarmed vehicle and as a text."""
        if state.armed is not False or not self._batteries:
            return
        message, text = self._arming.due(now_s)
        if message is not None and self.stack.runs_lua_driver:
            self._send(0, message, now_s)
        if text is not None:
            self._add_text(0, text, mavlink.MAV_SEVERITY_WARNING, now_s)

    def _authorize(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        answer, reason = self._arming.answer(message)
        self._send(0, answer, now_s)
        if reason is not None:
            self._add_text(0, reason, mavlink.MAV_SEVERITY_ERROR, now_s)

    def _control(self, control: VehicleControl, state: VehicleState, now_s: float) -> None:
        enabled = self.settings.acting_enabled and not self._restoring
        for message in control.step(self._autopilot, state, now_s, enabled=enabled):
            self._send(0, message, now_s)
        for severity, text in control.take_texts():
            self._add_text(0, text, severity, now_s)

    def _add_text(self, index: int, text: str, severity: int, now_s: float) -> None:
        self._text_id = self._text_id % _TEXT_IDS + 1
        for chunk in messages.chunks(text, severity, self._text_id):
            self._texts.append(_Text(index, chunk, now_s))

    def _send_texts(self, now_s: float) -> None:
        # Texts wait for a lost link: no other message has their content.
        while self._texts:
            text = self._texts[0]
            fresh = now_s - text.t_s <= _TEXT_MAX_AGE_S
            if fresh and not self._send(text.index, text.message, now_s):
                return
            self._texts.popleft()

    def _send(self, index: int, message: mavlink.MAVLink_message, now_s: float) -> bool:
        sent = self._codec.send((self.system_id, _BATTERY + index), message, now_s)
        self.counts["sent" if sent else "unsent"] += 1
        return sent


def _is_new(event: Event, battery: _Battery, now_s: float) -> bool:
    """Whether to send an event: not if the same state of the limit was sent within 10 s.

    The state is compared and not the text, which has the value of the moment. A limit that cleared
    and tripped again is new, so that the last text always has the present state.
    """
    if event.severity < Severity.WARNING:
        return False
    last = battery.events.get(event.limit_id)
    if last is not None:
        tripped, severity, t_s = last
        same = (tripped, severity) == (event.tripped, event.severity)
        if same and now_s - t_s < _SAME_TEXT_S:
            return False
    battery.events[event.limit_id] = (event.tripped, event.severity, now_s)
    return True

"""The MAVLink components of this service: reports out, state of the vehicle in.

An onboard computer (component 191 unless configured) and its batteries are components of the
vehicle's system. The first battery is MAV_COMP_ID_BATTERY, 180, every other one
MAV_COMP_ID_BATTERY2, 181: MAVLink assigns no more, and receivers distinguish batteries by
BATTERY_STATUS.id. A battery sends a HEARTBEAT each second, BATTERY_STATUS twice a second and at
once when the severity changes, SMART_BATTERY_INFO every ten seconds, BATTERY_INFO on request, and
STATUSTEXT when a limit trips or clears. Commands, requests, verdicts on arming and their texts come
from the computer. Every component answers requests of accepted systems. Without gauge data, or with
a percentage that the vehicle would misread, BATTERY_STATUS is withheld: every flight stack detects
silence. A battery that a monitor of the vehicle measures is not reported back: the computer sends
its texts.
For one thread and one clock. No method blocks; neither received data nor a lost link raise.
Source: the heartbeat and battery protocols of mavlink.io, MAV_COMPONENT of minimal.xml;
flight_stacks.py for the vehicles.
"""

import logging
import math
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import ClassVar

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.clock import Clock
from dronebms.core.flight_plan import FlightPlan, Place
from dronebms.core.report import Event, Report, Severity
from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.protocol import messages
from mavlink_bridge.protocol.autopilot import AUTOPILOT_COMPONENT, Autopilot
from mavlink_bridge.protocol.battery_info_message import MESSAGE_ID as BATTERY_INFO_ID
from mavlink_bridge.protocol.codec import Codec
from mavlink_bridge.protocol.driver_commands import is_for_version_1
from mavlink_bridge.protocol.flight_stacks import (
    AUTO,
    PX4_ID,
    FlightStack,
    sent_pct,
    stack_named,
    withhold_reason,
)
from mavlink_bridge.protocol.link import Link
from mavlink_bridge.protocol.mission_download import MissionDownload
from mavlink_bridge.protocol.parameters import Parameters
from mavlink_bridge.protocol.requests import MessageRequester
from mavlink_bridge.protocol.schedule import MessageSchedule
from mavlink_bridge.protocol.second_sender import SecondSender, SequenceWatch, Source
from mavlink_bridge.protocol.signing import Signing, TimestampFile
from mavlink_bridge.protocol.udp_peers import PeerRank
from mavlink_bridge.protocol.vehicle_battery import SentReports, VehicleBattery
from mavlink_bridge.vehicle import command_protocol
from mavlink_bridge.vehicle.arming_check import ArmingCheck
from mavlink_bridge.vehicle.authority import Authority
from mavlink_bridge.vehicle.battery_id import BatteryIdAllocator, id_of
from mavlink_bridge.vehicle.command_state import HEARTBEAT_MAX_AGE_S, SentCommand
from mavlink_bridge.vehicle.return_parameters import ReturnParameters
from mavlink_bridge.vehicle.vehicle_control import VehicleControl

_SAME_TEXT_S = 10.0
_TEXT_MAX_AGE_S = 30.0
_TEXTS_MAX = 32
_TEXT_IDS = 0xFFFF
_RESTORE_S = 3.0  # for the answers of the vehicle
_STEP_S = 0.05
COMPUTER = mavlink.MAV_COMP_ID_ONBOARD_COMPUTER
_BATTERIES = (mavlink.MAV_COMP_ID_BATTERY, mavlink.MAV_COMP_ID_BATTERY2)
_HEARTBEAT = mavlink.MAVLINK_MSG_ID_HEARTBEAT
_STATUS = mavlink.MAVLINK_MSG_ID_BATTERY_STATUS
_INFOS = (
    (mavlink.MAVLINK_MSG_ID_SMART_BATTERY_INFO, messages.smart_battery_info),
    (BATTERY_INFO_ID, messages.battery_info),
)
_GROUND_STATION = 255
_VERDICT_PERIOD_S = 1.0  # to the Lua driver, which refuses to arm after 3 s without one
_OTHERS_MAX = 8  # vehicles that are named in the log
_NO_PLAN = FlightPlan()
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """Options of a bridge."""

    rate_hz: float = 2.0  # of BATTERY_STATUS
    report_time: str | None = None  # median or low; None: as the autopilot uses it
    accept_systems: tuple[int, ...] = (_GROUND_STATION,)  # in addition to the vehicle's own
    component_id: int = COMPUTER  # of the onboard computer
    key: bytes | None = None  # for signing
    unix_s: float = 0.0  # date at the start, for signing
    timestamps: TimestampFile | None = None  # of signed frames


DEFAULT_OPTIONS = BridgeOptions()


@dataclass(frozen=True, slots=True)
class BridgeState:
    """State of a bridge that a restart in flight restores. Plain data."""

    FORMAT: ClassVar[int] = 5

    last_command: SentCommand | None = None  # the pilot may have overridden it
    first_battery_id: int | None = None  # allocated; None: not yet
    vehicle_battery_ids: tuple[int, ...] = ()  # of its own batteries
    acting_enabled: bool = True
    in_flight: bool = False  # or unknown after a flight
    followed: int | None = None  # system of the vehicle in flight


@dataclass(slots=True)
class _Battery:
    """Output of one battery."""

    component: int
    schedule: MessageSchedule
    position: int | None = None  # among those that are reported; None: measured by the vehicle
    severity: Severity | None = None  # last sent
    withheld: str | None = None
    events: dict[str, tuple[bool, Severity, float]] = field(default_factory=dict)  # last sent
    state: int = mavlink.MAV_STATE_ACTIVE


@dataclass(frozen=True, slots=True)
class _Text:
    component: int
    message: mavlink.MAVLink_message
    t_s: float


class Bridge:
    """A sink of reports and the source of the vehicle state, over one link.

    Attributes:
        counts: messages of the autopilot (`received`), of autopilots of other systems
            (`other_vehicle`) and of others (`foreign`), frames of a second sender of our components
            (`second_sender`), invalid data (`damaged`), frames `sent`, refused by the link
            (`unsent`) and `withheld`.
        settings: may be changed by a ground station.
        vehicle_control: carries out actions; `None` if the configuration has none.
    """

    def __init__(
        self,
        link: Link,
        *,
        system_id: int | None = None,
        vehicle: str = AUTO,
        first_battery_id: int = command_protocol.AUTO_ID,
        options: BridgeOptions = DEFAULT_OPTIONS,
    ) -> None:
        """Use a link.

        Args:
            link: carries the frames; not closed here.
            system_id: of the vehicle, no other is followed; `None` follows the first received.
            vehicle: `auto`, `ardupilot` or `px4`.
            first_battery_id: BATTERY_STATUS.id of the battery with index 0; -1 allocates one that
                the vehicle does not use.
            options: message rate, accepted systems, component, signing.

        Raises:
            ConfigError: unknown vehicle.
        """
        self.counts: Counter[str] = Counter()
        self.settings = command_protocol.Settings(options.rate_hz, first_battery_id)
        self.vehicle_control: VehicleControl | None = None
        self._link = link
        key, timestamps = options.key, options.timestamps
        signing = None if key is None else Signing(key, options.unix_s, timestamps)
        self._codec = Codec(link, signing)
        self._configured_stack = stack_named(vehicle)
        self._is_pinned = system_id is not None
        self._computer = options.component_id
        self._report_time = options.report_time
        self._server = command_protocol.CommandServer(self.settings)
        self._heartbeat = MessageSchedule({_HEARTBEAT: 1.0})  # of the computer
        self._server.schedules[self._computer] = [self._heartbeat]
        self._autopilot = Autopilot(system_id)
        self._authority = Authority(options.accept_systems, verifies=options.key is not None)
        self._second_sender = SecondSender()
        self._sequence = SequenceWatch()  # of the autopilot
        self._requester = MessageRequester()
        self._missions = MissionDownload(self._computer)
        self._returns = ReturnParameters()
        self._parameters = Parameters()  # without vehicle control, which has its own
        self._restarts = 0  # after which these values were discarded
        self._plan = _NO_PLAN
        self._arming = ArmingCheck()
        self._battery_ids = BatteryIdAllocator(
            is_expected=self._is_pinned or self._configured_stack is not None
        )
        self._batteries: dict[int, _Battery] = {}
        self._monitors: dict[int, VehicleBattery] = {}  # by the index of the battery
        self._reports = SentReports()
        self._first_id: int | None = None
        self._verdict: tuple[bool, int, int] | None = None  # last sent to the Lua driver
        self._verdict_s = -math.inf
        self._armed: bool | None = None
        self._texts: deque[_Text] = deque(maxlen=_TEXTS_MAX)
        self._text_id = 0
        self._restoring = False
        self._pumped_s = math.inf  # never

    @property
    def system_id(self) -> int:
        """System of the components of this service."""
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

    def vehicle_battery(self, index: int, monitor: int, cells: int) -> VehicleBattery:
        """A battery monitor of the vehicle as the source of a battery; before the first report.

        Args:
            index: of the battery.
            monitor: BATTERY_STATUS.id of the autopilot.
            cells: of the pack.
        """
        self._monitors[index] = VehicleBattery(monitor, cells)
        return self._monitors[index]

    def state(self) -> BridgeState:
        """State for a restart in flight."""
        control, in_flight = self.vehicle_control, self._autopilot.in_flight
        return BridgeState(
            last_command=None if control is None else control.sent,
            first_battery_id=self._battery_ids.allocated,
            vehicle_battery_ids=self._battery_ids.taken,
            acting_enabled=self.settings.acting_enabled,
            in_flight=in_flight,
            followed=self._autopilot.followed if in_flight else None,
        )

    def restore(self, state: BridgeState) -> None:
        """Continue from the state of an earlier run: in flight with its vehicle and settings.

        On the ground a run starts with those of the configuration: the vehicle may have a new
        system id, and nothing that was switched off by a request stays off unnoticed.
        """
        self._battery_ids.restore(state.first_battery_id, state.vehicle_battery_ids)
        if state.in_flight:
            self._autopilot.in_flight = True
            self.settings.acting_enabled = state.acting_enabled
            if not self._is_pinned:
                self._autopilot.followed = state.followed
        if self.vehicle_control is not None:
            self.vehicle_control.sent = state.last_command

    def pump(self, now_s: float) -> VehicleState:
        """Read and answer messages, request missing ones; return the vehicle state."""
        # What waited during an absence of this process is as old as its beginning.
        absent = now_s - self._pumped_s > HEARTBEAT_MAX_AGE_S
        received_s = self._pumped_s if absent else now_s
        self._pumped_s = now_s
        for message in self._codec.receive(now_s):
            self._receive(message, received_s)
        self.counts["damaged"] = self._codec.damaged
        if self._heartbeat.due(_HEARTBEAT, now_s):
            kind = mavlink.MAV_TYPE_ONBOARD_CONTROLLER
            self._send(self._computer, messages.heartbeat(kind), now_s)
        for request in self._requester.due(self._autopilot, now_s):
            self._send(self._computer, request, now_s)
        state = replace(
            self._autopilot.state(now_s),
            link_trouble=self._link.trouble,
            second_sender=self._second_sender.trouble(now_s),
        )
        if not self._restoring:
            state = self._with_plan(state, now_s)
        if self.vehicle_control is not None:
            self._control(self.vehicle_control, state, now_s)
        self._report_arming(state, now_s)
        return state

    def _with_plan(self, state: VehicleState, now_s: float) -> VehicleState:
        """Request what is missing of the vehicle's plan, and add what has been received."""
        autopilot, control, parameters = self._autopilot, self.vehicle_control, self._parameters
        if control is not None:
            parameters = control.parameters
        elif autopilot.restarts != self._restarts:
            self._restarts = autopilot.restarts
            parameters.discard_values()
        self._returns.step(parameters, autopilot, now_s, on_wing=state.on_wing)
        home = None
        if state.home_lat_deg is not None and state.home_lon_deg is not None:
            home = Place(state.home_lat_deg, state.home_lon_deg, 0.0)
        requests = self._missions.due(autopilot, home, now_s, circles=self._returns.circles)
        if control is None and autopilot.online_since_s(now_s) is not None:
            bytewise = autopilot.stack.bytewise_integers
            requests += parameters.due(autopilot.system_id, now_s, bytewise=bytewise)
        for request in requests:
            self._send(self._computer, request, now_s)
        plan = FlightPlan(
            self._returns.returns, self._missions.items, self._missions.rally, self._returns.speeds
        )
        if plan != self._plan:  # consumers compare by identity
            self._plan = plan
        return state if self._plan == _NO_PLAN else replace(state, plan=self._plan)

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
        battery = self._batteries.get(report.index) or self._add(report.index)
        battery.state = messages.battery_state(report)
        if battery.position is not None:
            self._send_battery(report, battery, battery.position)
        self._arming.update(report, battery.withheld)
        if self.vehicle_control is not None:
            self.vehicle_control.request(report)
        for event in report.status.events:
            if _is_new(event, battery, now_s):
                severity = messages.text_severity(event)
                self._add_text(battery.component, event.text, severity, now_s)
        self._send_texts(now_s)

    def _add(self, index: int) -> _Battery:
        schedule = MessageSchedule(self._server.default_periods_s())
        if index in self._monitors:
            battery = _Battery(self._computer, schedule)
        else:
            position = index - sum(measured < index for measured in self._monitors)
            component = _BATTERIES[min(position, len(_BATTERIES) - 1)]
            battery = _Battery(component, schedule, position)
            self._server.schedules.setdefault(component, []).append(schedule)
        self._batteries[index] = battery
        return battery

    def _send_battery(self, report: Report, battery: _Battery, position: int) -> None:
        """Send the heartbeat and the messages of a battery that are due."""
        now_s = report.t_s
        # One battery of a component sends its heartbeat, with the worst state of all.
        if position < len(_BATTERIES) and battery.schedule.due(_HEARTBEAT, now_s):
            same = [one for one in self._batteries.values() if one.component == battery.component]
            heartbeat = messages.heartbeat(state=max(one.state for one in same))
            self._send(battery.component, heartbeat, now_s)
        self._first_id = self._battery_ids.first_id(
            self.stack, self._autopilot, self.settings.first_battery_id, now_s
        )
        battery_id = id_of(self._first_id, position)
        self._send_status(report, battery, battery_id)
        if report.snapshot.voltage_v is None or battery_id is None:
            return
        for message_id, encode in _INFOS:
            if battery.schedule.due(message_id, now_s):
                self._send(battery.component, encode(report, battery_id=battery_id), now_s)

    def _receive(self, message: mavlink.MAVLink_message, received_s: float) -> None:
        now_s = self._pumped_s
        source = message.get_srcSystem(), message.get_srcComponent()
        if source[0] == self.system_id and source[1] in self._server.schedules:
            self.counts["foreign"] += 1
            if not self._second_sender.is_ours(message, source):
                text = "second sender of {}/{} on the link".format(*source)
                self._report_second_sender(source, text, now_s)
            return
        others, followed = len(self._autopilot.others), self._autopilot.followed
        ours = self._autopilot.receive(message, received_s)
        self.counts["received" if ours else "foreign"] += 1
        rank = PeerRank.STRANGER
        if self._authority.accepts(source[0], self.system_id):
            rank = PeerRank.FOLLOWED if ours else PeerRank.ACCEPTED
        self._codec.vouch(rank, now_s)
        self._notice_others(message, source, now_s, ours=ours)
        self._report_vehicles(others, followed)
        self._missions.receive(message, self._autopilot, received_s)
        if ours and self.vehicle_control is None:
            self._parameters.receive(message, bytewise=self._autopilot.stack.bytewise_integers)
        kind = message.get_type()
        if ours and kind == "BATTERY_STATUS":
            self._battery_ids.receive(message.id, now_s)
            for monitor in self._monitors.values():
                monitor.receive(message, self._reports, received_s)
        if kind == "COMMAND_ACK" and not self._is_for_us(message):
            return
        if ours and self.vehicle_control is not None:
            self.vehicle_control.receive(message, self._autopilot, received_s)
        self._answer(message, now_s)

    def _is_for_us(self, answer: mavlink.MAVLink_command_ack_message) -> bool:
        """Whether an acknowledgement is for this computer; 0 is an answer without a target."""
        target = answer.target_system, answer.target_component
        return target[0] in (0, self.system_id) and target[1] in (0, self._computer)

    def _report_vehicles(self, others: int, followed: int | None) -> None:
        """Log the vehicle that is followed from now on, and a new one that is not."""
        found = self._autopilot
        self.counts["other_vehicle"] = found.others.total()
        if followed is None and found.followed is not None:
            _log.info("vehicle: system %d, the first received; system_id pins it", found.followed)
        if others < len(found.others) <= _OTHERS_MAX:
            reason = "configured" if self._is_pinned else "followed; a new id needs a restart"
            _log.warning(
                "vehicle of system %d is ignored: system %d is %s",
                *([*found.others][-1], found.followed, reason),
            )

    def _notice_others(
        self, message: mavlink.MAVLink_message, source: Source, now_s: float, *, ours: bool
    ) -> None:
        """Notice a second autopilot of this system, and a battery that PX4 uses as ours."""
        if ours and self._sequence.is_doubled(message, now_s):
            text = f"two autopilots of system {source[0]} on the link"
            self._report_second_sender(source, text, now_s)
        takes_any = self.stack.autopilot == PX4_ID and source[0] == self.system_id
        if (
            takes_any
            and source[1] != AUTOPILOT_COMPONENT
            and message.get_type() == "BATTERY_STATUS"
        ):
            self._report_second_sender(source, "PX4 uses battery {}/{} too".format(*source), now_s)

    def _report_second_sender(self, source: Source, text: str, now_s: float) -> None:
        self.counts["second_sender"] += 1
        if self._second_sender.notice(source, text, now_s):
            _log.error("%s: a forger, or another program or vehicle with this address", text)
            self._add_text(self._computer, text, mavlink.MAV_SEVERITY_ERROR, now_s)

    def _answer(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        kind, system = message.get_type(), message.get_srcSystem()
        if kind not in (*command_protocol.REQUESTS, "PING"):
            return
        target = message.target_system, message.target_component
        if target[0] not in (0, self.system_id):
            return
        if not self._authority.answers(system, self.system_id, now_s):
            return
        if kind == "COMMAND_LONG" and message.command == mavlink.MAV_CMD_ARM_AUTHORIZATION_REQUEST:
            source = system, message.get_srcComponent()
            if source == (self.system_id, AUTOPILOT_COMPONENT) and target[0] == self.system_id:
                self._authorize(message, now_s)
        elif kind == "PING":
            for component in self._server.schedules:
                if target in ((0, 0), (self.system_id, component)):
                    self._send(component, command_protocol.pong(message), now_s)
        elif target[0] == self.system_id and target[1] in self._server.schedules:
            self._serve(message, target[1], now_s)

    def _serve(self, message: mavlink.MAVLink_message, component: int, now_s: float) -> None:
        """Answer a command or parameter request to a component."""
        reasons = (one.withheld for one in self._batteries.values() if one.component == component)
        withheld = next((reason for reason in reasons if reason), None)
        changes = command_protocol.changes_setting(message)
        refused = changes and not self._authority.may_change(
            message, self.system_id, in_flight=self._autopilot.in_flight
        )
        before = replace(self.settings)
        for answer in self._server.answer(message, component, withheld, refused=refused):
            self._send(component, answer, now_s)
        if self.settings == before:
            return
        source = f"{message.get_srcSystem()}/{message.get_srcComponent()}"
        _log.warning("settings changed by %s: %s, before %s", source, self.settings, before)
        if self.settings.acting_enabled != before.acting_enabled:
            state = "on" if self.settings.acting_enabled else "off"
            text = f"actions {state}: BMS_ACT by {source}"
            self._add_text(self._computer, text, mavlink.MAV_SEVERITY_WARNING, now_s)

    def _send_status(self, report: Report, battery: _Battery, battery_id: int | None) -> None:
        now_s, stack, armed = report.t_s, self.stack, self._autopilot.last_armed
        due = battery.schedule.due(_STATUS, now_s)
        if not due and report.status.severity == battery.severity:
            return
        battery.withheld = None
        if report.snapshot.voltage_v is None:
            battery.withheld = "no gauge data"
        elif battery_id is None:
            battery.withheld = "battery ids of vehicle unknown"
        else:
            choice = self._report_time
            low_time = stack.acts_on_time if choice is None else choice == "low"
            message = messages.battery_status(
                report,
                battery_id=battery_id,
                cells_max=stack.cells_max,
                low_time=low_time,
            )
            battery.withheld = withhold_reason(stack, message.battery_remaining, armed=armed)
            message.battery_remaining = sent_pct(stack, message.battery_remaining, armed=armed)
            if battery.withheld is None and self._send(battery.component, message, now_s):
                battery.severity = report.status.severity
                self._reports.add(message, now_s)
        if battery.withheld is not None and due:
            self.counts["withheld"] += 1

    def _report_arming(self, state: VehicleState, now_s: float) -> None:
        """Send the verdict to the Lua driver, and to people while the vehicle is disarmed."""
        if not self._batteries:
            return
        self._send_verdict(now_s)
        if state.armed is False:
            text = self._arming.due_text(now_s)
            if text is not None:
                self._add_text(self._computer, text, mavlink.MAV_SEVERITY_WARNING, now_s)
        armed_now = bool(state.armed) and self._armed is False
        self._armed = self._armed if state.armed is None else state.armed
        if armed_now and self.vehicle_control is not None and not self.settings.acting_enabled:
            text = "armed with actions off: BMS_ACT 0"
            self._add_text(self._computer, text, mavlink.MAV_SEVERITY_WARNING, now_s)

    def _send_verdict(self, now_s: float) -> None:
        """Send the verdict each second, and at once when it changes."""
        driver = self._autopilot.driver
        silent = self._autopilot.online_since_s(now_s) is None
        if silent or not self.stack.runs_lua_driver:
            return
        first_id = -1 if self._first_id is None else self._first_id
        sent = sum(battery.position is not None for battery in self._batteries.values())
        verdict = (self._arming.reason() is not None, sent or -1, first_id)
        if verdict == self._verdict and now_s - self._verdict_s < _VERDICT_PERIOD_S:
            return
        self._verdict, self._verdict_s = verdict, now_s
        no_go, batteries, first_id = verdict
        message = driver.verdict(
            self.system_id, no_go=no_go, batteries=batteries, first_id=first_id
        )
        self._send_to_autopilot(message, now_s)

    def _authorize(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        answer, reason = self._arming.answer(message)
        self._send(self._computer, answer, now_s)
        if reason is not None:
            self._add_text(self._computer, reason, mavlink.MAV_SEVERITY_ERROR, now_s)

    def _control(self, control: VehicleControl, state: VehicleState, now_s: float) -> None:
        enabled = self.settings.acting_enabled and not self._restoring
        for message in control.step(self._autopilot, state, now_s, enabled=enabled):
            self._send_to_autopilot(message, now_s)
        for severity, text in control.take_texts():
            self._add_text(self._computer, text, severity, now_s)

    def _add_text(self, component: int, text: str, severity: int, now_s: float) -> None:
        self._text_id = self._text_id % _TEXT_IDS + 1
        for chunk in messages.chunks(text, severity, self._text_id):
            self._texts.append(_Text(component, chunk, now_s))

    def _send_texts(self, now_s: float) -> None:
        # Texts wait for a lost link: no other message has their content.
        while self._texts:
            text = self._texts[0]
            fresh = now_s - text.t_s <= _TEXT_MAX_AGE_S
            if fresh and not self._send(text.component, text.message, now_s):
                return
            self._texts.popleft()

    def _send_to_autopilot(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        old = is_for_version_1(message)
        self._send(_BATTERIES[0] if old else self._computer, message, now_s)

    def _send(self, component: int, message: mavlink.MAVLink_message, now_s: float) -> bool:
        source = self.system_id, component
        sent = self._codec.send(source, message, now_s)
        if sent:
            self._second_sender.sent(source, bytes(message.get_msgbuf()), now_s)
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

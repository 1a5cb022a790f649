# SPDX-License-Identifier: Apache-2.0
"""The components of this service on one link: reports and texts out, requests answered.

An onboard computer (component 191 unless configured) and its batteries are components of the
vehicle's system. The first battery is MAV_COMP_ID_BATTERY, 180, every other one
MAV_COMP_ID_BATTERY2, 181, unless configured: MAVLink assigns no more, and receivers distinguish
batteries by BATTERY_STATUS.id. A battery sends a HEARTBEAT each second, BATTERY_STATUS twice a
second and at once when the severity changes, SMART_BATTERY_INFO every ten seconds, BATTERY_INFO on
request, and STATUSTEXT when a limit trips or clears. Every component answers requests of accepted
systems. Without gauge data, or with a percentage that the vehicle would misread, BATTERY_STATUS is
withheld: every flight stack detects silence. A battery that a monitor of the vehicle measures is
not reported back: the computer sends its texts. Every link of a service carries the same values,
because a router may join it with that of the vehicle.
Source: the heartbeat and battery protocols of mavlink.io, MAV_COMPONENT of minimal.xml;
flight_stacks.py for the vehicles.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Event, Report, Severity
from mavlink_bridge.protocol import messages
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.battery_info_message import MESSAGE_ID as BATTERY_INFO_ID
from mavlink_bridge.protocol.codec import Codec
from mavlink_bridge.protocol.flight_stacks import FlightStack, sent_pct, withhold_reason
from mavlink_bridge.protocol.link import Link
from mavlink_bridge.protocol.schedule import MessageSchedule
from mavlink_bridge.protocol.second_sender import SenderWatch, Source
from mavlink_bridge.protocol.signing import Signing
from mavlink_bridge.protocol.signing_file import TimestampStore
from mavlink_bridge.protocol.udp_peers import PeerRank
from mavlink_bridge.protocol.vehicle_battery import SentReports, VehicleBattery
from mavlink_bridge.vehicle import command_protocol
from mavlink_bridge.vehicle.authority import Authority
from mavlink_bridge.vehicle.battery_id import BatteryAddress, id_of

_SAME_TEXT_S = 10.0
_TEXT_MAX_AGE_S = 30.0
_TEXTS_MAX = 32
_TEXT_IDS = 0xFFFF
COMPUTER = mavlink.MAV_COMP_ID_ONBOARD_COMPUTER
BATTERIES = (mavlink.MAV_COMP_ID_BATTERY, mavlink.MAV_COMP_ID_BATTERY2)
_HEARTBEAT = mavlink.MAVLINK_MSG_ID_HEARTBEAT
_STATUS = mavlink.MAVLINK_MSG_ID_BATTERY_STATUS
_INFOS = (
    (mavlink.MAVLINK_MSG_ID_SMART_BATTERY_INFO, messages.smart_battery_info),
    (BATTERY_INFO_ID, messages.battery_info),
)
_GROUND_STATION = 255
_UNADDRESSED = BatteryAddress()
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """Options of the components of one link."""

    rate_hz: float = 2.0  # of BATTERY_STATUS
    report_time: str | None = None  # median or low; None: as the autopilot uses it
    accept_systems: tuple[int, ...] = (_GROUND_STATION,)  # in addition to the vehicle's own
    component_id: int = COMPUTER  # of the onboard computer
    key: bytes | None = None  # for signing
    unix_s: float = 0.0  # date at the start, for signing
    timestamps: TimestampStore | None = None  # of signed frames
    pack_voltage_only: bool = False  # in BATTERY_STATUS, for receivers that read voltages[0] alone
    batteries: tuple[BatteryAddress, ...] = ()  # by index, where they are configured


@dataclass(slots=True)
class _Battery:
    """Output of one battery."""

    component: int
    schedule: MessageSchedule
    position: int | None = None  # among those that are reported; None: measured by the vehicle
    leads: bool = False  # sends the heartbeat of its component
    severity: Severity | None = None  # last sent
    withheld: str | None = None
    events: dict[str, tuple[bool, Severity, float]] = field(default_factory=dict)  # last sent
    state: int = mavlink.MAV_STATE_ACTIVE


@dataclass(frozen=True, slots=True)
class _Text:
    component: int
    message: mavlink.MAVLink_message
    t_s: float


@dataclass(slots=True)
class Shared:
    """What the links of one service have in common."""

    autopilot: Autopilot
    settings: command_protocol.Settings  # may be changed over the link of the vehicle
    stack: Callable[[], FlightStack]  # row that decides what may be sent
    announce: Callable[[str, int, float], None]  # sends a text of the computer over every link
    first_id: int | None = None  # BATTERY_STATUS.id of the first battery; None while unknown
    monitors: dict[int, VehicleBattery] = field(default_factory=dict)  # by index of the battery
    reports: SentReports = field(default_factory=SentReports)
    # Of every link: a router may send the frames of one back over another.
    sender_watches: list[SenderWatch] = field(default_factory=list)
    # By key: a frame that was accepted on one link is not accepted again on another.
    signings: dict[bytes, Signing] = field(default_factory=dict)


class Components:
    """The computer and the batteries on one link. For one thread; no method blocks or raises.

    Args:
        link: carries the frames; not closed here.
        shared: what this link has in common with others.
        options: message rate, accepted systems, components, signing.

    Attributes:
        counts: messages received of others (`received`, `foreign`), frames of a second sender of
            our components (`second_sender`), invalid data (`damaged`), frames `sent`, refused by
            the link (`unsent`) and `withheld`.
    """

    def __init__(self, link: Link, shared: Shared, options: BridgeOptions) -> None:
        self.counts: Counter[str] = Counter()
        self._link = link
        self._shared = shared
        self._options = options
        self._computer = options.component_id
        key = options.key
        timestamps = options.timestamps
        if key is not None and key not in shared.signings:
            shared.signings[key] = Signing(key, options.unix_s, timestamps)
        self._codec = Codec(link, None if key is None else shared.signings[key])
        self._server = command_protocol.CommandServer(shared.settings)
        self._heartbeat = MessageSchedule({_HEARTBEAT: 1.0})  # of the computer
        self._server.schedules[self._computer] = [self._heartbeat]
        self._authority = Authority(options.accept_systems, verifies=key is not None)
        self._sender_watch = SenderWatch()
        shared.sender_watches.append(self._sender_watch)
        self._batteries: dict[int, _Battery] = {}
        self._texts: deque[_Text] = deque(maxlen=_TEXTS_MAX)
        self._text_id = 0
        self._grounded = False

    @property
    def trouble(self) -> str | None:
        """Description of a fault of the link, `None` without one."""
        return self._link.trouble

    @property
    def withheld(self) -> str | None:
        """Reason why BATTERY_STATUS of a battery is not sent now, `None` if all are sent."""
        reasons = (battery.withheld for battery in self._batteries.values())
        return next((reason for reason in reasons if reason), None)

    @property
    def batteries(self) -> int:
        """Number of batteries so far."""
        return len(self._batteries)

    @property
    def reported(self) -> int:
        """Number of those that are not measured by the vehicle."""
        return sum(battery.position is not None for battery in self._batteries.values())

    def second_sender_text(self, now_s: float) -> str | None:
        """Description for 10 s after a frame of a second sender, else `None`."""
        return self._sender_watch.trouble(now_s)

    def received(self, now_s: float) -> Iterator[mavlink.MAVLink_message]:
        """Yield the messages of others since the last call."""
        for message in self._codec.receive(now_s):
            source = message.get_srcSystem(), message.get_srcComponent()
            if source[0] != self._system_id or source[1] not in self._server.schedules:
                yield message
                continue
            self.counts["foreign"] += 1
            if not any(one.is_ours(message, source) for one in self._shared.sender_watches):
                text = "second sender of {}/{} on the link".format(*source)
                self.report_second_sender(source, text, now_s)
        self.counts["damaged"] = self._codec.damaged

    def vouch(self, message: mavlink.MAVLink_message, now_s: float, *, is_vehicle: bool) -> None:
        """Rank the sender of the message that was yielded last."""
        rank = PeerRank.STRANGER
        if self._authority.accepts(message.get_srcSystem(), self._system_id):
            rank = PeerRank.FOLLOWED if is_vehicle else PeerRank.ACCEPTED
        self._codec.vouch(rank, now_s)

    def beat(self, now_s: float) -> None:
        """Send the heartbeat of the computer if it is due."""
        if self._heartbeat.due(_HEARTBEAT, now_s):
            kind = mavlink.MAV_TYPE_ONBOARD_CONTROLLER
            least = mavlink.MAV_STATE_STANDBY if self._grounded else mavlink.MAV_STATE_ACTIVE
            state = max(least, self._state(self._computer))
            self.send(self._computer, messages.heartbeat(kind, state), now_s)

    def report(self, report: Report) -> str | None:
        """Send the messages of a battery that are due; why its BATTERY_STATUS is withheld."""
        now_s = report.t_s
        battery = self._batteries.get(report.index) or self._add(report.index)
        battery.state = messages.battery_state(report)
        self._grounded = report.vehicle.armed is False
        if battery.position is not None:
            self._send_battery(report, battery, battery.position)
        for event in report.status.events:
            if _is_new(event, battery, now_s):
                severity = messages.text_severity(event)
                self.add_text(event.text, severity, now_s, battery.component)
        self._send_texts(now_s)
        return battery.withheld

    def answer(
        self, message: mavlink.MAVLink_message, now_s: float, *, is_vehicle_link: bool
    ) -> mavlink.MAVLink_message | None:
        """Answer a request to a component; settings belong to the link of the vehicle.

        Returns:
            The request of an accepted system for the vehicle's authorisation of arming.
        """
        kind = message.get_type()
        system = message.get_srcSystem()
        if kind not in (*command_protocol.REQUESTS, "PING"):
            return None
        target = message.target_system, message.target_component
        if target[0] not in (0, self._system_id):
            return None
        if not is_vehicle_link and kind.startswith("PARAM"):
            return None
        if not self._authority.answers(system, self._system_id, now_s):
            return None
        if kind == "COMMAND_LONG" and message.command == mavlink.MAV_CMD_ARM_AUTHORIZATION_REQUEST:
            return message
        if kind == "PING":
            for component in self._server.schedules:
                if target in ((0, 0), (self._system_id, component)):
                    self.send(component, command_protocol.pong(message), now_s)
        elif target[0] == self._system_id and target[1] in self._server.schedules:
            self._serve(message, target[1], now_s)
        return None

    def add_text(
        self, text: str, severity: int, now_s: float, component: int | None = None
    ) -> None:
        """Queue a text of the computer or, with `component`, of a battery."""
        sender = self._computer if component is None else component
        self._text_id = self._text_id % _TEXT_IDS + 1
        for chunk in messages.chunks(text, severity, self._text_id):
            self._texts.append(_Text(sender, chunk, now_s))

    def report_second_sender(self, source: Source, text: str, now_s: float) -> None:
        """Count a frame of a second sender; log and announce it once a minute."""
        self.counts["second_sender"] += 1
        if self._sender_watch.notice(source, text, now_s):
            _log.error("%s: a forger, or another program or vehicle with this address", text)
            self._shared.announce(text, mavlink.MAV_SEVERITY_ERROR, now_s)

    def send(self, component: int | None, message: mavlink.MAVLink_message, now_s: float) -> bool:
        """Send a message of a component, `None` is the computer; return False if it was dropped."""
        source = self._system_id, self._computer if component is None else component
        sent = self._codec.send(source, message, now_s)
        if sent:
            self._sender_watch.sent(source, bytes(message.get_msgbuf()), now_s)
        self.counts["sent" if sent else "unsent"] += 1
        return sent

    @property
    def _system_id(self) -> int:
        return self._shared.autopilot.system_id

    def _add(self, index: int) -> _Battery:
        schedule = MessageSchedule(self._server.default_periods_s())
        monitors = self._shared.monitors
        addresses = self._options.batteries
        if index in monitors:
            battery = _Battery(self._computer, schedule)
        else:
            position = index - sum(measured < index for measured in monitors)
            address = addresses[index] if index < len(addresses) else _UNADDRESSED
            component = address.component_id
            if component is None:
                component = BATTERIES[min(position, len(BATTERIES) - 1)]
            leads = component not in self._server.schedules
            battery = _Battery(component, schedule, position, leads)
            self._server.schedules.setdefault(component, []).append(schedule)
        self._batteries[index] = battery
        return battery

    def _state(self, component: int) -> int:
        """Worst state of the batteries of a component, 0 without one."""
        states = [one.state for one in self._batteries.values() if one.component == component]
        return max(states, default=int(mavlink.MAV_STATE_UNINIT))

    def _send_battery(self, report: Report, battery: _Battery, position: int) -> None:
        """Send the heartbeat and the messages of a battery that are due."""
        now_s = report.t_s
        addresses = self._options.batteries
        if battery.leads and battery.schedule.due(_HEARTBEAT, now_s):
            heartbeat = messages.heartbeat(state=self._state(battery.component))
            self.send(battery.component, heartbeat, now_s)
        address = addresses[report.index] if report.index < len(addresses) else _UNADDRESSED
        battery_id = address.battery_id
        if battery_id is None:
            battery_id = id_of(self._shared.first_id, position)
        self._send_status(report, battery, battery_id)
        if report.snapshot.voltage_v is None or battery_id is None:
            return
        for message_id, encode in _INFOS:
            if battery.schedule.due(message_id, now_s):
                self.send(battery.component, encode(report, battery_id=battery_id), now_s)

    def _send_status(self, report: Report, battery: _Battery, battery_id: int | None) -> None:
        now_s = report.t_s
        due = battery.schedule.due(_STATUS, now_s)
        if not due and report.status.severity == battery.severity:
            return
        stack = self._shared.stack()
        options = self._options
        armed = self._shared.autopilot.last_armed
        battery.withheld = None
        if report.snapshot.voltage_v is None:
            battery.withheld = "no gauge data"
        elif battery_id is None:
            battery.withheld = "battery ids of vehicle unknown"
        else:
            choice = options.report_time
            message = messages.battery_status(
                report,
                battery_id=battery_id,
                cells_max=0 if options.pack_voltage_only else stack.cells_max,
                low_time=stack.acts_on_time if choice is None else choice == "low",
            )
            battery.withheld = withhold_reason(stack, message.battery_remaining, armed=armed)
            message.battery_remaining = sent_pct(stack, message.battery_remaining, armed=armed)
            if battery.withheld is None and self.send(battery.component, message, now_s):
                battery.severity = report.status.severity
                self._shared.reports.add(message, now_s)
        if battery.withheld is not None and due:
            self.counts["withheld"] += 1

    def _serve(self, message: mavlink.MAVLink_message, component: int, now_s: float) -> None:
        """Answer a command or parameter request to a component."""
        reasons = (one.withheld for one in self._batteries.values() if one.component == component)
        withheld = next((reason for reason in reasons if reason), None)
        changes = command_protocol.changes_setting(message)
        refused = changes and not self._authority.may_change(
            message, self._system_id, in_flight=self._shared.autopilot.in_flight
        )
        settings = self._shared.settings
        before = replace(settings)
        for answer in self._server.answer(message, component, withheld, refused=refused):
            self.send(component, answer, now_s)
        if settings == before:
            return
        source = f"{message.get_srcSystem()}/{message.get_srcComponent()}"
        _log.warning("settings changed by %s: %s, before %s", source, settings, before)
        if settings.acting_enabled != before.acting_enabled:
            state = "on" if settings.acting_enabled else "off"
            text = f"actions {state}: BMS_ACT by {source}"
            self._shared.announce(text, mavlink.MAV_SEVERITY_WARNING, now_s)

    def _send_texts(self, now_s: float) -> None:
        # Texts wait for a lost link: no other message has their content.
        while self._texts:
            text = self._texts[0]
            fresh = now_s - text.t_s <= _TEXT_MAX_AGE_S
            if fresh and not self.send(text.component, text.message, now_s):
                return
            self._texts.popleft()


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

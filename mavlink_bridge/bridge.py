"""Reports out to a flight controller and the ground, the vehicle's state back in.

Every battery is a MAVLink component of its own, 180 and up, of the vehicle's system. It sends a
HEARTBEAT each second, BATTERY_STATUS twice a second and at once when the severity changes,
SMART_BATTERY_INFO every ten seconds and STATUSTEXT for what tripped, and answers what is addressed
to it by a system that may ask. When a pack is not heard, or a vehicle would misread what is known,
nothing is sent rather than something old or invented: every flight stack notices silence.
For one thread and one clock; it never waits, and nothing raises for what arrives or a dead link.
Source: the heartbeat and battery protocols of mavlink.io; vehicles.py for the flight stacks.
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Event, Severity
from mavlink_bridge.protocol import messages
from mavlink_bridge.protocol.autopilot import AUTOPILOT_COMPONENT, Autopilot
from mavlink_bridge.protocol.codec import Codec
from mavlink_bridge.protocol.flight_stack_rules import (
    identified_stack,
    refusal,
    sent_pct,
    stack_named,
)
from mavlink_bridge.protocol.flight_stacks import FlightStack
from mavlink_bridge.protocol.requests import MessageRequester
from mavlink_bridge.protocol.schedule import MessageSchedule
from mavlink_bridge.vehicle import command_protocol
from mavlink_bridge.vehicle.arming_check import ArmingCheck
from mavlink_bridge.vehicle.battery_id import BatteryIdAllocator
from mavlink_bridge.vehicle.vehicle_control import VehicleControl

if TYPE_CHECKING:
    from dronebms.core.clock import Clock
    from dronebms.core.report import Report
    from dronebms.core.vehicle_state import VehicleState
    from mavlink_bridge.protocol.link import Link

_SAME_TEXT_S = 10.0
_TEXT_AGE_S = 30.0  # an older text is no news
_TEXTS_MAX = 32
_TEXT_IDS = 0xFFFF
_PUT_BACK_S = 3.0  # at the end, for a vehicle to answer
_STEP_S = 0.05
_BATTERY = mavlink.MAV_COMP_ID_BATTERY
_HEARTBEAT = mavlink.MAVLINK_MSG_ID_HEARTBEAT
_STATUS = mavlink.MAVLINK_MSG_ID_BATTERY_STATUS
_INFO = mavlink.MAVLINK_MSG_ID_SMART_BATTERY_INFO
GROUND_STATION = 255


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """On what terms a bridge talks."""

    rate_hz: float = 2.0  # of BATTERY_STATUS
    accept_systems: tuple[int, ...] = (GROUND_STATION,)  # that may ask, beside the vehicle's own
    key: bytes | None = None  # to sign with
    unix_s: float = 0.0  # the date at the start, for signing


DEFAULT_OPTIONS = BridgeOptions()
FOUND_OUT = -1
_Text = tuple[int, mavlink.MAVLink_message, float]  # of which battery, said when


@dataclass(slots=True)
class _Battery:
    """What was last sent for one battery."""

    streams: MessageSchedule
    severity: Severity | None = None
    withheld: str | None = None
    said: dict[str, tuple[tuple[bool, Severity], float]] = field(default_factory=dict)


class Bridge:
    """A sink of reports and the source of the vehicle's state, over one link."""

    def __init__(
        self,
        link: "Link",
        *,
        system_id: int = 1,
        vehicle: str = "auto",
        first_battery_id: int = FOUND_OUT,
        options: BridgeOptions = DEFAULT_OPTIONS,
    ) -> None:
        """Use a link.

        Args:
            link: carries the frames; the bridge drives it and does not close it.
            system_id: the vehicle's, until an autopilot is heard.
            vehicle: `auto`, `ardupilot` or `px4`.
            first_battery_id: BATTERY_STATUS.id of the battery with index 0; -1 finds one that the
                vehicle does not use for a battery of its own.
            options: message rate, accepted systems, signing.

        Raises:
            ConfigError: there is no such vehicle.
        """
        # Messages of our autopilot (heard) and of anybody else (foreign), pieces that were none
        # (damaged); frames sent, not taken by the link (unsent), and better not sent (withheld).
        self.counts: Counter[str] = Counter()
        self.vehicle_control: VehicleControl | None = None  # unless a user turns it on
        self._codec = Codec(link, options.key, options.unix_s)
        self._told = stack_named(vehicle)
        self._accepted = frozenset(options.accept_systems)
        self.answers = command_protocol.CommandServer(
            BMS_RATE_HZ=options.rate_hz, BMS_ID=first_battery_id, BMS_ACT=1.0
        )
        self._autopilot = Autopilot(system_id)
        self._asker = MessageRequester()
        self._arming = ArmingCheck()
        self.first_id = BatteryIdAllocator()
        self._batteries: dict[int, _Battery] = {}
        self._texts: deque[_Text] = deque(maxlen=_TEXTS_MAX)
        self._text_id = 0

    @property
    def system_id(self) -> int:
        """The system that the batteries are components of."""
        return self._autopilot.system_id

    @property
    def vehicle(self) -> FlightStack:
        """The row by which is decided what may be sent."""
        heard = identified_stack(self._autopilot.kind, self._autopilot.release)
        return heard if self._told is None or self._told.name == heard.name else self._told

    @property
    def withheld(self) -> str | None:
        """Why BATTERY_STATUS of some battery is not sent now, None when nothing is kept back."""
        reasons = (battery.withheld for battery in self._batteries.values())
        return next((reason for reason in reasons if reason), None)

    def pump(self, now_s: float) -> "VehicleState":
        """Read and answer what has come in, ask for what has not; return the vehicle's state."""
        for message in self._codec.receive(now_s):
            ours = self._autopilot.receive(message, now_s)
            self.counts["heard" if ours else "foreign"] += 1
            if ours and self.vehicle_control is not None:
                self.vehicle_control.receive(message, self._autopilot, now_s)
            self._answer(message, now_s)
        self.counts["damaged"] = self._codec.damaged
        for ask in self._asker.due(self._autopilot, now_s):
            self._send(0, ask, now_s)
        state = self._autopilot.state(now_s)
        if self.vehicle_control is not None:
            self._act(self.vehicle_control, state, now_s)
        self._arm(state, now_s)
        return state

    def restore_parameters(self, clock: "Clock") -> None:
        """Put back what acting has changed on the vehicle: at the end, for seconds at most."""
        end_s = clock.now_s() + _PUT_BACK_S
        while (
            self.vehicle_control is not None
            and not self.vehicle_control.idle
            and (t_s := clock.now_s()) < end_s
        ):
            self.answers.values["BMS_ACT"] = 0.0
            self.pump(t_s)
            clock.sleep_until(t_s + _STEP_S)

    def __call__(self, report: "Report") -> None:
        """Send what is due of a battery."""
        now_s = report.t_s
        battery = self._batteries.get(report.index)
        if battery is None:
            battery = _Battery(MessageSchedule(self.answers.default_periods_s()))
            self._batteries[report.index] = battery
        if battery.streams.due(_HEARTBEAT, now_s):
            self._send(report.index, messages.heartbeat(), now_s)
        told_id = int(self.answers.values["BMS_ID"])
        first_id = self.first_id.of(self.vehicle, self._autopilot, told_id, now_s)
        self._send_status(report, battery, first_id)
        if self._autopilot.last_armed is not True:
            self._arming.judge(report, battery.withheld)
        if self.vehicle_control is not None:
            self.vehicle_control.want(report.index, report.requests)
        heard = report.snapshot.voltage_v is not None
        if heard and first_id is not None and battery.streams.due(_INFO, now_s):
            info = messages.smart_battery_info(report, battery_id=first_id + report.index)
            self._send(report.index, info, now_s)
        for event in report.status.events:
            if _is_news(event, battery, now_s):
                self._say(report.index, event.text, messages.text_severity(event), now_s)
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
                for answer in self.answers.to(message, battery.streams, battery.withheld):
                    self._send(index, answer, now_s)

    def _send_status(self, report: "Report", battery: _Battery, first_id: int | None) -> None:
        now_s, vehicle, armed = report.t_s, self.vehicle, self._autopilot.last_armed
        due = battery.streams.due(_STATUS, now_s)
        if not due and report.status.severity == battery.severity:
            return
        battery.withheld = None
        if report.snapshot.voltage_v is None:
            battery.withheld = "the pack is not heard"
        elif first_id is None:
            battery.withheld = "the vehicle has not told yet which battery ids it uses"
        else:
            message = messages.battery_status(
                report, battery_id=first_id + report.index, cells_max=vehicle.cells_max
            )
            battery.withheld = refusal(vehicle, message.battery_remaining, armed=armed)
            message.battery_remaining = sent_pct(vehicle, message.battery_remaining, armed=armed)
            if battery.withheld is None and self._send(report.index, message, now_s):
                battery.severity = report.status.severity
        if battery.withheld is not None and due:
            self.counts["withheld"] += 1

    def _arm(self, state: "VehicleState", now_s: float) -> None:
        """Tell a disarmed vehicle and people whether it should be armed."""
        if state.armed is not False or not self._batteries:
            return
        message, reason = self._arming.tell(now_s)
        if message is not None and self.vehicle.scripted:
            self._send(0, message, now_s)
        if reason is not None:
            self._say(0, reason, mavlink.MAV_SEVERITY_WARNING, now_s)

    def _authorize(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        answer, reason = self._arming.answer(message)
        self._send(0, answer, now_s)
        if reason is not None:
            self._say(0, reason, mavlink.MAV_SEVERITY_ERROR, now_s)

    def _act(self, vehicle_control: VehicleControl, state: "VehicleState", now_s: float) -> None:
        free = bool(self.answers.values["BMS_ACT"])
        for message in vehicle_control.step(self._autopilot, state, now_s, free=free):
            self._send(0, message, now_s)
        for severity, text in vehicle_control.words():
            self._say(0, text, severity, now_s)

    def _say(self, index: int, text: str, severity: int, now_s: float) -> None:
        self._text_id = self._text_id % _TEXT_IDS + 1
        for chunk in messages.chunks(text, severity, self._text_id):
            self._texts.append((index, chunk, now_s))

    def _send_texts(self, now_s: float) -> None:
        # Texts wait for a link that is away, as nothing else tells what they tell.
        while self._texts:
            index, message, at_s = self._texts[0]
            if now_s - at_s <= _TEXT_AGE_S and not self._send(index, message, now_s):
                return
            self._texts.popleft()

    def _send(self, index: int, message: mavlink.MAVLink_message, now_s: float) -> bool:
        sent = self._codec.send((self.system_id, _BATTERY + index), message, now_s)
        self.counts["sent" if sent else "unsent"] += 1
        return sent


def _is_news(event: Event, battery: _Battery, now_s: float) -> bool:
    """Return whether to say it: a limit's same state again within 10 s is not news.

    The state and not the text is compared, because a text carries the value of the moment; a
    limit that cleared and tripped again is news, so that the last word is always the true one.
    """
    if event.severity < Severity.WARNING:
        return False
    state = (event.tripped, event.severity)
    before = battery.said.get(event.limit_id)
    if before is not None and before[0] == state and now_s - before[1] < _SAME_TEXT_S:
        return False
    battery.said[event.limit_id] = (state, now_s)
    return True

"""Reports out to a flight controller and the ground, the vehicle's state back in.

Every battery is a MAVLink component of its own, 180 and up, of the vehicle's system. It sends a
HEARTBEAT each second, BATTERY_STATUS twice a second and at once when the severity changes, and
STATUSTEXT for what tripped. When a pack is not heard, or a vehicle would misread what is known,
nothing is sent rather than something old or invented: every flight stack notices silence.
For one thread and one clock; it never waits, and nothing raises for what arrives or a dead link.
Source: the heartbeat and battery protocols of mavlink.io; vehicles.py for the flight stacks.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pymavlink.dialects.v20 import common as mavlink

from dronebms.protection import Event, Severity
from mavlink_bridge import encode
from mavlink_bridge.autopilot import Autopilot
from mavlink_bridge.vehicles import Vehicle, refusal, vehicle_heard, vehicle_named

if TYPE_CHECKING:
    from dronebms.monitor import Report
    from dronebms.vehicle import VehicleState
    from mavlink_bridge.link import Link

_HEARTBEAT_PERIOD_S = 1.0
_SAME_TEXT_S = 10.0
_TEXT_AGE_S = 30.0  # an older text is no news
_TEXTS_MAX = 32
_TEXT_IDS = 0xFFFF
_SEQUENCE_MASK = 0xFF
_PARSER_BYTES_MAX = 65536


@dataclass(slots=True)
class Counts:
    """What has passed; counts only grow."""

    heard: int = 0  # messages of our autopilot
    foreign: int = 0  # of anybody else
    damaged: int = 0  # pieces that were no message
    sent: int = 0
    unsent: int = 0  # the link did not take them
    withheld: int = 0  # BATTERY_STATUS that was due and better not sent


@dataclass(slots=True)
class _Battery:
    """What was last sent for one battery."""

    heartbeat_due_s: float
    status_due_s: float
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
        learn_system_id: bool = True,
        vehicle: str = "auto",
        first_battery_id: int = 0,
        rate_hz: float = 2.0,
    ) -> None:
        """Use a link.

        Args:
            link: carries the frames; the bridge drives it and does not close it.
            system_id: the vehicle's, until an autopilot is heard.
            learn_system_id: False keeps to `system_id`, on a link with several vehicles.
            vehicle: `auto`, `ardupilot` or `px4`.
            first_battery_id: BATTERY_STATUS.id of the battery with index 0.
            rate_hz: of BATTERY_STATUS.

        Raises:
            ConfigError: there is no such vehicle.
        """
        self.counts = Counts()
        self._link = link
        self._told = vehicle_named(vehicle)
        self._first_battery_id = first_battery_id
        self._period_s = 1.0 / rate_hz
        self._autopilot = Autopilot(system_id, learn=learn_system_id)
        self._batteries: dict[int, _Battery] = {}
        self._codecs: dict[tuple[int, int], mavlink.MAVLink] = {}
        self._texts: deque[tuple[int, mavlink.MAVLink_message, float]] = deque(maxlen=_TEXTS_MAX)
        self._text_id = 0
        self._parser = _parser()

    @property
    def system_id(self) -> int:
        """The system that the batteries are components of."""
        return self._autopilot.system_id

    @property
    def vehicle(self) -> Vehicle:
        """The row by which is decided what may be sent."""
        return self._told or vehicle_heard(self._autopilot.kind)

    @property
    def withheld(self) -> str | None:
        """Why BATTERY_STATUS of some battery is not sent now, None when nothing is kept back."""
        reasons = (battery.withheld for battery in self._batteries.values())
        return next((reason for reason in reasons if reason), None)

    def pump(self, now_s: float) -> "VehicleState":
        """Read what has come in; return the vehicle's state."""
        for data in self._link.receive(now_s):
            for message in self._parser.parse_buffer(data) or ():
                if message.get_type() == "BAD_DATA":
                    self.counts.damaged += 1
                elif self._autopilot.hear(message, now_s):
                    self.counts.heard += 1
                else:
                    self.counts.foreign += 1
        # The codec frees what it has parsed only when a piece ends where a message does.
        if len(self._parser.buf) > _PARSER_BYTES_MAX:
            self._parser = _parser()
        return self._autopilot.state(now_s)

    def __call__(self, report: "Report") -> None:
        """Send what is due of a battery."""
        now_s = report.t_s
        battery = self._batteries.setdefault(report.index, _Battery(now_s, now_s))
        if now_s >= battery.heartbeat_due_s:
            battery.heartbeat_due_s = _next(battery.heartbeat_due_s, _HEARTBEAT_PERIOD_S, now_s)
            self._send(report.index, encode.heartbeat(), now_s)
        if now_s >= battery.status_due_s or report.status.severity != battery.severity:
            self._send_status(report, battery)
        for event in report.status.events:
            if _is_news(event, battery, now_s):
                self._say(report.index, event, now_s)
        self._send_texts(now_s)

    def _send_status(self, report: "Report", battery: _Battery) -> None:
        now_s, vehicle = report.t_s, self.vehicle
        due = now_s >= battery.status_due_s
        if due:
            battery.status_due_s = _next(battery.status_due_s, self._period_s, now_s)
        if report.snapshot.voltage_v is None:
            battery.withheld = "the pack is not heard"
        else:
            message = encode.battery_status(
                report,
                battery_id=self._first_battery_id + report.index,
                cells_max=vehicle.cells_max,
            )
            battery.withheld = refusal(
                vehicle, message.battery_remaining, armed=self._autopilot.last_armed
            )
            if battery.withheld is None and self._send(report.index, message, now_s):
                battery.severity = report.status.severity
        if battery.withheld is not None and due:
            self.counts.withheld += 1

    def _say(self, index: int, event: Event, now_s: float) -> None:
        self._text_id = self._text_id % _TEXT_IDS + 1
        for chunk in encode.statustext(event, self._text_id):
            self._texts.append((index, chunk, now_s))

    def _send_texts(self, now_s: float) -> None:
        # Texts wait for a link that is away, as nothing else tells what they tell.
        while self._texts:
            index, message, at_s = self._texts[0]
            if now_s - at_s <= _TEXT_AGE_S and not self._send(index, message, now_s):
                return
            self._texts.popleft()

    def _send(self, index: int, message: mavlink.MAVLink_message, now_s: float) -> bool:
        source = (self._autopilot.system_id, mavlink.MAV_COMP_ID_BATTERY + index)
        codec = self._codecs.get(source)
        if codec is None:
            codec = self._codecs[source] = mavlink.MAVLink(None, *source)
        sent = self._link.send(message.pack(codec), now_s)
        if sent:
            codec.seq = (codec.seq + 1) & _SEQUENCE_MASK
            self.counts.sent += 1
        else:
            self.counts.unsent += 1
        return sent


def _parser() -> mavlink.MAVLink:
    parser = mavlink.MAVLink(None)
    parser.robust_parsing = True  # damage becomes a message of type BAD_DATA
    return parser


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


def _next(due_s: float, period_s: float, now_s: float) -> float:
    """Return when it is due again: on the beat, unless a whole beat was missed."""
    return due_s + period_s if now_s < due_s + period_s else now_s + period_s

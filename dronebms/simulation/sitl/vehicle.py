# SPDX-License-Identifier: Apache-2.0
"""A simulated vehicle as a clock and as a load; sets the voltage of its battery.

One link is shared: `SitlVehicle` reads each message when its clock reaches it, then passes the
frame to the bridge, which uses this object as its link. Messages of a later time stay unread while
an earlier time is awaited: however late a current is read, it is applied to the time it flowed in.

The vehicle's time is its time_boot_ms; the wall clock is that of this machine.
Volts, amps (positive while discharging), watts, throttle 0..1.
Source: MAVLink common.xml (BATTERY_STATUS 147, VFR_HUD 74, SET_MESSAGE_INTERVAL 511) and the
parameter protocol of mavlink.io.
"""

from collections import deque
from collections.abc import Callable
from math import inf

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.clock import Clock
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.codec import Codec
from mavlink_bridge.protocol.flight_stacks import FlightStack
from mavlink_bridge.protocol.link import Link
from mavlink_bridge.protocol.parameters import Parameters, same
from mavlink_bridge.protocol.requests import command

# Seconds of the wall clock:
_SILENT_S = 3.0
_POLL_S = 0.001
_POLL_SILENT_S = 0.05
_REQUEST_PERIOD_S = 1.0
_ANSWER_S = 2.0
_PARAMETER_RETRY_S = 0.5
# Seconds of the vehicle:
_REBOOT_S = 5.0  # that the time goes back; stamps of different messages differ by less

_FRAMES_MAX = 4096
_SELF = mavlink.MAV_COMP_ID_ONBOARD_COMPUTER
_UNUSED_MV = 0xFFFF
_US_PER_S = 1e6
_MILLI = 0.001
_CENTI = 0.01

_REQUESTED_HZ = {  # of the vehicle's time
    mavlink.MAVLINK_MSG_ID_ATTITUDE: 20.0,  # drives the clock
    mavlink.MAVLINK_MSG_ID_BATTERY_STATUS: 20.0,  # ArduPilot divides this among its batteries
    mavlink.MAVLINK_MSG_ID_VFR_HUD: 10.0,
    mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT: 5.0,
    mavlink.MAVLINK_MSG_ID_HOME_POSITION: 2.0,
}
_STAMPED = ("ATTITUDE", "SYSTEM_TIME")  # the stamp of other messages may be that of a measurement


class SitlVehicle:
    """The simulated vehicle at the other end of a link: a `Clock`, and the bridge's `Link`.

    Attributes:
        battery_id: BATTERY_STATUS.id of the battery that is the load.
        power_w: of that battery; `None` until received.
        throttle_frac: `None` until received.
        parameters: as last received, and pending requests; a reboot discards the values.
    """

    def __init__(self, link: Link, wall: Clock, notify: Callable[[str], None]) -> None:
        """Use a link.

        Args:
            link: carries the frames; not closed here.
            wall: clock of this machine.
            notify: called with a sentence when the vehicle falls silent, returns or reboots.
        """
        self.battery_id = 0
        self.power_w: float | None = None
        self.throttle_frac: float | None = None
        self.parameters = Parameters(_PARAMETER_RETRY_S)
        self._link = link
        self._wall = wall
        self._notify = notify
        self._autopilot = Autopilot()
        self._codec = Codec(link)
        self._unread: deque[mavlink.MAVLink_message] = deque()
        self._frames: deque[bytes] = deque(maxlen=_FRAMES_MAX)
        self._now_s = 0.0
        self._boot_s = -inf
        self._stamped_s = 0.0  # wall time of the last stamp
        self._silent = self._ending = False
        self._received_s: dict[int, float] = {}  # or requested, of each requested message

    # ------------------------------------------------------------------ clock

    def now_s(self) -> float:
        """Time of the vehicle since `begin`; continues through a reboot."""
        return self._now_s

    def ahead_s(self) -> float:
        """Seconds by which the vehicle is ahead of the clock, by the messages that wait."""
        self._unread += self._codec.receive(self._wall.now_s())
        stamps_s = (
            message.time_boot_ms * _MILLI
            for message in reversed(self._unread)
            if message.get_type() in _STAMPED
        )
        return max(next(stamps_s, self._boot_s) - self._boot_s, 0.0) if self.is_ticking else 0.0

    def sleep_until(self, t_s: float) -> None:
        """Read messages until the vehicle has reached a time, however long that takes.

        After `end` a vehicle that has stopped is not awaited: the time is then taken as reached.
        """
        while self._now_s < t_s:
            if self._ending and self._wall.now_s() - self._stamped_s > _SILENT_S:
                self._now_s = t_s
                return
            self._read()

    def end(self) -> None:
        """Await the vehicle no longer than 3 s from now on."""
        self._ending = True

    def begin(self) -> None:
        """Set the clock to 0."""
        self._now_s = 0.0

    def until(self, done: Callable[[], bool], within_s: float) -> bool:
        """Read messages until a condition holds; return False after a time of the wall clock."""
        end_s = self._wall.now_s() + within_s
        while not done() and self._wall.now_s() < end_s:
            self._read()
        return done()

    # ------------------------------------------------------------------ link of the bridge

    @property
    def is_open(self) -> bool:
        """Whether the link is connected."""
        return self._link.is_open

    @property
    def trouble(self) -> str | None:
        """Description of a fault of the link, `None` without one."""
        return self._link.trouble

    def send(self, data: bytes, _now_s: float) -> bool:
        """Send a frame; return False if it was dropped. The link runs on the wall clock."""
        return self._link.send(data, self._wall.now_s())

    def receive(self, _now_s: float) -> list[bytes]:
        """Frames that the clock has reached since the last call."""
        frames = list(self._frames)
        self._frames.clear()
        return frames

    # ------------------------------------------------------------------ requests

    @property
    def is_ticking(self) -> bool:
        """Whether a time of the vehicle has been received."""
        return self._boot_s >= 0.0

    @property
    def stack(self) -> FlightStack:
        """Row of its flight stack."""
        return self._autopilot.stack

    def read(self, name: str) -> float | None:
        """Read a parameter; `None` if the vehicle does not send it within 2 s."""
        self.parameters.read(name)
        self.until(lambda: name not in self.parameters.pending(), _ANSWER_S)
        return self.parameters.values.get(name)

    def set_and_confirm(self, name: str, value: float) -> bool:
        """Set a parameter; return whether the vehicle confirms it within 2 s."""
        self.parameters.read(name)  # discards the known value and earlier requests
        self.parameters.set(name, value)
        return self.until(lambda: same(self.parameters.values.get(name, inf), value), _ANSWER_S)

    def _send(self, message: mavlink.MAVLink_message) -> None:
        self._codec.send((self._autopilot.system_id, _SELF), message, self._wall.now_s())

    # ------------------------------------------------------------------ received messages

    def _read(self) -> None:
        """Take the next message, or wait a short time for one."""
        if self._unread:
            self._take(self._unread.popleft())
            return
        wall_s = self._wall.now_s()
        self._unread += self._codec.receive(wall_s)
        self._request(wall_s)
        if self._unread:
            return
        if wall_s - self._stamped_s > _SILENT_S and not self._silent and self.is_ticking:
            self._silent = True
            self._notify(f"no time received from the vehicle for {_SILENT_S:g} s; waiting")
        self._wall.sleep_until(wall_s + (_POLL_SILENT_S if self._silent else _POLL_S))

    def _request(self, wall_s: float) -> None:
        """Request parameters, and messages that have not come for a second.

        A vehicle may have rebooted. Also before the first message: some links carry data only
        after they have received some.
        """
        system = self._autopilot.system_id
        set_interval = mavlink.MAV_CMD_SET_MESSAGE_INTERVAL
        bytewise = self.stack.bytewise_integers
        for message in self.parameters.due(system, wall_s, bytewise=bytewise):
            self._send(message)
        for message_id, rate_hz in _REQUESTED_HZ.items():
            if wall_s - self._received_s.get(message_id, -inf) >= _REQUEST_PERIOD_S:
                self._received_s[message_id] = wall_s
                self._send(command(system, set_interval, message_id, _US_PER_S / rate_hz))

    def _take(self, message: mavlink.MAVLink_message) -> None:
        self._frames.append(bytes(message.get_msgbuf()))
        wall_s = self._wall.now_s()
        if not self._autopilot.receive(message, wall_s):
            return
        if message.get_msgId() in self._received_s:
            self._received_s[message.get_msgId()] = wall_s
        kind = message.get_type()
        if kind in _STAMPED:
            self._advance(message.time_boot_ms * _MILLI, wall_s)
        elif kind == "BATTERY_STATUS" and message.id == self.battery_id:
            self._take_power(message)
        elif kind == "VFR_HUD":
            self.throttle_frac = message.throttle * _CENTI
        self.parameters.receive(message, bytewise=self.stack.bytewise_integers)

    def _advance(self, boot_s: float, wall_s: float) -> None:
        """Advance the clock to a stamp."""
        if boot_s < self._boot_s - _REBOOT_S:
            self._notify("the vehicle has rebooted")
            self.parameters.discard_values()
            self._received_s.clear()
            self._boot_s = -inf
        if boot_s <= self._boot_s:
            return
        if self.is_ticking:
            self._now_s += boot_s - self._boot_s
        self._boot_s = boot_s
        self._stamped_s = wall_s
        if self._silent:
            self._silent = False
            self._notify("the vehicle sends its time again")

    def _take_power(self, message: mavlink.MAVLink_battery_status_message) -> None:
        if message.current_battery != -1:
            voltage_v = sum(mv for mv in message.voltages if mv != _UNUSED_MV) * _MILLI
            self.power_w = max(message.current_battery * _CENTI, 0.0) * voltage_v

"""A simulated vehicle as a clock and as a load, and the voltage of its battery set.

One link is shared: each message is looked at here as the clock comes to it, then handed on to the
bridge, which is given this object as its link. What has come in but lies ahead of the time that is
waited for stays unread: however late a current is looked at, it holds for the time it flowed in.

The vehicle's time is what it says (time_boot_ms); the wall's is the machine's own.
Volts, amps (positive while discharging), watts, throttle 0..1.
Source: MAVLink common.xml (BATTERY_STATUS 147, VFR_HUD 74, SET_MESSAGE_INTERVAL 511) and the
parameter protocol of mavlink.io, in which PX4 sends the bits of an integer as the float.
"""

from collections import deque
from collections.abc import Callable
from math import inf

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.clock import Clock
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.codec import Codec
from mavlink_bridge.protocol.flight_stack_rules import identified_stack
from mavlink_bridge.protocol.flight_stacks import PX4, FlightStack
from mavlink_bridge.protocol.link import Link
from mavlink_bridge.protocol.parameters import Parameters, same
from mavlink_bridge.protocol.requests import command

_SILENT_S = 3.0  # of the wall's time, as the next five
_POLL_S = 0.001
_POLL_SILENT_S = 0.05
_ASK_S = 1.0
_ANSWER_S, _PARAMETER_S = 2.0, 0.5
_REBOOT_S = 5.0  # of the vehicle's: one stamp may be older than another, but not by this
_FRAMES_MAX = 4096
_SELF = mavlink.MAV_COMP_ID_ONBOARD_COMPUTER
_UNUSED_MV = 0xFFFF
_US_PER_S = 1e6
_MILLI, _CENTI = 0.001, 0.01

_HZ = {  # asked of the vehicle, in its time
    mavlink.MAVLINK_MSG_ID_ATTITUDE: 20.0,  # winds the clock
    mavlink.MAVLINK_MSG_ID_BATTERY_STATUS: 20.0,  # ArduPilot shares that among its batteries
    mavlink.MAVLINK_MSG_ID_VFR_HUD: 10.0,
    mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT: 5.0,
    mavlink.MAVLINK_MSG_ID_HOME_POSITION: 2.0,
}
_STAMPED = ("ATTITUDE", "SYSTEM_TIME")  # others may bear the time of what they tell of


class SitlVehicle:
    """The simulated vehicle at the other end of a link: a `Clock`, and the bridge's `Link`.

    Attributes:
        battery_id: which of its batteries is the load.
        power_w: what that gives, None: not told yet.
        throttle_frac: None: not told yet.
        parameters: as last told, and what is wanted of them; a reboot forgets them.
    """

    def __init__(self, link: Link, wall: Clock, say: Callable[[str], None]) -> None:
        """Use a link.

        Args:
            link: carries the frames; it is driven here and not closed.
            wall: the machine's own clock.
            say: told in a sentence when the vehicle falls silent, is back or reboots.
        """
        self.battery_id = 0
        self.power_w: float | None = None
        self.throttle_frac: float | None = None
        self.parameters = Parameters(_PARAMETER_S)
        self._link, self._wall, self._say = link, wall, say
        self._autopilot = Autopilot(1)
        self._codec = Codec(link)
        self._coming: deque[mavlink.MAVLink_message] = deque()
        self._frames: deque[bytes] = deque(maxlen=_FRAMES_MAX)
        self._now_s, self._boot_s = 0.0, -inf
        self._wound_s, self._silent = 0.0, False
        self._asked_s: dict[int, float] = {}

    # ------------------------------------------------------------------ a clock

    def now_s(self) -> float:
        """Return the vehicle's time since `begin`; it goes on through a reboot."""
        return self._now_s

    def sleep_until(self, t_s: float) -> None:
        """Read what comes in until the vehicle says that it is so late, however long it takes."""
        while self._now_s < t_s:
            self._read()

    def begin(self) -> None:
        """Let the clock's zero be now."""
        self._now_s = 0.0

    def until(self, done: Callable[[], bool], within_s: float) -> bool:
        """Read until something holds; return False when it does not within the wall's time."""
        end_s = self._wall.now_s() + within_s
        while not done() and self._wall.now_s() < end_s:
            self._read()
        return done()

    # ------------------------------------------------------------------ the bridge's link

    @property
    def is_open(self) -> bool:
        """Whether the link is open."""
        return self._link.is_open

    @property
    def trouble(self) -> str | None:
        """One sentence on what is wrong with the link, None when nothing is."""
        return self._link.trouble

    def send(self, data: bytes, _now_s: float) -> bool:
        """Return True when the frame is on its way; the link keeps to the wall's time."""
        return self._link.send(data, self._wall.now_s())

    def receive(self, _now_s: float) -> list[bytes]:
        """Return the frames that the clock has come to since it was last asked."""
        frames = list(self._frames)
        self._frames.clear()
        return frames

    # ------------------------------------------------------------------ what is asked and set

    @property
    def is_ticking(self) -> bool:
        """Whether a time of the vehicle has been heard."""
        return self._boot_s >= 0.0

    @property
    def kind(self) -> FlightStack:
        """Which flight stack it is."""
        return identified_stack(self._autopilot.kind)

    def read(self, name: str) -> float | None:
        """Return a parameter; None is one that it does not have, or keeps to itself for 2 s."""
        self.parameters.read(name)
        self.until(lambda: name not in self.parameters.waiting(), _ANSWER_S)
        return self.parameters.values.get(name)

    def set_surely(self, name: str, value: float) -> bool:
        """Set a parameter, and return whether the vehicle says within 2 s that it is set."""
        self.parameters.read(name)  # whatever is known or was asked before
        self.parameters.set(name, value)
        return self.until(lambda: same(self.parameters.values.get(name, inf), value), _ANSWER_S)

    def _tell(self, message: mavlink.MAVLink_message) -> None:
        self._codec.send((self._autopilot.system_id, _SELF), message, self._wall.now_s())

    # ------------------------------------------------------------------ what comes in

    def _read(self) -> None:
        """Take the next message, or wait a little for one."""
        if self._coming:
            self._hear(self._coming.popleft())
            return
        wall_s = self._wall.now_s()
        self._coming += self._codec.receive(wall_s)
        self._ask(wall_s)
        if self._coming:
            return
        if wall_s - self._wound_s > _SILENT_S and not self._silent and self.is_ticking:
            self._silent = True
            self._say(f"the vehicle has told no time for {_SILENT_S:g} s; waiting for it")
        self._wall.sleep_until(wall_s + (_POLL_SILENT_S if self._silent else _POLL_S))

    def _ask(self, wall_s: float) -> None:
        """Ask for parameters, and streams that did not come for a second: it may have rebooted.

        Before a vehicle is heard too, as some links carry nothing until something has come in.
        """
        system, ask = self._autopilot.system_id, mavlink.MAV_CMD_SET_MESSAGE_INTERVAL
        for message in self.parameters.due(system, wall_s, bytewise=self.kind is PX4):
            self._tell(message)
        for message_id, rate_hz in _HZ.items():
            if wall_s - self._asked_s.get(message_id, -inf) >= _ASK_S:
                self._asked_s[message_id] = wall_s
                self._tell(command(system, ask, message_id, _US_PER_S / rate_hz))

    def _hear(self, message: mavlink.MAVLink_message) -> None:
        self._frames.append(bytes(message.get_msgbuf()))
        wall_s = self._wall.now_s()
        if not self._autopilot.receive(message, wall_s):
            return
        if message.get_msgId() in self._asked_s:
            self._asked_s[message.get_msgId()] = wall_s
        kind = message.get_type()
        if kind in _STAMPED:
            self._wind(message.time_boot_ms * _MILLI, wall_s)
        elif kind == "BATTERY_STATUS" and message.id == self.battery_id:
            self._draw(message)
        elif kind == "VFR_HUD":
            self.throttle_frac = message.throttle * _CENTI
        self.parameters.receive(message, bytewise=self.kind is PX4)

    def _wind(self, boot_s: float, wall_s: float) -> None:
        """Put the clock on."""
        if boot_s < self._boot_s - _REBOOT_S:
            self._say("the vehicle has rebooted")
            self.parameters.forget()
            self._asked_s.clear()
            self._boot_s = -inf
        if boot_s <= self._boot_s:
            return
        if self.is_ticking:
            self._now_s += boot_s - self._boot_s
        self._boot_s, self._wound_s = boot_s, wall_s
        if self._silent:
            self._silent = False
            self._say("the vehicle is heard again")

    def _draw(self, message: mavlink.MAVLink_battery_status_message) -> None:
        if message.current_battery != -1:
            voltage_v = sum(mv for mv in message.voltages if mv != _UNUSED_MV) * _MILLI
            self.power_w = max(message.current_battery * _CENTI, 0.0) * voltage_v

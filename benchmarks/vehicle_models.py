# SPDX-License-Identifier: Apache-2.0
"""Models of a multirotor and of the flight stacks that fly it, in memory. Library.

The airframe is the load of a virtual pack; the flight controller is the link of the bridge, takes
its commands and the battery that it sends, and acts on both as the real stacks do: failsafes latch,
ArduPilot's by used charge and voltage, PX4's by percentage after a hold of 5 s. Seconds of the
flight; metres from home along one line.
Sources: AP_BattMonitor_Backend.cpp, ArduCopter events.cpp; PX4 batteryCheck.cpp, failsafe.cpp.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState

ARDUPILOT, PX4 = mavlink.MAV_AUTOPILOT_ARDUPILOTMEGA, mavlink.MAV_AUTOPILOT_PX4
STACKS = {"ardupilot": ARDUPILOT, "px4": PX4}
STEP_S = 0.1
_HOME_LAT_DEG, _HOME_LON_DEG, _HOME_ALT_M = 47.3977, 8.5456, 488.0
_DEG_PER_M = 1.0 / 111_195.0
_UP_M_S, _DOWN_M_S = 2.5, 1.5
_SYSTEM, _AUTOPILOT, _QUADROTOR, _ARMED_FLAG = 1, 1, 2, 128
_PX4_118 = 1 << 24 | 18 << 16 | 255
_ARDUPILOT_47 = 4 << 24 | 7 << 16 | 255

_UNUSED_MV = 0xFFFF
_LOW_V, _LOW_TIMER_S = 13.2, 10.0  # BATT_LOW_VOLT for four cells, BATT_LOW_TIMER
ARDUPILOT_FRACS = (0.25, 0.10)  # BATT_LOW_MAH, BATT_CRT_MAH over BATT_CAPACITY (docs/ardupilot.md)
PX4_PCTS = (15, 6, 5)  # at or below: low, critical, emergency of the default parameters
_CRITICAL, _EMERGENCY = 2, 3  # levels

# Name of a mode here: its HEARTBEAT.custom_mode of each stack.
MODES = {
    "takeoff": {ARDUPILOT: 3, PX4: 4 << 16 | 2 << 24},  # ArduCopter takes off in AUTO
    "mission": {ARDUPILOT: 3, PX4: 4 << 16 | 4 << 24},
    "hold": {ARDUPILOT: 5, PX4: 4 << 16 | 3 << 24},
    "guided": {ARDUPILOT: 4, PX4: 6 << 16},
    "pilot": {ARDUPILOT: 2, PX4: 3 << 16},
    "return": {ARDUPILOT: 6, PX4: 4 << 16 | 5 << 24},
    "land": {ARDUPILOT: 9, PX4: 4 << 16 | 6 << 24},
}
_BY_NUMBER = {
    stack: {numbers[stack]: name for name, numbers in MODES.items() if name != "takeoff"}
    for stack in STACKS.values()
}


@dataclass
class Airframe:
    """A multirotor, the flight of a virtual pack (`sim.plant.flight_profile.FlightProfile`).

    Attributes:
        mode: name in `MODES`; "mission" flies out, hovers, and from `home_at_s` flies home and lands.
        way_m, cruise_m_s, return_m_s: of the mission and of a return.
    """

    hover_w: float
    random: np.random.Generator
    way_m: float = 80.0
    alt_m: float = 20.0
    cruise_m_s: float = 5.0
    return_m_s: float = 5.0
    home_at_s: float = math.inf
    gust_frac: float = 0.05
    mode: str = "mission"
    armed: bool = False
    up_m: float = 0.0
    out_m: float = 0.0
    climb_m_s: float = 0.0
    speed_m_s: float = 0.0
    landed_s: float | None = None
    duration_s: float = math.inf
    _gust: float = 0.0

    def home_s(self) -> float:
        """Seconds from here to the ground at home."""
        return self.out_m / self.return_m_s + self.up_m / _DOWN_M_S

    def power_w(self, t_s: float) -> float:
        """Fly a step; power of the load now."""
        self.speed_m_s = self.climb_m_s = 0.0
        if not self.armed:
            return 8.0
        self._move(t_s)
        self._gust += float(self.random.standard_normal()) * 0.26 - self._gust * 0.033
        gust = 1.0 + self.gust_frac * max(-3.0, min(3.0, self._gust))
        climb = 1.25 if self.climb_m_s > 0 else 0.93 if self.climb_m_s < 0 else 1.0
        return self.hover_w * climb * gust

    def _move(self, t_s: float) -> None:
        home = self.mode == "return" or (self.mode == "mission" and t_s >= self.home_at_s)
        if self.mode == "land" or (home and self.out_m <= 0.0):
            self.climb_m_s = -_DOWN_M_S
            self.up_m = max(self.up_m - _DOWN_M_S * STEP_S, 0.0)
            if self.up_m <= 0.0:
                self.armed, self.landed_s = False, t_s
        elif home:
            self.speed_m_s = self.return_m_s
            self.out_m = max(self.out_m - self.return_m_s * STEP_S, 0.0)
        elif self.mode in ("mission", "takeoff") and self.up_m < self.alt_m:
            self.climb_m_s = _UP_M_S
            self.up_m += _UP_M_S * STEP_S
        elif self.mode == "mission" and self.out_m < self.way_m:
            self.speed_m_s = self.cruise_m_s
            self.out_m = min(self.out_m + self.cruise_m_s * STEP_S, self.way_m)

    def mean_power_w(self, _t_s: float) -> float | None:
        """Power in hover, `None` on the ground."""
        return self.hover_w if self.armed else None

    def vehicle(self, _t_s: float) -> VehicleState:
        """Unknown: the flight controller reports it."""
        return UNKNOWN_VEHICLE


@dataclass(frozen=True, slots=True)
class ModeChange:
    """A change of the mode."""

    t_s: float
    mode: str
    by: str  # service, failsafe, mission or pilot


@dataclass
class Battery:
    """The battery as the flight controller has it, and its failsafes, which only grow."""

    capacity_mah: float
    acts: bool
    level: int = 0  # 1 low, 2 critical, 3 emergency
    received_s: float | None = None
    low_since_s: float | None = None

    def ardupilot(self, message: mavlink.MAVLink_battery_status_message, now_s: float) -> None:
        """Receive what the Lua driver passes on: charge and voltage alone trigger a failsafe."""
        self.received_s = now_s
        pack_v = sum(mv for mv in message.voltages if mv != _UNUSED_MV) / 1000.0
        left_mah = self.capacity_mah - message.current_consumed
        if message.current_consumed >= 0 and message.current_battery != -1:
            self.level = max(
                self.level,
                sum(left_mah < frac * self.capacity_mah for frac in ARDUPILOT_FRACS),
            )
        low = 0.0 < pack_v < _LOW_V
        self.low_since_s = (self.low_since_s or now_s) if low else None
        if self.low_since_s is not None and now_s - self.low_since_s > _LOW_TIMER_S:
            self.level = max(self.level, 1)

    def px4(self, message: mavlink.MAVLink_battery_status_message, now_s: float) -> None:
        """Receive a percentage; 15, 7 and 5 % are low, critical and an emergency."""
        self.received_s = now_s
        pct = message.battery_remaining
        if pct >= 0:
            self.level = max(self.level, sum(pct <= most for most in PX4_PCTS))


@dataclass
class FlightController:
    """A flight stack; the link of a bridge.

    Attributes:
        changes: of the mode, in order.
        targets: systems that a command was sent to.
        complies: whether a command is obeyed, by the number of the attempt and the random numbers.
        cut: whether the link to the service is dead.
        has_home: whether it knows where home is; without it the limits of the way home do not apply.
    """

    stack: int
    frame: Airframe
    battery: Battery
    random: np.random.Generator
    complies: Callable[["FlightController"], bool] = lambda _: True
    loss_frac: float = 0.0
    cut: bool = False
    silent: bool = False  # no heartbeats
    has_home: bool = True
    parameters: dict[str, float] = field(default_factory=dict)
    changes: list[ModeChange] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    status: int = mavlink.MAV_STATE_STANDBY
    boot_s: float = 0.0
    is_open: bool = True
    trouble: str | None = None

    def __post_init__(self) -> None:
        self._codec = mavlink.MAVLink(None, _SYSTEM, _AUTOPILOT)
        self._codec.robust_parsing = True
        self._out: deque[bytes] = deque()
        self._now_s = 0.0
        self._hold_until_s: float | None = None
        self._acted = 0

    # ------------------------------------------------------------------ link

    def send(self, data: bytes, now_s: float) -> bool:
        """Take a frame of the service."""
        for message in self._codec.parse_buffer(data) or ():
            if not self.cut and float(self.random.random()) >= self.loss_frac:
                self._take(message, now_s)
        return True

    def receive(self, _now_s: float) -> list[bytes]:
        """Frames for the service."""
        found = [frame for frame in self._out if float(self.random.random()) >= self.loss_frac]
        self._out.clear()
        return [] if self.cut else found

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def emit(
        self, message: mavlink.MAVLink_message, system: int = _SYSTEM, component: int = _AUTOPILOT
    ) -> None:
        """Send a message, also in the name of another."""
        codec = self._codec
        if (system, component) != (_SYSTEM, _AUTOPILOT):
            codec = mavlink.MAVLink(None, system, component)
        self._out.append(bytes(message.pack(codec)))

    # ------------------------------------------------------------------ flight

    def set_mode(self, mode: str, by: str) -> None:
        """Change the mode of a vehicle."""
        if self.frame.mode != mode:
            self.frame.mode = mode
            self.changes.append(ModeChange(self._now_s, mode, by))

    def reboot(self) -> None:
        """Restart in flight: latches and the clock are gone, the flight goes on."""
        self.battery.level = self._acted = 0
        self.boot_s, self._hold_until_s = self._now_s, None
        self.status = mavlink.MAV_STATE_ACTIVE

    def step(self, now_s: float) -> None:
        """Send what is due, and act on failsafes."""
        self._now_s = now_s
        tenth = round(now_s * 10)
        if not self.silent and tenth % 10 == 0:
            self.beat()
        if not self.silent and tenth % 5 == 0:
            self._send_position()
        if self.frame.armed:
            self._fail_safe(now_s)

    def beat(self) -> None:
        """Send a heartbeat."""
        frame, active = self.frame, mavlink.MAV_STATE_ACTIVE
        state = self.status if self.status == mavlink.MAV_STATE_CRITICAL else active
        base = 1 | (_ARMED_FLAG if frame.armed else 0)
        number = MODES[frame.mode][self.stack]
        self.emit(
            mavlink.MAVLink_heartbeat_message(
                _QUADROTOR,
                self.stack,
                base,
                number,
                state if frame.armed else mavlink.MAV_STATE_STANDBY,
                3,
            )
        )
        boot_ms = round((self._now_s - self.boot_s) * 1000.0)
        self.emit(mavlink.MAVLink_system_time_message(0, boot_ms))

    def _send_position(self) -> None:
        frame = self.frame
        boot_ms = round((self._now_s - self.boot_s) * 1000.0)
        lat = round((_HOME_LAT_DEG + frame.out_m * _DEG_PER_M) * 1e7)
        alt_mm = round((_HOME_ALT_M + frame.up_m) * 1000.0)
        self.emit(
            mavlink.MAVLink_global_position_int_message(
                boot_ms, lat, round(_HOME_LON_DEG * 1e7), alt_mm, round(frame.up_m * 1000.0),
                round(frame.speed_m_s * 100.0), 0, round(-frame.climb_m_s * 100.0), 0,
            )
        )  # fmt: skip

    def _fail_safe(self, now_s: float) -> None:
        level = self.battery.level
        if self._hold_until_s is not None and now_s >= self._hold_until_s:
            self._hold_until_s = None
            self.set_mode("land" if self._acted >= _EMERGENCY else "return", "failsafe")
        if level <= self._acted:
            return
        self._acted = level
        self.status = mavlink.MAV_STATE_CRITICAL
        if not self.battery.acts:
            return
        if self.stack == ARDUPILOT:
            self.set_mode("land" if level >= _CRITICAL else "return", "failsafe")
        elif level >= _CRITICAL:
            self._px4_fails_safe(now_s)

    def _px4_fails_safe(self, now_s: float) -> None:
        if self.frame.mode in ("return", "land"):
            if self._acted >= _EMERGENCY:
                self.set_mode("land", "failsafe")
            return
        self.set_mode("hold", "failsafe")
        self._hold_until_s = now_s + 5.0

    # ------------------------------------------------------------------ messages of the service

    def _take(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        kind = message.get_type()
        if kind == "BATTERY_STATUS":
            receive = self.battery.ardupilot if self.stack == ARDUPILOT else self.battery.px4
            receive(message, now_s)
        elif kind == "STATUSTEXT":
            self.texts.append(message.text)
        elif kind in ("COMMAND_LONG", "COMMAND_INT"):
            self._execute(message)
        elif kind in ("PARAM_REQUEST_READ", "PARAM_SET"):
            self._parameter(message)
        elif kind == "SET_MODE":
            self._command_mode(_BY_NUMBER[self.stack].get(message.custom_mode, "hold"))

    def _parameter(self, message: mavlink.MAVLink_message) -> None:
        name = message.param_id
        if name not in self.parameters:
            return
        if message.get_type() == "PARAM_SET":
            self.targets.append(message.target_system)
            self.parameters[name] = message.param_value
        value = self.parameters[name]
        self.emit(mavlink.MAVLink_param_value_message(name.encode(), value, 9, 1, 0))

    def _execute(self, message: mavlink.MAVLink_message) -> None:
        number = message.command
        if number in (mavlink.MAV_CMD_SET_MESSAGE_INTERVAL, mavlink.MAV_CMD_REQUEST_MESSAGE):
            self._request(number, int(message.param1))
            return
        self.targets.append(message.target_system)
        if message.target_system != _SYSTEM:
            return
        modes = {
            mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH: "return",
            mavlink.MAV_CMD_NAV_LAND: "land",
        }
        mode = modes.get(number)
        if number == mavlink.MAV_CMD_DO_SET_MODE:
            custom = int(message.param2)
            if self.stack == PX4:
                custom = custom << 16 | int(message.param3) << 24
            mode = _BY_NUMBER[self.stack].get(custom)
        accepted = mode is None or self._command_mode(mode)
        result = (
            mavlink.MAV_RESULT_ACCEPTED if accepted else mavlink.MAV_RESULT_TEMPORARILY_REJECTED
        )
        self.emit(
            mavlink.MAVLink_command_ack_message(
                number, result, 0, 0, message.get_srcSystem(), message.get_srcComponent()
            )
        )

    def _command_mode(self, mode: str) -> bool:
        if not self.complies(self):
            return False
        if self.frame.armed:
            self._hold_until_s = None
            self.set_mode(mode, "service")
        return True

    def _request(self, number: int, message_id: int) -> None:
        ids = mavlink
        if message_id == ids.MAVLINK_MSG_ID_AUTOPILOT_VERSION:
            release = _PX4_118 if self.stack == PX4 else _ARDUPILOT_47
            zeros = [0] * 8
            self.emit(
                ids.MAVLink_autopilot_version_message(
                    0, release, 0, 0, 0, zeros, zeros, zeros, 0, 0, 0
                )
            )
        elif message_id == ids.MAVLINK_MSG_ID_HOME_POSITION and self.has_home:
            self.emit(
                ids.MAVLink_home_position_message(
                    round(_HOME_LAT_DEG * 1e7), round(_HOME_LON_DEG * 1e7), round(_HOME_ALT_M * 1000.0),
                    0, 0, 0, [1, 0, 0, 0], 0, 0, 0,
                )
            )  # fmt: skip
        self.emit(ids.MAVLink_command_ack_message(number, 0, 0, 0, _SYSTEM, 0))

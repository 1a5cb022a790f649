# SPDX-License-Identifier: Apache-2.0
"""A test double of a vehicle in memory: modes, parameters and driver script, no sockets, no clock.

Answers commands and parameter requests as ArduPilot or PX4 do, by MAVLink frames.
"""

import struct
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.bridge import Bridge
from mavlink_bridge.protocol.driver_commands import DRIVER_COMMAND, VERSION
from mavlink_bridge.vehicle.vehicle_control import VehicleControl
from tests.mavlink_bridge.reports import a_report

if TYPE_CHECKING:
    from collections.abc import Callable

ARDUPILOT, PX4 = 3, 12
COPTER, HELICOPTER, PLANE, ROVER, SUB, BLIMP, VTOL = 2, 4, 1, 10, 12, 7, 20  # MAV_TYPE
_PX4_MODES = {20: 4 << 16 | 5 << 24, 21: 4 << 16 | 6 << 24}
# Mode after NAV_RETURN_TO_LAUNCH and NAV_LAND, by MAV_AUTOPILOT and MAV_TYPE.
MODES = {
    (ARDUPILOT, COPTER): {20: 6, 21: 9},
    (ARDUPILOT, HELICOPTER): {20: 6, 21: 9},
    (ARDUPILOT, PLANE): {20: 11},
    (ARDUPILOT, VTOL): {20: 11},
    (ARDUPILOT, ROVER): {20: 11},
    (ARDUPILOT, SUB): {21: 9},
    (ARDUPILOT, BLIMP): {},
    **{(PX4, kind): _PX4_MODES for kind in (COPTER, PLANE, VTOL, ROVER, SUB)},
}
Q_MODES = range(17, 26)  # of ArduPlane
AUTOLAND = 26
BATTERY_RESET = 42651  # MAV_CMD of ardupilotmega.xml
LIMIT = 2  # param2 of the driver's command
GUIDED, LOITER, RTL, LAND, PX4_RTL = 4, 5, 6, 9, 4 << 16 | 5 << 24


class FakeVehicle:
    """The vehicle, which is also the link."""

    def __init__(self, autopilot: int = ARDUPILOT, /, **parameters: float) -> None:
        self.autopilot = autopilot
        self.parameters = parameters
        self.integers: set[str] = set()
        self.armed, self.mode, self.status = True, GUIDED, 4
        self.release = 0
        self.uid = 0  # of its board; 0: it sends none
        self.vehicle_type = COPTER
        self.lands_by_mission = False  # its mission has a DO_LAND_START
        self.autolands = False  # ArduPlane has AUTOLAND, and the direction of its take-off
        self.quadplane = False
        self.resets: list[tuple[float, float]] = []  # BATTERY_RESET: monitors, percent
        self.reset_result: int | None = 0  # None: no answer
        self.boot_ms = 0  # 0: its messages have no time since boot
        self.landed_state: int | None = None  # MAV_LANDED_STATE; None: it sends none
        self.loses_answers = False
        self.complies = self.sends_heartbeats = self.answers = True
        self.scripted = False
        self.on_set: Callable[[], None] = lambda: None
        self.requested: list[float] = []
        self.commands: list[Any] = []
        self.speeds: list[tuple[float, float]] = []  # commanded: SPEED_TYPE, m/s
        self.speed_m_s = self.climb_m_s = 0.0
        self.received: list[Any] = []
        self.is_open, self.trouble = True, None
        self._codec = mavlink.MAVLink(None, 1, 1)
        self._codec.robust_parsing = True
        self._out: deque[bytes] = deque()

    def send(self, data: bytes, _now_s: float) -> bool:
        """Take a frame of the bridge."""
        for message in self._codec.parse_buffer(data) or ():
            self.received.append(message)
            if self.answers:
                self._take(message)
        return True

    def receive(self, _now_s: float) -> list[bytes]:
        """Frames that the vehicle has sent."""
        found = [*self._out]
        self._out.clear()
        return found

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def emit(self, message: Any) -> None:  # noqa: ANN401 - a message
        """Send a message to the bridge."""
        self._out.append(bytes(message.pack(self._codec)))

    def beat(self) -> None:
        """Send the messages of each second."""
        if self.sends_heartbeats:
            self.send_heartbeat()
            v_cm_s = round(self.speed_m_s * 100), 0, round(-self.climb_m_s * 100)
            boot_ms = self.boot_ms
            self.boot_ms += 1000 if boot_ms else 0
            self.emit(mavlink.MAVLink_global_position_int_message(boot_ms, 1, 1, 0, 0, *v_cm_s, 0))
            if self.landed_state is not None:
                self.emit(mavlink.MAVLink_extended_sys_state_message(0, self.landed_state))

    def send_heartbeat(self) -> None:
        """Send a heartbeat."""
        base = 1 | (128 if self.armed else 0)
        self.emit(
            mavlink.MAVLink_heartbeat_message(
                self.vehicle_type, self.autopilot, base, self.mode, self.status, 3
            )
        )

    def reboot(self, mode: int, **parameters: float) -> None:
        """Restart in flight, as after a watchdog: armed, in another mode, its clock at 0."""
        self.boot_ms, self.mode, self.status = 1000, mode, 4
        self.parameters |= parameters

    def _take(self, message: Any) -> None:  # noqa: ANN401 - a message
        kind = message.get_type()
        if kind == "COMMAND_LONG" and message.command == DRIVER_COMMAND:
            self._drive(message)
        elif kind == "COMMAND_LONG" and message.command == BATTERY_RESET:
            self.resets.append((message.param1, message.param2))
            if self.reset_result is not None:
                self.emit(mavlink.MAVLink_command_ack_message(BATTERY_RESET, self.reset_result))
        elif kind == "COMMAND_LONG":
            self._execute(message)
        elif kind in ("PARAM_REQUEST_READ", "PARAM_SET") and message.param_id in self.parameters:
            name, value = message.param_id, getattr(message, "param_value", 0.0)
            whole = self.autopilot == PX4 and name in self.integers
            if kind == "PARAM_SET":
                self.on_set()
                if whole:
                    (value,) = struct.unpack("<i", struct.pack("<f", value))
                self.parameters[name] = value
            value = self.parameters[name]
            if whole:
                (value,) = struct.unpack("<f", struct.pack("<i", int(value)))
            self.emit(
                mavlink.MAVLink_param_value_message(name.encode(), value, 6 if whole else 9, 1, 0)
            )

    def _drive(self, message: Any) -> None:  # noqa: ANN401 - a message
        """Answer as the Lua driver does, and as ArduPilot does without it: unsupported."""
        version, result = (VERSION, 0) if self.scripted else (0, 3)
        if self.scripted and message.param2 == LIMIT:
            self.requested.append(message.param3)
        sender = message.get_srcSystem(), message.get_srcComponent()
        self.emit(mavlink.MAVLink_command_ack_message(message.command, result, version, 0, *sender))

    def _execute(self, message: Any) -> None:  # noqa: ANN401 - a message
        number, result = message.command, 0 if self.complies else 4
        if number in (20, 21, 176, 189):
            mode = self._commanded_mode(message)
            values = (message.param2,) if number == 176 else ()
            self.commands.append((number, message.confirmation, *values))
            if mode is None:
                result = 4
            elif self.complies:
                self.mode = mode
            if not self.loses_answers:
                self.emit(mavlink.MAVLink_command_ack_message(number, result))
        elif number == 512 and message.param1 == 0 and self.sends_heartbeats:
            self.send_heartbeat()
        elif number == 178:
            self.speeds.append((message.param1, message.param2))
            if self.complies and message.param1 == 1:
                self.speed_m_s = min(self.speed_m_s, message.param2)
            elif self.complies:
                self.climb_m_s = min(self.climb_m_s, message.param2)
            self.emit(mavlink.MAVLink_command_ack_message(number, result))
        elif number == 512 and message.param1 == 148:
            zeros = [0] * 8
            self.emit(
                mavlink.MAVLink_autopilot_version_message(
                    0, self.release, 0, 0, 0, zeros, zeros, zeros, 0, 0, self.uid
                )
            )

    def _commanded_mode(self, message: Any) -> int | None:  # noqa: ANN401 - a message
        """Mode after a command, `None` if the vehicle refuses it."""
        number = message.command
        plane = self.autopilot == ARDUPILOT and self.vehicle_type in (PLANE, VTOL)
        if number in (20, 21):
            return MODES[self.autopilot, self.vehicle_type].get(number)
        if number == 189:
            return 10 if plane and self.lands_by_mission else None
        if self.autopilot == PX4:
            return int(message.param2) << 16 | int(message.param3) << 24
        mode = int(message.param2)
        if plane and mode == AUTOLAND:
            return mode if self.autolands else None
        return None if plane and mode in Q_MODES and not self.quadplane else mode


class Flight:
    """A bridge with vehicle control, and the vehicle; ten steps a second."""

    def __init__(self, vehicle: FakeVehicle, folder: Path | None, **options: Any) -> None:  # noqa: ANN401 - the bridge's
        self.vehicle = vehicle
        self.bridge = Bridge(vehicle, **options)
        if folder is not None:
            self.bridge.vehicle_control = VehicleControl(folder)
        self.now_s = 0.0
        self.requests: tuple[Any, ...] = ()
        self.values: dict[str, Any] = {}
        self.two_batteries = False

    def fly(self, seconds: float) -> None:
        """Run for a time."""
        for _ in range(round(seconds * 10)):
            if round(self.now_s * 10) % 10 == 0:
                self.vehicle.beat()
            state = self.bridge.pump(self.now_s)
            report = a_report(self.now_s, **self.values)
            self.bridge(replace(report, requests=self.requests, vehicle=state))
            if self.two_batteries:
                self.bridge(a_report(self.now_s, 1, **self.values))
            self.now_s = round(self.now_s + 0.1, 6)

    def texts(self) -> list[str]:
        """STATUSTEXT sent so far, chunks joined."""
        texts: dict[Any, str] = {}
        for number, message in enumerate(self.vehicle.received):
            if message.get_type() == "STATUSTEXT":
                text = message.id or -number
                texts[text] = texts.get(text, "") + message.text
        return [*texts.values()]

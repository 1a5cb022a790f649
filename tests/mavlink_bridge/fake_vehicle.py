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
from mavlink_bridge.vehicle.vehicle_control import VehicleControl
from tests.mavlink_bridge.reports import a_report

if TYPE_CHECKING:
    from collections.abc import Callable

ARDUPILOT, PX4 = 3, 12
MODES = {ARDUPILOT: {20: 6, 21: 9}, PX4: {20: 4 << 16 | 5 << 24, 21: 4 << 16 | 6 << 24}}
GUIDED, LOITER, RTL, LAND, PX4_RTL = 4, 5, 6, 9, 4 << 16 | 5 << 24


class FakeVehicle:
    """The vehicle, which is also the link."""

    def __init__(self, autopilot: int = ARDUPILOT, /, **parameters: float) -> None:
        self.autopilot = autopilot
        self.parameters = parameters
        self.integers: set[str] = set()
        self.armed, self.mode, self.status = True, GUIDED, 4
        self.release = 0
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
            base = 1 | (128 if self.armed else 0)
            self.emit(
                mavlink.MAVLink_heartbeat_message(
                    2, self.autopilot, base, self.mode, self.status, 3
                )
            )
            v_cm_s = round(self.speed_m_s * 100), 0, round(-self.climb_m_s * 100)
            self.emit(mavlink.MAVLink_global_position_int_message(0, 1, 1, 0, 0, *v_cm_s, 0))
            if self.scripted:
                self.emit(mavlink.MAVLink_named_value_float_message(0, b"BMS_LUA", 1.0))

    def _take(self, message: Any) -> None:  # noqa: ANN401 - a message
        kind = message.get_type()
        if kind == "COMMAND_LONG":
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
        elif kind == "NAMED_VALUE_FLOAT" and message.name == "BMS_AMAX" and self.scripted:
            self.requested.append(message.value)

    def _execute(self, message: Any) -> None:  # noqa: ANN401 - a message
        number, result = message.command, 0 if self.complies else 4
        if number in (20, 21):
            self.commands.append((number, message.confirmation))
            if self.complies:
                self.mode = MODES[self.autopilot][number]
            self.emit(mavlink.MAVLink_command_ack_message(number, result))
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
                    0, self.release, 0, 0, 0, zeros, zeros, zeros, 0, 0, 0
                )
            )


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

    def fly(self, seconds: float) -> None:
        """Run for a time."""
        for _ in range(round(seconds * 10)):
            if round(self.now_s * 10) % 10 == 0:
                self.vehicle.beat()
            state = self.bridge.pump(self.now_s)
            report = a_report(self.now_s, **self.values)
            self.bridge(replace(report, requests=self.requests, vehicle=state))
            self.now_s = round(self.now_s + 0.1, 6)

    def texts(self) -> list[str]:
        """STATUSTEXT sent so far, chunks joined."""
        texts: dict[Any, str] = {}
        for number, message in enumerate(self.vehicle.received):
            if message.get_type() == "STATUSTEXT":
                text = message.id or -number
                texts[text] = texts.get(text, "") + message.text
        return [*texts.values()]

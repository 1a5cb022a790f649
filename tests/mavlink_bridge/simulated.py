# SPDX-License-Identifier: Apache-2.0
"""A test double of a simulated vehicle, on a virtual wall clock.

Single-threaded: sleeping on `wall` advances the vehicle, which sends over a real socket.
"""

import contextlib
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.clock import VirtualClock
from tests.mavlink_bridge.autopilot import ARDUPILOT, FakeAutopilot
from tests.mavlink_bridge.loopback import free_port

STEP_S = 0.05
STEP_MS = 50
CELLS = [0xFFFF] * 9
ARDUPILOT_PARAMETERS = {
    "SIM_BATT_VOLTAGE": 12.6,
    "BATT_MONITOR": 4.0,
    "BATT_VOLT_PIN": 13.0,
    "BATT_CURR_PIN": 12.0,
    "BATT_VOLT_MULT": 10.1,
    "BATT_AMP_PERVLT": 17.0,
}


class FlownWall(VirtualClock):
    """A wall clock that advances the vehicle while it is slept on."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps = 0
        self.flies: Callable[[], None] = lambda: None

    def sleep_until(self, t_s: float) -> None:
        """Set the time and advance the vehicle."""
        super().sleep_until(t_s)
        self.sleeps += 1
        self.flies()


@dataclass
class SimulatedVehicle:
    """Sends the requested messages, stores parameters, and draws power as ArduPilot's does.

    `power_w` is a function of the time since `boot`; `current_as` is the charge that it drew.
    """

    autopilot: FakeAutopilot
    wall: FlownWall = field(default_factory=FlownWall)
    speed: float = 10.0
    power_w: Callable[[float], float] = lambda _t_s: 0.0
    throttle_pct: int = 0
    battery_id: int = 0
    quiet: bool = False  # its time stands still
    deaf: bool = False
    slow_s: float = 0.0  # of the wall: time after creation in which it sends no parameter
    parameters: dict[str, float] = field(default_factory=lambda: dict(ARDUPILOT_PARAMETERS))
    seen_s: float = 0.0  # of the wall
    due_s: float = 0.0  # to fly
    steps: int = 0
    booted: int = 0  # step
    current_as: float = 0.0
    sets: list[tuple[float, float]] = field(default_factory=list)  # when, value
    received: dict[str, list[mavlink.MAVLink_message]] = field(
        default_factory=lambda: defaultdict(list)
    )
    requested_us: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.wall.flies = self.fly

    @property
    def t_s(self) -> float:
        """Its time since creation, through reboots."""
        return self.steps * STEP_S

    def reboot(self) -> None:
        """Restart: no message is requested."""
        self.booted = self.steps
        self.requested_us.clear()

    def fly(self) -> None:
        """Advance to the time of the wall; while it is quiet, its time stands still."""
        wall_s = self.wall.now_s()
        passed_s, self.seen_s = wall_s - self.seen_s, wall_s
        if self.quiet:
            return
        if not self.deaf:
            self._receive()
        self.due_s += passed_s * self.speed
        while self.due_s >= STEP_S - 1e-9:
            self.due_s -= STEP_S
            self.steps += 1
            voltage_v = self.parameters.get("SIM_BATT_VOLTAGE", 12.6)
            current_a = self.power_w(self.t_s) / voltage_v
            self.current_as += current_a * STEP_S
            self._send(voltage_v, current_a)

    def _send(self, voltage_v: float, current_a: float) -> None:
        boot_ms = (self.steps - self.booted) * STEP_MS
        if self.steps % 20 == 0:
            self.autopilot.beat(armed=True, custom_mode=4)
        if mavlink.MAVLINK_MSG_ID_BATTERY_STATUS in self.requested_us:
            cells = [round(1000 * voltage_v), *CELLS]
            centiamps = min(round(100 * current_a), 0x7FFF)
            self.autopilot.send(
                mavlink.MAVLink_battery_status_message(
                    self.battery_id, 0, 0, 0x7FFF, cells, centiamps, -1, -1, -1
                )
            )
        if mavlink.MAVLINK_MSG_ID_VFR_HUD in self.requested_us:
            self.autopilot.send(
                mavlink.MAVLink_vfr_hud_message(0.0, 0.0, 0, self.throttle_pct, 0.0, 0.0)
            )
        if mavlink.MAVLINK_MSG_ID_ATTITUDE in self.requested_us:
            self.autopilot.send(mavlink.MAVLink_attitude_message(boot_ms, *(0.0,) * 6))

    def _receive(self) -> None:
        for message in self.autopilot.receive():
            kind = message.get_type()
            self.received[kind].append(message)
            if kind == "COMMAND_LONG" and message.command == 511:
                self.requested_us[int(message.param1)] = message.param2
            elif kind == "PARAM_REQUEST_READ" and self.wall.now_s() >= self.slow_s:
                self._send_parameter(message.param_id)
            elif kind == "PARAM_SET" and message.param_id in self.parameters:
                self.parameters[message.param_id] = message.param_value
                self.sets.append((self.t_s, message.param_value))
                self._send_parameter(message.param_id)

    def _send_parameter(self, name: str) -> None:
        kind, value = mavlink.MAV_PARAM_TYPE_REAL32, self.parameters.get(name)
        if value is None:
            return
        if isinstance(value, int):  # as PX4 sends it: its bits in the float
            kind = mavlink.MAV_PARAM_TYPE_INT32
            (value,) = struct.unpack("<f", struct.pack("<i", value))
        self.autopilot.send(mavlink.MAVLink_param_value_message(name.encode(), value, kind, 1, 0))


@contextlib.contextmanager
def vehicle_at(autopilot: int = ARDUPILOT) -> Iterator[tuple[SimulatedVehicle, str]]:
    """Give a vehicle on loopback, and the URL of a link to it."""
    port = free_port()
    fake = FakeAutopilot(autopilot=autopilot, peer=("127.0.0.1", port))
    with contextlib.closing(fake):
        yield SimulatedVehicle(fake), f"udpin:127.0.0.1:{port}"

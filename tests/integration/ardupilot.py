# SPDX-License-Identifier: Apache-2.0
"""A simulated vehicle of ArduPilot on loopback: a SITL binary, of which a variable has the path.

The vehicle has two links: one to a ground station, played by the test, and one to the companion.
All times and timeouts are those of the vehicle, at most `SPEEDUP` times as fast as the wall clock
and slower on a loaded machine.
"""

import math
import os
import shutil
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from dronebms.core.clock import Clock, SystemClock
from mavlink_bridge.protocol.lua_driver import write_script
from tests.integration.vehicle_clock import VehicleClock
from tests.mavlink_bridge.fake_missions import Item
from tests.mavlink_bridge.loopback import free_port

SPEEDUP = 4.0
POLL_S = 0.005  # of the wall clock
STEP_S = 0.1  # of the companion, in vehicle time
GCS = (255, 190)
HOME_DEG = -35.363262, 149.165237
M_PER_DEG = 111_195.0
# Calibrated sensors and sticks; a second monitor measures the current of the simulated motors.
PARAMETERS = """
RC1_MIN 1000\nRC1_MAX 2000\nRC1_TRIM 1500
RC2_MIN 1000\nRC2_MAX 2000\nRC2_TRIM 1500
RC3_MIN 1000\nRC3_MAX 2000\nRC3_TRIM 1500
RC4_MIN 1000\nRC4_MAX 2000\nRC4_TRIM 1500
COMPASS_OFS_X 5\nCOMPASS_OFS_Y 13\nCOMPASS_OFS_Z -18
COMPASS_OFS2_X 5\nCOMPASS_OFS2_Y 13\nCOMPASS_OFS2_Z -18
COMPASS_OFS3_X 5\nCOMPASS_OFS3_Y 13\nCOMPASS_OFS3_Z -18
INS_ACCOFFS_X 0.001\nINS_ACCOFFS_Y 0.001\nINS_ACCOFFS_Z 0.001
INS_ACCSCAL_X 1.001\nINS_ACCSCAL_Y 1.001\nINS_ACCSCAL_Z 1.001
INS_ACC2OFFS_X 0.001\nINS_ACC2OFFS_Y 0.001\nINS_ACC2OFFS_Z 0.001
INS_ACC2SCAL_X 1.001\nINS_ACC2SCAL_Y 1.001\nINS_ACC2SCAL_Z 1.001
BATT2_MONITOR 4\nBATT2_VOLT_PIN 13\nBATT2_CURR_PIN 12\nBATT2_VOLT_MULT 10.1\nBATT2_AMP_PERVLT 17
"""
DRIVER = """
SCR_ENABLE 1
BATT_MONITOR 29
BATT_CAPACITY 5000\nBATT_LOW_MAH 1250\nBATT_CRT_MAH 500
BATT_LOW_VOLT 0\nBATT_CRT_VOLT 0
"""


def needs(vehicle: "type[ArduPilot]") -> pytest.MarkDecorator:
    """Skip a test where the binary of a class of vehicles is not given."""
    return pytest.mark.skipif(
        not os.environ.get(vehicle.variable),
        reason=f"no simulated {vehicle.name}: set {vehicle.variable} to its SITL binary",
    )


class ArduPilot(ABC):
    """One vehicle and its ground station; a class of vehicles states what is its own."""

    name: str
    variable: str  # of the environment: path of the binary
    model: str
    own: str  # parameters
    guided: int  # number of the mode in which it is armed
    driver = DRIVER
    field_m = 584.0  # its start above mean sea level
    system = 1
    gcs_port = companion_port = 0  # any
    peer: Any = None

    def __init__(
        self,
        folder: Path,
        parameters: str | None = None,
        *,
        script: bool = True,
        speedup: float = SPEEDUP,
        model: str | None = None,
        wall: Clock | None = None,
    ) -> None:
        self.folder, self.speedup = folder, speedup
        self.model = self.model if model is None else model
        self._wall = SystemClock() if wall is None else wall
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", self.gcs_port))
        self._socket.settimeout(0)
        self._peer = self.peer
        self._codec = mavlink.MAVLink(None, *GCS)
        self._codec.robust_parsing = True
        self.companion = self.companion_port or free_port()
        self.clock = VehicleClock(self._wall, self._read, self._request_time, self._is_running)
        self.last: dict[Any, Any] = {}  # messages by name, batteries also by (component, id)
        self.texts: list[str] = []
        self.each: Callable[[float], None] = lambda _now_s: None  # step of the companion
        self._stepped_s = 0.0
        self.closing = ExitStack()
        if script:
            (folder / "scripts").mkdir()
            write_script(folder / "scripts")
        more = self.driver if parameters is None else parameters
        (folder / "own.parm").write_text(PARAMETERS + self.own + more)
        self._log = (folder / "log.txt").open("wb")
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        gcs_port = self._socket.getsockname()[1]
        path = os.environ[self.variable]
        binary = shutil.which(path)
        assert binary is not None, f"{self.variable} is not executable: {path}"
        return subprocess.Popen(  # noqa: S603 - the program in the variable
            [
                Path(binary).resolve(), "--model", self.model, "-I5",
                "--speedup", str(self.speedup), "--rc-in-port", str(free_port()),
                "--home", f"{HOME_DEG[0]},{HOME_DEG[1]},{self.field_m:g},353",
                "--defaults", "own.parm",
                "--serial0", f"udpclient:127.0.0.1:{gcs_port}",
                "--serial1", f"udpclient:127.0.0.1:{self.companion}",
                "--serial2", "none:0",
            ],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def close(self) -> None:
        """End the vehicle."""
        self.closing.close()
        self._process.kill()
        self._process.wait()
        self._log.close()
        self._socket.close()

    def restart(self) -> None:
        """Switch the vehicle off and on again; its parameters stay."""
        self._process.kill()
        self._process.wait()
        self.last.clear()
        self.texts.clear()
        self._process = self._start()

    def step(self) -> None:
        """Let the companion take its step ten times a second of the vehicle."""
        now_s = self.clock.now_s()
        if now_s - self._stepped_s >= STEP_S - 1e-3:
            self._stepped_s = now_s
            self.each(now_s)

    def _read(self) -> None:
        received = False
        try:
            while True:
                data, self._peer = self._socket.recvfrom(65536)
                received = True
                for message in self._codec.parse_buffer(data) or ():
                    self._take(message)
        except BlockingIOError:
            pass
        if not received:
            self._wall.sleep_until(self._wall.now_s() + POLL_S)

    def _request_time(self) -> None:
        self.request_message(mavlink.MAVLINK_MSG_ID_ATTITUDE, 20.0)

    def _is_running(self) -> bool:
        return self._process.poll() is None

    def _take(self, message: Any) -> None:  # noqa: ANN401 - a message
        kind, source = message.get_type(), message.get_srcComponent()
        self.last[source, kind] = message
        if kind == "STATUSTEXT":
            self.texts.append(message.text)
        elif kind == "BATTERY_STATUS":
            self.last[source, message.id] = message
        elif source == 1:
            self.last[kind] = message
            if kind == "COMMAND_ACK":
                self.last[kind, message.command] = message
            elif kind == "ATTITUDE":
                self.clock.stamp(message.time_boot_ms / 1000)
            elif kind == "PARAM_VALUE":
                self.last[message.param_id] = message.param_value

    def until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> float:
        """Wait for a condition; return the vehicle seconds that this took."""
        try:
            return self.clock.until(condition, timeout_s, what, self.step)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.texts[-8:]}") from error

    def fly(self, seconds: float) -> None:
        """Run for a time of the vehicle."""
        end_s = self.clock.now_s() + seconds
        self.until(lambda: self.clock.now_s() >= end_s, seconds + 60.0, "vehicle time")

    def send(self, message: Any) -> None:  # noqa: ANN401 - a message
        """Send a message of the ground station."""
        if self._peer is not None:
            self._socket.sendto(message.pack(self._codec), self._peer)

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition for a time at most; return whether it holds."""
        end_s = self.clock.now_s() + seconds
        self.until(lambda: condition() or self.clock.now_s() >= end_s, seconds + 60.0, "an answer")
        return condition()

    def request_message(self, message_id: int, rate_hz: float) -> None:
        """Request a message at a rate of vehicle time; does not wait for the answer."""
        values = [message_id, 1e6 / rate_hz, *[0.0] * 5]
        number = mavlink.MAV_CMD_SET_MESSAGE_INTERVAL
        self.send(mavlink.MAVLink_command_long_message(self.system, 1, number, 0, *values))

    def command(self, number: int, *values: float) -> int | None:
        """Send a command; return its result, `None` without an answer."""
        self.last.pop(("COMMAND_ACK", number), None)
        padded = [*values, *[0.0] * (7 - len(values))]
        self.send(mavlink.MAVLink_command_long_message(self.system, 1, number, 0, *padded))

        if not self._wait(lambda: ("COMMAND_ACK", number) in self.last, 5.0):
            return None
        return int(self.last["COMMAND_ACK", number].result)

    def wait_ready(self) -> None:
        """Wait for a position; request the messages that the tests use."""
        self.until(lambda: "HEARTBEAT" in self.last, 60.0, "a heartbeat")
        for number in (147, 33, 1):
            self.command(511, number, 200_000)
        self.until(lambda: any("using GPS" in text for text in self.texts), 120.0, "a position")

    def parameter(self, name: str) -> float | None:
        """Read a parameter of the vehicle, `None` if it has none of that name."""
        self.last.pop(name, None)
        for _ in range(3):
            self.send(mavlink.MAVLink_param_request_read_message(self.system, 1, name.encode(), -1))
            if self._wait(lambda: name in self.last, 4.0):
                break
        return self.last.get(name)

    def set(self, name: str, value: float) -> None:
        """Set a parameter."""
        self.send(mavlink.MAVLink_param_set_message(self.system, 1, name.encode(), value, 9))

    def throttle(self, pwm: int) -> None:
        """Set the sticks: throttle as given, the others in the middle."""
        sticks = [1500, 1500, pwm, 1500, *[0] * 4]
        self.send(mavlink.MAVLink_rc_channels_override_message(self.system, 1, *sticks))

    @property
    def armed(self) -> bool:
        """Whether the vehicle is armed."""
        return "HEARTBEAT" in self.last and bool(self.last["HEARTBEAT"].base_mode & 128)

    @property
    def mode(self) -> int:
        """Number of the flight mode."""
        return int(self.last["HEARTBEAT"].custom_mode)

    @property
    def height_m(self) -> float:
        """Height above home."""
        return self.last["GLOBAL_POSITION_INT"].relative_alt / 1000 if self.last else math.nan

    @property
    def ground_m_s(self) -> float:
        """Speed over ground."""
        where: Any = self.last["GLOBAL_POSITION_INT"]
        return math.hypot(where.vx, where.vy) / 100

    @property
    def home_m(self) -> float:
        """Distance over ground from the place of the start."""
        where: Any = self.last["GLOBAL_POSITION_INT"]
        north_m = (where.lat / 1e7 - HOME_DEG[0]) * M_PER_DEG
        east_m = (where.lon / 1e7 - HOME_DEG[1]) * M_PER_DEG * math.cos(math.radians(HOME_DEG[0]))
        return math.hypot(north_m, east_m)

    def go_away(self, north_m: float, height_m: float = 20.0) -> None:
        """Command a place north of home in GUIDED."""
        lat_raw = round((HOME_DEG[0] + north_m / M_PER_DEG) * 1e7)
        frame = mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT_INT
        position_alone = 0x0DF8
        self.send(
            mavlink.MAVLink_set_position_target_global_int_message(
                *(0, self.system, 1, frame, position_alone, lat_raw, round(HOME_DEG[1] * 1e7)),
                *(height_m, *[0.0] * 8),
            )
        )

    def upload(self, items: Sequence[Item], kind: int = 0) -> float:
        """Upload a mission as a ground station; return the seconds that this took.

        Each item is requested once, in order: nothing disturbs the transfer. `kind` is that of
        MAV_MISSION_TYPE.
        """
        start_s, last = self.clock.now_s(), self.last
        requests = "MISSION_REQUEST", "MISSION_REQUEST_INT"
        for name in (*requests, "MISSION_ACK"):
            last.pop(name, None)
        self.send(mavlink.MAVLink_mission_count_message(self.system, 1, len(items), kind))
        for number, one in enumerate(items):
            self.until(
                lambda: any(name in last for name in requests),
                10.0,
                f"the request of item {number}",
            )
            (request,) = [last.pop(name) for name in requests if name in last]
            assert request.seq == number
            self.send(
                mavlink.MAVLink_mission_item_int_message(
                    self.system, 1, number, one[0], one[1], 0, 1, *one[2:], kind
                )
            )
        self.until(lambda: "MISSION_ACK" in last, 10.0, "the end of the upload")
        assert last["MISSION_ACK"].type == mavlink.MAV_MISSION_ACCEPTED
        return self.clock.now_s() - start_s

    def change_mode(self, mode: int) -> None:
        """Change the flight mode as a pilot does."""
        assert self.command(176, 1, mode) == 0
        self.until(lambda: self.mode == mode, 5.0, f"mode {mode}")

    def arm(self) -> None:
        """Arm as soon as the vehicle permits it."""
        assert self.command(176, 1, self.guided) == 0

        def armed() -> bool:
            return self.armed or self.command(400, 1) == 0

        self.until(armed, 120.0, "arming")
        self.until(lambda: self.armed, 5.0, "armed")

    @abstractmethod
    def set_off(self) -> None:
        """Arm and leave home: in the air, on the way, or under water."""


def vehicle_in(
    folder: Path,
    vehicle: type[ArduPilot],
    **options: Any,  # noqa: ANN401 - ArduPilot's
) -> Iterator[Any]:
    """Yield a vehicle and end it afterwards."""
    made = vehicle(folder, **options)
    try:
        yield made
    finally:
        made.close()


launched = contextmanager(vehicle_in)

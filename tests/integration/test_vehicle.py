# SPDX-License-Identifier: Apache-2.0
"""A real flight stack in simulation, from take-off to its failsafe, on a virtual pack.

`dronebms sitl` runs as a user starts it; the test is the ground station that arms and takes off.
Over loopback; all times and timeouts are those of the vehicle.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TypeAlias

import pytest
from pymavlink import mavutil
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.clock import SystemClock
from tests.integration.vehicle_clock import WATCHDOG_S, VehicleClock
from tests.mavlink_bridge.loopback import free_port

ARDUCOPTER, PX4 = os.environ.get("DRONEBMS_ARDUCOPTER"), os.environ.get("DRONEBMS_PX4")
needs_arducopter = pytest.mark.skipif(
    ARDUCOPTER is None,
    reason="no simulated ArduCopter: set DRONEBMS_ARDUCOPTER to an arducopter SITL binary",
)
needs_px4 = pytest.mark.skipif(
    PX4 is None,
    reason="no simulated PX4: set DRONEBMS_PX4 to bin/px4 of a SITL build with SIH",
)

PACK = """
about = "3S LiPo, put on {charge_pct} % full"

[pack]
chemistry = "lipo"
cells = 3
cell_mah = {cell_mah}
resistance_mohm_ah = {mohm_ah}
wire_mohm = 0.0
start_charge_frac = 0.{charge_pct}

[gauge]
ip_scale = 1

[[phase]]
name = "hover"
duration_s = 600.0
power_w = 350.0
"""
PARAMETERS = """
FRAME_CLASS 1
ARMING_CHECK 0
ARMING_SKIPCHK -1
BATT_MONITOR 4
BATT_LOW_VOLT 10.5
BATT_FS_LOW_ACT 2
"""
FLIGHT_S = 1500.0
EACH_S = 2.0  # between tries
HEARTBEAT_S = 0.2  # of the wall clock
ONE, BATTERY = 1, 180  # components


@dataclass(frozen=True)
class MissionItem:
    """An item of an uploaded mission; metres from home."""

    command: int
    north_m: float = 0.0
    east_m: float = 0.0
    height_m: float = 0.0
    hold_s: float = 0.0


@dataclass
class GroundStation:
    """Commands a vehicle and stores its messages."""

    link: mavutil.mavfile
    process: "subprocess.Popen[bytes]"
    armed: bool = False
    mode: int = -1
    modes: list[tuple[float, int]] = field(default_factory=list)
    altitude_m: float = 0.0
    texts: list[str] = field(default_factory=list)
    parameters: dict[str, float] = field(default_factory=dict)
    mission: Sequence[MissionItem] = ()  # that it uploads on request
    mission_accepted: bool = False
    begun_s: dict[int, float] = field(default_factory=dict)  # items that were flown to
    own: list[tuple[float, float, float]] = field(default_factory=list)  # time, volts, amps
    ours: list[tuple[float, float, int]] = field(default_factory=list)  # time, volts, percent
    wall: SystemClock = field(default_factory=SystemClock)
    heartbeat_s: float = 0.0  # of the wall clock

    def __post_init__(self) -> None:
        self.clock = VehicleClock(
            self.wall, self._read, self._request_time, lambda: self.process.poll() is None
        )

    @property
    def t_s(self) -> float:
        """Time of the vehicle."""
        return self.clock.now_s()

    def until(
        self,
        done: Callable[[], bool],
        what: str,
        doing: Callable[[], None] = lambda: None,
        timeout_s: float = FLIGHT_S,
    ) -> None:
        """Wait for a condition, doing something every two seconds of the vehicle."""
        due_s = self.t_s

        def step() -> None:
            nonlocal due_s
            if self.t_s >= due_s:
                due_s = self.t_s + EACH_S
                doing()

        self.clock.until(done, timeout_s, what, step)

    def _read(self) -> None:
        if self.wall.now_s() - self.heartbeat_s > HEARTBEAT_S:
            self.heartbeat_s = self.wall.now_s()
            self.link.mav.heartbeat_send(mavlink.MAV_TYPE_GCS, 8, 0, 0, 4)
        message = self.link.recv_match(blocking=True, timeout=0.1)
        if message is not None:
            self._take(message)

    def _request_time(self) -> None:
        self.request({mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT: 5.0})

    def command(self, command: int, *values: float) -> None:
        """Send a command."""
        filled = (*values, *(0.0,) * 7)[:7]
        self.link.mav.command_long_send(self.link.target_system, ONE, command, 0, *filled)

    def request(self, hz: Mapping[int, float]) -> None:
        """Request messages."""
        for message_id, rate_hz in hz.items():
            self.command(mavlink.MAV_CMD_SET_MESSAGE_INTERVAL, message_id, 1e6 / rate_hz)

    def _take(self, message: mavlink.MAVLink_message) -> None:
        kind, component = message.get_type(), message.get_srcComponent()
        if kind == "STATUSTEXT":
            self.texts.append(message.text)
        elif kind == "BATTERY_STATUS":
            voltage_v = sum(mv for mv in message.voltages if mv != 0xFFFF) / 1000
            if component == BATTERY:
                self.ours.append((self.t_s, voltage_v, message.battery_remaining))
            else:
                self.own.append((self.t_s, voltage_v, message.current_battery / 100))
        elif component != ONE:
            return
        elif kind == "HEARTBEAT":
            self.armed = bool(message.base_mode & mavlink.MAV_MODE_FLAG_SAFETY_ARMED)
            if message.custom_mode != self.mode:
                self.mode = message.custom_mode
                self.modes.append((self.t_s, self.mode))
        elif kind == "GLOBAL_POSITION_INT":
            self.clock.stamp(message.time_boot_ms / 1000)
            self.altitude_m = message.relative_alt / 1000
        elif kind == "PARAM_VALUE":
            self.parameters[message.param_id] = message.param_value
        else:
            self._take_mission(message, kind)

    def _take_mission(self, message: mavlink.MAVLink_message, kind: str) -> None:
        if kind in ("MISSION_REQUEST", "MISSION_REQUEST_INT"):
            self._send_item(message.seq)
        elif kind == "MISSION_ACK":
            self.mission_accepted = message.type == mavlink.MAV_MISSION_ACCEPTED
        elif kind == "MISSION_CURRENT":
            self.begun_s.setdefault(message.seq, self.t_s)

    def set(self, name: str, value: float) -> None:
        """Set a parameter that is no integer, and wait for the answer."""
        system, real = self.link.target_system, mavlink.MAV_PARAM_TYPE_REAL32
        self.parameters.pop(name, None)
        self.until(
            lambda: name in self.parameters,
            name,
            lambda: self.link.mav.param_set_send(system, ONE, name.encode(), value, real),
        )

    def upload(self, mission: Sequence[MissionItem]) -> None:
        """Upload a mission; its first item is home on ArduPilot."""
        self.mission = mission
        system = self.link.target_system
        self.until(
            lambda: self.mission_accepted,
            "an accepted mission",
            lambda: self.link.mav.mission_count_send(system, ONE, len(mission)),
        )

    def _send_item(self, number: int) -> None:
        item = self.mission[number]
        east_deg = item.east_m / (M_DEG * math.cos(math.radians(HOME_DEG[0])))
        place_deg = HOME_DEG[0] + item.north_m / M_DEG, HOME_DEG[1] + east_deg
        frame, x_raw, y_raw = (
            mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT_INT,
            *(round(deg * 1e7) for deg in place_deg),
        )
        if item.command == mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH:  # PX4 takes it without a place
            frame, x_raw, y_raw = mavlink.MAV_FRAME_MISSION, 0, 0
        self.link.mav.mission_item_int_send(
            self.link.target_system, ONE, number, frame, item.command, 0, 1, item.hold_s, 0, 0, 0,
            x_raw, y_raw, item.height_m,
        )  # fmt: skip


@dataclass(frozen=True)
class Running:
    """A program."""

    process: "subprocess.Popen[bytes]"
    output: Path


@contextlib.contextmanager
def running(command: Sequence[str | Path], folder: Path, **variables: str) -> Iterator[Running]:
    """Run a program in a folder; end it by SIGTERM."""
    path = folder / f"{Path(command[0]).name}.txt"
    with path.open("w") as output:
        process = subprocess.Popen(  # noqa: S603 - ours, or the program in a variable
            command, cwd=folder, env=os.environ | variables, stdout=output, stderr=output,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield Running(process, path)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            finally:
                process.kill()
    if Path(command[0]).samefile(sys.executable):
        assert process.returncode == 0, path.read_text()[-2000:]


def arducopter(ground_port: int, companion_port: int, speedup: int) -> Sequence[str]:
    """Command of a simulated vehicle with the parameters of its folder."""
    assert ARDUCOPTER is not None
    return (
        ARDUCOPTER, "--model", "quad", "--speedup", str(speedup), "--wipe",
        "--defaults", "vehicle.parm", "--home", "-35.363262,149.165237,584,353",
        "--serial0", f"udpclient:127.0.0.1:{ground_port}",
        "--serial1", f"udpclient:127.0.0.1:{companion_port}", "--serial2", "none:0",
    )  # fmt: skip


@contextlib.contextmanager
def ground_station(port: int, vehicle: Running) -> Iterator[GroundStation]:
    """Give a ground station on a port, once it has received a heartbeat of the vehicle."""
    with contextlib.closing(mavutil.mavlink_connection(f"udpin:127.0.0.1:{port}")) as link:
        assert link.wait_heartbeat(timeout=WATCHDOG_S) is not None, "the vehicle did not start"
        yield GroundStation(link, vehicle.process)


def sitl(
    url: str, folder: Path, charge_pct: int, cell_mah: float = 5000.0, mohm_ah: float = 40.0
) -> Sequence[str | Path]:
    """Command that connects a pack to a vehicle."""
    pack = folder / "small.toml"
    pack.write_text(PACK.format(charge_pct=charge_pct, cell_mah=cell_mah, mohm_ah=mohm_ah))
    options = ("--vehicle", url, "--flight", "small.toml", "--headless")
    return (sys.executable, "-m", "dronebms.cli", "sitl", *options)


def judge_voltages(ground: GroundStation, armed_s: float) -> None:
    """Compare the battery of the vehicle with ours: at rest and under load."""
    apart_v: list[float] = []
    rest_v: list[float] = []
    loaded_v: list[float] = []
    first_s, last_s = ground.ours[0][0] + 2.0, ground.ours[-1][0]
    for t_s, voltage_v, current_a in ground.own:
        near_v = [v for at_s, v, _ in ground.ours if abs(at_s - t_s) <= 1.0]
        if near_v and first_s < t_s < last_s:
            apart_v.append(max(min(near_v) - voltage_v, voltage_v - max(near_v), 0.0))
            (rest_v if t_s < armed_s and current_a < 0.1 else loaded_v).append(voltage_v)
    assert len(apart_v) > 50
    assert median(apart_v) < 0.01
    assert sum(apart < 0.1 for apart in apart_v) > 0.95 * len(apart_v)
    # 40 mohm Ah over 5 Ah in three cells, at 30 A.
    assert median(rest_v) - median(loaded_v) > 0.5


@needs_arducopter
def test_arducopter_flies_a_virtual_pack_from_take_off_to_its_failsafe(tmp_path: Path) -> None:
    ground_port, companion_port = free_port(), free_port()
    (tmp_path / "vehicle.parm").write_text(PARAMETERS)
    vehicle = arducopter(ground_port, companion_port, 10)
    pack = sitl(f"udpin:127.0.0.1:{companion_port}", tmp_path, charge_pct=50)
    guided, rtl = 4, 6
    with (
        running(vehicle, tmp_path) as program,
        ground_station(ground_port, program) as ground,
    ):
        ground.request({147: 5.0, 33: 5.0})
        with running(pack, tmp_path) as service:
            ground.until(lambda: len(ground.ours) > 20, "our battery")

            def arm() -> None:
                ground.command(mavlink.MAV_CMD_DO_SET_MODE, 1, guided)
                ground.command(mavlink.MAV_CMD_COMPONENT_ARM_DISARM, 1)

            ground.until(lambda: ground.armed, "arming", arm)
            armed_s = ground.t_s
            ground.command(mavlink.MAV_CMD_NAV_TAKEOFF, 0, 0, 0, 0, 0, 0, 20)
            ground.until(lambda: ground.altitude_m > 19.0, "height")
            ground.until(lambda: not ground.armed, "landing")
        # The original value is restored when the command has ended.
        name = b"SIM_BATT_VOLTAGE"
        ground.parameters.clear()
        ground.until(
            lambda: "SIM_BATT_VOLTAGE" in ground.parameters,
            "SIM_BATT_VOLTAGE",
            lambda: ground.link.mav.param_request_read_send(1, ONE, name, -1),
        )
        assert ground.parameters["SIM_BATT_VOLTAGE"] == pytest.approx(12.6, abs=1e-3)
    judge_voltages(ground, armed_s)
    assert any("Battery 1 is low 10.4" in text for text in ground.texts), ground.texts
    failsafe_s = next(t_s for t_s, mode in ground.modes if mode == rtl)
    low_s = [t_s for t_s, voltage_v, _ in ground.own if voltage_v < 10.5 and t_s > armed_s]
    assert failsafe_s >= low_s[0] + 9.0  # BATT_LOW_TIMER
    assert ground.ours[-1][2] < ground.ours[0][2] - 10  # percent
    lines = service.output.read_text().splitlines()
    assert any("  LOW: flight time left " in line for line in lines)
    assert "cell" in lines[-1]


CONFIG = """
[[battery]]
bus = "/dev/i2c-1"
cells = 3
capacity_mah = 5000

[[action]]
on = "critical"
do = "return"
"""
RTL = 6
HOME_DEG = -35.363262, 149.165237
M_DEG = 111_195.0
PX4_VARIABLES = {
    "PX4_SIM_MODEL": "sihsim_quadx", "PX4_SYS_AUTOSTART": "10040", "PX4_SIM_SPEED_FACTOR": "2",
    "PX4_HOME_LAT": str(HOME_DEG[0]), "PX4_HOME_LON": str(HOME_DEG[1]), "PX4_HOME_ALT": "584",
}  # fmt: skip


@dataclass(frozen=True)
class Rehearsal:
    """A flight of the configured service; `within_s` counts from the fault, `None` for no limit."""

    fault: str
    charge_pct: int
    fault_s: float
    within_s: float | None


# The fault campaign in memory is benchmarks/flights.py; these rows of it fly on the real stack.
REHEARSALS = (
    Rehearsal("low_charge=0.35", 90, 0.0, None),
    Rehearsal("unplug@120", 90, 120.0, 25.0),
    Rehearsal("frozen@120", 90, 120.0, 50.0),
    Rehearsal("hot_cell=0.6@100", 90, 100.0, 110.0),
)


@needs_arducopter
@pytest.mark.parametrize("rehearsal", REHEARSALS, ids=lambda row: row.fault)
def test_arducopter_is_sent_home_by_the_configured_service(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    ground_port, companion_port = free_port(), free_port()
    own = "BATT_LOW_VOLT 0\nBATT_FS_LOW_ACT 0\nDISARM_DELAY 0\n"
    (tmp_path / "vehicle.parm").write_text(PARAMETERS + own)
    (tmp_path / "rehearsal.toml").write_text(CONFIG)
    vehicle = arducopter(ground_port, companion_port, 5)
    command = sitl(f"udpin:127.0.0.1:{companion_port}", tmp_path, rehearsal.charge_pct)
    guided = 4
    with (
        running(vehicle, tmp_path) as program,
        ground_station(ground_port, program) as ground,
    ):
        ground.request({147: 5.0, 33: 5.0})
        options = ("-c", "rehearsal.toml", "--fault", rehearsal.fault)
        with running((*command, *options), tmp_path) as service:
            ground.until(lambda: len(ground.ours) > 20, "our battery")
            start_s = ground.t_s

            def arm() -> None:
                ground.command(mavlink.MAV_CMD_DO_SET_MODE, 1, guided)
                ground.command(mavlink.MAV_CMD_COMPONENT_ARM_DISARM, 1)

            ground.until(lambda: ground.armed, "arming", arm)
            ground.command(mavlink.MAV_CMD_NAV_TAKEOFF, 0, 0, 0, 0, 0, 0, 20)
            ground.until(lambda: ground.altitude_m > 19.0, "height")
            ground.until(lambda: not ground.armed, "landing")
        lines = service.output.read_text()
    assert "RETURN: " in lines
    home_s = next(t_s for t_s, mode in ground.modes if mode == RTL)
    if rehearsal.within_s is not None:
        assert home_s - start_s < rehearsal.fault_s + rehearsal.within_s


@dataclass(frozen=True)
class Stack:
    """A flight stack that flies missions; its modes are numbers of HEARTBEAT.custom_mode."""

    name: str
    mission: tuple[float, ...]  # of DO_SET_MODE
    rtl: int
    own: Mapping[str, float]  # parameters: the service alone acts, and PX4 asks it before arming
    wind: tuple[tuple[str, float], ...]  # parameters of a wind from the north

    @contextlib.contextmanager
    def flying(self, folder: Path) -> Iterator[tuple[GroundStation, str]]:
        """Start a vehicle; give its ground station and the URL of the companion."""
        if self.name == "ArduCopter":
            ground_port, companion_port = free_port(), free_port()
            own = "".join(f"{name} {value:g}\n" for name, value in self.own.items())
            (folder / "vehicle.parm").write_text(PARAMETERS + own)
            command, variables = arducopter(ground_port, companion_port, 5), {}
        else:
            assert PX4 is not None
            ground_port, companion_port = 14550, 14540
            command = (PX4, "-d", "-w", str(folder), str(Path(PX4).resolve().parents[1] / "etc"))
            variables = PX4_VARIABLES | {
                f"PX4_PARAM_{name}": f"{value:g}" for name, value in self.own.items()
            }
        with (
            running(command, folder, **variables) as program,
            ground_station(ground_port, program) as ground,
        ):
            ground.request({147: 5.0, 33: 5.0, 42: 5.0})
            yield ground, f"udpin:127.0.0.1:{companion_port}"

    def items(self, mission: "Mission") -> "Mission":
        """Items of a mission as they are uploaded: the first one of ArduPilot is home."""
        home = MissionItem(mavlink.MAV_CMD_NAV_WAYPOINT)
        return (home, *mission) if self.name == "ArduCopter" else mission

    def arm(self, ground: GroundStation) -> None:
        """Command a mission and arming, as a ground station does."""
        ground.command(mavlink.MAV_CMD_DO_SET_MODE, *self.mission)
        ground.command(mavlink.MAV_CMD_COMPONENT_ARM_DISARM, 1)

    def set_off(self, ground: GroundStation) -> None:
        """Arm and begin the mission."""
        ground.until(lambda: ground.armed, "arming", lambda: self.arm(ground))
        ground.command(mavlink.MAV_CMD_MISSION_START)
        ground.until(lambda: ground.altitude_m > 18.0, "height")


COPTER = Stack(
    "ArduCopter",
    mission=(1, 3),
    rtl=RTL,
    own={"BATT_LOW_VOLT": 0, "BATT_FS_LOW_ACT": 0, "DISARM_DELAY": 0, "AUTO_OPTIONS": 3},
    wind=(("SIM_WIND_DIR", 0.0), ("SIM_WIND_SPD", 10.0)),
)
PX4_COPTER = Stack(
    "PX4",
    mission=(1, 4, 4),
    rtl=4 << 16 | 5 << 24,
    own={
        "BAT1_SOURCE": 1, "COM_LOW_BAT_ACT": 0, "NAV_DLL_ACT": 0, "COM_ARM_AUTH_REQ": 1,
        "COM_ARM_AUTH_ID": 1, "CBRK_SUPPLY_CHK": 0,
    },
    wind=(("SIH_WIND_N", -6.0),),
)  # fmt: skip
each_stack = pytest.mark.parametrize(
    "stack",
    [
        pytest.param(COPTER, marks=needs_arducopter),
        pytest.param(PX4_COPTER, marks=needs_px4),
    ],
    ids=lambda stack: stack.name,
)
Mission: TypeAlias = tuple[MissionItem, ...]
MISSION: Mission = (
    MissionItem(mavlink.MAV_CMD_NAV_TAKEOFF, height_m=20.0),
    MissionItem(mavlink.MAV_CMD_NAV_WAYPOINT, 200.0, 0.0, 20.0),
    MissionItem(mavlink.MAV_CMD_NAV_WAYPOINT, 200.0, 200.0, 20.0, hold_s=20.0),
    MissionItem(mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH),
)
FAR_MISSION = (MISSION[0], replace(MISSION[1], north_m=20_000.0), MISSION[-1])


@each_stack
def test_each_stack_flies_its_mission_lands_as_it_was_computed_and_is_refused_a_longer_one(
    stack: Stack, tmp_path: Path
) -> None:
    with stack.flying(tmp_path) as (ground, url):
        ground.upload(stack.items(MISSION))
        # A small pack lacks the voltage for 10 m/s; a resistance of twice a new one's is a no-go.
        command = sitl(url, tmp_path, 90, 20_000.0, 25.0)
        with running((*command, "--json"), tmp_path) as service:
            ground.until(lambda: len(ground.ours) > 20, "our battery")
            stack.set_off(ground)
            ground.until(lambda: not ground.armed, "landing")
            began_s = [t_s for t_s, mode in ground.modes if mode == stack.rtl]  # PX4
            began_s += [ground.begun_s.get(len(stack.items(MISSION)) - 1, math.inf)]
            home_s = ground.t_s - min(began_s)
            ground.mission_accepted = False
            ground.upload(stack.items(FAR_MISSION))
            ground.until(
                lambda: "mission needs " in service.output.read_text(), "a no-go", timeout_s=180.0
            )
            if stack is PX4_COPTER:
                ground.until(
                    lambda: any("no go: battery 1: mission needs" in t for t in ground.texts),
                    "the reason",
                    lambda: stack.arm(ground),
                )
                assert not ground.armed
        lines = service.output.read_text().splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    flown = [row for row in rows if row["armed"]]
    # PX4 ends a mission by its return, which is no part of it.
    on_mission = [row for row in flown if row["mission_s"] is not None]
    half = on_mission[len(on_mission) // 2 :]
    middle, last = half[0], flown[-1]
    assert {row["mission_verdict"] for row in half} == {"yes"}
    assert middle["home_verdict"] == "yes"
    assert middle["mission_end_pct"] == pytest.approx(last["soc_pct"], abs=6.0)
    assert middle["mission_end_low_pct"] <= last["soc_pct"]
    # By the parameters of the autopilot's return, from the far corner.
    returning = next(row for row in flown if row["t_s"] >= last["t_s"] - home_s)
    sys.stdout.write(
        f"{stack.name}: end of the mission {middle['mission_end_pct']:.1f} %, "
        f"{last['soc_pct']:.1f} % at the landing; way home {returning['home_s']:.0f} s, "
        f"took {home_s:.0f} s\n"
    )
    assert returning["home_s"] == pytest.approx(home_s, rel=0.15)


LONG_MISSION = (
    *MISSION[:2],
    MissionItem(mavlink.MAV_CMD_NAV_LOITER_TIME, 200.0, 0.0, 20.0, hold_s=420.0),
    MISSION[-1],
)


@each_stack
def test_each_stack_is_returned_when_a_weak_cell_does_not_last_for_its_mission(
    stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "rehearsal.toml").write_text(CONFIG.replace("5000", "10000"))
    options = ("-c", "rehearsal.toml", "--fault", "weak_cell=0.6")
    with stack.flying(tmp_path) as (ground, url):
        ground.upload(stack.items(LONG_MISSION))
        command = sitl(url, tmp_path, 80, 10_000.0)
        with running((*command, *options), tmp_path) as service:
            ground.until(lambda: len(ground.ours) > 20, "our battery")
            stack.set_off(ground)
            ground.until(lambda: not ground.armed, "landing")
        lines = service.output.read_text()
    assert "mission needs " in lines
    assert "RETURN: " in lines
    assert stack.rtl in [mode for _, mode in ground.modes]
    left_pct = [pct for _, _, pct in ground.ours if pct >= 0][-1]
    sys.stdout.write(f"{stack.name}: {left_pct} % at the landing\n")
    assert left_pct > 10


FAR_OUT = (MISSION[0], replace(MISSION[1], north_m=500.0), MISSION[-1])


@each_stack
def test_each_stack_is_returned_when_a_headwind_makes_its_mission_too_long(
    stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "rehearsal.toml").write_text(CONFIG.replace("5000", "6000"))
    with stack.flying(tmp_path) as (ground, url):
        ground.upload(stack.items(FAR_OUT))
        command = sitl(url, tmp_path, 60, 6000.0)
        with running((*command, "-c", "rehearsal.toml"), tmp_path) as service:
            ground.until(lambda: len(ground.ours) > 20, "our battery")
            stack.set_off(ground)
            calm_s = ground.t_s + 20.0
            ground.until(lambda: ground.t_s > calm_s, "twenty seconds in a calm")
            assert stack.rtl not in [mode for _, mode in ground.modes]
            for name, value in stack.wind:
                ground.set(name, value)
            ground.until(lambda: not ground.armed, "landing")
        lines = service.output.read_text()
    assert "mission needs " in lines
    assert "RETURN: " in lines
    item_s = ground.begun_s.get(len(stack.items(FAR_OUT)) - 1, math.inf)
    rtl_s = next(t_s for t_s, mode in ground.modes if mode == stack.rtl)
    assert rtl_s < item_s  # before it was at its far end
    left_pct = [pct for _, _, pct in ground.ours if pct >= 0][-1]
    sys.stdout.write(
        f"{stack.name}: returned {rtl_s - calm_s:.0f} s after the wind, "
        f"{left_pct} % at the landing\n"
    )
    assert left_pct > 5


@needs_px4
def test_px4_flies_a_virtual_pack_from_take_off_to_its_failsafe(tmp_path: Path) -> None:
    assert PX4 is not None
    vehicle = (PX4, "-d", "-w", tmp_path, Path(PX4).resolve().parents[1] / "etc")
    variables = PX4_VARIABLES | {"PX4_PARAM_BAT1_SOURCE": "1", "PX4_PARAM_COM_LOW_BAT_ACT": "3"}
    pack = sitl("udpin:127.0.0.1:14540", tmp_path, charge_pct=30)
    with (
        running(vehicle, tmp_path, **variables) as program,
        ground_station(14550, program) as ground,
    ):
        with running(pack, tmp_path) as service:
            ground.until(lambda: len(ground.ours) > 20, "our battery")

            def arm() -> None:
                ground.command(mavlink.MAV_CMD_COMPONENT_ARM_DISARM, 1)

            ground.until(lambda: ground.armed, "arming", arm)
            armed_s, nowhere = ground.t_s, float("nan")
            ground.command(mavlink.MAV_CMD_NAV_TAKEOFF, 0, 0, 0, *(nowhere,) * 4)
            ground.until(lambda: ground.altitude_m > 2.0, "height")
            ground.until(lambda: not ground.armed, "landing")
        lines = service.output.read_text().splitlines()
    judge_voltages(ground, armed_s)
    assert any("Critical battery" in text for text in ground.texts), ground.texts
    critical_pct = [pct for _, _, pct in ground.ours if 0 <= pct < 7]
    assert critical_pct
    assert any("CRITICAL: state of charge " in line for line in lines)

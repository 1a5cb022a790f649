# SPDX-License-Identifier: Apache-2.0
"""A simulated PX4 on loopback: bin/px4 of a SITL build with SIH, in DRONEBMS_PX4.

Instance 7, which is system 8. The test is the ground station on the second onboard link; the
companion has the first one. All times and timeouts are those of the vehicle.
"""

import contextlib
import math
import os
import struct
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from tests.integration.ardupilot import HOME_DEG, M_PER_DEG
from tests.integration.copter import Copter

BINARY = os.environ.get("DRONEBMS_PX4", "")
needs_px4 = pytest.mark.skipif(
    not BINARY,
    reason="no simulated PX4: set DRONEBMS_PX4 to bin/px4 of a SITL build with SIH",
)
INSTANCE = 7
HOLD, MISSION, RTL, LAND = (4 << 16 | sub << 24 for sub in (3, 4, 5, 6))


class Px4(Copter):
    """One vehicle and its ground station."""

    name, model, airframe = "PX4 multicopter", "sihsim_quadx", "10040"
    system = INSTANCE + 1
    gcs_port, companion_port = 14030 + INSTANCE, 14540 + INSTANCE
    peer = ("127.0.0.1", 14280 + INSTANCE)

    def _start(self) -> "subprocess.Popen[bytes]":
        binary = Path(BINARY).resolve()
        assert binary.is_file(), f"DRONEBMS_PX4 is not a file: {BINARY}"
        return subprocess.Popen(  # noqa: S603 - the program in DRONEBMS_PX4
            [binary, "-i", str(INSTANCE), "-d", "-w", self.folder, binary.parents[1] / "etc"],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
            env=os.environ
            | {
                "PX4_SIM_MODEL": self.model,
                "PX4_SYS_AUTOSTART": self.airframe,
                "PX4_SIM_SPEED_FACTOR": f"{self.speedup:g}",
                "PX4_HOME_LAT": str(HOME_DEG[0]),
                "PX4_HOME_LON": str(HOME_DEG[1]),
                "PX4_HOME_ALT": str(self.field_m),
            },
        )  # fmt: skip

    def wait_ready(self) -> None:
        """Wait for a position."""
        heartbeat = mavlink.MAVLink_heartbeat_message(6, 8, 0, 0, 4, 3)

        def received() -> bool:
            self.send(heartbeat)
            return "HEARTBEAT" in self.last

        self.until(received, 120.0, "a heartbeat")
        for number, interval_us in ((33, 200_000), (147, 500_000)):
            self.command(511, number, interval_us)
        self.until(lambda: self.last["HEARTBEAT"].system_status == 3, 120.0, "ready")

    def set(self, name: str, value: float, *, whole: bool = True) -> None:
        """Set a parameter; `whole` for an integer."""
        coded, kind = value, 9
        if whole:
            (coded,), kind = struct.unpack("<f", struct.pack("<i", int(value))), 6
        self.last.pop(name, None)

        def answered() -> bool:
            self.send(mavlink.MAVLink_param_set_message(self.system, 1, name.encode(), coded, kind))
            self.fly(0.5)
            return name in self.last

        self.until(answered, 20.0, name)

    def arm(self) -> None:
        """Arm as soon as the vehicle permits it."""
        self.until(lambda: self.command(400, 1) == 0, 60.0, "arming")
        self.until(lambda: self.armed, 5.0, "armed")

    def change_mode(self, mode: int) -> None:
        """Change the flight mode as a pilot does."""
        assert self.command(176, 1, mode >> 16 & 0xFF, mode >> 24) == 0
        self.until(lambda: self.mode == mode, 5.0, f"mode {mode}")

    def _altitude_m(self, height_m: float) -> float:
        """Altitude above mean sea level of a height above home."""
        where: Any = self.last["GLOBAL_POSITION_INT"]
        return float((where.alt - where.relative_alt) / 1000 + height_m)

    def go_away(self, north_m: float, height_m: float = 20.0) -> None:
        """Command a place north of home; the vehicle holds there."""
        lat_raw = round((HOME_DEG[0] + north_m / M_PER_DEG) * 1e7)
        frame, number = mavlink.MAV_FRAME_GLOBAL_INT, mavlink.MAV_CMD_DO_REPOSITION
        self.send(
            mavlink.MAVLink_command_int_message(
                *(self.system, 1, frame, number, 0, 0, -1.0, 1.0, 0.0, math.nan),
                *(lat_raw, round(HOME_DEG[1] * 1e7), self._altitude_m(height_m)),
            )
        )

    def take_off(self, height_m: float = 20.0) -> None:
        """Arm and climb."""
        self.arm()
        nan = float("nan")
        assert self.command(22, 0, 0, 0, nan, nan, nan, self._altitude_m(height_m)) == 0
        self.until(lambda: self.height_m > height_m - 2, 60.0, "height")
        self.until(lambda: self.mode == HOLD, 30.0, "hold")

    @property
    def landed(self) -> bool:
        """Whether PX4 takes itself as landed; `wait_ready` does not request this message."""
        state: Any = self.last.get("EXTENDED_SYS_STATE")
        return state is not None and state.landed_state == mavlink.MAV_LANDED_STATE_ON_GROUND


class WingPx4(Px4):
    """A fixed wing, which is launched.

    The thruster of its airframe is too weak for its drag, and the simulated wing stalls after a
    take-off from a runway.
    """

    name, model, airframe = "PX4 fixed wing", "sihsim_airplane", "10041"
    simulated: tuple[tuple[str, float, bool], ...] = (
        ("SIH_F_T_MAX", 12.0, False),
        ("RWTO_TKOFF", 0.0, True),
    )

    def wait_ready(self) -> None:
        """Wait for a position."""
        super().wait_ready()
        for name, value, whole in self.simulated:
            self.set(name, value, whole=whole)
        self.command(511, mavlink.MAVLINK_MSG_ID_EXTENDED_SYS_STATE, 200_000)


class VtolPx4(WingPx4):
    """A fixed wing with four lift motors."""

    name, model, airframe = "PX4 VTOL", "sihsim_standard_vtol", "10043"
    simulated = ()


# Our battery is the only one, PX4 acts on its charge, and arming needs an authorisation.
PARAMETERS = {
    "BAT1_SOURCE": 1,
    "COM_LOW_BAT_ACT": 3,
    "CBRK_SUPPLY_CHK": 0,
    "COM_ARM_AUTH_REQ": 1,
    "COM_ARM_AUTH_ID": Px4.system,
    "NAV_DLL_ACT": 0,
}
# A return of known height, wait and speed.
RETURN = {"RTL_RETURN_ALT": 25.0, "RTL_LAND_DELAY": 4.0, "MPC_XY_CRUISE": 6.0}


@contextlib.contextmanager
def returning_px4(folder: Path, parameters: Mapping[str, int]) -> Iterator[Px4]:
    """A vehicle in real time, with parameters and `RETURN`."""
    folder.mkdir()
    vehicle = Px4(folder, script=False, speedup=1.0)
    try:
        vehicle.wait_ready()
        for name, number in parameters.items():
            vehicle.set(name, number)
        for name, value in RETURN.items():
            vehicle.set(name, value, whole=False)
        yield vehicle
    finally:
        vehicle.close()

# SPDX-License-Identifier: Apache-2.0
"""A simulated ArduCopter on loopback: the SITL binary in DRONEBMS_ARDUCOPTER."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.integration.ardupilot import DRIVER, ArduPilot, needs, vehicle_in

RTL, LAND, GUIDED, STABILIZE, LOITER = 6, 9, 4, 0, 5


class Copter(ArduPilot):
    """One vehicle and its ground station."""

    name, variable, model, guided = "ArduCopter", "DRONEBMS_ARDUCOPTER", "quad", GUIDED
    own = """
FRAME_CLASS 1
FRAME_TYPE 0
FS_THR_ENABLE 0
FENCE_ENABLE 0
MOT_THST_HOVER 0.39
MOT_BAT_VOLT_MIN 9.6\nMOT_BAT_VOLT_MAX 12.8
"""
    driver = DRIVER + "BATT_FS_LOW_ACT 2\nBATT_FS_CRT_ACT 1\n"

    def take_off(self, height_m: float = 20.0) -> None:
        """Arm and climb."""
        self.arm()
        assert self.command(22, 0, 0, 0, 0, 0, 0, height_m) == 0
        self.until(lambda: self.height_m > height_m - 2, 60.0, "height")

    def set_off(self) -> None:
        """Take off."""
        self.take_off()


needs_copter = needs(Copter)


def copter_in(folder: Path, **options: Any) -> Iterator[Copter]:  # noqa: ANN401 - Copter's
    """Yield a vehicle and end it afterwards."""
    yield from vehicle_in(folder, Copter, **options)

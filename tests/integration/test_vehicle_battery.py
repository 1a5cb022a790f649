# SPDX-License-Identifier: Apache-2.0
"""The battery monitor of a simulated ArduCopter as the source of the service.

The vehicle's simulation has a pack with a capacity and a resistance of its own; nothing of it is
known but what the autopilot sends.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.companion import Served
from tests.integration.copter import RTL, Copter, copter_in, needs_copter

pytestmark = needs_copter

# The default frame of the simulation, whose pack has a capacity: some five minutes of hover. The
# simulation's table of voltages (SIM_Battery.cpp) is close to the curve of a Li-ion cell.
MODEL = {
    "mass": 3.0, "diagonal_size": 0.35, "refSpd": 15.08, "refAngle": 45.0, "refVoltage": 12.09,
    "refCurrent": 29.3, "refAlt": 593, "refTempC": 25, "refBatRes": 0.012, "maxVoltage": 12.6,
    "battCapacityAh": 3.0, "propExpo": 0.5, "refRotRate": 120, "hoverThrOut": 0.39, "pwmMin": 1000,
    "pwmMax": 2000, "spin_min": 0.15, "spin_max": 0.95, "slew_max": 150, "disc_area": 0.228,
    "mdrag_coef": 0.2, "num_motors": 4,
}  # fmt: skip
MONITOR = "BATT_MONITOR 4\nBATT_CAPACITY 3000\nBATT_LOW_VOLT 0\nBATT_CRT_VOLT 0\nBATT2_MONITOR 0\n"
CUTOFF_V = 3.0 * 3
CONFIG = """
[[battery]]
bus = "mavlink:0"
cells = 3
capacity_mah = 3000
chemistry = "li-ion"
cutoff_cell_v = 3.0
[mavlink]
url = "udpin:127.0.0.1:{port}"
[state]
dir = "{folder}"
"""
RETURN = """
[[action]]
on = "charge_low"
do = "return"
[[limit]]
id = "charge_low"
trip = 40.0
clear = 45.0
"""


@pytest.fixture
def copter(tmp_path: Path) -> Iterator[Copter]:
    folder = tmp_path / "copter"
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps(MODEL))
    yield from copter_in(folder, parameters=MONITOR, script=False, model="quad:model.json")


def test_the_time_left_holds_to_the_end_of_a_pack_without_a_gauge(
    copter: Copter, tmp_path: Path
) -> None:
    served = Served(copter, CONFIG.format(port=copter.companion, folder=tmp_path))
    copter.wait_ready()
    copter.take_off(15.0)
    took_off_s = copter.clock.now_s()
    copter.until(lambda: served.mean_v <= CUTOFF_V, 600.0, "the end of the pack")
    end_s = copter.clock.now_s()
    copter.each = lambda _now_s: None
    flown = [one for one in served.reports if took_off_s + 20.0 < one.t_s < end_s]
    within = [
        (one.estimate.remaining_low_s or 0.0)
        <= end_s - one.t_s
        <= (one.estimate.remaining_high_s or 0.0)
        for one in flown
    ]
    share = sum(within) / len(within)
    sys.stdout.write(f"{end_s - took_off_s:.0f} s; within the interval {share:.0%}\n")
    assert share >= 0.85
    assert {one.snapshot.cells_v for one in served.reports} == {()}
    assert not {(180, "BATTERY_STATUS"), (191, "BATTERY_STATUS")} & copter.last.keys()


def test_the_vehicle_returns_at_the_configured_charge_without_a_gauge(
    copter: Copter, tmp_path: Path
) -> None:
    served = Served(copter, CONFIG.format(port=copter.companion, folder=tmp_path) + RETURN)
    copter.wait_ready()
    copter.take_off(15.0)
    copter.until(lambda: copter.mode == RTL, 400.0, "our return")
    soc_pct = served.reports[-1].estimate.soc_pct
    assert soc_pct == pytest.approx(40.0, abs=4.0)
    copter.until(lambda: any("RETURN" in text for text in copter.texts), 10.0, "its text")

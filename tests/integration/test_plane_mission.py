# SPDX-License-Identifier: Apache-2.0
"""A simulated plane and quadplane of ArduPilot that fly missions on a virtual pack.

`dronebms sitl` runs as a user starts it. Over loopback; all times are those of the vehicle.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from tests.integration.ardupilot import HOME_DEG, M_PER_DEG, ArduPilot, launched, needs
from tests.integration.vehicles import Plane, QuadPlane
from tests.mavlink_bridge.fake_missions import Item, item

pytestmark = pytest.mark.slow

PACK = """
about = "3S LiPo"
[pack]
chemistry = "lipo"
cells = 3
cell_mah = {cell_mah}
resistance_mohm_ah = 40.0
wire_mohm = 0.0
start_charge_frac = {charge_frac}
[gauge]
ip_scale = 1
[[phase]]
name = "cruise"
duration_s = 600.0
power_w = 300.0
"""
LARGE, SMALL = (
    PACK.format(cell_mah=mah, charge_frac=frac) for mah, frac in ((20e3, 0.9), (6e3, 0.7))
)
CONFIG = """
[[battery]]
bus = "/dev/i2c-1"
cells = 3
capacity_mah = 6000
[[action]]
on = "critical"
do = "return"
"""
MONITOR = "BATT_MONITOR 4\nBATT_LOW_VOLT 0\nBATT_CRT_VOLT 0\nBATT2_MONITOR 0\n"
TAKEOFF, WAYPOINT, LOITER_TIME, LAND, VTOL_TAKEOFF, VTOL_LAND = 22, 16, 19, 21, 84, 85
LAND_START = 189
FORCED = 21196.0  # param2 of MAV_CMD_COMPONENT_ARM_DISARM
HEIGHT_M = 60.0
RALLY, RALLY_POINT, RALLY_M = 2, 5100, 160.0
BACK_WITHIN_M = 100.0  # of home: on the circle of WP_LOITER_RAD


class Sitl:
    """`dronebms sitl` on the companion's link of a vehicle."""

    def __init__(self, vehicle: ArduPilot, folder: Path, pack: str, *more: str) -> None:
        (folder / "pack.toml").write_text(pack)
        (folder / "c.toml").write_text(CONFIG)
        url = f"udpin:127.0.0.1:{vehicle.companion}"
        options = ("--vehicle", url, "--flight", "pack.toml", "--headless", "--json", *more)
        self._path = folder / "sitl.txt"
        self._output = self._path.open("w")
        self._process = subprocess.Popen(  # noqa: S603 - ours
            (sys.executable, "-m", "dronebms.cli", "sitl", *options),
            cwd=folder, env=os.environ, stdout=self._output, stderr=self._output,
        )  # fmt: skip
        vehicle.closing.callback(self._end)

    def _end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30.0)
        self._output.close()

    @property
    def text(self) -> str:
        """What it has printed."""
        return self._path.read_text()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Its JSON lines so far; the last one may be cut off."""
        lines = self.text.splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n")]


def at(command: int, north_m: float, east_m: float, height_m: float, *values: float) -> Item:
    """Item of a mission at a place, metres from home."""
    place = HOME_DEG[0] + north_m / M_PER_DEG, HOME_DEG[1] + east_m / M_PER_DEG / 0.8155
    return item(command, *values, at=(*place, height_m))


@dataclass(frozen=True)
class Case:
    """A class, its missions and its return."""

    vehicle: type[ArduPilot]
    own: str  # parameters
    auto: int
    rtl: int
    takeoff: Item
    landing: tuple[Item, ...]
    lands: bool = False  # at the end of its return


PLANE = Case(
    Plane, "RTL_ALTITUDE 60\n", Plane.auto, Plane.rtl,
    at(TAKEOFF, 0.0, 0.0, HEIGHT_M),
    (at(WAYPOINT, -600.0, 0.0, 40.0), at(LAND, 0.0, 0.0, 0.0)),
)  # fmt: skip
LANDING_PLANE = replace(
    PLANE,
    own="RTL_ALTITUDE 60\nRTL_AUTOLAND 2\n",
    landing=(item(LAND_START), *PLANE.landing),
    lands=True,
)
HIGH_PLANE = replace(PLANE, own="RTL_ALTITUDE 120\n")
QUADPLANE = Case(
    QuadPlane, "RTL_ALTITUDE 60\nQ_RTL_MODE 1\n", QuadPlane.auto, QuadPlane.rtl,
    at(VTOL_TAKEOFF, 0.0, 0.0, 30.0),
    (at(VTOL_LAND, 0.0, 0.0, 0.0),), lands=True,
)  # fmt: skip


def those(**cases: Case) -> pytest.MarkDecorator:
    """A parameter `case`, each skipped without its binary."""
    rows = [pytest.param(one, marks=needs(one.vehicle), id=name) for name, one in cases.items()]
    return pytest.mark.parametrize("case", rows)


HOME = at(WAYPOINT, 0.0, 0.0, 584.0)
CORNERS = at(WAYPOINT, 900.0, 0.0, HEIGHT_M), at(WAYPOINT, 900.0, 900.0, HEIGHT_M)


@contextlib.contextmanager
def flying(
    case: Case, folder: Path, *mission: Item, pack: str = LARGE, more: Sequence[str] = ()
) -> Iterator[tuple[ArduPilot, Sitl]]:
    """A vehicle in AUTO on a mission, behind `dronebms sitl`."""
    inner = folder / "vehicle"
    inner.mkdir()
    with launched(inner, case.vehicle, parameters=MONITOR + case.own, script=False) as vehicle:
        vehicle.wait_ready()
        vehicle.upload((HOME, case.takeoff, *mission))
        sitl = Sitl(vehicle, folder, pack, *more)
        vehicle.until(lambda: any(row["soc_pct"] for row in sitl.rows), 120.0, "our charge")
        vehicle.change_mode(case.auto)
        vehicle.until(lambda: vehicle.armed or vehicle.command(400, 1) == 0, 120.0, "arming")
        vehicle.until(lambda: vehicle.height_m > 25.0, 120.0, "height")
        yield vehicle, sitl


@those(ArduPlane=PLANE, QuadPlane=QUADPLANE)
def test_a_mission_lands_with_the_charge_that_was_computed_and_a_longer_one_is_a_no_go(
    case: Case, tmp_path: Path
) -> None:
    with flying(case, tmp_path, *CORNERS, *case.landing) as (vehicle, sitl):
        vehicle.until(lambda: vehicle.height_m < 1.0, 600.0, "the landing")
        flown = [row for row in sitl.rows if row["armed"]]
        assert vehicle.command(400, 0, FORCED) == 0  # a plane rolls on for minutes
        far = at(WAYPOINT, 60_000.0, 0.0, HEIGHT_M)
        vehicle.upload((HOME, case.takeoff, far, *case.landing))
        vehicle.until(lambda: "mission needs " in sitl.text, 180.0, "a no-go")
    on_mission = [row for row in flown if row["mission_s"] is not None]
    middle, last = on_mission[len(on_mission) // 2], flown[-1]
    half = {row["mission_verdict"] for row in on_mission[len(on_mission) // 2 :]}
    sys.stdout.write(
        f"{case.vehicle.name}: end of the mission {middle['mission_end_pct']:.1f} %, "
        f"{last['soc_pct']:.1f} % at the landing; {middle['mission_s']:.0f} s computed, "
        f"{last['t_s'] - middle['t_s']:.0f} s flown\n"
    )
    assert half == {"yes"}
    assert middle["mission_end_pct"] == pytest.approx(last["soc_pct"], abs=6.0)
    assert middle["mission_end_low_pct"] <= last["soc_pct"]
    assert last["t_s"] - middle["t_s"] == pytest.approx(middle["mission_s"], rel=0.15)


@those(
    ArduPlane=PLANE, ArduPlane_climbs=HIGH_PLANE, ArduPlane_lands=LANDING_PLANE, QuadPlane=QUADPLANE
)
def test_the_way_home_by_rtl_takes_the_computed_time(case: Case, tmp_path: Path) -> None:
    with flying(case, tmp_path, *CORNERS, *case.landing) as (vehicle, sitl):
        vehicle.until(lambda: vehicle.home_m > 1150.0, 300.0, "the far corner")
        before = sitl.rows[-1]
        assert vehicle.command(176, 1, case.rtl) == 0
        if case.lands:
            took_s = vehicle.until(lambda: vehicle.height_m < 0.5, 400.0, "the ground")
        else:
            took_s = vehicle.until(lambda: vehicle.home_m < BACK_WITHIN_M, 300.0, "home")
    sys.stdout.write(f"{case.vehicle.name}: {before['home_s']:.0f} s computed, {took_s:.0f} s\n")
    assert before["home_verdict"] == "yes"
    assert took_s == pytest.approx(before["home_s"], rel=0.15)


@those(ArduPlane=PLANE)
def test_a_plane_returns_to_a_rally_point_at_its_altitude(case: Case, tmp_path: Path) -> None:
    point = at(RALLY_POINT, -900.0, 900.0, RALLY_M)
    with flying(case, tmp_path, *CORNERS, *case.landing) as (vehicle, sitl):
        vehicle.upload((_above_home(point),), RALLY)
        vehicle.until(lambda: vehicle.home_m > 1150.0, 300.0, "the far corner")
        before = sitl.rows[-1]
        assert vehicle.command(176, 1, case.rtl) == 0
        took_s = vehicle.until(lambda: _away_m(vehicle, point) < BACK_WITHIN_M, 300.0, "there")
        height_m = vehicle.height_m
    sys.stdout.write(
        f"{case.vehicle.name}: {before['home_s']:.0f} s computed, {took_s:.0f} s to a rally point "
        f"at {height_m:.0f} m\n"
    )
    assert height_m == pytest.approx(RALLY_M, abs=15.0)
    assert took_s == pytest.approx(before["home_s"], rel=0.15)


def _above_home(one: Item) -> Item:
    """A place above home as rally points have it."""
    return (mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT, *one[1:])


def _away_m(vehicle: ArduPilot, point: Item) -> float:
    """Distance of a vehicle from a place over ground."""
    where: Any = vehicle.last["GLOBAL_POSITION_INT"]
    north_m = (where.lat - point[6]) / 1e7 * M_PER_DEG
    return math.hypot(north_m, (where.lon - point[7]) / 1e7 * M_PER_DEG * 0.8155)


@those(ArduPlane=PLANE, QuadPlane=QUADPLANE)
def test_a_vehicle_is_returned_when_a_weak_cell_does_not_last_for_its_mission(
    case: Case, tmp_path: Path
) -> None:
    circles = at(LOITER_TIME, 900.0, 0.0, HEIGHT_M, 1500.0)
    mission, more = (circles, *case.landing), ("-c", "c.toml", "--fault", "weak_cell=0.6")
    with flying(case, tmp_path, *mission, pack=SMALL, more=more) as (vehicle, sitl):
        vehicle.until(lambda: vehicle.mode == case.rtl, 1500.0, "our return")
        before = sitl.rows[-1]
        if case.lands:
            vehicle.until(lambda: vehicle.height_m < 0.5, 400.0, "the ground")
        else:
            vehicle.until(lambda: vehicle.home_m < BACK_WITHIN_M, 300.0, "home")
        last = sitl.rows[-1]
    sys.stdout.write(
        f"{case.vehicle.name}: returned with {before['soc_pct']:.0f} %, {before['home_verdict']}; "
        f"{last['soc_pct']:.0f} % at home\n"
    )
    assert "mission needs " in sitl.text
    assert last["soc_pct"] > 10.0

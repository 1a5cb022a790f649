# SPDX-License-Identifier: Apache-2.0
"""Simulated vehicles that return to rally points, as it was computed before."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Report, Verdict
from tests.integration.ardupilot import HOME_DEG, M_PER_DEG, needs
from tests.integration.companion import GaugedPack, Service, connect
from tests.integration.copter import LOITER, Copter, copter_in
from tests.integration.px4 import HOLD, needs_px4, returning_px4
from tests.integration.px4 import RTL as PX4_RTL
from tests.mavlink_bridge.fake_missions import Item, item

pytestmark = pytest.mark.slow

RALLY = mavlink.MAV_MISSION_TYPE_RALLY
RELATIVE = mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT
AWAY_M = 120.0
COPTER_OWN = """
RTL_ALT 2500\nRTL_SPEED 600\nRTL_LOIT_TIME 3000\nRTL_CLIMB_MIN 0\nRTL_CONE_SLOPE 0
LAND_SPEED 60\nLAND_SPEED_HIGH 0\nLAND_ALT_LOW 800\nRALLY_INCL_HOME 0
"""
PX4_OWN = {"BAT1_SOURCE": 1, "CBRK_SUPPLY_CHK": 0, "NAV_DLL_ACT": 0}


def point(north_m: float, height_m: float) -> Item:
    """A rally point north of home."""
    place = HOME_DEG[0] + north_m / M_PER_DEG, HOME_DEG[1], height_m
    return item(mavlink.MAV_CMD_NAV_RALLY_POINT, at=place, frame=RELATIVE)


@dataclass
class Flight:
    """A vehicle with its service, and what that reports."""

    vehicle: Copter
    stays: int  # mode that hovers
    rtl: int
    reports: list[Report]

    def fly_out(self) -> None:
        """Fly away from home and stop there."""
        vehicle = self.vehicle
        vehicle.take_off(20.0)
        vehicle.go_away(AWAY_M)
        vehicle.until(lambda: vehicle.home_m > AWAY_M - 10.0, 100.0, "away from home")
        vehicle.change_mode(self.stays)
        vehicle.until(lambda: vehicle.ground_m_s < 0.3, 30.0, "a hover")
        vehicle.fly(3.0)

    def return_s(self, most_s: float) -> tuple[float, float, float]:
        """Return; seconds until it lies on the ground, its distance from home, its top."""
        vehicle = self.vehicle
        tops_m = [vehicle.height_m]
        vehicle.change_mode(self.rtl)

        def landed() -> bool:
            tops_m.append(vehicle.height_m)
            return vehicle.height_m < 0.3

        took_s = vehicle.until(landed, most_s, "the ground")
        return took_s, vehicle.home_m, max(tops_m)


@pytest.fixture(
    params=[pytest.param("copter", marks=needs(Copter)), pytest.param("px4", marks=needs_px4)]
)
def flight(request: Any, tmp_path: Path) -> Iterator[Flight]:  # noqa: ANN401 - pytest's
    """Each stack in the air, with a return of known height, wait and speed."""
    folder = tmp_path / "vehicle"
    reports: list[Report] = []
    if request.param == "copter":
        folder.mkdir()
        for copter in copter_in(folder, parameters=COPTER_OWN, script=False):
            copter.wait_ready()
            connect(GaugedPack(), Service(copter, tmp_path), also=reports.append)
            yield Flight(copter, LOITER, 6, reports)
        return
    with returning_px4(folder, PX4_OWN) as px4:
        connect(GaugedPack(), Service(px4, tmp_path), also=reports.append)
        yield Flight(px4, HOLD, PX4_RTL, reports)


@pytest.mark.parametrize("height_m", [0.0, 45.0])
def test_a_return_to_a_rally_point_is_flown_as_computed(flight: Flight, height_m: float) -> None:
    vehicle, reports = flight.vehicle, flight.reports
    vehicle.upload([point(60.0, height_m), point(-90.0, height_m)], RALLY)
    vehicle.until(lambda: bool(reports) and bool(_rally(reports[-1])), 90.0, "the rally points")
    flight.fly_out()
    computed = reports[-1].estimate
    assert computed.home_s is not None
    took_s, home_m, top_m = flight.return_s(3.0 * computed.home_s + 60.0)
    sys.stdout.write(
        f"{vehicle.name}, rally point at {height_m:.0f} m: {computed.home_s:.0f} s computed, "
        f"{took_s:.0f} s flown at {top_m:.0f} m, {home_m:.0f} m from home\n"
    )
    assert computed.home_verdict is Verdict.YES
    assert home_m == pytest.approx(60.0, abs=5.0)
    assert took_s == pytest.approx(computed.home_s, rel=0.15)


def _rally(report: Report) -> Any:  # noqa: ANN401 - of a plan that may be unknown
    return None if report.vehicle.plan is None else report.vehicle.plan.rally


@needs_px4
@pytest.mark.parametrize("flight", ["px4"], indirect=True)
def test_px4_without_the_rally_point_that_it_returns_to_lands_in_place(flight: Flight) -> None:
    vehicle, reports = flight.vehicle, flight.reports
    vehicle.set("RTL_TYPE", 5)
    flight.fly_out()
    vehicle.until(lambda: reports[-1].estimate.verdict_missing is not None, 60.0, "a verdict")
    found = reports[-1].estimate
    _, home_m, _ = flight.return_s(120.0)
    assert home_m == pytest.approx(AWAY_M, abs=15.0)
    assert (found.home_verdict, found.verdict_missing) == (Verdict.UNKNOWN, "a rally point")

# SPDX-License-Identifier: Apache-2.0
"""A simulated PX4 whose mission and return are read by the service, and flown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.flight_plan import ItemKind, MissionItem, ReturnTo
from dronebms.core.report import Report, Verdict
from tests.integration.ardupilot import HOME_DEG, M_PER_DEG
from tests.integration.companion import GaugedPack, Service, connect
from tests.integration.px4 import MISSION, Px4, needs_px4
from tests.mavlink_bridge.fake_missions import item

pytestmark = [needs_px4, pytest.mark.slow]

PARAMETERS = {
    "BAT1_SOURCE": 1,
    "CBRK_SUPPLY_CHK": 0,
    "COM_ARM_AUTH_REQ": 1,
    "COM_ARM_AUTH_ID": Px4.system,
    "NAV_DLL_ACT": 0,
}
RETURN = {"RTL_RETURN_ALT": 25.0, "RTL_LAND_DELAY": 4.0, "MPC_XY_CRUISE": 6.0}
NORTHS_M = (20.0, 90.0, 150.0)


@pytest.fixture
def vehicle(tmp_path: Path) -> Iterator[Px4]:
    """A simulated PX4 that the service arms, with a return of known height, wait and speed."""
    folder = tmp_path / "px4"
    folder.mkdir()
    made = Px4(folder, script=False, speedup=1.0)
    try:
        made.wait_ready()
        for name, number in PARAMETERS.items():
            made.set(name, number)
        for name, value in RETURN.items():
            made.set(name, value, whole=False)
        yield made
    finally:
        made.close()


def test_px4_flies_a_mission_that_is_read_and_judged_with_its_return(
    vehicle: Px4, tmp_path: Path
) -> None:
    reports: list[Report] = []
    connect(GaugedPack(), Service(vehicle, tmp_path), also=reports.append)
    vehicle.fly(2.0)

    def returns() -> Any:  # noqa: ANN401 - asserted below
        plan = reports[-1].vehicle.plan
        return None if plan is None else plan.returns

    vehicle.until(lambda: returns() is not None, 60.0, "the return")
    found = returns()
    assert (found.height_m, found.wait_s, found.cruise_m_s) == pytest.approx((25.0, 4.0, 6.0))
    assert (found.missing, found.to, found.lands) == ((), ReturnTo.HOME_OR_RALLY, True)

    mission = [
        item(
            mavlink.MAV_CMD_NAV_WAYPOINT if number else mavlink.MAV_CMD_NAV_TAKEOFF,
            at=(HOME_DEG[0] + north_m / M_PER_DEG, HOME_DEG[1], 20.0),
        )
        for number, north_m in enumerate(NORTHS_M)
    ]

    def items() -> tuple[MissionItem, ...]:
        plan = reports[-1].vehicle.plan
        return () if plan is None else plan.items or ()

    vehicle.upload(mission)
    vehicle.until(lambda: len(items()) == len(mission), 60.0, "the mission")
    places = [one.place for one in items()]
    norths_m = [(one.lat_deg - HOME_DEG[0]) * M_PER_DEG for one in places if one is not None]
    assert norths_m == pytest.approx(NORTHS_M, abs=0.1)
    assert items()[0].kind is ItemKind.TAKEOFF

    vehicle.arm()
    vehicle.change_mode(MISSION)
    vehicle.until(lambda: reports[-1].vehicle.mission_item == 2, 150.0, "the last item")
    vehicle.until(lambda: vehicle.home_m > 110.0, 100.0, "away from home")
    flown = reports[-1].estimate
    assert flown.last_home_item == 2  # the pack lasts from each item home
    assert (flown.mission_verdict, flown.home_verdict) == (Verdict.YES, Verdict.YES)

# SPDX-License-Identifier: Apache-2.0
"""A simulated PX4 whose mission and return are read by the service, and flown."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.flight_plan import ItemKind, MissionItem, ReturnTo
from dronebms.core.report import Report, Verdict
from tests.integration.ardupilot import HOME_DEG, M_PER_DEG
from tests.integration.companion import GaugedPack, Service, connect
from tests.integration.px4 import HOLD, MISSION, RTL, Px4, needs_px4, returning_px4
from tests.mavlink_bridge.fake_missions import item

pytestmark = [needs_px4, pytest.mark.slow]

PARAMETERS = {
    "BAT1_SOURCE": 1,
    "CBRK_SUPPLY_CHK": 0,
    "COM_ARM_AUTH_REQ": 1,
    "COM_ARM_AUTH_ID": Px4.system,
    "NAV_DLL_ACT": 0,
}
NORTHS_M = (20.0, 90.0, 150.0)


@pytest.fixture
def vehicle(tmp_path: Path) -> Iterator[Px4]:
    """A simulated PX4 that the service arms, with a return of known height, wait and speed."""
    with returning_px4(tmp_path / "px4", PARAMETERS) as made:
        yield made


def test_px4_flies_a_mission_that_is_read_and_judged_and_its_return_as_computed(
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
    vehicle.change_mode(HOLD)
    vehicle.until(lambda: vehicle.ground_m_s < 0.3, 20.0, "a hover")
    home_s = reports[-1].estimate.home_s
    assert home_s is not None
    vehicle.command(511, mavlink.MAVLINK_MSG_ID_EXTENDED_SYS_STATE, 500_000)
    vehicle.change_mode(RTL)

    def landed() -> bool:
        state: Any = vehicle.last.get("EXTENDED_SYS_STATE")
        return state is not None and state.landed_state == mavlink.MAV_LANDED_STATE_ON_GROUND

    on_ground_s = vehicle.until(lambda: vehicle.height_m < 0.3, 3.0 * home_s + 60.0, "the ground")
    landed_s = on_ground_s + vehicle.until(landed, 20.0, "PX4's landed state")
    sys.stdout.write(
        f"way home: {home_s:.0f} s computed, {on_ground_s:.0f} s to the ground, "
        f"{landed_s:.0f} s until PX4 takes it as landed\n"
    )
    assert landed_s == pytest.approx(home_s, rel=0.15)

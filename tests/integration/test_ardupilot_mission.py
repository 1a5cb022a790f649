# SPDX-License-Identifier: Apache-2.0
"""A simulated ArduCopter whose mission and return are read while a ground station changes them."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.flight_plan import ItemKind, MissionItem, ReturnTo
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.protocol.link import open_link
from mavlink_bridge.protocol.mission_items import Vehicle, mission_of, received_item
from tests.integration.copter import Copter, copter_in, needs_copter
from tests.mavlink_bridge.fake_missions import Item, item

pytestmark = needs_copter

AUTO = 3
HOME = item(16, at=(-35.363262, 149.165237, 584.0), frame=0)
PARAMETERS = """
RTL_ALT 2500\nRTL_SPEED 600\nWPNAV_SPEED 800\nWPNAV_SPEED_UP 300\nWPNAV_SPEED_DN 200
LAND_SPEED 60\nLAND_SPEED_HIGH 0\nLAND_ALT_LOW 800\nRTL_LOIT_TIME 3000\nRTL_CLIMB_MIN 400
RTL_CONE_SLOPE 2
"""


def survey(count: int) -> list[Item]:
    """Home, a take-off, and waypoints around home, as QGroundControl sends them."""
    places = [
        (-35.3632 + k % 25 * 1e-4, 149.1652 + k // 25 * 1e-4, 20.0 + k % 9) for k in range(count)
    ]
    return [HOME, item(22, at=(0, 0, 20.0)), *(item(16, at=place) for place in places[2:])]


class Companion:
    """The bridge of the service on its own link, and what it has seen."""

    def __init__(self, copter: Copter) -> None:
        self.link = open_link(f"udpin:127.0.0.1:{copter.companion}")
        self.bridge = Bridge(self.link)
        self.state: VehicleState = UNKNOWN_VEHICLE
        self.copter = copter
        copter.each = self.step
        copter.closing.callback(self.link.close)

    def step(self, now_s: float) -> None:
        """Read and send messages."""
        self.state = self.bridge.pump(now_s)

    @property
    def items(self) -> tuple[MissionItem, ...] | None:
        """The mission as it is known."""
        return None if self.state.plan is None else self.state.plan.items

    def wait_for(self, items: Sequence[Item], timeout_s: float) -> float:
        """Wait until a mission is known; return the seconds that this took."""
        expected = expected_of(items)

        def known() -> bool:
            # Home and the place of the take-off are not known before the vehicle has a position.
            return self.items is not None and self.items[2:] == expected[2:]

        return self.copter.until(known, timeout_s, "the mission")


def expected_of(items: Sequence[Item]) -> tuple[MissionItem, ...]:
    messages = (
        mavlink.MAVLink_mission_item_int_message(1, 191, k, one[0], one[1], 0, 1, *one[2:], 0)
        for k, one in enumerate(items)
    )
    return mission_of([received_item(one, Vehicle(3, 2)) for one in messages])


@pytest.fixture
def copter(tmp_path: Path) -> Iterator[Copter]:
    folder = tmp_path / "copter"
    folder.mkdir()
    for made in copter_in(folder, parameters=PARAMETERS, script=False):
        made.until(lambda: "HEARTBEAT" in made.last, 60.0, "a heartbeat")  # noqa: B023 - one alone
        made.fly(5.0)  # it loses messages at its start
        yield made


@pytest.mark.parametrize(("count", "seen_s"), [(30, 60.0), (500, 330.0)])
def test_a_mission_and_each_change_of_it_are_read_and_uploads_are_not_disturbed(
    copter: Copter, count: int, seen_s: float
) -> None:
    first = survey(count)
    alone_s = copter.upload(first)
    companion = Companion(copter)
    read_s = companion.wait_for(first, count / 8 + 15.0)
    changed = [*first[:-3], item(16, 4.0, at=(-35.36, 149.17, 33.0)), *first[-2:]]
    with_s = copter.upload(changed)
    change_s = companion.wait_for(changed, seen_s)
    again_s = copter.upload(first)  # while the bridge reads
    companion.wait_for(first, seen_s)
    texts = [text for text in copter.texts if "ission" in text or "light plan" in text]
    assert set(texts) == {"Flight plan received"}
    assert max(with_s, again_s) < 2.0 * alone_s + 2.0
    sys.stdout.write(
        f"{count} items: uploaded in {alone_s:.1f} s alone, {with_s:.1f} and {again_s:.1f} s "
        f"while the bridge reads, read in {read_s:.1f} s, a change known after {change_s:.1f} s\n"
    )


def test_the_return_is_that_of_the_parameters_and_of_their_changes(copter: Copter) -> None:
    companion = Companion(copter)
    copter.until(lambda: returns(companion) is not None, 30.0, "the return")
    found = returns(companion)
    assert found.cruise_m_s == pytest.approx(6.0)
    assert found.climb_m_s == pytest.approx(3.0)
    assert found.descent_m_s == pytest.approx(2.0)
    assert found.landing_m_s == pytest.approx(0.6)
    assert found.landing_height_m == pytest.approx(8.0)
    assert found.height_m == pytest.approx(25.0)
    assert found.climb_at_least_m == pytest.approx(4.0)
    assert found.cone_slope == pytest.approx(2.0)
    assert found.wait_s == pytest.approx(3.0)
    assert (found.lands, found.to, found.missing) == (True, ReturnTo.HOME_OR_RALLY, ())
    assert found.rally_within_m == pytest.approx(300.0)
    copter.set("RTL_SPEED", 0.0)
    copter.set("RTL_ALT", 4000.0)

    def changed() -> bool:
        now = returns(companion)
        return bool(now.cruise_m_s == pytest.approx(8.0) and now.height_m == pytest.approx(40.0))

    copter.until(changed, 70.0, "the changed return")


def returns(companion: Companion) -> Any:  # noqa: ANN401 - asserted by its caller
    return None if companion.state.plan is None else companion.state.plan.returns


def test_the_item_that_is_flown_to_is_followed_and_an_empty_mission_is_known(
    copter: Copter,
) -> None:
    companion = Companion(copter)
    copter.until(lambda: companion.items == (), 60.0, "no mission")
    assert companion.state.mission_item is None
    mission = [*survey(4), item(20)]
    copter.upload(mission)
    companion.wait_for(mission, 60.0)
    assert companion.items is not None
    assert companion.items[-1].kind is ItemKind.RETURN
    copter.wait_ready()
    copter.take_off(10.0)
    assert companion.state.on_wing is False
    takeoff = companion.items[1].place
    assert takeoff is not None
    assert takeoff.lat_deg == pytest.approx(HOME[6] / 1e7, abs=1e-4)
    assert (takeoff.alt_m, takeoff.above_home) == (20.0, True)
    assert copter.command(176, 1, AUTO) == 0
    copter.until(lambda: companion.state.mission_item == 3, 60.0, "item 3")
    copter.until(lambda: not copter.armed, 120.0, "the landing")  # until then it keeps a mission
    copter.send(mavlink.MAVLink_mission_clear_all_message(1, 1, 0))
    copter.until(lambda: companion.items == (), 60.0, "no mission")

# SPDX-License-Identifier: Apache-2.0
"""A simulated fixed wing and a simulated VTOL of PX4 with our battery, and their ways home.

Over loopback; all times are those of the vehicle.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from dronebms.core.report import Action, ActionKind, Report, Severity, Verdict
from mavlink_bridge.protocol.link import ReconnectingLink
from tests.integration.companion import GaugedPack, Service, connect
from tests.integration.px4 import LAND, MISSION, PARAMETERS, RTL, Px4, VtolPx4, WingPx4, needs_px4
from tests.integration.test_plane_mission import (
    LAND as LAND_ITEM,
)
from tests.integration.test_plane_mission import (
    LAND_START,
    TAKEOFF,
    VTOL_LAND,
    VTOL_TAKEOFF,
    WAYPOINT,
    at,
)
from tests.mavlink_bridge.fake_missions import Item, item

pytestmark = [needs_px4, pytest.mark.slow]

LOITER_TO_ALT = 31
RETURN = {"RTL_RETURN_ALT": 60.0, "RTL_DESCEND_ALT": 40.0, "RTL_LAND_DELAY": 0.0}
START = item(LAND_START, frame=2)


@dataclass(frozen=True)
class Case:
    """A class of vehicles and a mission for it."""

    vehicle: type[Px4]
    takeoff: Item
    corners: tuple[Item, ...]
    landing: tuple[Item, ...]


PLANE = Case(
    WingPx4, at(TAKEOFF, 300.0, 0.0, 40.0),
    (at(WAYPOINT, 700.0, 0.0, 50.0), at(WAYPOINT, 700.0, 400.0, 50.0)),
    (START, at(LOITER_TO_ALT, -300.0, 0.0, 25.0, 0.0, 60.0), at(LAND_ITEM, 100.0, 0.0, 0.0)),
)  # fmt: skip
VTOL = Case(
    VtolPx4, at(VTOL_TAKEOFF, 100.0, 0.0, 30.0),
    (at(WAYPOINT, 500.0, 0.0, 50.0), at(WAYPOINT, 500.0, 300.0, 50.0)),
    (START, at(WAYPOINT, -200.0, 0.0, 40.0), at(VTOL_LAND, 0.0, 0.0, 0.0)),
)  # fmt: skip
BOTH = pytest.mark.parametrize("case", [PLANE, VTOL], ids=lambda case: case.vehicle.name)


@dataclass
class Flight:
    """A vehicle with the pack and the service."""

    vehicle: Px4
    pack: GaugedPack
    reports: list[Report]
    link: ReconnectingLink

    @property
    def last(self) -> Report:
        """Newest report."""
        return self.reports[-1]

    def to_corner(self) -> None:
        """Take off and fly the mission to the line to its last corner."""
        self.vehicle.arm()
        self.vehicle.change_mode(MISSION)
        self.vehicle.until(lambda: self.last.vehicle.mission_item == 2, 200.0, "the last corner")
        self.vehicle.fly(8.0)


@contextlib.contextmanager
def ready(
    case: Case, folder: Path, *actions: Action, parameters: Mapping[str, float] = {}
) -> Iterator[Flight]:
    """A vehicle with a mission that the service has read."""
    inner = folder / "px4"
    inner.mkdir()
    vehicle = case.vehicle(inner, script=False)
    try:
        vehicle.wait_ready()
        for name, number in PARAMETERS.items():
            vehicle.set(name, number)
        for name, value in {**RETURN, **parameters}.items():
            vehicle.set(name, value, whole=isinstance(value, int))
        assert vehicle.command(400, 1) != 0  # no authorisation
        pack, reports = GaugedPack(4800.0, 5.0), list[Report]()
        service = Service(vehicle, folder)
        connect(pack, service, *actions, also=reports.append)
        flight = Flight(vehicle, pack, reports, service.link)
        mission = (case.takeoff, *case.corners, *case.landing)
        vehicle.upload(mission)

        def known() -> bool:
            plan = reports[-1].vehicle.plan if reports else None
            return plan is not None and plan.returns is not None and len(plan.items or ()) > 2

        vehicle.until(known, 60.0, "return and mission")
        yield flight
    finally:
        vehicle.close()


@BOTH
def test_a_px4_wing_flies_its_mission_as_computed_and_is_refused_a_longer_one(
    case: Case, tmp_path: Path
) -> None:
    with ready(case, tmp_path) as flight:
        vehicle = flight.vehicle
        flight.to_corner()
        theirs, ours = vehicle.last[1, 255], flight.last.snapshot
        assert sum(mv for mv in theirs.voltages if mv != 0xFFFF) == pytest.approx(
            (ours.voltage_v or 0.0) * 1000, abs=30
        )
        assert theirs.battery_remaining == pytest.approx(ours.soc_pct, abs=1.5)
        middle = flight.last
        vehicle.until(lambda: vehicle.landed, 300.0, "the landing")
        last = flight.last
        vehicle.until(lambda: not vehicle.armed, 60.0, "disarmed")
        far = at(WAYPOINT, 60_000.0, 0.0, 50.0)
        vehicle.upload((case.takeoff, case.corners[0], far, *case.landing))
        no = Verdict.NO
        vehicle.until(lambda: flight.last.estimate.mission_verdict is no, 120.0, "a no-go")
        vehicle.fly(3.0)
        assert vehicle.command(400, 1) != 0
        vehicle.until(lambda: any("mission needs" in text for text in vehicle.texts), 5.0, "why")
    estimate, flown_s = middle.estimate, last.snapshot.t_s - middle.snapshot.t_s
    assert estimate.mission_s is not None
    sys.stdout.write(
        f"{vehicle.name}: {estimate.mission_s:.0f} s computed, {flown_s:.0f} s flown; "
        f"{estimate.mission_end_pct:.1f} %, {last.snapshot.soc_pct:.1f} % at the landing\n"
    )
    assert estimate.mission_verdict is Verdict.YES
    assert estimate.mission_end_pct == pytest.approx(last.snapshot.soc_pct, abs=6.0)
    assert flown_s == pytest.approx(estimate.mission_s, rel=0.15)


WAYS = {
    "circles": (PLANE, {"RTL_TYPE": 0, "RTL_LAND_DELAY": -1.0}),
    "lands": (PLANE, {"RTL_TYPE": 0}),
    "pattern": (PLANE, {"RTL_TYPE": 1, "RTL_LAND_DELAY": -1.0}),
    "mission": (PLANE, {"RTL_TYPE": 2}),
    "VTOL": (VTOL, {"RTL_TYPE": 0, "RTL_RETURN_ALT": 90.0}),
    "VTOL_pattern": (VTOL, {"RTL_TYPE": 1}),
}


@pytest.mark.parametrize(("case", "parameters"), WAYS.values(), ids=WAYS)
def test_the_way_home_of_a_px4_wing_takes_the_computed_time(
    case: Case, parameters: dict[str, float], tmp_path: Path
) -> None:
    with ready(case, tmp_path, parameters=parameters) as flight:
        vehicle = flight.vehicle
        flight.to_corner()
        begin = flight.last
        vehicle.change_mode(RTL)
        home_s: list[tuple[float, float]] = []

        def ends() -> bool:
            now = flight.last
            if now.estimate.home_s is not None:
                home_s.append((now.snapshot.t_s, now.estimate.home_s))
            low_m = RETURN["RTL_DESCEND_ALT"] + 10.5  # NAV_FW_ALT_RAD
            circles = parameters.get("RTL_TYPE") == 0 and "RTL_LAND_DELAY" in parameters
            return vehicle.home_m < 90.0 and vehicle.height_m < low_m if circles else vehicle.landed

        took_s = vehicle.until(ends, 400.0, "the end of the return")
        end_s = flight.last.snapshot.t_s
    found = begin.estimate
    assert found.home_s is not None
    assert found.home_verdict is Verdict.YES
    marks = [
        min(home_s, key=lambda one: abs(one[0] - end_s + took_s * part)) for part in (0.6, 0.3)
    ]
    later = ", ".join(f"{computed:.0f}; {end_s - t_s:.0f} s" for t_s, computed in marks)
    sys.stdout.write(
        f"{vehicle.name} {parameters}: {found.home_s:.0f} s computed, {took_s:.0f} s; on the way "
        f"{later}\n"
    )
    assert took_s == pytest.approx(found.home_s, rel=0.15)


HOME = Action("cell_sag", ActionKind.RETURN, hold_s=1.0, escalate=ActionKind.LAND)
DOWN = Action("cell_emergency", ActionKind.LAND, hold_s=0.0)


@BOTH
def test_a_weak_cell_returns_a_px4_wing_and_a_collapsing_one_lands_it(
    case: Case, tmp_path: Path
) -> None:
    ours_alone = {"COM_LOW_BAT_ACT": 0}
    with ready(case, tmp_path, HOME, DOWN, parameters=ours_alone) as flight:
        vehicle = flight.vehicle
        flight.to_corner()
        flight.pack.weak_v = 3.36
        assert vehicle.until(lambda: vehicle.mode == RTL, 15.0, "our return") < 7.0
        vehicle.fly(3.0)
        flight.pack.weak_v = 3.0
        vehicle.until(lambda: vehicle.mode == LAND, 15.0, "our landing")
        vehicle.until(
            lambda: any("low cell voltage under load" in text for text in vehicle.texts), 5.0, "why"
        )
        pilots = [text for text in vehicle.texts if "pilot" in text]
        assert pilots == []


@BOTH
def test_the_arming_check_and_the_low_charge_failsafe_of_a_px4_wing(
    case: Case, tmp_path: Path
) -> None:
    with ready(case, tmp_path) as flight:
        vehicle = flight.vehicle
        vehicle.each = lambda _now_s: None
        flight.link.close()
        service = Service(vehicle, tmp_path)  # of given readings
        service.values |= {"severity": Severity.CRITICAL, "active": ("hot_critical",)}
        vehicle.fly(5.0)
        assert vehicle.command(400, 1) != 0
        vehicle.fly(3.0)
        assert any("no go: battery 1: hot critical" in text for text in vehicle.texts)
        service.values["severity"] = Severity.OK
        service.values["active"] = ()
        vehicle.arm()
        vehicle.change_mode(MISSION)
        vehicle.until(lambda: vehicle.height_m > 25.0, 60.0, "height")
        theirs = vehicle.last[1, 255]
        assert sum(mv for mv in theirs.voltages if mv != 0xFFFF) == pytest.approx(12_000, abs=10)
        assert (theirs.temperature, theirs.battery_remaining) == (2512, 80)
        service.values["soc_pct"] = 6.5  # critical for PX4, whose step is one percent
        took_s = vehicle.until(lambda: vehicle.mode == RTL, 25.0, "its own RTL")
        assert took_s > 4.0  # PX4 holds for COM_FAIL_ACT_T first
        service.values["soc_pct"] = 4.0
        vehicle.until(lambda: vehicle.mode == LAND, 15.0, "its own landing")

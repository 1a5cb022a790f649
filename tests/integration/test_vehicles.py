# SPDX-License-Identifier: Apache-2.0
"""Simulated planes, quadplanes, rovers and submarines of ArduPilot with our battery.

The tests of the copter (test_ardupilot.py) for the other classes: the Lua driver, their own
failsafes, our actions, limits and the way home. Each test is one flight.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dronebms.core.flight_plan import MissionItem, ReturnPlan, ReturnTo
from dronebms.core.report import Action, ActionKind, Severity, Verdict
from mavlink_bridge.protocol.config import MavlinkConfig
from mavlink_bridge.vehicle.parameter_check import VehicleUse, check_vehicle
from mavlink_bridge.vehicle.saved_file import left_behind
from tests.integration.ardupilot import HOME_DEG, ArduPilot, launched, needs, vehicle_in
from tests.integration.companion import Served, Service, check_arming, guarded
from tests.integration.vehicles import Plane, QuadPlane, Rover, Sub
from tests.mavlink_bridge.fake_missions import item

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """What one class does; modes are numbers of its firmware."""

    vehicle: type[ArduPilot]
    low: int  # its own failsafes
    critical: int
    returns: int  # after our return, or after its escalation
    lands: int
    pilot: int  # a mode that a pilot chooses


PLANE = Case(Plane, Plane.rtl, Plane.rtl, Plane.rtl, Plane.autoland, Plane.loiter)
QUADPLANE = Case(
    QuadPlane, QuadPlane.rtl, QuadPlane.qland, QuadPlane.rtl, QuadPlane.qland, QuadPlane.qloiter
)
ROVER = Case(Rover, Rover.smart_rtl, Rover.hold, Rover.rtl, Rover.hold, Rover.loiter)
SUB = Case(Sub, Sub.surface, Sub.surface, Sub.surface, Sub.surface, Sub.stabilize)


def those(*cases: Case) -> pytest.MarkDecorator:
    """A parameter `case`, each skipped without its binary."""
    rows = [pytest.param(one, marks=needs(one.vehicle), id=one.vehicle.name) for one in cases]
    return pytest.mark.parametrize("case", rows)


@pytest.fixture
def vehicle(case: Case, tmp_path: Path) -> Iterator[Any]:
    folder = tmp_path / "vehicle"
    folder.mkdir()
    yield from vehicle_in(folder, case.vehicle)


def wait_for_text(vehicle: ArduPilot, part: str) -> None:
    """Wait for a STATUSTEXT, which may follow the mode that it explains."""
    vehicle.until(lambda: any(part in text for text in vehicle.texts), 5.0, part)


@those(PLANE, QUADPLANE, ROVER, SUB)
def test_each_class_has_our_battery_its_arming_check_and_its_failsafes(
    case: Case, vehicle: ArduPilot
) -> None:
    service = Service(vehicle)
    check_arming(vehicle, service)
    theirs = vehicle.last[1, 0]
    assert (theirs.temperature, theirs.battery_remaining) == (2512, 80)
    assert theirs.current_consumed == pytest.approx(0.191 * 5000, abs=1.0)
    vehicle.set_off()

    assert vehicle.mode not in (case.low, case.critical)
    service.values["soc_pct"] = 24.0  # 1200 mAh, below BATT_LOW_MAH
    took_s = vehicle.until(lambda: vehicle.mode == case.low, 10.0, "its own failsafe")
    assert took_s < 3.0
    wait_for_text(vehicle, "Battery 1 is low")
    service.values["soc_pct"] = 8.0  # below BATT_CRT_MAH
    vehicle.until(lambda: vehicle.mode == case.critical, 10.0, "its critical failsafe")
    wait_for_text(vehicle, "is critical")


@those(PLANE, QUADPLANE, ROVER, SUB)
def test_arming_of_each_class_is_refused_while_the_pack_does_not_last_for_the_mission(
    case: Case, vehicle: ArduPilot
) -> None:
    service = Service(vehicle)
    vehicle.wait_ready()
    no = {"mission_verdict": Verdict.NO, "mission_needs_mah": 14_100.0, "usable_mah": 12_800.0}
    service.values |= no
    vehicle.fly(5.0)
    assert vehicle.command(400, 1) != 0
    wait_for_text(vehicle, "mission needs 14.1 Ah of 12.8")
    assert not vehicle.armed
    service.values |= {"mission_verdict": Verdict.YES, "usable_mah": 15_000.0}
    vehicle.set_off()
    assert vehicle.armed
    assert vehicle.name == case.vehicle.name


HOME = Action("cell_sag", ActionKind.RETURN, hold_s=1.0, escalate=ActionKind.LAND)
DOWN = Action("cell_emergency", ActionKind.LAND, hold_s=0.0)


@those(PLANE, QUADPLANE, ROVER, SUB)
def test_a_weak_cell_returns_each_class_and_a_collapsing_one_lands_it(
    case: Case, vehicle: ArduPilot, tmp_path: Path
) -> None:
    pack = guarded(vehicle, tmp_path, HOME, DOWN)
    vehicle.wait_ready()
    vehicle.set_off()
    vehicle.fly(3.0)
    before = vehicle.mode
    assert before not in (case.returns, case.lands)
    pack.weak_v = 3.36
    took_s = vehicle.until(lambda: vehicle.mode == case.returns, 15.0, "our return")
    assert took_s < 3.0 + 1.0 + 2.0  # debounce of the limit and of the action, and transport
    wait_for_text(vehicle, "low cell voltage under load")
    vehicle.fly(2.0)
    pack.weak_v = 3.0
    vehicle.until(lambda: vehicle.mode == case.lands, 15.0, "our landing")
    vehicle.fly(3.0)
    assert vehicle.mode == case.lands
    assert not any("pilot" in text for text in vehicle.texts), vehicle.texts


@those(PLANE, QUADPLANE, ROVER, SUB)
def test_a_pilot_of_each_class_may_choose_another_mode_after_our_command(
    case: Case, vehicle: ArduPilot, tmp_path: Path
) -> None:
    pack = guarded(vehicle, tmp_path, HOME)
    vehicle.wait_ready()
    vehicle.set_off()
    pack.weak_v = 3.36
    vehicle.until(lambda: vehicle.mode == case.returns, 15.0, "our return")
    vehicle.change_mode(case.pilot)
    vehicle.fly(10.0)
    assert vehicle.mode == case.pilot
    wait_for_text(vehicle, "pilot has chosen another mode")


def drawn_a(vehicle: ArduPilot, pwm: int, seconds: float = 6.0) -> float:
    """Mean current of the motors at the end of a time with this throttle."""
    drawn: list[float] = []
    end_s = vehicle.clock.now_s() + seconds

    def push() -> bool:
        vehicle.throttle(pwm)
        if vehicle.clock.now_s() > end_s - 0.4 * seconds:
            drawn.append(vehicle.last[1, 1].current_battery / 100)
        return vehicle.clock.now_s() >= end_s

    vehicle.until(push, seconds + 30.0, "full throttle")
    return sum(drawn) / len(drawn)


@dataclass(frozen=True)
class Limited:
    """A class whose current is limited, in a manual mode at a throttle that draws much."""

    case: Case
    prefix: str  # of its parameters
    mode: int
    pwm: int
    limit_a: float


@pytest.mark.parametrize(
    "limited",
    [
        pytest.param(
            Limited(QUADPLANE, "Q_M_", QuadPlane.qstabilize, 2000, 40.0), marks=needs(QuadPlane)
        ),
        pytest.param(Limited(SUB, "MOT_", Sub.manual, 1000, 12.0), marks=needs(Sub)),
    ],
    ids=lambda one: one.case.vehicle.name,
)
def test_the_governor_limits_the_current_of_each_class_that_has_a_limit(
    limited: Limited, tmp_path: Path
) -> None:
    folder = tmp_path / "vehicle"
    folder.mkdir()
    with launched(folder, limited.case.vehicle) as vehicle:
        service = Service(vehicle, tmp_path)
        vehicle.wait_ready()
        names = [f"{limited.prefix}BAT_CURR_{end}" for end in ("MAX", "TC")]
        own = [vehicle.parameter(name) for name in names]
        vehicle.set_off()
        vehicle.throttle(1500)
        vehicle.change_mode(limited.mode)
        free_a = drawn_a(vehicle, limited.pwm)
        service.max_a = limited.limit_a
        vehicle.throttle(1500)
        vehicle.fly(2.0)
        assert [vehicle.parameter(name) for name in names] == [limited.limit_a, 1.0]
        limited_a = drawn_a(vehicle, limited.pwm)
        sys.stdout.write(f"{vehicle.name}: {free_a:.1f} A, limited {limited_a:.1f} A\n")
        assert free_a > 1.3 * limited.limit_a
        assert limited_a < 1.1 * limited.limit_a
        service.crash()
        vehicle.fly(4.0)
        assert [vehicle.parameter(name) for name in names] == own


@those(ROVER)
def test_the_speed_of_a_rover_is_limited_and_restored(
    case: Case, vehicle: Rover, tmp_path: Path
) -> None:
    service = Service(vehicle, tmp_path)
    vehicle.wait_ready()
    vehicle.set_off()
    service.action = Action(Severity.WARNING, ActionKind.REDUCE, speed_m_s=2.0, climb_m_s=1.0)
    service.max_a = 60.0
    vehicle.until(lambda: vehicle.ground_m_s < 2.2, 20.0, "slow")
    vehicle.fly(5.0)
    assert 1.5 < vehicle.ground_m_s < 2.3
    service.max_a = None
    vehicle.until(lambda: vehicle.ground_m_s > 4.0, 20.0, "its own speed")
    vehicle.until(lambda: not left_behind(tmp_path), 5.0, "no file left")
    assert not any("refused" in text for text in vehicle.texts), vehicle.texts
    assert case.vehicle is Rover


MONITOR = "BATT_MONITOR 4\nBATT_LOW_VOLT 0\nBATT_CRT_VOLT 0\nBATT2_MONITOR 0\n"
MONITORED = """
[[battery]]
bus = "mavlink:0"
cells = 3
capacity_mah = 5000
[mavlink]
url = "udpin:127.0.0.1:{port}"
[state]
dir = "{folder}"
[[action]]
on = "pack_low"
do = "return"
hold_s = 1.0
escalate = "land"
"""


@dataclass(frozen=True)
class Way:
    """The return of one class by parameters that are not its defaults."""

    case: Case
    parameters: str
    plan: dict[str, Any]
    to: ReturnTo  # RALLY_INCL_HOME is 0 on ArduPlane unless it is set
    changed: tuple[str, float, str, float]  # a parameter, its value, the field, its value


WAYS = (
    Way(
        PLANE,
        "RTL_ALTITUDE 60\nTECS_CLMB_MAX 4\nTECS_SINK_MAX 3\nRTL_AUTOLAND 0\n",
        {
            "cruise_m_s": 22.0,
            "climb_m_s": 4.0,
            "descent_m_s": 3.0,
            "height_m": 60.0,
            "lands": False,
        },
        ReturnTo.RALLY,
        ("RTL_ALTITUDE", 80.0, "height_m", 80.0),
    ),
    Way(
        QUADPLANE,
        "RTL_ALTITUDE 60\nQ_RTL_MODE 1\nQ_RTL_ALT 18\nQ_WP_SPEED_DN 120\nQ_LAND_FINAL_SPD 0.4\n"
        "Q_LAND_FINAL_ALT 5\nTECS_CLMB_MAX 4\n",
        {
            "cruise_m_s": 25.0,
            "climb_m_s": 4.0,
            "descent_m_s": 1.2,
            "landing_m_s": 0.4,
            "landing_height_m": 5.0,
            "wait_height_m": 18.0,
            "height_m": 60.0,
            "lands": True,
        },
        ReturnTo.RALLY,
        ("Q_RTL_ALT", 25.0, "wait_height_m", 25.0),
    ),
    Way(
        ROVER,
        "RTL_SPEED 3\n",
        {"cruise_m_s": 3.0, "lands": False},
        ReturnTo.HOME_OR_RALLY,
        ("RTL_SPEED", 0.0, "cruise_m_s", 5.0),
    ),
)


@pytest.mark.parametrize(
    "way",
    [pytest.param(way, marks=needs(way.case.vehicle), id=way.case.vehicle.name) for way in WAYS],
)
def test_the_way_home_of_each_class_is_that_of_its_parameters(way: Way, tmp_path: Path) -> None:
    folder = tmp_path / "vehicle"
    folder.mkdir()
    with launched(folder, way.case.vehicle, parameters=way.parameters, script=False) as vehicle:
        service = Service(vehicle)

        def returns() -> ReturnPlan | None:
            return None if service.state.plan is None else service.state.plan.returns

        vehicle.until(lambda: returns() is not None, 60.0, "the return")
        found = returns()
        assert found is not None
        assert found.missing == ()
        assert found.to is way.to
        for field, value in way.plan.items():
            assert getattr(found, field) == pytest.approx(value, abs=1e-3), field
        name, value, field, expected = way.changed
        vehicle.set(name, value)

        def changed() -> bool:
            return bool(getattr(returns(), field) == pytest.approx(expected, abs=1e-3))

        vehicle.until(changed, 70.0, "the changed return")


@pytest.fixture
def monitored(case: Case, tmp_path: Path) -> Iterator[tuple[Any, Served]]:
    """A vehicle whose own monitor is the source of a service."""
    folder = tmp_path / "vehicle"
    folder.mkdir()
    with launched(folder, case.vehicle, parameters=MONITOR, script=False) as vehicle:
        config = MONITORED.format(port=vehicle.companion, folder=tmp_path)
        yield vehicle, Served(vehicle, config)


@those(ROVER)
def test_the_way_home_takes_the_computed_time(case: Case, monitored: tuple[Rover, Served]) -> None:
    vehicle, served = monitored
    vehicle.wait_ready()
    vehicle.set_off()
    vehicle.go_away(600.0)
    # It turns round and brakes at home, some ten seconds that the computation does not have.
    vehicle.until(lambda: vehicle.home_m > 500.0, 200.0, "away from home")
    estimate = served.reports[-1].estimate
    assert estimate.home_s is not None, estimate.verdict_missing
    vehicle.change_mode(case.returns)
    took_s = vehicle.until(lambda: vehicle.home_m < 4.0, 300.0, "home")
    sys.stdout.write(f"{vehicle.name}: computed {estimate.home_s:.0f} s, took {took_s:.0f} s\n")
    assert took_s == pytest.approx(estimate.home_s, rel=0.2)


@pytest.mark.parametrize(
    ("case", "auto", "height_m"),
    [
        pytest.param(PLANE, Plane.auto, 40.0, marks=needs(Plane), id="ArduPlane"),
        pytest.param(QUADPLANE, QuadPlane.auto, 40.0, marks=needs(QuadPlane), id="QuadPlane"),
        pytest.param(ROVER, Rover.auto, 0.0, marks=needs(Rover), id="Rover"),
        pytest.param(SUB, Sub.auto, -10.0, marks=needs(Sub), id="ArduSub"),
    ],
)
def test_the_mission_of_each_class_is_read_and_followed(
    case: Case, auto: int, height_m: float, vehicle: ArduPilot
) -> None:
    service = Service(vehicle)
    lat_deg, lon_deg = HOME_DEG
    norths_deg = (0.0009, 0.0018, 0.0027)
    mission = [
        item(16, at=(lat_deg, lon_deg, vehicle.field_m), frame=0),
        *(item(16, at=(lat_deg + north_deg, lon_deg, height_m)) for north_deg in norths_deg),
    ]

    def known() -> tuple[MissionItem, ...]:
        return () if service.state.plan is None else service.state.plan.items or ()

    vehicle.wait_ready()
    vehicle.upload(mission)
    vehicle.until(lambda: len(known()) == len(mission), 70.0, "the mission")
    places = [one.place for one in known()[1:]]
    found = [(one.lat_deg, one.alt_m, one.above_home) for one in places if one is not None]
    expected = [(lat_deg + north_deg, height_m, True) for north_deg in norths_deg]
    assert found == [pytest.approx(row, abs=1e-6) for row in expected]
    vehicle.set_off()
    vehicle.change_mode(auto)
    vehicle.until(lambda: (service.state.mission_item or 0) >= 2, 120.0, "the second waypoint")
    assert case.vehicle.name == vehicle.name


@those(SUB)
def test_a_submarine_has_no_way_home(case: Case, vehicle: ArduPilot) -> None:
    service = Service(vehicle)
    vehicle.wait_ready()
    vehicle.fly(10.0)
    assert service.state.vehicle_class == "ArduSub"
    assert service.state.plan is None or service.state.plan.returns is None
    assert case.vehicle is Sub


@those(PLANE, QUADPLANE, ROVER, SUB)
def test_the_check_sets_failsafe_actions_that_each_class_carries_out(
    case: Case, vehicle: ArduPilot
) -> None:
    vehicle.until(lambda: "HEARTBEAT" in vehicle.last, 60.0, "a heartbeat")
    for name in ("BATT_FS_LOW_ACT", "BATT_FS_CRT_ACT"):
        vehicle.set(name, 2 if case is SUB else 0)
    url = f"udpin:127.0.0.1:{vehicle.companion}"
    use = VehicleUse(5000.0, (ActionKind.LAND,))
    lines, fits = check_vehicle(MavlinkConfig(), use, url, vehicle.clock)
    assert not fits
    lines, fits = check_vehicle(MavlinkConfig(), use, url, vehicle.clock, set_wrong=True)
    assert fits, lines
    low, critical = (vehicle.parameter(f"BATT_FS_{which}_ACT") for which in ("LOW", "CRT"))
    assert (low, critical) == ((3, 3) if case is SUB else (1, 2))


@those(PLANE, QUADPLANE, ROVER, SUB)
def test_the_monitor_of_each_class_is_a_source_that_returns_it(
    case: Case, monitored: tuple[ArduPilot, Served]
) -> None:
    vehicle, served = monitored
    vehicle.wait_ready()
    vehicle.set_off()
    if case is QUADPLANE:  # its simulated pack has no resistance: still voltages are unknown
        vehicle.set("SIM_BATT_VOLTAGE", 12.5)
    vehicle.fly(5.0)
    read, theirs = served.reports[-1].snapshot, vehicle.last["SYS_STATUS"]
    assert read.voltage_v == pytest.approx(theirs.voltage_battery / 1000, abs=0.3)
    if case is not QUADPLANE:  # its voltage fell long after its current rose: that is doubted
        assert read.current_a is not None
        assert read.current_a > 0.2
    assert read.cells_v == ()
    assert vehicle.mode not in (case.returns, case.lands)
    for step in range(30):  # as a pack falls under its load
        vehicle.set("SIM_BATT_VOLTAGE", 12.5 - 0.1 * step)
        vehicle.fly(0.3)
    vehicle.until(lambda: vehicle.mode == case.returns, 20.0, "our return")
    wait_for_text(vehicle, "pack voltage at cut-off")
    # What the vehicle measures is never sent back to it.
    assert not [key for key in vehicle.last if key in ((180, "BATTERY_STATUS"), (180, 0))]

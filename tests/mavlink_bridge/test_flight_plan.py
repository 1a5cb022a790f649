# SPDX-License-Identifier: Apache-2.0
"""The vehicle state has the vehicle's plan, the item that is flown to, and what carries it."""

from pathlib import Path

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.clock import VirtualClock
from dronebms.core.report import Action, ActionKind, ActionRequest, Severity
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.components import BridgeOptions
from mavlink_bridge.vehicle.vehicle_control import VehicleControl
from tests.mavlink_bridge.fake_missions import MISSION, RALLY, MissionVehicle, item, survey
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, COPTER, PLANE, PX4, VTOL, Flight
from tests.mavlink_bridge.vehicle.test_return_parameters import (
    COPTER_PLAN,
    COPTER_SPEEDS,
    NEW_COPTER,
    release,
)

STACKS = pytest.mark.parametrize("autopilot", [ARDUPILOT, PX4])


def flight_with(autopilot: int, items: int, folder: Path | None = None) -> Flight:
    vehicle = MissionVehicle(autopilot, **NEW_COPTER)
    vehicle.release = release(4, 7)
    vehicle.lists = {MISSION: survey(items), RALLY: []}
    return Flight(vehicle, folder)


@pytest.mark.parametrize("with_control", [False, True])
def test_the_plan_has_every_part_with_and_without_vehicle_control(
    tmp_path: Path, *, with_control: bool
) -> None:
    flight = flight_with(ARDUPILOT, 4, tmp_path if with_control else None)
    assert flight.bridge.pump(0.0).plan is None
    flight.fly(12.0)
    plan = flight.bridge.pump(flight.now_s).plan
    assert plan is not None
    assert plan.returns is not None
    assert plan.returns.height_m == COPTER_PLAN.height_m
    assert plan.speeds == COPTER_SPEEDS
    assert plan.items is not None
    assert len(plan.items) == 4
    assert plan.rally == ()


@pytest.mark.parametrize(
    ("vehicle_type", "own", "expected"),
    [
        (COPTER, {"CIRCLE_RATE": 999.0}, (0.0, 2.0, 0.0)),
        (COPTER, {"CIRCLE_RATE": -20.0}, (36.0, 0.0, 0.0)),
        (COPTER, {"CIRCLE_RATE": 0.0}, (0.0, 2.0, 0.0)),
        (PLANE, {"WP_LOITER_RAD": -80.0}, (0.0, 2.0, 80.0)),
    ],
)
def test_turns_of_the_mission_are_those_of_the_parameters(
    vehicle_type: int, own: dict[str, float], expected: tuple[float, float, float]
) -> None:
    flight = flight_with(ARDUPILOT, 1)
    assert isinstance(flight.vehicle, MissionVehicle)
    flight.vehicle.vehicle_type = vehicle_type
    flight.vehicle.lists[MISSION].append(item(18, 2.0, at=(47.0, 8.0, 30.0)))
    flight.vehicle.parameters |= own
    flight.fly(30.0)
    plan = flight.bridge.pump(flight.now_s).plan
    assert plan is not None
    assert plan.items is not None
    assert (plan.items[1].hold_s, plan.items[1].turns, plan.items[1].radius_m) == expected


@STACKS
def test_an_unchanged_plan_is_the_same_object(autopilot: int) -> None:
    flight = flight_with(autopilot, 4)
    flight.fly(30.0)
    plan = flight.bridge.pump(flight.now_s).plan
    flight.fly(120.0)
    assert plan is not None
    assert flight.bridge.pump(flight.now_s).plan is plan


def test_a_plan_outlives_the_silence_of_the_vehicle() -> None:
    flight = flight_with(ARDUPILOT, 4)
    flight.fly(12.0)
    flight.vehicle.sends_heartbeats = False
    flight.fly(60.0)
    state = flight.bridge.pump(flight.now_s)
    assert state.armed is None
    assert state.mission_item is None
    assert state.plan is not None


def test_nothing_is_read_while_the_vehicle_is_restored_at_the_end(tmp_path: Path) -> None:
    flight = flight_with(ARDUPILOT, 200, tmp_path)
    flight.fly(3.0)
    control = flight.bridge.vehicle_control
    assert control is not None
    control._speeds._saved.values = {"WP_SPD": 5.0}  # left to restore
    before = len(flight.vehicle.received)
    clock = VirtualClock()
    clock.sleep_until(flight.now_s)
    flight.bridge.restore_parameters(clock)
    kinds = {message.get_type() for message in flight.vehicle.received[before:]}
    assert kinds
    assert not {kind for kind in kinds if kind.startswith("MISSION")}


@STACKS
@pytest.mark.parametrize("seq", [0, 2, 3])
def test_the_item_that_is_flown_to_is_known_while_it_is_fresh(autopilot: int, seq: int) -> None:
    flight = flight_with(autopilot, 4)
    assert isinstance(flight.vehicle, MissionVehicle)
    flight.vehicle.seq = seq
    flight.fly(2.0)
    assert flight.bridge.pump(flight.now_s).mission_item == seq
    flight.vehicle.sends_current = False
    flight.fly(4.0)
    assert flight.bridge.pump(flight.now_s).mission_item == seq
    flight.fly(3.0)
    assert flight.bridge.pump(flight.now_s).mission_item is None


@STACKS
@pytest.mark.parametrize(("items", "seq"), [(0, 0), (4, 0xFFFF)])
def test_no_item_is_flown_to_without_a_mission(autopilot: int, items: int, seq: int) -> None:
    flight = flight_with(autopilot, items)
    assert isinstance(flight.vehicle, MissionVehicle)
    flight.vehicle.seq = seq
    flight.fly(2.0)
    assert flight.bridge.pump(flight.now_s).mission_item is None


@pytest.mark.parametrize(
    ("vehicle_type", "vtol_state", "on_wing"),
    [
        (COPTER, None, False),
        (COPTER, 0, False),
        (PLANE, None, None),  # perhaps a quadplane
        (PLANE, 0, True),
        (PLANE, 3, False),
        (PLANE, 4, True),
        (VTOL, None, None),
        (VTOL, 0, None),
        (VTOL, 1, False),
        (VTOL, 2, False),
        (VTOL, 3, False),
        (VTOL, 4, True),
    ],
)
def test_what_carries_the_vehicle_is_its_type_or_its_vtol_state(
    vehicle_type: int,
    vtol_state: int | None,
    on_wing: bool | None,  # noqa: FBT001 - a row
) -> None:
    vehicle = MissionVehicle(PX4)
    vehicle.vehicle_type = vehicle_type
    flight = Flight(vehicle, None)
    flight.fly(1.0)
    if vtol_state is not None:
        vehicle.emit(mavlink.MAVLink_extended_sys_state_message(vtol_state, 2))
    flight.fly(0.5)
    assert flight.bridge.pump(flight.now_s).on_wing is on_wing
    vehicle.sends_heartbeats = False
    flight.fly(5.0)
    assert flight.bridge.pump(flight.now_s).on_wing is None


def test_values_that_are_limited_meanwhile_stay_limited(tmp_path: Path) -> None:
    """Reading the speeds of the return again never cancels a limit that is being set."""
    parameters = VehicleControl(tmp_path).parameters
    parameters.set("WP_SPD", 3.0)
    parameters.refresh("WP_SPD", "RTL_ALT_M")
    assert parameters.pending() == {"WP_SPD", "RTL_ALT_M"}
    sent = parameters.due(1, 0.0, bytewise=False)
    assert [m.get_type() for m in sent] == ["PARAM_REQUEST_READ"] * 2  # the type is needed first
    parameters.receive(
        mavlink.MAVLink_param_value_message(b"WP_SPD", 10.0, 9, 1, 0), bytewise=False
    )
    assert "PARAM_SET" in {m.get_type() for m in parameters.due(1, 2.0, bytewise=False)}


def test_a_known_value_stays_without_an_answer_to_its_refresh(tmp_path: Path) -> None:
    parameters = VehicleControl(tmp_path).parameters
    parameters.read("WP_SPD")
    parameters.receive(
        mavlink.MAVLink_param_value_message(b"WP_SPD", 10.0, 9, 1, 0), bytewise=False
    )
    parameters.refresh("WP_SPD")
    for now_s in range(10):
        parameters.due(1, float(now_s), bytewise=False)
    assert parameters.values == {"WP_SPD": 10.0}
    assert parameters.requested() == frozenset()


def test_a_second_run_reads_the_same_plan() -> None:
    flight = flight_with(ARDUPILOT, 4)
    flight.fly(12.0)
    first = flight.bridge.pump(flight.now_s).plan
    flight.bridge, flight.now_s = Bridge(flight.vehicle), 0.0
    flight.fly(12.0)
    assert flight.bridge.pump(flight.now_s).plan == first


@pytest.mark.parametrize(
    ("autopilot", "version", "choice", "expected"),
    [
        (ARDUPILOT, release(4, 7), None, 600),
        (ARDUPILOT, release(4, 7), "low", 400),
        (PX4, release(1, 17), None, 600),
        (PX4, release(1, 18), None, 400),
        (PX4, release(1, 18), "median", 600),
        (PX4, 0, None, 600),
    ],
)
def test_an_autopilot_that_acts_on_the_time_receives_its_bound_unless_configured(
    autopilot: int, version: int, choice: str | None, expected: int
) -> None:
    vehicle = MissionVehicle(autopilot)
    vehicle.release = version
    flight = Flight(vehicle, None, options=BridgeOptions(report_time=choice))
    flight.values = {"remaining_s": 600.0, "remaining_low_s": 400.0}
    flight.fly(5.0)
    times_s = [m.time_remaining for m in vehicle.received if m.get_type() == "BATTERY_STATUS"]
    assert times_s[-1] == expected


@pytest.mark.parametrize(("item_number", "commands"), [(1, [(189, 0)]), (3, [])])
def test_a_plane_on_its_final_approach_is_not_sent_around(
    tmp_path: Path, item_number: int, commands: list[tuple[int, int]]
) -> None:
    """ArduPlane reports no landing: the item that it flies to shows it."""
    vehicle = MissionVehicle(ARDUPILOT)
    vehicle.vehicle_type, vehicle.lands_by_mission, vehicle.mode = PLANE, True, 10  # AUTO
    places = ((47.0, 8.0, 0.0), (47.01, 8.0, 50.0), (47.02, 8.0, 0.0))
    start, land = item(189), item(21, at=places[2])
    vehicle.lists[MISSION] = [item(16, at=places[0]), item(16, at=places[1]), start, land]
    vehicle.seq = item_number
    flight = Flight(vehicle, tmp_path)
    flight.fly(20.0)
    action = Action(Severity.EMERGENCY, ActionKind.LAND)
    flight.requests = (ActionRequest(action, (0, 2, 20.0), "cell_emergency"),)
    flight.fly(5.0)
    assert vehicle.commands == commands

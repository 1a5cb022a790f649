# SPDX-License-Identifier: Apache-2.0
"""Restart state: a stage that is restored from JSON continues to the last bit."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from pydantic import TypeAdapter

from dronebms.core.clock import VirtualClock
from dronebms.core.pack_data import PackData
from dronebms.core.report import GOVERNOR, Action, ActionKind, Estimate, Severity, Status
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.estimator import Estimator
from dronebms.monitoring.consistency import ConsistencyCheck
from dronebms.monitoring.plausibility import PlausibilityCheck
from dronebms.protection.actions import Actions
from dronebms.protection.alarms import Alarms
from dronebms.protection.current_history import CurrentHistoryState
from dronebms.protection.limits import default_limits
from dronebms.protection.quantities import QuantitiesState
from sim.emulator.world import open_virtual
from sim.plant.faults import parse_fault
from smartbattery.gauge import Gauge
from smartbattery.snapshot import Snapshot

STEPS = 1800
FAULTS = ("ffff_cells@20", "hot_cell@60", "unplug@70-75", "gauge_reset@90", "frozen@110-150")
WRONG_WORD = range(180, 400)  # steps in which the voltage of the pack is not that of its cells
ACTIONS = (
    Action(Severity.WARNING, ActionKind.RETURN, hold_s=2.0, cooldown_s=5.0),
    Action(GOVERNOR, ActionKind.REDUCE, hold_s=0.0),
    Action("silent", ActionKind.LAND, hold_s=1.0),
)
MOMENTS = (0, 1, 205, 715, 735, 760, 1200, 1450)


@dataclass(frozen=True)
class Step:
    """Input and output of every stage at one step."""

    polled: Snapshot
    plausible: Snapshot
    snapshot: Snapshot
    estimate: Estimate
    vehicle: VehicleState
    status: Status
    requests: tuple[Any, ...]


RUN: dict[str, Callable[[Any, Step, PackData], object]] = {
    "plausibility": lambda stage, step, pack_data: stage.check(step.polled, pack_data),
    "consistency": lambda stage, step, pack_data: stage.check(step.plausible, pack_data),
    "alarms": lambda stage, step, _: stage.update(step.snapshot, step.estimate, step.vehicle),
    "actions": lambda stage, step, _: stage.update(step.status, step.vehicle, step.status.t_s),
}
MADE: dict[str, Callable[[Step], object]] = {
    "plausibility": lambda step: step.plausible,
    "consistency": lambda step: step.snapshot,
    "alarms": lambda step: step.status,
    "actions": lambda step: step.requests,
}


@cache
def flight() -> tuple[PackData, tuple[Step, ...], dict[int, dict[str, Any]]]:
    """One virtual flight: its pack, its steps, and the states of the stages at some of them."""
    clock = VirtualClock()
    bus, world = open_virtual("cold_climb", clock, 3, [parse_fault(text) for text in FAULTS])
    gauge = Gauge(bus)
    pack_data = replace(world.pack_data(), continuous_c=2.0)
    stages: dict[str, Any] = {
        "plausibility": PlausibilityCheck(),
        "consistency": ConsistencyCheck(),
        "alarms": Alarms(default_limits(pack_data), pack_data),
        "actions": Actions(ACTIONS),
    }
    estimator = Estimator(pack_data)
    steps: list[Step] = []
    states: dict[int, dict[str, Any]] = {}
    for number in range(STEPS):
        if number in MOMENTS:
            states[number] = {name: stage.state() for name, stage in stages.items()}
        t_s = number / 10
        clock.sleep_until(t_s)
        vehicle = world.vehicle(t_s)
        polled = gauge.poll(t_s)
        if number in WRONG_WORD and polled.voltage_v is not None:
            polled = replace(polled, voltage_v=1.1 * polled.voltage_v)
        plausible = stages["plausibility"].check(polled, pack_data)
        snapshot = stages["consistency"].check(plausible, pack_data)
        estimate = estimator.update(snapshot, vehicle)
        status = stages["alarms"].update(snapshot, estimate, vehicle)
        requests = stages["actions"].update(status, vehicle, t_s)
        steps.append(Step(polled, plausible, snapshot, estimate, vehicle, status, requests))
    return pack_data, tuple(steps), states


def through_json(state: Any) -> Any:  # noqa: ANN401 - of every stage
    adapter = TypeAdapter(type(state))
    return adapter.validate_json(adapter.dump_json(state))


def test_the_flight_exercises_every_part_of_the_state() -> None:
    _, steps, states = flight()
    active = {limit_id for step in steps for limit_id in step.status.active}
    assert {"silent", "warming", "cold"} <= active
    assert {request.action.do for step in steps for request in step.requests} == {*ActionKind}
    assert any(step.status.asked_max_a is not None for step in steps)
    assert any(step.polled != step.plausible for step in steps)
    assert any(step.snapshot.doubts for step in steps)
    late = states[MOMENTS[-1]]
    assert late["alarms"].time_to_trip.trips_in_s
    assert late["alarms"].governor.power_w > 0.0


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", ["plausibility", "consistency", "alarms", "actions"])
def test_a_restored_stage_continues_to_the_last_bit(name: str, moment: int) -> None:
    pack_data, steps, states = flight()
    restored: dict[str, Callable[[Any], object]] = {
        "plausibility": PlausibilityCheck,
        "consistency": ConsistencyCheck,
        "alarms": lambda state: Alarms(default_limits(pack_data), pack_data, state),
        "actions": lambda state: Actions(ACTIONS, state=state),
    }
    stage = restored[name](through_json(states[moment][name]))
    for step in steps[moment:]:
        assert RUN[name](stage, step, pack_data) == MADE[name](step)


@pytest.mark.parametrize("name", ["plausibility", "consistency", "alarms", "actions"])
def test_a_state_does_not_change_when_its_stage_or_a_restored_one_continues(name: str) -> None:
    _, _, states = flight()
    state = states[1200][name]
    adapter: TypeAdapter[Any] = TypeAdapter(type(state))
    before = adapter.dump_json(state)
    test_a_restored_stage_continues_to_the_last_bit(name, 1200)
    assert adapter.dump_json(state) == before


def test_a_state_that_no_stage_has_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        CurrentHistoryState(times_s=(1.0, 2.0), drawn_as=(0.0,))
    with pytest.raises(ValueError, match="heat_a2 is -1"):
        QuantitiesState(heat_a2=-1.0)

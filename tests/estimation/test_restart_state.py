# SPDX-License-Identifier: Apache-2.0
"""An estimator that is restored from its state continues exactly."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from dronebms.core.chemistry import LIPO
from dronebms.core.clock import VirtualClock
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.estimation import Estimator, LearnedPack
from dronebms.estimation.estimator import EstimatorState
from dronebms.estimation.learning.learned_pack import Known
from dronebms.flightlogs.csv_log import read_csv_log
from dronebms.flightlogs.source import FlightSource
from sim.emulator.world import open_virtual
from smartbattery.gauge import Gauge
from smartbattery.snapshot import Snapshot
from tests.snapshots import FACTS, look

FLIGHTS = Path(__file__).parents[1] / "data" / "flights"
STATE = TypeAdapter(EstimatorState)
Step = tuple[Snapshot, VehicleState]


def through_json(state: EstimatorState) -> EstimatorState:
    return STATE.validate_json(STATE.dump_json(state))


def check_restarts(fresh: Estimator, steps: Sequence[Step], restarts: Sequence[int]) -> None:
    """Fly once; from each restart on, a restored estimator gives the same estimates."""
    estimator = fresh.with_state(fresh.state())
    restored: dict[int, Estimator] = {}
    for k, (snapshot, vehicle) in enumerate(steps):
        if k in restarts:
            state = estimator.state()
            assert through_json(state) == state
            restored[k] = fresh.with_state(through_json(state))
        expected = estimator.update(snapshot, vehicle)
        for start, other in restored.items():
            assert other.update(snapshot, vehicle) == expected, (start, k)
    assert len(restored) == len(restarts)
    learned = estimator.learn()
    assert learned.pack is not None
    for other in restored.values():
        assert other.learn() == learned


def computed(name: str) -> tuple[PackData, list[Step]]:
    flight = read_csv_log(next(FLIGHTS.glob(f"{name}_*.csv.gz")))
    source = FlightSource(flight)
    ticks = list(source.ticks())
    return flight.pack_data, [(source.poll(t_s), UNKNOWN_VEHICLE) for t_s in ticks]


def learned_from(name: str) -> LearnedPack:
    pack_data, steps = computed(name)
    estimator = Estimator(pack_data)
    for snapshot, vehicle in steps:
        estimator.update(snapshot, vehicle)
    learned = estimator.learn().pack
    assert learned is not None
    return learned


@pytest.mark.slow
@pytest.mark.parametrize("name", ["F32", "F43"])
def test_a_computed_flight_continues_to_the_last_bit(name: str) -> None:
    pack_data, steps = computed(name)
    count = len(steps)
    restarts = [0, 1, 5, count // 7, count // 3, count // 2 + 3, count - 20]
    check_restarts(Estimator(pack_data), steps, restarts)


def test_a_flight_of_a_known_pack_continues_to_the_last_bit() -> None:
    learned = learned_from("F31")
    pack_data, steps = computed("F32")
    pack_data = replace(pack_data, pack_id="P10")
    count = len(steps)
    check_restarts(
        Estimator(pack_data, lambda _: Known(learned)), steps, [0, 3, count // 3, count - 20]
    )


def virtual(count: int) -> tuple[PackData, list[Step]]:
    """The first steps of a virtual pack's flight, ten a second."""
    clock = VirtualClock()
    bus, world = open_virtual("survey", clock, 1)
    pack_data = world.pack_data()
    gauge = Gauge(bus, cells=pack_data.cells)
    steps: list[Step] = []
    for k in range(count):
        clock.sleep_until(k / 10)
        steps.append((gauge.poll(k / 10), world.vehicle(k / 10)))
    return pack_data, steps


def test_a_virtual_pack_continues_to_the_last_bit() -> None:
    pack_data, steps = virtual(6000)
    check_restarts(Estimator(pack_data), steps, [2, 604, 3001, 5555])


def test_what_is_computed_once_for_a_second_is_that_of_each_of_its_readings() -> None:
    pack_data, steps = virtual(450)
    estimator = Estimator(pack_data)
    for k, (snapshot, vehicle) in enumerate(steps):
        other = estimator.with_state(estimator.state())  # has computed nothing yet
        if k > 20 and k % 3 == 0:  # while nothing is read, too
            snapshot = replace(snapshot, read_at_s=steps[k - 1][0].read_at_s)  # noqa: PLW2901 - so
        assert other.update(snapshot, vehicle) == estimator.update(snapshot, vehicle), k


def test_a_current_that_is_lost_and_a_gap_are_remembered() -> None:
    steps: list[Step] = []
    for k in range(900):
        t_s = k * 0.5
        if 200.0 < t_s < 215.0:
            continue
        snapshot = look(t_s, 3.95 - 0.0012 * t_s, 25.0 + t_s % 1.7)
        snapshot = replace(snapshot, full_mah=5000.0, remaining_mah=4800.0 - 7.1 * t_s)
        if 100.0 < t_s < 180.0:
            snapshot = replace(snapshot, current_a=None)
        steps.append((snapshot, UNKNOWN_VEHICLE))
    check_restarts(Estimator(FACTS), steps, [150, 250, 301, 345, 401, 430, 800])


def test_an_estimator_before_its_first_reading_is_restored() -> None:
    fresh = Estimator(FACTS)
    assert fresh.update(Snapshot(0.0)) == Estimate(0.0)
    state = through_json(fresh.state())
    assert state == fresh.state()
    assert state.stages is None
    assert fresh.with_state(state).update(look(1.0)) == fresh.update(look(1.0))


def test_a_restored_estimator_shares_nothing_with_the_one_it_is_made_from() -> None:
    estimator = Estimator(FACTS)
    for t in range(100):
        estimator.update(look(float(t), 3.9 - 0.001 * t, 25.0 + t % 2))
    state = estimator.state()
    other = estimator.with_state(state)
    for t in range(100, 200):
        other.update(look(float(t), 3.9 - 0.001 * t, 25.0 + t % 2))
    assert estimator.state() == state
    assert other.state() != state


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("prior_x", (0.0,), "prior_x has 1 elements, not 16"),
        ("fitted_x", (99.0,) * 16, "fitted_x has an element beyond 10"),
        ("prior_gap", (0.0, 11.0, 0.0), "prior_gap has an element beyond 10"),
        ("root", ((1.0,) * 16,), "root has 1 rows, not 16"),
        ("covariance", ((1.0,),) * 16, "covariance has a row without 16 elements"),
        ("pending", ((1.0, 2.0),), "pending has a row without 9 elements"),
        ("recent", ((-1.0,) * 9,), "recent has a negative time"),
        ("residuals", ((1.0,),), "residuals has a row without 3 elements"),
        ("full_ah", 0.0, "full_ah is 0"),
    ],
)
def test_a_state_that_is_none_of_a_fit_is_refused_with_the_name_of_the_part(
    name: str, value: object, text: str
) -> None:
    pack_data = PackData(LIPO, cells=4, capacity_mah=5000.0)
    estimator = Estimator(pack_data)
    estimator.update(look(0.0, 4.0, 0.0, cells=4))
    state = estimator.state()
    assert state.stages is not None
    fields: dict[str, Any] = {name: value}
    cell_fit = replace(state.stages.cell_fit, **fields)
    damaged = replace(state, stages=replace(state.stages, cell_fit=cell_fit))
    with pytest.raises(ValueError, match=f"^{text}$"):
        estimator.with_state(damaged)

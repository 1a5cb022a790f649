# SPDX-License-Identifier: Apache-2.0
"""A limit that changes in flight writes few parameters, and is never far above the request."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dronebms.core.report import Action, ActionKind, ActionRequest
from mavlink_bridge.vehicle.parameter_limits import WriteBudget
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, PX4, FakeVehicle, Flight

WRITES_MINUTE, BURST = 4, 5
CURRENT = {"MOT_BAT_CURR_MAX": 0.0, "MOT_BAT_CURR_TC": 5.0}
SPEEDS = {"MPC_XY_VEL_MAX": 12.0, "MPC_XY_CRUISE": 5.0, "MPC_Z_VEL_MAX_UP": 3.0}


def governed(load: Callable[[float], float], seconds: float) -> list[float]:
    """Limits that a governor requests, ten a second: it falls by 50 % and rises by 4 % a second."""
    requested, limits = 100.0, []
    for step in range(round(seconds * 10)):
        requested = max(min(load(step / 10), requested * 1.004), requested * 0.95)
        limits.append(requested)
    return limits


def written(limits: list[float]) -> tuple[list[float], list[float]]:
    """Written limit at each time, and the times of the writes."""
    budget, value, values, times_s = WriteBudget(), math.inf, [], []
    for step, requested in enumerate(limits):
        now_s = step / 10
        due = budget.limit(requested, value, now_s)
        if due is not None:
            value = due
            budget.take(now_s)
            times_s.append(now_s)
        values.append(value)
    return values, times_s


def noise(seed: int, amps: float) -> Callable[[], float]:
    source = np.random.default_rng(seed)
    return lambda: float(source.normal(0.0, amps))


def loads() -> dict[str, Callable[[float], float]]:
    n6, n3, n6b, u = noise(1, 6.0), noise(2, 3.0), noise(3, 6.0), np.random.default_rng(4)
    return {
        "gusts": lambda t_s: 70.0 + 25.0 * math.sin(t_s / 11.0) + n6(),
        "slow": lambda t_s: 70.0 + 25.0 * math.sin(t_s / 50.0) + n3(),
        "fast": lambda t_s: 70.0 + 25.0 * math.sin(t_s / 3.0) + n6b(),
        "steps": lambda t_s: 40.0 if t_s % 80.0 >= 40.0 else 90.0,
        "short steps": lambda t_s: 40.0 if t_s % 14.0 >= 7.0 else 90.0,
        "ramp": lambda t_s: max(20.0, 100.0 - 5.0 * t_s),
        "slow ramp": lambda t_s: max(20.0, 100.0 - 2.0 * t_s),
        "saw": lambda t_s: 100.0 - 0.7 * (t_s % 100.0),
        "random": lambda _t_s: float(u.uniform(20.0, 120.0)),
    }


@pytest.mark.parametrize("name", loads())
def test_gusts_write_few_parameters(name: str) -> None:
    limits = governed(loads()[name], 600.0)
    values, times_s = written(limits)
    assert len(times_s) <= 45
    assert len(times_s) <= 9 or name in ("slow", "saw")  # these ask for a rise each minute
    for start_s in times_s:
        assert sum(start_s <= t_s < start_s + 60.0 for t_s in times_s) <= BURST + WRITES_MINUTE
    above_s = 0.0
    for value, requested in zip(values, limits, strict=True):
        assert value <= requested / 0.75 + 1e-9
        above_s = above_s + 0.1 if value > requested / 0.97 + 1e-9 else 0.0
        assert above_s <= 15.2


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(1.0, 200.0), st.integers(1, 300)), min_size=1, max_size=30
    )  # limit, tenths of a second
)
def test_any_limit_is_written_in_time_and_never_raised_above_the_requested_one(
    steps: list[tuple[float, int]],
) -> None:
    limits = [limit for limit, times in steps for _ in range(times)]
    values, _ = written(limits)
    for previous, value, requested in zip([math.inf, *values], values, limits, strict=False):
        assert value <= requested / 0.75 + 1e-9
        assert value <= previous or value <= requested
    # A rise takes from the budget; falls of a quarter or after 15 s may overdraw it.
    rises = sum(a < b for a, b in itertools.pairwise(values))
    assert rises <= len(limits) / 10 / 30.0 + 1
    assert values[-1] <= limits[-1] / 0.97 + 1e-9 or steps[-1][1] < 152


def sets_in(flight: Flight) -> int:
    return sum(message.get_type() == "PARAM_SET" for message in flight.vehicle.received)


def reduce(max_a: float | None, speed_m_s: float | None = None) -> tuple[ActionRequest, ...]:
    action = Action("governor", ActionKind.REDUCE, speed_m_s=speed_m_s)
    return (ActionRequest(action, (0, 2, 1), "governor", max_a),)


def test_a_flight_of_gusts_sets_few_parameters_of_ardupilot(tmp_path: Path) -> None:
    flight = Flight(FakeVehicle(ARDUPILOT, **CURRENT), tmp_path)
    flight.fly(3.0)
    for limit in governed(loads()["gusts"], 120.0):
        flight.requests = reduce(limit)
        flight.fly(0.1)
    assert sets_in(flight) <= 10  # with MOT_BAT_CURR_TC
    flight.requests = ()
    flight.fly(20.0)
    assert flight.vehicle.parameters == CURRENT


@pytest.mark.parametrize("period_s", [2, 10, 40])
def test_a_limit_that_comes_and_goes_sets_few_parameters_of_px4(
    tmp_path: Path, period_s: int
) -> None:
    vehicle = FakeVehicle(PX4, **SPEEDS)
    vehicle.mode = 3 << 16
    flight = Flight(vehicle, tmp_path)
    flight.fly(3.0)
    seconds = 120
    for _ in range(seconds // period_s):
        flight.requests = reduce(None, speed_m_s=4.0)
        flight.fly(period_s / 2)
        assert vehicle.parameters["MPC_XY_VEL_MAX"] == 4.0 or period_s == 2
        flight.requests = ()
        flight.fly(period_s / 2)
    each = BURST + WRITES_MINUTE * seconds / 60 + 1
    assert sets_in(flight) <= 2 * each  # two of them are limited
    flight.fly(40.0)
    assert vehicle.parameters == SPEEDS


def test_an_unanswered_change_is_repeated_and_costs_no_further_write(tmp_path: Path) -> None:
    flight = Flight(FakeVehicle(ARDUPILOT, **CURRENT), tmp_path)
    flight.fly(3.0)
    flight.requests = reduce(60.0)
    flight.fly(3.0)
    for answers, limit, expected in ((False, 30.0, 60.0), (True, 30.0, 30.0), (True, 20.0, 20.0)):
        flight.vehicle.answers = answers
        flight.requests = reduce(limit)
        flight.fly(40.0)
        assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == expected
    flight.vehicle.answers = False
    flight.requests = ()
    flight.fly(40.0)
    flight.vehicle.answers = True
    flight.fly(20.0)
    assert flight.vehicle.parameters == CURRENT
    assert sets_in(flight) <= 20  # four tries each


def test_on_the_ground_a_limit_is_restored_at_once_also_with_no_write_left(tmp_path: Path) -> None:
    flight = Flight(FakeVehicle(ARDUPILOT, **CURRENT), tmp_path)
    flight.fly(3.0)
    for limit in (100.0, 70.0, 50.0, 35.0, 25.0, 18.0):
        flight.requests = reduce(limit)
        flight.fly(1.0)
    flight.requests = ()
    flight.fly(3.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 18.0  # waits
    flight.vehicle.armed = False
    flight.fly(6.0)
    assert flight.vehicle.parameters == CURRENT

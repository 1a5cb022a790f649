# SPDX-License-Identifier: Apache-2.0
"""What every clock promises, run on every clock there is."""

from collections.abc import Callable

import pytest

from dronebms.core.clock import Clock, PacedClock, SystemClock, VirtualClock

CLOCKS: dict[str, Callable[[], Clock]] = {
    "system": SystemClock,
    "system, fast": lambda: SystemClock(speed=50.0),
    "virtual": VirtualClock,
    "paced": lambda: PacedClock(SystemClock(speed=50.0)),
}


@pytest.fixture(params=CLOCKS)
def clock(request: pytest.FixtureRequest) -> Clock:
    return CLOCKS[request.param]()


def test_it_never_goes_back(clock: Clock) -> None:
    times = [clock.now_s() for _ in range(100)]
    clock.sleep_until(times[-1] + 0.02)
    times.append(clock.now_s())
    clock.sleep_until(times[0] - 1.0)
    times.append(clock.now_s())
    assert times == sorted(times)


def test_after_sleeping_it_is_that_late(clock: Clock) -> None:
    wanted_s = clock.now_s() + 0.05
    clock.sleep_until(wanted_s)
    assert clock.now_s() >= wanted_s


def test_sleeping_until_the_past_returns_at_once(clock: Clock) -> None:
    before_s = clock.now_s()
    clock.sleep_until(before_s - 3600.0)
    assert clock.now_s() - before_s < 3600.0


@pytest.mark.parametrize("make", [VirtualClock, lambda: PacedClock(SystemClock(speed=1000.0))])
def test_a_simulated_flight_is_at_exactly_the_time_that_was_asked(
    make: Callable[[], VirtualClock],
) -> None:
    clock = make()
    for step in range(50):
        clock.sleep_until(step * 0.1)
        assert clock.now_s() == step * 0.1


def test_a_clock_that_stands_still_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        SystemClock(speed=0.0)

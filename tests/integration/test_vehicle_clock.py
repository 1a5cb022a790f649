# SPDX-License-Identifier: Apache-2.0
"""Waiting on the clock of a simulated vehicle that runs slowly, as on a loaded machine.

The vehicle is a test double over a real socket, in virtual wall time.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from tests.integration.copter import Copter
from tests.integration.vehicle_clock import WATCHDOG_S
from tests.mavlink_bridge.autopilot import ARDUPILOT, FakeAutopilot
from tests.mavlink_bridge.simulated import FlownWall, SimulatedVehicle


class FakeProcess:
    """A process that runs until it is ended."""

    def __init__(self) -> None:
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Exit code, `None` while it is running."""
        return self.returncode

    def kill(self) -> None:
        """End it."""
        self.returncode = -9

    def wait(self) -> int | None:
        """Return the exit code."""
        return self.returncode


class FakeCopter(Copter):
    """A copter whose vehicle is a test double."""

    def _start(self) -> Any:  # noqa: ANN401 - in place of a process
        return FakeProcess()


Pair = tuple[SimulatedVehicle, FakeCopter]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A vehicle at a tenth of the wall clock's speed, and its ground station."""
    wall = FlownWall()
    copter = FakeCopter(tmp_path, wall=wall, script=False)
    peer = ("127.0.0.1", copter._socket.getsockname()[1])
    with closing(FakeAutopilot(autopilot=ARDUPILOT, peer=peer)) as autopilot:
        vehicle = SimulatedVehicle(autopilot, wall, speed=0.1)
        copter.until(lambda: "HEARTBEAT" in copter.last, 60.0, "a heartbeat")
        copter.fly(1.0)
        yield vehicle, copter
    copter.close()


@pytest.mark.parametrize("speed", [0.1, 1.0, 20.0])
def test_the_time_is_that_of_the_vehicle(pair: Pair, speed: float) -> None:
    vehicle, copter = pair
    vehicle.speed = speed
    start_s, vehicle_s, wall_s = copter.clock.now_s(), vehicle.t_s, vehicle.wall.now_s()
    copter.fly(10.0)
    assert copter.clock.now_s() - start_s == pytest.approx(10.0, abs=0.11)
    assert vehicle.t_s - vehicle_s == pytest.approx(10.0, abs=0.3)
    assert vehicle.wall.now_s() - wall_s == pytest.approx(10.0 / speed, rel=0.05)


def test_a_timeout_counts_seconds_of_the_vehicle(pair: Pair) -> None:
    vehicle, copter = pair
    start_s, wall_s = vehicle.t_s, vehicle.wall.now_s()
    took_s = copter.until(lambda: vehicle.t_s >= start_s + 8.0, 10.0, "eight seconds")
    assert took_s == pytest.approx(8.0, abs=0.3)
    assert vehicle.wall.now_s() - wall_s > 75.0
    with pytest.raises(AssertionError, match="nothing: not within 10 s of the vehicle"):
        copter.until(lambda: False, 10.0, "nothing")


def test_a_vehicle_whose_time_stands_still_is_detected_by_the_wall_clock(pair: Pair) -> None:
    vehicle, copter = pair
    vehicle.quiet = True
    wall_s = vehicle.wall.now_s()
    with pytest.raises(AssertionError, match="something: the vehicle's time has stood still"):
        copter.until(lambda: False, 10.0, "something")
    assert vehicle.wall.now_s() - wall_s == pytest.approx(WATCHDOG_S, abs=1.0)


def test_the_end_of_the_process_is_detected_at_once(pair: Pair) -> None:
    _, copter = pair
    copter._process.kill()
    with pytest.raises(AssertionError, match="the process of the vehicle has ended"):
        copter.until(lambda: False, 10.0, "something")


def test_the_time_continues_through_a_reboot(pair: Pair) -> None:
    vehicle, copter = pair
    vehicle.speed = 10.0
    copter.fly(20.0)
    vehicle.reboot()
    before_s = copter.clock.now_s()
    copter.fly(5.0)
    assert copter.clock.now_s() - before_s == pytest.approx(5.0, abs=0.2)


def test_the_companion_takes_ten_steps_a_second_of_the_vehicle(pair: Pair) -> None:
    _, copter = pair
    steps_s: list[float] = []
    copter.each = steps_s.append
    copter.fly(5.0)
    assert len(steps_s) == pytest.approx(50, abs=2)
    assert steps_s == sorted(set(steps_s))


def test_commands_and_parameters_are_answered_in_vehicle_time(pair: Pair) -> None:
    _, copter = pair
    assert copter.command(400, 1) == mavlink.MAV_RESULT_DENIED
    assert copter.parameter("BATT_MONITOR") == 4.0
    assert copter.parameter("NONE") is None

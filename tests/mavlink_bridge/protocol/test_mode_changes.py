# SPDX-License-Identifier: Apache-2.0
"""Tests of heartbeats that come late, by a second way."""

import math
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Action, ActionKind, ActionRequest, Severity
from mavlink_bridge.protocol.mode_changes import ModeChanges
from mavlink_bridge.vehicle.command_state import Phase
from tests.mavlink_bridge.fake_vehicle import (
    ARDUPILOT,
    GUIDED,
    LAND,
    LOITER,
    RTL,
    FakeVehicle,
    Flight,
)

HOME = ActionRequest(Action(Severity.CRITICAL, ActionKind.RETURN), (0, 2, 1), "cell_critical")
LANDING = ActionRequest(Action(Severity.EMERGENCY, ActionKind.LAND), (0, 3, 2), "cell_emergency")


class TwoChannels(FakeVehicle):
    """One vehicle on two channels with a count each; the second one delays, loses and doubles."""

    def __init__(self, delay_s: float, seed: int) -> None:
        super().__init__(ARDUPILOT)
        self.boot_ms = 90_000
        self._other = mavlink.MAVLink(None, 1, 1)
        self._other.seq = 97
        self._delay_s, self._now_s = delay_s, 0.0
        self._under_way: list[tuple[float, bytes]] = []
        self._random = Random(seed)  # noqa: S311 - losses

    def emit(self, message: Any) -> None:  # noqa: ANN401 - a message
        """Send a message on both channels."""
        super().emit(message)
        frame = bytes(message.pack(self._other))
        self._other.seq = (self._other.seq + 1) % 256
        for _ in range(self._random.choice((0, 1, 1, 2))):
            self._under_way.append((self._now_s + self._delay_s, frame))

    def receive(self, now_s: float) -> list[bytes]:
        """Frames of both channels."""
        self._now_s = now_s
        late = [frame for due_s, frame in self._under_way if due_s <= now_s]
        self._under_way = [one for one in self._under_way if one[0] > now_s]
        return super().receive(now_s) + late


class SlowVehicle(FakeVehicle):
    """A vehicle that acknowledges a command at once, and changes its mode `delay_s` later."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(ARDUPILOT)
        self._delay_s = delay_s
        self._next = (math.inf, self.mode)

    def send(self, data: bytes, now_s: float) -> bool:
        """Take a frame of the bridge."""
        mode = self.mode
        taken = super().send(data, now_s)
        if self.mode != mode:
            self._next = (now_s + self._delay_s, self.mode)
            self.mode = mode
        return taken

    def receive(self, now_s: float) -> list[bytes]:
        """Frames that the vehicle has sent."""
        due_s, mode = self._next
        if now_s >= due_s:
            self._next = (math.inf, mode)
            self.mode = mode
        return super().receive(now_s)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("delay_s", [0.0, 0.4, 1.3, 3.0, 8.0])
def test_a_late_channel_is_no_pilot(tmp_path: Path, delay_s: float, seed: int) -> None:
    vehicle = TwoChannels(delay_s, seed)
    flight = Flight(vehicle, tmp_path)
    vehicle.mode = LOITER
    flight.fly(15.0)
    vehicle.mode = GUIDED
    flight.fly(2.0)
    flight.requests = (HOME,)
    flight.fly(15.0)
    control = flight.bridge.vehicle_control
    assert control is not None
    assert control.sent is not None
    assert control.sent.phase is Phase.OBEYED
    assert len(vehicle.commands) == 1
    assert not any("pilot has taken over" in text for text in flight.texts())


@pytest.mark.parametrize("delay_s", [0.0, 1.3, 8.0])
@pytest.mark.parametrize("mode", [GUIDED, LOITER])
def test_a_pilot_who_goes_back_to_the_former_mode_has_taken_over(
    tmp_path: Path, delay_s: float, mode: int
) -> None:
    vehicle = TwoChannels(delay_s, 1)
    flight = Flight(vehicle, tmp_path)
    flight.fly(10.0)
    flight.requests = (HOME,)
    flight.fly(5.0)
    assert vehicle.mode == RTL
    vehicle.mode = mode
    flight.fly(delay_s + 4.0)  # by the second channel the vehicle is in RTL for so long
    control = flight.bridge.vehicle_control
    assert control is not None
    assert control.sent is not None
    assert control.sent.overridden
    assert len(vehicle.commands) == 1


def test_nothing_is_commanded_while_a_pilot_may_have_gone_back_to_the_former_mode(
    tmp_path: Path,
) -> None:
    vehicle = FakeVehicle(ARDUPILOT)
    flight = Flight(vehicle, tmp_path)
    flight.fly(10.0)
    flight.requests = (HOME,)
    flight.fly(5.0)
    vehicle.mode = GUIDED
    flight.fly(1.0)  # one heartbeat
    flight.requests = (HOME, LANDING)
    flight.fly(10.0)
    assert [command[0] for command in vehicle.commands] == [20]


@pytest.mark.parametrize("delay_s", [0.0, 0.4, 0.8, 1.2, 1.6, 2.0])
@pytest.mark.parametrize("left_s", [2.0, 7.3, 13.0])
@pytest.mark.parametrize(("due", "mode"), [(HOME, RTL), (LANDING, LAND)])
def test_a_commanded_mode_that_a_pilot_left_before_is_obeyed_and_no_override(
    tmp_path: Path, due: ActionRequest, mode: int, left_s: float, delay_s: float
) -> None:
    vehicle = SlowVehicle(delay_s)
    flight = Flight(vehicle, tmp_path)
    vehicle.mode = mode
    flight.fly(10.0)
    vehicle.mode = GUIDED
    flight.fly(left_s)
    flight.requests = (due,)
    flight.fly(8.0)
    control = flight.bridge.vehicle_control
    assert control is not None
    assert control.sent is not None
    assert control.sent.phase is Phase.OBEYED
    assert len(vehicle.commands) == 1


@pytest.mark.parametrize("delay_s", [0.0, 0.4, 0.8, 1.2, 1.6, 2.0])
@pytest.mark.parametrize("due_s", [0.2, 0.5, 0.8, 1.1, 1.4, 1.7])
def test_a_landing_that_is_due_while_the_mode_is_in_doubt_is_flown(
    tmp_path: Path, due_s: float, delay_s: float
) -> None:
    vehicle = SlowVehicle(delay_s)
    flight = Flight(vehicle, tmp_path)
    for mode, duration_s in ((GUIDED, 10.0), (LOITER, 5.0), (GUIDED, due_s)):
        vehicle.mode = mode
        flight.fly(duration_s)
    flight.requests = (LANDING,)
    flight.fly(8.0)
    control = flight.bridge.vehicle_control
    assert control is not None
    assert control.sent is not None
    assert control.sent.phase is Phase.OBEYED
    assert vehicle.mode == LAND
    assert not any("pilot has taken over" in text for text in flight.texts())


def test_a_late_heartbeat_delays_a_landing_until_the_next_one(tmp_path: Path) -> None:
    vehicle = TwoChannels(8.0, 1)
    flight = Flight(vehicle, tmp_path)
    flight.fly(10.0)
    flight.requests = (HOME,)
    flight.fly(5.0)
    flight.requests = (HOME, LANDING)
    flight.fly(1.5)
    assert vehicle.mode == LAND


def test_a_mode_that_was_left_counts_once_more_when_the_present_one_is_shown_no_more() -> None:
    modes = ModeChanges()
    heartbeats = [
        (1, 0.0), (2, 1.0), (1, 1.5), (2, 2.0), (1, 2.5),  # late, by the slower way
        (1, 3.5), (1, 4.5), (2, 4.6), (1, 5.0),
        (3, 6.0), (2, 6.1), (3, 7.0),
        (2, 30.0), (3, 50.0),
    ]  # fmt: skip
    late = [t_s for mode, t_s in heartbeats if modes.is_late(mode, t_s)]
    assert late == [1.5, 2.5, 3.5, 4.6, 6.1]

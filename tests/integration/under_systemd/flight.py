# SPDX-License-Identifier: Apache-2.0
"""An autopilot in the container's network, which records the batteries that it receives."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from time import monotonic, sleep
from typing import Any

from tests.integration.under_systemd.container import Container
from tests.mavlink_bridge.autopilot import ARDUPILOT, FakeAutopilot

PORT = 14550
_STEP_S = 0.02


class Flight:
    """The autopilot: on the ground, until it is armed."""

    def __init__(self, autopilot: FakeAutopilot) -> None:
        self.received: list[tuple[float, Any]] = []  # BATTERY_STATUS, by the time of arrival
        self.armed = False
        self._autopilot = autopilot
        self._landed = threading.Event()
        self._thread = threading.Thread(target=self._fly, daemon=True)
        self._thread.start()

    def _fly(self) -> None:
        due_s = monotonic()
        while not self._landed.wait(_STEP_S):
            if monotonic() >= due_s:
                due_s += 1.0
                self._autopilot.beat(armed=self.armed)
            for message in self._autopilot.receive():
                if message.get_type() == "BATTERY_STATUS":
                    self.received.append((monotonic(), message))

    def next(self, limit_s: float = 60.0) -> Any:  # noqa: ANN401 - an untyped package
        """The next battery that is received.

        Raises:
            AssertionError: none is.
        """
        known, end_s = len(self.received), monotonic() + limit_s
        while len(self.received) == known:
            assert monotonic() < end_s, f"no battery was received for {limit_s:g} s"
            sleep(_STEP_S)
        return self.received[-1][1]

    def silence_s(self, from_s: float) -> float:
        """The longest time without a battery since then."""
        times = [from_s, *(t_s for t_s, _ in self.received if t_s > from_s), monotonic()]
        return max(after - before for before, after in pairwise(times))

    def land(self) -> None:
        """End it."""
        self._landed.set()
        self._thread.join()


@contextmanager
def in_flight(container: Container) -> Iterator[Flight]:
    """Give an autopilot, from which the service at `udpin` receives heartbeats."""
    with container.network():
        autopilot = FakeAutopilot(autopilot=ARDUPILOT, peer=("127.0.0.1", PORT))
    with closing(autopilot):
        flight = Flight(autopilot)
        try:
            yield flight
        finally:
            flight.land()

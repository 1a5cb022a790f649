# SPDX-License-Identifier: Apache-2.0
"""The one loop of simulation and service: every battery at every tick."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dronebms.core.clock import Clock
from dronebms.core.pack_data import PARALLEL
from dronebms.core.report import Event, Report
from dronebms.core.service_defaults import PERIOD_S
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.learning.learned_pack import Recalled
from dronebms.monitoring.multi_pack import Supply
from dronebms.monitoring.pipeline import Pipeline
from dronebms.monitoring.watch_time import LOOP_STEP_S

_BUS_THREADS_S = 0.2  # two polls


class Recorder(Protocol):
    """Recorder of the loop's inputs and events."""

    def recalled(self, index: int, recalled: Recalled | None) -> None:
        """Record what a pipeline has loaded of earlier flights."""
        ...

    def stepped(self, t_s: float, vehicle: VehicleState, events: Sequence[Event]) -> None:
        """Record one step of the loop."""
        ...


@dataclass(frozen=True, slots=True)
class Loop:
    """The clock, the vehicle and the batteries of one run.

    Attributes:
        vehicle: its state at a time of the clock.
        recorder: of every step, `None` without a recording.
        topology: of several batteries, `dronebms.core.pack_data.PARALLEL` or `SERIES`.
    """

    clock: Clock
    vehicle: Callable[[float], VehicleState]
    pipelines: Sequence[Pipeline]
    recorder: Recorder | None = None
    topology: str = PARALLEL

    def reports(self, ticks: Iterator[float]) -> Iterator[Report]:
        """Step every battery at each tick; yields the reports."""
        supply = Supply(self.pipelines, self.topology)
        for due_s in ticks:
            t_s = self._woken_s(due_s)
            state = self.vehicle(t_s)
            stepped = supply.step(t_s, state)
            if self.recorder is not None:
                events = [event for report in stepped for event in report.status.events]
                for index, pipeline in enumerate(self.pipelines):
                    self.recorder.recalled(index, pipeline.recalled)
                self.recorder.stepped(t_s, state, events)
            yield from stepped

    def _woken_s(self, due_s: float) -> float:
        """Sleep until a step is due; its time, which is later after an absence of the process.

        The threads that poll the buses go first then, so that the step has their readings.
        """
        self.clock.sleep_until(due_s)
        now_s = self.clock.now_s()
        if now_s - due_s <= LOOP_STEP_S:
            return due_s
        self.clock.sleep_until(now_s + _BUS_THREADS_S)
        return self.clock.now_s()


def live_ticks(clock: Clock) -> Iterator[float]:
    """Evenly spaced times without end; missed ticks are left out."""
    t_s = clock.now_s()
    while True:
        yield t_s
        due_s = t_s + PERIOD_S
        now_s = clock.now_s()
        t_s = max(due_s, now_s) if now_s - due_s <= LOOP_STEP_S else now_s + _BUS_THREADS_S

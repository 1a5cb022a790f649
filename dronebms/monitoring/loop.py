"""The one loop of simulation, simulated vehicle and service: every battery at every tick."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dronebms.core.clock import Clock
from dronebms.core.pack_data import PARALLEL
from dronebms.core.report import Event, Report
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.pack_memory import RecalledPack
from dronebms.monitoring.multi_pack import Supply
from dronebms.monitoring.pipeline import Pipeline

PERIOD_S = 0.1


class Recorder(Protocol):
    """What the loop writes its steps to."""

    def recalled(self, index: int, recalled: RecalledPack | None) -> None:
        """Take what a pipeline has loaded of its pack's memory."""
        ...

    def stepped(self, t_s: float, vehicle: VehicleState, events: Sequence[Event]) -> None:
        """Take one step of the loop."""
        ...


@dataclass(frozen=True, slots=True)
class Loop:
    """The one loop of simulation and service: every battery at every tick."""

    clock: Clock
    vehicle: Callable[[float], VehicleState]
    pipelines: Sequence[Pipeline]
    recorder: Recorder | None = None
    topology: str = PARALLEL

    def reports(self, ticks: Iterator[float]) -> Iterator[Report]:
        """Step at each tick, in time, and yield what came of it."""
        supply = Supply(self.pipelines, self.topology)
        for t_s in ticks:
            self.clock.sleep_until(t_s)
            state = self.vehicle(t_s)
            stepped = supply.step(t_s, state)
            if self.recorder is not None:
                events = [event for report in stepped for event in report.status.events]
                for index, pipeline in enumerate(self.pipelines):
                    self.recorder.recalled(index, pipeline.recalled)
                self.recorder.stepped(t_s, state, events)
            yield from stepped


def live_ticks(clock: Clock) -> Iterator[float]:
    """Yield evenly spaced times without end; what is missed is left out."""
    t_s = clock.now_s()
    while True:
        yield t_s
        t_s = max(t_s + PERIOD_S, clock.now_s())

"""The one loop of simulation, simulated vehicle and service: every battery at every tick."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dronebms.core.clock import Clock
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.multi_pack import PARALLEL, Supply
from dronebms.monitoring.pipeline import Monitor, Report
from dronebms.recording.recorder import Recorder

PERIOD_S = 0.1


@dataclass(frozen=True, slots=True)
class Loop:
    """The one loop of simulation and service: every battery at every tick."""

    clock: Clock
    vehicle: Callable[[float], VehicleState]
    monitors: Sequence[Monitor]
    recorder: Recorder | None = None
    topology: str = PARALLEL

    def reports(self, ticks: Iterator[float]) -> Iterator[Report]:
        """Step at each tick, in time, and yield what came of it."""
        supply = Supply(self.monitors, self.topology)
        for t_s in ticks:
            self.clock.sleep_until(t_s)
            state = self.vehicle(t_s)
            stepped = supply.step(t_s, state)
            if self.recorder is not None:
                events = [event for report in stepped for event in report.status.events]
                for index, monitor in enumerate(self.monitors):
                    self.recorder.recalled(index, monitor.recalled)
                self.recorder.stepped(t_s, state, events)
            yield from stepped


def live_ticks(clock: Clock) -> Iterator[float]:
    """Yield evenly spaced times without end; what is missed is left out."""
    t_s = clock.now_s()
    while True:
        yield t_s
        t_s = max(t_s + PERIOD_S, clock.now_s())

"""Monitor (placeholder docstring, replaced with the loop)."""

from dataclasses import dataclass
from typing import Protocol

from dronebms.battery import BatteryFacts
from dronebms.estimator import Estimate
from dronebms.protection import Status
from dronebms.vehicle import VehicleState
from smartbattery.snapshot import Snapshot


class Source(Protocol):
    """Where snapshots come from: a gauge, several as one, a flight log."""

    def poll(self, now_s: float) -> Snapshot:
        """Return what is known at `now_s`; never raises for a bad bus or a bad value."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """All stages of one battery at one moment: what every sink is handed."""

    t_s: float
    index: int  # of the battery, from 0
    facts: BatteryFacts
    snapshot: Snapshot
    vehicle: VehicleState
    estimate: Estimate
    status: Status

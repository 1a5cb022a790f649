# SPDX-License-Identifier: Apache-2.0
"""What earlier flights have taught of a pack, its sister packs and its vehicle: values alone.

Units as in `cell_fit`: ln, volts; watts, seconds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dronebms.core.chemistry import Chemistry
from dronebms.estimation.cell.cell_model import CAPACITY, FAST, KNOTS, OFFSET, row_at_knots
from dronebms.estimation.cell.cell_parameters import CellParameters
from dronebms.estimation.learning.interval_adaptation import NOT_ADAPTED, Adaptation
from dronebms.estimation.learning.usual_power import FlightPower
from dronebms.estimation.model_parameters import ModelParameters

MAX_FLIGHT_IDS = 100  # of the newest flights
_SAME_FRAC = 1e-6  # of two capacities
_CURVES_OF_FORMAT_1 = {  # volts of the rows at the knots, where they were others than today
    "li-ion": (2.9, 3.14, 3.34, 3.456, 3.57, 3.66, 3.8, 4.0, 4.18),
    "lifepo4": (2.5, 2.9, 3.16, 3.212, 3.26, 3.285, 3.3, 3.33, 3.45),
}


@dataclass(frozen=True, slots=True)
class LearnedPack:
    """One pack after its last flight."""

    cells: CellParameters
    gauge_odds: float  # log odds that its gauge is load-compensated (`gauge_fusion`)
    first_fast: float  # ln resistance scale after its first flight, the reference of its ageing
    rated_mah: float  # the scales above are relative to it
    flights: int
    flight_ids: tuple[str, ...] = ()  # newest flights, none of which is learned from twice
    power: tuple[FlightPower, ...] = ()  # of its flights on a vehicle that is not known
    model: str | None = None  # `PackData.model_key`
    chemistry: str | None = None  # of the row that the scales are relative to; None: not stored
    vehicle: str | None = None  # of its last flight
    adaptation: Adaptation = NOT_ADAPTED  # of the interval, by its landings
    curve_v: tuple[float, ...] = ()  # row at the knots that its errors are relative to

    @property
    def capacity_pct(self) -> tuple[float, float]:
        """(Capacity, its standard deviation) in per cent of the rated one."""
        place = CAPACITY - FAST
        pct = 100.0 * math.exp(self.cells.mean[place])
        return pct, pct * math.sqrt(max(self.cells.covariance[place][place], 0.0))

    def resistance_pct(self, c: ModelParameters) -> tuple[float, float]:
        """(Resistance at 25 degC, its standard deviation) in per cent of the usual one.

        Flights at other temperatures leave it uncertain by its dependence on temperature.

        Args:
            c: prior of the cell.
        """
        knots = len(self.cells.mean) - (KNOTS - FAST)
        ln, covariance = self.cells.carried_over(np.zeros(OFFSET - FAST), np.zeros(knots), c)
        pct = 100.0 * math.exp(float(ln[0]))
        return pct, pct * math.sqrt(max(float(covariance[0, 0]), 0.0))

    def relative_to(self, chemistry: Chemistry) -> "LearnedPack":
        """The same pack, its curve relative to the present row of its chemistry."""
        row_v = row_at_knots(chemistry)
        before_v = self.curve_v or _CURVES_OF_FORMAT_1.get(chemistry.name, row_v)
        place = KNOTS - FAST
        errors_v = zip(self.cells.mean[place:], before_v, row_v, strict=True)
        moved_v = tuple([error_v + (old_v - new_v) for error_v, old_v, new_v in errors_v])
        cells = replace(self.cells, mean=(*self.cells.mean[:place], *moved_v))
        return replace(self, cells=cells, curve_v=row_v)

    def fits(self, rated_mah: float | None, chemistry: str) -> bool:
        """Whether it can be of a pack of this rated capacity and chemistry."""
        # A stored capacity has been ampere-seconds: its last digit may differ.
        same = rated_mah is None or math.isclose(rated_mah, self.rated_mah, rel_tol=_SAME_FRAC)
        return same and self.chemistry in (None, chemistry)


@dataclass(frozen=True, slots=True)
class Keys:
    """Names under which a flight is remembered; None: unknown."""

    pack: str | None = None  # `PackData.pack_key`
    model: str | None = None  # `PackData.model_key`
    vehicle: str | None = None  # configured, else the autopilot's uid; see `of_battery`

    def of_battery(self, index: int) -> "Keys":
        """The same names for a battery of several on one vehicle, counted from 0.

        Each carries its own share of the vehicle's power: under one name a flight would count once
        for every battery, each time with another power.
        """
        if self.vehicle is None or index == 0:
            return self
        return replace(self, vehicle=f"{self.vehicle} battery {index + 1}")


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a pack, its sister packs and its vehicle."""

    pack: LearnedPack | None = None
    sisters: tuple[LearnedPack, ...] = ()  # newest first; read where the pack is not known
    vehicle: tuple[FlightPower, ...] = ()


@dataclass(frozen=True, slots=True)
class Learned:
    """What a flight adds; None: nothing new."""

    pack: LearnedPack | None = None  # as it is after the flight
    power: FlightPower | None = None  # for its vehicle

    def under(self, keys: Keys) -> "Learned":
        """The same for the vehicle of the keys."""
        pack = None if self.pack is None else replace(self.pack, vehicle=keys.vehicle)
        return Learned(pack, self.power)


@dataclass(frozen=True, slots=True)
class Recalled:
    """Keys that were looked up, and the result."""

    keys: Keys
    known: Known


Recall = Callable[[Keys], Known]
NOTHING_KNOWN = Known()
NOTHING_LEARNED = Learned()


def no_memory(_: Keys) -> Known:
    """Know nothing."""
    return NOTHING_KNOWN


def recalled_also(before: Recalled | None, newest: Recalled) -> Recalled:
    """What a vehicle that became known adds to what was recalled with its pack."""
    keys = newest.keys
    if before is None or keys != Keys(vehicle=keys.vehicle):
        return newest
    known = replace(before.known, vehicle=newest.known.vehicle)
    return Recalled(replace(before.keys, vehicle=keys.vehicle), known)

# SPDX-License-Identifier: Apache-2.0
"""The legs of a mission from where the vehicle is, and those home from each of its items.

Those after the item that is flown to change seldom: they are computed once for each `Walk.key`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dronebms.core.flight_plan import FlightPlan, ItemKind
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.ahead.mission_legs import EndlessError, Flown, mission_legs
from dronebms.estimation.ahead.return_destination import ALONG_MISSION, destination
from dronebms.estimation.ahead.return_way import way, ways_along
from dronebms.estimation.motion.flight_legs import Conditions, Leg, NoWayError
from dronebms.estimation.motion.motion_power import LegTable, MotionPower
from dronebms.estimation.motion.positions import Position
from smartbattery.values import changed

Indices: TypeAlias = npt.NDArray[np.intp]

_ROUND_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """Legs after the item that is flown to, and from each item home; they change seldom."""

    key: object
    table: LegTable
    numbers: tuple[int, ...]  # items with legs, the first one included
    ends: tuple[int, ...]  # legs of the tail until each of them has ended
    homes: LegTable  # legs of the returns from them
    parts: Indices  # of the legs in `homes`: first one and end of each return
    repeated: int = 0  # legs at its end that are flown again and again
    endless: str | None = None


@dataclass(frozen=True, slots=True)
class Walk:
    """A mission from where the vehicle is."""

    plan: FlightPlan
    first: int
    here: Position
    vehicle: VehicleState
    motion: MotionPower
    at: Conditions
    jumps: tuple[tuple[int, int], ...]

    @property
    def key(self) -> object:
        """What the legs after the first item depend on."""
        vehicle = self.vehicle
        home = vehicle.home_lat_deg, vehicle.home_lon_deg, vehicle.home_alt_m
        fastest_m_s = round(self.motion.fastest_m_s) if self.plan.returns is None else 0
        items = self.plan.items or ()
        is_return = self.first < len(items) and items[self.first].kind is ItemKind.RETURN
        here = (self.here, vehicle.landing) if is_return else None  # there it begins
        return self.plan, self.first, self.jumps, self.at, home, fastest_m_s, here

    def items(self, held_s: float = 0.0) -> Iterator[Flown]:
        """The items, the first of which has held for some time."""
        plan = _held(self.plan, self.first, held_s)
        return mission_legs(plan, self.first, self.here, self.vehicle, self.at, dict(self.jumps))

    def present(self, held_s: float) -> Flown | None:
        """The item that is flown to, which has held for some time; None if nothing is flown."""
        try:
            return next(self.items(held_s), None)
        except EndlessError:
            return None

    def tail(self) -> Tail:
        """The legs after the first item, and from each item home as far as the wind allows it."""
        legs: list[Leg] = []
        homes: list[Leg] = []
        along: dict[int, tuple[int, int]] | None = None
        numbers: list[int] = []
        ends: list[int] = []
        parts: list[tuple[int, int]] = []
        last = self.here
        landed = False
        after = self.first
        items, repeated, endless = self._flown()
        returns = self.plan.returns
        if endless is None and returns is not None and returns.to in ALONG_MISSION:
            homes, along = ways_along(self.vehicle, self.motion, self.at)
        for index, flown in enumerate(items):
            legs += flown.legs if index else ()
            last = flown.end
            landed = flown.lands
            after = flown.number + 1
            if not flown.legs or landed or endless is not None:
                continue
            if along is None:
                back = self._home_from(flown)
                part = len(homes), len(homes) + len(back)
                homes += back
            elif flown.number in along:
                part = along[flown.number]
            else:  # it has no place of its own
                continue
            parts.append(part)
            numbers.append(flown.number)
            ends.append(len(legs))
        if endless is None:
            legs += () if landed else self._home(last, after)
        elif repeated == 0:  # round and round at one place
            legs.append(Leg(_ROUND_S, self.at.wind_m_s, 0.0, self.at.on_wing))
            repeated = 1
        return Tail(
            key=self.key,
            table=LegTable(legs),
            numbers=tuple(numbers),
            ends=tuple(ends),
            homes=LegTable(homes),
            parts=np.array(parts, np.intp).reshape(-1, 2),
            repeated=repeated,
            endless=endless,
        )

    def _flown(self) -> tuple[list[Flown], int, str | None]:
        """(Items, legs at their end that are repeated, why the mission does not end)."""
        items = []
        try:
            for flown in self.items():
                items.append(flown)  # noqa: PERF402 - those before the error count
        except EndlessError as error:
            newest = items[len(items) - error.repeated :]
            return items, sum(len(flown.legs) for flown in newest), str(error)
        return items, 0, None

    def _home_from(self, flown: Flown) -> tuple[Leg, ...]:
        """Legs home from an item; an endless one where the wind is too strong."""
        try:
            return self._home(flown.end, flown.number + 1)
        except NoWayError:
            return (Leg(math.inf),)

    def _home(self, here: Position, item: int) -> tuple[Leg, ...]:
        to = destination(here, self.vehicle, item)
        return way(here, to, self.vehicle, self.motion, self.at)


def _held(plan: FlightPlan, first: int, for_s: float) -> FlightPlan:
    """The plan with the rest of the hold of an item."""
    items = plan.items or ()
    item = items[first]
    if not item.hold_s or for_s <= 0.0:
        return plan
    rest = changed(item, hold_s=max(item.hold_s - for_s, 0.0))
    return changed(plan, items=(*items[:first], rest, *items[first + 1 :]))

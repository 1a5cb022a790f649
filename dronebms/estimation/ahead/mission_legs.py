# SPDX-License-Identifier: Apache-2.0
"""Legs of the rest of a mission, item by item, in the order of the flight."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dronebms.core.flight_plan import (
    FlightPlan,
    ItemKind,
    MissionItem,
    ReturnPlan,
    SpeedKind,
    Speeds,
)
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.motion.flight_legs import Conditions, Leg, landing, line, slowed
from dronebms.estimation.motion.positions import Position, position_of
from smartbattery.values import changed

_LEGS_MAX = 5000  # of a mission with jumps
_LOITER_S = 60.0  # of a loiter without end, that is flown again and again
_WITHOUT_LEGS = (ItemKind.RETURN, ItemKind.SPEED, ItemKind.LANDING_START, ItemKind.OTHER)
_SPEEDS = {
    SpeedKind.GROUND: "cruise_m_s",
    SpeedKind.AIR: "cruise_m_s",
    SpeedKind.CLIMB: "climb_m_s",
    SpeedKind.DESCENT: "descent_m_s",
}


@dataclass(frozen=True, slots=True)
class Flown:
    """The legs to and of one item of a mission, and where they end."""

    number: int
    legs: tuple[Leg, ...]
    end: Position
    lands: bool = False


class EndlessError(Exception):
    """A mission that does not end by itself; the text names the item.

    Attributes:
        repeated: of the items that were flown last, how many are flown again and again.
    """

    def __init__(self, text: str, repeated: int = 0) -> None:
        super().__init__(text)
        self.repeated = repeated


def mission_legs(
    plan: FlightPlan,
    first: int,
    start: Position,
    vehicle: VehicleState,
    at: Conditions,
    jumps: Mapping[int, int],
) -> Iterator[Flown]:
    """The rest of a mission, item by item; of one without end until it repeats itself.

    Args:
        plan: with items and speeds.
        first: number of the item that is flown to.
        start: position of the vehicle.
        vehicle: for home.
        at: wind and limits.
        jumps: how often each JUMP item has been done.

    Raises:
        NoWayError: the wind is too strong for a leg.
        EndlessError: the mission does not end by itself.
    """
    items = plan.items or ()
    here = start
    course: float | None = None  # of the line that was flown last; None: a hover
    way = _Way(plan, plan.speeds, vehicle, at)
    for item in items[:first]:
        way = way.after(item)
    for count, number in enumerate(_order(items, first, jumps)):
        item = items[number]
        way = way.after(item)
        legs, end = way.legs(item, here, way.turn(item, here, course) if count else 0.0)
        yield Flown(number, tuple(legs), end, lands=item.kind is ItemKind.LAND)
        # The vehicle is on its way to the first item, along the line from the one that precedes it.
        course = way.course(item, here if count else way.behind(first, here), end, course)
        here = end
        if item.hold_s is None:
            yield Flown(number, (Leg(_LOITER_S, at.wind_m_s, 0.0, at.on_wing),), here)
            raise EndlessError(f"item {number} loiters without end", repeated=1)
        if item.kind in (ItemKind.LAND, ItemKind.RETURN):
            return


def _order(items: Sequence[MissionItem], first: int, jumps: Mapping[int, int]) -> Iterator[int]:
    """Numbers of the items but the jumps, in the order of the flight; raises EndlessError."""
    done = dict(jumps)
    rounds: dict[int, int] = {}  # endless jumps, and how many items were flown until each
    flown = 0
    number = first
    for _ in range(_LEGS_MAX):
        if number >= len(items):
            return
        item = items[number]
        if item.kind is not ItemKind.JUMP:
            yield number
            flown += 1
            number += 1
            continue
        times = done.get(number, 0)
        is_endless = item.jump_times < 0
        if item.jump_to >= len(items) or not (is_endless or times < item.jump_times):
            number += 1
            continue
        if is_endless and number in rounds:
            raise EndlessError(f"item {number} jumps for ever", flown - rounds[number])
        if is_endless:
            rounds[number] = flown
        else:
            done[number] = times + 1
        number = item.jump_to
    raise EndlessError("it has too many jumps")


@dataclass(frozen=True, slots=True)
class _Way:
    """What the legs of an item depend on, besides the place where they begin."""

    plan: FlightPlan
    speeds: Speeds  # after the SPEED items so far
    vehicle: VehicleState
    at: Conditions

    def after(self, item: MissionItem) -> "_Way":
        """The same with the speed that an item changes."""
        speed_m_s = item.speed_m_s
        if item.kind is not ItemKind.SPEED or speed_m_s is None or speed_m_s <= 0.0:
            return self
        name = _SPEEDS[item.speed_kind]
        return changed(self, speeds=changed(self.speeds, **{name: speed_m_s}))

    def behind(self, first: int, here: Position) -> Position:
        """Place of the item that precedes another one."""
        for item in reversed((self.plan.items or ())[:first]):
            place = None if item.place is None else position_of(item.place, self.vehicle)
            if place is not None:
                return place
        return here

    def turn(self, item: MissionItem, here: Position, course: float | None) -> float | None:
        """Angle between a course and the line to an item."""
        place = None if item.place is None else position_of(item.place, self.vehicle)
        if course is None or place is None:
            return None
        there = _course(here, place)
        return 0.0 if there is None else there - course

    def course(
        self, item: MissionItem, here: Position, end: Position, course: float | None
    ) -> float | None:
        """Course after an item that is flown to from a place; None: a hover."""
        if item.kind in _WITHOUT_LEGS:
            return course
        return None if _stops(item) else _course(here, end)

    def legs(
        self, item: MissionItem, here: Position, turn: float | None
    ) -> tuple[list[Leg], Position]:
        """Legs of an item that begin in a corner or a hover (None), and where they end."""
        if item.kind in _WITHOUT_LEGS:
            return [], here
        end = here if item.place is None else position_of(item.place, self.vehicle) or here
        if end.up_m is None:
            end = changed(end, up_m=here.up_m)
        if item.kind is ItemKind.TAKEOFF:
            end = changed(here, up_m=max(end.up_m or 0.0, here.up_m or 0.0))
            return line(here, end, self.speeds, changed(self.at, on_wing=False)), end
        if item.kind is ItemKind.LAND:
            return self._landed(item, here, end, turn), end
        if item.level_first:
            above = changed(end, up_m=here.up_m)
            legs = line(here, above, self.speeds, self.at, turn=turn)
            return [*legs, *line(above, end, self.speeds, self.at)], end
        legs = line(here, end, self.speeds, self.at, turn=turn, stops=_stops(item))
        return [*legs, *self._hold(item)], end

    def _landed(
        self, item: MissionItem, here: Position, end: Position, turn: float | None
    ) -> list[Leg]:
        """Legs to a landing: along a slope on the wing, else from a hover."""
        at = self.at
        speeds = self.speeds
        returns = self.plan.returns or ReturnPlan()
        if at.on_wing and not item.vtol and returns.landing_m_s is None:
            slow = changed(speeds, cruise_m_s=returns.approach_m_s or speeds.cruise_m_s)
            return line(here, changed(end, up_m=0.0), slow, at, turn=turn)
        legs = line(here, changed(end, up_m=here.up_m), speeds, at, turn=turn)
        legs += slowed(here.distance_m(end), speeds, at)
        return [*legs, *landing(here.up_m, returns, changed(at, on_wing=False))]

    def _hold(self, item: MissionItem) -> list[Leg]:
        """The time at an item: a wait, or turns about it."""
        at = self.at
        cruise_m_s = self.speeds.cruise_m_s
        hold_s = item.hold_s or 0.0
        air_m_s = at.wind_m_s
        if item.turns and cruise_m_s:
            hold_s = abs(item.turns) * 2.0 * math.pi * item.radius_m / cruise_m_s
            air_m_s = math.hypot(cruise_m_s, at.wind_m_s)
        return [Leg(hold_s, air_m_s, 0.0, at.on_wing)] if hold_s > 0.0 else []


def _stops(item: MissionItem) -> bool:
    return item.kind is not ItemKind.WAYPOINT or item.hold_s is None or item.hold_s > 0.0


def _course(start: Position, end: Position) -> float | None:
    """Course between two places, radians; None at one place."""
    north_m = end.north_m - start.north_m
    east_m = end.east_m - start.east_m
    return math.atan2(east_m, north_m) if math.hypot(north_m, east_m) > 0.0 else None

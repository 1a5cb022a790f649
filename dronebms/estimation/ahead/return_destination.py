# SPDX-License-Identifier: Apache-2.0
"""Where a vehicle can land, and where the autopilot's own return goes.

Home, rally points and landings of the mission, each with the places that are passed on the way.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dronebms.core.flight_plan import (
    FlightPlan,
    ItemKind,
    MissionItem,
    PlaceHeight,
    ReturnPlan,
    ReturnTo,
)
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.motion.positions import HOME, Position, position_of
from smartbattery.values import changed

_PASSED = (ItemKind.WAYPOINT, ItemKind.LOITER)
_LANDINGS = (ReturnTo.LANDING, ReturnTo.LANDING_OR_RALLY, ReturnTo.NEAREST)
_TO_RALLY = (ReturnTo.RALLY, ReturnTo.RALLY_OR_HERE)
ALONG_MISSION = (ReturnTo.MISSION, ReturnTo.MISSION_NEARER)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a vehicle can land."""

    name: str  # "home", "rally point 2", "landing of item 7"
    position: Position
    via: tuple[Position, ...] = ()  # places on the way, in order
    level: bool = False  # the return neither climbs nor waits
    item: int | None = None  # of the mission, that is the landing there
    altitude_m: float | None = None  # above home, that its return counts from or flies at
    in_place: bool = False  # the return goes nowhere: it lands where the vehicle is


def destination(here: Position, vehicle: VehicleState, item: int | None = None) -> Destination:
    """Where the autopilot's own return goes.

    Args:
        here: where it begins.
        vehicle: with its plan.
        item: that the mission would fly to from there; None: the present one.
    """
    to = _returns(vehicle).to
    if to in ALONG_MISSION:
        return along_mission(vehicle).destination(here, vehicle, item)
    found = _candidates(to, here, vehicle, item)
    nearest = min(found, key=lambda place: here.distance_m(place.position))
    landings = list(_landings(vehicle)) if to is ReturnTo.HOME_THEN_LANDING else []
    if not landings:
        return nearest
    # It circles there, and the landing nearest to that place follows.
    height_m = height_to(nearest, _returns(vehicle))
    first = changed(nearest.position, up_m=_higher_m(here.up_m, height_m))
    landing = min(landings, key=lambda place: first.distance_m(place.position))
    route = _sequence(landing, first, vehicle, None).via
    return changed(landing, via=(first, *route), level=True)


def height_to(place: Destination, returns: ReturnPlan) -> float | None:
    """Height above home to which the return climbs on its way to a place."""
    up_m = place.altitude_m
    height_m = returns.height_m
    kind = returns.place_height
    if up_m is None or kind is PlaceHeight.UNUSED:
        return height_m
    if kind is PlaceHeight.WAY:
        return up_m
    if height_m is None:
        return None
    return height_m + up_m if kind is PlaceHeight.BASE else max(height_m, up_m)


def _candidates(
    to: ReturnTo, here: Position, vehicle: VehicleState, item: int | None
) -> list[Destination]:
    """The places of which a return goes to the nearest; arguments as of `destination`."""
    home = [Destination("home", HOME)]
    if to is ReturnTo.HOME:
        return home
    rally = _near_rally(here, vehicle)
    if to is ReturnTo.RALLY_OR_HERE and not rally:
        return [Destination("in place", changed(here, up_m=0.0), level=True, in_place=True)]
    if to not in _LANDINGS:
        return rally or home if to in _TO_RALLY else home + rally
    if item is None and (vehicle.flies_mission or _returns_by_item(vehicle)):
        item = vehicle.mission_item
    places = [_sequence(one, here, vehicle, item) for one in _landings(vehicle)]
    if to is not ReturnTo.LANDING:
        places += rally
    return places + home if to is ReturnTo.NEAREST else places or home


def _near_rally(here: Position, vehicle: VehicleState) -> list[Destination]:
    """The rally points to which a return may go."""
    returns = _returns(vehicle)
    within_m = math.inf if returns.rally_within_m is None else returns.rally_within_m
    return [
        one
        for one in _rally(vehicle)
        if here.distance_m(one.position) <= within_m
        and HOME.distance_m(one.position) >= returns.rally_beyond_m
    ]


def _plan(vehicle: VehicleState) -> FlightPlan:
    return vehicle.plan or FlightPlan()


def _returns(vehicle: VehicleState) -> ReturnPlan:
    return _plan(vehicle).returns or ReturnPlan()


def _returns_by_item(vehicle: VehicleState) -> bool:
    """Whether the present item is that of a return to a landing of the mission, as PX4 flies it."""
    return vehicle.mode == "RTL" and (vehicle.vehicle_class or "").startswith("PX4")


def _sequence(
    landing: Destination, here: Position, vehicle: VehicleState, item: int | None
) -> Destination:
    """A landing of the mission, with the places that are flown from the start of its sequence on.

    A vehicle that flies to an `item` of the sequence goes on from there. ArduPlane begins it at the
    height that it has, PX4 climbs to that of the return first. Source: AP_Mission.cpp
    `jump_to_landing_sequence`, PX4 rtl_direct_mission_land.cpp.
    """
    items = _plan(vehicle).items or ()
    returns = _returns(vehicle)
    end = landing.item or 0
    starts = [n for n in range(end) if items[n].kind is ItemKind.LANDING_START]
    if not starts:
        return landing
    goes_on = item is not None and starts[-1] <= item <= end
    first = item if goes_on and item is not None else starts[-1]
    route = [
        place
        for each in items[first:end]
        if each.kind in _PASSED and each.place and (position := position_of(each.place, vehicle))
        for place in _flown_to(each, position)
    ]
    if route and not goes_on and not returns.climbs_on_way:
        up_m = _higher_m(here.up_m, height_to(landing, returns))
        route[:1] = changed(here, up_m=up_m), changed(route[0], up_m=up_m)
    return changed(landing, via=tuple(route), level=True) if route or goes_on else landing


def _flown_to(item: MissionItem, position: Position) -> tuple[Position, ...]:
    """Places on the way to an item and at it; one without a height is flown to level."""
    return (changed(position, up_m=None), position) if item.level_first else (position,)


@dataclass(frozen=True, slots=True)
class _ItemPlaces:
    """An item on the way along the mission."""

    number: int
    places: tuple[Position, ...]  # that are flown to, that of the item last

    @property
    def end(self) -> Position:
        """Place of the item."""
        return self.places[-1]


@dataclass(frozen=True, slots=True)
class AlongMission:
    """The way along the items of the mission, without their holds, by which PX4 may return.

    Source: PX4 rtl.cpp `setRtlTypeAndDestination`, rtl_mission_fast.cpp and
    rtl_mission_fast_reverse.cpp.
    """

    items: tuple[_ItemPlaces, ...]  # that have a place
    back: tuple[_ItemPlaces, ...]  # the same without landings, last one first
    landing: tuple[int, Position] | None
    landing_start: int  # number of the item with which the landing begins
    nearer: bool  # it goes back if that is fewer items

    def goes_on(self, item: int) -> bool:
        """Whether it flies on to the landing from an item."""
        if self.landing is None:
            return False
        return not (self.nearer and self.landing_start - item >= item)

    def route(self, *, goes_on: bool) -> tuple[tuple[_ItemPlaces, ...], Destination]:
        """(Items in the order of the flight; where it ends)."""
        if not goes_on or self.landing is None:
            return self.back, Destination("home", HOME, level=True)
        landing, place = self.landing
        name = f"landing of item {landing}"
        end = Destination(name, changed(place, up_m=0.0), level=True, item=landing)
        return tuple([one for one in self.items if one.number < landing]), end

    def destination(self, here: Position, vehicle: VehicleState, item: int | None) -> Destination:
        """End of the return from a place; `item` as of `destination`."""
        if not self.items:
            return Destination("home", HOME)
        flown = vehicle.mission_item
        if item is None:
            item = flown if vehicle.flies_mission else None
        follows = passed = item
        if item is None and flown is not None and _returns_by_item(vehicle):
            follows = flown
            passed = flown + 1
        if follows is None or passed is None:  # it begins at the nearest item
            follows = min(self.items, key=lambda one: here.distance_m(one.end)).number
            passed = follows + 1
        goes_on = self.goes_on(follows)
        route, end = self.route(goes_on=goes_on)
        ahead = [
            one for one in route if (one.number >= follows if goes_on else one.number < passed)
        ]
        return changed(end, via=tuple([place for one in ahead for place in one.places]))


def along_mission(vehicle: VehicleState) -> AlongMission:
    """The way along the mission of a vehicle."""
    items = _plan(vehicle).items or ()
    placed = [
        _ItemPlaces(number, _flown_to(each, position))
        for number, each in enumerate(items)
        if each.place is not None and (position := position_of(each.place, vehicle)) is not None
    ]
    lands = [one for one in placed if items[one.number].kind is ItemKind.LAND]
    starts = [n for n, each in enumerate(items) if each.kind is ItemKind.LANDING_START]
    return AlongMission(
        items=tuple(placed),
        back=tuple([one for one in reversed(placed) if one not in lands]),
        landing=(lands[0].number, lands[0].end) if lands else None,
        landing_start=min([*starts, *(one.number for one in lands)], default=0),
        nearer=_returns(vehicle).to is ReturnTo.MISSION_NEARER,
    )


def _higher_m(up_m: float | None, height_m: float | None) -> float | None:
    return up_m if up_m is None or height_m is None else max(up_m, height_m)


def alternates(vehicle: VehicleState) -> list[Destination]:
    """Rally points and landings of the mission."""
    return [*_rally(vehicle), *_landings(vehicle)]


def _rally(vehicle: VehicleState) -> Iterator[Destination]:
    for number, place in enumerate(_plan(vehicle).rally or (), 1):
        position = position_of(place, vehicle)
        if position is not None:
            name = f"rally point {number}"
            yield Destination(name, _ground(position, vehicle), altitude_m=position.up_m)


def _landings(vehicle: VehicleState) -> Iterator[Destination]:
    is_base = _returns(vehicle).place_height is PlaceHeight.BASE
    for number, item in enumerate(_plan(vehicle).items or ()):
        if item.kind is ItemKind.LAND and item.place is not None:
            position = position_of(item.place, vehicle)
            if position is not None:
                name = f"landing of item {number}"
                altitude_m = position.up_m if is_base else None
                ground = _ground(position, vehicle)
                yield Destination(name, ground, item=number, altitude_m=altitude_m)


def _ground(position: Position, vehicle: VehicleState) -> Position:
    """A place on its ground: at the height of home, unless its altitude is lower."""
    is_base = _returns(vehicle).place_height is PlaceHeight.BASE
    return changed(position, up_m=min(position.up_m or 0.0, 0.0) if is_base else 0.0)

# SPDX-License-Identifier: Apache-2.0
"""Legs of a flight ahead: the return, and the rest of a mission, with their spans and motions.

An autopilot flies straight lines at a speed over ground, as far as the wind lets it, and climbs and
descends at speeds of its own; on a wing it holds a speed through the air. Positions are metres
north and east of home and above it, on a sphere: at a drone's range the error is below 0.6 %.
Source: ArduCopter mode_rtl.cpp and AC_WPNav, PX4 rtl_direct.cpp, in their common part.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dronebms.core.flight_plan import (
    FlightPlan,
    ItemKind,
    MissionItem,
    Place,
    ReturnPlan,
    SpeedKind,
    Speeds,
)
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.speed_changes import INSTANT, Limits
from smartbattery.values import changed

_EARTH_M = 6_371_000.0
_LEAST_S = 1e-3  # of a leg
_LEAST_M_S = 1.0  # slower over ground, a vehicle does not arrive
# ArduCopter's defaults, where the autopilot's are not known
_CLIMB_M_S = 2.5
_DESCENT_M_S = 1.5
_LANDING_M_S = 0.7  # PX4's default
_LANDING_HEIGHT_M = 10.0  # ArduCopter's default
_ON_GROUND = ("ArduRover", "PX4 rover")  # its height and that of its home have no meaning
_LEGS_MAX = 5000  # of a mission with jumps
_LOITER_S = 60.0  # of a loiter without end, that is flown again and again


@dataclass(frozen=True, slots=True)
class Position:
    """Metres from home; `up_m` is `None` where the height is not known."""

    north_m: float
    east_m: float
    up_m: float | None = None

    def distance_m(self, other: "Position") -> float:
        """Horizontal distance."""
        return math.hypot(self.north_m - other.north_m, self.east_m - other.east_m)


HOME = Position(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of a flight with one motion."""

    span_s: float
    air_m_s: float = 0.0  # horizontally through the air
    climb_m_s: float = 0.0
    on_wing: bool = False


@dataclass(frozen=True, slots=True)
class Flown:
    """The legs to and of one item of a mission, and where they end."""

    number: int
    legs: tuple[Leg, ...]
    end: Position
    lands: bool = False


@dataclass(frozen=True, slots=True)
class Conditions:
    """Wind and the vehicle's own limits."""

    wind_m_s: float = 0.0
    wind_from_deg: float = 0.0
    most_air_m_s: float = math.inf  # a vehicle on rotors is not faster through the air
    on_wing: bool = False
    level: Limits = INSTANT
    climb: Limits = INSTANT
    descent: Limits = INSTANT


class NoWayError(Exception):
    """The wind is too strong for a leg."""


class EndlessError(Exception):
    """A mission that does not end by itself; the text names the item.

    Attributes:
        repeated: of the items that were flown last, how many are flown again and again.
    """

    def __init__(self, text: str, repeated: int = 0) -> None:
        super().__init__(text)
        self.repeated = repeated


def offset(vehicle: VehicleState) -> Position | None:
    """Position of the vehicle; None while it or home is not known."""
    lat = vehicle.lat_deg
    lon = vehicle.lon_deg
    if lat is None or lon is None:
        return None
    alt_m = vehicle.alt_m
    home_alt_m = vehicle.home_alt_m
    up_m = None if alt_m is None or home_alt_m is None else max(alt_m - home_alt_m, 0.0)
    return _metres(lat, lon, up_m, vehicle)


def position_of(place: Place, vehicle: VehicleState) -> Position | None:
    """Position of a place; None while home is not known."""
    up_m = place.alt_m
    if up_m is not None and not place.above_home:
        up_m = None if vehicle.home_alt_m is None else up_m - vehicle.home_alt_m
    return _metres(place.lat_deg, place.lon_deg, up_m, vehicle)


def _metres(lat: float, lon: float, up_m: float | None, vehicle: VehicleState) -> Position | None:
    home_lat = vehicle.home_lat_deg
    home_lon = vehicle.home_lon_deg
    if home_lat is None or home_lon is None:
        return None
    if vehicle.vehicle_class in _ON_GROUND:
        up_m = None
    metres = math.radians(1.0) * _EARTH_M
    east_deg = (lon - home_lon + 180.0) % 360.0 - 180.0
    east_m = east_deg * metres * math.cos(math.radians(home_lat))
    return Position((lat - home_lat) * metres, east_m, up_m)


def ground_m_s(course: float, cruise_m_s: float, at: Conditions) -> tuple[float, float]:
    """(Speed over ground, speed through the air) on a course in radians.

    Raises:
        NoWayError: the vehicle does not get ahead against the wind.
    """
    off = math.radians(at.wind_from_deg) - course
    across_m_s = at.wind_m_s * math.sin(off)
    against_m_s = at.wind_m_s * math.cos(off)
    most_m_s = cruise_m_s if at.on_wing else at.most_air_m_s
    if abs(across_m_s) >= most_m_s:
        raise NoWayError
    ahead_m_s = math.inf if math.isinf(most_m_s) else math.sqrt(most_m_s**2 - across_m_s**2)
    ground = ahead_m_s - against_m_s
    if not at.on_wing:
        ground = min(ground, cruise_m_s)
    if ground < _LEAST_M_S:
        raise NoWayError
    return ground, math.hypot(ground + against_m_s, across_m_s)


def line(
    start: Position,
    end: Position,
    speeds: Speeds,
    at: Conditions,
    *,
    turn: float | None = None,
    stops: bool = True,
) -> list[Leg]:
    """Legs of a straight line; the slower of the way along and the way up sets the time.

    Args:
        start: of the line.
        end: of the line.
        speeds: on it.
        at: wind and limits.
        turn: angle of the corner in which it begins, radians; None: from a hover.
        stops: at its end.

    Raises:
        NoWayError: the wind is too strong.
    """
    north_m = end.north_m - start.north_m
    east_m = end.east_m - start.east_m
    along_m = math.hypot(north_m, east_m)
    up_m = 0.0 if start.up_m is None or end.up_m is None else end.up_m - start.up_m
    rate_m_s = (
        (speeds.climb_m_s or _CLIMB_M_S) if up_m > 0 else (speeds.descent_m_s or _DESCENT_M_S)
    )
    span_s = abs(up_m) / rate_m_s
    upward = at.climb if up_m > 0 else at.descent
    whole_s = span_s + upward.stop_s(rate_m_s, abs(up_m))
    air_m_s = at.wind_m_s
    cruise_m_s = speeds.cruise_m_s
    if along_m > 0.0 and cruise_m_s is not None:
        ground, air_m_s = ground_m_s(math.atan2(east_m, north_m), cruise_m_s, at)
        pause_s = _pause_s(at.level, ground, along_m, turn, stops=stops)
        whole_s = max(whole_s, along_m / ground + pause_s)
        if along_m / ground >= span_s:
            span_s = along_m / ground
        else:  # the climb slows the way
            share = along_m / ground / span_s
            air_m_s = math.hypot(air_m_s * share, at.wind_m_s * (1.0 - share))
    if at.on_wing:
        whole_s = span_s
    moving_s = min(span_s, whole_s)
    if moving_s < _LEAST_S:
        return []
    legs = [Leg(moving_s, air_m_s, up_m / span_s, at.on_wing)]
    if whole_s - moving_s >= _LEAST_S:
        legs.append(Leg(whole_s - moving_s, at.wind_m_s))
    return legs


def _pause_s(
    limits: Limits, m_s: float, along_m: float, turn: float | None, *, stops: bool
) -> float:
    """Time that the changes of speed at both ends of a line cost."""
    half_s = limits.ramp_s(m_s) / 2.0
    pause_s = half_s if turn is None else limits.corner_s(m_s, turn)
    return pause_s + limits.stop_s(m_s, along_m) - half_s if stops else pause_s


def _slowed(along_m: float, speeds: Speeds, at: Conditions) -> list[Leg]:
    """The time that the change from flight on a wing to a hover costs, at the end of a way."""
    if not at.on_wing or not speeds.cruise_m_s:
        return []
    # No longer than the way there takes: a vehicle that is nearly there has slowed down.
    span_s = min(at.level.ramp_s(speeds.cruise_m_s) / 2.0, along_m / speeds.cruise_m_s)
    return [Leg(span_s, at.wind_m_s)] if span_s >= _LEAST_S else []


def landing(height_m: float | None, plan: ReturnPlan, at: Conditions) -> list[Leg]:
    """Descent to the ground from a height; to the landing height alone where that is not known."""
    slow_m_s = plan.landing_m_s or _LANDING_M_S
    slow_m = _LANDING_HEIGHT_M if plan.landing_height_m is None else plan.landing_height_m
    fast_m_s = plan.descent_m_s or _DESCENT_M_S
    slow_m = slow_m if height_m is None else min(height_m, slow_m)
    fast_m = 0.0 if height_m is None else height_m - slow_m
    down = [(fast_m / fast_m_s, -fast_m_s), (slow_m / slow_m_s, -slow_m_s)]
    air_m_s = 0.0 if at.on_wing else at.wind_m_s
    legs = [Leg(span_s, air_m_s, up_m_s, at.on_wing) for span_s, up_m_s in down if span_s > 0.0]
    start_s = 0.0 if at.on_wing or not legs else at.descent.ramp_s(-legs[0].climb_m_s) / 2.0
    return [Leg(start_s, air_m_s), *legs] if start_s >= _LEAST_S else legs


def return_legs(
    start: Position, end: Position, plan: ReturnPlan, at: Conditions
) -> tuple[Leg, ...]:
    """The return from a position to a place, its wait there and its landing.

    Args:
        start: of the vehicle.
        end: home or another place; its height is that of the ground.
        plan: with a cruise speed.
        at: wind and limits.

    Raises:
        NoWayError: the wind is too strong.
    """
    if plan.on_rotors:
        at = changed(at, on_wing=False)
    away_m = start.distance_m(end)
    cruise_up_m = _cruise_up_m(start.up_m, away_m, plan)
    speeds = way_speeds(plan)
    above = changed(start, up_m=_climbed_up_m(start.up_m, cruise_up_m, plan))
    legs = line(start, above, speeds, at)
    ground_up_m = end.up_m or 0.0
    height_m = None if cruise_up_m is None else max(cruise_up_m - ground_up_m, 0.0)
    wait_m = plan.wait_height_m
    if at.on_wing and plan.circles_down_m_s and wait_m is not None and height_m is not None:
        there = Position(end.north_m, end.east_m, cruise_up_m)
        legs += line(above, _short_of(above, there, plan), speeds, at)
        return (*legs, *_circled_down(height_m, min(wait_m, height_m), away_m, plan, at))
    if plan.lands and at.on_wing and plan.landing_m_s is None and plan.wait_s <= 0.0:
        slow = changed(speeds, cruise_m_s=plan.approach_m_s or plan.cruise_m_s)
        return (*legs, *line(above, changed(end, up_m=ground_up_m), slow, at))  # a slope
    legs += line(above, Position(end.north_m, end.east_m, cruise_up_m), speeds, at)
    rotors = at if not at.on_wing or plan.landing_m_s is None else changed(at, on_wing=False)
    legs += [] if rotors.on_wing else _slowed(away_m, speeds, at)
    if plan.wait_s > 0.0 and plan.lands and plan.wait_height_m is not None and height_m is not None:
        wait_m = min(plan.wait_height_m, height_m)
        legs += line(Position(0.0, 0.0, height_m), Position(0.0, 0.0, wait_m), speeds, rotors)
        height_m = wait_m
    if plan.wait_s > 0.0:
        legs.append(Leg(plan.wait_s, rotors.wind_m_s, 0.0, rotors.on_wing))
    if plan.lands:
        legs += landing(height_m, plan, rotors)
    elif plan.wait_height_m is not None and height_m is not None:
        down_m = max(height_m - plan.wait_height_m, 0.0)
        rate_m_s = plan.descent_m_s or _DESCENT_M_S
        legs += [Leg(down_m / rate_m_s, at.wind_m_s, -rate_m_s)] if down_m > 0.0 else []
    return tuple(legs)


def way_speeds(plan: ReturnPlan) -> Speeds:
    """Speeds on the way home, before the landing."""
    return Speeds(plan.cruise_m_s, plan.climb_m_s, plan.circles_down_m_s or plan.descent_m_s)


def _climbed_up_m(up_m: float | None, cruise_up_m: float | None, plan: ReturnPlan) -> float | None:
    """Height at which the flight home begins."""
    if plan.climbs_on_way:
        return up_m
    if up_m is None or cruise_up_m is None:
        return cruise_up_m
    return max(up_m, cruise_up_m - plan.within_up_m)


def _short_of(start: Position, end: Position, plan: ReturnPlan) -> Position:
    """Where the circle about a place begins, on the way to it."""
    away_m = start.distance_m(end)
    part = max(1.0 - plan.circle_m / away_m, 0.0) if away_m > 0.0 else 0.0
    return Position(
        start.north_m + part * (end.north_m - start.north_m),
        start.east_m + part * (end.east_m - start.east_m),
        end.up_m,
    )


def _circled_down(
    height_m: float, low_m: float, away_m: float, plan: ReturnPlan, at: Conditions
) -> list[Leg]:
    """Circles on the wing from a height to a lower one, the wait there, and the landing.

    A VTOL flies from its circle to the place, slows down and lands on its rotors; a plane circles
    down to the ground. Source: PX4 rtl_direct.cpp `_updateRtlState`, FixedWingModeManager.cpp
    `control_auto_landing_circular`.
    """
    speeds = way_speeds(plan)
    air_m_s = plan.cruise_m_s or 0.0
    rate_m_s = speeds.descent_m_s or _DESCENT_M_S
    glide_m_s = plan.glide_m_s or rate_m_s
    circles = [
        (max(height_m - low_m - plan.within_up_m, 0.0) / rate_m_s, -rate_m_s),
        (plan.wait_s, 0.0),
    ]
    legs = [Leg(span_s, air_m_s, up_m_s, on_wing=True) for span_s, up_m_s in circles if span_s > 0]
    if not plan.lands:
        return legs
    begins = Position(min(plan.circle_m, away_m), 0.0)
    legs += line(begins, HOME, speeds, changed(at, wind_m_s=0.0))
    if plan.landing_m_s is not None:
        rotors = changed(at, on_wing=False)
        return [*legs, *_slowed(away_m, speeds, at), *landing(low_m, plan, rotors)]
    approach_m_s = plan.approach_m_s or air_m_s
    return [*legs, Leg(low_m / glide_m_s, approach_m_s, -glide_m_s, on_wing=True)]


def _cruise_up_m(up_m: float | None, away_m: float, plan: ReturnPlan) -> float | None:
    """Height of the return flight above home."""
    if up_m is None or plan.height_m is None or away_m < plan.level_within_m:
        return up_m
    height_m = max(up_m + plan.climb_at_least_m, plan.height_m)
    if plan.cone_slope is not None:
        height_m = min(height_m, max(plan.cone_slope * away_m, up_m))
    return max(height_m, up_m)


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
    done = dict(jumps)
    here = start
    number = first
    rounds: dict[int, int] = {}  # endless jumps, and how many items were flown until each
    count = 0
    course: float | None = None  # of the line that was flown last; None: a hover
    way = _Way(plan, plan.speeds, vehicle, at)
    for item in items[:first]:
        way = way.after(item)
    for _ in range(_LEGS_MAX):
        if number >= len(items):
            return
        item = items[number]
        way = way.after(item)
        if item.kind is ItemKind.JUMP:
            times = done.get(number, 0)
            is_endless = item.jump_times < 0
            if item.jump_to >= len(items) or not (is_endless or times < item.jump_times):
                number += 1
                continue
            if is_endless and number in rounds:
                raise EndlessError(f"item {number} jumps for ever", count - rounds[number])
            if is_endless:
                rounds[number] = count
            else:
                done[number] = times + 1
            number = item.jump_to
            continue
        legs, end = way.legs(item, here, way.turn(item, here, course) if count else 0.0)
        yield Flown(number, tuple(legs), end, lands=item.kind is ItemKind.LAND)
        # The vehicle is on its way to the first item, along the line from the one that precedes it.
        course = way.course(item, here if count else way.behind(first, here), end, course)
        here = end
        count += 1
        if item.hold_s is None:
            yield Flown(number, (Leg(_LOITER_S, at.wind_m_s, 0.0, at.on_wing),), here)
            raise EndlessError(f"item {number} loiters without end", repeated=1)
        if item.kind in (ItemKind.LAND, ItemKind.RETURN):
            return
        number += 1
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
        kind = item.kind
        at = self.at
        speeds = self.speeds
        if kind in _WITHOUT_LEGS:
            return [], here
        rotors = changed(at, on_wing=False)
        end = here if item.place is None else position_of(item.place, self.vehicle) or here
        if end.up_m is None:
            end = changed(end, up_m=here.up_m)
        if kind is ItemKind.TAKEOFF:
            end = changed(here, up_m=max(end.up_m or 0.0, here.up_m or 0.0))
            return line(here, end, speeds, rotors), end
        if kind is ItemKind.LAND:
            returns = self.plan.returns or ReturnPlan()
            if at.on_wing and not item.vtol and returns.landing_m_s is None:
                slow = changed(speeds, cruise_m_s=returns.approach_m_s or speeds.cruise_m_s)
                return line(here, changed(end, up_m=0.0), slow, at, turn=turn), end  # a slope
            legs = line(here, changed(end, up_m=here.up_m), speeds, at, turn=turn)
            legs += _slowed(here.distance_m(end), speeds, at)
            return [*legs, *landing(here.up_m, returns, rotors)], end
        hold_s = item.hold_s or 0.0
        air_m_s = at.wind_m_s
        if item.turns and speeds.cruise_m_s:
            hold_s = abs(item.turns) * 2.0 * math.pi * item.radius_m / speeds.cruise_m_s
            air_m_s = math.hypot(speeds.cruise_m_s, at.wind_m_s)
        legs = line(here, end, speeds, at, turn=turn, stops=_stops(item))
        return [*legs, *([Leg(hold_s, air_m_s, 0.0, at.on_wing)] if hold_s > 0.0 else [])], end


def _stops(item: MissionItem) -> bool:
    return item.kind is not ItemKind.WAYPOINT or item.hold_s is None or item.hold_s > 0.0


def _course(start: Position, end: Position) -> float | None:
    """Course between two places, radians; None at one place."""
    north_m = end.north_m - start.north_m
    east_m = end.east_m - start.east_m
    return math.atan2(east_m, north_m) if math.hypot(north_m, east_m) > 0.0 else None


_WITHOUT_LEGS = (ItemKind.RETURN, ItemKind.SPEED, ItemKind.LANDING_START, ItemKind.OTHER)
_SPEEDS = {
    SpeedKind.GROUND: "cruise_m_s",
    SpeedKind.AIR: "cruise_m_s",
    SpeedKind.CLIMB: "climb_m_s",
    SpeedKind.DESCENT: "descent_m_s",
}

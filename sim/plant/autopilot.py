# SPDX-License-Identifier: Apache-2.0
"""Autopilot of a simulated multirotor: flies waypoints, returns and lands.

A vehicle without attitude: its velocity changes at a limited acceleration towards the one that the
autopilot demands, whose speed through the mean wind is limited too. Modes are those of ArduCopter.
Metres north and east of home and above it, m/s over ground, climb positive upwards.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dronebms.core.flight_plan import ItemKind, ReturnTo, SpeedKind
from sim.plant.scenario import Scenario, VehicleSpec
from sim.plant.waypoint_spec import FlightSpec, ReturnSpec, SpeedSpec, Waypoint

Wind = Callable[[float], tuple[float, float]]  # motion of the air to the north and east at a time

LONGEST_S = 7200.0  # of a flight that does not land
RETURN_MODE = "RTL"
_MISSION_MODE = "AUTO"
_PILOT_MODE = "LOITER"
_REACHED_M = 2.0  # of a place
_LEVEL_M = 0.3  # of a height
_BRAKING = 0.8  # of the acceleration, planned for
_CIRCLING = 0.5  # of the acceleration, used on a circle
_SPEED_KEYS: dict[str, str] = {
    SpeedKind.GROUND: "cruise_m_s",
    SpeedKind.CLIMB: "climb_m_s",
    SpeedKind.DESCENT: "descent_m_s",
}
_MOST_SKIPPED = 100  # items in a row that fly nothing: the mission has ended


class Moment(NamedTuple):
    """State of the vehicle at one step."""

    north_m: float = 0.0
    east_m: float = 0.0
    up_m: float = 0.0
    north_m_s: float = 0.0
    east_m_s: float = 0.0
    climb_m_s: float = 0.0
    armed: bool = False
    mode: str = _MISSION_MODE
    item: int = 0  # that is flown to; 0: home, before the start
    landing: bool = False


class _Target(NamedTuple):
    """A place to fly to, and the speeds on the way."""

    north_m: float
    east_m: float
    up_m: float
    speeds: SpeedSpec
    corner_m_s: float = 0.0  # at the place


@dataclass(frozen=True, slots=True)
class _Order:
    """An item of the mission in the order of flight, with the speeds that are then set."""

    number: int
    item: Waypoint
    speeds: SpeedSpec


class Autopilot:
    """The flight of a scenario's vehicle, one `Moment` a step.

    Args:
        scenario: with waypoints.
        vehicle: its limits.
        wind: the mean wind.
        step_s: time between two moments.
    """

    def __init__(self, scenario: Scenario, vehicle: VehicleSpec, wind: Wind, step_s: float) -> None:
        self._items = scenario.waypoints
        self._rally = scenario.rally
        self._returns = scenario.returns or ReturnSpec()
        self._speeds = scenario.speeds or SpeedSpec()
        self._spec = scenario.flight or FlightSpec()
        self._max_airspeed_m_s = vehicle.max_airspeed_m_s
        self._acceleration_m_s2 = vehicle.acceleration_m_s2
        self._wind = wind
        self._step_s = step_s
        self._step = 0
        self._place_m = (0.0, 0.0)  # that it stays at: north, east
        self._now = Moment(mode=_PILOT_MODE if self._spec.by_pilot else _MISSION_MODE)

    def mission(self) -> Iterator[Moment]:
        """The whole flight, from the ground at home."""
        yield self._now
        yield from self._stand(self._spec.ground_s)
        self._now = self._now._replace(armed=True)
        yield from self._fly_items()
        yield from self._stay_aloft_or_stand()

    def home(self, step: int, moment: Moment) -> Iterator[Moment]:
        """The commanded return after a moment of the flight."""
        self._step = step
        self._now = moment._replace(mode=RETURN_MODE)
        yield from self._return()
        yield from self._stay_aloft_or_stand()

    def _stay_aloft_or_stand(self) -> Iterator[Moment]:
        if not self._now.armed:
            yield from self._stand(self._spec.ground_s)
        while self._now.armed:
            yield self._hover()

    # ------------------------------------------------------------------ items

    def _fly_items(self) -> Iterator[Moment]:
        orders = itertools.chain(self._orders(), [None])
        for order, after in itertools.pairwise(orders):
            if order is None or not self._now.armed:
                return
            self._now = self._now._replace(item=order.number)
            before = self._step
            yield from self._fly(order, after)
            if self._step == before:  # it is there already: else a jump back would take no time
                yield self._hover()

    def _orders(self) -> Iterator[_Order]:
        """The items that fly, in their order; jumps are followed and speeds are set."""
        left: dict[int, int] = {}  # of each jump
        speeds = self._speeds
        number = 1
        skipped = 0
        while number <= len(self._items) and skipped < _MOST_SKIPPED:
            item = self._items[number - 1]
            follows = number + 1
            skipped = skipped + 1
            if item.do == ItemKind.JUMP and item.to is not None:
                times = left.get(number, item.times)
                left[number] = times - 1 if times > 0 else times
                follows = item.to if times else follows
            elif item.do == ItemKind.SPEED:
                speeds = speeds.model_copy(update={_SPEED_KEYS[item.speed]: item.speed_m_s})
            else:
                skipped = 0
                yield _Order(number, item, speeds)
            number = follows

    def _fly(self, order: _Order, after: _Order | None) -> Iterator[Moment]:
        item = order.item
        speeds = order.speeds
        now = self._now
        north_m = now.north_m if item.north_m is None else item.north_m
        east_m = now.east_m if item.east_m is None else item.east_m
        up_m = now.up_m if item.height_m is None else item.height_m
        target = _Target(north_m, east_m, up_m, speeds)
        match item.do:
            case ItemKind.WAYPOINT:
                corner_m_s = 0.0 if item.hold_s else self._corner_m_s(target, after)
                yield from self._to(target._replace(corner_m_s=corner_m_s))
            case ItemKind.LOITER if item.turns is not None and item.radius_m is not None:
                yield from self._circle(target, item.turns, item.radius_m)
            case ItemKind.TAKEOFF | ItemKind.LOITER:
                yield from self._to(target)
            case ItemKind.RETURN:
                yield from self._return()
            case ItemKind.LAND:
                yield from self._to(target)
                yield from self._land()
        for _ in range(round((item.hold_s or 0.0) / self._step_s)):
            yield self._hover()

    def _corner_m_s(self, target: _Target, after: _Order | None) -> float:
        """Speed over a waypoint: the part that has the direction of the next leg."""
        if after is None or after.item.north_m is None or after.item.east_m is None:
            return 0.0
        now = self._now
        here = (target.north_m - now.north_m, target.east_m - now.east_m)
        there = (after.item.north_m - target.north_m, after.item.east_m - target.east_m)
        both_m2 = math.hypot(*here) * math.hypot(*there)
        if both_m2 == 0.0:
            return 0.0
        straight = (here[0] * there[0] + here[1] * there[1]) / both_m2
        return max(straight, 0.0) * target.speeds.cruise_m_s

    # ------------------------------------------------------------------ return and landing

    def _return(self) -> Iterator[Moment]:
        plan = self._returns
        now = self._now
        north_m, east_m, rally_m = self._destination()
        away_m = math.hypot(now.north_m - north_m, now.east_m - east_m)
        least_m = now.up_m + plan.climb_at_least_m
        up_m = max(plan.height_m if rally_m is None else rally_m, least_m)
        if plan.cone_slope is not None:
            up_m = min(up_m, max(away_m * plan.cone_slope, least_m))
        if away_m < plan.level_within_m:
            up_m = now.up_m
        own = SpeedSpec(
            cruise_m_s=plan.cruise_m_s, climb_m_s=plan.climb_m_s, descent_m_s=plan.descent_m_s
        )
        yield from self._to(_Target(now.north_m, now.east_m, up_m, own))
        yield from self._to(_Target(north_m, east_m, up_m, own))
        if plan.wait_height_m is not None:
            wait_m = min(plan.wait_height_m, self._now.up_m)
            yield from self._to(_Target(north_m, east_m, wait_m, own))
        for _ in range(round(plan.wait_s / self._step_s)):
            yield self._hover()
        if plan.lands:
            yield from self._land()

    def _destination(self) -> tuple[float, float, float | None]:
        """Where the return leads: north, east, and the height of a rally point."""
        now = self._now
        plan = self._returns

        def away_m(place: tuple[float, float, float | None]) -> float:
            return math.hypot(place[0] - now.north_m, place[1] - now.east_m)

        places: list[tuple[float, float, float | None]] = []
        if plan.to in (ReturnTo.HOME_OR_RALLY, ReturnTo.RALLY):
            places += [(point.north_m, point.east_m, point.height_m) for point in self._rally]
            places = [at for at in places if away_m(at) <= (plan.rally_within_m or math.inf)]
        elif plan.to == ReturnTo.LANDING:
            places += [
                (item.north_m, item.east_m, None)
                for item in self._items
                if item.do == ItemKind.LAND and item.north_m is not None and item.east_m is not None
            ]
        if plan.to == ReturnTo.HOME_OR_RALLY or not places:
            places.append((0.0, 0.0, None))
        return min(places, key=away_m)

    def _land(self) -> Iterator[Moment]:
        """Descend, slowly close to the ground, and disarm on it."""
        plan = self._returns
        self._now = self._now._replace(landing=True)
        while self._now.up_m > 0.0:
            is_low = self._now.up_m <= plan.landing_height_m
            down_m_s = plan.landing_m_s if is_low else plan.descent_m_s
            yield self._stayed(-down_m_s)
        self._now = Moment(
            self._now.north_m, self._now.east_m, mode=self._now.mode, item=self._now.item
        )

    # ------------------------------------------------------------------ motion

    def _stand(self, seconds: float) -> Iterator[Moment]:
        for _ in range(max(round(seconds / self._step_s), 1)):
            self._step += 1
            yield self._now

    def _hover(self) -> Moment:
        return self._stayed(0.0)

    def _stayed(self, climb_m_s: float) -> Moment:
        north_m, east_m = self._place_m
        return self._moved(north_m - self._now.north_m, east_m - self._now.east_m, climb_m_s)

    def _to(self, target: _Target) -> Iterator[Moment]:
        """Fly in a straight line, as fast as the slower of distance and height allows."""
        speeds = target.speeds
        self._place_m = target.north_m, target.east_m
        while True:
            now = self._now
            north_m = target.north_m - now.north_m
            east_m = target.east_m - now.east_m
            rise_m = target.up_m - now.up_m
            away_m = math.hypot(north_m, east_m)
            if away_m <= _REACHED_M and abs(rise_m) <= _LEVEL_M:
                return
            cruise_m_s = min(speeds.cruise_m_s, self._braking_m_s(away_m, target.corner_m_s))
            rate_m_s = speeds.climb_m_s if rise_m > 0.0 else speeds.descent_m_s
            rate_m_s = min(rate_m_s, self._braking_m_s(abs(rise_m)))
            last_s = max(away_m / cruise_m_s, abs(rise_m) / rate_m_s)
            yield self._moved(north_m / last_s, east_m / last_s, rise_m / last_s)

    def _circle(self, centre: _Target, turns: float, radius_m: float) -> Iterator[Moment]:
        """Fly to the nearest point of a circle, then around its centre."""
        now = self._now
        step_s = self._step_s
        angle = math.atan2(now.east_m - centre.east_m, now.north_m - centre.north_m)
        centripetal_m_s = math.sqrt(_CIRCLING * self._acceleration_m_s2 * radius_m)
        speed_m_s = min(centre.speeds.cruise_m_s, centripetal_m_s)
        edge = centre._replace(
            north_m=centre.north_m + radius_m * math.cos(angle),
            east_m=centre.east_m + radius_m * math.sin(angle),
        )
        yield from self._to(edge)
        for _ in range(round(turns * math.tau * radius_m / speed_m_s / step_s)):
            angle += speed_m_s / radius_m * step_s
            north = math.cos(angle)
            east = math.sin(angle)
            off_north_m = centre.north_m + radius_m * north - self._now.north_m
            off_east_m = centre.east_m + radius_m * east - self._now.east_m
            yield self._moved(off_north_m - speed_m_s * east, off_east_m + speed_m_s * north, 0.0)
        self._place_m = self._now.north_m, self._now.east_m

    def _braking_m_s(self, away_m: float, then_m_s: float = 0.0) -> float:
        """Speed from which the vehicle still slows down to `then_m_s` on the way."""
        square = then_m_s**2 + 2.0 * _BRAKING * self._acceleration_m_s2 * away_m
        return max(math.sqrt(square), _LEVEL_M)

    def _moved(self, north_m_s: float, east_m_s: float, climb_m_s: float) -> Moment:
        """The next moment, with a velocity as near to the demanded one as the vehicle can."""
        now = self._now
        step_s = self._step_s
        self._step += 1
        north_m_s, east_m_s = self._possible_m_s(north_m_s, east_m_s)
        north_m_s = north_m_s - now.north_m_s
        east_m_s = east_m_s - now.east_m_s
        most_m_s = self._acceleration_m_s2 * step_s
        frac = min(1.0, most_m_s / max(math.hypot(north_m_s, east_m_s), most_m_s))
        north_m_s = now.north_m_s + frac * north_m_s
        east_m_s = now.east_m_s + frac * east_m_s
        climb_m_s = now.climb_m_s + min(max(climb_m_s - now.climb_m_s, -most_m_s), most_m_s)
        self._now = now._replace(
            north_m=now.north_m + north_m_s * step_s,
            east_m=now.east_m + east_m_s * step_s,
            up_m=max(now.up_m + climb_m_s * step_s, 0.0),
            north_m_s=north_m_s,
            east_m_s=east_m_s,
            climb_m_s=climb_m_s,
        )
        return self._now

    def _possible_m_s(self, north_m_s: float, east_m_s: float) -> tuple[float, float]:
        """A ground velocity of the same course that needs no more than the greatest airspeed.

        In a wind above that airspeed the vehicle flies against the wind, and drifts.
        """
        wind_north_m_s, wind_east_m_s = self._wind(self._step * self._step_s)
        square = north_m_s**2 + east_m_s**2
        along = north_m_s * wind_north_m_s + east_m_s * wind_east_m_s
        wind_m_s = math.hypot(wind_north_m_s, wind_east_m_s)
        excess = wind_m_s**2 - self._max_airspeed_m_s**2
        if square - 2.0 * along + excess <= 0.0:
            return north_m_s, east_m_s
        if excess > 0.0:
            drift = 1.0 - self._max_airspeed_m_s / wind_m_s
            return drift * wind_north_m_s, drift * wind_east_m_s
        frac = (along + math.sqrt(along**2 - square * excess)) / square
        return frac * north_m_s, frac * east_m_s

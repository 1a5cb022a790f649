# SPDX-License-Identifier: Apache-2.0
"""Stage: the return, whether the pack lasts for it, and the latest time to turn back.

The way is what the autopilot does when it is commanded to return; where its parameters are not
known, what was seen of the flight. Joules of the pack, metres, seconds. A value that rests on
something unknown is `None`, never zero.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from dronebms.core.flight_plan import (
    Agility,
    FlightPlan,
    ItemKind,
    ReturnPlan,
    ReturnTo,
)
from dronebms.core.report import Verdict
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.flight_legs import (
    HOME,
    Conditions,
    Leg,
    NoWayError,
    Position,
    line,
    offset,
    position_of,
    return_legs,
    way_speeds,
)
from dronebms.estimation.load_forecast import LoadAhead
from dronebms.estimation.motion_power import LegTable, MotionPower, Need
from dronebms.estimation.reach import Available, available, verdict
from dronebms.estimation.sampling import Sample
from dronebms.estimation.speed_changes import Limits
from dronebms.estimation.time_to_empty import RemainingTime
from smartbattery.values import changed

NO_LOAD = "load"
_DEFAULT_M_S = 5.0  # ground speed of a vehicle that has only hovered: PX4's default
# Through the air a drone flies at least so fast, and this part of its cruise speed: autopilots
# limit the lean, not the airspeed; at 30 degrees the drag of usual drones is that of 15 to 25 m/s.
_MIN_AIRSPEED_M_S = 15.0
_AIR_FRAC = 1.25
_LEAST_CRUISE_M_S = 1.0  # of the ground speeds flown so far, that gives a cruise speed
_WITHOUT_PLAN = ReturnPlan(descent_m_s=2.0, landing_m_s=0.7, landing_height_m=10.0)
_WINGED = ("ArduPlane", "QuadPlane", "PX4 fixed wing", "PX4 VTOL")  # cruise on a wing
_RECEDE_TAU_S = 5.0
_RECEDE_GAP_S = 20.0
_PASSED = (ItemKind.WAYPOINT, ItemKind.LOITER)
_LANDINGS = (ReturnTo.LANDING, ReturnTo.LANDING_OR_RALLY, ReturnTo.NEAREST)
ALONG_MISSION = (ReturnTo.MISSION, ReturnTo.MISSION_NEARER)
# ArduCopter's defaults of acceleration and jerk, where the autopilot's are not known.
_LEVEL_M_S2 = 2.5
_UPRIGHT_M_S2 = 1.0
_JERK_M_S3 = 1.0
_LANDS_WITHIN_M = 20.0  # of a place: a landing is one there


@dataclass(frozen=True, slots=True)
class ReturnEstimate:
    """The return; seconds."""

    home_s: float | None = None  # flight home and landing
    reserve_s: float | None = None  # left then: 5 % bound
    margin_s: float | None = None  # median less the landing reserve
    best_s: float | None = None  # 95 % bound
    turn_back_in_s: float | None = None  # until the 5 % bound is used up
    verdict: Verdict = Verdict.UNKNOWN
    missing: str | None = None  # what is not known
    alternate: str | None = None
    alternate_by_return: bool | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a vehicle can land."""

    name: str  # "home", "rally point 2", "landing of item 7"
    position: Position
    via: tuple[Position, ...] = ()  # places on the way, in order
    level: bool = False  # the return neither climbs nor waits
    item: int | None = None  # of the mission, that is the landing there


@dataclass(frozen=True, slots=True)
class ReturnHomeState:
    """Restart state of `ReturnHome`."""

    away: tuple[float, float] | None = None  # time, metres from the destination
    receding_m_s: float = 0.0
    verdict: Verdict = Verdict.UNKNOWN


class ReturnHome:
    """Stage: the return of one flight.

    Args:
        reserve_j: energy that a landing is to leave by the median.
        state: to continue from.
    """

    def __init__(self, reserve_j: float = 0.0, state: ReturnHomeState = ReturnHomeState()) -> None:
        self._reserve_j = reserve_j
        self._state = state

    def state(self) -> ReturnHomeState:
        """Restart state."""
        return self._state

    def with_state(self, state: ReturnHomeState) -> Self:
        """Return a stage that continues from a state."""
        return type(self)(self._reserve_j, state)

    def update(
        self,
        sample: Sample,
        vehicle: VehicleState,
        motion: MotionPower,
        load: LoadAhead | None,
        remaining: RemainingTime | None,
    ) -> ReturnEstimate:
        """The return at the time of a sample, unknown without a load."""
        here = offset(vehicle)
        if load is None or here is None:
            return ReturnEstimate(missing=_missing(vehicle))
        to = destination(here, vehicle)
        away_m = here.distance_m(to.position)
        if sample.second is not None:
            self._recede(sample.second.mean.t_s, away_m)
        flight = _Flight(here, vehicle, motion, conditions(vehicle, motion), load.power_w)
        legs = flight.legs_to(to)
        if legs is None:
            return ReturnEstimate(missing="a ground speed against this wind")
        home_s = sum(leg.span_s for leg in legs)
        need = motion.need(LegTable(legs), load.power_w)
        energy = None if remaining is None else available(remaining, load)
        if need is None or energy is None or need.total_j <= 0.0:
            return ReturnEstimate(home_s, missing="time left" if energy is None else NO_LOAD)
        found = self._answer(home_s, need, energy, load.power_w, away_m)
        lasts_j = energy.median_j - self._reserve_j
        if to.name != "home":  # the vehicle's own return goes to the alternate
            name = to.name if flight.need_j(Destination("home", HOME)) > lasts_j else None
        elif found.verdict is Verdict.NO:
            name = flight.nearest(lasts_j)
        else:
            name = None
        by_return = None if name is None else to.name != "home"
        return changed(found, alternate=name, alternate_by_return=by_return)

    def _answer(
        self, home_s: float, need: Need, energy: Available, power_w: float, away_m: float
    ) -> ReturnEstimate:
        return_w = need.total_j / home_s
        low_j, high_j = energy.bounds_j(need.sd)
        low_s, median_s, best_s = [
            (j - need.total_j) / return_w for j in (low_j, energy.median_j, high_j)
        ]
        margin_s = median_s - self._reserve_j / return_w
        pace_m_s = max(away_m / home_s if home_s > 0.0 else 0.0, _LEAST_CRUISE_M_S)
        further_w = return_w * max(self._state.receding_m_s, 0.0) / pace_m_s
        answer = verdict(low_s, margin_s, self._state.verdict)
        self._state = changed(self._state, verdict=answer)
        return ReturnEstimate(
            home_s=home_s,
            reserve_s=low_s,
            margin_s=margin_s,
            best_s=best_s,
            turn_back_in_s=max((low_j - need.total_j) / (power_w + further_w), 0.0),
            verdict=answer,
        )

    def _recede(self, now_s: float, away_m: float) -> None:
        state = self._state
        receding_m_s = self._state.receding_m_s
        if state.away is not None and 0 < now_s - state.away[0] < _RECEDE_GAP_S:
            dt_s = now_s - state.away[0]
            rate_m_s = (away_m - state.away[1]) / dt_s
            receding_m_s += (rate_m_s - receding_m_s) * min(dt_s / _RECEDE_TAU_S, 1.0)
        self._state = changed(state, away=(now_s, away_m), receding_m_s=receding_m_s)


def conditions(vehicle: VehicleState, motion: MotionPower) -> Conditions:
    """Wind as the autopilot estimates it, and the speed that the vehicle has at least."""
    plan = vehicle.plan or FlightPlan()
    cruise_m_s = _cruise_m_s(plan, motion) if plan.returns is None else plan.returns.cruise_m_s
    most_m_s = max(
        _AIR_FRAC * (cruise_m_s or 0.0),
        _AIR_FRAC * (plan.speeds.cruise_m_s or 0.0),
        motion.fastest_air_m_s,
        motion.fastest_m_s,
        _MIN_AIRSPEED_M_S,
    )
    on_wing = vehicle.on_wing is True or vehicle.vehicle_class in _WINGED
    wind_m_s = vehicle.wind_m_s
    from_deg = vehicle.wind_from_deg
    if wind_m_s is None or from_deg is None:
        wind_m_s = from_deg = 0.0
    return Conditions(wind_m_s, from_deg, most_m_s, on_wing, *_limits(plan.agility))


def _limits(agility: Agility) -> tuple[Limits, Limits, Limits]:
    """Limits of level motion, climb and descent; usual ones where the autopilot's are unknown."""
    known = agility.level_m_s2, agility.up_m_s2, agility.down_m_s2
    pairs = zip(known, (_LEVEL_M_S2, _UPRIGHT_M_S2, _UPRIGHT_M_S2), strict=True)
    level, up, down = [usual_m_s2 if m_s2 is None else m_s2 for m_s2, usual_m_s2 in pairs]
    jerk = _JERK_M_S3 if agility.jerk_m_s3 is None else agility.jerk_m_s3
    within_m = agility.within_m
    within_up_m = agility.within_up_m
    return (
        Limits(level, jerk, agility.eases, within_m),
        Limits(up, jerk, agility.eases, within_up_m),
        Limits(down, jerk, agility.eases, within_up_m),
    )


def way(
    here: Position, to: Destination, vehicle: VehicleState, motion: MotionPower, at: Conditions
) -> tuple[Leg, ...]:
    """Legs of the return to a place; raises NoWayError."""
    returns = _returns(vehicle, motion)
    if to.item is not None:
        returns = _by_mission(returns, vehicle.plan or FlightPlan())
    near_m = returns.circle_m + _LANDS_WITHIN_M
    is_landing = vehicle.landing is True and here.distance_m(to.position) <= near_m
    if is_landing or to.level:
        returns = _level(returns)
    if is_landing and at.on_wing and returns.glide_m_s is not None:  # in circles about the place
        returns = changed(returns, circle_m=0.0, wait_height_m=math.inf)
        here = changed(to.position, up_m=here.up_m)
    legs: list[Leg] = []
    for place in () if is_landing else to.via:
        more, here = _legs_over(here, place, returns, at)
        legs += more
    return (*legs, *return_legs(here, to.position, returns, at))


def _returns(vehicle: VehicleState, motion: MotionPower) -> ReturnPlan:
    """The return with a cruise speed."""
    plan = vehicle.plan or FlightPlan()
    returns = _WITHOUT_PLAN if plan.returns is None else plan.returns
    if returns.cruise_m_s is not None:
        return returns
    return changed(returns, cruise_m_s=_cruise_m_s(plan, motion))


def _level(returns: ReturnPlan) -> ReturnPlan:
    return changed(returns, height_m=None, climb_at_least_m=0.0, wait_s=0.0, wait_height_m=None)


def _by_mission(returns: ReturnPlan, plan: FlightPlan) -> ReturnPlan:
    """The return to a landing of the mission, which is the mission's own.

    It neither waits nor circles; a VTOL that hovers flies there on its wing.
    Source: PX4 rtl_direct_mission_land.cpp `setActiveMissionItems`.
    """
    returns = changed(returns, lands=True, wait_s=0.0, wait_height_m=None)
    if not returns.on_rotors:
        return returns
    speeds = plan.speeds
    return changed(
        returns, on_rotors=False, cruise_m_s=speeds.cruise_m_s, climb_m_s=speeds.climb_m_s
    )


def _legs_over(
    here: Position, place: Position, returns: ReturnPlan, at: Conditions
) -> tuple[list[Leg], Position]:
    """Legs to a place that is passed, and where they end; raises NoWayError."""
    end = place if place.up_m is not None else changed(place, up_m=here.up_m)
    # The line that ends this way has the time of its start.
    return line(here, end, way_speeds(returns), at, turn=0.0, stops=False), end


def destination(here: Position, vehicle: VehicleState, item: int | None = None) -> Destination:
    """Where the autopilot's own return goes.

    Args:
        here: where it begins.
        vehicle: with its plan.
        item: that the mission would fly to from there; None: the present one.
    """
    plan = vehicle.plan or FlightPlan()
    returns = plan.returns or ReturnPlan()
    to = returns.to
    found = [Destination("home", HOME)]
    if to in ALONG_MISSION:
        return _along_mission(vehicle).destination(here, vehicle, item)
    if to in _LANDINGS:
        if item is None and (vehicle.flies_mission or _returns_by_item(vehicle)):
            item = vehicle.mission_item
        places = [_sequence(one, here, vehicle, item) for one in _landings(plan, vehicle)]
        if to is not ReturnTo.LANDING:
            places += _rally(plan, vehicle)
        found = places + found if to is ReturnTo.NEAREST else places or found
    elif to is not ReturnTo.HOME:
        rally = [
            one
            for one in _rally(plan, vehicle)
            if returns.rally_within_m is None
            or here.distance_m(one.position) <= returns.rally_within_m
        ]
        found = rally or found if to is ReturnTo.RALLY else found + rally
    nearest = min(found, key=lambda place: here.distance_m(place.position))
    landings = list(_landings(plan, vehicle)) if to is ReturnTo.HOME_THEN_LANDING else []
    if not landings:
        return nearest
    # It circles there, and the landing nearest to that place follows.
    first = changed(nearest.position, up_m=_higher_m(here.up_m, returns.height_m))
    landing = min(landings, key=lambda place: first.distance_m(place.position))
    route = _sequence(landing, first, vehicle, None).via
    return changed(landing, via=(first, *route), level=True)


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
    plan = vehicle.plan or FlightPlan()
    items = plan.items or ()
    returns = plan.returns or ReturnPlan()
    end = landing.item or 0
    starts = [n for n in range(end) if items[n].kind is ItemKind.LANDING_START]
    if not starts:
        return landing
    goes_on = item is not None and starts[-1] <= item <= end
    first = item if goes_on and item is not None else starts[-1]
    places = [
        (each.kind, position)
        for each in items[first:end]
        if each.kind in _PASSED and each.place and (position := position_of(each.place, vehicle))
    ]
    route = [position for _, position in places]
    if route and not goes_on and not returns.climbs_on_way:
        up_m = _higher_m(here.up_m, returns.height_m)
        at_height = changed(here, up_m=up_m), changed(route[0], up_m=up_m)
        circles = returns.circles_down_m_s and places[0][0] is ItemKind.LOITER
        route[:1] = (*at_height, route[0]) if circles else at_height
    return changed(landing, via=tuple(route), level=True) if route or goes_on else landing


@dataclass(frozen=True, slots=True)
class _AlongMission:
    """The way along the items of the mission, without their holds, by which PX4 may return.

    Source: PX4 rtl.cpp `setRtlTypeAndDestination`, rtl_mission_fast.cpp and
    rtl_mission_fast_reverse.cpp.
    """

    places: tuple[tuple[int, Position], ...]  # of the items that have one, with their numbers
    back: tuple[tuple[int, Position], ...]  # the same without landings, last one first
    landing: tuple[int, Position] | None
    landing_start: int  # number of the item with which the landing begins
    nearer: bool  # it goes back if that is fewer items

    def goes_on(self, item: int) -> bool:
        """Whether it flies on to the landing from an item."""
        if self.landing is None:
            return False
        return not (self.nearer and self.landing_start - item >= item)

    def route(self, *, goes_on: bool) -> tuple[tuple[tuple[int, Position], ...], Destination]:
        """(Items on the way and their places, in the order of the flight; where it ends)."""
        if not goes_on or self.landing is None:
            return self.back, Destination("home", HOME, level=True)
        landing, place = self.landing
        name = f"landing of item {landing}"
        end = Destination(name, changed(place, up_m=0.0), level=True, item=landing)
        return tuple([one for one in self.places if one[0] < landing]), end

    def destination(self, here: Position, vehicle: VehicleState, item: int | None) -> Destination:
        """End of the return from a place; `item` as of `destination`."""
        if not self.places:
            return Destination("home", HOME)
        flown = vehicle.mission_item
        if item is None:
            item = flown if vehicle.flies_mission else None
        follows = passed = item
        if item is None and flown is not None and _returns_by_item(vehicle):
            follows = flown
            passed = flown + 1
        if follows is None or passed is None:  # it begins at the nearest item
            follows, _ = min(self.places, key=lambda one: here.distance_m(one[1]))
            passed = follows + 1
        goes_on = self.goes_on(follows)
        route, end = self.route(goes_on=goes_on)
        ahead = [place for n, place in route if (n >= follows if goes_on else n < passed)]
        return changed(end, via=tuple(ahead))


def _along_mission(vehicle: VehicleState) -> _AlongMission:
    plan = vehicle.plan or FlightPlan()
    items = plan.items or ()
    places = [
        (number, position)
        for number, each in enumerate(items)
        if each.place is not None and (position := position_of(each.place, vehicle)) is not None
    ]
    lands = [one for one in places if items[one[0]].kind is ItemKind.LAND]
    starts = [n for n, each in enumerate(items) if each.kind is ItemKind.LANDING_START]
    return _AlongMission(
        places=tuple(places),
        back=tuple([one for one in reversed(places) if one not in lands]),
        landing=lands[0] if lands else None,
        landing_start=min([*starts, *(number for number, _ in lands)], default=0),
        nearer=plan.returns is not None and plan.returns.to is ReturnTo.MISSION_NEARER,
    )


def ways_along(
    vehicle: VehicleState, motion: MotionPower, at: Conditions
) -> tuple[list[Leg], dict[int, tuple[int, int]]]:
    """The returns along the mission from each of its places, which share their legs.

    Returns:
        Legs, endless ones where the wind is too strong, and which of them the return from each
        item takes: (first, end).
    """
    along = _along_mission(vehicle)
    to_home = _level(_returns(vehicle, motion))
    legs: list[Leg] = []
    parts: dict[int, tuple[int, int]] = {}
    for goes_on in (True, False):
        route, end = along.route(goes_on=goes_on)
        if end.item is None:
            returns = to_home
        else:
            returns = _level(_by_mission(to_home, vehicle.plan or FlightPlan()))
        begins = {}
        for index, (number, place) in enumerate(route):
            begins[number] = len(legs)
            try:
                if index + 1 < len(route):
                    legs += _legs_over(place, route[index + 1][1], returns, at)[0]
                else:
                    legs += return_legs(place, end.position, returns, at)
            except NoWayError:
                legs.append(Leg(math.inf))
        for number, begin in begins.items():
            if along.goes_on(number + 1) is goes_on:
                parts[number] = begin, len(legs)
    return legs, parts


def _higher_m(up_m: float | None, height_m: float | None) -> float | None:
    return up_m if up_m is None or height_m is None else max(up_m, height_m)


def alternates(vehicle: VehicleState) -> list[Destination]:
    """Rally points and landings of the mission."""
    plan = vehicle.plan or FlightPlan()
    return [*_rally(plan, vehicle), *_landings(plan, vehicle)]


def _rally(plan: FlightPlan, vehicle: VehicleState) -> Iterator[Destination]:
    for number, place in enumerate(plan.rally or (), 1):
        position = position_of(place, vehicle)
        if position is not None:  # the altitude of a rally point is that of the flight to it
            yield Destination(f"rally point {number}", changed(position, up_m=0.0))


def _landings(plan: FlightPlan, vehicle: VehicleState) -> Iterator[Destination]:
    for number, item in enumerate(plan.items or ()):
        if item.kind is ItemKind.LAND and item.place is not None:
            position = position_of(item.place, vehicle)
            if position is not None:
                name = f"landing of item {number}"
                yield Destination(name, changed(position, up_m=0.0), item=number)


@dataclass(frozen=True, slots=True)
class _Flight:
    """The vehicle on its way to any place."""

    here: Position
    vehicle: VehicleState
    motion: MotionPower
    at: Conditions
    unknown_w: float  # power of a motion of which nothing is known

    def legs_to(self, to: Destination) -> tuple[Leg, ...] | None:
        """Legs of the return there; None against too strong a wind."""
        try:
            return way(self.here, to, self.vehicle, self.motion, self.at)
        except NoWayError:
            return None

    def need_j(self, to: Destination) -> float:
        """Energy that the return there takes; infinite where there is no way."""
        legs = self.legs_to(to)
        need = None if legs is None else self.motion.need(LegTable(legs), self.unknown_w)
        return math.inf if need is None else need.total_j

    def nearest(self, lasts_j: float) -> str | None:
        """Name of the alternate that takes the least energy, if the pack lasts for it."""
        places = alternates(self.vehicle)
        found = [(self.need_j(place), place.name) for place in places]
        least_j, name = min(found, default=(math.inf, ""))
        return name if least_j <= lasts_j else None


def _cruise_m_s(plan: FlightPlan, motion: MotionPower) -> float:
    """Speed of a return whose parameter is not known: that of missions, else what was flown."""
    if plan.speeds.cruise_m_s is not None:
        return plan.speeds.cruise_m_s
    flown_m_s = motion.fastest_m_s
    return flown_m_s if flown_m_s >= _LEAST_CRUISE_M_S else _DEFAULT_M_S


def _missing(vehicle: VehicleState) -> str:
    """The one thing that keeps the way home unknown."""
    if vehicle.lat_deg is None or vehicle.lon_deg is None:
        return "position of the vehicle"
    if vehicle.home_lat_deg is None or vehicle.home_lon_deg is None:
        return "home position"
    return NO_LOAD

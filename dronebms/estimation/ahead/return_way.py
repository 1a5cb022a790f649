# SPDX-License-Identifier: Apache-2.0
"""The way of a return: what the autopilot flies when it is commanded to return.

Where its parameters are not known, what was seen of the flight. Metres and seconds.
"""

import math
from itertools import zip_longest

from dronebms.core.flight_plan import Agility, FlightPlan, PlaceHeight, ReturnPlan
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.ahead.return_destination import Destination, along_mission, height_to
from dronebms.estimation.ahead.return_legs import return_legs, way_speeds
from dronebms.estimation.motion.flight_legs import Conditions, Leg, NoWayError, line
from dronebms.estimation.motion.motion_power import MotionPower
from dronebms.estimation.motion.positions import Position
from dronebms.estimation.motion.speed_changes import Limits
from smartbattery.values import changed

_DEFAULT_M_S = 5.0  # ground speed of a vehicle that has only hovered: PX4's default
# Through the air a drone flies at least so fast, and this part of its cruise speed: autopilots
# limit the lean, not the airspeed; at 30 degrees the drag of usual drones is that of 15 to 25 m/s.
_MIN_AIRSPEED_M_S = 15.0
_AIR_FRAC = 1.25
LEAST_CRUISE_M_S = 1.0  # of the ground speeds flown so far, that gives a cruise speed
_WITHOUT_PLAN = ReturnPlan(descent_m_s=2.0, landing_m_s=0.7, landing_height_m=10.0)
_WINGED = ("ArduPlane", "QuadPlane", "PX4 fixed wing", "PX4 VTOL")  # cruise on a wing
# ArduCopter's defaults of acceleration and jerk, where the autopilot's are not known.
_LEVEL_M_S2 = 2.5
_UPRIGHT_M_S2 = 1.0
_JERK_M_S3 = 1.0
_LANDS_WITHIN_M = 20.0  # of a place: a landing is one there


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
    returns = _to_place(_returns(vehicle, motion), to)
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


def _to_place(returns: ReturnPlan, to: Destination) -> ReturnPlan:
    """The return at the heights that the altitude of a place gives it."""
    wait_m = returns.wait_height_m
    base_m = to.altitude_m if returns.place_height is PlaceHeight.BASE else None
    if wait_m is not None and base_m is not None:  # `wait_height_m` counts from the ground
        wait_m += base_m - (to.position.up_m or 0.0)
    return changed(returns, height_m=height_to(to, returns), wait_height_m=wait_m)


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


def ways_along(
    vehicle: VehicleState, motion: MotionPower, at: Conditions
) -> tuple[list[Leg], dict[int, tuple[int, int]]]:
    """The returns along the mission from each of its places, which share their legs.

    Returns:
        Legs, endless ones where the wind is too strong, and which of them the return from each
        item takes: (first, end).
    """
    along = along_mission(vehicle)
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
        for item, following in zip_longest(route, route[1:]):
            begins[item.number] = len(legs)
            here = item.end
            try:
                if following is None:
                    legs += return_legs(here, end.position, returns, at)
                    continue
                for place in following.places:
                    more, here = _legs_over(here, place, returns, at)
                    legs += more
            except NoWayError:
                legs.append(Leg(math.inf))
        for number, begin in begins.items():
            if along.goes_on(number + 1) is goes_on:
                parts[number] = begin, len(legs)
    return legs, parts


def _cruise_m_s(plan: FlightPlan, motion: MotionPower) -> float:
    """Speed of a return whose parameter is not known: that of missions, else what was flown."""
    if plan.speeds.cruise_m_s is not None:
        return plan.speeds.cruise_m_s
    flown_m_s = motion.fastest_m_s
    return flown_m_s if flown_m_s >= LEAST_CRUISE_M_S else _DEFAULT_M_S

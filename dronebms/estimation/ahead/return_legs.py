# SPDX-License-Identifier: Apache-2.0
"""Legs of a return to a place: its climb, its way, and what the vehicle does at its end.

A plane circles down or lands along a slope, a vehicle on rotors waits and lands from a hover, and
some stay in the air. Source: ArduCopter mode_rtl.cpp, PX4 rtl_direct.cpp `_updateRtlState`.
"""

from dataclasses import dataclass

from dronebms.core.flight_plan import ReturnPlan, Speeds
from dronebms.estimation.motion.flight_legs import (
    DESCENT_M_S,
    Conditions,
    Leg,
    landing,
    line,
    slowed,
)
from dronebms.estimation.motion.positions import HOME, Position
from smartbattery.values import changed


@dataclass(frozen=True, slots=True)
class _Way:
    """The way to a place after the first climb, and what it depends on."""

    begins: Position
    end: Position  # the place, at the height of its ground
    up_m: float | None  # height of the way above home
    plan: ReturnPlan
    at: Conditions

    @property
    def away_m(self) -> float:
        """Horizontal distance to the place."""
        return self.begins.distance_m(self.end)

    @property
    def above_end(self) -> Position:
        """The end of the way, above the place."""
        return changed(self.end, up_m=self.up_m)

    @property
    def height_m(self) -> float | None:
        """Height of the way above the ground of the place."""
        return None if self.up_m is None else max(self.up_m - (self.end.up_m or 0.0), 0.0)

    @property
    def at_end(self) -> Conditions:
        """Conditions above the place: a VTOL that lands on its rotors hovers there."""
        hovers = self.at.on_wing and self.plan.landing_m_s is not None
        return changed(self.at, on_wing=False) if hovers else self.at


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
    up_m = _cruise_up_m(start.up_m, start.distance_m(end), plan)
    begins = changed(start, up_m=_climbed_up_m(start.up_m, up_m, plan))
    way = _Way(begins, end, up_m, plan, at)
    return (*line(start, begins, way_speeds(plan), at), *_legs_from(way))


def _legs_from(way: _Way) -> list[Leg]:
    """Legs of the way, by the kind of its end."""
    plan = way.plan
    low_m = plan.wait_height_m
    height_m = way.height_m
    if way.at.on_wing and plan.circles_down_m_s and low_m is not None and height_m is not None:
        return _circled_down(way, height_m, min(low_m, height_m))
    if way.at.on_wing and plan.lands and plan.landing_m_s is None and plan.wait_s <= 0.0:
        return _down_a_slope(way)
    return _landed(way) if plan.lands else _staying(way)


def _down_a_slope(way: _Way) -> list[Leg]:
    """A landing on the wing at the end of the way."""
    plan = way.plan
    slow = changed(way_speeds(plan), cruise_m_s=plan.approach_m_s or plan.cruise_m_s)
    ground = changed(way.end, up_m=way.end.up_m or 0.0)
    return line(way.begins, ground, slow, way.at)


def _landed(way: _Way) -> list[Leg]:
    """The way, the wait above the place, and the landing there."""
    plan = way.plan
    at = way.at_end
    legs = _to_place(way)
    height_m = way.height_m
    if plan.wait_s > 0.0 and plan.wait_height_m is not None and height_m is not None:
        high_m = height_m
        height_m = min(plan.wait_height_m, high_m)
        down = Position(0.0, 0.0, high_m), Position(0.0, 0.0, height_m)
        legs += line(*down, way_speeds(plan), at)
    return [*legs, *_wait(plan, at), *landing(height_m, plan, at)]


def _staying(way: _Way) -> list[Leg]:
    """The way, the wait above the place, and the descent to the height at which it stays."""
    plan = way.plan
    legs = [*_to_place(way), *_wait(plan, way.at_end)]
    height_m = way.height_m
    if plan.wait_height_m is None or height_m is None or height_m <= plan.wait_height_m:
        return legs
    rate_m_s = plan.descent_m_s or DESCENT_M_S
    return [*legs, Leg((height_m - plan.wait_height_m) / rate_m_s, way.at.wind_m_s, -rate_m_s)]


def _circled_down(way: _Way, height_m: float, low_m: float) -> list[Leg]:
    """The way to a circle on the wing, circles down to a lower height, the wait and the landing.

    A VTOL flies from its circle to the place, slows down and lands on its rotors; a plane circles
    down to the ground. Source: PX4 FixedWingModeManager.cpp `control_auto_landing_circular`.
    """
    plan = way.plan
    at = way.at
    speeds = way_speeds(plan)
    air_m_s = plan.cruise_m_s or 0.0
    rate_m_s = speeds.descent_m_s or DESCENT_M_S
    legs = line(way.begins, _short_of(way.begins, way.above_end, plan), speeds, at)
    circles = [
        (max(height_m - low_m - plan.within_up_m, 0.0) / rate_m_s, -rate_m_s),
        (plan.wait_s, 0.0),
    ]
    legs += [Leg(span_s, air_m_s, up_m_s, on_wing=True) for span_s, up_m_s in circles if span_s > 0]
    if not plan.lands:
        return legs
    circle = Position(min(plan.circle_m, way.away_m), 0.0)
    legs += line(circle, HOME, speeds, changed(at, wind_m_s=0.0))
    if plan.landing_m_s is not None:
        rotors = changed(at, on_wing=False)
        return [*legs, *slowed(way.away_m, speeds, at), *landing(low_m, plan, rotors)]
    glide_m_s = plan.glide_m_s or rate_m_s
    return [*legs, Leg(low_m / glide_m_s, plan.approach_m_s or air_m_s, -glide_m_s, on_wing=True)]


def _to_place(way: _Way) -> list[Leg]:
    """The way to above the place, and the slowing down where it hovers there."""
    speeds = way_speeds(way.plan)
    legs = line(way.begins, way.above_end, speeds, way.at)
    return legs if way.at_end.on_wing else [*legs, *slowed(way.away_m, speeds, way.at)]


def _wait(plan: ReturnPlan, at: Conditions) -> list[Leg]:
    return [Leg(plan.wait_s, at.wind_m_s, 0.0, at.on_wing)] if plan.wait_s > 0.0 else []


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


def _cruise_up_m(up_m: float | None, away_m: float, plan: ReturnPlan) -> float | None:
    """Height of the return flight above home."""
    if up_m is None or plan.height_m is None or away_m < plan.level_within_m:
        return up_m
    height_m = max(up_m + plan.climb_at_least_m, plan.height_m)
    if plan.cone_slope is not None:
        height_m = min(height_m, max(plan.cone_slope * away_m, up_m))
    return max(height_m, up_m)

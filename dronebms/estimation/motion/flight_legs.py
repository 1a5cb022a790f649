# SPDX-License-Identifier: Apache-2.0
"""Legs of a flight ahead: straight lines and landings, with their spans and motions.

An autopilot flies straight lines at a speed over ground, as far as the wind lets it, and climbs and
descends at speeds of its own; on a wing it holds a speed through the air.
Source: ArduCopter mode_rtl.cpp and AC_WPNav, PX4 rtl_direct.cpp, in their common part.
"""

import math
from dataclasses import dataclass

from dronebms.core.flight_plan import ReturnPlan, Speeds
from dronebms.estimation.motion.positions import Position
from dronebms.estimation.motion.speed_changes import INSTANT, Limits

_LEAST_S = 1e-3  # of a leg
_LEAST_M_S = 1.0  # slower over ground, a vehicle does not arrive
# ArduCopter's defaults, where the autopilot's are not known
_CLIMB_M_S = 2.5
DESCENT_M_S = 1.5
_LANDING_M_S = 0.7  # PX4's default
_LANDING_HEIGHT_M = 10.0  # ArduCopter's default


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of a flight with one motion."""

    span_s: float
    air_m_s: float = 0.0  # horizontally through the air
    climb_m_s: float = 0.0
    on_wing: bool = False


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
    rate_m_s = (speeds.climb_m_s or _CLIMB_M_S) if up_m > 0 else (speeds.descent_m_s or DESCENT_M_S)
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


def slowed(along_m: float, speeds: Speeds, at: Conditions) -> list[Leg]:
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
    fast_m_s = plan.descent_m_s or DESCENT_M_S
    slow_m = slow_m if height_m is None else min(height_m, slow_m)
    fast_m = 0.0 if height_m is None else height_m - slow_m
    down = [(fast_m / fast_m_s, -fast_m_s), (slow_m / slow_m_s, -slow_m_s)]
    air_m_s = 0.0 if at.on_wing else at.wind_m_s
    legs = [Leg(span_s, air_m_s, up_m_s, at.on_wing) for span_s, up_m_s in down if span_s > 0.0]
    start_s = 0.0 if at.on_wing or not legs else at.descent.ramp_s(-legs[0].climb_m_s) / 2.0
    return [Leg(start_s, air_m_s), *legs] if start_s >= _LEAST_S else legs

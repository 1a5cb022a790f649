# SPDX-License-Identifier: Apache-2.0
"""Stage: power of the vehicle as a function of its motion, learned on this vehicle.

A linear model of watts in a few terms of motion, fitted second by second by a Kalman filter: hover,
climb, descent, the fall of induced power at speed and the drag. On a wing: level flight, climb,
descent. The prior of the terms is that of momentum theory (Leishman, Principles of Helicopter
Aerodynamics, chapters 2 and 5) for usual disc loadings. Speeds are through the air, metres per
second, climb positive.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.motion.flight_legs import Leg
from dronebms.estimation.motion.positions import Position, offset
from smartbattery.values import changed

Array = npt.NDArray[np.float64]

# Relative to the first term: prior and its standard deviation.
_ROTOR = np.array([1.0, 0.065, 0.04, -0.15, 0.12]), np.array([0.0, 0.03, 0.03, 0.15, 0.12])
_WING = np.array([1.0, 0.35, 0.2]), np.array([0.0, 0.2, 0.15])
ROTOR_TERMS = len(_ROTOR[0])
WING_TERMS = len(_WING[0])
_INDUCED_M_S = 6.0  # induced velocity in hover, at which the induced power has fallen by a third
_DRAG_M_S = 10.0
_MOST_M_S = 40.0  # of a speed through the air
_FIRST_SD = 0.4  # relative, of the power that the first second gives
_KNOWN_SD = 0.12  # of the one that earlier flights give: payload, air
_WALK_SD = 0.0026  # relative, of the first term in a second: 2 % in a minute
_SECOND_SD = 0.25  # of the power of a second: gusts of some ten seconds
_MODEL_SD = 0.05
_UNKNOWN_SD = 0.2  # of the power of a motion of which nothing is known
_LEARNED_SD = 0.02  # of a term, from flight to flight
_SEEN_S = 20.0  # before it the power of another motion is not known
_LEAST_FRAC = 0.2  # of the first term: no motion takes less
_FASTEST_TAU_S = 10.0  # over which a speed lasts
_APART_S = 3.0  # of two positions that give a velocity
_STANDS_M_S = 1.0  # over ground


@dataclass(frozen=True, slots=True)
class Fit:
    """Terms in watts and their covariance."""

    terms_w: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]


# Terms of an earlier flight in watts, and their variances relative to the square of the first.
Terms: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class LearnedMotion:
    """What a flight has taught."""

    rotor: Terms | None = None
    wing: Terms | None = None


@dataclass(frozen=True, slots=True)
class MotionPowerState:
    """Restart state of `MotionPower`."""

    rotor: Fit | None = None
    wing: Fit | None = None
    rotor_s: float = 0.0  # of this flight
    wing_s: float = 0.0
    ground_m_s: float = 0.0  # over some seconds
    air_m_s: float = 0.0  # the same through the air
    fastest_m_s: float = 0.0  # over ground, in this flight
    fastest_air_m_s: float = 0.0
    place: tuple[float, float, float] | None = None  # time, metres north and east of home


@dataclass(frozen=True, slots=True, eq=False)
class Need:
    """Energy of legs in joules, its sum and the relative standard deviation of the sum.

    Of an endless leg the energy is infinite, and the deviation of a sum with it 0.
    """

    legs_j: Array
    total_j: float
    sd: float


class LegTable:
    """Motions of legs as terms of the model.

    Attributes:
        spans_s: of each leg; 0 of an endless one.
        endless: whether a leg never ends. It takes infinite energy, whatever its motion.
        rotor: (legs, terms); zeros for a leg on the wing or an endless one.
        wing: the reverse.
    """

    def __init__(self, legs: Sequence[Leg]) -> None:
        spans_s = np.array([leg.span_s for leg in legs], float)
        self.endless = np.isinf(spans_s)
        self.spans_s = np.where(self.endless, 0.0, spans_s)
        self.rotor = np.zeros((len(legs), ROTOR_TERMS))
        self.wing = np.zeros((len(legs), WING_TERMS))
        for row, leg in enumerate(legs):
            if self.endless[row]:
                continue
            if leg.on_wing:
                self.wing[row] = _wing(leg.climb_m_s)
            else:
                self.rotor[row] = _rotor(leg.air_m_s, leg.climb_m_s)


class MotionPower:
    """Stage: power by motion of one flight.

    Args:
        learned: of an earlier flight of the vehicle.
        hover_w: power of a hover by the configuration, where nothing is learned.
        state: to continue from.
    """

    def __init__(
        self,
        learned: LearnedMotion | None = None,
        hover_w: float | None = None,
        state: MotionPowerState | None = None,
    ) -> None:
        self._learned = learned
        self._hover_w = hover_w
        if state is None:
            state = MotionPowerState()
            if learned is not None:
                state = MotionPowerState(_recalled(learned.rotor), _recalled(learned.wing))
            if state.rotor is None and hover_w is not None:
                state = changed(state, rotor=_first(_ROTOR, hover_w))
        self._state = state

    def state(self) -> MotionPowerState:
        """Restart state."""
        return self._state

    def with_state(self, state: MotionPowerState) -> Self:
        """Return a stage that continues from a state."""
        return type(self)(self._learned, self._hover_w, state)

    @property
    def fastest_m_s(self) -> float:
        """Greatest ground speed that lasted some seconds in this flight."""
        return self._state.fastest_m_s

    @property
    def fastest_air_m_s(self) -> float:
        """The same through the air."""
        return self._state.fastest_air_m_s

    def use(self, learned: LearnedMotion | None) -> None:
        """Take in what earlier flights taught; too late once this flight has taught its own."""
        if learned is not None and self._state.rotor_s + self._state.wing_s == 0.0:
            self._learned = learned
            self._state = MotionPowerState(_recalled(learned.rotor), _recalled(learned.wing))

    def update(self, now_s: float, dt_s: float, power_w: float, vehicle: VehicleState) -> None:
        """Take in the mean power of the last second and the motion."""
        state = self._state
        ground_m_s = vehicle.ground_speed_m_s
        position = offset(vehicle)
        velocity = _velocity_m_s(state.place, now_s, position)
        place = None if position is None else (now_s, position.north_m, position.east_m)
        self._state = state = changed(state, place=place)
        if power_w <= 0.0 or ground_m_s is None or vehicle.armed is False:
            return
        air_m_s = _air_m_s(vehicle, ground_m_s, velocity)
        share = min(dt_s / _FASTEST_TAU_S, 1.0)
        slow_m_s = state.ground_m_s + (ground_m_s - state.ground_m_s) * share
        slow_air_m_s = state.air_m_s + (air_m_s - state.air_m_s) * share
        state = changed(
            state,
            ground_m_s=slow_m_s,
            air_m_s=slow_air_m_s,
            fastest_m_s=max(state.fastest_m_s, slow_m_s),
            fastest_air_m_s=max(state.fastest_air_m_s, slow_air_m_s),
        )
        climb_m_s = vehicle.climb_m_s or 0.0
        if vehicle.on_wing:
            features = _wing(climb_m_s)
            fit = _learned_from(state.wing or _first(_WING, power_w), features, power_w, dt_s)
            self._state = changed(state, wing=fit, wing_s=state.wing_s + dt_s)
            return
        features = _rotor(air_m_s, climb_m_s)
        first = state.rotor or _first(_ROTOR, power_w / float(_ROTOR[0] @ features))
        fit = _learned_from(first, features, power_w, dt_s)
        self._state = changed(state, rotor=fit, rotor_s=state.rotor_s + dt_s)

    def need(self, legs: LegTable, unknown_w: float | None) -> Need | None:
        """Energy of legs.

        Args:
            legs: with their motions.
            unknown_w: power of a motion of which nothing is known; None: it stays unknown.
        """
        joules = np.where(legs.endless, math.inf, 0.0)
        variance = 0.0
        for features, on_wing in ((legs.rotor, False), (legs.wing, True)):
            if not features.any():
                continue
            fit = self._known(on_wing=on_wing)
            if fit is None:
                if unknown_w is None:
                    return None
                part = unknown_w * legs.spans_s * (features[:, 0] > 0.0)
                variance += (_UNKNOWN_SD * float(part.sum())) ** 2
            else:
                terms = np.array(fit.terms_w)
                watts = np.maximum(features @ terms, _LEAST_FRAC * terms[0] * features[:, 0])
                part = watts * legs.spans_s
                summed = legs.spans_s @ features
                variance += float(summed @ np.array(fit.covariance) @ summed)
                variance += (_MODEL_SD * float(part.sum())) ** 2
            joules += part
        total_j = float(joules.sum())
        return Need(joules, total_j, math.sqrt(variance) / total_j if total_j > 0.0 else 0.0)

    def _known(self, *, on_wing: bool) -> Fit | None:
        state = self._state
        fit, seen_s = (state.wing, state.wing_s) if on_wing else (state.rotor, state.rotor_s)
        return fit if seen_s >= _SEEN_S or self._has_prior(on_wing=on_wing) else None

    def learned(self) -> LearnedMotion | None:
        """What this flight teaches about the vehicle; None if too little was flown."""
        state = self._state
        rotor = _relative(state.rotor) if state.rotor_s >= _SEEN_S else None
        wing = _relative(state.wing) if state.wing_s >= _SEEN_S else None
        if rotor is None and wing is None:
            return None
        known = self._learned or LearnedMotion()
        return LearnedMotion(rotor or known.rotor, wing or known.wing)

    def _has_prior(self, *, on_wing: bool) -> bool:
        learned = self._learned or LearnedMotion()
        if on_wing:
            return learned.wing is not None
        return learned.rotor is not None or self._hover_w is not None


def _velocity_m_s(
    before: tuple[float, float, float] | None, now_s: float, position: Position | None
) -> tuple[float, float] | None:
    """Velocity over ground (north, east) between two positions, None without both."""
    if before is None or position is None or not 0.0 < now_s - before[0] <= _APART_S:
        return None
    dt_s = now_s - before[0]
    return (position.north_m - before[1]) / dt_s, (position.east_m - before[2]) / dt_s


def _air_m_s(
    vehicle: VehicleState, ground_m_s: float, velocity: tuple[float, float] | None
) -> float:
    """Horizontal speed through the air; over ground where the wind or the course is not known."""
    wind_m_s = vehicle.wind_m_s
    from_deg = vehicle.wind_from_deg
    if wind_m_s is None or from_deg is None:
        return ground_m_s
    if velocity is None:
        return wind_m_s if ground_m_s < _STANDS_M_S else ground_m_s
    angle = math.radians(from_deg)
    return math.hypot(
        velocity[0] + wind_m_s * math.cos(angle), velocity[1] + wind_m_s * math.sin(angle)
    )


def _rotor(air_m_s: float, climb_m_s: float) -> Array:
    """Terms of motion on rotors; the first is the hover."""
    speed = min(air_m_s, _MOST_M_S)
    square = speed * speed
    induced = square / (square + 2.0 * _INDUCED_M_S**2)
    drag = (speed / _DRAG_M_S) ** 3
    return np.array([1.0, max(climb_m_s, 0.0), min(climb_m_s, 0.0), induced, drag])


def _wing(climb_m_s: float) -> Array:
    """Terms of motion on a wing; the first is level flight."""
    return np.array([1.0, max(climb_m_s, 0.0), min(climb_m_s, 0.0)])


def _first(prior: tuple[Array, Array], first_w: float) -> Fit:
    """Terms of the prior at a power of the first term."""
    mean, sds = prior
    spread = np.outer(mean, mean) * _FIRST_SD**2 + np.diag(sds**2)
    return _fit(mean * first_w, spread * first_w**2)


def _recalled(learned: Terms | None) -> Fit | None:
    """Terms of an earlier flight, less certain."""
    if learned is None:
        return None
    terms = np.array(learned[0])
    variances = np.array(learned[1]) + _LEARNED_SD**2
    relative = terms / terms[0]
    variances[0] = 0.0
    spread = np.outer(relative, relative) * _KNOWN_SD**2 + np.diag(variances)
    return _fit(terms, spread * terms[0] ** 2)


def _relative(fit: Fit | None) -> Terms | None:
    if fit is None:
        return None
    square = fit.terms_w[0] ** 2
    return fit.terms_w, tuple([row[n] / square for n, row in enumerate(fit.covariance)])


def _learned_from(fit: Fit, features: Array, power_w: float, dt_s: float) -> Fit:
    """One step of the filter."""
    terms = np.array(fit.terms_w)
    covariance = np.array(fit.covariance)
    covariance[0, 0] += (_WALK_SD * terms[0]) ** 2 * dt_s
    toward = covariance @ features
    innovation = power_w - float(features @ terms)
    variance = float(features @ toward) + (_SECOND_SD * terms[0]) ** 2 / dt_s
    gain = toward / variance
    terms = terms + gain * innovation
    terms[0] = max(terms[0], _LEAST_FRAC * power_w)
    covariance = covariance - np.outer(gain, toward)
    return _fit(terms, (covariance + covariance.T) / 2.0)


def _fit(terms: Array, covariance: Array) -> Fit:
    rows = [tuple(map(float, row)) for row in covariance]
    return Fit(tuple(map(float, terms)), tuple(rows))

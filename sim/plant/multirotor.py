# SPDX-License-Identifier: Apache-2.0
"""Electrical power of a multirotor in steady flight, from its weight and motion in the air.

Momentum theory with a constant figure of merit, no state: watts at the pack's terminals, speeds
in metres per second through the air, climb positive upwards, air density in kg/m3. Equations
after Leishman, Principles of Helicopter Aerodynamics, chapters 2 and 5; docs/flights.md has them.
"""

import math

from sim.plant.scenario import VehicleSpec

GRAVITY_M_S2 = 9.80665

# Profile power grows with the square of the advance ratio (Leishman 5.4). The tips' speed follows
# from the thrust coefficient: 12.4 kg on four 0.74 m rotors at 80 m/s.
_PROFILE_GROWTH = 4.65
_THRUST_COEFFICIENT = 0.01

# Induced over hover velocity in vertical descent, measured (Leishman 2.13): 1 and the sum of
# these times the first to fourth power of climb over hover velocity, down to -2.
_K1 = -1.125
_K2 = -1.372
_K3 = -1.718
_K4 = -0.655
_FASTEST_DESCENT = -2.0

_MIN_THRUST_FRAC = 0.05  # of the weight: control remains in a fast descent

_CONVERGED = 1e-6  # of the hover velocity; convergence is quadratic
_MAX_ITERATIONS = 20  # three or four are usual


def induced_m_s(hover_m_s: float, along_m_s: float, through_m_s: float) -> float:
    """Induced velocity of an ideal rotor.

    In level flight and climb: the solution of Glauert's v sqrt(along^2 + (through + v)^2) = hover^2
    by Newton's method from above. In descent, where the equation does not hold: the value of level
    flight times the factor measured in vertical descent, which fades out until the speed along the
    disc reaches the hover velocity.

    Args:
        hover_m_s: induced velocity in hover at the same thrust.
        along_m_s: speed of the air along the disc.
        through_m_s: speed of the air through the disc, positive in climb.
    """
    square = hover_m_s * hover_m_s
    along2 = along_m_s * along_m_s
    # A quotient: a difference would lose precision at speed.
    level_m_s = square / math.sqrt(along2 / 2.0 + math.hypot(along2 / 2.0, square))
    if through_m_s < 0.0:
        sink = max(through_m_s / hover_m_s, _FASTEST_DESCENT)
        measured = sink * (_K1 + sink * (_K2 + sink * (_K3 + sink * _K4)))
        return level_m_s * (1.0 + measured * max(1.0 - along2 / square, 0.0))
    axial_m_s = math.sqrt(through_m_s * through_m_s / 4.0 + square) - through_m_s / 2.0
    added_m_s = min(level_m_s, axial_m_s)
    for _ in range(_MAX_ITERATIONS):
        flow_m_s = through_m_s + added_m_s
        total_m_s = math.sqrt(along2 + flow_m_s * flow_m_s)
        slope = total_m_s + added_m_s * flow_m_s / total_m_s
        change_m_s = (added_m_s * total_m_s - square) / slope
        added_m_s -= change_m_s
        if abs(change_m_s) < _CONVERGED * hover_m_s:
            break
    return added_m_s


class Multirotor:
    """Power model of a vehicle."""

    def __init__(self, vehicle: VehicleSpec) -> None:
        self.vehicle = vehicle
        self._disc_m2 = vehicle.rotors * math.pi / 4.0 * vehicle.rotor_diameter_m**2

    def hover_m_s(self, thrust_n: float, density_kg_m3: float) -> float:
        """Induced velocity in hover."""
        return math.sqrt(thrust_n / (2.0 * density_kg_m3 * self._disc_m2))

    def power_w(
        self, mass_kg: float, density_kg_m3: float, speed_m_s: float, climb_m_s: float
    ) -> float:
        """Electrical power in steady flight.

        Args:
            mass_kg: total, with payload and pack.
            density_kg_m3: of the air.
            speed_m_s: horizontal, through the air.
            climb_m_s: vertical, through the air.
        """
        vehicle = self.vehicle
        drag_n_s_m = 0.5 * density_kg_m3 * vehicle.drag_area_m2 * math.hypot(speed_m_s, climb_m_s)
        back_n = drag_n_s_m * speed_m_s
        weight_n = mass_kg * GRAVITY_M_S2
        up_n = max(weight_n + drag_n_s_m * climb_m_s, _MIN_THRUST_FRAC * weight_n)
        thrust_n = math.hypot(up_n, back_n)
        hover_m_s = self.hover_m_s(thrust_n, density_kg_m3)
        through_m_s = (back_n * speed_m_s + up_n * climb_m_s) / thrust_n
        along_m_s = (up_n * speed_m_s - back_n * climb_m_s) / thrust_n
        advance2 = (along_m_s / hover_m_s) ** 2
        ideal_m_s = induced_m_s(hover_m_s, along_m_s, through_m_s)
        swept = advance2 * (ideal_m_s / hover_m_s) ** 2  # sine of the wake's tilt, squared
        overlap = vehicle.induced_factor * (1.0 + vehicle.wake_overlap * swept)
        growth = 1.0 + _PROFILE_GROWTH * _THRUST_COEFFICIENT / 2.0 * advance2
        profile = (1.0 / vehicle.figure_of_merit - vehicle.induced_factor) * growth
        # No recuperation by rotors in the airflow.
        inflow_m_s = max(overlap * ideal_m_s + through_m_s, 0.0)
        shaft_w = thrust_n * (inflow_m_s + profile * hover_m_s)
        return vehicle.avionics_w + shaft_w / vehicle.drive_efficiency

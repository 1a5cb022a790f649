# SPDX-License-Identifier: Apache-2.0
"""Usual power of a vehicle: the mean power of each of its newest flights.

Power belongs to the airframe and its payload, not to the pack. A flight with another payload is
one of these flights: how far they differ is learned with them. Watts and seconds.
"""

import math
from dataclasses import dataclass

from dronebms.estimation.model_parameters import ModelParameters
from dronebms.estimation.motion.motion_power import LearnedMotion

MAX_FLIGHTS = 20  # newest


@dataclass(frozen=True, slots=True)
class FlightPower:
    """Power of one flight."""

    flight_id: str
    mean_w: float
    span_s: float  # of the load
    motion: LearnedMotion | None = None  # power by motion, after this flight


@dataclass(frozen=True, slots=True)
class UsualPower:
    """The mean power of the next flight, as the earlier ones predict it."""

    mean_w: float
    sd: float  # relative, of the mean power of another flight


def with_flight(flights: tuple[FlightPower, ...], flight: FlightPower) -> tuple[FlightPower, ...]:
    """The newest flights with another one; one that is among them is replaced."""
    if any(known.flight_id == flight.flight_id for known in flights):
        return tuple(
            [flight if known.flight_id == flight.flight_id else known for known in flights]
        )
    return (*flights, flight)[-MAX_FLIGHTS:]


def newest_motion(flights: tuple[FlightPower, ...]) -> LearnedMotion | None:
    """Power by motion after the newest flight that taught it: it rests on the earlier ones."""
    found = [flight.motion for flight in flights if flight.motion is not None]
    return found[-1] if found else None


def usual_power(flights: tuple[FlightPower, ...], parameters: ModelParameters) -> UsualPower | None:
    """Mean of the flights, weighted by their spans, and their spread; None without a flight.

    The spread is shrunk to a prior (`sd_between`) that counts like `between_flights` of them, and
    grows by the uncertainty of a mean of few flights.
    """
    total_s = sum(flight.span_s for flight in flights)
    if total_s <= 0.0:
        return None
    mean_w = sum(flight.mean_w * flight.span_s for flight in flights) / total_s
    if mean_w <= 0.0:
        return None
    count = len(flights)
    prior = parameters.between_flights
    apart = sum(flight.span_s * (flight.mean_w / mean_w - 1.0) ** 2 for flight in flights)
    spread = prior * parameters.sd_between**2 + count * apart / total_s
    variance = spread / (prior + count - 1) * (1.0 + 1.0 / count)
    return UsualPower(mean_w, math.sqrt(variance))

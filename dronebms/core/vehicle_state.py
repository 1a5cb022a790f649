"""What the flight controller says of the vehicle: the second input of the loop.

Made by the MAVLink bridge, by a simulated flight or by a recorded one; never guessed.
Degrees are WGS 84, altitudes metres above mean sea level, climb is positive upwards.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VehicleState:
    """One moment of the vehicle; `None` is unheard, or heard too long ago."""

    armed: bool | None = None
    mode: str | None = None
    lat_deg: float | None = None
    lon_deg: float | None = None
    alt_m: float | None = None
    home_lat_deg: float | None = None
    home_lon_deg: float | None = None
    home_alt_m: float | None = None
    ground_speed_m_s: float | None = None
    climb_m_s: float | None = None
    wind_m_s: float | None = None
    wind_from_deg: float | None = None
    hover_throttle_frac: float | None = None
    failsafe: bool | None = None  # of the flight controller's own, at work now
    heartbeat_age_s: float | None = None  # of the autopilot; None: never heard


UNKNOWN_VEHICLE = VehicleState()

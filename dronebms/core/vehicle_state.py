# SPDX-License-Identifier: Apache-2.0
"""State of the vehicle as its autopilot reports it: the second input of the loop.

Made by the MAVLink bridge, a simulated flight or a flight log; never guessed. Degrees are WGS 84,
altitudes metres above mean sea level, climb is positive upwards.
"""

from dataclasses import dataclass

from dronebms.core.flight_plan import FlightPlan

_MISSION_MODES = ("AUTO", "MISSION")  # of ArduPilot and PX4


@dataclass(frozen=True, slots=True)
class TelemetryLinkState:
    """A MAVLink link in addition to that of the autopilot."""

    url: str
    trouble: str | None = None  # why it does not work, one sentence


@dataclass(frozen=True, slots=True)
class VehicleState:
    """One moment of the vehicle; `None` means never received, or too old."""

    armed: bool | None = None  # None also after a flight until it is disarmed for certain
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
    failsafe: bool | None = None  # a failsafe of the flight controller has chosen the mode
    heartbeat_age_s: float | None = None  # of the autopilot; None: no heartbeat was received
    vehicle_class: str | None = None  # firmware and airframe; None also if no action is possible
    mode_age_s: float | None = None  # since the first heartbeat in this mode
    landing: bool | None = None  # in any mode, also by a mission or at the end of a return
    on_ground: bool | None = None  # as the autopilot detects it, also while armed
    terminated: bool | None = None  # flight termination, or a crash found by the autopilot
    on_wing: bool | None = None  # a plane, or a VTOL in forward flight
    plan: FlightPlan | None = None  # does not expire
    mission_item: int | None = None  # the item of the mission that is flown to
    uid: str | None = None  # of the autopilot, hexadecimal; does not expire
    link_trouble: str | None = None  # why the link to the autopilot does not work, one sentence
    can_trouble: str | None = None  # why a CAN bus or a node there does not work, one sentence
    second_sender: str | None = None  # of the service's own MAVLink components, one sentence
    telemetry_links: tuple[TelemetryLinkState, ...] = ()

    @property
    def flies_mission(self) -> bool | None:
        """Whether the autopilot flies a mission; `None` if that is unknown."""
        if self.armed is False:
            return False
        if self.armed is None or self.mode is None:
            return None
        return self.mode in _MISSION_MODES


UNKNOWN_VEHICLE = VehicleState()

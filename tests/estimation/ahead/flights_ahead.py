# SPDX-License-Identifier: Apache-2.0
"""A vehicle, its plan and the seconds of a flight for the tests of the flight ahead."""

import math
from dataclasses import replace

from dronebms.core.flight_plan import (
    Agility,
    FlightPlan,
    ItemKind,
    MissionItem,
    Place,
    ReturnPlan,
    Speeds,
)
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.load_forecast import LoadAhead
from dronebms.estimation.motion.motion_power import MotionPower
from dronebms.estimation.sampling import Reading, Sample, Second
from dronebms.estimation.time_to_empty import RemainingTime

KILOMETRE_DEG = 1.0 / 111.195  # of latitude, on a sphere of 6371 km
RETURNS = ReturnPlan(
    cruise_m_s=10.0,
    climb_m_s=2.0,
    descent_m_s=2.0,
    landing_m_s=0.5,
    landing_height_m=10.0,
    height_m=40.0,
)
# A start and a stop at 2.5 m/s², climbs and descents that begin and end at once.
AGILITY = Agility(2.5, 1e6, 1e6, math.inf)
PLAN = FlightPlan(
    returns=RETURNS, items=(), rally=(), speeds=Speeds(8.0, 2.0, 1.5), agility=AGILITY
)
AWAY = VehicleState(
    armed=True,
    mode="LOITER",
    lat_deg=47.0 + 2 * KILOMETRE_DEG,
    lon_deg=8.0,
    alt_m=540.0,
    home_lat_deg=47.0,
    home_lon_deg=8.0,
    home_alt_m=500.0,
    ground_speed_m_s=0.0,
    climb_m_s=0.0,
    plan=PLAN,
)


def place(north_km: float, up_m: float = 40.0) -> Place:
    """A place north of home."""
    return Place(47.0 + north_km * KILOMETRE_DEG, 8.0, up_m)


def waypoint(north_km: float, up_m: float = 40.0, hold_s: float = 0.0) -> MissionItem:
    """A waypoint north of home."""
    return MissionItem(ItemKind.WAYPOINT, place(north_km, up_m), hold_s)


def flying(vehicle: VehicleState, *items: MissionItem, item: int = 0) -> VehicleState:
    """The vehicle on a mission."""
    plan = replace(vehicle.plan or PLAN, items=items)
    return replace(vehicle, plan=plan, mode="AUTO", mission_item=item)


def second(t_s: float, power_w: float = 400.0) -> Second:
    """A second of flight at a power."""
    return Second(1.0, Reading(t_s, 3.7, power_w / 20.0, 20.0), None, power_w / 20.0, 0.0)


def sample(t_s: float, power_w: float = 400.0) -> Sample:
    """A sample that completes a second."""
    full = second(t_s, power_w)
    return Sample(
        t_s=t_s,
        cells=6,
        cells_v=(),
        newest=full.mean,
        is_new=True,
        first=None,
        second=full,
        used_as=0.0,
        used_ws=0.0,
        current_known=True,
        ended=False,
        just_ended=False,
    )


def hovered(vehicle: VehicleState = AWAY, power_w: float = 400.0, span_s: int = 60) -> MotionPower:
    """Power by motion after a hover."""
    motion = MotionPower()
    for t in range(span_s):
        motion.update(float(t), 1.0, power_w, vehicle)
    return motion


def load(power_w: float = 400.0) -> LoadAhead:
    """A load without doubt."""
    return LoadAhead(power_w, 0.0, 0.0, power_w, power_w)


def lasting(low_s: float, median_s: float, power_w: float = 400.0) -> RemainingTime:
    """A time to empty, as far above as below."""
    return RemainingTime(low_s, median_s, median_s * median_s / max(low_s, 1.0), power_w)

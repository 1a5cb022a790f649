# SPDX-License-Identifier: Apache-2.0
"""Flight plan of a scenario, as the autopilot of its vehicle reports it."""

from dronebms.core.flight_plan import (
    Agility,
    FlightPlan,
    ItemKind,
    MissionItem,
    Place,
    SpeedKind,
    Speeds,
)
from sim.plant.scenario import Scenario
from sim.plant.waypoint_spec import FlightSpec, ReturnSpec, SpeedSpec, Waypoint

_AT_ONCE_M_S3 = 1e3  # jerk of a vehicle whose acceleration changes at once


def reported_plan(scenario: Scenario) -> FlightPlan | None:
    """The plan; `None` for phases without [return], [speeds] and [[rally]].

    Item 0 of a mission is home, as on ArduPilot. A pilot's waypoints are not on the autopilot.
    """
    returns = scenario.returns
    speeds = scenario.speeds
    if scenario.waypoints:
        returns = returns or ReturnSpec()
        speeds = speeds or SpeedSpec()
    elif returns is None and speeds is None and not scenario.rally:
        return None
    items: tuple[MissionItem, ...] = ()
    if scenario.waypoints and not (scenario.flight or FlightSpec()).by_pilot:
        home = MissionItem(ItemKind.OTHER, _place(scenario, 0.0, 0.0, 0.0))
        items = (home, *(_item(scenario, item) for item in scenario.waypoints))
    return FlightPlan(
        returns=returns.plan() if returns else None,
        items=items,
        rally=tuple(_place(scenario, r.north_m, r.east_m, r.height_m) for r in scenario.rally),
        speeds=speeds.speeds() if speeds else Speeds(),
        agility=_agility(scenario),
    )


def _agility(scenario: Scenario) -> Agility:
    if scenario.vehicle is None:
        return Agility()
    m_s2 = scenario.vehicle.acceleration_m_s2
    return Agility(m_s2, m_s2, m_s2, _AT_ONCE_M_S3)


def _place(scenario: Scenario, north_m: float, east_m: float, height_m: float | None) -> Place:
    return Place(*scenario.place.at_deg(north_m, east_m), height_m)


def _item(scenario: Scenario, item: Waypoint) -> MissionItem:
    place = None
    if item.do == ItemKind.TAKEOFF:
        place = _place(scenario, 0.0, 0.0, item.height_m)
    elif item.north_m is not None and item.east_m is not None:
        place = _place(scenario, item.north_m, item.east_m, item.height_m or 0.0)
    return MissionItem(
        kind=ItemKind(item.do),
        place=place,
        hold_s=item.hold_s or 0.0,
        turns=item.turns or 0.0,
        radius_m=item.radius_m or 0.0,
        speed_m_s=item.speed_m_s,
        speed_kind=SpeedKind(item.speed),
        jump_to=item.to or 0,
        jump_times=item.times if item.do == ItemKind.JUMP else 0,
    )

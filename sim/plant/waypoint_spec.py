# SPDX-License-Identifier: Apache-2.0
"""Waypoints of a scenario, and the return and speeds of its vehicle; defaults are ArduCopter's.

Metres north and east of home, heights above home. Units are in the key names.
"""

from typing import Annotated

from pydantic import Field, model_validator

from dronebms.core.flight_plan import ItemKind, PlaceHeight, ReturnPlan, ReturnTo, SpeedKind, Speeds
from dronebms.core.toml_schema import NotNegative, Positive, Section, one_of

Distance = Annotated[float, Field(ge=-100_000.0, le=100_000.0)]
Height = Annotated[float, Field(ge=0.0, le=5000.0)]
Speed = Annotated[float, Field(gt=0.0, le=40.0)]

# Keys of each kind of item: needed, and possible.
_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    ItemKind.TAKEOFF: (("height_m",), ()),
    ItemKind.WAYPOINT: (("north_m", "east_m", "height_m"), ("hold_s",)),
    ItemKind.LOITER: ((), ("north_m", "east_m", "height_m", "hold_s", "turns", "radius_m")),
    ItemKind.DELAY: (("hold_s",), ()),
    ItemKind.SPEED: (("speed_m_s",), ("speed",)),
    ItemKind.JUMP: (("to",), ("times",)),
    ItemKind.RETURN: ((), ()),
    ItemKind.LAND: ((), ("north_m", "east_m")),
}
_PLACE = ("north_m", "east_m", "height_m")
_RETURNS_TO = (ReturnTo.HOME, ReturnTo.HOME_OR_RALLY, ReturnTo.RALLY, ReturnTo.LANDING)


class Waypoint(Section):
    """An item of the mission; items count from 1, as on the autopilot, whose item 0 is home."""

    do: Annotated[str, one_of(_KEYS)] = ItemKind.WAYPOINT.value
    north_m: Distance | None = None
    east_m: Distance | None = None
    height_m: Height | None = None
    hold_s: NotNegative | None = None
    turns: Positive | None = None
    radius_m: Annotated[float, Field(gt=0.0, le=1000.0)] | None = None
    speed_m_s: Speed | None = None
    speed: Annotated[str, one_of(kind.value for kind in SpeedKind if kind != SpeedKind.AIR)] = (
        SpeedKind.GROUND.value
    )
    to: Annotated[int, Field(ge=1)] | None = None
    times: Annotated[int, Field(ge=-1, le=1000)] = 1  # -1: for ever

    @model_validator(mode="after")
    def _keys_fit(self) -> "Waypoint":
        needed, possible = _KEYS[self.do]
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        problems = [f"{name} is needed" for name in needed if name not in given]
        others = sorted(given - {"do", *needed, *possible})
        problems += [f"{name} does not apply" for name in others]
        if self.do == ItemKind.LOITER:
            problems += self._loiter_problems(given)
        elif self.do == ItemKind.LAND and len(given & set(_PLACE)) == 1:
            problems.append("north_m and east_m are needed together")
        if problems:
            raise ValueError(f"keys that fit {self.do!r}: {', '.join(problems)}")
        return self

    def _loiter_problems(self, given: set[str]) -> list[str]:
        problems = []
        if 0 < len(given & set(_PLACE)) < len(_PLACE):
            problems.append("north_m, east_m and height_m are needed together")
        if ("hold_s" in given) == ("turns" in given):
            problems.append("one of hold_s and turns is needed")
        if ("turns" in given) != ("radius_m" in given):
            problems.append("turns and radius_m are needed together")
        return problems


class Rally(Section):
    """A rally point; without a height the vehicle returns at that of [return]."""

    north_m: Distance
    east_m: Distance
    height_m: Height | None = None


class SpeedSpec(Section):
    """Speeds of the mission."""

    cruise_m_s: Speed = 10.0  # over ground
    climb_m_s: Speed = 2.5
    descent_m_s: Speed = 1.5

    def speeds(self) -> Speeds:
        """The speeds as the autopilot reports them."""
        return Speeds(**self.model_dump())


class ReturnSpec(Section):
    """What the vehicle does when it is commanded to return (`ReturnPlan`)."""

    cruise_m_s: Speed = 10.0  # over ground
    climb_m_s: Speed = 2.5
    descent_m_s: Speed = 1.5
    landing_m_s: Speed = 0.5
    landing_height_m: Height = 10.0
    height_m: Height = 15.0
    climb_at_least_m: Height = 0.0
    cone_slope: Annotated[float, Field(ge=0.1, le=100.0)] | None = None
    level_within_m: NotNegative = 0.0
    wait_s: NotNegative = 5.0
    wait_height_m: Height | None = None
    lands: bool = True
    to: Annotated[str, one_of(_RETURNS_TO)] = ReturnTo.HOME.value
    rally_within_m: Positive | None = None

    def plan(self) -> ReturnPlan:
        """The return as the autopilot reports it."""
        return ReturnPlan(
            **self.model_dump() | {"to": ReturnTo(self.to)}, place_height=PlaceHeight.WAY
        )


class FlightSpec(Section):
    """Start and end of a flight of waypoints."""

    ground_s: NotNegative = 20.0  # on the ground, before arming and after the landing
    by_pilot: bool = False  # a pilot flies the waypoints: the autopilot has no mission
    return_at_s: Positive | None = None  # time of a commanded return
    return_at: str | None = None  # id of the limit at which the return is commanded

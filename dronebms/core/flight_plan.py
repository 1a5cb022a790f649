# SPDX-License-Identifier: Apache-2.0
"""Flight plan of the vehicle as its autopilot holds it: return, mission and rally points.

Made by the MAVLink bridge, a simulated flight or a flight log; free of flight stacks, so that
estimation needs no parameter name. Degrees are WGS 84, metres and seconds; `None` means unknown.
"""

from dataclasses import dataclass
from enum import StrEnum


class ItemKind(StrEnum):
    """What a mission item does, as far as time and energy depend on it."""

    WAYPOINT = "waypoint"  # also a spline's
    TAKEOFF = "takeoff"
    LOITER = "loiter"  # at a place, for `hold_s` or `turns`
    LAND = "land"
    RETURN = "return"  # ends the mission by the return to home
    DELAY = "delay"
    SPEED = "speed"
    JUMP = "jump"
    LANDING_START = "landing start"  # a landing sequence begins; flies nowhere itself
    OTHER = "other"  # takes neither time nor energy: camera, servo, region of interest


class SpeedKind(StrEnum):
    """The speed that a SPEED item changes."""

    GROUND = "ground"
    AIR = "air"
    CLIMB = "climb"
    DESCENT = "descent"


@dataclass(frozen=True, slots=True)
class Place:
    """A place; its altitude is above home or above mean sea level, `None` if neither is known."""

    lat_deg: float
    lon_deg: float
    alt_m: float | None = None
    above_home: bool = True  # what `alt_m` is relative to


@dataclass(frozen=True, slots=True)
class MissionItem:
    """One item of a mission; its number is its index in `FlightPlan.items`."""

    kind: ItemKind
    place: Place | None = None  # None: where the vehicle is
    hold_s: float | None = 0.0  # at the place; None: until it is commanded on
    turns: float = 0.0  # of a LOITER, in place of `hold_s`
    radius_m: float = 0.0  # of these turns
    speed_m_s: float | None = None  # of a SPEED
    speed_kind: SpeedKind = SpeedKind.GROUND
    jump_to: int = 0  # of a JUMP: number of the item that follows
    jump_times: int = 0  # -1: for ever
    vtol: bool = False  # takes off or lands on rotors
    level_first: bool = False  # it climbs or descends at its place, not on the way there


@dataclass(frozen=True, slots=True)
class Speeds:
    """Speeds of a mission, by the autopilot's parameters."""

    cruise_m_s: float | None = None  # over ground; on a wing through the air
    climb_m_s: float | None = None
    descent_m_s: float | None = None


@dataclass(frozen=True, slots=True)
class Agility:
    """How fast the vehicle changes its speed on rotors, by the autopilot's parameters."""

    level_m_s2: float | None = None
    up_m_s2: float | None = None
    down_m_s2: float | None = None
    jerk_m_s3: float | None = None
    eases: bool = False  # towards the end of a line the speed falls with the distance, as PX4's
    within_m: float = 0.0  # of such an end, where the line counts as flown
    within_up_m: float = 0.0  # the same of a climb or a descent


class ReturnTo(StrEnum):
    """Where the autopilot's own return goes."""

    HOME = "home"
    HOME_OR_RALLY = "home or rally point"  # the nearest of them
    RALLY = "rally point"  # the nearest of them, home if there is none
    LANDING = "mission landing"  # the landing items of the mission
    LANDING_OR_RALLY = "mission landing or rally point"  # the nearest, home if there is none
    NEAREST = "home, mission landing or rally point"  # the nearest of them
    HOME_THEN_LANDING = "home, then mission landing"  # home or the nearest rally point first
    MISSION = "along the mission"  # on to its landing; back to home if it has none
    MISSION_NEARER = "along the mission, nearer end"  # on or back, by the number of items
    RALLY_OR_HERE = "rally point, else in place"  # the nearest of them; lands where it is otherwise


class PlaceHeight(StrEnum):
    """What the altitude of a place is to the return that goes there."""

    UNUSED = "unused"
    LEAST = "least"  # of a rally point: the way is no lower
    WAY = "way"  # of a rally point: the height of the way, in place of that of the return
    BASE = "base"  # of any place: the heights of the return are above it, in place of home


@dataclass(frozen=True, slots=True)
class ReturnPlan:
    """What the vehicle does when it is commanded to return, by the autopilot's parameters."""

    cruise_m_s: float | None = None  # over ground; on a wing through the air
    climb_m_s: float | None = None
    descent_m_s: float | None = None
    landing_m_s: float | None = None  # close to the ground
    landing_height_m: float | None = None  # above home, below which it lands at that speed
    height_m: float | None = None  # above home, to which it climbs; a higher vehicle stays there
    climb_at_least_m: float = 0.0
    climbs_on_way: bool = False  # on a wing: it flies home while it climbs
    # Rise over run of a cone about home: the vehicle climbs no higher than it. None: no cone.
    cone_slope: float | None = None
    level_within_m: float = 0.0  # of home: it does not climb
    wait_s: float = 0.0  # at home
    wait_height_m: float | None = None  # above home, to which it descends first; None: it does not
    # On a wing: at home it circles down to `wait_height_m` at this rate first. None: it does not.
    circles_down_m_s: float | None = None
    circle_m: float = 0.0  # radius of these circles
    glide_m_s: float | None = None  # sink rate of a landing on the wing after them
    approach_m_s: float | None = None  # through the air, of a landing on the wing
    within_up_m: float = 0.0  # on a wing: of the height at which a climb or descent counts as flown
    on_rotors: bool = False  # a VTOL that hovers flies home without its wing
    lands: bool = True  # False: it stays at home as it is, in the air or on its wheels
    to: ReturnTo = ReturnTo.HOME
    rally_within_m: float | None = None  # of the vehicle: farther ones do not count; None: all do
    rally_beyond_m: float = 0.0  # of home: nearer ones do not count
    place_height: PlaceHeight = PlaceHeight.UNUSED
    missing: tuple[str, ...] = ()  # parameters that the autopilot did not answer


@dataclass(frozen=True, slots=True)
class FlightPlan:
    """Plan of a vehicle; each part is `None` until it has been received whole."""

    returns: ReturnPlan | None = None
    items: tuple[MissionItem, ...] | None = None  # (): no mission on the vehicle
    rally: tuple[Place, ...] | None = None
    speeds: Speeds = Speeds()
    agility: Agility = Agility()

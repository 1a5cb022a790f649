# SPDX-License-Identifier: Apache-2.0
"""The return, the speeds and the agility of a vehicle, by what was read of its parameters.

Source: ArduCopter mode_rtl.cpp `compute_return_target` and mode.cpp `land_run_vertical_control`;
ArduPlane mode_rtl.cpp `update` and `navigate`, commands_logic.cpp `do_RTL`; PX4 rtl.cpp
`computeReturnAltitude`, `setRtlTypeAndDestination` and `findClosestSafePoint`, rtl_direct.cpp
`getActivationState` for rovers, FlightTaskAuto.cpp `_prepareLandSetpoints` and
`_updateTrajConstraints`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from dronebms.core.flight_plan import Agility, PlaceHeight, ReturnPlan, ReturnTo, Speeds
from mavlink_bridge.protocol.mission_items import Circles
from mavlink_bridge.vehicle.return_parameter_rows import COPTER, PLANE, PX4, ROVER

_FULL_CIRCLE_DEG = 360.0
_CONE_LEAST = 0.5  # ArduCopter RTL_MIN_CONE_SLOPE; below it there is no cone
_LANDING_AT_LEAST_M = 1.0  # ArduCopter lands slowly below this height at any rate
# RTL_AUTOLAND; with 0 and 3 it circles at home.
_TO_LANDING: Mapping[float | None, ReturnTo] = MappingProxyType(
    {1.0: ReturnTo.HOME_THEN_LANDING, 2.0: ReturnTo.LANDING, 4.0: ReturnTo.LANDING}
)
# RTL_TYPE; 2 and 4 fly the mission's way, 1 avoids home where there is another place, 5 always.
_RETURN_TO = (
    *(ReturnTo.HOME_OR_RALLY, ReturnTo.LANDING_OR_RALLY, ReturnTo.MISSION),
    *(ReturnTo.NEAREST, ReturnTo.MISSION_NEARER, ReturnTo.RALLY_OR_HERE),
)
_QRTL_ALWAYS = 3  # Q_RTL_MODE
_CLIMB_BEFORE_TURN = 1 << 4  # FLIGHT_OPTIONS
_OWN_RALLY_M = 10.0  # PX4 kLandApproachAssociationDistanceM: so close to home it is home's


@dataclass(frozen=True, slots=True)
class Read:
    """What has been read of one vehicle."""

    values: Mapping[str, float]  # by quantity, in SI units
    missing: tuple[str, ...]  # names
    on_wing: bool | None
    unread: tuple[str, ...] = ()  # names that may still be answered


def _copter(read: Read) -> tuple[ReturnPlan, Speeds]:
    get = read.values.get
    cruise_m_s = get("cruise_m_s")
    descent_m_s = get("descent_m_s")
    high_m_s = get("high_m_s")
    final_m = get("final_m")
    cone = get("cone")
    low_m = get("low_m")
    stays = final_m is not None and final_m > 0.0
    plan = ReturnPlan(
        cruise_m_s=_or_else(get("return_m_s"), cruise_m_s),
        climb_m_s=get("climb_m_s"),
        descent_m_s=descent_m_s if stays else _or_else(high_m_s, descent_m_s),
        landing_m_s=get("landing_m_s"),
        landing_height_m=None if low_m is None else max(low_m, _LANDING_AT_LEAST_M),
        # Above terrain: its height above home is not known.
        height_m=None if get("terrain") else get("height_m"),
        climb_at_least_m=get("climb_min_m", 0.0),
        cone_slope=cone if cone is not None and cone >= _CONE_LEAST else None,
        wait_s=get("wait_s", 0.0),
        wait_height_m=final_m if stays else None,
        lands=not stays,
        to=_home_or_rally(read),
        rally_within_m=get("rally_m") or None,
        place_height=PlaceHeight.LEAST,
        missing=read.missing,
    )
    return plan, Speeds(cruise_m_s, get("climb_m_s"), descent_m_s)


def _plane(read: Read) -> tuple[ReturnPlan, Speeds]:
    get = read.values.get
    speeds = Speeds(get("cruise_m_s"), get("climb_m_s"), get("descent_m_s"))
    to_landing = _TO_LANDING.get(get("landing"))
    height_m = get("height_m")
    mode = get("vtol_return")
    climbs_first = get("climb_min_m") or int(get("options", 0.0)) & _CLIMB_BEFORE_TURN
    plan = ReturnPlan(
        cruise_m_s=speeds.cruise_m_s,
        climb_m_s=speeds.climb_m_s,
        descent_m_s=speeds.descent_m_s,
        height_m=None if height_m is None else max(height_m, 0.0),  # -1: it stays where it is
        climbs_on_way=not climbs_first,
        lands=to_landing is not None,
        to=to_landing or _home_or_rally(read),
        rally_within_m=get("rally_m") or None,
        place_height=PlaceHeight.WAY,
        missing=read.missing,
    )
    if not mode:
        return plan, speeds
    plan = replace(
        plan,
        descent_m_s=get("vtol_dn_m_s"),
        landing_m_s=get("landing_m_s"),
        landing_height_m=get("low_m"),
        wait_height_m=get("vtol_m"),
        lands=True,
        to=_home_or_rally(read),
    )
    if mode == _QRTL_ALWAYS:
        plan = replace(
            plan,
            cruise_m_s=get("vtol_m_s"),
            climb_m_s=get("vtol_up_m_s"),
            height_m=get("vtol_m"),
            climbs_on_way=False,
            wait_height_m=None,
        )
    return plan, speeds


def _rover(read: Read) -> tuple[ReturnPlan, Speeds]:
    get = read.values.get
    cruise_m_s = get("cruise_m_s")
    back_m_s = _or_else(get("return_m_s"), cruise_m_s)
    plan = ReturnPlan(
        back_m_s,
        lands=False,
        to=_home_or_rally(read),
        rally_within_m=get("rally_m") or None,
        missing=read.missing,
    )
    return plan, Speeds(cruise_m_s)


def _px4(read: Read) -> tuple[ReturnPlan, Speeds]:
    get = read.values.get
    wing = Speeds(get("cruise_m_s"), get("climb_m_s"), get("descent_m_s"))
    rotor = Speeds(get("rotor_m_s"), get("rotor_up_m_s"), get("rotor_dn_m_s"))
    hovers = not get("wing") or read.on_wing is False
    now = rotor if hovers else wing
    delay_s = get("wait_s")
    number = get("type")
    to = ReturnTo.HOME if number is None else _RETURN_TO[int(number)]
    if get("rover"):  # drives there from where it is
        plan = ReturnPlan(get("rover_m_s"), lands=False, to=to, missing=read.missing)
        return plan, Speeds(get("rover_m_s"))
    if hovers and get("wing") and to is ReturnTo.LANDING_OR_RALLY:
        to = ReturnTo.NEAREST  # a VTOL in a hover
    plan = ReturnPlan(
        cruise_m_s=now.cruise_m_s,
        climb_m_s=now.climb_m_s,
        # On its rotors; a VTOL flies there on its wing, as far as it does.
        descent_m_s=rotor.descent_m_s if get("rotors") else wing.descent_m_s,
        landing_m_s=get("landing_m_s"),
        landing_height_m=_slow_height_m(read),
        height_m=get("height_m"),
        # The cone is as wide as RTL_MIN_DIST: in it the vehicle climbs little.
        level_within_m=get("level_m", 0.0) if hovers and get("cone") else 0.0,
        wait_s=max(delay_s or 0.0, 0.0),
        wait_height_m=get("wait_m"),
        circles_down_m_s=None if hovers else wing.descent_m_s,
        circle_m=0.0 if hovers else abs(get("circle_m", 0.0)),
        glide_m_s=None if hovers else _glide_m_s(read),
        approach_m_s=None if hovers else _approach_m_s(read),
        within_up_m=0.0 if hovers else get("circle_up_m", 0.0),
        on_rotors=hovers and bool(get("wing")),
        lands=delay_s is None or delay_s >= 0.0,
        to=to,
        rally_beyond_m=0.0 if to is ReturnTo.RALLY_OR_HERE else _OWN_RALLY_M,
        place_height=PlaceHeight.BASE,
        missing=read.missing,
    )
    return plan, wing if get("wing") else rotor


def _approach_m_s(read: Read) -> float | None:
    """Airspeed of a landing on a wing; FW_LND_AIRSPD of 0 or less stands for the least airspeed."""
    return read.values.get("approach_m_s", read.values.get("least_m_s"))


def _glide_m_s(read: Read) -> float | None:
    """Sink rate of a landing in circles, as `control_auto_landing_circular` has it."""
    air_m_s = _approach_m_s(read)
    slope_deg = read.values.get("glide_deg")
    if air_m_s is None or slope_deg is None:
        return None
    return air_m_s * math.sin(math.atan(math.radians(slope_deg)))


def agility_of(read: Read, *, eases: bool) -> Agility:
    """How the speed changes; `eases` towards the end of a line that counts as flown before it."""
    get = read.values.get
    up_m_s2 = get("up_m_s2")
    agility = Agility(
        level_m_s2=get("level_m_s2"),
        up_m_s2=up_m_s2,
        down_m_s2=get("down_m_s2") if eases else up_m_s2,  # ArduCopter has one of both
        jerk_m_s3=get("jerk_m_s3"),
    )
    within_m = get("within_m")
    within_up_m = get("within_up_m")
    if not eases or within_m is None or within_up_m is None:
        return agility
    return replace(agility, eases=True, within_m=within_m, within_up_m=within_up_m)


def _slow_height_m(read: Read) -> float | None:
    """Height below which a landing at MPC_LAND_SPEED takes as long as that of PX4.

    Between MPC_LAND_ALT1 and MPC_LAND_ALT2 the speed falls in proportion to the height.
    """
    get = read.values.get
    low_m = get("low_m")
    slow_m = get("slow_m")
    fast_m_s = get("rotor_dn_m_s")
    landing_m_s = get("landing_m_s")
    if low_m is None or slow_m is None or fast_m_s is None or landing_m_s is None:
        return None
    if slow_m <= low_m or fast_m_s <= landing_m_s:
        return low_m
    takes_s_per_m = math.log(fast_m_s / landing_m_s) / (fast_m_s - landing_m_s)
    slow_frac = (takes_s_per_m - 1.0 / fast_m_s) / (1.0 / landing_m_s - 1.0 / fast_m_s)
    return low_m + (slow_m - low_m) * slow_frac


def _home_or_rally(read: Read) -> ReturnTo:
    """ArduPilot's return; firmware without rally points has no parameter of them."""
    includes_home = read.values.get("rally")
    if includes_home is None:
        return ReturnTo.HOME
    return ReturnTo.HOME_OR_RALLY if includes_home else ReturnTo.RALLY


def _or_else(value: float | None, default: float | None) -> float | None:
    """A value for which 0 stands for another one."""
    return default if value == 0.0 else value


def circles_of(read: Read) -> Circles:
    """The circles of a mission."""
    rate_deg_s = read.values.get("turn_deg_s")
    radius_m = read.values.get("turn_m", 0.0)
    turn_s = _FULL_CIRCLE_DEG / abs(rate_deg_s) if rate_deg_s else None
    return Circles(abs(radius_m), turn_s)


PLANS: Mapping[str, Callable[[Read], tuple[ReturnPlan, Speeds]]] = MappingProxyType(
    {COPTER: _copter, PLANE: _plane, ROVER: _rover, PX4: _px4}
)

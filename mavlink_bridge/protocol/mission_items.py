# SPDX-License-Identifier: Apache-2.0
"""Mission items and rally points as an autopilot sends them: MISSION_ITEM_INT -> core.flight_plan.

Numbers stay those of the wire, so that they equal MISSION_CURRENT.seq: item 0 of ArduPilot is home,
which is not flown to. A place without latitude and longitude is where the vehicle is: that of the
item before, or home. The altitude above terrain has no known relation to home: it is unknown.
A number that no flight has is unknown.
Source: common.xml, MAV_CMD; ArduPilot AP_Mission.cpp `mission_cmd_to_mavlink_int`, ArduCopter
ModeAuto `loc_from_cmd`, ArduPlane `set_next_WP`; PX4 mavlink_mission.cpp
`format_mavlink_mission_item`, mission_block.cpp `mission_item_to_position_setpoint`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.flight_plan import ItemKind, MissionItem, Place, SpeedKind
from mavlink_bridge.protocol.flight_modes import COPTER_TYPES
from mavlink_bridge.protocol.flight_stacks import ARDUPILOT_ID, PX4_ID

_RAW_PER_DEG = 1e7
_LAT_MAX_RAW = 900_000_000
_LON_MAX_RAW = 1_800_000_000
_FOR_EVER = -1
_ITEMS = 0xFFFF
_LONGEST_S = 1e7
_FARTHEST_M = 1e5
_FASTEST_M_S = 1e3
_KINDS: Mapping[int, ItemKind] = MappingProxyType(
    {
        mavlink.MAV_CMD_NAV_WAYPOINT: ItemKind.WAYPOINT,
        mavlink.MAV_CMD_NAV_SPLINE_WAYPOINT: ItemKind.WAYPOINT,
        mavlink.MAV_CMD_NAV_CONTINUE_AND_CHANGE_ALT: ItemKind.WAYPOINT,
        mavlink.MAV_CMD_NAV_LOITER_UNLIM: ItemKind.LOITER,
        mavlink.MAV_CMD_NAV_LOITER_TURNS: ItemKind.LOITER,
        mavlink.MAV_CMD_NAV_LOITER_TIME: ItemKind.LOITER,
        mavlink.MAV_CMD_NAV_LOITER_TO_ALT: ItemKind.LOITER,
        mavlink.MAV_CMD_NAV_TAKEOFF: ItemKind.TAKEOFF,
        mavlink.MAV_CMD_NAV_VTOL_TAKEOFF: ItemKind.TAKEOFF,
        mavlink.MAV_CMD_NAV_LAND: ItemKind.LAND,
        mavlink.MAV_CMD_NAV_VTOL_LAND: ItemKind.LAND,
        mavlink.MAV_CMD_NAV_PAYLOAD_PLACE: ItemKind.WAYPOINT,  # at the ground; it flies on
        mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH: ItemKind.RETURN,
        mavlink.MAV_CMD_NAV_DELAY: ItemKind.DELAY,
        mavlink.MAV_CMD_NAV_GUIDED_ENABLE: ItemKind.DELAY,
        mavlink.MAV_CMD_DO_CHANGE_SPEED: ItemKind.SPEED,
        mavlink.MAV_CMD_DO_JUMP: ItemKind.JUMP,
        mavlink.MAV_CMD_DO_JUMP_TAG: ItemKind.JUMP,
        mavlink.MAV_CMD_DO_LAND_START: ItemKind.LANDING_START,
        mavlink.MAV_CMD_DO_RETURN_PATH_START: ItemKind.LANDING_START,
    }
)
_ON_ROTORS = (mavlink.MAV_CMD_NAV_VTOL_TAKEOFF, mavlink.MAV_CMD_NAV_VTOL_LAND)
_FLOWN_TO = (ItemKind.WAYPOINT, ItemKind.LOITER, ItemKind.TAKEOFF, ItemKind.LAND)
_ALTITUDE_KEPT = (ItemKind.WAYPOINT, ItemKind.LOITER)  # by ArduPilot, if it is 0
_HELD = (  # for param1 seconds
    mavlink.MAV_CMD_NAV_WAYPOINT,
    mavlink.MAV_CMD_NAV_SPLINE_WAYPOINT,
    mavlink.MAV_CMD_NAV_LOITER_TIME,
)
_SPEED_KINDS = (SpeedKind.AIR, SpeedKind.GROUND, SpeedKind.CLIMB, SpeedKind.DESCENT)  # SPEED_TYPE
_ABOVE_SEA = (mavlink.MAV_FRAME_GLOBAL, mavlink.MAV_FRAME_GLOBAL_INT)
_ABOVE_HOME = (mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT, mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT_INT)
_ABOVE_TERRAIN = (mavlink.MAV_FRAME_GLOBAL_TERRAIN_ALT, mavlink.MAV_FRAME_GLOBAL_TERRAIN_ALT_INT)
_GLOBAL = (*_ABOVE_SEA, *_ABOVE_HOME, *_ABOVE_TERRAIN)


@dataclass(frozen=True, slots=True)
class Vehicle:
    """What decides on the meaning of an item."""

    autopilot: int | None  # HEARTBEAT.autopilot
    type: int | None  # HEARTBEAT.type

    @property
    def is_ardupilot(self) -> bool:
        """Whether item 0 is home."""
        return self.autopilot == ARDUPILOT_ID

    @property
    def is_copter(self) -> bool:
        """Whether it hovers and has no wing."""
        return self.type in COPTER_TYPES


@dataclass(frozen=True, slots=True)
class Circles:
    """How the vehicle flies the turns of an item, by its parameters."""

    radius_m: float = 0.0  # of an item that has none
    turn_s: float | None = None  # of one turn of ArduCopter, at any radius


UNKNOWN_CIRCLES = Circles()


@dataclass(frozen=True, slots=True)
class ReceivedItem:
    """One item, before its place and its jump are resolved by the others."""

    item: MissionItem
    height: tuple[float | None, bool] = (None, True)  # altitude, whether above home
    keeps_place: bool = False  # without latitude and longitude
    keeps_altitude: bool = False
    tag: int | None = None  # of a JUMP_TAG
    to_tag: int | None = None  # of a jump to one


def received_item(message: mavlink.MAVLink_mission_item_int_message, of: Vehicle) -> ReceivedItem:
    """Read a MISSION_ITEM_INT of a mission."""
    kind = _KINDS.get(message.command, ItemKind.OTHER)
    place = _place(message)
    if message.command == mavlink.MAV_CMD_CONDITION_DELAY and of.autopilot == PX4_ID:
        kind = ItemKind.DELAY  # ArduPilot flies on meanwhile
    if of.is_ardupilot and message.seq == 0:
        return ReceivedItem(MissionItem(ItemKind.OTHER, place))
    if kind is ItemKind.SPEED:
        return ReceivedItem(_speed(message, of))
    if kind is ItemKind.JUMP:
        return _jump(message)
    if message.command == mavlink.MAV_CMD_JUMP_TAG:
        return ReceivedItem(MissionItem(ItemKind.OTHER), tag=_whole(message.param1))
    if kind not in _FLOWN_TO:
        places = place if kind is ItemKind.LANDING_START else None
        return ReceivedItem(MissionItem(kind, places, hold_s=_hold_s(message, kind)))
    turns = message.command == mavlink.MAV_CMD_NAV_LOITER_TURNS
    drops = message.command == mavlink.MAV_CMD_NAV_PAYLOAD_PLACE
    if drops and place is not None:
        place = replace(place, alt_m=0.0, above_home=True)
    item = MissionItem(
        kind,
        place,
        hold_s=_hold_s(message, kind),
        turns=_not_negative(message.param1, _ITEMS) if turns else 0.0,
        radius_m=abs(_within(message.param3, _FARTHEST_M) or 0.0) if turns else 0.0,
        vtol=message.command in _ON_ROTORS or of.is_copter,
        level_first=message.command == mavlink.MAV_CMD_NAV_LOITER_TO_ALT and of.autopilot == PX4_ID,
    )
    # ArduCopter takes off where it stands.
    stands = kind is ItemKind.TAKEOFF and of.is_ardupilot and of.is_copter
    keeps_place = (place is None or stands) and message.frame in _GLOBAL
    return ReceivedItem(
        item,
        (0.0, True) if drops else _height(message),
        keeps_place=keeps_place,
        keeps_altitude=of.is_ardupilot
        and kind in _ALTITUDE_KEPT
        and not drops
        and message.z == 0
        and (of.is_copter or keeps_place),
    )


def mission_of(
    received: Sequence[ReceivedItem], home: Place | None = None, circles: Circles = UNKNOWN_CIRCLES
) -> tuple[MissionItem, ...]:
    """Items of a whole mission with their places and jumps resolved.

    Args:
        received: all of them, in order.
        home: where the first one begins, `None` if not known.
        circles: of the vehicle.
    """
    items: list[MissionItem] = []
    tags = {one.tag: number for number, one in reversed([*enumerate(received)])}
    last = home
    for one in received:
        item = one.item
        if one.to_tag is not None:
            to = tags.get(one.to_tag)
            item = MissionItem(ItemKind.OTHER) if to is None else replace(item, jump_to=to)
        if (one.keeps_place or one.keeps_altitude) and last is not None:
            lat_deg = last.lat_deg
            lon_deg = last.lon_deg
            if item.place is not None and not one.keeps_place:
                lat_deg = item.place.lat_deg
                lon_deg = item.place.lon_deg
            height = (last.alt_m, last.above_home) if one.keeps_altitude else one.height
            item = replace(item, place=Place(lat_deg, lon_deg, *height))
        # Item 0 of ArduPilot is its home, of the last time that it was stored.
        flown = item.kind in _FLOWN_TO or (not items and last is None)
        last = item.place if flown and item.place is not None else last
        items.append(_circled(item, circles) if item.turns else item)
    return tuple(items)


def _circled(item: MissionItem, circles: Circles) -> MissionItem:
    """An item with turns as the vehicle flies them."""
    if circles.turn_s is not None:
        return replace(item, hold_s=item.turns * circles.turn_s, turns=0.0, radius_m=0.0)
    return replace(item, radius_m=item.radius_m or circles.radius_m)


def received_rally_point(message: mavlink.MAVLink_mission_item_int_message) -> ReceivedItem:
    """Read a MISSION_ITEM_INT of the rally points; PX4 lists approaches between them."""
    is_point = message.command == mavlink.MAV_CMD_NAV_RALLY_POINT
    return ReceivedItem(MissionItem(ItemKind.OTHER, _place(message) if is_point else None))


def rally_of(received: Sequence[ReceivedItem]) -> tuple[Place, ...]:
    """The rally points of a whole list."""
    return tuple(one.item.place for one in received if one.item.place is not None)


def _speed(message: mavlink.MAVLink_mission_item_int_message, of: Vehicle) -> MissionItem:
    """A change of speed; PX4 goes back to its default without a positive one."""
    number = _whole(message.param1)
    speed_m_s = _within(message.param2, _FASTEST_M_S)
    known = number is not None and number < len(_SPEED_KINDS)
    if number is None or not known or speed_m_s is None:
        return MissionItem(ItemKind.OTHER)
    kind = _SPEED_KINDS[number]
    if kind is SpeedKind.AIR and of.is_copter:
        kind = SpeedKind.GROUND
    if speed_m_s > 0:
        return MissionItem(ItemKind.SPEED, speed_m_s=speed_m_s, speed_kind=kind)
    resets = of.autopilot == PX4_ID
    return MissionItem(ItemKind.SPEED, speed_kind=kind) if resets else MissionItem(ItemKind.OTHER)


def _jump(message: mavlink.MAVLink_mission_item_int_message) -> ReceivedItem:
    to = _whole(message.param1)
    times = _within(message.param2, _ITEMS)
    if to is None or times is None:
        return ReceivedItem(MissionItem(ItemKind.OTHER))
    item = MissionItem(ItemKind.JUMP, jump_to=to, jump_times=max(int(times), _FOR_EVER))
    by_tag = message.command == mavlink.MAV_CMD_DO_JUMP_TAG
    return ReceivedItem(item, to_tag=to if by_tag else None)


def _hold_s(message: mavlink.MAVLink_mission_item_int_message, kind: ItemKind) -> float | None:
    """Time that an item takes at its place; `None`: until it is commanded on."""
    if message.command == mavlink.MAV_CMD_NAV_LOITER_UNLIM:
        return None
    if kind is ItemKind.DELAY:
        # A NAV_DELAY of -1 waits for a time of the day; GUIDED_ENABLE for another computer.
        delay_s = _within(message.param1, _LONGEST_S)
        guided = message.command == mavlink.MAV_CMD_NAV_GUIDED_ENABLE
        return None if guided or delay_s is None or delay_s < 0 else delay_s
    return _not_negative(message.param1, _LONGEST_S) if message.command in _HELD else 0.0


def _place(message: mavlink.MAVLink_mission_item_int_message) -> Place | None:
    """Place of an item, `None` without a latitude and longitude."""
    if message.frame not in _GLOBAL or (message.x, message.y) == (0, 0):
        return None
    # PX4 sends a number out of range for one that was not given.
    if abs(message.x) > _LAT_MAX_RAW or abs(message.y) > _LON_MAX_RAW:
        return None
    return Place(message.x / _RAW_PER_DEG, message.y / _RAW_PER_DEG, *_height(message))


def _height(message: mavlink.MAVLink_mission_item_int_message) -> tuple[float | None, bool]:
    """Altitude of an item, and whether it is above home."""
    if message.frame in _ABOVE_TERRAIN:
        return None, True
    return _within(message.z, _FARTHEST_M), message.frame in _ABOVE_HOME


def _within(value: float, most: float) -> float | None:
    """A value whose amount is possible, else `None`."""
    return value if math.isfinite(value) and abs(value) <= most else None


def _not_negative(value: float, most: float) -> float:
    return max(_within(value, most) or 0.0, 0.0)


def _whole(value: float) -> int | None:
    return None if _within(value, _ITEMS) is None or value < 0 else int(value)

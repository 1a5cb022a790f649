# SPDX-License-Identifier: Apache-2.0
"""The autopilot of the vehicle: which system is followed, and the state in its messages.

One autopilot is followed: that of the configured system, else the first that sends a heartbeat.
It stays the followed one until the process ends, however long it is silent: silence of a vehicle
is no reason to command another one. Messages of other systems are ignored and counted.
A message is valid for the `max_age_s` of its row, then its fields are `None`. Times are `now_s` of
the caller. A flight ends when all heartbeats of 3 s are disarmed: any program that reaches the link
can send one in the name of the autopilot. Until then it is unknown whether the vehicle is armed.
For the same reason heartbeats of another firmware or type, which would give commands and modes
other numbers, are ignored until they alone are received for 3 s, and the release stays the first
one received since the last restart.
While a second autopilot may have the followed system id (`second_autopilot.py`), a message may be
of either one: the state is unknown, and begins again afterwards.
Source: MAVLink common.xml and minimal.xml (MAV_TYPE); ArduPlane `vtol_state`.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.protocol.driver_commands import LuaDriver
from mavlink_bridge.protocol.flight_modes import (
    COPTER_TYPES,
    FIXED_WING_TYPE,
    FailsafeWatch,
    mode_name,
)
from mavlink_bridge.protocol.flight_stacks import (
    FlightStack,
    Release,
    identified_stack,
    release_of,
)
from mavlink_bridge.protocol.mode_changes import ModeChanges
from mavlink_bridge.protocol.restarts import RestartWatch
from mavlink_bridge.protocol.second_autopilot import SecondAutopilotWatch
from mavlink_bridge.protocol.vehicle_classes import vehicle_class
from mavlink_bridge.protocol.wind_message import WindMessage

AUTOPILOT_COMPONENT = mavlink.MAV_COMP_ID_AUTOPILOT1
UNKNOWN_SYSTEM = 1  # sender of our messages before an autopilot is followed: MAVLink's default
_RESTART_S = 3.0  # without a heartbeat: the autopilot may have been restarted
# Disarmed heartbeats that no armed one interrupts: longer than a heartbeat is valid, so that one
# forged heartbeat ends no flight, also while the autopilot is silent or after a restart. The same
# for heartbeats of another firmware or type.
_DISARMED_S = _OTHER_S = 3.0
# Types of what has an autopilot's component or class without being the vehicle: ArduPilot's
# antenna tracker is component 1 of a system of its own.
_NO_VEHICLES = frozenset((
    *(mavlink.MAV_TYPE_ANTENNA_TRACKER, mavlink.MAV_TYPE_GCS, mavlink.MAV_TYPE_ONBOARD_CONTROLLER),
    *(mavlink.MAV_TYPE_GIMBAL, mavlink.MAV_TYPE_ADSB, mavlink.MAV_TYPE_CAMERA),
    *range(mavlink.MAV_TYPE_CHARGING_STATION, mavlink.MAV_TYPE_ODID + 1),
    *range(mavlink.MAV_TYPE_BATTERY, mavlink.MAV_TYPE_WINCH + 1),
    *(mavlink.MAV_TYPE_ILLUMINATOR, mavlink.MAV_TYPE_GRIPPER),
))  # fmt: skip
_DEG_PER_RAW = 1e-7
_M_PER_MM = 0.001
_M_PER_CM = 0.01
_LAT_MAX_DEG = 90.0
_LON_MAX_DEG = 180.0
_FULL_CIRCLE_DEG = 360.0
_NO_ITEM = 0xFFFF  # PX4's -1


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One message of the autopilot that the bridge uses."""

    name: str
    message_id: int
    max_age_s: float | None  # None: not stored
    request_period_s: float | None = None  # None: not requested
    # Requests without an answer, then one a minute: not every autopilot sends it.
    tries_max: float = math.inf


ONCE_S = math.inf  # requested once, and again after a restart of the autopilot
RECEIVED_MESSAGES = (
    ReceivedMessage("HEARTBEAT", 0, 2.0),
    ReceivedMessage("AUTOPILOT_VERSION", 148, math.inf, ONCE_S),
    ReceivedMessage("BATTERY_STATUS", 147, None, 0.5),  # battery ids in use
    ReceivedMessage("GLOBAL_POSITION_INT", 33, 3.0, 0.5),
    ReceivedMessage("HOME_POSITION", 242, math.inf, ONCE_S),  # ArduPilot sends it once
    ReceivedMessage("VFR_HUD", 74, 3.0),
    ReceivedMessage("EXTENDED_SYS_STATE", 245, 3.0, 1.0, 3),
    ReceivedMessage("MISSION_CURRENT", 42, 5.0, 1.0, 3),
    ReceivedMessage("WIND_COV", 231, 10.0),  # changes slowly; PX4 sends it every 2 s
    ReceivedMessage("WIND", WindMessage.id, 10.0, 1.0, 3),  # ArduPilot
)
_MAX_AGE_S: Mapping[str, float] = MappingProxyType(
    {row.name: row.max_age_s for row in RECEIVED_MESSAGES if row.max_age_s is not None}
)


class Autopilot:
    """The one autopilot that is followed. For one thread.

    Attributes:
        followed: its system; `None` until the first heartbeat of an autopilot, if none is
            configured.
        others: heartbeats received from autopilots of other systems, by system.
        driver: the Lua driver on it.
        in_flight: armed, or unknown after a flight; a restart in flight restores it.
        surely_armed: not one heartbeat alone was armed in this flight; with disarmed ones between
            them, none of 3 s was disarmed.
        second: signs of a second autopilot with its system id.
        doubtful: a second autopilot may be there; nothing is sent but requests for messages.
        doubts: number of the doubts that have ended.
        received_s: time of the last message of each name.
    """

    def __init__(self, system_id: int | None = None) -> None:
        """Follow an autopilot.

        Args:
            system_id: the configured system, which alone is followed; `None` follows the first.
        """
        self.followed = system_id
        self.others: Counter[int] = Counter()
        self.driver = LuaDriver()
        self.in_flight = False
        self.surely_armed = False
        self._disarmed_s: float | None = None  # since when its heartbeats are disarmed
        self._last_disarmed_s = -math.inf  # last disarmed heartbeat
        self._mixed = False  # that one came between armed ones
        self._other: tuple[tuple[int, int], float, float] | None = None  # kind, first and last time
        self._last: dict[str, tuple[mavlink.MAVLink_message, float]] = {}  # message, time
        self._online_since_s = 0.0
        self._failsafe = FailsafeWatch()
        self._modes = ModeChanges()
        self._restarts = RestartWatch()
        self.second = SecondAutopilotWatch()
        self.doubtful = False
        self.doubts = 0
        self.received_s: dict[str, float] = {}

    @property
    def system_id(self) -> int:
        """System of the vehicle: the followed one, before that the default of MAVLink."""
        return UNKNOWN_SYSTEM if self.followed is None else self.followed

    @property
    def kind(self) -> int | None:
        """HEARTBEAT.autopilot as last received, of any age; `None` before the first."""
        return self._last["HEARTBEAT"][0].autopilot if self._last else None

    @property
    def last_armed(self) -> bool | None:
        """Armed in the last HEARTBEAT, of any age; `None` before the first and in doubt."""
        known = self._last and not self.doubtful
        return _armed(self._last["HEARTBEAT"][0]) if known else None

    @property
    def release(self) -> Release | None:
        """Release of the firmware, `None` until the autopilot has sent it."""
        version, _ = self._last.get("AUTOPILOT_VERSION", (None, 0.0))
        return None if version is None else release_of(version.flight_sw_version)

    @property
    def uid(self) -> str | None:
        """Unique id of its board, hexadecimal; `None` until the autopilot has sent one."""
        version, _ = self._last.get("AUTOPILOT_VERSION", (None, 0.0))
        if version is None:
            return None
        return uid_of(bytes(version.uid2)) or uid_of(version.uid.to_bytes(8, "big"))

    @property
    def vehicle_type(self) -> int | None:
        """HEARTBEAT.type as last received, of any age; `None` before the first."""
        return self._last["HEARTBEAT"][0].type if self._last else None

    @property
    def restarts(self) -> int:
        """Number of its restarts so far."""
        return self._restarts.count

    @property
    def runs(self) -> int:
        """Number that changes when what was read of it may be another run's or autopilot's."""
        return self.restarts + self.doubts

    @property
    def stack(self) -> FlightStack:
        """Row of its flight stack and release."""
        return identified_stack(self.kind, self.release)

    def online_since_s(self, now_s: float) -> float | None:
        """Start of the heartbeats that have not paused since, `None` without a fresh one."""
        return None if self._fresh("HEARTBEAT", now_s) is None else self._online_since_s

    def resumed(self, now_s: float) -> bool:
        """Whether heartbeats have begun again, and may be those of a restarted autopilot."""
        return self._restarts.is_open(now_s)

    @property
    def mode_doubtful(self) -> bool:
        """Whether the last heartbeat has shown a former mode, which may be late."""
        return self._modes.doubtful

    def airborne(self, now_s: float) -> bool | None:
        """Whether it reports that it is not on the ground; `None` if it does not know."""
        on_ground = _on_ground(self._fresh("EXTENDED_SYS_STATE", now_s))
        return None if on_ground is None else not on_ground

    def receive(self, message: mavlink.MAVLink_message, now_s: float) -> bool:
        """Store a message of the followed autopilot; return whether it is one."""
        kind = message.get_type()
        if not self._is_of_followed(message, now_s):
            return False
        if kind == "HEARTBEAT":
            pause_s = now_s - self.received_s.get(kind, -math.inf)
            if pause_s > _RESTART_S:
                self._online_since_s = now_s
            self._follow_arming(now_s, pause_s, armed=_armed(message))
        if self.doubtful:
            self.received_s[kind] = now_s
            if kind == "HEARTBEAT":
                self._last[kind] = (message, now_s)
            return True
        if self._restarts.receive(message, now_s):
            self._forget(now_s)
        self.received_s[kind] = now_s
        if kind == "HEARTBEAT":
            self._follow_mode(message, now_s)
        self.driver.receive(message, now_s)
        if kind in _MAX_AGE_S and not (kind == "AUTOPILOT_VERSION" and kind in self._last):
            self._last[kind] = (message, now_s)
        return True

    def compare(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        """Compare a message from the followed address with the earlier ones, before its use."""
        self.second.receive(message, now_s)
        self.doubtful |= self.second.is_doubtful(now_s)

    def end_doubt(self, now_s: float) -> None:
        """Begin again when the doubt is over, after the messages of a step."""
        if not self.doubtful or self.second.is_doubtful(now_s):
            return
        self.doubtful = False
        self.doubts += 1
        # The last times since boot may be those of the other one.
        restarts = self.restarts
        self._restarts = RestartWatch()
        self._restarts.count = restarts
        self._failsafe = FailsafeWatch()
        self._forget(now_s)
        if self._last:
            self._follow_mode(*self._last["HEARTBEAT"])

    def state(self, now_s: float) -> VehicleState:
        """Vehicle state in the messages that are still valid."""
        heartbeat_age_s = now_s - self._last["HEARTBEAT"][1] if self._last else None
        if self.doubtful:
            return VehicleState(heartbeat_age_s=heartbeat_age_s, uid=self.uid)
        heartbeat = self._fresh("HEARTBEAT", now_s)
        position = self._fresh("GLOBAL_POSITION_INT", now_s)
        lat_deg, lon_deg, alt_m = _place(position, "lat", "lon", "alt")
        hud = self._fresh("VFR_HUD", now_s)
        ground_speed_m_s, climb_m_s = _speeds(None if lat_deg is None else position, hud)
        wind_m_s, wind_from_deg = _wind(
            self._fresh("WIND_COV", now_s) or self._fresh("WIND", now_s)
        )
        home_lat_deg, home_lon_deg, home_alt_m = _place(
            self._fresh("HOME_POSITION", now_s), "latitude", "longitude", "altitude"
        )
        armed = None
        mode = None
        failsafe = None
        terminated = None
        mode_age_s = None
        row = None
        if heartbeat is not None:
            disarmed = None if self.in_flight else False
            armed = _armed(heartbeat) or disarmed
            mode = self._failsafe.mode
            failsafe = self._failsafe.chosen
            mode_age_s = now_s - self._failsafe.mode_s
            terminated = heartbeat.system_status > mavlink.MAV_STATE_CRITICAL
            row = vehicle_class(heartbeat.autopilot, heartbeat.type, mode=mode)
        return VehicleState(
            armed=armed,
            mode=mode,
            failsafe=failsafe,
            lat_deg=lat_deg,
            lon_deg=lon_deg,
            alt_m=alt_m,
            home_lat_deg=home_lat_deg,
            home_lon_deg=home_lon_deg,
            home_alt_m=home_alt_m,
            ground_speed_m_s=ground_speed_m_s,
            climb_m_s=climb_m_s,
            wind_m_s=wind_m_s,
            wind_from_deg=wind_from_deg,
            heartbeat_age_s=heartbeat_age_s,
            vehicle_class=None if row is None else row.name,
            uid=self.uid,
            mode_age_s=mode_age_s,
            terminated=terminated,
            landing=_landing(self._fresh("EXTENDED_SYS_STATE", now_s)),
            on_ground=_on_ground(self._fresh("EXTENDED_SYS_STATE", now_s)),
            on_wing=_on_wing(heartbeat, self._fresh("EXTENDED_SYS_STATE", now_s)),
            mission_item=_mission_item(self._fresh("MISSION_CURRENT", now_s)),
        )

    def _is_of_followed(self, message: mavlink.MAVLink_message, now_s: float) -> bool:
        """Whether the followed autopilot has sent a message; its first heartbeat makes it that."""
        if message.get_srcComponent() != AUTOPILOT_COMPONENT:
            return False
        if message.get_type() != "HEARTBEAT":
            return message.get_srcSystem() == self.followed and bool(self._last)
        follows = _is_autopilot(message) and self._follow(message.get_srcSystem())
        return follows and self._is_of_same_kind(message, now_s)

    def _follow(self, system_id: int) -> bool:
        """Whether a system is the followed one; the first one becomes that."""
        if self.followed is None:
            self.followed = system_id
        if system_id != self.followed:
            self.others[system_id] += 1
        return system_id == self.followed

    def _is_of_same_kind(self, heartbeat: mavlink.MAVLink_heartbeat_message, now_s: float) -> bool:
        """Whether a heartbeat has the firmware and type of the autopilot: the known or new ones."""
        kind = heartbeat.autopilot, heartbeat.type
        if not self._last or kind == (self.kind, self.vehicle_type):
            self._other = None
            return True
        known, first_s, last_s = self._other or (kind, now_s, now_s)
        if known != kind or now_s - last_s > _MAX_AGE_S["HEARTBEAT"]:
            first_s = now_s
        self._other = kind, first_s, now_s
        return now_s - first_s >= _OTHER_S

    def _follow_arming(self, now_s: float, pause_s: float, *, armed: bool) -> None:
        """Take in a heartbeat; `pause_s`: since the one before."""
        if armed:
            again = self.in_flight and self._disarmed_s is None and not self._mixed
            self.surely_armed |= again or now_s - self._last_disarmed_s > _DISARMED_S
            self.in_flight = True
            self._disarmed_s = None
            return
        self._last_disarmed_s = now_s
        self._mixed = self.in_flight
        if self._disarmed_s is None or pause_s > _MAX_AGE_S["HEARTBEAT"]:
            self._disarmed_s = now_s
        elif now_s - self._disarmed_s >= _DISARMED_S and not self.doubtful:
            self.in_flight = False
            self.surely_armed = False
            self._mixed = False

    def _follow_mode(self, heartbeat: mavlink.MAVLink_heartbeat_message, now_s: float) -> None:
        """Take in the mode of a heartbeat, unless it is a former one that comes late."""
        if self._modes.is_late(heartbeat.custom_mode, now_s):
            return
        mode = mode_name(heartbeat.autopilot, heartbeat.type, heartbeat.custom_mode)
        status = heartbeat.system_status
        self._failsafe = self._failsafe.after(heartbeat.autopilot, status, mode, now_s)

    def _forget(self, now_s: float) -> None:
        """Forget what a restarted autopilot may report otherwise: version, home, position, mode."""
        self._modes = ModeChanges()
        self._last = {name: one for name, one in self._last.items() if name == "HEARTBEAT"}
        times_s = self.received_s.items()
        self.received_s = {name: t_s for name, t_s in times_s if name == "HEARTBEAT"}
        self._online_since_s = now_s

    def _fresh(self, kind: str, now_s: float) -> mavlink.MAVLink_message | None:
        message, at_s = self._last.get(kind, (None, now_s))
        return message if now_s - at_s <= _MAX_AGE_S[kind] else None


def _is_autopilot(heartbeat: mavlink.MAVLink_heartbeat_message) -> bool:
    flies = heartbeat.autopilot != mavlink.MAV_AUTOPILOT_INVALID and heartbeat.get_srcSystem() != 0
    return flies and heartbeat.type not in _NO_VEHICLES


def _armed(heartbeat: mavlink.MAVLink_heartbeat_message) -> bool:
    return bool(heartbeat.base_mode & mavlink.MAV_MODE_FLAG_SAFETY_ARMED)


def _landing(message: mavlink.MAVLink_message | None) -> bool | None:
    """Whether it lands, also in a mission, `None` if it does not know."""
    if message is None or message.landed_state == mavlink.MAV_LANDED_STATE_UNDEFINED:
        return None
    return bool(message.landed_state == mavlink.MAV_LANDED_STATE_LANDING)


def _on_ground(message: mavlink.MAVLink_message | None) -> bool | None:
    """Whether it stands on the ground, `None` if it does not know."""
    if message is None or message.landed_state == mavlink.MAV_LANDED_STATE_UNDEFINED:
        return None
    return bool(message.landed_state == mavlink.MAV_LANDED_STATE_ON_GROUND)


def _on_wing(
    heartbeat: mavlink.MAVLink_message | None, message: mavlink.MAVLink_message | None
) -> bool | None:
    """Whether a wing carries it, `None` if it is not known.

    A quadplane of ArduPlane has the type of a fixed wing, but a VTOL state.
    """
    if heartbeat is None:
        return None
    if heartbeat.type in COPTER_TYPES:
        return False
    if message is not None and message.vtol_state != mavlink.MAV_VTOL_STATE_UNDEFINED:
        return bool(message.vtol_state == mavlink.MAV_VTOL_STATE_FW)
    return True if heartbeat.type == FIXED_WING_TYPE and message is not None else None


def _mission_item(message: mavlink.MAVLink_message | None) -> int | None:
    """Number of the item that is flown to, `None` without a mission."""
    if message is None or message.mission_state == mavlink.MISSION_STATE_NO_MISSION:
        return None
    return None if message.seq == _NO_ITEM else int(message.seq)


def _place(
    message: mavlink.MAVLink_message | None, lat: str, lon: str, alt: str
) -> tuple[float | None, float | None, float | None]:
    """Latitude, longitude and altitude in a message, all `None` without a position."""
    if message is None:
        return None, None, None
    lat_deg = getattr(message, lat) * _DEG_PER_RAW
    lon_deg = getattr(message, lon) * _DEG_PER_RAW
    # ArduPilot sends 0, 0 before its first fix.
    if (lat_deg, lon_deg) == (0, 0) or abs(lat_deg) > _LAT_MAX_DEG or abs(lon_deg) > _LON_MAX_DEG:
        return None, None, None
    return lat_deg, lon_deg, getattr(message, alt) * _M_PER_MM


def _speeds(
    position: mavlink.MAVLink_message | None, hud: mavlink.MAVLink_message | None
) -> tuple[float | None, float | None]:
    """Ground speed and climb rate in m/s, of GLOBAL_POSITION_INT if there is one, else VFR_HUD."""
    if position is not None:
        return math.hypot(position.vx, position.vy) * _M_PER_CM, -position.vz * _M_PER_CM
    if hud is not None:
        return _finite(hud.groundspeed), _finite(hud.climb)
    return None, None


def _wind(message: mavlink.MAVLink_message | None) -> tuple[float | None, float | None]:
    """Wind speed in m/s and direction in degrees; WIND_COV has the velocity of the air.

    ArduPilot sends 0 m/s while it has no estimate: that is unknown, not calm.
    """
    if isinstance(message, WindMessage):
        if not math.isfinite(message.direction + message.speed) or message.speed <= 0.0:
            return None, None
        return message.speed, message.direction % _FULL_CIRCLE_DEG
    if message is None or not math.isfinite(message.wind_x + message.wind_y):
        return None, None
    return wind_of(message.wind_x, message.wind_y)


def uid_of(raw: bytes) -> str | None:
    """Unique id of a board, hexadecimal without zeros at its end; `None` if all are zeros."""
    return raw.rstrip(b"\0").hex() or None


def wind_of(north_m_s: float, east_m_s: float) -> tuple[float, float]:
    """Wind speed in m/s and direction in degrees that it comes from, of the air's velocity."""
    from_deg = math.degrees(math.atan2(-east_m_s, -north_m_s))
    return math.hypot(north_m_s, east_m_s), from_deg % _FULL_CIRCLE_DEG


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

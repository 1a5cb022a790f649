"""The flight controller as it is heard: which one is ours, and the vehicle's state.

One autopilot is followed; what any other system says is ignored. Every message holds for its age in
the table, then its fields are None. Time is the `now_s` of the reader; units are in the names.
Source: MAVLink common.xml (HEARTBEAT 0, GLOBAL_POSITION_INT 33, VFR_HUD 74, WIND_COV 231,
HOME_POSITION 242, AUTOPILOT_VERSION 148).
"""

import math

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.protocol.flight_stack_rules import in_failsafe, mode_name, release_of
from mavlink_bridge.protocol.flight_stacks import MAX_AGE_S, Release

AUTOPILOT_COMPONENT = mavlink.MAV_COMP_ID_AUTOPILOT1
_SWITCH_AFTER_S = 5.0  # of silence, before another system id is followed
_NO_VEHICLES = (mavlink.MAV_TYPE_GCS, mavlink.MAV_TYPE_BATTERY)
_DEG_PER_RAW = 1e-7
_M_PER_MM = 0.001
_M_PER_CM = 0.01
_LAT_MAX_DEG, _LON_MAX_DEG = 90.0, 180.0
_FULL_CIRCLE_DEG = 360.0

_AWAY_S = 3.0  # of missing heartbeats: it may have been restarted


class Autopilot:
    """The one autopilot that is followed. For one thread."""

    def __init__(self, system_id: int) -> None:
        """Follow the first autopilot that is heard; until then it is taken for `system_id`."""
        self.system_id = system_id
        self._last: dict[str, tuple[mavlink.MAVLink_message, float]] = {}  # message, when
        self._since_s = 0.0  # when the heartbeats began that have not paused since
        self.received_s: dict[str, float] = {}  # by the name of any message
        self.battery_ids: set[int] = set()  # of BATTERY_STATUS of its own
        self.battery_ids_complete = False  # it tells them in turn, and has begun anew

    @property
    def kind(self) -> int | None:
        """HEARTBEAT.autopilot as last heard, however long ago; None: never heard."""
        return self._last["HEARTBEAT"][0].autopilot if self._last else None

    @property
    def last_armed(self) -> bool | None:
        """Whether it was armed when last heard, however long ago; None: never heard."""
        return _armed(self._last["HEARTBEAT"][0]) if self._last else None

    @property
    def release(self) -> Release | None:
        """What it flies, None while it has not said."""
        version, _ = self._last.get("AUTOPILOT_VERSION", (None, 0.0))
        return None if version is None else release_of(version.flight_sw_version)

    def online_since_s(self, now_s: float) -> float | None:
        """Return since when it is heard without a pause, None when it is not."""
        return None if self._fresh("HEARTBEAT", now_s) is None else self._since_s

    def receive(self, message: mavlink.MAVLink_message, now_s: float) -> bool:
        """Take a message; return False when it is not from the autopilot that is followed."""
        kind = message.get_type()
        if message.get_srcComponent() != AUTOPILOT_COMPONENT:
            return False
        if kind == "HEARTBEAT":
            if not _is_autopilot(message) or not self._follow(message.get_srcSystem(), now_s):
                return False
            if now_s - self.received_s.get(kind, -math.inf) > _AWAY_S:
                self._since_s = now_s
        elif message.get_srcSystem() != self.system_id or not self._last:
            return False
        self.received_s[kind] = now_s
        if kind == "BATTERY_STATUS":
            self.battery_ids_complete |= message.id in self.battery_ids
            self.battery_ids.add(message.id)
        if kind in MAX_AGE_S:
            self._last[kind] = (message, now_s)
        return True

    def state(self, now_s: float) -> VehicleState:
        """Return what is known of the vehicle now."""
        heartbeat = self._fresh("HEARTBEAT", now_s)
        position = self._fresh("GLOBAL_POSITION_INT", now_s)
        lat_deg, lon_deg, alt_m = _place(position, "lat", "lon", "alt")
        hud = self._fresh("VFR_HUD", now_s)
        ground_speed_m_s, climb_m_s = _speeds(None if lat_deg is None else position, hud)
        wind_m_s, wind_from_deg = _wind(self._fresh("WIND_COV", now_s))
        home_lat_deg, home_lon_deg, home_alt_m = _place(
            self._fresh("HOME_POSITION", now_s), "latitude", "longitude", "altitude"
        )
        armed, mode, failsafe = None, None, None
        if heartbeat is not None:
            armed = _armed(heartbeat)
            mode = mode_name(heartbeat.autopilot, heartbeat.type, heartbeat.custom_mode)
            failsafe = in_failsafe(heartbeat.autopilot, heartbeat.system_status, mode)
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
            heartbeat_age_s=now_s - self._last["HEARTBEAT"][1] if self._last else None,
        )

    def _follow(self, system_id: int, now_s: float) -> bool:
        if system_id == self.system_id:
            return True
        if self._last and now_s - self._last["HEARTBEAT"][1] <= _SWITCH_AFTER_S:
            return False
        # Another vehicle, or ours with a new id: nothing heard before is known to be its own.
        self.system_id = system_id
        self._last.clear()
        self.received_s.clear()
        self.battery_ids.clear()
        self.battery_ids_complete = False
        return True

    def _fresh(self, kind: str, now_s: float) -> mavlink.MAVLink_message | None:
        message, at_s = self._last.get(kind, (None, now_s))
        return message if now_s - at_s <= MAX_AGE_S[kind] else None


def _is_autopilot(heartbeat: mavlink.MAVLink_heartbeat_message) -> bool:
    flies = heartbeat.autopilot != mavlink.MAV_AUTOPILOT_INVALID
    return flies and heartbeat.type not in _NO_VEHICLES


def _armed(heartbeat: mavlink.MAVLink_heartbeat_message) -> bool:
    return bool(heartbeat.base_mode & mavlink.MAV_MODE_FLAG_SAFETY_ARMED)


def _place(
    message: mavlink.MAVLink_message | None, lat: str, lon: str, alt: str
) -> tuple[float | None, float | None, float | None]:
    """Return (latitude, longitude, altitude) of a message, all None when it has no position."""
    if message is None:
        return None, None, None
    lat_deg, lon_deg = getattr(message, lat) * _DEG_PER_RAW, getattr(message, lon) * _DEG_PER_RAW
    # 0, 0 is what ArduPilot sends before its first fix.
    if (lat_deg, lon_deg) == (0, 0) or abs(lat_deg) > _LAT_MAX_DEG or abs(lon_deg) > _LON_MAX_DEG:
        return None, None, None
    return lat_deg, lon_deg, getattr(message, alt) * _M_PER_MM


def _speeds(
    position: mavlink.MAVLink_message | None, hud: mavlink.MAVLink_message | None
) -> tuple[float | None, float | None]:
    """Return (ground speed, climb) in m/s of whichever message is sent on this link."""
    if position is not None:
        return math.hypot(position.vx, position.vy) * _M_PER_CM, -position.vz * _M_PER_CM
    if hud is not None:
        return _finite(hud.groundspeed), _finite(hud.climb)
    return None, None


def _wind(message: mavlink.MAVLink_message | None) -> tuple[float | None, float | None]:
    """Return (m/s, degrees that it blows from) of WIND_COV, which says where it blows to."""
    if message is None or not math.isfinite(message.wind_x + message.wind_y):
        return None, None
    return wind_of(message.wind_x, message.wind_y)


def wind_of(north_m_s: float, east_m_s: float) -> tuple[float, float]:
    """Return (m/s, degrees that it blows from) of a wind by where it goes to."""
    from_deg = math.degrees(math.atan2(-east_m_s, -north_m_s))
    return math.hypot(north_m_s, east_m_s), from_deg % _FULL_CIRCLE_DEG


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""What flight stacks do with a battery that is told to them, as rows, and their modes' names.

Percentages are whole numbers of 0..100, -1 unknown, as BATTERY_STATUS carries them.
Source: PX4 mavlink_receiver.cpp `handle_message_battery_status`, batteryCheck.cpp and
px4_custom_mode.h; ArduPilot GCS_Common.cpp and the COPTER_MODE enumeration of ardupilotmega.xml.
"""

from dataclasses import dataclass

from dronebms.errors import ConfigError
from mavlink_bridge.encode import CELLS_MAX

AUTO = "auto"


Release = tuple[int, int, int]  # major, minor, FIRMWARE_VERSION_TYPE


@dataclass(frozen=True, slots=True)
class Vehicle:
    """What may be sent to one flight stack, from one release on."""

    name: str
    autopilot: int | None  # HEARTBEAT.autopilot; None: any other
    since: Release  # the oldest that this row is true of
    unknown_is_empty: bool  # takes -1 % for an emergency
    least_disarmed_pct: int  # below, it may shut itself down while disarmed
    cells_max: int  # how many cells of BATTERY_STATUS it adds up
    own_ids: bool  # tells batteries of its own, so that ours take the first id that is free
    source: str


_ANY = (0, 0, 0)
_BETA = 128  # FIRMWARE_VERSION_TYPE_BETA: what is before has no branch of its own yet

ARDUPILOT = Vehicle(
    "ardupilot", 3, _ANY, unknown_is_empty=False, least_disarmed_pct=0, cells_max=CELLS_MAX,
    own_ids=True,
    source="GCS_Common.cpp: BATTERY_STATUS is forwarded, and read by a Lua driver only",
)  # fmt: skip
PX4_118 = Vehicle(
    "px4", 12, (1, 18, _BETA), unknown_is_empty=False, least_disarmed_pct=6, cells_max=10,
    own_ids=False,
    source="mavlink_receiver.cpp of 1.18: -1 % is no warning and time_remaining is read",
)  # fmt: skip
PX4 = Vehicle(
    "px4", 12, _ANY, unknown_is_empty=True, least_disarmed_pct=6, cells_max=10, own_ids=False,
    source="mavlink_receiver.cpp up to 1.17: -1 % becomes an emergency; voltages_ext is not "
    "read. Commander: an emergency while disarmed asks the board to shut down",
)  # fmt: skip
CAREFUL = Vehicle(
    "unknown", None, _ANY, unknown_is_empty=True, least_disarmed_pct=6, cells_max=10,
    own_ids=False,
    source="nothing is known, so that nothing is risked: as PX4",
)  # fmt: skip

VEHICLES = (ARDUPILOT, PX4_118, PX4)  # of one stack the newest first

_COPTER_TYPES = (2, 3, 4, 13, 14, 15, 29, 35)  # MAV_TYPE that ArduCopter announces itself with

# fmt: off
_COPTER_MODES = {
    0: "STABILIZE", 1: "ACRO", 2: "ALT_HOLD", 3: "AUTO", 4: "GUIDED", 5: "LOITER", 6: "RTL",
    7: "CIRCLE", 9: "LAND", 11: "DRIFT", 13: "SPORT", 14: "FLIP", 15: "AUTOTUNE", 16: "POSHOLD",
    17: "BRAKE", 18: "THROW", 19: "AVOID_ADSB", 20: "GUIDED_NOGPS", 21: "SMART_RTL",
    22: "FLOWHOLD", 23: "FOLLOW", 24: "ZIGZAG", 25: "SYSTEMID", 26: "AUTOROTATE", 27: "AUTO_RTL",
    28: "TURTLE",
}
_PX4_MAIN_MODES = {
    1: "MANUAL", 2: "ALTCTL", 3: "POSCTL", 5: "ACRO", 6: "OFFBOARD", 7: "STABILIZED",
    10: "TERMINATION",
}
_PX4_AUTO = 4
_PX4_AUTO_MODES = {
    1: "READY", 2: "TAKEOFF", 3: "LOITER", 4: "MISSION", 5: "RTL", 6: "LAND", 8: "FOLLOW_TARGET",
    9: "PRECLAND", 10: "VTOL_TAKEOFF",
}
# fmt: on


def vehicle_named(name: str) -> Vehicle | None:
    """Return the row that a configuration names, the oldest of its stack; None for `auto`.

    Raises:
        ConfigError: no such vehicle.
    """
    if name == AUTO:
        return None
    for row in reversed(VEHICLES):
        if row.name == name:
            return row
    names = ", ".join((AUTO, *dict.fromkeys(row.name for row in VEHICLES)))
    raise ConfigError(f"vehicle {name!r} is not one of {names}")


def vehicle_heard(autopilot: int | None, release: Release | None = None) -> Vehicle:
    """Return the row of HEARTBEAT.autopilot and a release.

    What is unheard or unknown gets the careful row, an unknown release the oldest of its stack.
    """
    for row in VEHICLES:
        if row.autopilot == autopilot and (release or _ANY) >= row.since:
            return row
    return CAREFUL


def release_of(flight_sw_version: int) -> Release | None:
    """Return the release that AUTOPILOT_VERSION tells, None for 0."""
    major, minor, _, kind = flight_sw_version.to_bytes(4, "big")
    return (major, minor, kind) if flight_sw_version else None


def told_pct(vehicle: Vehicle, remaining_pct: int, *, armed: bool | None) -> int:
    """Return the percentage to send: one that could shut a board down becomes unknown, -1."""
    return -1 if remaining_pct < vehicle.least_disarmed_pct and armed is not True else remaining_pct


def refusal(vehicle: Vehicle, remaining_pct: int, *, armed: bool | None) -> str | None:
    """Return why BATTERY_STATUS with this percentage is kept back, None when it may go.

    Silence is safe: PX4 says so after 5 s, and does not arm. A wrong word makes it land.
    """
    if not vehicle.unknown_is_empty or told_pct(vehicle, remaining_pct, armed=armed) >= 0:
        return None
    if remaining_pct < 0:
        return f"the charge is unknown, which a vehicle like {vehicle.name} may take for empty"
    return (
        f"{remaining_pct} % may make a vehicle like {vehicle.name} "
        "shut down while it is not known to be armed"
    )


def mode_name(autopilot: int, vehicle_type: int, custom_mode: int) -> str | None:
    """Return the flight mode of a HEARTBEAT, None when nobody here knows its name."""
    if autopilot == ARDUPILOT.autopilot and vehicle_type in _COPTER_TYPES:
        return _COPTER_MODES.get(custom_mode)
    if autopilot == PX4.autopilot:
        main_mode, sub_mode = custom_mode >> 16 & 0xFF, custom_mode >> 24 & 0xFF
        if main_mode == _PX4_AUTO:
            return _PX4_AUTO_MODES.get(sub_mode)
        return _PX4_MAIN_MODES.get(main_mode)
    return None

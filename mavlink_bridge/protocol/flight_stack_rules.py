"""What flight stacks do with a battery that is told to them, as rows, and what they are doing.

Percentages are whole numbers of 0..100, -1 unknown, as BATTERY_STATUS carries them.
Source: PX4 mavlink_receiver.cpp `handle_message_battery_status`, batteryCheck.cpp and
px4_custom_mode.h; ArduPilot GCS_Common.cpp and the COPTER_MODE enumeration of ardupilotmega.xml.
"""

from dronebms.core.errors import ConfigError
from mavlink_bridge.protocol import flight_stacks
from mavlink_bridge.protocol.flight_stacks import (
    ANY,
    FLIGHT_STACKS,
    UNKNOWN_STACK,
    FlightStack,
    Release,
)

AUTO = "auto"
_CRITICAL = 5  # MAV_STATE


def stack_named(name: str) -> FlightStack | None:
    """Return the row that a configuration names, the oldest of its stack; None for `auto`.

    Raises:
        ConfigError: no such vehicle.
    """
    if name == AUTO:
        return None
    for row in reversed(FLIGHT_STACKS):
        if row.name == name:
            return row
    names = ", ".join((AUTO, *dict.fromkeys(row.name for row in FLIGHT_STACKS)))
    raise ConfigError(f"vehicle {name!r} is not one of {names}")


def identified_stack(autopilot: int | None, release: Release | None = None) -> FlightStack:
    """Return the row of HEARTBEAT.autopilot and a release.

    What is unheard or unknown gets the careful row, an unknown release the oldest of its stack.
    """
    for row in FLIGHT_STACKS:
        if row.autopilot == autopilot and (release or ANY) >= row.since:
            return row
    return UNKNOWN_STACK


def release_of(flight_sw_version: int) -> Release | None:
    """Return the release that AUTOPILOT_VERSION tells, None for 0."""
    major, minor, _, kind = flight_sw_version.to_bytes(4, "big")
    return (major, minor, kind) if flight_sw_version else None


def sent_pct(vehicle: FlightStack, remaining_pct: int, *, armed: bool | None) -> int:
    """Return the percentage to send: one that could shut a board down becomes unknown, -1."""
    return -1 if remaining_pct < vehicle.least_disarmed_pct and armed is not True else remaining_pct


def refusal(vehicle: FlightStack, remaining_pct: int, *, armed: bool | None) -> str | None:
    """Return why BATTERY_STATUS with this percentage is kept back, None when it may go.

    Silence is safe: PX4 says so after 5 s, and does not arm. A wrong word makes it land.
    """
    if not vehicle.unknown_is_empty or sent_pct(vehicle, remaining_pct, armed=armed) >= 0:
        return None
    if remaining_pct < 0:
        return f"the charge is unknown, which a vehicle like {vehicle.name} may take for empty"
    return (
        f"{remaining_pct} % may make a vehicle like {vehicle.name} "
        "shut down while it is not known to be armed"
    )


def mode_name(autopilot: int, vehicle_type: int, custom_mode: int) -> str | None:
    """Return the flight mode of a HEARTBEAT, None when nobody here knows its name."""
    if autopilot == flight_stacks.ARDUPILOT_ID and vehicle_type in flight_stacks.COPTER_TYPES:
        return flight_stacks.COPTER_MODES.get(custom_mode)
    if autopilot == flight_stacks.PX4_ID:
        main_mode, sub_mode = custom_mode >> 16 & 0xFF, custom_mode >> 24 & 0xFF
        if main_mode == flight_stacks.PX4_AUTO:
            return flight_stacks.PX4_AUTO_MODES.get(sub_mode)
        return flight_stacks.PX4_MAIN_MODES.get(main_mode)
    return None


def in_failsafe(autopilot: int, system_status: int, mode: str | None) -> bool:
    """Return whether a failsafe of the flight controller is at work.

    ArduPilot stays critical for as long as a battery has ever been low, whatever came of it; only
    a mode that its failsafes choose says that one is at work.
    """
    if system_status != _CRITICAL:
        return system_status > _CRITICAL  # emergency, termination
    return autopilot != flight_stacks.ARDUPILOT_ID or mode in flight_stacks.FAILSAFE_MODES

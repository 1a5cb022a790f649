# SPDX-License-Identifier: Apache-2.0
"""Flight stacks: how each one uses BATTERY_STATUS, and therefore what may be sent to it.

Percentages are whole numbers 0..100, -1 for unknown, as in BATTERY_STATUS.
Source: PX4 mavlink_receiver.cpp `handle_message_battery_status`, batteryCheck.cpp and
mavlink_parameters.cpp; ArduPilot GCS_Common.cpp.
"""

from dataclasses import dataclass

from dronebms.core.errors import ConfigError
from mavlink_bridge.protocol.messages import CELLS_MAX

# MAV_AUTOPILOT
ARDUPILOT_ID = 3
PX4_ID = 12

Release = tuple[int, int, int]  # major, minor, FIRMWARE_VERSION_TYPE
ANY_RELEASE = (0, 0, 0)
_BETA = 128  # FIRMWARE_VERSION_TYPE_BETA; earlier development versions have older code

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class FlightStack:
    """One flight stack, from one release on."""

    name: str
    autopilot: int | None  # HEARTBEAT.autopilot; None: any other
    since: Release  # oldest release that this row describes
    unknown_is_empty: bool  # -1 % counts as an emergency
    least_disarmed_pct: int  # below this the board may shut itself down while disarmed
    cells_max: int  # cells of BATTERY_STATUS that it adds up
    own_battery_ids: bool  # sends BATTERY_STATUS of its own, so that ours take the next free id
    runs_lua_driver: bool
    bytewise_integers: bool  # PARAM_VALUE carries the bits of an integer in its float
    acts_on_time: bool  # returns while the time to empty covers the way home
    source: str


ARDUPILOT = FlightStack(
    "ardupilot", ARDUPILOT_ID, ANY_RELEASE, unknown_is_empty=False, least_disarmed_pct=0,
    cells_max=CELLS_MAX, own_battery_ids=True, runs_lua_driver=True, bytewise_integers=False,
    acts_on_time=False,
    source="GCS_Common.cpp: BATTERY_STATUS is forwarded; only the Lua driver reads it",
)  # fmt: skip
PX4_118 = FlightStack(
    "px4", PX4_ID, (1, 18, _BETA), unknown_is_empty=False, least_disarmed_pct=6, cells_max=10,
    own_battery_ids=False, runs_lua_driver=False, bytewise_integers=True, acts_on_time=True,
    source="mavlink_receiver.cpp of 1.18: -1 % is no warning and time_remaining is read",
)  # fmt: skip
PX4 = FlightStack(
    "px4", PX4_ID, ANY_RELEASE, unknown_is_empty=True, least_disarmed_pct=6, cells_max=10,
    own_battery_ids=False, runs_lua_driver=False, bytewise_integers=True, acts_on_time=False,
    source="mavlink_receiver.cpp up to 1.17: -1 % becomes an emergency; voltages_ext is not "
    "read. Commander: an emergency while disarmed asks the board to shut down",
)  # fmt: skip
UNKNOWN_STACK = FlightStack(
    "unknown", None, ANY_RELEASE, unknown_is_empty=True, least_disarmed_pct=6, cells_max=10,
    own_battery_ids=False, runs_lua_driver=False, bytewise_integers=False, acts_on_time=False,
    source="the most restrictive rules, those of PX4",
)  # fmt: skip

FLIGHT_STACKS = (ARDUPILOT, PX4_118, PX4)  # newest release first


def stack_named(name: str) -> FlightStack | None:
    """Row of a configured name, the oldest release of that stack; `None` for `auto`.

    Raises:
        ConfigError: unknown name.
    """
    if name == AUTO:
        return None
    for row in reversed(FLIGHT_STACKS):
        if row.name == name:
            return row
    names = ", ".join((AUTO, *dict.fromkeys(row.name for row in FLIGHT_STACKS)))
    raise ConfigError(f"vehicle {name!r} is not one of {names}")


def identified_stack(autopilot: int | None, release: Release | None = None) -> FlightStack:
    """Row of a HEARTBEAT.autopilot and a release.

    An unknown autopilot gets the restrictive row, an unknown release the oldest row of its stack.
    """
    for row in FLIGHT_STACKS:
        if row.autopilot == autopilot and (release or ANY_RELEASE) >= row.since:
            return row
    return UNKNOWN_STACK


def release_of(flight_sw_version: int) -> Release | None:
    """Release in AUTOPILOT_VERSION.flight_sw_version, `None` for 0."""
    major, minor, _, kind = flight_sw_version.to_bytes(4, "big")
    return (major, minor, kind) if flight_sw_version else None


def sent_pct(stack: FlightStack, remaining_pct: int, *, armed: bool | None) -> int:
    """Percentage to send: -1 in place of one at which the board could shut itself down."""
    if remaining_pct < stack.least_disarmed_pct and armed is not True:
        return -1
    return remaining_pct


def withhold_reason(stack: FlightStack, remaining_pct: int, *, armed: bool | None) -> str | None:
    """Reason not to send BATTERY_STATUS with this percentage, `None` if there is none.

    Silence is safe: PX4 reports it after 5 s and refuses to arm. A wrong percentage lands it.
    """
    if not stack.unknown_is_empty or sent_pct(stack, remaining_pct, armed=armed) >= 0:
        return None
    if remaining_pct < 0:
        return "charge unknown"
    return f"charge {remaining_pct} % < {stack.least_disarmed_pct} %"

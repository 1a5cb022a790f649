"""What other programs make of a BATTERY_STATUS, as small models of them.

QGroundControl: BatteryFactGroupListModel.cc; MAVSDK and MAVProxy add the cells up likewise.
PX4: mavlink_receiver.cpp `handle_message_battery_status`, main of 2026 and before.
"""

from dataclasses import dataclass
from itertools import takewhile

from pymavlink.dialects.v20 import common as mavlink

UNUSED_MV = 0xFFFF
EMERGENCY_PCT, CRITICAL_PCT, LOW_PCT = 5, 7, 15  # BAT_EMERGEN_THR, BAT_CRIT_THR, BAT_LOW_THR


@dataclass(frozen=True)
class Shown:
    """A battery on a ground station's screen; None is n/a."""

    voltage_v: float
    current_a: float | None
    consumed_mah: int | None
    remaining_pct: int | None
    temperature_degc: float | None
    remaining_s: int | None
    charge_state: int


def ground_station(message: mavlink.MAVLink_battery_status_message) -> Shown:
    """Return what QGroundControl shows."""
    cells_mv = [*takewhile(lambda mv: mv != UNUSED_MV, message.voltages)]
    cells_mv += takewhile(lambda mv: mv != 0, message.voltages_ext)
    return Shown(
        voltage_v=sum(cells_mv) / 1000,
        current_a=None if message.current_battery == -1 else message.current_battery / 100,
        consumed_mah=None if message.current_consumed == -1 else message.current_consumed,
        remaining_pct=None if message.battery_remaining == -1 else message.battery_remaining,
        temperature_degc=None if message.temperature == 0x7FFF else message.temperature / 100,
        remaining_s=message.time_remaining or None,
        charge_state=message.charge_state,
    )


@dataclass(frozen=True)
class Taken:
    """A battery inside PX4."""

    voltage_v: float
    cells: int
    remaining_frac: float
    warning: str


def px4(message: mavlink.MAVLink_battery_status_message, *, release: float = 1.18) -> Taken:
    """Return what PX4 of a release takes in: ten slots, up to the first unused one."""
    cells_mv = [*takewhile(lambda mv: mv != UNUSED_MV, message.voltages)]
    remaining_pct = message.battery_remaining
    knows_unknown = release >= 1.18
    remaining_frac = -1.0 if remaining_pct == -1 and knows_unknown else remaining_pct / 100
    if remaining_pct == -1 and knows_unknown:
        warning = "none"
    elif remaining_pct <= EMERGENCY_PCT:  # 5/100 falls just below the parameter
        warning = "emergency"
    elif remaining_pct < CRITICAL_PCT:
        warning = "critical"
    elif remaining_pct <= LOW_PCT:
        warning = "low"
    else:
        warning = "none"
    return Taken(sum(cells_mv) / 1000, len(cells_mv), remaining_frac, warning)

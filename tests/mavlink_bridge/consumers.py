# SPDX-License-Identifier: Apache-2.0
"""Models of the receivers of BATTERY_STATUS.

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
    """A battery on the screen of a ground station; `None` is n/a."""

    voltage_v: float
    current_a: float | None
    consumed_mah: int | None
    remaining_pct: int | None
    temperature_degc: float | None
    remaining_s: int | None
    charge_state: int


def ground_station(message: mavlink.MAVLink_battery_status_message) -> Shown:
    """Values that QGroundControl shows."""
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
    """Values that PX4 of a release reads: ten slots, up to the first unused one."""
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


WARNINGS = ("none", "low", "critical", "emergency")


@dataclass
class Px4Commander:
    """PX4's commander with an external battery.

    batteryCheck.cpp and failsafe.cpp: a warning only grows while armed; with COM_LOW_BAT_ACT 3
    critical returns and emergency lands; 5 s of silence are unhealthy; disarmed, an emergency asks
    the board to shut down; a time left below what the way home takes returns with
    COM_FLTT_LOW_ACT 3, and up to 1.17 every time left of such a battery is 0.
    """

    release: float
    way_home_s: float = 100.0
    armed: bool = False
    warning: str = "none"
    received_s: float | None = None
    shut_down: bool = False
    time_low: bool = False

    def receive(self, message: mavlink.MAVLink_battery_status_message, now_s: float) -> None:
        """Receive a BATTERY_STATUS."""
        self.received_s = now_s
        warning = px4(message, release=self.release).warning
        if not self.armed or WARNINGS.index(warning) > WARNINGS.index(self.warning):
            self.warning = warning
        if not self.armed and warning == "emergency":
            self.shut_down = True
        left_s = message.time_remaining or None if self.release >= 1.18 else 0.0
        if self.armed and left_s is not None and left_s <= self.way_home_s:
            self.time_low = True

    def unhealthy(self, now_s: float) -> bool:
        """Whether the battery has been silent for too long; a battery never received is not."""
        return self.received_s is not None and now_s - self.received_s > 5.0

    def may_arm(self, now_s: float) -> bool:
        """Whether the battery permits arming, without the authorisation."""
        return not self.unhealthy(now_s) and WARNINGS.index(self.warning) < 2


@dataclass
class ArduPilotBattery:
    """ArduPilot's battery monitor of type 29 and its failsafes (AP_BattMonitor_Backend.cpp).

    Input is the state set by the driver. Only the used charge and the voltage trigger a failsafe;
    states only grow; 5 s after the last input the battery is unhealthy, 5 s later missing.
    """

    capacity_mah: float
    low_mah: float
    critical_mah: float
    state: str = "none"
    received_s: float | None = None

    def receive(self, fields: dict[str, str], now_s: float) -> None:
        """Receive the state set by the driver."""
        self.received_s = now_s
        left_mah = self.capacity_mah - float(fields.get("consumed_mah", "0"))
        if left_mah < self.critical_mah:
            self.state = "critical"
        elif left_mah < self.low_mah and self.state != "critical":
            self.state = "low"

    def missing(self, now_s: float) -> bool:
        """Whether it reports the battery as missing."""
        return self.received_s is not None and now_s - self.received_s > 10.0

# SPDX-License-Identifier: Apache-2.0
"""Limits -> status flags of BatteryInfo and CBAT, which have the same ones.

ArduPilot reads none of them. PX4 reads IN_USE of BatteryInfo, and the faults of CBAT that a source
below names. Vendors have given flags other senses; these are those of the DSDL.
Source: 1092.BatteryInfo (github.com/DroneCAN/DSDL); PX4, uavcan/sensors/battery.cpp.
"""

from dataclasses import dataclass

from dronebms.core.report import Report

IN_USE = 1
CHARGING = 2
TEMP_HOT = 8
TEMP_COLD = 16
OVERLOAD = 32
BAD_BATTERY = 64
NEED_SERVICE = 128
BMS_ERROR = 256


@dataclass(frozen=True, slots=True)
class Flag:
    """A status flag and the limits that set it while one of them has tripped."""

    bit: int
    limits: tuple[str, ...]
    source: str


# fmt: off
FLAGS = (
    Flag(TEMP_HOT,     ("hot", "hot_critical", "hot_emergency", "gauge_hot", "charging_warm", "charging_hot"), "DSDL: temperature above normal; PX4 of CBAT: over-temperature"),
    Flag(TEMP_COLD,    ("cold", "cold_critical", "cold_emergency", "charging_cold"), "DSDL: temperature below normal; PX4 of CBAT: under-temperature"),
    Flag(OVERLOAD,     ("current_2s", "current_10s", "current_2s_emergency", "current_60s_critical", "heat_critical", "current_beyond", "charging_too_fast"), "DSDL: safe operating area violation; PX4 of CBAT: over-current, so that an empty cell is none"),
    Flag(BAD_BATTERY,  ("failed", "worn_out"), "DSDL: should not be used anymore; PX4 of CBAT: hardware failure"),
    Flag(NEED_SERVICE, ("worn", "spread_rest"), "DSDL: requires maintenance, such as balancing"),
    Flag(BMS_ERROR,    ("silent", "lost", "blind", "implausible", "contradiction", "alert", "tripped", "charge_tripped"), "DSDL: controller or interface error"),
)
# fmt: on


def status_flags(report: Report) -> int:
    """Flags of a report.

    CHARGING is a current into the pack, the only sign of a charger; CHARGED is never set for want
    of one. IN_USE is a pack that is not charged: PX4 takes one without it for a power module.
    """
    active = frozenset(report.status.active)
    bits = CHARGING if report.status.charging else IN_USE
    for flag in FLAGS:
        if not active.isdisjoint(flag.limits):
            bits |= flag.bit
    return bits

# SPDX-License-Identifier: Apache-2.0
"""Vehicle side of the bridge: arming check, actions, limits, command protocol, battery ids."""

from mavlink_bridge.vehicle.arming_check import ArmingCheck
from mavlink_bridge.vehicle.battery_id import BatteryIdAllocator
from mavlink_bridge.vehicle.command_state import SentCommand
from mavlink_bridge.vehicle.saved_file import left_behind
from mavlink_bridge.vehicle.vehicle_control import VehicleControl, unread_originals

__all__ = [
    "ArmingCheck",
    "BatteryIdAllocator",
    "SentCommand",
    "VehicleControl",
    "left_behind",
    "unread_originals",
]

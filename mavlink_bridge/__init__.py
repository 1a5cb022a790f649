# SPDX-License-Identifier: Apache-2.0
"""MAVLink battery components for autopilots and ground stations, and the state of the vehicle."""

from mavlink_bridge.bridge import Bridge, BridgeState, TelemetryLink
from mavlink_bridge.components import BridgeOptions
from mavlink_bridge.protocol.link import open_link

__all__ = ["Bridge", "BridgeOptions", "BridgeState", "TelemetryLink", "open_link"]

"""MAVLink battery components for autopilots and ground stations, and the state of the vehicle."""

from mavlink_bridge.bridge import Bridge, BridgeOptions, BridgeState
from mavlink_bridge.protocol.link import open_link

__all__ = ["Bridge", "BridgeOptions", "BridgeState", "open_link"]

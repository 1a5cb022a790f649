# SPDX-License-Identifier: Apache-2.0
"""Non-blocking transports of a CAN bus: SocketCAN, SLCAN, UDP multicast, a port to MAVLink."""

from dronebms.dronecan.transports.by_url import open_transport
from dronebms.dronecan.transports.multicast import MulticastTransport
from dronebms.dronecan.transports.port import FramePort, PortTransport
from dronebms.dronecan.transports.slcan import SlcanTransport
from dronebms.dronecan.transports.socketcan import SocketCanTransport
from dronebms.dronecan.transports.transport import Transport

__all__ = [
    "FramePort",
    "MulticastTransport",
    "PortTransport",
    "SlcanTransport",
    "SocketCanTransport",
    "Transport",
    "open_transport",
]

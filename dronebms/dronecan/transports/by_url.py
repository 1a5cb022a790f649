# SPDX-License-Identifier: Apache-2.0
"""The transport of a CAN URL."""

from dronebms.dronecan.can_url import CanUrl, multicast_group
from dronebms.dronecan.transports.multicast import MulticastTransport
from dronebms.dronecan.transports.slcan import SlcanTransport
from dronebms.dronecan.transports.socketcan import SocketCanTransport
from dronebms.dronecan.transports.transport import Transport


def open_transport(url: CanUrl) -> Transport:
    """Open a bus.

    Raises:
        OSError: it cannot be opened now.
    """
    if url.kind == "socketcan":
        return SocketCanTransport(url.place)
    if url.kind == "slcan":
        return SlcanTransport(url.place)
    return MulticastTransport(multicast_group(url))

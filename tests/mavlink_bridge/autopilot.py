# SPDX-License-Identifier: Apache-2.0
"""A test double of a flight controller: sends heartbeats, acknowledges commands."""

import socket
from time import monotonic

from pymavlink.dialects.v20 import common as mavlink

from tests.mavlink_bridge.loopback import WAIT_S

PX4, ARDUPILOT = mavlink.MAV_AUTOPILOT_PX4, mavlink.MAV_AUTOPILOT_ARDUPILOTMEGA


class FakeAutopilot:
    """Component 1 of a system, on a port of its own on loopback.

    Sends to `peer`, or to the sender of the last datagram.
    """

    def __init__(
        self,
        system_id: int = 1,
        autopilot: int = PX4,
        *,
        component_id: int = 1,
        vehicle_type: int = mavlink.MAV_TYPE_QUADROTOR,
        peer: tuple[str, int] | None = None,
        acknowledges: bool = True,
    ) -> None:
        self.system_id = system_id
        self.frames: list[bytes] = []  # as received
        self._autopilot = autopilot
        self._type = vehicle_type
        self.peer = peer
        self._acknowledges = acknowledges
        self._codec = mavlink.MAVLink(None, system_id, component_id)
        self._codec.robust_parsing = True
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        """URL of a link to it."""
        return f"udpout:127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        """Close the port."""
        self._socket.close()

    def beat(self, *, armed: bool = False, custom_mode: int = 0) -> None:
        """Send a heartbeat."""
        base_mode = mavlink.MAV_MODE_FLAG_CUSTOM_MODE_ENABLED
        if armed:
            base_mode |= mavlink.MAV_MODE_FLAG_SAFETY_ARMED
        self.send(
            mavlink.MAVLink_heartbeat_message(
                self._type, self._autopilot, base_mode, custom_mode, mavlink.MAV_STATE_ACTIVE, 3
            )
        )

    def send(self, message: mavlink.MAVLink_message) -> None:
        """Send any message."""
        self.send_bytes(bytes(message.pack(self._codec)))
        self._codec.seq = (self._codec.seq + 1) % 256

    def send_bytes(self, data: bytes) -> None:
        """Send bytes."""
        assert self.peer is not None, "no datagram has been received yet"
        self._socket.sendto(data, self.peer)

    def receive(self, count: int | None = None) -> list[mavlink.MAVLink_message]:
        """Messages received; waits for `count` of them if given."""
        received: list[mavlink.MAVLink_message] = []
        end_s = monotonic() + WAIT_S
        while count is None or len(received) < count:
            self._socket.settimeout(0 if count is None else max(end_s - monotonic(), 0.001))
            try:
                data, peer = self._socket.recvfrom(65536)
            except (BlockingIOError, TimeoutError):
                assert count is None, f"{len(received)} messages came, not {count}"
                break
            if self.peer is None or self.peer[1] != peer[1]:
                self.peer = peer
            self.frames.append(data)
            for message in self._codec.parse_buffer(data) or ():
                self._acknowledge(message)
                received.append(message)
        return received

    def _acknowledge(self, message: mavlink.MAVLink_message) -> None:
        mine = message.get_type() == "COMMAND_LONG" and message.target_system == self.system_id
        if mine and self._acknowledges:
            self.send(
                mavlink.MAVLink_command_ack_message(message.command, mavlink.MAV_RESULT_DENIED)
            )

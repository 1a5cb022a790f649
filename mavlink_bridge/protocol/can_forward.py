# SPDX-License-Identifier: Apache-2.0
"""CAN frames over the link of the vehicle: ArduPilot forwards a CAN bus to and from MAVLink.

The autopilot forwards while it is asked to, and passes what it receives to the bus and to its own
nodes. It has room for 20 frames, so that no more are sent at once. The ids of the frames that it
forwards are filtered by itself.
Source: common.xml, CAN_FRAME 386, CAN_FILTER_MODIFY 388, MAV_CMD_CAN_FORWARD 32000; ArduPilot,
AP_MAVLinkCAN.cpp (it ends 5 s after the last command) and AP_HAL/CANIface.cpp.
"""

import math
import os
from collections import deque
from collections.abc import Iterator, Sequence

from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.autopilot import AUTOPILOT_COMPONENT, Autopilot

_EXTENDED = 0x80000000
_ID = 0x1FFFFFFF
_DATA_BYTES = 8
_FILTER_IDS = 16  # of CAN_FILTER_MODIFY
_PERIOD_S = 1.0  # of the command
_AT_ONCE = 16
_QUEUED = 256
_FORWARD = mavlink.MAV_CMD_CAN_FORWARD
Frame = tuple[int, bytes]  # id of 29 bits, data


class CanForward:
    """Frames from and to one CAN bus of the autopilot.

    The queues drop their oldest frames; another thread may use them, `readable` and `filter`.

    Args:
        bus: of the autopilot, from 0.

    Attributes:
        received: extended frames of the bus.
        readable: descriptor that becomes readable with a frame; read it as an eventfd(2).
        outbox: frames to send there.
        filter: data type ids of the frames that are needed; 0: anonymous ones.
        trouble: why no frame is carried, `None` without a reason.
    """

    def __init__(self, bus: int = 0) -> None:
        self.received: deque[Frame] = deque(maxlen=_QUEUED)
        self.readable = os.eventfd(0, os.EFD_NONBLOCK)  # as long as the process
        self.outbox: deque[Frame] = deque(maxlen=_QUEUED)
        self.filter: Sequence[int] = ()
        self.trouble: str | None = "no heartbeat of the autopilot"
        self._bus = bus
        self._asked_s = -math.inf
        self._refused = False

    def receive(self, message: mavlink.MAVLink_message) -> None:
        """Take in a message of the autopilot."""
        kind = message.get_type()
        if kind == "CAN_FRAME" and message.bus == self._bus and message.id & _EXTENDED:
            length = min(message.len, _DATA_BYTES)
            self.received.append((message.id & _ID, bytes(message.data[:length])))
            os.eventfd_write(self.readable, 1)
        elif kind == "COMMAND_ACK" and message.command == _FORWARD:
            self._refused = message.result != mavlink.MAV_RESULT_ACCEPTED

    def due(self, autopilot: Autopilot, now_s: float) -> Iterator[mavlink.MAVLink_message]:
        """Messages to send now; none while the autopilot sends no heartbeat."""
        if autopilot.online_since_s(now_s) is None:
            self.trouble = "no heartbeat of the autopilot"
            self.outbox.clear()  # what is old is not sent later
            return
        refused = f"the autopilot does not forward its CAN bus {self._bus + 1}"
        self.trouble = refused if self._refused else None
        target = autopilot.system_id, AUTOPILOT_COMPONENT
        if now_s - self._asked_s >= _PERIOD_S:
            self._asked_s = now_s
            parameters = (self._bus + 1, 0, 0, 0, 0, 0, 0)
            yield mavlink.MAVLink_command_long_message(*target, _FORWARD, 0, *parameters)
            ids = list(self.filter)[:_FILTER_IDS]
            yield mavlink.MAVLink_can_filter_modify_message(
                *target,
                bus=self._bus + 1,
                operation=mavlink.CAN_FILTER_REPLACE,
                num_ids=len(ids),
                ids=ids + [0] * (_FILTER_IDS - len(ids)),
            )
        for _ in range(min(len(self.outbox), _AT_ONCE)):
            can_id, data = self.outbox.popleft()
            yield mavlink.MAVLink_can_frame_message(
                *target,
                bus=self._bus,
                len=len(data),
                id=can_id | _EXTENDED,
                data=list(data) + [0] * (_DATA_BYTES - len(data)),
            )

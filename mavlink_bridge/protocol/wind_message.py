# SPDX-License-Identifier: Apache-2.0
"""WIND, with which ArduPilot reports the wind; it is not in MAVLink's common message set.

The whole dialect of ArduPilot costs some megabytes of memory for this one message. Source:
ardupilotmega.xml; ArduPilot GCS_MAVLINK::send_wind: the direction is that the wind comes from.
"""

import struct

from pymavlink.dialects.v20 import common as mavlink


class WindMessage(mavlink.MAVLink_message):  # type: ignore[misc]  # pymavlink is untyped
    """WIND: `direction` in degrees, `speed` and `speed_z` in metres per second."""

    id = 168
    msgname = "WIND"
    fieldnames = ordered_fieldnames = ("direction", "speed", "speed_z")
    orders = (0, 1, 2)
    lengths = (1, 1, 1)
    array_lengths = (0, 0, 0)
    crc_extra = 1
    unpacker = struct.Struct("<fff")
    instance_field = None
    instance_offset = -1

    def __init__(self, direction: float, speed: float, speed_z: float) -> None:
        super().__init__(self.id, self.msgname)
        self._fieldnames = self.fieldnames
        self.direction = direction
        self.speed = speed
        self.speed_z = speed_z


mavlink.mavlink_map.setdefault(WindMessage.id, WindMessage)  # parsers look it up there

# SPDX-License-Identifier: Apache-2.0
"""WIND as the dialect of ArduPilot has it."""

import pytest
from pymavlink.dialects.v20 import ardupilotmega
from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.wind_message import WindMessage

THEIRS = ardupilotmega.MAVLink_wind_message


@pytest.mark.parametrize(
    "name",
    [
        *("id", "msgname", "fieldnames", "ordered_fieldnames", "orders", "lengths"),
        *("array_lengths", "crc_extra", "instance_field", "instance_offset"),
    ],
)
def test_the_layout_is_that_of_ardupilots_dialect(name: str) -> None:
    ours, theirs = getattr(WindMessage, name), getattr(THEIRS, name)
    if isinstance(theirs, list | tuple):
        ours, theirs = list(ours), list(theirs)
    assert ours == theirs
    assert type(ours) is type(theirs)
    assert WindMessage.unpacker.format == THEIRS.unpacker.format


def test_a_frame_of_ardupilot_is_decoded_with_its_values() -> None:
    frame = THEIRS(-123.5, 7.25, -0.5).pack(ardupilotmega.MAVLink(None, 1, 1))
    message = mavlink.MAVLink(None).decode(bytearray(frame))
    assert isinstance(message, WindMessage)
    assert (message.get_type(), message.get_srcSystem()) == ("WIND", 1)
    assert (message.direction, message.speed, message.speed_z) == (-123.5, 7.25, -0.5)
    assert message.to_dict() == {
        "mavpackettype": "WIND", "direction": -123.5, "speed": 7.25, "speed_z": -0.5
    }  # fmt: skip

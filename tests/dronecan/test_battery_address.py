# SPDX-License-Identifier: Apache-2.0
"""Addresses of DroneCAN packs."""

import pytest

from dronebms.core.errors import LinkError
from dronebms.dronecan.battery_address import FORM, BatteryAddress, parse_battery
from dronebms.dronecan.can_url import CanUrl

CAN0, ACM0 = CanUrl("socketcan", "can0"), CanUrl("slcan", "/dev/ttyACM0")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("dronecan:socketcan:can0#0", BatteryAddress(CAN0, 0)),
        ("dronecan:socketcan:can0#255", BatteryAddress(CAN0, 255)),
        ("dronecan:mcast:00#01", BatteryAddress(CanUrl("mcast", "0"), 1)),
        ("dronecan:slcan:/dev/ttyACM0#node1", BatteryAddress(ACM0, None, 1)),
        ("dronecan:socketcan:can0#node127", BatteryAddress(CAN0, None, 127)),
    ],
)
def test_an_address_has_a_bus_and_one_id(text: str, address: BatteryAddress) -> None:
    assert parse_battery(text) == address


def test_a_name_is_for_people() -> None:
    assert BatteryAddress(CAN0, 3).name == "battery 3 on socketcan:can0"
    assert BatteryAddress(CAN0, node_id=42).name == "node 42 on socketcan:can0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dronecan:socketcan:can0", FORM),
        ("dronecan:socketcan:can0#", FORM),
        ("dronecan:socketcan:can0#-1", FORM),
        ("dronecan:socketcan:can0#1.0", FORM),
        ("dronecan:socketcan:can0#node", FORM),
        ("dronecan:socketcan:can0#\N{SUPERSCRIPT TWO}", FORM),
        ("socketcan:can0#1", FORM),
        ("dronecan:socketcan:can0#256", "a battery id from 0 to 255"),
        ("dronecan:socketcan:can0#" + "9" * 5000, "a battery id from 0 to 255"),
        ("dronecan:socketcan:can0#node0", "a node id from 1 to 127"),
        ("dronecan:socketcan:can0#node128", "a node id from 1 to 127"),
        ("dronecan:can0#1", "did you mean socketcan:can0"),
        ("dronecan:#1", "socketcan:INTERFACE"),
    ],
)
def test_a_wrong_address_is_refused_with_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(LinkError) as refused:
        parse_battery(text)
    assert expected in str(refused.value)

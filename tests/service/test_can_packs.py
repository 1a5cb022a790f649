"""DroneCAN packs in the configuration and in a whole service."""

import pytest

from dronebms.core.errors import ConfigError
from dronebms.core.toml_schema import validated
from dronebms.dronecan.battery_address import BatteryAddress, CanPack
from dronebms.dronecan.can_url import CanUrl
from dronebms.service.config import Config, by_adapter

PACK = '[[battery]]\nbus = "dronecan:mcast:0#1"\n'
WIRED = '[[battery]]\nbus = "/dev/i2c-1"\n'
MCAST = CanUrl("mcast", "0")


def read(text: str) -> Config:
    return validated(Config, text, "c.toml")


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read(text)
    return [line.removeprefix("c.toml: ") for line in str(refused.value).splitlines()]


def test_a_can_pack_is_a_battery_without_an_adapter() -> None:
    second = PACK.replace("#1", "#node42")
    config = read(PACK + WIRED + second)
    assert [battery.is_wired for battery in config.battery] == [False, True, False]
    assert [[index for index, _ in members] for members in by_adapter(config.battery)] == [[1]]
    assert [battery.place for battery in config.battery] == [
        "DroneCAN battery 1 on mcast:0",
        "/dev/i2c-1 address 0x0b",
        "DroneCAN node 42 on mcast:0",
    ]
    assert config.battery[0].can_pack() == CanPack(BatteryAddress(MCAST, 1))
    assert config.battery[1].can_pack() is None


def test_the_keys_of_a_can_pack_describe_what_its_maker_does_otherwise() -> None:
    keys = 'cells = 18\nnominal_v = 66.6\nreverse_current = ["BatteryInfo", "CBAT"]\nignore_status_flags = true\n'  # noqa: E501 - four keys
    (battery,) = read(PACK + keys).battery
    assert battery.can_pack() == CanPack(
        BatteryAddress(MCAST, 1), 18, 66.6, frozenset({1092, 20300}), ignore_flags=True
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (PACK * 2, "battery.1 and battery.2: same DroneCAN battery 1 on mcast:0"),
        (PACK + PACK.replace("mcast:0", "mcast:00"), "battery.1 and battery.2: same DroneCAN"),
        (PACK + "address = 11\n", "battery.1: expected no address with a DroneCAN pack"),
        (PACK + 'gauge = "generic"\n', "battery.1: expected no gauge with a DroneCAN pack"),
        (WIRED + "nominal_v = 22.2\n", "battery.1: expected nominal_v with a DroneCAN pack alone"),
        (
            WIRED + "ignore_status_flags = true\n",
            "battery.1: expected ignore_status_flags with a DroneCAN pack alone",
        ),
        (PACK + "nominal_v = 22200\n", "battery.1.nominal_v: expected 2 to 150 V (in millivolts?"),
        (PACK + 'reverse_current = ["BatteryInfoAux"]\n', "battery.1.reverse_current.1: "),
        (PACK.replace("#1", ""), 'battery.1.bus: expected "dronecan:URL#ID"'),
        (PACK.replace("#1", "#300"), "battery.1.bus: expected a battery id from 0 to 255"),
        (PACK.replace("mcast:0", "can0"), "battery.1.bus: expected socketcan:INTERFACE"),
        (PACK.replace("mcast:0", "mavcan"), "battery.1.bus: expected "),
    ],
)
def test_a_can_pack_that_cannot_be_read_is_refused(text: str, complaint: str) -> None:
    (sentence,) = complaints(text)
    assert sentence.startswith(complaint)

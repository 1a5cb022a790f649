# SPDX-License-Identifier: Apache-2.0
"""Commands to the Lua driver, and its answers."""

import pytest
from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.driver_commands import DRIVER_COMMAND, VERSION, LuaDriver


def answered(version: int, warnings: int = 0, command: int = DRIVER_COMMAND) -> LuaDriver:
    driver = LuaDriver()
    driver.receive(mavlink.MAVLink_command_ack_message(command, 0, version, warnings, 1, 191), 5.0)
    return driver


def test_commands_are_addressed_to_the_autopilot() -> None:
    driver = answered(VERSION)
    for message in (
        driver.verdict(7, no_go=True, batteries=2, first_id=3),
        driver.limit(7, 25.5),
    ):
        assert message.get_type() == "COMMAND_LONG"
        assert (message.target_system, message.target_component) == (7, 1)
        assert (message.command, message.param1) == (31014, VERSION)


def test_a_verdict_and_a_limit_are_distinguished_by_their_second_parameter() -> None:
    driver = answered(VERSION)
    for message, values in (
        (driver.verdict(7, no_go=True, batteries=2, first_id=3), [1, 1, 2, 3, 0, 0]),
        (driver.verdict(7, no_go=False, batteries=1, first_id=-1), [1, 0, 1, -1, 0, 0]),
        (driver.limit(7, 25.5), [2, 25.5, 0, 0, 0, 0]),
    ):
        assert [getattr(message, f"param{number}") for number in range(2, 8)] == values


def test_a_driver_of_version_1_gets_named_values() -> None:
    driver = LuaDriver()
    driver.receive(mavlink.MAVLink_named_value_float_message(0, b"BMS_LUA", 1.0), 5.0)
    verdict = driver.verdict(1, no_go=True, batteries=1, first_id=0)
    limit = driver.limit(1, 30.0)
    assert [(m.name, m.value) for m in (verdict, limit)] == [("BMS_NOGO", 1.0), ("BMS_AMAX", 30.0)]


def test_a_driver_is_present_for_three_seconds_after_an_answer() -> None:
    assert not LuaDriver().is_present(0.0)
    driver = answered(VERSION)
    assert driver.is_present(8.0)
    assert not driver.is_present(8.1)
    # ArduPilot without the driver answers "unsupported", without a version.
    assert not answered(0).is_present(5.0)
    assert not answered(VERSION, command=31010).is_present(5.0)


@pytest.mark.parametrize("version", [1, 3, 255])
def test_a_driver_of_another_version_is_logged_once(
    version: int, caplog: pytest.LogCaptureFixture
) -> None:
    driver = answered(version)
    driver.receive(mavlink.MAVLink_command_ack_message(DRIVER_COMMAND, 2, version), 6.0)
    assert caplog.text.count(f"Lua driver {version} on the autopilot, {VERSION} needed") == 1


def test_what_the_driver_warns_of_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    driver = answered(VERSION, warnings=1)
    assert "on another link" in caplog.text
    for bits in (1, 3, 3):
        driver.receive(
            mavlink.MAVLink_command_ack_message(DRIVER_COMMAND, 0, VERSION, bits, 1, 191), 6.0
        )
    assert caplog.text.count("on another link") == 1
    assert caplog.text.count("of a second sender") == 1


@pytest.mark.parametrize("name", [b"", b"BMS_LU", b"BMS_LUB", b"BMS_NOGO", b"ZZZ", b"AAA"])
def test_a_named_value_of_another_name_is_no_driver(name: bytes) -> None:
    driver = LuaDriver()
    frame = mavlink.MAVLink_named_value_float_message(0, name, 1.0).pack(
        mavlink.MAVLink(None, 1, 1)
    )
    driver.receive(mavlink.MAVLink(None).decode(bytearray(frame)), 5.0)
    assert not driver.is_present(5.0)
    assert driver.version is None

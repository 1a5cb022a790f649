# SPDX-License-Identifier: Apache-2.0
"""Which component sends what: the onboard computer, the first battery, all other batteries."""

from typing import Any

import pytest
from pydantic import ValidationError
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Severity
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.components import BridgeOptions
from mavlink_bridge.protocol.config import MavlinkConfig
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, PX4, FakeVehicle
from tests.mavlink_bridge.reports import a_report, an_event
from tests.mutable_classes import mutable_classes

FROM_COMPUTER = {"COMMAND_LONG", "PARAM_SET", "PARAM_REQUEST_READ", "COMMAND_ACK"}


def flown(
    batteries: int,
    autopilot: int = ARDUPILOT,
    options: BridgeOptions | None = None,
    **values: Any,  # noqa: ANN401 - see a_report
) -> tuple[Bridge, list[Any]]:
    """Messages of ten seconds on the ground; the last battery has the values."""
    vehicle = FakeVehicle(autopilot)
    vehicle.armed = False
    bridge = Bridge(vehicle, first_battery_id=3, options=options or BridgeOptions())
    for step in range(100):
        if step % 10 == 0:
            vehicle.beat()
        bridge.pump(step / 10)
        for index in range(batteries):
            bridge(a_report(step / 10, index, **(values if index == batteries - 1 else {})))
    return bridge, vehicle.received


@pytest.mark.parametrize("component_id", [191, 55])
@pytest.mark.parametrize("autopilot", [ARDUPILOT, PX4])
def test_each_message_comes_from_its_component(autopilot: int, component_id: int) -> None:
    options = BridgeOptions(component_id=component_id)
    _, sent = flown(3, autopilot, options, events=(an_event(),), severity=Severity.CRITICAL)
    for message in sent:
        kind, component = message.get_type(), message.get_srcComponent()
        if kind in FROM_COMPUTER:
            assert component == component_id
        elif kind in ("BATTERY_STATUS", "SMART_BATTERY_INFO"):
            assert component == (180 if message.id == 3 else 181)
        elif kind == "STATUSTEXT":
            assert (component == component_id) == message.text.startswith("no go")
    assert {m.get_srcComponent() for m in sent} == {180, 181, component_id}
    assert {m.id for m in sent if m.get_type() == "BATTERY_STATUS"} == {3, 4, 5}


def test_each_component_has_one_heartbeat_a_second_of_its_type() -> None:
    _, sent = flown(4)
    beats = [m for m in sent if m.get_type() == "HEARTBEAT"]
    for component, kind in ((180, 36), (181, 36), (191, 18)):
        mine = [m for m in beats if m.get_srcComponent() == component]
        assert len(mine) == 10
        assert {(m.type, m.autopilot, m.base_mode) for m in mine} == {(kind, 8, 0)}
        numbers = [m.get_seq() for m in sent if m.get_srcComponent() == component]
        assert numbers == [number % 256 for number in range(len(numbers))]


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({}, 4),
        ({"severity": Severity.WARNING}, 4),
        ({"severity": Severity.CRITICAL}, 5),
        ({"severity": Severity.EMERGENCY}, 6),
        ({"voltage_v": None}, 5),
    ],
)
@pytest.mark.parametrize("batteries", [1, 3])
def test_a_heartbeat_has_the_worst_state_of_its_batteries(
    batteries: int, values: dict[str, Any], state: int
) -> None:
    _, sent = flown(batteries, **values)
    last = {m.get_srcComponent(): m.system_status for m in sent if m.get_type() == "HEARTBEAT"}
    assert last == ({180: state, 191: 4} if batteries == 1 else {180: 4, 181: state, 191: 4})


def test_a_request_to_a_component_is_answered_once_by_all_its_batteries() -> None:
    bridge, sent = flown(4)
    sent.clear()
    link = bridge._components._link
    assert isinstance(link, FakeVehicle)
    for number in (512, 510):
        request = mavlink.MAVLink_command_long_message(1, 181, number, 0, 147, 0, 0, 0, 0, 0, 0)
        link._out.append(bytes(request.pack(mavlink.MAVLink(None, 255, 190))))
    bridge.pump(9.95)
    for index in range(4):
        bridge(a_report(9.95, index))
    kinds = [(m.get_type(), m.get_srcComponent()) for m in sent]
    assert kinds.count(("COMMAND_ACK", 181)) == 2
    assert kinds.count(("MESSAGE_INTERVAL", 181)) == 1
    assert [m.id for m in sent if m.get_type() == "BATTERY_STATUS"] == [4, 5, 6]


def test_no_value_of_the_service_is_broadcast_by_name() -> None:
    for autopilot in (ARDUPILOT, PX4):
        _, sent = flown(2, autopilot, severity=Severity.CRITICAL)
        assert not {m.get_type() for m in sent} & {"NAMED_VALUE_FLOAT", "NAMED_VALUE_INT"}


@pytest.mark.parametrize("component", [0, 1, 180, 181, 251, 300])
def test_a_component_that_is_not_free_is_refused(component: int) -> None:
    with pytest.raises(ValidationError):
        MavlinkConfig(component_id=component)


def test_a_value_does_not_change_after_it_was_made_but_what_a_dialogue_has_reached() -> None:
    assert mutable_classes("mavlink_bridge") == {
        "Settings", "Shared", "_Battery", "_List", "_Peer", "_Phase", "_Reset", "_Transfer"
    }  # fmt: skip

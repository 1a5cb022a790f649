# SPDX-License-Identifier: Apache-2.0
"""Links in addition to that of the vehicle: reports and texts out, and no vehicle in."""

import socket
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Severity
from dronebms.core.vehicle_state import TelemetryLinkState, VehicleState
from mavlink_bridge.bridge import DEFAULT_OPTIONS, Bridge, TelemetryLink
from mavlink_bridge.components import BridgeOptions
from mavlink_bridge.protocol.link import open_link
from mavlink_bridge.vehicle.battery_id import BatteryAddress
from mavlink_bridge.vehicle.vehicle_control import VehicleControl
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, PX4, FakeVehicle
from tests.mavlink_bridge.reports import a_report, an_event

STATUS = mavlink.MAVLINK_MSG_ID_BATTERY_STATUS
SECRET = b"0" * 32


class TwoLinks:
    """A bridge to a vehicle, and a ground station on a link of its own."""

    def __init__(self, options: BridgeOptions = DEFAULT_OPTIONS, **more: Any) -> None:  # noqa: ANN401 - the bridge's
        self.vehicle, self.ground = FakeVehicle(more.pop("autopilot", ARDUPILOT)), FakeVehicle()
        self.vehicle.armed = more.pop("armed", False)
        self.ground.answers = False
        link = TelemetryLink("udpout:ground:1", self.ground, options)
        self.bridge = Bridge(self.vehicle, options=options, telemetry=[link], **more)
        self.now_s = 0.0
        self.state = VehicleState()

    def fly(self, seconds: float, **values: Any) -> list[Any]:  # noqa: ANN401 - see a_report
        """Run for a time; the messages that the ground station has received in it."""
        first = len(self.ground.received)
        for _ in range(round(seconds * 10)):
            if round(self.now_s * 10) % 10 == 0:
                self.vehicle.beat()
            self.state = self.bridge.pump(self.now_s)
            self.bridge(replace(a_report(self.now_s, **values), vehicle=self.state))
            self.now_s = round(self.now_s + 0.1, 6)
        return self.ground.received[first:]

    def from_ground(self, message: Any, sender: tuple[int, int] = (255, 190)) -> None:  # noqa: ANN401 - a message
        """Send a message over the link of the ground station."""
        self.ground._out.append(bytes(message.pack(mavlink.MAVLink(None, *sender))))

    def command(self, number: int, *values: float, component: int = 180) -> list[Any]:
        """Send a command over the link of the ground station; the answers."""
        padded = [*values, *[0.0] * (7 - len(values))]
        command = mavlink.MAVLink_command_long_message(1, component, number, 0, *padded)
        self.from_ground(command)
        return self.fly(0.1)


def kinds(messages: list[Any]) -> list[str]:
    return [message.get_type() for message in messages]


def of(messages: list[Any], kind: str) -> list[Any]:
    return [message for message in messages if message.get_type() == kind]


# Out.


@pytest.mark.parametrize("autopilot", [ARDUPILOT, PX4])
def test_every_link_carries_the_same_reports(autopilot: int) -> None:
    links = TwoLinks(autopilot=autopilot)
    sent = links.fly(12.0, severity=Severity.CRITICAL, events=(an_event(),))
    for kind in ("BATTERY_STATUS", "SMART_BATTERY_INFO", "STATUSTEXT"):
        rows = [
            [message.to_dict() for message in of(messages, kind)]
            for messages in (links.vehicle.received, sent)
        ]
        assert rows[0] == rows[1]
        assert rows[0]
    assert {(m.get_srcSystem(), m.get_srcComponent()) for m in sent} == {(1, 180), (1, 191)}


def test_a_telemetry_link_carries_nothing_that_is_for_the_vehicle() -> None:
    links = TwoLinks()
    sent = set(kinds(links.fly(12.0)))
    assert sent == {"HEARTBEAT", "BATTERY_STATUS", "SMART_BATTERY_INFO"}
    assert {"COMMAND_LONG", "PARAM_REQUEST_READ"} <= set(kinds(links.vehicle.received))


def test_texts_about_actions_go_to_every_link(tmp_path: Any) -> None:  # noqa: ANN401 - a path
    links = TwoLinks()
    links.bridge.vehicle_control = VehicleControl(tmp_path)
    links.fly(4.0)
    links.bridge.settings.acting_enabled = False
    links.vehicle.armed = True
    texts = [message.text for message in of(links.fly(2.0), "STATUSTEXT")]
    assert texts == ["armed with actions off: BMS_ACT 0"]


def test_sequence_numbers_of_a_link_have_no_gap() -> None:
    links = TwoLinks()
    links.fly(5.0)
    for received in (links.vehicle.received, links.ground.received):
        numbers = [m.get_seq() for m in received if m.get_srcComponent() == 180]
        assert numbers == [number % 256 for number in range(len(numbers))]


# In.


def test_an_autopilot_on_a_telemetry_link_is_not_the_vehicle() -> None:
    links = TwoLinks()
    links.vehicle.sends_heartbeats = False
    links.ground.autopilot, links.ground.armed = PX4, True
    for _ in range(5):
        links.ground.beat()
        links.fly(1.0)
    assert links.state.heartbeat_age_s is None
    assert links.state.armed is None
    assert links.bridge.stack.name == "unknown"
    assert links.bridge.telemetry_counts["udpout:ground:1"]["foreign"] == 10


def test_nothing_is_forwarded_from_one_link_to_another() -> None:
    links = TwoLinks()
    links.fly(3.0)
    links.from_ground(mavlink.MAVLink_statustext_message(4, b"from the ground"))
    links.from_ground(mavlink.MAVLink_set_mode_message(1, 1, 9))
    links.vehicle.emit(mavlink.MAVLink_statustext_message(4, b"from the vehicle"))
    links.fly(3.0)
    for received in (links.vehicle.received, links.ground.received):
        assert not {"SET_MODE"} & set(kinds(received))
        assert not [m for m in of(received, "STATUSTEXT") if m.text.startswith("from")]


def test_requests_for_messages_are_answered_on_the_link_they_come_from() -> None:
    links = TwoLinks()
    links.fly(5.1)
    before = len(of(links.vehicle.received, "BATTERY_STATUS"))
    answers = links.command(512, 372)
    assert [m.result for m in of(answers, "COMMAND_ACK")] == [0]
    assert len(of(answers, "BATTERY_INFO")) == 1
    assert [m.result for m in of(links.command(511, STATUS, 2e5), "COMMAND_ACK")] == [0]
    assert len(of(links.fly(4.0), "BATTERY_STATUS")) == 20
    assert 7 <= len(of(links.vehicle.received, "BATTERY_STATUS")) - before <= 9
    links.from_ground(mavlink.MAVLink_ping_message(1, 2, 0, 0))
    assert [m.get_srcComponent() for m in of(links.fly(0.1), "PING")] == [191, 180]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_setting_is_changed_over_a_telemetry_link(value: float) -> None:
    links = TwoLinks()
    links.fly(3.0)
    before = replace(links.bridge.settings)
    links.from_ground(mavlink.MAVLink_param_set_message(1, 180, b"BMS_ACT", value, 9))
    links.from_ground(mavlink.MAVLink_param_request_list_message(1, 180))
    assert "PARAM_VALUE" not in kinds(links.fly(1.0))
    assert links.bridge.settings == before


def test_in_flight_an_interval_is_changed_by_a_signed_request_alone() -> None:
    links = TwoLinks(armed=True)
    links.fly(3.0)
    assert [m.result for m in of(links.command(511, STATUS, 2e5), "COMMAND_ACK")] == [2]


def test_arming_is_not_authorised_over_a_telemetry_link() -> None:
    links = TwoLinks(autopilot=PX4)
    links.fly(3.0)
    for sender in ((1, 1), (255, 190)):
        request = mavlink.MAVLink_command_long_message(1, 191, 3001, 0, 1, 0, 0, 0, 0, 0, 0)
        links.from_ground(request, sender)
        assert "COMMAND_ACK" not in kinds(links.fly(1.0))


def test_a_frame_that_a_router_brings_back_over_the_other_link_is_no_second_sender() -> None:
    links = TwoLinks()
    links.fly(5.0)
    frames = [bytes(m.get_msgbuf()) for m in links.vehicle.received[-20:]]
    links.ground._out.extend(frames)
    links.vehicle._out.extend(bytes(m.get_msgbuf()) for m in links.ground.received[-20:])
    links.fly(0.2)
    assert links.state.second_sender is None
    assert links.bridge.counts["second_sender"] == 0


def test_a_second_sender_on_a_telemetry_link_is_reported_on_every_link() -> None:
    links = TwoLinks()
    links.fly(5.0)
    links.from_ground(mavlink.MAVLink_heartbeat_message(36, 8, 0, 0, 4, 3), (1, 180))
    texts = [message.text for message in of(links.fly(1.0), "STATUSTEXT")]
    assert (
        texts
        == ["second sender of 1/180 on the link"]
        == [message.text for message in of(links.vehicle.received, "STATUSTEXT")]
    )
    assert links.state.second_sender == texts[0]
    assert links.bridge.telemetry_counts["udpout:ground:1"]["second_sender"] == 1


# Trouble.


def test_the_trouble_of_each_link_is_its_own() -> None:
    links = TwoLinks()
    links.fly(1.0)
    assert links.state.telemetry_links == (TelemetryLinkState("udpout:ground:1"),)
    links.ground.trouble = "udpout:ground:1: no such host; retrying"  # type: ignore[assignment]
    links.fly(1.0)
    assert links.state.telemetry_links[0].trouble == "udpout:ground:1: no such host; retrying"
    assert links.state.link_trouble is None


def test_a_link_that_takes_nothing_delays_nothing_on_the_other() -> None:
    """A TCP peer that never reads: the kernel's buffers fill, then every frame is dropped."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        url = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        with closing(open_link(url)) as stuck:
            vehicle = FakeVehicle()
            vehicle.armed = False
            link = TelemetryLink(url, stuck)
            bridge = Bridge(vehicle, telemetry=[link])
            silent, _ = _connected(bridge, server)
            with silent:
                for step in range(20_000):
                    if step % 10 == 0:
                        vehicle.beat()
                    bridge.pump(1.0 + step / 10)
                    bridge(a_report(1.0 + step / 10))
    counts = bridge.telemetry_counts[url]
    assert counts["unsent"] > 0
    statuses = of(vehicle.received, "BATTERY_STATUS")
    assert len(statuses) == pytest.approx(4000, abs=4)
    assert bridge.counts["unsent"] == 0


def _connected(bridge: Bridge, server: socket.socket) -> tuple[socket.socket, Any]:
    bridge.pump(0.0)
    return server.accept()


# Addresses of the batteries, and the form of their voltage.


def test_configured_addresses_are_used_on_every_link() -> None:
    addresses = (BatteryAddress(182, 7), BatteryAddress(182, 3), BatteryAddress(None, 4))
    links = TwoLinks(BridgeOptions(batteries=addresses))
    for step in range(30):
        links.bridge.pump(step / 10)
        for index in range(3):
            links.bridge(a_report(step / 10, index))
    for received in (links.vehicle.received, links.ground.received):
        found = {(m.get_srcComponent(), m.id) for m in of(received, "BATTERY_STATUS")}
        assert found == {(182, 7), (182, 3), (181, 4)}
        beats = [m.get_srcComponent() for m in of(received, "HEARTBEAT")]
        assert sorted(beats) == [181] * 3 + [182] * 3 + [191] * 3


@pytest.mark.parametrize(("ids", "first"), [((5, 6), 5), ((5, 7), -1), ((6, 5), -1)])
def test_the_driver_learns_configured_ids_if_they_are_consecutive(
    ids: tuple[int, int], first: int
) -> None:
    addresses = tuple([BatteryAddress(None, one) for one in ids])
    links = TwoLinks(BridgeOptions(batteries=addresses))
    links.fly(3.0)
    verdicts = [m for m in of(links.vehicle.received, "COMMAND_LONG") if m.command == 31014]
    assert {m.param5 for m in verdicts if m.param4 > 0} == {first}


def test_configured_ids_are_not_changed_by_a_parameter() -> None:
    links = TwoLinks(BridgeOptions(batteries=(BatteryAddress(None, 5),)))
    links.fly(3.0)
    request = mavlink.MAVLink_param_set_message(1, 180, b"BMS_ID", 9.0, 9)
    links.vehicle._out.append(bytes(request.pack(mavlink.MAVLink(None, 255, 190))))
    links.fly(0.1)
    assert [m.param_value for m in of(links.vehicle.received, "PARAM_VALUE")] == [5.0]
    assert {m.id for m in of(links.fly(2.0), "BATTERY_STATUS")} == {5}


@pytest.mark.parametrize(
    ("voltage_v", "cells_v", "expected_mv"),
    [
        (23.55, (3.9, 3.91, 3.92, 3.93, 3.94, 3.95), [23550]),
        (65.534, (3.9,) * 4, [65534]),
        (65.535, (3.9,) * 4, [65534, 1]),
        (75.6, (4.2,) * 18, [65534, 10066]),
        (0.0, (), [0]),
    ],
)
def test_the_pack_voltage_alone_is_in_the_first_field(
    voltage_v: float, cells_v: tuple[float, ...], expected_mv: list[int]
) -> None:
    links = TwoLinks(BridgeOptions(pack_voltage_only=True), vehicle="ardupilot")
    statuses = of(links.fly(4.0, voltage_v=voltage_v, cells_v=cells_v), "BATTERY_STATUS")
    for status in statuses:
        assert status.voltages == expected_mv + [0xFFFF] * (10 - len(expected_mv))
        assert status.voltages_ext == [0] * 4
    assert statuses


# State of the components.


@pytest.mark.parametrize(
    ("armed", "values", "state"),
    [
        (False, {}, mavlink.MAV_STATE_STANDBY),
        (True, {}, mavlink.MAV_STATE_ACTIVE),
        (False, {"severity": Severity.WARNING}, mavlink.MAV_STATE_STANDBY),
        (True, {"severity": Severity.WARNING}, mavlink.MAV_STATE_ACTIVE),
        (False, {"severity": Severity.CRITICAL}, mavlink.MAV_STATE_CRITICAL),
        (True, {"severity": Severity.CRITICAL}, mavlink.MAV_STATE_CRITICAL),
        (True, {"severity": Severity.EMERGENCY}, mavlink.MAV_STATE_EMERGENCY),
        (True, {"voltage_v": None}, mavlink.MAV_STATE_CRITICAL),
        (True, {"voltage_v": None, "severity": Severity.EMERGENCY}, mavlink.MAV_STATE_EMERGENCY),
    ],
)
def test_a_heartbeat_has_the_state_of_its_pack(
    armed: bool,  # noqa: FBT001 - of the table
    values: dict[str, Any],
    state: int,
) -> None:
    links = TwoLinks(armed=armed)
    links.fly(5.0, **values)
    beats = {m.get_srcComponent(): m.system_status for m in of(links.ground.received, "HEARTBEAT")}
    assert beats == {180: state, 191: 4 if armed else 3}


def test_the_computer_has_the_state_of_a_pack_that_the_vehicle_measures() -> None:
    links = TwoLinks()
    links.bridge.vehicle_battery(0, 0, 6)
    links.fly(5.0, severity=Severity.EMERGENCY)
    beats = {m.get_srcComponent(): m.system_status for m in of(links.ground.received, "HEARTBEAT")}
    assert beats == {191: mavlink.MAV_STATE_EMERGENCY}


def test_standby_is_never_sent_while_the_vehicle_may_fly() -> None:
    links = TwoLinks(armed=True)
    links.fly(5.0)
    links.vehicle.sends_heartbeats = False  # lost: it may still fly
    states = [m.system_status for m in of(links.fly(20.0), "HEARTBEAT")]
    assert set(states) == {mavlink.MAV_STATE_ACTIVE}


@pytest.mark.parametrize("first", ["vehicle", "ground"])
def test_a_signed_frame_of_one_link_is_not_accepted_again_on_another(first: str) -> None:
    """Such as a request that a telemetry link ignores, recorded, and repeated to the vehicle's."""
    links = TwoLinks(BridgeOptions(key=SECRET))
    links.bridge.pump(0.0)
    sender = mavlink.MAVLink(None, 255, 190)
    sender.signing.secret_key, sender.signing.sign_outgoing = SECRET, True
    sender.signing.timestamp = 1 << 40
    off = mavlink.MAVLink_param_set_message(1, 191, b"BMS_ACT", 0.0, 9)
    frame = bytes(off.pack(sender))
    ports = [links.vehicle, links.ground]
    if first == "ground":
        ports.reverse()
    ports[0]._out.append(frame)
    links.bridge.pump(0.1)
    assert links.bridge.settings.acting_enabled is (first == "ground")
    links.bridge.settings.acting_enabled = True
    ports[1]._out.append(frame)
    links.bridge.pump(0.2)
    assert links.bridge.settings.acting_enabled
    counts = links.bridge.counts, links.bridge.telemetry_counts["udpout:ground:1"]
    assert sum(one["damaged"] for one in counts) == 1


def test_frames_of_a_telemetry_link_are_signed_with_its_own_key() -> None:
    ground, vehicle = FakeVehicle(), FakeVehicle()
    link = TelemetryLink("udpout:ground:1", ground, BridgeOptions(key=SECRET, unix_s=2e9))
    bridge = Bridge(vehicle, telemetry=[link])
    bridge.pump(0.0)
    bridge(a_report())
    frames = [bytes(m.get_msgbuf()) for m in ground.received]
    assert frames
    assert {frame[2] for frame in frames} == {1}  # incompatibility flag of a signed frame
    assert {bytes(m.get_msgbuf())[2] for m in vehicle.received} == {0}

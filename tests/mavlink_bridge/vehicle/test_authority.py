# SPDX-License-Identifier: Apache-2.0
"""Who changes a setting, and when; what is answered in a flood of requests."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Action, ActionKind, ActionRequest, Severity
from mavlink_bridge.components import BridgeOptions
from mavlink_bridge.vehicle.authority import Authority
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, FakeVehicle, Flight

KEY = hashlib.sha256(b"correct horse").digest()
GROUND = (255, 190)
SENDERS = (GROUND, (255, 1), (1, 1), (1, 25), (1, 100), (1, 154), (1, 179), (77, 190))
COMPONENTS = (180, 181, 191)


def signing(codec: mavlink.MAVLink, key: bytes = KEY) -> mavlink.MAVLink:
    codec.signing.secret_key, codec.signing.sign_outgoing = key, True
    codec.signing.timestamp = 50_000_000_000_000
    return codec


def a_flight(*, armed: bool, key: bytes | None = None, folder: Path | None = None) -> Flight:
    vehicle = FakeVehicle(ARDUPILOT)
    vehicle.armed = armed
    if key is not None:
        signing(vehicle._codec, key)
    flight = Flight(vehicle, folder, options=BridgeOptions(key=key))
    flight.fly(0.5)
    return flight


def sent_by(flight: Flight, sender: tuple[int, int], message: Any, *, signed: bool = False) -> None:  # noqa: ANN401 - a message
    codec = mavlink.MAVLink(None, *sender)
    flight.vehicle._out.append(bytes(message.pack(signing(codec) if signed else codec)))
    flight.fly(0.1)


def changes(component: int) -> list[tuple[Any, str, float]]:
    """Requests that change a setting: message, answer, field of the answer if it is refused."""
    target = (1, component)
    interval = (511, 0, 0, 200_000, 0, 0, 0, 0, 0)
    return [
        (mavlink.MAVLink_param_set_message(*target, b"BMS_ACT", 0.0, 9), "PARAM_VALUE", 1.0),
        (mavlink.MAVLink_param_set_message(*target, b"BMS_ID", 7.0, 9), "PARAM_VALUE", -1.0),
        (mavlink.MAVLink_param_set_message(*target, b"BMS_RATE_HZ", 9.0, 9), "PARAM_VALUE", 2.0),
        (mavlink.MAVLink_command_long_message(*target, *interval), "COMMAND_ACK", 2.0),
        (
            mavlink.MAVLink_command_int_message(*target, 0, 511, 0, 0, 0, 200_000, 0, 0, 0, 0, 0),
            "COMMAND_ACK",
            2.0,
        ),
    ]


def answers(flight: Flight, component: int, kind: str) -> list[float]:
    found = [
        message
        for message in flight.vehicle.received
        if (message.get_type(), message.get_srcComponent()) == (kind, component)
    ]
    return [m.param_value if kind == "PARAM_VALUE" else float(m.result) for m in found]


def settings(flight: Flight) -> tuple[object, ...]:
    schedules = flight.bridge._components._server.schedules.values()
    periods = [dict(schedule.periods_s) for some in schedules for schedule in some]
    values = flight.bridge.settings
    return values.rate_hz, values.first_battery_id, values.acting_enabled, periods


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("component", [180, 191])
def test_no_unsigned_request_changes_a_setting_in_flight(
    sender: tuple[int, int], component: int
) -> None:
    flight = a_flight(armed=True)
    before = settings(flight)
    for message, kind, refused in changes(component):
        flight.vehicle.received.clear()
        sent_by(flight, sender, message)
        expected = [] if sender[0] == 77 else [refused]
        assert answers(flight, component, kind) == expected
        assert settings(flight) == before


@pytest.mark.parametrize("sender", SENDERS)
def test_on_the_ground_accepted_systems_and_the_autopilot_change_settings(
    sender: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        flight = a_flight(armed=False)
        before = settings(flight)
        message, _, _ = changes(180)[number]
        sent_by(flight, sender, message)
        sent_by(flight, sender, message)
        may = sender[0] == 255 or sender == (1, 1)
        assert (settings(flight) != before) == may
    refused = sender[0] == 1 and sender[1] != 1
    assert ("neither the autopilot nor an accepted system" in caplog.text) == refused
    assert caplog.text.count("settings are not changed by") == (5 if refused else 0)


def test_a_signed_request_changes_a_setting_in_flight(caplog: pytest.LogCaptureFixture) -> None:
    flight = a_flight(armed=True, key=KEY)
    before = settings(flight)
    off = changes(191)[0][0]
    sent_by(flight, GROUND, off)
    assert settings(flight) == before
    assert flight.bridge.counts["damaged"] == 1
    sent_by(flight, GROUND, off, signed=True)
    assert flight.bridge.settings.acting_enabled is False
    flight.fly(0.2)
    assert "actions off: BMS_ACT by 255/190" in flight.texts()
    assert "settings changed by 255/190" in caplog.text


@pytest.mark.parametrize("verifies", [True, False])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("in_flight", [True, False])
@pytest.mark.parametrize("sender", [GROUND, (1, 1)])
def test_in_flight_a_signature_and_its_verification_are_needed(
    sender: tuple[int, int],
    in_flight: bool,  # noqa: FBT001 - a row
    signed: bool,  # noqa: FBT001 - a row
    verifies: bool,  # noqa: FBT001 - a row
) -> None:
    codec, reader = mavlink.MAVLink(None, *sender), mavlink.MAVLink(None)
    if signed:
        signing(codec)
        reader.signing.secret_key = KEY
    frame = mavlink.MAVLink_param_set_message(1, 180, b"BMS_ACT", 0.0, 9).pack(codec)
    request = reader.decode(bytearray(frame))
    allowed = Authority((GROUND[0],), verifies=verifies).may_change(request, 1, in_flight=in_flight)
    assert allowed == (not in_flight or (signed and verifies))


def test_a_signature_proves_nothing_without_a_key() -> None:
    flight = a_flight(armed=True)
    sent_by(flight, GROUND, changes(180)[0][0], signed=True)
    assert flight.bridge.settings.acting_enabled is True


def test_a_signed_request_of_another_component_of_the_vehicle_changes_nothing() -> None:
    for armed in (False, True):
        flight = a_flight(armed=armed, key=KEY)
        sent_by(flight, (1, 25), changes(180)[0][0], signed=True)
        assert flight.bridge.settings.acting_enabled is True


def test_a_refusal_is_logged_once_for_each_sender(caplog: pytest.LogCaptureFixture) -> None:
    flight = a_flight(armed=True)
    for _ in range(5):
        for sender in SENDERS:
            sent_by(flight, sender, changes(180)[0][0])
    lines = [line for line in caplog.text.splitlines() if "settings are not changed by" in line]
    assert len(lines) == len(SENDERS) - 1


def test_a_vehicle_that_is_silent_after_a_flight_is_in_flight() -> None:
    flight = a_flight(armed=True)
    flight.vehicle.sends_heartbeats = False
    flight.fly(60.0)
    sent_by(flight, GROUND, changes(180)[0][0])
    assert flight.bridge.settings.acting_enabled is True


def test_a_vehicle_that_has_never_been_received_is_on_the_ground() -> None:
    vehicle = FakeVehicle(ARDUPILOT)
    vehicle.sends_heartbeats = False
    flight = Flight(vehicle, None)
    flight.fly(2.0)
    sent_by(flight, GROUND, changes(180)[0][0])
    assert flight.bridge.settings.acting_enabled is False


def test_one_forged_heartbeat_does_not_end_a_flight_and_a_landing_does() -> None:
    flight = a_flight(armed=True)
    for _ in range(20):
        flight.vehicle.armed = False
        flight.vehicle.beat()
        flight.vehicle.armed = True
        sent_by(flight, GROUND, changes(180)[0][0])
        flight.fly(0.9)
    assert flight.bridge.settings.acting_enabled is True
    flight.vehicle.armed = False
    flight.fly(5.0)
    sent_by(flight, GROUND, changes(180)[0][0])
    assert flight.bridge.settings.acting_enabled is False


@pytest.mark.parametrize("when", ["silent for a minute", "at a restart", "silent at a restart"])
def test_no_forged_heartbeat_ends_a_flight_of_which_no_heartbeat_was_received(when: str) -> None:
    flight = a_flight(armed=True)
    if "restart" in when:
        state, vehicle = flight.bridge.state(), flight.vehicle
        flight = Flight(vehicle, None)
        flight.bridge.restore(state)
    flight.vehicle.sends_heartbeats = when == "at a restart"
    flight.fly(60.0 if "minute" in when else 0.0)
    for _ in range(20):
        forged = mavlink.MAVLink_heartbeat_message(2, ARDUPILOT, 1, 4, 4, 3)
        sent_by(flight, (1, 1), forged)
        for sender in (GROUND, (1, 1)):
            sent_by(flight, sender, changes(180)[0][0])
        flight.fly(2.1)
        sent_by(flight, GROUND, changes(180)[0][0])
    assert flight.bridge.settings.acting_enabled is True
    flight.vehicle.sends_heartbeats, flight.vehicle.armed = True, False
    flight.fly(5.0)
    sent_by(flight, GROUND, changes(180)[0][0])
    assert flight.bridge.settings.acting_enabled is False


def test_a_setting_is_one_value_whichever_component_is_asked() -> None:
    flight = a_flight(armed=False)
    for value, setter in ((5.0, 180), (4.0, 181), (3.0, 191)):
        flight.two_batteries = True
        flight.fly(0.2)
        sent_by(
            flight, GROUND, mavlink.MAVLink_param_set_message(1, setter, b"BMS_RATE_HZ", value, 9)
        )
        for component in COMPONENTS:
            flight.vehicle.received.clear()
            read = mavlink.MAVLink_param_request_read_message(1, component, b"BMS_RATE_HZ", -1)
            sent_by(flight, GROUND, read)
            assert answers(flight, component, "PARAM_VALUE") == [value]
        flight.vehicle.received.clear()
        flight.fly(4.0)
        sent = [m for m in flight.vehicle.received if m.get_type() == "BATTERY_STATUS"]
        for component in (180, 181):
            count = len([m for m in sent if m.get_srcComponent() == component])
            assert count == pytest.approx(4 * value, abs=3)


# A restart.


def test_a_restart_in_flight_continues_with_the_vehicle_and_the_settings_of_the_flight() -> None:
    flight = a_flight(armed=True)
    flight.bridge.settings.acting_enabled = False
    state = flight.bridge.state()
    assert (state.in_flight, state.followed) == (True, 1)
    again = Flight(FakeVehicle(ARDUPILOT), None)
    again.bridge.restore(state)
    again.vehicle.sends_heartbeats = False
    other = mavlink.MAVLink_heartbeat_message(2, 3, 1, 0, 4, 3)
    again.vehicle._out.append(bytes(other.pack(mavlink.MAVLink(None, 2, 1))))
    again.fly(1.0)
    assert again.bridge.system_id == 1
    on = mavlink.MAVLink_param_set_message(1, 180, b"BMS_ACT", 1.0, 9)
    sent_by(again, GROUND, on)
    assert again.bridge.settings.acting_enabled is False


def test_a_restart_on_the_ground_begins_with_the_configuration() -> None:
    flight = a_flight(armed=False)
    sent_by(flight, GROUND, changes(180)[0][0])
    state = flight.bridge.state()
    assert (state.in_flight, state.followed) == (False, None)
    again = Flight(FakeVehicle(ARDUPILOT), None)
    again.bridge.restore(state)
    assert again.bridge.settings.acting_enabled is True
    again.vehicle._codec.srcSystem = 9
    again.fly(1.0)
    assert again.bridge.system_id == 9


def test_a_configured_system_stays_after_a_restart() -> None:
    state = a_flight(armed=True).bridge.state()
    again = Flight(FakeVehicle(ARDUPILOT), None, system_id=5)
    again.bridge.restore(state)
    assert again.bridge.system_id == 5


def test_arming_with_actions_off_is_reported(tmp_path: Path) -> None:
    flight = a_flight(armed=False, folder=tmp_path)
    sent_by(flight, GROUND, changes(180)[0][0])
    flight.fly(1.0)
    text = "armed with actions off: BMS_ACT 0"
    assert text not in flight.texts()
    flight.vehicle.armed = True
    flight.fly(3.0)
    assert flight.texts().count(text) == 1


# Another vehicle.


@pytest.mark.parametrize("other", [2, 7, 255])
def test_no_command_is_sent_to_another_vehicle(tmp_path: Path, other: int) -> None:
    home = ActionRequest(Action(Severity.CRITICAL, ActionKind.RETURN), (0, 2, 1), "lost")
    flight = a_flight(armed=True, folder=tmp_path)
    flight.vehicle.sends_heartbeats = False
    flight.fly(3.0)
    flight.requests = (home,)
    stranger = mavlink.MAVLink(None, other, 1)
    for _ in range(30):
        beat = mavlink.MAVLink_heartbeat_message(2, 3, 129, 4, 4, 3)
        flight.vehicle._out.append(bytes(beat.pack(stranger)))
        flight.fly(1.0)
    addressed = [m for m in flight.vehicle.received if hasattr(m, "target_system")]
    assert {m.target_system for m in addressed} == {1}
    assert {m.get_srcSystem() for m in flight.vehicle.received} == {1}
    assert flight.vehicle.commands == []


# Floods.


def test_a_flood_of_requests_is_answered_at_a_bounded_rate() -> None:
    flight = a_flight(armed=False)
    request = mavlink.MAVLink_param_request_list_message(1, 180)
    frame = bytes(request.pack(mavlink.MAVLink(None, *GROUND)))
    flight.vehicle.received.clear()
    for _ in range(100):
        flight.vehicle._out.extend([frame] * 200)
        flight.fly(0.1)
    values = answers(flight, 180, "PARAM_VALUE")
    assert len(values) <= 3 * (20 * 10 + 20)
    beats = [m for m in flight.vehicle.received if m.get_type() == "HEARTBEAT"]
    assert len(beats) == 20


def test_a_flood_of_one_system_does_not_silence_another() -> None:
    authority = Authority((255, 254), verifies=False)
    taken = [authority.answers(255, 1, 0.001 * n) for n in range(10_000)]
    assert sum(taken) <= 20 * 10 + 20
    # Each second some are answered: among them may be the request to arm.
    assert all(sum(taken[start : start + 1000]) >= 19 for start in range(0, 10_000, 1000))
    assert authority.answers(254, 1, 10.0)
    assert authority.answers(1, 1, 10.0)
    assert not authority.answers(3, 1, 10.0)


def test_each_system_is_answered_twenty_times_at_once_and_then_at_20_hz() -> None:
    authority = Authority((255,), verifies=False)
    for system in (1, 255):
        answered = [authority.answers(system, 1, 10.0) for _ in range(25)]
        assert answered == [True] * 20 + [False] * 5
    assert [authority.answers(1, 1, 10.0 + s) for s in (0.02, 0.04, 0.06, 0.09, 0.11)] == [
        *(False, False, True, False, True)
    ]
    assert sum(authority.answers(1, 1, 100.0) for _ in range(25)) == 20
    assert not authority.answers(77, 1, 0.0)


@pytest.mark.parametrize(
    ("system", "accepts"), [(1, True), (255, True), (254, True), (2, False), (0, False)]
)
def test_the_own_system_and_the_accepted_ones_are_answered(system: int, *, accepts: bool) -> None:
    authority = Authority((254, 255), verifies=False)
    assert authority.accepts(system, 1) == accepts
    assert authority.answers(system, 1, 0.0) == accepts


def test_the_refusals_of_64_senders_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority((255,), verifies=False)
    for _ in range(2):
        for component in range(2, 102):
            frame = changes(180)[0][0].pack(mavlink.MAVLink(None, 1, component))
            request = mavlink.MAVLink(None).decode(bytearray(frame))
            assert not authority.may_change(request, 1, in_flight=False)
    assert caplog.text.count("settings are not changed by") == 64
    assert "settings are not changed by 1/2: it is neither the autopilot" in caplog.text

# SPDX-License-Identifier: Apache-2.0
"""Requests to a battery over real UDP, its own requests, ids, releases and signing."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core import bounded_input
from dronebms.core.errors import ConfigError
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.components import BridgeOptions
from mavlink_bridge.protocol.codec import read_key
from mavlink_bridge.protocol.driver_commands import DRIVER_COMMAND
from mavlink_bridge.protocol.link import open_link
from smartbattery.snapshot import Identity
from tests.mavlink_bridge.autopilot import ARDUPILOT, PX4, FakeAutopilot
from tests.mavlink_bridge.loopback import until
from tests.mavlink_bridge.reports import a_report
from tests.special_files import special_file

ACCEPTED, TEMPORARILY_REJECTED, DENIED, UNSUPPORTED = 0, 1, 2, 3
GCS = (255, 190)
STATUS, INFO = 147, 370


class Service:
    """A bridge, and a vehicle on the other end of its link."""

    def __init__(self, autopilot: int = PX4, **options: Any) -> None:  # noqa: ANN401 - the bridge's
        self.vehicle = FakeAutopilot(autopilot=autopilot, acknowledges=False)
        self.link = open_link(self.vehicle.url)
        self.bridge = Bridge(self.link, **options)
        self.link.send(b"", 0.0)
        self.vehicle.receive()
        self.now_s = 0.0
        self.received: list[mavlink.MAVLink_message] = []
        self.report: dict[str, Any] = {}

    def close(self) -> None:
        """Close the link."""
        self.link.close()
        self.vehicle.close()

    def fly(self, seconds: float, *, heartbeats: bool = True, batteries: int = 1) -> list[Any]:
        """Run for a time, ten steps a second; return the messages that the vehicle receives."""
        received: list[Any] = []
        for _ in range(round(seconds * 10)):
            if heartbeats and round(self.now_s * 10) % 10 == 0:
                self.send(mavlink.MAVLink_heartbeat_message(2, self.vehicle._autopilot, 1, 0, 4, 3))
            self.bridge.pump(self.now_s)
            for index in range(batteries):
                self.bridge(a_report(self.now_s, index, **self.report))
            received += self.vehicle.receive(
                self.bridge.counts["sent"] - len(self.received) - len(received)
            )
            self.now_s = round(self.now_s + 0.1, 6)
        self.received += received
        return received

    def send(self, message: Any, sender: tuple[int, int] = (1, 1)) -> None:  # noqa: ANN401 - a message
        """Send a message of any sender; wait until the bridge has read it."""
        before = self.bridge.counts["received"] + self.bridge.counts["foreign"]
        self.vehicle.send_bytes(bytes(message.pack(mavlink.MAVLink(None, *sender))))

        def read() -> bool:
            self.bridge.pump(self.now_s)
            return self.bridge.counts["received"] + self.bridge.counts["foreign"] > before

        assert until(read)

    def damages(self, now_s: float) -> bool:
        """Wait for invalid data; return whether the bridge has detected any."""
        before = self.bridge.counts["damaged"]

        def damaged() -> bool:
            self.bridge.pump(now_s)
            return self.bridge.counts["damaged"] > before

        return until(damaged)

    def request(
        self,
        message: Any,  # noqa: ANN401 - a message
        sender: tuple[int, int] = GCS,
        seconds: float = 0.1,
    ) -> list[Any]:
        """Send a request; return the answers, without periodic messages and own requests."""
        self.send(message, sender)
        usual = ("HEARTBEAT", "BATTERY_STATUS", "SMART_BATTERY_INFO")
        own = ("COMMAND_LONG", "MISSION_REQUEST_LIST", "PARAM_REQUEST_READ")
        return [m for m in self.fly(seconds, heartbeats=False) if m.get_type() not in usual + own]

    def command(
        self,
        number: int,
        *values: float,
        target: tuple[int, int] = (1, 180),
        sender: tuple[int, int] = GCS,
    ) -> list[Any]:
        """Send a command; return the answers."""
        padded = [*values, *[0.0] * (7 - len(values))]
        message = mavlink.MAVLink_command_long_message(*target, number, 0, *padded)
        return self.request(message, sender)


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    made.fly(1.0)
    yield made
    made.close()


def of(messages: list[Any], kind: str) -> list[Any]:
    return [message for message in messages if message.get_type() == kind]


def result(answers: list[Any]) -> int:
    (ack,) = of(answers, "COMMAND_ACK")
    assert (ack.target_system, ack.target_component) == GCS
    assert (ack.get_srcSystem(), ack.get_srcComponent()) == (1, 180)
    return int(ack.result)


# Commands.


@pytest.mark.parametrize("number", [STATUS, INFO, 0])
def test_a_requested_message_is_sent_at_once(service: Service, number: int) -> None:
    service.fly(0.1)
    service.send(
        mavlink.MAVLink_command_long_message(1, 180, 512, 0, number, 0, 0, 0, 0, 0, 0), GCS
    )
    received = service.fly(0.1, heartbeats=False)
    assert [message.get_msgId() for message in received] == [77, number]
    assert result(received) == ACCEPTED


@pytest.mark.parametrize("number", [369, 148, 99999, -1, 1e30])
def test_an_unknown_message_is_unsupported(service: Service, number: float) -> None:
    assert result(service.command(512, number)) == UNSUPPORTED
    assert result(service.command(511, number, 100000)) == UNSUPPORTED


def test_a_number_that_is_not_finite_is_refused(service: Service) -> None:
    assert result(service.command(512, float("nan"))) == UNSUPPORTED
    assert result(service.command(511, STATUS, float("nan"))) == DENIED
    assert result(service.command(511, STATUS, float("inf"))) == DENIED


def test_the_status_can_be_sent_faster_and_at_the_default_rate_again(service: Service) -> None:
    assert result(service.command(511, STATUS, 200_000)) == ACCEPTED
    assert len(of(service.fly(4.0), "BATTERY_STATUS")) in (19, 20)
    assert [m.interval_us for m in of(service.command(510, STATUS), "MESSAGE_INTERVAL")] == [200000]
    assert result(service.command(511, STATUS, 0)) == ACCEPTED
    assert len(of(service.fly(4.0), "BATTERY_STATUS")) == 8


@pytest.mark.parametrize(("number", "interval_us"), [(147, -1), (147, 2e6), (147, 1e4), (0, -1)])
def test_messages_that_a_vehicle_depends_on_cannot_be_switched_off(
    service: Service, number: int, interval_us: float
) -> None:
    assert result(service.command(511, number, interval_us)) == DENIED
    assert len(of(service.fly(4.0), "BATTERY_STATUS")) == 8


def test_smart_battery_info_can_be_switched_off(service: Service) -> None:
    assert result(service.command(511, INFO, -1)) == ACCEPTED
    service.fly(0.1)
    assert of(service.fly(30.0), "SMART_BATTERY_INFO") == []
    assert [m.interval_us for m in of(service.command(510, INFO), "MESSAGE_INTERVAL")] == [-1]


def test_an_unknown_interval_is_0(service: Service) -> None:
    assert [m.interval_us for m in of(service.command(510, 30), "MESSAGE_INTERVAL")] == [0]


def test_a_withheld_message_is_temporarily_rejected(service: Service) -> None:
    service.report = {"voltage_v": None}
    service.fly(1.0)
    assert result(service.command(512, STATUS)) == TEMPORARILY_REJECTED


@pytest.mark.parametrize("number", [400, 20, 21, 176, 241, 246, 42651, 31010, 65535])
def test_an_unknown_command_is_unsupported(service: Service, number: int) -> None:
    assert result(service.command(number, 1.0)) == UNSUPPORTED


def test_command_int_is_a_command_too(service: Service) -> None:
    message = mavlink.MAVLink_command_int_message(1, 180, 0, 512, 0, 0, STATUS, 0, 0, 0, 0, 0, 0)
    assert result(service.request(message)) == ACCEPTED


@pytest.mark.parametrize("target", [(1, 1), (1, 0), (0, 0), (2, 180), (1, 181), (255, 190)])
def test_a_message_to_another_target_is_not_answered(
    service: Service, target: tuple[int, int]
) -> None:
    assert service.command(512, STATUS, target=target) == []
    assert service.request(mavlink.MAVLink_param_request_list_message(*target)) == []


def test_only_accepted_systems_are_answered() -> None:
    for accepted, expected in (((255,), 0), ((255, 42), 1), ((42,), 1)):
        service = Service(options=BridgeOptions(accept_systems=accepted))
        service.fly(1.0)
        assert len(service.command(512, STATUS, sender=(42, 190))) == expected
        assert len(service.command(512, STATUS, sender=(255, 190))) == (255 in accepted)
        assert len(service.command(512, STATUS, sender=(1, 25))) == 1
        service.close()


def test_each_battery_answers_for_itself() -> None:
    service = Service()
    service.fly(0.5, batteries=2)
    message = mavlink.MAVLink_param_request_list_message(1, 181)
    service.send(message, GCS)
    values = of(service.fly(0.1, batteries=2), "PARAM_VALUE")
    assert {value.get_srcComponent() for value in values} == {181}
    service.close()


# Settings.


def test_the_settings_are_listed_with_their_values(service: Service) -> None:
    values = service.request(mavlink.MAVLink_param_request_list_message(1, 180))
    assert [(v.param_id, v.param_value) for v in values] == [
        ("BMS_RATE_HZ", 2.0),
        ("BMS_ID", -1.0),
        ("BMS_ACT", 1.0),
    ]
    assert [(v.param_index, v.param_count, v.param_type) for v in values] == [
        (0, 3, 9),
        (1, 3, 9),
        (2, 3, 9),
    ]


@pytest.mark.parametrize(
    ("name", "index", "expected"),
    [
        (b"BMS_ACT", -1, ["BMS_ACT"]),
        (b"", 1, ["BMS_ID"]),
        (b"BMS_NONE", -1, []),
        (b"", 3, []),
        (b"\xff\xfe", -2, []),
    ],
)
def test_a_setting_is_read_by_name_or_index(
    service: Service, name: bytes, index: int, expected: list[str]
) -> None:
    message = mavlink.MAVLink_param_request_read_message(1, 180, name, index)
    assert [value.param_id for value in service.request(message)] == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"BMS_RATE_HZ", 5.0, 5.0),
        (b"BMS_RATE_HZ", 50.0, 2.0),
        (b"BMS_RATE_HZ", 0.0, 2.0),
        (b"BMS_RATE_HZ", float("nan"), 2.0),
        (b"BMS_ID", 3.0, 3.0),
        (b"BMS_ID", 251.0, -1.0),
        (b"BMS_ACT", 0.0, 0.0),
        (b"BMS_ACT", 2.0, 1.0),
        (b"BMS_ACT", 0.49, 1.0),
        (b"BMS_ACT", 0.5, 1.0),
        (b"BMS_ACT", 1.4e-45, 1.0),  # the bits of the integer 1
        (b"BMS_ID", 3.5, -1.0),
        (b"BMS_ID", -0.5, -1.0),
    ],
)
def test_a_setting_is_set_within_its_bounds(
    service: Service, name: bytes, value: float, expected: float
) -> None:
    (answer,) = of(
        service.request(mavlink.MAVLink_param_set_message(1, 180, name, value, 9)), "PARAM_VALUE"
    )
    assert (answer.param_id.encode(), answer.param_value) == (name, expected)


def test_a_new_rate_and_a_new_id_take_effect_at_once(service: Service) -> None:
    service.request(mavlink.MAVLink_param_set_message(1, 180, b"BMS_RATE_HZ", 5.0, 9))
    service.request(mavlink.MAVLink_param_set_message(1, 180, b"BMS_ID", 7.0, 9))
    statuses = of(service.fly(2.0), "BATTERY_STATUS")
    assert len(statuses) == 10
    assert {status.id for status in statuses} == {7}


# Ping.


@pytest.mark.parametrize(
    ("target", "answers"), [((0, 0), 2), ((1, 180), 1), ((1, 191), 1), ((1, 0), 0), ((2, 180), 0)]
)
def test_a_ping_is_answered(service: Service, target: tuple[int, int], answers: int) -> None:
    pongs = service.request(mavlink.MAVLink_ping_message(123456789, 42, *target))
    assert [(p.time_usec, p.seq, p.target_system, p.target_component) for p in pongs] == [
        (123456789, 42, *GCS)
    ] * answers


# Requests for messages.


def requested(messages: list[Any]) -> list[tuple[int, int]]:
    commands = of(messages, "COMMAND_LONG")
    assert {m.get_srcComponent() for m in commands} <= {191}
    return [(m.command, int(m.param1)) for m in commands if m.command != DRIVER_COMMAND]


REQUESTS = [
    *((512, 148), (511, 147), (511, 33), (512, 242), (511, 245), (511, 42), (511, 168)),
]


def test_messages_are_requested_until_they_come_and_again_when_they_stop() -> None:
    service = Service(ARDUPILOT)
    assert requested(service.fly(0.5)) == REQUESTS
    assert requested(service.fly(2.5)) == []
    assert requested(service.fly(1.0)) == REQUESTS
    position = mavlink.MAVLink_global_position_int_message(0, 1, 1, 0, 0, 0, 0, 0, 0)
    for _ in range(6):
        service.send(position)
        assert (511, 33) not in requested(service.fly(1.0))
    assert (511, 33) in requested(service.fly(4.0))
    service.close()


def test_a_single_request_is_repeated_after_a_restart_of_the_vehicle() -> None:
    service = Service()
    version = mavlink.MAVLink_autopilot_version_message(0, 1, 0, 0, 0, [0] * 8, [0] * 8, [0] * 8,
                                                        0, 0, 0)  # fmt: skip
    service.fly(0.5)
    service.send(version)
    assert (512, 148) not in requested(service.fly(20.0))
    assert (512, 148) not in requested(service.fly(5.0, heartbeats=False))
    assert (512, 148) in requested(service.fly(1.0))
    service.close()


def test_nothing_is_requested_without_a_heartbeat() -> None:
    service = Service()
    assert of(service.fly(5.0, heartbeats=False), "COMMAND_LONG") == []
    service.close()


# Battery ids.


def vehicle_battery(number: int) -> mavlink.MAVLink_battery_status_message:
    return mavlink.MAVLink_battery_status_message(
        number, 0, 0, 0x7FFF, [0xFFFF] * 10, -1, -1, -1, -1
    )


@pytest.mark.parametrize(("theirs", "ours"), [((), 0), ((0,), 1), ((0, 1), 2), ((1,), 2)])
def test_ours_take_the_next_id_after_the_batteries_of_ardupilot(
    theirs: tuple[int, ...], ours: int
) -> None:
    service = Service(ARDUPILOT)
    received = service.fly(0.5)
    for number in theirs:
        service.send(vehicle_battery(number))
    received += service.fly(3.0)
    statuses = of(received, "BATTERY_STATUS")
    assert {status.id for status in statuses} == {ours}
    assert len(statuses) >= 2
    assert {info.id for info in of(received, "SMART_BATTERY_INFO")} == {ours}
    service.close()


def test_the_id_is_allocated_as_soon_as_all_batteries_are_known() -> None:
    service = Service(ARDUPILOT)
    received = service.fly(0.5)
    for number in (0, 1, 0):
        service.send(vehicle_battery(number))
    received += service.fly(0.5)
    assert {status.id for status in of(received, "BATTERY_STATUS")} == {2}
    service.close()


def test_an_id_that_the_vehicle_starts_to_use_is_left_to_it() -> None:
    service = Service(ARDUPILOT)
    service.fly(3.0)
    service.send(vehicle_battery(0))
    service.fly(1.1)
    assert {status.id for status in of(service.fly(2.0), "BATTERY_STATUS")} == {1}
    service.close()


def test_the_id_is_0_with_px4() -> None:
    service = Service(PX4)
    service.send(mavlink.MAVLink_heartbeat_message(2, PX4, 1, 0, 4, 3))
    service.send(vehicle_battery(255))
    service.send(vehicle_battery(0))
    assert {status.id for status in of(service.fly(3.0), "BATTERY_STATUS")} == {0}
    service.close()


# Releases.


def a_version(major: int, minor: int, kind: int) -> mavlink.MAVLink_autopilot_version_message:
    number = major << 24 | minor << 16 | kind
    return mavlink.MAVLink_autopilot_version_message(
        0, number, 0, 0, 0, [0] * 8, [0] * 8, [0] * 8, 0, 0, 0
    )


@pytest.mark.parametrize(
    ("release", "sent_pct"),
    [
        ((1, 17, 255), None),
        ((1, 18, 0), None),
        ((1, 18, 64), None),
        ((1, 18, 128), -1),
        ((1, 18, 255), -1),
        ((1, 19, 0), -1),
        ((2, 0, 255), -1),
        ((0, 0, 0), None),
    ],
)
@pytest.mark.parametrize("named", ["auto", "px4"])
def test_an_empty_pack_on_the_ground_is_sent_to_px4_1_18_without_its_percentage(
    release: tuple[int, int, int], sent_pct: int | None, named: str
) -> None:
    service = Service(PX4, vehicle=named)
    service.report = {"soc_pct": 3.0}
    service.send(mavlink.MAVLink_heartbeat_message(2, PX4, 1, 0, 4, 3))
    service.send(a_version(*release))
    received = service.fly(1.0)
    assert {m.battery_remaining for m in of(received, "BATTERY_STATUS")} == (
        set() if sent_pct is None else {sent_pct}
    )
    service.close()


# SMART_BATTERY_INFO.


def test_smart_battery_info_has_the_data_of_the_gauge(service: Service) -> None:
    service.report = {
        "cycles": 37.0,
        "full_mah": 4900.4,
        "identity": Identity(
            serial=4711, manufacturer="Maker", device="Pack 5000", date=(2025, 3, 9)
        ),
    }
    service.request(mavlink.MAVLink_command_long_message(1, 180, 512, 0, INFO, 0, 0, 0, 0, 0, 0))
    info = of(service.received, "SMART_BATTERY_INFO")[-1]
    assert (info.cycle_count, info.capacity_full) == (37, 4900)
    assert (info.serial_number, info.device_name) == ("4711", "Maker_Pack 5000")
    assert info.manufacture_date == "09/03/2025"
    assert (info.capacity_full_specification, info.cells_in_series, info.weight) == (-1, 0, 0)
    assert (info.discharge_minimum_voltage, info.charging_maximum_voltage) == (3300, 4200)


# BATTERY_INFO.


def test_battery_info_is_sent_on_request_alone(service: Service) -> None:
    assert of(service.fly(30.0), "BATTERY_INFO") == []
    assert [m.interval_us for m in of(service.command(510, 372), "MESSAGE_INTERVAL")] == [-1]
    answers = service.command(512, 372)
    assert result(answers) == ACCEPTED
    (info,) = of(answers, "BATTERY_INFO")
    assert (info.id, info.get_srcComponent()) == (0, 180)
    assert of(service.fly(30.0), "BATTERY_INFO") == []


def test_battery_info_is_sent_at_an_interval_until_that_is_ended(service: Service) -> None:
    assert result(service.command(511, 372, 5e6)) == ACCEPTED
    assert len(of(service.fly(30.0), "BATTERY_INFO")) == 6
    for interval_us in (-1, 0):
        assert result(service.command(511, 372, interval_us)) == ACCEPTED
        assert of(service.fly(30.0), "BATTERY_INFO") == []


def test_battery_info_without_data_is_temporarily_rejected(service: Service) -> None:
    service.report = {"voltage_v": None}
    service.fly(1.0)
    assert result(service.command(512, 372)) == TEMPORARILY_REJECTED


# Signing.


def test_a_key_is_the_hash_of_a_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("correct horse\n")
    assert read_key(path) == hashlib.sha256(b"correct horse").digest()


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe\xfd"])
def test_a_key_that_cannot_be_used_is_a_configuration_error(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="the signing key"):
        read_key(path)


@pytest.mark.parametrize("kind", ["zeros", "pipe", "folder", "long"])
def test_a_key_that_is_no_passphrase_file_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(bounded_input, "_WAIT_S", 0.05)
    with pytest.raises(ConfigError, match=r"the signing key .* cannot be read"):
        read_key(special_file(tmp_path, kind))


def signed_by(key: bytes, timestamp: int) -> mavlink.MAVLink:
    codec = mavlink.MAVLink(None, 1, 1)
    codec.signing.secret_key, codec.signing.sign_outgoing = key, True
    codec.signing.timestamp = timestamp
    return codec


def test_with_a_key_every_frame_is_signed_and_unsigned_ones_are_rejected() -> None:
    key, other = bytes(range(32)), bytes(32)
    service = Service(options=BridgeOptions(key=key))
    beat = mavlink.MAVLink_heartbeat_message(2, PX4, 129, 0, 4, 3)
    ticks = 400_000_000_000_00
    for codec in (mavlink.MAVLink(None, 1, 1), signed_by(other, ticks)):
        service.vehicle.send_bytes(bytes(beat.pack(codec)))
        assert service.damages(0.0)
    assert service.bridge.pump(0.0).armed is None
    good = bytes(beat.pack(signed_by(key, ticks)))
    service.vehicle.send_bytes(good)
    assert until(lambda: service.bridge.pump(0.0).armed is True)
    service.vehicle.receive(service.bridge.counts["sent"])
    service.vehicle.frames.clear()
    service.bridge(a_report(0.0))
    service.vehicle.receive(2)
    for frame in service.vehicle.frames:
        assert frame[2] & mavlink.MAVLINK_IFLAG_SIGNED
        assert frame[-6:] == hashlib.sha256(key + frame[:-6]).digest()[:6]
        # A computer without a date signs with the vehicle's time.
        assert int.from_bytes(frame[-12:-6], "little") >= ticks
    service.vehicle.send_bytes(good)  # once more: a replay
    assert service.damages(9.0)
    assert service.bridge.pump(9.0).armed is None
    service.close()


def test_a_forged_frame_from_the_far_future_does_not_block_the_vehicle() -> None:
    key = bytes(range(32))
    service = Service(options=BridgeOptions(key=key))
    beat = mavlink.MAVLink_heartbeat_message(2, PX4, 129, 0, 4, 3)
    service.vehicle.send_bytes(bytes(beat.pack(signed_by(bytes(32), 2**48 - 2))))
    assert service.damages(0.0)
    service.vehicle.send_bytes(bytes(beat.pack(signed_by(key, 1000))))
    assert until(lambda: service.bridge.pump(0.0).armed is True)
    service.close()


def test_the_signing_time_starts_with_the_date() -> None:
    service = Service(options=BridgeOptions(key=bytes(32), unix_s=1735689600.0))
    service.bridge(a_report(0.0))
    service.vehicle.frames.clear()
    service.vehicle.receive(service.bridge.counts["sent"])
    stamps = [int.from_bytes(frame[-12:-6], "little") for frame in service.vehicle.frames]
    assert stamps[0] == (1735689600 - 1420070400) * 100_000
    assert stamps == sorted(set(stamps))
    service.close()


# Random requests.


def test_random_requests_never_raise(service: Service) -> None:
    random = Random(7)  # noqa: S311 - junk
    for number in range(300):
        if number % 20 == 0:
            service.fly(0.1, heartbeats=False)  # otherwise the kernel's buffer is full
        floats = [
            random.choice([0, 1, -1, 147, 1e9, float("nan"), float("inf")]) for _ in "1234567"
        ]
        what = random.choice([510, 511, 512, 20, 3001])
        service.send(mavlink.MAVLink_command_long_message(1, 180, what, 0, *floats), GCS)
        name = random.randbytes(random.randrange(17))
        service.send(mavlink.MAVLink_param_set_message(1, 180, name, floats[0], 9), GCS)
        service.send(mavlink.MAVLink_param_request_read_message(1, 180, name, what - 512), GCS)
    assert "BATTERY_STATUS" in {m.get_type() for m in service.fly(2.0)}

# SPDX-License-Identifier: Apache-2.0
"""The bridge over real UDP: messages sent, and the state from messages received."""

import math
from collections.abc import Callable, Iterator
from random import Random
from time import monotonic
from typing import Any

import pytest
from pymavlink.dialects.v20 import ardupilotmega
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.errors import ConfigError
from dronebms.core.report import Event, Severity
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.components import COMPUTER, BridgeOptions
from mavlink_bridge.protocol.link import ReconnectingLink, open_link
from tests.mavlink_bridge.autopilot import ARDUPILOT, PX4, FakeAutopilot
from tests.mavlink_bridge.consumers import ground_station, px4
from tests.mavlink_bridge.loopback import WAIT_S, free_port, until
from tests.mavlink_bridge.protocol.test_battery_sample import status as battery_status
from tests.mavlink_bridge.reports import a_report, an_event
from tests.mavlink_bridge.wire import x25

RTL_PX4 = 4 << 16 | 5 << 24


class Air:
    """A bridge, an autopilot, and the link between them."""

    def __init__(self, autopilot: int = PX4, *, received: bool = True, **options: Any) -> None:  # noqa: ANN401 - the bridge's
        self.autopilot = FakeAutopilot(autopilot=autopilot, acknowledges=False)
        self.link: ReconnectingLink = open_link(self.autopilot.url)
        self.bridge = Bridge(self.link, **options)
        self.link.send(b"", 0.0)  # so that the autopilot knows the peer
        self.autopilot.receive()
        self.received_count = 0
        if received:
            self.beat()
        self.requested = self.receive()
        self.autopilot.frames.clear()

    def close(self) -> None:
        """Close the link."""
        self.link.close()
        self.autopilot.close()

    def report(self, t_s: float = 0.0, **values: Any) -> list[mavlink.MAVLink_message]:  # noqa: ANN401 - see a_report
        """Pass a report to the bridge; return the messages of the batteries.

        SMART_BATTERY_INFO and the onboard computer have tests of their own.
        """
        received = self.all_of_report(t_s, **values)
        kinds = ("SMART_BATTERY_INFO", "COMMAND_LONG")
        return [
            m for m in received if m.get_type() not in kinds and m.get_srcComponent() != COMPUTER
        ]

    def all_of_report(self, t_s: float = 0.0, **values: Any) -> list[mavlink.MAVLink_message]:  # noqa: ANN401 - see a_report
        """Pass a report to the bridge; return all messages since the last call."""
        self.bridge(a_report(t_s, **values))
        return self.receive()

    def receive(self) -> list[mavlink.MAVLink_message]:
        """Messages that the bridge has sent since the last call."""
        received = self.autopilot.receive(self.bridge.counts["sent"] - self.received_count)
        self.received_count = self.bridge.counts["sent"]
        return received

    def pump(self, now_s: float = 0.0, *, messages: int = 1) -> VehicleState:
        """Run the bridge until it has read a number of messages."""
        end_s = monotonic() + WAIT_S
        before = self.read_count()
        state = self.bridge.pump(now_s)
        while self.read_count() < before + messages and monotonic() < end_s:
            state = self.bridge.pump(now_s)
        assert self.read_count() >= before + messages
        return state

    def read_count(self) -> int:
        """Messages and invalid data that the bridge has read."""
        counts = self.bridge.counts
        return counts["received"] + counts["foreign"] + counts["damaged"]

    def beat(self, now_s: float = 0.0, *, armed: bool = False, mode: int = 0) -> VehicleState:
        """State after a heartbeat of the autopilot."""
        self.autopilot.beat(armed=armed, custom_mode=mode)
        return self.pump(now_s)

    def send(self, message: mavlink.MAVLink_message, now_s: float = 0.0) -> VehicleState:
        """State after a message of the autopilot."""
        self.autopilot.send(message)
        return self.pump(now_s)


@pytest.fixture
def fly() -> Iterator[Callable[..., Air]]:
    made: list[Air] = []

    def make(*args: Any, **options: Any) -> Air:  # noqa: ANN401 - Air's
        made.append(Air(*args, **options))
        return made[-1]

    yield make
    for air in made:
        air.close()


@pytest.fixture
def air(fly: Callable[..., Air]) -> Air:
    return fly()


def kinds(messages: list[mavlink.MAVLink_message]) -> list[str]:
    return [message.get_type() for message in messages]


NO_VEHICLES = (5, 6, 18, 26, 27, 30, 31, 32, 33, 34, *range(36, 43), 44, 48)  # MAV_TYPE


def heartbeat_of(
    system_id: int,
    component_id: int = 1,
    *,
    autopilot: int = PX4,
    vehicle_type: int = mavlink.MAV_TYPE_QUADROTOR,
) -> bytes:
    """Frame of an armed heartbeat of any sender."""
    message = mavlink.MAVLink_heartbeat_message(vehicle_type, autopilot, 129, RTL_PX4, 4, 3)
    return bytes(message.pack(mavlink.MAVLink(None, system_id, component_id)))


# Messages sent.


def test_a_battery_is_a_component_of_the_vehicle(fly: Callable[..., Air]) -> None:
    air = fly()
    heartbeat, status = air.report()
    assert kinds([heartbeat, status]) == ["HEARTBEAT", "BATTERY_STATUS"]
    assert (heartbeat.type, heartbeat.autopilot) == (36, 8)
    for message in (heartbeat, status):
        assert (message.get_srcSystem(), message.get_srcComponent()) == (1, 180)
    assert (status.id, status.battery_remaining) == (0, 80)
    assert {frame[0] for frame in air.autopilot.frames} == {0xFD}


def test_heartbeats_are_sent_every_second_and_the_status_every_half(
    fly: Callable[..., Air],
) -> None:
    air = fly()
    received = [kind for tick in range(100) for kind in kinds(air.report(tick / 10))]
    assert (received.count("HEARTBEAT"), received.count("BATTERY_STATUS")) == (10, 20)


def test_the_rate_stays_on_its_multiples_and_missed_ones_are_not_made_up_for(
    fly: Callable[..., Air],
) -> None:
    air = fly(options=BridgeOptions(rate_hz=5.0))
    late = [len(air.report(t_s)) for t_s in (0.0, 0.19, 0.21, 0.39, 0.41, 0.59, 0.61)]
    assert late == [2, 0, 1, 0, 1, 0, 1]
    assert kinds(air.report(60.0)) == ["HEARTBEAT", "BATTERY_STATUS"]
    assert air.report(60.1) == []


def test_a_change_of_severity_is_sent_at_once(air: Air) -> None:
    air.report(0.0)
    assert air.report(0.1) == []
    (status,) = air.report(0.2, severity=Severity.CRITICAL)
    assert status.charge_state == mavlink.MAV_BATTERY_CHARGE_STATE_CRITICAL
    assert air.report(0.3, severity=Severity.CRITICAL) == []
    (status,) = air.report(0.4)
    assert status.charge_state == mavlink.MAV_BATTERY_CHARGE_STATE_OK


def test_without_gauge_data_the_status_is_withheld_and_heartbeats_continue(air: Air) -> None:
    air.report(0.0)
    received = [
        kind for tick in range(1, 60) for kind in kinds(air.report(tick / 10, voltage_v=None))
    ]
    assert received == ["HEARTBEAT"] * 5
    assert air.bridge.withheld == "no gauge data"
    assert air.bridge.counts["withheld"] == 11
    assert "BATTERY_STATUS" in kinds(air.report(6.0))
    assert air.bridge.withheld is None


def test_two_batteries_are_two_components_with_numbers_of_their_own(air: Air) -> None:
    received = [
        message
        for tick in range(20)
        for index in (0, 1)
        for message in air.all_of_report(tick, index=index)
    ]
    for index in (0, 1):
        mine = [message for message in received if message.get_srcComponent() == 180 + index]
        assert [message.get_seq() for message in mine] == list(range(len(mine)))
        assert {m.id for m in mine if m.get_type() == "BATTERY_STATUS"} == {index}


def test_batteries_can_be_numbered_from_another_id(fly: Callable[..., Air]) -> None:
    air = fly(first_battery_id=4)
    assert air.report(index=1)[1].id == 5


def test_sequence_numbers_wrap(air: Air) -> None:
    received = [m for t_s in range(150) for m in air.all_of_report(float(t_s))]
    assert [m.get_seq() for m in received] == [number % 256 for number in range(len(received))]
    assert len(received) > 256


def test_a_14s_pack_has_its_voltage_on_every_vehicle(fly: Callable[..., Air]) -> None:
    for autopilot, slots in ((PX4, 1), (ARDUPILOT, 10)):
        air = fly(autopilot, first_battery_id=0)
        status = air.report(cells_v=(4.0,) * 14, voltage_v=56.0)[1]
        assert ground_station(status).voltage_v == 56.0
        assert px4(status).cells == slots


# Messages withheld.


def test_an_unknown_charge_is_sent_to_ardupilot_only(fly: Callable[..., Air]) -> None:
    for autopilot, expected in (
        (ARDUPILOT, ["HEARTBEAT", "BATTERY_STATUS"]),
        (PX4, ["HEARTBEAT"]),
        (0, ["HEARTBEAT"]),
    ):
        air = fly(autopilot, first_battery_id=0)
        assert kinds(air.report(soc_pct=None)) == expected
    air = fly(received=False, first_battery_id=0)
    assert kinds(air.report(soc_pct=math.nan)) == ["HEARTBEAT"]
    assert air.bridge.withheld is not None
    assert "unknown" in air.bridge.withheld


def test_a_configured_vehicle_is_used_without_a_heartbeat(fly: Callable[..., Air]) -> None:
    air = fly(received=False, vehicle="ardupilot", first_battery_id=0)
    assert kinds(air.report(soc_pct=None)) == ["HEARTBEAT", "BATTERY_STATUS"]
    with pytest.raises(ConfigError, match="auto, ardupilot, px4"):
        Bridge(air.link, vehicle="pix4")


def test_a_nearly_empty_pack_is_sent_to_an_armed_px4_only(air: Air) -> None:
    assert kinds(air.report(0.0, soc_pct=5.9)) == ["HEARTBEAT"]
    air.beat(0.5, armed=True)
    assert kinds(air.report(0.6, soc_pct=5.9)) == ["BATTERY_STATUS"]
    # In flight, without messages of the vehicle, the status is still sent.
    assert "BATTERY_STATUS" in kinds(air.report(30.0, soc_pct=4.0))
    air.beat(30.5, armed=False)
    assert air.report(30.9, soc_pct=4.0) == []


def test_a_withheld_severity_is_sent_as_soon_as_possible(air: Air) -> None:
    low: dict[str, Any] = {"soc_pct": 3.0, "severity": Severity.EMERGENCY}
    air.report(0.0)
    assert air.report(0.1, **low) == []
    air.beat(0.2, armed=True)
    assert kinds(air.report(0.25, **low)) == ["BATTERY_STATUS"]


# Texts.


def test_a_tripped_limit_is_sent_as_text(air: Air) -> None:
    events = (
        an_event("cell 3 is at 3.21 V", Severity.CRITICAL),
        an_event("charge is known to 5 %", Severity.INFO, limit_id="soc"),
    )
    (text,) = [m for m in air.report(events=events) if m.get_type() == "STATUSTEXT"]
    assert (text.text, text.severity) == ("cell 3 is at 3.21 V", mavlink.MAV_SEVERITY_CRITICAL)
    assert text.get_srcComponent() == 180


def test_the_same_state_of_a_limit_is_sent_once_in_ten_seconds(air: Air) -> None:
    def sent(t_s: float, text: str, *, tripped: bool = True) -> list[str]:
        event = an_event(text, Severity.WARNING, tripped=tripped)
        received = air.report(t_s, events=(event,))
        return [message.text for message in received if message.get_type() == "STATUSTEXT"]

    assert sent(0.0, "cell 3 is at 3.21 V") == ["cell 3 is at 3.21 V"]
    assert sent(0.1, "cell 3 is at 3.21 V") == []
    assert sent(9.9, "cell 3 is at 3.20 V") == []
    assert sent(10.0, "cell 3 is at 3.19 V") == ["cell 3 is at 3.19 V"]
    # The last text always has the present state.
    assert sent(11.0, "cell 3 is back at 3.5 V", tripped=False) == ["cell 3 is back at 3.5 V"]
    assert sent(12.0, "cell 3 is at 3.18 V") == ["cell 3 is at 3.18 V"]


def test_a_worse_state_of_the_same_limit_is_sent_at_once(air: Air) -> None:
    air.report(0.0, events=(an_event(severity=Severity.WARNING),))
    received = air.report(0.1, events=(an_event("worse", Severity.CRITICAL),))
    assert [m.text for m in received if m.get_type() == "STATUSTEXT"] == ["worse"]


def test_a_long_text_is_sent_in_chunks_with_one_id(air: Air) -> None:
    text = (
        "The weakest cell, number 3, fell to 3.21 V while 84 A were drawn; land within 2 minutes."
    )
    chunks = [m for m in air.report(events=(an_event(text),)) if m.get_type() == "STATUSTEXT"]
    assert "".join(chunk.text for chunk in chunks) == text
    assert [(chunk.id, chunk.chunk_seq) for chunk in chunks] == [(1, 0), (1, 1)]


def test_texts_wait_30_s_for_a_lost_link() -> None:
    autopilot, port = FakeAutopilot(), free_port()
    link = open_link(f"udpin:127.0.0.1:{port}")
    bridge = Bridge(link)
    bridge(a_report(0.0, events=(an_event("old text", limit_id="old"),)))
    bridge(a_report(25.0, events=(an_event("fresh text", limit_id="fresh"),)))
    assert (bridge.counts["sent"], link.dropped) == (0, bridge.counts["unsent"])
    autopilot.peer = ("127.0.0.1", port)
    autopilot.beat()
    assert until(lambda: bridge.pump(40.0).armed is not None)
    bridge(a_report(40.0))
    received = autopilot.receive(bridge.counts["sent"])
    assert [m.text for m in received if m.get_type() == "STATUSTEXT"] == ["fresh text"]
    autopilot.close()
    link.close()


# State from messages received.


def test_an_armed_heartbeat_is_the_state_until_it_expires(air: Air) -> None:
    air.bridge.pump(9.0)
    state = air.beat(10.0, armed=True, mode=RTL_PX4)
    assert (state.armed, state.mode, state.heartbeat_age_s) == (True, "RTL", 0.0)
    state = air.bridge.pump(12.0)
    assert (state.armed, state.mode, state.heartbeat_age_s) == (True, "RTL", 2.0)
    state = air.bridge.pump(12.1)
    assert (state.armed, state.mode) == (None, None)
    assert state.heartbeat_age_s == pytest.approx(2.1)
    assert air.beat(13.0, mode=RTL_PX4).mode == "RTL"


@pytest.mark.parametrize("gap_s", [2.1, 12.0, 3600.0])
def test_a_heartbeat_that_waited_during_our_absence_is_as_old_as_its_beginning(
    air: Air, gap_s: float
) -> None:
    """It may be of any moment of the absence: a full buffer drops the newest."""
    air.bridge.pump(9.9)
    assert air.beat(10.0, armed=True, mode=RTL_PX4).armed is True
    woken_s = 10.0 + gap_s
    state = air.beat(woken_s, armed=True, mode=RTL_PX4)
    assert (state.armed, state.mode) == (None, None)
    assert state.heartbeat_age_s == pytest.approx(gap_s)
    assert air.beat(woken_s + 0.5, armed=True).heartbeat_age_s == 0.0


def test_ardupilot_has_its_own_modes(fly: Callable[..., Air]) -> None:
    air = fly(ARDUPILOT)
    assert air.beat(mode=5).mode == "LOITER"
    assert air.beat(mode=77).mode is None


def test_before_the_first_message_the_state_is_unknown(fly: Callable[..., Air]) -> None:
    air = fly(received=False)
    assert air.bridge.pump(5.0) == UNKNOWN_VEHICLE


def test_position_and_speed_are_read_and_expire(air: Air) -> None:
    where = mavlink.MAVLink_global_position_int_message(
        1000, 473977420, -85455940, 488000, 20000, 300, -400, -250, 0
    )
    state = air.send(where, 1.0)
    assert (state.lat_deg, state.lon_deg) == pytest.approx((47.397742, -8.545594))
    assert state.alt_m == pytest.approx(488.0)
    assert (state.ground_speed_m_s, state.climb_m_s) == pytest.approx((5.0, 2.5))
    assert air.bridge.pump(4.0).lat_deg is not None
    expired = air.bridge.pump(4.1)
    assert (expired.lat_deg, expired.lon_deg, expired.alt_m) == (None, None, None)
    assert (expired.ground_speed_m_s, expired.climb_m_s) == (None, None)


@pytest.mark.parametrize(("lat", "lon"), [(0, 0), (900000001, 0), (0, -1800000001), (2**31 - 1, 0)])
def test_an_invalid_position_is_unknown(air: Air, lat: int, lon: int) -> None:
    where = mavlink.MAVLink_global_position_int_message(0, lat, lon, 488000, 0, 0, 0, 0, 0)
    state = air.send(where)
    assert (state.lat_deg, state.lon_deg, state.alt_m) == (None, None, None)
    assert (state.ground_speed_m_s, state.climb_m_s) == (None, None)


def test_vfr_hud_replaces_a_missing_position(air: Air) -> None:
    state = air.send(mavlink.MAVLink_vfr_hud_message(9.0, 7.5, 90, 40, 500.0, -1.25))
    assert (state.ground_speed_m_s, state.climb_m_s) == (7.5, -1.25)
    state = air.send(mavlink.MAVLink_vfr_hud_message(9.0, math.nan, 90, 40, 500.0, math.inf))
    assert (state.ground_speed_m_s, state.climb_m_s) == (None, None)


@pytest.mark.parametrize(
    ("uid", "uid2", "expected"),
    [
        (0, [0] * 18, None),
        (0x1122334455667788, [0] * 18, "1122334455667788"),
        (0x1122334455667788, [0x0B, 0xAD, 0xCA, 0xFE, *[0] * 14], "0badcafe"),
        (0, [0] * 17 + [1], "00" * 17 + "01"),
    ],
)
def test_the_unique_id_of_the_autopilot_does_not_expire(
    air: Air, uid: int, uid2: list[int], expected: str | None
) -> None:
    assert air.bridge.pump(1.0).uid is None
    zeros = [0] * 8
    version = mavlink.MAVLink_autopilot_version_message(
        0, 0, 0, 0, 0, zeros, zeros, zeros, 0, 0, uid, uid2
    )
    assert air.send(version).uid == expected
    assert air.bridge.pump(3600.0).uid == expected


def test_the_home_position_does_not_expire(air: Air) -> None:
    home = mavlink.MAVLink_home_position_message(
        473977420, 85455940, 488000, 0, 0, 0, [1, 0, 0, 0], 0, 0, 0
    )
    air.send(home)
    state = air.bridge.pump(3600.0)
    assert (state.home_lat_deg, state.home_lon_deg) == pytest.approx((47.397742, 8.545594))
    assert state.home_alt_m == pytest.approx(488.0)
    assert state.armed is None


@pytest.mark.parametrize(
    ("north", "east", "speed", "from_deg"),
    [
        (-5.0, 0.0, 5.0, 0.0),
        (0.0, -5.0, 5.0, 90.0),
        (3.0, 4.0, 5.0, 233.130),
        (0.0, 5.0, 5.0, 270.0),
    ],
)
def test_the_wind_direction_is_where_it_comes_from(
    air: Air, north: float, east: float, speed: float, from_deg: float
) -> None:
    state = air.send(mavlink.MAVLink_wind_cov_message(0, north, east, 0, 1, 1, 0, 1, 1))
    assert (state.wind_m_s, state.wind_from_deg) == pytest.approx((speed, from_deg), abs=0.01)


def test_wind_that_is_not_finite_is_unknown(air: Air) -> None:
    state = air.send(mavlink.MAVLink_wind_cov_message(0, math.nan, 0, 0, 1, 1, 0, 1, 1))
    assert (state.wind_m_s, state.wind_from_deg) == (None, None)


@pytest.mark.parametrize(
    ("direction", "speed", "known"),
    [
        (-90.0, 6.0, (6.0, 270.0)),
        (45.0, 6.0, (6.0, 45.0)),
        (0.0, 0.0, (None, None)),  # ArduPlane without an estimate
        (math.nan, 6.0, (None, None)),
    ],
)
def test_the_wind_of_ardupilot_is_that_of_its_own_message(
    air: Air, direction: float, speed: float, known: tuple[float | None, float | None]
) -> None:
    state = air.send(ardupilotmega.MAVLink_wind_message(direction, speed, 0.0))
    assert (state.wind_m_s, state.wind_from_deg) == pytest.approx(known)
    assert air.bridge.counts["damaged"] == 0
    assert air.bridge.pump(20.0).wind_m_s is None


def test_a_monitor_of_the_vehicle_is_a_source_and_is_not_reported_back(air: Air) -> None:
    source = air.bridge.vehicle_battery(0, 1, 4)
    cells_mv = (4010, 4000, 3990, 4000)
    air.beat()
    air.send(battery_status((4000,) * 4, id=0))  # another monitor
    air.send(battery_status(cells_mv, id=1, current_battery=1234))
    snapshot = source.poll(0.0)
    assert (snapshot.current_a, snapshot.cells_v) == (12.34, (4.01, 4.0, 3.99, 4.0))
    event = Event(0.0, "hot", Severity.WARNING, tripped=True, text="pack 60 degC")
    sent = air.all_of_report(events=(event,))
    batteries = [message for message in sent if message.get_srcComponent() != COMPUTER]
    assert [message.get_type() for message in batteries] == []
    assert "pack 60 degC" in [m.text for m in sent if m.get_type() == "STATUSTEXT"]
    # The next battery is the first that is reported.
    others = air.all_of_report(index=1)
    assert {m.get_srcComponent() for m in others if m.get_type() == "BATTERY_STATUS"} == {180}


# The followed autopilot.


def test_the_first_autopilot_is_followed(fly: Callable[..., Air]) -> None:
    air = fly(received=False)
    assert {message.get_srcSystem() for message in air.report(0.0)} == {1}
    air.autopilot.send_bytes(heartbeat_of(42))
    assert air.pump(0.5).armed is True
    assert (air.bridge.system_id, air.bridge.stack.name) == (42, "px4")
    assert {message.get_srcSystem() for message in air.report(1.0)} == {42}


def test_a_configured_system_alone_is_followed(
    fly: Callable[..., Air], caplog: pytest.LogCaptureFixture
) -> None:
    air = fly(received=False, system_id=9)
    for t_s in range(60):
        air.autopilot.send_bytes(heartbeat_of(42))
        assert air.pump(float(t_s)) == UNKNOWN_VEHICLE
        assert {message.get_srcSystem() for message in air.report(float(t_s))} <= {9}
    assert air.bridge.counts["other_vehicle"] == 60
    assert caplog.text.count("vehicle of system 42 is ignored: system 9 is configured") == 1
    air.autopilot.send_bytes(heartbeat_of(9))
    assert air.pump(60.0).armed is True


@pytest.mark.parametrize(
    "sender",
    [
        heartbeat_of(255, 190, autopilot=8, vehicle_type=mavlink.MAV_TYPE_GCS),
        heartbeat_of(7, 191, autopilot=8, vehicle_type=mavlink.MAV_TYPE_ONBOARD_CONTROLLER),
        heartbeat_of(7, 180, autopilot=8, vehicle_type=mavlink.MAV_TYPE_BATTERY),
        heartbeat_of(7, 1, autopilot=8),
        heartbeat_of(7, 1, autopilot=0, vehicle_type=mavlink.MAV_TYPE_GCS),
        heartbeat_of(7, 1, autopilot=0, vehicle_type=mavlink.MAV_TYPE_BATTERY),
        heartbeat_of(7, 2),
        heartbeat_of(0, 1),
        *(heartbeat_of(7, 1, autopilot=3, vehicle_type=kind) for kind in NO_VEHICLES),
    ],
)
def test_only_an_autopilot_is_followed(fly: Callable[..., Air], sender: bytes) -> None:
    air = fly(received=False)
    air.autopilot.send_bytes(sender)
    assert air.pump() == UNKNOWN_VEHICLE
    assert (air.bridge.system_id, air.bridge.counts["foreign"]) == (1, 1)


def test_a_second_vehicle_is_ignored(air: Air) -> None:
    for t_s in range(1, 20):
        air.beat(float(t_s), armed=False)
        air.autopilot.send_bytes(heartbeat_of(2))
        assert air.pump(t_s + 0.1).armed is False
    assert air.bridge.system_id == 1
    other = mavlink.MAVLink_global_position_int_message(0, 473977420, 85455940, 0, 0, 0, 0, 0, 0)
    air.autopilot.send_bytes(bytes(other.pack(mavlink.MAVLink(None, 2, 1))))
    assert air.pump(20.0).lat_deg is None
    air.autopilot.send_bytes(bytes(other.pack(mavlink.MAVLink(None, 1, 100))))
    assert air.pump(20.0).lat_deg is None


@pytest.mark.parametrize("silent_s", [1.0, 5.1, 60.0, 3600.0])
def test_silence_of_the_vehicle_does_not_make_another_one_the_vehicle(
    air: Air, silent_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    home = mavlink.MAVLink_home_position_message(
        473977420, 85455940, 488000, 0, 0, 0, [1, 0, 0, 0], 0, 0, 0
    )
    assert air.send(home, 0.0).home_lat_deg is not None
    for tick in range(20):
        air.autopilot.send_bytes(heartbeat_of(2))
        assert air.pump(silent_s + tick).armed is None or silent_s + tick <= 2.0
    assert (air.bridge.system_id, air.bridge.counts["other_vehicle"]) == (1, 20)
    assert caplog.text.count("vehicle of system 2 is ignored: system 1 is followed") == 1
    assert {message.get_srcSystem() for message in air.report(silent_s + 20)} == {1}
    state = air.beat(silent_s + 21, armed=True)
    assert (state.armed, state.home_lat_deg is not None) == (True, True)


def test_many_other_vehicles_are_counted_and_a_few_are_logged(
    air: Air, caplog: pytest.LogCaptureFixture
) -> None:
    for system in range(2, 255):
        air.autopilot.send_bytes(heartbeat_of(system))
        air.pump(1.0)
    assert (air.bridge.system_id, air.bridge.counts["other_vehicle"]) == (1, 253)
    assert caplog.text.count("is ignored") == 8


# Invalid data.


def test_random_bytes_never_raise_and_the_next_messages_are_received(air: Air) -> None:
    random = Random(1)  # noqa: S311 - junk
    for length in range(300):
        air.autopilot.send_bytes(random.randbytes(length))
        air.bridge.pump(0.0)
    for _ in range(20):  # the last bytes may announce a message of up to 280 bytes
        air.autopilot.beat(armed=True)
    assert until(lambda: air.bridge.pump(0.5).armed is True)
    assert air.bridge.pump(0.5).armed is True
    assert air.bridge.counts["damaged"] > 0


def test_damaged_and_partial_heartbeats_are_rejected(fly: Callable[..., Air]) -> None:
    air = fly(received=False)
    good = heartbeat_of(1)
    for place in range(len(good)):
        air.autopilot.send_bytes(good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :])
    air.autopilot.send_bytes(bytes(300))  # ends any message that was announced
    assert until(
        lambda: (
            air.bridge.pump(0.0) != UNKNOWN_VEHICLE or air.bridge.counts["damaged"] > len(good) - 4
        )
    )
    assert air.bridge.pump(0.0) == UNKNOWN_VEHICLE
    for piece in (good[:7], good[7:]):
        assert air.bridge.pump(0.0) == UNKNOWN_VEHICLE
        air.autopilot.send_bytes(piece)
    assert air.pump(0.0).armed is True


def test_unknown_messages_are_counted_and_ignored(air: Air) -> None:
    body = bytes([4, 0, 0, 0, 1, 1]) + (12345).to_bytes(3, "little") + bytes(4)
    air.autopilot.send_bytes(b"\xfd" + body + x25(body).to_bytes(2, "little"))
    air.pump()
    assert (air.bridge.counts["received"], air.bridge.counts["foreign"]) == (1, 1)


def test_a_stream_cut_within_messages_does_not_fill_the_memory(air: Air) -> None:
    beat = heartbeat_of(1)
    air.autopilot.send_bytes(beat[:5])
    cut = (beat[5:] + beat[:5]) * 60
    for t_s in range(100):
        air.autopilot.send_bytes(cut)
        air.pump(float(t_s), messages=30)
    assert air.bridge.pump(100.0).armed is True
    assert len(air.bridge._components._codec._parser.buf) < 300
    assert air.bridge.counts["damaged"] <= 4


def test_a_closed_link_is_only_counted(air: Air) -> None:
    air.link.close()
    air.bridge(a_report(0.0))
    assert air.bridge.counts["unsent"] == 3, "heartbeat, status, info"
    assert air.bridge.pump(1.0).armed is False
    assert air.bridge.pump(9.0).armed is None

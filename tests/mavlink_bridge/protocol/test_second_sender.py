# SPDX-License-Identifier: Apache-2.0
"""Frames that claim to come from our components: our own that come back, and a second sender's."""

from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Action, ActionKind, ActionRequest, Severity
from mavlink_bridge.components import BridgeOptions
from mavlink_bridge.protocol import messages
from mavlink_bridge.protocol.second_sender import CopyWatch, SenderWatch
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, PX4, FakeVehicle, Flight
from tests.mavlink_bridge.reports import a_report

FORGED = messages.battery_status(a_report(cells_v=(), voltage_v=9.0), battery_id=0)
BEAT = messages.heartbeat(mavlink.MAV_TYPE_ONBOARD_CONTROLLER, mavlink.MAV_STATE_STANDBY)


class Reflecting(FakeVehicle):
    """A link on which every sent frame comes back, once or several times."""

    copies = 1

    def send(self, data: bytes, now_s: float) -> bool:
        """Take a frame and send it back."""
        self._out.extend([data] * self.copies)
        return super().send(data, now_s)


def emit(flight: Flight, component: int, message: Any, sequence: int = 0) -> None:  # noqa: ANN401 - a message
    codec = mavlink.MAVLink(None, 1, component)
    codec.seq = sequence
    flight.vehicle._out.append(bytes(message.pack(codec)))


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("autopilot", [ARDUPILOT, PX4])
def test_our_own_frames_that_come_back_are_no_second_sender(autopilot: int, copies: int) -> None:
    vehicle = Reflecting(autopilot)
    vehicle.copies = copies
    flight = Flight(vehicle, None)
    flight.two_batteries = True
    flight.fly(120.0)  # more than 256 frames of a component
    assert flight.bridge.counts["foreign"] > 900 * copies
    assert flight.bridge.counts["second_sender"] == 0
    assert flight.bridge.pump(flight.now_s).second_sender is None


@pytest.mark.parametrize("component", [180, 181, 191])
@pytest.mark.parametrize("sequence", [0, 100])
def test_one_frame_of_a_second_sender_is_reported(
    component: int, sequence: int, caplog: pytest.LogCaptureFixture
) -> None:
    flight = Flight(FakeVehicle(ARDUPILOT), None)
    flight.two_batteries = True
    flight.fly(5.0)
    emit(flight, component, BEAT if component == 191 else FORGED, sequence)
    flight.fly(0.3)
    text = f"second sender of 1/{component} on the link"
    assert flight.bridge.pump(flight.now_s).second_sender == text
    assert flight.texts().count(text) == 1
    assert caplog.text.count(text) == 1
    assert flight.bridge.counts["second_sender"] == 1
    flight.fly(11.0)
    assert flight.bridge.pump(flight.now_s).second_sender is None


def test_a_second_sender_is_reported_once_a_minute() -> None:
    flight = Flight(FakeVehicle(ARDUPILOT), None)
    flight.fly(5.0)
    for second in range(130):
        emit(flight, 180, FORGED, second % 256)
        flight.fly(1.0)
    assert flight.texts().count("second sender of 1/180 on the link") == 3
    assert flight.bridge.counts["second_sender"] == 130


def test_frames_of_an_earlier_run_may_come_back_after_a_start() -> None:
    flight = Flight(FakeVehicle(ARDUPILOT), None)
    flight.fly(0.1)
    emit(flight, 180, FORGED, 77)
    flight.fly(1.0)
    assert flight.bridge.pump(flight.now_s).second_sender is None


def test_components_that_are_not_ours_are_no_second_sender() -> None:
    flight = Flight(FakeVehicle(ARDUPILOT), None, options=BridgeOptions(component_id=55))
    flight.fly(5.0)
    for component in (1, 42, 181, 191):  # one battery: 181 is another program's
        emit(flight, component, BEAT)
    other = mavlink.MAVLink(None, 2, 180)
    flight.vehicle._out.append(bytes(FORGED.pack(other)))
    flight.fly(1.0)
    assert flight.bridge.pump(flight.now_s).second_sender is None


def test_a_second_sender_changes_no_setting_and_gets_no_answer() -> None:
    flight = Flight(FakeVehicle(ARDUPILOT), None)
    flight.vehicle.armed = False
    flight.fly(5.0)
    flight.vehicle.received.clear()
    emit(flight, 191, mavlink.MAVLink_param_set_message(1, 180, b"BMS_ACT", 0.0, 9))
    flight.fly(0.2)
    assert flight.bridge.settings.acting_enabled
    assert "PARAM_VALUE" not in {m.get_type() for m in flight.vehicle.received}


def test_the_number_of_reported_sources_is_bounded() -> None:
    watch = SenderWatch()
    watch.sent((1, 180), bytes(12), 0.0)
    reported = [watch.notice((1, number), "text", 10.0) for number in range(200)]
    assert sum(reported) == 64
    assert watch.notice((1, 0), "text", 100.0)
    assert not watch.notice((1, 199), "text", 100.0)


def test_a_battery_of_another_component_is_reported_where_px4_uses_it() -> None:
    for autopilot, expected in ((PX4, 1), (ARDUPILOT, 0)):
        flight = Flight(FakeVehicle(autopilot), None)
        flight.fly(5.0)
        for sequence in range(5):
            emit(flight, 42, FORGED, sequence)
            emit(flight, 42, BEAT, sequence)
        flight.fly(0.3)
        assert flight.texts().count("PX4 uses battery 1/42 too") == expected
        assert (flight.bridge.pump(flight.now_s).second_sender is not None) == bool(expected)


def test_a_notice_begins_two_seconds_after_the_first_frame_and_is_repeated_each_minute() -> None:
    watch = SenderWatch()
    assert not watch.notice((1, 180), "text", 0.0)  # nothing was sent yet
    watch.sent((1, 180), bytes(12), 10.0)
    watch.sent((1, 180), bytes(12), 11.0)
    times_s = (11.9, 12.0, 12.1, 71.9, 72.0, 131.9, 132.0)
    found = [t_s for t_s in times_s if watch.notice((1, 180), f"at {t_s}", t_s)]
    assert found == [12.0, 72.0, 132.0]
    assert watch.notice((1, 181), "other", 132.0)


def test_the_trouble_is_that_of_the_last_ten_seconds() -> None:
    watch = SenderWatch()
    watch.sent((1, 180), bytes(12), 0.0)
    assert watch.trouble(5.0) is None
    watch.notice((1, 180), "one", 5.0)
    watch.notice((1, 180), "two", 6.0)  # not reported again, and still there
    assert [watch.trouble(now_s) for now_s in (6.0, 16.0, 16.1)] == ["two", "two", None]


def by_number(number: int, time_ms: int) -> Any:  # noqa: ANN401 - a message
    codec = mavlink.MAVLink(None, 1, 1)
    codec.seq = number
    message = mavlink.MAVLink_system_time_message(0, time_ms)
    return mavlink.MAVLink(None).decode(bytearray(message.pack(codec)))


# A second way.


class TwoWays(FakeVehicle):
    """A vehicle that counts its frames; a slower way carries each of them once more."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(ARDUPILOT)
        self.boot_ms, self.delay_s, self.now_s = 90_000, delay_s, 0.0
        self.under_way: list[tuple[float, bytes]] = []

    def emit(self, message: Any) -> None:  # noqa: ANN401 - a message
        """Send a message over both ways."""
        super().emit(message)
        self._codec.seq = (self._codec.seq + 1) % 256
        self.under_way.append((self.now_s + self.delay_s, self._out[-1]))

    def receive(self, now_s: float) -> list[bytes]:
        """Frames of both ways."""
        self.now_s = now_s
        late = [frame for due_s, frame in self.under_way if due_s <= now_s]
        self.under_way = [one for one in self.under_way if one[0] > now_s]
        return super().receive(now_s) + late


RETURN, LAND = (
    ActionRequest(Action(Severity.CRITICAL, do), (0, int(do), 1), "cell_critical")
    for do in (ActionKind.RETURN, ActionKind.LAND)
)


@pytest.mark.parametrize("delay_s", [0.0, 0.3, 0.8, 1.2, 3.0, 5.0, 12.0])
def test_copies_over_a_slower_way_are_no_pilot_and_no_restart(
    tmp_path: Path, delay_s: float
) -> None:
    vehicle = TwoWays(delay_s)
    flight = Flight(vehicle, tmp_path)
    flight.fly(15.0)
    flight.requests = (RETURN,)
    flight.fly(15.0)
    assert vehicle.commands == [(20, 0)]
    # What the slower way has held up comes at once.
    vehicle.under_way = [(vehicle.now_s, frame) for _, frame in vehicle.under_way]
    flight.fly(15.0)
    flight.requests = (LAND, RETURN)
    flight.fly(5.0)
    assert vehicle.commands == [(20, 0), (21, 0)]
    control = flight.bridge.vehicle_control
    assert control is not None
    assert control.sent is not None
    assert control.sent.obeyed
    assert flight.bridge._autopilot.restarts == 0
    assert flight.bridge.pump(flight.now_s).second_sender is None


@pytest.mark.parametrize(
    ("numbers", "late"),
    [
        ([1, 2, 1], True),
        ([1, 2, 3, 128, 2], True),
        ([1, 1], False),  # at once
        ([1, 2, 130, 1], False),  # as far ahead as back: it goes on after a loss
        ([0, 0, 0], False),  # a sender that does not count
    ],
)
def test_a_copy_is_late_if_a_later_frame_has_come(numbers: list[int], *, late: bool) -> None:
    watch = CopyWatch()
    found = [watch.is_late_copy(by_number(number, number), 1.0) for number in numbers]
    assert found == [False] * (len(numbers) - 1) + [late]


def test_an_equal_frame_is_a_copy_for_fifteen_seconds() -> None:
    for after_s, late in ((15.0, True), (15.1, False)):
        watch = CopyWatch()
        watch.is_late_copy(by_number(7, 0), 10.0)
        watch.is_late_copy(by_number(8, 0), 10.0)
        assert watch.is_late_copy(by_number(7, 0), 10.0 + after_s) == late


def test_a_restart_of_the_numbers_is_no_copy() -> None:
    watch = CopyWatch()
    for number in range(100, 110):
        assert not watch.is_late_copy(by_number(number, number), 1.0)
    for number in (0, 1, 100, 101):  # other content
        assert not watch.is_late_copy(by_number(number, 500), 2.0)

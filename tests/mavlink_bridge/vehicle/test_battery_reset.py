# SPDX-License-Identifier: Apache-2.0
"""MAV_CMD_BATTERY_RESET after a swap: once, on the ground, where it is configured."""

from dataclasses import replace
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import ReportedCharge
from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.components import BridgeOptions
from mavlink_bridge.vehicle.battery_id import BatteryAddress
from mavlink_bridge.vehicle.battery_reset import BatteryReset
from smartbattery.snapshot import UNIDENTIFIED, Identity
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, PX4, FakeVehicle
from tests.mavlink_bridge.reports import a_report
from tests.mavlink_bridge.vehicle.test_battery_id import flying

ACCEPTED = mavlink.MAV_RESULT_ACCEPTED
OLD, NEW = Identity(serial=7), Identity(serial=8)
ON_GROUND, IN_AIR, UNDEFINED = 1, 2, 0  # MAV_LANDED_STATE


class Swap:
    """A vehicle with packs that are replaced."""

    def __init__(self, autopilot: int = ARDUPILOT, monitors: dict[int, int] | None = None) -> None:
        self.vehicle = FakeVehicle(autopilot)
        self.vehicle.armed = False
        given = {0: 1} if monitors is None else monitors
        addresses = tuple([BatteryAddress(reset_monitor=given.get(index)) for index in range(2)])
        self.bridge = Bridge(self.vehicle, options=BridgeOptions(batteries=addresses))
        self.packs = dict.fromkeys(given or (0,), OLD)
        self.soc_pct: float | None = 97.8
        self.landed: int | None = None
        self.now_s = 0.0

    def fly(self, seconds: float, **values: Any) -> "Swap":  # noqa: ANN401 - see a_report
        """Run for a time."""
        for _ in range(round(seconds * 10)):
            if round(self.now_s * 10) % 10 == 0:
                self.vehicle.beat()
                if self.landed is not None:
                    state = mavlink.MAVLink_extended_sys_state_message(0, self.landed)
                    self.vehicle.emit(state)
            state = self.bridge.pump(self.now_s)
            for index, identity in self.packs.items():
                self.report(index, identity, state, values)
            self.now_s = round(self.now_s + 0.1, 6)
        return self

    def report(
        self, index: int, identity: Identity, vehicle: VehicleState, values: dict[str, Any]
    ) -> None:
        """Pass a report to the bridge."""
        report = a_report(self.now_s, index, identity=identity, **values)
        charge = ReportedCharge(self.soc_pct)
        self.bridge(replace(report, vehicle=vehicle, reported=charge))

    def texts(self) -> list[str]:
        """Texts of the computer about monitors."""
        texts = [m.text for m in self.vehicle.received if m.get_type() == "STATUSTEXT"]
        return [text for text in texts if "monitor" in text]


def test_a_replaced_pack_resets_its_monitor_once() -> None:
    swap = Swap().fly(5.0)
    assert swap.vehicle.resets == []
    swap.packs[0] = NEW
    swap.fly(30.0)
    assert swap.vehicle.resets == [(1.0, 97.0)]
    assert swap.texts() == ["battery monitor 1 was reset"]
    swap.packs[0] = OLD
    swap.fly(30.0)
    assert swap.vehicle.resets == [(1.0, 97.0)] * 2


def test_a_pack_of_equal_data_that_was_connected_again_is_another_one() -> None:
    swap = Swap().fly(5.0)
    swap.packs[0] = replace(OLD, connection=1)
    assert swap.fly(10.0).vehicle.resets == [(1.0, 97.0)]


def test_the_data_of_a_pack_that_are_read_one_after_another_are_no_swap() -> None:
    swap = Swap()
    for identity in (UNIDENTIFIED, Identity(manufacturer="M"), replace(OLD, manufacturer="M"), OLD):
        swap.packs[0] = identity
        swap.fly(5.0)
    assert swap.vehicle.resets == []
    swap.packs[0] = replace(NEW, manufacturer="M")
    assert len(swap.fly(5.0).vehicle.resets) == 1


def test_without_a_configured_monitor_nothing_is_sent() -> None:
    swap = Swap(monitors={}).fly(5.0)
    swap.packs[0] = NEW
    assert swap.fly(30.0).vehicle.resets == []


def test_px4_has_no_such_command() -> None:
    swap = Swap(PX4).fly(5.0)
    swap.packs[0] = NEW
    assert swap.fly(30.0).vehicle.resets == []


def test_an_armed_vehicle_is_never_sent_a_reset_and_none_follows_its_flight() -> None:
    swap = Swap().fly(5.0)
    swap.vehicle.armed = True
    swap.fly(5.0)
    swap.packs[0] = NEW
    swap.fly(10.0)
    swap.vehicle.armed = False
    assert swap.fly(30.0).vehicle.resets == []


def test_a_swap_on_the_ground_is_forgotten_when_the_vehicle_is_armed() -> None:
    swap = Swap().fly(5.0)
    swap.soc_pct, swap.packs[0] = None, NEW
    swap.fly(5.0)
    swap.vehicle.armed = True
    swap.fly(5.0)
    swap.vehicle.armed, swap.soc_pct = False, 90.0
    assert swap.fly(30.0).vehicle.resets == []


def test_after_a_flight_three_seconds_disarmed_and_more_come_first() -> None:
    swap = Swap()
    swap.vehicle.armed = True
    swap.fly(5.0)
    swap.vehicle.armed = False
    swap.fly(1.0)
    swap.packs[0] = NEW  # while it is unknown whether the flight has ended
    swap.fly(4.9)
    assert swap.vehicle.resets == []
    assert swap.fly(5.0).vehicle.resets == [(1.0, 97.0)]


@pytest.mark.parametrize(
    ("landed", "sent"), [(IN_AIR, 0), (3, 0), (4, 0), (ON_GROUND, 1), (UNDEFINED, 1)]
)
def test_a_vehicle_that_reports_the_air_is_not_on_the_ground(landed: int, sent: int) -> None:
    swap = Swap()
    swap.landed = landed
    swap.fly(5.0)
    swap.packs[0] = NEW
    assert len(swap.fly(10.0).vehicle.resets) == sent


@pytest.mark.parametrize("lost", ["heartbeat", "actions"])
def test_without_a_heartbeat_or_with_actions_off_nothing_is_sent(lost: str) -> None:
    swap = Swap().fly(5.0)
    swap.vehicle.sends_heartbeats = lost != "heartbeat"
    swap.bridge.settings.acting_enabled = lost != "actions"
    swap.fly(5.0)
    swap.packs[0] = NEW
    assert swap.fly(30.0).vehicle.resets == []


@pytest.mark.parametrize("soc_pct", [None, float("nan")])
def test_an_unknown_charge_is_awaited(soc_pct: float | None) -> None:
    swap = Swap().fly(5.0)
    swap.soc_pct, swap.packs[0] = soc_pct, NEW
    assert swap.fly(10.0).vehicle.resets == []
    swap.soc_pct = 55.5
    assert swap.fly(2.0).vehicle.resets == [(1.0, 55.0)]


def test_a_pack_that_is_silent_is_not_replaced_yet() -> None:
    swap = Swap().fly(5.0)
    swap.packs[0] = NEW
    assert swap.fly(10.0, voltage_v=None).vehicle.resets == []
    assert swap.fly(5.0).vehicle.resets == [(1.0, 97.0)]


def test_a_refusal_is_reported_and_not_repeated() -> None:
    """As by a monitor of DroneCAN or SMBus, which takes the charge from its own gauge."""
    swap = Swap().fly(5.0)
    swap.vehicle.reset_result = mavlink.MAV_RESULT_FAILED
    swap.packs[0] = NEW
    assert swap.fly(30.0).vehicle.resets == [(1.0, 97.0)]
    assert swap.texts() == ["battery monitor 1 not reset: failed"]


def test_a_command_without_an_answer_is_sent_three_times() -> None:
    swap = Swap().fly(5.0)
    swap.vehicle.reset_result = None
    swap.packs[0] = NEW
    assert swap.fly(30.0).vehicle.resets == [(1.0, 97.0)] * 3
    assert swap.texts() == ["battery monitor 1 not reset: no answer"]


def test_an_answer_in_progress_is_awaited() -> None:
    swap = Swap().fly(5.0)
    swap.vehicle.reset_result = mavlink.MAV_RESULT_IN_PROGRESS
    swap.packs[0] = NEW
    swap.fly(2.0)
    assert swap.texts() == []
    swap.vehicle.reset_result = 0
    swap.fly(5.0)
    assert swap.texts() == ["battery monitor 1 was reset"]


def test_an_answer_that_was_not_requested_is_ignored() -> None:
    swap = Swap().fly(5.0)
    swap.vehicle.emit(mavlink.MAVLink_command_ack_message(42651, 0))
    swap.fly(2.0)
    assert swap.texts() == []


def test_two_packs_are_reset_one_after_the_other() -> None:
    swap = Swap(monitors={0: 2, 1: 16}).fly(5.0)
    swap.packs = {0: NEW, 1: NEW}
    swap.fly(10.0)
    assert swap.vehicle.resets == [(2.0, 97.0), (32768.0, 97.0)]
    assert swap.texts() == ["battery monitor 2 was reset", "battery monitor 16 was reset"]


class Bench:
    """The resets alone, at chosen times."""

    def __init__(self, monitors: dict[int, int]) -> None:
        self.resets = BatteryReset(monitors)
        self.autopilot = flying(ARDUPILOT)
        self.vehicle = VehicleState(armed=False)

    def swap(self, index: int, soc_pct: float | None) -> None:
        """Replace a pack by another one."""
        for identity in (OLD, NEW):
            report = a_report(0.0, index, identity=identity)
            self.resets.update(replace(report, reported=ReportedCharge(soc_pct)))

    def at(self, now_s: float) -> list[tuple[float, float, int]]:
        """Monitors, percent and number of the try of what is sent."""
        found = self.resets.due(self.autopilot, self.vehicle, now_s)
        return [(one.param1, one.param2, one.confirmation) for one in found]

    def answer(self, result: int, command: int = 42651) -> list[tuple[int, str]]:
        """Texts after an acknowledgement."""
        self.resets.receive(mavlink.MAVLink_command_ack_message(command, result))
        return self.resets.take_texts()


def test_three_seconds_on_the_ground_come_first_and_three_between_two_tries() -> None:
    bench = Bench({0: 1})
    bench.swap(0, 50.9)
    sent = {t_s: bench.at(t_s) for t_s in (1.0, 3.9, 4.0, 4.1, 6.9, 7.0, 9.9, 10.0, 12.9)}
    assert {t_s: one for t_s, one in sent.items() if one} == {
        4.0: [(1.0, 50.0, 0)],
        7.0: [(1.0, 50.0, 1)],
        10.0: [(1.0, 50.0, 2)],
    }
    assert bench.resets.take_texts() == []
    assert bench.at(13.0) == []
    assert bench.resets.take_texts() == [(4, "battery monitor 1 not reset: no answer")]
    assert bench.at(16.0) == []


def test_without_a_command_there_is_none_to_take_back() -> None:
    bench = Bench({0: 1})
    bench.resets.unsent()
    bench.swap(0, 50.9)
    bench.at(1.0)
    assert bench.at(4.0) == [(1.0, 50.0, 0)]
    bench.resets.unsent()
    bench.resets.unsent()
    assert bench.at(7.0) == [(1.0, 50.0, 0)]


def test_a_command_that_the_link_did_not_accept_is_no_try(monkeypatch: pytest.MonkeyPatch) -> None:
    swap = Swap().fly(5.0)
    swap.packs[0] = NEW
    monkeypatch.setattr(swap.vehicle, "send", lambda *_: False)  # a full link
    swap.fly(60.0)
    monkeypatch.undo()
    assert swap.texts() == []
    assert swap.fly(10.0).vehicle.resets == [(1.0, 97.0)]
    assert swap.texts() == ["battery monitor 1 was reset"]


def test_a_swap_is_logged_with_the_number_of_its_battery(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    bench = Bench({0: 5, 1: 7})
    bench.swap(0, 50.0)
    bench.swap(1, 50.0)
    assert "battery 1 was replaced: monitor 5 is to be reset" in caplog.text
    assert "battery 2 was replaced: monitor 7 is to be reset" in caplog.text
    assert caplog.text.count("was replaced") == 2


def test_a_pack_of_unknown_charge_does_not_delay_another_one() -> None:
    bench = Bench({0: 1, 1: 3})
    bench.swap(0, None)
    bench.swap(1, 80.0)
    bench.at(0.0)
    assert bench.at(3.0) == [(4.0, 80.0, 0)]
    assert bench.answer(ACCEPTED) == [(6, "battery monitor 3 was reset")]
    assert bench.at(9.0) == []


@pytest.mark.parametrize(
    ("result", "texts"),
    [
        (0, [(6, "battery monitor 1 was reset")]),
        (2, [(4, "battery monitor 1 not reset: denied")]),
        (3, [(4, "battery monitor 1 not reset: unsupported")]),
        (5, []),
    ],
)
def test_an_answer_ends_a_reset_once(result: int, texts: list[tuple[int, str]]) -> None:
    bench = Bench({0: 1})
    assert bench.answer(result) == []  # nothing was sent
    bench.swap(0, 50.0)
    bench.at(0.0)
    assert bench.answer(result) == []
    assert bench.at(3.0) == [(1.0, 50.0, 0)]
    assert bench.answer(result, 42650) == []  # to another command
    assert bench.answer(result, 42652) == []
    assert bench.answer(result) == texts
    assert bench.answer(0) == ([] if texts else [(6, "battery monitor 1 was reset")])


@pytest.mark.parametrize("armed", [True, None])
def test_time_on_the_ground_counts_again_from_each_doubt(*, armed: bool | None) -> None:
    bench = Bench({0: 1})
    bench.at(0.0)
    bench.vehicle = VehicleState(armed=armed)
    assert bench.at(2.0) == []
    bench.vehicle = VehicleState(armed=False)
    bench.swap(0, 50.0)
    assert [bool(bench.at(t_s)) for t_s in (2.5, 3.5, 5.4, 5.5)] == [False, False, False, True]


def test_a_pack_without_a_monitor_or_a_voltage_is_not_noted() -> None:
    bench = Bench({0: 1})
    bench.swap(1, 50.0)
    for identity, voltage_v in ((OLD, 23.0), (NEW, None)):
        bench.resets.update(a_report(0.0, 0, identity=identity, voltage_v=voltage_v))
    bench.at(0.0)
    assert bench.at(9.0) == []


@pytest.mark.parametrize(("result", "level"), [(0, "INFO"), (2, "WARNING")])
def test_the_end_of_a_reset_is_logged_by_its_severity(
    result: int, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bench = Bench({0: 1})
    bench.swap(0, 50.0)
    bench.at(0.0)
    bench.at(3.0)
    caplog.clear()
    bench.answer(result)
    (record,) = caplog.records
    assert record.levelname == level

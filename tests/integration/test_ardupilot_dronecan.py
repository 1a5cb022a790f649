# SPDX-License-Identifier: Apache-2.0
"""A simulated ArduCopter that reads our battery as DroneCAN (BATT_MONITOR 8): no script.

The CAN bus is multicast in a network namespace. Bus, node and sink are the real ones; only the
readings of the pack are given.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dronebms.core.clock import SystemClock
from dronebms.core.report import Report, ReportedCharge
from dronebms.dronecan.battery_sink import BatterySink
from dronebms.dronecan.can_bus import CanBus, Open
from dronebms.dronecan.can_url import parse_can_url
from dronebms.dronecan.config import DronecanConfig
from dronebms.dronecan.transports import PortTransport, open_transport
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.protocol.link import open_link
from tests.dronecan.reports import IDENTITY, PACK, report_at
from tests.integration.copter import RTL, Copter, copter_in, needs_copter
from tests.integration.namespace import can_network

__all__ = ["can_network"]  # a fixture
pytestmark = needs_copter

BATTERY_ID = 4
PARAMETERS = f"""
CAN_P1_DRIVER 1
CAN_D1_PROTOCOL 1
BATT_MONITOR 8
BATT_SERIAL_NUM {BATTERY_ID}
BATT_CAPACITY {PACK.capacity_mah}\nBATT_LOW_MAH 4000\nBATT_CRT_MAH 1600
BATT_LOW_VOLT 0\nBATT_CRT_VOLT 0
BATT_FS_LOW_ACT 2
MOT_BAT_VOLT_MIN 0\nMOT_BAT_VOLT_MAX 0
"""


class Service:
    """A pack as a battery on the bus, stepped by the clock of the vehicle."""

    def __init__(
        self,
        copter: Copter,
        indices: tuple[int, ...] = (0,),
        url: str = "mcast:0",
        open_bus: Open = open_transport,
    ) -> None:
        config = DronecanConfig(url=url, battery_id=BATTERY_ID)
        self.bus = CanBus(parse_can_url(config.url), SystemClock(), open_bus)
        self._sink = BatterySink(self.bus, config, indices, (1, 0), 0)
        self.bus.start()
        self.pct: float | None = 77.4
        self.changes: dict[str, Any] = {}
        self.sent: Report | None = None
        copter.closing.callback(self.bus.close)
        copter.each = self.step

    def step(self, now_s: float) -> None:
        """Send what is due."""
        report = report_at(now_s, self.pct)
        self.sent = replace(report, snapshot=replace(report.snapshot, **self.changes))
        self._sink(self.sent)
        if self.pct is not None:
            self._sink(
                report_at(now_s, self.pct - 20.0, index=1)
            )  # of a second slot, if it is sent


def copter_with(tmp_path: Path, parameters: str = "") -> Iterator[Copter]:
    folder = tmp_path / "copter"
    folder.mkdir()
    yield from copter_in(folder, parameters=PARAMETERS + parameters, script=False)


@pytest.fixture
def copter(
    can_network: None,  # noqa: ARG001 - before the process
    tmp_path: Path,
) -> Iterator[Copter]:
    yield from copter_with(tmp_path)


@pytest.fixture
def two_monitors(
    can_network: None,  # noqa: ARG001 - before the process
    tmp_path: Path,
) -> Iterator[Copter]:
    second = f"BATT2_MONITOR 8\nBATT2_SERIAL_NUM {BATTERY_ID + 1}\nBATT2_CAPACITY 16000\n"
    yield from copter_with(tmp_path, second)


def _monitor(copter: Copter) -> Any:  # noqa: ANN401 - a message
    """BATTERY_STATUS of the first monitor."""
    return copter.last.get((1, 0))


def _refusal(copter: Copter) -> str:
    """Why the vehicle does not arm, empty if it arms."""
    del copter.texts[:]
    if copter.command(400, 1) == 0:
        return ""
    copter.fly(1.0)
    return "; ".join(copter.texts)


def test_data_arming_check_and_the_low_charge_failsafe_without_a_script(copter: Copter) -> None:
    service = Service(copter)
    service.pct = 20.0
    copter.wait_ready()
    copter.until(lambda: service.bus.trouble is None, 60.0, "a node id from the autopilot")
    copter.until(lambda: _monitor(copter).battery_remaining == 20, 60.0, "our battery")
    assert "low capacity failsafe" in _refusal(copter)

    service.pct = 77.4
    copter.fly(5.0)
    got, sent = _monitor(copter), service.sent
    assert sent is not None
    snapshot, reported = sent.snapshot, sent.reported
    assert got.battery_remaining == pytest.approx(service.pct, abs=1.0)
    cells_v = [millivolts / 1000 for millivolts in got.voltages[:6]]
    assert cells_v == pytest.approx(snapshot.cells_v, abs=0.005)
    assert got.current_battery / 100 == pytest.approx(snapshot.current_a, abs=0.02)
    assert got.current_consumed == pytest.approx(reported.consumed_mah, abs=20)
    assert got.temperature / 100 == pytest.approx(snapshot.temperature_degc, abs=0.2)
    # To an empty pack at this current: the charge, not our time left.
    left_mah = 16000.0 - got.current_consumed
    assert got.time_remaining == pytest.approx(left_mah / 31250 * 3600, rel=0.02)

    copter.take_off()
    service.pct = 24.0  # 3840 mAh, below BATT_LOW_MAH
    took_s = copter.until(lambda: copter.mode == RTL, 10.0, "its own RTL")
    assert took_s < 3.0
    assert any("Battery 1 is low" in text for text in copter.texts)


def test_a_swapped_pack_is_the_same_monitor_with_the_charge_of_the_new_one(copter: Copter) -> None:
    service = Service(copter)
    service.pct = 35.0
    copter.wait_ready()
    copter.until(lambda: _monitor(copter).battery_remaining == 35, 60.0, "our battery")

    service.changes = {"voltage_v": None}
    copter.fly(8.0)
    assert "Battery 1 unhealthy" in _refusal(copter)
    service.changes = {"identity": replace(IDENTITY, serial=815)}
    service.pct = 99.0
    copter.until(lambda: _monitor(copter).battery_remaining == 99, 10.0, "the new pack")
    copter.fly(3.0)

    assert _monitor(copter).current_consumed == pytest.approx(160, abs=20)
    copter.arm()


def test_an_unknown_charge_is_none_of_ours_and_the_autopilot_counts_itself(copter: Copter) -> None:
    service = Service(copter)
    unknown = ReportedCharge()

    def step(now_s: float) -> None:
        service._sink(replace(report_at(now_s), reported=unknown))

    copter.each = step
    copter.wait_ready()
    copter.until(lambda: _monitor(copter).current_consumed > 20, 60.0, "its own count")

    before, began_s = _monitor(copter).current_consumed, copter.clock.now_s()
    copter.fly(20.0)
    counted_mah = _monitor(copter).current_consumed - before
    expected_mah = 31.25 * (copter.clock.now_s() - began_s) / 3.6
    assert counted_mah == pytest.approx(expected_mah, rel=0.1)
    got = _monitor(copter)
    own_pct = 100 - got.current_consumed / 160.0  # of BATT_CAPACITY
    assert got.battery_remaining == pytest.approx(own_pct, abs=1.5)


def test_two_packs_are_two_monitors_each_with_its_own(two_monitors: Copter) -> None:
    copter = two_monitors
    service = Service(copter, indices=(0, 1))
    copter.wait_ready()

    def charges() -> list[int]:
        found = [copter.last.get((1, number)) for number in (0, 1)]
        return [one.battery_remaining for one in found if one is not None]

    copter.until(lambda: charges() == [77, 57], 90.0, "both batteries")
    copter.fly(5.0)
    assert charges() == [77, 57]
    consumed_mah = [copter.last[1, number].current_consumed for number in (0, 1)]
    assert consumed_mah == pytest.approx([0.226 * 16000, 0.426 * 16000], abs=20)
    service.changes = {"voltage_v": None}  # of the first
    copter.fly(8.0)
    assert "Battery 1 unhealthy" in _refusal(copter)
    assert charges()[1] == 57


def test_the_can_bus_behind_the_mavlink_link_needs_no_can_adapter(copter: Copter) -> None:
    """`mavcan`: ArduPilot passes our frames to its own node, and forwards its answers."""
    link = open_link(f"udpin:127.0.0.1:{copter.companion}")
    copter.closing.callback(link.close)
    bridge = Bridge(link)
    port = bridge.can_port()
    service = Service(copter, url="mavcan", open_bus=lambda _: PortTransport(port))

    def step(now_s: float) -> None:
        bridge.pump(now_s)
        service.step(now_s)

    copter.each = step
    copter.wait_ready()
    copter.until(lambda: service.bus.trouble is None, 90.0, "a node id from the autopilot")
    copter.until(lambda: _monitor(copter).battery_remaining == 77, 60.0, "our battery")
    copter.fly(5.0)

    got, sent = _monitor(copter), service.sent
    assert sent is not None
    cells_v = [millivolts / 1000 for millivolts in got.voltages[:6]]
    assert cells_v == pytest.approx(sent.snapshot.cells_v, abs=0.005)
    copter.arm()

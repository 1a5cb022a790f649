# SPDX-License-Identifier: Apache-2.0
"""A simulated PX4 with our battery: its failsafes, our commands, arming, speed limits."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Action, ActionKind, ActionRequest, Severity
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.components import BridgeOptions
from mavlink_bridge.protocol.flight_stacks import PX4_118
from mavlink_bridge.protocol.link import open_link
from mavlink_bridge.vehicle.parameter_check import ParameterCheck
from mavlink_bridge.vehicle.saved_file import left_behind
from mavlink_bridge.vehicle.vehicle_control import VehicleControl
from tests.integration.process import Process
from tests.integration.px4 import HOLD, LAND, PARAMETERS, RTL, Px4, needs_px4
from tests.mavlink_bridge.reports import a_report

pytestmark = needs_px4

HOME = ActionRequest(Action(Severity.CRITICAL, ActionKind.RETURN), (0, 0, 1), "cell_critical")
SLOWER = ActionRequest(
    Action("governor", ActionKind.REDUCE, speed_m_s=3.0, climb_m_s=1.0),
    (0, 1, 1),
    "governor",
    20.0,
)


class Service:
    """The loop of the service, stepped by the clock of the vehicle."""

    def __init__(self, vehicle: Px4, folder: Path) -> None:
        link = open_link(f"udpin:127.0.0.1:{vehicle.companion}")
        vehicle.closing.callback(link.close)
        self.bridge = Bridge(link, options=BridgeOptions(rate_hz=5.0))
        self.bridge.vehicle_control = VehicleControl(folder)
        self.values: dict[str, Any] = {"soc_pct": 80.0, "remaining_s": 900.0}
        self.requests: tuple[ActionRequest, ...] = ()
        self.copter = vehicle
        vehicle.each = self.step

    def step(self, now_s: float) -> None:
        """Read messages and send those that are due."""
        self.bridge.pump(now_s)
        self.bridge(replace(a_report(now_s, **self.values), requests=self.requests))


@pytest.fixture
def vehicle(tmp_path: Path) -> Iterator[Px4]:
    folder = tmp_path / "px4"
    folder.mkdir()
    made = Px4(folder, script=False)
    try:
        made.wait_ready()
        for name, value in PARAMETERS.items():
            made.set(name, value)
        yield made
    finally:
        made.close()


def test_arming_battery_data_and_the_low_charge_failsafe(vehicle: Px4, tmp_path: Path) -> None:
    assert vehicle.command(400, 1) != 0  # no authorisation
    service = Service(vehicle, tmp_path)
    service.values |= {"severity": Severity.CRITICAL, "active": ("hot_critical",)}
    vehicle.fly(5.0)
    assert vehicle.command(400, 1) != 0
    vehicle.fly(3.0)
    assert any("no go: battery 1: hot critical" in text for text in vehicle.texts), vehicle.texts
    service.values = {"soc_pct": 80.0, "remaining_s": 900.0}
    vehicle.take_off()
    assert service.bridge.system_id == Px4.system

    theirs = vehicle.last[1, 255]
    assert sum(mv for mv in theirs.voltages if mv != 0xFFFF) == pytest.approx(23550, abs=10)
    assert (theirs.battery_remaining, theirs.current_battery) == (80, 1234)
    assert theirs.temperature == 2512

    service.values["soc_pct"] = 6.5  # critical for PX4, whose step is one percent
    took_s = vehicle.until(lambda: vehicle.mode == RTL, 20.0, "its own RTL")
    assert 4.0 < took_s < 8.0  # PX4 holds for COM_FAIL_ACT_T first
    service.values["soc_pct"] = 4.0
    vehicle.until(lambda: vehicle.mode == LAND, 10.0, "its own landing")


def test_an_action_returns_the_vehicle_and_the_pilot_may_choose_another_mode(
    vehicle: Px4, tmp_path: Path
) -> None:
    service = Service(vehicle, tmp_path)
    vehicle.take_off()
    service.requests = (HOME,)
    assert vehicle.until(lambda: vehicle.mode == RTL, 10.0, "our RTL") < 3.0
    vehicle.fly(1.0)
    assert vehicle.command(176, 1, 4, 3) == 0
    vehicle.until(lambda: vehicle.mode == HOLD, 5.0, "the pilot's mode")
    vehicle.fly(10.0)
    assert vehicle.mode == HOLD


def test_the_speed_limits_are_set_and_restored_after_a_restart(
    vehicle: Px4, tmp_path: Path
) -> None:
    service = Service(vehicle, tmp_path)
    names = ("MPC_XY_VEL_MAX", "MPC_XY_CRUISE", "MPC_VEL_MANUAL", "MPC_Z_VEL_MAX_UP")
    before = [vehicle.parameter(name) for name in names]
    vehicle.take_off()
    service.requests = (SLOWER,)
    vehicle.fly(4.0)
    assert [vehicle.parameter(name) for name in names] == [3.0, 3.0, 3.0, 1.0]
    service.bridge.vehicle_control = VehicleControl(tmp_path)  # as after a restart
    service.requests = ()
    vehicle.fly(4.0)
    assert [vehicle.parameter(name) for name in names] == before


def test_the_next_start_restores_the_speeds_after_kill_9(vehicle: Px4, tmp_path: Path) -> None:
    names = ("MPC_XY_VEL_MAX", "MPC_XY_CRUISE", "MPC_VEL_MANUAL", "MPC_Z_VEL_MAX_UP")
    before = [vehicle.parameter(name) for name in names]
    reduces = '[[action]]\non = "governor"\ndo = "reduce"\nspeed_m_s = 3.0\nclimb_m_s = 1.0\n'
    service = Process(tmp_path, vehicle.companion, reduces)
    vehicle.closing.callback(service.close)

    def now() -> list[float | None]:
        return [vehicle.parameter(name) for name in names]

    vehicle.take_off()
    vehicle.until(lambda: now() == [3.0, 3.0, 3.0, 1.0], 400.0, "slower")
    service.kill()
    vehicle.fly(5.0)
    assert now() == [3.0, 3.0, 3.0, 1.0]
    service.start(reduces)
    vehicle.fly(5.0)
    vehicle.until(lambda: now() == [3.0, 3.0, 3.0, 1.0], 400.0, "slower again")
    service.kill()
    service.start("")  # a configuration without actions
    vehicle.until(lambda: now() == before, 400.0, "restored")
    vehicle.until(lambda: not left_behind(service.state), 100.0, "no file left")
    assert service.end() == 0


def test_an_empty_pack_on_the_ground_does_not_shut_the_board_down(
    vehicle: Px4, tmp_path: Path
) -> None:
    service = Service(vehicle, tmp_path)
    vehicle.fly(5.0)
    service.values["soc_pct"] = 3.0
    vehicle.fly(70.0)
    assert not any("Shutting" in text for text in vehicle.texts)
    assert vehicle.command(400, 1) != 0


def as_1_18(service: Service) -> None:
    """Make the service identify this build as PX4 1.18: it has that code and an older number."""
    version = mavlink.MAVLink_autopilot_version_message(
        0, 1 << 24 | 18 << 16 | 255, 0, 0, 0, [0] * 8, [0] * 8, [0] * 8, 0, 0, 0
    )
    version.pack(mavlink.MAVLink(None, Px4.system, 1))
    service.bridge._autopilot._last.pop("AUTOPILOT_VERSION", None)  # the first one counts
    assert service.bridge._autopilot.receive(version, service.copter.clock.now_s())
    assert service.bridge.stack is PX4_118


def test_px4_1_18_accepts_an_unknown_charge(vehicle: Px4, tmp_path: Path) -> None:
    service = Service(vehicle, tmp_path)
    vehicle.fly(3.0)
    as_1_18(service)
    service.values["soc_pct"] = 3.0
    vehicle.fly(70.0)
    assert vehicle.last[1, 255].battery_remaining == -1
    assert not any("Shutting" in text for text in vehicle.texts)
    service.values["soc_pct"] = None
    vehicle.fly(5.0)
    assert vehicle.last["HEARTBEAT"].system_status == 3  # ready


def test_px4_1_18_returns_by_the_time_to_empty(vehicle: Px4, tmp_path: Path) -> None:
    vehicle.set("COM_FLTT_LOW_ACT", 3)
    service = Service(vehicle, tmp_path)
    vehicle.take_off()
    vehicle.fly(5.0)
    assert vehicle.mode == HOLD
    service.values["remaining_s"] = 60.0
    vehicle.until(lambda: vehicle.mode == RTL, 15.0, "its own RTL")


def test_the_check_finds_and_sets_wrong_parameters(vehicle: Px4) -> None:
    vehicle.set("COM_ARM_AUTH_ID", 10)
    vehicle.set("COM_LOW_BAT_ACT", 0)
    with contextlib.closing(open_link(f"udpin:127.0.0.1:{vehicle.companion}")) as link:
        check = ParameterCheck(link, vehicle.clock)
        findings = check.findings(5000.0)
        wrong = {one.name: one.default for one in findings if not one.fits}
        assert wrong == {"COM_ARM_AUTH_ID": Px4.system, "COM_LOW_BAT_ACT": 3}
        check.set(findings)
        assert all(one.fits for one in check.findings(5000.0))

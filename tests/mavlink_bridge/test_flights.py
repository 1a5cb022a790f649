# SPDX-License-Identifier: Apache-2.0
"""Whole simulated flights, with models of the flight stacks as receivers."""

from collections.abc import Iterator

import pytest

from dronebms.core.clock import VirtualClock
from dronebms.core.report import Report
from dronebms.monitoring.pipeline import Pipeline
from mavlink_bridge.bridge import Bridge
from sim.emulator.world import open_virtual
from smartbattery.gauge import Gauge
from smartbattery.registers import ADDRESS
from tests.mavlink_bridge.consumers import ArduPilotBattery, Px4Commander
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, PX4, FakeVehicle
from tests.mavlink_bridge.lua_host import LuaHost, fields, needs_lua, those
from tests.mavlink_bridge.protocol.test_ardupilot_driver import DRIVER, OURS

GROUND_S, FLIGHT_S = 20.0, 120.0


def flight(
    vehicle: FakeVehicle, scenario: str = "half_full", fault: tuple[float, float] | None = None
) -> Iterator[Report]:
    """Fly a scenario; take-off is after 20 s; the gauge is silent during the fault."""
    clock = VirtualClock()
    bus, world = open_virtual(scenario, clock)
    bridge = Bridge(vehicle)
    pipeline = Pipeline(
        Gauge(bus, ADDRESS, cells=world.pack_data().cells), world.pack_data(), (bridge,)
    )
    vehicle.armed = False
    for tick in range(round((GROUND_S + FLIGHT_S) * 10)):
        now_s = tick / 10
        clock.sleep_until(now_s)
        vehicle.armed = now_s >= GROUND_S
        if tick % 10 == 0:
            vehicle.beat()
        if fault is not None and fault[0] <= now_s < fault[1]:
            bridge.pump(now_s)
            continue
        yield pipeline.step(now_s, bridge.pump(now_s))


@pytest.mark.parametrize("release", [1.17, 1.18])
def test_px4_never_warns_above_its_thresholds(release: float) -> None:
    vehicle, px4 = FakeVehicle(PX4), Px4Commander(release)
    if release >= 1.18:
        vehicle.release = 1 << 24 | 18 << 16 | 255
    known: list[float] = []
    for report in flight(vehicle):
        px4.armed = vehicle.armed
        for message in vehicle.received:
            if message.get_type() == "BATTERY_STATUS":
                px4.receive(message, report.t_s)
        vehicle.received.clear()
        if report.estimate.soc_pct is not None:
            known.append(report.estimate.soc_pct)
        if min(known, default=100.0) > 16.0:
            assert px4.warning == "none", report.t_s
        assert not px4.shut_down
        assert not px4.unhealthy(report.t_s)
    assert known
    assert px4.received_s is not None


@needs_lua
def test_ardupilot_uses_the_reported_charge() -> None:
    vehicle = FakeVehicle(ARDUPILOT)
    states: list[tuple[str, float]] = []
    with LuaHost(DRIVER, **OURS) as controller:
        controller.start()
        battery: ArduPilotBattery | None = None
        unknown = 0
        for report in flight(vehicle, fault=(80.0, 83.0)):
            messages, vehicle.received = vehicle.received, []
            for message in messages:
                if message.get_type() not in ("BATTERY_STATUS", "COMMAND_LONG"):
                    continue
                controller.receive(message, message.get_srcComponent())
                effects = controller.run()
                if message.get_type() != "BATTERY_STATUS":
                    continue
                if not those(effects, "battery"):
                    unknown += 1  # the driver ignores batteries before the first verdict
                    continue
                rated_mah = report.pack_data.capacity_mah or 0.0
                battery = battery or ArduPilotBattery(rated_mah, 0.57 * rated_mah, 0.54 * rated_mah)
                battery.receive(fields(effects), report.t_s)
                left_frac = (report.estimate.soc_pct or 0.0) / 100.0
                states.append((battery.state, left_frac))
            assert battery is None or not battery.missing(report.t_s)
    assert unknown <= 1
    for state, left_frac in states:
        if left_frac > 0.571:
            assert state == "none"
        elif left_frac < 0.539:
            assert state == "critical"
    assert {state for state, _ in states} == {"none", "low", "critical"}
